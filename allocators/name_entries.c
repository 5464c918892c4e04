#include "allocators/name_entries.h"
#include "allocators/commit.h"

#include <string.h>

/* ---- names as words ----------------------------------------------------------------- */

bool name_key_make(struct heap *h, const char *name, struct name_key *key)
{
    size_t n = strnlen(name, NAME_BYTES);
    if (n == 0 || n == NAME_BYTES)
        return false;
    for (size_t i = 0; i < n; i++)
        if ((unsigned char)name[i] < ' ' || name[i] == 0x7f)
            return false;
    key->count = (unsigned)(n / 8 + 1); /* with the NUL */
    key->words[key->count - 1] = 0;
    memcpy(key->words, name, n);
    uint64_t hash = h->link_key; /* nobody outside the segment can choose names of one bucket */
    for (unsigned i = 0; i < key->count; i++)
        hash = (hash ^ key->words[i]) * UINT64_C(0x9fb21c651e98df25), hash ^= hash >> 32;
    key->hash = mix64(hash);
    return true;
}

static bool entry_has_name(const struct name_entry *e, const struct name_key *key)
{
    for (unsigned i = 0; i < key->count; i++)
        if (get(e->name[i]) != key->words[i])
            return false;
    return true;
}

/* ---- lists ------------------------------------------------------------------------------ */

#define LINK_MARK (UINT64_C(1) << 20)
static uint32_t link_entry(uint64_t link)
{
    return (uint32_t)link & (LINK_MARK - 1);
}
/* What a link becomes: it counts its changes. */
static uint64_t link_next(uint64_t link, uint64_t entry_and_mark)
{
    return ((link >> 21) + 1) << 21 | entry_and_mark;
}

sh64_t *name_bucket(struct heap *h, uint64_t hash, bool make)
{
    return table_word(h, TABLE_BUCKETS, hash >> (64 - BUCKET_BITS), make);
}

static bool is_removed(uint64_t state)
{
    return entry_what(state) == NAME_REMOVED || entry_what(state) == NAME_FREEING;
}

/* Take a removed entry out of its list: marked, its link changes no more; then the
 * link to it.  'next' was read while it was in the list: if it has been used anew
 * since, the CAS fails.  False: the list has changed, begin again. */
static bool unlink_entry(sh64_t *to, uint64_t *link, struct name_entry *e, uint64_t next)
{
    if (!(next & LINK_MARK)) {
        uint64_t marked = link_next(next, link_entry(next) | LINK_MARK);
        if (!cas(name_mark, e->next, &next, marked))
            return false;
        next = marked;
    }
    uint64_t after = link_next(*link, link_entry(next));
    if (!cas(name_unlink, *to, link, after))
        return false;
    *link = after;
    return true;
}

/* Search a bucket for a name, or (key NULL) for 'entry', and unlink what has been
 * removed.  What is read of an entry counts only if the link to it has not changed
 * meanwhile: then it was in the list. */
bool name_search(struct heap *h, const struct name_key *key, uint32_t entry, struct place *place)
{
    bool found;
    sh64_t *to;
    uint64_t link;
again:
    found = false;
    to = place->bucket;
    place->head = link = get_acquire(*to);
    while (link_entry(link)) {
        struct name_entry *e = entry_at(h, link_entry(link));
        __builtin_prefetch(e->name); /* together with the rest of it, not one after the other */
        uint64_t state = get_acquire(e->state), next = get_acquire(e->next);
        bool same =
            key ? get(e->hash) == key->hash && entry_has_name(e, key) : link_entry(link) == entry;
        /* acquire: pairs with the CAS of whoever changed the list */
        if (get_acquire(*to) != link)
            goto again;
        if (h->read_only && is_removed(state)) {
            to = &e->next;
            link = next & ~LINK_MARK;
            continue;
        }
        if (is_removed(state) || next & LINK_MARK) {
            if (!unlink_entry(to, &link, e, next))
                goto again;
            if (to == place->bucket)
                place->head = link;
            continue;
        }
        if (same) {
            found = true;
            place->entry = link_entry(link);
            place->state = state;
            if (key)
                return true;
        }
        to = &e->next;
        link = next;
    }
    return found;
}

