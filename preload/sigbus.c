/* sigbus.c - the last word when memory that was promised is not there.
 *
 * Blocks are populated before they are handed out, but large ones may be taken
 * from the system when they are touched (HSHM_COMMIT=touch); and anybody with
 * the rights may shorten the file.  Such a touch is a SIGBUS.  The handler here
 * says what was full, and by how much, and then does what the program wants to
 * be done on SIGBUS: its handler runs, or it ends by the signal.
 *
 * The program does not see it: sigaction() and its older forms answer for
 * SIGBUS what the program has set.
 */
#include "allocators/room.h"
#include "config/log.h"
#include "preload/preload.h"

#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

typedef int sigaction_fn(int, const struct sigaction *, struct sigaction *);
static sigaction_fn *real_sigaction;

/* What the program wants.  A new one is written beside the old and then made the current,
 * as a signal may come at any time. */
static struct sigaction wanted[8];
static const struct sigaction *current = &wanted[0];
static unsigned written;
static long owner AT_FORK(".data") =
    0; /* pid; a child made by vfork() has another, and must not write here */

static void say(const void *at)
{
    struct heap *h = &main_heap;
    struct room room;
    room_look(h, &room);
    if (room.file_bytes && room.file_bytes < h->slice_count << SLICE_SHIFT)
        log_line("segment %s: its file was shortened to %zuB while in use (SIGBUS at %p)", h->name,
                 (size_t)room.file_bytes, at);
    else if (room.total)
        log_line("segment %s: memory that was promised is not there: its file system has %zuB left "
                 "of %zuB, and owes %zuB (SIGBUS at %p); HSHM_COMMIT=reserve takes it at once",
                 h->name, (size_t)room.available, (size_t)room.total, (size_t)room.promised, at);
    else
        log_line("segment %s: memory that was promised is not there (SIGBUS at %p)", h->name, at);
}

static void handler(int signal_number, siginfo_t *info, void *context)
{
    int saved = errno;
    const struct sigaction *want = __atomic_load_n(&current, __ATOMIC_ACQUIRE);
    if (info->si_code > 0 &&
        off_of(&main_heap, info->si_addr) >> SLICE_SHIFT < main_heap.slice_count)
        say(info->si_addr);
    errno = saved;
    if (want->sa_handler != SIG_DFL) {
        want->sa_sigaction(signal_number, info, context);
        return;
    }
    /* The access is made again, or the signal sent again, and ends us as it would have. */
    struct sigaction fatal = { .sa_handler = SIG_DFL };
    real_sigaction(signal_number, &fatal, NULL);
    if (info->si_code <= 0)
        syscall(SYS_tgkill, os_pid(), os_tid(), signal_number);
    errno = saved;
}

static bool is_ours(const struct sigaction *action)
{
    return action->sa_flags & SA_SIGINFO && action->sa_sigaction == handler;
}

static int install(const struct sigaction *want)
{
    struct sigaction *slot = &wanted[(__atomic_fetch_add(&written, 1, __ATOMIC_RELAXED) + 1) % 8];
    *slot = *want;
    __atomic_store_n(&current, slot, __ATOMIC_RELEASE);
    struct sigaction ours = *want;
    ours.sa_sigaction = handler;
    ours.sa_flags =
        want->sa_handler == SIG_DFL ? SA_SIGINFO | SA_ONSTACK : want->sa_flags | SA_SIGINFO;
    return real_sigaction(SIGBUS, &ours, NULL);
}

static sigaction_fn *find_real(void)
{
    if (!real_sigaction)
        *(void **)&real_sigaction = real_symbol("sigaction");
    return real_sigaction;
}

void sigbus_start(void)
{
    struct sigaction now;
    if (!main_heap.shared || !find_real() || real_sigaction(SIGBUS, NULL, &now) < 0 ||
        now.sa_handler != SIG_DFL) /* ignored: so it is to stay, also for what it executes */
        return;
    owner = os_pid();
    install(&now);
}

AT_FORK(".text") void sigbus_after_fork(void)
{
    if (owner)
        owner = os_pid();
}

static int change(const struct sigaction *want, struct sigaction *old)
{
    struct sigaction now, before;
    if (real_sigaction(SIGBUS, NULL, &now) < 0)
        return -1;
    before = is_ours(&now) ? *__atomic_load_n(&current, __ATOMIC_ACQUIRE) : now;
    int rc = 0;
    if (want && (want->sa_handler == SIG_IGN || owner != os_pid()))
        rc = real_sigaction(SIGBUS, want, NULL);
    else if (want)
        rc = install(want);
    if (rc == 0 && old)
        *old = before;
    return rc;
}

EXPORT int sigaction(int signal_number, const struct sigaction *want, struct sigaction *old)
{
    if (likely(signal_number != SIGBUS || !owner))
        return find_real()(signal_number, want, old);
    return change(want, old);
}

EXPORT __typeof__(sigaction) __sigaction ALIAS_OF(sigaction);

/* ---- the older forms, which libc makes of its own sigaction() ---------------------------------- */

static sighandler_t set_old(sighandler_t want, int flags)
{
    struct sigaction action = { .sa_handler = want, .sa_flags = flags },
                     old = { .sa_handler = SIG_DFL };
    if (!(flags & SA_RESETHAND))
        sigaddset(&action.sa_mask, SIGBUS);
    return change(&action, &old) < 0 ? SIG_ERR : old.sa_handler;
}

#define OLD_FORM(name, flags)                                                                      \
    sighandler_t name(int, sighandler_t);                                                          \
    EXPORT sighandler_t name(int signal_number, sighandler_t want)                                 \
    {                                                                                              \
        static sighandler_t (*real)(int, sighandler_t);                                            \
        if (signal_number == SIGBUS && owner && want != SIG_ERR)                                   \
            return set_old(want, flags);                                                           \
        if (!real)                                                                                 \
            *(void **)&real = real_symbol(#name);                                                  \
        return real(signal_number, want);                                                          \
    }

OLD_FORM(signal, SA_RESTART)
OLD_FORM(bsd_signal, SA_RESTART)
OLD_FORM(ssignal, SA_RESTART)
OLD_FORM(sysv_signal, (int)(SA_RESETHAND | SA_NODEFER))
OLD_FORM(__sysv_signal, (int)(SA_RESETHAND | SA_NODEFER))

int sigignore(int);
EXPORT int sigignore(int signal_number)
{
    struct sigaction ignore = { .sa_handler = SIG_IGN };
    return sigaction(signal_number, &ignore, NULL);
}
