/* Checks of hshm.h's heaps and synchronisation: prog_api_sync NAME. */
#include "include/hshm.h"
#include "tests/process/expect.h"

#include <signal.h>
#include <sys/wait.h>

#define MIB (UINT64_C(1) << 20)

static hshm_segment *open_segment(void)
{
    char name[64];
    hshm_attr_t attr = HSHM_ATTR_INIT;
    hshm_segment *s;
    snprintf(name, sizeof name, "names-sync-%d", (int)getpid());
    attr.size = 256 * MIB;
    attr.flags = HSHM_CREATE;
    expect(hshm_open(name, &attr, &s) == 0);
    return s;
}

static void ends_well(pid_t pid)
{
    int status;
    expect(waitpid(pid, &status, 0) == pid && status == 0);
}

/* ---- heaps ----------------------------------------------------------------------------- */

struct head {
    long magic, count[40];
};

static void work_in(hshm_heap *heap)
{
    void *blocks[200];
    uint64_t before = hshm_heap_used(heap);
    for (int round = 0; round < 4; round++) {
        static const size_t sizes[] = { 64, 128, 256, 1024, 4096, 65536, 1 << 20 };
        int n = 0;
        for (int k = 0; k < 7; k++)
            for (int i = 0; i < 16; i++, n++) {
                blocks[n] = hshm_heap_alloc(heap, sizes[k]);
                expect(blocks[n]);
                memset(blocks[n], n, sizes[k]);
            }
        while (n--) {
            expect(*(unsigned char *)blocks[n] == n);
            hshm_heap_free(heap, blocks[n]);
        }
    }
    expect(hshm_heap_kind(heap) == HSHM_HEAP_STACK || hshm_heap_used(heap) == before);
    char *p = hshm_heap_alloc(heap, 3000);
    memset(p, 9, 3000);
    p = hshm_heap_realloc(heap, p, 4000);
    p = hshm_heap_realloc(heap, p, 1 << 20);
    p = hshm_heap_realloc(heap, p, 3000);
    for (int i = 0; i < 3000; i++)
        expect(p[i] == 9);
    expect(hshm_heap_used(heap) >= before + 3000);
    hshm_heap_free(heap, p);
    p = hshm_heap_alloc_aligned(heap, 4096, 4096);
    expect(p && (uintptr_t)p % 4096 == 0);
    hshm_heap_free(heap, p);
    expect(hshm_heap_alloc(heap, SIZE_MAX) == NULL && hshm_error() == HSHM_ENOMEM);
    expect(hshm_heap_alloc(heap, SIZE_MAX / 2) == NULL && hshm_heap_alloc(heap, 100));
}

static void heaps_of_all_kinds_work_and_are_found_by_id(void)
{
    hshm_segment *s = open_segment();
    for (int kind = HSHM_HEAP_THREAD; kind <= HSHM_HEAP_MALLOC; kind++) {
        hshm_heap *heap, *again;
        uint64_t size = kind == HSHM_HEAP_STACK ? 160 * MIB : 0;
        uint32_t id = 10 + (uint32_t)kind;
        expect(hshm_heap_open(s, id, &heap) == HSHM_ENOENT);
        expect(hshm_heap_create(s, id, kind, size, sizeof(struct head), &heap) == 0);
        struct head *head = hshm_heap_header(heap, NULL);
        expect(head && head->magic == 0 && head->count[39] == 0);
        head->magic = kind;
        work_in(heap);
        expect(hshm_heap_create(s, id, kind, size, 8, &again) == HSHM_ESIZE);
        expect(hshm_heap_create(s, id, HSHM_HEAP_THREAD + kind % 4, kind == 2 ? MIB : 0,
                                sizeof(struct head), &again) != 0);
        pid_t pid = fork();
        if (pid == 0) {
            size_t header_size;
            expect(hshm_heap_open(s, id, &again) == 0 && (int)hshm_heap_kind(again) == kind);
            head = hshm_heap_header(again, &header_size);
            expect(header_size == sizeof *head && head->magic == kind);
            head->count[0] = 77;
            _exit(0);
        }
        ends_well(pid);
        expect(head->count[0] == 77);
        hshm_heap_close(heap);
        expect(hshm_heap_remove(s, id) == 0);
        expect(hshm_heap_remove(s, id) == HSHM_ENOENT);
    }
    hshm_close(s);
}

