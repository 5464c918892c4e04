/* The edges of the malloc family, as a program sees them. */
#include "tests/process/expect.h"

#include <dlfcn.h>
#include <malloc.h>
#include <pthread.h>
#include <stdbool.h>

/* Through pointers that a compiler does not see through: it would reason, and clang 14 crash,
 * about alignments that are wrong on purpose. */
static void *(*volatile call_aligned_alloc)(size_t, size_t) = aligned_alloc;
static void *(*volatile call_memalign)(size_t, size_t) = memalign;
/* gcc knows that posix_memalign leaves errno alone, and does not look. */
static int (*volatile call_posix_memalign)(void **, size_t, size_t) = posix_memalign;
#define aligned_alloc(align, n)     call_aligned_alloc(align, n)
#define memalign(align, n)          call_memalign(align, n)
#define posix_memalign(p, align, n) call_posix_memalign(p, align, n)

void *reallocarray(void *, size_t, size_t);

static volatile size_t hide; /* keeps compilers from knowing sizes */
static char untouched;

static bool aligned_to(const void *p, size_t align)
{
    return (uintptr_t)p % align == 0;
}

/* ---- alignment, sizes --------------------------------------------------------- */

static void every_block_is_aligned_to_16(void)
{
    for (size_t n = 0; n < 70000; n += n < 2100 ? 1 : 97) {
        char *a = malloc(n), *b = calloc(1, n), *c = realloc(NULL, n + 1);
        expect(a && b && c && is_heap(a));
        expect(aligned_to(a, 16) && aligned_to(b, 16) && aligned_to(c, 16));
        c = realloc(c, n * 2 + 1);
        expect(c && aligned_to(c, 16));
        free(a), free(b), free(c);
    }
}

static void every_alignment_is_kept(void)
{
    static char *blocks[64];
    size_t have = 0;
    for (size_t align = 8; align <= (size_t)64 << 20; align *= 2)
        for (size_t n = 1; n <= 3u << 20; n = n * 7 + 3) {
            void *p = NULL;
            expect(posix_memalign(&p, align, n) == 0 && aligned_to(p, align));
            memset(p, 1, n);
            char *q = aligned_alloc(align, n), *r = memalign(align, n);
            expect(q && r && aligned_to(q, align) && aligned_to(r, align));
            q[n - 1] = r[n - 1] = 2;
            expect(malloc_usable_size(q) >= n);
            q = realloc(q, n + 100); /* may lose its alignment, not its bytes */
            expect(q && q[n - 1] == 2);
            free(q), free(r);
            free(blocks[have % 64]); /* keep some, so that they are not always the same */
            blocks[have++ % 64] = p;
        }
    size_t page = (size_t)getpagesize();
    char *v = valloc(10), *w = pvalloc(10), *x = pvalloc(page + 1), *y = pvalloc(0),
         *z = memalign(24, 5);
    expect(v && aligned_to(v, page) && w && aligned_to(w, page) && y && aligned_to(y, page));
    expect(malloc_usable_size(w) >= page && x && malloc_usable_size(x) >= 2 * page);
    expect(z && aligned_to(z, 32)); /* rounded up to a power of two */
    static void *rounded[200];
    for (size_t i = 0; i < 200; i++)
        expect((rounded[i] = memalign(40, 5 + i % 20 * 16)) && aligned_to(rounded[i], 64));
    for (size_t i = 0; i < 200; i++)
        free(rounded[i]);
    free(v), free(w), free(x), free(y), free(z);
}

static void wrong_alignments_are_refused(void)
{
    void *p = &untouched;
    errno = 7;
    expect(posix_memalign(&p, 3, 8) == EINVAL && posix_memalign(&p, 4, 8) == EINVAL);
    expect(posix_memalign(&p, 0, 8) == EINVAL && posix_memalign(&p, 24, 8) == EINVAL);
    expect(p == &untouched && errno == 7);
    errno = 0;
    expect(aligned_alloc(3, 8) == NULL && errno == EINVAL);
    errno = 0;
    expect(aligned_alloc(0, 8) == NULL && errno == EINVAL);
    errno = 0;
    expect(memalign(SIZE_MAX - hide, 8) == NULL && errno == EINVAL);
}

