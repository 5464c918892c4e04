/* hshm run: a program with its malloc in a segment. */
#include "config/options.h"
#include "tool/tool.h"

#include <ctype.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/personality.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

enum { EXIT_OURS = 125, EXIT_CANNOT_RUN = 126, EXIT_NOT_FOUND = 127 };

/* ---- the library ------------------------------------------------------------------------ */

void library_find(const char *name, char *path, size_t size)
{
    static const char *const places[] = { "", "../lib/", "../lib/x86_64-linux-gnu/", "../lib64/",
                                          "../lib/aarch64-linux-gnu/" };
    char self[512];
    ssize_t n = readlink("/proc/self/exe", self, sizeof self - 1);
    char *slash = n > 0 ? (self[n] = '\0', strrchr(self, '/')) : NULL;
    for (unsigned i = 0; slash && i < sizeof places / sizeof *places; i++) {
        snprintf(path, size, "%.*s/%s%s.0", (int)(slash - self), self, places[i], name);
        if (access(path, R_OK) == 0)
            return;
        path[strlen(path) - 2] = '\0';
        if (access(path, R_OK) == 0)
            return;
    }
    snprintf(path, size, "%s.0", name);
}

/* Behind what is there: other preloads keep their place. */
static void preload_append(const char *library)
{
    const char *old = getenv("LD_PRELOAD");
    char *all = NULL;
    if (asprintf(&all, "%s%s%s", old ? old : "", old && *old ? ":" : "", library) < 0 ||
        setenv("LD_PRELOAD", all, 1) < 0)
        exit(fail(EXIT_OURS, "no memory"));
    free(all);
}

/* ---- options ------------------------------------------------------------------------------ */

/* KEY=VALUE, in any case, with - for _. */
static int option_set(const char *text)
{
    char key[64] = "HSHM_";
    size_t n = strcspn(text, "=");
    if (text[n] != '=' || n == 0 || n + 6 > sizeof key)
        return fail(EXIT_USAGE, "'%s' is not KEY=VALUE", text);
    for (size_t i = 0; i < n; i++)
        key[5 + i] = text[i] == '-' ? '_' : (char)toupper((unsigned char)text[i]);
    key[5 + n] = '\0';
    const char *bare = strncmp(key + 5, "HSHM_", 5) == 0 ? key + 10 : key + 5;
    for (unsigned i = 0; i < OPT_COUNT; i++)
        if (strcmp(options[i].name, bare) == 0) {
            char name[72];
            snprintf(name, sizeof name, "HSHM_%s", bare);
            return setenv(name, text + n + 1, 1) < 0 ? fail(EXIT_OURS, "no memory") : EXIT_OK;
        }
    return fail(EXIT_USAGE, "there is no option %s; hshm options lists them", bare);
}

struct command {
    const char *segment;
    bool verbose, same_layout, debug;
    int first; /* index of PROGRAM */
};

static int value_of(int argc, char **argv, int *i, const char **value)
{
    *value = argv[*i][2] ? argv[*i] + 2 : ++*i < argc ? argv[*i] : NULL;
    return *value ? EXIT_OK : fail(EXIT_USAGE, "%s needs a value", argv[*i - 1]);
}

static int command_read(int argc, char **argv, struct command *c)
{
    int i = 1, status = EXIT_OK;
    for (; i < argc && argv[i][0] == '-' && status == EXIT_OK; i++) {
        const char *value;
        if (strcmp(argv[i], "--") == 0) {
            i++;
            break;
        }
        if (strcmp(argv[i], "-h") == 0 || strcmp(argv[i], "--help") == 0) {
            verb_help(2, (char *[]){ (char *)"help", (char *)"run", NULL });
            exit(EXIT_OK);
        }
        if (strcmp(argv[i], "--same-layout") == 0 || strcmp(argv[i], "-L") == 0)
            c->same_layout = true;
        else if (strcmp(argv[i], "--debug") == 0 || strcmp(argv[i], "-D") == 0)
            c->debug = true;
        else if (strcmp(argv[i], "--verbose") == 0)
            c->verbose = true;
        else if (strncmp(argv[i], "--segment=", 10) == 0)
            c->segment = argv[i] + 10;
        else if (strncmp(argv[i], "--option=", 9) == 0)
            status = option_set(argv[i] + 9);
        else if (argv[i][1] == '-')
            status = option_set(argv[i] + 2);
        else if (argv[i][1] == 's' && (status = value_of(argc, argv, &i, &value)) == EXIT_OK)
            c->segment = value;
        else if (argv[i][1] == 'o' && (status = value_of(argc, argv, &i, &value)) == EXIT_OK)
            status = option_set(value);
        else if (strcmp(argv[i], "-v") == 0)
            c->verbose = true;
        else if (status == EXIT_OK && argv[i][1] != 's' && argv[i][1] != 'o')
            status = fail(EXIT_USAGE, "run has no option '%s'", argv[i]);
    }
    c->first = i;
    if (status == EXIT_OK && i >= argc)
        status = fail(EXIT_USAGE, "run needs a program");
    return status;
}

