#include "allocators/page.h"
#include "allocators/adopt.h"
#include "allocators/canary.h"
#include "allocators/commit.h"
#include "allocators/damage.h"
#include "allocators/in_hand.h"
#include "allocators/run.h"
#include "allocators/sound.h"

#include <string.h>

struct slice *page_make(struct thread_cache *tc, unsigned cls)
{
    struct heap *h = tc->heap;
    uint32_t n = class_slices(cls), first = run_alloc(h, n, n);
    if (!first)
        return NULL;
    struct slice *d = &h->slices[first];
    uint32_t size = class_bytes(cls);
    own_put(page_make, d->recip, UINT64_MAX / size + 1);
    own_put(page_make, d->used, 0);
    own_put(page_make, d->capacity, 0);
    own_put(page_make, d->reserved, (uint16_t)(((uint64_t)n << SLICE_SHIFT) / size));
    own_put(page_make, d->taken, 0);
    own_put(page_make, d->audit, 0);
    own_put(page_make, d->cls, (uint8_t)cls);
    put(page_make, d->flags, h->check ? PAGE_CHECKED : 0);
    own_put(page_make, d->back, 0);
    own_put(page_make, d->span, n);
    own_put(page_make, d->step, 1);
    own_put(page_make, d->shared, tc->shared);
    put(page_make, d->registered, 0);
    own_put(page_make, d->hold_birth, (uint32_t)get(h->header->hold_seq));
    own_put(page_make, d->hold_last, 0);
    put(page_make, d->remote, 0);
    page_set_owner(tc, d, true);
    for (uint32_t i = 1; i < n; i++) {
        put(page_owner, d[i].home, HOME_NOBODY);
        own_put(page_make, d[i].back, (uint8_t)i);
        put(slice_tail, d[i].kind, SLICE_TAIL);
    }
    /* Before this store the slices are free for whoever recovers us. */
    put_release(page_kind, d->kind, SLICE_PAGE);
    return d;
}

void page_set_owner(struct thread_cache *tc, struct slice *d, bool home)
{
    uint64_t cell = off_of(tc->heap, &tc->record->cells[own_get(d->cls)]);
    put(page_owner, d->home, HOME_NOBODY); /* 'home' is 'cell' or nobody's at each moment */
    put(page_owner, d->owner, tc->id);
    put(page_owner, d->cell, cell);
    /* A checked block's free looks at its canary first, whoever frees it. */
    bool plain = !get(d->registered) && !(own_get(d->flags) & PAGE_CHECKED);
    put(page_owner, d->home, home && plain ? cell : HOME_NOBODY);
}

void page_end(struct heap *h, struct slice *d)
{
    uint32_t n = own_get(d->span);
    put(page_owner, d->home, HOME_NOBODY);
    put(page_owner, d->cell, 0);
    put(page_owner, d->owner, 0);
    /* The head last: until then the run is still a page, an empty one. */
    for (uint32_t i = n; i-- > 0;)
        put_release(slice_free, d[i].kind, SLICE_FREE);
    run_free(h, slice_index(h, d), n);
}

/* ---- extension -------------------------------------------------------------------- */

static void link_blocks(struct heap *h, struct slice *d, uint32_t from, uint32_t to)
{
    struct class_cell *cell = cell_at(h, own_get(d->cell));
    uint64_t size = class_bytes(own_get(d->cls)), first = slice_off(h, d) + from * size,
             off = first;
    if (own_get(d->flags) & PAGE_CHECKED)
        for (uint32_t i = from; i < to; i++)
            canary_poison(h, d, first + (i - from) * size);
    for (uint32_t i = from; i + 1 < to; i++, off += size)
        link_write(h, off, off + size);
    link_write(h, off, own_get(cell->free));
    in_this_order();
    /* The list before the capacity: blocks beyond it on a list are recognised,
     * blocks below it on none would be taken for handed out. */
    own_put(page_extend, cell->free, first);
    put_release(page_capacity, d->capacity, (uint16_t)to);
}

/* OS pages are committed in doubling steps: a program that needs three blocks
 * pays for one, one that fills pages gets them in cheap batches. */
