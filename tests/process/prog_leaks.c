/* prog_leaks - allocates from places whose names a profile should show, and says what it did.
 *
 *   leaks      1000 blocks of 100 bytes from leaks_here(), 1000 from frees_here() that are freed
 *   signal     the same, then SIGUSR2 to itself
 *   handled    handles SIGUSR2, then the same
 *   threads    eight threads allocate, hand over and free, while children are forked
 *   handover   leaves its blocks to a forked child that shares them (HSHM_FORK=share), which frees them
 *   crash N    leaves its blocks filled with N, prints the address of the last, and aborts
 *   segv N     the same, by writing to nowhere */
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define COUNT 1000

void *kept[COUNT];

__attribute__((noinline)) void leaks_here(int i, int byte);
void leaks_here(int i, int byte)
{
    kept[i] = malloc(100);
    memset(kept[i], byte, 100);
}

__attribute__((noinline)) void frees_here(void);
void frees_here(void)
{
    char *volatile block = malloc(200);
    block[0] = 1;
    free(block);
}

static __attribute__((noinline)) void allocate(int byte)
{
    for (int i = 0; i < COUNT; i++) {
        leaks_here(i, byte);
        frees_here();
    }
}

static void handler(int number)
{
    (void)number;
    if (write(1, "handled\n", 8) != 8)
        _exit(1);
}

static void *work(void *seed)
{
    void *blocks[64] = { 0 };
    unsigned random = (unsigned)(size_t)seed;
    for (int i = 0; i < 20000; i++) {
        random = random * 1664525 + 1013904223;
        void **block = &blocks[random >> 16 & 63];
        if (random >> 30)
            *block = realloc(*block, 16 + (random >> 20 & 511));
        else
            free(*block), *block = NULL;
    }
    for (int i = 0; i < 64; i++)
        free(blocks[i]);
    return NULL;
}

static int forked;

static void *work_until_forked(void *seed)
{
    while (!__atomic_load_n(&forked, __ATOMIC_RELAXED))
        work(seed);
    return NULL;
}

static int threads(void)
{
    pthread_t thread[8];
    int status = 0;
    for (size_t i = 0; i < 8; i++)
        pthread_create(&thread[i], NULL, work_until_forked, (void *)(i + 1));
    for (int i = 0; i < 40;
         i++) { /* a lock that a thread holds just then is nobody's in the child */
        pid_t child = fork();
        if (child == 0) {
            frees_here();
            _exit(3);
        }
        if (waitpid(child, &status, 0) != child || !WIFEXITED(status) || WEXITSTATUS(status) != 3)
            return 1;
    }
    __atomic_store_n(&forked, 1, __ATOMIC_RELAXED);
    for (int i = 0; i < 8; i++)
        pthread_join(thread[i], NULL);
    return 0;
}

static int handover(void)
{
    int status = 0;
    allocate(1);
    pid_t child = fork();
    if (child == 0) {
        for (int i = 0; i < COUNT; i++)
            free(kept[i]);
        _exit(0);
    }
    waitpid(child, &status, 0);
    return status;
}

static void die(const char *how, int byte)
{
    allocate(byte);
    printf("%p\n", kept[COUNT - 1]);
    fflush(stdout);
    int *volatile nowhere = NULL;
    if (strcmp(how, "segv") == 0)
        *nowhere = 1;
    abort();
}

int main(int argc, char **argv)
{
    const char *what = argc > 1 ? argv[1] : "";
    if (strcmp(what, "threads") == 0)
        return threads();
    if (strcmp(what, "handover") == 0)
        return handover();
    if (argc > 2)
        die(what, atoi(argv[2]));
    if (strcmp(what, "handled") == 0)
        signal(SIGUSR2, handler);
    allocate(1);
    if (strcmp(what, "leaks") != 0)
        raise(SIGUSR2);
    return 0;
}
