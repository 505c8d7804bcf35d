/* SPDX-License-Identifier: Apache-2.0
 *
 * deliver_test.c - transactions: envelopes, replies, content, reuse, and every way they fail.
 */
#include "tests/unit/deliver/rig.h"

#include "core/str.h"

#define NO_SOURCE .source = UINT32_MAX
#define GREET                                                                                      \
    "S: 220 mx.example ESMTP\nC: EHLO out.example\nS: 250-mx.example\nS: 250-SIZE 100000\n"        \
    "S: 250-8BITMIME\nS: 250 PIPELINING\n"
#define ENVELOPE                                                                                   \
    "C: MAIL FROM:<a@out.example>*\nC: RCPT TO:<b@in.example>\nC: DATA\n"                          \
    "S: 250 2.1.0 Ok\nS: 250 2.1.5 Ok\nS: 354 go\n"
#define TAKEN "D:\nS: 250 2.0.0 Ok: queued as 77\n"
#define BYE "C: QUIT\nS: 221 bye\nCLOSE\n"

static const struct rig_job one = { .rcpts = "b@in.example", NO_SOURCE };

/* One job to one host at 192.0.2.1 with this script. */
static void one_job(struct rig *rig, const char *script)
{
    struct site *site = rig_site("10 mx.example 192.0.2.1");
    rig_peer(rig, "192.0.2.1", script);
    rig_send(rig, site, &one);
    rig_run(rig);
    site_give(site);
}

TEST(a_message_is_delivered_with_its_reply_and_connection_told)
{
    struct rig rig;
    rig_open(&rig, NULL);
    one_job(&rig, GREET ENVELOPE TAKEN BYE);
    const struct queue_result *result = rig_result(&rig, 0);
    CHECK_RESULT(result, SPOOL_RESULT_DELIVERED, QUEUE_MESSAGE, 250, "2.0.0");
    CHECK(result->is_last && !result->is_untried);
    CHECK_U64(result->outcome.rcpt_count, 1);
    CHECK_U64(result->outcome.msg_id, 1001);
    CHECK_STR(result->outcome.text, STR("Ok: queued as 77"));
    CHECK_STR(result->outcome.remote_host, STR("mx.example"));
    CHECK_STR(result->outcome.remote_ip, STR("192.0.2.1"));
    CHECK_STR(result->outcome.site, STR("mx.example"));
    CHECK_STR(result->outcome.dialogue, STR(""));
    CHECK_STR(rig_str(&rig.content), STR("Subject: x\r\n\r\nhi\r\n.\r\n"));
    CHECK_U64(rig.attempt_count, 1);
    rig_close(&rig);
}

TEST(an_envelope_is_one_write_and_the_content_with_its_end_another)
{
    struct rig rig;
    rig_open(&rig, NULL);
    one_job(&rig, GREET ENVELOPE TAKEN);
    CHECK_U64(rig.write_count, 3); /* EHLO, envelope, content */
    CHECK(rig_has(rig_str(&rig.said), "MAIL FROM:<a@out.example> SIZE=18\r\n"));
    rig_close(&rig);
}

TEST(the_signature_goes_in_front_and_dots_are_stuffed)
{
    struct rig rig;
    rig_open(&rig, NULL);
    struct site *site = rig_site("10 mx.example 192.0.2.1");
    rig_peer(&rig, "192.0.2.1", GREET ENVELOPE TAKEN);
    struct rig_job job = one;
    job.signature = "DKIM-Signature: v=1\r\n";
    job.content = "Subject: x\r\n\r\n.one\r\n..two\r\nlast without end";
    rig_send(&rig, site, &job);
    rig_run(&rig);
    CHECK_STR(rig_str(&rig.content),
            STR("DKIM-Signature: v=1\r\nSubject: x\r\n\r\n..one\r\n...two\r\n"
                "last without end\r\n.\r\n"));
    CHECK(rig_has(rig_str(&rig.said), " SIZE=64\r\n"));
    site_give(site);
    rig_close(&rig);
}

TEST(content_of_any_size_survives_writes_of_any_size)
{
    static const size_t write_max[] = { 1, 2, 3, 7, 100, 65536 };
    struct buf content;
    buf_init(&content, 1 << 20);
    for (uint32_t i = 0; i < 2000; i++) {
        buf_addf(&content, "%sline %u with some words in it\r\n", i % 7 == 0 ? "." : "", i);
    }
    buf_add_char(&content, '\0'); /* as a C string */
    for (size_t at = 0; at < COUNT_OF(write_max); at++) {
        struct rig rig;
        rig_open(&rig, NULL);
        rig.write_max = write_max[at];
        struct site *site = rig_site("10 mx.example 192.0.2.1");
        rig_peer(&rig, "192.0.2.1", GREET ENVELOPE TAKEN);
        struct rig_job job = one;
        job.content = content.ptr;
        rig_send(&rig, site, &job);
        rig_run(&rig);
        CHECK_RESULT(rig_result(&rig, 0), SPOOL_RESULT_DELIVERED, QUEUE_MESSAGE, 250, "2.0.0");
        CHECK_U64(rig.content.len, content.len - 1 + 286 + 3); /* 286 stuffed dots, the end */
        site_give(site);
        rig_close(&rig);
    }
    buf_done(&content);
}

TEST(without_pipelining_every_command_waits_for_its_reply)
{
    struct rig rig;
    rig_open(&rig, NULL);
    one_job(&rig,
            "S: 220 x\nC: EHLO out.example\nS: 250 mx\nC: MAIL FROM:<a@out.example>\nS: 250 ok\n"
            "C: RCPT TO:<b@in.example>\nS: 250 ok\nC: DATA\nS: 354 go\nD:\nS: 250 done\n");
    CHECK_RESULT(rig_result(&rig, 0), SPOOL_RESULT_DELIVERED, QUEUE_MESSAGE, 250, "2.0.0");
    rig_close(&rig);
}

/* ---- reuse ---- */

