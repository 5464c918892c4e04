/* Blocks made here are read, resized and freed there, and the other way round at once.
 *
 *   prog_one_heap BLOCKS MIB   in all, and at most that much alive; $TOOL show -j tells the use
 *
 * It starts itself once more with exec: the two share pipes and, if we do our work, a heap. */
#include "tests/process/expect.h"

#include <pthread.h>
#include <spawn.h>
#include <stdbool.h>
#include <sys/wait.h>

enum { PAIRS = 3, PAGE = 4096 };

struct message {
    unsigned char *block;
    uint32_t size, seed;
};

struct work {
    int to_other, from_other;
    long count;
    size_t keep; /* bytes that the taker lets lie before it frees the oldest */
    uint32_t seed;
};

static struct work works[PAIRS];
static pthread_barrier_t barrier;

static uint32_t next(uint32_t *state)
{
    uint32_t x = *state;
    x ^= x << 13;
    x ^= x >> 17;
    x ^= x << 5;
    return *state = x;
}

static uint32_t size_any(uint32_t *state)
{
    uint32_t dice = next(state) % 1000, n = next(state);
    return dice < 950 ? n % 1024 + 1 : dice < 999 ? n % 65536 + 1 : n % (4u << 20) + 1;
}

/* Every byte of small blocks, one in each OS page and the last of large ones. */
static inline size_t step_of(size_t size)
{
    return size <= 65536 ? 1 : PAGE;
}

static inline unsigned char byte_at(uint32_t seed, size_t at)
{
    return (unsigned char)(seed + at * 167 + (at >> 8) + (at >> 16));
}

static void fill(const struct message *m)
{
    if (m->size == 0)
        return;
    for (size_t at = 0; at < m->size; at += step_of(m->size))
        m->block[at] = byte_at(m->seed, at);
    m->block[m->size - 1] = byte_at(m->seed, m->size - 1);
}

static void verify(const struct message *m, size_t bytes, size_t step)
{
    for (size_t at = 0; at < bytes; at += step)
        expect(m->block[at] == byte_at(m->seed, at));
    if (bytes == m->size)
        expect(m->block[bytes - 1] == byte_at(m->seed, bytes - 1));
}

static void full_io(ssize_t (*io)(int, void *, size_t), int fd, void *buf, size_t size)
{
    for (size_t at = 0; at < size;) {
        ssize_t n = io(fd, (char *)buf + at, size - at);
        expect(n > 0);
        at += (size_t)n;
    }
}

static ssize_t put_some(int fd, void *buf, size_t size)
{
    return write(fd, buf, size);
}

static void make(struct work *w, long count)
{
    struct message batch[32];
    size_t n = 0;
    for (long i = 0; i < count; i++) {
        struct message *m = &batch[n++];
        m->size = size_any(&w->seed);
        m->seed = next(&w->seed);
        expect((m->block = malloc(m->size)) && is_heap(m->block));
        fill(m);
        if (n == 32 || i == count - 1) {
            full_io(put_some, w->to_other, batch, n * sizeof *batch);
            n = 0;
        }
    }
}

static void resize(struct message *m, uint32_t *seed)
{
    size_t size = next(seed) % 4 ? size_any(seed) : m->size + m->size / 2;
    size_t both = size < m->size ? size : m->size;
    size_t step = step_of(m->size);
    m->block = realloc(m->block, size);
    expect(m->block && is_heap(m->block));
    verify(m, both, step);
    m->size = (uint32_t)size;
    fill(m);
}

static void take(struct work *w, long count)
{
    enum { MOST = 1 << 17 };
    static __thread struct message kept[MOST];
    uint32_t seed = w->seed ^ 0x5bd1e995;
    size_t bytes = 0;
    long first = 0;
    for (long i = 0; i < count; i++) {
        struct message *m = &kept[i % MOST];
        full_io(read, w->from_other, m, sizeof *m);
        expect(is_heap(m->block));
        verify(m, m->size, step_of(m->size));
        if (i % 2)
            resize(m, &seed);
        bytes += m->size;
        for (; first <= i && (bytes > w->keep || i - first == MOST - 1 || i == count - 1);
             first++) {
            struct message *old = &kept[first % MOST];
            verify(old, old->size, step_of(old->size));
            bytes -= old->size;
            free(old->block);
        }
    }
}

