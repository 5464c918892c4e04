/* thread_cache.h - what one thread allocates from: lists of free blocks and pages, by class.
 *
 * The fast paths of malloc and free (preload/interpose.c) touch only the
 * thread's class_cell and the page's descriptor.  Everything here is called by
 * the cache's own thread, but for cache_stop().
 */
#pragma once
#include "allocators/heap.h"

struct thread_cache *cache_make(struct heap *h);
/* One whose pages stay shared across fork. */
struct thread_cache *cache_make_shared(struct heap *h);
/* The thread ends: the cache with all it has waits for another thread. */
void cache_end(struct thread_cache *tc);

/* A block of class 'cls' when the fast path found none.  NULL: no memory. */
void *cache_refill(struct thread_cache *tc, unsigned cls);
/* Free a block of a page of this cache that the fast path did not take. */
void cache_free(struct thread_cache *tc, struct slice *d, uint64_t off);
/* A page of this cache has become empty by a free of the fast path. */
void cache_page_empty(struct thread_cache *tc, struct slice *d);
/* The same, but the page is only noted; a later sweep gives it back. */
void cache_note_empty(struct thread_cache *tc, struct slice *d);
/* No malloc of this cache takes a block without the slow path, from now on.
 * May be called by another thread. */
void cache_stop(struct thread_cache *tc);
/* Merge what others freed and give all empty pages back. */
void cache_sweep_all(struct thread_cache *tc);

#define CACHES_BYTES (UINT64_C(64) << 10) /* memory of caches is got in such areas */

/* Caches of threads that are not in a forked child of a private heap. */
void caches_orphaned(struct heap *h, struct thread_cache *own);

/* Lists of pages, linked through their descriptors. */
void page_list_prepend(struct heap *h, struct page_list *list, struct slice *d);
void page_list_append(struct heap *h, struct page_list *list, struct slice *d);
void page_list_remove(struct heap *h, struct page_list *list, struct slice *d);
