/* Checks of what hshm.h tells of a segment: prog_api_stats NAME. */
#include "include/hshm.h"
#include "tests/process/expect.h"

#include <dlfcn.h>
#include <pthread.h>
#include <signal.h>
#include <stddef.h>
#include <sys/wait.h>

#define MIB (UINT64_C(1) << 20)

static hshm_segment *open_segment(uint64_t size)
{
    char name[64];
    hshm_attr_t attr = HSHM_ATTR_INIT;
    hshm_segment *s;
    snprintf(name, sizeof name, "names-stats-%d", (int)getpid());
    attr.size = size;
    attr.flags = HSHM_CREATE;
    expect(hshm_open(name, &attr, &s) == 0);
    return s;
}

static hshm_stats_t look(hshm_segment *s)
{
    hshm_stats_t stats = { .struct_size = sizeof stats };
    expect(hshm_stats(s, &stats) == 0);
    return stats;
}

static void the_peak_stays_when_blocks_are_gone(void)
{
    hshm_segment *s = open_segment(128 * MIB);
    uint64_t before = look(s).peak;
    expect(before < 16 * MIB);
    void *p = hshm_alloc(s, 40 * MIB);
    expect(p);
    memset(p, 1, 40 * MIB);
    expect(look(s).peak >= before + 40 * MIB && look(s).peak >= look(s).committed);
    hshm_free(p);
    hshm_trim(s);
    hshm_stats_t after = look(s);
    expect(after.committed < 16 * MIB);
    expect(after.peak >= before + 40 * MIB && after.peak < before + 48 * MIB);
    expect(hshm_alloc(s, 200 * MIB) == NULL); /* what was refused was never had */
    expect(look(s).peak == after.peak);
    hshm_close(s);
}

/* As Umpire's test looks for it: by halves. */
static uint64_t largest_that_works(hshm_segment *s)
{
    uint64_t low = 0, high = 256 * MIB;
    while (high - low > 4096) {
        uint64_t middle = low + (high - low) / 2;
        void *p = hshm_alloc(s, middle);
        *(p ? &low : &high) = middle;
        hshm_free(p);
    }
    return low;
}

static void the_largest_block_is_told(void)
{
    hshm_segment *s = open_segment(128 * MIB);
    uint64_t told = look(s).largest_free, had = largest_that_works(s);
    expect(told > 100 * MIB && told >= had && told - had < 8 * MIB);
    void *p = hshm_alloc(s, 64 * MIB);
    expect(p);
    told = look(s).largest_free;
    had = largest_that_works(s);
    expect(told < 64 * MIB && told >= had && told - had < 8 * MIB);
    hshm_free(p);
    hshm_close(s);
}

static void what_is_missing_is_told(void)
{
    hshm_segment *s = open_segment(64 * MIB);
    void *p = hshm_alloc(s, 40 * MIB);
    unsigned long asked, available;
    expect(p && hshm_alloc(s, 50 * MIB) == NULL && hshm_error() == HSHM_ENOMEM);
    const char *told = strstr(hshm_error_text(), "asked for ");
    expect(told && sscanf(told, "asked for %lu bytes, available %lu", &asked, &available) == 2);
    expect(asked == 50 * MIB && available > 16 * MIB && available < 24 * MIB);
    hshm_free(p);
    hshm_close(s);
}

/* A program that was built when the structure was shorter. */
static void an_older_structure_is_filled_as_far_as_it_goes(void)
{
    hshm_segment *s = open_segment(64 * MIB);
    hshm_stats_t stats = { .struct_size = offsetof(hshm_stats_t, peak), .peak = 77 };
    expect(hshm_stats(s, &stats) == 0 && stats.limit == 64 * MIB && stats.peak == 77);
    stats.struct_size = 8;
    expect(hshm_stats(s, &stats) == HSHM_EINVAL);
    hshm_close(s);
}

/* ---- parts ------------------------------------------------------------------------------------ */

struct classes {
    uint64_t size, blocks, bytes, last_size, large_blocks, large_bytes, all;
};

