/* SPDX-License-Identifier: Apache-2.0
 *
 * history_test.c - what the journal says, the history tells: through a real spool.
 */
#include "core/str.h"
#include "core/ulid.h"
#include "tests/test.h"
#include "tests/unit/history/fixture.h"

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <unistd.h>

enum { DAY_MS = 86400000 };

static void check_story(struct fixture *f, uint32_t number, size_t rcpt, const char *state,
        const char *events, const char *file, int line)
{
    json_t *story = fixture_find_number(f, number);
    if (story == NULL) {
        test_fail(file, line, "message %u has no story", number);
    }
    test_check_str(str_from_c(fixture_state(story, rcpt)), str_from_c(state), "state", file, line);
    test_check_str(
            str_from_c(fixture_events(story, rcpt)), str_from_c(events), "events", file, line);
    json_decref(story);
}
#define CHECK_STORY(f, number, rcpt, state, events)                                                \
    check_story(f, number, rcpt, state, events, __FILE__, __LINE__)

static json_t *event_at(json_t *story, size_t rcpt, size_t index)
{
    json_t *one = json_array_get(json_object_get(story, "recipients"), rcpt);
    return json_array_get(json_object_get(one, "events"), index);
}

static struct str text_at(json_t *object, const char *name)
{
    const char *text = json_string_value(json_object_get(object, name));
    return text ? str_from_c(text) : STR("(none)");
}

static bool is_possible_duplicate(struct fixture *f, uint32_t number)
{
    json_t *story = fixture_find_number(f, number);
    json_t *rcpt = json_array_get(json_object_get(story, "recipients"), 0);
    bool is_so = json_is_true(json_object_get(rcpt, "possible_duplicate"));
    json_decref(story);
    return is_so;
}

/* ---- stories -------------------------------------------------------------------------------- */

TEST(a_delivered_message_has_its_story)
{
    struct fixture f;
    fixture_init(&f, 1);
    fixture_open(&f);
    uint64_t msg_id = fixture_accept_number(&f, 1);
    fixture_sync(&f);
    fixture_pass(&f, 20);
    fixture_attempt(&f, msg_id, 0, 1);
    fixture_pass(&f, 500);
    fixture_outcome(&f, msg_id, 0, 1, SPOOL_RESULT_DELIVERED);
    fixture_settle(&f);
    json_t *story = fixture_find_number(&f, 1);
    CHECK_STR(text_at(story, "sender"), STR("app@shop.example"));
    CHECK_STR(text_at(story, "stream"), STR("transactional"));
    CHECK_STR(text_at(story, "credential"), STR("shop"));
    CHECK_STR(text_at(story, "tag"), STR("tag-1"));
    CHECK_STR(text_at(story, "message_id"), STR("<1@shop.example>"));
    CHECK_STR(text_at(story, "client"), STR("192.0.2.10"));
    CHECK_STR(text_at(story, "helo"), STR("app1.shop.example"));
    CHECK_STR(text_at(json_object_get(story, "meta"), "order"), STR("4711"));
    CHECK_STR(text_at(json_object_get(story, "meta"), "user"), STR("42"));
    CHECK_U64(json_integer_value(json_object_get(story, "bytes")), 5120);
    char number[24];
    fmt(number, sizeof number, "%llu", (unsigned long long)msg_id);
    CHECK_STR(text_at(story, "msg_id"), str_from_c(number));
    json_t *event = event_at(story, 0, 2);
    CHECK_STR(text_at(event, "event"), STR("delivered"));
    CHECK_STR(text_at(event, "at"), STR("2026-11-25T13:00:00.520Z"));
    CHECK_STR(text_at(event, "source"), STR("a"));
    CHECK_STR(text_at(event, "remote_host"), STR("mx1.example.net"));
    CHECK_STR(text_at(event, "remote_ip"), STR("198.51.100.25"));
    CHECK_STR(text_at(event, "enhanced"), STR("2.0.0"));
    CHECK_U64(json_integer_value(json_object_get(event, "code")), 250);
    CHECK_U64(json_integer_value(json_object_get(event, "transfer_ms")), 320);
    json_decref(story);
    CHECK_STORY(&f, 1, 0, "delivered", "accepted attempted delivered");
    struct history_totals totals = fixture_totals(&f);
    CHECK_U64(totals.msgs, 1);
    CHECK_U64(totals.delivered, 1);
    CHECK_U64(totals.open, 0);
    CHECK_U64(totals.attempts, 1);
    CHECK(f.consumed > 0);
    CHECK(!is_possible_duplicate(&f, 1));
    fixture_done(&f);
}

TEST(later_events_are_added_to_what_is_stored)
{
    struct fixture f;
    fixture_init(&f, 1);
    fixture_open(&f);
    uint64_t msg_id = fixture_accept_number(&f, 1);
    fixture_settle(&f);
    CHECK_STORY(&f, 1, 0, "queued", "accepted");
    fixture_attempt(&f, msg_id, 0, 1);
    fixture_outcome(&f, msg_id, 0, 1, SPOOL_RESULT_DEFERRED);
    fixture_settle(&f);
    CHECK_STORY(&f, 1, 0, "queued", "accepted attempted deferred");
    fixture_restart(&f, SIM_CRASH_MODE_COUNT, 0);
    fixture_attempt(&f, msg_id, 0, 2);
    fixture_settle(&f);
    fixture_outcome(&f, msg_id, 0, 2, SPOOL_RESULT_DELIVERED);
    fixture_settle(&f);
    CHECK_STORY(&f, 1, 0, "delivered", "accepted attempted deferred attempted delivered");
    fixture_done(&f);
}

