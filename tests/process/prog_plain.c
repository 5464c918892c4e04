/* prog_plain - needs nothing that only glibc has.
 *
 *   work             threads allocate, hand over and free; a forked child does not change its parent
 *   say SECONDS      the same, then prints the address of a block with a text and stays
 *   take ADDRESS     prints the text at the address, frees the block
 *   family           every function of malloc.h that all C libraries have */
#include <errno.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define expect(condition)                                                                          \
    do {                                                                                           \
        if (!(condition)) {                                                                        \
            fprintf(stderr, "%s:%d: not so: %s\n", __FILE__, __LINE__, #condition);                \
            _exit(1);                                                                              \
        }                                                                                          \
    } while (0)

static char *handed[4][1000];

static void *work(void *number)
{
    size_t me = (size_t)number;
    uint32_t random = (uint32_t)me + 1;
    void *blocks[100] = { 0 };
    for (int i = 0; i < 30000; i++) {
        random = random * 1664525 + 1013904223;
        void **block = &blocks[(random >> 16) % 100];
        free(*block);
        *block = malloc(16 + (random >> 20) % 3000);
        memset(*block, (int)me, 16);
    }
    for (int i = 0; i < 100; i++)
        free(blocks[i]);
    for (int i = 0; i < 1000; i++)
        handed[me][i] = memset(malloc(50), 'a' + (int)me, 50);
    return NULL;
}

static void work_all(void)
{
    pthread_t thread[4];
    for (size_t i = 0; i < 4; i++)
        expect(pthread_create(&thread[i], NULL, work, (void *)i) == 0);
    for (int i = 0; i < 4; i++)
        pthread_join(thread[i], NULL);
    for (int t = 0; t < 4; t++)
        for (int i = 0; i < 1000; i++) {
            expect(handed[t][i][49] == 'a' + t);
            free(handed[t][i]);
        }
    char *kept = strdup("the parent's");
    pid_t child = fork();
    if (child == 0) {
        strcpy(kept, "the child's");
        free(kept);
        _exit(malloc(5000) ? 7 : 1);
    }
    int status = 0;
    expect(waitpid(child, &status, 0) == child && WEXITSTATUS(status) == 7);
    expect(strcmp(kept, "the parent's") == 0);
    free(kept);
}

static void family(void)
{
    void *aligned;
    char *p = calloc(100, 10);
    for (int i = 0; i < 1000; i++)
        expect(p[i] == 0);
    memset(p, 1, 1000);
    p = realloc(p, 100000);
    expect(p && p[999] == 1 && (uintptr_t)p % 16 == 0);
    free(p);
    expect(posix_memalign(&aligned, 4096, 100) == 0 && (uintptr_t)aligned % 4096 == 0);
    free(aligned);
    p = aligned_alloc(256, 512);
    expect(p && (uintptr_t)p % 256 == 0);
    free(p);
    errno = 0;
    volatile size_t much = SIZE_MAX / 2;
    expect(malloc(much) == NULL && errno == ENOMEM);
    free(NULL);
    FILE *f = fopen("/proc/self/maps", "r");
    char line[500], all = 0;
    while (f && fgets(line, sizeof line, f))
        all |= strstr(line, "hshm") != NULL;
    expect(f && all);
    fclose(f);
}

int main(int argc, char **argv)
{
    const char *what = argc > 1 ? argv[1] : "";
    if (strcmp(what, "family") == 0)
        family();
    else if (strcmp(what, "take") == 0 && argc > 2) {
        char *text = (char *)(uintptr_t)strtoull(argv[2], NULL, 0);
        puts(text);
        free(text);
    } else {
        work_all();
    }
    if (strcmp(what, "say") == 0 && argc > 2) {
        printf("%p\n", (void *)strdup("from another libc"));
        fflush(stdout);
        sleep((unsigned)atoi(argv[2]));
    }
    return 0;
}
