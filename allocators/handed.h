/* handed.h - blocks that belong to somebody else than the member that made them.
 *
 * Without a word about it, a block belongs to the member that owns its page, and
 * with HSHM_EXIT=reclaim it ends with that one.  A registered block has a word in
 * the table of blocks, which says whose it is:
 *
 *   (none) --give--> GIVEN --take, by anybody--> TAKEN(m) --give--> GIVEN ...
 *                      |                            | m frees it: (none)
 *                      | taken by the owner         | m died: freed, or with
 *                      v of its page: (none)        v HSHM_EXIT=keep LEFT
 *   (none) or TAKEN --publish--> NAMED(entry) --name removed, no references--> (none)
 *
 * Each arrow is one CAS; where there is no word yet it comes as TAKEN and begun first, so
 * that two who register one block at once see each other.  Under GIVEN and NAMED the
 * death of nobody frees the block.
 */
#pragma once
#include "allocators/words.h"

/* Hand over a block of ours, or one that we have taken: from now on it is nobody's
 * until somebody takes it.  0; -EINVAL (no block begins there, or it is a copy that
 * fork made), -EBUSY (it has a name), -EALREADY (given already), -EPERM (somebody
 * else has taken it), -ENOSPC, -ENOMEM. */
long block_give(struct heap *h, void *p);
/* The given block becomes ours.  0; -EINVAL, or -EAGAIN: it is not given (any more). */
long block_take(struct heap *h, void *p);

/* The word of a block and where it is; NULL: it belongs to the owner of its page. */
sh64_t *block_word(struct heap *h, uint64_t off, uint64_t *seen);
uint64_t block_word_make(uint64_t off, enum block_state state, uint32_t who);
static inline uint64_t block_word_off(uint64_t word)
{
    return word >> 28 << 4;
}
static inline enum block_state block_word_state(uint64_t word)
{
    return (enum block_state)(word >> 26 & 3);
}
static inline uint32_t block_word_who(uint64_t word)
{
    return (uint32_t)word & ((1u << 20) - 1);
}

/* Does the block belong to somebody whose death is not the page owner's? */
bool block_is_registered(struct heap *h, const struct slice *d, uint64_t off);
/* The block, whose word was 'former' (0: none), belongs to 'entry' from now on.  Errors as
 * block_give(). */
long block_set_named(struct heap *h, struct slice *d, uint64_t off, uint64_t former,
                     uint32_t entry);
/* As it was before. */
void block_unset_named(struct heap *h, uint64_t off, uint64_t former, uint32_t entry);
/* No word says anything about it any more: if its word is 'word', or 0: whatever it is. */
void block_forget(struct heap *h, uint64_t off, uint64_t word);

/* Free a registered block with a step in hand; '*holder', which says that it is to
 * be freed, is cleared on the way.  The word must be TAKEN by us or NAMED. */
void block_free_registered(struct heap *h, struct inflight *step, uint64_t off, sh64_t *holder);
/* free() of a block in a page with registered ones.  False: it is none of them. */
bool block_free_taken(struct heap *h, struct inflight *step, struct slice *d, uint64_t off);
/* Free what ended members had taken; bytes. */
uint64_t blocks_free_left(struct heap *h, struct inflight *step);
