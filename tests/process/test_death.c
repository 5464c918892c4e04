/* A member may be killed at any time: what it leaves is put in order by the others. */
#include "tests/process/puppet.h"

#define GRACE 130 /* ms: somewhat more than GRACE_MS */

/* Somebody looks, and once more when the grace is over. */
static void let_recover(const char *name, const char *settings)
{
    for (int i = 0; i < 2; i++) {
        struct puppet p = puppet_start(name, settings);
        cr_assert_neq(ask(&p, "i"), REFUSED, "%s", puppet_said(&p));
        puppet_quit(&p);
        sleep_ms(GRACE);
    }
}

/* A command of hshm, and what the shell does with its output; its exit status. */
static int tool(const char *command)
{
    char line[300];
    snprintf(line, sizeof line, "%s %s", setting("TEST_TOOL", "build/hshm"), command);
    int status = system(line);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128;
}

static uint64_t segment_member_quits(const char *name, unsigned slot)
{
    struct seg_member member = { 0 };
    int fd = open(segment_file(name), O_RDONLY);
    cr_assert_eq(pread(fd, &member, sizeof member, (off_t)(SEG_MEMBERS_OFF + slot * OS_PAGE)),
                 sizeof member);
    close(fd);
    return member.quits.raw_;
}

static void fill_all_sizes(struct puppet *p)
{
    for (unsigned size = 16; size <= 32768; size *= 2)
        cr_assert_eq(ask(p, "n 20 %u", size), 20, "%s", puppet_said(p));
    cr_assert_eq(ask(p, "n 3 %u", 100000), 3);  /* medium: slices */
    cr_assert_eq(ask(p, "n 2 %u", 1000000), 2); /* large */
    cr_assert_eq(ask(p, "n 1 %u", 9000000), 1); /* huge: chunks */
}

Test(death, blocks_of_a_killed_member_stay_readable_and_can_be_freed)
{
    const unsigned sizes[] = { 16, 100, 1000, 5000, 30000, 70000, 1000000, 9000000 };
    uint64_t at[8];
    struct puppet a = puppet_start("keep", ""), b = puppet_start("keep", "");
    cr_assert_eq(ask(&b, "n 10 64"), 10);
    for (int i = 0; i < 8; i++) {
        at[i] = ask(&a, "m %u", sizes[i]);
        ask(&a, "w %#lx %u %d", at[i], sizes[i], 40 + i);
    }
    puppet_kill(&a);
    sleep_ms(GRACE);
    let_recover("keep", "");
    let_recover("keep", "");
    for (int i = 0; i < 8; i++)
        cr_assert_eq(ask(&b, "v %#lx %u %d", at[i], sizes[i], 40 + i), 1, "block of %u", sizes[i]);
    for (int i = 0; i < 8; i++)
        cr_assert_eq(ask(&b, "f %#lx", at[i]), 1, "%s", puppet_said(&b));
    cr_assert_eq(ask(&b, "n 100 64"), 100);
    cr_assert_eq(ask(&b, "s"), 1);
    cr_assert_eq(puppet_quit(&b), 0, "%s", puppet_said(&b));
    cr_assert_neq(access(segment_file("keep"), F_OK), 0);
}

/* Each member's setting is for what it made itself: c takes over what a left, and goes. */
Test(death, what_was_kept_stays_when_an_adopter_that_reclaims_dies)
{
    const unsigned sizes[] = { 16, 1000, 30000, 100000 };
    uint64_t at[4];
    struct puppet b = puppet_start("mixed", ""), a = puppet_start("mixed", "HSHM_EXIT=keep");
    for (int i = 0; i < 4; i++) {
        at[i] = ask(&a, "m %u", sizes[i]);
        ask(&a, "w %#lx %u %d", at[i], sizes[i], 40 + i);
    }
    ask(&a, "q 1");
    puppet_wait(&a);
    struct puppet c = puppet_start("mixed", "HSHM_EXIT=reclaim");
    for (int i = 0; i < 4; i++)
        ask(&c, "n 20 %u", sizes[i]);
    cr_assert_eq(segment_pages("mixed", CHUNK_ORPHAN), 0, "c has taken over what a left");
    ask(&c, "q 1");
    puppet_wait(&c);
    struct puppet d = puppet_start("mixed", "");
    for (int i = 0; i < 4; i++)
        ask(&d, "n 50 %u", sizes[i]);
    for (int i = 0; i < 4; i++)
        cr_assert_eq(ask(&b, "v %#lx %u %d", at[i], sizes[i], 40 + i), 1, "block of %u", sizes[i]);
    for (int i = 0; i < 4; i++)
        cr_assert_eq(ask(&b, "f %#lx", at[i]), 1, "%s", puppet_said(&b));
    cr_assert_eq(puppet_quit(&d), 0, "%s", puppet_said(&d));
    cr_assert_eq(puppet_quit(&b), 0, "%s", puppet_said(&b));
}

