/* gpu_os.h - system calls that only programs with a GPU need: sockets that pass descriptors.
 *
 * Raw, like those of allocators/os.h: a name of the C library costs each
 * start of each program a lookup. */
#pragma once
#include "gpu_hooks/gpu.h"

struct gpu_message {
    uint32_t magic, command, device, chunk;
    uint64_t word; /* of the chunk, as the sender knows it */
};

long gpu_os_dup_high(long fd); /* a copy above the program's own descriptors, closed by exec */
void *gpu_os_map_file(long fd, uint64_t off, uint64_t bytes);
uint64_t gpu_os_inode(const char *path); /* of what a link leads to; 0 unknown */
/* Start time of a process in clock ticks; 0: there is none.  'Z' and 'X' are none.  *stack: where
 * its stack begins, 0 if that may not be known. */
uint64_t gpu_os_start_time(uint64_t pid, uint64_t *stack);

/* Sockets in the abstract namespace, one message a packet. */
struct gpu_name {
    char text[64];
    uint32_t length;
};
long gpu_os_listen(const struct gpu_name *name);
bool gpu_os_is_ours(long fd, const struct gpu_name *name);
long gpu_os_accept(long fd);
long gpu_os_connect(const struct gpu_name *name, unsigned timeout_ms);
bool gpu_os_peer_may(long fd); /* the same user, or root */
void gpu_os_wait(long fd);
bool gpu_os_send(long fd, const struct gpu_message *m, long passed);
bool gpu_os_receive(long fd, struct gpu_message *m, long *passed); /* *passed: -1 if none */
