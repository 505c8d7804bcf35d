/* SPDX-License-Identifier: Apache-2.0
 *
 * report_test.c - failed recipients and the DSNs that speak for them.
 */
#include "tests/unit/queue/rig.h"

#define CONF                                                                                       \
    "hostname = \"mail.example.com\"\n"                                                            \
    "stream \"quiet\" { dsn = no }\n"

enum { SECOND = 1000, MINUTE = 60000, HOUR = 3600000 };

static struct rig *rig_auto(void)
{
    struct rig *rig = rig_new(CONF);
    rig->is_site_auto = true;
    rig->is_prepare_auto = true;
    return rig;
}

static void dsn_failed(struct rig *rig)
{
    struct queue_dsn *dsn = rig_dsn(rig);
    dsn->letter.kind = QUEUE_DSN_FAILED;
    mailbox_answer(queue_mailbox(rig->queue), &dsn->letter);
    rig_turn(rig);
}

TEST(one_report_speaks_for_all_that_failed_together)
{
    struct rig *rig = rig_auto();
    rig_accept(rig, 1, "a@x.example b@x.example c@x.example");
    struct queue_job *job = rig_job(rig);
    rig_result(rig, job, 0, 1, &rig_bounced, false);
    rig_result(rig, job, 1, 2, &rig_delivered, false);
    rig_turn(rig);
    CHECK_U64(rig->dsn_count, 0); /* one is still out */
    CHECK(rig_has(rig_view(rig, 1, 0)->waits_for,
            "It failed for good (550 5.1.1 no such user (mx.example)); "
            "the report to its sender is written next."));
    rig_result(rig, job, 2, 3, &rig_bounced, true);
    queue_job_free(job);
    rig_turn(rig);
    struct queue_dsn *dsn = rig_dsn(rig);
    CHECK_U64(dsn->msg_id, 1);
    CHECK_U64(dsn->rcpt_count, 2);
    CHECK_U64(dsn->rcpt[0].rcpt, 0);
    CHECK_U64(dsn->rcpt[1].rcpt, 2);
    CHECK(!dsn->rcpt[0].is_expired);
    CHECK_STR(dsn->rcpt[0].enhanced, STR("5.1.1"));
    CHECK_STR(dsn->rcpt[0].text, STR("550 5.1.1 no such user"));
    CHECK_STR(dsn->rcpt[0].remote_host, STR("mx.example"));
    CHECK(dsn->rcpt[0].last_attempt.ms - rig->wall.ms < 100);
    CHECK(rig_has(rig_view(rig, 1, 0)->waits_for, "is being written"));
    CHECK_U64(rig_stats(rig).msgs, 1);
    rig_notified(rig, dsn);
    CHECK_U64(rig_stats(rig).msgs, 0);
    CHECK_U64(rig_count_outcomes(rig, SPOOL_RESULT_BOUNCED), 2);
    rig_free(rig);
}

TEST(a_failure_waits_a_little_for_others_of_its_message)
{
    struct rig *rig = rig_auto();
    rig_accept(rig, 1, "a@x.example b@y.example");
    struct queue_job *x = rig_job(rig), *y = rig_job(rig);
    rig_end(rig, x, &rig_bounced);
    rig_pass(rig, 30 * SECOND);
    CHECK_U64(rig->dsn_count, 0);
    rig_end(rig, y, &rig_bounced);
    struct queue_dsn *dsn = rig_dsn(rig);
    CHECK_U64(dsn->rcpt_count, 2);
    rig_notified(rig, dsn);
    rig_free(rig);
}

TEST(a_failure_does_not_wait_for_a_lane_that_is_suspended)
{
    struct rig *rig = rig_auto();
    rig_accept(rig, 9, "z@dead.example");
    rig_end(rig, rig_job(rig), &rig_no_connection);
    rig_accept(rig, 1, "a@x.example b@dead.example");
    rig_end(rig, rig_job(rig), &rig_bounced);
    CHECK_U64(rig->dsn_count, 0);
    rig_pass(rig, 11 * SECOND);
    struct queue_dsn *dsn = rig_dsn(rig);
    CHECK_U64(dsn->rcpt_count, 1);
    rig_notified(rig, dsn);
    CHECK_U64(rig_stats(rig).msgs, 2);
    rig_free(rig);
}

