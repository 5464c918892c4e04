/* What the test suites of HSHM, its successor clio-core and Umpire do to their allocators, done to each
 * kind of heap of hshm.h; and what their allocators cannot stand: prog_api_workloads NAME. */
#include "include/hshm.h"
#include "tests/process/expect.h"

#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <sys/resource.h>
#include <sys/wait.h>

#define KIB UINT64_C(1024)
#define MIB (KIB * 1024)

static char segment_name[64];
static hshm_segment *open_segment(uint64_t size)
{
    hshm_attr_t attr = HSHM_ATTR_INIT;
    hshm_segment *s;
    snprintf(segment_name, sizeof segment_name, "names-work-%d", (int)getpid());
    attr.size = size;
    attr.flags = HSHM_CREATE;
    expect(hshm_open(segment_name, &attr, &s) == 0);
    return s;
}

static hshm_segment *join_segment(const char *name)
{
    hshm_attr_t attr = HSHM_ATTR_INIT;
    hshm_segment *s;
    expect(hshm_open(name, &attr, &s) == 0);
    return s;
}

static void ends_well(pid_t pid)
{
    int status;
    expect(waitpid(pid, &status, 0) == pid && status == 0);
}

static unsigned random_below(uint64_t *state, unsigned n)
{
    *state = *state * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    return (unsigned)(*state >> 33) % n;
}

/* ---- one workload on one heap --------------------------------------------------------------- */

/* A whole page of small ones, the ends of the rest. */
static void mark(unsigned char *p, size_t size, unsigned i)
{
    memset(p, (int)i, size < 4096 ? size : 4096);
    p[size - 1] = (unsigned char)i;
}

static void is_marked(const unsigned char *p, size_t size, unsigned i)
{
    for (size_t k = 0; k < size && k < 4095; k++)
        expect(p[k] == (unsigned char)i);
    expect(p[size - 1] == (unsigned char)i);
}

static bool keeps_all(hshm_heap *heap)
{
    return hshm_heap_kind(heap) == HSHM_HEAP_STACK;
}

/* 'count' blocks, allocated, written, their pointers converted and back, read, freed. */
static void blocks(hshm_heap *heap, unsigned count, size_t size)
{
    unsigned char **p = calloc(count, sizeof *p);
    uint64_t before = hshm_heap_used(heap);
    for (unsigned i = 0; i < count; i++) {
        expect((p[i] = hshm_heap_alloc(heap, size)));
        if (hshm_heap_kind(heap) != HSHM_HEAP_MALLOC)
            expect(hshm_raw(hshm_ptr(p[i])) == p[i]);
        mark(p[i], size, i);
    }
    for (unsigned i = 0; i < count; i++) {
        is_marked(p[i], size, i);
        hshm_heap_free(heap, p[i]);
    }
    if (keeps_all(heap))
        expect(hshm_heap_release(heap, before) == 0);
    free(p);
}

static void pages(hshm_heap *heap)
{
    blocks(heap, 1024, 4096);
    blocks(heap, 1024, 4096);
}

static void sizes(hshm_heap *heap)
{
    static const size_t all[] = { 64, 128, 256, KIB, 4 * KIB, 64 * KIB, MIB };
    for (int round = 0; round < 4; round++)
        for (unsigned k = 0; k < sizeof all / sizeof *all; k++)
            blocks(heap, 16, all[k]);
}

