#include "allocators/heap.h"

struct guard heap_lock(struct heap *h)
{
    struct guard g = { os_signals_block() };
    uint32_t *word = &h->mine->lock, seen = 0;
    /* acquire: pairs with the release in heap_unlock() of another thread */
    if (__atomic_compare_exchange_n(word, &seen, 1, false, __ATOMIC_ACQUIRE, __ATOMIC_RELAXED))
        return g;
    while (__atomic_exchange_n(word, 2, __ATOMIC_ACQUIRE) != 0)
        os_futex_wait(word, 2);
    return g;
}

void heap_unlock(struct heap *h, struct guard g)
{
    /* release: pairs with the acquire in heap_lock() */
    if (__atomic_exchange_n(&h->mine->lock, 0, __ATOMIC_RELEASE) == 2)
        os_futex_wake(&h->mine->lock, 1);
    os_signals_restore(g.signals);
}
