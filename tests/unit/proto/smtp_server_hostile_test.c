/* SPDX-License-Identifier: Apache-2.0
 *
 * smtp_server_hostile_test.c - clients that smuggle, flood, forge and stumble. Names begin with the
 * number of the case in the list of hostile input.
 */
#include "core/str.h"
#include "tests/test.h"
#include "tests/unit/proto/server_rig.h"

#define BARE_LF "550 5.5.2 mx.example.org Error: bare <LF> received\r\n"
#define BARE_CR "550 5.5.2 mx.example.org Error: bare <CR> received\r\n"
#define RESET_NEWLINE "RESET bare CR or LF in content;"
#define BAD_SYNTAX "500 5.5.2 Error: bad syntax\r\n"
#define NEED_HELLO "503 5.5.1 Error: send HELO/EHLO first\r\n"
#define CLOSE_SYNC "CLOSE client talked before it was its turn;"
#define CLOSE_LF "CLOSE bare LF ended a command;"
#define BARE_COMMAND "500 5.5.2 Error: bare <LF> received\r\n"

static const struct smtp_server_conf auth_conf = {
    .hostname = { "mx.example.org", 14 },
    .size_max_bytes = 1000,
    .auth_mechanisms = { "PLAIN LOGIN", 11 },
    .allows_auth_in_clear = true,
};
#define EHLO_AUTH                                                                                  \
    "250-mx.example.org\r\n250-PIPELINING\r\n250-SIZE 1000\r\n250-AUTH PLAIN LOGIN\r\n"            \
    "250-ENHANCEDSTATUSCODES\r\n250 8BITMIME\r\n"

/* x and y around the dot, each one of LF, CR, CRLF, and the true end behind a smuggled envelope. */
TEST(a01_nothing_but_crlf_dot_crlf_ends_content)
{
    static const char *const ends[] = { "\n", "\r", "\r\n" };
    for (size_t x = 0; x < 3; x++) {
        for (size_t y = 0; y < 3; y++) {
            if (x == 2 && y == 2) {
                continue;
            }
            char text[200];
            fmt(text, sizeof text,
                    "a%s.%sMAIL FROM:<evil@a>\r\nRCPT TO:<r@b>\r\nDATA\r\nb\r\n.\r\n", ends[x],
                    ends[y]);
            bool is_cr = x == 1 || (x == 2 && y == 1);
            const struct turn turns[] = { BEGIN, { text, is_cr ? BARE_CR : BARE_LF },
                { "DATA\r\n", NEED_MAIL } };
            rig_dialogue(&rig_conf, false, turns, COUNT_OF(turns), BEGIN_EVENTS RESET_NEWLINE);
        }
    }
}

TEST(a01_crlf_dot_cr_crlf_and_cr_crlf_dot_cr_crlf_do_not_end_content)
{
    DIALOGUE(rig_conf, BEGIN_EVENTS RESET_NEWLINE, BEGIN, { "a\r\n.\r\r\nQUIT\r\n", "" },
            { ".\r\n", BARE_CR });
    DIALOGUE(rig_conf, BEGIN_EVENTS RESET_NEWLINE, BEGIN, { "a\r\r\n.\r\r\nQUIT\r\n", "" },
            { ".\r\n", BARE_CR });
}

TEST(a01_a_dot_line_with_a_nul_does_not_end_content)
{
    static const char text[] = "a\r\n.\0\r\n\0.\r\nb\r\n.\r\n";
    for (size_t piece = 0; piece < 6; piece++) {
        static struct rig rig;
        rig_open(&rig, &rig_conf, false);
        rig_take(&rig);
        rig_send(&rig, STR("EHLO a\r\n"), piece);
        rig_send(&rig, STR("MAIL FROM:<s@a>\r\nRCPT TO:<r@b>\r\nDATA\r\n"), piece);
        rig_take(&rig);
        rig_send(&rig, str_of(text, sizeof text - 1), piece);
        CHECK_STR(rig_take(&rig), STR(QUEUED));
        static const char expected[] = BEGIN_EVENTS "END nul [a\r\n\0\r\n\0.\r\nb\r\n];";
        CHECK_STR(buf_str(&rig.events), str_of(expected, sizeof expected - 1));
        rig_done(&rig);
    }
}

TEST(a02_a_bare_cr_or_lf_in_content_is_refused_at_its_end)
{
    DIALOGUE(rig_conf, BEGIN_EVENTS RESET_NEWLINE, BEGIN, { "a\nb\r\n.\r\n", BARE_LF });
    DIALOGUE(rig_conf, BEGIN_EVENTS RESET_NEWLINE, BEGIN, { "\n.\r\n", "" },
            { "\r\n.\r\n", BARE_LF });
    DIALOGUE(rig_conf, BEGIN_EVENTS RESET_NEWLINE, BEGIN, { "a\rb\r\nc\r\n", "" },
            { "\n\r.\r\n.\r\n", BARE_CR });
    DIALOGUE(rig_conf, BEGIN_EVENTS RESET_NEWLINE, BEGIN, { "a\r\r\n.\r\n", BARE_CR });
    DIALOGUE(rig_conf, BEGIN_EVENTS RESET_NEWLINE, BEGIN, { ".\rx\r\n.\r\n", BARE_CR });
    DIALOGUE(rig_conf, BEGIN_EVENTS RESET_NEWLINE, BEGIN, { ".\nx\r\n.\r\n", BARE_LF });
    DIALOGUE(rig_conf, BEGIN_EVENTS RESET_NEWLINE "MAIL <s@a>;RCPT <r@b>;DATA;END [x\r\n];", BEGIN,
            { "\r.\r\n\r\n.\r\nMAIL FROM:<s@a>\r\nRCPT TO:<r@b>\r\nDATA\r\n",
                    BARE_CR MAIL_OK RCPT_OK DATA_OK },
            { "x\r\n.\r\n", QUEUED });
}

