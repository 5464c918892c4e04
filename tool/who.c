/* hshm who: the members of a segment. */
#include "tool/json.h"
#include "tool/tool.h"

#include <stdio.h>

struct who {
    struct view v;
    struct stats s;
};

static void who_json(const struct who *w, uint64_t slot)
{
    const struct seg_member *m = &w->v.members[slot];
    const struct stats_member *s = &w->s.members[slot];
    json_open(NULL, '{');
    json_number("slot", slot);
    json_number("id", member_id_make((uint32_t)slot, state_epoch(get(m->state))));
    json_number("pid", get(m->pid));
    json_bool("pid_is_seen_here", pid_is_seen(&w->v, slot));
    json_text("program", text_plain(m->name, sizeof m->name).at);
    json_text("state", life_seen(&w->v, slot));
    json_number("since_ns", get(m->start_ns));
    json_number("threads", get(m->threads));
    json_number("uid", get(m->uid));
    json_number("parent", get(m->parent));
    json_number("blocks", s->used.blocks);
    json_number("bytes", s->used.bytes);
    json_number("charged", get(m->charged) * OS_PAGE);
    json_number("chunks", s->chunks);
    json_number("pages", s->pages);
    json_open("calls", '{');
    json_number("malloc", get(m->mallocs));
    json_number("calloc", get(m->callocs));
    json_number("realloc", get(m->reallocs));
    json_number("free", get(m->frees));
    json_close();
    json_number("bytes_outside", get(m->bytes_out));
    json_number("forks", get(m->forks));
    json_number("fork_bytes", get(m->fork_bytes));
    char message[sizeof m->message + 1];
    snprintf(message, sizeof message, "%.*s", (int)sizeof m->message, m->message);
    json_text("message", message);
    json_close();
}

/* Pids of another pid namespace say nothing here: they are marked. */
static void who_row(const struct who *w, uint64_t slot)
{
    const struct seg_member *m = &w->v.members[slot];
    const struct stats_member *s = &w->s.members[slot];
    uint64_t parent = get(m->parent);
    uint32_t parent_slot = member_slot(parent);
    char pid[32];
    snprintf(pid, sizeof pid, "%lu%s", (unsigned long)get(m->pid),
             member_life(&w->v, slot) != LIFE_ALIVE || pid_is_seen(&w->v, slot) ? "" : "*");
    table_cell(pid);
    table_cell(text_plain(m->name, sizeof m->name).at);
    table_cell(life_seen(&w->v, slot));
    table_cell(text_age(get(m->start_ns)).at);
    table_cell(text_bytes(s->used.bytes).at);
    table_cell(text_count(s->used.blocks).at);
    table_cell(text_count(get(m->threads)).at);
    if (parent && view_id_is_current(&w->v, parent))
        snprintf(pid, sizeof pid, "%lu", (unsigned long)get(w->v.members[parent_slot].pid));
    table_cell(parent && view_id_is_current(&w->v, parent) ? pid : "-");
}

int verb_who(int argc, char **argv)
{
    static const struct column columns[] = {
        { "PID", true },   { "PROGRAM", false }, { "STATE", false },  { "SINCE", true },
        { "BYTES", true }, { "BLOCKS", true },   { "THREADS", true }, { "PARENT", true },
    };
    static struct who w;
    char path[512];
    bool set[128];
    int at = flags_read(argc, argv, "a", set);
    if (at != argc - 1)
        return fail(EXIT_USAGE, "who needs one segment; hshm list names them");
    if (!segment_look(argv[at], &w.v, path, sizeof path, true))
        return EXIT_NO;
    stats_collect(&w.v, &w.s);
    if (flag(set, 'j'))
        json_open(NULL, '[');
    else
        table_start(columns, sizeof columns / sizeof *columns);
    for (uint64_t slot = 0; slot < w.v.members_high; slot++)
        if (member_life(&w.v, slot) != LIFE_ENDED ||
            (flag(set, 'a') && get(w.v.members[slot].start_ns)))
            (flag(set, 'j') ? who_json : who_row)(&w, slot);
    if (flag(set, 'j'))
        json_close();
    else
        table_end();
    view_close(&w.v);
    return EXIT_OK;
}
