/* snapshot_runs.c - what a snapshot is of: the pages and blocks in use, as runs
 * of address space, and which parts of them have memory. */
#include "allocators/commit.h"
#include "allocators/hold.h"
#include "allocators/snapshot.h"
#include "allocators/sound.h"

#define RUNS_BYTES (UINT64_C(64) << 20) /* address space; runs are few */

bool runs_room(struct snapshot *s)
{
    if (s->runs == s->few) /* there were more than a few */
        s->runs = os_map(RUNS_BYTES, true);
    s->run_room = RUNS_BYTES / sizeof *s->runs;
    return s->runs != NULL;
}

AT_FORK(".text") void runs_drop(struct snapshot *s)
{
    if (s->runs && s->runs != s->few)
        os_unmap(s->runs, RUNS_BYTES);
}

static bool run_add(struct snapshot *s, uint64_t off, uint64_t extent, enum run_kind kind)
{
    struct snapshot_run *last = s->run_count ? &s->runs[s->run_count - 1] : NULL;
    if (last && kind == RUN_DATA && last->kind == RUN_DATA && last->off + last->bytes == off) {
        last->bytes += extent;
        return true;
    }
    if (s->run_count == s->run_room)
        return false;
    s->runs[s->run_count++] = (struct snapshot_run){ off, extent, 0, 0, kind };
    return true;
}

/* ---- which parts have memory ------------------------------------------------------------ */

/* Reading the others would give them some. */
bool backed_each(struct heap *h, struct snapshot *s, uint64_t off, uint64_t bytes,
                 data_visitor *visit)
{
    uint64_t end = off + bytes;
    if (s->detached) /* nobody can be asked: all of it */
        return visit(h, s, off, bytes);
    while (off < end && s->fd >= 0) {
        if (off < s->data_from || off >= s->data_to) { /* neighbours were seen together */
            long data = os_seek_data(s->fd, off);
            s->data_from = data < 0 ? UINT64_MAX : (uint64_t)data & ~(OS_PAGE - 1);
            if (s->data_from >= end)
                return true;
            long hole = os_seek_hole(s->fd, (uint64_t)data);
            s->data_to = hole < 0 ? end : round_up((uint64_t)hole, OS_PAGE);
        }
        uint64_t from = s->data_from > off ? s->data_from : off;
        off = s->data_to < end ? s->data_to : end;
        if (!visit(h, s, from, off - from))
            return false;
    }
    return s->fd >= 0;
}

/* All OS pages of a block up to this size were populated when it was made. */
#define POPULATED_MAX (UINT64_C(256) << 10)

bool slice_data(struct heap *h, struct snapshot *s, struct slice *d, data_visitor *visit)
{
    uint64_t off = slice_off(h, d), bytes = get(d->bytes);
    switch (get(d->kind)) {
    case SLICE_LARGE:
        return bytes <= POPULATED_MAX ? visit(h, s, off, bytes)
                                      : backed_each(h, s, off, bytes, visit);
    case SLICE_RECORDS:
        bytes = round_up(
            at_most(get(d->capacity), RECORDS_PER_SLICE) * sizeof(struct thread_record), OS_PAGE);
        break;
    default:
        bytes = round_up((uint64_t)get(d->capacity) * class_bytes(get(d->cls)), OS_PAGE);
        break;
    }
    return bytes == 0 || visit(h, s, off, bytes);
}

static bool data_count(struct heap *h, struct snapshot *s, uint64_t off, uint64_t bytes)
{
    (void)h, (void)off;
    s->bytes += bytes;
    s->runs[s->run_count - 1].data += bytes;
    return true;
}

/* ---- what is in use ----------------------------------------------------------------- */

bool slice_is_void(const struct slice *d)
{
    if (get(d->kind) == SLICE_LARGE)
        return (get_acquire(d->remote) & 0xff) != LARGE_LIVE;
    return get(d->kind) == SLICE_PAGE && get(d->flags) & PAGE_EMPTY;
}

bool slice_is_pooled(const struct slice *d)
{
    return get(d->kind) == SLICE_PAGE && get(d->flags) & PAGE_BITS && get(d->hold_last) == 0 &&
           get(d->owner) << (64 - THREAD_BITS) == 0;
}

static bool slice_hold(struct heap *h, struct snapshot *s, struct slice *d, uint64_t extent)
{
    uint64_t off = slice_off(h, d);
    /* Named blocks and heaps of hshm.h are always everybody's. */
    if (slice_is_void(d) || get(d->shared))
        return true;
    if (!page_is_held(h, d) && slice_is_pooled(d))
        return true;
    if (s->seq)
        put(hold_cover, d->hold_last, s->seq);
    if (s->want.view && get(d->kind) == SLICE_LARGE && extent >= s->want.view) {
        put(hold_cover, d->view_last, s->seq);
        s->viewed += extent;
        return run_add(s, off, extent, RUN_VIEW);
    }
    return run_add(s, off, extent, RUN_DATA) && slice_data(h, s, d, data_count);
}

static bool table_add(struct heap *h, struct snapshot *s, uint64_t off, uint64_t bytes)
{
    uint64_t from = off & ~(OS_PAGE - 1), to = round_up(off + bytes, OS_PAGE);
    return run_add(s, from, to - from, RUN_TABLE) && backed_each(h, s, from, to - from, data_count);
}

