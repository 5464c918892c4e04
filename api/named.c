#include "allocators/names.h"
#include "api/array.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>

#define RESERVED    "hshm." /* names of our own, below the callers' */
#define HEADER_NAME RESERVED "header"

static bool is_reserved(const char *name)
{
    return strncmp(name, RESERVED, sizeof RESERVED - 1) == 0;
}

/* ---- making and finding ------------------------------------------------------------------ */

void *named_make(hshm_segment *segment, const char *name, size_t size, size_t align, uint64_t type,
                 unsigned flags, int *made)
{
    struct name_info info;
    bool new = false;
    struct hshm_segment *s = segment_get(segment);
    if (s && (!name || !size || align & (align - 1))) {
        fail(HSHM_EINVAL, "a named block has a name, a size, and an alignment of a power of two");
        return NULL;
    }
    if (s && s->array)
        return array_named(s, name, size, align, type, flags, made);
    struct thread_cache *tc = s ? thread_cache_of(s) : NULL;
    if (!tc)
        return NULL;
    for (long rc;;) {
        rc = name_create(tc, name, size, align, type, flags & HSHM_ALONE, &info, &new);
        if (rc == 0 && flags & HSHM_COUNTED)
            rc = name_ref(tc, info.entry, info.generation);
        if (rc == -ENOENT) /* removed just now */
            continue;
        if (rc == -ENOMEM)
            fail_memory(s, size);
        else if (rc < 0)
            fail_core(rc, name);
        if (rc < 0)
            return NULL;
        break;
    }
    if (made)
        *made = new;
    return info.at;
}

API void *hshm_named(hshm_segment *segment, const char *name, size_t size, size_t align,
                     uint64_t type, unsigned flags, int *made)
{
    if (name && is_reserved(name)) {
        fail(HSHM_EINVAL, "%s: names that begin with " RESERVED " are the library's own", name);
        return NULL;
    }
    return named_make(segment, name, size, align, type, flags, made);
}

API void *hshm_find(hshm_segment *segment, const char *name, size_t size, uint64_t type,
                    unsigned flags)
{
    struct name_info info;
    struct hshm_segment *s = segment_get(segment);
    if (!s)
        return NULL;
    if (s->array && !(flags & HSHM_COUNTED))
        return array_find(s, name, size, type);
    struct thread_cache *counted = flags & HSHM_COUNTED ? thread_cache_of(s) : NULL;
    if (!name || (flags & HSHM_COUNTED && !counted)) {
        if (!name)
            fail(HSHM_EINVAL, "no name");
        return NULL;
    }
    long rc = name_find(s->heap, name, size, type, counted, &info);
    if (rc < 0) {
        fail_core(rc, name);
        return NULL;
    }
    return info.at;
}

/* A block of our own, published; if somebody else's is there, it is dropped again. */
static bool publish_filled(struct hshm_segment *s, const char *name, const struct filling *how)
{
    struct name_info info;
    bool shared;
    struct thread_cache *tc = s->array ? NULL : thread_cache_of(s);
    void *p = tc || s->array ? block_alloc_aligned(s, how->align, how->size) : NULL;
    if (!p)
        return false;
    memset(p, 0, how->clear);
    how->fill(p, how);
    if (s->array) {
        int failed = array_publish(s, name, p, how->size, how->type);
        if (failed)
            block_free(p);
        return !failed || failed == HSHM_EEXIST;
    }
    long rc = name_publish(tc, name, p, how->size, how->type, &info, &shared);
    if (rc == 0)
        return true;
    block_free(p);
    if (rc != -EEXIST)
        fail_core(rc, name);
    return rc == -EEXIST;
}

void *named_filled(struct hshm_segment *segment, const char *name, const struct filling *how,
                   unsigned flags)
{
    struct hshm_segment *s = segment_get(segment);
    if (s && s->array) /* has no references */
        flags &= ~(unsigned)HSHM_COUNTED;
    for (void *p; s;) {
        if ((p = hshm_find(s, name, how->size, how->type, flags)))
            return p;
        if (hshm_error() != HSHM_ENOENT || !publish_filled(s, name, how))
            return NULL;
    }
    return NULL;
}