TEST(a03_a_bare_lf_that_ends_a_command_closes)
{
    DIALOGUE(rig_conf, CLOSE_LF, { "NOOP\nNOOP\r\n", BARE_COMMAND }, { "NOOP\r\n", "" });
    DIALOGUE(rig_conf, CLOSE_LF, { "\n", BARE_COMMAND });
    DIALOGUE(rig_conf, "EHLO a;MAIL <s@a>;" CLOSE_LF, { "EHLO a\r\n", EHLO_OK },
            { "MAIL FROM:<s@a>\r\nRCPT TO:<r@b>\n", MAIL_OK BARE_COMMAND });
}

TEST(a04_controls_in_a_command_are_refused)
{
    DIALOGUE(rig_conf, "", { "NO\x01OP\r\n", BAD_SYNTAX }, { "NOOP\rNOOP\r\n", BAD_SYNTAX },
            { "NOOP\x7f\r\n", BAD_SYNTAX }, { "EHLO a\tb\r\n", BAD_SYNTAX }, { "\r\n", BAD_SYNTAX },
            { " \t\r\n", BAD_SYNTAX });
    static struct rig rig;
    rig_open(&rig, &rig_conf, false);
    rig_take(&rig);
    rig_send(&rig, str_of("NOOP\0x\r\n", 8), 0);
    CHECK_STR(rig_take(&rig), STR(BAD_SYNTAX));
    rig_done(&rig);
}

TEST(a04_xtext_that_hides_a_control_is_refused)
{
    DIALOGUE(auth_conf, "EHLO a;", { "EHLO a\r\n", EHLO_AUTH },
            { "MAIL FROM:<s@a> AUTH=a+00\r\n", "501 5.5.4 Bad parameter: AUTH=a+00\r\n" },
            { "MAIL FROM:<s@a> AUTH=a+0A\r\n", "501 5.5.4 Bad parameter: AUTH=a+0A\r\n" },
            { "MAIL FROM:<s@a> AUTH=a+7F\r\n", "501 5.5.4 Bad parameter: AUTH=a+7F\r\n" },
            { "MAIL FROM:<s@a> AUTH=a+4\r\n", "501 5.5.4 Bad parameter: AUTH=a+4\r\n" },
            { "MAIL FROM:<s@a> AUTH=a+4g\r\n", "501 5.5.4 Bad parameter: AUTH=a+4g\r\n" },
            { "MAIL FROM:<s@a> AUTH=a=b\r\n", "501 5.5.4 Bad parameter: AUTH=a=b\r\n" });
}

/* A line of len bytes with its CRLF: prefix, then filled up. */
static void send_line(struct rig *rig, const char *prefix, size_t len, size_t piece)
{
    static char line[70000];
    memset(line, 'x', sizeof line);
    memcpy(line, prefix, strlen(prefix));
    memcpy(line + len - 2, "\r\n", 2);
    rig_send(rig, str_of(line, len), piece);
}

static void check_line(const char *prefix, size_t len, const char *expected)
{
    static const size_t pieces[] = { 0, 1, 100, 2047, 2048, 4096, 12287 };
    for (size_t i = 0; i < COUNT_OF(pieces); i++) {
        static struct rig rig;
        rig_open(&rig, &auth_conf, false);
        rig_take(&rig);
        rig_send(&rig, STR("EHLO a\r\n"), 0);
        rig_take(&rig);
        send_line(&rig, prefix, len, pieces[i]);
        struct str got = rig_take(&rig);
        CHECK(str_eq(got, str_from_c(expected)), "%s, %zu bytes, piece %zu: %.*s", prefix, len,
                pieces[i], STR_ARG(got));
        rig_done(&rig);
    }
}

TEST(a05_lines_have_limits)
{
    check_line("NOOP ", 2048, "250 2.0.0 Ok\r\n");
    check_line("NOOP ", 2049, "500 5.5.2 Error: line too long\r\n");
    check_line("NOOP ", 65536, "500 5.5.2 Error: line too long\r\n");
    check_line("NOOP ", 65537, "421 4.7.0 mx.example.org Error: line too long\r\n");
    check_line("AUTH PLAIN ", 12288, "535 5.7.8 Error: authentication failed\r\n");
    check_line("AUTH PLAIN ", 12289, "500 5.5.6 Error: line too long\r\n");
}

TEST(a05_an_auth_answer_has_a_limit_and_ends_the_exchange)
{
    for (size_t len = 12288; len <= 12289; len++) {
        static struct rig rig;
        rig_open(&rig, &auth_conf, false);
        rig_take(&rig);
        rig_send(&rig, STR("EHLO a\r\n"), 0);
        rig_send(&rig, STR("AUTH LOGIN\r\n"), 0);
        rig_take(&rig);
        send_line(&rig, "", len, 1000);
        CHECK_STR(rig_take(&rig), len == 12288 ? STR("535 5.7.8 Error: authentication failed\r\n")
                                               : STR("500 5.5.6 Error: line too long\r\n"));
        rig_send(&rig, STR("NOOP\r\n"), 0);
        CHECK_STR(rig_take(&rig), STR("250 2.0.0 Ok\r\n"));
        rig_done(&rig);
    }
}

