/* prog_fork_mapped: what a program maps itself inside its blocks, before it forks and before it
 * frees them: guard pages, code, rings. */
#include "tests/process/expect.h"

#include <malloc.h>
#include <setjmp.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#define PAGE 4096

static void ends_well(pid_t pid)
{
    int status;
    expect(pid > 0 && waitpid(pid, &status, 0) == pid);
    if (status != 0)
        dprintf(2, "a child ended with %#x\n", status), _exit(1);
}

static char *filled(size_t n, int mark)
{
    char *p = aligned_alloc(PAGE, n);
    expect(p != NULL);
    return memset(p, mark, n);
}

static int is_filled(const char *p, size_t n, int mark)
{
    for (size_t i = 0; i < n; i += 64)
        if (p[i] != mark)
            return 0;
    return p[n - 1] == mark;
}

static sigjmp_buf faulted;
static void on_fault(int signal)
{
    siglongjmp(faulted, signal);
}

static int faults(volatile char *p, int writing)
{
    struct sigaction action = { .sa_handler = on_fault }, before;
    expect(sigaction(SIGSEGV, &action, &before) == 0);
    int signal = sigsetjmp(faulted, 1);
    if (!signal) {
        char c = *p;
        if (writing)
            *p = c;
    }
    expect(sigaction(SIGSEGV, &before, NULL) == 0);
    return signal == SIGSEGV;
}

/* ---- guard pages ----------------------------------------------------------------------------- */

/* In a small page, in runs of slices that were populated or not, in a chunk of its own, and more
 * than is copied to a pool. */
static const size_t sizes[] = { 4 * PAGE, 40 * PAGE, 100 * PAGE, 700 * PAGE, 2500 * PAGE };
#define SIZES (sizeof sizes / sizeof *sizes)

static void protect(char *p, size_t n, int access)
{
    expect(mprotect(p, n, access) == 0);
}

/* The first page not to be touched, the second to be read only, the last not to be touched. */
static void guard(char *p, size_t n)
{
    protect(p, PAGE, PROT_NONE);
    protect(p + PAGE, PAGE, PROT_READ);
    protect(p + n - PAGE, PAGE, PROT_NONE);
}

static void look(char *p, size_t n, int mark)
{
    expect(faults(p, 0) && faults(p + n - 1, 0));
    expect(!faults(p + PAGE, 0) && faults(p + PAGE, 1));
    expect(is_filled(p + PAGE, n - 2 * PAGE, mark));
    protect(p, n, PROT_READ | PROT_WRITE);
    expect(is_filled(p, n, mark));
}

static void generation(char **p, int left)
{
    pid_t pid = fork();
    if (pid == 0) {
        if (left)
            generation(p, left - 1);
        for (size_t i = 0; i < SIZES; i++) {
            look(p[i], sizes[i], (int)i + 1);
            memset(p[i], 77, sizes[i]);
            free(p[i]);
        }
        _exit(0);
    }
    ends_well(pid);
}

static void guard_pages_are_the_child_s_too(void)
{
    char *p[SIZES];
    for (size_t n = 1; n <= SIZES; n++) { /* small copies go another way than large ones */
        for (size_t i = 0; i < n; i++)
            guard(p[i] = filled(sizes[i], (int)i + 1), sizes[i]);
        for (size_t i = n; i < SIZES; i++)
            guard(p[i] = filled(sizes[0], (int)i + 1), sizes[0]);
        pid_t pid = fork();
        if (pid == 0) {
            for (size_t i = 0; i < SIZES; i++) {
                look(p[i], i < n ? sizes[i] : sizes[0], (int)i + 1);
                memset(p[i], 77, i < n ? sizes[i] : sizes[0]);
                free(p[i]);
            }
            _exit(0);
        }
        ends_well(pid);
        if (n == SIZES)
            generation(p, 2);
        for (size_t i = 0; i < SIZES; i++) {
            look(p[i], i < n ? sizes[i] : sizes[0], (int)i + 1);
            free(p[i]);
        }
    }
}

