/* Threads share a heap: each allocates from its own cache, frees what others made, ends, and leaves
 * its cache to the next.  Under ThreadSanitizer this is the test of what is lock-free. */
#include "tests/unit/heap_fixture.h"

#include "allocators/alloc.h"
#include "allocators/thread_cache.h"

#include <criterion/criterion.h>
#include <pthread.h>
#include <string.h>

enum { THREADS = 4, SLOTS = 256 };

#if defined(UNDER_TSAN)
enum { STEPS = 4000 };
#else
enum { STEPS = 40000 };
#endif

struct block {
    uint32_t size, seed;
    unsigned char bytes[];
};

static struct block *slots[SLOTS];

static uint32_t next(uint32_t *state)
{
    *state = *state * 1664525 + 1013904223;
    return *state >> 8;
}

static uint32_t size_any(uint32_t *state)
{
    uint32_t dice = next(state) % 1000, n = next(state);
    return (uint32_t)sizeof(struct block) + (dice < 900   ? n % 1000
                                             : dice < 990 ? n % 30000
                                             : dice < 998 ? n % 300000
                                                          : n % 5000000);
}

static void fill(struct block *b, uint32_t size, uint32_t seed)
{
    b->size = size;
    b->seed = seed;
    for (uint32_t i = 0; i < size - sizeof *b; i += i < 100 ? 1 : 999)
        b->bytes[i] = (unsigned char)(seed + i);
}

static void verify(const struct block *b, uint32_t size)
{
    for (uint32_t i = 0; i < size - sizeof *b; i += i < 100 ? 1 : 999)
        cr_assert_eq(b->bytes[i], (unsigned char)(b->seed + i));
}

static struct block *make(struct thread_cache *tc, uint32_t *state)
{
    uint32_t size = size_any(state), dice = next(state) % 8;
    struct block *b = dice == 0   ? heap_calloc(tc, size)
                      : dice == 1 ? heap_memalign(tc, 256, size)
                                  : heap_malloc(tc, size);
    if (b) {
        cr_assert_leq(size, heap_usable_size(tc->heap, b));
        cr_assert(dice != 0 || (b->size == 0 && b->bytes[size - sizeof *b - 1] == 0) ||
                  size == sizeof *b);
        fill(b, size, next(state));
    }
    return b;
}

static void end(struct thread_cache *tc, struct block *b)
{
    if (!b)
        return;
    verify(b, b->size);
    heap_free(tc, b);
}

/* Exchanges a new block for whatever lies in a slot, and frees that, or resizes it before. */
static void exchange(struct thread_cache *tc, uint32_t *state)
{
    struct block *old = __atomic_exchange_n(
        &slots[next(state) % SLOTS], next(state) % 3 ? make(tc, state) : NULL, __ATOMIC_ACQ_REL);
    if (old && next(state) % 4 == 0) {
        uint32_t had = old->size, size = size_any(state);
        struct block *b = heap_realloc(tc, old, size);
        if (b) {
            verify(b, had < size ? had : size);
            fill(b, size, next(state));
            old = b;
        }
    }
    end(tc, old);
}

static void *exchange_all(void *seed)
{
    struct thread_cache *tc = cache_make(fixture_heap());
    uint32_t state = (uint32_t)(uintptr_t)seed;
    cr_assert(tc);
    for (int i = 0; i < STEPS; i++)
        exchange(tc, &state);
    cache_end(tc);
    return NULL;
}

static void *exchange_and_end(void *seed)
{
    uint32_t state = (uint32_t)(uintptr_t)seed;
    for (int round = 0; round < 40; round++) {
        struct thread_cache *tc = cache_make(fixture_heap());
        cr_assert(tc);
        for (int i = 0; i < STEPS / 40; i++)
            exchange(tc, &state);
        cache_end(tc);
    }
    return NULL;
}

/* Blocks of their own, and none of others. */
static void *alone(void *seed)
{
    struct thread_cache *tc = cache_make(fixture_heap());
    struct block *mine[50] = { NULL };
    uint32_t state = (uint32_t)(uintptr_t)seed;
    for (int i = 0; i < STEPS; i++) {
        uint32_t at = next(&state) % 50;
        end(tc, mine[at]);
        mine[at] = make(tc, &state);
    }
    for (int i = 0; i < 50; i++)
        end(tc, mine[i]);
    cache_end(tc);
    return NULL;
}

static void in_threads(void *(*run)(void *))
{
    pthread_t threads[THREADS];
    fixture_heap();
    for (uintptr_t i = 0; i < THREADS; i++)
        cr_assert_eq(pthread_create(&threads[i], NULL, run, (void *)(i + 1)), 0);
    for (int i = 0; i < THREADS; i++)
        cr_assert_eq(pthread_join(threads[i], NULL), 0);
    for (int i = 0; i < SLOTS; i++)
        end(fixture_cache(), slots[i]);
    cr_assert_null(fixture_damage(fixture_path(), NULL));
    cr_assert_eq(fixture_stats(fixture_path())->used.blocks, 0);
}

Test(threads, allocate_side_by_side)
{
    in_threads(alone);
}

Test(threads, free_what_others_have_made)
{
    in_threads(exchange_all);
}

Test(threads, leave_their_caches_to_others)
{
    in_threads(exchange_and_end);
}
