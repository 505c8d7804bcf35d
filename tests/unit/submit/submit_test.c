/* SPDX-License-Identifier: Apache-2.0
 *
 * submit_test.c - whole dialogues of a loop's sessions, with the numbers of the hostile input that
 * they answer. The engine's own cases are in the tests of proto; here is what the session adds.
 */
#include "core/b64.h"
#include "core/str.h"
#include "submit/submit.h"
#include "tests/unit/submit/rig.h"

#define HELLO                                                                                      \
    "S: 220 mail.example.com ESMTP Outpost\n"                                                      \
    "C: EHLO app.example.com\n"                                                                    \
    "S: 250-mail.example.com\n"                                                                    \
    "S: 250-PIPELINING\n"                                                                          \
    "S: 250-SIZE 4194304\n"                                                                        \
    "S: 250-ENHANCEDSTATUSCODES\n"                                                                 \
    "S: 250 8BITMIME\n"
#define HELLO_AUTH                                                                                 \
    "S: 220 mail.example.com ESMTP Outpost\n"                                                      \
    "C: EHLO app.example.com\n"                                                                    \
    "S: 250-mail.example.com\n"                                                                    \
    "S: 250-PIPELINING\n"                                                                          \
    "S: 250-SIZE 4194304\n"                                                                        \
    "S: 250-AUTH PLAIN LOGIN\n"                                                                    \
    "S: 250-ENHANCEDSTATUSCODES\n"                                                                 \
    "S: 250 8BITMIME\n"
#define MESSAGE                                                                                    \
    "C: DATA\n"                                                                                    \
    "S: 354 End data with <CR><LF>.<CR><LF>\n"                                                     \
    "C: From: a@example.com\n"                                                                     \
    "C: Date: Tue, 25 Nov 2025 12:00:00 +0000\n"                                                   \
    "C: Message-ID: <1@x>\n"                                                                       \
    "C: \n"                                                                                        \
    "C: ..dots\n"                                                                                  \
    "C: .\n"
#define ENVELOPE                                                                                   \
    "C: MAIL FROM:<a@example.com>\n"                                                               \
    "C: RCPT TO:<b@example.net>\n"                                                                 \
    "S: 250 2.1.0 Ok\n"                                                                            \
    "S: 250 2.1.5 Ok\n"
/* \0shop\0secret and \0shop\0wrong */
#define LOGIN "C: AUTH PLAIN AHNob3AAc2VjcmV0\nS: 235 2.7.0 Authentication successful\n"
#define BAD_LOGIN "C: AUTH PLAIN AHNob3AAd3Jvbmc=\nS: 535 5.7.8 Error: authentication failed\n"

#define CLIENT "10.0.0.1:4000"
#define STRANGER "192.0.2.66:4000"
#define LOOPBACK "127.0.0.1:4000"

TEST(a_message_is_queued_when_the_keeper_says_so)
{
    struct rig rig;
    rig_open(&rig, "");
    rig_talk(&rig, RIG_LOCAL, CLIENT,
            HELLO ENVELOPE MESSAGE "S: 250 2.0.0 Ok: queued as 01*\nC: QUIT\nS: 221 2.0.0 Bye\n"
                                   "CLOSED\n");
    CHECK_U64(rig.kept_count, 1);
    CHECK(str_starts(
            buf_str(&rig.content), STR("Received: from app.example.com ([10.0.0.1])\r\n"
                                       "\tby mail.example.com (Outpost) with ESMTP\r\n\tid 01")));
    CHECK(str_ends_nocase(buf_str(&rig.content),
            STR("From: a@example.com\r\nDate: Tue, 25 Nov 2025 12:00:00 +0000\r\n"
                "Message-ID: <1@x>\r\n\r\n.dots\r\n")));
    CHECK_STR(buf_str(&rig.envelope),
            STR("from=<a@example.com> credential= stream=transactional\nto=<b@example.net>\n"));
    CHECK(submit_is_idle(rig.submit));
    rig_done(&rig);
}

/* The keeper lets no client wait longer than it should (faults 32), also where its letter lay in
 * the box meanwhile. */
TEST(f32_the_keeper_is_told_since_when_the_client_waits)
{
    struct rig rig;
    rig_open(&rig, "");
    rig.is_keeper_slow = true;
    struct pipe_conn *conn = rig_connect(&rig, RIG_LOCAL, CLIENT);
    rig_play(&rig, conn, HELLO ENVELOPE MESSAGE);
    struct mono then = rig.clock.mono;
    rig_pass(&rig, 200000);
    rig_answer(&rig);
    CHECK_U64(rig.asked_at.ms, then.ms);
    rig_play(&rig, conn, "S: 250 2.0.0*\n");
    rig_done(&rig);
}

TEST(nothing_is_said_before_the_keeper_answered_and_what_was_pipelined_waits)
{
    struct rig rig;
    rig_open(&rig, "");
    struct pipe_conn *conn = rig_connect(&rig, RIG_LOCAL, CLIENT);
    rig_play(&rig, conn, HELLO ENVELOPE "C: DATA\nS: 354*\n");
    rig.is_keeper_slow = true;
    rig_play(&rig, conn,
            "C: From: a@example.com\nC:\nC: .\nC: NOOP\nC: MAIL FROM:<c@example.com>\nOPEN\n");
    CHECK_U64(mailbox_count(&rig.keeper), 1);
    rig.is_keeper_slow = false;
    rig_play(&rig, conn, "S: 250 2.0.0 Ok: queued as *\nS: 250 2.0.0 Ok\nS: 250 2.1.0 Ok\nOPEN\n");
    rig_done(&rig);
}