static void what_does_not_fit_fails_with_ENOMEM(void)
{
    static const size_t sizes[] = { SIZE_MAX,
                                    SIZE_MAX - 1,
                                    SIZE_MAX - 15,
                                    SIZE_MAX - 16,
                                    SIZE_MAX - 4095,
                                    SIZE_MAX - 4096,
                                    SIZE_MAX - 65535,
                                    (size_t)PTRDIFF_MAX + 1,
                                    (size_t)PTRDIFF_MAX + 17,
                                    (size_t)PTRDIFF_MAX,
                                    (size_t)PTRDIFF_MAX - 4096,
                                    (size_t)1 << 62,
                                    (size_t)1 << 48 };
    char *keep = malloc(100), *large = malloc(100000);
    void *out = &untouched;
    memset(keep, 'k', 100);
    memset(large, 'l', 100000);
#define FAILS(call) (errno = 0, (call) == NULL && errno == ENOMEM)
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        size_t n = sizes[i] - hide;
        expect(FAILS(malloc(n)));
        expect(FAILS(calloc(1, n)));
        expect(FAILS(calloc(n, 1)));
        expect(FAILS(calloc(n, 3)));
        expect(FAILS(realloc(NULL, n)));
        expect(FAILS(realloc(keep, n)));
        expect(FAILS(realloc(large, n)));
        expect(FAILS(reallocarray(NULL, n, 1)));
        expect(FAILS(reallocarray(keep, 2, n)));
        expect(FAILS(aligned_alloc(16, n)));
        expect(FAILS(aligned_alloc(64, n)));
        expect(FAILS(aligned_alloc(65536, n)));
        expect(FAILS(aligned_alloc((size_t)1 << 30, n)));
        expect(FAILS(memalign(16, n)));
        expect(FAILS(memalign(256, n)));
        expect(FAILS(memalign((size_t)1 << 40, n)));
        expect(FAILS(valloc(n)));
        expect(FAILS(pvalloc(n)));
        errno = 5;
        expect(posix_memalign(&out, 64, n) == ENOMEM && out == &untouched && errno == 5);
        expect(posix_memalign(&out, 8, n) == ENOMEM && out == &untouched && errno == 5);
    }
    size_t half = (size_t)1 << 32;
    expect(FAILS(calloc(half - hide, half)));
    expect(FAILS(calloc(half + 1, half - 1 + hide)));
    expect(FAILS(reallocarray(keep, half - hide, half)));
    expect(FAILS(memalign((size_t)1 << 62, 8)));
    expect(FAILS(aligned_alloc((size_t)1 << 63, 8)));
    for (int i = 0; i < 100; i++)
        expect(keep[i] == 'k');
    for (int i = 0; i < 100000; i++)
        expect(large[i] == 'l');
    free(keep), free(large);
}

static void sizes_of_zero_are_as_in_glibc(void)
{
    char *a = malloc(0), *b = malloc(0), *c = calloc(0, 5), *d = calloc(7, 0);
    expect(a && b && c && d && a != b && a != c && a != d && b != c && b != d && c != d);
    free(a), free(b), free(c), free(d);
    char *p = malloc(100), *q = malloc(200000);
    expect(realloc(p, hide) == NULL); /* and frees it */
    expect(realloc(q, hide) == NULL);
    p = realloc(NULL, hide);
    expect(p && malloc_usable_size(p) >= 1);
    free(p);
    p = reallocarray(NULL, 0, 10);
    expect(p);
    expect(reallocarray(p, 10, hide) == NULL);
    free(NULL);
    expect(malloc_usable_size(NULL) == 0);
    void *out;
    expect(posix_memalign(&out, 64, 0) == 0 && out);
    free(out);
    for (int i = 0; i < 300000; i++) /* realloc(p, 0) leaks nothing */
        expect(realloc(malloc(4000), hide) == NULL);
    expect(mallinfo2().uordblks < 100 << 20);
}

/* ---- errno -------------------------------------------------------------------------- */

static void free_keeps_errno(void)
{
    enum { N = 3000 };
    static void *p[N];
    for (int round = 0; round < 3; round++) {
        for (int i = 0; i < N; i++)
            p[i] = i % 50 == 0   ? malloc(3u << 20)
                   : i % 10 == 0 ? malloc(100000)
                                 : malloc((size_t)i);
        for (int i = 0; i < N; i++) {
            errno = 1000 + i;
            free(p[i]);
            expect(errno == 1000 + i);
        }
        errno = 77;
        free(NULL);
        expect(errno == 77);
    }
}

static void success_leaves_errno_alone(void)
{
    errno = 77;
    for (size_t n = 1; n < 20u << 20; n = n * 2 + 1) {
        void *p = malloc(n), *q = calloc(1, n), *r = memalign(64, n);
        p = realloc(p, n * 2);
        expect(p && q && r && errno == 77);
        free(p), free(q), free(r);
    }
}

/* ---- contents ----------------------------------------------------------------------------- */

static void calloc_gives_zeros_also_in_used_memory(void)
{
    for (size_t n = 1; n < 12u << 20; n += n / 3 + 1) {
        char *p = malloc(n);
        memset(p, 0xff, n);
        free(p);
        for (int i = 0; i < 3; i++) {
            char *q = calloc(1, n);
            for (size_t at = 0; at < n; at++)
                expect(q[at] == 0);
            memset(q, 0xee, n);
            free(q);
        }
        p = malloc(n);
        memset(p, 0xff, n);
        free(p);
        malloc_trim(0);
        p = calloc(n, 1);
        for (size_t at = 0; at < n; at++)
            expect(p[at] == 0);
        free(p);
    }
}

