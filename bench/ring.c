// ring MODE COUNT LOW HIGH: one side allocates blocks and passes the pointers on, the other reads and
// frees them. MODE is "threads" or "processes": remote free across threads, or across processes.
#include "handoff.h"

static uint64_t count, low, high;

struct shared {
    struct ring ring;
    uint64_t sum;
};

static void *consume(void *argument)
{
    struct shared *shared = argument;
    uint64_t sum = 0;
    for (uint64_t i = 0; i < count; i++) {
        void *p = ring_take(&shared->ring);
        sum += first_word(p) ^ i;
        free(p);
    }
    shared->sum = sum;
    return NULL;
}

int main(int argc, char **argv)
{
    const char *mode = argc > 1 ? argv[1] : "threads";
    count = arg_number(argc, argv, 2, 2000000);
    low = arg_number(argc, argv, 3, 16);
    high = arg_number(argc, argv, 4, 1024);
    struct shared *shared = shared_memory(sizeof *shared);
    struct side consumer = start_side(mode, consume, shared);
    struct rng r = rng_seed(29);
    for (uint64_t i = 0; i < count; i++) {
        size_t size = rng_range(&r, low, high);
        void *p = get(size);
        touch(p, 8, i + size);
        ring_put(&shared->ring, p);
    }
    join_side(consumer);
    return result(count, shared->sum);
}
