#include "allocators/words.h"
#include "api/array.h"

#define IN_USE     UINT64_C(1)
#define MARK_SHIFT 48
#define BEFORE     ((UINT64_C(1) << MARK_SHIFT) - 1)

static struct array_block *block_at(const struct array *a, uint64_t off)
{
    return array_at(a, off);
}

static uint64_t size_of(const struct array_block *b)
{
    return b->size & ~UINT64_C(15);
}

/* What a pointer to the middle of a block does not find before it. */
static uint64_t mark_of(const struct array *a, uint64_t off)
{
    return mix64(off ^ (uint64_t)a->check << 32) << MARK_SHIFT;
}

static uint64_t before_of(const struct array_block *b)
{
    return b->before & BEFORE;
}

static void before_set(struct array *a, uint64_t off, uint64_t before)
{
    block_at(a, off)->before = before | mark_of(a, off);
}

/* One store: whoever dies before it leaves the row as it was, after it as it will be. */
static void size_set(struct array *a, uint64_t off, uint64_t size)
{
    __atomic_store_n(&block_at(a, off)->size, size, __ATOMIC_RELEASE);
}

/* ---- lists of free blocks ------------------------------------------------------------------- */

static unsigned bin_of(uint64_t size)
{
    unsigned n = 63 - (unsigned)__builtin_clzl(size);
    return n - 5 < ARRAY_BINS ? n - 5 : ARRAY_BINS - 1;
}

static void list_add(struct array *a, uint64_t off)
{
    struct array_block *b = block_at(a, off);
    uint64_t *head = &a->bins[bin_of(size_of(b))];
    b->next = *head;
    b->previous = 0;
    if (*head)
        block_at(a, *head)->previous = off;
    *head = off;
}

static void list_remove(struct array *a, uint64_t off)
{
    struct array_block *b = block_at(a, off);
    if (b->previous)
        block_at(a, b->previous)->next = b->next;
    else
        a->bins[bin_of(size_of(b))] = b->next;
    if (b->next)
        block_at(a, b->next)->previous = b->previous;
}

/* ---- the row ---------------------------------------------------------------------------------- */

void array_blocks_make(struct array *a)
{
    before_set(a, a->first, 0);
    size_set(a, a->first, a->end - a->first);
    list_add(a, a->first);
}

bool array_blocks_mend(struct array *a)
{
    uint64_t before = 0, off = a->first;
    a->used = a->count = 0;
    for (unsigned i = 0; i < ARRAY_BINS; i++)
        a->bins[i] = 0;
    for (; off < a->end; off += before) {
        struct array_block *b = block_at(a, off);
        uint64_t size = size_of(b);
        if (size < ARRAY_MIN || size > a->end - off)
            return false;
        before_set(a, off, before);
        before = size;
        if (b->size & IN_USE) {
            a->used += size;
            a->count++;
        } else {
            list_add(a, off);
        }
    }
    return off == a->end;
}

/* Cut the block, which is in no list, after 'size' bytes; what is left over is free. */
static void split(struct array *a, uint64_t off, uint64_t size)
{
    struct array_block *b = block_at(a, off);
    uint64_t whole = size_of(b), rest = off + size, after = off + whole;
    if (whole - size < ARRAY_MIN)
        return;
    before_set(a, rest, size);
    size_set(a, rest, whole - size);
    size_set(a, off, size | (b->size & IN_USE));
    if (after < a->end)
        before_set(a, after, whole - size);
    list_add(a, rest);
}

/* The free block after 'off', which is in no list, becomes part of it. */
static void join_next(struct array *a, uint64_t off)
{
    struct array_block *b = block_at(a, off);
    uint64_t next = off + size_of(b);
    if (next >= a->end || block_at(a, next)->size & IN_USE)
        return;
    list_remove(a, next);
    uint64_t whole = size_of(b) + size_of(block_at(a, next));
    size_set(a, off, whole | (b->size & IN_USE));
    if (off + whole < a->end)
        before_set(a, off + whole, whole);
}

/* ---- allocating --------------------------------------------------------------------------------- */

/* Where a block of 'size' bytes with its header begins in the free one so that what follows its
 * header is aligned; 0: it does not fit.  What is left before it is a block, too. */