TEST(a_connection_is_used_again_and_ends_when_idle)
{
    struct rig rig;
    rig_open(&rig, NULL);
    struct site *site = rig_site("10 mx.example 192.0.2.1");
    rig_peer(&rig, "192.0.2.1", GREET ENVELOPE TAKEN ENVELOPE TAKEN BYE);
    rig_send(&rig, site, &one);
    rig_run(&rig);
    rig_send(&rig, site, &one);
    rig_run(&rig);
    CHECK_U64(rig_results_of(&rig, SPOOL_RESULT_DELIVERED), 2);
    CHECK_U64(rig.connect_count, 1);
    CHECK(!deliver_is_idle(rig.deliver));
    rig_advance(&rig, rig.config->connection_idle_ms);
    CHECK(deliver_is_idle(rig.deliver), "QUIT was said, and answered");
    site_give(site);
    rig_close(&rig);
}

TEST(the_next_envelope_rides_behind_the_content_in_one_write)
{
    struct rig rig;
    rig_open(&rig, "hostname = \"out.example\"\nsite-connection-max = 1\n");
    struct site *site = rig_site("10 mx.example 192.0.2.1");
    rig_peer(&rig, "192.0.2.1",
            GREET ENVELOPE "D:\nC: MAIL FROM:<a@out.example>*\n"
                           "C: RCPT TO:<b@in.example>\nC: DATA\nS: 250 2.0.0 first\nS: 250 ok\nS: "
                           "250 ok\nS: 354 go\n"
                           "D:\nS: 250 2.0.0 second\n");
    rig_send(&rig, site, &one);
    rig_send(&rig, site, &one);
    rig_run(&rig);
    CHECK_U64(rig.write_count, 4); /* EHLO, envelope, content + envelope, content */
    CHECK_STR(rig_result(&rig, 0)->outcome.text, STR("first"));
    CHECK_STR(rig_result(&rig, 1)->outcome.text, STR("second"));
    CHECK(rig_result(&rig, 0)->job_id < rig_result(&rig, 1)->job_id);
    site_give(site);
    rig_close(&rig);
}

TEST(a_rider_whose_front_was_cut_after_the_dot_goes_on_elsewhere)
{
    struct rig rig;
    rig_open(&rig, "hostname = \"out.example\"\nsite-connection-max = 1\n");
    struct site *site = rig_site("10 mx.example 192.0.2.1");
    rig_peer(&rig, "192.0.2.1", GREET ENVELOPE "D:\nC: MAIL*\nRESET\n");
    rig_peer(&rig, "192.0.2.1", GREET ENVELOPE TAKEN);
    rig_send(&rig, site, &one);
    rig_send(&rig, site, &one);
    rig_run(&rig);
    CHECK_RESULT(rig_result(&rig, 0), SPOOL_RESULT_IN_DOUBT, QUEUE_MESSAGE, 0, "4.4.2");
    CHECK(!rig_has(rig_result(&rig, 0)->outcome.dialogue,
            "MAIL FROM:<a@out.example> SIZE=18\n"
            "C: RCPT TO:<b@in.example>\nC: DATA\nC: MAIL"));
    CHECK_RESULT(rig_result(&rig, 1), SPOOL_RESULT_DELIVERED, QUEUE_MESSAGE, 250, "2.0.0");
    CHECK_U64(rig.attempt_count, 2);
    site_give(site);
    rig_close(&rig);
}

TEST(a_reused_connection_found_closed_costs_the_job_nothing)
{
    struct rig rig;
    rig_open(&rig, NULL);
    struct site *site = rig_site("10 mx.example 192.0.2.1");
    rig_peer(&rig, "192.0.2.1", GREET ENVELOPE TAKEN "C: MAIL*\nRESET\n");
    rig_peer(&rig, "192.0.2.1", GREET ENVELOPE TAKEN "C: MAIL*\nS: 421 4.7.0 enough\nCLOSE\n");
    rig_peer(&rig, "192.0.2.1", GREET ENVELOPE TAKEN);
    for (int i = 0; i < 3; i++) {
        rig_send(&rig, site, &one);
        rig_run(&rig);
    }
    CHECK_U64(rig_results_of(&rig, SPOOL_RESULT_DELIVERED), 3);
    CHECK_U64(rig.result_count, 3);
    CHECK_U64(rig.attempt_count, 3); /* the record of a requeued job stands */
    site_give(site);
    rig_close(&rig);
}

TEST(a_connection_takes_no_more_messages_than_configured)
{
    struct rig rig;
    rig_open(&rig,
            "hostname = \"out.example\"\nconnection-message-max = 2\nsite-connection-max = 1\n");
    struct site *site = rig_site("10 mx.example 192.0.2.1");
    rig_peer(&rig, "192.0.2.1", GREET ENVELOPE TAKEN ENVELOPE TAKEN BYE);
    rig_peer(&rig, "192.0.2.1", GREET ENVELOPE TAKEN);
    for (int i = 0; i < 3; i++) {
        rig_send(&rig, site, &one);
        rig_run(&rig);
    }
    CHECK_U64(rig_results_of(&rig, SPOOL_RESULT_DELIVERED), 3);
    CHECK_U64(rig.connect_count, 2);
    site_give(site);
    rig_close(&rig);
}

TEST(a_lane_opens_no_more_connections_than_configured_and_lanes_share_none)
{
    struct rig rig;
    rig_open(&rig, "hostname = \"out.example\"\nsite-connection-max = 3\n");
    struct site *site = rig_site("10 mx.example 192.0.2.1");
    for (int i = 0; i < 10; i++) {
        rig_peer(&rig, "192.0.2.1", "SILENT");
    }
    struct rig_job job = one;
    for (int i = 0; i < 8; i++) {
        rig_send(&rig, site, &job);
    }
    job.lane_id = 1;
    rig_send(&rig, site, &job);
    rig_run(&rig);
    CHECK_U64(rig.connect_count, 4);
    site_give(site);
    rig_close(&rig);
    CHECK_U64(rig.connect_count, 4);
}

static bool says_nothing(struct rig_conn *conn)
{
    (void)conn;
    return false;
}

