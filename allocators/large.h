/* large.h - blocks above CLASS_MAX: runs of slices, and above LARGE_MAX runs of chunks.
 *
 * Whoever frees one stamps it freed by one CAS; the generation in the same
 * word makes the stamp mean this block and not the next one at that address.
 *
 *    LIVE(gen) --free, by anyone--> FREED(gen) --owner (huge: freer)--> slices free
 */
#pragma once
#include "allocators/heap.h"

#define LARGE_MAX (UINT64_C(2) << 20)
/* Blocks up to this size are populated at once, which is cheaper than faults;
 * of larger ones a program may touch little. */
#define LARGE_POPULATED (UINT64_C(256) << 10)

/* A block of n bytes at a multiple of 'align'; *zero says whether it is known to be
 * zero.  'growing': a realloc made it, leave room behind it.  NULL: no memory. */
void *large_alloc(struct heap *h, size_t n, size_t align, bool growing, bool *zero);
/* The same block once more, for other n bytes in its slices.  It is the caller's alone. */
bool large_again(struct heap *h, struct slice *d, size_t n, bool *zero);
/* Stamp it freed and, where that is ours to do, take it apart.  False: it was not live. */
bool large_free(struct heap *h, struct inflight *step, struct slice *d);
/* Take a block apart that is stamped freed.  Lock held. */
/* The memory of a freed block in a chunk of ours goes back to the system. */
void large_forget(struct heap *h, struct slice *d);
void large_end(struct heap *h, struct slice *d);
/* Make it n bytes long in place; false if that is not possible. */
bool large_resize(struct heap *h, struct slice *d, size_t n);
