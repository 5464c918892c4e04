/* Bytes of a living segment are overwritten at random: members never notice, or stop with a line;
 * `hshm` neither crashes nor hangs.  Nobody dies by a fault.
 * timeout: 3600 */
#include "tests/process/puppet.h"

#define MEMBERS 3

static unsigned seed;

static uint64_t below(uint64_t n)
{
    return ((uint64_t)rand_r(&seed) << 31 | (uint64_t)rand_r(&seed)) % n;
}

/* A place that is used, and what it is. */
static uint64_t somewhere(const struct seg_header *h, const char **what)
{
    uint64_t chunks = h->chunk_high.raw_ > h->first_chunk && h->chunk_high.raw_ < h->chunk_count
                          ? h->chunk_high.raw_ - h->first_chunk
                          : 2;
    uint64_t slice = (h->first_chunk + below(chunks)) * CHUNK_SLICES + below(CHUNK_SLICES);
    switch (below(8)) {
    case 0: *what = "header"; return below(sizeof *h);
    case 1: *what = "member"; return SEG_MEMBERS_OFF + below(MEMBERS + 1) * OS_PAGE + below(168);
    case 2:
        *what = "chunk";
        return h->chunks_off + (h->first_chunk + below(chunks)) * sizeof(struct chunk) + below(64);
    case 3: *what = "kept"; return h->kept_off + slice * sizeof(struct kept) + below(640);
    case 4: /* thread records lie where a member's first chunk begins */
        *what = "record or block";
        return ((h->first_chunk + below(chunks)) * CHUNK_SLICES << SLICE_SHIFT) + below(1280);
    case 5: *what = "block"; return (slice << SLICE_SHIFT) + below(4096);
    default: *what = "slice"; return h->slices_off + slice * sizeof(struct slice) + below(128);
    }
}

static void overwrite(const char *name, char *told, size_t size)
{
    struct seg_header h = segment_header(name);
    const char *what;
    uint64_t at = somewhere(&h, &what), word;
    int fd = open(segment_file(name), O_RDWR);
    size_t n = 1 + below(2) * 7;
    if (fd < 0)
        return;
    if (pread(fd, &word, n, (off_t)at) != (ssize_t)n)
        word = 0;
    uint64_t bad = below(3) == 0   ? word ^ UINT64_C(1) << below(8 * n)
                   : below(2) == 0 ? word + below(5) - 2
                                   : below(UINT64_MAX);
    if (pwrite(fd, &bad, n, (off_t)at) != (ssize_t)n)
        bad = word;
    snprintf(told, size, "%s at %#lx: %#lx became %#lx (%zu bytes)", what, (unsigned long)at,
             (unsigned long)word, (unsigned long)bad, n);
    close(fd);
}

/* Some of everything; false if the member is gone. */
static bool work(struct puppet *p, struct puppet *other)
{
    static const unsigned sizes[] = { 24, 100, 1000, 20000, 60000, 400000, 5000000 };
    for (unsigned i = 0; i < 7; i++) {
        uint64_t at = ask(p, "m %u", sizes[i]);
        if (at == REFUSED || ask(p, "n %u %u", 60 >> i, sizes[i]) == REFUSED)
            return false;
        bool shared = at >= UINT64_C(0x480000000000) && at < UINT64_C(0x550000000000);
        if (shared && below(2) && ask(other, "f %#lx", (unsigned long)at) == REFUSED)
            return ask(p, "i") != REFUSED;
    }
    return ask(p, "d") != REFUSED && (below(4) || ask(p, "T 100") != REFUSED);
}

static void ended_by_a_line(struct puppet *p, const char *told)
{
    kill(p->pid, SIGUSR1); /* one that hangs would be waited for for ever */
    int status = puppet_wait(p);
    const char *said = puppet_said(p);
    cr_assert(status == 0 || (status == 128 + SIGABRT && strstr(said, "hshm[")),
              "%s\n%s: status %d, said: %s", told, status == 128 + SIGUSR1 ? "it hung" : "it died",
              status, said);
}

