#include "allocators/recover.h"
#include "allocators/settings.h"
#include "allocators/thread_cache.h"
#include "allocators/words.h"
#include "api/array.h"
#include "api/track.h"
#include "config/log.h"
#include "config/options.h"

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

/* Entries are changed under the lock; lookups read 'bases' without it. */
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct hshm_segment segments[SEGMENTS_MAX];
static struct hshm_segment *default_segment;
static uint64_t serials;

/* Open-addressed by base: 1024 places for 256 segments.  An entry of a closed one stays a
 * tombstone until its place is used again. */
#define PLACES    1024
#define TOMBSTONE UINT32_MAX
static struct {
    uint32_t base; /* >> SEGMENT_SHIFT; 0 never used */
    uint32_t index;
} places[PLACES];
static uint64_t window_sizes; /* bit n: some open segment has a window of 2^n bytes */

static uint32_t place_of(uint32_t base)
{
    return (uint32_t)(mix64(base) % PLACES);
}

struct hshm_segment *segment_at_base(uint32_t base)
{
    for (uint32_t i = place_of(base), n = 0; n < PLACES; i = (i + 1) % PLACES, n++) {
        uint32_t seen = __atomic_load_n(&places[i].base, __ATOMIC_ACQUIRE);
        if (seen == base)
            return &segments[places[i].index];
        if (!seen)
            return NULL;
    }
    return NULL;
}

/* Those that lie in arrays are few and anywhere: looked through, up to the last one. */
static struct hshm_segment *arrays[SEGMENTS_MAX];
static uint32_t arrays_high;

struct hshm_segment *segment_of_id(uint32_t id)
{
    if (likely(!(id & ARRAY_ID_BIT)))
        return segment_at_base(id);
    uint32_t high = __atomic_load_n(&arrays_high, __ATOMIC_ACQUIRE);
    for (uint32_t i = 0; i < high; i++) {
        struct hshm_segment *s = __atomic_load_n(&arrays[i], __ATOMIC_ACQUIRE);
        if (s && s->id == id)
            return s;
    }
    return NULL;
}

/* The smallest: one may lie in a block of another. */
static struct hshm_segment *array_of(const void *p)
{
    struct hshm_segment *best = NULL;
    uint32_t high = __atomic_load_n(&arrays_high, __ATOMIC_ACQUIRE);
    for (uint32_t i = 0; i < high; i++) {
        struct hshm_segment *s = __atomic_load_n(&arrays[i], __ATOMIC_ACQUIRE);
        if (s && off_of(s->heap, p) < s->fake.window &&
            (!best || s->fake.window < best->fake.window))
            best = s;
    }
    return best;
}

static void array_leave(const struct hshm_segment *s)
{
    for (uint32_t i = 0; i < arrays_high; i++)
        if (arrays[i] == s)
            __atomic_store_n(&arrays[i], NULL, __ATOMIC_RELEASE);
}

/* The one that the thread's last pointer lay in: of a segment that has no arrays in it. */
static __thread struct {
    uint64_t base, window, found_by;
    struct hshm_segment *segment;
} last_found;

static struct hshm_segment *found(struct hshm_segment *s)
{
    uint64_t found_by = __atomic_load_n(&s->found_by, __ATOMIC_ACQUIRE);
    if (s->has_arrays)
        return s;
    last_found.base = (uint64_t)(uintptr_t)s->heap->base;
    last_found.window = s->heap->header->window;
    last_found.found_by = found_by;
    last_found.segment = s;
    return s;
}

/* By its window; what lies in an array there is the array's. */
static struct hshm_segment *segment_around(const void *p)
{
    uint64_t sizes = __atomic_load_n(&window_sizes, __ATOMIC_ACQUIRE);
    for (; sizes; sizes &= sizes - 1) {
        uint64_t window = sizes & -sizes;
        struct hshm_segment *s =
            segment_at_base((uint32_t)(((uint64_t)(uintptr_t)p & -window) >> SEGMENT_SHIFT));
        if (s && s->heap->header->window == window)
            return s;
    }
    return NULL;
}

static struct hshm_segment *segment_search(const void *p)
{
    struct hshm_segment *s = array_of(p);
    if (!s)
        s = segment_around(p);
    return s ? found(s) : NULL;
}

struct hshm_segment *segment_of(const void *p)
{
    if (likely((uint64_t)(uintptr_t)p - last_found.base < last_found.window &&
               last_found.segment->found_by == last_found.found_by))
        return last_found.segment;
    return segment_search(p);
}