static int class_look(const hshm_class_t *c, void *context)
{
    struct classes *classes = context;
    if (c->size == 0) {
        classes->large_blocks = c->blocks;
        classes->large_bytes = c->bytes;
    } else {
        expect(c->size > classes->last_size && c->bytes == c->size * c->blocks);
        classes->last_size = c->size;
    }
    if (c->size == classes->size) {
        classes->blocks = c->blocks;
        classes->bytes = c->bytes;
    }
    classes->all += c->blocks;
    return 0;
}

static struct classes classes_of(hshm_segment *s, uint64_t size)
{
    struct classes classes = { .size = size };
    expect(hshm_classes(s, class_look, &classes) == 0);
    return classes;
}

static int ends_at_once(const hshm_class_t *c, void *context)
{
    (void)c;
    ++*(int *)context;
    return 1234;
}

static void blocks_are_counted_by_size_class(void)
{
    int calls = 0;
    hshm_segment *s = open_segment(64 * MIB);
    void *p[50];
    p[0] = hshm_alloc(s, 1000);
    uint64_t size = hshm_usable_size(p[0]), before = classes_of(s, size).blocks;
    uint64_t large = classes_of(s, 0).large_blocks;
    for (int i = 1; i < 50; i++)
        p[i] = hshm_alloc(s, 1000);
    void *q = hshm_alloc(s, 100000);
    struct classes now = classes_of(s, size);
    expect(now.blocks == before + 49 && now.bytes == now.blocks * size);
    expect(now.large_blocks == large + 1 && now.large_bytes >= 100000);
    expect(now.all == look(s).blocks);
    for (int i = 0; i < 50; i++)
        hshm_free(p[i]);
    hshm_free(q);
    expect(classes_of(s, size).blocks == before - 1 && classes_of(s, size).large_blocks == large);
    expect(hshm_classes(s, ends_at_once, &calls) == 1234 && calls == 1);
    hshm_close(s);
}

struct members {
    uint64_t pid, bytes, committed, found, alive;
};

static int member_look(const hshm_member_t *member, void *context)
{
    struct members *members = context;
    expect(strncmp(member->program, "prog_api_stats", 14) == 0 && member->member > 0);
    members->alive += member->alive != 0;
    if (member->pid == members->pid) {
        members->found++;
        members->bytes = member->bytes;
        members->committed = member->committed;
        expect(member->alive && member->threads == 1);
    }
    return 0;
}

static void blocks_are_counted_by_member(void)
{
    int to[2], from[2], status;
    char c;
    hshm_segment *s = open_segment(64 * MIB);
    expect(hshm_alloc(s, 1000) && pipe(to) == 0 && pipe(from) == 0);
    pid_t pid = fork();
    if (pid == 0) {
        for (int i = 0; i < 10; i++)
            expect(hshm_alloc(s, 100000));
        expect(write(from[1], "x", 1) == 1 && read(to[0], &c, 1) == 1);
        _exit(0);
    }
    expect(read(from[0], &c, 1) == 1);
    struct members child = { .pid = (uint64_t)pid }, self = { .pid = (uint64_t)getpid() };
    expect(hshm_members(s, member_look, &child) == 0 && hshm_members(s, member_look, &self) == 0);
    expect(child.found == 1 && child.bytes >= 1000000 && child.committed >= child.bytes);
    expect(self.found == 1 && self.bytes >= 1000 && self.bytes < 1000000 && self.alive == 2);
    expect(write(to[1], "x", 1) == 1 && waitpid(pid, &status, 0) == pid && status == 0);
    hshm_close(s);
}

static int heap_look(const hshm_heap_info_t *heap, void *context)
{
    hshm_heap_info_t *all = context;
    expect(heap->id < 8 && all[heap->id].kind == 0);
    all[heap->id] = *heap;
    return 0;
}

static void heaps_are_listed_with_what_they_use(void)
{
    hshm_segment *s = open_segment(64 * MIB);
    hshm_heap *small, *stack, *again;
    hshm_heap_info_t all[8] = { { 0 } };
    expect(hshm_heaps(s, heap_look, all) == 0 && all[3].kind == 0);
    expect(hshm_heap_create(s, 3, HSHM_HEAP_THREAD, 0, 40, &small) == 0);
    expect(hshm_heap_create(s, 5, HSHM_HEAP_STACK, MIB, 0, &stack) == 0);
    expect(hshm_heap_open(s, 5, &again) == 0);
    expect(hshm_heap_alloc(small, 1000) && hshm_heap_alloc(stack, 2000));
    expect(hshm_heaps(s, heap_look, all) == 0);
    expect(all[3].kind == HSHM_HEAP_THREAD && all[3].header_size == 40 && all[3].handles == 1);
    expect(all[3].used == hshm_heap_used(small) && all[3].used >= 1000);
    expect(all[5].kind == HSHM_HEAP_STACK && all[5].size == MIB && all[5].used == 2000);
    expect(all[5].handles == 2);
    hshm_heap_close(again);
    hshm_heap_close(stack);
    hshm_heap_close(small);
    hshm_close(s);
}

