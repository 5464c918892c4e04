/* steps.h - one scripted life of a member, and what the others do meanwhile.
 *
 * The victim runs victim_phase() 0, 1, 2 ... and stops itself after each; then
 * the survivor runs survivor_phase() of the same number.  test_every_instruction.c
 * steps through the victim, and through the child that it forks.
 */
#pragma once
#include "allocators/inherited.h"
#include "tests/process/survivor.h"

/* ---- the script --------------------------------------------------------------------------- */

static void phase_allocate(void)
{
    static const size_t sizes[] = { 1,     16,    16,    200,   1000,  1000,   1000,   1500,
                                    1500,  1500,  1500,  1500,  5000,  5000,   5000,   20000,
                                    20000, 20000, 20000, 20000, 40000, 200000, 1000000 };
    for (int i = 0; i < 7; i++) /* the survivor frees more of them than may be lost */
        made(fast_malloc(1000), 1000);
    for (unsigned i = 0; i < sizeof sizes / sizeof *sizes; i++)
        made(fast_malloc(sizes[i]), sizes[i]);
    made(heap_malloc(cache, 5000000), 5000000);
    made(heap_calloc(cache, 100), 100);
    made(heap_calloc(cache, 70000), 70000);
    made(heap_memalign(cache, 64, 300), 300);
    made(heap_memalign(cache, 4096, 100), 100);
    made(heap_memalign(cache, 1 << 17, 100000), 100000);
}

static struct block *made_of(size_t size)
{
    for (uint32_t i = 0; i < stage->made_count; i++)
        if (stage->made[i].live == 1 && stage->made[i].size == size)
            return &stage->made[i];
    MUST(!"a block of that size");
    return NULL;
}

static void resize(size_t from, size_t to)
{
    struct block *b = made_of(from);
    b->live = 2;
    unsigned char *at = heap_realloc(cache, b->at, to);
    MUST(at);
    b->at = at;
    b->size = to < from ? to : from; /* what is painted */
    MUST(is_painted(b));
    b->size = to;
    paint(b);
    b->live = 1;
}

static void phase_resize(void)
{
    resize(1, 300);
    resize(200, 40);
    resize(40000, 120000); /* in place, into free slices behind */
    resize(120000, 50000);
    resize(200000, 66000);
    resize(5000000, 9000000);
    resize(9000000, 4400000);
    resize(70000, 20);
}

static void phase_free(void)
{
    for (uint32_t i = 0; i < stage->made_count; i += 2)
        if (stage->made[i].live)
            drop(&stage->made[i]);
    for (uint32_t i = 0; i < stage->given_count; i += 2)
        drop(&stage->given[i]);
}

/* The survivor has freed blocks of ours: they are found. */
static void phase_collect(void)
{
    for (int i = 0; i < 8; i++)
        made(heap_malloc(cache, 30000), 30000);
    for (int i = 0; i < 3; i++)
        made(heap_malloc(cache, 500000), 500000);
}

static void phase_thread_ends(void)
{
    cache_end(cache);
    cache = cache_make(&heap);
    struct thread_cache *first = cache, *second = cache_make(&heap);
    MUST(first && second);
    cache_end(first);
    cache = second; /* takes what the first had */
    made(fast_malloc(16), 16);
    made(fast_malloc(1500), 1500);
}

static void phase_empty(void)
{
    for (uint32_t i = 0; i < stage->made_count; i++)
        if (stage->made[i].live && i % 4 == 1)
            drop(&stage->made[i]);
    heap_trim(cache);
}

static void phase_recover(void)
{
    recover_dead(&heap, false);
    struct guard g = heap_lock(&heap);
    while (adopt_chunk(&heap, 0, 0))
        ;
    heap_unlock(&heap, g);
    made(heap_malloc(cache, 3000), 3000);
    made(heap_malloc(cache, 100), 100);
    heap_free(cache, heap_malloc(cache, 150000)); /* it is kept, and serves the next */
    made(heap_malloc(cache, 140000), 140000);
}

static void phase_reclaim(void)
{
    reclaim_kept(cache);
    for (uint32_t i = 1; i < stage->given_count; i += 2)
        drop(&stage->given[i]);
}

/* ---- a fork, and life under its snapshot ------------------------------------------------- */

