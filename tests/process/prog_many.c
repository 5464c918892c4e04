/* Many processes.
 *
 *   prog_many crowd N              N copies at once; when all have allocated, shows the segment
 *   prog_many queue N PROGRAM ...  one after another; shows the segment after a tenth and at the end
 *   prog_many leak BLOCKS BYTES    leaves that behind, having freed as much
 *   prog_many herd N               N times four at once, each of which frees nearly all it had
 *   prog_many fill BYTES           leaves blocks behind, until it gets no more or has BYTES
 *
 * $TOOL is hshm. */
#include "tests/process/expect.h"

#include <spawn.h>
#include <stdbool.h>
#include <sys/wait.h>

extern char **environ;

static char **with_preload, **without_preload;

/* Our own environment loses the preload: what looks at the segment is no member. */
static void environments(void)
{
    size_t n = 0, k = 0;
    while (environ[n])
        n++;
    with_preload = malloc((n + 1) * sizeof *environ);
    without_preload = malloc((n + 1) * sizeof *environ);
    expect(with_preload && without_preload);
    memcpy(with_preload, environ, (n + 1) * sizeof *environ);
    for (size_t i = 0; i < n; i++)
        if (strncmp(environ[i], "LD_PRELOAD=", 11) != 0)
            without_preload[k++] = environ[i];
    without_preload[k] = NULL;
}

static pid_t start(char **args, char **env)
{
    pid_t pid = 0;
    expect(posix_spawnp(&pid, args[0], NULL, NULL, args, env) == 0);
    return pid;
}

static void finish(pid_t pid)
{
    int status;
    expect(waitpid(pid, &status, 0) == pid);
    expect(status == 0);
}

static void show(void)
{
    char script[] = "$TOOL show -j $HSHM_SEGMENT | tr -d ' \\n' | sed 's/,\"classes.*//'; echo";
    char *args[] = { "sh", "-c", script, NULL };
    finish(start(args, without_preload));
}

/* ---- at once -------------------------------------------------------------------------- */

static void one_of_the_crowd(int number)
{
    enum { N = 300 };
    static unsigned char *p[N];
    char c = 'r';
    for (int i = 0; i < N; i++) {
        size_t size = (size_t)(i % 10 == 0 ? 5000 : i + 1);
        expect((p[i] = malloc(size)) && is_heap(p[i]));
        memset(p[i], number + i, size);
    }
    expect(write(1, &c, 1) == 1);
    expect(read(0, &c, 1) == 0);
    for (int i = 0; i < N; i++) {
        size_t size = (size_t)(i % 10 == 0 ? 5000 : i + 1);
        for (size_t at = 0; at < size; at++)
            expect(p[i][at] == (unsigned char)(number + i));
        free(p[i]);
    }
}

/* Of 8 MiB in many sizes one block in 64 stays. */
static void one_of_the_herd(int number)
{
    enum { N = 16384 };
    static unsigned char *p[N];
    char c = 'r';
    uint32_t dice = (uint32_t)number * 2654435761u + 1;
    for (int i = 0; i < N; i++) {
        dice = dice * 1664525 + 1013904223;
        size_t size = (dice >> 16) % 1024 + 1;
        expect((p[i] = malloc(size)) && is_heap(p[i]));
        memset(p[i], i, size);
    }
    expect(write(1, &c, 1) == 1);
    expect(read(0, &c, 1) == 0);
    for (int i = 0; i < N; i++)
        if (i % 64)
            free(p[i]);
}

/* N copies that wait for one another when they have allocated. */
static void at_once(char *self, char *what, int n, int first, bool look)
{
    int go[2], ready[2];
    char c, number[12];
    char *args[] = { self, what, number, NULL };
    expect(pipe(go) == 0 && pipe(ready) == 0);
    pid_t *pids = calloc((size_t)n, sizeof *pids);
    for (int i = 0; i < n; i++) {
        posix_spawn_file_actions_t files;
        expect(posix_spawn_file_actions_init(&files) == 0);
        expect(posix_spawn_file_actions_adddup2(&files, go[0], 0) == 0);
        expect(posix_spawn_file_actions_adddup2(&files, ready[1], 1) == 0);
        expect(posix_spawn_file_actions_addclose(&files, go[1]) == 0);
        snprintf(number, sizeof number, "%d", first + i);
        expect(posix_spawn(&pids[i], "/proc/self/exe", &files, NULL, args, with_preload) == 0);
        posix_spawn_file_actions_destroy(&files);
    }
    close(ready[1]); /* if one dies, the rest of them end */
    for (int i = 0; i < n; i++)
        expect(read(ready[0], &c, 1) == 1);
    if (look)
        show();
    close(go[1]);
    for (int i = 0; i < n; i++)
        finish(pids[i]);
    free(pids);
    close(go[0]);
    close(ready[0]);
}

static void crowd(char *self, int n)
{
    at_once(self, "crowd-one", n, 0, true);
    show();
}

static void herd(char *self, int n)
{
    enum { FOUR = 4 };
    for (int i = 0; i < n; i++) {
        at_once(self, "herd-one", FOUR, i * FOUR, false);
        if (i == n / 10)
            show();
    }
    show();
}

/* ---- one after another ------------------------------------------------------------------ */

static void queue(int n, char **args)
{
    for (int i = 0; i < n; i++) {
        finish(start(args, with_preload));
        if (i == n / 10)
            show();
    }
    show();
}

static void leak(long blocks, size_t bytes)
{
    char *p = NULL;
    for (long i = 0; i < blocks; i++) {
        char *other = malloc(bytes);
        expect((p = malloc(bytes)) && other);
        memset(p, 1, bytes);
        memset(other, 2, bytes);
        free(other);
    }
}

static void fill(size_t bytes)
{
    enum { BLOCK = 10000 };
    for (size_t at = 0; at < bytes; at += BLOCK) {
        char *p = malloc(BLOCK);
        expect(p);
        memset(p, 1, BLOCK);
    }
}

int main(int argc, char **argv)
{
    if (argc < 3)
        return 2;
    int n = atoi(argv[2]);
    environments();
    if (strcmp(argv[1], "crowd") == 0)
        crowd(argv[0], n);
    else if (strcmp(argv[1], "crowd-one") == 0)
        one_of_the_crowd(n);
    else if (strcmp(argv[1], "herd") == 0)
        herd(argv[0], n);
    else if (strcmp(argv[1], "herd-one") == 0)
        one_of_the_herd(n);
    else if (strcmp(argv[1], "queue") == 0)
        queue(n, argv + 3);
    else if (strcmp(argv[1], "leak") == 0 && argc > 3)
        leak(n, (size_t)atol(argv[3]));
    else if (strcmp(argv[1], "fill") == 0)
        fill((size_t)atol(argv[2]));
    else
        return 2;
    return 0;
}
