/* steps.h - one scripted life of a member, and what the others do meanwhile.
 *
 * The victim runs victim_phase() 0, 1, 2 ... and stops itself after each; then
 * the survivor runs survivor_phase() of the same number.  test_every_instruction.c
 * steps through the victim, test_every_site.c only counts where it passes.
 */
#pragma once
#include "allocators/adopt.h"
#include "allocators/alloc.h"
#include "allocators/commit.h"
#include "allocators/member.h"
#include "allocators/names.h"
#include "allocators/page.h"
#include "allocators/recover.h"
#include "allocators/run.h"
#include "allocators/segment.h"
#include "allocators/snapshot.h"
#include "allocators/thread_cache.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define MUST(x)                                                                                    \
    do {                                                                                           \
        if (!(x)) {                                                                                \
            dprintf(2, "%s:%d: not so: %s (errno %d)\n", __FILE__, __LINE__, #x, errno);           \
            _exit(1);                                                                              \
        }                                                                                          \
    } while (0)

#define BLOCKS 256
struct block {
    unsigned char *at;
    size_t size;
    uint32_t live; /* 0 no, 1 yes, 2 being freed: may be either */
    uint32_t seed;
};

/* A name, or a block that changes hands. */
enum fate { FATE_NONE = 0, FATE_THERE = 1, FATE_OPEN = 2, FATE_OURS = 3 };
struct named {
    struct block block;
    char name[24];
    enum fate fate;
};
#define NAMES 16

/* Private memory that victim and survivor share, outside the segment. */
struct stage {
    struct block given[BLOCKS]; /* of the survivor, freed by the victim */
    struct block made[BLOCKS];  /* of the victim */
    struct block own[BLOCKS];   /* of the survivor */
    uint32_t given_count, made_count, own_count;
    struct named names[NAMES]; /* of the victim, but for the first, the survivor's */
    struct named to[NAMES];    /* handed to the survivor: THERE is given, OURS the survivor's */
    struct named from[NAMES];  /* handed to the victim: THERE is given */
    void *lost;                /* of the survivor; its freer dies with it in hand */
    uint32_t phase;
};
static struct stage *stage;
static struct heap heap; /* of whoever this process is */
static struct thread_cache *cache, *shared_cache;
static char file[200], name[208];

static uint64_t limit_64m(uint64_t whole)
{
    (void)whole;
    return UINT64_C(64) << 20;
}
static uint64_t no_limit(uint64_t whole)
{
    (void)whole;
    return 0;
}

static struct heap_config config(bool reclaim)
{
    return (struct heap_config){ .name = name,
                                 .program = "steps",
                                 .limit = limit_64m,
                                 .member_limit = no_limit,
                                 .warm = limit_64m,
                                 .mode = 0600,
                                 .reclaim = reclaim,
                                 .purge_delay_ms = -1 };
}

static void join(bool reclaim)
{
    struct heap_config c = config(reclaim);
    const char *why = "";
    heap = (struct heap){ 0 };
    if (!segment_attach(&heap, &c, &why)) {
        dprintf(2, "cannot join: %s\n", why);
        _exit(1);
    }
    recover_dead(&heap, false);
    cache = cache_make(&heap);
    shared_cache = cache_make_shared(&heap);
    MUST(cache && shared_cache);
}

/* ---- as preload/interpose.c has it ------------------------------------------------------- */

static void *fast_malloc(size_t n)
{
    if (n <= DIRECT_MAX) {
        void *block = page_pop(&heap, cell_at(&heap, cache->direct[(n + 15) / 16]));
        if (block)
            return block;
    }
    return heap_malloc(cache, n);
}

static void fast_free(void *p)
{
    uint64_t off = off_of(&heap, p), i = off >> SLICE_SHIFT;
    struct slice *d = &heap.slices[i];
    uint64_t home = get(d->home), recip = own_get(d->recip);
    if (home - cache->record_off < sizeof(struct thread_record) &&
        (off & (SLICE_BYTES - 1)) * recip < recip && !link_is_sound(&heap, link_read(&heap, p))) {
        page_push(&heap, cell_at(&heap, home), d, off);
        if (own_get(d->used) == 0)
            cache_page_empty(cache, d);
        return;
    }
    heap_free(cache, p);
}

/* ---- blocks ---------------------------------------------------------------------------------- */

static size_t painted(size_t size)
{
    return size < 24 ? size : 24;
}

static void paint(struct block *b)
{
    for (size_t i = 0; i < painted(b->size); i++)
        b->at[i] = (unsigned char)(b->seed + i);
}

static bool is_painted(const struct block *b)
{
    for (size_t i = 0; i < painted(b->size); i++)
        if (b->at[i] != (unsigned char)(b->seed + i))
            return false;
    return true;
}

static struct block *note(struct block *table, uint32_t *count, void *at, size_t size)
{
    MUST(at && *count < BLOCKS);
    struct block *b = &table[*count];
    *b = (struct block){ at, size, 0, 1 + *count * 7 };
    paint(b);
    b->live = 1;
    ++*count;
    return b;
}

static struct block *made(void *at, size_t size)
{
    return note(stage->made, &stage->made_count, at, size);
}

static void drop(struct block *b)
{
    b->live = 2;
    fast_free(b->at);
    b->live = 0;
}

/* ---- the script --------------------------------------------------------------------------- */

static void phase_allocate(void)
{
    static const size_t sizes[] = { 1,    16,    16,    200,   1000,   1500,   1500,
                                    5000, 20000, 20000, 40000, 200000, 1000000 };
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
    while (adopt_chunk(&heap))
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

static void phase_names_make(void)
{
    struct name_info info;
    bool made;
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
    MUST(name_find(&heap, "survivor's", 0, 0, true, &own) == 0);
    MUST(name_find(&heap, "survivor's", 0, 0, true, &own) == 0);
    MUST(name_find(&heap, "large", 100000, 7, true, &large) == 0);
    MUST(name_find(&heap, "large", 100001, 7, true, &large) == -EMSGSIZE);
    MUST(name_find(&heap, "none", 0, 0, true, &own) == -ENOENT);
    names_remove("small");
    names_remove("published");
    names_remove("large"); /* which has a reference */
    MUST(name_unref(cache, large.entry, large.generation) == 0);
    MUST(name_find(&heap, "survivor's", 0, 0, false, &own) == 0);
    MUST(name_unref(cache, own.entry, own.generation) == 0);
    names_create("small", 64, 0);
    for (struct named *n = stage->from; n->name[0]; n++) {
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
    phase_join,  phase_allocate, phase_resize,  phase_free,  phase_collect, phase_thread_ends,
    phase_empty, phase_recover,  phase_reclaim, phase_leave, NULL
};
static void (*const names_phases[])(void) = { phase_join,      phase_names_make, phase_names_use,
                                              phase_names_end, phase_leave,      NULL };
/* What the victim does, set before it begins. */
static void (*const *victim_phases)(void) = blocks_phases;

/* The survivor's part after the victim's phase. */
static void survivor_phase(uint32_t phase)
{
    if (victim_phases == names_phases) {
        names_survivor_phase(phase);
        return;
    }
    if (phase == 7) /* the lost block is found */
        heap_trim(cache);
    if (phase == 2) /* the victim finds these when it collects */
        for (uint32_t i = 0; i < stage->made_count; i++)
            if (stage->made[i].live &&
                (stage->made[i].size == 20000 || stage->made[i].size == 66000 ||
                 stage->made[i].size == 1500))
                drop(&stage->made[i]);
}

static void survivor_set_up(void)
{
    stage->lost = fast_malloc(48);
    MUST(stage->lost);
    static const size_t sizes[] = { 16, 100, 1500, 20000, 100000, 4500000 };
    for (unsigned i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        note(stage->own, &stage->own_count, fast_malloc(sizes[i]), sizes[i]);
        note(stage->given, &stage->given_count, fast_malloc(sizes[i]), sizes[i]);
        note(stage->given, &stage->given_count, fast_malloc(sizes[i]), sizes[i]);
    }
    if (victim_phases == names_phases)
        names_set_up();
}

/* Somebody who is dead already when the victim comes. */
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
    if (stage->lost)
        cache->record->step.what.raw_ = off_of(&heap, stage->lost) | INFLIGHT_MINE;
    raise(SIGSTOP);
    _exit(1);
}

static void stage_set(const char *at)
{
    snprintf(file, sizeof file, "%s", at);
    snprintf(name, sizeof name, "file:%s", file);
    unlink(file);
    stage = mmap(NULL, sizeof *stage, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
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

/* The dead have been dead for long. */
static void grace_is_over(struct heap *h)
{
    for (uint64_t i = 0; i < h->header->members_high.raw_; i++)
        if (&h->members[i] != h->me)
            h->members[i].dead_ms.raw_ = 1;
}
