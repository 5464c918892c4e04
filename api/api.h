/* api.h - what the files of libhshm share.
 *
 * A segment that is open is a struct heap of the core.  The preload's, if there is
 * one, is the preload's own struct heap, found through its table.
 */
#pragma once
#include "allocators/heap.h"
#include "allocators/segment.h"
#include "include/hshm.h"

#include <time.h>

#define API           __attribute__((visibility("default")))
#define SEGMENTS_MAX  256
#define SEGMENT_SHIFT 26 /* windows are multiples of 64 MiB and lie at multiples of their size */

struct array;

struct hshm_segment {
    struct heap *heap;
    struct array *array; /* it lies in an array, see array.h; else NULL */
    struct heap own;
    struct heap_config config; /* to join again after a fork */
    uint64_t serial;           /* of this opening; 0: the entry is unused */
    uint64_t found_by;         /* see last_found */
    bool has_arrays;           /* arrays are or were open in its blocks */
    uint32_t index, opens;
    uint32_t id, check; /* hshm_ptr_t.segment and .check of pointers into it */
    bool is_default;
    bool memory_is_ours;    /* of an array: "malloc:" */
    struct seg_header fake; /* of an array: says how large it is */
    char name[208];
};

/* ---- segments.c ------------------------------------------------------------------------ */

/* 'segment', or the default one for NULL; NULL and the error told: there is none. */
struct hshm_segment *segment_get(struct hshm_segment *segment);
struct hshm_segment *segment_of(const void *p);
/* The same, and under the preload of a block of malloc's also before anybody asked for the default one. */
struct hshm_segment *segment_of_block(const void *p);
struct hshm_segment *segment_of_index(uint32_t index);
/* By its base >> SEGMENT_SHIFT. */
struct hshm_segment *segment_at_base(uint32_t base);
/* By hshm_ptr_t.segment. */
struct hshm_segment *segment_of_id(uint32_t id);
/* After a fork the child joins anew.  False: it cannot. */
bool segment_is_ours(struct hshm_segment *segment);
/* References and blocks of members that have died are given back, if it is time to look. */
void segment_without_the_dead(struct hshm_segment *segment);
/* Of the preload; NULL: there is none, or of another release. */
const struct heap_table *preload_table(void);

/* ---- stats.c ----------------------------------------------------------------------------- */

/* Bytes that it may still take, with those that are in it and nobody's: what its limit, that of this
 * member, its file system and the memory cgroup leave. */
uint64_t segment_room(struct hshm_segment *segment);

/* ---- sync.c ------------------------------------------------------------------------------ */

/* How long somebody waits: for ever (-1), not at all (0), until a time of CLOCK_MONOTONIC. */
struct patience {
    int wait_ms;
    struct timespec until;
};
struct patience patience(int wait_ms);
/* As pthread answers; EOWNERDEAD: it is got, and a mutex like any other again. */
int mutex_take(hshm_mutex_t *mutex, const struct patience *p);
int mutex_leave(hshm_mutex_t *mutex);
/* Tells why it was not got, and returns that error. */
int fail_taking(int rc, const char *what);

/* ---- threads.c --------------------------------------------------------------------------- */

/* What the calling thread allocates from; NULL and the error told: no memory, or read only. */
struct thread_cache *thread_cache_of(struct hshm_segment *segment);
/* Forget what this thread has of it. */
void thread_segment_closed(struct hshm_segment *segment);

/* ---- blocks.c ----------------------------------------------------------------------------- */

/* As the functions of the interface, for the library's own calls: nothing is noted, see track.h. */
void *block_alloc(struct hshm_segment *segment, size_t size);
void *block_alloc_aligned(struct hshm_segment *segment, size_t align, size_t size);
void *block_realloc(void *p, size_t size);
void block_free(void *p);

/* ---- named.c ------------------------------------------------------------------------------ */

/* As hshm_named() and hshm_unname(), for names of the library's own. */
void *named_make(struct hshm_segment *segment, const char *name, size_t size, size_t align,
                 uint64_t type, unsigned flags, int *made);
/* One that is filled before anybody can find it; its first 'clear' bytes are zero. */
struct filling {
    size_t size, align, clear;
    uint64_t type;
    void (*fill)(void *block, const struct filling *how);
    uint64_t a, b, c; /* what 'fill' needs */
};
void *named_filled(struct hshm_segment *segment, const char *name, const struct filling *how,
                   unsigned flags);
int named_remove(struct hshm_segment *segment, const char *name);

/* ---- errors.c ------------------------------------------------------------------------------ */

/* Notes it for hshm_error() and returns it. */
int fail(enum hshm_error error, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* What -E... of the core means here. */
int fail_core(long rc, const char *what);
/* No memory for 'size' bytes in the segment. */
int fail_memory(struct hshm_segment *segment, size_t size);
