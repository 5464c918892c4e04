/* trace.c - HSHM_TRACE: where blocks were allocated, of some of them.
 *
 * Of HSHM_TRACE_BYTES allocated bytes on average one is drawn, and the call stack of the
 * allocation that it lies in is recorded until the block is freed.  The distance to the next one
 * is random, as a fixed one would always meet the same calls of a program that works in rounds.
 *
 * All is in private memory of this process, under a lock that is held with signals blocked.
 * A block that another member frees is noticed when the record is read: it is free by then. */
#include "allocators/page.h"
#include "config/log.h"
#include "preload/libc.h"
#include "preload/preload.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#if HAVE_UNWINDER
#include <unwind.h>
#endif

#define FRAMES_MAX  32
#define SITES_MAX   (1u << 14)
#define SAMPLES_MAX (1u << 20)
#define FILTER_SIZE (1u << 16)

struct site {
    uint64_t hash; /* of the frames; 0: unused */
    uint32_t depth;
    uint64_t live, live_bytes, all, all_bytes; /* as sampled */
    void *frames[FRAMES_MAX];
};

struct sample {
    void *block; /* NULL: unused; GONE: was used */
    uint32_t site;
    size_t size;
};
#define GONE ((void *)1)

static struct {
    struct site *sites;     /* open hash table */
    struct sample *samples; /* open hash table by address */
    uint8_t *filter;        /* how many samples have an address with that hash, up to 255 */
    uint32_t site_count, sample_count;
    uint64_t dropped;
} trace;
static uint32_t trace_lock AT_FORK(".data") = 0; /* each child looks at it */

bool trace_is_on;

static os_signals lock(void)
{
    os_signals signals = os_signals_block();
    while (__atomic_exchange_n(&trace_lock, 1, __ATOMIC_ACQUIRE))
        os_futex_wait(&trace_lock, 1);
    return signals;
}

static void unlock(os_signals signals)
{
    __atomic_store_n(&trace_lock, 0, __ATOMIC_RELEASE);
    os_futex_wake(&trace_lock, 1);
    os_signals_restore(signals);
}

/* ---- chance ---------------------------------------------------------------------------------- */

/* -ln(x) for 0 < x <= 1, to three digits, without libm. */
static double minus_log(double x)
{
    int halvings = 0;
    while (x < 0.5) {
        x *= 2;
        halvings++;
    }
    double y = (x - 1) / (x + 1), square = y * y;
    return halvings * 0.6931472 - 2 * y * (1 + square / 3 + square * square / 5);
}

/* 1 - exp(-x): how likely a block of x times the distance is sampled. */
static double one_minus_exp(double x)
{
    if (x > 20)
        return 1;
    double power = 1 - x / 1048576;
    for (int i = 0; i < 20; i++)
        power *= power;
    return 1 - power;
}

static int64_t next_distance(void)
{
    uint64_t *r = &tls_state.trace_random;
    int64_t mean = option_number(OPT_TRACE_BYTES);
    if (mean <= 1)
        return 0;
    if (!*r)
        *r = (uint64_t)os_tid() * UINT64_C(0x9e3779b97f4a7c15) ^ os_boot_ns();
    *r ^= *r << 13, *r ^= *r >> 7, *r ^= *r << 17;
    return (int64_t)(minus_log((double)((*r >> 11) + 1) / 9007199254740993.0) * (double)mean);
}

/* ---- tables ---------------------------------------------------------------------------------- */

static uint32_t hash_of(const void *p)
{
    return (uint32_t)((uintptr_t)p * UINT64_C(0x9e3779b97f4a7c15) >> 32);
}

static struct site *site_find(void **frames, uint32_t depth)
{
    uint64_t hash = depth + 1;
    for (uint32_t i = 0; i < depth; i++)
        hash = (hash ^ (uintptr_t)frames[i]) * UINT64_C(0x100000001b3);
    for (uint32_t at = (uint32_t)(hash >> 40);; at++) {
        struct site *s = &trace.sites[at % SITES_MAX];
        if (s->hash == hash)
            return s;
        if (s->hash)
            continue;
        if (trace.site_count >= SITES_MAX / 4 * 3)
            return NULL;
        trace.site_count++;
        s->hash = hash;
        s->depth = depth;
        memcpy(s->frames, frames, depth * sizeof *frames);
        return s;
    }
}

static struct sample *sample_find(const void *p)
{
    for (uint32_t at = hash_of(p), n = 0; n < SAMPLES_MAX; at++, n++) {
        struct sample *s = &trace.samples[at % SAMPLES_MAX];
        if (s->block == p)
            return s;
        if (!s->block)
            return NULL;
    }
    return NULL;
}

static void sample_drop(struct sample *s)
{
    struct site *site = &trace.sites[s->site];
    uint8_t *filter = &trace.filter[hash_of(s->block) % FILTER_SIZE];
    site->live--;
    site->live_bytes -= s->size;
    if (*filter < 255)
        __atomic_store_n(filter, *filter - 1, __ATOMIC_RELAXED);
    s->block = GONE;
    trace.sample_count--;
}

