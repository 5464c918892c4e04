/* hshm.h - shared-memory segments, heaps and named blocks, for programs that want them in code.
 *
 * Segments are those of libhshm_preload.so, and the programs that it serves are members
 * like any other.  In a program under the preload, this library uses the preload's heap:
 * hshm_default() is that segment, with one place in it and one mapping.
 *
 * Unless a function says otherwise:
 *   errors    int functions return 0 or one of enum hshm_error.  Functions that return a pointer
 *             return NULL, and hshm_error() tells why.  hshm_error_text() has it in words.
 *   sizes     are in bytes.
 *   threads   any thread may call any function at any time, but for hshm_close(), which no
 *             other thread may be using the segment meanwhile.
 *   signals   not to be called from signal handlers.
 *   fork      a forked child is a member of its own from its first call on.  What this
 *             library has allocated stays shared with it; references are the parent's.
 *   death     nothing here waits for a dead member, or is damaged by one, at whatever
 *             instruction it died.
 *
 * C11 and C++17.  Link with -lhshm (pkg-config: hshm).
 */
#ifndef HSHM_H
#define HSHM_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define HSHM_API_VERSION 1

/* What compiles for device code of nvcc and hipcc, too. */
#if defined(__CUDACC__) || defined(__HIPCC__) || defined(__HIP__)
#define HSHM_HD __host__ __device__
#else
#define HSHM_HD
#endif

/* ---- errors ------------------------------------------------------------------------------ */

enum hshm_error {
    HSHM_OK = 0,
    HSHM_EINVAL,     /* an argument is wrong: name, size, alignment, or a pointer to no block */
    HSHM_ENOMEM,     /* no room in the segment, or for its addresses */
    HSHM_ENOENT,     /* there is none of that name */
    HSHM_EEXIST,     /* there is one already */
    HSHM_ESIZE,      /* it has another size */
    HSHM_ETYPE,      /* it has another type */
    HSHM_EBUSY,      /* somebody has it, or lives in it */
    HSHM_EAGAIN,     /* not now: not given, empty, full, or the time is over */
    HSHM_EPERM,      /* no permission, or it belongs to somebody else */
    HSHM_ECLASH,     /* the segment's addresses are taken in this process */
    HSHM_EFULL,      /* no place for another name, member, context or segment */
    HSHM_EDAMAGED,   /* no segment, of another version, or damaged */
    HSHM_EREADONLY,  /* opened for reading only */
    HSHM_EOWNERDEAD, /* got, and its former owner died holding it */
    HSHM_ESYSTEM,    /* the system refused something */
};

/* A constant string.  May be called in signal handlers. */
const char *hshm_strerror(int error);
/* The last failure of this thread: its code, and a line that says more ("asked for 5 GiB,
 * available 3 MiB").  The text is valid until the thread's next failure. */
int hshm_error(void);
const char *hshm_error_text(void);
/* HSHM_API_VERSION of the library that runs. */
int hshm_version(void);

/* ---- segments ----------------------------------------------------------------------------- */

typedef struct hshm_segment hshm_segment;

enum {
    HSHM_CREATE = 1,    /* make it if there is none */
    HSHM_EXCLUSIVE = 2, /* with CREATE: there must be none, else HSHM_EEXIST */
    HSHM_READ_ONLY = 4, /* map it for reading; does not keep it alive and finds no free slot */
    HSHM_PERSIST = 8,   /* with CREATE: it stays when its last member leaves */
    HSHM_RECLAIM = 16,  /* what this member has not named or given ends with it */
    HSHM_KEEP = 32,     /* what it leaves stays; neither: HSHM_EXIT decides */
};

typedef struct hshm_attr {
    size_t struct_size; /* sizeof(hshm_attr_t): set by HSHM_ATTR_INIT */
    uint64_t size;      /* most bytes that it may take; 0: HSHM_SIZE.  The maker's counts. */
    unsigned mode;      /* permissions of its file; 0: HSHM_MODE */
    unsigned flags;     /* HSHM_CREATE ... */
    int wait_ms;        /* without CREATE: how long to wait for it to be made; -1: for ever */
    unsigned scope;     /* HSHM_SCOPE_NODE ... */
} hshm_attr_t;
/* clang-format off */
#define HSHM_ATTR_INIT { sizeof(hshm_attr_t), 0, 0, 0, 0, 0 }
/* clang-format on */

