/* libcuda.so.1 as a test double: see fake.h.  It knows nothing of us. */
#include "tests/fakes/fake.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#define API __attribute__((visibility("default"))) int

typedef unsigned long long ptr_t;
enum {
    OK = 0,
    INVALID = 1,
    NOMEM = 2,
    NOT_INITIALIZED = 3,
    NO_DEVICE = 100,
    INVALID_DEVICE = 101,
    INVALID_CONTEXT = 201,
    MAP_FAILED_ = 205,
    PEER_ALREADY = 704,
    NOT_FOUND = 500,
    NOT_SUPPORTED = 801,
    CAPTURE_UNSUPPORTED = 900,
    CAPTURE_INVALIDATED = 901,
    UNKNOWN = 999
};

#define GRANULARITY ((size_t)2 << 20)
#define DEVICES     4
#define NAMES       200

/* ---- counting, failing --------------------------------------------------------------------- */

static struct {
    char name[40];
    unsigned long calls;
} counts[NAMES];
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER; /* everything but the streams' queues */
static pid_t init_pid;
static int device_count = 1;

static unsigned long *count_of(const char *name)
{
    for (int i = 0; i < NAMES; i++) {
        if (!counts[i].name[0])
            strcpy(counts[i].name, name);
        if (strcmp(counts[i].name, name) == 0)
            return &counts[i].calls;
    }
    abort();
}

__attribute__((visibility("default"))) unsigned long fakeCalls(const char *name)
{
    pthread_mutex_lock(&lock);
    unsigned long n = *count_of(name);
    pthread_mutex_unlock(&lock);
    return n;
}

static int is_to_fail(const char *name, unsigned long call)
{
    char want[64];
    const char *list = getenv("FAKE_FAIL");
    int n = snprintf(want, sizeof want, "%s:%lu", name, call);
    for (const char *at = list; at && (at = strstr(at, want)); at++)
        if ((at == list || at[-1] == ',') && (at[n] == ',' || !at[n]))
            return 1;
    return 0;
}

static int enter(const char *name)
{
    pthread_mutex_lock(&lock);
    unsigned long call = ++*count_of(name);
    pthread_mutex_unlock(&lock);
    if (is_to_fail(name, call))
        return UNKNOWN;
    return init_pid == getpid() ? OK : NOT_INITIALIZED;
}
#define ENTER()                                                                                    \
    do {                                                                                           \
        int entered = enter(__func__);                                                             \
        if (entered)                                                                               \
            return entered;                                                                        \
    } while (0)

static size_t card_bytes(void)
{
    const char *set = getenv("FAKE_MEMORY"), *card = getenv("FAKE_CARD");
    struct statvfs fs;
    if (set)
        return strtoull(set, NULL, 0);
    if (card && statvfs(card, &fs) == 0)
        return (size_t)fs.f_blocks * fs.f_bsize;
    return (size_t)1 << 30;
}

/* ---- memory ------------------------------------------------------------------------------------ */

struct memory {
    int fd, refs, device, imported;
    size_t bytes;
    int shareable;
};

enum kind { RESERVED, VMM, LEGACY, IPC };
struct range {
    ptr_t at;
    size_t bytes, offset;
    enum kind kind;
    struct memory *memory;
    struct context *context;
    unsigned long long id;
    unsigned access; /* a bit for each device */
    struct range *next;
};
static struct range *ranges;
static unsigned long long next_id = 1;
static size_t taken; /* without a card: what this process has */

static struct memory *memory_make(size_t bytes, int device)
{
    const char *card = getenv("FAKE_CARD");
    struct memory *m = calloc(1, sizeof *m);
    m->fd = card ? open(card, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600)
                 : memfd_create("fake-device-memory", MFD_CLOEXEC);
    m->bytes = bytes;
    m->device = device;
    m->refs = 1;
    if (m->fd >= 0 && (card || taken + bytes <= card_bytes()) &&
        ftruncate(m->fd, (off_t)bytes) == 0 &&
        (!card || posix_fallocate(m->fd, 0, (off_t)bytes) == 0)) {
        taken += bytes;
        return m;
    }
    if (m->fd >= 0)
        close(m->fd);
    free(m);
    return NULL;
}

static void memory_drop(struct memory *m)
{
    if (--m->refs)
        return;
    if (!m->imported)
        taken -= m->bytes;
    close(m->fd);
    free(m);
}

static struct range *range_add(ptr_t at, size_t bytes, enum kind kind, struct memory *m)
{
    struct range *r = calloc(1, sizeof *r);
    *r = (struct range){
        .at = at, .bytes = bytes, .kind = kind, .memory = m, .id = next_id++, .next = ranges
    };
    ranges = r;
    return r;
}

static void range_remove(struct range *r)
{
    struct range **at = &ranges;
    while (*at != r)
        at = &(*at)->next;
    *at = r->next;
    free(r);
}

/* What is mapped there: not a mere reservation. */
static struct range *range_find(ptr_t p)
{
    for (struct range *r = ranges; r; r = r->next)
        if (r->kind != RESERVED && p >= r->at && p < r->at + r->bytes)
            return r;
    return NULL;
}

static struct range *reservation_find(ptr_t p, size_t bytes)
{
    for (struct range *r = ranges; r; r = r->next)
        if (r->kind == RESERVED && p >= r->at && p + bytes <= r->at + r->bytes)
            return r;
    return NULL;
}

