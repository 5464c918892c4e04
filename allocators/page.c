#include "allocators/page.h"
#include "allocators/adopt.h"
#include "allocators/commit.h"
#include "allocators/damage.h"
#include "allocators/run.h"

struct slice *page_make(struct heap *h, unsigned cls, uint64_t owner)
{
    uint32_t n = class_slices(cls), first = run_alloc(h, n, n);
    if (!first)
        return NULL;
    struct slice *d = &h->slices[first];
    uint32_t size = class_bytes(cls);
    uint64_t page_off = (uint64_t)first << SLICE_SHIFT;
    own_put(page_make, d->free, list_end(page_off));
    own_put(page_make, d->recip, UINT64_MAX / size + 1);
    own_put(page_make, d->used, 0);
    own_put(page_make, d->capacity, 0);
    own_put(page_make, d->reserved, (uint16_t)(((uint64_t)n << SLICE_SHIFT) / size));
    own_put(page_make, d->taken, 0);
    own_put(page_make, d->audit, 0);
    own_put(page_make, d->cls, (uint8_t)cls);
    own_put(page_make, d->flags, 0);
    own_put(page_make, d->back, 0);
    own_put(page_make, d->span, n);
    own_put(page_make, d->step, 1);
    own_put(page_make, d->next, 0);
    own_put(page_make, d->prev, 0);
    own_put(page_make, d->hold_birth, (uint32_t)get(h->header->hold_seq));
    own_put(page_make, d->hold_last, 0);
    put(page_make, d->remote, 0);
    put(page_owner, d->owner, owner);
    put(page_owner, d->local, owner);
    for (uint32_t i = 1; i < n; i++) {
        own_put(page_make, d[i].local, 0);
        own_put(page_make, d[i].back, (uint8_t)i);
        put(slice_tail, d[i].kind, SLICE_TAIL);
    }
    /* Before this store the slices are free for whoever recovers us. */
    put_release(page_kind, d->kind, SLICE_PAGE);
    return d;
}

void page_end(struct heap *h, struct slice *d)
{
    uint32_t n = own_get(d->span);
    put(page_owner, d->local, 0);
    put(page_owner, d->owner, 0);
    /* The head last: until then the run is still a page, an empty one. */
    for (uint32_t i = n; i-- > 0;)
        put_release(slice_free, d[i].kind, SLICE_FREE);
    run_free(h, slice_index(h, d), n);
}

/* ---- extension -------------------------------------------------------------------- */

static void link_blocks(struct heap *h, struct slice *d, uint32_t from, uint32_t to)
{
    uint64_t page_off = slice_off(h, d), size = class_bytes(own_get(d->cls));
    uint64_t off = page_off + from * size;
    for (uint32_t i = from; i + 1 < to; i++, off += size)
        *(uint64_t *)at_off(h, off) = (off + size) ^ h->link_key;
    *(uint64_t *)at_off(h, off) = own_get(d->free) ^ h->link_key;
    /* The list before the capacity: a block beyond it on a list is recognised,
     * a block below it on none would be taken for handed out. */
    own_put(page_extend, d->free, page_off + from * size);
    put_release(page_capacity, d->capacity, (uint16_t)to);
}

/* OS pages are committed in doubling steps: a program that needs three blocks
 * pays for one, one that fills pages gets them in cheap batches. */
bool page_extend(struct heap *h, struct slice *d)
{
    uint32_t from = own_get(d->capacity), reserved = own_get(d->reserved);
    if (from == reserved)
        return false;
    uint64_t page_off = slice_off(h, d), size = class_bytes(own_get(d->cls));
    uint64_t step = own_get(d->step) * OS_PAGE;
    uint64_t have = round_up(from * size, OS_PAGE), end = have + step;
    if (end < (from + 1) * size)
        end = round_up((from + 1) * size, OS_PAGE);
    if (end > reserved * size)
        end = reserved * size;
    if (end > have && !commit_range(h, page_off + have, end - have, true, NULL))
        return false;
    uint32_t to = (uint32_t)(end / size);
    if (to > reserved)
        to = reserved;
    link_blocks(h, d, from, to);
    if (step < SLICE_BYTES)
        own_put(page_step, d->step, own_get(d->step) * 2);
    return true;
}

/* ---- lists -------------------------------------------------------------------------- */

/* Walk a list that may be changing or damaged: at most as many steps as the
 * page has blocks, each link checked. */
