/* thread_cache.h - what one thread allocates from: pages of its own, by size class.
 *
 * The fast paths of malloc and free (heap.h, preload/) touch only this and
 * the page.  Everything here is called by the cache's own thread.
 */
#pragma once
#include "allocators/heap.h"

struct thread_cache *cache_make(struct heap *h);
/* The thread ends: its pages go to the member's pool, for other threads. */
void cache_end(struct thread_cache *tc);

/* A block of class 'cls' when the current page has none left.  NULL: no memory. */
void *cache_refill(struct thread_cache *tc, unsigned cls);
/* Free a block of a page of this cache that the fast path did not take. */
void cache_free(struct thread_cache *tc, struct slice *d, uint64_t off);
/* A page of this cache has become empty by a free of the fast path. */
void cache_page_empty(struct thread_cache *tc, struct slice *d);
/* No malloc of this cache takes a block without the slow path, from now on. */
void cache_stop(struct thread_cache *tc);

/* Lists of pages, linked through their descriptors. */
void page_list_push(struct heap *h, struct page_list *list, struct slice *d);
void page_list_append(struct heap *h, struct page_list *list, struct slice *d);
void page_list_remove(struct heap *h, struct page_list *list, struct slice *d);
