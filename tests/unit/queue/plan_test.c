/* SPDX-License-Identifier: Apache-2.0
 *
 * plan_test.c - retry times, give-up, and clocks that lie (faults 56, 58, 59).
 */
#include "tests/unit/queue/rig.h"

#define CONF "hostname = \"mail.example.com\"\n"

enum { SECOND = 1000, MINUTE = 60000, HOUR = 3600000, DAY = 86400000 };

static struct rig *rig_auto(void)
{
    struct rig *rig = rig_new(CONF);
    rig->is_site_auto = true;
    rig->is_prepare_auto = true;
    return rig;
}

TEST(retries_double_up_to_their_maximum_with_ten_percent_jitter)
{
    struct prng prng;
    prng_init(&prng, 1);
    uint64_t expected = 5 * MINUTE;
    for (uint32_t tries = 1; tries < 40; tries++) {
        uint64_t low = UINT64_MAX, high = 0;
        for (uint32_t i = 0; i < 1000; i++) {
            uint64_t delay = queue_retry_delay_ms(5 * MINUTE, 4 * HOUR, tries, &prng);
            low = delay < low ? delay : low;
            high = delay > high ? delay : high;
        }
        CHECK(low >= expected * 90 / 100 && low < expected * 92 / 100, "try %u: from %llu", tries,
                (unsigned long long)low);
        CHECK(high <= expected * 110 / 100 && high > expected * 108 / 100, "try %u: up to %llu",
                tries, (unsigned long long)high);
        expected = expected * 2 < 4 * HOUR ? expected * 2 : 4 * HOUR;
    }
}

TEST(odd_plans_are_served_too)
{
    struct prng prng;
    prng_init(&prng, 1);
    CHECK_U64(queue_retry_delay_ms(0, 0, 0, &prng), 1);
    CHECK_U64(queue_retry_delay_ms(0, 0, 100, &prng), 1);
    CHECK(queue_retry_delay_ms(1000, 10, 9, &prng) >= 900); /* a maximum below the first */
    CHECK(queue_retry_delay_ms(1, UINT64_MAX, UINT32_MAX, &prng) > INT64_MAX / 4);
}

/* Defers whatever is tried until nothing is left; the number of tries. */
static uint32_t defer_to_the_end(struct rig *rig, int64_t *ret_took_ms)
{
    int64_t start = rig->mono.ms;
    uint32_t tries = 0;
    while (rig_stats(rig).rcpts[QUEUE_VIEW_QUEUED] || rig->job_count) {
        while (rig->job_count) {
            tries++;
            rig_end(rig, rig_job(rig), &rig_deferred);
        }
        rig_pass(rig, 10 * SECOND);
        CHECK(rig->mono.ms - start < 10 * (int64_t)DAY);
    }
    *ret_took_ms = rig->mono.ms - start;
    return tries;
}

TEST(a_recipient_is_given_up_after_five_days_with_a_last_try)
{
    struct rig *rig = rig_auto();
    rig_accept(rig, 1, "a@x.example");
    int64_t took;
    uint32_t tries = defer_to_the_end(rig, &took);
    CHECK(tries > 30 && tries < 45, "%u tries", tries);
    CHECK(took >= 5 * (int64_t)DAY && took < 5 * (int64_t)DAY + MINUTE, "gave up after %lld ms",
            (long long)took);
    const struct rig_record *record = rig_last(rig);
    CHECK_U64(record->result, SPOOL_RESULT_EXPIRED);
    CHECK_U64(record->attempt_no, tries);
    CHECK_STR(str_from_c(record->enhanced), STR("4.4.7"));
    CHECK_STR(str_from_c(record->text),
            STR("gave up after 5 days; the last reason was: 451 4.2.1 later "
                "(mx.example)"));
    CHECK_U64(rig->record[rig->record_count - 2].result, SPOOL_RESULT_DEFERRED);
    CHECK_U64(rig->record[rig->record_count - 2].due.ms, 0);
    struct queue_dsn *dsn = rig_dsn(rig);
    CHECK(dsn->rcpt[0].is_expired);
    rig_notified(rig, dsn);
    CHECK_U64(rig_stats(rig).expired, 1);
    CHECK_U64(rig_stats(rig).msgs, 0);
    rig_free(rig);
}

