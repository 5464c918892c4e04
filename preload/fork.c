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
#include <fcntl.h>
#include <pthread.h>
#include <pty.h>
#include <sched.h>
#include <stdarg.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/types.h>
#include <sys/wait.h>
#include <unistd.h>

static struct snapshot snapshot __attribute__((aligned(4096))) AT_FORK(".data") = {
    .hold_index = -1
}; /* under the heap's lock between prepare and parent/child */

/* One call of fork: what its wrapper and the handlers tell each other. */
struct fork_call {
    bool interrupted; /* in a signal handler that interrupted malloc or free */
    enum snapshot_refusal refused;
    uint64_t bytes;
    uint64_t child_id; /* 0: it is no member */
};
static __thread struct fork_call *this_call __attribute__((tls_model("initial-exec")));
static __thread bool refused __attribute__((tls_model("initial-exec")));

AT_FORK(".text") static bool serving(void)
{
    return preload_mode == MODE_HEAP && main_heap.mine->member_id == main_heap.member_id;
}

static uint64_t most_bytes(void)
{
    return option_number(OPT_FORK_MAX) == 0
               ? 0
               : (uint64_t)option_bytes(OPT_FORK_MAX, (int64_t)os_ram_bytes());
}

static uint64_t view_bytes(void)
{
    return option_number(OPT_FORK) == FORK_VIEW ? (uint64_t)option_number(OPT_FORK_VIEW) : 0;
}

static pid_t say_refused(enum snapshot_refusal why, uint64_t bytes)
{
    if (why == REFUSED_HOLDS)
        log_line("fork refused: %u children live that have a snapshot", HOLD_MAX);
    else if (why == REFUSED_MAPPED)
        log_line("fork refused: this program has changed mappings inside its heap, and "
                 "/proc/self/maps, which tells where, cannot be read");
    else if (why == REFUSED_MEMBERS)
        log_line("fork refused: segment %s has no place for another member", main_heap.name);
    else
        log_line("fork refused: no room for a snapshot of %zuB (HSHM_FORK_MAX, free memory, the "
                 "limits of the process; HSHM_FORK=view copies less, HSHM_FORK=share nothing)",
                 (size_t)bytes);
    errno = ENOMEM;
    return -1;
}

/* ---- handlers ------------------------------------------------------------------------------ */

AT_FORK(".text") static void raw_forks_fault(bool on)
{
    if (main_heap.shared && option_number(OPT_FORK_RAW) == FORK_RAW_FAULT)
        os_advise(main_heap.header, main_heap.header->window, on ? MADV_DONTFORK : MADV_DOFORK);
}

static void prepare(void)
{
    struct fork_call internal = { 0 }; /* the C library's own: no wrapper has looked */
    struct fork_call *call = this_call ? this_call : &internal;
    refused = false;
    if (!serving())
        return;
    if (!main_heap.shared) {
        private_fork_prepare(&main_heap, &snapshot);
        return;
    }
    if (call == &internal)
        call->interrupted = malloc_is_interrupted();
    struct snapshot_request want = {
        .kind = option_number(OPT_FORK) == FORK_SHARE ? SNAPSHOT_NONE
                : call->interrupted                   ? SNAPSHOT_PRIVATE
                                                      : SNAPSHOT_COPY,
        .most = most_bytes(),
        .view = call->interrupted ? 0 : view_bytes(),
        .program = preload_program,
    };
    call->refused = snapshot_prepare(&main_heap, &snapshot, &want, &call->bytes);
    refused = call->refused != REFUSED_NOT; /* else the heap's lock is held */
    if (refused)
        return;
    call->child_id = snapshot.child_id;
    raw_forks_fault(false);
}

static void parent(void)
{
    if (!serving() || refused)
        return;
    if (main_heap.shared) {
        raw_forks_fault(true);
        snapshot_parent(&main_heap, &snapshot);
    } else {
        private_fork_parent(&main_heap, &snapshot);
    }
}

AT_FORK(".text") static void child(void)
{
    if (preload_mode != MODE_HEAP)
        return;
    if (refused) /* the copy could not be made and the parent will hear of it */
        _exit(127);
    if (!main_heap.shared) {
        private_fork_child(&main_heap, &snapshot, tls_state.own);
        tls_state.shared = NULL; /* waits for any thread that needs one */
        modes_after_fork();
        return;
    }
    if (!snapshot.active)
        return;
    snapshot_child(&main_heap, &snapshot);
    if (!main_heap.shared) { /* it goes on in the middle of a call, with what that had in hand */
        log_once(
            "forked in a signal handler that interrupted malloc: this child has a private heap");
        return;
    }
    raw_forks_fault(true);
    member_identity_changed();
    if (snapshot.detached)
        preload_mode = MODE_LIBC; /* sandboxed, or without the right to the file */
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
    snapshot_measure(&main_heap, view_bytes(), &bytes);
    if (bytes <= most)
        return false;
    say_refused(REFUSED_ROOM, bytes);
    return true;
}

