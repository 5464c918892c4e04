/* A block with a name, which two processes find.
 *
 * prints: the child found 42 and the parent reads 43 */
#include <hshm.h>

#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>

int main(void)
{
    hshm_attr_t attr = HSHM_ATTR_INIT;
    hshm_segment *segment;
    char name[64];
    attr.size = 64 << 20;
    attr.flags = HSHM_CREATE;
    snprintf(name, sizeof name, "example-names-%d", (int)getpid());
    if (hshm_open(name, &attr, &segment) != HSHM_OK) {
        fprintf(stderr, "%s\n", hshm_error_text());
        return 1;
    }
    /* Made and zeroed by the first who asks; size and type must be what others say. */
    int *answer = hshm_named(segment, "answer", sizeof *answer, 0, 0, 0, NULL);
    if (!answer)
        return 1;
    *answer = 42;
    if (fork() == 0) {
        int *found = hshm_find_wait(segment, "answer", sizeof *found, 0, 0, 1000);
        if (!found)
            _exit(1);
        printf("the child found %d", *found);
        fflush(stdout);
        ++*found;
        _exit(0);
    }
    int status;
    wait(&status);
    printf(" and the parent reads %d\n", *answer);
    hshm_unname(segment, "answer"); /* frees it */
    return status || hshm_close(segment) != HSHM_OK;
}
