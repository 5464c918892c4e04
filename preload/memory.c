/* memory.c - what programs ask of the kernel for memory that is a block of ours.
 *
 * On a shared mapping some of it means something else than on private memory:
 * MADV_DONTNEED keeps the bytes, MADV_FREE fails, and locking a sparse window
 * would fill it.
 */
#include "allocators/inherited.h"
#include "allocators/mapped.h"
#include "allocators/os.h"
#include "config/log.h"
#include "gpu_hooks/resolve.h"
#include "preload/preload.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

static bool in_window(const void *at)
{
    return off_of(&main_heap, at) >> SLICE_SHIFT < main_heap.slice_count;
}

static int real_madvise(void *at, size_t n, int advice)
{
    static int (*real)(void *, size_t, int);
    if (!real)
        *(void **)&real = real_symbol("madvise");
    return real(at, n, advice);
}

EXPORT int madvise(void *at, size_t n, int advice)
{
    if (!main_heap.shared || !in_window(at) || n == 0 || (uintptr_t)at % OS_PAGE)
        return real_madvise(at, n, advice);
    if (inherited_slice(&main_heap, off_of(&main_heap, at)))
        return real_madvise(at, n, advice); /* our private copy of a parent's block */
    switch (advice) {
    case MADV_DONTNEED: /* a private heap would read zeros now */
        n = round_up(n, OS_PAGE);
        if (n >= 1u << 20 && os_purge(at, n, true) == 0)
            os_populate(at, n); /* else it is had at the first touch, as that of a large block */
        else
            memset(at, 0, n);
        return 0;
    case MADV_FREE: /* the kernel may keep the bytes as long as it likes */ return 0;
    case MADV_REMOVE: memset(at, 0, round_up(n, OS_PAGE)); return 0;
    default: return real_madvise(at, n, advice);
    }
}

EXPORT int mprotect(void *at, size_t n, int protection)
{
    static int (*real)(void *, size_t, int);
    if (!real)
        *(void **)&real = real_symbol("mprotect");
    int rc = real(at, n, protection);
    if (rc == 0)
        mapped_note(&main_heap, at, n);
    if (rc < 0 && errno == EACCES && protection & PROT_EXEC && main_heap.shared && in_window(at))
        log_once("code in heap memory is refused: the segment's file system is mounted noexec");
    return rc;
}

/* ---- mappings of the program's own over blocks --------------------------------------------- */

EXPORT void *mmap(void *at, size_t n, int protection, int flags, int fd, off_t off)
{
    static void *(*real)(void *, size_t, int, int, int, off_t);
    if (unlikely(!real))
        *(void **)&real = real_symbol("mmap");
    void *got = real(at, n, protection, flags, fd, off);
    if (flags & MAP_FIXED && got != MAP_FAILED)
        mapped_note(&main_heap, got, n);
    return got;
}

#ifndef mmap64 /* musl has one for both */
EXPORT void *mmap64(void *at, size_t n, int protection, int flags, int fd, off64_t off)
{
    return mmap(at, n, protection, flags, fd, off);
}
#endif

EXPORT int munmap(void *at, size_t n)
{
    static int (*real)(void *, size_t);
    if (unlikely(!real))
        *(void **)&real = real_symbol("munmap");
    int rc = real(at, n);
    if (rc == 0)
        mapped_note(&main_heap, at, n);
    return rc;
}

EXPORT void *mremap(void *at, size_t had, size_t n, int flags, ...)
{
    static void *(*real)(void *, size_t, size_t, int, ...);
    va_list ap;
    va_start(ap, flags);
    void *to = flags & MREMAP_FIXED ? va_arg(ap, void *) : NULL;
    va_end(ap);
    if (unlikely(!real))
        *(void **)&real = real_symbol("mremap");
    void *got = real(at, had, n, flags, to);
    if (got != MAP_FAILED) {
        mapped_note(&main_heap, at, had);
        mapped_note(&main_heap, got, n);
    }
    return got;
}

/* ---- mlockall -------------------------------------------------------------------------------- */

struct span {
    uintptr_t from, to;
};

static uintptr_t parse_hex(const char **at)
{
    uintptr_t n = 0;
    for (;; (*at)++) {
        char c = **at;
        unsigned digit = c >= '0' && c <= '9'   ? (unsigned)(c - '0')
                         : c >= 'a' && c <= 'f' ? (unsigned)(c - 'a' + 10)
                                                : 16;
        if (digit == 16)
            return n;
        n = n << 4 | digit;
    }
}

/* The next line of a maps file; false at its end. */
static bool next_span(long fd, char *buf, size_t size, size_t *have, struct span *span)
{
    char *end;
    while (!(end = memchr(buf, '\n', *have))) {
        ssize_t got = *have < size ? read((int)fd, buf + *have, size - *have) : -1;
        if (got <= 0)
            return false;
        *have += (size_t)got;
    }
    const char *at = buf;
    span->from = parse_hex(&at);
    at++;
    span->to = parse_hex(&at);
    *have -= (size_t)(end + 1 - buf);
    memmove(buf, end + 1, *have);
    return true;
}

/* Lock what the program has mapped, and of the segment what is in use. */
static int lock_current(bool on_fault)
{
    char buf[8192];
    size_t have = 0;
    struct span span;
    int result = 0;
    long fd = open("/proc/self/maps", O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return -1;
    while (next_span(fd, buf, sizeof buf, &have, &span)) {
        bool sparse = in_window((void *)span.from) ||
                      (gpu_area && span.from - (uintptr_t)gpu_area < GPU_AREA_BYTES) ||
                      (span.from >= (uintptr_t)main_heap.mine &&
                       span.from < (uintptr_t)main_heap.mine + main_heap.mine_bytes);
        int flags = sparse || on_fault ? MLOCK_ONFAULT : 0;
        long rc = syscall(SYS_mlock2, span.from, span.to - span.from, flags);
        if (rc < 0 && errno == ENOSYS && !flags) /* before kernel 4.4 */
            rc = syscall(SYS_mlock, span.from, span.to - span.from);
        if (rc < 0 && !sparse && errno != ENOMEM && errno != EINVAL)
            result = -1;
    }
    close((int)fd);
    return result;
}

EXPORT int mlockall(int flags)
{
    static int (*real)(int);
    if (!real)
        *(void **)&real = real_symbol("mlockall");
    if (!(flags & MCL_CURRENT) || preload_mode != MODE_HEAP)
        return real(flags);
    if (flags & ~(MCL_CURRENT | MCL_FUTURE | MCL_ONFAULT))
        return real(flags);
    if (flags & MCL_FUTURE && real(flags & ~MCL_CURRENT) < 0)
        return -1;
    return lock_current(flags & MCL_ONFAULT);
}
