#include "api/array.h"
#include "allocators/words.h"
#include "config/log.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

/* ---- the mutex --------------------------------------------------------------------------- */

/* False, and the error told: not got, or what a dead owner left cannot be mended. */
static bool enter(struct hshm_segment *s)
{
    struct array *a = s->array;
    struct patience forever = { .wait_ms = -1 };
    int rc = mutex_take(&a->mutex, &forever);
    if (rc == EOWNERDEAD && array_blocks_mend(a))
        rc = 0;
    if (rc == EOWNERDEAD) {
        mutex_leave(&a->mutex);
        fail(HSHM_EDAMAGED, "array %s: its blocks are overwritten", s->name);
        return false;
    }
    if (rc)
        fail_taking(rc, "array's mutex");
    return rc == 0;
}

static void leave(struct hshm_segment *s)
{
    mutex_leave(&s->array->mutex);
}

/* ---- making and joining -------------------------------------------------------------------- */

static int make(struct array *a, size_t size)
{
    memset(a, 0, sizeof *a);
    os_random(&a->id, sizeof a->id);
    os_random(&a->check, sizeof a->check);
    a->id |= ARRAY_ID_BIT;
    a->check |= 1;
    a->size = size;
    a->first = round_up(sizeof *a, 64);
    a->end = size & ~UINT64_C(15);
    array_blocks_make(a);
    int rc = hshm_mutex_init(&a->mutex);
    if (rc == 0)
        __atomic_store_n(&a->magic, ARRAY_MAGIC, __ATOMIC_RELEASE);
    return rc;
}

int array_attach(struct hshm_segment *s, void *memory, size_t size, unsigned flags)
{
    struct array *a = memory;
    int rc = flags & HSHM_CREATE ? make(a, size) : 0;
    if (rc)
        return rc;
    if (__atomic_load_n(&a->magic, __ATOMIC_ACQUIRE) != ARRAY_MAGIC)
        return fail(HSHM_ENOENT, "the array is no segment");
    if (a->size > size || a->end > a->size || a->first > a->end)
        return fail(HSHM_ESIZE, "the array was made with %lu bytes", (unsigned long)a->size);
    s->array = a;
    s->own.read_only = true; /* no member of it: what a heap is asked for is refused */
    s->fake.window = s->fake.limit = a->size;
    s->own.header = &s->fake;
    s->own.base = memory;
    s->heap = &s->own;
    return 0;
}

/* ---- blocks ---------------------------------------------------------------------------------- */

static void no_room(struct hshm_segment *s, size_t size)
{
    fail(HSHM_ENOMEM, "array %s: asked for %zu bytes, available %lu", s->name, size,
         (unsigned long)(s->array->end - s->array->first - s->array->used));
}

void *array_alloc(struct hshm_segment *s, size_t align, size_t size)
{
    if (!enter(s))
        return NULL;
    void *p = array_block_get(s->array, align, size);
    leave(s);
    if (!p)
        no_room(s, size);
    return p;
}

static void must_be_block(struct hshm_segment *s, const void *p, const char *call)
{
    if (!array_block_usable(s->array, p))
        log_abort("%s of a pointer to no block: %p, in array %s", call, p, s->name);
}

void array_free(struct hshm_segment *s, void *p, const char *call)
{
    if (!enter(s))
        return;
    must_be_block(s, p, call);
    array_block_put(s->array, p);
    leave(s);
}

void *array_realloc(struct hshm_segment *s, void *p, size_t size)
{
    if (!enter(s))
        return NULL;
    must_be_block(s, p, "hshm_realloc");
    size_t had = array_block_usable(s->array, p);
    void *q = array_block_resize(s->array, p, size) ? p : array_block_get(s->array, 16, size);
    if (q && q != p) {
        memcpy(q, p, size < had ? size : had);
        array_block_put(s->array, p);
    }
    leave(s);
    if (!q)
        no_room(s, size);
    return q;
}

size_t array_usable(struct hshm_segment *s, const void *p)
{
    size_t n = 0;
    if (enter(s)) {
        n = array_block_usable(s->array, p);
        leave(s);
    }
    return n;
}

/* ---- names: all with the mutex held, but for the last functions ------------------------------- */

static uint64_t *bucket_of(struct array *a, const char *name)
{
    uint64_t hash = UINT64_C(0xcbf29ce484222325);
    for (; *name; name++)
        hash = (hash ^ (unsigned char)*name) * UINT64_C(0x100000001b3);
    return &a->buckets[mix64(hash) % ARRAY_BUCKETS];
}

/* The word that says where the entry is; its 0: there is none. */
static uint64_t *name_link(struct array *a, const char *name)
{
    uint64_t *link = bucket_of(a, name);
    while (*link && strcmp(((struct array_name *)array_at(a, *link))->name, name) != 0)
        link = &((struct array_name *)array_at(a, *link))->next;
    return link;
}

static void *name_block(struct array *a, const char *name, size_t size, uint64_t type)
{
    uint64_t off = *name_link(a, name);
    const struct array_name *n = off ? array_at(a, off) : NULL;
    if (!n)
        fail_core(-ENOENT, name);
    else if (size && size != n->size)
        fail_core(-EMSGSIZE, name);
    else if (type && type != n->type)
        fail_core(-EPROTOTYPE, name);
    else
        return array_at(a, n->block);
    return NULL;
}

