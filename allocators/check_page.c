#include "allocators/canary.h"
#include "allocators/check_parts.h"

#include <string.h>

/* ---- where a list leads -------------------------------------------------------------------- */

static const struct slice *descriptor(struct checker *k, uint64_t slice)
{
    uint64_t c = slice / CHUNK_SLICES;
    if (!k->all_read[c]) {
        view_slices(k->v, c, &k->all[c * CHUNK_SLICES]);
        if (k->v->alive)
            view_refresh_chunk(k->v, c);
        k->all_read[c] = 1;
    }
    return &k->all[slice];
}

struct place {
    uint64_t slice; /* the page's first */
    uint32_t block;
    const char *wrong;
};

/* Which block of which page starts at 'off'? */
static struct place place_find(struct checker *k, uint64_t off, unsigned cls, uint64_t member)
{
    struct place at = { .slice = off >> SLICE_SHIFT,
                        .wrong = "a list of free blocks leaves the segment" };
    uint64_t c = at.slice / CHUNK_SLICES;
    if (c < k->v->header.first_chunk || c >= k->chunk_high)
        return at;
    const struct slice *d = descriptor(k, at.slice);
    uint64_t back = get(d->kind) == SLICE_TAIL ? get(d->back) : 0;
    at.wrong = "a list of free blocks leads to what is no page";
    if (back > at.slice % CHUNK_SLICES)
        return at;
    d -= back;
    at.slice -= back;
    if (get(d->kind) != SLICE_PAGE || get(d->cls) >= CLASS_COUNT)
        return at;
    at.wrong = "a free block is on the list of another size class";
    if (get(d->cls) != cls)
        return at;
    at.wrong = "a free block is on the list of another member";
    if (word_member(get(k->v->chunks[c].word)) != member)
        return at;
    uint64_t in = off - (at.slice << SLICE_SHIFT), size = class_bytes(cls);
    at.block = (uint32_t)(in / size);
    at.wrong = in % size == 0 && in + size <= (uint64_t)class_slices(cls) << SLICE_SHIFT
                   ? NULL
                   : "a list of free blocks leads into the middle of a block";
    return at;
}

/* ---- lists of the threads -------------------------------------------------------------------- */

static uint64_t word_at(struct checker *k, uint64_t off)
{
    uint64_t word;
    view_read(k->v, off, &word, sizeof word);
    return word;
}

static bool listed(const struct checker *k, struct place at)
{
    return k->listed[at.slice][at.block / 64] >> (at.block % 64) & 1;
}

static void listed_flip(struct checker *k, struct place at)
{
    k->listed[at.slice][at.block / 64] ^= UINT64_C(1) << (at.block % 64);
}

static bool in_this_walk(const struct checker *k, uint64_t off)
{
    for (uint64_t i = 0; i < k->logged; i++)
        if (k->log[i] == off)
            return true;
    return false;
}

/* The last look at this list was torn: it has entered nothing. */
static void walk_undo(struct checker *k, const struct unit *u)
{
    memset(k->all_read, 0, k->chunk_high);
    while (k->logged) {
        uint64_t off = k->log[--k->logged];
        uint64_t in = off & (((uint64_t)class_slices(u->cls) << SLICE_SHIFT) - 1);
        struct place at = { .slice = (off - in) >> SLICE_SHIFT,
                            .block = (uint32_t)(in / class_bytes(u->cls)) };
        listed_flip(k, at);
    }
}

/* Is the block on a list of its page's owner other than this one, now? */
static bool is_on_another(struct checker *k, const struct unit *u, uint64_t slice, uint64_t off)
{
    struct slice d;
    view_slice(k->v, slice, &d);
    view_forget_links(k->v);
    for (unsigned list = 0; get(d.cell) && list < 2; list++) {
        uint64_t from = get(d.cell) + list * sizeof(uint64_t);
        if (from == u->index)
            continue;
        /* Its thread is taking over the list of one that has ended: for a moment both have all. */
        if (word_at(k, from) == word_at(k, u->index))
            return false;
        for (uint64_t at = word_at(k, from); !(at & 1) && k->walks_left; k->walks_left--) {
            if (at == off)
                return true;
            if (at >> CHUNK_SHIFT >= k->v->chunk_high)
                return false;
            at = view_link(k->v, at);
        }
    }
    return false;
}

