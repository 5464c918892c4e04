/* Memory that is full is ENOMEM, never a signal, and is usable again at once. */
#include "tests/process/puppet.h"

#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/statvfs.h>

static uint64_t is_in_segment(uint64_t at)
{
    return at >= UINT64_C(0x480000000000) && at < UINT64_C(0x550000000000);
}

/* Fill to ENOMEM with blocks of 'size', free, and fill again: as much as before. */
static void fill_and_free(const char *name, const char *settings, unsigned size, long rounds)
{
    struct puppet a = puppet_start(name, settings);
    uint64_t most = 0;
    for (long i = 0; i < rounds; i++) {
        uint64_t n = ask(&a, "n 1000000 %u", size);
        cr_assert_neq(n, REFUSED, "it ended: %s", puppet_said(&a));
        cr_assert_gt(n, 0);
        cr_assert_geq(n + n / 20 + 1, most, "round %ld: %lu blocks of %u, once %lu", i,
                      (unsigned long)n, size, (unsigned long)most);
        most = n > most ? n : most;
        cr_assert_eq(ask(&a, "s"), 1);
        cr_assert_eq(ask(&a, "d"), 1);
    }
    cr_assert_eq(puppet_quit(&a), 0, "%s", puppet_said(&a));
}

Test(full, what_is_freed_is_there_again)
{
    const unsigned sizes[] = { 16, 1000, 30000, 100000, 1000000, 5000000 };
    for (unsigned i = 0; i < sizeof sizes / sizeof *sizes; i++)
        fill_and_free("again", "HSHM_SIZE=24M", sizes[i], 3 * scale());
}

/* A thread that comes when there is no room even for its record gets nothing
 * from elsewhere: its blocks could not be handed over. */
Test(full, a_new_thread_gets_no_private_memory)
{
    struct puppet a = puppet_start("thread", "HSHM_SIZE=8M");
    cr_assert_gt(ask(&a, "n 1000000 16"), 1000);
    for (int i = 0; i < 60; i++) {
        uint64_t at = ask(&a, "T 200000");
        cr_assert(at == 0 || is_in_segment(at), "%#lx", (unsigned long)at);
    }
    cr_assert_eq(ask(&a, "d"), 1);
    cr_assert(is_in_segment(ask(&a, "T 200000")));
    puppet_quit(&a);
}

/* ---- file systems of our own ------------------------------------------------------------- */

struct mounted {
    char dir[300], segment[400];
};

static bool mount_tmpfs(struct mounted *m, const char *what, const char *options)
{
    snprintf(m->dir, sizeof m->dir, "%s/%s-%d", setting("TMPDIR", "/tmp"), what, (int)getpid());
    mkdir(m->dir, 0700);
    snprintf(m->segment, sizeof m->segment, "file:%s/seg", m->dir);
    return mount("tmpfs", m->dir, "tmpfs", 0, options) == 0;
}

static void unmount(struct mounted *m)
{
    cr_expect_eq(umount(m->dir), 0);
    rmdir(m->dir);
}

/* Takes what is left of a file system, but for 'spare' bytes; others may take some meanwhile. */
static char filler[400];
static void fill(const struct mounted *m, uint64_t spare)
{
    struct statvfs fs;
    snprintf(filler, sizeof filler, "%s/filler", m->dir);
    int fd = open(filler, O_WRONLY | O_CREAT, 0600), rc = -1;
    cr_assert_geq(fd, 0);
    for (int tries = 0; rc != 0 && tries < 100; tries++) {
        cr_assert_eq(fstatvfs(fd, &fs), 0);
        uint64_t left = fs.f_bavail * fs.f_bsize;
        rc = left > spare ? fallocate(fd, 0, 0, (off_t)(left - spare)) : 0;
    }
    close(fd);
}

static void empty(void)
{
    unlink(filler);
}

static const unsigned some_sizes[] = { 16, 1000, 30000, 100000, 300000, 1000000, 5000000 };

