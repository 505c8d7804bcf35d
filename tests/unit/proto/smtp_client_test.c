/* SPDX-License-Identifier: Apache-2.0
 *
 * smtp_client_test.c - the outbound dialogue with good, bad and lying servers.
 *
 * Each turn is what the server says and what the client writes next; events are noted as text. A
 * dialogue runs with the server's bytes whole and split in many ways, and all runs must agree.
 * Names of hostile cases begin with their number.
 */
#include "proto/smtp_client.h"

#include "core/buf.h"
#include "core/str.h"
#include "tests/test.h"

struct turn {
    const char *in;
    const char *out;
};

struct script {
    struct smtp_client_conf conf;
    const struct smtp_client_mail *mails; /* sent one after the other, then QUIT */
    size_t mail_count;
    bool rides;         /* the next envelope goes behind the body */
    bool tls_fails;     /* the handshake */
    bool stops_in_body; /* GO is not followed by a body */
};

struct rig {
    struct smtp_client client;
    const struct script *script;
    struct buf out, events;
    size_t sent_count;
    char taken[8192];
};

static const struct str rcpts[] = { { "r1@b", 4 }, { "r2@b", 4 }, { "r3@b", 4 } };
static const struct smtp_client_mail mails[] = {
    { .sender = { "s@a", 3 }, .rcpts = rcpts, .rcpt_count = 1, .size_bytes = 100 },
    { .sender = { "", 0 }, .rcpts = rcpts, .rcpt_count = 3, .size_bytes = 200 },
    { .sender = { "t@a", 3 },
            .rcpts = rcpts + 1,
            .rcpt_count = 1,
            .size_bytes = 300,
            .is_8bit = true },
};

#define BANNER "220 mx ESMTP\r\n"
#define EHLO "EHLO me\r\n"
#define CAPS "250-mx hi\r\n250-PIPELINING\r\n250-SIZE 1000\r\n250 8BITMIME\r\n"
#define GROUP_1 "MAIL FROM:<s@a> SIZE=100\r\nRCPT TO:<r1@b>\r\nDATA\r\n"
#define GROUP_2                                                                                    \
    "MAIL FROM:<> SIZE=200\r\nRCPT TO:<r1@b>\r\nRCPT TO:<r2@b>\r\nRCPT TO:<r3@b>\r\nDATA\r\n"
#define GROUP_3 "MAIL FROM:<t@a> SIZE=300 BODY=8BITMIME\r\nRCPT TO:<r2@b>\r\nDATA\r\n"

static void write_output(struct rig *rig)
{
    struct str out = smtp_client_output(&rig->client);
    buf_add(&rig->out, out);
    smtp_client_wrote(&rig->client, out.len);
}

static void send_next(struct rig *rig)
{
    if (rig->sent_count == rig->script->mail_count) {
        smtp_client_quit(&rig->client);
        return;
    }
    enum err err = smtp_client_send(&rig->client, &rig->script->mails[rig->sent_count++]);
    if (err != OK) {
        buf_addf(&rig->events, "%s;", err_name(err));
        send_next(rig);
    }
}

static void note(struct rig *rig, const char *word, const struct smtp_client_event *event)
{
    buf_add_c(&rig->events, word);
    if (event->mail) {
        buf_addf(&rig->events, " %zu", (size_t)(event->mail - rig->script->mails));
    }
    if (event->kind == SMTP_CLIENT_RCPT) {
        buf_addf(&rig->events, ".%u", event->rcpt_index);
    }
    if (event->kind == SMTP_CLIENT_FAILED) {
        buf_addf(&rig->events, " %s%s%s", smtp_client_fault_name(event->fault),
                event->is_after_dot ? " AFTER DOT" : "", event->reply ? " " : "");
    }
    if (event->reply && event->kind != SMTP_CLIENT_CLOSED && event->kind != SMTP_CLIENT_READY) {
        buf_addf(&rig->events, " %u %.*s", event->reply->code,
                STR_ARG(smtp_reply_text(event->reply)));
    }
    buf_add_c(&rig->events, ";");
}

static void act_go(struct rig *rig)
{
    if (rig->script->stops_in_body) {
        return;
    }
    write_output(rig);
    buf_add_c(&rig->out, "<body>");
    smtp_client_body_sent(&rig->client);
    if (rig->script->rides && rig->sent_count < rig->script->mail_count) {
        CHECK(smtp_client_can_send(&rig->client));
        send_next(rig);
    }
}

static void act_end(struct rig *rig)
{
    if (smtp_client_phase(&rig->client) == SMTP_CLIENT_PHASE_IDLE) {
        send_next(rig);
    }
}

