/* snapshot_copy.c - the copy that a snapshot consists of, and how it gets to the
 * child's addresses.
 *
 * A small copy is made in a pool: a memfd that the parent keeps, mapped twice.
 * It writes through a shared mapping, which no child inherits, and whose pages
 * are there from the last time.  The child inherits a private mapping of the
 * same file, without any page in it until it touches one.  So neither the fork
 * nor a child that soon calls exec or exit pays for pages.  A pool is used
 * again when no address space maps it any more: when the lock of the hold that
 * was made with it is gone.
 *
 * A large copy is made in fresh private memory, which is mapped on: it is the
 * child's alone afterwards, and huge pages can be moved.
 */
#include "allocators/commit.h"
#include "allocators/hold.h"
#include "allocators/mapped.h"
#include "allocators/snapshot.h"
#include "config/log.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>

#define FIRST_MAX (UINT64_C(128) << 10)
#define COPY_STEP (UINT64_C(256) << 10)
#define HUGE_PAGE (UINT64_C(2) << 20)
#define RUNS_MOST 30000 /* mappings of the child; vm.max_map_count is 65,530 */

/* ---- places ------------------------------------------------------------------------------ */

/* First what stays in the copy: pointers to descriptors, and those; then what is
 * moved.  Large runs lie in the copy as in the segment, so that huge pages can be moved. */
static void copy_lay_out(struct heap *h, struct snapshot *s)
{
    uint64_t at = 0, chunks = chunks_high(h) - h->first_chunk;
    if (s->want.kind == SNAPSHOT_COPY)
        at = round_up(chunks * sizeof(struct slice *), 64);
    for (uint64_t i = 0; i < s->run_count; i++)
        if (s->runs[i].kind == RUN_DESCRIPTORS) {
            s->runs[i].at = at;
            at += s->runs[i].bytes;
        }
    s->kept_bytes = at = round_up(at, OS_PAGE);
    for (uint64_t i = 0; i < s->run_count; i++) {
        struct snapshot_run *run = &s->runs[i];
        if (run->kind != RUN_DATA && run->kind != RUN_TABLE)
            continue;
        if (run->bytes >= HUGE_PAGE && s->bytes > POOL_MAX)
            at += (run->off - at) & (HUGE_PAGE - 1);
        run->at = at;
        at += run->bytes;
    }
    s->copy_bytes = at;
}

/* ---- pools ------------------------------------------------------------------------------- */

static bool pool_open(struct pool *p, uint64_t bytes)
{
    long fd = os_memfd("hshm-snapshot");
    if (fd < 0)
        return false;
    if (os_truncate(fd, bytes) == 0) {
        p->write = os_map_file(fd, 0, bytes, OS_MAP_SHARED);
        p->read = os_map_file(fd, 0, bytes, OS_MAP_PRIVATE);
        p->bytes = bytes;
    }
    os_close(fd);
    if (p->write && p->read && os_advise(p->write, bytes, MADV_DONTFORK) == 0)
        return true;
    pool_close(p);
    return false;
}

void pool_close(struct pool *p)
{
    if (p->write)
        os_unmap(p->write, p->bytes);
    if (p->read)
        os_unmap(p->read, p->bytes);
    memset(p, 0, sizeof *p);
}

/* What it has from the last times may not be what this copy needs. */
static void pool_empty(struct pool *p)
{
    if (os_purge(p->write, p->bytes, true) == 0) {
        memset(p->have, 0, sizeof p->have);
        p->pages = 0;
    }
}

/* Does no address space map what was copied there? */
static bool pool_is_free(struct snapshot *s, struct pool *p)
{
    if (!p->hold || !os_lock_held(s->fd, LOCK_HOLD(p->hold - 1)))
        p->hold = 0;
    return p->hold == 0;
}

