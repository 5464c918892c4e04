// forks COUNT KIB: a process with so much in use forks COUNT times; the child ends at once, the
// parent waits for it: fork + exit + wait, and what an allocator adds to them.
#include "bench.h"

#include <sys/wait.h>
#include <unistd.h>

enum { BLOCK = 200 };

int main(int argc, char **argv)
{
    uint64_t count = arg_number(argc, argv, 1, 1000);
    uint64_t blocks = arg_number(argc, argv, 2, 256) * 1024 / BLOCK, failed = 0;
    char **all = malloc((blocks + 1) * sizeof *all);
    for (uint64_t i = 0; i < blocks; i++)
        memset(all[i] = malloc(BLOCK), 1, BLOCK);
    for (uint64_t i = 0; i < count; i++) {
        pid_t pid = fork();
        if (pid == 0)
            _exit(all[i % blocks][0] == 1 ? 0 : 1);
        int status = 1;
        if (pid > 0)
            waitpid(pid, &status, 0);
        failed += status != 0;
    }
    return result(count, failed);
}