/* Coroutines: a guard page below each stack. */
static void hundreds_of_guard_pages(void)
{
    enum { STACKS = 400, STACK = 5 * PAGE };
    static char *stack[STACKS];
    for (int i = 0; i < STACKS; i++) {
        stack[i] = filled(STACK, i % 100);
        protect(stack[i], PAGE, PROT_NONE);
    }
    for (int round = 0; round < 3; round++) {
        pid_t pid = fork();
        if (pid == 0) {
            for (int i = 0; i < STACKS; i++) {
                expect(i % 20 || faults(stack[i], 0));
                expect(is_filled(stack[i] + PAGE, STACK - PAGE, i % 100));
                memset(stack[i] + PAGE, 1, STACK - PAGE);
            }
            _exit(0);
        }
        ends_well(pid);
    }
    for (int i = 0; i < STACKS; i++) {
        expect(is_filled(stack[i] + PAGE, STACK - PAGE, i % 100));
        protect(stack[i], PAGE, PROT_READ | PROT_WRITE);
        expect(stack[i][0] == i % 100);
        free(stack[i]);
    }
}

/* Nobody has seen that: where the heap is large a fork looks. */
static void guard_pages_made_by_a_raw_system_call(void)
{
    size_t n = 32u << 20;
    char *p = filled(n, 5);
    expect(syscall(SYS_mprotect, p + PAGE, PAGE, PROT_NONE) == 0);
    pid_t pid = fork();
    if (pid == 0) {
        expect(faults(p + PAGE, 0) && is_filled(p + 2 * PAGE, n - 2 * PAGE, 5));
        protect(p + PAGE, PAGE, PROT_READ | PROT_WRITE);
        expect(is_filled(p, n, 5));
        memset(p, 6, n);
        _exit(0);
    }
    ends_well(pid);
    expect(faults(p + PAGE, 0));
    protect(p + PAGE, PAGE, PROT_READ | PROT_WRITE);
    expect(is_filled(p, n, 5));
    free(p);
}

/* ---- code -------------------------------------------------------------------------------------- */

#if defined(__x86_64__)
static const unsigned char code[] = { 0xb8, 42, 0, 0, 0, 0xc3 }; /* mov $42, %eax; ret */
#elif defined(__aarch64__)
static const unsigned char code[] = { 0x40, 0x05, 0x80, 0x52, 0xc0, 0x03, 0x5f, 0xd6 };
#else
static const unsigned char code[] = { 0 };
#endif

static void code_in_a_block_runs_in_the_child(void)
{
    char *p = filled(3 * PAGE, 0);
    int (*fn)(void);
    memcpy(p + PAGE, code, sizeof code);
    if (sizeof code == 1 || mprotect(p + PAGE, PAGE, PROT_READ | PROT_EXEC) < 0)
        _exit(sizeof code > 1 && errno != EACCES); /* a file system that is mounted noexec */
    __builtin___clear_cache(p + PAGE, p + 2 * PAGE);
    *(void **)&fn = p + PAGE;
    expect(fn() == 42);
    pid_t pid = fork();
    if (pid == 0) {
        expect(fn() == 42 && faults(p + PAGE, 1));
        _exit(0);
    }
    ends_well(pid);
    expect(fn() == 42);
    protect(p + PAGE, PAGE, PROT_READ | PROT_WRITE);
    free(p);
}

/* ---- mappings over blocks -------------------------------------------------------------------- */

/* A ring: the same memory twice in a row. */
static char *ring(size_t n, int fd)
{
    char *p = filled(2 * n + PAGE, 3);
    for (int i = 0; i < 2; i++)
        expect(mmap(p + (size_t)i * n, n, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, fd, 0) ==
               p + (size_t)i * n);
    return p;
}

