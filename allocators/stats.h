/* stats.h - sums over a segment, counted from outside.
 *
 * Blocks are counted page by page: what the page's owner has handed out, less
 * what others have freed since.  Exact for a segment at rest; of one that
 * changes meanwhile each page is as it was when it was looked at.
 */
#pragma once
#include "allocators/view.h"

struct stats_sum {
    uint64_t blocks, bytes;
};

struct stats_class {
    uint32_t block_bytes;
    uint64_t pages, blocks;  /* blocks: allocated */
    uint64_t free_blocks;    /* linked: have memory and can be handed out */
    uint64_t reserved_bytes; /* of the slices of its pages */
};

struct stats_member {
    struct stats_sum
        used; /* allocated in its pages and chunks; not what ended members left there */
    uint64_t chunks, pages;
};

struct stats {
    struct stats_sum used, small, large, huge; /* used is the sum of the others */
    struct stats_sum kept; /* of used: what ended members left, which `hshm reclaim` frees */
    uint64_t kept_members; /* how many they are, as far as still known */
    struct stats_sum dead; /* of used: of dead members that nobody has recovered yet */
    uint64_t dead_members;
    uint64_t free_bytes;             /* in pages, in blocks that can be handed out at once */
    uint64_t unlinked_bytes;         /* in pages, never handed out yet */
    uint64_t committed_bytes;        /* charged to chunks */
    uint64_t file_bytes;             /* what the file system gave the file */
    uint64_t warm_bytes;             /* committed in free chunks */
    uint64_t idle_bytes;             /* committed in free slices of owned chunks */
    uint64_t chunks[CHUNK_HUGE + 1]; /* by state */
    uint64_t free_run;          /* most chunks in a row that are free, those never used included */
    uint64_t free_slices;       /* in owned chunks and orphans */
    uint64_t held_free_bytes;   /* free blocks beside used ones that snapshots keep from reuse */
    uint64_t dropped, deferred; /* frees of forked processes, see inherited.h */
    uint64_t held_pages;        /* kept from reuse by snapshots, as marked */
    uint64_t members_alive, holds;
    struct stats_class classes[CLASS_COUNT];
    struct stats_member members[MEMBER_MAX];
};

/* Fills *s, which is large: not on a small stack. */
void stats_collect(struct view *v, struct stats *s);
