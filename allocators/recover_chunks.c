#include "allocators/adopt.h"
#include "allocators/chunk.h"
#include "allocators/commit.h"
#include "allocators/handed.h"
#include "allocators/hold.h"
#include "allocators/large.h"
#include "allocators/page.h"
#include "allocators/recover_parts.h"
#include "allocators/sound.h"

#include <errno.h>

/* ---- pages --------------------------------------------------------------------------------
 * All blocks of a dead owner's page are first marked used in kept.bits; then
 * the marks of those that any list has are cleared.  Lists are not changed, so
 * whoever dies here is simply followed by one who starts over. */

/* With HSHM_EXIT=reclaim only what has a name or changes hands stays, what others are
 * freeing just now, and what members who keep had left in a page that was adopted. */
static void page_mark_registered(struct heap *h, struct dead *dead, struct slice *d)
{
    struct kept *kept = &h->kept[slice_index(h, d)];
    uint32_t capacity = get(d->capacity);
    put(page_owner, d->home, HOME_NOBODY);
    put(kept_former, kept->former, dead->id);
    for (uint32_t i = 0; i < PAGE_BLOCKS_MAX / 64; i++) {
        uint64_t bits = get(d->flags) & PAGE_KEPT ? get(kept->bits[i]) : 0;
        for (uint32_t n = 0; n < 64 && i * 64 + n < capacity; n++) {
            uint64_t off = slice_off(h, d) + (i * 64 + n) * (uint64_t)class_bytes(get(d->cls));
            bits |= (uint64_t)block_is_registered(h, d, off) << n;
        }
        if (get(kept->bits[i]) != bits)
            put(kept_set, kept->bits[i], bits);
    }
    put_release(page_flags, d->flags,
                (uint8_t)((get(d->flags) & (PAGE_EMPTY | PAGE_CHECKED)) | PAGE_KEPT));
}

/* A page that the dead one had adopted: the marks that it has are those of members who keep.
 * What has been freed and not merged is unmarked with the lists. */
static void page_mark_legacies(struct slice *d)
{
    put(page_owner, d->home, HOME_NOBODY);
    put_release(page_flags, d->flags,
                (uint8_t)((get(d->flags) & (PAGE_EMPTY | PAGE_CHECKED | PAGE_BITS)) | PAGE_KEPT));
}

static void page_mark_empty(struct slice *d)
{
    put(page_owner, d->home, HOME_NOBODY);
    put_release(page_flags, d->flags, PAGE_EMPTY);
}

/* Its freer writes there and pushes it on 'remote', where the adopter finds it. */
static void page_mark_in_hand(struct heap *h, struct dead *dead, struct slice *d, uint64_t off)
{
    struct kept *kept = &h->kept[slice_index(h, d)];
    uint32_t block = page_block_index(d, off);
    if (get(d->flags) & PAGE_EMPTY) {
        put(kept_former, kept->former, dead->id);
        for (uint32_t i = 0; i < PAGE_BLOCKS_MAX / 64; i++)
            put(kept_set, kept->bits[i], 0);
    }
    fetch_or(kept_set, kept->bits[block / 64], UINT64_C(1) << (block % 64));
    put_release(page_flags, d->flags, PAGE_KEPT);
}

static void page_mark_used(struct heap *h, struct dead *dead, struct slice *d)
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
static bool block_unmark(struct heap *h, struct dead *dead, uint64_t off)
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

static void list_unmark(struct heap *h, struct dead *dead, uint64_t head)
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

