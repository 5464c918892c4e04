/* A file that is no sound segment of ours is refused with one line that says why. */
#include "tests/process/puppet.h"

#include <sys/stat.h>

static char path[300], name[320];

/* A segment as its last member left it. */
static void make(void)
{
    snprintf(path, sizeof path, "%s/damage-%d", setting("TMPDIR", "/tmp"), (int)getpid());
    snprintf(name, sizeof name, "file:%s", path);
    struct puppet a = puppet_start(name, "HSHM_PERSIST=1");
    cr_assert_eq(ask(&a, "n 10 100"), 10, "%s", puppet_said(&a));
    cr_assert_eq(puppet_quit(&a), 0);
    cr_assert_eq(access(path, F_OK), 0);
}

static void refused(const char *why)
{
    struct puppet a = puppet_start(name, "HSHM_PERSIST=1");
    cr_assert_eq(ask(&a, "n 10 100"), 10, "it goes on privately: %s", puppet_said(&a));
    cr_assert_eq(puppet_quit(&a), 0);
    const char *said = puppet_said(&a);
    cr_assert_not_null(strstr(said, why), "not '%s' but: %s", why, said);
    cr_assert_eq(strchr(said, '\n') + 1 - said, (long)strlen(said), "one line: %s", said);
}

static void poke(size_t offset, const void *bytes, size_t n)
{
    int fd = open(path, O_RDWR);
    cr_assert_eq(pwrite(fd, bytes, n, (off_t)offset), (ssize_t)n);
    close(fd);
}

Test(damage, every_field_of_the_header_is_looked_at)
{
    struct field {
        size_t offset, size;
        const char *why;
    };
#define FIELD(f, why)                                                                              \
    {                                                                                              \
        offsetof(struct seg_header, f), sizeof((struct seg_header *)0)->f, why                     \
    }
    static const struct field fields[] = {
        FIELD(magic, "it is not a segment"),
        FIELD(format, "it has another format version"),
        FIELD(abi, "it was made for another machine type"),
        FIELD(base, "its address is out of range"),
        FIELD(window, "its header is damaged"),
        FIELD(chunks_off, "its header is damaged"),
        FIELD(slices_off, "its header is damaged"),
        FIELD(kept_off, "its header is damaged"),
        FIELD(data_off, "its header is damaged"),
        FIELD(chunk_count, "its header is damaged"),
        FIELD(first_chunk, "its header is damaged"),
        FIELD(limit, "its header is damaged"),
        FIELD(private_heap, "its header is damaged"),
        FIELD(link_key, "its header is damaged"),
        FIELD(chunk_high, "its header is damaged"),
        FIELD(chunk_hint, "its header is damaged"),
        FIELD(holds_high, "its header is damaged"),
        FIELD(members_high, "its header is damaged"),
        FIELD(damaged, "it was found damaged"),
        FIELD(state, "its header is damaged"),
    };
    make();
    for (size_t i = 0; i < sizeof fields / sizeof *fields; i++) {
        const struct field *f = &fields[i];
        struct seg_header good = segment_header(name);
        unsigned char bad[8];
        memset(bad, f->offset == offsetof(struct seg_header, link_key) ? 0 : 0x77, sizeof bad);
        poke(f->offset, bad, f->size);
        refused(f->why);
        poke(0, &good, sizeof good);
    }
    struct puppet a = puppet_start(name, "HSHM_PERSIST=1");
    cr_assert_eq(ask(&a, "n 10 100"), 10);
    cr_assert_eq(puppet_quit(&a), 0);
    cr_assert_str_empty(puppet_said(&a), "whole again");
    unlink(path);
}

Test(damage, a_truncated_file_is_refused)
{
    const off_t sizes[] = { 0, 100, 4096, 100000, 20000000 };
    for (unsigned i = 0; i < 5; i++) {
        make();
        cr_assert_eq(truncate(path, sizes[i]), 0);
        refused(sizes[i] < 512 ? "it is not a segment" : "its file has been truncated");
        unlink(path);
    }
}

Test(damage, what_is_no_plain_file_is_refused)
{
    make();
    char other[310];
    snprintf(other, sizeof other, "%s.link", path);
    rename(path, other);
    cr_assert_eq(symlink(other, path), 0);
    refused("it is a symbolic link");
    unlink(path);
    unlink(other);
    cr_assert_eq(mkfifo(path, 0600), 0);
    refused("it is not a regular file");
    unlink(path);
    cr_assert_eq(mkdir(path, 0700), 0);
    refused("");
    rmdir(path);
}

