/* commit.h - the ledger of OS pages, and getting and giving them back.
 *
 * Every OS page is charged before it can be touched, so that a full segment or
 * a full file system is an ENOMEM here and never a SIGBUS later.
 */
#pragma once
#include "allocators/heap.h"

/* Descriptors of one chunk, charged to it. */
#define DESCRIPTORS_BYTES (CHUNK_SLICES * sizeof(struct slice))
#define DESCRIPTORS_PAGES ((uint32_t)(DESCRIPTORS_BYTES / OS_PAGE))

/* Charge 'pages' OS pages to the segment and to us.  False: no room. */
bool ledger_charge(struct heap *h, uint64_t pages);
/* What was charged is in chunk.charged or the tables of names now; or was not needed. */
void ledger_settle(struct heap *h, uint64_t pages);
void ledger_cancel(struct heap *h, uint64_t pages);
void ledger_refund(struct heap *h, uint64_t pages);
/* Recount seg_header.charged from what the chunks say; returns it. */
uint64_t ledger_recount(struct heap *h);

/* Somebody has found no memory a moment ago: what becomes free is given back at once, as
 * who frees it may do nothing more for long, and another can use it. */
bool memory_is_short(struct heap *h);
void memory_found_short(struct heap *h);

/* Back [off, off + bytes), which lies in metadata, and charge what is new to it
 * (the caller knows whether it is). */
bool commit_metadata(struct heap *h, uint64_t off, uint64_t bytes);

/* Back [off, off + bytes) of a chunk that we own: charged, populated, marked.
 * 'touch' says whether to populate now or to leave that to the first access.
 * On success *zero (if asked for) says whether all of it is known to be zero. */
bool commit_range(struct heap *h, uint64_t off, uint64_t bytes, bool populate, bool *zero);

/* Is a block of 'bytes' populated when allocated?  Large ones are, too, where a promise might
 * not be kept. */
bool commit_at_once(struct heap *h, uint64_t bytes);
/* Populate a huge block, or none of it. */
bool commit_huge(struct heap *h, uint64_t off, uint64_t bytes);

/* Give the memory of free slices back.  'mask': slices of chunk c.  False: the system did not take
 * all of it (it does not from locked memory, for one); then it stays dirty. */
bool purge_slices(struct heap *h, uint32_t c, uint64_t mask);
/* The same for a whole chunk that nobody else can reach. */
void purge_chunk(struct heap *h, uint32_t c);