Test(full, a_full_tmpfs_is_ENOMEM)
{
    struct mounted m;
    if (!mount_tmpfs(&m, "small", "size=8m"))
        cr_skip_test("may not mount");
    for (unsigned i = 0; i < sizeof some_sizes / sizeof *some_sizes; i++)
        fill_and_free(m.segment, "HSHM_SIZE=64M", some_sizes[i], 3);
    unmount(&m);
}

Test(full, a_full_disk_is_ENOMEM)
{
    char line[2000], image[300];
    struct mounted m;
    snprintf(image, sizeof image, "%s/image-%d", setting("TMPDIR", "/tmp"), (int)getpid());
    snprintf(m.dir, sizeof m.dir, "%s/disk-%d", setting("TMPDIR", "/tmp"), (int)getpid());
    snprintf(m.segment, sizeof m.segment, "file:%s/seg", m.dir);
    mkdir(m.dir, 0700);
    snprintf(line, sizeof line,
             "PATH=$PATH:/sbin:/usr/sbin; truncate -s 24M %s && mkfs.ext2 -q -F %s && "
             "mount -o loop %s %s 2> /dev/null",
             image, image, image, m.dir);
    if (system(line) != 0) {
        unlink(image);
        cr_skip_test("may not mount a disk image");
    }
    for (unsigned i = 0; i < sizeof some_sizes / sizeof *some_sizes; i += 2)
        fill_and_free(m.segment, "HSHM_SIZE=64M", some_sizes[i], 3);
    unmount(&m);
    unlink(image);
}

/* Others take the memory after the segment has looked how much there is. */
Test(full, a_tmpfs_that_another_program_fills_is_ENOMEM)
{
    struct mounted m;
    if (!mount_tmpfs(&m, "docker", "size=64m"))
        cr_skip_test("may not mount");
    struct puppet a = puppet_start(m.segment, "HSHM_SIZE=50%");
    for (unsigned i = 0; i < sizeof some_sizes / sizeof *some_sizes; i++) {
        cr_assert_gt(ask(&a, "n 3 %u", some_sizes[i]), 2, "%s", puppet_said(&a));
        uint64_t kept = ask(&a, "m %u", some_sizes[i]);
        cr_assert_neq(kept, 0, "%u: %s", some_sizes[i], puppet_said(&a));
        fill(&m, i % 2 ? 0 : 100000);
        cr_assert_eq(ask(&a, "w %#lx %u 1", (unsigned long)kept, some_sizes[i]), 1, "%s",
                     puppet_said(&a));
        uint64_t n = ask(&a, "n 1000000 %u", some_sizes[i]);
        cr_assert_neq(n, REFUSED, "it ended: %s", puppet_said(&a));
        cr_assert_eq(ask(&a, "s"), 1);
        cr_assert_eq(ask(&a, "d"), 1);
        empty();
        n = ask(&a, "n 1000000 %u", some_sizes[i]);
        cr_assert(n != REFUSED && n * some_sizes[i] > 12000000,
                  "what another gives back is usable at once: %lu of %u", (unsigned long)n,
                  some_sizes[i]);
        cr_assert_eq(ask(&a, "d"), 1);
        cr_assert_eq(ask(&a, "f %#lx", (unsigned long)kept), 1);
    }
    cr_assert_eq(puppet_quit(&a), 0, "%s", puppet_said(&a));
    unmount(&m);
}

Test(full, a_tmpfs_that_is_full_at_the_start_means_a_private_heap)
{
    struct mounted m;
    if (!mount_tmpfs(&m, "none", "size=1m"))
        cr_skip_test("may not mount");
    fill(&m, 0);
    struct puppet a = puppet_start(m.segment, "");
    cr_assert_eq(ask(&a, "n 1000 1000"), 1000, "%s", puppet_said(&a));
    const char *said = puppet_said(&a);
    cr_assert_not_null(strstr(said, "goes on with a private heap"), "%s", said);
    cr_assert_eq(strchr(said, '\n') + 1 - said, (long)strlen(said), "one line: %s", said);
    cr_assert_eq(puppet_quit(&a), 0);
    unmount(&m);
}

