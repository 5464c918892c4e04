/* Checks of hshm.h: prog_api NAME.  Each works the same with and without the preload. */
#include "include/hshm.h"
#include "tests/process/expect.h"

#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <sys/mman.h>
#include <sys/wait.h>

#define MIB (UINT64_C(1) << 20)

static char segment_name[64];
static hshm_segment *open_with(uint64_t size, unsigned flags)
{
    hshm_attr_t attr = HSHM_ATTR_INIT;
    hshm_segment *s;
    snprintf(segment_name, sizeof segment_name, "names-api-%d", (int)getpid());
    attr.size = size;
    attr.flags = HSHM_CREATE | flags;
    expect(hshm_open(segment_name, &attr, &s) == 0);
    return s;
}

/* A child joins as a member of its own by its first call. */
static pid_t child(void (*does)(hshm_segment *s), hshm_segment *s)
{
    pid_t pid = fork();
    if (pid == 0) {
        does(s);
        _exit(0);
    }
    return pid;
}

static void ends_well(pid_t pid)
{
    int status;
    expect(waitpid(pid, &status, 0) == pid && status == 0);
}

/* ---- segments ------------------------------------------------------------------------- */

static void segments_are_made_joined_and_removed(void)
{
    hshm_attr_t attr = HSHM_ATTR_INIT;
    hshm_segment *s = open_with(64 * MIB, HSHM_EXCLUSIVE), *again;
    attr.flags = 0;
    expect(hshm_open(segment_name, &attr, &again) == 0 && again == s);
    expect(hshm_close(again) == 0);
    attr.flags = HSHM_CREATE | HSHM_EXCLUSIVE;
    expect(hshm_open(segment_name, &attr, &again) == HSHM_EEXIST);
    expect(hshm_remove(segment_name) == HSHM_EBUSY);
    hshm_info_t info = { .struct_size = sizeof info };
    expect(hshm_info(s, &info) == 0 && info.limit == 64 * MIB && info.member > 0);
    expect(info.members == 1 && strcmp(info.name, segment_name) == 0 && info.mode == 0600);
    expect(hshm_close(s) == 0);
    attr.flags = 0;
    expect(hshm_open(segment_name, &attr, &s) == HSHM_ENOENT);
    expect(hshm_remove(segment_name) == HSHM_ENOENT);
    attr.wait_ms = 20;
    expect(hshm_open(segment_name, &attr, &s) == HSHM_EAGAIN);
    expect(hshm_open("a/b", NULL, &s) == HSHM_EINVAL && hshm_open("", NULL, &s) == HSHM_EINVAL);
}

static void exclusive_means_that_nobody_else_has_made_it(void)
{
    hshm_attr_t attr = HSHM_ATTR_INIT;
    snprintf(segment_name, sizeof segment_name, "names-api-%d", (int)getpid());
    attr.size = 64 * MIB;
    attr.flags = HSHM_CREATE | HSHM_EXCLUSIVE;
    pid_t pids[6];
    int made = 0, pipes[2], all[2];
    expect(pipe(pipes) == 0 && pipe(all) == 0);
    for (int i = 0; i < 6; i++)
        if ((pids[i] = fork()) == 0) {
            hshm_segment *s;
            char c = 0;
            close(all[1]);
            int rc = hshm_open(segment_name, &attr, &s);
            expect(rc == 0 || rc == HSHM_EEXIST);
            c = rc == 0;
            expect(write(pipes[1], &c, 1) == 1);
            expect(read(all[0], &c, 1) == 0); /* until everybody has tried */
            if (rc == 0)
                hshm_close(s);
            _exit(0);
        }
    for (int i = 0; i < 6; i++) {
        char c;
        expect(read(pipes[0], &c, 1) == 1);
        made += c;
    }
    expect(made == 1);
    close(all[1]);
    for (int i = 0; i < 6; i++)
        ends_well(pids[i]);
}

