/* fork.c - the ways to fork that copy the address space.
 *
 * fork() runs pthread_atfork handlers; ours were registered before anybody
 * else's (-z initfirst), so 'prepare' runs last and 'child' first.  _Fork()
 * and clone() run none: their wrappers do the same around them.  vfork(),
 * posix_spawn() and clone(CLONE_VM) share the address space and need nothing.
 */
#include "allocators/snapshot.h"
#include "config/log.h"
#include "preload/preload.h"

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdarg.h>
#include <sys/types.h>
#include <sys/wait.h>
#include <unistd.h>

static struct snapshot snapshot; /* under the heap's lock between prepare and parent/child */
static bool refused;

static bool serving(void)
{
    return preload_mode == MODE_HEAP && main_heap.mine->member_id == main_heap.member_id;
}

static uint64_t most_bytes(void)
{
    return (uint64_t)option_bytes(OPT_FORK_MAX, (int64_t)os_ram_bytes());
}

static void say_refused(uint64_t bytes)
{
    log_line(
        "fork refused: no room for a snapshot of %zuB (HSHM_FORK_MAX, free memory, the limits of "
        "the process; HSHM_FORK=share copies nothing)",
        (size_t)bytes);
}

static void prepare(void)
{
    if (!serving())
        return;
    if (!main_heap.shared) {
        refused = false;
        private_fork_prepare(&main_heap, &snapshot);
        return;
    }
    enum snapshot_kind kind = option_number(OPT_FORK) == FORK_SHARE ? SNAPSHOT_NONE : SNAPSHOT_COPY;
    struct snapshot made;
    bool failed = snapshot_prepare(&main_heap, &made, kind, most_bytes()) < 0;
    refused = failed; /* with the heap's lock held, unless it failed */
    snapshot = made;
}

static void parent(bool failed)
{
    if (!serving() || refused)
        return;
    if (main_heap.shared)
        snapshot_parent(&main_heap, &snapshot, failed);
    else
        private_fork_parent(&main_heap, &snapshot);
}

static void parent_done(void)
{
    parent(false);
}

static void child(void)
{
    if (preload_mode != MODE_HEAP)
        return;
    if (refused) /* the copy could not be made and the parent will hear of it */
        _exit(127);
    if (main_heap.shared) {
        if (!snapshot.active)
            return;
        snapshot_child(&main_heap, &snapshot, preload_program);
        member_identity_changed();
        if (snapshot.detached)
            preload_mode = MODE_LIBC; /* sandboxed, or without the right to the file */
    } else {
        private_fork_child(&main_heap, &snapshot, tls_state.own);
        tls_state.shared = NULL; /* waits for any thread that needs one */
        modes_after_fork();
    }
}

/* Is there surely no room?  Asked before the C library does anything. */
static bool hopeless(void)
{
    uint64_t most = most_bytes();
    if (!serving() || !main_heap.shared || option_number(OPT_FORK) == FORK_SHARE || !most)
        return false;
    uint64_t bytes = get(main_heap.me->charged) * OS_PAGE;
    if (bytes <= most)
        return false;
    snapshot_measure(&main_heap, &bytes);
    if (bytes <= most)
        return false;
    say_refused(bytes);
    errno = ENOMEM;
    return true;
}

/* Handlers cannot stop a fork: a child without its snapshot has ended at once. */
static pid_t outcome(pid_t pid)
{
    if (pid <= 0 || !refused)
        return pid;
    while (waitpid(pid, NULL, 0) < 0 && errno == EINTR)
        ;
    say_refused(snapshot.bytes);
    errno = ENOMEM;
    return -1;
}

/* ---- the stack may be a block of the heap ------------------------------------------------
 * Parent and child would run on the same memory until the child's copy is in
 * place: such a thread forks from a stack of its own. */

struct on_stack {
    pid_t (*call)(void);
    pid_t result;
    int error;
};

static void run_on_stack(struct on_stack *job)
{
    job->result = job->call();
    job->error = errno;
}

