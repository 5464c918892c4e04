#include "allocators/in_hand.h"
#include "allocators/sound.h"

#include <fcntl.h>

struct search {
    long fd;
    uint64_t member, from, to;
    struct hands *hands;
};

/* Through the file: the record's owner may end meanwhile and its memory be given
 * back, and to read a hole where it is mapped would fill it. */
static uint64_t step_read(struct heap *h, const struct search *s, uint64_t record)
{
    uint64_t at = record + offsetof(struct thread_record, step), what = 0;
    if (s->fd < 0)
        return get_acquire(((struct inflight *)at_off(h, at))->what);
    return os_pread(s->fd, &what, sizeof what, at) == (long)sizeof what ? what : 0;
}

static bool is_searched(struct heap *h, const struct search *s, uint64_t what)
{
    uint64_t off = what & ~UINT64_C(15), c = off >> CHUNK_SHIFT;
    enum inflight_phase phase = (enum inflight_phase)(what & 15);
    return (phase == INFLIGHT_MINE || phase == INFLIGHT_LINKED) && off >= s->from && off < s->to &&
           (!s->member || (c < h->chunk_count && word_member(get(h->chunks[c].word)) == s->member));
}

static void slice_search(struct heap *h, const struct search *s, struct slice *d)
{
    uint32_t count = get_acquire(d->capacity);
    for (uint32_t i = 0; i < count && i < RECORDS_PER_SLICE; i++) {
        uint64_t what = step_read(h, s, slice_off(h, d) + i * sizeof(struct thread_record));
        if (!is_searched(h, s, what))
            continue;
        if (s->hands->count == HANDS_MAX)
            s->hands->more = true;
        else
            s->hands->off[s->hands->count++] = what & ~UINT64_C(15);
    }
}

void hands_collect(struct heap *h, long fd, uint64_t member, uint64_t from, uint64_t to,
                   struct hands *hands)
{
    bool opens = fd < 0 && h->can_open;
    struct search s = { opens ? os_open(h->path, O_RDONLY, 0) : fd, member, from, to, hands };
    uint64_t high = chunks_high(h);
    hands->count = 0;
    hands->more = false;
    for (uint64_t c = h->first_chunk; c < high; c++)
        for (uint32_t i = 0;
             word_state(get_acquire(h->chunks[c].word)) == CHUNK_OWNED && i < CHUNK_SLICES; i++) {
            struct slice *d = &h->slices[c * CHUNK_SLICES + i];
            if (get_acquire(d->kind) == SLICE_RECORDS)
                slice_search(h, &s, d);
        }
    if (opens && s.fd >= 0)
        os_close(s.fd);
}

bool hands_any(const struct hands *hands, uint64_t from, uint64_t to)
{
    for (uint32_t i = 0; i < hands->count; i++)
        if (hands->off[i] >= from && hands->off[i] < to)
            return true;
    return hands->more;
}