TEST(replies_of_one_round_leave_in_one_write)
{
    struct rig rig;
    rig_open(&rig, "");
    struct pipe_conn *conn = rig_connect(&rig, RIG_LOCAL, CLIENT);
    rig_play(&rig, conn, HELLO);
    uint32_t before = conn->write_count;
    rig_play(&rig, conn,
            "C: MAIL FROM:<a@example.com>\nC: RCPT TO:<b@example.net>\n"
            "C: RCPT TO:<c@example.net>\nC: DATA\n");
    CHECK_U64(conn->write_count, before + 1);
    rig_play(&rig, conn, "S: 250 2.1.0 Ok\nS: 250 2.1.5 Ok\nS: 250 2.1.5 Ok\nS: 354*\n");
    rig_done(&rig);
}

TEST(a_refusing_keeper_is_told_to_the_client)
{
    static const struct {
        enum err err;
        const char *reply;
    } rows[] = {
        { E_NO_SPACE, "S: 452 4.3.1 Insufficient system storage\n" },
        { E_NOMEM, "S: 452 4.3.1 Insufficient system storage\n" },
        { E_IO, "S: 451 4.3.0 Error: queue file write error\n" },
        { E_TOO_BIG, "S: 552 5.3.4 Error: message file too big\n" },
        { E_CLOSED, "CLOSED\n" },
    };
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        struct rig rig;
        rig_open(&rig, "");
        rig.keeper_err = rows[i].err;
        struct pipe_conn *conn = rig_connect(&rig, RIG_LOCAL, CLIENT);
        rig_play(&rig, conn, HELLO ENVELOPE MESSAGE);
        rig_play(&rig, conn, rows[i].reply);
        if (rows[i].err != E_CLOSED) {
            rig.keeper_err = OK; /* the session goes on */
            rig_play(&rig, conn, ENVELOPE MESSAGE "S: 250 2.0.0 Ok: queued as *\n");
        }
        rig_done(&rig);
    }
}

TEST(a_full_or_closed_mailbox_of_the_keeper_is_told_to_the_client)
{
    struct rig rig;
    rig_open(&rig, "");
    rig.keeper.count_max = 0;
    rig_talk(&rig, RIG_LOCAL, CLIENT, HELLO ENVELOPE MESSAGE "S: 452 4.3.1*\nOPEN\n");
    mailbox_close(&rig.keeper);
    rig_talk(&rig, RIG_LOCAL, CLIENT, HELLO ENVELOPE MESSAGE "S: 421 4.3.2*\nCLOSED\n");
    rig_done(&rig);
}

TEST(f48_a_client_that_left_before_the_answer_does_no_harm)
{
    struct rig rig;
    rig_open(&rig, "");
    for (int how = 0; how < 2; how++) {
        struct pipe_conn *conn = rig_connect(&rig, RIG_LOCAL, CLIENT);
        rig_play(&rig, conn, HELLO ENVELOPE "C: DATA\nS: 354*\n");
        rig.is_keeper_slow = true;
        rig_play(&rig, conn, "C: From: a@example.com\nC:\nC: .\n");
        if (how == 0) {
            pipe_end(conn);
        } else {
            pipe_reset(conn);
        }
        rig.is_keeper_slow = false;
        rig_answer(&rig);
        CHECK(conn->is_closed);
    }
    CHECK_U64(rig.kept_count, 2);
    CHECK(submit_is_idle(rig.submit));
    rig_done(&rig);
}

TEST(f48_clients_cut_off_at_any_byte_leave_nothing_behind)
{
    static const char text[] = "EHLO x\r\nMAIL FROM:<a@example.com>\r\nRCPT TO:<b@example.net>\r\n"
                               "DATA\r\nFrom: a@example.com\r\n\r\nx\r\n.\r\n";
    struct rig rig;
    rig_open(&rig, "");
    for (size_t cut = 0; cut < sizeof text - 1; cut++) {
        struct pipe_conn *conn = rig_connect(&rig, RIG_LOCAL, CLIENT);
        for (size_t i = 0; i < cut; i++) {
            pipe_send(conn, str_of(text + i, 1));
        }
        pipe_end(conn);
        CHECK(conn->is_closed, "cut at %zu", cut);
    }
    CHECK_U64(rig.kept_count, 0);
    CHECK(submit_is_idle(rig.submit));
    CHECK_U64(rig.budget.used_bytes, 0);
    rig_done(&rig);
}

/* ---- who may send to whom ------------------------------------------------------------------- */

TEST(b1_a_stranger_may_send_to_nobody)
{
    struct rig rig;
    rig_open(&rig, "");
    rig_talk(&rig, RIG_LOCAL, STRANGER,
            HELLO "C: MAIL FROM:<a@example.com>\nC: RCPT TO:<b@example.net>\n"
                  "C: RCPT TO:<@here.example,@there.example:c@example.net>\n"
                  "C: RCPT TO:<c%example.net@mail.example.com>\nC: RCPT TO:<a@b@c>\nC: DATA\n"
                  "S: 250 2.1.0 Ok\nS: 550 5.7.1 <b@example.net>: Relay access denied\n"
                  "S: 550 5.7.1*\nS: 550 5.7.1*\nS: 501 5.1.3*\n"
                  "S: 554 5.5.1 Error: no valid recipients\n");
    CHECK(str_starts(buf_str(&rig.refusals),
            STR("550 5.7.1 <b@example.net>: Relay access denied from=<a@example.com> "
                "to=<b@example.net>\n")));
    CHECK_U64(rig.refusal_count, 4);
    rig_done(&rig);
}

TEST(b1_submission_asks_for_a_login_first)
{
    struct rig rig;
    rig_open(&rig, "");
    rig_talk(&rig, RIG_SUBMISSION, LOOPBACK,
            HELLO_AUTH
            "C: MAIL FROM:<a@example.com>\nS: 530 5.7.0 Authentication required\n" LOGIN ENVELOPE
                    MESSAGE "S: 250 2.0.0*\n");
    CHECK_STR(buf_str(&rig.envelope),
            STR("from=<a@example.com> credential=shop stream=transactional\nto=<b@example.net>\n"));
    rig_done(&rig);
}

