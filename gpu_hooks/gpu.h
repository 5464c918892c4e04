/* gpu.h - this process's side of the GPU segments, without any driver.
 *
 * What is shared is declared in allocators/layout.h and written at the sites of
 * sites.def.  A device's memory is divided in units of 64 KiB; runs of them are
 * claimed by CAS, a word at a time, each word naming the member in charge.
 * Blocks up to 1 MiB lie in pages, which one member owns; larger ones are runs.
 *
 * Nobody waits for another process.  The locks here order threads of one
 * process, lie in its private memory, and are never held across a call of a
 * driver.
 */
#pragma once
#include "allocators/gpu_words.h"

/* A block: the first unit of its page or run << 8 | its number in the page, or GPU_WHOLE. */
typedef uint64_t gpu_ref;
#define GPU_NO_REF UINT64_MAX
#define GPU_WHOLE  255
static inline gpu_ref gpu_ref_make(uint64_t unit, uint32_t block)
{
    return unit << 8 | block;
}
static inline uint64_t gpu_ref_unit(gpu_ref ref)
{
    return ref >> 8;
}
static inline uint32_t gpu_ref_block(gpu_ref ref)
{
    return (uint32_t)ref & 0xff;
}

enum gpu_life { GPU_ALIVE, GPU_ENDING, GPU_ENDED }; /* ENDING: its work on the device may go on */

/* A page of ours; what is free in it is on no list but here and in a shard. */
struct gpu_page {
    uint64_t free[2];
    uint32_t next, prev; /* of its class, those with something free: unit + 1, 0 none */
    uint8_t cls;
    bool listed, owned;
};

#define GPU_SHARDS 16
#define GPU_CACHED 8
struct gpu_shard { /* what a few threads allocate from */
    uint32_t lock;
    uint8_t count[CLASS_COUNT];
    gpu_ref refs[CLASS_COUNT][GPU_CACHED];
};

#define GPU_RUNS_CACHED 32
struct gpu_seg {
    unsigned index; /* of the device in the area */
    struct gpu_header *header;
    struct gpu_member *members, *me;
    struct gpu_device *device;
    struct gpu_chunk *chunks;
    sh64_t *taken;
    struct gpu_unit *units;
    struct gpu_block *blocks;
    uint64_t id; /* ours */
    uint64_t unit_count, chunk_units;
    uint32_t chunk_count;
    bool reclaim; /* HSHM_EXIT */
    enum gpu_life (*life)(const struct gpu_seg *s, uint64_t id);
    /* private */
    uint32_t lock;
    uint32_t upkeep;               /* lock: one thread collects or sweeps */
    uint8_t usable[GPU_CHUNK_MAX]; /* mapped in this process */
    struct gpu_page *pages;        /* by first unit */
    uint32_t class_first[CLASS_COUNT];
    struct gpu_shard *shards;
    uint64_t runs_bytes; /* freed runs kept for the next request of the same size */
    uint32_t runs_count;
    struct {
        uint32_t unit, units;
    } runs[GPU_RUNS_CACHED];
};

/* Points the shared fields of 's' into an area mapped at 'area'. */
void gpu_seg_view(struct gpu_seg *s, void *area, unsigned index);
/* Private tables; false: no memory. */
bool gpu_seg_private(struct gpu_seg *s);
void gpu_seg_private_drop(struct gpu_seg *s);
/* Backs the tables of a chunk, before anybody touches them. */
bool gpu_back(void *at, uint64_t bytes);
bool gpu_chunk_back(struct gpu_seg *s, uint32_t chunk);

void gpu_lock(uint32_t *lock);
void gpu_unlock(uint32_t *lock);

