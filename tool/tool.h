/* tool.h - what the commands of `hshm` share. */
#pragma once
#include "allocators/check.h"
#include "allocators/segment.h"
#include "allocators/stats.h"

/* Exit statuses that all commands share; `check` gives 1 its own meaning. */
enum {
    EXIT_OK = 0,
    EXIT_NO = 1,      /* it cannot be done, or (check) the segment is damaged */
    EXIT_UNKNOWN = 2, /* (check) cannot be told */
    EXIT_USAGE = 64,  /* the command line is wrong */
};

/* ---- commands and their flags ---------------------------------------------------- */

enum argument {
    ARG_NONE,
    ARG_SEGMENT,
    ARG_SEGMENTS,
    ARG_TWO_SEGMENTS,
    ARG_SEGMENT_FILE,
    ARG_PID,
    ARG_COMMAND,
    ARG_SHELL,
    ARG_VERB,
};

struct flag_spec {
    char letter; /* 0 ends a list */
    const char *name, *value, *help;
};

struct verb {
    const char *name;
    int (*run)(int argc, char **argv); /* argv[0] is the command */
    const char *arguments;
    enum argument kind;
    const char *help; /* one line */
    const char *details;
    const struct flag_spec *flags;
};
extern const struct verb verbs[]; /* ends with name NULL */
const struct verb *verb_find(const char *name);

#define VERB(name, ...) int verb_##name(int argc, char **argv);
#include "tool/verbs.def"
#undef VERB

struct flags {
    bool set[128];
    const char *value[128];
    int count; /* arguments that are no flags */
    char **arguments;
};
/* Reads the flags in front of the arguments; on -h or a wrong flag it exits. */
void flags_read(int argc, char **argv, struct flags *f);
/* Exits unless there are at least 'least' arguments and at most 'most'. */
void flags_read_arguments(int argc, char **argv, struct flags *f, int least, int most);

static inline bool flag(const struct flags *f, char letter)
{
    return f->set[(unsigned char)letter];
}
static inline const char *flag_value(const struct flags *f, char letter)
{
    return f->value[(unsigned char)letter];
}

/* A line on stderr, and 'status' for `return`. */
int fail(int status, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* ---- segments -------------------------------------------------------------------- */

/* Path of a segment: its name, a path with a '/', or file:/path. */
bool segment_find(const char *name, char *path, size_t size);
/* Opens a segment for reading and says what is wrong if that fails.  With 'sound'
 * a file that is no sound segment is refused, too. */
bool segment_look(const char *name, struct view *v, char *path, size_t size, bool sound);
/* "segment NAME: WHAT" on stderr, and false. */
bool segment_fault(const char *name, const char *what);

/* Calls back for each segment file of this user, of any version. */
struct segment_file {
    const char *file; /* name in SEGMENT_DIR */
    const char *name; /* what HSHM_SEGMENT calls it */
    unsigned version; /* format, from the file's name */
    char path[512];
};
void segments_each(void (*each)(const struct segment_file *file, void *context), void *context);

/* "in use", "idle", "stale", "damaged", "dump" ... */
const char *segment_state(const struct view *v);
/* Share of what is committed to pages and blocks that holds no block. */
double segment_unused(const struct stats *s);
bool segment_is_full(const struct view *v);

/* Where the preload lies: beside the command (a build), in its prefix's lib, or just its name. */
#define LIBRARY       "libhshm_preload.so"
#define LIBRARY_DEBUG "libhshm_preload-debug.so"
void library_find(const char *name, char *path, size_t size);

/* ---- members: see process.c ------------------------------------------------------ */

enum life { LIFE_ALIVE, LIFE_LEAVING, LIFE_DEAD, LIFE_ENDED };
enum life member_life(const struct view *v, uint64_t slot);
const char *life_name(enum life life);

/* What /proc says about a member. */
struct process {
    long pid; /* as seen from here; 0: not seen */
    bool stopped;
    char command[256]; /* its command line, or the program's name */
};
void member_process(const struct view *v, uint64_t slot, struct process *p);
/* "alive", "stopped", "dead" ... */
const char *member_state_name(const struct view *v, uint64_t slot, const struct process *p);

/* ---- text for people ----------------------------------------------------------- */

struct text {
    char at[64];
};
struct text text_bytes(uint64_t bytes);                          /* 1.5 MiB */
struct text text_count(uint64_t n);                              /* 12,345 */
struct text text_change(uint64_t from, uint64_t to, bool bytes); /* +1.5 MiB, -3 */
struct text text_age(uint64_t since_ns);                         /* 3 h, from CLOCK_REALTIME */
struct text text_time(uint64_t ns);                              /* 2026-01-31 12:00:00 */
struct text text_hex(uint64_t n);                                /* 0x4800... */
struct text text_plain(const char *s, size_t size);              /* printable characters only */
uint64_t seconds_since(uint64_t ns);

/* Columns: numbers to the right. */
struct column {
    const char *title;
    bool right;
};
void table_start(const struct column *columns, unsigned count);
void table_cell(const char *text);
void table_end(void);

static inline uint64_t smaller(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}
