#include "allocators/segment.h"
#include "allocators/commit.h"
#include "allocators/thread_cache.h"
#include "config/log.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

#define TRIES 64

const char segment_is_there[] = "it is there already";
const char segment_is_none[] = "there is none";
const char segment_clashes[] = "its address is taken in this program";
const char segment_is_unnamed[] = "it is no valid name";
const char segment_no_permission[] = "no permission";
const char segment_no_memory[] = "no memory, or no room for its addresses (RLIMIT_AS)";
const char segment_no_room[] = "no room in its file system";

/* ---- names ------------------------------------------------------------------------- */

static size_t append(char *to, size_t at, size_t size, const char *text)
{
    size_t n = strlen(text);
    if (at + n >= size)
        return size;
    memcpy(to + at, text, n + 1);
    return at + n;
}

static size_t append_number(char *to, size_t at, size_t size, uint64_t n)
{
    char digits[24];
    size_t i = sizeof digits - 1;
    digits[i] = '\0';
    do
        digits[--i] = (char)('0' + n % 10);
    while (n /= 10);
    return append(to, at, size, digits + i);
}

bool segment_path(const char *name, uint64_t uid, char *path, size_t size)
{
    if (strncmp(name, "file:", 5) == 0)
        return append(path, 0, size, name + 5) < size;
    if (!*name || *name == '.' || strchr(name, '/'))
        return false;
    size_t at = append(path, 0, size, SEGMENT_DIR "/" SEGMENT_PREFIX);
    at = append_number(path, at, size, uid);
    at = append(path, at, size, "-");
    return append(path, at, size, name) < size;
}

/* ---- validation -------------------------------------------------------------------- */

const char *segment_validate(const struct seg_header *header, uint64_t file_bytes)
{
    struct seg_header want = { 0 };
    if (header->magic != SEG_MAGIC)
        return "it is not a segment";
    if (header->format != SEG_FORMAT)
        return "it has another format version";
    if (header->abi != layout_abi())
        return "it was made for another machine type";
    if (!layout_compute(header->window, &want) || header->chunk_count != want.chunk_count ||
        header->chunks_off != want.chunks_off || header->slices_off != want.slices_off ||
        header->kept_off != want.kept_off || header->data_off != want.data_off ||
        header->first_chunk != want.first_chunk)
        return "its header is damaged";
    if (file_bytes != header->window && file_bytes != header->window + GPU_AREA_BYTES)
        return "its file has been truncated";
    if (header->base & (header->window - 1) || header->base < BASE_LOW ||
        header->base > BASE_HIGH + WINDOW_MAX)
        return "its address is out of range";
    if (header->chunk_high.raw_ > header->chunk_count ||
        header->chunk_hint.raw_ > header->chunk_count || header->holds_high.raw_ > HOLD_MAX ||
        header->members_high.raw_ > MEMBER_MAX || header->limit == 0 ||
        header->limit > header->window || header->private_heap || header->persist > 1 ||
        (header->link_key >> 48 & 0x8001) != 0x8001 || header->state.raw_ < SEG_LIVE ||
        header->state.raw_ > SEG_REMOVED)
        return "its header is damaged";
    return NULL;
}

/* ---- the view -------------------------------------------------------------------------- */

static void view_set(struct heap *h, uint64_t base, const struct seg_header *header)
{
    h->header = (struct seg_header *)base;
    h->members = (struct seg_member *)(base + SEG_MEMBERS_OFF);
    h->holds = (struct seg_hold *)(base + SEG_HOLDS_OFF);
    h->chunks = (struct chunk *)(base + header->chunks_off);
    h->slices = (struct slice *)(base + header->slices_off);
    h->kept = (struct kept *)(base + header->kept_off);
    h->chunk_count = header->chunk_count;
    h->first_chunk = header->first_chunk;
    h->link_key = header->link_key;
    h->link_mask = ~(header->window - 1) | 14;
    h->head_mask = h->link_mask | LIST_END;
}

/* Opens the fast path: from here on pointers are ours or foreign by address. */
static void view_open(struct heap *h)
{
    h->base = (char *)h->header;
    h->slice_count = h->chunk_count * CHUNK_SLICES;
}