static void sample_add(void *p, size_t n, void **frames, uint32_t depth)
{
    struct sample *s = sample_find(p);
    if (s) /* another member has freed the block that was here */
        sample_drop(s);
    struct site *site = trace.sample_count < SAMPLES_MAX / 2 ? site_find(frames, depth) : NULL;
    if (!site) {
        trace.dropped++;
        return;
    }
    uint32_t at = hash_of(p);
    while (trace.samples[at % SAMPLES_MAX].block && trace.samples[at % SAMPLES_MAX].block != GONE)
        at++;
    s = &trace.samples[at % SAMPLES_MAX];
    *s = (struct sample){ p, (uint32_t)(site - trace.sites), n };
    uint8_t *filter = &trace.filter[hash_of(p) % FILTER_SIZE];
    if (*filter < 255)
        __atomic_store_n(filter, *filter + 1, __ATOMIC_RELAXED);
    trace.sample_count++;
    site->live++, site->all++;
    site->live_bytes += n, site->all_bytes += n;
}

/* ---- the calls of the program ------------------------------------------------------------------ */

extern const char __ehdr_start[] __attribute__((visibility("hidden")));
extern const char _end[] __attribute__((visibility("hidden")));

#if HAVE_UNWINDER

struct frames {
    void **to;
    uint32_t depth;
};

/* The frames of the program: those of this library come first. */
static _Unwind_Reason_Code frame_take(struct _Unwind_Context *context, void *of)
{
    struct frames *frames = of;
    const char *at = (const char *)_Unwind_GetIP(context);
    if (!at || (frames->depth == 0 && at >= __ehdr_start && at < _end))
        return _URC_NO_REASON;
    frames->to[frames->depth++] = (void *)at;
    return frames->depth == FRAMES_MAX ? _URC_END_OF_STACK : _URC_NO_REASON;
}

/* The compiler's unwinder is linked in: backtrace() would load it as a library, which in our
 * constructor initialises the C library before it is given its environment. */
static uint32_t frames_take(void **to)
{
    struct frames frames = { to, 0 };
    _Unwind_Backtrace(frame_take, &frames);
    return frames.depth;
}

#else

static uint32_t frames_take(void **to)
{
    (void)to;
    return 0;
}

#endif

void trace_alloc(void *p, size_t n)
{
    void *frames[FRAMES_MAX];
    tls_state.trace_left -= (int64_t)(n ? n : 1);
    if (likely(tls_state.trace_left > 0) || tls_state.tracing)
        return;
    tls_state.tracing = true;
    tls_state.trace_left = next_distance();
    uint32_t depth = frames_take(frames);
    os_signals signals = lock();
    sample_add(p, n, frames, depth);
    unlock(signals);
    tls_state.tracing = false;
}

void trace_free(void *p)
{
    if (likely(!__atomic_load_n(&trace.filter[hash_of(p) % FILTER_SIZE], __ATOMIC_RELAXED)))
        return;
    os_signals signals = lock();
    struct sample *s = sample_find(p);
    if (s)
        sample_drop(s);
    unlock(signals);
}

/* The lock may have been held by a thread that the child has not got. */
AT_FORK(".text") void trace_after_fork(void)
{
    if (trace_lock) /* else nothing to write: a page less to copy */
        trace_lock = 0;
}

void trace_start(void)
{
    if (!option_number(OPT_TRACE))
        return;
    if (!HAVE_UNWINDER) {
        log_line("HSHM_TRACE: this C library tells no call stacks; nothing is traced");
        return;
    }
    trace.sites = os_map(SITES_MAX * sizeof *trace.sites, true);
    trace.samples = os_map(SAMPLES_MAX * sizeof *trace.samples, true);
    trace.filter = os_map(FILTER_SIZE, true);
    if (!trace.sites || !trace.samples || !trace.filter) {
        log_line("HSHM_TRACE: no memory for the records; nothing is traced");
        return;
    }
    trace_is_on = true;
}

/* ---- what is told ---------------------------------------------------------------------------- */

/* Freed by another member meanwhile?  Who frees here has told us. */
static bool is_live(const void *p)
{
    struct heap *h = &main_heap;
    uint64_t off = off_of(h, p);
    if (off >> SLICE_SHIFT >= h->slice_count)
        return true;
    const struct slice *d = slice_head(h, (uint32_t)(off >> SLICE_SHIFT));
    if (get(d->kind) == SLICE_LARGE)
        return (get(d->remote) & 0xff) == LARGE_LIVE;
    return get(d->kind) == SLICE_PAGE &&
           !(link_is_sound(h, link_read(h, p)) && page_lists_have(h, d, off));
}

static void drop_the_freed(void)
{
    for (uint32_t i = 0; i < SAMPLES_MAX; i++) {
        struct sample *s = &trace.samples[i];
        if (s->block && s->block != GONE && !is_live(s->block))
            sample_drop(s);
    }
}

/* What the samples stand for: each for the blocks of its size that were not drawn. */
static double scale_of(const struct site *s, uint64_t count, uint64_t bytes)
{
    double mean = (double)option_number(OPT_TRACE_BYTES);
    (void)s;
    return mean <= 1 || !count ? 1 : 1 / one_minus_exp((double)bytes / (double)count / mean);
}

