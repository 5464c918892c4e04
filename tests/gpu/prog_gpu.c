/* What a program sees of GPU memory: it calls the driver as any program does. */
#include "tests/gpu/gpu.h"

#include <pthread.h>
#include <time.h>

const char *program;

/* ---- roles of other processes ----------------------------------------------------------------- */

/* Gives away a block of that many bytes, filled; frees it when asked to. */
static void giver(size_t bytes)
{
    start();
    cu_ptr p = get(bytes);
    fill(p, bytes, 11);
    struct cu_ipc_handle handle;
    expect(cu.ipc_get(&handle, p) == CU_OK);
    answer(p);
    say_to(3, &handle, sizeof handle);
    for (;;)
        switch (asked()) {
        case 'f': answer((uint64_t)cu.free(p)); break;
        case 'x': exit(0);
        case 'n': answer(p = get(bytes)); break;
        default: answer(0);
        }
}

/* Takes addresses and says whether the bytes of a giver are there. */
static void looker(size_t bytes)
{
    start();
    cu_ptr first = get(512); /* it is a member now */
    answer(first);
    for (;;) {
        cu_ptr p = asked();
        answer((uint64_t)holds(p, bytes, 11));
    }
}

static void opener(size_t bytes)
{
    start();
    struct cu_ipc_handle handle;
    answer(0);
    hear_from(0, &handle, sizeof handle);
    cu_ptr p = 0;
    answer((uint64_t)cu.ipc_open(&p, handle, 1));
    answer(p);
    for (;;)
        switch (asked()) {
        case 'l': answer((uint64_t)holds(p, bytes, 11)); break;
        case 'c': answer((uint64_t)cu.ipc_close(p)); break;
        case 'f': answer((uint64_t)cu.free(p)); break;
        default: answer(0);
        }
}

static void churner(size_t seed)
{
    start();
    srand((unsigned)seed);
    cu_ptr have[40] = { 0 };
    size_t bytes[40];
    answer(0);
    for (int i = 0;; i++) {
        int at = rand() % 40;
        if (have[at]) {
            expect(holds(have[at], bytes[at], (byte)(at + (int)seed)));
            expect(cu.free(have[at]) == CU_OK);
            have[at] = 0;
        } else {
            bytes[at] = 1 + (size_t)rand() % ((size_t)1 << (9 + rand() % 10));
            if (cu.alloc(&have[at], bytes[at]) == CU_OK)
                fill(have[at], bytes[at], (byte)(at + (int)seed));
        }
    }
}

/* Two blocks, until told to go: 'r' asks for all that there is, and frees it. */
static void holder(size_t bytes)
{
    char order = 0;
    start();
    cu_ptr small = get(1000), large = get(bytes), p;
    dprintf(1, "%llx %llx\n", small, large);
    while (read(0, &order, 1) == 1)
        if (order == 'r') {
            expect(cu.alloc(&p, (size_t)50 << 20) == CU_OK);
            dprintf(1, "%d\n", is_shared(p) && cu.free(p) == CU_OK);
        }
    exit(0);
}

/* ---- resolving -------------------------------------------------------------------------------------- */

static const char *whose(void *address)
{
    Dl_info info;
    if (!address || !dladdr(address, &info))
        return "nobody's";
    return strstr(info.dli_fname, "libhshm")   ? "ours"
           : strstr(info.dli_fname, "libcuda") ? "the driver's"
                                               : "?";
}
#define is(address, who) expect(strcmp(whose((void *)(address)), who) == 0)

struct row {
    const char *name, *symbol;
    int since, until, streams;
};
enum { ANY, LEGACY, PER_THREAD, LATEST = 13090 };
static const struct row rows[] = {
#define HOOK(name, symbol, since, until, streams) { #name, #symbol, since, until, streams },
#include "gpu_hooks/cuda_hooks.def"
#undef HOOK
};
#define ROWS (sizeof rows / sizeof *rows)

typedef cu_result ask_fn(const char *, void **, int, unsigned long long, int *);

/* Every row: by its symbol, at its first version, at its last, and not before. */
static void every_row_is_substituted(void)
{
    load();
    ask_fn *ask = (ask_fn *)dlsym(driver, "cuGetProcAddress_v2");
    for (size_t i = 0; i < ROWS; i++) {
        const struct row *r = &rows[i];
        void *ours = dlsym(driver, r->symbol), *found = NULL;
        unsigned long long flags = r->streams == PER_THREAD ? 2 : 0;
        int status = -1;
        Dl_info info;
        is(ours, "ours");
        expect(dladdr(ours, &info) && strcmp(info.dli_sname, r->symbol) == 0);
        expect(ask(r->name, &found, r->since, flags, &status) == CU_OK && found == ours &&
               status == 0);
        expect(ask(r->name, &found, r->until - 1, flags, NULL) == CU_OK && found == ours);
        found = NULL;
        ask(r->name, &found, r->since - 1, flags, &status);
        expect(found != ours);
    }
}

static void the_first_form_of_cuGetProcAddress_is_answered(void)
{
    load();
    cu_result (*ask)(const char *, void **, int, unsigned long long) =
        dlsym(driver, "cuGetProcAddress");
    void *found = NULL;
    is(ask, "ours");
    expect(ask("cuMemAlloc", &found, 11030, 0) == CU_OK && found == dlsym(driver, "cuMemAlloc_v2"));
    expect(ask("cuGetProcAddress", &found, 11030, 0) == CU_OK && found == (void *)ask);
    expect(ask("cuNoSuchThing", &found, 12000, 0) != CU_OK);
}

