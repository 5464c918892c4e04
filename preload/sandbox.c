/* sandbox.c - programs that lock themselves in.
 *
 * A filter of system calls (seccomp) may kill whoever makes one that it does not
 * list, and its author listed what the C library's malloc needs, not what we do.
 * From the moment a process asks for such a filter we need no more than that:
 * memory and futexes.  Looking for the dead, for room and at the file is left to
 * the other members, as by one who may not open the file.
 *
 * Filters that were there before the program began let the loader open files,
 * and so us.
 */
#include "allocators/os.h"
#include "preload/preload.h"

#include <errno.h>
#include <stdarg.h>
#include <sys/prctl.h>

/* libseccomp, too, asks for PR_SET_NO_NEW_PRIVS before it calls seccomp(2) itself. */
static bool is_sandboxing(int option)
{
    return option == PR_SET_SECCOMP || option == PR_SET_NO_NEW_PRIVS;
}

EXPORT int prctl(int option, ...)
{
    va_list ap;
    va_start(ap, option);
    unsigned long args[4];
    for (int i = 0; i < 4; i++)
        args[i] = va_arg(ap, unsigned long);
    va_end(ap);
    if (preload_mode != MODE_HEAP) { /* a sanitizer may have something to do here */
        int (*real)(int, ...);
        *(void **)&real = real_symbol("prctl");
        if (real)
            return real(option, args[0], args[1], args[2], args[3]);
    } else if (is_sandboxing(option)) {
        main_heap.can_open = false;
        os_ask_less();
    }
    long rc = os_prctl(option, args);
    if (rc >= 0)
        return (int)rc;
    errno = (int)-rc;
    return -1;
}
