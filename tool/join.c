#include "tool/join.h"
#include "allocators/member.h"

#include <string.h>

static uint64_t no_limit(uint64_t whole)
{
    return whole;
}

static uint64_t keep_nothing(uint64_t whole)
{
    return whole & 0;
}

struct heap *segment_join_as(const char *name, const char *program, const char **why)
{
    static struct heap h;
    struct heap_config config = { .name = name,
                                  .program = program,
                                  .limit = no_limit,
                                  .warm = keep_nothing,
                                  .reserve = true, /* no memory is an error here, never SIGBUS */
                                  .mode = 0600 };
    memset(&h, 0, sizeof h);
    return segment_attach(&h, &config, why) ? &h : NULL;
}

void segment_part(struct heap *h)
{
    segment_leave(h);
    witness_drop(&(struct witness){ h->live_page });
    os_unmap(h->header, h->header->window);
}
