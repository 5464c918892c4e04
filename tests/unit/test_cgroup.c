/* What the kernel's files say of a memory cgroup, from trees of such files. */
#include "allocators/cgroup.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define MIB (UINT64_C(1) << 20)

static char root[200];

static void make_root(void)
{
    snprintf(root, sizeof root, "%s/cgroup-XXXXXX", getenv("TMPDIR") ? getenv("TMPDIR") : "/tmp");
    cr_assert(mkdtemp(root));
}

static void remove_root(void)
{
    char line[300];
    snprintf(line, sizeof line, "rm -rf '%s'", root);
    cr_assert_eq(system(line), 0);
}

TestSuite(cgroup, .init = make_root, .fini = remove_root);

/* A file below the root, with the folders on the way. */
static void file(const char *path, const char *text)
{
    char full[500];
    snprintf(full, sizeof full, "%s%s", root, path);
    for (char *at = full + strlen(root) + 1; (at = strchr(at, '/')); at++) {
        *at = '\0';
        mkdir(full, 0700);
        *at = '/';
    }
    FILE *f = fopen(full, "w");
    cr_assert(f);
    fputs(text, f);
    fclose(f);
}

static uint64_t headroom(uint64_t free_swap)
{
    struct cgroup group;
    cgroup_find(root, &group);
    return cgroup_headroom(&group, free_swap);
}

#define MOUNTINFO_V2                                                                               \
    "22 1 0:21 / / rw,relatime - ext4 /dev/vda1 rw\n"                                              \
    "30 22 0:26 / /sys/fs/cgroup rw,nosuid,nodev shared:4 - cgroup2 cgroup2 rw,nsdelegate\n"

static void service_of_v2(void)
{
    file("/proc/self/cgroup", "0::/system.slice/work.service\n");
    file("/proc/self/mountinfo", MOUNTINFO_V2);
    file("/sys/fs/cgroup/system.slice/work.service/memory.max", "104857600\n");
    file("/sys/fs/cgroup/system.slice/work.service/memory.current", "62914560\n");
    file("/sys/fs/cgroup/system.slice/memory.max", "max\n");
    file("/sys/fs/cgroup/system.slice/memory.current", "999999999\n");
}

Test(cgroup, limit_less_usage_is_the_headroom)
{
    service_of_v2();
    cr_assert_eq(headroom(0), 40 * MIB);
}

Test(cgroup, the_least_of_all_levels_counts)
{
    service_of_v2();
    file("/sys/fs/cgroup/system.slice/memory.max", "209715200\n");
    file("/sys/fs/cgroup/system.slice/memory.current", "204472320\n");
    cr_assert_eq(headroom(0), 5 * MIB);
}

Test(cgroup, usage_above_the_limit_is_no_headroom)
{
    service_of_v2();
    file("/sys/fs/cgroup/system.slice/work.service/memory.current", "104857601\n");
    cr_assert_eq(headroom(0), 0);
}

Test(cgroup, without_a_limit_all_is_allowed)
{
    service_of_v2();
    file("/sys/fs/cgroup/system.slice/work.service/memory.max", "max\n");
    cr_assert_eq(headroom(0), UINT64_MAX);
}

Test(cgroup, caches_of_files_make_room_shared_memory_does_not)
{
    service_of_v2();
    file("/sys/fs/cgroup/system.slice/work.service/memory.stat",
         "anon 1\nfile 50000000\nshmem 40000000\ninactive_anon 7\ninactive_file 2097152\n"
         "active_file 1048576\nslab_reclaimable 1048576\nslab 5\n");
    cr_assert_eq(headroom(0), 44 * MIB);
}

Test(cgroup, swap_makes_room_as_far_as_it_is_free_and_allowed)
{
    service_of_v2();
    cr_assert_eq(headroom(8 * MIB), 48 * MIB, "no limit of its own: all free swap");
    file("/sys/fs/cgroup/system.slice/work.service/memory.swap.max", "4194304\n");
    file("/sys/fs/cgroup/system.slice/work.service/memory.swap.current", "1048576\n");
    cr_assert_eq(headroom(8 * MIB), 43 * MIB);
    cr_assert_eq(headroom(1 * MIB), 41 * MIB);
    file("/sys/fs/cgroup/system.slice/work.service/memory.swap.max", "0\n");
    cr_assert_eq(headroom(8 * MIB), 40 * MIB);
}

