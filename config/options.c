#include "config/options.h"

#include <errno.h>

#include "config/log.h"
#include "config/option_hint.h"
#include "config/option_parse.h"
#include "config/sys.h"

#define CHOICE(constant, word) word,

#define OPTION(name_, type_, default_, scope_, help_, ...)                                         \
    [OPT_##name_] = { .name = #name_,                                                              \
                      .default_text = default_,                                                    \
                      .help = help_,                                                               \
                      .choices = (const char *const[]){ __VA_ARGS__ NULL },                        \
                      .choice_count = OPT_##name_##_CHOICES,                                       \
                      .type = OPTION_##type_,                                                      \
                      .scope = OPTION_##scope_ },
const struct option options[OPT_COUNT] = {
#include "config/options.def"
};
#undef OPTION
#undef CHOICE

static const char prefix[] = "HSHM_";

/* The values.  Texts are apart, so that only those given cost a page of memory. */
static struct {
    const char *text;
    int64_t number;
    bool is_percent;
    enum option_source source;
} values[OPT_COUNT];
static char texts[OPT_COUNT][OPTION_TEXT_SIZE] __attribute__((section(".bss.large")));
/* What HSHM_CONFIG names, while it is read.  One byte more than may be used. */
static char file_text[16 * 1024 + 1] __attribute__((section(".bss.large")));

/* The options are read twice if anything is wrong with them: once to set them, then to complain,
 * because what a line of the log looks like and where it goes is an option, too. */
struct reading {
    char *const *envp;
    bool is_secure;
    bool complains;
    int wrong;
    struct chars file;
    const char *file_error; /* why it cannot be used */
};

/* One assignment somewhere in what the user wrote. */
struct setting {
    struct chars name; /* without HSHM_ */
    struct chars text;
    enum option_source source;
    unsigned line;
};

/* A text cut to what a message has room for. */
struct excerpt {
    char text[64];
};

static struct excerpt excerpt_of(struct chars text)
{
    enum { EXCERPT_MAX = 60 };
    struct excerpt excerpt;
    struct buffer out = buffer_over(excerpt.text, sizeof(excerpt.text));
    bool is_cut = text.size > EXCERPT_MAX;
    buffer_add(&out, (struct chars){ text.at, is_cut ? EXCERPT_MAX : text.size });
    buffer_add_text(&out, is_cut ? "..." : "");
    return excerpt;
}

/* "/etc/hshm.conf:12: ", or nothing for the environment. */
static struct excerpt place_of(const struct setting *setting)
{
    struct excerpt place = { .text = "" };
    struct buffer out = buffer_over(place.text, sizeof(place.text));
    if (setting->source == SOURCE_FILE) {
        struct chars path = chars_of(option_text(OPT_CONFIG));
        enum { PATH_SHOWN = 40 };
        bool is_cut = path.size > PATH_SHOWN;
        buffer_add_text(&out, is_cut ? "..." : "");
        buffer_add(&out, chars_skip(path, is_cut ? path.size - PATH_SHOWN : 0));
        buffer_add_text(&out, ":");
        buffer_add_number(&out, setting->line);
        buffer_add_text(&out, ": ");
    }
    return place;
}

static void complain_unknown(const struct setting *setting)
{
    const char *near = option_nearest_name(setting->name);
    log_line("%sHSHM_%s=%s: unknown option%s%s%s; `hshm options` lists them",
             place_of(setting).text, excerpt_of(setting->name).text, excerpt_of(setting->text).text,
             near ? " (maybe: HSHM_" : "", near ? near : "", near ? "?)" : "");
}

static void complain_value(const struct setting *setting, enum option_id id, const char *why)
{
    char allowed[OPTION_DESCRIPTION_SIZE];
    struct buffer out = buffer_over(allowed, sizeof(allowed));
    option_describe(&options[id], &out);
    const char *near = option_nearest_choice(&options[id], setting->text);
    const char *used = option_text(id);
    log_line("%sHSHM_%s=%s: %s%s%s%s; allowed: %s; using %s", place_of(setting).text,
             options[id].name, excerpt_of(setting->text).text, why, near ? " (maybe: " : "",
             near ? near : "", near ? "?)" : "", allowed,
             excerpt_of(chars_of(*used ? used : "none")).text);
}

/* Counts something wrong when it is met first, and tells whether to complain about it now. */
static bool wrong_note(struct reading *reading)
{
    if (!reading->complains && !reading->is_secure)
        reading->wrong++;
    return reading->complains;
}

static void value_store(enum option_id id, const struct option_value *value, const char *text,
                        enum option_source source)
{
    values[id].text = text;
    values[id].number = value->number;
    values[id].is_percent = value->is_percent;
    values[id].source = source;
}

static void value_set(enum option_id id, const struct option_value *value,
                      enum option_source source)
{
    memcpy(texts[id], value->text, strlen(value->text) + 1);
    value_store(id, value, texts[id], source);
}

static void value_reset(enum option_id id, enum option_source source)
{
    struct option_value value;
    option_parse(&options[id], chars_of(options[id].default_text), NULL, &value);
    value_store(id, &value, options[id].default_text, source);
}

static enum option_id option_find(struct chars name)
{
    unsigned id = 0;
    while (id < OPT_COUNT && !chars_equals(name, options[id].name))
        id++;
    return (enum option_id)id;
}

static void setting_apply(struct reading *reading, const struct setting *setting)
{
    enum option_id id = option_find(setting->name);
    if (id == OPT_COUNT) {
        if (wrong_note(reading))
            complain_unknown(setting);
        return;
    }
    if (reading->is_secure && options[id].scope == OPTION_SECURE)
        return;

    struct option_value value;
    bool is_nested = id == OPT_CONFIG && setting->source == SOURCE_FILE;
    const char *why = is_nested ? "not in a file" : NULL;
    if (!why && setting->text.size > 0)
        why = option_parse(&options[id], setting->text, reading->envp, &value);
    if (why && wrong_note(reading))
        complain_value(setting, id, why);
    if (reading->complains || is_nested || setting->source < values[id].source)
        return;
    /* A bad value hides a good one in the file, as what was asked for is not that either: a job
     * whose segment name is wrong must not meet others in the segment of the file. */
    if (why || setting->text.size == 0)
        value_reset(id, setting->source);
    else
        value_set(id, &value, setting->source);
}

/* Backwards: of two variables with one name the first is the one that getenv() finds. */
static void environment_read(struct reading *reading)
{
    size_t count = 0;
    while (reading->envp && reading->envp[count])
        count++;
    while (count-- > 0) {
        const char *variable = reading->envp[count];
        if (strncmp(variable, prefix, strlen(prefix)) != 0 || !strchr(variable, '='))
            continue;
        struct setting setting = { .text = chars_of(variable + strlen(prefix)),
                                   .source = SOURCE_ENVIRONMENT };
        setting.name = chars_take(&setting.text, '=');
        setting_apply(reading, &setting);
    }
}

/* A # at the start of a line or after a blank begins a comment. */
static struct chars comment_cut(struct chars line)
{
    for (size_t i = 0; i < line.size; i++) {
        if (line.at[i] == '#' && (i == 0 || char_is_blank(line.at[i - 1])))
            line.size = i;
    }
    return chars_trim(line);
}

static void line_read(struct reading *reading, struct chars line, unsigned number)
{
    struct setting setting = { .source = SOURCE_FILE, .line = number };
    if (line.size == 0)
        return;
    if (!memchr(line.at, '=', line.size)) {
        if (wrong_note(reading))
            log_line("%s%s: not KEY=value; the line is ignored", place_of(&setting).text,
                     excerpt_of(line).text);
        return;
    }
    setting.name = chars_trim(chars_take(&line, '='));
    setting.text = chars_trim(line);
    if (chars_starts(setting.name, prefix))
        setting.name = chars_skip(setting.name, strlen(prefix));
    setting_apply(reading, &setting);
}

static void file_read(struct reading *reading)
{
    struct chars rest = reading->file;
    if (reading->file_error && wrong_note(reading))
        log_line("HSHM_CONFIG=%s: %s; allowed: a file of at most %zuB; it is ignored",
                 excerpt_of(chars_of(option_text(OPT_CONFIG))).text, reading->file_error,
                 sizeof(file_text) - 1);
    for (unsigned number = 1; rest.size > 0; number++)
        line_read(reading, comment_cut(chars_take(&rest, '\n')), number);
}

/* Returns NULL or why the file cannot be used.  It has to be a regular file: all processes of a tree
 * shall read the same, and reading must neither block nor change anything. */
static const char *file_load(const char *path, struct chars *text)
{
    struct stat st = { 0 };
    if (sys_stat(path, &st) == 0 && !S_ISREG(st.st_mode))
        return "not a regular file";
    int fd = sys_open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK, 0);
    if (fd < 0)
        return log_error_name(fd);
    size_t used = 0;
    long got;
    while ((got = sys_read(fd, file_text + used, sizeof(file_text) - used)) > 0 || got == -EINTR)
        used += got > 0 ? (size_t)got : 0;
    sys_close(fd);
    if (got < 0 || used == sizeof(file_text))
        return got < 0 ? log_error_name((int)got) : "too long";
    *text = (struct chars){ file_text, used };
    return NULL;
}