static void resizes(hshm_heap *heap)
{
    uint64_t before = hshm_heap_used(heap);
    unsigned char *p = hshm_heap_alloc(heap, 3 * KIB), *others[60];
    expect(p);
    memset(p, 9, 3 * KIB);
    for (unsigned i = 0; i < 60; i++) {
        expect((others[i] = hshm_heap_alloc(heap, 100)));
        memset(others[i], (int)i, 100);
    }
    hshm_heap_free(heap, others[30]);
    expect((p = hshm_heap_realloc(heap, p, 4 * KIB)));
    is_marked(p, 3 * KIB, 9);
    expect((p = hshm_heap_realloc(heap, p, MIB)));
    is_marked(p, 3 * KIB, 9);
    memset(p, 9, MIB);
    /* Smaller: what lies behind the new block is another's. */
    expect((p = hshm_heap_realloc(heap, p, 100)));
    is_marked(p, 100, 9);
    for (unsigned i = 0; i < 60; i++)
        if (i != 30) {
            is_marked(others[i], 100, i);
            hshm_heap_free(heap, others[i]);
        }
    hshm_heap_free(heap, p);
    if (keeps_all(heap))
        expect(hshm_heap_release(heap, before) == 0);
}

static void aligns(hshm_heap *heap)
{
    static unsigned char *p[1024];
    uint64_t before = hshm_heap_used(heap);
    for (unsigned i = 0; i < 1024; i++) {
        void *between = hshm_heap_alloc(heap, 24);
        expect((p[i] = hshm_heap_alloc_aligned(heap, 4096, 4096)));
        expect((uintptr_t)p[i] % 4096 == 0);
        mark(p[i], 4096, i);
        hshm_heap_free(heap, between);
    }
    for (unsigned i = 0; i < 1024; i++) {
        is_marked(p[i], 4096, i);
        hshm_heap_free(heap, p[i]);
    }
    if (keeps_all(heap))
        expect(hshm_heap_release(heap, before) == 0);
}

#define WINDOW 32
static void window(hshm_heap *heap, unsigned rounds, unsigned low, unsigned high, uint64_t seed)
{
    unsigned char *p[WINDOW];
    size_t size[WINDOW];
    for (unsigned round = 0; round < rounds; round++) {
        for (unsigned i = 0; i < WINDOW; i++) {
            size[i] = low + random_below(&seed, high - low + 1);
            expect((p[i] = hshm_heap_alloc(heap, size[i])));
            mark(p[i], size[i], i + (unsigned)seed);
            size[i] = size[i] << 8 | (unsigned char)(i + (unsigned)seed);
        }
        for (unsigned i = 0; i < WINDOW; i++) {
            is_marked(p[i], size[i] >> 8, size[i] & 255);
            hshm_heap_free(heap, p[i]);
        }
    }
}

static void windows(hshm_heap *heap)
{
    for (unsigned i = 0; i < 10; i++) {
        uint64_t before = hshm_heap_used(heap);
        window(heap, keeps_all(heap) ? 5 : 100, 64, MIB, i);
        if (keeps_all(heap))
            expect(hshm_heap_release(heap, before) == 0);
    }
}

static void immediate(hshm_heap *heap)
{
    static const struct {
        unsigned count;
        size_t size;
    } all[] = { { 10000, KIB }, { 1000, 64 * KIB }, { 100, MIB } };
    for (unsigned k = 0; k < 3; k++)
        for (unsigned i = 0; i < all[k].count; i++)
            blocks(heap, 1, all[k].size);
}

static void batches(hshm_heap *heap)
{
    for (unsigned i = 0; i < 1000; i++)
        blocks(heap, 10, 4 * KIB);
    for (unsigned i = 0; i < 100; i++)
        blocks(heap, 100, 4 * KIB);
    for (unsigned i = 0; i < 10; i++)
        blocks(heap, 1000, KIB);
}

/* 1 byte to 16 MiB, small ones more often; at most 32 MiB and 5000 blocks live. */
static void random_sizes(hshm_heap *heap)
{
    static unsigned char *p[5000];
    static size_t size[5000];
    uint64_t seed = 11;
    for (unsigned round = 0; round < 32; round++) {
        uint64_t before = hshm_heap_used(heap), live = 0;
        unsigned n = 0;
        for (; n < 5000; n++) {
            size[n] = 1 + random_below(&seed, 1u << (1 + random_below(&seed, 24)));
            if (live + size[n] > 32 * MIB)
                break;
            live += size[n];
            expect((p[n] = hshm_heap_alloc(heap, size[n])));
            mark(p[n], size[n], n);
        }
        for (unsigned i = 0; i < n; i++)
            is_marked(p[i], size[i], i);
        while (n) {
            unsigned i = random_below(&seed, n--);
            hshm_heap_free(heap, p[i]);
            p[i] = p[n];
        }
        if (keeps_all(heap))
            expect(hshm_heap_release(heap, before) == 0);
    }
}

