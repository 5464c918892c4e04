/* prog_fork_members: forks among members that share blocks.  P is this process, C its child, G
 * its grandchild, and M another program of the segment, started by exec; they hand each other
 * addresses through pipes. */
#include "tests/process/expect.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>

struct peer {
    pid_t pid;
    int to, from;
};

static void put(int fd, const void *what, size_t n)
{
    expect(write(fd, what, n) == (ssize_t)n);
}

static void take(int fd, void *what, size_t n)
{
    char *to = what;
    for (size_t had = 0; had < n;) {
        ssize_t got = read(fd, to + had, n - had);
        expect(got > 0);
        had += (size_t)got;
    }
}

/* Each block is full of a byte of its own, but for a stamp in front. */
static char *filled(size_t size, char mark)
{
    char *p = malloc(size);
    expect(p);
    memset(p, mark, size);
    return p;
}

static int is_filled(const char *p, size_t size, char mark)
{
    for (size_t i = 0; i < size; i += 1 + size / 200)
        if (p[i] != mark)
            return 0;
    return p[size - 1] == mark;
}

/* M: "n bytes" makes a block, "f address" frees one, "q" ends. */
static int maker(void)
{
    struct {
        char what, mark;
        uint64_t n;
    } order;
    for (;;) {
        take(0, &order, sizeof order);
        uint64_t answer = 0;
        if (order.what == 'n')
            answer = (uint64_t)(uintptr_t)filled(order.n, order.mark);
        else if (order.what == 'f')
            free((void *)(uintptr_t)order.n);
        else
            _exit(0);
        put(1, &answer, sizeof answer);
    }
}

static uint64_t ask(struct peer *m, char what, char mark, uint64_t n)
{
    struct {
        char what, mark;
        uint64_t n;
    } order = { what, mark, n };
    uint64_t answer = 0;
    put(m->to, &order, sizeof order);
    if (what != 'q')
        take(m->from, &answer, sizeof answer);
    return answer;
}

static char *from_m(struct peer *m, size_t size, char mark)
{
    return (char *)(uintptr_t)ask(m, 'n', mark, size);
}

static struct peer start_m(void)
{
    int down[2], up[2];
    expect(pipe2(down, O_CLOEXEC) == 0 && pipe2(up, O_CLOEXEC) == 0);
    pid_t pid = vfork(); /* NOLINT: it gets no copy of what we have */
    if (pid == 0) {
        dup2(down[0], 0); /* NOLINT */
        dup2(up[1], 1);
        execl("/proc/self/exe", "prog_fork_members", "maker", NULL);
        _exit(127);
    }
    expect(pid > 0);
    return (struct peer){ pid, down[1], up[0] };
}

static void end_m(struct peer *m)
{
    int status;
    ask(m, 'q', 0, 0);
    expect(waitpid(m->pid, &status, 0) == m->pid && status == 0);
}

static void ends_well(pid_t pid)
{
    int status;
    expect(pid > 0 && waitpid(pid, &status, 0) == pid && status == 0);
}

static void sleep_with_parent(void)
{
    prctl(PR_SET_PDEATHSIG, SIGKILL); /* also if that fails */
    pause();
    _exit(0);
}

static pid_t fork_and_end(void) /* who forks looks for the dead */
{
    pid_t pid = fork();
    if (pid == 0)
        _exit(0);
    return pid;
}

/* ---- blocks of M that P and C have ---------------------------------------------------------- */

#define COUNT 100

static size_t size_of(int i)
{
    return i == 7 ? 8u << 20 : i % 10 == 3 ? 100000 : (size_t)i * 37 + 24;
}

static char *both[COUNT];

static void receive_all(struct peer *m)
{
    for (int i = 0; i < COUNT; i++)
        both[i] = from_m(m, size_of(i), (char)(i + 1));
}

static void verify_all(void)
{
    for (int i = 0; i < COUNT; i++)
        expect(is_filled(both[i], size_of(i), (char)(i + 1)));
}

static void free_all(void)
{
    for (int i = 0; i < COUNT; i++)
        free(both[i]);
}

/* M fills what it can get. */
static void churn_m(struct peer *m, int rounds)
{
    for (int r = 0; r < rounds; r++) {
        char *mine[COUNT];
        for (int i = 0; i < COUNT; i++)
            mine[i] = from_m(m, size_of(i), (char)(100 + r % 20));
        for (int i = 0; i < COUNT; i++) {
            expect(is_filled(mine[i], size_of(i), (char)(100 + r % 20)));
            ask(m, 'f', 0, (uint64_t)(uintptr_t)mine[i]);
        }
    }
}

