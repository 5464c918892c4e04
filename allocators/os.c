#include "allocators/os.h"
#include "allocators/heap.h"
#include "allocators/layout.h"
#include "config/machine.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <linux/mman.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysinfo.h>
#include <sys/vfs.h>
#include <time.h>
#include <unistd.h>

#ifndef MADV_POPULATE_READ
#define MADV_POPULATE_READ 22
#endif
#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE 23
#endif
#ifndef MADV_DONTNEED_LOCKED
#define MADV_DONTNEED_LOCKED 24
#endif
#ifndef MAP_FIXED_NOREPLACE
#define MAP_FIXED_NOREPLACE 0x100000
#endif
#ifndef F_OFD_GETLK
#define F_OFD_GETLK 36
#define F_OFD_SETLK 37
#endif
#ifndef RENAME_NOREPLACE
#define RENAME_NOREPLACE 1
#endif

int (*os_madvise_hook)(void *, size_t, int);

static long os_call(long number, long a, long b, long c, long d, long e, long f)
{
    return machine_call(number, a, b, c, d, e, f);
}

/* ---- files ---------------------------------------------------------------- */

long os_open(const char *path, int flags, unsigned mode)
{
    return os_call(SYS_openat, AT_FDCWD, (long)path, flags | O_CLOEXEC, mode, 0, 0);
}

void os_close(long fd)
{
    os_call(SYS_close, fd, 0, 0, 0, 0, 0);
}

static long stat_copy(long rc, const struct stat *st, struct os_file *out)
{
    if (rc < 0)
        return rc;
    *out = (struct os_file){
        .device = st->st_dev,
        .inode = st->st_ino,
        .bytes = (uint64_t)st->st_size,
        .allocated = (uint64_t)st->st_blocks * 512,
        .uid = st->st_uid,
        .mode = st->st_mode,
        .links = (uint32_t)st->st_nlink,
    };
    return 0;
}

long os_fstat(long fd, struct os_file *out)
{
    struct stat st;
    return stat_copy(os_call(SYS_newfstatat, fd, (long)"", (long)&st, AT_EMPTY_PATH, 0, 0), &st,
                     out);
}

long os_stat(const char *path, struct os_file *out)
{
    struct stat st;
    return stat_copy(
        os_call(SYS_newfstatat, AT_FDCWD, (long)path, (long)&st, AT_SYMLINK_NOFOLLOW, 0, 0), &st,
        out);
}

long os_memfd(const char *name)
{
    return os_call(SYS_memfd_create, (long)name, MFD_CLOEXEC, 0, 0, 0, 0);
}

/* A file beyond RLIMIT_FSIZE is a fatal SIGXFSZ, even for a memfd: look first. */
long os_truncate(long fd, uint64_t bytes)
{
    if (bytes > os_rlimit(RLIMIT_FSIZE))
        return -EFBIG;
    return os_call(SYS_ftruncate, fd, (long)bytes, 0, 0, 0, 0);
}

/* Away from the small numbers, which programs count on. */
long os_move_high(long fd)
{
    static const long high[] = { 900, 200, 60 };
    long moved = -1;
    for (unsigned i = 0; fd >= 0 && moved < 0 && i < 3; i++)
        moved = os_call(SYS_fcntl, fd, F_DUPFD_CLOEXEC, high[i], 0, 0, 0);
    if (moved < 0)
        return fd;
    os_close(fd);
    return moved;
}

long os_chmod(long fd, unsigned mode)
{
    return os_call(SYS_fchmod, fd, mode, 0, 0, 0, 0);
}

long os_unlink(const char *path)
{
    return os_call(SYS_unlinkat, AT_FDCWD, (long)path, 0, 0, 0, 0);
}

long os_link_fd(long fd, const char *path)
{
    char link[32] = "/proc/self/fd/";
    char digits[12];
    size_t n = 0, at = strlen(link);
    for (long rest = fd; n == 0 || rest; rest /= 10)
        digits[n++] = (char)('0' + rest % 10);
    while (n)
        link[at++] = digits[--n];
    link[at] = '\0';
    return os_call(SYS_linkat, AT_FDCWD, (long)link, AT_FDCWD, (long)path, AT_SYMLINK_FOLLOW, 0);
}

