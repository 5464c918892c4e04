/* recover_parts.h - what the files of recovery share.
 *
 *   recover.c         whose turn it is: members, and who recovers them
 *   recover_steps.c   the steps that the dead had in hand
 *   recover_chunks.c  their chunks, pages and blocks
 */
#pragma once
#include "allocators/in_hand.h"
#include "allocators/recover.h"

struct dead {
    uint64_t id;
    uint32_t slot;
    bool reclaim;
    long fd;   /* of the segment's file */
    bool left; /* something of it stays */
};

typedef void record_visitor(struct heap *h, struct dead *dead, struct thread_record *record,
                            void *ctx);
/* The records of the dead one's threads, as far as they are still there. */
void records_each(struct heap *h, struct dead *dead, record_visitor *visit, void *ctx);

/* False: something has to wait; somebody tries again later. */
bool steps_finish(struct heap *h, struct dead *dead);
/* Mark which blocks of its pages are used, before anything of it is given away. */
bool pages_mark(struct heap *h, struct dead *dead);
/* Each of its chunks becomes free, or an orphan.  False: the segment is damaged. */
bool chunks_recover(struct heap *h, struct dead *dead);
