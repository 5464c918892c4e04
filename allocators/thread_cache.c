#include "allocators/thread_cache.h"
#include "allocators/adopt.h"
#include "allocators/cache_hold.h"
#include "allocators/commit.h"
#include "allocators/hold.h"
#include "allocators/large_cache.h"
#include "allocators/page.h"
#include "allocators/recover.h"
#include "allocators/run.h"
#include "allocators/sound.h"

/* How many pages are looked at for remote frees before a new one is made. */
#define LOOK_REMOTE 4

static struct class_cell *cell_of(struct thread_cache *tc, unsigned cls)
{
    return &tc->record->cells[cls];
}

static void *pop(struct thread_cache *tc, unsigned cls)
{
    struct heap *h = tc->heap;
    struct class_cell *cell = cell_of(tc, cls);
    uint64_t off = own_get(cell->free);
    if (likely(off == LIST_END))
        return NULL;
    if (likely(free_block_exists(h, off))) {
        void *block = page_pop_of(h, cell, class_slices(cls) == 1);
        if (!block)
            page_pop_failed(h, cell);
        return block;
    }
    damage_segment(h, "a list of free blocks", (char *)cell - (char *)h->header);
    return NULL;
}

/* ---- the way of the fast path ------------------------------------------------------ */

static void direct_set(struct thread_cache *tc, unsigned cls)
{
    uint32_t size = class_bytes(cls);
    size_t first = cls ? direct_small(class_bytes(cls - 1) + 1) : 0, last = direct_small(size);
    if (size > DIRECT_MAX)
        first = last = direct_of_class(cls);
    if (tc->direct[first])
        return;
    uint64_t cell = off_of(tc->heap, cell_of(tc, cls));
    for (size_t i = first; i <= last; i++)
        __atomic_store_n(&tc->direct[i], cell, __ATOMIC_RELAXED);
    /* A forking thread announces its hold and then clears 'direct'; we set
     * 'direct' and then look for a hold.  With a full fence on both sides one
     * of us sees the other.  Pairs with the fence in stop_caches(). */
    __atomic_thread_fence(__ATOMIC_SEQ_CST);
    if (__atomic_load_n(&tc->heap->mine->hold_seq, __ATOMIC_RELAXED) != tc->hold_seq)
        cache_stop(tc);
}

void cache_stop(struct thread_cache *tc)
{
    for (unsigned i = 0; i < DIRECT_ENTRIES; i++)
        __atomic_store_n(&tc->direct[i], 0, __ATOMIC_RELAXED);
}

/* ---- empty pages ---------------------------------------------------------------------- */

static bool page_is_empty(const struct slice *d)
{
    return own_get(d->flags) & PAGE_IDLE && own_get(d->used) == 1;
}

/* Unlink the blocks of empty pages from a list.  The pages were marked EMPTY
 * first: if we die, their blocks count as free whether on a list or not. */
static void list_without_empty(struct heap *h, sh64_t *list)
{
    uint64_t off = own_get(*list), kept = 0;
    bool dropped = false;
    struct walk walk = { 0 };
    for (uint64_t next; off != LIST_END; off = next) {
        if (unlikely(!free_block_exists(h, off) || walk_returns(&walk, off))) {
            damage_segment(h, "a list of free blocks", (char *)list - (char *)h->header);
            return;
        }
        struct slice *d = slice_head(h, (uint32_t)(off >> SLICE_SHIFT));
        next = link_read(h, at_off(h, off));
        if (!link_is_sound(h, next))
            page_link_damaged(h, off);
        if (own_get(d->flags) & PAGE_EMPTY) {
            dropped = true;
            continue;
        }
        if (dropped && kept)
            link_write(h, kept, off);
        else if (dropped)
            own_put(page_sweep, *list, off);
        dropped = false;
        kept = off;
    }
    if (dropped && kept)
        link_write(h, kept, LIST_END);
    else if (dropped)
        own_put(page_sweep, *list, LIST_END);
}

static void page_forget(struct thread_cache *tc, struct class_pages *pages, struct slice *d)
{
    page_list_remove(tc->heap, &pages->pages, d);
    pages->count--;
    if (pages->fresh == slice_index(tc->heap, d))
        pages->fresh = 0;
}

/* The lists without the blocks of empty pages.  A walk costs a cache miss for each
 * block; where no page is left there is nothing to look for. */
