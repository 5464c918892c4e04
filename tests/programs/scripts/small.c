/* A small program for debuggers and linkers: it allocates in every way and checks what it gets. */
#include <errno.h>
#include <malloc.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static void *churn(void *argument)
{
    unsigned seed = (unsigned)(uintptr_t)argument;
    unsigned char *block[64] = {0};
    size_t size[64] = {0};
    long sum = 0;
    for (int i = 0; i < 4000; i++) {
        seed = seed * 1103515245u + 12345u;
        unsigned k = (seed >> 16) % 64;
        size_t want = (seed >> 8) % 5000 + 1;
        if (block[k]) {
            for (size_t j = 0; j < size[k]; j += 97)
                if (block[k][j] != k)
                    abort();
            sum += (long)size[k];
        }
        block[k] = realloc(block[k], want);
        if (!block[k])
            abort();
        memset(block[k], (int)k, size[k] = want);
    }
    for (int k = 0; k < 64; k++)
        free(block[k]);
    return (void *)sum;
}

__attribute__((noinline)) int stop_here(char *text)
{
    return (int)strlen(text);
}

int main(void)
{
    char *text = malloc(100);
    strcpy(text, "a block of text");
    printf("%d\n", stop_here(text));
    long sum = (long)churn((void *)1);
    pthread_t thread[4];
    for (int i = 0; i < 4; i++)
        pthread_create(&thread[i], NULL, churn, (void *)(uintptr_t)(i + 2));
    for (int i = 0; i < 4; i++) {
        void *part;
        pthread_join(thread[i], &part);
        sum += (long)part;
    }
    printf("%ld\n", sum);
    void *aligned = NULL;
    int rc = posix_memalign(&aligned, 4096, 100);
    printf("%d %d\n", rc, (int)((uintptr_t)aligned % 4096));
    int *zero = calloc(1000, 1000);
    for (int i = 0; i < 250000; i++)
        if (zero[i])
            abort();
    errno = 0;
    volatile size_t huge = SIZE_MAX / 2 + 2;
    void *none = malloc(huge);
    printf("%d %d %d\n", none == NULL, errno == ENOMEM, malloc_usable_size(text) >= 100);
    fflush(stdout);
    pid_t pid = fork();
    if (pid == 0) {
        strcpy(text, "the child's");
        free(zero);
        _exit((int)strlen(text));
    }
    int status;
    waitpid(pid, &status, 0);
    printf("%d %s\n", WEXITSTATUS(status), text);
    free(aligned);
    free(zero);
    free(text);
    return 0;
}
