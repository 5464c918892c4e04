#include "allocators/view.h"
#include "allocators/segment.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>

/* Lists run through pages in any order: where all of them have room, each is read once a walk.
 * Only reserved; what is read takes memory, and no more than a quarter of what there is. */
#define CACHE_LEAST UINT64_C(256) /* OS pages */
#define CACHE_MOST  (UINT64_C(1) << 18)

void view_read(const struct view *v, uint64_t off, void *to, uint64_t bytes)
{
    uint64_t done = 0;
    while (done < bytes) {
        long got = os_pread(v->fd, (char *)to + done, bytes - done, off + done);
        if (got == -EINTR)
            continue;
        if (got <= 0)
            break;
        done += (uint64_t)got;
    }
    memset((char *)to + done, 0, bytes - done);
}

/* ---- tables ---------------------------------------------------------------------------- */

static bool cache_reserve(struct view *v)
{
    uint64_t most = at_most(os_ram_available() / 4 / OS_PAGE, CACHE_MOST);
    uint64_t used = at_most(get(v->header.chunk_high), v->header.chunk_count) * CHUNK_BYTES;
    v->epoch = 1;
    v->cache_pages = CACHE_LEAST;
    while (v->cache_pages * OS_PAGE < used && v->cache_pages * 2 <= most)
        v->cache_pages *= 2;
    for (; v->cache_pages >= CACHE_LEAST; v->cache_pages /= 2) {
        v->cache_bytes = v->cache_pages * (OS_PAGE + sizeof *v->cached);
        v->cache = os_map(v->cache_bytes, true);
        if (v->cache)
            break;
    }
    v->cached = (uint64_t *)(void *)(v->cache + v->cache_pages * OS_PAGE);
    return v->cache != NULL;
}

/* Room for the whole tables is only reserved; what is read into takes memory. */
static bool tables_reserve(struct view *v)
{
    uint64_t chunks = round_up(v->header.chunk_count * sizeof(struct chunk), OS_PAGE);
    uint64_t members = MEMBER_MAX * sizeof(struct seg_member);
    v->tables_bytes = chunks + members + HOLD_MAX * sizeof(struct seg_hold);
    v->chunks = os_map(v->tables_bytes, true);
    if (!v->chunks || !cache_reserve(v))
        return false;
    v->members = (struct seg_member *)((char *)v->chunks + chunks);
    v->holds = (struct seg_hold *)((char *)v->members + members);
    return true;
}

/* Entries [*high, to) of a table. */
static void table_read(struct view *v, uint64_t off, void *table, size_t entry, uint64_t *high,
                       uint64_t to)
{
    if (to > *high)
        view_read(v, off + *high * entry, (char *)table + *high * entry, (to - *high) * entry);
    *high = to;
}

void view_grow(struct view *v)
{
    struct seg_header *h = &v->header;
    uint64_t from = offsetof(struct seg_header, state); /* what lies before it never changes */
    view_read(v, from, (char *)h + from, sizeof *h - from);
    table_read(v, h->chunks_off, v->chunks, sizeof(struct chunk), &v->chunk_high,
               at_most(get(h->chunk_high), h->chunk_count));
    table_read(v, SEG_MEMBERS_OFF, v->members, sizeof(struct seg_member), &v->members_high,
               at_most(get(h->members_high), MEMBER_MAX));
    table_read(v, SEG_HOLDS_OFF, v->holds, sizeof(struct seg_hold), &v->holds_high,
               at_most(get(h->holds_high), HOLD_MAX));
}

void view_refresh(struct view *v)
{
    v->chunk_high = v->members_high = v->holds_high = 0;
    view_grow(v);
}

/* A header whose tables lie where ours would is that of a segment, even if its
 * first word has been overwritten. */
static bool looks_like_ours(const struct seg_header *header, uint64_t bytes)
{
    struct seg_header mended = *header;
    mended.magic = SEG_MAGIC;
    return segment_validate(&mended, bytes) == NULL;
}

