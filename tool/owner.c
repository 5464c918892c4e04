/* hshm owner: what lies at an address. */
#include "tool/block.h"
#include "tool/json.h"
#include "tool/names.h"

#include <limits.h>
#include <stdio.h>

static void owner_json(const struct view *v, const char *asked, const struct block *b)
{
    static const char *const kinds[] = { "outside", "tables", "none", "small", "large", "huge" };
    json_open(NULL, '{');
    json_text("asked", asked);
    json_text("kind", kinds[b->kind]);
    json_text("what", b->what);
    json_text("state", b->state);
    if (b->kind != BLOCK_OUTSIDE)
        json_hex("address", v->header.base + b->off);
    if (b->size) {
        json_hex("start", v->header.base + b->start);
        json_number("size", b->size);
        json_number("at", b->off - b->start);
    }
    struct name_seen name;
    if (b->size && name_of_block(v, b->start, &name))
        json_text("name", name.raw);
    if (b->member) {
        json_open("member", '{');
        json_number("id", b->member);
        bool known = view_id_is_current(v, b->member);
        const struct seg_member *m = known ? &v->members[member_slot(b->member)] : NULL;
        json_text("state", m ? life_name(member_life(v, member_slot(b->member))) : "ended");
        json_number("pid", m ? get(m->pid) : 0);
        json_text("program", m ? text_plain(m->name, sizeof m->name).at : NULL);
        json_close();
    }
    json_close();
}

static void owner_line(const struct view *v, const struct block *b)
{
    printf("0x%llx: %s", (unsigned long long)v->header.base + b->off, b->what);
    if (b->state)
        printf(", %s", b->state);
    if (b->size) {
        printf(", %s bytes at 0x%llx", text_count(b->size).at,
               (unsigned long long)v->header.base + b->start);
        if (b->off != b->start)
            printf(" (+%s)", text_count(b->off - b->start).at);
    }
    struct name_seen name;
    if (b->size && name_of_block(v, b->start, &name))
        printf(", named %s", name.name);
    if (b->member)
        printf(", of %s", member_text(v, b->member).at);
    if (b->thread_known)
        printf(", thread %u", b->thread);
    putchar('\n');
}

int verb_owner(int argc, char **argv)
{
    struct view v;
    char path[512];
    struct flags f;
    int status = EXIT_OK;
    flags_read_arguments(argc, argv, &f, 2, INT_MAX);
    if (!segment_look(f.arguments[0], &v, path, sizeof path, true))
        return EXIT_NO;
    bool json = flag(&f, 'j');
    if (json)
        json_open(NULL, '[');
    for (int i = 1; i < f.count; i++) {
        struct block b;
        uint64_t off;
        if (!address_read(&v, f.arguments[i], &off)) {
            status = fail(EXIT_USAGE, "'%s' is no address", f.arguments[i]);
            break;
        }
        block_find(&v, off, &b);
        if (json)
            owner_json(&v, f.arguments[i], &b);
        else if (b.kind == BLOCK_OUTSIDE)
            printf("%s: %s\n", f.arguments[i], b.what);
        else
            owner_line(&v, &b);
        if (b.kind == BLOCK_OUTSIDE)
            status = EXIT_NO;
    }
    if (json)
        json_close();
    view_close(&v);
    return status;
}
