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

/* ---- what glibc's malloc needs, no more ---------------------------------------- */

#define ALLOW(number)                                                                              \
    BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (number), 0, 1),                                           \
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW)

static void sandbox(unsigned otherwise, int by_prctl)
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
        ALLOW(SYS_write),
        ALLOW(SYS_exit),
        ALLOW(SYS_exit_group),
        BPF_STMT(BPF_RET | BPF_K, otherwise),
    };
    struct sock_fprog program = { sizeof filter / sizeof *filter, filter };
    expect(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0);
    expect((by_prctl ? prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program)
                     : syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &program)) == 0);
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
    sandbox(SECCOMP_RET_KILL_PROCESS, 1);
    for (int i = 0; i < 20; i++)
        allocate();
    _exit(0);
}

/* As libseccomp does. */
static void calls_are_killed_by_seccomp(void)
{
    allocate();
    sandbox(SECCOMP_RET_KILL_PROCESS, 0);
    for (int i = 0; i < 20; i++)
        allocate();
    free(calloc(1, 5 << 20));
    _exit(0);
}

static void calls_are_refused(void)
{
    sandbox(SECCOMP_RET_ERRNO | EPERM, 1);
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
static volatile sig_atomic_t is_child;

static int wanted(void)
{
    return getenv("COUNT") ? atoi(getenv("COUNT")) : 60;
}

/* The next one comes only after a while outside of the handler: with a timer that runs on, a
 * machine that needs longer for a fork would never get out of it. */
static void alarm_soon(void)
{
    struct itimerval once = { { 0, 0 }, { 0, 150 + forks * 37 % 400 } };
    expect(setitimer(ITIMER_REAL, &once, NULL) == 0);
}

/* The child goes back into whatever malloc or free this has interrupted. */
static void on_alarm(int signal)
{
    (void)signal;
    int saved = errno, status = 0;
    if (forks >= wanted()) /* the threads may be ending */
        return;
    pid_t child = fork();
    if (child == 0) {
        is_child = 1;
        errno = saved;
        return;
    }
    expect(child > 0 && waitpid(child, &status, 0) == child);
    if (status != 7 << 8)
        dprintf(2, "a child ended with %#x\n", status), _exit(2);
    forks++;
    alarm_soon();
    errno = saved;
}

/* What is in a block never is another one's. */
static void turn(unsigned char mark, int rounds)
{
    static __thread unsigned char *p[60];
    for (int i = 0; i < 60 * rounds; i++) {
        int at = i * 7 % 60;
        size_t size = (size_t)at * at * 20 + 24;
        if (p[at]) {
            expect(p[at][8] == (unsigned char)(mark + at) && p[at][size - 1] == p[at][8]);
            free(p[at]);
        }
        expect((p[at] = malloc(size)));
        memset(p[at], mark + at, size);
    }
    for (int at = 0; at < 60; at++)
        free(p[at]), p[at] = NULL;
}

static void *churn(void *mark)
{
    while (forks < wanted() && !is_child)
        turn((unsigned char)(uintptr_t)mark, 5);
    return NULL;
}

static void fork_in_a_signal_handler(void)
{
    struct sigaction action = { .sa_handler = on_alarm, .sa_flags = SA_RESTART };
    expect(sigaction(SIGALRM, &action, NULL) == 0);
    alarm_soon();
    churn((void *)1);
    if (!is_child)
        return;
    turn(1, 50);
    pid_t child = fork(); /* it is a process like any other */
    if (child == 0) {
        turn(2, 50);
        _exit(0);
    }
    int status;
    expect(waitpid(child, &status, 0) == child && status == 0);
    _exit(7);
}

/* The signal comes to any of them; the child of a thread has that one alone. */
static void *churn_with_forks(void *mark)
{
    churn(mark);
    if (is_child) {
        turn((unsigned char)(uintptr_t)mark, 20);
        _exit(7);
    }
    return NULL;
}

static void fork_in_the_signal_handlers_of_threads(void)
{
    pthread_t threads[3];
    struct sigaction action = { .sa_handler = on_alarm, .sa_flags = SA_RESTART };
    expect(sigaction(SIGALRM, &action, NULL) == 0);
    for (uintptr_t i = 0; i < 3; i++)
        expect(pthread_create(&threads[i], NULL, churn_with_forks, (void *)(i * 10 + 3)) == 0);
    alarm_soon();
    churn_with_forks((void *)1);
    for (int i = 0; i < 3; i++)
        pthread_join(threads[i], NULL);
}

static const struct check checks[] = {
    CHECK(calls_are_killed),         CHECK(calls_are_killed_by_seccomp),
    CHECK(calls_are_refused),        CHECK(strict_mode),
    CHECK(fork_in_a_signal_handler), CHECK(fork_in_the_signal_handlers_of_threads),
};

int main(int argc, char **argv)
{
    return RUN_CHECKS(checks, argc, argv);
}