static struct pool *pool_choose(struct heap *h, struct snapshot *s)
{
    struct pool *pools = h->mine->pools, *empty = NULL, *victim = &pools[0];
    uint64_t all = 0;
    for (unsigned i = 0; i < POOLS; i++) {
        if (pools[i].hold == (uint32_t)s->hold_index + 1)
            pools[i].hold = 0; /* its byte is ours now: nobody had it */
        if (pools[i].bytes >= s->copy_bytes && pool_is_free(s, &pools[i]))
            return &pools[i];
    }
    for (unsigned i = 0; i < POOLS; i++) {
        all += (uint64_t)pools[i].pages * OS_PAGE;
        if (!pools[i].bytes)
            empty = empty ? empty : &pools[i];
        else if (pools[i].used_seq - victim->used_seq > UINT32_MAX / 2 || !victim->bytes)
            victim = &pools[i];
    }
    uint64_t bytes = round_up(s->copy_bytes + s->copy_bytes / 4, UINT64_C(256) << 10);
    if (empty && all + s->bytes <= POOLS_BYTES)
        victim = empty;
    pool_close(victim); /* whoever has its snapshot there keeps it */
    return pool_open(victim, bytes) ? victim : NULL;
}

/* Many that fork are children themselves and do so once, with little of their own:
 * making a pool would cost more than it saves. */
static bool is_first_and_small(struct heap *h, const struct snapshot *s)
{
    return s->bytes <= FIRST_MAX && get(h->me->forks) == 0;
}

static bool area_take(struct heap *h, struct snapshot *s)
{
    bool pooled = s->want.kind == SNAPSHOT_COPY && !s->detached && s->bytes <= POOL_MAX &&
                  s->copy_bytes <= POOL_SPAN && !is_first_and_small(h, s);
    s->pool = pooled ? pool_choose(h, s) : NULL;
    if (s->pool) {
        if (s->pool->pages * OS_PAGE > POOL_MAX + POOL_MAX / 4)
            pool_empty(s->pool);
        s->pool->hold = (uint32_t)s->hold_index + 1;
        s->pool->used_seq = s->seq;
        s->write = s->pool->write;
        s->read = s->pool->read;
        s->area_bytes = s->pool->bytes;
        return true;
    }
    s->area_bytes = s->copy_bytes + HUGE_PAGE;
    s->area = os_map(s->area_bytes, true);
    if (!s->area)
        return false;
    s->write = s->read = (char *)round_up((uint64_t)(uintptr_t)s->area, HUGE_PAGE);
    return true;
}

/* ---- copying ------------------------------------------------------------------------------ */

/* Back [at, at + bytes) of the copy; what a pool has from the last time is not zero. */
static bool copy_back(struct snapshot *s, uint64_t at, uint64_t bytes)
{
    if (!bytes) /* a program that forks before anybody has allocated */
        return true;
    if (!s->pool)
        return os_populate(s->write + at, bytes) != -ENOMEM;
    uint64_t *have = s->pool->have, first = at / OS_PAGE, last = (at + bytes - 1) / OS_PAGE;
    for (uint64_t i = first; i <= last; i++) {
        if (have[i / 64] >> (i % 64) & 1)
            continue;
        uint64_t n = i;
        for (; n <= last && !(have[n / 64] >> (n % 64) & 1); n++)
            have[n / 64] |= UINT64_C(1) << (n % 64);
        s->pool->pages += (uint32_t)(n - i);
        if (os_populate(s->write + i * OS_PAGE, (n - i) * OS_PAGE) == -ENOMEM) {
            pool_empty(s->pool);
            return false;
        }
        i = n;
    }
    return true;
}

/* The most that can be copied in the same way, and where from: a part, or NULL. */
static uint64_t copy_step(struct snapshot *s, uint64_t off, uint64_t bytes,
                          const struct mapped_part **from)
{
    uint64_t n = at_most(bytes, COPY_STEP);
    *from = NULL;
    if (likely(!s->part_count))
        return n;
    const struct mapped_part *part = part_after(s, off);
    if (!part)
        return n;
    if (part->from > off)
        return at_most(n, part->from - off);
    *from = part;
    return at_most(n, part->to - off);
}

/* Pages are populated in steps that the processor's cache still has when they are filled. */
static bool copy_data(struct heap *h, struct snapshot *s, uint64_t off, uint64_t bytes)
{
    uint64_t at = s->now->at + (off - s->now->off);
    s->copied_to = off + bytes;
    for (uint64_t n; bytes; bytes -= n, at += n, off += n) {
        const struct mapped_part *part;
        n = copy_step(s, off, bytes, &part);
        if (part && part->foreign)
            continue;
        if (!copy_back(s, at, n))
            return false;
        if (part && !part_copy(h, part, s->write + at, off, n))
            return false;
        if (!part)
            memcpy(s->write + at, at_off(h, off), n);
    }
    return true;
}

