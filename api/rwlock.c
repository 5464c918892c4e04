/* A reader/writer lock that survives the death of its users, of robust mutexes.
 *
 * A reader takes one of many mutexes, any that is free; a writer takes them all.
 * So the kernel knows each owner, and what a dead one held is free.  Who died
 * as a reader has damaged nothing; a writer leaves its mark in 'writer', which
 * is set only while it has them all: who gets a mutex and sees a mark knows that
 * the writer is dead. */
#include "api/api.h"

#include <errno.h>
#include <unistd.h>

#define STRIPES 32

struct rwlock {
    hshm_mutex_t turnstile; /* of the writer that collects stripes: new readers wait behind it */
    hshm_mutex_t stripes[STRIPES];
    uint64_t writer; /* a mark of the thread that writes */
    /* A writer collects; after its death set until somebody meets the turnstile. */
    uint64_t pending;
};
static_assert(sizeof(struct rwlock) == sizeof(hshm_rwlock_t), "the header has its size");

static struct rwlock *rwlock_of(hshm_rwlock_t *lock)
{
    return (struct rwlock *)(void *)lock;
}

/* Of this thread and no other, of any process; a forked child's is another. */
static uint64_t mark(void)
{
    return (uint64_t)gettid() * UINT64_C(0x9e3779b97f4a7c15) ^ (uintptr_t)&errno;
}

/* Whose owner it was that died says 'writer'. */
static int take(hshm_mutex_t *mutex, const struct patience *p)
{
    int rc = mutex_take(mutex, p);
    return rc == EOWNERDEAD ? 0 : rc;
}

static int refuse(int rc)
{
    return fail_taking(rc, "lock");
}

/* What is told who has got in. */
static int got(const struct rwlock *l)
{
    return __atomic_load_n(&l->writer, __ATOMIC_RELAXED) /* the mutex orders it */
               ? fail(HSHM_EOWNERDEAD, "the lock is got; a writer died holding it")
               : 0;
}

API int hshm_rwlock_init(hshm_rwlock_t *lock)
{
    struct rwlock *l = rwlock_of(lock);
    l->writer = l->pending = 0;
    int rc = hshm_mutex_init(&l->turnstile);
    for (unsigned i = 0; i < STRIPES && rc == 0; i++)
        rc = hshm_mutex_init(&l->stripes[i]);
    return rc;
}

/* ---- readers ------------------------------------------------------------------------------ */

/* Behind a writer that collects, so that it need not collect for ever. */
static int pass(struct rwlock *l, const struct patience *p)
{
    if (likely(!__atomic_load_n(&l->pending, __ATOMIC_RELAXED))) /* late is only unfair */
        return 0;
    int rc = take(&l->turnstile, p);
    if (rc)
        return rc;
    __atomic_store_n(&l->pending, 0, __ATOMIC_RELAXED); /* who set it is done, or dead */
    mutex_leave(&l->turnstile);
    return 0;
}

API int hshm_rwlock_read(hshm_rwlock_t *lock, int wait_ms)
{
    static const struct patience none = { 0 };
    struct rwlock *l = rwlock_of(lock);
    struct patience p = patience(wait_ms);
    int rc = pass(l, &p);
    if (rc)
        return refuse(rc);
    unsigned home = (unsigned)gettid() % STRIPES;
    for (unsigned i = 0; i < STRIPES; i++)
        if (take(&l->stripes[(home + i) % STRIPES], &none) == 0)
            return got(l);
    rc = take(&l->stripes[home], &p);
    return rc ? refuse(rc) : got(l);
}

/* ---- writers ------------------------------------------------------------------------------ */

static void leave_first(struct rwlock *l, unsigned n)
{
    while (n--)
        mutex_leave(&l->stripes[n]);
}

API int hshm_rwlock_write(hshm_rwlock_t *lock, int wait_ms)
{
    struct rwlock *l = rwlock_of(lock);
    struct patience p = patience(wait_ms);
    int rc = take(&l->turnstile, &p);
    if (rc)
        return refuse(rc);
    __atomic_store_n(&l->pending, 1, __ATOMIC_RELAXED);
    unsigned n = 0;
    while (n < STRIPES && (rc = take(&l->stripes[n], &p)) == 0)
        n++;
    __atomic_store_n(&l->pending, 0, __ATOMIC_RELAXED);
    mutex_leave(&l->turnstile);
    if (rc) {
        leave_first(l, n);
        return refuse(rc);
    }
    rc = got(l); /* as long as nobody has written since, it is not sure that all is whole */
    __atomic_store_n(&l->writer, mark(), __ATOMIC_RELAXED);
    return rc;
}

API int hshm_rwlock_unlock(hshm_rwlock_t *lock)
{
    struct rwlock *l = rwlock_of(lock);
    if (__atomic_load_n(&l->writer, __ATOMIC_RELAXED) == mark()) {
        __atomic_store_n(&l->writer, 0, __ATOMIC_RELAXED); /* first: see above */
        leave_first(l, STRIPES);
        return 0;
    }
    unsigned home = (unsigned)gettid() % STRIPES;
    for (unsigned i = 0; i < STRIPES; i++)
        if (mutex_leave(&l->stripes[(home + i) % STRIPES]) == 0)
            return 0;
    return fail(HSHM_EPERM, "this thread does not hold the lock");
}
