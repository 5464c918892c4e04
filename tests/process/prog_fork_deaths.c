/* prog_fork_deaths NAME: $ROUNDS times one of a parent and its child is killed or stopped at any moment of the
 * fork, and the other goes on.  This process watches; parents are its own forked children, so that
 * what they fork is a third generation. */
#include "tests/process/expect.h"

#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>

#define BLOCKS 600

/* What they tell each other, outside the heap. */
static struct {
    volatile int forking; /* the parent is at its fork */
    volatile pid_t child;
    volatile long fork_ns;
} * told;

static size_t size_of(int i)
{
    return i % 200 == 7 ? 700000 : i % 40 == 3 ? 40000 : (size_t)(i % 500) * 3 + 16;
}

static void fill(char **all, char mark)
{
    for (int i = 0; i < BLOCKS; i++)
        expect((all[i] = malloc(size_of(i))) && memset(all[i], mark, size_of(i)));
}

static void verify(char **all, char mark)
{
    for (int i = 0; i < BLOCKS; i++)
        for (size_t k = 0; k < size_of(i); k += 1 + size_of(i) / 9)
            expect(all[i][k] == mark && all[i][size_of(i) - 1] == mark);
}

static void drop(char **all)
{
    for (int i = 0; i < BLOCKS; i++)
        free(all[i]);
}

static char *ours[BLOCKS], *theirs[BLOCKS], *more[BLOCKS];

static long now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1000000000L + t.tv_nsec;
}

static void child(void)
{
    told->child = getpid();
    verify(ours, 1);
    verify(theirs, 2);
    for (int i = 0; i < BLOCKS; i++)
        memset(theirs[i], 3, size_of(i));
    fill(more, 4);
    verify(theirs, 3);
    drop(theirs);
    drop(ours);
    verify(more, 4);
    _exit(0);
}

static void parent(void)
{
    fill(theirs, 2);
    told->forking = 1;
    long from = now_ns();
    pid_t pid = fork();
    if (pid == 0)
        child();
    expect(pid > 0);
    told->fork_ns = now_ns() - from;
    verify(ours, 1);
    verify(theirs, 2);
    fill(more, 5);
    drop(theirs);
    verify(more, 5);
    verify(ours, 1);
    _exit(0);
}

/* The child of 'pid', also before it has said a word. */
static pid_t child_of(pid_t pid)
{
    char path[64], word[32] = "";
    snprintf(path, sizeof path, "/proc/%d/task/%d/children", (int)pid, (int)pid);
    int fd = open(path, O_RDONLY);
    ssize_t got = fd < 0 ? 0 : read(fd, word, sizeof word - 1);
    if (fd >= 0)
        close(fd);
    return got > 0 ? atoi(word) : 0;
}

static void wait_ns(long ns)
{
    for (long from = now_ns(); now_ns() - from < ns;)
        ;
}

/* It ends, and well, within a time that only a hang would take. */
static void ends(pid_t pid, int may_be_killed)
{
    int status = -1;
    for (int i = 0; i < 30000 && waitpid(pid, &status, WNOHANG) == 0; i++)
        usleep(1000);
    if (status != 0 && !(may_be_killed && status == SIGKILL))
        dprintf(2, "%s ended with %#x\n", may_be_killed ? "the victim" : "the other one",
                (unsigned)status),
            _exit(1);
}

/* Where the parent was killed its child is ours. */
static void orphans_end(void)
{
    siginfo_t info = { 0 };
    while (waitid(P_ALL, 0, &info, WEXITED | WNOWAIT) == 0)
        ends(info.si_pid, 0);
}

enum what { KILL_PARENT, KILL_CHILD, STOP_CHILD, WHATS };
static const char *const whats[] = { "parents killed", "children killed", "children stopped" };
static unsigned hits[WHATS];

static void round_of(enum what what, unsigned *seed)
{
    told->forking = 0;
    told->child = 0;
    pid_t pid = fork(), victim;
    if (pid == 0)
        parent();
    expect(pid > 0);
    while (!told->forking)
        sched_yield();
    long span = told->fork_ns ? told->fork_ns : 1000000;
    if (what == KILL_PARENT) {
        wait_ns(rand_r(seed) % (span + span / 4));
        expect(kill(pid, SIGKILL) == 0);
        ends(pid, 1);
        hits[what]++;
        orphans_end();
        return;
    }
    while (!(victim = child_of(pid)) && !told->child)
        ;
    victim = victim ? victim : told->child;
    wait_ns(rand_r(seed) % (span / 2 + 1));
    hits[what] += kill(victim, what == KILL_CHILD ? SIGKILL : SIGSTOP) == 0;
    ends(pid, 0);
    kill(victim, SIGCONT); /* it is ours now, and not waited for */
    ends(victim, what == KILL_CHILD);
}

static long file_bytes(void)
{
    struct stat st;
    expect(stat(getenv("SEGMENT_FILE"), &st) == 0);
    return (long)st.st_blocks * 512;
}

/* HSHM_EXIT=keep: what the killed parents had allocated is theirs until somebody says otherwise. */
static void reclaim(void)
{
    if (getenv("RECLAIM"))
        expect(system(getenv("RECLAIM")) == 0);
}

int main(void)
{
    unsigned seed = (unsigned)getpid();
    int rounds = atoi(getenv("ROUNDS"));
    long settled = 0;
    expect(prctl(PR_SET_CHILD_SUBREAPER, 1) == 0);
    told = mmap(NULL, sizeof *told, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    expect(told != MAP_FAILED);
    fill(ours, 1);
    for (int i = 0; i < rounds; i++) {
        round_of((enum what)(i % WHATS), &seed);
        verify(ours, 1);
        drop(ours);
        fill(ours, 1);
        if (i == 2 * WHATS)
            settled = file_bytes();
        if (i % 60 == 59)
            reclaim();
    }
    usleep(200000); /* the grace of the killed */
    reclaim();
    for (int i = 0; i < 300 && file_bytes() > settled + (2L << 20); i++) {
        drop(ours);
        fill(ours, 1);
        usleep(10000);
    }
    if (file_bytes() > settled + (2L << 20))
        dprintf(2, "%ld bytes after the first deaths, %ld after the last\n", settled, file_bytes()),
            _exit(1);
    for (int i = 0; i < WHATS; i++)
        printf("%u %s\n", hits[i], whats[i]);
    drop(ours);
    return 0;
}
