// callocs COUNT: calloc of 64 KiB..4 MiB blocks, eight live, used like a table that is half filled: the
// first half written, the other half looked up in 16 places, where it must be zero: does the allocator
// know what is zero already, or clear it again?
#include "bench.h"

enum { LIVE = 8 };

int main(int argc, char **argv)
{
    uint64_t count = arg_number(argc, argv, 1, 2000);
    void *blocks[LIVE] = { 0 };
    struct rng r = rng_seed(13);
    uint64_t sum = 0;
    for (uint64_t i = 0; i < count; i++) {
        uint64_t at = i % LIVE;
        free(blocks[at]);
        size_t size = rng_log_size(&r, 64 << 10, 4 << 20);
        blocks[at] = opaque(checked(calloc(1, size)));
        touch(blocks[at], size / 2, i + 1);
        sum += read_back(blocks[at], size / 2);
        for (int look = 0; look < 16; look++)
            sum += ((unsigned char *)blocks[at])[rng_range(&r, size / 2 + 8, size - 1)];
    }
    for (int at = 0; at < LIVE; at++)
        free(blocks[at]);
    return result(count, sum);
}
