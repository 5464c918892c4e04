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
    bool set[128];
    if (flags_read(argc, argv, "Mm", set) < argc)
        return fail(EXIT_USAGE, "options takes no arguments");
    options_init(environ, "hshm", false);
    options_print(flag(set, 'j')   ? OPTIONS_JSON
                  : flag(set, 'M') ? OPTIONS_MARKDOWN
                  : flag(set, 'm') ? OPTIONS_MAN
                                   : OPTIONS_TEXT,
                  write_text, stdout);
    return EXIT_OK;
}
