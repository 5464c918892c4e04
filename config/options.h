/* The options: what the user has asked for, by environment variable or in a file.
 *
 * Every option is one row of options.def.  Its value is the one of the environment variable
 * HSHM_NAME, else that of the line `NAME=value` (or `HSHM_NAME=value`) in the file that HSHM_CONFIG
 * names, else its default.  An empty value is the default; so is a bad one, which is also one line
 * of the log, as is an unknown name.
 *
 * options_init() may run inside the first malloc() of a program, before libc's constructors: it
 * allocates nothing, leaves errno alone, and calls nothing of libc but mem*() and str*().  Values
 * are copied, so programs may overwrite their environment (as those that set their title do).
 * Everything else here only reads what it left, and may be called from any thread or handler. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* The variant for debugging checks more unless it is told otherwise. */
#ifdef HSHM_DEBUG
#define CHECK_DEFAULT "full"
#else
#define CHECK_DEFAULT "fast"
#endif

enum option_id {
#define OPTION(name, ...) OPT_##name,
#include "config/options.def"
#undef OPTION
    OPT_COUNT
};

/* FORK_SNAPSHOT = 0, FORK_SHARE = 1, ...: what option_number() returns for an ENUM.  Then
 * OPT_FORK_CHOICES, their number, which is 0 for options of other types. */
#define CHOICE(constant, word) constant,

#define OPTION(name, type, default_, scope, help, ...) enum { __VA_ARGS__ OPT_##name##_CHOICES };
#include "config/options.def"
#undef OPTION
#undef CHOICE

/* What is written                                              what option_number() is */
enum option_type {
    OPTION_NAME,         /* name, file:/path or memfd:          - */
    OPTION_PATH,         /* absolute path                       - */
    OPTION_BYTES,        /* 4096, 64K, 2G, 1TiB                 bytes */
    OPTION_PORTION,      /* the same, or 50%                    unused: option_bytes() */
    OPTION_MILLISECONDS, /* 100, or -1 for ever                 milliseconds, or -1 */
    OPTION_MODE,         /* 0600, always octal                  permission bits */
    OPTION_BOOL,         /* 0|1, no|yes, off|on, false|true     0 or 1 */
    OPTION_ENUM,         /* one of the choices                  constant of the choice */
    OPTION_LIST,         /* words with commas between           - */
};
enum option_scope { OPTION_ANY, OPTION_SECURE };
enum option_source { SOURCE_DEFAULT, SOURCE_FILE, SOURCE_ENVIRONMENT };

struct option {
    const char *name; /* without HSHM_ */
    const char *default_text;
    const char *help;
    const char *const *choices;
    unsigned choice_count;
    enum option_type type;
    enum option_scope scope;
};

extern const struct option options[OPT_COUNT];

/* Longest value, counting its end; a longer one is a bad value. */
enum { OPTION_TEXT_SIZE = 1024 };

/* Reads all options, and calls log_init(program) so that what is wrong with them can be said.
 * Returns how many values were bad or names unknown, each now one line of the log; with
 * option_number(OPT_STRICT) the caller exits with OPTIONS_EXIT_STATUS if there were any.  `secure`
 * says that the program has more rights than its user (AT_SECURE): SECURE options keep their
 * defaults, and nothing is said or counted.  May be called again. */
int options_init(char *const *envp, const char *program, bool secure);
enum { OPTIONS_EXIT_STATUS = 78 }; /* EX_CONFIG of sysexits.h */

/* Value as text: as the user wrote it, but a NAME with everything expanded. */
const char *option_text(enum option_id id);
int64_t option_number(enum option_id id);
/* Value of BYTES or PORTION in bytes, a percentage taken of `whole`. */
int64_t option_bytes(enum option_id id, int64_t whole);

/* Has the user given a (good, not empty) value?  By which way? */
bool option_is_set(enum option_id id);
enum option_source option_source(enum option_id id);

/* Is `word` in the LIST? */
bool option_has_word(enum option_id id, const char *word);
/* Copies VALUE of the first `word:VALUE` in the LIST; false if there is none, or no room for it. */
bool option_word_value(enum option_id id, const char *word, char *value, size_t size);

/* Do HSHM_PROGRAMS and HSHM_EXCLUDE let this program (a path or a file name) take part? */
bool options_cover_program(const char *program);