TEST(a05_a_long_line_that_ends_in_a_bare_lf_closes)
{
    static struct rig rig;
    static char line[5000];
    memset(line, 'x', sizeof line);
    line[4999] = '\n';
    for (size_t piece = 0; piece < 5000; piece += 2499) {
        rig_open(&rig, &rig_conf, false);
        rig_take(&rig);
        rig_send(&rig, str_of(line, sizeof line), piece);
        CHECK_STR(rig_take(&rig), STR(BARE_COMMAND));
        CHECK_STR(buf_str(&rig.events), STR(CLOSE_LF));
        rig_done(&rig);
    }
}

TEST(a05_an_endless_line_is_cut_off)
{
    static struct rig rig;
    static char line[70000];
    memset(line, 'x', sizeof line);
    for (size_t piece = 0; piece < 70000; piece += 7001) {
        rig_open(&rig, &rig_conf, false);
        rig_take(&rig);
        rig_send(&rig, str_of(line, sizeof line), piece);
        CHECK_STR(rig_take(&rig), STR("421 4.7.0 mx.example.org Error: line too long\r\n"));
        CHECK_STR(buf_str(&rig.events), STR("CLOSE endless command line;"));
        rig_done(&rig);
    }
}

static const struct smtp_server_conf tls_conf = {
    .hostname = { "mx.example.org", 14 },
    .size_max_bytes = 1000,
    .offers_tls = true,
    .requires_tls = true,
    .auth_mechanisms = { "PLAIN LOGIN", 11 },
};
#define EHLO_TLS                                                                                   \
    "250-mx.example.org\r\n250-PIPELINING\r\n250-SIZE 1000\r\n250-STARTTLS\r\n"                    \
    "250-ENHANCEDSTATUSCODES\r\n250 8BITMIME\r\n"
#define READY_TLS "220 2.0.0 Ready to start TLS\r\n"

TEST(a06_bytes_behind_starttls_in_the_clear_close_without_a_handshake)
{
    DIALOGUE_WHOLE(tls_conf, "EHLO a;" CLOSE_SYNC, { "EHLO a\r\n", EHLO_TLS },
            { "STARTTLS\r\nEHLO evil\r\n", SYNC_BROKEN });
    static struct rig rig;
    rig_open(&rig, &tls_conf, false);
    rig_take(&rig);
    rig_send(&rig, STR("EHLO a\r\n"), 0);
    struct smtp_server_event event;
    CHECK_U64(smtp_server_input(&rig.server, STR("STARTTLS\r\n"), &event), 10);
    CHECK_U64(event.kind, SMTP_SERVER_STARTTLS);
    smtp_server_accept(&rig.server, STR(""));
    rig_take(&rig);
    rig_done(&rig);
    rig_open(&rig, &tls_conf, false);
    rig_take(&rig);
    rig_send(&rig, STR("EHLO a\r\n"), 0);
    rig_take(&rig);
    CHECK_U64(smtp_server_input(&rig.server, STR("STARTTLS\r\n"), &event), 10);
    smtp_server_accept(&rig.server, STR(""));
    struct str out = smtp_server_output(&rig.server);
    CHECK_STR(out, STR(READY_TLS));
    smtp_server_wrote(&rig.server, out.len);
    CHECK_U64(smtp_server_phase(&rig.server), SMTP_SERVER_PHASE_TLS);
    CHECK_U64(smtp_server_input(&rig.server, STR("E"), &event), 1); /* before the handshake */
    CHECK_U64(event.reason, SMTP_SERVER_CLOSE_SYNC);
    smtp_server_tls_started(&rig.server); /* too late */
    CHECK(smtp_server_is_closed(&rig.server));
    rig_done(&rig);
}

TEST(a06_starttls_forgets_what_was_said_before)
{
    DIALOGUE(tls_conf, "EHLO a;STARTTLS;TLS;EHLO b;MAIL <s@a>;", { "EHLO a\r\n", EHLO_TLS },
            { "STARTTLS\r\n", READY_TLS }, { "MAIL FROM:<s@a>\r\n", NEED_HELLO },
            { "AUTH PLAIN good\r\n", "503 5.5.1 Error: send EHLO first\r\n" },
            { "STARTTLS\r\n", "503 5.5.1 Error: TLS already active\r\n" },
            { "EHLO b\r\n", EHLO_AUTH }, { "MAIL FROM:<s@a>\r\n", MAIL_OK });
}

TEST(a06_starttls_takes_no_argument_and_needs_hello_and_an_offer)
{
    DIALOGUE(tls_conf, "EHLO a;", { "STARTTLS\r\n", NEED_HELLO }, { "EHLO a\r\n", EHLO_TLS },
            { "STARTTLS x\r\n", "501 5.5.4 Syntax: STARTTLS\r\n" });
    DIALOGUE(rig_conf, "", { "STARTTLS\r\n", "502 5.5.1 Error: command not implemented\r\n" });
}

TEST(a06_nothing_closes_on_a_failed_handshake_but_the_driver)
{
    static struct rig rig;
    rig_open(&rig, &tls_conf, false);
    rig_take(&rig);
    rig_send(&rig, STR("EHLO a\r\n"), 0);
    struct smtp_server_event event;
    CHECK_U64(smtp_server_input(&rig.server, STR("STARTTLS\r\n"), &event), 10);
    smtp_server_accept(&rig.server, STR(""));
    smtp_server_wrote(&rig.server, smtp_server_output(&rig.server).len);
    smtp_server_fail(&rig.server, 421, STR("4.4.2"), STR("Error: timeout exceeded"));
    CHECK_U64(smtp_server_output(&rig.server).len, 0); /* no clear text in front of TLS */
    CHECK(smtp_server_is_closed(&rig.server));
    rig_done(&rig);
}

