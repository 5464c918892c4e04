#include "allocators/stats.h"
#include "allocators/alloc.h"
#include "allocators/room.h"
#include "allocators/words.h"
#include "api/array.h"

#include <stddef.h>
#include <string.h>

static uint64_t least(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

static uint64_t less(uint64_t a, uint64_t b)
{
    return a > b ? a - b : 0;
}

uint64_t segment_room(struct hshm_segment *segment)
{
    struct heap *h = segment->heap;
    struct room room = { 0 };
    if (segment->array)
        return segment->array->end - segment->array->first - segment->array->used;
    uint64_t warm = get(h->header->warm) * OS_PAGE;
    uint64_t left = less(h->header->limit, get(h->header->charged) * OS_PAGE);
    room_look(h, &room);
    if (room.total)
        left = least(left, less(room.available, room.promised));
    left = least(left, room.group) + warm;
    if (!h->read_only && h->member_limit_pages)
        left = least(left, less(h->member_limit_pages, get(h->me->charged)) * OS_PAGE);
    return left;
}

/* ---- looking ------------------------------------------------------------------------------- */

struct look {
    struct view view;
    struct stats *stats;
};

/* 0, or the error told. */
static int look_begin(struct look *look, struct hshm_segment *s)
{
    const char *why;
    if (!s)
        return hshm_error();
    if (!s->heap->shared)
        return fail(HSHM_EINVAL, "of a private heap or an array there are no such statistics");
    segment_without_the_dead(s);
    look->stats = os_map(round_up(sizeof *look->stats, OS_PAGE), false);
    if (!look->stats)
        return fail(HSHM_ENOMEM, "no memory for statistics");
    if (!view_open_file(&look->view, s->heap->path, &why)) {
        os_unmap(look->stats, round_up(sizeof *look->stats, OS_PAGE));
        return fail(HSHM_ESYSTEM, "segment %s: %s", s->name, why);
    }
    stats_collect(&look->view, look->stats);
    return 0;
}

static void look_end(struct look *look)
{
    view_close(&look->view);
    os_unmap(look->stats, round_up(sizeof *look->stats, OS_PAGE));
}

/* ---- sums ----------------------------------------------------------------------------------- */

static hshm_stats_t sums(struct hshm_segment *segment, const struct stats *s)
{
    struct heap *h = segment->heap;
    uint32_t slot = h->read_only ? MEMBER_MAX : member_slot(h->member_id);
    uint64_t room = segment_room(segment);
    hshm_stats_t sums = { .struct_size = sizeof sums,
                          .limit = h->header->limit,
                          .committed = s->committed_bytes + names_pages(names_of(h)) * OS_PAGE,
                          .available = room + s->idle_bytes + s->free_bytes,
                          .blocks = s->used.blocks,
                          .bytes = s->used.bytes,
                          .names = get(names_of(h)->live),
                          .members = s->members_alive,
                          .left_blocks = s->kept.blocks,
                          .left_bytes = s->kept.bytes,
                          .peak = get(h->header->peak) * OS_PAGE,
                          .largest_free = least(s->free_run * CHUNK_BYTES, room) };
    if (slot < MEMBER_MAX) {
        sums.our_blocks = s->members[slot].used.blocks;
        sums.our_bytes = s->members[slot].used.bytes;
    }
    return sums;
}

API int hshm_stats(hshm_segment *segment, hshm_stats_t *stats)
{
    struct look look = { .stats = NULL };
    struct hshm_segment *s = segment_get(segment);
    if (s && (!stats || stats->struct_size < offsetof(hshm_stats_t, peak)))
        return fail(HSHM_EINVAL, "hshm_stats: struct_size is not set");
    hshm_stats_t all;
    int rc = s && s->array ? array_stats(s, &all) : look_begin(&look, s);
    if (rc)
        return rc;
    if (!s->array) {
        all = sums(s, look.stats);
        look_end(&look);
    }
    all.struct_size = least(stats->struct_size, sizeof all);
    memcpy(stats, &all, all.struct_size);
    return 0;
}

/* ---- parts ------------------------------------------------------------------------------------ */

API int hshm_classes(hshm_segment *segment, int (*each)(const hshm_class_t *c, void *context),
                     void *context)
{
    struct look look;
    int rc = look_begin(&look, segment_get(segment));
    if (rc)
        return rc;
    const struct stats *s = look.stats;
    for (unsigned cls = 0; cls < CLASS_COUNT && rc == 0; cls++) {
        const struct stats_class *from = &s->classes[cls];
        hshm_class_t c = { .size = from->block_bytes,
                           .blocks = from->blocks,
                           .bytes = from->blocks * from->block_bytes,
                           .free_blocks = from->free_blocks,
                           .reserved_bytes = from->reserved_bytes };
        rc = each(&c, context);
    }
    if (rc == 0) {
        uint64_t bytes = s->large.bytes + s->huge.bytes;
        hshm_class_t c = { .blocks = s->large.blocks + s->huge.blocks,
                           .bytes = bytes,
                           .reserved_bytes = bytes };
        rc = each(&c, context);
    }
    look_end(&look);
    return rc;
}

API int hshm_members(hshm_segment *segment, int (*each)(const hshm_member_t *member, void *context),
                     void *context)
{
    struct look look;
    int rc = look_begin(&look, segment_get(segment));
    if (rc)
        return rc;
    for (uint32_t slot = 0; slot < look.view.members_high && rc == 0; slot++) {
        const struct seg_member *from = &look.view.members[slot];
        enum member_state state = state_of(get(from->state));
        char program[sizeof from->name];
        if (state == MEMBER_FREE || state == MEMBER_CHILD)
            continue;
        memcpy(program, from->name, sizeof program);
        program[sizeof program - 1] = '\0';
        hshm_member_t member = { .member = slot + 1,
                                 .alive = view_member_alive(&look.view, slot),
                                 .pid = get(from->pid),
                                 .program = program,
                                 .blocks = look.stats->members[slot].used.blocks,
                                 .bytes = look.stats->members[slot].used.bytes,
                                 .committed = get(from->charged) * OS_PAGE,
                                 .threads = get(from->threads) };
        rc = each(&member, context);
    }
    look_end(&look);
    return rc;
}

API int hshm_trim(hshm_segment *segment)
{
    struct hshm_segment *s = segment_get(segment);
    struct thread_cache *tc = s ? thread_cache_of(s) : NULL;
    return tc ? heap_trim(tc) : 0;
}
