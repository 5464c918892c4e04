/* The map as characters. */
#include "tool/map.h"

#include <langinfo.h>
#include <locale.h>
#include <stdio.h>
#include <string.h>

#define ADDRESS_COLUMNS 18

/* A page by its fill; the terminal may know no more than ASCII. */
static const char *cell_character(const struct cell *c, bool utf8)
{
    static const char *const shades[] = { "░", "▒", "▓", "█" };
    static const char digits[] = "0\0"
                                 "1\0"
                                 "2\0"
                                 "3\0"
                                 "4\0"
                                 "5\0"
                                 "6\0"
                                 "7\0"
                                 "8\0"
                                 "9";
    switch (c->kind) {
    case CELL_WARM: return ".";
    case CELL_RECORDS: return "r";
    case CELL_LARGE: return "L";
    case CELL_HUGE: return "H";
    case CELL_PAGE:
        return utf8 ? shades[c->fill > 99 ? 3 : c->fill / 25]
                    : &digits[(size_t)2 * (c->fill > 99 ? 9 : c->fill / 10)];
    default: return " ";
    }
}

static void colour_set(uint16_t owner)
{
    unsigned rgb[3];
    owner_colour(owner, 55, rgb);
    /* One of the 216 colours that nearly every terminal has. */
    printf("\033[38;5;%um",
           16 + 36 * ((rgb[0] + 25) / 51) + 6 * ((rgb[1] + 25) / 51) + (rgb[2] + 25) / 51);
}

static void row_print(const struct map *m, uint64_t first, unsigned n, bool utf8, bool colour)
{
    uint16_t owner = OWNER_NONE;
    uint64_t at = m->v->header.base + m->off + (first * m->per_cell << SLICE_SHIFT);
    printf("0x%012llx  |", (unsigned long long)at);
    for (unsigned i = 0; i < n; i++) {
        const struct cell *c = &m->cells[first + i];
        if (colour && c->owner != owner) {
            fputs("\033[0m", stdout);
            if (c->owner != OWNER_NONE)
                colour_set(c->owner);
        }
        owner = c->owner;
        fputs(cell_character(c, utf8), stdout);
    }
    puts(colour ? "\033[0m|" : "|");
}

static bool row_repeats(const struct map *m, uint64_t first, unsigned n)
{
    return first >= n && first + n < m->count &&
           memcmp(&m->cells[first], &m->cells[first - n], n * sizeof *m->cells) == 0;
}

static void legend(struct map *m, bool utf8, bool colour)
{
    printf("%s page, by fill   L large block   H huge block   . free with memory   r records\n",
           utf8 ? "░▒▓█" : "0..9");
    unsigned shown = 0;
    for (unsigned slot = 0; slot <= MEMBER_MAX && shown < 8; slot++) {
        uint16_t owner = slot == MEMBER_MAX ? OWNER_ORPHAN : (uint16_t)(slot + 1);
        uint64_t slices = *map_owner(m, owner);
        if (!slices)
            continue;
        if (colour)
            colour_set(owner);
        if (slot == MEMBER_MAX)
            printf("ended members");
        else
            printf("%lu %s", (unsigned long)get(m->v->members[slot].pid),
                   text_plain(m->v->members[slot].name, 32).at);
        printf("%s: %s of slices   ", colour ? "\033[0m" : "",
               text_bytes(slices << SLICE_SHIFT).at);
        shown++;
    }
    if (shown)
        putchar('\n');
}

void map_text(struct map *m, unsigned columns, bool colour)
{
    setlocale(LC_CTYPE, "");
    bool utf8 = strcmp(nl_langinfo(CODESET), "UTF-8") == 0, star = false;
    unsigned n = 8;
    while (n * 2 + ADDRESS_COLUMNS <= columns && n < 256)
        n *= 2;
    printf("each character is %s\n", text_bytes(m->per_cell << SLICE_SHIFT).at);
    for (uint64_t i = 0; i < m->count; i += n) {
        if (row_repeats(m, i, n)) {
            if (!star)
                puts("*");
            star = true;
            continue;
        }
        star = false;
        row_print(m, i, (unsigned)smaller(n, m->count - i), utf8, colour);
    }
    legend(m, utf8, colour);
}
