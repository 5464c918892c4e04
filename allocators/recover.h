/* recover.h - what the dead leave is put in order by whoever needs it.
 *
 * Runs at attach, when memory is short and for `hshm reclaim`; concurrently
 * with everybody's work, from any number of recoverers: a dead member's slot
 * names the one in charge, and if that one dies another takes over.  Every
 * step is one word and may be done twice.
 */
#pragma once
#include "allocators/heap.h"

/* A dead member's OS pages go to others only after this: DMA may be under way. */
#define GRACE_MS 100

/* Recover all dead members whose grace is over; how many.  With 'wait' it waits for it. */
unsigned recover_dead(struct heap *h, bool wait);

/* The same now and then, for those who are about to take fresh memory: what the
 * dead left comes first. */
void recover_sometimes(struct heap *h);
/* At once, if somebody has said that he leaves. */
void recover_leavers(struct heap *h);

/* Free what ended members left (HSHM_EXIT=keep), except published blocks; bytes freed. */
uint64_t reclaim_kept(struct thread_cache *tc);
