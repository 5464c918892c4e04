/* page.h - pages: runs of equal blocks with the free list inside.
 *
 *   capacity  blocks linked so far; the rest of the page was never touched
 *   free      the owner's list: malloc pops, its own free pushes
 *   remote    what everybody else freed; the owner merges it when 'free' is empty
 *   used      capacity - |free| - |remote| - |taken| <= used; exact after a merge
 *             (plus one while the page is some cache's current page)
 *
 * Guarantees:
 *   P1  A block is on at most one list, but for a merge cut short by death,
 *       when it is on two: recovery counts it once.
 *   P2  Only the owner takes blocks off a list.
 *   P3  After the death of an owner at any instruction every block of the page
 *       is on a list or was handed out, but for the one in flight.
 */
#pragma once
#include "allocators/heap.h"

/* A new page of the class for 'owner', with no block linked yet.  Lock held. */
struct slice *page_make(struct heap *h, unsigned cls, uint64_t owner);
/* Link some more blocks.  False: the page is full or there is no memory. */
bool page_extend(struct heap *h, struct slice *d);
/* Merge the remote list.  True if there was something. */
bool page_collect(struct heap *h, struct slice *d);
/* What a dead owner left half merged. */
void page_finish_merge(struct heap *h, struct slice *d);
/* Give an empty page's slices back.  Lock held. */
void page_end(struct heap *h, struct slice *d);

/* Free by somebody who is not the owner: a thread or process, living or not. */
void page_free_remote(struct heap *h, struct inflight *step, struct slice *d, uint64_t off);
/* Is the block on one of the page's lists?  Exact for the owner, a good guess for others. */
bool page_lists_have(struct heap *h, const struct slice *d, uint64_t off);

static inline uint64_t page_bytes(const struct slice *d)
{
    return (uint64_t)get(d->span) << SLICE_SHIFT;
}

/* Pages lie at multiples of their size: a block tells where its page begins,
 * whichever copy of the descriptor one has. */
static inline uint64_t page_start(const struct slice *d, uint64_t off)
{
    return off & ~(page_bytes(d) - 1);
}

static inline uint32_t page_block_index(const struct slice *d, uint64_t off)
{
    return (uint32_t)((off - page_start(d, off)) / class_bytes(get(d->cls)));
}

/* Is 'off' where a block of the page starts? */
static inline bool page_block_starts(const struct slice *d, uint64_t off)
{
    uint32_t size = class_bytes(get(d->cls));
    uint64_t at = off - page_start(d, off);
    return at % size == 0 && at / size < get(d->reserved);
}

static inline bool page_may_have_free(const struct slice *d)
{
    return !(own_get(d->free) & 1) || get(d->remote) || own_get(d->capacity) < own_get(d->reserved);
}

_Noreturn void page_link_damaged(struct heap *h, const struct slice *d, uint64_t off);

static inline void *page_pop(struct heap *h, struct slice *d)
{
    uint64_t off = own_get(d->free);
    if (unlikely(off & 1))
        return NULL;
    uint64_t *block = at_off(h, off), next = *block ^ h->link_key;
    if (unlikely(!link_is_sound(next, off)))
        page_link_damaged(h, d, off);
    own_put(page_pop, d->free, next);
    own_put(page_used, d->used, own_get(d->used) + 1);
    *block = 0; /* not a link any more: a free of it is not a double free */
    return block;
}

static inline void page_push(struct heap *h, struct slice *d, uint64_t off)
{
    *(uint64_t *)at_off(h, off) = own_get(d->free) ^ h->link_key;
    own_put(page_push, d->free, off);
    own_put(page_used, d->used, own_get(d->used) - 1);
}