Test(damage, a_file_that_others_may_write_is_refused)
{
    make();
    cr_assert_eq(chmod(path, 0620), 0);
    refused("others may write to it");
    cr_assert_eq(chmod(path, 0602), 0);
    refused("others may write to it");
    cr_assert_eq(chmod(path, 0600), 0);
    if (geteuid() == 0) {
        cr_assert_eq(chown(path, 1234, 0), 0);
        refused("it belongs to another user");
    }
    unlink(path);
}

/* ---- wrong use: one line, then abort ----------------------------------------------------------- */

/* 'line' makes it end with one line that says 'what', with the address and an owner. */
static void aborts(struct puppet *p, uint64_t at, const char *line, const char *what)
{
    char address[32];
    snprintf(address, sizeof address, ": %#lx,", (unsigned long)at);
    tell(p, line);
    if (answer(p, 20000) != REFUSED)
        kill(p->pid, SIGKILL);
    cr_assert_eq(puppet_wait(p), 128 + SIGABRT, "%s: it went on: %s", what, puppet_said(p));
    const char *said = puppet_said(p);
    cr_assert(strstr(said, what) && strstr(said, address) && strstr(said, "owner"),
              "not '%s' with %s: %s", what, address, said);
    cr_assert_eq(strchr(said, '\n') + 1 - said, (long)strlen(said), "one line: %s", said);
}

static const char *command(char verb, uint64_t at)
{
    static char line[64];
    snprintf(line, sizeof line, "%c %#lx 300000", verb, (unsigned long)at);
    return line;
}

static const struct {
    char verb;
    const char *name;
} calls[] = { { 'f', "free" }, { 'r', "realloc" }, { 'U', "malloc_usable_size" } };

#define FULL "HSHM_CHECK=full"

static const unsigned sizes[] = { 100, 20000, 100000, 9000000 };

/* A block that is free already, given to each call, by its owner or by another process that frees
 * it first or second. */
static void freed_twice(unsigned size, int call, bool first_other, bool second_other)
{
    struct puppet a = puppet_start("twice", ""), b = puppet_start("twice", "");
    uint64_t at = ask(&a, "m %u", size);
    cr_assert_neq(ask(&a, "m %u", size), 0);
    cr_assert_eq(ask(first_other ? &b : &a, "f %#lx", (unsigned long)at), 1);
    const char *what = call ? "that is free already" : size > 32768 ? "free" : "double free";
    aborts(second_other ? &b : &a, at, command(calls[call].verb, at), what);
    cr_assert_eq(puppet_quit(second_other ? &a : &b), 0);
    unlink(segment_file("twice"));
}

Test(damage, a_block_freed_twice_aborts_whoever_does_it)
{
    for (unsigned i = 0; i < 4; i++)
        for (int call = 0; call < 3; call++)
            for (int who = 0; who < 4; who++)
                if (who == (int)(i + (unsigned)call) % 4 || scale() > 1)
                    freed_twice(sizes[i], call, who & 1, who & 2);
}

Test(damage, a_double_free_ends_the_one_who_did_it_and_nobody_else)
{
    struct puppet a = puppet_start("double2", ""), b = puppet_start("double2", ""),
                  c = puppet_start("double2", "");
    uint64_t at = ask(&a, "m 100"), kept = ask(&a, "m 100");
    cr_assert_neq(kept, 0);
    cr_assert_eq(ask(&b, "f %#lx", (unsigned long)at), 1);
    aborts(&b, at, command('f', at), "double free");
    aborts(&c, at, command('f', at), "double free");
    cr_assert_eq(ask(&a, "n 1000 100"), 1000, "the owner goes on: %s", puppet_said(&a));
    cr_assert_eq(ask(&a, "s"), 1);
    puppet_quit(&a);
}

static void wild(const char *seg, int call, bool other, uint64_t offset, unsigned size,
                 const char *what)
{
    char expected[100];
    struct puppet a = puppet_start(seg, ""), b = puppet_start(seg, "");
    uint64_t at = (size ? ask(&a, "m %u", size) : segment_header(seg).base) + offset;
    cr_assert_neq(ask(&a, "m %u", size ? size : 100), 0);
    snprintf(expected, sizeof expected, "%s of %s", calls[call].name, what);
    aborts(other ? &b : &a, at, command(calls[call].verb, at), expected);
    cr_assert_eq(puppet_quit(other ? &a : &b), 0);
    unlink(segment_file(seg));
}

