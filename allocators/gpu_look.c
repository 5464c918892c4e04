#include "allocators/gpu_look.h"

#include <fcntl.h>
#include <string.h>

bool gpu_area_is_there(const struct view *v)
{
    uint64_t magic = 0;
    if (v->wrong || v->file.bytes < v->header.window + GPU_AREA_BYTES)
        return false;
    view_read(v, v->header.window, &magic, sizeof magic);
    return magic == GPU_MAGIC;
}

static uint64_t device_off(const struct view *v, unsigned index)
{
    return v->header.window + GPU_DEVICES_OFF + index * GPU_DEVICE_BYTES;
}

static void say(struct gpu_look *look, const char *what, uint64_t off, uint64_t is)
{
    if (look->wrong)
        return;
    look->wrong = what;
    look->wrong_off = off;
    look->wrong_is = is;
}

static bool device_is_sound(const struct gpu_device *d)
{
    return d->chunk_units >= 64 && (d->chunk_units & (d->chunk_units - 1)) == 0 &&
           d->chunk_units <= GPU_UNITS_MAX && d->chunk_count && d->chunk_count <= GPU_CHUNK_MAX &&
           d->chunk_units * d->chunk_count <= GPU_UNITS_MAX && d->limit <= d->total;
}

static bool member_is(const struct view *v, uint64_t id)
{
    struct gpu_member m;
    uint32_t slot = member_slot(id);
    if (!id || slot >= MEMBER_MAX)
        return false;
    view_read(v, v->header.window + GPU_MEMBERS_OFF + slot * sizeof m, &m, 64);
    return get(m.id) == id && view_member_alive(v, slot);
}

/* The living are asked for once. */
struct lives {
    uint64_t id[64];
    bool alive[64];
};

static bool lives(const struct view *v, struct lives *known, uint64_t id)
{
    unsigned at = (unsigned)(id >> EPOCH_BITS) % 64;
    if (known->id[at] != id) {
        known->id[at] = id;
        known->alive[at] = member_is(v, id);
    }
    return known->alive[at];
}

static void block_count(const struct view *v, struct gpu_look *look, struct lives *known,
                        const struct gpu_block *b, uint64_t bytes, uint64_t off)
{
    uint64_t state = get(b->state);
    switch ((enum gpu_block_state)word_state(state)) {
    case GPU_FREE: return;
    case GPU_LIVE:
    case GPU_HELD: break;
    case GPU_WAIT:
    case GPU_GIVEN: look->waiting += bytes; return;
    default: say(look, "a GPU block is in no state that there is", off, state); return;
    }
    if (gpu_info_bytes(get(b->info)) > bytes)
        say(look, "a GPU block is larger than its place", off, get(b->info));
    *(lives(v, known, word_member(state)) ? &look->used : &look->kept) += bytes;
}

static void page_count(const struct view *v, struct gpu_look *look, struct lives *known,
                       unsigned index, uint64_t unit, uint32_t cls)
{
    struct gpu_block blocks[GPU_PAGE_BLOCKS];
    uint64_t off = device_off(v, index) + GPU_BLOCKS_OFF + unit * sizeof blocks;
    unsigned n = gpu_page_blocks(cls);
    view_read(v, off, blocks, n * sizeof *blocks);
    look->classes[cls].pages++;
    for (unsigned i = 0; i < n; i++) {
        bool is_free = (enum gpu_block_state)word_state(get(blocks[i].state)) == GPU_FREE;
        look->classes[cls].free += is_free;
        look->classes[cls].blocks += !is_free;
        block_count(v, look, known, &blocks[i], gpu_class_bytes(cls), off + i * sizeof *blocks);
    }
}

/* How far to go on. */
static uint64_t unit_count(const struct view *v, struct gpu_look *look, struct lives *known,
                           unsigned index, uint64_t unit, const struct gpu_unit *u)
{
    uint64_t word = get(u->word), off = device_off(v, index) + GPU_UNITS_OFF + unit * sizeof *u;
    uint64_t n = word_length(word), whole = look->device.chunk_units * look->device.chunk_count;
    uint32_t cls = get(u->cls);
    switch ((enum gpu_unit_state)word_state(word)) {
    case GPU_UNIT_FREE:
    case GPU_PART: return 1; /* in somebody's hands: a step that is under way, or of a dead one */
    case GPU_PAGE:
        if (cls >= CLASS_COUNT || gpu_page_units(cls) != n || unit + n > whole) {
            say(look, "a GPU page has a size that no page has", off, word);
            return 1;
        }
        page_count(v, look, known, index, unit, cls);
        return n;
    case GPU_LARGE:
        if (!n || unit + n > whole) {
            say(look, "a large GPU block leaves its device", off, word);
            return 1;
        }
        if ((enum gpu_block_state)word_state(get(u->block.state)) != GPU_FREE) {
            look->large_blocks++;
            look->large_bytes += n << GPU_UNIT_SHIFT;
        }
        block_count(v, look, known, &u->block, n << GPU_UNIT_SHIFT, off);
        return n;
    default: say(look, "a GPU unit is in no state that there is", off, word); return 1;
    }
}

#define UNITS_AT_ONCE 512

