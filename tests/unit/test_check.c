#include "allocators/adopt.h"
#include "allocators/check.h"
#include "allocators/recover.h"
#include "allocators/stats.h"
#include "tests/unit/heap_fixture.h"

#include <criterion/criterion.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define assert_sound(file)                                                                         \
    do {                                                                                           \
        const char *damage = fixture_damage(file, NULL);                                           \
        cr_assert(damage == NULL, "%s", damage);                                                   \
    } while (0)
#define assert_found(what)                                                                         \
    do {                                                                                           \
        const char *damage = fixture_damage(copied, NULL);                                         \
        cr_assert(damage != NULL, "nothing found");                                                \
        cr_assert_str_eq(damage, what);                                                            \
    } while (0)

static const char *copied;

static void *take(size_t n)
{
    void *block = heap_malloc(fixture_cache(), n);
    cr_assert(block);
    memset(block, 0x5a, n);
    return block;
}

static void give(void *block)
{
    heap_free(fixture_cache(), block);
}

/* ---- sound segments ------------------------------------------------------------------ */

Test(check, new_segment_is_sound)
{
    struct check_result r;
    fixture_heap();
    cr_assert_null(fixture_damage(fixture_path(), &r));
    cr_assert_eq(r.notes, 0);
    cr_assert_eq(r.blocks, 0);
}

Test(check, segment_with_blocks_of_every_class_is_sound)
{
    struct check_result r;
    void *block[CLASS_COUNT];
    for (unsigned cls = 0; cls < CLASS_COUNT; cls++)
        block[cls] = take(class_bytes(cls));
    cr_assert_null(fixture_damage(fixture_path(), &r));
    cr_assert_eq(r.blocks, CLASS_COUNT);
    cr_assert_eq(r.notes, 0);
    for (unsigned cls = 0; cls < CLASS_COUNT; cls++)
        give(block[cls]);
    cr_assert_null(fixture_damage(fixture_path(), &r));
    cr_assert_eq(r.blocks, 0);
    cr_assert_eq(r.notes, 0);
}

Test(check, segment_with_large_and_huge_blocks_is_sound)
{
    static const size_t sizes[] = { 40000, 70000, 1 << 20, 2 << 20, 3 << 20, 9 << 20 };
    void *block[6];
    struct check_result r;
    for (unsigned i = 0; i < 6; i++)
        block[i] = take(sizes[i]);
    cr_assert_null(fixture_damage(fixture_path(), &r));
    cr_assert_eq(r.notes, 0);
    for (unsigned i = 0; i < 6; i++)
        give(block[i]);
    cr_assert_null(fixture_damage(fixture_path(), &r));
    cr_assert_eq(r.notes, 0);
}

static void churn(unsigned rounds)
{
    void *block[500] = { 0 };
    for (unsigned i = 0; i < rounds; i++) {
        unsigned at = (unsigned)rand() % 500;
        if (block[at])
            give(block[at]);
        unsigned kind = (unsigned)rand() % 100;
        size_t most = kind < 80 ? 600 : kind < 98 ? 40000 : 1 << 18;
        block[at] = rand() % 3 ? take((size_t)rand() % most + 1) : NULL;
        if (block[at] && rand() % 8 == 0) {
            block[at] = heap_realloc(fixture_cache(), block[at], (size_t)rand() % most + 1);
            cr_assert(block[at]);
        }
    }
}

Test(check, segment_is_sound_after_much_use)
{
    struct check_result r;
    churn(20000);
    cr_assert_null(fixture_damage(fixture_path(), &r));
    cr_assert_eq(r.notes, 0);
}

Test(check, looking_commits_no_memory)
{
    struct stat before, after;
    churn(3000);
    heap_trim(fixture_cache());
    stat(fixture_path(), &before);
    assert_sound(fixture_path());
    fixture_stats(fixture_path());
    stat(fixture_path(), &after);
    cr_assert_eq(before.st_blocks, after.st_blocks);
}

