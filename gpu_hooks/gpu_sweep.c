/* gpu_sweep.c - what members that ended had on a device.
 *
 * One walk over the units of the chunks.  Each step is a CAS on a word that
 * names the dead; who dies in the middle is one more dead for the next walk. */
#include "gpu_hooks/gpu.h"

struct sweep {
    struct gpu_seg *s;
    uint64_t kept; /* bytes that stay */
    struct {
        uint64_t id;
        enum gpu_life life;
    } seen[16];
    unsigned next;
};

static bool has_ended(struct sweep *w, uint64_t id)
{
    if (id == w->s->id)
        return false;
    for (unsigned i = 0; i < 16; i++)
        if (w->seen[i].id == id)
            return w->seen[i].life == GPU_ENDED;
    enum gpu_life life = w->s->life(w->s, id);
    w->seen[w->next % 16].id = id;
    w->seen[w->next++ % 16].life = life;
    return life == GPU_ENDED;
}

enum verdict { STAYS, IS_FREE, TO_FREE };

/* Of a block whose page or run belongs to an ended member, as 'state' says. */
static enum verdict judge(struct sweep *w, gpu_ref ref, uint64_t state, unsigned flags)
{
    switch ((enum gpu_block_state)word_state(state)) {
    case GPU_LIVE:
        if (!has_ended(w, word_member(state)) || !(flags & GPU_RECLAIM))
            return STAYS;
        return (flags & GPU_EXPORTED) && gpu_is_open(w->s, ref) ? STAYS : TO_FREE;
    case GPU_HELD: return gpu_is_open(w->s, ref) ? STAYS : TO_FREE;
    case GPU_FREE: return IS_FREE;
    default: return TO_FREE; /* WAIT, GIVEN: its work has ended with its context */
    }
}

static bool make_free(struct gpu_block *b, uint64_t state)
{
    return cas(gpu_free, b->state, &state, GPU_WORD(GPU_FREE, 0, word_length(state)));
}

/* The run becomes ours first: what somebody does to the block meanwhile is done to a block of a
 * living owner, and then it is that one's to go on. */
static void large_sweep(struct sweep *w, uint64_t unit, uint64_t word)
{
    struct gpu_seg *s = w->s;
    struct gpu_block *b = &s->units[unit].block;
    uint64_t state = get_acquire(b->state);
    uint32_t n = word_length(word);
    enum verdict verdict =
        judge(w, gpu_ref_make(unit, GPU_WHOLE), state, gpu_info_flags(get(b->info)));
    if (verdict == STAYS) {
        w->kept += (uint64_t)n << GPU_UNIT_SHIFT;
        return;
    }
    if (!cas(gpu_adopt, s->units[unit].word, &word, GPU_WORD(GPU_LARGE, s->id, n)))
        return;
    if (verdict == IS_FREE || make_free(b, state))
        gpu_run_release(s, unit);
    else
        put_release(gpu_pending, s->me->pending[s->index], 1);
}

/* While the page is still the dead one's nobody allocates in it, and whoever frees says GIVEN.
 * So what is free is settled first, and then it becomes ours with what stays. */
static void page_sweep(struct sweep *w, uint64_t unit, uint64_t word)
{
    struct gpu_seg *s = w->s;
    uint32_t cls = get(s->units[unit].cls), n = word_length(word);
    uint64_t free[2] = { 0, 0 };
    unsigned stay = 0;
    if (cls >= CLASS_COUNT || gpu_page_units(cls) != n)
        return;
    for (unsigned i = 0; i < gpu_page_blocks(cls); i++) {
        struct gpu_block *b = &s->blocks[unit * GPU_PAGE_BLOCKS + i];
        uint64_t state = get_acquire(b->state);
        enum verdict verdict = judge(w, gpu_ref_make(unit, i), state, gpu_info_flags(get(b->info)));
        if (verdict == IS_FREE || (verdict == TO_FREE && make_free(b, state)))
            free[i / 64] |= UINT64_C(1) << (i % 64);
        else
            stay++;
    }
    if (!cas(gpu_adopt, s->units[unit].word, &word, GPU_WORD(GPU_PAGE, s->id, n)))
        return;
    if (!stay) {
        gpu_run_release(s, unit);
        return;
    }
    w->kept += stay * gpu_class_bytes(cls);
    gpu_page_add(s, unit, cls, free);
    put_release(gpu_pending, s->me->pending[s->index], 1); /* some may be GIVEN by now */
}

/* Of a page that somebody living owns: what ended members made in it and nobody freed.  If it is to
 * be reclaimed the owner of the page takes it back. */
