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

#define COPY_STEP  (UINT64_C(256) << 10)
#define HUGE_PAGE  (UINT64_C(2) << 20)
#define SPARE_MAX  (UINT64_C(4) << 20)  /* of what a copy has the parent keeps its memory */
#define SPARE_AREA (UINT64_C(16) << 20) /* if it does not take more address space than this */

/* What the child moves in one go: whole slices, as nobody allocates in the rest
 * of a slice under a hold; so neighbours are one run whatever they hold. */
struct snapshot_run {
    uint64_t off, bytes;
    uint64_t at;      /* in the copy */
    uint64_t data;    /* of it, what is copied */
    bool descriptors; /* a chunk's descriptors: they stay in the copy */
};

/* ---- what is in use ----------------------------------------------------------------- */

/* A page or block of 'extent' bytes of address space. */
static bool run_add(struct snapshot *s, uint64_t off, uint64_t extent, bool descriptors)
{
    struct snapshot_run *last = s->run_count ? &s->runs[s->run_count - 1] : NULL;
    if (last && !descriptors && !last->descriptors && last->off + last->bytes == off) {
        last->bytes += extent;
        return true;
    }
    if (s->run_count == s->run_room)
        return false;
    s->runs[s->run_count++] = (struct snapshot_run){ off, extent, 0, 0, descriptors };
    return true;
}

/* Called for each part that has data; false ends the walk. */
typedef bool data_visitor(struct heap *h, struct snapshot *s, uint64_t off, uint64_t bytes);

/* The parts of [off, off + bytes) that have memory.  Reading the others would
 * give them some. */
