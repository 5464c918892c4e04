/* chunk.h - who owns which chunk, and runs of chunks for huge blocks.
 *
 * See the state diagram in layout.h.  A chunk word is changed by CAS only, and
 * always names the member in charge.
 */
#pragma once
#include "allocators/heap.h"

/* Take a free chunk; 0 if there is no room.  Its slices are all free. */
uint32_t chunk_claim(struct heap *h);
/* Has it bytes of another member that we are not to see: with HSHM_ZERO, or of another user's? */
bool chunk_is_foreign(struct heap *h, uint32_t c);
/* Give an owned chunk back, all of whose slices are free. */
void chunk_release(struct heap *h, uint32_t c);
/* Take an orphan that has 'run' free slices in a row, or in its pages room for 'spare' bytes;
 * with 0, 0 any of them.  0: there is none. */
uint32_t chunk_adopt(struct heap *h, uint32_t run, uint32_t spare);

/* Take 'n' chunks in a row, the first at a multiple of 'align' bytes.  They are
 * PART(us), which nobody takes for a block, until chunk_huge_publish(). */
uint32_t chunk_claim_run(struct heap *h, uint32_t n, uint64_t align);
/* The run is a huge block now; or, with another 'n', a longer or shorter one. */
void chunk_huge_publish(struct heap *h, uint32_t first, uint32_t n);
/* The run is no block any more; we are in charge of what is left of it, unless
 * its head is not 'word' any more: then somebody else is. */
bool chunk_huge_retract(struct heap *h, uint32_t first, uint64_t word);
/* Take the chunks [first + have, first + n) behind a huge block, if they are free. */
bool chunk_run_extend(struct heap *h, uint32_t first, uint32_t have, uint32_t n);
/* Give PART chunks back, the last first. */
void chunk_release_run(struct heap *h, uint32_t first, uint32_t n);

/* Take a huge block apart: 'first' is its retracted head.  The others are given
 * back one by one, the last first; the head says how many are left. */
void chunk_release_huge(struct heap *h, uint32_t first);
/* Give back one PART or OWNED chunk of a dead member. */
void chunk_release_dead(struct heap *h, uint32_t c, enum chunk_state from);

/* OS pages that a chunk of a huge block has, and may have for sure. */
bool chunk_charge_to(struct heap *h, uint32_t c, uint32_t pages);

/* Purge a free chunk that has memory, unless somebody takes it first. */
void chunk_purge_free(struct heap *h, uint32_t c);