enum {
    HSHM_SCOPE_NODE = 0,   /* one segment of that name */
    HSHM_SCOPE_SOCKET = 1, /* one for each processor socket, "NAME.socketN": that of the processor
                              on which the caller runs just now.  Its memory is taken from that
                              processor's NUMA node as long as there is some. */
};

/* Join a segment: a name, or "file:/absolute/path" on any file system that can be mapped
 * shared; "memfd:NAME": a file without a name, for this process and those it forks;
 * "malloc:NAME": private memory of attr->size bytes, as an array (see hshm_open_array()).
 * 'attr' NULL: join or make it as HSHM_SIZE, HSHM_MODE ... say.  A segment is
 * found only when it is finished, and never half-made.  Opened twice in a process, it is
 * the same handle, which has to be closed twice.
 * EINVAL (the name, or attr), ENOENT, EEXIST, EPERM, ECLASH, EDAMAGED, ENOMEM, EFULL (256 in
 * one process, or no place for a member), EAGAIN (waited in vain). */
int hshm_open(const char *name, const hshm_attr_t *attr, hshm_segment **segment);
/* The preload's segment (or its private heap), else the one that HSHM_SEGMENT names.
 * NULL: there is none. It need not be closed. */
hshm_segment *hshm_default(void);
/* A segment in memory of the caller's, 16 KiB at least and aligned to 16: a window of MPI, a mapped file,
 * a static array, a block.  CREATE makes it anew, whatever lies there; 0 joins one that is made (ENOENT, ESIZE).
 * Processes may have it at different addresses; hshm_ptr_t means the same block in all of them.
 * It has blocks, names without references, heaps but for PAGE, header, roots and sums of statistics;
 * other functions are EINVAL.  It has no members: what a process that dies had stays.  One robust mutex
 * guards it, an allocation takes the first block that fits, names are looked for one by one.
 * Alignments hold where the array is.  fork: private memory is copied; no other thread may be in
 * a call then.  hshm_close() leaves it as it is. */
int hshm_open_array(void *array, size_t size, unsigned flags, hshm_segment **segment);
/* Leave it.  No pointer into it may be used any more.  The last member that leaves removes the
 * segment, unless it is persistent.  Not the default one (EBUSY). */
int hshm_close(hshm_segment *segment);
/* Remove a segment in which nobody lives.  EBUSY: somebody does; ENOENT. */
int hshm_remove(const char *name);
/* Calls back for each segment of this user by name, until 'each' returns other than 0; what it
 * returned last. */
int hshm_list(int (*each)(const char *name, void *context), void *context);

typedef struct hshm_info {
    size_t struct_size; /* set by the caller: sizeof(hshm_info_t) */
    const char *name;   /* valid until it is closed */
    void *base;         /* its window of addresses, the same in all members */
    uint64_t window;
    uint64_t limit; /* most bytes that it may take */
    unsigned mode;
    unsigned member;  /* our place in it, from 1; 0: read only */
    unsigned members; /* that live now */
    int is_default, is_private, is_read_only, is_persistent;
} hshm_info_t;
int hshm_info(hshm_segment *segment, hshm_info_t *info);

/* ---- blocks ---------------------------------------------------------------------------------- */

/* Blocks are aligned to 16 bytes.  Any member may read, write, resize and free them, whether
 * its maker lives or not; under the preload free() does, too.  A size of 0 is a block like any
 * other.  They stay shared across fork.  'segment' NULL: the default one.  ENOMEM, EREADONLY. */
void *hshm_alloc(hshm_segment *segment, size_t size);
void *hshm_zalloc(hshm_segment *segment, size_t size);
/* count * size bytes, zeroed; ENOMEM also if that overflows. */
void *hshm_calloc(hshm_segment *segment, size_t count, size_t size);
/* 'align': a power of two, up to the size of the window.  EINVAL. */
void *hshm_alloc_aligned(hshm_segment *segment, size_t align, size_t size);
/* Of any segment that is open here; the block stays in its segment.  p NULL: in the default
 * one.  On failure the block is as it was. */
void *hshm_realloc(void *p, size_t size);
void *hshm_reallocarray(void *p, size_t count, size_t size);
/* NULL is ignored.  What is no block of an open segment ends the program with one line. */
void hshm_free(void *p);
/* What may be used of it, at least what was asked for.  0: no block of an open segment. */
size_t hshm_usable_size(const void *p);