static void child_lives(void)
{
    if (heap.asleep)
        member_wake(&heap);
    cache = cache_make(&heap);
    MUST(cache);
    for (uint32_t i = 1; i < stage->made_count; i += 3)
        if (stage->made[i].live == 1) {
            struct block *b = &stage->made[i]; /* the child's own copy of it */
            MUST(is_painted(b));
            if (inherited_slice(&heap, off_of(&heap, b->at)))
                heap_free(cache, b->at);
        }
    made(fast_malloc(200), 200);
    made(fast_malloc(100000), 100000);
    raise(SIGSTOP);
    _exit(0);
}

static void fork_once(void)
{
    static struct snapshot s;
    struct snapshot_request want = { .kind = SNAPSHOT_COPY, .program = "child" };
    uint64_t bytes;
    MUST(snapshot_prepare(&heap, &s, &want, &bytes) == REFUSED_NOT);
    pid_t pid = fork();
    if (pid == 0) {
        snapshot_child(&heap, &s);
        child_lives();
    }
    MUST(pid > 0);
    stage->child = pid;
    snapshot_parent(&heap, &s);
}

static void phase_fork(void)
{
    for (int i = 0; i < 40; i++) /* a page that becomes empty under the snapshot */
        made(fast_malloc(3000), 3000);
    made(fast_malloc(300000), 300000);
    made(fast_malloc(4500000), 4500000);
    fork_once();
}

/* What is freed now is not to be allocated again as long as the child lives. */
static void phase_under_hold(void)
{
    for (uint32_t i = 0; i < stage->made_count; i++)
        if (stage->made[i].live && (stage->made[i].size == 3000 || stage->made[i].size == 300000 ||
                                    stage->made[i].size == 4500000 || i % 3 == 0))
            drop(&stage->made[i]);
    made(fast_malloc(3000), 3000);
    made(fast_malloc(16), 16);
    made(fast_malloc(1500), 1500);
    made(fast_malloc(1500), 1500);
    made(heap_malloc(cache, 300000), 300000);
    heap_trim(cache);
}

static void phase_hold_ends(void)
{
    recover_dead(&heap, false);
    heap.mine->holds_looked_ns = 0;
    for (int i = 0; i < 3; i++) {
        made(heap_malloc(cache, 16), 16);
        made(heap_malloc(cache, 1500), 1500);
        made(heap_malloc(cache, 3000), 3000);
    }
    heap_trim(cache);
}

static bool victim_reclaims;
static void phase_join(void)
{
    join(victim_reclaims);
}

static void phase_leave(void)
{
    heap_trim(cache);
    member_quits(&heap);
    member_stays(&heap);
    MUST(!segment_remove_if_idle(file, member_slot(heap.member_id))); /* somebody stays */
    segment_leave(&heap);
}

/* ---- names, and blocks that change hands -------------------------------------------------- */

static struct named *named(struct named *table, const char *called, void *at, size_t size)
{
    struct named *n = table;
    while (n->name[0] && strcmp(n->name, called) != 0)
        n++;
    MUST(n < table + NAMES);
    strcpy(n->name, called);
    n->block = (struct block){ at, size, 1, (uint32_t)(n - table) * 11 + 3 };
    if (at)
        paint(&n->block);
    return n;
}

static struct named *name_noted(const char *called)
{
    return named(stage->names, called, NULL, 0);
}

static void names_create(const char *called, size_t size, size_t align)
{
    struct name_info info;
    bool made;
    struct named *n = name_noted(called);
    n->fate = FATE_OPEN;
    MUST(name_create(shared_cache, called, size, align, 7, false, &info, &made) == 0 && made);
    named(stage->names, called, info.at, size);
    n->fate = FATE_THERE;
}

static void names_publish(const char *called, void *at, size_t size)
{
    struct name_info info;
    bool shared;
    struct named *n = named(stage->names, called, at, size);
    n->block.at = NULL; /* not yet: what it says is only known once it has the name */
    n->fate = FATE_OPEN;
    MUST(name_publish(cache, called, at, size, 7, &info, &shared) == 0 && info.at == at);
    n->block.at = at;
    n->fate = FATE_THERE;
}

static void names_remove(const char *called)
{
    struct named *n = stage->names;
    while (strcmp(n->name, called) != 0)
        n++;
    n->fate = FATE_OPEN;
    MUST(name_remove(cache, called) == 0);
    n->fate = FATE_NONE;
}

