/* Synchronisation that survives the death of its users, of what the system has: robust mutexes
 * and futexes. */
#include "api/api.h"

#include <errno.h>
#include <limits.h>
#include <linux/futex.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

/* ---- mutex --------------------------------------------------------------------------- */

static_assert(sizeof(pthread_mutex_t) <= sizeof(hshm_mutex_t), "a mutex fits");

static pthread_mutex_t *mutex_of(hshm_mutex_t *mutex)
{
    return (pthread_mutex_t *)(void *)mutex;
}

API int hshm_mutex_init(hshm_mutex_t *mutex)
{
    pthread_mutexattr_t attr;
    pthread_mutexattr_init(&attr);
    pthread_mutexattr_setpshared(&attr, PTHREAD_PROCESS_SHARED);
    pthread_mutexattr_setrobust(&attr, PTHREAD_MUTEX_ROBUST);
    pthread_mutexattr_settype(&attr, PTHREAD_MUTEX_ERRORCHECK);
    int rc = pthread_mutex_init(mutex_of(mutex), &attr);
    pthread_mutexattr_destroy(&attr);
    return rc ? fail(HSHM_ESYSTEM, "hshm_mutex_init: error %d", rc) : 0;
}

struct patience patience(int wait_ms)
{
    struct patience p = { .wait_ms = wait_ms };
    struct timespec *t = &p.until;
    if (wait_ms <= 0)
        return p;
    clock_gettime(CLOCK_MONOTONIC, t);
    t->tv_sec += wait_ms / 1000;
    t->tv_nsec += (long)(wait_ms % 1000) * 1000000;
    if (t->tv_nsec >= 1000000000) {
        t->tv_sec++;
        t->tv_nsec -= 1000000000;
    }
    return p;
}

int mutex_take(hshm_mutex_t *mutex, const struct patience *p)
{
    pthread_mutex_t *m = mutex_of(mutex);
    int rc = p->wait_ms < 0    ? pthread_mutex_lock(m)
             : p->wait_ms == 0 ? pthread_mutex_trylock(m)
                               : pthread_mutex_clocklock(m, CLOCK_MONOTONIC, &p->until);
    if (rc == EOWNERDEAD)
        pthread_mutex_consistent(m);
    return rc;
}

int mutex_leave(hshm_mutex_t *mutex)
{
    return pthread_mutex_unlock(mutex_of(mutex));
}

int fail_taking(int rc, const char *what)
{
    switch (rc) {
    case EBUSY:
    case ETIMEDOUT: return fail(HSHM_EAGAIN, "somebody holds the %s", what);
    case EDEADLK: return fail(HSHM_EBUSY, "this thread holds the %s", what);
    default: return fail(HSHM_EINVAL, "no %s: error %d", what, rc);
    }
}

API int hshm_mutex_lock(hshm_mutex_t *mutex, int wait_ms)
{
    struct patience p = patience(wait_ms);
    int rc = mutex_take(mutex, &p);
    if (rc == EOWNERDEAD)
        return fail(HSHM_EOWNERDEAD, "the mutex is got; its owner died holding it");
    return rc ? fail_taking(rc, "mutex") : 0;
}

API int hshm_mutex_unlock(hshm_mutex_t *mutex)
{
    return mutex_leave(mutex) ? fail(HSHM_EPERM, "somebody else holds the mutex") : 0;
}

/* ---- event ----------------------------------------------------------------------------- */

API uint32_t hshm_event_count(const hshm_event_t *event)
{
    return __atomic_load_n(&event->count, __ATOMIC_ACQUIRE);
}

/* 'waiters' may be too high after a death: then a signal makes a call for nothing. */
API void hshm_event_signal(hshm_event_t *event)
{
    int saved = errno;
    __atomic_fetch_add(&event->count, 1, __ATOMIC_SEQ_CST);
    if (__atomic_load_n(&event->waiters, __ATOMIC_SEQ_CST))
        syscall(SYS_futex, &event->count, FUTEX_WAKE, INT_MAX, NULL, NULL, 0);
    errno = saved;
}

API int hshm_event_wait(hshm_event_t *event, uint32_t seen, int wait_ms)
{
    struct patience p = patience(wait_ms);
    int rc = 0;
    if (hshm_event_count(event) != seen)
        return 0;
    __atomic_fetch_add(&event->waiters, 1, __ATOMIC_SEQ_CST);
    while (__atomic_load_n(&event->count, __ATOMIC_SEQ_CST) == seen && rc == 0) {
        /* BITSET: 'until' is a time, not a duration */
        long got = syscall(SYS_futex, &event->count, FUTEX_WAIT_BITSET, seen,
                           wait_ms < 0 ? NULL : &p.until, NULL, FUTEX_BITSET_MATCH_ANY);
        if (got < 0 && errno == ETIMEDOUT)
            rc = HSHM_EAGAIN;
    }
    __atomic_fetch_sub(&event->waiters, 1, __ATOMIC_SEQ_CST);
    return hshm_event_count(event) != seen
               ? 0
               : fail(HSHM_EAGAIN, "nothing happened in %d ms", wait_ms);
}

