#include "allocators/inherited.h"
#include "allocators/hold.h"
#include "allocators/page.h"

#include <string.h>
#include <sys/mman.h>

/* ---- blocks of the parent's --------------------------------------------------------------- */

struct slice *inherited_slice(struct heap *h, uint64_t off)
{
    uint64_t c = (off >> CHUNK_SHIFT) - h->first_chunk;
    if (likely(!h->inherited) || c >= h->inherited_chunks)
        return NULL;
    struct slice *first = h->inherited[c];
    if (!first) /* the tail of a huge block has its head's descriptors only */
        return NULL;
    struct slice *d = &first[(off >> SLICE_SHIFT) % CHUNK_SLICES];
    if (own_get(d->kind) == SLICE_TAIL)
        d -= own_get(d->back);
    return own_get(d->kind) == SLICE_PAGE || own_get(d->kind) == SLICE_LARGE ? d : NULL;
}

/* The child never allocates from inherited pages; when one is empty its memory
 * goes back to the system.  The counts may be off by what other threads of the
 * parent had in hand: then a page stays. */
void inherited_free(struct heap *h, struct slice *d, uint64_t off)
{
    uint64_t *block = at_off(h, off), start = page_start(d, off);
    if (own_get(d->kind) == SLICE_LARGE) {
        own_put(inherited, d->kind, SLICE_FREE);
        os_advise(block, own_get(d->bytes), MADV_DONTNEED);
        return;
    }
    if (link_is_sound(h, link_read(h, block)))
        return; /* free already, maybe by a thread that had it in hand at the fork */
    link_write(h, off, LIST_END);
    uint32_t used = own_get(d->used);
    if (used)
        own_put(inherited, d->used, used - 1);
    if (used == 1)
        os_advise(at_off(h, start),
                  round_up((uint64_t)own_get(d->capacity) * class_bytes(own_get(d->cls)), OS_PAGE),
                  MADV_DONTNEED);
}

void detached_free(struct heap *h, void *p)
{
    uint64_t off = off_of(h, p);
    struct slice *d = inherited_slice(h, off);
    if (d)
        inherited_free(h, d, off);
}

/* ---- blocks of others: the child ------------------------------------------------------------ */

static bool is_older(const struct slice *d, uint32_t seq)
{
    return (int32_t)(get(d->hold_birth) - seq) < 0;
}

bool is_held_by_both(struct heap *h, struct slice *d, uint64_t off)
{
    if (likely(!h->before_fork) || get(d->shared) || !is_older(d, h->before_fork))
        return false;
    /* In a page that we adopted, what we made ourselves is not marked as a legacy. */
    uint64_t owner = word_member(get(h->chunks[off >> CHUNK_SHIFT].word));
    if (owner != h->member_id || get(d->kind) == SLICE_LARGE)
        return true;
    uint32_t block = page_block_index(d, off);
    return get(d->flags) & PAGE_KEPT &&
           get(h->kept[slice_index(h, d)].bits[block / 64]) >> (block % 64) & 1;
}

#define MARKS_BYTES (CHUNK_BYTES / 16 / 8) /* a bit for each 16 bytes of a chunk */

/* Memory that children of ours find empty: what we have dropped they have not. */
static void *wiped_map(uint64_t bytes)
{
    void *at = os_map(bytes, true);
    if (at)
        os_advise(at, bytes, MADV_WIPEONFORK);
    return at;
}

/* Has a free of this address been dropped before?  From now on it has.  Without
 * memory to know it, it has not: the block is lost, nobody's data are. */
static bool is_dropped_already(struct heap *h, uint64_t off)
{
    uint64_t c = off >> CHUNK_SHIFT, bit = (off % CHUNK_BYTES) / 16;
    struct guard g = heap_lock(h);
    if (!h->dropped) /* NOLINTNEXTLINE(bugprone-sizeof-expression): an array of pointers */
        h->dropped = wiped_map(h->chunk_count * sizeof *h->dropped);
    if (h->dropped && !h->dropped[c])
        h->dropped[c] = wiped_map(MARKS_BYTES);
    uint64_t *word = h->dropped && h->dropped[c] ? &h->dropped[c][bit / 64] : NULL;
    bool already = word && *word >> (bit % 64) & 1;
    if (word)
        *word |= UINT64_C(1) << (bit % 64);
    heap_unlock(h, g);
    return already;
}

bool fork_drops_free(struct heap *h, struct slice *d, uint64_t off)
{
    if (likely(!is_held_by_both(h, d, off)))
        return false;
    /* A large block is older than the fork, or it is not: that is known exactly. */
    if (get(d->kind) == SLICE_PAGE && is_dropped_already(h, off))
        return false;
    put(fork_facts, h->me->dropped, get(h->me->dropped) + 1);
    return true;
}

/* ---- blocks of others: the parent ------------------------------------------------------------ */

/* Does a snapshot live that we made after this page was? */
static bool child_may_read(struct heap *h, uint32_t birth)
{
    uint64_t high = holds_high(h);
    for (uint64_t i = 0; i < high; i++) {
        uint64_t state = get(h->holds[i].state);
        if (state & 1 && (int32_t)((uint32_t)(state >> 8) - birth) > 0 &&
            get(h->holds[i].creator) == h->member_id)
            return true;
    }
    return false;
}

static bool deferred_grow(struct mine *m)
{
    uint64_t room = m->deferred_room ? m->deferred_room * 2 : OS_PAGE / sizeof *m->deferred;
    uint64_t *more = os_map(room * sizeof *more, false);
    if (!more)
        return false;
    if (m->deferred) {
        memcpy(more, m->deferred, m->deferred_count * sizeof *more);
        os_unmap(m->deferred, m->deferred_room * sizeof *more);
    }
    m->deferred = more;
    m->deferred_room = room;
    return true;
}

bool fork_defers_free(struct heap *h, struct slice *d, uint64_t off)
{
    struct mine *m = h->mine;
    if (likely(!m->hold_seq) || get(d->shared) || !is_older(d, m->hold_seq) ||
        get(h->header->holds_live) == 0)
        return false;
    hold_look(h);
    if (!child_may_read(h, get(d->hold_birth)))
        return false;
    struct guard g = heap_lock(h);
    bool done = m->deferred_count < m->deferred_room || deferred_grow(m);
    if (done)
        m->deferred[m->deferred_count++] = off;
    put(fork_facts, h->me->deferred, m->deferred_count);
    heap_unlock(h, g);
    return done;
}

#define DEFERRED_LOOKS 8 /* at a time */

uint64_t deferred_take(struct heap *h)
{
    struct mine *m = h->mine;
    if (likely(!m->deferred_count))
        return 0;
    hold_look(h);
    struct guard g = heap_lock(h);
    uint64_t off = 0;
    for (unsigned looks = DEFERRED_LOOKS; looks && m->deferred_count && !off; looks--) {
        if (m->deferred_at >= m->deferred_count)
            m->deferred_at = 0;
        uint64_t *at = &m->deferred[m->deferred_at++];
        struct slice *d = slice_head(h, (uint32_t)(*at >> SLICE_SHIFT));
        if (child_may_read(h, get(d->hold_birth)))
            continue;
        off = *at;
        *at = m->deferred[--m->deferred_count];
        put(fork_facts, h->me->deferred, m->deferred_count);
    }
    heap_unlock(h, g);
    return off;
}
