/* What malloc does where memory ends. */
#include "tests/process/expect.h"

#include <setjmp.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/wait.h>

/* Small and large blocks until nothing more is to be had; all of it intact; then it works again. */
static void the_heap_fills_up(void)
{
    enum { N = 100000 };
    static char *p[N];
    static const size_t sizes[] = { 1000, 100, 30000, 200000, 16 };
    int n = 0;
    for (; n < N; n++) {
        size_t size = sizes[n % 5];
        errno = 0;
        if (!(p[n] = malloc(size)))
            break;
        memset(p[n], n & 127, size);
    }
    expect(n > 100 && n < N && errno == ENOMEM);
    for (int i = 0; i < n; i++)
        for (size_t at = 0; at < sizes[i % 5]; at++)
            expect(p[i][at] == (i & 127));
    for (int i = 0; i < n; i++)
        free(p[i]);
    for (int i = 0; i < n - n / 10; i++) /* the rest may be in pages kept for their sizes */
        expect((p[i] = malloc(sizes[i % 5])));
}

/* ---- SIGBUS: all of this holds without the library, too --------------------------------------- */

static volatile sig_atomic_t caught, code;
static sigjmp_buf out;

static void note_it(int number)
{
    caught = number;
}

static void jump_out(int number, siginfo_t *info, void *context)
{
    (void)context;
    caught = number;
    code = info->si_code;
    siglongjmp(out, 1);
}

static struct sigaction now(void)
{
    struct sigaction action;
    expect(sigaction(SIGBUS, NULL, &action) == 0);
    return action;
}

static int blocks(int number)
{
    struct sigaction action = now();
    return sigismember(&action.sa_mask, number);
}

static void sigaction_answers_what_was_set(void)
{
    struct sigaction old, set = { .sa_handler = note_it, .sa_flags = SA_RESTART | SA_NODEFER };
    expect(now().sa_handler == SIG_DFL && now().sa_flags == 0);
    expect(signal(SIGBUS, note_it) == SIG_DFL && now().sa_handler == note_it);
    expect(now().sa_flags & SA_RESTART && blocks(SIGBUS) == 1);
    expect(signal(SIGBUS, SIG_IGN) == note_it && now().sa_handler == SIG_IGN);
    raise(SIGBUS);
    expect(signal(SIGBUS, SIG_DFL) == SIG_IGN);
    sigemptyset(&set.sa_mask);
    sigaddset(&set.sa_mask, SIGUSR1);
    expect(sigaction(SIGBUS, &set, &old) == 0 && old.sa_handler == SIG_DFL);
    expect((now().sa_flags & (SA_RESTART | SA_NODEFER | SA_SIGINFO)) == (SA_RESTART | SA_NODEFER));
    expect(blocks(SIGUSR1) == 1 && blocks(SIGINT) == 0);
    raise(SIGBUS);
    expect(caught == SIGBUS);
    set.sa_flags = SA_RESETHAND;
    expect(sigaction(SIGBUS, &set, NULL) == 0);
    caught = 0;
    raise(SIGBUS);
    expect(caught == SIGBUS && now().sa_handler == SIG_DFL);
}

/* A touch behind the end of a file is a SIGBUS. */
static volatile char *hole(void)
{
    FILE *f = tmpfile();
    char *at = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fileno(f), 0);
    expect(at != MAP_FAILED);
    return at;
}

static void a_handler_runs_and_may_jump_out(void)
{
    struct sigaction set = { .sa_sigaction = jump_out, .sa_flags = SA_SIGINFO | SA_NODEFER };
    volatile char *at = hole();
    expect(sigaction(SIGBUS, &set, NULL) == 0);
    for (volatile int i = 0; i < 3; i++) {
        caught = 0;
        if (sigsetjmp(out, 1) == 0)
            *at = 1;
        expect(caught == SIGBUS && code == BUS_ADRERR);
    }
    expect(now().sa_sigaction == jump_out);
}

static int end_of(pid_t pid)
{
    int status;
    expect(waitpid(pid, &status, 0) == pid);
    return status;
}

static void sent_or_caused_it_ends_the_program(void)
{
    volatile char *at = hole();
    for (int i = 0; i < 4; i++) {
        pid_t pid = fork();
        if (pid == 0) {
            if (i == 0)
                raise(SIGBUS);
            if (i == 1)
                *at = 1;
            if (i == 2)
                kill(getpid(), SIGBUS);
            signal(SIGBUS, note_it);
            signal(SIGBUS, SIG_DFL);
            raise(SIGBUS);
            _exit(0);
        }
        int status = end_of(pid);
        expect(WIFSIGNALED(status) && WTERMSIG(status) == SIGBUS);
    }
}

static void children_have_their_own(void)
{
    struct sigaction set = { .sa_handler = note_it }, old;
    expect(sigaction(SIGBUS, &set, NULL) == 0);
    pid_t pid = fork();
    if (pid == 0) {
        expect(now().sa_handler == note_it);
        signal(SIGBUS, SIG_DFL);
        expect(now().sa_handler == SIG_DFL);
        _exit(7);
    }
    expect(WEXITSTATUS(end_of(pid)) == 7 && now().sa_handler == note_it);
    pid = vfork();  /* NOLINT: this is what is tested */
    if (pid == 0) { /* as programs do before they execute another */
        struct sigaction none = { .sa_handler = SIG_DFL }; /* NOLINT */
        sigaction(SIGBUS, &none, &old);                    /* NOLINT */
        _exit(old.sa_handler == note_it ? 7 : 8);
    }
    expect(WEXITSTATUS(end_of(pid)) == 7 && now().sa_handler == note_it);
    caught = 0;
    raise(SIGBUS);
    expect(caught == SIGBUS);
}

static const struct check checks[] = {
    CHECK(sigaction_answers_what_was_set),
    CHECK(a_handler_runs_and_may_jump_out),
    CHECK(sent_or_caused_it_ends_the_program),
    CHECK(children_have_their_own),
    CHECK(the_heap_fills_up),
};

int main(int argc, char **argv)
{
    return RUN_CHECKS(checks, argc, argv);
}