static void large_then_small(hshm_heap *heap)
{
    for (int i = 0; i < 10; i++) {
        blocks(heap, 100, MIB);
        blocks(heap, 1000, 128);
    }
    for (int i = 0; i < 5; i++) {
        blocks(heap, 50, 512 * KIB);
        blocks(heap, 500, 256);
    }
}

/* 256 MiB is gone after 2.8 million pairs in a heap that files small blocks wrongly. */
static void small_pairs(hshm_heap *heap)
{
    uint64_t before = hshm_heap_used(heap);
    for (unsigned i = 0; i < 1500000; i++) {
        void *p = hshm_heap_alloc(heap, 1 + i % 32);
        if (!p && keeps_all(heap))
            expect(hshm_heap_release(heap, before) == 0);
        else
            expect(p);
        hshm_heap_free(heap, p);
    }
    if (keeps_all(heap))
        expect(hshm_heap_release(heap, before) == 0);
}

/* A request that cannot be met, of each way to fail, leaves the heap as it was. */
static void too_much(hshm_heap *heap)
{
    uint64_t before = hshm_heap_used(heap);
    expect(hshm_heap_alloc(heap, SIZE_MAX) == NULL && hshm_error() == HSHM_ENOMEM);
    expect(hshm_heap_alloc(heap, SIZE_MAX - 40) == NULL && hshm_error() == HSHM_ENOMEM);
    expect(hshm_heap_alloc_aligned(heap, 4096, SIZE_MAX - 4096) == NULL);
    void *p = hshm_heap_alloc(heap, 100);
    expect(p && hshm_heap_realloc(heap, p, SIZE_MAX - 100) == NULL);
    if (hshm_heap_kind(heap) != HSHM_HEAP_MALLOC)
        for (int i = 0; i < 100; i++)
            expect(hshm_heap_alloc(heap, 4000 * MIB) == NULL && hshm_error() == HSHM_ENOMEM);
    hshm_heap_free(heap, p);
    if (keeps_all(heap))
        expect(hshm_heap_release(heap, before) == 0);
    blocks(heap, 100, 4096);
}

/* ---- on each kind ----------------------------------------------------------------------------- */

static void on_each_kind(void (*work)(hshm_heap *heap))
{
    hshm_segment *s = open_segment(768 * MIB);
    for (int kind = HSHM_HEAP_THREAD; kind <= HSHM_HEAP_MALLOC; kind++) {
        hshm_heap *heap;
        expect(hshm_heap_create(s, (uint32_t)kind, kind, kind == HSHM_HEAP_STACK ? 256 * MIB : 0, 0,
                                &heap) == 0);
        work(heap);
        expect(hshm_heap_used(heap) == 0); /* the leak check */
        hshm_heap_close(heap);
        expect(hshm_heap_remove(s, (uint32_t)kind) == 0);
    }
    expect(hshm_close(s) == 0);
}

#define ON_EACH_KIND(name, work)                                                                   \
    static void name(void)                                                                         \
    {                                                                                              \
        on_each_kind(work);                                                                        \
    }
