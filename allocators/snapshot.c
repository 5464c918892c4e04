#include "allocators/snapshot.h"
#include "allocators/adopt.h"
#include "allocators/commit.h"
#include "allocators/hold.h"
#include "allocators/page.h"
#include "allocators/recover.h"
#include "allocators/thread_cache.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>

#define COPY_STEP (UINT64_C(256) << 10)

enum run_kind {
    RUN_DATA,        /* copied, moved over the original in the child */
    RUN_DESCRIPTORS, /* a chunk's descriptors: copied, they stay in the copy */
    RUN_BLANK,       /* a large block: what of it has no memory yet becomes the child's own */
};

struct snapshot_run {
    uint64_t off, bytes;
    enum run_kind kind;
};

/* ---- what is in use ----------------------------------------------------------------- */

static bool run_add(struct snapshot *s, uint64_t off, uint64_t bytes, enum run_kind kind)
{
    if (s->run_count && kind == RUN_DATA) {
        struct snapshot_run *last = &s->runs[s->run_count - 1];
        if (last->kind == RUN_DATA && last->off + last->bytes == off) {
            last->bytes += bytes;
            s->bytes += bytes;
            return true;
        }
    }
    if (s->run_count == s->run_room)
        return false;
    s->runs[s->run_count++] = (struct snapshot_run){ off, bytes, kind };
    if (kind != RUN_BLANK)
        s->bytes += bytes;
    return true;
}

/* The parts of [off, off + bytes) that have memory.  Reading the others would
 * give them some. */
static bool runs_add_data(struct snapshot *s, long fd, uint64_t off, uint64_t bytes)
{
    uint64_t end = off + bytes;
    while (off < end) {
        long data = os_seek_data(fd, off);
        if (data < 0 || (uint64_t)data >= end)
            return true;
        long hole = os_seek_hole(fd, (uint64_t)data);
        uint64_t to = hole < 0 || (uint64_t)hole > end ? end : (uint64_t)hole;
        if (!run_add(s, (uint64_t)data & ~(OS_PAGE - 1), round_up(to, OS_PAGE) - ((uint64_t)data & ~(OS_PAGE - 1)), RUN_DATA))
            return false;
        off = to;
    }
    return true;
}

static bool slice_hold(struct heap *h, struct snapshot *s, long fd, struct slice *d)
{
    uint64_t off = slice_off(h, d);
    if (s->seq)
        put(hold_cover, d->hold_last, s->seq);
    if (get(d->kind) == SLICE_LARGE)
        return run_add(s, off, get(d->bytes), RUN_BLANK) && runs_add_data(s, fd, off, get(d->bytes));
    uint64_t bytes = (uint64_t)get(d->capacity) * class_bytes(get(d->cls));
    return bytes == 0 || run_add(s, off, round_up(bytes, OS_PAGE), RUN_DATA);
}

static bool chunk_hold(struct heap *h, struct snapshot *s, long fd, uint32_t c)
{
    struct slice *first = &h->slices[c * CHUNK_SLICES];
    if (!run_add(s, off_of(h, first), DESCRIPTORS_BYTES, RUN_DESCRIPTORS))
        return false;
    if (word_state(get(h->chunks[c].word)) == CHUNK_HUGE)
        return slice_hold(h, s, fd, first);
    uint64_t used = ~own_get(h->chunks[c].free_slices);
    for (uint32_t i = 0; i < CHUNK_SLICES; i++) {
        enum slice_kind kind = (enum slice_kind)get(first[i].kind);
        if (used >> i & 1 && (kind == SLICE_PAGE || kind == SLICE_LARGE) &&
            !slice_hold(h, s, fd, first + i))
            return false;
    }
    return true;
}

static bool collect_runs(struct heap *h, struct snapshot *s, long fd)
{
    uint64_t high = get_acquire(h->header->chunk_high);
    for (uint64_t c = h->first_chunk; c < high; c++) {
        uint64_t word = get(h->chunks[c].word);
        enum chunk_state state = word_state(word);
        if (word_member(word) != h->member_id || (state != CHUNK_OWNED && state != CHUNK_HUGE))
            continue;
        if (!chunk_hold(h, s, fd, (uint32_t)c))
            return false;
    }
    return true;
}

