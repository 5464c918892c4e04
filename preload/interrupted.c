/* interrupted.c - is this fork() called in a signal handler that interrupted malloc?
 *
 * Its child returns from the handler into the middle of that call, whose
 * registers and lists are the parent's.  So fork.c must know.
 *
 * A slow path says so by a count of its thread.  The fast path of malloc and
 * free has no instruction to spare: there the frame that the kernel laid on the
 * stack for the handler tells where the thread was.  The frame begins with the
 * address of the C library's code that returns from a handler, a value that
 * nothing else puts there; if a stale one is found, the fork only does more than
 * it would have to. */
#include "allocators/os.h"
#include "preload/preload.h"

#include <signal.h>
#include <string.h>
#include <sys/syscall.h>
#include <ucontext.h>
#include <unistd.h>

#if defined(__x86_64__)

/* Ours, from the first byte of the library to the last of its code. */
extern const char __ehdr_start[] __attribute__((visibility("hidden")));
extern const char etext[] __attribute__((visibility("hidden")));

#define LOOK_SHORT (UINT64_C(16) << 10) /* of the stack, if no signal is blocked */
#define LOOK_LONG  (UINT64_C(1) << 20)  /* a handler runs with its signal blocked, as a rule */

static uint64_t restorer; /* where handlers return to */

struct kernel_sigaction {
    void (*handler)(int);
    unsigned long flags;
    uint64_t restorer;
    uint64_t mask;
};

static void nothing(int signal)
{
    (void)signal;
}

/* Only the C library knows the address: it gives it to the kernel with every handler. */
void interrupted_start(void)
{
    struct sigaction ours = { .sa_handler = nothing }, before;
    struct kernel_sigaction kernel;
    if (sigaction(SIGURG, &ours, &before) < 0)
        return;
    if (syscall(SYS_rt_sigaction, SIGURG, NULL, &kernel, sizeof kernel.mask) == 0)
        restorer = kernel.restorer;
    sigaction(SIGURG, &before, NULL);
}

static bool frame_is_in_our_code(const uint64_t *frame)
{
    const ucontext_t *context = (const void *)(frame + 1);
    uint64_t at = (uint64_t)context->uc_mcontext.gregs[REG_RIP];
    return at - (uint64_t)(uintptr_t)__ehdr_start <
           (uint64_t)(uintptr_t)etext - (uint64_t)(uintptr_t)__ehdr_start;
}

enum frame { FRAME_NONE, FRAME_OTHER, FRAME_OURS };

static __attribute__((noinline)) enum frame stack_frame(uint64_t look)
{
    enum frame found = FRAME_NONE;
    uint64_t at = (uint64_t)(uintptr_t)__builtin_frame_address(0) & ~UINT64_C(7), end = at + look;
    for (uint64_t readable = at; restorer && at < end; at += 8) {
        if (at + sizeof(ucontext_t) + 8 >= readable) { /* the stack ends somewhere */
            uint64_t next = (at + sizeof(ucontext_t) + 8 + OS_PAGE) & ~(OS_PAGE - 1);
            if (!os_is_readable((const void *)(uintptr_t)(next - OS_PAGE)))
                break;
            readable = next;
        }
        const uint64_t *word = (const uint64_t *)(uintptr_t)at;
        if (*word == restorer && frame_is_in_our_code(word))
            return FRAME_OURS;
        if (*word == restorer)
            found = FRAME_OTHER;
    }
    return found;
}

bool malloc_is_interrupted(void)
{
    bool far = os_signals_now() || tls_state.busy;
    enum frame frame = stack_frame(far ? LOOK_LONG : LOOK_SHORT);
    if (frame == FRAME_NONE) /* a handler has jumped out of a call of ours */
        tls_state.busy = 0;
    return frame == FRAME_OURS || tls_state.busy;
}

#else /* fork() there sees only interrupted slow paths */

void interrupted_start(void)
{
}

bool malloc_is_interrupted(void)
{
    return tls_state.busy;
}

#endif
