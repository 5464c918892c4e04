#include "allocators/commit.h"
#include "allocators/large.h"
#include "allocators/room.h"
#include "allocators/words.h"

#include <fcntl.h>
#include <string.h>

/* ---- the ledger -------------------------------------------------------------
 * seg_header.charged is a hint that only errs on the high side: it grows
 * before pages are committed and shrinks after they are gone, and a member
 * that dies in between leaves it too high.  The truth is chunk.charged, and
 * what living members have in hand (seg_member.charging); whoever meets the
 * limit, and whoever has recovered a member, recounts.  What names have is charged
 * to no chunk: it is counted by what their tables say. */

uint64_t ledger_recount(struct heap *h)
{
    uint64_t seen = get_acquire(h->header->charged), sum = 0, warm = 0;
    uint64_t members = members_high(h), high = chunks_high(h);
    /* Hands first: what moves to its chunk meanwhile is counted twice, not never. */
    for (uint64_t slot = 0; slot < members; slot++)
        if (state_of(get(h->members[slot].state)) != MEMBER_FREE)
            sum += get_acquire(h->members[slot].charging);
    for (uint64_t c = h->first_chunk; c < high; c++) {
        uint64_t pages = get(h->chunks[c].charged);
        sum += pages;
        warm += word_state(get(h->chunks[c].word)) == CHUNK_FREE ? pages : 0;
    }
    put(warm, h->header->warm, warm); /* the dead may have left it wrong */
    sum += names_pages(names_of(h));
    /* If others charged meanwhile it stays for the next time. */
    if (sum != seen && cas(ledger_recount, h->header->charged, &seen, sum))
        return sum;
    return get(h->header->charged);
}

static void ledger_peak(struct heap *h, uint64_t sum)
{
    uint64_t peak = get(h->header->peak);
    while (unlikely(sum > peak) && !cas(ledger_peak, h->header->peak, &peak, sum))
        ;
}

bool ledger_charge(struct heap *h, uint64_t pages)
{
    if (!h->shared)
        return true;
    uint64_t mine = fetch_add(member_charge, h->me->charged, pages) + pages;
    if (h->member_limit_pages && mine > h->member_limit_pages) {
        fetch_sub(member_charge, h->me->charged, pages);
        return false;
    }
    fetch_add(ledger_charging, h->me->charging, pages);
    uint64_t sum = fetch_add(ledger_charge, h->header->charged, pages) + pages;
    if (sum > h->limit_pages)
        sum = ledger_recount(h);
    if (sum <= h->limit_pages && room_is_enough(h, pages, sum)) {
        ledger_peak(h, sum);
        return true;
    }
    ledger_cancel(h, pages);
    return false;
}

void ledger_settle(struct heap *h, uint64_t pages)
{
    /* release: who reads the lower count in ledger_recount() finds them in their chunk. */
    if (h->shared)
        fetch_sub_release(ledger_charging, h->me->charging, pages);
}

void ledger_cancel(struct heap *h, uint64_t pages)
{
    ledger_settle(h, pages);
    ledger_refund(h, pages);
}

void ledger_refund(struct heap *h, uint64_t pages)
{
    if (!h->shared)
        return;
    fetch_sub(ledger_refund, h->header->charged, pages);
    fetch_sub(member_charge, h->me->charged, pages);
}

/* ---- shortage ----------------------------------------------------------------------- */

#define SHORT_MS 10000

bool memory_is_short(struct heap *h)
{
    uint64_t since = get(h->header->short_ms);
    return unlikely(since != 0) && os_now_ms() - since < SHORT_MS;
}

void memory_found_short(struct heap *h)
{
    put(memory_short, h->header->short_ms, os_now_ms());
}

/* ---- committing ---------------------------------------------------------------- */

bool commit_metadata(struct heap *h, uint64_t off, uint64_t bytes)
{
    uint64_t from = off & ~(OS_PAGE - 1), to = round_up(off + bytes, OS_PAGE);
    return os_populate((char *)h->header + from, to - from) ==
           0; /* h->base is not set while attaching */
}

bool commit_at_once(struct heap *h, uint64_t bytes)
{
    return bytes <= LARGE_POPULATED || h->reserve || room_is_tight(h, bytes);
}

