/* hshm dump: a segment in a file, for later. */
#include "tool/json.h"
#include "tool/progress.h"
#include "tool/tool.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define COPY_BYTES (UINT64_C(1) << 20)

struct dump {
    struct view v;
    int to;
    uint64_t bytes; /* written */
    bool is_stopped[MEMBER_MAX];
    long stopped[MEMBER_MAX]; /* pids of those whom we have stopped */
    unsigned stopped_count;
};

static bool write_at(struct dump *d, const char *data, uint64_t n, uint64_t off)
{
    while (n) {
        ssize_t wrote = pwrite(d->to, data, n, (off_t)off);
        if (wrote < 0 && errno == EINTR)
            continue;
        if (wrote <= 0)
            return false;
        data += wrote, off += (uint64_t)wrote, n -= (uint64_t)wrote;
        d->bytes += (uint64_t)wrote;
    }
    return true;
}

static bool is_zero(const char *data, uint64_t n)
{
    return n == 0 || (data[0] == 0 && memcmp(data, data + 1, n - 1) == 0);
}

/* OS pages that are zero become holes. */
static bool copy_pages(struct dump *d, const char *data, uint64_t n, uint64_t off)
{
    for (uint64_t at = 0, end; at < n; at = end) {
        end = at;
        while (end < n && !is_zero(data + end, smaller(OS_PAGE, n - end)))
            end = smaller(end + OS_PAGE, n);
        if (end > at && !write_at(d, data + at, end - at, off + at))
            return false;
        while (end < n && is_zero(data + end, smaller(OS_PAGE, n - end)))
            end = smaller(end + OS_PAGE, n);
    }
    return true;
}

static bool copy_all(struct dump *d)
{
    static char data[COPY_BYTES];
    struct progress p = progress_start(d->v.file.allocated);
    for (uint64_t off = 0, end; off < d->v.file.bytes; off = end) {
        long found = os_seek_data(d->v.fd, off);
        if (found < 0)
            break; /* no data behind it */
        off = (uint64_t)found;
        long hole = os_seek_hole(d->v.fd, off);
        end = hole > (long)off ? (uint64_t)hole : d->v.file.bytes;
        for (uint64_t at = off; at < end; at += COPY_BYTES) {
            uint64_t n = smaller(COPY_BYTES, end - at);
            view_read(&d->v, at, data, n);
            if (!copy_pages(d, data, n, at))
                return false;
            progress_tell(&p, d->bytes);
        }
    }
    progress_end(&p);
    return true;
}

/* The copy says that it is one, and who lived. */
static bool mark(struct dump *d)
{
    uint64_t now = os_now_ns(), before = d->bytes;
    bool done = d->v.foreign ||
                write_at(d, (char *)&now, sizeof now, offsetof(struct seg_header, dumped_ns));
    for (uint64_t slot = 0; done && slot < d->v.members_high; slot++)
        if (view_member_alive(&d->v, slot)) {
            uint64_t how = d->is_stopped[slot] ? DUMPED_STOPPED : DUMPED_ALIVE;
            done = write_at(d, (char *)&how, sizeof how,
                            SEG_MEMBERS_OFF + slot * sizeof(struct seg_member) +
                                offsetof(struct seg_member, dumped));
        }
    d->bytes = before;
    return done;
}

/* ---- stopping the members ----------------------------------------------------------------- */

static void stop_members(struct dump *d)
{
    for (uint64_t slot = 0; slot < d->v.members_high; slot++) {
        struct process p;
        if (member_life(&d->v, slot) > LIFE_LEAVING)
            continue;
        member_process(&d->v, slot, &p);
        d->is_stopped[slot] = p.stopped;
        if (p.pid && !p.stopped && kill((pid_t)p.pid, SIGSTOP) == 0) {
            d->stopped[d->stopped_count++] = p.pid;
            d->is_stopped[slot] = true;
        } else if (!p.stopped)
            fail(0, "pid %lu cannot be stopped: it may change what is being copied",
                 (unsigned long)get(d->v.members[slot].pid));
    }
    /* A stop is seen when the process next leaves the kernel. */
    nanosleep(&(struct timespec){ 0, d->stopped_count ? 20000000 : 0 }, NULL);
}

static void go_on(struct dump *d)
{
    for (unsigned i = 0; i < d->stopped_count; i++)
        kill((pid_t)d->stopped[i], SIGCONT);
    d->stopped_count = 0;
}

static struct dump dump;

/* Nobody stays stopped because somebody lost patience. */
static void interrupted(int signal)
{
    for (unsigned i = 0; i < dump.stopped_count; i++)
        kill((pid_t)dump.stopped[i], SIGCONT);
    _exit(128 + signal);
}

/* ---- the command ----------------------------------------------------------------------------- */

static bool write_file(struct dump *d, const char *file, bool stop)
{
    char temporary[1024];
    if ((size_t)snprintf(temporary, sizeof temporary, "%s.XXXXXX", file) >= sizeof temporary)
        return errno = ENAMETOOLONG, false;
    d->to = mkstemp(temporary);
    if (d->to < 0)
        return false;
    if (stop) {
        signal(SIGINT, interrupted);
        signal(SIGTERM, interrupted);
        signal(SIGHUP, interrupted);
        stop_members(d);
    }
    bool done = ftruncate(d->to, (off_t)d->v.file.bytes) == 0 && copy_all(d) && mark(d);
    int error = errno;
    go_on(d);
    if (close(d->to) < 0 && done)
        done = false, error = errno;
    if (done && rename(temporary, file) < 0)
        done = false, error = errno;
    if (!done)
        unlink(temporary);
    errno = error;
    return done;
}

int verb_dump(int argc, char **argv)
{
    char path[512];
    struct flags f;
    flags_read_arguments(argc, argv, &f, 2, 2);
    const char *name = f.arguments[0], *file = f.arguments[1];
    if (!segment_look(name, &dump.v, path, sizeof path, false))
        return EXIT_NO;
    if (dump.v.foreign) {
        view_close(&dump.v);
        return fail(EXIT_NO, "segment %s: %s", name, dump.v.wrong);
    }
    bool done = write_file(&dump, file, flag(&f, 's'));
    if (!done)
        fail(0, "%s: %s", file, strerror(errno));
    else if (flag(&f, 'j')) {
        json_open(NULL, '{');
        json_text("name", name);
        json_text("file", file);
        json_number("bytes", dump.bytes);
        json_bool("in_use", dump.v.alive);
        json_bool("stopped", flag(&f, 's'));
        json_close();
    } else {
        printf("segment %s: %s in %s%s\n", name, text_bytes(dump.bytes).at, file,
               dump.v.alive && !flag(&f, 's') ? "; it changed while it was copied (-s stops it)"
                                              : "");
    }
    view_close(&dump.v);
    return done ? EXIT_OK : EXIT_NO;
}
