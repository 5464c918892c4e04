/* hshm list: this user's segments, of all versions. */
#include "tool/json.h"
#include "tool/show.h"

#include <stdio.h>
#include <stdlib.h>

/* A file's name, too, tells its version: its bytes may be those of no version we know. */
static const char *state_name(const struct view *v, const struct segment_file *file)
{
    return v->foreign && file->version != SEG_FORMAT ? "other version" : segment_state(v);
}

static void list_json(const struct view *v, const struct segment_file *f, const struct stats *s)
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

static void list_row(const struct view *v, const struct segment_file *f, const struct stats *s)
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
    (*json ? list_json : list_row)(&v, file, &stats);
    view_close(&v);
}

void segments_json(void)
{
    bool json = true;
    json_open(NULL, '[');
    segments_each(each, &json);
    json_close();
}

int verb_list(int argc, char **argv)
{
    static const struct column columns[] = {
        { "NAME", false },     { "SIZE", true },    { "USED", true },
        { "COMMITTED", true }, { "MEMBERS", true }, { "DEAD", true },
        { "AGE", true },       { "STATE", false },  { "BACKING", false },
    };
    struct flags f;
    flags_read_arguments(argc, argv, &f, 0, 0);
    bool json = flag(&f, 'j');
    if (json) {
        segments_json();
        return EXIT_OK;
    }
    table_start(columns, sizeof columns / sizeof *columns);
    segments_each(each, &json);
    table_end();
    return EXIT_OK;
}