/* ---- running ------------------------------------------------------------------------------- */

static pid_t child;

/* What somebody sends to us is meant for the program; what the terminal sends it gets itself. */
static void pass_on(int signal, siginfo_t *info, void *context)
{
    (void)context;
    int saved = errno;
    if (info->si_code <= 0 && child > 0)
        kill(child, signal);
    errno = saved;
}

static void signals_pass_on(void)
{
    static const int passed[] = { SIGHUP,  SIGINT,  SIGQUIT, SIGTERM, SIGUSR1,
                                  SIGUSR2, SIGALRM, SIGCONT, SIGWINCH };
    struct sigaction action = { .sa_sigaction = pass_on, .sa_flags = SA_SIGINFO | SA_RESTART };
    for (unsigned i = 0; i < sizeof passed / sizeof *passed; i++)
        sigaction(passed[i], &action, NULL);
}

static _Noreturn void become(char **argv)
{
    execvp(argv[0], argv);
    int error = errno;
    _exit(fail(error == ENOENT ? EXIT_NOT_FOUND : EXIT_CANNOT_RUN, "%s: %s", argv[0],
               strerror(error)));
}

/* Ends as the program has ended. */
static int mirror(int status)
{
    if (!WIFSIGNALED(status))
        return WEXITSTATUS(status);
    struct rlimit none = { 0, 0 }; /* one core is enough */
    setrlimit(RLIMIT_CORE, &none);
    fflush(stdout);
    signal(WTERMSIG(status), SIG_DFL);
    raise(WTERMSIG(status));
    return 128 + WTERMSIG(status);
}

static int run_and_remove(char **argv, const char *path)
{
    sigset_t all, before;
    sigfillset(&all);
    sigprocmask(SIG_BLOCK, &all, &before); /* none is lost before we can pass it on */
    child = fork();
    if (child < 0)
        return fail(EXIT_OURS, "cannot fork: %s", strerror(errno));
    if (child == 0) {
        sigprocmask(SIG_SETMASK, &before, NULL);
        become(argv);
    }
    signals_pass_on();
    sigprocmask(SIG_SETMASK, &before, NULL);
    int status = 0;
    while (waitpid(child, &status, 0) < 0)
        if (errno != EINTR)
            return fail(EXIT_OURS, "cannot wait: %s", strerror(errno));
    child = 0;
    /* What the program has left running keeps the segment, and the last of it removes it. */
    segment_remove_if_idle(path, MEMBER_MAX);
    return mirror(status);
}

static void fresh_name(char *name, size_t size, char *path, size_t path_size)
{
    for (unsigned i = 0;; i++) {
        snprintf(name, size, i ? "run-%d-%u" : "run-%d", (int)getpid(), i);
        segment_path(name, geteuid(), path, path_size);
        if (access(path, F_OK) != 0)
            return;
    }
}

int verb_run(int argc, char **argv)
{
    struct command c = { 0 };
    char library[1024], name[64], path[256];
    int status = command_read(argc, argv, &c);
    if (status != EXIT_OK)
        return status;
    bool fresh = !c.segment;
    if (fresh) {
        fresh_name(name, sizeof name, path, sizeof path);
        c.segment = name;
    }
    /* Inherited by what it becomes, and by the children of that. */
    if (c.same_layout &&
        personality((unsigned long)personality(0xffffffff) | ADDR_NO_RANDOMIZE) < 0)
        return fail(EXIT_OURS, "address randomisation cannot be switched off: %s", strerror(errno));
    library_find(c.debug ? LIBRARY_DEBUG : LIBRARY, library, sizeof library);
    preload_append(library);
    setenv("HSHM_SEGMENT", c.segment, 1);
    if (c.verbose)
        fail(0, "segment %s, LD_PRELOAD=%s, program %s", c.segment, getenv("LD_PRELOAD"),
             argv[c.first]);
    if (!fresh)
        become(argv + c.first);
    return run_and_remove(argv + c.first, path);
}
