#include "allocators/large.h"
#include "allocators/adopt.h"
#include "allocators/chunk.h"
#include "allocators/commit.h"
#include "allocators/hold.h"
#include "allocators/mapped.h"
#include "allocators/member.h"
#include "allocators/recover.h"
#include "allocators/run.h"
#include "allocators/sound.h"

static bool is_huge(struct heap *h, const struct slice *d)
{
    return word_state(get(h->chunks[chunk_of(slice_index(h, d))].word)) == CHUNK_HUGE;
}

static void describe(struct heap *h, struct slice *d, uint64_t bytes, uint32_t span)
{
    own_put(large_make, d->bytes, bytes);
    own_put(large_make, d->span, span);
    own_put(large_make, d->flags, 0);
    own_put(large_make, d->audit, 0);
    own_put(large_make, d->next, 0);
    own_put(large_make, d->prev, 0);
    own_put(large_make, d->hold_birth, (uint32_t)get(h->header->hold_seq));
    own_put(large_make, d->hold_last, 0);
    own_put(large_make, d->shared, 0);
    put(large_make, d->registered, 0);
    own_put(large_make, d->view_last, 0);
    put(page_owner, d->home, HOME_NOBODY);
    put(page_owner, d->owner, owner_pool(h));
    uint64_t gen = (get(d->remote) >> 8) + 1;
    put_release(large_stamp, d->remote, gen << 8 | LARGE_LIVE);
}

/* ---- in a chunk ----------------------------------------------------------------------- */

static void *slices_alloc(struct heap *h, uint64_t bytes, size_t align, bool *zero)
{
    uint32_t n = (uint32_t)((bytes + SLICE_BYTES - 1) >> SLICE_SHIFT);
    uint32_t step = align > SLICE_BYTES ? (uint32_t)(align >> SLICE_SHIFT) : 1;
    uint32_t first = run_alloc(h, n, step);
    if (!first)
        return NULL;
    struct slice *d = &h->slices[first];
    uint64_t off = (uint64_t)first << SLICE_SHIFT;
    if (!commit_range(h, off, bytes, commit_at_once(h, bytes), zero)) {
        run_free(h, first, n);
        return NULL;
    }
    describe(h, d, bytes, n);
    for (uint32_t i = 1; i < n; i++) {
        put(page_owner, d[i].home, HOME_NOBODY);
        own_put(large_make, d[i].back, (uint8_t)i);
        put(slice_tail, d[i].kind, SLICE_TAIL);
    }
    put_release(large_kind, d->kind, SLICE_LARGE);
    return at_off(h, off);
}

bool large_again(struct heap *h, struct slice *d, size_t n, bool *zero)
{
    uint64_t bytes = round_up(n, OS_PAGE);
    if (!commit_range(h, slice_off(h, d), bytes, bytes <= LARGE_POPULATED || h->reserve, zero))
        return false;
    describe(h, d, bytes, own_get(d->span));
    return true;
}

static void slices_end(struct heap *h, struct slice *d)
{
    uint32_t n = own_get(d->span);
    for (uint32_t i = n; i-- > 0;)
        put_release(slice_free, d[i].kind, SLICE_FREE);
    run_free(h, slice_index(h, d), n);
}

/* ---- of chunks ------------------------------------------------------------------------- */

static uint32_t chunks_for(uint64_t bytes)
{
    return (uint32_t)((bytes + CHUNK_BYTES - 1) >> CHUNK_SHIFT);
}

/* Charge chunks [from, to) of a huge block of 'bytes' at 'first'. */
static bool huge_charge(struct heap *h, uint32_t first, uint32_t from, uint32_t to, uint64_t bytes)
{
    for (uint32_t i = from; i < to; i++) {
        uint64_t left = bytes - ((uint64_t)i << CHUNK_SHIFT);
        uint32_t pages = (uint32_t)((left < CHUNK_BYTES ? left : CHUNK_BYTES) / OS_PAGE);
        if (!chunk_charge_to(h, first + i, pages))
            return false;
    }
    return true;
}

/* From now on any byte of these chunks may be non-zero; were they all zero? */
static bool huge_soil(struct heap *h, uint32_t first, uint32_t n)
{
    bool zero = true;
    for (uint32_t i = 0; i < n; i++) {
        zero &= get(h->chunks[first + i].dirty) == DIRT_NONE;
        put_release(chunk_dirt, h->chunks[first + i].dirty, DIRT_ALL);
    }
    return zero;
}

