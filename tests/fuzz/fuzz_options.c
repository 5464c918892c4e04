/* Any environment and any file of options: no crash, and every value is one that its type allows.
 *
 *   clang -g -O1 -fsanitize=fuzzer,address,undefined -I. tests/fuzz/fuzz_options.c config/<all>.c
 *
 * The input is lines.  Those before a line "---" are the environment, the rest is the file that
 * HSHM_CONFIG names; a first line "!" makes the program secure. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "config/options.h"
#include "config/options_print.h"

enum { INPUT_MAX = 20000, VARIABLES_MAX = 64 };

#define MUST(condition)                                                                            \
    do {                                                                                           \
        if (!(condition)) {                                                                        \
            fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #condition);                        \
            abort();                                                                               \
        }                                                                                          \
    } while (0)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* The fuzzer must not choose what file is written or read: no name may become one of these two. */
static void disarm(char *text, size_t size)
{
    for (size_t i = 0; i + 3 <= size; i++) {
        if (memcmp(text + i, "LOG", 3) == 0)
            text[i] = 'l';
        if (memcmp(text + i, "CON", 3) == 0)
            text[i] = 'c';
    }
}

static void file_write(int fd, const char *text, size_t size)
{
    MUST(ftruncate(fd, 0) == 0);
    MUST(pwrite(fd, text, size, 0) == (ssize_t)size);
}

static void value_check(enum option_id id)
{
    int64_t number = option_number(id);
    MUST(strnlen(option_text(id), OPTION_TEXT_SIZE) < OPTION_TEXT_SIZE);
    switch (options[id].type) {
    case OPTION_ENUM: MUST(number >= 0 && number < options[id].choice_count); break;
    case OPTION_BOOL: MUST(number == 0 || number == 1); break;
    case OPTION_MODE: MUST((number & 0600) == 0600 && (number & ~0666) == 0); break;
    case OPTION_MILLISECONDS: MUST(number >= -1 && number <= INT32_MAX); break;
    case OPTION_BYTES: MUST(number >= 0); break;
    case OPTION_PORTION: MUST(option_bytes(id, INT64_MAX) >= 0); break;
    case OPTION_NAME: MUST(option_text(id)[0] != '.'); break;
    case OPTION_PATH: MUST(!option_is_set(id) || option_text(id)[0] == '/'); break;
    case OPTION_LIST: (void)option_has_word(id, "word"); break;
    }
}

static void ignore(const char *text, size_t size, void *total)
{
    *(size_t *)total += strnlen(text, size);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static char input[INPUT_MAX + 1], config[64];
    static int file = -1;
    if (file < 0) {
        file = memfd_create("options", 0);
        snprintf(config, sizeof(config), "HSHM_CONFIG=/proc/self/fd/%d", file);
    }
    if (size > INPUT_MAX)
        return 0;
    memcpy(input, data, size);
    input[size] = '\0';
    disarm(input, size);

    char *environment[VARIABLES_MAX + 3];
    size_t count = 0;
    environment[count++] = config;
    environment[count++] = "HSHM_LOG=/dev/null";
    char *rest = input, *end = input + size;
    bool is_secure = false;
    while (rest < end && count < VARIABLES_MAX + 2) {
        char *start = rest, *newline = memchr(rest, '\n', (size_t)(end - rest));
        rest = newline ? newline + 1 : end;
        if (newline)
            *newline = '\0';
        if (strcmp(start, "---") == 0)
            break;
        is_secure |= strcmp(start, "!") == 0;
        environment[count++] = start;
    }
    environment[count] = NULL;
    file_write(file, rest, (size_t)(end - rest));

    int wrong = options_init(environment, "fuzz", is_secure);
    MUST(wrong >= 0 && (!is_secure || wrong == 0));
    for (unsigned id = 0; id < OPT_COUNT; id++)
        value_check((enum option_id)id);
    MUST(options_init(environment, "fuzz", is_secure) == wrong);

    char path[16];
    size_t total = 0;
    (void)option_word_value(OPT_STATS, "file", path, sizeof(path));
    (void)options_cover_program("fuzz");
    options_print(OPTIONS_JSON, ignore, &total);
    return 0;
}
