#include "tool/progress.h"

#include <stdio.h>
#include <unistd.h>

#define LONG_BYTES (UINT64_C(16) << 20)
#define TELL_NS    UINT64_C(200000000)

struct progress progress_start(uint64_t whole)
{
    return (struct progress){ .whole = whole,
                              .told_ns = os_boot_ns(),
                              .seen = isatty(STDERR_FILENO) && (!whole || whole >= LONG_BYTES) };
}

void progress_tell(struct progress *p, uint64_t done)
{
    uint64_t now = os_boot_ns();
    if (!p->seen || now - p->told_ns < TELL_NS)
        return;
    p->told_ns = now;
    if (p->whole)
        fprintf(stderr, "\r%3u %%  %s of %s ", (unsigned)(done * 100 / p->whole),
                text_bytes(done).at, text_bytes(p->whole).at);
    else
        fprintf(stderr, "\r%s ", text_bytes(done).at);
}

void progress_end(struct progress *p)
{
    if (p->seen)
        fputs("\r                                   \r", stderr);
}