/* What one alone finds, in bytes. */
static uint64_t alone(const char *segment, const char *settings, unsigned size)
{
    struct puppet a = puppet_start(segment, settings);
    uint64_t n = ask(&a, "n 1000000 %u", size);
    cr_assert(n != REFUSED && n > 0, "%s", puppet_said(&a));
    cr_assert_eq(puppet_quit(&a), 0);
    return n * size;
}

/* One fills it and gives all back, and does nothing any more; then another does. */
static void fill_in_turn(const char *segment, const char *settings)
{
    for (unsigned i = 2; i < 2 * (sizeof some_sizes / sizeof *some_sizes);
         i++) { /* 16: not enough of them */
        unsigned size = some_sizes[i / 2], other = some_sizes[i % 2 ? 1 : 4];
        uint64_t there = alone(segment, settings, other);
        struct puppet a = puppet_start(segment, settings), b = puppet_start(segment, settings);
        cr_assert_eq(ask(&b, "n 5 1000") + ask(&a, "n 5 2000"), 10);
        cr_assert_gt(ask(&a, "n 1000000 %u", size), 0);
        cr_assert_eq(ask(&a, "d"), 1, "%s", puppet_said(&a));
        uint64_t n = ask(&b, "n 1000000 %u", other);
        cr_expect(n != REFUSED && n * other > there / 10 * 9,
                  "%s: after blocks of %u, %lu bytes in blocks of %u, of %lu", settings, size,
                  (unsigned long)n * other, other, (unsigned long)there);
        cr_assert_eq(ask(&b, "d"), 1);
        cr_assert_eq(puppet_quit(&a) + puppet_quit(&b), 0);
    }
}

Test(full, what_an_idle_member_has_freed_is_there_for_others_at_once)
{
    struct mounted m;
    fill_in_turn("turn", "HSHM_SIZE=32M");
    if (!mount_tmpfs(&m, "turn", "size=48m"))
        cr_skip_test("may not mount");
    fill_in_turn(m.segment, "HSHM_SIZE=256M");
    unmount(&m);
}

/* ---- races ------------------------------------------------------------------------------------ */

static long rounds(void)
{
    return scale() >= 100 ? 1000 : 4;
}

/* All four fill at the same time, others maybe, too; then all give it back. */
static uint64_t one_race(struct puppet p[4], unsigned size, const struct mounted *m, uint64_t spare)
{
    char line[64];
    uint64_t bytes = 0;
    snprintf(line, sizeof line, "n 1000000 %u", size);
    for (int i = 0; i < 4; i++)
        tell(&p[i], line);
    if (m)
        fill(m, spare);
    for (int i = 0; i < 4; i++) {
        uint64_t n = answer(&p[i], 60000);
        cr_assert_neq(n, REFUSED, "blocks of %u: %s", size, puppet_said(&p[i]));
        bytes += n * size;
    }
    for (int i = 0; i < 4; i++)
        cr_assert_eq(ask(&p[i], "s"), 1);
    for (int i = 0; i < 4; i++)
        cr_assert_eq(ask(&p[i], "d"), 1);
    if (m)
        empty();
    return bytes;
}

/* Four fill to ENOMEM and free, at the same time; 'least' bytes all must find, each round, and
 * 'one' of them alone when the others have freed what they had. */
static void four_race(const char *segment, const char *settings, uint64_t least, uint64_t one,
                      const struct mounted *m)
{
    struct puppet p[4];
    for (int i = 0; i < 4; i++)
        p[i] = puppet_start(segment, settings);
    for (long round = 0; round < rounds(); round++) {
        unsigned size = some_sizes[(round * 3 + 1) % 6];
        uint64_t bytes = one_race(p, size, m, (uint64_t)(round % 5) << 20);
        cr_assert(m || bytes >= least, "round %ld: only %lu bytes in blocks of %u", round,
                  (unsigned long)bytes, size);
    }
    uint64_t n = ask(&p[0], "n 1000000 1000");
    cr_assert(n != REFUSED && n * 1000 > one, "%lu: %s", (unsigned long)n, puppet_said(&p[0]));
    for (int i = 0; i < 4; i++)
        cr_assert_eq(puppet_quit(&p[i]), 0, "%s", puppet_said(&p[i]));
}

