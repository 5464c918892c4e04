#include "allocators/hold.h"
#include "allocators/commit.h"
#include "allocators/large.h"
#include "allocators/page.h"
#include "allocators/sound.h"
#include "allocators/thread_cache.h"
#include "config/log.h"

#include <fcntl.h>

/* Looking takes at most a 16th of the time, however many there are. */
#define LOOK_EVERY_NS UINT64_C(200000)
#define LOOK_SHARE    16
#define LOOK_MOST_NS  UINT64_C(20000000) /* a look that was slow by chance */

/* seg_hold.state: 1 | the number of the hold << 8.  The number makes a CAS to
 * 'free' mean this hold and not the next one in the same entry. */
static bool hold_in_use(uint64_t state)
{
    return state & 1;
}

bool hold_covers(struct heap *h, struct slice *d)
{
    uint32_t birth = get(d->hold_birth), last = get(d->hold_last);
    if (!h->shared || get(h->header->holds_live) == 0)
        goto free;
    uint64_t high = holds_high(h);
    for (uint64_t i = 0; i < high; i++) {
        uint64_t state = get(h->holds[i].state);
        uint32_t seq = (uint32_t)(state >> 8);
        if (hold_in_use(state) && (int32_t)(seq - birth) > 0 && (int32_t)(seq - last) <= 0)
            return true;
    }
free:
    put(hold_over, d->hold_last, 0);
    return false;
}

static void hold_clear(struct heap *h, uint64_t i, uint64_t state)
{
    if (cas(hold_state, h->holds[i].state, &state, 0))
        fetch_sub(holds_live, h->header->holds_live, 1);
}

/* Clears those that have ended.  Returns a number that tells the rest from another set, and
 * from the same one if a hold has begun since: it may have ended, too. */
static uint64_t holds_clear_ended(struct heap *h)
{
    uint64_t high = holds_high(h), rest = get(h->header->hold_seq);
    long fd = h->can_open && get(h->header->holds_live) ? os_open(h->path, O_RDWR, 0) : -1;
    for (uint64_t i = 0; i < high; i++) {
        uint64_t state = get(h->holds[i].state);
        if (!hold_in_use(state))
            continue;
        if (fd >= 0 && !os_lock_held(fd, LOCK_HOLD(i)))
            hold_clear(h, i, state);
        else
            rest += state * UINT64_C(0x9e3779b97f4a7c15) + i;
    }
    if (fd >= 0)
        os_close(fd);
    return rest;
}

bool hold_look(struct heap *h)
{
    struct mine *m = h->mine;
    uint64_t now = os_boot_ns();
    if (!h->shared || (m->holds_looked_ns && now - m->holds_looked_ns < m->holds_wait_ns))
        return m->holds_ended != 0;
    uint64_t rest = holds_clear_ended(h), took = os_boot_ns() - now;
    m->holds_looked_ns = now;
    m->holds_wait_ns = at_most(took * LOOK_SHARE, LOOK_MOST_NS);
    if (m->holds_wait_ns < LOOK_EVERY_NS)
        m->holds_wait_ns = LOOK_EVERY_NS;
    if (rest != m->holds_rest) {
        m->holds_rest = rest;
        __atomic_fetch_add(&m->holds_ended, 1, __ATOMIC_RELAXED);
    }
    return m->holds_ended != 0;
}

void hold_rest(struct heap *h, uint64_t ns)
{
    h->mine->holds_looked_ns = os_boot_ns();
    h->mine->holds_wait_ns = at_most(ns, LOOK_EVERY_NS);
}

/* ---- what waits for a hold -------------------------------------------------
 * The snapshot is a copy: nobody reads what an empty page or a freed block
 * still has.  Only its address has to wait, the memory need not.  It is given
 * back when it has become worth the call; most children are gone before. */

#define WAITING_MAX (UINT64_C(1) << 20)

/* The chunk or chunks of a huge block, else slices of one. */
static void held_purge(struct heap *h, struct slice *d)
{
    uint32_t first = slice_index(h, d), c = chunk_of(first);
    if (own_get(d->view_last)) /* a child reads it here (HSHM_FORK=view) */
        return;
    uint64_t word = get(h->chunks[c].word);
    if (word_state(word) == CHUNK_HUGE) {
        for (uint32_t n = word_length(word), i = 0; i < n; i++)
            purge_chunk(h, c + i);
        return;
    }
    uint32_t n = own_get(d->span);
    purge_slices(h, c, (n >= 64 ? ~UINT64_C(0) : (UINT64_C(1) << n) - 1) << (first % CHUNK_SLICES));
}

static uint64_t held_bytes(struct heap *h, struct slice *d)
{
    uint32_t first = slice_index(h, d);
    if (own_get(d->view_last))
        return 0;
    if (own_get(d->kind) == SLICE_LARGE)
        return own_get(d->bytes);
    uint64_t pages = 0;
    for (uint32_t i = 0; i < own_get(d->span); i++)
        pages += (uint64_t)__builtin_popcount(own_get(h->slices[first + i].committed));
    return pages * OS_PAGE;
}