static void *churn_for_ever(void *stop)
{
    struct thread_cache *tc = cache_make(fixture_heap());
    void *block[300] = { 0 };
    unsigned seed = 1;
    while (!__atomic_load_n((bool *)stop, __ATOMIC_RELAXED)) {
        unsigned at = (unsigned)rand_r(&seed) % 300;
        if (block[at])
            heap_free(tc, block[at]);
        size_t most = rand_r(&seed) % 100 ? 2000 : 1 << 22;
        block[at] = heap_malloc(tc, (size_t)rand_r(&seed) % most + 1);
    }
    for (unsigned i = 0; i < 300; i++)
        if (block[i])
            heap_free(tc, block[i]);
    cache_end(tc);
    return NULL;
}

Test(check, segment_in_busy_use_is_not_taken_for_damaged)
{
    pthread_t threads[2];
    bool stop = false;
    fixture_heap();
    for (unsigned i = 0; i < 2; i++)
        pthread_create(&threads[i], NULL, churn_for_ever, &stop);
    for (unsigned i = 0; i < 30; i++)
        assert_sound(fixture_path());
    __atomic_store_n(&stop, true, __ATOMIC_RELAXED);
    for (unsigned i = 0; i < 2; i++)
        pthread_join(threads[i], NULL);
    assert_sound(fixture_path());
    cr_assert_eq(fixture_stats(fixture_path())->used.blocks, 0);
}

Test(check, remote_frees_are_sound)
{
    static void *block[2000];
    struct check_result r;
    for (unsigned i = 0; i < 2000; i++)
        block[i] = take(100);
    struct thread_cache *other = cache_make(fixture_heap());
    for (unsigned i = 0; i < 2000; i += 2)
        heap_free(other, block[i]);
    cr_assert_null(fixture_damage(fixture_path(), &r));
    cr_assert_eq(r.blocks, 1000);
    cr_assert_eq(r.notes, 0);
}

/* ---- statistics ------------------------------------------------------------------------- */

Test(stats, used_is_what_was_allocated)
{
    const struct stats *s;
    take(16);
    take(100);
    take(40000);
    take(5 << 20);
    s = fixture_stats(fixture_path());
    cr_assert_eq(s->used.blocks, 4);
    cr_assert_eq(s->small.bytes, 16 + 112);
    cr_assert_eq(s->large.bytes, 40960);
    cr_assert_eq(s->huge.bytes, 5 << 20);
    cr_assert_eq(s->used.bytes, 16 + 112 + 40960 + (5 << 20));
    cr_assert_eq(s->members[0].used.bytes, s->used.bytes);
    cr_assert_eq(s->classes[0].blocks, 1);
    cr_assert_eq(s->kept.blocks, 0);
    cr_assert_eq(s->members_alive, 1);
    cr_assert_eq(s->dead_members, 0);
}

Test(stats, blocks_freed_by_others_are_free)
{
    void *block = take(48);
    take(48);
    struct thread_cache *other = cache_make(fixture_heap());
    heap_free(other, block);
    cr_assert_eq(fixture_stats(fixture_path())->used.blocks, 1);
}

Test(stats, committed_is_what_the_ledger_says)
{
    struct heap *h = fixture_heap();
    churn(5000);
    cr_assert_eq(fixture_stats(fixture_path())->committed_bytes, get(h->header->charged) * OS_PAGE);
}

/* ---- death ------------------------------------------------------------------------------------ */

/* A member that leaves 'n' blocks of each of some sizes, and some large ones, and is killed; or
 * was about to end by _exit(). */
static void die_with(unsigned n, bool large_ones, bool reclaim, bool quits)
{
    fixture_heap();
    pid_t child = fork();
    if (child == 0) {
        fixture_join(reclaim);
        struct thread_cache *tc = fixture_cache();
        for (unsigned i = 0; i < n; i++) {
            heap_malloc(tc, 64);
            heap_free(tc, heap_malloc(tc, 500));
            heap_malloc(tc, 3000);
            if (large_ones && i < 3)
                heap_malloc(tc, 100000);
            if (large_ones && i == 0)
                heap_malloc(tc, 5 << 20);
        }
        if (quits)
            member_quits(tc->heap);
        kill(getpid(), SIGKILL);
    }
    int status;
    cr_assert_eq(waitpid(child, &status, 0), child);
    cr_assert(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL, "status %x", (unsigned)status);
}