Test(full, four_that_race_for_HSHM_SIZE_get_ENOMEM_and_all_comes_back)
{
    four_race("four", "HSHM_SIZE=32M", 12 << 20, 26 << 20, NULL);
}

Test(full, four_that_race_for_HSHM_MEMBER_SIZE_get_ENOMEM_and_all_comes_back)
{
    four_race("four", "HSHM_SIZE=64M HSHM_MEMBER_SIZE=8M", 12 << 20, 6 << 20, NULL);
}

Test(full, four_that_race_for_a_tmpfs_get_ENOMEM_and_all_comes_back)
{
    struct mounted m;
    if (!mount_tmpfs(&m, "race", "size=32m"))
        cr_skip_test("may not mount");
    four_race(m.segment, "HSHM_SIZE=256M", 12 << 20, 24 << 20, NULL);
    unmount(&m);
}

Test(full, four_that_race_for_a_tmpfs_that_others_fill_get_ENOMEM)
{
    struct mounted m;
    if (!mount_tmpfs(&m, "race", "size=32m"))
        cr_skip_test("may not mount");
    four_race(m.segment, "HSHM_SIZE=256M", 4 << 20, 24 << 20, &m);
    unmount(&m);
}

Test(full, four_that_run_into_RLIMIT_AS_get_ENOMEM_and_all_comes_back)
{
    four_race("", "-- prlimit --as=170000000", 60 << 20, 30 << 20, NULL);
}

/* ---- HSHM_FULL, HSHM_MEMBER_SIZE --------------------------------------------------------------- */

Test(full, with_private_the_program_goes_on)
{
    struct puppet a = puppet_start("private", "HSHM_SIZE=8M HSHM_FULL=private");
    cr_assert_eq(ask(&a, "n 20000 1000"), 20000);
    cr_assert_eq(ask(&a, "s"), 1);
    cr_assert_not_null(strstr(puppet_said(&a), "is full"));
    cr_assert_eq(ask(&a, "d"), 1);
    cr_assert_eq(puppet_quit(&a), 0);
}

Test(full, with_abort_it_ends_with_a_line)
{
    struct puppet a = puppet_start("abort", "HSHM_SIZE=8M HSHM_FULL=abort");
    ask(&a, "n 20000 1000");
    cr_assert_eq(puppet_wait(&a), 128 + SIGABRT);
    cr_assert_not_null(strstr(puppet_said(&a), "is full"));
    unlink(segment_file("abort"));
}

Test(full, one_leaking_member_alone_gets_ENOMEM)
{
    struct puppet p[4];
    for (int i = 0; i < 4; i++)
        p[i] = puppet_start("leak", "HSHM_SIZE=64M HSHM_MEMBER_SIZE=16M");
    uint64_t n = ask(&p[0], "n 1000000 1000");
    cr_assert(n > 10000 && n < 17000, "%lu", (unsigned long)n);
    for (int i = 1; i < 4; i++)
        cr_assert_eq(ask(&p[i], "n 10000 1000"), 10000, "%s", puppet_said(&p[i]));
    for (int i = 0; i < 4; i++)
        cr_assert_eq(puppet_quit(&p[i]), 0);
}

/* ---- what the environment refuses ---------------------------------------------------------- */

static void runs_privately(const char *settings)
{
    struct puppet a = puppet_start("refused", settings);
    cr_assert_eq(ask(&a, "n 1000 1000"), 1000, "%s", puppet_said(&a));
    cr_assert_eq(ask(&a, "s"), 1);
    cr_assert_neq(access(segment_file("refused"), F_OK), 0);
    cr_assert_not_null(strstr(puppet_said(&a), "goes on with a private heap"), "%s",
                       puppet_said(&a));
    cr_assert_eq(puppet_quit(&a), 0);
}

