#include "allocators/run.h"
#include "allocators/adopt.h"
#include "allocators/chunk.h"
#include "allocators/commit.h"
#include "allocators/damage.h"
#include "allocators/mapped.h"

static uint64_t bits(uint32_t first, uint32_t n)
{
    return (n == 64 ? ~UINT64_C(0) : (UINT64_C(1) << n) - 1) << first;
}

/* Positions at which a run of n begins. */
static uint64_t run_starts(uint64_t free, uint32_t n)
{
    for (uint32_t have = 1; have < n;) {
        uint32_t step = n - have < have ? n - have : have;
        free &= free >> step;
        have += step;
    }
    return free;
}

bool run_exists(uint64_t free, uint32_t n)
{
    return n == 0 || run_starts(free, n) != 0;
}

/* Of these positions, those at a multiple of 'align', a power of two up to 64. */
static uint64_t aligned_only(uint64_t starts, uint32_t align)
{
    static const uint64_t every[] = {
        UINT64_MAX,
        UINT64_C(0x5555555555555555),
        UINT64_C(0x1111111111111111),
        UINT64_C(0x0101010101010101),
        UINT64_C(0x0001000100010001),
        UINT64_C(0x0000000100000001),
        1,
    };
    return starts & every[__builtin_ctz(align)];
}

/* ---- bins ----------------------------------------------------------------------- */

static uint8_t bin_of(uint64_t free)
{
    uint8_t bin = 0;
    for (; free && bin < 6; bin++)
        free &= free >> (UINT32_C(1) << bin); /* now: starts of runs of 2^(bin + 1) */
    return free ? 7 : bin;
}

static void bin_remove(struct mine *m, uint32_t c)
{
    struct chunk_info *info = &m->info[c];
    if (!info->bin)
        return;
    if (info->prev)
        m->info[info->prev].next = info->next;
    else
        m->bins[info->bin] = info->next;
    if (info->next)
        m->info[info->next].prev = info->prev;
    info->bin = 0;
}

static void bin_update(struct heap *h, uint32_t c)
{
    struct mine *m = h->mine;
    struct chunk_info *info = &m->info[c];
    uint8_t bin = bin_of(own_get(h->chunks[c].free_slices));
    if (bin == info->bin)
        return;
    bin_remove(m, c);
    if (!bin)
        return;
    info->bin = bin;
    info->prev = 0;
    info->next = m->bins[bin];
    if (info->next)
        m->info[info->next].prev = c;
    m->bins[bin] = c;
}

static void queue_push(struct mine *m, uint32_t c)
{
    m->info[c].waiting = true;
    m->info[c].purge_next = 0;
    if (m->purge_tail)
        m->info[m->purge_tail].purge_next = c;
    else
        m->purge_head = c;
    m->purge_tail = c;
}

static uint32_t queue_pop(struct mine *m)
{
    uint32_t c = m->purge_head;
    m->purge_head = m->info[c].purge_next;
    if (!m->purge_head)
        m->purge_tail = 0;
    m->info[c].waiting = false;
    return c;
}

void purge_later(struct heap *h, uint32_t c)
{
    struct chunk_info *info = &h->mine->info[c];
    uint64_t word = get(h->chunks[c].word);
    /* A chunk given back again and again stays young; of one that we own the
     * slices age each by itself. */
    if (!info->waiting || word_state(word) == CHUNK_FREE)
        info->purge_ms = (uint32_t)os_now_ms();
    if (!info->waiting)
        queue_push(h->mine, c);
}

/* Its free slices may have memory from its time with another member: that is
 * used first, and purged if nobody needs it. */
void run_add_chunk(struct heap *h, uint32_t c)
{
    struct chunk_info *info = &h->mine->info[c];
    uint64_t free = own_get(h->chunks[c].free_slices);
    h->mine->chunks++;
    info->idle = info->aged = 0;
    for (uint32_t i = 0; i < CHUNK_SLICES; i++)
        if (free >> i & 1 && own_get(h->slices[c * CHUNK_SLICES + i].committed))
            info->idle |= UINT64_C(1) << i;
    bin_update(h, c);
    if (info->idle)
        purge_later(h, c);
}

/* ---- taking ----------------------------------------------------------------------- */

/* The bits say so; the descriptors must, too, or two would have the same memory. */
static bool slices_are_free(struct heap *h, uint32_t first, uint32_t n)
{
    for (uint32_t i = first; i < first + n; i++)
        if (unlikely(get(h->slices[i].kind) != SLICE_FREE)) {
            damage_segment(h, "a slice in use is taken for free",
                           (char *)&h->slices[i] - (char *)h->header);
            return false;
        }
    return true;
}

static uint32_t run_take(struct heap *h, uint32_t c, uint32_t n, uint32_t align)
{
    struct chunk *chunk = &h->chunks[c];
    uint64_t free = own_get(chunk->free_slices);
    uint64_t starts = aligned_only(run_starts(free, n), align);
    if (!starts)
        return UINT32_MAX;
    uint32_t first = (uint32_t)__builtin_ctzl(starts);
    /* prefer slices that still have memory */
    uint64_t warm = aligned_only(run_starts(free & h->mine->info[c].idle, n), align);
    if (warm)
        first = (uint32_t)__builtin_ctzl(warm);
    if (!slices_are_free(h, c * CHUNK_SLICES + first, n))
        return UINT32_MAX;
    own_put(chunk_free_slices, chunk->free_slices, free & ~bits(first, n));
    h->mine->info[c].idle &= ~bits(first, n);
    h->mine->info[c].aged &= ~bits(first, n);
    bin_update(h, c);
    return c * CHUNK_SLICES + first;
}

/* A chunk in bin b has a run of 2^(b-1), less than 2^b: the first bin all of whose
 * chunks have what is needed. */
