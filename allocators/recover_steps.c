#include "allocators/large.h"
#include "allocators/names.h"
#include "allocators/page.h"
#include "allocators/recover_parts.h"
#include "allocators/sound.h"

/* ---- steps in hand -------------------------------------------------------------------- */

/* The page's owner is alive, or will be: it adds the block to its list unless
 * it finds it there.  False: another audit of this page is still waiting. */
static bool ask_owner(struct slice *d, uint64_t off)
{
    uint64_t none = 0;
    return cas(audit, d->audit, &none, off) || none == off;
}

static bool finish_small(struct heap *h, struct inflight *step, struct slice *d, uint64_t off,
                         enum inflight_phase phase)
{
    if (phase == INFLIGHT_MINE) {
        link_write(h, off, LIST_END);
        put_release(inflight_linked, step->what, off | INFLIGHT_LINKED);
    }
    /* The note that the block is in the dead one's hands stays until the question is
     * asked: whoever answers waits for that. */
    return !link_is_sound(h, link_read(h, at_off(h, off))) || ask_owner(d, off);
}

static void finish_large(struct heap *h, struct inflight *step, struct slice *d)
{
    uint64_t gen = get(step->gen), stamp = gen << 8 | LARGE_LIVE;
    cas(large_freed, d->remote, &stamp, gen << 8 | LARGE_FREED);
    if (get_acquire(d->remote) != (gen << 8 | LARGE_FREED) || get(d->kind) != SLICE_LARGE)
        return;
    uint32_t c = chunk_of(slice_index(h, d));
    uint64_t word = get_acquire(h->chunks[c].word);
    if (word_state(word) == CHUNK_HUGE) {
        struct guard g = heap_lock(h);
        large_end(h, d);
        heap_unlock(h, g);
    } else if (word_state(word) == CHUNK_OWNED && member_slot(word_member(word)) < MEMBER_MAX) {
        fetch_or(chunk_pending, h->chunks[c].pending,
                 UINT64_C(1) << (slice_index(h, d) % CHUNK_SLICES));
        fetch_or(member_pending, h->members[member_slot(word_member(word))].pending,
                 UINT64_C(1) << (c % 64));
    }
}

static bool offset_is_block(struct heap *h, uint64_t off)
{
    uint64_t c = off >> CHUNK_SHIFT;
    return c >= h->first_chunk && c < chunks_high(h) &&
           word_state(get(h->chunks[c].word)) != CHUNK_FREE;
}

static bool finish_step(struct heap *h, struct dead *dead, struct inflight *step)
{
    uint64_t what = get_acquire(step->what), off = what & ~UINT64_C(15);
    enum inflight_phase phase = (enum inflight_phase)(what & 15);
    if (phase == INFLIGHT_NONE)
        return true;
    bool done = true;
    if (offset_is_block(h, off)) {
        struct slice *d = slice_head(h, (uint32_t)(off >> SLICE_SHIFT));
        uint64_t owner = word_member(get(h->chunks[off >> CHUNK_SHIFT].word));
        if (phase == INFLIGHT_LARGE)
            finish_large(h, step, d);
        else if (owner != dead->id && page_is_sound(d) && block_is_in(h, d, off) &&
                 page_block_index(d, off) < get(d->capacity))
            done = finish_small(h, step, d, off, phase);
    }
    if (done)
        put_release(inflight_done, step->what, 0);
    return done;
}

/* ---- thread records --------------------------------------------------------------------- */

static void records_of_slice(struct heap *h, struct dead *dead, struct slice *d,
                             record_visitor *visit, void *ctx)
{
    uint32_t count = get_acquire(d->capacity);
    for (uint32_t i = 0; i < count && i < RECORDS_PER_SLICE; i++) {
        uint64_t off = slice_off(h, d) + i * sizeof(struct thread_record);
        struct thread_record *record = at_off(h, off);
        if (owner_member(get_acquire(record->owner)) == dead->id)
            visit(h, dead, record, ctx);
    }
}

void records_each(struct heap *h, struct dead *dead, record_visitor *visit, void *ctx)
{
    uint64_t high = chunks_high(h);
    for (uint64_t c = h->first_chunk; c < high; c++) {
        uint64_t word = get_acquire(h->chunks[c].word);
        if (word_state(word) != CHUNK_OWNED || word_member(word) != dead->id)
            continue;
        for (uint32_t i = 0; i < CHUNK_SLICES; i++)
            if (get(h->slices[c * CHUNK_SLICES + i].kind) == SLICE_RECORDS)
                records_of_slice(h, dead, &h->slices[c * CHUNK_SLICES + i], visit, ctx);
    }
}

static void record_finish_step(struct heap *h, struct dead *dead, struct thread_record *record,
                               void *done)
{
    uint64_t off = get_acquire(record->step.what) & ~UINT64_C(15);
    if (off && offset_is_block(h, off))
        names_recover_step(h, dead->id, off);
    *(bool *)done &= finish_step(h, dead, &record->step);
}

/* Any of them: it is free once all are finished. */
static void record_step(struct heap *h, struct dead *dead, struct thread_record *record, void *step)
{
    (void)h, (void)dead;
    *(struct inflight **)step = &record->step;
}

bool steps_finish(struct heap *h, struct dead *dead)
{
    bool done = true;
    struct inflight *step = NULL;
    records_each(h, dead, record_finish_step, &done);
    if (!done)
        return false;
    records_each(h, dead, record_step, &step);
    names_recover(h, dead->id, dead->reclaim, step);
    return true;
}