Test(death, free_memory_of_a_killed_member_is_adopted)
{
    struct puppet a = puppet_start("adopt", ""), b = puppet_start("adopt", "");
    fill_all_sizes(&a);
    cr_assert_eq(ask(&a, "n 3000 1000"), 3000);
    cr_assert_eq(ask(&a, "d"), 1);
    cr_assert_eq(ask(&a, "n 10 1000"), 10);
    puppet_kill(&a);
    let_recover("adopt", "");
    cr_assert_eq(segment_members("adopt", MEMBER_LIVE), 1);
    cr_assert_gt(segment_pages("adopt", CHUNK_ORPHAN), 0, "it left blocks behind");
    cr_assert_eq(ask(&b, "n 20000 1000"), 20000);
    cr_assert_eq(segment_pages("adopt", CHUNK_ORPHAN), 0, "b took the orphans first");
    cr_assert_eq(ask(&b, "s"), 1);
    cr_assert_eq(puppet_quit(&b), 0, "%s", puppet_said(&b));
}

/* One look at once: no grace for who ends on purpose. */
Test(death, what_a_member_had_that_ends_by__exit_is_taken_without_a_grace)
{
    struct puppet b = puppet_start("quits", "HSHM_EXIT=reclaim");
    cr_assert_eq(ask(&b, "n 10 64"), 10);
    struct puppet a = puppet_start("quits", "HSHM_EXIT=reclaim");
    fill_all_sizes(&a);
    cr_assert_eq(ask(&a, "q 1"), REFUSED);
    cr_assert_eq(puppet_wait(&a), 0);
    struct puppet next = puppet_start("quits", "HSHM_EXIT=reclaim");
    cr_assert_eq(segment_members("quits", MEMBER_LIVE), 2);
    cr_assert_eq(segment_header("quits").members_ended.raw_, 1, "it waits for a grace");
    cr_assert_eq(puppet_quit(&next), 0);
    cr_assert_eq(puppet_quit(&b), 0, "%s", puppet_said(&b));
}

Test(death, the_last_one_that_ends_by__exit_leaves_nothing)
{
    struct puppet b = puppet_start("quit", ""), a = puppet_start("quit", "");
    fill_all_sizes(&a);
    cr_assert_eq(ask(&b, "q 1"), REFUSED);
    cr_assert_eq(puppet_wait(&b), 0);
    cr_assert_eq(access(segment_file("quit"), F_OK), 0, "a is still there");
    cr_assert_eq(ask(&a, "q 2"), 1); /* a child of vfork() is not a */
    cr_assert_eq(access(segment_file("quit"), F_OK), 0, "a is still there");
    cr_assert_eq(segment_members("quit", MEMBER_LIVE), 1);
    cr_assert_eq(ask(&a, "s"), 1);
    cr_assert_eq(ask(&a, "q 1"), REFUSED);
    cr_assert_eq(puppet_wait(&a), 0);
    cr_assert_neq(access(segment_file("quit"), F_OK), 0, "nothing stays");
}

