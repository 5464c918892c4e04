#include "allocators/chunk.h"
#include "allocators/commit.h"
#include "allocators/run.h"

/* The words of chunks below chunk_high are backed; make that of chunk c so. */
static bool table_covers(struct heap *h, uint64_t c)
{
    uint64_t high = chunks_high(h);
    if (c < high)
        return true;
    if (c >= h->chunk_count)
        return false;
    uint64_t from = (uint64_t)((char *)(h->chunks + high) - (char *)h->header);
    if (!commit_metadata(h, from, (c + 1 - high) * sizeof(struct chunk)))
        return false;
    while (high <= c && !cas(chunk_high, h->header->chunk_high, &high, c + 1))
        ;
    return true;
}

/* Descriptors are populated before a chunk's word says that it has an owner:
 * whoever finds it owned may read them. */
static bool descriptors_ready(struct heap *h, uint32_t c)
{
    return commit_metadata(
        h, (uint64_t)((char *)(h->slices + (size_t)c * CHUNK_SLICES) - (char *)h->header),
        DESCRIPTORS_BYTES);
}

static bool word_change(struct heap *h, uint32_t c, enum chunk_state from, uint64_t to)
{
    uint64_t seen = get_acquire(h->chunks[c].word);
    return word_state(seen) == from && cas(chunk_word, h->chunks[c].word, &seen, to);
}

#define WORD_FREE LAYOUT_CHUNK_WORD(CHUNK_FREE, 0, 0)

static void hint_lower(struct heap *h, uint64_t c)
{
    uint64_t hint = get(h->header->chunk_hint);
    while (c < hint && !cas(chunk_hint, h->header->chunk_hint, &hint, c))
        ;
}

/* The memory of a free chunk is charged to the segment but to no member. */
static void warm_to_member(struct heap *h, uint32_t pages)
{
    if (!h->shared || !pages)
        return;
    fetch_sub(warm, h->header->warm, pages);
    fetch_add(member_charge, h->me->charged, pages);
}

static void member_to_warm(struct heap *h, uint32_t pages)
{
    if (!h->shared || !pages)
        return;
    fetch_add(warm, h->header->warm, pages);
    fetch_sub(member_charge, h->me->charged, pages);
}

/* Make the descriptors usable, and charge them if they are new.  We own c. */
static bool chunk_describe(struct heap *h, uint32_t c)
{
    struct chunk *chunk = &h->chunks[c];
    if (own_get(chunk->described))
        return true;
    if (!ledger_charge(h, DESCRIPTORS_PAGES))
        return false;
    put_release(chunk_charged, chunk->charged, own_get(chunk->charged) + DESCRIPTORS_PAGES);
    own_put(chunk_described, chunk->described, 1);
    ledger_settle(h, DESCRIPTORS_PAGES);
    return true;
}

/* A huge block leaves no record per slice of what has memory. */
static void dirt_to_slices(struct heap *h, uint32_t c)
{
    struct chunk *chunk = &h->chunks[c];
    if (own_get(chunk->dirty) != DIRT_ALL)
        return;
    int64_t left = (int64_t)get(chunk->charged) - DESCRIPTORS_PAGES;
    for (uint32_t i = 0; i < CHUNK_SLICES; i++, left -= SLICE_OSPAGES) {
        struct slice *d = &h->slices[c * CHUNK_SLICES + i];
        uint32_t here = left <= 0 ? 0 : left < SLICE_OSPAGES ? (uint32_t)left : SLICE_OSPAGES;
        put_release(slice_dirty, d->dirty, UINT16_MAX);
        put_release(slice_committed, d->committed, (uint16_t)((UINT32_C(1) << here) - 1));
        own_put(slice_backed, d->backed, 0);
        own_put(slice_mapped, d->mapped, 0);
    }
}

/* In the private heap of a forked child what nobody had at the fork shows what the
 * parent has made of it since, until the child writes there. */
