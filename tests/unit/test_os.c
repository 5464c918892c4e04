/* What the allocators ask of the kernel holds on kernels that know less, or only claim to know. */
#include "allocators/os.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <stddef.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { PAGE = 4096 };

/* From here on madvise(.., advice) answers 'error', and does nothing. */
static void without(int advice, int error)
{
    struct sock_filter program[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_madvise, 0, 3),
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, args[2])),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (unsigned)advice, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | (unsigned)error),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog all = { sizeof program / sizeof *program, program };
    cr_assert_eq(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), 0);
    cr_assert_eq(prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &all), 0);
}

struct file {
    int fd;
    char *at;
};

static struct file file_make(size_t bytes)
{
    struct file f = { .fd = memfd_create("os", 0) };
    cr_assert(f.fd >= 0 && ftruncate(f.fd, (off_t)bytes) == 0);
    f.at = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, f.fd, 0);
    cr_assert_neq(f.at, MAP_FAILED);
    return f;
}

static size_t pages_of(struct file f)
{
    struct stat st;
    cr_assert_eq(fstat(f.fd, &st), 0);
    return (size_t)st.st_blocks * 512 / PAGE;
}

static void populate_backs_all_pages(void)
{
    struct file f = file_make(64 * PAGE);
    f.at[5 * PAGE] = 'x';
    cr_assert_eq(os_populate(f.at, 64 * PAGE), 0);
    cr_assert_eq(pages_of(f), 64);
    cr_assert_eq(f.at[5 * PAGE], 'x');
    cr_assert_eq(os_populate(f.at, 64 * PAGE), 0);
}

Test(os, populate_backs_all_pages)
{
    populate_backs_all_pages();
}

Test(os, populate_backs_all_pages_on_a_kernel_that_cannot)
{
    without(23, EINVAL);
    populate_backs_all_pages();
}

Test(os, populate_backs_all_pages_where_success_is_only_claimed)
{
    without(23, 0);
    populate_backs_all_pages();
}

static int done;

static void *count(void *at)
{
    uint64_t *n = at, mine = 0;
    for (; !__atomic_load_n(&done, __ATOMIC_RELAXED); mine++)
        __atomic_store_n(n, __atomic_load_n(n, __ATOMIC_RELAXED) + 1, __ATOMIC_RELAXED);
    return (void *)(uintptr_t)mine;
}

/* Others may own the page already: a byte that is read and written back would undo their write. */
Test(os, populate_changes_no_byte_that_others_write_meanwhile)
{
    without(23, EINVAL);
    struct file f = file_make(PAGE);
    pthread_t t;
    void *counted;
    cr_assert_eq(pthread_create(&t, NULL, count, f.at), 0);
    volatile uint64_t *n = (void *)f.at; /* until both have had their time */
    for (int i = 0; i < 200000 || __atomic_load_n(n, __ATOMIC_RELAXED) < 30000000; i++)
        cr_assert_eq(os_populate(f.at, PAGE), 0);
    __atomic_store_n(&done, 1, __ATOMIC_RELAXED);
    pthread_join(t, &counted);
    cr_assert_eq(*(uint64_t *)(void *)f.at, (uint64_t)(uintptr_t)counted);
}

/* Beyond the end of the file a touch is SIGBUS. */
static void memory_that_cannot_be_had_is_an_error(void)
{
    struct file f = file_make(8 * PAGE);
    cr_assert_eq(ftruncate(f.fd, 4 * PAGE), 0);
    cr_assert_eq(os_populate(f.at, 8 * PAGE), -ENOMEM);
}

Test(os, memory_that_cannot_be_had_is_an_error)
{
    memory_that_cannot_be_had_is_an_error();
}

Test(os, memory_that_cannot_be_had_is_an_error_on_a_kernel_that_cannot_populate)
{
    without(23, EINVAL);
    memory_that_cannot_be_had_is_an_error();
}

Test(os, what_is_purged_is_gone)
{
    struct file f = file_make(64 * PAGE);
    memset(f.at, 'x', 64 * PAGE);
    cr_assert_eq(os_purge(f.at, 64 * PAGE, true), 0);
    cr_assert_eq(pages_of(f), 0);
    cr_assert_eq(f.at[0], 0);
}

Test(os, a_purge_that_is_only_claimed_is_an_error_and_a_hole_in_the_file_helps)
{
    without(MADV_REMOVE, 0);
    struct file f = file_make(64 * PAGE);
    for (int round = 0; round < 2; round++) {
        memset(f.at + 9 * PAGE, 'x', 55 * PAGE); /* the first pages have nothing to tell by */
        cr_assert_eq(os_purge(f.at, 64 * PAGE, true), -EOPNOTSUPP);
        cr_assert_eq(pages_of(f), 55);
        cr_assert_eq(os_punch(f.fd, 0, 64 * PAGE), 0);
        cr_assert_eq(pages_of(f), 0);
    }
}

Test(os, locked_private_memory_is_purged_too)
{
    char *p = mmap(NULL, 8 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    cr_assert_eq(mlock(p, 8 * PAGE), 0);
    memset(p, 'x', 8 * PAGE);
    cr_assert_eq(os_purge(p, 8 * PAGE, false), 0);
    cr_assert_eq(p[0], 0);
}
