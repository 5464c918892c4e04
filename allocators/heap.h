/* heap.h - this process's side of one attached segment.
 *
 * struct heap says where the segment is mapped and who we are in it.  What
 * only a living member needs (its lock, its lists of chunks and pages, its
 * thread caches) is in struct mine, in memory that a forked child of a named
 * segment finds zeroed (MADV_WIPEONFORK): a child that no wrapper has seen
 * owns nothing and can harm nothing.
 */
#pragma once
#include "allocators/os.h"
#include "allocators/shared.h"
#include "allocators/size_class.h"

#define likely(x)   __builtin_expect(!!(x), 1)
#define unlikely(x) __builtin_expect(!!(x), 0)

/* Where malloc finds the list for a size: up to DIRECT_MAX without computing a class. */
#define DIRECT_MAX      1024
#define DIRECT_SIZES    (DIRECT_MAX / 16 + 1)
#define DIRECT_ENTRIES  (DIRECT_SIZES + CLASS_COUNT - CLASSES_TO_1024)
#define CLASSES_TO_1024 32

static inline size_t direct_small(size_t n)
{
    return (n + 15) / 16;
}

static inline unsigned direct_of_class(unsigned cls)
{
    return DIRECT_SIZES + cls - CLASSES_TO_1024;
}

#define LARGE_CACHED_MAX 8

/* A list of pages, linked through slice.next/prev; slice index 0 is none. */
struct page_list {
    uint32_t head, tail;
};

/* Pages of one size class that one thread owns. */
struct class_pages {
    struct page_list pages; /* all of them; those that were looked at last are at the end */
    uint32_t count;
    uint32_t fresh;     /* the page that is being extended; 0 none */
    uint32_t idle;      /* pages that became empty since the last sweep */
    uint32_t idle_ms;   /* when the first of them did */
    uint32_t held;      /* pages under a hold when last looked */
    uint32_t held_seen; /* mine.holds_ended when those were last looked at */
};

/* What one thread allocates from: a record in the segment and what only its
 * own process needs to know.  Only its thread writes it, but for 'direct',
 * which a forking thread clears. */
struct thread_cache {
    uint64_t direct[DIRECT_ENTRIES]; /* offset of the class_cell; 0: take the slow path */
    uint64_t record_off;             /* of the record; 0 in a forked child: nobody's home */
    uint64_t friend_off;             /* of another one of this process, see free_remote() */
    uint64_t id;                     /* owner word of its pages; 0 in a forked child */
    struct heap *heap;
    struct thread_record *record;
    uint32_t hold_seq;         /* mine.hold_seq when its pages were last looked through */
    struct thread_cache *next; /* all of the process, whether in use or not */
    bool in_use;
    bool shared; /* its pages stay shared across fork: named blocks, heaps of hshm.h */
    struct class_pages classes[CLASS_COUNT];
    uint32_t large[LARGE_CACHED_MAX]; /* see large_cache.h */
    uint32_t large_count, large_slices;
};

/* What this member knows of a chunk that it owns. */
struct chunk_info {
    uint32_t next, prev; /* list of chunks of the same bin */
    uint8_t bin;         /* 1 + log2 of the longest free run; 0: not in a list */
    bool foreign; /* adopted from a member whose bytes are not for us: see chunk_is_foreign() */
    bool waiting; /* in the purge queue: owned with idle slices, or given back with memory */
    uint32_t purge_next;
    uint32_t purge_ms; /* 32 bits of os_now_ms(): when last looked at, or given back */
    uint64_t idle;     /* free slices that still have memory */
    uint64_t aged;     /* those of them that were idle already when last looked at */
};

#define BIN_COUNT 8

/* A freed block that waits, see canary.h; the owner of its chunk when it came. */
struct delayed {
    uint64_t off, owner, bytes;
};

/* Where small snapshots are copied, see snapshot_copy.c. */
#define POOLS       4
#define POOL_MAX    (UINT64_C(4) << 20)  /* larger copies are made in fresh memory */
#define POOL_SPAN   (UINT64_C(16) << 20) /* and those that lie too far apart */
#define POOLS_BYTES (UINT64_C(8) << 20)  /* memory of all of them */
struct pool {
    char *write, *read; /* the same file, mapped shared (ours alone) and private (for the child) */
    uint64_t bytes;
    uint32_t hold;     /* entry + 1 of the hold whose snapshot is there; 0 none */
    uint32_t used_seq; /* number of that hold */
    uint32_t pages;    /* that have memory, */
    uint64_t have[(POOL_SPAN * 5 / 4 + (UINT64_C(1) << 20)) / OS_PAGE / 64]; /* these */
};

#define CACHES_BYTES                                                                               \
    (UINT64_C(64) << 10) /* of thread caches; the first ones lie behind struct mine */

