/* hshm top: segments, or one of them, watched. */
#ifdef WITH_NCURSES
#include "tool/top.h"
#include "tool/json.h"
#include "tool/show.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

const struct top_column top_columns[TOP_PAGES][TOP_COLUMNS + 1] = {
    { { "NAME", -20 },
      { "SIZE", 10 },
      { "USED", 10 },
      { "USE%", 5 },
      { "COMMITTED", 10 },
      { "BLOCKS", 12 },
      { "MEMBERS", 7 },
      { "DEAD", 5 },
      { "AGE", 8 },
      { "STATE", -14 } },
    { { "PID", 8 },
      { "PROGRAM", -16 },
      { "STATE", -8 },
      { "BYTES", 10 },
      { "CHANGE/s", 10 },
      { "BLOCKS", 12 },
      { "COMMITTED", 10 },
      { "PAGES", 7 },
      { "THREADS", 7 },
      { "SINCE", 8 },
      { "COMMAND", -30 } },
    { { "CLASS", 8 },
      { "PAGES", 8 },
      { "BLOCKS", 12 },
      { "FREE", 12 },
      { "USED", 10 },
      { "RESERVED", 10 },
      { "FILL%", 6 } },
};

int top_column_find(enum top_page page, const char *name)
{
    for (int i = 0; i < TOP_COLUMNS && top_columns[page][i].width; i++)
        if (strncasecmp(top_columns[page][i].title, name, strlen(name)) == 0)
            return i;
    return -1;
}

/* ---- rows ----------------------------------------------------------------------------------- */

static struct top_row *row_add(struct top *t)
{
    if (t->count == t->room) {
        t->room = t->room ? t->room * 2 : 64;
        t->rows = realloc(t->rows, t->room * sizeof *t->rows);
        if (!t->rows)
            exit(fail(EXIT_NO, "no memory"));
    }
    struct top_row *row = &t->rows[t->count++];
    memset(row, 0, sizeof *row);
    return row;
}

static void cell_text(struct top_row *row, unsigned i, const char *text)
{
    row->cells[i] = text_plain(text, 64);
}

static void cell_number(struct top_row *row, unsigned i, struct text shown, double key)
{
    row->cells[i] = shown;
    row->keys[i] = key;
}

static struct text percent(double part, double whole)
{
    struct text t;
    snprintf(t.at, sizeof t.at, "%.1f", whole > 0 ? 100 * part / whole : 0);
    return t;
}

static const struct top *sorted;

static int compare(const void *a, const void *b)
{
    const struct top_row *x = a, *y = b;
    int column = sorted->sort[sorted->page], order = 0;
    if (top_columns[sorted->page][column].width < 0)
        order = strcmp(x->cells[column].at, y->cells[column].at);
    else
        order = (x->keys[column] < y->keys[column]) - (x->keys[column] > y->keys[column]);
    order = order ? order : strcmp(x->id, y->id);
    return sorted->turned[sorted->page] ? -order : order;
}

void top_sort(struct top *t)
{
    sorted = t;
    if (t->count)
        qsort(t->rows, t->count, sizeof *t->rows, compare);
}

/* ---- all segments ----------------------------------------------------------------------------- */

static void segment_row(const struct segment_file *file, void *context)
{
    static struct stats s;
    struct top *t = context;
    struct view v;
    const char *why;
    if (!view_open_file(&v, file->path, &why))
        return;
    stats_collect(&v, &s);
    struct top_row *row = row_add(t);
    snprintf(row->id, sizeof row->id, "%s", file->name);
    cell_text(row, 0, file->name);
    cell_text(row, 9,
              v.foreign && file->version != SEG_FORMAT ? "other version" : segment_state(&v));
    if (!v.wrong) {
        uint64_t limit = v.header.limit;
        cell_number(row, 1, text_bytes(limit), (double)limit);
        cell_number(row, 2, text_bytes(s.used.bytes), (double)s.used.bytes);
        cell_number(row, 3, percent((double)s.used.bytes, (double)limit),
                    (double)s.used.bytes / (double)limit);
        cell_number(row, 5, text_count(s.used.blocks), (double)s.used.blocks);
        cell_number(row, 6, text_count(s.members_alive), (double)s.members_alive);
        cell_number(row, 7, text_count(s.dead_members), (double)s.dead_members);
        cell_number(row, 8, text_age(v.header.created_ns),
                    (double)seconds_since(v.header.created_ns));
    }
    cell_number(row, 4, text_bytes(s.file_bytes), (double)s.file_bytes);
    view_close(&v);
}

static void look_at_segments(struct top *t)
{
    double used = 0, committed = 0, members = 0;
    segments_each(segment_row, t);
    for (size_t i = 0; i < t->count; i++) {
        used += t->rows[i].keys[2];
        committed += t->rows[i].keys[4];
        members += t->rows[i].keys[6];
    }
    snprintf(t->heading[0], sizeof t->heading[0], "%zu segment%s, %.0f member%s", t->count,
             t->count == 1 ? "" : "s", members, members == 1 ? "" : "s");
    snprintf(t->heading[1], sizeof t->heading[1], "used %s, committed %s",
             text_bytes((uint64_t)used).at, text_bytes((uint64_t)committed).at);
}

