/* gpu_block.c - blocks: from where they come, and the way back. */
#include "gpu_hooks/gpu.h"

static enum gpu_block_state block_state(uint64_t state)
{
    return (enum gpu_block_state)word_state(state);
}

/* The same block, in another state. */
static uint64_t state_as(uint64_t state, enum gpu_block_state as)
{
    return (state & ~UINT64_C(15)) | as;
}

static bool is_whole(gpu_ref ref)
{
    return gpu_ref_block(ref) == GPU_WHOLE;
}

/* ---- pages, under the segment's lock ------------------------------------------------------- */

static void page_list(struct gpu_seg *s, uint64_t unit)
{
    struct gpu_page *page = &s->pages[unit];
    uint32_t first = s->class_first[page->cls];
    page->next = first;
    page->prev = 0;
    page->listed = true;
    if (first)
        s->pages[first - 1].prev = (uint32_t)unit + 1;
    s->class_first[page->cls] = (uint32_t)unit + 1;
}

static void page_unlist(struct gpu_seg *s, uint64_t unit)
{
    struct gpu_page *page = &s->pages[unit];
    if (page->prev)
        s->pages[page->prev - 1].next = page->next;
    else
        s->class_first[page->cls] = page->next;
    if (page->next)
        s->pages[page->next - 1].prev = page->prev;
    page->listed = false;
}

static void bits_all(uint64_t bits[2], unsigned n)
{
    bits[0] = n >= 64 ? UINT64_MAX : (UINT64_C(1) << n) - 1;
    bits[1] = n > 64 ? UINT64_MAX >> (128 - n) : 0;
}

static bool page_is_empty(const struct gpu_page *page)
{
    uint64_t all[2];
    bits_all(all, gpu_page_blocks(page->cls));
    return page->free[0] == all[0] && page->free[1] == all[1];
}

static void page_give_back(struct gpu_seg *s, uint64_t unit)
{
    if (s->pages[unit].listed)
        page_unlist(s, unit);
    s->pages[unit].owned = false;
    gpu_run_release(s, unit);
}

/* One page of a class stays for the next request. */
static void page_put(struct gpu_seg *s, gpu_ref ref)
{
    uint64_t unit = gpu_ref_unit(ref);
    struct gpu_page *page = &s->pages[unit];
    uint32_t block = gpu_ref_block(ref);
    page->free[block / 64] |= UINT64_C(1) << (block % 64);
    if (!page->listed)
        page_list(s, unit);
    bool only = s->class_first[page->cls] == unit + 1 && !page->next;
    if (page_is_empty(page) && !only)
        page_give_back(s, unit);
}

void gpu_page_add(struct gpu_seg *s, uint64_t unit, unsigned cls, const uint64_t free[2])
{
    struct gpu_page *page = &s->pages[unit];
    gpu_lock(&s->lock);
    *page = (struct gpu_page){ .free = { free[0], free[1] }, .cls = (uint8_t)cls, .owned = true };
    if (free[0] | free[1])
        page_list(s, unit);
    gpu_unlock(&s->lock);
}

static gpu_ref page_take(struct gpu_seg *s, unsigned cls)
{
    uint64_t unit = s->class_first[cls] - 1;
    struct gpu_page *page = &s->pages[unit];
    unsigned half = page->free[0] == 0;
    uint32_t block = half * 64 + (uint32_t)__builtin_ctzll(page->free[half]);
    page->free[half] &= page->free[half] - 1;
    if (!page->free[0] && !page->free[1])
        page_unlist(s, unit);
    return gpu_ref_make(unit, block);
}

/* ---- new runs ------------------------------------------------------------------------------------ */

#define CLAIM_TRIES 64

static enum gpu_got run_take(struct gpu_seg *s, uint32_t n, uint64_t *start, uint32_t *chunk)
{
    for (int tries = 0; tries < CLAIM_TRIES; tries++) {
        if (gpu_run_find(s, n, false, start)) {
            if (gpu_run_claim(s, *start, n))
                return GPU_GOT;
            continue;
        }
        if (!gpu_run_find(s, n, true, start))
            return GPU_IS_FULL;
        for (uint64_t c = *start / s->chunk_units; c <= (*start + n - 1) / s->chunk_units; c++)
            if ((enum gpu_chunk_state)word_state(get(s->chunks[c].word)) == GPU_EMPTY) {
                *chunk = (uint32_t)c;
                return GPU_NEEDS_CHUNK;
            }
    }
    return GPU_IS_FULL;
}

