#include "allocators/stats.h"
#include "allocators/alloc.h"
#include "allocators/words.h"
#include "api/api.h"

#include <stdlib.h>

static uint64_t least(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

/* What the limit and the file system leave, and what is free in what the segment has. */
static uint64_t available(struct heap *h, const struct stats *s)
{
    uint64_t total, room = 0, limit = h->header->limit;
    char dir[sizeof h->path];
    size_t n = 0;
    for (size_t i = 0; h->path[i]; i++)
        if (h->path[i] == '/')
            n = i;
    for (size_t i = 0; i < n; i++)
        dir[i] = h->path[i];
    dir[n] = '\0';
    uint64_t more = limit > s->committed_bytes ? limit - s->committed_bytes : 0;
    if (os_space(n ? dir : "/", &total, &room) == 0 && total)
        more = least(more, room);
    return more + s->idle_bytes + s->warm_bytes + s->free_bytes;
}

static int fill(struct hshm_segment *segment, const struct stats *s, hshm_stats_t *out)
{
    struct heap *h = segment->heap;
    uint32_t slot = h->read_only ? MEMBER_MAX : member_slot(h->member_id);
    *out = (hshm_stats_t){ .struct_size = sizeof *out,
                           .limit = h->header->limit,
                           .committed = s->committed_bytes + names_pages(names_of(h)) * OS_PAGE,
                           .available = available(h, s),
                           .blocks = s->used.blocks,
                           .bytes = s->used.bytes,
                           .names = get(names_of(h)->live),
                           .members = s->members_alive,
                           .left_blocks = s->kept.blocks,
                           .left_bytes = s->kept.bytes };
    if (slot < MEMBER_MAX) {
        out->our_blocks = s->members[slot].used.blocks;
        out->our_bytes = s->members[slot].used.bytes;
    }
    return 0;
}

API int hshm_stats(hshm_segment *segment, hshm_stats_t *stats)
{
    struct view v;
    const char *why;
    struct hshm_segment *s = segment_get(segment);
    if (!s)
        return hshm_error();
    if (!stats || stats->struct_size < sizeof *stats)
        return fail(HSHM_EINVAL, "hshm_stats: struct_size is not set");
    if (!s->heap->shared)
        return fail(HSHM_EINVAL, "hshm_stats: a private heap; see mallinfo2(3)");
    segment_without_the_dead(s);
    struct stats *found = os_map(round_up(sizeof *found, OS_PAGE), false);
    if (!found)
        return fail(HSHM_ENOMEM, "hshm_stats: no memory");
    int rc;
    if (view_open_file(&v, s->heap->path, &why)) {
        stats_collect(&v, found);
        view_close(&v);
        rc = fill(s, found, stats);
    } else {
        rc = fail(HSHM_ESYSTEM, "segment %s: %s", s->name, why);
    }
    os_unmap(found, round_up(sizeof *found, OS_PAGE));
    return rc;
}

API int hshm_trim(hshm_segment *segment)
{
    struct hshm_segment *s = segment_get(segment);
    struct thread_cache *tc = s ? thread_cache_of(s) : NULL;
    return tc ? heap_trim(tc) : 0;
}