Test(death, a_child_of_vfork_that_ends_does_not_end_its_parent)
{
    struct puppet a = puppet_start("vfork", ""), b = puppet_start("vfork", "");
    uint64_t at = ask(&a, "m 100");
    cr_assert_eq(ask(&a, "w %#lx 100 7", at), 1);
    cr_assert_eq(ask(&a, "q 2"), 1);
    let_recover("vfork", "");
    cr_assert_eq(segment_members("vfork", MEMBER_LIVE), 2);
    cr_assert_eq(ask(&b, "v %#lx 100 7", at), 1);
    cr_assert_eq(ask(&a, "n 1000 5000"), 1000, "%s", puppet_said(&a));
    cr_assert_eq(ask(&a, "s"), 1);
    cr_assert_eq(segment_member_quits("vfork", 0), 0, "a kill would get no grace any more");
    cr_assert_eq(puppet_quit(&a), 0, "%s", puppet_said(&a));
    cr_assert_eq(puppet_quit(&b), 0, "%s", puppet_said(&b));
}

Test(death, with_reclaim_all_of_a_killed_member_is_given_back)
{
    struct puppet b = puppet_start("reclaim", "HSHM_EXIT=reclaim");
    cr_assert_eq(ask(&b, "n 10 64"), 10);
    uint64_t before = segment_pages("reclaim", -1);
    struct puppet a = puppet_start("reclaim", "HSHM_EXIT=reclaim");
    fill_all_sizes(&a);
    puppet_kill(&a);
    let_recover("reclaim", "HSHM_EXIT=reclaim");
    let_recover("reclaim", "HSHM_EXIT=reclaim");
    cr_assert_eq(segment_pages("reclaim", -1), before);
    cr_assert_eq(ask(&b, "s"), 1);
    cr_assert_eq(puppet_quit(&b), 0, "%s", puppet_said(&b));
}

static unsigned lines_of(const struct puppet *p, const char *what)
{
    unsigned n = 0;
    for (const char *at = puppet_said(p); (at = strstr(at, what)); at++)
        n++;
    return n;
}

/* It held plain pointers to what was not its own; that is no mistake it could have known of. */
Test(death, free_of_a_block_that_went_with_its_maker_is_one_line_and_ignored)
{
    const unsigned sizes[] = { 16, 1000, 30000, 100000, 1000000, 9000000 };
    uint64_t at[6];
    struct puppet b = puppet_start("went", ""), a = puppet_start("went", "HSHM_EXIT=reclaim");
    cr_assert_eq(ask(&b, "n 100 1000"), 100);
    for (int i = 0; i < 6; i++)
        at[i] = ask(&a, "m %u", sizes[i]);
    puppet_kill(&a);
    let_recover("went", "");
    let_recover("went", "");
    for (int i = 0; i < 6; i++) {
        cr_assert_eq(ask(&b, "f %#lx", at[i]), 1, "%u: %s", sizes[i], puppet_said(&b));
        cr_assert_eq(lines_of(&b, "ignored: the block went with"), (unsigned)i + 1, "%s",
                     puppet_said(&b));
        cr_assert_eq(lines_of(&b, "\n"), (unsigned)i + 1, "one line each: %s", puppet_said(&b));
    }
    cr_assert_eq(ask(&b, "n 20000 1000"), 20000);
    cr_assert_eq(ask(&b, "s"), 1);
    cr_assert_eq(ask(&b, "d"), 1, "%s", puppet_said(&b));
    cr_assert_eq(puppet_quit(&b), 0, "%s", puppet_said(&b));
}

Test(death, memory_pressure_finds_the_dead)
{
    struct puppet a = puppet_start("pressure", "HSHM_EXIT=reclaim HSHM_SIZE=32M");
    struct puppet b = puppet_start("pressure", "HSHM_EXIT=reclaim HSHM_SIZE=32M");
    ask(&b, "n 1 16");
    cr_assert_gt(ask(&a, "n 25 1000000"), 20, "%s", puppet_said(&a));
    puppet_kill(&a);
    cr_assert_eq(ask(&b, "n 20 1000000"), 20, "the memory of the dead was there to be had: %s",
                 puppet_said(&b));
    cr_assert_eq(puppet_quit(&b), 0);
}