/* ---- prepare ---------------------------------------------------------------------------- */

#define RUNS_BYTES (UINT64_C(64) << 20) /* address space; runs are few */

/* From here on no thread of ours allocates from a page made before. */
static void stop_caches(struct heap *h, uint32_t seq)
{
    __atomic_store_n(&h->mine->hold_seq, seq, __ATOMIC_RELAXED);
    __atomic_fetch_add(&h->mine->holds_alive, 1, __ATOMIC_RELAXED);
    /* Pairs with the fence in direct_set(). */
    __atomic_thread_fence(__ATOMIC_SEQ_CST);
    for (struct thread_cache *tc = h->mine->caches; tc; tc = tc->next)
        cache_stop(tc);
}

static bool room_for(struct snapshot *s, uint64_t most)
{
    if (most && s->bytes > most)
        return false;
    return s->bytes < (UINT64_C(16) << 20) || s->bytes < os_ram_available();
}

static bool copy_make(struct heap *h, struct snapshot *s)
{
    s->copy_bytes = s->bytes;
    s->copy = s->bytes ? os_map(s->bytes, false) : NULL;
    if (s->bytes && !s->copy)
        return false;
    char *to = s->copy;
    for (uint64_t i = 0; i < s->run_count; i++)
        for (uint64_t at = 0; s->runs[i].kind != RUN_BLANK && at < s->runs[i].bytes; at += COPY_STEP) {
            uint64_t n = s->runs[i].bytes - at < COPY_STEP ? s->runs[i].bytes - at : COPY_STEP;
            if (os_populate(to, n) == -ENOMEM)
                return false;
            memcpy(to, at_off(h, s->runs[i].off + at), n);
            to += n;
        }
    return true;
}

static void snapshot_drop(struct heap *h, struct snapshot *s, bool undo)
{
    if (s->copy)
        os_unmap(s->copy, s->copy_bytes);
    if (s->runs)
        os_unmap(s->runs, RUNS_BYTES);
    witness_drop(&s->child);
    witness_drop(&s->hold);
    if (undo && s->hold_index >= 0)
        hold_end(h, s->hold_index);
    if (undo && s->child_id)
        put_release(member_state, h->members[member_slot(s->child_id)].state,
                    MEMBER_STATE(MEMBER_FREE, member_epoch(s->child_id), 0));
}

/* Everything but HSHM_FORK=share: hold, measure, copy. */
static bool cover(struct heap *h, struct snapshot *s, uint64_t most)
{
    s->runs = os_map(RUNS_BYTES, true);
    s->run_room = RUNS_BYTES / sizeof *s->runs;
    long fd = os_open(h->path, O_RDWR, 0);
    bool done = s->runs && fd >= 0;
    if (done) {
        s->hold_index = hold_make(h, &s->seq, &s->hold);
        done = s->hold_index >= 0 && collect_runs(h, s, fd);
    }
    if (fd >= 0)
        os_close(fd);
    if (!done)
        return false;
    stop_caches(h, s->seq);
    put(hold_facts, h->holds[s->hold_index].bytes, s->bytes);
    return room_for(s, most) && copy_make(h, s);
}

long snapshot_prepare(struct heap *h, struct snapshot *s, enum snapshot_kind kind, uint64_t most)
{
    recover_sometimes(h); /* earlier children */
    *s = (struct snapshot){ .hold_index = -1, .active = true, .started_ns = os_boot_ns() };
    s->guard = heap_lock(h);
    bool done = h->can_open && (kind == SNAPSHOT_NONE || cover(h, s, most)) &&
                (s->child_id = member_take_slot(h, h->path, MEMBER_CHILD, &s->child)) != 0;
    if (done)
        return 0;
    snapshot_drop(h, s, true);
    s->active = false;
    heap_unlock(h, s->guard);
    return -ENOMEM;
}

