// phases COUNT [MIB]: fills MIB with blocks of 16 B..64 KiB, frees them all in another order, COUNT
// times: requests, frames, transactions; are pages of one phase at hand for the next?
#include "bench.h"

int main(int argc, char **argv)
{
    uint64_t count = arg_number(argc, argv, 1, 10);
    size_t limit = arg_number(argc, argv, 2, 64) << 20;
    enum { MOST = 1 << 20 };
    static void *blocks[MOST];
    static uint32_t sizes[MOST];
    uint64_t sum = 0, ops = 0;
    for (uint64_t phase = 0; phase < count; phase++) {
        struct rng r = rng_seed(100 + phase);
        // Each phase has sizes of its own: small blocks in one, larger ones in the next.
        size_t low = (size_t)16 << 2 * (phase % 4), filled = 0;
        uint32_t used = 0;
        for (; filled < limit && used < MOST; used++) {
            sizes[used] = (uint32_t)rng_log_size(&r, low, 64 * low);
            filled += sizes[used];
            blocks[used] = get(sizes[used]);
            touch(blocks[used], sizes[used], used);
        }
        for (uint32_t at = 0; at < used; at++) {
            uint32_t other = (uint32_t)(((uint64_t)at * 7919) % used);
            void *p = blocks[at];
            uint32_t size = sizes[at];
            blocks[at] = blocks[other];
            sizes[at] = sizes[other];
            blocks[other] = p;
            sizes[other] = size;
        }
        for (uint32_t at = 0; at < used; at++) {
            sum += read_back(blocks[at], sizes[at]);
            free(blocks[at]);
        }
        ops += used;
    }
    return result(ops, sum);
}