/* Lock held.  From now on nobody's last pointer tells that one lies in this segment. */
static void arrays_in(struct hshm_segment *s)
{
    s->has_arrays = true;
    __atomic_store_n(&s->found_by, ++serials, __ATOMIC_RELEASE);
}

/* Lock held. */
static void array_enter(struct hshm_segment *s)
{
    uint32_t i = 0;
    struct hshm_segment *array = array_of(s->array), *around = segment_around(s->array);
    if (array)
        arrays_in(array);
    if (around)
        arrays_in(around);
    while (arrays[i])
        i++;
    __atomic_store_n(&arrays[i], s, __ATOMIC_RELEASE);
    if (i >= arrays_high)
        __atomic_store_n(&arrays_high, i + 1, __ATOMIC_RELEASE);
}

/* A block of malloc's may be the first of the preload's segment that we are told of. */
struct hshm_segment *segment_of_block(const void *p)
{
    struct hshm_segment *s = segment_of(p);
    if (likely(s != NULL) || !p || __atomic_load_n(&default_segment, __ATOMIC_ACQUIRE) ||
        !preload_table())
        return s;
    hshm_default();
    return segment_of(p);
}

struct hshm_segment *segment_of_index(uint32_t index)
{
    return &segments[index];
}

API hshm_segment *hshm_segment_of(const void *p)
{
    return segment_of(p);
}

static uint32_t base_of(const struct hshm_segment *s)
{
    return (uint32_t)((uint64_t)(uintptr_t)s->heap->base >> SEGMENT_SHIFT);
}

/* Lock held. */
static void place_add(struct hshm_segment *s)
{
    uint32_t i = place_of(base_of(s));
    while (places[i].base && places[i].base != TOMBSTONE)
        i = (i + 1) % PLACES;
    places[i].index = s->index;
    __atomic_store_n(&places[i].base, base_of(s), __ATOMIC_RELEASE);
    __atomic_fetch_or(&window_sizes, s->heap->header->window, __ATOMIC_RELEASE);
}

static void place_remove(struct hshm_segment *s)
{
    for (uint32_t i = place_of(base_of(s)); places[i].base; i = (i + 1) % PLACES)
        if (places[i].base == base_of(s)) {
            __atomic_store_n(&places[i].base, TOMBSTONE, __ATOMIC_RELEASE);
            return;
        }
}

/* ---- the preload ------------------------------------------------------------------------- */

const struct heap_table *preload_table(void)
{
    static const struct heap_table *table;
    static bool looked;
    if (!__atomic_load_n(&looked, __ATOMIC_ACQUIRE)) {
        const struct heap_table *t = dlsym(RTLD_DEFAULT, "hshm_table_1");
        if (t && (t->version != HEAP_TABLE_VERSION || t->bytes != sizeof *t ||
                  t->heap_bytes != sizeof(struct heap) || t->mine_bytes != sizeof(struct mine) ||
                  t->cache_bytes != sizeof(struct thread_cache) || t->format != SEG_FORMAT)) {
            log_line("libhshm and libhshm_preload are of different releases: two heaps");
            t = NULL;
        }
        table = t;
        __atomic_store_n(&looked, true, __ATOMIC_RELEASE);
    }
    return table;
}

/* ---- opening ------------------------------------------------------------------------------- */

/* A child has a copy of private arrays, and of nobody who could leave their mutex. */
static void lock_on_fork(void)
{
    struct patience forever = { .wait_ms = -1 };
    pthread_mutex_lock(&lock);
    for (uint32_t i = 0; i < arrays_high; i++)
        if (arrays[i] && arrays[i]->memory_is_ours)
            mutex_take(&arrays[i]->array->mutex, &forever);
    track_lock();
}
static void unlock_after_fork(void)
{
    track_unlock();
    for (uint32_t i = 0; i < arrays_high; i++)
        if (arrays[i] && arrays[i]->memory_is_ours)
            mutex_leave(&arrays[i]->array->mutex);
    pthread_mutex_unlock(&lock);
}
static void begin_in_child(void)
{
    track_unlock();
    for (uint32_t i = 0; i < arrays_high; i++)
        if (arrays[i] && arrays[i]->memory_is_ours)
            hshm_mutex_init(&arrays[i]->array->mutex);
    pthread_mutex_unlock(&lock);
}

