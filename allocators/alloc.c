#include "allocators/alloc.h"
#include "allocators/adopt.h"
#include "allocators/canary.h"
#include "allocators/chunk.h"
#include "allocators/commit.h"
#include "allocators/damage.h"
#include "allocators/handed.h"
#include "allocators/hold.h"
#include "allocators/inherited.h"
#include "allocators/large.h"
#include "allocators/large_cache.h"
#include "allocators/mapped.h"
#include "allocators/page.h"
#include "allocators/recover.h"
#include "allocators/run.h"
#include "allocators/sound.h"
#include "allocators/thread_cache.h"

#include <string.h>

/* ---- which block ------------------------------------------------------------------------ */

/* Inherited blocks are described outside the segment's tables. */
static bool block_is_inherited(struct heap *h, const struct slice *d)
{
    return h->inherited && (d < h->slices || d >= h->slices + h->slice_count);
}

static uint32_t index_in_chunk(struct heap *h, const struct slice *d, uint32_t c)
{
    return block_is_inherited(h, d) ? (uint32_t)(d - h->inherited[c - h->first_chunk])
                                    : slice_index(h, d) % CHUNK_SLICES;
}

struct block {
    struct slice *d;    /* NULL: no page or large block is there */
    uint64_t off, word; /* word: of its chunk */
    const char *wrong;  /* why no block starts there; NULL: one does */
    bool damaged;       /* that is what is wrong: the segment is damaged */
};

static const char gone[] = "memory that is free already";

static const char *slice_fault(struct heap *h, const struct slice *d, uint64_t off)
{
    uint32_t c = (uint32_t)(off >> CHUNK_SHIFT), i = (uint32_t)(off >> SLICE_SHIFT);
    switch (get(d->kind)) {
    case SLICE_PAGE:
        return !page_block_starts(d, off) ? "a pointer into the middle of a block"
               : page_block_index(d, off) >= get(d->capacity) ? "a block that was never allocated"
                                                              : NULL;
    case SLICE_LARGE:
        return off & (SLICE_BYTES - 1) || i % CHUNK_SLICES != index_in_chunk(h, d, c)
                   ? "a pointer into the middle of a block"
                   : NULL;
    default: return gone;
    }
}

static bool is_unsound(struct heap *h, const struct slice *d, uint64_t word)
{
    enum slice_kind kind = (enum slice_kind)get(d->kind);
    return kind == SLICE_PAGE ? !page_is_sound(d)
                              : kind == SLICE_LARGE && !block_is_inherited(h, d) &&
                                    !large_is_sound(h, d, slice_index(h, d), word);
}

static struct block block_look(struct heap *h, const void *p)
{
    struct block b = { .off = off_of(h, p) };
    uint32_t i = (uint32_t)(b.off >> SLICE_SHIFT), c = chunk_of(i);
    if (c < h->first_chunk || c >= chunks_high(h)) {
        b.wrong = "a pointer that was never allocated";
        return b;
    }
    b.word = get_acquire(h->chunks[c].word);
    enum chunk_state state = word_state(b.word);
    struct slice *d = inherited_slice(h, b.off);
    if (unlikely(!d && (state == CHUNK_FREE || state == CHUNK_PART))) {
        b.wrong = state == CHUNK_FREE ? gone : "a pointer into the middle of a large block";
        return b;
    }
    if (likely(!d))
        d = state == CHUNK_HUGE ? &h->slices[(size_t)c * CHUNK_SLICES] : slice_head(h, i);
    b.d = d;
    if (unlikely(is_unsound(h, d, b.word))) {
        b.damaged = true;
        return b;
    }
    b.wrong = slice_fault(h, d, b.off);
    if (get(d->kind) != SLICE_PAGE && get(d->kind) != SLICE_LARGE) {
        b.d = NULL;
        b.wrong = gone; /* it may have been a page a moment ago */
    }
    return b;
}

#define LOOKS 1000

/* A pointer whose block has gone (with a dead maker, or to whom it was handed over) may
 * lie where somebody makes another page just now: what is unsound then is not for long. */
