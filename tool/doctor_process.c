/* The half of `hshm doctor` that looks at one process. */
#include "tool/doctor.h"

#include <elf.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define PRELOADED "libhshm_preload"

struct seen {
    bool library, private_heap, segment, sanitizer, readable;
    char segment_file[300];
    unsigned long inode; /* of the segment */
};

struct by_inode {
    struct seen *seen;
    const char *directory;
};

static bool name_by_inode(const char *name, void *context)
{
    struct by_inode *b = context;
    char path[600];
    struct stat st;
    snprintf(path, sizeof path, "%s/%s", b->directory, name);
    if (stat(path, &st) < 0 || st.st_ino != b->seen->inode)
        return true;
    snprintf(b->seen->segment_file, sizeof b->seen->segment_file, SEGMENT_DIR "/%.200s", name);
    return false;
}

static void look_at_maps(const struct doctor *d, struct seen *s)
{
    char path[64], line[800];
    snprintf(path, sizeof path, "/proc/%ld/maps", d->pid);
    FILE *maps = fopen(path, "re");
    s->readable = maps != NULL;
    while (maps && fgets(line, sizeof line, maps)) {
        unsigned long from = 0, to = 0, inode = 0;
        char *name = strchr(line, '/');
        sscanf(line, "%lx-%lx %*s %*s %*s %lu", &from, &to, &inode);
        s->library |= strstr(line, PRELOADED) != NULL;
        s->sanitizer |= strstr(line, "libasan") || strstr(line, "libtsan");
        bool ours = from >= BASE_LOW && from < BASE_HIGH + WINDOW_MAX;
        if (ours && name && strstr(line, " rw-s ") && !s->segment) {
            s->segment = true;
            s->inode = inode;
            snprintf(s->segment_file, sizeof s->segment_file, "%.*s", (int)strcspn(name, "\n"),
                     name);
        }
        s->private_heap |= ours && !name && to - from >= WINDOW_MIN;
    }
    if (maps)
        fclose(maps);
    /* Who made it maps it under no name: it got its name when it was finished. */
    struct by_inode b = { s, doctor_path(d, SEGMENT_DIR) };
    if (s->segment)
        os_list(b.directory, name_by_inode, &b);
}

/* A variable of the environment it was started with. */
static bool environment(const struct doctor *d, const char *name, char *value, size_t size)
{
    static char all[1 << 17];
    char path[64];
    size_t n = strlen(name);
    snprintf(path, sizeof path, "/proc/%ld/environ", d->pid);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t got = 0, more = 1;
    while (fd >= 0 && more > 0 && (size_t)got < sizeof all - 1) {
        more = read(fd, all + got, sizeof all - 1 - (size_t)got);
        got += more > 0 ? more : 0;
    }
    if (fd >= 0)
        close(fd);
    all[got] = '\0';
    for (const char *at = all; at < all + got; at += strlen(at) + 1)
        if (strncmp(at, name, n) == 0 && at[n] == '=') {
            snprintf(value, size, "%s", at + n + 1);
            return true;
        }
    return false;
}

/* Why a program that was told to preload us has not: what its file says. */
static const char *file_fault(const struct doctor *d)
{
    char path[64];
    unsigned char head[4096];
    struct stat st;
    snprintf(path, sizeof path, "/proc/%ld/exe", d->pid);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t n = fd < 0 ? 0 : read(fd, head, sizeof head);
    bool known = fd >= 0 && fstat(fd, &st) == 0;
    if (fd >= 0)
        close(fd);
    if (n < (ssize_t)sizeof(Elf64_Ehdr))
        return NULL;
    if (head[EI_CLASS] == ELFCLASS32)
        return "it is a 32-bit program";
    if (known && st.st_mode & (S_ISUID | S_ISGID))
        return "it is set-user-ID or set-group-ID: the loader drops preloads";
    Elf64_Ehdr elf;
    memcpy(&elf, head, sizeof elf);
    for (unsigned i = 0; i < elf.e_phnum; i++) {
        Elf64_Phdr p;
        uint64_t at = elf.e_phoff + (uint64_t)i * sizeof p;
        if (at + sizeof p > (uint64_t)n)
            return NULL;
        memcpy(&p, head + at, sizeof p);
        if (p.p_type == PT_INTERP)
            return NULL;
    }
    return "it is linked statically: no loader reads LD_PRELOAD";
}

