/* cgroup.h - how much memory the control groups of this process still allow.
 *
 * A memory cgroup that reaches its limit has members killed, where a full file
 * system says no.  So the ledger asks here before it promises memory.  It is
 * the best of knowledge: others in the group allocate at the same time.
 *
 * Understands versions 1 and 2, mounted anywhere, seen from inside or outside
 * of a container.  No state, no allocation.
 */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Where the group of this process is in the file system. */
struct cgroup {
    bool found;
    bool v2;
    char dir[512];    /* of the group */
    size_t mount_len; /* the hierarchy ends there: dir[0, mount_len) */
};

/* 'root' is put before every path that is read: "" but for tests. */
void cgroup_find(const char *root, struct cgroup *group);
/* Bytes that may still be taken, counting what the kernel would reclaim for
 * them; UINT64_MAX: no limit, or none that can be read. */
uint64_t cgroup_headroom(const struct cgroup *group, uint64_t free_swap);

/* The parts, for tests: the group's path in the text of /proc/PID/cgroup, of
 * version 2 or of version 1's memory controller; and from a line of
 * /proc/PID/mountinfo the root and mount point, if it mounts that hierarchy. */
bool cgroup_path(const char *text, bool v2, char *path, size_t size);
bool cgroup_mount(const char *line, bool v2, char *root, char *point, size_t size);