static void act(struct rig *rig, const struct smtp_client_event *event)
{
    switch (event->kind) {
    case SMTP_CLIENT_NONE:
        break;
    case SMTP_CLIENT_WANT_TLS:
        buf_add_c(&rig->events, "TLS;");
        break;
    case SMTP_CLIENT_READY:
        note(rig, "READY", event);
        send_next(rig);
        break;
    case SMTP_CLIENT_RCPT:
        note(rig, "RCPT", event);
        break;
    case SMTP_CLIENT_GO:
        buf_add_c(&rig->events, "GO;");
        act_go(rig);
        break;
    case SMTP_CLIENT_DONE:
        note(rig, "DONE", event);
        act_end(rig);
        break;
    case SMTP_CLIENT_REFUSED:
        note(rig,
                event->phase == SMTP_CLIENT_PHASE_MAIL   ? "REFUSED MAIL"
                : event->phase == SMTP_CLIENT_PHASE_RCPT ? "REFUSED RCPT"
                                                         : "REFUSED DATA",
                event);
        act_end(rig);
        break;
    case SMTP_CLIENT_FAILED:
        note(rig, "FAILED", event);
        break;
    case SMTP_CLIENT_CLOSED:
        buf_add_c(&rig->events, "CLOSED;");
        break;
    }
}

static void show(struct rig *rig, struct str bytes)
{
    struct smtp_client_event event;
    size_t used;
    char *exact = mem_new(bytes.len ? bytes.len : 1);
    if (bytes.len) {
        memcpy(exact, bytes.ptr, bytes.len);
    }
    struct str rest = str_of(exact, bytes.len);
    while ((used = smtp_client_input(&rig->client, rest, &event)) > 0 ||
            event.kind != SMTP_CLIENT_NONE) {
        rest = str_from(rest, used);
        act(rig, &event);
    }
    CHECK_U64(rest.len, 0);
    mem_free(exact);
    write_output(rig);
    if (smtp_client_phase(&rig->client) == SMTP_CLIENT_PHASE_TLS) { /* no byte behind the 220 */
        smtp_client_tls_done(&rig->client, !rig->script->tls_fails);
        show(rig, STR(""));
    }
}

static void rig_open(struct rig *rig, const struct script *script)
{
    memset(rig, 0, sizeof *rig);
    rig->script = script;
    buf_init(&rig->out, 100000);
    buf_init(&rig->events, 100000);
    smtp_client_open(&rig->client, &script->conf);
    CHECK_U64(smtp_client_output(&rig->client).len, 0);
}

static void rig_done(struct rig *rig)
{
    buf_done(&rig->out);
    buf_done(&rig->events);
}

static void say(struct rig *rig, struct str bytes, size_t piece_bytes)
{
    for (size_t pos = 0; pos < bytes.len; pos += piece_bytes) {
        show(rig, str_sub(bytes, pos, piece_bytes));
    }
}

static void run(const struct script *script, const struct turn *turns, size_t turn_count,
        const char *events, size_t piece_bytes)
{
    static struct rig rig;
    rig_open(&rig, script);
    for (size_t i = 0; i < turn_count; i++) {
        if (strcmp(turns[i].in, "LOST") == 0 || strcmp(turns[i].in, "TIMEOUT") == 0) {
            smtp_client_lost(&rig.client,
                    turns[i].in[0] == 'L' ? SMTP_CLIENT_FAULT_LOST : SMTP_CLIENT_FAULT_TIMEOUT);
            show(&rig, STR(""));
        } else {
            say(&rig, str_from_c(turns[i].in), piece_bytes);
        }
        struct str expected = str_from_c(turns[i].out);
        CHECK(str_eq(buf_str(&rig.out), expected),
                "piece %zu, turn %zu: %.60s\n  got      %.*s\n  expected %s", piece_bytes, i,
                turns[i].in, STR_ARG(buf_str(&rig.out)), turns[i].out);
        buf_clear(&rig.out);
    }
    CHECK_STR(buf_str(&rig.events), str_from_c(events));
    rig_done(&rig);
}

static void dialogue(const struct script *script, const struct turn *turns, size_t turn_count,
        const char *events)
{
    static const size_t pieces[] = { 100000, 1, 2, 3, 7, 20 };
    for (size_t i = 0; i < COUNT_OF(pieces); i++) {
        run(script, turns, turn_count, events, pieces[i]);
    }
}

#define DIALOGUE(script, events, ...)                                                              \
    do {                                                                                           \
        static const struct turn dialogue_turns[] = { __VA_ARGS__ };                               \
        dialogue(&(script), dialogue_turns, COUNT_OF(dialogue_turns), events);                     \
    } while (0)
#define DIALOGUE_WHOLE(script, events, ...)                                                        \
    do {                                                                                           \
        static const struct turn dialogue_turns[] = { __VA_ARGS__ };                               \
        run(&(script), dialogue_turns, COUNT_OF(dialogue_turns), events, 100000);                  \
    } while (0)

#define ME .conf.ehlo_name = { "me", 2 }
static const struct script one = { ME, .mails = mails, .mail_count = 1 };
static const struct script two = { ME, .mails = mails, .mail_count = 2 };
static const struct script three_recipients = { ME, .mails = mails + 1, .mail_count = 1 };
static const struct script three_recipients_and_one = { ME, .mails = mails + 1, .mail_count = 2 };
static const struct script riding = { ME, .mails = mails, .mail_count = 3, .rides = true };
static const struct script tls_may = { ME, .conf.tls = SMTP_CLIENT_TLS_MAY, .mails = mails,
    .mail_count = 1 };