/* Linked last: who dies before leaves a block that nobody finds. */
static bool name_add(struct array *a, const char *name, void *block, size_t size, uint64_t type)
{
    struct array_name *n = array_block_get(a, 16, sizeof *n);
    uint64_t *bucket = bucket_of(a, name);
    if (!n)
        return false;
    *n = (struct array_name){ .next = *bucket,
                              .block = array_off(a, block),
                              .size = size,
                              .type = type,
                              .made_ns = os_now_ns() };
    strcpy(n->name, name);
    __atomic_store_n(bucket, array_off(a, n), __ATOMIC_RELEASE);
    a->names++;
    return true;
}

static bool is_name(const char *name)
{
    return name && name[0] && strlen(name) < sizeof((struct array_name *)0)->name;
}

void *array_find(struct hshm_segment *s, const char *name, size_t size, uint64_t type)
{
    if (!is_name(name))
        return fail_core(-EINVAL, "hshm_find"), NULL;
    if (!enter(s))
        return NULL;
    void *p = name_block(s->array, name, size, type);
    leave(s);
    return p;
}

static void *name_make(struct hshm_segment *s, const char *name, size_t size, size_t align,
                       uint64_t type)
{
    struct array *a = s->array;
    void *p = array_block_get(a, align, size);
    if (p && !name_add(a, name, p, size, type)) {
        array_block_put(a, p);
        p = NULL;
    }
    if (p)
        memset(p, 0, size);
    else
        no_room(s, size);
    return p;
}

void *array_named(struct hshm_segment *s, const char *name, size_t size, size_t align,
                  uint64_t type, unsigned flags, int *made)
{
    void *p = NULL;
    if (!is_name(name) || flags & HSHM_COUNTED) {
        fail(HSHM_EINVAL, "array %s: a name, and no references", s->name);
        return NULL;
    }
    if (!enter(s))
        return NULL;
    bool there = *name_link(s->array, name) != 0;
    if (there && flags & HSHM_ALONE)
        fail_core(-EEXIST, name);
    else
        p = there ? name_block(s->array, name, size, type) : name_make(s, name, size, align, type);
    leave(s);
    if (made)
        *made = p && !there;
    return p;
}

int array_publish(struct hshm_segment *s, const char *name, void *block, size_t size, uint64_t type)
{
    if (!is_name(name))
        return fail_core(-EINVAL, "hshm_publish");
    if (!enter(s))
        return hshm_error();
    struct array *a = s->array;
    size_t usable = array_block_usable(a, block);
    int rc = !usable || size > usable ? fail_core(-EINVAL, name)
             : *name_link(a, name)    ? HSHM_EEXIST
             : name_add(a, name, block, size ? size : usable, type)
                 ? 0
                 : fail(HSHM_ENOMEM, "array %s: no room for a name", s->name);
    leave(s);
    return rc == HSHM_EEXIST ? fail_core(-EEXIST, name) : rc;
}

int array_unname(struct hshm_segment *s, const char *name)
{
    if (!is_name(name))
        return fail_core(-EINVAL, "hshm_unname");
    if (!enter(s))
        return hshm_error();
    struct array *a = s->array;
    uint64_t *link = name_link(a, name), off = *link;
    if (off) { /* who dies after this leaves two blocks that nobody finds */
        struct array_name *n = array_at(a, off);
        __atomic_store_n(link, n->next, __ATOMIC_RELEASE);
        a->names--;
        array_block_put(a, array_at(a, n->block));
        array_block_put(a, n);
    }
    leave(s);
    return off ? 0 : fail_core(-ENOENT, name);
}

static hshm_name_t info_of(const struct array *a, const struct array_name *n)
{
    return (hshm_name_t){ .struct_size = sizeof(hshm_name_t),
                          .block = array_at(a, n->block),
                          .size = n->size,
                          .type = n->type,
                          .made_ns = n->made_ns };
}

int array_name_info(struct hshm_segment *s, const char *name, hshm_name_t *info)
{
    if (!is_name(name))
        return fail_core(-EINVAL, "hshm_name_info");
    if (!enter(s))
        return hshm_error();
    uint64_t off = *name_link(s->array, name);
    if (off)
        *info = info_of(s->array, array_at(s->array, off));
    leave(s);
    return off ? 0 : fail_core(-ENOENT, name);
}

/* The mutex is held while 'each' runs: it must not use the array. */
int array_names(struct hshm_segment *s,
                int (*each)(const char *name, const hshm_name_t *info, void *context),
                void *context)
{
    struct array *a = s->array;
    int rc = 0;
    if (!enter(s))
        return hshm_error();
    for (unsigned i = 0; i < ARRAY_BUCKETS && rc == 0; i++)
        for (uint64_t off = a->buckets[i]; off && rc == 0;) {
            const struct array_name *n = array_at(a, off);
            hshm_name_t info = info_of(a, n);
            off = n->next;
            if (strncmp(n->name, "hshm.", 5) != 0)
                rc = each(n->name, &info, context);
        }
    leave(s);
    return rc;
}

/* ---- statistics ------------------------------------------------------------------------------------ */

int array_stats(struct hshm_segment *s, hshm_stats_t *stats)
{
    struct array *a = s->array;
    if (!enter(s))
        return hshm_error();
    *stats = (hshm_stats_t){ .struct_size = sizeof *stats,
                             .limit = a->size,
                             .committed = a->size,
                             .available = a->end - a->first - a->used,
                             .blocks = a->count,
                             .bytes = a->used,
                             .names = a->names,
                             .members = 1,
                             .our_blocks = a->count,
                             .our_bytes = a->used,
                             .peak = a->peak,
                             .largest_free = array_largest(a) };
    leave(s);
    return 0;
}