static void everything_else_is_the_drivers(void)
{
    static const char *const names[] = { "cuInit",           "cuDriverGetVersion",
                                         "cuDeviceGet",      "cuMemCreate",
                                         "cuMemMap",         "cuMemAddressReserve",
                                         "cuCtxSynchronize", "cuMemsetD8" };
    load();
    ask_fn *ask = (ask_fn *)dlsym(driver, "cuGetProcAddress_v2");
    void *found;
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        expect(ask(names[i], &found, 13000, 0, NULL) == CU_OK);
        is(found, "the driver's");
    }
    is(dlsym(driver, "cuGetExportTable"), "the driver's");
    is(dlsym(driver, "cuMemAlloc"), "the driver's"); /* another calling convention */
    expect(ask("cuMemAlloc", &found, 2000, 0, NULL) == CU_OK);
    is(found, "the driver's");
    int status = -1;
    expect(ask("", &found, 0, 0, &status) == CU_INVALID_VALUE &&
           ask("cuNope", &found, 13000, 0, &status) != CU_OK);
    expect(dlsym(driver, "nope") == NULL && dlerror());
}

static void per_thread_streams_have_their_own(void)
{
    load();
    ask_fn *ask = (ask_fn *)dlsym(driver, "cuGetProcAddress_v2");
    void *legacy, *thread;
    expect(ask("cuMemFreeAsync", &legacy, 12000, 1, NULL) == CU_OK &&
           ask("cuMemFreeAsync", &thread, 12000, 2, NULL) == CU_OK);
    expect(legacy == dlsym(driver, "cuMemFreeAsync") &&
           thread == dlsym(driver, "cuMemFreeAsync_ptsz"));
    expect(legacy != thread);
}

static const struct row *row_for(const char *name, int version, unsigned long long flags)
{
    for (size_t i = 0; i < ROWS; i++)
        if (strcmp(rows[i].name, name) == 0 && version >= rows[i].since &&
            version < rows[i].until &&
            (rows[i].streams == ANY || (rows[i].streams == PER_THREAD) == ((flags & 2) != 0)))
            return &rows[i];
    return NULL;
}

/* What somebody asked the driver for (REQUESTS), asked again: hooked names are ours in the right
 * variant, all others the driver's. */
static void requests_are_answered(void)
{
    char name[100];
    int version, ours = 0, others = 0;
    unsigned long long flags;
    FILE *f = fopen(getenv("REQUESTS"), "r");
    load();
    ask_fn *ask = (ask_fn *)dlsym(driver, "cuGetProcAddress_v2");
    expect(f != NULL);
    while (fscanf(f, "%99s %d %llu", name, &version, &flags) == 3) {
        void *found = NULL;
        const struct row *r = row_for(name, version, flags);
        if (ask(strcmp(name, "-") == 0 ? "" : name, &found, version, flags, NULL) != CU_OK ||
            !found)
            continue;
        if (r)
            expect(found == dlsym(driver, r->symbol));
        is(found, r ? "ours" : "the driver's");
        *(r ? &ours : &others) += 1;
    }
    fclose(f);
    printf("%d ours, %d others\n", ours, others);
}

/* A version of the interface that we do not know: only what is provably the same function. */
static void the_future_is_passed_through_unless_it_is_the_same(void)
{
    load();
    ask_fn *ask = (ask_fn *)dlsym(driver, "cuGetProcAddress_v2");
    void *found;
    expect(ask("cuMemAlloc", &found, 15000, 0, NULL) == CU_OK &&
           found == dlsym(driver, "cuMemAlloc_v2"));
    expect(ask("cuMemGetInfo", &found, 16000, 0, NULL) == CU_OK);
    is(found, "the driver's");
}

/* The next after the program is our malloc: only a tail call lets the C library see who asks. */
static void next_is_seen_from_the_caller(void)
{
    Dl_info info;
    void *next = dlsym(RTLD_NEXT, "malloc");
    expect(next && dladdr(next, &info) && strstr(info.dli_fname, "libhshm"));
    expect(dlsym(RTLD_NEXT, "cuMemAlloc_v2") == NULL || whose(dlsym(RTLD_NEXT, "cuMemAlloc_v2")));
}

static void nothing_is_found_where_there_is_no_driver(void)
{
    expect(dlopen("libcuda.so.1", RTLD_NOW) == NULL && dlerror());
    expect(dlsym(RTLD_DEFAULT, "cuMemAlloc_v2") == NULL && dlerror());
    expect(dlsym(RTLD_DEFAULT, "cuInit") == NULL);
    expect(dlsym(dlopen(NULL, RTLD_NOW), "cuMemFree_v2") == NULL);
}

static void the_global_scope_is_found_with_a_driver(void)
{
    expect(dlopen("libcuda.so.1", RTLD_NOW | RTLD_GLOBAL));
    is(dlsym(RTLD_DEFAULT, "cuMemAlloc_v2"), "ours");
    is(dlsym(RTLD_DEFAULT, "cuInit"), "the driver's");
    load();
    start();
    cu_result (*alloc)(cu_ptr *, size_t) = dlsym(RTLD_DEFAULT, "cuMemAlloc_v2");
    cu_ptr p;
    expect(alloc(&p, 1000) == CU_OK && is_shared(p));
}

/* ---- no GPU segment -------------------------------------------------------------------------------- */

static void the_driver_serves(void)
{
    start();
    cu_ptr p = get(1000);
    expect(!is_shared(p) && calls_are("cuMemAlloc_v2", 1, 1));
    fill(p, 1000, 1);
    expect(holds(p, 1000, 1) && cu.free(p) == CU_OK && cu.free(p) == CU_INVALID_VALUE);
    expect(calls_are("cuMemCreate", 0, 0));
}

/* ---- memory ------------------------------------------------------------------------------------------ */

