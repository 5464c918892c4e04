/* HSHM_ZERO, and members of different users: what one has written another does not find in the
 * memory that malloc gives it. */
#include "tests/process/puppet.h"

#include <sys/stat.h>

static char dir[200], name[320];

static void place(void)
{
    snprintf(dir, sizeof dir, "%s/zero-%d", setting("TMPDIR", "/tmp"), (int)getpid());
    mkdir(dir, 0777);
    chmod(dir, 0777);
    chmod(setting("TMPDIR", "/tmp"), 01777);
    snprintf(name, sizeof name, "file:%s/seg", dir);
}

static void remove_place(void)
{
    unlink(name + 5);
    rmdir(dir);
}

TestSuite(zero, .init = place, .fini = remove_place);

enum ending { FREES, FREES_HALF, DIES, FREED_BY_THE_OTHER };

/* One member fills blocks and ends; of how many of the other's blocks has it written the middle? */
static unsigned found(unsigned size, enum ending how, const char *first, const char *second)
{
    enum { BLOCKS = 24 };
    uint64_t at[BLOCKS];
    struct puppet b = puppet_start(name, second), a = puppet_start(name, first);
    cr_assert_neq(ask(&b, "m 16"), 0, "%s", puppet_said(&b));
    for (int i = 0; i < BLOCKS; i++) {
        at[i] = ask(&a, "m %u", size);
        cr_assert_eq(ask(&a, "w %#lx %u 77", (unsigned long)at[i], size), 1, "%s", puppet_said(&a));
    }
    for (int i = 0; i < BLOCKS; i++)
        if (how == FREES || (how == FREES_HALF && i % 2))
            ask(&a, "f %#lx", (unsigned long)at[i]);
    if (how == DIES)
        puppet_kill(&a);
    else
        cr_assert_eq(puppet_quit(&a), 0, "%s", puppet_said(&a));
    for (int i = 0; how == FREED_BY_THE_OTHER && i < BLOCKS; i++)
        cr_assert_eq(ask(&b, "f %#lx", (unsigned long)at[i]), 1, "%s", puppet_said(&b));
    sleep_ms(150);
    unsigned n = 0;
    for (int i = 0; i < (size <= 20000 ? 400 : 3 * BLOCKS); i++) {
        uint64_t block = ask(&b, "m %u", size);
        cr_assert(block && block != REFUSED, "%s", puppet_said(&b));
        n += ask(&b, "v %#lx 64 77", (unsigned long)(block + size / 2)) == 1;
    }
    cr_assert_eq(puppet_quit(&b), 0, "%s", puppet_said(&b));
    unlink(name + 5);
    return n;
}

#define KEEP "HSHM_SIZE=256M HSHM_MODE=0666 HSHM_PURGE_DELAY=-1 HSHM_WARM=100% "
static const unsigned sizes[] = { 1000, 20000, 100000, 1000000 };

/* Else the tests below would say nothing. */
Test(zero, without_it_memory_is_handed_on_as_it_is)
{
    unsigned n = 0;
    for (unsigned i = 0; i < 4; i++)
        n += found(sizes[i], FREES, KEEP, KEEP);
    cr_assert_gt(n, 0);
    cr_assert_gt(found(20000, FREES_HALF, KEEP, KEEP), 0);
}

Test(zero, what_another_member_has_written_is_cleared)
{
    for (unsigned i = 0; i < 4; i++)
        for (int how = FREES; how <= DIES; how++)
            cr_expect_eq(found(sizes[i], (enum ending)how, KEEP, KEEP "HSHM_ZERO=1"), 0,
                         "blocks of %u, ending %d", sizes[i], how);
}

Test(zero, what_another_user_has_written_is_cleared_without_being_asked)
{
    if (geteuid() != 0)
        cr_skip_test("needs root");
    const char *nobody = KEEP "-- setpriv --reuid=65534 --regid=65534 --clear-groups";
    for (unsigned i = 0; i < 4; i++)
        for (int how = FREES; how <= DIES; how++)
            cr_expect_eq(found(sizes[i], (enum ending)how, KEEP, nobody), 0,
                         "blocks of %u, ending %d", sizes[i], how);
}

/* Blocks of our own that somebody else had, and freed. */
Test(zero, what_another_member_has_written_to_our_blocks_is_cleared)
{
    for (int zero = 0; zero < 2; zero++) {
        struct puppet a = puppet_start(name, zero ? KEEP "HSHM_ZERO=1" : KEEP),
                      b = puppet_start(name, KEEP);
        unsigned n = 0;
        for (int i = 0; i < 200; i++) {
            uint64_t at = ask(&a, "m 1000");
            ask(&b, "w %#lx 1000 77", (unsigned long)at);
            ask(&b, "f %#lx", (unsigned long)at);
        }
        for (int i = 0; i < 400; i++) {
            uint64_t at = ask(&a, "m 1000");
            n += ask(&a, "v %#lx 64 77", (unsigned long)(at + 500)) == 1;
        }
        cr_expect(zero ? n == 0 : n > 0, "HSHM_ZERO=%d: %u blocks", zero, n);
        cr_assert_eq(puppet_quit(&a) + puppet_quit(&b), 0);
        unlink(name + 5);
    }
}
