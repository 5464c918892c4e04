#include "allocators/mapped.h"
#include "allocators/member.h"

#include <sys/mman.h>

/* heap.mapped is private memory: it says what this process has mapped.  Its threads
 * set and clear bits side by side. */

static uint64_t *bits_of(struct heap *h)
{
    uint64_t *bits = __atomic_load_n(&h->mapped, __ATOMIC_ACQUIRE), bytes = h->slice_count / 8 + 8;
    if (bits)
        return bits;
    uint64_t *made = os_map(bytes, true);
    /* Pairs with the load above: who sees the table sees it zeroed. */
    if (made && !__atomic_compare_exchange_n(&h->mapped, &bits, made, false, __ATOMIC_ACQ_REL,
                                             __ATOMIC_ACQUIRE)) {
        os_unmap(made, bytes);
        return bits;
    }
    return made;
}

void mapped_note(struct heap *h, const void *at, uint64_t bytes)
{
    uint64_t off = off_of(h, at), first = off >> SLICE_SHIFT;
    if (first >= h->slice_count || !bytes)
        return;
    uint64_t end = at_most((off + bytes + SLICE_BYTES - 1) >> SLICE_SHIFT, h->slice_count);
    uint64_t *bits = bits_of(h);
    for (uint64_t i = first; bits && i < end; i++)
        __atomic_fetch_or(&bits[i / 64], UINT64_C(1) << (i % 64), __ATOMIC_RELAXED);
}

AT_FORK(".text") static bool is_noted(struct heap *h, uint64_t slice)
{
    return __atomic_load_n(&h->mapped[slice / 64], __ATOMIC_RELAXED) >> (slice % 64) & 1;
}

AT_FORK(".text") void mapped_forget(struct heap *h, uint64_t off, uint64_t bytes)
{
    uint64_t end = at_most((off + bytes + SLICE_BYTES - 1) >> SLICE_SHIFT, h->slice_count);
    for (uint64_t i = off >> SLICE_SHIFT; h->mapped && i < end; i++)
        if (is_noted(h, i))
            __atomic_fetch_and(&h->mapped[i / 64], ~(UINT64_C(1) << (i % 64)), __ATOMIC_RELAXED);
}

/* Who may not open the file (any more) can still make it accessible. */
static void map_again(struct heap *h, uint64_t off, uint64_t bytes)
{
    void *at = at_off(h, off);
    if (!h->shared) {
        os_map_over(at, bytes);
        return;
    }
    long fd = h->can_open ? witness_open(h->path, h->inode) : -1;
    if (fd < 0 || os_map_file_over(at, bytes, fd, off) < 0)
        os_protect(at, bytes, PROT_READ | PROT_WRITE);
    else
        os_advise(at, bytes, MADV_DONTDUMP); /* as the rest of the window */
    if (fd >= 0)
        os_close(fd);
}

void mapped_restore_noted(struct heap *h, uint64_t off, uint64_t bytes)
{
    uint64_t end = at_most((off + bytes + SLICE_BYTES - 1) >> SLICE_SHIFT, h->slice_count);
    for (uint64_t i = off >> SLICE_SHIFT, n; i < end; i += n) {
        n = 1;
        if (!is_noted(h, i))
            continue;
        while (i + n < end && is_noted(h, i + n))
            n++;
        map_again(h, i << SLICE_SHIFT, n << SLICE_SHIFT);
        mapped_forget(h, i << SLICE_SHIFT, n << SLICE_SHIFT);
    }
}