static const struct script tls_must = { ME, .conf.tls = SMTP_CLIENT_TLS_MUST, .mails = mails,
    .mail_count = 1 };
static const struct script tls_up = { ME, .conf.tls = SMTP_CLIENT_TLS_MUST, .conf.is_tls = true };
static const struct script tls_failing = { ME, .conf.tls = SMTP_CLIENT_TLS_MAY, .tls_fails = true };
static const struct script nothing = { ME };
static const struct script stopping = { ME, .mails = mails, .mail_count = 1,
    .stops_in_body = true };

TEST(client_sends_a_message_in_one_write_and_quits)
{
    DIALOGUE(one, "READY;RCPT 0.0 250 ok;GO;DONE 0 250 Ok: queued as 5;CLOSED;", { BANNER, EHLO },
            { CAPS, GROUP_1 }, { "250 ok\r\n250 2.1.5 ok\r\n354 go\r\n", "<body>" },
            { "250 2.0.0 Ok: queued as 5\r\n", "QUIT\r\n" }, { "221 bye\r\n", "" });
}

TEST(client_goes_step_by_step_without_pipelining)
{
    DIALOGUE(three_recipients,
            "READY;RCPT 0.0 250 ok;RCPT 0.1 550 no;RCPT 0.2 251 forward;GO;DONE 0 250 ok;CLOSED;",
            { BANNER, EHLO }, { "250 mx\r\n", "MAIL FROM:<>\r\n" },
            { "250 ok\r\n", "RCPT TO:<r1@b>\r\n" }, { "250 ok\r\n", "RCPT TO:<r2@b>\r\n" },
            { "550 5.1.1 no\r\n", "RCPT TO:<r3@b>\r\n" }, { "251 forward\r\n", "DATA\r\n" },
            { "354 go\r\n", "<body>" }, { "250 ok\r\n", "QUIT\r\n" }, { "221 bye\r\n", "" });
}

TEST(client_puts_the_next_envelope_behind_the_body)
{
    DIALOGUE(riding,
            "READY;RCPT 0.0 250 ok;GO;DONE 0 250 one;RCPT 1.0 250 ok;RCPT 1.1 250 ok;RCPT 1.2 250 "
            "ok;GO;DONE 1 250 two;RCPT 2.0 550 no;REFUSED RCPT 2 554 none;CLOSED;",
            { BANNER, EHLO }, { CAPS, GROUP_1 },
            { "250 ok\r\n250 ok\r\n354 go\r\n", "<body>" GROUP_2 },
            { "250 one\r\n250 ok\r\n250 ok\r\n250 ok\r\n250 ok\r\n354 go\r\n", "<body>" GROUP_3 },
            { "250 two\r\n", "" }, { "250 ok\r\n550 no\r\n554 none\r\n", "QUIT\r\n" },
            { "221 bye\r\n", "" });
}

TEST(client_starts_tls_and_forgets_what_was_offered_in_the_clear)
{
    DIALOGUE(tls_must, "TLS;READY;RCPT 0.0 250 ok;GO;DONE 0 250 ok;CLOSED;", { BANNER, EHLO },
            { "250-mx\r\n250-PIPELINING\r\n250-SIZE 10\r\n250 STARTTLS\r\n", "STARTTLS\r\n" },
            { "220 go\r\n", EHLO }, { "250 mx\r\n", "MAIL FROM:<s@a>\r\n" },
            { "250 ok\r\n", "RCPT TO:<r1@b>\r\n" }, { "250 ok\r\n", "DATA\r\n" },
            { "354 go\r\n", "<body>" }, { "250 ok\r\n", "QUIT\r\n" }, { "221 x\r\n", "" });
    DIALOGUE(tls_up, "READY;CLOSED;", { BANNER, EHLO },
            { "250-mx\r\n250 STARTTLS\r\n", "QUIT\r\n" }, { "221 x\r\n", "" });
}

TEST(client_falls_back_to_helo)
{
    DIALOGUE(one, "READY;RCPT 0.0 250 ok;", { BANNER, EHLO }, { "502 what?\r\n", "HELO me\r\n" },
            { "250 mx PIPELINING\r\n", "MAIL FROM:<s@a>\r\n" },
            { "250 ok\r\n", "RCPT TO:<r1@b>\r\n" }, { "250 ok\r\n", "DATA\r\n" });
    DIALOGUE(one, "FAILED refused by the server  550 go away;", { BANNER, EHLO },
            { "502 what?\r\n", "HELO me\r\n" }, { "550 go away\r\n", "QUIT\r\n" });
    DIALOGUE(tls_must, "FAILED TLS is required, but was not offered  250 mx;", { BANNER, EHLO },
            { "502 what?\r\n", "HELO me\r\n" }, { "250 mx\r\n", "QUIT\r\n" });
}