TEST(a06_tls_refused_by_the_driver_leaves_the_session_in_the_clear)
{
    static struct rig rig;
    rig_open(&rig, &tls_conf, false);
    rig_take(&rig);
    rig_send(&rig, STR("EHLO a\r\n"), 0);
    rig_take(&rig);
    struct smtp_server_event event;
    CHECK_U64(smtp_server_input(&rig.server, STR("STARTTLS\r\n"), &event), 10);
    smtp_server_reply(
            &rig.server, 454, STR("4.7.0"), STR("TLS not available due to local problem"));
    rig_take(&rig);
    rig_send(&rig, STR("MAIL FROM:<s@a>\r\n"), 0);
    CHECK_STR(rig_take(&rig), STR("530 5.7.0 Must issue a STARTTLS command first\r\n"));
    rig_done(&rig);
}

TEST(a08_http_and_header_lines_are_sent_away_without_an_echo)
{
    static const char *const firsts[] = { "GET / HTTP/1.1\r\n", "POST /x HTTP/1.1\r\n",
        "Host: mx.example.org\r\n", "connect a:25\r\n", "OPTIONS *\r\n", "X-Evil:\r\n" };
    for (size_t i = 0; i < COUNT_OF(firsts); i++) {
        char text[200];
        fmt(text, sizeof text, "%sEHLO a\r\nMAIL FROM:<s@a>\r\n", firsts[i]);
        const struct turn turns[] = { { text,
                "221 2.7.0 Error: I can break rules, too. Goodbye.\r\n" } };
        rig_dialogue(&rig_conf, false, turns, 1, "CLOSE not SMTP;");
        rig_dialogue(&tls_conf, false, turns, 1, "CLOSE not SMTP;");
    }
}

TEST(a10_talking_before_the_greeting_closes)
{
    static struct rig rig;
    rig_open(&rig, &rig_conf, false);
    rig_send(&rig, STR("EHLO a\r\n"), 0);
    CHECK_STR(rig_take(&rig), STR(GREETING SYNC_BROKEN));
    CHECK_STR(buf_str(&rig.events), STR(CLOSE_SYNC));
    rig_done(&rig);
}

TEST(a10_pipelining_past_ehlo_data_and_auth_closes)
{
    DIALOGUE_WHOLE(rig_conf, CLOSE_SYNC, { "EHLO a\r\nMAIL FROM:<s@a>\r\n", SYNC_BROKEN });
    DIALOGUE_WHOLE(rig_conf, CLOSE_SYNC, { "HELO a\r\nM", SYNC_BROKEN });
    DIALOGUE_WHOLE(rig_conf, "EHLO a;MAIL <s@a>;RCPT <r@b>;" CLOSE_SYNC, { "EHLO a\r\n", EHLO_OK },
            { "MAIL FROM:<s@a>\r\nRCPT TO:<r@b>\r\nDATA\r\nSubject: x\r\n",
                    MAIL_OK RCPT_OK SYNC_BROKEN });
    DIALOGUE_WHOLE(auth_conf, "EHLO a;" CLOSE_SYNC, { "EHLO a\r\n", EHLO_AUTH },
            { "AUTH PLAIN good\r\nMAIL FROM:<s@a>\r\n", SYNC_BROKEN });
    DIALOGUE_WHOLE(auth_conf, "EHLO a;AUTH LOGIN 0 ;" CLOSE_SYNC, { "EHLO a\r\n", EHLO_AUTH },
            { "AUTH LOGIN\r\n", "334 UGFzc3dvcmQ6\r\n" }, { "dQ==\r\ncA==\r\n", SYNC_BROKEN });
    DIALOGUE_WHOLE(rig_conf, "EHLO a;" CLOSE_SYNC, { "EHLO a\r\n", EHLO_OK },
            { "BDAT 5\r\nQUIT\r\n", SYNC_BROKEN });
}

TEST(a10_talking_while_data_or_a_login_is_being_decided_closes)
{
    static struct rig rig;
    rig_open(&rig, &auth_conf, false);
    rig_take(&rig);
    rig_send(&rig, STR("EHLO a\r\n"), 0);
    rig_take(&rig);
    struct smtp_server_event event;
    CHECK_U64(smtp_server_input(&rig.server, STR("AUTH PLAIN good\r\n"), &event), 17);
    CHECK_U64(event.kind, SMTP_SERVER_AUTH);
    CHECK_U64(smtp_server_input(&rig.server, STR(""), &event), 0);
    CHECK_U64(smtp_server_input(&rig.server, STR("M"), &event), 1);
    CHECK_U64(event.kind, SMTP_SERVER_CLOSE);
    smtp_server_accept(&rig.server, STR("")); /* the hash is done, too late */
    CHECK_STR(rig_take(&rig), STR(SYNC_BROKEN));
    rig_done(&rig);
}

TEST(a11_unknown_and_unwanted_verbs)
{
    DIALOGUE(rig_conf, "", { "FOO\r\n", "500 5.5.2 Error: command not recognized\r\n" },
            { "MAILFROM:<x>\r\n", "500 5.5.2 Error: command not recognized\r\n" },
            { "EXPN list\r\nTURN\r\nSAML FROM:<x>\r\n",
                    "502 5.5.1 Error: command not implemented\r\n"
                    "502 5.5.1 Error: command not implemented\r\n"
                    "502 5.5.1 Error: command not implemented\r\n" },
            { "BDAT 3 LAST\r\n", "502 5.5.1 Error: command not implemented\r\n" },
            { "VRFY root\r\n", "252 2.0.0 Cannot verify; send the message to find out\r\n" });
}

