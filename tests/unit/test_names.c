/* Names, and blocks that change hands, as their users see them. */
#include "allocators/adopt.h"
#include "allocators/names.h"
#include "allocators/recover.h"
#include "tests/unit/heap_fixture.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

static struct heap *h;
static struct thread_cache *tc, *shared;

static void set_up(void)
{
    h = fixture_heap();
    tc = fixture_cache();
    shared = cache_make_shared(h);
}

static void join_again(bool reclaim)
{
    h = fixture_join(reclaim);
    tc = fixture_cache();
    shared = cache_make_shared(h);
}

/* A member that does something and is gone without a word. */
static void member_dies_after(void (*does)(void), bool reclaim)
{
    fflush(NULL);
    pid_t pid = fork();
    if (pid == 0) {
        join_again(reclaim);
        does();
        _exit(0);
    }
    int status;
    cr_assert(waitpid(pid, &status, 0) == pid && status == 0);
    for (uint64_t i = 0; i < get(h->header->members_high); i++) /* long ago */
        if (&h->members[i] != h->me)
            h->members[i].dead_ms.raw_ = 1;
    recover_dead(h, true);
}

static struct name_info create(const char *name, uint64_t bytes)
{
    struct name_info info;
    bool made;
    cr_assert_eq(name_create(shared, name, bytes, 0, 0, true, &info, &made), 0);
    return info;
}

static uint64_t used_bytes(void)
{
    return fixture_stats(fixture_path())->used.bytes;
}

TestSuite(names, .init = set_up);
TestSuite(handed, .init = set_up);

Test(names, block_is_found_by_its_name_zeroed_and_at_one_address)
{
    struct name_info made = create("a", 100), found;
    cr_assert_eq(name_find(h, "a", 100, 0, NULL, &found), 0);
    cr_assert_eq(found.at, made.at);
    for (int i = 0; i < 100; i++)
        cr_assert_eq(((char *)found.at)[i], 0);
}

Test(names, other_size_or_type_is_an_error)
{
    struct name_info info;
    bool made;
    cr_assert_eq(name_create(shared, "typed", 64, 0, 5, false, &info, &made), 0);
    cr_assert_eq(name_create(shared, "typed", 65, 0, 5, false, &info, &made), -EMSGSIZE);
    cr_assert_eq(name_create(shared, "typed", 64, 0, 6, false, &info, &made), -EPROTOTYPE);
    cr_assert_eq(name_create(shared, "typed", 64, 0, 5, true, &info, &made), -EEXIST);
    cr_assert_eq(name_find(h, "typed", 63, 0, NULL, &info), -EMSGSIZE);
    cr_assert_eq(name_find(h, "typed", 0, 0, NULL, &info), 0);
}

Test(names, that_are_none_are_refused)
{
    struct name_info info;
    char long_name[NAME_BYTES + 1];
    memset(long_name, 'x', NAME_BYTES);
    long_name[NAME_BYTES] = '\0';
    cr_assert_eq(name_find(h, "", 0, 0, NULL, &info), -EINVAL);
    cr_assert_eq(name_find(h, "a\nb", 0, 0, NULL, &info), -EINVAL);
    cr_assert_eq(name_find(h, long_name, 0, 0, NULL, &info), -EINVAL);
    long_name[NAME_BYTES - 1] = '\0';
    create(long_name, 1);
    cr_assert_eq(name_find(h, long_name, 1, 0, NULL, &info), 0);
}

Test(names, hundred_thousand_are_found_each_and_removed_each)
{
    char name[32];
    struct name_info info;
    for (int i = 0; i < 100000; i++) {
        snprintf(name, sizeof name, "block-%d", i);
        *(int *)create(name, sizeof(int)).at = i;
    }
    for (int i = 0; i < 100000; i++) {
        snprintf(name, sizeof name, "block-%d", i);
        cr_assert_eq(name_find(h, name, sizeof(int), 0, NULL, &info), 0);
        cr_assert_eq(*(int *)info.at, i);
    }
    uint64_t high = get(names_of(h)->high);
    for (int round = 0; round < 2; round++)
        for (int i = 0; i < 100000; i++) {
            snprintf(name, sizeof name, "block-%d", i);
            cr_assert_eq(name_remove(tc, name), 0);
            cr_assert_eq(name_find(h, name, 0, 0, NULL, &info), -ENOENT);
            create(name, sizeof(int));
        }
    cr_assert_eq(get(names_of(h)->high), high, "entries are used again");
}

