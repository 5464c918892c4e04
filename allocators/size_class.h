/* size_class.h - the sizes in which small blocks come.
 *
 * 16, 32 ... 128, then eight steps to each doubling up to 32 KiB: at most
 * 12.5 % of a block is waste.  All are multiples of 16.
 */
#pragma once
#include "allocators/layout.h"
#include <stddef.h>
#include <stdint.h>

#define CLASS_MAX UINT32_C(32768) /* larger blocks are runs of slices of their own */

/* Size class of n, 1 <= n <= CLASS_MAX. */
static inline unsigned class_of(size_t n)
{
    if (n <= 128)
        return (unsigned)((n + 15) / 16) - (n != 0);
    unsigned log = 63 - (unsigned)__builtin_clzl(n - 1);
    return 8 * (log - 6) + (unsigned)((n - 1) >> (log - 3)) - 8;
}

static inline uint32_t class_bytes(unsigned cls)
{
    unsigned group = cls / 8;
    return group == 0 ? 16 * (cls + 1) : (8 + cls % 8 + 1) << (group + 3);
}

/* Slices in a page of this class: at least eight blocks fit in it. */
static inline unsigned class_slices(unsigned cls)
{
    return class_bytes(cls) <= 8192 ? 1 : 4;
}
