/* SPDX-License-Identifier: Apache-2.0
 *
 * starter_test.c - programs that end well, badly, never, or are not there; each with its input.
 */
#include "node/starter_priv.h"

#include "core/str.h"
#include "tests/test.h"

#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

struct rig {
    struct starter *starter;
    char dir[40], script[60], out[60];
};

static void open_rig(struct rig *rig)
{
    struct why why;
    fmt(rig->dir, sizeof rig->dir, "/tmp/outpost-starter-XXXXXX");
    CHECK(mkdtemp(rig->dir) != NULL);
    fmt(rig->script, sizeof rig->script, "%s/script", rig->dir);
    fmt(rig->out, sizeof rig->out, "%s/out", rig->dir);
    REQUIRE_OK(starter_open(&rig->starter, &why));
}

static void close_rig(struct rig *rig)
{
    starter_close(rig->starter);
    unlink(rig->script);
    unlink(rig->out);
    rmdir(rig->dir);
}

static void write_script(const struct rig *rig, const char *text)
{
    FILE *file = fopen(rig->script, "w");
    CHECK(file != NULL && fprintf(file, "#!/bin/sh\n%s\n", text) > 0 && fclose(file) == 0);
    CHECK(chmod(rig->script, 0700) == 0);
}

static struct starter_result wait_for(const struct rig *rig)
{
    struct starter_result result;
    struct pollfd readable = { .fd = starter_fd(rig->starter), .events = POLLIN };
    CHECK(poll(&readable, 1, 20000) == 1, "no result");
    CHECK(starter_next(rig->starter, &result));
    return result;
}

static struct starter_result run(const struct rig *rig, const char *path, uint64_t ms_max)
{
    REQUIRE_OK(starter_run(rig->starter, 7, str_from_c(path), STR("the input\n"), ms_max));
    struct starter_result result = wait_for(rig);
    CHECK_U64(result.id, 7);
    return result;
}

TEST(a_program_gets_its_input_and_a_fixed_environment_and_its_end_is_told)
{
    struct rig rig;
    char text[400], got[400] = "";
    open_rig(&rig);
    fmt(text, sizeof text, "cat > %s && env | sort >> %s && pwd >> %s; exit 3", rig.out, rig.out,
            rig.out);
    write_script(&rig, text);
    CHECK(setenv("SECRET", "x", 1) == 0);
    struct starter_result result = run(&rig, rig.script, 10000);
    CHECK(result.err == OK && result.exit_code == 3, "%s %d", err_name(result.err),
            result.exit_code);
    FILE *file = fopen(rig.out, "r");
    CHECK(file != NULL);
    size_t len = fread(got, 1, sizeof got - 1, file);
    fclose(file);
    CHECK(str_starts(str_of(got, len), STR("the input\nLANG=C\n")), "%s", got);
    CHECK(strstr(got, "PATH=/usr/bin:/bin\n") != NULL && strstr(got, "SECRET") == NULL, "%s", got);
    close_rig(&rig);
}

TEST(a_program_that_is_not_there_is_told_as_127)
{
    struct rig rig;
    open_rig(&rig);
    struct starter_result result = run(&rig, "/nonexistent/program", 10000);
    CHECK(result.err == OK && result.exit_code == 127, "%d", result.exit_code);
    close_rig(&rig);
}

TEST(a_program_that_does_not_end_is_killed_with_what_it_started)
{
    struct rig rig;
    open_rig(&rig);
    write_script(&rig, "sleep 1000 & sleep 1000");
    struct starter_result result = run(&rig, rig.script, 100);
    CHECK(result.err == E_TIMEOUT, "%s", err_name(result.err));
    close_rig(&rig);
}

TEST(more_programs_than_may_run_at_one_time_are_refused_and_too_large_inputs_too)
{
    struct rig rig;
    uint32_t full_count = 0;
    open_rig(&rig);
    write_script(&rig, "sleep 1000");
    for (uint32_t i = 0; i <= STARTER_CHILD_COUNT_MAX; i++) {
        REQUIRE_OK(starter_run(rig.starter, i, str_from_c(rig.script), STR(""), 300));
    }
    for (uint32_t i = 0; i <= STARTER_CHILD_COUNT_MAX; i++) {
        struct starter_result result = wait_for(&rig);
        full_count += result.err == E_FULL;
        CHECK(result.err == E_FULL || result.err == E_TIMEOUT, "%s", err_name(result.err));
    }
    CHECK_U64(full_count, 1);
    char *large = mem_new(STARTER_INPUT_BYTES_MAX + 1);
    struct str input = { large, STARTER_INPUT_BYTES_MAX + 1 };
    CHECK_ERR(starter_run(rig.starter, 1, STR("/bin/true"), input, 100), E_TOO_BIG);
    mem_free(large);
    close_rig(&rig);
}