bool mine_make(struct heap *h)
{
    uint64_t chunks = h->chunk_count * sizeof(struct chunk_info);
    h->mine_bytes = round_up(sizeof(struct mine) + chunks, OS_PAGE) + CACHES_BYTES;
    h->mine = os_map(h->mine_bytes, true);
    if (!h->mine)
        return false;
    if (h->shared)
        os_advise(h->mine, h->mine_bytes, 18 /* MADV_WIPEONFORK */);
    h->mine->member_id = h->member_id;
    return true;
}

static void apply_config(struct heap *h, const struct heap_config *c, uint64_t whole)
{
    h->purge_delay_ms = c->purge_delay_ms;
    h->reclaim = c->reclaim;
    h->reserve = c->reserve;
    h->zero = c->zero;
    h->check = c->check;
    h->limit_pages = h->header->limit / OS_PAGE;
    h->member_limit_pages = c->member_limit ? c->member_limit(h->header->limit) / OS_PAGE : 0;
    h->hold_bytes = c->fork_hold ? c->fork_hold(h->header->limit) : 0;
    h->warm_pages = (c->warm ? c->warm(h->header->limit) : 0) / OS_PAGE;
    (void)whole;
}

/* To dump a hole of a shared mapping is to fill it: see preload/dump.c. */
static void leave_out_of_dumps(uint64_t base, uint64_t window)
{
    os_advise((void *)base, window, 16 /* MADV_DONTDUMP */);
}

/* ---- choosing an address ------------------------------------------------------------------ */

struct overlap {
    uint64_t base, window;
    bool found;
    char path[256];
};

static bool overlap_each(const char *name, void *ctx)
{
    struct overlap *o = ctx;
    struct seg_header header;
    if (strncmp(name, SEGMENT_PREFIX, sizeof SEGMENT_PREFIX - 1) != 0 ||
        append(o->path, append(o->path, 0, sizeof o->path, SEGMENT_DIR "/"), sizeof o->path,
               name) >= sizeof o->path)
        return true;
    long fd = os_open(o->path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK, 0);
    if (fd < 0)
        return true;
    if (os_pread(fd, &header, sizeof header, 0) == (long)sizeof header &&
        header.magic == SEG_MAGIC && header.base < o->base + o->window &&
        o->base < header.base + header.window)
        o->found = true;
    os_close(fd);
    return !o->found;
}

static bool base_is_taken(uint64_t base, uint64_t window)
{
    struct overlap o = { .base = base, .window = window };
    os_list(SEGMENT_DIR, overlap_each, &o);
    return o.found;
}

bool segment_at(uint64_t address, char *name, size_t size)
{
    struct overlap o = { .base = address, .window = 1 };
    os_list(SEGMENT_DIR, overlap_each, &o);
    const char *dash =
        o.found ? strchr(o.path + sizeof SEGMENT_DIR + sizeof SEGMENT_PREFIX - 1, '-') : NULL;
    return dash && append(name, 0, size, dash + 1) < size;
}

static uint64_t base_choose(uint64_t window, bool shared)
{
    uint64_t random, low = shared ? BASE_LOW : BASE_PRIVATE;
    uint64_t room = shared ? BASE_PRIVATE - BASE_LOW : BASE_HIGH - BASE_PRIVATE;
    os_random(&random, sizeof random);
    return low + random % (room / window) * window;
}

static uint64_t window_for(uint64_t limit)
{
    uint64_t window = WINDOW_MIN;
    while (window < limit * 4 && window < WINDOW_MAX)
        window *= 2;
    return window;
}

/* ---- creating ------------------------------------------------------------------------------- */

static bool header_fill(struct heap *h, struct seg_header *header, const struct heap_config *c,
                        uint64_t base, uint64_t limit)
{
    header->format = SEG_FORMAT;
    header->abi = layout_abi();
    header->base = base;
    header->limit = limit < header->window ? limit : header->window;
    header->created_ns = os_now_ns();
    header->uid = (uint32_t)os_euid();
    header->mode = c->mode;
    header->persist = c->persist;
    header->private_heap = !h->shared;
    os_boot_id(header->boot_id);
    os_random(&header->link_key, sizeof header->link_key);
    header->link_key |= UINT64_C(0x8001) << 48; /* a cleared word must not look like a link */
    put(seg_make, header->state, SEG_LIVE);
    put(seg_make, header->chunk_hint, header->first_chunk);
    put(seg_make, header->chunk_high, header->first_chunk);
    header->magic = SEG_MAGIC;
    view_set(h, base, header);
    return true;
}

/* Map a new window; halves it where address space or RLIMIT_FSIZE is short.
 * The base, or 0 and why. */