TEST(an_attempt_without_an_outcome_before_the_next_was_in_doubt)
{
    struct fixture f;
    fixture_init(&f, 1);
    fixture_open(&f);
    uint64_t msg_id = fixture_accept_number(&f, 1);
    fixture_attempt(&f, msg_id, 0, 1);
    fixture_settle(&f);
    CHECK(!is_possible_duplicate(&f, 1)); /* it may still be going on */
    fixture_attempt(&f, msg_id, 0, 2);
    fixture_outcome(&f, msg_id, 0, 2, SPOOL_RESULT_DELIVERED);
    fixture_settle(&f);
    CHECK_STORY(&f, 1, 0, "delivered", "accepted attempted in_doubt attempted delivered");
    CHECK(is_possible_duplicate(&f, 1));
    fixture_done(&f);
}

TEST(a_lost_answer_after_the_dot_is_named_a_possible_duplicate)
{
    struct fixture f;
    fixture_init(&f, 1);
    fixture_open(&f);
    uint64_t msg_id = fixture_accept_number(&f, 1);
    fixture_attempt(&f, msg_id, 0, 1);
    fixture_outcome(&f, msg_id, 0, 1, SPOOL_RESULT_IN_DOUBT);
    fixture_settle(&f);
    CHECK_STORY(&f, 1, 0, "in_doubt", "accepted attempted in_doubt");
    fixture_attempt(&f, msg_id, 0, 2);
    struct spool_outcome outcome = fixture_outcome_of(&f, msg_id, 2, SPOOL_RESULT_DELIVERED);
    outcome.maybe_duplicate = true;
    fixture_outcome_as(&f, &outcome);
    fixture_settle(&f);
    CHECK_STORY(&f, 1, 0, "delivered", "accepted attempted in_doubt attempted delivered");
    CHECK(is_possible_duplicate(&f, 1));
    json_t *story = fixture_find_number(&f, 1);
    CHECK(str_starts(text_at(event_at(story, 0, 4), "cause"), STR("possible duplicate")));
    CHECK(str_starts(text_at(event_at(story, 0, 2), "cause"),
            STR("the connection ended after the final dot")));
    json_decref(story);
    fixture_done(&f);
}

TEST(operators_actions_stand_in_the_story_with_author_and_reason)
{
    struct fixture f;
    fixture_init(&f, 1);
    fixture_open(&f);
    uint64_t msg_id = fixture_accept_number(&f, 1);
    fixture_ctl(&f, msg_id, 0, SPOOL_CTL_HOLD);
    fixture_settle(&f);
    CHECK_STORY(&f, 1, 0, "held", "accepted held");
    json_t *story = fixture_find_number(&f, 1);
    CHECK_STR(text_at(event_at(story, 0, 1), "author"), STR("anna"));
    CHECK_STR(text_at(event_at(story, 0, 1), "reason"), STR("asked by the customer"));
    json_decref(story);
    fixture_ctl(&f, msg_id, 0, SPOOL_CTL_FLUSH); /* what is held stays held */
    fixture_ctl(&f, msg_id, 0, SPOOL_CTL_RELEASE);
    fixture_ctl(&f, msg_id, 0, SPOOL_CTL_CANCEL);
    fixture_ctl(&f, msg_id, 0, SPOOL_CTL_HOLD); /* too late */
    fixture_settle(&f);
    CHECK_STORY(&f, 1, 0, "cancelled", "accepted held flushed released cancelled held");
    CHECK_U64(fixture_totals(&f).cancelled, 1);
    CHECK_U64(fixture_totals(&f).open, 0);
    fixture_done(&f);
}

TEST(a_bounce_is_open_until_its_report_was_accepted)
{
    struct fixture f;
    fixture_init(&f, 1);
    fixture_open(&f);
    uint64_t msg_id = fixture_accept_number(&f, 1);
    fixture_attempt(&f, msg_id, 0, 1);
    fixture_outcome(&f, msg_id, 0, 1, SPOOL_RESULT_BOUNCED);
    fixture_settle(&f);
    CHECK_STORY(&f, 1, 0, "bounced", "accepted attempted bounced");
    CHECK_U64(fixture_totals(&f).open, 1);
    struct fixture_msg report = { .number = 2, .sender = STR(""), .flags = SPOOL_MSG_DSN };
    report.sender.ptr = "";
    uint64_t dsn_id = fixture_accept(&f, &report);
    fixture_dsn(&f, msg_id, 0, dsn_id);
    fixture_settle(&f);
    CHECK_STORY(&f, 1, 0, "bounced", "accepted attempted bounced notified");
    CHECK_U64(fixture_totals(&f).bounced, 1);
    CHECK_U64(fixture_totals(&f).open, 1); /* the report itself */
    char id[ULID_TEXT_LEN + 1];
    ulid_format(fixture_ulid(2), id);
    json_t *story = fixture_find_number(&f, 1);
    CHECK_STR(text_at(event_at(story, 0, 3), "dsn"), str_from_c(id));
    json_decref(story);
    story = fixture_find_number(&f, 2);
    CHECK(json_is_true(json_object_get(story, "is_report")));
    json_decref(story);
    fixture_done(&f);
}

TEST(expired_without_a_report_is_closed_by_the_node)
{
    struct fixture f;
    fixture_init(&f, 1);
    fixture_open(&f);
    uint64_t msg_id = fixture_accept_number(&f, 1), other = fixture_accept_number(&f, 2);
    fixture_outcome(&f, msg_id, 0, 1, SPOOL_RESULT_EXPIRED);
    fixture_ctl(&f, msg_id, 0, SPOOL_CTL_CLOSE);
    fixture_outcome(&f, other, 0, 1, SPOOL_RESULT_HELD);
    fixture_settle(&f);
    CHECK_STORY(&f, 1, 0, "expired", "accepted expired unreported");
    CHECK_STORY(&f, 2, 0, "held", "accepted held");
    CHECK_U64(fixture_totals(&f).expired, 1);
    fixture_ctl(&f, other, 0, SPOOL_CTL_BOUNCE);
    fixture_ctl(&f, other, 0, SPOOL_CTL_CLOSE);
    fixture_settle(&f);
    CHECK_STORY(&f, 2, 0, "bounced", "accepted held bounced unreported");
    fixture_done(&f);
}

