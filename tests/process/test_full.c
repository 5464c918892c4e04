/* Memory that is full is ENOMEM, never a signal, and is usable again at once. */
#include "tests/process/puppet.h"

#include <sys/mount.h>
#include <sys/stat.h>

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

Test(full, a_full_tmpfs_is_ENOMEM)
{
    char dir[300], name[400], settings[64] = "HSHM_SIZE=64M";
    snprintf(dir, sizeof dir, "%s/small-%d", setting("TMPDIR", "/tmp"), (int)getpid());
    mkdir(dir, 0700);
    if (mount("tmpfs", dir, "tmpfs", 0, "size=6m") != 0)
        cr_skip_test("may not mount");
    snprintf(name, sizeof name, "file:%s/seg", dir);
    const unsigned sizes[] = { 16, 1000, 30000, 100000 };
    for (unsigned i = 0; i < sizeof sizes / sizeof *sizes; i++)
        fill_and_free(name, settings, sizes[i], 3);
    umount(dir);
    rmdir(dir);
}

Test(full, four_that_race_get_ENOMEM_and_all_comes_back)
{
    struct puppet p[4];
    for (int i = 0; i < 4; i++)
        p[i] = puppet_start("four", "HSHM_SIZE=32M");
    for (long round = 0; round < 5 * scale(); round++) {
        const unsigned size = round % 2 ? 1000 : 70000;
        char line[64];
        uint64_t bytes = 0;
        snprintf(line, sizeof line, "n 1000000 %u", size);
        for (int i = 0; i < 4; i++)
            tell(&p[i], line);
        for (int i = 0; i < 4; i++) {
            uint64_t n = answer(&p[i], 10000);
            cr_assert_neq(n, REFUSED, "%s", puppet_said(&p[i]));
            bytes += n * size;
        }
        cr_assert_gt(bytes, UINT64_C(12) << 20, "round %ld: only %lu bytes", round,
                     (unsigned long)bytes);
        for (int i = 0; i < 4; i++)
            cr_assert_eq(ask(&p[i], "s"), 1);
        for (int i = 0; i < 4; i++)
            cr_assert_eq(ask(&p[i], "d"), 1);
    }
    for (int i = 0; i < 4; i++)
        cr_assert_eq(puppet_quit(&p[i]), 0, "%s", puppet_said(&p[i]));
}

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
