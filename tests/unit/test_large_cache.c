/* The last large blocks that a thread freed serve its next ones: see allocators/large_cache.h. */
#include "allocators/large_cache.h"
#include "tests/unit/heap_fixture.h"

#include <criterion/criterion.h>
#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <unistd.h>

static const struct slice *descriptor(const void *block)
{
    struct heap *h = fixture_heap();
    return &h->slices[off_of(h, block) >> SLICE_SHIFT];
}

static unsigned stamp_of(const void *block)
{
    return get(descriptor(block)->remote) & 0xff;
}

static void assert_sound(void)
{
    struct check_result r;
    const char *damage = fixture_damage(fixture_path(), &r);
    cr_assert_null(damage, "%s", damage);
}

Test(large_cache, block_just_freed_serves_the_next_of_as_many_slices)
{
    struct thread_cache *tc = fixture_cache();
    char *p = heap_malloc(tc, 100000), *other = heap_malloc(tc, 50000);
    memset(p, 7, 100000);
    heap_free(tc, p);
    cr_assert_eq(stamp_of(p), LARGE_CACHED);
    assert_sound();
    cr_assert_neq(heap_malloc(tc, 50000), p, "one slice");
    cr_assert_eq(heap_malloc(tc, 130000), p);
    cr_assert_eq(heap_usable_size(fixture_heap(), p), 131072);
    memset(p, 8, 130000);
    cr_assert_eq(stamp_of(p), LARGE_LIVE);
    heap_free(tc, other);
    assert_sound();
}

/* Counted in slices, in 32 bits, these are as large as what is kept, or nothing at all. */
Test(large_cache, what_no_segment_can_hold_is_refused_all_the_same)
{
    struct thread_cache *tc = fixture_cache();
    for (unsigned shift = 48; shift < 63; shift++) {
        heap_free(tc, heap_malloc(tc, 65536));
        cr_assert_null(heap_malloc(tc, ((size_t)1 << shift) + 65536), "2^%u", shift);
    }
}

Test(large_cache, calloc_clears_a_block_that_was_used_before)
{
    struct thread_cache *tc = fixture_cache();
    char *p = heap_malloc(tc, 65536);
    memset(p, 7, 65536);
    heap_free(tc, p);
    char *q = heap_calloc(tc, 65536);
    cr_assert_eq(p, q);
    for (int i = 0; i < 65536; i++)
        cr_assert_eq(q[i], 0);
}

Test(large_cache, second_free_of_a_block_in_it_is_a_double_free, .signal = SIGABRT)
{
    struct thread_cache *tc = fixture_cache();
    void *p = heap_malloc(tc, 100000);
    unlink(fixture_path()); /* nobody will tidy up */
    heap_free(tc, p);
    heap_free(tc, p);
}

static void *use_and_end(void *p)
{
    struct thread_cache *tc = cache_make(fixture_heap());
    *(void **)p = heap_malloc(tc, 100000);
    heap_free(tc, *(void **)p);
    cache_end(tc);
    return NULL;
}

Test(large_cache, blocks_in_it_are_given_back_when_the_thread_ends)
{
    pthread_t thread;
    void *p;
    fixture_heap();
    pthread_create(&thread, NULL, use_and_end, &p);
    pthread_join(thread, NULL);
    cr_assert_neq(stamp_of(p), LARGE_LIVE);
    cr_assert_eq(get(descriptor(p)->kind), SLICE_FREE);
    assert_sound();
}

Test(large_cache, it_holds_no_more_than_a_mebibyte)
{
    struct thread_cache *tc = fixture_cache();
    void *p[40];
    for (int i = 0; i < 40; i++)
        p[i] = heap_malloc(tc, 200000);
    for (int i = 0; i < 40; i++)
        heap_free(tc, p[i]);
    int cached = 0;
    for (int i = 0; i < 40; i++)
        cached += get(descriptor(p[i])->kind) == SLICE_LARGE && stamp_of(p[i]) == LARGE_CACHED;
    cr_assert_leq(cached * 200000, 1 << 20);
    assert_sound();
}