Test(full, without_dev_shm_it_runs_with_a_private_heap)
{
    if (geteuid() != 0)
        cr_skip_test("needs root");
    runs_privately("-- unshare -m sh -c 'mount -t tmpfs tmpfs /dev && exec \"$@\"' sh");
}

Test(full, with_a_read_only_dev_shm_it_runs_with_a_private_heap)
{
    if (geteuid() != 0)
        cr_skip_test("needs root");
    runs_privately("-- unshare -m sh -c 'mount -t tmpfs -o ro tmpfs /dev/shm && exec \"$@\"' sh");
}

Test(full, a_small_RLIMIT_FSIZE_is_no_signal)
{
    runs_privately("-- prlimit --fsize=1000000");
}

Test(full, a_small_RLIMIT_AS_is_no_signal)
{
    struct puppet a = puppet_start("as", "-- prlimit --as=400000000");
    cr_assert_eq(ask(&a, "n 1000 1000"), 1000, "%s", puppet_said(&a));
    cr_assert_eq(puppet_quit(&a), 0);
}

/* It joins what another has made: the size of the file is not its affair. */
Test(full, a_joiner_with_a_small_RLIMIT_FSIZE_is_a_full_member)
{
    struct puppet a = puppet_start("fsize", ""),
                  b = puppet_start("fsize", "-- prlimit --fsize=1000");
    uint64_t at = ask(&b, "m 100");
    cr_assert_gt(ask(&b, "n 1000000 1000"), 10000, "%s", puppet_said(&b));
    cr_assert_eq(ask(&b, "d"), 1);
    cr_assert_eq(ask(&a, "f %#lx", (unsigned long)at), 1);
    cr_assert_eq(puppet_quit(&b), 0, "%s", puppet_said(&b));
    puppet_quit(&a);
}

Test(full, a_dev_shm_mounted_noexec_does)
{
    struct mounted m;
    if (!mount_tmpfs(&m, "noexec", "size=64m") ||
        mount("tmpfs", m.dir, "tmpfs", MS_REMOUNT | MS_NOEXEC, "size=64m") != 0)
        cr_skip_test("may not mount");
    struct puppet a = puppet_start(m.segment, "");
    cr_assert_eq(ask(&a, "n 1000 1000"), 1000, "%s", puppet_said(&a));
    cr_assert_str_empty(puppet_said(&a));
    cr_assert_eq(puppet_quit(&a), 0);
    unmount(&m);
}

/* ---- memory cgroups ------------------------------------------------------------------------------- */

/* A group of this process's own, below the one that it is in (version 1, as version 2 has no place
 * for processes in a group with others below it). */
static bool group_make(char *dir, size_t size, const char *limit)
{
    char own[200] = "", path[300];
    FILE *f = fopen("/proc/self/cgroup", "re");
    while (f && !own[0] && fgets(path, sizeof path, f))
        if (strstr(path, ":memory:"))
            sscanf(strstr(path, ":memory:") + 8, "%199[^\n]", own);
    if (f)
        fclose(f);
    snprintf(dir, size, "/sys/fs/cgroup/memory%s/hshm-%d", own, (int)getpid());
    snprintf(path, sizeof path, "%s/memory.limit_in_bytes", dir);
    int fd = own[0] && mkdir(dir, 0700) == 0 ? open(path, O_WRONLY) : -1;
    bool made = fd >= 0 && write(fd, limit, strlen(limit)) > 0;
    if (fd >= 0)
        close(fd);
    if (!made)
        rmdir(dir);
    return made;
}

static struct puppet start_in(const char *dir, const char *segment, const char *settings)
{
    char line[700];
    snprintf(line, sizeof line, "%s -- sh -c 'echo $$ > %s/tasks && exec \"$@\"' sh", settings,
             dir);
    return puppet_start(segment, line);
}