TEST(what_fails_while_a_report_is_written_gets_the_next_one)
{
    struct rig *rig = rig_auto();
    rig_accept(rig, 1, "a@x.example b@y.example");
    struct queue_job *x = rig_job(rig), *y = rig_job(rig);
    rig_end(rig, y, &rig_deferred);
    rig_end(rig, x, &rig_bounced);
    struct queue_dsn *first = rig_dsn(rig);
    rig_pass(rig, 6 * MINUTE);
    rig_end(rig, rig_job(rig), &rig_bounced);
    CHECK_U64(rig->dsn_count, 0);
    rig_notified(rig, first);
    struct queue_dsn *second = rig_dsn(rig);
    CHECK_U64(second->rcpt_count, 1);
    CHECK_U64(second->rcpt[0].rcpt, 1);
    rig_notified(rig, second);
    CHECK_U64(rig_stats(rig).msgs, 0);
    rig_free(rig);
}

TEST(nobody_is_told_of_a_report_that_failed_or_where_the_stream_wants_none)
{
    struct rig *rig = rig_auto();
    rig_send(rig,
            &(struct rig_mail){ .msg_id = 1, .sender = "", .rcpts = "a@x.example b@x.example" });
    rig_send(rig, &(struct rig_mail){ .msg_id = 2, .stream = "quiet", .rcpts = "a@x.example" });
    rig_turn(rig);
    static const char *const texts[] = { "no report: the sender is null",
        "no report: the stream wants none" };
    for (uint32_t i = 0; i < 2; i++) {
        rig_end(rig, rig_job(rig), &rig_bounced);
        CHECK_U64(rig->dsn_count, 0);
        CHECK_U64(rig_last(rig)->type, SPOOL_CTL);
        CHECK_U64(rig_last(rig)->action, SPOOL_CTL_CLOSE);
        CHECK_STR(str_from_c(rig_last(rig)->author), STR("outpost"));
        CHECK_STR(str_from_c(rig_last(rig)->text), str_from_c(texts[i]));
    }
    CHECK_U64(rig_stats(rig).msgs, 0);
    rig_free(rig);
}

TEST(a_report_that_could_not_be_written_is_tried_again_and_in_the_end_given_up)
{
    struct rig *rig = rig_auto();
    rig_accept(rig, 1, "a@x.example");
    rig_end(rig, rig_job(rig), &rig_bounced);
    int64_t start = rig->mono.ms;
    uint32_t tries = 0;
    while (rig->dsn_count) {
        dsn_failed(rig);
        tries++;
        CHECK_U64(rig_stats(rig).rcpts[QUEUE_VIEW_FAILED], 1);
        CHECK(rig_has(rig_view(rig, 1, 0)->waits_for, "could not be written, and is tried again"));
        int64_t from = rig->mono.ms;
        while (rig->dsn_count == 0 && rig_stats(rig).msgs) {
            rig_pass(rig, 10 * SECOND);
        }
        CHECK(rig->mono.ms - from >= 50 * SECOND && rig->mono.ms - from < 67 * MINUTE);
    }
    CHECK_U64(tries, 120);
    CHECK(rig->mono.ms - start > 4 * 24 * (int64_t)HOUR);
    CHECK_U64(rig_last(rig)->action, SPOOL_CTL_CLOSE);
    CHECK_STR(str_from_c(rig_last(rig)->text), STR("no report: it could not be written"));
    rig_free(rig);
}

TEST(reports_being_written_are_bounded_and_none_is_forgotten)
{
    struct rig *rig = rig_auto();
    for (uint64_t id = 1; id <= 300; id++) {
        rig_accept(rig, id, "a@x.example");
        rig_end(rig, rig_job(rig), &rig_bounced);
    }
    CHECK_U64(rig->dsn_count, 64);
    uint32_t done = 0;
    while (rig->dsn_count) {
        CHECK(rig->dsn_count <= 64);
        rig_notified(rig, rig_dsn(rig));
        done++;
    }
    CHECK_U64(done, 300);
    CHECK_U64(rig_stats(rig).msgs, 0);
    rig_free(rig);
}

