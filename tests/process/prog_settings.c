/* What options change: threads at work, a child, limits, and how a program ends. */
#include "tests/process/expect.h"

#include <malloc.h>
#include <pthread.h>
#include <sys/wait.h>

enum { THREADS = 4, LIVE = 200 };

static void *slots[THREADS][LIVE];
static pthread_mutex_t locks[THREADS] = { PTHREAD_MUTEX_INITIALIZER, PTHREAD_MUTEX_INITIALIZER,
                                          PTHREAD_MUTEX_INITIALIZER, PTHREAD_MUTEX_INITIALIZER };

/* Replaces blocks at random, a thread's own and those of others; each says in its first and last
 * bytes whose it is. */
static void *replace(void *arg)
{
    unsigned seed = (unsigned)(uintptr_t)arg;
    for (int i = 0; i < 20000; i++) {
        unsigned dice = (unsigned)rand_r(&seed), thread = dice % THREADS, at = dice / 7 % LIVE;
        size_t size = 16 + (dice % 100 == 0 ? (unsigned)rand_r(&seed) % 100000
                                            : (unsigned)rand_r(&seed) % 500);
        pthread_mutex_lock(&locks[thread]);
        uint32_t *old = slots[thread][at], *p;
        if (old && dice & 1024) {
            expect(old[0] == (thread << 16 | at) && ((unsigned char *)old)[old[1] - 1] == at);
            expect((p = realloc(old, size)) && p[0] == (thread << 16 | at));
        } else {
            if (old)
                expect(old[0] == (thread << 16 | at) && ((unsigned char *)old)[old[1] - 1] == at);
            free(old);
            expect((p = dice & 2048 ? calloc(1, size) : malloc(size)));
            expect(!(dice & 2048) || (p[0] == 0 && ((unsigned char *)p)[size - 1] == 0));
        }
        expect((uintptr_t)p % 16 == 0 && malloc_usable_size(p) >= size);
        p[0] = thread << 16 | at;
        p[1] = (uint32_t)size;
        ((unsigned char *)p)[size - 1] = (unsigned char)at;
        slots[thread][at] = p;
        pthread_mutex_unlock(&locks[thread]);
    }
    return NULL;
}

static void work(void)
{
    pthread_t threads[THREADS];
    for (int round = 0; round < 3; round++) { /* the first thread ends before the others begin */
        for (uintptr_t i = 0; i < THREADS; i++)
            expect(pthread_create(&threads[i], NULL, replace, (void *)(i + 1)) == 0);
        for (int i = 0; i < THREADS; i++)
            expect(pthread_join(threads[i], NULL) == 0);
    }
}

static void threads_work(void)
{
    void *p;
    expect(posix_memalign(&p, 4096, 100) == 0 && (uintptr_t)p % 4096 == 0);
    free(p);
    work();
}

/* The child starts while other threads allocate; it and its parent go on with what they have. */
static void a_child_works(void)
{
    pthread_t threads[THREADS];
    work();
    for (uintptr_t i = 1; i < THREADS; i++)
        expect(pthread_create(&threads[i], NULL, replace, (void *)i) == 0);
    for (int i = 0; i < 10; i++) {
        unsigned char *mine = malloc(1000);
        memset(mine, 7, 1000);
        pid_t child = fork();
        expect(child >= 0);
        if (child == 0) {
            unsigned char *p[500];
            for (int n = 0; n < 500; n++) {
                expect((p[n] = malloc(100)));
                memset(p[n], 8, 100);
            }
            for (int at = 0; at < 1000; at++)
                expect(mine[at] == 7);
            free(mine);
            _exit(0);
        }
        unsigned char *p[500];
        for (int n = 0; n < 500; n++) {
            expect((p[n] = malloc(100)));
            memset(p[n], 9, 100);
        }
        int status;
        expect(waitpid(child, &status, 0) == child && status == 0);
        for (int n = 0; n < 500; n++) {
            for (int at = 0; at < 100; at++)
                expect(p[n][at] == 9);
            free(p[n]);
        }
        for (int at = 0; at < 1000; at++)
            expect(mine[at] == 7);
        free(mine);
    }
    for (int i = 1; i < THREADS; i++)
        pthread_join(threads[i], NULL);
}

