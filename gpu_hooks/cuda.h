/* cuda.h - GPU segments on CUDA devices: what this process knows of the driver and its devices.
 *
 *   cuda_driver.c    the driver's functions that we call ourselves
 *   cuda_attach.c    from nothing to an attached device, on the first allocation
 *   cuda_chunk.c     the driver's memory: created, handed to the others, mapped, given back
 *   cuda_peer.c      descriptors from member to member
 *   cuda_memory.c    allocating and freeing, and what waits for the device
 *   cuda_context.c   contexts, captures, access from other devices
 *   cuda_hooks.c     the wrappers
 */
#pragma once
#include "gpu_hooks/cuda_hooks.h"
#include "gpu_hooks/gpu.h"
#include "gpu_hooks/gpu_os.h"

struct cuda_driver {
    cu_result (*cuCtxGetCurrent)(cu_context *context);
    cu_result (*cuCtxGetDevice)(cu_device *device);
    cu_result (*cuCtxPushCurrent_v2)(cu_context context);
    cu_result (*cuCtxPopCurrent_v2)(cu_context *context);
    cu_result (*cuCtxSynchronize)(void);
    cu_result (*cuDeviceGetAttribute)(int *value, int attribute, cu_device device);
    cu_result (*cuDeviceGetUuid_v2)(struct cu_uuid *uuid, cu_device device);
    cu_result (*cuDeviceTotalMem_v2)(size_t *bytes, cu_device device);
    cu_result (*cuDevicePrimaryCtxGetState)(cu_device device, unsigned *flags, int *active);
    cu_result (*cuDevicePrimaryCtxRetain)(cu_context *context, cu_device device);
    cu_result (*cuDevicePrimaryCtxRelease_v2)(cu_device device);
    cu_result (*cuMemGetAllocationGranularity)(size_t *bytes, const struct cu_alloc_prop *prop,
                                               int option);
    cu_result (*cuMemCreate)(cu_handle *handle, size_t bytes, const struct cu_alloc_prop *prop,
                             unsigned long long flags);
    cu_result (*cuMemRelease)(cu_handle handle);
    cu_result (*cuMemAddressReserve)(cu_ptr *ptr, size_t bytes, size_t align, cu_ptr hint,
                                     unsigned long long flags);
    cu_result (*cuMemAddressFree)(cu_ptr ptr, size_t bytes);
    cu_result (*cuMemMap)(cu_ptr ptr, size_t bytes, size_t offset, cu_handle handle,
                          unsigned long long flags);
    cu_result (*cuMemUnmap)(cu_ptr ptr, size_t bytes);
    cu_result (*cuMemSetAccess)(cu_ptr ptr, size_t bytes, const struct cu_access *access,
                                size_t count);
    cu_result (*cuMemExportToShareableHandle)(void *to, cu_handle handle, int type,
                                              unsigned long long flags);
    cu_result (*cuMemImportFromShareableHandle)(cu_handle *handle, void *os, int type);
    cu_result (*cuMemsetD8_v2)(cu_ptr to, unsigned char byte, size_t n);
    cu_result (*cuThreadExchangeStreamCaptureMode)(int *mode);
};
extern struct cuda_driver cuda;
bool cuda_driver_load(void); /* false: it lacks something */
/* A function of the C library that only programs with a GPU need. */
void *cuda_libc(const char *name);

/* ---- one device ------------------------------------------------------------------------- */

#define CUDA_DEVICES  32
#define CUDA_CONTEXTS 200

enum cuda_dev_state { DEV_NEW, DEV_ATTACHED, DEV_PASSED };

struct cuda_dev {
    enum cuda_dev_state state;
    cu_device ordinal;
    struct gpu_seg seg;
    uint64_t base, bytes; /* where the segment lies in this process */
    uint64_t chunk_bytes;
    bool rdma;
    bool relocated;
    uint32_t access; /* a bit for each other device that may use it */
    bool reaccess;   /* a context was reset: say again who may use it */
    uint32_t chunk_lock;
    struct {
        int fd; /* 0: not mapped here */
        uint32_t generation;
        struct os_file file; /* is it still ours? */
    } chunk[GPU_CHUNK_MAX];
    uint32_t waiting_lock;
    gpu_ref *waiting; /* freed, and perhaps still in use on the device */
    uint32_t waiting_count, waiting_room;
    uint64_t waiting_bytes;
    uint64_t swept_ms, retired_ms;
};