TEST(b2_b3_only_networks_and_logins_count_and_no_password_travels_in_the_clear)
{
    struct rig rig;
    rig_open(&rig, "");
    rig_talk(&rig, RIG_OPTIONAL, "10.9.1.1:5", HELLO ENVELOPE MESSAGE "S: 250 2.0.0*\n");
    rig_talk(&rig, RIG_OPTIONAL, LOOPBACK,
            HELLO_AUTH "C: MAIL FROM:<a@example.com>\nC: RCPT TO:<b@example.net>\n"
                       "S: 250 2.1.0 Ok\nS: 550 5.7.1*\n");
    rig_talk(
            &rig, RIG_OPTIONAL, STRANGER, HELLO "C: AUTH PLAIN AHNob3AAc2VjcmV0\nS: 538 5.7.11*\n");
    rig_talk(&rig, RIG_LOCAL, "[::ffff:10.0.0.1]:7", HELLO ENVELOPE);
    rig_done(&rig);
}

TEST(b6_a_credential_speaks_for_its_domains_only)
{
    struct rig rig;
    rig_open(&rig, "");
    rig_talk(&rig, RIG_SUBMISSION, LOOPBACK,
            HELLO_AUTH LOGIN "C: MAIL FROM:<a@evil.example>\n"
                             "S: 553 5.7.1 <a@evil.example>: Sender address rejected: not owned by "
                             "user shop\n" ENVELOPE "C: DATA\nS: 354*\nC: From: a@evil.example\n"
                             "C:\nC: .\nS: 550 5.7.1*\n" ENVELOPE MESSAGE "S: 250*\n");
    CHECK_U64(rig.refusal_count, 2);
    rig_done(&rig);
}

TEST(b4_wrong_passwords_and_unknown_users_get_the_same_answer_three_times)
{
    struct rig rig;
    rig_open(&rig, "");
    rig_talk(&rig, RIG_SUBMISSION, LOOPBACK,
            HELLO_AUTH BAD_LOGIN
            /* \0nobody\0secret */
            "C: AUTH PLAIN AG5vYm9keQBzZWNyZXQ=\nS: 535 5.7.8 Error: authentication failed\n"
            "C: AUTH LOGIN\nS: 334 VXNlcm5hbWU6\nC: c2hvcA==\nS: 334 UGFzc3dvcmQ6\nC: eA==\n"
            "S: 535 5.7.8 Error: authentication failed\n"
            "S: 421 4.7.0*\nCLOSED\n");
    struct submit_stats stats;
    submit_get_stats(rig.submit, &stats);
    CHECK_U64(stats.auth_failed, 3);
    CHECK_U64(rig.verified_count, 3);
    CHECK(str_find(buf_str(&rig.log_text), STR("login as \"shop\" from 127.0.0.1 failed")) <
            rig.log_text.len);
    rig_done(&rig);
}

TEST(b4_guessing_is_limited_before_the_hash_and_gets_better_with_time)
{
    struct rig rig;
    rig_open(&rig, "");
    for (int i = 0; i < SUBMIT_FAILURE_BURST_IP; i++) {
        rig_talk(&rig, RIG_SUBMISSION, LOOPBACK, HELLO_AUTH BAD_LOGIN "C: QUIT\nS: 221*\n");
    }
    CHECK_U64(rig.verified_count, SUBMIT_FAILURE_BURST_IP);
    rig_talk(&rig, RIG_SUBMISSION, LOOPBACK,
            HELLO_AUTH "C: AUTH PLAIN AHNob3AAc2VjcmV0\nS: 421 4.7.0*\nCLOSED\n");
    rig_talk(&rig, RIG_SUBMISSION, "127.0.0.2:9", HELLO_AUTH LOGIN);
    /* the login that is known now passes from there too: no hash, no limit */
    rig_talk(&rig, RIG_SUBMISSION, LOOPBACK, HELLO_AUTH LOGIN);
    CHECK_U64(rig.verified_count, SUBMIT_FAILURE_BURST_IP + 1);
    submit_shared_forget(rig.shared);
    rig_talk(&rig, RIG_SUBMISSION, LOOPBACK,
            HELLO_AUTH "C: AUTH PLAIN AHNob3AAc2VjcmV0\nS: 421 4.7.0*\nCLOSED\n");
    rig_pass(&rig, SUBMIT_FAILURE_MS_IP);
    rig_talk(&rig, RIG_SUBMISSION, LOOPBACK, HELLO_AUTH LOGIN);
    rig_done(&rig);
}

TEST(a_login_is_hashed_once_in_five_minutes)
{
    struct rig rig;
    rig_open(&rig, "");
    for (int i = 0; i < 5; i++) {
        rig_talk(&rig, RIG_SUBMISSION, LOOPBACK, HELLO_AUTH LOGIN "C: QUIT\nS: 221*\n");
    }
    CHECK_U64(rig.verified_count, 1);
    rig_talk(&rig, RIG_SUBMISSION, LOOPBACK, HELLO_AUTH BAD_LOGIN);
    CHECK_U64(rig.verified_count, 2);
    rig_pass(&rig, SUBMIT_LOGIN_MS + 1);
    rig_talk(&rig, RIG_SUBMISSION, LOOPBACK, HELLO_AUTH LOGIN);
    CHECK_U64(rig.verified_count, 3);
    submit_shared_forget(rig.shared);
    rig_talk(&rig, RIG_SUBMISSION, LOOPBACK, HELLO_AUTH LOGIN);
    CHECK_U64(rig.verified_count, 4);
    rig_done(&rig);
}

