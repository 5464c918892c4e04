/* How a program finds the functions of the driver, and whose it gets. */
#include "tests/gpu/gpu.h"

const char *program;

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
};

int main(int argc, char **argv)
{
    program = argv[0];
    free(malloc(100)); /* as every real program */
    return RUN_CHECKS(checks, argc, argv);
}
