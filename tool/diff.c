/* hshm diff: what has grown from one look at a segment to the next. */
#include "tool/json.h"
#include "tool/tool.h"

#include <stdio.h>
#include <stdlib.h>

struct side {
    struct view v;
    struct stats s;
};

struct change {
    const char *kind; /* "class", "large", "huge", "member" */
    char name[64];
    uint64_t block_bytes, pid;
    struct stats_sum from, to;
};

#define CHANGES_MAX (CLASS_COUNT + 3 + 2 * MEMBER_MAX)

struct diff {
    struct side from, to;
    struct change changes[CHANGES_MAX];
    unsigned count;
};

static void add(struct diff *d, const struct change *c)
{
    if (c->from.blocks != c->to.blocks || c->from.bytes != c->to.bytes)
        d->changes[d->count++] = *c;
}

static void add_classes(struct diff *d)
{
    for (unsigned i = 0; i < CLASS_COUNT; i++) {
        const struct stats_class *from = &d->from.s.classes[i], *to = &d->to.s.classes[i];
        struct change c = { .kind = "class",
                            .block_bytes = from->block_bytes,
                            .from = { from->blocks, from->blocks * from->block_bytes },
                            .to = { to->blocks, to->blocks * to->block_bytes } };
        snprintf(c.name, sizeof c.name, "blocks of %u", from->block_bytes);
        add(d, &c);
    }
    add(d, &(struct change){
               .kind = "large", .name = "large", .from = d->from.s.large, .to = d->to.s.large });
    add(d, &(struct change){
               .kind = "huge", .name = "huge", .from = d->from.s.huge, .to = d->to.s.huge });
}

static bool same_member(const struct side *a, const struct side *b, uint64_t slot)
{
    uint64_t x = slot < a->v.members_high ? get(a->v.members[slot].state) : 0,
             y = slot < b->v.members_high ? get(b->v.members[slot].state) : 0;
    return state_of(x) != MEMBER_FREE && state_of(y) != MEMBER_FREE &&
           state_epoch(x) == state_epoch(y);
}

static void add_member(struct diff *d, const struct side *side, uint64_t slot,
                       const struct stats_sum *from, const struct stats_sum *to)
{
    const struct seg_member *m = &side->v.members[slot];
    struct change c = { .kind = "member", .pid = get(m->pid) };
    if (from)
        c.from = *from;
    if (to)
        c.to = *to;
    snprintf(c.name, sizeof c.name, "pid %lu (%.31s)", (unsigned long)get(m->pid),
             text_plain(m->name, sizeof m->name).at);
    add(d, &c);
}

static void add_members(struct diff *d)
{
    for (uint64_t slot = 0; slot < MEMBER_MAX; slot++) {
        const struct stats_sum *from = &d->from.s.members[slot].used,
                               *to = &d->to.s.members[slot].used;
        if (same_member(&d->from, &d->to, slot)) {
            add_member(d, &d->to, slot, from, to);
            continue;
        }
        if (slot < d->from.v.members_high)
            add_member(d, &d->from, slot, from, NULL);
        if (slot < d->to.v.members_high)
            add_member(d, &d->to, slot, NULL, to);
    }
    struct change kept = {
        .kind = "ended", .name = "ended members", .from = d->from.s.kept, .to = d->to.s.kept
    };
    add(d, &kept);
}

/* What grew most first. */
static int by_growth(const void *a, const void *b)
{
    const struct change *x = a, *y = b;
    int64_t dx = (int64_t)(x->to.bytes - x->from.bytes),
            dy = (int64_t)(y->to.bytes - y->from.bytes);
    return (dx < dy) - (dx > dy);
}

static void print_json(const struct diff *d)
{
    json_open(NULL, '{');
    json_number("from_bytes", d->from.s.used.bytes);
    json_number("to_bytes", d->to.s.used.bytes);
    json_number("from_blocks", d->from.s.used.blocks);
    json_number("to_blocks", d->to.s.used.blocks);
    json_open("changes", '[');
    for (unsigned i = 0; i < d->count; i++) {
        const struct change *c = &d->changes[i];
        json_open(NULL, '{');
        json_text("kind", c->kind);
        json_text("name", c->name);
        if (c->block_bytes)
            json_number("block_bytes", c->block_bytes);
        if (c->pid)
            json_number("pid", c->pid);
        json_number("from_blocks", c->from.blocks);
        json_number("to_blocks", c->to.blocks);
        json_number("from_bytes", c->from.bytes);
        json_number("to_bytes", c->to.bytes);
        json_close();
    }
    json_close();
    json_close();
}

static void print_text(const struct diff *d)
{
    static const struct column columns[] = {
        { "WHAT", false }, { "BLOCKS", true }, { "CHANGE", true },
        { "BYTES", true }, { "CHANGE", true },
    };
    const struct stats_sum *from = &d->from.s.used, *to = &d->to.s.used;
    printf("used: %s in %s blocks, then %s in %s: %s, %s blocks\n", text_bytes(from->bytes).at,
           text_count(from->blocks).at, text_bytes(to->bytes).at, text_count(to->blocks).at,
           text_change(from->bytes, to->bytes, true).at,
           text_change(from->blocks, to->blocks, false).at);
    if (d->from.v.header.link_key != d->to.v.header.link_key)
        printf("these are two segments, not one at two times\n");
    if (!d->count)
        return;
    table_start(columns, sizeof columns / sizeof *columns);
    for (unsigned i = 0; i < d->count; i++) {
        const struct change *c = &d->changes[i];
        table_cell(c->name);
        table_cell(text_count(c->to.blocks).at);
        table_cell(text_change(c->from.blocks, c->to.blocks, false).at);
        table_cell(text_bytes(c->to.bytes).at);
        table_cell(text_change(c->from.bytes, c->to.bytes, true).at);
    }
    table_end();
}

int verb_diff(int argc, char **argv)
{
    static struct diff d;
    char path[512];
    struct flags f;
    flags_read_arguments(argc, argv, &f, 2, 2);
    if (!segment_look(f.arguments[0], &d.from.v, path, sizeof path, true))
        return EXIT_NO;
    if (!segment_look(f.arguments[1], &d.to.v, path, sizeof path, true)) {
        view_close(&d.from.v);
        return EXIT_NO;
    }
    stats_collect(&d.from.v, &d.from.s);
    stats_collect(&d.to.v, &d.to.s);
    add_classes(&d);
    add_members(&d);
    qsort(d.changes, d.count, sizeof *d.changes, by_growth);
    (flag(&f, 'j') ? print_json : print_text)(&d);
    view_close(&d.from.v);
    view_close(&d.to.v);
    return EXIT_OK;
}
