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

static void aborts(struct puppet *p, uint64_t at, const char *what)
{
    char address[32], line[64];
    snprintf(line, sizeof line, "f %#lx", (unsigned long)at);
    snprintf(address, sizeof address, "%#lx", (unsigned long)at);
    tell(p, line);
    cr_assert_eq(puppet_wait(p), 128 + SIGABRT, "%s: it went on: %s", what, puppet_said(p));
    const char *said = puppet_said(p);
    cr_assert(strstr(said, what) && strstr(said, address), "not '%s' with %s: %s", what, address,
              said);
    cr_assert_eq(strchr(said, '\n') + 1 - said, (long)strlen(said), "one line: %s", said);
}

Test(damage, a_double_free_aborts)
{
    const unsigned sizes[] = { 100, 20000, 100000, 9000000 };
    for (unsigned i = 0; i < 4; i++) {
        struct puppet a = puppet_start("double", ""), b = puppet_start("double", "");
        uint64_t at = ask(&a, "m %u", sizes[i]);
        ask(&a, "m %u", sizes[i]);
        ask(&a, "f %#lx", at);
        aborts(&a, at, i < 2 ? "double free" : "free");
        puppet_quit(&b);
    }
}

Test(damage, a_double_free_by_another_process_aborts_it)
{
    struct puppet a = puppet_start("double2", ""), b = puppet_start("double2", ""),
                  c = puppet_start("double2", "");
    uint64_t at = ask(&a, "m 100"), kept = ask(&a, "m 100");
    cr_assert_neq(kept, 0);
    cr_assert_eq(ask(&b, "f %#lx", at), 1);
    aborts(&b, at, "double free");
    aborts(&c, at, "double free");
    cr_assert_eq(ask(&a, "n 1000 100"), 1000, "the owner goes on: %s", puppet_said(&a));
    cr_assert_eq(ask(&a, "s"), 1);
    puppet_quit(&a);
}

Test(damage, pointers_that_are_no_blocks_abort)
{
    for (int i = 0; i < 5; i++) {
        struct puppet a = puppet_start("wild", "");
        uint64_t small = ask(&a, "m 100"), large = ask(&a, "m 100000"), huge = ask(&a, "m 9000000");
        uint64_t base = segment_header("wild").base;
        const uint64_t wild[] = { small + 16, large + 4096, huge + 5000000, base + 4096,
                                  small + 7 };
        aborts(&a, wild[i], "free of a");
        unlink(segment_file("wild"));
    }
}

Test(damage, a_free_list_written_to_aborts)
{
    struct puppet a = puppet_start("written", "");
    uint64_t at = ask(&a, "m 100");
    ask(&a, "m 100");
    ask(&a, "f %#lx", at);
    ask(&a, "w %#lx 8 65", at);
    tell(&a, "n 100 100");
    cr_assert_eq(puppet_wait(&a), 128 + SIGABRT);
    cr_assert_not_null(strstr(puppet_said(&a), "free list overwritten"), "%s", puppet_said(&a));
    unlink(segment_file("written"));
}