/* N1: the CAS succeeds only if nobody has entered the list since it was searched. */
bool name_enter(struct heap *h, uint32_t entry, struct place *place)
{
    struct name_entry *e = entry_at(h, entry);
    put_release(name_next, e->next, link_next(get(e->next), link_entry(place->head)));
    return cas(name_link, *place->bucket, &place->head, link_next(place->head, entry));
}

bool entry_is_linked(struct heap *h, uint32_t entry)
{
    struct place place = { .bucket = name_bucket(h, get(entry_at(h, entry)->hash), false) };
    return place.bucket && name_search(h, NULL, entry, &place);
}

/* ---- unused entries --------------------------------------------------------------------- */

static sh64_t *unused_word(struct heap *h, uint64_t entry)
{
    return (sh64_t *)((char *)h->header + SEG_UNUSED_OFF) + entry / 64;
}

void entry_offer(struct heap *h, uint32_t entry)
{
    fetch_or(name_offer, *unused_word(h, entry), UINT64_C(1) << (entry % 64));
}

/* Memory for more entries, an OS page of them at a time. */
static bool entries_grow(struct heap *h)
{
    struct seg_names *n = names_of(h);
    uint64_t high = get_acquire(n->high), more = ENTRIES_PER_OSPAGE;
    if (high + more > name_count(h->header->window))
        return false;
    uint64_t pages = 1 + (high % (OS_PAGE * 8) == 0); /* of the unused bits, too */
    if (!ledger_charge(h, pages))
        return false;
    if (!commit_metadata(h, SEG_UNUSED_OFF + high / 8, 8) ||
        !commit_metadata(h, SEG_ENTRIES_OFF + high * sizeof(struct name_entry), OS_PAGE)) {
        ledger_cancel(h, pages);
        return false;
    }
    uint64_t bits = ((UINT64_C(1) << more) - 1) << (high % 64);
    if (!cas(names_high, n->high, &high, high + more)) {
        ledger_cancel(h, pages);
        return true; /* somebody else has made some */
    }
    ledger_settle(h, pages);
    fetch_or(name_offer, *unused_word(h, high), high ? bits : bits & ~UINT64_C(1));
    return true;
}

/* The bit says where to look, the CAS decides. */
static bool entry_try(struct heap *h, uint32_t entry)
{
    struct name_entry *e = entry_at(h, entry);
    uint64_t state = get_acquire(e->state);
    return entry_what(state) == NAME_UNUSED &&
           cas(name_claim, e->state, &state,
               entry_word(NAME_NEW, entry_generation(state), h->member_id));
}

static uint32_t entry_claim_from(struct heap *h, uint64_t from, uint64_t to)
{
    for (uint64_t w = from; w < to; w++) {
        sh64_t *word = unused_word(h, w * 64);
        for (uint64_t bits; (bits = get_acquire(*word));) {
            uint64_t bit = bits & -bits;
            if (!(fetch_and(name_unoffer, *word, ~bit) & bit))
                continue;
            uint32_t entry = (uint32_t)(w * 64 + (uint64_t)__builtin_ctzl(bit));
            if (!entry_try(h, entry))
                continue;
            put(names_hint, names_of(h)->hint, w);
            return entry;
        }
    }
    return 0;
}

/* 0: no memory, or all entries are in use. */
uint32_t entry_claim(struct heap *h)
{
    struct seg_names *n = names_of(h);
    do {
        uint64_t words = (get_acquire(n->high) + 63) / 64, hint = get(n->hint);
        hint = hint < words ? hint : 0;
        uint32_t entry = entry_claim_from(h, hint, words);
        if (!entry)
            entry = entry_claim_from(h, 0, hint);
        if (entry)
            return entry;
    } while (entries_grow(h));
    return 0;
}

void entry_unuse(struct heap *h, uint32_t entry, uint64_t state)
{
    if (cas(name_unuse, entry_at(h, entry)->state, &state,
            entry_word(NAME_UNUSED, entry_generation(state) + 1, 0)))
        entry_offer(h, entry);
}

void entry_undo(struct heap *h, uint32_t entry, uint64_t state)
{
    struct name_entry *e = entry_at(h, entry);
    uint64_t off = get(e->block);
    if (off)
        block_unset_named(h, off, get(e->former), entry);
    put_release(name_block, e->block, 0);
    entry_unuse(h, entry, state);
}
