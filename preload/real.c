/* real.c - the C library's own allocator, for pointers that are not ours and
 * for what the options keep out of the segment. */
#include "preload/preload.h"

#include <dlfcn.h>

static struct real real;
static int looked_up; /* 0 no, 1 in progress, 2 done */

void *real_symbol(const char *name)
{
    return dlsym(RTLD_NEXT, name);
}

const struct real *real_get(void)
{
    if (likely(__atomic_load_n(&looked_up, __ATOMIC_ACQUIRE) == 2))
        return &real;
    int none = 0;
    if (!__atomic_compare_exchange_n(&looked_up, &none, 1, false, __ATOMIC_ACQ_REL,
                                     __ATOMIC_ACQUIRE) &&
        none == 1)
        return NULL; /* dlsym() itself allocates: bootstrap serves it */
    struct real found;
    *(void **)&found.malloc = real_symbol("malloc");
    *(void **)&found.calloc = real_symbol("calloc");
    *(void **)&found.realloc = real_symbol("realloc");
    *(void **)&found.free = real_symbol("free");
    *(void **)&found.posix_memalign = real_symbol("posix_memalign");
    *(void **)&found.malloc_usable_size = real_symbol("malloc_usable_size");
    real = found;
    __atomic_store_n(&looked_up, found.malloc ? 2 : 0, __ATOMIC_RELEASE);
    return found.malloc ? &real : NULL;
}
