#include "allocators/cgroup.h"
#include "allocators/os.h"

#include <fcntl.h>
#include <string.h>
#include <sys/types.h>

#define NONE UINT64_MAX

/* ---- text ------------------------------------------------------------------------------ */

static bool append(char *to, size_t *at, size_t size, const char *text, size_t n)
{
    if (n >= size - *at)
        return false;
    memcpy(to + *at, text, n);
    *at += n;
    to[*at] = '\0';
    return true;
}

static bool is_octal(char c)
{
    return c >= '0' && c <= '7';
}

/* Copies a field of mountinfo, which ends at a space and has \040 for one. */
static const char *take_field(const char *at, char *to, size_t size)
{
    size_t n = 0;
    for (; *at && *at != ' ' && *at != '\n'; at++) {
        char c = *at;
        if (c == '\\' && is_octal(at[1]) && is_octal(at[2]) && is_octal(at[3])) {
            c = (char)((at[1] - '0') << 6 | (at[2] - '0') << 3 | (at[3] - '0'));
            at += 3;
        }
        if (to && n + 1 < size)
            to[n] = c;
        n++;
    }
    if (to)
        to[n < size ? n : 0] = '\0'; /* too long: none */
    return *at == ' ' ? at + 1 : at;
}

static bool word_in_list(const char *list, size_t n, const char *word)
{
    size_t length = strlen(word);
    for (size_t from = 0, to = 0; to <= n; to++)
        if (to == n || list[to] == ',') {
            if (to - from == length && memcmp(list + from, word, length) == 0)
                return true;
            from = to + 1;
        }
    return false;
}

bool cgroup_path(const char *text, bool v2, char *path, size_t size)
{
    for (const char *line = text; *line;) {
        const char *end = strchr(line, '\n');
        size_t n = end ? (size_t)(end - line) : strlen(line);
        const char *first = memchr(line, ':', n);
        const char *second = first ? memchr(first + 1, ':', n - (size_t)(first + 1 - line)) : NULL;
        if (second) {
            const char *controllers = first + 1, *at = second + 1;
            size_t length = n - (size_t)(at - line), listed = (size_t)(second - controllers);
            bool is_it = v2 ? listed == 0 && line[0] == '0' && first == line + 1
                            : word_in_list(controllers, listed, "memory");
            if (is_it && length && length < size && *at == '/') {
                memcpy(path, at, length);
                path[length] = '\0';
                return true;
            }
        }
        line += n + (end != NULL);
    }
    return false;
}

bool cgroup_mount(const char *line, bool v2, char *root, char *point, size_t size)
{
    char type[16], options[256];
    const char *at = line;
    for (unsigned field = 1; field <= 3; field++)
        at = take_field(at, NULL, 0);
    at = take_field(at, root, size);
    at = take_field(at, point, size);
    const char *dash = strstr(at, " - ");
    if (!dash || root[0] != '/' || point[0] != '/')
        return false;
    at = take_field(dash + 3, type, sizeof type);
    at = take_field(at, NULL, 0);
    take_field(at, options, sizeof options);
    return v2 ? strcmp(type, "cgroup2") == 0
              : strcmp(type, "cgroup") == 0 && word_in_list(options, strlen(options), "memory");
}

/* ---- files ------------------------------------------------------------------------------ */

/* The text of a small file; false if it cannot be read. */
static bool read_text(const char *path, char *text, size_t size)
{
    long fd = os_open(path, O_RDONLY, 0);
    if (fd < 0)
        return false;
    size_t n = 0;
    for (long got; n < size - 1 && (got = os_read(fd, text + n, size - 1 - n)) > 0;)
        n += (size_t)got;
    text[n] = '\0';
    os_close(fd);
    return true;
}

static uint64_t parse(const char *at)
{
    uint64_t n = 0;
    if (*at < '0' || *at > '9')
        return NONE; /* "max" */
    for (; *at >= '0' && *at <= '9'; at++)
        if (__builtin_mul_overflow(n, 10, &n) ||
            __builtin_add_overflow(n, (uint64_t)(*at - '0'), &n))
            return NONE;
    return n;
}

static uint64_t read_number(const char *dir, size_t length, const char *file)
{
    char path[640], text[32];
    size_t at = 0;
    if (!append(path, &at, sizeof path, dir, length) || !append(path, &at, sizeof path, "/", 1) ||
        !append(path, &at, sizeof path, file, strlen(file)) || !read_text(path, text, sizeof text))
        return NONE;
    return parse(text);
}

static uint64_t stat_value(const char *text, const char *key)
{
    size_t n = strlen(key);
    for (const char *line = text; *line;) {
        if (strncmp(line, key, n) == 0 && line[n] == ' ') {
            uint64_t value = parse(line + n + 1);
            return value == NONE ? 0 : value;
        }
        const char *end = strchr(line, '\n');
        if (!end)
            break;
        line = end + 1;
    }
    return 0;
}