static void is_served(void)
{
    void *p = malloc(100);
    expect(is_heap(p));
    free(p);
}

static void is_not_served(void)
{
    void *p = malloc(100);
    expect(p && !is_heap(p));
    free(p);
}

static void from_100_to_1000(void)
{
    static const size_t sizes[] = { 0, 1, 99, 100, 500, 1000, 1001, 100000, 10000000 };
    for (int i = 0; i < 9; i++) {
        size_t n = sizes[i];
        void *p = malloc(n), *q = calloc(1, n), *r = memalign(64, n);
        int ours = n >= 100 && n <= 1000;
        expect(p && is_heap(p) == ours && is_heap(q) == ours && is_heap(r) == ours);
        if (n)
            ((char *)p)[0] = ((char *)p)[n - 1] = 'p';
        expect((p = realloc(p, n + 50)) && (q = realloc(q, n / 2 + 1)));
        expect(is_heap(p) == (n + 50 >= 100 && n + 50 <= 1000));
        expect(is_heap(q) == (n / 2 + 1 >= 100 && n / 2 + 1 <= 1000));
        expect(!n || (((char *)p)[0] == 'p' && ((char *)p)[n - 1] == 'p'));
        expect(malloc_usable_size(p) >= n + 50 && malloc_usable_size(r) >= n);
        free(p);
        free(q);
        free(r);
    }
}

static void memory_runs_out(void)
{
    static char *p[10000];
    int n = 0;
    errno = 0;
    while (n < 10000 && (p[n] = malloc(100000)))
        memset(p[n++], 1, 100000);
    const char *most = getenv("MOST");
    expect(n > 10 && n < 10000 && errno == ENOMEM && (!most || n * 100000L < atol(most)));
    while (n--)
        free(p[n]);
    expect((p[0] = malloc(100000)));
}

/* More than the segment has, resized too; the rest is libc's. */
static void memory_never_runs_out(void)
{
    static unsigned char *p[1000];
    int foreign = 0;
    for (int i = 0; i < 1000; i++) {
        expect((p[i] = malloc(100)));
        memset(p[i], i & 127, 100);
        expect((p[i] = realloc(p[i], 100000)));
        for (int at = 0; at < 100; at++)
            expect(p[i][at] == (i & 127));
        memset(p[i], i & 127, 100000);
        foreign += !is_heap(p[i]);
    }
    expect(foreign > 100 && foreign < 1000);
    for (int i = 0; i < 1000; i++) {
        expect((p[i] = realloc(p[i], 150000)));
        for (int at = 0; at < 100000; at++)
            expect(p[i][at] == (i & 127));
    }
    for (int i = 0; i < 1000; i++)
        free(p[i]);
}

static void calls(void)
{
    for (int i = 0; i < 1000; i++) {
        void *p = malloc(10), *q = calloc(2, 20);
        p = realloc(p, 5000);
        q = realloc(q, 10);
        free(p);
        free(q);
        free(NULL);
        p = realloc(NULL, 10);
        expect(realloc(p, 0) == NULL);
    }
}

static void nothing(void)
{
}

static const struct check checks[] = {
    CHECK(threads_work),
    CHECK(a_child_works),
    CHECK(is_served),
    CHECK(is_not_served),
    CHECK(from_100_to_1000),
    CHECK(memory_runs_out),
    CHECK(memory_never_runs_out),
    CHECK(calls),
    CHECK(nothing),
};

int main(int argc, char **argv)
{
    return RUN_CHECKS(checks, argc, argv);
}
