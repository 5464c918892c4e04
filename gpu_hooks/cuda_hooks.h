/* cuda_hooks.h - the wrappers that cuda_hooks.def lists, and the real functions behind them.
 *
 * A wrapper is hidden under its name with hook_ before it, which costs a
 * program that never meets a driver no relocation, and exported as an alias.
 */
#pragma once
#include "gpu_hooks/cuda_abi.h"

#include <stdbool.h>

typedef cu_result cuGetProcAddress_fn(const char *name, void **found, int version, uint64_t flags);
typedef cu_result cuGetProcAddress_v2_fn(const char *name, void **found, int version,
                                         uint64_t flags, int *status);
typedef cu_result cuMemAlloc_v2_fn(cu_ptr *ptr, size_t bytes);
typedef cu_result cuMemAllocPitch_v2_fn(cu_ptr *ptr, size_t *pitch, size_t width, size_t height,
                                        unsigned element);
typedef cu_result cuMemFree_v2_fn(cu_ptr ptr);
typedef cu_result cuMemFreeAsync_fn(cu_ptr ptr, cu_stream stream);
typedef cuMemFreeAsync_fn cuMemFreeAsync_ptsz_fn;
typedef cu_result cuMemGetInfo_v2_fn(size_t *free, size_t *total);
typedef cu_result cuMemGetAddressRange_v2_fn(cu_ptr *base, size_t *bytes, cu_ptr ptr);
typedef cu_result cuMemRetainAllocationHandle_fn(cu_handle *handle, void *ptr);
typedef cu_result cuPointerGetAttribute_fn(void *data, int attribute, cu_ptr ptr);
typedef cu_result cuPointerGetAttributes_fn(unsigned count, int *attributes, void **data,
                                            cu_ptr ptr);
typedef cu_result cuIpcGetMemHandle_fn(struct cu_ipc_handle *handle, cu_ptr ptr);
typedef cu_result cuIpcOpenMemHandle_fn(cu_ptr *ptr, struct cu_ipc_handle handle, unsigned flags);
typedef cuIpcOpenMemHandle_fn cuIpcOpenMemHandle_v2_fn;
typedef cu_result cuIpcCloseMemHandle_fn(cu_ptr ptr);
typedef cu_result cuDevicePrimaryCtxReset_fn(cu_device device);
typedef cuDevicePrimaryCtxReset_fn cuDevicePrimaryCtxReset_v2_fn;
typedef cu_result cuDevicePrimaryCtxRelease_fn(cu_device device);
typedef cuDevicePrimaryCtxRelease_fn cuDevicePrimaryCtxRelease_v2_fn;
typedef cu_result cuCtxDestroy_v2_fn(cu_context context);
typedef cu_result cuCtxEnablePeerAccess_fn(cu_context peer, unsigned flags);
typedef cu_result cuStreamBeginCapture_v2_fn(cu_stream stream, int mode);
typedef cuStreamBeginCapture_v2_fn cuStreamBeginCapture_v2_ptsz_fn;
typedef cu_result cuStreamBeginCaptureToGraph_fn(cu_stream stream, cu_graph graph,
                                                 const void *dependencies, const void *data,
                                                 size_t count, int mode);
typedef cuStreamBeginCaptureToGraph_fn cuStreamBeginCaptureToGraph_ptsz_fn;
typedef cu_result cuStreamEndCapture_fn(cu_stream stream, cu_graph *graph);
typedef cuStreamEndCapture_fn cuStreamEndCapture_ptsz_fn;
typedef cu_result cuMemAllocManaged_fn(cu_ptr *ptr, size_t bytes, unsigned flags);
typedef cu_result cuMemAllocAsync_fn(cu_ptr *ptr, size_t bytes, cu_stream stream);
typedef cuMemAllocAsync_fn cuMemAllocAsync_ptsz_fn;
typedef cu_result cuMemAllocFromPoolAsync_fn(cu_ptr *ptr, size_t bytes, cu_pool pool,
                                             cu_stream stream);
typedef cuMemAllocFromPoolAsync_fn cuMemAllocFromPoolAsync_ptsz_fn;

enum hook_id {
#define HOOK(name, symbol, since, until, streams) HOOK_##symbol,
#include "gpu_hooks/cuda_hooks.def"
#undef HOOK
    HOOK_COUNT
};

#define HOOK(name, symbol, since, until, streams)                                                  \
    __attribute__((visibility("hidden"))) symbol##_fn hook_##symbol;
#include "gpu_hooks/cuda_hooks.def"
#undef HOOK

/* The driver's own function behind a wrapper; NULL: no driver is loaded. */
void *cuda_real_find(enum hook_id id);
extern void *cuda_real[HOOK_COUNT];
#define cuda_real(symbol)                                                                          \
    ((symbol##_fn *)(cuda_real[HOOK_##symbol] ? cuda_real[HOOK_##symbol]                           \
                                              : cuda_real_find(HOOK_##symbol)))

/* The wrapper to give instead of what the driver's cuGetProcAddress() found; 'found' if none. */
void *cuda_substitute(const char *name, int version, uint64_t flags, void *found);