TEST(of_many_attempts_the_first_and_last_are_kept)
{
    struct fixture f;
    fixture_init(&f, 1);
    fixture_open(&f);
    uint64_t msg_id = fixture_accept_number(&f, 1);
    for (uint32_t i = 1; i <= 60; i++) {
        fixture_attempt(&f, msg_id, 0, i);
        fixture_outcome(&f, msg_id, 0, i, SPOOL_RESULT_DEFERRED);
        fixture_pass(&f, 600000);
        if (i % 7 == 0) {
            fixture_settle(&f);
        }
    }
    fixture_settle(&f);
    json_t *story = fixture_find_number(&f, 1), *event;
    size_t i, deferred = 0, dialogues = 0;
    json_int_t elided = 0, last = 0;
    json_array_foreach(
            json_object_get(json_array_get(json_object_get(story, "recipients"), 0), "events"), i,
            event)
    {
        json_int_t attempt = json_integer_value(json_object_get(event, "attempt"));
        if (str_eq(text_at(event, "event"), STR("deferred"))) {
            deferred++;
            dialogues += json_object_get(event, "dialogue") != NULL;
            CHECK(attempt == last + 1 || (attempt > 40 && last == 5), "%lld after %lld", attempt,
                    last);
            last = attempt;
        }
        elided += json_integer_value(json_object_get(event, "count"));
    }
    CHECK_U64(deferred, 25);
    CHECK_U64(elided, 35);
    CHECK_U64(dialogues, 3);
    CHECK_STR(str_from_c(fixture_state(story, 0)), STR("queued"));
    json_decref(story);
    CHECK_U64(fixture_totals(&f).attempts, 60);
    fixture_done(&f);
}

TEST(each_recipient_has_its_own_events)
{
    struct fixture f;
    fixture_init(&f, 1);
    fixture_open(&f);
    struct fixture_msg msg = { .number = 1, .rcpt_count = 3 };
    uint64_t msg_id = fixture_accept(&f, &msg);
    struct spool_outcome outcome = fixture_outcome_of(&f, msg_id, 1, SPOOL_RESULT_DELIVERED);
    static const uint16_t odd[] = { 2, 0, 77 }; /* 77 is no recipient of this message */
    outcome.rcpt = odd;
    outcome.rcpt_count = COUNT_OF(odd);
    fixture_outcome_as(&f, &outcome);
    fixture_settle(&f);
    CHECK_STORY(&f, 1, 0, "delivered", "accepted delivered");
    CHECK_STORY(&f, 1, 1, "queued", "accepted");
    CHECK_STORY(&f, 1, 2, "delivered", "accepted delivered");
    CHECK_U64(fixture_totals(&f).open, 1);
    CHECK_U64(fixture_totals(&f).delivered, 2);
    fixture_outcome(&f, msg_id, 1, 1, SPOOL_RESULT_DEFERRED);
    fixture_ctl(&f, msg_id, 500, SPOOL_CTL_CANCEL); /* nobody */
    fixture_settle(&f);
    CHECK_STORY(&f, 1, 1, "queued", "accepted deferred");
    fixture_done(&f);
}

TEST(ten_thousand_recipients_are_kept_and_one_is_shown_to_who_asks_for_it)
{
    struct fixture f;
    fixture_init(&f, 1);
    f.spool_conf.slot_bytes = 4 << 20;
    fixture_open(&f);
    struct fixture_msg msg = { .number = 1, .rcpt_count = SPOOL_RCPT_COUNT_MAX };
    uint64_t msg_id = fixture_accept(&f, &msg);
    static uint16_t half[SPOOL_RCPT_COUNT_MAX / 2];
    for (uint16_t i = 0; i < COUNT_OF(half); i++) {
        half[i] = (uint16_t)(2 * i);
    }
    struct spool_outcome outcome = fixture_outcome_of(&f, msg_id, 1, SPOOL_RESULT_DELIVERED);
    outcome.rcpt = half;
    outcome.rcpt_count = COUNT_OF(half);
    fixture_outcome_as(&f, &outcome);
    fixture_settle(&f);
    CHECK_U64(fixture_totals(&f).delivered, SPOOL_RCPT_COUNT_MAX / 2);
    json_t *story = fixture_find(&f, HISTORY_BY_RECIPIENT, "user1.9999@example.net");
    CHECK_U64(json_array_size(json_object_get(story, "recipients")), 1);
    CHECK_U64(json_integer_value(json_object_get(story, "recipient_count")), SPOOL_RCPT_COUNT_MAX);
    json_decref(story);
    story = fixture_find_number(&f, 1);
    CHECK_U64(json_array_size(json_object_get(story, "recipients")), SPOOL_RCPT_COUNT_MAX);
    CHECK_STR(str_from_c(fixture_state(story, 9998)), STR("delivered"));
    CHECK_STR(str_from_c(fixture_state(story, 9999)), STR("queued"));
    json_decref(story);
    fixture_done(&f);
}

/* ---- finding -------------------------------------------------------------------------------- */

