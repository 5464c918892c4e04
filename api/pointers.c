#include "api/api.h"

#include <dlfcn.h>

API hshm_ptr_t hshm_ptr(const void *p)
{
    struct hshm_segment *s = p ? segment_of(p) : NULL;
    if (!s)
        return (hshm_ptr_t)HSHM_NULL;
    return (hshm_ptr_t){ s->id, s->check, off_of(s->heap, p) };
}

API void *hshm_raw(hshm_ptr_t p)
{
    struct hshm_segment *s = p.segment ? segment_of_id(p.segment) : NULL;
    return s && s->check == p.check && p.offset < s->heap->header->window
               ? at_off(s->heap, p.offset)
               : NULL;
}

API hshm_off_t hshm_off(hshm_segment *segment, const void *p)
{
    struct hshm_segment *s = segment_get(segment);
    return s && p && off_of(s->heap, p) < s->heap->header->window ? off_of(s->heap, p) : 0;
}

API void *hshm_at(hshm_segment *segment, hshm_off_t offset)
{
    struct hshm_segment *s = segment_get(segment);
    return s && offset && offset < s->heap->header->window ? at_off(s->heap, offset) : NULL;
}

/* The driver's answer to CU_POINTER_ATTRIBUTE_MEMORY_TYPE and to hipPointerGetAttribute() for the same
 * question: 2 is the device's. */
static bool is_on_device(const void *p)
{
    static const char *const names[] = { "cuPointerGetAttribute", "hipPointerGetAttribute" };
    for (unsigned i = 0; i < 2; i++) {
        int (*ask)(void *, int, uint64_t);
        unsigned type = 0;
        *(void **)&ask = dlsym(RTLD_DEFAULT, names[i]);
        if (ask && ask(&type, 2, (uint64_t)(uintptr_t)p) == 0 && type == 2)
            return true;
    }
    return false;
}

API enum hshm_kind hshm_kind(const void *p)
{
    struct hshm_segment *s = p ? segment_of_block(p) : NULL;
    if (!s)
        return p && is_on_device(p) ? HSHM_DEVICE : HSHM_FOREIGN;
    return s->array ? HSHM_ARRAY : s->heap->shared ? HSHM_SHARED : HSHM_PRIVATE;
}

API hshm_full_ptr_t hshm_full(const void *p)
{
    return (hshm_full_ptr_t){ (void *)(uintptr_t)p, hshm_ptr(p) };
}