static void descriptors_forget(struct heap *h, uint32_t c)
{
    for (uint32_t i = 0; i < CHUNK_SLICES; i++) {
        struct slice *d = &h->slices[c * CHUNK_SLICES + i];
        put(page_owner, d->home, HOME_NOBODY);
        put(slice_free, d->kind, SLICE_FREE);
        put(slice_dirty, d->dirty, UINT16_MAX);
        put(slice_committed, d->committed, 0);
        own_put(slice_backed, d->backed, 0);
        own_put(slice_mapped, d->mapped, 0);
    }
}

static void descriptors_start(struct heap *h, uint32_t c)
{
    if (unlikely(h->shown_through))
        descriptors_forget(h, c);
    dirt_to_slices(h, c);
}

bool chunk_is_foreign(struct heap *h, uint32_t c)
{
    const struct chunk *chunk = &h->chunks[c];
    uint64_t user = get(chunk->user);
    return h->shared && user && user != h->member_id && get(chunk->dirty) != DIRT_NONE &&
           (h->zero || get(chunk->uid) != (uint32_t)os_euid());
}

/* What another member left in a free chunk that is ours now goes, if it is not for us. */
static void chunk_inherit(struct heap *h, uint32_t c)
{
    struct chunk *chunk = &h->chunks[c];
    if (chunk_is_foreign(h, c))
        purge_chunk(h, c);
    h->mine->info[c].foreign = false;
    if (!h->shared)
        return;
    put(chunk_user, chunk->user,
        h->member_id); /* before the uid: nobody's bytes pass for a friend's */
    put(chunk_user, chunk->uid, (uint32_t)os_euid());
}

static void chunk_start(struct heap *h, uint32_t c)
{
    struct chunk *chunk = &h->chunks[c];
    chunk_inherit(h, c);
    descriptors_start(h, c);
    if (get(chunk->former) != h->member_id)
        for (uint32_t i = 0; i < CHUNK_SLICES; i++)
            own_put(slice_mapped, h->slices[c * CHUNK_SLICES + i].mapped, 0);
    own_put(chunk_former, chunk->former, h->member_id);
    put(chunk_pending, chunk->pending, 0);
    own_put(chunk_free_slices, chunk->free_slices, ~UINT64_C(0));
    put_release(chunk_dirt, chunk->dirty, DIRT_BY_SLICE);
}

static uint32_t claim_between(struct heap *h, uint64_t from, uint64_t to)
{
    for (uint64_t i = from; i < to; i++) {
        uint32_t c = (uint32_t)i;
        if (!table_covers(h, i))
            return 0;
        if (word_state(get(h->chunks[c].word)) != CHUNK_FREE)
            continue;
        if (!descriptors_ready(h, c))
            return 0;
        if (!word_change(h, c, CHUNK_FREE, LAYOUT_CHUNK_WORD(CHUNK_OWNED, h->member_id, 0)))
            continue;
        put(chunk_hint, h->header->chunk_hint, i + 1);
        warm_to_member(h, get(h->chunks[c].charged));
        if (!chunk_describe(h, c)) {
            member_to_warm(h, get(h->chunks[c].charged));
            word_change(h, c, CHUNK_OWNED, WORD_FREE);
            hint_lower(h, i);
            return 0;
        }
        chunk_start(h, c);
        return c;
    }
    return 0;
}

uint32_t chunk_claim(struct heap *h)
{
    uint64_t from = get(h->header->chunk_hint);
    if (from < h->first_chunk || from > h->chunk_count)
        from = h->first_chunk;
    uint32_t c = claim_between(h, from, h->chunk_count);
    /* The hint may be too high: it is lowered after a chunk is free, and whoever
     * freed it may have died in between. */
    return c || from == h->first_chunk ? c : claim_between(h, h->first_chunk, from);
}

/* Free chunks keep their memory for whoever comes next, up to a limit; what
 * nobody took for a while is purged by the one who gave it. */
