#include "allocators/handed.h"
#include "allocators/alloc.h"
#include "allocators/canary.h"
#include "allocators/damage.h"
#include "allocators/large.h"
#include "allocators/names.h"
#include "allocators/page.h"

#include <errno.h>

#define KEY_MASK (~UINT64_C(0) << 28)

static uint32_t us(struct heap *h)
{
    return member_slot(h->member_id) + 1;
}

uint64_t block_word_make(uint64_t off, enum block_state state, uint32_t who)
{
    return off >> 4 << 28 | (uint64_t)state << 26 | who;
}

sh64_t *block_word(struct heap *h, uint64_t off, uint64_t *seen)
{
    return word_find(h, TABLE_BLOCKS, off >> 4 << 28, KEY_MASK, seen);
}

bool block_is_registered(struct heap *h, const struct slice *d, uint64_t off)
{
    uint64_t seen;
    return get(d->registered) != 0 && block_word(h, off, &seen) &&
           block_word_state(seen) != BLOCK_LEFT;
}

static struct slice *slice_at(struct heap *h, uint64_t off)
{
    return slice_head(h, (uint32_t)(off >> SLICE_SHIFT));
}

static bool page_owner_is_us(struct heap *h, uint64_t off)
{
    return word_member(get(h->chunks[off >> CHUNK_SHIFT].word)) == h->member_id;
}

/* ---- words come and go ------------------------------------------------------------- */

/* One CAS; the count follows it. */
static bool word_drop(struct heap *h, sh64_t *at, uint64_t seen)
{
    uint64_t off = block_word_off(seen);
    if (!cas(block_drop, *at, &seen, 0))
        return false;
    fetch_sub(registered, slice_at(h, off)->registered, 1);
    return true;
}

/* The count first: a death in between leaves it too high, which costs a look. */
static long word_add(struct heap *h, struct slice *d, uint64_t word)
{
    fetch_add(registered, d->registered, 1);
    if (get(d->kind) == SLICE_PAGE)
        put(registered_home, d->home, HOME_NOBODY); /* free() is to look at the table */
    long rc = word_insert(h, TABLE_BLOCKS, word, KEY_MASK);
    if (rc < 0)
        fetch_sub(registered, d->registered, 1);
    return rc;
}

/* Two that register one block at once both find the other's word: neither has it.  Until
 * that is known the word is one that nobody takes.  If we die before it says what it is
 * to say, it is dropped: the block belongs to the owner of its page, as before. */
static long word_add_alone(struct heap *h, struct slice *d, uint64_t word)
{
    uint64_t begun = block_word_make(block_word_off(word), BLOCK_TAKEN, us(h)) | BLOCK_BEGUN;
    long rc = word_add(h, d, begun);
    if (rc < 0)
        return rc;
    __atomic_thread_fence(__ATOMIC_SEQ_CST); /* each has its word there before it counts */
    bool alone = word_count(h, TABLE_BLOCKS, word & KEY_MASK, KEY_MASK) == 1;
    sh64_t *at = word_find_exact(h, TABLE_BLOCKS, begun, KEY_MASK);
    if (!at) /* another thread of ours dropped it for its own */
        return -EBUSY;
    uint64_t seen = begun;
    if (alone && block_word_state(word) == BLOCK_GIVEN && cas(block_give, *at, &seen, word))
        return 0;
    if (alone && block_word_state(word) == BLOCK_NAMED && cas(block_named, *at, &seen, word))
        return 0;
    word_drop(h, at, begun);
    return -EBUSY;
}

void block_forget(struct heap *h, uint64_t off, uint64_t word)
{
    uint64_t seen;
    sh64_t *at;
    while ((at = block_word(h, off, &seen)) && (!word || seen == word) && !word_drop(h, at, seen))
        ;
}

/* ---- handing over --------------------------------------------------------------------- */

static long give_again(sh64_t *at, uint64_t seen, uint32_t by)
{
    uint64_t off = block_word_off(seen);
    switch (block_word_state(seen)) {
    case BLOCK_NAMED: return -EBUSY;
    case BLOCK_GIVEN: return -EALREADY;
    case BLOCK_TAKEN:
        if (seen & BLOCK_BEGUN)
            return -EBUSY;
        if (block_word_who(seen) != by)
            return -EPERM;
        break;
    case BLOCK_LEFT: break;
    }
    return cas(block_give, *at, &seen, block_word_make(off, BLOCK_GIVEN, by)) ? 0 : -EALREADY;
}