/* A list may run on into another where its owner died or stands still: a merge, park or
 * steal cut short.  Of a living one the other list was walked earlier, and the page may
 * have been given back and made anew since. */
static void look_twice(struct checker *k, const struct unit *u, uint64_t off, uint64_t from,
                       uint64_t slice)
{
    bool living = k->v->alive && view_member_alive(k->v, member_slot(u->member));
    if (in_this_walk(k, off))
        must(k, false, "a list of free blocks is a ring", from, off, off);
    else
        note(k, living && !is_on_another(k, u, slice, off), "a block is on two lists", off, 0, 0);
}

#define LONG_LIST 20000

static void look_list(struct checker *k, struct unit *u)
{
    uint64_t from = u->index;
    if (u->again)
        walk_undo(k, u);
    view_forget_links(k->v);
    for (uint64_t off = word_at(k, u->index); off != LIST_END; off = view_link(k->v, off)) {
        if (u->again && !k->walks_left--) {
            k->walks_left = 0;
            u->gone = true;
            k->result->unsettled++;
            return;
        }
        uint64_t c = off >> CHUNK_SHIFT;
        if (k->v->alive && c >= k->chunk_high && c < k->v->chunk_high)
            return; /* a chunk that is new since we began: its pages are looked at one by one */
        struct place at = place_find(k, off, u->cls, u->member);
        if (!must(k, !at.wrong, at.wrong, from, off, off))
            return;
        if (listed(k, at)) {
            look_twice(k, u, off, from, at.slice);
            return;
        }
        listed_flip(k, at);
        k->log[k->logged++] = off;
        if (k->logged == LONG_LIST)
            view_many_links(k->v);
        from = off;
    }
}

static void check_list(struct checker *k, uint64_t word_off, unsigned cls, uint64_t member)
{
    struct unit list = { .index = word_off, .cls = cls, .member = member };
    k->logged = 0;
    settle(k, look_list, &list);
}

/* ---- records of the threads ------------------------------------------------------------------- */

static bool step_is_one(uint64_t what)
{
    return what == 0 || ((what & 15) >= INFLIGHT_MINE && (what & 15) <= INFLIGHT_LARGE);
}

static void look_record(struct checker *k, struct unit *u)
{
    struct thread_record r;
    view_read(k->v, u->index, &r, sizeof r);
    uint64_t what = get(r.step.what), c = what >> CHUNK_SHIFT, owner = get(r.owner);
    must(k, owner == 0 || owner_member(owner) == u->member, "a thread's member is another",
         u->index, owner_member(owner), u->member);
    must(k, step_is_one(what), "a step in hand is none", u->index, what, what);
    must(k, !what || (c >= k->v->header.first_chunk && c < k->v->header.chunk_count),
         "a step in hand is outside the segment", u->index, what, what);
}

static void check_record(struct checker *k, uint64_t off, uint64_t member)
{
    struct unit record = { .index = off, .member = member };
    settle(k, look_record, &record);
    for (unsigned cls = 0; cls < CLASS_COUNT; cls++) {
        uint64_t cell =
            off + offsetof(struct thread_record, cells) + cls * sizeof(struct class_cell);
        check_list(k, cell + offsetof(struct class_cell, free), cls, member);
        check_list(k, cell + offsetof(struct class_cell, parked), cls, member);
    }
}

void check_records(struct checker *k)
{
    for (uint64_t c = k->v->header.first_chunk; c < k->chunk_high; c++) {
        uint64_t word = get(k->v->chunks[c].word);
        if (word_state(word) != CHUNK_OWNED)
            continue;
        for (uint64_t i = c * CHUNK_SLICES; i < (c + 1) * CHUNK_SLICES; i++) {
            const struct slice *d = descriptor(k, i);
            uint32_t count = get(d->kind) == SLICE_RECORDS ? get(d->capacity) : 0;
            for (uint32_t n = 0; n < count && n < RECORDS_PER_SLICE; n++)
                if (k->result->damage < DAMAGE_MAX)
                    check_record(k, (i << SLICE_SHIFT) + n * sizeof(struct thread_record),
                                 word_member(word));
        }
    }
    memset(k->all_read, 0, k->chunk_high);
}