static void a_stack_is_given_back_to_its_mark(void)
{
    hshm_segment *s = open_segment();
    hshm_heap *stack;
    expect(hshm_heap_create(s, 1, HSHM_HEAP_STACK, 10000, 0, &stack) == 0);
    expect(hshm_heap_header(stack, NULL) == NULL);
    char *first = hshm_heap_alloc(stack, 100), *p;
    uint64_t mark = hshm_heap_mark(stack);
    for (int i = 0; i < 9; i++)
        expect((p = hshm_heap_alloc(stack, 1000)));
    expect(hshm_heap_alloc(stack, 1000) == NULL && hshm_error() == HSHM_ENOMEM);
    expect(strstr(hshm_error_text(), "available"));
    expect(hshm_heap_alloc(stack, 100)); /* what is too large does not spoil it */
    expect(hshm_heap_release(stack, mark) == 0 && hshm_heap_used(stack) == mark);
    expect(hshm_heap_alloc(stack, 1000) == first + 112);
    expect(hshm_heap_reset(stack) == 0 && hshm_heap_alloc(stack, 1) == first);
    expect(hshm_heap_release(stack, 9000) == HSHM_EINVAL);
    hshm_heap_close(stack);
    hshm_close(s);
}

static void makers_of_one_heap_at_once_get_one_heap(void)
{
    hshm_segment *s = open_segment();
    for (int i = 0; i < 6; i++)
        if (fork() == 0) {
            for (uint32_t id = 0; id < 50; id++) {
                hshm_heap *heap;
                expect(hshm_heap_create(s, id, HSHM_HEAP_THREAD, 0, 8, &heap) == 0);
                __atomic_fetch_add((long *)hshm_heap_header(heap, NULL), 1, __ATOMIC_RELAXED);
                hshm_heap_close(heap);
            }
            _exit(0);
        }
    for (int i = 0, status; i < 6; i++)
        expect(wait(&status) > 0 && status == 0);
    for (uint32_t id = 0; id < 50; id++) {
        hshm_heap *heap;
        expect(hshm_heap_open(s, id, &heap) == 0);
        expect(*(long *)hshm_heap_header(heap, NULL) == 6);
        hshm_heap_close(heap);
    }
    hshm_close(s);
}

/* ---- mutex, event, queue ------------------------------------------------------------------ */

static void a_mutex_excludes_and_outlives_its_owner(void)
{
    hshm_segment *s = open_segment();
    struct {
        hshm_mutex_t mutex;
        long count;
    } *shared = hshm_named(s, "mutex", sizeof *shared, 0, 0, 0, NULL);
    expect(hshm_mutex_init(&shared->mutex) == 0);
    pid_t pids[4];
    for (int i = 0; i < 4; i++)
        if ((pids[i] = fork()) == 0) {
            for (int k = 0; k < 20000; k++) {
                expect(hshm_mutex_lock(&shared->mutex, -1) == 0);
                shared->count++;
                expect(hshm_mutex_unlock(&shared->mutex) == 0);
            }
            _exit(0);
        }
    for (int i = 0; i < 4; i++)
        ends_well(pids[i]);
    expect(shared->count == 80000);
    expect(hshm_mutex_lock(&shared->mutex, 0) == 0);
    expect(hshm_mutex_lock(&shared->mutex, -1) == HSHM_EBUSY);
    pid_t pid = fork();
    if (pid == 0) {
        expect(hshm_mutex_lock(&shared->mutex, 10) == HSHM_EAGAIN);
        expect(hshm_mutex_unlock(&shared->mutex) == HSHM_EPERM);
        _exit(0);
    }
    ends_well(pid);
    expect(hshm_mutex_unlock(&shared->mutex) == 0);
    pid = fork();
    if (pid == 0) {
        expect(hshm_mutex_lock(&shared->mutex, -1) == 0);
        raise(SIGKILL);
    }
    waitpid(pid, NULL, 0);
    expect(hshm_mutex_lock(&shared->mutex, 5000) == HSHM_EOWNERDEAD);
    expect(hshm_mutex_unlock(&shared->mutex) == 0 && hshm_mutex_lock(&shared->mutex, 0) == 0);
    hshm_close(s);
}

/* Readers see two numbers that are always equal; writers change both. */
struct guarded {
    hshm_rwlock_t lock;
    long one, other;
    int inside, most, stop;
};

static void reads_until_stopped(struct guarded *g)
{
    while (!__atomic_load_n(&g->stop, __ATOMIC_RELAXED)) {
        int rc = hshm_rwlock_read(&g->lock, -1);
        expect(rc == 0 || rc == HSHM_EOWNERDEAD);
        int inside = __atomic_add_fetch(&g->inside, 1, __ATOMIC_SEQ_CST);
        if (inside > __atomic_load_n(&g->most, __ATOMIC_SEQ_CST))
            __atomic_store_n(&g->most, inside, __ATOMIC_SEQ_CST);
        expect(rc || g->one == g->other);
        usleep(100);
        expect(rc || g->one == g->other);
        __atomic_sub_fetch(&g->inside, 1, __ATOMIC_SEQ_CST);
        expect(hshm_rwlock_unlock(&g->lock) == 0);
    }
}