static void chunk_give(struct heap *h, uint32_t c, enum chunk_state from)
{
    struct chunk *chunk = &h->chunks[c];
    uint32_t pages = get(chunk->charged);
    if (h->shared && pages > DESCRIPTORS_PAGES && get(h->header->warm) + pages > h->warm_pages) {
        purge_chunk(h, c);
        pages = get(chunk->charged);
    }
    member_to_warm(h, pages);
    own_put(chunk_former, chunk->former, h->member_id);
    word_change(h, c, from, WORD_FREE);
    hint_lower(h, c);
    if (pages > DESCRIPTORS_PAGES)
        purge_later(h, c);
}

void chunk_release(struct heap *h, uint32_t c)
{
    chunk_give(h, c, CHUNK_OWNED);
}

void chunk_purge_free(struct heap *h, uint32_t c)
{
    if (word_state(get(h->chunks[c].word)) != CHUNK_FREE ||
        get(h->chunks[c].charged) <= DESCRIPTORS_PAGES ||
        !word_change(h, c, CHUNK_FREE, LAYOUT_CHUNK_WORD(CHUNK_PART, h->member_id, 0)))
        return;
    warm_to_member(h, get(h->chunks[c].charged));
    purge_chunk(h, c);
    member_to_warm(h, get(h->chunks[c].charged));
    word_change(h, c, CHUNK_PART, WORD_FREE);
    hint_lower(h, c);
}

/* What is adopted counts as ours: HSHM_MEMBER_SIZE may forbid it. */
static bool member_has_room(struct heap *h, uint32_t c)
{
    return !h->member_limit_pages ||
           get(h->me->charged) + get(h->chunks[c].charged) <= h->member_limit_pages;
}

/* Read from a chunk that is nobody's yet, so a guess. */
static bool is_worth_adopting(struct heap *h, uint32_t c, uint32_t run, uint32_t spare)
{
    const struct chunk *chunk = &h->chunks[c];
    return run_exists(get(chunk->free_slices), run) || (spare && get(chunk->spare) >= spare);
}

uint32_t chunk_adopt(struct heap *h, uint32_t run, uint32_t spare)
{
    uint64_t high = chunks_high(h);
    if (get(h->header->orphans) == 0)
        return 0;
    for (uint64_t i = h->first_chunk; i < high; i++) {
        uint32_t c = (uint32_t)i;
        if (word_state(get(h->chunks[c].word)) != CHUNK_ORPHAN || !member_has_room(h, c) ||
            !is_worth_adopting(h, c, run, spare) ||
            !word_change(h, c, CHUNK_ORPHAN, LAYOUT_CHUNK_WORD(CHUNK_OWNED, h->member_id, 0)))
            continue;
        fetch_sub(orphans, h->header->orphans, 1);
        fetch_add(member_charge, h->me->charged, get(h->chunks[c].charged));
        for (uint32_t k = 0; k < CHUNK_SLICES; k++)
            own_put(slice_mapped, h->slices[c * CHUNK_SLICES + k].mapped, 0);
        own_put(chunk_former, h->chunks[c].former, h->member_id);
        return c;
    }
    return 0;
}

/* ---- runs ---------------------------------------------------------------------- */

static void run_undo(struct heap *h, uint32_t first, uint32_t n)
{
    while (n--) {
        member_to_warm(h, own_get(h->chunks[first + n].charged));
        word_change(h, first + n, CHUNK_PART, WORD_FREE);
    }
    hint_lower(h, first);
}

/* Claim [first, first + n) one by one.  On failure all are free again and the
 * index of the chunk that was in the way is returned, else UINT32_MAX. */
static uint32_t run_take(struct heap *h, uint32_t first, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++) {
        uint32_t c = first + i;
        if (!table_covers(h, c) ||
            !word_change(h, c, CHUNK_FREE, LAYOUT_CHUNK_WORD(CHUNK_PART, h->member_id, 0))) {
            run_undo(h, first, i);
            return c;
        }
        warm_to_member(h, get(h->chunks[c].charged));
    }
    return UINT32_MAX;
}

