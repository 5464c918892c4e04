/* cuda_memory.c - allocating and freeing.
 *
 * cudaFree() is known to wait for the device, and programs rely on it: a block
 * is used again only when the work of its process on the device is done.  Until
 * then it waits (state WAIT, and the list 'waiting'). */
#include "gpu_hooks/cuda.h"

#include "config/log.h"
#include "config/options.h"

#include <string.h>

#define WAITING_MAX 1024
#define SWEEP_MS    20
#define RETIRE_MS   100
#define ALLOC_TRIES 64

/* ---- what waits ----------------------------------------------------------------------------- */

static void waiting_add(struct cuda_dev *dev, gpu_ref ref)
{
    gpu_lock(&dev->waiting_lock);
    if (dev->waiting_count == dev->waiting_room) {
        uint32_t room = dev->waiting_room ? dev->waiting_room * 2 : 512;
        gpu_ref *more = os_map(room * sizeof *more, false);
        if (more) {
            if (dev->waiting) {
                memcpy(more, dev->waiting, dev->waiting_count * sizeof *more);
                os_unmap(dev->waiting, dev->waiting_room * sizeof *more);
            }
            dev->waiting = more;
            dev->waiting_room = room;
        }
    }
    if (dev->waiting_count < dev->waiting_room) { /* else it waits until this process ends */
        dev->waiting[dev->waiting_count++] = ref;
        dev->waiting_bytes += gpu_ref_bytes(&dev->seg, ref);
    }
    gpu_unlock(&dev->waiting_lock);
}

static void collect_each(struct gpu_seg *s, gpu_ref ref, void *dev)
{
    (void)s;
    waiting_add(dev, ref);
}

/* The list as it was before we waited. */
static cu_result drain(struct cuda_dev *dev)
{
    gpu_lock(&dev->waiting_lock);
    gpu_ref *list = dev->waiting;
    uint32_t n = dev->waiting_count, room = dev->waiting_room;
    dev->waiting = NULL;
    dev->waiting_count = dev->waiting_room = 0;
    dev->waiting_bytes = 0;
    gpu_unlock(&dev->waiting_lock);
    cu_result result = cuda_sync(dev);
    bool done = result == CU_OK || result == CU_DEINITIALIZED;
    for (uint32_t i = 0; i < n; i++)
        if (done)
            gpu_reuse(&dev->seg, list[i]);
        else
            waiting_add(dev, list[i]);
    if (list)
        os_unmap(list, room * sizeof *list);
    return result;
}

cu_result cuda_drain(struct cuda_dev *dev)
{
    gpu_collect(&dev->seg, collect_each, dev);
    return drain(dev);
}

/* ---- allocating -------------------------------------------------------------------------------- */

/* Room is short: what others freed, what waits, what the dead had, what others made. */
static void relieve(struct cuda_dev *dev)
{
    uint64_t now = os_now_ms();
    gpu_collect(&dev->seg, collect_each, dev);
    if (dev->waiting_count && !cuda_capturing())
        drain(dev);
    if (now - dev->swept_ms >= SWEEP_MS) {
        dev->swept_ms = now;
        cuda_chunks_mend(dev);
        cuda_sweep(dev);
    }
    cuda_chunks_map(dev);
}

static bool block_find(struct cuda_dev *dev, uint64_t bytes, gpu_ref *ref)
{
    bool relieved = false, trimmed = false;
    for (int i = 0; i < ALLOC_TRIES; i++) {
        uint32_t chunk;
        enum gpu_got got = gpu_take(&dev->seg, bytes, ref, &chunk);
        if (got == GPU_GOT)
            return true;
        if (!relieved) {
            relieve(dev);
            relieved = true;
        } else if (got == GPU_IS_FULL || cuda_chunk_create(dev, chunk) != CU_OK) {
            if (trimmed)
                return false;
            gpu_trim(&dev->seg);
            trimmed = true;
        }
    }
    return false;
}

bool cuda_alloc(struct cuda_dev *dev, uint64_t bytes, unsigned context, cu_ptr *ptr)
{
    gpu_ref ref;
    bool clear = option_number(OPT_GPU_ZERO), captures = cuda_capturing();
    if (clear && captures) /* clearing would become part of the graph */
        return false;
    cuda_inside++;
    int mode = CU_CAPTURE_RELAXED;
    if (captures)
        cuda.cuThreadExchangeStreamCaptureMode(&mode);
    if (dev->reaccess) {
        dev->reaccess = false;
        cuda_access_set(dev);
    }
    bool found = block_find(dev, bytes, &ref);
    if (found && clear &&
        cuda.cuMemsetD8_v2(cuda_ref_ptr(dev, ref), 0, gpu_ref_bytes(&dev->seg, ref)) != CU_OK) {
        gpu_untake(&dev->seg, ref);
        found = false;
    }
    if (captures)
        cuda.cuThreadExchangeStreamCaptureMode(&mode);
    cuda_inside--;
    if (!found)
        return false;
    gpu_start(&dev->seg, ref, bytes, context);
    *ptr = cuda_ref_ptr(dev, ref);
    return true;
}

/* ---- freeing -------------------------------------------------------------------------------------- */

gpu_ref cuda_find(const struct cuda_dev *dev, cu_ptr ptr)
{
    gpu_ref ref = gpu_find(&dev->seg, ptr - dev->base);
    if (ref == GPU_NO_REF)
        return ref;
    enum gpu_block_state state =
        (enum gpu_block_state)word_state(get_acquire(gpu_block_of(&dev->seg, ref)->state));
    return state == GPU_LIVE || state == GPU_HELD ? ref : GPU_NO_REF;
}

static void retire_sometimes(struct cuda_dev *dev)
{
    uint64_t now = os_now_ms();
    if (now - dev->retired_ms < RETIRE_MS)
        return;
    dev->retired_ms = now;
    cuda_chunks_retire(dev, 1);
}

/* ordered: the program has ordered the free after its work by itself (cudaFreeAsync), and must not
 * be made to wait here. */
cu_result cuda_free(struct cuda_dev *dev, cu_ptr ptr, bool ordered)
{
    struct gpu_seg *s = &dev->seg;
    gpu_ref ref = gpu_find(s, ptr - dev->base);
    if (ref == GPU_NO_REF || cuda_ref_ptr(dev, ref) != ptr)
        return CU_INVALID_VALUE;
    enum gpu_freed freed = gpu_free_block(s, ref);
    if (freed == GPU_FREED_NOT)
        return CU_INVALID_VALUE;
    if (freed == GPU_FREED_OURS)
        waiting_add(dev, ref);
    bool later = ordered || option_number(OPT_GPU_FREE) == GPU_FREE_DEFERRED;
    if (cuda_capturing() ||
        (later && dev->waiting_count < WAITING_MAX && dev->waiting_bytes < dev->bytes / 16))
        return CU_OK;
    cuda_inside++;
    cu_result result = cuda_drain(dev);
    retire_sometimes(dev);
    cuda_inside--;
    return result == CU_DEINITIALIZED ? CU_OK : result;
}