static void lists_without_empty(struct thread_cache *tc, unsigned cls)
{
    struct class_cell *cell = cell_of(tc, cls);
    if (tc->classes[cls].count == 0) {
        own_put(page_sweep, cell->free, LIST_END);
        own_put(page_sweep, cell->parked, LIST_END);
        return;
    }
    list_without_empty(tc->heap, &cell->free);
    if (!list_is_end(own_get(cell->parked)))
        list_without_empty(tc->heap, &cell->parked);
}

/* Give empty pages back. */
static void sweep(struct thread_cache *tc, unsigned cls)
{
    struct heap *h = tc->heap;
    struct class_pages *pages = &tc->classes[cls];
    uint32_t first = 0;
    pages->idle = 0;
    for (uint32_t i = pages->pages.head, next; i; i = next) {
        struct slice *d = &h->slices[i];
        uint8_t flags = own_get(d->flags);
        next = page_after(h, i);
        if (!page_must_be_sound(h, d))
            return;
        if (!(flags & PAGE_IDLE))
            continue;
        if (page_is_empty(d)) {
            if (flags & PAGE_HELD) /* its blocks are parked; mine.held keeps its address */
                pages->held--;
            put(page_flags, d->flags, (uint8_t)((flags & ~PAGE_IDLE) | PAGE_EMPTY));
            put(page_owner, d->home, HOME_NOBODY);
            page_forget(tc, pages, d);
            own_put(page_list, d->next, first);
            first = i;
        } else { /* in use again */
            put(page_flags, d->flags, (uint8_t)(flags & ~PAGE_IDLE));
            own_put(page_used, d->used, own_get(d->used) - 1);
        }
    }
    if (!first)
        return;
    lists_without_empty(tc, cls);
    struct guard g = heap_lock(h);
    for (uint32_t next; first && !h->unusable; first = next) {
        struct slice *d = &h->slices[first];
        next = own_get(d->next);
        if (next && !(slice_exists(h, next) && page_is_sound(&h->slices[next]) &&
                      own_get(h->slices[next].flags) & PAGE_EMPTY)) {
            damage_segment(h, "a list of pages", (char *)&d->next - (char *)h->header);
            break;
        }
        if (page_is_held(h, d)) /* a fork of another thread was faster than we */
            held_add(h, d);
        else
            page_end(h, d);
    }
    heap_unlock(h, g);
}

/* Others have freed blocks of ours and told nobody. */
static void collect_all(struct thread_cache *tc, unsigned cls)
{
    struct heap *h = tc->heap;
    for (uint32_t i = tc->classes[cls].pages.head; i; i = page_after(h, i))
        if (page_collect(h, &h->slices[i]))
            cache_note_empty(tc, &h->slices[i]);
}

void cache_sweep_all(struct thread_cache *tc)
{
    large_cache_flush(tc);
    for (unsigned cls = 0; cls < CLASS_COUNT && !tc->heap->unusable; cls++) {
        collect_all(tc, cls);
        if (tc->classes[cls].idle)
            sweep(tc, cls);
    }
}

/* The page is counted once until the next sweep, whatever becomes of it. */
void cache_note_empty(struct thread_cache *tc, struct slice *d)
{
    uint8_t flags = own_get(d->flags);
    if (own_get(d->used) != 0 || flags & PAGE_IDLE)
        return;
    put(page_flags, d->flags, flags | PAGE_IDLE);
    own_put(page_used, d->used, 1);
    struct class_pages *pages = &tc->classes[own_get(d->cls)];
    if (pages->idle++ == 0)
        pages->idle_ms = (uint32_t)os_now_ms();
}

/* Half of the pages have been empty for a while, or all are: the work for each
 * block freed is bounded, and who frees all that he has does no work at all. */
void cache_page_empty(struct thread_cache *tc, struct slice *d)
{
    unsigned cls = own_get(d->cls);
    if (unlikely(cls >= CLASS_COUNT)) {
        page_must_be_sound(tc->heap, d);
        return;
    }
    struct class_pages *pages = &tc->classes[cls];
    cache_note_empty(tc, d);
    int64_t delay = tc->heap->purge_delay_ms;
    if (tc->heap->shared && memory_is_short(tc->heap)) { /* an eighth: a sweep walks the list */
        if (pages->idle >= pages->count / 8)
            sweep(tc, cls);
        return;
    }
    if (pages->idle < 3 || pages->idle < pages->count / 2)
        return;
    if (pages->idle == pages->count ||
        (delay >= 0 && (uint32_t)os_now_ms() - pages->idle_ms >= delay / 2))
        sweep(tc, cls);
}

