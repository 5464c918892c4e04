/* Any bytes in a segment's file: whoever looks at it, joins it and goes on with it neither crashes
 * nor hangs.  He may end with a line (log_abort), which is caught here.
 *
 *   make fuzz      builds and runs it with libFuzzer, under ASan and UBSan
 *
 * The input is a list of changes to a sample segment, so that a short input changes what matters:
 *
 *   mode           bit 0: no sample, an empty window  1: somebody lives  2: look only, do not join
 *   then for each  place, index (2 bytes), offset (2), n, n bytes
 *
 * The sample has blocks of many sizes, free blocks, remote frees, what an ended member left, and
 * a dead member that nobody has recovered. */
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "allocators/alloc.h"
#include "allocators/check.h"
#include "allocators/recover.h"
#include "allocators/segment.h"
#include "allocators/stats.h"
#include "allocators/thread_cache.h"
#include "config/options.h"
#include "tests/fuzz/fuzz_env.h"

enum { MODE_EMPTY = 1, MODE_ALIVE = 2, MODE_LOOK = 4 };
enum place { HEADER, HOLD, MEMBER, CHUNK, SLICE, KEPT, RECORD, BLOCK, ANYWHERE, SIZE, PLACES };

#define SAMPLE_MAX (4 << 20)
#define EXTENTS    256

static char path[64], name[80];
static struct heap heap;
static struct seg_header layout;
static uint64_t record_off;
static char sample[SAMPLE_MAX];
static struct {
    uint64_t off, bytes;
    char *at;
} extents[EXTENTS];
static unsigned extent_count;
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static uint64_t limit(uint64_t whole)
{
    return whole < (16 << 20) ? whole : 16 << 20;
}

static bool attach(void)
{
    const char *why;
    struct heap_config config = { .name = name,
                                  .program = "fuzz",
                                  .limit = limit,
                                  .mode = 0600,
                                  .persist = true,
                                  .purge_delay_ms = 0 };
    memset(&heap, 0, sizeof heap);
    return segment_attach(&heap, &config, &why);
}

static void detach(void)
{
    struct mine *m = heap.mine;
    if (!heap.header)
        return;
    if (m) {
        if (m->caches_end)
            os_unmap(m->caches_end - (UINT64_C(64) << 10), UINT64_C(64) << 10);
        os_unmap(m, heap.mine_bytes);
    }
    if (heap.live_page)
        os_unmap(heap.live_page, OS_PAGE);
    os_unmap(heap.header, layout.window);
    memset(&heap, 0, sizeof heap);
}

/* ---- the sample ------------------------------------------------------------------------------ */

static void use(struct thread_cache *tc, bool keep)
{
    static const size_t sizes[] = {
        16, 100, 100, 1000, 9000, 30000, 50000, 200000, 700000, 5000000
    };
    void *block[10];
    for (unsigned round = 0; round < 3; round++) {
        for (unsigned i = 0; i < 10; i++) {
            block[i] = heap_malloc(tc, sizes[i]);
            if (block[i])
                memset(block[i], 1, sizes[i] < 4096 ? sizes[i] : 4096);
        }
        for (unsigned i = round; i < 10; i += keep ? 2 : 1)
            if (block[i])
                heap_free(tc, block[i]);
    }
}

static void member_dies(struct thread_cache *parent)
{
    pid_t pid = fork();
    if (pid == 0) {
        os_unmap(heap.header, layout.window);
        if (!attach())
            _exit(1);
        struct thread_cache *tc = cache_make(&heap);
        use(tc, true);
        kill(getpid(), SIGKILL);
    }
    int status;
    waitpid(pid, &status, 0);
    (void)parent;
}

static void sample_read(void)
{
    int fd = open(path, O_RDONLY);
    char *to = sample;
    for (off_t data, hole = 0; (data = lseek(fd, hole, SEEK_DATA)) >= 0;) {
        hole = lseek(fd, data, SEEK_HOLE);
        size_t n = (size_t)(hole - data);
        if (extent_count == EXTENTS || to + n > sample + SAMPLE_MAX ||
            pread(fd, to, n, data) != (ssize_t)n)
            abort();
        extents[extent_count].off = (uint64_t)data;
        extents[extent_count].bytes = n;
        extents[extent_count++].at = to;
        to += n;
    }
    close(fd);
}

static void remove_file(void)
{
    unlink(path);
}

