/* Programs that forbid themselves system calls, and that fork in signal handlers. */
#include "tests/process/run.h"

/* In a segment it sometimes waits for ever: an open point in docs/design.md. */
Test(others, fork_in_a_signal_handler_privately)
{
    assert_ran(run("", "prog_others fork_in_a_signal_handler"));
}

/* These end without exit(), or may not unlink: nobody removes the segment's file. */
#define WITHOUT_EXIT(check)                                                                        \
    Test(others, check)                                                                            \
    {                                                                                              \
        assert_ran(run("", "prog_others " #check));                                                \
        struct outcome o = run("HSHM_SEGMENT=" #check, "prog_others " #check);                     \
        shell("rm -f /dev/shm/hshm*-" #check);                                                     \
        assert_ran(o);                                                                             \
    }
WITHOUT_EXIT(calls_are_refused)
WITHOUT_EXIT(calls_are_killed)
WITHOUT_EXIT(strict_mode)
