#include "allocators/canary.h"
#include "allocators/check_parts.h"
#include "allocators/commit.h"
#include "allocators/gpu_look.h"
#include "allocators/large.h"
#include "allocators/words.h"

#include <string.h>

static void wrong(struct checker *k, enum finding_kind kind, const char *what, uint64_t off,
                  uint64_t is, uint64_t should)
{
    if (k->count < FOUND_MAX)
        k->found[k->count++] = (struct finding){ kind, what, off, is, should };
}

bool must(struct checker *k, bool holds, const char *what, uint64_t off, uint64_t is,
          uint64_t should)
{
    if (!holds)
        wrong(k, FINDING_DAMAGE, what, off, is, should);
    return holds;
}

void note(struct checker *k, bool holds, const char *what, uint64_t off, uint64_t is,
          uint64_t should)
{
    if (!holds)
        wrong(k, FINDING_NOTE, what, off, is, should);
}

static void tell(struct checker *k, const struct finding *f)
{
    k->result->damage += f->kind == FINDING_DAMAGE;
    k->result->notes += f->kind == FINDING_NOTE;
    if (k->report)
        k->report(f, k->context);
}

static bool enough(const struct checker *k)
{
    return k->result->damage >= DAMAGE_MAX;
}

void settle(struct checker *k, look_fn *look, struct unit *u)
{
    struct finding before = { 0 };
    unsigned same = 0;
    for (unsigned i = 0; i < LOOKS; i++) {
        k->count = 0;
        u->moved = false;
        u->again = i > 0;
        look(k, u);
        if (k->count == 0 || u->gone)
            return;
        const struct finding *now = &k->found[0];
        same = now->what == before.what && now->off == before.off && now->is == before.is ? same + 1
                                                                                          : 1;
        same = u->moved ? 0 : same;
        before = *now;
        if (!k->v->alive || same == SAME_LOOKS) {
            for (unsigned n = 0; n < k->count; n++)
                tell(k, &k->found[n]);
            return;
        }
        os_sleep_us(10 + i % 7 * 13);
        view_grow(k->v);
    }
    k->result->unsettled++;
}

/* ---- where things are ------------------------------------------------------------------- */

static uint64_t chunk_at(const struct checker *k, uint64_t c)
{
    return k->v->header.chunks_off + c * sizeof(struct chunk);
}

uint64_t slice_at(const struct checker *k, uint64_t slice)
{
    return k->v->header.slices_off + slice * sizeof(struct slice);
}

bool id_is_possible(uint64_t id)
{
    return id >> EPOCH_BITS != 0 && member_slot(id) < MEMBER_MAX;
}

/* ---- header, members, holds --------------------------------------------------------------- */

#define HEADER_OFF(field) offsetof(struct seg_header, field)

static void look_header(struct checker *k, struct unit *u)
{
    (void)u;
    view_grow(k->v);
    const struct seg_header *h = &k->v->header;
    uint64_t state = get(h->state), high = get(h->chunk_high);
    must(k, state >= SEG_LIVE && state <= SEG_REMOVED, "the segment's state is none",
         HEADER_OFF(state), state, SEG_LIVE);
    must(k, high >= h->first_chunk && high <= h->chunk_count, "chunk_high is out of range",
         HEADER_OFF(chunk_high), high, h->first_chunk);
    must(k, h->limit >= OS_PAGE, "the segment's size limit is too small", HEADER_OFF(limit),
         h->limit, OS_PAGE);
    must(k, h->private_heap == 0, "a file says that it is a private heap", HEADER_OFF(private_heap),
         h->private_heap, 0);
    must(k, h->link_key >> 63 & h->link_key >> 48 & 1, "the key of free lists is damaged",
         HEADER_OFF(link_key), h->link_key, h->link_key);
    must(k, get(h->damaged) == 0, "a member has found damage", HEADER_OFF(damaged), get(h->damaged),
         0);
}

static void look_member(struct checker *k, struct unit *u)
{
    view_refresh_member(k->v, u->index);
    const struct seg_member *m = &k->v->members[u->index];
    uint64_t off = SEG_MEMBERS_OFF + u->index * sizeof *m, word = get(m->state);
    must(k, (word & 0xff) <= MEMBER_CHILD, "a member's state is none", off, word, word);
    must(k,
         state_recoverer(word) <= MEMBER_MAX &&
             (state_of(word) == MEMBER_RECOVERING) == (state_recoverer(word) != 0),
         "a member's recoverer is none", off, state_recoverer(word), state_recoverer(word));
    must(k, memchr(m->name, 0, sizeof m->name) != NULL, "a member's name does not end",
         off + offsetof(struct seg_member, name), 0, 0);
}

