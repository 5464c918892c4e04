/* malloc before main, after it, and at the ends of threads. */
#include "tests/process/expect.h"

#include <dlfcn.h>
#include <malloc.h>
#include <pthread.h>
#include <stdbool.h>

/* ---- before constructors, after destructors ------------------------------------- */

static char *from_preinit, *from_constructor;
static bool speak_at_the_end;

static void before_all(void)
{
    from_preinit = malloc(1000);
    memset(from_preinit, 1, 1000);
    for (int i = 0; i < 100; i++)
        free(malloc((size_t)i * 1000));
}
__attribute__((section(".preinit_array"), used)) static void (*preinit[])(void) = { before_all };

__attribute__((constructor(101))) static void early(void)
{
    from_constructor = calloc(1, 100000);
    from_preinit = realloc(from_preinit, 5000);
}

static void use_the_heap(void)
{
    char *p[100];
    for (int i = 0; i < 100; i++) {
        expect((p[i] = malloc((size_t)i * 999)));
        memset(p[i], i, (size_t)i * 999);
        expect((p[i] = realloc(p[i], (size_t)i * 1999 + 1)));
    }
    for (int i = 0; i < 100; i++)
        free(p[i]);
}

__attribute__((destructor(101))) static void late(void)
{
    use_the_heap();
    free(from_constructor);
    if (speak_at_the_end && write(1, "destructor\n", 11) < 0)
        _exit(3);
}

static void at_exit(void)
{
    use_the_heap();
    if (write(1, "atexit\n", 7) < 0)
        _exit(3);
}

static void calls_before_constructors_and_after_destructors_work(void)
{
    expect(from_preinit && from_preinit[999] == 1 && from_constructor && !from_constructor[99999]);
    expect(is_heap(from_preinit) && is_heap(from_constructor));
    free(from_preinit);
    speak_at_the_end = true;
    atexit(at_exit);
}

/* ---- ends of threads ------------------------------------------------------------------ */

static pthread_key_t key;
static int destructors;

static void on_end(void *value)
{
    free(value);
    use_the_heap();
    __atomic_fetch_add(&destructors, 1, __ATOMIC_RELAXED);
    static __thread int again;
    if (again++ < 3)
        pthread_setspecific(key, malloc(100));
}

static void *with_specific(void *none)
{
    pthread_setspecific(key, malloc(64));
    use_the_heap();
    return none;
}

static void in_thread(void *(*run)(void *), void *arg)
{
    pthread_t t;
    expect(pthread_create(&t, NULL, run, arg) == 0);
    expect(pthread_join(t, NULL) == 0);
}

static size_t in_use(void)
{
    struct mallinfo2 m = mallinfo2();
    return m.uordblks + m.hblkhd;
}

static void destructors_of_thread_specific_data_may_malloc(void)
{
    expect(pthread_key_create(&key, on_end) == 0);
    in_thread(with_specific, NULL);
    size_t before = in_use();
    for (int i = 0; i < 30; i++)
        in_thread(with_specific, NULL);
    expect(destructors == 31 * 4);
    expect(in_use() < before + 10000);
}

/* All keys there are: ours must not be among those that cannot be had. */
static void *leave_blocks_free(void *none)
{
    for (int i = 0; i < 1000; i++)
        free(malloc(1000));
    return none;
}

static void a_program_may_use_every_key(void)
{
    pthread_key_t k;
    int made = 0;
    while (pthread_key_create(&k, free) == 0) {
        pthread_setspecific(k, malloc(10));
        made++;
    }
    expect(made >= 1000);
    in_thread(leave_blocks_free, NULL);
    size_t before = mallinfo2().arena;
    for (int i = 0; i < 500; i++)
        in_thread(leave_blocks_free, NULL);
    expect(mallinfo2().arena < before + (4u << 20));
}

enum { LEFT = 2000 };
static char *left[LEFT];

static void *leave_blocks(void *none)
{
    for (int i = 0; i < LEFT; i++) {
        size_t n = (size_t)i * 37 % 5000 + 16;
        left[i] = malloc(n);
        memset(left[i], i & 127, n);
    }
    return none;
}

static void *free_blocks(void *none)
{
    for (int i = 0; i < LEFT; i++) {
        size_t n = (size_t)i * 37 % 5000 + 16;
        for (size_t at = 0; at < n; at++)
            expect(left[i][at] == (i & 127));
        free(left[i]);
    }
    return none;
}

static void blocks_outlive_their_thread_and_are_freed_by_another(void)
{
    in_thread(leave_blocks, NULL);
    in_thread(free_blocks, NULL);
    size_t used = in_use(), held = mallinfo2().arena;
    for (int i = 0; i < 50; i++) {
        in_thread(leave_blocks, NULL);
        if (i % 2)
            in_thread(free_blocks, NULL);
        else
            free_blocks(NULL);
    }
    expect(in_use() < used + 20000); /* glibc keeps a stack or two */
    expect(mallinfo2().arena < held + (16u << 20));
}