#define IDLE_MS 20

/* A new page is wanted: empty ones of other classes come first.  The last one or
 * two of a class stay for a while: growing strings go through all classes in turn. */
static void sweep_for_others(struct thread_cache *tc)
{
    uint32_t now = (uint32_t)os_now_ms();
    for (unsigned cls = 0; cls < CLASS_COUNT; cls++) {
        struct class_pages *pages = &tc->classes[cls];
        if (pages->idle && (pages->idle >= 3 + pages->count / 4 ||
                            (pages->idle == pages->count && now - pages->idle_ms >= IDLE_MS)))
            sweep(tc, cls);
    }
}

/* ---- finding free blocks ------------------------------------------------------------------- */

/* Remote frees tell nobody: look at the pages that were not looked at longest. */
static bool from_remote(struct thread_cache *tc, unsigned cls, uint32_t looks)
{
    struct heap *h = tc->heap;
    struct class_pages *pages = &tc->classes[cls];
    if (looks > pages->count)
        looks = pages->count;
    for (;
         looks && pages->pages.head && list_is_end(own_get(cell_of(tc, cls)->free)) && !h->unusable;
         looks--) {
        struct slice *d = &h->slices[pages->pages.head];
        page_list_remove(h, &pages->pages, d);
        page_list_append(h, &pages->pages, d);
        if (page_collect(h, d))
            cache_page_empty(tc, d);
    }
    return !list_is_end(own_get(cell_of(tc, cls)->free));
}

static bool from_fresh(struct thread_cache *tc, unsigned cls)
{
    struct class_pages *pages = &tc->classes[cls];
    if (!pages->fresh)
        return false;
    struct slice *d = &tc->heap->slices[pages->fresh];
    if (own_get(d->capacity) == own_get(d->reserved) || own_get(d->flags) & PAGE_HELD) {
        pages->fresh = 0;
        return false;
    }
    return page_extend(tc->heap, d);
}

static void page_add(struct thread_cache *tc, unsigned cls, struct slice *d)
{
    struct class_pages *pages = &tc->classes[cls];
    page_list_append(tc->heap, &pages->pages, d);
    pages->count++;
    if (own_get(d->flags) & PAGE_HELD)
        pages->held++;
    else if (own_get(d->capacity) < own_get(d->reserved))
        pages->fresh = slice_index(tc->heap, d);
}

/* What an ended thread of ours had of this class.  Lock held. */
static bool steal(struct thread_cache *tc, unsigned cls)
{
    struct heap *h = tc->heap;
    for (struct thread_cache *from = h->mine->caches; from; from = from->next) {
        struct class_pages *pages = &from->classes[cls];
        if (from->in_use || from == tc || from->shared != tc->shared || !pages->count)
            continue;
        if (from->hold_seq != h->mine->hold_seq)
            cache_park(from);
        cache_unpark(from, cls);
        struct class_cell *mine = cell_of(tc, cls), *theirs = cell_of(from, cls);
        if (pages->held || !list_is_end(own_get(theirs->parked)))
            continue;
        /* Ours is empty.  Dying in between leaves the blocks on two lists. */
        own_put(page_steal, mine->free, own_get(theirs->free));
        in_this_order();
        own_put(page_steal, theirs->free, LIST_END);
        for (uint32_t i; (i = pages->pages.head);) {
            struct slice *d = &h->slices[i];
            page_list_remove(h, &pages->pages, d);
            if (!page_must_be_sound(h, d))
                return false;
            page_set_owner(tc, d, !(own_get(d->flags) & PAGE_KEPT));
            page_add(tc, cls, d);
        }
        tc->classes[cls].idle += pages->idle;
        *pages = (struct class_pages){ 0 };
        return true;
    }
    return false;
}

static bool from_member(struct thread_cache *tc, unsigned cls)
{
    struct heap *h = tc->heap;
    struct guard g = heap_lock(h);
    run_purge(h, false);
    member_collect(h);
    held_sweep(h);
    bool found = h->mine->caches_idle && steal(tc, cls);
    if (!found) {
        struct slice *d = pool_take(tc, cls);
        /* What ended members left free serves before new memory does. */
        if (!d && !run_is_at_hand(h, class_slices(cls)) &&
            adopt_chunk(h, class_slices(cls), ADOPT_SPARE))
            d = pool_take(tc, cls);
        if (!d)
            d = page_make(tc, cls);
        found = d != NULL;
        if (d)
            page_add(tc, cls, d);
    }
    heap_unlock(h, g);
    return found;
}