TEST(client_reads_what_is_offered)
{
    static struct rig rig;
    rig_open(&rig, &nothing);
    say(&rig, STR(BANNER), 100);
    say(&rig,
            STR("250-SIZE 77 is my name\r\n250-pipelining\r\n250-SIZE 1000\r\n250-X-FOO\r\n"
                "250-ENHANCEDSTATUSCODES \r\n250-AUTH PLAIN\r\n250-8bitMIME\r\n250 STARTTLS\r\n"),
            100);
    const struct smtp_client_caps *caps = smtp_client_caps(&rig.client);
    CHECK(caps->is_esmtp && caps->has_pipelining && caps->has_8bitmime && caps->has_starttls);
    CHECK(caps->has_enhanced_codes && caps->has_size && caps->size_max_bytes == 1000);
    rig_done(&rig);
}

TEST(client_keeps_the_outcome_of_each_recipient_when_they_differ)
{
    DIALOGUE(three_recipients_and_one,
            "READY;RCPT 0.0 450 later;RCPT 0.1 250 ok;RCPT 0.2 552 full;GO;DONE 0 554 spam;"
            "RCPT 1.0 250 ok;GO;",
            { BANNER, EHLO }, { CAPS, GROUP_2 },
            { "250 ok\r\n450 later\r\n250 ok\r\n552 full\r\n354 go\r\n", "<body>" },
            { "554 5.7.1 spam\r\n", GROUP_3 }, { "250 ok\r\n250 ok\r\n354 go\r\n", "<body>" });
}

TEST(client_resets_after_a_transaction_that_ended_before_its_data)
{
    DIALOGUE(two, "READY;RCPT 0.0 550 no;REFUSED RCPT 0 503 none;RCPT 1.0 250 ok;",
            { BANNER, EHLO }, { CAPS, GROUP_1 },
            { "250 ok\r\n550 no\r\n503 none\r\n", "RSET\r\n" GROUP_2 },
            { "250 reset\r\n250 ok\r\n250 ok\r\n", "" });
    DIALOGUE(two,
            "READY;RCPT 0.0 250 ok;REFUSED DATA 0 451 busy;FAILED 1 unexpected reply  500 eh;",
            { BANNER, EHLO }, { CAPS, GROUP_1 },
            { "250 ok\r\n250 ok\r\n451 busy\r\n", "RSET\r\n" GROUP_2 },
            { "500 eh\r\n", "QUIT\r\n" });
    /* step by step no DATA is asked for nobody */
    DIALOGUE(one, "READY;RCPT 0.0 550 no;REFUSED RCPT 0 550 no;", { BANNER, EHLO },
            { "250 mx\r\n", "MAIL FROM:<s@a>\r\n" }, { "250 ok\r\n", "RCPT TO:<r1@b>\r\n" },
            { "550 no\r\n", "QUIT\r\n" });
}

TEST(client_lets_a_refused_mail_speak_for_all_and_needs_no_reset)
{
    DIALOGUE(two, "READY;REFUSED MAIL 0 550 who?;RCPT 1.0 250 ok;", { BANNER, EHLO },
            { CAPS, GROUP_1 }, { "550 5.7.1 who?\r\n503 a\r\n503 b\r\n", GROUP_2 },
            { "250 ok\r\n250 ok\r\n", "" });
    DIALOGUE(one, "READY;REFUSED MAIL 0 451 later;", { BANNER, EHLO },
            { "250 mx\r\n", "MAIL FROM:<s@a>\r\n" }, { "451 later\r\n", "QUIT\r\n" });
}

TEST(client_sends_any_number_of_recipients_through_its_small_output)
{
    enum { COUNT = 1000 };
    static struct str many[COUNT];
    static struct rig rig;
    for (size_t i = 0; i < COUNT; i++) {
        many[i] = STR("some.recipient@some.domain.example");
    }
    const struct smtp_client_mail mail = {
        .sender = STR("s@a"), .rcpts = many, .rcpt_count = COUNT
    };
    const struct script script = { ME, .mails = &mail, .mail_count = 1 };
    rig_open(&rig, &script);
    say(&rig, STR(BANNER), 100);
    say(&rig, STR("250-mx\r\n250 PIPELINING\r\n"), 100);
    for (size_t more = 1; more > 0;) {
        struct str out = smtp_client_output(&rig.client);
        more = out.len > 100 ? 100 : out.len; /* a socket that takes a part only */
        buf_add(&rig.out, str_sub(out, 0, more));
        smtp_client_wrote(&rig.client, more);
    }
    CHECK(str_ends_nocase(buf_str(&rig.out), STR("DATA\r\n")));
    CHECK_U64(rig.out.len,
            strlen(EHLO "MAIL FROM:<s@a>\r\nDATA\r\n") +
                    COUNT * strlen("RCPT TO:<some.recipient@some.domain.example>\r\n"));
    for (size_t i = 0; i <= COUNT; i++) {
        say(&rig, STR("250 ok\r\n"), 100);
    }
    buf_clear(&rig.out);
    say(&rig, STR("354 go\r\n"), 100);
    CHECK_STR(buf_str(&rig.out), STR("<body>"));
    rig_done(&rig);
}

