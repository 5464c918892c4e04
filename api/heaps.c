/* Heaps with an id.  A heap is a named block, filled before it has its name: what kind it
 * is, its counts, its header, and a stack's area. */
#include "allocators/alloc.h"
#include "allocators/large.h"
#include "allocators/names.h"
#include "api/array.h"
#include "api/track.h"

#include <errno.h>
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct hshm_heap {
    struct hshm_segment *segment;
    struct heap_head *head;
    enum hshm_heap_kind kind;
    uint32_t id;
    char *area;
};

static void heap_name(uint32_t id, char name[32])
{
    snprintf(name, 32, HEAP_NAME "%u", id);
}

/* Of this thread, as good as any. */
static unsigned shard(void)
{
    static unsigned next;
    static __thread unsigned mine;
    if (!mine)
        mine = __atomic_add_fetch(&next, 1, __ATOMIC_RELAXED) * 31 + (unsigned)os_pid();
    return mine % HEAP_SHARDS;
}

static void count(hshm_heap *heap, int64_t bytes)
{
    __atomic_fetch_add(&heap->head->used[shard()].bytes, (uint64_t)bytes, __ATOMIC_RELAXED);
}

/* ---- making and finding ------------------------------------------------------------------ */

static size_t area_at(size_t header_size)
{
    return round_up(sizeof(struct heap_head) + header_size, OS_PAGE);
}

static int handle_make(struct hshm_segment *s, struct heap_head *head, uint32_t id, hshm_heap **out)
{
    hshm_heap *heap = malloc(sizeof *heap);
    if (!heap) {
        hshm_named_unref(head);
        return fail(HSHM_ENOMEM, "no memory for a handle");
    }
    *heap = (hshm_heap){ .segment = s,
                         .head = head,
                         .kind = (enum hshm_heap_kind)head->kind,
                         .id = id,
                         .area = (char *)head + area_at(head->header_size) };
    *out = heap;
    return 0;
}

static void head_fill(void *block, const struct filling *how)
{
    struct heap_head *head = block;
    head->kind = how->a;
    head->size = how->b;
    head->header_size = how->c;
}

API int hshm_heap_create(hshm_segment *segment, uint32_t id, enum hshm_heap_kind kind,
                         uint64_t size, size_t header_size, hshm_heap **heap)
{
    char name[32];
    struct hshm_segment *s = segment_get(segment);
    if (!s)
        return hshm_error();
    if (kind < HSHM_HEAP_THREAD || kind > HSHM_HEAP_MALLOC || !heap ||
        (kind == HSHM_HEAP_STACK) != (size != 0) || header_size > PTRDIFF_MAX / 2 ||
        size > PTRDIFF_MAX / 2)
        return fail(HSHM_EINVAL, "hshm_heap_create: a kind, and a size for a stack alone");
    if (s->array && kind == HSHM_HEAP_PAGE)
        return fail(HSHM_EINVAL, "an array has no pages of its own");
    heap_name(id, name);
    size_t head_size = sizeof(struct heap_head) + header_size;
    struct filling how = { .size =
                               kind == HSHM_HEAP_STACK ? area_at(header_size) + size : head_size,
                           .align = kind == HSHM_HEAP_STACK ? OS_PAGE : 64,
                           .clear = head_size,
                           .type = HEAP_TYPE + kind,
                           .fill = head_fill,
                           .a = kind,
                           .b = size,
                           .c = header_size };
    struct heap_head *head = named_filled(s, name, &how, HSHM_COUNTED);
    if (!head)
        return hshm_error();
    if (head->size != size || head->header_size != header_size) {
        hshm_named_unref(head);
        return fail(HSHM_ESIZE, "heap %u: its size or that of its header is another", id);
    }
    return handle_make(s, head, id, heap);
}

API int hshm_heap_open(hshm_segment *segment, uint32_t id, hshm_heap **heap)
{
    char name[32];
    struct hshm_segment *s = segment_get(segment);
    heap_name(id, name);
    struct heap_head *head = s ? hshm_find(s, name, 0, 0, s->array ? 0 : HSHM_COUNTED) : NULL;
    return head ? handle_make(s, head, id, heap) : hshm_error();
}

API void hshm_heap_close(hshm_heap *heap)
{
    if (!heap)
        return;
    hshm_named_unref(heap->head);
    free(heap);
}

