/* prog_fork: what fork means to a program that knows only malloc and free. */
#include "tests/process/expect.h"

#include <pthread.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <ucontext.h>

#define BLOCKS 2000

static char *blocks[BLOCKS];

static size_t size_of(int i)
{
    return i % 97 == 0 ? 300000 : i % 13 == 0 ? 20000 : (size_t)(i % 1000) + 16;
}

static void fill_all(int mark)
{
    for (int i = 0; i < BLOCKS; i++)
        memset(blocks[i] = malloc(size_of(i)), (i + mark) & 127, size_of(i));
}

static void verify_all(int mark)
{
    for (int i = 0; i < BLOCKS; i++)
        for (size_t k = 0; k < size_of(i); k += 1 + size_of(i) / 50)
            expect(blocks[i][k] == ((i + mark) & 127));
}

static void free_all(void)
{
    for (int i = 0; i < BLOCKS; i++)
        free(blocks[i]);
}

static void ends_well(pid_t pid)
{
    int status;
    expect(pid > 0 && waitpid(pid, &status, 0) == pid && status == 0);
}

static void a_child_sees_the_heap_as_it_was(void)
{
    fill_all(1);
    int go[2];
    expect(pipe(go) == 0);
    pid_t pid = fork();
    if (pid == 0) {
        char c;
        expect(read(go[0], &c, 1) == 1);
        verify_all(1);
        for (int i = 0; i < BLOCKS; i++)
            memset(blocks[i], 99, size_of(i));
        free_all();
        fill_all(5);
        verify_all(5);
        _exit(0);
    }
    free_all();
    fill_all(2);
    expect(write(go[1], "x", 1) == 1);
    ends_well(pid);
    verify_all(2);
    free_all();
}

static void a_parent_sees_nothing_of_its_child_s_writes(void)
{
    fill_all(1);
    for (int round = 0; round < 20; round++) {
        pid_t pid = fork();
        if (pid == 0) {
            for (int i = 0; i < BLOCKS; i++)
                memset(blocks[i], round, size_of(i));
            _exit(0);
        }
        ends_well(pid);
        verify_all(1);
    }
    free_all();
}

/* The child's block is read here, ours there: a pipe carries addresses only. */
static void blocks_made_after_the_fork_are_shared_both_ways(void)
{
    fill_all(1);
    int down[2], up[2];
    expect(pipe(down) == 0 && pipe(up) == 0);
    pid_t pid = fork();
    for (int i = 0; i < 3000; i++) {
        size_t n = size_of(i % BLOCKS) % 40000 + 16;
        char *mine = malloc(n), *theirs;
        memset(mine, pid ? 17 : 18, n);
        expect(write(pid ? down[1] : up[1], &mine, sizeof mine) == sizeof mine);
        expect(read(pid ? up[0] : down[0], &theirs, sizeof theirs) == sizeof theirs);
        expect(theirs[0] == (pid ? 18 : 17) && theirs[n - 1] == (pid ? 18 : 17));
        free(theirs);
        if (i % 5 == 0 && i / 5 < BLOCKS)
            free(blocks[i / 5]), blocks[i / 5] = NULL;
    }
    if (!pid)
        _exit(0);
    ends_well(pid);
}

static void generation(int left)
{
    if (!left)
        return;
    verify_all(1);
    pid_t pid = fork();
    if (pid == 0) {
        verify_all(1);
        for (int i = 0; i < BLOCKS; i += 3) { /* some go, and come back with the same bytes */
            free(blocks[i]);
            memset(blocks[i] = malloc(size_of(i)), (i + 1) & 127, size_of(i));
        }
        generation(left - 1);
        verify_all(1);
        _exit(0);
    }
    ends_well(pid);
    verify_all(1);
}

static void grandchildren_inherit_what_their_parent_had(void)
{
    fill_all(1);
    generation(6);
    free_all();
}

static void a_parent_may_be_gone_before_its_child(void)
{
    int done[2];
    char c = 0;
    expect(pipe(done) == 0);
    pid_t pid = fork();
    if (pid == 0) {
        fill_all(1);
        pid_t grandchild = fork();
        if (grandchild == 0) {
            usleep(50000);
            verify_all(1);
            free_all();
            fill_all(2);
            verify_all(2);
            expect(write(done[1], "x", 1) == 1);
            _exit(0);
        }
        exit(0);
    }
    ends_well(pid);
    close(done[1]);
    expect(read(done[0], &c, 1) == 1 && c == 'x');
}

