#include "config/options.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "config/option_hint.h"
#include "config/option_parse.h"
#include "config/options_print.h"
#include "tests/unit/capture.h"

/* Reads these variables as the environment of /usr/bin/prog. */
#define INIT(...) options_init((char *[]){ __VA_ARGS__, NULL }, "/usr/bin/prog", false)

static char line[4096];

/* What the log has to have said: one line with this text. */
static const char *complaint(const char *text)
{
    snprintf(line, sizeof(line), "hshm[%d prog]: %s\n", getpid(), text);
    return line;
}

/* "HSHM_CONFIG=PATH" of a new file with this text. */
static char *config_of(const char *text)
{
    static char variable[64] = "HSHM_CONFIG=/tmp/test_options_XXXXXX";
    int fd = mkstemp(strchr(variable, '/'));
    cr_assert_geq(fd, 0);
    cr_assert_eq(write(fd, text, strlen(text)), (ssize_t)strlen(text));
    close(fd);
    return variable;
}

static void config_remove(const char *variable)
{
    unlink(strchr(variable, '/'));
}

static const char *why_bad(enum option_id id, const char *text, struct option_value *value)
{
    static char *const no_variables[] = { NULL };
    return option_parse(&options[id], chars_of(text), no_variables, value);
}

static bool is_good(enum option_id id, const char *text)
{
    struct option_value value;
    return why_bad(id, text, &value) == NULL;
}

TestSuite(options, .init = capture_start);

/* ---- the table ---- */

Test(options, every_default_is_a_good_value)
{
    for (unsigned id = 0; id < OPT_COUNT; id++)
        cr_assert(is_good(id, options[id].default_text), "%s", options[id].name);
}

Test(options, every_option_has_one_line_of_help_and_says_what_it_takes)
{
    for (unsigned id = 0; id < OPT_COUNT; id++) {
        char text[OPTION_DESCRIPTION_SIZE];
        struct buffer out = buffer_over(text, sizeof(text));
        option_describe(&options[id], &out);
        cr_assert(out.used > 0 && !out.is_full, "%s", options[id].name);
        cr_assert(options[id].help[0] && !strchr(options[id].help, '\n'), "%s", options[id].name);
    }
}

Test(options, choices_have_constants_in_their_order)
{
    static const struct {
        enum option_id id;
        int constant;
        const char *word;
    } choices[] = {
        { OPT_ALLOCATOR, ALLOCATOR_THREAD, "thread" },
        { OPT_ALLOCATOR, ALLOCATOR_PAGE, "page" },
        { OPT_ALLOCATOR, ALLOCATOR_STACK, "stack" },
        { OPT_ALLOCATOR, ALLOCATOR_MALLOC, "malloc" },
        { OPT_COMMIT, COMMIT_TOUCH, "touch" },
        { OPT_COMMIT, COMMIT_RESERVE, "reserve" },
        { OPT_FORK, FORK_SNAPSHOT, "snapshot" },
        { OPT_FORK, FORK_SHARE, "share" },
        { OPT_FORK, FORK_VIEW, "view" },
        { OPT_FORK_RAW, FORK_RAW_SHARE, "share" },
        { OPT_FORK_RAW, FORK_RAW_FAULT, "fault" },
        { OPT_EXIT, EXIT_KEEP, "keep" },
        { OPT_EXIT, EXIT_RECLAIM, "reclaim" },
        { OPT_FULL, FULL_FAIL, "fail" },
        { OPT_FULL, FULL_PRIVATE, "private" },
        { OPT_FULL, FULL_ABORT, "abort" },
        { OPT_CHECK, CHECK_FAST, "fast" },
        { OPT_CHECK, CHECK_FULL, "full" },
        { OPT_VERBOSE, VERBOSE_SILENT, "0" },
        { OPT_VERBOSE, VERBOSE_ALL, "2" },
    };
    for (size_t i = 0; i < sizeof(choices) / sizeof(choices[0]); i++) {
        struct option_value value;
        cr_assert_null(why_bad(choices[i].id, choices[i].word, &value));
        cr_assert_eq(value.number, choices[i].constant, "%s", choices[i].word);
    }
}