static enum gpu_got page_make(struct gpu_seg *s, unsigned cls, uint32_t *chunk)
{
    uint32_t n = gpu_page_units(cls);
    uint64_t unit;
    enum gpu_got got = run_take(s, n, &unit, chunk);
    if (got != GPU_GOT)
        return got;
    struct gpu_block *blocks = &s->blocks[unit * GPU_PAGE_BLOCKS];
    bool backed = gpu_back(blocks, gpu_page_blocks(cls) * sizeof *blocks);
    if (backed)
        put(gpu_class, s->units[unit].cls, cls);
    gpu_run_publish(s, unit, n, backed ? GPU_PAGE : GPU_LARGE);
    if (!backed) { /* the host's memory is full */
        gpu_run_release(s, unit);
        return GPU_IS_FULL;
    }
    struct gpu_page *page = &s->pages[unit];
    page->cls = (uint8_t)cls;
    page->owned = true;
    bits_all(page->free, gpu_page_blocks(cls));
    page_list(s, unit);
    return GPU_GOT;
}

/* ---- shards --------------------------------------------------------------------------------------- */

static struct gpu_shard *shard_of_thread(struct gpu_seg *s)
{
    static uint32_t threads;
    static __thread uint32_t mine __attribute__((tls_model("initial-exec")));
    if (!mine)
        mine = __atomic_add_fetch(&threads, 1, __ATOMIC_RELAXED);
    return &s->shards[mine % GPU_SHARDS];
}

static gpu_ref shard_take(struct gpu_shard *shard, unsigned cls)
{
    gpu_ref ref = GPU_NO_REF;
    gpu_lock(&shard->lock);
    if (shard->count[cls])
        ref = shard->refs[cls][--shard->count[cls]];
    gpu_unlock(&shard->lock);
    return ref;
}

static bool shard_put(struct gpu_shard *shard, unsigned cls, gpu_ref ref)
{
    gpu_lock(&shard->lock);
    bool room = shard->count[cls] < GPU_CACHED;
    if (room)
        shard->refs[cls][shard->count[cls]++] = ref;
    gpu_unlock(&shard->lock);
    return room;
}

static enum gpu_got small_take(struct gpu_seg *s, unsigned cls, gpu_ref *ref, uint32_t *chunk)
{
    struct gpu_shard *shard = shard_of_thread(s);
    *ref = shard_take(shard, cls);
    if (*ref != GPU_NO_REF)
        return GPU_GOT;
    gpu_lock(&s->lock);
    enum gpu_got got = s->class_first[cls] ? GPU_GOT : page_make(s, cls, chunk);
    gpu_ref more[GPU_CACHED / 2];
    unsigned n = 0;
    if (got == GPU_GOT) {
        *ref = page_take(s, cls);
        while (n < GPU_CACHED / 2 && s->class_first[cls] && gpu_class_bytes(cls) <= 65536)
            more[n++] = page_take(s, cls);
    }
    gpu_unlock(&s->lock);
    while (n > 0)
        if (!shard_put(shard, cls, more[--n])) {
            gpu_lock(&s->lock);
            page_put(s, more[n]);
            gpu_unlock(&s->lock);
        }
    return got;
}

/* ---- large runs -------------------------------------------------------------------------------------- */

static bool cached_run_take(struct gpu_seg *s, uint32_t n, gpu_ref *ref)
{
    for (uint32_t i = 0; i < s->runs_count; i++)
        if (s->runs[i].units == n) {
            *ref = gpu_ref_make(s->runs[i].unit, GPU_WHOLE);
            s->runs[i] = s->runs[--s->runs_count];
            s->runs_bytes -= (uint64_t)n << GPU_UNIT_SHIFT;
            return true;
        }
    return false;
}

