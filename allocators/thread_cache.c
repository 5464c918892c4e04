#include "allocators/thread_cache.h"
#include "allocators/adopt.h"
#include "allocators/hold.h"
#include "allocators/page.h"
#include "allocators/run.h"

/* How many pages are looked at for remote frees before a new one is made. */
#define LOOK_FULL    4
#define LOOK_PARTIAL 16

/* ---- lists of pages ------------------------------------------------------------- */

void page_list_remove(struct heap *h, struct page_list *list, struct slice *d)
{
    uint32_t next = own_get(d->next), prev = own_get(d->prev);
    if (prev)
        own_put(page_list, h->slices[prev].next, next);
    else
        list->head = next;
    if (next)
        own_put(page_list, h->slices[next].prev, prev);
    else
        list->tail = prev;
    own_put(page_list, d->next, 0);
    own_put(page_list, d->prev, 0);
}

void page_list_push(struct heap *h, struct page_list *list, struct slice *d)
{
    uint32_t i = slice_index(h, d);
    own_put(page_list, d->next, list->head);
    own_put(page_list, d->prev, 0);
    if (list->head)
        own_put(page_list, h->slices[list->head].prev, i);
    else
        list->tail = i;
    list->head = i;
}

void page_list_append(struct heap *h, struct page_list *list, struct slice *d)
{
    uint32_t i = slice_index(h, d);
    own_put(page_list, d->prev, list->tail);
    own_put(page_list, d->next, 0);
    if (list->tail)
        own_put(page_list, h->slices[list->tail].next, i);
    else
        list->head = i;
    list->tail = i;
}

/* ---- the current page ------------------------------------------------------------- */

static void direct_set(struct thread_cache *tc, unsigned cls, uint64_t descriptor)
{
    uint32_t size = class_bytes(cls);
    if (size > DIRECT_MAX)
        return;
    uint32_t from = cls ? class_bytes(cls - 1) / 16 + 1 : 0;
    for (uint32_t i = from; i <= size / 16; i++)
        tc->direct[i] = descriptor;
    /* A forking thread announces its hold and then clears 'direct'; we set
     * 'direct' and then look for a hold.  With a full fence on both sides one
     * of us sees the other.  Pairs with the fence in hold_stop_caches(). */
    __atomic_thread_fence(__ATOMIC_SEQ_CST);
    if (__atomic_load_n(&tc->heap->mine->hold_seq, __ATOMIC_RELAXED) != tc->hold_seq)
        cache_stop(tc);
}

void cache_stop(struct thread_cache *tc)
{
    for (unsigned i = 0; i < DIRECT_ENTRIES; i++)
        __atomic_store_n(&tc->direct[i], 0, __ATOMIC_RELAXED);
}

static void current_set(struct thread_cache *tc, unsigned cls, struct slice *d)
{
    struct heap *h = tc->heap;
    own_put(page_used, d->used, own_get(d->used) + 1); /* never empty while current */
    tc->classes[cls].current = slice_index(h, d);
    direct_set(tc, cls, (uint64_t)((char *)d - h->base));
}

static void set_full(struct thread_cache *tc, struct slice *d, bool full)
{
    uint8_t flags = own_get(d->flags);
    own_put(page_flags, d->flags, (uint8_t)(full ? flags | PAGE_FULL : flags & ~PAGE_FULL));
    /* A free into a full page takes the slow path, which finds the flag. */
    put(page_owner, d->local, full || flags & PAGE_KEPT ? 0 : tc->id);
}

/* Out of use until the snapshot that covers it has ended. */
static void held_append(struct heap *h, struct class_pages *pages, struct slice *d)
{
    own_put(page_flags, d->flags, own_get(d->flags) | PAGE_HELD);
    page_list_append(h, &pages->held, d);
}

static void page_give_back(struct thread_cache *tc, struct slice *d)
{
    struct guard g = heap_lock(tc->heap);
    if (page_is_held(tc->heap, d))
        held_add(tc->heap, d);
    else
        page_end(tc->heap, d);
    heap_unlock(tc->heap, g);
}

/* The current page has nothing left (or must not be used any more). */
static void current_retire(struct thread_cache *tc, unsigned cls)
{
    struct heap *h = tc->heap;
    struct class_pages *pages = &tc->classes[cls];
    struct slice *d = &h->slices[pages->current];
    pages->current = 0;
    direct_set(tc, cls, 0);
    own_put(page_used, d->used, own_get(d->used) - 1);
    if (own_get(d->used) == 0) {
        page_give_back(tc, d);
    } else if (page_is_held(h, d)) {
        held_append(h, pages, d);
    } else if (page_may_have_free(d)) {
        page_list_append(h, &pages->partial, d);
    } else {
        set_full(tc, d, true);
        page_list_append(h, &pages->full, d);
    }
}

