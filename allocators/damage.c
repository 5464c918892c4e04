#include "allocators/damage.h"
#include "allocators/segment.h"
#include "config/log.h"

const char *damage_owner(struct heap *h, uint64_t member_id, long *pid)
{
    *pid = 0;
    uint32_t slot = member_slot(member_id);
    if (!h->shared || member_id == h->member_id) {
        *pid = os_pid();
        return "this process";
    }
    if (!member_id || slot >= MEMBER_MAX)
        return "nobody";
    *pid = (long)get(h->members[slot].pid);
    return h->members[slot].name;
}

static const char *chunk_owner(struct heap *h, uint64_t off, long *pid)
{
    return damage_owner(h, word_member(get(h->chunks[off >> CHUNK_SHIFT].word)), pid);
}

static size_t block_bytes(const struct slice *d)
{
    return get(d->kind) == SLICE_LARGE ? get(d->bytes) : class_bytes(get(d->cls));
}

static const char *block_kind(const struct slice *d)
{
    return get(d->kind) == SLICE_LARGE ? "large block of" : "size class";
}

void damage_block(struct heap *h, const struct slice *d, uint64_t off, const char *call,
                  const char *what)
{
    long pid;
    const char *owner = chunk_owner(h, off, &pid);
    log_abort("%s%s%s: %p, %s %zu, owner %s (pid %ld)", call ? call : "", call ? " of " : "", what,
              at_off(h, off), block_kind(d), block_bytes(d), owner, pid);
}

void damage_bytes(struct heap *h, const struct slice *d, uint64_t off, const char *what,
                  uint64_t at)
{
    long pid;
    const char *owner = chunk_owner(h, off, &pid);
    log_abort("%s: %p, byte %zu of it, %s %zu, owner %s (pid %ld)", what, at_off(h, off),
              (size_t)at, block_kind(d), block_bytes(d), owner, pid);
}

void damage_pointer(struct heap *h, uint64_t off, const char *call, const char *what)
{
    long pid = 0;
    uint64_t c = off >> CHUNK_SHIFT;
    const char *owner = c >= h->first_chunk && c < get_acquire(h->header->chunk_high)
                            ? chunk_owner(h, off, &pid)
                            : "nobody";
    log_abort("%s of %s: %p, no block, segment %s, owner %s (pid %ld)", call, what, at_off(h, off),
              h->name, owner, pid);
}

void damage_foreign(const void *p, const char *call)
{
    char name[208];
    if (segment_at((uint64_t)(uintptr_t)p, name, sizeof name))
        log_abort("%s of a pointer into another segment: %p, no block of ours, segment %s, owner "
                  "unknown: this program has not joined it",
                  call, p, name);
    log_abort("%s of a pointer into no segment of this program: %p, owner nobody", call, p);
}

void damage_segment(struct heap *h, const char *what, uint64_t where)
{
    if (h->unusable)
        return;
    h->unusable = true;
    log_line("segment %s is damaged (%s at offset 0x%lx): it is used for nothing new from here on",
             h->name, what, (unsigned long)where);
}
