#include "allocators/recover.h"
#include "allocators/adopt.h"
#include "allocators/chunk.h"
#include "allocators/hold.h"
#include "allocators/large.h"
#include "allocators/member.h"
#include "allocators/page.h"

#include <fcntl.h>
#include <string.h>

struct dead {
    uint64_t id;
    uint32_t slot;
    bool reclaim;
};

/* ---- steps in hand -------------------------------------------------------------------- */

/* The page's owner is alive, or will be: it adds the block to its list unless
 * it finds it there.  False: another audit of this page is still waiting. */
static bool ask_owner(struct heap *h, struct slice *d, uint64_t off)
{
    uint64_t none = 0;
    (void)h;
    return cas(audit, d->audit, &none, off) || none == off;
}

static bool finish_small(struct heap *h, struct inflight *step, struct slice *d, uint64_t off,
                         enum inflight_phase phase)
{
    uint64_t *block = at_off(h, off);
    if (phase == INFLIGHT_MINE) {
        *block = list_end(slice_off(h, d)) ^ h->link_key;
        put_release(inflight_linked, step->what, off | INFLIGHT_LINKED);
    }
    return !link_is_sound(*block ^ h->link_key, off) || ask_owner(h, d, off);
}

static void finish_large(struct heap *h, struct inflight *step, struct slice *d)
{
    uint64_t gen = get(step->gen), stamp = gen << 8 | LARGE_LIVE;
    cas(large_freed, d->remote, &stamp, gen << 8 | LARGE_FREED);
    if (get_acquire(d->remote) != (gen << 8 | LARGE_FREED) || get(d->kind) != SLICE_LARGE)
        return;
    uint32_t c = chunk_of(slice_index(h, d));
    uint64_t word = get_acquire(h->chunks[c].word);
    if (word_state(word) == CHUNK_HUGE) {
        struct guard g = heap_lock(h);
        large_end(h, d);
        heap_unlock(h, g);
    } else if (word_state(word) == CHUNK_OWNED && member_slot(word_member(word)) < MEMBER_MAX) {
        fetch_or(chunk_pending, h->chunks[c].pending,
                 UINT64_C(1) << (slice_index(h, d) % CHUNK_SLICES));
        fetch_or(member_pending, h->members[member_slot(word_member(word))].pending,
                 UINT64_C(1) << (c % 64));
    }
}

static bool offset_is_block(struct heap *h, uint64_t off)
{
    uint64_t c = off >> CHUNK_SHIFT;
    return c >= h->first_chunk && c < get_acquire(h->header->chunk_high) &&
           word_state(get(h->chunks[c].word)) != CHUNK_FREE;
}

static bool finish_step(struct heap *h, const struct dead *dead, struct inflight *step)
{
    uint64_t what = get_acquire(step->what), off = what & ~UINT64_C(15);
    enum inflight_phase phase = (enum inflight_phase)(what & 15);
    if (phase == INFLIGHT_NONE)
        return true;
    bool done = true;
    if (offset_is_block(h, off)) {
        struct slice *d = slice_head(h, (uint32_t)(off >> SLICE_SHIFT));
        uint64_t owner = word_member(get(h->chunks[off >> CHUNK_SHIFT].word));
        if (phase == INFLIGHT_LARGE)
            finish_large(h, step, d);
        else if (owner != dead->id && get(d->kind) == SLICE_PAGE && page_block_starts(d, off))
            done = finish_small(h, step, d, off, phase);
    }
    if (done)
        put_release(inflight_done, step->what, 0);
    return done;
}

/* ---- pages -------------------------------------------------------------------------------- */

struct block_set {
    uint64_t bits[PAGE_BLOCKS_MAX / 64];
    uint32_t count, highest;
};

/* Blocks on a list.  The walk is bounded and checks each link: the list may be
 * growing in front, or have been damaged by the program. */
static void set_add_list(struct heap *h, const struct slice *d, uint64_t head, struct block_set *set)
{
    uint64_t page_off = slice_off(h, d);
    uint32_t size = class_bytes(get(d->cls));
    for (uint32_t steps = get(d->reserved); steps && head && !(head & 1); steps--) {
        if (head < page_off || head >= page_off + page_bytes(d) || !page_block_starts(d, head))
            return;
        uint32_t i = (uint32_t)((head - page_off) / size);
        if (set->bits[i / 64] >> (i % 64) & 1)
            return;
        set->bits[i / 64] |= UINT64_C(1) << (i % 64);
        set->count++;
        if (i + 1 > set->highest)
            set->highest = i + 1;
        uint64_t next = link_read(h, at_off(h, head));
        if (!link_is_sound(next, head))
            return;
        head = next;
    }
}