bool gpu_look(const struct view *v, unsigned index, struct gpu_look *look)
{
    struct gpu_chunk chunks[GPU_CHUNK_MAX];
    struct gpu_unit units[UNITS_AT_ONCE];
    struct lives known = { .id = { 0 } };
    uint64_t off = device_off(v, index), read_from = UINT64_MAX;
    memset(look, 0, sizeof *look);
    if (!gpu_area_is_there(v))
        return false;
    view_read(v, off, &look->device, sizeof look->device);
    if (get(look->device.state) != GPU_DEVICE_READY)
        return false;
    if (!device_is_sound(&look->device)) {
        say(look, "the entry of a GPU is damaged", off, look->device.chunk_units);
        look->device.chunk_count = 0;
        return true;
    }
    look->chunk_bytes = look->device.chunk_units << GPU_UNIT_SHIFT;
    view_read(v, off + GPU_CHUNKS_OFF, chunks, sizeof chunks);
    uint64_t skip_to = 0; /* a run may go on in the next chunk */
    for (uint64_t c = 0; c < look->device.chunk_count; c++) {
        enum gpu_chunk_state state = (enum gpu_chunk_state)word_state(get(chunks[c].word));
        look->changing += state == GPU_CREATING || state == GPU_RETIRING;
        look->chunks += state == GPU_READY;
        if ((unsigned)state > GPU_RETIRING)
            say(look, "a GPU chunk is in no state that there is",
                off + GPU_CHUNKS_OFF + c * sizeof *chunks, get(chunks[c].word));
        uint64_t unit = c * look->device.chunk_units, end = unit + look->device.chunk_units;
        unit = unit > skip_to ? unit : skip_to;
        while (state == GPU_READY && unit < end) {
            if (unit / UNITS_AT_ONCE != read_from) {
                read_from = unit / UNITS_AT_ONCE;
                view_read(v, off + GPU_UNITS_OFF + read_from * sizeof units, units, sizeof units);
            }
            unit += unit_count(v, look, &known, index, unit, &units[unit % UNITS_AT_ONCE]);
        }
        skip_to = unit;
    }
    return true;
}

uint64_t gpu_member_bytes(const struct view *v, uint64_t slot, uint64_t id)
{
    struct gpu_member m;
    uint64_t sum = 0;
    if (!gpu_area_is_there(v))
        return 0;
    view_read(v, v->header.window + GPU_MEMBERS_OFF + slot * sizeof m, &m,
              offsetof(struct gpu_member, reserved));
    for (unsigned i = 0; get(m.id) == id && i < GPU_DEVICE_MAX; i++)
        sum += get(m.used[i]) + get(m.waiting[i]);
    return sum;
}

/* ---- reclaim ----------------------------------------------------------------------------- */

struct marking {
    const struct view *v;
    struct lives known;
    long fd; /* < 0: only count */
    uint64_t bytes;
};

/* The driver's memory is not ours to touch here; a flag tells the members. */
static void block_mark(struct marking *m, const struct gpu_block *b, uint64_t off, uint64_t bytes)
{
    uint64_t state = get(b->state), page = off & ~(OS_PAGE - 1);
    if ((enum gpu_block_state)word_state(state) != GPU_LIVE ||
        lives(m->v, &m->known, word_member(state)))
        return;
    m->bytes += bytes;
    char *at = m->fd < 0 ? NULL : os_map_file(m->fd, page, OS_PAGE, OS_MAP_SHARED);
    if (!at)
        return;
    struct gpu_block *shared = (struct gpu_block *)(void *)(at + (off - page));
    if (get_acquire(shared->state) == state)
        fetch_or(gpu_info, shared->info, (uint64_t)GPU_RECLAIM << 48);
    os_unmap(at, OS_PAGE);
}

static void unit_mark(struct marking *m, uint64_t device, uint64_t unit)
{
    struct gpu_unit u;
    struct gpu_block blocks[GPU_PAGE_BLOCKS];
    uint64_t off = device + GPU_UNITS_OFF + unit * sizeof u;
    view_read(m->v, off, &u, sizeof u);
    enum gpu_unit_state state = (enum gpu_unit_state)word_state(get(u.word));
    uint32_t cls = get(u.cls);
    if (state == GPU_LARGE)
        block_mark(m, &u.block, off + offsetof(struct gpu_unit, block),
                   (uint64_t)word_length(get(u.word)) << GPU_UNIT_SHIFT);
    if (state != GPU_PAGE || cls >= CLASS_COUNT)
        return;
    off = device + GPU_BLOCKS_OFF + unit * sizeof blocks;
    view_read(m->v, off, blocks, sizeof blocks);
    for (unsigned i = 0; i < gpu_page_blocks(cls); i++)
        block_mark(m, &blocks[i], off + i * sizeof *blocks, gpu_class_bytes(cls));
}

uint64_t gpu_reclaim(const struct view *v, const char *path, bool dry)
{
    struct gpu_look look;
    struct os_file file;
    struct marking m = { .v = v, .fd = dry ? -1 : os_open(path, O_RDWR, 0) };
    if (m.fd >= 0 && (os_fstat(m.fd, &file) < 0 || file.inode != v->file.inode)) {
        os_close(m.fd);
        return 0;
    }
    for (unsigned index = 0; index < GPU_DEVICE_MAX; index++) {
        if (!gpu_look(v, index, &look) || look.wrong || !look.kept)
            continue;
        struct gpu_chunk chunks[GPU_CHUNK_MAX];
        view_read(v, device_off(v, index) + GPU_CHUNKS_OFF, chunks, sizeof chunks);
        for (uint64_t unit = 0; unit < look.device.chunk_units * look.device.chunk_count; unit++)
            if ((enum gpu_chunk_state)word_state(
                    get(chunks[unit / look.device.chunk_units].word)) == GPU_READY)
                unit_mark(&m, device_off(v, index), unit);
    }
    if (m.fd >= 0)
        os_close(m.fd);
    return m.bytes;
}
