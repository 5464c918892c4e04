/* preload.h - what the files of the preload share.
 *
 * A program's call comes in at interpose.c.  Its fast path takes a block from
 * the calling thread's cache; all else goes through init.c's cache_get(),
 * which attaches to the segment on first use.
 */
#pragma once
#include "allocators/alloc.h"
#include "allocators/heap.h"
#include "config/options.h"

#define EXPORT __attribute__((visibility("default")))
#ifdef __clang__
#define ALIAS_OF(name) __attribute__((alias(#name)))
#else /* gcc wants an alias to promise no less than its target */
#define ALIAS_OF(name) __attribute__((alias(#name), copy(name)))
#endif

enum preload_mode {
    MODE_NEW,      /* nothing has been asked of us yet */
    MODE_STARTING, /* attaching; what this very thread allocates meanwhile comes from bootstrap.c */
    MODE_HEAP,     /* we serve */
    MODE_LIBC,     /* we pass everything through */
};
extern enum preload_mode preload_mode;

/* The cache that the fast path uses, or no_cache, which has nothing: then every
 * call takes the slow path.  'own' is the thread's cache in either case. */
extern __thread struct thread_cache *tls_cache __attribute__((tls_model("initial-exec")));
struct thread_state {
    struct thread_cache *own;
    struct thread_cache *shared; /* of hshm.h's calls; NULL: none yet */
    uint32_t libc_depth;         /* > 0: blocks made now are libc's own affair, see libc_blocks.c */
    bool ended;                  /* its destructors have run: nothing may be cached any more */
    bool tracing;                /* inside trace.c: what it allocates is not recorded */
    bool starting;               /* inside preload_start() */
    bool looking;                /* inside real_get() */
    int64_t trace_left;          /* bytes until the next call site is recorded */
    uint64_t trace_random;
    uint32_t busy; /* > 0: in a slow path, see interrupted.c */
};
extern __thread struct thread_state tls_state __attribute__((tls_model("initial-exec")));
extern struct thread_cache no_cache;

/* Attach if that has not happened.  Afterwards the mode is HEAP or LIBC. */
void preload_start(void);

/* What the options and the environment make of this process. */
extern const char *preload_program;
extern bool
    preload_slow; /* every call takes the slow path: counting, size limits, other allocators */

/* A cache to serve the calling thread; NULL: use libc.  Must be given back. */
struct thread_cache *cache_get(void);
void cache_put(struct thread_cache *tc);

/* ---- the C library's own functions ------------------------------------------------ */
struct real {
    void *(*malloc)(size_t);
    void *(*calloc)(size_t, size_t);
    void *(*realloc)(void *, size_t);
    void (*free)(void *);
    int (*posix_memalign)(void **, size_t, size_t);
    size_t (*malloc_usable_size)(void *);
};
/* Looked up on first use; NULL while that lookup itself allocates. */
const struct real *real_get(void);
void *real_symbol(const char *name);

/* ---- bootstrap.c: a few KiB for what is asked while we start ------------------------- */
void *bootstrap_alloc(size_t n, size_t align);
bool bootstrap_owns(const void *p);
size_t bootstrap_size(const void *p);

/* ---- modes.c: allocators other than 'thread', and limits of size ----------------------- */
bool mode_has_bounds(void);
bool mode_sends_to_libc(size_t n);
void *mode_malloc(struct thread_cache *tc, size_t n, size_t align, bool zero);
bool mode_free(struct thread_cache *tc, void *p);

size_t mode_size(const void *p);
void modes_after_fork(void);
bool mode_realloc(struct thread_cache *tc, void *p, size_t n, void **out);

enum call { CALL_MALLOC, CALL_CALLOC, CALL_REALLOC, CALL_FREE };
void count_call(enum call call);
void count_libc_bytes(size_t n);

void fork_start(void);
void sigbus_start(void);
void sigbus_after_fork(void);

/* ---- info.c, report.c, trace.c, dump.c: what the heap tells of itself ------------------ */
struct usage {
    size_t held, used, pages, large, large_bytes, keep;
    size_t blocks[CLASS_COUNT]; /* small ones in use */
};
struct usage usage_now(void);

void report_start(void); /* HSHM_STATS=signal:NAME */
void report_at_exit(void);
void dump_start(void); /* HSHM_DUMP */

extern bool trace_is_on; /* HSHM_TRACE; then every call takes the slow path */
void trace_start(void);
void trace_alloc(void *p, size_t n);
void trace_free(void *p);
void trace_after_fork(void);
void trace_tell_leaks(void);
/* Writes HSHM_TRACE_FILE. */
void trace_write(void);
/* "function (file+0x123)" of a return address. */
void symbol_put(char *to, size_t size, void *address);
/* Are we in a signal handler that interrupted malloc or free of this thread? */
bool malloc_is_interrupted(void);
void interrupted_start(void);
void member_identity_changed(void);
