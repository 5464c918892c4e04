/* in_hand.h - which blocks somebody is freeing at this moment.
 *
 * Who frees a block of another's page notes it in the step of its record before
 * it touches it (page_free_remote()).  Three need to know:
 *   - who answers a recoverer's question: a block that another freer has in
 *     hand is not the one that was lost (page_question());
 *   - who recovers a member with HSHM_EXIT=reclaim: a page stays as long as a
 *     freer may still write there;
 *   - who reclaims legacies: what is being freed is not to be freed twice.
 */
#pragma once
#include "allocators/heap.h"

#define HANDS_MAX 64

struct hands {
    uint32_t count;
    bool more; /* than fit */
    uint64_t off[HANDS_MAX];
};

/* Blocks in [from, to) of chunks of 'member' (0: of anybody) that are in the
 * hands of anybody, dead or alive.  'fd' is the segment's file, or -1. */
void hands_collect(struct heap *h, long fd, uint64_t member, uint64_t from, uint64_t to,
                   struct hands *hands);
/* Is there one in [from, to)?  True if that is not known. */
bool hands_any(const struct hands *hands, uint64_t from, uint64_t to);