static bool list_has(struct heap *h, const struct slice *d, uint64_t head, uint64_t off)
{
    for (uint32_t steps = get(d->reserved); steps && head && !(head & 1); steps--) {
        if (head == off)
            return true;
        if (slice_head(h, (uint32_t)(head >> SLICE_SHIFT)) != d || !page_block_starts(d, head))
            return false;
        uint64_t next = link_read(h, at_off(h, head));
        if (!link_is_sound(next, head))
            return false;
        head = next;
    }
    return false;
}

bool page_lists_have(struct heap *h, const struct slice *d, uint64_t off)
{
    return list_has(h, d, get(d->free), off) || list_has(h, d, get(d->remote), off) ||
           list_has(h, d, get(d->taken), off);
}

/* A recoverer found that a dead process may have been freeing this block: if
 * it looks freed and is on none of our lists, it was. */
static void page_audit(struct heap *h, struct slice *d)
{
    uint64_t off = get_acquire(d->audit);
    if (off && link_is_sound(link_read(h, at_off(h, off)), off) && !page_lists_have(h, d, off))
        page_push(h, d, off);
    put_release(page_audited, d->audit, 0);
}

/* Length of a sound list and its last block. */
static uint32_t list_measure(struct heap *h, struct slice *d, uint64_t head, uint64_t *tail)
{
    uint32_t n = 1, most = own_get(d->reserved);
    for (;; n++) {
        uint64_t next = link_read(h, at_off(h, head));
        if (!link_is_sound(next, head) || n > most)
            page_link_damaged(h, d, head);
        if (next & 1)
            break;
        head = next;
    }
    *tail = head;
    return n;
}

/* Blocks of a page that goes on after its owner's death are no legacy once freed. */
static void forget_kept(struct heap *h, struct slice *d, uint64_t head)
{
    for (; !(head & 1); head = link_read(h, at_off(h, head)))
        kept_forget(h, d, head);
}

static bool remote_take(struct heap *h, struct slice *d)
{
    uint64_t head = get(d->remote), tail;
    if (!head)
        return false;
    do /* 'taken' first: a list that only a register knew would die with us */
        own_put(page_taking, d->taken, head);
    while (!cas(page_take, d->remote, &head, 0));
    uint32_t n = list_measure(h, d, head, &tail);
    if (unlikely(own_get(d->flags) & PAGE_KEPT))
        forget_kept(h, d, head);
    *(uint64_t *)at_off(h, tail) = own_get(d->free) ^ h->link_key;
    own_put(page_merge, d->free, head);
    own_put(page_used, d->used, own_get(d->used) - n);
    own_put(page_taking, d->taken, 0);
    return true;
}

bool page_collect(struct heap *h, struct slice *d)
{
    bool any = remote_take(h, d);
    if (unlikely(get(d->audit))) {
        page_audit(h, d);
        any = true;
    }
    return any;
}

/* Death in remote_take() left 'taken' behind.  Each step of it was one word,
 * so it can be told how far it came, and the rest be done. */
void page_finish_merge(struct heap *h, struct slice *d)
{
    uint64_t taken = get(d->taken);
    if (!taken)
        return;
    if (!list_has(h, d, get(d->remote), taken) && get(d->free) != taken) {
        uint64_t free = get(d->free), tail;
        if (!list_has(h, d, taken, free)) { /* not yet linked to the local list */
            list_measure(h, d, taken, &tail);
            *(uint64_t *)at_off(h, tail) = free ^ h->link_key;
        }
        own_put(page_merge, d->free, taken);
    }
    own_put(page_taking, d->taken, 0);
}

void page_free_remote(struct heap *h, struct inflight *step, struct slice *d, uint64_t off)
{
    uint64_t *block = at_off(h, off), head = get(d->remote), end = list_end(slice_off(h, d));
    put(inflight_mine, step->what, off | INFLIGHT_MINE);
    if (unlikely(get(d->flags) & PAGE_KEPT))
        kept_forget(h, d, off);
    *block = (head ? head : end) ^ h->link_key;
    put_release(inflight_linked, step->what, off | INFLIGHT_LINKED);
    /* release: pairs with the acquire of the owner's page_take: it sees the link */
    while (!cas(remote_push, d->remote, &head, off))
        *block = (head ? head : end) ^ h->link_key;
    put_release(inflight_done, step->what, 0);
}

void page_link_damaged(struct heap *h, const struct slice *d, uint64_t off)
{
    damage_block(h, d, off, "free list overwritten: the block was written to after it was freed");
}