/* What this process is; the first word is zero in a forked child, which passes all through. */
struct cuda_process {
    uint64_t alive; /* in memory that fork wipes */
    uint32_t attach_lock;
    void *area; /* the GPU part of the segment's file */
    bool listens;
    struct cuda_dev devices[CUDA_DEVICES]; /* by ordinal */
    uint32_t attached;                     /* a bit for each */
    struct {
        cu_context context;
        cu_device device;
        bool primary;
    } contexts[CUDA_CONTEXTS]; /* number + 1 is in the info of blocks */
};
extern struct cuda_process *cuda_process; /* NULL until the first allocation */
/* Inside a call of ours: what the driver calls meanwhile is not for us. */
extern __thread uint32_t cuda_inside __attribute__((tls_model("initial-exec")));

/* Does this process take part (and was it not forked from one that does)? */
static inline bool cuda_on(void)
{
    return cuda_process && cuda_process->alive && !cuda_inside;
}

/* The device of the current context, attached if that is possible; NULL: leave it to the driver.
 * *context: number of the context. */
struct cuda_dev *cuda_current(unsigned *context);
struct cuda_dev *cuda_attach(cu_device ordinal);
/* The attached device whose segment has this address. */
struct cuda_dev *cuda_owner(cu_ptr ptr);
struct cuda_dev *cuda_by_index(unsigned index);

/* Does any other living member have this device? */
bool cuda_others_use(const struct gpu_seg *s, unsigned index);

/* ---- memory --------------------------------------------------------------------------------- */

/* False: it does not fit. */
bool cuda_alloc(struct cuda_dev *dev, uint64_t bytes, unsigned context, cu_ptr *ptr);
cu_result cuda_free(struct cuda_dev *dev, cu_ptr ptr, bool ordered);
/* Frees what the process made in a context that is gone. */
void cuda_free_context(cu_context context, cu_device device, bool primary);
/* Waits for the device and takes back what was freed before. */
cu_result cuda_drain(struct cuda_dev *dev);
gpu_ref cuda_find(const struct cuda_dev *dev, cu_ptr ptr); /* the living block it lies in */

static inline cu_ptr cuda_ref_ptr(const struct cuda_dev *dev, gpu_ref ref)
{
    return dev->base + gpu_ref_off(&dev->seg, ref);
}

/* ---- chunks ------------------------------------------------------------------------------------ */

cu_result cuda_chunk_create(struct cuda_dev *dev, uint32_t chunk);
/* With a descriptor that somebody gave; it is closed. */
bool cuda_chunk_import(struct cuda_dev *dev, uint32_t chunk, uint64_t word, long fd);
/* Maps what others have made and this process lacks. */
void cuda_chunks_map(struct cuda_dev *dev);
void cuda_chunk_unmap(struct cuda_dev *dev, uint32_t chunk);
/* Gives empty chunks back to the driver, but for 'keep' of them. */
void cuda_chunks_retire(struct cuda_dev *dev, unsigned keep);
/* Chunks in the hands of the dead. */
void cuda_chunks_mend(struct cuda_dev *dev);
/* A descriptor to hand on: the kept one, or a new export if the program has closed it.  -1. */
long cuda_chunk_fd(struct cuda_dev *dev, uint32_t chunk, bool *kept);
void cuda_access_set(struct cuda_dev *dev);
void cuda_sweep(struct cuda_dev *dev);

/* ---- peers ---------------------------------------------------------------------------------------- */

enum { PEER_GET = 1, PEER_ADD, PEER_DROP, PEER_YES, PEER_NO };
bool cuda_listen(void);
/* Asks one member after the other; -1: nobody has it. */
long cuda_peers_get(struct cuda_dev *dev, uint32_t chunk, uint64_t word);
/* Tells all others, and waits a moment for each to have done it. */
void cuda_peers_tell(struct cuda_dev *dev, unsigned command, uint32_t chunk, uint64_t word);
enum gpu_life cuda_life(const struct gpu_seg *s, uint64_t id);

/* ---- contexts --------------------------------------------------------------------------------------- */

unsigned cuda_context_number(cu_context context, cu_device device);
/* Waits until this process's work on the device is done. */
cu_result cuda_sync(const struct cuda_dev *dev);
/* The context behind a number; NULL: it is gone. */
cu_context cuda_context_of(unsigned number);

extern uint32_t cuda_captures; /* open */
/* While a program captures a graph its calls are not to be synchronised, and ours must not count
 * as part of what it captures. */
static inline bool cuda_capturing(void)
{
    return __atomic_load_n(&cuda_captures, __ATOMIC_RELAXED) != 0;
}
