/* hshm check: is every structure of a segment sound? */
#include "tool/json.h"
#include "tool/tool.h"

#include <stdio.h>

static void report_json(const struct finding *f, void *context)
{
    (void)context;
    json_open(NULL, '{');
    json_text("kind", f->kind == FINDING_DAMAGE ? "damage" : "note");
    json_text("what", f->what);
    json_number("offset", f->off);
    json_number("is", f->is);
    json_number("should", f->should);
    json_close();
}

static void report_text(const struct finding *f, void *context)
{
    (void)context;
    printf("%s: %s, at offset 0x%llx", f->kind == FINDING_DAMAGE ? "damage" : "note", f->what,
           (unsigned long long)f->off);
    if (f->is != f->should)
        printf(" (0x%llx, not 0x%llx)", (unsigned long long)f->is, (unsigned long long)f->should);
    putchar('\n');
}

static const char *verdict(int status)
{
    return status == EXIT_OK ? "sound" : status == EXIT_NO ? "damaged" : "cannot tell";
}

static void totals_json(const char *name, const struct view *v, const struct check_result *r,
                        int status)
{
    json_close();
    json_text("name", name);
    json_text("verdict", verdict(status));
    json_bool("in_use", v->alive);
    json_bool("torn", v->torn);
    json_number("damage", r->damage);
    json_number("notes", r->notes);
    json_number("chunks", r->chunks);
    json_number("pages", r->pages);
    json_number("blocks", r->blocks);
    json_number("unsettled", r->unsettled);
    json_close();
}

static void totals_text(const char *name, const struct check_result *r, int status, double seconds)
{
    printf("segment %s: %s", name, verdict(status));
    if (r->damage)
        printf(", %s finding%s", text_count(r->damage).at, r->damage == 1 ? "" : "s");
    printf("; %s chunks, %s pages, %s allocated blocks in %.3f s\n", text_count(r->chunks).at,
           text_count(r->pages).at, text_count(r->blocks).at, seconds);
    if (r->unsettled)
        printf("%s could not be judged: it changed all the time\n", text_count(r->unsettled).at);
}

int verb_check(int argc, char **argv)
{
    struct view v;
    struct check_result result = { 0 };
    char path[512];
    struct flags f;
    flags_read_arguments(argc, argv, &f, 1, 1);
    const char *name = f.arguments[0];
    if (!segment_look(name, &v, path, sizeof path, false))
        return EXIT_UNKNOWN;
    bool json = flag(&f, 'j'), quiet = flag(&f, 'q');
    if (v.foreign && !json) {
        if (!quiet)
            fail(0, "segment %s: %s", name, v.wrong);
        view_close(&v);
        return EXIT_UNKNOWN;
    }
    if (json) {
        json_open(NULL, '{');
        json_open("findings", '[');
    }
    uint64_t start = os_boot_ns();
    bool sound = check_segment(&v, json ? report_json : quiet ? NULL : report_text, NULL, &result);
    double seconds = (double)(os_boot_ns() - start) / 1e9;
    /* What changed while it was copied may look damaged and is not. */
    int status = v.foreign || (!sound && v.torn) ? EXIT_UNKNOWN : sound ? EXIT_OK : EXIT_NO;
    if (json)
        totals_json(name, &v, &result, status);
    else if (!quiet)
        totals_text(name, &result, status, seconds);
    if (!sound && v.torn && !json && !quiet)
        puts("its members went on while it was dumped: hshm dump -s stops them meanwhile");
    view_close(&v);
    return status;
}
