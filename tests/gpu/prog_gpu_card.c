/* For people: what a card answers, and what it takes. */
#include "tests/gpu/gpu.h"

#include <time.h>

const char *program;

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

static const struct check checks[] = {
    CHECK(facts),
    CHECK(answers),
    CHECK(costs),
};

int main(int argc, char **argv)
{
    program = argv[0];
    free(malloc(100)); /* as every real program */
    return RUN_CHECKS(checks, argc, argv);
}
