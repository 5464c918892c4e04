/* exit.c - ends that run no destructor.
 *
 * A program that ends by _exit() means to, as after exit(): nobody has to wait
 * for a grace before taking what it had, and the last one out takes the name of
 * the segment away.  It may be a signal handler: only system calls are made, and
 * no lock is taken.  It may be a child of vfork(), which only borrows its
 * parent's memory and place: that only stores a word, which its parent takes
 * back.  A sandbox has forbidden to open the file: see sandbox.c.
 */
#include "allocators/member.h"
#include "allocators/segment.h"
#include "preload/preload.h"

#include <stdlib.h>
#include <unistd.h>

/* Is this the process that the place is of?  The first one of a pid namespace is not
 * asked: its child in another one would have the same pid. */
static bool is_the_member(const struct heap *h)
{
    if (!h->shared || h->asleep || !h->can_open) /* no system call in a sandbox */
        return false;
    long pid = os_pid();
    return pid > 1 && (uint64_t)pid == get(h->me->pid);
}

AT_FORK(".text") static _Noreturn void end(int status)
{
    if (preload_mode == MODE_HEAP) {
        member_quits(&main_heap);
        if (is_the_member(&main_heap))
            segment_leave(&main_heap);
        os_exit(status);
    }
    void (*real)(int); /* a sanitizer has something to do here */
    *(void **)&real = real_symbol("_exit");
    if (real)
        real(status);
    os_exit(status);
}

AT_FORK(".text") EXPORT void _exit(int status)
{
    end(status);
}

AT_FORK(".text") EXPORT void _Exit(int status)
{
    end(status);
}
