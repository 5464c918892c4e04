/* hshm reclaim: put in order what died, free what ended members left. */
#include "allocators/chunk.h"
#include "allocators/gpu_look.h"
#include "allocators/recover.h"
#include "allocators/thread_cache.h"
#include "tool/join.h"
#include "tool/json.h"
#include "tool/tool.h"

#include <stdio.h>
#include <string.h>

struct result {
    const char *what;                  /* "reclaimed", "removed", "nothing to do", or why not */
    uint64_t gpu_bytes;                /* that the living members are told to free */
    uint64_t recovered, blocks, bytes; /* with -n: what would be */
    bool failed;
};

struct reclaim {
    bool dry, json, any_failed;
};

/* ---- as a member ------------------------------------------------------------------------ */

/* Of the slices of a chunk of ours, all but thread records are free? */
static bool chunk_is_empty(struct heap *h, uint64_t c)
{
    for (uint32_t i = 0; i < CHUNK_SLICES; i++) {
        uint32_t kind = get(h->slices[c * CHUNK_SLICES + i].kind);
        if (kind != SLICE_FREE && kind != SLICE_RECORDS)
            return false;
    }
    return true;
}

static void chunk_clear(struct heap *h, uint64_t c)
{
    for (uint32_t i = 0; i < CHUNK_SLICES; i++)
        put_release(slice_free, h->slices[c * CHUNK_SLICES + i].kind, SLICE_FREE);
    put_release(chunk_free_slices, h->chunks[c].free_slices, ~UINT64_C(0));
    chunk_release(h, (uint32_t)c);
}

/* We hold nothing that anybody needs: give the chunks back and the slot with them,
 * so that nobody has to recover us. */
static void retire(struct heap *h)
{
    uint64_t high = chunks_high(h), left = 0;
    struct guard g = heap_lock(h);
    for (uint64_t c = h->first_chunk; c < high; c++) {
        uint64_t word = get(h->chunks[c].word);
        if (word_state(word) == CHUNK_FREE || word_member(word) != h->member_id)
            continue;
        if (word_state(word) == CHUNK_OWNED && chunk_is_empty(h, c))
            chunk_clear(h, c);
        else
            left++;
    }
    heap_unlock(h, g);
    if (!left) {
        fetch_add(members_ended, h->header->members_ended, 1);
        put_release(member_state, h->me->state,
                    MEMBER_STATE(MEMBER_FREE, member_epoch(h->member_id), 0));
    }
}

static void reclaim_attached(const char *name, struct result *r)
{
    struct heap *h = segment_join_as(name, "hshm reclaim", &r->what);
    if (!h) {
        r->failed = true;
        return;
    }
    r->recovered = recover_dead(h, true);
    struct thread_cache *cache = cache_make(h);
    r->bytes = cache ? reclaim_kept(cache) : 0;
    if (cache)
        cache_end(cache);
    r->what = r->bytes || r->recovered ? "reclaimed" : "nothing to do";
    retire(h);
    segment_part(h);
}

/* ---- one segment ----------------------------------------------------------------------------- */

static bool outlived_boot(const struct view *v)
{
    uint64_t boot[2];
    os_boot_id(boot);
    return memcmp(boot, v->header.boot_id, sizeof boot) != 0;
}

static void reclaim_one(const char *name, const char *path, bool dry, struct result *r)
{
    static struct stats stats;
    struct check_result check;
    struct view v;
    r->what = "cannot be opened";
    if (!view_open_file(&v, path, &r->what)) {
        r->failed = true;
        return;
    }
    stats_collect(&v, &stats);
    bool gone = !v.wrong && !v.alive && (!v.header.persist || outlived_boot(&v));
    r->blocks = stats.kept.blocks + stats.dead.blocks;
    r->bytes = stats.kept.bytes + stats.dead.bytes;
    r->recovered = stats.dead_members;
    if (v.dumped) {
        r->what = "it is a dump, not a segment";
        r->failed = true;
    } else if (v.wrong || !check_segment(&v, NULL, NULL, &check)) {
        r->what = v.foreign ? v.wrong : "it is damaged: hshm check says how, hshm rm removes it";
        r->failed = true;
    } else if (gone) {
        r->bytes = stats.used.bytes;
        r->blocks = stats.used.blocks;
        r->what = dry ? "would be removed" : "removed";
        if (!dry && !segment_remove_if_idle(path, MEMBER_MAX))
            r->what = "somebody joined it just now";
    } else if (dry) {
        r->gpu_bytes = gpu_reclaim(&v, path, true);
        r->what =
            r->blocks || r->recovered || r->gpu_bytes ? "would be reclaimed" : "nothing to do";
    } else {
        reclaim_attached(name, r);
        r->gpu_bytes = r->failed ? 0 : gpu_reclaim(&v, path, false);
        if (r->gpu_bytes)
            r->what = "reclaimed";
    }
    view_close(&v);
}

static void tell(const char *name, const struct reclaim *k, const struct result *r)
{
    if (k->json) {
        json_open(NULL, '{');
        json_text("name", name);
        json_text("result", r->what);
        json_bool("failed", r->failed);
        json_bool("dry_run", k->dry);
        json_number("members_recovered", r->recovered);
        json_number("blocks", r->blocks);
        json_number("bytes", r->bytes);
        if (r->gpu_bytes)
            json_number("gpu_bytes", r->gpu_bytes);
        json_close();
    } else if (r->failed) {
        fail(0, "segment %s: %s", name, r->what);
    } else {
        printf("segment %s: %s", name, r->what);
        if (r->bytes || r->recovered)
            printf(", %s dead member%s, %s", text_count(r->recovered).at,
                   r->recovered == 1 ? "" : "s", text_bytes(r->bytes).at);
        if (r->gpu_bytes)
            printf(", %s on GPUs, which its members free next", text_bytes(r->gpu_bytes).at);
        putchar('\n');
    }
}

static void reclaim_named(const char *name, struct reclaim *k)
{
    struct result r = { 0 };
    char path[512];
    r.what = "it is no valid name";
    r.failed = !segment_find(name, path, sizeof path);
    if (!r.failed) {
        char file[sizeof path + 8];
        bool by_path = strncmp(name, "file:", 5) != 0 && strchr(name, '/');
        snprintf(file, sizeof file, "file:%s", path);
        reclaim_one(by_path ? file : name, path, k->dry, &r);
    }
    k->any_failed |= r.failed;
    tell(name, k, &r);
}

static void each(const struct segment_file *file, void *context)
{
    if (file->version == SEG_FORMAT)
        reclaim_named(file->name, context);
}

int verb_reclaim(int argc, char **argv)
{
    struct flags f;
    flags_read(argc, argv, &f);
    struct reclaim k = { .dry = flag(&f, 'n'), .json = flag(&f, 'j') };
    if (k.json)
        json_open(NULL, '[');
    if (!f.count)
        segments_each(each, &k);
    for (int i = 0; i < f.count; i++)
        reclaim_named(f.arguments[i], &k);
    if (k.json)
        json_close();
    return k.any_failed ? EXIT_NO : EXIT_OK;
}
