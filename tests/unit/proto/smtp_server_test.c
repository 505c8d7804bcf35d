/* SPDX-License-Identifier: Apache-2.0
 *
 * smtp_server_test.c - the inbound dialogue as it should go; hostile clients have their own file.
 */
#include "proto/smtp_server.h"

#include "core/str.h"
#include "tests/test.h"
#include "tests/unit/proto/server_rig.h"

static const struct smtp_server_conf tls_conf = {
    .hostname = { "mx.example.org", 14 },
    .size_max_bytes = 1000,
    .offers_tls = true,
    .requires_tls = true,
    .requires_auth = true,
    .auth_mechanisms = { "PLAIN LOGIN", 11 },
};
#define EHLO_BEFORE_TLS                                                                            \
    "250-mx.example.org\r\n250-PIPELINING\r\n250-SIZE 1000\r\n250-STARTTLS\r\n"                    \
    "250-ENHANCEDSTATUSCODES\r\n250 8BITMIME\r\n"
#define EHLO_WITH_AUTH                                                                             \
    "250-mx.example.org\r\n250-PIPELINING\r\n250-SIZE 1000\r\n250-AUTH PLAIN LOGIN\r\n"            \
    "250-ENHANCEDSTATUSCODES\r\n250 8BITMIME\r\n"

TEST(server_takes_a_message_step_by_step)
{
    DIALOGUE(rig_conf, "EHLO client.example;MAIL <s@a>;RCPT <r@b>;DATA;END [Hi\r\n];QUIT;",
            { "EHLO client.example\r\n", EHLO_OK }, { "MAIL FROM:<s@a>\r\n", MAIL_OK },
            { "RCPT TO:<r@b>\r\n", RCPT_OK }, { "DATA\r\n", DATA_OK }, { "Hi\r\n.\r\n", QUEUED },
            { "QUIT\r\n", "221 2.0.0 Bye\r\n" });
}

TEST(server_answers_a_pipelined_group_and_the_next_one_behind_the_final_dot)
{
    DIALOGUE(rig_conf,
            BEGIN_EVENTS "END [a\r\n];MAIL <t@a>;RCPT <u@b>;RCPT <v@b>;DATA;END [];QUIT;", BEGIN,
            { "a\r\n.\r\nMAIL FROM:<t@a>\r\nRCPT TO:<u@b>\r\nRCPT TO:<v@b>\r\nDATA\r\n",
                    QUEUED MAIL_OK RCPT_OK RCPT_OK DATA_OK },
            { ".\r\nQUIT\r\n", QUEUED "221 2.0.0 Bye\r\n" });
}

TEST(server_unstuffs_dots_and_keeps_everything_else)
{
    DIALOGUE(rig_conf, BEGIN_EVENTS "END [.\r\n.x\r\n..y\r\na.b\r\n \r\n\r\n];", BEGIN,
            { "..\r\n..x\r\n...y\r\na.b\r\n \r\n\r\n.\r\n", QUEUED });
}

TEST(server_unstuffs_a_dot_that_nobody_had_to_stuff)
{
    DIALOGUE(rig_conf, BEGIN_EVENTS "END [x\r\n];", BEGIN, { ".x\r\n.\r\n", QUEUED });
}

TEST(server_gives_an_empty_message)
{
    DIALOGUE(rig_conf, BEGIN_EVENTS "END [];", BEGIN, { ".\r\n", QUEUED });
}

TEST(server_takes_verbs_and_keywords_in_any_case_and_trailing_blanks)
{
    DIALOGUE(rig_conf, "HELO a;MAIL <s@a>;RCPT <r@b>;DATA;END [x\r\n];QUIT;",
            { "helo a \r\n", "250 mx.example.org\r\n" }, { "mAiL fRoM: <s@a> \t\r\n", MAIL_OK },
            { "rcpt to:<r@b>\r\n", RCPT_OK }, { "data\r\n", DATA_OK }, { "x\r\n.\r\n", QUEUED },
            { "quit\r\n", "221 2.0.0 Bye\r\n" });
}

