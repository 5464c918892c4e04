/* modes.c - what the options change: HSHM_ALLOCATOR, HSHM_MIN_BLOCK, HSHM_MAX_BLOCK
 * and the counting of calls.  Any of them sends every call through the slow
 * path, so the fast path never asks. */
#include "allocators/large.h"
#include "allocators/thread_cache.h"
#include "preload/preload.h"

/* ---- limits of size ----------------------------------------------------------------- */

bool mode_has_bounds(void)
{
    return option_number(OPT_MIN_BLOCK) || option_number(OPT_MAX_BLOCK);
}

bool mode_sends_to_libc(size_t n)
{
    uint64_t least = (uint64_t)option_number(OPT_MIN_BLOCK),
             most = (uint64_t)option_number(OPT_MAX_BLOCK);
    return n < least || (most && n > most);
}

/* ---- HSHM_ALLOCATOR=stack: a pointer that moves up, and nothing is ever freed --------- */

#define STACK_PIECE (UINT64_C(1) << 20)

static struct {
    uint32_t lock;
    char *at, *end;
} stack AT_FORK(".data") = { .lock = 0 };

static void spin_lock(uint32_t *lock)
{
    while (__atomic_exchange_n(lock, 1, __ATOMIC_ACQUIRE))
        os_futex_wait(lock, 1);
}

static void spin_unlock(uint32_t *lock)
{
    __atomic_store_n(lock, 0, __ATOMIC_RELEASE);
    os_futex_wake(lock, 1);
}

/* Blocks carry their size in the 16 bytes before them, for realloc. */
static void *stack_alloc(struct thread_cache *tc, size_t n, size_t align)
{
    if (n > PTRDIFF_MAX / 2 || align > STACK_PIECE)
        return NULL;
    os_signals signals = os_signals_block();
    spin_lock(&stack.lock);
    char *block = stack.at ? (char *)round_up((uintptr_t)stack.at + 16, align) : NULL;
    if (!block || block + n > stack.end) {
        uint64_t piece = round_up(n + align + 16, STACK_PIECE);
        stack.at = large_alloc(tc->heap, piece, 1, false, NULL);
        stack.end = stack.at ? stack.at + piece : NULL;
        block = stack.at ? (char *)round_up((uintptr_t)stack.at + 16, align) : NULL;
    }
    if (block) {
        ((size_t *)(void *)block)[-2] = n;
        stack.at = block + round_up(n, 16);
    }
    spin_unlock(&stack.lock);
    os_signals_restore(signals);
    return block;
}

static bool is_stack(void)
{
    return option_number(OPT_ALLOCATOR) == ALLOCATOR_STACK;
}

size_t mode_size(const void *p)
{
    return is_stack() ? ((const size_t *)p)[-2] : heap_usable_size(&main_heap, p);
}

/* ---- HSHM_ALLOCATOR=page: pages without thread caches ----------------------------------- */

static uint32_t page_lock AT_FORK(".data") = 0;
static struct thread_cache *page_cache AT_FORK(".data") = NULL;

/* One cache for all threads, in the order of a lock.  It is nobody's own: a
 * thread's would go with the thread.  Without memory for it: the caller's, once. */
static struct thread_cache *shared_cache(struct thread_cache *tc)
{
    if (!page_cache)
        page_cache = cache_make(&main_heap);
    return page_cache ? page_cache : tc;
}

static void *page_alloc(struct thread_cache *tc, size_t n, size_t align)
{
    os_signals signals = os_signals_block();
    spin_lock(&page_lock);
    void *p = heap_memalign(shared_cache(tc), align, n);
    spin_unlock(&page_lock);
    os_signals_restore(signals);
    return p;
}

static void page_free(struct thread_cache *tc, void *p)
{
    os_signals signals = os_signals_block();
    spin_lock(&page_lock);
    heap_free(shared_cache(tc), p);
    spin_unlock(&page_lock);
    os_signals_restore(signals);
}

/* A child must not use what its parent goes on using, nor wait for a thread that it does not have. */
AT_FORK(".text") void modes_after_fork(void)
{
    trace_after_fork();
    if (!stack.at && !page_cache && !page_lock && !stack.lock)
        return; /* nothing to write: a page less to copy */
    page_cache = NULL;
    page_lock = stack.lock = 0;
    stack.at = stack.end = NULL;
}

/* ---- all of them ---------------------------------------------------------------------------- */

void *mode_malloc(struct thread_cache *tc, size_t n, size_t align, bool zero)
{
    void *p;
    if (align < 16)
        align = 16;
    switch (option_number(OPT_ALLOCATOR)) {
    case ALLOCATOR_STACK: p = stack_alloc(tc, n, align); break;
    case ALLOCATOR_PAGE: p = page_alloc(tc, n, align); break;
    default:
        if (zero && align == 16)
            return heap_calloc(tc, n);
        p = heap_memalign(tc, align, n);
        break;
    }
    if (p && zero)
        __builtin_memset(p, 0, n);
    return p;
}

bool mode_free(struct thread_cache *tc, void *p)
{
    switch (option_number(OPT_ALLOCATOR)) {
    case ALLOCATOR_STACK: return true;
    case ALLOCATOR_PAGE: page_free(tc, p); return true;
    default: return false;
    }
}

/* Resizing by copy; NULL if the heap's own realloc is to do it. */
bool mode_realloc(struct thread_cache *tc, void *p, size_t n, void **out)
{
    if (option_number(OPT_ALLOCATOR) == ALLOCATOR_THREAD ||
        option_number(OPT_ALLOCATOR) == ALLOCATOR_MALLOC)
        return false;
    size_t have = mode_size(p);
    *out = mode_malloc(tc, n, 16, false);
    if (*out) {
        __builtin_memcpy(*out, p, have < n ? have : n);
        mode_free(tc, p);
    }
    return true;
}

/* ---- counting ---------------------------------------------------------------------------------- */

void count_call(enum call call)
{
    if (preload_mode == MODE_NEW)
        preload_start();
    struct seg_member *me = main_heap.me;
    if (!me || main_heap.unusable)
        return;
    switch (call) {
    case CALL_MALLOC: fetch_add(member_facts, me->mallocs, 1); break;
    case CALL_CALLOC: fetch_add(member_facts, me->callocs, 1); break;
    case CALL_REALLOC: fetch_add(member_facts, me->reallocs, 1); break;
    case CALL_FREE: fetch_add(member_facts, me->frees, 1); break;
    }
}

void count_libc_bytes(size_t n)
{
    if (main_heap.me && !main_heap.unusable)
        fetch_add(member_facts, main_heap.me->bytes_out, n);
}