long os_rename_noreplace(const char *from, const char *to)
{
    return os_call(SYS_renameat2, AT_FDCWD, (long)from, AT_FDCWD, (long)to, RENAME_NOREPLACE, 0);
}

long os_read(long fd, void *buf, size_t len)
{
    return os_call(SYS_read, fd, (long)buf, (long)len, 0, 0, 0);
}

long os_pread(long fd, void *buf, size_t len, uint64_t off)
{
    return os_call(SYS_pread64, fd, (long)buf, (long)len, (long)off, 0, 0);
}

long os_write(long fd, const void *buf, size_t len)
{
    return os_call(SYS_write, fd, (long)buf, (long)len, 0, 0, 0);
}

long os_seek_data(long fd, uint64_t off)
{
    return os_call(SYS_lseek, fd, (long)off, SEEK_DATA, 0, 0, 0);
}

long os_seek_hole(long fd, uint64_t off)
{
    return os_call(SYS_lseek, fd, (long)off, SEEK_HOLE, 0, 0, 0);
}

struct dirent_raw {
    uint64_t inode, next;
    uint16_t length;
    uint8_t type;
    char name[];
};

void os_list(const char *dir, bool (*each)(const char *name, void *ctx), void *ctx)
{
    char buf[4096] __attribute__((aligned(8)));
    long fd = os_open(dir, O_RDONLY | O_DIRECTORY, 0), got;
    if (fd < 0)
        return;
    while ((got = os_call(SYS_getdents64, fd, (long)buf, sizeof buf, 0, 0, 0)) > 0)
        for (long at = 0; at < got;) {
            struct dirent_raw *entry = (struct dirent_raw *)(buf + at);
            at += entry->length;
            if (!each(entry->name, ctx)) {
                os_close(fd);
                return;
            }
        }
    os_close(fd);
}

long os_space(const char *path, uint64_t *total, uint64_t *available)
{
    struct statfs fs;
    long rc = os_call(SYS_statfs, (long)path, (long)&fs, 0, 0, 0, 0);
    if (rc < 0)
        return rc;
    *total = (uint64_t)fs.f_blocks * (uint64_t)fs.f_bsize;
    *available = (uint64_t)fs.f_bavail * (uint64_t)fs.f_bsize;
    return 0;
}

/* ---- locks ---------------------------------------------------------------- */

long os_lock(long fd, uint64_t byte)
{
    struct flock lock = {
        .l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = (off_t)byte, .l_len = 1
    };
    return os_call(SYS_fcntl, fd, F_OFD_SETLK, (long)&lock, 0, 0, 0);
}

long os_unlock(long fd, uint64_t byte)
{
    struct flock lock = {
        .l_type = F_UNLCK, .l_whence = SEEK_SET, .l_start = (off_t)byte, .l_len = 1
    };
    return os_call(SYS_fcntl, fd, F_OFD_SETLK, (long)&lock, 0, 0, 0);
}

bool os_lock_any(long fd, uint64_t byte, uint64_t n)
{
    struct flock lock = {
        .l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = (off_t)byte, .l_len = (off_t)n
    };
    if (n == 0)
        return false;
    return os_call(SYS_fcntl, fd, F_OFD_GETLK, (long)&lock, 0, 0, 0) < 0 || lock.l_type != F_UNLCK;
}

bool os_lock_held(long fd, uint64_t byte)
{
    return os_lock_any(fd, byte, 1);
}

/* ---- memory ---------------------------------------------------------------- */

