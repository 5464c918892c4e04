#include "allocators/names.h"
#include "allocators/alloc.h"

#include <errno.h>
#include <string.h>

void names_used(struct heap *h)
{
    if (!get(h->me->named))
        put_release(member_named, h->me->named, 1);
}

/* While a member has steps in hand its entries are looked through after its death. */
static void step_begin(struct heap *h)
{
    names_used(h);
    fetch_add(member_naming, h->me->naming, 1);
    in_this_order();
}

static void step_end(struct heap *h)
{
    fetch_sub(member_naming, h->me->naming, 1);
}

/* ---- finding ------------------------------------------------------------------------------ */

static bool find(struct heap *h, const struct name_key *key, struct place *place)
{
    *place = (struct place){ .bucket = name_bucket(h, key->hash, false) };
    return place->bucket && name_search(h, key, 0, place);
}

static bool info_read(struct heap *h, uint32_t entry, uint64_t state, struct name_info *out)
{
    struct name_entry *e = entry_at(h, entry);
    *out = (struct name_info){ .at = at_off(h, get(e->block)),
                               .bytes = get(e->bytes),
                               .type = get(e->type),
                               .made_ns = get(e->made_ns),
                               .maker = get(e->maker),
                               .entry = entry,
                               .generation = entry_generation(state) };
    __atomic_thread_fence(__ATOMIC_ACQUIRE); /* what was read, before the state is read again */
    uint64_t now = get(e->state);
    return entry_generation(now) == entry_generation(state) &&
           (entry_what(now) == NAME_NEW || entry_what(now) == NAME_LIVE);
}

static long info_suits(const struct name_info *info, uint64_t bytes, uint64_t type)
{
    if (bytes && bytes != info->bytes)
        return -EMSGSIZE;
    return type && type != info->type ? -EPROTOTYPE : 0;
}

static long find_key(struct heap *h, const struct name_key *key, uint64_t bytes, uint64_t type,
                     struct thread_cache *counted, struct name_info *out)
{
    struct place place;
    for (;;) {
        if (!find(h, key, &place))
            return -ENOENT;
        if (!info_read(h, place.entry, place.state, out))
            continue; /* removed just now */
        long rc = info_suits(out, bytes, type);
        if (rc == 0 && counted)
            rc = name_ref(counted, place.entry, out->generation);
        if (rc != -ENOENT)
            return rc;
    }
}

long name_find(struct heap *h, const char *name, uint64_t bytes, uint64_t type,
               struct thread_cache *counted, struct name_info *out)
{
    struct name_key key;
    return name_key_make(h, name, &key) ? find_key(h, &key, bytes, type, counted, out) : -EINVAL;
}

/* ---- making ---------------------------------------------------------------------------------- */

struct making {
    struct name_key key;
    uint64_t bytes, type;
    bool alone;
    uint32_t entry; /* 0: not yet */
    void *block;
    struct slice *slice;
};

static void entry_fill(struct heap *h, uint32_t entry, const struct name_key *key, uint64_t off,
                       uint64_t bytes, uint64_t type, uint64_t former)
{
    struct name_entry *e = entry_at(h, entry);
    put(name_fill, e->hash, key->hash);
    put(name_fill, e->block, off);
    put(name_fill, e->bytes, bytes);
    put(name_fill, e->type, type);
    put(name_fill, e->made_ns, os_now_ns());
    put(name_fill, e->maker, h->member_id);
    put(name_fill, e->counted, 0);
    put(name_fill, e->former, former);
    for (unsigned i = 0; i < key->count; i++)
        put(name_fill, e->name[i], key->words[i]);
}

/* An entry in nobody's sight, with all that it says. */
static long making_prepare(struct heap *h, struct making *m)
{
    uint64_t former, off = off_of(h, m->block);
    if (!(m->entry = entry_claim(h)))
        return -ENOSPC;
    block_word(h, off, &former);
    entry_fill(h, m->entry, &m->key, off, m->bytes, m->type, former);
    long rc = block_set_named(h, m->slice, off, former, m->entry);
    if (rc == 0)
        return 0;
    put_release(name_block, entry_at(h, m->entry)->block, 0);
    entry_unuse(h, m->entry, get(entry_at(h, m->entry)->state));
    m->entry = 0;
    return rc;
}

/* 1: made.  0: somebody else's is there, in 'out'. */
static long making_enter(struct heap *h, struct making *m, struct name_info *out)
{
    struct place place = { .bucket = name_bucket(h, m->key.hash, true) };
    if (!place.bucket)
        return -ENOMEM;
    for (;;) {
        if (name_search(h, &m->key, 0, &place)) {
            if (!info_read(h, place.entry, place.state, out))
                continue;
            return 0;
        }
        long rc = m->entry ? 0 : making_prepare(h, m);
        if (rc < 0)
            return rc;
        uint64_t state = get(entry_at(h, m->entry)->state);
        info_read(h, m->entry, state, out);
        if (!name_enter(h, m->entry, &place))
            continue;
        fetch_add(names_live, names_of(h)->live, 1);
        /* It fails if somebody has removed the name already. */
        cas(name_live, entry_at(h, m->entry)->state, &state,
            entry_word(NAME_LIVE, out->generation, 0));
        return 1;
    }
}

