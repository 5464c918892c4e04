/* What malloc does where memory ends. */
#include "tests/process/expect.h"

/* Small and large blocks until nothing more is to be had; all of it intact; then it works again. */
static void the_heap_fills_up(void)
{
    enum { N = 100000 };
    static char *p[N];
    static const size_t sizes[] = { 1000, 100, 30000, 200000, 16 };
    int n = 0;
    for (; n < N; n++) {
        size_t size = sizes[n % 5];
        errno = 0;
        if (!(p[n] = malloc(size)))
            break;
        memset(p[n], n & 127, size);
    }
    expect(n > 100 && n < N && errno == ENOMEM);
    for (int i = 0; i < n; i++)
        for (size_t at = 0; at < sizes[i % 5]; at++)
            expect(p[i][at] == (i & 127));
    for (int i = 0; i < n; i++)
        free(p[i]);
    for (int i = 0; i < n - n / 10; i++) /* the rest may be in pages kept for their sizes */
        expect((p[i] = malloc(sizes[i % 5])));
}

static const struct check checks[] = {
    CHECK(the_heap_fills_up),
};

int main(int argc, char **argv)
{
    return RUN_CHECKS(checks, argc, argv);
}
