/* races.h - what those who race for a segment's end and beginning share outside it. */
#pragma once
#include <stdint.h>

#define RACERS 4
struct races {
    uint64_t in[RACERS]; /* the segment that this one lives in; 0: in none, as far as it can tell */
    uint64_t last;       /* that of who joined last */
    uint64_t made;       /* how often it was another than the one before */
    uint64_t joined;
    uint64_t stop;
};
