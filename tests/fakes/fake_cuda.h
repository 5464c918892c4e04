/* fake_cuda.h - what the files of the double of libcuda.so.1 share: see fake.h.
 *
 *   fake_cuda.c           counting and failing calls; memory, and the addresses that it has
 *   fake_cuda_contexts.c  devices, contexts, streams
 *   fake_cuda_memory.c    cuMemAlloc() and what belongs to it, IPC
 *   fake_cuda_virtual.c   virtual memory management
 *   fake_cuda_work.c      copies, memsets, captures
 *   fake_cuda_names.c     cuGetProcAddress()
 */
#pragma once
#include "tests/fakes/fake.h"

#include <pthread.h>
#include <stdint.h>
#include <sys/types.h>

#define API __attribute__((visibility("default"))) int

typedef unsigned long long ptr_t;
enum {
    OK = 0,
    INVALID = 1,
    NOMEM = 2,
    NOT_INITIALIZED = 3,
    NO_DEVICE = 100,
    INVALID_DEVICE = 101,
    INVALID_CONTEXT = 201,
    MAP_FAILED_ = 205,
    PEER_ALREADY = 704,
    NOT_FOUND = 500,
    NOT_SUPPORTED = 801,
    CAPTURE_UNSUPPORTED = 900,
    CAPTURE_INVALIDATED = 901,
    UNKNOWN = 999
};

#define GRANULARITY ((size_t)2 << 20)
#define DEVICES     4
#define NAMES       200

/* ---- fake_cuda.c --------------------------------------------------------------------------- */

struct memory {
    int fd, refs, device, imported;
    size_t bytes;
    int shareable;
};

enum kind { RESERVED, VMM, LEGACY, IPC };
struct range {
    ptr_t at;
    size_t bytes, offset;
    enum kind kind;
    struct memory *memory;
    struct context *context;
    unsigned long long id;
    unsigned access; /* a bit for each device */
    struct range *next;
};
extern pthread_mutex_t lock; /* everything but the streams' queues */
extern pid_t init_pid;
extern int device_count;
extern struct range *ranges;
extern size_t taken; /* without a card: what this process has */

int enter(const char *name);
#define ENTER()                                                                                    \
    do {                                                                                           \
        int entered = enter(__func__);                                                             \
        if (entered)                                                                               \
            return entered;                                                                        \
    } while (0)

size_t card_bytes(void);
struct memory *memory_make(size_t bytes, int device);
void memory_drop(struct memory *m);
struct range *range_add(ptr_t at, size_t bytes, enum kind kind, struct memory *m);
void range_remove(struct range *r);
/* What is mapped there: not a mere reservation. */
struct range *range_find(ptr_t p);
struct range *reservation_find(ptr_t p, size_t bytes);
int transfer(ptr_t device, void *host, size_t n, int writes);

/* ---- fake_cuda_contexts.c ------------------------------------------------------------------ */

struct job {
    void (*fn)(void *);
    void *arg;
    unsigned delay_us;
    struct job *next;
};
struct stream {
    struct context *context;
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t more, done;
    struct job *first, **last;
    int busy, started, capturing;
    struct stream *next;
};
struct context {
    int device, primary, refs, gone;
    unsigned peers;
    struct stream *streams;
    struct stream *standard;
};
extern int captures;
extern int capture_broken;

struct context *context_now(void);
void context_wait(struct context *c);
struct stream *stream_make(struct context *c);
struct stream *stream_of(void *handle);
int stream_put(struct stream *s, unsigned delay_us, void (*fn)(void *), void *arg);
void stream_wait(struct stream *s);

/* ---- fake_cuda_memory.c -------------------------------------------------------------------- */

size_t round_to(size_t n, size_t unit);
