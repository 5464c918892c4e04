/* top.h - what `hshm top` shows: a heading and a sorted table, looked at anew each time. */
#pragma once
#include "tool/tool.h"

enum top_page { TOP_SEGMENTS, TOP_MEMBERS, TOP_CLASSES, TOP_PAGES };

#define TOP_COLUMNS 11
#define TOP_HEADING 5

struct top_column {
    const char *title;
    int width; /* to the left if negative; 0 ends the list; the last takes what is left */
};
extern const struct top_column top_columns[TOP_PAGES][TOP_COLUMNS + 1];

struct top_row {
    char id[256]; /* what Enter opens, and what stays chosen */
    struct text cells[TOP_COLUMNS];
    double keys[TOP_COLUMNS]; /* what numbers are sorted by */
};

struct top {
    enum top_page page;
    char segment[256]; /* on all pages but the first */
    int sort[TOP_PAGES];
    bool turned[TOP_PAGES];
    char heading[TOP_HEADING][1024];
    struct top_row *rows;
    size_t count, room;
    const char *gone; /* the segment cannot be looked at, and why */
};

/* Looks, and sorts what it sees. */
void top_look(struct top *t);
void top_sort(struct top *t);
/* Index of the column whose title begins with 'name', in any case; -1. */
int top_column_find(enum top_page page, const char *name);
/* Fills the screen until the user quits or 'count' looks are done (0: no limit). */
int top_screen(struct top *t, double delay, long count);
