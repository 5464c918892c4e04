// idle MIB [MILLISECONDS]: fills MIB with small and medium blocks, frees all but a tenth of the oldest,
// then idles with a little work every 10 ms, twice; ends without freeing. How much memory is given
// back while idle is what measure reports as the last sample ("end_kib"); its price is CPU time.
#include "bench.h"

#include <time.h>
#include <unistd.h>

enum { MOST = 1 << 20 };

static void *blocks[MOST];
static uint64_t ops;

static void idle(uint64_t milliseconds)
{
    for (uint64_t ms = 0; ms < milliseconds; ms += 10) {
        for (int i = 0; i < 20; i++) {
            void *p = get(100 + 40 * (size_t)i);
            touch(p, 16, ms);
            free(p);
            ops++;
        }
        nanosleep(&(struct timespec){ .tv_nsec = 10000000 }, NULL);
    }
}

int main(int argc, char **argv)
{
    size_t limit = arg_number(argc, argv, 1, 128) << 20;
    uint64_t milliseconds = arg_number(argc, argv, 2, 500);
    uint64_t sum = 0;
    for (uint64_t phase = 0; phase < 2; phase++) {
        struct rng r = rng_seed(17 + phase);
        uint64_t used = 0;
        for (size_t filled = 0; filled < limit && used < MOST; used++) {
            size_t size = rng_log_size(&r, 32, 32 << 10);
            filled += size;
            blocks[used] = get(size);
            touch(blocks[used], size, used);
        }
        for (uint64_t at = used / 10; at < used; at++) {
            sum += first_word(blocks[at]);
            free(blocks[at]);
        }
        ops += used;
        idle(milliseconds);
        for (uint64_t at = 0; at < used / 10 && phase == 0; at++)
            free(blocks[at]);
    }
    return result(ops, sum);
}
