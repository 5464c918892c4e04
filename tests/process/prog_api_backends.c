/* Checks of where segments of hshm.h may lie: files without a name, private memory, the caller's arrays,
 * and addresses that are taken: prog_api_backends NAME. */
#include "include/hshm.h"
#include "tests/process/expect.h"

#include <dirent.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>

#define MIB (UINT64_C(1) << 20)

static void ends_well(pid_t pid)
{
    int status;
    expect(waitpid(pid, &status, 0) == pid && status == 0);
}

static hshm_segment *open_named(const char *name, uint64_t size)
{
    hshm_attr_t attr = HSHM_ATTR_INIT;
    hshm_segment *s;
    attr.size = size;
    attr.flags = HSHM_CREATE;
    expect(hshm_open(name, &attr, &s) == 0);
    return s;
}

static unsigned random_below(uint64_t *state, unsigned n)
{
    *state = *state * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    return (unsigned)(*state >> 33) % n;
}

/* Blocks of all sizes come, go, grow, shrink, are aligned; each keeps its bytes. */
static void use(hshm_segment *s, unsigned rounds, uint64_t seed)
{
    enum { LIVE = 64 };
    unsigned char *p[LIVE] = { 0 };
    size_t size[LIVE];
    for (unsigned i = 0; i < rounds; i++) {
        unsigned at = random_below(&seed, LIVE), kind = random_below(&seed, 4);
        size_t new = 1 + random_below(&seed, 1u << (1 + random_below(&seed, 12)));
        for (size_t k = 0; p[at] && k < size[at]; k++)
            expect(p[at][k] == (unsigned char)(at + size[at]));
        if (p[at] && kind == 0) {
            unsigned char *q = hshm_realloc(p[at], new);
            expect(q);
            for (size_t k = 0; k < size[at] && k < new; k++)
                expect(q[k] == (unsigned char)(at + size[at]));
            p[at] = q;
        } else if (p[at]) {
            hshm_free(p[at]);
            p[at] = NULL;
            continue;
        } else if (kind == 1) {
            size_t align = (size_t)16 << random_below(&seed, 6);
            expect((p[at] = hshm_alloc_aligned(s, align, new)) && (uintptr_t)p[at] % align == 0);
        } else {
            expect((p[at] = kind == 2 ? hshm_zalloc(s, new) : hshm_alloc(s, new)));
            for (size_t k = 0; kind == 2 && k < new; k++)
                expect(p[at][k] == 0);
        }
        expect(hshm_usable_size(p[at]) >= new &&hshm_segment_of(p[at]) == s);
        expect(hshm_raw(hshm_ptr(p[at])) == p[at] && (uintptr_t)p[at] % 16 == 0);
        size[at] = new;
        memset(p[at], (int)(at + new), new);
    }
    for (unsigned i = 0; i < LIVE; i++)
        hshm_free(p[i]);
}

static int files_open(void)
{
    int n = 0;
    DIR *d = opendir("/proc/self/fd");
    while (readdir(d))
        n++;
    closedir(d);
    return n;
}

/* ---- no name -------------------------------------------------------------------------------- */

static void files_without_a_name_are_shared_with_children(void)
{
    int before = files_open();
    hshm_segment *one = open_named("memfd:one", 64 * MIB), *two = open_named("memfd:two", 64 * MIB);
    expect(one != two && open_named("memfd:one", 64 * MIB) == one && hshm_close(one) == 0);
    expect(hshm_remove("memfd:one") == HSHM_ENOENT); /* nobody can find it */
    long *p = hshm_named(one, "count", sizeof *p, 0, 0, 0, NULL);
    long *q = hshm_named(two, "count", sizeof *q, 0, 0, 0, NULL);
    expect(p && q && p != q);
    pid_t pid = fork();
    if (pid == 0) {
        long *same = hshm_find(one, "count", sizeof *same, 0, 0);
        expect(same == p && hshm_find(two, "count", sizeof *same, 0, 0) == q);
        *p = 5;
        *q = 6;
        use(one, 2000, 3);
        _exit(0);
    }
    ends_well(pid);
    expect(*p == 5 && *q == 6);
    use(two, 2000, 4);
    hshm_stats_t stats = { .struct_size = sizeof stats };
    expect(hshm_stats(one, &stats) == 0 && stats.names == 1);
    expect(hshm_close(one) == 0 && hshm_close(two) == 0);
    expect(files_open() == before);
    expect(hshm_segment_of(p) == NULL);
}

