// bulk COUNT: the main thread builds a structure of 50,000 small blocks, another thread takes it all
// down in another order, COUNT times: remote frees in bursts, far from the owner's reach.
#include "handoff.h"

enum { BLOCKS = 50000 };

static void *blocks[BLOCKS];
static uint64_t sum;

static void *take_down(void *argument)
{
    for (uint64_t i = 0; i < BLOCKS; i++) {
        void *p = blocks[i * 7919 % BLOCKS];
        sum += first_word(p);
        free(p);
    }
    return argument;
}

int main(int argc, char **argv)
{
    uint64_t count = arg_number(argc, argv, 1, 40);
    struct rng r = rng_seed(37);
    for (uint64_t round = 0; round < count; round++) {
        for (uint64_t i = 0; i < BLOCKS; i++) {
            blocks[i] = get(rng_range(&r, 16, 256));
            touch(blocks[i], 16, round + i);
        }
        join_side(start_side("threads", take_down, NULL));
    }
    return result(count * BLOCKS, sum);
}