/* An explicit context: its own lists of free blocks, for one thread at a time.  The id is
 * the caller's, from 1; EBUSY: somebody in this process has a context of that id. */
typedef struct hshm_context hshm_context;
int hshm_context_open(hshm_segment *segment, uint32_t id, hshm_context **context);
void *hshm_context_alloc(hshm_context *context, size_t size);
void hshm_context_free(hshm_context *context, void *p);
uint32_t hshm_context_id(const hshm_context *context);
/* Its blocks stay; its free memory serves other threads. */
void hshm_context_close(hshm_context *context);

/* ---- pointers ------------------------------------------------------------------------------------ */

/* A pointer that means the same in every process and in a file: 16 bytes. */
typedef struct hshm_ptr {
    uint32_t segment; /* which; 0: null */
    uint32_t check;   /* tells it from a later one at the same addresses */
    uint64_t offset;
} hshm_ptr_t;
#define HSHM_NULL                                                                                  \
    {                                                                                              \
        0, 0, 0                                                                                    \
    }

/* NULL, and what lies in no open segment, become null.  O(1); may be called in signal handlers. */
hshm_ptr_t hshm_ptr(const void *p);
/* NULL: null, or its segment is not open here.  O(1); may be called in signal handlers. */
void *hshm_raw(hshm_ptr_t p);
HSHM_HD static inline int hshm_ptr_is_null(hshm_ptr_t p)
{
    return p.segment == 0;
}
HSHM_HD static inline int hshm_ptr_equal(hshm_ptr_t a, hshm_ptr_t b)
{
    return a.segment == b.segment && a.check == b.check && a.offset == b.offset;
}

/* A pointer within one segment: 8 bytes, 0 is null; _Atomic(hshm_off_t) is its atomic form. */
typedef uint64_t hshm_off_t;
hshm_off_t hshm_off(hshm_segment *segment, const void *p); /* 0 also if it is not in there */
void *hshm_at(hshm_segment *segment, hshm_off_t offset);   /* NULL also if it is out of range */

/* Both: a pointer here and what it is elsewhere. */
typedef struct hshm_full_ptr {
    void *raw;
    hshm_ptr_t shared;
} hshm_full_ptr_t;
hshm_full_ptr_t hshm_full(const void *p);

/* The open segment in whose window p lies; NULL: none.  O(1). */
hshm_segment *hshm_segment_of(const void *p);

/* What a pointer is: the process's own (FOREIGN, NULL too), in a segment, in the preload's private
 * heap, in an array, or memory of a CUDA or HIP device, as a driver that is loaded says.  O(1). */
enum hshm_kind { HSHM_FOREIGN = 0, HSHM_SHARED, HSHM_PRIVATE, HSHM_ARRAY, HSHM_DEVICE };
enum hshm_kind hshm_kind(const void *p);

/* ---- typed helpers: macros for C ------------------------------------------------------------------ */

/* A zeroed object, an array of them; NULL as above.  hshm_delete(p) frees and forgets. */
#ifdef __cplusplus
#define HSHM_CAST(type, p) static_cast<type>(p)
#else
#define HSHM_CAST(type, p) ((type)(p))
#endif
#define HSHM_NEW(segment, type) HSHM_CAST(type *, hshm_zalloc((segment), sizeof(type)))
#define HSHM_NEW_ARRAY(segment, type, count)                                                       \
    HSHM_CAST(type *, hshm_calloc((segment), (count), sizeof(type)))
#define HSHM_RESIZE_ARRAY(type, p, count)                                                          \
    HSHM_CAST(type *, hshm_reallocarray((p), (count), sizeof(type)))
#define HSHM_DELETE(p) (hshm_free(p), (p) = NULL)

/* ---- named blocks ---------------------------------------------------------------------------------- */

/* A name: 1 to 127 bytes without control characters.  Names, and blocks that have one, do not end
 * with their maker.  A block's type is a number of the caller's that others must agree to; 0: any. */
enum {
    HSHM_ALONE = 1,   /* hshm_named(): it must be new, else EEXIST */
    HSHM_COUNTED = 2, /* with a reference of this member: see hshm_named_ref() */
};

typedef struct hshm_name {
    size_t struct_size; /* set by the caller: sizeof(hshm_name_t) */
    void *block;
    uint64_t size, type;
    uint64_t made_ns;    /* CLOCK_REALTIME */
    uint64_t references; /* of all members; those of a dead one for 0.1 to 0.2 s more */
} hshm_name_t;