bool view_open_file(struct view *v, const char *path, const char **why)
{
    *v = (struct view){ .fd = os_open(path, O_RDONLY | O_NONBLOCK, 0) };
    *why = v->fd == -ENOENT   ? "there is no such segment"
           : v->fd == -EACCES ? "no permission"
                              : "it cannot be opened";
    if (v->fd < 0)
        return false;
    *why = "it is not a regular file";
    if (os_fstat(v->fd, &v->file) < 0 || !S_ISREG(v->file.mode)) {
        view_close(v);
        return false;
    }
    view_read(v, 0, &v->header, sizeof v->header);
    v->alive = os_lock_any(v->fd, LOCK_MEMBER(0), MEMBER_MAX);
    const struct seg_header *h = &v->header;
    v->wrong = segment_validate(h, v->file.bytes);
    v->dumped = !v->wrong && get(h->dumped_ns);
    v->foreign = v->wrong && !looks_like_ours(h, v->file.bytes) &&
                 (h->magic != SEG_MAGIC || h->format != SEG_FORMAT || h->abi != layout_abi());
    *why = "no memory";
    if (!v->wrong && !tables_reserve(v)) {
        view_close(v);
        return false;
    }
    if (!v->wrong)
        view_grow(v);
    for (uint64_t slot = 0; v->dumped && slot < v->members_high; slot++)
        v->torn |= get(v->members[slot].dumped) == DUMPED_ALIVE;
    return true;
}

void view_close(struct view *v)
{
    if (v->cache)
        os_unmap(v->cache, v->cache_bytes);
    if (v->chunks)
        os_unmap(v->chunks, v->tables_bytes);
    v->cache = NULL;
    v->chunks = NULL;
    os_close(v->fd);
}

void view_refresh_chunk(struct view *v, uint64_t c)
{
    view_read(v, v->header.chunks_off + c * sizeof(struct chunk), &v->chunks[c],
              sizeof(struct chunk));
}

void view_refresh_member(struct view *v, uint64_t slot)
{
    view_read(v, SEG_MEMBERS_OFF + slot * sizeof(struct seg_member), &v->members[slot],
              sizeof(struct seg_member));
}

void view_slices(const struct view *v, uint64_t c, struct slice *to)
{
    view_read(v, v->header.slices_off + c * CHUNK_SLICES * sizeof *to, to,
              CHUNK_SLICES * sizeof *to);
}

void view_slice(const struct view *v, uint64_t slice, struct slice *to)
{
    view_read(v, v->header.slices_off + slice * sizeof *to, to, sizeof *to);
}

void view_kept(const struct view *v, uint64_t slice, struct kept *to)
{
    view_read(v, v->header.kept_off + slice * sizeof *to, to, sizeof *to);
}

/* ---- members ----------------------------------------------------------------------------- */

bool view_member_alive(const struct view *v, uint64_t slot)
{
    if (v->dumped)
        return slot < v->members_high && get(v->members[slot].dumped);
    return os_lock_held(v->fd, LOCK_MEMBER(slot));
}

bool view_id_is_current(const struct view *v, uint64_t id)
{
    uint32_t slot = member_slot(id);
    if (slot >= v->members_high)
        return false;
    uint64_t state = get(v->members[slot].state);
    return state_of(state) != MEMBER_FREE && state_epoch(state) == member_epoch(id);
}

/* ---- one page ------------------------------------------------------------------------------- */

/* Lists run mostly through neighbours, up or down: an OS page is read at once,
 * and many where the one beside it was read before.  Nothing is remembered of a
 * living segment: view_forget_links() is called before each walk. */
#define READ_AHEAD 16

static uint64_t place_of(const struct view *v, uint64_t number)
{
    return number & (v->cache_pages - 1);
}

static bool is_cached(const struct view *v, uint64_t number)
{
    return v->cached[place_of(v, number)] == ((uint64_t)v->epoch << 32 | number);
}

/* 'number', and those behind it, or before it, that are not there yet and lie beside it. */
static void cache_fill(struct view *v, uint64_t number)
{
    uint64_t first = number, n = 1;
    if (is_cached(v, number - 1))
        while (n < READ_AHEAD && place_of(v, number + n) && !is_cached(v, number + n))
            n++;
    else if (is_cached(v, number + 1))
        for (; n < READ_AHEAD && place_of(v, first) && !is_cached(v, first - 1); n++)
            first--;
    view_read(v, first * OS_PAGE, v->cache + place_of(v, first) * OS_PAGE, n * OS_PAGE);
    for (uint64_t i = 0; i < n; i++)
        v->cached[place_of(v, first + i)] = (uint64_t)v->epoch << 32 | (first + i);
}