/* ---- places ------------------------------------------------------------------------------------- */

static __attribute__((noinline)) void *asks_for_small(hshm_segment *s)
{
    void *p = hshm_alloc(s, 100);
    __asm__ volatile("" : "+r"(p));
    return p;
}
static __attribute__((noinline)) void *asks_for_large(hshm_heap *heap)
{
    void *p = hshm_heap_alloc(heap, 1000);
    __asm__ volatile("" : "+r"(p));
    return p;
}
static __attribute__((noinline)) void *asks_for_more(void *p)
{
    p = hshm_realloc(p, 5000);
    __asm__ volatile("" : "+r"(p));
    return p;
}

struct places {
    uintptr_t in;
    uint64_t blocks, bytes, last, all;
};

static int place_look(const hshm_site_t *site, void *context)
{
    struct places *places = context;
    expect(places->all == 0 || site->bytes <= places->last); /* most bytes first */
    places->last = site->bytes;
    places->all += site->blocks;
    if ((uintptr_t)site->address - places->in < 200) {
        places->blocks += site->blocks;
        places->bytes += site->bytes;
        expect(strstr(site->file, "prog_api_stats") && site->offset > 0);
    }
    return 0;
}

static struct places places_in(uintptr_t function)
{
    struct places places = { .in = function };
    expect(hshm_sites(place_look, &places) == 0);
    return places;
}

static void places_are_told_with_what_they_have(void)
{
    hshm_segment *s = open_segment(64 * MIB);
    hshm_heap *heap;
    void *small[10], *large[3];
    expect(hshm_heap_create(s, 1, HSHM_HEAP_THREAD, 0, 0, &heap) == 0);
    void *before = asks_for_small(s);
    expect(places_in(0).all == 0 && hshm_track(1) == 0);
    for (int i = 0; i < 10; i++)
        small[i] = asks_for_small(s);
    for (int i = 0; i < 3; i++)
        large[i] = asks_for_large(heap);
    struct places places = places_in((uintptr_t)asks_for_small);
    expect(places.blocks == 10 && places.bytes == 1000 && places.all == 13);
    places = places_in((uintptr_t)asks_for_large);
    expect(places.blocks == 3 && places.bytes == 3000);
    hshm_free(before); /* was not noted */
    hshm_free(small[0]);
    small[1] = asks_for_more(small[1]);
    expect(hshm_realloc(small[2], SIZE_MAX) == NULL); /* and stays where it was */
    hshm_heap_free(heap, large[0]);
    places = places_in((uintptr_t)asks_for_small);
    expect(places.blocks == 8 && places.bytes == 800);
    places = places_in((uintptr_t)asks_for_more);
    expect(places.blocks == 1 && places.bytes == 5000);
    expect(places_in((uintptr_t)asks_for_large).blocks == 2);
    expect(hshm_track(0) == 0 && places_in(0).all == 0);
    asks_for_small(s);
    expect(places_in(0).all == 0);
    hshm_heap_close(heap);
    hshm_close(s);
}

static void *comes_and_goes(void *s)
{
    enum { LIVE = 3000 };
    static __thread void *p[LIVE];
    uint64_t seed = (uint64_t)(uintptr_t)&seed;
    for (int i = 0; i < 30000; i++) {
        seed = seed * UINT64_C(6364136223846793005) + 1;
        void **at = &p[(seed >> 33) % LIVE];
        if (*at && i % 5 == 0) {
            *at = hshm_realloc(*at, (seed >> 40) % 3000);
        } else {
            hshm_free(*at);
            *at = i % 3 ? hshm_alloc(s, 64) : hshm_zalloc(s, 64);
        }
        expect(*at);
    }
    for (int i = 0; i < LIVE; i++)
        hshm_free(p[i]);
    return NULL;
}