static void private_memory_is_of_its_process(void)
{
    hshm_attr_t attr = HSHM_ATTR_INIT;
    hshm_segment *s = open_named("malloc:mine", 4 * MIB), *none;
    attr.flags = HSHM_CREATE;
    expect(hshm_open("malloc:none", &attr, &none) == HSHM_EINVAL); /* no size */
    long *p = hshm_named(s, "count", sizeof *p, 0, 0, 0, NULL);
    hshm_info_t info = { .struct_size = sizeof info };
    expect(p && hshm_info(s, &info) == 0 && info.is_private && info.limit == 4 * MIB);
    *p = 1;
    pid_t pid = fork();
    if (pid == 0) {
        *p = 2;
        use(s, 3000, 5);
        _exit(0);
    }
    ends_well(pid);
    expect(*p == 1);
    use(s, 20000, 6);
    expect(hshm_alloc(s, 5 * MIB) == NULL && hshm_error() == HSHM_ENOMEM);
    expect(strstr(hshm_error_text(), "asked for 5242880 bytes, available 4"));
    expect(hshm_close(s) == 0 && hshm_segment_of(p) == NULL);
}

/* ---- arrays ------------------------------------------------------------------------------------ */

static _Alignas(4096) char array[2 * MIB];

static void an_array_serves_all_sizes(void)
{
    hshm_segment *s, *again;
    expect(hshm_open_array(array + 8, MIB, HSHM_CREATE, &s) == HSHM_EINVAL);
    expect(hshm_open_array(array, 1000, HSHM_CREATE, &s) == HSHM_EINVAL);
    expect(hshm_open_array(array, sizeof array, 0, &s) == HSHM_ENOENT);
    expect(hshm_open_array(array, sizeof array, HSHM_CREATE, &s) == 0);
    expect(hshm_open_array(array, sizeof array, 0, &again) == HSHM_EBUSY);
    hshm_stats_t start = { .struct_size = sizeof start }, now = start;
    expect(hshm_stats(s, &start) == 0 && start.blocks == 0 && start.available > MIB);
    expect(start.largest_free > start.available - 1000);
    use(s, 100000, 7);
    expect(hshm_stats(s, &now) == 0 && now.blocks == 0 && now.bytes == 0);
    expect(now.available == start.available && now.largest_free == start.largest_free);
    expect(now.peak > 0);
    void *p = hshm_alloc(s, start.largest_free);
    expect(p && hshm_alloc(s, 1) == NULL && hshm_error() == HSHM_ENOMEM);
    hshm_free(p);
    expect(hshm_alloc(s, SIZE_MAX) == NULL && hshm_calloc(s, SIZE_MAX / 2, 3) == NULL);
    p = hshm_alloc(s, 100);
    hshm_ptr_t shared = hshm_ptr(p);
    expect(hshm_at(s, hshm_off(s, p)) == p);
    expect(hshm_close(s) == 0 && hshm_raw(shared) == NULL);
    expect(hshm_open_array(array, sizeof array, 0, &s) == 0 && hshm_raw(shared) == p);
    expect(hshm_close(s) == 0);
    expect(hshm_open_array(array, sizeof array, HSHM_CREATE, &s) == 0 && !hshm_raw(shared));
    expect(hshm_close(s) == 0); /* another one at the same place */
    expect(hshm_open_array(array, MIB, 0, &s) == HSHM_ESIZE);
}

static int counts_names(const char *name, const hshm_name_t *info, void *context)
{
    expect(name[0] == 'n' && info->size == 8);
    ++*(int *)context;
    return 0;
}

