/* block.c - from an address to the block, its size class, its owner and its state. */
#include "tool/block.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

bool address_read(const struct view *v, const char *text, uint64_t *off)
{
    char *end;
    errno = 0;
    uint64_t n = strtoull(text, &end, 0);
    if (*end || end == text) /* gdb and others leave the 0x out */
        n = strtoull(text, &end, 16);
    if (*end || end == text || errno)
        return false;
    *off = n >= v->header.base && n - v->header.base < v->header.window ? n - v->header.base : n;
    return true;
}

struct text member_text(const struct view *v, uint64_t id)
{
    struct text t = { "nobody" };
    if (!id)
        return t;
    if (!view_id_is_current(v, id)) {
        snprintf(t.at, sizeof t.at, "a member that has ended");
        return t;
    }
    const struct seg_member *m = &v->members[member_slot(id)];
    snprintf(t.at, sizeof t.at, "pid %lu (%.20s), %s", (unsigned long)get(m->pid),
             text_plain(m->name, sizeof m->name).at, life_name(member_life(v, member_slot(id))));
    return t;
}

/* ---- what is no block ---------------------------------------------------------------------- */

static bool in_tables(const struct view *v, uint64_t off, struct block *b)
{
    const struct seg_header *h = &v->header;
    const struct {
        uint64_t from;
        const char *what;
    } tables[] = { { 0, "header of the segment" },          { SEG_NAMES_OFF, "header of names" },
                   { SEG_HOLDS_OFF, "table of holds" },     { SEG_UNUSED_OFF, "table of names" },
                   { SEG_MEMBERS_OFF, "table of members" }, { SEG_BUCKETS_OFF, "table of names" },
                   { h->chunks_off, "table of chunks" },    { h->slices_off, "table of slices" },
                   { h->kept_off, "table of kept blocks" } };
    if (off >= h->first_chunk << CHUNK_SHIFT)
        return false;
    b->kind = BLOCK_TABLES;
    for (unsigned i = 0; i < sizeof tables / sizeof *tables && tables[i].from <= off; i++)
        b->what = tables[i].what;
    return true;
}

/* ---- small blocks --------------------------------------------------------------------------- */

/* Blocks that can be on the list: those of the pages whose list it is. */
static uint64_t blocks_of_cell(struct view *v, uint64_t cell)
{
    struct slice d[CHUNK_SLICES];
    uint64_t sum = 0;
    for (uint64_t c = v->header.first_chunk; c < v->chunk_high; c++) {
        if (word_state(get(v->chunks[c].word)) != CHUNK_OWNED)
            continue;
        view_slices(v, c, d);
        for (unsigned i = 0; i < CHUNK_SLICES; i++)
            if (get(d[i].kind) == SLICE_PAGE && get(d[i].cell) == cell)
                sum += get(d[i].capacity);
    }
    return sum;
}

static bool list_has(struct view *v, uint64_t head_off, uint64_t off, uint64_t most)
{
    uint64_t at;
    view_forget_links(v);
    view_read(v, head_off, &at, sizeof at);
    for (; !list_is_end(at) && most; at = view_link(v, at), most--)
        if (at == off)
            return true;
        else if (at >> CHUNK_SHIFT >= v->chunk_high)
            return false;
    return false;
}

/* Is it on a list of its owner?  Most blocks in use do not even look as if. */
static bool is_listed(struct view *v, const struct slice *d, uint64_t off)
{
    uint64_t cell = get(d->cell), impossible = ~(v->header.window - 1) | 14;
    view_forget_links(v);
    if (!cell || view_link(v, off) & impossible)
        return false;
    uint64_t most = blocks_of_cell(v, cell);
    return list_has(v, cell + offsetof(struct class_cell, free), off, most) ||
           list_has(v, cell + offsetof(struct class_cell, parked), off, most);
}

static const char *small_state(struct view *v, const struct slice *d, const struct page_look *look,
                               uint32_t i, uint64_t start)
{
    if (i >= look->capacity)
        return "never used";
    if (get(d->flags) & PAGE_EMPTY)
        return "free";
    if (bits_have(&look->remote, i) || bits_have(&look->taken, i))
        return "freed by another thread or member";
    if (bits_have(&look->kept, i))
        return "kept";
    if (get(d->flags) & PAGE_BITS)
        return "free";
    return is_listed(v, d, start) ? "free" : "allocated";
}