static void a_ring_over_a_block_is_shared_as_it_was(void)
{
    for (size_t n = 16 * PAGE; n <= 1024 * PAGE; n *= 64) {
        int fd = memfd_create("ring", 0);
        expect(fd >= 0 && ftruncate(fd, (off_t)n) == 0);
        char *p = ring(n, fd);
        p[5] = 1;
        expect(p[n + 5] == 1 && p[2 * n] == 3);
        pid_t pid = fork();
        if (pid == 0) {
            expect(p[5] == 1 && p[n + 5] == 1 && is_filled(p + 2 * n, PAGE, 3));
            p[n + 5] = 2; /* as that memory is */
            p[2 * n] = 4; /* of its own */
            free(p);
            _exit(0);
        }
        ends_well(pid);
        expect(p[5] == 2 && p[n + 5] == 2 && is_filled(p + 2 * n, PAGE, 3));
        free(p);
        close(fd);
    }
}

static void private_memory_over_a_block_is_copied_on_write(void)
{
    char *p = filled(100 * PAGE, 3);
    expect(mmap(p + 4 * PAGE, 8 * PAGE, PROT_READ | PROT_WRITE,
                MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) == p + 4 * PAGE);
    expect(is_filled(p + 4 * PAGE, 8 * PAGE, 0));
    memset(p + 4 * PAGE, 4, 8 * PAGE);
    expect(munmap(p + 20 * PAGE, PAGE) == 0);
    pid_t pid = fork();
    if (pid == 0) {
        expect(is_filled(p, 4 * PAGE, 3) && is_filled(p + 4 * PAGE, 8 * PAGE, 4) &&
               is_filled(p + 12 * PAGE, 8 * PAGE, 3) && faults(p + 20 * PAGE, 0));
        memset(p, 5, 20 * PAGE);
        _exit(0);
    }
    ends_well(pid);
    expect(is_filled(p, 4 * PAGE, 3) && is_filled(p + 4 * PAGE, 8 * PAGE, 4) &&
           faults(p + 20 * PAGE, 0));
    free(p);
}

/* ---- freed as they are ---------------------------------------------------------------------- */

/* Blocks that large are mapped one by one elsewhere: what is freed takes its mappings along. */
static void whoever_gets_the_memory_next_may_use_it(void)
{
    mallopt(M_MMAP_THRESHOLD, 128 << 10);
    int fd = memfd_create("ring", 0);
    expect(fd >= 0 && ftruncate(fd, 100 * PAGE) == 0);
    for (int round = 0; round < 6; round++)
        for (size_t n = 40 * PAGE; n <= 4000 * PAGE; n *= 10) {
            char *p = filled(n, 1), *q = filled(n, 1), *r = filled(n, 1);
            guard(p, n);
            expect(mmap(q + PAGE, 20 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, fd,
                        0) == q + PAGE);
            expect(munmap(r + 2 * PAGE, 3 * PAGE) == 0);
            free(p);
            free(q);
            free(r);
            if (round % 2)
                malloc_trim(0);
            p = filled(n, 2);
            q = filled(n, 3);
            r = filled(3 * n, 4);
            expect(is_filled(p, n, 2) && is_filled(q, n, 3) && is_filled(r, 3 * n, 4));
            free(p);
            free(q);
            free(r);
        }
    char *file = mmap(NULL, 20 * PAGE, PROT_READ, MAP_SHARED, fd, 0);
    expect(file != MAP_FAILED && is_filled(file, 20 * PAGE, 1) == 0 && file[0] == 0);
}

static const struct check checks[] = {
    CHECK(guard_pages_are_the_child_s_too),
    CHECK(hundreds_of_guard_pages),
    CHECK(guard_pages_made_by_a_raw_system_call),
    CHECK(code_in_a_block_runs_in_the_child),
    CHECK(a_ring_over_a_block_is_shared_as_it_was),
    CHECK(private_memory_over_a_block_is_copied_on_write),
    CHECK(whoever_gets_the_memory_next_may_use_it),
};

int main(int argc, char **argv)
{
    return RUN_CHECKS(checks, argc, argv);
}
