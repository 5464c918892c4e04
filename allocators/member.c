#include "allocators/member.h"
#include "allocators/commit.h"

#include <fcntl.h>
#include <string.h>

bool witness_make(const char *path, uint64_t inode, uint64_t byte, bool for_children,
                  struct witness *w)
{
    struct os_file file;
    long fd = os_open(path, O_RDWR, 0);
    if (fd < 0)
        return false;
    bool same = !inode || (os_fstat(fd, &file) == 0 && file.inode == inode);
    w->page = !same || os_lock(fd, byte) < 0 ? NULL : os_map_page(fd, for_children);
    os_close(fd); /* the mapping keeps the description, and that keeps the lock */
    return w->page != NULL;
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
    uint64_t high = get_acquire(h->header->members_high);
    if (slot < high)
        return true;
    if (!commit_metadata(h, SEG_MEMBERS_OFF + high * OS_PAGE, (slot + 1 - high) * OS_PAGE))
        return false;
    while (high <= slot && !cas(members_high, h->header->members_high, &high, slot + 1))
        ;
    return true;
}

static uint64_t slot_try(struct heap *h, uint32_t slot, const char *reopen, enum member_state state,
                         struct witness *w)
{
    struct seg_member *member = &h->members[slot];
    uint64_t seen = get_acquire(member->state);
    if (state_of(seen) != MEMBER_FREE || !witness_make(reopen, reopen == h->path ? h->inode : 0,
                                                       LOCK_MEMBER(slot), state == MEMBER_CHILD, w))
        return 0;
    uint32_t epoch = (state_epoch(seen) + 1) & ((1u << EPOCH_BITS) - 1);
    /* With the lock held nobody takes us for dead once the state is set. */
    if (cas(member_state, member->state, &seen, MEMBER_STATE(state, epoch, 0)))
        return member_id_make(slot, epoch);
    witness_drop(w);
    return 0;
}

uint64_t member_take_slot(struct heap *h, const char *reopen, enum member_state state,
                          struct witness *w)
{
    for (uint32_t slot = 0; slot < MEMBER_MAX; slot++) {
        if (!slot_backed(h, slot))
            return 0;
        uint64_t id = slot_try(h, slot, reopen, state, w);
        if (id) {
            fetch_add(members_ever, h->header->members_ever, 1);
            return id;
        }
    }
    return 0;
}

void member_describe(struct heap *h, uint32_t slot, const char *program, uint64_t parent)
{
    struct seg_member *m = &h->members[slot];
    size_t n = strlen(program);
    if (n >= sizeof m->name)
        n = sizeof m->name - 1;
    memcpy(m->name, program, n);
    memset(m->name + n, 0, sizeof m->name - n);
    memset(m->message, 0, sizeof m->message);
    put(member_facts, m->pid, (uint64_t)os_pid());
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
}

void member_quits(struct heap *h)
{
    if (!h->shared || h->mine->member_id != h->member_id)
        return;
    put(member_quits, h->me->quits, 1);
    fetch_add(leavers, h->header->leavers, 1);
}

void member_stays(struct heap *h)
{
    if (unlikely(get(h->me->quits)))
        put(member_quits, h->me->quits, 0);
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
