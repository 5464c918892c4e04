// queue COUNT [DEPTH]: first in, first out: the oldest of DEPTH outstanding blocks (16..512 bytes) is
// freed for each new one; the depth swings between a tenth and all of DEPTH: buffers of a server.
#include "bench.h"

int main(int argc, char **argv)
{
    uint64_t count = arg_number(argc, argv, 1, 5000000);
    uint64_t depth = arg_number(argc, argv, 2, 100000);
    void **ring = checked(calloc(depth, sizeof *ring));
    struct rng r = rng_seed(5);
    uint64_t sum = 0, head = 0, tail = 0, wanted = depth;
    for (uint64_t i = 0; i < count; i++) {
        if (i % depth == 0)
            wanted = rng_range(&r, depth / 10, depth);
        for (int many = 0; many < 2 && head - tail >= wanted; many++) {
            void *oldest = ring[tail++ % depth];
            sum += first_word(oldest);
            free(oldest);
        }
        void *p = get(rng_range(&r, 16, 512));
        touch(p, 16, i);
        ring[head++ % depth] = p;
    }
    for (; tail < head; tail++) {
        sum += first_word(ring[tail % depth]);
        free(ring[tail % depth]);
    }
    free(ring);
    return result(count, sum);
}
