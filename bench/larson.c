// larson COUNT [THREADS]: a server whose threads come and go: each thread replaces random blocks of the
// array it was given, then starts a successor, gives it the array and ends, COUNT generations long;
// so most frees hit blocks of a thread that no longer exists.
#include "handoff.h"

enum { SLOTS = 2000, STEPS = 10000, MOST_THREADS = 16 };

struct line {
    void *blocks[SLOTS];
    uint64_t generations, sum;
    struct rng r;
    _Atomic int ended;
};

static void *generation(void *argument)
{
    struct line *line = argument;
    for (uint64_t i = 0; i < STEPS; i++) {
        void **slot = &line->blocks[rng_range(&line->r, 0, SLOTS - 1)];
        if (*slot)
            line->sum += first_word(*slot);
        free(*slot);
        *slot = get(rng_range(&line->r, 16, 800));
        touch(*slot, 16, i);
    }
    pthread_t successor;
    if (--line->generations == 0)
        line->ended = 1;
    else if (pthread_create(&successor, NULL, generation, line) || pthread_detach(successor))
        exit(1);
    return NULL;
}

int main(int argc, char **argv)
{
    uint64_t count = arg_number(argc, argv, 1, 100);
    uint64_t threads = arg_number(argc, argv, 2, 2);
    struct line *lines = checked(calloc(threads, sizeof *lines));
    uint64_t sum = 0;
    for (uint64_t t = 0; t < threads; t++) {
        lines[t].generations = count;
        lines[t].r = rng_seed(41 + t);
        pthread_t first;
        if (pthread_create(&first, NULL, generation, &lines[t]) || pthread_detach(first))
            return 1;
    }
    for (uint64_t t = 0; t < threads; t++) {
        while (!lines[t].ended)
            nanosleep(&(struct timespec){ .tv_nsec = 1000000 }, NULL);
        sum += lines[t].sum;
        for (int i = 0; i < SLOTS; i++)
            free(lines[t].blocks[i]);
    }
    free(lines);
    return result(count * threads * STEPS, sum);
}
