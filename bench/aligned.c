// aligned COUNT: random replace over 5,000 blocks of 32..1024 bytes aligned to 32..256 bytes, as SIMD
// code and cache-line padded structures ask for them; a misaligned block ends the run.
#include "bench.h"

enum { LIVE = 5000 };

int main(int argc, char **argv)
{
    uint64_t count = arg_number(argc, argv, 1, 3000000);
    static void *blocks[LIVE];
    struct rng r = rng_seed(9);
    uint64_t sum = 0;
    for (uint64_t i = 0; i < count + LIVE; i++) {
        void **slot = &blocks[i < count ? rng_range(&r, 0, LIVE - 1) : i - count];
        if (*slot)
            sum += first_word(*slot);
        free(*slot);
        *slot = NULL;
        if (i >= count)
            continue;
        size_t alignment = (size_t)32 << rng_next(&r) % 4;
        size_t size = rng_range(&r, 32, 1024);
        if (posix_memalign(slot, alignment, size) || (uintptr_t)*slot % alignment)
            return 1;
        touch(opaque(*slot), 32, i);
    }
    return result(count, sum);
}
