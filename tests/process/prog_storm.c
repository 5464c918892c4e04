/* prog_storm FILE INDEX SEED - allocates, hands over through FILE and frees crosswise until it is killed. */
#include <fcntl.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "tests/process/storm.h"

static struct storm *storm;
static unsigned index_;

struct load {
    uint64_t size, seed;
    unsigned char bytes[];
};

static void fail(const struct load *b, size_t at)
{
    dprintf(2, "wrong byte %zu of the block at %p, size %lu, seed %lx\n", at, (const void *)b,
            (unsigned long)b->size, (unsigned long)b->seed);
    storm->wrong = 1;
    _exit(1);
}

static void fill(struct load *b, size_t size, uint64_t seed)
{
    b->size = size;
    b->seed = seed;
    for (size_t i = 0; i < size - sizeof *b; i += i < 256 ? 1 : 509)
        b->bytes[i] = (unsigned char)(seed + i);
}

static void check(const struct load *b)
{
    if (b->size < sizeof *b || b->size > 8000000)
        fail(b, 0);
    for (size_t i = 0; i < b->size - sizeof *b; i += i < 256 ? 1 : 509)
        if (b->bytes[i] != (unsigned char)(b->seed + i))
            fail(b, i);
}

static size_t some_size(unsigned *seed)
{
    /* What is left of 10,000 killed ones has to have room: large blocks are made often and kept rarely. */
    unsigned kind = (unsigned)rand_r(seed) % 10000;
    size_t max = kind < 9790 ? 600 : kind < 9990 ? 20000 : kind < 9999 ? 200000 : 2400000;
    return sizeof(struct load) + (size_t)rand_r(seed) % max;
}

static void *work(void *arg)
{
    unsigned seed = (unsigned)(uintptr_t)arg;
    struct load *mine[64] = { 0 };
    for (;;) {
        unsigned i = (unsigned)rand_r(&seed) % 64;
        if (mine[i] && rand_r(&seed) % 2) { /* hand it over, take what was there */
            struct load **mail = &storm->mail[(unsigned)rand_r(&seed) % MAIL];
            mine[i] = __atomic_exchange_n(mail, mine[i], __ATOMIC_ACQ_REL);
        }
        if (mine[i]) {
            check(mine[i]);
            free(mine[i]);
        }
        size_t size = some_size(&seed);
        mine[i] = rand_r(&seed) % 4 ? malloc(size) : calloc(1, size);
        if (mine[i])
            fill(mine[i], size, (uint64_t)seed);
        else
            __atomic_fetch_add(&storm->refused, 1, __ATOMIC_RELAXED);
        if (mine[i] && rand_r(&seed) % 16 == 0) {
            size_t to = some_size(&seed);
            struct load *b = realloc(mine[i], to);
            if (b) {
                fill(b, to, seed);
                mine[i] = b;
            }
        }
        __atomic_fetch_add(&storm->progress[index_], 1, __ATOMIC_RELAXED);
    }
    return NULL;
}

/* Threads that come and go. */
static void *short_work(void *arg)
{
    unsigned seed = (unsigned)(uintptr_t)arg;
    void *blocks[50];
    for (int i = 0; i < 50; i++)
        blocks[i] = malloc(some_size(&seed) % 3000);
    for (int i = 0; i < 50; i++)
        free(blocks[i]);
    return NULL;
}

int main(int argc, char **argv)
{
    if (argc < 4)
        return 2;
    int fd = open(argv[1], O_RDWR);
    storm = mmap(NULL, sizeof *storm, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (storm == MAP_FAILED)
        return 2;
    index_ = (unsigned)atoi(argv[2]);
    unsigned seed = (unsigned)atoi(argv[3]);
    pthread_t thread;
    pthread_create(&thread, NULL, work, (void *)(uintptr_t)(seed * 3 + 1));
    for (unsigned i = 0; i < 20; i++) {
        pthread_t brief;
        pthread_create(&brief, NULL, short_work, (void *)(uintptr_t)(seed + i));
        pthread_join(brief, NULL);
    }
    work((void *)(uintptr_t)(seed * 3 + 2));
    return 0;
}