int options_init(char *const *envp, const char *program, bool secure)
{
    struct reading reading = { .envp = envp, .is_secure = secure };
    log_init(program);
    for (unsigned id = 0; id < OPT_COUNT; id++)
        value_reset((enum option_id)id, SOURCE_DEFAULT);
    environment_read(&reading);
    if (option_is_set(OPT_CONFIG))
        reading.file_error = file_load(option_text(OPT_CONFIG), &reading.file);
    file_read(&reading);
    if (reading.wrong > 0) {
        reading.complains = true;
        environment_read(&reading);
        file_read(&reading);
    }
    return reading.wrong;
}

const char *option_text(enum option_id id)
{
    return values[id].text ? values[id].text : options[id].default_text;
}

int64_t option_number(enum option_id id)
{
    return values[id].number;
}

/* In two parts, since whole * percent may overflow. */
int64_t option_bytes(enum option_id id, int64_t whole)
{
    int64_t number = values[id].number;
    return values[id].is_percent ? whole / 100 * number + whole % 100 * number / 100 : number;
}

bool option_is_set(enum option_id id)
{
    return values[id].text == texts[id];
}

enum option_source option_source(enum option_id id)
{
    return option_is_set(id) ? values[id].source : SOURCE_DEFAULT;
}

bool option_has_word(enum option_id id, const char *word)
{
    struct chars list = chars_of(option_text(id)), one;
    while (list_next(&list, &one)) {
        if (chars_equals(one, word))
            return true;
    }
    return false;
}

bool option_word_value(enum option_id id, const char *word, char *value, size_t size)
{
    struct chars list = chars_of(option_text(id)), one;
    while (list_next(&list, &one)) {
        struct chars name = chars_take(&one, ':');
        if (!chars_equals(name, word) || one.size == 0)
            continue;
        struct buffer out = buffer_over(value, size);
        buffer_add(&out, one);
        return !out.is_full;
    }
    return false;
}

bool options_cover_program(const char *program)
{
    const char *slash = strrchr(program, '/');
    const char *name = slash ? slash + 1 : program;
    bool is_named = !option_is_set(OPT_PROGRAMS) || option_has_word(OPT_PROGRAMS, name);
    return is_named && !option_has_word(OPT_EXCLUDE, name);
}
