/* gpu.h - for programs of the GPU tests: the driver, as a program loads it. */
#pragma once
#include "gpu_hooks/cuda_abi.h"
#include "tests/fakes/fake.h"
#include "tests/process/expect.h"

#include <dlfcn.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <sys/wait.h>

typedef unsigned char byte;

static void *driver; /* what dlopen() gave */
static struct {
    cu_result (*init)(unsigned);
    cu_result (*device_get)(cu_device *, int);
    cu_result (*retain)(cu_context *, cu_device);
    cu_result (*release)(cu_device);
    cu_result (*reset)(cu_device);
    cu_result (*set_current)(cu_context);
    cu_result (*ctx_create)(cu_context *, unsigned, cu_device);
    cu_result (*ctx_destroy)(cu_context);
    cu_result (*sync)(void);
    cu_result (*peer)(cu_context, unsigned);
    cu_result (*alloc)(cu_ptr *, size_t);
    cu_result (*pitch)(cu_ptr *, size_t *, size_t, size_t, unsigned);
    cu_result (*free)(cu_ptr);
    cu_result (*free_async)(cu_ptr, void *);
    cu_result (*managed)(cu_ptr *, size_t, unsigned);
    cu_result (*alloc_async)(cu_ptr *, size_t, void *);
    cu_result (*info)(size_t *, size_t *);
    cu_result (*range)(cu_ptr *, size_t *, cu_ptr);
    cu_result (*attribute)(void *, int, cu_ptr);
    cu_result (*attributes)(unsigned, int *, void **, cu_ptr);
    cu_result (*keep_handle)(cu_handle *, void *);
    cu_result (*ipc_get)(struct cu_ipc_handle *, cu_ptr);
    cu_result (*ipc_open)(cu_ptr *, struct cu_ipc_handle, unsigned);
    cu_result (*ipc_close)(cu_ptr);
    cu_result (*set8)(cu_ptr, byte, size_t);
    cu_result (*to_device)(cu_ptr, const void *, size_t);
    cu_result (*to_host)(void *, cu_ptr, size_t);
    cu_result (*stream_create)(void **, unsigned);
    cu_result (*begin)(void *, int);
    cu_result (*end)(void *, void **);
    cu_result (*get_access)(unsigned long long *, const int *, cu_ptr);
    unsigned long (*calls)(const char *);
    int (*launch)(void *, unsigned, void (*)(void *), void *);
    int (*read)(void *, unsigned long long, size_t);
    int (*write)(unsigned long long, const void *, size_t);
} cu;

static const char *const cu_names[] = { "cuInit",
                                        "cuDeviceGet",
                                        "cuDevicePrimaryCtxRetain",
                                        "cuDevicePrimaryCtxRelease_v2",
                                        "cuDevicePrimaryCtxReset_v2",
                                        "cuCtxSetCurrent",
                                        "cuCtxCreate_v2",
                                        "cuCtxDestroy_v2",
                                        "cuCtxSynchronize",
                                        "cuCtxEnablePeerAccess",
                                        "cuMemAlloc_v2",
                                        "cuMemAllocPitch_v2",
                                        "cuMemFree_v2",
                                        "cuMemFreeAsync",
                                        "cuMemAllocManaged",
                                        "cuMemAllocAsync",
                                        "cuMemGetInfo_v2",
                                        "cuMemGetAddressRange_v2",
                                        "cuPointerGetAttribute",
                                        "cuPointerGetAttributes",
                                        "cuMemRetainAllocationHandle",
                                        "cuIpcGetMemHandle",
                                        "cuIpcOpenMemHandle_v2",
                                        "cuIpcCloseMemHandle",
                                        "cuMemsetD8_v2",
                                        "cuMemcpyHtoD_v2",
                                        "cuMemcpyDtoH_v2",
                                        "cuStreamCreate",
                                        "cuStreamBeginCapture_v2",
                                        "cuStreamEndCapture",
                                        "cuMemGetAccess",
                                        "fakeCalls",
                                        "fakeLaunch",
                                        "fakeRead",
                                        "fakeWrite" };