static uint64_t window_map(long fd, uint64_t *window, bool shared, long *why)
{
    for (; *window >= WINDOW_MIN; *window /= 2)
        for (unsigned i = 0; i < TRIES; i++) {
            uint64_t base = base_choose(*window, shared);
            if (shared && i < TRIES / 2 && base_is_taken(base, *window))
                continue;
            long rc = fd >= 0 ? os_truncate(fd, *window) : 0;
            if (rc < 0) {
                *why = rc;
                break;
            }
            rc = os_map_at((void *)base, *window, fd, 0, shared ? OS_MAP_SHARED : OS_MAP_PRIVATE,
                           true);
            if (rc == 0)
                return base;
            *why = rc;
            if (rc == -ENOMEM)
                break;
        }
    return 0;
}

bool segment_private(struct heap *h, const struct heap_config *c)
{
    uint64_t window = WINDOW_MAX;
    struct seg_header layout = { 0 };
    h->shared = false;
    long why;
    uint64_t base = window_map(-1, &window, false, &why);
    if (!base)
        return false;
    layout_compute(window, &layout);
    *(struct seg_header *)base = layout;
    header_fill(h, (struct seg_header *)base, c, base, window);
    h->member_id = member_id_make(0, 1);
    h->me = &h->members[0];
    apply_config(h, c, window);
    h->warm_pages = UINT64_MAX;
    member_describe(h, 0, c->program, 0, (uint64_t)os_pid());
    strcpy(h->name, "(private)");
    if (!mine_make(h)) {
        os_unmap((void *)base, window);
        return false;
    }
    view_open(h);
    return true;
}

struct newborn {
    long fd;
    char path[32];       /* /proc/self/fd/N: opens the same file anew */
    char temporary[280]; /* "" if the file is nameless */
    bool stays_nameless; /* memfd: */
};

static void newborn_path(struct newborn *n)
{
    size_t at = append(n->path, 0, sizeof n->path, "/proc/self/fd/");
    append_number(n->path, at, sizeof n->path, (uint64_t)n->fd);
}

static bool newborn_open(struct newborn *n, const char *path, unsigned mode)
{
    char dir[256];
    n->temporary[0] = '\0';
    n->stays_nameless = !path[0];
    if (n->stays_nameless) {
        n->fd = os_move_high(os_memfd("hshm"));
        newborn_path(n);
        return n->fd >= 0;
    }
    strcpy(dir, path);
    *strrchr(dir, '/') = '\0';
    n->fd = os_open(dir[0] ? dir : "/", O_TMPFILE | O_RDWR, mode);
    if (n->fd < 0 && n->fd != -ENOSPC && n->fd != -EACCES && n->fd != -EROFS && n->fd != -ENOENT) {
        size_t at = append(n->temporary, 0, sizeof n->temporary, path);
        at = append(n->temporary, at, sizeof n->temporary, ".new");
        append_number(n->temporary, at, sizeof n->temporary, (uint64_t)os_pid());
        n->fd = os_open(n->temporary, O_CREAT | O_EXCL | O_RDWR | O_NOFOLLOW, mode);
    }
    if (n->fd < 0)
        return false;
    if (mode & 077) /* HSHM_MODE lets others in, whatever the umask is */
        os_chmod(n->fd, mode);
    newborn_path(n);
    return true;
}

static long newborn_name(struct newborn *n, const char *path)
{
    if (n->stays_nameless)
        return 0;
    return n->temporary[0] ? os_rename_noreplace(n->temporary, path) : os_link_fd(n->fd, path);
}

static void forget(struct heap *h, uint64_t base, uint64_t window, struct witness *w)
{
    witness_drop(w);
    if (base)
        os_unmap((void *)base, window);
    h->header = NULL;
}

