/* fork in a named segment: the child has its own heap as it was, and what is made later is shared.
 * timeout: 400 */
#include "tests/process/run.h"

/* Afterwards the segment is sound: a member keeps it for the check. */
#define FORK(check)                                                                                \
    Test(fork, check)                                                                              \
    {                                                                                              \
        struct outcome o =                                                                         \
            shell("export HSHM_SIZE=1G HSHM_SEGMENT=" #check "; "                                  \
                  "export SEGMENT_FILE=/dev/shm/hshm1-$(id -u)-" #check "; "                       \
                  "mkfifo $TMPDIR/" #check "; LD_PRELOAD=$PRELOAD cat $TMPDIR/" #check " & "       \
                  "exec 7>$TMPDIR/" #check "; "                                                    \
                  "LD_PRELOAD=$PRELOAD timeout 100 $BIN/prog_fork " #check "; s=$?; "              \
                  "%s check " #check " >&2 || s=9; exec 7>&-; wait; exit $s",                      \
                  setting("TEST_TOOL", "build/hshm"));                                             \
        cr_assert_eq(o.status, 0, "exit status %d: %s%s", o.status, o.err, o.out);                 \
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
FORK(who_cannot_open_the_file_any_more_may_fork)
