// measure [-o FILE] [-s SEGMENT] [-i MS] [-t SECONDS] [-H HELPER] [-k] -- PROGRAM [ARGUMENTS]
//
// Runs one program and writes one line of KEY=VALUE pairs about its whole process tree:
//   user_us sys_us maxrss_kib minflt majflt nvcsw nivcsw   from wait4, so exact, and with all
//                          descendants somebody waited for; maxrss is that of the largest process
//   wall_us                from fork to exit
//   peak_kib               peak over time of the tree's memory (sampled every MS, never below maxrss)
//   end_kib                the tree's memory in the last sample: what a program held when it ended
//   seg_kib                peak of the segment's allocated blocks (files in /dev/shm that bear its name)
//   status                 exit status, or 128 + the signal
// The tree's memory is its private memory, its file pages once, and the larger of the segment's blocks
// and what the tree maps of shared memory. With more than one process shared pages are counted once
// (Pss), so a forked child does not count what it still shares with its parent.
//
// It is a static program: no preload reaches it, and a child's peak memory starts from its own small
// image (the kernel keeps the peak across exec; started from python it would begin at python's).
// Transparent huge pages are switched off for the tree unless -k keeps the system's setting.
// HELPER is a shell command run beside the program, without LD_PRELOAD and HSHM_*, and not counted:
// the client of a server.
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

extern char **environ;

enum { MOST_PROCESSES = 4096, BUFFER = 1 << 14 };

struct memory {
    uint64_t anonymous, file, shared; // KiB
};

static char buffer[BUFFER];
static pid_t tree[MOST_PROCESSES];
static uint64_t peak_kib, end_kib, segment_peak_kib, samples;

static uint64_t now_us(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000 + (uint64_t)t.tv_nsec / 1000;
}

// The file as a string in `buffer`, empty where it cannot be read (the process has just ended).
static const char *read_text(const char *path)
{
    size_t used = 0;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    for (ssize_t n; fd >= 0 && used < BUFFER - 1; used += (size_t)n)
        if ((n = read(fd, buffer + used, BUFFER - 1 - used)) <= 0)
            break;
    if (fd >= 0)
        close(fd);
    buffer[used] = 0;
    return buffer;
}

static uint64_t field(const char *text, const char *name)
{
    const char *at = strstr(text, name);
    return at ? strtoull(at + strlen(name), NULL, 10) : 0;
}

// Fills `tree` with the process and its descendants, by every thread's list of children.
static int find_tree(pid_t root)
{
    int count = 1;
    tree[0] = root;
    for (int at = 0; at < count; at++) {
        char path[300];
        snprintf(path, sizeof path, "/proc/%d/task", tree[at]);
        DIR *tasks = opendir(path);
        for (struct dirent *task; tasks && (task = readdir(tasks));) {
            if (task->d_name[0] == '.')
                continue;
            snprintf(path, sizeof path, "/proc/%d/task/%s/children", tree[at], task->d_name);
            const char *text = read_text(path);
            char *end;
            for (long pid; (pid = strtol(text, &end, 10)) > 0 && count < MOST_PROCESSES; text = end)
                tree[count++] = (pid_t)pid;
        }
        if (tasks)
            closedir(tasks);
    }
    return count;
}

static struct memory memory_of(pid_t pid, bool alone)
{
    char path[64];
    if (!alone) {
        snprintf(path, sizeof path, "/proc/%d/smaps_rollup", pid);
        const char *text = read_text(path);
        if (*text)
            return (struct memory){ field(text, "Pss_Anon:"), field(text, "Pss_File:"),
                                    field(text, "Pss_Shmem:") };
    }
    snprintf(path, sizeof path, "/proc/%d/status", pid);
    const char *text = read_text(path);
    return (struct memory){ field(text, "RssAnon:"), field(text, "RssFile:"),
                            field(text, "RssShmem:") };
}

static uint64_t segment_kib(const char *name)
{
    uint64_t sum = 0;
    DIR *directory = name ? opendir("/dev/shm") : NULL;
    for (struct dirent *entry; directory && (entry = readdir(directory));) {
        struct stat st;
        if (strstr(entry->d_name, name) && !fstatat(dirfd(directory), entry->d_name, &st, 0))
            sum += (uint64_t)st.st_blocks / 2;
    }
    if (directory)
        closedir(directory);
    return sum;
}

static void sample(pid_t root, const char *segment)
{
    int count = find_tree(root);
    struct memory sum = { 0 };
    for (int at = 0; at < count; at++) {
        struct memory m = memory_of(tree[at], count == 1);
        sum.anonymous += m.anonymous;
        sum.file += m.file;
        sum.shared += m.shared;
    }
    uint64_t blocks = segment_kib(segment);
    uint64_t total = sum.anonymous + sum.file + (blocks > sum.shared ? blocks : sum.shared);
    if (sum.file + sum.anonymous == 0) // already a zombie: keep what was seen before
        return;
    samples++;
    end_kib = total;
    peak_kib = total > peak_kib ? total : peak_kib;
    segment_peak_kib = blocks > segment_peak_kib ? blocks : segment_peak_kib;
}

