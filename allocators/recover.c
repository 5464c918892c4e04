#include "allocators/recover.h"
#include "allocators/adopt.h"
#include "allocators/chunk.h"
#include "allocators/commit.h"
#include "allocators/hold.h"
#include "allocators/large.h"
#include "allocators/member.h"
#include "allocators/names.h"
#include "allocators/page.h"
#include "allocators/sound.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>

struct dead {
    uint64_t id;
    uint32_t slot;
    bool reclaim;
    bool *left; /* something of it stays */
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
    void *block = at_off(h, off);
    if (phase == INFLIGHT_MINE) {
        link_write(h, off, LIST_END);
        put_release(inflight_linked, step->what, off | INFLIGHT_LINKED);
    }
    return !link_is_sound(h, link_read(h, block)) || ask_owner(h, d, off);
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
    return c >= h->first_chunk && c < chunks_high(h) &&
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
        else if (owner != dead->id && page_is_sound(d) && block_is_in(h, d, off))
            done = finish_small(h, step, d, off, phase);
    }
    if (done)
        put_release(inflight_done, step->what, 0);
    return done;
}

/* ---- thread records --------------------------------------------------------------------- */

typedef void record_visitor(struct heap *h, const struct dead *dead, struct thread_record *record,
                            void *ctx);

static void records_of_slice(struct heap *h, const struct dead *dead, struct slice *d,
                             record_visitor *visit, void *ctx)
{
    uint32_t count = get_acquire(d->capacity);
    for (uint32_t i = 0; i < count && i < RECORDS_PER_SLICE; i++) {
        uint64_t off = slice_off(h, d) + i * sizeof(struct thread_record);
        struct thread_record *record = at_off(h, off);
        if (owner_member(get_acquire(record->owner)) == dead->id)
            visit(h, dead, record, ctx);
    }
}

static void records_each(struct heap *h, const struct dead *dead, record_visitor *visit, void *ctx)
{
    uint64_t high = chunks_high(h);
    for (uint64_t c = h->first_chunk; c < high; c++) {
        uint64_t word = get_acquire(h->chunks[c].word);
        if (word_state(word) != CHUNK_OWNED || word_member(word) != dead->id)
            continue;
        for (uint32_t i = 0; i < CHUNK_SLICES; i++)
            if (get(h->slices[c * CHUNK_SLICES + i].kind) == SLICE_RECORDS)
                records_of_slice(h, dead, &h->slices[c * CHUNK_SLICES + i], visit, ctx);
    }
}

static void record_finish_step(struct heap *h, const struct dead *dead,
                               struct thread_record *record, void *done)
{
    uint64_t off = get_acquire(record->step.what) & ~UINT64_C(15);
    if (off && offset_is_block(h, off))
        names_recover_step(h, dead->id, off);
    *(bool *)done &= finish_step(h, dead, &record->step);
}

/* Any of them: it is free once all are finished. */
static void record_step(struct heap *h, const struct dead *dead, struct thread_record *record,
                        void *step)
{
    (void)h, (void)dead;
    *(struct inflight **)step = &record->step;
}

/* ---- pages --------------------------------------------------------------------------------
 * All blocks of a dead owner's page are first marked used in kept.bits; then
 * the marks of those that any list has are cleared.  Lists are not changed, so
 * whoever dies here is simply followed by one who starts over. */

/* With HSHM_EXIT=reclaim only what has a name or changes hands stays. */
static void page_mark_registered(struct heap *h, const struct dead *dead, struct slice *d)
{
    struct kept *kept = &h->kept[slice_index(h, d)];
    uint32_t capacity = get(d->capacity);
    put(page_owner, d->home, HOME_NOBODY);
    put(kept_former, kept->former, dead->id);
    for (uint32_t i = 0; i < PAGE_BLOCKS_MAX / 64; i++) {
        uint64_t bits = 0;
        for (uint32_t n = 0; n < 64 && i * 64 + n < capacity; n++) {
            uint64_t off = slice_off(h, d) + (i * 64 + n) * (uint64_t)class_bytes(get(d->cls));
            bits |= (uint64_t)block_is_registered(h, d, off) << n;
        }
        if (get(kept->bits[i]) != bits)
            put(kept_set, kept->bits[i], bits);
    }
    put_release(page_flags, d->flags, (uint8_t)((get(d->flags) & PAGE_EMPTY) | PAGE_KEPT));
}