static void give(struct named *table, const char *called, size_t size)
{
    struct named *n = named(table, called, fast_malloc(size), size);
    n->fate = FATE_OPEN;
    MUST(block_give(&heap, n->block.at) == 0);
    n->fate = FATE_THERE;
}

static void names_fill(unsigned from, unsigned to)
{
    for (unsigned i = from; i < to; i++) {
        struct name_info info;
        bool made;
        char called[24];
        snprintf(called, sizeof called, "filler %u", i);
        MUST(name_create(shared_cache, called, 16, 0, 0, true, &info, &made) == 0);
    }
}

static void phase_names_make(void)
{
    struct name_info info;
    bool made;
    recover_dead(&heap, false); /* the one who had taken a block and was publishing it */
    names_fill(60, 68);         /* the table grows */
    names_create("small", 100, 0);
    names_create("large", 100000, 0);
    names_create("huge", 5000000, 0);
    names_create("aligned", 300, 256);
    names_publish("published", fast_malloc(200), 200);
    names_publish("large published", fast_malloc(70000), 70000);
    MUST(name_create(shared_cache, "small", 100, 0, 7, false, &info, &made) == 0 && !made);
    MUST(name_create(shared_cache, "small", 101, 0, 7, false, &info, &made) == -EMSGSIZE);
    MUST(name_create(shared_cache, "small", 100, 0, 7, true, &info, &made) == -EEXIST);
    give(stage->to, "small", 60);
    give(stage->to, "large", 90000);
}

static void phase_names_use(void)
{
    struct name_info own, large;
    MUST(name_find(&heap, "survivor's", 0, 0, cache, &own) == 0);
    MUST(name_find(&heap, "survivor's", 0, 0, cache, &own) == 0);
    MUST(name_find(&heap, "large", 100000, 7, cache, &large) == 0);
    MUST(name_find(&heap, "large", 100001, 7, cache, &large) == -EMSGSIZE);
    MUST(name_find(&heap, "none", 0, 0, cache, &own) == -ENOENT);
    names_remove("small");
    names_remove("published");
    names_remove("large"); /* which has a reference */
    MUST(name_unref(cache, large.entry) == 0);
    MUST(name_find(&heap, "survivor's", 0, 0, NULL, &own) == 0);
    MUST(name_unref(cache, own.entry) == 0);
    names_create("small", 64, 0);
    for (struct named *n = stage->from; n < stage->from + 5; n++) {
        n->fate = FATE_OPEN;
        MUST(block_take(&heap, n->block.at) == 0);
        n->fate = FATE_NONE;
    }
    names_publish("taken", stage->from[4].block.at, 120);
    bool shared;
    MUST(name_publish(cache, "small", stage->from[2].block.at, 0, 7, &own, &shared) == -EEXIST);
    MUST(block_take(&heap, stage->from[0].block.at) == -EAGAIN);
    MUST(block_give(&heap, stage->from[0].block.at) == 0); /* and back again */
    stage->from[0].fate = FATE_OPEN;
    MUST(block_take(&heap, stage->from[0].block.at) == 0);
    stage->from[0].fate = FATE_NONE;
}

/* As far as a publisher comes before others could see it. */
static void publish_half(void *at)
{
    uint64_t off = off_of(&heap, at), former;
    fetch_add(member_naming, heap.me->naming, 1);
    uint32_t entry = entry_claim(&heap);
    MUST(entry && block_word(&heap, off, &former));
    put(name_fill, entry_at(&heap, entry)->block, off);
    put(name_fill, entry_at(&heap, entry)->former, former);
    MUST(block_set_named(&heap, heap_block(&heap, at), off, former, entry) == 0);
}

/* Frees some of what it has taken and leaves the others. */
static void phase_names_end(void)
{
    fast_free(stage->from[0].block.at);
    fast_free(stage->from[1].block.at);
    names_remove("huge");
    give(stage->to, "third", 500);
    struct named *n = &stage->to[2];
    n->fate = FATE_OPEN;
    MUST(block_take(&heap, n->block.at) == 0); /* it has thought better of it */
    n->fate = FATE_NONE;
    fast_free(n->block.at);
    publish_half(stage->from[3].block.at);
}