TEST(a_message_is_found_by_tag_recipient_and_message_id)
{
    struct fixture f;
    fixture_init(&f, 2);
    fixture_open(&f);
    for (uint32_t i = 0; i < 3000; i++) {
        (void)fixture_accept_number(&f, i);
        if (i % 50 == 0) {
            fixture_settle(&f);
        }
    }
    fixture_settle(&f);
    static const uint32_t numbers[] = { 0, 1, 777, 2999 };
    for (size_t i = 0; i < COUNT_OF(numbers); i++) {
        char text[64];
        fmt(text, sizeof text, "USER%u@example.NET", numbers[i]);
        json_t *story = fixture_find(&f, HISTORY_BY_RECIPIENT, text);
        CHECK(story != NULL, "recipient %s", text);
        json_decref(story);
        fmt(text, sizeof text, i % 2 ? "%u@shop.example" : "<%u@shop.example>", numbers[i]);
        story = fixture_find(&f, HISTORY_BY_MESSAGE_ID, text);
        CHECK(story != NULL, "message-id %s", text);
        json_decref(story);
        story = fixture_find_number(&f, numbers[i]);
        CHECK(story != NULL, "number %u", numbers[i]);
        json_decref(story);
    }
    json_t *tagged = fixture_find_all(&f, HISTORY_BY_TAG, "tag-3", 1000);
    CHECK_U64(json_array_size(tagged), 300);
    CHECK_STR(text_at(json_array_get(tagged, 0), "message_id"), STR("<2993@shop.example>"));
    CHECK_STR(text_at(json_array_get(tagged, 299), "message_id"), STR("<3@shop.example>"));
    json_decref(tagged);
    CHECK(fixture_find(&f, HISTORY_BY_TAG, "tag-10") == NULL);
    CHECK(fixture_find(&f, HISTORY_BY_TAG, "") == NULL);
    CHECK(fixture_find(&f, HISTORY_BY_ID, "no id") == NULL);
    CHECK(fixture_find_number(&f, 3000) == NULL);
    fixture_done(&f);
}

TEST(an_answer_that_does_not_fit_is_an_error_and_leaves_nothing_behind)
{
    struct fixture f;
    struct buf json;
    struct why why;
    fixture_init(&f, 2);
    fixture_open(&f);
    (void)fixture_accept_number(&f, 1);
    fixture_settle(&f);
    buf_init(&json, 100);
    struct history_query query = { HISTORY_BY_TAG, STR("tag-1"), 1 };
    CHECK_ERR(history_find_json(f.history, &query, &json, &why), E_TOO_BIG);
    CHECK_U64(json.len, 0);
    buf_done(&json);
    fixture_done(&f);
}

TEST(refusals_are_told_newest_first_and_bounded_a_day)
{
    enum { COUNT = 100010, STORED = 100000 };
    struct fixture f;
    struct buf json;
    struct why why;
    fixture_init(&f, 3);
    f.spool_conf.slot_bytes = 8 << 20;
    fixture_open(&f);
    for (uint32_t i = 0; i < COUNT; i++) {
        char text[40];
        size_t len = fmt(text, sizeof text, "r%u@example.org", i);
        fixture_refuse(&f, str_of(text, len));
        if (i % 5000 == 0) {
            fixture_settle(&f);
        }
    }
    fixture_settle(&f);
    CHECK_U64(fixture_totals(&f).refused, COUNT);
    buf_init(&json, 1 << 20);
    REQUIRE_OK(history_refusals_json(f.history, 3, &json, &why));
    json_t *all = json_loadb(json.ptr, json.len, 0, NULL);
    CHECK_U64(json_array_size(all), 3);
    char last[40];
    fmt(last, sizeof last, "r%d@example.org", STORED - 1);
    CHECK_STR(text_at(json_array_get(all, 0), "recipient"), str_from_c(last));
    CHECK_STR(text_at(json_array_get(all, 0), "client"), STR("203.0.113.9"));
    CHECK_STR(text_at(json_array_get(all, 0), "text"), STR("Relay access denied"));
    json_decref(all);
    buf_done(&json);
    fixture_done(&f);
}

/* ---- files ---------------------------------------------------------------------------------- */

TEST(a_message_stays_in_the_file_of_the_day_it_was_accepted)
{
    struct fixture f;
    fixture_init(&f, 4);
    fixture_open(&f);
    uint64_t first = fixture_accept_number(&f, 1);
    fixture_settle(&f);
    fixture_pass(&f, DAY_MS);
    uint64_t second = fixture_accept_number(&f, 2);
    fixture_attempt(&f, first, 0, 1);
    fixture_outcome(&f, first, 0, 1, SPOOL_RESULT_DELIVERED);
    fixture_attempt(&f, second, 0, 1);
    fixture_settle(&f);
    CHECK(sim_disk_has(f.history_sim, "history-2026-11-25.db"));
    CHECK(sim_disk_has(f.history_sim, "history-2026-11-26.db"));
    CHECK_STORY(&f, 1, 0, "delivered", "accepted attempted delivered");
    CHECK_STORY(&f, 2, 0, "queued", "accepted attempted");
    CHECK_U64(fixture_totals(&f).msgs, 2);
    fixture_done(&f);
}

TEST(clocks_far_off_do_no_harm)
{
    struct fixture f;
    fixture_init(&f, 4);
    fixture_open(&f);
    static const int64_t times[] = { -5, INT64_MIN, INT64_MAX, 1, 253402300800000 };
    for (uint32_t i = 0; i < COUNT_OF(times); i++) {
        struct fixture_msg msg = { .number = i, .at = { times[i] } };
        uint64_t msg_id = fixture_accept(&f, &msg);
        struct spool_outcome outcome = fixture_outcome_of(&f, msg_id, 1, SPOOL_RESULT_DEFERRED);
        outcome.at.ms = times[(i + 1) % COUNT_OF(times)] / -2;
        outcome.due.ms = times[(i + 2) % COUNT_OF(times)];
        fixture_outcome_as(&f, &outcome);
    }
    fixture_settle(&f);
    for (uint32_t i = 0; i < COUNT_OF(times); i++) {
        CHECK_STORY(&f, i, 0, "queued", "accepted deferred");
    }
    fixture_done(&f);
}

