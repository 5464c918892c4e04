#include "allocators/member.h"
#include "allocators/commit.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>

long witness_open(const char *path, uint64_t inode)
{
    struct os_file file;
    long fd = os_open(path, O_RDWR, 0);
    if (fd < 0 || !inode || (os_fstat(fd, &file) == 0 && file.inode == inode))
        return fd;
    os_close(fd);
    return -ENOENT;
}

bool witness_keep(long fd, bool for_children, struct witness *w)
{
    w->page = os_map_page(fd, for_children);
    os_close(fd); /* the mapping keeps the description, and that keeps the locks */
    return w->page != NULL;
}

bool witness_make(const char *path, uint64_t inode, uint64_t byte, bool for_children,
                  struct witness *w)
{
    long fd = witness_open(path, inode);
    if (fd < 0)
        return false;
    if (os_lock(fd, byte) < 0) {
        os_close(fd);
        return false;
    }
    return witness_keep(fd, for_children, w);
}

void witness_drop(struct witness *w)
{
    if (w->page)
        os_unmap(w->page, OS_PAGE);
    w->page = NULL;
}

/* Member pages below members_high are backed; make that of 'slot' so. */
static bool slot_backed(struct heap *h, uint64_t slot)
{
    uint64_t high = members_high(h);
    if (slot < high)
        return true;
    if (!commit_metadata(h, SEG_MEMBERS_OFF + high * OS_PAGE, (slot + 1 - high) * OS_PAGE))
        return false;
    while (high <= slot && !cas(members_high, h->header->members_high, &high, slot + 1))
        ;
    return true;
}

/* A slot that nobody has: free, or of a child that ended without having used the heap. */
static bool slot_may_be_had(uint64_t state, bool child)
{
    return state_of(state) == MEMBER_FREE || (child && state_of(state) == MEMBER_CHILD);
}

static uint64_t slot_try(struct heap *h, uint32_t slot, long fd, enum member_state state,
                         bool child)
{
    struct seg_member *member = &h->members[slot];
    uint64_t seen = get_acquire(member->state);
    if (!slot_may_be_had(seen, child) || os_lock(fd, LOCK_MEMBER(slot)) < 0)
        return 0;
    uint32_t epoch = (state_epoch(seen) + 1) & ((1u << EPOCH_BITS) - 1);
    /* With the lock held nobody takes us for dead once the state is set. */
    if (cas(member_state, member->state, &seen, MEMBER_STATE(state, epoch, 0)))
        return member_id_make(slot, epoch);
    os_unlock(fd, LOCK_MEMBER(slot));
    return 0;
}

static uint64_t slot_find(struct heap *h, long fd, enum member_state state)
{
    for (uint32_t slot = 0; slot < MEMBER_MAX; slot++) {
        if (!slot_backed(h, slot))
            return 0;
        uint64_t id = slot_try(h, slot, fd, state, false);
        if (id)
            return id;
    }
    return 0;
}

/* The description keeps its lock by a mapping, or the slot is free again. */
static uint64_t slot_keep(struct heap *h, uint64_t id, long fd, bool child, struct witness *w)
{
    if (!id) {
        os_close(fd);
        return 0;
    }
    if (!witness_keep(fd, child, w)) {
        put_release(member_state, h->members[member_slot(id)].state,
                    MEMBER_STATE(MEMBER_FREE, member_epoch(id), 0));
        return 0;
    }
    fetch_add(members_ever, h->header->members_ever, 1);
    return id;
}

uint64_t member_take_slot(struct heap *h, const char *reopen, enum member_state state,
                          struct witness *w)
{
    long fd = witness_open(reopen, reopen == h->path ? h->inode : 0);
    return fd < 0 ? 0 : slot_keep(h, slot_find(h, fd, state), fd, false, w);
}

