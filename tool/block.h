/* block.h - what lies at an address of a segment, found from outside. */
#pragma once
#include "tool/tool.h"

enum block_kind {
    BLOCK_OUTSIDE, /* not in the segment */
    BLOCK_TABLES,  /* the allocator's own */
    BLOCK_NONE,    /* no page or block: free memory, or never used */
    BLOCK_SMALL,
    BLOCK_LARGE,
    BLOCK_HUGE,
};

struct block {
    enum block_kind kind;
    const char *what;  /* for people: "small block", "table of members" ... */
    const char *state; /* "allocated", "free", "kept" ...; NULL if it is no block */
    uint64_t off;      /* of the address in the segment */
    uint64_t start, size;
    uint64_t member;   /* id of the owner of its page or block; 0 none */
    uint64_t former;   /* kept: id of the last ended member that left blocks in the page */
    bool thread_known; /* a thread of the owner allocates from the page */
    uint32_t thread;   /* serial of that thread's cache */
};

/* ADDRESS as %p prints it, or an offset; false: it is no number. */
bool address_read(const struct view *v, const char *text, uint64_t *off);
void block_find(struct view *v, uint64_t off, struct block *b);
/* "pid 12 (python3), alive" or "a member that has ended". */
struct text member_text(const struct view *v, uint64_t id);