static void sample_make(void)
{
    char *const none[] = { "HSHM_VERBOSE=0", NULL };
    if (getenv("FUZZ_TALK") == NULL)
        options_init(none, "fuzz", false);
    snprintf(path, sizeof path, "/dev/shm/hshm-fuzz-%d", (int)getpid());
    snprintf(name, sizeof name, "file:%s", path);
    atexit(remove_file);
    if (!attach())
        abort();
    layout = *heap.header;
    struct thread_cache *tc = cache_make(&heap), *other = cache_make(&heap);
    record_off = tc->record_off;
    use(tc, true);
    void *mine[20];
    for (unsigned i = 0; i < 20; i++)
        mine[i] = heap_malloc(tc, 64);
    for (unsigned i = 0; i < 10; i++)
        heap_free(other, mine[i]); /* on their page's remote list */
    member_dies(tc);
    os_sleep_us(110000);
    recover_dead(&heap, true);
    member_dies(tc);
    heap.header->persist = 1;
    sample_read();
    detach();
}

/* ---- one input ---------------------------------------------------------------------------------- */

static uint64_t place_of(enum place place, uint64_t index, uint64_t offset)
{
    uint64_t slice = layout.first_chunk * CHUNK_SLICES + index % (16 * CHUNK_SLICES);
    switch (place) {
    case HEADER: return offset % sizeof(struct seg_header);
    case HOLD: return SEG_HOLDS_OFF + index % 8 * sizeof(struct seg_hold) + offset % 64;
    case MEMBER: return SEG_MEMBERS_OFF + index % 4 * OS_PAGE + offset % 256;
    case CHUNK:
        return layout.chunks_off + (layout.first_chunk + index % 16) * sizeof(struct chunk) +
               offset % 64;
    case SLICE: return layout.slices_off + slice * sizeof(struct slice) + offset % 128;
    case KEPT: return layout.kept_off + slice * sizeof(struct kept) + offset % 640;
    case RECORD: return record_off + index % 2 * sizeof(struct thread_record) + offset % 1280;
    case BLOCK: return (slice << SLICE_SHIFT) + offset;
    default: return (index << 16 | offset) % layout.window;
    }
}

static void change(int fd, const uint8_t *data, size_t size)
{
    while (size >= 6) {
        enum place place = (enum place)(data[0] % PLACES);
        uint64_t index = data[1] | (uint64_t)data[2] << 8,
                 offset = data[3] | (uint64_t)data[4] << 8;
        size_t n = data[5] < size - 6 ? data[5] : size - 6;
        if (place == SIZE) {
            if (ftruncate(fd, (off_t)((index << 10) + offset)) < 0)
                return;
        } else {
            uint64_t at = place_of(place, index, offset);
            if (at + n <= layout.window && pwrite(fd, data + 6, n, (off_t)at) < 0)
                return;
        }
        data += 6 + n;
        size -= 6 + n;
    }
}

static int image_make(unsigned mode, const uint8_t *data, size_t size)
{
    unlink(path);
    int fd = open(path, O_RDWR | O_CREAT | O_EXCL, 0600);
    if (fd < 0 || ftruncate(fd, (off_t)layout.window) < 0)
        abort();
    for (unsigned i = 0; i < extent_count && !(mode & MODE_EMPTY); i++)
        if (pwrite(fd, extents[i].at, extents[i].bytes, (off_t)extents[i].off) < 0)
            abort();
    change(fd, data, size);
    return fd;
}

static void count(const struct finding *finding, void *total)
{
    *(uint64_t *)total += finding->off;
}

static void look(void)
{
    static struct stats stats;
    struct view view;
    struct check_result result;
    const char *why;
    uint64_t total = 0;
    if (!view_open_file(&view, path, &why))
        return;
    check_segment(&view, count, &total, &result);
    stats_collect(&view, &stats);
    view_close(&view);
}

/* Join, recover the dead, allocate, free what is there, leave. */
static void join(void)
{
    fuzz_may_abort = true;
    if (sigsetjmp(fuzz_aborted, 1) == 0 && attach()) {
        struct thread_cache *tc = cache_make(&heap);
        recover_dead(&heap, false);
        if (tc) {
            use(tc, false);
            reclaim_kept(tc);
            use(tc, true);
            heap_trim(tc);
            cache_end(tc);
        }
    }
    fuzz_may_abort = false;
    os_signals_restore(0);
    detach();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (extent_count == 0)
        sample_make();
    if (size == 0)
        return 0;
    unsigned mode = data[0];
    int fd = image_make(mode, data + 1, size - 1);
    int lock = mode & MODE_ALIVE ? open(path, O_RDWR) : -1;
    if (lock >= 0)
        os_lock(lock, LOCK_MEMBER(0));
    look();
    if (!(mode & MODE_LOOK))
        join();
    if (lock >= 0)
        close(lock);
    close(fd);
    return 0;
}
