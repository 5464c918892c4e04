#include "tool/json.h"

#include <stdio.h>
#include <string.h>

#define DEPTH_MAX 16

static struct {
    char close[DEPTH_MAX];
    bool has_items[DEPTH_MAX];
    int depth;
    bool compact;
} out;

void json_compact(void)
{
    out.compact = true;
}

static void new_line(int depth)
{
    if (!out.compact)
        printf("\n%*s", 2 * depth, "");
}

/* Length of the UTF-8 character at s, 0 if it is none. */
static int utf8_length(const unsigned char *s)
{
    int n = s[0] < 0x80 ? 1 : s[0] >= 0xc2 && s[0] < 0xe0 ? 2 : s[0] >= 0xe0 && s[0] < 0xf0 ? 3 : 0;
    for (int i = 1; i < n; i++)
        if ((s[i] & 0xc0) != 0x80)
            return 0;
    return n == 3 && ((s[0] == 0xe0 && s[1] < 0xa0) || (s[0] == 0xed && s[1] >= 0xa0)) ? 0 : n;
}

/* Bytes that are no UTF-8 (a file name may have any) are shown as \u00XX. */
static void put_string(const char *text)
{
    putchar('"');
    for (const unsigned char *s = (const unsigned char *)text; *s;) {
        int n = utf8_length(s);
        if (*s == '"' || *s == '\\')
            printf("\\%c", *s);
        else if (n == 0 || *s < ' ' || *s == 0x7f)
            printf("\\u%04x", *s);
        else
            fwrite(s, 1, (size_t)n, stdout);
        s += n ? n : 1;
    }
    putchar('"');
}

static void start(const char *key)
{
    if (out.depth) {
        if (out.has_items[out.depth])
            putchar(',');
        new_line(out.depth);
        out.has_items[out.depth] = true;
    }
    if (key) {
        put_string(key);
        fputs(out.compact ? ":" : ": ", stdout);
    }
}

void json_open(const char *key, char bracket)
{
    start(key);
    putchar(bracket);
    out.depth++;
    out.close[out.depth] = bracket == '{' ? '}' : ']';
    out.has_items[out.depth] = false;
}

void json_close(void)
{
    char bracket = out.close[out.depth];
    bool empty = !out.has_items[out.depth--];
    if (!empty)
        new_line(out.depth);
    putchar(bracket);
    if (out.depth == 0)
        putchar('\n');
}

void json_number(const char *key, uint64_t n)
{
    start(key);
    printf("%llu", (unsigned long long)n);
}

void json_real(const char *key, double x)
{
    start(key);
    printf("%.4f", x);
}

void json_bool(const char *key, bool yes)
{
    start(key);
    fputs(yes ? "true" : "false", stdout);
}

void json_text(const char *key, const char *text)
{
    start(key);
    if (text)
        put_string(text);
    else
        fputs("null", stdout);
}

void json_hex(const char *key, uint64_t n)
{
    start(key);
    printf("\"0x%llx\"", (unsigned long long)n);
}