/* ---- values ---- */

Test(options, sizes_take_units_of_1024_in_any_usual_spelling)
{
    static const struct {
        const char *text;
        int64_t bytes;
    } sizes[] = {
        { "0", 0 },
        { "4096", 4096 },
        { "512B", 512 },
        { "64K", 65536 },
        { "64k", 65536 },
        { "64KB", 65536 },
        { "64KiB", 65536 },
        { "64kib", 65536 },
        { "64Ki", 65536 },
        { "3M", INT64_C(3) << 20 },
        { "2G", INT64_C(2) << 30 },
        { "1TiB", INT64_C(1) << 40 },
        { "8388607T", INT64_C(8388607) << 40 },
        { "9223372036854775807", INT64_MAX },
    };
    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        struct option_value value;
        cr_assert_null(why_bad(OPT_MAX_BLOCK, sizes[i].text, &value), "%s", sizes[i].text);
        cr_assert_eq(value.number, sizes[i].bytes, "%s", sizes[i].text);
    }
}

Test(options, what_is_not_a_size_is_refused)
{
    static const char *const bad[] = { "K",   "-1",   "+1", "1.5G", "1KK", "1iB", "1Kb ", " 1",
                                       "1 K", "0x10", "1P", "1%",   "%",   "1Kx", "1KiBB" };
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        cr_assert_not(is_good(OPT_MAX_BLOCK, bad[i]), "%s", bad[i]);
}

Test(options, sizes_above_63_bits_are_too_large)
{
    static const char *const large[] = { "9223372036854775808", "8388608T",
                                         "99999999999999999999999", "9007199254740992K" };
    for (size_t i = 0; i < sizeof(large) / sizeof(large[0]); i++) {
        struct option_value value;
        cr_assert_str_eq(why_bad(OPT_MAX_BLOCK, large[i], &value), "too large", "%s", large[i]);
    }
}

Test(options, percentage_is_taken_of_the_whole_without_overflow)
{
    cr_assert_eq(INIT("HSHM_SIZE=12%", "HSHM_WARM=100%", "HSHM_FORK_MAX=0%"), 0);
    cr_assert_eq(option_bytes(OPT_SIZE, 1000), 120);
    cr_assert_eq(option_bytes(OPT_SIZE, 99), 11);
    cr_assert_eq(option_bytes(OPT_WARM, INT64_MAX), INT64_MAX);
    cr_assert_eq(option_bytes(OPT_FORK_MAX, INT64_MAX), 0);
}

Test(options, size_in_bytes_does_not_depend_on_the_whole)
{
    cr_assert_eq(INIT("HSHM_SIZE=3G"), 0);
    cr_assert_eq(option_bytes(OPT_SIZE, 1), INT64_C(3) << 30);
}

Test(options, percentages_end_at_100_and_have_no_fraction)
{
    cr_assert(is_good(OPT_SIZE, "100%"));
    cr_assert_not(is_good(OPT_SIZE, "101%"));
    cr_assert_not(is_good(OPT_SIZE, "1.5%"));
    cr_assert_not(is_good(OPT_SIZE, "5%%"));
    cr_assert_not(is_good(OPT_SIZE, "-5%"));
    cr_assert_not(is_good(OPT_SIZE, "%"));
}

Test(options, mode_is_octal_and_lets_the_owner_read_and_write)
{
    cr_assert_eq(INIT("HSHM_MODE=0660"), 0);
    cr_assert_eq(option_number(OPT_MODE), 0660);
    cr_assert_eq(INIT("HSHM_MODE=640"), 0);
    cr_assert_eq(option_number(OPT_MODE), 0640);
    static const char *const bad[] = { "0400", "0060", "0700", "01600", "0680", "rw", "0x180" };
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        cr_assert_not(is_good(OPT_MODE, bad[i]), "%s", bad[i]);
}

