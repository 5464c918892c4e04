/* Two hundred processes at once, thousands one after another: nothing of a segment leaks, and what
 * ended members left is told and can be had back.   timeout: 3000 */
#include "tests/process/run.h"

#define MANY "env TOOL=%s \"$BIN\"/prog_many "

static const char *tool(void)
{
    return setting("TEST_TOOL", "build/hshm");
}

/* The number after "path":{..."key": or "key": in the n-th line of JSON. */
static double number(const char *json, int line, const char *path, const char *key)
{
    char what[64];
    for (; line > 0 && json; line--)
        json = (json = strchr(json, '\n')) ? json + 1 : NULL;
    snprintf(what, sizeof what, "\"%s\":%s", path, key ? "{" : "");
    json = json ? strstr(json, what) : NULL;
    if (json && key) {
        snprintf(what, sizeof what, "\"%s\":", key);
        json = strstr(json, what);
    }
    cr_assert(json, "there is no %s.%s", path, key ? key : "");
    return atof(json + strlen(what));
}

Test(many, two_hundred_processes_are_attached_at_once)
{
    struct outcome o =
        run("HSHM_SEGMENT=crowd HSHM_SIZE=1G HSHM_EXIT=reclaim", MANY "crowd 200", tool());
    assert_ran(o);
    cr_assert_geq(number(o.out, 0, "members", "alive"), 201);
    cr_assert_gt(number(o.out, 0, "used", "blocks"), 200 * 300);
}

static struct outcome queue(const char *settings, long count, const char *program)
{
    char all[200];
    snprintf(all, sizeof all, "HSHM_SEGMENT=queue HSHM_SIZE=1G %s", settings);
    struct outcome o = run(all, MANY "queue %ld %s", tool(), count, program);
    assert_ran(o);
    cr_assert_geq(number(o.out, 1, "members", "ever"), (double)count);
    cr_assert_leq(number(o.out, 1, "members", "dead"), 2);
    return o;
}

static void is_flat(struct outcome o)
{
    static const struct {
        const char *path, *key;
    } facts[] = { { "used", "bytes" },   { "used", "blocks" },      { "committed", NULL },
                  { "charged", NULL },   { "file_bytes", NULL },    { "free_slices", NULL },
                  { "chunks", "owned" }, { "chunks", "orphan" },    { "chunks", "part" },
                  { "kept", "bytes" },   { "unrecovered", "bytes" } };
    for (size_t i = 0; i < sizeof facts / sizeof *facts; i++)
        cr_assert_eq(number(o.out, 0, facts[i].path, facts[i].key),
                     number(o.out, 1, facts[i].path, facts[i].key), "%s.%s has changed: %s",
                     facts[i].path, facts[i].key ? facts[i].key : "", o.out);
}

static long count(long briefly, long at_length)
{
    return scale() > 1 ? at_length : briefly;
}

Test(many, processes_that_leave_nothing_leave_the_segment_as_it_was)
{
    is_flat(queue("", count(200, 20000), "/bin/true"));
    is_flat(queue("HSHM_EXIT=reclaim", count(500, 100000), "/bin/true"));
}

Test(many, what_processes_leave_is_reclaimed_when_they_end_if_asked_for)
{
    is_flat(queue("HSHM_EXIT=reclaim", count(500, 20000), "\"$BIN\"/prog_many leak 20 1000"));
    is_flat(queue("HSHM_EXIT=reclaim", 100, "\"$BIN\"/prog_many leak 3 200000"));
    is_flat(queue("HSHM_EXIT=reclaim", 100, "\"$BIN\"/prog_many leak 1 9000000"));
}

/* The committed memory grows by the blocks that stay, the free ones serve the next. */
Test(many, the_free_memory_of_the_dead_is_reused_while_their_blocks_stay)
{
    struct outcome o = queue("", 500, "\"$BIN\"/prog_many leak 3 1000");
    double kept = number(o.out, 1, "used", "bytes") - number(o.out, 0, "used", "bytes");
    double grown = number(o.out, 1, "committed", NULL) - number(o.out, 0, "committed", NULL);
    double members = 450 - 1;
    cr_assert_geq(kept, members * 3000, "kept: %f, %s", kept, o.out);
    cr_assert_leq(kept, members * 6000, "kept: %f, %s", kept, o.out);
    cr_assert_leq(grown, kept * 1.1 + (1 << 20), "grown by %f for %f: %s", grown, kept, o.out);
    cr_assert_geq(number(o.out, 1, "kept", "members"), members);
}

/* Four at once: what one has adopted the others go without, and yet nobody takes much that is new. */
Test(many, members_that_live_at_once_share_the_free_memory_of_the_dead)
{
    struct outcome o =
        run("HSHM_SEGMENT=herd HSHM_SIZE=2G", MANY "herd %ld", tool(), count(40, 400));
    assert_ran(o);
    double kept = number(o.out, 1, "used", "bytes") - number(o.out, 0, "used", "bytes");
    double grown = number(o.out, 1, "committed", NULL) - number(o.out, 0, "committed", NULL);
    double early = number(o.out, 0, "committed", NULL);
    cr_log_info("kept %.0f, grown %.0f from %.0f", kept, grown, early);
    cr_assert_leq(grown, kept * 1.5 + early, "grown by %f from %f for %f: %s", grown, early, kept,
                  o.out);
}

/* Members that leave 2 MB each, until the segment is full. */
Test(many, a_full_segment_says_whose_it_is_and_what_frees_it)
{
    const char *script =
        "export TOOL=%s; export HSHM_SEGMENT=brim HSHM_SIZE=32M\n"
        "member() { timeout 60 env LD_PRELOAD=$PRELOAD \"$@\"; }\n"
        "env LD_PRELOAD=$PRELOAD sleep 60 & sleeper=$!\n"
        "until $TOOL show brim >/dev/null 2>&1; do sleep 0.1; done\n"
        "n=0; while [ $n -lt 100 ] && member $BIN/prog_many fill 2000000 2>$TMPDIR/said; do "
        "n=$((n+1)); done\n"
        "echo filled $n; cat $TMPDIR/said; member true; $TOOL show brim\n"
        "$TOOL reclaim brim || echo reclaim failed\n"
        "member $BIN/prog_many fill 20000000 && echo usable\n"
        "$TOOL check brim; kill $sleeper; wait $sleeper; rm -f /dev/shm/hshm*-brim";
    struct outcome o = shell(script, tool());
    int filled = 0;
    char ended[64];
    cr_assert_eq(sscanf(o.out, "filled %d", &filled), 1, "%s%s", o.out, o.err);
    cr_assert(filled > 8 && filled < 20, "%d", filled);
    cr_assert(strstr(o.out, "segment brim is full"), "%s%s", o.out, o.err);
    cr_assert(strstr(o.out, "hshm show brim") && strstr(o.out, "hshm reclaim brim") &&
                  strstr(o.out, "HSHM_SIZE"),
              "the line names no way out: %s", o.out);
    /* the one that met the end of it left blocks too */
    snprintf(ended, sizeof ended, "belong to %d ended members: hshm reclaim brim", filled + 1);
    cr_assert(strstr(o.out, "FULL: ") && strstr(o.out, ended), "expected '%s': %s", ended, o.out);
    cr_assert(strstr(o.out, "segment brim: reclaimed, "), "%s", o.out);
    cr_assert(strstr(o.out, "usable"), "%s%s", o.out, o.err);
    cr_assert(strstr(o.out, "segment brim: sound"), "%s%s", o.out, o.err);
}