static enum gpu_got large_take(struct gpu_seg *s, uint64_t bytes, gpu_ref *ref, uint32_t *chunk)
{
    uint64_t n = round_up(bytes, GPU_UNIT_BYTES) >> GPU_UNIT_SHIFT, start;
    if (n > s->unit_count)
        return GPU_IS_FULL;
    gpu_lock(&s->lock);
    enum gpu_got got = cached_run_take(s, (uint32_t)n, ref) ? GPU_GOT : GPU_IS_FULL;
    gpu_unlock(&s->lock);
    if (got == GPU_GOT)
        return got;
    got = run_take(s, (uint32_t)n, &start, chunk);
    if (got == GPU_GOT) {
        gpu_run_publish(s, start, (uint32_t)n, GPU_LARGE);
        *ref = gpu_ref_make(start, GPU_WHOLE);
    }
    return got;
}

/* A little of the device: what the same program asks for again and again. */
static bool cached_run_put(struct gpu_seg *s, gpu_ref ref)
{
    uint64_t bytes = gpu_ref_bytes(s, ref);
    if (s->runs_count == GPU_RUNS_CACHED ||
        s->runs_bytes + bytes > s->unit_count * GPU_UNIT_BYTES / 64)
        return false;
    s->runs[s->runs_count].unit = (uint32_t)gpu_ref_unit(ref);
    s->runs[s->runs_count++].units = (uint32_t)(bytes >> GPU_UNIT_SHIFT);
    s->runs_bytes += bytes;
    return true;
}

/* ---- allocating ----------------------------------------------------------------------------------------- */

enum gpu_got gpu_take(struct gpu_seg *s, uint64_t bytes, gpu_ref *ref, uint32_t *chunk)
{
    return bytes <= GPU_SMALL_MAX ? small_take(s, gpu_class_of(bytes), ref, chunk)
                                  : large_take(s, bytes, ref, chunk);
}

void gpu_start(struct gpu_seg *s, gpu_ref ref, uint64_t bytes, unsigned context)
{
    struct gpu_block *b = gpu_block_of(s, ref);
    uint64_t state = get(b->state);
    put(gpu_info, b->info, GPU_INFO(bytes, context, s->reclaim ? GPU_RECLAIM : 0));
    fetch_add(gpu_count, s->me->used[s->index], gpu_ref_bytes(s, ref));
    /* release: pairs with the acquire of who frees it; the info above is then the block's */
    put_release(gpu_live, b->state, GPU_WORD(GPU_LIVE, s->id, word_length(state) + 1));
}

static void put_back(struct gpu_seg *s, gpu_ref ref)
{
    if (is_whole(ref)) {
        gpu_lock(&s->lock);
        bool cached = cached_run_put(s, ref);
        gpu_unlock(&s->lock);
        if (!cached)
            gpu_run_release(s, gpu_ref_unit(ref));
        return;
    }
    if (shard_put(shard_of_thread(s), get(s->units[gpu_ref_unit(ref)].cls), ref))
        return;
    gpu_lock(&s->lock);
    page_put(s, ref);
    gpu_unlock(&s->lock);
}

void gpu_untake(struct gpu_seg *s, gpu_ref ref)
{
    put_back(s, ref);
}

/* ---- freeing ---------------------------------------------------------------------------------------------- */

static struct gpu_member *member_of(const struct gpu_seg *s, uint64_t id)
{
    uint32_t slot = member_slot(id);
    struct gpu_member *m = &s->members[slot];
    return id && slot < get(s->header->members_high) && get(m->id) == id ? m : NULL;
}

/* A block of ours is freed.  Whoever else freed it leaves the counting to us: counts that two
 * write would not survive one of them. */
static void count_freed(struct gpu_seg *s, gpu_ref ref, uint64_t maker)
{
    uint64_t bytes = gpu_ref_bytes(s, ref);
    if (maker == s->id)
        fetch_sub(gpu_count, s->me->used[s->index], bytes);
    else
        fetch_sub(gpu_count, s->device->kept, bytes);
    fetch_add(gpu_count, s->me->waiting[s->index], bytes);
}

/* A large block of an ended member becomes ours, to be freed. */
static bool large_adopt(struct gpu_seg *s, gpu_ref ref, uint64_t word)
{
    return is_whole(ref) && (enum gpu_unit_state)word_state(word) == GPU_LARGE &&
           s->life(s, word_member(word)) == GPU_ENDED &&
           cas(gpu_adopt, s->units[gpu_ref_unit(ref)].word, &word,
               GPU_WORD(GPU_LARGE, s->id, word_length(word)));
}

