/* Programs that do unusual things: seccomp filters, fork in a signal handler. */
#include "tests/process/expect.h"

#include <linux/filter.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <signal.h>
#include <stddef.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/wait.h>

/* ---- what glibc's malloc needs, and how we look for the dead and for room ---------------------------------------- */

#define ALLOW(number)                                                                              \
    BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (number), 0, 1),                                           \
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW)

static void sandbox(unsigned otherwise)
{
    struct sock_filter filter[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        ALLOW(SYS_brk),
        ALLOW(SYS_mmap),
        ALLOW(SYS_munmap),
        ALLOW(SYS_mremap),
        ALLOW(SYS_mprotect),
        ALLOW(SYS_madvise),
        ALLOW(SYS_futex),
        ALLOW(SYS_rt_sigprocmask),
        ALLOW(SYS_openat),
        ALLOW(SYS_close),
        ALLOW(SYS_fcntl),
        ALLOW(SYS_newfstatat),
        ALLOW(SYS_statfs),
        ALLOW(SYS_write),
        ALLOW(SYS_exit),
        ALLOW(SYS_exit_group),
        BPF_STMT(BPF_RET | BPF_K, otherwise),
    };
    struct sock_fprog program = { sizeof filter / sizeof *filter, filter };
    expect(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0);
    expect(prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) == 0);
}

static void allocate(void)
{
    static char *p[3000];
    for (int i = 0; i < 3000; i++) {
        size_t size = i % 10 ? (size_t)i : (size_t)i * 100;
        expect((p[i] = malloc(size)));
        memset(p[i], i, size);
        expect((p[i] = realloc(p[i], size * 2 + 1)));
    }
    for (int i = 0; i < 3000; i++)
        free(p[i]);
}

static void calls_are_killed(void)
{
    allocate();
    sandbox(SECCOMP_RET_KILL_PROCESS);
    allocate();
    _exit(0);
}

static void calls_are_refused(void)
{
    sandbox(SECCOMP_RET_ERRNO | EPERM);
    allocate();
}

/* Only read, write, _exit: for blocks of sizes that the program has used. */
static void strict_mode(void)
{
    void *p[100];
    for (int i = 0; i < 100; i++)
        expect((p[i] = malloc((size_t)i)));
    for (int i = 0; i < 100; i++)
        free(p[i]);
    expect(prctl(PR_SET_SECCOMP, SECCOMP_MODE_STRICT) == 0);
    for (int i = 0; i < 100; i++)
        if (!(p[i] = malloc((size_t)i)))
            syscall(SYS_exit, 3);
    for (int i = 0; i < 100; i++)
        free(p[i]);
    syscall(SYS_exit, 0);
}

/* ---- fork in a handler --------------------------------------------------------------------- */

static volatile int forks;

static void on_alarm(int signal)
{
    (void)signal;
    int saved = errno;
    pid_t child = fork();
    if (child == 0)
        _exit(7);
    int status = 0;
    if (child < 0 || waitpid(child, &status, 0) != child || WEXITSTATUS(status) != 7)
        _exit(2);
    forks++;
    errno = saved;
}

static void *churn(void *none)
{
    while (forks < (getenv("COUNT") ? atoi(getenv("COUNT")) : 10)) {
        void *p[50];
        for (int i = 0; i < 50; i++)
            expect((p[i] = malloc((size_t)i * i * 20)));
        for (int i = 0; i < 50; i++)
            free(p[i]);
    }
    return none;
}

static void fork_in_a_signal_handler(void)
{
    enum { THREADS = 3 };
    pthread_t threads[THREADS + 1];
    struct sigaction action = { .sa_handler = on_alarm, .sa_flags = SA_RESTART };
    struct itimerval often = { { 0, 3000 }, { 0, 3000 } }, never = { { 0, 0 }, { 0, 0 } };
    expect(sigaction(SIGALRM, &action, NULL) == 0);
    for (int i = 0; i < THREADS; i++)
        expect(pthread_create(&threads[i], NULL, churn, NULL) == 0);
    expect(setitimer(ITIMER_REAL, &often, NULL) == 0);
    churn(NULL);
    for (int i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    setitimer(ITIMER_REAL, &never, NULL);
}

static const struct check checks[] = {
    CHECK(calls_are_killed),
    CHECK(calls_are_refused),
    CHECK(strict_mode),
    CHECK(fork_in_a_signal_handler),
};

int main(int argc, char **argv)
{
    return RUN_CHECKS(checks, argc, argv);
}