static void a_joiner_waits_until_the_segment_is_there(void)
{
    hshm_attr_t attr = HSHM_ATTR_INIT;
    snprintf(segment_name, sizeof segment_name, "names-api-%d", (int)getpid());
    pid_t pid = fork();
    if (pid == 0) {
        hshm_segment *s;
        attr.wait_ms = 10000;
        expect(hshm_open(segment_name, &attr, &s) == 0);
        expect(hshm_find_wait(s, "ready", 4, 0, 0, 10000) != NULL);
        _exit(0);
    }
    usleep(30000);
    hshm_segment *s;
    attr.flags = HSHM_CREATE;
    attr.size = 64 * MIB;
    expect(hshm_open(segment_name, &attr, &s) == 0);
    usleep(30000);
    expect(hshm_named(s, "ready", 4, 0, 0, 0, NULL));
    ends_well(pid);
    expect(hshm_find_wait(s, "never", 4, 0, 0, 10) == NULL && hshm_error() == HSHM_EAGAIN);
    hshm_close(s);
}

#define MANY 64
static void many_made_in_a_race_are_all_open_at_once(void)
{
    hshm_attr_t attr = HSHM_ATTR_INIT;
    attr.size = 16 * MIB;
    attr.flags = HSHM_CREATE;
    int ready[2], go[2];
    expect(pipe(ready) == 0 && pipe(go) == 0);
    int me = (int)getpid();
    for (int i = 0; i < MANY; i++)
        if (fork() == 0) {
            char name[64], c;
            hshm_segment *s;
            close(go[1]);
            snprintf(name, sizeof name, "names-many-%d-%d", me, i);
            expect(hshm_open(name, &attr, &s) == 0);
            int *p = hshm_named(s, "index", sizeof *p, 0, 0, 0, NULL);
            *p = i;
            expect(write(ready[1], "x", 1) == 1);
            expect(read(go[0], &c, 1) == 0);
            hshm_close(s);
            _exit(0);
        }
    for (int i = 0; i < MANY; i++) {
        char c;
        expect(read(ready[0], &c, 1) == 1);
    }
    hshm_segment *all[MANY];
    attr.flags = 0;
    for (int i = 0; i < MANY; i++) {
        char name[64];
        snprintf(name, sizeof name, "names-many-%d-%d", me, i);
        expect(hshm_open(name, &attr, &all[i]) == 0);
    }
    for (int i = 0; i < MANY; i++) {
        int *p = hshm_find(all[i], "index", sizeof *p, 0, 0);
        expect(p && *p == i && hshm_segment_of(p) == all[i]);
        void *q = hshm_alloc(all[i], 100);
        expect(hshm_raw(hshm_ptr(q)) == q && hshm_ptr(q).segment != hshm_ptr(all).segment);
        hshm_free(q);
    }
    close(go[1]);
    for (int i = 0; i < MANY; i++) {
        int status;
        expect(wait(&status) > 0 && status == 0);
        expect(hshm_close(all[i]) == 0);
    }
}

/* Those who join have no choice of addresses: what they have themselves must not be there. */
static void a_newcomer_can_join_every_segment(void)
{
    hshm_segment *made[80];
    char program[256], text[16];
    hshm_attr_t attr = HSHM_ATTR_INIT;
    attr.size = 64 * MIB;
    attr.flags = HSHM_CREATE | HSHM_EXCLUSIVE;
    for (int i = 0; i < 80; i++) {
        snprintf(segment_name, sizeof segment_name, "names-join-%d-%d", (int)getpid(), i);
        expect(hshm_open(segment_name, &attr, &made[i]) == 0);
    }
    snprintf(text, sizeof text, "%d", (int)getpid());
    program[readlink("/proc/self/exe", program, sizeof program - 1)] = '\0';
    pid_t pid = fork();
    if (pid == 0) {
        execl(program, program, "joins", text, NULL);
        _exit(127);
    }
    ends_well(pid);
    for (int i = 0; i < 80; i++)
        expect(hshm_close(made[i]) == 0);
}

static void joins(const char *maker)
{
    hshm_attr_t attr = HSHM_ATTR_INIT;
    hshm_segment *s;
    for (int i = 0; i < 80; i++) {
        snprintf(segment_name, sizeof segment_name, "names-join-%s-%d", maker, i);
        expect(hshm_open(segment_name, &attr, &s) == 0);
    }
}

