/* What to tell the user about an option: what it takes, and what a mistyped word may mean. */
#pragma once

#include "config/options.h"
#include "config/text.h"

/* Appends, for example, "fail|private|abort".  OPTION_DESCRIPTION_SIZE is room for any option's. */
enum { OPTION_DESCRIPTION_SIZE = 160 };
void option_describe(const struct option *option, struct buffer *out);

/* The closest of word(0), word(1) ... up to NULL, within two edits; NULL if none is near. */
const char *nearest_word(struct chars given, const char *(*word)(unsigned i));
/* The closest of the names, or of the option's choices, within two edits; NULL if none is near. */
const char *option_nearest_name(struct chars name);
const char *option_nearest_choice(const struct option *option, struct chars word);
