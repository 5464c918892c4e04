/* From the text of one value to what it means. */
#pragma once

#include "config/options.h"
#include "config/text.h"

struct option_value {
    int64_t number;  /* see enum option_type; percent if is_percent */
    bool is_percent; /* of a PORTION */
    char text[OPTION_TEXT_SIZE];
};

/* Fills `*value` and returns NULL, or returns in a few words why the text is bad.  `envp` is where
 * the variables in a NAME are looked up. */
const char *option_parse(const struct option *option, struct chars written, char *const *envp,
                         struct option_value *value);

/* Cuts the next word from a LIST; false when there is none. */
bool list_next(struct chars *list, struct chars *word);

/* no yes off on ...: every second one is true. */
enum { BOOL_WORDS = 8 };
extern const char *const bool_words[BOOL_WORDS];