Test(options, milliseconds_may_be_minus_one_but_no_other_negative)
{
    cr_assert_eq(INIT("HSHM_PURGE_DELAY=-1"), 0);
    cr_assert_eq(option_number(OPT_PURGE_DELAY), -1);
    cr_assert(is_good(OPT_PURGE_DELAY, "2147483647"));
    cr_assert_not(is_good(OPT_PURGE_DELAY, "2147483648"));
    cr_assert_not(is_good(OPT_PURGE_DELAY, "-2"));
    cr_assert_not(is_good(OPT_PURGE_DELAY, "10ms"));
}

Test(options, bool_takes_the_usual_words_in_any_case)
{
    static const char *const words[] = { "0", "1", "no", "Yes", "OFF", "on", "False", "TRUE" };
    for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++) {
        struct option_value value;
        cr_assert_null(why_bad(OPT_ZERO, words[i], &value));
        cr_assert_eq(value.number, i % 2, "%s", words[i]);
    }
    cr_assert_not(is_good(OPT_ZERO, "2"));
    cr_assert_not(is_good(OPT_ZERO, "y"));
}

Test(options, choice_is_taken_in_any_case_but_only_whole)
{
    cr_assert(is_good(OPT_FORK, "Snapshot"));
    cr_assert_not(is_good(OPT_FORK, "snap"));
    cr_assert_not(is_good(OPT_FORK, "snapshots"));
}

Test(options, paths_are_absolute)
{
    cr_assert(is_good(OPT_LOG, "/tmp/log"));
    cr_assert_not(is_good(OPT_LOG, "log"));
    cr_assert_not(is_good(OPT_LOG, "/"));
}

Test(options, value_of_1024_bytes_is_too_long)
{
    char path[1025] = "/";
    memset(path + 1, 'a', 1023);
    struct option_value value;
    cr_assert_str_eq(why_bad(OPT_LOG, path, &value), "too long");
    path[1023] = '\0';
    cr_assert_null(why_bad(OPT_LOG, path, &value));
    cr_assert_str_eq(value.text, path);
}

/* ---- names of segments ---- */

Test(options, name_expands_user_host_variables_and_percent_signs)
{
    struct utsname host;
    char expected[512];
    cr_assert_eq(uname(&host), 0);
    cr_assert_eq(INIT("JOB_ID=18", "HSHM_SEGMENT=job-%{JOB}-%u-%h", "JOB=17", "JOB=19"), 0);
    snprintf(expected, sizeof(expected), "job-17-%u-%s", geteuid(), host.nodename);
    cr_assert_str_eq(option_text(OPT_SEGMENT), expected);
    cr_assert_eq(INIT("HSHM_SEGMENT=file:/mnt/100%%/x"), 0);
    cr_assert_str_eq(option_text(OPT_SEGMENT), "file:/mnt/100%/x");
}

Test(options, name_with_a_variable_that_is_unset_or_empty_is_refused)
{
    cr_assert_eq(INIT("HSHM_SEGMENT=job-%{JOB}", "JOBS=1"), 1);
    cr_assert_not(option_is_set(OPT_SEGMENT));
    cr_assert_eq(INIT("HSHM_SEGMENT=job-%{JOB}", "JOB="), 1);
    cr_assert_not(option_is_set(OPT_SEGMENT));
    cr_assert(strstr(captured(), "HSHM_SEGMENT=job-%{JOB}: a variable in it is not set; "));
}

Test(options, name_that_a_variable_makes_dangerous_is_refused)
{
    cr_assert_eq(INIT("HSHM_SEGMENT=a%{X}", "X=/../../etc/passwd"), 1);
    cr_assert_not(option_is_set(OPT_SEGMENT));
}

