/* show.h - a segment that has been looked at, as `hshm show` and `hshm top` print it. */
#pragma once
#include "tool/tool.h"

struct shown {
    const char *name, *path;
    struct view v;
    struct stats s;
};

void show_json(const struct shown *x);
void show_text(const struct shown *x);
/* Nothing if no member has used a GPU. */
void show_gpus(const struct view *v, bool json);
/* Ends a table, with an empty line before it. */
void show_table(void);
/* The heaps of hshm.h; prints nothing if there is none. */
void heaps_json(const struct view *v);
void heaps_print(const struct view *v);
/* All segments of this user, as `hshm list -j`. */
void segments_json(void);
