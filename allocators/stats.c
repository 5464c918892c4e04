#include "allocators/stats.h"

#include <string.h>

#define ENDED_MAX 4096 /* ids of ended members that are told apart */

struct collect {
    struct view *v;
    struct stats *s;
    uint64_t alive[(MEMBER_MAX + 63) / 64];
    uint64_t ended[ENDED_MAX]; /* open hash table */
};

static void sum_add(struct stats_sum *sum, uint64_t blocks, uint64_t bytes)
{
    sum->blocks += blocks;
    sum->bytes += bytes;
}

static void ended_note(struct collect *k, uint64_t id)
{
    uint64_t at = id * UINT64_C(0x9e3779b97f4a7c15) >> 52;
    for (unsigned i = 0; i < ENDED_MAX; i++, at = (at + 1) % ENDED_MAX) {
        if (k->ended[at] == id)
            return;
        if (!k->ended[at]) {
            k->ended[at] = id;
            k->s->kept_members++;
            return;
        }
    }
}

/* Whose are these blocks: a member's, a dead one's, or left by one that ended? */
static void attribute(struct collect *k, uint64_t id, uint64_t blocks, uint64_t bytes)
{
    uint32_t slot = member_slot(id);
    if (!blocks)
        return;
    if (!view_id_is_current(k->v, id)) {
        ended_note(k, id);
        sum_add(&k->s->kept, blocks, bytes);
        return;
    }
    sum_add(&k->s->members[slot].used, blocks, bytes);
    if (!(k->alive[slot / 64] >> (slot % 64) & 1))
        sum_add(&k->s->dead, blocks, bytes);
}

static uint64_t count_kept(struct collect *k, const struct page_look *look)
{
    uint64_t n = 0;
    for (uint32_t i = 0; i < PAGE_BLOCKS_MAX / 64; i++)
        n += (uint64_t)__builtin_popcountl(look->kept.bits[i] & ~look->remote.bits[i] &
                                           ~look->taken.bits[i]);
    n = n < look->allocated ? n : look->allocated;
    if (n) {
        ended_note(k, look->former);
        sum_add(&k->s->kept, n, n * look->size);
    }
    return n;
}

static void collect_page(struct collect *k, uint64_t slice, const struct slice *d)
{
    struct page_look look;
    struct stats *s = k->s;
    if (!view_page(k->v, slice, d, &look))
        return;
    struct stats_class *class = &s->classes[get(d->cls)];
    uint64_t n = look.allocated, bytes = n * look.size, id = owner_member(get(d->owner));
    sum_add(&s->used, n, bytes);
    sum_add(&s->small, n, bytes);
    class->pages++;
    class->blocks += n;
    class->free_blocks += look.capacity - n;
    class->reserved_bytes += (uint64_t)class_slices(get(d->cls)) << SLICE_SHIFT;
    s->free_bytes += (look.capacity - n) * look.size;
    s->unlinked_bytes += (uint64_t)(look.reserved - look.capacity) * look.size;
    if (get(d->flags) & PAGE_HELD) {
        s->held_pages++;
        s->held_free_bytes += (look.capacity - n) * look.size;
    }
    if (view_id_is_current(k->v, id))
        s->members[member_slot(id)].pages++;
    n -= count_kept(k, &look);
    attribute(k, id, n, n * look.size);
}

static void collect_large(struct collect *k, const struct slice *d, uint64_t id,
                          struct stats_sum *sum)
{
    k->s->held_pages += (get(d->flags) & PAGE_HELD) != 0;
    if ((get(d->remote) & 0xff) != LARGE_LIVE)
        return;
    sum_add(&k->s->used, 1, get(d->bytes));
    sum_add(sum, 1, get(d->bytes));
    attribute(k, id, 1, get(d->bytes));
}

/* An orphan's or owned chunk's slices, one page or block after the other. */
static void collect_slices(struct collect *k, uint64_t c)
{
    struct slice d[CHUNK_SLICES];
    view_slices(k->v, c, d);
    for (uint32_t i = 0; i < CHUNK_SLICES;) {
        uint32_t kind = get(d[i].kind), span = get(d[i].span);
        if (kind == SLICE_FREE) {
            k->s->free_slices++;
            k->s->idle_bytes += (uint64_t)__builtin_popcount(get(d[i].committed)) * OS_PAGE;
        }
        if (kind == SLICE_PAGE)
            collect_page(k, c * CHUNK_SLICES + i, &d[i]);
        else if (kind == SLICE_LARGE)
            collect_large(k, &d[i], owner_member(get(d[i].owner)), &k->s->large);
        i += (kind == SLICE_PAGE || kind == SLICE_LARGE) && span && span <= CHUNK_SLICES - i ? span
                                                                                             : 1;
    }
}

static void collect_chunk(struct collect *k, uint64_t c)
{
    const struct chunk *chunk = &k->v->chunks[c];
    uint64_t word = get(chunk->word), pages = get(chunk->charged), id = word_member(word);
    struct stats *s = k->s;
    enum chunk_state state = word_state(word);
    if (state > CHUNK_HUGE)
        return;
    s->chunks[state]++;
    s->committed_bytes += pages * OS_PAGE;
    if (state == CHUNK_FREE)
        s->warm_bytes += pages * OS_PAGE;
    else if (view_id_is_current(k->v, id))
        s->members[member_slot(id)].chunks++;
    if (state == CHUNK_OWNED || state == CHUNK_ORPHAN)
        collect_slices(k, c);
    if (state == CHUNK_HUGE) {
        struct slice d;
        view_slice(k->v, c * CHUNK_SLICES, &d);
        if (get(d.kind) == SLICE_LARGE)
            collect_large(k, &d, id, &s->huge);
    }
}

static void collect_members(struct collect *k)
{
    for (uint64_t slot = 0; slot < k->v->members_high; slot++) {
        uint64_t state = get(k->v->members[slot].state);
        bool alive = view_member_alive(k->v, slot);
        k->alive[slot / 64] |= (uint64_t)alive << (slot % 64);
        if (state_of(state) == MEMBER_FREE)
            continue;
        if (!alive && state_of(state) == MEMBER_CHILD) /* it never used the heap */
            continue;
        k->s->members_alive += alive;
        k->s->dropped += get(k->v->members[slot].dropped);
        k->s->deferred += get(k->v->members[slot].deferred);
        k->s->dead_members += !alive;
    }
    for (uint64_t i = 0; i < k->v->holds_high; i++)
        k->s->holds += get(k->v->holds[i].state) & 1 && os_lock_held(k->v->fd, LOCK_HOLD(i));
}

void stats_collect(struct view *v, struct stats *s)
{
    struct collect k = { .v = v, .s = s };
    memset(s, 0, sizeof *s);
    for (unsigned cls = 0; cls < CLASS_COUNT; cls++)
        s->classes[cls].block_bytes = class_bytes(cls);
    s->file_bytes = v->file.allocated;
    if (v->wrong)
        return;
    collect_members(&k);
    uint64_t run = 0;
    for (uint64_t c = v->header.first_chunk; c < v->chunk_high; c++) {
        collect_chunk(&k, c);
        run = word_state(get(v->chunks[c].word)) == CHUNK_FREE ? run + 1 : 0;
        s->free_run = run > s->free_run ? run : s->free_run;
    }
    run += v->header.chunk_count - v->chunk_high;
    s->free_run = run > s->free_run ? run : s->free_run;
    /* A page knows only the last of those whose blocks it keeps. */
    uint64_t told = get(v->header.kept_members);
    told = told < s->kept.blocks ? told : s->kept.blocks;
    if (s->kept_members < told)
        s->kept_members = told;
}