static __attribute__((constructor)) void start(void)
{
    pthread_atfork(lock_on_fork, unlock_after_fork, begin_in_child);
}

/* Others learn that we are going; code after us may still use the segments. */
static __attribute__((destructor)) void leave(void)
{
    for (uint32_t i = 0; i < SEGMENTS_MAX; i++)
        if (segments[i].serial && segments[i].heap == &segments[i].own &&
            !segments[i].own.read_only)
            segment_leave(&segments[i].own);
}

/* Lock held. */
static const struct heap_config *defaults(void)
{
    static struct heap_config config;
    if (config.program)
        return &config;
    const struct heap_table *table = preload_table();
    if (table && table->heap()) {
        config = *table->config;
        log_init(config.program);
    } else {
        options_init(environ, program_invocation_short_name, false);
        settings_fill(&config, program_invocation_short_name);
    }
    config.name = "";
    return &config;
}

static uint64_t asked_size; /* lock held */
static uint64_t limit_asked(uint64_t whole)
{
    (void)whole;
    return round_up(asked_size, OS_PAGE) < OS_PAGE * 256 ? OS_PAGE * 256
                                                         : round_up(asked_size, OS_PAGE);
}

static int why_code(const char *why)
{
    return why == segment_is_there                              ? HSHM_EEXIST
           : why == segment_is_none                             ? HSHM_ENOENT
           : why == segment_clashes                             ? HSHM_ECLASH
           : why == segment_is_unnamed                          ? HSHM_EINVAL
           : why == segment_no_permission                       ? HSHM_EPERM
           : why == segment_no_memory || why == segment_no_room ? HSHM_ENOMEM
                                                                : HSHM_EDAMAGED;
}

static struct hshm_segment *entry_unused(void)
{
    for (uint32_t i = 0; i < SEGMENTS_MAX; i++)
        if (!segments[i].serial) {
            segments[i] = (struct hshm_segment){ .index = i };
            return &segments[i];
        }
    return NULL;
}

/* Lock held; s->heap is attached. */
static void entry_open(struct hshm_segment *s, const char *name)
{
    snprintf(s->name, sizeof s->name, "%s", name);
    s->opens = 1;
    s->serial = s->found_by = ++serials;
    if (s->array) {
        s->id = s->array->id;
        s->check = s->array->check;
        array_enter(s);
        return;
    }
    s->id = base_of(s);
    s->check = (uint32_t)mix64(s->heap->header->created_ns ^ s->heap->header->link_key) | 1;
    for (uint32_t i = 0; i < arrays_high; i++)
        if (arrays[i] && off_of(s->heap, arrays[i]->array) < s->heap->header->window)
            arrays_in(s); /* the preload's, of which we are told only now */
    place_add(s);
}

static struct hshm_segment *entry_of_name(const char *name)
{
    for (uint32_t i = 0; i < SEGMENTS_MAX; i++)
        if (segments[i].serial && strcmp(segments[i].name, name) == 0)
            return &segments[i];
    return NULL;
}

/* The preload's heap, or that of HSHM_SEGMENT.  Lock held. */
static struct hshm_segment *default_open(void)
{
    const struct heap_table *table = preload_table();
    struct heap *heap = table ? table->heap() : NULL;
    struct hshm_segment *s;
    defaults(); /* and what we say has somewhere to go */
    if (heap && (s = entry_unused())) {
        s->heap = heap;
        s->is_default = true;
        entry_open(s, heap->name);
        default_segment = s;
        return s;
    }
    const char *why = NULL, *name = heap ? "" : option_text(OPT_SEGMENT);
    if (!name[0] || !(s = entry_unused()))
        return NULL;
    s->config = *defaults();
    snprintf(s->name, sizeof s->name, "%s", name);
    s->config.name = s->name;
    if (!segment_attach(&s->own, &s->config, &why)) {
        fail(why_code(why), "segment %s: %s", name, why);
        return NULL;
    }
    s->heap = &s->own;
    s->is_default = true;
    entry_open(s, name);
    default_segment = s;
    return s;
}

API hshm_segment *hshm_default(void)
{
    if (!__atomic_load_n(&default_segment, __ATOMIC_ACQUIRE)) {
        fail(HSHM_ENOENT, "there is no preload, and HSHM_SEGMENT names no segment");
        pthread_mutex_lock(&lock);
        if (!default_segment)
            default_open();
        pthread_mutex_unlock(&lock);
    }
    return default_segment;
}

