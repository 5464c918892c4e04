#include "tests/unit/heap_fixture.h"

#include <criterion/criterion.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define LIMIT (UINT64_C(64) << 20)

static struct heap heap;
static struct thread_cache *cache;
static char path[128], copy[160];
static pid_t maker;

static uint64_t limit(uint64_t whole)
{
    return whole < LIMIT ? whole : LIMIT;
}

static void remove_files(void)
{
    if (getpid() != maker)
        return;
    unlink(path);
    unlink(copy);
}

static struct heap *attach(bool reclaim)
{
    char name[160];
    const char *why = "";
    struct heap_config config = { .name = name,
                                  .program = "unit-test",
                                  .limit = limit,
                                  .mode = 0600,
                                  .reclaim = reclaim,
                                  .purge_delay_ms = 100 };
    snprintf(name, sizeof name, "file:%s", path);
    memset(&heap, 0, sizeof heap);
    cr_assert(segment_attach(&heap, &config, &why), "attach: %s", why);
    cache = cache_make(&heap);
    cr_assert(cache);
    return &heap;
}

struct heap *fixture_heap(void)
{
    if (maker)
        return &heap;
    maker = getpid();
    snprintf(path, sizeof path, "/dev/shm/hshm-unit-%d", maker);
    snprintf(copy, sizeof copy, "%s.copy", path);
    atexit(remove_files);
    return attach(false);
}

/* A forked child has the parent's mapping: it goes first, the child is nobody yet. */
struct heap *fixture_join(bool reclaim)
{
    if (heap.header)
        os_unmap(heap.header, heap.header->window);
    return attach(reclaim);
}

struct thread_cache *fixture_cache(void)
{
    fixture_heap();
    return cache;
}

const char *fixture_path(void)
{
    return path;
}

/* ---- copies --------------------------------------------------------------------- */

const char *fixture_copy(void)
{
    static char buffer[1 << 16];
    int from = open(path, O_RDONLY), to = open(copy, O_RDWR | O_CREAT | O_TRUNC, 0600);
    cr_assert(from >= 0 && to >= 0);
    cr_assert_eq(ftruncate(to, lseek(from, 0, SEEK_END)), 0);
    for (off_t data, hole = 0; (data = lseek(from, hole, SEEK_DATA)) >= 0;) {
        hole = lseek(from, data, SEEK_HOLE);
        while (data < hole) {
            size_t want =
                (size_t)(hole - data) < sizeof buffer ? (size_t)(hole - data) : sizeof buffer;
            ssize_t got = pread(from, buffer, want, data);
            cr_assert_gt(got, 0);
            cr_assert_eq(pwrite(to, buffer, (size_t)got, data), got);
            data += got;
        }
    }
    close(from);
    close(to);
    return copy;
}

void fixture_poke(uint64_t off, const void *bytes, size_t size)
{
    int fd = open(copy, O_WRONLY);
    cr_assert_eq(pwrite(fd, bytes, size, (off_t)off), (ssize_t)size);
    close(fd);
}

void fixture_poke64(uint64_t off, uint64_t word)
{
    fixture_poke(off, &word, sizeof word);
}

uint64_t fixture_peek64(uint64_t off)
{
    uint64_t word = 0;
    int fd = open(copy, O_RDONLY);
    cr_assert_eq(pread(fd, &word, sizeof word, (off_t)off), (ssize_t)sizeof word);
    close(fd);
    return word;
}

/* ---- looking ---------------------------------------------------------------------- */

static void first_damage(const struct finding *f, void *context)
{
    const char **first = context;
    if (f->kind == FINDING_DAMAGE && !*first)
        *first = f->what;
    if (f->kind == FINDING_NOTE && getenv("HSHM_TEST_NOTES"))
        fprintf(stderr, "note: %s at 0x%lx (0x%lx, 0x%lx)\n", f->what, (unsigned long)f->off,
                (unsigned long)f->is, (unsigned long)f->should);
}

const char *fixture_damage(const char *file, struct check_result *result)
{
    struct view v;
    struct check_result mine;
    const char *why = "", *first = NULL;
    cr_assert(view_open_file(&v, file, &why), "%s", why);
    check_segment(&v, first_damage, &first, result ? result : &mine);
    view_close(&v);
    return first;
}

const struct stats *fixture_stats(const char *file)
{
    static struct stats stats;
    struct view v;
    const char *why = "";
    cr_assert(view_open_file(&v, file, &why), "%s", why);
    stats_collect(&v, &stats);
    view_close(&v);
    return &stats;
}

uint64_t fixture_slice_off(const void *block)
{
    const struct slice *d = slice_head(&heap, (uint32_t)(off_of(&heap, block) >> SLICE_SHIFT));
    return (uint64_t)((const char *)d - heap.base);
}

uint64_t fixture_chunk_off(const void *block)
{
    return heap.header->chunks_off + (off_of(&heap, block) >> CHUNK_SHIFT) * sizeof(struct chunk);
}
