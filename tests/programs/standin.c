/* A stand-in for libhshm_preload.so, to test the tests: the harness must notice every kind of wrong.
 *
 * A private allocator (power-of-two free lists under one spin lock) that counts calls in a file of
 * the segment's name, writes the statistics line of HSHM_STATS and removes the file as the last one
 * out (unless HSHM_PERSIST=1).  STANDIN_FAULT names one thing to do wrong:
 *   private   reports that its bytes did not come from the segment
 *   nostats   writes no line          count    counts one malloc too many
 *   leave     leaves a segment file   noise    writes to stderr
 *   status    changes the exit status  torn     fork shares the heap
 *   hang      never ends              libc     asks libc's malloc for every hundredth block
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#define EXPORT __attribute__((visibility("default")))
extern char **environ;
extern void *__libc_malloc(size_t size);

struct head { /* before each block; 16 bytes, so that blocks stay aligned */
    uint32_t class, magic;
    uint64_t offset; /* from the start of the raw block to the user's */
};
struct freed {
    struct freed *next;
};

static struct freed *list[64];
static char *next, *end;
static atomic_flag lock = ATOMIC_FLAG_INIT;
static atomic_long bytes;

/* The "segment": what standin_hshm.py shows of each member while it lives and afterwards. */
struct member {
    char program[32];
    atomic_long pid, mallocs, callocs, reallocs, frees;
};
enum { MEMBERS = 4096 };
static struct member unnamed, *me = &unnamed, *members;

static const char *option(const char *name)
{
    size_t n = strlen(name);
    for (char **e = environ; e && *e; e++)
        if (!strncmp(*e, name, n) && (*e)[n] == '=')
            return *e + n + 1;
    return "";
}

static int fault(const char *name)
{
    return !strcmp(option("STANDIN_FAULT"), name);
}

static void file_name(char *name, size_t size)
{
    snprintf(name, size, "/dev/shm/standin-%s", option("HSHM_SEGMENT"));
}

