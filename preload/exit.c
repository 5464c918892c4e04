/* exit.c - ends that run no destructor.
 *
 * A program that ends by _exit() means to, as after exit(): nobody has to wait
 * for a grace before taking what it had.  Only that is said here, by one store:
 * it may be a signal handler, a sandbox without system calls, or a child of
 * vfork(), which only borrows its parent's memory and place.
 */
#include "allocators/member.h"
#include "preload/preload.h"

#include <stdlib.h>
#include <unistd.h>

static _Noreturn void end(int status)
{
    if (preload_mode == MODE_HEAP) {
        member_quits(&main_heap);
        os_exit(status);
    }
    void (*real)(int); /* a sanitizer has something to do here */
    *(void **)&real = real_symbol("_exit");
    if (real)
        real(status);
    os_exit(status);
}

EXPORT void _exit(int status)
{
    end(status);
}

EXPORT void _Exit(int status)
{
    end(status);
}
