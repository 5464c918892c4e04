/* gpu_seg.c - the view of one device's bookkeeping, and this process's own tables. */
#include "gpu_hooks/gpu.h"

void gpu_seg_view(struct gpu_seg *s, void *area, unsigned index)
{
    char *device = (char *)area + GPU_DEVICES_OFF + index * GPU_DEVICE_BYTES;
    s->index = index;
    s->header = area;
    s->members = (struct gpu_member *)((char *)area + GPU_MEMBERS_OFF);
    s->device = (struct gpu_device *)device;
    s->chunks = (struct gpu_chunk *)(device + GPU_CHUNKS_OFF);
    s->taken = (sh64_t *)(device + GPU_TAKEN_OFF);
    s->units = (struct gpu_unit *)(device + GPU_UNITS_OFF);
    s->blocks = (struct gpu_block *)(device + GPU_BLOCKS_OFF);
    s->chunk_units = s->device->chunk_units;
    s->chunk_count = (uint32_t)s->device->chunk_count;
    s->unit_count = s->chunk_units * s->chunk_count;
}

bool gpu_seg_private(struct gpu_seg *s)
{
    s->pages = os_map(round_up(s->unit_count * sizeof *s->pages, OS_PAGE), true);
    s->shards = os_map(round_up(GPU_SHARDS * sizeof *s->shards, OS_PAGE), true);
    if (s->pages && s->shards)
        return true;
    gpu_seg_private_drop(s);
    return false;
}

void gpu_seg_private_drop(struct gpu_seg *s)
{
    if (s->pages)
        os_unmap(s->pages, round_up(s->unit_count * sizeof *s->pages, OS_PAGE));
    if (s->shards)
        os_unmap(s->shards, round_up(GPU_SHARDS * sizeof *s->shards, OS_PAGE));
    s->pages = NULL;
    s->shards = NULL;
}

/* On a full tmpfs a touch is SIGBUS: ask first. */
bool gpu_back(void *at, uint64_t bytes)
{
    uint64_t from = (uint64_t)(uintptr_t)at & ~(OS_PAGE - 1);
    uint64_t to = round_up((uint64_t)(uintptr_t)at + bytes, OS_PAGE);
    return os_populate((void *)(uintptr_t)from, to - from) == 0;
}

bool gpu_chunk_back(struct gpu_seg *s, uint32_t chunk)
{
    uint64_t first = chunk * s->chunk_units;
    return gpu_back(&s->units[first], s->chunk_units * sizeof *s->units) &&
           gpu_back(&s->taken[first / 64], s->chunk_units / 8);
}

/* ---- locks of this process ----------------------------------------------------------------- */

void gpu_lock(uint32_t *lock)
{
    uint32_t seen = 0;
    /* acquire: pairs with the release in gpu_unlock() of another thread */
    if (__atomic_compare_exchange_n(lock, &seen, 1, false, __ATOMIC_ACQUIRE, __ATOMIC_RELAXED))
        return;
    while (__atomic_exchange_n(lock, 2, __ATOMIC_ACQUIRE) != 0)
        os_futex_wait(lock, 2);
}

void gpu_unlock(uint32_t *lock)
{
    /* release: pairs with the acquire in gpu_lock() */
    if (__atomic_exchange_n(lock, 0, __ATOMIC_RELEASE) == 2)
        os_futex_wake(lock, 1);
}

/* ---- addresses --------------------------------------------------------------------------------- */

static enum gpu_unit_state unit_state(uint64_t word)
{
    return (enum gpu_unit_state)word_state(word);
}

uint64_t gpu_ref_bytes(const struct gpu_seg *s, gpu_ref ref)
{
    struct gpu_unit *u = &s->units[gpu_ref_unit(ref)];
    if (gpu_ref_block(ref) == GPU_WHOLE)
        return (uint64_t)word_length(get(u->word)) << GPU_UNIT_SHIFT;
    uint32_t cls = get(u->cls);
    return cls < CLASS_COUNT ? gpu_class_bytes(cls) : 0;
}

uint64_t gpu_ref_off(const struct gpu_seg *s, gpu_ref ref)
{
    uint64_t off = gpu_ref_unit(ref) << GPU_UNIT_SHIFT;
    return gpu_ref_block(ref) == GPU_WHOLE ? off : off + gpu_ref_block(ref) * gpu_ref_bytes(s, ref);
}

gpu_ref gpu_find(const struct gpu_seg *s, uint64_t off)
{
    uint64_t unit = off >> GPU_UNIT_SHIFT;
    if (unit >= s->unit_count || !s->usable[unit / s->chunk_units])
        return GPU_NO_REF;
    uint64_t word = get_acquire(s->units[unit].word);
    if (unit_state(word) == GPU_PART) {
        uint64_t back = word_length(word);
        if (!back || back > unit)
            return GPU_NO_REF;
        unit -= back;
        word = get_acquire(s->units[unit].word);
    }
    if (unit_state(word) == GPU_LARGE)
        return gpu_ref_make(unit, GPU_WHOLE);
    uint32_t cls = get(s->units[unit].cls);
    if (unit_state(word) != GPU_PAGE || cls >= CLASS_COUNT)
        return GPU_NO_REF;
    uint64_t block = (off - (unit << GPU_UNIT_SHIFT)) / gpu_class_bytes(cls);
    return block < gpu_page_blocks(cls) ? gpu_ref_make(unit, (uint32_t)block) : GPU_NO_REF;
}
