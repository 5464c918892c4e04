/* What a dead member had in hand of names and of blocks that change hands.
 *
 * Whoever recovers it acts with the dead one's own step record and under its own
 * member id: if the recoverer dies too, the next one finds the same as the first.
 * Blocks are freed once: the step is written first, then the word and the entry
 * forget the block, then it is freed; names_recover_step() makes up for a death
 * between the first and the second, so that afterwards a word or an entry that
 * still has its block was not begun with. */
#include "allocators/chunk.h"
#include "allocators/names.h"

struct dead_names {
    uint64_t id;
    bool reclaim;
    struct inflight *step;
};

static uint32_t who_of(uint64_t member)
{
    return member_slot(member) + 1;
}

void names_recover_step(struct heap *h, uint64_t dead, uint64_t off)
{
    uint64_t seen;
    if (!block_word(h, off, &seen))
        return;
    if (block_word_state(seen) == BLOCK_TAKEN && block_word_who(seen) == who_of(dead)) {
        block_forget(h, off, seen);
        return;
    }
    if (block_word_state(seen) != BLOCK_NAMED || block_word_who(seen) >= get(names_of(h)->high))
        return;
    struct name_entry *e = entry_at(h, block_word_who(seen));
    uint64_t state = get_acquire(e->state);
    if (entry_what(state) == NAME_FREEING && entry_member(state) == dead && get(e->block) == off) {
        block_forget(h, off, seen);
        put_release(name_block, e->block, 0);
    }
}

/* ---- references ------------------------------------------------------------------------ */

static void drop_ref(struct heap *h, sh64_t *word, uint64_t seen, void *ctx)
{
    const struct dead_names *dead = ctx;
    uint32_t entry = ref_entry(seen);
    if (ref_slot(seen) != member_slot(dead->id))
        return;
    cas(ref_count, *word, &seen, 0);
    if (dead->step && entry < get(names_of(h)->high))
        entry_finish(h, dead->step, dead->id, entry,
                     entry_generation(get_acquire(entry_at(h, entry)->state)));
}

/* ---- blocks that it had taken ------------------------------------------------------------ */

static void end_taken(struct heap *h, sh64_t *word, uint64_t seen, void *ctx)
{
    const struct dead_names *dead = ctx;
    uint64_t off = block_word_off(seen);
    if (block_word_state(seen) != BLOCK_TAKEN || block_word_who(seen) != who_of(dead->id))
        return;
    /* In a chunk of its own it is one block of the dead among others; one whose word
     * was only begun is its owner's, as before. */
    if (seen & BLOCK_BEGUN || word_member(get(h->chunks[off >> CHUNK_SHIFT].word)) == dead->id)
        block_forget(h, off, seen);
    else if (dead->reclaim && dead->step)
        block_free_registered(h, dead->step, off, NULL);
    else
        cas(block_left, *word, &seen, block_word_make(off, BLOCK_LEFT, 0));
}

/* ---- entries ------------------------------------------------------------------------------- */

static void entry_recover(struct heap *h, const struct dead_names *dead, uint32_t entry)
{
    struct name_entry *e = entry_at(h, entry);
    uint64_t state = get_acquire(e->state);
    uint32_t generation = entry_generation(state);
    switch (entry_what(state)) {
    case NAME_UNUSED: entry_offer(h, entry); break;
    case NAME_NEW:
        if (entry_member(state) != dead->id)
            break;
        if (entry_is_linked(h, entry))
            cas(name_live, e->state, &state, entry_word(NAME_LIVE, generation, 0));
        else
            entry_undo(h, entry, state);
        break;
    case NAME_REMOVED:
        if (dead->step)
            entry_finish(h, dead->step, dead->id, entry, generation);
        break;
    case NAME_FREEING:
        if (entry_member(state) == dead->id && dead->step)
            entry_free(h, dead->step, entry, state);
        break;
    default: break;
    }
}

void names_recover(struct heap *h, uint64_t dead_id, bool reclaim, struct inflight *step)
{
    struct seg_member *m = &h->members[member_slot(dead_id)];
    struct dead_names dead = { dead_id, reclaim, step };
    if (!get(m->named))
        return;
    bool in_a_step = get(m->naming) != 0;
    put_release(member_naming, m->naming, 1); /* so are we from here on, should we die */
    words_each(h, TABLE_REFS, drop_ref, &dead);
    uint64_t high = get_acquire(names_of(h)->high);
    if (in_a_step)
        for (uint64_t entry = 1; entry < high; entry++)
            entry_recover(h, &dead, (uint32_t)entry);
    words_each(h, TABLE_BLOCKS, end_taken, &dead); /* also what an entry gives back */
}
