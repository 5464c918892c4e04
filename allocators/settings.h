/* settings.h - what the options say about segments. */
#pragma once
#include "allocators/segment.h"

/* Everything but how it is opened.  The options must have been read. */
void settings_fill(struct heap_config *config, const char *program);

/* What the preload shows to libhshm, so that a program with both has one heap.  Both are of
 * one release: the sizes tell. */
#define HEAP_TABLE_VERSION 1
struct heap_table {
    uint32_t version, bytes;
    uint32_t heap_bytes, mine_bytes, cache_bytes, format;
    struct heap *(*heap)(void);          /* NULL: this program has libc's */
    struct thread_cache *(*cache)(void); /* of this thread, shared across fork; NULL: none */
    const struct heap_config *config;
};
