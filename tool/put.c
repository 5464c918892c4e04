/* hshm put: what stands on standard input, as a block with a name. */
#include "allocators/alloc.h"
#include "allocators/names.h"
#include "allocators/thread_cache.h"
#include "tool/join.h"
#include "tool/json.h"
#include "tool/progress.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define STEP_BYTES (UINT64_C(1) << 20)

struct input {
    char *block;
    uint64_t used, room;
};

/* Bytes that are left in a file; of a pipe nobody knows. */
static uint64_t size_of_input(void)
{
    struct stat st;
    off_t at = lseek(STDIN_FILENO, 0, SEEK_CUR);
    return fstat(STDIN_FILENO, &st) == 0 && S_ISREG(st.st_mode) && at >= 0 && at < st.st_size
               ? (uint64_t)(st.st_size - at)
               : 0;
}

static bool make_room(struct thread_cache *tc, struct input *in)
{
    uint64_t room = in->room * 2;
    char *block = heap_realloc(tc, in->block, room);
    if (!block)
        return false;
    in->block = block;
    in->room = room;
    return true;
}

/* "" if all is read, else why not. */
static const char *input_read(struct thread_cache *tc, struct input *in)
{
    uint64_t whole = size_of_input();
    struct progress p = progress_start(whole);
    in->room = whole ? whole : STEP_BYTES;
    in->block = heap_malloc(tc, in->room);
    for (;;) {
        if (!in->block || (in->used == in->room && !whole && !make_room(tc, in)))
            return "it has no room for that";
        if (in->used == in->room)
            break;
        ssize_t n =
            read(STDIN_FILENO, in->block + in->used, smaller(in->room - in->used, STEP_BYTES));
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return strerror(errno);
        if (n == 0)
            break;
        in->used += (uint64_t)n;
        progress_tell(&p, in->used);
    }
    progress_end(&p);
    return in->used ? "" : "nothing was to be read";
}

static const char *why_not(long error)
{
    switch (error) {
    case -EEXIST: return "there is one of that name; -f replaces it";
    case -EINVAL: return "that is no name: 1 to 127 bytes, no control characters";
    case -ENOSPC: return "there is no place for another name";
    default: return "it has no room for that";
    }
}

static const char *publish(struct thread_cache *tc, const char *name, struct input *in, bool force)
{
    struct name_info info;
    bool shared;
    char *block = in->used < in->room ? heap_realloc(tc, in->block, in->used) : in->block;
    in->block = block ? block : in->block;
    long rc = name_publish(tc, name, in->block, in->used, 0, &info, &shared);
    while (rc == -EEXIST && force) {
        name_remove(tc, name);
        rc = name_publish(tc, name, in->block, in->used, 0, &info, &shared);
    }
    return rc < 0 ? why_not(rc) : "";
}

int verb_put(int argc, char **argv)
{
    struct view v;
    struct flags f;
    char path[512], file[520];
    struct input in = { 0 };
    const char *why = "";
    flags_read_arguments(argc, argv, &f, 2, 2);
    const char *segment = f.arguments[0], *name = f.arguments[1];
    if (!segment_look(segment, &v, path, sizeof path, true)) /* it must be there */
        return EXIT_NO;
    bool dumped = v.dumped;
    view_close(&v);
    if (dumped)
        return segment_fault(segment, "it is a dump, not a segment"), EXIT_NO;
    snprintf(file, sizeof file, "file:%s", path); /* that one, and no other */
    struct heap *h = segment_join_as(file, "hshm put", &why);
    if (!h)
        return segment_fault(segment, why), EXIT_NO;
    names_used(h);
    struct thread_cache *tc = cache_make(h);
    why = tc ? input_read(tc, &in) : "it has no room for that";
    if (!*why)
        why = publish(tc, name, &in, flag(&f, 'f'));
    if (*why && in.block)
        heap_free(tc, in.block);
    if (tc)
        cache_end(tc);
    uint64_t address = (uintptr_t)in.block;
    segment_part(h);
    if (*why)
        return fail(EXIT_NO, "segment %s: %s: %s", segment, name, why);
    if (flag(&f, 'j')) {
        json_open(NULL, '{');
        json_text("name", name);
        json_hex("address", address);
        json_number("bytes", in.used);
        json_close();
    }
    return EXIT_OK;
}
