/* A library that, as profilers and file systems in user space do, stands before mmap, open, close
 * and dlsym, allocates in each and looks for the real one under a lock, on the first call. */
#include <dlfcn.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/types.h>
#include <unistd.h>

#define EXPORT __attribute__((visibility("default")))

static int lock;

/* Not recursive on purpose: who comes back under it waits for itself. */
static void enter(void)
{
    while (__atomic_exchange_n(&lock, 1, __ATOMIC_ACQUIRE))
        ;
}

static void leave(void)
{
    __atomic_store_n(&lock, 0, __ATOMIC_RELEASE);
}

static void *next(void **cache, const char *name)
{
    enter();
    if (!*cache)
        *cache = dlsym(RTLD_NEXT, name);
    leave();
    free(malloc(strlen(name) * 100));
    return *cache;
}

EXPORT void *mmap(void *at, size_t n, int prot, int flags, int fd, off_t off)
{
    static void *cache;
    void *(*real)(void *, size_t, int, int, int, off_t);
    *(void **)&real = next(&cache, "mmap");
    return real(at, n, prot, flags, fd, off);
}

EXPORT int munmap(void *at, size_t n)
{
    static void *cache;
    int (*real)(void *, size_t);
    *(void **)&real = next(&cache, "munmap");
    return real(at, n);
}

EXPORT int open(const char *path, int flags, ...)
{
    static void *cache;
    int (*real)(const char *, int, ...);
    va_list ap;
    va_start(ap, flags);
    mode_t mode = flags & (O_CREAT | O_TMPFILE) ? va_arg(ap, mode_t) : 0;
    va_end(ap);
    *(void **)&real = next(&cache, "open");
    return real(path, flags, mode);
}

EXPORT int close(int fd)
{
    static void *cache;
    int (*real)(int);
    *(void **)&real = next(&cache, "close");
    return real(fd);
}

EXPORT void *dlsym(void *library, const char *name)
{
    static void *(*real)(void *, const char *);
    if (!real)
        *(void **)&real = dlvsym(RTLD_NEXT, "dlsym", "GLIBC_2.34");
    if (!real)
        *(void **)&real = dlvsym(RTLD_NEXT, "dlsym", "GLIBC_2.2.5");
    char *copy = calloc(1, 300000); /* dlerror's buffer does so, too; large: it takes a lock */
    if (copy)
        strcpy(copy, name);
    /* Small: it may come from where the first calls are served, and goes back later. */
    static void *kept;
    void *small = calloc(1, 64);
    if (!small)
        abort();
    free(__atomic_exchange_n(&kept, small, __ATOMIC_ACQ_REL));
    void *symbol = real(library, copy ? copy : name);
    free(copy);
    return symbol;
}
