/* A segment of the test's own, in a file that goes away with it. */
#pragma once
#include "allocators/alloc.h"
#include "allocators/check.h"
#include "allocators/segment.h"
#include "allocators/stats.h"
#include "allocators/thread_cache.h"

/* Attached, with a cache for this thread; the file is removed at the end of the process. */
struct heap *fixture_heap(void);
struct thread_cache *fixture_cache(void);
const char *fixture_path(void);
/* Another member: a second attachment of a forked child is made by calling this there. */
struct heap *fixture_join(bool reclaim);

/* The segment's file as it is now, copied; the path of the copy. */
const char *fixture_copy(void);
/* Writes into the copy. */
void fixture_poke(uint64_t off, const void *bytes, size_t size);
void fixture_poke64(uint64_t off, uint64_t word);
uint64_t fixture_peek64(uint64_t off);

/* Checks a file; the first damage found, or NULL.  Notes are counted. */
const char *fixture_damage(const char *file, struct check_result *result);
/* Statistics of a file. */
const struct stats *fixture_stats(const char *file);

/* Where things are in the file. */
uint64_t fixture_slice_off(const void *block); /* descriptor of the page or block */
uint64_t fixture_chunk_off(const void *block); /* entry of the chunk */
