/* Sixteen processes with threads; one is killed every few ms and replaced.
 *
 * timeout: 250
 * runs alone: it looks for hangs of a second
 */
#include "tests/process/puppet.h"
#include "tests/process/storm.h"

#include <sys/mman.h>

static struct storm *storm;
static char path[256];

struct stormer {
    const char *program, *settings;
};

static pid_t stormer(const char *name, unsigned index, unsigned seed, struct stormer what)
{
    char line[1024];
    snprintf(line, sizeof line,
             "%s HSHM_SEGMENT=%s HSHM_PERSIST=1 LD_PRELOAD=%s exec %s/%s %s %u %u", what.settings,
             name, setting("TEST_PRELOAD", "build/libhshm_preload.so"),
             setting("TEST_BIN", "build/tests"), what.program, path, index, seed);
    pid_t pid = fork();
    if (pid == 0) {
        execl("/bin/sh", "sh", "-c", line, NULL);
        _exit(127);
    }
    return pid;
}

/* Everybody that lives goes on; a slow machine gets a second try. */
static bool all_move(const pid_t *pids)
{
    for (int attempt = 0; attempt < 5; attempt++) {
        uint64_t before[STORMERS];
        bool all = true;
        memcpy(before, storm->progress, sizeof before);
        sleep_ms(1000);
        for (int i = 0; i < STORMERS; i++)
            all &= pids[i] == 0 || storm->progress[i] != before[i];
        if (all)
            return true;
    }
    return false;
}

static int system_status(const char *line)
{
    int status = system(line);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128;
}

static int tool(const char *verb, const char *name)
{
    char line[600];
    snprintf(line, sizeof line, "%s %s %s", setting("TEST_TOOL", "build/hshm"), verb, name);
    return system_status(line);
}

/* Pages that the segment has: the mean of each quarter of the time, and the most. */
struct charged {
    double mean[4];
    uint64_t most;
};

static struct charged rage(const char *name, long kills, struct stormer what)
{
    pid_t pids[STORMERS];
    struct charged charged = { 0 };
    unsigned seed = (unsigned)time(NULL);
    snprintf(path, sizeof path, "%s/storm-%d", setting("TMPDIR", "/tmp"), (int)getpid());
    int fd = open(path, O_RDWR | O_CREAT | O_TRUNC, 0600);
    cr_assert(fd >= 0 && ftruncate(fd, sizeof *storm) == 0);
    storm = mmap(NULL, sizeof *storm, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    unlink(segment_file(name));
    for (unsigned i = 0; i < STORMERS; i++)
        pids[i] = stormer(name, i, seed + i * 64, what);
    sleep_ms(300);
    for (long k = 0; k < kills && !storm->wrong; k++) {
        unsigned i = (unsigned)rand_r(&seed) % STORMERS;
        kill(pids[i], SIGKILL);
        int status;
        waitpid(pids[i], &status, 0);
        cr_assert(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL,
                  "kill %ld: it had ended by itself: %#x", k, (unsigned)status);
        pids[i] = stormer(name, i, (unsigned)rand_r(&seed), what);
        sleep_ms(5 + rand_r(&seed) % 15);
        uint64_t pages = segment_header(name).charged.raw_;
        charged.most = pages > charged.most ? pages : charged.most;
        charged.mean[k * 4 / kills] += (double)pages * 4 / (double)kills;
        if (k % 500 == 499)
            cr_assert(all_move(pids), "kill %ld: somebody hangs", k);
    }
    bool move = all_move(pids);
    for (unsigned i = 0; i < STORMERS; i++) {
        int status;
        kill(pids[i], SIGKILL);
        waitpid(pids[i], &status, 0);
    }
    fprintf(stderr,
            "%ld kills, at most %lu MiB, on average %.0f, %.0f, %.0f, %.0f; %lu requests refused\n",
            kills, (unsigned long)charged.most / 256, charged.mean[0] / 256, charged.mean[1] / 256,
            charged.mean[2] / 256, charged.mean[3] / 256, (unsigned long)storm->refused);
    cr_assert_eq(storm->wrong, 0);
    cr_assert(move, "somebody hangs");
    return charged;
}

Test(storm, with_keep_nothing_hangs_or_is_lost, .timeout = 4000)
{
    char name[64], quietly[80];
    snprintf(name, sizeof name, "storm-%d", (int)getpid());
    snprintf(quietly, sizeof quietly, "%s >/dev/null", name);
    rage(name, 100 * scale(), (struct stormer){ "prog_storm", "HSHM_SIZE=6G HSHM_EXIT=keep" });
    unlink(path);
    cr_assert_eq(storm->refused, 0, "more is gone than the killed held");
    sleep_ms(150);
    tool("reclaim", quietly);
    sleep_ms(150);
    tool("reclaim", quietly);
    cr_assert_eq(tool("check -q", name), 0);
    cr_assert_lt(segment_pages(name, -1), 50, "%lu pages stay after reclaim",
                 (unsigned long)segment_pages(name, -1));
    unlink(segment_file(name));
}

/* What the killed had is gone, all of it and at once: nobody has to run `hshm reclaim`. */
Test(storm, with_reclaim_what_is_given_or_named_stays_and_all_else_goes, .timeout = 4000)
{
    char name[64], line[1024];
    long kills = 100 * scale();
    snprintf(name, sizeof name, "storm-reclaim-%d", (int)getpid());
    struct charged charged =
        rage(name, kills, (struct stormer){ "prog_api_storm", "HSHM_SIZE=512M HSHM_EXIT=reclaim" });
    fprintf(stderr, "%lu blocks taken, %lu published, %lu found by name\n",
            (unsigned long)storm->taken, (unsigned long)storm->published,
            (unsigned long)storm->found);
    cr_assert(storm->taken > 1000 && storm->published > 100 && storm->found > 1000);
    cr_assert_eq(storm->refused, 0, "there was always enough");
    if (kills >= 1000) /* else one large block tells */
        cr_assert_lt(charged.mean[3], charged.mean[0] * 1.5, "memory is not flat");
    snprintf(line, sizeof line,
             "HSHM_EXIT=reclaim HSHM_SEGMENT=%s LD_PRELOAD=%s %s/prog_api_storm %s drain", name,
             setting("TEST_PRELOAD", "build/libhshm_preload.so"),
             setting("TEST_BIN", "build/tests"), path);
    for (int i = 0; i < 3; i++) { /* the second finds that the grace of the last killed is over */
        cr_assert_eq(system_status(line), 0);
        sleep_ms(150);
    }
    cr_assert_eq(tool("check -q", name), 0);
    snprintf(line, sizeof line, "%s show -j %s | grep -A1 '\"used\"' | grep -q '\"blocks\": 0,'",
             setting("TEST_TOOL", "build/hshm"), name);
    cr_assert_eq(system_status(line), 0, "blocks stay that nobody has");
    unlink(segment_file(name));
    unlink(path);
}