static void page_audit_dead(struct heap *h, struct slice *d)
{
    uint64_t off = get(d->audit);
    if (off && link_is_sound(link_read(h, at_off(h, off)), off) && !page_lists_have(h, d, off))
        page_push(h, d, off);
    put_release(page_audited, d->audit, 0);
}

/* All blocks of the page are free: nobody needs them any more. */
static void page_empty(struct heap *h, struct slice *d)
{
    own_put(page_make, d->capacity, 0);
    own_put(page_make, d->step, 1);
    put(page_make, d->remote, 0);
    own_put(page_taking, d->taken, 0);
    own_put(page_make, d->free, list_end(slice_off(h, d)));
    own_put(page_used, d->used, 0);
    own_put(page_flags, d->flags, 0);
}

static void kept_clear(struct heap *h, struct slice *d)
{
    struct kept *kept = &h->kept[slice_index(h, d)];
    if (!(get(d->flags) & PAGE_KEPT))
        return;
    for (uint32_t i = 0; i < PAGE_BLOCKS_MAX / 64; i++)
        if (get(kept->bits[i]))
            put(kept_forget, kept->bits[i], 0);
}

/* Puts a dead owner's page in order; true if some block of it stays allocated.
 * Lists are not rebuilt: whatever we change is one word, so we may die too. */
static bool page_recover(struct heap *h, const struct dead *dead, struct slice *d)
{
    put(page_owner, d->local, 0);
    if (dead->reclaim) {
        kept_clear(h, d);
        page_empty(h, d);
        return false;
    }
    page_finish_merge(h, d);
    if (get(d->audit))
        page_audit_dead(h, d);
    struct block_set local = { 0 }, all;
    set_add_list(h, d, get(d->free), &local);
    all = local;
    set_add_list(h, d, get_acquire(d->remote), &all);
    uint32_t capacity = get(d->capacity);
    if (all.highest > capacity)
        own_put(page_capacity, d->capacity, (uint16_t)(capacity = all.highest));
    own_put(page_used, d->used, capacity - local.count);
    if (all.count == capacity)
        return false;
    struct kept *kept = &h->kept[slice_index(h, d)];
    os_populate((void *)((uintptr_t)kept & ~(OS_PAGE - 1)), 2 * OS_PAGE);
    put(kept_former, kept->former, dead->id);
    for (uint32_t i = 0; i < capacity; i++)
        if (!(all.bits[i / 64] >> (i % 64) & 1))
            kept_set(h, d, i);
    own_put(page_flags, d->flags, PAGE_KEPT | PAGE_POOL);
    put(page_owner, d->owner, dead->id << THREAD_BITS);
    return true;
}

static bool large_recover(const struct dead *dead, struct slice *d)
{
    uint64_t stamp = get_acquire(d->remote);
    if ((stamp & 0xff) == LARGE_LIVE && !dead->reclaim)
        return true;
    put_release(large_freed, d->remote, (stamp & ~UINT64_C(0xff)) | LARGE_FREED);
    return false;
}

/* ---- chunks ---------------------------------------------------------------------------------- */

static void slices_clear(struct slice *d, uint32_t n)
{
    for (uint32_t i = n; i-- > 0;)
        put_release(slice_free, d[i].kind, SLICE_FREE);
}

/* The page or block at slice i of the chunk; how many slices it takes, 0 if
 * slice i is (or becomes) free. */
static uint32_t slice_recover(struct heap *h, const struct dead *dead, uint32_t c, uint32_t i)
{
    struct slice *d = &h->slices[c * CHUNK_SLICES + i];
    enum slice_kind kind = (enum slice_kind)get_acquire(d->kind);
    uint32_t span = get(d->span);
    if ((kind != SLICE_PAGE && kind != SLICE_LARGE) || span == 0 || span > CHUNK_SLICES - i) {
        slices_clear(d, 1);
        return 0;
    }
    bool stays = kind == SLICE_PAGE ? page_recover(h, dead, d) : large_recover(dead, d);
    if (stays || page_is_held(h, d))
        return span;
    slices_clear(d, span);
    return 0;
}

static void chunk_recover(struct heap *h, const struct dead *dead, uint32_t c)
{
    uint64_t free = 0;
    for (uint32_t i = 0; i < CHUNK_SLICES;) {
        uint32_t span = slice_recover(h, dead, c, i);
        if (!span)
            free |= UINT64_C(1) << i;
        i += span ? span : 1;
    }
    own_put(chunk_free_slices, h->chunks[c].free_slices, free);
    if (free == ~UINT64_C(0)) {
        chunk_release_dead(h, c, CHUNK_OWNED);
        return;
    }
    uint64_t word = get_acquire(h->chunks[c].word);
    own_put(chunk_former, h->chunks[c].former, dead->id);
    if (cas(chunk_word, h->chunks[c].word, &word, LAYOUT_CHUNK_WORD(CHUNK_ORPHAN, dead->id, 0)))
        fetch_add(orphans, h->header->orphans, 1);
}

