/* Programs that share GPU memory, and what becomes of it when they fork, exec or end. */
#include "tests/gpu/gpu.h"

#include <pthread.h>

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
    get(20 << 20);            /* the first chunk has room for one of them only, */
    cu_ptr q = get(20 << 20); /* and what lies in a new chunk is there at once */
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