TEST(all_lanes_together_open_no_more_connections_than_the_limit)
{
    struct rig rig;
    rig_open(&rig, NULL);
    struct site *site = rig_site("10 mx.example 192.0.2.1");
    struct deliver_stats stats;
    rig.any_peer = says_nothing;
    struct rig_job job = one;
    for (job.lane_id = 0; job.lane_id < DELIVER_CONNECTION_COUNT_MAX + 5; job.lane_id++) {
        rig_send(&rig, site, &job);
    }
    rig_run(&rig);
    deliver_get_stats(rig.deliver, &stats);
    CHECK_U64(stats.connections_now, DELIVER_CONNECTION_COUNT_MAX);
    CHECK_U64(stats.jobs_now, DELIVER_CONNECTION_COUNT_MAX + 5);
    rig_advance(&rig, 300000); /* they time out, and those who waited have their turn */
    deliver_get_stats(rig.deliver, &stats);
    CHECK_U64(stats.connections_now, 5);
    CHECK_U64(rig.result_count, DELIVER_CONNECTION_COUNT_MAX);
    site_give(site);
    rig_close(&rig);
}

TEST(an_extra_connection_that_is_refused_is_not_tried_again_at_once)
{
    struct rig rig;
    rig_open(&rig, NULL);
    struct site *site = rig_site("10 mx.example 192.0.2.1");
    rig_peer(&rig, "192.0.2.1", GREET "C: MAIL*\nC: RCPT*\nC: DATA\n"); /* then it thinks */
    rig_peer(&rig, "192.0.2.1", "S: 421 4.7.0 one connection is enough\nCLOSE\n");
    rig_send(&rig, site, &one);
    rig_run(&rig);
    for (int i = 0; i < 5; i++) {
        rig_send(&rig, site, &one);
        rig_run(&rig);
    }
    CHECK_U64(rig.connect_count, 2);
    CHECK_U64(rig.result_count, 0); /* they wait for the one that works */
    rig_advance(&rig, DELIVER_GROW_HOLD_MS);
    rig_send(&rig, site, &one);
    rig_run(&rig);
    CHECK(rig.connect_count > 2);
    site_give(site);
    rig_close(&rig);
}

/* ---- recipients ---- */

TEST(each_recipient_has_its_own_outcome)
{
    struct rig rig;
    rig_open(&rig, NULL);
    struct site *site = rig_site("10 mx.example 192.0.2.1");
    rig_peer(&rig, "192.0.2.1",
            GREET "C: MAIL*\nC: RCPT TO:<a@x>\nC: RCPT TO:<b@x>\nC: RCPT TO:<c@x>\n"
                  "C: RCPT TO:<d@x>\nC: DATA\nS: 250 ok\nS: 250 ok\nS: 550 5.1.1 no b\nS: 451 "
                  "4.2.1 later c\n"
                  "S: 251 will forward\nS: 354 go\nD:\nS: 250 2.0.0 taken\n");
    struct rig_job job = { .rcpts = "a@x b@x c@x d@x", NO_SOURCE };
    rig_send(&rig, site, &job);
    rig_run(&rig);
    CHECK_U64(rig.result_count, 3);
    CHECK_RESULT(rig_result(&rig, 0), SPOOL_RESULT_BOUNCED, QUEUE_RCPT, 550, "5.1.1");
    CHECK_U64(rig_result(&rig, 0)->rcpt[0], 1);
    CHECK(!rig_result(&rig, 0)->is_last);
    CHECK(rig_has(rig_result(&rig, 0)->outcome.dialogue, "C: RCPT TO:<b@x>\n"));
    CHECK(rig_has(rig_result(&rig, 0)->outcome.dialogue, "S: 550 5.1.1 no b\n"));
    CHECK_RESULT(rig_result(&rig, 1), SPOOL_RESULT_DEFERRED, QUEUE_RCPT, 451, "4.2.1");
    CHECK_U64(rig_result(&rig, 1)->rcpt[0], 2);
    CHECK_RESULT(rig_result(&rig, 2), SPOOL_RESULT_DELIVERED, QUEUE_MESSAGE, 250, "2.0.0");
    CHECK_U64(rig_result(&rig, 2)->outcome.rcpt_count, 2);
    CHECK_U64(rig_result(&rig, 2)->rcpt[1], 3);
    CHECK(rig_result(&rig, 2)->is_last);
    site_give(site);
    rig_close(&rig);
}

TEST(all_recipients_refused_and_354_gets_a_lone_dot_and_delivers_nobody) /* H9, RFC 2920 3.1 */
{
    struct rig rig;
    rig_open(&rig, NULL);
    struct site *site = rig_site("10 mx.example 192.0.2.1");
    rig_peer(&rig, "192.0.2.1",
            GREET "C: MAIL*\nC: RCPT*\nC: RCPT*\nC: DATA\nS: 250 ok\n"
                  "S: 550 5.1.1 no\nS: 550 5.1.1 no\nS: 354 go\nC: .\nS: 250 2.0.0 taken\n" ENVELOPE
                          TAKEN);
    struct rig_job job = { .rcpts = "a@x b@x", NO_SOURCE };
    rig_send(&rig, site, &job);
    rig_send(&rig, site, &one);
    rig_run(&rig);
    CHECK_U64(rig_results_of(&rig, SPOOL_RESULT_BOUNCED), 2);
    CHECK(rig_result(&rig, 1)->is_last);
    CHECK_U64(rig_results_of(&rig, SPOOL_RESULT_DELIVERED), 1);
    site_give(site);
    rig_close(&rig);
}