static void what_a_huge_block_left_is_not_zero(void)
{
    for (int round = 0; round < 3; round++) {
        char *huge = malloc(24u << 20), *p[100];
        memset(huge, 0xff, 24u << 20);
        free(huge);
        for (int i = 0; i < 100; i++) {
            expect((p[i] = calloc(1, 200000)));
            for (size_t at = 0; at < 200000; at++)
                expect(p[i][at] == 0);
        }
        for (int i = 0; i < 100; i++)
            free(p[i]);
    }
}

/* In a window of 1,024 chunks: what each round loses is missed soon. */
static void huge_blocks_lose_no_chunk(void)
{
    for (int i = 0; i < 2000; i++) {
        char *hole = malloc(4u << 20), *wall = malloc(4u << 20), *p = malloc(40u << 20);
        expect(hole && wall && p);
        free(hole);
        char *larger = malloc(8u << 20); /* does not fit in the hole */
        expect(larger && (p = realloc(p, 8u << 20)));
        free(larger), free(p), free(wall);
    }
}

static void realloc_keeps_the_bytes(void)
{
    unsigned seed = 1;
    for (int round = 0; round < 300; round++) {
        size_t n = 1;
        unsigned char *p = malloc(n);
        p[0] = (unsigned char)round;
        for (int step = 0; step < 30; step++) {
            size_t to = (size_t)rand_r(&seed) % ((size_t)1 << (rand_r(&seed) % 21)) + 1;
            p = realloc(p, to);
            expect(p && malloc_usable_size(p) >= to);
            for (size_t i = 0; i < (n < to ? n : to); i += 1 + n / 500)
                expect(p[i] == (unsigned char)(round + (int)i));
            for (size_t i = 0; i < to; i++)
                p[i] = (unsigned char)(round + (int)i);
            n = to;
        }
        free(p);
    }
}

static void all_of_the_usable_size_is_ours_to_use(void)
{
    enum { N = 400 };
    static unsigned char *p[N];
    for (int i = 0; i < N; i++) {
        size_t n = (size_t)i * (size_t)i * 3;
        p[i] = i % 2 ? malloc(n) : memalign((size_t)16 << i % 9, n);
        expect(p[i] && malloc_usable_size(p[i]) >= n);
        memset(p[i], i & 255, malloc_usable_size(p[i]));
    }
    for (int i = 0; i < N; i++) {
        size_t n = malloc_usable_size(p[i]);
        for (size_t at = 0; at < n; at++)
            expect(p[i][at] == (i & 255));
        free(p[i]);
    }
}

/* ---- pointers of others ----------------------------------------------------------------- */

static void *libc_function(void *libc, const char *name)
{
    void *f = dlsym(libc, name);
    expect(f);
    return f;
}

static void use_foreign(void *libc)
{
    void *(*its_malloc)(size_t);
    *(void **)&its_malloc = libc_function(libc, "malloc");
    for (size_t n = 1; n < 1u << 22; n = n * 5 + 1) {
        char *p = its_malloc(n), *q = its_malloc(n);
        expect(p && q && !is_heap(p));
        memset(p, 'p', n);
        expect(malloc_usable_size(p) >= n);
        p = realloc(p, n * 2);
        expect(p && p[0] == 'p' && p[n - 1] == 'p');
        errno = 88;
        free(p);
        free(q);
        expect(errno == 88);
        expect(realloc(its_malloc(n), hide) == NULL);
    }
}

static void pointers_of_libc_are_freed_and_resized(void)
{
    void *libc = dlopen("libc.so.6", RTLD_NOW | RTLD_NOLOAD);
    expect(libc);
    use_foreign(libc);
    char *p = dlsym(libc, "__libc_malloc") ? malloc(1) : NULL;
    free(p);
}

/* glibc's own names for the family are ours too: a profiler passes our pointers to them. */
void *__libc_malloc(size_t);
void __libc_free(void *);
void *__libc_realloc(void *, size_t);
void *__libc_calloc(size_t, size_t);
void *__libc_memalign(size_t, size_t);
void *__libc_valloc(size_t);
void *__libc_pvalloc(size_t);

