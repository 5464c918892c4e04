/* The heaps of hshm.h in a segment, for hshm show: each is a block with a name, which begins
 * with its counts. */
#include "tool/json.h"
#include "tool/names.h"
#include "tool/show.h"

#include <stdio.h>
#include <string.h>

/* enum hshm_heap_kind of hshm.h */
static const char *const kinds[] = { NULL, "thread", "page", "stack", "malloc" };
#define KINDS (sizeof kinds / sizeof *kinds)

struct heap_seen {
    const char *id, *kind;
    uint64_t size, header_size, used;
};

/* Of a stack, what lies below its top.  The count of others is the sum over their shards: one that
 * a dead member left uneven may be below zero. */
static uint64_t heap_used(const struct heap_head *head)
{
    uint64_t sum = 0;
    if (head->size)
        return smaller(head->top, head->size);
    for (unsigned i = 0; i < HEAP_SHARDS; i++)
        sum += head->used[i].bytes;
    return sum > INT64_MAX ? 0 : sum;
}

/* Anybody can give a block such a name: what is no heap is left out. */
static bool heap_look(const struct view *v, const struct name_seen *n, struct heap_seen *seen)
{
    struct heap_head head;
    uint64_t kind = n->type - HEAP_TYPE;
    if (strncmp(n->name, HEAP_NAME, strlen(HEAP_NAME)) != 0 || kind == 0 || kind >= KINDS ||
        n->bytes < sizeof head || n->block >= v->header.window ||
        n->bytes > v->header.window - n->block)
        return false;
    view_read(v, n->block, &head, sizeof head);
    if (head.kind != kind)
        return false;
    *seen = (struct heap_seen){ .id = n->name + strlen(HEAP_NAME),
                                .kind = kinds[kind],
                                .size = head.size,
                                .header_size = head.header_size,
                                .used = heap_used(&head) };
    return true;
}

struct listing {
    const struct view *v;
    bool any;
};

static bool json_one(const struct name_seen *n, void *context)
{
    const struct listing *l = context;
    struct heap_seen heap;
    if (!heap_look(l->v, n, &heap))
        return true;
    json_open(NULL, '{');
    json_text("id", heap.id);
    json_text("kind", heap.kind);
    json_number("used", heap.used);
    json_number("size", heap.size);
    json_number("header", heap.header_size);
    json_hex("address", l->v->header.base + n->block);
    json_close();
    return true;
}

void heaps_json(const struct view *v)
{
    struct listing l = { .v = v };
    json_open("heaps", '[');
    names_look(v, json_one, &l);
    json_close();
}

static bool print_one(const struct name_seen *n, void *context)
{
    static const struct column columns[] = {
        { "HEAP", false }, { "KIND", false },  { "USED", true },
        { "SIZE", true },  { "HEADER", true }, { "ADDRESS", true },
    };
    struct listing *l = context;
    struct heap_seen heap;
    if (!heap_look(l->v, n, &heap))
        return true;
    if (!l->any)
        table_start(columns, sizeof columns / sizeof *columns);
    l->any = true;
    table_cell(heap.id);
    table_cell(heap.kind);
    table_cell(text_bytes(heap.used).at);
    table_cell(heap.size ? text_bytes(heap.size).at : "-");
    table_cell(text_bytes(heap.header_size).at);
    table_cell(text_hex(l->v->header.base + n->block).at);
    return true;
}

void heaps_print(const struct view *v)
{
    struct listing l = { .v = v };
    names_look(v, print_one, &l);
    if (l.any)
        show_table();
}
