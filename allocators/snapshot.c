#include "allocators/snapshot.h"
#include "allocators/adopt.h"
#include "allocators/hold.h"
#include "allocators/recover.h"
#include "allocators/room.h"
#include "allocators/thread_cache.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>

/* ---- prepare ---------------------------------------------------------------------------- */

/* From here on no thread of ours allocates from a page made before. */
static void stop_caches(struct heap *h, uint32_t seq)
{
    __atomic_store_n(&h->mine->hold_seq, seq, __ATOMIC_RELAXED);
    /* Pairs with the fence in direct_set(). */
    __atomic_thread_fence(__ATOMIC_SEQ_CST);
    for (struct thread_cache *tc = h->mine->caches; tc; tc = tc->next)
        cache_stop(tc);
}

/* A small copy asks nobody: most processes are short and small. */
static bool room_for(const struct heap *h, const struct snapshot *s)
{
    if (s->want.most && s->bytes > s->want.most)
        return false;
    return s->bytes < (UINT64_C(16) << 20) ||
           (s->bytes < os_ram_available() && s->bytes < room_of_group(h));
}

static bool collect(struct heap *h, struct snapshot *s)
{
    s->runs = s->few;
    s->run_room = RUNS_FEW;
    return runs_collect(h, s) ||
           (s->run_count == s->run_room && runs_room(s) && runs_collect(h, s));
}

/* A lock on the hold's byte, which every address space with the snapshot keeps.
 * Who is no member is handed nothing after the fork: it needs none, and one with
 * all of the segment for itself is no member either. */
static bool hold_it(struct heap *h, struct snapshot *s)
{
    if (s->detached || s->want.kind == SNAPSHOT_PRIVATE)
        return true;
    long fd = witness_open(h->path, h->inode);
    if (fd >= 0)
        s->hold_index = hold_make(h, fd, &s->seq, &s->hold);
    return s->hold_index >= 0;
}

/* Everything but HSHM_FORK=share: hold, measure, copy. */
static enum snapshot_refusal cover(struct heap *h, struct snapshot *s)
{
    if (!hold_it(h, s))
        return REFUSED_HOLDS;
    h->fork_matters = true; /* in the child too */
    pool_sweep(h);          /* to look at a page of the dead costs less than to copy an empty one */
    if (s->seq)
        stop_caches(h, s->seq);
    if (!collect(h, s))
        return REFUSED_ROOM;
    if (!parts_find(h, s))
        return REFUSED_MAPPED;
    if (s->seq)
        put(hold_facts, h->holds[s->hold_index].bytes, s->bytes);
    if (!room_for(h, s) || !copy_make(h, s))
        return REFUSED_ROOM;
    for (unsigned i = 0; i < POOLS; i++)
        if (&h->mine->pools[i] != s->pool) {
            s->others[i] = h->mine->pools[i].read;
            s->others_bytes[i] = h->mine->pools[i].bytes;
        }
    return REFUSED_NOT;
}

static enum snapshot_refusal make_room_for_child(struct heap *h, struct snapshot *s)
{
    if (s->detached || s->want.kind == SNAPSHOT_PRIVATE)
        return REFUSED_NOT;
    s->child_id = member_make_child(h, s->fd, &s->child);
    s->fd = -1;
    if (!s->child_id)
        return REFUSED_MEMBERS;
    member_describe(h, member_slot(s->child_id), s->want.program, h->member_id, 0);
    return REFUSED_NOT;
}

static void drop(struct snapshot *s)
{
    copy_drop(s);
    runs_drop(s);
    parts_drop(s);
    if (s->fd >= 0)
        os_close(s->fd);
    witness_drop(&s->child);
    witness_drop(&s->hold);
}

/* Mostly they lie side by side. */
static void witnesses_drop(struct snapshot *s)
{
    if (s->child.page && s->child.page + OS_PAGE == s->hold.page) {
        os_unmap(s->child.page, OS_PAGE * 2);
        s->child.page = s->hold.page = NULL;
    }
}

/* What a child must not have is wiped when it is made; this one needs it. */
static void caches_inherited(struct heap *h, bool inherited)
{
    int advice = inherited ? MADV_KEEPONFORK : MADV_WIPEONFORK;
    os_advise(h->mine, h->mine_bytes, advice);
    for (struct thread_cache *tc = h->mine->caches; tc; tc = tc->next) {
        uint64_t from = (uint64_t)(uintptr_t)tc & ~(OS_PAGE - 1);
        uint64_t to = round_up((uint64_t)(uintptr_t)(tc + 1), OS_PAGE);
        os_advise((void *)(uintptr_t)from, to - from, advice);
    }
}

