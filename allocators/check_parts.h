/* check_parts.h - what the files of the checker share. */
#pragma once
#include "allocators/check.h"

#define FOUND_MAX  16  /* findings of one unit (an entry, a chunk's slices, a page) that are told */
#define LOOKS      200 /* how often a unit of a living segment is looked at */
#define SAME_LOOKS 20  /* times in a row that it must look wrong in the same way */
#define DAMAGE_MAX 1000 /* after so much nothing new is learnt */

/* A unit is looked at as a whole, and again if something is wrong with it. */
struct unit {
    uint64_t index; /* of the chunk, slice, member or hold; offset of a list's head */
    bool gone;      /* it is no such thing any more */
    bool moved;     /* it changed while it was looked at: that look says nothing */
    bool again;     /* not its first look */
    unsigned cls;   /* of a list: what its blocks are, and whose */
    uint64_t member;
};

struct checker {
    struct view *v;
    check_report *report;
    void *context;
    struct check_result *result;
    struct finding found[FOUND_MAX];
    unsigned count;
    struct slice slices[CHUNK_SLICES];
    struct page_look look;
    uint64_t huge_until; /* chunks below it are covered by a head */
    /* Which blocks are on a list of their owner: bits for each page, by slice. */
    uint64_t (*listed)[PAGE_BLOCKS_MAX / 64];
    uint64_t *log; /* the blocks that the walk in hand has entered, to take them back */
    uint64_t logged, lists_bytes, chunk_high;
    struct slice *all;   /* descriptors that lists lead to, read when first met */
    uint8_t *all_read;   /* by chunk */
    uint64_t walks_left; /* blocks of lists that may still be walked anew */
    uint8_t bytes[UINT64_C(1) << REGION_SHIFT]; /* of the blocks of a checked page, or of an end */
};

typedef void look_fn(struct checker *k, struct unit *u);
/* Looks until nothing is wrong, or the same is for long enough. */
void settle(struct checker *k, look_fn *look, struct unit *u);

/* True if it holds; else it is a finding. */
bool must(struct checker *k, bool holds, const char *what, uint64_t off, uint64_t is,
          uint64_t should);
void note(struct checker *k, bool holds, const char *what, uint64_t off, uint64_t is,
          uint64_t should);

uint64_t slice_at(const struct checker *k, uint64_t slice); /* offset of its descriptor */
bool id_is_possible(uint64_t id);
/* A step of the owner may be half done: living, stopped, or dead and not yet recovered. */
bool owner_may_be_at_work(const struct checker *k, uint64_t c);

/* The records and lists of all threads, into 'listed'. */
void check_records(struct checker *k);
/* The pages of chunk c, whose descriptors are in 'slices'. */
void check_pages(struct checker *k, uint64_t c);
