/* SPDX-License-Identifier: Apache-2.0
 *
 * lane_test.c - whose turn it is: limits, fairness, suspension, sources.
 */
#include "tests/unit/queue/rig.h"

#define HOST "hostname = \"mail.example.com\"\n"
#define TWO_SOURCES                                                                                \
    HOST "source \"a\" { ehlo = \"a.example.com\" }\n"                                             \
         "source \"b\" { ehlo = \"b.example.com\" }\n"                                             \
         "pool \"both\" { sources = { \"a:3\", \"b\" } }\n"

enum { SECOND = 1000, MINUTE = 60000, HOUR = 3600000 };

static struct rig *rig_auto(const char *config_text)
{
    struct rig *rig = rig_new(config_text);
    rig->is_site_auto = true;
    rig->is_prepare_auto = true;
    return rig;
}

static void accept_many(
        struct rig *rig, uint64_t from, uint64_t to, const char *rcpts, const char *stream)
{
    for (uint64_t id = from; id < to; id++) {
        rig_send(rig, &(struct rig_mail){ .msg_id = id, .rcpts = rcpts, .stream = stream });
    }
    rig_turn(rig);
}

TEST(jobs_to_a_site_are_at_most_twice_its_connections)
{
    struct rig *rig = rig_auto(HOST "site-connection-max = 3\n");
    accept_many(rig, 1, 51, "a@x.example", "main");
    CHECK_U64(rig->job_count, 6);
    const struct queue_view *view = rig_view(rig, 50, 0);
    CHECK_STR(view->reason, STR("waiting for a connection (6 of 6 jobs out)"));
    CHECK(rig_has(view->waits_for, "as soon as a connection to mx.x.example is free"));
    CHECK(rig_has(view->waits_for, "44 recipients wait"));
    rig_end(rig, rig_job(rig), &rig_delivered);
    CHECK_U64(rig->job_count, 6);
    for (uint64_t id = 2; rig->job_count; id++) { /* first in, first out */
        struct queue_job *job = rig_job(rig);
        CHECK_U64(job->msg_id, id);
        rig_end(rig, job, &rig_delivered);
    }
    CHECK_U64(rig_stats(rig).delivered, 50);
    rig_free(rig);
}

TEST(lanes_that_share_a_site_take_turns)
{
    struct rig *rig = rig_auto(HOST "site-connection-max = 1\n");
    accept_many(rig, 1, 101, "a@x.example", "bulk");
    accept_many(rig, 101, 111, "a@x.example", "main");
    uint32_t main_done = 0, total = 0;
    while (rig->job_count && main_done < 10) {
        struct queue_job *job = rig_job(rig);
        main_done += job->msg_id > 100;
        total++;
        rig_end(rig, job, &rig_delivered);
    }
    CHECK(total <= 25, "ten of main needed %u turns behind a hundred of bulk", total);
    while (rig->job_count) {
        rig_end(rig, rig_job(rig), &rig_delivered);
    }
    CHECK_U64(rig_stats(rig).delivered, 110);
    rig_free(rig);
}

TEST(a_slow_site_does_not_hold_up_another)
{
    struct rig *rig = rig_auto(HOST);
    accept_many(rig, 1, 1001, "a@slow.example", "main");
    CHECK_U64(rig->job_count, 40);
    rig_accept(rig, 2000, "a@fast.example");
    CHECK_U64(rig->job_count, 41);
    CHECK_STR(rig->job[40]->site->key, STR("mx.fast.example"));
    rig_free(rig);
}