TEST(server_takes_mail_parameters)
{
    static const struct smtp_server_conf conf = {
        .hostname = { "mx.example.org", 14 },
        .auth_mechanisms = { "PLAIN", 5 },
        .allows_auth_in_clear = true,
    };
    DIALOGUE(conf,
            "EHLO a;MAIL <> size=1000 auth=e+3Dmc2@ex 8bit;RESET client said RSET;MAIL <x@y>;",
            { "EHLO a\r\n", "250-mx.example.org\r\n250-PIPELINING\r\n250-SIZE 52428800\r\n"
                            "250-AUTH PLAIN\r\n250-ENHANCEDSTATUSCODES\r\n250 8BITMIME\r\n" },
            { "MAIL FROM:<> size=1000  BODY=8BITMIME AUTH=e+3Dmc2@ex\r\n", MAIL_OK },
            { "RSET\r\n", "250 2.0.0 Ok\r\n" }, { "MAIL FROM:<x@y> BODY=7bit\r\n", MAIL_OK });
}

TEST(server_reports_what_the_content_held)
{
    static struct rig rig;
    char text[1100];
    memset(text, 'x', sizeof text);
    rig_open(&rig, &rig_conf, false);
    rig_take(&rig);
    static const char *const begin[] = { "EHLO a\r\n", "MAIL FROM:<s@a>\r\nRCPT TO:<r@b>\r\n",
        "DATA\r\n" };
    for (size_t i = 0; i < COUNT_OF(begin); i++) {
        rig_send(&rig, str_from_c(begin[i]), 0);
    }
    memcpy(text + 10, "\0", 1);
    memcpy(text + 20, "\xc3", 1);
    memcpy(text + 990, "\r\n.\r\n", 5);
    rig_send(&rig, str_of(text, 995), 100);
    CHECK(str_find(buf_str(&rig.events), STR("END 8bit nul [")) < rig.events.len);
    rig_done(&rig);
}

TEST(server_takes_lines_of_998_octets_and_marks_longer_ones)
{
    static const struct smtp_server_conf conf = { .hostname = { "mx.example.org", 14 } };
    char text[1100];
    for (size_t len = 998; len <= 999; len++) {
        for (size_t piece = 0; piece < 1000; piece += 499) {
            static struct rig rig;
            rig_open(&rig, &conf, false);
            rig_take(&rig);
            rig_send(&rig, STR("EHLO a\r\n"), 0);
            rig_send(&rig, STR("MAIL FROM:<s@a>\r\nRCPT TO:<r@b>\r\nDATA\r\n"), 0);
            memset(text, 'x', len);
            memcpy(text + len, "\r\n.\r\n", 5);
            rig_send(&rig, str_of(text, len + 5), piece);
            bool is_marked = str_find(buf_str(&rig.events), STR("END long [")) < rig.events.len;
            CHECK(is_marked == (len > 998), "%zu octets", len);
            rig_done(&rig);
        }
    }
}

TEST(server_passes_refusals_on_and_keeps_the_other_recipients)
{
    DIALOGUE(rig_conf,
            "EHLO a;MAIL <refuse@a>;MAIL <s@a>;RCPT <refuse@b>;RCPT <later@b>;RCPT <r@b>;DATA;"
            "END [REJECT\r\n];",
            { "EHLO a\r\n", EHLO_OK },
            { "MAIL FROM:<refuse@a>\r\nMAIL FROM:<s@a>\r\nRCPT TO:<refuse@b>\r\nRCPT TO:<later@b>"
              "\r\nRCPT TO:<r@b>\r\nDATA\r\n",
                    "550 5.1.1 <refuse@a>: no\r\n" MAIL_OK
                    "550 5.1.1 <refuse@b>: no\r\n450 4.2.1 later\r\n" RCPT_OK DATA_OK },
            { "REJECT\r\n.\r\n", "554 5.6.0 no\r\n" });
}

