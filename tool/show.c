/* hshm show: one segment's memory, by state, member and size class. */
#include "tool/show.h"
#include "tool/json.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *const state_names[] = { "none", "live", "removing", "removed" };

static const char *state_of_segment(const struct view *v)
{
    uint64_t state = get(v->header.state);
    return state <= SEG_REMOVED ? state_names[state] : "none";
}

/* ---- JSON --------------------------------------------------------------------------------- */

static void json_sum(const char *key, const struct stats_sum *sum)
{
    json_open(key, '{');
    json_number("blocks", sum->blocks);
    json_number("bytes", sum->bytes);
    json_close();
}

static void json_header(const struct shown *x)
{
    const struct seg_header *h = &x->v.header;
    char base[24];
    snprintf(base, sizeof base, "0x%llx", (unsigned long long)h->base);
    json_text("name", x->name);
    json_text("path", x->path);
    json_number("format", h->format);
    json_text("state", state_of_segment(&x->v));
    json_bool("damaged", get(h->damaged) != 0);
    json_number("dumped_ns", get(h->dumped_ns));
    json_bool("persist", h->persist != 0);
    json_number("uid", h->uid);
    json_text("base", base);
    json_number("window", h->window);
    json_number("size", h->limit);
    json_number("created_ns", h->created_ns);
}

static void json_memory(const struct shown *x)
{
    const struct stats *s = &x->s;
    json_sum("used", &s->used);
    json_sum("small", &s->small);
    json_sum("large", &s->large);
    json_sum("huge", &s->huge);
    json_number("charged", get(x->v.header.charged) * OS_PAGE);
    json_number("committed", s->committed_bytes);
    json_number("file_bytes", s->file_bytes);
    json_number("free_in_pages", s->free_bytes);
    json_number("unlinked_in_pages", s->unlinked_bytes);
    json_number("idle_in_chunks", s->idle_bytes);
    json_number("warm", s->warm_bytes);
    json_number("free_slices", s->free_slices);
    json_number("held_pages", s->held_pages);
    json_number("held_free", s->held_free_bytes);
    json_real("fragmentation", segment_unused(s));
    json_bool("full", segment_is_full(&x->v));
    json_open("chunks", '{');
    static const char *const names[] = { "free", "owned", "orphan", "part", "huge" };
    for (unsigned i = 0; i <= CHUNK_HUGE; i++)
        json_number(names[i], s->chunks[i]);
    json_close();
}

static void json_members(const struct shown *x)
{
    const struct seg_header *h = &x->v.header;
    json_open("members", '{');
    json_number("alive", x->s.members_alive);
    json_number("dead", x->s.dead_members);
    json_number("ever", get(h->members_ever));
    json_number("ended", get(h->members_ended));
    json_close();
    json_open("kept", '{');
    json_number("members", x->s.kept_members);
    json_number("blocks", x->s.kept.blocks);
    json_number("bytes", x->s.kept.bytes);
    json_close();
    json_open("unrecovered", '{');
    json_number("members", x->s.dead_members);
    json_number("blocks", x->s.dead.blocks);
    json_number("bytes", x->s.dead.bytes);
    json_close();
    json_open("forks", '{');
    json_number("snapshots", get(h->snapshots));
    json_number("bytes", get(h->snapshot_bytes));
    json_number("ns", get(h->snapshot_ns));
    json_number("holds", x->s.holds);
    json_number("holds_given_up", get(h->holds_given));
    json_number("frees_waiting", x->s.deferred);
    json_number("frees_dropped", x->s.dropped);
    json_close();
    json_open("purge", '{');
    json_number("runs", get(h->purges));
    json_number("bytes", get(h->purged) * OS_PAGE);
    json_number("last_ns", get(h->purged_ns));
    json_close();
}

static void json_classes(const struct shown *x)
{
    json_open("classes", '[');
    for (unsigned i = 0; i < CLASS_COUNT; i++) {
        const struct stats_class *c = &x->s.classes[i];
        if (!c->pages)
            continue;
        json_open(NULL, '{');
        json_number("block_bytes", c->block_bytes);
        json_number("pages", c->pages);
        json_number("blocks", c->blocks);
        json_number("free_blocks", c->free_blocks);
        json_number("reserved", c->reserved_bytes);
        json_close();
    }
    json_close();
}

/* The same fields as in `who`, of those that hold memory. */
static void json_by_member(const struct shown *x)
{
    json_open("by_member", '[');
    for (uint64_t slot = 0; slot < x->v.members_high; slot++) {
        const struct seg_member *m = &x->v.members[slot];
        const struct stats_member *s = &x->s.members[slot];
        if (member_life(&x->v, slot) == LIFE_ENDED)
            continue;
        json_open(NULL, '{');
        json_number("slot", slot);
        json_number("pid", get(m->pid));
        json_text("program", text_plain(m->name, sizeof m->name).at);
        json_text("state", life_name(member_life(&x->v, slot)));
        json_number("blocks", s->used.blocks);
        json_number("bytes", s->used.bytes);
        json_number("charged", get(m->charged) * OS_PAGE);
        json_number("threads", get(m->threads));
        json_close();
    }
    json_close();
}

