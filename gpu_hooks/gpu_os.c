#include "gpu_hooks/gpu_os.h"
#include "config/machine.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/un.h>

static long call(long number, long a, long b, long c, long d, long e, long f)
{
    return machine_call(number, a, b, c, d, e, f);
}

long gpu_os_dup_high(long fd)
{
    long high = call(SYS_fcntl, fd, F_DUPFD_CLOEXEC, 700, 0, 0, 0);
    return high >= 0 ? high : call(SYS_fcntl, fd, F_DUPFD_CLOEXEC, 3, 0, 0, 0);
}

/* After mlockall(MCL_FUTURE) a new mapping is locked and filled at once, and this one is large and
 * sparse: it is made without access, which nothing can fill, and unlocked first. */
void *gpu_os_map_file(long fd, uint64_t off, uint64_t bytes)
{
    long got = call(SYS_mmap, 0, (long)bytes, PROT_NONE, MAP_SHARED | MAP_NORESERVE, fd, (long)off);
    if (got < 0 && got > -4096)
        return NULL;
    call(SYS_munlock, got, (long)bytes, 0, 0, 0, 0);
    if (call(SYS_mprotect, got, (long)bytes, PROT_READ | PROT_WRITE, 0, 0, 0) < 0) {
        os_unmap((void *)got, bytes);
        return NULL;
    }
    os_advise((void *)got, bytes, MADV_DONTDUMP);
    os_advise((void *)got, bytes, MADV_DONTFORK);
    return (void *)got;
}

uint64_t gpu_os_inode(const char *path)
{
    struct os_file file = { 0 };
    long fd = os_open(path, O_RDONLY, 0);
    if (fd < 0)
        return 0;
    os_fstat(fd, &file);
    os_close(fd);
    return file.inode;
}

static uint64_t word_number(const char *text, int skip)
{
    uint64_t n = 0;
    for (; text && skip > 0; skip--)
        text = strchr(text + 1, ' ');
    for (text = text ? text + 1 : ""; *text >= '0' && *text <= '9'; text++)
        n = n * 10 + (uint64_t)(*text - '0');
    return n;
}

/* The 22nd and 28th word of /proc/PID/stat; the second is the program's name in parentheses, which
 * may contain anything. */
uint64_t gpu_os_start_time(uint64_t pid, uint64_t *stack)
{
    char text[1024], digits[24], path[64] = "/proc/";
    size_t n = sizeof digits - 1, at = 6;
    digits[n] = '\0';
    do
        digits[--n] = (char)('0' + pid % 10);
    while (pid /= 10);
    while (digits[n])
        path[at++] = digits[n++];
    memcpy(path + at, "/stat", 6);
    long fd = os_open(path, O_RDONLY, 0);
    long got = fd < 0 ? -1 : os_pread(fd, text, sizeof text - 1, 0);
    if (fd >= 0)
        os_close(fd);
    *stack = 0;
    if (got <= 0)
        return 0;
    text[got] = '\0';
    const char *word = strrchr(text, ')');
    if (!word || !word[1] || word[2] == 'Z' || word[2] == 'X')
        return 0;
    *stack = word_number(word, 26);
    return word_number(word, 20);
}

/* ---- sockets ---------------------------------------------------------------------------------- */

static socklen_t address_of(const struct gpu_name *name, struct sockaddr_un *address)
{
    memset(address, 0, sizeof *address);
    address->sun_family = AF_UNIX;
    memcpy(address->sun_path + 1, name->text, name->length);
    return (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + name->length);
}

long gpu_os_listen(const struct gpu_name *name)
{
    struct sockaddr_un address;
    socklen_t n = address_of(name, &address);
    long low = call(SYS_socket, AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, 0, 0, 0);
    if (low < 0)
        return low;
    long fd = gpu_os_dup_high(low);
    os_close(low);
    if (fd < 0)
        return fd;
    long rc = call(SYS_bind, fd, (long)&address, n, 0, 0, 0);
    if (rc == 0)
        rc = call(SYS_listen, fd, 64, 0, 0, 0, 0);
    if (rc == 0)
        return fd;
    os_close(fd);
    return rc;
}

