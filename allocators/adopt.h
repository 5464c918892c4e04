/* adopt.h - pages and chunks whose thread or process has ended.
 *
 * Chunks of ended members are orphans of the segment; the pages in them go to
 * the pool of whoever adopts the chunk, and from there to the thread that needs
 * one of the class.  (What ended threads had stays in their caches.)  All under the member's lock, but for the kept bitmaps.
 */
#pragma once
#include "allocators/heap.h"

/* A page of an adopted chunk, now owned by the cache; NULL: none of this class. */
struct slice *pool_take(struct thread_cache *tc, unsigned cls);

/* Give those pages of the pool back whose last block has been freed.  Lock held. */
void pool_sweep(struct heap *h);

/* Adopt one orphan, of those that chunk_adopt() would take; 0: there is none. */
uint32_t adopt_chunk(struct heap *h, uint32_t run, uint32_t spare);
/* In its pages: less is not worth to go through them. */
#define ADOPT_SPARE (UINT32_C(1) << 20)

/* Free the large blocks of ours that others have stamped freed. */
void member_collect(struct heap *h);

/* Blocks of ended members in a page that goes on being used (PAGE_KEPT). */
bool kept_has(struct heap *h, const struct slice *d, uint64_t off);
void kept_set(struct heap *h, struct slice *d, uint32_t block);
/* The block is being freed: it is nobody's legacy any more.  True if it was. */
bool kept_forget(struct heap *h, struct slice *d, uint64_t off);
