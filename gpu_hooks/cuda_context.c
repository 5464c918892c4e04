/* cuda_context.c - the contexts that this process has allocated in. */
#include "gpu_hooks/cuda.h"

static uint32_t contexts_lock;

static bool context_is_primary(cu_context context, cu_device device)
{
    unsigned flags;
    int active = 0;
    cu_context primary = NULL;
    if (cuda.cuDevicePrimaryCtxGetState(device, &flags, &active) != CU_OK || !active ||
        cuda.cuDevicePrimaryCtxRetain(&primary, device) != CU_OK)
        return false;
    cuda.cuDevicePrimaryCtxRelease_v2(device);
    return primary == context;
}

/* Numbers from 1; 0 stands for those that found no place. */
unsigned cuda_context_number(cu_context context, cu_device device)
{
    unsigned empty = CUDA_CONTEXTS;
    for (unsigned i = 0; i < CUDA_CONTEXTS; i++) {
        cu_context seen = __atomic_load_n(&cuda_process->contexts[i].context, __ATOMIC_ACQUIRE);
        if (seen == context && cuda_process->contexts[i].device == device)
            return i + 1;
        if (!seen)
            break;
    }
    cuda_inside++;
    bool primary = context_is_primary(context, device);
    cuda_inside--;
    gpu_lock(&contexts_lock);
    for (unsigned i = 0; i < CUDA_CONTEXTS && empty == CUDA_CONTEXTS; i++)
        if (!cuda_process->contexts[i].context || cuda_process->contexts[i].context == context)
            empty = i;
    if (empty < CUDA_CONTEXTS) {
        cuda_process->contexts[empty].device = device;
        cuda_process->contexts[empty].primary = primary;
        /* release: pairs with the acquire above, in another thread */
        __atomic_store_n(&cuda_process->contexts[empty].context, context, __ATOMIC_RELEASE);
    }
    gpu_unlock(&contexts_lock);
    return empty < CUDA_CONTEXTS ? empty + 1 : 0;
}

cu_context cuda_context_of(unsigned number)
{
    return number ? cuda_process->contexts[number - 1].context : NULL;
}

/* Does a context of that number end with this one?  A primary context may be the same again. */
static bool ends(unsigned i, cu_context context, cu_device device, bool primary)
{
    return primary ? cuda_process->contexts[i].primary && cuda_process->contexts[i].device == device
                   : cuda_process->contexts[i].context == context;
}

static void free_all(struct cuda_dev *dev, const uint8_t *gone)
{
    struct gpu_seg *s = &dev->seg;
    for (uint64_t unit = 0; unit < s->unit_count;) {
        if (!s->usable[unit / s->chunk_units]) {
            unit = (unit / s->chunk_units + 1) * s->chunk_units;
            continue;
        }
        uint64_t word = get_acquire(s->units[unit].word);
        bool page = (enum gpu_unit_state)word_state(word) == GPU_PAGE;
        bool large = (enum gpu_unit_state)word_state(word) == GPU_LARGE;
        uint32_t cls = get(s->units[unit].cls), n = word_length(word);
        unsigned blocks = page && cls < CLASS_COUNT ? gpu_page_blocks(cls) : large ? 1 : 0;
        for (unsigned i = 0; i < blocks && word_member(word) == s->id; i++) {
            gpu_ref ref = gpu_ref_make(unit, large ? GPU_WHOLE : i);
            struct gpu_block *b = gpu_block_of(s, ref);
            uint64_t state = get_acquire(b->state);
            if ((enum gpu_block_state)word_state(state) == GPU_LIVE &&
                word_member(state) == s->id && gone[gpu_info_context(get(b->info))] &&
                gpu_free_block(s, ref) == GPU_FREED_OURS)
                gpu_reuse(s, ref); /* the driver has ended all work of the context */
        }
        unit += (page || large) && n ? n : 1;
    }
    dev->reaccess = true;
}

void cuda_free_context(cu_context context, cu_device device, bool primary)
{
    uint8_t gone[256] = { 0 };
    if (!cuda_on())
        return;
    bool any = false;
    for (unsigned i = 0; i < CUDA_CONTEXTS; i++)
        if (cuda_process->contexts[i].context && ends(i, context, device, primary)) {
            gone[i + 1] = 1;
            any = true;
            device = cuda_process->contexts[i].device;
        }
    if (!any || !(cuda_process->attached >> device & 1))
        return;
    cuda_inside++;
    free_all(&cuda_process->devices[device], gone);
    cuda_inside--;
    for (unsigned i = 0; i < CUDA_CONTEXTS; i++)
        if (gone[i + 1] && !primary) /* its address may be another context's later */
            __atomic_store_n(&cuda_process->contexts[i].context, (cu_context)1, __ATOMIC_RELEASE);
}

static bool is_current(cu_context context)
{
    cu_context current = NULL;
    return cuda.cuCtxGetCurrent(&current) == CU_OK && current == context;
}

cu_result cuda_sync(const struct cuda_dev *dev)
{
    cu_result result = CU_OK;
    for (unsigned i = 0; i < CUDA_CONTEXTS && cuda_process->contexts[i].context; i++) {
        cu_context context = cuda_process->contexts[i].context, top;
        if (cuda_process->contexts[i].device != dev->ordinal || context == (cu_context)1)
            continue;
        bool pushed = !is_current(context);
        if (pushed && cuda.cuCtxPushCurrent_v2(context) != CU_OK)
            continue;
        cu_result one = cuda.cuCtxSynchronize();
        if (pushed)
            cuda.cuCtxPopCurrent_v2(&top);
        if (one != CU_OK)
            result = one;
    }
    return result;
}
