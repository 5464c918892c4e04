/* hshm options: the option table, with the values that hold in this environment. */
#include "config/options.h"
#include "config/options_print.h"
#include "tool/tool.h"

#include <stdio.h>
#include <unistd.h>

static void write_text(const char *text, size_t size, void *context)
{
    fwrite(text, 1, size, context);
}

int verb_options(int argc, char **argv)
{
    struct flags f;
    flags_read_arguments(argc, argv, &f, 0, 0);
    options_init(environ, "hshm", false);
    options_print(flag(&f, 'j')   ? OPTIONS_JSON
                  : flag(&f, 'M') ? OPTIONS_MARKDOWN
                  : flag(&f, 'm') ? OPTIONS_MAN
                                  : OPTIONS_TEXT,
                  write_text, stdout);
    return EXIT_OK;
}
