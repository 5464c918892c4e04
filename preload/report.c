/* report.c - HSHM_STATS and HSHM_LEAKS: what the heap says of itself, at exit or on a signal.
 *
 * The report on a signal may interrupt malloc: it takes no lock, allocates nothing, and reads
 * what it prints without asking for it to stand still. */
#include "allocators/page.h"
#include "config/log.h"
#include "preload/preload.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* ---- HSHM_STATS ------------------------------------------------------------------------------ */

static const char *safe_program(char *to, size_t size)
{
    size_t at = 0;
    for (const char *p = preload_program; *p && at + 1 < size; p++)
        to[at++] = *p == '"' || *p == '\\' || (unsigned char)*p < ' ' ? '?' : *p;
    to[at] = '\0';
    return to;
}

/* One JSON line in one write, so that processes of a group may share the file. */
static int report_json(char *to, size_t size, const struct usage *u, const char *when)
{
    const struct seg_member *me = main_heap.me;
    char program[64];
    return snprintf(
        to, size,
        "{\"pid\":%d,\"program\":\"%s\",\"when\":\"%s\",\"segment\":\"%s\",\"shared\":%s,"
        "\"segment_bytes\":%zu,\"used_bytes\":%zu,\"private_bytes\":%zu,"
        "\"malloc\":%zu,\"calloc\":%zu,\"realloc\":%zu,\"free\":%zu,"
        "\"forks\":%zu,\"fork_bytes\":%zu,\"fork_ns\":%zu,\"held_free_bytes\":%zu,"
        "\"frees_waiting\":%zu,\"frees_dropped\":%zu}\n",
        (int)getpid(), safe_program(program, sizeof program), when, main_heap.name,
        main_heap.shared ? "true" : "false", u->held, u->used, (size_t)get(me->bytes_out),
        (size_t)get(me->mallocs), (size_t)get(me->callocs), (size_t)get(me->reallocs),
        (size_t)get(me->frees), (size_t)get(me->forks), (size_t)get(me->fork_bytes),
        (size_t)get(me->fork_ns), (size_t)get(me->held_free), (size_t)get(me->deferred),
        (size_t)get(me->dropped));
}

static size_t small_blocks(const struct usage *u)
{
    size_t n = 0;
    for (unsigned cls = 0; cls < CLASS_COUNT; cls++)
        n += u->blocks[cls];
    return n;
}

static int report_text(char *to, size_t size, const struct usage *u, const char *when)
{
    const struct seg_member *me = main_heap.me;
    int n = snprintf(to, size,
                     "hshm[%d %s]: statistics (%s) of segment %s\n"
                     "  used   %12zu bytes: %zu small blocks, %zu large with %zu bytes\n"
                     "  held   %12zu bytes of the segment, %zu pages\n"
                     "  libc   %12zu bytes went there instead\n"
                     "  forks  %12zu, which copied %zu bytes in %zu us\n",
                     (int)getpid(), preload_program, when, main_heap.name, u->used, small_blocks(u),
                     u->large, u->large_bytes, u->held, u->pages, (size_t)get(me->bytes_out),
                     (size_t)get(me->forks), (size_t)get(me->fork_bytes),
                     (size_t)get(me->fork_ns) / 1000);
    if (option_has_word(OPT_STATS, "calls"))
        n += snprintf(to + n, size - (size_t)n,
                      "  calls  malloc %zu, calloc %zu, realloc %zu, free %zu\n",
                      (size_t)get(me->mallocs), (size_t)get(me->callocs), (size_t)get(me->reallocs),
                      (size_t)get(me->frees));
    for (unsigned cls = 0; cls < CLASS_COUNT && (size_t)n + 64 < size; cls++)
        if (u->blocks[cls])
            n += snprintf(to + n, size - (size_t)n, "  %10zu blocks of %u bytes\n", u->blocks[cls],
                          class_bytes(cls));
    return n;
}

static bool write_to_file(const char *text, size_t size)
{
    char path[256];
    if (!option_word_value(OPT_STATS, "file", path, sizeof path))
        return false;
    int fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    if (fd >= 0) {
        ssize_t wrote = write(fd, text, size);
        (void)wrote;
        close(fd);
    }
    return true;
}

static void report(const char *when)
{
    static char text[6144]; /* not on the stack of who was interrupted; last one wins */
    struct usage u = usage_now();
    bool as_text = option_has_word(OPT_STATS, "text");
    int n = (as_text ? report_text : report_json)(text, sizeof text, &u, when);
    if (n <= 0 || write_to_file(text, (size_t)n))
        return;
    /* A message is one line: text goes line by line. */
    for (char *line = text, *end; (end = strchr(line, '\n')); line = end + 1) {
        *end = '\0';
        log_line("%s", strncmp(line, "hshm[", 5) == 0 ? strchr(line, ':') + 2 : line);
    }
}

/* ---- on a signal ------------------------------------------------------------------------------- */

static int signal_number(const char *name)
{
    static const struct {
        const char *name;
        int number;
    } signals[] = { { "HUP", SIGHUP },     { "INT", SIGINT },   { "QUIT", SIGQUIT },
                    { "USR1", SIGUSR1 },   { "USR2", SIGUSR2 }, { "TERM", SIGTERM },
                    { "ALRM", SIGALRM },   { "PROF", SIGPROF }, { "VTALRM", SIGVTALRM },
                    { "WINCH", SIGWINCH }, { "URG", SIGURG },   { "IO", SIGIO },
                    { "PWR", SIGPWR } };
    if (strncmp(name, "SIG", 3) == 0)
        name += 3;
    for (unsigned i = 0; i < sizeof signals / sizeof *signals; i++)
        if (strcmp(signals[i].name, name) == 0)
            return signals[i].number;
    return 0;
}

static void on_signal(int number)
{
    (void)number;
    int saved = errno;
    if (preload_mode == MODE_HEAP) {
        report("signal");
        trace_write();
    }
    errno = saved;
}

void report_start(void)
{
    char name[16];
    struct sigaction now;
    if (!option_word_value(OPT_STATS, "signal", name, sizeof name))
        return;
    int number = signal_number(name);
    if (!number)
        log_line("HSHM_STATS=signal:%s: there is no such signal; it is ignored", name);
    else if (sigaction(number, NULL, &now) == 0 && now.sa_handler == SIG_DFL)
        sigaction(number, &(struct sigaction){ .sa_handler = on_signal, .sa_flags = SA_RESTART },
                  NULL);
}

/* ---- HSHM_LEAKS ---------------------------------------------------------------------------------- */

static void tell_leaks(void)
{
    struct usage u = usage_now();
    size_t blocks = small_blocks(&u) + u.large;
    if (!blocks) {
        log_line("leaks: none, all blocks were freed");
        return;
    }
    log_line("leaks: %zuB in %zu blocks were not freed", u.used, blocks);
    for (unsigned cls = 0; cls < CLASS_COUNT; cls++)
        if (u.blocks[cls])
            log_line("leaks: %zu blocks of up to %zu bytes", u.blocks[cls],
                     (size_t)class_bytes(cls));
    if (u.large)
        log_line("leaks: %zu large blocks, %zuB", u.large, u.large_bytes);
    trace_tell_leaks();
}

void report_at_exit(void)
{
    int saved = errno;
    if (option_number(OPT_LEAKS))
        tell_leaks();
    if (option_has_word(OPT_STATS, "exit"))
        report("exit");
    trace_write();
    errno = saved;
}