static struct block block_find(struct heap *h, const void *p)
{
    struct block b = block_look(h, p);
    for (unsigned looks = 1; unlikely(b.damaged) && looks < LOOKS; looks++)
        b = block_look(h, p);
    if (unlikely(b.damaged)) {
        b.wrong = "the descriptor of a page or block";
        damage_segment(h, b.wrong, (char *)b.d - (char *)h->header);
        b.d = NULL;
    }
    return b;
}

static _Noreturn void block_damaged(struct heap *h, const struct block *b, const char *call,
                                    const char *wrong)
{
    if (b->d)
        damage_block(h, b->d, b->off, call, wrong);
    damage_pointer(h, b->off, call, wrong);
}

/* Descriptor of the block that starts at p; ends the program if none does.  'call' is
 * what the program called.  NULL: the segment is damaged. */
static struct slice *block_at(struct heap *h, const void *p, const char *call)
{
    struct block b = block_find(h, p);
    if (unlikely(b.wrong != NULL && !b.damaged))
        block_damaged(h, &b, call, b.wrong);
    return b.d;
}

/* Does the block look free, and is it?  Of a page whose owner is gone only the marks
 * tell.  Wrong only while somebody else changes the lists. */
static bool is_free(struct heap *h, const struct slice *d, uint64_t off)
{
    if (get(d->kind) == SLICE_LARGE)
        return (get_acquire(d->remote) & 0xff) != LARGE_LIVE;
    if (likely(!link_is_sound(h, link_read(h, at_off(h, off)))))
        return false;
    uint8_t flags = get(d->flags);
    return flags & PAGE_EMPTY || page_lists_have(h, d, off) ||
           (flags & PAGE_BITS && !kept_has(h, d, off));
}

static size_t block_bytes(const struct slice *d)
{
    return get(d->kind) == SLICE_LARGE ? get(d->bytes) : class_bytes(get(d->cls));
}

/* The block at p, which must be the program's, and how much of it is. */
static struct slice *live_block(struct heap *h, const void *p, const char *call, size_t *bytes)
{
    struct slice *d = likely(!h->unusable) ? block_at(h, p, call) : NULL;
    uint64_t off = off_of(h, p);
    if (unlikely(!d)) { /* what it was is not known any more: not beyond its chunk */
        *bytes = CHUNK_BYTES - off % CHUNK_BYTES;
        return NULL;
    }
    if (unlikely(!block_is_inherited(h, d) && is_free(h, d, off)))
        damage_block(h, d, off, call, "a block that is free already");
    *bytes = unlikely(canary_is_on(d)) ? canary_size(h, d, off, call) : block_bytes(d);
    return d;
}

struct slice *heap_block(struct heap *h, const void *p)
{
    if (off_of(h, p) >> SLICE_SHIFT >= h->slice_count)
        return NULL;
    struct block b = block_find(h, p);
    return !b.wrong && !block_is_inherited(h, b.d) && !is_free(h, b.d, b.off) ? b.d : NULL;
}

size_t heap_usable_size(struct heap *h, const void *p)
{
    size_t bytes;
    live_block(h, p, "malloc_usable_size", &bytes);
    return bytes;
}

/* ---- allocating --------------------------------------------------------------------------- */

/* Where a member has all that it may have, the others have nothing to give.  Near its limit
 * what it asks for may be more than it lacks of it. */
static bool is_short_for_all(const struct heap *h)
{
    return h->shared &&
           (!h->member_limit_pages || get(h->me->charged) < h->member_limit_pages / 8 * 7);
}

/* No memory: look for dead members, take over what they left free, give back
 * what is idle, also in chunks that others have given back. */
void heap_relieve(struct heap *h)
{
    if (!heap_is_usable(h))
        return;
    bool all = is_short_for_all(h);
    if (all)
        memory_found_short(h);
    recover_dead(h, true);
    struct guard g = heap_lock(h);
    while (adopt_chunk(h, 0, 0))
        ;
    pool_sweep(h);
    held_sweep(h);
    run_purge(h, true);
    for (uint64_t c = h->first_chunk, high = chunks_high(h); all && c < high; c++)
        chunk_purge_free(h, (uint32_t)c);
    heap_unlock(h, g);
}