Test(names, more_than_there_is_room_for_are_refused_and_others_stay)
{
    char name[32];
    struct name_info info;
    bool made;
    long rc = 0;
    int n = 0;
    for (; rc == 0 && n < 300000; n++) {
        snprintf(name, sizeof name, "block-%d", n);
        rc = name_create(shared, name, 8, 0, 0, true, &info, &made);
    }
    cr_assert(rc == -ENOSPC || rc == -ENOMEM, "%ld", rc);
    cr_assert_gt(n, 100000);
    cr_assert_eq(name_find(h, "block-7", 8, 0, NULL, &info), 0);
    cr_assert_eq(name_remove(tc, "block-7"), 0);
    create("another", 8);
    cr_assert_null(fixture_damage(fixture_path(), NULL));
}

Test(names, removed_block_is_freed_with_its_last_reference)
{
    struct name_info info = create("counted", 50000), again;
    cr_assert_eq(name_find(h, "counted", 0, 0, tc, &again), 0);
    cr_assert_eq(name_find(h, "counted", 0, 0, tc, &again), 0);
    cr_assert_eq(name_refs(h, info.entry), 2);
    uint64_t before = used_bytes();
    cr_assert_eq(name_remove(tc, "counted"), 0);
    cr_assert_eq(name_find(h, "counted", 0, 0, NULL, &again), -ENOENT);
    cr_assert_eq(name_unref(tc, info.entry), 0);
    cr_assert_eq(used_bytes(), before);
    *(char *)info.at = 1; /* still there */
    cr_assert_eq(name_unref(tc, info.entry), 0);
    cr_assert_lt(used_bytes(), before);
    cr_assert_eq(name_unref(tc, info.entry), -ENOENT);
}

static void refers_to_counted(void)
{
    struct name_info info;
    cr_assert_eq(name_find(h, "counted", 0, 0, tc, &info), 0);
    cr_assert_eq(name_find(h, "counted", 0, 0, tc, &info), 0);
}

Test(names, references_of_the_dead_end_with_them)
{
    struct name_info info = create("counted", 50000);
    member_dies_after(refers_to_counted, false);
    cr_assert_eq(name_refs(h, info.entry), 0);
    uint64_t before = used_bytes();
    cr_assert_eq(name_remove(tc, "counted"), 0);
    cr_assert_lt(used_bytes(), before);
}

static struct name_info removed;
static void refers_to_what_is_removed(void)
{
    struct name_info info;
    cr_assert_eq(name_find(h, "counted", 0, 0, tc, &info), 0);
    cr_assert_eq(name_remove(tc, "counted"), 0);
}

Test(names, removed_block_is_freed_when_the_last_who_referred_to_it_has_died)
{
    removed = create("counted", 50000);
    uint64_t before = used_bytes();
    member_dies_after(refers_to_what_is_removed, false);
    cr_assert_lt(used_bytes(), before);
    create("counted", 50000);
}

static void makes_names(void)
{
    struct name_info info;
    bool stays;
    memset(create("small", 100).at, 1, 100);
    memset(create("large", 100000).at, 2, 100000);
    memset(create("huge", 5000000).at, 3, 5000000);
    char *p = heap_malloc(tc, 300), *q = heap_malloc(tc, 300);
    memset(p, 4, 300);
    memset(q, 5, 300);
    cr_assert_eq(name_publish(tc, "published", p, 300, 0, &info, &stays), 0);
    cr_assert(!stays);
    cr_assert_eq(name_publish(tc, "published", q, 300, 0, &info, &stays), -EEXIST);
    cr_assert_eq(name_publish(tc, "twice", p, 300, 0, &info, &stays), -EBUSY);
    cr_assert_eq(name_publish(tc, "inside", p + 16, 30, 0, &info, &stays), -EINVAL);
    cr_assert_eq(name_publish(tc, "too large", q, 1000, 0, &info, &stays), -EINVAL);
    p = heap_malloc(tc, 200000);
    cr_assert_eq(name_publish(tc, "alone", p, 0, 0, &info, &stays), 0);
    cr_assert(stays && info.bytes >= 200000);
}