/* ---- one segment -------------------------------------------------------------------------------- */

/* What members had when they were looked at last, to tell how it changes. */
static struct {
    char segment[256];
    uint64_t at_ns, bytes[MEMBER_MAX];
    uint64_t state[MEMBER_MAX];
} last;

static double change_per_second(const struct shown *x, uint64_t slot, uint64_t now)
{
    uint64_t state = get(x->v.members[slot].state);
    double seconds = (double)(now - last.at_ns) / 1e9;
    if (!last.at_ns || last.state[slot] != state || seconds <= 0)
        return 0;
    return ((double)x->s.members[slot].used.bytes - (double)last.bytes[slot]) / seconds;
}

static void member_row(struct top *t, const struct shown *x, uint64_t slot, uint64_t now)
{
    const struct seg_member *m = &x->v.members[slot];
    const struct stats_member *s = &x->s.members[slot];
    struct process p;
    member_process(&x->v, slot, &p);
    struct top_row *row = row_add(t);
    double change = change_per_second(x, slot, now), size = change < 0 ? -change : change;
    uint64_t pid = p.pid ? (uint64_t)p.pid : get(m->pid);
    snprintf(row->id, sizeof row->id, "%08lx", (unsigned long)slot);
    snprintf(row->cells[0].at, sizeof row->cells[0].at, "%lu", (unsigned long)pid);
    row->keys[0] = (double)pid;
    cell_text(row, 1, m->name);
    cell_text(row, 2, member_state_name(&x->v, slot, &p));
    cell_number(row, 3, text_bytes(s->used.bytes), (double)s->used.bytes);
    cell_number(row, 4,
                text_change(change < 0 ? (uint64_t)size : 0, change < 0 ? 0 : (uint64_t)size, true),
                change);
    cell_number(row, 5, text_count(s->used.blocks), (double)s->used.blocks);
    cell_number(row, 6, text_bytes(get(m->charged) * OS_PAGE), (double)get(m->charged));
    cell_number(row, 7, text_count(s->pages), (double)s->pages);
    cell_number(row, 8, text_count(get(m->threads)), (double)get(m->threads));
    cell_number(row, 9, text_age(get(m->start_ns)), (double)seconds_since(get(m->start_ns)));
    cell_text(row, 10, p.command);
}

static void member_rows(struct top *t, const struct shown *x)
{
    uint64_t now = os_boot_ns();
    if (strcmp(last.segment, t->segment) != 0)
        last.at_ns = 0;
    for (uint64_t slot = 0; slot < x->v.members_high; slot++) {
        if (member_life(&x->v, slot) != LIFE_ENDED)
            member_row(t, x, slot, now);
        last.bytes[slot] = x->s.members[slot].used.bytes;
        last.state[slot] = get(x->v.members[slot].state);
    }
    last.at_ns = now;
    snprintf(last.segment, sizeof last.segment, "%s", t->segment);
}

static void class_rows(struct top *t, const struct shown *x)
{
    for (unsigned i = 0; i < CLASS_COUNT; i++) {
        const struct stats_class *c = &x->s.classes[i];
        uint64_t used = c->blocks * c->block_bytes;
        if (!c->pages)
            continue;
        struct top_row *row = row_add(t);
        snprintf(row->id, sizeof row->id, "%08u", c->block_bytes);
        cell_number(row, 0, text_count(c->block_bytes), c->block_bytes);
        cell_number(row, 1, text_count(c->pages), (double)c->pages);
        cell_number(row, 2, text_count(c->blocks), (double)c->blocks);
        cell_number(row, 3, text_count(c->free_blocks), (double)c->free_blocks);
        cell_number(row, 4, text_bytes(used), (double)used);
        cell_number(row, 5, text_bytes(c->reserved_bytes), (double)c->reserved_bytes);
        cell_number(row, 6, percent((double)used, (double)c->reserved_bytes),
                    (double)used / (double)c->reserved_bytes);
    }
}

static void bar(char *to, size_t size, const char *what, uint64_t part, uint64_t whole)
{
    char cells[41];
    unsigned full = whole ? (unsigned)(smaller(part, whole) * 40 / whole) : 0;
    memset(cells, '.', 40);
    memset(cells, '#', full);
    cells[40] = '\0';
    snprintf(to, size, "%-9s [%s] %s of %s", what, cells, text_bytes(part).at,
             text_bytes(whole).at);
}