TEST(sessions_that_log_in_at_once_share_one_hash)
{
    struct rig rig;
    struct pipe_conn *conn[5];
    rig_open(&rig, "");
    rig.is_keeper_slow = true;
    for (size_t i = 0; i < COUNT_OF(conn); i++) {
        conn[i] = rig_connect(&rig, RIG_SUBMISSION, LOOPBACK);
        rig_play(&rig, conn[i], HELLO_AUTH "C: AUTH PLAIN AHNob3AAc2VjcmV0\nOPEN\n");
    }
    /* a worker that knows the login does not hash: the hash of another password would fail */
    struct letter *letter = mailbox_take_all(&rig.workers);
    struct submit_auth *first = CONTAINER_OF(letter, struct submit_auth, letter);
    struct submit_auth *second = CONTAINER_OF(letter->next, struct submit_auth, letter);
    submit_auth_run(first);
    submit_auth_run(second);
    CHECK(first->is_good && second->is_good);
    while (letter) {
        struct letter *next = letter->next;
        CHECK_ERR(mailbox_send(&rig.workers, letter), OK);
        letter = next;
    }
    rig.is_keeper_slow = false;
    for (size_t i = 0; i < COUNT_OF(conn); i++) {
        rig_play(&rig, conn[i], "S: 235 2.7.0*\nOPEN\n");
    }
    rig_done(&rig);
}

TEST(a_client_without_esmtp_is_served)
{
    struct rig rig;
    rig_open(&rig, "");
    rig_talk(&rig, RIG_LOCAL, CLIENT,
            "S: 220 *\nC: HELO old.example\nS: 250 mail.example.com\n" ENVELOPE MESSAGE
            "S: 250 2.0.0*\n");
    CHECK(str_find(buf_str(&rig.content), STR("with SMTP\r\n")) < rig.content.len);
    rig_done(&rig);
}

TEST(b4_workers_that_take_no_more_are_a_temporary_failure)
{
    struct rig rig;
    rig_open(&rig, "");
    rig.workers.count_max = 0;
    rig_talk(&rig, RIG_SUBMISSION, LOOPBACK,
            HELLO_AUTH "C: AUTH PLAIN AHNob3AAc2VjcmV0\nS: 454 4.7.0*\nOPEN\n");
    rig_done(&rig);
}

TEST(b5_broken_logins_get_their_answers)
{
    struct rig rig;
    rig_open(&rig, "");
    rig_talk(&rig, RIG_SUBMISSION, LOOPBACK,
            HELLO_AUTH "C: AUTH PLAIN !!!\nS: 501 5.5.2*\n"
                       "C: AUTH PLAIN\nS: 334 \nC: *\nS: 501 5.5.2*\n"
                       "C: AUTH CRAM-MD5\nS: 504 5.5.4*\n"
                       "C: AUTH PLAIN c2hvcABzZWNyZXQ=\nS: 535 5.7.8*\n" LOGIN
                       "C: AUTH PLAIN AHNob3AAc2VjcmV0\nS: 503 5.5.1*\n");
    rig_done(&rig);
}

TEST(an_answer_for_a_session_that_is_gone_is_thrown_away)
{
    struct rig rig;
    rig_open(&rig, "");
    rig.is_keeper_slow = true;
    struct pipe_conn *conn = rig_connect(&rig, RIG_SUBMISSION, LOOPBACK);
    rig_play(&rig, conn, HELLO_AUTH "C: AUTH PLAIN AHNob3AAc2VjcmV0\n");
    CHECK_U64(mailbox_count(&rig.workers), 1);
    submit_free(rig.submit);
    CHECK(conn->is_closed);
    struct letter *letter = mailbox_take_all(&rig.workers);
    submit_auth_free(CONTAINER_OF(letter, struct submit_auth, letter));
    rig.submit = NULL;
    rig_done(&rig);
}

/* ---- TLS ------------------------------------------------------------------------------------ */

/* A certificate is of no use to a net without TLS: any context will do. */
static void fake_tls(struct rig *rig, uint32_t index, enum config_tls tls)
{
    static int something;
    rig->config->listen[index].tls = tls;
    rig->config->listen[index].is_tls_required = tls == CONFIG_TLS_STARTTLS;
    rig->config->listen[index].is_auth_in_clear = false;
    rig->config->listen[index].tls_context = (struct tls_context *)(void *)&something;
    submit_config(rig->submit, rig->config);
}

static void unfake_tls(struct rig *rig)
{
    for (uint32_t i = 0; i < rig->config->listen_count; i++) {
        rig->config->listen[i].tls_context = NULL;
    }
}

#define HELLO_STARTTLS                                                                             \
    "S: 220 mail.example.com ESMTP Outpost\nC: EHLO a\nS: 250-*\nS: 250-*\nS: 250-*\n"             \
    "S: 250-STARTTLS\nS: 250-*\nS: 250 *\n"
#define HELLO_IN_TLS                                                                               \
    "C: EHLO app.example.com\nS: 250-mail.example.com\nS: 250-PIPELINING\nS: 250-SIZE 4194304\n"   \
    "S: 250-AUTH PLAIN LOGIN\nS: 250-ENHANCEDSTATUSCODES\nS: 250 8BITMIME\n"

TEST(starttls_comes_first_where_it_is_required_and_all_is_forgotten_after_it)
{
    struct rig rig;
    rig_open(&rig, "");
    fake_tls(&rig, 1, CONFIG_TLS_STARTTLS);
    rig_talk(&rig, RIG_SUBMISSION, STRANGER,
            HELLO_STARTTLS
            "C: MAIL FROM:<a@example.com>\nS: 530 5.7.0 Must issue a STARTTLS command first\n"
            "C: STARTTLS\nS: 220 2.0.0 Ready to start TLS\nTLS\nOPEN\n"
            "C: MAIL FROM:<a@example.com>\nS: 503 5.5.1*\n" HELLO_IN_TLS
            "C: STARTTLS\nS: 503 5.5.1*\n" LOGIN ENVELOPE MESSAGE "S: 250*\n");
    CHECK(str_find(buf_str(&rig.content), STR("with ESMTPSA\r\n\t(using TLSv1.3 with cipher "
                                              "TLS_AES_256_GCM_SHA384 (256 bits))\r\n")) <
            rig.content.len);
    unfake_tls(&rig);
    rig_done(&rig);
}