TEST(a_452_after_accepted_recipients_puts_the_rest_into_the_next_transaction)
{
    struct rig rig;
    rig_open(&rig, NULL);
    struct site *site = rig_site("10 mx.example 192.0.2.1");
    rig_peer(&rig, "192.0.2.1",
            GREET
            "C: MAIL*\nC: RCPT TO:<a@x>\nC: RCPT TO:<b@x>\nC: RCPT TO:<c@x>\n"
            "C: DATA\nS: 250 ok\nS: 250 ok\nS: 452 4.5.3 too many\nS: 452 4.5.3 too many\nS: 354 "
            "go\n"
            "D:\nS: 250 first\nC: MAIL*\nC: RCPT TO:<b@x>\nC: RCPT TO:<c@x>\nC: DATA\nS: 250 ok\n"
            "S: 250 ok\nS: 250 ok\nS: 354 go\nD:\nS: 250 second\n");
    struct rig_job job = { .rcpts = "a@x b@x c@x", NO_SOURCE };
    rig_send(&rig, site, &job);
    rig_run(&rig);
    CHECK_U64(rig.result_count, 2);
    CHECK(!rig_result(&rig, 0)->is_last);
    CHECK_U64(rig_result(&rig, 1)->outcome.rcpt_count, 2);
    CHECK_STR(rig_result(&rig, 1)->outcome.text, STR("second"));
    CHECK_U64(rig.attempt_count, 1);
    site_give(site);
    rig_close(&rig);
}

TEST(a_452_for_the_first_recipient_defers_it)
{
    struct rig rig;
    rig_open(&rig, NULL);
    one_job(&rig, GREET "C: MAIL*\nC: RCPT*\nC: DATA\nS: 250 ok\nS: 452 4.2.2 full\n"
                        "S: 503 5.5.1 no recipients\n");
    CHECK_RESULT(rig_result(&rig, 0), SPOOL_RESULT_DEFERRED, QUEUE_RCPT, 452, "4.2.2");
    CHECK(rig_result(&rig, 0)->is_last);
    rig_close(&rig);
}

TEST(envelopes_of_several_chunks_and_any_order_are_read)
{
    struct buf rcpts, script;
    buf_init(&rcpts, 4 << 20);
    buf_init(&script, 4 << 20);
    for (uint32_t i = 0; i < 3000; i++) {
        buf_addf(&rcpts, "%sa-recipient-with-a-long-name-%04u@in.example", i ? " " : "", i);
    }
    buf_add_c(&script, GREET "C: MAIL*\n");
    for (uint32_t i = 3000; i > 0; i--) {
        buf_addf(&script, "C: RCPT TO:<a-recipient-with-a-long-name-%04u@in.example>\n", i - 1);
    }
    buf_add_c(&script, "C: DATA\nS: 250 ok\n");
    for (uint32_t i = 0; i < 3000; i++) {
        buf_add_c(&script, "S: 250 ok\n");
    }
    buf_add_c(&script, "S: 354 go\n" TAKEN);
    buf_add_char(&rcpts, '\0');
    buf_add_char(&script, '\0');
    struct rig rig;
    rig_open(&rig, NULL);
    struct site *site = rig_site("10 mx.example 192.0.2.1");
    rig_peer(&rig, "192.0.2.1", script.ptr);
    struct rig_job job = { .rcpts = rcpts.ptr, .is_backwards = true, NO_SOURCE };
    rig_send(&rig, site, &job);
    rig_run(&rig);
    CHECK_U64(rig_results_of(&rig, SPOOL_RESULT_DELIVERED), 3000);
    CHECK_U64(rig_result(&rig, 0)->rcpt[0], 2999);
    site_give(site);
    rig_close(&rig);
    buf_done(&rcpts);
    buf_done(&script);
}

/* ---- what replies mean ---- */

struct reply_case {
    const char *script; /* after the greeting */
    enum spool_result result;
    enum queue_scope scope;
    uint16_t code;
    const char *enhanced;
};
#define AT_MAIL(reply) "C: MAIL*\nC: RCPT*\nC: DATA\nS: " reply "\nS: 503 5.5.1 x\nS: 503 5.5.1 x\n"
#define AT_RCPT(reply) "C: MAIL*\nC: RCPT*\nC: DATA\nS: 250 ok\nS: " reply "\nS: 554 5.5.1 none\n"
#define AT_DATA(reply) "C: MAIL*\nC: RCPT*\nC: DATA\nS: 250 ok\nS: 250 ok\nS: " reply "\n"
#define AT_DOT(reply) ENVELOPE "D:\nS: " reply "\n"

