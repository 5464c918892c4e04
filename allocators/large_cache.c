#include "allocators/large_cache.h"
#include "allocators/commit.h"
#include "allocators/hold.h"
#include "allocators/large.h"

#define SLICES_BLOCK (LARGE_POPULATED >> SLICE_SHIFT) /* of one block, at most */
#define SLICES_ALL   16                               /* of all that a thread keeps */

static struct slice *cached(struct thread_cache *tc, uint32_t i)
{
    return &tc->heap->slices[tc->large[i]];
}

void large_cache_flush(struct thread_cache *tc)
{
    if (!tc->large_count || tc->heap->unusable)
        return;
    struct guard g = heap_lock(tc->heap);
    for (uint32_t i = 0; i < tc->large_count; i++)
        large_end(tc->heap, cached(tc, i));
    heap_unlock(tc->heap, g);
    tc->large_count = tc->large_slices = 0;
}

bool large_cache_put(struct thread_cache *tc, struct slice *d)
{
    struct heap *h = tc->heap;
    uint32_t span = get(d->span);
    uint64_t word = get_acquire(h->chunks[chunk_of(slice_index(h, d))].word);
    uint64_t stamp = get_acquire(d->remote);
    if (word_state(word) != CHUNK_OWNED || word_member(word) != h->member_id ||
        span > SLICES_BLOCK || get(d->flags) || get(d->registered) || page_is_held(h, d) ||
        (stamp & 0xff) != LARGE_LIVE)
        return false;
    if (h->shared && memory_is_short(h)) {
        large_cache_flush(tc);
        return false;
    }
    if (tc->large_count == LARGE_CACHED_MAX || tc->large_slices + span > SLICES_ALL)
        large_cache_flush(tc);
    if (!cas(large_freed, d->remote, &stamp, (stamp & ~UINT64_C(0xff)) | LARGE_CACHED))
        return false; /* freed twice at the same time */
    tc->large[tc->large_count++] = slice_index(h, d);
    tc->large_slices += span;
    return true;
}

/* A forking thread announces its hold and then looks at what is live; we say that a
 * block is live and then look for a hold.  Pairs with the fence in stop_caches(). */
static bool hold_is_new(struct thread_cache *tc)
{
    __atomic_thread_fence(__ATOMIC_SEQ_CST);
    return __atomic_load_n(&tc->heap->mine->hold_seq, __ATOMIC_RELAXED) != tc->hold_seq;
}

/* The last one freed of this many slices, that no fork since has a copy of. */
static uint32_t find(struct thread_cache *tc, uint32_t span)
{
    for (uint32_t i = tc->large_count; i-- > 0;)
        if (get(cached(tc, i)->span) == span && !page_is_held(tc->heap, cached(tc, i)))
            return i;
    return UINT32_MAX;
}

void *large_cache_take(struct thread_cache *tc, size_t n, bool *zero)
{
    if (!tc->large_count || n > LARGE_POPULATED || tc->heap->unusable)
        return NULL;
    uint32_t span = (uint32_t)((n + SLICE_BYTES - 1) >> SLICE_SHIFT);
    uint32_t i = find(tc, span);
    if (i == UINT32_MAX)
        return NULL;
    struct slice *d = cached(tc, i);
    if (!large_again(tc->heap, d, n, zero))
        return NULL;
    if (hold_is_new(tc)) {
        put_release(large_freed, d->remote, (get(d->remote) & ~UINT64_C(0xff)) | LARGE_CACHED);
        return NULL;
    }
    tc->large[i] = tc->large[--tc->large_count];
    tc->large_slices -= span;
    return at_off(tc->heap, slice_off(tc->heap, d));
}
