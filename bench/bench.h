// What all benchmark programs share: arguments, a fixed random sequence, touching, the result line.
// The programs know malloc, free and their family only; which allocator answers is LD_PRELOAD's
// business. Each prints "ops=N checksum=X": the checksum depends on the arguments alone, so that
// run.py can tell that every allocator did the same work and kept every byte it looks at.
#pragma once

#include <inttypes.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>

enum { OS_PAGE = 4096 };

// xorshift64*: one multiplication per number, so that the loop measures the allocator, not this.
struct rng {
    uint64_t state;
};

static inline struct rng rng_seed(uint64_t seed)
{
    return (struct rng){ seed * 0x9e3779b97f4a7c15u + 0x2545f4914f6cdd1du };
}

static inline uint64_t rng_next(struct rng *r)
{
    r->state ^= r->state >> 12;
    r->state ^= r->state << 25;
    r->state ^= r->state >> 27;
    return (r->state * 0x2545f4914f6cdd1du) >> 16;
}

// A number in [low, high], without a division.
static inline uint64_t rng_range(struct rng *r, uint64_t low, uint64_t high)
{
    return low + (((rng_next(r) & 0xffffffffu) * (high - low + 1)) >> 32);
}

// A size in [low, high] whose logarithm is spread evenly: as many sizes of 16..32 as of 1M..2M.
static inline size_t rng_log_size(struct rng *r, size_t low, size_t high)
{
    int octaves = 63 - __builtin_clzll(high / low);
    size_t base = low << (octaves ? rng_next(r) % (unsigned)octaves : 0);
    return rng_range(r, base, 2 * base);
}

static inline uint64_t arg_number(int argc, char **argv, int i, uint64_t fallback)
{
    return i < argc ? strtoull(argv[i], NULL, 0) : fallback;
}

static inline void *checked(void *p)
{
    if (!p) {
        fputs("out of memory\n", stderr);
        exit(1);
    }
    return p;
}

// Keeps the compiler from removing or merging allocations it could prove useless.
static inline void *opaque(void *p)
{
    __asm__ volatile("" : "+r"(p) : : "memory");
    return p;
}

static inline void *get(size_t size)
{
    return opaque(checked(malloc(size)));
}

// Writes the first word of a block of at least 8 bytes and one word of each further OS page.
static inline void touch(void *p, size_t size, uint64_t value)
{
    char *bytes = p;
    for (size_t at = 0; at + sizeof value <= size; at += OS_PAGE)
        memcpy(bytes + at, &value, sizeof value);
}

// The sum of what touch() wrote: different if any of it was lost.
static inline uint64_t read_back(const void *p, size_t size)
{
    const char *bytes = p;
    uint64_t sum = 0;
    for (size_t at = 0; at + sizeof sum <= size; at += OS_PAGE) {
        uint64_t value;
        memcpy(&value, bytes + at, sizeof value);
        sum += value;
    }
    return sum;
}

static inline uint64_t first_word(const void *p)
{
    uint64_t value;
    memcpy(&value, p, sizeof value);
    return value;
}

static inline int result(uint64_t ops, uint64_t checksum)
{
    printf("ops=%" PRIu64 " checksum=%016" PRIx64 "\n", ops, checksum);
    return 0;
}