Test(death, what_a_thousand_kept_pages_leave_is_usable_under_pressure)
{
    struct puppet a = puppet_start("sieve", "HSHM_SIZE=32M"),
                  b = puppet_start("sieve", "HSHM_SIZE=32M");
    uint64_t n = ask(&a, "n 1000000 1000");
    cr_assert_gt(n, 20000);
    cr_assert_eq(ask(&a, "d"), 1);
    ask(&a, "n 1 1000");
    puppet_kill(&a);
    cr_assert_gt(ask(&b, "n %lu 1000", n - 4000), n - 4001, "%s", puppet_said(&b));
    cr_assert_eq(puppet_quit(&b), 0);
}

Test(death, after_the_last_one_was_killed_the_next_starts_anew)
{
    struct puppet a = puppet_start("last", "");
    uint64_t at = ask(&a, "m 100");
    uint64_t base = segment_header("last").base;
    cr_assert_neq(at, 0);
    puppet_kill(&a);
    cr_assert_eq(access(segment_file("last"), F_OK), 0, "nobody was there to remove it");
    struct puppet b = puppet_start("last", "");
    cr_assert_neq(ask(&b, "m 100"), REFUSED);
    cr_assert_eq(segment_header("last").members_ever.raw_, 1, "a new segment");
    cr_assert_neq(segment_header("last").base, base);
    cr_assert_eq(puppet_quit(&b), 0);
    cr_assert_neq(access(segment_file("last"), F_OK), 0, "nothing stays");
}

/* In the middle of their work, all within a fraction of a millisecond: nobody is left to see it. */
Test(death, all_may_be_killed_at_once)
{
    struct puppet all[8];
    for (int round = 0; round < 3; round++) {
        for (int i = 0; i < 8; i++) {
            all[i] = puppet_start("atonce", "HSHM_PERSIST=1 HSHM_SIZE=2G");
            fill_all_sizes(&all[i]);
        }
        for (int i = 0; i < 8; i++)
            dprintf(all[i].to, "n 10000000 %d\n", 64 << i);
        sleep_ms(20 + round * 7);
        for (int i = 0; i < 8; i++)
            kill(all[i].pid, SIGKILL);
        for (int i = 0; i < 8; i++)
            puppet_wait(&all[i]);
        sleep_ms(GRACE);
        let_recover("atonce", "HSHM_PERSIST=1 HSHM_SIZE=2G");
        cr_assert_eq(tool("check atonce >/dev/null"), 0);
        cr_assert_eq(tool("reclaim atonce >/dev/null"), 0);
        cr_assert_eq(tool("check atonce >/dev/null"), 0);
    }
    struct puppet last = puppet_start("atonce", "HSHM_PERSIST=0");
    fill_all_sizes(&last);
    cr_assert_eq(
        tool("show -j atonce | tr -d ' \\n' | grep -q '\"kept\":{\"members\":0,\"blocks\":0,'"), 0);
    cr_assert_eq(puppet_quit(&last), 0, "%s", puppet_said(&last));
    cr_assert_eq(tool("rm atonce"), 0);
}

Test(death, a_persistent_segment_is_joined_again)
{
    struct puppet a = puppet_start("persist", "HSHM_PERSIST=1");
    uint64_t at = ask(&a, "m 100");
    ask(&a, "w %#lx 100 7", at);
    puppet_kill(&a);
    struct puppet b = puppet_start("persist", "HSHM_PERSIST=1");
    cr_assert_eq(ask(&b, "v %#lx 100 7", at), 1);
    sleep_ms(GRACE);
    let_recover("persist", "HSHM_PERSIST=1");
    cr_assert_eq(ask(&b, "f %#lx", at), 1, "%s", puppet_said(&b));
    cr_assert_eq(puppet_quit(&b), 0, "%s", puppet_said(&b));
    cr_assert_eq(access(segment_file("persist"), F_OK), 0);
    unlink(segment_file("persist"));
}