static void *huge_alloc(struct heap *h, uint64_t bytes, size_t align, bool growing, bool *zero)
{
    if (h->shared && bytes / OS_PAGE > h->limit_pages)
        return NULL; /* it never fits: no room that others need is taken to find out */
    uint32_t n = chunks_for(bytes), room = growing ? n / 2 + 1 : 0;
    uint32_t first = room ? chunk_claim_run(h, n + room, align) : 0;
    if (!first) {
        room = 0;
        first = chunk_claim_run(h, n, align);
    }
    if (!first)
        return NULL;
    struct slice *d = &h->slices[(size_t)first * CHUNK_SLICES];
    void *at = at_off(h, (uint64_t)first << CHUNK_SHIFT);
    mapped_restore(h, off_of(h, at), (uint64_t)(n + room) << CHUNK_SHIFT);
    bool clean = huge_soil(h, first, n);
    if (!huge_charge(h, first, 0, n, bytes) ||
        (commit_at_once(h, bytes) && !commit_huge(h, off_of(h, at), bytes))) {
        chunk_release_run(h, first, n + room);
        return NULL;
    }
    describe(h, d, bytes, CHUNK_SLICES);
    own_put(chunk_former, h->chunks[first].former, h->member_id);
    put_release(large_kind, d->kind, SLICE_LARGE);
    chunk_huge_publish(h, first, n + room);
    if (zero)
        *zero = clean && !h->shown_through;
    return at;
}

/* The charge for another member's block becomes ours, who give it back. */
static void charge_take_over(struct heap *h, uint32_t first, uint32_t n, uint64_t owner)
{
    uint32_t slot = member_slot(owner);
    if (!h->shared || owner == h->member_id || slot >= MEMBER_MAX)
        return;
    uint64_t pages = 0;
    for (uint32_t i = 0; i < n; i++)
        pages += get(h->chunks[first + i].charged);
    fetch_add(member_charge, h->me->charged, pages);
    if (state_epoch(get(h->members[slot].state)) == member_epoch(owner))
        fetch_sub(member_charge, h->members[slot].charged, pages);
}

static void huge_end(struct heap *h, struct slice *d)
{
    uint32_t first = chunk_of(slice_index(h, d));
    uint64_t word = get_acquire(h->chunks[first].word);
    uint32_t n = word_length(word);
    /* The one who freed it and one who recovers its owner may both be here. */
    if (word_state(word) != CHUNK_HUGE || (get_acquire(d->remote) & 0xff) != LARGE_FREED ||
        !chunk_huge_retract(h, first, word))
        return;
    charge_take_over(h, first, n, word_member(word));
    put_release(slice_free, d->kind, SLICE_FREE);
    chunk_release_huge(h, first);
}

/* ---- both -------------------------------------------------------------------------------- */

void *large_alloc(struct heap *h, size_t n, size_t align, bool growing, bool *zero)
{
    uint64_t bytes = round_up(n, OS_PAGE);
    uint64_t window = h->chunk_count << CHUNK_SHIFT;
    if (bytes < n || bytes > window || align > window || !heap_is_usable(h))
        return NULL;
    recover_sometimes(h);
    struct guard g = heap_lock(h);
    run_purge(h, false);
    member_collect(h);
    held_sweep(
        h); /* who allocates large blocks only would leave all its places to ended children */
    void *block = bytes <= LARGE_MAX && align <= LARGE_MAX
                      ? slices_alloc(h, bytes, align, zero)
                      : huge_alloc(h, bytes, align, growing, zero);
    heap_unlock(h, g);
    return block;
}

void large_forget(struct heap *h, struct slice *d)
{
    uint32_t i = slice_index(h, d), n = own_get(d->span);
    if (!is_huge(h, d) && n && n <= CHUNK_SLICES - i % CHUNK_SLICES)
        purge_slices(h, chunk_of(i),
                     (n == 64 ? ~UINT64_C(0) : (UINT64_C(1) << n) - 1) << (i % CHUNK_SLICES));
}

/* A freed huge block of a dead member that waits for a hold: somebody who lives has
 * to wait for it.  False: somebody else does. */
static bool huge_take_over(struct heap *h, struct slice *d)
{
    uint32_t first = chunk_of(slice_index(h, d));
    uint64_t word = get_acquire(h->chunks[first].word);
    if (word_member(word) == h->member_id)
        return true;
    if (word_state(word) != CHUNK_HUGE || (get_acquire(d->remote) & 0xff) != LARGE_FREED)
        return false;
    uint64_t dead = word_member(word);
    if (!cas(chunk_huge, h->chunks[first].word, &word,
             LAYOUT_CHUNK_WORD(CHUNK_HUGE, h->member_id, word_length(word))))
        return false;
    charge_take_over(h, first, word_length(word), dead);
    return true;
}

void large_end(struct heap *h, struct slice *d)
{
    if (!slice_must_be_sound(h, d))
        return;
    mapped_restore(h, slice_off(h, d), get(d->bytes)); /* another member has freed it */
    if (page_is_held(h, d)) {
        if (huge_take_over(h, d))
            held_add(h, d);
    } else if (is_huge(h, d))
        huge_end(h, d);
    else
        slices_end(h, d);
}

