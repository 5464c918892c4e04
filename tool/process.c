/* process.c - what /proc says about the members of a segment. */
#include "tool/tool.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum life member_life(const struct view *v, uint64_t slot)
{
    enum member_state state = state_of(get(v->members[slot].state));
    if (state == MEMBER_FREE)
        return LIFE_ENDED;
    if (!view_member_alive(v, slot))
        return state == MEMBER_CHILD ? LIFE_ENDED : LIFE_DEAD; /* it never used the heap */
    return state == MEMBER_LEAVING ? LIFE_LEAVING : LIFE_ALIVE;
}

const char *life_name(enum life life)
{
    static const char *const names[] = { "alive", "leaving", "dead", "ended" };
    return names[life];
}

const char *member_state_name(const struct view *v, uint64_t slot, const struct process *p)
{
    enum life life = member_life(v, slot);
    return life == LIFE_ALIVE && p->stopped ? "stopped" : life_name(life);
}

/* ---- one process ------------------------------------------------------------------------ */

static size_t proc_read(long pid, const char *name, char *to, size_t size)
{
    char path[64];
    snprintf(path, sizeof path, "/proc/%ld/%s", pid, name);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t n = fd < 0 ? 0 : read(fd, to, size - 1);
    if (fd >= 0)
        close(fd);
    n = n < 0 ? 0 : n;
    to[n] = '\0';
    return (size_t)n;
}

/* It maps the segment's file at the segment's address.  Its own word for it would cost each
 * start a look into /proc. */
static bool maps_segment(const struct view *v, long pid)
{
    char path[64], line[600], at[40], file[40];
    snprintf(path, sizeof path, "/proc/%ld/maps", pid);
    snprintf(at, sizeof at, "%lx-", (unsigned long)v->header.base);
    snprintf(file, sizeof file, " %lu ", (unsigned long)v->file.inode);
    FILE *maps = fopen(path, "re");
    bool seen = false;
    while (maps && !seen && fgets(line, sizeof line, maps))
        seen = strncmp(line, at, strlen(at)) == 0 && strstr(line, file);
    if (maps)
        fclose(maps);
    return seen;
}

/* Its pid in its own, innermost pid namespace. */
static uint64_t innermost_pid(long pid)
{
    char text[4096];
    proc_read(pid, "status", text, sizeof text);
    const char *line = strstr(text, "\nNSpid:");
    if (!line)
        return (uint64_t)pid; /* a kernel that has not got that line */
    char *end;
    uint64_t last = 0;
    for (const char *at = line + 7; *at != '\n' && *at; at = end) {
        uint64_t n = strtoull(at, &end, 10);
        if (end == at)
            break;
        last = n;
    }
    return last;
}

/* ---- which process is a member ------------------------------------------------------------ */

static bool is_member(const struct view *v, uint64_t slot, long pid)
{
    return innermost_pid(pid) == get(v->members[slot].pid) && maps_segment(v, pid);
}

/* In another pid namespace it has another number here. */
static long search(const struct view *v, uint64_t slot)
{
    DIR *proc = opendir("/proc");
    long found = 0;
    for (struct dirent *e; proc && !found && (e = readdir(proc));) {
        long pid = isdigit((unsigned char)*e->d_name) ? strtol(e->d_name, NULL, 10) : 0;
        if (pid && is_member(v, slot, pid))
            found = pid;
    }
    if (proc)
        closedir(proc);
    return found;
}

static void command_read(struct process *p)
{
    size_t n = proc_read(p->pid, "cmdline", p->command, sizeof p->command);
    while (n && !p->command[n - 1])
        n--;
    for (size_t i = 0; i < n; i++) {
        unsigned char c = (unsigned char)p->command[i];
        p->command[i] = (char)(c < ' ' || c == 0x7f ? ' ' : c);
    }
    p->command[n] = '\0';
}

void member_process(const struct view *v, uint64_t slot, struct process *p)
{
    const struct seg_member *m = &v->members[slot];
    char stat[512];
    memset(p, 0, sizeof *p);
    if (!v->dumped && member_life(v, slot) <= LIFE_LEAVING) {
        long pid = (long)smaller(get(m->pid), INT32_MAX);
        p->pid = is_member(v, slot, pid) ? pid : search(v, slot);
    }
    if (p->pid) {
        proc_read(p->pid, "stat", stat, sizeof stat);
        const char *state = strrchr(stat, ')');
        p->stopped = state && (state[2] == 'T' || state[2] == 't');
        command_read(p);
    }
    if (!p->command[0])
        snprintf(p->command, sizeof p->command, "%s", text_plain(m->name, sizeof m->name).at);
}
