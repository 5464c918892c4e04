/* alloc.h - the allocator as its users see it: blocks of any size, freed from anywhere.
 *
 * The edges (preload/, api/) add errno and policies; nothing here touches errno.
 */
#pragma once
#include "allocators/heap.h"

void *heap_malloc(struct thread_cache *tc, size_t n);
void *heap_calloc(struct thread_cache *tc, size_t n);                 /* of n bytes in all */
void *heap_memalign(struct thread_cache *tc, size_t align, size_t n); /* align: a power of two */
/* Resize in place or by copy; NULL: no memory, the block is as it was. */
void *heap_realloc(struct thread_cache *tc, void *p, size_t n);
void heap_free(struct thread_cache *tc, void *p);
size_t heap_usable_size(struct heap *h, const void *p);
/* The descriptor of a block that is handed out and starts at p; NULL: there is none, or it
 * is a forked child's own copy. */
struct slice *heap_block(struct heap *h, const void *p);

/* HSHM_CHECK=full keeps freed blocks for a while: look at them all and free them. */
void heap_settle(struct thread_cache *tc);

/* Memory is short: recover the dead, adopt what they left, give back what is idle. */
void heap_relieve(struct heap *h);

/* Give memory back to the system; true if there was some. */
bool heap_trim(struct thread_cache *tc);
