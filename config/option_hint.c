#include "config/option_hint.h"

#include "config/option_parse.h"

static void describe_choices(const struct option *option, struct buffer *out)
{
    for (unsigned i = 0; i < option->choice_count; i++) {
        buffer_add_text(out, i > 0 ? "|" : "");
        buffer_add_text(out, option->choices[i]);
    }
}

void option_describe(const struct option *option, struct buffer *out)
{
    static const char *const by_type[] = {
        [OPTION_NAME] = "a name of letters, digits, . _ - and %u %h %{VAR}, file:/PATH, or memfd:",
        [OPTION_PATH] = "an absolute path",
        [OPTION_BYTES] = "bytes, as 4096, 64K, 1M, 2G",
        [OPTION_PORTION] = "bytes, as 64M, 2G, 1T, or a percentage up to 100%",
        [OPTION_MILLISECONDS] = "milliseconds, or -1",
        [OPTION_MODE] = "octal permissions from 0600 to 0666",
        [OPTION_BOOL] = "0|1, no|yes, off|on, false|true",
        [OPTION_ENUM] = "",
        [OPTION_LIST] = "words with commas between",
    };
    buffer_add_text(out, by_type[option->type]);
    if (option->choice_count > 0)
        buffer_add_text(out, option->type == OPTION_LIST ? ": " : "");
    describe_choices(option, out);
}

enum { WORD_SIZE_MAX = 24, FAR = 3 };

static unsigned min3(unsigned a, unsigned b, unsigned c)
{
    unsigned least = a < b ? a : b;
    return least < c ? least : c;
}

/* Levenshtein's distance, row by row, without regard to case. */
static unsigned word_distance(struct chars a, struct chars b)
{
    unsigned row[WORD_SIZE_MAX + 1];
    if (a.size > WORD_SIZE_MAX || b.size > WORD_SIZE_MAX)
        return FAR;
    for (unsigned j = 0; j <= b.size; j++)
        row[j] = j;
    for (unsigned i = 1; i <= a.size; i++) {
        unsigned diagonal = row[0];
        row[0] = i;
        for (unsigned j = 1; j <= b.size; j++) {
            unsigned replaced = diagonal + (char_lower(a.at[i - 1]) != char_lower(b.at[j - 1]));
            diagonal = row[j];
            row[j] = min3(replaced, row[j] + 1, row[j - 1] + 1);
        }
    }
    return row[b.size];
}

struct nearest {
    struct chars given;
    const char *word;
    unsigned distance;
};

/* At most two edits, and less than the word is long: any two letters are near "no". */
static void nearest_try(struct nearest *nearest, const char *word)
{
    unsigned distance = word_distance(nearest->given, chars_of(word));
    if (distance < nearest->distance && distance < strlen(word)) {
        nearest->word = word;
        nearest->distance = distance;
    }
}

const char *nearest_word(struct chars given, const char *(*word)(unsigned i))
{
    struct nearest nearest = { .given = given, .distance = FAR };
    for (unsigned i = 0; word(i); i++)
        nearest_try(&nearest, word(i));
    return nearest.word;
}

static const char *option_name(unsigned i)
{
    return i < OPT_COUNT ? options[i].name : NULL;
}

const char *option_nearest_name(struct chars name)
{
    return nearest_word(name, option_name);
}

const char *option_nearest_choice(const struct option *option, struct chars word)
{
    struct nearest nearest = { .given = word, .distance = FAR };
    for (unsigned i = 0; i < option->choice_count; i++)
        nearest_try(&nearest, option->choices[i]);
    for (unsigned i = 0; option->type == OPTION_BOOL && i < BOOL_WORDS; i++)
        nearest_try(&nearest, bool_words[i]);
    return nearest.word;
}