/* P fills what it can get. */
static void churn_p(int rounds)
{
    for (int r = 0; r < rounds; r++) {
        char *mine[COUNT];
        for (int i = 0; i < COUNT; i++)
            mine[i] = filled(size_of(i), (char)(100 + r));
        for (int i = 0; i < COUNT; i++) {
            expect(is_filled(mine[i], size_of(i), (char)(100 + r)));
            free(mine[i]);
        }
    }
}

/* A child is forked, and one of the two frees all before the other has read it: 'churn' would
 * overwrite what is free. */
static void both_free(int child_is_first, void (*churn)(struct peer *m), struct peer *m)
{
    int ready[2], go[2];
    char c = 0;
    expect(pipe(ready) == 0 && pipe(go) == 0);
    pid_t child = fork();
    if (child == 0) {
        if (child_is_first)
            free_all();
        put(ready[1], "r", 1);
        take(go[0], &c, 1);
        if (!child_is_first) {
            verify_all();
            free_all();
        }
        _exit(0);
    }
    take(ready[0], &c, 1);
    if (!child_is_first)
        free_all();
    churn(m);
    if (child_is_first) {
        verify_all();
        free_all();
    }
    put(go[1], "g", 1);
    ends_well(child);
    churn(m);
}

static void p_churns(struct peer *m)
{
    (void)m;
    churn_p(5);
}

static void m_churns(struct peer *m)
{
    churn_m(m, 5);
}

/* M has ended, and P has taken over its memory, for sizes that M did not use: whoever frees
 * first what M has left, the other's reads do not change. */
static void parent_and_child_may_both_free_what_an_ended_member_left(void)
{
    for (int first = 0; first < 2; first++) {
        struct peer m = start_m();
        receive_all(&m);
        end_m(&m);
        for (int i = 0; i < 2; i++)
            ends_well(fork_and_end());
        for (int i = 0; i < 300; i++)
            expect(filled(20000, 'p'));
        both_free(first, p_churns, NULL);
    }
}

/* Whoever frees first: the other's reads do not change. */
static void parent_and_child_may_both_free_what_they_received(void)
{
    for (int first = 0; first < 2; first++) {
        struct peer m = start_m();
        receive_all(&m);
        both_free(first, m_churns, &m);
        end_m(&m);
    }
}

static long file_bytes(void)
{
    struct stat st;
    expect(stat(getenv("SEGMENT_FILE"), &st) == 0);
    return (long)st.st_blocks * 512;
}

/* The parent's frees are done when the child is gone, at its next free at the latest. */
static void what_waited_for_a_child_is_given_back(void)
{
    struct peer m = start_m();
    long before = file_bytes();
    char *p[20];
    for (int i = 0; i < 20; i++)
        p[i] = from_m(&m, 4u << 20, 5);
    expect(file_bytes() > before + (70L << 20));
    pid_t child = fork();
    if (child == 0) {
        sleep_with_parent();
    }
    for (int i = 0; i < 19; i++)
        free(p[i]);
    expect(file_bytes() > before + (70L << 20)); /* the child reads them */
    kill(child, SIGKILL);
    expect(waitpid(child, NULL, 0) == child);
    usleep(1000);
    for (int i = 0; i < 20; i++)
        free(from_m(&m, 100, 1));
    free(p[19]);
    for (int i = 0; i < 300 && file_bytes() > before + (20L << 20); i++) {
        usleep(10000);
        free(from_m(&m, 40000, 1)); /* M purges what has been free for a while */
    }
    expect(file_bytes() < before + (20L << 20));
    end_m(&m);
}

/* Blocks that were made after the fork are the child's to free, each of them for real. */
static void what_a_child_receives_it_frees(void)
{
    struct peer m = start_m();
    receive_all(&m);
    pid_t child = fork();
    if (child == 0) {
        long most = 0;
        for (int i = 0; i < 60; i++) {
            char *p[COUNT];
            for (int k = 0; k < COUNT; k++)
                expect(
                    is_filled(p[k] = from_m(&m, size_of(k % 7), (char)i), size_of(k % 7), (char)i));
            for (int k = 0; k < COUNT; k++)
                free(p[k]);
            free(from_m(&m, 1u << 20, 1));
            if (i == 20)
                most = file_bytes();
        }
        expect(file_bytes() <= most + (3L << 20));
        _exit(0);
    }
    ends_well(child);
    verify_all();
    end_m(&m);
}

