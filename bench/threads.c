// threads COUNT: COUNT short threads one after another, each using 100 blocks of many sizes, of which it
// leaves ten to the main thread: what it costs to give a thread its cache and to take it back.
#include "handoff.h"

enum { BLOCKS = 100, LEFT = 10 };

static void *blocks[BLOCKS];
static uint64_t sum;

static void *live_shortly(void *argument)
{
    struct rng r = rng_seed((uintptr_t)argument);
    for (uint64_t i = 0; i < BLOCKS; i++) {
        size_t size = rng_log_size(&r, 16, 4096);
        blocks[i] = get(size);
        touch(blocks[i], size, i);
    }
    for (uint64_t i = LEFT; i < BLOCKS; i++) {
        sum += first_word(blocks[i]);
        free(blocks[i]);
    }
    return NULL;
}

int main(int argc, char **argv)
{
    uint64_t count = arg_number(argc, argv, 1, 5000);
    for (uintptr_t t = 0; t < count; t++) {
        pthread_t thread;
        if (pthread_create(&thread, NULL, live_shortly, (void *)(t + 1)))
            return 1;
        pthread_join(thread, NULL);
        for (uint64_t i = 0; i < LEFT; i++) {
            sum += first_word(blocks[i]);
            free(blocks[i]);
        }
    }
    return result(count, sum);
}