static void living_page_sweep(struct sweep *w, uint64_t unit, uint64_t owner)
{
    struct gpu_seg *s = w->s;
    uint32_t cls = get(s->units[unit].cls);
    for (unsigned i = 0; cls < CLASS_COUNT && i < gpu_page_blocks(cls); i++) {
        struct gpu_block *b = &s->blocks[unit * GPU_PAGE_BLOCKS + i];
        uint64_t state = get_acquire(b->state);
        if ((enum gpu_block_state)word_state(state) != GPU_LIVE ||
            !has_ended(w, word_member(state)))
            continue;
        enum verdict verdict = judge(w, gpu_ref_make(unit, i), state, gpu_info_flags(get(b->info)));
        if (verdict == TO_FREE &&
            cas(gpu_given, b->state, &state, (state & ~UINT64_C(15)) | GPU_GIVEN))
            put_release(gpu_pending, s->members[member_slot(owner)].pending[s->index], 1);
        else
            w->kept += gpu_class_bytes(cls);
    }
}

/* How many units to go on by. */
static uint32_t unit_sweep(struct sweep *w, uint64_t unit)
{
    struct gpu_seg *s = w->s;
    uint64_t word = get_acquire(s->units[unit].word), member = word_member(word);
    uint32_t n = word_length(word);
    uint64_t bit = UINT64_C(1) << (unit % 64);
    switch ((enum gpu_unit_state)word_state(word)) {
    case GPU_UNIT_FREE: /* whoever freed it died before saying so */
        if (get(s->taken[unit / 64]) & bit)
            fetch_and(gpu_taken, s->taken[unit / 64], ~bit);
        return 1;
    case GPU_PART: /* no head before it covers it */
        if (has_ended(w, member) && cas(gpu_unclaim, s->units[unit].word, &word, 0))
            fetch_and(gpu_taken, s->taken[unit / 64], ~bit);
        return 1;
    case GPU_PAGE:
        if (has_ended(w, member))
            page_sweep(w, unit, word);
        else
            living_page_sweep(w, unit, member);
        return n ? n : 1;
    case GPU_LARGE:
        if (has_ended(w, member))
            large_sweep(w, unit, word);
        return n ? n : 1;
    default: return 1;
    }
}

/* What begins here and goes on in the next chunk leaves parts there without a head, for the sweep;
 * what began in the one before is given up as a whole. */
void gpu_chunk_forget(struct gpu_seg *s, uint32_t chunk)
{
    uint64_t first = chunk * s->chunk_units, word = get_acquire(s->units[first].word);
    if ((enum gpu_unit_state)word_state(word) == GPU_PART && word_length(word) &&
        word_length(word) <= first) {
        uint64_t head = first - word_length(word), over = get_acquire(s->units[head].word);
        struct gpu_block *b = &s->units[head].block;
        if ((enum gpu_unit_state)word_state(over) == GPU_LARGE && word_member(over) != s->id &&
            s->life(s, word_member(over)) == GPU_ENDED &&
            cas(gpu_adopt, s->units[head].word, &over,
                GPU_WORD(GPU_LARGE, s->id, word_length(over))) &&
            make_free(b, get_acquire(b->state)))
            gpu_run_release(s, head);
    }
    for (uint64_t unit = first; unit < first + s->chunk_units; unit++) {
        uint32_t cls = get(s->units[unit].cls);
        word = get_acquire(s->units[unit].word);
        if ((enum gpu_unit_state)word_state(word) == GPU_PAGE && cls < CLASS_COUNT)
            for (unsigned i = 0; i < gpu_page_blocks(cls); i++) {
                struct gpu_block *b = &s->blocks[unit * GPU_PAGE_BLOCKS + i];
                make_free(b, get_acquire(b->state));
            }
        if ((enum gpu_unit_state)word_state(word) == GPU_LARGE)
            make_free(&s->units[unit].block, get_acquire(s->units[unit].block.state));
        if (word)
            cas(gpu_release, s->units[unit].word, &word, 0);
    }
    for (uint64_t i = first / 64; i < (first + s->chunk_units) / 64; i++)
        fetch_and(gpu_taken, s->taken[i], 0);
}

unsigned gpu_sweep(struct gpu_seg *s)
{
    struct sweep w = { .s = s };
    gpu_lock(&s->upkeep);
    for (uint64_t unit = 0; unit < s->unit_count;) {
        uint32_t chunk = (uint32_t)(unit / s->chunk_units);
        if (s->usable[chunk])
            unit += unit_sweep(&w, unit);
        else
            unit = (chunk + 1) * s->chunk_units;
    }
    put(gpu_count, s->device->kept, w.kept);
    unsigned ended = 0;
    uint64_t high = get_acquire(s->header->members_high);
    for (uint64_t i = 0; i < high && i < MEMBER_MAX; i++) {
        uint64_t id = get_acquire(s->members[i].id);
        if (id && has_ended(&w, id))
            ended += cas(gpu_member_gone, s->members[i].id, &id, 0);
    }
    gpu_unlock(&s->upkeep);
    return ended;
}
