/* interpose.c - the malloc family.
 *
 * malloc and free come first: their fast path is all that most programs ever
 * run of us.  The others are edges over alloc.h that add errno and arguments.
 */
#include "allocators/damage.h"
#include "allocators/inherited.h"
#include "allocators/page.h"
#include "allocators/room.h"
#include "allocators/thread_cache.h"
#include "config/log.h"
#include "preload/preload.h"

#include <errno.h>
#include <malloc.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* ---- when memory is short --------------------------------------------------------------- */

static void *libc_alloc(size_t n, size_t align, bool zero)
{
    const struct real *real = tls_state.starting ? NULL : real_get();
    if (!real)
        return bootstrap_alloc(n, align);
    if (!tls_state.libc_depth) /* what libc makes for itself is not the program's */
        count_libc_bytes(n);
    void *p = NULL;
    if (align > 16)
        return real->posix_memalign(&p, align, n) ? NULL : p;
    return zero ? real->calloc(1, n) : real->malloc(n);
}

/* What this member may have is gone, whatever the segment still has. */
static bool member_is_full(size_t n)
{
    uint64_t most = main_heap.member_limit_pages, has = get(main_heap.me->charged);
    return most && (has >= most || most - has < n / OS_PAGE + 16);
}

/* Who or what has the memory?  Only one of these lines is said, and once. */
static void say_full(size_t n)
{
    static bool said;
    struct heap *h = &main_heap;
    struct room room;
    if (__atomic_exchange_n(&said, true, __ATOMIC_RELAXED))
        return;
    room_look(h, &room);
    uint64_t left = room.available > room.promised ? room.available - room.promised : 0;
    if (member_is_full(n))
        log_line("segment %s: no room for %zuB: this program has all it may have, "
                 "HSHM_MEMBER_SIZE sets how much",
                 h->name, n);
    else if (room.group < n + (UINT64_C(8) << 20))
        log_line("segment %s: no room for %zuB: the memory cgroup of this program has %zuB left",
                 h->name, n, (size_t)room.group);
    else if (room.total && left < n + (UINT64_C(1) << 20) &&
             get(h->header->charged) + n / OS_PAGE < h->limit_pages)
        log_line("segment %s: no room for %zuB: its file system has %zuB left of %zuB", h->name, n,
                 (size_t)left, (size_t)room.total);
    else
        log_line(
            "segment %s is full: no room for %zuB.  `hshm show %s` tells who has it; HSHM_SIZE "
            "sets the limit; `hshm reclaim %s` frees what ended programs left",
            h->name, n, h->name, h->name);
}

static void *out_of_memory(size_t n, size_t align, bool zero)
{
    if (main_heap.unusable) /* it is damaged, and that was said */
        return libc_alloc(n, align, zero);
    /* What no segment could hold is the program's own affair. */
    if (n < main_heap.slice_count << SLICE_SHIFT && align < main_heap.slice_count << SLICE_SHIFT &&
        main_heap.shared) {
        if (option_number(OPT_FULL) == FULL_PRIVATE) {
            log_once(
                "segment %s is full%s: more memory comes from a private heap (HSHM_FULL=private)",
                main_heap.name, member_is_full(n) ? " for this program (HSHM_MEMBER_SIZE)" : "");
            return libc_alloc(n, align, zero);
        }
        if (option_number(OPT_FULL) == FULL_ABORT)
            log_abort("segment %s is full%s: no room for %zuB (HSHM_FULL=abort)", main_heap.name,
                      member_is_full(n) ? " for this program (HSHM_MEMBER_SIZE)" : "", n);
        say_full(n);
    }
    errno = ENOMEM;
    return NULL;
}

/* ---- the slow paths of every allocation --------------------------------------------------- */

static void *alloc_with_cache(size_t n, size_t align, bool zero)
{
    struct thread_cache *tc = cache_get();
    if (!tc && preload_mode == MODE_HEAP && main_heap.shared &&
        !tls_state.libc_depth) /* not even room for a thread's record */
        return out_of_memory(n, align, zero);
    if (!tc || tls_state.libc_depth || main_heap.unusable ||
        (preload_slow && mode_sends_to_libc(n)))
        return libc_alloc(n, align, zero);
    void *p = preload_slow ? mode_malloc(tc, n, align, zero)
              : align > 16 ? heap_memalign(tc, align, n)
              : zero       ? heap_calloc(tc, n)
                           : heap_malloc(tc, n);
    if (unlikely(!p))
        p = out_of_memory(n, align, zero);
    else if (preload_slow && trace_is_on)
        trace_alloc(p, n);
    cache_put(tc);
    return p;
}

