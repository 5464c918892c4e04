/* libcudart.so.13 as a test double over libcuda.so.1: it loads the driver as the real one does, by
 * one dlsym() and cuGetProcAddress().  What a program compiled by nvcc asks of it is there; kernels
 * are not: their registration is accepted and a launch fails. */
#include <dlfcn.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef unsigned long long ptr_t;
typedef void *any;
enum { OK = 0, INVALID = 1, NOMEM = 2, NO_DRIVER = 35, UNKNOWN = 999 };

static int (*ask)(const char *, void **, int, unsigned long long, int *);
static int started, device_now;
static __thread int last;

static void *function(const char *name, int version, unsigned long long flags)
{
    void *found = NULL;
    int status;
    return ask(name, &found, version, flags, &status) == 0 ? found : NULL;
}
#define DRIVER(result, name, version, ...) ((result(*)(__VA_ARGS__))function(name, version, 0))

static int start(void)
{
    if (started)
        return OK;
    void *handle = dlopen("libcuda.so.1", RTLD_NOW), *found = NULL;
    int (*init)(unsigned);
    if (!handle || !(ask = (int (*)(const char *, void **, int, unsigned long long, int *))dlsym(
                         handle, "cuGetProcAddress_v2")))
        return NO_DRIVER;
    ask("", &found, 0, 0, NULL); /* as the real one: before anything else */
    init = (int (*)(unsigned))function("cuInit", 2000, 0);
    int result = init ? init(0) : NO_DRIVER;
    started = result == OK;
    return result;
}

/* The primary context, made and current on first use in each thread. */
static int ready(void)
{
    static __thread int have = -1;
    static any contexts[16];
    int result = start();
    if (result != OK)
        return last = result;
    if (have == device_now)
        return OK;
    if (!contexts[device_now])
        result = DRIVER(int, "cuDevicePrimaryCtxRetain", 7000, any *, int)(&contexts[device_now],
                                                                           device_now);
    if (result == OK)
        result = DRIVER(int, "cuCtxSetCurrent", 4000, any)(contexts[device_now]);
    have = result == OK ? device_now : -1;
    return last = result;
}
#define READY()                                                                                    \
    do {                                                                                           \
        int ready_ = ready();                                                                      \
        if (ready_)                                                                                \
            return ready_;                                                                         \
    } while (0)
#define DONE(call) return last = (call)

int cudaMalloc(void **p, size_t n)
{
    READY();
    if (!n) {
        *p = NULL;
        return OK;
    }
    DONE(DRIVER(int, "cuMemAlloc", 3020, ptr_t *, size_t)((ptr_t *)p, n));
}

int cudaMallocPitch(void **p, size_t *pitch, size_t width, size_t height)
{
    READY();
    DONE(DRIVER(int, "cuMemAllocPitch", 3020, ptr_t *, size_t *, size_t, size_t,
                unsigned)((ptr_t *)p, pitch, width, height, 4));
}

int cudaFree(void *p)
{
    READY();
    DONE(DRIVER(int, "cuMemFree", 3020, ptr_t)((ptr_t)p));
}

int cudaMallocAsync(void **p, size_t n, any stream)
{
    READY();
    DONE(DRIVER(int, "cuMemAllocAsync", 11020, ptr_t *, size_t, any)((ptr_t *)p, n, stream));
}

int cudaFreeAsync(void *p, any stream)
{
    READY();
    DONE(DRIVER(int, "cuMemFreeAsync", 11020, ptr_t, any)((ptr_t)p, stream));
}

int cudaMallocManaged(void **p, size_t n, unsigned flags)
{
    READY();
    DONE(DRIVER(int, "cuMemAllocManaged", 6000, ptr_t *, size_t, unsigned)((ptr_t *)p, n, flags));
}

static int copy(void *to, const void *from, size_t n, int kind)
{
    switch (kind) {
    case 0: memcpy(to, from, n); return OK;
    case 1:
        return DRIVER(int, "cuMemcpyHtoD", 3020, ptr_t, const void *, size_t)((ptr_t)to, from, n);
    case 2: return DRIVER(int, "cuMemcpyDtoH", 3020, void *, ptr_t, size_t)(to, (ptr_t)from, n);
    case 3: {
        void *between = malloc(n);
        int result =
            DRIVER(int, "cuMemcpyDtoH", 3020, void *, ptr_t, size_t)(between, (ptr_t)from, n);
        if (result == OK)
            result = DRIVER(int, "cuMemcpyHtoD", 3020, ptr_t, const void *, size_t)((ptr_t)to,
                                                                                    between, n);
        free(between);
        return result;
    }
    default: return INVALID;
    }
}

