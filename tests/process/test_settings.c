/* Every option does what its line in the table says. */
#include "tests/process/run.h"

/* One line that says all of the parts; no other line. */
static void said(struct outcome o, const char *first, const char *second)
{
    cr_assert(strstr(o.err, first), "it did not say '%s': %s", first, o.err);
    cr_assert(!second || strstr(o.err, second), "it did not say '%s': %s", second, o.err);
    char *end = strchr(o.err, '\n');
    cr_assert(end && end[1] == '\0', "it is not one line: %s", o.err);
}

/* ---- HSHM_ALLOCATOR ------------------------------------------------------------------ */

static void allocator(const char *name)
{
    char settings[100];
    static const char *const where[] = { "", "HSHM_SEGMENT=kind" };
    for (int i = 0; i < 2; i++) {
        snprintf(settings, sizeof settings, "HSHM_SIZE=4G HSHM_ALLOCATOR=%s %s", name, where[i]);
        assert_ran(run(settings, "prog_settings threads_work"));
        assert_ran(run(settings, "prog_settings a_child_works"));
    }
}

Test(settings, threads_and_children_work_with_thread_caches)
{
    allocator("thread");
}

Test(settings, threads_and_children_work_with_pages_alone)
{
    allocator("page");
}

Test(settings, threads_and_children_work_with_a_stack)
{
    allocator("stack");
}

Test(settings, threads_and_children_work_with_libcs_malloc)
{
    allocator("malloc");
    assert_ran(run("HSHM_ALLOCATOR=malloc HSHM_SEGMENT=kind", "prog_settings is_not_served"));
}

/* ---- who and what is served ------------------------------------------------------------- */

Test(settings, blocks_out_of_bounds_come_from_libc)
{
    const char *bounds = "HSHM_SEGMENT=bounds HSHM_MIN_BLOCK=100 HSHM_MAX_BLOCK=1000";
    assert_ran(run(bounds, "prog_settings from_100_to_1000"));
    assert_ran(run(bounds, "prog_settings threads_work"));
}

Test(settings, programs_take_part_by_name)
{
    assert_ran(run("HSHM_PROGRAMS=sh,prog_settings", "prog_settings is_served"));
    assert_ran(run("HSHM_PROGRAMS=sh,prog_x", "prog_settings is_not_served"));
    assert_ran(run("HSHM_EXCLUDE=sh,prog_settings", "prog_settings is_not_served"));
    assert_ran(run("HSHM_EXCLUDE=sh,prog_x", "prog_settings is_served"));
}

/* ---- limits -------------------------------------------------------------------------------- */

Test(settings, a_full_segment_fails)
{
    struct outcome o = run("HSHM_SEGMENT=full HSHM_SIZE=32M HSHM_FULL=fail MOST=33554432",
                           "prog_settings memory_runs_out");
    cr_assert_eq(o.status, 0, "%s", o.err);
    said(o, "segment full is full", "HSHM_SIZE");
}

Test(settings, a_full_segment_aborts_if_asked_to)
{
    struct outcome o =
        run("HSHM_SEGMENT=brink HSHM_SIZE=32M HSHM_FULL=abort", "prog_settings memory_runs_out");
    shell("rm -f /dev/shm/hshm*-brink");
    cr_assert_neq(o.status, 0);
    cr_assert(strstr(o.err, "segment brink is full") && strstr(o.err, "HSHM_FULL=abort"), "%s",
              o.err);
}

Test(settings, a_full_segment_is_continued_privately)
{
    static const char *const kinds[] = { "thread", "page", "stack" };
    for (int i = 0; i < 3; i++) {
        char settings[100];
        snprintf(settings, sizeof settings,
                 "HSHM_SEGMENT=full HSHM_SIZE=32M HSHM_FULL=private HSHM_ALLOCATOR=%s", kinds[i]);
        struct outcome o = run(settings, "prog_settings memory_never_runs_out");
        cr_assert_eq(o.status, 0, "%s: %s", kinds[i], o.err);
        said(o, "segment full is full", "HSHM_FULL=private");
    }
}