static uint64_t fits(const struct array *a, uint64_t off, uint64_t align, uint64_t size)
{
    const struct array_block *b = block_at(a, off);
    uint64_t at = (uint64_t)(uintptr_t)b + ARRAY_HEAD, data = (at + align - 1) & -align;
    while (data != at && data - at < ARRAY_MIN)
        data += align;
    return data - at <= size_of(b) && size <= size_of(b) - (data - at) ? off + (data - at) : 0;
}

static uint64_t search(const struct array *a, uint64_t align, uint64_t size, uint64_t *begin)
{
    for (unsigned bin = bin_of(size); bin < ARRAY_BINS; bin++)
        for (uint64_t off = a->bins[bin]; off; off = block_at(a, off)->next)
            if ((*begin = fits(a, off, align, size)))
                return off;
    return 0;
}

static void use(struct array *a, uint64_t off)
{
    struct array_block *b = block_at(a, off);
    size_set(a, off, b->size | IN_USE);
    a->used += size_of(b);
    a->count++;
    a->peak = a->used > a->peak ? a->used : a->peak;
}

void *array_block_get(struct array *a, size_t align, size_t bytes)
{
    uint64_t begin, size = round_up(bytes + ARRAY_HEAD, 16);
    size = size < ARRAY_MIN ? ARRAY_MIN : size;
    uint64_t off = bytes < a->size ? search(a, align < 16 ? 16 : align, size, &begin) : 0;
    if (!off)
        return NULL;
    list_remove(a, off);
    if (begin != off) {
        split(a, off, begin - off);
        list_remove(a, begin);
        list_add(a, off);
    }
    split(a, begin, size);
    use(a, begin);
    return array_at(a, begin + ARRAY_HEAD);
}

void array_block_put(struct array *a, void *p)
{
    uint64_t off = array_off(a, p) - ARRAY_HEAD;
    struct array_block *b = block_at(a, off);
    a->used -= size_of(b);
    a->count--;
    size_set(a, off, size_of(b));
    join_next(a, off);
    uint64_t before = off - before_of(b);
    if (before != off && !(block_at(a, before)->size & IN_USE)) {
        list_remove(a, before);
        uint64_t whole = size_of(block_at(a, before)) + size_of(b);
        size_set(a, before, whole);
        if (before + whole < a->end)
            before_set(a, before + whole, whole);
        off = before;
    }
    list_add(a, off);
}

bool array_block_resize(struct array *a, void *p, size_t bytes)
{
    uint64_t off = array_off(a, p) - ARRAY_HEAD, size = round_up(bytes + ARRAY_HEAD, 16);
    struct array_block *b = block_at(a, off);
    if (bytes >= a->size)
        return false;
    size = size < ARRAY_MIN ? ARRAY_MIN : size;
    uint64_t had = size_of(b), next = off + had;
    if (had < size) {
        uint64_t more =
            next < a->end && !(block_at(a, next)->size & IN_USE) ? size_of(block_at(a, next)) : 0;
        if (had + more < size)
            return false;
        join_next(a, off);
    }
    uint64_t rest = off + size;
    bool cut = size_of(b) - size >= ARRAY_MIN;
    split(a, off, size);
    if (cut) { /* what was cut off and a free one behind it are one */
        list_remove(a, rest);
        join_next(a, rest);
        list_add(a, rest);
    }
    a->used += size_of(b) - had;
    a->peak = a->used > a->peak ? a->used : a->peak;
    return true;
}

/* ---- looking ---------------------------------------------------------------------------------------- */

size_t array_block_usable(const struct array *a, const void *p)
{
    uint64_t off = array_off(a, p);
    if (off < a->first + ARRAY_HEAD || off >= a->end || off & 15)
        return 0;
    off -= ARRAY_HEAD;
    const struct array_block *b = block_at(a, off);
    bool is_block = (b->before ^ mark_of(a, off)) >> MARK_SHIFT == 0 && b->size & IN_USE &&
                    size_of(b) >= ARRAY_MIN && size_of(b) <= a->end - off;
    return is_block ? size_of(b) - ARRAY_HEAD : 0;
}

uint64_t array_largest(const struct array *a)
{
    uint64_t largest = 0;
    for (unsigned bin = ARRAY_BINS; bin-- && !largest;)
        for (uint64_t off = a->bins[bin]; off; off = block_at(a, off)->next) {
            uint64_t size = size_of(block_at(a, off));
            largest = size > largest ? size : largest;
        }
    return largest ? largest - ARRAY_HEAD : 0;
}
