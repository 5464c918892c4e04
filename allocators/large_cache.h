/* large_cache.h - the last few large blocks that a thread freed, for its next ones.
 *
 * To give slices back and to take them takes the member's lock; a block of the
 * same number of slices can be had again without.  In between it is stamped
 * CACHED: freed for all others, and in the hands of this thread alone.
 *
 *    LIVE(gen) --free by a thread of its owner--> CACHED(gen) --the same thread--> LIVE(gen + 1)
 *                                                     |
 *                                                     +--flushed: its slices are free
 *
 * If the thread or its process dies, CACHED is freed: recovery keeps what is LIVE.
 */
#pragma once
#include "allocators/heap.h"

/* Take the block, which is being freed.  False: it is none for the cache. */
bool large_cache_put(struct thread_cache *tc, struct slice *d);
/* A block of n bytes, or NULL: see large_alloc(). */
void *large_cache_take(struct thread_cache *tc, size_t n, bool *zero);
/* Give all of them back. */
void large_cache_flush(struct thread_cache *tc);
