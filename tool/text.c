#include "tool/tool.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

struct text text_bytes(uint64_t bytes)
{
    static const char *const units[] = { "B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB" };
    struct text t;
    double x = (double)bytes;
    unsigned unit = 0;
    while (x >= 1023.95 && unit < 6) {
        x /= 1024;
        unit++;
    }
    snprintf(t.at, sizeof t.at, unit && x < 1023.95 ? "%.1f %s" : "%.0f %s", x, units[unit]);
    return t;
}

struct text text_count(uint64_t n)
{
    struct text t;
    char digits[24];
    size_t len = (size_t)snprintf(digits, sizeof digits, "%llu", (unsigned long long)n), at = 0;
    for (size_t i = 0; i < len; i++) {
        if (i && (len - i) % 3 == 0)
            t.at[at++] = ',';
        t.at[at++] = digits[i];
    }
    t.at[at] = '\0';
    return t;
}

uint64_t seconds_since(uint64_t ns)
{
    uint64_t now = os_now_ns();
    return now > ns ? (now - ns) / 1000000000 : 0;
}

struct text text_age(uint64_t since_ns)
{
    struct text t;
    unsigned long s = seconds_since(since_ns);
    if (s < 120)
        snprintf(t.at, sizeof t.at, "%lu s", s);
    else if (s < 2 * 3600UL)
        snprintf(t.at, sizeof t.at, "%lu min", s / 60);
    else if (s < 48ul * 3600)
        snprintf(t.at, sizeof t.at, "%lu h", s / 3600);
    else
        snprintf(t.at, sizeof t.at, "%lu d", s / 86400);
    return t;
}

struct text text_time(uint64_t ns)
{
    struct text t = { "?" };
    time_t seconds = (time_t)(ns / 1000000000);
    struct tm tm;
    if (localtime_r(&seconds, &tm))
        strftime(t.at, sizeof t.at, "%Y-%m-%d %H:%M:%S", &tm);
    return t;
}

struct text text_hex(uint64_t n)
{
    struct text t;
    snprintf(t.at, sizeof t.at, "0x%llx", (unsigned long long)n);
    return t;
}

struct text text_change(uint64_t from, uint64_t to, bool bytes)
{
    uint64_t by = to > from ? to - from : from - to;
    struct text t, n = bytes ? text_bytes(by) : text_count(by);
    snprintf(t.at, sizeof t.at, "%s%.60s", to > from ? "+" : to < from ? "-" : "", n.at);
    return t;
}

struct text text_plain(const char *s, size_t size)
{
    struct text t;
    size_t i = 0;
    for (; i < size && i < sizeof t.at - 1 && s[i]; i++)
        t.at[i] = (unsigned char)s[i] >= ' ' && (unsigned char)s[i] < 0x7f ? s[i] : '?';
    t.at[i] = '\0';
    return t;
}

int fail(int status, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    fflush(stdout);
    fputs("hshm: ", stderr);
    vfprintf(stderr, format, args);
    fputc('\n', stderr);
    va_end(args);
    return status;
}

/* ---- tables ------------------------------------------------------------------------ */

#define COLUMNS_MAX 16

static struct {
    const struct column *columns;
    unsigned count;
    char **cells; /* row by row, the titles first */
    size_t used, size;
} table;

void table_start(const struct column *columns, unsigned count)
{
    table.columns = columns;
    table.count = count;
    table.used = 0;
    for (unsigned i = 0; i < count; i++)
        table_cell(columns[i].title);
}

void table_cell(const char *text)
{
    if (table.used == table.size) {
        table.size = table.size ? table.size * 2 : 64;
        table.cells = realloc(table.cells, table.size * sizeof *table.cells);
        if (!table.cells)
            abort();
    }
    table.cells[table.used] = strdup(text);
    if (!table.cells[table.used++])
        abort();
}

void table_end(void)
{
    int width[COLUMNS_MAX] = { 0 };
    for (size_t i = 0; i < table.used; i++) {
        int n = (int)strlen(table.cells[i]);
        if (n > width[i % table.count])
            width[i % table.count] = n;
    }
    for (size_t i = 0; i < table.used; i++) {
        unsigned at = (unsigned)(i % table.count);
        bool last = at == table.count - 1;
        if (table.columns[at].right)
            printf("%*s", width[at], table.cells[i]);
        else
            printf("%-*s", last ? 0 : width[at], table.cells[i]);
        fputs(last ? "\n" : "  ", stdout);
        free(table.cells[i]);
    }
    table.used = 0;
}