long os_map_at(void *at, uint64_t bytes, long fd, uint64_t off, enum os_map kind, bool noreserve)
{
    int flags = MAP_FIXED_NOREPLACE | (kind == OS_MAP_PRIVATE ? MAP_PRIVATE : MAP_SHARED) |
                (fd < 0 ? MAP_ANONYMOUS : 0) | (noreserve ? MAP_NORESERVE : 0);
    int access = kind == OS_MAP_READ ? PROT_READ : PROT_READ | PROT_WRITE;
    long got = os_call(SYS_mmap, (long)at, (long)bytes, access, flags, fd, (long)off);
    if (got < 0 && got > -4096)
        return got;
    if ((void *)got != at) { /* a kernel before 4.17 takes the address as a hint */
        os_unmap((void *)got, bytes);
        return -EEXIST;
    }
    return 0;
}

long os_map_over(void *at, uint64_t bytes)
{
    long got = os_call(SYS_mmap, (long)at, (long)bytes, PROT_READ | PROT_WRITE,
                       MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED | MAP_NORESERVE, -1, 0);
    return got < 0 && got > -4096 ? got : 0;
}

long os_map_file_over(void *at, uint64_t bytes, long fd, uint64_t off)
{
    long got = os_call(SYS_mmap, (long)at, (long)bytes, PROT_READ | PROT_WRITE,
                       MAP_SHARED | MAP_FIXED | MAP_NORESERVE, fd, (long)off);
    return got < 0 && got > -4096 ? got : 0;
}

void *os_map_again(void *at, uint64_t bytes)
{
    long got = os_call(SYS_mremap, (long)at, 0, (long)bytes, MREMAP_MAYMOVE, 0, 0);
    if (got < 0 && got > -4096)
        return NULL;
    if (os_protect((void *)got, bytes, PROT_READ) == 0)
        return (void *)got;
    os_unmap((void *)got, bytes);
    return NULL;
}

AT_FORK(".text") long os_protect(void *at, uint64_t bytes, int access)
{
    return os_call(SYS_mprotect, (long)at, (long)bytes, access, 0, 0, 0);
}

void *os_map(uint64_t bytes, bool noreserve)
{
    long got = os_call(SYS_mmap, 0, (long)bytes, PROT_READ | PROT_WRITE,
                       MAP_PRIVATE | MAP_ANONYMOUS | (noreserve ? MAP_NORESERVE : 0), -1, 0);
    return got < 0 && got > -4096 ? NULL : (void *)got;
}