static bool stack_is_ours(void)
{
    char here;
    return main_heap.shared && off_of(&main_heap, &here) >> SLICE_SHIFT < main_heap.slice_count;
}

#if defined(__x86_64__)
static __attribute__((noinline)) void call_on(void *top, void (*fn)(struct on_stack *),
                                              struct on_stack *job)
{
    __asm__ volatile("movq %%rsp, %%rbx\n\t"
                     "movq %0, %%rsp\n\t"
                     "callq *%1\n\t"
                     "movq %%rbx, %%rsp"
                     :
                     : "r"(top), "r"(fn), "D"(job)
                     : "rbx", "rax", "rcx", "rdx", "rsi", "r8", "r9", "r10", "r11", "memory", "cc");
}
#else
static void call_on(void *top, void (*fn)(struct on_stack *), struct on_stack *job)
{
    (void)top;
    fn(job);
}
#endif

#define FORK_STACK (UINT64_C(256) << 10)

static pid_t fork_from(pid_t (*call)(void))
{
    if (likely(!stack_is_ours()))
        return call();
    char *stack = os_map(FORK_STACK, true);
    if (!stack) {
        errno = ENOMEM;
        return -1;
    }
    /* The job lies on that stack too: the child's copy of ours was taken earlier. */
    struct on_stack *job = (struct on_stack *)(void *)(stack + FORK_STACK - 64);
    job->call = call;
    call_on(stack + FORK_STACK - 128, run_on_stack, job);
    pid_t result = job->result;
    errno = job->error;
    os_unmap(stack, FORK_STACK);
    return result;
}

/* ---- wrappers --------------------------------------------------------------------------------- */

static pid_t (*real_fork)(void);
static pid_t (*real_Fork)(void);

static pid_t find_and_call(pid_t (**real)(void), const char *name)
{
    if (!*real)
        *(void **)real = real_symbol(name);
    return (*real)();
}

static pid_t call_fork(void)
{
    pid_t pid = find_and_call(&real_fork, "fork");
    if (pid < 0 && snapshot.active && serving())
        snapshot_failed(&main_heap, &snapshot);
    return outcome(pid);
}

EXPORT pid_t fork(void)
{
    return hopeless() ? -1 : fork_from(call_fork);
}

static pid_t call_Fork(void)
{
    if (!real_Fork)
        *(void **)&real_Fork = real_symbol("_Fork");
    prepare();
    if (refused) {
        say_refused(snapshot.bytes);
        errno = ENOMEM;
        return -1;
    }
    pid_t pid = real_Fork();
    int saved = errno;
    if (pid == 0)
        child();
    else
        parent(pid < 0);
    errno = saved;
    return pid;
}

EXPORT pid_t _Fork(void)
{
    return hopeless() ? -1 : fork_from(call_Fork);
}

/* ---- clone() without CLONE_VM -------------------------------------------------------------------- */

struct clone_start {
    int (*fn)(void *);
    void *arg;
};

static int clone_child(void *arg)
{
    struct clone_start start = *(struct clone_start *)arg;
    child();
    return start.fn(start.arg);
}

EXPORT int clone(int (*fn)(void *), void *stack, int flags, void *arg, ...)
{
    static int (*real)(int (*)(void *), void *, int, void *, ...);
    va_list ap;
    va_start(ap, arg);
    pid_t *parent_tid = va_arg(ap, pid_t *);
    void *tls = va_arg(ap, void *);
    pid_t *child_tid = va_arg(ap, pid_t *);
    va_end(ap);
    if (!real)
        *(void **)&real = real_symbol("clone");
    if (flags & CLONE_VM || !serving())
        return real(fn, stack, flags, arg, parent_tid, tls, child_tid);
    struct clone_start start = { fn, arg };
    prepare();
    if (refused) {
        say_refused(snapshot.bytes);
        errno = ENOMEM;
        return -1;
    }
    int pid = real(clone_child, stack, flags, &start, parent_tid, tls, child_tid);
    int saved = errno;
    parent(pid < 0);
    errno = saved;
    return pid;
}

void fork_start(void)
{
    pthread_atfork(prepare, parent_done, child);
}