TEST(replies_are_judged_by_phase_and_class) /* faults 42 to 44, H11 */
{
    static const struct reply_case cases[] = {
        { AT_MAIL("550 5.1.8 bad sender"), SPOOL_RESULT_BOUNCED, QUEUE_MESSAGE, 550, "5.1.8" },
        { AT_MAIL("553 5.7.1 not your address"), SPOOL_RESULT_BOUNCED, QUEUE_MESSAGE, 553,
                "5.7.1" },
        { AT_MAIL("550 no"), SPOOL_RESULT_BOUNCED, QUEUE_MESSAGE, 550, "5.0.0" },
        { AT_MAIL("451 4.3.0 later"), SPOOL_RESULT_DEFERRED, QUEUE_MESSAGE, 451, "4.3.0" },
        { AT_MAIL("550 5.7.1 your address is listed"), SPOOL_RESULT_DEFERRED, QUEUE_SESSION, 550,
                "5.7.1" },
        { AT_MAIL("550 5.7.27 null MX"), SPOOL_RESULT_BOUNCED, QUEUE_MESSAGE, 550, "5.7.27" },
        { AT_MAIL("530 5.7.0 STARTTLS first"), SPOOL_RESULT_DEFERRED, QUEUE_SESSION, 530, "5.7.0" },
        { AT_MAIL("521 no mail here"), SPOOL_RESULT_DEFERRED, QUEUE_SESSION, 521, "5.0.0" },
        { AT_MAIL("451 4.7.1 slow down"), SPOOL_RESULT_DEFERRED, QUEUE_SESSION, 451, "4.7.1" },
        { AT_MAIL("421 4.7.0 go away"), SPOOL_RESULT_DEFERRED, QUEUE_SESSION, 421, "4.7.0" },
        { AT_RCPT("550 5.1.1 no"), SPOOL_RESULT_BOUNCED, QUEUE_RCPT, 550, "5.1.1" },
        { AT_RCPT("550 2.0.0 no"), SPOOL_RESULT_BOUNCED, QUEUE_RCPT, 550, "5.0.0" },
        { AT_RCPT("550 5..1 no"), SPOOL_RESULT_BOUNCED, QUEUE_RCPT, 550, "5.0.0" },
        { AT_RCPT("450 4.2.0 greylisted"), SPOOL_RESULT_DEFERRED, QUEUE_RCPT, 450, "4.2.0" },
        { AT_RCPT("551 5.1.6 moved"), SPOOL_RESULT_BOUNCED, QUEUE_RCPT, 551, "5.1.6" },
        { "C: MAIL*\nC: RCPT*\nC: DATA\nS: 250 ok\nS: 421 4.3.2 bye\nCLOSE\n",
                SPOOL_RESULT_DEFERRED, QUEUE_SESSION, 421, "4.3.2" },
        { AT_DATA("554 5.3.0 no"), SPOOL_RESULT_BOUNCED, QUEUE_MESSAGE, 554, "5.3.0" },
        { AT_DATA("451 4.3.0 no"), SPOOL_RESULT_DEFERRED, QUEUE_MESSAGE, 451, "4.3.0" },
        { AT_DATA("421 4.3.2 bye"), SPOOL_RESULT_DEFERRED, QUEUE_SESSION, 421, "4.3.2" },
        { AT_DATA("250 2.0.0 what"), SPOOL_RESULT_DEFERRED, QUEUE_SESSION, 250, "4.5.0" },
        { AT_DOT("250 5.1.1 ok"), SPOOL_RESULT_DELIVERED, QUEUE_MESSAGE, 250, "2.0.0" },
        { AT_DOT("250"), SPOOL_RESULT_DELIVERED, QUEUE_MESSAGE, 250, "2.0.0" },
        { AT_DOT("554 5.7.1 spam"), SPOOL_RESULT_BOUNCED, QUEUE_MESSAGE, 554, "5.7.1" },
        { AT_DOT("452 4.3.1 full"), SPOOL_RESULT_DEFERRED, QUEUE_MESSAGE, 452, "4.3.1" },
        { AT_DOT("421 4.7.0 rate"), SPOOL_RESULT_DEFERRED, QUEUE_SESSION, 421, "4.7.0" },
        { AT_DOT("354 again"), SPOOL_RESULT_DEFERRED, QUEUE_SESSION, 354, "4.5.0" },
    };
    for (size_t i = 0; i < COUNT_OF(cases) - 1; i++) {
        struct rig rig;
        char script[2000];
        rig_open(&rig, NULL);
        fmt(script, sizeof script, "%s%s", GREET, cases[i].script);
        one_job(&rig, script);
        CHECK(rig.result_count == 1, "case %zu: %s", i, cases[i].script);
        CHECK_RESULT(rig_result(&rig, 0), cases[i].result, cases[i].scope, cases[i].code,
                cases[i].enhanced);
        CHECK(rig_result(&rig, 0)->is_last);
        rig_close(&rig);
    }
}

TEST(a_refused_transaction_leaves_the_connection_for_the_next)
{
    struct rig rig;
    rig_open(&rig, NULL);
    struct site *site = rig_site("10 mx.example 192.0.2.1");
    rig_peer(&rig, "192.0.2.1",
            GREET AT_DATA("554 5.3.0 no") "C: RSET\nC: MAIL*\nC: RCPT*\nC: DATA\n"
                                          "S: 250 ok\nS: 250 ok\nS: 250 ok\nS: 354 go\n" TAKEN);
    rig_send(&rig, site, &one);
    rig_run(&rig);
    rig_send(&rig, site, &one);
    rig_run(&rig);
    CHECK_U64(rig_results_of(&rig, SPOOL_RESULT_DELIVERED), 1);
    CHECK_U64(rig.connect_count, 1);
    site_give(site);
    rig_close(&rig);
}

/* ---- ends of connections ---- */

TEST(what_ends_before_the_dot_is_deferred_and_after_it_in_doubt) /* faults 38, 41, H8 */
{
    static const struct reply_case cases[] = {
        { "C: MAIL*\nCLOSE\n", SPOOL_RESULT_DEFERRED, QUEUE_SESSION, 0, "4.4.2" },
        { AT_DATA("354 go") "RESET\n", SPOOL_RESULT_DEFERRED, QUEUE_MESSAGE, 0, "4.4.2" },
        { ENVELOPE "D:\nCLOSE\n", SPOOL_RESULT_IN_DOUBT, QUEUE_MESSAGE, 0, "4.4.2" },
        { ENVELOPE "D:\nRESET\n", SPOOL_RESULT_IN_DOUBT, QUEUE_MESSAGE, 0, "4.4.2" },
        { ENVELOPE "D:\nS: 250-half\nRESET\n", SPOOL_RESULT_IN_DOUBT, QUEUE_MESSAGE, 0, "4.4.2" },
        { ENVELOPE "D:\nS: 999 what\n", SPOOL_RESULT_IN_DOUBT, QUEUE_MESSAGE, 0, "4.5.0" },
        { "C: MAIL*\nS: garbage\n", SPOOL_RESULT_DEFERRED, QUEUE_SESSION, 0, "4.5.0" },
        { "C: MAIL*\nS: 250-mixed\nS: 550 codes\n", SPOOL_RESULT_DEFERRED, QUEUE_SESSION, 0,
                "4.5.0" },
    };
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        struct rig rig;
        char script[2000];
        rig_open(&rig, NULL);
        fmt(script, sizeof script, "%s%s", GREET, cases[i].script);
        one_job(&rig, script);
        CHECK(rig.result_count == 1, "case %zu: %s", i, cases[i].script);
        CHECK_RESULT(rig_result(&rig, 0), cases[i].result, cases[i].scope, cases[i].code,
                cases[i].enhanced);
        CHECK(rig_result(&rig, 0)->outcome.dialogue.len > 0);
        CHECK(!rig_result(&rig, 0)->is_untried);
        rig_close(&rig);
    }
}

TEST(a_content_cut_before_its_last_byte_was_written_is_not_in_doubt)
{
    struct rig rig;
    rig_open(&rig, NULL);
    struct site *site = rig_site("10 mx.example 192.0.2.1");
    rig_peer(&rig, "192.0.2.1", GREET ENVELOPE "C: Subject: x\nRESET\n");
    rig.write_max = 12;
    rig_send(&rig, site, &one);
    rig_run(&rig);
    CHECK_RESULT(rig_result(&rig, 0), SPOOL_RESULT_DEFERRED, QUEUE_MESSAGE, 0, "4.4.2");
    site_give(site);
    rig_close(&rig);
}