/* ---- pages ---------------------------------------------------------------------------------- */

static void look_page_fields(struct checker *k, uint64_t slice, const struct slice *d)
{
    uint64_t off = slice_at(k, slice), recip = UINT64_MAX / class_bytes(get(d->cls)) + 1;
    uint32_t fit = (uint32_t)(((uint64_t)get(d->span) << SLICE_SHIFT) / class_bytes(get(d->cls)));
    uint64_t cell = get(d->cell), home = get(d->home);
    must(k, get(d->recip) == recip, "a page's reciprocal is wrong", off, get(d->recip), recip);
    must(k, get(d->reserved) == fit, "a page's number of blocks is wrong", off, get(d->reserved),
         fit);
    must(k, get(d->capacity) <= fit, "a page has more blocks than fit", off, get(d->capacity), fit);
    must(k, get(d->flags) < 2 * PAGE_CHECKED, "a page's flags are none", off, get(d->flags), 0);
    must(k, get(d->back) == 0, "a page's first slice is not its first", off, get(d->back), 0);
    must(k, id_is_possible(owner_member(get(d->owner))) || get(d->flags) & PAGE_EMPTY,
         "a page's owner is none", off, get(d->owner), get(d->owner));
    must(k, home == HOME_NOBODY || home == cell, "a page is freed to by one who does not own it",
         off, home, cell);
    must(k,
         !get(d->hold_last) ||
             (int32_t)(get(d->hold_last) - (uint32_t)get(k->v->header.hold_seq)) <= 0,
         "a page is held by a snapshot that never was", off, get(d->hold_last),
         get(k->v->header.hold_seq));
}

/* A recoverer is at work, or stands still, or has died. */
static bool is_being_recovered(const struct checker *k, uint64_t c)
{
    uint64_t member = word_member(get(k->v->chunks[c].word));
    return view_id_is_current(k->v, member) &&
           state_of(get(k->v->members[member_slot(member)].state)) == MEMBER_RECOVERING;
}

/* The owner's cell must be the one of this class in some record of the same member. */
static void look_page_cell(struct checker *k, uint64_t slice, const struct slice *d)
{
    uint64_t cell = get(d->cell), in = cell & (SLICE_BYTES - 1), c = cell >> CHUNK_SHIFT;
    uint64_t off = slice_at(k, slice),
             home = offsetof(struct thread_record, cells) + get(d->cls) * sizeof(struct class_cell);
    if (!owner_may_be_at_work(k, slice / CHUNK_SLICES))
        must(k, cell == 0, "an orphan page has a thread", off, cell, 0);
    if (!cell || k->count || is_being_recovered(k, slice / CHUNK_SLICES))
        return;
    struct slice records;
    bool inside = c >= k->v->header.first_chunk && c < k->v->chunk_high &&
                  in / sizeof(struct thread_record) < RECORDS_PER_SLICE &&
                  in % sizeof(struct thread_record) == home;
    if (!must(k, inside, "a page's thread is none", off, cell, cell))
        return;
    view_slice(k->v, cell >> SLICE_SHIFT, &records);
    must(k, get(records.kind) == SLICE_RECORDS, "a page's thread is none", off, cell, cell);
}

/* Which blocks of the page are on a list of its owner, now. */
static void local_again(struct checker *k, uint64_t slice, const struct slice *d,
                        struct block_bits *local)
{
    uint64_t start = slice << SLICE_SHIFT, end = start + ((uint64_t)get(d->span) << SLICE_SHIFT);
    memset(local, 0, sizeof *local);
    view_forget_links(k->v);
    for (unsigned list = 0; get(d->cell) && list < 2; list++) {
        uint64_t off = word_at(k, get(d->cell) + list * sizeof(uint64_t));
        for (; off != LIST_END && k->walks_left; off = view_link(k->v, off), k->walks_left--) {
            if (off & 1 || off >> CHUNK_SHIFT >= k->v->chunk_high)
                return;
            if (off >= start && off < end)
                bits_add(local, (uint32_t)((off - start) / class_bytes(get(d->cls))));
        }
    }
}