/* The block of that name, made and zeroed if there is none; '*made' (NULL: not asked) tells.
 * 'align' 0: 16.  Of several that make one at once exactly one does.
 * EINVAL, ESIZE and ETYPE (it is there and is another), EEXIST, ENOMEM, EFULL.  O(1). */
void *hshm_named(hshm_segment *segment, const char *name, size_t size, size_t align, uint64_t type,
                 unsigned flags, int *made);
/* The block of that name.  size, type 0: any will do.  ENOENT, ESIZE, ETYPE.  O(1). */
void *hshm_find(hshm_segment *segment, const char *name, size_t size, uint64_t type,
                unsigned flags);
/* The same, and waits until it is there, at most that long (-1: for ever).  EAGAIN. */
void *hshm_find_wait(hshm_segment *segment, const char *name, size_t size, uint64_t type,
                     unsigned flags, int wait_ms);
/* Give a block a name; size 0: all of it.  It belongs to the name from then on: hshm_free() and
 * free() of it are errors.  '*stays_shared' (NULL: not asked): 0 tells that a later fork()
 * under the preload copies it like any small malloc block; blocks above 32 KiB, and those of
 * this library, stay shared.  EINVAL (no block), EBUSY (it has a name), EEXIST, EFULL. */
int hshm_publish(const char *name, void *block, size_t size, uint64_t type, int *stays_shared);
/* Its name is gone at once; the block is freed when no member has a reference to it.  ENOENT. */
int hshm_unname(hshm_segment *segment, const char *name);
/* One more reference of this member to the named block, one less.  Those of a member that ends
 * end with it.  EINVAL: the block has no name (ref), or this member no reference (unref). */
int hshm_named_ref(void *block);
int hshm_named_unref(void *block);
/* What is known of it.  ENOENT. */
int hshm_name_info(hshm_segment *segment, const char *name, hshm_name_t *info);
/* The name of a block, copied; ENOENT: it has none; ESIZE: 'room' is too small. */
int hshm_name_of(const void *block, char *name, size_t room);
/* Calls back for each name until 'each' returns other than 0; what it returned last.  Names that
 * come and go meanwhile may be told or not. */
int hshm_names(hshm_segment *segment,
               int (*each)(const char *name, const hshm_name_t *info, void *context),
               void *context);

/* Hand a block over: it is nobody's until somebody takes it, and then the taker's; with
 * HSHM_EXIT=reclaim it is freed neither with its giver nor, between the two, with anybody.
 * give: EINVAL (no block, or a copy that fork made), EBUSY (it has a name), EAGAIN (it is given
 * already), EPERM (somebody else has taken it), EFULL.  take: EINVAL, EAGAIN (it is not given).
 * One compare-and-swap each. */
int hshm_give(void *block);
int hshm_take(void *block);

/* A zeroed block that belongs to the segment itself: made by the first who asks, ESIZE for who asks
 * for another size.  Size 0: whatever it has; ENOENT: nobody has made it. */
void *hshm_header(hshm_segment *segment, size_t size);
/* Pointers by name that all members see: 8 bytes each, one atomic store and load. */
int hshm_root_set(hshm_segment *segment, const char *name, const void *p);
void *hshm_root_get(hshm_segment *segment, const char *name);

/* ---- heaps --------------------------------------------------------------------------------------- */

/* Several heaps in a segment, each with an id by which any member finds it, a header of its own, and
 * a count of what is allocated.  Blocks of a heap are freed through it. */
enum hshm_heap_kind {
    HSHM_HEAP_THREAD = 1, /* any size, from lists of the calling thread: hshm_alloc() */
    HSHM_HEAP_PAGE,       /* whole OS pages, in runs of their own */
    HSHM_HEAP_STACK,      /* one after the other from an area of fixed size; freed all at once */
    HSHM_HEAP_MALLOC,     /* libc's malloc: private to the process */
};
typedef struct hshm_heap hshm_heap;

/* Make it, or join the one that is there with these very arguments (else ETYPE, ESIZE).  'size': of
 * a STACK, 0 for others.  'header_size': of the zeroed header, may be 0.  The handle is the
 * process's; hshm_heap_close() ends it and leaves the heap.  ENOMEM, EINVAL. */
