/* hshm version */
#include "tool/json.h"
#include "tool/tool.h"

#include <stdio.h>

int verb_version(int argc, char **argv)
{
    bool set[128];
    if (flags_read(argc, argv, "", set) < argc)
        return fail(EXIT_USAGE, "version takes no arguments");
    if (!flag(set, 'j')) {
        printf("hshm %s, segment format %d\n", HSHM_VERSION, SEG_FORMAT);
        return EXIT_OK;
    }
    json_open(NULL, '{');
    json_text("version", HSHM_VERSION);
    json_number("format", SEG_FORMAT);
    json_close();
    return EXIT_OK;
}