/* [from, to) of the segment has no memory: nor may it read other than zero in the copy. */
static void copy_zero(struct snapshot *s, uint64_t from, uint64_t to)
{
    for (uint64_t off = from; s->pool && off < to; off += OS_PAGE) {
        uint64_t at = s->now->at + (off - s->now->off), i = at / OS_PAGE;
        if (s->pool->have[i / 64] >> (i % 64) & 1)
            memset(s->write + at, 0, OS_PAGE);
    }
}

static bool copy_data_or_zero(struct heap *h, struct snapshot *s, uint64_t off, uint64_t bytes)
{
    copy_zero(s, s->copied_to, off);
    return copy_data(h, s, off, bytes);
}

static bool copy_slice(struct heap *h, struct snapshot *s, struct slice *d)
{
    if (get(d->kind) != SLICE_LARGE)
        return slice_data(h, s, d, copy_data);
    uint64_t off = slice_off(h, d);
    s->copied_to = off;
    if (!slice_data(h, s, d, copy_data_or_zero))
        return false;
    copy_zero(s, s->copied_to, off + get(d->bytes));
    return true;
}

static bool run_copy_data(struct heap *h, struct snapshot *s, struct snapshot_run *run)
{
    if (run->bytes >= HUGE_PAGE && !s->pool && run->data >= run->bytes - run->bytes / 8)
        os_advise(s->write + run->at, run->bytes, MADV_HUGEPAGE);
    uint64_t first = run->off >> SLICE_SHIFT,
             end = (run->off + run->bytes + SLICE_BYTES - 1) >> SLICE_SHIFT;
    for (uint64_t i = first; i < end;) {
        struct slice *d = &h->slices[i];
        if (!copy_slice(h, s, d))
            return false;
        uint64_t huge = round_up(get(d->bytes), SLICE_BYTES) >> SLICE_SHIFT;
        bool is_huge = word_state(get(h->chunks[chunk_of((uint32_t)i)].word)) == CHUNK_HUGE;
        i += is_huge ? huge : get(d->span) ? get(d->span) : 1;
    }
    return true;
}

/* What is called free here is everybody's for the child: it has no copy of it. */
static void descriptors_tidy(struct slice *copies)
{
    for (uint32_t i = 0; i < CHUNK_SLICES; i++)
        if (slice_is_void(&copies[i]) || slice_is_pooled(&copies[i]) || get(copies[i].shared))
            own_put(inherited, copies[i].kind, SLICE_FREE);
}

static bool run_copy(struct heap *h, struct snapshot *s, struct snapshot_run *run)
{
    s->now = run;
    switch (run->kind) {
    case RUN_DESCRIPTORS:
        if (!copy_data(h, s, run->off, run->bytes))
            return false;
        descriptors_tidy((struct slice *)(void *)(s->write + run->at));
        return true;
    case RUN_TABLE: return backed_each(h, s, run->off, run->bytes, copy_data);
    case RUN_VIEW:
        run->at = (uint64_t)(uintptr_t)os_map_file(s->fd, run->off, run->bytes, OS_MAP_PRIVATE);
        return run->at != 0;
    default: return run_copy_data(h, s, run);
    }
}

/* The child's pointers to the descriptors of what it inherits: what we inherited
 * ourselves, and what is ours. */
static bool pointers_copy(struct heap *h, struct snapshot *s)
{
    uint64_t chunks = chunks_high(h) - h->first_chunk;
    struct slice **to = (struct slice **)(void *)s->write;
    if (s->want.kind != SNAPSHOT_COPY)
        return true;
    if (!copy_back(s, 0, s->kept_bytes))
        return false;
    memset(to, 0, chunks * sizeof *to); /* NOLINT(bugprone-sizeof-expression): of pointers */
    if (h->inherited)                   /* NOLINTNEXTLINE(bugprone-sizeof-expression) */
        memcpy(to, h->inherited, h->inherited_chunks * sizeof *to);
    for (uint64_t i = 0; i < s->run_count; i++)
        if (s->runs[i].kind == RUN_DESCRIPTORS) {
            uint64_t c = (s->runs[i].off - h->header->slices_off) / DESCRIPTORS_BYTES;
            to[c - h->first_chunk] = (struct slice *)(void *)(s->read + s->runs[i].at);
        }
    s->inherited_chunks = chunks;
    return true;
}