static void read_only_finds_and_writes_nothing(void)
{
    hshm_segment *s = open_with(64 * MIB, 0);
    int *p = hshm_named(s, "number", sizeof *p, 0, 7, 0, NULL);
    *p = 42;
    for (int i = 0; i < 100; i++) { /* removed ones are stepped over */
        char name[16];
        snprintf(name, sizeof name, "n%d", i);
        hshm_named(s, name, 8, 0, 0, 0, NULL);
        hshm_unname(s, name);
    }
    int fds[2];
    expect(pipe(fds) == 0);
    pid_t pid = fork();
    if (pid == 0) {
        char self[64];
        snprintf(self, sizeof self, "%d", (int)getppid());
        execl("/proc/self/exe", "prog_api", "reads", segment_name, (char *)NULL);
        _exit(3);
    }
    ends_well(pid);
    hshm_close(s);
}

static void reads(const char *name)
{
    hshm_attr_t attr = HSHM_ATTR_INIT;
    hshm_segment *s;
    hshm_info_t info = { .struct_size = sizeof info };
    attr.flags = HSHM_READ_ONLY;
    expect(hshm_open(name, &attr, &s) == 0);
    int *p = hshm_find(s, "number", sizeof *p, 7, 0);
    expect(p && *p == 42);
    expect(hshm_find(s, "n7", 0, 0, 0) == NULL && hshm_error() == HSHM_ENOENT);
    expect(hshm_alloc(s, 10) == NULL && hshm_error() == HSHM_EREADONLY);
    expect(hshm_unname(s, "number") == HSHM_EREADONLY);
    expect(hshm_find(s, "number", 0, 0, HSHM_COUNTED) == NULL && hshm_error() == HSHM_EREADONLY);
    expect(hshm_info(s, &info) == 0 && info.member == 0 && info.is_read_only && info.members == 1);
    expect(hshm_close(s) == 0);
}

static int count_segment(const char *name, void *context)
{
    *(int *)context += strcmp(name, segment_name) == 0;
    return 0;
}

static void segments_are_listed(void)
{
    int n = 0;
    hshm_segment *s = open_with(64 * MIB, 0);
    expect(hshm_list(count_segment, &n) == 0 && n == 1);
    hshm_close(s);
}

static void members_that_are_killed_leave_the_others_running(void)
{
    hshm_segment *s = open_with(256 * MIB, HSHM_RECLAIM);
    for (int round = 0; round < 8; round++) {
        pid_t pid = fork();
        if (pid == 0)
            for (unsigned i = 0;; i++) {
                char name[16];
                snprintf(name, sizeof name, "k%u", i % 20);
                hshm_named(s, name, 100, 0, 0, HSHM_COUNTED, NULL);
                hshm_free(hshm_alloc(s, i % 3000));
                hshm_unname(s, name);
            }
        usleep(4000 + (unsigned)round * 1777);
        kill(pid, SIGKILL);
        waitpid(pid, NULL, 0);
        for (int i = 0; i < 20; i++) {
            char name[16];
            snprintf(name, sizeof name, "k%d", i);
            void *p = hshm_named(s, name, 100, 0, 0, 0, NULL);
            expect(p != NULL);
            hshm_unname(s, name);
        }
    }
    hshm_close(s);
}

/* ---- blocks ------------------------------------------------------------------------------- */

