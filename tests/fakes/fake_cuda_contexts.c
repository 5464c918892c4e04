/* Devices, contexts and streams of the double. */
#include "tests/fakes/fake_cuda.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

/* ---- contexts and streams ------------------------------------------------------------------ */

static struct context *primaries[DEVICES];
static __thread struct context *current[16];
static __thread int depth;
int captures;
int capture_broken;

struct context *context_now(void)
{
    struct context *c = depth ? current[depth - 1] : NULL;
    return c && !c->gone ? c : NULL;
}

static void *stream_main(void *arg)
{
    struct stream *s = arg;
    for (;;) {
        pthread_mutex_lock(&s->lock);
        while (!s->first) {
            s->busy = 0;
            pthread_cond_broadcast(&s->done);
            pthread_cond_wait(&s->more, &s->lock);
        }
        struct job *job = s->first;
        s->first = job->next;
        if (!s->first)
            s->last = &s->first;
        s->busy = 1;
        pthread_mutex_unlock(&s->lock);
        if (job->delay_us)
            usleep(job->delay_us);
        job->fn(job->arg);
        free(job);
    }
    return NULL;
}

struct stream *stream_make(struct context *c)
{
    struct stream *s = calloc(1, sizeof *s);
    s->context = c;
    s->last = &s->first;
    pthread_mutex_init(&s->lock, NULL);
    pthread_cond_init(&s->more, NULL);
    pthread_cond_init(&s->done, NULL);
    pthread_mutex_lock(&lock);
    s->next = c->streams;
    c->streams = s;
    pthread_mutex_unlock(&lock);
    return s;
}

struct stream *stream_of(void *handle)
{
    struct context *c = context_now();
    if ((uintptr_t)handle > 2)
        return handle;
    if (c && !c->standard)
        c->standard = stream_make(c);
    return c ? c->standard : NULL;
}

int stream_put(struct stream *s, unsigned delay_us, void (*fn)(void *), void *arg)
{
    struct job *job = malloc(sizeof *job);
    *job = (struct job){ fn, arg, delay_us, NULL };
    pthread_mutex_lock(&s->lock);
    if (!s->started) {
        s->started = 1;
        pthread_create(&s->thread, NULL, stream_main, s);
    }
    *s->last = job;
    s->last = &job->next;
    s->busy = 1;
    pthread_cond_signal(&s->more);
    pthread_mutex_unlock(&s->lock);
    return OK;
}

void stream_wait(struct stream *s)
{
    pthread_mutex_lock(&s->lock);
    while (s->busy)
        pthread_cond_wait(&s->done, &s->lock);
    pthread_mutex_unlock(&s->lock);
}

void context_wait(struct context *c)
{
    for (struct stream *s = c->streams; s; s = s->next)
        stream_wait(s);
}

/* As the real one: waiting while a stream is captured is refused, and breaks the capture. */
static int context_sync(struct context *c)
{
    if (captures) {
        capture_broken = 1;
        return CAPTURE_UNSUPPORTED;
    }
    context_wait(c);
    return OK;
}

__attribute__((visibility("default"))) int fakeLaunch(void *stream, unsigned delay_us,
                                                      void (*fn)(void *), void *arg)
{
    struct stream *s = stream_of(stream);
    return s ? stream_put(s, delay_us, fn, arg) : INVALID_CONTEXT;
}

/* ---- devices ------------------------------------------------------------------------------- */

API cuInit(unsigned flags)
{
    (void)flags;
    enter(__func__);
    const char *n = getenv("FAKE_DEVICES");
    device_count = n ? atoi(n) : 1;
    if (device_count == 0)
        return NO_DEVICE;
    init_pid = getpid();
    return OK;
}

API cuDriverGetVersion(int *version)
{
    const char *set = getenv("FAKE_VERSION");
    *version = set ? atoi(set) : 13000;
    return OK;
}

API cuDeviceGetCount(int *count)
{
    ENTER();
    *count = device_count;
    return OK;
}

API cuDeviceGet(int *device, int ordinal)
{
    ENTER();
    if (ordinal < 0 || ordinal >= device_count)
        return INVALID_DEVICE;
    *device = ordinal;
    return OK;
}

API cuDeviceGetAttribute(int *value, int attribute, int device)
{
    ENTER();
    (void)device;
    int vmm = !getenv("FAKE_NO_VMM");
    *value = attribute == 41                                            ? 1
             : attribute == 102 || attribute == 103 || attribute == 110 ? vmm
                                                                        : 0;
    return OK;
}