static bool window_map(struct heap *h, struct snapshot *s)
{
    if (s->want.kind != SNAPSHOT_PRIVATE)
        return true;
    s->window = os_map_file(s->fd, 0, h->header->window, OS_MAP_PRIVATE);
    return s->window != NULL;
}

bool copy_make(struct heap *h, struct snapshot *s)
{
    if (s->run_count > RUNS_MOST)
        return false;
    copy_lay_out(h, s);
    if (s->copy_bytes == 0 && s->want.kind == SNAPSHOT_COPY) /* nobody has allocated anything yet */
        return true;
    if (!area_take(h, s) || !window_map(h, s) || !pointers_copy(h, s))
        return false;
    for (uint64_t i = 0; i < s->run_count; i++)
        if (!run_copy(h, s, &s->runs[i]))
            return false;
    return true;
}

void copy_drop(struct snapshot *s)
{
    if (s->area)
        os_unmap(s->area, s->area_bytes);
    if (s->window)
        os_unmap(s->window, s->window_bytes);
    for (uint64_t i = 0; s->viewed && i < s->run_count; i++)
        if (s->runs[i].kind == RUN_VIEW && s->runs[i].at)
            os_unmap((char *)(uintptr_t)s->runs[i].at, s->runs[i].bytes);
}

/* ---- the child ------------------------------------------------------------------------------ */

AT_FORK(".text") static void place_all(struct heap *h, char *from, uint64_t bytes, uint64_t off)
{
    if (os_move(from, bytes, at_off(h, off)) < 0)
        log_abort("a forked child cannot have its copy of the heap: the kernel refuses the "
                  "mappings (vm.max_map_count, RLIMIT_AS)");
}

/* What the program has mapped over the heap it has had from the kernel. */
AT_FORK(".text")
static void place(struct heap *h, struct snapshot *s, char *from, uint64_t bytes, uint64_t off)
{
    for (uint64_t n; bytes; bytes -= n, from += n, off += n) {
        const struct mapped_part *part = s->part_count ? part_after(s, off) : NULL;
        bool inside = part && part->from <= off;
        n = !part ? bytes : at_most(bytes, (inside ? part->to : part->from) - off);
        if (!inside || !part->foreign)
            place_all(h, from, n, off);
        if (!inside)
            continue;
        if (!part->foreign && part->access != (PROT_READ | PROT_WRITE))
            os_protect(at_off(h, off), n, part->access);
        mapped_forget(h, off, n);
    }
}

AT_FORK(".text") void copy_into_place(struct heap *h, struct snapshot *s)
{
    if (!s->write)
        return;
    if (s->window)
        place(h, s, s->window, h->header->window, 0);
    for (uint64_t i = 0; i < s->run_count; i++) {
        const struct snapshot_run *run = &s->runs[i];
        if (run->kind == RUN_VIEW)
            place(h, s, (char *)(uintptr_t)run->at, run->bytes, run->off);
        else if (run->kind != RUN_DESCRIPTORS)
            place(h, s, s->read + run->at, run->bytes, run->off);
    }
    if (s->inherited_chunks) {
        h->inherited = (struct slice **)(void *)s->read;
        h->inherited_chunks = s->inherited_chunks;
        h->inherited_file |= s->pool != NULL || s->viewed != 0;
    }
    /* The rest of a pool is address space only. */
    if (s->area) {
        char *rest = s->read + s->kept_bytes, *end = s->area + s->area_bytes;
        if (rest < end)
            os_unmap(rest, (uint64_t)(end - rest));
    }
    for (unsigned i = 0; i < POOLS; i++) /* those of other children */
        if (s->others[i])
            os_unmap(s->others[i], s->others_bytes[i]);
}
