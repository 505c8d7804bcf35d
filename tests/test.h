/* SPDX-License-Identifier: Apache-2.0
 *
 * test.h - a thin layer over cmocka: tests whose names are sentences, found by the linker.
 *
 * TEST(a_name_that_is_a_sentence) { ... } registers itself. A failing CHECK prints its message and
 * ends the test. `binary --list` names the tests, `binary NAME` runs those whose name contains
 * NAME.
 */
#ifndef OUTPOST_TESTS_TEST_H
#define OUTPOST_TESTS_TEST_H

#include "core/base.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

void test_register(const char *name, void (*run)(void **state));
_Noreturn void test_fail(const char *file, int line, const char *format, ...) PRINTF_LIKE(3, 4);
_Noreturn void test_fail_check(const char *file, int line, const char *condition,
        const char *format, ...) PRINTF_LIKE(4, 5);
void test_check_str(
        struct str got, struct str expected, const char *what, const char *file, int line);

#define TEST(name)                                                                                 \
    static void test_##name(void **state);                                                         \
    __attribute__((constructor)) static void test_register_##name(void)                            \
    {                                                                                              \
        test_register(#name, test_##name);                                                         \
    }                                                                                              \
    static void test_##name(void **state __attribute__((unused)))

/* CHECK(condition) or CHECK(condition, "format", ...): says input, expected and got. */
#define CHECK(condition, ...)                                                                      \
    do {                                                                                           \
        if (!(condition)) {                                                                        \
            test_fail_check(__FILE__, __LINE__, #condition, "" __VA_ARGS__);                       \
        }                                                                                          \
    } while (0)
#define REQUIRE_OK(call)                                                                           \
    do {                                                                                           \
        enum err require_err = (call);                                                             \
        if (require_err != OK) {                                                                   \
            test_fail(__FILE__, __LINE__, "%s: %s", #call, err_name(require_err));                 \
        }                                                                                          \
    } while (0)
#define CHECK_ERR(call, expected)                                                                  \
    do {                                                                                           \
        enum err check_err = (call);                                                               \
        if (check_err != (expected)) {                                                             \
            test_fail(__FILE__, __LINE__, "%s: got %s, expected %s", #call, err_name(check_err),   \
                    err_name(expected));                                                           \
        }                                                                                          \
    } while (0)
#define CHECK_STR(got, expected) test_check_str(got, expected, #got, __FILE__, __LINE__)
#define CHECK_U64(got, expected)                                                                   \
    do {                                                                                           \
        uint64_t check_got = (uint64_t)(got), check_expected = (uint64_t)(expected);               \
        if (check_got != check_expected) {                                                         \
            test_fail(__FILE__, __LINE__, "%s: got %llu, expected %llu", #got,                     \
                    (unsigned long long)check_got, (unsigned long long)check_expected);            \
        }                                                                                          \
    } while (0)

#endif
