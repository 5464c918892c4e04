/* fork in a named segment: the child has its own heap as it was, and what is made later is shared.
 * timeout: 600
 *
 * What is promised, and the test that looks:
 *
 *   the child sees the heap as it was and writes it freely   a_child_sees_the_heap_as_it_was,
 *                                            a_parent_sees_nothing_of_its_child_s_writes, by_*
 *   only what is in use is copied            memory_that_was_not_touched_reads_zero_in_every_child
 *   no room: ENOMEM and one line             a_refused_fork_is_enomem
 *   sharing goes on, down the generations    blocks_made_after_the_fork_are_shared_both_ways,
 *                                            grandchildren_inherit_what_their_parent_had,
 *                                            a_grandchild_reads_what_the_owner_and_its_adopter_allocate
 *   a block that both hold                   parent_and_child_may_both_free_what_they_received,
 *                                            ..._what_an_ended_member_left,
 *                                            what_waited_for_a_child_is_given_back,
 *                                            what_a_child_receives_it_frees,
 *                                            parent_and_child_may_both_resize_the_same_block
 *   HSHM_FORK=view, share                    a_large_block_is_viewed_a_small_one_copied, shared
 *   HSHM_FORK_MAX, _HOLD, _RAW               a_refused_fork_is_enomem,
 *                                            a_hold_that_keeps_too_much_is_given_up,
 *                                            a_raw_child_faults_in_the_heap
 *   fork, _Fork, daemon, forkpty, clone      by_fork, by_Fork, by_daemon, by_forkpty, by_clone
 *   vfork, posix_spawn, system, popen,
 *   clone(CLONE_VM)                          by_those_that_share_the_address_space
 *   raw system calls                         by_a_raw_system_call
 *   from a thread among allocating ones      a_thread_among_allocating_threads_may_fork,
 *                                            eight_threads_fork_three_generations
 *   from a handler that interrupted malloc   test_others: fork_in_a_signal_handler,
 *                                            fork_in_the_signal_handlers_of_threads
 *   stacks that are blocks                   a_coroutine_whose_stack_is_a_block_may_fork,
 *                                            a_signal_handler_whose_stack_is_a_block_may_fork,
 *                                            by_clone
 *   guard pages, code, rings in blocks       guard_pages_*, hundreds_of_guard_pages, code_*, a_ring_*,
 *                                            private_memory_*, whoever_gets_the_memory_next_may_use_it
 *   locked FILEs, many keys                  while_other_threads_have_locked_files_and_keys
 *   from a library's constructor             from_a_library_s_constructor
 *   during another thread's start            while_threads_start
 *   dropped privileges, chroot, no file      after_dropping_privileges, in_a_chroot,
 *                                            who_cannot_open_the_file_any_more_may_fork
 *   thousands, exec at once                  thousands_of_forks_leave_nothing,
 *                                            thousands_of_forks_without_allocating
 *   the parent gone first                    a_parent_may_be_gone_before_its_child,
 *                                            a_daemon_has_one_heap
 *   what is freed under living children      *_blocks_freed_under_snapshots_give_their_memory_back,
 *                                            children_live_while_the_heap_turns_over
 *   a stopped child                          with_a_stopped_child, killed_or_stopped_*
 *   parent or child killed                   killed_or_stopped_at_any_moment_*,
 *                                            test_every_call, test_every_instruction
 *   named blocks, heaps of hshm.h            the tests of api/
 */
#include "tests/process/run.h"

/* Afterwards the segment is sound: a member keeps it for the check. */
static struct outcome in_a_segment(const char *settings, const char *program, const char *check)
{
    return shell(
        "export HSHM_SIZE=1G HSHM_SEGMENT=%s; export SEGMENT_FILE=/dev/shm/hshm1-$(id -u)-%s; "
        "mkfifo $TMPDIR/%s; LD_PRELOAD=$PRELOAD cat $TMPDIR/%s & exec 7>$TMPDIR/%s; "
        "env LD_PRELOAD=$PRELOAD %s timeout %ld $BIN/%s %s; s=$?; "
        "%s check %s >/dev/null || s=9; exec 7>&-; wait; exit $s",
        check, check, check, check, check, settings, scale() > 1 ? 4000L : 200L, program, check,
        setting("TEST_TOOL", "build/hshm"), check);
}

/* It says nothing but lines that have 'words' in them, if any. */
static void assert_said(struct outcome o, const char *words)
{
    cr_assert_eq(o.status, 0, "exit status %d: %s%s", o.status, o.err, o.out);
    if (words)
        cr_assert(strstr(o.err, words), "it did not say \"%s\": %s", words, o.err);
    for (char *line = strtok(o.err, "\n"); line; line = strtok(NULL, "\n"))
        cr_assert(words && strstr(line, words), "it said: %s", line);
}