Test(options, name_is_one_visible_file_name_of_at_most_200_letters)
{
    char name[202];
    memset(name, 'n', 201);
    name[201] = '\0';
    cr_assert_not(is_good(OPT_SEGMENT, name));
    name[200] = '\0';
    cr_assert(is_good(OPT_SEGMENT, name));
    cr_assert(is_good(OPT_SEGMENT, "a.B_9-"));
    static const char *const bad[] = { ".hidden", "..", "a/b", "/a",  "a b", "a\n", "\xc3", "%",
                                       "%x",      "%{", "%{}", "a:b", "%{A", "~",   "%{A=}" };
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        cr_assert_not(is_good(OPT_SEGMENT, bad[i]), "%s", bad[i]);
}

Test(options, segment_may_be_an_absolute_file_or_nameless)
{
    cr_assert(is_good(OPT_SEGMENT, "memfd:"));
    cr_assert(is_good(OPT_SEGMENT, "file:/mnt/huge/a b"));
    cr_assert_not(is_good(OPT_SEGMENT, "memfd:x"));
    cr_assert_not(is_good(OPT_SEGMENT, "file:"));
    cr_assert_not(is_good(OPT_SEGMENT, "file:/"));
    cr_assert_not(is_good(OPT_SEGMENT, "file:relative"));
}

/* ---- lists ---- */

Test(options, list_is_asked_for_whole_words)
{
    cr_assert_eq(INIT("HSHM_PROGRAMS=python3, redis-server,,sh"), 0);
    cr_assert(option_has_word(OPT_PROGRAMS, "python3"));
    cr_assert(option_has_word(OPT_PROGRAMS, "redis-server"));
    cr_assert(option_has_word(OPT_PROGRAMS, "sh"));
    cr_assert_not(option_has_word(OPT_PROGRAMS, "python"));
    cr_assert_not(option_has_word(OPT_PROGRAMS, "s"));
    cr_assert_not(option_has_word(OPT_PROGRAMS, ""));
    cr_assert_not(option_has_word(OPT_EXCLUDE, "sh"));
}

Test(options, list_of_choices_takes_only_these)
{
    cr_assert(is_good(OPT_STATS, "exit"));
    cr_assert(is_good(OPT_STATS, "calls,file:/tmp/stats,exit"));
    cr_assert_not(is_good(OPT_STATS, "exit,all"));
    cr_assert_not(is_good(OPT_STATS, "file"));
    cr_assert_not(is_good(OPT_STATS, "file:stats"));
}

Test(options, word_has_a_value_behind_its_colon)
{
    char path[16];
    cr_assert_eq(INIT("HSHM_STATS=exit,file:/tmp/a:b,calls"), 0);
    cr_assert(option_word_value(OPT_STATS, "file", path, sizeof(path)));
    cr_assert_str_eq(path, "/tmp/a:b");
    cr_assert_not(option_word_value(OPT_STATS, "fil", path, sizeof(path)));
    cr_assert_not(option_word_value(OPT_STATS, "exit", path, sizeof(path)));
    cr_assert_not(option_word_value(OPT_STATS, "file", path, strlen("/tmp/a:b")));
}

Test(options, programs_take_part_if_named_and_not_excluded)
{
    cr_assert_eq(INIT("PATH=/"), 0);
    cr_assert(options_cover_program("/usr/bin/ls"));
    cr_assert_eq(INIT("HSHM_EXCLUDE=ls"), 0);
    cr_assert_not(options_cover_program("/usr/bin/ls"));
    cr_assert(options_cover_program("cat"));
    cr_assert_eq(INIT("HSHM_PROGRAMS=ls,cat", "HSHM_EXCLUDE=cat"), 0);
    cr_assert(options_cover_program("ls"));
    cr_assert_not(options_cover_program("cat"));
    cr_assert_not(options_cover_program("sh"));
}

/* ---- where values come from ---- */