void show_json(const struct shown *x)
{
    json_open(NULL, '{');
    json_header(x);
    json_memory(x);
    json_members(x);
    json_by_member(x);
    json_classes(x);
    heaps_json(&x->v);
    show_gpus(&x->v, true);
    json_close();
}

/* ---- for people ------------------------------------------------------------------------------- */

void show_table(void)
{
    putchar('\n');
    table_end();
}

static void line_sum(const char *what, const struct stats_sum *sum)
{
    printf("  %-12s%10s  in %s block%s\n", what, text_bytes(sum->bytes).at,
           text_count(sum->blocks).at, sum->blocks == 1 ? "" : "s");
}

static void print_members(const struct shown *x)
{
    printf("Members\n  %-12s%10s\n", "alive", text_count(x->s.members_alive).at);
    if (x->s.dead_members)
        printf("  %-12s%10s  hold %s; the next comer or hshm reclaim puts that in order\n", "dead",
               text_count(x->s.dead_members).at, text_bytes(x->s.dead.bytes).at);
    printf("  %-12s%10s\n", "ever", text_count(get(x->v.header.members_ever)).at);
    if (x->s.kept.blocks)
        printf("  %s in %s block%s belong%s to %s ended member%s: hshm reclaim %s frees it,\n"
               "  HSHM_EXIT=reclaim frees it when a member ends\n",
               text_bytes(x->s.kept.bytes).at, text_count(x->s.kept.blocks).at,
               x->s.kept.blocks == 1 ? "" : "s", x->s.kept.blocks == 1 ? "s" : "",
               text_count(x->s.kept_members).at, x->s.kept_members == 1 ? "" : "s", x->name);
}

static void print_memory(const struct shown *x)
{
    const struct stats *s = &x->s;
    printf("Memory\n");
    line_sum("used", &s->used);
    if (s->small.blocks)
        line_sum("  small", &s->small);
    if (s->large.blocks)
        line_sum("  large", &s->large);
    if (s->huge.blocks)
        line_sum("  huge", &s->huge);
    printf("  %-12s%10s  of %s; with tables the file has %s\n", "committed",
           text_bytes(s->committed_bytes).at, text_bytes(x->v.header.limit).at,
           text_bytes(s->file_bytes).at);
    printf("  %-12s%10s  in pages, %s in slices, %s in chunks for the next comer\n", "free",
           text_bytes(s->free_bytes).at, text_bytes(s->idle_bytes).at,
           text_bytes(s->warm_bytes).at);
    printf("  %-12s%9.1f%%  of what is committed to pages and blocks holds no block\n", "unused",
           100 * segment_unused(s));
    if (s->holds || s->held_pages)
        printf("  %-12s%10s  living snapshots of forks keep %s pages from reuse, with %s free in "
               "them\n",
               "holds", text_count(s->holds).at, text_count(s->held_pages).at,
               text_bytes(s->held_free_bytes).at);
}

static void print_purge(const struct shown *x)
{
    const struct seg_header *h = &x->v.header;
    if (!get(h->purges))
        return;
    printf("Purge\n  %-12s%10s  in %s run%s, last %s ago\n", "given back",
           text_bytes(get(h->purged) * OS_PAGE).at, text_count(get(h->purges)).at,
           get(h->purges) == 1 ? "" : "s", text_age(get(h->purged_ns)).at);
}

static void print_full(const struct shown *x)
{
    if (!segment_is_full(&x->v))
        return;
    printf("FULL: %s of %s", text_bytes(get(x->v.header.charged) * OS_PAGE).at,
           text_bytes(x->v.header.limit).at);
    if (x->s.kept.bytes)
        printf(", of which %s belong to %s ended member%s: hshm reclaim %s\n",
               text_bytes(x->s.kept.bytes).at, text_count(x->s.kept_members).at,
               x->s.kept_members == 1 ? "" : "s", x->name);
    else
        printf(", all of it of living members: a larger HSHM_SIZE is needed\n");
}

