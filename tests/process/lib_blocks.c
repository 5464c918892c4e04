/* A library that makes and drops blocks, also while it is loaded and unloaded. */
#include <stdlib.h>

#define EXPORT __attribute__((visibility("default")))

EXPORT void *library_make(size_t n);
EXPORT void library_drop(void *p);

static void *own;

__attribute__((constructor)) static void loaded(void)
{
    own = malloc(5000);
}

__attribute__((destructor)) static void unloaded(void)
{
    free(own);
}

void *library_make(size_t n)
{
    return realloc(malloc(1), n);
}

void library_drop(void *p)
{
    free(realloc(p, 77));
}
