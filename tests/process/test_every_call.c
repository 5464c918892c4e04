/* Killed at the entry and at the exit of any system call: mappings, locks, forks and
 * holes are the kernel's, and not in an image of the segment.  And killed at any
 * moment, as often as is asked for.
 *
 * timeout: 300
 */
#include "tests/process/survivor.h"

#include <sys/prctl.h>
#include <sys/resource.h>

#define PROGRAM_SECONDS 20

static long scale(void)
{
    return atol(setting("TEST_SCALE", "1"));
}

static void program_exec(const char *segment, const char *exits, const char *argument)
{
    char path[300], preload[300], named[300], policy[60];
    snprintf(path, sizeof path, "%s/prog_calls", setting("TEST_BIN", "build/tests"));
    snprintf(preload, sizeof preload, "LD_PRELOAD=%s",
             setting("TEST_PRELOAD", "build/libhshm_preload.so"));
    snprintf(named, sizeof named, "HSHM_SEGMENT=%s", segment);
    snprintf(policy, sizeof policy, "HSHM_EXIT=%s", exits);
    char *env[] = { preload,         named, policy, "HSHM_SIZE=64M", "HSHM_PURGE_DELAY=0",
                    "HSHM_STRICT=1", NULL };
    alarm(PROGRAM_SECONDS);
    execle(path, "prog_calls", argument, NULL, env);
    _exit(127);
}

/* ---- under the tracer ------------------------------------------------------------------ */

static pid_t process_of(pid_t thread)
{
    char path[64], line[200];
    int tgid = thread;
    snprintf(path, sizeof path, "/proc/%d/status", (int)thread);
    FILE *f = fopen(path, "re");
    while (f && fgets(line, sizeof line, f) && sscanf(line, "Tgid: %d", &tgid) != 1)
        ;
    if (f)
        fclose(f);
    return tgid;
}

static pid_t program_traced(const char *segment, const char *exits, const char *argument)
{
    int status;
    pid_t pid = fork();
    if (pid == 0) {
        MUST(ptrace(PTRACE_TRACEME, 0, 0, 0) == 0);
        raise(SIGSTOP);
        program_exec(segment, exits, argument);
    }
    MUST(waitpid(pid, &status, 0) == pid && WIFSTOPPED(status));
    MUST(ptrace(PTRACE_SETOPTIONS, pid, 0,
                PTRACE_O_TRACESYSGOOD | PTRACE_O_TRACEFORK | PTRACE_O_TRACECLONE |
                    PTRACE_O_TRACEEXEC | PTRACE_O_EXITKILL) == 0);
    MUST(ptrace(PTRACE_CONT, pid, 0, 0) == 0);
    MUST(waitpid(pid, &status, 0) == pid);
    MUST(status >> 8 == (SIGTRAP | PTRACE_EVENT_EXEC << 8));
    MUST(ptrace(PTRACE_SYSCALL, pid, 0, 0) == 0);
    return pid;
}

/* The process that makes the nth stop at a system call is killed there; the other one, parent or
 * child, runs to its end, and that is a good one.  False: there was no such stop. */
static bool killed_at(unsigned n, const char *segment, const char *exits, const char *argument)
{
    unsigned stops = 0;
    int status;
    bool killed = false;
    program_traced(segment, exits, argument);
    for (pid_t pid; (pid = waitpid(-1, &status, __WALL)) > 0;) {
        if (!WIFSTOPPED(status)) {
            if (status != 0 && status != SIGKILL) /* the victim and its threads */
                SAY("killed at stop %u: the other one ended with %#x\n", n, (unsigned)status);
            continue;
        }
        int signal = WSTOPSIG(status) == SIGALRM ? SIGALRM : 0;
        if (WSTOPSIG(status) == (SIGTRAP | 0x80) && !killed && ++stops == n) {
            kill(process_of(pid), SIGKILL);
            killed = true;
            continue;
        }
        ptrace(killed ? PTRACE_CONT : PTRACE_SYSCALL, pid, 0, signal);
    }
    return killed;
}

/* ---- the survivor ------------------------------------------------------------------------- */

static unsigned rounds;

static bool is_free(void *p)
{
    uint64_t off = off_of(&heap, p);
    struct slice *d = slice_head(&heap, (uint32_t)(off >> SLICE_SHIFT));
    return link_is_sound(&heap, link_read(&heap, p)) && page_lists_have(&heap, d, off);
}

static void no_legacy_is_left(void)
{
    unsigned left = legacies();
    if (left)
        SAY("round %u: %u blocks of the dead are left after reclaim\n", rounds, left);
}

