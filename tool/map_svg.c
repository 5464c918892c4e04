/* The map as a picture. */
#include "tool/map.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum { CELL = 9, ROW = 64, LEFT = 116, TOP = 56, LEGEND = 230 };

static void cell_colour(const struct cell *c, char *to, size_t size)
{
    unsigned rgb[3] = { 0xf4, 0xf4, 0xf2 };
    if (c->kind == CELL_WARM)
        rgb[0] = 0xd8, rgb[1] = 0xd8, rgb[2] = 0xd4;
    else if (c->owner != OWNER_NONE)
        owner_colour(c->owner, 88 - c->fill * 43 / 100, rgb);
    snprintf(to, size, "#%02x%02x%02x", rgb[0] & 255, rgb[1] & 255, rgb[2] & 255);
}

static void put_escaped(const char *text, FILE *to)
{
    for (; *text; text++)
        if (*text == '<' || *text == '&' || *text == '>')
            fprintf(to, "&#%d;", *text);
        else
            fputc(*text, to);
}

static void owner_name(const struct map *m, uint16_t owner, FILE *to)
{
    if (owner == OWNER_ORPHAN) {
        fputs("ended members", to);
        return;
    }
    const struct seg_member *member = &m->v->members[owner - 1];
    fprintf(to, "%lu ", (unsigned long)get(member->pid));
    put_escaped(text_plain(member->name, sizeof member->name).at, to);
}

/* 'n' equal cells of one row. */
static void put_run(const struct map *m, uint64_t first, uint64_t n, FILE *to)
{
    const struct cell *c = &m->cells[first];
    char colour[16];
    cell_colour(c, colour, sizeof colour);
    fprintf(to,
            "<rect x='%llu' y='%llu' width='%llu' height='%d' fill='%s'%s>"
            "<title>0x%llx, %s: %s",
            (unsigned long long)(LEFT + first % ROW * CELL),
            (unsigned long long)(TOP + first / ROW * CELL), (unsigned long long)(n * CELL - 1),
            CELL - 1, colour,
            c->kind == CELL_LARGE || c->kind == CELL_HUGE ? " stroke='#222' stroke-width='0.7'"
                                                          : "",
            (unsigned long long)(m->v->header.base + m->off + (first * m->per_cell << SLICE_SHIFT)),
            text_bytes(n * m->per_cell << SLICE_SHIFT).at, cell_kind_name(c->kind));
    if (c->kind == CELL_PAGE)
        fprintf(to, " of %u bytes, %u %% full", class_bytes(c->cls), c->fill);
    if (c->owner != OWNER_NONE) {
        fputs(", ", to);
        owner_name(m, c->owner, to);
    }
    fputs("</title></rect>\n", to);
}

static void put_cells(const struct map *m, FILE *to)
{
    for (uint64_t i = 0, end; i < m->count; i = end) {
        if (i % ROW == 0)
            fprintf(to, "<text x='8' y='%llu'>0x%llx</text>\n",
                    (unsigned long long)(TOP + i / ROW * CELL + CELL - 2),
                    (unsigned long long)(m->v->header.base + m->off +
                                         (i * m->per_cell << SLICE_SHIFT)));
        for (end = i + 1; end < m->count && end % ROW &&
                          memcmp(&m->cells[i], &m->cells[end], sizeof *m->cells) == 0;
             end++)
            ;
        put_run(m, i, end - i, to);
    }
}

static void put_legend(struct map *m, FILE *to)
{
    unsigned y = TOP + 8;
    for (unsigned slot = 0; slot <= MEMBER_MAX && y < TOP + 24 * 18; slot++) {
        uint16_t owner = slot == MEMBER_MAX ? OWNER_ORPHAN : (uint16_t)(slot + 1);
        uint64_t slices = *map_owner(m, owner);
        struct cell sample = { .owner = owner, .kind = CELL_PAGE, .fill = 100 };
        char colour[16];
        if (!slices)
            continue;
        cell_colour(&sample, colour, sizeof colour);
        fprintf(to, "<rect x='%d' y='%u' width='10' height='10' fill='%s'/><text x='%d' y='%u'>",
                LEFT + ROW * CELL + 16, y - 9, colour, LEFT + ROW * CELL + 32, y);
        owner_name(m, owner, to);
        fprintf(to, ": %s of slices</text>\n", text_bytes(slices << SLICE_SHIFT).at);
        y += 18;
    }
}

bool map_svg(struct map *m, const char *name, const char *file)
{
    uint64_t rows = (m->count + ROW - 1) / ROW;
    FILE *to = fopen(file, "we");
    if (!to)
        return false;
    unsigned width = LEFT + ROW * CELL + LEGEND;
    uint64_t height = TOP + (rows < 24 ? 24 : rows) * CELL + 16;
    fprintf(to,
            "<svg xmlns='http://www.w3.org/2000/svg' width='%u' height='%llu' viewBox='0 0 %u "
            "%llu' font-family='sans-serif' font-size='11'>\n<rect width='100%%' height='100%%' "
            "fill='#fff'/>\n<text x='8' y='22' font-size='16'>segment ",
            width, (unsigned long long)height, width, (unsigned long long)height);
    put_escaped(name, to);
    fprintf(to,
            "</text>\n<text x='8' y='42'>each cell is %s; colour: owner, depth: how full, framed: "
            "large and huge blocks, grey: free with memory</text>\n<g font-size='7'>\n",
            text_bytes(m->per_cell << SLICE_SHIFT).at);
    put_cells(m, to);
    fputs("</g>\n", to);
    put_legend(m, to);
    fputs("</svg>\n", to);
    bool written = !ferror(to);
    return fclose(to) == 0 && written;
}