static void tell_not_loaded(struct doctor *d, const struct seen *s)
{
    char value[2048];
    const char *fault = file_fault(d);
    if (!s->readable)
        tell(d, "preload", VERDICT_WRONG, "run this as its user or as root",
             "the memory map of process %ld cannot be read", d->pid);
    else if (fault)
        tell(d, "preload", VERDICT_WRONG, "a dynamic 64-bit program without more rights",
             "not loaded: %s", fault);
    else if (!environment(d, "LD_PRELOAD", value, sizeof value))
        tell(d, "preload", VERDICT_WRONG, "hshm run -s NAME -- PROGRAM",
             "not loaded: it was started without LD_PRELOAD");
    else if (!strstr(value, PRELOADED))
        tell(d, "preload", VERDICT_WRONG, "add " LIBRARY " to LD_PRELOAD",
             "not loaded: LD_PRELOAD is '%s'", value);
    else
        tell(d, "preload", VERDICT_WRONG,
             "look at what ld.so said on its stderr; use the library's full path",
             "not loaded though LD_PRELOAD is '%s'", value);
}

static void tell_loaded(struct doctor *d, const struct seen *s)
{
    char segment[300] = "";
    bool asked = environment(d, "HSHM_SEGMENT", segment, sizeof segment) && *segment;
    tell(d, "preload", VERDICT_OK, "", "loaded");
    if (s->segment)
        tell(d, "segment", VERDICT_OK, "", "%s", s->segment_file);
    else if (asked && s->sanitizer)
        tell(d, "segment", VERDICT_WRONG, "build it without the sanitizer",
             "not joined: a sanitizer is at work");
    else if (asked)
        tell(d, "segment", VERDICT_WRONG,
             "its first line on stderr says why; HSHM_STRICT=1 makes it exit instead",
             "not joined: HSHM_SEGMENT=%s, but it has %s", segment,
             s->private_heap ? "a private heap" : "libc's malloc");
    else
        tell(d, "segment", VERDICT_NOTE, "HSHM_SEGMENT=NAME",
             "none: without HSHM_SEGMENT the heap is private");
}

static void look_at_sandbox(struct doctor *d)
{
    char path[64], text[8192];
    snprintf(path, sizeof path, "/proc/%ld/status", d->pid);
    if (!doctor_read(path, text, sizeof text))
        return;
    const char *seccomp = strstr(text, "\nSeccomp:");
    if (seccomp && atoi(seccomp + 9) == 2)
        tell(d, "seccomp", VERDICT_NOTE,
             "allow openat, fcntl, newfstatat, statfs, close, madvise; or HSHM_EXCLUDE=program",
             "a filter is on: one that kills for what the heap asks of the kernel kills it");
    else if (seccomp && atoi(seccomp + 9) == 1)
        tell(d, "seccomp", VERDICT_WRONG, "HSHM_EXCLUDE=program",
             "strict mode: the heap cannot grow any more");
}

/* Another /dev/shm or another user: they do not meet. */
static void look_at_namespaces(struct doctor *d)
{
    char path[64];
    struct stat ours, its;
    snprintf(path, sizeof path, "/proc/%ld", d->pid);
    if (stat(path, &its) == 0 && its.st_uid != geteuid())
        tell(d, "user", VERDICT_NOTE, "the same user in all members, or file:/path and HSHM_MODE",
             "it is of user %u, this command of %u: segments of a name are another for each",
             its.st_uid, geteuid());
    snprintf(path, sizeof path, "/proc/%ld/root/dev/shm", d->pid);
    if (stat(path, &its) == 0 && stat("/dev/shm", &ours) == 0 &&
        (ours.st_dev != its.st_dev || ours.st_ino != its.st_ino))
        tell(d, "container", VERDICT_NOTE, "--ipc=container:FIRST, or file:/path on a shared mount",
             "it has another /dev/shm than this command");
}

void doctor_process(struct doctor *d)
{
    struct seen s = { 0 };
    look_at_maps(d, &s);
    if (s.library)
        tell_loaded(d, &s);
    else
        tell_not_loaded(d, &s);
    look_at_sandbox(d);
    look_at_namespaces(d);
}
