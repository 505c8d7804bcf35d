/* SPDX-License-Identifier: Apache-2.0
 *
 * crash_test.c - every event is in the history exactly once, wherever the power goes.
 *
 * A workload over two days runs with the history's disk cut at its 1st, 2nd, 3rd … changing call,
 * until a run ends uncut; each time with another kind of crash. Then the scribe starts again and
 * every story is compared with what was recorded. Nothing may have been told as consumed that is
 * gone.
 */
#include "core/str.h"
#include "tests/test.h"
#include "tests/unit/history/fixture.h"

enum { MSG_COUNT = 24, EVENTS_CAP = 400 };

struct workload {
    uint64_t msg_id[MSG_COUNT];
    char expected[MSG_COUNT][EVENTS_CAP];
    uint32_t accepted_count;
};

static void expect(struct workload *work, uint32_t number, const char *event)
{
    char *text = work->expected[number];
    size_t len = strlen(text);
    fmt(text + len, EVENTS_CAP - len, "%s%s", len ? " " : "", event);
}

static void turns(struct fixture *f, int64_t ms)
{
    for (int64_t passed = 0; passed <= ms; passed += 100) {
        for (int i = 0; i < 100; i++) {
            struct mono now = { f->clock.mono_ms };
            if (scribe_turn(f->scribe, now).ms > now.ms) {
                break;
            }
        }
        fixture_pass(f, 100);
    }
}

static void attempt(struct fixture *f, struct workload *work, uint32_t number, uint32_t attempt_no,
        enum spool_result result)
{
    static const char *const names[] = { [SPOOL_RESULT_DELIVERED] = "delivered",
        [SPOOL_RESULT_DEFERRED] = "deferred",
        [SPOOL_RESULT_BOUNCED] = "bounced" };
    fixture_attempt(f, work->msg_id[number], 0, attempt_no);
    fixture_outcome(f, work->msg_id[number], 0, attempt_no, result);
    expect(work, number, "attempted");
    expect(work, number, names[result]);
}

static void run(struct fixture *f, struct workload *work)
{
    f->clock.wall_ms = 1795651190000; /* 2026-11-25T23:59:50Z */
    for (uint32_t round = 0; round < MSG_COUNT / 3; round++) {
        for (uint32_t i = 0; i < 3; i++) {
            uint32_t number = round * 3 + i;
            work->msg_id[number] = fixture_accept_number(f, number);
            expect(work, number, "accepted");
            work->accepted_count++;
            attempt(f, work, number, 1, i == 0 ? SPOOL_RESULT_DELIVERED : SPOOL_RESULT_DEFERRED);
        }
        if (round >= 2) { /* of the day before, after midnight */
            attempt(f, work, round * 3 - 5, 2, SPOOL_RESULT_DELIVERED);
            attempt(f, work, round * 3 - 4, 2, SPOOL_RESULT_BOUNCED);
        }
        fixture_refuse(f, STR("nobody@example.org"));
        fixture_sync(f);
        turns(f, round % 3 == 2 ? 6000 : 800);
    }
}

static void compare(struct fixture *f, const struct workload *work, const char *where)
{
    for (uint32_t i = 0; i < work->accepted_count; i++) {
        json_t *story = fixture_find_number(f, i);
        CHECK(story != NULL, "%s: message %u has no story", where, i);
        const char *events = fixture_events(story, 0);
        CHECK(strcmp(events, work->expected[i]) == 0,
                "%s: message %u\n  got      %s\n  expected %s", where, i, events,
                work->expected[i]);
        json_decref(story);
    }
    struct history_totals totals = fixture_totals(f);
    CHECK(totals.msgs == MSG_COUNT && totals.rcpts == MSG_COUNT, "%s: %llu messages", where,
            (unsigned long long)totals.msgs);
    CHECK(totals.refused == MSG_COUNT / 3, "%s: %llu refusals", where,
            (unsigned long long)totals.refused);
    CHECK(totals.rcpts == totals.open + totals.delivered + totals.bounced, "%s", where);
    CHECK(totals.attempts == MSG_COUNT + 2 * (MSG_COUNT / 3 - 2), "%s: %llu attempts", where,
            (unsigned long long)totals.attempts);
}

