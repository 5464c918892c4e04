/* prog_puppet - does what its standard input says, one command a line, one number for an answer.
 *
 *   m SIZE            malloc            T SIZE   malloc in a new thread
 *   c SIZE            calloc: 1 if it is all zero, the block goes to the pile
 *   r PTR SIZE        realloc           f PTR    free
 *   U PTR             malloc_usable_size
 *   w PTR SIZE BYTE   fill              v PTR SIZE BYTE   are they all so?
 *   n COUNT SIZE      as many blocks on the pile, filled; how many it got
 *   d                 free the pile     s       its blocks are as they were filled?
 *   h                 free half of it, in any order
 *   x                 close all files but 0, 1, 2
 *   g                 daemonise: the answer comes from the child's child
 *   t                 the main thread ends, another goes on answering
 *   e                 exec itself       u       drop to an unprivileged user, chroot to an empty folder
 *   k                 fork a child that sleeps for ever; its pid
 *   i                 pid               q       exit
 */
#include <errno.h>
#include <fcntl.h>
#include <malloc.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#define PILE 1000000
struct item {
    unsigned char *block;
    size_t size;
};
static struct item *pile;
static size_t piled;

static void *thread_malloc(void *size)
{
    return malloc((size_t)size);
}

static uint64_t in_new_thread(uint64_t size)
{
    pthread_t thread;
    void *block = NULL;
    if (pthread_create(&thread, NULL, thread_malloc, (void *)size) == 0)
        pthread_join(thread, &block);
    return (uintptr_t)block;
}

static int read_line(char *line, size_t size)
{
    size_t n = 0;
    while (n < size - 1) {
        if (read(0, line + n, 1) != 1)
            return 0;
        if (line[n] == '\n')
            break;
        n++;
    }
    line[n] = '\0';
    return 1;
}

static int all(const unsigned char *p, size_t n, int byte)
{
    for (size_t i = 0; i < n; i++)
        if (p[i] != byte)
            return 0;
    return 1;
}

static int pile_up(unsigned char *block, size_t size)
{
    if (!block || piled == PILE)
        return 0;
    memset(block, (int)(piled % 251), size);
    pile[piled++] = (struct item){ block, size };
    return 1;
}

static uint64_t many(uint64_t count, uint64_t size)
{
    for (uint64_t i = 0; i < count; i++)
        if (!pile_up(malloc(size), size))
            return i;
    return count;
}

static uint64_t pile_is_sound(void)
{
    for (size_t i = 0; i < piled; i++)
        if (!all(pile[i].block, pile[i].size, (int)(i % 251)))
            return 0;
    return 1;
}

static uint64_t free_half(void)
{
    srand(1);
    for (size_t left = piled / 2; left; left--) {
        size_t i = (size_t)rand() % piled;
        free(pile[i].block);
        pile[i] = pile[--piled];
    }
    return piled;
}

static uint64_t sleeping_child(void)
{
    pid_t pid = fork();
    while (pid == 0)
        pause();
    return (uint64_t)pid;
}

static uint64_t daemonise(void)
{
    if (fork() > 0)
        _exit(0);
    setsid();
    if (fork() > 0)
        _exit(0);
    return 1;
}

static uint64_t drop(void)
{
    char dir[] = "/tmp/empty-XXXXXX";
    return mkdtemp(dir) && chroot(dir) == 0 && chdir("/") == 0 && setgid(65534) == 0 &&
           setuid(65534) == 0;
}

static uint64_t obey(char verb, uint64_t a, uint64_t b, uint64_t c)
{
    unsigned char *p = (unsigned char *)(uintptr_t)a;
    switch (verb) {
    case 'm': return (uintptr_t)malloc(a);
    case 'T': return in_new_thread(a);
    case 'c': {
        unsigned char *block = calloc(1, a);
        uint64_t zero = block && all(block, a, 0);
        pile_up(block, a);
        return zero;
    }
    case 'r': return (uintptr_t)realloc(p, b);
    case 'f': free(p); return 1;
    case 'U': return malloc_usable_size(p);
    case 'w': memset(p, (int)c, b); return 1;
    case 'v': return (uint64_t)all(p, b, (int)c);
    case 'n': return many(a, b);
    case 's': return pile_is_sound();
    case 'd':
        while (piled)
            free(pile[--piled].block);
        return 1;
    case 'h': return free_half();
    case 'x': closefrom(3); return 1;
    case 'g': return daemonise();
    case 'u': return drop();
    case 'k': return sleeping_child();
    case 'q':                      /* 'q 1': by _exit(); 'q 2': a child of vfork() does */
        if (a == 2 && vfork() > 0) /* NOLINT: this is what is tested */
            return 1;
        _exit(0);
    case 'i': return (uint64_t)getpid();
    default: return 0;
    }
}

static void *serve(void *unused)
{
    char line[256], verb, out[32], self[] = "/proc/self/exe";
    while (read_line(line, sizeof line)) {
        unsigned long a = 0, b = 0, c = 0;
        int words = sscanf(line, "%c %li %li %li", &verb, (long *)&a, (long *)&b, (long *)&c);
        if (words < 1 || (verb == 'q' && words == 1))
            exit(0);
        if (verb == 'e')
            execl(self, self, NULL);
        if (verb == 't') {
            pthread_t thread;
            pthread_create(&thread, NULL, serve, NULL);
            pthread_exit(NULL);
        }
        int n = snprintf(out, sizeof out, "%#lx\n", (unsigned long)obey(verb, a, b, c));
        if (write(1, out, (size_t)n) != n)
            exit(1);
    }
    exit(0);
    return unused;
}

int main(void)
{
    pile = mmap(NULL, PILE * sizeof *pile, PROT_READ | PROT_WRITE,
                MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    serve(NULL);
    return 0;
}
