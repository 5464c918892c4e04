/* hshm - watches, checks, cleans and starts shared heaps, from outside. */
#include "tool/tool.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define NAMES "NAME is what HSHM_SEGMENT says, or a path, or file:/path; a copied file will do.\n"

const struct verb verbs[] = {
    { "run", verb_run, "[-s NAME] [--KEY=VALUE | -o KEY=VALUE]... [--] PROGRAM [ARG]...",
      "run a program with its malloc in a segment",
      "  -s NAME       the segment; without it a fresh one, removed at the end\n"
      "  -o KEY=VALUE  sets HSHM_KEY (hshm options lists them); --size=2G is -o SIZE=2G\n"
      "  -v            say first what is run\n"
      "The exit status is the program's; 125: hshm failed, 126: the program cannot be run,\n"
      "127: there is none.  A signal that ends the program ends hshm, too.\n" },
    { "list", verb_list, "[-j]", "list this user's segments", "" },
    { "show", verb_show, "[-j] NAME", "show a segment: its memory, members, size classes", NAMES },
    { "who", verb_who, "[-aj] NAME", "list the members of a segment",
      NAMES "  -a  also those that have ended and whose place is free\n" },
    { "check", verb_check, "[-jq] NAME", "verify every structure of a segment",
      NAMES "  -q  say nothing, only exit\n"
            "Exit status 0: sound, 1: damaged, 2: cannot tell.\n" },
    { "reclaim", verb_reclaim, "[-jn] [NAME]...", "free what dead and ended members left",
      "Without a NAME all segments of this user.  Puts in order what died, frees what ended\n"
      "members kept for others (HSHM_EXIT=keep), and removes segments that nobody uses.\n"
      "  -n  only say what would be done\n" },
    { "rm", verb_rm, "[-fj] NAME...", "remove segments",
      "Refuses while a living member is attached, and names it.\n"
      "  -f  remove the name all the same: its members go on with the nameless memory,\n"
      "      which nobody can join any more and which goes with the last of them\n" },
    { "options", verb_options, "[-j | --markdown | --man]", "list all options and their values",
      "" },
    { "version", verb_version, "[-j]", "print the version and the format of segments", "" },
    { "help", verb_help, "[COMMAND]", "explain a command", "" },
    { 0 },
};

static const struct verb *verb_find(const char *name)
{
    for (const struct verb *v = verbs; v->name; v++)
        if (strcmp(v->name, name) == 0)
            return v;
    return NULL;
}

static void verb_explain(const struct verb *v, FILE *to)
{
    fprintf(to, "usage: hshm %s %s\n%s.\n%s", v->name, v->synopsis, v->help, v->details);
    if (strstr(v->synopsis, "-j") || strstr(v->synopsis, "j]"))
        fputs("  -j  as JSON\n", to);
}

static void overview(FILE *to)
{
    fputs("usage: hshm COMMAND [ARG]...\n\n", to);
    for (const struct verb *v = verbs; v->name; v++)
        fprintf(to, "  %-8s  %s\n", v->name, v->help);
    fputs("\nhshm COMMAND -h explains one.  Exit status 0: done, 1: it cannot be, 64: wrong use.\n",
          to);
}

int verb_help(int argc, char **argv)
{
    const struct verb *v = argc > 1 ? verb_find(argv[1]) : NULL;
    if (argc > 1 && !v)
        return fail(EXIT_USAGE, "there is no command '%s'", argv[1]);
    if (v)
        verb_explain(v, stdout);
    else
        overview(stdout);
    return EXIT_OK;
}

/* ---- flags ------------------------------------------------------------------------------- */

static char letter_of(const char *name)
{
    static const struct {
        const char *name;
        char letter;
    } names[] = { { "json", 'j' }, { "help", 'h' },  { "dry-run", 'n' },  { "force", 'f' },
                  { "all", 'a' },  { "quiet", 'q' }, { "markdown", 'M' }, { "man", 'm' } };
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (strcmp(names[i].name, name) == 0)
            return names[i].letter;
    return '?';
}

static void flag_set(const char *verb, const char *letters, char letter, const char *text,
                     bool *set)
{
    if (letter == 'h') {
        verb_explain(verb_find(verb), stdout);
        exit(EXIT_OK);
    }
    if (letter == '?' || (letter != 'j' && !strchr(letters, letter))) {
        fail(0, "%s has no option '%s'", verb, text);
        verb_explain(verb_find(verb), stderr);
        exit(EXIT_USAGE);
    }
    set[(unsigned char)letter] = true;
}

int flags_read(int argc, char **argv, const char *letters, bool *set)
{
    int i = 1;
    memset(set, 0, 128);
    for (; i < argc && argv[i][0] == '-' && argv[i][1]; i++) {
        if (strcmp(argv[i], "--") == 0)
            return i + 1;
        if (argv[i][1] == '-')
            flag_set(argv[0], letters, letter_of(argv[i] + 2), argv[i], set);
        else
            for (const char *c = argv[i] + 1; *c; c++)
                flag_set(argv[0], letters, *c & 0x80 ? '?' : *c, argv[i], set);
    }
    return i;
}

bool flag(const bool *set, char letter)
{
    return set[(unsigned char)letter];
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
    if (!v)
        return fail(EXIT_USAGE, "there is no command '%s'; hshm help lists them", name);
    int status = v->run(argc - 1, argv + 1);
    if (fflush(stdout) != 0 || ferror(stdout))
        return fail(EXIT_NO, "cannot write");
    return status;
}
