/* sound.h - may this be followed?
 *
 * What lies in the segment can have been overwritten by any program in it.  Who
 * is about to use a word from there as an index, an offset or a length asks here
 * first.  What is found damaged is said once (damage_segment()), and the segment
 * is used no more: these functions then answer as if there was nothing.
 *
 * The fast paths do not ask, but for what they get for nothing.
 */
#pragma once
#include "allocators/damage.h"
#include "allocators/page.h"

static inline bool slice_exists(const struct heap *h, uint64_t i)
{
    return i / CHUNK_SLICES >= h->first_chunk && i / CHUNK_SLICES < chunks_high(h);
}

/* A page's descriptor, of the segment or a copy of one. */
static inline bool page_is_sound(const struct slice *d)
{
    unsigned cls = get(d->cls);
    return get(d->kind) == SLICE_PAGE && cls < CLASS_COUNT && get(d->span) == class_slices(cls) &&
           get(d->reserved) == (class_slices(cls) << SLICE_SHIFT) / class_bytes(cls) &&
           get(d->capacity) <= get(d->reserved) && get(d->shared) <= 1;
}

/* The descriptor of a large block at slice i of a chunk; 'word' is the chunk's. */
static inline bool large_is_sound(const struct heap *h, const struct slice *d, uint64_t i,
                                  uint64_t word)
{
    uint64_t bytes = get(d->bytes), c = i / CHUNK_SLICES;
    if (get(d->kind) != SLICE_LARGE || bytes == 0 || bytes % OS_PAGE)
        return false;
    if (word_state(word) == CHUNK_HUGE)
        return i % CHUNK_SLICES == 0 && c + word_length(word) <= h->chunk_count &&
               bytes <= (uint64_t)word_length(word) << CHUNK_SHIFT;
    return get(d->span) <= CHUNK_SLICES - i % CHUNK_SLICES && bytes <= (uint64_t)get(d->span)
                                                                           << SLICE_SHIFT;
}

/* A page or large block that lists or hints lead to; says so if it is none. */
static inline bool slice_must_be_sound(struct heap *h, const struct slice *d)
{
    uint64_t i = slice_index(h, d);
    if (likely(
            slice_exists(h, i) &&
            (page_is_sound(d) || large_is_sound(h, d, i, get(h->chunks[i / CHUNK_SLICES].word)))))
        return true;
    damage_segment(h, "the descriptor of a page or block", (const char *)d - (char *)h->header);
    return false;
}

static inline bool page_must_be_sound(struct heap *h, const struct slice *d)
{
    if (likely(slice_exists(h, slice_index(h, d)) && page_is_sound(d)))
        return true;
    damage_segment(h, "the descriptor of a page", (const char *)d - (char *)h->header);
    return false;
}

/* The next page of a list, by the index of one; 0 none.  The way back must lead here: then
 * no list is a ring. */
static inline uint32_t page_after(struct heap *h, uint32_t i)
{
    uint32_t next = own_get(h->slices[i].next);
    if (likely(next == 0 || (slice_exists(h, next) && own_get(h->slices[next].prev) == i)))
        return next;
    damage_segment(h, "a list of pages", (const char *)&h->slices[i].next - (char *)h->header);
    return 0;
}

/* Is this where a cell of a thread's record may be? */
static inline bool cell_is_sound(const struct heap *h, uint64_t off)
{
    uint64_t in = off & (SLICE_BYTES - 1);
    return off % 16 == 0 && slice_exists(h, off >> SLICE_SHIFT) &&
           get(h->slices[off >> SLICE_SHIFT].kind) == SLICE_RECORDS &&
           in < RECORDS_PER_SLICE * sizeof(struct thread_record) &&
           in % sizeof(struct thread_record) >= offsetof(struct thread_record, cells) &&
           in % sizeof(struct thread_record) <
               offsetof(struct thread_record, cells) + CLASS_COUNT * sizeof(struct class_cell);
}

static inline bool cell_must_be_sound(struct heap *h, const struct slice *d)
{
    if (likely(cell_is_sound(h, own_get(d->cell))))
        return true;
    damage_segment(h, "the thread of a page", (const char *)&d->cell - (char *)h->header);
    return false;
}

/* Does a block of page d begin at 'off', wherever that comes from? */
static inline bool block_is_in(const struct heap *h, const struct slice *d, uint64_t off)
{
    return off - slice_off(h, d) < page_bytes(d) && page_block_starts(d, off);
}

/* A block on a list of free ones, of whatever page. */
static inline bool free_block_exists(const struct heap *h, uint64_t off)
{
    if (!slice_exists(h, off >> SLICE_SHIFT))
        return false;
    const struct slice *d = slice_head(h, (uint32_t)(off >> SLICE_SHIFT));
    return page_is_sound(d) && block_is_in(h, d, off);
}

/* Does a walk come back to where it was?  Brent's way: one compare a step. */
struct walk {
    uint64_t mark, steps, limit;
};
static inline bool walk_returns(struct walk *w, uint64_t at)
{
    if (at == w->mark && at)
        return true;
    if (w->steps++ >= w->limit) {
        w->mark = at;
        w->limit = w->steps * 2;
    }
    return false;
}
