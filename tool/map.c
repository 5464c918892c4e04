/* hshm map: where in a segment what lies. */
#include "tool/map.h"
#include "tool/json.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#define SVG_CELLS (UINT64_C(1) << 15)

const char *cell_kind_name(enum cell_kind kind)
{
    static const char *const names[] = { "empty", "free", "records", "page", "large", "huge" };
    return names[kind];
}

/* Neighbouring members get colours far apart: each is a golden angle further round the circle. */
void owner_colour(uint16_t owner, unsigned light, unsigned rgb[3])
{
    double hue = owner == OWNER_ORPHAN ? 0 : (double)(owner % 4096) * 0.61803398875 * 6 + 3.2;
    double saturation = owner == OWNER_ORPHAN ? 0 : 0.65, l = light / 100.0;
    double c = (1 - (2 * l - 1 < 0 ? 1 - 2 * l : 2 * l - 1)) * saturation;
    hue -= 6 * (double)(int)(hue / 6);
    double within = hue - 2 * (double)(int)(hue / 2) - 1;
    double x = c * (1 - (within < 0 ? -within : within)), m = l - c / 2;
    double part[6][3] = { { c, x, 0 }, { x, c, 0 }, { 0, c, x },
                          { 0, x, c }, { x, 0, c }, { c, 0, x } };
    for (unsigned i = 0; i < 3; i++)
        rgb[i] = (unsigned)((part[(unsigned)hue % 6][i] + m) * 255 + 0.5);
}

/* ---- looking ------------------------------------------------------------------------------ */

static uint16_t owner_of(const struct view *v, uint64_t id)
{
    return view_id_is_current(v, id) ? (uint16_t)(member_slot(id) + 1) : OWNER_ORPHAN;
}

static struct cell look_at_page(struct view *v, uint64_t slice, const struct slice *d)
{
    struct page_look look;
    struct cell cell = { .kind = CELL_PAGE, .cls = get(d->cls) };
    if (view_page(v, slice, d, &look))
        cell.fill = (uint8_t)(look.allocated * 100 / (look.reserved ? look.reserved : 1));
    return cell;
}

/* The slices of an owned chunk or orphan. */
static void look_at_slices(struct view *v, uint64_t c, uint16_t owner, struct cell *cells)
{
    struct slice d[CHUNK_SLICES];
    view_slices(v, c, d);
    for (uint32_t i = 0; i < CHUNK_SLICES;) {
        uint32_t kind = get(d[i].kind), span = get(d[i].span);
        struct cell cell = { .kind = get(d[i].committed) ? CELL_WARM : CELL_EMPTY };
        if (kind == SLICE_PAGE)
            cell = look_at_page(v, c * CHUNK_SLICES + i, &d[i]);
        else if (kind == SLICE_LARGE)
            cell = (struct cell){ .kind = CELL_LARGE, .fill = 100 };
        else if (kind == SLICE_RECORDS)
            cell = (struct cell){ .kind = CELL_RECORDS, .fill = 100 };
        bool many = (kind == SLICE_PAGE || kind == SLICE_LARGE) && span && span <= CHUNK_SLICES - i;
        cell.owner = kind == SLICE_FREE ? OWNER_NONE : owner;
        for (uint32_t n = many ? span : 1; n; n--)
            cells[i++] = cell;
    }
}

static void look_at_chunk(struct view *v, uint64_t c, struct cell *cells)
{
    uint64_t word = get(v->chunks[c].word);
    enum chunk_state state = word_state(word);
    uint16_t owner = owner_of(v, word_member(word));
    struct cell cell = { .kind = CELL_EMPTY };
    if (state == CHUNK_OWNED || state == CHUNK_ORPHAN) {
        look_at_slices(v, c, owner, cells);
        return;
    }
    uint64_t filled = CHUNK_SLICES;
    if (state == CHUNK_HUGE || state == CHUNK_PART)
        cell = (struct cell){ .kind = CELL_HUGE, .owner = owner, .fill = 100 };
    else if (get(v->chunks[c].charged)) {
        cell.kind = CELL_WARM;
        filled = smaller(CHUNK_SLICES, (get(v->chunks[c].charged) + 15) / 16);
    }
    for (uint32_t i = 0; i < CHUNK_SLICES; i++)
        cells[i] = i < filled ? cell : (struct cell){ .kind = CELL_EMPTY };
}

