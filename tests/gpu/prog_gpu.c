/* What one program sees of GPU memory: it calls the driver as any program does. */
#include "tests/gpu/gpu.h"

const char *program;

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

static const struct check checks[] = {
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
};

int main(int argc, char **argv)
{
    program = argv[0];
    free(malloc(100)); /* as every real program */
    return RUN_CHECKS(checks, argc, argv);
}
