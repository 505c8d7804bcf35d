/* SPDX-License-Identifier: Apache-2.0
 *
 * base_test.c - names, reasons, checked sums and the allocation gate.
 */
#include "core/base.h"

#include "core/str.h"
#include "tests/test.h"

#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

TEST(every_error_has_its_own_name)
{
    for (int a = 0; a < ERR_COUNT; a++) {
        CHECK(err_name((enum err)a)[0] != '\0', "error %d", a);
        for (int b = 0; b < a; b++) {
            CHECK(strcmp(err_name((enum err)a), err_name((enum err)b)) != 0, "%d and %d", a, b);
        }
    }
    CHECK_STR(str_from_c(err_name(E_NO_SPACE)), STR("no_space"));
}

TEST(why_is_optional_and_cut_at_its_end)
{
    struct why why = { 0 };
    why_set(NULL, "nobody reads %d", 1);
    why_set(&why, "line %d: %s", 3, "odd");
    CHECK_STR(str_from_c(why.text), STR("line 3: odd"));
    why_set(&why, "%0600d", 1);
    CHECK_U64(strlen(why.text), WHY_BYTES_MAX - 1);
}

TEST(a_sum_that_overflows_is_refused_and_leaves_the_result)
{
    uint64_t sum = 5;
    CHECK(add_u64(UINT64_MAX - 1, 1, &sum) && sum == UINT64_MAX);
    CHECK(!add_u64(UINT64_MAX, 1, &sum) && sum == UINT64_MAX);
}

TEST(only_the_nth_allocation_fails)
{
    for (uint64_t nth = 1; nth <= 4; nth++) {
        mem_fail_at(nth);
        for (uint64_t call = 1; call <= 5; call++) {
            void *ptr = call % 2 ? mem_new(10) : mem_grow(NULL, 10);
            CHECK((ptr == NULL) == (call == nth), "nth %d call %d", (int)nth, (int)call);
            mem_free(ptr);
        }
    }
    mem_fail_at(1);
    mem_fail_at(0);
    void *ptr = mem_new(0);
    CHECK(ptr != NULL);
    mem_free(ptr);
}

TEST(memory_is_zeroed_and_kept_when_it_cannot_grow)
{
    char *ptr = mem_new(100);
    CHECK(ptr != NULL && ptr[0] == 0 && ptr[99] == 0);
    ptr[0] = 'x';
    mem_fail_at(1);
    CHECK(mem_grow(ptr, 200) == NULL);
    CHECK(ptr[0] == 'x');
    char *more = mem_grow(ptr, 200);
    CHECK(more != NULL && more[0] == 'x');
    more = mem_grow(more, 0);
    CHECK(more != NULL);
    mem_free(more);
    mem_free(NULL);
}

TEST(a_failed_assertion_says_where_and_aborts)
{
    int pipe_fd[2];
    CHECK(pipe(pipe_fd) == 0);
    pid_t child = fork();
    if (child == 0) {
        dup2(pipe_fd[1], 2);
        signal(SIGABRT, SIG_DFL);
        ASSERT(1 + 1 == 3);
    }
    close(pipe_fd[1]);
    char text[1000];
    ssize_t len = read(pipe_fd[0], text, sizeof text);
    close(pipe_fd[0]);
    int status = 0;
    CHECK(waitpid(child, &status, 0) == child);
    CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT, "status %d", status);
    CHECK(len > 0);
    struct str said = str_of(text, (size_t)len);
    CHECK(str_find(said, STR("1 + 1 == 3")) < said.len, "%.*s", STR_ARG(said));
    CHECK(str_find(said, STR("base_test.c:")) < said.len, "%.*s", STR_ARG(said));
}