static uint32_t bin_that_has(uint32_t n, uint32_t align)
{
    uint32_t need = n + align - 1, sure = 1;
    while (sure < 7 && UINT32_C(1) << (sure - 1) < need)
        sure++;
    return sure;
}

bool run_is_at_hand(struct heap *h, uint32_t n)
{
    for (uint32_t bin = bin_that_has(n, n); bin < BIN_COUNT; bin++)
        if (h->mine->bins[bin])
            return true;
    return false;
}

/* The first few chunks are tried where the bin only promises half. */
static uint32_t bins_search(struct heap *h, uint32_t n, uint32_t align)
{
    uint32_t sure = bin_that_has(n, align);
    for (uint32_t bin = sure > 1 ? sure - 1 : 1; bin < BIN_COUNT; bin++) {
        uint32_t tries = bin < sure || bin == 7 ? 8 : 1;
        for (uint32_t c = h->mine->bins[bin]; c && tries; c = h->mine->info[c].next, tries--) {
            uint32_t slice = run_take(h, c, n, align);
            if (slice != UINT32_MAX)
                return slice;
        }
    }
    return 0;
}

static uint32_t run_find(struct heap *h, uint32_t n, uint32_t align)
{
    uint32_t slice = bins_search(h, n, align);
    if (slice || h->unusable)
        return slice;
    uint32_t most = n + align - 1, c = adopt_chunk(h, most < CHUNK_SLICES ? most : CHUNK_SLICES, 0);
    if (c) {
        slice = bins_search(h, n, align);
        if (slice)
            return slice;
    }
    c = chunk_claim(h);
    if (!c)
        return 0;
    run_add_chunk(h, c);
    slice = run_take(h, c, n, align);
    return slice == UINT32_MAX ? 0 : slice;
}

uint32_t run_alloc(struct heap *h, uint32_t n, uint32_t align)
{
    uint32_t first = run_find(h, n, align);
    mapped_restore(h, (uint64_t)first << SLICE_SHIFT, first ? (uint64_t)n << SLICE_SHIFT : 0);
    return first;
}

bool run_extend(struct heap *h, uint32_t first, uint32_t have, uint32_t n)
{
    uint32_t c = chunk_of(first), at = first % CHUNK_SLICES;
    if (at + n > CHUNK_SLICES)
        return false;
    uint64_t want = bits(at + have, n - have), free = own_get(h->chunks[c].free_slices);
    if ((free & want) != want)
        return false;
    if (!slices_are_free(h, first + have, n - have))
        return false;
    own_put(chunk_free_slices, h->chunks[c].free_slices, free & ~want);
    h->mine->info[c].idle &= ~want;
    h->mine->info[c].aged &= ~want;
    bin_update(h, c);
    mapped_restore(h, (uint64_t)(first + have) << SLICE_SHIFT, (uint64_t)(n - have) << SLICE_SHIFT);
    return true;
}

/* ---- giving back -------------------------------------------------------------------- */

static void chunk_leave(struct heap *h, uint32_t c)
{
    bin_remove(h->mine, c);
    h->mine->chunks--;
    h->mine->info[c].idle = h->mine->info[c].aged = 0;
    chunk_release(h, c);
}

/* Purge the slices that have been idle for a whole round; the rest ages. */
static void purge_owned(struct heap *h, uint32_t c, uint32_t now, bool all)
{
    struct mine *m = h->mine;
    struct chunk_info *info = &m->info[c];
    uint64_t free = own_get(h->chunks[c].free_slices), old = all ? info->idle : info->aged;
    purge_slices(h, c, old & free);
    info->idle &= ~old;
    info->aged = info->idle;
    if (free == ~UINT64_C(0) && m->chunks > 1) {
        chunk_leave(h, c);
    } else if (info->idle && !info->waiting) {
        info->purge_ms = now;
        queue_push(m, c);
    }
}

void run_free(struct heap *h, uint32_t first, uint32_t n)
{
    uint32_t c = chunk_of(first);
    struct chunk *chunk = &h->chunks[c];
    uint64_t mask = bits(first % CHUNK_SLICES, n);
    own_put(chunk_free_slices, chunk->free_slices, own_get(chunk->free_slices) | mask);
    h->mine->info[c].idle |= mask;
    bin_update(h, c);
    bool in_need = h->shared && memory_is_short(h);
    /* The last chunk stays: giving it back and claiming it again is no gain. */
    if (own_get(chunk->free_slices) == ~UINT64_C(0) && (h->mine->chunks > 1 || in_need))
        chunk_leave(h, c);
    else if (in_need)
        purge_owned(h, c, (uint32_t)os_now_ms(), true);
    else
        purge_later(h, c);
}

void run_purge(struct heap *h, bool all)
{
    struct mine *m = h->mine;
    if (h->unusable)
        return;
    if ((h->purge_delay_ms < 0 && !all) || !m->purge_head)
        return;
    uint32_t now = (uint32_t)os_now_ms(), last = m->purge_tail, c;
    do { /* one round at most: who is still young goes to the end */
        c = m->purge_head;
        struct chunk_info *info = &m->info[c];
        if (!all && (int64_t)(uint32_t)(now - info->purge_ms) < h->purge_delay_ms) {
            if (word_state(get(h->chunks[c].word)) != CHUNK_FREE)
                break; /* those behind it came later */
            queue_pop(m);
            queue_push(m, c);
            continue;
        }
        queue_pop(m);
        uint64_t word = get(h->chunks[c].word);
        if (word_state(word) == CHUNK_OWNED && word_member(word) == h->member_id)
            purge_owned(h, c, now, all);
        else
            chunk_purge_free(h, c);
    } while (c != last && m->purge_head);
}
