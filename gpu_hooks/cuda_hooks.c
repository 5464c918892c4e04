/* cuda_hooks.c - the wrappers.  Where the GPU segment has no part in a call it is the driver's.
 *
 * A program must not see that its memory comes from elsewhere: our pointers look like those of
 * cudaMalloc to every question it can ask. */
#include "gpu_hooks/cuda.h"
#include "gpu_hooks/resolve.h"

#include "config/log.h"
#include "config/options.h"

#include <string.h>

/* The exported names are aliases: see cuda_hooks.h. */
#ifdef __clang__
#define EXPORT_AS(symbol) __attribute__((visibility("default"), alias("hook_" #symbol)))
#else
#define EXPORT_AS(symbol)                                                                          \
    __attribute__((visibility("default"), alias("hook_" #symbol), copy(hook_##symbol)))
#endif
#define HOOK(name, symbol, since, until, streams)                                                  \
    extern symbol##_fn symbol;                                                                     \
    EXPORT_AS(symbol) symbol##_fn symbol;
#include "gpu_hooks/cuda_hooks.def"
#undef HOOK

/* Calls the driver's own, or says what a driver that was never initialised says. */
#define REAL(symbol, ...) (cuda_real(symbol) ? cuda_real(symbol)(__VA_ARGS__) : CU_NOT_INITIALIZED)

cu_result hook_cuGetProcAddress(const char *name, void **found, int version, uint64_t flags)
{
    cu_result result = REAL(cuGetProcAddress, name, found, version, flags);
    if (result == CU_OK && found && *found && name)
        *found = cuda_substitute(name, version, flags, *found);
    return result;
}

cu_result hook_cuGetProcAddress_v2(const char *name, void **found, int version, uint64_t flags,
                                   int *status)
{
    cu_result result = REAL(cuGetProcAddress_v2, name, found, version, flags, status);
    if (result == CU_OK && (!status || *status == 0) && found && *found && name)
        *found = cuda_substitute(name, version, flags, *found);
    return result;
}

/* ---- allocating, freeing ------------------------------------------------------------------- */

static void count_passed(void)
{
    if (!cuda_on() || !cuda_process->attached)
        return;
    struct gpu_member *m = (struct gpu_member *)((char *)cuda_process->area + GPU_MEMBERS_OFF) +
                           member_slot(main_heap.member_id);
    fetch_add(gpu_count, m->passed, 1);
}

/* True: it is done, with that result.  False: the driver is to do it. */
static bool alloc(cu_ptr *ptr, size_t bytes, cu_result *result)
{
    unsigned context;
    struct cuda_dev *dev = ptr && bytes ? cuda_current(&context) : NULL;
    if (!dev)
        return false;
    *result = CU_OK;
    if (cuda_alloc(dev, bytes, context, ptr))
        return true;
    fetch_add(gpu_count, dev->seg.device->refused, 1);
    if (option_number(OPT_GPU_FULL) == GPU_FULL_FAIL) {
        *result = CU_OUT_OF_MEMORY;
        return true;
    }
    log_once("GPU segment %s: no room for %zuB on GPU %d; the driver gives memory that is not "
             "shared (HSHM_GPU_FULL, HSHM_GPU_SIZE)",
             main_heap.name, bytes, (int)dev->ordinal);
    return false;
}

cu_result hook_cuMemAlloc_v2(cu_ptr *ptr, size_t bytes)
{
    cu_result result;
    return alloc(ptr, bytes, &result) ? result : REAL(cuMemAlloc_v2, ptr, bytes);
}

#define PITCH 512

cu_result hook_cuMemAllocPitch_v2(cu_ptr *ptr, size_t *pitch, size_t width, size_t height,
                                  unsigned element)
{
    cu_result result;
    size_t row = (width + PITCH - 1) / PITCH * PITCH;
    bool sane = pitch && width && height && row >= width && height <= SIZE_MAX / row &&
                (element == 4 || element == 8 || element == 16);
    if (!sane || !alloc(ptr, row * height, &result))
        return REAL(cuMemAllocPitch_v2, ptr, pitch, width, height, element);
    if (result == CU_OK)
        *pitch = row;
    return result;
}

static bool has_context(void)
{
    cu_context current = NULL;
    return cuda.cuCtxGetCurrent(&current) == CU_OK && current;
}

cu_result hook_cuMemFree_v2(cu_ptr ptr)
{
    struct cuda_dev *dev = ptr ? cuda_owner(ptr) : NULL;
    if (!dev)
        return REAL(cuMemFree_v2, ptr);
    return has_context() ? cuda_free(dev, ptr, false) : CU_INVALID_CONTEXT;
}

/* Memory of cudaMalloc may be freed by cudaFreeAsync, too. */
#define FREE_ASYNC(symbol)                                                                         \
    cu_result hook_##symbol(cu_ptr ptr, cu_stream stream)                                          \
    {                                                                                              \
        struct cuda_dev *dev = ptr ? cuda_owner(ptr) : NULL;                                       \
        return dev ? cuda_free(dev, ptr, true) : REAL(symbol, ptr, stream);                        \
    }
FREE_ASYNC(cuMemFreeAsync)
FREE_ASYNC(cuMemFreeAsync_ptsz)

/* ---- questions -------------------------------------------------------------------------------- */

static uint64_t smaller(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

/* What a program sees is what it would see without us: what chunks have free is free. */
cu_result hook_cuMemGetInfo_v2(size_t *free, size_t *total)
{
    size_t free_now = 0, whole = 0;
    cu_result result = REAL(cuMemGetInfo_v2, &free_now, &whole);
    if (result != CU_OK)
        return result;
    unsigned context;
    struct cuda_dev *dev = cuda_on() && cuda_process->attached ? cuda_current(&context) : NULL;
    if (dev) {
        struct gpu_seg *s = &dev->seg;
        uint64_t chunks = 0, used = gpu_used(s), limit = s->device->limit;
        for (uint32_t c = 0; c < s->chunk_count; c++)
            if ((enum gpu_chunk_state)word_state(get(s->chunks[c].word)) == GPU_READY)
                chunks += dev->chunk_bytes;
        uint64_t within = chunks > used ? chunks - used : 0;
        free_now = smaller(free_now + within, limit > used ? limit - used : 0);
        whole = smaller(whole, limit);
        free_now = smaller(free_now, whole);
    }
    if (free)
        *free = free_now;
    if (total)
        *total = whole;
    return CU_OK;
}

struct look {
    cu_ptr base;
    uint64_t bytes, id; /* asked for; a number that no other block of the process has */
    cu_context context;
};

/* False: no living block is there. */
static bool look_at(struct cuda_dev *dev, cu_ptr ptr, struct look *look)
{
    gpu_ref ref = cuda_find(dev, ptr);
    if (ref == GPU_NO_REF)
        return false;
    struct gpu_block *b = gpu_block_of(&dev->seg, ref);
    uint64_t state = get_acquire(b->state), info = get(b->info);
    look->base = cuda_ref_ptr(dev, ref);
    look->bytes = gpu_info_bytes(info);
    look->id = UINT64_C(1) << 63 | (uint64_t)dev->seg.index << 56 | ref << 24 | word_length(state);
    look->context = NULL;
    if (word_member(state) == dev->seg.id)
        look->context = cuda_context_of(gpu_info_context(info));
    else
        cuda.cuCtxGetCurrent(&look->context);
    return ptr - look->base < look->bytes;
}

#define NOWHERE ((cu_ptr)8) /* an address that no driver knows */

cu_result hook_cuMemGetAddressRange_v2(cu_ptr *base, size_t *bytes, cu_ptr ptr)
{
    struct look look;
    struct cuda_dev *dev = cuda_owner(ptr);
    if (!dev)
        return REAL(cuMemGetAddressRange_v2, base, bytes, ptr);
    if (!has_context() || !look_at(dev, ptr, &look))
        return REAL(cuMemGetAddressRange_v2, base, bytes, NOWHERE);
    if (base)
        *base = look.base;
    if (bytes)
        *bytes = look.bytes;
    return CU_OK;
}

/* What the driver knows of the chunk, put right for the block. */
static void correct(const struct look *look, int attribute, void *data)
{
    switch (attribute) {
    case CU_PTR_CONTEXT: *(cu_context *)data = look->context; break;
    case CU_PTR_BUFFER_ID: *(unsigned long long *)data = look->id; break;
    case CU_PTR_LEGACY_IPC: *(int *)data = 1; break;
    case CU_PTR_RANGE_START:
    case CU_PTR_MAPPING_BASE: *(cu_ptr *)data = look->base; break;
    case CU_PTR_RANGE_SIZE:
    case CU_PTR_MAPPING_SIZE: *(size_t *)data = look->bytes; break;
    case CU_PTR_HANDLE_TYPES: *(unsigned long long *)data = 0; break;
    case CU_PTR_MEMPOOL: *(cu_ptr *)data = 0; break;
    default: break;
    }
}

cu_result hook_cuPointerGetAttribute(void *data, int attribute, cu_ptr ptr)
{
    struct look look;
    struct cuda_dev *dev = cuda_owner(ptr);
    if (!dev)
        return REAL(cuPointerGetAttribute, data, attribute, ptr);
    if (!look_at(dev, ptr, &look))
        return REAL(cuPointerGetAttribute, data, attribute, NOWHERE);
    cu_result result = REAL(cuPointerGetAttribute, data, attribute, ptr);
    if (result == CU_OK && data)
        correct(&look, attribute, data);
    return result;
}

cu_result hook_cuPointerGetAttributes(unsigned count, int *attributes, void **data, cu_ptr ptr)
{
    struct look look;
    struct cuda_dev *dev = cuda_owner(ptr);
    if (!dev)
        return REAL(cuPointerGetAttributes, count, attributes, data, ptr);
    if (!look_at(dev, ptr, &look))
        return REAL(cuPointerGetAttributes, count, attributes, data, NOWHERE);
    cu_result result = REAL(cuPointerGetAttributes, count, attributes, data, ptr);
    for (unsigned i = 0; result == CU_OK && i < count; i++)
        if (data[i])
            correct(&look, attributes[i], data[i]);
    return result;
}

/* As for memory of cudaMalloc: else who asks would export the whole chunk, with offsets from the
 * block's address. */
cu_result hook_cuMemRetainAllocationHandle(cu_handle *handle, void *ptr)
{
    return cuda_owner((cu_ptr)(uintptr_t)ptr) ? CU_INVALID_VALUE
                                              : REAL(cuMemRetainAllocationHandle, handle, ptr);
}

/* ---- handles between processes ------------------------------------------------------------------ */

/* What we put in the 64 bytes of a handle. */
struct token {
    char magic[8];
    uint64_t nonce;      /* of the segment's area */
    uint64_t uuid;       /* of the device */
    uint64_t generation; /* of the device's tables */
    uint64_t ref, state; /* the block, and no later one at its place */
    uint64_t bytes;
    uint64_t sum;
};
static_assert(sizeof(struct token) == sizeof(struct cu_ipc_handle), "a token is a handle");
static const char token_magic[8] = "hshmGPU1";

static uint64_t token_sum(const struct token *t)
{
    uint64_t sum = UINT64_C(0x9e3779b97f4a7c15);
    const uint64_t words[] = { t->nonce, t->uuid, t->generation, t->ref, t->state, t->bytes };
    for (unsigned i = 0; i < sizeof words / sizeof *words; i++)
        sum = (sum ^ words[i]) * UINT64_C(0xff51afd7ed558ccd) ^ sum >> 29;
    return sum;
}

cu_result hook_cuIpcGetMemHandle(struct cu_ipc_handle *handle, cu_ptr ptr)
{
    struct cuda_dev *dev = cuda_owner(ptr);
    if (!dev)
        return REAL(cuIpcGetMemHandle, handle, ptr);
    gpu_ref ref = cuda_find(dev, ptr);
    if (ref == GPU_NO_REF || !handle)
        return CU_INVALID_VALUE;
    struct gpu_block *b = gpu_block_of(&dev->seg, ref);
    fetch_or(gpu_info, b->info, (uint64_t)GPU_EXPORTED << 48);
    struct token t = { .nonce = get(dev->seg.header->nonce),
                       .uuid = dev->seg.device->uuid[0] ^ dev->seg.device->uuid[1] << 1,
                       .generation = get(dev->seg.device->generation),
                       .ref = ref,
                       .state = get_acquire(b->state),
                       .bytes = gpu_info_bytes(get(b->info)) };
    memcpy(t.magic, token_magic, sizeof t.magic);
    t.sum = token_sum(&t);
    memcpy(handle, &t, sizeof t);
    return CU_OK;
}

/* The device is found by the token: it must be attached here, and the handle of this segment. */
static struct cuda_dev *token_device(const struct token *t)
{
    for (unsigned i = 0; i < GPU_DEVICE_MAX; i++) {
        struct cuda_dev *dev = cuda_by_index(i);
        if (dev && (dev->seg.device->uuid[0] ^ dev->seg.device->uuid[1] << 1) == t->uuid &&
            get(dev->seg.header->nonce) == t->nonce &&
            get(dev->seg.device->generation) == t->generation)
            return dev;
    }
    return NULL;
}

static cu_result token_open(cu_ptr *ptr, const struct token *t)
{
    unsigned context;
    if (!cuda_current(&context)) /* attaches the current device, if it is not yet */
        return has_context() ? CU_INVALID_VALUE : CU_INVALID_CONTEXT;
    struct cuda_dev *dev = token_device(t);
    if (!dev || gpu_ref_unit(t->ref) >= dev->seg.unit_count ||
        (gpu_ref_block(t->ref) >= GPU_PAGE_BLOCKS && gpu_ref_block(t->ref) != GPU_WHOLE))
        return CU_INVALID_VALUE;
    if (word_member(t->state) == dev->seg.id) /* as the driver: not in the process that made it */
        return CU_INVALID_CONTEXT;
    if (!dev->seg.usable[gpu_ref_unit(t->ref) / dev->seg.chunk_units]) {
        cuda_inside++;
        cuda_chunks_map(dev);
        cuda_inside--;
    }
    uint64_t off = gpu_ref_off(&dev->seg, t->ref);
    if (gpu_find(&dev->seg, off) != t->ref || !gpu_open(&dev->seg, t->ref, t->state))
        return CU_INVALID_VALUE;
    *ptr = dev->base + off;
    return CU_OK;
}

static bool is_token(const struct cu_ipc_handle *handle, struct token *t)
{
    memcpy(t, handle, sizeof *t);
    return memcmp(t->magic, token_magic, sizeof t->magic) == 0 && t->sum == token_sum(t);
}

#define IPC_OPEN(symbol)                                                                           \
    cu_result hook_##symbol(cu_ptr *ptr, struct cu_ipc_handle handle, unsigned flags)              \
    {                                                                                              \
        struct token t;                                                                            \
        return gpu_hooks_on && ptr && is_token(&handle, &t) ? token_open(ptr, &t)                  \
                                                            : REAL(symbol, ptr, handle, flags);    \
    }
IPC_OPEN(cuIpcOpenMemHandle)
IPC_OPEN(cuIpcOpenMemHandle_v2)

cu_result hook_cuIpcCloseMemHandle(cu_ptr ptr)
{
    struct cuda_dev *dev = cuda_owner(ptr);
    if (!dev)
        return REAL(cuIpcCloseMemHandle, ptr);
    gpu_ref ref = gpu_find(&dev->seg, ptr - dev->base);
    if (ref == GPU_NO_REF || cuda_ref_ptr(dev, ref) != ptr)
        return CU_INVALID_VALUE;
    cuda_inside++; /* our work with it has to be done before its owner's next block lies there */
    if (!cuda_capturing())
        cuda_sync(dev);
    cuda_inside--;
    return gpu_close(&dev->seg, ref) ? CU_OK : CU_INVALID_VALUE;
}

/* ---- contexts --------------------------------------------------------------------------------------- */

static bool primary_is_active(cu_device device)
{
    unsigned flags;
    int active = 1;
    return !cuda_on() || cuda.cuDevicePrimaryCtxGetState(device, &flags, &active) != CU_OK ||
           active;
}

#define CONTEXT_RESET(symbol)                                                                      \
    cu_result hook_##symbol(cu_device device)                                                      \
    {                                                                                              \
        cu_result result = REAL(symbol, device);                                                   \
        if (result == CU_OK)                                                                       \
            cuda_free_context(NULL, device, true);                                                 \
        return result;                                                                             \
    }
CONTEXT_RESET(cuDevicePrimaryCtxReset)
CONTEXT_RESET(cuDevicePrimaryCtxReset_v2)

#define CONTEXT_RELEASE(symbol)                                                                    \
    cu_result hook_##symbol(cu_device device)                                                      \
    {                                                                                              \
        cu_result result = REAL(symbol, device);                                                   \
        if (result == CU_OK && !primary_is_active(device))                                         \
            cuda_free_context(NULL, device, true);                                                 \
        return result;                                                                             \
    }
CONTEXT_RELEASE(cuDevicePrimaryCtxRelease)
CONTEXT_RELEASE(cuDevicePrimaryCtxRelease_v2)

cu_result hook_cuCtxDestroy_v2(cu_context context)
{
    cu_result result = REAL(cuCtxDestroy_v2, context);
    if (result == CU_OK)
        cuda_free_context(context, -1, false);
    return result;
}

/* It covers the driver's own allocations; ours are told by name. */
cu_result hook_cuCtxEnablePeerAccess(cu_context peer, unsigned flags)
{
    cu_result result = REAL(cuCtxEnablePeerAccess, peer, flags);
    cu_device self = -1, other = -1;
    cu_context top;
    if (result != CU_OK || !gpu_hooks_on)
        return result;
    unsigned context;
    cuda_current(&context);
    if (!cuda_on() || cuda.cuCtxGetDevice(&self) != CU_OK ||
        cuda.cuCtxPushCurrent_v2(peer) != CU_OK)
        return result;
    bool known = cuda.cuCtxGetDevice(&other) == CU_OK && other >= 0 && other < CUDA_DEVICES &&
                 self >= 0 && self < CUDA_DEVICES;
    if (known) {
        cuda_current(&context); /* the peer's: its later chunks need to know, too */
        cuda_inside++;
        cuda_process->devices[other].access |= UINT32_C(1) << self;
        if (cuda_process->devices[other].state == DEV_ATTACHED)
            cuda_access_set(&cuda_process->devices[other]);
        cuda_inside--;
    }
    cuda.cuCtxPopCurrent_v2(&top);
    return result;
}

/* ---- captures ------------------------------------------------------------------------------------------ */

uint32_t cuda_captures;

static cu_result capture_began(cu_result result)
{
    if (result == CU_OK)
        __atomic_fetch_add(&cuda_captures, 1, __ATOMIC_RELAXED);
    return result;
}

static void capture_ended(void)
{
    if (cuda_captures)
        __atomic_fetch_sub(&cuda_captures, 1, __ATOMIC_RELAXED);
}

#define CAPTURE(symbol)                                                                            \
    cu_result hook_##symbol(cu_stream stream, int mode)                                            \
    {                                                                                              \
        return capture_began(REAL(symbol, stream, mode));                                          \
    }
CAPTURE(cuStreamBeginCapture_v2)
CAPTURE(cuStreamBeginCapture_v2_ptsz)

#define CAPTURE_TO_GRAPH(symbol)                                                                   \
    cu_result hook_##symbol(cu_stream stream, cu_graph graph, const void *dependencies,            \
                            const void *data, size_t count, int mode)                              \
    {                                                                                              \
        return capture_began(REAL(symbol, stream, graph, dependencies, data, count, mode));        \
    }
CAPTURE_TO_GRAPH(cuStreamBeginCaptureToGraph)
CAPTURE_TO_GRAPH(cuStreamBeginCaptureToGraph_ptsz)

#define CAPTURE_END(symbol)                                                                        \
    cu_result hook_##symbol(cu_stream stream, cu_graph *graph)                                     \
    {                                                                                              \
        cu_result result = REAL(symbol, stream, graph);                                            \
        if (result != CU_INVALID_VALUE) /* also one that was invalidated has ended */              \
            capture_ended();                                                                       \
        return result;                                                                             \
    }
CAPTURE_END(cuStreamEndCapture)
CAPTURE_END(cuStreamEndCapture_ptsz)

/* ---- passed through ------------------------------------------------------------------------------------- */

#define PASS(symbol, parameters, ...)                                                              \
    cu_result hook_##symbol parameters                                                             \
    {                                                                                              \
        count_passed();                                                                            \
        return REAL(symbol, __VA_ARGS__);                                                          \
    }
PASS(cuMemAllocManaged, (cu_ptr * ptr, size_t bytes, unsigned flags), ptr, bytes, flags)
PASS(cuMemAllocAsync, (cu_ptr * ptr, size_t bytes, cu_stream stream), ptr, bytes, stream)
PASS(cuMemAllocAsync_ptsz, (cu_ptr * ptr, size_t bytes, cu_stream stream), ptr, bytes, stream)
PASS(cuMemAllocFromPoolAsync, (cu_ptr * ptr, size_t bytes, cu_pool pool, cu_stream stream), ptr,
     bytes, pool, stream)
PASS(cuMemAllocFromPoolAsync_ptsz, (cu_ptr * ptr, size_t bytes, cu_pool pool, cu_stream stream),
     ptr, bytes, pool, stream)
