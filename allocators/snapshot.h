/* snapshot.h - fork() of a member: the child gets its own copy of what its
 * parent had in use, at the same addresses, and a place of its own.
 *
 *   prepare  (parent) hold all pages in use, copy them to private memory,
 *            make the child's slot and the hold's witness
 *   child    move the copy over the pages, become the member of that slot
 *   parent   drop copy and witnesses: the child has inherited them
 *
 * Nobody waits for anybody.  The shared pages under a snapshot are left alone
 * while any address space maps it: see hold.h.
 */
#pragma once
#include "allocators/heap.h"
#include "allocators/member.h"

struct snapshot_run;

struct snapshot {
    struct guard guard;
    struct witness child, hold;
    uint64_t child_id;
    int hold_index;
    uint32_t seq;
    uint64_t bytes; /* copied */
    uint64_t started_ns;
    char *area, *copy; /* as mapped; from the first huge page's boundary */
    uint64_t area_bytes, copy_bytes;
    bool recycled;               /* the area was used by an earlier copy */
    struct snapshot_run *now;    /* the one that is being copied */
    uint64_t data_from, data_to; /* known to have memory, when last asked */
    long fd;                     /* to ask which parts of blocks have memory; -1: not yet */
    struct snapshot_run *runs;
    uint64_t run_count, run_room;
    bool active;   /* false: nothing to do for this heap */
    bool detached; /* the file cannot be opened: the child will be no member */
};

/* SNAPSHOT_NONE: the child goes on sharing its parent's pages (HSHM_FORK=share). */
enum snapshot_kind { SNAPSHOT_COPY, SNAPSHOT_NONE };

/* 0, or -ENOMEM: no room for the copy (s->bytes says for how much).  On success
 * the heap's lock is held and all signals are blocked until parent or child. */
long snapshot_prepare(struct heap *h, struct snapshot *s, enum snapshot_kind kind, uint64_t most);
void snapshot_parent(struct heap *h, struct snapshot *s, bool failed);
/* The fork failed after snapshot_parent() was told otherwise: end slot and hold. */
void snapshot_failed(struct heap *h, struct snapshot *s);
/* How much a snapshot would copy now. */
bool snapshot_measure(struct heap *h, uint64_t *bytes);
void snapshot_child(struct heap *h, struct snapshot *s, const char *program);
/* A child that is no member: what it has of the segment it may read and free, no more. */
void detached_free(struct heap *h, void *p);

/* The descriptor under which a child knows an inherited block; NULL: it is not one. */
struct slice *inherited_slice(struct heap *h, uint64_t off);
void inherited_free(struct heap *h, struct slice *d, uint64_t off);

/* fork() of a private heap: the kernel copies it, but the child has one thread only. */
void private_fork_prepare(struct heap *h, struct snapshot *s);
void private_fork_parent(struct heap *h, struct snapshot *s);
void private_fork_child(struct heap *h, struct snapshot *s, struct thread_cache *own);