static void both_resize(char *p)
{
    pid_t child = fork();
    char mark = child ? 11 : 12;
    p = realloc(p, 64u << 20);
    expect(p && is_filled(p, 8u << 20, 9));
    memset(p, mark, 64u << 20);
    usleep(20000);
    expect(is_filled(p, 64u << 20, mark));
    free(p);
    if (child == 0)
        _exit(0);
    ends_well(child);
}

static void parent_and_child_may_both_resize_the_same_block(void)
{
    struct peer m = start_m();
    both_resize(filled(8u << 20, 9));     /* P's own */
    both_resize(from_m(&m, 8u << 20, 9)); /* M's */
    end_m(&m);
}

/* ---- generations ---------------------------------------------------------------------------- */

static void hand_over_many(int fd, char mark)
{
    for (int i = 0; i < 2000; i++) {
        char *p = filled((size_t)(i % 500) + 24, mark);
        put(fd, &p, sizeof p);
    }
}

static void read_many(int fd, char mark)
{
    for (int i = 0; i < 2000; i++) {
        char *p;
        take(fd, &p, sizeof p);
        expect(is_filled(p, (size_t)(i % 500) + 24, mark));
    }
}

/* P (itself a child, so that it may die) forks C, C forks G, C exits.  P allocates and hands to
 * G; then P dies, another member takes its pages over and hands to G. */
static void a_grandchild_reads_what_the_owner_and_its_adopter_allocate(void)
{
    int to_g[2], from_g[2], to_p[2];
    char c, *block[3000];
    expect(pipe(to_g) == 0 && pipe(from_g) == 0 && pipe(to_p) == 0);
    pid_t p = fork();
    if (p == 0) {
        for (int i = 0; i < 3000; i++)
            block[i] = filled((size_t)(i % 500) + 24, 33);
        pid_t child = fork();
        if (child == 0) {
            if (fork() == 0) {
                read_many(to_g[0], 34);
                put(from_g[1], "1", 1);
                read_many(to_g[0], 35);
                for (int i = 0; i < 3000; i++)
                    expect(is_filled(block[i], (size_t)(i % 500) + 24, 33));
                put(from_g[1], "2", 1);
                _exit(0);
            }
            _exit(0);
        }
        ends_well(child);
        for (int i = 0; i < 3000; i += 2) /* room in pages that G has a copy of */
            free(block[i]);
        hand_over_many(to_g[1], 34);
        take(to_p[0], &c, 1);
        _exit(0);
    }
    close(from_g[1]);
    take(from_g[0], &c, 1);
    expect(c == '1' && kill(p, SIGKILL) == 0 && waitpid(p, NULL, 0) == p);
    usleep(150000); /* the grace of the killed */
    free(filled(100000, 1));
    hand_over_many(to_g[1], 35);
    take(from_g[0], &c, 1);
    expect(c == '2');
}

/* The parent's exit leaves one heap: what the daemon inherited is a copy of its own, and what the
 * parent had in the segment goes (HSHM_EXIT=reclaim) or is counted as left (keep). */
static void a_daemon_has_one_heap(void)
{
    char *large = filled(40u << 20, 1), *small[20000];
    for (int i = 0; i < 20000; i++)
        small[i] = filled(1000, 2);
    expect(file_bytes() > 55L << 20);
    if (fork())
        _exit(0);
    setsid();
    for (int i = 0; i < 300 && getenv("UNTIL_GONE") && file_bytes() > 20L << 20; i++) {
        usleep(10000);
        free(filled(300000, 1)); /* too large for a thread to keep: the next one looks, too */
    }
    expect(!getenv("UNTIL_GONE") || file_bytes() < 20L << 20);
    expect(is_filled(large, 40u << 20, 1));
    for (int i = 0; i < 20000; i++)
        expect(is_filled(small[i], 1000, 2));
    FILE *told = fopen(getenv("TOLD"), "w");
    expect(told && fprintf(told, "ready\n") > 0 && fclose(told) == 0);
    FILE *end = fopen(getenv("END"), "r");
    expect(end != NULL);
    _exit(0);
}

/* ---- HSHM_FORK_HOLD --------------------------------------------------------------------------- */