static void names_with_libc_in_them_are_the_same_heap(void)
{
    char *p = __libc_malloc(100), *q = __libc_calloc(1, 10), *r = __libc_memalign(64, 10);
    expect(is_heap(p) && is_heap(q) && is_heap(r) && aligned_to(r, 64));
    p = __libc_realloc(p, 100000);
    expect(is_heap(p));
    void *v = __libc_valloc(1), *w = __libc_pvalloc(1);
    expect(is_heap(v) && is_heap(w));
    __libc_free(p), free(q), __libc_free(r), __libc_free(v), __libc_free(w);
    void (*sized)(void *, size_t), (*aligned_sized)(void *, size_t, size_t), (*cfree)(void *);
    *(void **)&sized = dlsym(RTLD_DEFAULT, "free_sized");
    *(void **)&aligned_sized = dlsym(RTLD_DEFAULT, "free_aligned_sized");
    *(void **)&cfree = dlsym(RTLD_DEFAULT, "cfree");
    sized(malloc(10), 10);
    aligned_sized(aligned_alloc(64, 128), 64, 128);
    cfree(malloc(10));
}

/* ---- telling the truth ------------------------------------------------------------------------ */

static size_t in_use(void)
{
    struct mallinfo2 m = mallinfo2();
    expect(m.arena >= m.uordblks && m.arena - m.uordblks == m.fordblks);
    return m.uordblks + m.hblkhd;
}

static void mallinfo2_tells_what_is_in_use(void)
{
    enum { N = 10000 };
    static void *p[N];
    size_t before = in_use(), sum = 0;
    for (int i = 0; i < N; i++) {
        p[i] = malloc((size_t)i % 3000);
        sum += malloc_usable_size(p[i]);
    }
    expect(in_use() - before == sum);
    void *large = malloc(10u << 20);
    sum += malloc_usable_size(large);
    expect(in_use() - before == sum);
    expect(mallinfo2().hblks >= 1 && mallinfo2().hblkhd >= 10u << 20);
    struct mallinfo (*old_mallinfo)(void); /* deprecated, not gone */
    *(void **)&old_mallinfo = dlsym(RTLD_DEFAULT, "mallinfo");
    struct mallinfo old = old_mallinfo();
    expect((size_t)old.uordblks == mallinfo2().uordblks);
    free(large);
    for (int i = 0; i < N; i++)
        free(p[i]);
    expect(in_use() == before);
}

static void *free_them(void *blocks)
{
    void **p = blocks;
    for (int i = 0; i < 5000; i++)
        free(p[i]);
    return NULL;
}

static void mallinfo2_does_not_count_what_another_thread_freed(void)
{
    static void *p[5000];
    pthread_t t;
    expect(pthread_create(&t, NULL, free_them, p) == 0 && pthread_join(t, NULL) == 0);
    size_t before = in_use(), sum = 0;
    for (int i = 0; i < 5000; i++) {
        p[i] = malloc(500);
        sum += malloc_usable_size(p[i]);
    }
    expect(in_use() - before == sum);
    expect(pthread_create(&t, NULL, free_them, p) == 0 && pthread_join(t, NULL) == 0);
    expect(in_use() < before + 40960); /* what the thread itself took and left */
}

static void malloc_info_writes_xml(void)
{
    char text[8192] = "";
    FILE *f = fmemopen(text, sizeof text, "w");
    expect(malloc_info(1, f) == EINVAL);
    expect(malloc_info(0, f) == 0);
    fclose(f);
    expect(strncmp(text, "<malloc version=", 16) == 0 && strstr(text, "</malloc>"));
    expect(strstr(text, "<system type=\"current\" size="));
}

static void mallopt_accepts_what_tunes_glibc(void)
{
    expect(mallopt(M_MMAP_THRESHOLD, 1 << 20) == 1);
    expect(mallopt(M_TRIM_THRESHOLD, 1 << 20) == 1);
    expect(mallopt(M_ARENA_MAX, 1) == 1);
}

static const struct check checks[] = {
    CHECK(every_block_is_aligned_to_16),
    CHECK(every_alignment_is_kept),
    CHECK(wrong_alignments_are_refused),
    CHECK(what_does_not_fit_fails_with_ENOMEM),
    CHECK(sizes_of_zero_are_as_in_glibc),
    CHECK(free_keeps_errno),
    CHECK(success_leaves_errno_alone),
    CHECK(calloc_gives_zeros_also_in_used_memory),
    CHECK(what_a_huge_block_left_is_not_zero),
    CHECK(huge_blocks_lose_no_chunk),
    CHECK(realloc_keeps_the_bytes),
    CHECK(all_of_the_usable_size_is_ours_to_use),
    CHECK(pointers_of_libc_are_freed_and_resized),
    CHECK(names_with_libc_in_them_are_the_same_heap),
    CHECK(mallinfo2_tells_what_is_in_use),
    CHECK(mallinfo2_does_not_count_what_another_thread_freed),
    CHECK(malloc_info_writes_xml),
    CHECK(mallopt_accepts_what_tunes_glibc),
};

int main(int argc, char **argv)
{
    return RUN_CHECKS(checks, argc, argv);
}