static void tell_site(const struct site *s)
{
    char stack[400] = "", frame[128];
    size_t at = 0;
    for (uint32_t i = 0; i < s->depth && i < 12; i++) {
        symbol_put(frame, sizeof frame, s->frames[i]);
        size_t n = strlen(frame);
        if (at + n + 4 > sizeof stack)
            break;
        at += (size_t)snprintf(stack + at, sizeof stack - at, "%s%s", i ? " < " : "", frame);
    }
    double scale = scale_of(s, s->live, s->live_bytes);
    log_line("leaks: about %zuB in %zu blocks from %s", (size_t)((double)s->live_bytes * scale),
             (size_t)((double)s->live * scale + 0.5), stack);
}

#define TOLD_SITES 20

void trace_tell_leaks(void)
{
    if (!trace_is_on)
        return;
    tls_state.tracing = true;
    os_signals signals = lock();
    drop_the_freed();
    uint64_t below = UINT64_MAX;
    for (unsigned told = 0; told < TOLD_SITES;) { /* the largest, then the next ... */
        uint64_t most = 0;
        for (uint32_t i = 0; i < SITES_MAX; i++)
            if (trace.sites[i].live_bytes < below && trace.sites[i].live_bytes > most)
                most = trace.sites[i].live_bytes;
        if (!most)
            break;
        for (uint32_t i = 0; i < SITES_MAX && told < TOLD_SITES; i++)
            if (trace.sites[i].live_bytes == most) {
                tell_site(&trace.sites[i]);
                told++;
            }
        below = most;
    }
    unlock(signals);
    tls_state.tracing = false;
}

/* ---- HSHM_TRACE_FILE -------------------------------------------------------------------------- */

struct output {
    int fd;
    size_t used;
    char text[8192];
};

static void output_flush(struct output *o)
{
    for (size_t done = 0; done < o->used;) {
        ssize_t n = write(o->fd, o->text + done, o->used - done);
        if (n <= 0)
            break;
        done += (size_t)n;
    }
    o->used = 0;
}

static void put_site(struct output *o, const struct site *s)
{
    if (o->used + 96 + (size_t)FRAMES_MAX * 20 > sizeof o->text)
        output_flush(o);
    char *at = o->text + o->used, *end = o->text + sizeof o->text;
    at += snprintf(at, (size_t)(end - at), "%zu: %zu [%zu: %zu] @", (size_t)s->live,
                   (size_t)s->live_bytes, (size_t)s->all, (size_t)s->all_bytes);
    for (uint32_t i = 0; i < s->depth; i++)
        at += snprintf(at, (size_t)(end - at), " %p", s->frames[i]);
    *at++ = '\n';
    o->used = (size_t)(at - o->text);
}

static void put_maps(struct output *o)
{
    int maps = open("/proc/self/maps", O_RDONLY | O_CLOEXEC);
    o->used +=
        (size_t)snprintf(o->text + o->used, sizeof o->text - o->used, "\nMAPPED_LIBRARIES:\n");
    for (ssize_t n = 1; maps >= 0 && n > 0;) {
        output_flush(o);
        n = read(maps, o->text, sizeof o->text);
        o->used = n > 0 ? (size_t)n : 0;
    }
    if (maps >= 0)
        close(maps);
    output_flush(o);
}

/* %p is the pid. */
static bool file_name(char *to, size_t size)
{
    const char *from = option_text(OPT_TRACE_FILE), *percent = strstr(from, "%p");
    int n = percent ? snprintf(to, size, "%.*s%d%s", (int)(percent - from), from, (int)getpid(),
                               percent + 2)
                    : snprintf(to, size, "%s", from);
    return *from && n > 0 && (size_t)n < size;
}

/* The format of gperftools, which pprof and jeprof read, too. */
void trace_write(void)
{
    static struct output o;
    char path[OPTION_TEXT_SIZE];
    if (!trace_is_on || !file_name(path, sizeof path))
        return;
    os_signals signals = lock();
    o.used = 0;
    o.fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (o.fd >= 0) {
        struct site sum = { 0 };
        drop_the_freed();
        for (uint32_t i = 0; i < SITES_MAX; i++) {
            sum.live += trace.sites[i].live, sum.live_bytes += trace.sites[i].live_bytes;
            sum.all += trace.sites[i].all, sum.all_bytes += trace.sites[i].all_bytes;
        }
        o.used = (size_t)snprintf(o.text, sizeof o.text,
                                  "heap profile: %zu: %zu [%zu: %zu] @ heap_v2/%zu\n",
                                  (size_t)sum.live, (size_t)sum.live_bytes, (size_t)sum.all,
                                  (size_t)sum.all_bytes, (size_t)option_number(OPT_TRACE_BYTES));
        for (uint32_t i = 0; i < SITES_MAX; i++)
            if (trace.sites[i].all)
                put_site(&o, &trace.sites[i]);
        put_maps(&o);
        close(o.fd);
    }
    unlock(signals);
}