TEST(a6_bytes_behind_starttls_end_the_session_without_a_handshake)
{
    struct rig rig;
    rig_open(&rig, "");
    fake_tls(&rig, 1, CONFIG_TLS_STARTTLS);
    struct pipe_conn *conn = rig_connect(&rig, RIG_SUBMISSION, STRANGER);
    rig_play(&rig, conn, HELLO_STARTTLS "C: STARTTLS\nC: RSET\nS: 554 5.5.0*\nCLOSED\n");
    CHECK(!conn->is_handshaking);
    unfake_tls(&rig);
    rig_done(&rig);
}

TEST(a6_a_handshake_that_fails_or_takes_30_s_ends_the_session)
{
    struct rig rig;
    rig_open(&rig, "");
    fake_tls(&rig, 1, CONFIG_TLS_STARTTLS);
    struct pipe_conn *conn = rig_connect(&rig, RIG_SUBMISSION, STRANGER);
    rig_play(&rig, conn, HELLO_STARTTLS "C: STARTTLS\nS: 220*\nTIME 29s\nOPEN\nTIME 2s\nCLOSED\n");
    conn = rig_connect(&rig, RIG_SUBMISSION, STRANGER);
    rig_play(&rig, conn, HELLO_STARTTLS "C: STARTTLS\nS: 220*\n");
    pipe_tls(conn, false);
    CHECK(conn->is_closed);
    unfake_tls(&rig);
    rig_done(&rig);
}

TEST(a_listener_with_implicit_tls_greets_behind_the_handshake)
{
    struct rig rig;
    rig_open(&rig, "");
    fake_tls(&rig, 1, CONFIG_TLS_IMPLICIT);
    rig_talk(&rig, RIG_SUBMISSION, STRANGER,
            "OPEN\nTLS\nS: 220 mail.example.com ESMTP Outpost\n" HELLO_IN_TLS LOGIN ENVELOPE);
    struct pipe_conn *conn = rig_connect(&rig, RIG_SUBMISSION, STRANGER);
    rig_play(&rig, conn, "TIME 31s\nCLOSED\n");
    conn = rig_connect(&rig, RIG_SUBMISSION, STRANGER);
    submit_stop(rig.submit);
    CHECK(conn->is_closed);
    unfake_tls(&rig);
    rig_done(&rig);
}

/* ---- limits --------------------------------------------------------------------------------- */

TEST(a10_who_talks_before_the_greeting_is_turned_away)
{
    struct rig rig;
    rig_open(&rig, "");
    struct pipe_conn *conn =
            pipe_connect_early(&rig.net, STR(RIG_LOCAL), STR(CLIENT), STR("EHLO x\r\n"));
    rig_play(&rig, conn, "S: 220 *\nS: 554 5.5.0*\nCLOSED\n");
    rig_done(&rig);
}

TEST(a18_a_command_has_an_absolute_deadline)
{
    struct rig rig;
    rig_open(&rig, "");
    struct pipe_conn *conn = rig_connect(&rig, RIG_LOCAL, CLIENT);
    rig_play(&rig, conn, HELLO);
    for (int i = 0; i < 29; i++) { /* a byte each ten seconds helps nobody */
        rig_pass(&rig, 10000);
        pipe_send(conn, STR("N"));
    }
    rig_play(&rig, conn,
            "OPEN\nTIME 10s\nS: 421 4.4.2 mail.example.com Error: timeout exceeded\nCLOSED\n");
    rig_talk(&rig, RIG_LOCAL, CLIENT, HELLO "TIME 299s\nC: NOOP\nS: 250*\nTIME 299s\nOPEN\n");
    rig_done(&rig);
}

TEST(a18_under_load_commands_get_ten_seconds)
{
    struct rig rig;
    rig_open(&rig, "connection-count-max = 10\n");
    struct pipe_conn *conn = rig_connect(&rig, RIG_LOCAL, CLIENT);
    rig_play(&rig, conn, HELLO "TIME 20s\nOPEN\n");
    for (int i = 0; i < 8; i++) {
        rig_connect(&rig, RIG_LOCAL, CLIENT);
    }
    rig_play(&rig, conn, "TIME 1s\nS: 421 4.4.2*\nCLOSED\n");
    rig_done(&rig);
}

TEST(a18_content_slower_than_500_bytes_a_second_is_given_up)
{
    struct rig rig;
    rig_open(&rig, "");
    struct pipe_conn *conn = rig_connect(&rig, RIG_LOCAL, CLIENT);
    rig_play(&rig, conn, HELLO ENVELOPE "C: DATA\nS: 354*\nC: From: a@example.com\nC:\n");
    int seconds = 0;
    while (!conn->is_closed && seconds < 200) {
        rig_pass(&rig, 1000);
        pipe_send(conn, STR("x\r\n"));
        seconds++;
    }
    CHECK(seconds >= 30 && seconds < 40, "%d", seconds);
    rig_play(&rig, conn, "S: 421 4.4.2*\nCLOSED\n");
    /* fast enough: lives until the time of a message is up */
    conn = rig_connect(&rig, RIG_LOCAL, CLIENT);
    rig_play(&rig, conn, HELLO ENVELOPE "C: DATA\nS: 354*\nC: From: a@example.com\nC:\n");
    char line[610];
    memset(line, 'x', sizeof line);
    memcpy(line + 608, "\r\n", 2);
    for (seconds = 0; !conn->is_closed && seconds < 3000; seconds++) {
        rig_pass(&rig, 1000);
        pipe_send(conn, str_of(line, sizeof line));
    }
    CHECK(seconds >= 1799 && seconds <= 1801, "%d", seconds);
    rig_done(&rig);
}