ON_EACH_KIND(pages_are_written_and_read, pages)
ON_EACH_KIND(seven_sizes_in_four_rounds, sizes)
ON_EACH_KIND(blocks_are_resized, resizes)
ON_EACH_KIND(aligned_pages, aligns)
ON_EACH_KIND(a_window_of_random_blocks, windows)
ON_EACH_KIND(blocks_are_freed_at_once, immediate)
ON_EACH_KIND(blocks_are_freed_in_batches, batches)
ON_EACH_KIND(random_sizes_up_to_32_mib, random_sizes)
ON_EACH_KIND(small_ones_after_large_ones, large_then_small)
ON_EACH_KIND(the_smallest_blocks_do_not_leak, small_pairs)
ON_EACH_KIND(a_request_too_large_spoils_nothing, too_much)

/* ---- threads and members at once -------------------------------------------------------------- */

static void *thread_works(void *arg)
{
    hshm_heap *heap = arg;
    if (keeps_all(heap)) { /* a stack is given back by one */
        for (int i = 0; i < 200; i++)
            window(heap, 1, 64, 4 * KIB, (uint64_t)i);
        return NULL;
    }
    blocks(heap, 256, 4096);
    sizes(heap);
    window(heap, 50, 64, 64 * KIB, (uint64_t)(uintptr_t)&heap);
    for (int i = 0; i < 256; i++)
        blocks(heap, 1, KIB);
    return NULL;
}

static void eight_threads_work(hshm_heap *heap)
{
    pthread_t threads[8];
    for (int i = 0; i < 8; i++)
        expect(pthread_create(&threads[i], NULL, thread_works, heap) == 0);
    for (int i = 0; i < 8; i++)
        pthread_join(threads[i], NULL);
    if (keeps_all(heap))
        expect(hshm_heap_reset(heap) == 0);
}
ON_EACH_KIND(eight_threads_at_once, eight_threads_work)

/* Three ranks, 512 MiB, 1 byte to 16 KiB, of one heap. */
static void three_members_at_once(void)
{
    hshm_segment *s = open_segment(512 * MIB);
    for (int kind = HSHM_HEAP_THREAD; kind <= HSHM_HEAP_STACK; kind++) {
        hshm_heap *heap;
        pid_t pids[3];
        uint64_t size = kind == HSHM_HEAP_STACK ? 256 * MIB : 0;
        expect(hshm_heap_create(s, (uint32_t)kind, kind, size, 0, &heap) == 0);
        for (unsigned rank = 0; rank < 3; rank++)
            if ((pids[rank] = fork()) == 0) {
                expect(hshm_heap_open(s, (uint32_t)kind, &heap) == 0);
                window(heap, kind == HSHM_HEAP_STACK ? 100 : 2000, 1, 16 * KIB, rank);
                hshm_heap_close(heap);
                _exit(0);
            }
        for (int rank = 0; rank < 3; rank++)
            ends_well(pids[rank]);
        expect(kind == HSHM_HEAP_STACK || hshm_heap_used(heap) == 0);
        hshm_heap_close(heap);
        expect(hshm_heap_remove(s, (uint32_t)kind) == 0);
    }
    expect(hshm_close(s) == 0);
}

/* ---- backends ----------------------------------------------------------------------------------- */

struct header {
    uint64_t checksum;
    hshm_ptr_t page;
};

static void a_large_segment_takes_what_is_used_of_it(void)
{
    hshm_stats_t stats = { .struct_size = sizeof stats };
    hshm_segment *s = open_segment(8192 * MIB);
    hshm_info_t info = { .struct_size = sizeof info };
    expect(hshm_info(s, &info) == 0 && info.limit == 8192 * MIB && info.window >= 8192 * MIB);
    memset(hshm_alloc(s, 2 * MIB), 1, 2 * MIB);
    expect(hshm_stats(s, &stats) == 0 && stats.committed < 8 * MIB);
    expect(hshm_close(s) == 0);
}

static char *program_path(void)
{
    static char path[256];
    path[readlink("/proc/self/exe", path, sizeof path - 1)] = '\0';
    return path;
}