int hshm_heap_create(hshm_segment *segment, uint32_t id, enum hshm_heap_kind kind, uint64_t size,
                     size_t header_size, hshm_heap **heap);
/* ENOENT. */
int hshm_heap_open(hshm_segment *segment, uint32_t id, hshm_heap **heap);
void hshm_heap_close(hshm_heap *heap);
/* Its header, count and STACK go when the last handle that was opened is closed; blocks
 * of the other kinds stay.  ENOENT. */
int hshm_heap_remove(hshm_segment *segment, uint32_t id);
void *hshm_heap_alloc(hshm_heap *heap, size_t size);
void *hshm_heap_alloc_aligned(hshm_heap *heap, size_t align, size_t size);
void *hshm_heap_realloc(hshm_heap *heap, void *p, size_t size);
/* In a STACK: nothing. */
void hshm_heap_free(hshm_heap *heap, void *p);
enum hshm_heap_kind hshm_heap_kind(const hshm_heap *heap);
/* NULL: it has none. */
void *hshm_heap_header(hshm_heap *heap, size_t *size);
/* Bytes in blocks that were allocated from it and not freed, by all members.  What a member
 * had that died stays counted.  A STACK: bytes below its top. */
uint64_t hshm_heap_used(hshm_heap *heap);
/* A STACK's top; give back all that was allocated since.  No block above it may be in use. */
uint64_t hshm_heap_mark(hshm_heap *heap);
int hshm_heap_release(hshm_heap *heap, uint64_t mark);
static inline int hshm_heap_reset(hshm_heap *heap)
{
    return hshm_heap_release(heap, 0);
}

/* ---- synchronisation ----------------------------------------------------------------------------- */

/* For structures that members share.  All lie in a segment, are found as their users find them
 * (in a named block, say), and need no clean-up.  Timeouts are in milliseconds, -1: none.
 * fork: the child is another owner; it must not unlock what its parent has locked. */

/* A mutex whose owner may die: the next who gets it is told EOWNERDEAD, once, and has it; it
 * must look whether what the mutex protects is whole.  EAGAIN: the time is over.  EPERM: unlock
 * by another thread.  EBUSY: the thread has it already. */
typedef struct hshm_mutex {
    uint64_t opaque[8];
} hshm_mutex_t;
/* Once, before others can see it. */
int hshm_mutex_init(hshm_mutex_t *mutex);
int hshm_mutex_lock(hshm_mutex_t *mutex, int wait_ms);
int hshm_mutex_unlock(hshm_mutex_t *mutex);

/* Up to 32 readers at once, or one writer, for whom new readers wait.  Who dies holding it frees it:
 * after a reader's death nothing is told, after a writer's all who get it are told EOWNERDEAD (and have
 * it) until a writer has had it.  EAGAIN: the time is over.  EPERM: unlock by who has it not.  EBUSY:
 * this thread has it already.  Not recursive: a reader that reads again may wait for a writer that waits
 * for it.  2 KiB. */
typedef struct hshm_rwlock {
    uint64_t opaque[266];
} hshm_rwlock_t;
/* Once, before others can see it. */
int hshm_rwlock_init(hshm_rwlock_t *lock);
int hshm_rwlock_read(hshm_rwlock_t *lock, int wait_ms);
int hshm_rwlock_write(hshm_rwlock_t *lock, int wait_ms);
int hshm_rwlock_unlock(hshm_rwlock_t *lock);

/* A count that grows, and those who wait for it to.  Zeroed memory is an event that has not
 * happened.  Nobody owns it: a death leaves it as it is.  signal is safe in signal handlers. */
typedef struct hshm_event {
    uint32_t count, waiters;
} hshm_event_t;
uint32_t hshm_event_count(const hshm_event_t *event);
/* One more, and wake all who wait. */
void hshm_event_signal(hshm_event_t *event);
/* Until the count is another than 'seen'.  EAGAIN: the time is over. */
int hshm_event_wait(hshm_event_t *event, uint32_t seen, int wait_ms);

/* A queue of elements of one size, for any number of producers and consumers: a named block.
 * Killed in the middle of a push or pop: the element is in the queue or not (a popped one may
 * be delivered again), and the others go on.  ESIZE: it is there with another size or capacity. */
typedef struct hshm_queue hshm_queue;
hshm_queue *hshm_queue_open(hshm_segment *segment, const char *name, uint32_t capacity,
                            uint32_t element_size);
