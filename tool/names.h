/* names.h - the names of a segment, read from outside. */
#pragma once
#include "tool/tool.h"

struct name_seen {
    char name[NAME_BYTES]; /* printable, see text_plain() */
    char raw[NAME_BYTES];
    uint64_t block, bytes, type, made_ns, maker; /* block: its offset */
    uint64_t entry, state;                       /* word of the entry: another one, another name */
};

/* Calls back for each name; 'each' returns false to end. */
void names_look(const struct view *v, bool (*each)(const struct name_seen *n, void *context),
                void *context);
bool name_look(const struct view *v, const char *name, struct name_seen *found);
/* The name of the block that starts there. */
bool name_of_block(const struct view *v, uint64_t start, struct name_seen *found);
