/* name_entries.h - the entries of names: their states, the lists they are in, and the unused ones.
 *
 * See the diagram in layout.h.  For names.c and for those who recover its steps.
 */
#pragma once
#include "allocators/handed.h"

static inline struct name_entry *entry_at(const struct heap *h, uint64_t entry)
{
    return (struct name_entry *)((char *)h->header + SEG_ENTRIES_OFF) + entry;
}

static inline uint64_t entry_word(enum name_state what, uint64_t generation, uint64_t member)
{
    return (uint64_t)what | (generation & 0xffffff) << 4 | member << 28;
}
static inline enum name_state entry_what(uint64_t word)
{
    return (enum name_state)(word & 15);
}
static inline uint32_t entry_generation(uint64_t word)
{
    return (uint32_t)(word >> 4) & 0xffffff;
}
static inline uint64_t entry_member(uint64_t word)
{
    return word >> 28;
}

/* ---- names as words ------------------------------------------------------------------- */

struct name_key {
    uint64_t words[NAME_BYTES / 8];
    unsigned count;
    uint64_t hash;
};
/* False: it is no name. */
bool name_key_make(struct heap *h, const char *name, struct name_key *key);

/* ---- lists ----------------------------------------------------------------------------- */

struct place {
    sh64_t *bucket;
    uint64_t head;  /* the bucket's link when the search began */
    uint32_t entry; /* what was found; 0 none */
    uint64_t state; /* of it */
};
/* The list of a hash; NULL: it has no memory, so nothing is in it, or there is none. */
sh64_t *name_bucket(struct heap *h, uint64_t hash, bool make);
/* Search place->bucket for a name, or (key NULL) for 'entry'; unlinks what has been removed. */
bool name_search(struct heap *h, const struct name_key *key, uint32_t entry, struct place *place);
/* Enter the list that was searched.  False: it has changed since. */
bool name_enter(struct heap *h, uint32_t entry, struct place *place);
/* Is it in the list of its bucket?  Removed entries are unlinked on the way. */
bool entry_is_linked(struct heap *h, uint32_t entry);

/* ---- entries ---------------------------------------------------------------------------- */

/* An entry that is NEW in our charge; 0: no memory, or all are in use. */
uint32_t entry_claim(struct heap *h);
/* It is used no more. */
void entry_unuse(struct heap *h, uint32_t entry, uint64_t state);
/* Undo one that is NEW, in our charge and in no list; its block stays allocated. */
void entry_undo(struct heap *h, uint32_t entry, uint64_t state);
/* Offer an unused entry. */
void entry_offer(struct heap *h, uint32_t entry);
/* A removed one: unlink it, and if nobody has a reference free its block by 'step' in
 * the name of 'member'. */
void entry_finish(struct heap *h, struct inflight *step, uint64_t member, uint32_t entry,
                  uint32_t generation);
/* Free the block of an entry that is FREEING in our charge. */
void entry_free(struct heap *h, struct inflight *step, uint32_t entry, uint64_t state);

/* A word of the table of references. */
static inline uint32_t ref_entry(uint64_t word)
{
    return (uint32_t)(word >> 44);
}
static inline uint32_t ref_slot(uint64_t word)
{
    return ((uint32_t)(word >> 32) & 0xfff) - 1;
}