Test(damage, pointers_that_are_no_blocks_abort)
{
    static const struct {
        unsigned size;
        uint64_t offset;
        const char *what;
    } wrong[] = {
        { 100, 16, "a pointer into the middle of a block" },
        { 100, 7, "a pointer into the middle of a block" },
        { 20000, 4096, "a pointer into the middle of a block" },
        { 100000, 1, "a pointer into the middle of a block" },
        { 100000, 4096, "a pointer into the middle of a block" },
        { 100000, 65536, "a pointer into the middle of a block" },
        { 9000000, 65536, "a pointer into the middle of a block" },
        { 9000000, 5000000, "a pointer into the middle of a large block" },
        { 0, 0, "a pointer that was never allocated" },
        { 0, 4096, "a pointer that was never allocated" },
        { 0, 60000000, "a pointer that was never allocated" },
    };
    for (unsigned i = 0; i < sizeof wrong / sizeof *wrong; i++)
        for (int call = 0; call < 3; call++)
            if (scale() > 1 || call == (int)(i % 3))
                wild("wild", call, i & 1, wrong[i].offset, wrong[i].size, wrong[i].what);
}

Test(damage, a_block_of_a_page_that_was_never_handed_out_aborts)
{
    /* The page grows in steps, from its beginning.  Its owner's fast path does not ask. */
    for (int full = 0; full < 2; full++) {
        struct puppet a = puppet_start("never", full ? FULL : ""), b = puppet_start("never", "");
        uint64_t at = (ask(&a, "m 1000") & ~UINT64_C(0xffff)) + 1024 * 50;
        aborts(full ? &a : &b, at, command('f', at), "free of a block that was never allocated");
        cr_assert_eq(puppet_quit(full ? &b : &a), 0);
    }
    unlink(segment_file("never"));
}

Test(damage, a_pointer_into_another_segment_aborts_and_names_it)
{
    for (int call = 0; call < 3; call++) {
        struct puppet a = puppet_start("here", ""), b = puppet_start("elsewhere", "");
        uint64_t at = ask(&b, "m 100");
        aborts(&a, at, command(calls[call].verb, at), "segment elsewhere, owner unknown");
        cr_assert_eq(ask(&b, "f %#lx", (unsigned long)at), 1);
        puppet_quit(&b);
        unlink(segment_file("here"));
    }
}

Test(damage, a_free_list_written_to_aborts)
{
    for (unsigned i = 0; i < 2; i++) {
        struct puppet a = puppet_start("written", "");
        uint64_t at = ask(&a, "m %u", sizes[i]);
        char line[64], address[32];
        ask(&a, "m %u", sizes[i]);
        ask(&a, "f %#lx", (unsigned long)at);
        ask(&a, "w %#lx 8 65", (unsigned long)at);
        snprintf(line, sizeof line, "n 100 %u", sizes[i]);
        tell(&a, line);
        cr_assert_eq(puppet_wait(&a), 128 + SIGABRT);
        snprintf(address, sizeof address, ": %#lx,", (unsigned long)at);
        cr_assert(strstr(puppet_said(&a), "free list overwritten") &&
                      strstr(puppet_said(&a), address) && strstr(puppet_said(&a), "owner this"),
                  "%s", puppet_said(&a));
        unlink(segment_file("written"));
    }
}

/* ---- HSHM_CHECK=full --------------------------------------------------------------------------- */

static const char *check_says(const char *seg)
{
    static char out[8192];
    char line[600];
    snprintf(line, sizeof line, "%s check %s 2>&1", setting("TEST_TOOL", "build/hshm"), seg);
    FILE *f = popen(line, "r");
    size_t n = fread(out, 1, sizeof out - 1, f);
    out[n] = '\0';
    pclose(f);
    return out;
}

/* One byte too many is seen by `hshm check`, and by whoever frees the block. */
static void overflow(unsigned size, uint64_t by, const char *freer)
{
    struct puppet a = puppet_start("over", FULL), b = puppet_start("over", freer);
    uint64_t at = ask(&a, "m %u", size);
    cr_assert_neq(ask(&a, "m %u", size), 0);
    cr_assert_eq(ask(&a, "U %#lx", (unsigned long)at), size);
    cr_assert_eq(ask(&a, "w %#lx %u 65", (unsigned long)at, size), 1);
    cr_assert_not_null(strstr(check_says("over"), "sound"), "%s", check_says("over"));
    cr_assert_eq(ask(&a, "w %#lx 1 65", (unsigned long)(at + size + by)), 1);
    cr_assert_not_null(strstr(check_says("over"), "a block was written to beyond its end"), "%s",
                       check_says("over"));
    aborts(&b, at, command('f', at), "a block was written to beyond its end");
    cr_assert_eq(puppet_quit(&a), 0);
    unlink(segment_file("over"));
}

Test(check_full, a_write_beyond_the_end_of_a_block_is_noticed)
{
    overflow(100, 0, FULL);
    overflow(100, 7, "");
    overflow(16, 0, "");
    overflow(20001, 0, FULL);
    overflow(100000, 0, FULL);
    overflow(9000000, 3, "");
}