Test(options, environment_wins_over_file_and_file_over_default)
{
    char *config = config_of("SIZE=1G\nHSHM_EXIT=reclaim\n");
    cr_assert_eq(INIT("HSHM_SIZE=2G", config), 0);
    config_remove(config);
    cr_assert_eq(option_bytes(OPT_SIZE, 0), INT64_C(2) << 30);
    cr_assert_eq(option_source(OPT_SIZE), SOURCE_ENVIRONMENT);
    cr_assert_eq(option_number(OPT_EXIT), EXIT_RECLAIM);
    cr_assert_eq(option_source(OPT_EXIT), SOURCE_FILE);
    cr_assert_eq(option_number(OPT_FULL), FULL_FAIL);
    cr_assert_eq(option_source(OPT_FULL), SOURCE_DEFAULT);
    cr_assert(option_is_set(OPT_EXIT) && !option_is_set(OPT_FULL));
}

Test(options, empty_variable_is_the_default_whatever_the_file_says)
{
    char *config = config_of("SEGMENT=shared\nSIZE=1G\n");
    cr_assert_eq(INIT("HSHM_SEGMENT=", "HSHM_SIZE=", config), 0);
    config_remove(config);
    cr_assert_str_eq(option_text(OPT_SEGMENT), "");
    cr_assert_not(option_is_set(OPT_SEGMENT));
    cr_assert_eq(option_bytes(OPT_SIZE, 1000), 500);
}

Test(options, bad_variable_is_the_default_whatever_the_file_says)
{
    char *config = config_of("SEGMENT=shared\n");
    cr_assert_eq(INIT("HSHM_SEGMENT=job-%{JOB}", config), 1);
    config_remove(config);
    cr_assert_str_eq(option_text(OPT_SEGMENT), "");
}

Test(options, first_of_two_variables_counts_as_for_getenv)
{
    cr_assert_eq(INIT("HSHM_EXIT=reclaim", "HSHM_EXIT=keep"), 0);
    cr_assert_eq(option_number(OPT_EXIT), EXIT_RECLAIM);
}

Test(options, file_may_have_comments_blanks_and_foreign_line_ends)
{
    char *config =
        config_of("# comment\n\n  SIZE = 1G \t# a word\r\n\t#x\nLOG=/a#b\r\nEXIT=reclaim");
    cr_assert_eq(INIT(config), 0);
    config_remove(config);
    cr_assert_eq(option_bytes(OPT_SIZE, 0), INT64_C(1) << 30);
    cr_assert_str_eq(option_text(OPT_LOG), "/a#b");
    cr_assert_eq(option_number(OPT_EXIT), EXIT_RECLAIM);
}

Test(options, complaint_about_a_file_names_its_line)
{
    char *config = config_of("\nSIZE=1G\nEXIT=kepp\nnonsense\nCONFIG=/x\n");
    char expected[1024];
    int size = 0;
    cr_assert_eq(INIT(config), 3);
    config_remove(config);
    const char *path = strchr(config, '/');
    size += snprintf(expected + size, sizeof(expected) - (size_t)size,
                     "hshm[%d prog]: %s:3: HSHM_EXIT=kepp: bad value (maybe: keep?); "
                     "allowed: keep|reclaim; using keep\n",
                     getpid(), path);
    size += snprintf(expected + size, sizeof(expected) - (size_t)size,
                     "hshm[%d prog]: %s:4: nonsense: not KEY=value; the line is ignored\n",
                     getpid(), path);
    snprintf(expected + size, sizeof(expected) - (size_t)size,
             "hshm[%d prog]: %s:5: HSHM_CONFIG=/x: not in a file; allowed: an absolute path; "
             "using %s\n",
             getpid(), path, path);
    cr_assert_str_eq(captured(), expected);
}

Test(options, complaint_about_a_file_with_a_long_path_shows_its_end_and_the_line)
{
    char path[128], variable[160];
    snprintf(path, sizeof(path), "/tmp/%070d-%d.conf", 0, getpid());
    snprintf(variable, sizeof(variable), "HSHM_CONFIG=%s", path);
    int fd = open(path, O_CREAT | O_EXCL | O_WRONLY, 0600);
    cr_assert_eq(write(fd, "\nEXIT=x", 7), 7);
    close(fd);
    cr_assert_eq(INIT(variable), 1);
    unlink(path);
    snprintf(variable, sizeof(variable), "]: ...%s:2: HSHM_EXIT=x: ", path + strlen(path) - 40);
    cr_assert(strstr(captured(), variable));
}

