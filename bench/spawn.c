// spawn COUNT [PROGRAM]: runs /bin/true COUNT times, one after another: what it costs every short
// process of a script or a build that the allocator is there.
#include "bench.h"

#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

extern char **environ;

int main(int argc, char **argv)
{
    uint64_t count = arg_number(argc, argv, 1, 10000);
    char *program = argc > 2 ? argv[2] : "/bin/true";
    uint64_t failed = 0;
    for (uint64_t i = 0; i < count; i++) {
        pid_t pid;
        int status = 1;
        if (posix_spawn(&pid, program, NULL, NULL, (char *[]){ program, NULL }, environ))
            return 1;
        waitpid(pid, &status, 0);
        failed += status != 0;
    }
    return result(count, failed);
}
