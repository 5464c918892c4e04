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
 *
 * What is in use is found by snapshot_runs.c, copied by snapshot_copy.c; where the
 * program has mappings of its own in it tells snapshot_mapped.c; what the child's
 * free() does with it is in inherited.c.
 */
#pragma once
#include "allocators/heap.h"
#include "allocators/member.h"

/* What the child moves in one go: whole slices, as nobody allocates in the rest
 * of a slice under a hold; so neighbours are one run whatever they hold. */
enum run_kind {
    RUN_DATA,
    RUN_DESCRIPTORS, /* of one chunk: they stay in the copy, heap.inherited points there */
    RUN_VIEW,        /* HSHM_FORK=view: mapped copy-on-write, not copied */
    RUN_TABLE,       /* SNAPSHOT_PRIVATE: tables of the segment, copied as they are */
};
struct snapshot_run {
    uint64_t off, bytes;
    uint64_t at;   /* in the copy; of a view: its address */
    uint64_t data; /* of it, what is copied */
    enum run_kind kind;
};
#define RUNS_FEW 40

/* What the program has mapped itself, see mapped.h. */
struct mapped_part {
    uint64_t from, to; /* offsets */
    int access;
    bool foreign; /* no memory of the segment's */
};

/* SNAPSHOT_NONE: the child goes on sharing its parent's pages (HSHM_FORK=share).
 * SNAPSHOT_PRIVATE: fork() in a signal handler that interrupted malloc or free.
 * The child will go on in the middle of that call, with its parent's lists in
 * its hands: it gets all of the segment for itself, copied or copy-on-write,
 * and is a process with a private heap from then on. */
enum snapshot_kind { SNAPSHOT_COPY, SNAPSHOT_NONE, SNAPSHOT_PRIVATE };

enum snapshot_refusal {
    REFUSED_NOT,
    REFUSED_ROOM,    /* no memory for the copy, or HSHM_FORK_MAX */
    REFUSED_HOLDS,   /* HOLD_MAX snapshots live */
    REFUSED_MEMBERS, /* no slot for the child */
    REFUSED_MAPPED,  /* where the program has mapped something in its blocks is not to be known */
};

struct snapshot_request {
    enum snapshot_kind kind;
    uint64_t most;       /* HSHM_FORK_MAX in bytes; 0: no limit */
    uint64_t view;       /* blocks from this size up are not copied; 0: all are */
    const char *program; /* for the child's slot */
};

struct snapshot {
    struct guard guard;
    struct snapshot_request want;
    struct witness child, hold;
    uint64_t child_id;
    int hold_index;
    uint32_t seq;    /* of the hold */
    uint32_t before; /* what was made by others before this is known to parent and child */
    uint64_t bytes;  /* copied */
    uint64_t viewed; /* mapped instead */
    uint64_t started_ns;
    /* the copy: written here, read by the child there (the same place if it is no pool) */
    char *write, *read;
    uint64_t area_bytes, copy_bytes, kept_bytes; /* kept: its first part, which stays where it is */
    char *area;                                  /* as mapped, if it is no pool */
    struct pool *pool;
    char *others[POOLS]; /* pools of other children, as this one inherits them */
    uint64_t others_bytes[POOLS];
    char *window; /* SNAPSHOT_PRIVATE: all of the segment, copy-on-write */
    uint64_t window_bytes;
    uint64_t inherited_chunks;
    uint64_t copied_to;          /* of the block that is being copied */
    struct snapshot_run *now;    /* the one that is being copied */
    uint64_t data_from, data_to; /* known to have memory, when last asked */
    long fd;                     /* to ask which parts of blocks have memory; negative: none */
    struct snapshot_run *runs;
    uint64_t run_count, run_room;
    struct mapped_part *parts; /* in the order of addresses */
    uint64_t part_count;
    bool active;   /* false: nothing to do for this heap */
    bool detached; /* the file cannot be opened: the child will be no member */
    struct snapshot_run few[RUNS_FEW];
};

/* On success the heap's lock is held and all signals are blocked until parent or
 * child.  's' is written under the lock only; '*bytes': how much it was about. */
enum snapshot_refusal snapshot_prepare(struct heap *h, struct snapshot *s,
                                       const struct snapshot_request *want, uint64_t *bytes);
void snapshot_parent(struct heap *h, struct snapshot *s);
void snapshot_child(struct heap *h, struct snapshot *s);
/* How much a snapshot would copy now. */
bool snapshot_measure(struct heap *h, uint64_t view, uint64_t *bytes);

/* fork() of a private heap: the kernel copies it, but the child has one thread only. */
void private_fork_prepare(struct heap *h, struct snapshot *s);
void private_fork_parent(struct heap *h, struct snapshot *s);
void private_fork_child(struct heap *h, struct snapshot *s, struct thread_cache *own);

/* ---- snapshot_runs.c ---------------------------------------------------------------- */

/* Find what is in use, mark it with the hold's number, count its bytes. */
bool runs_collect(struct heap *h, struct snapshot *s);
/* Room for as many as there may be; few are in *s itself. */
bool runs_room(struct snapshot *s);
void runs_drop(struct snapshot *s);
/* Called for each part that has data; false ends the walk. */
typedef bool data_visitor(struct heap *h, struct snapshot *s, uint64_t off, uint64_t bytes);
bool slice_data(struct heap *h, struct snapshot *s, struct slice *d, data_visitor *visit);
bool backed_each(struct heap *h, struct snapshot *s, uint64_t off, uint64_t bytes,
                 data_visitor *visit);
/* Nothing in it is allocated; it waits for an earlier hold, or to be given back.
 * The child goes on sharing it: what is there next is everybody's. */
bool slice_is_void(const struct slice *d);
/* A page that waits in the pool, under no hold: its blocks are those of ended members, and so
 * everybody's. */
bool slice_is_pooled(const struct slice *d);

/* ---- snapshot_mapped.c -------------------------------------------------------------- */

/* Find what the program has mapped itself in the runs; false: that cannot be known. */
bool parts_find(struct heap *h, struct snapshot *s);
void parts_drop(struct snapshot *s);
/* The first part that ends behind 'off'. */
const struct mapped_part *part_after(const struct snapshot *s, uint64_t off);
/* [off, off + bytes) lies in a part that is not foreign. */
bool part_copy(struct heap *h, const struct mapped_part *part, char *to, uint64_t off,
               uint64_t bytes);

/* ---- snapshot_copy.c ---------------------------------------------------------------- */

bool copy_make(struct heap *h, struct snapshot *s);
void copy_drop(struct snapshot *s);
void copy_into_place(struct heap *h, struct snapshot *s);
void pool_close(struct pool *p);
