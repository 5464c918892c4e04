/* Heaps with an id, a header of their own and a count; a stack that is given back to a mark.
 *
 * prints: kind 1 has 0 bytes in use, the stack 64; its header counts 1 user */
#include <hshm.h>

#include <stdio.h>
#include <unistd.h>

struct header {
    long users;
};

int main(void)
{
    hshm_segment *segment;
    hshm_heap *heap, *stack;
    hshm_attr_t attr = HSHM_ATTR_INIT;
    char name[64];
    attr.size = 64 << 20;
    attr.flags = HSHM_CREATE;
    snprintf(name, sizeof name, "example-heaps-%d", (int)getpid());
    if (hshm_open(name, &attr, &segment) != HSHM_OK)
        return 1;
    /* Any process makes or joins it by the id. */
    if (hshm_heap_create(segment, 7, HSHM_HEAP_THREAD, 0, sizeof(struct header), &heap) ||
        hshm_heap_create(segment, 8, HSHM_HEAP_STACK, 1 << 20, 0, &stack))
        return 1;
    struct header *header = hshm_heap_header(heap, NULL);
    header->users++;
    void *p = hshm_heap_alloc_aligned(heap, 4096, 10000);
    hshm_heap_free(heap, p);
    void *stays = hshm_heap_alloc(stack, 64);
    uint64_t mark = hshm_heap_mark(stack);
    for (int i = 0; i < 100; i++)
        if (!hshm_heap_alloc(stack, 1000))
            return 1;
    hshm_heap_release(stack, mark); /* those hundred, at once */
    printf("kind %d has %lu bytes in use, the stack %lu; its header counts %ld user\n",
           (int)hshm_heap_kind(heap), (unsigned long)hshm_heap_used(heap),
           (unsigned long)hshm_heap_used(stack), header->users);
    hshm_heap_close(heap);
    hshm_heap_close(stack);
    return !stays || hshm_close(segment) != HSHM_OK;
}