static void each_note_is_forgotten_with_its_block(void)
{
    pthread_t threads[3];
    static void *stays[2000];
    hshm_segment *s = open_segment(128 * MIB);
    hshm_track(1);
    for (int i = 0; i < 2000; i++)
        stays[i] = hshm_alloc(s, 10);
    for (int i = 0; i < 3; i++)
        expect(pthread_create(&threads[i], NULL, comes_and_goes, s) == 0);
    for (int i = 0; i < 5; i++) { /* a fork is no trouble either */
        int status;
        pid_t pid = fork();
        if (pid == 0) {
            hshm_free(hshm_alloc(s, 10));
            _exit(0);
        }
        expect(waitpid(pid, &status, 0) == pid && status == 0);
    }
    for (int i = 0; i < 3; i++)
        pthread_join(threads[i], NULL);
    expect(places_in(0).all == 2000);
    for (int i = 0; i < 2000; i++)
        hshm_free(stays[i]);
    expect(places_in(0).all == 0);
    hshm_close(s);
}

/* ---- kinds ---------------------------------------------------------------------------------------- */

static uint64_t device_memory(void)
{
    char path[300];
    ssize_t n = readlink("/proc/self/exe", path, sizeof path - 40);
    expect(n > 0);
    path[n] = '\0';
    strcpy(strrchr(path, '/'), "/fakes/libcuda.so.1"); /* a double of the driver */
    void *cuda = dlopen(path, RTLD_NOW | RTLD_GLOBAL), *context;
    expect(cuda);
    int (*init)(unsigned), (*retain)(void **, int), (*current)(void *);
    int (*allocate)(uint64_t *, size_t);
    *(void **)&init = dlsym(cuda, "cuInit");
    *(void **)&retain = dlsym(cuda, "cuDevicePrimaryCtxRetain");
    *(void **)&current = dlsym(cuda, "cuCtxSetCurrent");
    *(void **)&allocate = dlsym(cuda, "cuMemAlloc_v2");
    uint64_t p;
    expect(init(0) == 0 && retain(&context, 0) == 0 && current(context) == 0);
    expect(allocate(&p, 4096) == 0);
    return p;
}

static void each_pointer_has_a_kind(void)
{
    static _Alignas(16) char memory[65536];
    hshm_segment *s = open_segment(64 * MIB), *array;
    expect(hshm_open_array(memory, sizeof memory, HSHM_CREATE, &array) == 0);
    void *p = hshm_alloc(s, 100), *q = hshm_alloc(array, 100), *block = malloc(100);
    expect(hshm_kind(p) == HSHM_SHARED && hshm_kind(q) == HSHM_ARRAY);
    expect(hshm_kind(&s) == HSHM_FOREIGN && hshm_kind(NULL) == HSHM_FOREIGN);
    enum hshm_kind of_malloc = !getenv("LD_PRELOAD")                          ? HSHM_FOREIGN
                               : *(getenv("HSHM_SEGMENT") ?: (char *)"") != 0 ? HSHM_SHARED
                                                                              : HSHM_PRIVATE;
    expect(hshm_kind(block) == of_malloc);
    void *on_device = (void *)(uintptr_t)device_memory();
    expect(hshm_kind(on_device) == HSHM_DEVICE && hshm_kind(&s) == HSHM_FOREIGN);
    expect(hshm_kind(p) == HSHM_SHARED);
    free(block);
    hshm_close(s);
}

static const struct check checks[] = {
    CHECK(the_peak_stays_when_blocks_are_gone),
    CHECK(the_largest_block_is_told),
    CHECK(what_is_missing_is_told),
    CHECK(an_older_structure_is_filled_as_far_as_it_goes),
    CHECK(blocks_are_counted_by_size_class),
    CHECK(blocks_are_counted_by_member),
    CHECK(heaps_are_listed_with_what_they_use),
    CHECK(places_are_told_with_what_they_have),
    CHECK(each_note_is_forgotten_with_its_block),
    CHECK(each_pointer_has_a_kind),
};

int main(int argc, char **argv)
{
    return RUN_CHECKS(checks, argc, argv);
}
