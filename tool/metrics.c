/* hshm metrics: for Prometheus, by way of node_exporter's textfile collector. */
#include "tool/json.h"
#include "tool/tool.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum metric {
    METRIC_UP,
    METRIC_SIZE,
    METRIC_USED,
    METRIC_CHARGED,
    METRIC_COMMITTED,
    METRIC_FILE,
    METRIC_BLOCKS,
    METRIC_KEPT,
    METRIC_ALIVE,
    METRIC_DEAD,
    METRIC_EVER,
    METRIC_ENDED,
    METRIC_SNAPSHOTS,
    METRIC_SNAPSHOT_BYTES,
    METRIC_SNAPSHOT_SECONDS,
    METRIC_HOLDS,
    METRIC_PURGED_BYTES,
    METRIC_CREATED,
    METRIC_COUNT,
};

static const struct {
    const char *name, *type, *help;
} metrics[METRIC_COUNT] = {
    { "hshm_segment_sound", "gauge", "1 if the segment can be read and no damage was found in it" },
    { "hshm_segment_size_bytes", "gauge", "Most memory that it may take (HSHM_SIZE)" },
    { "hshm_segment_used_bytes", "gauge", "Bytes in allocated blocks" },
    { "hshm_segment_charged_bytes", "gauge", "Bytes committed or promised; full at the size" },
    { "hshm_segment_committed_bytes", "gauge", "Bytes committed to chunks" },
    { "hshm_segment_file_bytes", "gauge", "Bytes that the file system gave the file" },
    { "hshm_segment_blocks", "gauge", "Allocated blocks" },
    { "hshm_segment_kept_bytes", "gauge", "Of used: left by ended members; hshm reclaim frees it" },
    { "hshm_segment_members", "gauge", "Members that live" },
    { "hshm_segment_dead_members", "gauge", "Dead members that nobody has recovered yet" },
    { "hshm_segment_members_joined_total", "counter", "Members that ever joined" },
    { "hshm_segment_members_ended_total", "counter", "Members recovered after their end" },
    { "hshm_segment_snapshots_total", "counter", "Forks that copied the heap" },
    { "hshm_segment_snapshot_bytes_total", "counter", "Bytes that forks copied" },
    { "hshm_segment_snapshot_seconds_total", "counter", "Time that forks took to copy" },
    { "hshm_segment_holds", "gauge", "Living snapshots that keep pages from reuse" },
    { "hshm_segment_purged_bytes_total", "counter", "Free memory given back to the system" },
    { "hshm_segment_created_seconds", "gauge", "When it was made, Unix time" },
};

struct sample {
    char segment[256];
    double values[METRIC_COUNT];
};

struct samples {
    struct sample *all;
    size_t count;
    bool failed;
};

static void sample_take(const char *name, struct view *v, struct samples *to)
{
    static struct stats s;
    struct sample *more = realloc(to->all, (to->count + 1) * sizeof *more);
    if (!more) {
        to->failed = true;
        return;
    }
    to->all = more;
    struct sample *x = &more[to->count++];
    const struct seg_header *h = &v->header;
    memset(x, 0, sizeof *x);
    snprintf(x->segment, sizeof x->segment, "%s", name);
    stats_collect(v, &s);
    x->values[METRIC_FILE] = (double)s.file_bytes;
    if (v->wrong)
        return;
    x->values[METRIC_UP] = get(h->damaged) == 0;
    x->values[METRIC_SIZE] = (double)h->limit;
    x->values[METRIC_USED] = (double)s.used.bytes;
    x->values[METRIC_CHARGED] = (double)(get(h->charged) * OS_PAGE);
    x->values[METRIC_COMMITTED] = (double)s.committed_bytes;
    x->values[METRIC_BLOCKS] = (double)s.used.blocks;
    x->values[METRIC_KEPT] = (double)s.kept.bytes;
    x->values[METRIC_ALIVE] = (double)s.members_alive;
    x->values[METRIC_DEAD] = (double)s.dead_members;
    x->values[METRIC_EVER] = (double)get(h->members_ever);
    x->values[METRIC_ENDED] = (double)get(h->members_ended);
    x->values[METRIC_SNAPSHOTS] = (double)get(h->snapshots);
    x->values[METRIC_SNAPSHOT_BYTES] = (double)get(h->snapshot_bytes);
    x->values[METRIC_SNAPSHOT_SECONDS] = (double)get(h->snapshot_ns) / 1e9;
    x->values[METRIC_HOLDS] = (double)s.holds;
    x->values[METRIC_PURGED_BYTES] = (double)(get(h->purged) * OS_PAGE);
    x->values[METRIC_CREATED] = (double)h->created_ns / 1e9;
}