/* A handler that interrupts this may fork: see interrupted.c. */
static void *alloc_slow(size_t n, size_t align, bool zero)
{
    tls_state.busy++;
    void *p = alloc_with_cache(n, align, zero);
    tls_state.busy--;
    return p;
}

static __attribute__((noinline)) void *malloc_slow(size_t n)
{
    if (preload_slow)
        count_call(CALL_MALLOC);
    return alloc_slow(n, 16, false);
}

/* No mapping of the C library's lies where segments do. */
static void must_be_libcs(const void *p, const char *call)
{
    if (unlikely((uintptr_t)p - BASE_LOW < BASE_HIGH + WINDOW_MAX - BASE_LOW))
        damage_foreign(p, call);
}

static void libc_free(void *p)
{
    if (bootstrap_owns(p))
        return;
    must_be_libcs(p, "free");
    const struct real *real = real_get();
    if (real)
        real->free(p);
}

static bool is_ours(const void *p)
{
    return off_of(&main_heap, p) >> SLICE_SHIFT < main_heap.slice_count;
}

static void free_ours(void *p)
{
    tls_state.busy++;
    struct thread_cache *tc = cache_get();
    if (tc && preload_slow && trace_is_on)
        trace_free(p);
    if (!tc)
        detached_free(&main_heap, p);
    else if (!(preload_slow && mode_free(tc, p)))
        heap_free(tc, p);
    if (tc)
        cache_put(tc);
    tls_state.busy--;
}

static __attribute__((noinline)) void free_slow(void *p)
{
    if (!p) {
        if (preload_slow)
            count_call(CALL_FREE);
        return;
    }
    int saved = errno;
    if (preload_slow)
        count_call(CALL_FREE);
    if (!is_ours(p)) {
        libc_free(p);
    } else {
        free_ours(p);
    }
    errno = saved;
}

static __attribute__((noinline)) void page_empty_slow(struct thread_cache *tc, struct slice *d)
{
    int saved = errno;
    tls_state.busy++;
    cache_page_empty(tc, d);
    tls_state.busy--;
    errno = saved;
}

/* ---- malloc and free ------------------------------------------------------------------------ */

static inline __attribute__((always_inline)) void *pop_direct(size_t n)
{
    struct thread_cache *tc = tls_cache;
    if (likely(n <= DIRECT_MAX))
        return page_pop(&main_heap, cell_at(&main_heap, tc->direct[direct_small(n)]));
    if (n > CLASS_MAX)
        return NULL;
    unsigned cls = class_of(n);
    struct class_cell *cell = cell_at(&main_heap, tc->direct[direct_of_class(cls)]);
    return page_pop_of(&main_heap, cell, class_slices(cls) == 1);
}

EXPORT void *malloc(size_t n)
{
    void *block = pop_direct(n);
    return likely(block != NULL) ? block : malloc_slow(n);
}

/* A block of this thread's own in a page of one slice with legacies of ended members, and
 * under no hold.  The legacies themselves are for the slow path. */
static __attribute__((noinline)) void free_beside_legacies(struct thread_cache *tc, struct slice *d,
                                                           uint64_t off)
{
    struct heap *h = &main_heap;
    const struct kept *kept = &h->kept[off >> SLICE_SHIFT];
    uint64_t block = page_block_quotient(d, off);
    if (unlikely(get(d->owner) != tc->id || (own_get(d->flags) & ~PAGE_IDLE) != PAGE_KEPT ||
                 get(d->kind) != SLICE_PAGE || own_get(d->span) != 1 || get(d->registered) ||
                 get(d->hold_last) || h->unusable || block >= PAGE_BLOCKS_MAX ||
                 get(kept->bits[block / 64]) >> (block % 64) & 1)) {
        free_slow(at_off(h, off));
        return;
    }
    page_push(h, cell_at(h, own_get(d->cell)), d, off);
    if (unlikely(own_get(d->used) == 0))
        page_empty_slow(tc, d);
}

/* Who owns the page?  A record of this process stays one as long as the process lives. */
static void remember_friend(struct thread_cache *tc, uint64_t home, uint64_t word)
{
    if (word_member(word) == main_heap.member_id)
        tc->friend_off = home - (home & (SLICE_BYTES - 1)) % sizeof(struct thread_record);
}

/* A page of another thread, of this process or not.  A cache without a record is
 * that of a thread which must not be here: before attach, or in an unknown child. */
