/* storm.h - what the members of a storm share outside the segment. */
#pragma once
#include <stdint.h>

#define MAIL     256
#define STORMERS 16
struct load;
struct storm {
    struct load *mail[MAIL];
    uint64_t progress[STORMERS];
    uint64_t refused;
    uint32_t wrong;
};