/* For people: the child itself says so when it first uses the heap. */
static void note_pid(uint64_t child_id, pid_t pid)
{
    struct seg_member *m = &main_heap.members[member_slot(child_id)];
    if (get(m->state) == MEMBER_STATE(MEMBER_CHILD, member_epoch(child_id), 0))
        put(member_facts, m->pid, (uint64_t)pid);
}

/* Handlers cannot stop a fork: a child without its snapshot has ended at once. */
AT_FORK(".text") static pid_t outcome(pid_t pid, const struct fork_call *call)
{
    if (pid > 0 && call->child_id)
        note_pid(call->child_id, pid);
    if (call->refused == REFUSED_NOT || pid == 0)
        return pid;
    while (pid > 0 && waitpid(pid, NULL, 0) < 0 && errno == EINTR)
        ;
    return say_refused(call->refused, call->bytes);
}

/* ---- the stack may be a block of the heap ------------------------------------------------
 * Parent and child would run on the same memory until the child's copy is in
 * place: such a thread forks from a stack of its own. */

struct on_stack {
    pid_t (*call)(void);
    pid_t result;
    int error;
};

static void run_on_stack(void *of)
{
    struct on_stack *job = of;
    job->result = job->call();
    job->error = errno;
}

static bool address_is_ours(const void *at)
{
    return main_heap.shared && off_of(&main_heap, at) >> SLICE_SHIFT < main_heap.slice_count;
}

static bool stack_is_ours(void)
{
    char here = 0;
    return address_is_ours(&here);
}

#if defined(__x86_64__)
static __attribute__((noinline)) void call_on(void *top, void (*fn)(void *), void *job)
{
    __asm__ volatile("movq %%rsp, %%rbx\n\t"
                     "movq %0, %%rsp\n\t"
                     "callq *%1\n\t"
                     "movq %%rbx, %%rsp"
                     :
                     : "r"(top), "r"(fn), "D"(job)
                     : "rbx", "rax", "rcx", "rdx", "rsi", "r8", "r9", "r10", "r11", "memory", "cc");
}
#elif defined(__aarch64__)
static __attribute__((noinline)) void call_on(void *top, void (*fn)(void *), void *job)
{
    __asm__ volatile("mov x19, sp\n\t"
                     "mov sp, %0\n\t"
                     "mov x0, %2\n\t"
                     "blr %1\n\t"
                     "mov sp, x19"
                     :
                     : "r"(top), "r"(fn), "r"(job)
                     : "x0", "x1", "x2", "x3", "x4", "x5", "x6", "x7", "x8", "x9", "x10", "x11",
                       "x12", "x13", "x14", "x15", "x16", "x17", "x18", "x19", "x30", "v0", "v1",
                       "v2", "v3", "v4", "v5", "v6", "v7", "v16", "v17", "v18", "v19", "v20", "v21",
                       "v22", "v23", "v24", "v25", "v26", "v27", "v28", "v29", "v30", "v31",
                       "memory", "cc");
}
#else
static void call_on(void *top, void (*fn)(void *), void *job)
{
    (void)top;
    fn(job);
}
#endif

#define FORK_STACK (UINT64_C(256) << 10)

AT_FORK(".text") static pid_t fork_from(pid_t (*call)(void))
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

AT_FORK(".text") static pid_t call_fork(void)
{
    if (!real_fork)
        *(void **)&real_fork = real_symbol("fork");
    return real_fork();
}

/* Runs no handlers: we do what ours do. */
static pid_t call_Fork(void)
{
    if (!real_Fork)
        *(void **)&real_Fork = real_symbol("_Fork");
    prepare();
    if (refused)
        return -1;
    pid_t pid = real_Fork();
    int saved = errno;
    if (pid == 0)
        child();
    else
        parent();
    errno = saved;
    return pid;
}

AT_FORK(".text") static pid_t fork_by(pid_t (*how)(void))
{
    struct fork_call call = { .interrupted = main_heap.shared && malloc_is_interrupted() };
    if (hopeless())
        return -1;
    this_call = &call;
    pid_t pid = fork_from(how);
    this_call = NULL;
    return outcome(pid, &call);
}

AT_FORK(".text") EXPORT pid_t fork(void)
{
    return fork_by(call_fork);
}

