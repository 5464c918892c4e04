/* puppet.h - members of a segment that a test moves by hand: see prog_puppet.c.
 *
 *   struct puppet a = puppet_start("seg", "HSHM_EXIT=keep");
 *   uint64_t p = ask(&a, "m 100");       each command is answered by one number
 *   puppet_kill(&a);
 */
#pragma once
#include "allocators/layout.h"

#include <criterion/criterion.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define REFUSED UINT64_MAX /* the puppet is gone or did not answer in time */

struct puppet {
    pid_t pid;
    int to, from;
    char err[128]; /* file with what it said on standard error */
};

static inline const char *setting(const char *name, const char *otherwise)
{
    const char *value = getenv(name);
    return value && *value ? value : otherwise;
}

static inline long scale(void)
{
    return atol(setting("TEST_SCALE", "1"));
}

static inline double now_s(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static inline void sleep_ms(long ms)
{
    nanosleep(&(struct timespec){ ms / 1000, ms % 1000 * 1000000 }, NULL);
}

/* 'settings': VAR=value words; a word '--' ends them and begins a command that
 * is put before the program (unshare --pid --fork). */
static inline uint64_t ask(struct puppet *p, const char *format, ...);
static inline struct puppet puppet_start(const char *segment, const char *settings)
{
    static unsigned serial;
    struct puppet p;
    int to[2], from[2];
    char env[1024], line[2048];
    snprintf(p.err, sizeof p.err, "%s/%d-%u.err", setting("TMPDIR", "/tmp"), (int)getpid(),
             serial++);
    const char *before = strstr(settings, "-- ");
    snprintf(env, sizeof env, "%.*s", before ? (int)(before - settings) : 1000, settings);
    snprintf(
        line, sizeof line,
        "exec %s env HSHM_SEGMENT=%s HSHM_SIZE=${HSHM_SIZE:-64M} %s LD_PRELOAD=%s %s/prog_puppet",
        before ? before + 3 : "", segment, env, setting("TEST_PRELOAD", "build/libhshm_preload.so"),
        setting("TEST_BIN", "build/tests"));
    cr_assert(pipe2(to, O_CLOEXEC) == 0 && pipe2(from, O_CLOEXEC) == 0);
    p.pid = fork();
    if (p.pid == 0) {
        int err = open(p.err, O_WRONLY | O_CREAT | O_APPEND, 0600);
        dup2(to[0], 0), dup2(from[1], 1), dup2(err, 2);
        execl("/bin/sh", "sh", "-c", line, NULL);
        _exit(127);
    }
    close(to[0]), close(from[1]);
    p.to = to[1], p.from = from[0];
    ask(&p, "i"); /* it has joined */
    return p;
}

static inline void tell(struct puppet *p, const char *line)
{
    signal(SIGPIPE, SIG_IGN);
    if (write(p->to, line, strlen(line)) < 0 || write(p->to, "\n", 1) < 0)
        return;
}

static inline uint64_t answer(struct puppet *p, int ms)
{
    char text[64];
    size_t n = 0;
    while (n < sizeof text - 1) {
        struct pollfd fd = { p->from, POLLIN, 0 };
        if (poll(&fd, 1, ms) != 1 || read(p->from, text + n, 1) != 1)
            return REFUSED;
        if (text[n++] == '\n')
            break;
    }
    text[n] = '\0';
    return strtoull(text, NULL, 0);
}

__attribute__((format(printf, 2, 3))) static inline uint64_t ask(struct puppet *p,
                                                                 const char *format, ...)
{
    char line[256];
    va_list ap;
    va_start(ap, format);
    vsnprintf(line, sizeof line, format, ap);
    va_end(ap);
    tell(p, line);
    return answer(p, 20000);
}

static inline int puppet_wait(struct puppet *p)
{
    int status = 0;
    waitpid(p->pid, &status, 0);
    close(p->to), close(p->from);
    return WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
}

static inline void puppet_kill(struct puppet *p)
{
    kill(p->pid, SIGKILL);
    puppet_wait(p);
}

static inline int puppet_quit(struct puppet *p)
{
    tell(p, "q");
    return puppet_wait(p);
}

static inline const char *puppet_said(const struct puppet *p)
{
    static char text[16384];
    int fd = open(p->err, O_RDONLY);
    ssize_t n = fd < 0 ? 0 : read(fd, text, sizeof text - 1);
    text[n < 0 ? 0 : n] = '\0';
    if (fd >= 0)
        close(fd);
    return text;
}

/* ---- the segment as a file ------------------------------------------------------------ */

static inline const char *segment_file(const char *name)
{
    static char path[512];
    if (strncmp(name, "file:", 5) == 0)
        snprintf(path, sizeof path, "%s", name + 5);
    else
        snprintf(path, sizeof path, "/dev/shm/hshm1-%u-%s", (unsigned)geteuid(), name);
    return path;
}

static inline struct seg_header segment_header(const char *name)
{
    struct seg_header header = { 0 };
    int fd = open(segment_file(name), O_RDONLY);
    if (fd >= 0 && pread(fd, &header, sizeof header, 0) != (ssize_t)sizeof header)
        header.magic = 0;
    if (fd >= 0)
        close(fd);
    return header;
}

/* OS pages of chunks that are not free; 'state' >= 0: only of those in that state. */
static inline uint64_t segment_pages(const char *name, int state)
{
    struct seg_header header = segment_header(name);
    uint64_t sum = 0;
    int fd = open(segment_file(name), O_RDONLY);
    for (uint64_t c = header.first_chunk; fd >= 0 && c < header.chunk_high.raw_; c++) {
        struct chunk chunk;
        if (pread(fd, &chunk, sizeof chunk, (off_t)(header.chunks_off + c * sizeof chunk)) !=
            sizeof chunk)
            break;
        int is = (int)(chunk.word.raw_ & 15);
        if (state < 0 ? is != CHUNK_FREE : is == state)
            sum += chunk.charged.raw_;
    }
    if (fd >= 0)
        close(fd);
    return sum;
}

static inline unsigned segment_members(const char *name, int state)
{
    struct seg_header header = segment_header(name);
    unsigned n = 0;
    int fd = open(segment_file(name), O_RDONLY);
    for (uint64_t i = 0; fd >= 0 && i < header.members_high.raw_; i++) {
        uint64_t word;
        if (pread(fd, &word, sizeof word, (off_t)(SEG_MEMBERS_OFF + i * OS_PAGE)) == sizeof word)
            n += (int)(word & 0xff) == state;
    }
    if (fd >= 0)
        close(fd);
    return n;
}
