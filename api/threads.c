/* What each thread has of each open segment. */
#include "allocators/alloc.h"
#include "allocators/settings.h"
#include "allocators/thread_cache.h"
#include "api/api.h"

#include <pthread.h>

struct caches {
    struct {
        struct thread_cache *cache;
        uint64_t serial; /* of the opening that it belongs to */
    } of[SEGMENTS_MAX];
};

static __thread struct caches *caches;
static pthread_key_t key;
static pthread_once_t key_once = PTHREAD_ONCE_INIT;

static void thread_ends(void *ctx)
{
    struct caches *mine = ctx;
    for (uint32_t i = 0; i < SEGMENTS_MAX; i++) {
        struct thread_cache *tc = mine->of[i].cache;
        struct hshm_segment *s = segment_of_index(i);
        if (tc && s->serial == mine->of[i].serial && tc->id)
            cache_end(tc);
    }
    caches = NULL;
    os_unmap(mine, round_up(sizeof *mine, OS_PAGE));
}

static void key_make(void)
{
    pthread_key_create(&key, thread_ends);
}

static struct thread_cache *cache_find(struct hshm_segment *s)
{
    if (!caches) {
        pthread_once(&key_once, key_make);
        caches = os_map(round_up(sizeof *caches, OS_PAGE), false);
        if (!caches)
            return NULL;
        pthread_setspecific(key, caches);
    }
    struct thread_cache *tc = caches->of[s->index].cache;
    if (tc && caches->of[s->index].serial == s->serial && tc->id)
        return tc;
    tc = cache_make_shared(s->heap);
    if (!tc) {
        heap_relieve(s->heap);
        tc = cache_make_shared(s->heap);
    }
    caches->of[s->index].cache = tc;
    caches->of[s->index].serial = s->serial;
    return tc;
}

struct thread_cache *thread_cache_of(struct hshm_segment *s)
{
    struct thread_cache *tc = NULL;
    if (s->heap->read_only) {
        if (s->array)
            fail(HSHM_EINVAL, "%s is an array: it has no members", s->name);
        else
            fail(HSHM_EREADONLY, "segment %s is open for reading only", s->name);
        return NULL;
    }
    if (s->heap != &s->own)
        tc = preload_table()->cache();
    else if (segment_is_ours(s))
        tc = cache_find(s);
    if (!tc)
        fail_memory(s, sizeof(struct thread_record));
    return tc;
}

void thread_segment_closed(struct hshm_segment *s)
{
    if (caches && caches->of[s->index].cache && caches->of[s->index].serial == s->serial)
        caches->of[s->index].cache = NULL;
}
