// frag COUNT [MIB]: fragmentation over time: COUNT epochs in each of which the sizes asked for shift,
// random blocks die to keep at most MIB live, and one block in fifty survives far longer. Peak
// memory against MIB is the figure to look at.
#include "bench.h"

enum { MOST = 1 << 20, SURVIVORS = 1 << 12 };

static void *blocks[MOST];
static uint32_t sizes[MOST];
static void *survivors[SURVIVORS];
static size_t survivor_size[SURVIVORS];

int main(int argc, char **argv)
{
    uint64_t count = arg_number(argc, argv, 1, 8);
    size_t limit = arg_number(argc, argv, 2, 48) << 20;
    struct rng r = rng_seed(23);
    uint64_t sum = 0, ops = 0, used = 0, lasting = 0;
    size_t live = 0;
    for (uint64_t epoch = 0; epoch < count; epoch++) {
        size_t low = (size_t)24 << (epoch * 5 % 8), churned = 0;
        while (churned < 2 * limit) {
            size_t size = rng_range(&r, low, 4 * low);
            while (used && (live + size > limit || used == MOST)) {
                uint64_t at = rng_range(&r, 0, used - 1);
                sum += first_word(blocks[at]);
                free(blocks[at]);
                live -= sizes[at];
                blocks[at] = blocks[--used];
                sizes[at] = sizes[used];
            }
            void *p = get(size);
            touch(p, size, ops++);
            live += size;
            churned += size;
            if (ops % 50 == 0) {
                uint64_t at = lasting++ % SURVIVORS;
                if (survivors[at]) {
                    sum += first_word(survivors[at]);
                    live -= survivor_size[at];
                }
                free(survivors[at]);
                survivors[at] = p;
                survivor_size[at] = size;
            } else {
                blocks[used] = p;
                sizes[used++] = (uint32_t)size;
            }
        }
    }
    return result(ops, sum);
}
