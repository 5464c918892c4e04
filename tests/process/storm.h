/* storm.h - what the members of a storm share outside the segment. */
#pragma once
#include <stdint.h>

#define MAIL     256
#define STORMERS 16
#define SHELF    16 /* places of one stormer for blocks that it gives; half of them each thread's */
struct load;
struct storm {
    struct load *mail[MAIL];
    struct load *shelf[STORMERS][SHELF];
    uint64_t progress[STORMERS];
    uint64_t refused;
    uint64_t taken, published, found; /* how often, that it is known to have happened */
    uint32_t wrong;
};