Test(options, file_that_is_missing_is_one_line)
{
    cr_assert_eq(INIT("HSHM_CONFIG=/nowhere/hshm.conf", "HSHM_EXIT=reclaim"), 1);
    cr_assert_eq(option_number(OPT_EXIT), EXIT_RECLAIM);
    cr_assert_str_eq(captured(), complaint("HSHM_CONFIG=/nowhere/hshm.conf: ENOENT; allowed: "
                                           "a file of at most 16 KiB; it is ignored"));
}

Test(options, file_that_is_not_regular_is_refused_without_waiting, .timeout = 10)
{
    char path[] = "/tmp/test_options_XXXXXX", variable[64];
    cr_assert_not_null(mkdtemp(path));
    snprintf(variable, sizeof(variable), "HSHM_CONFIG=%s/fifo", path);
    cr_assert_eq(mkfifo(strchr(variable, '/'), 0600), 0);
    cr_assert_eq(INIT(variable), 1);
    unlink(strchr(variable, '/'));
    rmdir(path);
    cr_assert(strstr(captured(), ": not a regular file; "));
}

Test(options, file_longer_than_16_kib_is_ignored_as_a_whole)
{
    static char text[16385];
    memset(text, '\n', sizeof(text) - 1);
    for (size_t i = 0; i < strlen("EXIT=reclaim"); i++)
        text[i] = "EXIT=reclaim"[i];
    char *config = config_of(text);
    cr_assert_eq(INIT(config), 0);
    cr_assert_eq(option_number(OPT_EXIT), EXIT_RECLAIM);
    int fd = open(strchr(config, '/'), O_WRONLY | O_APPEND);
    cr_assert_eq(write(fd, "\n", 1), 1);
    close(fd);
    cr_assert_eq(INIT(config), 1);
    config_remove(config);
    cr_assert_eq(option_number(OPT_EXIT), EXIT_KEEP);
    cr_assert(strstr(captured(), ": too long; "));
}

Test(options, values_outlive_the_environment)
{
    char variable[] = "HSHM_LOG=/tmp/log", name[] = "HSHM_SEGMENT=abc";
    cr_assert_eq(INIT(variable, name), 0);
    memset(variable, 'x', sizeof(variable));
    memset(name, 'x', sizeof(name));
    cr_assert_str_eq(option_text(OPT_LOG), "/tmp/log");
    cr_assert_str_eq(option_text(OPT_SEGMENT), "abc");
}

Test(options, second_reading_forgets_the_first)
{
    cr_assert_eq(INIT("HSHM_EXIT=reclaim", "HSHM_SIZE=1G"), 0);
    cr_assert_eq(INIT("HSHM_EXIT=keep"), 0);
    cr_assert_eq(option_number(OPT_EXIT), EXIT_KEEP);
    cr_assert_not(option_is_set(OPT_SIZE));
    cr_assert_eq(option_bytes(OPT_SIZE, 1000), 500);
}

Test(options, no_environment_at_all_gives_the_defaults)
{
    cr_assert_eq(options_init(NULL, NULL, false), 0);
    cr_assert_eq(option_number(OPT_VERBOSE), VERBOSE_WRONG);
    cr_assert_eq(option_number(OPT_MODE), 0600);
    cr_assert_eq(option_number(OPT_NO_DEEPBIND), 1);
    cr_assert_eq(option_number(OPT_PURGE_DELAY), 100);
}

Test(options, reading_keeps_errno)
{
    errno = EXDEV;
    INIT("HSHM_CONFIG=/nowhere", "HSHM_X=1", "HSHM_SIZE=x", "HSHM_LOG=/nowhere/log");
    cr_assert_eq(errno, EXDEV);
}

/* ---- complaints ---- */

