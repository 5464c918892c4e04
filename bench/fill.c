// fill MIB [SIZE]: fills MIB with blocks of one size and ends without freeing: first touch of fresh
// memory and nothing else; the case where shared memory is dearest.
#include "bench.h"

int main(int argc, char **argv)
{
    uint64_t mib = arg_number(argc, argv, 1, 256);
    size_t size = arg_number(argc, argv, 2, 1024);
    uint64_t count = (mib << 20) / size, sum = 0;
    void *previous = NULL;
    for (uint64_t i = 0; i < count; i++) {
        void **p = get(size);
        touch(p, size, i);
        *p = previous; // a chain, so that all blocks stay reachable
        previous = p;
    }
    for (void **p = previous; p; p = *p)
        sum++;
    return result(count, sum);
}
