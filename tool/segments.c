/* Finding segments, and what their members are doing. */
#include "tool/tool.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

bool segment_find(const char *name, char *path, size_t size)
{
    if (strncmp(name, "file:", 5) != 0 && strchr(name, '/'))
        return (size_t)snprintf(path, size, "%s", name) < size;
    return segment_path(name, geteuid(), path, size);
}

bool segment_look(const char *name, struct view *v, char *path, size_t size, bool sound)
{
    const char *why = "it is no valid name";
    if (!segment_find(name, path, size) || !view_open_file(v, path, &why)) {
        fail(0, "segment %s: %s", name, why);
        return false;
    }
    if (!sound || !v->wrong)
        return true;
    fail(0, "segment %s: %s", name, v->wrong);
    view_close(v);
    return false;
}

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

/* ---- members -------------------------------------------------------------------------- */

enum life member_life(const struct view *v, uint64_t slot)
{
    enum member_state state = state_of(get(v->members[slot].state));
    if (state == MEMBER_FREE)
        return LIFE_ENDED;
    if (!view_member_alive(v, slot))
        return LIFE_DEAD;
    return state == MEMBER_LEAVING ? LIFE_LEAVING : LIFE_ALIVE;
}

const char *life_name(enum life life)
{
    static const char *const names[] = { "alive", "leaving", "dead", "ended" };
    return names[life];
}

/* The process of that pid maps the segment's file at the segment's address.  Its own word for it
 * would cost each start a look into /proc. */
bool pid_is_seen(const struct view *v, uint64_t slot)
{
    char path[64], line[600], at[40], file[40];
    snprintf(path, sizeof path, "/proc/%lu/maps", (unsigned long)get(v->members[slot].pid));
    snprintf(at, sizeof at, "%lx-", (unsigned long)v->header.base);
    snprintf(file, sizeof file, " %lu ", (unsigned long)v->file.inode);
    FILE *maps = fopen(path, "re");
    if (!maps)
        return errno == EACCES || errno == EPERM; /* somebody is there */
    bool seen = false;
    while (!seen && fgets(line, sizeof line, maps))
        seen = strncmp(line, at, strlen(at)) == 0 && strstr(line, file);
    fclose(maps);
    return seen;
}

const char *life_seen(const struct view *v, uint64_t slot)
{
    enum life life = member_life(v, slot);
    const struct seg_member *m = &v->members[slot];
    char path[64], line[512] = "";
    if (life != LIFE_ALIVE || !pid_is_seen(v, slot))
        return life_name(life);
    snprintf(path, sizeof path, "/proc/%lu/stat", (unsigned long)get(m->pid));
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return life_name(life);
    ssize_t n = read(fd, line, sizeof line - 1);
    close(fd);
    const char *state = n > 0 ? strrchr(line, ')') : NULL;
    return state && (state[2] == 'T' || state[2] == 't') ? "stopped" : life_name(life);
}