TEST(old_files_are_retired_one_at_a_time_and_the_youngest_never)
{
    struct fixture f;
    fixture_init(&f, 5);
    f.conf.days = 3;
    fixture_open(&f);
    for (uint32_t day = 0; day < 6; day++) {
        (void)fixture_accept_number(&f, day);
        fixture_settle(&f);
        fixture_pass(&f, DAY_MS);
        fixture_settle(&f);
    }
    fixture_settle(&f);
    CHECK(!sim_disk_has(f.history_sim, "history-2026-11-26.db"));
    CHECK(!sim_disk_has(f.history_sim, "history-2026-11-26.db-wal"));
    CHECK(sim_disk_has(f.history_sim, "history-2026-11-28.db"));
    CHECK(fixture_find_number(&f, 0) == NULL);
    CHECK_STORY(&f, 5, 0, "queued", "accepted");
    fixture_pass(&f, 100LL * DAY_MS); /* one file an hour at most */
    fixture_settle(&f);
    CHECK(sim_disk_has(f.history_sim, "history-2026-11-30.db"));
    for (int i = 0; i < 10; i++) {
        fixture_pass(&f, 3700000);
        fixture_settle(&f);
    }
    CHECK_U64(fixture_totals(&f).msgs, 1);
    fixture_done(&f);
}

TEST(a_clock_that_steps_by_a_year_takes_no_story) /* faults 56 */
{
    struct fixture f;
    fixture_init(&f, 5);
    f.conf.days = 3;
    fixture_open(&f);
    (void)fixture_accept_number(&f, 0);
    fixture_settle(&f);
    f.clock.wall_ms += 365LL * DAY_MS;
    (void)fixture_accept_number(&f, 1);
    for (int i = 0; i < 10; i++) {
        fixture_pass(&f, 3700000);
        fixture_settle(&f);
    }
    CHECK_STORY(&f, 0, 0, "queued", "accepted");
    /* it was no mistake: the step stays, and files age a tenth faster, no more */
    fixture_pass(&f, 2 * DAY_MS);
    fixture_settle(&f);
    CHECK_STORY(&f, 0, 0, "queued", "accepted");
    for (int i = 0; i < 40; i++) {
        fixture_pass(&f, 3700000);
        fixture_settle(&f);
    }
    CHECK(fixture_find_number(&f, 0) == NULL);
    CHECK_STORY(&f, 1, 0, "queued", "accepted");
    fixture_done(&f);
}

TEST(a_file_whose_first_commit_a_crash_took_is_as_young_as_its_stories)
{
    struct fixture f;
    fixture_init(&f, 5);
    fixture_open(&f);
    (void)fixture_accept_number(&f, 0);
    fixture_settle(&f);
    struct disk_file *file; /* what is left of a file that was made just before a power cut */
    REQUIRE_OK(f.history_disk->ops->open(
            f.history_disk, "history-2026-11-26.db", DISK_WRITE | DISK_CREATE, &file, NULL));
    f.history_disk->ops->close(file);
    fixture_restart(&f, SIM_CRASH_KILL, 0);
    fixture_pass(&f, DAY_MS);
    (void)fixture_accept_number(&f, 1);
    fixture_settle(&f);
    for (int i = 0; i < 3; i++) {
        fixture_pass(&f, 3700000);
        fixture_settle(&f);
    }
    CHECK_STORY(&f, 0, 0, "queued", "accepted");
    CHECK_STORY(&f, 1, 0, "queued", "accepted");
    fixture_done(&f);
}

TEST(a_clock_that_jumps_takes_no_stories)
{
    struct fixture f;
    fixture_init(&f, 5);
    fixture_open(&f);
    (void)fixture_accept_number(&f, 1);
    fixture_settle(&f);
    f.clock.wall_ms += 400LL * DAY_MS;
    (void)fixture_accept_number(&f, 2);
    for (int i = 0; i < 24; i++) {
        fixture_pass(&f, 3700000);
        fixture_settle(&f);
    }
    fixture_restart(&f, SIM_CRASH_KILL, 0);
    f.clock.wall_ms += 400LL * DAY_MS;
    fixture_restart(&f, SIM_CRASH_MODE_COUNT, 0);
    for (int i = 0; i < 24; i++) {
        fixture_pass(&f, 3700000);
        fixture_settle(&f);
    }
    CHECK_STORY(&f, 1, 0, "queued", "accepted");
    f.clock.wall_ms -= 1000LL * DAY_MS;
    (void)fixture_accept_number(&f, 3); /* its file has an old name, but is new */
    for (int i = 0; i < 24 * 7; i++) {
        fixture_pass(&f, 3700000);
        fixture_settle(&f);
    }
    CHECK_STORY(&f, 1, 0, "queued", "accepted");
    CHECK_STORY(&f, 2, 0, "queued", "accepted");
    CHECK_STORY(&f, 3, 0, "queued", "accepted");
    for (int i = 0; i < 24 * 31; i++) { /* but a month is a month */
        fixture_pass(&f, 3700000);
        fixture_settle(&f);
    }
    CHECK(fixture_find_number(&f, 1) == NULL);
    fixture_done(&f);
}

TEST(files_are_retired_beyond_the_size_limit)
{
    struct fixture f;
    fixture_init(&f, 5);
    f.conf.bytes_max = 100000;
    fixture_open(&f);
    for (uint32_t day = 0; day < 4; day++) {
        for (uint32_t i = 0; i < 100; i++) {
            (void)fixture_accept_number(&f, day * 100 + i);
        }
        fixture_settle(&f);
        fixture_pass(&f, DAY_MS);
        fixture_settle(&f);
        fixture_pass(&f, 3700000);
        fixture_settle(&f);
    }
    CHECK(!sim_disk_has(f.history_sim, "history-2026-11-25.db"));
    CHECK_STORY(&f, 399, 0, "queued", "accepted");
    /* what comes for a message whose file is gone is passed over */
    fixture_attempt(&f, 65536, 0, 1);
    fixture_settle(&f);
    fixture_done(&f);
}