TEST(client_stops_asking_when_a_long_groups_mail_is_refused)
{
    enum { COUNT = 1000 };
    static struct str many[COUNT];
    static struct rig rig;
    for (size_t i = 0; i < COUNT; i++) {
        many[i] = STR("some.recipient@some.domain.example");
    }
    const struct smtp_client_mail mail = {
        .sender = STR("s@a"), .rcpts = many, .rcpt_count = COUNT
    };
    const struct script script = { ME, .mails = &mail, .mail_count = 1 };
    rig_open(&rig, &script);
    say(&rig, STR(BANNER), 100);
    say(&rig, STR("250-mx\r\n250 PIPELINING\r\n"), 100);
    size_t asked = rig.client.txn[0].asked_pos - 2;
    CHECK(asked < COUNT);
    say(&rig, STR("550 no\r\n"), 100);
    for (size_t i = 0; i < asked; i++) {
        say(&rig, STR("503 no\r\n"), 100);
    }
    CHECK(str_ends_nocase(buf_str(&rig.events), STR("REFUSED MAIL 0 550 no;")));
    rig_done(&rig);
}

TEST(client_refuses_to_send_what_the_server_or_the_grammar_forbids)
{
    static const struct {
        const char *sender, *rcpt;
    } bad[] = { { "a\r\nRSET", "r@b" }, { "s@a", "" }, { "s@a", "r b@c" }, { "s@a", "r>@b" },
        { "s@a", "<r@b" }, { "\"a@b", "r@b" }, { "\xc3\xa9@a", "r@b" }, { "s@a", "\"a\\\r\"@b" },
        { "s@a", "r\x7f@b" } };
    static struct rig rig;
    rig_open(&rig, &nothing);
    struct str rcpt = STR("r@b");
    struct smtp_client_mail mail = { .sender = STR("s@a"), .rcpts = &rcpt, .rcpt_count = 1 };
    CHECK_ERR(smtp_client_send(&rig.client, &mail), E_BUSY);
    say(&rig, STR(BANNER), 100);
    struct smtp_client_event event;
    CHECK_U64(smtp_client_input(&rig.client, STR("250-mx\r\n250 SIZE 1000\r\n"), &event), 23);
    CHECK_U64(event.kind, SMTP_CLIENT_READY);
    for (size_t i = 0; i < COUNT_OF(bad); i++) {
        mail.sender = str_from_c(bad[i].sender);
        rcpt = str_from_c(bad[i].rcpt);
        CHECK_ERR(smtp_client_send(&rig.client, &mail), E_SYNTAX);
    }
    static char path[1025];
    memset(path, 'a', sizeof path);
    mail.sender = STR("s@a");
    rcpt = str_of(path, sizeof path);
    CHECK_ERR(smtp_client_send(&rig.client, &mail), E_SYNTAX);
    rcpt = STR("\"a b>\\\"\"@c");
    mail.rcpt_count = 0;
    CHECK_ERR(smtp_client_send(&rig.client, &mail), E_SYNTAX);
    mail.rcpt_count = 1;
    mail.size_bytes = 1001;
    CHECK_ERR(smtp_client_send(&rig.client, &mail), E_TOO_BIG);
    mail.size_bytes = 1000;
    mail.is_8bit = true;
    CHECK_ERR(smtp_client_send(&rig.client, &mail), E_UNSUPPORTED);
    CHECK_U64(smtp_client_output(&rig.client).len, 0);
    mail.is_8bit = false;
    CHECK_ERR(smtp_client_send(&rig.client, &mail), OK);
    CHECK_STR(smtp_client_output(&rig.client), STR("MAIL FROM:<s@a> SIZE=1000\r\n"));
    CHECK_ERR(smtp_client_send(&rig.client, &mail), E_BUSY);
    rig_done(&rig);
}

TEST(h01_endless_replies_and_lines_fail)
{
    static char line[5000];
    memset(line, '2', sizeof line);
    line[sizeof line - 1] = '\0';
    const struct turn turns[] = { { line, "" } };
    dialogue(&nothing, turns, 1, "FAILED malformed reply;");
}

TEST(h02_garbage_in_any_phase_fails_and_is_no_success)
{
    DIALOGUE(one, "FAILED malformed reply;", { "SSH-2.0-x\r\n", "" });
    DIALOGUE(one, "FAILED malformed reply;", { BANNER, EHLO }, { "250-a\r\n550 b\r\n", "" });
    DIALOGUE(one, "READY;FAILED 0 malformed reply;", { BANNER, EHLO }, { CAPS, GROUP_1 },
            { "999 what\r\n", "" });
    DIALOGUE(one, "READY;RCPT 0.0 250 ok;GO;FAILED 0 malformed reply AFTER DOT;", { BANNER, EHLO },
            { CAPS, GROUP_1 }, { "250 ok\r\n250 ok\r\n354 go\r\n", "<body>" },
            { "250-ok\r\n550 no\r\n", "" });
}

