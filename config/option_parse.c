#include "config/option_parse.h"

#include "config/sys.h"

static const char is_bad[] = "bad value";
static const char is_too_large[] = "too large";
static const char is_too_long[] = "too long";

const char *const bool_words[BOOL_WORDS] = { "0", "1", "no", "yes", "off", "on", "false", "true" };

/* Takes the digits at the start of `*rest`. */
static const char *parse_digits(struct chars *rest, int base, int64_t *number)
{
    size_t count = 0;
    *number = 0;
    for (; count < rest->size; count++) {
        int digit = rest->at[count] - '0';
        if (digit < 0 || digit >= base)
            break;
        if (*number > (INT64_MAX - digit) / base)
            return is_too_large;
        *number = *number * base + digit;
    }
    *rest = chars_skip(*rest, count);
    return count > 0 ? NULL : is_bad;
}

/* Takes K, M, G or T and what may follow it, and returns how far it shifts a number. */
static unsigned take_unit(struct chars *rest)
{
    static const char units[] = { 'k', 'm', 'g', 't' };
    const char *unit =
        rest->size > 0 ? memchr(units, char_lower(rest->at[0]), sizeof(units)) : NULL;
    if (unit)
        *rest = chars_skip(*rest, 1);
    bool is_binary = unit && (chars_equals_nocase(*rest, "i") || chars_equals_nocase(*rest, "ib"));
    if (is_binary || chars_equals_nocase(*rest, "b"))
        *rest = chars_skip(*rest, rest->size);
    return unit ? 10 * (unsigned)(unit - units + 1) : 0;
}

static const char *parse_bytes(struct chars text, int64_t *number)
{
    const char *why = parse_digits(&text, 10, number);
    if (why)
        return why;
    unsigned shift = take_unit(&text);
    if (text.size > 0)
        return is_bad;
    if (*number > INT64_MAX >> shift)
        return is_too_large;
    *number <<= shift;
    return NULL;
}

static const char *parse_portion(struct chars text, struct option_value *value)
{
    value->is_percent = text.size > 0 && text.at[text.size - 1] == '%';
    if (!value->is_percent)
        return parse_bytes(text, &value->number);
    const char *why = parse_digits(&text, 10, &value->number);
    if (why || text.size != 1)
        return is_bad;
    return value->number > 100 ? is_too_large : NULL;
}

static const char *parse_milliseconds(struct chars text, int64_t *number)
{
    if (chars_equals(text, "-1")) {
        *number = -1;
        return NULL;
    }
    const char *why = parse_digits(&text, 10, number);
    if (why || text.size > 0)
        return why ? why : is_bad;
    return *number > INT32_MAX ? is_too_large : NULL;
}

/* Without 0600 its owner could not open the segment again; other bits mean nothing for it. */
static const char *parse_mode(struct chars text, int64_t *number)
{
    const char *why = parse_digits(&text, 8, number);
    bool is_good = !why && text.size == 0 && (*number & 0600) == 0600 && (*number & ~0666) == 0;
    return is_good ? NULL : is_bad;
}

static const char *parse_word(struct chars text, const char *const *words, unsigned count,
                              int64_t *number)
{
    for (unsigned i = 0; i < count; i++) {
        if (chars_equals_nocase(text, words[i])) {
            *number = i;
            return NULL;
        }
    }
    return is_bad;
}

static const char *parse_bool(struct chars text, int64_t *number)
{
    const char *why = parse_word(text, bool_words, BOOL_WORDS, number);
    *number &= 1;
    return why;
}

static bool path_is_absolute(struct chars path)
{
    return path.size >= 2 && path.at[0] == '/';
}

bool list_next(struct chars *list, struct chars *word)
{
    while (list->size > 0) {
        *word = chars_trim(chars_take(list, ','));
        if (word->size > 0)
            return true;
    }
    return false;
}

/* A choice is a word, "word:PATH", or "word:NAME" with any text behind the colon. */
static bool word_fits(struct chars word, const char *choice)
{
    const char *colon = strchr(choice, ':');
    if (!colon)
        return chars_equals(word, choice);
    size_t size = (size_t)(colon + 1 - choice);
    return word.size > size && memcmp(word.at, choice, size) == 0 &&
           (strcmp(colon, ":PATH") != 0 || path_is_absolute(chars_skip(word, size)));
}

