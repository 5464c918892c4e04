// workers MODE COUNT [WORKERS]: WORKERS started anew for each of COUNT rounds build result lists of
// 2,000 blocks and end; the parent reads and frees what they left: the owner of every block freed is
// gone by then. MODE is "threads" or "processes".
#include "handoff.h"

enum { RESULTS = 2000, MOST_WORKERS = 16 };

struct item {
    struct item *next;
    uint64_t value, size;
};

struct job {
    uint64_t seed;
    struct item *items;
};

static void *work(void *argument)
{
    struct job *job = argument;
    struct rng r = rng_seed(job->seed);
    struct item *items = NULL;
    for (uint64_t i = 0; i < RESULTS; i++) {
        size_t size = rng_log_size(&r, 32, 4096);
        struct item *item = get(size);
        touch(item, size, i);
        *item = (struct item){ .next = items, .value = job->seed + i, .size = size };
        items = item;
        free(get(size / 2)); // some blocks of its own, for the thread or process to leave behind
    }
    job->items = items;
    return NULL;
}

int main(int argc, char **argv)
{
    const char *mode = argc > 1 ? argv[1] : "threads";
    uint64_t count = arg_number(argc, argv, 2, 200);
    uint64_t workers = arg_number(argc, argv, 3, 2);
    struct job *jobs = shared_memory(MOST_WORKERS * sizeof *jobs);
    struct side sides[MOST_WORKERS];
    uint64_t sum = 0;
    if (workers > MOST_WORKERS)
        return 1;
    for (uint64_t round = 0; round < count; round++) {
        for (uint64_t w = 0; w < workers; w++) {
            jobs[w].seed = round * workers + w + 1;
            sides[w] = start_side(mode, work, &jobs[w]);
        }
        for (uint64_t w = 0; w < workers; w++) {
            join_side(sides[w]);
            for (struct item *item = jobs[w].items, *next; item; item = next) {
                next = item->next;
                sum += item->value * item->size;
                free(item);
            }
        }
    }
    return result(count * workers * RESULTS, sum);
}
