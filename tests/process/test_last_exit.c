/* The last one leaves while the first of a new group comes, and members end in
 * every order: never two segments of one name with living members, and no file
 * that nobody needs. */
#include "tests/process/puppet.h"
#include "tests/process/races.h"

#include <sys/mman.h>

static pid_t start(const char *name, const char *settings, const char *command)
{
    char line[1024];
    snprintf(line, sizeof line, "HSHM_SEGMENT=%s HSHM_SIZE=64M %s LD_PRELOAD=%s exec %s", name,
             settings, setting("TEST_PRELOAD", "build/libhshm_preload.so"), command);
    pid_t pid = fork();
    if (pid == 0) {
        int null = open("/dev/null", O_RDWR);
        dup2(null, 0), dup2(null, 1);
        execl("/bin/sh", "sh", "-c", line, NULL);
        _exit(127);
    }
    return pid;
}

static int end_of(pid_t pid)
{
    int status = 0;
    waitpid(pid, &status, 0);
    return WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
}

Test(last_exit, members_that_end_together_leave_nothing, .timeout = 3000)
{
    for (int round = 0; round < 100 * scale(); round++) {
        pid_t pids[4];
        for (int i = 0; i < 4; i++)
            pids[i] = start("together", "", "/bin/true");
        for (int i = 0; i < 4; i++)
            cr_assert_eq(end_of(pids[i]), 0);
        cr_assert_neq(access(segment_file("together"), F_OK), 0,
                      "round %d: the file is still there", round);
    }
}

/* A stays; others come and go all the time: A's segment is always the one of that name. */
Test(last_exit, a_segment_with_a_member_keeps_its_name, .timeout = 3000)
{
    struct puppet a = puppet_start("stays", "");
    uint64_t created = segment_header("stays").created_ns;
    for (int round = 0; round < 50 * scale(); round++) {
        pid_t pids[3];
        for (int i = 0; i < 3; i++)
            pids[i] = start("stays", "", "/bin/true");
        if (round % 2)
            kill(pids[round % 3], SIGKILL);
        for (int i = 0; i < 3; i++)
            end_of(pids[i]);
        cr_assert_eq(segment_header("stays").created_ns, created, "round %d", round);
    }
    cr_assert_eq(puppet_quit(&a), 0);
    cr_assert_neq(access(segment_file("stays"), F_OK), 0);
}

/* The last exit races with two first attaches: those two share. */
Test(last_exit, those_who_come_while_the_last_one_goes_share, .timeout = 3000)
{
    for (int round = 0; round < 50 * scale(); round++) {
        struct puppet a = puppet_start("race", "");
        tell(&a, "q");
        if (round % 3 == 0)
            sleep_ms(1);
        struct puppet b = puppet_start("race", ""), c = puppet_start("race", "");
        uint64_t p = ask(&b, "m 100");
        cr_assert_neq(p, REFUSED);
        ask(&b, "w %#lx 100 9", p);
        uint64_t seen = ask(&c, "v %#lx 100 9", p);
        cr_assert_eq(seen, 1, "round %d: c finds %lu at %#lx; base %#lx; b said: %s", round,
                     (unsigned long)seen, (unsigned long)p,
                     (unsigned long)segment_header("race").base, puppet_said(&b));
        puppet_wait(&a);
        if (round % 2) {
            cr_assert_eq(puppet_quit(&b), 0);
            cr_assert_eq(puppet_quit(&c), 0);
        } else {
            puppet_kill(&b);
            cr_assert_eq(puppet_quit(&c), 0);
        }
        cr_assert_neq(access(segment_file("race"), F_OK), 0, "round %d", round);
    }
}

static struct races *races;

/* One after the other, as fast as they can; each is the last one or the first one now and then. */
static void racers(const char *path, unsigned self)
{
    unsigned seed = (unsigned)getpid();
    char line[600];
    while (!__atomic_load_n(&races->stop, __ATOMIC_RELAXED)) {
        snprintf(line, sizeof line, "%s/prog_races %s %u %u", setting("TEST_BIN", "build/tests"),
                 path, self, (unsigned)rand_r(&seed));
        int status = end_of(start("races", "HSHM_STRICT=1", line));
        if (status != 0 && status != 128 + SIGKILL) {
            dprintf(2, "racer %u ended with %d\n", self, status);
            _exit(1);
        }
        nanosleep(&(struct timespec){ 0, rand_r(&seed) % 3000000 }, NULL);
    }
    _exit(0);
}

/* Last exit against first attach, by exit(), _exit() and SIGKILL. */
Test(last_exit, never_two_segments_of_one_name_have_living_members, .timeout = 3000)
{
    char path[300];
    pid_t pids[RACERS];
    uint64_t wanted = scale() > 1 ? 10000 : 60;
    snprintf(path, sizeof path, "%s/races-%d", setting("TMPDIR", "/tmp"), (int)getpid());
    int fd = open(path, O_RDWR | O_CREAT | O_TRUNC, 0600);
    cr_assert(fd >= 0 && ftruncate(fd, sizeof *races) == 0);
    races = mmap(NULL, sizeof *races, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    for (unsigned i = 0; i < RACERS; i++)
        if ((pids[i] = fork()) == 0)
            racers(path, i);
    bool all = true;
    while (all && __atomic_load_n(&races->made, __ATOMIC_RELAXED) < wanted) {
        sleep_ms(20);
        for (unsigned i = 0; i < RACERS; i++)
            all &= waitpid(pids[i], NULL, WNOHANG) == 0;
    }
    races->stop = 1;
    while (wait(NULL) > 0)
        ;
    fprintf(stderr, "%lu came and went, %lu segments were made\n", (unsigned long)races->joined,
            (unsigned long)races->made);
    unlink(path);
    cr_assert(all);
    struct puppet a = puppet_start("races", ""); /* the last one may have been killed */
    cr_assert_eq(puppet_quit(&a), 0);
    cr_assert_neq(access(segment_file("races"), F_OK), 0);
}

Test(last_exit, killed_at_any_moment_of_their_start_they_leave_a_segment_that_works,
     .timeout = 3000)
{
    unsigned seed = (unsigned)getpid();
    for (int round = 0; round < 100 * scale(); round++) {
        pid_t pids[2];
        for (int i = 0; i < 2; i++)
            pids[i] = start("start", "", "/bin/sleep 1");
        nanosleep(&(struct timespec){ 0, rand_r(&seed) % 4000000 }, NULL);
        for (int i = 0; i < 2; i++)
            kill(pids[i], SIGKILL);
        for (int i = 0; i < 2; i++)
            end_of(pids[i]);
    }
    double before = now_s();
    struct puppet a = puppet_start("start", "");
    cr_assert_eq(ask(&a, "n 100 1000"), 100, "%s", puppet_said(&a));
    cr_assert_lt(now_s() - before, 1.5);
    cr_assert_eq(puppet_quit(&a), 0);
    cr_assert_neq(access(segment_file("start"), F_OK), 0);
}