API void *hshm_find_wait(hshm_segment *segment, const char *name, size_t size, uint64_t type,
                         unsigned flags, int wait_ms)
{
    uint64_t start = os_boot_ns();
    for (unsigned wait_us = 20;; wait_us += wait_us < 2000 ? wait_us / 2 : 0) {
        void *p = hshm_find(segment, name, size, type, flags);
        if (p || hshm_error() != HSHM_ENOENT)
            return p;
        if (wait_ms >= 0 && os_boot_ns() - start >= (uint64_t)wait_ms * UINT64_C(1000000)) {
            fail(HSHM_EAGAIN, "%s: nobody made it in %d ms", name, wait_ms);
            return NULL;
        }
        os_sleep_us(wait_us);
    }
}

API int hshm_publish(const char *name, void *block, size_t size, uint64_t type, int *stays_shared)
{
    struct name_info info;
    bool shared = false;
    struct hshm_segment *s = segment_of_block(block);
    if (!s || !name || is_reserved(name))
        return fail(HSHM_EINVAL, "hshm_publish: a name, and a block of an open segment");
    if (s->array) {
        if (stays_shared)
            *stays_shared = !s->memory_is_ours;
        return array_publish(s, name, block, size, type);
    }
    struct thread_cache *tc = thread_cache_of(s);
    if (!tc)
        return hshm_error();
    long rc = name_publish(tc, name, block, size, type, &info, &shared);
    if (stays_shared)
        *stays_shared = shared;
    return rc < 0 ? fail_core(rc, name) : 0;
}

int named_remove(hshm_segment *segment, const char *name)
{
    struct hshm_segment *s = segment_get(segment);
    if (s && s->array)
        return array_unname(s, name);
    struct thread_cache *tc = s ? thread_cache_of(s) : NULL;
    if (!tc)
        return hshm_error();
    long rc = name_remove(tc, name);
    return rc < 0 ? fail_core(rc, name) : 0;
}

API int hshm_unname(hshm_segment *segment, const char *name)
{
    if (!name || is_reserved(name))
        return fail(HSHM_EINVAL, "hshm_unname: no name of yours");
    return named_remove(segment, name);
}

/* ---- references ----------------------------------------------------------------------------- */

/* The entry of a block that has, or had, a name. */
static uint32_t entry_of(struct heap *h, const void *block, uint32_t *generation)
{
    uint64_t seen;
    if (!block_word(h, off_of(h, block), &seen) || block_word_state(seen) != BLOCK_NAMED)
        return 0;
    *generation = entry_generation(get_acquire(entry_at(h, block_word_who(seen))->state));
    return block_word_who(seen);
}

API int hshm_named_ref(void *block)
{
    struct hshm_segment *s = segment_of_block(block);
    uint32_t generation, entry = s && !s->array ? entry_of(s->heap, block, &generation) : 0;
    if (!entry)
        return fail(HSHM_EINVAL, "hshm_named_ref: the block has no name");
    struct thread_cache *tc = thread_cache_of(s);
    if (!tc)
        return hshm_error();
    long rc = name_ref(tc, entry, generation);
    return rc < 0 ? fail_core(rc == -ENOENT ? -EINVAL : rc, "hshm_named_ref") : 0;
}

API int hshm_named_unref(void *block)
{
    struct hshm_segment *s = segment_of_block(block);
    uint32_t generation, entry = s && !s->array ? entry_of(s->heap, block, &generation) : 0;
    struct thread_cache *tc = entry ? thread_cache_of(s) : NULL;
    if (!entry || !tc || name_unref(tc, entry) < 0)
        return fail(HSHM_EINVAL, "hshm_named_unref: this member has no reference to the block");
    return 0;
}

/* ---- looking -------------------------------------------------------------------------------- */

static void info_fill(struct heap *h, const struct name_info *from, hshm_name_t *to)
{
    *to = (hshm_name_t){ .struct_size = sizeof *to,
                         .block = from->at,
                         .size = from->bytes,
                         .type = from->type,
                         .made_ns = from->made_ns,
                         .references = name_refs(h, from->entry) };
}

