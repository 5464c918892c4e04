/* bootstrap.c - memory for calls that come back to us while we start, or while
 * dlsym() looks for the C library's malloc.  It is never given back. */
#include "preload/preload.h"

#define BOOTSTRAP_BYTES 65536

/* .bss.large: behind the variables that every start writes, which then share a page */
static char arena[BOOTSTRAP_BYTES] __attribute__((aligned(16), section(".bss.large")));
static size_t top;

void *bootstrap_alloc(size_t n, size_t align)
{
    if (n > BOOTSTRAP_BYTES || align > 4096)
        return NULL;
    if (align < 16)
        align = 16;
    size_t seen = __atomic_load_n(&top, __ATOMIC_RELAXED), at, end;
    do { /* a word before the block holds its size */
        at = (size_t)round_up((uintptr_t)arena + seen + 16, align) - (uintptr_t)arena;
        end = at + round_up(n ? n : 1, 16);
        if (end > BOOTSTRAP_BYTES)
            return NULL;
    } while (
        !__atomic_compare_exchange_n(&top, &seen, end, false, __ATOMIC_RELAXED, __ATOMIC_RELAXED));
    *(size_t *)(void *)(arena + at - 16) = n;
    return arena + at;
}

bool bootstrap_owns(const void *p)
{
    return (uintptr_t)p - (uintptr_t)arena < BOOTSTRAP_BYTES;
}

size_t bootstrap_size(const void *p)
{
    return *(const size_t *)(const void *)((const char *)p - 16);
}
