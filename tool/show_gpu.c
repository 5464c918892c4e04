/* hshm show: the GPU segments that belong to a segment. */
#include "allocators/gpu_look.h"
#include "tool/json.h"
#include "tool/show.h"

#include <stdio.h>

static struct text uuid_text(const uint64_t uuid[2])
{
    struct text t;
    const unsigned char *bytes = (const unsigned char *)uuid;
    int n = 0;
    for (unsigned i = 0; i < 16; i++)
        n += snprintf(t.at + n, sizeof t.at - (size_t)n, "%s%02x",
                      i == 4 || i == 6 || i == 8 || i == 10 ? "-" : "", bytes[i]);
    return t;
}

static void print_gpu(const struct gpu_look *g)
{
    printf("\nGPU %s\n", uuid_text(g->device.uuid).at);
    if (g->wrong) {
        printf("  DAMAGED: %s\n", g->wrong);
        return;
    }
    printf("  %-12s0x%llx\n", "address", (unsigned long long)g->device.base);
    printf("  %-12s%10s  of %s, in %s chunk%s\n", "memory",
           text_bytes(g->chunks * g->chunk_bytes).at, text_bytes(g->device.limit).at,
           text_count(g->chunks).at, g->chunks == 1 ? "" : "s");
    printf("  %-12s%10s\n", "used", text_bytes(g->used).at);
    if (g->large_blocks)
        printf("  %-12s%10s  in %s block%s above 1 MiB\n", "  large", text_bytes(g->large_bytes).at,
               text_count(g->large_blocks).at, g->large_blocks == 1 ? "" : "s");
    if (g->waiting)
        printf("  %-12s%10s  freed, and perhaps still in use on the device\n", "quarantine",
               text_bytes(g->waiting).at);
    if (g->kept)
        printf("  %-12s%10s  of ended members: hshm reclaim frees it\n", "kept",
               text_bytes(g->kept).at);
    static const struct column columns[] = {
        { "CLASS", true }, { "PAGES", true }, { "BLOCKS", true }, { "FREE", true }
    };
    bool any = false;
    for (unsigned i = 0; i < CLASS_COUNT; i++) {
        const struct gpu_look_class *c = &g->classes[i];
        if (!c->pages)
            continue;
        if (!any)
            table_start(columns, sizeof columns / sizeof *columns);
        any = true;
        table_cell(text_count(gpu_class_bytes(i)).at);
        table_cell(text_count(c->pages).at);
        table_cell(text_count(c->blocks).at);
        table_cell(text_count(c->free).at);
    }
    if (any)
        table_end();
}

static void json_gpu(const struct gpu_look *g)
{
    char base[24];
    snprintf(base, sizeof base, "0x%llx", (unsigned long long)g->device.base);
    json_open(NULL, '{');
    json_text("uuid", uuid_text(g->device.uuid).at);
    json_text("base", base);
    json_number("size", g->device.limit);
    json_number("memory", g->chunks * g->chunk_bytes);
    json_number("used", g->used);
    json_number("kept", g->kept);
    json_number("quarantine", g->waiting);
    json_open("large", '{');
    json_number("blocks", g->large_blocks);
    json_number("bytes", g->large_bytes);
    json_close();
    json_open("classes", '[');
    for (unsigned i = 0; i < CLASS_COUNT; i++) {
        if (!g->classes[i].pages)
            continue;
        json_open(NULL, '{');
        json_number("block_bytes", gpu_class_bytes(i));
        json_number("pages", g->classes[i].pages);
        json_number("blocks", g->classes[i].blocks);
        json_number("free_blocks", g->classes[i].free);
        json_close();
    }
    json_close();
    json_close();
}

void show_gpus(const struct view *v, bool json)
{
    static struct gpu_look look;
    if (!gpu_area_is_there(v))
        return;
    if (json)
        json_open("gpus", '[');
    for (unsigned i = 0; i < GPU_DEVICE_MAX; i++)
        if (gpu_look(v, i, &look))
            (json ? json_gpu : print_gpu)(&look);
    if (json)
        json_close();
}
