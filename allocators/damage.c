#include "allocators/damage.h"
#include "allocators/segment.h"
#include "allocators/thread_cache.h"
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
    unsigned cls = get(d->cls);
    return get(d->kind) == SLICE_LARGE ? get(d->bytes) : cls < CLASS_COUNT ? class_bytes(cls) : 0;
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
    const char *owner =
        c >= h->first_chunk && c < chunks_high(h) ? chunk_owner(h, off, &pid) : "nobody";
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

void damage_gone(struct heap *h, uint64_t off)
{
    log_line("free of %p ignored: the block went with the program that had made it, "
             "which has ended (HSHM_EXIT=reclaim)",
             at_off(h, off));
}

/* The fast paths of all threads end here: malloc finds nothing, and no page is at home. */
static void stop_using(struct heap *h)
{
    for (struct thread_cache *tc = h->mine ? h->mine->caches : NULL; tc; tc = tc->next) {
        cache_stop(tc);
        __atomic_store_n(&tc->record_off, HOME_NOBODY / 2, __ATOMIC_RELAXED);
    }
}

void damage_segment(struct heap *h, const char *what, uint64_t where)
{
    if (__atomic_exchange_n(&h->unusable, true, __ATOMIC_RELAXED))
        return;
    put(damaged, h->header->damaged, 1); /* the last word that we write to it */
    stop_using(h);
    log_line("segment %s is damaged: %s, at offset 0x%lx.  This program uses it for nothing new: "
             "its new blocks are private, and what it frees there stays",
             h->name, what, (unsigned long)where);
}

bool damage_was_found(struct heap *h)
{
    if (!__atomic_exchange_n(&h->unusable, true, __ATOMIC_RELAXED)) {
        stop_using(h);
        log_line("segment %s was found damaged by another member.  This program uses it for "
                 "nothing new: its new blocks are private, and what it frees there stays",
                 h->name);
    }
    return true;
}
