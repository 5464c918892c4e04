/* damage.h - the program did something to the heap that we cannot repair: one
 * exact line, then abort(). */
#pragma once
#include "allocators/heap.h"

_Noreturn void damage_block(struct heap *h, const struct slice *d, uint64_t off, const char *what);
_Noreturn void damage_pointer(struct heap *h, uint64_t off, const char *what);
/* The segment itself is damaged: say so once and use it for nothing new. */
void damage_segment(struct heap *h, const char *what, uint64_t where);
/* Program and pid of a member, for messages. */
const char *damage_owner(struct heap *h, uint64_t member_id, long *pid);
