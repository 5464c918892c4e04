/* real.c - the C library's own allocator, for pointers that are not ours and
 * for what the options keep out of the segment. */
#include "preload/libc.h"
#include "preload/preload.h"

#include <dlfcn.h>

static struct real real;
static bool is_found;

extern const char __ehdr_start[] __attribute__((visibility("hidden")));
extern const char _end[] __attribute__((visibility("hidden")));

/* RTLD_NEXT is next to whoever calls the loader: where another library stands before dlsym(), in
 * front of us, that is the library, and what is next is ourselves. */
void *real_symbol(const char *name)
{
    void *symbol = dlsym(RTLD_NEXT, name);
    if (likely((uintptr_t)symbol - (uintptr_t)__ehdr_start >=
               (uintptr_t)_end - (uintptr_t)__ehdr_start))
        return symbol;
    void *libc = dlmopen(LM_ID_BASE, "libc.so.6", RTLD_LAZY | RTLD_NOLOAD);
    return libc ? dlsym(libc, name) : NULL;
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
