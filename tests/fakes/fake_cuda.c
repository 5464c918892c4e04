/* libcuda.so.1 as a test double: see fake.h.  It knows nothing of us. */
#include "tests/fakes/fake_cuda.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/statvfs.h>
#include <unistd.h>

#define NAMES 200

/* ---- counting, failing --------------------------------------------------------------------- */

static struct {
    char name[40];
    unsigned long calls;
} counts[NAMES];
pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
pid_t init_pid;
int device_count = 1;

static unsigned long *count_of(const char *name)
{
    for (int i = 0; i < NAMES; i++) {
        if (!counts[i].name[0])
            strcpy(counts[i].name, name);
        if (strcmp(counts[i].name, name) == 0)
            return &counts[i].calls;
    }
    abort();
}

__attribute__((visibility("default"))) unsigned long fakeCalls(const char *name)
{
    pthread_mutex_lock(&lock);
    unsigned long n = *count_of(name);
    pthread_mutex_unlock(&lock);
    return n;
}

static int is_to_fail(const char *name, unsigned long call)
{
    char want[64];
    const char *list = getenv("FAKE_FAIL");
    int n = snprintf(want, sizeof want, "%s:%lu", name, call);
    for (const char *at = list; at && (at = strstr(at, want)); at++)
        if ((at == list || at[-1] == ',') && (at[n] == ',' || !at[n]))
            return 1;
    return 0;
}

int enter(const char *name)
{
    pthread_mutex_lock(&lock);
    unsigned long call = ++*count_of(name);
    pthread_mutex_unlock(&lock);
    if (is_to_fail(name, call))
        return UNKNOWN;
    return init_pid == getpid() ? OK : NOT_INITIALIZED;
}

size_t card_bytes(void)
{
    const char *set = getenv("FAKE_MEMORY"), *card = getenv("FAKE_CARD");
    struct statvfs fs;
    if (set)
        return strtoull(set, NULL, 0);
    if (card && statvfs(card, &fs) == 0)
        return (size_t)fs.f_blocks * fs.f_bsize;
    return (size_t)1 << 30;
}

/* ---- memory -------------------------------------------------------------------------------- */

struct range *ranges;
static unsigned long long next_id = 1;
size_t taken;

struct memory *memory_make(size_t bytes, int device)
{
    const char *card = getenv("FAKE_CARD");
    struct memory *m = calloc(1, sizeof *m);
    m->fd = card ? open(card, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600)
                 : memfd_create("fake-device-memory", MFD_CLOEXEC);
    m->bytes = bytes;
    m->device = device;
    m->refs = 1;
    if (m->fd >= 0 && (card || taken + bytes <= card_bytes()) &&
        ftruncate(m->fd, (off_t)bytes) == 0 &&
        (!card || posix_fallocate(m->fd, 0, (off_t)bytes) == 0)) {
        taken += bytes;
        return m;
    }
    if (m->fd >= 0)
        close(m->fd);
    free(m);
    return NULL;
}

void memory_drop(struct memory *m)
{
    if (--m->refs)
        return;
    if (!m->imported)
        taken -= m->bytes;
    close(m->fd);
    free(m);
}

struct range *range_add(ptr_t at, size_t bytes, enum kind kind, struct memory *m)
{
    struct range *r = calloc(1, sizeof *r);
    *r = (struct range){
        .at = at, .bytes = bytes, .kind = kind, .memory = m, .id = next_id++, .next = ranges
    };
    ranges = r;
    return r;
}

void range_remove(struct range *r)
{
    struct range **at = &ranges;
    while (*at != r)
        at = &(*at)->next;
    *at = r->next;
    free(r);
}

struct range *range_find(ptr_t p)
{
    for (struct range *r = ranges; r; r = r->next)
        if (r->kind != RESERVED && p >= r->at && p < r->at + r->bytes)
            return r;
    return NULL;
}

struct range *reservation_find(ptr_t p, size_t bytes)
{
    for (struct range *r = ranges; r; r = r->next)
        if (r->kind == RESERVED && p >= r->at && p + bytes <= r->at + r->bytes)
            return r;
    return NULL;
}

int transfer(ptr_t device, void *host, size_t n, int writes)
{
    while (n) {
        pthread_mutex_lock(&lock);
        struct range *r = range_find(device);
        if (!r || (r->kind == VMM && !r->access)) {
            pthread_mutex_unlock(&lock);
            return INVALID;
        }
        size_t part = r->at + r->bytes - device < n ? r->at + r->bytes - device : n;
        off_t at = (off_t)(r->offset + (device - r->at));
        ssize_t got =
            writes ? pwrite(r->memory->fd, host, part, at) : pread(r->memory->fd, host, part, at);
        pthread_mutex_unlock(&lock);
        if (got != (ssize_t)part)
            return UNKNOWN;
        device += part, host = (char *)host + part, n -= part;
    }
    return OK;
}

__attribute__((visibility("default"))) int fakeRead(void *to, ptr_t from, size_t n)
{
    return transfer(from, to, n, 0);
}
__attribute__((visibility("default"))) int fakeWrite(ptr_t to, const void *from, size_t n)
{
    return transfer(to, (void *)from, n, 1);
}
