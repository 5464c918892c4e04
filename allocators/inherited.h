/* inherited.h - what free() means for blocks that were there before a fork.
 *
 *   A block of the parent's      the child's own copy: it goes back to the system
 *                                when its page has no other.
 *   A block of another member    parent and child both have it.  The child's free
 *   made before the fork         is dropped and counted: the parent does it.  The
 *                                parent's waits for the end of the snapshot, as the
 *                                child may read the block until then.
 *   A block made after the fork  whoever frees it frees it.
 *
 * When a small block of another member was made is known only of its page, which
 * may be older than the block.  So the child drops its first free of each address
 * in such a page, and what it frees there again has been made since: a later
 * block can be lost to its maker once, a block of the parent's never.
 */
#pragma once
#include "allocators/heap.h"

/* The descriptor under which a child knows an inherited block; NULL: it is not one. */
struct slice *inherited_slice(struct heap *h, uint64_t off);
void inherited_free(struct heap *h, struct slice *d, uint64_t off);

/* A child that is no member: what it has of the segment it may read and free, no more. */
void detached_free(struct heap *h, void *p);

/* In a child: did it get this block of another member by being forked? */
bool is_held_by_both(struct heap *h, struct slice *d, uint64_t off);
/* True: this free is dropped. */
bool fork_drops_free(struct heap *h, struct slice *d, uint64_t off);
/* In a parent: true if this free of another member's block waits for a child. */
bool fork_defers_free(struct heap *h, struct slice *d, uint64_t off);
/* A block whose free need not wait any longer; 0: none. */
uint64_t deferred_take(struct heap *h);
