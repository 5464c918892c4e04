/* Runs the tests of one file, each in a child, and prints the lines that tests/run counts. */
#include "criterion/criterion.h"

#include <signal.h>
#include <stdarg.h>
#include <sys/wait.h>
#include <unistd.h>

enum { EXIT_FAILED = 101, EXIT_SKIPPED = 77, EXIT_RACE = 66 /* ThreadSanitizer's */ };

struct test *all_tests, *all_suites;
static bool has_failed;

void test_fail(bool fatal, const char *file, int line, const char *text, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    fprintf(stderr, "%s:%d: %s:", file, line, text);
    vfprintf(stderr, format, arguments);
    va_end(arguments);
    fputc('\n', stderr);
    has_failed = true;
    if (fatal)
        _exit(EXIT_FAILED);
}

void test_skip(const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    vfprintf(stderr, format, arguments);
    va_end(arguments);
    fputc('\n', stderr);
    fflush(NULL);
    _exit(EXIT_SKIPPED);
}

static const struct test *suite_of(const struct test *test)
{
    static const struct test none;
    const struct test *suite = all_suites;
    while (suite && strcmp(suite->suite, test->suite) != 0)
        suite = suite->next;
    return suite ? suite : &none;
}

static void run_here(const struct test *test)
{
    alarm(test->timeout > 0 ? 1 + (unsigned)test->timeout : 120);
    if (suite_of(test)->init)
        suite_of(test)->init();
    if (test->init)
        test->init();
    test->run();
    if (test->fini)
        test->fini();
    if (suite_of(test)->fini)
        suite_of(test)->fini();
    exit(has_failed ? EXIT_FAILED : 0);
}

static bool passed(const struct test *test, int status)
{
    if (WIFSIGNALED(status))
        return test->signal == WTERMSIG(status);
    return test->signal == 0 && WEXITSTATUS(status) == test->exit_code;
}

int main(void)
{
    bool all_passed = true;
    for (const struct test *test = all_tests; test; test = test->next) {
        if (test->disabled)
            continue;
        fflush(NULL);
        pid_t child = fork();
        if (child == 0)
            run_here(test);
        int status = 0;
        if (child < 0 || waitpid(child, &status, 0) != child)
            return 1;
        bool skipped = WIFEXITED(status) && WEXITSTATUS(status) == EXIT_SKIPPED;
        bool ok = skipped || passed(test, status);
        printf("%s %s/%s", skipped ? "skipped" : ok ? "ok" : "FAIL", test->suite, test->name);
        if (!ok && WIFSIGNALED(status))
            printf(" signal %d", WTERMSIG(status));
        else if (!ok)
            printf(" %s", WEXITSTATUS(status) == EXIT_RACE ? "ThreadSanitizer" : "failed");
        putchar('\n');
        all_passed &= ok;
    }
    return !all_passed;
}
