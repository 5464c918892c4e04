/* resolve.h - how calls of the GPU drivers come to our wrappers.
 *
 * A program reaches the driver by its exported names, by dlsym(), or by
 * cuGetProcAddress().  Nothing here starts anything, allocates, or keeps a
 * library open; without a driver in the process, all answers are the C
 * library's own.
 */
#pragma once
#include <stdbool.h>
#include <stddef.h>

typedef void *dlsym_fn(void *handle, const char *name);
/* The C library's dlsym(), found on first use; never NULL. */
extern dlsym_fn *dlsym_real;
dlsym_fn *dlsym_find(void);

/* Set once the options are known: wrappers may be given out. */
#ifdef WITHOUT_GPU /* of a build for another C library: nobody asks */
static bool gpu_hooks_on __attribute__((unused));
static void *const gpu_area __attribute__((unused)) = NULL;
#else
extern bool gpu_hooks_on;
/* Where the tables of GPU segments are mapped, sparse as the segment itself; NULL: nowhere. */
extern void *gpu_area;
#endif

/* May a symbol of this name be one of ours?  The first look of dlsym(), for every name. */
static inline bool gpu_name(const char *name)
{
    return name && name[0] == 'c' && name[1] == 'u' && name[2] >= 'A' && name[2] <= 'Z';
}

/* dlsym() of a name that gpu_name() likes, but not with RTLD_NEXT. */
void *gpu_dlsym(void *handle, const char *name);

/* A function of the driver that is loaded, by its exported name; NULL: none is, or it lacks it. */
void *driver_symbol(const char *symbol);