static void blocks_hold_what_is_written(void)
{
    enum { N = 100 };
    static cu_ptr p[N];
    static size_t n[N];
    start();
    for (int i = 0; i < N; i++) {
        n[i] = (size_t)1 + (size_t)i * (size_t)i * 17;
        p[i] = get(n[i]);
        expect(is_shared(p[i]) && p[i] % 512 == 0);
        fill(p[i], n[i], (byte)i);
    }
    for (int i = 0; i < N; i++)
        expect(holds(p[i], n[i], (byte)i));
    for (int i = 0; i < N; i++)
        expect(cu.free(p[i]) == CU_OK);
    expect(calls_are("cuMemAlloc_v2", 0, 0) && calls_are("cuMemFree_v2", 0, 0));
}

static void large_blocks_lie_across_chunks(void)
{
    start();
    size_t n = (size_t)40 << 20;
    cu_ptr p = get(n);
    expect(is_shared(p));
    for (size_t at = 0; at < n; at += (size_t)4 << 20)
        fill(p + at, 5000, (byte)(at >> 20));
    for (size_t at = 0; at < n; at += (size_t)4 << 20)
        expect(holds(p + at, 5000, (byte)(at >> 20)));
    expect(cu.free(p) == CU_OK);
}

static void wrong_arguments_get_the_drivers_answer(void)
{
    cu_ptr p = 77;
    load();
    expect(cu.alloc(&p, 1000) == CU_NOT_INITIALIZED && p == 77);
    cu.init(0);
    expect(cu.alloc(&p, 1000) == CU_INVALID_CONTEXT && p == 77);
    start();
    expect(cu.alloc(&p, 0) == CU_INVALID_VALUE && p == 77);
    expect(cu.alloc(NULL, 100) == CU_INVALID_VALUE);
    expect(cu.free(0) == CU_OK);
}

static void wrong_frees_are_refused(void)
{
    start();
    cu_ptr small = get(5000), large = get(5 << 20);
    expect(cu.free(small + 512) == CU_INVALID_VALUE && cu.free(large + 65536) == CU_INVALID_VALUE);
    expect(cu.free(small) == CU_OK);
    expect(cu.free(small) == CU_INVALID_VALUE);
    expect(cu.free(large) == CU_OK);
    expect(cu.free(large) == CU_INVALID_VALUE);
    expect(cu.free(0x123456000) == CU_INVALID_VALUE); /* the driver's answer */
    expect(calls_are("cuMemFree_v2", 1, 1));
    expect(cu.set_current(NULL) == CU_OK);
    cu_ptr p;
    expect(cu.alloc(&p, 1) == CU_INVALID_CONTEXT);
}

static void pitch_is_as_the_drivers(void)
{
    cu_ptr p;
    size_t pitch = 0;
    start();
    expect(cu.pitch(&p, &pitch, 1000, 20, 4) == CU_OK && pitch == 1024 && is_shared(p));
    size_t bytes;
    cu_ptr base;
    expect(cu.range(&base, &bytes, p) == CU_OK && bytes == 1024 * 20);
    expect(cu.pitch(&p, &pitch, 1000, 20, 5) == CU_INVALID_VALUE);
    expect(cu.pitch(&p, &pitch, 0, 20, 4) == CU_INVALID_VALUE);
}

static void pointers_look_like_cudaMallocs(void)
{
    cu_context context = start(), seen = NULL;
    cu_ptr small = get(1000), large = get(3000000), base = 0;
    size_t bytes = 0;
    unsigned long long id = 0, other = 0, types = 99;
    int legacy = -1;
    expect(cu.range(&base, &bytes, small + 999) == CU_OK && base == small && bytes == 1000);
    expect(cu.range(&base, NULL, large + 2999999) == CU_OK && base == large);
    expect(cu.range(&base, &bytes, small + 1000) == 500); /* CUDA_ERROR_NOT_FOUND */
    expect(cu.attribute(&base, 11, large + 5) == CU_OK && base == large);
    expect(cu.attribute(&bytes, 12, large + 5) == CU_OK && bytes == 3000000);
    expect(cu.attribute(&bytes, 18, small) == CU_OK && bytes == 1000);
    expect(cu.attribute(&base, 19, small + 1) == CU_OK && base == small);
    expect(cu.attribute(&seen, 1, small) == CU_OK && seen == context);
    expect(cu.attribute(&id, 7, small) == CU_OK && cu.attribute(&other, 7, large) == CU_OK &&
           id != other);
    expect(cu.attribute(&legacy, 10, small) == CU_OK && legacy == 1);
    expect(cu.attribute(&types, 14, small) == CU_OK && types == 0);
    int ordinal = -1, wanted[] = { 10, 9, 11, 12 };
    void *data[] = { &legacy, &ordinal, &base, &bytes };
    legacy = 0;
    expect(cu.attributes(4, wanted, data, large + 7) == CU_OK);
    expect(legacy == 1 && ordinal == 0 && base == large && bytes == 3000000);
    cu_handle handle;
    expect(cu.keep_handle(&handle, (void *)small) == CU_INVALID_VALUE);
    expect(cu.free(small) == CU_OK);
    expect(cu.range(&base, &bytes, small) == 500 &&
           cu.attribute(&id, 7, small) == CU_INVALID_VALUE);
    cu_ptr again = get(1000);
    expect(again == small && cu.attribute(&other, 7, again) == CU_OK && other != id);
}

static void memory_info_is_what_it_would_be(void)
{
    size_t free_before, free_after, total;
    start();
    expect(cu.info(&free_before, &total) == CU_OK && free_before <= total);
    cu_ptr p = get(3 << 20), q = get(1000);
    expect(cu.info(&free_after, NULL) == CU_OK && cu.info(NULL, &total) == CU_OK);
    expect(free_before - free_after >= 3 << 20 && free_before - free_after < 5 << 20);
    cu.free(p), cu.free(q);
    expect(cu.info(&free_after, &total) == CU_OK && free_after == free_before);
}