/* Else the rest of one content would be taken for commands, or commands for content. */
TEST(a_final_reply_before_the_content_is_out_ends_the_connection)
{
    static const struct reply_case cases[] = {
        { "S: 250 2.0.0 taken\n", SPOOL_RESULT_DEFERRED, QUEUE_MESSAGE, 0, "4.5.0" },
        { "S: 552 5.3.4 too big\n", SPOOL_RESULT_BOUNCED, QUEUE_MESSAGE, 552, "5.3.4" },
    };
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        struct rig rig;
        char script[2000];
        rig_open(&rig, "hostname = \"out.example\"\nsite-connection-max = 1\n");
        struct site *site = rig_site("10 mx.example 192.0.2.1");
        fmt(script, sizeof script, "%s%sC: Subject: x\n%s", GREET, ENVELOPE, cases[i].script);
        rig_peer(&rig, "192.0.2.1", script);
        rig_peer(&rig, "192.0.2.1", GREET ENVELOPE TAKEN);
        rig.keeper_mode = RIG_KEEPER_HOLDS;
        rig_send(&rig, site, &one);
        rig_send(&rig, site, &one);
        rig_run(&rig);
        rig.write_max = 12; /* the first line of the content */
        rig.is_window_shut = true;
        rig_keeper_answer(&rig);
        rig_open_window(&rig);
        size_t said = rig.said.len;
        CHECK_RESULT(rig_result(&rig, 0), cases[i].result, cases[i].scope, cases[i].code,
                cases[i].enhanced);
        CHECK(rig.peer[0].conn == NULL, "closed");
        rig.is_window_shut = false;
        rig_run(&rig);
        CHECK(str_starts(str_from(rig_str(&rig.said), said), STR("EHLO")), "nothing more was said");
        CHECK_U64(rig_results_of(&rig, SPOOL_RESULT_DELIVERED), 1); /* the one that rode behind */
        site_give(site);
        rig_close(&rig);
    }
}

TEST(what_the_peer_said_before_it_closed_is_the_reason)
{
    struct rig rig;
    rig_open(&rig, NULL);
    struct site *site = rig_site("10 mx.example 192.0.2.1");
    rig_peer(&rig, "192.0.2.1", GREET ENVELOPE TAKEN "S: 421 4.4.2 idle too long\nCLOSE\n");
    rig_peer(&rig, "192.0.2.1", GREET ENVELOPE TAKEN);
    rig_send(&rig, site, &one);
    rig_run(&rig);
    rig_send(&rig, site, &one);
    rig_run(&rig);
    CHECK_U64(rig_results_of(&rig, SPOOL_RESULT_DELIVERED), 2);
    CHECK_U64(rig.connect_count, 2);
    site_give(site);
    rig_close(&rig);
}

TEST(replies_of_the_peer_cannot_forge_the_dialogue) /* H3 */
{
    struct rig rig;
    rig_open(&rig, NULL);
    one_job(&rig, GREET AT_RCPT("550 5.1.1 a\x1b[31m %n\\") "");
    struct str dialogue = rig_result(&rig, 0)->outcome.dialogue;
    CHECK(rig_has(dialogue, "S: 550 5.1.1 a\\x1b[31m %n"));
    CHECK_STR(rig_result(&rig, 0)->outcome.text, STR("a\x1b[31m %n\\"));
    rig_close(&rig);
}

struct timeout_case {
    const char *script;
    uint64_t ms;
    enum spool_result result;
    enum queue_scope scope;
    const char *enhanced;
};

TEST(every_phase_has_its_time) /* faults 37, RFC 5321 4.5.3.2 */
{
    static const struct timeout_case cases[] = {
        { "SILENT", 30000, SPOOL_RESULT_DEFERRED, QUEUE_SESSION, "4.4.1" },
        { "C: never\n", 300000, SPOOL_RESULT_DEFERRED, QUEUE_SESSION, "4.4.2" },
        { "S: 220 x\nC: EHLO*\nS: 250-half\n", 300000, SPOOL_RESULT_DEFERRED, QUEUE_SESSION,
                "4.4.2" },
        { GREET "C: MAIL*\n", 300000, SPOOL_RESULT_DEFERRED, QUEUE_SESSION, "4.4.2" },
        { GREET "C: MAIL*\nS: 250 ok\nC: RCPT*\n", 300000, SPOOL_RESULT_DEFERRED, QUEUE_SESSION,
                "4.4.2" },
        { GREET "C: MAIL*\nS: 250 ok\nC: RCPT*\nS: 250 ok\nC: DATA\n", 120000,
                SPOOL_RESULT_DEFERRED, QUEUE_SESSION, "4.4.2" },
        { GREET ENVELOPE "D:\n", 600000, SPOOL_RESULT_IN_DOUBT, QUEUE_MESSAGE, "4.4.2" },
    };
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        struct rig rig;
        rig_open(&rig, NULL);
        one_job(&rig, cases[i].script);
        rig_advance(&rig, cases[i].ms - 1);
        CHECK(rig.result_count == 0, "case %zu: too early", i);
        rig_advance(&rig, 1);
        CHECK(rig.result_count == 1, "case %zu: too late", i);
        CHECK_RESULT(rig_result(&rig, 0), cases[i].result, cases[i].scope, 0, cases[i].enhanced);
        CHECK(deliver_is_idle(rig.deliver));
        rig_close(&rig);
    }
}