static void writes(struct guarded *g, int times)
{
    for (int i = 0; i < times; i++) {
        int rc = hshm_rwlock_write(&g->lock, -1);
        expect(rc == 0 || rc == HSHM_EOWNERDEAD);
        expect(__atomic_load_n(&g->inside, __ATOMIC_SEQ_CST) == 0);
        g->one++;
        g->other = g->one;
        expect(hshm_rwlock_unlock(&g->lock) == 0);
    }
}

static struct guarded *guarded_in(hshm_segment *s)
{
    struct guarded *g = hshm_named(s, "guarded", sizeof *g, 0, 0, 0, NULL);
    expect(g && hshm_rwlock_init(&g->lock) == 0);
    return g;
}

static void readers_read_at_once_and_a_writer_is_alone(void)
{
    hshm_segment *s = open_segment();
    struct guarded *g = guarded_in(s);
    pid_t readers[8];
    for (int i = 0; i < 8; i++)
        if ((readers[i] = fork()) == 0) {
            reads_until_stopped(g);
            _exit(0);
        }
    while (__atomic_load_n(&g->most, __ATOMIC_SEQ_CST) < 2)
        usleep(100);
    writes(g, 200); /* comes to its turn although somebody always reads */
    __atomic_store_n(&g->stop, 1, __ATOMIC_RELAXED);
    for (int i = 0; i < 8; i++)
        ends_well(readers[i]);
    expect(g->one == 200 && g->other == 200);
    expect(hshm_rwlock_unlock(&g->lock) == HSHM_EPERM);
    expect(hshm_rwlock_write(&g->lock, 0) == 0);
    expect(hshm_rwlock_write(&g->lock, 0) == HSHM_EBUSY);
    expect(hshm_rwlock_read(&g->lock, 20) == HSHM_EBUSY);
    expect(hshm_rwlock_unlock(&g->lock) == 0 && hshm_rwlock_read(&g->lock, 0) == 0);
    expect(hshm_rwlock_write(&g->lock, 20) == HSHM_EBUSY);
    pid_t pid = fork();
    if (pid == 0) { /* others read with us, and cannot write */
        expect(hshm_rwlock_write(&g->lock, 20) == HSHM_EAGAIN);
        expect(hshm_rwlock_unlock(&g->lock) == HSHM_EPERM);
        expect(hshm_rwlock_read(&g->lock, 0) == 0);
        _exit(0); /* as if it had been killed */
    }
    ends_well(pid);
    expect(hshm_rwlock_unlock(&g->lock) == 0 && hshm_rwlock_write(&g->lock, 0) == 0);
    expect(hshm_rwlock_unlock(&g->lock) == 0);
    hshm_close(s);
}

static void dies_with(struct guarded *g, int (*get)(hshm_rwlock_t *, int))
{
    pid_t pid = fork();
    if (pid == 0) {
        expect(get(&g->lock, -1) == 0);
        raise(SIGKILL);
    }
    int status;
    expect(waitpid(pid, &status, 0) == pid && WIFSIGNALED(status));
}

static void a_dead_writer_is_told_of_a_dead_reader_is_not(void)
{
    hshm_segment *s = open_segment();
    struct guarded *g = guarded_in(s);
    dies_with(g, hshm_rwlock_read);
    expect(hshm_rwlock_write(&g->lock, -1) == 0 && hshm_rwlock_unlock(&g->lock) == 0);
    dies_with(g, hshm_rwlock_write);
    for (int i = 0; i < 2; i++)
        expect(hshm_rwlock_read(&g->lock, -1) == HSHM_EOWNERDEAD &&
               hshm_rwlock_unlock(&g->lock) == 0);
    expect(hshm_rwlock_write(&g->lock, -1) == HSHM_EOWNERDEAD && hshm_rwlock_unlock(&g->lock) == 0);
    expect(hshm_rwlock_read(&g->lock, -1) == 0 && hshm_rwlock_unlock(&g->lock) == 0);
    hshm_close(s);
}

/* Killed anywhere, also while it collects, or gives back, the mutexes that the lock consists of. */
static void a_lock_outlives_killed_readers_and_writers(void)
{
    hshm_segment *s = open_segment();
    struct guarded *g = guarded_in(s);
    for (int round = 0; round < 60; round++) {
        pid_t pid = fork();
        if (pid == 0)
            for (;;) {
                writes(g, 1);
                expect(hshm_rwlock_read(&g->lock, -1) == 0 && hshm_rwlock_unlock(&g->lock) == 0);
            }
        usleep(500 + (unsigned)(round * 37 % 100) * 20);
        kill(pid, SIGKILL);
        waitpid(pid, NULL, 0);
        int rc = hshm_rwlock_read(&g->lock, 10000);
        expect(rc == HSHM_EOWNERDEAD || (rc == 0 && g->one == g->other));
        expect(hshm_rwlock_unlock(&g->lock) == 0);
        writes(g, 1);
    }
    expect(hshm_rwlock_read(&g->lock, 0) == 0 && g->one == g->other);
    hshm_close(s);
}

