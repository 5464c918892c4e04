/* damage.h - what cannot be repaired.
 *
 * The program did something wrong to the heap: one exact line, then abort().
 * 'call' is what it called ("free", "realloc"), or NULL where that does not
 * matter.
 */
#pragma once
#include "allocators/heap.h"

_Noreturn void damage_block(struct heap *h, const struct slice *d, uint64_t off, const char *call,
                            const char *what);
/* The same, and where in the block it was seen. */
_Noreturn void damage_bytes(struct heap *h, const struct slice *d, uint64_t off, const char *what,
                            uint64_t at);
/* No block is there. */
_Noreturn void damage_pointer(struct heap *h, uint64_t off, const char *call, const char *what);
/* A pointer into the addresses where segments are, but not into ours. */
_Noreturn void damage_foreign(const void *p, const char *call);

/* Not the program's mistake: one line. */
void damage_gone(struct heap *h, uint64_t off);
/* The segment itself is damaged: say so once and use it for nothing new. */
void damage_segment(struct heap *h, const char *what, uint64_t where);
/* Program and pid of a member, for messages. */
const char *damage_owner(struct heap *h, uint64_t member_id, long *pid);
