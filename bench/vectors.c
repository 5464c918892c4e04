// vectors COUNT [MIB]: four vectors grow together by realloc, by half each time, to MIB each, are
// written to the end and freed; COUNT times: does growing copy, or find room?
#include "bench.h"

enum { VECTORS = 4 };

int main(int argc, char **argv)
{
    uint64_t count = arg_number(argc, argv, 1, 10);
    size_t limit = arg_number(argc, argv, 2, 16) << 20;
    uint64_t sum = 0, ops = 0;
    for (uint64_t i = 0; i < count; i++) {
        char *vector[VECTORS] = { 0 };
        size_t size = 0;
        while (size < limit) {
            size_t wider = size ? size + size / 2 : 64;
            for (int v = 0; v < VECTORS; v++) {
                vector[v] = opaque(checked(realloc(vector[v], wider)));
                // The new part is written as a program appending elements would write it.
                memset(vector[v] + size, (int)(i + (uint64_t)v), wider - size);
                ops++;
            }
            size = wider;
        }
        for (int v = 0; v < VECTORS; v++) {
            sum += read_back(vector[v], size);
            free(vector[v]);
        }
    }
    return result(ops, sum);
}