bool page_extend(struct heap *h, struct slice *d)
{
    if (!page_must_be_sound(h, d) || !cell_must_be_sound(h, d))
        return false;
    uint32_t from = own_get(d->capacity), reserved = own_get(d->reserved);
    if (from == reserved)
        return false;
    uint64_t size = class_bytes(own_get(d->cls)), step = own_get(d->step) * OS_PAGE;
    uint64_t have = round_up(from * size, OS_PAGE), end = have + step;
    if (end < (from + 1) * size)
        end = round_up((from + 1) * size, OS_PAGE);
    if (end > reserved * size)
        end = reserved * size;
    if (end > have && !commit_range(h, slice_off(h, d) + have, end - have, true, NULL)) {
        uint64_t least = round_up((from + 1) * size, OS_PAGE); /* the step may be too much */
        if (least >= end ||
            (least > have && !commit_range(h, slice_off(h, d) + have, least - have, true, NULL)))
            return false;
        end = least;
    }
    uint32_t to = (uint32_t)(end / size);
    if (to > reserved)
        to = reserved;
    link_blocks(h, d, from, to);
    if (step < SLICE_BYTES)
        own_put(page_step, d->step, own_get(d->step) * 2);
    return true;
}

/* ---- lists -------------------------------------------------------------------------- */

#define WALK_MAX 1000000

/* Walk a list that may be changing or damaged: bounded, each link checked. */
static bool list_has_within(struct heap *h, uint64_t head, uint64_t off, uint64_t steps)
{
    for (; steps && head && !list_is_end(head); steps--) {
        if (head == off)
            return true;
        if (head % 16 || !slice_exists(h, head >> SLICE_SHIFT))
            return false;
        head = link_read(h, at_off(h, head));
        if (!link_is_sound(h, head))
            return false;
    }
    return false;
}

static bool list_has(struct heap *h, uint64_t head, uint64_t off)
{
    return list_has_within(h, head, off, WALK_MAX);
}

bool page_lists_have(struct heap *h, const struct slice *d, uint64_t off)
{
    uint64_t cell = get(d->cell);
    if (list_has(h, remote_head(get(d->remote)), off) || list_has(h, get(d->taken), off))
        return true;
    return cell_is_sound(h, cell) && (list_has(h, get(cell_at(h, cell)->free), off) ||
                                      list_has(h, get(cell_at(h, cell)->parked), off));
}

/* Where the owner puts a block of this page: not to be allocated while a
 * snapshot covers it. */
static void owner_put(struct heap *h, struct slice *d, uint64_t first, uint64_t last)
{
    struct class_cell *cell = cell_at(h, own_get(d->cell));
    if (own_get(d->flags) & PAGE_HELD) {
        link_write(h, last, own_get(cell->parked));
        in_this_order();
        own_put(page_merge, cell->parked, first);
    } else {
        link_write(h, last, own_get(cell->free));
        in_this_order();
        own_put(page_merge, cell->free, first);
    }
}

static bool is_on_list(struct heap *h, const struct slice *d, uint64_t off)
{
    uint64_t cell = own_get(d->cell), all = chunks_high(h) << (CHUNK_SHIFT - 4);
    return list_has_within(h, remote_head(get_acquire(d->remote)), off, all) ||
           list_has_within(h, own_get(d->taken), off, all) ||
           (cell && (list_has_within(h, own_get(cell_at(h, cell)->free), off, all) ||
                     list_has_within(h, own_get(cell_at(h, cell)->parked), off, all)));
}

/* tests/models/audit.pml tries all of this in every order.  The question is taken off
 * first: who asks about the block again finds none, and asks.  A later freer notes
 * the block before it makes it look freed, and has it on 'remote' before it clears
 * the note: so it is seen in its hands or on the list.  Only the owner, who asks,
 * takes blocks off any of the lists. */