Test(options, unknown_name_is_one_line_with_the_likely_meaning)
{
    cr_assert_eq(INIT("HSHM_SZIE=4G"), 1);
    cr_assert_str_eq(captured(), complaint("HSHM_SZIE=4G: unknown option (maybe: HSHM_SIZE?); "
                                           "`hshm options` lists them"));
}

Test(options, likely_meaning_is_at_most_two_edits_away_and_not_made_up)
{
    cr_assert_str_eq(option_nearest_name(chars_of("size")), "SIZE");
    cr_assert_str_eq(option_nearest_name(chars_of("FORKRAW")), "FORK_RAW");
    cr_assert_str_eq(option_nearest_name(chars_of("ALOCATORS")), "ALLOCATOR");
    cr_assert_null(option_nearest_name(chars_of("ALOCATERS")));
    cr_assert_null(option_nearest_name(chars_of("TELEMETRY")));
    cr_assert_null(option_nearest_name(chars_of("A_NAME_LONGER_THAN_ANY_OF_OURS")));
    cr_assert_null(option_nearest_choice(&options[OPT_ZERO], chars_of("5")));
}

Test(options, unknown_name_like_no_other_is_one_line_without_a_guess)
{
    cr_assert_eq(INIT("HSHM_TELEMETRY=on"), 1);
    cr_assert_str_eq(captured(),
                     complaint("HSHM_TELEMETRY=on: unknown option; `hshm options` lists them"));
}

Test(options, bad_value_is_one_line_that_says_what_is_allowed_and_what_is_used)
{
    cr_assert_eq(INIT("HSHM_SIZE=12X"), 1);
    cr_assert_str_eq(captured(), complaint("HSHM_SIZE=12X: bad value; allowed: bytes, as 64M, 2G, "
                                           "1T, or a percentage up to 100%; using 50%"));
}

Test(options, bad_word_is_one_line_with_the_likely_word)
{
    cr_assert_eq(INIT("HSHM_FORK=snapshto"), 1);
    cr_assert_str_eq(captured(), complaint("HSHM_FORK=snapshto: bad value (maybe: snapshot?); "
                                           "allowed: snapshot|share|view; using snapshot"));
}

Test(options, long_and_unprintable_values_are_cut_and_masked)
{
    char variable[] = "HSHM_EXIT=a\n\x1b[31m\xff"
                      "0123456789012345678901234567890123456789"
                      "0123456789012345678901234567890123456789";
    cr_assert_eq(INIT(variable), 1);
    cr_assert_str_eq(captured(),
                     complaint("HSHM_EXIT=a??[31m?0123456789012345678901234567890123456789"
                               "012345678901...: bad value; allowed: keep|reclaim; using keep"));
}

Test(options, every_complaint_fits_its_line)
{
    char path[200] = "HSHM_CONFIG=/", text[400];
    memset(text, 'x', sizeof(text) - 1);
    text[sizeof(text) - 1] = '\0';
    for (unsigned id = 0; id < OPT_COUNT; id++) {
        char variable[512];
        snprintf(variable, sizeof(variable), "HSHM_%s=,%s", options[id].name, text);
        INIT(variable);
    }
    memset(path + strlen(path), 'y', sizeof(path) - 1 - strlen(path));
    INIT(path);
    snprintf(text, sizeof(text), "HSHM_%0300d=1", 0);
    INIT(text);
    cr_assert_geq(captured_lines(), OPT_COUNT - 2); /* all words are good programs */
    cr_assert_null(strstr(captured(), "...\n"));
}

Test(options, silenced_complaints_still_count)
{
    cr_assert_eq(INIT("HSHM_X=1", "HSHM_SIZE=x", "HSHM_VERBOSE=0"), 2);
    cr_assert_str_eq(captured(), "");
}

Test(options, complaints_go_to_the_log_file_wherever_it_is_named)
{
    char path[] = "/tmp/test_options_XXXXXX", variable[64], text[256] = "";
    int fd = mkstemp(path);
    snprintf(variable, sizeof(variable), "HSHM_LOG=%s", path);
    cr_assert_eq(INIT(variable, "HSHM_TELEMETRY=on"), 1);
    cr_assert_gt(read(fd, text, sizeof(text) - 1), 0);
    unlink(path);
    cr_assert_str_eq(text,
                     complaint("HSHM_TELEMETRY=on: unknown option; `hshm options` lists them"));
    cr_assert_str_eq(captured(), "");
}