static const char *parse_list(const struct option *option, struct chars text)
{
    struct chars word;
    while (option->choice_count > 0 && list_next(&text, &word)) {
        unsigned i = 0;
        while (i < option->choice_count && !word_fits(word, option->choices[i]))
            i++;
        if (i == option->choice_count)
            return is_bad;
    }
    return NULL;
}

static const char *environment_find(char *const *envp, struct chars name)
{
    for (; envp && *envp; envp++) {
        if (strncmp(*envp, name.at, name.size) == 0 && (*envp)[name.size] == '=')
            return *envp + name.size + 1;
    }
    return NULL;
}

/* An empty variable counts as unset: else all jobs without an id would share one segment. */
static const char *expand_variable(struct chars *rest, char *const *envp, struct buffer *out)
{
    if (!memchr(rest->at, '}', rest->size))
        return is_bad;
    struct chars name = chars_take(rest, '}');
    if (name.size == 0 || memchr(name.at, '=', name.size))
        return is_bad;
    const char *value = environment_find(envp, name);
    if (!value || !*value)
        return "a variable in it is not set";
    buffer_add_text(out, value);
    return NULL;
}

/* Expands what follows a %. */
static const char *expand_one(struct chars *rest, char *const *envp, struct buffer *out)
{
    char which = rest->size > 0 ? rest->at[0] : '\0';
    *rest = chars_skip(*rest, rest->size > 0);
    struct utsname host;
    switch (which) {
    case '{': return expand_variable(rest, envp, out);
    case '%': buffer_add_text(out, "%"); return NULL;
    case 'u': buffer_add_number(out, sys_geteuid()); return NULL;
    case 'h':
        if (sys_uname(&host) < 0)
            return "the host has no name";
        buffer_add_text(out, host.nodename);
        return NULL;
    default: return is_bad;
    }
}

static const char *name_expand(struct chars written, char *const *envp, struct buffer *out)
{
    while (written.size > 0) {
        if (written.at[0] != '%') {
            buffer_add(out, (struct chars){ written.at, 1 });
            written = chars_skip(written, 1);
            continue;
        }
        written = chars_skip(written, 1);
        const char *why = expand_one(&written, envp, out);
        if (why)
            return why;
    }
    return out->is_full ? is_too_long : NULL;
}

static bool char_is_of_name(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '.' ||
           c == '_' || c == '-';
}

/* The name becomes part of a file name: no slash, not hidden, room for a prefix in NAME_MAX. */
static const char *name_judge(struct chars name)
{
    enum { NAME_SIZE_MAX = 200 };
    if (chars_equals(name, "memfd:"))
        return NULL;
    if (chars_starts(name, "file:"))
        return path_is_absolute(chars_skip(name, strlen("file:"))) ? NULL : is_bad;
    if (name.size > NAME_SIZE_MAX)
        return is_too_long;
    for (size_t i = 0; i < name.size; i++) {
        if (!char_is_of_name(name.at[i]))
            return is_bad;
    }
    return name.size > 0 && name.at[0] != '.' ? NULL : is_bad;
}

static const char *parse_name(struct chars written, char *const *envp, struct option_value *value)
{
    struct buffer out = buffer_over(value->text, sizeof(value->text));
    const char *why = name_expand(written, envp, &out);
    return why ? why : name_judge((struct chars){ out.at, out.used });
}

const char *option_parse(const struct option *option, struct chars written, char *const *envp,
                         struct option_value *value)
{
    value->number = 0;
    value->is_percent = false;
    struct buffer out = buffer_over(value->text, sizeof(value->text));
    buffer_add(&out, written);
    if (out.is_full)
        return is_too_long;
    if (written.size == 0)
        return option->default_text[0] == '\0' ? NULL : is_bad;
    if (memchr(written.at, '\0', written.size))
        return is_bad;

    switch (option->type) {
    case OPTION_NAME: return parse_name(written, envp, value);
    case OPTION_PATH: return path_is_absolute(written) ? NULL : is_bad;
    case OPTION_BYTES: return parse_bytes(written, &value->number);
    case OPTION_PORTION: return parse_portion(written, value);
    case OPTION_MILLISECONDS: return parse_milliseconds(written, &value->number);
    case OPTION_MODE: return parse_mode(written, &value->number);
    case OPTION_BOOL: return parse_bool(written, &value->number);
    case OPTION_ENUM:
        return parse_word(written, option->choices, option->choice_count, &value->number);
    case OPTION_LIST: return parse_list(option, written);
    }
    return is_bad;
}
