#include "allocators/adopt.h"
#include "allocators/chunk.h"
#include "allocators/commit.h"
#include "allocators/hold.h"
#include "allocators/large.h"
#include "allocators/page.h"
#include "allocators/run.h"
#include "allocators/sound.h"
#include "allocators/thread_cache.h"

#define LOOK_POOL 8

/* ---- the pool ---------------------------------------------------------------------- */

/* A dead freer may have had a block of this page in hand: see page_audit(). */
static void pool_audit(struct heap *h, struct slice *d)
{
    uint64_t off;
    if (page_question(h, d, &off))
        kept_forget(h, d, off);
}

/* Have all legacies of a page with PAGE_BITS been freed?  One that somebody is
 * freeing just now is still marked and not on 'remote'. */
static bool pool_page_is_empty(struct heap *h, struct slice *d)
{
    if (get(d->audit))
        pool_audit(h, d);
    struct kept *kept = &h->kept[slice_index(h, d)];
    uint64_t bits[PAGE_BLOCKS_MAX / 64], left = 0;
    for (uint32_t i = 0; i < PAGE_BLOCKS_MAX / 64; i++)
        bits[i] = get(kept->bits[i]);
    uint64_t off = remote_head(get_acquire(d->remote));
    for (uint32_t steps = get(d->reserved); off && !list_is_end(off) && steps; steps--) {
        if (!block_is_in(h, d, off))
            return false;
        uint32_t block = page_block_index(d, off);
        bits[block / 64] &= ~(UINT64_C(1) << (block % 64));
        off = link_read(h, at_off(h, off));
        if (!link_is_sound(h, off))
            return false;
    }
    for (uint32_t i = 0; i < PAGE_BLOCKS_MAX / 64; i++)
        left |= bits[i];
    return left == 0;
}

/* No block of it can be had: all are legacies, and none of them has been freed. */
static bool pool_page_is_full(struct heap *h, const struct slice *d)
{
    const struct kept *kept = &h->kept[slice_index(h, d)];
    uint32_t reserved = own_get(d->reserved);
    if (get(d->remote) || get(d->audit) || own_get(d->capacity) < reserved)
        return false;
    for (uint32_t i = 0; i < reserved; i += 64) {
        uint64_t beyond = reserved - i < 64 ? UINT64_MAX << (reserved - i) : 0;
        if (~(get(kept->bits[i / 64]) | beyond))
            return false;
    }
    return true;
}

static void pool_put(struct heap *h, struct slice *d)
{
    put(page_owner, d->owner, owner_pool(h));
    put(page_owner, d->cell, 0);
    if (!(own_get(d->flags) & PAGE_EMPTY) && own_get(d->flags) & PAGE_BITS &&
        pool_page_is_empty(h, d))
        put(page_flags, d->flags, own_get(d->flags) | PAGE_EMPTY);
    if (own_get(d->flags) & PAGE_EMPTY) {
        if (page_is_held(h, d))
            held_add(h, d);
        else
            page_end(h, d);
        return;
    }
    struct page_list *pool = &h->mine->pool[own_get(d->shared)][own_get(d->cls)];
    if (pool_page_is_full(h, d))
        page_list_append(h, pool, d);
    else
        page_list_prepend(h, pool, d);
}

struct slice *pool_take(struct thread_cache *tc, unsigned cls)
{
    struct heap *h = tc->heap;
    struct page_list *pool = &h->mine->pool[tc->shared][cls];
    for (unsigned looks = LOOK_POOL; pool->head && looks; looks--) {
        struct slice *d = &h->slices[pool->head];
        page_list_remove(h, pool, d);
        if (!page_must_be_sound(h, d))
            return NULL;
        /* Blocks of a checked page have canaries, those of others have none. */
        if (page_is_held(h, d) || h->check != ((own_get(d->flags) & PAGE_CHECKED) != 0) ||
            pool_page_is_full(h, d)) {
            page_list_append(h, pool, d);
            continue;
        }
        page_set_owner(tc, d, !(own_get(d->flags) & PAGE_KEPT));
        if (own_get(d->flags) & PAGE_BITS)
            page_list_from_bits(h, d);
        return d;
    }
    return NULL;
}

static void pool_sweep_list(struct heap *h, struct page_list *pool)
{
    for (uint32_t i = pool->head, next; i; i = next) {
        struct slice *d = &h->slices[i];
        next = page_after(h, i);
        if (!page_must_be_sound(h, d))
            return;
        if (!(own_get(d->flags) & PAGE_BITS) || !pool_page_is_empty(h, d))
            continue;
        page_list_remove(h, pool, d);
        pool_put(h, d);
    }
}