API cuDeviceGetUuid_v2(char *uuid, int device)
{
    ENTER();
    memset(uuid, 0, 16);
    memcpy(uuid, "fake card", 9);
    uuid[15] = (char)('0' + device);
    return OK;
}
API cuDeviceGetUuid(char *uuid, int device)
{
    return cuDeviceGetUuid_v2(uuid, device);
}

API cuDeviceGetName(char *name, int n, int device)
{
    ENTER();
    snprintf(name, (size_t)n, "Fake Card %d", device);
    return OK;
}

API cuDeviceTotalMem_v2(size_t *bytes, int device)
{
    ENTER();
    (void)device;
    *bytes = card_bytes();
    return OK;
}

API cuDeviceCanAccessPeer(int *can, int device, int peer)
{
    ENTER();
    *can = device != peer;
    return OK;
}

/* ---- contexts ------------------------------------------------------------------------------ */

API cuCtxGetCurrent(struct context **context)
{
    ENTER();
    *context = depth ? current[depth - 1] : NULL;
    return OK;
}

API cuCtxSetCurrent(struct context *context)
{
    ENTER();
    if (!depth)
        depth = 1;
    current[depth - 1] = context;
    return OK;
}

API cuCtxPushCurrent_v2(struct context *context)
{
    ENTER();
    current[depth++] = context;
    return OK;
}

API cuCtxPopCurrent_v2(struct context **context)
{
    ENTER();
    if (!depth)
        return INVALID_CONTEXT;
    depth--;
    if (context)
        *context = current[depth];
    return OK;
}

API cuCtxGetDevice(int *device)
{
    ENTER();
    struct context *c = context_now();
    if (!c)
        return INVALID_CONTEXT;
    *device = c->device;
    return OK;
}

API cuCtxSynchronize(void)
{
    ENTER();
    struct context *c = context_now();
    return c ? context_sync(c) : INVALID_CONTEXT;
}

static struct context *context_make(int device, int primary)
{
    struct context *c = calloc(1, sizeof *c);
    c->device = device;
    c->primary = primary;
    return c;
}

/* Its legacy memory goes with a context. */
static void context_end(struct context *c)
{
    context_wait(c);
    pthread_mutex_lock(&lock);
    for (struct range *r = ranges, *next; r; r = next) {
        next = r->next;
        if (r->context == c && (r->kind == LEGACY || r->kind == IPC)) {
            munmap((void *)r->at, r->bytes);
            memory_drop(r->memory);
            range_remove(r);
        }
    }
    c->gone = 1;
    pthread_mutex_unlock(&lock);
}

API cuCtxCreate_v2(struct context **context, unsigned flags, int device)
{
    ENTER();
    (void)flags;
    *context = context_make(device, 0);
    current[depth++] = *context;
    return OK;
}

API cuCtxDestroy_v2(struct context *context)
{
    ENTER();
    context_end(context);
    if (depth && current[depth - 1] == context)
        depth--;
    return OK;
}

API cuDevicePrimaryCtxRetain(struct context **context, int device)
{
    ENTER();
    pthread_mutex_lock(&lock);
    if (!primaries[device])
        primaries[device] = context_make(device, 1);
    primaries[device]->gone = 0;
    primaries[device]->refs++;
    *context = primaries[device];
    pthread_mutex_unlock(&lock);
    return OK;
}

API cuDevicePrimaryCtxRelease_v2(int device)
{
    ENTER();
    if (!primaries[device] || !primaries[device]->refs)
        return INVALID_CONTEXT;
    if (--primaries[device]->refs == 0)
        context_end(primaries[device]);
    return OK;
}
API cuDevicePrimaryCtxRelease(int device)
{
    return cuDevicePrimaryCtxRelease_v2(device);
}

API cuDevicePrimaryCtxGetState(int device, unsigned *flags, int *active)
{
    ENTER();
    *flags = 0;
    *active = primaries[device] && primaries[device]->refs && !primaries[device]->gone;
    return OK;
}

API cuDevicePrimaryCtxReset_v2(int device)
{
    ENTER();
    if (primaries[device])
        context_end(primaries[device]);
    if (primaries[device] && primaries[device]->refs)
        primaries[device]->gone = 0; /* made anew by the next call; its handle stays */
    return OK;
}
API cuDevicePrimaryCtxReset(int device)
{
    return cuDevicePrimaryCtxReset_v2(device);
}

API cuCtxEnablePeerAccess(struct context *peer, unsigned flags)
{
    ENTER();
    struct context *c = context_now();
    if (!c || flags || peer->device == c->device)
        return INVALID;
    if (c->peers & 1u << peer->device)
        return PEER_ALREADY;
    c->peers |= 1u << peer->device;
    return OK;
}