/* A new page that there was no memory for goes at once: each failing malloc would leave
 * another one, until no slice is free for anything else. */
static bool drop_void_page(struct thread_cache *tc, unsigned cls)
{
    struct class_pages *pages = &tc->classes[cls];
    struct slice *d = pages->fresh ? &tc->heap->slices[pages->fresh] : NULL;
    if (!d || own_get(d->capacity) != 0)
        return false;
    page_forget(tc, pages, d);
    struct guard g = heap_lock(tc->heap);
    if (page_is_held(tc->heap, d)) /* by a fork of another thread */
        held_add(tc->heap, d);
    else
        page_end(tc->heap, d);
    heap_unlock(tc->heap, g);
    return true;
}

static bool find(struct thread_cache *tc, unsigned cls)
{
    struct class_cell *cell = cell_of(tc, cls);
    if (from_remote(tc, cls, LOOK_REMOTE) || from_fresh(tc, cls))
        return true;
    cache_unpark(tc, cls);
    if (!list_is_end(own_get(cell->free)))
        return true;
    sweep_for_others(tc);
    recover_sometimes(tc->heap);
    while (!tc->heap->unusable &&
           from_member(tc, cls)) { /* pages of the dead may turn out to be full */
        if (!list_is_end(own_get(cell->free)) || from_remote(tc, cls, LOOK_REMOTE) ||
            from_fresh(tc, cls))
            return true;
        if (drop_void_page(tc, cls))
            break;
    }
    return from_remote(tc, cls, UINT32_MAX); /* no memory: leave no stone unturned */
}

void *cache_refill(struct thread_cache *tc, unsigned cls)
{
    struct heap *h = tc->heap;
    if (unlikely(tc->hold_seq != __atomic_load_n(&h->mine->hold_seq, __ATOMIC_RELAXED)))
        cache_park(tc);
    if (unlikely(!heap_is_usable(h)))
        return NULL;
    direct_set(tc, cls);
    void *block = pop(tc, cls);
    if (block || h->unusable)
        return block;
    return find(tc, cls) ? pop(tc, cls) : NULL;
}

/* ---- freeing ---------------------------------------------------------------------------- */

void cache_free(struct thread_cache *tc, struct slice *d, uint64_t off)
{
    struct heap *h = tc->heap;
    struct class_cell *cell = cell_of(tc, own_get(d->cls));
    if (own_get(d->flags) & PAGE_KEPT)
        kept_forget(h, d, off);
    if (page_is_held(h, d)) {
        link_write(h, off, own_get(cell->parked));
        in_this_order();
        own_put(page_push, cell->parked, off);
        own_put(page_used, d->used, own_get(d->used) - 1);
    } else {
        page_push(h, cell, d, off);
        if (get(d->home) == HOME_NOBODY && !get(d->registered) &&
            !(own_get(d->flags) & (PAGE_KEPT | PAGE_CHECKED)))
            put(page_owner, d->home, own_get(d->cell)); /* it has no registered block any more */
    }
    cache_page_empty(tc, d);
}

/* ---- life ---------------------------------------------------------------------------------- */

/* A record in the segment.  Lock held. */
static struct thread_record *record_make(struct heap *h)
{
    struct mine *m = h->mine;
    if (!m->records || m->records_used == RECORDS_PER_SLICE) {
        uint32_t first = run_alloc(h, 1, 1);
        if (!first)
            return NULL;
        struct slice *d = &h->slices[first];
        put(page_owner, d->home, HOME_NOBODY);
        put(page_owner, d->owner, owner_pool(h));
        own_put(page_make, d->span, 1);
        own_put(page_make, d->hold_last, 0);
        own_put(page_make, d->capacity, 0);
        put_release(page_kind, d->kind, SLICE_RECORDS);
        m->records = first;
        m->records_used = 0;
    }
    uint64_t off =
        ((uint64_t)m->records << SLICE_SHIFT) + m->records_used * sizeof(struct thread_record);
    if (!commit_range(h, off, sizeof(struct thread_record), true, NULL))
        return NULL;
    struct thread_record *record = at_off(h, off);
    own_put(record_make, record->owner, 0);
    own_put(record_make, record->step.what, 0);
    for (unsigned cls = 0; cls < CLASS_COUNT; cls++) {
        own_put(record_make, record->cells[cls].free, LIST_END);
        own_put(record_make, record->cells[cls].parked, LIST_END);
    }
    m->records_used++;
    put_release(record_count, h->slices[m->records].capacity, (uint16_t)m->records_used);
    return record;
}