static void allocation_keeps_its_promises(void)
{
    hshm_segment *s = open_with(256 * MIB, 0);
    for (size_t size = 0; size < 3000; size += 7) {
        char *p = hshm_alloc(s, size);
        expect(p && (uintptr_t)p % 16 == 0 && hshm_usable_size(p) >= size);
        memset(p, 1, size);
        hshm_free(p);
    }
    for (size_t align = 1; align <= 4 * MIB; align *= 2) {
        char *p = hshm_alloc_aligned(s, align, 100);
        expect(p && (uintptr_t)p % align == 0);
        hshm_free(p);
    }
    expect(hshm_alloc_aligned(s, 24, 10) == NULL && hshm_error() == HSHM_EINVAL);
    char *z = hshm_zalloc(s, 100000);
    for (int i = 0; i < 100000; i++)
        expect(z[i] == 0);
    char *r = hshm_alloc(s, 3000);
    memset(r, 5, 3000);
    r = hshm_realloc(r, 4000);
    r = hshm_realloc(r, 1000000);
    for (int i = 0; i < 3000; i++)
        expect(r[i] == 5);
    r = hshm_realloc(r, 10); /* smaller: nothing behind it is written */
    for (int i = 0; i < 10; i++)
        expect(r[i] == 5);
    hshm_free(r);
    hshm_free(z);
    hshm_free(NULL);
    expect(hshm_usable_size(&r) == 0);
    hshm_close(s);
}

static void what_is_too_large_fails_and_the_heap_goes_on(void)
{
    hshm_segment *s = open_with(64 * MIB, 0);
    expect(hshm_alloc(s, SIZE_MAX) == NULL && hshm_error() == HSHM_ENOMEM);
    expect(hshm_alloc(s, SIZE_MAX - 8) == NULL && hshm_zalloc(s, SIZE_MAX / 2) == NULL);
    expect(hshm_calloc(s, SIZE_MAX / 2, 3) == NULL && hshm_error() == HSHM_ENOMEM);
    expect(hshm_alloc_aligned(s, 4096, SIZE_MAX - 100) == NULL);
    expect(hshm_alloc(s, 200 * MIB) == NULL && errno == ENOMEM);
    expect(strstr(hshm_error_text(), "asked for 209715200 bytes, available 6"));
    void *all[100];
    int n = 0;
    while (n < 100 && (all[n] = hshm_alloc(s, MIB)))
        n++;
    expect(n > 30 && n < 64);
    while (n)
        hshm_free(all[--n]);
    for (int i = 0; i < 1000; i++)
        expect(hshm_alloc(s, 100));
    hshm_close(s);
}

static void small_blocks_do_not_leak(void)
{
    hshm_segment *s = open_with(16 * MIB, 0);
    for (int i = 0; i < 3000000; i++) {
        char *p = hshm_alloc(s, 16);
        expect(p);
        hshm_free(p);
    }
    hshm_close(s);
}

static void *allocates_and_ends(void *s)
{
    void *p = hshm_alloc(s, 100);
    expect(p);
    hshm_free(p);
    return NULL;
}

static void threads_come_and_go_without_limit(void)
{
    hshm_segment *s = open_with(64 * MIB, 0);
    for (int i = 0; i < 2000; i++) {
        pthread_t t;
        expect(pthread_create(&t, NULL, allocates_and_ends, s) == 0);
        pthread_join(t, NULL);
    }
    hshm_close(s);
}

static hshm_context *other_context;
static void *frees_in_a_context(void *p)
{
    hshm_context_free(other_context, p);
    return NULL;
}

static void contexts_of_one_id_clash(void)
{
    hshm_segment *s = open_with(64 * MIB, 0);
    hshm_context *a, *b;
    expect(hshm_context_open(s, 7, &a) == 0);
    expect(hshm_context_open(s, 7, &b) == HSHM_EBUSY && hshm_context_open(s, 0, &b) == HSHM_EINVAL);
    expect(hshm_context_open(s, 8, &b) == 0 && hshm_context_id(b) == 8);
    void *p = hshm_context_alloc(a, 100);
    other_context = b;
    pthread_t t;
    expect(p && pthread_create(&t, NULL, frees_in_a_context, p) == 0);
    pthread_join(t, NULL);
    hshm_context_close(a);
    expect(hshm_context_open(s, 7, &a) == 0);
    hshm_context_close(a);
    hshm_context_close(b);
    hshm_close(s);
}

/* ---- pointers -------------------------------------------------------------------------------- */

