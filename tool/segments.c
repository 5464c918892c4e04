/* segments.c - finding and opening segments, and what is said of all of them. */
#include "tool/tool.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* ---- files ------------------------------------------------------------------------------ */

struct each {
    void (*each)(const struct segment_file *file, void *context);
    void *context;
};

/* hshm<format>-<uid>-<name> */
static bool each_file(const char *file, void *context)
{
    const struct each *e = context;
    struct segment_file f = { .file = file };
    unsigned long uid;
    int at = 0;
    if (sscanf(file, "hshm%u-%lu-%n", &f.version, &uid, &at) != 2 || !at || uid != geteuid() ||
        !file[at])
        return true;
    f.name = file + at;
    snprintf(f.path, sizeof f.path, SEGMENT_DIR "/%s", file);
    e->each(&f, e->context);
    return true;
}

void segments_each(void (*each)(const struct segment_file *file, void *context), void *context)
{
    struct each e = { each, context };
    os_list(SEGMENT_DIR, each_file, &e);
}

struct wanted {
    const char *name;
    char *path;
    size_t size;
};

static void note_other_version(const struct segment_file *file, void *context)
{
    const struct wanted *w = context;
    if (strcmp(file->name, w->name) == 0)
        snprintf(w->path, w->size, "%s", file->path);
}

/* A name that only a segment of another version has is that one: it will be refused by name.  What
 * no segment is called may be a dump in this folder. */
bool segment_find(const char *name, char *path, size_t size)
{
    struct wanted w = { name, path, size };
    if (strncmp(name, "file:", 5) != 0 && strchr(name, '/'))
        return (size_t)snprintf(path, size, "%s", name) < size;
    if (!segment_path(name, geteuid(), path, size))
        return false;
    if (strncmp(name, "file:", 5) != 0 && access(path, F_OK) != 0)
        segments_each(note_other_version, &w);
    if (strncmp(name, "file:", 5) != 0 && access(path, F_OK) != 0 && access(name, F_OK) == 0)
        return (size_t)snprintf(path, size, "./%s", name) < size;
    return true;
}

bool segment_fault(const char *name, const char *what)
{
    fail(0, "segment %s: %s", name, what);
    return false;
}

bool segment_look(const char *name, struct view *v, char *path, size_t size, bool sound)
{
    const char *why = "it is no valid name";
    if (!segment_find(name, path, size) || !view_open_file(v, path, &why))
        return segment_fault(name, why);
    if (!sound || !v->wrong)
        return true;
    segment_fault(name, v->wrong);
    view_close(v);
    return false;
}

/* ---- what is said of all ----------------------------------------------------------------- */

const char *segment_state(const struct view *v)
{
    if (v->foreign)
        return v->header.magic == SEG_MAGIC ? "other version" : "no segment";
    if (v->wrong || get(v->header.damaged))
        return "damaged";
    if (v->dumped)
        return "dump";
    if (v->alive)
        return "in use";
    return v->header.persist ? "idle" : "stale"; /* idle: persists; stale: nobody removed it */
}

double segment_unused(const struct stats *s)
{
    uint64_t held = s->committed_bytes - smaller(s->warm_bytes, s->committed_bytes);
    return held > s->used.bytes ? 1 - (double)s->used.bytes / (double)held : 0;
}

bool segment_is_full(const struct view *v)
{
    return get(v->header.charged) * OS_PAGE >= v->header.limit / 100 * 95;
}