TEST(a_peer_that_takes_the_content_byte_by_byte_is_cut_in_the_end) /* faults 47 */
{
    struct rig rig;
    rig_open(&rig, NULL);
    rig.keeper_mode = RIG_KEEPER_HOLDS;
    struct site *site = rig_site("10 mx.example 192.0.2.1");
    struct rig_job job = one;
    job.content = "Subject: a content of more than thirty bytes\r\n\r\nand some\r\n";
    rig_peer(&rig, "192.0.2.1", GREET ENVELOPE TAKEN);
    rig_send(&rig, site, &job);
    rig_run(&rig);
    rig.write_max = 1;
    rig.is_window_shut = true; /* from here on it takes a byte a minute */
    rig_keeper_answer(&rig);
    uint32_t minutes = 0;
    for (; minutes < 60 && rig.result_count == 0; minutes++) {
        rig_open_window(&rig);
        rig_advance(&rig, 60000);
    }
    CHECK(minutes == 31, "%u minutes", minutes); /* 30, and what 60 bytes take */
    CHECK_RESULT(rig_result(&rig, 0), SPOOL_RESULT_DEFERRED, QUEUE_MESSAGE, 0, "4.4.2");
    site_give(site);
    rig_close(&rig);
}

TEST(a_peer_that_takes_nothing_of_the_content_is_cut_sooner) /* RFC 5321 4.5.3.2.5 */
{
    struct rig rig;
    rig_open(&rig, NULL);
    rig.keeper_mode = RIG_KEEPER_HOLDS;
    one_job(&rig, GREET ENVELOPE TAKEN);
    rig.is_window_shut = true;
    rig_keeper_answer(&rig);
    rig_advance(&rig, 179999);
    CHECK_U64(rig.result_count, 0);
    rig_advance(&rig, 1);
    CHECK_RESULT(rig_result(&rig, 0), SPOOL_RESULT_DEFERRED, QUEUE_MESSAGE, 0, "4.4.2");
    rig_close(&rig);
}

/* ---- the record before the content ---- */

TEST(the_content_waits_until_the_attempt_is_written)
{
    struct rig rig;
    rig_open(&rig, NULL);
    rig.keeper_mode = RIG_KEEPER_HOLDS;
    one_job(&rig, GREET ENVELOPE TAKEN);
    CHECK_U64(rig.result_count, 0);
    CHECK_U64(rig.content.len, 0);
    CHECK(!rig_has(rig_str(&rig.said), "Subject"));
    rig_keeper_answer(&rig);
    CHECK_U64(rig_results_of(&rig, SPOOL_RESULT_DELIVERED), 1);
    rig_close(&rig);
}

TEST(an_attempt_that_cannot_be_written_sends_nothing_and_defers)
{
    struct rig rig;
    rig_open(&rig, NULL);
    rig.keeper_mode = RIG_KEEPER_FAILS;
    one_job(&rig, GREET ENVELOPE TAKEN);
    CHECK_RESULT(rig_result(&rig, 0), SPOOL_RESULT_DEFERRED, QUEUE_SESSION, 0, "4.3.0");
    CHECK(!rig_has(rig_str(&rig.said), "Subject"));
    CHECK(deliver_is_idle(rig.deliver));
    rig_close(&rig);
}

TEST(a_keeper_that_is_closed_counts_as_one_that_failed)
{
    struct rig rig;
    rig_open(&rig, NULL);
    mailbox_close(&rig.keeper);
    one_job(&rig, GREET ENVELOPE TAKEN);
    CHECK_RESULT(rig_result(&rig, 0), SPOOL_RESULT_DEFERRED, QUEUE_SESSION, 0, "4.3.0");
    rig_close(&rig);
}

TEST(an_answer_of_the_keeper_to_a_job_that_is_gone_is_no_harm)
{
    struct rig rig;
    rig_open(&rig, NULL);
    rig.keeper_mode = RIG_KEEPER_HOLDS;
    one_job(&rig, GREET "C: MAIL*\nRESET\n");
    CHECK_U64(rig_results_of(&rig, SPOOL_RESULT_DEFERRED), 1);
    rig_keeper_answer(&rig);
    CHECK(deliver_is_idle(rig.deliver));
    rig_close(&rig);
}

TEST(a_full_keeper_is_waited_for)
{
    struct rig rig;
    rig_open(&rig, NULL);
    rig.keeper.count_max = 1;
    rig.keeper_mode = RIG_KEEPER_HOLDS;
    struct site *site = rig_site("10 mx.example 192.0.2.1");
    rig_peer(&rig, "192.0.2.1", GREET ENVELOPE TAKEN);
    rig_peer(&rig, "192.0.2.1", GREET ENVELOPE TAKEN);
    rig_send(&rig, site, &one);
    rig_send(&rig, site, &one);
    rig_run(&rig);
    rig_keeper_answer(&rig);
    CHECK_U64(rig_results_of(&rig, SPOOL_RESULT_DELIVERED), 2);
    site_give(site);
    rig_close(&rig);
}

/* ---- messages that the peer cannot take ---- */

TEST(too_big_eight_bit_or_unsendable_bounces_without_a_transaction) /* A16, A17, H5 */
{
    static const struct {
        const char *ehlo;
        struct rig_job job;
        enum queue_scope scope;
        const char *enhanced;
    } cases[] = {
        { "S: 250-mx\nS: 250 SIZE 10\n", { .rcpts = "b@x", NO_SOURCE }, QUEUE_MESSAGE, "5.3.4" },
        { "S: 250 mx\n", { .rcpts = "b@x", .is_8bit = true, NO_SOURCE }, QUEUE_MESSAGE, "5.6.3" },
        { "S: 250 mx\n", { .rcpts = "j\xc3\xb6rg@x", NO_SOURCE }, QUEUE_RCPT, "5.6.7" },
        { "S: 250 mx\n", { .rcpts = "b@x", .sender = "j\xc3\xb6rg@x", NO_SOURCE }, QUEUE_MESSAGE,
                "5.6.7" },
        { "S: 250 mx\n", { .rcpts = "b>@x", NO_SOURCE }, QUEUE_MESSAGE, "5.1.3" },
    };
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        struct rig rig;
        char script[400];
        rig_open(&rig, NULL);
        struct site *site = rig_site("10 mx.example 192.0.2.1");
        fmt(script, sizeof script, "S: 220 x\nC: EHLO*\n%s", cases[i].ehlo);
        rig_peer(&rig, "192.0.2.1", script);
        rig_send(&rig, site, &cases[i].job);
        rig_run(&rig);
        CHECK_U64(rig.result_count, 1);
        CHECK_RESULT(
                rig_result(&rig, 0), SPOOL_RESULT_BOUNCED, cases[i].scope, 0, cases[i].enhanced);
        CHECK_U64(rig.attempt_count, 0);
        site_give(site);
        rig_close(&rig);
    }
}