TEST(h04_replies_before_their_command_are_a_desync)
{
    DIALOGUE_WHOLE(one, "FAILED reply without a command  250 mx;", { BANNER "250 mx\r\n", EHLO });
    /* both answers to MAIL and RCPT, where only MAIL was asked */
    DIALOGUE_WHOLE(one, "READY;FAILED 0 reply without a command  250 ok;", { BANNER, EHLO },
            { "250 mx\r\n", "MAIL FROM:<s@a>\r\n" }, { "250 ok\r\n250 ok\r\n", "" });
    /* the answer to a body that is not sent yet */
    DIALOGUE_WHOLE(stopping, "READY;RCPT 0.0 250 ok;GO;FAILED 0 reply without a command  250 ok;",
            { BANNER, EHLO }, { CAPS, GROUP_1 },
            { "250 ok\r\n250 ok\r\n354 go\r\n250 ok\r\n", "" });
}

TEST(h04_bytes_behind_220_to_starttls_are_a_desync)
{
    DIALOGUE_WHOLE(tls_may, "TLS;FAILED reply without a command;", { BANNER, EHLO },
            { "250-mx\r\n250 STARTTLS\r\n", "STARTTLS\r\n" }, { "220 go\r\n250 evil\r\n", "" });
}

TEST(h05_absurd_ehlo_replies_are_ignored)
{
    static char text[10001 * 8 + 1];
    for (size_t i = 0; i < 10001; i++) {
        memcpy(text + 8 * i, i == 10000 ? "250 ab\r\n" : "250-ab\r\n", 8);
    }
    memcpy(text + 8 * 5000, "250-SIZE", 8); /* joins the next line; past what is looked at */
    const struct turn many[] = { { BANNER, EHLO }, { text, "QUIT\r\n" } };
    run(&nothing, many, 2, "READY;", 100000);
    run(&nothing, many, 2, "READY;", 999);
    DIALOGUE(one, "READY;", { BANNER, EHLO },
            { "250-mx\r\n250-SIZE 99999999999999999999\r\n250 SIZE x\r\n", "MAIL FROM:<s@a>\r\n" });
    DIALOGUE(one, "READY;", { BANNER, EHLO },
            { "250-mx\r\n250 SIZE 0\r\n", "MAIL FROM:<s@a> SIZE=100\r\n" });
    DIALOGUE(one, "READY;", { BANNER, EHLO },
            { "250-mx\r\n250 SIZE\r\n", "MAIL FROM:<s@a> SIZE=100\r\n" });
    DIALOGUE(one, "READY;too_big;CLOSED;", { BANNER, EHLO },
            { "250-mx\r\n250 SIZE 99\r\n", "QUIT\r\n" }, { "221 x\r\n", "" });
}

TEST(h06_starttls_stripped_or_refused)
{
    DIALOGUE(tls_may, "READY;", { BANNER, EHLO }, { "250 mx\r\n", "MAIL FROM:<s@a>\r\n" });
    DIALOGUE(tls_must, "FAILED TLS is required, but was not offered  250 mx;", { BANNER, EHLO },
            { "250 mx\r\n", "QUIT\r\n" });
    DIALOGUE(tls_may, "READY;", { BANNER, EHLO }, { "250-mx\r\n250 STARTTLS\r\n", "STARTTLS\r\n" },
            { "454 no\r\n", "MAIL FROM:<s@a>\r\n" });
    DIALOGUE(tls_must, "FAILED TLS is required, but was refused  454 no;", { BANNER, EHLO },
            { "250-mx\r\n250 STARTTLS\r\n", "STARTTLS\r\n" }, { "454 no\r\n", "QUIT\r\n" });
    DIALOGUE(tls_failing, "TLS;FAILED TLS handshake failed;", { BANNER, EHLO },
            { "250-mx\r\n250 STARTTLS\r\n", "STARTTLS\r\n" }, { "220 go\r\n", "" });
}

TEST(h08_a_loss_after_the_dot_is_in_doubt_and_one_before_is_not)
{
    DIALOGUE(one, "READY;RCPT 0.0 250 ok;GO;FAILED 0 lost connection AFTER DOT;", { BANNER, EHLO },
            { CAPS, GROUP_1 }, { "250 ok\r\n250 ok\r\n354 go\r\n", "<body>" },
            { "250 2.0.0 Ok\r", "" }, { "LOST", "" });
    DIALOGUE(one, "READY;RCPT 0.0 250 ok;GO;FAILED 0 timed out AFTER DOT;", { BANNER, EHLO },
            { CAPS, GROUP_1 }, { "250 ok\r\n250 ok\r\n354 go\r\n", "<body>" },
            { "250-2.0.0 Ok\r\n", "" }, { "TIMEOUT", "" }, { "250 late\r\n", "" });
    DIALOGUE(stopping, "READY;RCPT 0.0 250 ok;GO;FAILED 0 lost connection;", { BANNER, EHLO },
            { CAPS, GROUP_1 }, { "250 ok\r\n250 ok\r\n354 go\r\n", "" }, { "LOST", "" });
    DIALOGUE(riding,
            "READY;RCPT 0.0 250 ok;GO;FAILED 0 lost connection AFTER DOT;FAILED 1 lost connection;",
            { BANNER, EHLO }, { CAPS, GROUP_1 },
            { "250 ok\r\n250 ok\r\n354 go\r\n", "<body>" GROUP_2 }, { "LOST", "" });
}

