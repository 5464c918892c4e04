/* canary.h - HSHM_CHECK=full: overflows, writes after free, and late double frees.
 *
 * A checked block (PAGE_CHECKED in its descriptor) is larger than asked for:
 *
 *      what the program asked for | CANARY bytes | last word: the size, or FREED
 *
 * The last word is encoded with the segment's key and the block's place, so no
 * copy of another block's fits.  A freed block is filled with POISON, waits in
 * a ring of its freer, and is looked at again when it leaves the ring and when
 * it is allocated anew.  Whoever frees a checked block looks, whatever its own
 * HSHM_CHECK says; members without it do not allocate from checked pages.
 *
 * The states of the last word, and what a survivor finds:
 *      FREED   free, waiting in a ring, or popped and not yet handed out
 *      0       being handed out or poisoned
 *      size    the program's
 */
#pragma once
#include "allocators/heap.h"

#define CANARY_ROOM   16                   /* bytes behind what the program asked for, at least */
#define CANARY_BYTE   0xca                 /* behind the block */
#define POISON_BYTE   0xdb                 /* in a free block */
#define POISON_MOST   (UINT64_C(64) << 10) /* at either end of a large block */
#define DELAYED_MOST  1024                 /* blocks in a member's ring */
#define DELAYED_BYTES (UINT64_C(8) << 20)

static inline uint64_t canary_key(uint64_t key, uint64_t off)
{
    return (key ^ off) * UINT64_C(0x9e3779b97f4a7c15);
}

static inline uint64_t canary_freed(uint64_t key, uint64_t off)
{
    return ~canary_key(key, off);
}

static inline bool canary_is_on(const struct slice *d)
{
    return (get(d->flags) & PAGE_CHECKED) != 0;
}

/* A block that was just allocated, of n + CANARY_ROOM bytes or more: was it written to
 * while it was free?  Then it becomes the program's, with n bytes.  False: no memory. */
bool canary_arm(struct heap *h, uint64_t off, size_t n);
/* Bytes that the program asked for.  Ends the program if the block was written beyond its
 * end, or is free. */
size_t canary_size(struct heap *h, const struct slice *d, uint64_t off, const char *call);
/* Make it a free one. */
void canary_poison(struct heap *h, const struct slice *d, uint64_t off);
/* Was it written to since? */
void canary_look(struct heap *h, const struct slice *d, uint64_t off);

/* The same for a block of 'bytes' seen from outside, on no list: what is wrong, or NULL. */
const char *canary_fault(const void *block, uint64_t bytes, uint64_t key, uint64_t off);
/* Of a large block only its last 'have' bytes, more than CANARY_ROOM and an OS page. */
const char *canary_end_fault(const void *end, uint64_t have, uint64_t bytes, uint64_t key,
                             uint64_t off);

/* Keep a poisoned block for a while; false: it is too large for that. */
bool canary_delay(struct heap *h, const struct slice *d, uint64_t off);
/* A block whose time is over (with 'all': any that waits), looked at, to be freed now;
 * 0: none. */
uint64_t canary_due(struct heap *h, bool all);
