/* Copies, memsets and captures of the double. */
#include "tests/fakes/fake_cuda.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

struct fill {
    ptr_t to;
    size_t n;
    unsigned char byte;
};

static void fill_now(void *arg)
{
    struct fill *f = arg;
    char buf[65536];
    memset(buf, f->byte, sizeof buf);
    for (size_t at = 0; at < f->n; at += sizeof buf)
        transfer(f->to + at, buf, f->n - at < sizeof buf ? f->n - at : sizeof buf, 1);
    free(f);
}

API cuMemsetD8Async(ptr_t to, unsigned char byte, size_t n, void *stream)
{
    ENTER();
    struct stream *s = stream_of(stream);
    struct fill *f = malloc(sizeof *f);
    *f = (struct fill){ to, n, byte };
    return s ? stream_put(s, 0, fill_now, f) : INVALID_CONTEXT;
}

API cuMemsetD8_v2(ptr_t to, unsigned char byte, size_t n)
{
    int result = cuMemsetD8Async(to, byte, n, NULL);
    if (result == OK)
        stream_wait(stream_of(NULL));
    return result;
}

API cuMemcpyHtoD_v2(ptr_t to, const void *from, size_t n)
{
    ENTER();
    if (!context_now())
        return INVALID_CONTEXT;
    stream_wait(stream_of(NULL));
    return transfer(to, (void *)from, n, 1);
}

API cuMemcpyDtoH_v2(void *to, ptr_t from, size_t n)
{
    ENTER();
    if (!context_now())
        return INVALID_CONTEXT;
    stream_wait(stream_of(NULL));
    return transfer(from, to, n, 0);
}

API cuStreamCreate(struct stream **stream, unsigned flags)
{
    ENTER();
    (void)flags;
    struct context *c = context_now();
    *stream = c ? stream_make(c) : NULL;
    return c ? OK : INVALID_CONTEXT;
}

API cuStreamDestroy_v2(struct stream *stream)
{
    ENTER();
    stream_wait(stream);
    return OK;
}

API cuStreamSynchronize(void *stream)
{
    ENTER();
    struct stream *s = stream_of(stream);
    if (captures) {
        capture_broken = 1;
        return CAPTURE_UNSUPPORTED;
    }
    if (s)
        stream_wait(s);
    return s ? OK : INVALID_CONTEXT;
}

API cuThreadExchangeStreamCaptureMode(int *mode)
{
    ENTER();
    static __thread int mine;
    int was = mine;
    mine = *mode;
    *mode = was;
    return OK;
}

API cuStreamBeginCapture_v2(void *stream, int mode)
{
    ENTER();
    (void)mode;
    struct stream *s = stream_of(stream);
    if (!s || s->capturing)
        return INVALID;
    s->capturing = 1;
    captures++;
    capture_broken = 0;
    return OK;
}
API cuStreamBeginCapture_v2_ptsz(void *stream, int mode)
{
    return cuStreamBeginCapture_v2(stream, mode);
}

API cuStreamBeginCaptureToGraph(void *stream, void *graph, const void *a, const void *b, size_t n,
                                int mode)
{
    (void)graph, (void)a, (void)b, (void)n;
    return cuStreamBeginCapture_v2(stream, mode);
}
API cuStreamBeginCaptureToGraph_ptsz(void *stream, void *graph, const void *a, const void *b,
                                     size_t n, int mode)
{
    return cuStreamBeginCaptureToGraph(stream, graph, a, b, n, mode);
}

API cuStreamEndCapture(void *stream, void **graph)
{
    ENTER();
    struct stream *s = stream_of(stream);
    if (!s || !s->capturing)
        return INVALID;
    s->capturing = 0;
    captures--;
    *graph = NULL;
    return capture_broken ? CAPTURE_INVALIDATED : OK;
}
API cuStreamEndCapture_ptsz(void *stream, void **graph)
{
    return cuStreamEndCapture(stream, graph);
}