TEST(h09_2xx_to_data_quits_and_defers)
{
    DIALOGUE(one, "READY;RCPT 0.0 250 ok;FAILED 0 unexpected reply  250 thanks;", { BANNER, EHLO },
            { CAPS, GROUP_1 }, { "250 ok\r\n250 ok\r\n250 thanks\r\n", "QUIT\r\n" });
}

TEST(h09_354_after_all_recipients_failed_gets_a_lone_dot)
{
    DIALOGUE(two, "READY;RCPT 0.0 550 no;REFUSED RCPT 0 250 taken;", { BANNER, EHLO },
            { CAPS, GROUP_1 }, { "250 ok\r\n550 no\r\n354 go\r\n", ".\r\n" },
            { "250 taken\r\n", GROUP_2 });
    DIALOGUE(one, "READY;REFUSED MAIL 0 550 who?;", { BANNER, EHLO }, { CAPS, GROUP_1 },
            { "550 who?\r\n503 MAIL first\r\n354 go\r\n", ".\r\n" },
            { "554 empty\r\n", "QUIT\r\n" });
    DIALOGUE(one, "READY;RCPT 0.0 550 no;FAILED 0 lost connection;", { BANNER, EHLO },
            { CAPS, GROUP_1 }, { "250 ok\r\n550 no\r\n354 go\r\n", ".\r\n" }, { "LOST", "" });
    DIALOGUE(one,
            "READY;RCPT 0.0 550 no;REFUSED RCPT 0 421 bye;FAILED refused by the server  421 bye;",
            { BANNER, EHLO }, { CAPS, GROUP_1 }, { "250 ok\r\n550 no\r\n354 go\r\n", ".\r\n" },
            { "421 bye\r\n", "" });
}

TEST(a_recipient_accepted_after_a_refused_mail_never_gets_an_empty_message)
{
    DIALOGUE(one, "READY;FAILED 0 unexpected reply  354 go;", { BANNER, EHLO }, { CAPS, GROUP_1 },
            { "451 not now\r\n250 ok\r\n354 go\r\n", "" });
}

TEST(h10_each_phase_has_the_deadline_of_rfc_5321_4_5_3_2)
{
    static const struct turn turns[] = { { BANNER, "" }, { CAPS, "" }, { "250 ok\r\n", "" },
        { "250 ok\r\n", "" }, { "354 go\r\n", "" } };
    static const uint64_t minutes[] = { 5, 5, 5, 5, 2, 3 };
    static struct rig rig;
    rig_open(&rig, &stopping);
    for (size_t i = 0; i < COUNT_OF(minutes); i++) {
        CHECK_U64(smtp_client_timeout_ms(&rig.client), minutes[i] * 60000);
        if (i < COUNT_OF(turns)) {
            say(&rig, str_from_c(turns[i].in), 100);
        }
    }
    smtp_client_body_sent(&rig.client);
    CHECK_U64(smtp_client_timeout_ms(&rig.client), 10 * 60000);
    say(&rig, STR("250 ok\r\n"), 100);
    CHECK_U64(smtp_client_timeout_ms(&rig.client), SMTP_CLIENT_QUIT_TIMEOUT_MS);
    rig_done(&rig);
}

TEST(a_421_in_any_phase_ends_the_connection_and_leaves_answered_recipients)
{
    DIALOGUE(one, "FAILED refused by the server  421 busy;", { "421 busy\r\n", "" });
    DIALOGUE(one, "FAILED refused by the server  421 busy;", { BANNER, EHLO },
            { "421 busy\r\n", "" });
    DIALOGUE(tls_may, "FAILED refused by the server  421 busy;", { BANNER, EHLO },
            { "250-mx\r\n250 STARTTLS\r\n", "STARTTLS\r\n" }, { "421 busy\r\n", "" });
    DIALOGUE(one, "READY;FAILED 0 refused by the server  421 busy;", { BANNER, EHLO },
            { CAPS, GROUP_1 }, { "421 busy\r\n", "" });
    DIALOGUE(three_recipients,
            "READY;RCPT 0.0 250 ok;RCPT 0.1 550 no;FAILED 0 refused by the server  421 busy;",
            { BANNER, EHLO }, { CAPS, GROUP_2 },
            { "250 ok\r\n250 ok\r\n550 no\r\n421 busy\r\n", "" }, { "250 late\r\n", "" });
    DIALOGUE(one, "READY;RCPT 0.0 250 ok;FAILED 0 refused by the server  421 busy;",
            { BANNER, EHLO }, { CAPS, GROUP_1 }, { "250 ok\r\n250 ok\r\n421 busy\r\n", "" });
    DIALOGUE(stopping, "READY;RCPT 0.0 250 ok;GO;FAILED 0 refused by the server  421 slow;",
            { BANNER, EHLO }, { CAPS, GROUP_1 }, { "250 ok\r\n250 ok\r\n354 go\r\n", "" },
            { "421 slow\r\n", "" });
    DIALOGUE(riding,
            "READY;RCPT 0.0 250 ok;GO;DONE 0 421 busy;FAILED 1 refused by the server  421 busy;",
            { BANNER, EHLO }, { CAPS, GROUP_1 },
            { "250 ok\r\n250 ok\r\n354 go\r\n", "<body>" GROUP_2 }, { "421 busy\r\n", "" });
}

