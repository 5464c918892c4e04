// large COUNT LOW HIGH [LIVE]: random replace of LIVE (16) large blocks of LOW..HIGH bytes, every OS
// page touched: how an allocator gives back and gets again pages that it will need soon.
#include "bench.h"

int main(int argc, char **argv)
{
    uint64_t count = arg_number(argc, argv, 1, 1000);
    size_t low = arg_number(argc, argv, 2, 256 << 10);
    size_t high = arg_number(argc, argv, 3, 8 << 20);
    uint64_t live = arg_number(argc, argv, 4, 16);
    void **blocks = checked(calloc(live, sizeof *blocks));
    size_t *sizes = checked(calloc(live, sizeof *sizes));
    struct rng r = rng_seed(11);
    uint64_t sum = 0;
    for (uint64_t i = 0; i < count + live; i++) {
        uint64_t at = i < count ? rng_range(&r, 0, live - 1) : i - count;
        if (blocks[at])
            sum += read_back(blocks[at], sizes[at]);
        free(blocks[at]);
        blocks[at] = NULL;
        if (i >= count)
            continue;
        sizes[at] = rng_range(&r, low, high);
        blocks[at] = get(sizes[at]);
        touch(blocks[at], sizes[at], i);
    }
    free(blocks);
    free(sizes);
    return result(count, sum);
}
