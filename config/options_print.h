/* The option table for people and programs: `hshm options`, the manual, the README.  Only the tool
 * has this, so that a program under the preload does not carry it. */
#pragma once

#include <stddef.h>

enum options_format {
    OPTIONS_TEXT,     /* with the values that hold now, after options_init() */
    OPTIONS_JSON,     /* an array of objects; likewise */
    OPTIONS_MARKDOWN, /* a table, for the README */
    OPTIONS_MAN,      /* .TP paragraphs, for man pages */
};

/* Gets the output in pieces, in order. */
typedef void options_write_fn(const char *text, size_t size, void *context);

void options_print(enum options_format format, options_write_fn *write, void *context);