static void release(struct thread_cache *tc, uint64_t off);

static void release_delayed(struct thread_cache *tc, bool all)
{
    struct heap *h = tc->heap;
    for (uint64_t off; (off = canary_due(h, all));)
        release(tc, off);
}

static bool relieve(struct thread_cache *tc)
{
    if (!heap_is_usable(tc->heap))
        return false;
    release_delayed(tc, true);
    cache_sweep_all(tc);
    heap_relieve(tc->heap);
    return heap_is_usable(tc->heap);
}

static void deferred_drain(struct thread_cache *tc);

static void *small_alloc(struct thread_cache *tc, unsigned cls)
{
    if (unlikely(tc->heap->mine->deferred_count))
        deferred_drain(tc);
    void *block = cache_refill(tc, cls);
    return likely(block != NULL) || !relieve(tc) ? block : cache_refill(tc, cls);
}

static void *big_alloc(struct thread_cache *tc, size_t n, size_t align, bool growing, bool *zero)
{
    if (n > PTRDIFF_MAX)
        return NULL;
    void *block = align <= SLICE_BYTES ? large_cache_take(tc, n, zero) : NULL;
    if (block)
        return block;
    block = large_alloc(tc->heap, n, align, growing, zero);
    return likely(block != NULL) || !relieve(tc) ? block
                                                 : large_alloc(tc->heap, n, align, growing, zero);
}

static void *plain_alloc(struct thread_cache *tc, size_t n, bool growing, bool *zero)
{
    return n <= CLASS_MAX ? small_alloc(tc, class_of(n)) : big_alloc(tc, n, 1, growing, zero);
}

#define LOOK_PAGES 1024

/* OS pages of a large block that an earlier one never touched have no memory:
 * to clear them would give them some. */
static void clear_large(char *block, size_t n)
{
    unsigned char there[LOOK_PAGES];
    for (size_t bytes; n; block += bytes, n -= bytes) {
        bytes = n < LOOK_PAGES * OS_PAGE ? n : LOOK_PAGES * OS_PAGE;
        size_t pages = (bytes + OS_PAGE - 1) / OS_PAGE;
        if (!os_is_there(block, bytes, there)) {
            memset(block, 0, bytes);
            continue;
        }
        for (size_t from = 0, to; from < pages; from = to + 1) {
            for (to = from; to < pages && there[to] & 1; to++)
                ;
            size_t end = to * OS_PAGE < bytes ? to * OS_PAGE : bytes;
            if (to > from)
                memset(block + from * OS_PAGE, 0, end - from * OS_PAGE);
        }
    }
}

static void *aligned_alloc_of(struct thread_cache *tc, size_t align, size_t n)
{
    if (n > PTRDIFF_MAX || align > PTRDIFF_MAX)
        return NULL;
    if (n <= CLASS_MAX && align <= CLASS_MAX) {
        /* Blocks of a page lie at multiples of their size: find a class that is a multiple. */
        size_t want = n ? round_up(n, align) : align;
        if (want <= CLASS_MAX) {
            unsigned cls = class_of(want);
            while (cls < CLASS_COUNT && class_bytes(cls) % align)
                cls++;
            if (cls < CLASS_COUNT)
                return small_alloc(tc, cls);
        }
    }
    return big_alloc(tc, n > CLASS_MAX ? n : CLASS_MAX + 1, align, false, NULL);
}

/* HSHM_CHECK=full. */
static void *checked_alloc(struct thread_cache *tc, size_t align, size_t n, bool *zero)
{
    if (n > PTRDIFF_MAX - CANARY_ROOM)
        return NULL;
    size_t more = n + CANARY_ROOM;
    void *block =
        align <= 16 ? plain_alloc(tc, more, false, zero) : aligned_alloc_of(tc, align, more);
    if (!block)
        return NULL;
    uint64_t off = off_of(tc->heap, block);
    if (canary_arm(tc->heap, off, n))
        return block;
    release(tc, off);
    return NULL;
}