static pid_t second_program(const char *what, const char *segment)
{
    char *path = program_path();
    pid_t pid = fork();
    if (pid == 0) {
        struct rlimit none = { 0, 0 };
        setrlimit(RLIMIT_CORE, &none);
        execl(path, path, what, segment, (char *)NULL);
        _exit(127);
    }
    return pid;
}

/* Rank 0 writes a page and leaves its pointer in the custom header, rank 1 finds it. */
static void a_page_is_found_by_the_header(void)
{
    hshm_segment *s = open_segment(100 * MIB);
    struct header *header = hshm_header(s, sizeof *header);
    char *page = hshm_alloc_aligned(s, 4096, 4096);
    expect(header && header->checksum == 0 && page);
    memset(page, 17, 4096);
    header->page = hshm_ptr(page);
    header->checksum = 8482942;
    ends_well(second_program("finds_page", segment_name));
    expect(page[4095] == 18);
    expect(hshm_close(s) == 0);
}

static void finds_page(const char *name)
{
    hshm_segment *s = join_segment(name);
    struct header *header = hshm_header(s, 0);
    expect(header && header->checksum == 8482942);
    unsigned char *page = hshm_raw(header->page);
    is_marked(page, 4096, 17);
    page[4095] = 18;
    expect(hshm_header(s, sizeof *header + 8) == NULL && hshm_error() == HSHM_ESIZE);
}

/* ---- what others cannot stand --------------------------------------------------------------------- */