static void look_hold(struct checker *k, struct unit *u)
{
    struct seg_hold hold;
    uint64_t off = SEG_HOLDS_OFF + u->index * sizeof hold;
    view_read(k->v, off, &hold, sizeof hold);
    uint64_t state = get(hold.state), seq = get(k->v->header.hold_seq);
    must(k, state == 0 || ((state & 0xff) == 1 && state >> 40 == 0), "a hold's state is none", off,
         state, state);
    must(k, state == 0 || (int32_t)((uint32_t)(state >> 8) - (uint32_t)seq) <= 0,
         "a hold is newer than the newest", off, state >> 8, seq);
}

/* ---- chunks --------------------------------------------------------------------------------- */

static const char *owner_fault(const struct checker *k, uint64_t word)
{
    enum chunk_state state = word_state(word);
    uint64_t id = word_member(word);
    if (state == CHUNK_FREE)
        return word ? "a free chunk has an owner" : NULL;
    if (!id_is_possible(id))
        return "a chunk's owner is none";
    if (state == CHUNK_OWNED && !view_id_is_current(k->v, id))
        return "a chunk's owner is no member any more";
    if ((state == CHUNK_OWNED || state == CHUNK_ORPHAN) && word_length(word))
        return "a chunk has the length of a huge block";
    return NULL;
}

static void look_dirt(struct checker *k, uint64_t c)
{
    const struct chunk *chunk = &k->v->chunks[c];
    uint64_t off = chunk_at(k, c);
    must(k, get(chunk->dirty) <= DIRT_ALL, "what a chunk's bytes are is unknown",
         off + offsetof(struct chunk, dirty), get(chunk->dirty), DIRT_ALL);
    must(k, get(chunk->described) <= 1, "a chunk is neither described nor not",
         off + offsetof(struct chunk, described), get(chunk->described), 1);
    must(k, get(chunk->charged) <= CHUNK_BYTES / OS_PAGE + DESCRIPTORS_PAGES,
         "a chunk is charged more than it can take", off + offsetof(struct chunk, charged),
         get(chunk->charged), CHUNK_BYTES / OS_PAGE + DESCRIPTORS_PAGES);
}

/* HSHM_CHECK=full: of a large block the end is looked at, it may be of any size. */
static void look_large_canary(struct checker *k, const struct slice *d, uint64_t slice)
{
    uint64_t bytes = get(d->bytes), most = 2 * OS_PAGE, off = slice << SLICE_SHIFT;
    if (!(get(d->flags) & PAGE_CHECKED) || (get(d->remote) & 0xff) != LARGE_LIVE || k->count ||
        bytes <= most)
        return;
    view_read(k->v, off + bytes - most, k->bytes, most);
    const char *fault = canary_end_fault(k->bytes, most, bytes, k->v->header.link_key, off);
    must(k, !fault, fault, off, slice, slice);
}

/* The head of a huge block, or of one that is being taken apart. */
static void look_run(struct checker *k, uint64_t c, uint64_t word)
{
    uint32_t n = word_length(word);
    bool huge = word_state(word) == CHUNK_HUGE;
    if (!must(k, n >= 1 && c + n <= k->v->chunk_high, "a huge block is longer than the table",
              chunk_at(k, c), n, 1))
        return;
    for (uint32_t i = 1; i < n; i++) {
        if (k->v->alive)
            view_refresh_chunk(k->v, c + i);
        uint64_t part = get(k->v->chunks[c + i].word);
        if (!must(k, word_state(part) == CHUNK_PART,
                  "a huge block has a chunk that is no part of it", chunk_at(k, c + i), part,
                  CHUNK_PART))
            return;
    }
    if (!huge)
        return;
    struct slice d;
    view_slice(k->v, c * CHUNK_SLICES, &d);
    uint64_t off = slice_at(k, c * CHUNK_SLICES), bytes = get(d.bytes),
             stamp = get(d.remote) & 0xff;
    must(k, get(d.kind) == SLICE_LARGE, "a huge block has no descriptor", off, get(d.kind),
         SLICE_LARGE);
    must(k, bytes && bytes % OS_PAGE == 0 && bytes <= (uint64_t)n << CHUNK_SHIFT,
         "a huge block's size is wrong", off, bytes, (uint64_t)n << CHUNK_SHIFT);
    must(k, stamp == LARGE_LIVE || stamp == LARGE_FREED, "a huge block is neither live nor freed",
         off, stamp, LARGE_LIVE);
    /* One that is freed and waits for a snapshot may have given its memory back. */
    for (uint32_t i = 0;
         i < n && stamp == LARGE_LIVE && !k->count && (uint64_t)i << CHUNK_SHIFT < bytes; i++) {
        uint64_t left = bytes - ((uint64_t)i << CHUNK_SHIFT);
        uint64_t pages = (left < CHUNK_BYTES ? left : CHUNK_BYTES) / OS_PAGE;
        const struct chunk *chunk = &k->v->chunks[c + i];
        pages += get(chunk->described) ? DESCRIPTORS_PAGES : 0;
        must(k, get(chunk->charged) >= pages, "a huge block has memory that is not charged",
             chunk_at(k, c + i), get(chunk->charged), pages);
        must(k, get(chunk->dirty) == DIRT_ALL, "a huge block is taken for zero", chunk_at(k, c + i),
             get(chunk->dirty), DIRT_ALL);
    }
    look_large_canary(k, &d, c * CHUNK_SLICES);
}

