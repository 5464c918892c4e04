#include "allocators/alloc.h"
#include "allocators/damage.h"
#include "allocators/page.h"
#include "allocators/thread_cache.h"
#include "api/array.h"
#include "api/track.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* ---- allocating ----------------------------------------------------------------------- */

/* A block of a list of this thread, as the preload's malloc takes it. */
static inline void *pop(struct thread_cache *tc, size_t size)
{
    if (size > DIRECT_MAX || tc->heap->check)
        return NULL;
    uint64_t cell = tc->direct[direct_small(size)];
    return cell ? page_pop(tc->heap, cell_at(tc->heap, cell)) : NULL;
}

static void *alloc_from(struct hshm_segment *s, struct thread_cache *tc, size_t size)
{
    void *p = pop(tc, size);
    if (likely(p != NULL))
        return p;
    p = heap_malloc(tc, size);
    if (!p)
        fail_memory(s, size);
    return p;
}

void *block_alloc(struct hshm_segment *segment, size_t size)
{
    struct hshm_segment *s = segment_get(segment);
    struct thread_cache *tc = s ? thread_cache_of(s) : NULL;
    if (likely(tc != NULL))
        return alloc_from(s, tc, size);
    return s && s->array ? array_alloc(s, 16, size) : NULL;
}

static void *array_zalloc(struct hshm_segment *s, size_t size)
{
    void *p = array_alloc(s, 16, size);
    return p ? memset(p, 0, size) : NULL;
}

static bool product(size_t count, size_t size, size_t *bytes)
{
    bool fits = !__builtin_mul_overflow(count, size, bytes);
    if (!fits)
        fail(HSHM_ENOMEM, "asked for %zu times %zu bytes", count, size);
    return fits;
}

static void *block_zalloc(struct hshm_segment *segment, size_t size)
{
    struct hshm_segment *s = segment_get(segment);
    struct thread_cache *tc = s ? thread_cache_of(s) : NULL;
    if (!tc)
        return s && s->array ? array_zalloc(s, size) : NULL;
    void *p = heap_calloc(tc, size);
    if (!p)
        fail_memory(s, size);
    return p;
}

API void *hshm_calloc(hshm_segment *segment, size_t count, size_t size)
{
    size_t bytes;
    return product(count, size, &bytes) ? hshm_zalloc(segment, bytes) : NULL;
}

void *block_alloc_aligned(struct hshm_segment *segment, size_t align, size_t size)
{
    if (align == 0 || align & (align - 1)) {
        fail(HSHM_EINVAL, "an alignment of %zu bytes is no power of two", align);
        return NULL;
    }
    struct hshm_segment *s = segment_get(segment);
    struct thread_cache *tc = s ? thread_cache_of(s) : NULL;
    if (!tc)
        return s && s->array ? array_alloc(s, align, size) : NULL;
    void *p = heap_memalign(tc, align, size);
    if (!p)
        fail_memory(s, size);
    return p;
}

/* ---- freeing and resizing ---------------------------------------------------------------- */

static struct hshm_segment *segment_must(const void *p, const char *call)
{
    struct hshm_segment *s = segment_of_block(p);
    if (!s) {
        hshm_default(); /* from here on there is somewhere to say it */
        damage_foreign(p, call);
    }
    return s;
}

/* A block of a page of this thread's goes on its list, as the preload's free does it. */
static inline bool push(struct thread_cache *tc, void *p)
{
    struct heap *h = tc->heap;
    uint64_t off = off_of(h, p);
    struct slice *d = &h->slices[off >> SLICE_SHIFT];
    uint64_t home = get(d->home), recip = own_get(d->recip);
    if (home - tc->record_off >= sizeof(struct thread_record) ||
        (off & (SLICE_BYTES - 1)) * recip >= recip || link_is_sound(h, link_read(h, p)) ||
        h->inherited)
        return false;
    page_push(h, cell_at(h, home), d, off);
    if (unlikely(own_get(d->used) == 0))
        cache_page_empty(tc, d);
    return true;
}

void block_free(void *p)
{
    if (!p)
        return;
    struct hshm_segment *s = segment_must(p, "hshm_free");
    int saved = errno;
    struct thread_cache *tc = thread_cache_of(s);
    if (unlikely(s->array != NULL))
        array_free(s, p, "hshm_free");
    else if (tc && !push(tc, p))
        heap_free(tc, p);
    errno = saved;
}

void *block_realloc(void *p, size_t size)
{
    if (!p)
        return block_alloc(NULL, size);
    struct hshm_segment *s = segment_must(p, "hshm_realloc");
    struct thread_cache *tc = thread_cache_of(s);
    if (!tc)
        return s->array ? array_realloc(s, p, size) : NULL;
    void *q = heap_realloc(tc, p, size);
    if (!q)
        fail_memory(s, size);
    return q;
}