static volatile int stop;

static void *churn(void *arg)
{
    char *kept[64] = { 0 };
    for (unsigned i = 0; !stop; i++) {
        char **p = &kept[i * 7 % 64];
        free(*p);
        *p = malloc(16 + i * 37 % 3000);
        **p = 1;
    }
    for (int i = 0; i < 64; i++)
        free(kept[i]);
    return arg;
}

static void a_thread_among_allocating_threads_may_fork(void)
{
    pthread_t threads[3];
    fill_all(1);
    for (int i = 0; i < 3; i++)
        expect(pthread_create(&threads[i], NULL, churn, NULL) == 0);
    for (int i = 0; i < 60; i++) {
        pid_t pid = fork();
        if (pid == 0) {
            verify_all(1);
            free_all();
            fill_all(3);
            verify_all(3);
            _exit(0);
        }
        ends_well(pid);
    }
    stop = 1;
    for (int i = 0; i < 3; i++)
        pthread_join(threads[i], NULL);
    verify_all(1);
    free_all();
}

static ucontext_t here, there;

static void fork_and_verify(void)
{
    char local[256];
    for (int i = 0; i < 20; i++) {
        memset(local, i, sizeof local);
        pid_t pid = fork();
        if (pid == 0) {
            expect(local[0] == i && local[255] == i);
            memset(local, 77, sizeof local);
            verify_all(1);
            _exit(0);
        }
        ends_well(pid);
        expect(local[0] == i && local[255] == i);
    }
}

static void a_coroutine_whose_stack_is_a_block_may_fork(void)
{
    char *stack = malloc(100000);
    fill_all(1);
    expect(getcontext(&there) == 0);
    there.uc_stack.ss_sp = stack;
    there.uc_stack.ss_size = 100000;
    there.uc_link = &here;
    makecontext(&there, fork_and_verify, 0);
    expect(swapcontext(&here, &there) == 0);
    free(stack);
}

static void on_signal(int signal)
{
    (void)signal;
    fork_and_verify();
}

static void a_signal_handler_whose_stack_is_a_block_may_fork(void)
{
    stack_t stack = { .ss_sp = malloc(100000), .ss_size = 100000 };
    struct sigaction action = { .sa_handler = on_signal, .sa_flags = SA_ONSTACK };
    fill_all(1);
    expect(sigaltstack(&stack, NULL) == 0 && sigaction(SIGUSR1, &action, NULL) == 0);
    raise(SIGUSR1);
}

static void thousands_of_forks_leave_nothing(void)
{
    int forks = getenv("COUNT") ? atoi(getenv("COUNT")) : 1000;
    fill_all(1);
    for (int i = 0; i < forks; i++) {
        pid_t pid = fork();
        if (pid == 0) {
            if (i % 3 == 0)
                execl("/bin/true", "true", NULL);
            _exit(blocks[i % BLOCKS][0] == ((i % BLOCKS + 1) & 127) ? 0 : 1);
        }
        ends_well(pid);
        free(blocks[i % BLOCKS]);
        memset(blocks[i % BLOCKS] = malloc(size_of(i % BLOCKS)), (i % BLOCKS + 1) & 127,
               size_of(i % BLOCKS));
    }
    verify_all(1);
    free_all();
}

static void memory_that_was_not_touched_reads_zero_in_every_child(void)
{
    for (int i = 0; i < 30; i++) {
        size_t n = 400000 + (size_t)i * 4096;
        char *small = malloc(200000), *sparse = calloc(1, n);
        memset(small, 55, 200000);
        sparse[4096 * 3] = 7;
        pid_t pid = fork();
        if (pid == 0) {
            for (size_t k = 0; k < n; k++)
                expect(sparse[k] == (k == 4096 * 3 ? 7 : 0));
            _exit(0);
        }
        ends_well(pid);
        if (i % 2)
            free(small);
        free(sparse);
    }
}

static long file_bytes(void)
{
    struct stat st;
    expect(stat(getenv("SEGMENT_FILE"), &st) == 0);
    return (long)st.st_blocks * 512;
}

#define HEAP (8L << 20)

static void many(long size, char **all, long count)
{
    for (long i = 0; i < count; i++) {
        free(all[i]);
        memset(all[i] = malloc((size_t)size), 1, (size_t)size);
    }
}

