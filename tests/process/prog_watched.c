/* prog_watched - a loop of malloc and free whose instructions a test counts.
 *
 * Each place always has blocks of one size, so that once all have been there every call takes the
 * fast path, and how long the loop took changes nothing. */
#include <stdint.h>
#include <stdlib.h>

#define BLOCKS 512

static void *blocks[BLOCKS];

static inline void go_round(unsigned rounds)
{
    uint32_t random = 1;
    for (unsigned i = 0; i < rounds; i++) {
        random = random * 1664525 + 1013904223;
        unsigned place = random >> 8 & (BLOCKS - 1);
        free(blocks[place]);
        blocks[place] = malloc(16 + 2 * place);
    }
}

__attribute__((noinline)) void warm_up(void);
void warm_up(void)
{
    go_round(20000);
}

/* What is counted. */
__attribute__((noinline)) void loop(void);
void loop(void)
{
    go_round(800000);
}

int main(void)
{
    warm_up();
    loop();
    return 0;
}