static void die_with_blocks(unsigned n, bool reclaim)
{
    die_with(n, true, reclaim, false);
}

Test(recovery, dead_member_is_told_before_it_is_recovered)
{
    die_with_blocks(10, false);
    const struct stats *s = fixture_stats(fixture_path());
    cr_assert_eq(s->dead_members, 1);
    cr_assert_eq(s->dead.blocks, 24);
    cr_assert_eq(s->kept.blocks, 0);
    assert_sound(fixture_path());
}

Test(recovery, what_a_dead_member_left_is_kept)
{
    struct heap *h = fixture_heap();
    struct check_result r;
    die_with_blocks(10, false);
    cr_assert_eq(recover_dead(h, true), 1);
    const struct stats *s = fixture_stats(fixture_path());
    cr_assert_eq(s->dead_members, 0);
    cr_assert_eq(s->kept_members, 1);
    cr_assert_eq(s->kept.blocks, 24);
    cr_assert_eq(s->kept.bytes, 10 * (64 + 3072) + 3 * 102400 + (5 << 20));
    cr_assert_null(fixture_damage(fixture_path(), &r));
    cr_assert_eq(r.notes, 0);
}

Test(recovery, members_that_reclaim_leave_nothing)
{
    struct heap *h = fixture_heap();
    struct check_result r;
    die_with_blocks(10, true);
    cr_assert_eq(recover_dead(h, true), 1);
    cr_assert_eq(fixture_stats(fixture_path())->used.blocks, 0);
    cr_assert_null(fixture_damage(fixture_path(), &r));
    cr_assert_eq(r.notes, 0);
}

Test(recovery, reclaim_frees_what_is_kept)
{
    struct heap *h = fixture_heap();
    struct check_result r;
    for (unsigned i = 0; i < 3; i++)
        die_with_blocks(200, false);
    cr_assert_eq(recover_dead(h, true), 3);
    cr_assert_eq(fixture_stats(fixture_path())->kept_members, 3);
    uint64_t kept = fixture_stats(fixture_path())->kept.bytes;
    cr_assert_eq(reclaim_kept(fixture_cache()), kept);
    cr_assert_null(fixture_damage(fixture_path(), &r));
    cr_assert_eq(fixture_stats(fixture_path())->used.blocks, 0);
    cr_assert_eq(r.notes, 0);
}

Test(recovery, kept_blocks_survive_in_adopted_pages)
{
    struct heap *h = fixture_heap();
    struct check_result r;
    die_with_blocks(200, false);
    cr_assert_eq(recover_dead(h, true), 1);
    for (unsigned i = 0; i < 3000; i++)
        take(64);
    cr_assert_neq(fixture_stats(fixture_path())->kept.blocks, 0);
    cr_assert_null(fixture_damage(fixture_path(), &r));
    cr_assert_eq(r.notes, 0);
    reclaim_kept(fixture_cache());
    const struct stats *s = fixture_stats(fixture_path());
    cr_assert_eq(s->kept.blocks, 0);
    cr_assert_eq(s->used.blocks, 3000);
    assert_sound(fixture_path());
}

/* Members with more blocks that stay than one chunk has slices for: full orphans. */
Test(recovery, what_ended_members_left_serves_before_new_chunks_do)
{
    for (unsigned i = 0; i < 20; i++) {
        die_with(i ? 10 : 3500, false, false, true);
        cr_assert_eq(recover_dead(fixture_heap(), true), 1);
    }
    const struct stats *s = fixture_stats(fixture_path());
    cr_assert_leq(s->chunks[CHUNK_OWNED] + s->chunks[CHUNK_ORPHAN], 6, "%lu owned, %lu orphans",
                  s->chunks[CHUNK_OWNED], s->chunks[CHUNK_ORPHAN]);
    assert_sound(fixture_path());
}