Test(cgroup, version_1_in_a_container_that_sees_only_its_own_part)
{
    file("/proc/self/cgroup", "12:cpu,cpuacct:/docker/abc\n5:memory:/docker/abc\n0::/\n");
    file("/proc/self/mountinfo",
         "40 30 0:33 /docker/abc /sys/fs/cgroup/cpu ro - cgroup cgroup rw,cpu,cpuacct\n"
         "41 30 0:34 /docker/abc /sys/fs/cgroup/memory ro - cgroup cgroup rw,memory\n");
    file("/sys/fs/cgroup/memory/memory.limit_in_bytes", "67108864\n");
    file("/sys/fs/cgroup/memory/memory.usage_in_bytes", "33554432\n");
    file("/sys/fs/cgroup/memory/memory.stat", "inactive_file 9\ntotal_inactive_file 1048576\n");
    cr_assert_eq(headroom(0), 33 * MIB);
    file("/sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712\n");
    cr_assert_eq(headroom(0), UINT64_MAX);
}

Test(cgroup, version_1_beside_a_version_2_without_memory)
{
    file("/proc/self/cgroup", "4:memory:/a/b\n0::/\n");
    file("/proc/self/mountinfo", "41 30 0:34 / /cg\\040roup/memory rw - cgroup cgroup rw,memory\n"
                                 "42 30 0:35 / /cg\\040roup/unified rw - cgroup2 cgroup2 rw\n");
    file("/cg roup/unified/cgroup.procs", "");
    file("/cg roup/memory/a/b/memory.limit_in_bytes", "3145728\n");
    file("/cg roup/memory/a/b/memory.usage_in_bytes", "1048576\n");
    cr_assert_eq(headroom(0), 2 * MIB);
}

Test(cgroup, a_group_outside_of_what_is_mounted_means_the_top_of_the_mount)
{
    file("/proc/self/cgroup", "0::/../other\n");
    file("/proc/self/mountinfo", MOUNTINFO_V2);
    file("/sys/fs/cgroup/memory.max", "2097152\n");
    file("/sys/fs/cgroup/memory.current", "1048576\n");
    cr_assert_eq(headroom(0), 1 * MIB);
}

Test(cgroup, no_files_and_strange_files_mean_no_limit)
{
    cr_assert_eq(headroom(0), UINT64_MAX);
    file("/proc/self/cgroup", "");
    file("/proc/self/mountinfo", "");
    cr_assert_eq(headroom(0), UINT64_MAX);
    file("/proc/self/cgroup", "0:\n:::\n0::\n0::relative\nnonsense");
    file("/proc/self/mountinfo",
         "1\n1 2 3\n - cgroup2\n1 2 3 / \n1 2 3 / /x - \n1 2 3 / /x - cgroup2");
    cr_assert_eq(headroom(0), UINT64_MAX);
    service_of_v2();
    file("/sys/fs/cgroup/system.slice/work.service/memory.max", "99999999999999999999999\n");
    cr_assert_eq(headroom(0), UINT64_MAX);
    file("/sys/fs/cgroup/system.slice/work.service/memory.max", "-5\n");
    cr_assert_eq(headroom(0), UINT64_MAX);
}

Test(cgroup, a_mountinfo_longer_than_any_buffer_is_read)
{
    static char text[40000];
    service_of_v2();
    size_t at = 0;
    while (at < 30000)
        at += (size_t)snprintf(text + at, sizeof text - at,
                               "%zu 1 0:21 / /mnt/%0*d rw - ext4 /dev/vda1 rw\n", at, 90, 7);
    snprintf(text + at, sizeof text - at, "%s", MOUNTINFO_V2);
    file("/proc/self/mountinfo", text);
    cr_assert_eq(headroom(0), 40 * MIB);
}