TEST(a_lane_whose_host_cannot_be_talked_to_is_suspended_as_a_whole)
{
    struct rig *rig = rig_auto(HOST);
    accept_many(rig, 1, 101, "a@x.example", "main");
    uint32_t out = rig->job_count;
    CHECK_U64(out, 40);
    for (uint32_t i = 0; i < out; i++) {
        rig_end(rig, rig_job(rig), &rig_no_connection);
        CHECK_U64(rig->job_count, out - 1 - i);
    }
    CHECK_U64(
            rig_count_outcomes(rig, SPOOL_RESULT_DEFERRED), 40); /* what was tried has its story */
    CHECK_U64(rig_stats(rig).rcpts[QUEUE_VIEW_QUEUED], 100);
    const struct queue_view *view = rig_view(rig, 100, 0);
    CHECK_U64(view->tries, 0);
    CHECK_STR(view->reason, STR("connection refused (mx.example)"));
    CHECK(rig_has(view->waits_for, "mx.x.example could not be talked to (connection refused"));
    int64_t left = view->due.ms - rig->wall.ms;
    CHECK(left >= 27 * SECOND && left <= 33 * SECOND, "suspended for %lld ms", (long long)left);
    rig_pass(rig, left - 1);
    CHECK_U64(rig->job_count, 0);
    rig_pass(rig, 1);
    CHECK_U64(rig->job_count, 1); /* one probe */
    CHECK(rig_has(rig_view(rig, 99, 0)->waits_for, "one message probes it now"));
    rig_end(rig, rig_job(rig), &rig_delivered);
    CHECK_U64(rig->job_count, 40); /* it works: everybody follows */
    while (rig->job_count) {
        rig_end(rig, rig_job(rig), &rig_delivered);
    }
    CHECK_U64(rig_stats(rig).delivered, 100);
    rig_free(rig);
}

TEST(suspension_doubles_from_30_seconds_to_30_minutes)
{
    struct rig *rig = rig_auto(HOST);
    accept_many(rig, 1, 4, "a@x.example", "main");
    while (rig->job_count) {
        rig_end(rig, rig_job(rig), &rig_no_connection);
    }
    int64_t expected = 30 * SECOND;
    for (uint32_t i = 0; i < 12; i++) {
        int64_t from = rig->mono.ms;
        while (rig->job_count == 0) {
            rig_pass(rig, 100);
        }
        int64_t took = rig->mono.ms - from;
        CHECK(took >= expected * 9 / 10 - 100 && took <= expected * 11 / 10 + 100,
                "failure %u: %lld ms, expected about %lld", i + 1, (long long)took,
                (long long)expected);
        CHECK_U64(rig->job_count, 1);
        rig_end(rig, rig_job(rig), &rig_no_connection);
        expected = expected * 2 < 30 * MINUTE ? expected * 2 : 30 * MINUTE;
    }
    /* the probes went round, and the retry plan was not touched by them */
    CHECK(rig_view(rig, 1, 0)->tries >= 5);
    rig_pass(rig, 40 * MINUTE);
    struct queue_job *job = rig_job(rig);
    int64_t at = rig->wall.ms;
    uint64_t id = job->msg_id;
    rig_end(rig, job, &rig_deferred);
    CHECK(rig_view(rig, id, 0)->due.ms - at <= 6 * MINUTE,
            "the first of its own retries is after 5 min");
    rig_free(rig);
}

TEST(a_refusal_of_the_session_never_bounces)
{
    struct rig *rig = rig_auto(HOST);
    struct rig_fate banned = { SPOOL_RESULT_BOUNCED, QUEUE_SESSION, 554, "5.7.1", "go away",
        false };
    rig_accept(rig, 1, "a@x.example");
    rig_end(rig, rig_job(rig), &banned);
    CHECK_U64(rig_last(rig)->result, SPOOL_RESULT_DEFERRED);
    CHECK(rig_last(rig)->due.ms > rig->wall.ms);
    CHECK_U64(rig_stats(rig).bounced, 0);
    CHECK(rig_has(rig_view(rig, 1, 0)->reason, "554 5.7.1 go away"));
    rig_free(rig);
}