bool large_free(struct heap *h, struct inflight *step, struct slice *d)
{
    uint32_t c = chunk_of(slice_index(h, d));
    uint64_t stamp = get_acquire(d->remote);
    if ((stamp & 0xff) != LARGE_LIVE)
        return false;
    put(inflight_gen, step->gen, stamp >> 8);
    put_release(inflight_large, step->what, slice_off(h, d) | INFLIGHT_LARGE);
    if (!cas(large_freed, d->remote, &stamp, (stamp & ~UINT64_C(0xff)) | LARGE_FREED)) {
        put_release(inflight_done, step->what, 0);
        return false;
    }
    /* Who is in charge now?  A dead owner's recoverer says that it has begun before it
     * looks at the stamp: who does not see that has stamped in time. */
    uint64_t word = get_acquire(h->chunks[c].word);
    bool ours = word_member(word) == h->member_id, huge = word_state(word) == CHUNK_HUGE;
    if (ours || (huge && (!page_is_held(h, d) || !member_in_charge(h, word_member(word))))) {
        struct guard g = heap_lock(h);
        large_end(h, d);
        heap_unlock(h, g);
    } else {
        /* Its owner finds the stamp; the bits only tell it where to look. */
        uint32_t slot = member_slot(word_member(word));
        fetch_or(chunk_pending, h->chunks[c].pending,
                 UINT64_C(1) << (slice_index(h, d) % CHUNK_SLICES));
        if (slot < MEMBER_MAX)
            fetch_or(member_pending, h->members[slot].pending, UINT64_C(1) << (c % 64));
    }
    put_release(inflight_done, step->what, 0);
    return true;
}

/* ---- resizing ------------------------------------------------------------------------------ */

static bool slices_grow(struct heap *h, struct slice *d, uint64_t bytes)
{
    uint32_t first = slice_index(h, d), have = own_get(d->span);
    uint32_t n = (uint32_t)((bytes + SLICE_BYTES - 1) >> SLICE_SHIFT);
    uint64_t old = own_get(d->bytes), off = (uint64_t)first << SLICE_SHIFT;
    if (bytes > LARGE_MAX || (n > have && !run_extend(h, first, have, n)))
        return false;
    if (!commit_range(h, off + old, bytes - old, commit_at_once(h, bytes), NULL)) {
        if (n > have)
            run_free(h, first + have, n - have);
        return false;
    }
    for (uint32_t i = have; i < n; i++) {
        put(page_owner, d[i].home, HOME_NOBODY);
        own_put(large_make, d[i].back, (uint8_t)i);
        put(slice_tail, d[i].kind, SLICE_TAIL);
    }
    put(large_span, d->span, n);
    put_release(large_bytes, d->bytes, bytes);
    return true;
}

static bool slices_shrink(struct heap *h, struct slice *d, uint64_t bytes)
{
    uint32_t have = own_get(d->span), n = (uint32_t)((bytes + SLICE_BYTES - 1) >> SLICE_SHIFT);
    put_release(large_bytes, d->bytes, bytes);
    put_release(large_span, d->span, n);
    for (uint32_t i = have; i-- > n;)
        put_release(slice_free, d[i].kind, SLICE_FREE);
    if (n < have)
        run_free(h, slice_index(h, d) + n, have - n);
    return true;
}

static bool huge_resize(struct heap *h, struct slice *d, uint64_t bytes)
{
    uint32_t first = chunk_of(slice_index(h, d)), n = chunks_for(bytes);
    uint64_t word = get_acquire(h->chunks[first].word);
    uint32_t have = word_length(word);
    uint64_t old = own_get(d->bytes);
    if (bytes <= LARGE_MAX || word_member(word) != h->member_id)
        return false;
    if (bytes > old) {
        if (n > have && !chunk_run_extend(h, first, have, n))
            return false;
        if (n > have)
            mapped_restore(h, (uint64_t)(first + have) << CHUNK_SHIFT,
                           (uint64_t)(n - have) << CHUNK_SHIFT);
        huge_soil(h, first, n > have ? n : have);
        if (!huge_charge(h, first, chunks_for(old) - 1, n, bytes) ||
            (commit_at_once(h, bytes - old) &&
             !commit_huge(h, slice_off(h, d) + old, bytes - old))) {
            if (n > have)
                chunk_release_run(h, first + have, n - have);
            return false;
        }
        if (n > have)
            chunk_huge_publish(h, first, n);
        put_release(large_bytes, d->bytes, bytes);
        return true;
    }
    put_release(large_bytes, d->bytes, bytes);
    if (n < have) {
        chunk_huge_publish(h, first, n);
        chunk_release_run(h, first + n, have - n);
    }
    return true;
}

bool large_resize(struct heap *h, struct slice *d, size_t size)
{
    uint64_t bytes = round_up(size, OS_PAGE);
    uint32_t c = chunk_of(slice_index(h, d));
    if (bytes == get(d->bytes))
        return true;
    if (bytes < size || bytes > h->chunk_count << CHUNK_SHIFT || page_is_held(h, d) ||
        word_member(get(h->chunks[c].word)) != h->member_id)
        return false;
    struct guard g = heap_lock(h);
    uint64_t old = own_get(d->bytes), off = slice_off(h, d);
    uint64_t kept = round_up(bytes, SLICE_BYTES);
    if (kept < old)
        mapped_restore(h, off + kept, old - kept);
    bool done = is_huge(h, d) ? huge_resize(h, d, bytes)
                : bytes > old ? slices_grow(h, d, bytes)
                              : slices_shrink(h, d, bytes);
    heap_unlock(h, g);
    return done;
}