static void page_mark_used(struct heap *h, const struct dead *dead, struct slice *d)
{
    struct kept *kept = &h->kept[slice_index(h, d)];
    uint8_t flags = get(d->flags);
    uint32_t capacity = get(d->capacity);
    put(page_owner, d->home, HOME_NOBODY);
    put(kept_former, kept->former, dead->id);
    if (flags & PAGE_BITS) /* died before making a list of an adopted page */
        return;
    for (uint32_t i = 0; i < PAGE_BLOCKS_MAX / 64; i++) {
        uint32_t left = capacity > i * 64 ? capacity - i * 64 : 0;
        uint64_t bits = left >= 64 ? UINT64_MAX : (UINT64_C(1) << left) - 1;
        if (get(kept->bits[i]) != bits)
            put(kept_set, kept->bits[i], bits);
    }
    put_release(page_flags, d->flags, (uint8_t)((flags & (PAGE_EMPTY | PAGE_CHECKED)) | PAGE_KEPT));
}

/* A block on a list of the dead: not used.  False: the list cannot be trusted further. */
static bool block_unmark(struct heap *h, const struct dead *dead, uint64_t off)
{
    uint64_t c = off >> CHUNK_SHIFT;
    if (c < h->first_chunk || c >= chunks_high(h) ||
        word_member(get(h->chunks[c].word)) != dead->id)
        return false;
    struct slice *d = slice_head(h, (uint32_t)(off >> SLICE_SHIFT));
    if (!page_is_sound(d) || !block_is_in(h, d, off))
        return false;
    uint32_t block = page_block_index(d, off);
    if (block >= get(d->capacity)) /* died while extending: they are all on the list */
        own_put(page_capacity, d->capacity, (uint16_t)(block + 1));
    else
        kept_forget(h, d, off);
    return true;
}

static void list_unmark(struct heap *h, const struct dead *dead, uint64_t head)
{
    struct walk walk = { 0 };
    while (head && !list_is_end(head) && !walk_returns(&walk, head)) {
        if (!block_unmark(h, dead, head))
            return;
        uint64_t next = link_read(h, at_off(h, head));
        if (!link_is_sound(h, next))
            return;
        head = next;
    }
}

static void record_unmark(struct heap *h, const struct dead *dead, struct thread_record *record,
                          void *ctx)
{
    (void)ctx;
    for (unsigned cls = 0; cls < CLASS_COUNT; cls++) {
        list_unmark(h, dead, get(record->cells[cls].free));
        list_unmark(h, dead, get(record->cells[cls].parked));
    }
}

static bool bits_are_clear(struct heap *h, struct slice *d)
{
    struct kept *kept = &h->kept[slice_index(h, d)];
    for (uint32_t i = 0; i < PAGE_BLOCKS_MAX / 64; i++)
        if (get(kept->bits[i]))
            return false;
    return true;
}

static bool page_may_stay(const struct dead *dead, struct slice *d)
{
    return !dead->reclaim || get(d->registered) != 0;
}

/* After all lists: true if some block of the page stays allocated. */
static bool page_settle(struct heap *h, const struct dead *dead, struct slice *d)
{
    if (!page_may_stay(dead, d) || get(d->flags) & PAGE_EMPTY)
        goto empty;
    if (!dead->reclaim) { /* else no more than what is registered is marked */
        list_unmark(h, dead, get(d->taken));
        list_unmark(h, dead, remote_head(get_acquire(d->remote)));
    }
    own_put(page_taking, d->taken, 0);
    put(page_owner, d->owner, dead->id << THREAD_BITS);
    put(page_owner, d->cell, 0);
    if (bits_are_clear(h, d))
        goto empty;
    put_release(page_flags, d->flags,
                (uint8_t)((get(d->flags) & PAGE_CHECKED) | PAGE_KEPT | PAGE_BITS));
    return true;
empty:
    put(page_owner, d->home, HOME_NOBODY);
    put(page_owner, d->owner, dead->id << THREAD_BITS);
    put(page_owner, d->cell, 0);
    put_release(page_flags, d->flags, PAGE_EMPTY);
    return false;
}