/* A round of a few blocks first: what threads and pipes need once is there when we look. */
static void rounds(struct work *w, void (*part)(struct work *, long))
{
    part(w, 200);
    pthread_barrier_wait(&barrier);
    pthread_barrier_wait(&barrier);
    part(w, w->count);
    pthread_barrier_wait(&barrier);
    pthread_barrier_wait(&barrier);
}

static void *maker(void *w)
{
    rounds(w, make);
    return NULL;
}

static void *taker(void *w)
{
    rounds(w, take);
    return NULL;
}

/* Waits for the other process. */
static void meet(int to, int from)
{
    char c = '.';
    expect(write(to, &c, 1) == 1);
    expect(read(from, &c, 1) == 1);
}

static void look(const char *what, bool speak)
{
    char command[512];
    const char *tool = getenv("TOOL");
    if (!speak || !tool)
        return;
    printf("%s ", what);
    fflush(stdout);
    snprintf(command, sizeof command,
             "%s show -j $HSHM_SEGMENT | tr -d ' \\n' | "
             "sed 's/.*\"used\":{\\([^}]*\\)}.*/\\1/'; echo; %s check $HSHM_SEGMENT >&2",
             tool, tool);
    expect(system(command) == 0);
}

static void serve(const int *to, const int *from, long count, size_t keep, uint32_t seed,
                  bool speak)
{
    pthread_t threads[PAIRS * 2];
    setvbuf(stdout, NULL, _IOLBF, 0);
    pthread_barrier_init(&barrier, NULL, PAIRS * 2 + 1);
    for (int i = 0; i < PAIRS; i++) {
        works[i] = (struct work){ to[i], from[i], count, keep, seed * 7919 + (uint32_t)i + 1 };
        expect(pthread_create(&threads[i], NULL, maker, &works[i]) == 0);
        expect(pthread_create(&threads[PAIRS + i], NULL, taker, &works[i]) == 0);
    }
    for (int round = 0; round < 2; round++) {
        pthread_barrier_wait(&barrier);
        meet(to[PAIRS], from[PAIRS]);
        look(round ? "after" : "before", speak);
        meet(to[PAIRS], from[PAIRS]);
        pthread_barrier_wait(&barrier);
    }
    for (int i = 0; i < PAIRS * 2; i++)
        pthread_join(threads[i], NULL);
}

extern char **environ;

int main(int argc, char **argv)
{
    enum { PIPES = PAIRS + 1 };
    int there[PIPES][2], back[PIPES][2], to[PIPES], from[PIPES];
    expect(argc >= 3);
    long count = atol(argv[1]) / (2 * PAIRS);
    size_t keep = ((size_t)atol(argv[2]) << 20) / (2 * PAIRS);
    if (argc == 3 + 2 * PIPES) {
        for (int i = 0; i < PIPES; i++) {
            from[i] = atoi(argv[3 + i]);
            to[i] = atoi(argv[3 + PIPES + i]);
        }
        serve(to, from, count, keep, 2, false);
        return 0;
    }
    char numbers[2 * PIPES][12];
    char *args[3 + 2 * PIPES + 1] = { argv[0], argv[1], argv[2] };
    for (int i = 0; i < PIPES; i++) {
        expect(pipe(there[i]) == 0 && pipe(back[i]) == 0);
        from[i] = back[i][0];
        to[i] = there[i][1];
        snprintf(args[3 + i] = numbers[i], 12, "%d", there[i][0]);
        snprintf(args[3 + PIPES + i] = numbers[PIPES + i], 12, "%d", back[i][1]);
    }
    pid_t other;
    int status;
    expect(posix_spawn(&other, "/proc/self/exe", NULL, NULL, args, environ) == 0);
    for (int i = 0; i < PIPES; i++) { /* the death of the other is the end of the file */
        close(there[i][0]);
        close(back[i][1]);
    }
    unsetenv("LD_PRELOAD"); /* the shell that looks at the segment is no part of it */
    serve(to, from, count, keep, 1, true);
    expect(waitpid(other, &status, 0) == other && status == 0);
    return 0;
}