static void look(const char *name, const char *told)
{
    static const char *const verbs[] = {
        "show", "show -j", "who", "who -j", "check -q", "list -j"
    };
    const char *verb = verbs[below(6)];
    char line[700];
    snprintf(line, sizeof line, "timeout 20 %s %s %s > /dev/null 2>&1",
             setting("TEST_TOOL", "build/hshm"), verb, strncmp(verb, "list", 4) ? name : "");
    int status = system(line);
    cr_assert(WIFEXITED(status) && WEXITSTATUS(status) < 124, "%s\nhshm %s: status %#x", told, verb,
              (unsigned)status);
}

/* One segment, and some damage one after the other. */
static void one_segment(unsigned number, unsigned damages)
{
    struct puppet p[MEMBERS];
    char name[64], told[200] = "nothing";
    seed = number;
    snprintf(name, sizeof name, "bytes%u", number);
    for (int i = 0; i < MEMBERS; i++)
        p[i] = puppet_start(name, i == 2 ? "HSHM_CHECK=full" : "");
    for (int i = 0; i < MEMBERS; i++)
        cr_assert(work(&p[i], &p[(i + 1) % MEMBERS]), "%s", puppet_said(&p[i]));
    for (unsigned n = 0; n < damages; n++) {
        overwrite(name, told, sizeof told);
        look(name, told);
        for (int i = 0; i < MEMBERS; i++)
            work(&p[i], &p[(i + 1) % MEMBERS]);
        for (int i = 0; i < MEMBERS; i++)
            if (ask(&p[i], "i") == REFUSED) {
                ended_by_a_line(&p[i], told);
                p[i] = puppet_start(name, "");
            }
    }
    for (int i = 0; i < MEMBERS; i++) {
        tell(&p[i], "q");
        int status = puppet_wait(&p[i]);
        cr_assert(status == 0 || status == 128 + SIGABRT, "at its end, after %s: status %d: %s",
                  told, status, puppet_said(&p[i]));
    }
    unlink(segment_file(name));
}

/* ---- damage that a member is sure to meet --------------------------------------------------- */

static uint64_t sum(const char *name, uint64_t from, uint64_t to)
{
    uint64_t total = 0, word;
    int fd = open(segment_file(name), O_RDONLY);
    for (uint64_t at = from; at < to && pread(fd, &word, sizeof word, (off_t)at) == sizeof word;
         at += sizeof word)
        total = total * 31 + word;
    close(fd);
    return total;
}

/* The field becomes 'bad' in all pages of the class (in all chunks: class -1). */
static void spoil(const char *name, int cls, size_t field, uint64_t bad, size_t n)
{
    struct seg_header h = segment_header(name);
    int fd = open(segment_file(name), O_RDWR);
    for (uint64_t c = h.first_chunk; c < h.chunk_high.raw_; c++) {
        uint64_t at = h.chunks_off + c * sizeof(struct chunk);
        if (cls < 0)
            cr_assert_eq(pwrite(fd, &bad, n, (off_t)(at + field)), (ssize_t)n);
        for (uint64_t i = c * CHUNK_SLICES; cls >= 0 && i < (c + 1) * CHUNK_SLICES; i++) {
            struct slice d;
            at = h.slices_off + i * sizeof d;
            if (pread(fd, &d, sizeof d, (off_t)at) == sizeof d && d.kind.raw_ == SLICE_PAGE &&
                d.cls.raw_ == cls)
                cr_assert_eq(pwrite(fd, &bad, n, (off_t)(at + field)), (ssize_t)n);
        }
    }
    close(fd);
}

static bool is_in_segment(uint64_t at, const struct seg_header *h)
{
    return at >= h->base && at < h->base + h->window;
}

static uint64_t tables_sum(const struct seg_header *h)
{
    uint64_t slices = h->slices_off + h->first_chunk * CHUNK_SLICES * sizeof(struct slice);
    return sum("met", 0, 1 << 16) + sum("met", SEG_MEMBERS_OFF, SEG_MEMBERS_OFF + 4096) +
           sum("met", h->chunks_off, h->chunks_off + 4096) +
           sum("met", slices, slices + 2 * CHUNK_SLICES * sizeof(struct slice));
}