API int hshm_heap_remove(hshm_segment *segment, uint32_t id)
{
    char name[32];
    heap_name(id, name);
    return named_remove(segment, name);
}

/* ---- allocating ----------------------------------------------------------------------------- */

static void *page_alloc(hshm_heap *heap, size_t align, size_t size)
{
    struct thread_cache *tc = thread_cache_of(heap->segment);
    if (!tc)
        return NULL;
    void *p = large_alloc(tc->heap, size ? size : 1, align, false, NULL);
    if (!p) {
        heap_relieve(tc->heap);
        p = large_alloc(tc->heap, size ? size : 1, align, false, NULL);
    }
    if (!p)
        fail_memory(heap->segment, size);
    else
        own_put(slice_shared, heap_block(tc->heap, p)->shared, 1);
    return p;
}

static void *stack_alloc(hshm_heap *heap, size_t align, size_t size)
{
    uint64_t top = __atomic_load_n(&heap->head->top, __ATOMIC_RELAXED), from, end;
    if (align > 4096) {
        fail(HSHM_EINVAL, "a stack aligns to 4096 bytes at most");
        return NULL;
    }
    do {
        from = round_up(top, align < 16 ? 16 : align);
        if (from > heap->head->size || size > heap->head->size - from) {
            fail(HSHM_ENOMEM, "heap %u: asked for %zu bytes, available %lu", heap->id, size,
                 (unsigned long)(heap->head->size - top));
            return NULL;
        }
        end = from + size;
    } while (!__atomic_compare_exchange_n(&heap->head->top, &top, end, false, __ATOMIC_ACQ_REL,
                                          __ATOMIC_RELAXED));
    return heap->area + from;
}

static size_t usable(hshm_heap *heap, void *p)
{
    return heap->kind == HSHM_HEAP_MALLOC ? malloc_usable_size(p) : hshm_usable_size(p);
}

static void *malloc_alloc(size_t align, size_t size)
{
    void *p = NULL;
    int rc = posix_memalign(&p, align < 16 ? 16 : align, size);
    if (rc)
        fail(HSHM_ENOMEM, "malloc has no %zu bytes", size);
    return rc ? NULL : p;
}

static void *heap_alloc(hshm_heap *heap, size_t align, size_t size)
{
    void *p = NULL;
    if (align == 0 || align & (align - 1)) {
        fail(HSHM_EINVAL, "an alignment of %zu bytes is no power of two", align);
        return NULL;
    }
    if (size > PTRDIFF_MAX) {
        fail_memory(heap->segment, size);
        return NULL;
    }
    switch (heap->kind) {
    case HSHM_HEAP_THREAD:
        p = align <= 16 ? block_alloc(heap->segment, size)
                        : block_alloc_aligned(heap->segment, align, size);
        break;
    case HSHM_HEAP_PAGE: p = page_alloc(heap, align, size); break;
    case HSHM_HEAP_STACK: return stack_alloc(heap, align, size);
    case HSHM_HEAP_MALLOC: p = malloc_alloc(align, size); break;
    }
    if (p)
        count(heap, (int64_t)usable(heap, p));
    return p;
}

static void heap_free_block(hshm_heap *heap, void *p)
{
    if (!p || heap->kind == HSHM_HEAP_STACK)
        return;
    int64_t bytes = (int64_t)usable(heap, p);
    if (heap->kind == HSHM_HEAP_MALLOC)
        free(p);
    else
        block_free(p);
    count(heap, -bytes);
}

/* A stack does not know how large its blocks are: what lies above one is copied with it,
 * up to the new size, and is garbage there as it would be behind any block. */
static void *stack_realloc(hshm_heap *heap, void *p, size_t size)
{
    uint64_t from = (uint64_t)((char *)p - heap->area);
    uint64_t have = __atomic_load_n(&heap->head->top, __ATOMIC_ACQUIRE) - from;
    void *q = stack_alloc(heap, 16, size);
    if (q)
        memmove(q, p, size < have ? size : have);
    return q;
}