static void names_set_up(void)
{
    names_create("survivor's", 40, 0);
    give(stage->from, "small", 50);
    give(stage->from, "large", 80000);
    give(stage->from, "small kept", 50);
    give(stage->from, "large kept", 80000);
    give(stage->from, "to be named", 120);
    give(stage->from, "for the dead", 70);
    names_fill(0, 60);
}

/* What the victim gave is taken. */
static void names_survivor_phase(uint32_t phase)
{
    if (phase != 1)
        return;
    for (struct named *n = stage->to; n->name[0]; n++) {
        MUST(block_take(&heap, n->block.at) == 0);
        n->fate = FATE_OURS;
    }
}

/* ---- scripts --------------------------------------------------------------------------------- */

static void (*const blocks_phases[])(void) = {
    phase_join,        phase_allocate,  phase_resize,  phase_free,    phase_collect,
    phase_thread_ends, phase_empty,     phase_recover, phase_reclaim, phase_fork,
    phase_under_hold,  phase_hold_ends, phase_leave,   NULL
};
static void (*const names_phases[])(void) = { phase_join,      phase_names_make, phase_names_use,
                                              phase_names_end, phase_leave,      NULL };
/* What the victim does, set before it begins. */
static void (*const *victim_phases)(void) = blocks_phases;

/* Of some classes all blocks, of some all but the first: their pages stay, and are adopted for what
 * the survivor has no page for. */
static bool survivor_frees(const struct block *b)
{
    if (b->size == 1000 || b->size == 5000)
        return b > stage->made && b[-1].size == b->size;
    return b->size == 20000 || b->size == 66000 || b->size == 1500;
}

/* The survivor's part after the victim's phase. */
static void survivor_phase(uint32_t phase)
{
    if (victim_phases == names_phases) {
        names_survivor_phase(phase);
        return;
    }
    if (phase == 7) /* the lost block is found */
        heap_trim(cache);
    if (phase == 10) /* the child, and with it the hold */
        kill(stage->child, SIGKILL);
    if (phase == 2) /* the victim finds these when it collects */
        for (uint32_t i = 0; i < stage->made_count; i++)
            if (stage->made[i].live && survivor_frees(&stage->made[i]))
                drop(&stage->made[i]);
}

/* Somebody who is dead already when the victim comes.  Two of them: the one with
 * HSHM_EXIT=reclaim first, the other dies with a block of the first in hand. */
#define PREDECESSOR_KEEPS 12 /* blocks */
static pid_t predecessor(bool reclaim)
{
    pid_t pid = fork();
    if (pid)
        return pid;
    join(reclaim);
    void *blocks[16];
    for (int i = 0; i < 16; i++)
        blocks[i] = fast_malloc(i < 12 ? 100 : 3000);
    for (int i = 0; i < 16; i += 3)
        fast_free(blocks[i]);
    MUST(fast_malloc(90000) && fast_malloc(100000));
    MUST(ledger_charge(&heap, 3)); /* and dies before it commits them */
    if (reclaim) {
        stage->lost_too = blocks[1];
        MUST(fast_malloc(5000000));
    } else {
        struct thread_cache *other = cache_make(&heap);
        MUST(other);
        cache->record->step.what.raw_ = off_of(&heap, stage->lost) | INFLIGHT_MINE;
        other->record->step.what.raw_ = off_of(&heap, stage->lost_too) | INFLIGHT_MINE;
    }
    if (!reclaim && victim_phases == names_phases) {
        struct named *n = &stage->from[5];
        n->fate = FATE_OPEN;
        MUST(block_take(&heap, n->block.at) == 0);
        publish_half(n->block.at);
    }
    raise(SIGSTOP);
    _exit(1);
}

static void stop_and_wait(pid_t pid)
{
    int status = 0;
    MUST(waitpid(pid, &status, WUNTRACED) == pid);
    if (!WIFSTOPPED(status))
        dprintf(2, "process %d ended in phase %u: %#x\n", (int)pid, stage->phase, (unsigned)status);
    MUST(WIFSTOPPED(status));
}

static void kill_and_wait(pid_t pid)
{
    int status;
    kill(pid, SIGKILL);
    while (waitpid(pid, &status, 0) == pid && !WIFSIGNALED(status) && !WIFEXITED(status))
        ;
}