TEST(mail_leaves_a_dead_host_when_its_domain_has_moved)
{
    struct rig *rig = rig_new(HOST);
    rig->is_prepare_auto = true;
    accept_many(rig, 1, 201, "a@x.example", "main");
    rig_site(rig, "x.example", QUEUE_SITE_FOUND, "old.x", MINUTE);
    while (rig->job_count) {
        rig_end(rig, rig_job(rig), &rig_no_connection);
    }
    rig_pass(rig, 40 * SECOND);
    rig_end(rig, rig_job(rig), &rig_no_connection); /* the answer still holds: a probe */
    rig_pass(rig, 2 * MINUTE);
    CHECK_U64(rig->job_count, 0); /* it ran out: asked again, once, before the next probe */
    CHECK_U64(rig->site_ask_count, 1);
    rig_site(rig, "x.example", QUEUE_SITE_FOUND, "new.x", HOUR);
    CHECK_U64(rig->job_count, 40);
    while (rig->job_count) {
        CHECK_STR(rig->job[0]->site->key, STR("new.x"));
        rig_end(rig, rig_job(rig), &rig_delivered);
    }
    CHECK_U64(rig_stats(rig).delivered, 200);
    rig_free(rig);
}

TEST(a_lost_reply_suspends_the_lane_but_is_retried_by_the_plan)
{
    struct rig *rig = rig_auto(HOST);
    struct rig_fate cut = { SPOOL_RESULT_IN_DOUBT, QUEUE_SESSION, 0, "4.4.2", "lost connection",
        false };
    rig_accept(rig, 1, "a@x.example");
    struct queue_job *job = rig_job(rig);
    rig_accept(rig, 2, "b@x.example");
    rig_end(rig, job, &cut);
    CHECK(rig_last(rig)->due.ms - rig->wall.ms >= 4 * MINUTE, "not after the 30 s of the lane");
    rig_end(rig, rig_job(rig), &rig_untried);
    CHECK_U64(rig->job_count, 0);
    rig_pass(rig, 34 * SECOND);
    CHECK_U64(rig->job_count, 1);
    CHECK_U64(rig->job[0]->msg_id, 2);
    rig_free(rig);
}

TEST(other_lanes_of_a_suspended_site_go_on)
{
    struct rig *rig = rig_auto(HOST);
    accept_many(rig, 1, 2, "a@x.example", "main");
    rig_end(rig, rig_job(rig), &rig_no_connection);
    accept_many(rig, 2, 3, "a@x.example", "bulk");
    CHECK_U64(rig->job_count, 1);
    rig_free(rig);
}

TEST(a_free_slot_of_a_site_goes_past_a_suspended_lane)
{
    struct rig *rig = rig_auto(HOST "site-connection-max = 1\n");
    accept_many(rig, 1, 5, "a@x.example", "bulk");
    accept_many(rig, 5, 9, "a@x.example", "main");
    CHECK_U64(rig->job_count, 2);
    struct queue_job *first = rig_job(rig), *second = rig_job(rig);
    CHECK(first->msg_id < 5 && second->msg_id < 5);
    rig_end(rig, first, &rig_no_connection); /* bulk is suspended; main has both slots in the end */
    rig_end(rig, second, &rig_no_connection);
    CHECK_U64(rig->job_count, 2);
    CHECK(rig->job[0]->msg_id >= 5 && rig->job[1]->msg_id >= 5);
    rig_free(rig);
}

