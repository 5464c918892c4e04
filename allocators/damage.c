#include "allocators/damage.h"
#include "config/log.h"

const char *damage_owner(struct heap *h, uint64_t member_id, long *pid)
{
    *pid = 0;
    uint32_t slot = member_slot(member_id);
    if (!member_id || slot >= MEMBER_MAX || !h->shared) {
        *pid = os_pid();
        return "this process";
    }
    *pid = (long)get(h->members[slot].pid);
    return member_id == h->member_id ? "this process" : h->members[slot].name;
}

void damage_block(struct heap *h, const struct slice *d, uint64_t off, const char *what)
{
    long pid;
    uint64_t word = get(h->chunks[off >> CHUNK_SHIFT].word);
    const char *owner = damage_owner(h, word_member(word), &pid);
    if (get(d->kind) == SLICE_LARGE)
        log_abort("%s: %p, block of %zu bytes, owner %s (pid %ld)", what, at_off(h, off),
                  (size_t)get(d->bytes), owner, pid);
    log_abort("%s: %p, size class %u, owner %s (pid %ld)", what, at_off(h, off),
              class_bytes(get(d->cls)), owner, pid);
}

void damage_pointer(struct heap *h, uint64_t off, const char *what)
{
    log_abort("%s: %p in segment %s", what, at_off(h, off), h->shared ? h->name : "(private)");
}

void damage_segment(struct heap *h, const char *what, uint64_t where)
{
    if (h->unusable)
        return;
    h->unusable = true;
    log_line("segment %s is damaged (%s at offset 0x%lx): it is used for nothing new from here on",
             h->name, what, (unsigned long)where);
}