/* ---- finding a page ------------------------------------------------------------------ */

static struct slice *from_partial(struct thread_cache *tc, struct class_pages *pages)
{
    struct heap *h = tc->heap;
    for (unsigned looks = LOOK_PARTIAL; pages->partial.head && looks; looks--) {
        struct slice *d = &h->slices[pages->partial.head];
        page_list_remove(h, &pages->partial, d);
        if (page_is_held(h, d)) {
            held_append(h, pages, d);
            continue;
        }
        if (own_get(d->free) & 1)
            page_collect(h, d);
        if (!(own_get(d->free) & 1) || page_extend(h, d))
            return d;
        set_full(tc, d, true);
        page_list_append(h, &pages->full, d);
    }
    return NULL;
}

/* Remote frees tell nobody: look at the pages that have been full longest. */
static struct slice *from_full(struct thread_cache *tc, struct class_pages *pages, unsigned looks)
{
    struct heap *h = tc->heap;
    for (; pages->full.head && looks; looks--) {
        struct slice *d = &h->slices[pages->full.head];
        page_list_remove(h, &pages->full, d);
        if (page_collect(h, d)) {
            set_full(tc, d, false);
            if (!page_is_held(h, d))
                return d;
            held_append(h, pages, d);
            continue;
        }
        page_list_append(h, &pages->full, d);
    }
    return NULL;
}

/* Snapshots end: their pages may be used again. */
static void release_held(struct thread_cache *tc, struct class_pages *pages)
{
    struct heap *h = tc->heap;
    if (!pages->held.head || !hold_look(h) || pages->held_seen == h->mine->holds_ended)
        return;
    pages->held_seen = h->mine->holds_ended;
    for (uint32_t i = pages->held.head, next; i; i = next) {
        struct slice *d = &h->slices[i];
        next = own_get(d->next);
        if (page_is_held(h, d))
            continue;
        page_list_remove(h, &pages->held, d);
        own_put(page_flags, d->flags, (uint8_t)(own_get(d->flags) & ~PAGE_HELD));
        page_collect(h, d);
        if (own_get(d->used) == 0)
            page_give_back(tc, d);
        else
            page_list_append(h, &pages->partial, d);
    }
}

static struct slice *from_member(struct thread_cache *tc, unsigned cls)
{
    struct heap *h = tc->heap;
    struct guard g = heap_lock(h);
    run_purge(h, false);
    member_collect(h);
    struct slice *d = pool_take(h, cls, tc->id);
    if (!d)
        d = page_make(h, cls, tc->id);
    heap_unlock(h, g);
    return d;
}

static bool page_ready(struct thread_cache *tc, struct slice *d)
{
    return !(own_get(d->free) & 1) || page_collect(tc->heap, d) || page_extend(tc->heap, d);
}

static struct slice *page_find(struct thread_cache *tc, unsigned cls)
{
    struct class_pages *pages = &tc->classes[cls];
    release_held(tc, pages);
    struct slice *d = from_partial(tc, pages);
    if (!d)
        d = from_full(tc, pages, LOOK_FULL);
    if (d)
        return d;
    d = from_member(tc, cls);
    if (d && page_ready(tc, d))
        return d;
    if (d) { /* an empty page that could not even get its first OS page */
        if (own_get(d->used) == 0)
            page_give_back(tc, d);
        else
            page_list_append(tc->heap, &pages->partial, d);
    }
    return from_full(tc, pages, UINT32_MAX); /* no memory: leave no stone unturned */
}

/* Pages made before the last fork of ours may be covered by its snapshot. */
static void park_pages(struct thread_cache *tc)
{
    tc->hold_seq = __atomic_load_n(&tc->heap->mine->hold_seq, __ATOMIC_RELAXED);
    for (unsigned cls = 0; cls < CLASS_COUNT; cls++)
        if (tc->classes[cls].current)
            current_retire(tc, cls);
}

void *cache_refill(struct thread_cache *tc, unsigned cls)
{
    struct heap *h = tc->heap;
    if (unlikely(tc->hold_seq != __atomic_load_n(&h->mine->hold_seq, __ATOMIC_RELAXED)))
        park_pages(tc);
    uint32_t current = tc->classes[cls].current;
    if (current) {
        struct slice *d = &h->slices[current];
        void *block = page_pop(h, d); /* of classes that have no entry in 'direct' */
        if (!block && page_ready(tc, d))
            block = page_pop(h, d);
        if (block)
            return block;
        current_retire(tc, cls);
    }
    if (h->unusable)
        return NULL;
    struct slice *d = page_find(tc, cls);
    if (!d)
        return NULL;
    current_set(tc, cls, d);
    return page_pop(h, d);
}

