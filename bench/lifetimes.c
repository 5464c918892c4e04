// lifetimes COUNT: blocks of 16..2048 bytes (mostly small) of which 90 % die among the next hundred,
// 9 % among the next ten thousand and 1 % last for half a million: what real programs' traces show.
#include "bench.h"

enum { HORIZON = 1 << 19 };

struct block {
    struct block *next; // those that die at the same moment
    uint64_t value;
};

static struct block *dies_at[HORIZON];

int main(int argc, char **argv)
{
    uint64_t count = arg_number(argc, argv, 1, 5000000);
    struct rng r = rng_seed(6);
    uint64_t sum = 0;
    for (uint64_t i = 0; i < count + HORIZON; i++) {
        if (i < count) {
            uint64_t dice = rng_next(&r) % 100;
            uint64_t longest = dice < 90 ? 100 : dice < 99 ? 10000 : HORIZON - 1;
            struct block *b = get(rng_log_size(&r, 16, 2048));
            struct block **slot = &dies_at[(i + rng_range(&r, 1, longest)) % HORIZON];
            *b = (struct block){ .next = *slot, .value = i };
            *slot = b;
        }
        struct block *b = dies_at[i % HORIZON];
        dies_at[i % HORIZON] = NULL;
        while (b) {
            struct block *next = b->next;
            sum += b->value;
            free(b);
            b = next;
        }
    }
    return result(count, sum);
}