static void an_event_wakes_all_who_wait(void)
{
    hshm_segment *s = open_segment();
    hshm_event_t *event = hshm_named(s, "event", sizeof *event, 0, 0, 0, NULL);
    expect(hshm_event_wait(event, 0, 5) == HSHM_EAGAIN);
    pid_t pids[3];
    for (int i = 0; i < 3; i++)
        if ((pids[i] = fork()) == 0) {
            expect(hshm_event_wait(event, 0, 20000) == 0 && hshm_event_count(event) == 1);
            _exit(0);
        }
    usleep(20000);
    hshm_event_signal(event);
    for (int i = 0; i < 3; i++)
        ends_well(pids[i]);
    expect(hshm_event_wait(event, 0, 0) == 0);
    hshm_close(s);
}

struct element {
    int producer, number;
};
#define PRODUCERS 3
#define NUMBERS   5000
static void a_queue_delivers_each_element_once_and_in_order(void)
{
    hshm_segment *s = open_segment();
    hshm_queue *q = hshm_queue_open(s, "q", 64, sizeof(struct element));
    expect(q && hshm_queue_open(s, "q", 64, sizeof(struct element)) == q);
    expect(!hshm_queue_open(s, "q", 65, sizeof(struct element)) && hshm_error() == HSHM_ESIZE);
    pid_t pids[PRODUCERS];
    for (int i = 0; i < PRODUCERS; i++)
        if ((pids[i] = fork()) == 0) {
            for (int n = 0; n < NUMBERS; n++)
                expect(hshm_queue_push(q, &(struct element){ i, n }, 20000) == 0);
            _exit(0);
        }
    int next[PRODUCERS] = { 0 };
    for (int n = 0; n < PRODUCERS * NUMBERS; n++) {
        struct element e;
        expect(hshm_queue_pop(q, &e, 20000) == 0 && e.number == next[e.producer]++);
    }
    for (int i = 0; i < PRODUCERS; i++)
        ends_well(pids[i]);
    struct element e;
    expect(hshm_queue_pop(q, &e, 5) == HSHM_EAGAIN && hshm_queue_length(q) == 0);
    for (int n = 0; n < 64; n++)
        expect(hshm_queue_push(q, &(struct element){ 0, n }, 0) == 0);
    expect(hshm_queue_push(q, &e, 0) == HSHM_EAGAIN && hshm_queue_length(q) == 64);
    hshm_close(s);
}

/* Producers are killed wherever they are; what arrives is whole and in order. */
static void a_queue_outlives_killed_producers(void)
{
    hshm_segment *s = open_segment();
    hshm_queue *q = hshm_queue_open(s, "q", 16, sizeof(struct element));
    for (int round = 0; round < 30; round++) {
        pid_t pid = fork();
        if (pid == 0)
            for (int n = 0;; n++)
                hshm_queue_push(q, &(struct element){ round, n }, -1);
        struct element e;
        int last = -1;
        for (int n = 0; n < 200 + round; n++) {
            expect(hshm_queue_pop(q, &e, 20000) == 0);
            if (e.producer == round) {
                expect(e.number == last + 1);
                last = e.number;
            }
        }
        kill(pid, SIGKILL);
        waitpid(pid, NULL, 0);
        while (hshm_queue_pop(q, &e, 0) == 0)
            expect(e.producer == round);
    }
    hshm_close(s);
}

static const struct check checks[] = {
    CHECK(heaps_of_all_kinds_work_and_are_found_by_id),
    CHECK(a_stack_is_given_back_to_its_mark),
    CHECK(makers_of_one_heap_at_once_get_one_heap),
    CHECK(a_mutex_excludes_and_outlives_its_owner),
    CHECK(readers_read_at_once_and_a_writer_is_alone),
    CHECK(a_dead_writer_is_told_of_a_dead_reader_is_not),
    CHECK(a_lock_outlives_killed_readers_and_writers),
    CHECK(an_event_wakes_all_who_wait),
    CHECK(a_queue_delivers_each_element_once_and_in_order),
    CHECK(a_queue_outlives_killed_producers),
};

int main(int argc, char **argv)
{
    return argc == 2 ? run_check(checks, sizeof checks / sizeof *checks, argv[1]) : 2;
}