static inline struct gpu_block *gpu_block_of(const struct gpu_seg *s, gpu_ref ref)
{
    return gpu_ref_block(ref) == GPU_WHOLE
               ? &s->units[gpu_ref_unit(ref)].block
               : &s->blocks[gpu_ref_unit(ref) * GPU_PAGE_BLOCKS + gpu_ref_block(ref)];
}
/* Offset on the device, and the bytes that the block takes. */
uint64_t gpu_ref_off(const struct gpu_seg *s, gpu_ref ref);
uint64_t gpu_ref_bytes(const struct gpu_seg *s, gpu_ref ref);
/* The block that 'off' lies in, which need not be in use; GPU_NO_REF: none. */
gpu_ref gpu_find(const struct gpu_seg *s, uint64_t off);

/* ---- runs ---------------------------------------------------------------------------------- */

/* Where n units would fit best: as few new chunks as possible, then as little left over as
 * possible.  With 'empty' chunks that are EMPTY count too.  False: nowhere. */
bool gpu_run_find(struct gpu_seg *s, uint32_t n, bool empty, uint64_t *start);
bool gpu_run_claim(struct gpu_seg *s, uint64_t start, uint32_t n); /* false: somebody was faster */
void gpu_run_publish(struct gpu_seg *s, uint64_t start, uint32_t n, enum gpu_unit_state as);
void gpu_run_release(struct gpu_seg *s, uint64_t start); /* a PAGE or LARGE of ours */

/* ---- blocks ---------------------------------------------------------------------------------- */

enum gpu_got { GPU_GOT, GPU_NEEDS_CHUNK, GPU_IS_FULL };
/* A block in state FREE that is ours.  NEEDS_CHUNK: make chunk *chunk, and ask again. */
enum gpu_got gpu_take(struct gpu_seg *s, uint64_t bytes, gpu_ref *ref, uint32_t *chunk);
/* FREE -> LIVE */
void gpu_start(struct gpu_seg *s, gpu_ref ref, uint64_t bytes, unsigned context);
/* Unlike start: it was never handed out. */
void gpu_untake(struct gpu_seg *s, gpu_ref ref);

enum gpu_freed {
    GPU_FREED_OURS,  /* now WAIT: gpu_reuse() once our work with it is done */
    GPU_FREED_GIVEN, /* its owner takes it back */
    GPU_FREED_HELD,  /* others have it open */
    GPU_FREED_NOT,   /* it is not in use */
};
enum gpu_freed gpu_free_block(struct gpu_seg *s, gpu_ref ref);
void gpu_reuse(struct gpu_seg *s,
               gpu_ref ref); /* WAIT -> FREE, and back to where blocks come from */
/* Calls back for the blocks of ours that others have freed, each then WAIT. */
void gpu_collect(struct gpu_seg *s, void (*each)(struct gpu_seg *s, gpu_ref ref, void *arg),
                 void *arg);
/* A page of ours that came with an ended member; 'free' has its free blocks. */
void gpu_page_add(struct gpu_seg *s, uint64_t unit, unsigned cls, const uint64_t free[2]);
/* Gives back what is kept for later: cached runs, empty pages. */
void gpu_trim(struct gpu_seg *s);

/* ---- opened by others (IPC) --------------------------------------------------------------------- */

bool gpu_open(struct gpu_seg *s, gpu_ref ref, uint64_t state);
/* False: it was not open.  *last: it was freed meanwhile and this was the last one. */
bool gpu_close(struct gpu_seg *s, gpu_ref ref);
bool gpu_is_open(const struct gpu_seg *s, gpu_ref ref);

/* ---- the dead -------------------------------------------------------------------------------------- */

/* Frees what ended members had and nobody keeps; takes over their pages.  How many ended.
 * One process at a time (LOCK_GPU). */
unsigned gpu_sweep(struct gpu_seg *s);
/* The memory of a chunk is gone, with all who had it: so are the blocks in it. */
void gpu_chunk_forget(struct gpu_seg *s, uint32_t chunk);
/* Bytes in use: of living members and of what ended ones left. */
uint64_t gpu_used(const struct gpu_seg *s);