TEST(a18_connections_are_limited_in_all_per_address_and_per_64)
{
    struct rig rig;
    rig_open(&rig, "connection-count-max = 8\nconnection-per-ip-max = 3\n"
                   "connection-per-net-max = 4\n");
    struct pipe_conn *first = rig_connect(&rig, RIG_LOCAL, CLIENT);
    rig_connect(&rig, RIG_LOCAL, CLIENT);
    rig_connect(&rig, RIG_LOCAL, CLIENT);
    rig_talk(&rig, RIG_LOCAL, CLIENT,
            "S: 421 4.7.0 mail.example.com Error: too many connections from 10.0.0.1\nCLOSED\n");
    rig_play(&rig, first, HELLO "C: QUIT\nS: 221*\nCLOSED\n");
    rig_talk(&rig, RIG_LOCAL, CLIENT, "S: 220 *\nOPEN\n");
    rig_talk(&rig, RIG_LOCAL, "[2001:db8:0:1::1]:1", "S: 220 *\nOPEN\n");
    rig_talk(&rig, RIG_LOCAL, "[2001:db8:0:1::2]:1", "S: 220 *\nOPEN\n");
    rig_talk(&rig, RIG_LOCAL, "[2001:db8:0:1::3]:1", "S: 220 *\nOPEN\n");
    rig_talk(&rig, RIG_LOCAL, "[2001:db8:0:1::4]:1", "S: 220 *\nOPEN\n");
    rig_talk(&rig, RIG_LOCAL, "[2001:db8:0:1::5]:1", "S: 421 4.7.0*\nCLOSED\n");
    rig_talk(&rig, RIG_LOCAL, "[2001:db8:0:2::5]:1", "S: 220*\nOPEN\n");
    rig_talk(&rig, RIG_LOCAL, "10.0.0.2:5", "S: 421 4.7.0*\nCLOSED\n");
    rig_done(&rig);
}

TEST(memory_under_pressure_and_a_refusing_spool_are_a_452_at_mail)
{
    struct rig rig;
    rig_open(&rig, "");
    submit_refuse(rig.submit, true);
    struct pipe_conn *conn = rig_connect(&rig, RIG_LOCAL, CLIENT);
    rig_play(&rig, conn,
            HELLO "C: MAIL FROM:<a@example.com>\nS: 452 4.3.1 Insufficient system storage\n");
    submit_refuse(rig.submit, false);
    rig.budget.used_bytes = rig.budget.max_bytes;
    rig_play(&rig, conn,
            "C: MAIL FROM:<a@example.com>\nS: 452 4.3.1 Insufficient system resources\n");
    rig.budget.used_bytes = 0;
    rig_play(&rig, conn, ENVELOPE MESSAGE "S: 250*\n");
    rig_done(&rig);
}

TEST(a_client_that_reads_no_replies_is_read_no_more)
{
    struct rig rig;
    rig_open(&rig, "");
    struct pipe_conn *conn = rig_connect(&rig, RIG_LOCAL, CLIENT);
    rig_play(&rig, conn, HELLO);
    conn->write_room = 10;
    for (int i = 0; i < 1000; i++) {
        pipe_send(conn, STR("BOGUS\r\n"));
    }
    CHECK(!conn->is_closed);
    CHECK(conn->in.len > 6000, "%zu bytes unread", conn->in.len);
    CHECK_U64(conn->wants, NET_WANT_WRITE);
    buf_clear(&conn->out);
    pipe_make_room(conn, SIZE_MAX); /* now it hears that it made too many errors */
    CHECK(conn->is_closed);
    CHECK(str_find(buf_str(&conn->out), STR("421 4.7.0")) < conn->out.len);
    conn = rig_connect(&rig, RIG_LOCAL, CLIENT);
    rig_play(&rig, conn, HELLO);
    conn->write_room = 0;
    rig_play(&rig, conn, "C: QUIT\nTIME 9s\nOPEN\nTIME 2s\nCLOSED\n");
    CHECK(conn->was_aborted);
    rig_done(&rig);
}

TEST(any_split_of_what_a_client_says_gives_the_same_answers)
{
    static const char text[] = "MAIL FROM:<a@example.com>\r\nRCPT TO:<b@example.net>\r\n"
                               "RCPT TO:<bad>\r\nNOOP\r\nRSET\r\nBOGUS\r\nMAIL FROM:<>\r\n";
    struct rig rig;
    rig_open(&rig, "");
    for (size_t part = 1; part < sizeof text; part++) {
        struct pipe_conn *conn = rig_connect(&rig, RIG_LOCAL, CLIENT);
        rig_play(&rig, conn, HELLO);
        for (size_t at = 0; at < sizeof text - 1; at += part) {
            pipe_send(conn, str_sub(str_of(text, sizeof text - 1), at, part));
        }
        rig_play(&rig, conn,
                "S: 250 2.1.0 Ok\nS: 250 2.1.5 Ok\nS: 501 5.1.3*\nS: 250 2.0.0 Ok\n"
                "S: 250 2.0.0 Ok\nS: 500 5.5.2*\nS: 250 2.1.0 Ok\nC: QUIT\nS: 221*\nCLOSED\n");
    }
    rig_done(&rig);
}

TEST(refusals_told_to_the_history_are_bounded)
{
    struct rig rig;
    rig_open(&rig, "");
    struct pipe_conn *conn = NULL;
    for (int i = 0; i < 300; i++) {
        if (i % 15 == 0) {
            conn = rig_connect(&rig, RIG_LOCAL, STRANGER);
            rig_play(&rig, conn, HELLO "C: MAIL FROM:<>\nS: 250*\n");
        }
        rig_play(&rig, conn, "C: RCPT TO:<b@example.net>\nS: 550 5.7.1*\n");
    }
    CHECK_U64(rig.refusal_count, SUBMIT_REFUSED_PER_S_MAX);
    rig_pass(&rig, 500);
    conn = rig_connect(&rig, RIG_LOCAL, STRANGER);
    rig_play(&rig, conn,
            HELLO "C: MAIL FROM:<>\nS: 250*\nC: RCPT TO:<b@example.net>\nS: 550 5.7.1*\n");
    CHECK_U64(rig.refusal_count, SUBMIT_REFUSED_PER_S_MAX + 1);
    rig_done(&rig);
}