/* Of several slices the cell shows what most of them are, and the mean of the fill. */
static struct cell merge(const struct cell *cells, uint64_t n)
{
    uint64_t best = 0, fill = 0, used = 0;
    struct cell most = cells[0];
    for (uint64_t i = 0; i < n; i++) {
        uint64_t same = 0;
        for (uint64_t j = i; j < n; j++)
            same += cells[j].owner == cells[i].owner && cells[j].kind == cells[i].kind;
        same = cells[i].owner ? same + n : same; /* what is somebody's is shown before nothing */
        if (same > best) {
            best = same;
            most = cells[i];
        }
        used += cells[i].owner != OWNER_NONE;
        fill += cells[i].owner != OWNER_NONE ? cells[i].fill : 0;
    }
    most.fill = (uint8_t)(used ? fill / n : 0);
    return most;
}

bool map_make(struct map *m, struct view *v, uint64_t most)
{
    uint64_t chunks =
                 v->chunk_high > v->header.first_chunk ? v->chunk_high - v->header.first_chunk : 0,
             slices = chunks * CHUNK_SLICES;
    struct cell one[CHUNK_SLICES];
    memset(m, 0, sizeof *m);
    m->v = v;
    m->off = v->header.first_chunk << CHUNK_SHIFT;
    m->per_cell = 1;
    while (most && slices / m->per_cell > most && m->per_cell < CHUNK_SLICES)
        m->per_cell *= 2;
    m->cells = calloc(slices / m->per_cell + 1, sizeof *m->cells);
    if (!m->cells)
        return false;
    for (uint64_t c = v->header.first_chunk; c < v->chunk_high; c++) {
        look_at_chunk(v, c, one);
        for (unsigned i = 0; i < CHUNK_SLICES; i++)
            ++*map_owner(m, one[i].owner);
        for (unsigned i = 0; i < CHUNK_SLICES; i += (unsigned)m->per_cell)
            m->cells[m->count++] = merge(one + i, m->per_cell);
    }
    return true;
}

void map_free(struct map *m)
{
    free(m->cells);
}

/* ---- the command ----------------------------------------------------------------------------- */

/* Runs of equal cells. */
static void map_json(struct map *m, const char *name)
{
    json_open(NULL, '{');
    json_text("name", name);
    json_hex("address", m->v->header.base + m->off);
    json_number("cell_bytes", m->per_cell << SLICE_SHIFT);
    json_number("cells", m->count);
    json_open("runs", '[');
    for (uint64_t i = 0, end; i < m->count; i = end) {
        const struct cell *c = &m->cells[i];
        for (end = i + 1; end < m->count && memcmp(c, &m->cells[end], sizeof *c) == 0; end++)
            ;
        json_open(NULL, '{');
        json_number("first", i);
        json_number("count", end - i);
        json_text("kind", cell_kind_name(c->kind));
        if (c->owner == OWNER_ORPHAN)
            json_text("owner", "ended");
        else if (c->owner != OWNER_NONE)
            json_number("slot", c->owner - 1U);
        if (c->kind == CELL_PAGE)
            json_number("block_bytes", class_bytes(c->cls));
        json_number("fill", c->fill);
        json_close();
    }
    json_close();
    json_close();
}

static void screen_size(const struct flags *f, unsigned *columns, uint64_t *rows)
{
    struct winsize w = { 0 };
    bool terminal = isatty(STDOUT_FILENO) && ioctl(STDOUT_FILENO, TIOCGWINSZ, &w) == 0;
    *columns = terminal && w.ws_col ? w.ws_col : 84;
    *rows = terminal && w.ws_row > 12 ? w.ws_row - 9U : 200;
    if (flag(f, 'w'))
        *columns = (unsigned)strtoul(flag_value(f, 'w'), NULL, 10);
}

int verb_map(int argc, char **argv)
{
    struct view v;
    struct map m;
    char path[512];
    struct flags f;
    unsigned columns;
    uint64_t rows;
    flags_read_arguments(argc, argv, &f, 1, 1);
    const char *name = f.arguments[0];
    if (!segment_look(name, &v, path, sizeof path, true))
        return EXIT_NO;
    screen_size(&f, &columns, &rows);
    bool picture = flag(&f, 'o');
    uint64_t most = flag(&f, 'a') || flag(&f, 'j') ? 0 : picture ? SVG_CELLS : rows * CHUNK_SLICES;
    int status = EXIT_OK;
    if (!map_make(&m, &v, most))
        status = fail(EXIT_NO, "no memory for the map");
    else if (flag(&f, 'j'))
        map_json(&m, name);
    else if (!picture)
        map_text(&m, columns, flag(&f, 'c') || isatty(STDOUT_FILENO));
    else if (!map_svg(&m, name, flag_value(&f, 'o')))
        status = fail(EXIT_NO, "%s: %s", flag_value(&f, 'o'), strerror(errno));
    map_free(&m);
    view_close(&v);
    return status;
}