static int transfer(ptr_t device, void *host, size_t n, int writes)
{
    while (n) {
        pthread_mutex_lock(&lock);
        struct range *r = range_find(device);
        if (!r || (r->kind == VMM && !r->access)) {
            pthread_mutex_unlock(&lock);
            return INVALID;
        }
        size_t part = r->at + r->bytes - device < n ? r->at + r->bytes - device : n;
        off_t at = (off_t)(r->offset + (device - r->at));
        ssize_t got =
            writes ? pwrite(r->memory->fd, host, part, at) : pread(r->memory->fd, host, part, at);
        pthread_mutex_unlock(&lock);
        if (got != (ssize_t)part)
            return UNKNOWN;
        device += part, host = (char *)host + part, n -= part;
    }
    return OK;
}

__attribute__((visibility("default"))) int fakeRead(void *to, ptr_t from, size_t n)
{
    return transfer(from, to, n, 0);
}
__attribute__((visibility("default"))) int fakeWrite(ptr_t to, const void *from, size_t n)
{
    return transfer(to, (void *)from, n, 1);
}

/* ---- contexts and streams ------------------------------------------------------------------------ */

struct job {
    void (*fn)(void *);
    void *arg;
    unsigned delay_us;
    struct job *next;
};
struct stream {
    struct context *context;
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t more, done;
    struct job *first, **last;
    int busy, started, capturing;
    struct stream *next;
};
struct context {
    int device, primary, refs, gone;
    unsigned peers;
    struct stream *streams;
    struct stream *standard;
};
static struct context *primaries[DEVICES];
static __thread struct context *current[16];
static __thread int depth;
static int captures;
static int capture_broken;

static struct context *context_now(void)
{
    struct context *c = depth ? current[depth - 1] : NULL;
    return c && !c->gone ? c : NULL;
}

static void *stream_main(void *arg)
{
    struct stream *s = arg;
    for (;;) {
        pthread_mutex_lock(&s->lock);
        while (!s->first) {
            s->busy = 0;
            pthread_cond_broadcast(&s->done);
            pthread_cond_wait(&s->more, &s->lock);
        }
        struct job *job = s->first;
        s->first = job->next;
        if (!s->first)
            s->last = &s->first;
        s->busy = 1;
        pthread_mutex_unlock(&s->lock);
        if (job->delay_us)
            usleep(job->delay_us);
        job->fn(job->arg);
        free(job);
    }
    return NULL;
}

static struct stream *stream_make(struct context *c)
{
    struct stream *s = calloc(1, sizeof *s);
    s->context = c;
    s->last = &s->first;
    pthread_mutex_init(&s->lock, NULL);
    pthread_cond_init(&s->more, NULL);
    pthread_cond_init(&s->done, NULL);
    pthread_mutex_lock(&lock);
    s->next = c->streams;
    c->streams = s;
    pthread_mutex_unlock(&lock);
    return s;
}

static struct stream *stream_of(void *handle)
{
    struct context *c = context_now();
    if ((uintptr_t)handle > 2)
        return handle;
    if (c && !c->standard)
        c->standard = stream_make(c);
    return c ? c->standard : NULL;
}

static int stream_put(struct stream *s, unsigned delay_us, void (*fn)(void *), void *arg)
{
    struct job *job = malloc(sizeof *job);
    *job = (struct job){ fn, arg, delay_us, NULL };
    pthread_mutex_lock(&s->lock);
    if (!s->started) {
        s->started = 1;
        pthread_create(&s->thread, NULL, stream_main, s);
    }
    *s->last = job;
    s->last = &job->next;
    s->busy = 1;
    pthread_cond_signal(&s->more);
    pthread_mutex_unlock(&s->lock);
    return OK;
}

static void stream_wait(struct stream *s)
{
    pthread_mutex_lock(&s->lock);
    while (s->busy)
        pthread_cond_wait(&s->done, &s->lock);
    pthread_mutex_unlock(&s->lock);
}

static void context_wait(struct context *c)
{
    for (struct stream *s = c->streams; s; s = s->next)
        stream_wait(s);
}

/* As the real one: waiting while a stream is captured is refused, and breaks the capture. */
static int context_sync(struct context *c)
{
    if (captures) {
        capture_broken = 1;
        return CAPTURE_UNSUPPORTED;
    }
    context_wait(c);
    return OK;
}

__attribute__((visibility("default"))) int fakeLaunch(void *stream, unsigned delay_us,
                                                      void (*fn)(void *), void *arg)
{
    struct stream *s = stream_of(stream);
    return s ? stream_put(s, delay_us, fn, arg) : INVALID_CONTEXT;
}

/* ---- devices ----------------------------------------------------------------------------------------- */

API cuInit(unsigned flags)
{
    (void)flags;
    enter(__func__);
    const char *n = getenv("FAKE_DEVICES");
    device_count = n ? atoi(n) : 1;
    if (device_count == 0)
        return NO_DEVICE;
    init_pid = getpid();
    return OK;
}

API cuDriverGetVersion(int *version)
{
    const char *set = getenv("FAKE_VERSION");
    *version = set ? atoi(set) : 13000;
    return OK;
}

API cuDeviceGetCount(int *count)
{
    ENTER();
    *count = device_count;
    return OK;
}

API cuDeviceGet(int *device, int ordinal)
{
    ENTER();
    if (ordinal < 0 || ordinal >= device_count)
        return INVALID_DEVICE;
    *device = ordinal;
    return OK;
}

API cuDeviceGetAttribute(int *value, int attribute, int device)
{
    ENTER();
    (void)device;
    int vmm = !getenv("FAKE_NO_VMM");
    *value = attribute == 41                                            ? 1
             : attribute == 102 || attribute == 103 || attribute == 110 ? vmm
                                                                        : 0;
    return OK;
}

