#include "allocators/cache_hold.h"
#include "allocators/hold.h"
#include "allocators/page.h"
#include "allocators/sound.h"
#include "allocators/thread_cache.h"

static void page_set_held(struct thread_cache *tc, struct slice *d, bool held)
{
    uint8_t flags = own_get(d->flags);
    put(page_flags, d->flags, (uint8_t)(held ? flags | PAGE_HELD : flags & ~PAGE_HELD));
    put(page_owner, d->home,
        held || flags & (PAGE_KEPT | PAGE_CHECKED) || get(d->registered)
            ? HOME_NOBODY
            : off_of(tc->heap, &tc->record->cells[own_get(d->cls)]));
}

/* The parked blocks of pages that are free of holds go to the free list, one
 * by one: dying in between loses the one in hand. */
static void unpark_blocks(struct thread_cache *tc, struct class_cell *cell)
{
    struct heap *h = tc->heap;
    uint64_t before = 0;
    struct walk walk = { 0 };
    for (uint64_t off = own_get(cell->parked), next; !list_is_end(off); off = next) {
        if (unlikely(!free_block_exists(h, off) || walk_returns(&walk, off))) {
            damage_segment(h, "a list of free blocks", (char *)cell - (char *)h->header);
            return;
        }
        struct slice *d = slice_head(h, (uint32_t)(off >> SLICE_SHIFT));
        next = link_read(h, at_off(h, off));
        if (!link_is_sound(h, next))
            page_link_damaged(h, off);
        if (own_get(d->flags) & PAGE_HELD) {
            before = off;
            continue;
        }
        if (before)
            link_write(h, before, next);
        else
            own_put(page_park, cell->parked, next);
        link_write(h, off, own_get(cell->free));
        in_this_order();
        own_put(page_park, cell->free, off);
    }
}

/* The end of a list of free blocks, 0 if it is damaged. */
static uint64_t list_last(struct heap *h, const struct class_cell *cell, uint64_t first)
{
    struct walk walk = { 0 };
    uint64_t last = first;
    if (!free_block_exists(h, first)) {
        damage_segment(h, "a list of free blocks", (const char *)cell - (const char *)h->header);
        return 0;
    }
    for (uint64_t next; (next = link_read(h, at_off(h, last))) != LIST_END; last = next)
        if (!link_is_sound(h, next) || !free_block_exists(h, next) || walk_returns(&walk, next))
            page_link_damaged(h, last);
    return last;
}

/* All blocks of one list go to the front of the other.  A walk costs a cache miss
 * for each block, at each fork: only the end of two lists is looked for. */
static void list_move(struct heap *h, const struct class_cell *cell, sh64_t *from, sh64_t *to)
{
    uint64_t first = own_get(*from);
    if (list_is_end(first))
        return;
    if (!list_is_end(own_get(*to))) {
        uint64_t last = list_last(h, cell, first);
        if (!last)
            return;
        link_write(h, last, own_get(*to));
        in_this_order();
    }
    own_put(page_park, *to, first);
    in_this_order(); /* dying here leaves the blocks on both lists */
    own_put(page_park, *from, LIST_END);
}

/* Afterwards only pages under a hold have blocks on 'parked': a hold may have
 * ended already, and who is not held is not looked at again. */
static void park_class(struct thread_cache *tc, unsigned cls)
{
    struct heap *h = tc->heap;
    struct class_pages *pages = &tc->classes[cls];
    pages->fresh = 0;
    pages->held = 0;
    pages->held_seen = h->mine->holds_ended;
    for (uint32_t i = pages->pages.head; i; i = page_after(h, i)) {
        struct slice *d = &h->slices[i];
        if (!page_must_be_sound(h, d))
            return;
        bool held = page_is_held(h, d);
        page_set_held(tc, d, held);
        pages->held += held;
    }
    struct class_cell *cell = &tc->record->cells[cls];
    if (pages->held) /* every free block was so at the fork, or was freed by the fast path since */
        list_move(h, cell, &cell->free, &cell->parked);
    if (pages->held < pages->count) {
        unpark_blocks(tc, cell);
        for (uint32_t i = pages->pages.head; i; i = page_after(h, i))
            cache_note_empty(tc, &h->slices[i]);
    }
}

void cache_park(struct thread_cache *tc)
{
    tc->hold_seq = __atomic_load_n(&tc->heap->mine->hold_seq, __ATOMIC_RELAXED);
    for (unsigned cls = 0; cls < CLASS_COUNT; cls++)
        if (tc->classes[cls].count)
            park_class(tc, cls);
}

void cache_unpark(struct thread_cache *tc, unsigned cls)
{
    struct heap *h = tc->heap;
    struct class_pages *pages = &tc->classes[cls];
    if (!pages->held || !hold_look(h) || pages->held_seen == h->mine->holds_ended)
        return;
    pages->held_seen = h->mine->holds_ended;
    pages->held = 0;
    bool any = false;
    for (uint32_t i = pages->pages.head; i; i = page_after(h, i)) {
        struct slice *d = &h->slices[i];
        if (!page_must_be_sound(h, d))
            return;
        if (!(own_get(d->flags) & PAGE_HELD))
            continue;
        if (page_is_held(h, d)) {
            pages->held++;
            continue;
        }
        page_set_held(tc, d, false);
        if (own_get(d->capacity) < own_get(d->reserved))
            pages->fresh = i;
        any = true;
    }
    if (!any)
        return;
    struct class_cell *cell = &tc->record->cells[cls];
    if (pages->held)
        unpark_blocks(tc, cell);
    else
        list_move(h, cell, &cell->parked, &cell->free);
    for (uint32_t i = pages->pages.head; i; i = page_after(h, i))
        cache_note_empty(tc, &h->slices[i]);
}