TEST(a_lane_that_is_never_reached_gives_up_its_recipients_in_time)
{
    struct rig *rig = rig_auto();
    for (uint64_t id = 1; id <= 200; id++) {
        rig_send(rig, &(struct rig_mail){ .msg_id = id, .rcpts = "a@x.example" });
    }
    rig_turn(rig);
    uint32_t tries = 0;
    int64_t start = rig->mono.ms;
    while (rig_stats(rig).rcpts[QUEUE_VIEW_QUEUED] + rig->job_count) {
        while (rig->job_count) {
            tries++;
            rig_end(rig, rig_job(rig), &rig_no_connection);
        }
        rig_pass(rig, MINUTE);
        CHECK(rig->mono.ms - start < 6 * (int64_t)DAY);
    }
    CHECK(rig->mono.ms - start < 5 * (int64_t)DAY + HOUR);
    CHECK_U64(rig_stats(rig).expired, 200);
    CHECK(tries < 400, "%u attempts at a dead host", tries);
    CHECK(rig_has(str_from_c(rig_last(rig)->text), "gave up after 5 days"));
    rig_free(rig);
}

TEST(steps_of_the_wall_clock_expire_nothing_and_move_no_retry)
{
    static const int64_t steps[] = { HOUR, -HOUR, 365 * (int64_t)DAY, -365 * (int64_t)DAY,
        -50 * 365 * (int64_t)DAY };
    for (size_t i = 0; i < COUNT_OF(steps); i++) {
        struct rig *rig = rig_auto();
        rig_accept(rig, 1, "a@x.example");
        rig_end(rig, rig_job(rig), &rig_deferred);
        rig->wall.ms += steps[i];
        rig_pass(rig, 4 * MINUTE);
        CHECK_U64(rig->job_count, 0);
        rig_pass(rig, 2 * MINUTE);
        CHECK_U64(rig->job_count, 1);
        rig_end(rig, rig_job(rig), &rig_deferred);
        CHECK_U64(rig_stats(rig).expired, 0);
        CHECK_U64(rig_stats(rig).rcpts[QUEUE_VIEW_QUEUED], 1);
        rig_free(rig);
    }
}

TEST(a_long_sleep_wakes_to_a_try_and_not_to_an_expiry)
{
    struct rig *rig = rig_auto();
    rig_accept(rig, 1, "a@x.example");
    rig_end(rig, rig_job(rig), &rig_deferred);
    rig->mono.ms += 6 * (int64_t)DAY; /* suspended: both clocks went on, nobody ran */
    rig->wall.ms += 6 * (int64_t)DAY;
    rig_turn(rig);
    CHECK_U64(rig_stats(rig).expired, 0);
    rig_end(rig, rig_job(rig), &rig_delivered);
    rig_free(rig);
}

/* ---- restored ---- */

static void restore(struct rig *rig, uint64_t msg_id, const char *rcpts,
        const struct spool_open_rcpt *open, uint32_t open_count, struct wall accepted_at)
{
    struct rig_mail mail = { .msg_id = msg_id, .rcpts = rcpts };
    struct blob *blob = rig_envelope(&mail, accepted_at);
    struct spool_envelope envelope;
    REQUIRE_OK(spool_envelope_decode(str_of(blob->first->data, blob->first->len), &envelope));
    struct spool_open_msg msg = { .msg_id = msg_id,
        .where = { 9, 9, 72 },
        .accepted_at = accepted_at,
        .rcpt_count = envelope.rcpt_count,
        .open_count = open_count };
    REQUIRE_OK(queue_restore(rig->queue, &msg, open, open_count, &envelope));
    blob_give(blob);
}