static void add(struct rusage *sum, const struct rusage *more)
{
    timeradd(&sum->ru_utime, &more->ru_utime, &sum->ru_utime);
    timeradd(&sum->ru_stime, &more->ru_stime, &sum->ru_stime);
    sum->ru_maxrss = more->ru_maxrss > sum->ru_maxrss ? more->ru_maxrss : sum->ru_maxrss;
    sum->ru_minflt += more->ru_minflt;
    sum->ru_majflt += more->ru_majflt;
    sum->ru_nvcsw += more->ru_nvcsw;
    sum->ru_nivcsw += more->ru_nivcsw;
}

static pid_t start(char **command, bool helper)
{
    pid_t pid = fork();
    if (pid != 0)
        return pid;
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    setsid(); // a group of its own, so that a run past its limit can be ended as a whole
    if (helper) {
        char **kept = environ;
        for (char **e = environ; *e; e++)
            if (strncmp(*e, "HSHM_", 5) != 0 && strncmp(*e, "LD_PRELOAD=", 11) != 0)
                *kept++ = *e;
        *kept = NULL;
    }
    execvp(command[0], command);
    perror(command[0]);
    _exit(127);
}

int main(int argc, char **argv)
{
    const char *segment = NULL, *output = NULL, *helper_command = NULL;
    int interval_ms = 10, limit_s = 120;
    bool keep_huge_pages = false;
    for (int option; (option = getopt(argc, argv, "+o:s:i:t:H:k")) != -1;) {
        switch (option) {
        case 'o': output = optarg; break;
        case 's': segment = optarg; break;
        case 'i': interval_ms = atoi(optarg); break;
        case 't': limit_s = atoi(optarg); break;
        case 'H': helper_command = optarg; break;
        case 'k': keep_huge_pages = true; break;
        default: return 2;
        }
    }
    if (optind >= argc)
        return 2;
    if (!keep_huge_pages)
        prctl(PR_SET_THP_DISABLE, 1, 0, 0, 0);
    prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); // grandchildren whose parent ended count too

    uint64_t begin = now_us(), deadline = begin + (uint64_t)limit_s * 1000000;
    pid_t pid = start(argv + optind, false);
    pid_t helper = 0;
    if (helper_command)
        helper = start((char *[]){ "/bin/sh", "-c", (char *)helper_command, NULL }, true);
    if (pid < 0 || helper < 0)
        return 1;
    struct pollfd ended = { .fd = (int)syscall(SYS_pidfd_open, pid, 0), .events = POLLIN };
    bool killed = false;
    for (int wait_ms = interval_ms > 0 ? interval_ms : 1000; poll(&ended, 1, wait_ms) == 0;) {
        uint64_t before = now_us();
        if (interval_ms > 0)
            sample(pid, segment);
        uint64_t after = now_us();
        // Looking may take a twentieth of one core at most.
        int pause = (int)((after - before) * 20 / 1000);
        wait_ms = interval_ms <= 0 ? 1000 : pause > interval_ms ? pause : interval_ms;
        if (after > deadline && !killed) {
            killed = true;
            kill(-pid, SIGKILL);
            kill(pid, SIGKILL);
        }
    }
    uint64_t wall = now_us() - begin;
    struct rusage sum = { 0 }, one;
    int status = 0, its_status = 0;
    if (wait4(pid, &status, 0, &sum) != pid)
        return 1;
    uint64_t blocks = segment_kib(segment); // what the last member left, if anything
    segment_peak_kib = blocks > segment_peak_kib ? blocks : segment_peak_kib;
    // Background processes of the tree get ten seconds to end by themselves.
    for (uint64_t patience = now_us() + 10000000;;) {
        pid_t other = wait4(-1, &its_status, WNOHANG, &one);
        if (other < 0)
            break;
        if (other > 0 && other != helper)
            add(&sum, &one);
        if (other == helper && its_status != 0)
            fprintf(stderr, "measure: helper ended with status %d\n", its_status);
        if (other == 0) {
            if (now_us() > patience) {
                kill(-pid, SIGKILL);
                if (helper)
                    kill(-helper, SIGKILL);
            }
            nanosleep(&(struct timespec){ .tv_nsec = 1000000 }, NULL);
        }
    }
    uint64_t maxrss = (uint64_t)sum.ru_maxrss;
    FILE *out = output ? fopen(output, "we") : stderr;
    if (!out)
        return 1;
    fprintf(
        out,
        "user_us=%ld sys_us=%ld wall_us=%lu maxrss_kib=%lu peak_kib=%lu end_kib=%lu seg_kib=%lu "
        "minflt=%ld majflt=%ld nvcsw=%ld nivcsw=%ld samples=%lu status=%d timed_out=%d\n",
        sum.ru_utime.tv_sec * 1000000 + sum.ru_utime.tv_usec,
        sum.ru_stime.tv_sec * 1000000 + sum.ru_stime.tv_usec, wall, maxrss,
        peak_kib > maxrss ? peak_kib : maxrss, end_kib, segment_peak_kib, sum.ru_minflt,
        sum.ru_majflt, sum.ru_nvcsw, sum.ru_nivcsw, samples,
        WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status), killed);
    return fclose(out) ? 1 : 0;
}