void pool_sweep(struct heap *h)
{
    for (unsigned cls = 0; cls < CLASS_COUNT; cls++)
        for (unsigned shared = 0; shared < 2; shared++)
            pool_sweep_list(h, &h->mine->pool[shared][cls]);
}

/* ---- adoption ------------------------------------------------------------------------ */

static bool chunk_is_mine(struct heap *h, uint32_t c)
{
    uint64_t word = get(h->chunks[c].word);
    return word_state(word) == CHUNK_OWNED && word_member(word) == h->member_id;
}

/* Recovery left every page of an orphan with its used blocks marked in its bits. */
uint32_t adopt_chunk(struct heap *h, uint32_t run, uint32_t spare)
{
    if (!h->shared || h->unusable)
        return 0;
    uint32_t c = chunk_adopt(h, run, spare);
    if (!c)
        return 0;
    uint64_t free = own_get(h->chunks[c].free_slices);
    h->mine->info[c].foreign = chunk_is_foreign(h, c);
    if (h->mine->info[c].foreign)
        purge_slices(h, c, free);
    run_add_chunk(h, c);
    for (uint32_t i = 0; i < CHUNK_SLICES; i++) {
        struct slice *d = &h->slices[c * CHUNK_SLICES + i];
        if (!chunk_is_mine(h, c)) /* its last page was empty: it is given back already */
            return c;
        if (free >> i & 1 || own_get(d->kind) != SLICE_PAGE)
            continue;
        if (!page_must_be_sound(h, d))
            return 0;
        pool_put(h, d);
    }
    if (!chunk_is_mine(h, c))
        return c;
    put(chunk_pending, h->chunks[c].pending, ~UINT64_C(0)); /* any large block may be stamped */
    fetch_or(member_pending, h->me->pending, UINT64_C(1) << (c % 64));
    member_collect(h);
    return c;
}

/* ---- large blocks that others have freed --------------------------------------------- */

static void chunk_collect(struct heap *h, uint32_t c)
{
    /* acquire: pairs with the fetch_or of the freer; the stamp decides, the bit is a hint */
    uint64_t pending = swap(chunk_pending, h->chunks[c].pending, 0);
    for (; pending && chunk_is_mine(h, c); pending &= pending - 1) {
        struct slice *d = &h->slices[c * CHUNK_SLICES + (uint32_t)__builtin_ctzl(pending)];
        if (get(d->kind) == SLICE_LARGE && (get_acquire(d->remote) & 0xff) == LARGE_FREED &&
            slice_must_be_sound(h, d)) {
            if (h->zero) /* who has freed it may have written to it */
                large_forget(h, d);
            large_end(h, d);
        }
    }
}

void member_collect(struct heap *h)
{
    if (likely(get(h->me->pending) == 0))
        return;
    uint64_t hints = swap(member_pending, h->me->pending, 0);
    uint64_t high = chunks_high(h);
    for (uint64_t c = h->first_chunk; c < high; c++) {
        if (hints >> (c % 64) & 1 && chunk_is_mine(h, (uint32_t)c) && get(h->chunks[c].pending))
            chunk_collect(h, (uint32_t)c);
    }
}

/* ---- what ended members left ------------------------------------------------------------ */

static uint32_t block_index(struct heap *h, const struct slice *d, uint64_t off)
{
    return (uint32_t)((off - slice_off(h, d)) / class_bytes(get(d->cls)));
}

void kept_set(struct heap *h, struct slice *d, uint32_t block)
{
    struct kept *kept = &h->kept[slice_index(h, d)];
    fetch_or(kept_set, kept->bits[block / 64], UINT64_C(1) << (block % 64));
}

bool kept_has(struct heap *h, const struct slice *d, uint64_t off)
{
    uint32_t block = block_index(h, d, off);
    return get(h->kept[slice_index(h, d)].bits[block / 64]) >> (block % 64) & 1;
}

bool kept_forget(struct heap *h, struct slice *d, uint64_t off)
{
    struct kept *kept = &h->kept[slice_index(h, d)];
    uint32_t block = block_index(h, d, off);
    uint64_t bit = UINT64_C(1) << (block % 64);
    return fetch_and(kept_forget, kept->bits[block / 64], ~bit) & bit;
}