static void look_part(struct checker *k, uint64_t c, uint64_t word)
{
    if (c < k->huge_until)
        return;
    must(k, view_id_is_current(k->v, word_member(word)),
         "a chunk is part of no huge block, and of a member that has ended", chunk_at(k, c), word,
         0);
}

static void look_chunk(struct checker *k, struct unit *u)
{
    uint64_t c = u->index;
    if (k->v->alive)
        view_refresh_chunk(k->v, c);
    uint64_t word = get(k->v->chunks[c].word);
    enum chunk_state state = word_state(word);
    if (k->v->alive && state != CHUNK_FREE && member_slot(word_member(word)) < k->v->members_high)
        view_refresh_member(k->v, member_slot(word_member(word)));
    if (!must(k, state <= CHUNK_HUGE, "a chunk's state is none", chunk_at(k, c), word, word))
        return;
    const char *fault = owner_fault(k, word);
    must(k, !fault, fault, chunk_at(k, c), word, word);
    look_dirt(k, c);
    if (state == CHUNK_HUGE || (state == CHUNK_PART && word_length(word) > 1))
        look_run(k, c, word);
    if (state == CHUNK_PART)
        look_part(k, c, word);
}

/* ---- slices --------------------------------------------------------------------------------- */

bool owner_may_be_at_work(const struct checker *k, uint64_t c)
{
    return word_state(get(k->v->chunks[c].word)) == CHUNK_OWNED;
}

/* Slices of a page or block behind its first; true if all are as they should be. */
static bool tails_are_whole(const struct checker *k, uint32_t i, uint32_t span)
{
    for (uint32_t n = 1; n < span; n++)
        if (get(k->slices[i + n].kind) != SLICE_TAIL || get(k->slices[i + n].back) != n)
            return false;
    return true;
}

/* Being given back, from its end: its head is still there, and nobody uses it. */
static bool is_being_ended(const struct slice *d)
{
    return get(d->kind) == SLICE_PAGE ? get(d->used) == 0 || get(d->flags) & PAGE_EMPTY
                                      : (get(d->remote) & 0xff) != LARGE_LIVE;
}

static uint32_t span_of(struct checker *k, uint64_t c, uint32_t i)
{
    const struct slice *d = &k->slices[i];
    uint64_t off = slice_at(k, c * CHUNK_SLICES + i);
    uint32_t kind = get(d->kind), span = get(d->span), cls = get(d->cls);
    if (!must(k, span >= 1 && span <= CHUNK_SLICES - i, "a page or block leaves its chunk", off,
              span, 1))
        return 1;
    if (kind == SLICE_PAGE &&
        (!must(k, cls < CLASS_COUNT, "a page's size class is none", off, cls, CLASS_COUNT) ||
         !must(k, span == class_slices(cls) && i % span == 0, "a page's length is wrong", off, span,
               class_slices(cls))))
        return 1;
    if (kind == SLICE_LARGE)
        must(k,
             get(d->bytes) && get(d->bytes) % OS_PAGE == 0 &&
                 get(d->bytes) <= (uint64_t)span << SLICE_SHIFT,
             "a large block's size is wrong", off, get(d->bytes), (uint64_t)span << SLICE_SHIFT);
    if (kind == SLICE_RECORDS &&
        !must(k, span == 1 && get(d->capacity) <= RECORDS_PER_SLICE && owner_may_be_at_work(k, c),
              "a slice of thread records is wrong", off, get(d->capacity), RECORDS_PER_SLICE))
        return 1;
    if (tails_are_whole(k, i, span))
        return span;
    if (owner_may_be_at_work(k, c) && is_being_ended(d))
        note(k, false, "a page or block is half given back", off, 0, 0);
    else
        must(k, false, "a page or block lacks a slice", off, 0, 0);
    return span;
}

