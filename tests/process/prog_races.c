/* prog_races FILE INDEX SEED - joins a segment, looks whether all others live in the same one, and leaves: by
 * exit, by _exit or killed. */
#include "tests/process/races.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#define WINDOW_SHIFT 28 /* of HSHM_SIZE=64M: 256 MiB */

int main(int argc, char **argv)
{
    if (argc < 4)
        return 2;
    int fd = open(argv[1], O_RDWR);
    struct races *races = mmap(NULL, sizeof *races, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (races == MAP_FAILED)
        return 2;
    unsigned self = (unsigned)atoi(argv[2]), seed = (unsigned)atoi(argv[3]);
    uint64_t segment = (uint64_t)(uintptr_t)malloc(100) >> WINDOW_SHIFT;
    __atomic_store_n(&races->in[self], segment, __ATOMIC_SEQ_CST);
    for (unsigned i = 0; i < RACERS; i++) {
        uint64_t other = __atomic_load_n(&races->in[i], __ATOMIC_SEQ_CST);
        if (other && other != segment) {
            dprintf(2, "%u lives in %lx, %u in %lx\n", self, (unsigned long)segment, i,
                    (unsigned long)other);
            return 1;
        }
    }
    __atomic_fetch_add(&races->joined, 1, __ATOMIC_RELAXED);
    if (__atomic_exchange_n(&races->last, segment, __ATOMIC_RELAXED) != segment)
        __atomic_fetch_add(&races->made, 1, __ATOMIC_RELAXED);
    nanosleep(&(struct timespec){ 0, rand_r(&seed) % 500000 }, NULL);
    __atomic_store_n(&races->in[self], 0, __ATOMIC_SEQ_CST);
    switch (rand_r(&seed) % 4) {
    case 0: _exit(0);
    case 1: raise(SIGKILL); break;
    default: break;
    }
    return 0;
}