static void dies_with_a_line(const char *what, const char *says)
{
    int fds[2], status, kept = dup(2);
    char text[512] = "";
    expect(pipe(fds) == 0 && dup2(fds[1], 2) == 2);
    pid_t pid = second_program(what, segment_name);
    dup2(kept, 2);
    close(fds[1]);
    for (ssize_t n = 0, got; (got = read(fds[0], text + n, sizeof text - 1 - (size_t)n)) > 0;)
        n += got;
    close(fds[0]);
    close(kept);
    expect(waitpid(pid, &status, 0) == pid && WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
    if (!strstr(text, says))
        dprintf(2, "it said: %s\n", text);
    expect(strstr(text, says));
}

static void frees_inside(const char *name)
{
    hshm_free((char *)hshm_alloc(join_segment(name), 100) + 16);
}
static void frees_inside_large(const char *name)
{
    hshm_free((char *)hshm_alloc(join_segment(name), 300000) + 65536);
}
static void frees_twice(const char *name)
{
    void *p = hshm_alloc(join_segment(name), 100);
    hshm_free(p);
    hshm_free(p);
}
static void frees_foreign(const char *name)
{
    hshm_free(&name);
}

static void wrong_frees_end_with_a_line(void)
{
    hshm_segment *s = open_segment(64 * MIB);
    dies_with_a_line("frees_inside", "into the middle of a block");
    dies_with_a_line("frees_inside_large", "into the middle of a block");
    dies_with_a_line("frees_twice", "free");
    dies_with_a_line("frees_foreign", "hshm_free of a pointer into no segment");
    hshm_free(NULL);
    void *p = hshm_alloc(s, 100);
    expect(p);
    hshm_free(p);
    expect(hshm_close(s) == 0);
}

static pthread_barrier_t all_live;
static void *lives_with_others(void *s)
{
    char *p = hshm_alloc(s, 100);
    expect(p);
    memset(p, 1, 100);
    pthread_barrier_wait(&all_live);
    hshm_free(p);
    return NULL;
}

static void eleven_hundred_threads_live_at_once(void)
{
    static pthread_t threads[1100];
    hshm_segment *s = open_segment(256 * MIB);
    pthread_attr_t attr;
    pthread_attr_init(&attr);
    pthread_attr_setstacksize(&attr, 64 * KIB);
    pthread_barrier_init(&all_live, NULL, 1100);
    for (int i = 0; i < 1100; i++)
        expect(pthread_create(&threads[i], &attr, lives_with_others, s) == 0);
    for (int i = 0; i < 1100; i++)
        pthread_join(threads[i], NULL);
    expect(hshm_close(s) == 0);
}

/* Each keeps what it has: a block of 16 MiB for every process is gone after 31 of them. */
static void short_processes_without_limit(void)
{
    hshm_segment *s = open_segment(512 * MIB);
    for (int i = 0; i < 200; i++) {
        pid_t pid = fork();
        if (pid == 0) {
            for (int k = 0; k < 20; k++)
                expect(hshm_alloc(s, 1000));
            _exit(0);
        }
        ends_well(pid);
    }
    expect(hshm_close(s) == 0);
}

/* What one allocates another frees: 400 MiB go through 64. */
static void a_producer_and_a_consumer(void)
{
    hshm_segment *s = open_segment(64 * MIB);
    hshm_queue *queue = hshm_queue_open(s, "blocks", 64, sizeof(hshm_ptr_t));
    pid_t pid = fork();
    if (pid == 0) {
        for (unsigned i = 0; i < 100000; i++) {
            hshm_ptr_t shared;
            expect(hshm_queue_pop(queue, &shared, 60000) == 0);
            unsigned *p = hshm_raw(shared);
            expect(p[0] == i);
            hshm_free(p);
        }
        _exit(0);
    }
    for (unsigned i = 0; i < 100000; i++) {
        unsigned *p = hshm_alloc(s, 4096);
        expect(p);
        p[0] = i;
        hshm_ptr_t shared = hshm_ptr(p);
        expect(hshm_queue_push(queue, &shared, 60000) == 0);
    }
    ends_well(pid);
    expect(hshm_close(s) == 0);
}

/* One leaves, or is killed, and the others and who comes later are in one segment. */
static void who_leaves_takes_no_name_away(void)
{
    int status;
    hshm_segment *s = open_segment(64 * MIB);
    long *count = hshm_named(s, "count", sizeof *count, 0, 0, 0, NULL);
    for (int i = 0; i < 4; i++)
        ends_well(second_program("counts", segment_name));
    pid_t pid = second_program("counts_and_dies", segment_name);
    expect(waitpid(pid, &status, 0) == pid && WIFSIGNALED(status));
    ends_well(second_program("counts", segment_name));
    expect(*count == 6);
    expect(hshm_remove(segment_name) == HSHM_EBUSY);
    expect(hshm_close(s) == 0);
    expect(hshm_remove(segment_name) == HSHM_ENOENT);
}

static void counts(const char *name)
{
    hshm_segment *s = join_segment(name);
    long *count = hshm_find(s, "count", sizeof *count, 0, 0);
    expect(count);
    ++*count;
}

/* The maker is gone, its segment lives by the others; the size is the maker's. */
static void a_segment_outlives_its_maker(void)
{
    int to[2], from[2], status;
    char c;
    expect(pipe(to) == 0 && pipe(from) == 0);
    snprintf(segment_name, sizeof segment_name, "names-work-%d", (int)getpid());
    pid_t maker = fork();
    if (maker == 0) {
        hshm_attr_t attr = HSHM_ATTR_INIT;
        hshm_segment *s;
        attr.size = 32 * MIB;
        attr.flags = HSHM_CREATE | HSHM_EXCLUSIVE;
        expect(hshm_open(segment_name, &attr, &s) == 0);
        strcpy(hshm_named(s, "text", 100, 0, 0, 0, NULL), "of the maker");
        expect(write(from[1], "x", 1) == 1 && read(to[0], &c, 1) == 1);
        raise(SIGKILL);
    }
    expect(read(from[0], &c, 1) == 1);
    hshm_segment *s = join_segment(segment_name);
    expect(write(to[1], "x", 1) == 1 && waitpid(maker, &status, 0) == maker);
    hshm_info_t info = { .struct_size = sizeof info };
    expect(hshm_info(s, &info) == 0 && info.limit == 32 * MIB && info.members == 1);
    ends_well(second_program("reads_text", segment_name));
    expect(hshm_close(s) == 0);
}

static void reads_text(const char *name)
{
    hshm_attr_t attr = HSHM_ATTR_INIT;
    hshm_segment *s;
    hshm_info_t info = { .struct_size = sizeof info };
    attr.size = 256 * MIB; /* it is there already: what it was made with counts */
    expect(hshm_open(name, &attr, &s) == 0);
    expect(strcmp(hshm_find(s, "text", 100, 0, 0), "of the maker") == 0);
    expect(hshm_info(s, &info) == 0 && info.limit == 32 * MIB);
}

/* Whoever waits for a maker that was killed while it made the segment waits for nobody. */
static void a_maker_that_is_killed_leaves_nobody_waiting(void)
{
    hshm_attr_t attr = HSHM_ATTR_INIT;
    snprintf(segment_name, sizeof segment_name, "names-work-%d", (int)getpid());
    attr.size = 32 * MIB;
    for (unsigned i = 0; i < 60; i++) {
        hshm_segment *s;
        pid_t pid = fork();
        if (pid == 0) {
            attr.flags = HSHM_CREATE;
            hshm_open(segment_name, &attr, &s);
            pause();
        }
        usleep(i * 29);
        kill(pid, SIGKILL);
        attr.flags = i % 2 ? HSHM_CREATE : 0;
        int rc = hshm_open(segment_name, &attr, &s);
        expect(rc == 0 || (rc == HSHM_ENOENT && !attr.flags));
        waitpid(pid, NULL, 0);
        attr.flags = HSHM_CREATE;
        if (rc)
            expect(hshm_open(segment_name, &attr, &s) == 0);
        void *p = hshm_alloc(s, 100);
        expect(p);
        hshm_free(p);
        expect(hshm_close(s) == 0);
    }
}

static const struct check checks[] = {
    CHECK(pages_are_written_and_read),
    CHECK(seven_sizes_in_four_rounds),
    CHECK(blocks_are_resized),
    CHECK(aligned_pages),
    CHECK(a_window_of_random_blocks),
    CHECK(blocks_are_freed_at_once),
    CHECK(blocks_are_freed_in_batches),
    CHECK(random_sizes_up_to_32_mib),
    CHECK(small_ones_after_large_ones),
    CHECK(the_smallest_blocks_do_not_leak),
    CHECK(a_request_too_large_spoils_nothing),
    CHECK(eight_threads_at_once),
    CHECK(three_members_at_once),
    CHECK(a_large_segment_takes_what_is_used_of_it),
    CHECK(a_page_is_found_by_the_header),
    CHECK(wrong_frees_end_with_a_line),
    CHECK(eleven_hundred_threads_live_at_once),
    CHECK(short_processes_without_limit),
    CHECK(a_producer_and_a_consumer),
    CHECK(who_leaves_takes_no_name_away),
    CHECK(a_segment_outlives_its_maker),
    CHECK(a_maker_that_is_killed_leaves_nobody_waiting),
};

int main(int argc, char **argv)
{
    static const struct {
        const char *name;
        void (*run)(const char *segment);
    } seconds[] = {
        { "finds_page", finds_page },
        { "frees_inside", frees_inside },
        { "frees_inside_large", frees_inside_large },
        { "frees_twice", frees_twice },
        { "frees_foreign", frees_foreign },
        { "counts", counts },
        { "counts_and_dies", counts },
        { "reads_text", reads_text },
    };
    for (unsigned i = 0; argc == 3 && i < sizeof seconds / sizeof *seconds; i++)
        if (strcmp(argv[1], seconds[i].name) == 0) {
            seconds[i].run(argv[2]);
            if (strcmp(argv[1], "counts_and_dies") == 0)
                raise(SIGKILL);
            return 0;
        }
    return argc == 2 ? run_check(checks, sizeof checks / sizeof *checks, argv[1]) : 2;
}