TEST(a12_unknown_parameters_are_555_repeated_and_empty_ones_501)
{
    DIALOGUE(rig_conf, "EHLO a;MAIL <s@a>;", { "EHLO a\r\n", EHLO_OK },
            { "MAIL FROM:<s@a> FOO=1\r\n", "555 5.5.4 Unsupported option: FOO=1\r\n" },
            { "MAIL FROM:<s@a> SMTPUTF8\r\n", "555 5.5.4 Unsupported option: SMTPUTF8\r\n" },
            { "MAIL FROM:<s@a> AUTH=<>\r\n", "555 5.5.4 Unsupported option: AUTH=<>\r\n" },
            { "MAIL FROM:<s@a> RET=FULL\r\n", "555 5.5.4 Unsupported option: RET=FULL\r\n" },
            { "MAIL FROM:<s@a> BODY=BINARYMIME\r\n",
                    "555 5.5.4 Unsupported option: BODY=BINARYMIME\r\n" },
            { "MAIL FROM:<s@a> BODY=9BIT\r\n", "501 5.5.4 Bad parameter: BODY=9BIT\r\n" },
            { "MAIL FROM:<s@a> BODY\r\n", "501 5.5.4 Bad parameter: BODY\r\n" },
            { "MAIL FROM:<s@a> SIZE=\r\n", "501 5.5.4 Bad parameter: SIZE=\r\n" },
            { "MAIL FROM:<s@a> SIZE=1 SIZE=1\r\n", "501 5.5.4 Bad parameter: SIZE=1\r\n" },
            { "MAIL FROM:<s@a>\r\n", MAIL_OK },
            { "RCPT TO:<r@b> NOTIFY=NEVER\r\n", "555 5.5.4 Unsupported option: NOTIFY=NEVER\r\n" });
}

TEST(a12_after_helo_no_parameter_was_offered)
{
    DIALOGUE(rig_conf, "HELO a;", { "HELO a\r\n", "250 mx.example.org\r\n" },
            { "MAIL FROM:<s@a> SIZE=1\r\n", "555 5.5.4 Unsupported option: SIZE=1\r\n" });
}

TEST(a13_a_declared_size_over_the_limit_is_552)
{
    DIALOGUE(rig_conf, "EHLO a;MAIL <s@a> size=1000;", { "EHLO a\r\n", EHLO_OK },
            { "MAIL FROM:<s@a> SIZE=1001\r\n",
                    "552 5.3.4 Message size exceeds file system imposed limit\r\n" },
            { "MAIL FROM:<s@a> SIZE=99999999999999999999\r\n",
                    "552 5.3.4 Message size exceeds file system imposed limit\r\n" },
            { "MAIL FROM:<s@a> SIZE=1000\r\n", MAIL_OK });
}

TEST(a13_size_text_is_refused_with_501)
{
    DIALOGUE(rig_conf, "EHLO a;", { "EHLO a\r\n", EHLO_OK },
            { "MAIL FROM:<s@a> SIZE=-1\r\n", "501 5.5.4 Bad parameter: SIZE=-1\r\n" },
            { "MAIL FROM:<s@a> SIZE=big\r\n", "501 5.5.4 Bad parameter: SIZE=big\r\n" },
            { "MAIL FROM:<s@a> SIZE=000000000000000000001\r\n",
                    "501 5.5.4 Bad parameter: SIZE=000000000000000000001\r\n" });
}

/* Content of size bytes, in lines of 50. */
static void send_content(struct rig *rig, size_t size_bytes, size_t piece)
{
    static char text[4096];
    memset(text, 'x', sizeof text);
    for (size_t i = 48; i + 4 <= size_bytes; i += 50) {
        memcpy(text + i, "\r\n", 2);
    }
    memcpy(text + size_bytes - 2, "\r\n.\r\n", 5);
    rig_send(rig, str_of(text, size_bytes + 3), piece);
}

static void check_size(size_t size_bytes, const char *reply, const char *events)
{
    static const size_t pieces[] = { 0, 1, 33, 1000, 1001 };
    for (size_t i = 0; i < COUNT_OF(pieces); i++) {
        static struct rig rig;
        rig_open(&rig, &rig_conf, false);
        rig_take(&rig);
        rig_send(&rig, STR("EHLO a\r\n"), 0);
        rig_send(&rig, STR("MAIL FROM:<s@a> SIZE=10\r\nRCPT TO:<r@b>\r\nDATA\r\n"), 0);
        rig_take(&rig);
        buf_clear(&rig.events);
        send_content(&rig, size_bytes, pieces[i]);
        CHECK_STR(rig_take(&rig), str_from_c(reply));
        CHECK_STR(buf_str(&rig.events), str_from_c(events));
        rig_done(&rig);
    }
}

TEST(a13_content_over_the_limit_is_drained_up_to_twice_and_refused)
{
    check_size(1000, QUEUED, "END [];");
    check_size(1001, "552 5.3.4 Error: message file too big\r\n", "RESET message too big;");
    check_size(2000, "552 5.3.4 Error: message file too big\r\n", "RESET message too big;");
    check_size(2001, "421 4.3.4 mx.example.org Error: message file too big\r\n",
            "RESET message too big;CLOSE content over twice the size limit;");
}

