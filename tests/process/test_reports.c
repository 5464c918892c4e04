/* What a program's heap says of itself: HSHM_STATS, HSHM_LEAKS, HSHM_TRACE, HSHM_DUMP. */
#include "tests/process/run.h"

#include <sys/stat.h>

static void says(struct outcome o, const char *what)
{
    cr_assert(strstr(o.err, what), "not '%s' but: %s", what, o.err);
}

static long number_after(const char *text, const char *what)
{
    const char *at = strstr(text, what);
    cr_assert(at, "no %s in: %s", what, text);
    return atol(at + strlen(what));
}

/* ---- HSHM_STATS -------------------------------------------------------------------------- */

Test(reports, statistics_on_a_signal_that_the_program_does_not_handle)
{
    struct outcome o = run("HSHM_SEGMENT=r HSHM_STATS=signal:USR2", "prog_leaks signal");
    cr_assert_eq(o.status, 0, "%d %s", o.status, o.err);
    says(o, "\"when\":\"signal\"");
    cr_assert_geq(number_after(o.err, "\"used_bytes\":"), 100000);
    cr_assert_not(strstr(o.err, "exit"), "only on the signal: %s", o.err);
}

Test(reports, a_signal_that_the_program_handles_is_its_own)
{
    struct outcome o = run("HSHM_STATS=signal:USR2", "prog_leaks handled");
    cr_assert_eq(o.status, 0, "%d %s", o.status, o.err);
    cr_assert_str_eq(o.out, "handled\n");
    cr_assert_str_eq(o.err, "");
}

Test(reports, a_signal_that_is_none_is_one_line)
{
    struct outcome o = run("HSHM_STATS=signal:NONE", "prog_leaks leaks");
    cr_assert_eq(o.status, 0);
    says(o, "HSHM_STATS=signal:NONE: there is no such signal");
}

Test(reports, statistics_as_text_into_a_file)
{
    struct outcome o = shell("LD_PRELOAD=$PRELOAD HSHM_SEGMENT=r HSHM_STATS=exit,text,calls,"
                             "file:$TMPDIR/text \"$BIN\"/prog_leaks leaks; cat $TMPDIR/text");
    cr_assert_eq(o.status, 0);
    cr_assert_str_eq(o.err, "");
    cr_assert(strstr(o.out, "statistics (exit) of segment r\n"), "%s", o.out);
    cr_assert_geq(number_after(o.out, "calls  malloc "), 2000);
    cr_assert(strstr(o.out, "blocks of 112 bytes\n"), "%s", o.out);
}

/* ---- HSHM_LEAKS, HSHM_TRACE ------------------------------------------------------------------- */

Test(reports, leaks_are_told_by_size)
{
    struct outcome o = run("HSHM_LEAKS=1", "prog_leaks leaks");
    cr_assert_eq(o.status, 0);
    says(o, "leaks: 1000 blocks of up to 112 bytes\n");
    cr_assert_not(strstr(o.err, " 208 bytes"), "what was freed is none: %s", o.err);
}

Test(reports, every_call_site_is_named_where_each_is_recorded)
{
    struct outcome o =
        run("HSHM_SEGMENT=r HSHM_LEAKS=1 HSHM_TRACE=1 HSHM_TRACE_BYTES=1", "prog_leaks leaks");
    cr_assert_eq(o.status, 0);
    says(o, "leaks: about 97.6 KiB in 1000 blocks from leaks_here (prog_leaks+0x");
    says(o, " < allocate (prog_leaks+0x"); /* a name that is not exported */
    says(o, " < main (prog_leaks+0x");
    cr_assert_not(strstr(o.err, "frees_here"), "%s", o.err);
}

Test(reports, samples_stand_for_all_blocks)
{
    struct outcome o = run("HSHM_LEAKS=1 HSHM_TRACE=1 HSHM_TRACE_BYTES=1000", "prog_leaks leaks");
    /* A hundred samples, so one in a thousand times it is off by a third. */
    const char *told = strstr(o.err, "leaks: about");
    cr_assert(told, "%s", o.err);
    long blocks = number_after(told, " in ");
    cr_assert(blocks > 500 && blocks < 1500, "%ld of 1000: %s", blocks, o.err);
}

Test(reports, what_another_member_has_freed_is_no_leak)
{
    struct outcome o = run("HSHM_SEGMENT=r HSHM_FORK=share HSHM_LEAKS=1 HSHM_TRACE=1 "
                           "HSHM_TRACE_BYTES=1",
                           "prog_leaks handover");
    cr_assert_eq(o.status, 0);
    cr_assert_not(strstr(o.err, "1000 blocks"), "%s", o.err);
}

Test(reports, threads_and_forks_are_traced)
{
    for (int i = 0; i < 3; i++) {
        struct outcome o = run(i ? "HSHM_SEGMENT=r HSHM_TRACE=1 HSHM_TRACE_BYTES=64"
                                 : "HSHM_TRACE=1 HSHM_TRACE_BYTES=64",
                               "prog_leaks threads");
        cr_assert_eq(o.status, 0, "%d %s", o.status, o.err);
        cr_assert_str_eq(o.err, "");
    }
}