bool page_question(struct heap *h, struct slice *d, uint64_t *off)
{
    struct hands hands;
    uint64_t none = 0;
    *off = swap(page_audited, d->audit, 0);
    if (!block_is_in(h, d, *off) || page_block_index(d, *off) >= own_get(d->capacity) ||
        !link_is_sound(h, link_read(h, at_off(h, *off))))
        return false;
    __atomic_thread_fence(__ATOMIC_ACQUIRE);
    hands_collect(h, -1, 0, *off, *off + 1, &hands);
    bool in_hand = hands_any(&hands, *off, *off + 1);
    if (is_on_list(h, d, *off))
        return false;
    if (in_hand) /* when those hands are empty */
        cas(page_audited, d->audit, &none, *off);
    return !in_hand;
}

/* A recoverer found that a dead process may have been freeing this block. */
static uint32_t page_audit(struct heap *h, struct slice *d)
{
    uint64_t off;
    if (!page_question(h, d, &off))
        return 0;
    kept_forget(h, d, off);
    owner_put(h, d, off, off);
    own_put(page_used, d->used, own_get(d->used) - 1);
    return 1;
}

/* Is what others have written to blocks of this page not for us? */
static bool is_cleared(struct heap *h, const struct slice *d)
{
    return h->shared && (h->zero || h->mine->info[chunk_of(slice_index(h, d))].foreign);
}

static void block_clear(struct heap *h, const struct slice *d, uint64_t off)
{
    if (!(get(d->flags) & PAGE_CHECKED)) /* those are full of poison */
        memset((char *)at_off(h, off) + sizeof(uint64_t), 0,
               class_bytes(own_get(d->cls)) - sizeof(uint64_t));
}

/* The last block of a remote list; the marks of all are cleared: freed is nobody's
 * legacy any more. */
static uint64_t list_tail(struct heap *h, struct slice *d, uint64_t head, bool clear)
{
    for (uint32_t n = 1, most = own_get(d->reserved);; n++) {
        if (unlikely(own_get(d->flags) & PAGE_KEPT))
            kept_forget(h, d, head);
        if (unlikely(clear))
            block_clear(h, d, head);
        uint64_t next = link_read(h, at_off(h, head));
        if (!link_is_sound(h, next) || n > most)
            page_link_damaged(h, head);
        if (list_is_end(next))
            return head;
        if (!block_is_in(h, d, next))
            page_link_damaged(h, head);
        head = next;
    }
}

/* A list that becomes the owner's as it is need not be walked: its blocks are
 * looked at when they are allocated. */
static bool becomes_list(struct heap *h, const struct slice *d)
{
    return !(own_get(d->flags) & (PAGE_KEPT | PAGE_HELD)) && !is_cleared(h, d) &&
           list_is_end(own_get(cell_at(h, own_get(d->cell))->free));
}

static bool remote_is_sound(struct heap *h, const struct slice *d, uint64_t word)
{
    if (likely(block_is_in(h, d, remote_head(word)) && remote_count(word) <= get(d->capacity)))
        return true;
    damage_segment(h, "a page's list of remote frees", (const char *)d - (char *)h->header);
    return false;
}

uint32_t page_collect(struct heap *h, struct slice *d)
{
    uint64_t word = get(d->remote);
    uint32_t n = 0;
    if (likely(!word && !get(d->audit)))
        return 0;
    if (!page_must_be_sound(h, d) || !cell_must_be_sound(h, d) ||
        (word && !remote_is_sound(h, d, word)))
        return 0;
    if (word) {
        do /* 'taken' first: a list that only a register knew would die with us */
            own_put(page_taking, d->taken, remote_head(word)); /* the CAS orders it */
        while (!cas(page_take, d->remote, &word, 0));
        uint64_t head = remote_head(word);
        n = remote_count(word);
        if (becomes_list(h, d))
            own_put(page_merge, cell_at(h, own_get(d->cell))->free, head);
        else
            owner_put(h, d, head, list_tail(h, d, head, is_cleared(h, d)));
        own_put(page_used, d->used, own_get(d->used) - n);
        own_put(page_taking, d->taken, 0);
    }
    if (unlikely(get(d->audit)))
        n += page_audit(h, d);
    return n;
}