static void each(const struct segment_file *file, void *context)
{
    struct view v;
    const char *why;
    if (file->version != SEG_FORMAT || !view_open_file(&v, file->path, &why))
        return; /* gone meanwhile, or another version's to tell of */
    sample_take(file->name, &v, context);
    view_close(&v);
}

static void named(const char *name, struct samples *to)
{
    struct view v;
    char path[512];
    if (!segment_look(name, &v, path, sizeof path, false)) {
        to->failed = true;
        return;
    }
    sample_take(name, &v, to);
    view_close(&v);
}

static void put_label(const char *text, FILE *to)
{
    for (; *text; text++)
        if (*text == '\\' || *text == '"')
            fprintf(to, "\\%c", *text);
        else if (*text == '\n')
            fputs("\\n", to);
        else
            fputc(*text, to);
}

static void print(const struct samples *s, FILE *to)
{
    for (unsigned i = 0; i < METRIC_COUNT; i++) {
        fprintf(to, "# HELP %s %s\n# TYPE %s %s\n", metrics[i].name, metrics[i].help,
                metrics[i].name, metrics[i].type);
        for (size_t n = 0; n < s->count; n++) {
            fprintf(to, "%s{segment=\"", metrics[i].name);
            put_label(s->all[n].segment, to);
            fprintf(to, "\"} %.17g\n", s->all[n].values[i]);
        }
    }
}

static void print_json(const struct samples *s)
{
    json_open(NULL, '[');
    for (size_t n = 0; n < s->count; n++) {
        json_open(NULL, '{');
        json_text("segment", s->all[n].segment);
        for (unsigned i = 0; i < METRIC_COUNT; i++)
            json_real(metrics[i].name, s->all[n].values[i]);
        json_close();
    }
    json_close();
}

/* A collector must never read half a file. */
static bool replace(const struct samples *s, const char *file)
{
    char temporary[1024];
    if ((size_t)snprintf(temporary, sizeof temporary, "%s.XXXXXX", file) >= sizeof temporary)
        return errno = ENAMETOOLONG, false;
    int fd = mkstemp(temporary);
    FILE *to = fd < 0 ? NULL : fdopen(fd, "w");
    if (!to)
        return false;
    print(s, to);
    fchmod(fd, 0644); /* the collector is another user */
    bool written = !ferror(to);
    if (fclose(to) == 0 && written && rename(temporary, file) == 0)
        return true;
    int error = errno;
    unlink(temporary);
    errno = error;
    return false;
}

int verb_metrics(int argc, char **argv)
{
    struct samples s = { 0 };
    struct flags f;
    flags_read(argc, argv, &f);
    if (!f.count)
        segments_each(each, &s);
    for (int i = 0; i < f.count; i++)
        named(f.arguments[i], &s);
    if (flag(&f, 'j'))
        print_json(&s);
    else if (!flag(&f, 'o'))
        print(&s, stdout);
    else if (!replace(&s, flag_value(&f, 'o')))
        s.failed = fail(1, "%s: %s", flag_value(&f, 'o'), strerror(errno));
    free(s.all);
    return s.failed ? EXIT_NO : EXIT_OK;
}