TEST(server_starts_tls_and_logs_in)
{
    DIALOGUE(tls_conf,
            "EHLO a;STARTTLS;TLS;EHLO b;AUTH PLAIN 1 bad;AUTH plain 1 good;MAIL <s@a>;QUIT;",
            { "EHLO a\r\n", EHLO_BEFORE_TLS },
            { "STARTTLS\r\n", "220 2.0.0 Ready to start TLS\r\n" },
            { "EHLO b\r\n", EHLO_WITH_AUTH },
            { "MAIL FROM:<s@a>\r\n", "530 5.7.0 Authentication required\r\n" },
            { "AUTH PLAIN bad\r\n", "535 5.7.8 Error: authentication failed\r\n" },
            { "AUTH plain good\r\n", "235 2.7.0 Authentication successful\r\n" },
            { "MAIL FROM:<s@a>\r\n", MAIL_OK }, { "QUIT\r\n", "221 2.0.0 Bye\r\n" });
}

TEST(server_asks_for_more_in_an_auth_exchange)
{
    static const struct turn turns[] = { { "EHLO a\r\n", EHLO_WITH_AUTH },
        { "AUTH LOGIN\r\n", "334 UGFzc3dvcmQ6\r\n" },
        { "\x01?\r\n", "535 5.7.8 Error: authentication failed\r\n" },
        { "AUTH LOGIN down\r\n", "454 4.7.0 Temporary authentication failure\r\n" },
        { "AUTH LOGIN\r\n", "334 UGFzc3dvcmQ6\r\n" },
        { "good\r\n", "235 2.7.0 Authentication successful\r\n" },
        { "AUTH PLAIN good\r\n", "503 5.5.1 Error: already authenticated\r\n" } };
    rig_dialogue(&tls_conf, true, turns, COUNT_OF(turns),
            "EHLO a;AUTH LOGIN 0 ;STEP \x01?;AUTH LOGIN 1 down;AUTH LOGIN 0 ;STEP good;");
}

TEST(server_knows_the_small_commands)
{
    DIALOGUE(rig_conf, "RESET client said RSET;",
            { "NOOP\r\nNOOP with words\r\nRSET\r\nVRFY root\r\nHELP\r\n",
                    "250 2.0.0 Ok\r\n250 2.0.0 Ok\r\n250 2.0.0 Ok\r\n"
                    "252 2.0.0 Cannot verify; send the message to find out\r\n"
                    "214 2.0.0 RFC 5321 says it all\r\n" },
            { "VRFY\r\nRSET x\r\nQUIT x\r\n",
                    "501 5.5.4 Syntax: VRFY address\r\n501 5.5.4 Syntax: RSET\r\n"
                    "501 5.5.4 Syntax: QUIT\r\n" });
}

TEST(server_waits_for_room_and_loses_no_reply)
{
    static struct rig rig;
    rig_open(&rig, &rig_conf, false);
    rig_take(&rig);
    char noops[6 * 90];
    for (size_t i = 0; i < 90; i++) {
        memcpy(noops + 6 * i, "NOOP\r\n", 6);
    }
    struct smtp_server_event event;
    struct str rest = str_of(noops, sizeof noops);
    size_t used = smtp_server_input(&rig.server, rest, &event);
    CHECK(used > 0 && used < rest.len, "%zu", used);
    size_t written = 0;
    while (rest.len > 0 || smtp_server_output(&rig.server).len > 0) {
        rest = str_from(rest, used);
        size_t some = smtp_server_output(&rig.server).len;
        some = some > 701 ? 701 : some; /* a socket that takes a part only */
        smtp_server_wrote(&rig.server, some);
        written += some;
        used = smtp_server_input(&rig.server, rest, &event);
    }
    CHECK_U64(written, 90 * strlen("250 2.0.0 Ok\r\n"));
    rig_done(&rig);
}