uint64_t view_link(struct view *v, uint64_t off)
{
    uint64_t number = off / OS_PAGE, word;
    if (!is_cached(v, number))
        cache_fill(v, number);
    memcpy(&word, v->cache + place_of(v, number) * OS_PAGE + (off & (OS_PAGE - 1) & ~UINT64_C(7)),
           sizeof word);
    return word ^ v->header.link_key;
}

/* An epoch comes round after four thousand million walks. */
void view_forget_links(struct view *v)
{
    if (v->alive)
        v->epoch++;
}

void view_many_links(struct view *v)
{
    if (v->huge_cache)
        return;
    v->huge_cache = true;
    os_advise(v->cache, v->cache_bytes, MADV_HUGEPAGE);
    os_advise(v->cache, v->cache_bytes, MADV_DONTNEED); /* what is there has small ones */
}

static void look_wrong(struct page_look *look, const char *what, uint64_t off)
{
    if (!look->wrong) {
        look->wrong = what;
        look->wrong_off = off;
    }
}

/* Each block is entered once, so a list that is a ring ends the walk.  While
 * it is merged, the list 'taken' runs on into that of the owner. */
static void walk(struct view *v, struct page_look *look, uint64_t head, bool may_leave,
                 struct block_bits *bits)
{
    uint64_t from = look->off;
    while (!(head & 1)) {
        uint64_t at = head - look->off, i = at / look->size;
        if (head < look->off || i >= look->reserved || at % look->size) {
            if (!may_leave)
                look_wrong(look, "a list of freed blocks leaves its page", from);
            return;
        }
        if (!bits_add(bits, (uint32_t)i)) {
            if (!may_leave)
                look_wrong(look, "a list of freed blocks is a ring", from);
            return;
        }
        from = head;
        head = view_link(v, head);
    }
    if (head != LIST_END && !may_leave)
        look_wrong(look, "a list of freed blocks ends in something that is no link", from);
}

static void look_kept(struct view *v, uint64_t slice, struct page_look *look)
{
    struct kept kept;
    view_kept(v, slice, &kept);
    look->former = get(kept.former);
    for (uint32_t i = 0; i < PAGE_BLOCKS_MAX / 64; i++) {
        look->kept.bits[i] = get(kept.bits[i]);
        look->kept.count += (uint32_t)__builtin_popcountl(look->kept.bits[i]);
    }
}

static uint32_t count_allocated(const struct slice *d, const struct page_look *look)
{
    uint32_t flags = get(d->flags), freed = 0, kept = 0, used = get(d->used);
    for (uint32_t i = 0; i < PAGE_BLOCKS_MAX / 64; i++) {
        uint64_t off_lists = look->remote.bits[i] | look->taken.bits[i];
        freed += (uint32_t)__builtin_popcountl(off_lists);
        kept += (uint32_t)__builtin_popcountl(look->kept.bits[i] & ~off_lists);
    }
    if (flags & PAGE_EMPTY)
        return 0;
    if (flags & PAGE_BITS)
        return kept < look->capacity ? kept : look->capacity;
    freed += (flags & PAGE_IDLE) != 0;
    used = used < look->capacity ? used : look->capacity;
    return used > freed ? used - freed : 0;
}

bool view_page(struct view *v, uint64_t slice, const struct slice *d, struct page_look *look)
{
    uint32_t cls = get(d->cls);
    memset(look, 0, sizeof *look);
    if (cls >= CLASS_COUNT)
        return false;
    look->off = slice << SLICE_SHIFT;
    look->size = class_bytes(cls);
    look->reserved = (uint32_t)(((uint64_t)class_slices(cls) << SLICE_SHIFT) / look->size);
    look->capacity = get(d->capacity);
    if (look->capacity > look->reserved)
        return false;
    view_forget_links(v);
    /* An empty page's memory may have gone already, and with it the links of its lists. */
    bool lists = !(get(d->flags) & PAGE_EMPTY);
    if (lists && get(d->remote))
        walk(v, look, remote_head(get(d->remote)), false, &look->remote);
    if (lists && get(d->taken))
        walk(v, look, get(d->taken), true, &look->taken);
    if (get(d->flags) & (PAGE_KEPT | PAGE_BITS))
        look_kept(v, slice, look);
    look->allocated = count_allocated(d, look);
    return true;
}
