/* Run a program on a kernel that is not the one we have.
 *
 *   prog_kernel old PROGRAM ...    as before 4.17 and 5.14: MAP_FIXED_NOREPLACE means nothing, the
 *                                  address is a hint, and MADV_POPULATE_WRITE is not known
 *   prog_kernel liar PROGRAM ...   advice that is not known succeeds, as under qemu-user
 *   prog_kernel stingy PROGRAM ... as liar, and files get no holes either
 *   prog_kernel old probe          does it seem so from inside?  (liar probe, too)
 *
 * $PRELOADED, if set, becomes the program's LD_PRELOAD: we ourselves have none. */
#include "tests/process/expect.h"

#include <linux/filter.h>
#include <linux/mman.h>
#include <linux/seccomp.h>
#include <signal.h>
#include <stddef.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/user.h>
#include <sys/wait.h>

#define NOREPLACE 0x100000
#define ARG(n)    (offsetof(struct seccomp_data, args) + 8 * (n))
#define LOAD(at)  BPF_STMT(BPF_LD | BPF_W | BPF_ABS, (at))
#define RETURN(x) BPF_STMT(BPF_RET | BPF_K, (x))

static void filter(int liar, int stingy)
{
    unsigned answer = SECCOMP_RET_ERRNO | (liar ? 0 : EINVAL);
    struct sock_filter program[] = {
        LOAD(offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_madvise, 0, 6),
        LOAD(ARG(2)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, 22 /* MADV_POPULATE_READ */, 2, 0),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, 23 /* MADV_POPULATE_WRITE */, 1, 0),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, liar ? MADV_REMOVE : 9999, 0, 1),
        RETURN(answer),
        RETURN(SECCOMP_RET_ALLOW),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, stingy ? SYS_fallocate : 9999, 0, 1),
        RETURN(SECCOMP_RET_ERRNO | EOPNOTSUPP),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, liar ? 9999 : SYS_mmap, 0, 3),
        LOAD(ARG(3)),
        BPF_JUMP(BPF_JMP | BPF_JSET | BPF_K, NOREPLACE, 0, 1),
        RETURN(SECCOMP_RET_TRACE),
        RETURN(SECCOMP_RET_ALLOW),
    };
    struct sock_fprog all = { sizeof program / sizeof *program, program };
    expect(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0);
    expect(prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &all) == 0);
}

static int probe(int liar)
{
    size_t n = 4096;
    char *p = mmap(NULL, n, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    expect(p != MAP_FAILED);
    p[0] = 1;
    char *q = mmap(p, n, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | NOREPLACE, -1, 0);
    expect((q == MAP_FAILED) == liar && q != p && p[0] == 1);
    expect(madvise(p, n, 23) == (liar ? 0 : -1));
    expect(madvise(p, n, MADV_DONTNEED) == 0 && p[0] == 0);
    return 0;
}

static void forget_noreplace(pid_t pid)
{
    struct user_regs_struct regs;
    expect(ptrace(PTRACE_GETREGS, pid, 0, &regs) == 0);
    regs.r10 &= ~(unsigned long long)NOREPLACE;
    expect(ptrace(PTRACE_SETREGS, pid, 0, &regs) == 0);
}

/* Until 'first' has ended, whatever it starts. */
static int trace(pid_t first)
{
    int status;
    pid_t pid;
    while ((pid = waitpid(-1, &status, __WALL)) > 0) {
        if (!WIFSTOPPED(status)) {
            if (pid == first)
                return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
            continue;
        }
        int event = status >> 16, signal = event ? 0 : WSTOPSIG(status);
        if (event == PTRACE_EVENT_SECCOMP)
            forget_noreplace(pid);
        ptrace(PTRACE_CONT, pid, 0, signal == SIGSTOP ? 0 : signal);
    }
    return 3;
}

int main(int argc, char **argv)
{
    expect(argc > 2);
    int stingy = strcmp(argv[1], "stingy") == 0, liar = stingy || strcmp(argv[1], "liar") == 0;
    pid_t child = fork();
    if (child == 0) {
        expect(ptrace(PTRACE_TRACEME, 0, 0, 0) == 0);
        raise(SIGSTOP);
        filter(liar, stingy);
        if (strcmp(argv[2], "probe") == 0)
            _exit(probe(liar));
        if (getenv("PRELOADED"))
            setenv("LD_PRELOAD", getenv("PRELOADED"), 1);
        execvp(argv[2], argv + 2);
        _exit(127);
    }
    int status;
    expect(waitpid(child, &status, __WALL) == child && WIFSTOPPED(status));
    long options = PTRACE_O_TRACESECCOMP | PTRACE_O_TRACEFORK | PTRACE_O_TRACEVFORK |
                   PTRACE_O_TRACECLONE | PTRACE_O_TRACEEXEC | PTRACE_O_EXITKILL;
    expect(ptrace(PTRACE_SETOPTIONS, child, 0, options) == 0);
    expect(ptrace(PTRACE_CONT, child, 0, 0) == 0);
    return trace(child);
}