Test(full, a_full_memory_cgroup_is_ENOMEM)
{
    char dir[300];
    if (!group_make(dir, sizeof dir, "50000000"))
        cr_skip_test("may not make a memory cgroup");
    const unsigned sizes[] = { 1000, 100000, 3000000 };
    for (int i = 0; i < 3; i++) {
        struct puppet a = start_in(dir, "group", "HSHM_SIZE=400M");
        for (int round = 0; round < 2; round++) {
            uint64_t n = ask(&a, "n 1000000 %u", sizes[i]);
            cr_assert_neq(n, REFUSED, "it was killed: %s", puppet_said(&a));
            cr_assert(n * sizes[i] > 20000000 && n * sizes[i] < 50000000, "%lu", (unsigned long)n);
            cr_assert_eq(ask(&a, "s"), 1);
            cr_assert_eq(ask(&a, "d"), 1);
        }
        cr_assert_not_null(strstr(puppet_said(&a), "the memory cgroup of this program has"), "%s",
                           puppet_said(&a));
        cr_assert_eq(puppet_quit(&a), 0);
    }
    sleep_ms(50);
    cr_expect_eq(rmdir(dir), 0);
}

/* The copy would not fit: the kernel would kill it. */
Test(full, a_fork_that_its_cgroup_has_no_room_for_is_ENOMEM)
{
    char dir[300];
    if (!group_make(dir, sizeof dir, "60000000"))
        cr_skip_test("may not make a memory cgroup");
    struct puppet a = start_in(dir, "groupfork", "HSHM_SIZE=400M");
    cr_assert_eq(ask(&a, "n 350 100000"), 350, "%s", puppet_said(&a));
    cr_assert_eq(ask(&a, "k"), UINT64_MAX, "fork() says -1");
    cr_assert_eq(ask(&a, "s"), 1, "it was killed: %s", puppet_said(&a));
    cr_assert_not_null(strstr(puppet_said(&a), "fork refused: no room"), "%s", puppet_said(&a));
    cr_assert_eq(ask(&a, "d"), 1);
    cr_assert_eq(puppet_quit(&a), 0);
    sleep_ms(50);
    cr_expect_eq(rmdir(dir), 0);
}

/* What it takes beside the heap is not ours to limit: the kernel kills it, and only it. */
Test(full, members_outlive_one_that_its_cgroup_kills)
{
    char dir[300];
    if (!group_make(dir, sizeof dir, "30000000"))
        cr_skip_test("may not make a memory cgroup");
    struct puppet b = puppet_start("outlive", ""), c = puppet_start("outlive", "");
    struct puppet a = start_in(dir, "outlive", "HSHM_MAX_BLOCK=2000");
    uint64_t at = ask(&a, "m 1000"), of_b = ask(&b, "m 1000");
    cr_assert_eq(ask(&a, "n 5000 1000"), 5000, "%s", puppet_said(&a));
    cr_assert_eq(ask(&a, "f %#lx", (unsigned long)of_b), 1);
    tell(&a, "n 1000 1000000");
    cr_assert_eq(puppet_wait(&a), 128 + SIGKILL, "%s", puppet_said(&a));
    cr_assert_eq(ask(&b, "f %#lx", (unsigned long)at), 1, "%s", puppet_said(&b));
    cr_assert_eq(ask(&b, "n 10000 1000"), 10000, "%s", puppet_said(&b));
    cr_assert_eq(ask(&c, "n 10000 100"), 10000, "%s", puppet_said(&c));
    cr_assert_eq(ask(&b, "s") + ask(&c, "s"), 2);
    cr_assert_eq(puppet_quit(&b) + puppet_quit(&c), 0);
    sleep_ms(50);
    cr_expect_eq(rmdir(dir), 0);
}

/* ---- SIGBUS all the same -------------------------------------------------------------------------- */

