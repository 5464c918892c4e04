#include "config/options_print.h"

#include <stdio.h>
#include <string.h>

#include "config/option_hint.h"
#include "config/options.h"

struct output {
    options_write_fn *write;
    void *context;
};

static void put(const struct output *output, const char *text)
{
    output->write(text, strlen(text), output->context);
}

typedef void put_char_fn(const struct output *output, char c);

static void put_json_char(const struct output *output, char c)
{
    char text[8] = { c };
    if (c == '"' || c == '\\')
        snprintf(text, sizeof(text), "\\%c", c);
    else if ((unsigned char)c < ' ')
        snprintf(text, sizeof(text), "\\u%04x", (unsigned)(unsigned char)c);
    put(output, text);
}

static void put_markdown_char(const struct output *output, char c)
{
    const char text[] = { c, '\0' };
    put(output, c == '|' ? "\\|" : text);
}

/* `-` is a hyphen in roff, and a `.` at the start of a line a request. */
static void put_man_char(const struct output *output, char c)
{
    const char text[] = { c, '\0' };
    put(output, c == '\\' ? "\\e" : c == '-' ? "\\-" : c == '.' ? "\\&." : text);
}

static void put_text_char(const struct output *output, char c)
{
    const char text[] = { (unsigned char)c < ' ' || c == 0x7f ? '?' : c, '\0' };
    put(output, text);
}

/* Puts `before` as it is and `text` as the format needs it. */
static void put_field(const struct output *output, put_char_fn *put_char, const char *before,
                      const char *text)
{
    put(output, before);
    for (; *text; text++)
        put_char(output, *text);
}

static const char *const type_names[] = {
    [OPTION_NAME] = "name",
    [OPTION_PATH] = "path",
    [OPTION_BYTES] = "bytes",
    [OPTION_PORTION] = "portion",
    [OPTION_MILLISECONDS] = "milliseconds",
    [OPTION_MODE] = "mode",
    [OPTION_BOOL] = "bool",
    [OPTION_ENUM] = "enum",
    [OPTION_LIST] = "list",
};

static const char *const source_names[] = {
    [SOURCE_DEFAULT] = "default",
    [SOURCE_FILE] = "file",
    [SOURCE_ENVIRONMENT] = "environment",
};

static void print_text(const struct output *output, enum option_id id, const char *allowed)
{
    const char *usual = options[id].default_text;
    put_field(output, put_text_char, "HSHM_", options[id].name);
    put_field(output, put_text_char, "=", option_text(id));
    put_field(output, put_text_char, "  (", source_names[option_source(id)]);
    put_field(output, put_text_char, ")\n    ", options[id].help);
    put_field(output, put_text_char, "\n    ", allowed);
    put_field(output, put_text_char, *usual ? "; default " : "", usual);
    put(output, "\n");
}

static void print_json(const struct output *output, enum option_id id, const char *allowed)
{
    put_field(output, put_json_char, "  {\"name\": \"HSHM_", options[id].name);
    put_field(output, put_json_char, "\", \"value\": \"", option_text(id));
    put_field(output, put_json_char, "\", \"source\": \"", source_names[option_source(id)]);
    put_field(output, put_json_char, "\", \"default\": \"", options[id].default_text);
    put_field(output, put_json_char, "\", \"type\": \"", type_names[options[id].type]);
    put_field(output, put_json_char, "\", \"allowed\": \"", allowed);
    put_field(output, put_json_char, "\", \"help\": \"", options[id].help);
    put(output,
        options[id].scope == OPTION_SECURE ? "\", \"secure\": true" : "\", \"secure\": false");
    put(output, id + 1 == OPT_COUNT ? "}\n" : "},\n");
}

static void print_markdown(const struct output *output, enum option_id id, const char *allowed)
{
    const char *usual = options[id].default_text, *quote = *usual ? "`" : "";
    put_field(output, put_markdown_char, "| `HSHM_", options[id].name);
    put_field(output, put_markdown_char, "` | ", quote);
    put_field(output, put_markdown_char, usual, quote);
    put_field(output, put_markdown_char, " | ", allowed);
    put_field(output, put_markdown_char, " | ", options[id].help);
    put(output, " |\n");
}

static void print_man(const struct output *output, enum option_id id, const char *allowed)
{
    const char *usual = options[id].default_text;
    put_field(output, put_man_char, ".TP\n.B HSHM_", options[id].name);
    put_field(output, put_man_char, "\n", options[id].help);
    put_field(output, put_man_char, ".\nTakes ", allowed);
    put_field(output, put_man_char, "; default ", *usual ? usual : "none");
    put(output, ".\n");
}

void options_print(enum options_format format, options_write_fn *write, void *context)
{
    static const struct {
        void (*print)(const struct output *, enum option_id, const char *);
        const char *start, *end;
    } forms[] = {
        [OPTIONS_TEXT] = { print_text, "", "" },
        [OPTIONS_JSON] = { print_json, "[\n", "]\n" },
        [OPTIONS_MARKDOWN] = { print_markdown,
                               "| Option | Default | Takes | Meaning |\n|---|---|---|---|\n", "" },
        [OPTIONS_MAN] = { print_man, "", "" },
    };
    const struct output output = { write, context };
    put(&output, forms[format].start);
    for (unsigned id = 0; id < OPT_COUNT; id++) {
        char allowed[OPTION_DESCRIPTION_SIZE];
        struct buffer description = buffer_over(allowed, sizeof(allowed));
        option_describe(&options[id], &description);
        forms[format].print(&output, (enum option_id)id, allowed);
    }
    put(&output, forms[format].end);
}
