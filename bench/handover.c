// handover [MOST]: a producer hands buffers of 4 KiB to MOST (1 GiB) to a consumer, another process, in
// different ways, and prints "way bytes ready_us read_us" for each time: from the moment before the
// producer sends until the consumer has all of it within reach, and until it has read a word of every
// cache line. The ways:
//   pointer            8 bytes through a pipe: needs a heap that both share (run it under the preload)
//   pipe, pipe-1M      the bytes through a pipe of the usual size, and of 1 MiB
//   socket             the bytes through a Unix stream socket
//   process_vm_readv   the consumer copies from the producer's memory
//   shm                the producer copies into POSIX shared memory that both have mapped
// What the consumer copies into is mapped and used before the clock starts.
#define _GNU_SOURCE
#include "bench.h"

#include <fcntl.h>
#include <signal.h>
#include <stdbool.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum way { POINTER, PIPE, PIPE_1M, SOCKET, VM_READV, SHM, WAYS };
static const char *const names[] = { "pointer",          "pipe", "pipe-1M", "socket",
                                     "process_vm_readv", "shm" };

struct order {
    uint64_t way, size, pointer;
};

struct answer {
    uint64_t ready_ns, read_ns, sum;
};

static int orders[2], answers[2], channel[WAYS][2];
static char *shared, *target;
static pid_t producer;

static uint64_t now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec;
}

static void all(ssize_t (*move)(int, void *, size_t), int fd, void *data, size_t size)
{
    for (char *at = data; size;) {
        ssize_t n = move(fd, at, size);
        if (n <= 0)
            _exit(1);
        at += n;
        size -= (size_t)n;
    }
}

static ssize_t put(int fd, void *data, size_t size)
{
    return write(fd, data, size);
}

static void copy_from_producer(uint64_t from, uint64_t size)
{
    for (uint64_t at = 0; at < size;) {
        struct iovec local = { target + at, size - at },
                     remote = { (void *)(from + at), size - at };
        ssize_t n = process_vm_readv(producer, &local, 1, &remote, 1, 0);
        if (n <= 0)
            _exit(2);
        at += (uint64_t)n;
    }
}

static uint64_t read_all(const char *data, uint64_t size)
{
    uint64_t sum = 0;
    for (uint64_t at = 0; at < size; at += 64)
        sum += first_word(data + at);
    return sum;
}

static void consume(void)
{
    struct order o;
    while (read(orders[0], &o, sizeof o) == sizeof o) {
        char *data = target;
        if (o.way == POINTER)
            data = (char *)o.pointer;
        else if (o.way == SHM)
            data = shared;
        else if (o.way == VM_READV)
            copy_from_producer(o.pointer, o.size);
        else
            all(read, channel[o.way][0], target, o.size);
        struct answer a = { .ready_ns = now_ns() };
        a.sum = read_all(data, o.size);
        a.read_ns = now_ns();
        all(put, answers[1], &a, sizeof a);
    }
    _exit(0);
}

static void hand_over(enum way way, uint64_t size, uint64_t turn)
{
    char *data = get(size);
    for (uint64_t at = 0; at < size; at += 64)
        memcpy(data + at, &(uint64_t){ at + turn }, sizeof at);
    struct order o = { way, size, (uintptr_t)data };
    struct answer a;
    uint64_t began = now_ns();
    if (way == SHM)
        memcpy(shared, data, size);
    all(put, orders[1], &o, sizeof o);
    if (way == PIPE || way == PIPE_1M || way == SOCKET)
        all(put, channel[way][1], data, size);
    all(read, answers[0], &a, sizeof a);
    if (a.sum != read_all(data, size))
        exit(3);
    printf("%s %" PRIu64 " %.1f %.1f\n", names[way], size, (double)(a.ready_ns - began) / 1e3,
           (double)(a.read_ns - began) / 1e3);
    free(data);
}

int main(int argc, char **argv)
{
    uint64_t most = arg_number(argc, argv, 1, UINT64_C(1) << 30);
    // Only a heap in shared memory can hand over pointers: its blocks are in no private mapping.
    bool shares = getenv("HSHM_SEGMENT") != NULL;
    if (pipe(orders) || pipe(answers) || pipe(channel[PIPE]) || pipe(channel[PIPE_1M]) ||
        socketpair(AF_UNIX, SOCK_STREAM, 0, channel[SOCKET]))
        return 1;
    fcntl(channel[PIPE_1M][0], F_SETPIPE_SZ, 1 << 20);
    shared = mmap(NULL, most, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    target = mmap(NULL, most, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (shared == MAP_FAILED || target == MAP_FAILED)
        return 1;
    memset(shared, 1, most);
    producer = getpid();
    prctl(PR_SET_PTRACER, PR_SET_PTRACER_ANY);
    pid_t consumer = fork();
    if (consumer == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        close(orders[1]);
        memset(target, 1, most);
        read_all(shared, most);
        consume();
    }
    for (uint64_t size = 4096; size <= most; size *= 4)
        for (uint64_t turn = 0, turns = size < 1 << 20    ? 51
                                        : size < 64 << 20 ? 11
                                                          : 3;
             turn < turns; turn++)
            for (unsigned way = shares ? POINTER : PIPE; way < WAYS; way++)
                hand_over((enum way)way, size, turn);
    close(orders[1]);
    int status;
    return waitpid(consumer, &status, 0) == consumer && status == 0 ? 0 : 1;
}
