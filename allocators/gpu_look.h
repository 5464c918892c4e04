/* gpu_look.h - the GPU segments of a segment, seen from outside: read by pread(), nothing trusted. */
#pragma once
#include "allocators/gpu_words.h"
#include "allocators/view.h"

struct gpu_look_class {
    uint64_t pages, blocks, free;
};

struct gpu_look {
    struct gpu_device device; /* its entry; validated */
    uint64_t chunk_bytes;
    uint32_t chunks, changing;    /* there; being made or given back */
    uint64_t used, kept, waiting; /* bytes of blocks: of living members, of ended ones, freed */
    uint64_t large_blocks, large_bytes;
    struct gpu_look_class classes[CLASS_COUNT];
    const char *wrong; /* the first thing that cannot be, and where in the file */
    uint64_t wrong_off, wrong_is;
};

/* Has the segment's file a part for GPUs at all? */
bool gpu_area_is_there(const struct view *v);
/* False: no device has that number. */
bool gpu_look(const struct view *v, unsigned index, struct gpu_look *look);
/* Bytes that the member in a slot has on all devices, if it has that id. */
uint64_t gpu_member_bytes(const struct view *v, uint64_t slot, uint64_t id);

/* Marks what ended members have on GPUs to be freed, which the living do when they next look; with
 * 'dry' only counts it.  Bytes. */
uint64_t gpu_reclaim(const struct view *v, const char *path, bool dry);
