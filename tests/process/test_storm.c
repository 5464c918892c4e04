/* Sixteen processes with threads; one is killed every few ms and replaced.
 *
 * timeout: 250, times TEST_SCALE
 * runs alone: it looks for hangs of a second
 */
#include "tests/process/puppet.h"
#include "tests/process/storm.h"

#include <sys/mman.h>

static struct storm *storm;
static char path[256];

static pid_t stormer(const char *name, unsigned index, unsigned seed, const char *settings)
{
    char line[1024];
    snprintf(line, sizeof line,
             "%s HSHM_SEGMENT=%s HSHM_PERSIST=1 HSHM_SIZE=256M LD_PRELOAD=%s exec %s/prog_storm %s "
             "%u %u",
             settings, name, setting("TEST_PRELOAD", "build/libhshm_preload.so"),
             setting("TEST_BIN", "build/tests"), path, index, seed);
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

static int tool(const char *verb, const char *name)
{
    char line[600];
    snprintf(line, sizeof line, "%s %s %s", setting("TEST_TOOL", "build/hshm"), verb, name);
    int status = system(line);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128;
}

static void rage(const char *name, long kills, const char *settings)
{
    pid_t pids[STORMERS];
    unsigned seed = (unsigned)time(NULL);
    snprintf(path, sizeof path, "%s/storm-%d", setting("TMPDIR", "/tmp"), (int)getpid());
    int fd = open(path, O_RDWR | O_CREAT | O_TRUNC, 0600);
    cr_assert(fd >= 0 && ftruncate(fd, sizeof *storm) == 0);
    storm = mmap(NULL, sizeof *storm, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    unlink(segment_file(name));
    for (unsigned i = 0; i < STORMERS; i++)
        pids[i] = stormer(name, i, seed + i, settings);
    sleep_ms(300);
    uint64_t most = 0;
    for (long k = 0; k < kills && !storm->wrong; k++) {
        unsigned i = (unsigned)rand_r(&seed) % STORMERS;
        kill(pids[i], SIGKILL);
        int status;
        waitpid(pids[i], &status, 0);
        cr_assert(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL,
                  "kill %ld: it had ended by itself: %#x", k, (unsigned)status);
        pids[i] = stormer(name, i, (unsigned)rand_r(&seed), settings);
        sleep_ms(5 + rand_r(&seed) % 15);
        uint64_t pages = segment_header(name).charged.raw_;
        most = pages > most ? pages : most;
        if (k % 500 == 499)
            cr_assert(all_move(pids), "kill %ld: somebody hangs", k);
    }
    bool move = all_move(pids);
    for (unsigned i = 0; i < STORMERS; i++) {
        int status;
        kill(pids[i], SIGKILL);
        waitpid(pids[i], &status, 0);
    }
    fprintf(stderr, "%ld kills, at most %lu MiB, %lu requests refused\n", kills,
            (unsigned long)most / 256, (unsigned long)storm->refused);
    unlink(path);
    cr_assert(move, "somebody hangs");
    cr_assert_eq(storm->wrong, 0);
}

Test(storm, with_keep_nothing_hangs_or_is_lost, .timeout = 1000)
{
    char name[64], quietly[80];
    snprintf(name, sizeof name, "storm-%d", (int)getpid());
    snprintf(quietly, sizeof quietly, "%s >/dev/null", name);
    rage(name, 100 * scale(), "HSHM_EXIT=keep");
    sleep_ms(150);
    tool("reclaim", quietly);
    sleep_ms(150);
    tool("reclaim", quietly);
    cr_assert_eq(tool("check -q", name), 0);
    cr_assert_lt(segment_pages(name, -1), 50, "%lu pages stay after reclaim",
                 (unsigned long)segment_pages(name, -1));
    unlink(segment_file(name));
}