static bool chunk_hold_blocks(struct heap *h, struct snapshot *s, uint32_t c)
{
    struct slice *first = &h->slices[(size_t)c * CHUNK_SLICES];
    if (word_state(get(h->chunks[c].word)) == CHUNK_HUGE)
        return slice_must_be_sound(h, first) && slice_hold(h, s, first, get(first->bytes));
    for (uint64_t used = ~own_get(h->chunks[c].free_slices); used; used &= used - 1) {
        struct slice *d = first + __builtin_ctzl(used);
        enum slice_kind kind = (enum slice_kind)get(d->kind);
        if ((kind == SLICE_PAGE || kind == SLICE_LARGE) &&
            (!slice_must_be_sound(h, d) ||
             !slice_hold(h, s, d, (uint64_t)get(d->span) << SLICE_SHIFT)))
            return false;
    }
    return true;
}

static bool chunk_hold(struct heap *h, struct snapshot *s, uint32_t c)
{
    uint64_t before = s->run_count;
    if (!run_add(s, off_of(h, &h->slices[(size_t)c * CHUNK_SLICES]), DESCRIPTORS_BYTES,
                 RUN_DESCRIPTORS) ||
        !chunk_hold_blocks(h, s, c))
        return false;
    if (s->run_count == before + 1) /* all of it waits for earlier holds: nothing to inherit */
        s->run_count = before;
    else
        s->bytes += DESCRIPTORS_BYTES;
    return true;
}

static bool chunk_is_ours(struct heap *h, uint64_t c)
{
    uint64_t word = get(h->chunks[c].word);
    return word_member(word) == h->member_id &&
           (word_state(word) == CHUNK_OWNED || word_state(word) == CHUNK_HUGE);
}

static bool members_collect(struct heap *h, struct snapshot *s, uint64_t high)
{
    for (uint64_t c = h->first_chunk; c < high; c++)
        if (chunk_is_ours(h, c) && !chunk_hold(h, s, (uint32_t)c))
            return false;
    return true;
}

/* ---- a child that goes on in the middle of a call ------------------------------------------
 * What that call has in hand is in no state that could be told: a page whose
 * descriptor does not count its new blocks yet, an empty one with blocks on a
 * list.  So all that is taken is copied, whatever it is; what is not copied
 * shows what the parent does with it later. */

static bool slices_take(struct heap *h, struct snapshot *s, uint32_t c)
{
    uint64_t used = ~own_get(h->chunks[c].free_slices), off = (uint64_t)c << CHUNK_SHIFT;
    while (used) {
        unsigned from = (unsigned)__builtin_ctzl(used);
        uint64_t rest = ~(used >> from); /* bits above the run */
        unsigned n = rest ? (unsigned)__builtin_ctzl(rest) : CHUNK_SLICES - from;
        if (!table_add(h, s, off + ((uint64_t)from << SLICE_SHIFT), (uint64_t)n << SLICE_SHIFT))
            return false;
        used = from + n < CHUNK_SLICES ? used & (UINT64_MAX << (from + n)) : 0;
    }
    return true;
}

/* The descriptors also of what has no slices: lists of pages run through them. */
static bool chunk_take(struct heap *h, struct snapshot *s, uint32_t c)
{
    size_t first = (size_t)c * CHUNK_SLICES;
    return table_add(h, s, off_of(h, &h->slices[first]), DESCRIPTORS_BYTES) &&
           table_add(h, s, off_of(h, &h->kept[first]), CHUNK_SLICES * sizeof *h->kept) &&
           (word_state(get(h->chunks[c].word)) == CHUNK_OWNED
                ? slices_take(h, s, c)
                : table_add(h, s, (uint64_t)c << CHUNK_SHIFT, CHUNK_BYTES));
}

/* What the child's allocator reads and writes of the segment as a whole. */
static bool tables_collect(struct heap *h, struct snapshot *s, uint64_t high)
{
    return table_add(h, s, 0, OS_PAGE) &&
           table_add(h, s, off_of(h, h->me), sizeof(struct seg_member)) &&
           table_add(h, s, h->header->chunks_off, high * sizeof(struct chunk));
}

static bool all_collect(struct heap *h, struct snapshot *s, uint64_t high)
{
    uint64_t huge_end =
        0; /* of the huge block that was met last: whose its tail is does not tell */
    for (uint64_t c = h->first_chunk; c < high; c++) {
        uint64_t word = get(h->chunks[c].word);
        bool ours = word_state(word) != CHUNK_FREE && word_member(word) == h->member_id;
        if (ours && word_state(word) == CHUNK_HUGE)
            huge_end = c + at_most(word_length(word), high - c);
        if ((ours || c < huge_end) && !chunk_take(h, s, (uint32_t)c))
            return false;
    }
    return tables_collect(h, s, high);
}

bool runs_collect(struct heap *h, struct snapshot *s)
{
    uint64_t high = chunks_high(h);
    s->run_count = 0;
    s->bytes = s->viewed = 0;
    if (!heap_is_usable(h)) /* damaged: what it describes is not to be copied */
        return false;
    return s->want.kind == SNAPSHOT_PRIVATE ? all_collect(h, s, high) : members_collect(h, s, high);
}
