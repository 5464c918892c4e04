// frames COUNT: an image pipeline: for each frame three 1280x720 RGB buffers (2.7 MB) and a scaled
// copy (0.7 MB) are allocated, written and freed, with small bookkeeping blocks between: the same large
// sizes again and again.
#include "bench.h"

int main(int argc, char **argv)
{
    uint64_t count = arg_number(argc, argv, 1, 500);
    size_t full = (size_t)1280 * 720 * 3, scaled = full / 4;
    uint64_t sum = 0;
    unsigned char *shown = NULL;
    for (uint64_t i = 0; i < count; i++) {
        unsigned char *decoded = get(full), *filtered = get(full), *small = get(scaled);
        uint64_t *meta = get(256);
        touch(meta, 256, i);
        touch(decoded, full, i);
        touch(filtered, full, first_word(decoded) + 1);
        free(decoded);
        touch(small, scaled, first_word(filtered));
        sum += read_back(small, scaled);
        free(filtered);
        free(shown);
        shown = get(full);
        touch(shown, full, meta[0]);
        free(small);
        free(meta);
    }
    sum += read_back(shown, full);
    free(shown);
    return result(count, sum);
}