struct hshm_segment *segment_get(struct hshm_segment *segment)
{
    if (!segment)
        segment = hshm_default();
    if (segment && unlikely(!segment->serial)) {
        fail(HSHM_EINVAL, "the segment is closed");
        return NULL;
    }
    return segment;
}

/* "malloc:NAME": an array of our own, of this process alone. */
static int open_malloc(struct hshm_segment *s, const hshm_attr_t *attr)
{
    size_t size = attr ? round_up(attr->size, OS_PAGE) : 0;
    if (!size || !(attr->flags & HSHM_CREATE))
        return fail(HSHM_EINVAL, "segment %s: a size, and HSHM_CREATE", s->name);
    void *memory = os_map(size, false);
    if (!memory)
        return fail(HSHM_ENOMEM, "segment %s: no %zu bytes", s->name, size);
    s->memory_is_ours = true;
    return array_attach(s, memory, size, HSHM_CREATE);
}

API int hshm_open_array(void *array, size_t size, unsigned flags, hshm_segment **segment)
{
    struct hshm_segment *s = NULL;
    char name[32];
    if (!array || (uintptr_t)array % 16 || !segment || size < ARRAY_LEAST || flags & ~HSHM_CREATE)
        return fail(HSHM_EINVAL, "hshm_open_array: an aligned array of %zu bytes at least",
                    (size_t)ARRAY_LEAST);
    pthread_mutex_lock(&lock);
    defaults(); /* what we say has somewhere to go */
    snprintf(name, sizeof name, "array:%p", array);
    int rc = entry_of_name(name)     ? fail(HSHM_EBUSY, "%s is open here", name)
             : !(s = entry_unused()) ? fail(HSHM_EFULL, "%u segments are open", SEGMENTS_MAX)
                                     : array_attach(s, array, size, flags);
    if (rc == 0) {
        entry_open(s, name);
        *segment = s;
    }
    pthread_mutex_unlock(&lock);
    return rc;
}

/* A file without a name has its descriptor for it: nobody needs that any more. */
static void close_nameless(const char *path, uint64_t device, uint64_t inode)
{
    int fd = -1;
    struct os_file file;
    if (sscanf(path, "/proc/self/fd/%d", &fd) == 1 && os_fstat(fd, &file) == 0 &&
        file.device == device && file.inode == inode)
        os_close(fd);
}

static bool is_memfd(const char *name)
{
    return strncmp(name, "memfd:", 6) == 0;
}

/* Whose addresses they are here. */
static int fail_clash(const struct hshm_segment *s)
{
    struct seg_header header = { 0 };
    char path[256] = "";
    segment_path(s->name, (uint64_t)os_euid(), path, sizeof path);
    long fd = os_open(path, O_RDONLY, 0);
    if (fd >= 0 && os_pread(fd, &header, sizeof header, 0) != (long)sizeof header)
        header.window = 0;
    if (fd >= 0)
        os_close(fd);
    return fail(HSHM_ECLASH, "segment %s: its addresses %p-%p are taken in this program", s->name,
                (void *)header.base, (void *)(header.base + header.window));
}

static bool attach(struct hshm_segment *s, const hshm_attr_t *attr, const char **why)
{
    unsigned flags = attr ? attr->flags : HSHM_CREATE;
    s->heap = &s->own;
    if (flags & HSHM_READ_ONLY)
        return segment_read(&s->own, s->name, why);
    s->config = *defaults();
    s->config.name = is_memfd(s->name) ? "memfd:" : s->name;
    s->config.how = !(flags & HSHM_CREATE)   ? SEGMENT_JOIN
                    : flags & HSHM_EXCLUSIVE ? SEGMENT_MAKE
                                             : SEGMENT_JOIN_OR_MAKE;
    if (attr && attr->size) {
        asked_size = attr->size;
        s->config.limit = limit_asked;
    }
    if (attr && attr->mode)
        s->config.mode = attr->mode;
    s->config.persist |= (flags & HSHM_PERSIST) != 0;
    s->config.reclaim = flags & HSHM_RECLAIM || (s->config.reclaim && !(flags & HSHM_KEEP));
    if (!segment_attach(&s->own, &s->config, why))
        return false;
    recover_dead(&s->own, false);
    return true;
}