static void *heap_realloc_block(hshm_heap *heap, void *p, size_t size)
{
    if (!p)
        return heap_alloc(heap, 16, size);
    if (heap->kind == HSHM_HEAP_STACK)
        return stack_realloc(heap, p, size);
    if (heap->kind == HSHM_HEAP_PAGE) {
        size_t have = hshm_usable_size(p);
        void *q = size <= have && size > have / 2 ? p : heap_alloc(heap, 16, size);
        if (q && q != p) {
            memcpy(q, p, size < have ? size : have);
            heap_free_block(heap, p);
        }
        return q;
    }
    int64_t before = (int64_t)usable(heap, p);
    void *q = heap->kind == HSHM_HEAP_MALLOC ? realloc(p, size) : block_realloc(p, size);
    if (q)
        count(heap, (int64_t)usable(heap, q) - before);
    else if (heap->kind == HSHM_HEAP_MALLOC)
        fail(HSHM_ENOMEM, "malloc has no %zu bytes", size);
    return q;
}

/* ---- the same, noted where somebody asked for it ---------------------------------------------- */

static bool is_noted(const hshm_heap *heap)
{
    return unlikely(tracking) && heap->kind != HSHM_HEAP_STACK;
}

API void *hshm_heap_alloc_aligned(hshm_heap *heap, size_t align, size_t size)
{
    void *p = heap_alloc(heap, align, size);
    return is_noted(heap) ? TRACKED(p, size) : p;
}

API void *hshm_heap_alloc(hshm_heap *heap, size_t size)
{
    void *p = heap_alloc(heap, 16, size);
    return is_noted(heap) ? TRACKED(p, size) : p;
}

API void hshm_heap_free(hshm_heap *heap, void *p)
{
    UNTRACKED(p);
    heap_free_block(heap, p);
}

API void *hshm_heap_realloc(hshm_heap *heap, void *p, size_t size)
{
    if (is_noted(heap))
        return RETRACKED(p, heap_realloc_block(heap, p, size), size);
    return heap_realloc_block(heap, p, size);
}

/* ---- all of them ------------------------------------------------------------------------------ */

static uint64_t used_of(const struct heap_head *head)
{
    uint64_t sum = 0;
    if (head->kind == HSHM_HEAP_STACK)
        return __atomic_load_n(&head->top, __ATOMIC_ACQUIRE);
    for (unsigned i = 0; i < HEAP_SHARDS; i++)
        sum += __atomic_load_n(&head->used[i].bytes, __ATOMIC_RELAXED);
    return sum;
}

struct heaps {
    struct heap *heap;
    int (*each)(const hshm_heap_info_t *, void *);
    void *context;
    int rc;
};

static bool heaps_one(const char *name, const struct name_info *found, void *ctx)
{
    struct heaps *heaps = ctx;
    hshm_heap_info_t info = { 0 };
    if (sscanf(name, "hshm.heap.%u", &info.id) != 1)
        return true;
    const struct heap_head *head = found->at;
    info.kind = (enum hshm_heap_kind)head->kind;
    info.used = used_of(head);
    info.size = head->size;
    info.header_size = head->header_size;
    info.handles = name_refs(heaps->heap, found->entry);
    heaps->rc = heaps->each(&info, heaps->context);
    return heaps->rc == 0;
}

API int hshm_heaps(hshm_segment *segment, int (*each)(const hshm_heap_info_t *heap, void *context),
                   void *context)
{
    struct hshm_segment *s = segment_get(segment);
    if (!s)
        return hshm_error();
    if (s->array)
        return fail(HSHM_EINVAL, "%s is an array: it lists no heaps", s->name);
    segment_without_the_dead(s);
    struct heaps heaps = { s->heap, each, context, 0 };
    names_each(s->heap, heaps_one, &heaps);
    return heaps.rc;
}

/* ---- what is known of it ---------------------------------------------------------------------- */

API enum hshm_heap_kind hshm_heap_kind(const hshm_heap *heap)
{
    return heap->kind;
}

API void *hshm_heap_header(hshm_heap *heap, size_t *size)
{
    if (size)
        *size = heap->head->header_size;
    return heap->head->header_size ? heap->head + 1 : NULL;
}

API uint64_t hshm_heap_used(hshm_heap *heap)
{
    return used_of(heap->head);
}

API uint64_t hshm_heap_mark(hshm_heap *heap)
{
    return __atomic_load_n(&heap->head->top, __ATOMIC_ACQUIRE);
}

API int hshm_heap_release(hshm_heap *heap, uint64_t mark)
{
    if (heap->kind != HSHM_HEAP_STACK || mark > hshm_heap_mark(heap))
        return fail(HSHM_EINVAL, "hshm_heap_release: a stack, and a mark of it");
    __atomic_store_n(&heap->head->top, mark, __ATOMIC_RELEASE);
    return 0;
}
