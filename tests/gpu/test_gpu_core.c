/* The bookkeeping of GPU segments, without any driver: blocks, runs, and members that die at each
 * of their shared writes. */
#define HSHM_CUT_SITES
#include "gpu_hooks/gpu.h"

#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#define CHUNKS      4
#define CHUNK_UNITS 128 /* 8 MiB */
#define AREA        (GPU_DEVICES_OFF + GPU_DEVICE_BYTES)

static struct shared {
    uint64_t ended[8]; /* ids of members that are gone */
    uint64_t passed[SITE_COUNT];
} * shared;
static char *area;
static long writes, cut_at; /* die before the cut_at-th shared write; 0: never */

void site_cut(enum site_id site)
{
    if (cut_at && ++writes == cut_at)
        _exit(0);
    if (shared)
        shared->passed[site]++;
}

static enum gpu_life life(const struct gpu_seg *s, uint64_t id)
{
    (void)s;
    for (int i = 0; i < 8; i++)
        if (shared->ended[i] == id)
            return GPU_ENDED;
    return GPU_ALIVE;
}

static void area_make(void)
{
    if (area)
        munmap(area, AREA);
    area =
        mmap(NULL, AREA, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    cr_assert_neq((void *)area, MAP_FAILED);
    if (!shared)
        shared = mmap(NULL, OS_PAGE * 4, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    memset(shared->ended, 0, sizeof shared->ended);
    struct gpu_seg s;
    memset(&s, 0, sizeof s);
    gpu_seg_view(&s, area, 0);
    s.device->chunk_units = CHUNK_UNITS;
    s.device->chunk_count = CHUNKS;
    s.header->members_high.raw_ = 8;
}

static uint64_t id_of(uint32_t slot)
{
    return (uint64_t)(slot + 1) << EPOCH_BITS | 1;
}

static void chunk_make(struct gpu_seg *s, uint32_t chunk)
{
    cr_assert(gpu_chunk_back(s, chunk));
    s->chunks[chunk].word.raw_ = GPU_WORD(GPU_READY, s->id, 1);
    s->usable[chunk] = 1;
}

static struct gpu_seg member(uint32_t slot)
{
    struct gpu_seg s;
    memset(&s, 0, sizeof s);
    gpu_seg_view(&s, area, 0);
    s.id = id_of(slot);
    s.me = &s.members[slot];
    s.me->id.raw_ = s.id;
    s.life = life;
    cr_assert(gpu_seg_private(&s));
    for (uint32_t c = 0; c < CHUNKS; c++)
        s.usable[c] = word_state(s.chunks[c].word.raw_) == (enum chunk_state)GPU_READY;
    return s;
}

static gpu_ref alloc(struct gpu_seg *s, uint64_t bytes)
{
    gpu_ref ref;
    uint32_t chunk;
    for (;;)
        switch (gpu_take(s, bytes, &ref, &chunk)) {
        case GPU_GOT: gpu_start(s, ref, bytes, 0); return ref;
        case GPU_NEEDS_CHUNK: chunk_make(s, chunk); break;
        case GPU_IS_FULL: return GPU_NO_REF;
        }
}

static void free_now(struct gpu_seg *s, gpu_ref ref)
{
    if (gpu_free_block(s, ref) == GPU_FREED_OURS)
        gpu_reuse(s, ref);
}

static void reuse_each(struct gpu_seg *s, gpu_ref ref, void *arg)
{
    gpu_ref *list = arg;
    (void)s;
    list[++list[0]] = ref;
}

static unsigned collect_now(struct gpu_seg *s)
{
    static gpu_ref list[4096];
    list[0] = 0;
    gpu_collect(s, reuse_each, list);
    for (gpu_ref i = 1; i <= list[0]; i++)
        gpu_reuse(s, list[i]);
    return (unsigned)list[0];
}

/* Units that are not free, and hints that say so wrongly. */
static unsigned units_taken(struct gpu_seg *s)
{
    unsigned n = 0;
    for (uint64_t u = 0; u < s->unit_count; u++)
        n += s->units[u].word.raw_ != 0 || (s->taken[u / 64].raw_ >> u % 64 & 1);
    return n;
}

Test(gpu_core, blocks_are_aligned_and_do_not_overlap)
{
    area_make();
    struct gpu_seg s = member(0);
    static struct {
        uint64_t from, to;
    } all[2000];
    unsigned n = 0;
    srand(1);
    for (; n < 2000; n++) {
        uint64_t bytes = (uint64_t)1 + (uint64_t)(rand() % (1 << (4 + rand() % 13)));
        gpu_ref ref = alloc(&s, bytes);
        if (ref == GPU_NO_REF)
            break;
        all[n].from = gpu_ref_off(&s, ref);
        all[n].to = all[n].from + bytes;
        cr_assert_eq(all[n].from % GPU_ALIGN, 0);
        cr_assert_leq(bytes, gpu_ref_bytes(&s, ref));
        cr_assert_eq(gpu_find(&s, all[n].from), ref);
        cr_assert_eq(gpu_find(&s, all[n].to - 1), ref);
        for (unsigned i = 0; i < n; i++)
            cr_assert(all[i].to <= all[n].from || all[n].to <= all[i].from, "%u and %u", i, n);
    }
    cr_assert_gt(n, 300);
}

Test(gpu_core, a_block_wastes_at_most_an_eighth)
{
    for (unsigned cls = 0; cls < CLASS_COUNT; cls++) {
        uint64_t bytes = gpu_class_bytes(cls), before = cls ? gpu_class_bytes(cls - 1) : 0;
        cr_assert_eq(gpu_class_of(bytes), cls);
        cr_assert_eq(gpu_class_of(before + 1), cls);
        cr_assert_eq(bytes % GPU_ALIGN, 0);
        cr_assert(bytes <= 4096 || bytes - before - 1 <= bytes / 8 ||
                  bytes < before + before / 8 + 512);
        cr_assert_eq(gpu_page_blocks(cls) * bytes % GPU_UNIT_BYTES, 0, "class %u leaves a rest",
                     cls);
    }
    cr_assert_eq(gpu_class_bytes(CLASS_COUNT - 1), GPU_SMALL_MAX);
}

Test(gpu_core, large_blocks_take_the_run_that_fits_best)
{
    area_make();
    struct gpu_seg s = member(0);
    gpu_ref a = alloc(&s, 40 * GPU_UNIT_BYTES);
    cr_assert_neq(alloc(&s, 17 * GPU_UNIT_BYTES), GPU_NO_REF); /* keeps the two apart */
    gpu_ref b = alloc(&s, 20 * GPU_UNIT_BYTES);
    cr_assert_neq(alloc(&s, (CHUNK_UNITS - 77) * GPU_UNIT_BYTES), GPU_NO_REF);
    uint64_t from = gpu_ref_off(&s, b), to = from + 20 * GPU_UNIT_BYTES;
    free_now(&s, a);
    free_now(&s, b);
    gpu_trim(&s);
    uint64_t at = gpu_ref_off(&s, alloc(&s, 18 * GPU_UNIT_BYTES));
    cr_assert(at >= from && at < to, "at %lx, not in the run at %lx", at, from);
}

Test(gpu_core, a_block_may_lie_across_chunks)
{
    area_make();
    struct gpu_seg s = member(0);
    gpu_ref ref = alloc(&s, 3 * CHUNK_UNITS * GPU_UNIT_BYTES);
    cr_assert_neq(ref, GPU_NO_REF);
    cr_assert_eq(alloc(&s, 2 * CHUNK_UNITS * GPU_UNIT_BYTES), GPU_NO_REF);
    free_now(&s, ref);
    cr_assert_neq(alloc(&s, 2 * CHUNK_UNITS * GPU_UNIT_BYTES), GPU_NO_REF);
}

Test(gpu_core, what_is_freed_comes_back_whole)
{
    area_make();
    struct gpu_seg s = member(0);
    gpu_ref refs[300];
    for (int round = 0; round < 3; round++) {
        for (int i = 0; i < 300; i++)
            cr_assert_neq(refs[i] = alloc(&s, 512u << (i % 10)), GPU_NO_REF);
        for (int i = 0; i < 300; i++)
            free_now(&s, refs[i]);
        cr_assert_eq(gpu_used(&s), 0);
    }
    gpu_trim(&s);
    cr_assert_eq(units_taken(&s), 0);
}

Test(gpu_core, a_double_free_is_seen)
{
    area_make();
    struct gpu_seg s = member(0);
    gpu_ref small = alloc(&s, 1000), large = alloc(&s, 3 << 20);
    cr_assert_eq(gpu_free_block(&s, small), GPU_FREED_OURS);
    cr_assert_eq(gpu_free_block(&s, small), GPU_FREED_NOT);
    gpu_reuse(&s, small);
    cr_assert_eq(gpu_free_block(&s, small), GPU_FREED_NOT);
    free_now(&s, large);
    cr_assert_eq(gpu_free_block(&s, large), GPU_FREED_NOT);
}

Test(gpu_core, a_block_freed_by_another_goes_back_to_its_owner)
{
    area_make();
    struct gpu_seg a = member(0);
    gpu_ref small = alloc(&a, 1000), large = alloc(&a, 3 << 20);
    struct gpu_seg b = member(1);
    cr_assert_eq(gpu_free_block(&b, small), GPU_FREED_GIVEN);
    cr_assert_eq(gpu_free_block(&b, large), GPU_FREED_GIVEN);
    cr_assert_eq(gpu_free_block(&a, large), GPU_FREED_NOT);
    cr_assert_eq(collect_now(&a), 2);
    cr_assert_eq(collect_now(&a), 0);
    gpu_trim(&a);
    cr_assert_eq(units_taken(&a), 0);
}

Test(gpu_core, what_others_have_open_stays_until_the_last_closes)
{
    area_make();
    struct gpu_seg a = member(0);
    gpu_ref ref = alloc(&a, 1000);
    a.blocks[gpu_ref_unit(ref) * GPU_PAGE_BLOCKS + gpu_ref_block(ref)].info.raw_ |=
        (uint64_t)GPU_EXPORTED << 48;
    struct gpu_seg b = member(1), c = member(2);
    uint64_t state = gpu_block_of(&a, ref)->state.raw_;
    cr_assert(gpu_open(&b, ref, state) && gpu_open(&c, ref, state));
    cr_assert_eq(gpu_free_block(&a, ref), GPU_FREED_HELD);
    cr_assert_not(gpu_open(&c, ref, state), "a freed block was opened");
    cr_assert(gpu_open(&c, ref, gpu_block_of(&a, ref)->state.raw_)); /* a second time */
    cr_assert(gpu_close(&c, ref) && gpu_close(&c, ref));
    cr_assert_eq(collect_now(&a), 0);
    cr_assert(gpu_close(&b, ref));
    cr_assert_eq(collect_now(&a), 1);
    cr_assert_not(gpu_close(&b, ref));
}

Test(gpu_core, a_dead_opener_does_not_count)
{
    area_make();
    struct gpu_seg a = member(0), b = member(1);
    gpu_ref ref = alloc(&a, 5 << 20);
    gpu_block_of(&a, ref)->info.raw_ |= (uint64_t)GPU_EXPORTED << 48;
    cr_assert(gpu_open(&b, ref, gpu_block_of(&a, ref)->state.raw_));
    shared->ended[0] = b.id;
    cr_assert_eq(gpu_free_block(&a, ref), GPU_FREED_OURS);
}

Test(gpu_core, what_an_ended_member_left_stays_and_can_be_freed)
{
    area_make();
    struct gpu_seg a = member(0);
    gpu_ref small = alloc(&a, 1000), large = alloc(&a, 3 << 20), freed = alloc(&a, 70000);
    free_now(&a, freed);
    struct gpu_seg b = member(1);
    shared->ended[0] = a.id;
    cr_assert_eq(gpu_sweep(&b), 1);
    cr_assert_eq(gpu_used(&b), 1024 + (3 << 20));
    cr_assert_eq(gpu_find(&b, gpu_ref_off(&b, small)), small);
    free_now(&b, small);
    free_now(&b, large);
    cr_assert_eq(gpu_used(&b), 0);
    gpu_trim(&b);
    cr_assert_eq(units_taken(&b), 0);
}

Test(gpu_core, a_second_sweep_changes_nothing)
{
    area_make();
    struct gpu_seg a = member(0);
    gpu_ref small = alloc(&a, 1000);
    struct gpu_seg b = member(1);
    shared->ended[0] = a.id;
    gpu_sweep(&b);
    uint64_t used = gpu_used(&b);
    gpu_sweep(&b);
    cr_assert_eq(gpu_used(&b), used);
    free_now(&b, small);
    cr_assert_eq(gpu_used(&b), 0);
}

/* ---- death at each shared write --------------------------------------------------------------- */

static gpu_ref of_b[3];

/* Everything that a member does: small, large, across chunks, freed, given, taken back, opened. */
static void life_of_a(void)
{
    struct gpu_seg a = member(0);
    a.reclaim = true;
    gpu_ref s1 = alloc(&a, 512), s2 = alloc(&a, 100000), l1 = alloc(&a, 3 << 20);
    gpu_ref refs[10];
    for (int i = 0; i < 10; i++)
        refs[i] = alloc(&a, 40000);
    gpu_free_block(&a, of_b[0]);
    gpu_free_block(&a, of_b[1]);
    gpu_open(&a, of_b[2], gpu_block_of(&a, of_b[2])->state.raw_);
    free_now(&a, s2);
    free_now(&a, l1);
    for (int i = 0; i < 9; i++)
        free_now(&a, refs[i]);
    gpu_close(&a, of_b[2]);
    uint64_t start; /* a claim that meets somebody else's units half-way */
    if (gpu_run_find(&a, 6, false, &start) && gpu_run_claim(&a, start + 3, 1)) {
        gpu_run_publish(&a, start + 3, 1, GPU_LARGE);
        cr_assert_not(gpu_run_claim(&a, start, 6));
        gpu_run_release(&a, start + 3);
    }
    alloc(&a, 9 << 20);
    gpu_trim(&a);
    free_now(&a, s1);
}

static bool finished(int status)
{
    return WIFEXITED(status) && WEXITSTATUS(status) == 77;
}

/* Dies before its n-th shared write; false: it had less to do. */
static bool a_dies_at(long n)
{
    pid_t pid = fork();
    if (pid == 0) {
        cut_at = n;
        writes = 0;
        life_of_a();
        _exit(77);
    }
    int status;
    waitpid(pid, &status, 0);
    cr_assert(WIFEXITED(status), "died of signal %d at write %ld", WTERMSIG(status), n);
    shared->ended[0] = id_of(0);
    return !finished(status);
}

static struct gpu_seg b_lives(void)
{
    area_make();
    struct gpu_seg b = member(1);
    chunk_make(&b, 0), chunk_make(&b, 1);
    of_b[0] = alloc(&b, 2000), of_b[1] = alloc(&b, 2 << 20), of_b[2] = alloc(&b, 1 << 20);
    gpu_block_of(&b, of_b[2])->info.raw_ |= (uint64_t)GPU_EXPORTED << 48;
    return b;
}

static void b_ends_clean(struct gpu_seg *b, long n)
{
    for (uint32_t c = 0; c < CHUNKS; c++)
        b->usable[c] = word_state(b->chunks[c].word.raw_) == (enum chunk_state)GPU_READY;
    gpu_sweep(b);
    b->me->pending[0].raw_ = 1; /* the hint may have died with its giver */
    collect_now(b);
    for (int i = 0; i < 3; i++)
        free_now(b, of_b[i]);
    cr_assert_eq(gpu_used(b), 0, "%lu bytes lost, death at write %ld", gpu_used(b), n);
    gpu_trim(b);
    cr_assert_eq(units_taken(b), 0, "%u units lost, death at write %ld", units_taken(b), n);
    cr_assert_neq(alloc(b, 2 * CHUNK_UNITS * GPU_UNIT_BYTES), GPU_NO_REF, "death at write %ld", n);
    gpu_seg_private_drop(b);
}

Test(gpu_core, death_before_any_shared_write_costs_nothing, .timeout = 100)
{
    for (long n = 1;; n++) {
        struct gpu_seg b = b_lives();
        bool died = a_dies_at(n);
        b_ends_clean(&b, n);
        if (!died) {
            cr_assert_gt(n, 300);
            break;
        }
    }
}

/* Who puts the dead in order dies as well, and a third goes on from there. */
Test(gpu_core, death_while_sweeping_costs_nothing, .timeout = 100)
{
    for (long n = 40; n < 900; n += 170)
        for (long m = 1;; m++) {
            struct gpu_seg b = b_lives();
            a_dies_at(n);
            pid_t pid = fork();
            if (pid == 0) {
                struct gpu_seg c = member(2);
                cut_at = m;
                gpu_sweep(&c);
                _exit(77);
            }
            int status;
            waitpid(pid, &status, 0);
            shared->ended[1] = id_of(2);
            b_ends_clean(&b, n * 1000 + m);
            if (finished(status))
                break;
        }
}

Test(gpu_core, each_site_was_passed, .timeout = 100)
{
    static const char *const names[] = {
#define SITE(id, found, repaired_by) #id,
#include "allocators/sites.def"
#undef SITE
    };
    struct gpu_seg b = b_lives();
    memset(shared->passed, 0, sizeof shared->passed);
    a_dies_at(1000000);
    b_ends_clean(&b, 0);
    char missing[500] = "";
    for (int i = 0; i < SITE_COUNT; i++)
        /* the three are passed with a driver only: test_gpu_death.c */
        if (strncmp(names[i], "gpu_", 4) == 0 && !shared->passed[i])
            strcat(strcat(missing, " "), names[i]);
    cr_assert_str_eq(missing, " gpu_begin gpu_member gpu_chunk");
}