/* EAGAIN: full, or empty, for that long. */
int hshm_queue_push(hshm_queue *queue, const void *element, int wait_ms);
int hshm_queue_pop(hshm_queue *queue, void *element, int wait_ms);
uint32_t hshm_queue_length(const hshm_queue *queue);

/* ---- statistics --------------------------------------------------------------------------------- */

/* What is given is always on; sums look through the whole segment, so they take milliseconds.  Exact
 * when nobody allocates meanwhile.  Not of a private heap (EINVAL): see mallinfo2(3). */
typedef struct hshm_stats {
    size_t struct_size;   /* set by the caller: sizeof(hshm_stats_t) */
    uint64_t limit;       /* most bytes the segment may take */
    uint64_t committed;   /* bytes of memory that it has */
    uint64_t available;   /* bytes that may still be allocated, with what is free in it */
    uint64_t blocks;      /* handed out and not freed, of all members */
    uint64_t bytes;       /* in them, rounded up to what they occupy */
    uint64_t names;       /* blocks that have a name */
    uint64_t members;     /* alive */
    uint64_t left_blocks; /* of the blocks: left by members that have ended */
    uint64_t left_bytes;
    uint64_t our_blocks; /* of the blocks: in pages of this member */
    uint64_t our_bytes;
    uint64_t peak;         /* most bytes of memory that it ever had or had promised */
    uint64_t largest_free; /* about the largest block that could be had now */
} hshm_stats_t;
int hshm_stats(hshm_segment *segment, hshm_stats_t *stats);

/* The following call back until 'each' returns other than 0, and return what it returned last, or an
 * error (of this enum, so let yours be others).  The structures may grow at their end. */

/* By size class, smallest first; last all blocks that are larger than the classes: size 0. */
typedef struct hshm_class {
    uint64_t size;           /* of each block */
    uint64_t blocks, bytes;  /* handed out and not freed */
    uint64_t free_blocks;    /* that can be handed out without new memory */
    uint64_t reserved_bytes; /* of the segment's addresses */
} hshm_class_t;
int hshm_classes(hshm_segment *segment, int (*each)(const hshm_class_t *c, void *context),
                 void *context);

/* By member: those that live, and those that died and nobody has recovered yet. */
typedef struct hshm_member {
    unsigned member; /* its place, as in hshm_info_t */
    int alive;
    uint64_t pid; /* in its own pid namespace */
    const char *program;
    uint64_t blocks, bytes; /* handed out and not freed, in its pages */
    uint64_t committed;     /* bytes of memory that it has charged to it */
    uint64_t threads;       /* that have allocated and live */
} hshm_member_t;
int hshm_members(hshm_segment *segment, int (*each)(const hshm_member_t *member, void *context),
                 void *context);

/* By heap that hshm_heap_create() made. */
typedef struct hshm_heap_info {
    uint32_t id;
    enum hshm_heap_kind kind;
    uint64_t used; /* as hshm_heap_used() */
    uint64_t size; /* of a STACK */
    uint64_t header_size;
    uint64_t handles; /* open in all members */
} hshm_heap_info_t;
int hshm_heaps(hshm_segment *segment, int (*each)(const hshm_heap_info_t *heap, void *context),
               void *context);
/* By the place in the program that asked: an option, for it takes a lock and some 100 ns for each call.
 * From hshm_track(1) on blocks that this process allocates through this header are noted with the
 * address that hshm_alloc() and the like return to, until somebody in it frees them; hshm_track(0)
 * forgets all.  Not noted are blocks with names, and those of a STACK.  For malloc of a program under the
 * preload there is HSHM_TRACE.  hshm_sites(): ENOMEM also if there was no memory to note all. */
int hshm_track(int on);
typedef struct hshm_site {
    const void *address;    /* of the code after the call */
    const char *file;       /* the program or library that it is in; "" if unknown */
    const char *function;   /* that it is in, if its symbol is known; else "" */
    uint64_t offset;        /* in 'file': addr2line -e FILE OFFSET tells the line */
    uint64_t blocks, bytes; /* not freed; as they were asked for */
} hshm_site_t;
/* Most bytes first, until 'each' returns other than 0; what it returned last. */
int hshm_sites(int (*each)(const hshm_site_t *site, void *context), void *context);

/* Give free memory back to the system; 1 if there was some. */
int hshm_trim(hshm_segment *segment);

#ifdef __cplusplus
}
#endif

#endif
