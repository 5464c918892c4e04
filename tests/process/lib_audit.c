/* An LD_AUDIT library: the loader runs it, with a C library of its own, before everything else. */
#include <link.h>
#include <stdlib.h>

__attribute__((visibility("default"))) unsigned int la_version(unsigned int version)
{
    free(malloc(100));
    return version;
}