/* Each child holds the pages of its time; what is in them no longer is given back. */
static void turn_over(long size)
{
    pid_t pids[40];
    long count = HEAP / size, before, most = 0;
    char **all = calloc((size_t)count, sizeof *all);
    many(size, all, count);
    before = file_bytes();
    for (int i = 0; i < 40; i++) {
        pids[i] = fork();
        if (pids[i] == 0) {
            pause();
            _exit(0);
        }
        for (long k = 0; k < count; k++)
            free(all[k]), all[k] = NULL;
        many(size, all, count);
        if (file_bytes() > most)
            most = file_bytes();
    }
    for (int i = 0; i < 40; i++) {
        kill(pids[i], SIGKILL);
        waitpid(pids[i], NULL, 0);
    }
    if (most > 2 * before + (2L << 20))
        dprintf(2, "%ld bytes grew to %ld\n", before, most);
    expect(most <= 2 * before + (2L << 20));
}

static void small_blocks_freed_under_snapshots_give_their_memory_back(void)
{
    turn_over(200);
}

static void large_blocks_freed_under_snapshots_give_their_memory_back(void)
{
    turn_over(100000);
}

static void huge_blocks_freed_under_snapshots_give_their_memory_back(void)
{
    turn_over(HEAP / 2);
}

/* Freed while a child lives, again and again, with nothing small allocated in between: when
 * the child has ended, the next block may lie there. */
static void large_blocks_freed_under_snapshots_give_their_place_back(void)
{
    enum { ROUNDS = 150, N = 4 };
    uintptr_t low = UINTPTR_MAX, high = 0;
    for (int i = 0; i < ROUNDS; i++) {
        char *large[N];
        for (int k = 0; k < N; k++) {
            uintptr_t at = (uintptr_t)(large[k] = malloc(700000));
            expect(at);
            memset(large[k], 1, 700000);
            low = at < low ? at : low;
            high = at > high ? at : high;
        }
        pid_t pid = fork();
        if (pid == 0) {
            pause();
            _exit(0);
        }
        for (int k = 0; k < N; k++)
            free(large[k]);
        kill(pid, SIGKILL);
        waitpid(pid, NULL, 0);
        usleep(1000);
    }
    if (high - low > ROUNDS * N * 700000L / 4)
        dprintf(2, "blocks lie as far apart as %lu bytes\n", (unsigned long)(high - low));
    expect(high - low <= ROUNDS * N * 700000L / 4);
}

/* In /proc/self/status; of files only what is not the segment's. */
static long private_kib(void)
{
    char line[256];
    long kib = 0, part;
    FILE *status = fopen("/proc/self/status", "r");
    while (status && fgets(line, sizeof line, status))
        if (sscanf(line, "RssAnon: %ld", &part) == 1)
            kib += part;
    if (status)
        fclose(status);
    return kib;
}

static long use_kib(void)
{
    return private_kib() + (getenv("SEGMENT_FILE") ? file_bytes() >> 10 : 0);
}

static size_t mixed(long i)
{
    return i % 1000 == 7 ? 1u << 20 : i % 100 == 3 ? 60000 : (size_t)(i % 600) + 16;
}

/* CHILDREN are forked one by one, and all live; in between HEAP_MIB are freed and made anew, a
 * block at a time.  Says the most that this process had. */
static void children_live_while_the_heap_turns_over(void)
{
    long heap = atol(getenv("HEAP_MIB")) << 20, count = 0, most = 0, children = 0;
    long forks = atol(getenv("CHILDREN"));
    for (long bytes = 0; bytes < heap; count++)
        bytes += (long)mixed(count);
    char **all = calloc((size_t)count, sizeof *all);
    pid_t *pids = calloc((size_t)forks, sizeof *pids);
    for (long i = 0; i < count; i++)
        memset(all[i] = malloc(mixed(i)), 1, mixed(i));
    for (; children < forks; children++) {
        pids[children] = fork();
        if (pids[children] == 0) {
            pause();
            _exit(0);
        }
        expect(pids[children] > 0);
        for (long i = 0; i < count; i++) {
            expect(all[i][0] == (char)(children + 1));
            free(all[i]);
            memset(all[i] = malloc(mixed(i)), (char)(children + 2), mixed(i));
        }
        long kib = use_kib();
        most = kib > most ? kib : most;
    }
    while (children-- > 0) {
        kill(pids[children], SIGKILL);
        waitpid(pids[children], NULL, 0);
    }
    printf("%ld\n", most);
}