/* Within a second of its own time. */
static void survive_round(void *given)
{
    struct rusage before, after;
    getrusage(RUSAGE_SELF, &before);
    grace_is_over(&heap);
    recover_dead(&heap, false);
    own_blocks_are_sound("after recovery");
    allocate_everything();
    all_others_are_gone();
    cache_sweep_all(cache); /* a block that the dead one had in hand is found */
    if (!is_free(given))
        fast_free(given);
    if (rounds % 8 == 0)
        check_is_clean(file, "after recovery");
    reclaim_kept(cache);
    no_legacy_is_left();
    if (rounds % 8 == 0)
        check_is_clean(file, "after reclaim");
    getrusage(RUSAGE_SELF, &after);
    if (after.ru_utime.tv_sec + after.ru_stime.tv_sec >
        before.ru_utime.tv_sec + before.ru_stime.tv_sec + 1)
        SAY("round %u took more than a second\n", rounds);
    rounds++;
}

static void survivor_start(const char *what)
{
    char path[160];
    prctl(PR_SET_CHILD_SUBREAPER, 1);
    snprintf(path, sizeof path, "/dev/shm/%s-%d", what, (int)getpid());
    stage_set(path);
    join(false);
    survivor_set_up();
}

/* A block beside it stays, so that its page does. */
static void *block_to_give(char *argument, size_t size)
{
    static void *neighbour;
    if (!neighbour)
        neighbour = fast_malloc(48);
    void *given = fast_malloc(48);
    MUST(neighbour && given);
    snprintf(argument, size, "%lx", (unsigned long)given);
    return given;
}

/* What all rounds together have cost: nothing but what the survivor itself has. */
static void nothing_has_leaked(void)
{
    free_everything_of_the_survivor();
    heap_trim(cache);
    ledger_recount(&heap);
    if (heap.header->charged.raw_ > 400)
        SAY("%lu OS pages are charged at the end\n", (unsigned long)heap.header->charged.raw_);
    segment_leave(&heap);
    if (access(file, F_OK) == 0)
        SAY("the file stays after the last one has left\n");
}

static void kill_at_every_call(const char *exits)
{
    char argument[32];
    unsigned stride = scale() > 1 ? 1 : 7, n = 1 + (unsigned)getpid() % stride;
    survivor_start("calls");
    for (;; n += stride) {
        void *given = block_to_give(argument, sizeof argument);
        bool killed = killed_at(n, name, exits, argument);
        survive_round(given);
        if (!killed)
            break;
    }
    dprintf(2, "HSHM_EXIT=%s: %u stops at system calls, killed at %u of them\n", exits, n,
            rounds - 1);
    nothing_has_leaked();
}

Test(every_call, a_kept_segment_outlives_a_death_there, .timeout = 3000)
{
    kill_at_every_call("keep");
}

Test(every_call, a_reclaimed_segment_outlives_a_death_there, .timeout = 3000)
{
    kill_at_every_call("reclaim");
}

/* ---- the maker of a segment, and the last one in it --------------------------------------------- */

static unsigned files_left(void)
{
    char line[400];
    unsigned n = 0;
    snprintf(line, sizeof line, "ls -d %s* 2>/dev/null | wc -l", file);
    FILE *f = popen(line, "r");
    MUST(f && fscanf(f, "%u", &n) == 1);
    pclose(f);
    return n;
}

/* Whoever comes next joins or makes the segment, works, and leaves nothing. */
Test(every_call, a_segment_s_maker_and_last_member_may_die_there, .timeout = 3000)
{
    unsigned stride = scale() > 1 ? 1 : 7, n = 1 + (unsigned)getpid() % stride;
    prctl(PR_SET_CHILD_SUBREAPER, 1);
    snprintf(file, sizeof file, "/dev/shm/alone-%d", (int)getpid());
    snprintf(name, sizeof name, "file:%s", file);
    while (killed_at(n, name, "keep", NULL)) {
        int status;
        pid_t pid = fork();
        if (pid == 0)
            program_exec(name, "keep", NULL);
        MUST(waitpid(pid, &status, 0) == pid);
        cr_assert_eq(status, 0, "killed at stop %u: the next one ended with %#x", n,
                     (unsigned)status);
        cr_assert_eq(files_left(), 0, "killed at stop %u: a file is left", n);
        n += stride;
    }
    dprintf(2, "alone: %u stops\n", n);
}

/* ---- at any moment ---------------------------------------------------------------------------------- */

Test(every_call, any_moment_will_do, .timeout = 6000)
{
    unsigned seed = (unsigned)getpid();
    char argument[32];
    survivor_start("moments");
    for (long i = 0; i < 100 * scale(); i++) {
        void *given = block_to_give(argument, sizeof argument);
        int status;
        pid_t pid = fork();
        if (pid == 0)
            program_exec(name, i % 2 ? "keep" : "reclaim", argument);
        nanosleep(&(struct timespec){ 0, rand_r(&seed) % 9000000 }, NULL);
        kill(pid, SIGKILL);
        while (waitpid(-1, &status, 0) > 0)
            ;
        survive_round(given);
    }
    nothing_has_leaked();
}