static void local_known(const struct checker *k, uint64_t slice, struct block_bits *local)
{
    local->count = 0;
    for (uint32_t i = 0; i < PAGE_BLOCKS_MAX / 64; i++) {
        local->bits[i] = slice / CHUNK_SLICES < k->chunk_high ? k->listed[slice][i] : 0;
        local->count += (uint32_t)__builtin_popcountl(local->bits[i]);
    }
}

static bool any_in_both(const struct block_bits *a, const struct block_bits *b)
{
    for (uint32_t i = 0; i < PAGE_BLOCKS_MAX / 64; i++)
        if (a->bits[i] & b->bits[i])
            return true;
    return false;
}

static bool any_from(const struct block_bits *b, uint32_t from)
{
    for (uint32_t i = from / 64; i < PAGE_BLOCKS_MAX / 64; i++)
        if (b->bits[i] & (i == from / 64 ? ~UINT64_C(0) << (from % 64) : ~UINT64_C(0)))
            return true;
    return false;
}

static void look_page_lists(struct checker *k, uint64_t slice, const struct slice *d,
                            const struct block_bits *local)
{
    const struct page_look *l = &k->look;
    uint64_t off = slice_at(k, slice);
    bool at_work = owner_may_be_at_work(k, slice / CHUNK_SLICES);
    must(k, !l->wrong, l->wrong, l->wrong_off, 0, 0);
    must(k, !any_from(&l->remote, get(d->capacity)), "a block that never was has been freed", off,
         get(d->capacity), 0);
    /* While a merge is in hand its blocks are on two lists; those of an empty page do not count. */
    if (get(d->taken) == 0 && !(get(d->flags) & PAGE_EMPTY))
        must(k, !any_in_both(local, &l->remote), "a block is on two lists", off, 0, 0);
    if (at_work)
        return;
    must(k, get(d->taken) == 0, "an orphan page is being merged", off, get(d->taken), 0);
    must(k, get(d->flags) & (PAGE_BITS | PAGE_EMPTY), "an orphan page does not say what is used",
         off, get(d->flags), PAGE_BITS);
}

/* 'used' lags one step behind the list; with PAGE_IDLE it is one too high.  A list
 * longer than the capacity is one being extended. */
static void look_page_used(struct checker *k, uint64_t slice, const struct slice *d,
                           const struct block_bits *local)
{
    uint32_t capacity = get(d->capacity);
    uint64_t off = slice_at(k, slice);
    if (get(d->flags) & (PAGE_BITS | PAGE_EMPTY) || !get(d->cell) || get(d->taken))
        return;
    while (capacity < PAGE_BLOCKS_MAX && any_from(local, capacity))
        capacity++;
    int64_t is = get(d->used), out = (int64_t)capacity - local->count;
    out += (get(d->flags) & PAGE_IDLE) != 0;
    must(k, is - out >= -1 && is - out <= 1, "a page's count of used blocks is wrong", off,
         (uint64_t)is, (uint64_t)out);
    note(k, k->count || is == out, "a page's count of used blocks is off", off, (uint64_t)is,
         (uint64_t)out);
}

static void look_page_kept(struct checker *k, uint64_t slice, const struct slice *d,
                           const struct block_bits *local)
{
    const struct page_look *l = &k->look;
    uint64_t off = k->v->header.kept_off + slice * sizeof(struct kept);
    if (!(get(d->flags) & (PAGE_KEPT | PAGE_BITS)) || get(d->flags) & PAGE_EMPTY)
        return;
    if (is_being_recovered(k, slice / CHUNK_SLICES))
        return; /* all blocks are marked first, and then those on lists are not */
    must(k, !any_from(&l->kept, get(d->capacity)), "a block that never was is kept for others", off,
         get(d->capacity), 0);
    must(k, !any_in_both(&l->kept, local), "a free block is kept for others", off, 0, 0);
    must(k, l->former == 0 || id_is_possible(l->former), "blocks are kept for nobody", off,
         l->former, 0);
}

/* HSHM_CHECK=full: has somebody written beyond the end of a block of the program's, or to one
 * that waits in a ring? */
