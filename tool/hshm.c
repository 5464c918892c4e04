/* hshm - watches, checks, cleans and starts shared heaps, from outside. */
#include "config/option_hint.h"
#include "tool/json.h"
#include "tool/manual.h"
#include "tool/tool.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define FLAG(...) { __VA_ARGS__ },
#define VERB(name, a, k, h, d, ...)                                                                \
    static const struct flag_spec flags_of_##name[] = { __VA_ARGS__{ 0 } };
#include "tool/verbs.def"
#undef VERB
#undef FLAG

const struct verb verbs[] = {
#define VERB(name, arguments, kind, help, details, ...)                                            \
    { #name, verb_##name, arguments, kind, help, details, flags_of_##name },
#include "tool/verbs.def"
#undef VERB
    { 0 },
};

const struct verb *verb_find(const char *name)
{
    for (const struct verb *v = verbs; v->name; v++)
        if (strcmp(v->name, name) == 0)
            return v;
    return NULL;
}

/* ---- flags ------------------------------------------------------------------------------- */

static const struct flag_spec *flag_find(const struct verb *v, char letter, const char *name,
                                         size_t length)
{
    for (const struct flag_spec *f = v->flags; f->letter; f++)
        if (name ? strlen(f->name) == length && strncmp(f->name, name, length) == 0
                 : f->letter == letter)
            return f;
    return NULL;
}

static _Noreturn void flag_wrong(const struct verb *v, const char *text, const char *what)
{
    fail(0, "%s: '%s' %s", v->name, text, what);
    verb_explain(v, stderr);
    exit(EXIT_USAGE);
}

static _Noreturn void flag_help(const struct verb *v)
{
    verb_explain(v, stdout);
    exit(fflush(stdout) == 0 ? EXIT_OK : EXIT_NO);
}

static void flag_take(const struct verb *v, const struct flag_spec *spec, const char *value,
                      const char *text, struct flags *f)
{
    if (!spec)
        flag_wrong(v, text, "is no option of it");
    if (value && !spec->value)
        flag_wrong(v, text, "takes no value");
    f->set[(unsigned char)spec->letter] = true;
    f->value[(unsigned char)spec->letter] = value;
}

/* The value of the flag in argv[*i]: what follows it there, or the next word. */
static const char *value_of(const struct verb *v, const char *rest, int argc, char **argv, int *i)
{
    if (*rest)
        return rest;
    if (*i + 1 >= argc)
        flag_wrong(v, argv[*i], "needs a value");
    return argv[++*i];
}

static void flag_read_long(const struct verb *v, int argc, char **argv, int *i, struct flags *f)
{
    const char *text = argv[*i], *name = text + 2, *equals = strchr(name, '=');
    size_t length = equals ? (size_t)(equals - name) : strlen(name);
    if (strcmp(name, "help") == 0)
        flag_help(v);
    const struct flag_spec *spec = flag_find(v, 0, name, length);
    const char *value = equals                ? equals + 1
                        : spec && spec->value ? value_of(v, "", argc, argv, i)
                                              : NULL;
    flag_take(v, spec, value, text, f);
}

static void flag_read_short(const struct verb *v, int argc, char **argv, int *i, struct flags *f)
{
    const char *text = argv[*i];
    for (const char *c = text + 1; *c; c++) {
        const struct flag_spec *spec = flag_find(v, *c, NULL, 0);
        if (*c == 'h' && !spec)
            flag_help(v);
        if (spec && spec->value) {
            flag_take(v, spec, value_of(v, c + 1, argc, argv, i), text, f);
            return;
        }
        flag_take(v, spec, NULL, text, f);
    }
}

void flags_read(int argc, char **argv, struct flags *f)
{
    const struct verb *v = verb_find(argv[0]);
    int i = 1;
    memset(f, 0, sizeof *f);
    for (; i < argc && argv[i][0] == '-' && argv[i][1]; i++) {
        if (strcmp(argv[i], "--") == 0) {
            i++;
            break;
        }
        (argv[i][1] == '-' ? flag_read_long : flag_read_short)(v, argc, argv, &i, f);
    }
    f->count = argc - i;
    f->arguments = argv + i;
}

void flags_read_arguments(int argc, char **argv, struct flags *f, int least, int most)
{
    flags_read(argc, argv, f);
    if (f->count >= least && f->count <= most)
        return;
    fail(0, "usage: hshm %s %s", argv[0], verb_find(argv[0])->arguments);
    fail(0, "hshm %s -h explains it; hshm list names the segments", argv[0]);
    exit(EXIT_USAGE);
}

static const char *verb_name(unsigned i)
{
    return verbs[i].name;
}

int main(int argc, char **argv)
{
    if (argc < 2) {
        overview(stderr);
        return EXIT_USAGE;
    }
    const char *name = argv[1];
    if (strcmp(name, "-h") == 0 || strcmp(name, "--help") == 0)
        name = "help";
    if (strcmp(name, "-V") == 0 || strcmp(name, "--version") == 0)
        name = "version";
    const struct verb *v = verb_find(name);
    if (!v) {
        const char *near = nearest_word(chars_of(name), verb_name);
        return fail(EXIT_USAGE, "there is no command '%s'%s%s%s; hshm help lists them", name,
                    near ? " (maybe: " : "", near ? near : "", near ? "?)" : "");
    }
    argv[1] = (char *)v->name;
    int status = v->run(argc - 1, argv + 1);
    if (fflush(stdout) != 0 || ferror(stdout))
        return fail(EXIT_NO, "cannot write");
    return status;
}
