/* hshm pointers: the words of a block that lead out of the segment, and where to. */
#include "tool/block.h"
#include "tool/json.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define READ_BYTES (UINT64_C(64) << 10)

/* ---- a process's memory map --------------------------------------------------------------- */

struct range {
    uint64_t from, to, file_off;
    char name[200];
};

struct maps {
    struct range *ranges;
    size_t count;
};

static bool maps_add(struct maps *maps, const char *line)
{
    struct range r = { 0 };
    unsigned long from, to, off;
    int at = 0;
    if (sscanf(line, "%lx-%lx %*s %lx %*s %*s %n", &from, &to, &off, &at) < 3)
        return true;
    r.from = from, r.to = to, r.file_off = off;
    if (at)
        snprintf(r.name, sizeof r.name, "%.*s", (int)strcspn(line + at, "\n"), line + at);
    struct range *more = realloc(maps->ranges, (maps->count + 1) * sizeof r);
    if (!more)
        return false;
    maps->ranges = more;
    maps->ranges[maps->count++] = r;
    return true;
}

static bool maps_read(struct maps *maps, long pid)
{
    char path[64], line[800];
    snprintf(path, sizeof path, "/proc/%ld/maps", pid);
    FILE *file = fopen(path, "re");
    if (!file)
        return false;
    while (fgets(line, sizeof line, file) && maps_add(maps, line))
        ;
    fclose(file);
    return maps->count != 0;
}

static const struct range *maps_find(const struct maps *maps, uint64_t address)
{
    for (size_t i = 0; i < maps->count; i++)
        if (address >= maps->ranges[i].from && address < maps->ranges[i].to)
            return &maps->ranges[i];
    return NULL;
}

/* ---- words ------------------------------------------------------------------------------------ */

struct pointers {
    struct view *v;
    struct maps maps;
    bool json, all, any_map;
    uint64_t out, in;
};

static bool in_segment(const struct view *v, uint64_t word)
{
    return word >= v->header.base && word - v->header.base < v->header.window;
}

/* Without a map: what addresses of programs, libraries and stacks look like on this machine. */
static bool looks_like_address(uint64_t word)
{
    return word >> 40 == 0x55 || word >> 40 == 0x56 || word >> 40 == 0x7f || word >> 40 == 0x7e;
}

static void word_tell(struct pointers *p, uint64_t at, uint64_t word, const char *kind,
                      const char *where, uint64_t plus)
{
    if (p->json) {
        json_open(NULL, '{');
        json_number("at", at);
        json_hex("value", word);
        json_text("kind", kind);
        json_text("where", where);
        json_number("plus", plus);
        json_close();
    } else {
        printf("+%-8llu 0x%-14llx  %s", (unsigned long long)at, (unsigned long long)word, where);
        if (plus)
            printf(" + 0x%llx", (unsigned long long)plus);
        putchar('\n');
    }
}

static void word_look(struct pointers *p, uint64_t at, uint64_t word)
{
    struct block b;
    if (in_segment(p->v, word)) {
        p->in++;
        if (!p->all)
            return;
        block_find(p->v, word - p->v->header.base, &b);
        word_tell(p, at, word, "segment", b.state ? b.state : b.what, b.size ? b.off - b.start : 0);
        return;
    }
    const struct range *r = maps_find(&p->maps, word);
    if (!r && (p->any_map || !looks_like_address(word)))
        return;
    p->out++;
    if (!r)
        word_tell(p, at, word, "unknown", "looks like an address; no map tells of what", 0);
    else if (r->name[0] == '/')
        word_tell(p, at, word, "file", r->name, word - r->from + r->file_off);
    else
        word_tell(p, at, word, r->name[0] ? "special" : "anonymous",
                  r->name[0] ? r->name : "private memory", word - r->from);
}

static void words_look(struct pointers *p, const struct block *b)
{
    static uint64_t words[READ_BYTES / sizeof(uint64_t)];
    for (uint64_t done = 0; done + 8 <= b->size; done += READ_BYTES) {
        uint64_t n = smaller(b->size - done, READ_BYTES);
        view_read(p->v, b->start + done, words, n);
        for (uint64_t i = 0; i < n / 8; i++)
            if (words[i])
                word_look(p, done + i * 8, words[i]);
    }
}

/* Of the process asked for, else of the block's owner if it can be seen. */
static bool map_choose(struct pointers *p, const struct flags *f, const struct block *b)
{
    struct process owner = { 0 };
    long pid = flag(f, 'p') ? strtol(flag_value(f, 'p'), NULL, 10) : 0;
    if (!pid && view_id_is_current(p->v, b->member))
        member_process(p->v, member_slot(b->member), &owner);
    p->any_map = maps_read(&p->maps, pid ? pid : owner.pid);
    if (pid && !p->any_map)
        fail(0, "the memory map of process %ld cannot be read", pid);
    return !pid || p->any_map;
}

int verb_pointers(int argc, char **argv)
{
    struct view v;
    char path[512];
    struct flags f;
    uint64_t off;
    struct block b;
    flags_read_arguments(argc, argv, &f, 2, 2);
    if (!segment_look(f.arguments[0], &v, path, sizeof path, true))
        return EXIT_NO;
    struct pointers p = { .v = &v, .json = flag(&f, 'j'), .all = flag(&f, 'a') };
    int status = EXIT_NO;
    if (!address_read(&v, f.arguments[1], &off))
        status = fail(EXIT_USAGE, "'%s' is no address", f.arguments[1]);
    else if (block_find(&v, off, &b), b.kind < BLOCK_SMALL)
        fail(0, "at %s there is no block: %s", f.arguments[1], b.what);
    else if (map_choose(&p, &f, &b)) {
        status = EXIT_OK;
        if (p.json) {
            json_open(NULL, '{');
            json_hex("start", v.header.base + b.start);
            json_number("size", b.size);
            json_text("state", b.state);
            json_bool("map_known", p.any_map);
            json_open("words", '[');
        }
        words_look(&p, &b);
        if (p.json) {
            json_close();
            json_number("lead_out", p.out);
            json_number("lead_in", p.in);
            json_close();
        } else {
            printf("%s of the words lead out of the segment, %s into it\n", text_count(p.out).at,
                   text_count(p.in).at);
        }
    }
    free(p.maps.ranges);
    view_close(&v);
    return status;
}