/* 1: made and joined.  0: somebody else was faster.  -E: cannot. */
static long segment_create(struct heap *h, const struct heap_config *c, struct witness *w)
{
    struct newborn n;
    struct seg_header layout = { 0 };
    uint64_t total = 0, available = 0, ram = os_ram_bytes();
    if (!newborn_open(&n, h->path, c->mode))
        return n.fd;
    if (n.stays_nameless)
        strcpy(h->path, n.path);
    char dir[256];
    strcpy(dir, h->path);
    *strrchr(dir, '/') = '\0';
    if (os_space(dir, &total, &available) < 0 || total == 0 || total > ram)
        total = ram;
    uint64_t limit = c->limit(total), window = window_for(limit);
    long rc = -ENOMEM;
    uint64_t base = window_map(n.fd, &window, true, &rc);
    if (base || rc == -EEXIST)
        rc = base ? 0 : -ENOMEM;
    if (base && os_populate((void *)base, OS_PAGE) == -ENOMEM)
        rc = -ENOSPC;
    if (base)
        leave_out_of_dumps(base, window);
    if (rc == 0) {
        layout_compute(window, &layout);
        *(struct seg_header *)base = layout;
        header_fill(h, (struct seg_header *)base, c, base, limit);
        h->member_id = member_take_slot(h, n.temporary[0] ? n.temporary : n.path, MEMBER_LIVE, w);
        rc = h->member_id ? newborn_name(&n, h->path) : -ENOSPC;
    }
    struct os_file file;
    if (rc == 0 && os_fstat(n.fd, &file) == 0) {
        h->device = file.device;
        h->inode = file.inode;
        rc = 1;
    } else {
        forget(h, base, window, w);
        if (n.temporary[0])
            os_unlink(n.temporary);
        if (rc == -EEXIST)
            rc = 0;
    }
    if (rc < 1 || !n.stays_nameless) /* that has no other way to be opened anew */
        os_close(n.fd);
    return rc;
}

/* ---- joining -------------------------------------------------------------------------------------- */

static const char *file_is_unsafe(const struct os_file *f, const struct heap_config *c)
{
    if (!S_ISREG(f->mode))
        return "it is not a regular file";
    if (f->uid != (uint64_t)os_euid() && f->uid != 0 && !(c->mode & 077))
        return "it belongs to another user";
    if (f->mode & 022 & ~c->mode)
        return "others may write to it (HSHM_MODE does not say so)";
    return NULL;
}

enum joined { JOINED, JOIN_AGAIN, JOIN_REFUSED };

static enum joined join_map(struct heap *h, long fd, const struct seg_header *header,
                            struct witness *w, const char **why)
{
    long rc = os_map_at((void *)header->base, header->window, fd, 0, OS_MAP_SHARED, true);
    if (rc < 0) {
        *why = rc == -ENOMEM ? "this program has no room for its addresses (RLIMIT_AS)"
                             : segment_clashes;
        return JOIN_REFUSED;
    }
    leave_out_of_dumps(header->base, header->window);
    view_set(h, header->base, header);
    h->member_id = member_take_slot(h, h->path, MEMBER_LIVE, w);
    /* Only now, with our lock held, is it certain whether a remover saw us. */
    struct os_file named;
    bool removed = get_acquire(h->header->state) != SEG_LIVE || os_stat(h->path, &named) < 0 ||
                   named.inode != h->inode || named.device != h->device;
    if (h->member_id && !removed)
        return JOINED;
    if (h->member_id)
        put(member_state, h->members[member_slot(h->member_id)].state,
            MEMBER_STATE(MEMBER_FREE, member_epoch(h->member_id), 0));
    forget(h, header->base, header->window, w);
    *why = "it has no free place for another member, or no memory for it";
    return removed ? JOIN_AGAIN : JOIN_REFUSED;
}

static bool boot_is_this(const struct seg_header *header)
{
    uint64_t boot[2];
    os_boot_id(boot);
    return memcmp(boot, header->boot_id, sizeof boot) == 0;
}

static enum joined segment_join(struct heap *h, const struct heap_config *c, long fd,
                                struct witness *w, const char **why)
{
    struct os_file file;
    struct seg_header header;
    if (os_fstat(fd, &file) < 0)
        return JOIN_AGAIN;
    if ((*why = file_is_unsafe(&file, c)))
        return JOIN_REFUSED;
    if (os_pread(fd, &header, sizeof header, 0) != (long)sizeof header) {
        *why = "it is not a segment";
        return JOIN_REFUSED;
    }
    if ((*why = segment_validate(&header, file.bytes)))
        return JOIN_REFUSED;
    if (header.dumped_ns.raw_) {
        *why = "it is a dump, not a segment";
        return JOIN_REFUSED;
    }
    h->device = file.device;
    h->inode = file.inode;
    /* Where a member lives there was no reboot. */
    bool stale = !members_alive_fd(fd, MEMBER_MAX) && (!header.persist || !boot_is_this(&header));
    if (stale || header.state.raw_ != SEG_LIVE) {
        segment_remove_if_idle(h->path, MEMBER_MAX);
        return JOIN_AGAIN;
    }
    if (header.damaged.raw_) {
        *why = "it was found damaged";
        return JOIN_REFUSED;
    }
    if (c->how == SEGMENT_MAKE) {
        *why = segment_is_there;
        return JOIN_REFUSED;
    }
    return join_map(h, fd, &header, w, why);
}