enum snapshot_refusal snapshot_prepare(struct heap *h, struct snapshot *s,
                                       const struct snapshot_request *want, uint64_t *bytes)
{
    recover_leavers(h); /* earlier children */
    struct guard guard = heap_lock(h);
    memset(s, 0, offsetof(struct snapshot, few));
    s->guard = guard;
    s->want = *want;
    s->hold_index = -1;
    s->active = true;
    s->started_ns = os_boot_ns();
    if (h->asleep) /* it is going to have descendants: let it be known */
        member_wake(h);
    /* Not after chroot(), setuid() or in a sandbox: then no lock can be taken for a child. */
    s->fd = h->can_open ? witness_open(h->path, h->inode) : -1;
    s->detached = s->fd < 0;
    enum snapshot_refusal why = s->detached && want->kind == SNAPSHOT_PRIVATE ? REFUSED_ROOM
                                : want->kind == SNAPSHOT_NONE && !s->detached ? REFUSED_NOT
                                                                              : cover(h, s);
    if (why == REFUSED_NOT)
        why = make_room_for_child(h, s);
    *bytes = s->bytes;
    if (why == REFUSED_NOT) {
        /* Later blocks of others are no more known to both. */
        if (s->seq)
            s->before = (uint32_t)fetch_add(hold_seq, h->header->hold_seq, 1) + 1;
        if (want->kind == SNAPSHOT_PRIVATE)
            caches_inherited(h, true);
        return why;
    }
    drop(s); /* without their locks the child's slot and the hold have ended */
    s->active = false;
    heap_unlock(h, guard);
    return why;
}

void snapshot_parent(struct heap *h, struct snapshot *s)
{
    if (!s->active)
        return;
    s->active = false;
    if (s->want.kind == SNAPSHOT_PRIVATE)
        caches_inherited(h, false);
    witnesses_drop(s);
    drop(s);
    fetch_add(fork_facts, h->header->snapshots, 1);
    fetch_add(fork_facts, h->header->snapshot_bytes, s->bytes);
    uint64_t took = os_boot_ns() - s->started_ns;
    fetch_add(fork_facts, h->header->snapshot_ns, took);
    put(fork_facts, h->me->fork_ns, get(h->me->fork_ns) + took);
    put(fork_facts, h->me->forks, get(h->me->forks) + 1);
    put(fork_facts, h->me->fork_bytes, get(h->me->fork_bytes) + s->bytes);
    hold_rest(h, took);
    heap_unlock(h, s->guard);
}

bool snapshot_measure(struct heap *h, uint64_t view, uint64_t *bytes)
{
    static struct snapshot s; /* under the lock */
    struct guard g = heap_lock(h);
    memset(&s, 0, offsetof(struct snapshot, few));
    s.want.view = view;
    s.fd = witness_open(h->path, h->inode);
    bool done = collect(h, &s);
    *bytes = s.bytes;
    drop(&s);
    heap_unlock(h, g);
    return done;
}

/* ---- the child --------------------------------------------------------------------------------- */

/* All of the segment is this process's own now, as a private heap is. */
static void child_alone(struct heap *h, struct snapshot *s)
{
    h->shared = false;
    h->can_open = false;
    h->shown_through = true;
    h->warm_pages = UINT64_MAX;
    h->live_page = NULL;
    memset(h->mine->pools, 0, sizeof h->mine->pools); /* the parent's */
    put(member_facts, h->me->pid, (uint64_t)os_pid());
    heap_unlock(h, s->guard);
}

AT_FORK(".text") void snapshot_child(struct heap *h, struct snapshot *s)
{
    if (!s->active)
        return;
    s->active = false;
    copy_into_place(h, s);
    runs_drop(s);
    parts_drop(s);
    if (s->want.kind == SNAPSHOT_PRIVATE) {
        child_alone(h, s);
        return;
    }
    h->before_fork = s->before;
    if (s->detached) {
        h->member_id = 0;
        h->me = os_map(OS_PAGE, false); /* whatever is noted is noted nowhere */
        os_signals_restore(s->guard.signals);
        return;
    }
    h->live_page = s->child.page;
    h->member_id = s->child_id;
    h->me = &h->members[member_slot(s->child_id)];
    h->asleep = true;
    /* 'mine' was wiped by the kernel: no lock, no chunks, no caches. */
    h->mine->member_id = h->member_id;
    h->mine->recovered_ms = (uint32_t)os_now_ms(); /* the parent has looked */
    os_signals_restore(s->guard.signals);
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
