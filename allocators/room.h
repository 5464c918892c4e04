/* room.h - how much memory the system will let a segment have: what is free in
 * its file system and not promised to anybody, and what the memory cgroup allows.
 *
 * Nothing is asked for each charge: what was seen is good for some pages and
 * some milliseconds.
 */
#pragma once
#include "allocators/heap.h"

struct room {
    uint64_t total, available; /* bytes of the file system; total 0: unknown */
    uint64_t promised;         /* to this and other segments in it, and not yet taken */
    uint64_t group;            /* bytes that the memory cgroup allows; UINT64_MAX: all */
    uint64_t file_bytes;       /* size of the segment's file; 0: it cannot be reached */
};
void room_look(struct heap *h, struct room *room);
/* Bytes that the memory cgroup allows, less what is left for others; UINT64_MAX: all. */
uint64_t room_of_group(const struct heap *h);

/* May the segment grow by 'pages', which are in the ledger already (in all: 'charged')? */
bool room_is_enough(struct heap *h, uint64_t pages, uint64_t charged);
/* So little is left that a page promised now may be gone when it is touched. */
bool room_is_tight(struct heap *h, uint64_t bytes);
