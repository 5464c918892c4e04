/* survivor.h - what a survivor does and looks at after somebody has died.
 *
 * It is the test process itself, a member by the core's own functions.  What it
 * finds wrong it says, and ends with status 1.
 */
#pragma once
#include "allocators/adopt.h"
#include "allocators/alloc.h"
#include "allocators/check.h"
#include "allocators/commit.h"
#include "allocators/member.h"
#include "allocators/names.h"
#include "allocators/page.h"
#include "allocators/recover.h"
#include "allocators/run.h"
#include "allocators/segment.h"
#include "allocators/snapshot.h"
#include "allocators/thread_cache.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define MUST(x)                                                                                    \
    do {                                                                                           \
        if (!(x)) {                                                                                \
            dprintf(2, "%s:%d: not so: %s (errno %d)\n", __FILE__, __LINE__, #x, errno);           \
            _exit(1);                                                                              \
        }                                                                                          \
    } while (0)

#define BLOCKS 256
struct block {
    unsigned char *at;
    size_t size;
    uint32_t live; /* 0 no, 1 yes, 2 being freed: may be either */
    uint32_t seed;
};

/* A name, or a block that changes hands. */
enum fate { FATE_NONE = 0, FATE_THERE = 1, FATE_OPEN = 2, FATE_OURS = 3 };
struct named {
    struct block block;
    char name[24];
    enum fate fate;
};
#define NAMES 16

/* Private memory that victim and survivor share, outside the segment. */
struct stage {
    struct block given[BLOCKS]; /* of the survivor, freed by the victim */
    struct block made[BLOCKS];  /* of the victim */
    struct block own[BLOCKS];   /* of the survivor */
    uint32_t given_count, made_count, own_count;
    struct named names[NAMES]; /* of the victim, but for the first, the survivor's */
    struct named to[NAMES];    /* handed to the survivor: THERE is given, OURS the survivor's */
    struct named from[NAMES];  /* handed to the victim: THERE is given */
    void *lost,
        *lost_too; /* of the survivor and of one who died; their freer dies with them in hand */
    uint32_t phase;
    pid_t child;
#ifdef HSHM_COUNT_SITES
    struct site_log log;
#endif
};
static struct stage *stage;
static struct heap heap; /* of whoever this process is */
static struct thread_cache *cache, *shared_cache;
static char file[200], name[208];
#ifdef HSHM_COUNT_SITES
static struct site_log nowhere;
struct site_log *site_log = &nowhere;
#endif

static uint64_t limit_64m(uint64_t whole)
{
    (void)whole;
    return UINT64_C(64) << 20;
}
static inline uint64_t no_limit(uint64_t whole)
{
    (void)whole;
    return 0;
}

static inline struct heap_config config(bool reclaim)
{
    return (struct heap_config){ .name = name,
                                 .program = "steps",
                                 .limit = limit_64m,
                                 .member_limit = no_limit,
                                 .warm = limit_64m,
                                 .mode = 0600,
                                 .reclaim = reclaim,
                                 .purge_delay_ms = -1 };
}

static inline void join(bool reclaim)
{
    struct heap_config c = config(reclaim);
    const char *why = "";
    heap = (struct heap){ 0 };
    if (!segment_attach(&heap, &c, &why)) {
        dprintf(2, "cannot join: %s\n", why);
        _exit(1);
    }
    recover_dead(&heap, false);
    cache = cache_make(&heap);
    shared_cache = cache_make_shared(&heap);
    MUST(cache && shared_cache);
}

/* ---- as preload/interpose.c has it ------------------------------------------------------- */

static inline void *fast_malloc(size_t n)
{
    if (n <= DIRECT_MAX) {
        void *block = page_pop(&heap, cell_at(&heap, cache->direct[(n + 15) / 16]));
        if (block)
            return block;
    }
    return heap_malloc(cache, n);
}

static inline void fast_free(void *p)
{
    uint64_t off = off_of(&heap, p), i = off >> SLICE_SHIFT;
    struct slice *d = &heap.slices[i];
    uint64_t home = get(d->home), recip = own_get(d->recip);
    if (home - cache->record_off < sizeof(struct thread_record) &&
        (off & (SLICE_BYTES - 1)) * recip < recip && !link_is_sound(&heap, link_read(&heap, p))) {
        page_push(&heap, cell_at(&heap, home), d, off);
        if (own_get(d->used) == 0)
            cache_page_empty(cache, d);
        return;
    }
    heap_free(cache, p);
}

/* ---- blocks ---------------------------------------------------------------------------------- */

static inline size_t painted(size_t size)
{
    return size < 24 ? size : 24;
}

static inline void paint(struct block *b)
{
    for (size_t i = 0; i < painted(b->size); i++)
        b->at[i] = (unsigned char)(b->seed + i);
}

static inline bool is_painted(const struct block *b)
{
    for (size_t i = 0; i < painted(b->size); i++)
        if (b->at[i] != (unsigned char)(b->seed + i))
            return false;
    return true;
}

static inline struct block *note(struct block *table, uint32_t *count, void *at, size_t size)
{
    MUST(at && *count < BLOCKS);
    struct block *b = &table[*count];
    *b = (struct block){ at, size, 0, 1 + *count * 7 };
    paint(b);
    b->live = 1;
    ++*count;
    return b;
}

static inline struct block *made(void *at, size_t size)
{
    return note(stage->made, &stage->made_count, at, size);
}

static inline void drop(struct block *b)
{
    b->live = 2;
    fast_free(b->at);
    b->live = 0;
}

static inline void stage_set(const char *at)
{
    snprintf(file, sizeof file, "%s", at);
    snprintf(name, sizeof name, "file:%s", file);
    unlink(file);
    stage = mmap(NULL, sizeof *stage, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
#ifdef HSHM_COUNT_SITES
    site_log = &stage->log;
#endif
}

static inline void survivor_set_up(void)
{
    stage->lost = fast_malloc(48);
    MUST(stage->lost);
    static const size_t sizes[] = { 16, 100, 1500, 20000, 100000, 4500000 };
    for (unsigned i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        note(stage->own, &stage->own_count, fast_malloc(sizes[i]), sizes[i]);
        note(stage->given, &stage->given_count, fast_malloc(sizes[i]), sizes[i]);
        note(stage->given, &stage->given_count, fast_malloc(sizes[i]), sizes[i]);
    }
}

/* The dead have been dead for long. */
static inline void grace_is_over(struct heap *h)
{
    for (uint64_t i = 0; i < h->header->members_high.raw_; i++)
        if (&h->members[i] != h->me)
            h->members[i].dead_ms.raw_ = 1;
}

/* ---- the survivor ----- */

static inline const char *setting(const char *variable, const char *otherwise)
{
    const char *value = getenv(variable);
    return value && *value ? value : otherwise;
}

#define SAY(...)                                                                                   \
    do {                                                                                           \
        dprintf(2, __VA_ARGS__);                                                                   \
        _exit(1);                                                                                  \
    } while (0)

static inline void own_blocks_are_sound(const char *when)
{
    for (uint32_t i = 0; i < stage->own_count; i++)
        if (!is_painted(&stage->own[i]))
            SAY("%s: the survivor's block %u (%zu bytes) has changed\n", when, i,
                stage->own[i].size);
    for (uint32_t i = 0; i < stage->given_count; i++)
        if (stage->given[i].live == 1 && !is_painted(&stage->given[i]))
            SAY("%s: the survivor's block in the victim's hands %u (%zu bytes) has changed\n", when,
                i, stage->given[i].size);
    for (uint32_t i = 0; i < stage->made_count; i++)
        if (stage->made[i].live == 1 && !is_painted(&stage->made[i]))
            SAY("%s: the victim's block %u (%zu bytes) has changed\n", when, i,
                stage->made[i].size);
}

static inline void allocate_everything(void)
{
    static unsigned char *got[2 * CLASS_COUNT + 8];
    static size_t size[2 * CLASS_COUNT + 8];
    unsigned n = 0;
    for (unsigned cls = 0; cls < CLASS_COUNT; cls++)
        for (int k = 0; k < 2; k++)
            size[n++] = class_bytes(cls);
    size[n++] = 50000;
    size[n++] = 300000;
    for (unsigned i = 0; i < n; i++) {
        got[i] = fast_malloc(size[i]);
        if (!got[i])
            SAY("no memory for %zu bytes\n", size[i]);
        memset(got[i], 0xee, size[i] < 4096 ? size[i] : 4096);
    }
    own_blocks_are_sound("after allocating");
    for (unsigned i = 0; i < n; i++)
        fast_free(got[i]);
}

/* What the dead have left allocated. */
static inline unsigned legacies(void)
{
    unsigned n = 0;
    for (uint64_t c = heap.first_chunk; c < heap.header->chunk_high.raw_; c++) {
        uint64_t word = heap.chunks[c].word.raw_;
        struct slice *d = &heap.slices[c * CHUNK_SLICES];
        if (word_state(word) == CHUNK_HUGE && word_member(word) != heap.member_id)
            n += (d->remote.raw_ & 0xff) == LARGE_LIVE;
        for (unsigned i = 0; word_state(word) == CHUNK_ORPHAN && i < CHUNK_SLICES; i++) {
            if (d[i].kind.raw_ == SLICE_LARGE)
                n += (d[i].remote.raw_ & 0xff) == LARGE_LIVE;
            if (d[i].kind.raw_ != SLICE_PAGE || d[i].flags.raw_ & PAGE_EMPTY)
                continue;
            uint32_t size = class_bytes(d[i].cls.raw_);
            for (uint32_t block = 0; block < d[i].capacity.raw_; block++) {
                uint64_t off = slice_off(&heap, &d[i]) + (uint64_t)block * size;
                bool marked =
                    heap.kept[c * CHUNK_SLICES + i].bits[block / 64].raw_ >> block % 64 & 1;
                n += marked && !page_lists_have(&heap, &d[i], off);
            }
        }
    }
    return n;
}

static inline void say_finding(const struct finding *f, void *context)
{
    (void)context;
    if (f->kind == FINDING_DAMAGE)
        dprintf(2, "check: %s at %#lx: %#lx, %#lx\n", f->what, (unsigned long)f->off,
                (unsigned long)f->is, (unsigned long)f->should);
}

static inline void check_is_clean(const char *path, const char *when)
{
    static struct view v;
    struct check_result result;
    const char *why = "";
    if (!view_open_file(&v, path, &why))
        SAY("%s: %s\n", when, why);
    if (!check_segment(&v, say_finding, NULL, &result))
        SAY("%s: hshm check finds damage\n", when);
    view_close(&v);
}

static inline void all_others_are_gone(void)
{
    for (uint64_t i = 0; i < heap.header->members_high.raw_; i++)
        if (&heap.members[i] != heap.me && state_of(heap.members[i].state.raw_) != MEMBER_FREE)
            SAY("slot %lu is in state %lx\n", (unsigned long)i,
                (unsigned long)heap.members[i].state.raw_);
}

static inline void free_everything_of_the_survivor(void)
{
    for (uint32_t i = 0; i < stage->own_count; i++)
        fast_free(stage->own[i].at);
    for (uint32_t i = 0; i < stage->given_count; i++)
        if (stage->given[i].live == 1)
            fast_free(stage->given[i].at);
}