static struct thread_cache *cache_storage(struct heap *h, bool shared)
{
    struct mine *m = h->mine;
    if (!m->caches_end) {
        m->caches_end = (char *)m + h->mine_bytes;
        m->caches_top = m->caches_end - CACHES_BYTES;
    }
    if ((size_t)(m->caches_end - m->caches_top) < sizeof(struct thread_cache)) {
        char *more = os_map(CACHES_BYTES, false);
        if (!more)
            return NULL;
        if (h->shared)
            os_advise(more, CACHES_BYTES, 18 /* MADV_WIPEONFORK */);
        *(char **)(void *)more = m->caches_areas;
        m->caches_areas = more;
        m->caches_top = more + 64;
        m->caches_end = more + CACHES_BYTES;
    }
    struct thread_cache *tc = (struct thread_cache *)(void *)m->caches_top;
    tc->record = record_make(h);
    if (!tc->record)
        return NULL;
    m->caches_top += round_up(sizeof *tc, 64);
    tc->heap = h;
    tc->shared = shared;
    tc->record_off = off_of(h, tc->record);
    tc->id = owner_pool(h) | ++m->epoch_threads;
    put_release(record_owner, tc->record->owner, tc->id);
    tc->hold_seq = m->hold_seq;
    tc->next = m->caches;
    m->caches = tc;
    return tc;
}

static struct thread_cache *cache_idle(struct mine *m, bool shared)
{
    for (struct thread_cache *tc = m->caches_idle ? m->caches : NULL; tc; tc = tc->next)
        if (!tc->in_use && tc->shared == shared) {
            m->caches_idle--;
            return tc;
        }
    return NULL;
}

static struct thread_cache *cache_of_kind(struct heap *h, bool shared)
{
    if (!heap_is_usable(h))
        return NULL;
    struct guard g = heap_lock(h);
    struct thread_cache *tc = cache_idle(h->mine, shared);
    if (!tc)
        tc = cache_storage(h, shared);
    if (tc) {
        tc->in_use = true;
        put(member_threads, h->me->threads, get(h->me->threads) + 1);
    }
    heap_unlock(h, g);
    return tc;
}

struct thread_cache *cache_make(struct heap *h)
{
    return cache_of_kind(h, false);
}

struct thread_cache *cache_make_shared(struct heap *h)
{
    return cache_of_kind(h, true);
}

void cache_end(struct thread_cache *tc)
{
    struct heap *h = tc->heap;
    if (h->unusable)
        return;
    cache_sweep_all(tc);
    struct guard g = heap_lock(h);
    tc->in_use = false;
    h->mine->caches_idle++;
    put(member_threads, h->me->threads, get(h->me->threads) - 1);
    heap_unlock(h, g);
}

/* Threads that are not in the child stopped anywhere.  Their lists of free
 * blocks are sound, one store changes them; their lists of pages may not be. */
void caches_orphaned(struct heap *h, struct thread_cache *own)
{
    for (struct thread_cache *tc = h->mine->caches; tc; tc = tc->next) {
        if (tc == own || !tc->in_use)
            continue;
        for (unsigned cls = 0; cls < CLASS_COUNT; cls++)
            tc->classes[cls] = (struct class_pages){ 0 };
        uint64_t high = chunks_high(h);
        for (uint64_t i = h->first_chunk * CHUNK_SLICES; i < high * CHUNK_SLICES; i++) {
            struct slice *d = &h->slices[i];
            if (word_state(get(h->chunks[i / CHUNK_SLICES].word)) != CHUNK_OWNED)
                i |= CHUNK_SLICES - 1;
            else if (own_get(d->kind) == SLICE_PAGE && own_get(d->owner) == tc->id)
                page_add(tc, own_get(d->cls), d);
        }
        tc->in_use = false;
        h->mine->caches_idle++;
    }
}
