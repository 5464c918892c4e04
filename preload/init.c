/* init.c - from nothing to a heap, in the first call that needs one. */
#include "allocators/recover.h"
#include "allocators/segment.h"
#include "allocators/settings.h"
#include "allocators/thread_cache.h"
#include "config/log.h"
#include "gpu_hooks/resolve.h"
#include "preload/preload.h"

#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <link.h>
#include <pthread.h>
#include <sched.h>
#include <string.h>
#include <sys/auxv.h>
#include <unistd.h>

/* Before attach the slow path is reached through the ordinary checks: no
 * address is ours, and all lists of the empty cache are at offset 0, where
 * there is this word, as later the magic number: an odd one, the end of a
 * list. */
static const uint64_t empty_list = LIST_END;
struct heap main_heap AT_FORK(".data") = { .base = (char *)(uintptr_t)&empty_list,
                                           .head_mask = LIST_END };
struct thread_cache no_cache = { .record_off = HOME_NOBODY / 2,
                                 .friend_off = HOME_NOBODY / 2,
                                 .id = UINT64_MAX };

__thread struct thread_cache *tls_cache __attribute__((tls_model("initial-exec"))) = &no_cache;
__thread struct thread_state tls_state __attribute__((tls_model("initial-exec")));

enum preload_mode preload_mode = MODE_NEW;
const char *preload_program = "?";
bool preload_slow;

static struct heap_config config;
static pthread_key_t exit_key;
static bool exit_key_made;

/* ---- what we were started with ------------------------------------------------------- */

extern void *__libc_stack_end __attribute__((weak));
void __asan_init(void) __attribute__((weak));
void __tsan_init(void) __attribute__((weak));
void __msan_init(void) __attribute__((weak));

/* argc, argv and the environment lie where the kernel put them; libc's copies
 * may not be set yet. */
static char **start_vectors(const char **program)
{
    *program = "?";
    if (!&__libc_stack_end || !__libc_stack_end) { /* musl has set these by now */
        if (program_invocation_name)
            *program = program_invocation_name;
        return environ;
    }
    long argc = *(long *)__libc_stack_end;
    char **argv = (char **)__libc_stack_end + 1;
    if (argc > 0 && argv[0])
        *program = argv[0];
    return argv + argc + 1;
}

/* Programs overwrite their argv to set a title: keep a copy. */
static const char *copy_name(const char *path)
{
    static char name[64];
    size_t n = strlen(path);
    memcpy(name, path, n < sizeof name ? n : sizeof name - 1);
    return name;
}

static const char *last_part(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash ? slash + 1 : path;
}

/* ---- starting --------------------------------------------------------------------------- */

static void keep_message(const char *line)
{
    struct seg_member *me = main_heap.me;
    if (!me || main_heap.sealed)
        return;
    main_heap.sealed = main_heap.unusable; /* the line that said so is the last one kept */
    size_t n = strlen(line);
    memcpy(me->message, line, n < sizeof me->message ? n + 1 : sizeof me->message - 1);
}

static enum preload_mode attach(void)
{
    const char *why = "";
    settings_fill(&config, preload_program);
    if (config.name[0] && segment_attach(&main_heap, &config, &why)) {
        log_verbose("joined segment %s at %p as member %u", main_heap.name, (void *)main_heap.base,
                    member_slot(main_heap.member_id));
        return MODE_HEAP;
    }
    if (config.name[0]) {
        log_line("segment %s: %s; this program goes on with a private heap", config.name, why);
        if (option_number(OPT_STRICT))
            _exit(OPTIONS_EXIT_STATUS);
    }
    return segment_private(&main_heap, &config) ? MODE_HEAP : MODE_LIBC;
}

static enum preload_mode choose(void)
{
    char **env = start_vectors(&preload_program);
    preload_program = copy_name(last_part(preload_program));
    bool secure = getauxval(AT_SECURE) != 0;
    int complaints = options_init(env, preload_program, secure);
    if (complaints && option_number(OPT_STRICT))
        _exit(OPTIONS_EXIT_STATUS);
    if (secure || option_number(OPT_ALLOCATOR) == ALLOCATOR_MALLOC ||
        !options_cover_program(preload_program))
        return MODE_LIBC;
    if (__asan_init || __tsan_init || __msan_init) {
        if (option_text(OPT_SEGMENT)[0])
            log_line("a sanitizer is at work: its allocator serves, nothing is shared");
        return MODE_LIBC;
    }
    log_slot_hook = keep_message;
    return attach();
}

static void needs_slow_path(void)
{
    preload_slow = option_has_word(OPT_STATS, "calls") || option_number(OPT_MIN_BLOCK) ||
                   option_number(OPT_MAX_BLOCK) ||
                   option_number(OPT_ALLOCATOR) != ALLOCATOR_THREAD ||
                   option_number(OPT_CHECK) == CHECK_FULL || option_number(OPT_TRACE);
}

void preload_start(void)
{
    enum preload_mode seen = MODE_NEW;
    if (!__atomic_compare_exchange_n(&preload_mode, &seen, MODE_STARTING, false, __ATOMIC_ACQ_REL,
                                     __ATOMIC_ACQUIRE)) {
        while (!tls_state.starting &&
               __atomic_load_n(&preload_mode, __ATOMIC_ACQUIRE) == MODE_STARTING)
            sched_yield();
        return;
    }
    tls_state.starting = true;
    enum preload_mode mode = choose();
    needs_slow_path();
    tls_state.starting = false;
    __atomic_store_n(&preload_mode, mode, __ATOMIC_RELEASE);
    if (mode == MODE_HEAP && main_heap.shared) {
        gpu_hooks_on = option_number(OPT_GPU) != GPU_OFF;
        recover_dead(&main_heap, false);
    }
}