#define FORK_SAYS(program, check, settings, words)                                                 \
    Test(fork, check)                                                                              \
    {                                                                                              \
        assert_said(in_a_segment(settings, program, #check), words);                               \
    }
#define FORK(check)         FORK_SAYS("prog_fork", check, "", NULL)
#define FORK_WAY(check)     FORK_SAYS("prog_fork_ways", check, "", NULL)
#define FORK_MAPPED(check)  FORK_SAYS("prog_fork_mapped", check, "", NULL)
#define FORK_MEMBERS(check) FORK_SAYS("prog_fork_members", check, "HSHM_WARM=0", NULL)

/* What the parent has at most beside what it has under glibc; 200 children of 32 MiB in the long
 * form. */
Test(fork, children_live_while_the_heap_turns_over, .timeout = 1000)
{
    const char *settings = scale() > 1 ? "CHILDREN=200 HEAP_MIB=32" : "CHILDREN=25 HEAP_MIB=8";
    const char *check = "children_live_while_the_heap_turns_over";
    struct outcome plain = shell("env %s timeout 900 $BIN/prog_fork %s", settings, check);
    cr_assert_eq(plain.status, 0, "without us: %s", plain.err);
    long theirs = atol(plain.out);
    struct outcome o = in_a_segment(settings, "prog_fork", check);
    assert_said(o, NULL);
    cr_log_info("%s: %ld KiB, under glibc %ld KiB\n", settings, atol(o.out), theirs);
    cr_assert(theirs > 0 && atol(o.out) <= 2 * theirs, "%s: %ld KiB, under glibc %ld KiB", settings,
              atol(o.out), theirs);
}

/* A thousand of each in the long form. */
static void one_of_them_dies(const char *name, const char *settings)
{
    char all[600];
    snprintf(all, sizeof all, "%s HSHM_WARM=0 ROUNDS=%ld", settings, 30 * scale());
    assert_said(in_a_segment(all, "prog_fork_deaths", name), NULL);
}

Test(fork, killed_or_stopped_at_any_moment_the_other_goes_on, .timeout = 5000)
{
    one_of_them_dies("goes", "HSHM_EXIT=reclaim");
}

Test(fork, what_the_killed_had_stays_until_it_is_reclaimed, .timeout = 5000)
{
    char settings[500];
    snprintf(settings, sizeof settings,
             "HSHM_EXIT=keep RECLAIM='env -u LD_PRELOAD %s reclaim stays >/dev/null'",
             setting("TEST_TOOL", "build/hshm"));
    one_of_them_dies("stays", settings);
}

/* The first to fork in a segment that nobody else uses yet. */
Test(fork, where_nothing_was_allocated_fork_does)
{
    assert_ran(run("HSHM_SEGMENT=fresh", "prog_fork where_nothing_was_allocated_fork_does"));
}

FORK(a_child_sees_the_heap_as_it_was)
FORK(a_parent_sees_nothing_of_its_child_s_writes)
FORK(blocks_made_after_the_fork_are_shared_both_ways)
FORK(grandchildren_inherit_what_their_parent_had)
FORK(a_parent_may_be_gone_before_its_child)
FORK(a_thread_among_allocating_threads_may_fork)
FORK(a_coroutine_whose_stack_is_a_block_may_fork)
FORK(a_signal_handler_whose_stack_is_a_block_may_fork)
FORK(thousands_of_forks_leave_nothing)
FORK(memory_that_was_not_touched_reads_zero_in_every_child)
FORK(small_blocks_freed_under_snapshots_give_their_memory_back)
FORK(large_blocks_freed_under_snapshots_give_their_memory_back)
FORK(huge_blocks_freed_under_snapshots_give_their_memory_back)
FORK(large_blocks_freed_under_snapshots_give_their_place_back)
FORK(who_cannot_open_the_file_any_more_may_fork)

FORK_WAY(by_fork)
FORK_WAY(by_Fork)
FORK_WAY(by_forkpty)
FORK_WAY(by_daemon)
FORK_WAY(by_clone)
FORK_WAY(by_those_that_share_the_address_space)
FORK_SAYS("prog_fork_ways", by_a_raw_system_call, "", "forked by a raw system call")
FORK_SAYS("prog_fork_ways", a_refused_fork_is_enomem, "HSHM_FORK_MAX=6M",
          "fork refused: no room for a snapshot of")
FORK_WAY(thousands_of_forks_without_allocating)
FORK_WAY(while_other_threads_have_locked_files_and_keys)
FORK_WAY(while_threads_start)
FORK_WAY(after_dropping_privileges)
FORK_WAY(in_a_chroot)
FORK_WAY(with_a_stopped_child)

FORK_MAPPED(guard_pages_are_the_child_s_too)
FORK_MAPPED(hundreds_of_guard_pages)
FORK_MAPPED(guard_pages_made_by_a_raw_system_call)
FORK_MAPPED(code_in_a_block_runs_in_the_child)
FORK_MAPPED(a_ring_over_a_block_is_shared_as_it_was)
FORK_MAPPED(private_memory_over_a_block_is_copied_on_write)
FORK_MAPPED(whoever_gets_the_memory_next_may_use_it)

Test(fork, with_a_private_heap_whoever_gets_the_memory_next_may_use_it)
{
    assert_ran(run("", "prog_fork_mapped whoever_gets_the_memory_next_may_use_it"));
}

FORK_MEMBERS(parent_and_child_may_both_free_what_they_received)
FORK_MEMBERS(parent_and_child_may_both_free_what_an_ended_member_left)
FORK_MEMBERS(what_waited_for_a_child_is_given_back)
FORK_MEMBERS(what_a_child_receives_it_frees)
FORK_MEMBERS(parent_and_child_may_both_resize_the_same_block)
FORK_MEMBERS(a_grandchild_reads_what_the_owner_and_its_adopter_allocate)
FORK_SAYS("prog_fork_members", a_hold_that_keeps_too_much_is_given_up, "HSHM_FORK_HOLD=1M",
          "of free memory from reuse: the oldest no longer sees")
FORK_SAYS("prog_fork_members", a_large_block_is_viewed_a_small_one_copied,
          "HSHM_FORK=view HSHM_FORK_MAX=16M", NULL)
FORK_SAYS("prog_fork", a_pool_of_workers_works_in_its_parent_s_heap, "HSHM_FORK=share", NULL)
FORK_SAYS("prog_fork_members", a_raw_child_faults_in_the_heap, "HSHM_FORK_RAW=fault", NULL)

/* A thousand forks of each thread in the long form. */
Test(fork, eight_threads_fork_three_generations, .timeout = 5000)
{
    assert_said(in_a_segment(scale() > 1 ? "COUNT=1000" : "", "prog_fork_ways",
                             "eight_threads_fork_three_generations"),
                NULL);
}

/* Others attach, end and are killed between any two steps of a fork. */
Test(fork, members_come_and_go_while_threads_fork, .timeout = 5000)
{
    struct outcome o = shell(
        "export HSHM_SIZE=1G HSHM_SEGMENT=coming; mkfifo $TMPDIR/coming; "
        "LD_PRELOAD=$PRELOAD cat $TMPDIR/coming & exec 7>$TMPDIR/coming; "
        "LD_PRELOAD=$PRELOAD COUNT=%ld $BIN/prog_fork_ways eight_threads_fork_three_generations & "
        "forker=$!; n=0; bad=0; while kill -0 $forker 2>/dev/null; do n=$((n + 1)); "
        "LD_PRELOAD=$PRELOAD /bin/true || bad=1; "
        "LD_PRELOAD=$PRELOAD sh -c '(kill -9 $$; true) & wait' 2>/dev/null; done; "
        "wait $forker || bad=2; [ $n -gt 3 ] || bad=3; %s check coming >/dev/null || bad=9; "
        "exec 7>&-; wait; exit $bad",
        scale() > 1 ? 1000L : 12L, setting("TEST_TOOL", "build/hshm"));
    assert_said(o, NULL);
}

Test(fork, from_a_library_s_constructor)
{
    assert_ran(shell("HSHM_SEGMENT=constructor LD_PRELOAD=$PRELOAD:$BIN/lib_fork.so /bin/true"));
}

/* 'settings', and what is asked while the daemon lives */
#define DAEMON(settings, questions)                                                                \
    shell("export HSHM_SIZE=1G HSHM_SEGMENT=daemon HSHM_WARM=0 TOLD=$TMPDIR/told END=$TMPDIR/end " \
          "SEGMENT_FILE=/dev/shm/hshm1-$(id -u)-daemon; mkfifo $TOLD $END; "                       \
          "env LD_PRELOAD=$PRELOAD " settings " $BIN/prog_fork_members a_daemon_has_one_heap & "   \
          "timeout 30 cat $TOLD && " questions "; timeout 5 sh -c 'echo x > $END'; wait; "         \
          "rm -f $SEGMENT_FILE",                                                                   \
          tool, tool, tool, tool)

Test(fork, a_daemon_has_one_heap)
{
    const char *tool = setting("TEST_TOOL", "build/hshm");
    struct outcome o = DAEMON("HSHM_EXIT=reclaim UNTIL_GONE=1",
                              "%s check daemon > /dev/null && %s show daemon > /dev/null && "
                              "%s list > /dev/null && %s show daemon > /dev/null && echo good");
    cr_assert_str_eq(o.out, "ready\ngood\n", "%s%s", o.out, o.err);
}

Test(fork, what_a_daemon_s_parent_left_is_counted_and_can_be_freed)
{
    const char *tool = setting("TEST_TOOL", "build/hshm");
    struct outcome o = DAEMON("HSHM_EXIT=keep",
                              "sleep 0.2; %s reclaim -n daemon; "
                              "%s reclaim daemon > /dev/null; %s show -j daemon | tr -d ' \\n' | "
                              "grep -o '\"kept\":{[^}]*}'; test -x %s");
    cr_assert(strstr(o.out, "59.") || strstr(o.out, "60.") || strstr(o.out, "58."), "%s%s", o.out,
              o.err);
    cr_assert(strstr(o.out, "\"blocks\":0,\"bytes\":0}"), "%s%s", o.out, o.err);
}
