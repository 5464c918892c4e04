/* A library whose constructor forks, before the program's main(). */
#include "tests/process/expect.h"

#include <sys/wait.h>

static __attribute__((constructor)) void forks(void)
{
    char *word = malloc(100);
    int status;
    strcpy(word, "parent");
    pid_t child = fork();
    if (child == 0) {
        expect(is_heap(word) && strcmp(word, "parent") == 0);
        strcpy(word, "child");
        free(word);
        expect(is_heap(strcpy(malloc(50), "new")));
        _exit(0);
    }
    expect(waitpid(child, &status, 0) == child && status == 0 && strcmp(word, "parent") == 0);
    free(word);
}
