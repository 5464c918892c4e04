/* prog_fork_ways: every way to fork, and from where.  In each the child finds the heap as it was
 * and may write it, and the parent sees nothing of that. */
#include "tests/process/expect.h"

#include <fcntl.h>
#include <grp.h>
#include <pthread.h>
#include <pty.h>
#include <sched.h>
#include <signal.h>
#include <spawn.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#define BLOCKS 300

extern char **environ;
pid_t _Fork(void);

static char *blocks[BLOCKS];

static int count_from_env(int otherwise)
{
    return getenv("COUNT") ? atoi(getenv("COUNT")) : otherwise;
}

static size_t size_of(int i)
{
    return i % 50 == 7 ? 300000 : (size_t)i * 13 + 16;
}

static void fill(char mark)
{
    for (int i = 0; i < BLOCKS; i++)
        memset(blocks[i] = malloc(size_of(i)), mark, size_of(i));
}

static void verify(char mark)
{
    for (int i = 0; i < BLOCKS; i++)
        for (size_t k = 0; k < size_of(i); k += 1 + size_of(i) / 20)
            expect(blocks[i][k] == mark);
}

/* What a child does with its heap; all that the parent must not see. */
static void use_heap(void)
{
    verify(1);
    for (int i = 0; i < BLOCKS; i++)
        memset(blocks[i], 2, size_of(i));
    for (int i = 0; i < BLOCKS; i += 2)
        free(blocks[i]);
    fill(3);
    verify(3);
}

static void child_ends(pid_t pid, int with)
{
    int status;
    expect(pid > 0 && waitpid(pid, &status, __WALL) == pid);
    if (status != with)
        dprintf(2, "a child ended with %#x\n", status), _exit(1);
    verify(1);
}

static void by(pid_t (*how)(void))
{
    for (int round = 0; round < 5; round++) {
        pid_t pid = how();
        if (pid == 0) {
            use_heap();
            _exit(0);
        }
        child_ends(pid, 0);
    }
}

static void by_fork(void)
{
    fill(1);
    by(fork);
}

static void by_Fork(void)
{
    fill(1);
    by(_Fork);
}

static pid_t forkpty_quietly(void)
{
    static int controller; /* the child's terminal as long as it lives */
    if (controller)
        close(controller);
    return forkpty(&controller, NULL, NULL, NULL);
}

static void by_forkpty(void)
{
    fill(1);
    by(forkpty_quietly);
}

/* The daemon tells by a pipe: its parent, our child, is gone. */
static void by_daemon(void)
{
    int told[2];
    char c = 0;
    fill(1);
    expect(pipe(told) == 0);
    pid_t pid = fork();
    if (pid == 0) {
        expect(daemon(0, 0) == 0);
        use_heap();
        expect(write(told[1], "d", 1) == 1);
        _exit(0);
    }
    close(told[1]);
    child_ends(pid, 0);
    expect(read(told[0], &c, 1) == 1 && c == 'd');
    verify(1);
}

static int run_clone(void *arg)
{
    char local[3000];
    memset(local, *(char *)arg, sizeof local);
    use_heap();
    expect(local[0] == local[sizeof local - 1]);
    return *(char *)arg;
}

static void by_clone(void)
{
    static char given = 77, here[100000];
    char *stack = malloc(100000); /* as most programs do */
    fill(1);
    for (int round = 0; round < 5; round++) {
        child_ends(clone(run_clone, here + sizeof here, SIGCHLD, &given), 77 << 8);
        child_ends(clone(run_clone, stack + 100000, SIGCHLD, &given), 77 << 8);
    }
    free(stack);
}

static volatile int shared_word;

static int run_vm(void *arg)
{
    char *p = malloc(1000);
    memset(p, 1, 1000);
    free(p);
    shared_word = *(int *)arg;
    return 0;
}