TEST(a13_the_limit_of_draining_holds_for_smuggled_content_too)
{
    static char text[4096];
    memset(text, 'x', sizeof text);
    text[5] = '\n';
    static struct rig rig;
    for (size_t piece = 0; piece < 1000; piece += 333) {
        rig_open(&rig, &rig_conf, false);
        rig_take(&rig);
        rig_send(&rig, STR("EHLO a\r\n"), 0);
        rig_send(&rig, STR("MAIL FROM:<s@a>\r\nRCPT TO:<r@b>\r\nDATA\r\n"), 0);
        rig_take(&rig);
        rig_send(&rig, str_of(text, sizeof text), piece);
        CHECK_STR(rig_take(&rig), STR("421 4.3.4 mx.example.org Error: message file too big\r\n"));
        rig_done(&rig);
    }
}

TEST(a14_bdat_was_not_offered)
{
    DIALOGUE(rig_conf, "EHLO a;", { "EHLO a\r\n", EHLO_OK },
            { "BDAT 10 LAST\r\n", "502 5.5.1 Error: command not implemented\r\n" });
}

TEST(a15_after_failed_data_sender_and_recipients_are_gone)
{
    DIALOGUE(rig_conf, BEGIN_EVENTS "END [REJECT\r\n];" BEGIN_EVENTS RESET_NEWLINE, BEGIN,
            { "REJECT\r\n.\r\nRCPT TO:<r@b>\r\nDATA\r\n", "554 5.6.0 no\r\n" NEED_MAIL NEED_MAIL },
            BEGIN, { "\n\r\n.\r\nRCPT TO:<r@b>\r\nDATA\r\n", BARE_LF NEED_MAIL NEED_MAIL });
}

TEST(a16_8_bit_content_is_taken_and_marked)
{
    DIALOGUE(rig_conf, BEGIN_EVENTS "END 8bit [\xc3\xa9\r\n];", BEGIN,
            { "\xc3\xa9\r\n.\r\n", QUEUED });
}

TEST(a17_utf8_addresses_need_smtputf8_which_is_not_offered)
{
    DIALOGUE(rig_conf, "EHLO a;MAIL <s@a>;", { "EHLO a\r\n", EHLO_OK },
            { "MAIL FROM:<\xc3\xa9@a>\r\n",
                    "553 5.6.7 Must declare SMTPUTF8 to send unicode address\r\n" },
            { "MAIL FROM:<\xc3@a>\r\n", BAD_SYNTAX }, { "MAIL FROM:<s@a>\r\n", MAIL_OK },
            { "RCPT TO:<r@\xc3\xa9>\r\n",
                    "553 5.6.7 Must declare SMTPUTF8 to send unicode address\r\n" });
}

static size_t count_lines(struct str s)
{
    size_t count = 0;
    for (size_t i = 0; i < s.len; i++) {
        count += s.ptr[i] == '\n';
    }
    return count;
}

TEST(a19_idle_commands_above_100_are_errors_each)
{
    static const char *const idle[] = { "NOOP\r\n", "RSET\r\n", "VRFY a\r\n", "EHLO a\r\n" };
    for (size_t k = 0; k < COUNT_OF(idle); k++) {
        static struct rig rig;
        rig_open(&rig, &rig_conf, false);
        rig_take(&rig);
        size_t count = 0;
        while (!smtp_server_is_closed(&rig.server)) {
            rig_send(&rig, str_from_c(idle[k]), 0);
            count++;
        }
        CHECK_U64(count, 120);
        struct str out = rig_take(&rig);
        CHECK(str_ends_nocase(out, STR("421 4.7.0 mx.example.org Error: too many errors\r\n")));
        CHECK(count_lines(out) >= 121);
        rig_done(&rig);
    }
}

TEST(a19_an_accepted_message_resets_both_counts)
{
    static struct rig rig;
    rig_open(&rig, &rig_conf, false);
    rig_take(&rig);
    rig_send(&rig, STR("EHLO a\r\n"), 0);
    for (size_t k = 0; k < 30; k++) {
        for (size_t i = 0; i < 15; i++) {
            rig_send(&rig, STR("NOOP\r\nFOO\r\n"), 0);
        }
        rig_send(&rig, STR("MAIL FROM:<s@a>\r\nRCPT TO:<r@b>\r\nDATA\r\n"), 0);
        rig_send(&rig, STR(".\r\n"), 0);
        CHECK(!smtp_server_is_closed(&rig.server), "round %zu", k);
        buf_clear(&rig.out);
    }
    rig_done(&rig);
}

TEST(a20_recipients_over_the_limit_are_452_and_1000_more_close)
{
    static const struct smtp_server_conf conf = { .hostname = { "mx.example.org", 14 },
        .rcpt_count_max = 3 };
    static struct rig rig;
    rig_open(&rig, &conf, false);
    rig_take(&rig);
    rig_send(&rig, STR("EHLO a\r\n"), 0);
    rig_send(
            &rig, STR("MAIL FROM:<s@a>\r\nRCPT TO:<a@b>\r\nRCPT TO:<b@b>\r\nRCPT TO:<a@b>\r\n"), 0);
    rig_take(&rig);
    for (size_t i = 0; i < 1000; i++) {
        rig_send(&rig, STR("RCPT TO:<x@b>\r\n"), 0);
        CHECK_STR(rig_take(&rig), STR("452 4.5.3 Error: too many recipients\r\n"));
    }
    CHECK_U64(rig.server.rcpt_count, 3);
    rig_send(&rig, STR("RCPT TO:<x@b>\r\n"), 0);
    CHECK_STR(rig_take(&rig), STR("421 4.5.3 mx.example.org Error: too many recipients\r\n"));
    CHECK(smtp_server_is_closed(&rig.server));
    rig_done(&rig);
}