static uint32_t claim_run_from(struct heap *h, uint64_t from, uint32_t n, uint32_t step)
{
    uint64_t first = round_up(from < h->first_chunk ? h->first_chunk : from, step);
    while (first + n <= h->chunk_count) {
        uint32_t blocked = run_take(h, (uint32_t)first, n);
        if (blocked == UINT32_MAX) {
            if (descriptors_ready(h, (uint32_t)first) && chunk_describe(h, (uint32_t)first)) {
                for (uint32_t i = 0; i < n; i++)
                    chunk_inherit(h, (uint32_t)first + i);
                descriptors_start(h, (uint32_t)first);
                return (uint32_t)first;
            }
            run_undo(h, (uint32_t)first, n);
            return 0;
        }
        if (blocked >= chunks_high(h))
            return 0; /* not a neighbour in the way but no memory for the table */
        first = round_up((uint64_t)blocked + 1, step);
    }
    return 0;
}

uint32_t chunk_claim_run(struct heap *h, uint32_t n, uint64_t align)
{
    uint32_t step = align > CHUNK_BYTES ? (uint32_t)(align >> CHUNK_SHIFT) : 1;
    uint64_t from = get(h->header->chunk_hint);
    uint32_t first = claim_run_from(h, from, n, step);
    return first || from <= h->first_chunk ? first : claim_run_from(h, h->first_chunk, n, step);
}

void chunk_huge_publish(struct heap *h, uint32_t first, uint32_t n)
{
    uint64_t seen = get_acquire(h->chunks[first].word);
    cas(chunk_huge, h->chunks[first].word, &seen,
        LAYOUT_CHUNK_WORD(CHUNK_HUGE, word_member(seen), n));
}

bool chunk_huge_retract(struct heap *h, uint32_t first, uint64_t word)
{
    return cas(chunk_retract, h->chunks[first].word, &word,
               LAYOUT_CHUNK_WORD(CHUNK_PART, h->member_id, word_length(word)));
}

bool chunk_run_extend(struct heap *h, uint32_t first, uint32_t have, uint32_t n)
{
    if ((uint64_t)first + n > h->chunk_count || run_take(h, first + have, n - have) != UINT32_MAX)
        return false;
    for (uint32_t i = have; i < n; i++)
        chunk_inherit(h, first + i);
    return true;
}

void chunk_release_run(struct heap *h, uint32_t first, uint32_t n)
{
    while (n--)
        chunk_give(h, first + n, CHUNK_PART);
}

/* If we die: a chunk that bears our id is found by it; the head's length covers
 * exactly those that nobody has taken in hand yet. */
void chunk_release_huge(struct heap *h, uint32_t first)
{
    uint64_t head = get_acquire(h->chunks[first].word);
    for (uint32_t n = word_length(head); n > 1;) {
        n--;
        word_change(h, first + n, CHUNK_PART, LAYOUT_CHUNK_WORD(CHUNK_PART, h->member_id, 0));
        cas(chunk_shorten, h->chunks[first].word, &head,
            LAYOUT_CHUNK_WORD(CHUNK_PART, h->member_id, n));
        head = LAYOUT_CHUNK_WORD(CHUNK_PART, h->member_id, n);
        chunk_give(h, first + n, CHUNK_PART);
    }
    chunk_give(h, first, CHUNK_PART);
}

void chunk_release_dead(struct heap *h, uint32_t c, enum chunk_state from)
{
    if (h->shared)
        fetch_add(member_charge, h->me->charged, get(h->chunks[c].charged));
    own_put(chunk_former, h->chunks[c].former, 0);
    chunk_give(h, c, from);
}

bool chunk_charge_to(struct heap *h, uint32_t c, uint32_t pages)
{
    struct chunk *chunk = &h->chunks[c];
    uint32_t have = get(chunk->charged);
    uint32_t want = pages + (own_get(chunk->described) ? DESCRIPTORS_PAGES : 0);
    if (have >= want)
        return true;
    if (!ledger_charge(h, want - have))
        return false;
    put_release(chunk_charged, chunk->charged, want);
    ledger_settle(h, want - have);
    return true;
}
