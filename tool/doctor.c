/* hshm doctor: is all here that shared heaps need; each thing in the way with what mends it. */
#include "tool/doctor.h"
#include "config/options.h"
#include "tool/json.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/statvfs.h>
#include <sys/utsname.h>
#include <unistd.h>

static const char *const verdict_names[] = { "ok", "note", "wrong" };

void tell(struct doctor *d, const char *topic, enum verdict verdict, const char *mend,
          const char *format, ...)
{
    char text[600];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    d->worst = verdict > d->worst ? verdict : d->worst;
    if (d->json) {
        json_open(NULL, '{');
        json_text("topic", topic);
        json_text("verdict", verdict_names[verdict]);
        json_text("text", text);
        json_text("mend", *mend ? mend : NULL);
        json_close();
    } else {
        printf("%-5s  %-10s %s\n", verdict_names[verdict], topic, text);
        if (*mend)
            printf("%18s-> %s\n", "", mend);
    }
}

/* Of the process's mount namespace, where it can be seen. */
const char *doctor_path(const struct doctor *d, const char *path)
{
    static char seen[512];
    snprintf(seen, sizeof seen, "/proc/%ld/root%s", d->pid, path);
    return d->pid && access(seen, F_OK) == 0 ? seen : path;
}

bool doctor_read(const char *path, char *text, size_t size)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t n = fd < 0 ? -1 : read(fd, text, size - 1);
    if (fd >= 0)
        close(fd);
    text[n < 0 ? 0 : n] = '\0';
    return n >= 0;
}

/* ---- /dev/shm ------------------------------------------------------------------------------- */

static void look_at_size(struct doctor *d, const struct statvfs *fs)
{
    uint64_t total = (uint64_t)fs->f_blocks * fs->f_frsize,
             available = (uint64_t)fs->f_bavail * fs->f_frsize;
    uint64_t wanted =
        option_is_set(OPT_SIZE) ? (uint64_t)option_bytes(OPT_SIZE, (int64_t)total) : 0;
    if (total == 0)
        tell(d, "/dev/shm", VERDICT_OK, "", "no limit of its own");
    else if (wanted > total)
        tell(d, "/dev/shm", VERDICT_WRONG,
             "mount -o remount,size=... /dev/shm; in a container: --shm-size",
             "%s is smaller than "
             "HSHM_SIZE=%s",
             text_bytes(total).at, text_bytes(wanted).at);
    else if (total <= UINT64_C(64) << 20)
        tell(d, "/dev/shm", VERDICT_NOTE, "docker run --shm-size=2g; compose: shm_size: 2gb",
             "it has only %s, as containers have by default", text_bytes(total).at);
    else if (available < total / 20)
        tell(d, "/dev/shm", VERDICT_WRONG, "hshm reclaim; then look: du -sh /dev/shm/*",
             "nearly full: %s of %s are free", text_bytes(available).at, text_bytes(total).at);
    else
        tell(d, "/dev/shm", VERDICT_OK, "", "%s of %s are free", text_bytes(available).at,
             text_bytes(total).at);
    if (fs->f_files && fs->f_favail < 16)
        tell(d, "/dev/shm", VERDICT_WRONG, "mount -o remount,nr_inodes=... /dev/shm",
             "no inodes are left");
    if (fs->f_flag & ST_NOEXEC)
        tell(d, "/dev/shm", VERDICT_NOTE,
             "HSHM_SEGMENT=file:/path on a tmpfs without noexec, or HSHM_EXCLUDE=program",
             "mounted noexec: programs that make malloc blocks executable are refused");
    if (fs->f_flag & ST_RDONLY)
        tell(d, "/dev/shm", VERDICT_WRONG, "mount -o remount,rw /dev/shm", "mounted read-only");
}

static void look_at_shm(struct doctor *d)
{
    struct statvfs fs;
    const char *path = doctor_path(d, SEGMENT_DIR);
    if (statvfs(path, &fs) < 0)
        tell(d, "/dev/shm", VERDICT_WRONG, "mount -t tmpfs tmpfs /dev/shm", "%s", strerror(errno));
    else {
        if (!d->pid && access(path, W_OK) < 0)
            tell(d, "/dev/shm", VERDICT_WRONG, "chmod 1777 /dev/shm", "no permission to write");
        look_at_size(d, &fs);
    }
}

/* ---- the machine ------------------------------------------------------------------------------ */

static void look_at_kernel(struct doctor *d)
{
    struct utsname u;
    unsigned major = 0, minor = 0;
    uname(&u);
    sscanf(u.release, "%u.%u", &major, &minor);
    if (major < 5 || (major == 5 && minor < 14))
        tell(d, "kernel", VERDICT_NOTE, "Linux 5.14 or newer",
             "%s: memory is committed page by page, which is slower", u.release);
    else
        tell(d, "kernel", VERDICT_OK, "", "%s", u.release);
}