static void segment_heading(struct top *t, const struct shown *x)
{
    const struct stats *s = &x->s;
    const struct seg_header *h = &x->v.header;
    snprintf(t->heading[0], sizeof t->heading[0], "segment %.60s, %s, %s, %s members, %s dead",
             t->segment, segment_state(&x->v), text_age(h->created_ns).at,
             text_count(s->members_alive).at, text_count(s->dead_members).at);
    bar(t->heading[1], sizeof t->heading[1], "used", s->used.bytes, h->limit);
    bar(t->heading[2], sizeof t->heading[2], "committed", s->committed_bytes, h->limit);
    snprintf(t->heading[3], sizeof t->heading[3],
             "%s blocks: small %s, large %s, huge %s; unused %.1f %%",
             text_count(s->used.blocks).at, text_bytes(s->small.bytes).at,
             text_bytes(s->large.bytes).at, text_bytes(s->huge.bytes).at, 100 * segment_unused(s));
    snprintf(t->heading[4], sizeof t->heading[4], "of ended members %s; %s snapshots, %s holds",
             text_bytes(s->kept.bytes).at, text_count(get(h->snapshots)).at,
             text_count(s->holds).at);
}

static void look_at_segment(struct top *t)
{
    static struct shown x;
    char path[512];
    t->gone = "it is no valid name";
    if (!segment_find(t->segment, path, sizeof path) || !view_open_file(&x.v, path, &t->gone))
        return;
    if (!(t->gone = x.v.wrong)) {
        stats_collect(&x.v, &x.s);
        segment_heading(t, &x);
        (t->page == TOP_MEMBERS ? member_rows : class_rows)(t, &x);
    }
    view_close(&x.v);
}

void top_look(struct top *t)
{
    t->count = 0;
    t->gone = NULL;
    memset(t->heading, 0, sizeof t->heading);
    (t->page == TOP_SEGMENTS ? look_at_segments : look_at_segment)(t);
    top_sort(t);
}

/* ---- without a screen ---------------------------------------------------------------------------- */

static void print(struct top *t)
{
    struct column columns[TOP_COLUMNS];
    unsigned n = 0;
    top_look(t);
    for (unsigned i = 0; i < TOP_HEADING && t->heading[i][0]; i++)
        puts(t->heading[i]);
    for (; n < TOP_COLUMNS && top_columns[t->page][n].width; n++)
        columns[n] =
            (struct column){ top_columns[t->page][n].title, top_columns[t->page][n].width > 0 };
    table_start(columns, n);
    for (size_t i = 0; i < t->count; i++)
        for (unsigned c = 0; c < n; c++)
            table_cell(t->rows[i].cells[c].at);
    table_end();
    putchar('\n');
}

static void print_json(const struct top *t)
{
    static struct shown x;
    char path[512];
    if (t->page == TOP_SEGMENTS) {
        segments_json();
        return;
    }
    x.name = t->segment;
    x.path = path;
    if (!segment_look(x.name, &x.v, path, sizeof path, true))
        exit(EXIT_NO);
    stats_collect(&x.v, &x.s);
    show_json(&x);
    view_close(&x.v);
}

static int batch(struct top *t, double delay, long count, bool json)
{
    struct timespec pause = { (time_t)delay, (long)((delay - (double)(time_t)delay) * 1e9) };
    json_compact();
    for (long i = 0; !count || i < count; i++) {
        if (i)
            nanosleep(&pause, NULL);
        if (json)
            print_json(t);
        else
            print(t);
        if (t->gone)
            return segment_fault(t->segment, t->gone), EXIT_NO;
        if (fflush(stdout) != 0)
            return EXIT_NO;
    }
    return EXIT_OK;
}

int verb_top(int argc, char **argv)
{
    static struct top t = { .sort = { 2, 3, 4 } };
    struct flags f;
    flags_read_arguments(argc, argv, &f, 0, 1);
    double delay = flag(&f, 'd') ? strtod(flag_value(&f, 'd'), NULL) : 1;
    long count = flag(&f, 'n') ? strtol(flag_value(&f, 'n'), NULL, 10) : 0;
    if (!(delay >= 0.05 && delay <= 86400))
        return fail(EXIT_USAGE, "a delay is from 0.05 to 86400 seconds");
    if (count < 0)
        return fail(EXIT_USAGE, "so many looks cannot be");
    if (f.count) {
        t.page = TOP_MEMBERS;
        snprintf(t.segment, sizeof t.segment, "%s", f.arguments[0]);
    }
    if (flag(&f, 's')) {
        int column = top_column_find(t.page, flag_value(&f, 's'));
        if (column < 0)
            return fail(EXIT_USAGE, "there is no column %s", flag_value(&f, 's'));
        t.sort[t.page] = column;
    }
    if (f.count) {
        top_look(&t);
        if (t.gone)
            return segment_fault(t.segment, t.gone), EXIT_NO;
    }
    if (flag(&f, 'b') || flag(&f, 'j'))
        return batch(&t, delay, count, flag(&f, 'j'));
    if (!isatty(STDOUT_FILENO) || !isatty(STDIN_FILENO))
        return fail(EXIT_NO, "no terminal; -b prints instead");
    return top_screen(&t, delay, count);
}
#endif
