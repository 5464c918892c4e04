/* page.h - pages: runs of equal blocks, and what is done to one block.
 *
 * Free blocks of a page are on its owner's class list (struct class_cell),
 * which runs through all of the thread's pages of that class, so that malloc
 * takes what was freed last; or, freed by anybody else, on the page's own
 * 'remote' list until the owner merges it.
 *
 * Guarantees:
 *   P1  Only the owner takes blocks off a list.
 *   P2  A block is on at most one list, but for a merge, park or steal cut
 *       short by death: recovery marks it free, once or twice.
 *   P3  After the death of an owner at any instruction every block of its
 *       pages is on a list or was handed out, but for the one in flight.
 */
#pragma once
#include "allocators/heap.h"

/* A new page of the class for the thread cache, with no block linked yet.  Lock held. */
struct slice *page_make(struct thread_cache *tc, unsigned cls);
/* The page belongs to this cache now; with 'home' its free takes the fast path. */
void page_set_owner(struct thread_cache *tc, struct slice *d, bool home);
/* Link some more blocks.  False: the page is full or there is no memory. */
bool page_extend(struct heap *h, struct slice *d);
/* Merge the remote list into the owner's.  How many blocks came. */
uint32_t page_collect(struct heap *h, struct slice *d);
/* Give an empty page's slices back.  Lock held. */
void page_end(struct heap *h, struct slice *d);
/* Make the owner's list of the free blocks of an adopted page (PAGE_BITS). */
void page_list_from_bits(struct heap *h, struct slice *d);

enum freed {
    FREED,
    FREED_GONE,  /* the block goes with its dead owner just now (HSHM_EXIT=reclaim) */
    FREED_AGAIN, /* its chunk has changed hands meanwhile: look anew */
};
/* Free by somebody who is not the owner: a thread or process, living or not.
 * 'word' is that of the chunk, as it was when the block was looked up. */
enum freed page_free_remote(struct heap *h, struct inflight *step, struct slice *d, uint64_t off,
                            uint64_t word);
/* The same where the owner is another thread of this process: neither ends without the other. */
static inline void page_free_within(struct heap *h, struct inflight *step, struct slice *d,
                                    uint64_t off);
/* The same for a block that is in hand already: 'step' says so, for all to see. */
void page_push_remote(struct heap *h, struct inflight *step, struct slice *d, uint64_t off);
/* For the page's owner, asked by a recoverer: does the block look freed, but is on no list and
 * in nobody's hands?  The question is answered, or stays while somebody has it in hand. */
bool page_question(struct heap *h, struct slice *d, uint64_t *off);
/* Is the block on a list?  Exact for the owner, a good guess for others. */
bool page_lists_have(struct heap *h, const struct slice *d, uint64_t off);

_Noreturn void page_link_damaged(struct heap *h, uint64_t off);

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

/* The same for a page of one slice, without a division. */
static inline uint64_t page_block_quotient(const struct slice *d, uint64_t off)
{
    return (uint64_t)((unsigned __int128)(off & (SLICE_BYTES - 1)) * own_get(d->recip) >> 64);
}

/* Is 'off' where a block of the page starts? */
static inline bool page_block_starts(const struct slice *d, uint64_t off)
{
    uint32_t size = class_bytes(get(d->cls));
    uint64_t at = off - page_start(d, off);
    return at % size == 0 && at / size < get(d->reserved);
}

/* Take a block off the owner's list.  If we die after the store the block is
 * on no list: the one in flight.  NULL: the list is empty, or it is damaged, which
 * the slow path finds out (page_pop_failed()). */
static inline void *page_pop_of(struct heap *h, struct class_cell *cell, bool one_slice)
{
    uint64_t off = own_get(cell->free);
    if (unlikely(off & h->head_mask)) /* the end, or nothing that may be followed */
        return NULL;
    uint64_t *block = at_off(h, off), next = *block ^ h->link_key;
    if (unlikely(!link_is_sound(h, next)))
        return NULL;
    own_put(page_pop, cell->free, next);
    in_this_order(); /* a cleared word on the list would end it for whoever recovers us */
    struct slice *d = &h->slices[off >> SLICE_SHIFT];
    if (!one_slice)
        d = slice_head(h, slice_index(h, d));
    own_put(page_used, d->used, own_get(d->used) + 1);
    *block = 0; /* not a link any more: a free of it is not a double free */
    return block;
}

/* Nothing was to be had from this list: ends the program if it is damaged. */
static inline void page_pop_failed(struct heap *h, struct class_cell *cell)
{
    uint64_t off = own_get(cell->free);
    if (unlikely(!list_is_end(off)))
        page_link_damaged(h, off);
}

/* For classes whose pages are one slice: all that malloc's fast path serves. */
static inline void *page_pop(struct heap *h, struct class_cell *cell)
{
    return page_pop_of(h, cell, true);
}

/* The word 'remote' with one more block, which is the first. */
static inline uint64_t remote_with(uint64_t word, uint64_t off)
{
    return ((word | ((UINT64_C(1) << REMOTE_COUNT_SHIFT) - 1)) + 1) | off;
}

static inline uint64_t remote_link(uint64_t word)
{
    return word ? remote_head(word) : LIST_END;
}

static inline void page_free_within(struct heap *h, struct inflight *step, struct slice *d,
                                    uint64_t off)
{
    /* The note before the block looks free: see page_question(). */
    put(inflight_linked, step->what, off | INFLIGHT_LINKED);
    in_this_order();
    uint64_t word = get(d->remote);
    do
        link_write(h, off, remote_link(word));
    /* release: pairs with the acquire of the owner's page_take: it sees the link */
    while (unlikely(!cas(remote_push, d->remote, &word, remote_with(word, off))));
    put_release(inflight_done, step->what, 0);
}

static inline void page_push(struct heap *h, struct class_cell *cell, struct slice *d, uint64_t off)
{
    link_write(h, off, own_get(cell->free));
    in_this_order();
    own_put(page_push, cell->free, off);
    own_put(page_used, d->used, own_get(d->used) - 1);
}
