/* words.h - tables of words that are found by a key, and the memory of the name tables.
 *
 * A key tells two groups of eight words.  A word lies in one of them, in the one
 * that had more room, and never moves: looking it up is two cache lines, whatever
 * the table holds.  Words are made and changed by one CAS each, so the death of
 * whoever does it leaves the table sound.  OS pages of a table get memory when a
 * word is first put there.
 */
#pragma once
#include "allocators/heap.h"

static inline struct seg_names *names_of(const struct heap *h)
{
    return (struct seg_names *)((char *)h->header + SEG_NAMES_OFF);
}

static inline uint64_t mix64(uint64_t x)
{
    x = (x ^ x >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    x = (x ^ x >> 27) * UINT64_C(0x94d049bb133111eb);
    return x ^ x >> 31;
}

/* Word 'i' of a table; NULL if its OS page has no memory and, with 'make', gets none. */
sh64_t *table_word(struct heap *h, enum word_table table, uint64_t i, bool make);

/* The word whose bits in 'mask' are those of 'key', and what it is; NULL: none. */
sh64_t *word_find(struct heap *h, enum word_table table, uint64_t key, uint64_t mask,
                  uint64_t *seen);
/* This very word, whose key are its bits in 'mask'. */
sh64_t *word_find_exact(struct heap *h, enum word_table table, uint64_t word, uint64_t mask);
/* How many such words there are: more than one only while somebody puts what is there already. */
unsigned word_count(struct heap *h, enum word_table table, uint64_t key, uint64_t mask);
/* Put a word there that nobody else puts.  0, -ENOSPC (both groups are full), -ENOMEM. */
long word_insert(struct heap *h, enum word_table table, uint64_t word, uint64_t mask);

/* Every word that is there. */
typedef void word_visitor(struct heap *h, sh64_t *word, uint64_t seen, void *ctx);
void words_each(struct heap *h, enum word_table table, word_visitor *each, void *ctx);

/* OS pages that names have, by the words of their header. */
uint64_t names_pages(const struct seg_names *n);
