/* progress.h - how far a long transfer is, if somebody looks. */
#pragma once
#include "tool/tool.h"

struct progress {
    uint64_t whole, told_ns; /* whole 0: not known */
    bool seen;
};
/* Nothing is told unless stderr is a terminal and it is long. */
struct progress progress_start(uint64_t whole);
void progress_tell(struct progress *p, uint64_t done);
void progress_end(struct progress *p);
