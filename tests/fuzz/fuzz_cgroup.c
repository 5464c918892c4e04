/* Any text in /proc/PID/cgroup and in a line of /proc/PID/mountinfo. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "allocators/cgroup.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char *text = malloc(size + 1), path[64], root[64], point[64];
    memcpy(text, data, size);
    text[size] = '\0';
    for (int v2 = 0; v2 < 2; v2++) {
        if (cgroup_path(text, v2, path, sizeof path) &&
            (path[0] != '/' || strlen(path) >= sizeof path))
            abort();
        if (cgroup_mount(text, v2, root, point, sizeof root) &&
            (root[0] != '/' || point[0] != '/' || strlen(root) + strlen(point) > 126))
            abort();
    }
    free(text);
    return 0;
}