void *heap_malloc(struct thread_cache *tc, size_t n)
{
    if (unlikely(tc->heap->check))
        return checked_alloc(tc, 16, n, NULL);
    return plain_alloc(tc, n, false, NULL);
}

void *heap_calloc(struct thread_cache *tc, size_t n)
{
    bool zero = false;
    void *block = unlikely(tc->heap->check) ? checked_alloc(tc, 16, n, &zero)
                                            : plain_alloc(tc, n, false, &zero);
    /* Where memory shows what others write, none that is missing now reads as zero later. */
    if (block && !zero && n > LARGE_POPULATED && !tc->heap->shown_through)
        clear_large(block, n);
    else if (block && !zero)
        memset(block, 0, n);
    return block;
}

void *heap_memalign(struct thread_cache *tc, size_t align, size_t n)
{
    if (unlikely(tc->heap->check))
        return checked_alloc(tc, align, n, NULL);
    return align <= 16 ? plain_alloc(tc, n, false, NULL) : aligned_alloc_of(tc, align, n);
}

/* ---- freeing ---------------------------------------------------------------------------------- */

static struct inflight *step_of(struct thread_cache *tc)
{
    return &tc->record->step;
}

/* A wrong free is the program's mistake, unless blocks of that chunk went with a
 * dead owner: then it cannot have known. */
static void free_is_wrong(struct heap *h, const struct block *b, const char *call,
                          const char *wrong)
{
    uint64_t c = b->off >> CHUNK_SHIFT;
    if (b->damaged)
        return;
    if (c < h->first_chunk || c >= chunks_high(h) || !get_acquire(h->chunks[c].went))
        block_damaged(h, b, call, wrong);
    damage_gone(h, b->off);
}

static enum freed free_in_page(struct thread_cache *tc, const struct block *b)
{
    if (unlikely(is_free(tc->heap, b->d, b->off))) {
        free_is_wrong(tc->heap, b, NULL, "double free");
        return FREED;
    }
    if (get(b->d->owner) != tc->id)
        return page_free_remote(tc->heap, step_of(tc), b->d, b->off, b->word);
    cache_free(tc, b->d, b->off);
    return FREED;
}

static enum freed release_once(struct thread_cache *tc, const struct block *b)
{
    if (unlikely(b->wrong != NULL)) {
        free_is_wrong(tc->heap, b, "free", b->wrong);
        return FREED;
    }
    if (get(b->d->kind) == SLICE_PAGE)
        return free_in_page(tc, b);
    if (!large_cache_put(tc, b->d) && !large_free(tc->heap, step_of(tc), b->d))
        free_is_wrong(tc->heap, b, NULL, "double free");
    return FREED;
}

static void release_block(struct thread_cache *tc, struct block b)
{
    enum freed freed;
    while ((freed = release_once(tc, &b)) == FREED_AGAIN)
        b = block_find(tc->heap, at_off(tc->heap, b.off));
    if (unlikely(freed == FREED_GONE))
        damage_gone(tc->heap, b.off);
}

static void release(struct thread_cache *tc, uint64_t off)
{
    release_block(tc, block_find(tc->heap, at_off(tc->heap, off)));
}

static void checked_free(struct thread_cache *tc, const struct block *b)
{
    struct heap *h = tc->heap;
    if (is_free(h, b->d, b->off)) {
        free_is_wrong(h, b, NULL, "double free");
        return;
    }
    canary_size(h, b->d, b->off, "free");
    canary_poison(h, b->d, b->off);
    if (!canary_delay(h, b->d, b->off))
        release_block(tc, *b);
    release_delayed(tc, false);
}

/* Those whose child is gone. */
static void deferred_drain(struct thread_cache *tc)
{
    struct heap *h = tc->heap;
    for (uint64_t off; (off = deferred_take(h));)
        release(tc, off);
}

/* A legacy that we have adopted but no snapshot: our child reads it where it lies. */
static bool is_shared_legacy(struct heap *h, struct slice *d, uint64_t off)
{
    return get(d->kind) == SLICE_PAGE && get(d->flags) & PAGE_KEPT && kept_has(h, d, off) &&
           !page_is_held(h, d);
}

