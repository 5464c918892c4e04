// mesh COUNT [THREADS]: threads post blocks to one another's inboxes at random and free what they find
// in their own: any thread frees any other's blocks, all the time.
#include "handoff.h"

enum { MOST_THREADS = 64 };

struct message {
    struct message *next;
    uint64_t value;
};

struct inbox {
    _Alignas(64) _Atomic(struct message *) first;
};

static struct inbox inboxes[MOST_THREADS];
static uint64_t count, threads;
static _Atomic uint64_t total;

static uint64_t empty(struct inbox *inbox)
{
    uint64_t sum = 0;
    struct message *m = atomic_exchange(&inbox->first, NULL);
    while (m) {
        struct message *next = m->next;
        sum += m->value;
        free(m);
        m = next;
    }
    return sum;
}

static void *post(void *argument)
{
    uint64_t self = (uintptr_t)argument, sum = 0;
    struct rng r = rng_seed(43 + self);
    for (uint64_t i = 0; i < count; i++) {
        struct message *m = get(rng_log_size(&r, 16, 1024));
        m->value = i;
        struct inbox *to = &inboxes[rng_next(&r) % threads];
        m->next = atomic_load(&to->first);
        while (!atomic_compare_exchange_weak(&to->first, &m->next, m))
            ;
        if (i % 32 == 0)
            sum += empty(&inboxes[self]);
    }
    total += sum;
    return NULL;
}

int main(int argc, char **argv)
{
    count = arg_number(argc, argv, 1, 500000);
    threads = arg_number(argc, argv, 2, 4);
    pthread_t thread[MOST_THREADS];
    if (threads > MOST_THREADS)
        return 1;
    for (uintptr_t t = 0; t < threads; t++)
        pthread_create(&thread[t], NULL, post, (void *)t);
    for (uint64_t t = 0; t < threads; t++)
        pthread_join(thread[t], NULL);
    for (uint64_t t = 0; t < threads; t++)
        total += empty(&inboxes[t]);
    return result(count * threads, total);
}
