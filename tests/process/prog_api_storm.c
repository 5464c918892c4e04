/* prog_api_storm FILE INDEX SEED - hands blocks over by hshm_give() and hshm_take(), publishes some, and
 * keeps plain pointers to itself, until it is killed.  For HSHM_EXIT=reclaim: what a dead one had and nobody
 * else was told of goes, and everything else stays and has an owner who frees it.
 *
 * prog_api_storm FILE drain - takes and frees what the killed have left on their shelves and under names. */
#include "include/hshm.h"
#include "tests/process/storm.h"

#include <fcntl.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define HOME  96
#define NAMES 48

static struct storm *storm;
static unsigned self;

struct load {
    uint64_t size, seed;
    unsigned char bytes[];
};
static struct load *home[HOME]; /* of both threads: each frees what the other has made */

#define MUST(x, ...)                                                                               \
    do {                                                                                           \
        if (!(x)) {                                                                                \
            dprintf(2, "%d: not so: %s (%s): ", __LINE__, #x, hshm_error_text());                  \
            dprintf(2, __VA_ARGS__);                                                               \
            dprintf(2, "\n");                                                                      \
            __atomic_store_n(&storm->wrong, 1, __ATOMIC_RELAXED);                                  \
            _exit(1);                                                                              \
        }                                                                                          \
    } while (0)

static void fill(struct load *b, size_t size, uint64_t seed)
{
    b->size = size;
    b->seed = seed;
    for (size_t i = 0; i < size - sizeof *b; i += i < 256 ? 1 : 509)
        b->bytes[i] = (unsigned char)(seed + i);
}

static void check(const struct load *b, const char *whose)
{
    MUST(b->size >= sizeof *b && b->size < 8000000, "%s at %p: size %lx, seed %lx", whose,
         (const void *)b, (unsigned long)b->size, (unsigned long)b->seed);
    for (size_t i = 0; i < b->size - sizeof *b; i += i < 256 ? 1 : 509)
        MUST(b->bytes[i] == (unsigned char)(b->seed + i), "%s at %p: byte %zu of %lu, seed %lx",
             whose, (const void *)b, i, (unsigned long)b->size, (unsigned long)b->seed);
}

static struct load *make(unsigned *seed)
{
    unsigned kind = (unsigned)rand_r(seed) % 1000;
    size_t max = kind < 900 ? 600 : kind < 980 ? 20000 : kind < 999 ? 200000 : 5000000;
    size_t size = sizeof(struct load) + (size_t)rand_r(seed) % max;
    struct load *b = rand_r(seed) % 4 ? malloc(size) : calloc(1, size);
    if (b)
        fill(b, size, *seed);
    else
        __atomic_fetch_add(&storm->refused, 1, __ATOMIC_RELAXED);
    return b;
}

static void drop(struct load *b, const char *whose)
{
    if (b)
        check(b, whose);
    free(b);
}

static struct load *leave_at_home(unsigned at, struct load *b)
{
    return __atomic_exchange_n(&home[at], b, __ATOMIC_ACQ_REL);
}

/* Taken first, and only then off the shelf: if we die between the two, it is a block of a dead one. */
static struct load *take_from(struct load **place)
{
    struct load *b = __atomic_load_n(place, __ATOMIC_ACQUIRE);
    if (!b || hshm_take(b) != 0)
        return NULL;
    struct load *seen = b;
    __atomic_compare_exchange_n(place, &seen, NULL, false, __ATOMIC_ACQ_REL, __ATOMIC_RELAXED);
    check(b, "taken");
    __atomic_fetch_add(&storm->taken, 1, __ATOMIC_RELAXED);
    return b;
}

/* On the shelf first, and only then given: if we die between the two, it is still ours, and goes.
 * 'place' is of this thread alone, so what is there was given, and may be taken back. */
static void give_to(struct load **place, struct load *b)
{
    drop(take_from(place), "taken back");
    __atomic_store_n(place, b, __ATOMIC_RELEASE);
    MUST(hshm_give(b) == 0, "give %p", (void *)b);
}

static void use_names(unsigned *seed)
{
    char name[16];
    struct load *b;
    snprintf(name, sizeof name, "n%d", rand_r(seed) % NAMES);
    switch (rand_r(seed) % 6) {
    case 0:
        if (!(b = rand_r(seed) % 2 ? make(seed)
                                   : leave_at_home((unsigned)rand_r(seed) % HOME, NULL)))
            return;
        int rc = hshm_publish(name, b, 0, 0, NULL);
        MUST(rc == 0 || rc == HSHM_EEXIST, "publish %s", name);
        if (rc)
            drop(b, "not published");
        else
            __atomic_fetch_add(&storm->published, 1, __ATOMIC_RELAXED);
        return;
    case 1:
        if (rand_r(seed) % 4)
            return;
        rc = hshm_unname(NULL, name);
        MUST(rc == 0 || rc == HSHM_ENOENT, "unname %s", name);
        return;
    default:
        if (!(b = hshm_find(NULL, name, 0, 0, HSHM_COUNTED))) {
            MUST(hshm_error() == HSHM_ENOENT, "find %s", name);
            return;
        }
        check(b, name);
        MUST(hshm_named_unref(b) == 0, "unref %s", name);
        __atomic_fetch_add(&storm->found, 1, __ATOMIC_RELAXED);
    }
}

static void *work(void *arg)
{
    unsigned half = (unsigned)(uintptr_t)arg & 1, seed = (unsigned)(uintptr_t)arg;
    struct load **shelf = &storm->shelf[self][half * SHELF / 2], *b;
    for (;;) {
        unsigned at = (unsigned)rand_r(&seed) % HOME;
        switch (rand_r(&seed) % 8) {
        case 0:
            if ((b = leave_at_home(at, NULL)))
                give_to(&shelf[rand_r(&seed) % (SHELF / 2)], b);
            break;
        case 1:
        case 2:
            b = take_from(&storm->shelf[rand_r(&seed) % STORMERS][rand_r(&seed) % SHELF]);
            if (b)
                drop(leave_at_home(at, b), "at home");
            break;
        case 3: use_names(&seed); break;
        case 4:
            if ((b = leave_at_home(at, NULL))) {
                check(b, "at home");
                size_t to = sizeof *b + (size_t)rand_r(&seed) % 2000;
                struct load *moved = realloc(b, to);
                if (moved)
                    fill(moved, to, seed);
                drop(leave_at_home(at, moved ? moved : b), "at home");
            }
            break;
        default: drop(leave_at_home(at, make(&seed)), "at home");
        }
        __atomic_fetch_add(&storm->progress[self], 1, __ATOMIC_RELAXED);
    }
    return NULL;
}

/* Threads that come and go. */
static void *short_work(void *arg)
{
    unsigned seed = (unsigned)(uintptr_t)arg;
    for (unsigned i = 0; i < 50; i++)
        drop(leave_at_home(i, make(&seed)), "at home");
    return NULL;
}

static void drain(void)
{
    char name[16];
    for (unsigned i = 0; i < STORMERS * SHELF; i++)
        drop(take_from(&storm->shelf[i / SHELF][i % SHELF]), "left on a shelf");
    for (int i = 0; i < NAMES; i++) {
        snprintf(name, sizeof name, "n%d", i);
        struct load *b = hshm_find(NULL, name, 0, 0, 0);
        if (b)
            check(b, name);
        MUST(!b || hshm_unname(NULL, name) == 0, "unname %s", name);
    }
}

int main(int argc, char **argv)
{
    if (argc < 3)
        return 2;
    int fd = open(argv[1], O_RDWR);
    storm = mmap(NULL, sizeof *storm, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (storm == MAP_FAILED)
        return 2;
    if (strcmp(argv[2], "drain") == 0) {
        drain();
        return 0;
    }
    self = (unsigned)atoi(argv[2]);
    unsigned seed = (unsigned)atoi(argv[3]) & ~1u;
    pthread_t thread, brief;
    pthread_create(&thread, NULL, work, (void *)(uintptr_t)(seed + 1));
    for (unsigned i = 0; i < 20; i++) {
        pthread_create(&brief, NULL, short_work, (void *)(uintptr_t)(seed + i));
        pthread_join(brief, NULL);
    }
    work((void *)(uintptr_t)seed);
    return 0;
}