API int hshm_name_info(hshm_segment *segment, const char *name, hshm_name_t *info)
{
    struct name_info found;
    struct hshm_segment *s = segment_get(segment);
    if (!s)
        return hshm_error();
    if (!name || !info || info->struct_size < sizeof *info)
        return fail(HSHM_EINVAL, "hshm_name_info: a name, and struct_size");
    if (s->array)
        return array_name_info(s, name, info);
    segment_without_the_dead(s);
    long rc = name_find(s->heap, name, 0, 0, NULL, &found);
    if (rc < 0)
        return fail_core(rc, name);
    info_fill(s->heap, &found, info);
    return 0;
}

API int hshm_name_of(const void *block, char *name, size_t room)
{
    struct name_info info;
    char text[NAME_BYTES];
    struct hshm_segment *s = segment_of_block(block);
    if (!s || s->array || !name_of(s->heap, block, &info, text))
        return fail(HSHM_ENOENT, "the block has no name");
    if (strlen(text) >= room)
        return fail(HSHM_ESIZE, "the name has %zu bytes", strlen(text));
    strcpy(name, text);
    return 0;
}

struct names {
    struct heap *heap;
    int (*each)(const char *, const hshm_name_t *, void *);
    void *context;
    int rc;
};

static bool names_one(const char *name, const struct name_info *info, void *ctx)
{
    struct names *names = ctx;
    hshm_name_t told;
    if (is_reserved(name))
        return true;
    info_fill(names->heap, info, &told);
    names->rc = names->each(name, &told, names->context);
    return names->rc == 0;
}

API int hshm_names(hshm_segment *segment,
                   int (*each)(const char *name, const hshm_name_t *info, void *context),
                   void *context)
{
    struct hshm_segment *s = segment_get(segment);
    if (!s)
        return -1;
    if (s->array)
        return array_names(s, each, context);
    segment_without_the_dead(s);
    struct names names = { s->heap, each, context, 0 };
    names_each(s->heap, names_one, &names);
    return names.rc;
}

/* ---- handing over ----------------------------------------------------------------------------- */

API int hshm_give(void *block)
{
    struct hshm_segment *s = segment_of_block(block);
    if (!s)
        return fail(HSHM_EINVAL, "hshm_give: no block of an open segment");
    if (!thread_cache_of(s))
        return hshm_error();
    long rc = block_give(s->heap, block);
    return rc < 0 ? fail_core(rc, "hshm_give") : 0;
}

API int hshm_take(void *block)
{
    struct hshm_segment *s = segment_of_block(block);
    if (!s)
        return fail(HSHM_EINVAL, "hshm_take: no block of an open segment");
    if (!thread_cache_of(s))
        return hshm_error();
    long rc = block_take(s->heap, block);
    return rc < 0 ? fail_core(rc, "hshm_take") : 0;
}

/* ---- header and roots -------------------------------------------------------------------------- */

API void *hshm_header(hshm_segment *segment, size_t size)
{
    return size ? named_make(segment, HEADER_NAME, size, 64, 0, 0, NULL)
                : hshm_find(segment, HEADER_NAME, 0, 0, 0);
}

/* A root is a named block of one word: the offset of what it points to. */
static bool root_name(const char *name, char *to, size_t room)
{
    int n = name ? snprintf(to, room, RESERVED "root.%s", name) : -1;
    if (n > 0 && (size_t)n < room)
        return true;
    fail(HSHM_EINVAL, "a root has a name of at most 117 bytes");
    return false;
}

API int hshm_root_set(hshm_segment *segment, const char *name, const void *p)
{
    char full[NAME_BYTES];
    struct hshm_segment *s = segment_get(segment);
    if (!s || !root_name(name, full, sizeof full))
        return hshm_error();
    hshm_off_t off = hshm_off(s, p);
    if (p && !off)
        return fail(HSHM_EINVAL, "root %s: it would point out of its segment", name);
    uint64_t *root = named_make(s, full, sizeof *root, 0, 0, 0, NULL);
    if (!root)
        return hshm_error();
    __atomic_store_n(root, off, __ATOMIC_RELEASE);
    return 0;
}

API void *hshm_root_get(hshm_segment *segment, const char *name)
{
    char full[NAME_BYTES];
    struct hshm_segment *s = segment_get(segment);
    if (!s || !root_name(name, full, sizeof full))
        return NULL;
    uint64_t *root = hshm_find(s, full, sizeof *root, 0, 0);
    return root ? hshm_at(s, __atomic_load_n(root, __ATOMIC_ACQUIRE)) : NULL;
}