/* ---- queue ------------------------------------------------------------------------------- */

/* 'head' and 'tail' count elements; each changes by one store, with the element in place before
 * it (push) or copied before it (pop): whoever dies holding the mutex leaves it sound. */
struct hshm_queue {
    uint32_t capacity, element_size;
    hshm_mutex_t mutex;
    uint64_t head, tail;
    hshm_event_t pushed, popped;
    char elements[];
};

static void queue_fill(void *block, const struct filling *how)
{
    hshm_queue *q = block;
    q->capacity = (uint32_t)how->a;
    q->element_size = (uint32_t)how->b;
    hshm_mutex_init(&q->mutex);
}

API hshm_queue *hshm_queue_open(hshm_segment *segment, const char *name, uint32_t capacity,
                                uint32_t element_size)
{
    char full[128];
    int n = name ? snprintf(full, sizeof full, "hshm.queue.%s", name) : -1;
    if (n < 0 || n >= (int)sizeof full || !capacity || !element_size) {
        fail(HSHM_EINVAL, "hshm_queue_open: a name, a capacity and a size");
        return NULL;
    }
    /* The size tells the capacity, the type the size of an element. */
    struct filling how = { .size = sizeof(hshm_queue) + (size_t)capacity * element_size,
                           .align = 64,
                           .clear = sizeof(hshm_queue),
                           .type = (uint64_t)element_size << 32 | 0x71,
                           .fill = queue_fill,
                           .a = capacity,
                           .b = element_size };
    return named_filled(segment, full, &how, 0);
}

static uint64_t length(const hshm_queue *q)
{
    return __atomic_load_n(&q->tail, __ATOMIC_ACQUIRE) -
           __atomic_load_n(&q->head, __ATOMIC_ACQUIRE);
}

API uint32_t hshm_queue_length(const hshm_queue *queue)
{
    return (uint32_t)length(queue);
}

static char *element_at(hshm_queue *q, uint64_t i)
{
    return q->elements + i % q->capacity * q->element_size;
}

static bool try_push(hshm_queue *q, const void *element)
{
    bool room = length(q) < q->capacity;
    if (room) {
        memcpy(element_at(q, q->tail), element, q->element_size);
        __atomic_store_n(&q->tail, q->tail + 1, __ATOMIC_RELEASE);
    }
    return room;
}

static bool try_pop(hshm_queue *q, void *element)
{
    bool some = length(q) > 0;
    if (some) {
        memcpy(element, element_at(q, q->head), q->element_size);
        __atomic_store_n(&q->head, q->head + 1, __ATOMIC_RELEASE);
    }
    return some;
}

/* What is left of the time; -1 stays. */
static int left_ms(uint64_t start, int wait_ms)
{
    if (wait_ms <= 0)
        return wait_ms;
    uint64_t gone = (os_boot_ns() - start) / 1000000;
    return gone >= (uint64_t)wait_ms ? 0 : wait_ms - (int)gone;
}

static int queue_do(hshm_queue *q, const void *in, void *out, int wait_ms)
{
    uint64_t start = os_boot_ns();
    hshm_event_t *wait_for = in ? &q->popped : &q->pushed, *tell = in ? &q->pushed : &q->popped;
    for (int left;;) {
        uint32_t seen = hshm_event_count(wait_for);
        int rc = hshm_mutex_lock(&q->mutex, -1);
        if (rc && rc != HSHM_EOWNERDEAD)
            return rc;
        bool done = in ? try_push(q, in) : try_pop(q, out);
        hshm_mutex_unlock(&q->mutex);
        if (rc == HSHM_EOWNERDEAD) /* what it did it may not have told */
            hshm_event_signal(wait_for);
        if (done) {
            hshm_event_signal(tell);
            return 0;
        }
        left = left_ms(start, wait_ms);
        if (left == 0 || hshm_event_wait(wait_for, seen, left))
            return fail(HSHM_EAGAIN, "the queue is %s", in ? "full" : "empty");
    }
}

API int hshm_queue_push(hshm_queue *queue, const void *element, int wait_ms)
{
    return queue_do(queue, element, NULL, wait_ms);
}

API int hshm_queue_pop(hshm_queue *queue, void *element, int wait_ms)
{
    return queue_do(queue, NULL, element, wait_ms);
}