/* A living member whose facts say that this very process has been it, since 'start'. */
static uint64_t quits_if_it_was_us_since(uint64_t start)
{
    struct heap *h = fixture_heap();
    int go[2];
    char c;
    cr_assert_eq(pipe(go), 0);
    pid_t child = fork();
    if (child == 0) {
        fixture_join(false);
        write(go[1], "r", 1);
        pause();
    }
    cr_assert_eq(read(go[0], &c, 1), 1);
    struct seg_member *m = &h->members[1];
    put(member_facts, m->pid, (uint64_t)getpid());
    put(member_facts, m->start_ns, start);
    cr_assert_eq(recover_dead(h, false), 0, "it lives");
    uint64_t quits = get(m->quits);
    kill(child, SIGKILL);
    waitpid(child, NULL, 0);
    return quits;
}

/* The parent holds a child's lock for a moment longer than its fork takes: after the child's
 * exec() the new program finds it held. */
Test(recovery, a_process_that_was_a_member_before_exec_says_that_this_one_is_going)
{
    cr_assert_eq(quits_if_it_was_us_since(os_now_ns()), 1);
}

Test(recovery, a_namesake_from_before_this_process_is_somebody_else)
{
    cr_assert_eq(quits_if_it_was_us_since(1), 0);
}

/* ---- planted damage --------------------------------------------------------------------------- */

static void *small, *freed, *large, *huge;

static void plant(void)
{
    small = take(64);
    freed = take(64);
    take(64);
    give(freed);
    large = take(100000);
    huge = take(5 << 20);
    copied = fixture_copy();
    struct check_result r;
    cr_assert_null(fixture_damage(copied, &r));
    cr_assert_eq(r.notes, 0);
}

TestSuite(damage, .init = plant);

#define RECORD fixture_cache()->record_off

#define HEADER(field)       offsetof(struct seg_header, field)
#define SLICE(block, field) (fixture_slice_off(block) + offsetof(struct slice, field))
#define CHUNK(block, field) (fixture_chunk_off(block) + offsetof(struct chunk, field))

Test(damage, overwritten_magic_is_found)
{
    fixture_poke64(0, 12345);
    assert_found("it is not a segment");
}

Test(damage, wrong_table_offset_is_found)
{
    fixture_poke64(HEADER(slices_off), 4096);
    assert_found("its header is damaged");
}

Test(damage, wrong_segment_state_is_found)
{
    fixture_poke64(HEADER(state), 77);
    assert_found("its header is damaged");
}

Test(damage, truncated_file_is_found)
{
    cr_assert_eq(truncate(copied, 40 << 20), 0);
    assert_found("its file has been truncated");
}

Test(damage, wrong_member_state_is_found)
{
    fixture_poke64(SEG_MEMBERS_OFF, 99);
    assert_found("a member's state is none");
}

Test(damage, wrong_step_in_hand_is_found)
{
    fixture_poke64(RECORD + offsetof(struct thread_record, step), 0xfff0 | 9);
    assert_found("a step in hand is none");
}

Test(damage, chunk_of_nobody_is_found)
{
    fixture_poke64(CHUNK(small, word), LAYOUT_CHUNK_WORD(CHUNK_OWNED, member_id_make(7, 3), 0));
    assert_found("a chunk's owner is no member any more");
}

Test(damage, unknown_chunk_state_is_found)
{
    fixture_poke64(CHUNK(small, word), 13);
    assert_found("a chunk's state is none");
}

Test(damage, huge_block_without_its_parts_is_found)
{
    fixture_poke64(CHUNK(huge, word) + sizeof(struct chunk), 0);
    assert_found("a huge block has a chunk that is no part of it");
}

Test(damage, part_of_no_huge_block_is_found)
{
    uint64_t part = CHUNK(huge, word) + 2 * sizeof(struct chunk);
    fixture_poke64(HEADER(chunk_high), fixture_peek64(HEADER(chunk_high)) + 1);
    fixture_poke64(part, LAYOUT_CHUNK_WORD(CHUNK_PART, member_id_make(7, 3), 0));
    assert_found("a chunk is part of no huge block, and of a member that has ended");
}