/* Lock held. */
static int open_locked(const char *name, const hshm_attr_t *attr, hshm_segment **segment)
{
    struct hshm_segment *s;
    const char *why = NULL;
    if (!default_segment)
        default_open(); /* it may be the one that is asked for */
    if ((s = entry_of_name(name))) {
        if (attr && attr->flags & HSHM_EXCLUSIVE)
            return fail(HSHM_EEXIST, "segment %s is open here", name);
        s->opens++;
        *segment = s;
        return 0;
    }
    if (!(s = entry_unused()))
        return fail(HSHM_EFULL, "%u segments are open", SEGMENTS_MAX);
    if (strlen(name) >= sizeof s->name)
        return fail(HSHM_EINVAL, "segment %s: the name is too long", name);
    strcpy(s->name, name);
    if (strncmp(name, "malloc:", 7) == 0) {
        int rc = open_malloc(s, attr);
        if (rc)
            return rc;
    } else if (!attach(s, attr, &why)) {
        return why == segment_clashes ? fail_clash(s)
                                      : fail(why_code(why), "segment %s: %s", name, why);
    }
    entry_open(s, name);
    *segment = s;
    return 0;
}

/* ---- scope -------------------------------------------------------------------------------------- */

static int cpu_fact(unsigned cpu, const char *what)
{
    char path[96];
    int value = 0;
    snprintf(path, sizeof path, "/sys/devices/system/cpu/cpu%u/topology/%s", cpu, what);
    FILE *f = fopen(path, "r");
    if (f && fscanf(f, "%d", &value) != 1)
        value = 0;
    if (f)
        fclose(f);
    return value < 0 ? 0 : value;
}

static void bind_to_node(struct hshm_segment *s, unsigned cpu)
{
    for (unsigned node = 0; node < 64; node++) {
        char path[96];
        unsigned long mask = 1ul << node;
        snprintf(path, sizeof path, "/sys/devices/system/cpu/cpu%u/node%u", cpu, node);
        if (access(path, F_OK) == 0) /* a kernel without NUMA refuses, and has one node anyway */
            syscall(SYS_mbind, s->heap->base, s->heap->header->window, 1 /* MPOL_PREFERRED */,
                    &mask, 65ul, 0);
    }
}

/* The segment of this processor's socket. */
static int open_on_socket(const char *name, const hshm_attr_t *attr, hshm_segment **segment)
{
    char full[208];
    int cpu = sched_getcpu();
    unsigned on = cpu < 0 ? 0 : (unsigned)cpu;
    int n = snprintf(full, sizeof full, "%s.socket%d", name, cpu_fact(on, "physical_package_id"));
    if (n < 0 || n >= (int)sizeof full)
        return fail(HSHM_EINVAL, "segment %s: the name is too long", name);
    int rc = open_locked(full, attr, segment);
    if (rc == 0 && !(*segment)->own.read_only)
        bind_to_node(*segment, on);
    return rc;
}

API int hshm_open(const char *name, const hshm_attr_t *attr, hshm_segment **segment)
{
    if (!name || !segment ||
        (attr && (attr->struct_size < sizeof *attr ||
                  (attr->flags & HSHM_EXCLUSIVE && !(attr->flags & HSHM_CREATE)) ||
                  (attr->flags & HSHM_READ_ONLY && attr->flags & HSHM_CREATE) ||
                  attr->scope > HSHM_SCOPE_SOCKET)))
        return fail(HSHM_EINVAL,
                    "hshm_open: a name, a place for the segment, and flags that agree");
    uint64_t start_ns = os_boot_ns();
    for (unsigned wait_us = 50;; wait_us += wait_us < 5000 ? wait_us / 2 : 0) {
        pthread_mutex_lock(&lock);
        int rc = attr && attr->scope == HSHM_SCOPE_SOCKET ? open_on_socket(name, attr, segment)
                                                          : open_locked(name, attr, segment);
        pthread_mutex_unlock(&lock);
        if (rc != HSHM_ENOENT || !attr || attr->wait_ms == 0)
            return rc;
        if (attr->wait_ms > 0 &&
            os_boot_ns() - start_ns >= (uint64_t)attr->wait_ms * UINT64_C(1000000))
            return fail(HSHM_EAGAIN, "segment %s: nobody made it in %d ms", name, attr->wait_ms);
        usleep(wait_us);
    }
}

/* Lock held. */
static void detach(struct hshm_segment *s)
{
    if (s->array) {
        array_leave(s);
        if (s->memory_is_ours)
            os_unmap(s->array, s->fake.window);
        return;
    }
    struct heap h = s->own;
    place_remove(s);
    thread_segment_closed(s);
    segment_detach(&s->own);
    if (is_memfd(s->name))
        close_nameless(h.path, h.device, h.inode);
}

