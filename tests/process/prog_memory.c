/* Advice, protection, locks and limits on memory that malloc gave. */
#include "tests/process/expect.h"

#include <dirent.h>
#include <malloc.h>
#include <signal.h>
#include <stdbool.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>

/* Bytes that the file of our segment has; 0 without one. */
static size_t segment_bytes(void)
{
    const char *name = getenv("HSHM_SEGMENT");
    size_t bytes = 0;
    DIR *dir = name ? opendir("/dev/shm") : NULL;
    for (struct dirent *e; dir && (e = readdir(dir));) {
        const char *tail = strrchr(e->d_name, '-');
        struct stat st;
        char path[300];
        snprintf(path, sizeof path, "/dev/shm/%s", e->d_name);
        if (tail && strcmp(tail + 1, name) == 0 && stat(path, &st) == 0)
            bytes = (size_t)st.st_blocks * 512;
    }
    if (dir)
        closedir(dir);
    return bytes;
}

static size_t resident(void)
{
    char line[256];
    size_t kib = 0;
    FILE *f = fopen("/proc/self/status", "r");
    while (f && fgets(line, sizeof line, f))
        if (sscanf(line, "VmRSS: %zu kB", &kib) == 1)
            break;
    if (f)
        fclose(f);
    return kib << 10;
}

static bool all_are(const char *p, size_t n, char value)
{
    for (size_t i = 0; i < n; i++)
        if (p[i] != value)
            return false;
    return true;
}

/* ---- madvise, mprotect ----------------------------------------------------------------- */

static void memory_not_needed_reads_zero(void)
{
    for (size_t n = 4096; n <= 8u << 20; n *= 8) {
        char *p = aligned_alloc(4096, n + 8192);
        memset(p, 'x', n + 8192);
        expect(madvise(p + 4096, n, MADV_DONTNEED) == 0);
        expect(all_are(p, 4096, 'x') && all_are(p + 4096, n, 0) &&
               all_are(p + 4096 + n, 4096, 'x'));
        memset(p, 'y', n + 8192);
        expect(all_are(p, n + 8192, 'y'));
        free(p);
    }
}

static void advice_that_private_memory_takes_succeeds(void)
{
    size_t n = 4u << 20;
    char *p = aligned_alloc(4096, n);
    memset(p, 'x', n);
    expect(madvise(p, n, MADV_FREE) == 0);
    for (size_t i = 0; i < n; i++)
        expect(p[i] == 'x' || p[i] == 0);
    memset(p, 'y', n);
    expect(madvise(p, n, MADV_WILLNEED) == 0);
    expect(madvise(p, n, MADV_NORMAL) == 0);
    expect(madvise(p, n, MADV_DONTDUMP) == 0 && madvise(p, n, MADV_DODUMP) == 0);
    expect(all_are(p, n, 'y'));
    errno = 0;
    expect(madvise(p + 1, 4096, MADV_DONTNEED) == -1 && errno == EINVAL);
    free(p);
}

static char *guard;
static void guard_was_touched(int signal, siginfo_t *info, void *context)
{
    (void)signal, (void)context;
    _exit(info->si_addr == guard ? 0 : 4);
}

static void a_guard_page_in_a_block_guards(void)
{
    char *p = aligned_alloc(4096, 5 * 4096);
    memset(p, 1, 5 * 4096);
    guard = p + 2 * 4096;
    expect(mprotect(guard, 4096, PROT_NONE) == 0);
    memset(p, 2, 2 * 4096);
    memset(p + 3 * 4096, 2, 2 * 4096);
    struct sigaction action = { .sa_sigaction = guard_was_touched, .sa_flags = SA_SIGINFO };
    sigaction(SIGSEGV, &action, NULL);
    *(volatile char *)guard = 3;
    expect(!"guarded");
}

static void a_block_is_whole_again_after_protection(void)
{
    char *p = aligned_alloc(4096, 1u << 20);
    expect(mprotect(p, 1u << 20, PROT_READ) == 0);
    expect(mprotect(p, 1u << 20, PROT_READ | PROT_WRITE) == 0);
    memset(p, 1, 1u << 20);
    free(p);
}

static void code_runs_in_a_block(void)
{
    static const unsigned char code[] = { 0xb8, 42, 0, 0, 0, 0xc3 }; /* mov $42, %eax; ret */
    unsigned char *p = aligned_alloc(4096, 4 * 4096);
    int (*run)(void);
    memcpy(p, code, sizeof code);
    *(void **)&run = p;
    expect(mprotect(p, 4096, PROT_READ | PROT_EXEC) == 0);
    expect(run() == 42);
    expect(mprotect(p, 4096, PROT_READ | PROT_WRITE) == 0);
    free(p);
}

/* ---- giving back ------------------------------------------------------------------------ */

static size_t taken(void)
{
    return getenv("HSHM_SEGMENT") ? segment_bytes() : resident();
}

static void malloc_trim_gives_memory_back(void)
{
    enum { N = 4000 };
    static char *p[N];
    malloc_trim(0);
    size_t before = taken();
    for (int i = 0; i < N; i++) {
        p[i] = malloc(i % 4 ? 1000 : 60000);
        memset(p[i], 1, i % 4 ? 1000 : 60000);
    }
    char *large = malloc(64u << 20);
    memset(large, 1, 64u << 20);
    expect(taken() >= before + (110u << 20));
    for (int i = 0; i < N; i++)
        free(p[i]);
    free(large);
    expect(malloc_trim(0) == 1);
    expect(taken() < before + (2u << 20));
}

