/* map.h - a segment as a grid of cells, one for each slice or for some of them. */
#pragma once
#include "tool/tool.h"

enum cell_kind {
    CELL_EMPTY,   /* no memory */
    CELL_WARM,    /* free, and has memory */
    CELL_RECORDS, /* the allocator's records of threads */
    CELL_PAGE,    /* blocks of one size class, 'fill' says how full */
    CELL_LARGE,
    CELL_HUGE,
};

#define OWNER_NONE   0
#define OWNER_ORPHAN UINT16_MAX /* of members that have ended; else slot + 1 */

struct cell {
    uint16_t owner;
    uint8_t kind; /* enum cell_kind */
    uint8_t fill; /* 0..100 percent */
    uint8_t cls;  /* of a page */
    uint8_t none; /* 0: cells are compared as bytes */
};

struct map {
    struct view *v;
    struct cell *cells;
    uint64_t count;                    /* cells */
    uint64_t per_cell;                 /* slices in a cell, a power of two */
    uint64_t off;                      /* of the first cell */
    uint64_t by_owner[MEMBER_MAX + 2]; /* slices; [MEMBER_MAX + 1]: orphans */
};

/* False: no memory.  'most' cells at most, 0: as many as there are slices. */
bool map_make(struct map *m, struct view *v, uint64_t most);
void map_free(struct map *m);

const char *cell_kind_name(enum cell_kind kind);
static inline uint64_t *map_owner(struct map *m, uint16_t owner)
{
    return &m->by_owner[owner == OWNER_ORPHAN ? MEMBER_MAX + 1 : owner];
}

bool map_svg(struct map *m, const char *name, const char *file);
void map_text(struct map *m, unsigned columns, bool colour);
/* A colour for each owner, as different from its neighbours' as may be: red, green, blue in
 * 0..255.  'light' 0 (dark) to 100. */
void owner_colour(uint16_t owner, unsigned light, unsigned rgb[3]);
