/* What Criterion is to the unit tests, for SAN=thread only: Criterion's sandbox maps memory where
 * ThreadSanitizer allows none.  Each test runs in a child of its own, as there.  Of Criterion's
 * interface it has what the unit tests use; a test that needs more does not compile and adds it. */
#pragma once

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct test {
    const char *suite, *name;
    void (*run)(void);
    struct test *next;
    /* as in Criterion */
    void (*init)(void), (*fini)(void);
    int signal, exit_code;
    double timeout;
    bool disabled;
    const char *description;
};

extern struct test *all_tests, *all_suites;
void test_fail(bool fatal, const char *file, int line, const char *text, const char *format, ...)
    __attribute__((format(printf, 5, 6)));
_Noreturn void test_skip(const char *format, ...) __attribute__((format(printf, 1, 2)));

#define Test(suite_, name_, ...)                                                                   \
    static void suite_##_##name_(void);                                                            \
    __attribute__((constructor)) static void suite_##_##name_##_add(void)                          \
    {                                                                                              \
        static struct test test = {                                                                \
            .suite = #suite_, .name = #name_, .run = suite_##_##name_, __VA_ARGS__                 \
        };                                                                                         \
        test.next = all_tests;                                                                     \
        all_tests = &test;                                                                         \
    }                                                                                              \
    static void suite_##_##name_(void)

/* What a suite's tests have in common: only .init and .fini. */
#define TestSuite(suite_, ...)                                                                     \
    __attribute__((constructor)) static void suite_##_add(void)                                    \
    {                                                                                              \
        static struct test suite = { .suite = #suite_, __VA_ARGS__ };                              \
        suite.next = all_suites;                                                                   \
        all_suites = &suite;                                                                       \
    }                                                                                              \
    extern struct test *all_suites

/* Criterion's own header is a system header, where this is no warning either. */
#pragma GCC diagnostic ignored "-Wsign-compare"

#define CR_CHECK_(fatal, cond, text, ...)                                                          \
    do {                                                                                           \
        if (!(cond))                                                                               \
            test_fail(fatal, __FILE__, __LINE__, text, " " __VA_ARGS__);                           \
    } while (0)
#define CR_OP_(fatal, a, op, b, ...) CR_CHECK_(fatal, (a)op(b), #a " " #op " " #b, __VA_ARGS__)

#define cr_assert(cond, ...)           CR_CHECK_(true, cond, #cond, __VA_ARGS__)
#define cr_assert_not(cond, ...)       CR_CHECK_(true, !(cond), "not " #cond, __VA_ARGS__)
#define cr_assert_eq(a, b, ...)        CR_OP_(true, a, ==, b, __VA_ARGS__)
#define cr_assert_neq(a, b, ...)       CR_OP_(true, a, !=, b, __VA_ARGS__)
#define cr_assert_lt(a, b, ...)        CR_OP_(true, a, <, b, __VA_ARGS__)
#define cr_assert_leq(a, b, ...)       CR_OP_(true, a, <=, b, __VA_ARGS__)
#define cr_assert_gt(a, b, ...)        CR_OP_(true, a, >, b, __VA_ARGS__)
#define cr_assert_geq(a, b, ...)       CR_OP_(true, a, >=, b, __VA_ARGS__)
#define cr_assert_null(a, ...)         CR_OP_(true, a, ==, NULL, __VA_ARGS__)
#define cr_assert_not_null(a, ...)     CR_OP_(true, a, !=, NULL, __VA_ARGS__)
#define cr_assert_str_eq(a, b, ...)    CR_OP_(true, strcmp(a, b), ==, 0, __VA_ARGS__)
#define cr_assert_str_neq(a, b, ...)   CR_OP_(true, strcmp(a, b), !=, 0, __VA_ARGS__)
#define cr_assert_arr_eq(a, b, n, ...) CR_OP_(true, memcmp(a, b, n), ==, 0, __VA_ARGS__)
#define cr_assert_fail(...)            CR_CHECK_(true, false, "fail", __VA_ARGS__)
#define cr_fatal(...)                  CR_CHECK_(true, false, "fail", __VA_ARGS__)
#define cr_expect(cond, ...)           CR_CHECK_(false, cond, #cond, __VA_ARGS__)
#define cr_expect_eq(a, b, ...)        CR_OP_(false, a, ==, b, __VA_ARGS__)
#define cr_expect_neq(a, b, ...)       CR_OP_(false, a, !=, b, __VA_ARGS__)
#define cr_expect_str_eq(a, b, ...)    CR_OP_(false, strcmp(a, b), ==, 0, __VA_ARGS__)
#define cr_skip_test(...)              test_skip(" " __VA_ARGS__)
#define cr_log_info(...)               (fprintf(stderr, __VA_ARGS__), fputc('\n', stderr))