static void *brief(void *n)
{
    char *p = malloc((size_t)(uintptr_t)n % 3000 + 1), *q = malloc(100);
    expect(p && q);
    free(p);
    return q;
}

static void threads_come_and_go_and_memory_stays_flat(void)
{
    int count = atoi(getenv("COUNT") ? getenv("COUNT") : "1000");
    size_t held = 0, used = 0;
    for (int i = 0; i < count; i += 8) {
        pthread_t t[8];
        for (int k = 0; k < 8; k++)
            expect(pthread_create(&t[k], NULL, brief, (void *)(uintptr_t)(i + k)) == 0);
        for (int k = 0; k < 8; k++) {
            void *q;
            expect(pthread_join(t[k], &q) == 0);
            free(q);
        }
        if (i == 200) {
            held = mallinfo2().arena;
            used = in_use();
        }
    }
    expect(mallinfo2().arena < held + (1u << 20));
    expect(in_use() < used + 20000);
}

/* ---- libraries --------------------------------------------------------------------------- */

static void *open_library(const char *name, int mode)
{
    char path[600];
    char here[512];
    ssize_t n = readlink("/proc/self/exe", here, sizeof here - 1);
    expect(n > 0);
    here[n] = '\0';
    *strrchr(here, '/') = '\0';
    snprintf(path, sizeof path, "%s/%s", here, name);
    void *library = dlopen(path, mode);
    if (!library)
        dprintf(2, "%s\n", dlerror());
    expect(library);
    return library;
}

static void exchange_blocks(void *library)
{
    void *(*make)(size_t);
    void (*drop)(void *);
    *(void **)&make = dlsym(library, "library_make");
    *(void **)&drop = dlsym(library, "library_drop");
    expect(make && drop);
    for (size_t n = 1; n < 1u << 20; n = n * 3 + 1) {
        char *p = make(n);
        expect(is_heap(p));
        memset(p, 5, n);
        free(p);
        p = malloc(n);
        memset(p, 5, n);
        drop(p);
    }
}

static void libraries_come_and_go(void)
{
    for (int i = 0; i < 100; i++) {
        void *library = open_library("lib_blocks.so", RTLD_NOW);
        exchange_blocks(library);
        expect(dlclose(library) == 0);
    }
    size_t used = in_use();
    for (int i = 0; i < 100; i++)
        expect(dlclose(open_library("lib_blocks.so", RTLD_LAZY)) == 0);
    expect(in_use() < used + 10000);
}

static void a_library_bound_deeply_uses_the_same_heap(void)
{
    exchange_blocks(open_library("lib_blocks.so", RTLD_NOW | RTLD_DEEPBIND));
}

static void *use_tls(void *library)
{
    char *(*tls)(void);
    *(void **)&tls = dlsym(library, "library_tls");
    char *area = tls();
    for (int i = 0; i < 100000; i++)
        expect(area[i] == 0);
    memset(area, 1, 100000);
    use_the_heap();
    return NULL;
}

static void large_thread_local_storage_works(void)
{
    void *library = open_library("lib_tls.so", RTLD_NOW);
    use_tls(library);
    for (int i = 0; i < 20; i++)
        in_thread(use_tls, library);
    expect(dlclose(library) == 0);
}

/* A second C library, in a namespace of its own, has a malloc of its own. */
static void pointers_of_another_namespace_are_foreign(void)
{
    void *other = dlmopen(LM_ID_NEWLM, "libc.so.6", RTLD_NOW);
    expect(other);
    void *(*its_malloc)(size_t);
    char *(*its_strdup)(const char *);
    *(void **)&its_malloc = dlsym(other, "malloc");
    *(void **)&its_strdup = dlsym(other, "strdup");
    char *p = its_strdup("text"), *q = its_malloc(100);
    expect(p && q && strcmp(p, "text") == 0 && !is_heap(p));
    use_the_heap();
}

static const struct check checks[] = {
    CHECK(calls_before_constructors_and_after_destructors_work),
    CHECK(destructors_of_thread_specific_data_may_malloc),
    CHECK(a_program_may_use_every_key),
    CHECK(blocks_outlive_their_thread_and_are_freed_by_another),
    CHECK(threads_come_and_go_and_memory_stays_flat),
    CHECK(libraries_come_and_go),
    CHECK(a_library_bound_deeply_uses_the_same_heap),
    CHECK(large_thread_local_storage_works),
    CHECK(pointers_of_another_namespace_are_foreign),
};

int main(int argc, char **argv)
{
    return RUN_CHECKS(checks, argc, argv);
}
