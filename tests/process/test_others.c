/* Programs that forbid themselves system calls, and that fork in signal handlers. */
#include "tests/process/run.h"

/* The child has a private heap then, and says so: that is no member's block in two hands. */
#define IN_A_HANDLER(check)                                                                        \
    Test(others, check##_privately)                                                                \
    {                                                                                              \
        assert_ran(run("", "prog_others " #check));                                                \
    }                                                                                              \
    Test(others, check##_in_a_segment)                                                             \
    {                                                                                              \
        struct outcome o = run("HSHM_SIZE=1G HSHM_SEGMENT=" #check, "prog_others " #check);        \
        cr_assert_eq(o.status, 0, "exit status %d: %s%s", o.status, o.err, o.out);                 \
        for (char *line = strtok(o.err, "\n"); line; line = strtok(NULL, "\n"))                    \
            cr_expect(strstr(line, "interrupted malloc: this child has a private heap"), "%s",     \
                      line);                                                                       \
    }
IN_A_HANDLER(fork_in_a_signal_handler)
IN_A_HANDLER(fork_in_the_signal_handlers_of_threads)

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
WITHOUT_EXIT(calls_are_killed_by_seccomp)
WITHOUT_EXIT(strict_mode)