long block_give(struct heap *h, void *p)
{
    uint64_t seen, off = off_of(h, p);
    struct slice *d = heap_block(h, p);
    if (!d)
        return -EINVAL;
    names_used(h);
    sh64_t *at = block_word(h, off, &seen);
    if (at)
        return give_again(at, seen, us(h));
    return word_add_alone(h, d, block_word_make(off, BLOCK_GIVEN, us(h)));
}

long block_take(struct heap *h, void *p)
{
    uint64_t seen, off = off_of(h, p);
    if (!heap_block(h, p))
        return -EINVAL;
    names_used(h);
    sh64_t *at = block_word(h, off, &seen);
    if (!at || block_word_state(seen) != BLOCK_GIVEN)
        return -EAGAIN;
    if (page_owner_is_us(h, off)) /* ours without a word */
        return word_drop(h, at, seen) ? 0 : -EAGAIN;
    return cas(block_take, *at, &seen, block_word_make(off, BLOCK_TAKEN, us(h))) ? 0 : -EAGAIN;
}

long block_set_named(struct heap *h, struct slice *d, uint64_t off, uint64_t former, uint32_t entry)
{
    uint64_t seen, word = block_word_make(off, BLOCK_NAMED, entry);
    sh64_t *at = block_word(h, off, &seen);
    if (seen != former)
        return -EBUSY;
    if (!at)
        return word_add_alone(h, d, word);
    if (block_word_state(seen) == BLOCK_NAMED || block_word_state(seen) == BLOCK_GIVEN ||
        seen & BLOCK_BEGUN)
        return -EBUSY;
    if (block_word_state(seen) == BLOCK_TAKEN && block_word_who(seen) != us(h))
        return -EPERM;
    return cas(block_named, *at, &seen, word) ? 0 : -EBUSY;
}

void block_unset_named(struct heap *h, uint64_t off, uint64_t former, uint32_t entry)
{
    uint64_t word = block_word_make(off, BLOCK_NAMED, entry);
    sh64_t *at = word_find_exact(h, TABLE_BLOCKS, word, KEY_MASK);
    if (!at)
        return;
    if (former)
        cas(block_unnamed, *at, &word, former);
    else
        word_drop(h, at, word);
}

/* ---- freeing ------------------------------------------------------------------------------ */

/* The step first: if we die, whoever recovers us frees the block by it, once.  See
 * names_recover_step(). */
void block_free_registered(struct heap *h, struct inflight *step, uint64_t off, sh64_t *holder)
{
    struct slice *d = slice_at(h, off);
    bool large = get(d->kind) == SLICE_LARGE;
    if (canary_is_on(d))
        canary_poison(h, d, off);
    if (large) {
        put(inflight_gen, step->gen, get_acquire(d->remote) >> 8);
        put_release(inflight_large, step->what, off | INFLIGHT_LARGE);
    } else {
        put_release(inflight_mine, step->what, off | INFLIGHT_MINE);
    }
    block_forget(h, off, 0);
    if (holder)
        put_release(name_block, *holder, 0);
    if (large)
        large_free(h, step, d);
    else
        page_push_remote(h, step, d, off);
}

bool block_free_taken(struct heap *h, struct inflight *step, struct slice *d, uint64_t off)
{
    uint64_t seen, mine = block_word_make(off, BLOCK_TAKEN, us(h));
    sh64_t *at = block_word(h, off, &seen);
    if (!at)
        return false;
    if (block_word_state(seen) == BLOCK_NAMED)
        damage_block(h, d, off, "free", "a block that has a name (remove the name instead)");
    if (canary_is_on(d))
        canary_size(h, d, off, "free");
    names_used(h);
    if (seen != mine && !cas(block_take, *at, &seen, mine))
        damage_block(h, d, off, NULL, "double free");
    block_free_registered(h, step, off, NULL);
    return true;
}

struct left {
    struct inflight *step;
    uint64_t bytes;
};

static void free_left(struct heap *h, sh64_t *word, uint64_t seen, void *ctx)
{
    struct left *left = ctx;
    uint64_t off = block_word_off(seen);
    if (block_word_state(seen) != BLOCK_LEFT)
        return;
    struct slice *d = slice_at(h, off);
    uint64_t bytes = get(d->kind) == SLICE_LARGE ? get(d->bytes) : class_bytes(get(d->cls));
    if (!cas(block_take, *word, &seen, block_word_make(off, BLOCK_TAKEN, us(h))))
        return;
    block_free_registered(h, left->step, off, NULL);
    left->bytes += bytes;
}

uint64_t blocks_free_left(struct heap *h, struct inflight *step)
{
    struct left left = { step, 0 };
    names_used(h);
    words_each(h, TABLE_BLOCKS, free_left, &left);
    return left.bytes;
}