TEST(a_delivered_message_takes_at_most_700_bytes_on_disk)
{
    enum { COUNT = 20000 };
    struct fixture f;
    fixture_init(&f, 6);
    f.spool_conf.slot_bytes = 4 << 20;
    fixture_open(&f);
    static uint64_t id[COUNT];
    for (uint32_t i = 0; i < COUNT; i++) {
        id[i] = fixture_accept_number(&f, i);
        if (i >= 100) { /* each third is delivered in a later commit */
            fixture_attempt(&f, id[i - (i % 3 ? 0 : 100)], 0, 1);
            fixture_outcome(&f, id[i - (i % 3 ? 0 : 100)], 0, 1, SPOOL_RESULT_DELIVERED);
        }
        if (i % 80 == 0) {
            fixture_pass(&f, 1000);
            fixture_settle(&f);
        }
    }
    fixture_settle(&f);
    fixture_restart(&f, SIM_CRASH_MODE_COUNT, 0);
    uint64_t bytes = sim_disk_file_bytes(f.history_sim, "history-2026-11-25.db") +
                     sim_disk_file_bytes(f.history_sim, "history-2026-11-25.db-wal");
    CHECK(bytes / COUNT <= 700, "%llu bytes a message", (unsigned long long)(bytes / COUNT));
    print_message("             %llu bytes a message\n", (unsigned long long)(bytes / COUNT));
    CHECK_U64(fixture_totals(&f).msgs, COUNT);
    fixture_done(&f);
}

TEST(a_stopped_nodes_files_are_read_without_it)
{
    struct fixture f, copy = { 0 };
    fixture_init(&f, 7);
    fixture_open(&f);
    uint64_t msg_id = fixture_accept_number(&f, 1);
    fixture_settle(&f);
    fixture_attempt(&f, msg_id, 0, 1);
    fixture_sync(&f);
    fixture_pass(&f, 300);
    (void)scribe_turn(f.scribe, (struct mono){ f.clock.mono_ms });
    fixture_pass(&f, 300);
    (void)scribe_turn(f.scribe, (struct mono){ f.clock.mono_ms }); /* committed, not checkpointed */
    CHECK(sim_disk_file_bytes(f.history_sim, "history-2026-11-25.db-wal") > 0);
    struct sim_disk *fork = sim_disk_fork(f.history_sim, 8);
    copy.history_disk = sim_disk_as_disk(fork);
    struct why why;
    uint64_t steps = sim_disk_steps(fork);
    REQUIRE_OK(history_open(copy.history_disk, &copy.history, &why));
    CHECK_STORY(&copy, 1, 0, "queued", "accepted attempted");
    CHECK_U64(sim_disk_steps(fork), steps); /* a reader changes nothing */
    history_close(copy.history);
    sim_disk_free(fork);
    fixture_close(&f);
    REQUIRE_OK(history_open(f.history_disk, &f.history, &why));
    CHECK_STORY(&f, 1, 0, "queued", "accepted attempted");
    fixture_done(&f);
}

TEST(an_empty_directory_has_no_stories)
{
    struct fixture f;
    struct buf json;
    struct why why;
    fixture_init(&f, 7);
    REQUIRE_OK(history_open(f.history_disk, &f.history, &why));
    CHECK(fixture_find_number(&f, 1) == NULL);
    CHECK_U64(fixture_totals(&f).msgs, 0);
    buf_init(&json, 1000);
    REQUIRE_OK(history_refusals_json(f.history, 10, &json, &why));
    CHECK_STR(buf_str(&json), STR("[]"));
    buf_done(&json);
    fixture_done(&f);
}

/* ---- damage --------------------------------------------------------------------------------- */

TEST(a_damaged_file_is_left_and_another_takes_its_place)
{
    struct fixture f;
    fixture_init(&f, 8);
    fixture_open(&f);
    (void)fixture_accept_number(&f, 1);
    fixture_settle(&f);
    fixture_close(&f);
    for (uint64_t at = 0; at < 16; at++) {
        CHECK(sim_disk_flip(f.history_sim, "history-2026-11-25.db", at, 0xff));
    }
    fixture_open(&f);
    CHECK_U64(f.log_counts[LOG_ERROR_], 1);
    (void)fixture_accept_number(&f, 2);
    fixture_settle(&f);
    CHECK(sim_disk_has(f.history_sim, "history-2026-11-25.1.db"));
    CHECK_STORY(&f, 2, 0, "queued", "accepted");
    struct history_query query = { HISTORY_BY_TAG, STR("no such"), 1 };
    struct buf json;
    struct why why;
    buf_init(&json, 1000);
    CHECK_ERR(
            history_find_json(f.history, &query, &json, &why), E_CORRUPT); /* it may be in there */
    buf_done(&json);
    fixture_done(&f);
}

TEST(damage_found_later_is_left_too)
{
    struct fixture f;
    fixture_init(&f, 8);
    fixture_open(&f);
    for (uint32_t i = 0; i < 100; i++) {
        (void)fixture_accept_number(&f, i);
    }
    fixture_settle(&f);
    fixture_close(&f);
    uint64_t bytes = sim_disk_file_bytes(f.history_sim, "history-2026-11-25.db");
    for (uint64_t at = 5 * 4096; at < bytes; at += 4096) {
        sim_disk_zero(f.history_sim, "history-2026-11-25.db", at, 4096);
    }
    fixture_open(&f);
    (void)fixture_accept_number(&f, 200);
    fixture_settle(&f);
    CHECK_STORY(&f, 200, 0, "queued", "accepted");
    CHECK(sim_disk_has(f.history_sim, "history-2026-11-25.1.db"));
    fixture_done(&f);
}