static void look_at_huge_pages(struct doctor *d)
{
    char text[256];
    if (!doctor_read("/sys/kernel/mm/transparent_hugepage/shmem_enabled", text, sizeof text))
        return;
    const char *on = strchr(text, '[');
    int n = on ? (int)strcspn(on + 1, "]") : 0;
    if (n)
        tell(d, "huge pages", VERDICT_OK, "", "shmem_enabled is %.*s%s", n, on + 1,
             strncmp(on + 1, "never", 5) == 0 || strncmp(on + 1, "deny", 4) == 0
                 ? ": shared memory has small pages"
                 : "");
}

/* The group's limit counts shared memory for whoever touched it first. */
static void look_at_cgroup(struct doctor *d)
{
    char text[4096], path[800], file[64];
    snprintf(file, sizeof file, "/proc/%ld/cgroup", d->pid ? d->pid : (long)getpid());
    if (!doctor_read(file, text, sizeof text))
        return;
    char *group = strstr(text, "0::");
    if (!group)
        return;
    snprintf(path, sizeof path, "/sys/fs/cgroup%.*s/memory.max", (int)strcspn(group + 3, "\n"),
             group + 3);
    if (!doctor_read(path, text, sizeof text) || !isdigit((unsigned char)*text))
        return;
    tell(d, "cgroup", VERDICT_NOTE, "MemoryMax= or --memory with room for HSHM_SIZE",
         "memory.max is %s: at the limit the kernel kills members instead of refusing memory",
         text_bytes(strtoull(text, NULL, 10)).at);
}

/* ---- limits --------------------------------------------------------------------------------- */

static void look_at_limit(struct doctor *d, int which, const char *name, uint64_t least,
                          const char *mend)
{
    struct rlimit r;
    if (prlimit((pid_t)d->pid, (enum __rlimit_resource)which, NULL, &r) < 0 ||
        r.rlim_cur == RLIM_INFINITY)
        return;
    bool wrong = r.rlim_cur < least;
    tell(d, "limits", wrong ? VERDICT_WRONG : VERDICT_NOTE, mend, "%s is %s%s", name,
         text_bytes(r.rlim_cur).at, wrong ? ": too small for a segment" : "");
}

static void look_at_limits(struct doctor *d)
{
    enum verdict before = d->worst;
    d->worst = VERDICT_OK;
    look_at_limit(d, RLIMIT_FSIZE, "RLIMIT_FSIZE (ulimit -f)", WINDOW_MIN, "ulimit -f unlimited");
    look_at_limit(d, RLIMIT_AS, "RLIMIT_AS (ulimit -v)", UINT64_C(1) << 32, "ulimit -v unlimited");
    if (d->worst == VERDICT_OK)
        tell(d, "limits", VERDICT_OK, "", "neither file size nor address space is limited");
    d->worst = before > d->worst ? before : d->worst;
    char text[64];
    if (doctor_read("/proc/sys/vm/max_map_count", text, sizeof text) && atol(text) < 65530)
        tell(d, "limits", VERDICT_NOTE, "sysctl vm.max_map_count=65530",
             "vm.max_map_count is %ld: forks of large heaps may be refused", atol(text));
}

/* ---- the library ---------------------------------------------------------------------------- */

static void look_at_library(struct doctor *d)
{
    char path[1024];
    library_find(LIBRARY, path, sizeof path);
    if (strchr(path, '/'))
        tell(d, "library", VERDICT_OK, "", "%s", path);
    else
        tell(d, "library", VERDICT_NOTE, "make install, or LD_PRELOAD with a path",
             "%s is not beside this command: the loader must find it", path);
}

/* ---- the command ------------------------------------------------------------------------------ */

int verb_doctor(int argc, char **argv)
{
    struct flags f;
    flags_read_arguments(argc, argv, &f, 0, 1);
    struct doctor d = { .json = flag(&f, 'j') };
    if (f.count) {
        char *end;
        d.pid = strtol(f.arguments[0], &end, 10);
        char path[64];
        snprintf(path, sizeof path, "/proc/%ld", d.pid);
        if (*end || d.pid <= 0)
            return fail(EXIT_USAGE, "'%s' is no pid", f.arguments[0]);
        if (access(path, F_OK) < 0)
            return fail(EXIT_NO, "there is no process %ld", d.pid);
    }
    options_init(environ, "hshm", false);
    if (d.json)
        json_open(NULL, '[');
    if (d.pid)
        doctor_process(&d);
    else
        look_at_library(&d);
    look_at_shm(&d);
    look_at_limits(&d);
    look_at_cgroup(&d);
    look_at_kernel(&d);
    look_at_huge_pages(&d);
    if (d.json)
        json_close();
    return d.worst == VERDICT_WRONG ? EXIT_NO : EXIT_OK;
}