static enum gpu_freed hand_over(struct gpu_seg *s, gpu_ref ref, uint64_t state)
{
    struct gpu_block *b = gpu_block_of(s, ref);
    uint64_t word = get_acquire(s->units[gpu_ref_unit(ref)].word);
    if (word_member(word) == s->id || large_adopt(s, ref, word)) {
        if (!cas(gpu_wait, b->state, &state, state_as(state, GPU_WAIT)))
            return GPU_FREED_NOT;
        count_freed(s, ref, word_member(state));
        return GPU_FREED_OURS;
    }
    if (!cas(gpu_given, b->state, &state, state_as(state, GPU_GIVEN)))
        return GPU_FREED_NOT;
    struct gpu_member *owner = member_of(s, word_member(word));
    if (owner)
        put_release(gpu_pending, owner->pending[s->index], 1);
    return GPU_FREED_GIVEN;
}

/* Who frees says HELD and then looks for openers; who closes takes its entry away and then looks
 * for HELD.  With a full fence between, one of them sees the other. */
static enum gpu_freed free_exported(struct gpu_seg *s, gpu_ref ref, uint64_t state)
{
    uint64_t held = state_as(state, GPU_HELD);
    if (!cas(gpu_held, gpu_block_of(s, ref)->state, &state, held))
        return GPU_FREED_NOT;
    __atomic_thread_fence(__ATOMIC_SEQ_CST);
    if (gpu_is_open(s, ref))
        return GPU_FREED_HELD;
    enum gpu_freed freed = hand_over(s, ref, held);
    return freed == GPU_FREED_NOT ? GPU_FREED_HELD : freed; /* the last closer was faster */
}

enum gpu_freed gpu_free_block(struct gpu_seg *s, gpu_ref ref)
{
    struct gpu_block *b = gpu_block_of(s, ref);
    uint64_t state = get_acquire(b->state);
    if (block_state(state) != GPU_LIVE)
        return GPU_FREED_NOT;
    return gpu_info_flags(get(b->info)) & GPU_EXPORTED ? free_exported(s, ref, state)
                                                       : hand_over(s, ref, state);
}

void gpu_reuse(struct gpu_seg *s, gpu_ref ref)
{
    struct gpu_block *b = gpu_block_of(s, ref);
    uint64_t state = get(b->state);
    fetch_sub(gpu_count, s->me->waiting[s->index], gpu_ref_bytes(s, ref));
    put_release(gpu_free, b->state, GPU_WORD(GPU_FREE, 0, word_length(state)));
    put_back(s, ref);
}

/* ---- what others freed --------------------------------------------------------------------------------------- */

typedef void collect_fn(struct gpu_seg *s, gpu_ref ref, void *arg);

static void collect_block(struct gpu_seg *s, gpu_ref ref, collect_fn *each, void *arg)
{
    struct gpu_block *b = gpu_block_of(s, ref);
    uint64_t state = get_acquire(b->state);
    if (block_state(state) != GPU_GIVEN ||
        !cas(gpu_wait, b->state, &state, state_as(state, GPU_WAIT)))
        return;
    count_freed(s, ref, word_member(state));
    each(s, ref, arg);
}

void gpu_collect(struct gpu_seg *s, collect_fn *each, void *arg)
{
    if (!get(s->me->pending[s->index]))
        return;
    gpu_lock(&s->upkeep);
    swap(gpu_pending, s->me->pending[s->index], 0);
    for (uint64_t unit = 0; unit < s->unit_count;) {
        if (!s->usable[unit / s->chunk_units]) {
            unit = (unit / s->chunk_units + 1) * s->chunk_units;
            continue;
        }
        uint64_t word = get_acquire(s->units[unit].word);
        enum gpu_unit_state kind = (enum gpu_unit_state)word_state(word);
        bool ours = word_member(word) == s->id && (kind == GPU_PAGE || kind == GPU_LARGE);
        uint32_t cls = get(s->units[unit].cls), n = word_length(word);
        unsigned blocks = kind == GPU_PAGE && cls < CLASS_COUNT ? gpu_page_blocks(cls) : 1;
        for (unsigned i = 0; ours && i < blocks; i++)
            collect_block(s, gpu_ref_make(unit, kind == GPU_PAGE ? i : GPU_WHOLE), each, arg);
        unit += (kind == GPU_PAGE || kind == GPU_LARGE) && n ? n : 1;
    }
    gpu_unlock(&s->upkeep);
}

/* ---- giving back ------------------------------------------------------------------------------------------------- */