/* Is the page still what it was, and does it stay so?  Its owner may have died,
 * and with HSHM_EXIT=reclaim its blocks go: recovery says that it has begun, and
 * then looks whose hands have which blocks; we have noted ours, and then look. */
static enum freed owner_stays(struct heap *h, uint64_t off, uint64_t word)
{
    if (get_acquire(h->chunks[off >> CHUNK_SHIFT].word) != word)
        return FREED_AGAIN;
    const struct seg_member *m = &h->members[member_slot(word_member(word)) % MEMBER_MAX];
    uint64_t state = get_acquire(m->state);
    bool goes = state_of(state) == MEMBER_RECOVERING && get(m->settings) & SETTING_RECLAIM &&
                state_epoch(state) == member_epoch(word_member(word)) &&
                word_state(word) == CHUNK_OWNED;
    return goes ? FREED_GONE : FREED;
}

/* Note that the block is in our hands. */
static enum freed take_in_hand(struct heap *h, struct inflight *step, uint64_t off, uint64_t word)
{
    /* A full fence; pairs with the CAS to RECOVERING in slot_recover(): we see that,
     * or the recoverer sees this. */
    swap(inflight_mine, step->what, off | INFLIGHT_MINE);
    enum freed what = owner_stays(h, off, word);
    if (unlikely(what != FREED))
        put_release(inflight_done, step->what, 0);
    return what;
}

/* A mark in the page's kept bits stays until the owner merges the list: an
 * adopter takes for free what is neither marked nor on the list, so a block
 * must never be neither while its free is under way. */
void page_push_remote(struct heap *h, struct inflight *step, struct slice *d, uint64_t off)
{
    uint64_t word = get(d->remote);
    link_write(h, off, remote_link(word));
    put_release(inflight_linked, step->what, off | INFLIGHT_LINKED);
    /* release: pairs with the acquire of the owner's page_take: it sees the link */
    while (!cas(remote_push, d->remote, &word, remote_with(word, off)))
        link_write(h, off, remote_link(word));
    put_release(inflight_done, step->what, 0);
}

enum freed page_free_remote(struct heap *h, struct inflight *step, struct slice *d, uint64_t off,
                            uint64_t word)
{
    if (word_member(word) == h->member_id) {
        page_free_within(h, step, d, off);
        return FREED;
    }
    enum freed what = take_in_hand(h, step, off, word);
    if (likely(what == FREED))
        page_push_remote(h, step, d, off);
    return what;
}

/* ---- pages of the dead ------------------------------------------------------------------ */

static bool is_remote(struct heap *h, struct slice *d, uint64_t off)
{
    return list_has(h, remote_head(get(d->remote)), off);
}

/* The blocks on 'remote' stay there; those with a bit are allocated.  The list
 * becomes ours by one store; if we die before PAGE_BITS is cleared, the bits
 * still tell the same. */
void page_list_from_bits(struct heap *h, struct slice *d)
{
    struct kept *kept = &h->kept[slice_index(h, d)];
    uint64_t size = class_bytes(own_get(d->cls)), start = slice_off(h, d), first = 0, last = 0;
    uint32_t capacity = own_get(d->capacity), n = 0;
    bool remote = get(d->remote) != 0;
    for (uint32_t i = capacity; i-- > 0;) {
        uint64_t off = start + i * size, word = get(kept->bits[i / 64]);
        if (word == UINT64_MAX) /* a full page has little else */
            i &= ~UINT32_C(63);
        if (word >> (i % 64) & 1 || (remote && is_remote(h, d, off)))
            continue;
        if (is_cleared(h, d))
            block_clear(h, d, off);
        if (first)
            link_write(h, off, first);
        else
            last = off;
        first = off;
        n++;
    }
    own_put(page_used, d->used, capacity - n);
    if (first)
        owner_put(h, d, first, last);
    put(page_flags, d->flags, (uint8_t)(own_get(d->flags) & ~PAGE_BITS));
}

void page_link_damaged(struct heap *h, uint64_t off)
{
    damage_block(h, slice_head(h, (uint32_t)(off >> SLICE_SHIFT)), off, NULL,
                 "free list overwritten: the block was written to after it was freed");
}