uint64_t member_make_child(struct heap *h, long fd, struct witness *w)
{
    uint32_t last = h->mine->child_slot; /* mostly that child is gone */
    uint64_t id = last ? slot_try(h, last - 1, fd, MEMBER_CHILD, true) : 0;
    if (!id)
        id = slot_find(h, fd, MEMBER_CHILD);
    id = slot_keep(h, id, fd, true, w);
    h->mine->child_slot = id ? member_slot(id) + 1 : 0;
    return id;
}

void member_describe(struct heap *h, uint32_t slot, const char *program, uint64_t parent,
                     uint64_t pid)
{
    struct seg_member *m = &h->members[slot];
    size_t n = strlen(program);
    if (n >= sizeof m->name)
        n = sizeof m->name - 1;
    memcpy(m->name, program, n);
    memset(m->name + n, 0, sizeof m->name - n);
    memset(m->message, 0, sizeof m->message);
    put(member_facts, m->pid, pid);
    put(member_facts, m->start_ns, os_now_ns());
    put(member_facts, m->parent, parent);
    put(member_facts, m->dead_ms, 0);
    put(member_facts, m->settings, h->reclaim);
    put(member_facts, m->charged, 0);
    put(member_facts, m->charging, 0);
    put(member_facts, m->quits, 0);
    put(member_facts, m->pending, 0);
    put(member_facts, m->named, 0);
    put(member_facts, m->naming, 0);
    put(member_facts, m->threads, 0);
    put(member_facts, m->mallocs, 0);
    put(member_facts, m->callocs, 0);
    put(member_facts, m->reallocs, 0);
    put(member_facts, m->frees, 0);
    put(member_facts, m->bytes_out, 0);
    put(member_facts, m->uid, (uint64_t)os_euid());
    put(member_facts, m->forks, 0);
    put(member_facts, m->fork_bytes, 0);
    put(member_facts, m->fork_ns, 0);
    put(member_facts, m->held_free, 0);
    put(member_facts, m->dropped, 0);
    put(member_facts, m->deferred, 0);
}

void member_wake(struct heap *h)
{
    h->asleep = false;
    /* Until now a child that no wrapper saw would only have kept this slot taken. */
    os_advise(h->live_page, OS_PAGE, MADV_DONTFORK);
    put(member_facts, h->me->pid, (uint64_t)os_pid());
    put(member_facts, h->me->start_ns, os_now_ns());
    put_release(member_state, h->me->state,
                MEMBER_STATE(MEMBER_LIVE, member_epoch(h->member_id), 0));
}

AT_FORK(".text") void member_quits(struct heap *h)
{
    if (!h->shared || h->mine->member_id != h->member_id || h->asleep || h->unusable)
        return;
    put(member_quits, h->me->quits, 1);
    fetch_add(leavers, h->header->leavers, 1);
}

void member_stays(struct heap *h)
{
    if (unlikely(get(h->me->quits)))
        put(member_quits, h->me->quits, 0);
}

bool member_in_charge(struct heap *h, uint64_t id)
{
    uint64_t state = get_acquire(h->members[member_slot(id) % MEMBER_MAX].state);
    return state_epoch(state) == member_epoch(id) && state_of(state) != MEMBER_FREE &&
           state_of(state) != MEMBER_RECOVERING;
}

bool member_alive(struct heap *h, uint32_t slot)
{
    long fd = h->can_open ? os_open(h->path, O_RDWR, 0) : -1;
    if (fd < 0)
        return true;
    struct os_file file;
    bool alive =
        os_fstat(fd, &file) < 0 || file.inode != h->inode || os_lock_held(fd, LOCK_MEMBER(slot));
    os_close(fd);
    return alive;
}

bool members_alive_fd(long fd, uint32_t except)
{
    if (except >= MEMBER_MAX)
        return os_lock_any(fd, LOCK_MEMBER(0), MEMBER_MAX);
    return os_lock_any(fd, LOCK_MEMBER(0), except) ||
           os_lock_any(fd, LOCK_MEMBER(except + 1), MEMBER_MAX - except - 1);
}
