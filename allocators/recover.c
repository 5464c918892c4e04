#include "allocators/recover.h"
#include "allocators/commit.h"
#include "allocators/member.h"
#include "allocators/recover_parts.h"
#include "allocators/sound.h"

#include <fcntl.h>

/* ---- members ------------------------------------------------------------------------------------ */

/* Slots that the dead one was recovering are merely dead again. */
static void hand_back(struct heap *h, struct dead *dead)
{
    uint64_t high = members_high(h);
    for (uint64_t slot = 0; slot < high; slot++) {
        uint64_t state = get(h->members[slot].state);
        if (state_of(state) == MEMBER_RECOVERING && state_recoverer(state) == dead->slot + 1)
            cas(member_state, h->members[slot].state, &state,
                MEMBER_STATE(MEMBER_LEAVING, state_epoch(state), 0));
    }
}

static bool member_recover(struct heap *h, struct dead *dead)
{
    if (!steps_finish(h, dead) || !pages_mark(h, dead) || !chunks_recover(h, dead))
        return false;
    hand_back(h, dead);
    return true;
}

/* What this process was before exec(): that end was meant, too.  Others may have the same
 * number in a pid namespace of their own, but not since before this process began. */
static bool was_us(const struct heap *h, const struct seg_member *m)
{
    return get(m->pid) == get(h->me->pid) && get(m->start_ns) >= os_start_ns();
}

static bool grace_is_over(const struct heap *h, struct seg_member *m, enum member_state state)
{
    if (state != MEMBER_LIVE || get(m->quits) || was_us(h, m))
        return true;
    uint64_t now = os_now_ms(), since = get(m->dead_ms);
    if (!since)
        put(member_dead, m->dead_ms, since = now);
    return now - since >= GRACE_MS;
}

/* The parent may not have let go yet of the lock that it took for its child: then the next
 * who looks takes what was left.  A namesake only loses the grace, and says that it stays. */
static void say_it_quits(struct heap *h, struct seg_member *m, enum member_state state)
{
    if (state != MEMBER_LIVE || get(m->quits) || !was_us(h, m))
        return;
    put(member_quits, m->quits, 1);
    fetch_add(leavers, h->header->leavers, 1);
}

struct look {
    bool early;   /* somebody is dead but not for long enough */
    bool leaving; /* somebody has said that he leaves and is not gone yet */
};

static bool slot_recover(struct heap *h, long fd, uint32_t slot, struct look *look)
{
    struct seg_member *m = &h->members[slot];
    uint64_t state = get_acquire(m->state);
    enum member_state what = state_of(state);
    if (what == MEMBER_FREE || m == h->me)
        return false;
    if (os_lock_held(fd, LOCK_MEMBER(slot))) {
        say_it_quits(h, m, what);
        look->leaving |= what == MEMBER_LEAVING || get(m->quits);
        return false;
    }
    if (what == MEMBER_RECOVERING) {
        uint32_t by = state_recoverer(state) - 1;
        if (by == member_slot(h->member_id) || os_lock_held(fd, LOCK_MEMBER(by)))
            return false;
    } else if (what ==
               MEMBER_CHILD) { /* a forked child that never used the heap: nothing is its own */
        uint64_t free = MEMBER_STATE(MEMBER_FREE, state_epoch(state), 0);
        if (cas(member_state, m->state, &state, free))
            fetch_add(members_ended, h->header->members_ended, 1);
        return false;
    } else if (!grace_is_over(h, m, what)) {
        look->early = true;
        return false;
    }
    uint32_t epoch = state_epoch(state);
    if (!cas(member_state, m->state, &state,
             MEMBER_STATE(MEMBER_RECOVERING, epoch, member_slot(h->member_id) + 1)))
        return false;
    struct dead dead = { .id = member_id_make(slot, epoch),
                         .slot = slot,
                         .reclaim = get(m->settings) & SETTING_RECLAIM,
                         .fd = fd };
    bool done = member_recover(h, &dead);
    if (h->unusable) /* it was damaged: nothing more is written to it */
        return false;
    put_release(member_state, m->state,
                MEMBER_STATE(done ? MEMBER_FREE : MEMBER_LEAVING, epoch, 0));
    if (done)
        fetch_add(members_ended, h->header->members_ended, 1);
    if (done && dead.left && !dead.reclaim)
        fetch_add(kept_members, h->header->kept_members, 1);
    return done;
}

static unsigned slots_recover(struct heap *h, long fd, struct look *look)
{
    unsigned n = 0;
    *look = (struct look){ 0 };
    uint64_t high = members_high(h);
    for (uint32_t slot = 0; slot < high && !h->unusable; slot++)
        n += slot_recover(h, fd, slot, look);
    return n;
}

/* ---- when to look ------------------------------------------------------------------------------- */

#define LOOK_EVERY_MS 50

static uint64_t looked_at(uint32_t now, uint32_t leavers)
{
    return (uint64_t)now << 32 | leavers;
}

/* Has somebody said that he leaves since all leavers were last seen gone? */
static bool somebody_left(struct heap *h)
{
    return (uint32_t)get(h->header->looked) != (uint32_t)get(h->header->leavers);
}

unsigned recover_dead(struct heap *h, bool wait)
{
    if (!h->shared || !h->can_open || !heap_is_usable(h))
        return 0;
    long fd = os_open(h->path, O_RDWR, 0);
    if (fd < 0)
        return 0;
    struct os_file file;
    unsigned n = 0;
    if (os_fstat(fd, &file) == 0 && file.inode == h->inode) {
        struct look look;
        uint32_t leavers = (uint32_t)get(h->header->leavers),
                 seen = (uint32_t)get(h->header->looked);
        n = slots_recover(h, fd, &look);
        if (look.early && wait) { /* one grace for all: each was seen dead by now */
            os_sleep_us((GRACE_MS + 5) * 1000);
            n += slots_recover(h, fd, &look);
        }
        put(looked, h->header->looked,
            looked_at((uint32_t)os_now_ms(), look.leaving ? seen : leavers));
    }
    os_close(fd);
    if (n)
        ledger_recount(h);
    return n;
}

/* Somebody of the segment looks every now and then, and soon where somebody has
 * said that he leaves: what he had then serves the next before new memory does.
 * Each member looks at most once in a tick of the clock. */
void recover_sometimes(struct heap *h)
{
    if (!h->shared || h->unusable)
        return;
    uint32_t now = (uint32_t)os_now_ms();
    uint32_t seen = __atomic_load_n(&h->mine->recovered_ms, __ATOMIC_RELAXED);
    bool due = somebody_left(h) || now - (uint32_t)(get(h->header->looked) >> 32) >= LOOK_EVERY_MS;
    member_stays(h);
    if (due && now != seen &&
        __atomic_compare_exchange_n(&h->mine->recovered_ms, &seen, now, false, __ATOMIC_RELAXED,
                                    __ATOMIC_RELAXED))
        recover_dead(h, false);
}

/* At a fork: a child that ended just before left what this one can use. */
void recover_leavers(struct heap *h)
{
    member_stays(h);
    if (somebody_left(h))
        recover_dead(h, false);
    else
        recover_sometimes(h);
}
