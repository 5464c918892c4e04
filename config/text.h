/* Pieces of text and bounded buffers, for code that runs before libc does: no locale, no allocation,
 * nothing of libc but mem*() and str*(). */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <string.h>

/* A piece of a text that somebody else owns; not terminated. */
struct chars {
    const char *at;
    size_t size;
};

static inline struct chars chars_of(const char *text)
{
    return (struct chars){ text, strlen(text) };
}

static inline bool chars_equals(struct chars a, const char *text)
{
    return a.size == strlen(text) && memcmp(a.at, text, a.size) == 0;
}

static inline bool chars_starts(struct chars a, const char *text)
{
    size_t size = strlen(text);
    return a.size >= size && memcmp(a.at, text, size) == 0;
}

static inline struct chars chars_skip(struct chars a, size_t count)
{
    return (struct chars){ a.at + count, a.size - count };
}

/* Cuts everything up to the first `end` from `*rest`, which then starts behind it. */
static inline struct chars chars_take(struct chars *rest, char end)
{
    const char *found = rest->size > 0 ? memchr(rest->at, end, rest->size) : NULL;
    size_t size = found ? (size_t)(found - rest->at) : rest->size;
    struct chars piece = { rest->at, size };
    *rest = chars_skip(*rest, found ? size + 1 : size);
    return piece;
}

static inline bool char_is_blank(char c)
{
    return c == ' ' || c == '\t' || c == '\r';
}

static inline struct chars chars_trim(struct chars a)
{
    while (a.size > 0 && char_is_blank(a.at[0]))
        a = chars_skip(a, 1);
    while (a.size > 0 && char_is_blank(a.at[a.size - 1]))
        a.size--;
    return a;
}

static inline char char_lower(char c)
{
    return c >= 'A' && c <= 'Z' ? (char)(c - 'A' + 'a') : c;
}

static inline bool chars_equals_nocase(struct chars a, const char *text)
{
    size_t i = 0;
    while (i < a.size && text[i] && char_lower(a.at[i]) == char_lower(text[i]))
        i++;
    return i == a.size && text[i] == '\0';
}

/* Appends to an array that always holds a terminated text; what does not fit is left out, and
 * `is_full` says so. */
struct buffer {
    char *at;
    size_t size;
    size_t used;
    bool is_full;
};

static inline struct buffer buffer_over(char *at, size_t size)
{
    at[0] = '\0';
    return (struct buffer){ .at = at, .size = size };
}

static inline void buffer_add(struct buffer *buffer, struct chars piece)
{
    size_t room = buffer->size - 1 - buffer->used;
    size_t size = piece.size <= room ? piece.size : room;
    if (size > 0)
        memcpy(buffer->at + buffer->used, piece.at, size);
    buffer->used += size;
    buffer->at[buffer->used] = '\0';
    buffer->is_full |= size < piece.size;
}

static inline void buffer_add_text(struct buffer *buffer, const char *text)
{
    buffer_add(buffer, chars_of(text));
}

static inline void buffer_add_number(struct buffer *buffer, unsigned number)
{
    char digits[10]; /* of UINT32_MAX */
    size_t first = sizeof(digits);
    do
        digits[--first] = (char)('0' + number % 10);
    while (number /= 10);
    buffer_add(buffer, (struct chars){ digits + first, sizeof(digits) - first });
}