static size_t freed_to_be_purged(void)
{
    enum { N = 600 };
    static char *p[N];
    for (int i = 0; i < N; i++)
        memset(p[i] = malloc(100000), 1, 100000);
    for (int i = 0; i < N; i++)
        if (i % 20) /* the others keep their chunks from being given back whole */
            free(p[i]);
    return taken();
}

/* Whoever comes to the slow path later gives back what has been free for long enough. */
static void free_memory_goes_back_after_the_delay(void)
{
    size_t before = taken();
    freed_to_be_purged();
    for (int i = 0; i < 2000 && taken() > before + (10u << 20); i++) {
        usleep(5000);
        free(malloc(300000));
    }
    expect(taken() <= before + (10u << 20));
}

static void free_memory_stays_if_asked_to(void)
{
    size_t full = freed_to_be_purged();
    for (int i = 0; i < 60; i++) {
        usleep(5000);
        free(malloc(300000));
    }
    expect(taken() + (10u << 20) >= full && full >= 55u << 20);
}

/* ---- mlockall ------------------------------------------------------------------------------ */

static void locking_all_memory_fills_no_segment(void)
{
    char *p = malloc(1u << 20);
    memset(p, 1, 1u << 20);
    size_t before = segment_bytes(), had = resident();
    expect(mlockall(MCL_CURRENT) == 0);
    expect(segment_bytes() <= before + (1u << 20));
    expect(resident() < had + (64u << 20));
    char *q = malloc(10u << 20);
    memset(q, 1, 10u << 20);
    expect(munlockall() == 0);
    free(p), free(q);
}

static void locking_future_memory_fills_no_segment(void)
{
    size_t before = segment_bytes();
    expect(mlockall(MCL_CURRENT | MCL_FUTURE) == 0);
    char *p = malloc(1u << 20);
    memset(p, 1, 1u << 20);
    free(p);
    expect(segment_bytes() <= before + (8u << 20));
    expect(munlockall() == 0);
}

/* The kernel gives no memory back from a locked mapping by advice. */
static void locked_memory_is_given_back_and_calloc_gives_zeros(void)
{
    expect(mlockall(MCL_CURRENT) == 0);
    for (size_t n = 100000; n <= 64u << 20; n *= 8) {
        char *p[8];
        for (int i = 0; i < 8; i++) {
            expect((p[i] = malloc(n)));
            memset(p[i], 'x', n);
        }
        size_t before = taken();
        for (int i = 0; i < 8; i++)
            free(p[i]);
        expect(malloc_trim(0) == 1);
        expect(taken() <= before - 7 * n);
        for (int i = 0; i < 8; i++)
            expect((p[i] = calloc(1, n)) && all_are(p[i], n, 0));
        for (int i = 0; i < 8; i++)
            free(p[i]);
    }
    expect(munlockall() == 0);
}

/* ---- files and limits ------------------------------------------------------------------------ */

static void use_the_heap(void)
{
    char *p[200];
    for (int i = 0; i < 200; i++) {
        size_t n = (size_t)i * (size_t)i * 20 + 1;
        expect((p[i] = malloc(n)));
        memset(p[i], i, n);
    }
    for (int i = 0; i < 200; i++) {
        expect(p[i][0] == (char)i);
        free(p[i]);
    }
}

static void fork_and_use_the_heap(void)
{
    char *mine = malloc(1000);
    memset(mine, 'm', 1000);
    pid_t pid = fork();
    expect(pid >= 0);
    if (pid == 0) {
        expect(all_are(mine, 1000, 'm'));
        memset(mine, 'c', 1000);
        use_the_heap();
        free(mine);
        _exit(5);
    }
    int status;
    expect(waitpid(pid, &status, 0) == pid && WIFEXITED(status) && WEXITSTATUS(status) == 5);
    expect(all_are(mine, 1000, 'm'));
    free(mine);
    use_the_heap();
}

static void a_program_may_close_every_descriptor(void)
{
    free(malloc(10));
    expect(close_range(3, ~0u, 0) == 0);
    use_the_heap();
    fork_and_use_the_heap();
}

static void no_descriptor_stays_open(void)
{
    use_the_heap();
    for (int i = 3; i < 100; i++) {
        char link[64], to[300] = "";
        snprintf(link, sizeof link, "/proc/self/fd/%d", i);
        expect(readlink(link, to, sizeof to - 1) < 0 || !strstr(to, "hshm"));
    }
}

static void a_program_without_descriptors_goes_on(void)
{
    struct rlimit none = { 3, 3 };
    expect(setrlimit(RLIMIT_NOFILE, &none) == 0);
    use_the_heap();
    malloc_trim(0);
    use_the_heap();
}

static const struct check checks[] = {
    CHECK(memory_not_needed_reads_zero),
    CHECK(advice_that_private_memory_takes_succeeds),
    CHECK(a_guard_page_in_a_block_guards),
    CHECK(a_block_is_whole_again_after_protection),
    CHECK(code_runs_in_a_block),
    CHECK(malloc_trim_gives_memory_back),
    CHECK(free_memory_goes_back_after_the_delay),
    CHECK(free_memory_stays_if_asked_to),
    CHECK(locking_all_memory_fills_no_segment),
    CHECK(locking_future_memory_fills_no_segment),
    CHECK(locked_memory_is_given_back_and_calloc_gives_zeros),
    CHECK(a_program_may_close_every_descriptor),
    CHECK(no_descriptor_stays_open),
    CHECK(a_program_without_descriptors_goes_on),
    CHECK(use_the_heap),
    CHECK(fork_and_use_the_heap),
};

int main(int argc, char **argv)
{
    return RUN_CHECKS(checks, argc, argv);
}
