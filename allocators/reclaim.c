/* reclaim.c - frees what ended members left allocated (HSHM_EXIT=keep). */
#include "allocators/adopt.h"
#include "allocators/chunk.h"
#include "allocators/hold.h"
#include "allocators/large.h"
#include "allocators/member.h"
#include "allocators/page.h"
#include "allocators/recover.h"
#include "allocators/run.h"

/* The slot is not given out again with this id while a chunk bears it. */
static bool id_is_current(struct heap *h, uint64_t id)
{
    uint32_t slot = member_slot(id);
    return slot < get_acquire(h->header->members_high) &&
           state_of(get(h->members[slot].state)) != MEMBER_FREE &&
           state_epoch(get(h->members[slot].state)) == member_epoch(id);
}

/* Is somebody freeing this very block just now?  Then it is theirs to free. */
static bool in_flight(struct heap *h, uint64_t off)
{
    uint64_t high = get_acquire(h->header->members_high);
    for (uint64_t slot = 0; slot < high; slot++)
        for (uint32_t i = 0; i < INFLIGHT_MAX; i++)
            if ((get(h->members[slot].inflight[i].what) & ~UINT64_C(15)) == off)
                return true;
    return false;
}

static uint64_t reclaim_page(struct heap *h, struct slice *d)
{
    struct kept *kept = &h->kept[slice_index(h, d)];
    struct inflight *step = &h->me->inflight[INFLIGHT_MAX - 1];
    uint64_t bytes = 0, size = class_bytes(get(d->cls));
    for (uint32_t block = 0; block < get(d->capacity); block++) {
        uint64_t off = slice_off(h, d) + block * size;
        if (!(get(kept->bits[block / 64]) >> (block % 64) & 1) || in_flight(h, off) ||
            !kept_forget(h, d, off))
            continue;
        page_free_remote(h, step, d, off);
        bytes += size;
    }
    return bytes;
}

static uint64_t reclaim_large(struct heap *h, struct slice *d)
{
    uint64_t bytes = get(d->bytes);
    if (id_is_current(h, owner_member(get(d->owner))) || (get(d->remote) & 0xff) != LARGE_LIVE)
        return 0;
    return large_free(h, &h->me->inflight[INFLIGHT_MAX - 1], d) ? bytes : 0;
}

static uint64_t reclaim_chunk(struct heap *h, uint32_t c)
{
    uint64_t bytes = 0;
    for (uint32_t i = 0; i < CHUNK_SLICES; i++) {
        struct slice *d = &h->slices[c * CHUNK_SLICES + i];
        if (get(d->kind) == SLICE_PAGE && get(d->flags) & PAGE_KEPT)
            bytes += reclaim_page(h, d);
        else if (get(d->kind) == SLICE_LARGE)
            bytes += reclaim_large(h, d);
    }
    return bytes;
}

uint64_t reclaim_kept(struct heap *h)
{
    uint64_t bytes = 0, high = get_acquire(h->header->chunk_high);
    for (uint64_t c = h->first_chunk; c < high; c++) {
        uint64_t word = get_acquire(h->chunks[c].word);
        if (word_state(word) == CHUNK_OWNED || word_state(word) == CHUNK_ORPHAN)
            bytes += reclaim_chunk(h, (uint32_t)c);
        else if (word_state(word) == CHUNK_HUGE && !id_is_current(h, word_member(word)))
            bytes += reclaim_large(h, &h->slices[c * CHUNK_SLICES]);
    }
    struct guard g = heap_lock(h);
    for (uint64_t n = get(h->header->orphans); n; n--) /* empty pages and chunks are given back */
        if (!adopt_chunk(h))
            break;
    run_purge(h, true);
    heap_unlock(h, g);
    return bytes;
}
