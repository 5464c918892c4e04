// aligned COUNT: random replace over 5,000 blocks of 32..1024 bytes aligned to 32..256 bytes, as SIMD
// code and cache-line padded structures ask for them. Misaligned blocks are counted and told on stderr
// (Debian's mimalloc 2.0.9 gives some), so that the case has a figure for everybody.
#include "bench.h"

enum { LIVE = 5000 };

int main(int argc, char **argv)
{
    uint64_t count = arg_number(argc, argv, 1, 3000000);
    static void *blocks[LIVE];
    struct rng r = rng_seed(9);
    uint64_t sum = 0, misaligned = 0;
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
        if (posix_memalign(slot, alignment, size))
            return 1;
        misaligned += (uintptr_t)*slot % alignment != 0;
        touch(opaque(*slot), 32, i);
    }
    if (misaligned)
        fprintf(stderr, "%" PRIu64 " misaligned blocks\n", misaligned);
    return result(count, sum);
}