API cuDeviceGetUuid_v2(char *uuid, int device)
{
    ENTER();
    memset(uuid, 0, 16);
    memcpy(uuid, "fake card", 9);
    uuid[15] = (char)('0' + device);
    return OK;
}
API cuDeviceGetUuid(char *uuid, int device)
{
    return cuDeviceGetUuid_v2(uuid, device);
}

API cuDeviceGetName(char *name, int n, int device)
{
    ENTER();
    snprintf(name, (size_t)n, "Fake Card %d", device);
    return OK;
}

API cuDeviceTotalMem_v2(size_t *bytes, int device)
{
    ENTER();
    (void)device;
    *bytes = card_bytes();
    return OK;
}

API cuDeviceCanAccessPeer(int *can, int device, int peer)
{
    ENTER();
    *can = device != peer;
    return OK;
}

/* ---- contexts ------------------------------------------------------------------------------------------ */

API cuCtxGetCurrent(struct context **context)
{
    ENTER();
    *context = depth ? current[depth - 1] : NULL;
    return OK;
}

API cuCtxSetCurrent(struct context *context)
{
    ENTER();
    if (!depth)
        depth = 1;
    current[depth - 1] = context;
    return OK;
}

API cuCtxPushCurrent_v2(struct context *context)
{
    ENTER();
    current[depth++] = context;
    return OK;
}

API cuCtxPopCurrent_v2(struct context **context)
{
    ENTER();
    if (!depth)
        return INVALID_CONTEXT;
    depth--;
    if (context)
        *context = current[depth];
    return OK;
}

API cuCtxGetDevice(int *device)
{
    ENTER();
    struct context *c = context_now();
    if (!c)
        return INVALID_CONTEXT;
    *device = c->device;
    return OK;
}

API cuCtxSynchronize(void)
{
    ENTER();
    struct context *c = context_now();
    return c ? context_sync(c) : INVALID_CONTEXT;
}

static struct context *context_make(int device, int primary)
{
    struct context *c = calloc(1, sizeof *c);
    c->device = device;
    c->primary = primary;
    return c;
}

/* Its legacy memory goes with a context. */
static void context_end(struct context *c)
{
    context_wait(c);
    pthread_mutex_lock(&lock);
    for (struct range *r = ranges, *next; r; r = next) {
        next = r->next;
        if (r->context == c && (r->kind == LEGACY || r->kind == IPC)) {
            munmap((void *)r->at, r->bytes);
            memory_drop(r->memory);
            range_remove(r);
        }
    }
    c->gone = 1;
    pthread_mutex_unlock(&lock);
}

API cuCtxCreate_v2(struct context **context, unsigned flags, int device)
{
    ENTER();
    (void)flags;
    *context = context_make(device, 0);
    current[depth++] = *context;
    return OK;
}

API cuCtxDestroy_v2(struct context *context)
{
    ENTER();
    context_end(context);
    if (depth && current[depth - 1] == context)
        depth--;
    return OK;
}

API cuDevicePrimaryCtxRetain(struct context **context, int device)
{
    ENTER();
    pthread_mutex_lock(&lock);
    if (!primaries[device])
        primaries[device] = context_make(device, 1);
    primaries[device]->gone = 0;
    primaries[device]->refs++;
    *context = primaries[device];
    pthread_mutex_unlock(&lock);
    return OK;
}

API cuDevicePrimaryCtxRelease_v2(int device)
{
    ENTER();
    if (!primaries[device] || !primaries[device]->refs)
        return INVALID_CONTEXT;
    if (--primaries[device]->refs == 0)
        context_end(primaries[device]);
    return OK;
}
API cuDevicePrimaryCtxRelease(int device)
{
    return cuDevicePrimaryCtxRelease_v2(device);
}

API cuDevicePrimaryCtxGetState(int device, unsigned *flags, int *active)
{
    ENTER();
    *flags = 0;
    *active = primaries[device] && primaries[device]->refs && !primaries[device]->gone;
    return OK;
}

API cuDevicePrimaryCtxReset_v2(int device)
{
    ENTER();
    if (primaries[device])
        context_end(primaries[device]);
    if (primaries[device] && primaries[device]->refs)
        primaries[device]->gone = 0; /* made anew by the next call; its handle stays */
    return OK;
}
API cuDevicePrimaryCtxReset(int device)
{
    return cuDevicePrimaryCtxReset_v2(device);
}

API cuCtxEnablePeerAccess(struct context *peer, unsigned flags)
{
    ENTER();
    struct context *c = context_now();
    if (!c || flags || peer->device == c->device)
        return INVALID;
    if (c->peers & 1u << peer->device)
        return PEER_ALREADY;
    c->peers |= 1u << peer->device;
    return OK;
}

/* ---- legacy memory ----------------------------------------------------------------------------------------- */

static size_t round_to(size_t n, size_t unit)
{
    return (n + unit - 1) / unit * unit;
}