void snapshot_parent(struct heap *h, struct snapshot *s, bool failed)
{
    if (!s->active)
        return;
    snapshot_drop(h, s, failed);
    fetch_add(fork_facts, h->header->snapshots, 1);
    fetch_add(fork_facts, h->header->snapshot_bytes, s->bytes);
    fetch_add(fork_facts, h->header->snapshot_ns, os_boot_ns() - s->started_ns);
    put(fork_facts, h->me->forks, get(h->me->forks) + 1);
    put(fork_facts, h->me->fork_bytes, get(h->me->fork_bytes) + s->bytes);
    h->mine->holds_looked_ns = 0;
    heap_unlock(h, s->guard);
}

void snapshot_failed(struct heap *h, struct snapshot *s)
{
    s->active = false;
    if (s->hold_index >= 0)
        hold_end(h, s->hold_index);
    put_release(member_state, h->members[member_slot(s->child_id)].state,
                MEMBER_STATE(MEMBER_FREE, member_epoch(s->child_id), 0));
}

bool snapshot_measure(struct heap *h, uint64_t *bytes)
{
    struct snapshot s = { .run_room = RUNS_BYTES / sizeof *s.runs };
    struct guard g = heap_lock(h);
    s.runs = os_map(RUNS_BYTES, true);
    long fd = os_open(h->path, O_RDWR, 0);
    bool done = s.runs && fd >= 0 && collect_runs(h, &s, fd);
    if (fd >= 0)
        os_close(fd);
    if (s.runs)
        os_unmap(s.runs, RUNS_BYTES);
    heap_unlock(h, g);
    *bytes = s.bytes;
    return done;
}

/* ---- the child --------------------------------------------------------------------------------- */

static void copy_into_place(struct heap *h, struct snapshot *s)
{
    if (!h->inherited)
        h->inherited = os_map(h->chunk_count * sizeof *h->inherited, true);
    char *from = s->copy;
    for (uint64_t i = 0; i < s->run_count; i++) {
        const struct snapshot_run *run = &s->runs[i];
        if (run->kind == RUN_BLANK) {
            os_map_over(at_off(h, run->off), run->bytes);
            continue;
        }
        if (run->kind == RUN_DESCRIPTORS) {
            uint64_t c = (run->off - h->header->slices_off) / DESCRIPTORS_BYTES;
            if (h->inherited)
                h->inherited[c] = (struct slice *)from;
        } else {
            os_move(from, run->bytes, at_off(h, run->off));
        }
        from += run->bytes;
    }
}

void snapshot_child(struct heap *h, struct snapshot *s, const char *program)
{
    uint64_t parent = h->member_id;
    if (!s->active)
        return;
    copy_into_place(h, s);
    if (s->runs)
        os_unmap(s->runs, RUNS_BYTES);
    os_advise(s->child.page, OS_PAGE, MADV_DONTFORK);
    h->live_page = s->child.page;
    h->member_id = s->child_id;
    h->me = &h->members[member_slot(s->child_id)];
    /* 'mine' was wiped by the kernel: no lock, no chunks, no caches. */
    h->mine->member_id = h->member_id;
    h->mine->recovered_ms = (uint32_t)os_now_ms(); /* the parent has looked */
    member_describe(h, member_slot(h->member_id), program, parent);
    put_release(member_state, h->me->state, MEMBER_STATE(MEMBER_LIVE, member_epoch(h->member_id), 0));
    os_signals_restore(s->guard.signals);
}

struct slice *inherited_slice(struct heap *h, uint64_t off)
{
    uint64_t c = off >> CHUNK_SHIFT;
    if (likely(!h->inherited) || c >= h->chunk_count)
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
        os_advise(at_off(h, start), round_up((uint64_t)own_get(d->capacity) * class_bytes(own_get(d->cls)), OS_PAGE),
                  MADV_DONTNEED);
}

/* ---- a private heap ------------------------------------------------------------------------------- */

void private_fork_prepare(struct heap *h, struct snapshot *s)
{
    s->guard = heap_lock(h);
}

void private_fork_parent(struct heap *h, struct snapshot *s)
{
    heap_unlock(h, s->guard);
}

void private_fork_child(struct heap *h, struct snapshot *s, struct thread_cache *own)
{
    caches_orphaned(h, own);
    put(member_facts, h->me->pid, (uint64_t)os_pid());
    heap_unlock(h, s->guard);
}
