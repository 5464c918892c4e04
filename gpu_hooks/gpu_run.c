/* gpu_run.c - runs of units: find, claim, publish, release.
 *
 * The words of the units are the truth.  The bits 'taken' are hints that make
 * finding a run fast: one too many costs room until a sweep, one too few costs
 * a claim that fails and sets it. */
#include "gpu_hooks/gpu.h"

/* ---- hints --------------------------------------------------------------------------------- */

static void taken_set(struct gpu_seg *s, uint64_t from, uint64_t n, bool on)
{
    for (uint64_t at = from, end = from + n; at < end;) {
        uint64_t bit = at % 64, count = 64 - bit < end - at ? 64 - bit : end - at;
        uint64_t mask = (count == 64 ? UINT64_MAX : (UINT64_C(1) << count) - 1) << bit;
        if (on)
            fetch_or(gpu_taken, s->taken[at / 64], mask);
        else
            fetch_and(gpu_taken, s->taken[at / 64], ~mask);
        at += count;
    }
}

/* ---- finding ---------------------------------------------------------------------------------- */

enum use { USE_NOT, USE_READY, USE_EMPTY };

struct search {
    struct gpu_seg *s;
    uint8_t use[GPU_CHUNK_MAX];
    uint32_t n;
    uint64_t start; /* best so far */
    uint64_t cost;  /* new chunks << 32 | units left over */
    bool found;
};

static void uses_look(struct search *f, bool empty)
{
    struct gpu_seg *s = f->s;
    for (uint32_t c = 0; c < s->chunk_count; c++) {
        enum gpu_chunk_state state =
            (enum gpu_chunk_state)word_state(get_acquire(s->chunks[c].word));
        f->use[c] = state == GPU_READY && s->usable[c] ? USE_READY
                    : state == GPU_EMPTY && empty      ? USE_EMPTY
                                                       : USE_NOT;
    }
}

static void consider(struct search *f, uint64_t start, uint64_t length)
{
    uint64_t chunk = f->s->chunk_units, created = 0;
    for (uint64_t c = start / chunk; c <= (start + f->n - 1) / chunk; c++)
        created += f->use[c] == USE_EMPTY;
    uint64_t cost = created << 32 | (length - f->n);
    if (f->found && cost >= f->cost)
        return;
    f->found = true;
    f->start = start;
    f->cost = cost;
}

/* A run may lie across chunks: it goes to either end of the free space. */
static void run_ends(struct search *f, uint64_t start, uint64_t end)
{
    if (end - start < f->n)
        return;
    consider(f, start, end - start);
    consider(f, end - f->n, end - start);
}

static uint64_t taken_word(const struct search *f, uint64_t i)
{
    switch (f->use[i * 64 / f->s->chunk_units]) {
    case USE_READY: return get(f->s->taken[i]);
    case USE_EMPTY: return 0;
    default: return UINT64_MAX;
    }
}

bool gpu_run_find(struct gpu_seg *s, uint32_t n, bool empty, uint64_t *start)
{
    struct search f = { .s = s, .n = n };
    uses_look(&f, empty);
    uint64_t from = 0; /* the free run in hand begins there */
    bool open = false;
    for (uint64_t i = 0; i < s->unit_count / 64; i++) {
        uint64_t word = taken_word(&f, i);
        if (word == UINT64_MAX || word == 0) {
            if (word && open)
                run_ends(&f, from, i * 64);
            else if (!word && !open)
                from = i * 64;
            open = word == 0;
            continue;
        }
        for (unsigned bit = 0; bit < 64; bit++) {
            bool is_free = !(word >> bit & 1);
            if (is_free && !open)
                from = i * 64 + bit;
            if (!is_free && open)
                run_ends(&f, from, i * 64 + bit);
            open = is_free;
        }
    }
    if (open)
        run_ends(&f, from, s->unit_count);
    *start = f.start;
    return f.found;
}

/* ---- claiming ------------------------------------------------------------------------------------ */

static void unclaim(struct gpu_seg *s, uint64_t start, uint32_t n)
{
    while (n-- > 0) {
        uint64_t mine = GPU_WORD(GPU_PART, s->id, n);
        cas(gpu_unclaim, s->units[start + n].word, &mine, 0);
    }
}

/* Whoever gives a chunk back announces it first and then looks for claims; we claim first and
 * then look. */
static bool chunks_stay(struct gpu_seg *s, uint64_t start, uint32_t n)
{
    __atomic_thread_fence(__ATOMIC_SEQ_CST);
    for (uint64_t c = start / s->chunk_units; c <= (start + n - 1) / s->chunk_units; c++)
        if ((enum gpu_chunk_state)word_state(get_acquire(s->chunks[c].word)) != GPU_READY)
            return false;
    return true;
}

bool gpu_run_claim(struct gpu_seg *s, uint64_t start, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++) {
        uint64_t none = 0;
        if (cas(gpu_claim, s->units[start + i].word, &none, GPU_WORD(GPU_PART, s->id, i)))
            continue;
        unclaim(s, start, i);
        taken_set(s, start + i, 1, true);
        return false;
    }
    if (!chunks_stay(s, start, n)) {
        unclaim(s, start, n);
        return false;
    }
    taken_set(s, start, n, true);
    return true;
}

void gpu_run_publish(struct gpu_seg *s, uint64_t start, uint32_t n, enum gpu_unit_state as)
{
    put_release(gpu_head, s->units[start].word, GPU_WORD(as, s->id, n));
}

/* The head goes last: until then the run is in our hands. */
void gpu_run_release(struct gpu_seg *s, uint64_t start)
{
    uint64_t word = get(s->units[start].word);
    uint32_t n = word_length(word);
    put_release(gpu_release, s->units[start].word, GPU_WORD(GPU_PART, s->id, 0));
    for (uint32_t i = n; i-- > 1;) {
        uint64_t part = get(s->units[start + i].word);
        if ((enum gpu_unit_state)word_state(part) == GPU_PART && word_length(part) == i)
            cas(gpu_release, s->units[start + i].word, &part, 0);
    }
    put_release(gpu_release, s->units[start].word, 0);
    taken_set(s, start, n, false);
}