TEST(a_file_that_cannot_be_read_is_given_up_after_a_minute)
{
    struct fixture f;
    fixture_init(&f, 8);
    fixture_open(&f);
    uint64_t msg_id = fixture_accept_number(&f, 1);
    for (uint32_t i = 2; i < 100; i++) {
        (void)fixture_accept_number(&f, i);
    }
    fixture_settle(&f);
    fixture_close(&f);
    sim_disk_make_unreadable(f.history_sim, "history-2026-11-25.db", 5 * 4096, 100 * 4096);
    fixture_open(&f);
    fixture_attempt(&f, msg_id, 0, 1);
    (void)fixture_accept_number(&f, 200);
    int64_t start = f.clock.mono_ms;
    fixture_settle(&f);
    CHECK(f.clock.mono_ms - start < 90000, "%lld ms", (long long)(f.clock.mono_ms - start));
    CHECK(sim_disk_has(f.history_sim, "history-2026-11-25.1.db"));
    CHECK(f.log_counts[LOG_ERROR_] >= 1 && f.log_counts[LOG_ERROR_] <= 3);
    fixture_done(&f);
}

TEST(a_gap_in_the_journal_is_passed_over_and_logged)
{
    struct fixture f;
    fixture_init(&f, 9);
    fixture_open(&f);
    uint64_t written_before = 0;
    struct spool_stats stats;
    for (uint32_t i = 0; i < 3; i++) {
        (void)fixture_accept_number(&f, i);
        fixture_sync(&f);
        spool_get_stats(f.spool, &stats);
        written_before = i == 0 ? stats.written_bytes : written_before;
    }
    uint32_t flipped = 0;
    for (uint64_t at = 0; at < 64 << 10; at += 512) { /* the batch of message 1, wherever it lies */
        struct disk_file *file;
        char bytes[512];
        size_t len = 0;
        REQUIRE_OK(f.spool_disk->ops->open(f.spool_disk, "slot-00000.seg", 0, &file, NULL));
        REQUIRE_OK(f.spool_disk->ops->read(file, bytes, sizeof bytes, at, &len, NULL));
        f.spool_disk->ops->close(file);
        if (str_find(str_of(bytes, len), STR("user1@example.net")) < len) {
            flipped += sim_disk_flip(f.spool_sim, "slot-00000.seg", at + 1, 0xff);
        }
    }
    CHECK_U64(flipped, 1);
    fixture_settle(&f);
    CHECK_U64(f.log_counts[LOG_ERROR_], 1);
    CHECK_STORY(&f, 0, 0, "queued", "accepted");
    CHECK(fixture_find_number(&f, 1) == NULL);
    CHECK_STORY(&f, 2, 0, "queued", "accepted");
    fixture_done(&f);
}

TEST(a_new_spool_begins_new_files_and_the_old_stay_readable)
{
    struct fixture f;
    fixture_init(&f, 10);
    fixture_open(&f);
    for (uint32_t i = 0; i < 50; i++) {
        uint64_t msg_id = fixture_accept_number(&f, i);
        fixture_outcome(&f, msg_id, 0, 1, SPOOL_RESULT_DELIVERED);
        fixture_sync(&f);
    }
    fixture_settle(&f);
    fixture_close(&f);
    struct sim_disk *old = f.spool_sim;
    f.spool_sim = sim_disk_new(11);
    f.spool_disk = sim_disk_as_disk(f.spool_sim);
    sim_disk_free(old);
    fixture_open(&f);
    uint64_t msg_id = fixture_accept_number(&f, 100);
    fixture_settle(&f);
    CHECK_STORY(&f, 100, 0, "queued", "accepted");
    CHECK_STORY(&f, 7, 0, "delivered", "accepted delivered");
    fixture_restart(&f, SIM_CRASH_NONE, 0);
    fixture_outcome(&f, msg_id, 0, 1, SPOOL_RESULT_DELIVERED);
    fixture_settle(&f);
    CHECK_STORY(&f, 100, 0, "delivered", "accepted delivered");
    CHECK_STORY(&f, 7, 0, "delivered", "accepted delivered");
    CHECK_U64(fixture_totals(&f).msgs, 51);
    fixture_done(&f);
}

TEST(the_start_file_can_be_lost)
{
    struct fixture f;
    fixture_init(&f, 12);
    fixture_open(&f);
    for (uint32_t i = 0; i < 50; i++) {
        uint64_t msg_id = fixture_accept_number(&f, i);
        fixture_outcome(&f, msg_id, 0, 1, SPOOL_RESULT_DELIVERED);
        fixture_sync(&f);
    }
    fixture_settle(&f);
    fixture_close(&f);
    sim_disk_delete(f.history_sim, "scribe.start");
    fixture_open(&f);
    (void)fixture_accept_number(&f, 50);
    fixture_settle(&f);
    CHECK_U64(fixture_totals(&f).msgs, 51);
    CHECK_STORY(&f, 49, 0, "delivered", "accepted delivered");
    CHECK(!sim_disk_has(f.history_sim, "history-2026-11-25.1.db"));
    fixture_done(&f);
}

/* ---- the owner ------------------------------------------------------------------------------ */