static void print_classes(const struct shown *x)
{
    static const struct column columns[] = {
        { "CLASS", true }, { "PAGES", true }, { "BLOCKS", true },
        { "FREE", true },  { "USED", true },  { "RESERVED", true },
    };
    table_start(columns, sizeof columns / sizeof *columns);
    bool any = false;
    for (unsigned i = 0; i < CLASS_COUNT; i++) {
        const struct stats_class *c = &x->s.classes[i];
        if (!c->pages)
            continue;
        any = true;
        table_cell(text_count(c->block_bytes).at);
        table_cell(text_count(c->pages).at);
        table_cell(text_count(c->blocks).at);
        table_cell(text_count(c->free_blocks).at);
        table_cell(text_bytes(c->blocks * c->block_bytes).at);
        table_cell(text_bytes(c->reserved_bytes).at);
    }
    if (any)
        show_table();
}

#define MEMBERS_SHOWN 10

static void print_by_member(const struct shown *x)
{
    static const struct column columns[] = {
        { "PID", true },    { "PROGRAM", false }, { "STATE", false }, { "BYTES", true },
        { "BLOCKS", true }, { "PAGES", true },    { "CHUNKS", true }, { "COMMITTED", true },
    };
    static bool shown[MEMBER_MAX];
    unsigned count = 0, left = 0;
    memset(shown, 0, sizeof shown);
    for (; count < MEMBERS_SHOWN; count++) {
        uint64_t most = MEMBER_MAX;
        for (uint64_t slot = 0; slot < x->v.members_high; slot++)
            if (!shown[slot] && member_life(&x->v, slot) != LIFE_ENDED &&
                (most == MEMBER_MAX ||
                 x->s.members[slot].used.bytes > x->s.members[most].used.bytes))
                most = slot;
        if (most == MEMBER_MAX)
            break;
        if (!count)
            table_start(columns, sizeof columns / sizeof *columns);
        const struct seg_member *m = &x->v.members[most];
        const struct stats_member *s = &x->s.members[most];
        char pid[32];
        snprintf(pid, sizeof pid, "%lu", (unsigned long)get(m->pid));
        shown[most] = true;
        table_cell(pid);
        table_cell(text_plain(m->name, sizeof m->name).at);
        table_cell(life_name(member_life(&x->v, most)));
        table_cell(text_bytes(s->used.bytes).at);
        table_cell(text_count(s->used.blocks).at);
        table_cell(text_count(s->pages).at);
        table_cell(text_count(s->chunks).at);
        table_cell(text_bytes(get(m->charged) * OS_PAGE).at);
    }
    for (uint64_t slot = 0; slot < x->v.members_high; slot++)
        left += !shown[slot] && member_life(&x->v, slot) != LIFE_ENDED;
    if (count)
        show_table();
    if (left)
        printf("and %u more: hshm who %s\n", left, x->name);
}

static void print_forks(const struct shown *x)
{
    uint64_t n = get(x->v.header.snapshots), ns = get(x->v.header.snapshot_ns);
    if (n)
        printf("Forks\n  %-12s%10s  copied %s, %.1f ms each\n", "snapshots", text_count(n).at,
               text_bytes(get(x->v.header.snapshot_bytes)).at, (double)ns / 1e6 / (double)n);
    uint64_t given = get(x->v.header.holds_given);
    if (given)
        printf("  %-12s%10s  holds, to reuse what they kept (HSHM_FORK_HOLD)\n", "given up",
               text_count(given).at);
    if (x->s.deferred || x->s.dropped)
        printf("  %-12s%10s  freed blocks wait for a forked child; children left %s to their "
               "parents\n",
               "waiting", text_count(x->s.deferred).at, text_count(x->s.dropped).at);
}

void show_text(const struct shown *x)
{
    const struct seg_header *h = &x->v.header;
    printf("Segment %s, %s%s%s\n", x->name, x->v.dumped ? "a dump" : state_of_segment(&x->v),
           h->persist ? ", persists" : "", get(h->damaged) ? ", DAMAGED" : "");
    printf("  %-12s%s\n", "file", x->path);
    printf("  %-12s%s, %s ago\n", "made", text_time(h->created_ns).at, text_age(h->created_ns).at);
    printf("  %-12s0x%llx, window %s, format %u\n", "address", (unsigned long long)h->base,
           text_bytes(h->window).at, h->format);
    if (x->v.dumped)
        printf("  %-12s%s\n", "dumped", text_time(get(h->dumped_ns)).at);
    print_memory(x);
    print_purge(x);
    print_members(x);
    print_forks(x);
    print_full(x);
    print_by_member(x);
    print_classes(x);
    heaps_print(&x->v);
    show_gpus(&x->v, false);
}

int verb_show(int argc, char **argv)
{
    static struct shown x;
    char path[512];
    struct flags f;
    flags_read_arguments(argc, argv, &f, 1, 1);
    x.name = f.arguments[0];
    x.path = path;
    if (!segment_look(x.name, &x.v, path, sizeof path, true))
        return EXIT_NO;
    stats_collect(&x.v, &x.s);
    (flag(&f, 'j') ? show_json : show_text)(&x);
    view_close(&x.v);
    return EXIT_OK;
}
