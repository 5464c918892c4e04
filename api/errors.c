#include "api/api.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>

/* initial-exec: a few hundred bytes that a dlopen of the library still finds room for. */
static __thread int last;
static __thread char text[200];

API const char *hshm_strerror(int error)
{
    static const char *const texts[] = {
        [HSHM_OK] = "no error",
        [HSHM_EINVAL] = "an argument is wrong",
        [HSHM_ENOMEM] = "no memory in the segment",
        [HSHM_ENOENT] = "there is none of that name",
        [HSHM_EEXIST] = "there is one already",
        [HSHM_ESIZE] = "it has another size",
        [HSHM_ETYPE] = "it has another type",
        [HSHM_EBUSY] = "somebody has it",
        [HSHM_EAGAIN] = "not now",
        [HSHM_EPERM] = "not permitted",
        [HSHM_ECLASH] = "the segment's addresses are taken in this process",
        [HSHM_EFULL] = "no place for another one",
        [HSHM_EDAMAGED] = "no sound segment of this version",
        [HSHM_EREADONLY] = "the segment is open for reading only",
        [HSHM_EOWNERDEAD] = "its owner died holding it",
        [HSHM_ESYSTEM] = "the system refused it",
    };
    return error >= 0 && error < (int)(sizeof texts / sizeof *texts) ? texts[error]
                                                                     : "no error of hshm's";
}

API int hshm_error(void)
{
    return last;
}

API const char *hshm_error_text(void)
{
    return text[0] ? text : hshm_strerror(last);
}

API int hshm_version(void)
{
    return HSHM_API_VERSION;
}

/* For those who look at errno. */
static int errno_of(enum hshm_error error)
{
    switch (error) {
    case HSHM_OK: return 0;
    case HSHM_ENOMEM:
    case HSHM_EFULL: return ENOMEM;
    case HSHM_ENOENT: return ENOENT;
    case HSHM_EEXIST: return EEXIST;
    case HSHM_EBUSY: return EBUSY;
    case HSHM_EAGAIN: return EAGAIN;
    case HSHM_EPERM: return EPERM;
    case HSHM_EREADONLY: return EROFS;
    case HSHM_EOWNERDEAD: return EOWNERDEAD;
    case HSHM_ESYSTEM: return EIO;
    default: return EINVAL;
    }
}

int fail(enum hshm_error error, const char *format, ...)
{
    va_list ap;
    va_start(ap, format);
    vsnprintf(text, sizeof text, format, ap);
    va_end(ap);
    last = error;
    errno = errno_of(error);
    return error;
}

int fail_core(long rc, const char *what)
{
    switch (rc) {
    case -EINVAL: return fail(HSHM_EINVAL, "%s: no name, or no block of an open segment", what);
    case -ENOENT: return fail(HSHM_ENOENT, "%s: there is none of that name", what);
    case -EEXIST: return fail(HSHM_EEXIST, "%s: there is one of that name already", what);
    case -EMSGSIZE: return fail(HSHM_ESIZE, "%s: it has another size", what);
    case -EPROTOTYPE: return fail(HSHM_ETYPE, "%s: it has another type", what);
    case -EBUSY: return fail(HSHM_EBUSY, "%s: it has a name, or is being handed over", what);
    case -EAGAIN: return fail(HSHM_EAGAIN, "%s: it is not given", what);
    case -EALREADY: return fail(HSHM_EAGAIN, "%s: it is given already", what);
    case -EPERM: return fail(HSHM_EPERM, "%s: it belongs to somebody else", what);
    case -ENOSPC: return fail(HSHM_EFULL, "%s: no place for another one", what);
    case -ENOMEM: return fail(HSHM_ENOMEM, "%s: no memory in the segment", what);
    default: return fail(HSHM_ESYSTEM, "%s: error %ld", what, -rc);
    }
}

int fail_memory(struct hshm_segment *segment, size_t size)
{
    struct heap *h = segment->heap;
    if (!h->shared)
        return fail(HSHM_ENOMEM, "asked for %zu bytes", size);
    return fail(HSHM_ENOMEM, "segment %s: asked for %zu bytes, available %lu", segment->name, size,
                (unsigned long)segment_room(segment));
}