/* These share the address space: no copy, no second member. */
static void by_those_that_share_the_address_space(void)
{
    char *stack = malloc(100000), line[10] = "";
    char *const argv[] = { "true", NULL };
    int five = 5;
    pid_t pid;
    fill(1);
    for (int round = 0; round < 5; round++) {
        pid = vfork(); /* NOLINT: this is what is tested */
        if (pid == 0) {
            char *p = malloc(5000); /* NOLINT */
            p[0] = 1;
            free(p);
            execv("/bin/true", argv);
            _exit(9);
        }
        child_ends(pid, 0);
        expect(posix_spawn(&pid, "/bin/true", NULL, NULL, argv, environ) == 0);
        child_ends(pid, 0);
        expect(system("exit 3") == 3 << 8);
        FILE *f = popen("echo word", "r");
        expect(f && fgets(line, sizeof line, f) && strcmp(line, "word\n") == 0 && pclose(f) == 0);
        shared_word = 0;
        child_ends(clone(run_vm, stack + 100000, CLONE_VM | CLONE_VFORK | SIGCHLD, &five), 0);
        expect(shared_word == 5);
        free(malloc(1000));
    }
    verify(1);
}

/* No wrapper sees it: what it writes is shared, but the lists of its parent are not its own. */
static void by_a_raw_system_call(void)
{
    fill(1);
    for (int round = 0; round < 5; round++) {
        pid_t pid = (pid_t)syscall(SYS_fork);
        if (pid == 0) {
            verify(1);
            char *mine[500];
            for (int i = 0; i < 500; i++)
                memset(mine[i] = malloc(size_of(i % BLOCKS)), 9, size_of(i % BLOCKS));
            for (int i = 0; i < 500; i++)
                free(mine[i]);
            syscall(SYS_exit_group, 0);
        }
        for (int i = 0; i < 2000; i++)
            free(memset(malloc((size_t)i), 8, (size_t)i));
        child_ends(pid, 0);
    }
}

/* ---- refused ------------------------------------------------------------------------------------ */

/* HSHM_FORK_MAX is too small: each fails as it does for want of memory, and nothing else is lost. */
static void a_refused_fork_is_enomem(void)
{
    static char here[100000];
    int controller;
    char *large = malloc(8 << 20), given = 1;
    memset(large, 1, 8 << 20);
    fill(1);
    for (int round = 0; round < 3; round++) {
        errno = 0;
        expect(fork() == -1 && errno == ENOMEM);
        errno = 0;
        expect(_Fork() == -1 && errno == ENOMEM);
        errno = 0;
        expect(daemon(1, 1) == -1 && errno == ENOMEM);
        errno = 0;
        expect(forkpty(&controller, NULL, NULL, NULL) == -1 && errno == ENOMEM);
        errno = 0;
        expect(clone(run_clone, here + sizeof here, SIGCHLD, &given) == -1 && errno == ENOMEM);
        expect(waitpid(-1, NULL, 0) == -1 && errno == ECHILD);
        expect(system("exit 3") == 3 << 8);
    }
    verify(1);
    free(large);
    by(fork);
}

/* More than there are places for holds, and nothing that would look for ended ones in between. */
static void thousands_of_forks_without_allocating(void)
{
    int forks = count_from_env(4200);
    fill(1);
    for (int i = 0; i < forks; i++) {
        pid_t pid = fork();
        if (pid == 0)
            _exit(blocks[i % BLOCKS][0] == 1 ? 0 : 1);
        int status;
        expect(pid > 0 && waitpid(pid, &status, 0) == pid && status == 0);
    }
}

/* ---- from where --------------------------------------------------------------------------------- */

#define KEYS 100
static pthread_key_t keys[KEYS];
static volatile int stop, ready;
static FILE *file;

static void *locks_and_keys(void *arg)
{
    for (uintptr_t i = 0; i < KEYS; i++)
        expect(pthread_setspecific(keys[i], (void *)(i + 1)) == 0);
    flockfile(file);
    ready = 1;
    while (!stop)
        usleep(1000);
    for (uintptr_t i = 0; i < KEYS; i++)
        expect(pthread_getspecific(keys[i]) == (void *)(i + 1));
    expect(fprintf(file, "still mine\n") > 0);
    funlockfile(file);
    return arg;
}

/* glibc's fork writes to both in the child. */
static void while_other_threads_have_locked_files_and_keys(void)
{
    pthread_t thread;
    fill(1);
    for (int i = 0; i < KEYS; i++)
        expect(pthread_key_create(&keys[i], NULL) == 0);
    expect((file = fopen("/dev/null", "w")) != NULL);
    expect(pthread_create(&thread, NULL, locks_and_keys, NULL) == 0);
    while (!ready)
        usleep(1000);
    for (int round = 0; round < 5; round++) {
        pid_t pid = fork();
        if (pid == 0) {
            use_heap();
            expect(ftrylockfile(file) == 0); /* there is nobody else any more */
            fprintf(file, "child\n");
            _exit(0);
        }
        child_ends(pid, 0);
        expect(ftrylockfile(file) != 0); /* the thread here still has it */
    }
    stop = 1;
    pthread_join(thread, NULL);
    fclose(file);
}