/* Every second block free, in all pages that a living child has a copy of. */
static void a_hold_that_keeps_too_much_is_given_up(void)
{
    static char *p[40000];
    for (int i = 0; i < 40000; i++)
        p[i] = filled(200, 1);
    pid_t child = fork();
    if (child == 0) {
        sleep_with_parent();
    }
    long before = file_bytes();
    for (int i = 0; i < 40000; i += 2)
        free(p[i]);
    for (int turn = 0; turn < 40; turn++) {
        usleep(3000);
        for (int i = turn * 1000; i < turn * 1000 + 1000; i += 2)
            p[i] = filled(200, 2);
    }
    expect(file_bytes() < before + (2L << 20)); /* what was free has been used */
    for (int i = 0; i < 40000; i++)
        expect(is_filled(p[i], 200, i % 2 ? 1 : 2));
    kill(child, SIGKILL);
    expect(waitpid(child, NULL, 0) == child);
}

/* ---- HSHM_FORK=view ---------------------------------------------------------------------------- */

static void a_large_block_is_viewed_a_small_one_copied(void)
{
    size_t n = 64u << 20;
    char *large = filled(n, 1), *small = filled(1000, 1), c;
    int go[2], done[2];
    expect(pipe(go) == 0 && pipe(done) == 0);
    pid_t child = fork(); /* HSHM_FORK_MAX would not allow to copy it */
    expect(child >= 0);
    if (child == 0) {
        expect(is_filled(large, n, 1));
        memset(large, 2, n / 2); /* its own from now on */
        put(done[1], "1", 1);
        take(go[0], &c, 1);
        expect(is_filled(large, n / 2, 2) && is_filled(small, 1000, 1));
        expect(is_filled(large + n / 2, n / 2, 3)); /* what the parent wrote since */
        put(done[1], "2", 1);
        take(go[0], &c, 1); /* the parent has freed it and made others */
        expect(is_filled(large, n / 2, 2) && is_filled(large + n / 2, n / 2, 3));
        if (fork() == 0) {
            expect(is_filled(large, n / 2, 2) && is_filled(large + n / 2, n / 2, 3));
            free(large);
            _exit(0);
        }
        expect(wait(NULL) > 0);
        large = realloc(large, n + 4096);
        expect(is_filled(large, n / 2, 2) && is_filled(large + n / 2, n / 2, 3));
        free(large);
        _exit(0);
    }
    take(done[0], &c, 1);
    expect(is_filled(large, n, 1)); /* the child's writes are not ours */
    memset(large, 3, n);
    memset(small, 3, 1000);
    put(go[1], "g", 1);
    take(done[0], &c, 1);
    free(large);
    for (int i = 0; i < 20; i++)
        (void)filled(6u << 20, 4);
    put(go[1], "g", 1);
    ends_well(child);
}

/* ---- HSHM_FORK_RAW=fault ------------------------------------------------------------------------ */

static void a_raw_child_faults_in_the_heap(void)
{
    volatile char *p = filled(100, 5);
    for (int round = 0; round < 3; round++) {
        int status;
        pid_t child = (pid_t)syscall(SYS_fork);
        if (child == 0) {
            p[3] = 6;
            syscall(SYS_exit_group, 0);
        }
        expect(child > 0 && waitpid(child, &status, 0) == child && status == SIGSEGV);
        expect(p[3] == 5);
        child = fork(); /* the others are as ever */
        if (child == 0) {
            p[3] = 7;
            pid_t grandchild = fork();
            if (grandchild == 0) {
                expect(p[3] == 7);
                free(filled(3000, 1));
                _exit(0);
            }
            ends_well(grandchild);
            expect((child = (pid_t)syscall(SYS_fork)) >= 0);
            if (child == 0) {
                char *mine = filled(100, 1);
                mine[0] = 1;
                syscall(SYS_exit_group, 0);
            }
            expect(waitpid(child, &status, 0) == child && status == SIGSEGV);
            _exit(0);
        }
        ends_well(child);
        expect(p[3] == 5);
    }
}

static const struct check checks[] = {
    CHECK(parent_and_child_may_both_free_what_they_received),
    CHECK(parent_and_child_may_both_free_what_an_ended_member_left),
    CHECK(what_waited_for_a_child_is_given_back),
    CHECK(what_a_child_receives_it_frees),
    CHECK(parent_and_child_may_both_resize_the_same_block),
    CHECK(a_grandchild_reads_what_the_owner_and_its_adopter_allocate),
    CHECK(a_daemon_has_one_heap),
    CHECK(a_hold_that_keeps_too_much_is_given_up),
    CHECK(a_large_block_is_viewed_a_small_one_copied),
    CHECK(a_raw_child_faults_in_the_heap),
};

int main(int argc, char **argv)
{
    if (argc > 1 && strcmp(argv[1], "maker") == 0)
        return maker();
    return RUN_CHECKS(checks, argc, argv);
}