EXPORT pid_t _Fork(void)
{
    return fork_by(call_Fork);
}

/* The C library's would go on with fork()'s answer from within: a refused fork
 * would look like a child that ended. */
EXPORT int daemon(int stay, int keep)
{
    switch (fork()) {
    case -1: return -1;
    case 0: break;
    default: _exit(0);
    }
    if (setsid() < 0 || (!stay && chdir("/") < 0))
        return -1;
    if (keep)
        return 0;
    int fd = open("/dev/null", O_RDWR);
    struct stat st;
    if (fd < 0)
        return -1;
    if (fstat(fd, &st) < 0 || !S_ISCHR(st.st_mode) || st.st_rdev != makedev(1, 3)) {
        close(fd);
        errno = ENODEV;
        return -1;
    }
    for (int to = STDIN_FILENO; to <= STDERR_FILENO; to++)
        dup2(fd, to);
    if (fd > STDERR_FILENO)
        close(fd);
    return 0;
}

EXPORT int forkpty(int *controller, char *name, const struct termios *mode,
                   const struct winsize *size)
{
    static int (*open_pair)(int *, int *, char *, const struct termios *, const struct winsize *);
    static int (*login)(int);
    if (!open_pair)
        *(void **)&open_pair = real_symbol("openpty");
    if (!login)
        *(void **)&login = real_symbol("login_tty");
    int terminal;
    if (open_pair(controller, &terminal, name, mode, size) < 0)
        return -1;
    pid_t pid = fork();
    if (pid == 0) {
        close(*controller);
        if (login(terminal) != 0)
            _exit(1);
        return 0;
    }
    int saved = errno;
    close(terminal);
    if (pid < 0)
        close(*controller);
    errno = saved;
    return pid;
}

/* ---- clone() without CLONE_VM --------------------------------------------------------------------
 * The child's stack may be a block of the heap too, often it is.  Then it starts
 * on one of its own and goes to its stack when its copy is in place. */

struct clone_start {
    int (*fn)(void *);
    void *arg;
    void *stack; /* to go to; NULL: it is there already */
    int result;
};

static void clone_run(struct clone_start *start)
{
    start->result = start->fn(start->arg);
}

static int clone_child(void *arg)
{
    struct clone_start start = *(struct clone_start *)arg;
    child();
    if (start.stack)
        call_on(start.stack, (void (*)(void *))clone_run, &start);
    else
        clone_run(&start);
    return start.result;
}

typedef int clone_fn(int (*)(void *), void *, int, void *, ...);

static int clone_copying(clone_fn *real, struct clone_start *start, void *stack, int flags,
                         pid_t *parent_tid, void *tls, pid_t *child_tid)
{
    struct fork_call call = { .interrupted = main_heap.shared && malloc_is_interrupted() };
    char *own = NULL;
    if (hopeless())
        return -1;
    if (address_is_ours(stack)) {
        own = os_map(FORK_STACK, true);
        if (!own) {
            errno = ENOMEM;
            return -1;
        }
        start->stack = (void *)((uintptr_t)stack & ~(uintptr_t)15);
        stack = own + FORK_STACK;
        /* Ours may be a block as well: what the child reads at its start is on its own. */
        stack = memcpy((char *)stack - round_up(sizeof *start, 64), start, sizeof *start);
        start = stack;
    }
    this_call = &call;
    prepare();
    this_call = NULL;
    int pid = -1, saved = errno;
    if (!refused) {
        pid = real(clone_child, stack, flags, start, parent_tid, tls, child_tid);
        saved = errno;
        parent();
    }
    if (own)
        os_unmap(own, FORK_STACK);
    errno = saved;
    return outcome(pid, &call);
}

EXPORT int clone(int (*fn)(void *), void *stack, int flags, void *arg, ...)
{
    static clone_fn *real;
    va_list ap;
    va_start(ap, arg);
    pid_t *parent_tid = va_arg(ap, pid_t *);
    void *tls = va_arg(ap, void *);
    pid_t *child_tid = va_arg(ap, pid_t *);
    va_end(ap);
    if (!real)
        *(void **)&real = real_symbol("clone");
    if (flags & CLONE_VM || !fn || !stack || !serving())
        return real(fn, stack, flags, arg, parent_tid, tls, child_tid);
    struct clone_start start = { .fn = fn, .arg = arg };
    return clone_copying(real, &start, stack, flags, parent_tid, tls, child_tid);
}

void fork_start(void)
{
    pthread_atfork(prepare, parent, child);
    interrupted_start();
    raw_forks_fault(true);
}