/* ---- large messages ------------------------------------------------------------------------- */

static void send_lines(struct pipe_conn *conn, size_t bytes)
{
    struct buf text;
    buf_init(&text, 16 << 20);
    while (text.len < bytes) {
        buf_addf(&text, "%078zu\r\n", text.len);
    }
    pipe_send(conn, buf_str(&text));
    buf_done(&text);
}

TEST(a_large_message_streams_to_the_keeper_and_reading_waits_for_it)
{
    struct rig rig;
    rig_open(&rig, "");
    struct pipe_conn *conn = rig_connect(&rig, RIG_LOCAL, CLIENT);
    rig_play(&rig, conn, HELLO ENVELOPE "C: DATA\nS: 354*\nC: From: a@example.com\nC:\n");
    send_lines(conn, 3 << 20);
    CHECK_U64(mailbox_count(&rig.keeper), SUBMIT_CHUNKS_OUT_MAX);
    CHECK(conn->in.len > 0, "all was read");
    CHECK(!(conn->wants & NET_WANT_READ));
    rig_pass(&rig, 1000000); /* the keeper is slow: not the client's fault */
    CHECK(!conn->is_closed);
    rig_answer(&rig);
    CHECK_U64(conn->in.len, 0);
    rig_play(&rig, conn, "C: .\nS: 250 2.0.0 Ok: queued as *\nOPEN\n");
    CHECK(rig.chunk_count >= 9, "%u", rig.chunk_count);
    CHECK(rig.content.len > 3 << 20);
    CHECK_U64(rig.dropped_count, 0);
    rig_done(&rig);
}

TEST(a_large_message_that_is_given_up_is_dropped_at_the_keeper)
{
    enum how { RESET, LEFT, BARE_LF, LEFT_WAITING, TOO_LONG_LINE, CHUNK_FAILED, HOW_COUNT };
    for (int how = 0; how < HOW_COUNT; how++) {
        struct rig rig;
        rig_open(&rig, "");
        rig.chunk_err = how == CHUNK_FAILED ? E_NO_SPACE : OK;
        struct pipe_conn *conn = rig_connect(&rig, RIG_LOCAL, CLIENT);
        rig_play(&rig, conn, HELLO ENVELOPE "C: DATA\nS: 354*\nC: From: a@example.com\nC:\n");
        send_lines(conn, (9 << 20) / 8);
        if (how == LEFT_WAITING) {
            CHECK_U64(mailbox_count(&rig.keeper), 1);
            pipe_reset(conn);
            CHECK(conn->is_closed);
            CHECK(!submit_is_idle(rig.submit));
        }
        rig_answer(&rig);
        if (how == RESET) {
            pipe_reset(conn);
        } else if (how == LEFT) {
            pipe_end(conn);
        } else if (how == BARE_LF) {
            pipe_send(conn, STR("a\nb\r\n"));
            rig_play(&rig, conn, "C: .\nS: 550 5.5.2*\n" ENVELOPE MESSAGE "S: 250*\n");
        } else if (how == TOO_LONG_LINE) {
            char line[1100];
            memset(line, 'x', sizeof line);
            pipe_send(conn, str_of(line, sizeof line));
            rig_play(&rig, conn, "C: \nC: .\nS: 554 5.6.0*\n" ENVELOPE MESSAGE "S: 250*\n");
        } else if (how == CHUNK_FAILED) {
            rig_play(&rig, conn, "C: .\nS: 452 4.3.1*\n" ENVELOPE MESSAGE "S: 250*\n");
        }
        rig_answer(&rig);
        uint32_t expected = how == CHUNK_FAILED ? 0 : rig.chunk_count;
        CHECK(rig.dropped_count == expected && rig.chunk_count > 0, "how %d: %u of %u dropped", how,
                rig.dropped_count, rig.chunk_count);
        rig_done(&rig);
    }
}

TEST(a_keeper_that_takes_no_chunk_refuses_the_message)
{
    struct rig rig;
    rig_open(&rig, "");
    struct pipe_conn *conn = rig_connect(&rig, RIG_LOCAL, CLIENT);
    rig_play(&rig, conn, HELLO ENVELOPE "C: DATA\nS: 354*\nC: From: a@example.com\nC:\n");
    rig.keeper.count_max = 1; /* the first goes, the second does not */
    send_lines(conn, 3 << 20);
    rig.keeper.count_max = 1000;
    rig_play(&rig, conn, "C: .\nS: 452 4.3.1*\n" ENVELOPE MESSAGE "S: 250*\n");
    CHECK_U64(rig.chunk_count, 1);
    CHECK_U64(rig.dropped_count, 1);
    rig_done(&rig);
}

/* ---- stop and reload ------------------------------------------------------------------------ */

TEST(a_stop_ends_idle_sessions_at_once_and_busy_ones_behind_their_message)
{
    struct rig rig;
    rig_open(&rig, "");
    struct pipe_conn *idle = rig_connect(&rig, RIG_LOCAL, CLIENT);
    struct pipe_conn *busy = rig_connect(&rig, RIG_LOCAL, CLIENT);
    rig_play(&rig, idle, HELLO);
    rig_play(&rig, busy, HELLO ENVELOPE);
    submit_stop(rig.submit);
    rig_play(&rig, idle, "S: 421 4.3.2 mail.example.com Service shutting down\nCLOSED\n");
    rig_play(&rig, busy, "OPEN\n" MESSAGE "S: 250 2.0.0*\nS: 421 4.3.2*\nCLOSED\n");
    CHECK(pipe_connect(&rig.net, STR(RIG_LOCAL), STR(CLIENT)) == NULL);
    CHECK(submit_is_idle(rig.submit));
    struct why why;
    CHECK_ERR(submit_listen(rig.submit, false, &why), E_CLOSED);
    rig_done(&rig);
}