/* No descriptor is to be had, as after setuid() or chroot() or in a sandbox: the child's place
 * cannot be locked.  It has its own copy all the same, and blocks of its own. */
static void who_cannot_open_the_file_any_more_may_fork(void)
{
    static const struct rlimit none = { 0, 0 };
    char *word = malloc(100), *large = malloc(6 << 20);
    strcpy(word, "parent");
    large[3 << 20] = 5;
    expect(setrlimit(RLIMIT_NOFILE, &none) == 0);
    for (int round = 0; round < 3; round++) {
        pid_t child = fork();
        if (child == 0) {
            strcpy(word, "child");
            large[3 << 20] = 6;
            word = realloc(word, 5000);
            free(large);
            pid_t grandchild = fork();
            if (grandchild == 0) {
                strcat(word, " of child");
                free(word);
                _exit(0);
            }
            ends_well(grandchild);
            expect(strcmp(word, "child") == 0);
            free(word);
            _exit(0);
        }
        ends_well(child);
        expect(strcmp(word, "parent") == 0 && large[3 << 20] == 5);
    }
    free(word);
    free(large);
}

/* Not even the libraries have: the segment is as it was made. */
static void where_nothing_was_allocated_fork_does(void)
{
    for (int i = 0; i < 3; i++) {
        pid_t pid = fork();
        if (pid == 0) {
            char *p = malloc(100);
            memset(p, 1, 100);
            free(p);
            _exit(0);
        }
        ends_well(pid);
    }
}

/* Written for HSHM_FORK=share: the workers take their tasks from the parent's blocks and put what
 * they made there. */
struct pool {
    int next; /* task */
    struct task {
        char *made, *resized;
        int by;
    } tasks[400];
};

static void works(struct pool *pool, int worker)
{
    for (int i; (i = __atomic_fetch_add(&pool->next, 1, __ATOMIC_RELAXED)) < 400;) {
        struct task *t = &pool->tasks[i];
        size_t size = size_of(i * 5);
        memset(t->made = malloc(size), i & 127, size);
        expect((t->resized = realloc(t->resized, 70000)) && t->resized[9] == 5);
        t->resized[69999] = 6;
        t->by = worker + 1;
    }
    _exit(0);
}

static void a_pool_of_workers_works_in_its_parent_s_heap(void)
{
    struct pool *pool = calloc(1, sizeof *pool);
    pid_t workers[6];
    for (int i = 0; i < 400; i++)
        memset(pool->tasks[i].resized = malloc(50), 5, 50);
    for (int i = 0; i < 6; i++)
        if ((workers[i] = fork()) == 0)
            works(pool, i);
    for (int i = 0; i < 6; i++)
        ends_well(workers[i]);
    for (int i = 0; i < 400; i++) {
        struct task *t = &pool->tasks[i];
        size_t size = size_of(i * 5);
        expect(t->by && t->made[0] == (i & 127) && t->made[size - 1] == (i & 127));
        expect(t->resized[49] == 5 && t->resized[69999] == 6);
        free(t->made);
        free(t->resized);
    }
    free(pool);
}

static const struct check checks[] = {
    CHECK(a_pool_of_workers_works_in_its_parent_s_heap),
    CHECK(a_child_sees_the_heap_as_it_was),
    CHECK(where_nothing_was_allocated_fork_does),
    CHECK(a_parent_sees_nothing_of_its_child_s_writes),
    CHECK(blocks_made_after_the_fork_are_shared_both_ways),
    CHECK(grandchildren_inherit_what_their_parent_had),
    CHECK(a_parent_may_be_gone_before_its_child),
    CHECK(a_thread_among_allocating_threads_may_fork),
    CHECK(a_coroutine_whose_stack_is_a_block_may_fork),
    CHECK(a_signal_handler_whose_stack_is_a_block_may_fork),
    CHECK(thousands_of_forks_leave_nothing),
    CHECK(memory_that_was_not_touched_reads_zero_in_every_child),
    CHECK(small_blocks_freed_under_snapshots_give_their_memory_back),
    CHECK(large_blocks_freed_under_snapshots_give_their_memory_back),
    CHECK(huge_blocks_freed_under_snapshots_give_their_memory_back),
    CHECK(large_blocks_freed_under_snapshots_give_their_place_back),
    CHECK(children_live_while_the_heap_turns_over),
    CHECK(who_cannot_open_the_file_any_more_may_fork),
};

int main(int argc, char **argv)
{
    return RUN_CHECKS(checks, argc, argv);
}
