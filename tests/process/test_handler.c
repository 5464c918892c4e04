/* fork() in a handler between any two instructions of a program that allocates.
 *
 * The child goes on in the middle of a call of malloc or free.  A signal that comes
 * while it is blocked is delivered later: then nothing was interrupted. */
#include "tests/process/run.h"

#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/ptrace.h>
#include <sys/user.h>
#include <sys/wait.h>

#define TURNS    8
#define CHILDREN 60 /* in a turn; the program has room for 64 */
#define APART    37 /* the places of two turns; a prime */

static pid_t start(const char *segment)
{
    pid_t pid = fork();
    if (pid == 0) {
        char program[600], number[16];
        snprintf(program, sizeof program, "%s/prog_handler", bin());
        snprintf(number, sizeof number, "%ld",
                 TURNS * (scale() < 64 ? scale() : 64)); /* then all places */
        setenv("LD_PRELOAD", preload(), 1);
        setenv("HSHM_SEGMENT", segment, 1);
        setenv("HSHM_SIZE", "1G", 1);
        setenv("HSHM_VERBOSE", "0", 1); /* each child would say that its heap is private */
        setenv("TURNS", number, 1);
        /* A step for each byte that it clears would take too long. */
        setenv("GLIBC_TUNABLES",
               "glibc.cpu.x86_rep_stosb_threshold=1000000000:"
               "glibc.cpu.x86_rep_movsb_threshold=1000000000",
               1);
        ptrace(PTRACE_TRACEME, 0, 0, 0);
        execl(program, program, "forks_where_it_is_interrupted", NULL);
        _exit(127);
    }
    return pid;
}

/* Goes on, with a signal or without, until the next stop; 0: it has ended. */
static int go(pid_t pid, int request, int signal)
{
    int status;
    cr_assert_eq(ptrace((enum __ptrace_request)request, pid, 0, (long)signal), 0);
    cr_assert_eq(waitpid(pid, &status, 0), pid);
    if (WIFSTOPPED(status) && WSTOPSIG(status) == SIGCHLD)
        return go(pid, PTRACE_CONT, 0);
    if (WIFSTOPPED(status))
        return WSTOPSIG(status);
    cr_assert(WIFEXITED(status) && WEXITSTATUS(status) == 0, "it ended with %#x", status);
    return 0;
}

/* Steps on until the signal has been handled, or the part that is stepped through is over. */
static int interrupt(pid_t pid)
{
    int stop;
    do /* one that was blocked comes again when it is not */
        stop = go(pid, PTRACE_CONT, SIGUSR1);
    while (stop == SIGUSR1);
    cr_assert(stop == SIGSTOP || stop == SIGTSTP, "signal %d", stop);
    return stop;
}

struct range {
    unsigned long from, to;
};

/* Where the code of the library is in that process. */
static struct range library(pid_t pid)
{
    struct range code = { 0, 0 };
    char path[64], line[700], rights[8];
    snprintf(path, sizeof path, "/proc/%d/maps", (int)pid);
    FILE *f = fopen(path, "r");
    while (f && fgets(line, sizeof line, f)) {
        struct range r;
        if (strstr(line, "libhshm_preload") &&
            sscanf(line, "%lx-%lx %7s", &r.from, &r.to, rights) == 3 && rights[2] == 'x')
            code = r;
    }
    if (f)
        fclose(f);
    cr_assert_gt(code.to, code.from);
    return code;
}

static bool is_in(pid_t pid, struct range code)
{
    unsigned long at =
        (unsigned long)ptrace(PTRACE_PEEKUSER, pid, offsetof(struct user_regs_struct, rip), 0);
    return at - code.from < code.to - code.from;
}

/* One turn, with a child at each of the places first, first + stride ... of the library;
 * how many there are. */
static unsigned long step_through(pid_t pid, struct range code, unsigned long first,
                                  unsigned long stride, unsigned *children)
{
    unsigned long places = 0, next = first;
    unsigned made = 0;
    int stop = SIGTRAP;
    while (stop != SIGTSTP) {
        if (is_in(pid, code) && places++ == next && made < CHILDREN) {
            stop = interrupt(pid);
            next += stride;
            made++;
        } else {
            stop = go(pid, PTRACE_SINGLESTEP, 0);
        }
        cr_assert(stop == SIGTRAP || stop == SIGSTOP || stop == SIGTSTP, "signal %d", stop);
    }
    *children += made;
    return places;
}

static void fork_everywhere(const char *segment)
{
    unsigned children = 0, turn = 0;
    unsigned long places = 0, stride = 0;
    pid_t pid = start(segment);
    cr_assert_eq(waitpid(pid, NULL, 0), pid); /* the exec */
    cr_assert_eq(ptrace(PTRACE_SETOPTIONS, pid, 0, PTRACE_O_EXITKILL), 0);
    for (int stop = go(pid, PTRACE_CONT, 0); stop; stop = go(pid, PTRACE_CONT, 0)) {
        cr_assert_eq(stop, SIGSTOP);
        /* In the first turn the places are counted; each further one has others. */
        places = stride ? step_through(pid, library(pid), turn * APART % stride, stride, &children)
                        : step_through(pid, library(pid), UINT64_MAX, 1, &children);
        stride = places / CHILDREN + 1;
        turn++;
    }
    fprintf(stderr, "%u forks in turns of %lu instructions\n", children, places);
    cr_assert_gt(children, TURNS / 2 * CHILDREN);
}

Test(handler, a_fork_between_any_two_instructions_gives_a_sound_child, .timeout = 3000)
{
    fork_everywhere("a_fork_between_any_two_instructions");
}