static void names_say_what_they_said(void)
{
    static const struct {
        const char *name;
        size_t bytes;
        char byte;
    } all[] = {
        { "small", 100, 1 }, { "large", 100000, 2 }, { "huge", 5000000, 3 }, { "published", 300, 4 }
    };
    struct name_info info;
    for (int i = 0; i < 4; i++) {
        cr_assert_eq(name_find(h, all[i].name, all[i].bytes, 0, NULL, &info), 0, "%s", all[i].name);
        for (size_t k = 0; k < all[i].bytes; k++)
            cr_assert_eq(((char *)info.at)[k], all[i].byte);
    }
}

/* Whatever would be allocated over them. */
static void use_memory(void)
{
    for (int i = 0; i < 5000; i++)
        memset(heap_malloc(i & 1 ? tc : shared, 100 + i % 300), 0xee, 100);
    for (int i = 0; i < 20; i++)
        memset(heap_malloc(tc, 100000), 0xee, 100000);
}

Test(names, survive_their_maker_also_under_reclaim)
{
    member_dies_after(makes_names, true);
    use_memory();
    names_say_what_they_said();
    cr_assert_null(fixture_damage(fixture_path(), NULL));
}

Test(names, survive_their_maker_and_hshm_reclaim)
{
    member_dies_after(makes_names, false);
    reclaim_kept(tc);
    use_memory();
    names_say_what_they_said();
    cr_assert_null(fixture_damage(fixture_path(), NULL));
}

Test(names, of_one_block_is_told_by_its_address)
{
    struct name_info info;
    char text[NAME_BYTES];
    void *p = heap_malloc(tc, 10);
    cr_assert(!name_of(h, p, &info, text));
    cr_assert(name_of(h, create("told", 77).at, &info, text));
    cr_assert_str_eq(text, "told");
    cr_assert_eq(info.bytes, 77);
}

static bool count_name(const char *name, const struct name_info *info, void *ctx)
{
    (void)name;
    *(uint64_t *)ctx += info->bytes;
    return true;
}

Test(names, are_listed)
{
    uint64_t sum = 0;
    create("a", 1), create("b", 10), create("c", 100);
    name_remove(tc, "b");
    names_each(h, count_name, &sum);
    cr_assert_eq(sum, 101);
}

