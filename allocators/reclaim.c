/* reclaim.c - frees what ended members left allocated (HSHM_EXIT=keep). */
#include "allocators/adopt.h"
#include "allocators/canary.h"
#include "allocators/chunk.h"
#include "allocators/handed.h"
#include "allocators/hold.h"
#include "allocators/in_hand.h"
#include "allocators/large.h"
#include "allocators/member.h"
#include "allocators/page.h"
#include "allocators/recover.h"
#include "allocators/run.h"
#include "allocators/sound.h"
#include "allocators/thread_cache.h"

#include <fcntl.h>

/* Is it the id of a member that lives, or has died and is not recovered? */
static bool id_is_current(struct heap *h, uint64_t id)
{
    uint32_t slot = member_slot(id);
    return slot < members_high(h) && state_of(get(h->members[slot].state)) != MEMBER_FREE &&
           state_epoch(get(h->members[slot].state)) == member_epoch(id);
}

static bool is_marked(struct heap *h, struct slice *d, uint32_t block)
{
    return get_acquire(h->kept[slice_index(h, d)].bits[block / 64]) >> (block % 64) & 1;
}

/* Freed already, and still marked: whoever merges the list clears the mark. */
static bool is_freed(struct heap *h, struct slice *d, uint64_t off)
{
    return link_is_sound(h, link_read(h, at_off(h, off))) && page_lists_have(h, d, off);
}

/* What somebody frees just now is theirs to free.  In this order: a free that is
 * under way is seen in its freer's hands, then on a list, then by its mark gone. */
static bool is_ours_to_free(struct heap *h, struct slice *d, uint32_t block, uint64_t off,
                            const struct hands *hands)
{
    return is_marked(h, d, block) && !hands_any(hands, off, off + 1) && !is_freed(h, d, off) &&
           is_marked(h, d, block);
}

static uint64_t reclaim_page(struct thread_cache *tc, struct slice *d)
{
    struct heap *h = tc->heap;
    struct hands hands;
    uint64_t bytes = 0, size = class_bytes(get(d->cls)), from = slice_off(h, d);
    bool pooled = own_get(d->owner) == owner_pool(h); /* ours, and PAGE_BITS: unmarked is free */
    hands_collect(h, -1, 0, from, from + page_bytes(d), &hands);
    for (uint32_t block = 0; block < get(d->capacity); block++) {
        uint64_t off = from + block * size;
        if (!is_ours_to_free(h, d, block, off, &hands) || block_is_registered(h, d, off))
            continue;
        if (get(d->flags) & PAGE_CHECKED)
            canary_poison(h, d, off);
        if (pooled)
            kept_forget(h, d, off);
        else if (page_free_remote(h, &tc->record->step, d, off,
                                  get_acquire(h->chunks[off >> CHUNK_SHIFT].word)) != FREED)
            break; /* its owner is being recovered */
        bytes += size;
    }
    return bytes;
}

static uint64_t reclaim_large(struct thread_cache *tc, struct slice *d)
{
    struct heap *h = tc->heap;
    uint64_t bytes = get(d->bytes);
    if (id_is_current(h, owner_member(get(d->owner))) || (get(d->remote) & 0xff) != LARGE_LIVE ||
        block_is_registered(h, d, slice_off(h, d)))
        return 0;
    return large_free(h, &tc->record->step, d) ? bytes : 0;
}

static uint64_t reclaim_chunk(struct thread_cache *tc, uint32_t c)
{
    struct heap *h = tc->heap;
    uint64_t bytes = 0;
    for (uint32_t i = 0; i < CHUNK_SLICES; i++) {
        struct slice *d = &h->slices[c * CHUNK_SLICES + i];
        if (page_is_sound(d) && get(d->flags) & PAGE_KEPT)
            bytes += reclaim_page(tc, d);
        else if (get(d->kind) == SLICE_LARGE)
            bytes += reclaim_large(tc, d);
    }
    return bytes;
}

static uint64_t reclaim_locked(struct thread_cache *tc)
{
    struct heap *h = tc->heap;
    uint64_t high = chunks_high(h);
    uint64_t bytes = blocks_free_left(h, &tc->record->step);
    struct guard g = heap_lock(h);
    while (adopt_chunk(
        h, 0, 0)) /* what has no owner becomes ours first: nobody allocates there meanwhile */
        ;
    heap_unlock(h, g);
    for (uint64_t c = h->first_chunk; c < high; c++) {
        uint64_t word = get_acquire(h->chunks[c].word);
        if (word_state(word) == CHUNK_OWNED || word_state(word) == CHUNK_ORPHAN)
            bytes += reclaim_chunk(tc, (uint32_t)c);
        else if (word_state(word) == CHUNK_HUGE && !id_is_current(h, word_member(word)))
            bytes += reclaim_large(tc, &h->slices[c * CHUNK_SLICES]);
    }
    put(kept_members, h->header->kept_members, 0);
    cache_sweep_all(tc);
    g = heap_lock(h);
    member_collect(h);
    pool_sweep(h);
    run_purge(h, true);
    heap_unlock(h, g);
    return bytes;
}

/* Two at a time would free a block twice: nothing says whose it is to free. */
uint64_t reclaim_kept(struct thread_cache *tc)
{
    long fd = os_open(tc->heap->path, O_RDWR, 0);
    if (fd < 0)
        return 0;
    uint64_t bytes = os_lock(fd, LOCK_RECLAIM) == 0 ? reclaim_locked(tc) : 0;
    os_close(fd);
    return bytes;
}
