/* hshm rm: remove segments. */
#include "tool/json.h"
#include "tool/tool.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* Is this file ours to remove?  Whatever its bytes are now, its name says so. */
static bool is_segment_file(const char *path, const struct view *v)
{
    return !v->foreign || strncmp(path, SEGMENT_DIR "/hshm", sizeof SEGMENT_DIR "/hshm" - 1) == 0;
}

static void say_who(const char *name, const struct view *v)
{
    unsigned said = 0;
    for (uint64_t slot = 0; slot < v->members_high && said < 8; slot++) {
        const struct seg_member *m = &v->members[slot];
        enum life life = member_life(v, slot);
        if (life != LIFE_ALIVE && life != LIFE_LEAVING)
            continue;
        fail(0, "segment %s: pid %lu (%s) is attached", name, (unsigned long)get(m->pid),
             text_plain(m->name, sizeof m->name).at);
        said++;
    }
    fail(0, "segment %s is in use; hshm rm -f removes its name, its members go on without it",
         name);
}

/* "removed", or why not. */
static const char *remove_one(const char *name, bool force)
{
    struct view v;
    char path[512];
    if (!segment_look(name, &v, path, sizeof path, false))
        return "not found";
    const char *done = "removed";
    if (!is_segment_file(path, &v)) {
        fail(0, "%s: %s", path, v.wrong);
        done = "no segment";
    } else if (v.foreign && !force) {
        fail(0, "segment %s: %s; hshm rm -f removes it", name, v.wrong);
        done = "other version";
    } else if (v.dumped && !force) {
        fail(0, "%s is a dump, not a segment; hshm rm -f removes it, as rm does", path);
        done = "a dump";
    } else if (force) {
        if (unlink(path) < 0) {
            fail(0, "segment %s: %s", name, strerror(errno));
            done = "failed";
        }
    } else if (v.alive) {
        say_who(name, &v);
        done = "in use";
    } else if (!segment_remove_if_idle(path, MEMBER_MAX)) {
        fail(0, "segment %s: somebody uses or removes it just now", name);
        done = "in use";
    }
    view_close(&v);
    return done;
}

int verb_rm(int argc, char **argv)
{
    struct flags f;
    int status = EXIT_OK;
    flags_read_arguments(argc, argv, &f, 1, INT_MAX);
    if (flag(&f, 'j'))
        json_open(NULL, '[');
    for (int i = 0; i < f.count; i++) {
        const char *done = remove_one(f.arguments[i], flag(&f, 'f'));
        if (strcmp(done, "removed") != 0)
            status = EXIT_NO;
        if (!flag(&f, 'j'))
            continue;
        json_open(NULL, '{');
        json_text("name", f.arguments[i]);
        json_text("result", done);
        json_close();
    }
    if (flag(&f, 'j'))
        json_close();
    return status;
}