Test(options, other_variables_are_nobodys_business)
{
    cr_assert_eq(INIT("HSHM=1", "HSHMX=1", "XHSHM_SIZE=1", "HSHM_NOT_AN_ASSIGNMENT", ""), 0);
    cr_assert_str_eq(captured(), "");
}

Test(options, program_with_more_rights_than_its_user_ignores_what_could_harm_it)
{
    char *environment[] = { "HSHM_SEGMENT=evil",
                            "HSHM_LOG=/etc/shadow",
                            "HSHM_CHECK=full",
                            "HSHM_X=1",
                            "HSHM_CHECK=x",
                            "HSHM_SIZE=x",
                            NULL };
    cr_assert_eq(options_init(environment, "su", true), 0);
    cr_assert_not(option_is_set(OPT_SEGMENT));
    cr_assert_not(option_is_set(OPT_LOG));
    cr_assert_eq(option_number(OPT_CHECK), CHECK_FULL);
    cr_assert_str_eq(captured(), "");
}

Test(options, everything_that_names_a_file_or_shares_memory_is_secure)
{
    for (unsigned id = 0; id < OPT_COUNT; id++) {
        bool names_a_file = options[id].type == OPTION_NAME || options[id].type == OPTION_PATH ||
                            options[id].type == OPTION_LIST || options[id].type == OPTION_MODE;
        cr_assert(!names_a_file || options[id].scope == OPTION_SECURE, "%s", options[id].name);
    }
}

/* ---- the printed table ---- */

static char printed[65536];

static void print_here(const char *text, size_t size, void *context)
{
    size_t *used = context;
    cr_assert_lt(*used + size, sizeof(printed));
    memcpy(printed + *used, text, size);
    *used += size;
    printed[*used] = '\0';
}

static const char *print(enum options_format format)
{
    size_t used = 0;
    options_print(format, print_here, &used);
    return printed;
}

static unsigned count(const char *text, const char *part)
{
    unsigned found = 0;
    for (; (text = strstr(text, part)); text += strlen(part))
        found++;
    return found;
}

Test(options, every_format_has_every_option_once)
{
    INIT(NULL);
    cr_assert_eq(count(print(OPTIONS_TEXT), "HSHM_SEGMENT="), 1);
    cr_assert_eq(count(print(OPTIONS_TEXT), "\nHSHM_"), OPT_COUNT - 1);
    cr_assert_eq(count(print(OPTIONS_JSON), "{\"name\": \"HSHM_"), OPT_COUNT);
    cr_assert_eq(count(print(OPTIONS_JSON), "},\n"), OPT_COUNT - 1);
    cr_assert_eq(count(print(OPTIONS_MARKDOWN), "\n| `HSHM_"), OPT_COUNT);
    cr_assert_eq(count(print(OPTIONS_MAN), ".TP\n.B HSHM_"), OPT_COUNT);
}

Test(options, text_tells_the_value_and_where_it_is_from)
{
    INIT("HSHM_SIZE=3G");
    cr_assert(strstr(print(OPTIONS_TEXT), "HSHM_SIZE=3G  (environment)\n"));
    cr_assert(strstr(printed, "HSHM_EXIT=keep  (default)\n"));
}

Test(options, json_escapes_what_json_must)
{
    INIT("HSHM_EXCLUDE=a\"\\\n");
    cr_assert(strstr(print(OPTIONS_JSON), "\"value\": \"a\\\"\\\\\\u000a\", "));
}

Test(options, markdown_cells_hold_no_bare_bar)
{
    INIT(NULL);
    cr_assert(strstr(print(OPTIONS_MARKDOWN), "| `HSHM_EXIT` | `keep` | keep\\|reclaim | "));
}