TEST(each_open_state_comes_back_from_the_spool_as_what_it_was)
{
    struct rig *rig = rig_auto();
    struct wall now = rig->wall;
    const struct spool_open_rcpt open[] = {
        { .rcpt = 1, .state = SPOOL_QUEUED },
        { .rcpt = 2, .state = SPOOL_QUEUED, .tries = 3, .due = { now.ms + HOUR } },
        { .rcpt = 3, .state = SPOOL_IN_DOUBT, .tries = 1 },
        { .rcpt = 4, .state = SPOOL_HELD, .tries = 1, .maybe_duplicate = true },
        { .rcpt = 5, .state = SPOOL_FAILED, .tries = 2 },
    };
    restore(rig, 1, "z@x.example a@x.example b@x.example c@x.example d@x.example e@x.example", open,
            5, (struct wall){ now.ms - 2 * HOUR });
    CHECK_U64(rig->record_count + rig->job_count + rig->dsn_count,
            0); /* no port before the first turn */
    rig_turn(rig);
    rig_pass(rig, 100);
    CHECK_U64(rig->job_count, 1);
    struct queue_job *job = rig_job(rig);
    CHECK_U64(job->rcpt_count, 1);
    CHECK_U64(job->rcpt[0], 1);
    CHECK_U64(rig_view(rig, 1, 3)->state, QUEUE_VIEW_IN_DOUBT);
    CHECK(rig_view(rig, 1, 3)->maybe_duplicate);
    CHECK_U64(rig_view(rig, 1, 4)->state, QUEUE_VIEW_HELD);
    CHECK(rig_view(rig, 1, 4)->maybe_duplicate);
    int64_t left = rig_view(rig, 1, 2)->due.ms - now.ms;
    CHECK(left >= HOUR && left <= HOUR + 200);
    CHECK_U64(rig_view(rig, 1, 5)->state, QUEUE_VIEW_FAILED);
    CHECK_U64(rig_view(rig, 1, 2)->where.slot, 9);
    struct queue_dsn *dsn = rig_dsn(rig);
    CHECK_U64(dsn->rcpt_count, 1);
    CHECK_U64(dsn->rcpt[0].rcpt, 5);
    CHECK_U64(dsn->rcpt[0].last_attempt.ms, 0);
    rig_notified(rig, dsn);
    rig_end(rig, job, &rig_delivered);
    rig_pass(rig, MINUTE);
    job = rig_job(rig);
    CHECK(job->maybe_duplicate);
    CHECK_U64(job->rcpt[0], 3);
    CHECK_U64(job->attempt_no, 2);
    rig_end(rig, job, &rig_delivered);
    rig_free(rig);
}

TEST(a_restart_asks_a_person_about_doubt_where_the_stream_says_so)
{
    struct rig *rig = rig_new(CONF "stream \"main\" { hold-in-doubt = yes }\n");
    const struct spool_open_rcpt open[] = { { .rcpt = 0, .state = SPOOL_ATTEMPTING, .tries = 1 } };
    restore(rig, 1, "a@x.example", open, 1, rig->wall);
    rig_pass(rig, 2 * MINUTE);
    CHECK_U64(rig_last(rig)->result, SPOOL_RESULT_HELD);
    CHECK_U64(rig_last(rig)->attempt_no, 1);
    CHECK_U64(rig_view(rig, 1, 0)->state, QUEUE_VIEW_HELD);
    CHECK_U64(rig->job_count, 0);
    rig_free(rig);
}

TEST(what_was_overdue_at_start_is_spread_over_a_minute)
{
    struct rig *rig = rig_auto();
    for (uint64_t id = 1; id <= 1000; id++) {
        char rcpt[40];
        fmt(rcpt, sizeof rcpt, "a@d%llu.example", (unsigned long long)(id % 100));
        const struct spool_open_rcpt open[] = {
            { .rcpt = 0, .state = SPOOL_QUEUED, .tries = 2, .due = { rig->wall.ms - HOUR } }
        };
        restore(rig, id, rcpt, open, 1, (struct wall){ rig->wall.ms - DAY });
    }
    rig_pass(rig, 6 * SECOND);
    CHECK(rig->job_count > 50 && rig->job_count < 200, "%u in the first tenth", rig->job_count);
    rig_pass(rig, 55 * SECOND);
    CHECK_U64(rig->job_count, 1000);
    rig_free(rig);
}