static void find_small(struct view *v, uint64_t slice, const struct slice *d, struct block *b)
{
    struct page_look look;
    if (!view_page(v, slice, d, &look)) {
        b->what = "page that is damaged";
        return;
    }
    uint32_t i = (uint32_t)((b->off - look.off) / look.size);
    b->what = "end of a page, where no block fits";
    b->member = owner_member(get(d->owner));
    if (i >= look.reserved)
        return;
    b->kind = BLOCK_SMALL;
    b->what = "small block";
    b->start = look.off + (uint64_t)i * look.size;
    b->size = look.size;
    b->former = look.former;
    b->thread_known = get(d->cell) != 0;
    b->thread = (uint32_t)(get(d->owner) & ((UINT64_C(1) << THREAD_BITS) - 1));
    b->state = small_state(v, d, &look, i, b->start);
}

/* ---- large and huge ones ---------------------------------------------------------------------- */

static void find_large(const struct view *v, uint64_t slice, const struct slice *d,
                       enum block_kind kind, struct block *b)
{
    (void)v;
    uint64_t stamp = get(d->remote) & 0xff;
    b->kind = kind;
    b->what = kind == BLOCK_HUGE ? "huge block" : "large block";
    b->start = slice << SLICE_SHIFT;
    b->size = get(d->bytes);
    b->state = stamp == LARGE_LIVE                             ? "allocated"
               : stamp == LARGE_FREED || stamp == LARGE_CACHED ? "freed"
                                                               : "damaged";
    if (b->off - b->start >= b->size)
        b->what = kind == BLOCK_HUGE ? "room behind a huge block" : "room behind a large block";
}

static void find_huge(const struct view *v, uint64_t c, struct block *b)
{
    struct slice d;
    uint64_t head = c;
    while (head > v->header.first_chunk && word_state(get(v->chunks[head].word)) == CHUNK_PART)
        head--;
    uint64_t word = get(v->chunks[head].word);
    if (word_state(word) != CHUNK_HUGE || head + word_length(word) <= c) {
        b->what = "chunk of a huge block that is being made or taken apart";
        return;
    }
    view_slice(v, head * CHUNK_SLICES, &d);
    b->member = word_member(word);
    find_large(v, head * CHUNK_SLICES, &d, BLOCK_HUGE, b);
}

static void find_in_slices(struct view *v, uint64_t slice, struct block *b)
{
    struct slice d;
    view_slice(v, slice, &d);
    if (get(d.kind) == SLICE_TAIL && get(d.back) <= slice % CHUNK_SLICES) {
        slice -= get(d.back);
        view_slice(v, slice, &d);
    }
    switch (get(d.kind)) {
    case SLICE_PAGE: find_small(v, slice, &d, b); break;
    case SLICE_LARGE:
        b->member = owner_member(get(d.owner));
        find_large(v, slice, &d, BLOCK_LARGE, b);
        break;
    case SLICE_RECORDS:
        b->kind = BLOCK_TABLES;
        b->what = "records of threads";
        break;
    case SLICE_FREE: b->what = "free slice of a chunk in use"; break;
    default: b->what = "slice that is damaged";
    }
}

void block_find(struct view *v, uint64_t off, struct block *b)
{
    *b = (struct block){ .kind = BLOCK_OUTSIDE, .what = "outside the segment", .off = off };
    if (off >= v->header.window)
        return;
    uint64_t c = off >> CHUNK_SHIFT;
    b->kind = BLOCK_NONE;
    b->what = "chunk that was never used";
    if (in_tables(v, off, b) || c >= v->chunk_high)
        return;
    view_refresh_chunk(v, c);
    uint64_t word = get(v->chunks[c].word);
    switch (word_state(word)) {
    case CHUNK_FREE: b->what = "free chunk"; break;
    case CHUNK_OWNED:
    case CHUNK_ORPHAN: find_in_slices(v, off >> SLICE_SHIFT, b); break;
    case CHUNK_PART:
    case CHUNK_HUGE: find_huge(v, c, b); break;
    default: b->what = "chunk that is damaged";
    }
}
