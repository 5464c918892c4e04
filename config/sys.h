/* System calls without libc: usable before libc is initialised and after it is torn down, never
 * intercepted by another preload, and silent about errno.  All return what the kernel does, so an
 * error is the negative of its code. */
#pragma once
#include "config/machine.h"

#include <fcntl.h>
#include <signal.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/utsname.h>
#include <time.h>

static inline long sys_call(long number, long a, long b, long c, long d)
{
    return machine_call(number, a, b, c, d, 0, 0);
}

static inline int sys_open(const char *path, int flags, int mode)
{
    return (int)sys_call(SYS_openat, AT_FDCWD, (long)path, flags, mode);
}

static inline int sys_close(int fd)
{
    return (int)sys_call(SYS_close, fd, 0, 0, 0);
}

static inline long sys_read(int fd, void *buffer, size_t size)
{
    return sys_call(SYS_read, fd, (long)buffer, (long)size, 0);
}

static inline long sys_write(int fd, const void *buffer, size_t size)
{
    return sys_call(SYS_write, fd, (long)buffer, (long)size, 0);
}

/* On 64-bit machines libc's struct stat is the kernel's. */
static inline int sys_stat(const char *path, struct stat *st)
{
    return (int)sys_call(SYS_newfstatat, AT_FDCWD, (long)path, (long)st, 0);
}

static inline int sys_fstat(int fd, struct stat *st)
{
    return (int)sys_call(SYS_fstat, fd, (long)st, 0, 0);
}

static inline int sys_uname(struct utsname *name)
{
    return (int)sys_call(SYS_uname, (long)name, 0, 0, 0);
}

static inline int sys_getpid(void)
{
    return (int)sys_call(SYS_getpid, 0, 0, 0, 0);
}

static inline unsigned sys_geteuid(void)
{
    return (unsigned)sys_call(SYS_geteuid, 0, 0, 0, 0);
}

/* The kernel's signal set: bit n - 1 is signal n. */
typedef uint64_t sys_sigset_t;

static inline sys_sigset_t sys_sigbit(int signal_number)
{
    return (sys_sigset_t)1 << (signal_number - 1);
}

static inline void sys_sigmask(int how, const sys_sigset_t *set, sys_sigset_t *old)
{
    sys_call(SYS_rt_sigprocmask, how, (long)set, (long)old, sizeof(*set));
}

static inline void sys_sigpending(sys_sigset_t *set)
{
    sys_call(SYS_rt_sigpending, (long)set, sizeof(*set), 0, 0);
}

/* Takes one pending signal of `set`, if there is one, without waiting. */
static inline void sys_sigtake(const sys_sigset_t *set)
{
    static const struct timespec now = { 0, 0 };
    sys_call(SYS_rt_sigtimedwait, (long)set, 0, (long)&now, sizeof(*set));
}