static void look_large(struct checker *k, uint64_t c, uint32_t i)
{
    const struct slice *d = &k->slices[i];
    uint64_t off = slice_at(k, c * CHUNK_SLICES + i), stamp = get(d->remote) & 0xff;
    must(k, stamp >= LARGE_LIVE && stamp <= LARGE_CACHED, "a large block is neither live nor freed",
         off, stamp, LARGE_LIVE);
    must(k, id_is_possible(owner_member(get(d->owner))), "a large block's owner is none", off,
         get(d->owner), get(d->owner));
    must(k, get(d->home) == HOME_NOBODY, "a large block has a thread", off, get(d->home),
         HOME_NOBODY);
    look_large_canary(k, d, c * CHUNK_SLICES + i);
}

static void look_tail(struct checker *k, uint64_t c, uint32_t i)
{
    uint64_t off = slice_at(k, c * CHUNK_SLICES + i);
    must(k, get(k->slices[i].back) >= 1 && get(k->slices[i].back) <= i,
         "a slice's page begins outside its chunk", off, get(k->slices[i].back), i);
    if (owner_may_be_at_work(k, c))
        note(k, false, "a slice belongs to no page or block", off, 0, 0);
    else
        must(k, false, "a slice belongs to no page or block", off, 0, 0);
}

static void look_free_slices(struct checker *k, uint64_t c, uint64_t unused)
{
    uint64_t said = get(k->v->chunks[c].free_slices);
    uint64_t off = chunk_at(k, c) + offsetof(struct chunk, free_slices);
    must(k, (said & ~unused) == 0, "a slice in use is taken for free", off, said, unused);
    if (owner_may_be_at_work(k, c))
        note(k, said == unused, "a free slice is in nobody's hands", off, said, unused);
    else
        must(k, said == unused, "a free slice is taken for used", off, said, unused);
}

static void look_charge(struct checker *k, uint64_t c)
{
    const struct chunk *chunk = &k->v->chunks[c];
    uint64_t pages = DESCRIPTORS_PAGES;
    for (uint32_t i = 0; i < CHUNK_SLICES; i++)
        pages += (uint64_t)__builtin_popcount(get(k->slices[i].committed));
    if (get(chunk->described))
        must(k, get(chunk->charged) >= pages, "a chunk has memory that is not charged",
             chunk_at(k, c), get(chunk->charged), pages);
}

/* The slices of a chunk whose word says OWNED, ORPHAN or FREE. */
static void look_slices(struct checker *k, struct unit *u)
{
    uint64_t c = u->index, unused = 0;
    if (k->v->alive)
        view_refresh_chunk(k->v, c);
    uint64_t word = get(k->v->chunks[c].word);
    enum chunk_state state = word_state(word);
    u->gone = state != CHUNK_OWNED && state != CHUNK_ORPHAN &&
              (state != CHUNK_FREE || !get(k->v->chunks[c].described));
    if (u->gone)
        return;
    view_slices(k->v, c, k->slices);
    for (uint32_t i = 0; i < CHUNK_SLICES;) {
        uint32_t kind = get(k->slices[i].kind), span = 1;
        uint64_t off = slice_at(k, c * CHUNK_SLICES + i);
        must(k, kind <= SLICE_RECORDS, "a slice's kind is none", off, kind, SLICE_RECORDS);
        if (kind == SLICE_FREE)
            unused |= UINT64_C(1) << i;
        else if (state == CHUNK_FREE)
            must(k, false, "a free chunk has a slice in use", off, kind, SLICE_FREE);
        else if (kind == SLICE_TAIL)
            look_tail(k, c, i);
        else if (kind <= SLICE_RECORDS) {
            span = span_of(k, c, i);
            if (kind == SLICE_LARGE)
                look_large(k, c, i);
        }
        i += span;
    }
    if (state != CHUNK_FREE)
        look_free_slices(k, c, unused);
    if (get(k->v->chunks[c].dirty) != DIRT_ALL)
        look_charge(k, c);
}

/* ---- all ------------------------------------------------------------------------------------ */

