/* adopt.h - pages and chunks whose thread or process has ended.
 *
 * Pages of ended threads wait in the member's pool; chunks of ended members
 * are orphans of the segment, and the pages in them go to the pool of whoever
 * adopts the chunk.  All under the member's lock, but for the kept bitmaps.
 */
#pragma once
#include "allocators/heap.h"

/* Put a page (on no list) into the pool. */
void pool_put(struct heap *h, unsigned cls, struct slice *d);
/* A page of the pool that has a free block, now owned by 'owner'; NULL: none found. */
struct slice *pool_take(struct heap *h, unsigned cls, uint64_t owner);

/* Adopt one orphan; 0: there is none. */
uint32_t adopt_chunk(struct heap *h);

/* Free the large blocks of ours that others have stamped freed. */
void member_collect(struct heap *h);

/* Blocks of ended members in a page that goes on being used (PAGE_KEPT). */
void kept_set(struct heap *h, struct slice *d, uint32_t block);
/* The block is being freed: it is nobody's legacy any more.  True if it was. */
bool kept_forget(struct heap *h, struct slice *d, uint64_t off);