static void look_page_canaries(struct checker *k, uint64_t slice, const struct slice *d,
                               const struct block_bits *local)
{
    const struct page_look *l = &k->look;
    if (!(get(d->flags) & PAGE_CHECKED) || get(d->flags) & PAGE_EMPTY || k->count ||
        (uint64_t)l->capacity * l->size > sizeof k->bytes)
        return;
    view_read(k->v, l->off, k->bytes, (uint64_t)l->capacity * l->size);
    for (uint32_t i = 0; i < l->capacity; i++) {
        bool is_free = get(d->flags) & PAGE_BITS ? !bits_have(&l->kept, i) : bits_have(local, i);
        if (is_free || bits_have(&l->remote, i) || bits_have(&l->taken, i))
            continue;
        uint64_t off = l->off + (uint64_t)i * l->size;
        const char *fault =
            canary_fault(k->bytes + (uint64_t)i * l->size, l->size, k->v->header.link_key, off);
        must(k, !fault, fault, off, slice, slice);
    }
}

/* A living owner follows these links blindly.  It may stand still between two of
 * them: then one neighbour does not know of the other yet. */
static void look_page_links(struct checker *k, uint64_t slice, const struct slice *d)
{
    uint64_t links[] = { get(d->next), get(d->prev) }, off = slice_at(k, slice);
    if (!k->v->alive || !owner_may_be_at_work(k, slice / CHUNK_SLICES) || k->count ||
        get(d->flags) & PAGE_EMPTY)
        return;
    for (unsigned i = 0; i < 2; i++) {
        struct slice other;
        if (!links[i])
            continue;
        if (!must(k,
                  links[i] / CHUNK_SLICES >= k->v->header.first_chunk &&
                      links[i] / CHUNK_SLICES < get(k->v->header.chunk_high),
                  "a list of pages leaves the segment", off, links[i], 0))
            return;
        view_slice(k->v, links[i], &other);
        must(k, get(other.kind) == SLICE_PAGE || get(other.kind) == SLICE_LARGE,
             "a list of pages leads to what is no page", off, links[i], slice);
        note(k, (i ? get(other.next) : get(other.prev)) == slice, "a list of pages is broken", off,
             links[i], slice);
    }
}

static void look_page(struct checker *k, struct unit *u)
{
    uint64_t slice = u->index, c = slice / CHUNK_SLICES;
    struct slice d = k->slices[slice % CHUNK_SLICES], after;
    struct block_bits local;
    if (k->v->alive) {
        uint64_t word = get(k->v->chunks[c].word);
        view_refresh_chunk(k->v, c);
        view_slice(k->v, slice, &d);
        u->gone = get(d.kind) != SLICE_PAGE || get(k->v->chunks[c].word) != word ||
                  get(d.cls) != get(k->slices[slice % CHUNK_SLICES].cls);
        if (u->gone)
            return;
    }
    if (u->again && k->v->alive)
        local_again(k, slice, &d, &local);
    else
        local_known(k, slice, &local);
    look_page_fields(k, slice, &d);
    look_page_cell(k, slice, &d);
    if (!view_page(k->v, slice, &d, &k->look))
        return;
    look_page_lists(k, slice, &d, &local);
    look_page_used(k, slice, &d, &local);
    look_page_kept(k, slice, &d, &local);
    look_page_canaries(k, slice, &d, &local);
    look_page_links(k, slice, &d);
    if (!k->count || !k->v->alive)
        return;
    view_slice(k->v, slice, &after);
    u->moved = !u->again || memcmp(&d, &after, sizeof d) != 0;
}

void check_pages(struct checker *k, uint64_t c)
{
    for (uint32_t i = 0; i < CHUNK_SLICES; i++) {
        if (get(k->slices[i].kind) != SLICE_PAGE || get(k->slices[i].cls) >= CLASS_COUNT ||
            get(k->slices[i].span) != class_slices(get(k->slices[i].cls)))
            continue;
        struct unit page = { .index = c * CHUNK_SLICES + i };
        settle(k, look_page, &page);
        k->result->pages += !page.gone;
        k->result->blocks += page.gone ? 0 : k->look.allocated;
    }
}
