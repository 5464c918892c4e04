// Two sides of a cross case: the second side is a thread of this process or a process of its own.
// For allocators with private heaps only the thread exists: nobody else could free the block.
#pragma once

#include "bench.h"

#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { RING_SLOTS = 8192 };

// One producer, one consumer. Lives in memory that both see however they were started.
struct ring {
    _Alignas(64) _Atomic uint64_t head;
    _Alignas(64) _Atomic uint64_t tail;
    _Alignas(64) void *slot[RING_SLOTS];
};

static inline void *shared_memory(size_t size)
{
    void *p = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    return p == MAP_FAILED ? checked(NULL) : p;
}

// Waiting sleeps: a spinning side would burn CPU time that is not the allocator's.
static inline void wait_a_little(void)
{
    nanosleep(&(struct timespec){ .tv_nsec = 20000 }, NULL);
}

static inline void ring_put(struct ring *ring, void *p)
{
    uint64_t head = atomic_load_explicit(&ring->head, memory_order_relaxed);
    while (head - atomic_load_explicit(&ring->tail, memory_order_acquire) == RING_SLOTS)
        wait_a_little();
    ring->slot[head % RING_SLOTS] = p;
    atomic_store_explicit(&ring->head, head + 1, memory_order_release);
}

static inline void *ring_take(struct ring *ring)
{
    uint64_t tail = atomic_load_explicit(&ring->tail, memory_order_relaxed);
    while (atomic_load_explicit(&ring->head, memory_order_acquire) == tail)
        wait_a_little();
    void *p = ring->slot[tail % RING_SLOTS];
    atomic_store_explicit(&ring->tail, tail + 1, memory_order_release);
    return p;
}

struct side {
    pthread_t thread;
    pid_t process;
};

// A side that crashed must end the benchmark at once, not leave the other waiting for it.
static inline void side_ended(int signal)
{
    siginfo_t info = { .si_pid = 0 };
    (void)signal;
    if (!waitid(P_ALL, 0, &info, WEXITED | WNOHANG | WNOWAIT) && info.si_pid &&
        (info.si_code != CLD_EXITED || info.si_status != 0))
        _exit(1);
}

static inline struct side start_side(const char *mode, void *(*run)(void *), void *argument)
{
    struct side s = { .process = 0 };
    if (strcmp(mode, "processes") != 0) {
        pthread_create(&s.thread, NULL, run, argument);
        return s;
    }
    sigaction(SIGCHLD, &(struct sigaction){ .sa_handler = side_ended, .sa_flags = SA_RESTART },
              NULL);
    if ((s.process = fork()) == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        run(argument);
        _exit(0);
    }
    return s;
}

// Ends the benchmark if the other side died: its figures would be worthless.
static inline void join_side(struct side s)
{
    int status = 0;
    if (!s.process)
        pthread_join(s.thread, NULL);
    else if (waitpid(s.process, &status, 0) != s.process || status != 0)
        exit(1);
}
