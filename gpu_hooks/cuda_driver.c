#include "gpu_hooks/cuda.h"
#include "gpu_hooks/resolve.h"

#include <dlfcn.h>
#include <string.h>

struct cuda_driver cuda;

static const char names[][36] = {
    "cuCtxGetCurrent",
    "cuCtxGetDevice",
    "cuCtxPushCurrent_v2",
    "cuCtxPopCurrent_v2",
    "cuCtxSynchronize",
    "cuDeviceGetAttribute",
    "cuDeviceGetUuid_v2",
    "cuDeviceTotalMem_v2",
    "cuDevicePrimaryCtxGetState",
    "cuDevicePrimaryCtxRetain",
    "cuDevicePrimaryCtxRelease_v2",
    "cuMemGetAllocationGranularity",
    "cuMemCreate",
    "cuMemRelease",
    "cuMemAddressReserve",
    "cuMemAddressFree",
    "cuMemMap",
    "cuMemUnmap",
    "cuMemSetAccess",
    "cuMemExportToShareableHandle",
    "cuMemImportFromShareableHandle",
    "cuMemsetD8_v2",
    "cuThreadExchangeStreamCaptureMode",
};
#define NAMES (sizeof names / sizeof *names)
static_assert(NAMES * sizeof(void *) == sizeof(struct cuda_driver), "a name for each function");

bool cuda_driver_load(void)
{
    void *found[NAMES] = { 0 };
    for (size_t i = 0; i < NAMES; i++)
        if (!(found[i] = driver_symbol(names[i])))
            return false;
    memcpy(&cuda, found, sizeof cuda);
    return true;
}

void *cuda_libc(const char *name)
{
    return (dlsym_real ? dlsym_real : dlsym_find())(RTLD_NEXT, name);
}
