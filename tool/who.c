/* hshm who: the members of a segment. */
#include "allocators/gpu_look.h"
#include "tool/json.h"
#include "tool/tool.h"

#include <stdio.h>

struct who {
    struct view v;
    struct stats s;
};

static void who_json(const struct who *w, uint64_t slot, const struct process *p)
{
    const struct seg_member *m = &w->v.members[slot];
    const struct stats_member *s = &w->s.members[slot];
    json_open(NULL, '{');
    json_number("slot", slot);
    json_number("id", member_id_make((uint32_t)slot, state_epoch(get(m->state))));
    json_number("pid", get(m->pid));
    json_number("pid_here", (uint64_t)p->pid);
    json_text("program", text_plain(m->name, sizeof m->name).at);
    json_text("command", p->command);
    json_text("state", member_state_name(&w->v, slot, p));
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
    if (gpu_area_is_there(&w->v))
        json_number("gpu_bytes",
                    gpu_member_bytes(&w->v, slot,
                                     member_id_make((uint32_t)slot, state_epoch(get(m->state)))));
    char message[sizeof m->message + 1];
    snprintf(message, sizeof message, "%.*s", (int)sizeof m->message, m->message);
    json_text("message", message);
    json_close();
}

static struct text parent_text(const struct view *v, uint64_t parent)
{
    struct text t = { "-" };
    if (parent && view_id_is_current(v, parent))
        snprintf(t.at, sizeof t.at, "%lu", (unsigned long)get(v->members[member_slot(parent)].pid));
    return t;
}

/* A pid that only another pid namespace knows says nothing here: it is marked. */
static struct text pid_text(const struct view *v, uint64_t slot, const struct process *p)
{
    struct text t;
    bool lives = member_life(v, slot) <= LIFE_LEAVING && !v->dumped;
    snprintf(t.at, sizeof t.at, "%lu%s",
             p->pid ? (unsigned long)p->pid : (unsigned long)get(v->members[slot].pid),
             lives && !p->pid ? "*" : "");
    return t;
}

static void who_row(const struct who *w, uint64_t slot, const struct process *p)
{
    const struct seg_member *m = &w->v.members[slot];
    const struct stats_member *s = &w->s.members[slot];
    table_cell(pid_text(&w->v, slot, p).at);
    table_cell(text_plain(m->name, sizeof m->name).at);
    table_cell(member_state_name(&w->v, slot, p));
    table_cell(text_age(get(m->start_ns)).at);
    table_cell(text_bytes(s->used.bytes).at);
    table_cell(text_count(s->used.blocks).at);
    table_cell(text_count(get(m->threads)).at);
    table_cell(parent_text(&w->v, get(m->parent)).at);
    table_cell(text_plain(p->command, sizeof p->command).at);
}

int verb_who(int argc, char **argv)
{
    static const struct column columns[] = {
        { "PID", true },     { "PROGRAM", false }, { "STATE", false },
        { "SINCE", true },   { "BYTES", true },    { "BLOCKS", true },
        { "THREADS", true }, { "PARENT", true },   { "COMMAND", false },
    };
    static struct who w;
    char path[512];
    struct flags f;
    flags_read_arguments(argc, argv, &f, 1, 1);
    if (!segment_look(f.arguments[0], &w.v, path, sizeof path, true))
        return EXIT_NO;
    bool json = flag(&f, 'j');
    stats_collect(&w.v, &w.s);
    if (json)
        json_open(NULL, '[');
    else
        table_start(columns, sizeof columns / sizeof *columns);
    for (uint64_t slot = 0; slot < w.v.members_high; slot++) {
        struct process p;
        if (member_life(&w.v, slot) == LIFE_ENDED &&
            !(flag(&f, 'a') && get(w.v.members[slot].start_ns)))
            continue;
        member_process(&w.v, slot, &p);
        (json ? who_json : who_row)(&w, slot, &p);
    }
    if (json)
        json_close();
    else
        table_end();
    view_close(&w.v);
    return EXIT_OK;
}
