/* json.h - writes JSON to stdout: objects and arrays nest, text is escaped. */
#pragma once
#include <stdbool.h>
#include <stdint.h>

/* From here on each document is one line. */
void json_compact(void);
/* 'key' is NULL in an array, and for the outermost. */
void json_open(const char *key, char bracket); /* '{' or '[' */
void json_close(void);
void json_number(const char *key, uint64_t n);
void json_real(const char *key, double x);
void json_bool(const char *key, bool yes);
void json_text(const char *key, const char *text); /* any bytes; NULL is null */
void json_hex(const char *key, uint64_t n);        /* an address, as text: 0x... */
