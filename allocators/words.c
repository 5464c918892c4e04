#include "allocators/words.h"
#include "allocators/commit.h"

#include <errno.h>

#define GROUP          8
#define WORDS_PER_PAGE (OS_PAGE / sizeof(uint64_t))

static const struct {
    uint64_t off;
    unsigned bits;
} tables[TABLE_COUNT] = {
    [TABLE_BUCKETS] = { SEG_BUCKETS_OFF, BUCKET_BITS },
    [TABLE_BLOCKS] = { SEG_BLOCKS_OFF, WORD_BITS },
    [TABLE_REFS] = { SEG_REFS_OFF, WORD_BITS },
};

static sh64_t *word_at(struct heap *h, enum word_table table, uint64_t i)
{
    return (sh64_t *)((char *)h->header + tables[table].off) + i;
}

static bool page_is_backed(struct heap *h, enum word_table table, uint64_t page)
{
    /* acquire: pairs with the fetch_or in page_back(), whose pages have memory */
    return get_acquire(names_of(h)->backed[table][page / 64]) >> (page % 64) & 1;
}

static bool page_back(struct heap *h, enum word_table table, uint64_t page)
{
    uint64_t bit = UINT64_C(1) << (page % 64);
    if (!ledger_charge(h, 1))
        return false;
    if (!commit_metadata(h, tables[table].off + page * OS_PAGE, OS_PAGE)) {
        ledger_cancel(h, 1);
        return false;
    }
    if (fetch_or(table_backed, names_of(h)->backed[table][page / 64], bit) & bit)
        ledger_cancel(h, 1); /* somebody else was faster */
    else
        ledger_settle(h, 1);
    return true;
}

sh64_t *table_word(struct heap *h, enum word_table table, uint64_t i, bool make)
{
    uint64_t page = i / WORDS_PER_PAGE;
    if (!page_is_backed(h, table, page) && (!make || !page_back(h, table, page)))
        return NULL;
    return word_at(h, table, i);
}

/* First words of the two groups of a key. */
static void groups_of(enum word_table table, uint64_t key, uint64_t group[2])
{
    uint64_t hash = mix64(key), mask = (UINT64_C(1) << tables[table].bits) - GROUP;
    group[0] = hash & mask;
    group[1] = hash >> 32 & mask;
}

static sh64_t *find(struct heap *h, enum word_table table, uint64_t key, uint64_t want,
                    uint64_t mask, uint64_t *seen)
{
    uint64_t group[2];
    groups_of(table, key, group);
    for (int g = 0; g < 2; g++) {
        sh64_t *word = table_word(h, table, group[g], false);
        for (int i = 0; word && i < GROUP; i++, word++) {
            *seen = get_acquire(*word);
            if (*seen && (*seen & mask) == want)
                return word;
        }
    }
    *seen = 0;
    return NULL;
}

sh64_t *word_find(struct heap *h, enum word_table table, uint64_t key, uint64_t mask,
                  uint64_t *seen)
{
    return find(h, table, key, key, mask, seen);
}

sh64_t *word_find_exact(struct heap *h, enum word_table table, uint64_t word, uint64_t mask)
{
    uint64_t seen;
    return find(h, table, word & mask, word, ~UINT64_C(0), &seen);
}

unsigned word_count(struct heap *h, enum word_table table, uint64_t key, uint64_t mask)
{
    uint64_t group[2];
    unsigned n = 0;
    groups_of(table, key, group);
    for (int g = 0; g < (group[0] == group[1] ? 1 : 2); g++) {
        sh64_t *word = table_word(h, table, group[g], false);
        for (int i = 0; word && i < GROUP; i++) {
            uint64_t seen = get_acquire(word[i]);
            n += seen && (seen & mask) == key;
        }
    }
    return n;
}

static int room_in(sh64_t *group)
{
    int room = 0;
    for (int i = 0; i < GROUP; i++)
        room += get(group[i]) == 0;
    return room;
}

static bool insert_in(sh64_t *group, uint64_t word)
{
    for (int i = 0; i < GROUP; i++) {
        uint64_t none = 0;
        if (get(group[i]) == 0 && cas(word_insert, group[i], &none, word))
            return true;
    }
    return false;
}

long word_insert(struct heap *h, enum word_table table, uint64_t word, uint64_t mask)
{
    uint64_t group[2];
    groups_of(table, word & mask, group);
    sh64_t *first = table_word(h, table, group[0], true),
           *second = table_word(h, table, group[1], true);
    if (!first || !second)
        return -ENOMEM;
    bool swapped = room_in(second) > room_in(first);
    return insert_in(swapped ? second : first, word) || insert_in(swapped ? first : second, word)
               ? 0
               : -ENOSPC;
}

void words_each(struct heap *h, enum word_table table, word_visitor *each, void *ctx)
{
    uint64_t pages = (UINT64_C(1) << tables[table].bits) / WORDS_PER_PAGE;
    for (uint64_t page = 0; page < pages; page++) {
        sh64_t *word = word_at(h, table, page * WORDS_PER_PAGE);
        for (uint64_t i = 0; page_is_backed(h, table, page) && i < WORDS_PER_PAGE; i++) {
            uint64_t seen = get_acquire(word[i]);
            if (seen)
                each(h, &word[i], seen, ctx);
        }
    }
}

uint64_t names_pages(const struct seg_names *n)
{
    uint64_t bits_per_page = OS_PAGE * 8, pages = 0, high = get(n->high);
    for (int table = 0; table < TABLE_COUNT; table++)
        for (int i = 0; i < 8; i++)
            pages += (uint64_t)__builtin_popcountl(get(n->backed[table][i]));
    return pages + high / ENTRIES_PER_OSPAGE + (high + bits_per_page - 1) / bits_per_page;
}