static inline void load(void)
{
    expect((driver = dlopen("libcuda.so.1", RTLD_NOW)) != NULL);
    void **to = (void **)&cu;
    for (size_t i = 0; i < sizeof cu_names / sizeof *cu_names; i++)
        expect((to[i] = dlsym(driver, cu_names[i])) != NULL ||
               strncmp(cu_names[i], "fake", 4) == 0);
}

/* Has the driver's own function been called that often?  A real driver does not count: yes. */
static inline int calls_are(const char *name, unsigned long least, unsigned long most)
{
    return !cu.calls || (cu.calls(name) >= least && cu.calls(name) <= most);
}

/* The primary context of a device, as cudart makes it. */
static inline cu_context start_on(int ordinal)
{
    cu_device device;
    cu_context context;
    if (!driver)
        load();
    expect(cu.init(0) == CU_OK && cu.device_get(&device, ordinal) == CU_OK);
    expect(cu.retain(&context, device) == CU_OK && cu.set_current(context) == CU_OK);
    return context;
}

static inline cu_context start(void)
{
    return start_on(0);
}

static inline cu_ptr get(size_t bytes)
{
    cu_ptr p = 0;
    expect(cu.alloc(&p, bytes) == CU_OK && p);
    return p;
}

static inline void fill(cu_ptr p, size_t n, byte seed)
{
    byte *bytes = malloc(n);
    for (size_t i = 0; i < n; i++)
        bytes[i] = (byte)(seed + i * 7 + (i >> 8));
    expect(cu.to_device(p, bytes, n) == CU_OK);
    free(bytes);
}

static inline int holds(cu_ptr p, size_t n, byte seed)
{
    byte *bytes = malloc(n);
    int same = cu.to_host(bytes, p, n) == CU_OK;
    for (size_t i = 0; same && i < n; i++)
        same = bytes[i] == (byte)(seed + i * 7 + (i >> 8));
    free(bytes);
    return same;
}

/* In the ranges where our segments lie, and nobody else's memory. */
static inline int is_shared(cu_ptr p)
{
    return p >= 0x100000000000 && p < 0x400000000000;
}

/* ---- other processes: this program again, with a role ------------------------------------------ */

struct other {
    pid_t pid;
    int to, from;
};

extern const char *program;

static inline struct other spawn(const char *role, const char *argument)
{
    int to[2], from[2];
    struct other o;
    expect(pipe2(to, O_CLOEXEC) == 0 && pipe2(from, O_CLOEXEC) == 0);
    o.pid = fork();
    if (o.pid == 0) {
        dup2(to[0], 0), dup2(from[1], 3);
        execl(program, program, role, argument, (char *)NULL);
        _exit(127);
    }
    close(to[0]), close(from[1]);
    o.to = to[1], o.from = from[0];
    return o;
}

static inline void say_to(int fd, const void *what, size_t n)
{
    expect(write(fd, what, n) == (ssize_t)n);
}

static inline void hear_from(int fd, void *what, size_t n)
{
    for (size_t got = 0; got < n;) {
        struct pollfd p = { fd, POLLIN, 0 };
        expect(poll(&p, 1, 20000) == 1);
        ssize_t one = read(fd, (char *)what + got, n - got);
        expect(one > 0);
        got += (size_t)one;
    }
}

static inline uint64_t hear(const struct other *o)
{
    uint64_t n;
    hear_from(o->from, &n, sizeof n);
    return n;
}
static inline void say(const struct other *o, uint64_t n)
{
    say_to(o->to, &n, sizeof n);
}
static inline void answer(uint64_t n) /* of a role */
{
    say_to(3, &n, sizeof n);
}
static inline uint64_t asked(void) /* of a role; it ends when nobody asks any more */
{
    uint64_t n;
    ssize_t got = read(0, &n, sizeof n);
    if (got <= 0)
        exit(0);
    expect(got == sizeof n);
    return n;
}

static inline int ended(struct other *o)
{
    int status;
    close(o->to), close(o->from);
    expect(waitpid(o->pid, &status, 0) == o->pid);
    return WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
}

static inline void killed(struct other *o)
{
    kill(o->pid, SIGKILL);
    expect(ended(o) == 128 + SIGKILL);
}
