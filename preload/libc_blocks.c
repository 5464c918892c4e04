/* libc_blocks.c - blocks that the C library makes for itself stay out of the segment.
 *
 * In the child of a threaded program, before any handler of ours, glibc's
 * fork() resets the lock of every FILE and clears other threads' second-level
 * arrays of thread-specific data.  In the segment that would happen to the
 * parent.  While one of these functions runs, the thread's allocations go to
 * libc.
 */
#include "preload/preload.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <wchar.h>

static void libc_enter(void)
{
    tls_state.libc_depth++;
    tls_cache = &no_cache;
}

static void libc_leave(void)
{
    tls_state.libc_depth--;
    if (tls_state.libc_depth == 0 && tls_state.own && tls_state.own->id && !preload_slow)
        tls_cache = tls_state.own;
}

#define FILE_MAKER(type, name, params, args)                                                       \
    EXPORT type name params                                                                        \
    {                                                                                              \
        static type(*real) params;                                                                 \
        if (!real)                                                                                 \
            *(void **)&real = real_symbol(#name);                                                  \
        if (!main_heap.shared)                                                                     \
            return real args;                                                                      \
        libc_enter();                                                                              \
        type result = real args;                                                                   \
        libc_leave();                                                                              \
        return result;                                                                             \
    }

#undef fopen64
#undef freopen64
#undef tmpfile64
FILE_MAKER(FILE *, fopen, (const char *path, const char *mode), (path, mode))
FILE_MAKER(FILE *, fopen64, (const char *path, const char *mode), (path, mode))
FILE_MAKER(FILE *, fdopen, (int fd, const char *mode), (fd, mode))
FILE_MAKER(FILE *, freopen, (const char *path, const char *mode, FILE *f), (path, mode, f))
FILE_MAKER(FILE *, freopen64, (const char *path, const char *mode, FILE *f), (path, mode, f))
FILE_MAKER(FILE *, popen, (const char *command, const char *mode), (command, mode))
FILE_MAKER(FILE *, tmpfile, (void), ())
FILE_MAKER(FILE *, tmpfile64, (void), ())
FILE_MAKER(FILE *, fopencookie, (void *cookie, const char *mode, cookie_io_functions_t functions),
           (cookie, mode, functions))
FILE_MAKER(FILE *, fmemopen, (void *buf, size_t n, const char *mode), (buf, n, mode))
FILE_MAKER(FILE *, open_memstream, (char **buf, size_t *n), (buf, n))
FILE_MAKER(FILE *, open_wmemstream, (wchar_t * *buf, size_t *n), (buf, n))
FILE_MAKER(int, pthread_setspecific, (pthread_key_t key, const void *value), (key, value))