int cudaMemcpy(void *to, const void *from, size_t n, int kind)
{
    READY();
    DONE(copy(to, from, n, kind));
}
int cudaMemcpyAsync(void *to, const void *from, size_t n, int kind, any stream)
{
    (void)stream;
    return cudaMemcpy(to, from, n, kind);
}

int cudaMemset(void *p, int byte, size_t n)
{
    READY();
    DONE(DRIVER(int, "cuMemsetD8", 3020, ptr_t, unsigned char, size_t)((ptr_t)p,
                                                                       (unsigned char)byte, n));
}

int cudaMemGetInfo(size_t *free_, size_t *total)
{
    READY();
    DONE(DRIVER(int, "cuMemGetInfo", 3020, size_t *, size_t *)(free_, total));
}

int cudaDeviceSynchronize(void)
{
    READY();
    DONE(DRIVER(int, "cuCtxSynchronize", 2000, void)());
}

int cudaDeviceReset(void)
{
    READY();
    DONE(DRIVER(int, "cuDevicePrimaryCtxReset", 11000, int)(device_now));
}

int cudaGetDeviceCount(int *count)
{
    int result = start();
    *count = 0;
    return last = result ? result : DRIVER(int, "cuDeviceGetCount", 2000, int *)(count);
}

int cudaSetDevice(int device)
{
    int count;
    if (cudaGetDeviceCount(&count) || device < 0 || device >= count)
        return last = INVALID;
    device_now = device;
    return ready();
}

int cudaGetDevice(int *device)
{
    *device = device_now;
    return OK;
}

int cudaStreamCreate(any *stream)
{
    READY();
    DONE(DRIVER(int, "cuStreamCreate", 2000, any *, unsigned)(stream, 0));
}
int cudaStreamSynchronize(any stream)
{
    READY();
    DONE(DRIVER(int, "cuStreamSynchronize", 2000, any)(stream));
}
int cudaStreamDestroy(any stream)
{
    READY();
    DONE(DRIVER(int, "cuStreamDestroy", 4000, any)(stream));
}

struct ipc {
    char bytes[64];
};
int cudaIpcGetMemHandle(struct ipc *handle, void *p)
{
    READY();
    DONE(DRIVER(int, "cuIpcGetMemHandle", 4010, struct ipc *, ptr_t)(handle, (ptr_t)p));
}
int cudaIpcOpenMemHandle(void **p, struct ipc handle, unsigned flags)
{
    READY();
    DONE(DRIVER(int, "cuIpcOpenMemHandle", 11000, ptr_t *, struct ipc, unsigned)((ptr_t *)p, handle,
                                                                                 flags));
}
int cudaIpcCloseMemHandle(void *p)
{
    READY();
    DONE(DRIVER(int, "cuIpcCloseMemHandle", 4010, ptr_t)((ptr_t)p));
}

int cudaGetLastError(void)
{
    int was = last;
    last = OK;
    return was;
}
int cudaPeekAtLastError(void)
{
    return last;
}
const char *cudaGetErrorString(int error)
{
    return error == OK          ? "no error"
           : error == NOMEM     ? "out of memory"
           : error == NO_DRIVER ? "no driver"
                                : "error";
}
const char *cudaGetErrorName(int error)
{
    return cudaGetErrorString(error);
}

int cudaGetDriverEntryPointByVersion(const char *name, void **found, unsigned version,
                                     unsigned long long flags, int *status)
{
    READY();
    return ask(name, found, (int)version, flags, status);
}

/* What nvcc puts in every program. */
void **__cudaRegisterFatBinary(void *binary)
{
    (void)binary;
    static void *handle;
    return &handle;
}
void __cudaRegisterFatBinaryEnd(void **handle)
{
    (void)handle;
}
void __cudaUnregisterFatBinary(void **handle)
{
    (void)handle;
}
void __cudaRegisterFunction(void **handle, const char *host, char *device, const char *name,
                            int limit, void *a, void *b, void *c, void *d, int *e)
{
    (void)handle, (void)host, (void)device, (void)name, (void)limit, (void)a, (void)b, (void)c,
        (void)d, (void)e;
}
char __cudaInitModule(void **handle)
{
    (void)handle;
    return 1;
}
int cudaLaunchKernel(const void *function_, ...)
{
    (void)function_;
    return last = UNKNOWN;
}