static void pointers_mean_the_same_everywhere(void)
{
    hshm_segment *s = open_with(64 * MIB, 0);
    char *p = hshm_alloc(s, 100);
    hshm_ptr_t q = hshm_ptr(p), null = HSHM_NULL;
    expect(sizeof q == 16 && !hshm_ptr_is_null(q) && hshm_raw(q) == p);
    expect(hshm_ptr_is_null(hshm_ptr(NULL)) && hshm_ptr_is_null(hshm_ptr(&q)) && !hshm_raw(null));
    expect(hshm_raw(hshm_ptr(p + 50)) == p + 50 && hshm_ptr_equal(q, hshm_ptr(p)));
    expect(hshm_at(s, hshm_off(s, p)) == p && hshm_off(s, &q) == 0 && hshm_at(s, 0) == NULL);
    expect(hshm_full(p).raw == p && hshm_ptr_equal(hshm_full(p).shared, q));
    expect(hshm_segment_of(p) == s && hshm_segment_of(&q) == NULL);
    char name[64];
    strcpy(name, segment_name);
    hshm_close(s);
    expect(hshm_raw(q) == NULL && hshm_segment_of(p) == NULL);
}

/* ---- names ------------------------------------------------------------------------------------- */

static void checks_names(hshm_segment *s)
{
    int *p = hshm_find(s, "shared", 400, 5, HSHM_COUNTED), *own;
    expect(p && p[3] == 33);
    p[4] = 44;
    expect(hshm_find(s, "shared", 401, 5, 0) == NULL && hshm_error() == HSHM_ESIZE);
    expect(hshm_find(s, "shared", 400, 6, 0) == NULL && hshm_error() == HSHM_ETYPE);
    own = hshm_named(s, "of the child", 8, 0, 0, HSHM_ALONE, NULL);
    *own = 55;
}

static int sums_sizes(const char *name, const hshm_name_t *info, void *context)
{
    (void)name;
    *(uint64_t *)context += info->size;
    return 0;
}

static void names_are_shared_by_members(void)
{
    hshm_segment *s = open_with(64 * MIB, 0);
    int made;
    int *p = hshm_named(s, "shared", 400, 64, 5, 0, &made);
    expect(p && made && (uintptr_t)p % 64 == 0 && p[99] == 0);
    p[3] = 33;
    ends_well(child(checks_names, s)); /* forked: and yet it sees the same block */
    expect(p[4] == 44);
    int *theirs = hshm_find(s, "of the child", 8, 0, 0);
    expect(theirs && *theirs == 55);
    expect(hshm_named(s, "shared", 400, 0, 5, 0, &made) == p && !made);
    expect(hshm_named(s, "shared", 400, 0, 5, HSHM_ALONE, NULL) == NULL);
    expect(hshm_error() == HSHM_EEXIST);
    expect(hshm_named(s, "hshm.x", 4, 0, 0, 0, NULL) == NULL && hshm_error() == HSHM_EINVAL);
    char name[128];
    expect(hshm_name_of(p, name, sizeof name) == 0 && strcmp(name, "shared") == 0);
    expect(hshm_name_of(p, name, 6) == HSHM_ESIZE && hshm_name_of(&p, name, 6) == HSHM_ENOENT);
    uint64_t sum = 0;
    expect(hshm_names(s, sums_sizes, &sum) == 0 && sum == 408);
    expect(hshm_unname(s, "shared") == 0);
    expect(hshm_unname(s, "shared") == HSHM_ENOENT);
    expect(hshm_find(s, "shared", 0, 0, 0) == NULL);
    hshm_close(s);
}

static void refers(hshm_segment *s)
{
    expect(hshm_find(s, "counted", 0, 0, HSHM_COUNTED));
}

static void references_hold_a_block(void)
{
    hshm_segment *s = open_with(64 * MIB, 0);
    char *p = hshm_named(s, "counted", 100, 0, 0, HSHM_COUNTED, NULL);
    hshm_name_t info = { .struct_size = sizeof info };
    expect(hshm_named_ref(p) == 0 && hshm_name_info(s, "counted", &info) == 0);
    expect(info.references == 2 && info.block == p && info.size == 100);
    ends_well(child(refers, s)); /* ends with one in hand */
    expect(hshm_unname(s, "counted") == 0);
    memset(p, 1, 100);
    expect(hshm_named_unref(p) == 0 && hshm_named_unref(p) == 0);
    expect(hshm_named_unref(p) == HSHM_EINVAL);
    hshm_close(s);
}

