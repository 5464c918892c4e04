/* Virtual memory management of the double. */
#include "tests/fakes/fake_cuda.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>

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