Test(settings, a_member_has_a_limit_of_its_own)
{
    struct outcome o = run("HSHM_SEGMENT=part HSHM_SIZE=320M HSHM_MEMBER_SIZE=10% MOST=33554432",
                           "prog_settings memory_runs_out");
    cr_assert_eq(o.status, 0, "%s", o.err);
    said(o, "HSHM_MEMBER_SIZE", NULL);
    o = run("HSHM_SEGMENT=part HSHM_SIZE=320M HSHM_MEMBER_SIZE=32M HSHM_FULL=private",
            "prog_settings memory_never_runs_out");
    cr_assert_eq(o.status, 0, "%s", o.err);
    said(o, "HSHM_MEMBER_SIZE", "HSHM_FULL=private");
}

Test(settings, limits_of_the_process_are_told_and_survived)
{
    struct outcome o = shell("ulimit -f 100; LD_PRELOAD=$PRELOAD HSHM_SEGMENT=limits exec "
                             "\"$BIN\"/prog_settings is_served");
    cr_assert_eq(o.status, 0, "%s", o.err);
    said(o, "RLIMIT_FSIZE", "private heap");
    assert_ran(shell("ulimit -v 1000000; LD_PRELOAD=$PRELOAD HSHM_SEGMENT=limits exec "
                     "\"$BIN\"/prog_settings threads_work"));
    /* The segment is there, with more addresses than the second program may have. */
    o = shell("LD_PRELOAD=$PRELOAD HSHM_SEGMENT=limits HSHM_SIZE=1G sleep 20 & sleeper=$!\n"
              "until ls /dev/shm/hshm*-limits >/dev/null 2>&1; do sleep 0.1; done\n"
              "(ulimit -v 1000000; LD_PRELOAD=$PRELOAD HSHM_SEGMENT=limits exec "
              "\"$BIN\"/prog_settings is_served)\n"
              "status=$?; kill $sleeper; wait $sleeper 2>/dev/null; rm -f /dev/shm/hshm*-limits; "
              "exit $status");
    cr_assert_eq(o.status, 0, "%s", o.err);
    cr_assert(strstr(o.err, "RLIMIT_AS") && strstr(o.err, "private heap"), "%s", o.err);
}

/* ---- the segment's file ------------------------------------------------------------------------ */

Test(settings, a_segment_persists_if_asked_to)
{
    assert_ran(run("HSHM_SEGMENT=stays HSHM_PERSIST=1", "prog_settings is_served"));
    assert_ran(run("HSHM_SEGMENT=stays", "prog_settings is_served"));
    struct outcome o = shell("%s show -j stays | grep '\"ever\": *2' && %s check stays >&2; "
                             "%s rm stays; ls /dev/shm | grep -- -stays",
                             setting("TEST_TOOL", "build/hshm"), setting("TEST_TOOL", "build/hshm"),
                             setting("TEST_TOOL", "build/hshm"));
    cr_assert(strstr(o.out, "ever"), "%s%s", o.out, o.err);
    cr_assert(strstr(o.err, "sound"), "%s", o.err);
    cr_assert_eq(o.status, 1, "hshm rm left it: %s", o.out);
}

Test(settings, a_segment_has_the_mode_asked_for)
{
    struct outcome o =
        shell("umask 077; for mode in 0600 0660; do LD_PRELOAD=$PRELOAD HSHM_SEGMENT=mode "
              "HSHM_MODE=$mode "
              "HSHM_PERSIST=1 \"$BIN\"/prog_settings nothing; stat -c %%a /dev/shm/hshm*-mode; "
              "rm -f /dev/shm/hshm*-mode; done");
    cr_assert_str_eq(o.err, "", "%s", o.err);
    cr_assert_str_eq(o.out, "600\n660\n", "%s", o.out);
}

Test(settings, names_are_expanded)
{
    struct outcome o =
        run("'HSHM_SEGMENT=n-%u-%h-%{JOB}' JOB=a1 HSHM_STATS=exit", "prog_settings nothing");
    char host[100] = "", name[200];
    gethostname(host, sizeof host - 1);
    snprintf(name, sizeof name, "\"segment\":\"n-%u-%s-a1\"", (unsigned)geteuid(), host);
    said(o, name, NULL);
    o = run("'HSHM_SEGMENT=n-%{JOB_OF_NOBODY}'", "prog_settings is_served");
    cr_assert_eq(o.status, 0);
    said(o, "HSHM_SEGMENT=n-%{JOB_OF_NOBODY}", "not set");
}