static void published_block_belongs_to_its_name(void)
{
    hshm_segment *s = open_with(64 * MIB, 0);
    char *p = hshm_alloc(s, 100), *q = hshm_alloc(s, 100);
    int stays = 0;
    expect(hshm_publish("mine", p, 100, 0, &stays) == 0 && stays == 1);
    expect(hshm_publish("mine", q, 100, 0, NULL) == HSHM_EEXIST);
    expect(hshm_publish("other", p, 100, 0, NULL) == HSHM_EBUSY);
    expect(hshm_publish("large", q, 100000, 0, NULL) == HSHM_EINVAL);
    expect(hshm_publish("inside", q + 16, 10, 0, NULL) == HSHM_EINVAL);
    expect(hshm_publish("foreign", &p, 8, 0, NULL) == HSHM_EINVAL);
    expect(hshm_find(s, "mine", 100, 0, 0) == p);
    pid_t pid = fork();
    if (pid == 0) {
        int null = open("/dev/null", O_WRONLY);
        dup2(null, 2);
        hshm_free(p); /* is an error, and ends the program */
        _exit(0);
    }
    int status;
    expect(waitpid(pid, &status, 0) == pid && WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
    expect(hshm_unname(s, "mine") == 0);
    hshm_free(q);
    hshm_close(s);
}

static void takes_box(hshm_segment *s)
{
    void **box = hshm_find(s, "box", 0, 0, 0);
    expect(box && hshm_take(box[0]) == 0 && hshm_take(box[0]) == HSHM_EAGAIN);
    expect(strcmp(box[0], "handed over") == 0);
    hshm_free(box[0]);
}

static void blocks_change_hands(void)
{
    hshm_segment *s = open_with(64 * MIB, HSHM_RECLAIM);
    void **box = hshm_named(s, "box", 2 * sizeof *box, 0, 0, 0, NULL);
    box[0] = hshm_alloc(s, 100);
    strcpy(box[0], "handed over");
    expect(hshm_give(box[0]) == 0);
    expect(hshm_give(box[0]) == HSHM_EAGAIN);
    expect(hshm_give(box) == HSHM_EBUSY && hshm_give(&box) == HSHM_EINVAL);
    ends_well(child(takes_box, s));
    hshm_close(s);
}

static void header_and_roots_are_found_by_all(void)
{
    hshm_segment *s = open_with(64 * MIB, 0);
    expect(hshm_header(s, 0) == NULL && hshm_error() == HSHM_ENOENT);
    struct head {
        long a[100];
    } *head = hshm_header(s, sizeof *head);
    expect(head && head->a[0] == 0 && head->a[99] == 0);
    expect(hshm_header(s, sizeof *head) == head && hshm_header(s, 0) == head);
    expect(hshm_header(s, 8) == NULL && hshm_error() == HSHM_ESIZE);
    void *p = hshm_alloc(s, 10);
    expect(hshm_root_get(s, "list") == NULL);
    expect(hshm_root_set(s, "list", p) == 0 && hshm_root_get(s, "list") == p);
    expect(hshm_root_set(s, "list", NULL) == 0 && hshm_root_get(s, "list") == NULL);
    expect(hshm_root_set(s, "list", &p) == HSHM_EINVAL);
    uint64_t sum = 0;
    expect(hshm_names(s, sums_sizes, &sum) == 0 && sum == 0); /* those are the library's */
    hshm_close(s);
}

/* ---- statistics ------------------------------------------------------------------------------ */

static void leaks_are_seen(void)
{
    hshm_segment *s = open_with(64 * MIB, 0);
    hshm_stats_t before = { .struct_size = sizeof before }, now = before;
    hshm_free(hshm_alloc(s, 1));
    expect(hshm_stats(s, &before) == 0);
    void *p = hshm_alloc(s, 1000), *q = hshm_alloc(s, 500000);
    expect(hshm_stats(s, &now) == 0);
    expect(now.blocks == before.blocks + 2 && now.bytes >= before.bytes + 501000);
    expect(now.our_blocks == now.blocks && now.available < before.available);
    hshm_free(p);
    expect(hshm_stats(s, &now) == 0 && now.blocks == before.blocks + 1);
    hshm_free(q);
    expect(hshm_stats(s, &now) == 0 && now.blocks == before.blocks && now.bytes == before.bytes);
    expect(now.limit == 64 * MIB && now.members == 1);
    hshm_trim(s);
    hshm_close(s);
}

/* Nobody has asked for a segment yet. */
static void a_block_of_malloc_is_known_at_once(void)
{
    void *p = malloc(100);
    expect(hshm_give(p) == 0 && hshm_take(p) == 0);
    hshm_free(p);
}

static void the_default_is_the_preloads_segment(void)
{
    hshm_info_t info = { .struct_size = sizeof info };
    hshm_segment *s = hshm_default(), *same;
    expect(s && hshm_info(s, &info) == 0 && info.is_default);
    void *p = malloc(100), *q = hshm_alloc(NULL, 100);
    expect(hshm_segment_of(q) == s);
    if (getenv("LD_PRELOAD")) {
        expect(hshm_segment_of(p) == s);
        hshm_free(p); /* either way */
        free(q);
        p = malloc(100);
        int stays = 1;
        expect(hshm_publish("small", p, 100, 0, &stays) == 0 && !stays);
        char *large = malloc(100000);
        expect(hshm_publish("large", large, 100000, 0, &stays) == 0);
        expect(stays == !info.is_private);
        large[5] = 1;
        pid_t pid = fork();
        if (pid == 0) {
            large[5] = 2;
            ((char *)p)[5] = 7;
            _exit(0);
        }
        ends_well(pid);
        expect(large[5] == (info.is_private ? 1 : 2) && ((char *)p)[5] != 7);
    } else {
        expect(hshm_segment_of(p) == NULL);
        free(p);
        hshm_free(q);
    }
    expect(hshm_close(s) == HSHM_EBUSY);
    if (info.is_private)
        return;
    expect(info.members == 1 && hshm_open(info.name, NULL, &same) == 0 && same == s);
    expect(hshm_close(same) == 0);
    /* One heap, one place, one mapping: the window, and the page that keeps the place. */
    char line[512];
    int maps = 0;
    FILE *f = fopen("/proc/self/maps", "r");
    while (fgets(line, sizeof line, f))
        maps += strstr(line, "/dev/shm/") != NULL;
    fclose(f);
    expect(maps == 2);
}

static const struct check checks[] = {
    CHECK(segments_are_made_joined_and_removed),
    CHECK(exclusive_means_that_nobody_else_has_made_it),
    CHECK(a_joiner_waits_until_the_segment_is_there),
    CHECK(many_made_in_a_race_are_all_open_at_once),
    CHECK(a_newcomer_can_join_every_segment),
    CHECK(read_only_finds_and_writes_nothing),
    CHECK(segments_are_listed),
    CHECK(members_that_are_killed_leave_the_others_running),
    CHECK(allocation_keeps_its_promises),
    CHECK(what_is_too_large_fails_and_the_heap_goes_on),
    CHECK(small_blocks_do_not_leak),
    CHECK(threads_come_and_go_without_limit),
    CHECK(contexts_of_one_id_clash),
    CHECK(pointers_mean_the_same_everywhere),
    CHECK(names_are_shared_by_members),
    CHECK(references_hold_a_block),
    CHECK(published_block_belongs_to_its_name),
    CHECK(blocks_change_hands),
    CHECK(header_and_roots_are_found_by_all),
    CHECK(leaks_are_seen),
    CHECK(the_default_is_the_preloads_segment),
    CHECK(a_block_of_malloc_is_known_at_once),
};

int main(int argc, char **argv)
{
    if (argc == 3 && strcmp(argv[1], "reads") == 0)
        return reads(argv[2]), 0;
    if (argc == 3 && strcmp(argv[1], "joins") == 0)
        return joins(argv[2]), 0;
    return argc == 2 ? run_check(checks, sizeof checks / sizeof *checks, argv[1]) : 2;
}