TEST(a20_recipients_over_the_limit_leave_the_earlier_ones)
{
    static const struct smtp_server_conf conf = {
        .hostname = { "mx.example.org", 14 }, .size_max_bytes = 1000, .rcpt_count_max = 1
    };
    DIALOGUE(conf, BEGIN_EVENTS "END [x\r\n];", { "EHLO a\r\n", EHLO_OK },
            { "MAIL FROM:<s@a>\r\nRCPT TO:<r@b>\r\nRCPT TO:<r@b>\r\nDATA\r\n",
                    MAIL_OK RCPT_OK "452 4.5.3 Error: too many recipients\r\n" DATA_OK },
            { "x\r\n.\r\n", QUEUED });
}

TEST(a21_commands_out_of_order_are_503)
{
    DIALOGUE(rig_conf, "EHLO a;MAIL <s@a>;", { "MAIL FROM:<s@a>\r\n", NEED_HELLO },
            { "EHLO a\r\n", EHLO_OK }, { "RCPT TO:<r@b>\r\n", NEED_MAIL },
            { "DATA\r\n", NEED_MAIL }, { "MAIL FROM:<s@a>\r\n", MAIL_OK },
            { "MAIL FROM:<s@a>\r\n", "503 5.5.1 Error: nested MAIL command\r\n" },
            { "DATA\r\n", "503 5.5.1 Error: need RCPT command\r\n" },
            { "DATA now\r\n", "501 5.5.4 Syntax: DATA\r\n" });
}

TEST(a21_data_behind_refused_recipients_is_554)
{
    DIALOGUE(rig_conf, "EHLO a;MAIL <s@a>;RCPT <refuse@b>;", { "EHLO a\r\n", EHLO_OK },
            { "MAIL FROM:<s@a>\r\nRCPT TO:<refuse@b>\r\nRCPT TO:<>\r\nDATA\r\n",
                    MAIL_OK "550 5.1.1 <refuse@b>: no\r\n501 5.1.3 Bad recipient address syntax\r\n"
                            "554 5.5.1 Error: no valid recipients\r\n" });
}

TEST(a22_a_source_route_is_handed_on_whole)
{
    DIALOGUE(rig_conf, "EHLO a;MAIL <@a,@b:u@d>;", { "EHLO a\r\n", EHLO_OK },
            { "MAIL FROM:<@a,@b:u@d>\r\n", MAIL_OK });
}

TEST(a23_quoted_local_parts_hide_what_would_end_the_path)
{
    DIALOGUE(rig_conf, "EHLO a;MAIL <\"a> b\\\"c\\\\\"@d>;RCPT <\"@\"@b>;",
            { "EHLO a\r\n", EHLO_OK },
            { "MAIL FROM:<\"a> b\\\"c\\\\\"@d>\r\nRCPT TO:<\"@\"@b>\r\n", MAIL_OK RCPT_OK });
    DIALOGUE(rig_conf, "EHLO a;MAIL <s@a>;", { "EHLO a\r\n", EHLO_OK },
            { "MAIL FROM:<\"a@b>\r\n", "501 5.1.7 Bad sender address syntax\r\n" },
            { "MAIL FROM:<a b@c>\r\n", "501 5.1.7 Bad sender address syntax\r\n" },
            { "MAIL FROM:<a<b@c>\r\n", "501 5.1.7 Bad sender address syntax\r\n" },
            { "MAIL FROM:<\"a\\\r\n", "501 5.1.7 Bad sender address syntax\r\n" },
            { "MAIL FROM:<s@a>x\r\n", "501 5.5.4 Syntax: MAIL FROM:<address>\r\n" },
            { "MAIL FROM:s@a\r\n", "501 5.5.4 Syntax: MAIL FROM:<address>\r\n" },
            { "MAIL FROM:\r\n", "501 5.5.4 Syntax: MAIL FROM:<address>\r\n" },
            { "MAIL\r\n", "501 5.5.4 Syntax: MAIL FROM:<address>\r\n" },
            { "MAIL FROM:<s@a>\r\n", MAIL_OK },
            { "RCPT FOR:<r@b>\r\n", "501 5.5.4 Syntax: RCPT TO:<address>\r\n" },
            { "RCPT TO:<r@b\r\n", "501 5.1.3 Bad recipient address syntax\r\n" });
}

TEST(a27_a_garbage_helo_name_is_501)
{
    static char name[300];
    memset(name, 'a', sizeof name);
    memcpy(name, "EHLO ", 5);
    memcpy(name + 5 + 256, "\r\n", 3);
    DIALOGUE(rig_conf, "EHLO my_host;HELO [127.0.0.1];EHLO [IPv6:::1];",
            { "EHLO\r\n", "501 5.5.4 Syntax: EHLO hostname\r\n" },
            { "HELO\r\n", "501 5.5.4 Syntax: HELO hostname\r\n" },
            { "EHLO a b\r\n", "501 5.5.4 Syntax: EHLO hostname\r\n" },
            { "EHLO <script>\r\n", "501 5.5.4 Syntax: EHLO hostname\r\n" },
            { "EHLO \xc3\xa9\r\n", "501 5.5.4 Syntax: EHLO hostname\r\n" },
            { name, "501 5.5.4 Syntax: EHLO hostname\r\n" }, { "EHLO my_host\r\n", EHLO_OK },
            { "HELO [127.0.0.1]\r\n", "250 mx.example.org\r\n" },
            { "EHLO [IPv6:::1]\r\n", EHLO_OK });
}