TEST(ages_at_a_restart_are_believed_only_where_they_can_be_true)
{
    static const struct {
        int64_t age_ms, expires_min_ms, expires_max_ms;
    } cases[] = {
        { 4 * (int64_t)DAY, DAY, DAY + HOUR },         /* a day is left */
        { 6 * (int64_t)DAY, HOUR - MINUTE, 3 * HOUR }, /* over already: an hour of grace */
        { 365 * (int64_t)DAY, 5 * (int64_t)DAY, 5 * (int64_t)DAY + HOUR },  /* the clock is wrong */
        { -365 * (int64_t)DAY, 5 * (int64_t)DAY, 5 * (int64_t)DAY + HOUR }, /* booted in the past */
        { INT64_MIN, 5 * (int64_t)DAY, 5 * (int64_t)DAY + HOUR },
    };
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        struct rig *rig = rig_auto();
        const struct spool_open_rcpt open[] = { { .rcpt = 0, .state = SPOOL_QUEUED, .tries = 3 } };
        struct wall accepted = { cases[i].age_ms == INT64_MIN ? INT64_MIN
                                                              : rig->wall.ms - cases[i].age_ms };
        restore(rig, 1, "a@x.example", open, 1, accepted);
        int64_t took;
        defer_to_the_end(rig, &took);
        CHECK(took >= cases[i].expires_min_ms && took <= cases[i].expires_max_ms,
                "case %zu: expired after %lld ms", i, (long long)took);
        CHECK_U64(rig_last(rig)->result, SPOOL_RESULT_EXPIRED);
        rig_free(rig);
    }
}

TEST(a_due_time_beyond_the_plan_is_a_clock_that_lied)
{
    struct rig *rig = rig_auto();
    const struct spool_open_rcpt open[] = { { .rcpt = 0,
            .state = SPOOL_QUEUED,
            .tries = 3,
            .due = { rig->wall.ms + 365 * (int64_t)DAY } } };
    restore(rig, 1, "a@x.example", open, 1, rig->wall);
    rig_pass(rig, 5 * HOUR);
    CHECK_U64(rig->job_count, 1);
    rig_free(rig);
}

TEST(room_made_for_a_restart_is_a_help_and_no_condition)
{
    struct rig *rig = rig_auto();
    const struct spool_open_rcpt open[] = { { .rcpt = 0 } };
    mem_fail_at(1);
    queue_expect(rig->queue, 5000);
    mem_fail_at(0);
    queue_expect(rig->queue, UINT64_MAX);
    restore(rig, 1, "a@x.example", open, 1, rig->wall);
    queue_expect(rig->queue, 5000);
    restore(rig, 2, "b@x.example", open, 1, rig->wall);
    CHECK_U64(rig_stats(rig).msgs, 2);
    CHECK_U64(rig_view(rig, 1, 0)->msg_id, 1);
    rig_free(rig);
}

TEST(a_restored_message_that_does_not_fit_its_envelope_is_refused)
{
    struct rig *rig = rig_auto();
    struct rig_mail mail = { .msg_id = 1, .rcpts = "a@x.example" };
    struct blob *blob = rig_envelope(&mail, rig->wall);
    struct spool_envelope envelope, empty = { .rcpt_count = 0 };
    REQUIRE_OK(spool_envelope_decode(str_of(blob->first->data, blob->first->len), &envelope));
    struct spool_open_msg msg = { .msg_id = 1, .accepted_at = rig->wall };
    const struct spool_open_rcpt open[] = { { .rcpt = 1 },
        { .rcpt = 0, .state = SPOOL_DELIVERED } };
    CHECK_ERR(queue_restore(rig->queue, &msg, open, 1, &envelope), E_CORRUPT);
    CHECK_ERR(queue_restore(rig->queue, &msg, open, 0, &empty), E_CORRUPT);
    REQUIRE_OK(
            queue_restore(rig->queue, &msg, open + 1, 1, &envelope)); /* nothing open: forgotten */
    CHECK_U64(rig_stats(rig).msgs, 0);
    const struct spool_open_rcpt twice[] = { { .rcpt = 0, .state = SPOOL_HELD }, { .rcpt = 0 } };
    REQUIRE_OK(queue_restore(rig->queue, &msg, twice, 2, &envelope));
    CHECK_ERR(queue_restore(rig->queue, &msg, twice, 2, &envelope), E_EXISTS);
    CHECK_U64(rig_view(rig, 1, 0)->state, QUEUE_VIEW_HELD);
    blob_give(blob);
    rig_free(rig);
}