struct mine {
    uint64_t member_id; /* 0: wiped, this process is an unknown child */
    uint32_t lock;      /* futex: 0 free, 1 taken, 2 taken and waited for */
    uint32_t epoch_threads;
    uint32_t chunks;      /* owned */
    uint32_t hold_seq;    /* last hold we made: pages older than it may be held */
    uint32_t holds_ended; /* counts the looks at which other holds lived than before */
    uint32_t held_seen;   /* what it was when 'held' was looked through */
    uint64_t holds_looked_ns, holds_wait_ns, holds_rest; /* see hold_look() */
    uint32_t holds_cleared_ms;
    uint32_t bound_ms,
        bound_wait_ms;  /* HSHM_FORK_HOLD: when last looked, and for how long not again */
    uint32_t hold_last; /* entry of our last hold + 1 */
    uint64_t group_ms, group_pages; /* see room.c: what was seen when, and is good for */
    uint64_t roomy_ms, roomy_bytes;
    uint32_t recovered_ms; /* when we last looked for dead members */
    uint32_t bins[BIN_COUNT];
    uint32_t purge_head, purge_tail; /* queue of chunks to purge, through chunk_info.purge_next */
    struct page_list pool[2][CLASS_COUNT]; /* pages of adopted chunks; [1]: shared across fork */
    struct page_list held;                 /* empty pages and freed large blocks under a hold */
    uint32_t held_purged;                  /* up to this one of them the memory was given back */
    uint64_t held_bytes;                   /* what those behind it have, at most */
    struct pool pools[POOLS];
    uint32_t child_slot; /* of our last child + 1 */
    uint64_t *deferred;  /* offsets of blocks whose free waits for a child, see inherited.h */
    uint64_t deferred_count, deferred_room, deferred_at;
    struct thread_cache *caches; /* also those whose thread has ended */
    uint32_t caches_idle;        /* how many of them have no thread */
    char *caches_top, *caches_end;
    char *caches_areas; /* memory of the caches, each with the address of the one before */
    uint32_t records,
        records_used;        /* slice that new records come from, and how many it has given */
    struct delayed *delayed; /* HSHM_CHECK=full: a ring of blocks freed by the program */
    uint32_t delayed_first, delayed_count;
    uint64_t delayed_bytes;
    struct chunk_info info[]; /* [chunk_count] */
};

struct heap {
    char *base; /* before attach: the address of a word that is odd, see seg_header.magic */
    struct slice *slices;
    uint64_t slice_count;         /* 0 before attach: every pointer is foreign */
    uint64_t link_key, link_mask; /* bits that no decoded link has */
    uint64_t head_mask;           /* bits that no head of a list has that is not its end */
    struct seg_header *header;
    struct chunk *chunks;
    struct kept *kept;
    struct seg_member *members;
    struct seg_hold *holds;
    struct seg_member *me;
    struct mine *mine;
    uint64_t chunk_count, first_chunk;
    uint64_t member_id;
    uint64_t mine_bytes;
    bool shared;    /* a named segment; false: private memory of this process */
    bool can_open;  /* the file can (still) be opened by name */
    bool read_only; /* mapped for reading, and no member */
    bool unusable;  /* damage was found: nothing new is allocated in it, and nothing written */
    bool sealed;    /* the message about it was kept, too */
    uint64_t device, inode;
    uint64_t limit_pages, member_limit_pages; /* HSHM_SIZE, HSHM_MEMBER_SIZE in OS pages; 0 none */
    int64_t purge_delay_ms;
    uint64_t warm_pages;
    uint64_t hold_bytes;      /* HSHM_FORK_HOLD */
    bool reclaim;             /* HSHM_EXIT */
    bool reserve;             /* HSHM_COMMIT */
    bool zero;                /* HSHM_ZERO */
    bool check;               /* HSHM_CHECK=full */
    char *live_page;          /* the mapping that keeps our liveness lock */
    bool fork_matters;        /* a fork was here: blocks of others need a look when freed */
    bool asleep;              /* a forked child that has not used the heap yet, see member_wake() */
    bool shown_through;       /* free memory may show what others write: nothing is known zero */
    bool inherited_file;      /* some of what is inherited is mapped from a file, privately */
    uint32_t before_fork;     /* what was made before this number was so before our fork; 0: none */
    struct slice **inherited; /* [chunk - first_chunk], inherited_chunks of them: descriptors of a
                                 parent's chunk as they were at the fork; the pages they call used
                                 are our private copies */
    uint64_t inherited_chunks;
    uint64_t *mapped; /* a bit for each slice whose mappings the program has changed, see mapped.h;
                           NULL: none */
    uint64_t **dropped; /* [chunk]: addresses whose free was dropped, see inherited.h */
    char path[256];
    char name[208];
};

/* ---- addresses ------------------------------------------------------------- */

static inline uint64_t off_of(const struct heap *h, const void *p)
{
    return (uint64_t)((uintptr_t)p - (uintptr_t)h->base);
}

static inline void *at_off(const struct heap *h, uint64_t off)
{
    return h->base + off;
}

static inline uint32_t slice_index(const struct heap *h, const struct slice *d)
{
    return (uint32_t)(d - h->slices);
}

static inline uint64_t slice_off(const struct heap *h, const struct slice *d)
{
    return (uint64_t)slice_index(h, d) << SLICE_SHIFT;
}

