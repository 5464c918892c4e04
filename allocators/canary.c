#include "allocators/canary.h"
#include "allocators/adopt.h"
#include "allocators/damage.h"
#include "allocators/page.h"

#include <errno.h>
#include <string.h>

static uint64_t block_bytes(const struct slice *d)
{
    return get(d->kind) == SLICE_LARGE ? get(d->bytes) : class_bytes(get(d->cls));
}

static struct slice *descriptor(struct heap *h, uint64_t off)
{
    return slice_head(h, (uint32_t)(off >> SLICE_SHIFT));
}

/* 'bytes' is a multiple of 16, a block begins at one: the word is aligned. */
static uint64_t *last_word(struct heap *h, uint64_t off, uint64_t bytes)
{
    return at_off(h, off + bytes - sizeof(uint64_t));
}

/* Where [from, to) of a block is not 'byte'; 'to' if nowhere. */
static uint64_t first_other(const uint8_t *p, uint64_t from, uint64_t to, uint8_t byte)
{
    while (from < to && p[from] == byte)
        from++;
    return from;
}

const char *canary_end_fault(const void *end, uint64_t have, uint64_t bytes, uint64_t key,
                             uint64_t off)
{
    const uint8_t *p = end;
    uint64_t word, skipped = bytes - have;
    memcpy(&word, p + have - sizeof word, sizeof word);
    uint64_t n = word ^ canary_key(key, off);
    if (word == 0 || word == canary_freed(key, off))
        return NULL;
    return n >= skipped && n <= bytes - CANARY_ROOM &&
                   first_other(p, n - skipped, have - 8, CANARY_BYTE) == have - 8
               ? NULL
               : "a block was written to beyond its end";
}

const char *canary_fault(const void *block, uint64_t bytes, uint64_t key, uint64_t off)
{
    uint64_t word;
    memcpy(&word, (const char *)block + bytes - sizeof word, sizeof word);
    if (word == canary_freed(key, off) && first_other(block, 8, bytes - 8, POISON_BYTE) < bytes - 8)
        return "a block was written to after it was freed";
    return canary_end_fault(block, bytes, bytes, key, off);
}

/* ---- free blocks ---------------------------------------------------------------------- */

/* The middle of a large block is not poisoned: its memory may never have been touched. */
static uint64_t head_bytes(const struct slice *d, uint64_t bytes)
{
    return get(d->kind) == SLICE_LARGE && bytes > POISON_MOST ? POISON_MOST : bytes - 8;
}

void canary_poison(struct heap *h, const struct slice *d, uint64_t off)
{
    uint64_t bytes = block_bytes(d), head = head_bytes(d, bytes);
    __atomic_store_n(last_word(h, off, bytes), 0, __ATOMIC_RELAXED);
    in_this_order();
    if (get(d->kind) != SLICE_LARGE || os_populate(at_off(h, off), round_up(head, OS_PAGE)) == 0)
        memset(at_off(h, off), POISON_BYTE, head);
    __atomic_store_n(last_word(h, off, bytes), canary_freed(h->link_key, off), __ATOMIC_RELEASE);
}

static void look(struct heap *h, const struct slice *d, uint64_t off, uint64_t from)
{
    uint64_t bytes = block_bytes(d), head = head_bytes(d, bytes);
    uint64_t at = first_other(at_off(h, off), from, head, POISON_BYTE);
    /* A large block whose head could not be had was not poisoned. */
    if (at < head && !(get(d->kind) == SLICE_LARGE && at == from &&
                       first_other(at_off(h, off), from, head, 0) == head))
        damage_bytes(h, d, off, "a block was written to after it was freed", at);
    if (*last_word(h, off, bytes) != canary_freed(h->link_key, off))
        damage_bytes(h, d, off, "a block was written to after it was freed", bytes - 8);
}

void canary_look(struct heap *h, const struct slice *d, uint64_t off)
{
    look(h, d, off, 0);
}

/* ---- blocks of the program --------------------------------------------------------------- */

