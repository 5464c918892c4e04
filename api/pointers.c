#include "api/api.h"

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

API hshm_full_ptr_t hshm_full(const void *p)
{
    return (hshm_full_ptr_t){ (void *)(uintptr_t)p, hshm_ptr(p) };
}
