/* prog_calls [ADDRESS] - a short life with all that makes system calls; frees the block at ADDRESS. */
#include <malloc.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static void *blocks[64];

static size_t written(size_t size)
{
    return size < 5000 ? size : 5000;
}

static const size_t sizes[] = { 16, 100, 1000, 5000, 30000, 70000, 300000, 3000000 };

static void allocate(unsigned from, unsigned to)
{
    for (unsigned i = from; i < to; i++) {
        size_t size = sizes[i % 8];
        blocks[i] = i % 3 ? malloc(size) : calloc(1, size);
        if (blocks[i])
            memset(blocks[i], (int)i, written(size));
    }
}

/* Whoever else has died: what we have is as we wrote it. */
static void verify(unsigned from, unsigned to)
{
    for (unsigned i = from; i < to; i++)
        for (size_t k = 0; blocks[i] && k < written(sizes[i % 8]); k++)
            if (((unsigned char *)blocks[i])[k] != i)
                _exit(3);
}

static void release(unsigned from, unsigned to)
{
    for (unsigned i = from; i < to; i++) {
        free(blocks[i]);
        blocks[i] = NULL;
    }
}

static void *thread(void *unused)
{
    allocate(32, 40);
    release(32, 36);
    return unused;
}

static void child(void)
{
    allocate(48, 56);
    verify(0, 24);
    memset(blocks[22], 99, sizes[22 % 8]);
    release(0, 12); /* its own copies of the parent's */
    verify(12, 22);
    verify(48, 56);
    release(48, 52);
}

int main(int argc, char **argv)
{
    void *given = argc > 1 ? (void *)strtoull(argv[1], NULL, 16) : NULL;
    pthread_t other;
    allocate(0, 24);
    if (pthread_create(&other, NULL, thread, NULL) == 0)
        pthread_join(other, NULL);
    blocks[7] = realloc(blocks[7], 9000000);
    pid_t pid = fork();
    if (pid == 0) {
        child();
        return 0;
    }
    free(given);
    release(0, 16);
    allocate(24, 32);
    waitpid(pid, NULL, 0);
    verify(16, 32);
    malloc_trim(0);
    release(16, 28);
    malloc_trim(0);
    return 0;
}