/* Joins at the first call, which comes before any constructor. */
static struct member *member(void)
{
    static int tried;
    if (tried || !*option("HSHM_SEGMENT"))
        return me;
    tried = 1;
    char name[256];
    int saved = errno;
    file_name(name, sizeof name);
    int fd = open(name, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    size_t size = MEMBERS * sizeof(struct member);
    if (fd >= 0 && !ftruncate(fd, (off_t)size)) {
        struct member *all = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
        for (int i = 0; all != MAP_FAILED && i < MEMBERS; i++) {
            long free_slot = 0;
            if (atomic_compare_exchange_strong(&all[i].pid, &free_slot, getpid())) {
                int comm = open("/proc/self/comm", O_RDONLY | O_CLOEXEC);
                ssize_t n = read(comm, all[i].program, sizeof all[i].program - 1);
                if (n > 0)
                    all[i].program[n - 1] = 0;
                close(comm);
                members = all;
                me = &all[i];
                break;
            }
        }
    }
    if (fd >= 0)
        close(fd);
    errno = saved;
    return me;
}

static void leave(void)
{
    char name[256];
    if (!members || me->pid != getpid() || *option("HSHM_PERSIST") == '1' || fault("leave"))
        return;
    for (int i = 0; i < MEMBERS && members[i].pid; i++)
        if (&members[i] != me && members[i].pid != -1 && !kill((pid_t)members[i].pid, 0))
            return;
    file_name(name, sizeof name);
    unlink(name);
}

static void *take(size_t alignment, size_t size)
{
    if (size > PTRDIFF_MAX / 4) {
        errno = ENOMEM;
        return NULL;
    }
    unsigned class = 5;
    size_t want = size + sizeof(struct head) + (alignment > 16 ? alignment : 0);
    while ((size_t)1 << class < want)
        class ++;
    while (atomic_flag_test_and_set(&lock))
        sched_yield();
    char *raw = (char *)list[class];
    if (raw) {
        list[class] = list[class]->next;
    } else {
        size_t length = (size_t)1 << class;
        if ((size_t)(end - next) < length) {
            size_t room = length > (16u << 20) ? length : 16u << 20;
            int sharing = fault("torn") ? MAP_SHARED : MAP_PRIVATE;
            next = mmap(NULL, room, PROT_READ | PROT_WRITE, sharing | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
            if (next == MAP_FAILED) {
                next = end = NULL;
                atomic_flag_clear(&lock);
                errno = ENOMEM;
                return NULL;
            }
            end = next + room;
        }
        raw = next;
        next += length;
    }
    atomic_flag_clear(&lock);
    uintptr_t user = (uintptr_t)raw + sizeof(struct head);
    user = (user + alignment - 1) & ~(uintptr_t)(alignment - 1);
    struct head *head = (struct head *)user - 1;
    *head = (struct head){.class = class, .magic = 0x57a4d171, .offset = user - (uintptr_t)raw};
    atomic_fetch_add(&bytes, (long)size);
    return (void *)user;
}

EXPORT size_t malloc_usable_size(void *block)
{
    if (!block)
        return 0;
    struct head *head = (struct head *)block - 1;
    return ((size_t)1 << head->class) - head->offset;
}

static void give(void *block)
{
    struct head *head = (struct head *)block - 1;
    if (!block || head->magic != 0x57a4d171)
        return; /* the loader's own, from before us */
    unsigned class = head->class;
    struct freed *raw = (struct freed *)((char *)block - head->offset);
    head->magic = 0;
    while (atomic_flag_test_and_set(&lock))
        sched_yield();
    raw->next = list[class];
    list[class] = raw;
    atomic_flag_clear(&lock);
}

EXPORT void *malloc(size_t size)
{
    long n = atomic_fetch_add(&member()->mallocs, 1);
    if (n == 50 && fault("count"))
        atomic_fetch_add(&me->mallocs, 1);
    if (n % 100 == 99 && fault("libc"))
        return __libc_malloc(size);
    return take(16, size);
}

EXPORT void free(void *block)
{
    atomic_fetch_add(&member()->frees, 1);
    int saved = errno;
    give(block);
    errno = saved;
}

EXPORT void *calloc(size_t count, size_t size)
{
    size_t total;
    atomic_fetch_add(&member()->callocs, 1);
    if (__builtin_mul_overflow(count, size, &total)) {
        errno = ENOMEM;
        return NULL;
    }
    void *block = take(16, total);
    return block ? memset(block, 0, total) : NULL;
}

EXPORT void *realloc(void *block, size_t size)
{
    atomic_fetch_add(&member()->reallocs, 1);
    if (block && !size) {
        give(block);
        return NULL;
    }
    if (block && size <= malloc_usable_size(block))
        return block;
    void *fresh = take(16, size);
    if (block && fresh) {
        memcpy(fresh, block, malloc_usable_size(block));
        give(block);
    }
    return fresh;
}

EXPORT int posix_memalign(void **result, size_t alignment, size_t size)
{
    if (alignment < sizeof(void *) || alignment & (alignment - 1))
        return EINVAL;
    void *block = take(alignment < 16 ? 16 : alignment, size);
    if (!block)
        return ENOMEM;
    *result = block;
    return 0;
}

EXPORT void *memalign(size_t alignment, size_t size)
{
    return take(alignment < 16 ? 16 : alignment, size);
}

EXPORT void *aligned_alloc(size_t alignment, size_t size)
{
    return memalign(alignment, size);
}

EXPORT void *valloc(size_t size)
{
    return take(4096, size);
}

EXPORT void *pvalloc(size_t size)
{
    return take(4096, (size + 4095) & ~(size_t)4095);
}

__attribute__((constructor)) static void start(void)
{
    if (fault("hang"))
        for (;;)
            pause();
}

__attribute__((destructor)) static void finish(void)
{
    char line[512], program[32] = "";
    int fd = open("/proc/self/comm", O_RDONLY);
    ssize_t n = read(fd, program, sizeof program - 1);
    close(fd);
    if (n > 0)
        program[n - 1] = 0;
    if (fault("noise"))
        (void)!write(2, "standin: noise\n", 15);
    leave();
    const char *where = strstr(option("HSHM_STATS"), "file:");
    if (where && !fault("nostats")) {
        fd = open(where + 5, O_WRONLY | O_APPEND);
        int length = snprintf(line, sizeof line,
                              "{\"pid\":%d,\"program\":\"%s\",\"segment_bytes\":%ld,\"private_bytes\":%ld,"
                              "\"malloc\":%ld,\"calloc\":%ld,\"realloc\":%ld,\"free\":%ld}\n",
                              getpid(), program, fault("private") ? 0 : (long)bytes, fault("private") ? (long)bytes : 0,
                              (long)me->mallocs, (long)me->callocs, (long)me->reallocs, (long)me->frees);
        (void)!write(fd, line, (size_t)length);
        close(fd);
    }
    if (fault("status"))
        _exit(77);
}