/* Others see what we gave back: the driver has it again. */
static void empty_chunks_go_back(void)
{
    cu_ptr p[6];
    start();
    for (int i = 0; i < 6; i++)
        p[i] = get((size_t)7 << 20);
    expect(calls_are("cuMemUnmap", 0, 0));
    for (int i = 0; i < 6; i++)
        expect(cu.free(p[i]) == CU_OK);
    usleep(150000);
    expect(cu.free(get(100)) == CU_OK);
    expect(calls_are("cuMemUnmap", 4, 1000));
    for (int i = 0; i < 6; i++) {
        p[i] = get((size_t)7 << 20);
        fill(p[i], 5000, (byte)i);
        expect(is_shared(p[i]) && holds(p[i], 5000, (byte)i));
    }
}

static void managed_and_stream_ordered_memory_is_the_drivers(void)
{
    start();
    cu_ptr p, q;
    get(100);
    expect(cu.managed(&p, 1000, 1) == CU_OK && !is_shared(p) &&
           calls_are("cuMemAllocManaged", 1, 1));
    expect(cu.alloc_async(&q, 1000, NULL) == CU_OK && !is_shared(q));
    expect(cu.free(p) == CU_OK && cu.free_async(q, NULL) == CU_OK);
}

/* ---- when a block may be used again --------------------------------------------------------------------- */

struct late {
    cu_ptr to;
    int done;
};

static void write_late(void *arg)
{
    struct late *l = arg;
    byte bytes[1000];
    memset(bytes, 0xee, sizeof bytes);
    cu.write(l->to, bytes, sizeof bytes);
    l->done = 1;
}

/* A kernel goes on writing when its block is freed: who gets it next must not see that. */
static void a_block_is_reused_only_when_its_work_is_done(void)
{
    start();
    void *stream;
    expect(cu.stream_create(&stream, 1) == CU_OK);
    for (int i = 0; i < 5; i++) {
        struct late late = { get(1000), 0 };
        cu.launch(stream, 30000, write_late, &late);
        expect(cu.free(late.to) == CU_OK);
        cu_ptr next = get(1000);
        fill(next, 1000, 5);
        cu.sync();
        expect(late.done && holds(next, 1000, 5) && cu.free(next) == CU_OK);
    }
}

static void a_free_waits_for_the_device(void)
{
    start();
    struct late late = { get(1000), 0 };
    cu.launch(NULL, 50000, write_late, &late);
    expect(cu.free(get(3 << 20)) == CU_OK &&
           late.done); /* of another block: as the driver's free */
}

static void a_deferred_free_does_not_wait(void)
{
    start();
    struct late late = { get(1000), 0 };
    cu_ptr other = get(1000);
    cu.launch(NULL, 300000, write_late, &late);
    expect(cu.free(late.to) == CU_OK && !late.done);
    cu_ptr next = get(1000);
    expect(next != late.to && next != other);
    cu.sync();
}

static void a_free_in_stream_order_does_not_wait(void)
{
    start();
    struct late late = { get(1000), 0 };
    cu.launch(NULL, 200000, write_late, &late);
    expect(cu.free_async(late.to, NULL) == CU_OK && !late.done);
    expect(cu.free_async(late.to, NULL) == CU_INVALID_VALUE);
    cu_ptr next = get(1000);
    expect(next != late.to || late.done);
    cu.sync();
}

static void a_capture_is_not_disturbed(void)
{
    start();
    void *stream, *graph;
    cu_ptr p = get(1000), q;
    expect(cu.stream_create(&stream, 1) == CU_OK && cu.begin(stream, 0) == CU_OK);
    q = get(9 << 20); /* also a chunk may be made */
    expect(cu.free(p) == CU_OK && cu.free(q) == CU_OK);
    expect(cu.end(stream, &graph) == CU_OK); /* else: 901, invalidated */
    expect(cu.free(get(100)) == CU_OK);
}

static void freed_memory_is_cleared(void)
{
    start();
    for (size_t n = 1000; n < 4000000; n = n * 3) {
        cu_ptr p = get(n);
        fill(p, n, 3);
        expect(cu.free(p) == CU_OK);
        byte *bytes = malloc(n);
        p = get(n);
        expect(cu.to_host(bytes, p, n) == CU_OK);
        for (size_t i = 0; i < n; i++)
            expect(bytes[i] == 0);
        free(bytes);
    }
}

/* ---- full ---------------------------------------------------------------------------------------------------- */

static void what_does_not_fit_comes_from_the_driver(void)
{
    start();
    cu_ptr p = get(20 << 20), q = get(40 << 20);
    expect(is_shared(p) && !is_shared(q));
    fill(q, 5000, 1);
    expect(holds(q, 5000, 1) && cu.free(q) == CU_OK && cu.free(p) == CU_OK);
}

static void what_does_not_fit_fails(void)
{
    start();
    cu_ptr p = get(20 << 20), q = 5;
    expect(is_shared(p) && cu.alloc(&q, 40 << 20) == CU_OUT_OF_MEMORY && q == 5);
    expect(cu.free(p) == CU_OK);
    p = get(30 << 20);
    expect(is_shared(p));
}

static void everything_comes_back(void)
{
    start();
    enum { N = 500 };
    static cu_ptr p[N];
    for (int round = 0; round < 5; round++) {
        int n = 0;
        while (n < N && cu.alloc(&p[n], (size_t)1 << (9 + n % 13)) == CU_OK && is_shared(p[n]))
            n++;
        expect(n > 100);
        while (n > 0)
            expect(cu.free(p[--n]) == CU_OK);
    }
    size_t free_now, total;
    expect(cu.info(&free_now, &total) == CU_OK && free_now == total);
}