static __attribute__((noinline)) void free_foreign(struct thread_cache *tc, struct slice *d,
                                                   uint64_t off, uint64_t home)
{
    uint64_t word = get_acquire(main_heap.chunks[off >> CHUNK_SHIFT].word);
    /* The page is one of this owner's, or has changed hands just now. */
    if (unlikely(!tc->record || main_heap.fork_matters || main_heap.unusable ||
                 get(d->home) != home ||
                 page_free_remote(&main_heap, &tc->record->step, d, off, word) != FREED))
        free_slow(at_off(&main_heap, off));
    else
        remember_friend(tc, home, word);
}

/* Mostly many blocks of one other thread are freed in turn, and if that is one of this
 * process nothing has to be asked: its pages are its own, whatever forks there were. */
static __attribute__((noinline)) void free_remote(struct thread_cache *tc, struct slice *d,
                                                  uint64_t off, uint64_t home)
{
    if (likely(home - tc->friend_off < sizeof(struct thread_record) && !main_heap.unusable))
        page_free_within(&main_heap, &tc->record->step, d, off);
    else if (home == HOME_NOBODY)
        free_beside_legacies(tc, d, off);
    else
        free_foreign(tc, d, off, home);
}

/* To all appearances right: pushed without a question.  All else, also NULL,
 * foreign and wrong pointers, is for the slow path. */
EXPORT void free(void *p)
{
    uint64_t off = off_of(&main_heap, p), i = off >> SLICE_SHIFT;
    if (likely(i < main_heap.slice_count)) {
        struct slice *d = &main_heap.slices[i];
        struct thread_cache *tc = tls_cache;
        uint64_t home = get(d->home), recip = own_get(d->recip);
        if (likely((off & (SLICE_BYTES - 1)) * recip < recip &&
                   !link_is_sound(&main_heap, link_read(&main_heap, p)))) {
            if (likely(home - tc->record_off < sizeof(struct thread_record))) {
                page_push(&main_heap, cell_at(&main_heap, home), d, off);
                if (unlikely(own_get(d->used) == 0))
                    page_empty_slow(tc, d);
                return;
            }
            free_remote(tc, d, off, home);
            return;
        }
    }
    free_slow(p);
}

/* ---- the rest of the family -------------------------------------------------------------------- */

EXPORT void *calloc(size_t count, size_t size)
{
    size_t n;
    if (preload_slow)
        count_call(CALL_CALLOC);
    if (__builtin_mul_overflow(count, size, &n)) {
        errno = ENOMEM;
        return NULL;
    }
    void *block = pop_direct(n);
    return likely(block != NULL) ? memset(block, 0, n) : alloc_slow(n, 16, true);
}

static void *foreign_realloc(void *p, size_t n)
{
    if (bootstrap_owns(p)) {
        size_t have = bootstrap_size(p);
        void *to = alloc_slow(n, 16, false);
        return to ? memcpy(to, p, have < n ? have : n) : NULL;
    }
    must_be_libcs(p, "realloc");
    const struct real *real = real_get();
    if (!real)
        return NULL;
    if (!preload_slow || !mode_has_bounds() || mode_sends_to_libc(n))
        return real->realloc(p, n);
    /* Of a size that is shared: HSHM_MIN_BLOCK, HSHM_MAX_BLOCK. */
    size_t have = real->malloc_usable_size(p);
    void *to = alloc_slow(n, 16, false);
    if (to) {
        memcpy(to, p, have < n ? have : n);
        real->free(p);
    }
    return to;
}

/* A block of this very thread's that is neither too small nor much too large:
 * most calls of realloc. */
static bool fits_already(const void *p, size_t n)
{
    uint64_t off = off_of(&main_heap, p);
    const struct slice *d = &main_heap.slices[off >> SLICE_SHIFT];
    uint64_t recip = own_get(d->recip);
    if (get(d->home) - tls_cache->record_off >= sizeof(struct thread_record) ||
        (off & (SLICE_BYTES - 1)) * recip >= recip)
        return false;
    uint32_t have = class_bytes(own_get(d->cls));
    return n <= have && n > have / 2 && !link_is_sound(&main_heap, link_read(&main_heap, p));
}

/* A process that is no member (any more) has its new blocks from libc, and a member those of sizes
 * that it does not share. */
static void *leave_segment(void *p, size_t n)
{
    bool libcs = preload_mode == MODE_LIBC || (preload_slow && mode_sends_to_libc(n));
    void *to = libcs ? libc_alloc(n, 16, false) : out_of_memory(n, 16, false);
    if (!to)
        return NULL;
    size_t have = mode_size(p);
    memcpy(to, p, have < n ? have : n);
    free_ours(p);
    return to;
}