/* What a report takes at most for one recipient, by mail/dsn.c: its address twice (RFC
 * 5321 4.5.3.1), the text twice, wrapped, where each byte that is no ASCII takes four. */
static uint64_t report_bytes(const struct queue_dsn *dsn)
{
    uint64_t bytes = 0;
    for (uint32_t i = 0; i < dsn->rcpt_count; i++) {
        uint64_t text = 0;
        for (size_t k = 0; k < dsn->rcpt[i].text.len; k++) {
            uint8_t c = (uint8_t)dsn->rcpt[i].text.ptr[k];
            text += c >= 0x20 && c < 0x7f ? 1 : 4;
        }
        bytes += 1100 + 2 * dsn->rcpt[i].remote_host.len + 2 * text + text / 3;
    }
    return bytes;
}

/* A report is kept in one piece (SPOOL_INLINE_BYTES_MAX), with the header of the message in it. */
TEST(many_failures_with_long_reasons_are_told_in_several_reports)
{
    enum { COUNT = 3000, ROOM = SPOOL_INLINE_BYTES_MAX - (400 << 10) };
    for (int round = 0; round < 2; round++) {
        struct rig *rig = rig_auto();
        struct buf rcpts;
        char text[391];
        memset(text, round ? '\xe9' : 'x', sizeof text - 1);
        text[sizeof text - 1] = '\0';
        struct rig_fate fate = rig_bounced;
        fate.text = text;
        buf_init(&rcpts, 1 << 20);
        for (int i = 0; i < COUNT; i++) {
            buf_addf(&rcpts, "u%d@x.example ", i);
        }
        buf_add_char(&rcpts, '\0');
        rig_accept(rig, 1, rcpts.ptr);
        while (rig->job_count) {
            rig_end(rig, rig_job(rig), &fate);
        }
        uint32_t told = 0, reports = 0;
        while (rig->dsn_count) {
            struct queue_dsn *dsn = rig_dsn(rig);
            CHECK(report_bytes(dsn) <= ROOM, "%llu bytes", (unsigned long long)report_bytes(dsn));
            told += dsn->rcpt_count;
            reports++;
            rig_notified(rig, dsn);
        }
        CHECK_U64(told, COUNT);
        CHECK(reports > 1 && reports < 40, "%u reports", reports);
        CHECK_U64(rig_stats(rig).msgs, 0);
        buf_done(&rcpts);
        rig_free(rig);
    }
}

TEST(letters_about_unknown_messages_and_recipients_change_nothing)
{
    struct rig *rig = rig_auto();
    rig_accept(rig, 1, "a@x.example b@x.example");
    for (uint32_t i = 0; i < 2; i++) {
        struct queue_notified *news = mem_new(sizeof *news + 3 * sizeof news->rcpt[0]);
        news->letter.kind = QUEUE_NOTIFIED;
        news->msg_id = i ? 1 : 77;
        news->rcpt_count = 3;
        news->rcpt[1] = 1;
        news->rcpt[2] = 9999;
        mailbox_answer(queue_mailbox(rig->queue), &news->letter);
        struct queue_moved *moved = mem_new(sizeof *moved);
        moved->letter.kind = QUEUE_MOVED;
        moved->msg_id = 77;
        mailbox_answer(queue_mailbox(rig->queue), &moved->letter);
        struct queue_dsn *dsn = mem_new(sizeof *dsn);
        dsn->letter.kind = QUEUE_DSN_FAILED;
        dsn->msg_id = i ? 1 : 77;
        mailbox_answer(queue_mailbox(rig->queue), &dsn->letter);
        rig_site_answer(rig, i ? 1000000 : 0, QUEUE_SITE_FOUND, "mx.other", 1000);
        rig_turn(rig);
    }
    CHECK_U64(rig_stats(rig).rcpts[QUEUE_VIEW_ACTIVE], 2);
    rig_free(rig);
}