static void making_undo(struct heap *h, struct making *m)
{
    if (m->entry)
        entry_undo(h, m->entry, get(entry_at(h, m->entry)->state));
}

static void *block_make(struct thread_cache *tc, uint64_t bytes, uint64_t align)
{
    void *block = align > 16 ? heap_memalign(tc, align, bytes) : heap_calloc(tc, bytes);
    if (block && align > 16)
        memset(block, 0, bytes);
    return block;
}

long name_create(struct thread_cache *tc, const char *name, uint64_t bytes, uint64_t align,
                 uint64_t type, bool alone, struct name_info *out, bool *made)
{
    struct heap *h = tc->heap;
    struct making m = { .bytes = bytes, .type = type, .alone = alone };
    *made = false;
    if (bytes == 0 || !name_key_make(h, name, &m.key))
        return -EINVAL;
    long rc = find_key(h, &m.key, alone ? 0 : bytes, alone ? 0 : type, NULL, out);
    if (rc != -ENOENT)
        return rc == 0 && alone ? -EEXIST : rc;
    m.block = block_make(tc, bytes, align);
    if (!m.block)
        return -ENOMEM;
    m.slice = heap_block(h, m.block);
    if (get(m.slice->kind) == SLICE_LARGE)
        own_put(slice_shared, m.slice->shared, 1);
    step_begin(h);
    rc = making_enter(h, &m, out);
    if (rc != 1)
        making_undo(h, &m);
    step_end(h);
    if (rc == 1) {
        *made = true;
        return 0;
    }
    heap_free(tc, m.block);
    return rc < 0 ? rc : alone ? -EEXIST : info_suits(out, bytes, type);
}

long name_publish(struct thread_cache *tc, const char *name, void *p, uint64_t bytes, uint64_t type,
                  struct name_info *out, bool *shared)
{
    struct heap *h = tc->heap;
    struct making m = { .bytes = bytes, .type = type, .alone = true, .block = p };
    m.slice = heap_block(h, p);
    if (!m.slice || !name_key_make(h, name, &m.key))
        return -EINVAL;
    uint64_t usable = heap_usable_size(h, p);
    if (bytes > usable)
        return -EINVAL;
    if (!bytes)
        m.bytes = usable;
    step_begin(h);
    long rc = making_enter(h, &m, out);
    if (rc != 1)
        making_undo(h, &m);
    step_end(h);
    if (rc != 1)
        return rc < 0 ? rc : -EEXIST;
    if (get(m.slice->kind) == SLICE_LARGE)
        put(slice_shared, m.slice->shared, 1);
    *shared = h->shared && get(m.slice->shared);
    return 0;
}

/* ---- references ------------------------------------------------------------------------------- */

#define REF_MASK (~UINT64_C(0) << 32)
static uint64_t ref_key(uint32_t entry, uint32_t slot)
{
    return (uint64_t)entry << 44 | (uint64_t)(slot + 1) << 32;
}

static long ref_add(struct heap *h, uint32_t entry)
{
    uint64_t seen, key = ref_key(entry, member_slot(h->member_id));
    for (sh64_t *word; (word = word_find(h, TABLE_REFS, key, REF_MASK, &seen));)
        if (cas(ref_count, *word, &seen, seen + 1))
            return 0;
    return word_insert(h, TABLE_REFS, key | 1, REF_MASK);
}

/* False: this member has none.  '*last': it has no other. */
static bool ref_drop(struct heap *h, uint32_t entry, bool *last)
{
    uint64_t seen, key = ref_key(entry, member_slot(h->member_id));
    for (sh64_t *word; (word = word_find(h, TABLE_REFS, key, REF_MASK, &seen));) {
        *last = (uint32_t)seen == 1;
        if (cas(ref_count, *word, &seen, *last ? 0 : seen - 1))
            return true;
    }
    return false;
}

uint64_t name_refs(struct heap *h, uint32_t entry)
{
    uint64_t sum = 0, seen, high = members_high(h);
    if (!get(entry_at(h, entry)->counted))
        return 0;
    for (uint64_t slot = 0; slot < high && slot < MEMBER_MAX; slot++)
        if (word_find(h, TABLE_REFS, ref_key(entry, (uint32_t)slot), REF_MASK, &seen))
            sum += (uint32_t)seen;
    return sum;
}

/* One reference less; if it was the last one of this member, what has been removed may go.
 * That is what the entry is now: a reference to one that was gone may have been seen by
 * whoever removed the next one in its place. */
