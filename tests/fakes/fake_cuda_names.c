/* How the functions of the double are found. */
#include "tests/fakes/fake_cuda.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Only their addresses are asked for. */
#define ROW(name, version, symbol)        int symbol(void);
#define ROW_THREAD(name, version, symbol) int symbol(void);
#include "tests/fakes/fake_cuda_names.def"
#undef ROW
#undef ROW_THREAD

API cuGetProcAddress_v2(const char *name, void **found, int version, unsigned long long flags,
                        int *status);
API cuGetProcAddress(const char *name, void **found, int version, unsigned long long flags);

static const struct {
    const char *name;
    int version, per_thread;
    void *address;
} table[] = {
#define ROW(name, version, symbol)        { #name, version, 0, (void *)symbol },
#define ROW_THREAD(name, version, symbol) { #name, version, 1, (void *)symbol },
#include "tests/fakes/fake_cuda_names.def"
    { "cuGetProcAddress", 11030, 0, (void *)cuGetProcAddress },
    { "cuGetProcAddress", 12000, 0, (void *)cuGetProcAddress_v2 },
};

/* The newest that is not newer than the caller; with flag 2 the per-thread one where there is one. */
static void *table_find(const char *name, int version, unsigned long long flags)
{
    void *best = NULL;
    int best_version = -1, best_thread = 0, wants_thread = (flags & 2) != 0;
    for (size_t i = 0; i < sizeof table / sizeof *table; i++)
        if (strcmp(table[i].name, name) == 0 && table[i].version <= version &&
            table[i].per_thread <= wants_thread &&
            (table[i].version > best_version ||
             (table[i].version == best_version && table[i].per_thread > best_thread))) {
            best = table[i].address;
            best_version = table[i].version;
            best_thread = table[i].per_thread;
        }
    return best;
}

static int some_call(void)
{
    return NOT_SUPPORTED;
}

/* FAKE_LOG: what was asked for.  FAKE_ANY: names that are not here are something that fails. */
static void *answer(const char *name, int version, unsigned long long flags)
{
    const char *log = getenv("FAKE_LOG");
    int fd = log ? open(log, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0600) : -1;
    if (fd >= 0) {
        dprintf(fd, "%s %d %llu\n", name[0] ? name : "-", version, flags);
        close(fd);
    }
    void *found = table_find(name, version, flags);
    return found || !name[0] || !getenv("FAKE_ANY") ? found : (void *)some_call;
}

API cuGetProcAddress_v2(const char *name, void **found, int version, unsigned long long flags,
                        int *status)
{
    *found = answer(name, version, flags);
    if (status)
        *status = *found ? 0 : 1;
    if (name[0] == '\0')
        return INVALID;
    return *found ? OK : NOT_FOUND;
}

API cuGetProcAddress(const char *name, void **found, int version, unsigned long long flags)
{
    *found = answer(name, version, flags);
    return *found ? OK : NOT_FOUND;
}

API cuGetExportTable(const void **table_, const void *id)
{
    (void)id;
    *table_ = NULL;
    return NOT_FOUND;
}

API cuGetErrorName(int error, const char **name)
{
    *name = error == OK      ? "CUDA_SUCCESS"
            : error == NOMEM ? "CUDA_ERROR_OUT_OF_MEMORY"
                             : "CUDA_ERROR";
    return OK;
}
