/* real.c - the C library's own allocator, for pointers that are not ours and
 * for what the options keep out of the segment. */
#include "preload/preload.h"

#include <dlfcn.h>

static struct real real;
static bool is_found;

void *real_symbol(const char *name)
{
    return dlsym(RTLD_NEXT, name);
}

/* dlsym() may itself allocate: that call, of the same thread, gets NULL, and bootstrap.c serves it.
 * Another thread looks for itself instead of waiting: it may hold a lock of the loader's. */
const struct real *real_get(void)
{
    if (likely(__atomic_load_n(&is_found, __ATOMIC_ACQUIRE)))
        return &real;
    if (tls_state.looking)
        return NULL;
    tls_state.looking = true;
    struct real found;
    *(void **)&found.malloc = real_symbol("malloc");
    *(void **)&found.calloc = real_symbol("calloc");
    *(void **)&found.realloc = real_symbol("realloc");
    *(void **)&found.free = real_symbol("free");
    *(void **)&found.posix_memalign = real_symbol("posix_memalign");
    *(void **)&found.malloc_usable_size = real_symbol("malloc_usable_size");
    tls_state.looking = false;
    if (!found.malloc)
        return NULL;
    real = found; /* the same words, whoever writes them */
    __atomic_store_n(&is_found, true, __ATOMIC_RELEASE);
    return &real;
}
