#include "allocators/room.h"
#include "allocators/cgroup.h"
#include "allocators/segment.h"

#include <fcntl.h>
#include <string.h>

#define LOOK_MS       20                    /* what was seen is believed for so long */
#define GROUP_FIND_MS 60000                 /* processes are rarely moved to another group */
#define GROUP_SPARE   (UINT64_C(4) << 20)   /* left for what is not ours */
#define STEP_PAGES    UINT64_C(16384)       /* 64 MiB between looks at the file system */
#define ROOMY         (UINT64_C(256) << 20) /* never tight with so much left */

/* ---- the file system --------------------------------------------------------------------- */

struct owed {
    uint64_t inode, pages;
};

/* Pages that another segment has charged and that its file does not have yet. */
static bool owed_each(const char *name, void *ctx)
{
    struct owed *owed = ctx;
    struct os_file file;
    struct seg_header header;
    char path[256] = SEGMENT_DIR "/";
    size_t at = sizeof SEGMENT_DIR, n = strlen(name);
    if (strncmp(name, SEGMENT_PREFIX, sizeof SEGMENT_PREFIX - 1) != 0 || n >= sizeof path - at)
        return true;
    memcpy(path + at, name, n + 1);
    long fd = os_open(path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK, 0);
    if (fd < 0)
        return true;
    if (os_fstat(fd, &file) == 0 && file.inode != owed->inode &&
        os_pread(fd, &header, sizeof header, 0) == (long)sizeof header &&
        header.magic == SEG_MAGIC && header.charged.raw_ > file.allocated / OS_PAGE &&
        header.charged.raw_ <= header.limit / OS_PAGE)
        owed->pages += header.charged.raw_ - file.allocated / OS_PAGE;
    os_close(fd);
    return true;
}

static void look_file(struct heap *h, struct room *room)
{
    struct os_file file;
    char dir[sizeof h->path];
    if (!h->can_open || os_stat(h->path, &file) < 0 || file.inode != h->inode)
        return;
    strcpy(dir, h->path);
    *strrchr(dir, '/') = '\0';
    if (os_space(dir[0] ? dir : "/", &room->total, &room->available) < 0)
        room->total = 0;
    room->file_bytes = file.bytes;
    uint64_t charged = get(h->header->charged), backed = file.allocated / OS_PAGE;
    struct owed owed = { file.inode, charged > backed ? charged - backed : 0 };
    if (strcmp(dir, SEGMENT_DIR) == 0)
        os_list(SEGMENT_DIR, owed_each, &owed);
    room->promised = owed.pages * OS_PAGE;
}

static uint64_t room_free(const struct room *room)
{
    if (room->total == 0)
        return UINT64_MAX;
    return room->available > room->promised ? room->available - room->promised : 0;
}

/* ---- the control group -------------------------------------------------------------------- */

static uint64_t look_group(const struct heap *h)
{
    static struct cgroup group;
    static uint64_t found_ms;
    static uint32_t busy;
    uint64_t now = os_now_ms(), left = UINT64_MAX;
    if (!h->can_open || __atomic_exchange_n(&busy, 1, __ATOMIC_ACQUIRE))
        return left; /* nobody can be asked, or another thread is looking: it will see */
    if (!found_ms || now - found_ms > GROUP_FIND_MS) {
        cgroup_find("", &group);
        found_ms = now;
    }
    left = cgroup_headroom(&group, os_free_swap());
    __atomic_store_n(&busy, 0, __ATOMIC_RELEASE);
    return left;
}

uint64_t room_of_group(const struct heap *h)
{
    uint64_t left = look_group(h);
    return left == UINT64_MAX ? left : left > GROUP_SPARE ? left - GROUP_SPARE : 0;
}

void room_look(struct heap *h, struct room *room)
{
    *room = (struct room){ .group = look_group(h) };
    look_file(h, room);
}

/* ---- both ----------------------------------------------------------------------------------- */

/* Threads may race here: then one looks once too often. */
static uint64_t recall(const uint64_t *word)
{
    return __atomic_load_n(word, __ATOMIC_RELAXED);
}

static void keep(uint64_t *word, uint64_t value)
{
    __atomic_store_n(word, value, __ATOMIC_RELAXED);
}

static bool group_allows(struct heap *h, uint64_t pages)
{
    struct mine *m = h->mine;
    if (get(h->me->charged) * OS_PAGE <= GROUP_SPARE) /* most processes are short and small */
        return true;
    uint64_t now = os_now_ms(), sure = recall(&m->group_pages);
    if (now - recall(&m->group_ms) < LOOK_MS && pages <= sure) {
        keep(&m->group_pages, sure - pages);
        return true;
    }
    uint64_t left = look_group(h);
    if (left != UINT64_MAX)
        left = left > GROUP_SPARE ? (left - GROUP_SPARE) / OS_PAGE : 0;
    if (left < pages)
        return false;
    left -= pages;
    keep(&m->group_pages, left == UINT64_MAX - pages ? UINT64_MAX / 2 : left / 8);
    keep(&m->group_ms, now);
    return true;
}

bool room_is_enough(struct heap *h, uint64_t pages, uint64_t charged)
{
    if (!group_allows(h, pages))
        return false;
    if (charged <= get(h->header->charge_ok))
        return true;
    struct room room = { 0 };
    look_file(h, &room); /* what is charged is promised already */
    uint64_t left = room_free(&room) / OS_PAGE;
    if (left == 0)
        return false;
    if (room.total) {
        uint64_t step = left / 4 < STEP_PAGES ? left / 4 : STEP_PAGES;
        put(charge_ok, h->header->charge_ok, charged + step);
    }
    return true;
}

bool room_is_tight(struct heap *h, uint64_t bytes)
{
    struct mine *m = h->mine;
    uint64_t now = os_now_ms(), roomy = recall(&m->roomy_bytes);
    if (!h->shared)
        return false;
    if (now - recall(&m->roomy_ms) < LOOK_MS && bytes <= roomy) {
        keep(&m->roomy_bytes, roomy - bytes);
        return false;
    }
    struct room room;
    room_look(h, &room);
    uint64_t margin = room.total / 4 > ROOMY ? room.total / 4 : ROOMY, left = room_free(&room);
    if (room.total == 0) /* nobody can be asked */
        return true;
    left = left < room.group ? left : room.group;
    if (left < margin || left - margin < bytes)
        return true;
    keep(&m->roomy_bytes, (left - margin - bytes) / 8);
    keep(&m->roomy_ms, now);
    return false;
}
