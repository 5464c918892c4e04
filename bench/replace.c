// replace COUNT LOW HIGH [THREADS] [PROCESSES] [LIVE]: each worker keeps LIVE (10,000) blocks and
// frees a random one for a new one of LOW..HIGH bytes, COUNT times: steady state of a program with
// many sizes, pages partly full everywhere. Workers share nothing but the allocator.
#include "bench.h"

#include <pthread.h>
#include <sys/wait.h>
#include <unistd.h>

static uint64_t count, low, high, threads, live;

struct worker {
    pthread_t thread;
    uint64_t seed, sum;
};

static void *replace(void *argument)
{
    struct worker *w = argument;
    struct rng r = rng_seed(w->seed);
    void **blocks = checked(calloc(live, sizeof *blocks));
    for (uint64_t i = 0; i < live + count; i++) {
        uint64_t at = i < live ? i : rng_range(&r, 0, live - 1);
        if (blocks[at]) {
            w->sum += first_word(blocks[at]);
            free(blocks[at]);
        }
        size_t size = rng_range(&r, low, high);
        blocks[at] = get(size);
        touch(blocks[at], size, i ^ size);
    }
    for (uint64_t at = 0; at < live; at++) {
        w->sum += first_word(blocks[at]);
        free(blocks[at]);
    }
    free(blocks);
    return NULL;
}

static uint64_t run_threads(uint64_t process)
{
    struct worker *workers = checked(calloc(threads, sizeof *workers));
    uint64_t sum = 0;
    for (uint64_t t = 0; t < threads; t++) {
        workers[t].seed = process * threads + t + 1;
        if (t + 1 == threads)
            replace(&workers[t]); // The main thread is a worker too: one thread means none extra.
        else
            pthread_create(&workers[t].thread, NULL, replace, &workers[t]);
    }
    for (uint64_t t = 0; t < threads; t++) {
        if (t + 1 < threads)
            pthread_join(workers[t].thread, NULL);
        sum += workers[t].sum;
    }
    free(workers);
    return sum;
}

int main(int argc, char **argv)
{
    count = arg_number(argc, argv, 1, 1000000);
    low = arg_number(argc, argv, 2, 16);
    high = arg_number(argc, argv, 3, 1024);
    threads = arg_number(argc, argv, 4, 1);
    uint64_t processes = arg_number(argc, argv, 5, 1);
    live = arg_number(argc, argv, 6, 10000);
    int sums[2];
    if (pipe(sums))
        return 1;
    for (uint64_t p = 1; p < processes; p++) {
        if (fork() == 0) {
            uint64_t sum = run_threads(p);
            _exit(write(sums[1], &sum, sizeof sum) != sizeof sum);
        }
    }
    uint64_t sum = run_threads(0);
    for (uint64_t p = 1; p < processes; p++) {
        uint64_t part;
        if (read(sums[0], &part, sizeof part) != sizeof part)
            return 1;
        sum += part;
        wait(NULL);
    }
    return result(count * threads * processes, sum);
}