/* Only children can come to it: what they make after the fork is at the same address in both. */
Test(settings, a_segment_without_a_name_is_shared_with_children)
{
    static const char *const checks[] = {
        "prog_settings is_served",
        "prog_settings a_child_works",
        "prog_fork a_child_sees_the_heap_as_it_was",
        "prog_fork blocks_made_after_the_fork_are_shared_both_ways",
        "prog_fork grandchildren_inherit_what_their_parent_had",
        "prog_fork a_parent_may_be_gone_before_its_child",
        "prog_memory a_program_may_close_every_descriptor",
        "prog_memory a_program_without_descriptors_goes_on",
    };
    for (size_t i = 0; i < sizeof checks / sizeof *checks; i++)
        assert_ran(run("HSHM_SEGMENT=memfd: HSHM_SIZE=1G", "%s", checks[i]));
    struct outcome o = run("HSHM_SEGMENT=memfd: HSHM_STATS=exit", "prog_settings nothing");
    said(o, "\"segment\":\"memfd:\",\"shared\":true", NULL);
    cr_assert_neq(shell("ls /dev/shm | grep hshm").status, 0);
}

/* ---- strictness, files, statistics ----------------------------------------------------------------- */

Test(settings, what_is_wrong_ends_a_strict_program)
{
    struct outcome o = run("HSHM_SIZ=1G HSHM_STRICT=1", "prog_settings nothing");
    cr_assert_eq(o.status, 78);
    said(o, "HSHM_SIZ=1G", "maybe: HSHM_SIZE?");
    o = run("HSHM_SIZ=1G", "prog_settings is_served");
    cr_assert_eq(o.status, 0);
    said(o, "HSHM_SIZ=1G", NULL);
    o = run("HSHM_SIZE=lots HSHM_STRICT=1", "prog_settings nothing");
    cr_assert_eq(o.status, 78);
    said(o, "HSHM_SIZE=lots", "allowed");
    o = run("HSHM_SEGMENT=file:/nowhere/at/all HSHM_STRICT=1", "prog_settings nothing");
    cr_assert_eq(o.status, 78);
    said(o, "file:/nowhere/at/all", NULL);
    o = run("HSHM_SIZ=1G HSHM_VERBOSE=0", "prog_settings is_served");
    cr_assert_eq(o.status, 0);
    cr_assert_str_eq(o.err, "");
}

Test(settings, options_are_read_from_a_file)
{
    struct outcome o =
        shell("printf 'SEGMENT=of-a-file\\nHSHM_STATS=exit # all\\nEXCLUDE=prog_settings\\n' "
              ">$TMPDIR/conf; LD_PRELOAD=$PRELOAD HSHM_CONFIG=$TMPDIR/conf HSHM_EXCLUDE=none "
              "\"$BIN\"/prog_settings is_served");
    cr_assert_eq(o.status, 0, "%s", o.err);
    said(o, "\"segment\":\"of-a-file\"", NULL);
}

static long count_of(const char *text, const char *key)
{
    char what[40];
    snprintf(what, sizeof what, "\"%s\":", key);
    const char *at = strstr(text, what);
    cr_assert(at, "no %s in: %s", key, text);
    return atol(at + strlen(what));
}

/* What the program did, less what it does anyway before main and after. */
Test(settings, calls_are_counted)
{
    static const struct {
        const char *key;
        long n;
    } calls[] = { { "malloc", 1000 }, { "calloc", 1000 }, { "realloc", 4000 }, { "free", 3000 } };
    struct outcome o =
        shell("for what in nothing calls; do LD_PRELOAD=$PRELOAD HSHM_SEGMENT=counts "
              "HSHM_STATS=calls,exit,file:$TMPDIR/counts \"$BIN\"/prog_settings $what; done; "
              "cat $TMPDIR/counts");
    cr_assert_str_eq(o.err, "", "%s", o.err);
    const char *second = strchr(o.out, '\n');
    cr_assert(second, "%s", o.out);
    for (int i = 0; i < 4; i++)
        cr_assert_eq(count_of(second, calls[i].key) - count_of(o.out, calls[i].key), calls[i].n,
                     "%s: %s", calls[i].key, o.out);
    cr_assert_eq(count_of(second, "used_bytes"), 0, "%s", o.out);
}
