/* dlopen.c - RTLD_DEEPBIND would give the opened library libc's malloc and the
 * rest of the program ours: each would free the other's blocks. */
#include "config/log.h"
#include "preload/libc.h"
#include "preload/preload.h"
#include "preload/tail_call.h"

#include <dlfcn.h>

/* The C library takes RPATH and the namespace from the caller's address, so the
 * real function is left to return to our caller: it must be a tail call. */
EXPORT FOR_TAIL_CALL void *dlopen(const char *path, int mode)
{
    static void *(*real)(const char *, int);
    if (!real)
        *(void **)&real = real_symbol("dlopen");
    if (preload_mode == MODE_HEAP && option_number(OPT_NO_DEEPBIND))
        mode &= ~RTLD_DEEPBIND;
    TAIL_RETURN real(path, mode);
}