static bool backed_each(struct heap *h, struct snapshot *s, uint64_t off, uint64_t bytes,
                        data_visitor *visit)
{
    uint64_t end = off + bytes;
    if (s->detached) /* nobody can be asked: all of it */
        return visit(h, s, off, bytes);
    if (s->fd < 0)
        s->fd = os_open(h->path, O_RDWR, 0);
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

static bool slice_data(struct heap *h, struct snapshot *s, struct slice *d, data_visitor *visit)
{
    uint64_t off = slice_off(h, d), bytes = get(d->bytes);
    if (get(d->kind) == SLICE_LARGE)
        return backed_each(h, s, off, bytes, visit);
    bytes = round_up((uint64_t)get(d->capacity) * class_bytes(get(d->cls)), OS_PAGE);
    return bytes == 0 || visit(h, s, off, bytes);
}

static bool data_count(struct heap *h, struct snapshot *s, uint64_t off, uint64_t bytes)
{
    (void)h, (void)off;
    s->bytes += bytes;
    s->runs[s->run_count - 1].data += bytes;
    return true;
}

/* Nothing in it is allocated; it waits for an earlier hold, or to be given back.
 * The child goes on sharing it: what is there next is everybody's. */
static bool slice_is_void(const struct slice *d)
{
    if (get(d->shared)) /* named blocks, heaps of hshm.h: always everybody's */
        return true;
    if (get(d->kind) == SLICE_LARGE)
        return (get_acquire(d->remote) & 0xff) == LARGE_FREED;
    return get(d->kind) == SLICE_PAGE && get(d->flags) & PAGE_EMPTY;
}

static bool slice_hold(struct heap *h, struct snapshot *s, struct slice *d, uint64_t extent)
{
    if (slice_is_void(d))
        return true;
    if (s->seq)
        put(hold_cover, d->hold_last, s->seq);
    return run_add(s, slice_off(h, d), extent, false) && slice_data(h, s, d, data_count);
}

static bool chunk_hold(struct heap *h, struct snapshot *s, uint32_t c)
{
    struct slice *first = &h->slices[(size_t)c * CHUNK_SLICES];
    s->bytes += DESCRIPTORS_BYTES;
    if (!run_add(s, off_of(h, first), DESCRIPTORS_BYTES, true))
        return false;
    if (word_state(get(h->chunks[c].word)) == CHUNK_HUGE)
        return slice_hold(h, s, first, get(first->bytes));
    uint64_t used = ~own_get(h->chunks[c].free_slices);
    for (uint32_t i = 0; i < CHUNK_SLICES; i++) {
        enum slice_kind kind = (enum slice_kind)get(first[i].kind);
        if (used >> i & 1 && (kind == SLICE_PAGE || kind == SLICE_LARGE) &&
            !slice_hold(h, s, first + i, (uint64_t)get(first[i].span) << SLICE_SHIFT))
            return false;
    }
    return true;
}

static bool chunk_is_ours(struct heap *h, uint64_t c)
{
    uint64_t word = get(h->chunks[c].word);
    return word_member(word) == h->member_id &&
           (word_state(word) == CHUNK_OWNED || word_state(word) == CHUNK_HUGE);
}

static bool collect_runs(struct heap *h, struct snapshot *s)
{
    uint64_t high = get_acquire(h->header->chunk_high);
    for (uint64_t c = h->first_chunk; c < high; c++)
        if (chunk_is_ours(h, c) && !chunk_hold(h, s, (uint32_t)c))
            return false;
    return true;
}

/* ---- prepare ---------------------------------------------------------------------------- */

#define RUNS_BYTES (UINT64_C(64) << 20) /* address space; runs are few */

/* From here on no thread of ours allocates from a page made before. */
static void stop_caches(struct heap *h, uint32_t seq)
{
    __atomic_store_n(&h->mine->hold_seq, seq, __ATOMIC_RELAXED);
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

/* Places in the copy: first all descriptors, then the runs; those that are
 * large lie in it as in the segment, so that huge pages can be moved. */
static void copy_lay_out(struct snapshot *s)
{
    uint64_t at = 0;
    for (uint64_t i = 0; i < s->run_count; i++)
        if (s->runs[i].descriptors) {
            s->runs[i].at = at;
            at += s->runs[i].bytes;
        }
    for (uint64_t i = 0; i < s->run_count; i++) {
        struct snapshot_run *run = &s->runs[i];
        if (run->descriptors)
            continue;
        if (run->bytes >= HUGE_PAGE && s->bytes > SPARE_MAX)
            at += (run->off - at) & (HUGE_PAGE - 1);
        run->at = at;
        at += run->bytes;
    }
    s->copy_bytes = at;
}

/* The parent keeps the memory of a small copy: when the child is gone it is the
 * parent's alone again, and filling it anew costs less than new memory does.
 * While the child lives the kernel gives the parent other pages when it writes. */
static bool area_take(struct heap *h, struct snapshot *s)
{
    struct mine *m = h->mine;
    s->recycled = m->spare && m->spare_bytes >= s->copy_bytes;
    if (m->spare && !s->recycled)
        os_unmap(m->spare, m->spare_bytes);
    s->area = m->spare;
    s->area_bytes = m->spare_bytes;
    m->spare = NULL;
    if (!s->recycled) {
        s->area_bytes = s->copy_bytes + HUGE_PAGE;
        s->area = os_map(s->area_bytes, true);
    }
    if (!s->area)
        return false;
    s->copy = s->area;
    if (s->bytes > SPARE_MAX)
        s->copy = (char *)round_up((uint64_t)(uintptr_t)s->area, HUGE_PAGE);
    return true;
}

static void area_drop(struct heap *h, struct snapshot *s)
{
    if (!s->area)
        return;
    if (s->bytes <= SPARE_MAX && s->area_bytes <= SPARE_AREA && !h->mine->spare) {
        h->mine->spare = s->area;
        h->mine->spare_bytes = s->area_bytes;
    } else {
        os_unmap(s->area, s->area_bytes);
    }
}

/* Pages are populated in steps that the processor's cache still has when they are filled. */
static bool copy_data(struct heap *h, struct snapshot *s, uint64_t off, uint64_t bytes)
{
    char *to = s->copy + s->now->at + (off - s->now->off);
    for (uint64_t n; bytes; bytes -= n, to += n, off += n) {
        n = bytes < COPY_STEP ? bytes : COPY_STEP;
        if (os_populate(to, n) == -ENOMEM)
            return false;
        memcpy(to, at_off(h, off), n);
    }
    return true;
}

static bool run_copy(struct heap *h, struct snapshot *s, struct snapshot_run *run)
{
    s->now = run;
    if (run->descriptors) {
        struct slice *copies = (struct slice *)(void *)(s->copy + run->at);
        if (!copy_data(h, s, run->off, run->bytes))
            return false;
        for (uint32_t i = 0; i < CHUNK_SLICES; i++)
            if (slice_is_void(&copies[i]))
                own_put(inherited, copies[i].kind, SLICE_FREE);
        return true;
    }
    if (run->bytes >= HUGE_PAGE && s->bytes > SPARE_MAX && run->data >= run->bytes - run->bytes / 8)
        os_advise(s->copy + run->at, run->bytes, MADV_HUGEPAGE);
    uint64_t first = run->off >> SLICE_SHIFT,
             end = (run->off + run->bytes + SLICE_BYTES - 1) >> SLICE_SHIFT;
    for (uint64_t i = first; i < end;) {
        struct slice *d = &h->slices[i];
        if (s->recycled && get(d->kind) == SLICE_LARGE) /* what is not copied has to be zero */
            os_advise(s->copy + run->at + (slice_off(h, d) - run->off), get(d->bytes),
                      MADV_DONTNEED);
        if (!slice_data(h, s, d, copy_data))
            return false;
        uint64_t huge = round_up(get(d->bytes), SLICE_BYTES) >> SLICE_SHIFT;
        bool is_huge = word_state(get(h->chunks[chunk_of((uint32_t)i)].word)) == CHUNK_HUGE;
        i += is_huge ? huge : get(d->span) ? get(d->span) : 1;
    }
    return true;
}

static bool copy_make(struct heap *h, struct snapshot *s)
{
    if (!s->run_count)
        return true;
    copy_lay_out(s);
    if (!area_take(h, s))
        return false;
    for (uint64_t i = 0; i < s->run_count; i++)
        if (!run_copy(h, s, &s->runs[i]))
            return false;
    return true;
}

static void snapshot_drop(struct heap *h, struct snapshot *s, bool undo)
{
    area_drop(h, s);
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
    bool done = s->runs != NULL;
    if (done) {
        /* Who is no member is handed nothing after the fork: it needs no hold. */
        if (!s->detached)
            s->hold_index = hold_make(h, &s->seq, &s->hold);
        pool_sweep(h); /* to look at a page of the dead costs less than to copy an empty one */
        done = (s->detached || s->hold_index >= 0) && collect_runs(h, s);
    }
    if (done && !s->detached) {
        stop_caches(h, s->seq);
        put(hold_facts, h->holds[s->hold_index].bytes, s->bytes);
    }
    done = done && room_for(s, most) && copy_make(h, s);
    if (s->fd >= 0)
        os_close(s->fd);
    return done;
}

/* Not after chroot(), setuid() or in a sandbox: then no lock can be taken for a child. */
static bool file_is_reachable(struct heap *h)
{
    struct os_file file;
    long fd = h->can_open ? os_open(h->path, O_RDWR, 0) : -1;
    bool same = fd >= 0 && os_fstat(fd, &file) == 0 && file.inode == h->inode;
    if (fd >= 0)
        os_close(fd);
    return same;
}

long snapshot_prepare(struct heap *h, struct snapshot *s, enum snapshot_kind kind, uint64_t most)
{
    recover_leavers(h); /* earlier children */
    *s =
        (struct snapshot){ .hold_index = -1, .fd = -1, .active = true, .started_ns = os_boot_ns() };
    s->guard = heap_lock(h);
    s->detached = !file_is_reachable(h);
    bool done = (kind == SNAPSHOT_NONE && !s->detached) || cover(h, s, most);
    if (done && !s->detached)
        done = (s->child_id = member_take_slot(h, h->path, MEMBER_CHILD, &s->child)) != 0;
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
    if (s->child_id)
        put_release(member_state, h->members[member_slot(s->child_id)].state,
                    MEMBER_STATE(MEMBER_FREE, member_epoch(s->child_id), 0));
}

bool snapshot_measure(struct heap *h, uint64_t *bytes)
{
    struct snapshot s = { .fd = -1, .run_room = RUNS_BYTES / sizeof *s.runs };
    struct guard g = heap_lock(h);
    s.runs = os_map(RUNS_BYTES, true);
    bool done = s.runs && collect_runs(h, &s);
    if (s.fd >= 0)
        os_close(s.fd);
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
        /* NOLINTNEXTLINE(bugprone-sizeof-expression): an array of pointers */
        h->inherited = os_map(h->chunk_count * sizeof *h->inherited, true);
    uint64_t kept = 0;
    for (uint64_t i = 0; i < s->run_count; i++) {
        const struct snapshot_run *run = &s->runs[i];
        char *from = s->copy + run->at;
        if (run->descriptors) {
            uint64_t c = (run->off - h->header->slices_off) / DESCRIPTORS_BYTES;
            if (h->inherited)
                h->inherited[c] = (struct slice *)(void *)from;
        } else {
            os_move(from, run->bytes, at_off(h, run->off));
        }
        if (run->descriptors && run->at + run->bytes > kept)
            kept = run->at + run->bytes;
    }
    if (s->copy + kept < s->area + s->area_bytes)
        os_unmap(s->copy + kept, (uint64_t)(s->area + s->area_bytes - s->copy) - kept);
}

void snapshot_child(struct heap *h, struct snapshot *s, const char *program)
{
    uint64_t parent = h->member_id;
    if (!s->active)
        return;
    copy_into_place(h, s);
    if (s->runs)
        os_unmap(s->runs, RUNS_BYTES);
    if (s->detached) {
        h->member_id = 0;
        h->me = os_map(OS_PAGE, false); /* whatever is noted is noted nowhere */
        os_signals_restore(s->guard.signals);
        return;
    }
    os_advise(s->child.page, OS_PAGE, MADV_DONTFORK);
    h->live_page = s->child.page;
    h->member_id = s->child_id;
    h->me = &h->members[member_slot(s->child_id)];
    /* 'mine' was wiped by the kernel: no lock, no chunks, no caches. */
    h->mine->member_id = h->member_id;
    h->mine->recovered_ms = (uint32_t)os_now_ms(); /* the parent has looked */
    member_describe(h, member_slot(h->member_id), program, parent);
    put_release(member_state, h->me->state,
                MEMBER_STATE(MEMBER_LIVE, member_epoch(h->member_id), 0));
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