static void *first_malloc(void *arg)
{
    free(malloc(100));
    return arg;
}

/* Each has its place in the segment made while others fork. */
static void *starts_threads(void *arg)
{
    while (!stop) {
        pthread_t threads[4];
        for (int i = 0; i < 4; i++)
            expect(pthread_create(&threads[i], NULL, first_malloc, NULL) == 0);
        for (int i = 0; i < 4; i++)
            pthread_join(threads[i], NULL);
    }
    return arg;
}

static void while_threads_start(void)
{
    pthread_t thread;
    fill(1);
    expect(pthread_create(&thread, NULL, starts_threads, NULL) == 0);
    for (int i = 0; i < 10; i++)
        by(fork);
    stop = 1;
    pthread_join(thread, NULL);
}

/* Three generations; each thread's blocks are its own in all of them. */
static void fork_deep(char mark, int generations)
{
    char *mine[40];
    for (int i = 0; i < 40; i++)
        memset(mine[i] = malloc(size_of(i)), mark, size_of(i));
    pid_t pid = fork();
    for (int i = 0; i < 40; i++)
        expect(mine[i][0] == mark && mine[i][size_of(i) - 1] == mark);
    if (pid == 0) {
        if (generations > 1)
            fork_deep((char)(mark + 1), generations - 1);
        for (int i = 0; i < 40; i++) {
            expect(mine[i][size_of(i) - 1] == mark);
            memset(mine[i], 0, size_of(i));
            free(mine[i]);
        }
        _exit(0);
    }
    int status;
    expect(pid > 0 && waitpid(pid, &status, 0) == pid && status == 0);
    for (int i = 0; i < 40; i++) {
        expect(mine[i][0] == mark && mine[i][size_of(i) - 1] == mark);
        free(mine[i]);
    }
}

static void *forks_deep(void *arg)
{
    for (int i = 0; i < count_from_env(12); i++)
        fork_deep((char)(uintptr_t)arg, 3);
    return arg;
}

static void eight_threads_fork_three_generations(void)
{
    pthread_t threads[8];
    fill(1);
    for (uintptr_t i = 0; i < 8; i++)
        expect(pthread_create(&threads[i], NULL, forks_deep, (void *)(i * 10 + 10)) == 0);
    for (int i = 0; i < 8; i++)
        pthread_join(threads[i], NULL);
    verify(1);
}

static void after_dropping_privileges(void)
{
    fill(1);
    if (geteuid() == 0)
        expect(setgroups(0, NULL) == 0 && setgid(65534) == 0 && setuid(65534) == 0);
    by(fork);
    pid_t pid = fork(); /* and its children */
    if (pid == 0) {
        by(fork);
        _exit(0);
    }
    child_ends(pid, 0);
}

static void in_a_chroot(void)
{
    fill(1);
    if (geteuid() == 0)
        expect(chroot("/proc/self/fdinfo") == 0 && chdir("/") == 0);
    by(fork);
}

static void with_a_stopped_child(void)
{
    fill(1);
    pid_t pid = fork();
    if (pid == 0) {
        raise(SIGSTOP);
        verify(1);
        _exit(0);
    }
    int status;
    expect(waitpid(pid, &status, WUNTRACED) == pid && WIFSTOPPED(status));
    for (int i = 0; i < 10; i++)
        by(fork);
    kill(pid, SIGCONT);
    child_ends(pid, 0);
}

static const struct check checks[] = {
    CHECK(by_fork),
    CHECK(by_Fork),
    CHECK(by_forkpty),
    CHECK(by_daemon),
    CHECK(by_clone),
    CHECK(by_those_that_share_the_address_space),
    CHECK(by_a_raw_system_call),
    CHECK(a_refused_fork_is_enomem),
    CHECK(thousands_of_forks_without_allocating),
    CHECK(while_other_threads_have_locked_files_and_keys),
    CHECK(while_threads_start),
    CHECK(eight_threads_fork_three_generations),
    CHECK(after_dropping_privileges),
    CHECK(in_a_chroot),
    CHECK(with_a_stopped_child),
};

int main(int argc, char **argv)
{
    return RUN_CHECKS(checks, argc, argv);
}