static bool ref_end(struct thread_cache *tc, uint32_t entry)
{
    struct heap *h = tc->heap;
    bool last = false;
    step_begin(h);
    bool had = ref_drop(h, entry, &last);
    __atomic_thread_fence(__ATOMIC_SEQ_CST); /* pairs with the fence in entry_finish() */
    if (last)
        entry_finish(h, &tc->record->step, h->member_id, entry,
                     entry_generation(get_acquire(entry_at(h, entry)->state)));
    step_end(h);
    return had;
}

/* Announce first, look second: so does who removes the name, and with a full fence
 * in both one of the two sees the other.  Who has removed it may have seen our
 * announcement and left the rest to us. */
long name_ref(struct thread_cache *tc, uint32_t entry, uint32_t generation)
{
    struct heap *h = tc->heap;
    struct name_entry *e = entry_at(h, entry);
    names_used(h);
    if (!get(e->counted))
        put_release(name_counted, e->counted, 1);
    long rc = ref_add(h, entry);
    if (rc < 0)
        return rc;
    __atomic_thread_fence(__ATOMIC_SEQ_CST); /* pairs with the fence in entry_finish() */
    uint64_t state = get_acquire(e->state);
    if (entry_generation(state) == generation &&
        (entry_what(state) == NAME_NEW || entry_what(state) == NAME_LIVE))
        return 0;
    ref_end(tc, entry);
    return -ENOENT;
}

long name_unref(struct thread_cache *tc, uint32_t entry)
{
    return ref_end(tc, entry) ? 0 : -ENOENT;
}

/* ---- removing ----------------------------------------------------------------------------------- */

void entry_free(struct heap *h, struct inflight *step, uint32_t entry, uint64_t state)
{
    struct name_entry *e = entry_at(h, entry);
    uint64_t off = get(e->block);
    if (off)
        block_free_registered(h, step, off, &e->block);
    entry_unuse(h, entry, state);
}

void entry_finish(struct heap *h, struct inflight *step, uint64_t member, uint32_t entry,
                  uint32_t generation)
{
    struct name_entry *e = entry_at(h, entry);
    __atomic_thread_fence(__ATOMIC_SEQ_CST); /* pairs with the fence in name_ref() */
    uint64_t state = get_acquire(e->state), freeing = entry_word(NAME_FREEING, generation, member);
    if (entry_what(state) != NAME_REMOVED || entry_generation(state) != generation)
        return;
    entry_is_linked(h, entry); /* unlinks it */
    if (name_refs(h, entry) == 0 && cas(name_freeing, e->state, &state, freeing))
        entry_free(h, step, entry, freeing);
}

long name_remove(struct thread_cache *tc, const char *name)
{
    struct heap *h = tc->heap;
    struct name_key key;
    struct place place;
    if (!name_key_make(h, name, &key))
        return -EINVAL;
    step_begin(h);
    long rc = -ENOENT;
    while (rc < 0 && find(h, &key, &place)) {
        uint64_t generation = entry_generation(place.state);
        if (!cas(name_removed, entry_at(h, place.entry)->state, &place.state,
                 entry_word(NAME_REMOVED, generation, 0)))
            continue;
        fetch_sub(names_live, names_of(h)->live, 1);
        entry_finish(h, &tc->record->step, h->member_id, place.entry, (uint32_t)generation);
        rc = 0;
    }
    step_end(h);
    return rc;
}

/* ---- looking -------------------------------------------------------------------------------------- */

static bool entry_read(struct heap *h, uint32_t entry, struct name_info *info,
                       char text[NAME_BYTES])
{
    struct name_entry *e = entry_at(h, entry);
    uint64_t state = get_acquire(e->state), words[NAME_BYTES / 8];
    if (entry_what(state) != NAME_LIVE)
        return false;
    for (unsigned i = 0; i < NAME_BYTES / 8; i++)
        words[i] = get(e->name[i]);
    memcpy(text, words, NAME_BYTES);
    text[NAME_BYTES - 1] = '\0';
    return info_read(h, entry, state, info);
}

bool name_of(struct heap *h, const void *p, struct name_info *out, char text[NAME_BYTES])
{
    uint64_t seen, off = off_of(h, p);
    return off < h->slice_count << SLICE_SHIFT && block_word(h, off, &seen) &&
           block_word_state(seen) == BLOCK_NAMED && entry_read(h, block_word_who(seen), out, text);
}

void names_each(struct heap *h, name_visitor *each, void *ctx)
{
    struct name_info info;
    char text[NAME_BYTES];
    uint64_t high = get_acquire(names_of(h)->high);
    for (uint64_t entry = 1; entry < high; entry++)
        if (entry_read(h, (uint32_t)entry, &info, text) && !each(text, &info, ctx))
            return;
}