TEST(b01_mail_before_auth_is_530)
{
    static const struct smtp_server_conf conf = { .hostname = { "mx.example.org", 14 },
        .size_max_bytes = 1000,
        .requires_auth = true,
        .allows_auth_in_clear = true,
        .auth_mechanisms = { "PLAIN LOGIN", 11 } };
    DIALOGUE(conf, "EHLO a;", { "EHLO a\r\n", EHLO_AUTH },
            { "MAIL FROM:<s@a>\r\nRCPT TO:<r@b>\r\nDATA\r\n",
                    "530 5.7.0 Authentication required\r\n" NEED_MAIL NEED_MAIL });
}

TEST(b03_auth_without_tls_is_not_offered_and_538)
{
    DIALOGUE(tls_conf, "EHLO a;", { "EHLO a\r\n", EHLO_TLS },
            { "AUTH PLAIN good\r\n",
                    "538 5.7.11 Encryption required for requested authentication mechanism\r\n" },
            { "MAIL FROM:<s@a>\r\nVRFY a\r\nNOOP\r\n",
                    "530 5.7.0 Must issue a STARTTLS command first\r\n"
                    "530 5.7.0 Must issue a STARTTLS command first\r\n250 2.0.0 Ok\r\n" });
    DIALOGUE(rig_conf, "EHLO a;", { "EHLO a\r\n", EHLO_OK },
            { "AUTH PLAIN good\r\n", "503 5.5.1 Error: authentication not enabled\r\n" });
}

TEST(b04_the_third_failed_login_closes)
{
    DIALOGUE(auth_conf, "EHLO a;AUTH PLAIN 1 x;AUTH PLAIN 1 down;AUTH PLAIN 1 y;AUTH PLAIN 1 z;",
            { "EHLO a\r\n", EHLO_AUTH },
            { "AUTH PLAIN x\r\n", "535 5.7.8 Error: authentication failed\r\n" },
            { "AUTH PLAIN down\r\n", "454 4.7.0 Temporary authentication failure\r\n" },
            { "AUTH PLAIN y\r\n", "535 5.7.8 Error: authentication failed\r\n" },
            { "AUTH PLAIN z\r\n", "535 5.7.8 Error: authentication failed\r\n"
                                  "421 4.7.0 mx.example.org Error: too many failed logins\r\n" });
}

TEST(b05_auth_out_of_order_or_malformed)
{
    DIALOGUE(auth_conf, "HELO a;EHLO a;MAIL <s@a>;RESET client said RSET;AUTH PLAIN 1 good;",
            { "AUTH PLAIN good\r\n", "503 5.5.1 Error: send EHLO first\r\n" },
            { "HELO a\r\n", "250 mx.example.org\r\n" },
            { "AUTH PLAIN good\r\n", "503 5.5.1 Error: send EHLO first\r\n" },
            { "EHLO a\r\n", EHLO_AUTH }, { "AUTH\r\n", "501 5.5.4 Syntax: AUTH mechanism\r\n" },
            { "AUTH PLAIN a b\r\n", "501 5.5.4 Syntax: AUTH mechanism\r\n" },
            { "AUTH CRAM-MD5\r\n", "504 5.5.4 Error: authentication mechanism not offered\r\n" },
            { "MAIL FROM:<s@a>\r\n", MAIL_OK },
            { "AUTH PLAIN good\r\n", "503 5.5.1 Error: MAIL transaction in progress\r\n" },
            { "RSET\r\n", "250 2.0.0 Ok\r\n" },
            { "AUTH PLAIN good\r\n", "235 2.7.0 Authentication successful\r\n" },
            { "AUTH PLAIN good\r\n", "503 5.5.1 Error: already authenticated\r\n" });
}

TEST(b07_xclient_and_xforward_are_not_for_strangers)
{
    DIALOGUE(rig_conf, "EHLO a;", { "EHLO a\r\n", EHLO_OK },
            { "XCLIENT ADDR=1.2.3.4\r\n", "550 5.7.0 Error: insufficient authorization\r\n" },
            { "XFORWARD NAME=x\r\n", "550 5.7.0 Error: insufficient authorization\r\n" });
}

TEST(twenty_errors_without_a_message_close_and_452_is_none)
{
    static struct rig rig;
    rig_open(&rig, &rig_conf, false);
    rig_take(&rig);
    for (size_t i = 0; i < 19; i++) {
        rig_send(&rig, STR("FOO\r\n"), 0);
        CHECK_STR(rig_take(&rig), STR("500 5.5.2 Error: command not recognized\r\n"));
    }
    rig_send(&rig, STR("FOO\r\nFOO\r\n"), 0);
    CHECK_STR(rig_take(&rig), STR("500 5.5.2 Error: command not recognized\r\n"
                                  "421 4.7.0 mx.example.org Error: too many errors\r\n"));
    CHECK_STR(buf_str(&rig.events), STR("CLOSE too many errors;"));
    rig_done(&rig);
}

TEST(refusals_of_the_driver_count_as_errors_and_close_too)
{
    static const struct smtp_server_conf conf = {
        .hostname = { "mx.example.org", 14 }, .size_max_bytes = 1000, .error_count_max = 2
    };
    DIALOGUE(conf, "EHLO a;MAIL <refuse@a>;MAIL <later@a>;", { "EHLO a\r\n", EHLO_OK },
            { "MAIL FROM:<refuse@a>\r\n", "550 5.1.1 <refuse@a>: no\r\n" },
            { "MAIL FROM:<later@a>\r\n",
                    "450 4.2.1 later\r\n421 4.7.0 mx.example.org Error: too many errors\r\n" });
}