void held_purge_dead(struct heap *h, struct slice *d)
{
    uint32_t first = slice_index(h, d), c = chunk_of(first);
    uint64_t word = get(h->chunks[c].word), pages = 0;
    if (word_state(word) == CHUNK_HUGE)
        for (uint32_t i = 0; i < word_length(word); i++)
            pages += get(h->chunks[c + i].charged);
    else
        for (uint32_t i = 0; i < own_get(d->span); i++)
            pages += (uint32_t)__builtin_popcount(own_get(h->slices[first + i].committed));
    if (word_state(word) == CHUNK_HUGE && own_get(h->chunks[c].described))
        pages -= DESCRIPTORS_PAGES;
    /* Whoever purges is refunded: it takes the charge over first. */
    fetch_add(member_charge, h->me->charged, own_get(d->view_last) ? 0 : pages);
    held_purge(h, d);
}

/* Those with memory are the last ones of the list. */
static void held_purge_all(struct heap *h)
{
    struct mine *m = h->mine;
    for (uint32_t i = m->held.tail; i && i != m->held_purged; i = own_get(h->slices[i].prev)) {
        if (!slice_exists(h, i) || !slice_must_be_sound(h, &h->slices[i]))
            return;
        held_purge(h, &h->slices[i]);
    }
    m->held_purged = m->held.tail;
    m->held_bytes = 0;
}

void held_add(struct heap *h, struct slice *d)
{
    struct mine *m = h->mine;
    put(page_flags, d->flags, own_get(d->flags) | PAGE_HELD);
    page_list_append(h, &m->held, d);
    m->held_bytes += held_bytes(h, d);
    if (m->held_bytes > WAITING_MAX)
        held_purge_all(h);
}

/* ---- HSHM_FORK_HOLD ---------------------------------------------------------------
 * Free blocks beside used ones, in pages that a child has a copy of, are of no use
 * while it lives.  Past a limit the oldest hold is given up: its child does not see
 * what is allocated in those pages from then on.  It keeps its copy and its lock. */

#define BOUND_EVERY_MS 20
#define BOUND_SHARE    32 /* looking takes at most this part of the time */

struct kept_free {
    uint64_t bytes;
    uint32_t birth, last; /* of the pages: which holds may cover them */
    bool any;
};

static void kept_add(struct heap *h, struct kept_free *k, struct slice *d)
{
    uint32_t birth = get(d->hold_birth), last = get(d->hold_last);
    if (get(d->kind) != SLICE_PAGE || get(d->flags) & PAGE_EMPTY || !last || !hold_covers(h, d))
        return;
    uint32_t linked = get(d->capacity), used = get(d->used);
    k->bytes += (uint64_t)(linked > used ? linked - used : 0) * class_bytes(get(d->cls));
    k->birth = k->any && (int32_t)(k->birth - birth) < 0 ? k->birth : birth;
    k->last = k->any && (int32_t)(k->last - last) > 0 ? k->last : last;
    k->any = true;
}

static struct kept_free kept_free(struct heap *h)
{
    struct kept_free k = { 0 };
    uint64_t high = get_acquire(h->header->chunk_high);
    for (uint64_t c = h->first_chunk; c < high; c++) {
        uint64_t word = get(h->chunks[c].word);
        if (word_state(word) != CHUNK_OWNED || word_member(word) != h->member_id)
            continue;
        for (uint64_t used = ~own_get(h->chunks[c].free_slices); used; used &= used - 1)
            kept_add(h, &k, &h->slices[c * CHUNK_SLICES + (uint32_t)__builtin_ctzl(used)]);
    }
    return k;
}

static void give_up_oldest(struct heap *h, const struct kept_free *k)
{
    uint64_t high = get_acquire(h->header->holds_high), oldest = UINT64_MAX, found = 0;
    for (uint64_t i = 0; i < high; i++) {
        uint64_t state = get(h->holds[i].state);
        uint32_t seq = (uint32_t)(state >> 8), age = seq - k->birth;
        if (hold_in_use(state) && (int32_t)age > 0 && (int32_t)(seq - k->last) <= 0 &&
            age < oldest) {
            oldest = age;
            found = i;
        }
    }
    if (oldest == UINT64_MAX)
        return;
    log_line(
        "forked children live on and keep %zuB of free memory from reuse: the oldest no longer "
        "sees what this program allocates (HSHM_FORK_HOLD)",
        (size_t)k->bytes);
    hold_clear(h, found, get(h->holds[found].state));
    fetch_add(fork_facts, h->header->holds_given, 1);
    __atomic_fetch_add(&h->mine->holds_ended, 1, __ATOMIC_RELAXED);
}

