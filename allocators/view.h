/* view.h - a segment seen from outside: read-only, and without committing memory.
 *
 * Reading a hole of a shared mapping commits it, so everything here is read
 * by pread() into private memory.  Nothing of what is read is trusted: the
 * header is validated first, every index is bounded by the tables' sizes,
 * and every loop by a number that does not come from the file.
 *
 * Works on a living segment, whose bytes change while they are read, and on
 * a copied file.  Used by the tool, by tests, and by a process on its own heap.
 */
#pragma once
#include "allocators/heap.h"

struct view {
    long fd;
    struct os_file file;
    struct seg_header header; /* a copy; its fixed fields are validated unless 'wrong' */
    const char *wrong;        /* why it is no sound segment; the tables are empty then */
    bool foreign;             /* 'wrong' because it is no segment, or of another version */
    bool alive;               /* some member lives: bytes may change while they are read */
    bool dumped;              /* a copy made by `hshm dump`: it says itself who lived */
    bool torn;                /* a dump whose members went on while it was made */
    uint64_t chunk_high, members_high, holds_high;
    struct chunk *chunks; /* copies, of that many entries, with room for all */
    struct seg_member *members;
    struct seg_hold *holds;
    uint64_t tables_bytes;
    /* OS pages of blocks that view_link() has read.  Page 'number' lies in place number % cache_pages,
     * where 'cached' has epoch << 32 | number. */
    char *cache;
    uint64_t *cached, cache_pages, cache_bytes;
    uint32_t epoch;
    bool huge_cache;
};

/* False: it cannot be read at all, and *why says why. */
bool view_open_file(struct view *v, const char *path, const char **why);
void view_close(struct view *v);

/* Copies bytes of the file; what lies beyond its end reads as zero. */
void view_read(const struct view *v, uint64_t off, void *to, uint64_t bytes);
/* A living segment changes: all tables anew; the header's changing part and what
 * the tables have grown by; one entry. */
void view_refresh(struct view *v);
void view_grow(struct view *v);
void view_refresh_chunk(struct view *v, uint64_t c);
void view_refresh_member(struct view *v, uint64_t slot);
/* All CHUNK_SLICES descriptors of a chunk below chunk_high; one of them; its kept bits. */
void view_slices(const struct view *v, uint64_t c, struct slice *to);
void view_slice(const struct view *v, uint64_t slice, struct slice *to);
void view_kept(const struct view *v, uint64_t slice, struct kept *to);

/* Does the slot's lock say that its member lives? */
bool view_member_alive(const struct view *v, uint64_t slot);
/* Is this id the one of a slot in use (living, or dead and not yet recovered)? */
bool view_id_is_current(const struct view *v, uint64_t id);

/* ---- one page ---------------------------------------------------- */

struct block_bits {
    uint64_t bits[PAGE_BLOCKS_MAX / 64];
    uint32_t count;
};

struct page_look {
    uint64_t off; /* of the page */
    uint32_t size, reserved, capacity;
    uint32_t allocated;              /* blocks handed out and not freed by anybody */
    struct block_bits remote, taken; /* lists of what others freed */
    struct block_bits kept;          /* of ended members, where the page has such */
    uint64_t former;                 /* the last of those members */
    const char *wrong;               /* a list that cannot be */
    uint64_t wrong_off;
};

/* Looks at the PAGE whose descriptor 'd' is: what its own lists and counts say, without
 * the lists of its owner.  False: 'd' cannot be a page. */
bool view_page(struct view *v, uint64_t slice, const struct slice *d, struct page_look *look);

/* The link in the first word of a free block. */
uint64_t view_link(struct view *v, uint64_t off);
void view_forget_links(struct view *v);
/* A long list is walked: what is remembered lies in huge pages from here on. */
void view_many_links(struct view *v);

static inline bool bits_have(const struct block_bits *b, uint32_t i)
{
    return b->bits[i / 64] >> (i % 64) & 1;
}

/* False if it was there. */
static inline bool bits_add(struct block_bits *b, uint32_t i)
{
    if (bits_have(b, i))
        return false;
    b->bits[i / 64] |= UINT64_C(1) << (i % 64);
    b->count++;
    return true;
}