bool canary_arm(struct heap *h, uint64_t off, size_t n)
{
    struct slice *d = descriptor(h, off);
    uint64_t bytes = block_bytes(d), *last = last_word(h, off, bytes);
    uint64_t tail = off + n;
    if (get(d->kind) == SLICE_LARGE) {
        uint64_t from = tail & ~(OS_PAGE - 1);
        if (os_populate(at_off(h, from), round_up(off + bytes, OS_PAGE) - from) == -ENOMEM)
            return false;
    } else {
        look(h, d, off, 8); /* its first word was the link */
    }
    __atomic_store_n(last, 0, __ATOMIC_RELAXED);
    in_this_order();
    memset(at_off(h, tail), CANARY_BYTE, bytes - 8 - n);
    __atomic_store_n(last, canary_key(h->link_key, off) ^ n, __ATOMIC_RELEASE);
    if (get(d->kind) == SLICE_LARGE)
        put(page_flags, d->flags, (uint8_t)(own_get(d->flags) | PAGE_CHECKED));
    return true;
}

size_t canary_size(struct heap *h, const struct slice *d, uint64_t off, const char *call)
{
    uint64_t bytes = block_bytes(d), word = *last_word(h, off, bytes);
    uint64_t n = word ^ canary_key(h->link_key, off);
    if (word == canary_freed(h->link_key, off))
        damage_block(h, d, off, *call == 'f' ? NULL : call,
                     *call == 'f' ? "double free" : "a block that is free already");
    if (n > bytes - CANARY_ROOM)
        damage_bytes(h, d, off, "a block was written to beyond its end", bytes - 8);
    uint64_t at = first_other(at_off(h, off), n, bytes - 8, CANARY_BYTE);
    if (at < bytes - 8)
        damage_bytes(h, d, off, "a block was written to beyond its end", at);
    return n;
}

/* ---- delay -------------------------------------------------------------------------------- */

#define RING (DELAYED_MOST + 1)

static uint64_t owner_now(struct heap *h, uint64_t off)
{
    return word_member(get_acquire(h->chunks[off >> CHUNK_SHIFT].word));
}

bool canary_delay(struct heap *h, const struct slice *d, uint64_t off)
{
    uint64_t bytes = block_bytes(d);
    struct mine *m = h->mine;
    if (bytes > DELAYED_BYTES / 4 || !h->check)
        return false;
    struct guard g = heap_lock(h);
    if (!m->delayed)
        m->delayed = os_map(RING * sizeof *m->delayed, false);
    bool kept = m->delayed && m->delayed_count < RING;
    if (kept) {
        m->delayed[(m->delayed_first + m->delayed_count++) % RING] =
            (struct delayed){ off, owner_now(h, off), bytes };
        m->delayed_bytes += bytes;
    }
    heap_unlock(h, g);
    return kept;
}

/* The block's owner has ended while it waited.  It may have gone with it, or been
 * freed by `hshm reclaim`: then it is not ours to free any more. */
static bool is_still_there(struct heap *h, const struct delayed *one)
{
    uint64_t off = one->off;
    enum chunk_state state = word_state(get_acquire(h->chunks[off >> CHUNK_SHIFT].word));
    if (state != CHUNK_OWNED && state != CHUNK_ORPHAN && state != CHUNK_HUGE)
        return false;
    const struct slice *d = descriptor(h, off);
    bool large = get(d->kind) == SLICE_LARGE;
    if (!canary_is_on(d) || (!large && get(d->kind) != SLICE_PAGE) ||
        block_bytes(d) != one->bytes ||
        (large ? off != slice_off(h, d) : !page_block_starts(d, off)) ||
        *last_word(h, off, one->bytes) != canary_freed(h->link_key, off))
        return false;
    if (large)
        return (get_acquire(d->remote) & 0xff) == LARGE_LIVE;
    return kept_has(h, d, off) &&
           !(link_is_sound(h, link_read(h, at_off(h, off))) && page_lists_have(h, d, off));
}

static bool take_due(struct heap *h, bool all, struct delayed *one)
{
    struct mine *m = h->mine;
    struct guard g = heap_lock(h);
    bool due = m->delayed_count &&
               (all || m->delayed_count > DELAYED_MOST || m->delayed_bytes > DELAYED_BYTES);
    if (due) {
        *one = m->delayed[m->delayed_first];
        m->delayed_first = (m->delayed_first + 1) % RING;
        m->delayed_count--;
        m->delayed_bytes -= one->bytes;
    }
    heap_unlock(h, g);
    return due;
}

uint64_t canary_due(struct heap *h, bool all)
{
    struct delayed one;
    while (h->mine->delayed_count && take_due(h, all, &one)) {
        if (owner_now(h, one.off) != one.owner) {
            if (is_still_there(h, &one))
                return one.off;
            continue;
        }
        canary_look(h, descriptor(h, one.off), one.off);
        return one.off;
    }
    return 0;
}