static void shards_empty(struct gpu_seg *s)
{
    for (unsigned i = 0; i < GPU_SHARDS; i++)
        for (unsigned cls = 0; cls < CLASS_COUNT; cls++)
            for (;;) {
                gpu_ref ref = shard_take(&s->shards[i], cls);
                if (ref == GPU_NO_REF)
                    break;
                page_put(s, ref);
            }
}

void gpu_trim(struct gpu_seg *s)
{
    gpu_lock(&s->lock);
    shards_empty(s);
    for (unsigned cls = 0; cls < CLASS_COUNT; cls++)
        for (uint32_t at = s->class_first[cls], next; at; at = next) {
            next = s->pages[at - 1].next;
            if (page_is_empty(&s->pages[at - 1]))
                page_give_back(s, at - 1);
        }
    while (s->runs_count)
        gpu_run_release(s, s->runs[--s->runs_count].unit);
    s->runs_bytes = 0;
    gpu_unlock(&s->lock);
}

/* ---- opened by others ----------------------------------------------------------------------------------------------- */

/* An entry names device, block and generation: that block and no later one at its place. */
static uint64_t open_entry(const struct gpu_seg *s, gpu_ref ref)
{
    return (uint64_t)s->index << 60 | (ref + 1);
}

bool gpu_open(struct gpu_seg *s, gpu_ref ref, uint64_t state)
{
    uint64_t entry = open_entry(s, ref), high = get(s->me->opens_high), free = high;
    struct gpu_block *b = gpu_block_of(s, ref);
    gpu_lock(&s->lock);
    for (uint64_t i = 0; i < high; i++)
        if (get(s->me->opens[i]) == 0)
            free = i;
    bool room = free < GPU_OPENS;
    if (room) {
        put(gpu_open, s->me->opens[free], entry);
        if (free == high)
            put_release(gpu_open, s->me->opens_high, high + 1);
    }
    gpu_unlock(&s->lock);
    if (!room)
        return false;
    __atomic_thread_fence(__ATOMIC_SEQ_CST);
    /* Freed just now, or a later block: we came too late. */
    if (get_acquire(b->state) == state)
        return true;
    gpu_close(s, ref);
    return false;
}

static bool entry_take(struct gpu_seg *s, uint64_t entry)
{
    bool found = false;
    gpu_lock(&s->lock);
    for (uint64_t i = 0; i < get(s->me->opens_high) && !found; i++)
        if (get(s->me->opens[i]) == entry) {
            put_release(gpu_open, s->me->opens[i], 0);
            found = true;
        }
    gpu_unlock(&s->lock);
    return found;
}

bool gpu_close(struct gpu_seg *s, gpu_ref ref)
{
    if (!entry_take(s, open_entry(s, ref)))
        return false;
    __atomic_thread_fence(__ATOMIC_SEQ_CST);
    uint64_t state = get_acquire(gpu_block_of(s, ref)->state);
    if (block_state(state) == GPU_HELD && !gpu_is_open(s, ref)) {
        if (hand_over(s, ref, state) == GPU_FREED_OURS)
            put_release(gpu_pending, s->me->pending[s->index], 1);
    }
    return true;
}

static bool member_has_open(const struct gpu_seg *s, const struct gpu_member *m, uint64_t entry)
{
    uint64_t high = get_acquire(m->opens_high);
    for (uint64_t i = 0; i < high && i < GPU_OPENS; i++)
        if (get_acquire(m->opens[i]) == entry)
            return s->life(s, get(m->id)) != GPU_ENDED;
    return false;
}

bool gpu_is_open(const struct gpu_seg *s, gpu_ref ref)
{
    uint64_t entry = open_entry(s, ref), high = get_acquire(s->header->members_high);
    for (uint64_t i = 0; i < high && i < MEMBER_MAX; i++)
        if (get_acquire(s->members[i].id) && member_has_open(s, &s->members[i], entry))
            return true;
    return false;
}

uint64_t gpu_used(const struct gpu_seg *s)
{
    uint64_t sum = get(s->device->kept), high = get_acquire(s->header->members_high);
    for (uint64_t i = 0; i < high && i < MEMBER_MAX; i++)
        if (get(s->members[i].id))
            sum += get(s->members[i].used[s->index]) + get(s->members[i].waiting[s->index]);
    return sum;
}
