/* hshm completion: what the shells complete, from the table of commands. */
#include "tool/tool.h"

#include <stdio.h>
#include <string.h>

static void each_flag(const struct verb *v, const char *format_plain, const char *format_value)
{
    for (const struct flag_spec *f = v->flags; f->letter; f++)
        printf(f->value ? format_value : format_plain, f->name);
}

/* ---- bash --------------------------------------------------------------------------------- */

static const char *bash_argument(enum argument kind)
{
    switch (kind) {
    case ARG_SEGMENT:
    case ARG_SEGMENTS: return "words=$(_hshm_segments)";
    case ARG_TWO_SEGMENTS:
    case ARG_SEGMENT_FILE: return "words=$(_hshm_segments); COMPREPLY=($(compgen -f -- \"$cur\"))";
    case ARG_PID: return "words=$(cd /proc && echo [0-9]*)";
    case ARG_COMMAND: return "COMPREPLY=($(compgen -c -- \"$cur\"))";
    case ARG_SHELL: return "words='bash zsh fish'";
    case ARG_VERB: return "words=$commands";
    default: return ":";
    }
}

static void bash(void)
{
    fputs("# bash completion of hshm; made by `hshm completion bash`\n"
          "_hshm_segments()\n{\n"
          "    local f\n"
          "    for f in /dev/shm/hshm*-$UID-*; do\n"
          "        [[ -e $f ]] && printf '%s\\n' \"${f#/dev/shm/hshm*-$UID-}\"\n"
          "    done\n}\n\n"
          "_hshm()\n{\n"
          "    local cur=${COMP_WORDS[COMP_CWORD]} words= commands='",
          stdout);
    for (const struct verb *v = verbs; v->name; v++)
        printf("%s%s", v == verbs ? "" : " ", v->name);
    fputs("'\n    COMPREPLY=()\n"
          "    if ((COMP_CWORD == 1)); then\n"
          "        COMPREPLY=($(compgen -W \"$commands\" -- \"$cur\"))\n"
          "        return\n"
          "    fi\n"
          "    case ${COMP_WORDS[1]} in\n",
          stdout);
    for (const struct verb *v = verbs; v->name; v++) {
        printf("    %s)\n        if [[ $cur == -* ]]; then words='--help", v->name);
        each_flag(v, " --%s", " --%s=");
        printf("'\n        else %s; fi ;;\n", bash_argument(v->kind));
    }
    fputs("    esac\n"
          "    COMPREPLY+=($(compgen -W \"$words\" -- \"$cur\"))\n"
          "    [[ ${COMPREPLY-} == *= ]] && compopt -o nospace\n"
          "}\ncomplete -F _hshm hshm\n",
          stdout);
}

/* ---- zsh ------------------------------------------------------------------------------------ */

/* Text between single quotes, where [ ] and : would mean something. */
static void put_quoted(const char *text)
{
    for (; *text; text++)
        if (*text == '\'')
            fputs("'\\''", stdout);
        else if (*text == '[' || *text == ']' || *text == ':')
            printf("\\%c", *text);
        else
            putchar(*text);
}

static const char *zsh_argument(enum argument kind)
{
    switch (kind) {
    case ARG_SEGMENT: return "1:segment:_hshm_segments";
    case ARG_SEGMENTS: return "*:segment:_hshm_segments";
    case ARG_TWO_SEGMENTS: return "*:segment or dump:{_hshm_segments; _files}";
    case ARG_SEGMENT_FILE: return "1:segment:_hshm_segments' '2:file:_files";
    case ARG_PID: return "1:process:_pids";
    case ARG_COMMAND: return "*::program:_normal";
    case ARG_SHELL: return "1:shell:(bash zsh fish)";
    case ARG_VERB: return "1:command:_hshm_commands";
    default: return "*:";
    }
}

