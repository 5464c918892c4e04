/* dlsym.c - where a program asks for the functions of a GPU's driver by name.
 *
 * The C library takes the meaning of RTLD_NEXT and RTLD_DEFAULT from the
 * caller's address.  So what is not a name of a driver's is left to the real
 * function by a tail call, which returns to our caller as if we were not there. */
#include "gpu_hooks/resolve.h"
#include "preload/preload.h"
#include "preload/tail_call.h"

#include <dlfcn.h>

EXPORT FOR_TAIL_CALL void *dlsym(void *handle, const char *name)
{
    dlsym_fn *real = dlsym_real;
    if (unlikely(!real))
        real = dlsym_find();
    if (likely(!gpu_name(name)) || handle == RTLD_NEXT)
        TAIL_RETURN real(handle, name);
    return gpu_dlsym(handle, name);
}
