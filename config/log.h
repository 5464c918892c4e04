/* Messages to the user: one line, one write(2), `hshm[pid program]: text`.
 *
 * They may be sent from anywhere: inside malloc(), in a signal handler, in a forked child, after
 * exit.  Nothing is allocated or locked, errno stays as it is, and neither a closed pipe, a file
 * size limit nor a background terminal stops the program because of them.
 *
 * A line goes to the file that HSHM_LOG names.  Without HSHM_LOG, or if that file cannot be opened,
 * it goes to fd 2, but only while fd 2 is still the file it was at log_init(): a program that has
 * closed it may have opened its database there.  In each case log_slot_hook() gets it, too.
 *
 * The formatter knows %s %c %d %u %x %ld %lu %lx %zu %p %%, and %zuB for a size_t in units for
 * people ("1.5 MiB"; the compiler reads it as %zu and a B, and so checks the argument).  Bytes of a
 * string that are not printable ASCII are shown as ?, so that a message is always one line.  What
 * does not fit in LOG_LINE_SIZE is cut off and ends in "...". */
#pragma once

#include <stdbool.h>

enum { LOG_LINE_SIZE = 512 };

/* Remembers which file fd 2 is, and the program's name (a path or a file name) for messages.
 * Before it, lines go to HSHM_LOG and the hook only. */
void log_init(const char *program);

/* Something is wrong.  Shown from HSHM_VERBOSE=1 up; the hook gets it in any case. */
void log_line(const char *format, ...) __attribute__((format(printf, 1, 2), cold));
/* Something was done.  Shown, and given to the hook, from HSHM_VERBOSE=2 up. */
void log_verbose(const char *format, ...) __attribute__((format(printf, 1, 2), cold));
/* Always shown.  Ends the program with SIGABRT. */
_Noreturn void log_abort(const char *format, ...) __attribute__((format(printf, 1, 2), cold));

/* log_line(), the first time only that this place is reached in this program (or one it forked
 * from).  Several threads that reach it at once say it once. */
#define log_once(...)                                                                              \
    do {                                                                                           \
        static bool log_once_said;                                                                 \
        if (!__atomic_exchange_n(&log_once_said, true, __ATOMIC_RELAXED))                          \
            log_line(__VA_ARGS__);                                                                 \
    } while (0)

/* "ENOSPC" for ENOSPC or -ENOSPC, as libc's strerror() may allocate; "error" for rare ones. */
const char *log_error_name(int error);

/* Where set, gets each line, without its end: the allocators keep the last in the member's slot, so
 * that `hshm show` can tell what a program with nowhere to write has said. */
extern void (*log_slot_hook)(const char *line);
