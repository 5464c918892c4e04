/* expect.h - a program of named checks: prog_x NAME runs one of them.
 *
 * The programs know nothing of us.  A check that fails says what it expected and ends the program
 * with status 1, without exit(): what atexit would do to a broken heap helps nobody. */
#pragma once

#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define expect(condition)                                                                          \
    do {                                                                                           \
        if (!(condition)) {                                                                        \
            dprintf(2, "%s:%d: not so: %s (errno %d)\n", __FILE__, __LINE__, #condition, errno);   \
            _exit(1);                                                                              \
        }                                                                                          \
    } while (0)

struct check {
    const char *name;
    void (*run)(void);
};

static inline int run_check(const struct check *checks, size_t count, const char *name)
{
    for (size_t i = 0; i < count; i++)
        if (strcmp(checks[i].name, name) == 0) {
            checks[i].run();
            return 0;
        }
    dprintf(2, "no check is called %s\n", name);
    return 2;
}

#define CHECK(name)                                                                                \
    {                                                                                              \
#name, name                                                                                \
    }
#define RUN_CHECKS(checks, argc, argv)                                                             \
    ((argc) < 2 ? 2 : run_check(checks, sizeof(checks) / sizeof *(checks), (argv)[1]))

/* In the range where segments are mapped: what the program can see of who served it. */
static inline int is_heap(const void *p)
{
    return (uintptr_t)p >= UINT64_C(0x480000000000) && (uintptr_t)p < UINT64_C(0x540000000000);
}
