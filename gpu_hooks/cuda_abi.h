/* cuda_abi.h - what we use of the CUDA driver's binary interface.
 *
 * Declared here so that the library builds where no toolkit is installed;
 * tests/gpu/abi_cuda.c compares every line with the real cuda.h where one is.
 * Names are our own, so that both can be included.
 */
#pragma once
#include <stddef.h>
#include <stdint.h>

typedef int cu_result;
typedef int cu_device;
typedef unsigned long long cu_ptr;    /* CUdeviceptr */
typedef unsigned long long cu_handle; /* CUmemGenericAllocationHandle */
typedef struct cu_context_opaque *cu_context;
typedef struct cu_stream_opaque *cu_stream;
typedef struct cu_graph_opaque *cu_graph;
typedef struct cu_pool_opaque *cu_pool;

enum {
    CU_OK = 0,
    CU_INVALID_VALUE = 1,
    CU_OUT_OF_MEMORY = 2,
    CU_NOT_INITIALIZED = 3,
    CU_DEINITIALIZED = 4, /* at exit: nothing runs any more */
    CU_INVALID_CONTEXT = 201,
    CU_NOT_SUPPORTED = 801,
};

enum { /* of cuDeviceGetAttribute() */
       CU_DEV_UNIFIED_ADDRESSING = 41,
       CU_DEV_VIRTUAL_MEMORY = 102,
       CU_DEV_POSIX_FD = 103,
       CU_DEV_RDMA_WITH_VMM = 110,
};

enum { /* of cuPointerGetAttribute() */
       CU_PTR_CONTEXT = 1,
       CU_PTR_BUFFER_ID = 7,
       CU_PTR_LEGACY_IPC = 10,
       CU_PTR_RANGE_START = 11,
       CU_PTR_RANGE_SIZE = 12,
       CU_PTR_HANDLE_TYPES = 14,
       CU_PTR_MEMPOOL = 17,
       CU_PTR_MAPPING_SIZE = 18,
       CU_PTR_MAPPING_BASE = 19,
};

enum {
    CU_MEM_PINNED = 1,    /* CU_MEM_ALLOCATION_TYPE_PINNED */
    CU_MEM_POSIX_FD = 1,  /* CU_MEM_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR */
    CU_MEM_ON_DEVICE = 1, /* CU_MEM_LOCATION_TYPE_DEVICE */
    CU_MEM_READ_WRITE = 3,
    CU_MEM_GRANULARITY_MINIMUM = 0,
    CU_CAPTURE_RELAXED = 2,
};

enum { /* flags of cuGetProcAddress() */
       CU_PROC_DEFAULT = 0,
       CU_PROC_LEGACY_STREAM = 1,
       CU_PROC_PER_THREAD_STREAM = 2,
};

struct cu_uuid {
    char bytes[16];
};

struct cu_ipc_handle { /* passed by value */
    char bytes[64];
};

struct cu_location {
    int type, id;
};

struct cu_alloc_prop {
    int type, handle_types;
    struct cu_location location;
    void *win32;
    struct {
        unsigned char compression, rdma;
        unsigned short usage;
        unsigned char reserved[4];
    } flags;
};

struct cu_access {
    struct cu_location location;
    int flags;
};