TEST(a_banner_or_ehlo_that_says_no_is_about_the_connection)
{
    DIALOGUE(one, "FAILED refused by the server  554 go away;", { "554 go away\r\n", "QUIT\r\n" });
    DIALOGUE(one, "FAILED refused by the server  450 later;", { "450 later\r\n", "QUIT\r\n" });
    DIALOGUE(one, "FAILED unexpected reply  354 what;", { "354 what\r\n", "QUIT\r\n" });
    DIALOGUE(one, "FAILED refused by the server  450 later;", { BANNER, EHLO },
            { "450 later\r\n", "QUIT\r\n" });
    DIALOGUE(one, "FAILED unexpected reply  334 what;", { BANNER, EHLO },
            { "334 what\r\n", "QUIT\r\n" });
}

TEST(a_3xx_where_none_belongs_fails)
{
    DIALOGUE(one, "READY;FAILED 0 unexpected reply  354 what;", { BANNER, EHLO }, { CAPS, GROUP_1 },
            { "354 what\r\n", "QUIT\r\n" });
    DIALOGUE(one, "READY;FAILED 0 unexpected reply  354 what;", { BANNER, EHLO }, { CAPS, GROUP_1 },
            { "250 ok\r\n354 what\r\n", "QUIT\r\n" });
    DIALOGUE(one, "READY;RCPT 0.0 250 ok;GO;FAILED 0 unexpected reply AFTER DOT  354 what;",
            { BANNER, EHLO }, { CAPS, GROUP_1 }, { "250 ok\r\n250 ok\r\n354 go\r\n", "<body>" },
            { "354 what\r\n", "" });
}

/* Opens to READY with nothing sent: an idle, cached connection. */
static void open_idle(struct rig *rig)
{
    struct smtp_client_event event;
    rig_open(rig, &nothing);
    say(rig, STR(BANNER), 100);
    CHECK_U64(smtp_client_input(&rig->client, STR("250 mx\r\n"), &event), 8);
    CHECK_U64(event.kind, SMTP_CLIENT_READY);
    CHECK_U64(smtp_client_timeout_ms(&rig->client), 0);
}

TEST(an_idle_connection_may_be_told_421_and_nothing_else)
{
    static struct rig rig;
    open_idle(&rig);
    say(&rig, STR("421 4.4.2 timeout\r\n"), 5);
    CHECK_STR(buf_str(&rig.events), STR("FAILED refused by the server  421 timeout;"));
    rig_done(&rig);
    open_idle(&rig);
    say(&rig, STR("25"), 5);
    CHECK(!smtp_client_can_send(&rig.client));
    say(&rig, STR("0 hello\r\n"), 5);
    CHECK_STR(buf_str(&rig.events), STR("FAILED reply without a command  250 hello;"));
    CHECK(smtp_client_is_closed(&rig.client));
    smtp_client_lost(&rig.client, SMTP_CLIENT_FAULT_LOST); /* said already */
    show(&rig, STR("more"));
    rig_done(&rig);
    open_idle(&rig);
    smtp_client_lost(&rig.client, SMTP_CLIENT_FAULT_LOST);
    show(&rig, STR(""));
    CHECK_STR(buf_str(&rig.events), STR("FAILED lost connection;"));
    rig_done(&rig);
}

TEST(quit_ends_well_whatever_the_server_does_then)
{
    DIALOGUE(nothing, "READY;CLOSED;", { BANNER, EHLO }, { "250 mx\r\n", "QUIT\r\n" },
            { "LOST", "" });
    DIALOGUE(nothing, "READY;CLOSED;", { BANNER, EHLO }, { "250 mx\r\n", "QUIT\r\n" },
            { "500 what\r\n", "" });
    static struct rig rig;
    rig_open(&rig, &one);
    say(&rig, STR(BANNER), 100);
    smtp_client_quit(&rig.client); /* in the middle: just lost */
    show(&rig, STR(""));
    CHECK_STR(buf_str(&rig.events), STR("FAILED lost connection;"));
    smtp_client_tls_done(&rig.client, true); /* came too late */
    smtp_client_body_sent(&rig.client);
    CHECK_STR(str_from_c(smtp_client_phase_name(SMTP_CLIENT_PHASE_RCPT)), STR("sending RCPT TO"));
    CHECK_STR(str_from_c(smtp_client_phase_name(SMTP_CLIENT_PHASE_COUNT)), STR("unknown"));
    rig_done(&rig);
}

TEST(a_reply_in_the_middle_of_the_body_is_no_answer_to_it)
{
    DIALOGUE(stopping, "READY;RCPT 0.0 250 ok;GO;FAILED 0 reply without a command  250 thanks;",
            { BANNER, EHLO }, { CAPS, GROUP_1 }, { "250 ok\r\n250 ok\r\n354 go\r\n", "" },
            { "250 thanks\r\n", "" });
}