API int hshm_close(hshm_segment *segment)
{
    if (!segment || !segment->serial)
        return fail(HSHM_EINVAL, "hshm_close: no open segment");
    pthread_mutex_lock(&lock);
    int rc = segment->is_default && segment->opens <= 1
                 ? fail(HSHM_EBUSY, "segment %s is the default one", segment->name)
                 : 0;
    if (rc == 0 && --segment->opens == 0) {
        segment->serial = segment->found_by = 0;
        detach(segment);
    }
    pthread_mutex_unlock(&lock);
    return rc;
}

/* ---- forks ------------------------------------------------------------------------------------- */

static bool rejoin(struct hshm_segment *s)
{
    pthread_mutex_lock(&lock);
    bool ours =
        s->heap->mine->member_id == s->heap->member_id || segment_rejoin(s->heap, &s->config);
    pthread_mutex_unlock(&lock);
    return ours;
}

bool segment_is_ours(struct hshm_segment *s)
{
    if (likely(s->heap->mine->member_id == s->heap->member_id))
        return true;
    /* The preload sees to its own. */
    return s->heap == &s->own && rejoin(s);
}

void segment_without_the_dead(struct hshm_segment *s)
{
    if (!s->heap->read_only && segment_is_ours(s))
        recover_sometimes(s->heap);
}

/* ---- looking and removing ------------------------------------------------------------------------ */

API int hshm_remove(const char *name)
{
    char path[256];
    if (!name || !segment_path(name, (uint64_t)os_euid(), path, sizeof path))
        return fail(HSHM_EINVAL, "hshm_remove: no name");
    if (access(path, F_OK) != 0)
        return fail(HSHM_ENOENT, "segment %s: there is none", name);
    return segment_remove_if_idle(path, MEMBER_MAX)
               ? 0
               : fail(HSHM_EBUSY, "segment %s: somebody lives in it", name);
}

struct list {
    int (*each)(const char *, void *);
    void *context;
    char prefix[32];
    int rc;
};

static bool list_each(const char *name, void *ctx)
{
    struct list *list = ctx;
    size_t n = strlen(list->prefix);
    if (strncmp(name, list->prefix, n) == 0)
        list->rc = list->each(name + n, list->context);
    return list->rc == 0;
}

API int hshm_list(int (*each)(const char *name, void *context), void *context)
{
    struct list list = { .each = each, .context = context };
    snprintf(list.prefix, sizeof list.prefix, SEGMENT_PREFIX "%lu-", (unsigned long)os_euid());
    os_list(SEGMENT_DIR, list_each, &list);
    return list.rc;
}

static unsigned members_alive(struct heap *h)
{
    unsigned n = 0;
    long fd = os_open(h->path, O_RDWR, 0);
    if (fd < 0)
        return 1;
    uint64_t high = get(h->header->members_high);
    for (uint64_t slot = 0; slot < high && slot < MEMBER_MAX; slot++)
        n += os_lock_held(fd, LOCK_MEMBER(slot));
    os_close(fd);
    return n;
}

API int hshm_info(hshm_segment *segment, hshm_info_t *info)
{
    struct hshm_segment *s = segment_get(segment);
    if (!s)
        return hshm_error();
    if (!info || info->struct_size < sizeof *info)
        return fail(HSHM_EINVAL, "hshm_info: struct_size is not set");
    struct heap *h = s->heap;
    if (s->array) {
        *info = (hshm_info_t){ .struct_size = sizeof *info,
                               .name = s->name,
                               .base = s->array,
                               .window = s->fake.window,
                               .limit = s->fake.limit,
                               .member = 1,
                               .members = 1,
                               .is_private = s->memory_is_ours };
        return 0;
    }
    *info = (hshm_info_t){ .struct_size = sizeof *info,
                           .name = s->name,
                           .base = h->base,
                           .window = h->header->window,
                           .limit = h->header->limit,
                           .mode = h->header->mode,
                           .member = h->read_only ? 0 : member_slot(h->member_id) + 1,
                           .members = h->shared ? members_alive(h) : 1,
                           .is_default = s->is_default,
                           .is_private = !h->shared,
                           .is_read_only = h->read_only,
                           .is_persistent = h->header->persist != 0 };
    return 0;
}