static void record_unmark(struct heap *h, struct dead *dead, struct thread_record *record,
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

static void page_orphan(const struct dead *dead, struct slice *d, uint8_t flags)
{
    own_put(page_taking, d->taken, 0);
    put(page_owner, d->owner, dead->id << THREAD_BITS);
    put(page_owner, d->cell, 0);
    put_release(page_flags, d->flags, flags);
}

/* After all lists: true if some block of the page stays allocated. */
static bool page_settle(struct heap *h, struct dead *dead, struct slice *d)
{
    if (get(d->flags) & PAGE_EMPTY)
        goto empty;
    list_unmark(h, dead, get(d->taken));
    list_unmark(h, dead, remote_head(get_acquire(d->remote)));
    if (bits_are_clear(h, d))
        goto empty;
    page_orphan(dead, d, (uint8_t)((get(d->flags) & PAGE_CHECKED) | PAGE_KEPT | PAGE_BITS));
    return true;
empty:
    page_orphan(dead, d, PAGE_EMPTY); /* it may wait for a hold */
    return false;
}

static bool large_recover(struct heap *h, struct dead *dead, struct slice *d)
{
    uint64_t stamp = get_acquire(d->remote);
    bool goes = dead->reclaim && owner_member(get(d->owner)) == dead->id;
    if ((stamp & 0xff) == LARGE_LIVE && (!goes || block_is_registered(h, d, slice_off(h, d))))
        return true;
    put_release(large_freed, d->remote, (stamp & ~UINT64_C(0xff)) | LARGE_FREED);
    return false;
}

/* ---- chunks ---------------------------------------------------------------------------------- */

static void slices_clear(struct slice *d, uint32_t n)
{
    for (uint32_t i = n; i-- > 0;) {
        put(page_owner, d[i].home, HOME_NOBODY); /* a page half made has one */
        put_release(slice_free, d[i].kind, SLICE_FREE);
    }
}

static bool slice_is_head(struct slice *d, uint32_t i)
{
    enum slice_kind kind = (enum slice_kind)get_acquire(d->kind);
    uint32_t span = get(d->span);
    return (kind == SLICE_PAGE ? page_is_sound(d) : kind == SLICE_LARGE && span != 0) &&
           span <= CHUNK_SLICES - i;
}

/* Bytes that can be allocated beside what stays in the page at slice d. */
static uint32_t page_spare(struct heap *h, const struct slice *d)
{
    const struct kept *kept = &h->kept[slice_index(h, d)];
    uint32_t used = 0, reserved = get(d->reserved);
    for (uint32_t i = 0; i < reserved; i += 64)
        used += (uint32_t)__builtin_popcountl(get(kept->bits[i / 64]));
    return (reserved - used) * class_bytes(get(d->cls));
}

/* The page or block at slice i of the chunk; how many slices it takes, 0 if
 * slice i is (or becomes) free. */
static uint32_t slice_recover(struct heap *h, struct dead *dead, uint32_t c, uint32_t i,
                              uint32_t *spare)
{
    struct slice *d = &h->slices[c * CHUNK_SLICES + i];
    if (!slice_is_head(d, i)) {
        slices_clear(d, 1);
        return 0;
    }
    uint32_t span = get(d->span);
    bool stays = get(d->kind) == SLICE_PAGE ? page_settle(h, dead, d) : large_recover(h, dead, d);
    if (stays) {
        *spare += get(d->kind) == SLICE_PAGE ? page_spare(h, d) : 0;
        return span;
    }
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

/* Before anything of it is freed: whoever frees a block of it from now on is told. */
static void chunks_went(struct heap *h, const struct dead *dead, uint32_t c, uint32_t n)
{
    for (uint32_t i = 0; dead->reclaim && i < n; i++)
        put_release(chunk_went, h->chunks[c + i].went, 1);
}

static void chunk_recover(struct heap *h, struct dead *dead, uint32_t c)
{
    chunks_went(h, dead, c, 1);
    charge_recount(h, c);
    uint64_t free = 0;
    uint32_t spare = 0;
    for (uint32_t i = 0; i < CHUNK_SLICES;) {
        uint32_t span = slice_recover(h, dead, c, i, &spare);
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
    dead->left = true;
    own_put(chunk_former, h->chunks[c].former, dead->id);
    put(chunk_spare, h->chunks[c].spare, spare);
    /* Counted first: chunk_adopt() does not look where the count is 0. */
    fetch_add(orphans, h->header->orphans, 1);
    if (!cas(chunk_word, h->chunks[c].word, &word, LAYOUT_CHUNK_WORD(CHUNK_ORPHAN, dead->id, 0)))
        fetch_sub(orphans, h->header->orphans, 1);
}

typedef bool page_visitor(struct heap *h, struct dead *dead, struct slice *d, void *ctx);

static bool pages_each(struct heap *h, struct dead *dead, uint32_t c, page_visitor *visit,
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
static bool page_back_marks(struct heap *h, struct dead *dead, struct slice *d, void *ctx)
{
    struct span *waiting = ctx;
    if (dead->reclaim && !get(d->registered))
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

static bool page_mark(struct heap *h, struct dead *dead, struct slice *d, void *ctx)
{
    (void)ctx;
    if (!dead->reclaim)
        page_mark_used(h, dead, d);
    else if (get(d->registered))
        page_mark_registered(h, dead, d);
    else if (get(d->flags) & PAGE_KEPT)
        page_mark_legacies(d);
    else
        page_mark_empty(d);
    return true;
}

static bool chunk_mark_used(struct heap *h, struct dead *dead, uint32_t c)
{
    struct span waiting = { 0, 0 };
    return pages_each(h, dead, c, page_back_marks, &waiting) && span_back(&waiting) &&
           pages_each(h, dead, c, page_mark, NULL);
}

/* Those who free blocks of the dead noted that before they looked whether it is
 * being recovered, and before they took a registered block off its table; we have
 * said so, and looked at the table, before we look at their notes. */
static bool hands_mark(struct heap *h, struct dead *dead)
{
    struct hands hands;
    hands_collect(h, dead->fd, dead->id, 0, UINT64_MAX, &hands);
    for (uint32_t i = 0; i < hands.count; i++) {
        struct slice *d = slice_head(h, (uint32_t)(hands.off[i] >> SLICE_SHIFT));
        struct kept *kept = &h->kept[slice_index(h, d)];
        if (!page_is_sound(d) || !block_is_in(h, d, hands.off[i]))
            continue;
        if (os_populate(kept, sizeof *kept) == -ENOMEM)
            return false;
        page_mark_in_hand(h, dead, d, hands.off[i]);
    }
    return !hands.more;
}

/* False: no memory for the marks; somebody tries again. */
bool pages_mark(struct heap *h, struct dead *dead)
{
    struct seg_member *m = &h->members[dead->slot];
    uint64_t high = chunks_high(h), settings = get_acquire(m->settings);
    if (settings & SETTING_MARKED) /* by one who died; the lists may be gone with their chunk */
        return true;
    for (uint64_t c = h->first_chunk; c < high; c++) {
        uint64_t word = get_acquire(h->chunks[c].word);
        if (word_state(word) == CHUNK_OWNED && word_member(word) == dead->id &&
            !chunk_mark_used(h, dead, (uint32_t)c))
            return false;
    }
    if (dead->reclaim && !hands_mark(h, dead))
        return false;
    if (!dead->reclaim)
        records_each(h, dead, record_unmark, NULL);
    put_release(member_marked, m->settings, settings | SETTING_MARKED);
    return true;
}

/* A huge block of the dead.  Its chunks go on bearing its id if it is kept. */
static void huge_recover(struct heap *h, struct dead *dead, uint32_t c)
{
    struct slice *d = &h->slices[(size_t)c * CHUNK_SLICES];
    chunks_went(h, dead, c, word_length(get_acquire(h->chunks[c].word)));
    if (large_recover(h, dead, d)) {
        dead->left = true;
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

bool chunks_recover(struct heap *h, struct dead *dead)
{
    uint64_t high = chunks_high(h);
    for (uint64_t i = h->first_chunk; i < high; i++) {
        uint32_t c = (uint32_t)i;
        uint64_t word = get_acquire(h->chunks[c].word);
        enum chunk_state state = word_state(word);
        bool dead_ones = word_member(word) == dead->id;
        bool is_head = (state == CHUNK_HUGE || state == CHUNK_PART) && word_length(word) > 1;
        if (is_head && i + word_length(word) > chunks_high(h)) { /* it may have grown since */
            damage_segment(h, "the length of a huge block",
                           (uint64_t)((char *)&h->chunks[c] - (char *)h->header));
            return false;
        }
        if (state == CHUNK_OWNED && dead_ones)
            chunk_recover(h, dead, c);
        else if (state == CHUNK_HUGE && dead_ones)
            huge_recover(h, dead, c);
        else if (state == CHUNK_PART && dead_ones)
            part_recover(h, c, word);
        /* Parts bear the id of the block's maker, even while somebody else takes
         * it apart: as long as a head covers them they are in its hands. */
        if (is_head)
            i += word_length(word) - 1;
    }
    return true;
}