bool segment_attach(struct heap *h, const struct heap_config *c, const char **why)
{
    struct witness w = { NULL };
    h->shared = true;
    *why = "its file cannot be opened or made";
    bool nameless = strcmp(c->name, "memfd:") == 0;
    if (nameless)
        h->path[0] = '\0';
    else if (!segment_path(c->name, (uint64_t)os_euid(), h->path, sizeof h->path)) {
        *why = segment_is_unnamed;
        return false;
    }
    enum joined joined = JOIN_AGAIN;
    for (unsigned i = 0; joined == JOIN_AGAIN && i < 10000; i++) {
        long fd = nameless ? -ENOENT : os_open(h->path, O_RDWR | O_NOFOLLOW | O_NONBLOCK, 0);
        if (fd >= 0) {
            joined = segment_join(h, c, fd, &w, why);
            os_close(fd);
        } else if (fd == -ENOENT && c->how != SEGMENT_JOIN) {
            fd = segment_create(h, c, &w);
            joined = fd > 0 ? JOINED : fd == 0 ? JOIN_AGAIN : JOIN_REFUSED;
        }
        if (fd < 0) {
            *why = fd == -EACCES   ? segment_no_permission
                   : fd == -ENOENT ? segment_is_none
                   : fd == -ELOOP  ? "it is a symbolic link"
                   : fd == -ENOSPC ? segment_no_room
                   : fd == -EFBIG  ? "RLIMIT_FSIZE is too small for it"
                   : fd == -ENOMEM ? segment_no_memory
                                   : log_error_name((int)fd);
            joined = JOIN_REFUSED;
        }
        if (joined == JOIN_AGAIN && i > 3)
            os_sleep_us(50 + (i < 100 ? i : 100) * 10);
    }
    if (joined != JOINED)
        return false;
    h->can_open = true;
    h->live_page = w.page;
    h->me = &h->members[member_slot(h->member_id)];
    size_t n = strlen(c->name);
    memcpy(h->name, c->name, n < sizeof h->name ? n + 1 : 0);
    apply_config(h, c, 0);
    member_describe(h, member_slot(h->member_id), c->program, 0, (uint64_t)os_pid());
    if (!mine_make(h)) {
        *why = "no memory";
        forget(h, (uint64_t)h->header, h->header->window, &w);
        return false;
    }
    view_open(h);
    return true;
}

bool segment_rejoin(struct heap *h, const struct heap_config *c)
{
    struct witness w = { NULL };
    uint64_t parent = h->member_id;
    uint64_t id = h->can_open ? member_take_slot(h, h->path, MEMBER_LIVE, &w) : 0;
    if (!id)
        return false;
    h->member_id = id;
    h->me = &h->members[member_slot(id)];
    h->live_page = w.page;
    member_describe(h, member_slot(id), c->program, parent, (uint64_t)os_pid());
    h->mine->member_id = id;
    return true;
}

/* ---- reading only ------------------------------------------------------------------------- */

static const char *read_map(struct heap *h, long fd)
{
    struct os_file file;
    struct seg_header header;
    const char *why;
    if (os_fstat(fd, &file) < 0 || os_pread(fd, &header, sizeof header, 0) != (long)sizeof header)
        return "it is not a segment";
    if ((why = segment_validate(&header, file.bytes)))
        return why;
    long rc = os_map_at((void *)header.base, header.window, fd, 0, OS_MAP_READ, true);
    if (rc < 0)
        return rc == -ENOMEM ? segment_no_memory : segment_clashes;
    h->device = file.device;
    h->inode = file.inode;
    view_set(h, header.base, &header);
    view_open(h);
    return NULL;
}

bool segment_read(struct heap *h, const char *name, const char **why)
{
    *why = segment_is_unnamed;
    if (!segment_path(name, (uint64_t)os_euid(), h->path, sizeof h->path))
        return false;
    long fd = os_open(h->path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK, 0);
    *why = fd == -ENOENT   ? segment_is_none
           : fd == -EACCES ? segment_no_permission
           : fd < 0        ? log_error_name((int)fd)
                           : read_map(h, fd);
    if (fd >= 0)
        os_close(fd);
    h->shared = h->read_only = true;
    return *why == NULL;
}

