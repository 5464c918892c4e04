/* segment.h - naming, creating, joining, leaving and removing segments. */
#pragma once
#include "allocators/heap.h"
#include "allocators/member.h"

/* Where named segments live and what their files are called: the format's
 * number is in the name, so groups of different versions do not meet. */
#define SEGMENT_DIR    "/dev/shm"
#define SEGMENT_PREFIX "hshm1-" /* then uid, '-', name */

enum segment_how { SEGMENT_JOIN_OR_MAKE = 0, SEGMENT_MAKE, SEGMENT_JOIN };

struct heap_config {
    const char *name; /* as HSHM_SEGMENT, expanded; "" for a private heap */
    const char *program;
    uint64_t (*limit)(uint64_t whole);        /* HSHM_SIZE of the file system's or RAM's bytes */
    uint64_t (*member_limit)(uint64_t whole); /* HSHM_MEMBER_SIZE; 0 none */
    uint64_t (*warm)(uint64_t whole);         /* HSHM_WARM */
    uint64_t (*fork_hold)(uint64_t whole);    /* HSHM_FORK_HOLD */
    unsigned mode;
    bool persist, reclaim, reserve, zero, check;
    int64_t purge_delay_ms;
    enum segment_how how;
};

/* Why a segment was not attached, where callers want to know: compare by address. */
extern const char segment_is_there[], segment_is_none[], segment_clashes[], segment_is_unnamed[],
    segment_no_permission[], segment_no_memory[], segment_no_room[];

/* Path of the file of a segment name; false if it is no name or too long. */
bool segment_path(const char *name, uint64_t uid, char *path, size_t size);

/* Join the segment, making it first if need be.  On failure *why is a line for
 * people and the heap is not attached. */
bool segment_attach(struct heap *h, const struct heap_config *config, const char **why);
/* The same without a name: private memory of this process. */
bool segment_private(struct heap *h, const struct heap_config *config);

/* Map a segment for reading only: nobody's member, so it keeps nothing alive. */
bool segment_read(struct heap *h, const char *name, const char **why);
/* Undo segment_attach() or segment_read(): nothing of it may be touched any more. */
void segment_detach(struct heap *h);

/* A forked child that no wrapper saw takes a place of its own. */
bool segment_rejoin(struct heap *h, const struct heap_config *config);

/* Is this a header that may be trusted?  NULL if so, else what is wrong. */
const char *segment_validate(const struct seg_header *header, uint64_t file_bytes);

/* Remove the file unless somebody but 'except' lives; true if it is gone. */
bool segment_remove_if_idle(const char *path, uint32_t except);
/* Leaving: the last one out removes the file, unless it is to persist. */
void segment_leave(struct heap *h);

/* Name of the segment in SEGMENT_DIR that is mapped at this address by its members. */
bool segment_at(uint64_t address, char *name, size_t size);

/* Memory for struct mine. */
bool mine_make(struct heap *h);
