/* SPDX-License-Identifier: Apache-2.0
 *
 * test_main.c - runs the registered tests, all or those whose name contains an argument.
 */
#include "tests/test.h"

#include <stdarg.h>

enum { TEST_COUNT_MAX = 2048 };
static struct CMUnitTest all[TEST_COUNT_MAX];
static size_t all_count;

void test_register(const char *name, void (*run)(void **state))
{
    ASSERT(all_count < TEST_COUNT_MAX);
    all[all_count++] = (struct CMUnitTest){ .name = name, .test_func = run };
}

void test_fail(const char *file, int line, const char *format, ...)
{
    char text[2048];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    print_error("%s:%d: %s\n", file, line, text);
    _fail(file, line);
    abort();
}

void test_fail_check(const char *file, int line, const char *condition, const char *format, ...)
{
    char text[2048];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    test_fail(file, line, "%s  %s", condition, text);
}

void test_check_str(
        struct str got, struct str expected, const char *what, const char *file, int line)
{
    if (got.len != expected.len || (got.len && memcmp(got.ptr, expected.ptr, got.len) != 0)) {
        test_fail(file, line, "%s\n  got      [%zu] %.*s\n  expected [%zu] %.*s", what, got.len,
                STR_ARG(got), expected.len, STR_ARG(expected));
    }
}

int main(int argc, char **argv)
{
    if (argc > 1 && strcmp(argv[1], "--list") == 0) {
        for (size_t i = 0; i < all_count; i++) {
            printf("%s\n", all[i].name);
        }
        return 0;
    }
    static struct CMUnitTest chosen[TEST_COUNT_MAX];
    size_t chosen_count = 0;
    for (size_t i = 0; i < all_count; i++) {
        bool wanted = argc < 2;
        for (int a = 1; a < argc; a++) {
            wanted = wanted || strstr(all[i].name, argv[a]) != NULL;
        }
        if (wanted) {
            chosen[chosen_count++] = all[i];
        }
    }
    if (chosen_count == 0) {
        fprintf(stderr, "no test matches; try --list\n");
        return 2;
    }
    return _cmocka_run_group_tests(argv[0], chosen, chosen_count, NULL, NULL) == 0 ? 0 : 1;
}
