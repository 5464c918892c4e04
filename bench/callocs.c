// callocs COUNT: calloc of 64 KiB..4 MiB blocks, eight live, of which the program writes an eighth and
// reads that the rest is zero: does the allocator know what is zero already, or clear it again?
#include "bench.h"

enum { LIVE = 8 };

int main(int argc, char **argv)
{
    uint64_t count = arg_number(argc, argv, 1, 2000);
    void *blocks[LIVE] = {0};
    struct rng r = rng_seed(13);
    uint64_t sum = 0;
    for (uint64_t i = 0; i < count; i++) {
        uint64_t at = i % LIVE;
        free(blocks[at]);
        size_t size = rng_log_size(&r, 64 << 10, 4 << 20);
        blocks[at] = opaque(checked(calloc(1, size)));
        touch(blocks[at], size / 8, i + 1);
        sum += read_back(blocks[at], size);
    }
    for (int at = 0; at < LIVE; at++)
        free(blocks[at]);
    return result(count, sum);
}
