/* run.h - runs of slices inside the chunks that this member owns.
 *
 * A chunk's free slices are one 64-bit word.  Chunks are kept in bins by the
 * length of their longest free run, so that finding a run looks at few.  All
 * under the member's lock.
 */
#pragma once
#include "allocators/heap.h"

/* 'n' free slices in a row at a multiple of 'align' slices (a power of two);
 * claims or adopts a chunk if none of ours has them.  0: no memory. */
uint32_t run_alloc(struct heap *h, uint32_t n, uint32_t align);
/* Does a word of free slices have 'n' of them in a row? */
bool run_exists(uint64_t free, uint32_t n);
/* Has a chunk of ours 'n' free slices in a row at a multiple of 'n'? */
bool run_is_at_hand(struct heap *h, uint32_t n);
/* Extend the run [first, first + have) to 'n' slices in place. */
bool run_extend(struct heap *h, uint32_t first, uint32_t have, uint32_t n);
/* Their descriptors say SLICE_FREE already. */
void run_free(struct heap *h, uint32_t first, uint32_t n);
/* Take a chunk that just became ours into the bins. */
void run_add_chunk(struct heap *h, uint32_t c);
/* The chunk has memory that nobody uses: look at it when the delay is over. */
void purge_later(struct heap *h, uint32_t c);
/* Purge what has been idle for longer than the delay; with 'all', everything. */
void run_purge(struct heap *h, bool all);