static int legacy_add(ptr_t *ptr, size_t bytes, struct memory *m, enum kind kind)
{
    size_t span = round_to(bytes, GRANULARITY);
    char *at = mmap(NULL, span + GRANULARITY, PROT_NONE,
                    MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    ptr_t p = round_to((ptr_t)at, GRANULARITY);
    struct range *r = range_add(p, bytes, kind, m);
    r->context = context_now();
    r->access = 1u << m->device;
    *ptr = p;
    return OK;
}

API cuMemAlloc_v2(ptr_t *ptr, size_t bytes)
{
    ENTER();
    struct context *c = context_now();
    if (!c)
        return INVALID_CONTEXT;
    if (!bytes || !ptr)
        return INVALID;
    pthread_mutex_lock(&lock);
    struct memory *m = memory_make(round_to(bytes, 512), c->device);
    int result = m ? legacy_add(ptr, bytes, m, LEGACY) : NOMEM;
    pthread_mutex_unlock(&lock);
    return result;
}

API cuMemAllocPitch_v2(ptr_t *ptr, size_t *pitch, size_t width, size_t height, unsigned element)
{
    ENTER();
    if (element != 4 && element != 8 && element != 16)
        return INVALID;
    if (!width || !height)
        return INVALID;
    *pitch = round_to(width, 512);
    return cuMemAlloc_v2(ptr, *pitch * height);
}

API cuMemAllocManaged(ptr_t *ptr, size_t bytes, unsigned flags)
{
    ENTER();
    (void)flags;
    return cuMemAlloc_v2(ptr, bytes);
}

static int memory_end(ptr_t ptr, enum kind kind)
{
    pthread_mutex_lock(&lock);
    struct range *r = range_find(ptr);
    if (!r || r->at != ptr || r->kind != kind) {
        pthread_mutex_unlock(&lock);
        return INVALID;
    }
    munmap((void *)r->at, round_to(r->bytes, GRANULARITY));
    memory_drop(r->memory);
    range_remove(r);
    pthread_mutex_unlock(&lock);
    return OK;
}

API cuMemFree_v2(ptr_t ptr)
{
    ENTER();
    if (!ptr)
        return OK;
    struct context *c = context_now();
    if (!c)
        return INVALID_CONTEXT;
    if (captures)
        return CAPTURE_UNSUPPORTED;
    context_wait(c); /* it is known to synchronise */
    return memory_end(ptr, LEGACY);
}

API cuMemAllocAsync(ptr_t *ptr, size_t bytes, void *stream)
{
    ENTER();
    (void)stream;
    return cuMemAlloc_v2(ptr, bytes);
}
API cuMemAllocAsync_ptsz(ptr_t *ptr, size_t bytes, void *stream)
{
    return cuMemAllocAsync(ptr, bytes, stream);
}

API cuMemAllocFromPoolAsync(ptr_t *ptr, size_t bytes, void *pool, void *stream)
{
    (void)pool;
    return cuMemAllocAsync(ptr, bytes, stream);
}
API cuMemAllocFromPoolAsync_ptsz(ptr_t *ptr, size_t bytes, void *pool, void *stream)
{
    return cuMemAllocFromPoolAsync(ptr, bytes, pool, stream);
}

API cuMemFreeAsync(ptr_t ptr, void *stream)
{
    ENTER();
    struct stream *s = stream_of(stream);
    if (!s)
        return INVALID_CONTEXT;
    stream_wait(s);
    return memory_end(ptr, LEGACY);
}
API cuMemFreeAsync_ptsz(ptr_t ptr, void *stream)
{
    return cuMemFreeAsync(ptr, stream);
}

API cuMemGetInfo_v2(size_t *free_, size_t *total)
{
    ENTER();
    const char *card = getenv("FAKE_CARD");
    struct statvfs fs;
    if (!context_now())
        return INVALID_CONTEXT;
    size_t free_bytes =
        card && statvfs(card, &fs) == 0 ? (size_t)fs.f_bfree * fs.f_bsize : card_bytes() - taken;
    if (free_)
        *free_ = free_bytes;
    if (total)
        *total = card_bytes();
    return OK;
}

API cuMemGetAddressRange_v2(ptr_t *base, size_t *bytes, ptr_t ptr)
{
    ENTER();
    pthread_mutex_lock(&lock);
    struct range *r = range_find(ptr);
    int result = r && r->kind != VMM ? OK : NOT_FOUND; /* VMM memory: nccl#2332 */
    if (result == OK && base)
        *base = r->at;
    if (result == OK && bytes)
        *bytes = r->bytes;
    pthread_mutex_unlock(&lock);
    return result;
}

static int attribute_get(void *data, int attribute, struct range *r)
{
    int legacy = r->kind != VMM;
    switch (attribute) {
    case 1: *(void **)data = legacy ? r->context : NULL; return OK;
    case 2: *(unsigned *)data = 2; return OK;
    case 3: *(ptr_t *)data = r->at; return OK;
    case 6: *(int *)data = 0; return OK;
    case 7: *(unsigned long long *)data = r->id; return OK;
    case 8: *(int *)data = 0; return OK;
    case 9: *(int *)data = r->memory->device; return OK;
    case 10: *(int *)data = legacy; return OK;
    case 11: *(ptr_t *)data = r->at; return OK;
    case 12: *(size_t *)data = r->bytes; return OK;
    case 13: *(int *)data = 1; return OK;
    case 14: *(unsigned long long *)data = legacy ? 0 : 1; return OK;
    case 17: *(ptr_t *)data = 0; return OK;
    case 18: *(size_t *)data = r->bytes; return OK;
    case 19: *(ptr_t *)data = r->at; return OK;
    default: return INVALID;
    }
}

API cuPointerGetAttribute(void *data, int attribute, ptr_t ptr)
{
    ENTER();
    pthread_mutex_lock(&lock);
    struct range *r = range_find(ptr);
    int result = r ? attribute_get(data, attribute, r) : INVALID;
    if (r && attribute == 3 && result == OK)
        *(ptr_t *)data = ptr;
    pthread_mutex_unlock(&lock);
    return result;
}

API cuPointerGetAttributes(unsigned count, int *attributes, void **data, ptr_t ptr)
{
    ENTER();
    pthread_mutex_lock(&lock);
    struct range *r = range_find(ptr);
    int result = OK;
    for (unsigned i = 0; r && i < count; i++)
        if (attribute_get(data[i], attributes[i], r) != OK)
            result = INVALID;
    pthread_mutex_unlock(&lock);
    return result;
}

/* ---- legacy IPC --------------------------------------------------------------------------------------------- */

struct ipc {
    char bytes[64];
};
struct token {
    char magic[8];
    int pid, fd;
    size_t bytes;
};

API cuIpcGetMemHandle(struct ipc *handle, ptr_t ptr)
{
    ENTER();
    pthread_mutex_lock(&lock);
    struct range *r = range_find(ptr);
    int result = r && r->kind == LEGACY ? OK : INVALID;
    if (result == OK) {
        struct token t = { "fakeipc", getpid(), r->memory->fd, r->bytes };
        memset(handle, 0, sizeof *handle);
        memcpy(handle, &t, sizeof t);
    }
    pthread_mutex_unlock(&lock);
    return result;
}

API cuIpcOpenMemHandle_v2(ptr_t *ptr, struct ipc handle, unsigned flags)
{
    ENTER();
    (void)flags;
    struct token t;
    char path[64];
    struct context *c = context_now();
    memcpy(&t, &handle, sizeof t);
    if (!c)
        return INVALID_CONTEXT;
    if (memcmp(t.magic, "fakeipc", 8) != 0 || t.pid == getpid())
        return t.pid == getpid() ? INVALID_CONTEXT : INVALID;
    snprintf(path, sizeof path, "/proc/%d/fd/%d", t.pid, t.fd);
    struct memory *m = calloc(1, sizeof *m);
    *m = (struct memory){ .fd = open(path, O_RDWR | O_CLOEXEC),
                          .refs = 1,
                          .device = c->device,
                          .imported = 1,
                          .bytes = t.bytes };
    if (m->fd < 0) {
        free(m);
        return INVALID;
    }
    pthread_mutex_lock(&lock);
    legacy_add(ptr, t.bytes, m, IPC);
    pthread_mutex_unlock(&lock);
    return OK;
}
API cuIpcOpenMemHandle(ptr_t *ptr, struct ipc handle, unsigned flags)
{
    return cuIpcOpenMemHandle_v2(ptr, handle, flags);
}

API cuIpcCloseMemHandle(ptr_t ptr)
{
    ENTER();
    return memory_end(ptr, IPC);
}

/* ---- virtual memory management --------------------------------------------------------------------------------- */

struct prop {
    int type, handle_types, location_type, location;
    void *win32;
    unsigned char flags[8];
};

API cuMemGetAllocationGranularity(size_t *bytes, const struct prop *prop, int option)
{
    ENTER();
    (void)prop, (void)option;
    *bytes = GRANULARITY;
    return OK;
}

API cuMemCreate(unsigned long long *handle, size_t bytes, const struct prop *prop,
                unsigned long long flags)
{
    ENTER();
    if (!bytes || bytes % GRANULARITY || flags || prop->location >= device_count)
        return INVALID;
    if (getenv("FAKE_NO_VMM"))
        return NOT_SUPPORTED;
    pthread_mutex_lock(&lock);
    struct memory *m = memory_make(bytes, prop->location);
    if (m)
        m->shareable = prop->handle_types & 1;
    pthread_mutex_unlock(&lock);
    *handle = (unsigned long long)(uintptr_t)m;
    return m ? OK : NOMEM;
}

API cuMemRelease(unsigned long long handle)
{
    ENTER();
    pthread_mutex_lock(&lock);
    memory_drop((struct memory *)(uintptr_t)handle);
    pthread_mutex_unlock(&lock);
    return OK;
}

API cuMemAddressReserve(ptr_t *ptr, size_t bytes, size_t align, ptr_t hint,
                        unsigned long long flags)
{
    ENTER();
    if (!bytes || bytes % GRANULARITY || flags)
        return INVALID;
    void *at = hint && !getenv("FAKE_NO_HINT")
                   ? mmap((void *)hint, bytes, PROT_NONE,
                          MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED_NOREPLACE, -1, 0)
                   : MAP_FAILED;
    if (at == MAP_FAILED) {
        size_t unit = align > GRANULARITY ? align : GRANULARITY;
        char *some =
            mmap(NULL, bytes + unit, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        if (some == MAP_FAILED)
            return NOMEM;
        at = (void *)round_to((size_t)some, unit);
    }
    pthread_mutex_lock(&lock);
    range_add((ptr_t)at, bytes, RESERVED, NULL);
    pthread_mutex_unlock(&lock);
    *ptr = (ptr_t)at;
    return OK;
}

API cuMemAddressFree(ptr_t ptr, size_t bytes)
{
    ENTER();
    pthread_mutex_lock(&lock);
    struct range *r = reservation_find(ptr, bytes);
    if (r) {
        munmap((void *)ptr, bytes);
        range_remove(r);
    }
    pthread_mutex_unlock(&lock);
    return r ? OK : INVALID;
}

API cuMemMap(ptr_t ptr, size_t bytes, size_t offset, unsigned long long handle,
             unsigned long long flags)
{
    ENTER();
    struct memory *m = (struct memory *)(uintptr_t)handle;
    pthread_mutex_lock(&lock);
    int result =
        !offset && !flags && bytes <= m->bytes && reservation_find(ptr, bytes) && !range_find(ptr)
            ? OK
            : INVALID;
    if (result == OK) {
        range_add(ptr, bytes, VMM, m);
        m->refs++;
    }
    pthread_mutex_unlock(&lock);
    return result;
}

API cuMemUnmap(ptr_t ptr, size_t bytes)
{
    ENTER();
    pthread_mutex_lock(&lock);
    struct range *r = range_find(ptr);
    int result = r && r->at == ptr && r->bytes == bytes && r->kind == VMM ? OK : INVALID;
    if (result == OK) {
        memory_drop(r->memory);
        range_remove(r);
    }
    pthread_mutex_unlock(&lock);
    return result;
}

struct access {
    int location_type, location, flags;
};

API cuMemSetAccess(ptr_t ptr, size_t bytes, const struct access *access, size_t count)
{
    ENTER();
    pthread_mutex_lock(&lock);
    int result = INVALID;
    for (struct range *r = ranges; r; r = r->next)
        if (r->kind == VMM && r->at >= ptr && r->at + r->bytes <= ptr + bytes) {
            for (size_t i = 0; i < count; i++)
                r->access |= access[i].flags ? 1u << access[i].location : 0;
            result = OK;
        }
    pthread_mutex_unlock(&lock);
    return result;
}

API cuMemGetAccess(unsigned long long *flags, const int *location, ptr_t ptr)
{
    ENTER();
    pthread_mutex_lock(&lock);
    struct range *r = range_find(ptr);
    if (r)
        *flags = r->access >> location[1] & 1 ? 3 : 0;
    pthread_mutex_unlock(&lock);
    return r ? OK : INVALID;
}

API cuMemExportToShareableHandle(void *out, unsigned long long handle, int type,
                                 unsigned long long flags)
{
    ENTER();
    struct memory *m = (struct memory *)(uintptr_t)handle;
    if (type != 1 || flags || !m->shareable ||
        (m->imported && getenv("FAKE_NO_EXPORT_BY_IMPORTER")))
        return INVALID;
    *(int *)out = fcntl(m->fd, F_DUPFD_CLOEXEC, 3);
    return *(int *)out < 0 ? UNKNOWN : OK;
}

API cuMemImportFromShareableHandle(unsigned long long *handle, void *os, int type)
{
    ENTER();
    struct stat st;
    int fd = (int)(intptr_t)os;
    if (type != 1 || fstat(fd, &st) != 0 || !S_ISREG(st.st_mode) || st.st_size == 0)
        return INVALID;
    struct memory *m = calloc(1, sizeof *m);
    *m = (struct memory){ .fd = fcntl(fd, F_DUPFD_CLOEXEC, 3),
                          .refs = 1,
                          .imported = 1,
                          .shareable = 1,
                          .bytes = (size_t)st.st_size };
    *handle = (unsigned long long)(uintptr_t)m;
    return OK;
}

API cuMemRetainAllocationHandle(unsigned long long *handle, void *ptr)
{
    ENTER();
    pthread_mutex_lock(&lock);
    struct range *r = range_find((ptr_t)ptr);
    int result = r && r->kind == VMM ? OK : INVALID;
    if (result == OK) {
        r->memory->refs++;
        *handle = (unsigned long long)(uintptr_t)r->memory;
    }
    pthread_mutex_unlock(&lock);
    return result;
}

/* ---- work ---------------------------------------------------------------------------------------------------------- */

struct fill {
    ptr_t to;
    size_t n;
    unsigned char byte;
};

static void fill_now(void *arg)
{
    struct fill *f = arg;
    char buf[65536];
    memset(buf, f->byte, sizeof buf);
    for (size_t at = 0; at < f->n; at += sizeof buf)
        transfer(f->to + at, buf, f->n - at < sizeof buf ? f->n - at : sizeof buf, 1);
    free(f);
}

API cuMemsetD8Async(ptr_t to, unsigned char byte, size_t n, void *stream)
{
    ENTER();
    struct stream *s = stream_of(stream);
    struct fill *f = malloc(sizeof *f);
    *f = (struct fill){ to, n, byte };
    return s ? stream_put(s, 0, fill_now, f) : INVALID_CONTEXT;
}

API cuMemsetD8_v2(ptr_t to, unsigned char byte, size_t n)
{
    int result = cuMemsetD8Async(to, byte, n, NULL);
    if (result == OK)
        stream_wait(stream_of(NULL));
    return result;
}

API cuMemcpyHtoD_v2(ptr_t to, const void *from, size_t n)
{
    ENTER();
    if (!context_now())
        return INVALID_CONTEXT;
    stream_wait(stream_of(NULL));
    return transfer(to, (void *)from, n, 1);
}

API cuMemcpyDtoH_v2(void *to, ptr_t from, size_t n)
{
    ENTER();
    if (!context_now())
        return INVALID_CONTEXT;
    stream_wait(stream_of(NULL));
    return transfer(from, to, n, 0);
}

API cuStreamCreate(struct stream **stream, unsigned flags)
{
    ENTER();
    (void)flags;
    struct context *c = context_now();
    *stream = c ? stream_make(c) : NULL;
    return c ? OK : INVALID_CONTEXT;
}

API cuStreamDestroy_v2(struct stream *stream)
{
    ENTER();
    stream_wait(stream);
    return OK;
}

API cuStreamSynchronize(void *stream)
{
    ENTER();
    struct stream *s = stream_of(stream);
    if (captures) {
        capture_broken = 1;
        return CAPTURE_UNSUPPORTED;
    }
    if (s)
        stream_wait(s);
    return s ? OK : INVALID_CONTEXT;
}

API cuThreadExchangeStreamCaptureMode(int *mode)
{
    ENTER();
    static __thread int mine;
    int was = mine;
    mine = *mode;
    *mode = was;
    return OK;
}

API cuStreamBeginCapture_v2(void *stream, int mode)
{
    ENTER();
    (void)mode;
    struct stream *s = stream_of(stream);
    if (!s || s->capturing)
        return INVALID;
    s->capturing = 1;
    captures++;
    capture_broken = 0;
    return OK;
}
API cuStreamBeginCapture_v2_ptsz(void *stream, int mode)
{
    return cuStreamBeginCapture_v2(stream, mode);
}

API cuStreamBeginCaptureToGraph(void *stream, void *graph, const void *a, const void *b, size_t n,
                                int mode)
{
    (void)graph, (void)a, (void)b, (void)n;
    return cuStreamBeginCapture_v2(stream, mode);
}
API cuStreamBeginCaptureToGraph_ptsz(void *stream, void *graph, const void *a, const void *b,
                                     size_t n, int mode)
{
    return cuStreamBeginCaptureToGraph(stream, graph, a, b, n, mode);
}

API cuStreamEndCapture(void *stream, void **graph)
{
    ENTER();
    struct stream *s = stream_of(stream);
    if (!s || !s->capturing)
        return INVALID;
    s->capturing = 0;
    captures--;
    *graph = NULL;
    return capture_broken ? CAPTURE_INVALIDATED : OK;
}
API cuStreamEndCapture_ptsz(void *stream, void **graph)
{
    return cuStreamEndCapture(stream, graph);
}

/* ---- names ------------------------------------------------------------------------------------------------------------ */

API cuMemAlloc(unsigned *ptr, unsigned bytes) /* the calling convention of CUDA 2 */
{
    ENTER();
    (void)ptr, (void)bytes;
    return NOT_SUPPORTED;
}

API cuGetProcAddress_v2(const char *name, void **found, int version, unsigned long long flags,
                        int *status);
API cuGetProcAddress(const char *name, void **found, int version, unsigned long long flags);

API cuMemGetInfo_v9(void *everything) /* the calling convention of a day to come */
{
    ENTER();
    (void)everything;
    return NOT_SUPPORTED;
}

static const struct {
    const char *name;
    int version, per_thread;
    void *address;
} table[] = {
#define ROW(name, version, symbol)        { #name, version, 0, (void *)symbol },
#define ROW_THREAD(name, version, symbol) { #name, version, 1, (void *)symbol },
    ROW(cuInit, 2000, cuInit) ROW(cuDriverGetVersion, 2020, cuDriverGetVersion) ROW(
        cuGetProcAddress, 11030, cuGetProcAddress) ROW(cuGetProcAddress, 12000, cuGetProcAddress_v2)
        ROW(cuDeviceGet, 2000, cuDeviceGet) ROW(cuDeviceGetCount, 2000, cuDeviceGetCount) ROW(
            cuDeviceGetName, 2000,
            cuDeviceGetName) ROW(cuDeviceGetAttribute, 2000,
                                 cuDeviceGetAttribute) ROW(cuDeviceGetUuid, 9020,
                                                           cuDeviceGetUuid) ROW(cuDeviceGetUuid,
                                                                                11040,
                                                                                cuDeviceGetUuid_v2)
            ROW(cuDeviceTotalMem, 3020, cuDeviceTotalMem_v2) ROW(
                cuDeviceCanAccessPeer, 4000,
                cuDeviceCanAccessPeer) ROW(cuCtxGetCurrent, 4000,
                                           cuCtxGetCurrent) ROW(cuCtxSetCurrent, 4000,
                                                                cuCtxSetCurrent)
                ROW(cuCtxPushCurrent, 4000, cuCtxPushCurrent_v2) ROW(
                    cuCtxPopCurrent, 4000,
                    cuCtxPopCurrent_v2) ROW(cuCtxGetDevice, 2000,
                                            cuCtxGetDevice) ROW(cuCtxSynchronize, 2000,
                                                                cuCtxSynchronize)
                    ROW(cuCtxCreate, 3020, cuCtxCreate_v2) ROW(
                        cuCtxDestroy, 4000,
                        cuCtxDestroy_v2) ROW(cuDevicePrimaryCtxRetain, 7000,
                                             cuDevicePrimaryCtxRetain) ROW(cuDevicePrimaryCtxRelease, 7000,
                                                                           cuDevicePrimaryCtxRelease)
                        ROW(cuDevicePrimaryCtxRelease, 11000, cuDevicePrimaryCtxRelease_v2) ROW(
                            cuDevicePrimaryCtxGetState,
                            7000,
                            cuDevicePrimaryCtxGetState) ROW(cuDevicePrimaryCtxReset, 7000, cuDevicePrimaryCtxReset)
                            ROW(cuDevicePrimaryCtxReset, 11000, cuDevicePrimaryCtxReset_v2) ROW(
                                cuCtxEnablePeerAccess, 4000,
                                cuCtxEnablePeerAccess) ROW(cuMemAlloc, 2000,
                                                           cuMemAlloc) ROW(cuMemAlloc, 3020,
                                                                           cuMemAlloc_v2)
                                ROW(cuMemAllocPitch, 3020, cuMemAllocPitch_v2) ROW(
                                    cuMemAllocManaged, 6000,
                                    cuMemAllocManaged) ROW(cuMemFree, 3020,
                                                           cuMemFree_v2) ROW(cuMemAllocAsync, 11020, cuMemAllocAsync)
                                    ROW_THREAD(cuMemAllocAsync, 11020, cuMemAllocAsync_ptsz) ROW(
                                        cuMemFreeAsync,
                                        11020, cuMemFreeAsync) ROW_THREAD(cuMemFreeAsync,
                                                                          11020, cuMemFreeAsync_ptsz)
                                        ROW(cuMemGetInfo, 3020, cuMemGetInfo_v2) ROW(
                                            cuMemGetInfo, 15000,
                                            cuMemGetInfo_v9) ROW(cuMemGetAddressRange, 3020,
                                                                 cuMemGetAddressRange_v2) ROW(cuPointerGetAttribute,
                                                                                              4000, cuPointerGetAttribute)
                                            ROW(cuPointerGetAttributes, 7000, cuPointerGetAttributes) ROW(
                                                cuIpcGetMemHandle, 4010,
                                                cuIpcGetMemHandle) ROW(cuIpcOpenMemHandle, 4010,
                                                                       cuIpcOpenMemHandle)
                                                ROW(cuIpcOpenMemHandle, 11000, cuIpcOpenMemHandle_v2) ROW(
                                                    cuIpcCloseMemHandle, 4010,
                                                    cuIpcCloseMemHandle) ROW(cuMemCreate, 10020,
                                                                             cuMemCreate) ROW(cuMemRelease, 10020,
                                                                                              cuMemRelease)
                                                    ROW(cuMemAddressReserve, 10020, cuMemAddressReserve) ROW(
                                                        cuMemMap, 10020,
                                                        cuMemMap) ROW(cuMemRetainAllocationHandle,
                                                                      11000,
                                                                      cuMemRetainAllocationHandle)
                                                        ROW(cuMemsetD8, 3020, cuMemsetD8_v2) ROW(
                                                            cuMemsetD8Async, 3020,
                                                            cuMemsetD8Async) ROW(cuMemcpyHtoD, 3020,
                                                                                 cuMemcpyHtoD_v2)
                                                            ROW(cuMemcpyDtoH, 3020,
                                                                cuMemcpyDtoH_v2) ROW(cuStreamCreate,
                                                                                     2000,
                                                                                     cuStreamCreate)
                                                                ROW(cuStreamDestroy, 4000, cuStreamDestroy_v2) ROW(
                                                                    cuStreamSynchronize, 2000,
                                                                    cuStreamSynchronize) ROW(cuStreamBeginCapture,
                                                                                             10010,
                                                                                             cuStreamBeginCapture_v2)
                                                                    ROW_THREAD(
                                                                        cuStreamBeginCapture, 10010,
                                                                        cuStreamBeginCapture_v2_ptsz)
                                                                        ROW(cuStreamBeginCaptureToGraph,
                                                                            12030,
                                                                            cuStreamBeginCaptureToGraph)
                                                                            ROW_THREAD(
                                                                                cuStreamBeginCaptureToGraph,
                                                                                12030,
                                                                                cuStreamBeginCaptureToGraph_ptsz)
                                                                                ROW(cuMemAllocFromPoolAsync,
                                                                                    11020,
                                                                                    cuMemAllocFromPoolAsync)
                                                                                    ROW_THREAD(
                                                                                        cuMemAllocFromPoolAsync,
                                                                                        11020,
                                                                                        cuMemAllocFromPoolAsync_ptsz)
                                                                                        ROW(cuStreamEndCapture,
                                                                                            10000,
                                                                                            cuStreamEndCapture)
                                                                                            ROW_THREAD(
                                                                                                cuStreamEndCapture,
                                                                                                10000,
                                                                                                cuStreamEndCapture_ptsz)
};

/* The newest that is not newer than the caller; with flag 2 the per-thread one where there is one. */
static void *table_find(const char *name, int version, unsigned long long flags)
{
    void *best = NULL;
    int best_version = -1, best_thread = 0, wants_thread = (flags & 2) != 0;
    for (size_t i = 0; i < sizeof table / sizeof *table; i++)
        if (strcmp(table[i].name, name) == 0 && table[i].version <= version &&
            table[i].per_thread <= wants_thread &&
            (table[i].version > best_version ||
             (table[i].version == best_version && table[i].per_thread > best_thread))) {
            best = table[i].address;
            best_version = table[i].version;
            best_thread = table[i].per_thread;
        }
    return best;
}

static int some_call(void)
{
    return NOT_SUPPORTED;
}

/* FAKE_LOG: what was asked for.  FAKE_ANY: names that are not here are something that fails. */
static void *answer(const char *name, int version, unsigned long long flags)
{
    const char *log = getenv("FAKE_LOG");
    int fd = log ? open(log, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0600) : -1;
    if (fd >= 0) {
        dprintf(fd, "%s %d %llu\n", name[0] ? name : "-", version, flags);
        close(fd);
    }
    void *found = table_find(name, version, flags);
    return found || !name[0] || !getenv("FAKE_ANY") ? found : (void *)some_call;
}

API cuGetProcAddress_v2(const char *name, void **found, int version, unsigned long long flags,
                        int *status)
{
    *found = answer(name, version, flags);
    if (status)
        *status = *found ? 0 : 1;
    if (name[0] == '\0')
        return INVALID;
    return *found ? OK : NOT_FOUND;
}

API cuGetProcAddress(const char *name, void **found, int version, unsigned long long flags)
{
    *found = answer(name, version, flags);
    return *found ? OK : NOT_FOUND;
}

API cuGetExportTable(const void **table_, const void *id)
{
    (void)id;
    *table_ = NULL;
    return NOT_FOUND;
}

API cuGetErrorName(int error, const char **name)
{
    *name = error == OK      ? "CUDA_SUCCESS"
            : error == NOMEM ? "CUDA_ERROR_OUT_OF_MEMORY"
                             : "CUDA_ERROR";
    return OK;
}