static void an_array_has_names_header_roots_and_heaps(void)
{
    int made, names = 0;
    hshm_segment *s;
    hshm_heap *heap, *stack, *same;
    expect(hshm_open_array(array, sizeof array, HSHM_CREATE, &s) == 0);
    for (int i = 0; i < 300; i++) {
        char name[16];
        snprintf(name, sizeof name, "n%d", i);
        int *p = hshm_named(s, name, 8, 64, 3, 0, &made);
        expect(p && made && *p == 0 && (uintptr_t)p % 64 == 0);
        *p = i;
    }
    for (int i = 0; i < 300; i++) {
        char name[16];
        snprintf(name, sizeof name, "n%d", i);
        int *p = hshm_find(s, name, 8, 3, 0);
        expect(p && *p == i && hshm_named(s, name, 8, 64, 3, 0, &made) == p && !made);
    }
    expect(hshm_named(s, "n7", 9, 0, 3, 0, NULL) == NULL && hshm_error() == HSHM_ESIZE);
    expect(hshm_find(s, "n7", 8, 4, 0) == NULL && hshm_error() == HSHM_ETYPE);
    expect(hshm_named(s, "n7", 8, 0, 3, HSHM_ALONE, NULL) == NULL && hshm_error() == HSHM_EEXIST);
    expect(hshm_find(s, "none", 0, 0, 0) == NULL && hshm_error() == HSHM_ENOENT);
    expect(hshm_unname(s, "n7") == 0);
    expect(hshm_unname(s, "n7") == HSHM_ENOENT);
    expect(hshm_names(s, counts_names, &names) == 0 && names == 299);
    hshm_name_t info = { .struct_size = sizeof info };
    expect(hshm_name_info(s, "n8", &info) == 0 && info.size == 8 && info.type == 3);
    char *p = hshm_alloc(s, 100);
    expect(hshm_publish("mine", p, 100, 0, NULL) == 0 && hshm_find(s, "mine", 100, 0, 0) == p);
    expect(hshm_publish("mine", p, 100, 0, NULL) == HSHM_EEXIST);
    expect(hshm_root_set(s, "root", p) == 0 && hshm_root_get(s, "root") == p);
    long *header = hshm_header(s, 80);
    expect(header && *header == 0 && hshm_header(s, 80) == header && !hshm_header(s, 8));
    expect(hshm_heap_create(s, 1, HSHM_HEAP_PAGE, 0, 0, &heap) == HSHM_EINVAL);
    expect(hshm_heap_create(s, 1, HSHM_HEAP_THREAD, 0, 32, &heap) == 0);
    expect(hshm_heap_create(s, 2, HSHM_HEAP_STACK, 10000, 0, &stack) == 0);
    expect(hshm_heap_open(s, 1, &same) == 0);
    p = hshm_heap_alloc(heap, 1000);
    expect(p && hshm_heap_used(same) >= 1000 && hshm_heap_header(same, NULL));
    p = hshm_heap_realloc(heap, p, 5000);
    hshm_heap_free(same, p);
    expect(hshm_heap_used(heap) == 0);
    expect(hshm_heap_alloc(stack, 9000) && !hshm_heap_alloc(stack, 9000));
    hshm_heap_close(same);
    hshm_heap_close(heap);
    hshm_heap_close(stack);
    expect(hshm_heap_remove(s, 1) == 0 && hshm_heap_open(s, 1, &heap) == HSHM_ENOENT);
    expect(hshm_give(p) == HSHM_EINVAL); /* an array has no members */
    expect(hshm_close(s) == 0);
}

struct node {
    hshm_ptr_t next;
    long value;
};
struct list {
    hshm_ptr_t first;
    long length;
};

