/* mapped.h - what the program itself has mapped inside its blocks: guard pages and
 * code by mprotect(), ring buffers by mmap(MAP_FIXED).
 *
 * The wrappers of those calls note the slices (mapped_note()).  A fork then asks the
 * kernel where exactly (snapshot_mapped.c), and memory that goes back to the
 * allocator gets the segment's mapping again: a private heap of glibc's would have
 * unmapped such a block.
 */
#pragma once
#include "allocators/heap.h"

/* The program has changed the mappings of these bytes; they may lie outside the heap. */
void mapped_note(struct heap *h, const void *at, uint64_t bytes);

/* Nobody's block any more: from now on it is plain memory in this process. */
void mapped_restore_noted(struct heap *h, uint64_t off, uint64_t bytes);
static inline void mapped_restore(struct heap *h, uint64_t off, uint64_t bytes)
{
    if (unlikely(h->mapped != NULL))
        mapped_restore_noted(h, off, bytes);
}

/* In a child: what lies there now is its own copy. */
void mapped_forget(struct heap *h, uint64_t off, uint64_t bytes);
