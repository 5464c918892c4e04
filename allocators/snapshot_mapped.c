/* snapshot_mapped.c - what the program has mapped inside blocks that a snapshot is of.
 *
 * Where it has changed the protection, the copy is made through another mapping and
 * the child's gets the same.  What it has mapped over a block, or unmapped, is not of
 * the segment: the kernel gives the child what fork() gives it, and the copy leaves
 * that place out.
 */
#include "allocators/mapped.h"
#include "allocators/snapshot.h"

#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>

#define PARTS_BYTES (UINT64_C(16) << 20) /* address space */
#define PARTS_MOST  (PARTS_BYTES / sizeof(struct mapped_part))
/* From here on a look at the maps costs nothing beside the copy: what was done by raw
 * system calls is found too. */
#define LOOK_FROM (UINT64_C(16) << 20)

/* ---- /proc/self/maps ------------------------------------------------------------------- */

struct maps {
    long fd;
    char *buf; /* an OS page */
    size_t at, have;
    int last; /* that was read; negative: the end */
};

static int maps_char(struct maps *m)
{
    if (m->at == m->have) {
        long got = os_read(m->fd, m->buf, OS_PAGE);
        if (got <= 0)
            return m->last = -1;
        m->at = 0;
        m->have = (size_t)got;
    }
    return m->last = (unsigned char)m->buf[m->at++];
}

/* Reads what ends it, too. */
static uint64_t maps_number(struct maps *m, unsigned base)
{
    uint64_t n = 0;
    for (;;) {
        int c = maps_char(m);
        unsigned digit = c >= '0' && c <= '9'   ? (unsigned)(c - '0')
                         : c >= 'a' && c <= 'f' ? (unsigned)(c - 'a' + 10)
                                                : base;
        if (digit >= base)
            return n;
        n = n * base + digit;
    }
}

/* Is it a mapping of the segment's file at its place?  With which rights? */
struct maps_line {
    uint64_t from, to;
    int access;
    bool ours;
};

static bool maps_line(struct heap *h, struct maps *m, struct maps_line *line)
{
    *line = (struct maps_line){ .from = maps_number(m, 16), .to = maps_number(m, 16) };
    if (line->to == 0)
        return false;
    line->access |= maps_char(m) == 'r' ? PROT_READ : 0;
    line->access |= maps_char(m) == 'w' ? PROT_WRITE : 0;
    line->access |= maps_char(m) == 'x' ? PROT_EXEC : 0;
    bool shared = maps_char(m) == 's';
    maps_char(m);
    uint64_t off = maps_number(m, 16);
    maps_number(m, 16);
    maps_number(m, 16); /* the device: not everywhere the one that stat() tells */
    uint64_t inode = maps_number(m, 10);
    line->ours = shared && inode == h->inode && off == line->from - (uint64_t)(uintptr_t)h->base;
    while (m->last >= 0 && m->last != '\n')
        maps_char(m);
    return true;
}

/* ---- what of it lies in the runs ---------------------------------------------------------- */

static bool part_matters(struct snapshot *s, uint64_t *run, uint64_t from, uint64_t to)
{
    for (; *run < s->run_count; ++*run) {
        const struct snapshot_run *r = &s->runs[*run];
        if ((r->kind == RUN_DATA || r->kind == RUN_VIEW) && r->off + r->bytes > from)
            return r->off < to;
    }
    return false;
}

static bool part_add(struct snapshot *s, uint64_t *run, const struct mapped_part *part)
{
    if (!part_matters(s, run, part->from, part->to))
        return true;
    if (!s->parts)
        s->parts = os_map(PARTS_BYTES, true);
    if (!s->parts || s->part_count == PARTS_MOST)
        return false;
    s->parts[s->part_count++] = *part;
    return true;
}

/* The segment's window from its first byte to where its chunks are used. */
static bool parts_read(struct heap *h, struct snapshot *s, struct maps *m)
{
    uint64_t base = (uint64_t)(uintptr_t)h->base, end = chunks_high(h) << CHUNK_SHIFT, at = 0,
             run = 0;
    struct maps_line line;
    while (at < end && maps_line(h, m, &line)) {
        if (line.to <= base)
            continue;
        uint64_t from = line.from < base ? 0 : line.from - base, to = line.to - base;
        struct mapped_part hole = { at, from < end ? from : end, 0, true };
        struct mapped_part part = { from, to, line.access, !line.ours };
        if (from > at && !part_add(s, &run, &hole))
            return false;
        if ((!line.ours || line.access != (PROT_READ | PROT_WRITE)) && from < end &&
            !part_add(s, &run, &part))
            return false;
        at = to;
    }
    struct mapped_part rest = { at, end, 0, true };
    return at > 0 && (at >= end || part_add(s, &run, &rest));
}

bool parts_find(struct heap *h, struct snapshot *s)
{
    bool noted = h->mapped != NULL;
    if (!noted && (s->bytes < LOOK_FROM || !h->can_open))
        return true;
    struct maps m = { .fd = h->can_open ? os_open("/proc/self/maps", O_RDONLY, 0) : -1,
                      .buf = os_map(OS_PAGE, false) };
    bool found = m.fd >= 0 && m.buf && parts_read(h, s, &m);
    if (m.fd >= 0)
        os_close(m.fd);
    if (m.buf)
        os_unmap(m.buf, OS_PAGE);
    return found || !noted;
}

AT_FORK(".text") void parts_drop(struct snapshot *s)
{
    if (s->parts)
        os_unmap(s->parts, PARTS_BYTES);
}

/* ---- copying, placing ----------------------------------------------------------------------- */

AT_FORK(".text") const struct mapped_part *part_after(const struct snapshot *s, uint64_t off)
{
    uint64_t from = 0, to = s->part_count;
    while (from < to) {
        uint64_t middle = (from + to) / 2;
        if (s->parts[middle].to <= off)
            from = middle + 1;
        else
            to = middle;
    }
    return from < s->part_count ? &s->parts[from] : NULL;
}

bool part_copy(struct heap *h, const struct mapped_part *part, char *to, uint64_t off,
               uint64_t bytes)
{
    char *from = at_off(h, off);
    if (part->access & PROT_READ) {
        memcpy(to, from, bytes);
        return true;
    }
    from = os_map_again(from, bytes);
    if (!from)
        return false;
    memcpy(to, from, bytes);
    os_unmap(from, bytes);
    return true;
}
