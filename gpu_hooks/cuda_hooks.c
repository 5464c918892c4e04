/* cuda_hooks.c - the wrappers.  Without a GPU segment each is the driver's function. */
#include "gpu_hooks/cuda_hooks.h"
#include "gpu_hooks/resolve.h"

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

#define PASS(symbol, parameters, ...)                                                              \
    cu_result hook_##symbol parameters                                                             \
    {                                                                                              \
        return REAL(symbol, __VA_ARGS__);                                                          \
    }

PASS(cuMemAlloc_v2, (cu_ptr *ptr, size_t bytes), ptr, bytes)
PASS(cuMemAllocPitch_v2,
     (cu_ptr *ptr, size_t *pitch, size_t width, size_t height, unsigned element), ptr, pitch, width,
     height, element)
PASS(cuMemFree_v2, (cu_ptr ptr), ptr)
PASS(cuMemFreeAsync, (cu_ptr ptr, cu_stream stream), ptr, stream)
PASS(cuMemFreeAsync_ptsz, (cu_ptr ptr, cu_stream stream), ptr, stream)
PASS(cuMemGetInfo_v2, (size_t *free, size_t *total), free, total)
PASS(cuMemGetAddressRange_v2, (cu_ptr *base, size_t *bytes, cu_ptr ptr), base, bytes, ptr)
PASS(cuMemRetainAllocationHandle, (cu_handle *handle, void *ptr), handle, ptr)
PASS(cuPointerGetAttribute, (void *data, int attribute, cu_ptr ptr), data, attribute, ptr)
PASS(cuPointerGetAttributes, (unsigned count, int *attributes, void **data, cu_ptr ptr), count,
     attributes, data, ptr)
PASS(cuIpcGetMemHandle, (struct cu_ipc_handle *handle, cu_ptr ptr), handle, ptr)
PASS(cuIpcOpenMemHandle, (cu_ptr *ptr, struct cu_ipc_handle handle, unsigned flags), ptr, handle,
     flags)
PASS(cuIpcOpenMemHandle_v2, (cu_ptr *ptr, struct cu_ipc_handle handle, unsigned flags), ptr,
     handle, flags)
PASS(cuIpcCloseMemHandle, (cu_ptr ptr), ptr)
PASS(cuDevicePrimaryCtxReset, (cu_device device), device)
PASS(cuDevicePrimaryCtxReset_v2, (cu_device device), device)
PASS(cuDevicePrimaryCtxRelease, (cu_device device), device)
PASS(cuDevicePrimaryCtxRelease_v2, (cu_device device), device)
PASS(cuCtxDestroy_v2, (cu_context context), context)
PASS(cuCtxEnablePeerAccess, (cu_context peer, unsigned flags), peer, flags)
PASS(cuStreamBeginCapture_v2, (cu_stream stream, int mode), stream, mode)
PASS(cuStreamBeginCapture_v2_ptsz, (cu_stream stream, int mode), stream, mode)
PASS(cuStreamBeginCaptureToGraph,
     (cu_stream stream, cu_graph graph, const void *dependencies, const void *data, size_t count,
      int mode),
     stream, graph, dependencies, data, count, mode)
PASS(cuStreamBeginCaptureToGraph_ptsz,
     (cu_stream stream, cu_graph graph, const void *dependencies, const void *data, size_t count,
      int mode),
     stream, graph, dependencies, data, count, mode)
PASS(cuStreamEndCapture, (cu_stream stream, cu_graph *graph), stream, graph)
PASS(cuStreamEndCapture_ptsz, (cu_stream stream, cu_graph *graph), stream, graph)
PASS(cuMemAllocManaged, (cu_ptr *ptr, size_t bytes, unsigned flags), ptr, bytes, flags)
PASS(cuMemAllocAsync, (cu_ptr *ptr, size_t bytes, cu_stream stream), ptr, bytes, stream)
PASS(cuMemAllocAsync_ptsz, (cu_ptr *ptr, size_t bytes, cu_stream stream), ptr, bytes, stream)
PASS(cuMemAllocFromPoolAsync, (cu_ptr *ptr, size_t bytes, cu_pool pool, cu_stream stream), ptr,
     bytes, pool, stream)
PASS(cuMemAllocFromPoolAsync_ptsz, (cu_ptr *ptr, size_t bytes, cu_pool pool, cu_stream stream),
     ptr, bytes, pool, stream)
