#include "allocators/alloc.h"
#include "allocators/adopt.h"
#include "allocators/chunk.h"
#include "allocators/damage.h"
#include "allocators/hold.h"
#include "allocators/large.h"
#include "allocators/page.h"
#include "allocators/recover.h"
#include "allocators/run.h"
#include "allocators/snapshot.h"
#include "allocators/thread_cache.h"

#include <string.h>

/* ---- which block ------------------------------------------------------------------------ */

/* Descriptor of the block that starts at p; ends the program if none does. */
static struct slice *block_at(struct heap *h, const void *p)
{
    uint64_t off = off_of(h, p);
    uint32_t i = (uint32_t)(off >> SLICE_SHIFT), c = chunk_of(i);
    if (c < h->first_chunk || c >= get_acquire(h->header->chunk_high))
        damage_pointer(h, off, "free of a pointer that was never allocated");
    enum chunk_state state = word_state(get_acquire(h->chunks[c].word));
    struct slice *d = inherited_slice(h, off);
    if (likely(!d)) {
        if (state == CHUNK_FREE)
            damage_pointer(h, off, "free of memory that is free already");
        if (state == CHUNK_PART)
            damage_pointer(h, off, "free of a pointer into the middle of a large block");
        d = slice_head(h, i);
    }
    switch (get(d->kind)) {
    case SLICE_PAGE:
        if (!page_block_starts(d, off))
            damage_block(h, d, off, "free of a pointer into the middle of a block");
        if (page_block_index(d, off) >= get(d->capacity))
            damage_block(h, d, off, "free of a block that was never allocated");
        return d;
    case SLICE_LARGE:
        if (off & (SLICE_BYTES - 1))
            damage_block(h, d, off, "free of a pointer into the middle of a block");
        return d;
    default: damage_pointer(h, off, "free of memory that is free already");
    }
}

/* Inherited blocks are described outside the segment's tables. */
static bool block_is_inherited(struct heap *h, const struct slice *d)
{
    return h->inherited && (d < h->slices || d >= h->slices + h->slice_count);
}

size_t heap_usable_size(struct heap *h, const void *p)
{
    const struct slice *d = block_at(h, p);
    return get(d->kind) == SLICE_LARGE ? get(d->bytes) : class_bytes(get(d->cls));
}

/* ---- allocating --------------------------------------------------------------------------- */

/* No memory: look for dead members, take over what they left free, give back
 * what is idle. */
void heap_relieve(struct heap *h)
{
    recover_dead(h, true);
    struct guard g = heap_lock(h);
    while (adopt_chunk(h))
        ;
    pool_sweep(h);
    held_sweep(h);
    run_purge(h, true);
    heap_unlock(h, g);
}

static bool relieve(struct thread_cache *tc)
{
    cache_sweep_all(tc);
    heap_relieve(tc->heap);
    return true;
}

static void *small_alloc(struct thread_cache *tc, unsigned cls)
{
    void *block = cache_refill(tc, cls);
    return likely(block != NULL) || !relieve(tc) ? block : cache_refill(tc, cls);
}

static void *big_alloc(struct thread_cache *tc, size_t n, size_t align, bool growing, bool *zero)
{
    if (n > PTRDIFF_MAX)
        return NULL;
    void *block = large_alloc(tc->heap, n, align, growing, zero);
    return likely(block != NULL) || !relieve(tc) ? block
                                                 : large_alloc(tc->heap, n, align, growing, zero);
}

void *heap_malloc(struct thread_cache *tc, size_t n)
{
    return n <= CLASS_MAX ? small_alloc(tc, class_of(n)) : big_alloc(tc, n, 1, false, NULL);
}

void *heap_calloc(struct thread_cache *tc, size_t n)
{
    bool zero = false;
    void *block = n <= CLASS_MAX ? small_alloc(tc, class_of(n)) : big_alloc(tc, n, 1, false, &zero);
    if (block && !zero)
        memset(block, 0, n);
    return block;
}

void *heap_memalign(struct thread_cache *tc, size_t align, size_t n)
{
    if (align <= 16)
        return heap_malloc(tc, n);
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

/* ---- freeing ---------------------------------------------------------------------------------- */

static struct inflight *step_of(struct thread_cache *tc)
{
    return &tc->record->step;
}

static void free_in_page(struct thread_cache *tc, struct slice *d, uint64_t off)
{
    struct heap *h = tc->heap;
    bool looks_free = link_is_sound(h, link_read(h, at_off(h, off)));
    if (unlikely(looks_free) && page_lists_have(h, d, off))
        damage_block(h, d, off, "double free");
    if (get(d->owner) == tc->id)
        cache_free(tc, d, off);
    else
        page_free_remote(h, step_of(tc), d, off);
}

void heap_free(struct thread_cache *tc, void *p)
{
    struct heap *h = tc->heap;
    uint64_t off = off_of(h, p);
    struct slice *d = block_at(h, p);
    if (unlikely(block_is_inherited(h, d))) {
        inherited_free(h, d, off);
        return;
    }
    if (get(d->kind) == SLICE_PAGE)
        free_in_page(tc, d, off);
    else if (!large_free(h, step_of(tc), d))
        damage_block(h, d, off, "double free");
}

/* ---- resizing ------------------------------------------------------------------------------------ */

static bool resize_in_place(struct heap *h, struct slice *d, size_t have, size_t n)
{
    if (n <= have && n > have / 2)
        return true;
    return get(d->kind) == SLICE_LARGE && n > CLASS_MAX && large_resize(h, d, n);
}

void *heap_realloc(struct thread_cache *tc, void *p, size_t n)
{
    struct heap *h = tc->heap;
    struct slice *d = block_at(h, p);
    bool large = get(d->kind) == SLICE_LARGE;
    size_t have = large ? get(d->bytes) : class_bytes(get(d->cls));
    if (n > PTRDIFF_MAX)
        return NULL;
    if (block_is_inherited(h, d) ? n <= have && n > have / 2 : resize_in_place(h, d, have, n))
        return p;
    void *block =
        n > CLASS_MAX ? big_alloc(tc, n, 1, large && n > have, NULL) : small_alloc(tc, class_of(n));
    if (!block)
        return n <= have ? p : NULL; /* a block that cannot shrink stays as it is */
    memcpy(block, p, n < have ? n : have);
    heap_free(tc, p);
    return block;
}

/* OS pages that chunks have; a private heap keeps no ledger. */
static uint64_t pages_held(struct heap *h)
{
    uint64_t high = get_acquire(h->header->chunk_high), sum = 0;
    for (uint64_t c = h->first_chunk; c < high; c++)
        sum += get(h->chunks[c].charged);
    return sum;
}

bool heap_trim(struct thread_cache *tc)
{
    struct heap *h = tc->heap;
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
