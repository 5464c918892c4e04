/* cuMemAlloc() of the double, what belongs to it, and IPC. */
#include "tests/fakes/fake_cuda.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/statvfs.h>
#include <unistd.h>

/* ---- legacy memory ------------------------------------------------------------------------- */

size_t round_to(size_t n, size_t unit)
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

API cuMemAlloc(unsigned *ptr, unsigned bytes) /* the calling convention of CUDA 2 */
{
    ENTER();
    (void)ptr, (void)bytes;
    return NOT_SUPPORTED;
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

API cuMemGetInfo_v9(void *everything) /* the calling convention of a day to come */
{
    ENTER();
    (void)everything;
    return NOT_SUPPORTED;
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

/* ---- legacy IPC ---------------------------------------------------------------------------- */

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