/* The trace begins before the C library has its environment and the program's name. */
Test(reports, a_traced_program_keeps_its_environment_and_its_name)
{
    struct outcome o = run("WORD=kept HSHM_TRACE=1 HSHM_TRACE_BYTES=1", "env");
    cr_assert(strstr(o.out, "WORD=kept\n"), "%d %s%s", o.status, o.out, o.err);
    o = run("WORD=kept HSHM_SEGMENT=r HSHM_TRACE=1", "sh -c 'sh -c \"echo \\$WORD\"'");
    cr_assert_str_eq(o.out, "kept\n", "%d %s", o.status, o.err);
    o = run("HSHM_TRACE=1", "cat /there/is/none");
    cr_assert_eq(strncmp(o.err, "cat: ", 5), 0, "%s", o.err);
}

static void profile_names_the_place(const char *tool)
{
    struct outcome o =
        shell("LD_PRELOAD=$PRELOAD HSHM_SEGMENT=r HSHM_TRACE=1 HSHM_TRACE_BYTES=1 "
              "HSHM_TRACE_FILE=$TMPDIR/heap.%%p \"$BIN\"/prog_leaks leaks && "
              "%s --text --lines \"$BIN\"/prog_leaks $TMPDIR/heap.* 2>&1; rm -f $TMPDIR/heap.*",
              tool);
    char first[200];
    const char *line = strstr(o.out, "Total: 0.");
    cr_assert(line, "%s", o.out);
    snprintf(first, sizeof first, "%.190s", strchr(line, '\n') + 1);
    cr_assert(strstr(first, "leaks_here"), "%s: %s", tool, o.out);
    cr_assert_not(strstr(o.out, "frees_here"), "what was freed is not in use: %s", o.out);
}

Test(reports, heap_profiles_are_read_by_jeprof)
{
    profile_names_the_place("jeprof");
}

Test(reports, heap_profiles_are_read_by_pprof)
{
    profile_names_the_place("google-pprof");
}

/* A line for each stack, its functions from the outermost on, and its bytes: what flamegraph.pl draws. */
Test(reports, heap_profiles_become_flame_graphs)
{
    struct outcome o =
        shell("LD_PRELOAD=$PRELOAD HSHM_SEGMENT=r HSHM_TRACE=1 HSHM_TRACE_BYTES=1 "
              "HSHM_TRACE_FILE=$TMPDIR/heap.%%p \"$BIN\"/prog_leaks leaks && "
              "for tool in jeprof google-pprof; do $tool --collapsed \"$BIN\"/prog_leaks "
              "$TMPDIR/heap.* 2> /dev/null | "
              "grep -cE '(^|;)main[^;]*;.*leaks_here[^;]* [0-9]+$'; done; rm -f $TMPDIR/heap.*");
    int by_jeprof = 0, by_pprof = 0;
    sscanf(o.out, "%d %d", &by_jeprof, &by_pprof);
    cr_assert(by_jeprof >= 1 && by_pprof >= 1, "%s %s", o.out, o.err);
}

/* ---- HSHM_DUMP ---------------------------------------------------------------------------------- */

/* Runs into the signal with core dumps; what gdb finds at the address of a block. */
static struct outcome core_of(const char *settings, const char *how)
{
    return shell(
        "d=$TMPDIR/core-$$; mkdir $d; cd $d; ulimit -c unlimited; "
        "a=$(LD_PRELOAD=$PRELOAD HSHM_SEGMENT=core HSHM_SIZE=256M %s "
        "\"$BIN\"/prog_leaks %s 119); "
        "gdb -batch -ex \"x/s $a\" -ex bt \"$BIN\"/prog_leaks core* 2>&1; "
        "stat -c 'segment %%b' /dev/shm/hshm1-*-core; rm -f /dev/shm/hshm1-*-core; rm -rf $d",
        settings, how);
}

static bool cores_are_files(void)
{
    char pattern[64];
    read_text("/proc/sys/kernel/core_pattern", pattern, sizeof pattern);
    return strncmp(pattern, "core", 4) == 0;
}

#define HEAP_IN_IT "'w' <repeats 100 times>"

Test(reports, core_dumps_have_the_heap_if_asked_for)
{
    if (!cores_are_files())
        cr_skip_test("core dumps do not go to files here");
    static const char *const ways[] = { "crash", "segv" };
    for (unsigned i = 0; i < 2; i++) {
        struct outcome o = core_of("HSHM_DUMP=1", ways[i]);
        cr_assert(strstr(o.out, HEAP_IN_IT), "%s", o.out);
        cr_assert(strstr(o.out, " die ("), "the stack is that of the program, too: %s", o.out);
        cr_assert_lt(number_after(o.out, "segment "), 4096, "no hole was filled: %s", o.out);
        o = core_of("HSHM_DUMP=0", ways[i]);
        cr_assert_not(strstr(o.out, HEAP_IN_IT), "%s", o.out);
    }
}

Test(reports, core_dump_of_a_removed_segment_lacks_the_window)
{
    if (!cores_are_files())
        cr_skip_test("core dumps do not go to files here");
    struct outcome o = shell(
        "d=$TMPDIR/core-$$; mkdir $d; cd $d; ulimit -c unlimited; "
        "LD_PRELOAD=$PRELOAD HSHM_SEGMENT=gone HSHM_SIZE=4G "
        "sh -c 'rm /dev/shm/hshm1-*-gone; kill -SEGV $$'; stat -c 'core %%b' core*; rm -rf $d");
    cr_assert_lt(number_after(o.out, "core "), 20000, "%s", o.out);
}