TEST(f10_whoever_is_still_busy_near_the_end_of_a_stop_is_told_so)
{
    struct rig rig;
    rig_open(&rig, "");
    struct pipe_conn *envelope = rig_connect(&rig, RIG_LOCAL, CLIENT);
    struct pipe_conn *content = rig_connect(&rig, RIG_LOCAL, CLIENT);
    rig_play(&rig, envelope, HELLO ENVELOPE);
    rig_play(&rig, content, HELLO ENVELOPE "C: DATA\nS: 354*\nC: From: a@example.com\n");
    submit_stop(rig.submit);
    rig_pass(&rig, SUBMIT_STOP_MS_MAX - 100);
    rig_play(&rig, envelope, "OPEN\n");
    rig_play(&rig, content, "OPEN\n");
    rig_pass(&rig, 200);
    rig_play(&rig, envelope, "S: 421 4.3.2 mail.example.com Service shutting down\nCLOSED\n");
    rig_play(&rig, content, "S: 421 4.3.2 mail.example.com Service shutting down\nCLOSED\n");
    CHECK(submit_is_idle(rig.submit));
    rig_done(&rig);
}

TEST(a_reload_keeps_what_is_wanted_opens_what_is_new_and_closes_the_rest)
{
    struct rig rig;
    struct why why;
    rig_open(&rig,
            "listen \"old\" { address = { \"127.0.0.1:2526\" } networks = { \"10.0.0.0/8\" } }\n");
    CHECK_U64(pipe_listener_count(&rig.net), 4);
    struct pipe_conn *old = rig_connect(&rig, "127.0.0.1:2526", CLIENT);
    struct pipe_conn *kept = rig_connect(&rig, RIG_LOCAL, CLIENT);
    rig_play(&rig, old, HELLO);
    rig_play(&rig, kept, HELLO);
    rig_reload(&rig,
            "listen \"new\" { address = { \"127.0.0.1:2527\" } networks = { \"10.0.0.0/8\" } }\n");
    CHECK_U64(pipe_listener_count(&rig.net), 4);
    rig_play(&rig, old, "C: MAIL FROM:<a@example.com>\nS: 421 4.3.2*\nCLOSED\n");
    rig_play(&rig, kept, ENVELOPE MESSAGE "S: 250*\n");
    rig_talk(&rig, "127.0.0.1:2527", CLIENT, HELLO);
    rig.net.listen_err = E_BUSY;
    struct config *config = rig_parse("listen \"more\" { address = { \"127.0.0.1:2528\" } }\n");
    submit_config(rig.submit, config);
    CHECK_ERR(submit_listen(rig.submit, false, &why), E_BUSY);
    CHECK_STR(str_from_c(why.text), STR("listener \"more\", 127.0.0.1:2528: busy"));
    config_give(config);
    rig_done(&rig);
}

static void temp_credential(char *text, size_t cap, const char *name)
{
    fmt(text, cap, "credential \"%s\" { password-hash = \"%s\" }\n", name, rig_password_hash());
}

TEST(b8_a_revoked_credential_ends_its_sessions)
{
    struct rig rig;
    char text[600];
    temp_credential(text, sizeof text, "temp");
    rig_open(&rig, text);
    /* \0temp\0secret */
    static const char login[] = HELLO_AUTH "C: AUTH PLAIN AHRlbXAAc2VjcmV0\nS: 235*\n";
    struct pipe_conn *idle = rig_connect(&rig, RIG_SUBMISSION, LOOPBACK);
    struct pipe_conn *busy = rig_connect(&rig, RIG_SUBMISSION, LOOPBACK);
    struct pipe_conn *other = rig_connect(&rig, RIG_SUBMISSION, LOOPBACK);
    rig_play(&rig, idle, login);
    rig_play(&rig, busy, login);
    rig_play(&rig, busy, ENVELOPE);
    rig_play(&rig, other, HELLO_AUTH LOGIN);
    temp_credential(text, sizeof text, "another");
    rig_reload(&rig, text);
    rig_play(&rig, idle, "S: 421 4.7.0 mail.example.com Error: credential was revoked\nCLOSED\n");
    rig_play(&rig, busy, "OPEN\n" MESSAGE "S: 250*\nS: 421 4.7.0*\nCLOSED\n");
    rig_play(&rig, other, "OPEN\n" ENVELOPE MESSAGE "S: 250*\n");
    rig_done(&rig);
}

TEST(f61_memory_that_runs_out_at_any_step_never_brings_a_session_down)
{
    struct rig rig;
    rig_open(&rig, "");
    uint64_t n = 1;
    for (uint32_t kept_count = 0; n < 1000; n++, kept_count = rig.kept_count) {
        struct pipe_conn *conn = rig_connect(&rig, RIG_LOCAL, CLIENT);
        mem_fail_at(0);
        pipe_send(conn, STR("EHLO x\r\n"));
        mem_fail_at(n);
        pipe_send(conn, STR("MAIL FROM:<a@example.com>\r\nRCPT TO:<b@example.net>\r\n"));
        if (!conn->is_closed) {
            pipe_send(conn, STR("DATA\r\n"));
        }
        if (!conn->is_closed) {
            pipe_send(conn, STR("From: a@example.com\r\n\r\nx\r\n.\r\nQUIT\r\n"));
        }
        mem_fail_at(0);
        rig_answer(&rig);
        if (!conn->is_closed) {
            pipe_end(conn);
        }
        rig_answer(&rig);
        CHECK(conn->is_closed && submit_is_idle(rig.submit), "step %d", (int)n);
        CHECK_U64(rig.budget.used_bytes, 0);
        bool has_250 = str_find(buf_str(&conn->out), STR("queued as")) < conn->out.len;
        CHECK(!has_250 || rig.kept_count > kept_count, "step %d: 250 for nothing", (int)n);
        if (has_250 && n > 30) {
            break;
        }
    }
    CHECK(n < 1000);
    rig_done(&rig);
}
