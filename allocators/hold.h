/* hold.h - the pages that snapshots cover are left alone while they live.
 *
 * After a fork the child has its own copy of the parent's pages at the same
 * addresses.  A block that anybody allocates there later would not be the
 * child's to read.  So a page (or large block) made before hold number
 * 'hold_last' and after 'hold_birth' is not allocated from, grown into,
 * adopted or given away while any hold in between lives.
 *
 * A hold lives as long as its lock: a one-page mapping through an open file
 * description that every descendant of the child inherits.
 */
#pragma once
#include "allocators/heap.h"
#include "allocators/member.h"

bool hold_covers(struct heap *h, struct slice *d);

static inline bool page_is_held(struct heap *h, struct slice *d)
{
    return unlikely(get(d->hold_last) != 0) && hold_covers(h, d);
}

/* Look which holds have ended; not too often.  True if any has since we last asked. */
bool hold_look(struct heap *h);
/* A fork took 'ns': the child that it made will hardly have ended before as long again. */
void hold_rest(struct heap *h, uint64_t ns);

/* An empty page or freed large block that waits for a hold.  Lock held. */
void held_add(struct heap *h, struct slice *d);
/* The memory of an empty page or freed block of a dead member that waits for a hold. */
void held_purge_dead(struct heap *h, struct slice *d);
/* Give back those whose holds have ended.  Lock held. */
void held_sweep(struct heap *h);

/* Make a hold, with its lock through an open description of the file, which is closed;
 * its entry's index, or -1: so many live. */
int hold_make(struct heap *h, long fd, uint32_t *seq, struct witness *w);
void hold_end(struct heap *h, int hold);