TEST(sources_are_chosen_by_weight_and_a_message_keeps_its_own)
{
    struct rig *rig = rig_auto(TWO_SOURCES "site-connection-max = 1000\n");
    uint32_t count[2] = { 0, 0 };
    accept_many(rig, 1, 1001, "a@x.example b@x.example", "main");
    CHECK_U64(rig->job_count, 1000);
    uint32_t of[1001];
    for (uint64_t i = 0; i < 1000; i++) {
        struct queue_job *job = rig_job(rig);
        CHECK(job->source < 2);
        CHECK_U64(job->rcpt_count, 2);
        of[job->msg_id] = job->source;
        count[job->source]++;
        rig_end(rig, job, &rig_deferred);
    }
    CHECK(count[0] > 690 && count[0] < 810, "%u of 1000 from a source of weight 3 in 4", count[0]);
    rig_pass(rig, 10 * MINUTE);
    CHECK_U64(rig->job_count, 1000);
    while (rig->job_count) {
        struct queue_job *job = rig_job(rig);
        CHECK_U64(job->source, of[job->msg_id]);
        rig_end(rig, job, &rig_delivered);
    }
    rig_free(rig);
}

TEST(after_a_reload_jobs_carry_the_new_snapshot_and_its_indexes)
{
    struct rig *rig = rig_auto(TWO_SOURCES "site-connection-max = 1\n");
    accept_many(rig, 1, 101, "a@x.example", "main");
    CHECK_U64(rig->job_count, 4); /* two for each source */
    rig_reconfigure(rig, HOST "source \"c\" { ehlo = \"c.example.com\" }\n"
                              "source \"b\" { ehlo = \"b.example.com\" }\n"
                              "pool \"other\" { sources = { \"c\", \"b\" } }\n"
                              "site-connection-max = 2\n");
    CHECK_U64(rig->job_count > 4, true); /* the new limit, the new source */
    uint32_t seen[2] = { 0, 0 };
    while (rig->job_count) {
        struct queue_job *job = rig_job(rig);
        if (job->config->source_count == 2 && str_eq(job->config->source[0].name, STR("c"))) {
            seen[job->source]++;
        }
        rig_end(rig, job, &rig_delivered);
    }
    CHECK_U64(rig_stats(rig).delivered, 100);
    CHECK(seen[0] > 20 && seen[1] > 20, "from c %u, from b %u", seen[0], seen[1]);
    rig_reconfigure(rig, HOST);
    rig_accept(rig, 200, "a@x.example");
    struct queue_job *job = rig_job(rig);
    CHECK_U64(job->source, UINT32_MAX);
    rig_end(rig, job, &rig_delivered);
    rig_free(rig);
}

TEST(a_stream_that_gets_a_pool_moves_its_waiting_mail_there)
{
    struct rig *rig = rig_auto(HOST "site-connection-max = 1\n");
    accept_many(rig, 1, 301, "a@x.example", "main");
    CHECK_U64(rig->job_count, 2);
    rig_reconfigure(rig, TWO_SOURCES "site-connection-max = 1\n");
    CHECK_U64(rig->job_count, 6);
    while (rig->job_count) {
        struct queue_job *job = rig_job(rig);
        CHECK(job->source < 2 || job->msg_id <= 2);
        rig_end(rig, job, &rig_delivered);
    }
    CHECK_U64(rig_stats(rig).delivered, 300);
    rig_free(rig);
}

TEST(idle_lanes_sites_and_domains_are_forgotten_in_the_long_run)
{
    struct rig *rig = rig_auto(HOST);
    rig->is_record_dropped = true;
    char rcpt[64];
    for (uint64_t i = 0; i < 20000; i++) {
        fmt(rcpt, sizeof rcpt, "a@d%llu.example", (unsigned long long)i);
        rig_accept(rig, i + 1, rcpt);
        rig_end(rig, rig_job(rig), i % 10 ? &rig_delivered : &rig_bounced);
        while (rig->dsn_count) {
            rig_notified(rig, rig_dsn(rig));
        }
    }
    struct queue_stats stats = rig_stats(rig);
    CHECK_U64(stats.msgs, 0);
    CHECK(stats.domains <= 4096, "%llu domains", (unsigned long long)stats.domains);
    CHECK(stats.sites <= 4096, "%llu sites", (unsigned long long)stats.sites);
    CHECK(stats.lanes <= 1024, "%llu lanes", (unsigned long long)stats.lanes);
    rig_free(rig);
}