/* A large block is promised, the file system is filled by others, the block is touched. */
static struct puppet promised(struct mounted *m, const char *settings, uint64_t *at)
{
    if (!mount_tmpfs(m, "promise", "size=400m"))
        cr_skip_test("may not mount");
    struct puppet a = puppet_start(m->segment, settings);
    *at = ask(&a, "m 30000000");
    cr_assert_neq(*at, 0);
    fill(m, 0);
    return a;
}

Test(full, a_broken_promise_is_said_before_the_signal_ends_the_program)
{
    struct mounted m;
    uint64_t at;
    char line[64];
    struct puppet a = promised(&m, "HSHM_SIZE=100M", &at);
    snprintf(line, sizeof line, "w %#lx 30000000 1", (unsigned long)at);
    tell(&a, line);
    cr_assert_eq(puppet_wait(&a), 128 + SIGBUS, "%s", puppet_said(&a));
    cr_assert_not_null(strstr(puppet_said(&a), "its file system has 0 B left of 400 MiB"), "%s",
                       puppet_said(&a));
    empty();
    unmount(&m);
}

Test(full, with_reserve_a_promise_is_kept)
{
    struct mounted m;
    uint64_t at;
    struct puppet a = promised(&m, "HSHM_SIZE=100M HSHM_COMMIT=reserve", &at);
    cr_assert_eq(ask(&a, "w %#lx 30000000 1", (unsigned long)at), 1, "%s", puppet_said(&a));
    cr_assert_eq(puppet_quit(&a), 0);
    empty();
    unmount(&m);
}

Test(full, where_space_is_short_a_promise_is_kept)
{
    struct mounted m;
    if (!mount_tmpfs(&m, "promise", "size=100m"))
        cr_skip_test("may not mount");
    struct puppet a = puppet_start(m.segment, "HSHM_SIZE=90M");
    uint64_t at = ask(&a, "m 30000000");
    cr_assert_neq(at, 0);
    fill(&m, 0);
    cr_assert_eq(ask(&a, "w %#lx 30000000 1", (unsigned long)at), 1, "%s", puppet_said(&a));
    cr_assert_eq(puppet_quit(&a), 0);
    empty();
    unmount(&m);
}

Test(full, a_file_that_was_shortened_is_named)
{
    struct puppet a = puppet_start("short", "");
    uint64_t at = ask(&a, "m 100000");
    char line[64];
    cr_assert_eq(truncate(segment_file("short"), 18 << 20), 0);
    snprintf(line, sizeof line, "w %#lx 100000 1", (unsigned long)at);
    tell(&a, line);
    cr_assert_eq(puppet_wait(&a), 128 + SIGBUS, "%s", puppet_said(&a));
    cr_assert_not_null(strstr(puppet_said(&a), "its file was shortened to 18 MiB"), "%s",
                       puppet_said(&a));
    unlink(segment_file("short"));
}

/* What a program sees and does of SIGBUS is as without us. */
static void sigbus_check(const char *name)
{
    char line[600];
    const char *const segments[] = { "", "sigbus" };
    for (int i = 0; i < 2; i++) {
        snprintf(line, sizeof line, "%s HSHM_SEGMENT=%s LD_PRELOAD=%s %s/prog_limits %s",
                 i ? "" : "env -u LD_PRELOAD", segments[i],
                 i ? setting("TEST_PRELOAD", "build/libhshm_preload.so") : "",
                 setting("TEST_BIN", "build/tests"), name);
        cr_expect_eq(system(line), 0, "%s", line);
    }
}

Test(full, sigaction_answers_as_without_us)
{
    sigbus_check("sigaction_answers_what_was_set");
}

Test(full, a_handler_of_the_programs_runs)
{
    sigbus_check("a_handler_runs_and_may_jump_out");
}

Test(full, SIGBUS_ends_a_program_as_without_us)
{
    sigbus_check("sent_or_caused_it_ends_the_program");
}

Test(full, children_have_their_own_SIGBUS)
{
    sigbus_check("children_have_their_own");
}
