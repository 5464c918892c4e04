// pair COUNT [SIZE]: malloc and free of one size, again and again: the shortest way through an
// allocator, nothing but its fast path in warm memory.
#include "bench.h"

int main(int argc, char **argv)
{
    uint64_t count = arg_number(argc, argv, 1, 10000000);
    size_t size = arg_number(argc, argv, 2, 64);
    uint64_t sum = 0;
    for (uint64_t i = 0; i < count; i++) {
        void *p = get(size);
        touch(p, 8, i);
        sum += first_word(p);
        free(opaque(p));
    }
    return result(count, sum);
}