/* A huge block of the dead.  Its chunks go on bearing its id if it is kept. */
static void huge_recover(struct heap *h, const struct dead *dead, uint32_t c)
{
    struct slice *d = &h->slices[c * CHUNK_SLICES];
    if (large_recover(dead, d) || page_is_held(h, d))
        return;
    struct guard g = heap_lock(h);
    large_end(h, d);
    heap_unlock(h, g);
}

static void chunks_recover(struct heap *h, const struct dead *dead)
{
    uint64_t high = get_acquire(h->header->chunk_high);
    for (uint64_t i = h->first_chunk; i < high; i++) {
        uint32_t c = (uint32_t)i;
        uint64_t word = get_acquire(h->chunks[c].word);
        if (word_member(word) != dead->id)
            continue;
        switch (word_state(word)) {
        case CHUNK_OWNED:
            chunk_recover(h, dead, c);
            break;
        case CHUNK_HUGE:
            huge_recover(h, dead, c);
            i += word_length(word) ? word_length(word) - 1 : 0;
            break;
        case CHUNK_PART:
            if (word_length(word) > 1) { /* the head of a block that was being taken apart */
                chunk_huge_retract(h, c);
                chunk_release_huge(h, c);
            } else {
                chunk_release_dead(h, c, CHUNK_PART);
            }
            break;
        default:
            break;
        }
    }
}

/* ---- members ------------------------------------------------------------------------------------ */

/* Slots that the dead one was recovering are merely dead again. */
static void hand_back(struct heap *h, const struct dead *dead)
{
    uint64_t high = get_acquire(h->header->members_high);
    for (uint64_t slot = 0; slot < high; slot++) {
        uint64_t state = get(h->members[slot].state);
        if (state_of(state) == MEMBER_RECOVERING && state_recoverer(state) == dead->slot + 1)
            cas(member_state, h->members[slot].state, &state,
                MEMBER_STATE(MEMBER_LEAVING, state_epoch(state), 0));
    }
}

static bool member_recover(struct heap *h, const struct dead *dead)
{
    bool done = true;
    for (uint32_t i = 0; i < INFLIGHT_MAX; i++)
        done &= finish_step(h, dead, &h->members[dead->slot].inflight[i]);
    if (!done)
        return false;
    chunks_recover(h, dead);
    hand_back(h, dead);
    return true;
}

static bool grace_is_over(struct seg_member *m, enum member_state state, bool wait)
{
    if (state != MEMBER_LIVE)
        return true;
    uint64_t now = os_now_ms(), since = get(m->dead_ms);
    if (!since)
        put(member_dead, m->dead_ms, since = now);
    while (wait && os_now_ms() - since < GRACE_MS)
        os_sleep_us(1000);
    return os_now_ms() - since >= GRACE_MS;
}

static bool slot_recover(struct heap *h, long fd, uint32_t slot, bool wait)
{
    struct seg_member *m = &h->members[slot];
    uint64_t state = get_acquire(m->state);
    enum member_state what = state_of(state);
    if (what == MEMBER_FREE || m == h->me || os_lock_held(fd, LOCK_MEMBER(slot)))
        return false;
    if (what == MEMBER_RECOVERING) {
        uint32_t by = state_recoverer(state) - 1;
        if (by == member_slot(h->member_id) || os_lock_held(fd, LOCK_MEMBER(by)))
            return false;
    } else if (!grace_is_over(m, what, wait)) {
        return false;
    }
    uint32_t epoch = state_epoch(state);
    if (!cas(member_state, m->state, &state,
             MEMBER_STATE(MEMBER_RECOVERING, epoch, member_slot(h->member_id) + 1)))
        return false;
    struct dead dead = { member_id_make(slot, epoch), slot, get(m->settings) & 1 };
    bool done = member_recover(h, &dead);
    put_release(member_state, m->state, MEMBER_STATE(done ? MEMBER_FREE : MEMBER_LEAVING, epoch, 0));
    if (done)
        fetch_add(members_ended, h->header->members_ended, 1);
    return done;
}

unsigned recover_dead(struct heap *h, bool wait)
{
    if (!h->shared || !h->can_open)
        return 0;
    long fd = os_open(h->path, O_RDWR, 0);
    if (fd < 0)
        return 0;
    struct os_file file;
    unsigned n = 0;
    uint64_t high = get_acquire(h->header->members_high);
    if (os_fstat(fd, &file) == 0 && file.inode == h->inode)
        for (uint32_t slot = 0; slot < high; slot++)
            n += slot_recover(h, fd, slot, wait);
    os_close(fd);
    if (n)
        fetch_or(member_pending, h->me->pending, 0);
    return n;
}