/* ---- the same, noted where somebody asked for it ------------------------------------------ */

API void *hshm_alloc(hshm_segment *segment, size_t size)
{
    return TRACKED(block_alloc(segment, size), size);
}

API void *hshm_zalloc(hshm_segment *segment, size_t size)
{
    return TRACKED(block_zalloc(segment, size), size);
}

API void *hshm_alloc_aligned(hshm_segment *segment, size_t align, size_t size)
{
    return TRACKED(block_alloc_aligned(segment, align, size), size);
}

API void hshm_free(void *p)
{
    UNTRACKED(p);
    block_free(p);
}

API void *hshm_realloc(void *p, size_t size)
{
    return RETRACKED(p, block_realloc(p, size), size);
}

API void *hshm_reallocarray(void *p, size_t count, size_t size)
{
    size_t bytes;
    if (__builtin_mul_overflow(count, size, &bytes)) {
        fail(HSHM_ENOMEM, "asked for %zu times %zu bytes", count, size);
        return NULL;
    }
    return RETRACKED(p, block_realloc(p, bytes), bytes);
}

API size_t hshm_usable_size(const void *p)
{
    struct hshm_segment *s = p ? segment_of_block(p) : NULL;
    if (s && s->array)
        return array_usable(s, p);
    return s && (s->heap->inherited || heap_block(s->heap, p)) ? heap_usable_size(s->heap, p) : 0;
}

/* ---- explicit contexts ----------------------------------------------------------------------- */

struct hshm_context {
    struct hshm_segment *segment;
    struct thread_cache *cache;
    uint32_t id;
    struct hshm_context *next;
};
static struct hshm_context *contexts;
static uint32_t contexts_lock;

static void contexts_enter(void)
{
    while (__atomic_exchange_n(&contexts_lock, 1, __ATOMIC_ACQUIRE))
        os_sleep_us(1);
}

static void contexts_leave(void)
{
    __atomic_store_n(&contexts_lock, 0, __ATOMIC_RELEASE);
}

static int context_add(struct hshm_context *new)
{
    for (struct hshm_context *c = contexts; c; c = c->next)
        if (c->id == new->id && c->segment == new->segment)
            return HSHM_EBUSY;
    new->next = contexts;
    contexts = new;
    return 0;
}

static void context_drop(struct hshm_context *context)
{
    struct hshm_context **c = &contexts;
    while (*c != context)
        c = &(*c)->next;
    *c = context->next;
}

API int hshm_context_open(hshm_segment *segment, uint32_t id, hshm_context **context)
{
    struct hshm_segment *s = segment_get(segment);
    if (!s)
        return hshm_error();
    if (!id || !context)
        return fail(HSHM_EINVAL, "a context has an id from 1");
    struct thread_cache *tc = thread_cache_of(s);
    if (!tc)
        return hshm_error();
    struct hshm_context *c = calloc(1, sizeof *c);
    if (!c)
        return fail(HSHM_ENOMEM, "no memory for a context");
    *c = (struct hshm_context){ .segment = s, .id = id };
    contexts_enter();
    int rc = context_add(c);
    contexts_leave();
    if (rc) {
        free(c);
        return fail(HSHM_EBUSY, "somebody in this process has context %u", id);
    }
    c->cache = cache_make_shared(s->heap);
    if (!c->cache) {
        hshm_context_close(c);
        return fail_memory(s, sizeof(struct thread_record));
    }
    *context = c;
    return 0;
}

/* A forked child has the parent's handle and none of its memory. */
static struct thread_cache *context_cache(struct hshm_context *c)
{
    if (!segment_is_ours(c->segment))
        return NULL;
    if (!c->cache->id)
        c->cache = cache_make_shared(c->segment->heap);
    return c->cache;
}

API void *hshm_context_alloc(hshm_context *context, size_t size)
{
    struct thread_cache *tc = context_cache(context);
    return tc ? TRACKED(alloc_from(context->segment, tc, size), size) : NULL;
}

API void hshm_context_free(hshm_context *context, void *p)
{
    if (!p)
        return;
    UNTRACKED(p);
    if (segment_of(p) != context->segment) {
        block_free(p);
        return;
    }
    struct thread_cache *tc = context_cache(context);
    if (tc)
        heap_free(tc, p);
}

API uint32_t hshm_context_id(const hshm_context *context)
{
    return context->id;
}

API void hshm_context_close(hshm_context *context)
{
    if (!context)
        return;
    contexts_enter();
    context_drop(context);
    contexts_leave();
    if (context->cache && context->cache->id)
        cache_end(context->cache);
    free(context);
}