/* ---- freeing ---------------------------------------------------------------------------- */

/* One empty page of a class is kept: the next malloc may want it. */
static void page_emptied(struct thread_cache *tc, struct class_pages *pages, struct slice *d)
{
    if (pages->partial.head == pages->partial.tail && own_get(d->span) == 1)
        return;
    page_list_remove(tc->heap, &pages->partial, d);
    page_give_back(tc, d);
}

void cache_free(struct thread_cache *tc, struct slice *d, uint64_t off)
{
    struct heap *h = tc->heap;
    struct class_pages *pages = &tc->classes[own_get(d->cls)];
    if (own_get(d->flags) & PAGE_KEPT)
        kept_forget(h, d, off);
    page_push(h, d, off);
    if (own_get(d->flags) & PAGE_FULL) {
        page_list_remove(h, &pages->full, d);
        set_full(tc, d, false);
        page_list_push(h, &pages->partial, d);
    }
    cache_page_empty(tc, d);
}

void cache_page_empty(struct thread_cache *tc, struct slice *d)
{
    struct class_pages *pages = &tc->classes[own_get(d->cls)];
    if (own_get(d->used) == 0 && !(own_get(d->flags) & PAGE_HELD))
        page_emptied(tc, pages, d);
}

/* ---- life ---------------------------------------------------------------------------------- */

#define CACHES_BYTES (UINT64_C(64) << 10)

static struct thread_cache *cache_storage(struct heap *h)
{
    struct mine *m = h->mine;
    struct thread_cache *tc = m->unused_caches;
    if (tc) {
        m->unused_caches = tc->next;
        return tc;
    }
    if ((size_t)(m->caches_end - m->caches_top) < sizeof *tc) {
        char *more = os_map(CACHES_BYTES, false);
        if (!more)
            return NULL;
        if (h->shared)
            os_advise(more, CACHES_BYTES, 18 /* MADV_WIPEONFORK */);
        m->caches_top = more;
        m->caches_end = more + CACHES_BYTES;
    }
    tc = (struct thread_cache *)m->caches_top;
    m->caches_top += round_up(sizeof *tc, 64);
    tc->inflight = INFLIGHT_MAX - 1; /* shared by all without one of their own, under the lock */
    for (uint32_t i = 0; i < INFLIGHT_MAX - 1; i++)
        if (!(m->inflight_used[i / 64] >> (i % 64) & 1)) {
            m->inflight_used[i / 64] |= UINT64_C(1) << (i % 64);
            tc->inflight = i;
            break;
        }
    tc->heap = h;
    return tc;
}

struct thread_cache *cache_make(struct heap *h)
{
    struct guard g = heap_lock(h);
    struct mine *m = h->mine;
    struct thread_cache *tc = cache_storage(h);
    if (tc) {
        for (unsigned cls = 0; cls < CLASS_COUNT; cls++)
            tc->classes[cls] = (struct class_pages){ 0 };
        tc->id = owner_pool(h) | ++m->epoch_threads;
        tc->hold_seq = m->hold_seq;
        tc->in_use = true;
        tc->next = m->caches;
        m->caches = tc;
        put(member_threads, h->me->threads, get(h->me->threads) + 1);
    }
    heap_unlock(h, g);
    return tc;
}

static void pages_to_pool(struct thread_cache *tc, unsigned cls, struct page_list *list)
{
    struct heap *h = tc->heap;
    while (list->head) {
        struct slice *d = &h->slices[list->head];
        page_list_remove(h, list, d);
        pool_put(h, cls, d);
    }
}

void cache_end(struct thread_cache *tc)
{
    struct heap *h = tc->heap;
    cache_stop(tc);
    for (unsigned cls = 0; cls < CLASS_COUNT; cls++)
        if (tc->classes[cls].current)
            current_retire(tc, cls);
    struct guard g = heap_lock(h);
    for (unsigned cls = 0; cls < CLASS_COUNT; cls++) {
        struct class_pages *pages = &tc->classes[cls];
        pages_to_pool(tc, cls, &pages->partial);
        pages_to_pool(tc, cls, &pages->full);
        pages_to_pool(tc, cls, &pages->held);
    }
    struct thread_cache **at = &h->mine->caches;
    while (*at && *at != tc)
        at = &(*at)->next;
    if (*at)
        *at = tc->next;
    tc->in_use = false;
    tc->id = 0;
    tc->next = h->mine->unused_caches;
    h->mine->unused_caches = tc;
    put(member_threads, h->me->threads, get(h->me->threads) - 1);
    heap_unlock(h, g);
}