static void holds_bound(struct heap *h)
{
    struct mine *m = h->mine;
    uint32_t now = (uint32_t)os_now_ms();
    if (!h->hold_bytes || get(h->header->holds_live) == 0 || now - m->bound_ms < m->bound_wait_ms)
        return;
    uint64_t from = os_boot_ns();
    struct kept_free k = kept_free(h);
    if (k.bytes > h->hold_bytes)
        give_up_oldest(h, &k);
    m->bound_ms = now;
    m->bound_wait_ms = BOUND_EVERY_MS + (uint32_t)((os_boot_ns() - from) * BOUND_SHARE / 1000000);
    put(fork_facts, h->me->held_free, k.bytes);
}

void held_sweep(struct heap *h)
{
    if (unlikely(h->mine->hold_seq))
        holds_bound(h);
    struct page_list *held = &h->mine->held;
    if (!held->head || !hold_look(h) || h->mine->held_seen == h->mine->holds_ended)
        return;
    h->mine->held_seen = h->mine->holds_ended;
    for (uint32_t i = held->head, next; i; i = next) {
        struct slice *d = &h->slices[i];
        next = page_after(h, i);
        if (!slice_must_be_sound(h, d))
            return;
        if (page_is_held(h, d))
            continue;
        if (i == h->mine->held_purged)
            h->mine->held_purged = own_get(d->prev);
        page_list_remove(h, held, d);
        if (own_get(d->kind) == SLICE_LARGE)
            large_end(h, d);
        else
            page_end(h, d);
    }
}

/* ---- making one ------------------------------------------------------------------ */

/* Entry 'i' for hold 'seq', if its byte can be locked.  One in use whose byte
 * nobody has is an ended hold that no one has noticed yet. */
static bool hold_take(struct heap *h, long fd, uint64_t i, uint32_t seq)
{
    uint64_t state = get_acquire(h->holds[i].state);
    if (os_lock(fd, LOCK_HOLD(i)) < 0)
        return false;
    /* With the lock held nobody takes the new hold for ended. */
    while (!cas(hold_state, h->holds[i].state, &state, 1 | (uint64_t)seq << 8))
        if (hold_in_use(state)) { /* somebody else's, made and ended since we looked */
            os_unlock(fd, LOCK_HOLD(i));
            return false;
        }
    if (hold_in_use(state))
        fetch_sub(holds_live, h->header->holds_live, 1);
    put(hold_facts, h->holds[i].creator, h->member_id);
    put(hold_facts, h->holds[i].bytes, 0);
    put(hold_facts, h->holds[i].made_ms, os_now_ms());
    return true;
}

static int take_free_entry(struct heap *h, long fd, uint32_t seq)
{
    uint64_t high = holds_high(h);
    for (uint64_t i = 0; i < high; i++)
        if (!hold_in_use(get(h->holds[i].state)) && hold_take(h, fd, i, seq))
            return (int)i;
    return -1;
}

static int take_new_entry(struct heap *h, long fd, uint32_t seq)
{
    for (;;) {
        uint64_t high = holds_high(h), i = high;
        if (i >= HOLD_MAX || !commit_metadata(h, SEG_HOLDS_OFF + i * sizeof(struct seg_hold),
                                              sizeof(struct seg_hold)))
            return -1;
        if (cas(holds_high, h->header->holds_high, &high, i + 1) && hold_take(h, fd, i, seq))
            return (int)i;
    }
}

#define CLEAR_EVERY_MS 10

/* The entry of our last hold first: mostly that child is gone.  Then those known
 * to be free; ended ones are looked for now and then, and before giving up. */
static int take_entry(struct heap *h, long fd, uint32_t seq)
{
    struct mine *m = h->mine;
    uint32_t now = (uint32_t)os_now_ms();
    if (m->hold_last && hold_take(h, fd, m->hold_last - 1, seq))
        return (int)m->hold_last - 1;
    int i = take_free_entry(h, fd, seq);
    if (i < 0 && now - m->holds_cleared_ms >= CLEAR_EVERY_MS) {
        m->holds_cleared_ms = now;
        m->holds_looked_ns = 0;
        hold_look(h);
        i = take_free_entry(h, fd, seq);
    }
    if (i < 0)
        i = take_new_entry(h, fd, seq);
    if (i < 0) {
        m->holds_looked_ns = 0;
        hold_look(h);
        i = take_free_entry(h, fd, seq);
    }
    return i;
}

int hold_make(struct heap *h, long fd, uint32_t *seq, struct witness *w)
{
    *seq = (uint32_t)fetch_add(hold_seq, h->header->hold_seq, 1) + 1;
    /* Before the entry: if we die in between, the count errs on the high side.  One
     * too low would become 0, "no hold lives", while another one does. */
    fetch_add(holds_live, h->header->holds_live, 1);
    int i = take_entry(h, fd, *seq);
    if (i < 0) {
        os_close(fd);
        fetch_sub(holds_live, h->header->holds_live, 1);
        return -1;
    }
    if (!witness_keep(fd, true, w)) {
        hold_end(h, i);
        return -1;
    }
    h->mine->hold_last = (uint32_t)i + 1;
    return i;
}

void hold_end(struct heap *h, int hold)
{
    hold_clear(h, (uint64_t)hold, get(h->holds[hold].state));
}