/* A child has this block of another member too, or is ours and has it: see inherited.h. */
static bool fork_takes_free(struct thread_cache *tc, struct slice *d, uint64_t off)
{
    struct heap *h = tc->heap;
    uint64_t owner = word_member(get(h->chunks[chunk_of(slice_index(h, d))].word));
    if (h->mine->deferred_count)
        deferred_drain(tc);
    return fork_drops_free(h, d, off) ||
           ((owner != h->member_id || is_shared_legacy(h, d, off)) && fork_defers_free(h, d, off));
}

void heap_free(struct thread_cache *tc, void *p)
{
    struct heap *h = tc->heap;
    if (unlikely(h->unusable)) /* it stays: a damaged segment is not written to */
        return;
    struct block b = block_find(h, p);
    if (unlikely(h->mapped != NULL) && !b.wrong && get(b.d->kind) == SLICE_LARGE &&
        !block_is_inherited(h, b.d))
        mapped_restore(h, b.off, get(b.d->bytes));
    if (unlikely(b.wrong != NULL)) {
        free_is_wrong(h, &b, "free", b.wrong);
    } else if (unlikely(block_is_inherited(h, b.d))) {
        if (canary_is_on(b.d) && !link_is_sound(h, link_read(h, p)))
            canary_size(h, b.d, b.off, "free");
        inherited_free(h, b.d, b.off);
    } else if (unlikely(get(b.d->registered)) && block_free_taken(h, step_of(tc), b.d, b.off)) {
        return;
    } else if (unlikely(h->fork_matters) && fork_takes_free(tc, b.d, b.off)) {
        return;
    } else if (unlikely(canary_is_on(b.d))) {
        checked_free(tc, &b);
    } else {
        release_block(tc, b);
    }
}

void heap_settle(struct thread_cache *tc)
{
    if (!heap_is_usable(tc->heap))
        return;
    release_delayed(tc, true);
}

/* ---- resizing ------------------------------------------------------------------------------------ */

static bool resize_in_place(struct heap *h, struct slice *d, size_t have, size_t n)
{
    if (n <= have && n > have / 2)
        return true;
    return get(d->kind) == SLICE_LARGE && n > CLASS_MAX &&
           !is_held_by_both(h, d, slice_off(h, d)) && large_resize(h, d, n);
}

void *heap_realloc(struct thread_cache *tc, void *p, size_t n)
{
    struct heap *h = tc->heap;
    size_t have;
    struct slice *d = live_block(h, p, "realloc", &have);
    if (n > PTRDIFF_MAX || !d)
        return NULL;
    if (likely(!canary_is_on(d)) &&
        (block_is_inherited(h, d) ? n <= have && n > have / 2 : resize_in_place(h, d, have, n)))
        return p;
    bool growing = get(d->kind) == SLICE_LARGE && n > have;
    void *block =
        unlikely(h->check) ? checked_alloc(tc, 16, n, NULL) : plain_alloc(tc, n, growing, NULL);
    if (!block)
        return n <= have && !canary_is_on(d) ? p
                                             : NULL; /* a block that cannot shrink stays as it is */
    memcpy(block, p, n < have ? n : have);
    heap_free(tc, p);
    return block;
}

/* OS pages that chunks have; a private heap keeps no ledger. */
static uint64_t pages_held(struct heap *h)
{
    uint64_t high = chunks_high(h), sum = 0;
    for (uint64_t c = h->first_chunk; c < high; c++)
        sum += get(h->chunks[c].charged);
    return sum;
}

bool heap_trim(struct thread_cache *tc)
{
    struct heap *h = tc->heap;
    if (!heap_is_usable(h))
        return false;
    uint64_t before = pages_held(h);
    cache_sweep_all(tc);
    struct guard g = heap_lock(h);
    member_collect(h);
    pool_sweep(h);
    held_sweep(h);
    run_purge(h, true);
    heap_unlock(h, g);
    return pages_held(h) < before;
}