static void check_chunks(struct checker *k)
{
    for (uint64_t c = k->v->header.first_chunk; c < k->v->chunk_high && !enough(k); c++) {
        struct unit chunk = { .index = c }, slices = { .index = c };
        settle(k, look_chunk, &chunk);
        k->result->chunks++;
        uint64_t word = get(k->v->chunks[c].word);
        if (word_length(word) && word_state(word) >= CHUNK_PART && c >= k->huge_until)
            k->huge_until = c + word_length(word);
        settle(k, look_slices, &slices);
    }
}

/* The pages come after the lists of all threads, which may run through any. */
static void check_all_pages(struct checker *k)
{
    for (uint64_t c = k->v->header.first_chunk; c < k->v->chunk_high && !enough(k); c++) {
        enum chunk_state state = word_state(get(k->v->chunks[c].word));
        if (state != CHUNK_OWNED && state != CHUNK_ORPHAN)
            continue;
        view_slices(k->v, c, k->slices);
        check_pages(k, c);
    }
}

/* The ledger only errs on the high side, but for races that the next recount mends. */
static void look_ledger(struct checker *k, struct unit *u)
{
    uint64_t sum = 0;
    (void)u;
    view_refresh(k->v);
    for (uint64_t c = 0; c < k->v->chunk_high; c++)
        sum += get(k->v->chunks[c].charged);
    struct seg_names names;
    view_read(k->v, SEG_NAMES_OFF, &names, sizeof names);
    sum += names_pages(&names);
    uint64_t charged = get(k->v->header.charged);
    note(k, charged == sum,
         charged < sum ? "less is charged than the chunks have"
                       : "more is charged than the chunks have",
         HEADER_OFF(charged), charged, sum);
}

/* A GPU's tables; what is in somebody's hands is no damage. */
static void look_gpu(struct checker *k, struct unit *u)
{
    static struct gpu_look look;
    u->gone = !gpu_look(k->v, (unsigned)u->index, &look);
    if (!u->gone && look.wrong)
        must(k, false, look.wrong, look.wrong_off, look.wrong_is, look.wrong_is);
}

static void check_each(struct checker *k, look_fn *look, uint64_t n)
{
    for (uint64_t i = 0; i < n && !enough(k); i++) {
        struct unit unit = { .index = i };
        settle(k, look, &unit);
    }
}

static void check_all(struct checker *k)
{
    check_each(k, look_header, 1);
    check_each(k, look_member, k->v->members_high);
    check_each(k, look_hold, k->v->holds_high);
    check_chunks(k);
    check_records(k);
    check_all_pages(k);
    check_each(k, look_gpu, GPU_DEVICE_MAX);
    uint64_t unsettled = k->result->unsettled;
    check_each(k, look_ledger, k->v->chunk_high < 4096 || !k->v->alive);
    k->result->unsettled = unsettled; /* a ledger that moves is no news */
}

/* Only reserved: what is entered takes memory. */
static bool lists_reserve(struct checker *k)
{
    uint64_t slices = k->v->chunk_high * CHUNK_SLICES;
    uint64_t bits = slices * sizeof *k->listed, log = slices * PAGE_BLOCKS_MAX * sizeof *k->log;
    uint64_t all = slices * sizeof *k->all;
    k->chunk_high = k->v->chunk_high;
    k->lists_bytes = round_up(bits + log + all + k->chunk_high + 1, OS_PAGE);
    char *room = os_map(k->lists_bytes, true);
    k->listed = (void *)room;
    k->log = (uint64_t *)(void *)(room + bits);
    k->all = (struct slice *)(void *)(room + bits + log);
    k->all_read = (uint8_t *)(room + bits + log + all);
    k->walks_left = UINT64_C(20) << 20;
    return room != NULL;
}

bool check_segment(struct view *v, check_report *report, void *context, struct check_result *result)
{
    *result = (struct check_result){ 0 };
    struct checker *k = os_map(sizeof *k, false);
    if (k)
        *k = (struct checker){ .v = v, .report = report, .context = context, .result = result };
    if (!k || !lists_reserve(k)) {
        result->unsettled = 1;
    } else if (v->wrong) {
        tell(k, &(struct finding){ FINDING_DAMAGE, v->wrong, 0, 0, 0 });
    } else {
        check_all(k);
    }
    if (k && k->listed)
        os_unmap((void *)k->listed, k->lists_bytes);
    if (k)
        os_unmap(k, sizeof *k);
    return result->damage == 0;
}
