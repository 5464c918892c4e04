/* tool.h - what the verbs of `hshm` share. */
#pragma once
#include "allocators/check.h"
#include "allocators/segment.h"
#include "allocators/stats.h"

/* Exit statuses that all verbs share; `check` gives 1 its own meaning. */
enum {
    EXIT_OK = 0,
    EXIT_NO = 1,      /* it cannot be done, or (check) the segment is damaged */
    EXIT_UNKNOWN = 2, /* (check) cannot be told */
    EXIT_USAGE = 64,  /* the command line is wrong */
};

struct verb {
    const char *name;
    int (*run)(int argc, char **argv); /* argv[0] is the verb */
    const char *synopsis;
    const char *help; /* one line; the first of -h */
    const char *details;
};
extern const struct verb verbs[];

int verb_run(int argc, char **argv);
int verb_list(int argc, char **argv);
int verb_show(int argc, char **argv);
int verb_who(int argc, char **argv);
int verb_check(int argc, char **argv);
int verb_reclaim(int argc, char **argv);
int verb_rm(int argc, char **argv);
int verb_options(int argc, char **argv);
int verb_version(int argc, char **argv);
int verb_help(int argc, char **argv);

/* Reads flags in front of the arguments: 'letters' as for getopt, without ':'; -j and
 * -h always, and long names for -j (--json), -h (--help), -n (--dry-run), -f (--force).
 * Returns the index of the first argument; on -h or a wrong flag it exits. */
int flags_read(int argc, char **argv, const char *letters, bool *set);
bool flag(const bool *set, char letter);

/* A line on stderr, and 'status' for `return`. */
int fail(int status, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Path of a segment: its name, a path with a '/', or file:/path. */
bool segment_find(const char *name, char *path, size_t size);
/* Opens a segment for reading and says what is wrong if that fails.  With 'sound'
 * a file that is no sound segment is refused, too. */
bool segment_look(const char *name, struct view *v, char *path, size_t size, bool sound);

/* Calls back for each segment file of this user, of any version. */
struct segment_file {
    const char *file; /* name in SEGMENT_DIR */
    const char *name; /* what HSHM_SEGMENT calls it */
    unsigned version; /* format, from the file's name */
    char path[512];
};
void segments_each(void (*each)(const struct segment_file *file, void *context), void *context);

/* ---- text for people ----------------------------------------------------------- */

struct text {
    char at[64];
};
struct text text_bytes(uint64_t bytes);             /* 1.5 MiB */
struct text text_count(uint64_t n);                 /* 12,345 */
struct text text_age(uint64_t since_ns);            /* 3 h 12 min, from CLOCK_REALTIME */
struct text text_time(uint64_t ns);                 /* 2026-01-31 12:00:00 */
struct text text_plain(const char *s, size_t size); /* printable characters only */
uint64_t seconds_since(uint64_t ns);

/* Columns: numbers to the right. */
struct column {
    const char *title;
    bool right;
};
void table_start(const struct column *columns, unsigned count);
void table_cell(const char *text);
void table_end(void);

/* ---- members -------------------------------------------------------------------- */

enum life { LIFE_ALIVE, LIFE_LEAVING, LIFE_DEAD, LIFE_ENDED };
enum life member_life(const struct view *v, uint64_t slot);
const char *life_name(enum life life);
/* "alive", or "stopped" for a process that is (where /proc can tell). */
const char *life_seen(const struct view *v, uint64_t slot);
/* Is the member's pid the one it has here, in this pid namespace? */
bool pid_is_seen(const struct view *v, uint64_t slot);