/* ---- threads -------------------------------------------------------------------------------- */

static void thread_ends(void *cache)
{
    (void)cache;
    struct thread_cache *tc = tls_state.own, *shared = tls_state.shared;
    tls_cache = &no_cache;
    tls_state.own = tls_state.shared = NULL;
    tls_state.ended = true;
    if (tc && tc->id)
        cache_end(tc);
    if (shared && shared->id)
        cache_end(shared);
}

static void watch_thread_end(struct thread_cache *tc)
{
    static int (*real_setspecific)(pthread_key_t, const void *);
    if (!exit_key_made)
        return;
    if (!real_setspecific)
        *(void **)&real_setspecific = real_symbol("pthread_setspecific");
    if (real_setspecific)
        real_setspecific(exit_key, tc);
}

/* A child that no wrapper saw (a raw clone): the kernel has wiped all that made
 * us a member. */
static bool rejoin(void)
{
    static uint32_t rejoining;
    if (__atomic_exchange_n(&rejoining, 1, __ATOMIC_ACQ_REL))
        return main_heap.mine->member_id == main_heap.member_id;
    bool joined = segment_rejoin(&main_heap, &config);
    log_line(joined ? "forked by a raw system call: this child shares its parent's heap and has a "
                      "place of its own"
                    : "forked by a raw system call: this child cannot join the segment");
    if (!joined)
        preload_mode = MODE_LIBC;
    __atomic_store_n(&rejoining, 0, __ATOMIC_RELEASE);
    return joined;
}

AT_FORK(".text") void member_identity_changed(void)
{
    tls_cache = &no_cache;
    tls_state.own = tls_state.shared = NULL;
    modes_after_fork();
    sigbus_after_fork();
}

struct thread_cache *cache_get(void)
{
    if (unlikely(preload_mode != MODE_HEAP)) {
        if (preload_mode == MODE_NEW || (preload_mode == MODE_STARTING && !tls_state.starting))
            preload_start();
        if (preload_mode != MODE_HEAP)
            return NULL;
    }
    if (unlikely(main_heap.mine->member_id != main_heap.member_id)) {
        if (!rejoin())
            return NULL;
        member_identity_changed();
    }
    struct thread_cache *tc = tls_state.own;
    if (likely(tc != NULL && tc->id != 0))
        return tc;
    if (unlikely(main_heap.asleep))
        member_wake(&main_heap);
    tc = cache_make(&main_heap);
    if (unlikely(!tc)) {
        heap_relieve(&main_heap);
        tc = cache_make(&main_heap);
    }
    if (!tc || tls_state.ended)
        return tc;
    tls_state.own = tc;
    if (!preload_slow && !tls_state.libc_depth)
        tls_cache = tc;
    watch_thread_end(tc);
    return tc;
}

void cache_put(struct thread_cache *tc)
{
    if (unlikely(tls_state.ended))
        cache_end(tc);
}

/* ---- for libhshm ------------------------------------------------------------------------------ */

static struct heap *table_heap(void)
{
    struct thread_cache *tc = cache_get();
    if (tc)
        cache_put(tc);
    return preload_mode == MODE_HEAP ? &main_heap : NULL;
}

static struct thread_cache *table_cache(void)
{
    struct thread_cache *tc = cache_get(); /* joins, and watches the thread's end */
    if (!tc || tls_state.ended)
        return NULL;
    if (!tls_state.shared || !tls_state.shared->id)
        tls_state.shared = cache_make_shared(&main_heap);
    return tls_state.shared;
}

/* What libhshm looks for, to use this heap and no second one. */
EXPORT const struct heap_table hshm_table_1 = { HEAP_TABLE_VERSION,
                                                sizeof(struct heap_table),
                                                sizeof(struct heap),
                                                sizeof(struct mine),
                                                sizeof(struct thread_cache),
                                                SEG_FORMAT,
                                                table_heap,
                                                table_cache,
                                                &config };

/* ---- constructor, destructor ------------------------------------------------------------------- */

/* Linked without the compiler's start files (see Makefile): what registers handlers asks for this.
 * We are never unloaded, so nobody compares it. */
void *__dso_handle __attribute__((weak, visibility("hidden")));

static __attribute__((constructor)) void preload_constructor(void)
{
    preload_start();
    if (preload_mode != MODE_HEAP)
        return;
    /* Now: the purge that uses it holds the lock, and who looks for a symbol may allocate. */
    *(void **)&os_madvise_hook = real_symbol("madvise");
    exit_key_made = pthread_key_create(&exit_key, thread_ends) == 0;
    if (tls_state.own)
        watch_thread_end(tls_state.own);
    fork_start();
    trace_start();
    report_start();
    dump_start();
    sigbus_start();
}

/* Nothing is torn down: code after us may still allocate.  Others only learn
 * that we are going, and the last one out takes the name away. */
static __attribute__((destructor)) void preload_destructor(void)
{
    if (preload_mode != MODE_HEAP)
        return;
    report_at_exit();
    struct thread_cache *tc = main_heap.check ? cache_get() : NULL;
    if (tc) {
        heap_settle(tc);
        cache_put(tc);
    }
    if (main_heap.shared)
        segment_leave(&main_heap);
}
