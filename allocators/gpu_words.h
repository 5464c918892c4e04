/* gpu_words.h - what the words in the tables of GPU segments mean: see layout.h. */
#pragma once
#include "allocators/heap.h"

/* Size classes: those of the host heap, times 32.  512 B to 1 MiB, eight steps to a doubling. */
#define GPU_SMALL_MAX (UINT64_C(1) << 20)
#define GPU_ALIGN     512

static inline unsigned gpu_class_of(uint64_t bytes)
{
    return class_of((size_t)(bytes + 31) / 32);
}
static inline uint64_t gpu_class_bytes(unsigned cls)
{
    return (uint64_t)class_bytes(cls) * 32;
}
/* So many that the blocks fill whole units exactly. */
static inline unsigned gpu_page_blocks(unsigned cls)
{
    uint64_t bytes = gpu_class_bytes(cls);
    return bytes <= 8192     ? 128
           : bytes <= 16384  ? 64
           : bytes <= 32768  ? 32
           : bytes <= 65536  ? 16
           : bytes <= 524288 ? 8
                             : 4;
}
static inline uint32_t gpu_page_units(unsigned cls)
{
    return (uint32_t)(gpu_page_blocks(cls) * gpu_class_bytes(cls) >> GPU_UNIT_SHIFT);
}

/* state : 4 | member : 36 | generation, length or distance : 24 */
#define GPU_WORD(state, member, rest) LAYOUT_CHUNK_WORD(state, member, (uint64_t)(rest)&0xffffff)

#define GPU_INFO(bytes, context, flags)                                                            \
    ((uint64_t)(bytes) | (uint64_t)(context) << 40 | (uint64_t)(flags) << 48)
static inline uint64_t gpu_info_bytes(uint64_t info)
{
    return info & ((UINT64_C(1) << 40) - 1);
}
static inline unsigned gpu_info_context(uint64_t info)
{
    return (unsigned)(info >> 40) & 0xff;
}
static inline unsigned gpu_info_flags(uint64_t info)
{
    return (unsigned)(info >> 48);
}