static char *map_file(const char *path, void *at)
{
    int fd = open(path, O_RDWR | O_CREAT, 0600);
    expect(fd >= 0 && ftruncate(fd, (off_t)MIB) == 0);
    char *map = mmap(at, MIB, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    expect(map != MAP_FAILED && (!at || map == at));
    close(fd);
    return map;
}

static void prepend(hshm_segment *s, struct list *list, long value)
{
    struct node *node = hshm_alloc(s, sizeof *node);
    expect(node);
    node->next = list->first;
    node->value = value;
    list->first = hshm_ptr(node);
    list->length++;
}

static const char *program_path(void)
{
    static char path[256];
    path[readlink("/proc/self/exe", path, sizeof path - 1)] = '\0';
    return path;
}

static char file_path[256];
static void file_make(void)
{
    const char *dir = getenv("TMPDIR");
    snprintf(file_path, sizeof file_path, "%s/array-%d", dir ? dir : "/tmp", (int)getpid());
}

static void an_array_is_shared_at_different_addresses(void)
{
    hshm_segment *s;
    file_make();
    char *map = map_file(file_path, (void *)UINT64_C(0x300000000000));
    expect(hshm_open_array(map, MIB, HSHM_CREATE, &s) == 0);
    struct list *list = hshm_named(s, "list", sizeof *list, 0, 0, 0, NULL);
    for (long i = 0; i < 100; i++)
        prepend(s, list, i);
    pid_t pid = fork();
    if (pid == 0) {
        execl(program_path(), program_path(), "at_another_address", file_path, (char *)NULL);
        _exit(127);
    }
    ends_well(pid);
    expect(list->length == 150);
    long value = 149;
    for (hshm_ptr_t p = list->first; !hshm_ptr_is_null(p);) {
        struct node *node = hshm_raw(p);
        expect(node && node->value == value--);
        p = node->next;
        hshm_free(node); /* the other's, too */
    }
    expect(value == -1);
    expect(hshm_close(s) == 0 && unlink(file_path) == 0);
}

static void at_another_address(const char *path)
{
    hshm_segment *s;
    char *map = map_file(path, (void *)UINT64_C(0x310000000000));
    expect(hshm_open_array(map, MIB, 0, &s) == 0);
    struct list *list = hshm_find(s, "list", sizeof *list, 0, 0);
    expect(list && list->length == 100);
    long value = 99;
    for (hshm_ptr_t p = list->first; !hshm_ptr_is_null(p); p = ((struct node *)hshm_raw(p))->next)
        expect(((struct node *)hshm_raw(p))->value == value--);
    for (long i = 100; i < 150; i++)
        prepend(s, list, i);
}

/* Killed at whatever instruction: nobody waits for it, and the row of blocks is whole. */
static void an_array_outlives_killed_users(void)
{
    hshm_segment *s;
    hshm_stats_t stats = { .struct_size = sizeof stats };
    char *map = mmap(NULL, MIB, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    expect(hshm_open_array(map, MIB, HSHM_CREATE, &s) == 0);
    for (unsigned i = 0; i < 150; i++) {
        pid_t pid = fork();
        if (pid == 0)
            for (unsigned k = 0;; k++) {
                char name[16];
                snprintf(name, sizeof name, "k%u", k % 8);
                void *p = hshm_alloc(s, k % 700), *q = hshm_alloc(s, 100);
                hshm_named(s, name, 40, 0, 0, 0, NULL);
                hshm_free(p);
                q = hshm_realloc(q, k % 1500);
                hshm_unname(s, name);
                hshm_free(q);
            }
        usleep(300 + i * 13);
        kill(pid, SIGKILL);
        waitpid(pid, NULL, 0);
        use(s, 100, i);
    }
    for (int k = 0; k < 8; k++) {
        char name[16];
        snprintf(name, sizeof name, "k%d", k);
        hshm_unname(s, name);
    }
    /* What they had at most: two blocks, and a name with its block in the making. */
    expect(hshm_stats(s, &stats) == 0 && stats.blocks <= 4 * 150 && stats.names == 0);
    use(s, 10000, 99);
    expect(hshm_close(s) == 0);
}

/* An array may be a block of another segment, or of malloc. */
static void an_array_may_lie_in_a_block(void)
{
    hshm_segment *outer = open_named("names-outer", 64 * MIB), *in_block, *in_malloc;
    hshm_default();
    void *before = hshm_alloc(outer, 100), *block = hshm_alloc(outer, MIB), *plain = malloc(MIB);
    expect(hshm_segment_of(block) == outer);
    expect(hshm_open_array(block, MIB, HSHM_CREATE, &in_block) == 0);
    expect(hshm_open_array(plain, MIB, HSHM_CREATE, &in_malloc) == 0);
    for (int i = 0; i < 100; i++) { /* one after the other: none is taken for the last one's */
        void *p = hshm_alloc(in_block, 100), *q = hshm_alloc(in_malloc, 100);
        void *r = hshm_alloc(outer, 100);
        expect(hshm_segment_of(r) == outer && hshm_segment_of(p) == in_block);
        expect(hshm_segment_of(before) == outer && hshm_segment_of(q) == in_malloc);
        expect(hshm_raw(hshm_ptr(p)) == p && hshm_raw(hshm_ptr(q)) == q);
        hshm_free(r);
        hshm_free(p);
        hshm_free(before);
        hshm_free(q);
        before = hshm_alloc(outer, 100);
    }
    hshm_segment *inner;
    void *nested = hshm_alloc_aligned(in_block, 64, 65536), *beside = hshm_alloc(in_block, 100);
    expect(nested && hshm_open_array(nested, 65536, HSHM_CREATE, &inner) == 0);
    for (int i = 0; i < 10; i++) {
        void *p = hshm_alloc(inner, 100);
        expect(hshm_segment_of(p) == inner && hshm_segment_of(beside) == in_block);
        hshm_free(p);
    }
    expect(hshm_close(inner) == 0 && hshm_segment_of(nested) == in_block);
    hshm_free(nested);
    use(in_block, 2000, 1);
    use(outer, 2000, 2);
    use(in_malloc, 2000, 3);
    expect(hshm_close(in_block) == 0 && hshm_close(in_malloc) == 0);
    expect(hshm_segment_of((char *)block + 1000) == outer);
    hshm_free(block);
    free(plain);
    expect(hshm_close(outer) == 0);
}

static void *uses(void *s)
{
    use(s, 5000, (uint64_t)(uintptr_t)&s);
    return NULL;
}

static void threads_share_an_array(void)
{
    hshm_segment *s;
    pthread_t threads[4];
    hshm_stats_t stats = { .struct_size = sizeof stats };
    expect(hshm_open_array(array, sizeof array, HSHM_CREATE, &s) == 0);
    for (int i = 0; i < 4; i++)
        expect(pthread_create(&threads[i], NULL, uses, s) == 0);
    for (int i = 0; i < 4; i++)
        pthread_join(threads[i], NULL);
    expect(hshm_stats(s, &stats) == 0 && stats.blocks == 0);
    expect(hshm_close(s) == 0);
}

static void frees_wrongly(const char *how)
{
    hshm_segment *s;
    struct rlimit none = { 0, 0 };
    setrlimit(RLIMIT_CORE, &none);
    expect(hshm_open_array(array, sizeof array, HSHM_CREATE, &s) == 0);
    char *p = hshm_alloc(s, 100), *q = hshm_alloc(s, 100);
    hshm_free(q);
    if (how[0] == 't')
        hshm_free(q);
    if (how[0] == 's') { /* where q was there is a larger block now */
        hshm_free(p);
        expect(hshm_alloc(s, 250) == p);
        hshm_free(q);
    }
    hshm_free(p + (how[0] == 'i' ? 32 : 0));
}

static void wrong_frees_in_an_array_end_with_a_line(void)
{
    for (const char *how = "tisn"; *how; how++) {
        char text[300] = "", word[2] = { *how, '\0' };
        int fds[2], status, kept = dup(2);
        expect(pipe(fds) == 0 && dup2(fds[1], 2) == 2);
        pid_t pid = fork();
        if (pid == 0) {
            execl(program_path(), program_path(), "frees_wrongly", word, (char *)NULL);
            _exit(127);
        }
        dup2(kept, 2);
        close(kept);
        close(fds[1]);
        expect(read(fds[0], text, sizeof text - 1) >= 0);
        close(fds[0]);
        expect(waitpid(pid, &status, 0) == pid);
        expect(*how == 'n' ? status == 0 : WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
        expect(*how == 'n' || strstr(text, "hshm_free of a pointer to no block"));
    }
}

/* ---- addresses that are taken -------------------------------------------------------------------- */

static void a_clash_is_told_with_the_name_and_the_addresses(void)
{
    char name[64], base[32];
    snprintf(name, sizeof name, "names-clash-%d", (int)getpid());
    hshm_segment *s = open_named(name, 64 * MIB);
    hshm_info_t info = { .struct_size = sizeof info };
    expect(hshm_info(s, &info) == 0);
    snprintf(base, sizeof base, "%p", info.base);
    pid_t pid = fork();
    if (pid == 0) {
        execl(program_path(), program_path(), base, name, (char *)NULL);
        _exit(127);
    }
    ends_well(pid);
    expect(hshm_close(s) == 0);
}

static void clashes(const char *base, const char *name)
{
    hshm_attr_t attr = HSHM_ATTR_INIT;
    hshm_segment *s;
    void *at = (void *)(uintptr_t)strtoul(base, NULL, 16);
    void *map = mmap(at, 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    expect(map == at);
    expect(hshm_open(name, &attr, &s) == HSHM_ECLASH);
    expect(strstr(hshm_error_text(), name) && strstr(hshm_error_text(), base));
    attr.flags = HSHM_READ_ONLY;
    expect(hshm_open(name, &attr, &s) == HSHM_ECLASH);
    expect(strstr(hshm_error_text(), name) && strstr(hshm_error_text(), base));
    munmap(map, 4096);
    expect(hshm_open(name, &attr, &s) == 0);
}

static const struct check checks[] = {
    CHECK(files_without_a_name_are_shared_with_children),
    CHECK(private_memory_is_of_its_process),
    CHECK(an_array_serves_all_sizes),
    CHECK(an_array_has_names_header_roots_and_heaps),
    CHECK(an_array_is_shared_at_different_addresses),
    CHECK(an_array_outlives_killed_users),
    CHECK(an_array_may_lie_in_a_block),
    CHECK(threads_share_an_array),
    CHECK(wrong_frees_in_an_array_end_with_a_line),
    CHECK(a_clash_is_told_with_the_name_and_the_addresses),
};

int main(int argc, char **argv)
{
    if (argc == 3 && strcmp(argv[1], "at_another_address") == 0)
        return at_another_address(argv[2]), 0;
    if (argc == 3 && strcmp(argv[1], "frees_wrongly") == 0)
        return frees_wrongly(argv[2]), 0;
    if (argc == 3 && strncmp(argv[1], "0x", 2) == 0)
        return clashes(argv[1], argv[2]), 0;
    return RUN_CHECKS(checks, argc, argv);
}