Test(damage, huge_block_of_wrong_size_is_found)
{
    fixture_poke64(SLICE(huge, bytes), UINT64_C(1) << 40);
    assert_found("a huge block's size is wrong");
}

Test(damage, wrong_free_slices_are_found)
{
    fixture_poke64(CHUNK(small, free_slices), ~UINT64_C(0));
    assert_found("a slice in use is taken for free");
}

Test(damage, unknown_slice_kind_is_found)
{
    fixture_poke(SLICE(small, kind), "\x09", 1);
    assert_found("a slice's kind is none");
}

Test(damage, page_longer_than_its_chunk_is_found)
{
    fixture_poke(SLICE(small, span), "\xff\0\0\0", 4);
    assert_found("a page or block leaves its chunk");
}

Test(damage, large_block_that_lacks_a_slice_is_found)
{
    fixture_poke(SLICE(large, kind) + sizeof(struct slice), "\0", 1);
    assert_found("a page or block lacks a slice");
}

Test(damage, large_block_of_no_stamp_is_found)
{
    fixture_poke(SLICE(large, remote), "\x07", 1);
    assert_found("a large block is neither live nor freed");
}

Test(damage, wrong_reciprocal_is_found)
{
    fixture_poke64(SLICE(small, recip), 5);
    assert_found("a page's reciprocal is wrong");
}

Test(damage, too_large_capacity_is_found)
{
    fixture_poke(SLICE(small, capacity), "\xff\xff", 2);
    assert_found("a page has more blocks than fit");
}

Test(damage, page_freed_to_by_a_stranger_is_found)
{
    fixture_poke64(SLICE(small, home), 12345);
    assert_found("a page is freed to by one who does not own it");
}

Test(damage, overwritten_free_list_is_found)
{
    fixture_poke64(off_of(fixture_heap(), freed), 0x4141414141414140 ^ fixture_heap()->link_key);
    assert_found("a list of free blocks leaves the segment");
}

Test(damage, ring_of_free_blocks_is_found)
{
    struct heap *h = fixture_heap();
    fixture_poke64(off_of(h, freed), off_of(h, freed) ^ h->link_key);
    assert_found("a list of free blocks is a ring");
}

Test(damage, block_on_two_lists_is_found)
{
    fixture_poke64(SLICE(small, remote), off_of(fixture_heap(), freed));
    assert_found("a block is on two lists");
}

Test(damage, wrong_count_of_used_blocks_is_found)
{
    fixture_poke(SLICE(small, used), "\x64\0\0\0", 4);
    assert_found("a page's count of used blocks is wrong");
}

Test(damage, uncharged_memory_is_found)
{
    fixture_poke(CHUNK(small, charged), "\0\0\0\0", 4);
    assert_found("a chunk has memory that is not charged");
}

Test(damage, any_byte_may_be_anything)
{
    struct heap *h = fixture_heap();
    uint64_t spots[] = { 0,
                         SEG_MEMBERS_OFF,
                         fixture_chunk_off(small),
                         fixture_chunk_off(huge),
                         fixture_slice_off(small),
                         fixture_slice_off(large),
                         fixture_slice_off(huge),
                         off_of(h, freed) };
    unsigned seed = 7;
    for (unsigned i = 0; i < 3000; i++) {
        uint64_t off = spots[(unsigned)rand_r(&seed) % 8] + (unsigned)rand_r(&seed) % 256;
        uint64_t before = fixture_peek64(off);
        fixture_poke64(off, (uint64_t)rand_r(&seed) << (rand_r(&seed) % 60));
        fixture_damage(copied, NULL);
        fixture_stats(copied);
        fixture_poke64(off, before);
    }
    assert_sound(copied);
}

Test(damage, it_is_found_in_a_segment_in_use)
{
    struct heap *h = fixture_heap();
    h->chunks[off_of(h, small) >> CHUNK_SHIFT].free_slices.raw_ = ~UINT64_C(0);
    const char *found = fixture_damage(fixture_path(), NULL);
    cr_assert(found);
    cr_assert_str_eq(found, "a slice in use is taken for free");
}