bool commit_huge(struct heap *h, uint64_t off, uint64_t bytes)
{
    if (os_populate(at_off(h, off), bytes) == 0)
        return true;
    os_purge(at_off(h, off), bytes, h->shared); /* the part that there was room for */
    return false;
}

/* Bits of the OS pages of slice 'i' that lie in [off, end). */
static uint16_t slice_mask(uint32_t i, uint64_t off, uint64_t end)
{
    uint64_t start = (uint64_t)i << SLICE_SHIFT;
    uint64_t from = off > start ? (off - start) / OS_PAGE : 0;
    uint64_t to = end < start + SLICE_BYTES ? (end - start + OS_PAGE - 1) / OS_PAGE : SLICE_OSPAGES;
    return (uint16_t)((UINT32_C(1) << to) - (UINT32_C(1) << from));
}

/* Populating has failed half-way: what nobody has charged goes back to the system. */
static void commit_undo(struct heap *h, uint32_t first, uint32_t last, uint64_t off, uint64_t end)
{
    for (uint32_t i = first; i <= last; i++) {
        uint32_t mask = slice_mask(i, off, end) & (uint16_t)~own_get(h->slices[i].committed);
        while (mask) {
            unsigned from = (unsigned)__builtin_ctz(mask),
                     n = (unsigned)__builtin_ctz(~(mask >> from));
            os_purge(at_off(h, ((uint64_t)i << SLICE_SHIFT) + from * OS_PAGE), n * OS_PAGE,
                     h->shared);
            mask &= ~(((UINT32_C(1) << n) - 1) << from);
        }
    }
}

/* OS pages that are there already need only be mapped, which the program's touch
 * would do too: the kernel maps all of an aligned 64 KiB, a slice, when one is
 * asked for, in the time of two faults. */
static void map_backed(struct heap *h, uint64_t from, uint64_t to)
{
    if (from >> SLICE_SHIFT == (to - 1) >> SLICE_SHIFT)
        to = from + OS_PAGE;
    os_populate_read(at_off(h, from), to - from);
}

bool commit_range(struct heap *h, uint64_t off, uint64_t bytes, bool populate, bool *zero)
{
    uint64_t end = off + bytes;
    uint32_t first = (uint32_t)(off >> SLICE_SHIFT), last = (uint32_t)((end - 1) >> SLICE_SHIFT);
    struct chunk *chunk = &h->chunks[chunk_of(first)];
    uint32_t fresh = 0;
    bool unmapped = false, unbacked = false, clean = true;
    for (uint32_t i = first; i <= last; i++) {
        struct slice *d = &h->slices[i];
        uint16_t mask = slice_mask(i, off, end);
        fresh += (uint32_t)__builtin_popcount(mask & (uint16_t)~own_get(d->committed));
        unmapped |= (mask & (uint16_t)~own_get(d->mapped)) != 0;
        unbacked |= (mask & (uint16_t)~own_get(d->backed)) != 0;
        clean &= (mask & own_get(d->dirty)) == 0;
    }
    if (fresh && !ledger_charge(h, fresh))
        return false;
    uint64_t from = off & ~(OS_PAGE - 1), to = round_up(end, OS_PAGE);
    if (populate && (unbacked || (unmapped && !h->shared)) &&
        os_populate(at_off(h, from), to - from) < 0) {
        commit_undo(h, first, last, off, end);
        ledger_cancel(h, fresh);
        return false;
    }
    bool map = populate && (unbacked || to - from > OS_PAGE || !h->shared);
    if (map && unmapped && !unbacked && h->shared)
        map_backed(h, from, to);
    if (fresh) {
        fetch_add_release(chunk_charged, chunk->charged, fresh); /* others extend pages, too */
        ledger_settle(h, fresh);
    }
    for (uint32_t i = first; i <= last; i++) {
        struct slice *d = &h->slices[i];
        uint16_t mask = slice_mask(i, off, end);
        /* 'dirty' first: a page handed out is never taken for zero. */
        put_release(slice_dirty, d->dirty, (uint16_t)(own_get(d->dirty) | mask));
        put_release(slice_committed, d->committed, (uint16_t)(own_get(d->committed) | mask));
        if (populate) {
            uint16_t there = own_get(d->backed) | mask;
            own_put(slice_backed, d->backed, there);
            if (map)
                own_put(slice_mapped, d->mapped, there);
        }
    }
    if (zero)
        *zero = clean && !h->shown_through;
    return true;
}