static void zsh(void)
{
    fputs("#compdef hshm\n# zsh completion of hshm; made by `hshm completion zsh`\n"
          "_hshm_segments()\n{\n"
          "    local -a names\n"
          "    names=(/dev/shm/hshm*-$UID-*(N:t))\n"
          "    compadd -- ${names#hshm<->-$UID-}\n}\n\n"
          "_hshm_commands()\n{\n    local -a commands\n    commands=(\n",
          stdout);
    for (const struct verb *v = verbs; v->name; v++) {
        printf("        '%s:", v->name);
        put_quoted(v->help);
        fputs("'\n", stdout);
    }
    fputs("    )\n    _describe command commands\n}\n\n"
          "_hshm()\n{\n"
          "    if ((CURRENT == 2)); then\n        _hshm_commands\n        return\n    fi\n"
          "    local command=$words[2]\n    shift words\n    ((CURRENT--))\n"
          "    case $command in\n",
          stdout);
    for (const struct verb *v = verbs; v->name; v++) {
        printf("    %s) _arguments -s", v->name);
        for (const struct flag_spec *f = v->flags; f->letter; f++) {
            printf(" \\\n        '(-%c --%s)'{-%c%s,--%s%s}'[", f->letter, f->name, f->letter,
                   f->value ? "+" : "", f->name, f->value ? "=" : "");
            put_quoted(f->help);
            printf("]%s%s%s'", f->value ? ":" : "", f->value ? f->value : "",
                   !f->value                  ? ""
                   : strstr(f->value, "FILE") ? ":_files"
                                              : ":");
        }
        printf(" \\\n        '%s' ;;\n", zsh_argument(v->kind));
    }
    fputs("    esac\n}\n\n_hshm \"$@\"\n", stdout);
}

/* ---- fish ----------------------------------------------------------------------------------- */

static void put_fish_quoted(const char *text)
{
    putchar('\'');
    for (; *text; text++)
        printf(*text == '\'' || *text == '\\' ? "\\%c" : "%c", *text);
    putchar('\'');
}

static const char *fish_argument(enum argument kind)
{
    switch (kind) {
    case ARG_SEGMENT:
    case ARG_SEGMENTS: return "-f -a '(__hshm_segments)'";
    case ARG_TWO_SEGMENTS:
    case ARG_SEGMENT_FILE: return "-F -a '(__hshm_segments)'";
    case ARG_PID: return "-f -a '(__fish_complete_pids)'";
    case ARG_COMMAND: return "-a '(__fish_complete_subcommand)'";
    case ARG_SHELL: return "-f -a 'bash zsh fish'";
    case ARG_VERB: return "-f -a '(__hshm_commands)'";
    default: return "-f";
    }
}

static void fish(void)
{
    fputs("# fish completion of hshm; made by `hshm completion fish`\n"
          "function __hshm_segments\n"
          "    for f in /dev/shm/hshm*-(id -u)-*\n"
          "        string replace -r '^.*/hshm[0-9]+-[0-9]+-' '' -- $f\n"
          "    end\nend\n\nfunction __hshm_commands\n    echo '",
          stdout);
    for (const struct verb *v = verbs; v->name; v++)
        printf("%s%s", v == verbs ? "" : " ", v->name);
    fputs("' | string split ' '\nend\n\ncomplete -c hshm -f -n __fish_use_subcommand\n", stdout);
    for (const struct verb *v = verbs; v->name; v++) {
        printf("complete -c hshm -n __fish_use_subcommand -a %s -d ", v->name);
        put_fish_quoted(v->help);
        putchar('\n');
        printf("complete -c hshm -n '__fish_seen_subcommand_from %s' %s\n", v->name,
               fish_argument(v->kind));
        for (const struct flag_spec *f = v->flags; f->letter; f++) {
            printf("complete -c hshm -n '__fish_seen_subcommand_from %s' -s %c -l %s%s -d ",
                   v->name, f->letter, f->name, f->value ? " -r" : "");
            put_fish_quoted(f->help);
            putchar('\n');
        }
    }
}

int verb_completion(int argc, char **argv)
{
    struct flags f;
    flags_read_arguments(argc, argv, &f, 1, 1);
    const char *shell = f.arguments[0];
    if (strcmp(shell, "bash") == 0)
        bash();
    else if (strcmp(shell, "zsh") == 0)
        zsh();
    else if (strcmp(shell, "fish") == 0)
        fish();
    else
        return fail(EXIT_USAGE, "'%s': bash, zsh or fish", shell);
    return EXIT_OK;
}
