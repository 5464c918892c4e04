/* hshm version */
#include "tool/json.h"
#include "tool/tool.h"

#include <stdio.h>

int verb_version(int argc, char **argv)
{
    struct flags f;
    flags_read_arguments(argc, argv, &f, 0, 0);
    if (!flag(&f, 'j')) {
        printf("hshm %s, segment format %d\n", HSHM_VERSION, SEG_FORMAT);
        return EXIT_OK;
    }
    json_open(NULL, '{');
    json_text("version", HSHM_VERSION);
    json_number("format", SEG_FORMAT);
    json_close();
    return EXIT_OK;
}
