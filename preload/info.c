/* info.c - what programs ask about their heap, and the report at exit. */
#include "allocators/adopt.h"
#include "allocators/page.h"
#include "preload/libc.h"
#include "preload/preload.h"

#include <errno.h>
#include <stdio.h>

static void usage_of_chunk(struct heap *h, uint32_t c, struct usage *u)
{
    for (uint32_t i = 0; i < CHUNK_SLICES; i++) {
        const struct slice *d = &h->slices[c * CHUNK_SLICES + i];
        if (get(d->kind) == SLICE_PAGE) {
            u->pages++;
            /* What others freed is not collected yet; an idle page is counted once more,
             * see cache_note_empty(). */
            uint32_t used = get(d->used),
                     free = remote_count(get(d->remote)) + !!(get(d->flags) & PAGE_IDLE);
            uint32_t n = used > free ? used - free : 0;
            u->used += (size_t)n * class_bytes(get(d->cls));
            u->blocks[get(d->cls)] += n;
        } else if (get(d->kind) == SLICE_LARGE) {
            u->large++;
            u->large_bytes += get(d->bytes);
            u->used += get(d->bytes);
        }
    }
}

/* Other threads go on meanwhile: the sums are those of no exact moment. */
struct usage usage_now(void)
{
    struct usage u = { 0 };
    struct heap *h = &main_heap;
    if (preload_mode != MODE_HEAP)
        return u;
    uint64_t high = chunks_high(h);
    for (uint64_t c = h->first_chunk; c < high; c++) {
        uint64_t word = get(h->chunks[c].word);
        if (word_member(word) != h->member_id)
            continue;
        u.held += (size_t)get(h->chunks[c].charged) * OS_PAGE;
        if (word_state(word) == CHUNK_OWNED) {
            usage_of_chunk(h, (uint32_t)c, &u);
            u.keep += (size_t)__builtin_popcountl(get(h->chunks[c].free_slices));
        } else if (word_state(word) == CHUNK_HUGE) {
            const struct slice *d = &h->slices[c * CHUNK_SLICES];
            u.large++;
            u.large_bytes += get(d->bytes);
            u.used += get(d->bytes);
        }
    }
    if (u.held < u.used)
        u.held = u.used;
    return u;
}

EXPORT struct mallinfo2 mallinfo2(void)
{
    struct usage u = usage_now();
    return (struct mallinfo2){
        .arena = u.held - u.large_bytes,
        .hblks = u.large,
        .hblkhd = u.large_bytes,
        .uordblks = u.used - u.large_bytes,
        .fordblks = u.held - u.used,
    };
}

static int clip(size_t n)
{
    return n > INT32_MAX ? INT32_MAX : (int)n;
}

struct mallinfo mallinfo(void);
EXPORT struct mallinfo mallinfo(void)
{
    struct mallinfo2 m = mallinfo2();
    return (struct mallinfo){
        .arena = clip(m.arena),
        .hblks = clip(m.hblks),
        .hblkhd = clip(m.hblkhd),
        .uordblks = clip(m.uordblks),
        .fordblks = clip(m.fordblks),
    };
}

/* Older names of glibc's. */
EXPORT struct mallinfo __libc_mallinfo(void) __attribute__((alias("mallinfo")));

/* Its parameters tune glibc's allocator; ours has none of them, and glibc too
 * answers 1 to those it does not know. */
EXPORT int mallopt(int parameter, int value)
{
    (void)parameter, (void)value;
    return 1;
}

EXPORT __typeof__(mallopt) __libc_mallopt ALIAS_OF(mallopt);

EXPORT int malloc_trim(size_t pad)
{
    (void)pad;
    struct thread_cache *tc = cache_get();
    if (!tc)
        return 0;
    int saved = errno;
    tls_state.busy++;
    bool gave = heap_trim(tc);
    tls_state.busy--;
    errno = saved;
    cache_put(tc);
    return gave;
}

EXPORT void malloc_stats(void)
{
    struct usage u = usage_now();
    fprintf(stderr, "Segment %s:\nsystem bytes     = %10zu\nin use bytes     = %10zu\n",
            main_heap.name, u.held, u.used);
    fprintf(stderr, "large blocks     = %10zu\nlarge block bytes= %10zu\n", u.large, u.large_bytes);
}

EXPORT int malloc_info(int flags, FILE *to)
{
    if (flags != 0)
        return EINVAL;
    struct usage u = usage_now();
    fprintf(to,
            "<malloc version=\"hshm-1\">\n<heap nr=\"0\" name=\"%s\">\n"
            "<system type=\"current\" size=\"%zu\"/>\n<used size=\"%zu\"/>\n"
            "<large count=\"%zu\" size=\"%zu\"/>\n</heap>\n</malloc>\n",
            main_heap.name, u.held, u.used, u.large, u.large_bytes);
    return 0;
}