TEST(server_cuts_and_cleans_reply_texts)
{
    static struct rig rig;
    char text[600];
    memset(text, 'x', sizeof text);
    memcpy(text, "a\r\nb\0\xff", 6);
    rig_open(&rig, &rig_conf, false);
    rig_take(&rig);
    rig.decides_late = true;
    rig_send(&rig, STR("EHLO a\r\n"), 0);
    rig_take(&rig);
    struct smtp_server_event event;
    CHECK_U64(smtp_server_input(&rig.server, STR("MAIL FROM:<a@b>\r\n"), &event), 17);
    CHECK_U64(smtp_server_phase(&rig.server), SMTP_SERVER_PHASE_DECISION);
    CHECK_U64(smtp_server_input(&rig.server, STR("RCPT TO:<a@b>\r\n"), &event), 0);
    smtp_server_reply(&rig.server, 550, STR("5.7.1"), str_of(text, sizeof text));
    struct str out = rig_take(&rig);
    CHECK_U64(out.len, 512);
    CHECK(str_starts(out, STR("550 5.7.1 a??b??xxx")));
    CHECK(str_eq(str_from(out, 510), STR("\r\n")));
    rig_done(&rig);
}

TEST(server_names_its_phase)
{
    static struct rig rig;
    rig_open(&rig, &rig_conf, false);
    CHECK_U64(smtp_server_phase(&rig.server), SMTP_SERVER_PHASE_COMMAND);
    rig_take(&rig);
    rig_send(&rig, STR("EHLO a\r\n"), 0);
    rig_send(&rig, STR("MAIL FROM:<s@a>\r\nRCPT TO:<r@b>\r\nDATA\r\n"), 0);
    CHECK_U64(smtp_server_phase(&rig.server), SMTP_SERVER_PHASE_CONTENT);
    smtp_server_fail(&rig.server, 421, STR("4.4.2"), STR("Error: timeout exceeded"));
    CHECK_U64(smtp_server_phase(&rig.server), SMTP_SERVER_PHASE_CLOSED);
    CHECK(smtp_server_is_closed(&rig.server));
    CHECK_U64(smtp_server_close_reason(&rig.server), SMTP_SERVER_CLOSE_DRIVER);
    struct str out = rig_take(&rig);
    CHECK(str_ends_nocase(out, STR("421 4.4.2 mx.example.org Error: timeout exceeded\r\n")));
    smtp_server_fail(&rig.server, 421, STR("4.4.2"), STR("again"));
    smtp_server_reply(&rig.server, 250, STR("2.0.0"), STR("too late"));
    smtp_server_accept(&rig.server, STR(""));
    CHECK_U64(rig_take(&rig).len, 0);
    struct smtp_server_event event;
    CHECK_U64(smtp_server_input(&rig.server, STR("x"), &event), 1);
    CHECK_U64(event.kind, SMTP_SERVER_NONE);
    rig_done(&rig);
}

TEST(server_says_421_with_its_name_and_closes)
{
    DIALOGUE(rig_conf, "EHLO a;MAIL <shutdown@a>;", { "EHLO a\r\n", EHLO_OK },
            { "MAIL FROM:<shutdown@a>\r\nNOOP\r\n", "421 4.3.2 mx.example.org going down\r\n" });
}

TEST(server_refuses_content_for_a_transaction_that_data_lost)
{
    static struct rig rig;
    rig_open(&rig, &rig_conf, false);
    rig_take(&rig);
    rig_send(&rig, STR("EHLO a\r\n"), 0);
    rig.decides_late = true;
    rig_send(&rig, STR("MAIL FROM:<s@a>\r\nRCPT TO:<r@b>\r\n"), 0);
    rig_take(&rig);
    struct smtp_server_event event;
    CHECK_U64(smtp_server_input(&rig.server, STR("DATA\r\n"), &event), 6);
    CHECK_U64(event.kind, SMTP_SERVER_DATA);
    smtp_server_reply(&rig.server, 452, STR("4.3.1"), STR("Insufficient system storage"));
    CHECK_STR(rig_take(&rig), STR("452 4.3.1 Insufficient system storage\r\n"));
    rig_send(&rig, STR("DATA\r\n"), 0); /* all went together */
    CHECK_STR(rig_take(&rig), STR(NEED_MAIL));
    rig_done(&rig);
}

TEST(server_is_small)
{
    CHECK(sizeof(struct smtp_server) <= 2400, "%zu", sizeof(struct smtp_server));
    CHECK(strcmp(smtp_server_reason_name(SMTP_SERVER_REASON_COUNT), "unknown") == 0);
}