/* ---- purging -------------------------------------------------------------------- */

/* Where the kernel only claims to give memory back, the file itself gets a hole. */
static bool give_back(struct heap *h, uint64_t off, uint64_t bytes)
{
    struct os_file file;
    long rc = os_purge(at_off(h, off), bytes, h->shared);
    long fd = rc < 0 && h->shared && h->can_open ? os_open(h->path, O_RDWR, 0) : -1;
    if (fd < 0)
        return rc == 0;
    if (os_fstat(fd, &file) == 0 && file.inode == h->inode && file.device == h->device)
        rc = os_punch(fd, off, bytes);
    os_close(fd);
    return rc == 0;
}

/* For people: what hshm show says of it. */
static void purge_count(struct heap *h, uint64_t pages)
{
    if (!h->shared || !pages)
        return;
    fetch_add(purge_count, h->header->purges, 1);
    fetch_add(purge_count, h->header->purged, pages);
    put(purge_count, h->header->purged_ns, os_now_ns());
}

/* Purge slices [first, first + n), all free and ours.  False: their bytes are still there. */
static bool purge_run(struct heap *h, uint32_t first, uint32_t n)
{
    uint32_t pages = 0;
    for (uint32_t i = first; i < first + n; i++) {
        struct slice *d = &h->slices[i];
        pages += (uint32_t)__builtin_popcount(own_get(d->committed));
        /* If we die before the hole is punched the pages are there but not
         * counted, and still 'dirty': whoever commits them again finds them. */
        put_release(purge_uncommit, d->committed, 0);
        own_put(slice_backed, d->backed, 0);
        own_put(slice_mapped, d->mapped, 0);
    }
    bool gone = give_back(h, (uint64_t)first << SLICE_SHIFT, (uint64_t)n << SLICE_SHIFT);
    for (uint32_t i = first; gone && i < first + n; i++)
        put_release(purge_clean, h->slices[i].dirty, 0);
    struct chunk *chunk = &h->chunks[chunk_of(first)];
    fetch_sub(chunk_charged, chunk->charged, pages);
    ledger_refund(h, pages);
    purge_count(h, gone ? pages : 0);
    return gone;
}

bool purge_slices(struct heap *h, uint32_t c, uint64_t mask)
{
    bool gone = true;
    while (mask) {
        unsigned first = (unsigned)__builtin_ctzl(mask);
        uint64_t rest = ~(mask >> first);
        unsigned n = rest ? (unsigned)__builtin_ctzl(rest) : 64;
        if (n > 64 - first)
            n = 64 - first;
        gone &= purge_run(h, c * CHUNK_SLICES + first, n);
        mask &= ~((n == 64 ? ~UINT64_C(0) : ((UINT64_C(1) << n) - 1)) << first);
    }
    return gone;
}

/* A chunk that was part of a huge block has no record per slice. */
static bool purge_all(struct heap *h, uint32_t c)
{
    struct chunk *chunk = &h->chunks[c];
    uint32_t keep = own_get(chunk->described) ? DESCRIPTORS_PAGES : 0;
    uint32_t pages = get(chunk->charged) - keep;
    bool gone = give_back(h, (uint64_t)c << CHUNK_SHIFT, CHUNK_BYTES);
    if (gone && keep)
        for (uint32_t i = 0; i < CHUNK_SLICES; i++) {
            struct slice *d = &h->slices[c * CHUNK_SLICES + i];
            put_release(purge_uncommit, d->committed, 0);
            own_put(slice_backed, d->backed, 0);
            own_put(slice_mapped, d->mapped, 0);
            put_release(purge_clean, d->dirty, 0);
        }
    own_put(chunk_charged, chunk->charged, keep);
    ledger_refund(h, pages);
    purge_count(h, gone ? pages : 0);
    return gone;
}

void purge_chunk(struct heap *h, uint32_t c)
{
    bool gone = true;
    if (own_get(h->chunks[c].dirty) == DIRT_ALL)
        gone = purge_all(h, c);
    else if (own_get(h->chunks[c].described))
        gone = purge_slices(h, c, ~UINT64_C(0));
    if (gone) /* else what was not zero is not taken for zero */
        put_release(chunk_dirt, h->chunks[c].dirty, DIRT_NONE);
}
