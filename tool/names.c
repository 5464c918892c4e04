/* hshm names and get: blocks that have names, read from outside. */
#include "tool/names.h"
#include "allocators/name_entries.h"
#include "tool/json.h"
#include "tool/progress.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define READ_ENTRIES 64
#define COPY_BYTES   (UINT64_C(1) << 20)

/* ---- looking ------------------------------------------------------------------------------ */

static void name_fill(const struct name_entry *e, uint64_t entry, struct name_seen *n)
{
    memcpy(n->raw, e->name, NAME_BYTES);
    n->raw[NAME_BYTES - 1] = '\0';
    for (size_t i = 0; i < NAME_BYTES; i++)
        n->name[i] = (n->raw[i] > ' ' && n->raw[i] < 0x7f) || !n->raw[i] ? n->raw[i] : '?';
    n->block = get(e->block);
    n->bytes = get(e->bytes);
    n->type = get(e->type);
    n->made_ns = get(e->made_ns);
    n->maker = get(e->maker);
    n->entry = entry;
    n->state = get(e->state);
}

void names_look(const struct view *v, bool (*each)(const struct name_seen *n, void *context),
                void *context)
{
    struct seg_names names;
    struct name_entry entries[READ_ENTRIES];
    view_read(v, SEG_NAMES_OFF, &names, sizeof names);
    uint64_t high = smaller(get(names.high), name_count(v->header.window));
    for (uint64_t i = 1; i < high; i++) {
        if (i == 1 || i % READ_ENTRIES == 0)
            view_read(v, SEG_ENTRIES_OFF + i / READ_ENTRIES * sizeof entries, entries,
                      sizeof entries);
        const struct name_entry *e = &entries[i % READ_ENTRIES];
        struct name_seen n;
        if (entry_what(get(e->state)) != NAME_LIVE)
            continue;
        name_fill(e, i, &n);
        if (!each(&n, context))
            return;
    }
}

struct search {
    const char *name; /* or NULL: by block */
    uint64_t start;
    struct name_seen *found;
    bool any;
};

static bool matches(const struct name_seen *n, void *context)
{
    struct search *s = context;
    if (s->name ? strcmp(n->raw, s->name) != 0 : n->block != s->start)
        return true;
    *s->found = *n;
    s->any = true;
    return false;
}

bool name_look(const struct view *v, const char *name, struct name_seen *found)
{
    struct search s = { .name = name, .found = found };
    names_look(v, matches, &s);
    return s.any;
}

bool name_of_block(const struct view *v, uint64_t start, struct name_seen *found)
{
    struct search s = { .start = start, .found = found };
    names_look(v, matches, &s);
    return s.any;
}

/* ---- hshm names ------------------------------------------------------------------------------- */

struct listing {
    const struct view *v;
    uint32_t *references; /* by entry */
    bool json;
};

static void references_count(const struct view *v, uint32_t *references)
{
    static uint64_t words[UINT64_C(1) << WORD_BITS];
    view_read(v, SEG_REFS_OFF, words, sizeof words);
    for (uint64_t i = 0; i < sizeof words / sizeof *words; i++)
        if (words[i] && ref_entry(words[i]) < NAME_MAX_COUNT)
            references[ref_entry(words[i])] += (uint32_t)words[i];
}

static bool list_one(const struct name_seen *n, void *context)
{
    const struct listing *l = context;
    const struct view *v = l->v;
    uint32_t slot = member_slot(n->maker);
    bool maker = view_id_is_current(v, n->maker) && view_member_alive(v, slot);
    if (l->json) {
        json_open(NULL, '{');
        json_text("name", n->raw);
        json_number("bytes", n->bytes);
        json_hex("address", v->header.base + n->block);
        json_number("type", n->type);
        json_number("made_ns", n->made_ns);
        json_number("maker", maker ? get(v->members[slot].pid) : 0);
        json_number("references", l->references[n->entry]);
        json_close();
        return true;
    }
    char pid[32] = "ended";
    if (maker)
        snprintf(pid, sizeof pid, "%lu", (unsigned long)get(v->members[slot].pid));
    table_cell(n->name);
    table_cell(text_bytes(n->bytes).at);
    table_cell(text_hex(v->header.base + n->block).at);
    table_cell(text_hex(n->type).at);
    table_cell(text_age(n->made_ns).at);
    table_cell(pid);
    table_cell(text_count(l->references[n->entry]).at);
    return true;
}

int verb_names(int argc, char **argv)
{
    static const struct column columns[] = {
        { "NAME", false }, { "SIZE", true },  { "ADDRESS", true },    { "TYPE", true },
        { "AGE", true },   { "MAKER", true }, { "REFERENCES", true },
    };
    static uint32_t references[NAME_MAX_COUNT];
    struct view v;
    char path[512];
    struct flags f;
    flags_read_arguments(argc, argv, &f, 1, 1);
    if (!segment_look(f.arguments[0], &v, path, sizeof path, true))
        return EXIT_NO;
    struct listing l = { &v, references, flag(&f, 'j') };
    references_count(&v, references);
    if (l.json)
        json_open(NULL, '[');
    else
        table_start(columns, sizeof columns / sizeof *columns);
    names_look(&v, list_one, &l);
    if (l.json)
        json_close();
    else
        table_end();
    view_close(&v);
    return EXIT_OK;
}

/* ---- hshm get ---------------------------------------------------------------------------------- */

static bool write_block(const struct view *v, const struct name_seen *n)
{
    static char data[COPY_BYTES];
    struct progress p = progress_start(n->bytes);
    for (uint64_t at = 0; at < n->bytes; at += COPY_BYTES) {
        uint64_t size = smaller(COPY_BYTES, n->bytes - at);
        view_read(v, n->block + at, data, size);
        if (fwrite(data, 1, size, stdout) != size)
            return false;
        progress_tell(&p, at + size);
    }
    progress_end(&p);
    return true;
}

int verb_get(int argc, char **argv)
{
    struct view v;
    struct name_seen n, after;
    char path[512];
    struct flags f;
    flags_read_arguments(argc, argv, &f, 2, 2);
    const char *segment = f.arguments[0], *name = f.arguments[1];
    if (!segment_look(segment, &v, path, sizeof path, true))
        return EXIT_NO;
    int status = EXIT_OK;
    if (!name_look(&v, name, &n))
        status = fail(EXIT_NO, "segment %s: nothing is called %s", segment, name);
    else if (n.block >= v.header.window || n.bytes > v.header.window - n.block)
        status = fail(EXIT_NO, "segment %s: the entry of %s is damaged", segment, name);
    else if (!write_block(&v, &n) || fflush(stdout) != 0)
        status = fail(EXIT_NO, "cannot write");
    else if (!name_look(&v, name, &after) || after.entry != n.entry || after.state != n.state)
        status = fail(EXIT_NO, "segment %s: %s was removed while it was read", segment, name);
    view_close(&v);
    return status;
}
