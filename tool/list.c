/* hshm list: this user's segments, of all versions. */
#include "tool/json.h"
#include "tool/tool.h"

#include <stdio.h>
#include <stdlib.h>

static const char *state_name(const struct view *v, const struct segment_file *file)
{
    if (v->foreign)
        return file->version != SEG_FORMAT ? "other version" : "no segment";
    if (v->wrong || get(v->header.damaged))
        return "damaged";
    if (v->alive)
        return "in use";
    return v->header.persist ? "idle" : "stale"; /* idle: persists; stale: nobody removed it */
}

static void show_json(const struct view *v, const struct segment_file *f, const struct stats *s)
{
    json_open(NULL, '{');
    json_text("name", f->name);
    json_text("path", f->path);
    json_number("format", f->version);
    json_text("state", state_name(v, f));
    json_text("wrong", v->wrong);
    json_number("size", v->wrong ? 0 : v->header.limit);
    json_number("used", s->used.bytes);
    json_number("committed", s->file_bytes);
    json_number("members", s->members_alive);
    json_number("dead", s->dead_members);
    json_number("created_ns", v->wrong ? 0 : v->header.created_ns);
    json_number("age_seconds", v->wrong ? 0 : seconds_since(v->header.created_ns));
    json_text("backing", SEGMENT_DIR);
    json_close();
}

static void show_row(const struct view *v, const struct segment_file *f, const struct stats *s)
{
    bool known = !v->wrong;
    table_cell(text_plain(f->name, 60).at);
    table_cell(known ? text_bytes(v->header.limit).at : "-");
    table_cell(known ? text_bytes(s->used.bytes).at : "-");
    table_cell(text_bytes(s->file_bytes).at);
    table_cell(known ? text_count(s->members_alive).at : "-");
    table_cell(known ? text_count(s->dead_members).at : "-");
    table_cell(known ? text_age(v->header.created_ns).at : "-");
    table_cell(state_name(v, f));
    table_cell(SEGMENT_DIR);
}

static void each(const struct segment_file *file, void *context)
{
    const bool *json = context;
    static struct stats stats;
    struct view v;
    const char *why;
    if (!view_open_file(&v, file->path, &why))
        return; /* gone meanwhile, or not ours to read */
    stats_collect(&v, &stats);
    (*json ? show_json : show_row)(&v, file, &stats);
    view_close(&v);
}

int verb_list(int argc, char **argv)
{
    static const struct column columns[] = {
        { "NAME", false },     { "SIZE", true },    { "USED", true },
        { "COMMITTED", true }, { "MEMBERS", true }, { "DEAD", true },
        { "AGE", true },       { "STATE", false },  { "BACKING", false },
    };
    bool set[128];
    if (flags_read(argc, argv, "", set) < argc)
        return fail(EXIT_USAGE, "list takes no arguments");
    bool json = flag(set, 'j');
    if (json)
        json_open(NULL, '[');
    else
        table_start(columns, sizeof columns / sizeof *columns);
    segments_each(each, &json);
    if (json)
        json_close();
    else
        table_end();
    return EXIT_OK;
}