void *os_map_header(long fd)
{
    long got = os_call(SYS_mmap, 0, (long)OS_PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    return got < 0 && got > -4096 ? NULL : (void *)got;
}

void *os_map_page(long fd, bool for_children)
{
    long got = os_call(SYS_mmap, 0, (long)OS_PAGE, PROT_READ, MAP_SHARED, fd, 0);
    if (got < 0 && got > -4096)
        return NULL;
    if (!for_children)
        os_advise((void *)got, OS_PAGE, MADV_DONTFORK);
    return (void *)got;
}

void *os_map_file(long fd, uint64_t off, uint64_t bytes, enum os_map kind)
{
    int flags = (kind == OS_MAP_SHARED ? MAP_SHARED : MAP_PRIVATE) | MAP_NORESERVE;
    long got = os_call(SYS_mmap, 0, (long)bytes, PROT_READ | PROT_WRITE, flags, fd, (long)off);
    return got < 0 && got > -4096 ? NULL : (void *)got;
}

AT_FORK(".text") void os_unmap(void *at, uint64_t bytes)
{
    os_call(SYS_munmap, (long)at, (long)bytes, 0, 0, 0, 0);
}

AT_FORK(".text") long os_move(void *from, uint64_t bytes, void *to)
{
    long got = os_call(SYS_mremap, (long)from, (long)bytes, (long)bytes,
                       MREMAP_MAYMOVE | MREMAP_FIXED, (long)to, 0);
    return got < 0 && got > -4096 ? got : 0;
}

long os_advise(void *at, uint64_t bytes, int advice)
{
    return os_call(SYS_madvise, (long)at, (long)bytes, advice, 0, 0, 0);
}

/* Some emulators (qemu-user) answer 0 to advice that they do not know, and do nothing.  So the first
 * success of each kind is looked at: is there memory where it must be, or none where it was given
 * back? */
enum trust { UNTRIED, WORKS, LIES };
static enum trust populating, removing;
static bool asking_less;
static long last_euid; /* while asking less */

void os_ask_less(void)
{
    enum trust untried = UNTRIED;
    last_euid = os_euid();
    __atomic_store_n(&asking_less, true, __ATOMIC_RELAXED);
    __atomic_compare_exchange_n(&populating, &untried, WORKS, false, __ATOMIC_RELAXED,
                                __ATOMIC_RELAXED);
    untried = UNTRIED;
    __atomic_compare_exchange_n(&removing, &untried, WORKS, false, __ATOMIC_RELAXED,
                                __ATOMIC_RELAXED);
}

static bool is_resident(void *at)
{
    unsigned char there = 0;
    return os_call(SYS_mincore, (long)at, (long)OS_PAGE, (long)&there, 0, 0, 0) == 0 && there & 1;
}

static void *a_resident(void *at, uint64_t bytes)
{
    for (uint64_t i = 0; i < bytes; i += OS_PAGE)
        if (is_resident((char *)at + i))
            return (char *)at + i;
    return NULL;
}

/* An atomic OR of nothing by the kernel, for each OS page: -EFAULT where a plain store would be a
 * SIGBUS, and no byte changes, whoever else writes there. */
static long os_touch(void *at, uint64_t bytes)
{
    const int nothing = FUTEX_OP(FUTEX_OP_OR, 0, FUTEX_OP_CMP_EQ, 1);
    for (uint64_t i = 0; i < bytes; i += OS_PAGE) {
        long word = (long)((char *)at + i), rc;
        do
            rc = os_call(SYS_futex, word, FUTEX_WAKE_OP_PRIVATE, 0, 0, word, nothing);
        while (rc == -EAGAIN || rc == -EINTR);
        if (rc < 0)
            return -ENOMEM;
    }
    return 0;
}

/* -EFAULT is what a full tmpfs, -EHWPOISON what a bad page answers: for the
 * caller both are "no memory".  Kernels before 5.14 do not know the advice. */
long os_populate(void *at, uint64_t bytes)
{
    long rc;
    if (__atomic_load_n(&populating, __ATOMIC_RELAXED) == LIES)
        return os_touch(at, bytes);
    do
        rc = os_advise(at, bytes, MADV_POPULATE_WRITE);
    while (rc == -EINTR || rc == -EAGAIN);
    if (rc == -EINVAL || rc == -ENOSYS)
        return os_touch(at, bytes);
    if (rc == 0 && bytes && __atomic_load_n(&populating, __ATOMIC_RELAXED) == UNTRIED) {
        bool works = is_resident(at);
        __atomic_store_n(&populating, works ? WORKS : LIES, __ATOMIC_RELAXED);
        return works ? 0 : os_touch(at, bytes);
    }
    return rc == 0 ? 0 : -ENOMEM;
}

/* A hint: without it the pages are mapped one by one, when they are touched. */
long os_populate_read(void *at, uint64_t bytes)
{
    return os_advise(at, bytes, MADV_POPULATE_READ);
}

bool os_is_there(void *at, uint64_t bytes, unsigned char *there)
{
    struct sysinfo si;
    return !__atomic_load_n(&asking_less, __ATOMIC_RELAXED) &&
           os_call(SYS_sysinfo, (long)&si, 0, 0, 0, 0, 0) == 0 && si.totalswap == 0 &&
           os_call(SYS_mincore, (long)at, (long)bytes, (long)there, 0, 0, 0) == 0;
}

static long purge_advise(void *at, uint64_t bytes, int advice)
{
    if (!os_madvise_hook)
        return os_advise(at, bytes, advice);
    int saved = errno;
    int rc = os_madvise_hook(at, bytes, advice);
    long error = rc == 0 ? 0 : -errno;
    errno = saved;
    return error;
}

long os_purge(void *at, uint64_t bytes, bool shared)
{
    if (!shared) {
        long error = purge_advise(at, bytes, MADV_DONTNEED);
        return error == -EINVAL ? os_advise(at, bytes, MADV_DONTNEED_LOCKED) : error;
    }
    if (__atomic_load_n(&removing, __ATOMIC_RELAXED) == LIES)
        return -EOPNOTSUPP;
    void *page =
        __atomic_load_n(&removing, __ATOMIC_RELAXED) == UNTRIED ? a_resident(at, bytes) : NULL;
    long rc = purge_advise(at, bytes, MADV_REMOVE);
    if (rc < 0 || !page)
        return rc;
    bool works = !is_resident(page);
    __atomic_store_n(&removing, works ? WORKS : LIES, __ATOMIC_RELAXED);
    return works ? 0 : -EOPNOTSUPP;
}

long os_punch(long fd, uint64_t off, uint64_t bytes)
{
    return os_call(SYS_fallocate, fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (long)off,
                   (long)bytes, 0, 0);
}

/* ---- time, chance, threads -------------------------------------------------- */

AT_FORK(".text") static uint64_t clock_ns(clockid_t clock)
{
    struct timespec now = { 0 };
    clock_gettime(clock, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

AT_FORK(".text") uint64_t os_now_ms(void)
{
    return clock_ns(CLOCK_MONOTONIC_COARSE) / 1000000;
}

uint64_t os_now_ns(void)
{
    return clock_ns(CLOCK_REALTIME);
}

#define TICK_NS UINT64_C(10000000) /* in /proc, wherever Linux runs */

/* The 22nd word of /proc/self/stat: ticks after the system's start.  The second is the
 * program's name in parentheses, which may contain anything. */
uint64_t os_start_ns(void)
{
    char text[1024];
    long fd = os_open("/proc/self/stat", O_RDONLY, 0);
    long got = fd < 0 ? -1 : os_pread(fd, text, sizeof text - 1, 0);
    if (fd >= 0)
        os_close(fd);
    if (got <= 0)
        return UINT64_MAX;
    text[got] = '\0';
    const char *at = strrchr(text, ')');
    for (unsigned i = 0; at && i < 20; i++)
        at = strchr(at + 1, ' ');
    if (!at)
        return UINT64_MAX;
    uint64_t ticks = 0;
    while (*++at >= '0' && *at <= '9')
        ticks = ticks * 10 + (uint64_t)(*at - '0');
    return clock_ns(CLOCK_REALTIME) - (clock_ns(CLOCK_BOOTTIME) - ticks * TICK_NS);
}

uint64_t os_boot_ns(void)
{
    return clock_ns(CLOCK_MONOTONIC);
}

void os_random(void *buf, size_t len)
{
    long got = os_call(SYS_getrandom, (long)buf, (long)len, GRND_NONBLOCK, 0, 0, 0);
    if (got == (long)len)
        return;
    uint64_t mix = clock_ns(CLOCK_MONOTONIC) ^ (uint64_t)(uintptr_t)&mix;
    for (size_t i = 0; i < len; i++) {
        mix = mix * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
        ((uint8_t *)buf)[i] = (uint8_t)(mix >> 56);
    }
}

void os_boot_id(uint64_t id[2])
{
    char text[40] = { 0 };
    id[0] = id[1] = 0;
    long fd = os_open("/proc/sys/kernel/random/boot_id", O_RDONLY, 0);
    if (fd < 0)
        return;
    os_call(SYS_read, fd, (long)text, sizeof text - 1, 0, 0, 0);
    os_close(fd);
    for (int i = 0; text[i]; i++)
        id[i & 1] = id[i & 1] * 31 + (uint8_t)text[i];
}

AT_FORK(".text") _Noreturn void os_exit(int status)
{
    for (;;)
        os_call(SYS_exit_group, status, 0, 0, 0, 0, 0);
}

long os_prctl(int option, const unsigned long args[4])
{
    return os_call(SYS_prctl, option, (long)args[0], (long)args[1], (long)args[2], (long)args[3],
                   0);
}

AT_FORK(".text") long os_pid(void)
{
    return os_call(SYS_getpid, 0, 0, 0, 0, 0, 0);
}

long os_tid(void)
{
    return os_call(SYS_gettid, 0, 0, 0, 0, 0, 0);
}

long os_euid(void)
{
    return __atomic_load_n(&asking_less, __ATOMIC_RELAXED) ? last_euid
                                                           : os_call(SYS_geteuid, 0, 0, 0, 0, 0, 0);
}

uint64_t os_ram_bytes(void)
{
    struct sysinfo si;
    return os_call(SYS_sysinfo, (long)&si, 0, 0, 0, 0, 0) < 0 ? UINT64_C(1) << 30
                                                              : (uint64_t)si.totalram * si.mem_unit;
}

uint64_t os_free_swap(void)
{
    struct sysinfo si;
    return os_call(SYS_sysinfo, (long)&si, 0, 0, 0, 0, 0) < 0 ? 0
                                                              : (uint64_t)si.freeswap * si.mem_unit;
}

/* MemAvailable plus free swap: what a snapshot may take. */
uint64_t os_ram_available(void)
{
    struct sysinfo si;
    if (os_call(SYS_sysinfo, (long)&si, 0, 0, 0, 0, 0) < 0)
        return UINT64_MAX;
    uint64_t best = ((uint64_t)si.freeram + si.bufferram) * si.mem_unit;
    char text[512] = { 0 };
    long fd = os_open("/proc/meminfo", O_RDONLY, 0);
    if (fd >= 0) {
        os_call(SYS_read, fd, (long)text, sizeof text - 1, 0, 0, 0);
        os_close(fd);
        const char *at = strstr(text, "MemAvailable:");
        if (at) {
            uint64_t kib = 0;
            for (at += 13; *at == ' '; at++)
                ;
            for (; *at >= '0' && *at <= '9'; at++)
                kib = kib * 10 + (uint64_t)(*at - '0');
            best = kib << 10;
        }
    }
    return best + (uint64_t)si.freeswap * si.mem_unit;
}

uint64_t os_rlimit(int which)
{
    struct rlimit limit;
    if (os_call(SYS_prlimit64, 0, which, 0, (long)&limit, 0, 0) < 0)
        return UINT64_MAX;
    return limit.rlim_cur == RLIM_INFINITY ? UINT64_MAX : limit.rlim_cur;
}

/* ---- signals, futex ---------------------------------------------------------- */

os_signals os_signals_block(void)
{
    os_signals all = ~UINT64_C(0), old = 0;
    os_call(SYS_rt_sigprocmask, 0 /* SIG_BLOCK */, (long)&all, (long)&old, sizeof all, 0, 0);
    return old;
}

AT_FORK(".text") void os_signals_restore(os_signals old)
{
    os_call(SYS_rt_sigprocmask, 2 /* SIG_SETMASK */, (long)&old, 0, sizeof old, 0, 0);
}

os_signals os_signals_now(void)
{
    os_signals now = 0;
    os_call(SYS_rt_sigprocmask, 0, 0, (long)&now, sizeof now, 0, 0);
    return now;
}

/* Where populating cannot be had: the kernel reads the new mask before it finds that this is no way to
 * set it.  Not the first choice, as valgrind complains about it. */
bool os_is_readable(const void *at)
{
    if (__atomic_load_n(&populating, __ATOMIC_RELAXED) == WORKS) {
        void *page = (void *)((uintptr_t)at & ~(OS_PAGE - 1));
        return os_advise(page, OS_PAGE, MADV_POPULATE_READ) == 0;
    }
    return os_call(SYS_rt_sigprocmask, -1, (long)at, 0, sizeof(os_signals), 0, 0) != -EFAULT;
}

void os_futex_wait(uint32_t *word, uint32_t expected)
{
    os_call(SYS_futex, (long)word, FUTEX_WAIT_PRIVATE, expected, 0, 0, 0);
}

void os_futex_wake(uint32_t *word, int count)
{
    os_call(SYS_futex, (long)word, FUTEX_WAKE_PRIVATE, count, 0, 0, 0);
}

void os_sleep_us(unsigned us)
{
    struct timespec pause = { us / 1000000, (long)(us % 1000000) * 1000 };
    os_call(SYS_nanosleep, (long)&pause, 0, 0, 0, 0, 0);
}