/* ---- contexts -------------------------------------------------------------------------------------------------- */

static void a_reset_frees_what_the_process_made(void)
{
    start();
    size_t before, after;
    cu.info(&before, NULL);
    cu_ptr p = get(1000), q = get(3 << 20);
    expect(cu.reset(0) == CU_OK);
    start();
    expect(cu.info(&after, NULL) == CU_OK && after == before);
    expect(cu.free(p) == CU_INVALID_VALUE && cu.free(q) == CU_INVALID_VALUE);
    p = get(1000);
    fill(p, 1000, 2);
    expect(is_shared(p) && holds(p, 1000, 2));
}

static void the_last_release_does_too(void)
{
    start();
    cu_ptr p = get(1000);
    expect(cu.release(0) == CU_OK);
    start();
    expect(cu.free(p) == CU_INVALID_VALUE);
}

static void a_context_takes_its_blocks_with_it(void)
{
    cu_context primary = start(), second;
    cu_ptr ours = get(1000), gone;
    expect(cu.ctx_create(&second, 0, 0) == CU_OK);
    gone = get(1000);
    expect(is_shared(gone) && cu.ctx_destroy(second) == CU_OK && cu.set_current(primary) == CU_OK);
    expect(cu.free(gone) == CU_INVALID_VALUE && cu.free(ours) == CU_OK);
}

static void devices_are_apart(void)
{
    start_on(0);
    cu_ptr a = get(1000);
    start_on(1);
    cu_ptr b = get(1000);
    expect(is_shared(a) && is_shared(b) && a >> 41 != b >> 41);
    int ordinal;
    expect(cu.attribute(&ordinal, 9, b) == CU_OK && ordinal == 1);
    fill(b, 1000, 4);
    expect(holds(b, 1000, 4) && cu.free(b) == CU_OK);
    start_on(0);
    expect(cu.free(a) == CU_OK);
}

static void peer_access_covers_chunks_made_before_and_after(void)
{
    cu_context one = start_on(1);
    cu_ptr before = get(1000);
    start_on(0);
    unsigned long long flags = 9;
    int zero[2] = { 1, 0 };
    expect(cu.get_access(&flags, zero, before) == CU_OK && flags == 0);
    expect(cu.peer(one, 0) == CU_OK);
    expect(cu.get_access(&flags, zero, before) == CU_OK && flags == 3);
    start_on(1);
    cu_ptr after = get(20 << 20);
    expect(cu.get_access(&flags, zero, after) == CU_OK && flags == 3);
}

/* ---- for people: what a card answers, and what it takes ------------------------------------------ */

static void facts(void)
{
    cu_result (*attribute)(int *, int, cu_device), (*total)(size_t *, cu_device);
    int values[] = { CU_DEV_UNIFIED_ADDRESSING, CU_DEV_VIRTUAL_MEMORY, CU_DEV_POSIX_FD,
                     CU_DEV_RDMA_WITH_VMM };
    size_t bytes = 0;
    start();
    *(void **)&attribute = dlsym(driver, "cuDeviceGetAttribute");
    *(void **)&total = dlsym(driver, "cuDeviceTotalMem_v2");
    expect(total(&bytes, 0) == CU_OK);
    printf("device 0: %zu bytes", bytes);
    for (size_t i = 0; i < sizeof values / sizeof *values; i++) {
        int value = -1;
        attribute(&value, values[i], 0);
        printf(", attribute %d: %d", values[i], value);
    }
    putchar('\n');
}

static void answers(void)
{
    struct cu_ipc_handle handle;
    cu_ptr base = 0, p, q;
    size_t bytes = 0, pitch = 0;
    cu_handle kept;
    start();
    p = get(1000);
    int result = cu.range(&base, &bytes, p + 5);
    printf("range: %d, offset %lld, %zu bytes\n", result, (long long)(p - base), bytes);
    for (int attribute = 1; attribute <= 20; attribute++) {
        unsigned long long value[8] = { 0 };
        if (attribute == 5) /* takes a structure */
            continue;
        result = cu.attribute(value, attribute, p + 5);
        printf("attribute %d: %d, %llx\n", attribute, result, value[0]);
    }
    printf("retain: %d\n", cu.keep_handle(&kept, (void *)p));
    printf("ipc get: %d, of an interior pointer: %d\n", cu.ipc_get(&handle, p),
           cu.ipc_get(&handle, p + 512));
    printf("ipc open in the same process: %d\n", cu.ipc_open(&q, handle, 1));
    printf("alloc 0: %d, free of an interior pointer: %d\n", cu.alloc(&q, 0), cu.free(p + 512));
    result = cu.pitch(&q, &pitch, 1000, 3, 4);
    printf("pitch of 1000: %d, %zu\n", result, pitch);
    printf("free: %d\n", cu.free(p));
    printf("free twice: %d\n", cu.free(p));
    printf("range of freed memory: %d\n", cu.range(&base, &bytes, p));
}

static double now_us(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec * 1e6 + (double)t.tv_nsec / 1e3;
}