/* False: the run was not cut any more. */
static bool run_with_cut(uint64_t step, enum sim_disk_crash mode)
{
    struct fixture f;
    struct workload work = { 0 };
    char where[80];
    fmt(where, sizeof where, "cut at step %llu, crash mode %d", (unsigned long long)step,
            (int)mode);
    fixture_init(&f, step);
    fixture_open(&f);
    sim_disk_cut_at(f.history_sim, step);
    run(&f, &work);
    bool was_cut = sim_disk_is_cut(f.history_sim);
    uint64_t consumed = f.consumed;
    fixture_restart(&f, mode, step);
    fixture_settle(&f);
    CHECK(f.consumed >= consumed, "%s: consumed up to %llu was told, now %llu", where,
            (unsigned long long)consumed, (unsigned long long)f.consumed);
    compare(&f, &work, where);
    fixture_restart(&f, SIM_CRASH_NONE, 0); /* what settled is durable */
    (void)scribe_turn(f.scribe, (struct mono){ f.clock.mono_ms });
    CHECK(f.consumed >= consumed, "%s: what was consumed is not durable", where);
    fixture_settle(&f);
    compare(&f, &work, where);
    CHECK(f.log_counts[LOG_ERROR_] <= 1, "%s: %s", where,
            f.last_error); /* only that the disk failed */
    fixture_done(&f);
    return was_cut;
}

TEST(each_event_is_there_once_wherever_the_power_goes)
{
    static const enum sim_disk_crash modes[] = { SIM_CRASH_NONE, SIM_CRASH_RANDOM, SIM_CRASH_ALL,
        SIM_CRASH_TORN, SIM_CRASH_KILL, SIM_CRASH_PREFIX };
    uint64_t step = 1;
    while (run_with_cut(step, modes[step % COUNT_OF(modes)])) {
        step++;
    }
    CHECK(step > 100, "only %llu steps", (unsigned long long)step);
}

TEST(what_was_told_as_consumed_survives_a_power_cut_that_loses_the_rest)
{
    for (uint64_t step = 40; run_with_cut(step, SIM_CRASH_NONE); step += 3) {
    }
}

/* ---- calls that fail ------------------------------------------------------------------------ */

static void run_with_failures(
        enum sim_disk_call call, uint64_t nth, uint64_t count, enum err err, uint64_t *ret_failed)
{
    struct fixture f;
    struct workload work = { 0 };
    char where[80];
    fmt(where, sizeof where, "%s %llu fails, %llu in a row", sim_disk_call_name(call),
            (unsigned long long)nth, (unsigned long long)count);
    fixture_init(&f, nth);
    fixture_open(&f);
    sim_disk_fail(f.history_sim, call, nth, count, err);
    run(&f, &work);
    fixture_settle(&f);
    sim_disk_heal(f.history_sim);
    compare(&f, &work, where);
    *ret_failed = sim_disk_counts(f.history_sim)->failed[call];
    uint64_t consumed = f.consumed;
    fixture_restart(&f, SIM_CRASH_NONE, 0);
    fixture_settle(&f);
    CHECK(f.consumed >= consumed, "%s: consumed", where);
    compare(&f, &work, where);
    fixture_done(&f);
}

static void fail_each(enum sim_disk_call call, uint64_t stride, uint64_t count, enum err err)
{
    uint64_t failed = 1, nth;
    for (nth = 1; failed > 0; nth += stride) {
        run_with_failures(call, nth, count, err, &failed);
    }
    CHECK(nth > 3, "%s was hardly called", sim_disk_call_name(call));
}

TEST(a_failed_sync_loses_no_event_and_repeats_none)
{
    fail_each(SIM_DISK_SYNC, 1, 1, E_IO);
}

/* The database's, then its WAL's when the checkpoint is tried again: the WAL alone has the pages.
 */
TEST(two_failed_syncs_in_a_row_lose_no_event_and_repeat_none)
{
    fail_each(SIM_DISK_SYNC, 1, 2, E_IO);
    fail_each(SIM_DISK_SYNC, 1, 3, E_IO);
}

TEST(a_failed_write_loses_no_event_and_repeats_none)
{
    fail_each(SIM_DISK_WRITE, 3, 1, E_IO);
}

TEST(a_full_disk_is_waited_for)
{
    fail_each(SIM_DISK_WRITE, 7, 1, E_NO_SPACE);
}

TEST(a_failed_read_loses_no_event_and_repeats_none)
{
    fail_each(SIM_DISK_READ, 5, 1, E_IO);
}

TEST(a_failed_open_loses_no_event_and_repeats_none)
{
    fail_each(SIM_DISK_OPEN, 3, 1, E_IO);
}
