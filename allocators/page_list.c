#include "allocators/sound.h"
#include "allocators/thread_cache.h"

void page_list_remove(struct heap *h, struct page_list *list, struct slice *d)
{
    uint32_t next = own_get(d->next), prev = own_get(d->prev), i = slice_index(h, d);
    bool sound =
        (prev ? slice_exists(h, prev) && own_get(h->slices[prev].next) == i : list->head == i) &&
        (next ? slice_exists(h, next) && own_get(h->slices[next].prev) == i : list->tail == i);
    if (unlikely(!sound)) { /* nobody walks it any more */
        damage_segment(h, "a list of pages", (char *)&d->next - (char *)h->header);
        *list = (struct page_list){ 0 };
        return;
    }
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

void page_list_prepend(struct heap *h, struct page_list *list, struct slice *d)
{
    uint32_t i = slice_index(h, d);
    own_put(page_list, d->prev, 0);
    own_put(page_list, d->next, list->head);
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