static int by_size(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static void costs(void)
{
    enum { N = 2000 };
    static double alloc[N], release[N];
    start();
    for (size_t n = 512; n <= (size_t)64 << 20; n *= 8) {
        cu_ptr p;
        for (int i = 0; i < N; i++) {
            double before = now_us();
            expect(cu.alloc(&p, n) == CU_OK);
            double between = now_us();
            expect(cu.free(p) == CU_OK);
            alloc[i] = between - before;
            release[i] = now_us() - between;
        }
        qsort(alloc, N, sizeof *alloc, by_size);
        qsort(release, N, sizeof *release, by_size);
        printf("%9zu bytes: alloc median %.3f us, p99 %.3f; free median %.3f, p99 %.3f\n", n,
               alloc[N / 2], alloc[N * 99 / 100], release[N / 2], release[N * 99 / 100]);
    }
}

/* ---- other processes ----------------------------------------------------------------------------------------------- */

#define BYTES "100000"
enum { BYTES_N = 100000 };

static struct other give(cu_ptr *p, struct cu_ipc_handle *handle)
{
    struct other o = spawn("giver", BYTES);
    *p = hear(&o);
    hear_from(o.from, handle, sizeof *handle);
    return o;
}

static void an_address_is_valid_in_all(void)
{
    cu_ptr p;
    struct cu_ipc_handle handle;
    struct other l = spawn("looker", BYTES);
    hear(&l);
    struct other g = give(&p, &handle);
    expect(is_shared(p));
    say(&l, p);
    expect(hear(&l) == 1);
    start();
    cu_ptr q = get(20 << 20); /* and what lies in a new chunk, at once */
    fill(q, BYTES_N, 11);
    say(&l, q);
    expect(hear(&l) == 1);
    get(10); /* and in one that comes later */
    expect(holds(p, BYTES_N, 11));
    expect(ended(&g) == 0 && ended(&l) == 0);
}

static void sixteen_see_the_same(void)
{
    enum { N = 15 };
    struct other o[N];
    cu_ptr p;
    struct cu_ipc_handle handle;
    struct other g = give(&p, &handle);
    for (int i = 0; i < N; i++)
        o[i] = spawn("looker", BYTES);
    for (int i = 0; i < N; i++)
        hear(&o[i]);
    for (int i = 0; i < N; i++)
        say(&o[i], p);
    for (int i = 0; i < N; i++)
        expect(hear(&o[i]) == 1);
    killed(&g);
    for (int i = 0; i < N; i++)
        say(&o[i], p);
    for (int i = 0; i < N; i++)
        expect(hear(&o[i]) == 1 && ended(&o[i]) == 0);
}

static void memory_outlives_who_made_it(void)
{
    for (int how = 0; how < 2; how++) {
        cu_ptr p;
        struct cu_ipc_handle handle;
        start();
        get(10);
        struct other g = give(&p, &handle);
        expect(holds(p, BYTES_N, 11));
        if (how)
            killed(&g);
        else
            expect(ended(&g) == 0);
        expect(holds(p, BYTES_N, 11));
        struct other l = spawn("looker", BYTES); /* one that never met its maker */
        hear(&l);
        say(&l, p);
        expect(hear(&l) == 1 && ended(&l) == 0);
        expect(cu.free(p) == CU_OK);
        expect(cu.free(p) == CU_INVALID_VALUE);
    }
}

static void a_block_of_another_can_be_freed(void)
{
    cu_ptr p;
    struct cu_ipc_handle handle;
    start();
    get(10);
    struct other g = give(&p, &handle);
    expect(cu.free(p) == CU_OK);
    expect(cu.free(p) == CU_INVALID_VALUE);
    say(&g, 'f');
    expect(hear(&g) == CU_INVALID_VALUE);
    expect(ended(&g) == 0);
}

static void handles_open_at_the_same_address(void)
{
    cu_ptr p, q = 0;
    struct cu_ipc_handle handle;
    struct other g = give(&p, &handle), o = spawn("opener", BYTES);
    hear(&o);
    say_to(o.to, &handle, sizeof handle);
    expect(hear(&o) == CU_OK && hear(&o) == p);
    say(&g, 'f'); /* freed while it is open: it stays */
    expect(hear(&g) == CU_OK);
    say(&g, 'n');
    expect(hear(&g) != p);
    say(&o, 'l');
    expect(hear(&o) == 1);
    expect(ended(&g) == 0); /* and after its maker has ended */
    say(&o, 'l');
    expect(hear(&o) == 1);
    say(&o, 'c');
    expect(hear(&o) == CU_OK);
    say(&o, 'c');
    expect(hear(&o) == CU_INVALID_VALUE);
    start();
    get(10);
    expect(cu.ipc_open(&q, handle, 1) == CU_INVALID_VALUE); /* of a block that is no more */
    expect(ended(&o) == 0);
}

static void handles_are_checked(void)
{
    cu_ptr p, q;
    struct cu_ipc_handle handle, wrong;
    start();
    cu_ptr own = get(100);
    struct other g = give(&p, &handle);
    wrong = handle;
    wrong.bytes[48] ^= 1; /* what nothing but the sum tells */
    expect(cu.ipc_open(&q, wrong, 1) != CU_OK);
    expect(cu.ipc_get(&wrong, own) == CU_OK &&
           cu.ipc_open(&q, wrong, 1) == CU_INVALID_CONTEXT); /* own process */
    expect(cu.ipc_open(&q, handle, 1) == CU_OK && q == p && cu.ipc_open(&q, handle, 1) == CU_OK);
    expect(cu.ipc_close(q) == CU_OK && cu.ipc_close(q) == CU_OK && cu.ipc_close(q) != CU_OK);
    expect(cu.ipc_close(0x1234000) == CU_INVALID_VALUE);
    expect(ended(&g) == 0);
}

/* A handle of the driver's own memory goes the driver's way. */
static void foreign_handles_are_the_drivers(void)
{
    start();
    cu_ptr big, p = get(100);
    struct cu_ipc_handle handle;
    expect(cu.managed(&big, 100, 1) == CU_OK && cu.ipc_get(&handle, big) == CU_OK);
    expect(cu.ipc_open(&p, handle, 1) == CU_INVALID_CONTEXT &&
           calls_are("cuIpcOpenMemHandle_v2", 1, 1));
}

static void a_killed_openers_hold_ends(void)
{
    cu_ptr p;
    struct cu_ipc_handle handle;
    struct other g = give(&p, &handle), o = spawn("opener", BYTES);
    hear(&o);
    say_to(o.to, &handle, sizeof handle);
    expect(hear(&o) == CU_OK && hear(&o) == p);
    killed(&o);
    say(&g, 'f');
    expect(hear(&g) == CU_OK);
    say(&g, 'n');
    expect(hear(&g) == p); /* used again at once */
    expect(ended(&g) == 0);
}

static void bytes_come_back_from_the_killed(void)
{
    size_t before, after;
    start();
    get(10);
    expect(cu.info(&before, NULL) == CU_OK);
    int n = atoi(getenv("KILLS") ? getenv("KILLS") : "30");
    srand(7);
    for (int i = 0; i < n; i++) {
        char seed[16];
        snprintf(seed, sizeof seed, "%d", i);
        struct other o = spawn("churner", seed);
        hear(&o);
        usleep((useconds_t)(rand() % 30000));
        killed(&o);
    }
    /* What is short is looked for: ask for all of it. */
    cu_ptr p;
    expect(cu.alloc(&p, before - (1 << 20)) == CU_OK && is_shared(p) && cu.free(p) == CU_OK);
    expect(cu.info(&after, NULL) == CU_OK && after == before);
}

static void memory_goes_with_the_last_member(void)
{
    cu_ptr p;
    struct cu_ipc_handle handle;
    struct other g = give(&p, &handle);
    killed(&g);
    start();
    size_t free_now, total;
    cu_ptr q = get(1000);
    expect(is_shared(q) && cu.free(q) == CU_OK);
    expect(cu.info(&free_now, &total) == CU_OK && free_now == total);
}

/* Its range is taken in one member: addresses differ there, handles work. */
static void a_relocated_member_opens_handles(void)
{
    cu_ptr p, q;
    struct cu_ipc_handle handle;
    struct other g = give(&p, &handle);
    setenv("FAKE_NO_HINT", "1", 1);
    struct other o = spawn("opener", BYTES);
    hear(&o);
    say_to(o.to, &handle, sizeof handle);
    expect(hear(&o) == CU_OK);
    q = hear(&o);
    expect(q && q != p);
    say(&o, 'l');
    expect(hear(&o) == 1);
    say(&o, 'c');
    expect(hear(&o) == CU_OK && ended(&o) == 0 && ended(&g) == 0);
}

/* Nobody waits long for one that does not run; it catches up when it goes on. */
static void a_stopped_member_stops_nobody(void)
{
    struct other l = spawn("looker", BYTES);
    hear(&l);
    start();
    get(10);
    kill(l.pid, SIGSTOP);
    cu_ptr p = get(20 << 20);
    fill(p, BYTES_N, 11);
    kill(l.pid, SIGCONT);
    usleep(100000);
    say(&l, p);
    expect(hear(&l) == 1 && ended(&l) == 0);
}

/* Several at once, killed at any time; what they check in their own blocks holds. */
static void neighbours_survive_kills(void)
{
    enum { N = 4 };
    struct other o[N];
    start();
    cu_ptr p = get(50000);
    fill(p, 50000, 9);
    int n = atoi(getenv("KILLS") ? getenv("KILLS") : "24");
    srand(3);
    for (int i = 0; i < n + N; i++) {
        char seed[16];
        snprintf(seed, sizeof seed, "%d", i);
        if (i >= N) {
            usleep((useconds_t)(rand() % 20000));
            killed(&o[i % N]);
        }
        if (i < n) {
            o[i % N] = spawn("churner", seed);
            hear(&o[i % N]);
        }
        expect(holds(p, 50000, 9));
    }
    expect(cu.free(p) == CU_OK);
}

static void *churn(void *arg)
{
    cu_ptr have[20] = { 0 };
    size_t bytes[20];
    unsigned seed = (unsigned)(uintptr_t)arg;
    start();
    for (int i = 0; i < 400; i++) {
        int at = rand_r(&seed) % 20;
        if (have[at]) {
            expect(holds(have[at], bytes[at], (byte)(at + (int)(uintptr_t)arg)));
            expect(cu.free(have[at]) == CU_OK);
            have[at] = 0;
        } else {
            bytes[at] = (size_t)(1 + rand_r(&seed) % 30000);
            have[at] = get(bytes[at]);
            fill(have[at], bytes[at], (byte)(at + (int)(uintptr_t)arg));
        }
    }
    for (int i = 0; i < 20; i++)
        expect(cu.free(have[i]) == CU_OK);
    return NULL;
}

static void threads_share_a_device(void)
{
    pthread_t threads[8];
    start();
    size_t before, after;
    cu.info(&before, NULL);
    for (uintptr_t i = 0; i < 8; i++)
        expect(pthread_create(&threads[i], NULL, churn, (void *)i) == 0);
    for (int i = 0; i < 8; i++)
        pthread_join(threads[i], NULL);
    expect(cu.info(&after, NULL) == CU_OK && before == after);
}

/* ---- fork, descriptors ------------------------------------------------------------------------------------------------ */

static void a_forked_child_has_no_part(void)
{
    start();
    cu_ptr p = get(1000);
    fill(p, 1000, 8);
    pid_t pid = fork();
    if (pid == 0) {
        cu_ptr q;
        expect(cu.alloc(&q, 1000) == CU_NOT_INITIALIZED && cu.free(p) == CU_NOT_INITIALIZED);
        exit(0);
    }
    int status;
    waitpid(pid, &status, 0);
    expect(status == 0 && holds(p, 1000, 8) && cu.free(p) == CU_OK);
}

static void fork_before_the_driver_starts_is_nothing(void)
{
    load();
    pid_t pid = fork();
    start();
    cu_ptr p = get(1000);
    expect(is_shared(p) && cu.free(p) == CU_OK);
    if (pid == 0)
        exit(0);
    int status;
    waitpid(pid, &status, 0);
    expect(status == 0);
}

/* The same process, but what it had on the device is gone. */
static void what_a_program_had_ends_with_exec(void)
{
    struct other l = spawn("looker", BYTES); /* somebody stays, so that nothing begins anew */
    hear(&l);
    start();
    get(3 << 20);
    for (int fd = 3; fd < 20; fd++) /* the looker ends with our last descriptor */
        fcntl(fd, F_SETFD, 0);
    execl(program, program, "after_exec_with_another", (char *)NULL);
    _exit(127);
}

/* 3 MiB of the one before and 512 B of the looker. */
static void after_exec_with_another(void)
{
    size_t free_now, total;
    start();
    cu_ptr p = get(1000);
    expect(is_shared(p) && cu.free(p) == CU_OK);
    expect(cu.info(&free_now, &total) == CU_OK && total - free_now == 512);
}

static void a_program_may_close_all_descriptors(void)
{
    start();
    cu_ptr p = get(BYTES_N);
    fill(p, BYTES_N, 11);
    for (int fd = 4; fd < 1024; fd++)
        close(fd);
    struct other l = spawn("looker", BYTES);
    hear(&l);
    say(&l, p);
    expect(hear(&l) == 1 && ended(&l) == 0);
}

static void it_has_a_thread_only_after_an_allocation(void)
{
    char before[4000] = "", after[4000] = "";
    FILE *f;
    start();
    f = popen("ls /proc/$PPID/task | wc -l", "r");
    expect(fgets(before, sizeof before, f) && !pclose(f));
    get(10);
    f = popen("ls /proc/$PPID/task | wc -l", "r");
    expect(fgets(after, sizeof after, f) && !pclose(f));
    expect(atoi(before) == 1 && atoi(after) == 2);
}

static const struct check checks[] = {
    CHECK(every_row_is_substituted),
    CHECK(the_first_form_of_cuGetProcAddress_is_answered),
    CHECK(everything_else_is_the_drivers),
    CHECK(per_thread_streams_have_their_own),
    CHECK(requests_are_answered),
    CHECK(the_future_is_passed_through_unless_it_is_the_same),
    CHECK(next_is_seen_from_the_caller),
    CHECK(nothing_is_found_where_there_is_no_driver),
    CHECK(the_global_scope_is_found_with_a_driver),
    CHECK(the_driver_serves),
    CHECK(blocks_hold_what_is_written),
    CHECK(large_blocks_lie_across_chunks),
    CHECK(wrong_arguments_get_the_drivers_answer),
    CHECK(wrong_frees_are_refused),
    CHECK(pitch_is_as_the_drivers),
    CHECK(pointers_look_like_cudaMallocs),
    CHECK(memory_info_is_what_it_would_be),
    CHECK(empty_chunks_go_back),
    CHECK(managed_and_stream_ordered_memory_is_the_drivers),
    CHECK(a_block_is_reused_only_when_its_work_is_done),
    CHECK(a_free_waits_for_the_device),
    CHECK(a_deferred_free_does_not_wait),
    CHECK(a_free_in_stream_order_does_not_wait),
    CHECK(a_capture_is_not_disturbed),
    CHECK(freed_memory_is_cleared),
    CHECK(what_does_not_fit_comes_from_the_driver),
    CHECK(what_does_not_fit_fails),
    CHECK(everything_comes_back),
    CHECK(a_reset_frees_what_the_process_made),
    CHECK(the_last_release_does_too),
    CHECK(a_context_takes_its_blocks_with_it),
    CHECK(devices_are_apart),
    CHECK(peer_access_covers_chunks_made_before_and_after),
    CHECK(facts),
    CHECK(answers),
    CHECK(costs),
    CHECK(an_address_is_valid_in_all),
    CHECK(sixteen_see_the_same),
    CHECK(memory_outlives_who_made_it),
    CHECK(a_block_of_another_can_be_freed),
    CHECK(handles_open_at_the_same_address),
    CHECK(handles_are_checked),
    CHECK(foreign_handles_are_the_drivers),
    CHECK(a_killed_openers_hold_ends),
    CHECK(bytes_come_back_from_the_killed),
    CHECK(memory_goes_with_the_last_member),
    CHECK(a_relocated_member_opens_handles),
    CHECK(a_stopped_member_stops_nobody),
    CHECK(neighbours_survive_kills),
    CHECK(threads_share_a_device),
    CHECK(a_forked_child_has_no_part),
    CHECK(fork_before_the_driver_starts_is_nothing),
    CHECK(what_a_program_had_ends_with_exec),
    CHECK(after_exec_with_another),
    CHECK(a_program_may_close_all_descriptors),
    CHECK(it_has_a_thread_only_after_an_allocation),
};

int main(int argc, char **argv)
{
    static const struct {
        const char *name;
        void (*run)(size_t);
    } roles[] = { { "giver", giver },
                  { "looker", looker },
                  { "opener", opener },
                  { "churner", churner },
                  { "holder", holder } };
    program = argv[0];
    free(malloc(100)); /* as every real program */
    for (size_t i = 0; argc == 3 && i < sizeof roles / sizeof *roles; i++)
        if (strcmp(argv[1], roles[i].name) == 0)
            roles[i].run((size_t)atol(argv[2]));
    return RUN_CHECKS(checks, argc, argv);
}
