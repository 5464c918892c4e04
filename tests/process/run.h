/* run.h - run a program under the preload and see what became of it.
 *
 *   struct outcome o = run("HSHM_SEGMENT=x HSHM_SIZE=64M", "prog_family zero_sizes");
 *
 * A command that starts with prog_ is looked for in TEST_BIN.  Only the command itself is under
 * the preload: the shell, timeout and env before it are not. */
#pragma once

#include <criterion/criterion.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

struct outcome {
    int status; /* exit status, or 128 + signal; 124: it took too long */
    char out[16384], err[16384];
};

static inline const char *setting(const char *name, const char *otherwise)
{
    const char *value = getenv(name);
    return value && *value ? value : otherwise;
}

static inline const char *preload(void)
{
    return setting("TEST_PRELOAD", "build/libhshm_preload.so");
}

static inline const char *bin(void)
{
    return setting("TEST_BIN", "build/tests");
}

static inline long scale(void)
{
    return atol(setting("TEST_SCALE", "1"));
}

/* A path in the test's own temporary folder; at most eight of them at a time. */
static inline const char *temporary(const char *name)
{
    static char paths[8][512];
    static unsigned next;
    char *path = paths[next++ % 8];
    snprintf(path, sizeof *paths, "%s/%d-%s", setting("TMPDIR", "/tmp"), (int)getpid(), name);
    return path;
}

static inline void read_text(const char *path, char *to, size_t size)
{
    FILE *f = fopen(path, "r");
    size_t n = f ? fread(to, 1, size - 1, f) : 0;
    to[n] = '\0';
    if (f)
        fclose(f);
}

static inline int status_of(int waited)
{
    return WIFSIGNALED(waited) ? 128 + WTERMSIG(waited) : WEXITSTATUS(waited);
}

/* A line of the shell, without the preload but with $PRELOAD and $BIN. */
__attribute__((format(printf, 1, 2))) static inline struct outcome shell(const char *format, ...)
{
    static struct outcome o;
    char script[8192], line[9500], out[512], err[512];
    va_list ap;
    va_start(ap, format);
    vsnprintf(script, sizeof script, format, ap);
    va_end(ap);
    strcpy(out, temporary("out"));
    strcpy(err, temporary("err"));
    setenv("PRELOAD", preload(), 1);
    setenv("BIN", bin(), 1);
    snprintf(line, sizeof line, "{ %s\n} >%s 2>%s </dev/null", script, out, err);
    memset(&o, 0, sizeof o);
    o.status = status_of(system(line));
    read_text(out, o.out, sizeof o.out);
    read_text(err, o.err, sizeof o.err);
    unlink(out);
    unlink(err);
    return o;
}

__attribute__((format(printf, 2, 3))) static inline struct outcome run(const char *settings,
                                                                       const char *format, ...)
{
    char command[4096];
    va_list ap;
    va_start(ap, format);
    vsnprintf(command, sizeof command, format, ap);
    va_end(ap);
    return shell("exec timeout -k 1 %d env LD_PRELOAD=%s %s %s%s",
                 atoi(setting("TEST_SECONDS", "100")) * (scale() > 1 ? 20 : 1), preload(), settings,
                 strncmp(command, "prog_", 5) == 0 ? "\"$BIN\"/" : "", command);
}

/* It ran as it would without us: its own checks hold and nobody said a word. */
#define assert_ran(o)                                                                              \
    do {                                                                                           \
        struct outcome o_ = (o);                                                                   \
        cr_assert_eq(o_.status, 0, "exit status %d: %s%s", o_.status, o_.err, o_.out);             \
        cr_assert_str_eq(o_.err, "", "it said: %s", o_.err);                                       \
    } while (0)

/* Two tests: the program's check of that name with a private heap and in a segment. */
#define TEST_BOTH(suite, program, check)                                                           \
    Test(suite, check##_privately)                                                                 \
    {                                                                                              \
        assert_ran(run("", program " " #check));                                                   \
    }                                                                                              \
    Test(suite, check##_in_a_segment)                                                              \
    {                                                                                              \
        assert_ran(run("HSHM_SIZE=1G HSHM_SEGMENT=" #check, program " " #check));                  \
        cr_assert_eq(shell("ls /dev/shm | grep -q -- '-" #check "$'").status, 1,                   \
                     "the segment is still there");                                                \
    }
