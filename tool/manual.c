/* hshm help, and the parts of hshm(1) that follow from the table of commands. */
#include "tool/manual.h"
#include "tool/json.h"

#include <string.h>

#define WIDTH 84

/* Words filled into lines that begin with 'indent' blanks; 'at' columns of the first are used. */
static void fill(FILE *to, const char *text, int indent, int at)
{
    while (*text) {
        size_t n = strcspn(text, " \n");
        if (at > indent && at + 1 + (int)n > WIDTH) {
            fprintf(to, "\n%*s", indent, "");
            at = indent;
        } else if (at > indent && n) {
            fputc(' ', to);
            at++;
        }
        fprintf(to, "%.*s", (int)n, text);
        at += (int)n;
        text += n;
        if (*text == '\n' && text[1]) {
            fprintf(to, "\n%*s", indent, "");
            at = indent;
        }
        text += *text != '\0';
    }
    fputc('\n', to);
}

static void flag_explain(const struct flag_spec *f, FILE *to)
{
    char left[64];
    snprintf(left, sizeof left, "  -%c, --%s%s%s", f->letter, f->name, f->value ? "=" : "",
             f->value ? f->value : "");
    int at = fprintf(to, "%-26s", left);
    if (at > 26)
        at = fprintf(to, "\n%*s", 26, "") - 1;
    fill(to, f->help, 26, at);
}

void verb_explain(const struct verb *v, FILE *to)
{
    fprintf(to, "usage: hshm %s [OPTION]...%s%s\n", v->name, *v->arguments ? " " : "",
            v->arguments);
    fprintf(to, "%s%s\n", v->help, strchr(v->help, '?') ? "" : ".");
    if (*v->details)
        fill(to, v->details, 0, 0);
    for (const struct flag_spec *f = v->flags; f->letter; f++)
        flag_explain(f, to);
    fputs("  -h, --help              print this\n", to);
    if (strstr(v->arguments, "NAME") || v->kind == ARG_TWO_SEGMENTS)
        fputs("A segment is given by what HSHM_SEGMENT says, or by the path of its file or of a "
              "dump.\n",
              to);
}

void overview(FILE *to)
{
    fputs("usage: hshm COMMAND [OPTION]... [ARGUMENT]...\n\n", to);
    for (const struct verb *v = verbs; v->name; v++)
        fprintf(to, "  %-10s  %s\n", v->name, v->help);
    fputs("\nhshm COMMAND -h explains one.  Exit status 0: done, 1: it cannot be, 64: wrong use.\n",
          to);
}

/* ---- troff ------------------------------------------------------------------------------- */

static void troff(const char *text)
{
    bool start = true;
    for (const char *c = text; *c; c++) {
        if (*c == '-')
            fputs("\\-", stdout);
        else if (*c == '\\')
            fputs("\\e", stdout);
        else if (start && (*c == '.' || *c == '\''))
            printf("\\&%c", *c);
        else if (!(start && *c == ' '))
            putchar(*c);
        start = *c == '\n' || (start && *c == ' ');
        if (*c == '.' && c[1] == ' ') {
            putchar('\n');
            start = true;
        }
    }
    putchar('\n');
}

static void manual_verb(const struct verb *v)
{
    printf(".SS hshm %s \\fR[\\fPOPTION\\fR]...\\fP ", v->name);
    troff(v->arguments);
    char sentence[128];
    snprintf(sentence, sizeof sentence, "%s%s", v->help, strchr(v->help, '?') ? "" : ".");
    troff(sentence);
    if (*v->details) {
        printf(".PP\n");
        troff(v->details);
    }
    for (const struct flag_spec *f = v->flags; f->letter; f++) {
        printf(".TP\n.BR \\-%c \", \" \\-\\-", f->letter);
        for (const char *c = f->name; *c; c++)
            fputs(*c == '-' ? "\\-" : (char[]){ *c, '\0' }, stdout);
        if (f->value)
            printf("=\\fI%s\\fP", f->value);
        putchar('\n');
        troff(f->help);
    }
}

/* ---- JSON -------------------------------------------------------------------------------- */

static void json_verb(const struct verb *v)
{
    json_open(NULL, '{');
    json_text("name", v->name);
    json_text("arguments", v->arguments);
    json_text("help", v->help);
    json_open("options", '[');
    for (const struct flag_spec *f = v->flags; f->letter; f++) {
        json_open(NULL, '{');
        json_text("letter", (char[]){ f->letter, '\0' });
        json_text("name", f->name);
        json_text("value", f->value);
        json_text("help", f->help);
        json_close();
    }
    json_close();
    json_close();
}

int verb_help(int argc, char **argv)
{
    struct flags f;
    flags_read_arguments(argc, argv, &f, 0, 1);
    const struct verb *one = f.count ? verb_find(f.arguments[0]) : NULL;
    if (f.count && !one)
        return fail(EXIT_USAGE, "there is no command '%s'", f.arguments[0]);
    bool json = flag(&f, 'j'), man = flag(&f, 'm');
    if (json)
        json_open(NULL, '[');
    for (const struct verb *v = verbs; (json || man) && v->name; v++)
        if (!one || one == v)
            (json ? json_verb : manual_verb)(v);
    if (json)
        json_close();
    if (!json && !man && one)
        verb_explain(one, stdout);
    else if (!json && !man)
        overview(stdout);
    return EXIT_OK;
}