Test(death, remote_free_to_dead_owner_is_adopted)
{
    struct puppet a = puppet_start("remote", ""), b = puppet_start("remote", "");
    uint64_t at[60];
    for (int i = 0; i < 60; i++)
        at[i] = ask(&a, "m 1000");
    puppet_kill(&a);
    for (int i = 0; i < 59; i++) /* before anybody has noticed the death */
        cr_assert_eq(ask(&b, "f %#lx", at[i]), 1, "%s", puppet_said(&b));
    let_recover("remote", "");
    bool again = false;
    for (int i = 0; i < 8000 && !again; i++) {
        uint64_t p = ask(&b, "m 1000");
        for (int k = 0; k < 59; k++)
            again |= p == at[k];
        cr_assert_neq(p, at[59], "that block is still allocated");
    }
    cr_assert(again, "a block freed to the dead is handed out again");
    cr_assert_eq(puppet_quit(&b), 0);
}

/* Ten times what the segment has: the living owner takes back what the other has freed. */
Test(death, large_blocks_that_another_member_freed_are_allocated_again)
{
    struct puppet a = puppet_start("back", ""), b = puppet_start("back", "");
    for (int round = 0; round < 100; round++) {
        uint64_t at[20];
        for (int i = 0; i < 20; i++)
            cr_assert((at[i] = ask(&a, "m 300000")) != 0, "round %d: %s", round, puppet_said(&a));
        for (int i = 0; i < 20; i++)
            cr_assert_eq(ask(&b, "f %#lx", at[i]), 1, "%s", puppet_said(&b));
    }
    cr_assert_eq(puppet_quit(&a), 0);
    cr_assert_eq(puppet_quit(&b), 0);
}

Test(death, a_stopped_member_is_never_declared_dead)
{
    struct puppet a = puppet_start("stopped", "HSHM_EXIT=reclaim"), b = puppet_start("stopped", "");
    fill_all_sizes(&a);
    kill(a.pid, SIGSTOP);
    for (int i = 0; i < (scale() > 1 ? 60 : 3); i++) {
        let_recover("stopped", "");
        cr_assert_eq(ask(&b, "n 500 1000"), 500, "the others work");
        if (scale() > 1)
            sleep_ms(1000 - 2 * GRACE);
    }
    kill(a.pid, SIGCONT);
    cr_assert_eq(ask(&a, "s"), 1);
    cr_assert_eq(ask(&a, "d"), 1);
    cr_assert_eq(ask(&b, "s"), 1);
    cr_assert_eq(puppet_quit(&a), 0);
    cr_assert_eq(puppet_quit(&b), 0);
}

/* ---- neither false-dead nor false-alive --------------------------------------------------- */

static void lives_on_after(const char *name, const char *command)
{
    struct puppet b = puppet_start(name, ""), a = puppet_start(name, "HSHM_EXIT=reclaim");
    ask(&b, "n 1 16");
    fill_all_sizes(&a);
    cr_assert_neq(ask(&a, "%s", command), REFUSED);
    let_recover(name, "");
    let_recover(name, "");
    cr_assert_eq(ask(&a, "s"), 1, "its blocks are untouched: %s", puppet_said(&a));
    cr_assert_eq(ask(&a, "n 100 500"), 100);
    cr_assert_eq(ask(&a, "d"), 1, "%s", puppet_said(&a));
    tell(&a, "q");
    puppet_wait(&a);
    puppet_quit(&b);
}

Test(death, a_member_that_closes_all_files_is_alive)
{
    lives_on_after("closefrom", "x");
}

Test(death, a_member_that_drops_its_rights_is_alive)
{
    if (geteuid() != 0)
        cr_skip_test("needs root");
    lives_on_after("drop", "u");
}

Test(death, a_member_whose_main_thread_has_ended_is_alive)
{
    struct puppet b = puppet_start("mainless", ""),
                  a = puppet_start("mainless", "HSHM_EXIT=reclaim");
    ask(&b, "n 1 16");
    fill_all_sizes(&a);
    tell(&a, "t");
    cr_assert_neq(ask(&a, "i"), REFUSED);
    let_recover("mainless", "");
    cr_assert_eq(ask(&a, "s"), 1);
    cr_assert_eq(ask(&a, "d"), 1);
    tell(&a, "q");
    puppet_wait(&a);
    puppet_quit(&b);
}