bool gpu_os_is_ours(long fd, const struct gpu_name *name)
{
    struct sockaddr_un ours, theirs;
    socklen_t n = address_of(name, &ours), size = sizeof theirs;
    memset(&theirs, 0, sizeof theirs);
    return call(SYS_getsockname, fd, (long)&theirs, (long)&size, 0, 0, 0) == 0 && size == n &&
           memcmp(&ours, &theirs, n) == 0;
}

static void timeouts_set(long fd, unsigned ms)
{
    struct timeval t = { ms / 1000, (long)(ms % 1000) * 1000 };
    call(SYS_setsockopt, fd, SOL_SOCKET, SO_RCVTIMEO, (long)&t, sizeof t, 0);
    call(SYS_setsockopt, fd, SOL_SOCKET, SO_SNDTIMEO, (long)&t, sizeof t, 0);
}

long gpu_os_accept(long fd)
{
    long got = call(SYS_accept4, fd, 0, 0, SOCK_CLOEXEC, 0, 0);
    if (got >= 0)
        timeouts_set(got, 1000);
    return got;
}

long gpu_os_connect(const struct gpu_name *name, unsigned timeout_ms)
{
    struct sockaddr_un address;
    socklen_t n = address_of(name, &address);
    long fd = call(SYS_socket, AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, 0, 0, 0);
    if (fd < 0)
        return fd;
    timeouts_set(fd, timeout_ms);
    long rc = call(SYS_connect, fd, (long)&address, n, 0, 0, 0);
    if (rc == 0 && gpu_os_peer_may(fd))
        return fd;
    os_close(fd);
    return rc ? rc : -EPERM;
}

bool gpu_os_peer_may(long fd)
{
    struct ucred who;
    socklen_t size = sizeof who;
    return call(SYS_getsockopt, fd, SOL_SOCKET, SO_PEERCRED, (long)&who, (long)&size, 0) == 0 &&
           ((long)who.uid == os_euid() || who.uid == 0);
}

void gpu_os_wait(long fd)
{
    struct pollfd p = { (int)fd, POLLIN, 0 };
    call(SYS_ppoll, (long)&p, 1, 0, 0, 0, 0);
}

union control {
    struct cmsghdr head;
    char bytes[CMSG_SPACE(sizeof(int))];
};

bool gpu_os_send(long fd, const struct gpu_message *m, long passed)
{
    struct iovec data = { (void *)(uintptr_t)m, sizeof *m };
    union control control;
    struct msghdr message = { .msg_iov = &data, .msg_iovlen = 1 };
    memset(&control, 0, sizeof control);
    if (passed >= 0) {
        int number = (int)passed;
        message.msg_control = control.bytes;
        message.msg_controllen = sizeof control.bytes;
        control.head.cmsg_level = SOL_SOCKET;
        control.head.cmsg_type = SCM_RIGHTS;
        control.head.cmsg_len = CMSG_LEN(sizeof(int));
        memcpy(CMSG_DATA(&control.head), &number, sizeof number);
    }
    return call(SYS_sendmsg, fd, (long)&message, MSG_NOSIGNAL, 0, 0, 0) == (long)sizeof *m;
}

bool gpu_os_receive(long fd, struct gpu_message *m, long *passed)
{
    struct iovec data = { m, sizeof *m };
    union control control;
    struct msghdr message = { .msg_iov = &data,
                              .msg_iovlen = 1,
                              .msg_control = control.bytes,
                              .msg_controllen = sizeof control.bytes };
    memset(&control, 0, sizeof control);
    long got;
    do
        got = call(SYS_recvmsg, fd, (long)&message, MSG_CMSG_CLOEXEC, 0, 0, 0);
    while (got == -EINTR);
    *passed = -1;
    if (got >= 0 && message.msg_controllen >= sizeof control.head &&
        control.head.cmsg_level == SOL_SOCKET && control.head.cmsg_type == SCM_RIGHTS) {
        int number;
        memcpy(&number, CMSG_DATA(&control.head), sizeof number);
        *passed = number;
    }
    return got == (long)sizeof *m;
}