TEST(one_address_that_cannot_be_sent_does_not_hold_up_the_others)
{
    struct rig rig;
    rig_open(&rig, NULL);
    struct site *site = rig_site("10 mx.example 192.0.2.1");
    rig_peer(&rig, "192.0.2.1", GREET ENVELOPE TAKEN);
    struct rig_job job = { .rcpts = "j\xc3\xb6rg@x b@in.example", NO_SOURCE };
    rig_send(&rig, site, &job);
    rig_run(&rig);
    CHECK_U64(rig_results_of(&rig, SPOOL_RESULT_BOUNCED), 1);
    CHECK_U64(rig_results_of(&rig, SPOOL_RESULT_DELIVERED), 1);
    CHECK_U64(rig_result(&rig, 1)->rcpt[0], 1);
    site_give(site);
    rig_close(&rig);
}

TEST(eight_bit_content_is_declared)
{
    struct rig rig;
    rig_open(&rig, NULL);
    struct site *site = rig_site("10 mx.example 192.0.2.1");
    rig_peer(&rig, "192.0.2.1", GREET "C: MAIL FROM:<> SIZE=18 BODY=8BITMIME\n");
    struct rig_job job = { .rcpts = "b@x", .sender = "", .is_8bit = true, NO_SOURCE };
    rig_send(&rig, site, &job);
    rig_run(&rig);
    CHECK(rig_has(rig_str(&rig.said), "MAIL FROM:<> SIZE=18 BODY=8BITMIME\r\n"));
    site_give(site);
    rig_close(&rig);
}

/* ---- stopping ---- */

TEST(stopping_gives_back_what_waits_and_lets_transactions_end)
{
    struct rig rig;
    rig_open(&rig, "hostname = \"out.example\"\nsite-connection-max = 1\n");
    struct site *site = rig_site("10 mx.example 192.0.2.1");
    rig.keeper_mode = RIG_KEEPER_HOLDS;
    rig_peer(&rig, "192.0.2.1", GREET ENVELOPE TAKEN BYE);
    rig_send(&rig, site, &one);
    rig_send(&rig, site, &one);
    rig_run(&rig);
    deliver_stop(rig.deliver);
    rig_send(&rig, site, &one);
    rig_run(&rig);
    CHECK_U64(rig.result_count, 2);
    CHECK(rig_result(&rig, 0)->is_untried && rig_result(&rig, 1)->is_untried);
    rig_keeper_answer(&rig);
    CHECK_U64(rig_results_of(&rig, SPOOL_RESULT_DELIVERED), 1);
    CHECK(deliver_is_idle(rig.deliver));
    site_give(site);
    rig_close(&rig);
}

TEST(transactions_that_do_not_end_are_cut_when_stopping)
{
    static const struct {
        const char *script;
        enum spool_result result;
    } cases[] = {
        { GREET ENVELOPE "D:\n", SPOOL_RESULT_IN_DOUBT },
        { GREET "C: MAIL*\n", SPOOL_RESULT_DEFERRED },
        { "S: 220 x\n", SPOOL_RESULT_DEFERRED },
        { "SILENT", SPOOL_RESULT_DEFERRED },
    };
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        struct rig rig;
        rig_open(&rig, NULL);
        one_job(&rig, cases[i].script);
        deliver_stop(rig.deliver);
        deliver_stop(rig.deliver);
        rig_advance(&rig, DELIVER_STOP_MS_MAX);
        CHECK_U64(rig.result_count, 1);
        CHECK_U64(rig_result(&rig, 0)->result, cases[i].result);
        CHECK_U64(rig_result(&rig, 0)->is_untried, i >= 2);
        CHECK(deliver_is_idle(rig.deliver));
        rig_close(&rig);
    }
}

TEST(freeing_reports_what_was_running)
{
    struct rig rig;
    rig_open(&rig, NULL);
    one_job(&rig, GREET ENVELOPE "D:\n");
    CHECK_U64(rig.result_count, 0);
    rig_close(&rig);
    CHECK_U64(rig.result_count, 1);
}

/* ---- memory ---- */

/* A connection that fails anywhere may cost the job a retry, never the job; and whom the peer may
 * have taken is not called deferred. */
TEST(no_job_is_lost_whichever_allocation_fails)
{
    for (uint64_t nth = 1; nth < 60; nth++) {
        struct rig rig;
        rig_open(&rig, NULL);
        struct site *site = rig_site("10 mx.example 192.0.2.1");
        rig_peer(&rig, "192.0.2.1",
                GREET "C: MAIL*\nC: RCPT TO:<a@x>\nC: RCPT TO:<b@x>\nC: DATA\n"
                      "S: 250 ok\nS: 550 5.1.1 no\nS: 250 ok\nS: 354 go\n" TAKEN);
        struct rig_job job = { .rcpts = "a@x b@x", NO_SOURCE };
        rig_send(&rig, site, &job);
        mem_fail_at(nth);
        rig_run(&rig);
        mem_fail_at(0);
        rig_advance(&rig, 2000);
        CHECK(rig.result_count > 0, "allocation %d", (int)nth);
        uint32_t rcpts = 0;
        for (uint32_t i = 0; i < rig.result_count; i++) {
            rcpts += rig.result[i]->outcome.rcpt_count;
            bool has_taken = rig.result[i]->rcpt[rig.result[i]->outcome.rcpt_count - 1] == 1;
            enum spool_result wrong = has_taken ? SPOOL_RESULT_DEFERRED : SPOOL_RESULT_DELIVERED;
            CHECK(rig.content.len == 0 || rig.result[i]->result != wrong, "allocation %d",
                    (int)nth);
        }
        CHECK(rcpts == 2, "allocation %d: %u", (int)nth, rcpts);
        CHECK(rig.result[rig.result_count - 1]->is_last);
        site_give(site);
        rig_close(&rig);
    }
}
