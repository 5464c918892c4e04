// mixed COUNT [THREADS]: each thread replaces random blocks among 1,000 of 16 B..1 MiB (every octave as
// likely), resizes one in eight and calls calloc for one in eight; at times it hands a block to the
// next thread, who frees it: small, medium and large blocks at once.
#include "bench.h"

#include <pthread.h>
#include <stdatomic.h>

enum { LIVE = 1000, MOST_THREADS = 64 };

static uint64_t count, threads;
static _Atomic(void *) handed[MOST_THREADS];
static _Atomic uint64_t total;

static void *mix(void *argument)
{
    uint64_t self = (uintptr_t)argument, sum = 0;
    struct rng r = rng_seed(19 + self);
    void **blocks = checked(calloc(LIVE, sizeof *blocks));
    size_t *sizes = checked(calloc(LIVE, sizeof *sizes));
    for (uint64_t i = 0; i < count; i++) {
        uint64_t at = rng_range(&r, 0, LIVE - 1), dice = rng_next(&r);
        size_t size = rng_log_size(&r, 16, 1 << 20);
        if (blocks[at])
            sum += first_word(blocks[at]);
        if (dice % 8 == 0) {
            blocks[at] = opaque(checked(realloc(blocks[at], size)));
        } else {
            if (dice % 8 == 1 && threads > 1) // what was left there by somebody is ours to free
                blocks[at] = atomic_exchange(&handed[(self + 1) % threads], blocks[at]);
            free(blocks[at]);
            blocks[at] = dice % 8 == 2 ? opaque(checked(calloc(1, size))) : get(size);
        }
        touch(blocks[at], size, i);
        sizes[at] = size;
    }
    for (uint64_t at = 0; at < LIVE; at++) {
        if (blocks[at])
            sum += read_back(blocks[at], sizes[at]);
        free(blocks[at]);
    }
    free(blocks);
    free(sizes);
    total += sum;
    return NULL;
}

int main(int argc, char **argv)
{
    count = arg_number(argc, argv, 1, 100000);
    threads = arg_number(argc, argv, 2, 2);
    pthread_t thread[MOST_THREADS];
    if (threads > MOST_THREADS)
        return 1;
    for (uintptr_t t = 1; t < threads; t++)
        pthread_create(&thread[t], NULL, mix, (void *)t);
    mix(NULL);
    for (uint64_t t = 1; t < threads; t++)
        pthread_join(thread[t], NULL);
    for (uint64_t t = 0; t < threads; t++)
        free(handed[t]);
    return result(count * threads, total);
}
