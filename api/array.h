/* array.h - a segment in memory of the caller's: an array at any address, shared with others or not.
 *
 * What lies in it has no pointers, only offsets, so that each process may have it somewhere else.
 * One robust mutex guards all of it.  Whoever gets it from a dead owner counts everything anew from
 * the row of blocks, which is sound at every instruction: a block is split by writing the header
 * of its rest first, and joined with the next one by writing its own size.
 */
#pragma once
#include "api/api.h"

#define ARRAY_MAGIC   UINT64_C(0x31795272416d6873) /* "shmArRy1" */
#define ARRAY_BINS    48
#define ARRAY_BUCKETS 64
#define ARRAY_ID_BIT  0x80000000u /* of hshm_ptr_t.segment */
#define ARRAY_LEAST   (UINT64_C(16) << 10)

/* 16 bytes before what the caller gets. */
struct array_block {
    uint64_t before; /* bytes of the block before it; above bit 48 a mark that tells a block */
    uint64_t size;   /* with this header; a multiple of 16; bit 0: in use */
    uint64_t next, previous; /* if it is free: of the list, offsets */
};
#define ARRAY_HEAD (2 * sizeof(uint64_t))
#define ARRAY_MIN  sizeof(struct array_block)

struct array_name {
    uint64_t next; /* of the bucket */
    uint64_t block, size, type, made_ns;
    char name[128];
};

struct array {
    uint64_t magic; /* written last */
    uint32_t id, check;
    uint64_t size;        /* of the array that is used */
    uint64_t first, end;  /* of the blocks */
    uint64_t used, count; /* bytes and number of blocks in use */
    uint64_t peak, names;
    hshm_mutex_t mutex;
    uint64_t bins[ARRAY_BINS];       /* free blocks of 2^(n + 5) bytes up to twice that */
    uint64_t buckets[ARRAY_BUCKETS]; /* array_name by hash */
};

/* ---- array_blocks.c: the mutex is held ------------------------------------------------- */

/* One free block from 'first' to 'end'. */
void array_blocks_make(struct array *a);
/* Lists and counts from the row of blocks; false: it is damaged. */
bool array_blocks_mend(struct array *a);
void *array_block_get(struct array *a, size_t align, size_t size);
void array_block_put(struct array *a, void *p);
/* In place; false: it cannot. */
bool array_block_resize(struct array *a, void *p, size_t size);
/* What may be used of the block in use that begins at p; 0: none does. */
size_t array_block_usable(const struct array *a, const void *p);
uint64_t array_largest(const struct array *a);

static inline uint64_t array_off(const struct array *a, const void *p)
{
    return (uint64_t)((const char *)p - (const char *)a);
}
static inline void *array_at(const struct array *a, uint64_t off)
{
    return (char *)(uintptr_t)a + off;
}

/* ---- array.c ------------------------------------------------------------------------------ */

/* 'segment' is an array's; each tells its errors. */
void *array_alloc(struct hshm_segment *s, size_t align, size_t size);
void array_free(struct hshm_segment *s, void *p, const char *call);
void *array_realloc(struct hshm_segment *s, void *p, size_t size);
size_t array_usable(struct hshm_segment *s, const void *p);
void *array_named(struct hshm_segment *s, const char *name, size_t size, size_t align,
                  uint64_t type, unsigned flags, int *made);
void *array_find(struct hshm_segment *s, const char *name, size_t size, uint64_t type);
int array_publish(struct hshm_segment *s, const char *name, void *block, size_t size,
                  uint64_t type);
int array_unname(struct hshm_segment *s, const char *name);
int array_name_info(struct hshm_segment *s, const char *name, hshm_name_t *info);
int array_names(struct hshm_segment *s,
                int (*each)(const char *name, const hshm_name_t *info, void *context),
                void *context);
int array_stats(struct hshm_segment *s, hshm_stats_t *stats);
/* Make or join what lies at 'memory'. */
int array_attach(struct hshm_segment *s, void *memory, size_t size, unsigned flags);