Test(death, a_daemon_is_alive_and_its_parent_is_not)
{
    struct puppet b = puppet_start("daemon", ""), a = puppet_start("daemon", "HSHM_EXIT=reclaim");
    ask(&b, "n 1 16");
    fill_all_sizes(&a);
    cr_assert_eq(ask(&a, "g"), 1, "%s", puppet_said(&a));
    uint64_t pid = ask(&a, "i");
    cr_assert_neq(pid, (uint64_t)a.pid);
    let_recover("daemon", "");
    let_recover("daemon", "");
    cr_assert_eq(ask(&a, "n 100 500"), 100);
    cr_assert_eq(ask(&a, "s"), 1, "%s", puppet_said(&a));
    cr_assert_eq(segment_members("daemon", MEMBER_LIVE), 2, "b and the daemon");
    tell(&a, "q");
    puppet_wait(&a);
    sleep_ms(50);
    puppet_quit(&b);
    cr_assert_neq(access(segment_file("daemon"), F_OK), 0);
}

Test(death, a_member_that_execs_ends_as_a_member)
{
    struct puppet b = puppet_start("exec", ""), a = puppet_start("exec", "HSHM_EXIT=reclaim");
    ask(&b, "n 1 16");
    fill_all_sizes(&a);
    uint64_t before = segment_pages("exec", -1);
    tell(&a, "e");
    cr_assert_eq(ask(&a, "i"), (uint64_t)a.pid, "the same process goes on");
    let_recover("exec", "");
    let_recover("exec", "");
    cr_assert_lt(segment_pages("exec", -1), before / 4, "what it had before exec is given back");
    puppet_quit(&a);
    puppet_quit(&b);
}

/* One look at once, by the new program: no grace, as after _exit(). */
Test(death, what_a_member_had_before_exec_is_taken_without_a_grace)
{
    struct puppet b = puppet_start("execs", "HSHM_EXIT=reclaim"),
                  a = puppet_start("execs", "HSHM_EXIT=reclaim");
    ask(&b, "n 1 16");
    fill_all_sizes(&a);
    tell(&a, "e");
    cr_assert_eq(ask(&a, "i"), (uint64_t)a.pid);
    cr_assert_eq(segment_header("execs").members_ended.raw_, 1, "it waits for a grace");
    puppet_quit(&a);
    puppet_quit(&b);
}

Test(death, a_killed_parent_of_a_living_child_is_dead)
{
    struct puppet b = puppet_start("orphan", ""), a = puppet_start("orphan", "HSHM_EXIT=reclaim");
    ask(&b, "n 1 16");
    ask(&a, "n 100 1000");
    pid_t child = (pid_t)ask(&a, "k");
    cr_assert_gt(child, 0);
    puppet_kill(&a);
    let_recover("orphan", "");
    let_recover("orphan", "");
    cr_assert_eq(segment_members("orphan", MEMBER_LIVE), 1, "b, not the parent");
    cr_assert_eq(segment_members("orphan", MEMBER_CHILD), 1, "the child, which has not used it");
    kill(child, SIGKILL);
    sleep_ms(50);
    cr_assert_eq(puppet_quit(&b), 0);
    cr_assert_neq(access(segment_file("orphan"), F_OK), 0);
}

Test(death, death_is_seen_across_pid_namespaces)
{
    if (geteuid() != 0)
        cr_skip_test("needs root");
    struct puppet b = puppet_start("ns", ""),
                  a = puppet_start("ns", "HSHM_EXIT=reclaim -- unshare --pid --fork --kill-child");
    ask(&b, "n 1 16");
    cr_assert_eq(ask(&a, "i"), 1, "it is the first of its namespace");
    fill_all_sizes(&a);
    let_recover("ns", "");
    cr_assert_eq(ask(&a, "s"), 1, "alive, though nobody here knows its pid");
    puppet_kill(&a);
    sleep_ms(50);
    let_recover("ns", "");
    let_recover("ns", "");
    cr_assert_lt(segment_pages("ns", -1), 100);
    puppet_quit(&b);
}
