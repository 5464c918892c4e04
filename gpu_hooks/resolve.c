/* resolve.c - from a name to a wrapper.
 *
 * The table has no pointers in it: it needs no relocation, and a program
 * without a GPU never touches it. */
#include "gpu_hooks/resolve.h"
#include "gpu_hooks/cuda_hooks.h"

#include <dlfcn.h>
#include <limits.h>
#include <string.h>

bool gpu_hooks_on;
void *gpu_area;
dlsym_fn *dlsym_real;
void *cuda_real[HOOK_COUNT];

enum streams { ANY, LEGACY, PER_THREAD };
#define LATEST INT_MAX
/* Newer versions of the interface than this may have other calling conventions under old names. */
#define KNOWN 14000

struct hook {
    char name[32], symbol[36];
    int since, until;
    enum streams streams;
};

static const struct hook hooks[HOOK_COUNT] = {
#define HOOK(name_, symbol_, since_, until_, streams_)                                             \
    [HOOK_##symbol_] = { #name_, #symbol_, since_, until_, streams_ },
#include "gpu_hooks/cuda_hooks.def"
#undef HOOK
};

static void *wrapper_of(enum hook_id id)
{
    switch (id) {
#define HOOK(name, symbol, since, until, streams)                                                  \
    case HOOK_##symbol:                                                                            \
        return (void *)hook_##symbol;
#include "gpu_hooks/cuda_hooks.def"
#undef HOOK
    default: return NULL;
    }
}

/* Not strcmp(): a name that nothing else here needs costs each start a lookup. */
static bool same(const char *a, const char *b)
{
    while (*a && *a == *b)
        a++, b++;
    return *a == *b;
}

/* ---- the real ones ------------------------------------------------------------------------ */

dlsym_fn *dlsym_find(void)
{
    void *found = dlvsym(RTLD_NEXT, "dlsym", "GLIBC_2.34");
    if (!found)
        found = dlvsym(RTLD_NEXT, "dlsym", "GLIBC_2.2.5");
    if (!found)
        found = dlvsym(RTLD_NEXT, "dlsym", "GLIBC_2.17");
    dlsym_real = (dlsym_fn *)found;
    return dlsym_real;
}

static dlsym_fn *real_dlsym(void)
{
    return dlsym_real ? dlsym_real : dlsym_find();
}

/* Functions that only a program with a driver needs are looked up here, not at every start. */
static bool is_in_driver(const void *address)
{
    static int (*address_find)(const void *, Dl_info *);
    Dl_info info;
    if (!address_find)
        *(void **)&address_find = real_dlsym()(RTLD_NEXT, "dladdr");
    if (!address || !address_find || !address_find(address, &info) || !info.dli_fname)
        return false;
    const char *slash = strrchr(info.dli_fname, '/');
    return strncmp(slash ? slash + 1 : info.dli_fname, "libcuda.so", 10) == 0;
}

/* By the driver's soname, which finds it in whatever scope it was opened; nothing is loaded. */
void *driver_symbol(const char *symbol)
{
    void *found = real_dlsym()(RTLD_NEXT, symbol);
    if (found)
        return found;
    void *(*open)(const char *, int);
    int (*close)(void *);
    *(void **)&open = real_dlsym()(RTLD_NEXT, "dlopen");
    *(void **)&close = real_dlsym()(RTLD_NEXT, "dlclose");
    void *driver = open && close ? open("libcuda.so.1", RTLD_LAZY | RTLD_NOLOAD) : NULL;
    if (driver) {
        found = real_dlsym()(driver, symbol);
        close(driver);
    }
    return found;
}

void *cuda_real_find(enum hook_id id)
{
    void *found = driver_symbol(hooks[id].symbol);
    if (found)
        __atomic_store_n(&cuda_real[id], found, __ATOMIC_RELAXED);
    return found;
}

static void *give(enum hook_id id, void *found)
{
    __atomic_store_n(&cuda_real[id], found, __ATOMIC_RELAXED);
    return wrapper_of(id);
}

/* ---- cuGetProcAddress() --------------------------------------------------------------------- */

static bool streams_fit(enum streams streams, uint64_t flags)
{
    return streams == ANY || (streams == PER_THREAD) == ((flags & CU_PROC_PER_THREAD_STREAM) != 0);
}

void *cuda_substitute(const char *name, int version, uint64_t flags, void *found)
{
    if (!gpu_hooks_on || !gpu_name(name))
        return found;
    for (enum hook_id id = 0; id < HOOK_COUNT; id++) {
        const struct hook *h = &hooks[id];
        if (!same(h->name, name) || version < h->since || version >= h->until ||
            !streams_fit(h->streams, flags))
            continue;
        bool known = version < KNOWN || found == driver_symbol(h->symbol);
        return known && is_in_driver(found) ? give(id, found) : found;
    }
    return found;
}

/* ---- dlsym() ----------------------------------------------------------------------------------- */

static enum hook_id hook_of_symbol(const char *symbol)
{
    enum hook_id id = 0;
    while (id < HOOK_COUNT && !same(hooks[id].symbol, symbol))
        id++;
    return id;
}

void *gpu_dlsym(void *handle, const char *name)
{
    void *found = real_dlsym()(handle, name);
    if (!found)
        return NULL;
    enum hook_id id = hook_of_symbol(name);
    if (id == HOOK_COUNT)
        return found;
    /* What is found through the global scope is ours even where there is no driver, and then
     * without us it would not have been found: the same question again, past us. */
    if (found == wrapper_of(id)) {
        if (!driver_symbol(name))
            found = real_dlsym()(RTLD_NEXT, name);
        __asm__ volatile("" : "+r"(found)); /* no tail call: it has to start after us */
        return found;
    }
    return gpu_hooks_on && is_in_driver(found) ? give(id, found) : found;
}
