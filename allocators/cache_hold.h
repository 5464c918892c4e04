/* cache_hold.h - what a fork does to the caches of the parent's threads.
 *
 * Free blocks of pages that the snapshot covers are parked until it has ended,
 * and frees into such pages take the slow path.
 */
#pragma once
#include "allocators/heap.h"

/* First slow path of this thread after a fork of its process. */
void cache_park(struct thread_cache *tc);
/* Take back what is not held any more. */
void cache_unpark(struct thread_cache *tc, unsigned cls);
