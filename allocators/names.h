/* names.h - blocks that have names, found by whoever is in the segment.
 *
 * A name, its block and the block's size and type are one entry.  Names do not
 * end with their maker.  A removed name is found no more; its block is freed when
 * no member has a reference to it any more.  The references of a member that ends
 * end with it.
 *
 * Guarantees:
 *   N1  Two living entries never have the same name: an entry enters the list of its
 *       bucket by a CAS on the list's first link, which says that nobody else has
 *       entered since the list was searched.
 *   N2  Nobody waits: whoever meets a removed entry unlinks it.
 *   N3  An entry is used again only when it is in no list and nobody has a reference.
 *   N4  The steps of a dead member are undone or finished by who recovers it
 *       (names_recover.c), who finds them by the member id in the entry's state.
 */
#pragma once
#include "allocators/name_entries.h"

struct name_info {
    void *at;
    uint64_t bytes, type;
    uint64_t made_ns, maker;
    uint32_t entry, generation; /* identify it, also when its name is gone */
};

/* All return 0 or -E: -EINVAL (no name: 1 to 127 bytes, no control characters), -ENOENT,
 * -EEXIST, -EMSGSIZE (another size), -EPROTOTYPE (another type), -ENOSPC (no place for
 * another name), -ENOMEM.  'bytes' or 'type' 0: any will do. */

/* 'counted': with a reference of this member, by this thread; NULL: without. */
long name_find(struct heap *h, const char *name, uint64_t bytes, uint64_t type,
               struct thread_cache *counted, struct name_info *out);
/* A zeroed block of a cache whose pages stay shared across fork; '*made' tells
 * whether it is new.  'alone': it must be. */
long name_create(struct thread_cache *tc, const char *name, uint64_t bytes, uint64_t align,
                 uint64_t type, bool alone, struct name_info *out, bool *made);
/* Give a block a name.  It belongs to the name from now on.  -EINVAL: no block begins
 * there, or it is too small; -EBUSY: it has a name or is being given.  'bytes' 0: all
 * of it.  '*shared': whether forks leave it shared. */
long name_publish(struct thread_cache *tc, const char *name, void *p, uint64_t bytes, uint64_t type,
                  struct name_info *out, bool *shared);
long name_remove(struct thread_cache *tc, const char *name);

/* References of this member: one more, to a name that was found; one less. */
long name_ref(struct thread_cache *tc, uint32_t entry, uint32_t generation);
long name_unref(struct thread_cache *tc, uint32_t entry);
/* Those of all members. */
uint64_t name_refs(struct heap *h, uint32_t entry);

/* The name that a block has; false: none. */
bool name_of(struct heap *h, const void *p, struct name_info *out, char text[NAME_BYTES]);
/* Each name; 'each' returns false to end. */
typedef bool name_visitor(const char *name, const struct name_info *info, void *ctx);
void names_each(struct heap *h, name_visitor *each, void *ctx);

/* This member is about to use names: it is looked for when it has ended. */
void names_used(struct heap *h);

/* ---- after a death: see names_recover.c ---------------------------------------------- */

/* Before the steps of a dead member are finished: one of them has this block in hand. */
void names_recover_step(struct heap *h, uint64_t dead, uint64_t off);
/* After: its references, what it had taken, its entries.  'step': one of its own. */
void names_recover(struct heap *h, uint64_t dead, bool reclaim, struct inflight *step);