static bool large_recover(struct heap *h, const struct dead *dead, struct slice *d)
{
    uint64_t stamp = get_acquire(d->remote);
    if ((stamp & 0xff) == LARGE_LIVE &&
        (!dead->reclaim || block_is_registered(h, d, slice_off(h, d))))
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

static bool slice_is_head(struct slice *d, uint32_t i)
{
    enum slice_kind kind = (enum slice_kind)get_acquire(d->kind);
    uint32_t span = get(d->span);
    return (kind == SLICE_PAGE ? page_is_sound(d) : kind == SLICE_LARGE && span != 0) &&
           span <= CHUNK_SLICES - i;
}

/* The page or block at slice i of the chunk; how many slices it takes, 0 if
 * slice i is (or becomes) free. */
static uint32_t slice_recover(struct heap *h, const struct dead *dead, uint32_t c, uint32_t i)
{
    struct slice *d = &h->slices[c * CHUNK_SLICES + i];
    if (!slice_is_head(d, i)) {
        slices_clear(d, 1);
        return 0;
    }
    uint32_t span = get(d->span);
    bool stays = get(d->kind) == SLICE_PAGE ? page_settle(h, dead, d) : large_recover(h, dead, d);
    if (stays)
        return span;
    if (page_is_held(h, d)) { /* its address waits, its memory need not */
        held_purge_dead(h, d);
        return span;
    }
    slices_clear(d, span);
    return 0;
}

/* The dead may have charged what it did not commit, or not yet uncharged what
 * it had purged. */
static void charge_recount(struct heap *h, uint32_t c)
{
    struct chunk *chunk = &h->chunks[c];
    if (get(chunk->dirty) == DIRT_ALL) /* it was claimed but not yet begun */
        return;
    uint32_t pages = get(chunk->described) ? DESCRIPTORS_PAGES : 0;
    for (uint32_t i = 0; i < CHUNK_SLICES; i++)
        pages += (uint32_t)__builtin_popcount(get(h->slices[c * CHUNK_SLICES + i].committed));
    if (get(chunk->charged) != pages)
        put_release(chunk_charged, chunk->charged, pages);
}

static void chunk_recover(struct heap *h, const struct dead *dead, uint32_t c)
{
    charge_recount(h, c);
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
    *dead->left = true;
    own_put(chunk_former, h->chunks[c].former, dead->id);
    /* Counted first: chunk_adopt() does not look where the count is 0. */
    fetch_add(orphans, h->header->orphans, 1);
    if (!cas(chunk_word, h->chunks[c].word, &word, LAYOUT_CHUNK_WORD(CHUNK_ORPHAN, dead->id, 0)))
        fetch_sub(orphans, h->header->orphans, 1);
}

typedef bool page_visitor(struct heap *h, const struct dead *dead, struct slice *d, void *ctx);

static bool pages_each(struct heap *h, const struct dead *dead, uint32_t c, page_visitor *visit,
                       void *ctx)
{
    for (uint32_t i = 0; i < CHUNK_SLICES;) {
        struct slice *d = &h->slices[c * CHUNK_SLICES + i];
        bool head = slice_is_head(d, i);
        if (head && get(d->kind) == SLICE_PAGE && !visit(h, dead, d, ctx))
            return false;
        i += head ? get(d->span) : 1;
    }
    return true;
}

struct span {
    uint64_t from, to;
};

static bool span_back(const struct span *s)
{
    return s->from == s->to || os_populate((void *)(uintptr_t)s->from, s->to - s->from) != -ENOMEM;
}

/* Six pages have their marks in one OS page: neighbours are populated together. */
static bool page_back_marks(struct heap *h, const struct dead *dead, struct slice *d, void *ctx)
{
    struct span *waiting = ctx;
    if (!page_may_stay(dead, d))
        return true;
    struct kept *kept = &h->kept[slice_index(h, d)];
    uint64_t from = (uint64_t)(uintptr_t)kept & ~(OS_PAGE - 1);
    uint64_t to = round_up((uint64_t)(uintptr_t)(kept + 1), OS_PAGE);
    if (waiting->from != waiting->to && from <= waiting->to) {
        waiting->to = to;
        return true;
    }
    bool done = span_back(waiting);
    *waiting = (struct span){ from, to };
    return done;
}

static bool page_mark(struct heap *h, const struct dead *dead, struct slice *d, void *ctx)
{
    (void)ctx;
    if (!dead->reclaim)
        page_mark_used(h, dead, d);
    else if (page_may_stay(dead, d))
        page_mark_registered(h, dead, d);
    return true;
}

static bool chunk_mark_used(struct heap *h, const struct dead *dead, uint32_t c)
{
    struct span waiting = { 0, 0 };
    return pages_each(h, dead, c, page_back_marks, &waiting) && span_back(&waiting) &&
           pages_each(h, dead, c, page_mark, NULL);
}

/* False: no memory for the marks; somebody tries again. */
static bool pages_mark(struct heap *h, const struct dead *dead)
{
    uint64_t high = chunks_high(h);
    for (uint64_t c = h->first_chunk; c < high; c++) {
        uint64_t word = get_acquire(h->chunks[c].word);
        if (word_state(word) == CHUNK_OWNED && word_member(word) == dead->id &&
            !chunk_mark_used(h, dead, (uint32_t)c))
            return false;
    }
    if (!dead->reclaim)
        records_each(h, dead, record_unmark, NULL);
    return true;
}

/* A huge block of the dead.  Its chunks go on bearing its id if it is kept. */
static void huge_recover(struct heap *h, const struct dead *dead, uint32_t c)
{
    struct slice *d = &h->slices[(size_t)c * CHUNK_SLICES];
    bool stays = large_recover(h, dead, d);
    if (stays || page_is_held(h, d)) {
        *dead->left |= stays;
        if (!stays)
            held_purge_dead(h, d);
        return;
    }
    struct guard g = heap_lock(h);
    large_end(h, d);
    heap_unlock(h, g);
}

/* A part that no head covers, or the head of a block being taken apart. */
static void part_recover(struct heap *h, uint32_t c, uint64_t word)
{
    bool head = word_length(word) > 1;
    if (head && !chunk_huge_retract(h, c, word))
        return;
    if (get(h->chunks[c].described)) /* it may still call itself a block */
        slices_clear(&h->slices[(size_t)c * CHUNK_SLICES], 1);
    if (head)
        chunk_release_huge(h, c);
    else
        chunk_release_dead(h, c, CHUNK_PART);
}

static void chunks_recover(struct heap *h, const struct dead *dead)
{
    uint64_t high = chunks_high(h);
    for (uint64_t i = h->first_chunk; i < high; i++) {
        uint32_t c = (uint32_t)i;
        uint64_t word = get_acquire(h->chunks[c].word);
        enum chunk_state state = word_state(word);
        bool dead_ones = word_member(word) == dead->id;
        if (state == CHUNK_OWNED && dead_ones)
            chunk_recover(h, dead, c);
        else if (state == CHUNK_HUGE && dead_ones)
            huge_recover(h, dead, c);
        else if (state == CHUNK_PART && dead_ones)
            part_recover(h, c, word);
        /* Parts bear the id of the block's maker, even while somebody else takes
         * it apart: as long as a head covers them they are in its hands. */
        if ((state == CHUNK_HUGE || state == CHUNK_PART) && word_length(word) > 1)
            i += word_length(word) - 1;
    }
}

/* ---- members ------------------------------------------------------------------------------------ */

/* Slots that the dead one was recovering are merely dead again. */
static void hand_back(struct heap *h, const struct dead *dead)
{
    uint64_t high = members_high(h);
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
    struct inflight *step = NULL;
    records_each(h, dead, record_finish_step, &done);
    if (!done)
        return false;
    records_each(h, dead, record_step, &step);
    names_recover(h, dead->id, dead->reclaim, step);
    if (!pages_mark(h, dead))
        return false;
    chunks_recover(h, dead);
    hand_back(h, dead);
    return true;
}

static bool grace_is_over(struct seg_member *m, enum member_state state)
{
    if (state != MEMBER_LIVE || get(m->quits))
        return true;
    uint64_t now = os_now_ms(), since = get(m->dead_ms);
    if (!since)
        put(member_dead, m->dead_ms, since = now);
    return now - since >= GRACE_MS;
}

struct look {
    bool early;   /* somebody is dead but not for long enough */
    bool leaving; /* somebody has said that he leaves and is not gone yet */
};

static bool slot_recover(struct heap *h, long fd, uint32_t slot, struct look *look)
{
    struct seg_member *m = &h->members[slot];
    uint64_t state = get_acquire(m->state);
    enum member_state what = state_of(state);
    if (what == MEMBER_FREE || m == h->me)
        return false;
    if (os_lock_held(fd, LOCK_MEMBER(slot))) {
        look->leaving |= what == MEMBER_LEAVING || get(m->quits);
        return false;
    }
    if (what == MEMBER_RECOVERING) {
        uint32_t by = state_recoverer(state) - 1;
        if (by == member_slot(h->member_id) || os_lock_held(fd, LOCK_MEMBER(by)))
            return false;
    } else if (what ==
               MEMBER_CHILD) { /* a forked child that never used the heap: nothing is its own */
        uint64_t free = MEMBER_STATE(MEMBER_FREE, state_epoch(state), 0);
        if (cas(member_state, m->state, &state, free))
            fetch_add(members_ended, h->header->members_ended, 1);
        return false;
    } else if (!grace_is_over(m, what)) {
        look->early = true;
        return false;
    }
    uint32_t epoch = state_epoch(state);
    if (!cas(member_state, m->state, &state,
             MEMBER_STATE(MEMBER_RECOVERING, epoch, member_slot(h->member_id) + 1)))
        return false;
    bool left = false;
    struct dead dead = { member_id_make(slot, epoch), slot, get(m->settings) & 1, &left };
    bool done = member_recover(h, &dead);
    put_release(member_state, m->state,
                MEMBER_STATE(done ? MEMBER_FREE : MEMBER_LEAVING, epoch, 0));
    if (done)
        fetch_add(members_ended, h->header->members_ended, 1);
    if (done && left && !dead.reclaim)
        fetch_add(kept_members, h->header->kept_members, 1);
    return done;
}

static unsigned slots_recover(struct heap *h, long fd, struct look *look)
{
    unsigned n = 0;
    *look = (struct look){ 0 };
    uint64_t high = members_high(h);
    for (uint32_t slot = 0; slot < high; slot++)
        n += slot_recover(h, fd, slot, look);
    return n;
}

/* ---- when to look ------------------------------------------------------------------------------- */

#define LOOK_EVERY_MS 50

static uint64_t looked_at(uint32_t now, uint32_t leavers)
{
    return (uint64_t)now << 32 | leavers;
}

/* Has somebody said that he leaves since all leavers were last seen gone? */
static bool somebody_left(struct heap *h)
{
    return (uint32_t)get(h->header->looked) != (uint32_t)get(h->header->leavers);
}

unsigned recover_dead(struct heap *h, bool wait)
{
    if (!h->shared || !h->can_open || !heap_is_usable(h))
        return 0;
    long fd = os_open(h->path, O_RDWR, 0);
    if (fd < 0)
        return 0;
    struct os_file file;
    unsigned n = 0;
    if (os_fstat(fd, &file) == 0 && file.inode == h->inode) {
        struct look look;
        uint32_t leavers = (uint32_t)get(h->header->leavers),
                 seen = (uint32_t)get(h->header->looked);
        n = slots_recover(h, fd, &look);
        if (look.early && wait) { /* one grace for all: each was seen dead by now */
            os_sleep_us((GRACE_MS + 5) * 1000);
            n += slots_recover(h, fd, &look);
        }
        put(looked, h->header->looked,
            looked_at((uint32_t)os_now_ms(), look.leaving ? seen : leavers));
    }
    os_close(fd);
    if (n)
        ledger_recount(h);
    return n;
}

/* Somebody of the segment looks every now and then, and soon where somebody has
 * said that he leaves: what he had then serves the next before new memory does.
 * Each member looks at most once in a tick of the clock. */
void recover_sometimes(struct heap *h)
{
    if (!h->shared || h->unusable)
        return;
    uint32_t now = (uint32_t)os_now_ms();
    uint32_t seen = __atomic_load_n(&h->mine->recovered_ms, __ATOMIC_RELAXED);
    bool due = somebody_left(h) || now - (uint32_t)(get(h->header->looked) >> 32) >= LOOK_EVERY_MS;
    member_stays(h);
    if (due && now != seen &&
        __atomic_compare_exchange_n(&h->mine->recovered_ms, &seen, now, false, __ATOMIC_RELAXED,
                                    __ATOMIC_RELAXED))
        recover_dead(h, false);
}

/* At a fork: a child that ended just before left what this one can use. */
void recover_leavers(struct heap *h)
{
    member_stays(h);
    if (somebody_left(h))
        recover_dead(h, false);
    else
        recover_sometimes(h);
}
