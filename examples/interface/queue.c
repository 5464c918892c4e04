/* A producer hands blocks over by pointer; the consumer frees them.  It may be killed at any time.
 *
 * prints: 1000 blocks, sum 499500 */
#include <hshm.h>

#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>

struct work {
    int number;
    char payload[4000];
};

static int produce(hshm_segment *segment, hshm_queue *queue)
{
    for (int i = 0; i < 1000; i++) {
        struct work *work = HSHM_NEW(segment, struct work);
        if (!work)
            return 1;
        work->number = i;
        hshm_ptr_t shared = hshm_ptr(work); /* means the same in every process */
        if (hshm_queue_push(queue, &shared, 10000) != HSHM_OK)
            return 1;
    }
    return 0;
}

int main(void)
{
    hshm_attr_t attr = HSHM_ATTR_INIT;
    hshm_segment *segment;
    char name[64];
    attr.size = 64 << 20;
    attr.flags = HSHM_CREATE;
    snprintf(name, sizeof name, "example-queue-%d", (int)getpid());
    if (hshm_open(name, &attr, &segment) != HSHM_OK)
        return 1;
    hshm_queue *queue = hshm_queue_open(segment, "work", 32, sizeof(hshm_ptr_t));
    if (!queue)
        return 1;
    if (fork() == 0)
        _exit(produce(segment, queue));
    long sum = 0;
    for (int i = 0; i < 1000; i++) {
        hshm_ptr_t shared;
        if (hshm_queue_pop(queue, &shared, 10000) != HSHM_OK)
            return 1;
        struct work *work = hshm_raw(shared);
        sum += work->number;
        HSHM_DELETE(work);
    }
    int status;
    wait(&status);
    printf("1000 blocks, sum %ld\n", sum);
    return status || hshm_close(segment) != HSHM_OK;
}