/* From here on its new blocks are private, and what it has stays as it is. */
static void goes_on_privately(struct puppet *a, const struct seg_header *h, uint64_t at)
{
    cr_assert_eq(ask(a, "s"), 1, "its blocks are what they were");
    cr_assert(!is_in_segment(ask(a, "m 100"), h));
    cr_assert(!is_in_segment(ask(a, "m 1000000"), h));
    cr_assert(!is_in_segment(ask(a, "T 100"), h));
    uint64_t moved = ask(a, "r %#lx 5000", (unsigned long)at);
    cr_assert(moved && !is_in_segment(moved, h));
    cr_assert_eq(ask(a, "v %#lx 100 7", (unsigned long)moved), 1, "realloc has kept the bytes");
    cr_assert_eq(ask(a, "d"), 1);
    cr_assert_eq(ask(a, "n 100 100"), 100);
}

static void met(int cls, size_t field, uint64_t bad, size_t n, const char *what)
{
    struct puppet a = puppet_start("met", ""), b = puppet_start("met", "");
    struct seg_header h = segment_header("met");
    uint64_t at = ask(&a, "m 100"), freed = ask(&a, "m 100");
    cr_assert_eq(ask(&a, "n 3000 100"), 3000);
    cr_assert_eq(ask(&b, "n 10 100"), 10);
    cr_assert_eq(ask(&b, "f %#lx", (unsigned long)freed), 1);
    cr_assert_eq(ask(&a, "w %#lx 100 7", (unsigned long)at), 1);
    spoil("met", cls, field, bad, n);
    for (int i = 0; i < 8 && !strstr(puppet_said(&a), "is damaged"); i++) {
        cr_assert_eq(ask(&a, "d"), 1, "%s", puppet_said(&a));
        cr_assert_eq(ask(&a, "n %d 100", 3000 + i * 1000), (uint64_t)(3000 + i * 1000), "%s",
                     puppet_said(&a));
        cr_assert_eq(ask(&a, "n 300 9000"), 300, "%s", puppet_said(&a));
    }
    cr_assert_not_null(strstr(puppet_said(&a), what), "not '%s': %s", what, puppet_said(&a));
    uint64_t before = tables_sum(&h);
    goes_on_privately(&a, &h, at);
    cr_assert_eq(before, tables_sum(&h), "it was written to after: %s", what);
    for (int i = 0; i < 3; i++)
        ask(&b, "n 300 %d", 5000 + i * 3000);
    cr_assert_not_null(strstr(puppet_said(&b), "damaged"), "%s", puppet_said(&b));
    struct puppet c = puppet_start("met", "");
    cr_assert_not_null(strstr(puppet_said(&c), "it was found damaged"), "%s", puppet_said(&c));
    puppet_quit(&c);
    cr_assert_eq(puppet_quit(&b), 0, "%s", puppet_said(&b));
    cr_assert_eq(puppet_quit(&a), 0, "%s", puppet_said(&a));
    unlink(segment_file("met"));
}

#define SLICE_FIELD(f) offsetof(struct slice, f), ~UINT64_C(0), sizeof((struct slice *)0)->f
enum { CLASS_OF_100 = 6 };

Test(damage, a_member_that_meets_damage_says_so_and_goes_on_privately)
{
    met(CLASS_OF_100, SLICE_FIELD(cls), "the descriptor of a page");
    met(CLASS_OF_100, SLICE_FIELD(span), "the descriptor of a page");
    met(CLASS_OF_100, SLICE_FIELD(reserved), "the descriptor of a page");
    met(CLASS_OF_100, SLICE_FIELD(capacity), "the descriptor of a page");
    met(CLASS_OF_100, SLICE_FIELD(next), "a list of pages");
    met(CLASS_OF_100, SLICE_FIELD(cell), "the thread of a page");
    met(CLASS_OF_100, SLICE_FIELD(remote), "a page's list of remote frees");
    met(-1, offsetof(struct chunk, free_slices), ~UINT64_C(0), 8,
        "a slice in use is taken for free");
}

Test(damage, bytes_overwritten_at_random_are_no_crash)
{
    const char *only = getenv("TEST_SEED");
    long segments = scale() >= 100 ? 1000 : 8;
    for (long i = only ? atol(only) : 0; i < segments || only; i++) {
        one_segment((unsigned)i, 10);
        if (only)
            break;
    }
}