static inline uint32_t chunk_of(uint32_t slice)
{
    return slice / CHUNK_SLICES;
}

/* ---- how far tables are used ------------------------------------------------------
 * Read from the segment, and so not believed: never beyond the table's end. */
static inline uint64_t at_most(uint64_t n, uint64_t most)
{
    return n < most ? n : most;
}

static inline uint64_t chunks_high(const struct heap *h)
{
    return at_most(get_acquire(h->header->chunk_high), h->chunk_count);
}

static inline uint64_t members_high(const struct heap *h)
{
    return at_most(get_acquire(h->header->members_high), MEMBER_MAX);
}

static inline uint64_t holds_high(const struct heap *h)
{
    return at_most(get_acquire(h->header->holds_high), HOLD_MAX);
}

/* Descriptor of the page or block that slice i belongs to. */
static inline struct slice *slice_head(const struct heap *h, uint32_t i)
{
    struct slice *d = &h->slices[i];
    return get(d->kind) == SLICE_TAIL ? d - get(d->back) : d;
}

/* ---- ids --------------------------------------------------------------------- */

static inline uint64_t member_id_make(uint32_t slot, uint32_t epoch)
{
    return (uint64_t)(slot + 1) << EPOCH_BITS | (epoch & ((1u << EPOCH_BITS) - 1));
}

static inline uint32_t member_slot(uint64_t id)
{
    return (uint32_t)(id >> EPOCH_BITS) - 1;
}

static inline uint32_t member_epoch(uint64_t id)
{
    return (uint32_t)id & ((1u << EPOCH_BITS) - 1);
}

/* seg_member.state */
#define MEMBER_STATE(state, epoch, recoverer)                                                      \
    ((uint64_t)(state) | (uint64_t)(epoch) << 8 | (uint64_t)(recoverer) << 40)
static inline enum member_state state_of(uint64_t word)
{
    return (enum member_state)(word & 0xff);
}
static inline uint32_t state_epoch(uint64_t word)
{
    return (uint32_t)(word >> 8) & ((1u << EPOCH_BITS) - 1);
}
static inline uint32_t state_recoverer(uint64_t word) /* slot + 1 */
{
    return (uint32_t)(word >> 40);
}

static inline uint64_t owner_member(uint64_t owner)
{
    return owner >> THREAD_BITS;
}

/* Owner word of pages that belong to the member but to no thread. */
static inline uint64_t owner_pool(const struct heap *h)
{
    return h->member_id << THREAD_BITS;
}

/* ---- free-list links ------------------------------------------------------------
 * Decoded, a link is a block's offset or LIST_END.  What is neither was
 * overwritten by the program; and a block to be freed whose first word decodes
 * to one is probably free already (malloc clears that word). */
static inline uint64_t link_read(const struct heap *h, const void *block)
{
    return *(const uint64_t *)block ^ h->link_key;
}

static inline void link_write(const struct heap *h, uint64_t off, uint64_t next)
{
    *(uint64_t *)at_off(h, off) = next ^ h->link_key;
}

static inline bool link_is_sound(const struct heap *h, uint64_t link)
{
    return (link & h->link_mask) == 0;
}

static inline bool list_is_end(uint64_t off)
{
    return off & 1;
}

static inline struct class_cell *cell_at(const struct heap *h, uint64_t off)
{
    return (struct class_cell *)at_off(h, off);
}

/* slice.remote of a page: the first block of the list and how many there are. */
static inline uint64_t remote_head(uint64_t word)
{
    return word & ((UINT64_C(1) << REMOTE_COUNT_SHIFT) - 1);
}

static inline uint32_t remote_count(uint64_t word)
{
    return (uint32_t)(word >> REMOTE_COUNT_SHIFT);
}

/* Nobody has found the segment damaged; else new memory comes from elsewhere. */
bool damage_was_found(struct heap *h);
static inline bool heap_is_usable(struct heap *h)
{
    return likely(!h->unusable && !get(h->header->damaged)) || !damage_was_found(h);
}

/* ---- the member's lock ------------------------------------------------------------
 * Orders the threads of one process in the slow paths.  It is private memory
 * and signals are blocked while it is held: it cannot outlive its process,
 * and a handler that forks finds it free. */
struct guard {
    os_signals signals;
};
struct guard heap_lock(struct heap *h);
void heap_unlock(struct heap *h, struct guard g);

/* What a child runs until it is back in the program lies together, as does what is
 * written at a fork: each OS page of either costs a fault in every child. */
#define AT_FORK(kind) __attribute__((section(kind ".at_fork")))

extern struct heap main_heap;

#define LAYOUT_CHUNK_WORD(state, member, length)                                                   \
    ((uint64_t)(state) | (uint64_t)(member) << 4 | (uint64_t)(length) << 40)
static inline enum chunk_state word_state(uint64_t w)
{
    return (enum chunk_state)(w & 15);
}
static inline uint64_t word_member(uint64_t w)
{
    return w >> 4 & ((UINT64_C(1) << 36) - 1);
}
static inline uint32_t word_length(uint64_t w)
{
    return (uint32_t)(w >> 40);
}