TEST(the_scribe_is_caught_up_when_all_is_committed)
{
    struct fixture f;
    fixture_init(&f, 13);
    fixture_open(&f);
    fixture_settle(&f);
    CHECK(scribe_is_caught_up(f.scribe));
    (void)fixture_accept_number(&f, 1);
    fixture_sync(&f);
    struct letter *letter = mem_new(sizeof *letter);
    letter->kind = SCRIBE_GREW;
    mailbox_answer(scribe_mailbox(f.scribe), letter);
    struct mono now = { f.clock.mono_ms };
    struct mono due = scribe_turn(f.scribe, now);
    CHECK(!scribe_is_caught_up(f.scribe));
    CHECK(due.ms > now.ms && due.ms <= now.ms + 200);
    fixture_pass(&f, 200);
    (void)scribe_turn(f.scribe, (struct mono){ f.clock.mono_ms });
    CHECK(scribe_is_caught_up(f.scribe));
    fixture_done(&f);
}

TEST(a_disk_that_fails_at_the_start_is_waited_for)
{
    struct fixture f;
    fixture_init(&f, 14);
    fixture_open(&f);
    (void)fixture_accept_number(&f, 1);
    fixture_settle(&f);
    fixture_close(&f);
    sim_disk_fail(f.history_sim, SIM_DISK_OPEN, 1, 5, E_IO);
    fixture_open(&f);
    (void)fixture_accept_number(&f, 2);
    fixture_settle(&f);
    CHECK_U64(f.log_counts[LOG_ERROR_], 1);
    CHECK_STORY(&f, 1, 0, "queued", "accepted");
    CHECK_STORY(&f, 2, 0, "queued", "accepted");
    fixture_done(&f);
}

TEST(memory_that_fails_anywhere_loses_no_event)
{
    uint64_t nth;
    for (nth = 1; nth < 400; nth += nth < 60 ? 1 : 7) {
        struct fixture f;
        fixture_init(&f, 15);
        fixture_open(&f);
        for (uint32_t i = 0; i < 20; i++) {
            uint64_t msg_id = fixture_accept_number(&f, i);
            for (uint32_t attempt = 1; attempt < 7; attempt++) {
                fixture_outcome(&f, msg_id, 0, attempt, SPOOL_RESULT_DEFERRED);
            }
            fixture_outcome(&f, msg_id, 0, 7, SPOOL_RESULT_DELIVERED);
        }
        fixture_sync(&f);
        mem_fail_at(nth);
        for (int i = 0; i < 10; i++) {
            (void)scribe_turn(f.scribe, (struct mono){ f.clock.mono_ms });
            fixture_pass(&f, 1000);
        }
        mem_fail_at(0);
        fixture_settle(&f);
        for (uint32_t i = 0; i < 20; i++) {
            CHECK_STORY(&f, i, 0, "delivered",
                    "accepted deferred deferred deferred deferred deferred deferred delivered");
        }
        CHECK_U64(fixture_totals(&f).msgs, 20);
        fixture_done(&f);
    }
}

/* ---- threads -------------------------------------------------------------------------------- */

struct asker {
    struct fixture *f;
    _Atomic bool *is_over;
    _Atomic uint32_t answers;
    uint32_t bad;
    struct why why; /* of the last bad one */
};

static void *ask(void *ctx)
{
    struct asker *asker = ctx;
    while (!atomic_load(asker->is_over)) {
        struct history_query query = { HISTORY_BY_TAG, STR("tag-1"), 5 };
        struct history_totals totals;
        struct buf json;
        struct why why;
        buf_init(&json, 1 << 20);
        enum err err = history_find_json(asker->f->history, &query, &json, &why);
        if (err != OK && err != E_NOT_FOUND) {
            asker->bad++;
            asker->why = why;
        }
        atomic_fetch_add(&asker->answers, err == OK);
        err = history_count(asker->f->history, &totals, &why);
        if (err != OK || totals.msgs != totals.open + totals.delivered) {
            asker->bad++;
            asker->why = why;
        }
        buf_done(&json);
    }
    return NULL;
}

TEST(questions_from_threads_are_answered_while_the_scribe_writes)
{
    struct fixture f;
    char path[] = "/tmp/outpost-history-XXXXXX", part[64];
    struct disk *spool, *history;
    CHECK(mkdtemp(path) != NULL);
    fmt(part, sizeof part, "%s/spool", path);
    REQUIRE_OK(disk_open_real(part, &spool, NULL));
    fmt(part, sizeof part, "%s/history", path);
    REQUIRE_OK(disk_open_real(part, &history, NULL));
    fixture_init_on(&f, spool, history);
    fixture_open(&f);
    _Atomic bool is_over = false;
    struct asker asker[2] = { { .f = &f, .is_over = &is_over }, { .f = &f, .is_over = &is_over } };
    pthread_t thread[2];
    for (int i = 0; i < 2; i++) {
        CHECK(pthread_create(&thread[i], NULL, ask, &asker[i]) == 0);
    }
    for (uint32_t round = 0; round < 100; round++) {
        for (uint32_t i = 0; i < 30; i++) {
            uint64_t msg_id = fixture_accept_number(&f, round * 30 + i);
            fixture_outcome(&f, msg_id, 0, 1, SPOOL_RESULT_DELIVERED);
        }
        fixture_settle(&f);
    }
    for (int i = 0; i < 2; i++) {
        while (atomic_load(&asker[i].answers) == 0) { /* on a busy machine we may be done first */
            sched_yield();
        }
    }
    atomic_store(&is_over, true);
    for (int i = 0; i < 2; i++) {
        pthread_join(thread[i], NULL);
        CHECK(asker[i].bad == 0, "%u bad answers: %s", asker[i].bad, asker[i].why.text);
        CHECK(asker[i].answers > 0);
    }
    CHECK_U64(fixture_totals(&f).delivered, 3000);
    fixture_close(&f);
    fixture_remove_dir(spool, path, "spool");
    fixture_remove_dir(history, path, "history");
    CHECK(rmdir(path) == 0);
    fixture_done(&f);
}