EXPORT void *realloc(void *p, size_t n)
{
    if (!p) {
        if (preload_slow)
            count_call(CALL_REALLOC);
        return alloc_slow(n, 16, false);
    }
    if (n == 0) {
        if (preload_slow)
            count_call(CALL_REALLOC);
        if (is_ours(p))
            free_ours(p);
        else
            libc_free(p);
        return NULL;
    }
    if (preload_slow)
        count_call(CALL_REALLOC);
    if (!is_ours(p))
        return foreign_realloc(p, n);
    if (fits_already(p, n))
        return p;
    struct thread_cache *tc = preload_slow && mode_sends_to_libc(n) ? NULL : cache_get();
    if (!tc)
        return leave_segment(p, n);
    int saved = errno;
    void *to;
    if (preload_slow && trace_is_on)
        trace_free(p);
    tls_state.busy++;
    if (!(preload_slow && mode_realloc(tc, p, n, &to)))
        to = heap_realloc(tc, p, n);
    tls_state.busy--;
    errno = saved;
    if (unlikely(!to) && (to = out_of_memory(n, 16, false))) {
        size_t have = mode_size(p);
        memcpy(to, p, have < n ? have : n);
        free_ours(p);
    }
    if (preload_slow && trace_is_on && to)
        trace_alloc(to, n);
    cache_put(tc);
    return to;
}

EXPORT void *reallocarray(void *p, size_t count, size_t size)
{
    size_t n;
    if (__builtin_mul_overflow(count, size, &n)) {
        errno = ENOMEM;
        return NULL;
    }
    return realloc(p, n);
}

static bool power_of_two(size_t n)
{
    return n && !(n & (n - 1));
}

static void *aligned(size_t align, size_t n)
{
    return align <= 16 ? malloc(n) : alloc_slow(n, align, false);
}

EXPORT int posix_memalign(void **out, size_t align, size_t n)
{
    if (!power_of_two(align) || align < sizeof(void *))
        return EINVAL;
    int saved = errno;
    void *p = aligned(align, n);
    errno = saved;
    if (!p)
        return ENOMEM;
    *out = p;
    return 0;
}

EXPORT void *aligned_alloc(size_t align, size_t n)
{
    if (!power_of_two(align)) {
        errno = EINVAL;
        return NULL;
    }
    return aligned(align, n);
}

/* memalign() rounds its alignment up to a power of two, as glibc does. */
EXPORT void *memalign(size_t align, size_t n)
{
    if (align > (SIZE_MAX >> 1) + 1) {
        errno = EINVAL;
        return NULL;
    }
    size_t power = 16;
    while (power < align)
        power *= 2;
    return aligned(power, n);
}

EXPORT void *valloc(size_t n)
{
    return aligned((size_t)getpagesize(), n);
}

EXPORT void *pvalloc(size_t n)
{
    size_t page = (size_t)getpagesize();
    if (n > SIZE_MAX - page) {
        errno = ENOMEM;
        return NULL;
    }
    return aligned(page, n ? round_up(n, page) : page);
}

EXPORT size_t malloc_usable_size(void *p)
{
    if (!p)
        return 0;
    if (is_ours(p))
        return mode_size(p);
    if (bootstrap_owns(p))
        return bootstrap_size(p);
    must_be_libcs(p, "malloc_usable_size");
    const struct real *real = real_get();
    return real ? real->malloc_usable_size(p) : 0;
}

void free_sized(void *p, size_t n);
EXPORT void free_sized(void *p, size_t n)
{
    (void)n;
    free(p);
}

void free_aligned_sized(void *p, size_t align, size_t n);
EXPORT void free_aligned_sized(void *p, size_t align, size_t n)
{
    (void)align, (void)n;
    free(p);
}

void cfree(void *p);
EXPORT void cfree(void *p)
{
    free(p);
}

/* glibc's other names, which some programs and profilers call directly. */
#define ALIAS(name, of) EXPORT extern __typeof__(of) name ALIAS_OF(of)
ALIAS(__libc_malloc, malloc);
ALIAS(__libc_calloc, calloc);
ALIAS(__libc_realloc, realloc);
ALIAS(__libc_reallocarray, reallocarray);
ALIAS(__libc_free, free);
ALIAS(__libc_memalign, memalign);
ALIAS(__libc_valloc, valloc);
ALIAS(__libc_pvalloc, pvalloc);
ALIAS(__posix_memalign, posix_memalign);