/* The page cache of files goes before anybody is killed; shared memory is not in these. */
static uint64_t reclaimable(const struct cgroup *group, size_t length)
{
    char path[640], text[8192];
    size_t at = 0;
    if (!append(path, &at, sizeof path, group->dir, length) ||
        !append(path, &at, sizeof path, "/memory.stat", 12) || !read_text(path, text, sizeof text))
        return 0;
    return group->v2
               ? stat_value(text, "inactive_file") + stat_value(text, "active_file") +
                     stat_value(text, "slab_reclaimable")
               : stat_value(text, "total_inactive_file") + stat_value(text, "total_active_file");
}

/* ---- the group ----------------------------------------------------------------------------- */

/* The line of mountinfo of this hierarchy.  The file may be long: it is read in pieces. */
static bool find_mount(const char *path, bool v2, char *root, char *point, size_t size)
{
    char text[4096];
    size_t have = 0;
    bool found = false;
    long got, fd = os_open(path, O_RDONLY, 0);
    if (fd < 0)
        return false;
    while (!found && (got = os_read(fd, text + have, sizeof text - 1 - have)) > 0) {
        have += (size_t)got;
        text[have] = '\0';
        char *line = text, *end;
        while (!found && (end = strchr(line, '\n'))) {
            *end = '\0';
            found = cgroup_mount(line, v2, root, point, size);
            line = end + 1;
        }
        have -= (size_t)(line - text);
        if (have == sizeof text - 1) /* a line longer than all that */
            have = 0;
        memmove(text, line, have);
    }
    os_close(fd);
    return found;
}

/* What of 'path' lies below the root of the mount. */
static const char *below(const char *path, const char *root)
{
    size_t n = strlen(root);
    if (n == 1)
        return path;
    if (strncmp(path, root, n) == 0 && (path[n] == '/' || path[n] == '\0'))
        return path + n;
    return ""; /* the mount shows another part of the tree: its top is the best that there is */
}

static bool find_version(const char *prefix, bool v2, struct cgroup *group)
{
    char file[300], text[4096], path[256], root[256], point[256];
    size_t at = 0;
    if (!append(file, &at, sizeof file, prefix, strlen(prefix)) ||
        !append(file, &at, sizeof file, "/proc/self/cgroup", 17) ||
        !read_text(file, text, sizeof text) || !cgroup_path(text, v2, path, sizeof path))
        return false;
    at = 0;
    if (!append(file, &at, sizeof file, prefix, strlen(prefix)) ||
        !append(file, &at, sizeof file, "/proc/self/mountinfo", 20) ||
        !find_mount(file, v2, root, point, sizeof root))
        return false;
    const char *rest = below(path, root);
    if (strstr(rest, "/..")) /* seen from another cgroup namespace */
        rest = "";
    at = 0;
    group->v2 = v2;
    if (!append(group->dir, &at, sizeof group->dir, prefix, strlen(prefix)) ||
        !append(group->dir, &at, sizeof group->dir, point, strlen(point)))
        return false;
    group->mount_len = at;
    return append(group->dir, &at, sizeof group->dir, rest, strlen(rest)) &&
           (!v2 || read_number(group->dir, strlen(group->dir), "memory.current") != NONE);
}

void cgroup_find(const char *root, struct cgroup *group)
{
    group->found = find_version(root, true, group) || find_version(root, false, group);
}

/* What one level of the tree allows. */
static uint64_t level(const struct cgroup *group, size_t length, uint64_t free_swap)
{
    const char *dir = group->dir;
    uint64_t most = read_number(dir, length, group->v2 ? "memory.max" : "memory.limit_in_bytes");
    if (most == NONE || most >= UINT64_C(1) << 60)
        return NONE;
    uint64_t used =
        read_number(dir, length, group->v2 ? "memory.current" : "memory.usage_in_bytes");
    if (used == NONE)
        return NONE;
    uint64_t swap =
        read_number(dir, length, group->v2 ? "memory.swap.max" : "memory.memsw.limit_in_bytes");
    uint64_t swapped =
        read_number(dir, length, group->v2 ? "memory.swap.current" : "memory.memsw.usage_in_bytes");
    uint64_t more = swap == NONE || swapped == NONE ? free_swap
                    : swap > swapped                ? swap - swapped
                                                    : 0;
    more = more < free_swap ? more : free_swap;
    more += reclaimable(group, length);
    most += most + more < most ? 0 : more;
    return most > used ? most - used : 0;
}

uint64_t cgroup_headroom(const struct cgroup *group, uint64_t free_swap)
{
    uint64_t least = NONE;
    if (!group->found)
        return NONE;
    for (size_t length = strlen(group->dir); length >= group->mount_len;) {
        uint64_t here = level(group, length, free_swap);
        least = here < least ? here : least;
        if (length == group->mount_len)
            break;
        while (length > group->mount_len && group->dir[length - 1] != '/')
            length--;
        length -= length > group->mount_len;
    }
    return least;
}