#define RACERS 6
#define RACES  300
Test(names, made_by_several_at_once_are_made_once)
{
    struct {
        int made[RACES], started;
        void *at[RACES];
    } *race = mmap(NULL, sizeof *race, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    fflush(NULL);
    for (int r = 0; r < RACERS; r++)
        if (fork() == 0) {
            join_again(r & 1);
            __atomic_fetch_add(&race->started, 1, __ATOMIC_SEQ_CST);
            while (__atomic_load_n(&race->started, __ATOMIC_SEQ_CST) < RACERS)
                usleep(100);
            for (int i = 0; i < RACES; i++) {
                char name[16];
                struct name_info info;
                bool made;
                snprintf(name, sizeof name, "r%d", i);
                long rc = name_create(shared, name, 40, 0, 0, false, &info, &made);
                void *none = NULL;
                __atomic_fetch_add(&race->made[i], made, __ATOMIC_SEQ_CST);
                if (rc != 0 || (!__atomic_compare_exchange_n(&race->at[i], &none, info.at, false,
                                                             __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST) &&
                                none != info.at))
                    _exit(1);
            }
            _exit(0);
        }
    int status;
    for (int r = 0; r < RACERS; r++)
        cr_assert(wait(&status) > 0 && status == 0);
    for (int i = 0; i < RACES; i++)
        cr_assert_eq(race->made[i], 1);
}

Test(names, made_and_removed_by_several_at_once_leave_nothing)
{
    uint64_t before = used_bytes();
    fflush(NULL);
    for (int r = 0; r < RACERS; r++)
        if (fork() == 0) {
            join_again(true);
            unsigned seed = (unsigned)r + 1;
            for (int i = 0; i < 4000; i++) {
                char name[16];
                struct name_info info;
                bool made;
                snprintf(name, sizeof name, "r%u", (seed = seed * 1103515245 + 12345) >> 16 & 7);
                long rc = seed & 1 ? name_create(shared, name, 40, 0, 0, false, &info, &made)
                                   : name_remove(tc, name);
                if (rc != 0 && rc != -ENOENT)
                    _exit(1);
                if (name_find(h, name, 0, 0, tc, &info) == 0) {
                    if (*(int *)info.at < 0 || name_unref(tc, info.entry) != 0)
                        _exit(2);
                }
            }
            _exit(0);
        }
    int status;
    for (int r = 0; r < RACERS; r++)
        cr_assert(wait(&status) > 0 && status == 0, "%#x", (unsigned)status);
    recover_dead(h, true);
    for (int i = 0; i < 8; i++) {
        char name[16];
        snprintf(name, sizeof name, "r%d", i);
        name_remove(tc, name);
    }
    heap_trim(tc);
    cr_assert_eq(used_bytes(), before);
    cr_assert_null(fixture_damage(fixture_path(), NULL));
}

/* ---- handing over -------------------------------------------------------------------- */

static void *box; /* in the segment: where the blocks are */
static void gives(void)
{
    void **to = box;
    to[0] = heap_malloc(tc, 40), memset(to[0], 1, 40);
    to[1] = heap_malloc(tc, 90000), memset(to[1], 2, 90000);
    to[2] = heap_malloc(tc, 5000000), memset(to[2], 3, 5000000);
    to[3] = heap_malloc(tc, 40);
    for (int i = 0; i < 3; i++)
        cr_assert_eq(block_give(h, to[i]), 0);
    cr_assert_eq(block_give(h, to[0]), -EALREADY);
    cr_assert_eq(block_give(h, (char *)to[0] + 16), -EINVAL);
}

static void takes(void)
{
    void **to = box;
    for (int i = 0; i < 3; i++)
        cr_assert_eq(block_take(h, to[i]), 0);
    cr_assert_eq(block_take(h, to[0]), -EAGAIN);
}

static void given_is_whole(void)
{
    void **to = box;
    static const size_t bytes[] = { 40, 90000, 5000000 };
    for (int i = 0; i < 3; i++)
        for (size_t k = 0; k < bytes[i]; k++)
            cr_assert_eq(((char *)to[i])[k], i + 1);
}

Test(handed, block_outlives_its_giver_and_waits_for_a_taker)
{
    box = create("box", 64).at;
    member_dies_after(gives, true);
    use_memory();
    given_is_whole();
    uint64_t before = used_bytes();
    for (int i = 0; i < 3; i++) {
        cr_assert_eq(block_take(h, ((void **)box)[i]), 0);
        heap_free(tc, ((void **)box)[i]);
    }
    heap_trim(tc);
    cr_assert_lt(used_bytes(), before - 5000000);
    cr_assert_null(fixture_damage(fixture_path(), NULL));
}

Test(handed, block_ends_with_its_taker_under_reclaim)
{
    box = create("box", 64).at;
    uint64_t before = used_bytes();
    gives();
    member_dies_after(takes, true);
    heap_free(tc, ((void **)box)[3]);
    heap_trim(tc);
    cr_assert_eq(used_bytes(), before);
}

Test(handed, block_of_a_taker_that_ended_is_kept_until_reclaim)
{
    box = create("box", 64).at;
    uint64_t before = used_bytes();
    gives();
    member_dies_after(takes, false);
    given_is_whole();
    heap_free(tc, ((void **)box)[3]);
    cr_assert_gt(used_bytes(), before + 5000000);
    reclaim_kept(tc);
    heap_trim(tc);
    cr_assert_eq(used_bytes(), before);
}

static void gives_what_it_took(void)
{
    takes();
    for (int i = 0; i < 3; i++)
        cr_assert_eq(block_give(h, ((void **)box)[i]), 0);
}

Test(handed, block_goes_on_from_hand_to_hand)
{
    box = create("box", 64).at;
    member_dies_after(gives, true);
    for (int i = 0; i < 3; i++)
        member_dies_after(gives_what_it_took, i & 1);
    use_memory();
    given_is_whole();
    takes();
    for (int i = 0; i < 3; i++)
        heap_free(tc, ((void **)box)[i]);
}

Test(handed, block_that_came_back_is_like_any_other)
{
    void *p = heap_malloc(tc, 40);
    struct slice *d = heap_block(h, p);
    cr_assert_eq(block_give(h, p), 0);
    cr_assert_eq(get(d->home), HOME_NOBODY);
    cr_assert_eq(block_take(h, p), 0);
    cr_assert_eq(get(d->registered), 0);
    heap_free(tc, p);
    cr_assert_neq(get(d->home), HOME_NOBODY, "frees take the fast path again");
}

static void *on_offer;
static void *takes_at_once(void *none)
{
    for (void *p; (p = __atomic_load_n(&on_offer, __ATOMIC_ACQUIRE)) != &on_offer;)
        if (p && block_take(h, p) == 0)
            __atomic_store_n(&on_offer, NULL, __ATOMIC_RELEASE);
    return none;
}

/* Somebody may take it before give() has returned: it was given all the same. */
Test(handed, block_taken_at_once_was_given)
{
    pthread_t taker;
    void *p = heap_malloc(tc, 40);
    cr_assert_eq(pthread_create(&taker, NULL, takes_at_once, NULL), 0);
    for (int i = 0; i < 20000; i++) {
        __atomic_store_n(&on_offer, p, __ATOMIC_RELEASE);
        cr_assert_eq(block_give(h, p), 0, "round %d", i);
        while (__atomic_load_n(&on_offer, __ATOMIC_ACQUIRE))
            sched_yield();
    }
    __atomic_store_n(&on_offer, &on_offer, __ATOMIC_RELEASE);
    pthread_join(taker, NULL);
    cr_assert_eq(get(heap_block(h, p)->registered), 0);
}

/* Who asks reads descriptors and links while they are made: a race on purpose, which is looked at
 * twice and by what it leads to, and nothing that ThreadSanitizer could judge. */
#ifndef UNDER_TSAN
static bool asks_on;
static void *asks_for(void *p)
{
    while (__atomic_load_n(&asks_on, __ATOMIC_RELAXED))
        for (uint64_t i = 0; i < 8; i++)
            block_take(h, (char *)p + i * SLICE_BYTES);
    return NULL;
}

/* Whoever comes too late asks for memory that is other pages by then, or is about to be. */
Test(handed, pointers_that_are_none_any_more_are_no_damage)
{
    static const size_t sizes[] = { 16, 20000, 100, 30000, 200000, 6000 };
    pthread_t late;
    void *p = heap_memalign(tc, SLICE_BYTES, 70000);
    heap_free(tc, p);
    asks_on = true;
    cr_assert_eq(pthread_create(&late, NULL, asks_for, p), 0);
    for (int i = 0; i < 20000 && !h->unusable; i++) {
        void *blocks[4];
        for (int k = 0; k < 4; k++)
            blocks[k] = heap_malloc(tc, sizes[(i + k) % 6]);
        for (int k = 0; k < 4; k++)
            heap_free(tc, blocks[k]);
        cache_sweep_all(tc);
    }
    asks_on = false;
    pthread_join(late, NULL);
    cr_assert(!h->unusable);
}
#endif

static int named_it;
static void *names_it(void *p)
{
    struct name_info info;
    bool stays;
    named_it = name_publish(fixture_cache(), "other", p, 0, 0, &info, &stays) == 0;
    return NULL;
}

/* Two at once: one of them has it, or neither. */
Test(handed, block_given_and_named_at_once_is_one_of_the_two)
{
    for (int i = 0; i < 5000; i++) {
        pthread_t namer;
        void *p = heap_malloc(tc, 40);
        cr_assert_eq(pthread_create(&namer, NULL, names_it, p), 0);
        int given = block_give(h, p) == 0;
        pthread_join(namer, NULL);
        cr_assert(given + named_it < 2, "round %d", i);
        if (named_it)
            cr_assert_eq(name_remove(tc, "other"), 0);
        else if (given)
            cr_assert_eq(block_take(h, p), 0);
        if (!named_it)
            heap_free(tc, p);
    }
}

Test(handed, hundred_thousand_blocks_at_once)
{
    static void *blocks[100000];
    for (int i = 0; i < 100000; i++) {
        blocks[i] = heap_malloc(tc, 16);
        cr_assert_eq(block_give(h, blocks[i]), 0);
    }
    for (int i = 0; i < 100000; i++) {
        cr_assert_eq(block_take(h, blocks[i]), 0);
        heap_free(tc, blocks[i]);
    }
}

Test(handed, pages_of_named_blocks_are_not_given_to_others)
{
    /* An ended member's pages with room: those of names serve names only. */
    member_dies_after(makes_names, false);
    struct guard g = heap_lock(h);
    while (adopt_chunk(h, 0, 0))
        ;
    heap_unlock(h, g);
    for (int i = 0; i < 2000; i++) {
        void *p = heap_malloc(tc, 100);
        cr_assert_eq(get(heap_block(h, p)->shared), 0);
    }
    cr_assert_eq(get(heap_block(h, create("another", 100).at)->shared), 1);
}