Test(check_full, realloc_and_usable_size_notice_it_too)
{
    for (int call = 1; call < 3; call++) {
        struct puppet a = puppet_start("over2", FULL);
        uint64_t at = ask(&a, "m 100");
        ask(&a, "w %#lx 101 65", (unsigned long)at);
        aborts(&a, at, command(calls[call].verb, at), "a block was written to beyond its end");
        unlink(segment_file("over2"));
    }
}

/* A write after the free is noticed at the latest when the block is handed out again. */
static void write_after_free(unsigned size, const char *freer, uint64_t where)
{
    struct puppet a = puppet_start("after", FULL), b = puppet_start("after", freer);
    uint64_t at = ask(&a, "m %u", size), again = 0;
    cr_assert_neq(ask(&a, "m %u", size), 0);
    cr_assert_eq(ask(&b, "f %#lx", (unsigned long)at), 1);
    cr_assert_eq(ask(&a, "w %#lx 1 65", (unsigned long)(at + where)), 1);
    struct puppet *who = strcmp(freer, FULL) == 0 ? &b : &a;
    for (int i = 0; i < 3000 && again != REFUSED; i++) {
        again = ask(who, "m %u", size);
        if (again != REFUSED)
            again = ask(who, "f %#lx", (unsigned long)again);
    }
    cr_assert_eq(again, REFUSED, "nobody noticed");
    cr_assert_eq(puppet_wait(who), 128 + SIGABRT);
    cr_assert_not_null(strstr(puppet_said(who), "a block was written to after it was freed"), "%s",
                       puppet_said(who));
    puppet_quit(who == &a ? &b : &a);
    unlink(segment_file("after"));
}

Test(check_full, a_write_after_the_free_is_noticed)
{
    write_after_free(100, FULL, 20);
    write_after_free(100, "", 50);
    write_after_free(20000, FULL, 19000);
    write_after_free(100000, FULL, 8);
}

Test(check_full, a_freed_block_is_not_handed_out_again_soon_by_anybody)
{
    struct puppet a = puppet_start("delay", FULL), b = puppet_start("delay", FULL);
    uint64_t at = ask(&a, "m 100");
    cr_assert_eq(ask(&b, "f %#lx", (unsigned long)at), 1);
    for (int i = 0; i < 500; i++)
        cr_assert_neq(ask(i & 1 ? &a : &b, "m 100"), at);
    aborts(&a, at, command('f', at), "double free");
    cr_assert_eq(puppet_quit(&b), 0, "%s", puppet_said(&b));
    unlink(segment_file("delay"));
}

/* Nothing is lost by the delay: not when memory is short, nor when the member leaves. */
Test(check_full, delayed_blocks_come_back)
{
    struct puppet a = puppet_start("back", FULL " HSHM_SIZE=16M"),
                  b = puppet_start("back", FULL " HSHM_SIZE=16M");
    for (int i = 0; i < 5; i++) {
        cr_assert_gt(ask(&a, "n 1000000 10000"), 1000);
        cr_assert_eq(ask(&a, "s"), 1);
        cr_assert_eq(ask(&a, "d"), 1);
    }
    cr_assert_eq(puppet_quit(&a), 0, "%s", puppet_said(&a));
    cr_assert_gt(ask(&b, "n 1000000 10000"), 1000);
    cr_assert_not_null(strstr(check_says("back"), "sound"), "%s", check_says("back"));
    cr_assert_eq(ask(&b, "d"), 1);
    puppet_quit(&b);
}

/* The owner is killed while another member's ring has a block of its, which reclaim frees. */
Test(check_full, a_delayed_block_whose_owner_died_is_freed_once)
{
    struct puppet a = puppet_start("owner", FULL), b = puppet_start("owner", FULL);
    for (int i = 0; i < 300; i++) {
        uint64_t at = ask(&a, "m %d", i % 3 == 2 ? 70000 : 100);
        cr_assert_eq(ask(&b, "f %#lx", (unsigned long)at), 1);
    }
    puppet_kill(&a);
    char line[600];
    snprintf(line, sizeof line, "%s reclaim owner > /dev/null", setting("TEST_TOOL", "build/hshm"));
    sleep_ms(150);
    cr_assert_eq(system(line), 0);
    for (int i = 0; i < 3000; i++) {
        uint64_t at = ask(&b, "m 100");
        cr_assert_neq(at, REFUSED, "%s", puppet_said(&b));
        cr_assert_eq(ask(&b, "f %#lx", (unsigned long)at), 1, "%s", puppet_said(&b));
    }
    cr_assert_not_null(strstr(check_says("owner"), "sound"), "%s", check_says("owner"));
    cr_assert_eq(puppet_quit(&b), 0, "%s", puppet_said(&b));
}