void segment_detach(struct heap *h)
{
    struct witness w = { h->live_page };
    if (!h->read_only)
        segment_leave(h);
    for (char *area = h->mine ? h->mine->caches_areas : NULL, *next; area; area = next) {
        next = *(char **)(void *)area;
        os_unmap(area, CACHES_BYTES);
    }
    if (h->mine)
        os_unmap(h->mine, h->mine_bytes);
    forget(h, (uint64_t)h->header, h->header->window, &w);
    *h = (struct heap){ 0 };
}

/* ---- leaving, removing --------------------------------------------------------------------------------- */

/* Does anybody live who is not leaving too?  If two leave at once each would
 * wait for the other to be gone, and the file would stay. */
static bool members_stay_fd(long fd, const struct seg_header *header, uint32_t except)
{
    uint64_t high = get_acquire(header->members_high), state;
    for (uint64_t slot = 0; slot < high && slot < MEMBER_MAX; slot++) {
        if (slot == except || !os_lock_held(fd, LOCK_MEMBER(slot)))
            continue;
        if (os_pread(fd, &state, sizeof state,
                     SEG_MEMBERS_OFF + slot * sizeof(struct seg_member)) != sizeof state ||
            state_of(state) != MEMBER_LEAVING)
            return true;
    }
    return false;
}

/* Under LOCK_CREATE: announce, ask every member once more, then unlink.  A
 * joiner locks its slot first and looks at 'state' then: one of us sees the
 * other.  If we die in between, the next holder of the lock starts over. */
static bool remove_locked(long fd, const char *path, uint32_t except)
{
    struct os_file opened, named;
    if (os_fstat(fd, &opened) < 0 || os_stat(path, &named) < 0 || opened.inode != named.inode)
        return true;
    if (opened.bytes < OS_PAGE)
        return os_unlink(path) == 0;
    struct seg_header *header = os_map_header(fd);
    if (!header)
        return false;
    put_release(seg_removing, header->state, SEG_REMOVING);
    __atomic_thread_fence(__ATOMIC_SEQ_CST);
    bool idle = !members_stay_fd(fd, header, except);
    if (idle) {
        os_unlink(path);
        put_release(seg_removed, header->state, SEG_REMOVED);
    } else {
        put_release(seg_removing, header->state, SEG_LIVE);
    }
    os_unmap(header, OS_PAGE);
    return idle;
}

bool segment_remove_if_idle(const char *path, uint32_t except)
{
    long fd = os_open(path, O_RDWR | O_NOFOLLOW | O_NONBLOCK, 0);
    if (fd == -ENOENT)
        return true;
    if (fd < 0)
        return false;
    /* Somebody else may be looking just now, and have found us alive: look after
     * it.  Not for ever, it may have been stopped. */
    long rc = os_lock(fd, LOCK_CREATE);
    for (unsigned i = 0; rc < 0 && except < MEMBER_MAX && i < 200; i++) {
        os_sleep_us(250);
        rc = os_lock(fd, LOCK_CREATE);
    }
    bool gone = rc == 0 && remove_locked(fd, path, except);
    os_close(fd);
    return gone;
}

void segment_leave(struct heap *h)
{
    if (!h->shared || h->mine->member_id != h->member_id || h->unusable)
        return;
    uint64_t state = get(h->me->state);
    bool awake = state_of(state) == MEMBER_LIVE;
    if ((awake || state_of(state) == MEMBER_CHILD) &&
        cas(member_state, h->me->state, &state,
            MEMBER_STATE(MEMBER_LEAVING, member_epoch(h->member_id), 0)) &&
        awake)
        fetch_add(leavers, h->header->leavers, 1);
    if (h->header->persist || !h->can_open || strcmp(h->name, "memfd:") == 0)
        return;
    long fd = os_open(h->path, O_RDWR | O_NOFOLLOW | O_NONBLOCK, 0);
    if (fd < 0)
        return;
    /* Mostly there are others who stay, and they are seen without announcing anything.
     * Of those who leave together the last to say so finds nobody who stays. */
    uint32_t slot = member_slot(h->member_id);
    bool needed = members_alive_fd(fd, slot) && members_stay_fd(fd, h->header, slot);
    os_close(fd);
    if (!needed)
        segment_remove_if_idle(h->path, slot);
}
