/* SPDX-License-Identifier: Apache-2.0
 *
 * dsn_test.c - delivery status notifications: form, words, and hostile text in every field.
 */
#include "mail/dsn.h"

#include "core/prng.h"
#include "core/str.h"
#include "mail/header.h"
#include "tests/test.h"

static const struct wall arrival = { 1764076029000 }, later = { 1764079629000 };

static struct dsn_recipient failed(void)
{
    return (struct dsn_recipient){
        .address = STR("user@example.net"),
        .original = STR("rfc822;user@example.net"),
        .action = DSN_FAILED,
        .status = STR("5.1.1"),
        .remote_mta = STR("mx.example.net"),
        .diagnostic = STR("550 5.1.1 <user@example.net>: User unknown"),
        .last_attempt = later,
    };
}

static struct dsn plain(const struct dsn_recipient *recipient, size_t count)
{
    return (struct dsn){
        .reporting_mta = STR("mta1.example.org"),
        .sender = STR("shop@example.org"),
        .queue_id = STR("01KAXYZ"),
        .envelope_id = STR("QQ314159"),
        .message_id = STR("01KB@mta1.example.org"),
        .boundary = STR("0123456789abcdef"),
        .arrival = arrival,
        .now = later,
        .recipient = recipient,
        .recipient_count = count,
        .original = STR("From: shop@example.org\r\nSubject: order\r\n\r\nthe body\r\n"),
    };
}

/* What holds for every DSN: CRLF lines of at most 998, 7-bit, no control bytes, a header, three
 * parts, one closing boundary. */
static void check_form(struct str text)
{
    struct arena arena;
    struct header header;
    size_t line_len = 0, border_count = 0;
    for (size_t i = 0; i < text.len; i++) {
        char c = text.ptr[i];
        CHECK((c >= ' ' && c <= '~') || c == '\r' || c == '\n' || c == '\t', "byte 0x%02x at %zu",
                (unsigned)(uint8_t)c, i);
        CHECK(c != '\r' || (i + 1 < text.len && text.ptr[i + 1] == '\n'), "bare CR");
        CHECK(c != '\n' || (i > 0 && text.ptr[i - 1] == '\r'), "bare LF");
        line_len = c == '\n' ? 0 : line_len + 1;
        CHECK(line_len <= 999, "long line");
        border_count += str_starts(str_from(text, i), STR("--0123456789abcdef"));
    }
    CHECK_U64(border_count, 4);
    CHECK(str_ends_nocase(text, STR("\r\n--0123456789abcdef--\r\n")));
    arena_init(&arena, HEADER_ARENA_BYTES);
    REQUIRE_OK(header_parse(&arena, text, false, &header, NULL));
    CHECK_U64(header.field_count, 8);
    arena_done(&arena);
}

static void compose(const struct dsn *dsn, struct buf *ret_text)
{
    buf_init(ret_text, DSN_BYTES_MAX);
    REQUIRE_OK(dsn_compose(dsn, ret_text));
    check_form(buf_str(ret_text));
}

static void check_has(const struct buf *text, const char *needle)
{
    CHECK(str_find(buf_str(text), str_from_c(needle)) < text->len, "no \"%s\" in\n%.*s", needle,
            STR_ARG(buf_str(text)));
}

static void check_has_not(const struct buf *text, const char *needle)
{
    CHECK(str_find(buf_str(text), str_from_c(needle)) == text->len, "\"%s\" is in\n%.*s", needle,
            STR_ARG(buf_str(text)));
}

TEST(a_failure_report_has_the_fields_of_rfc_3464)
{
    struct dsn_recipient recipient = failed();
    struct dsn dsn = plain(&recipient, 1);
    struct buf text;
    compose(&dsn, &text);
    check_has(&text, "From: Mail Delivery System <MAILER-DAEMON@mta1.example.org>\r\n"
                     "To: <shop@example.org>\r\nSubject: Your message could not be delivered\r\n");
    check_has(&text, "Auto-Submitted: auto-replied\r\n");
    check_has(&text, "Content-Type: multipart/report; report-type=delivery-status;\r\n");
    check_has(&text,
            "\r\n\r\nReporting-MTA: dns; mta1.example.org\r\nOriginal-Envelope-Id: QQ314159\r\n"
            "X-Outpost-Queue-ID: 01KAXYZ\r\nArrival-Date: Tue, 25 Nov 2025 13:07:09 +0000\r\n"
            "\r\nFinal-Recipient: rfc822; user@example.net\r\n"
            "Original-Recipient: rfc822;user@example.net\r\nAction: failed\r\nStatus: 5.1.1\r\n"
            "Remote-MTA: dns; mx.example.net\r\n"
            "Diagnostic-Code: smtp; 550 5.1.1 <user@example.net>: User unknown\r\n"
            "Last-Attempt-Date: Tue, 25 Nov 2025 14:07:09 +0000\r\n--");
    check_has(&text, "Content-Type: text/rfc822-headers\r\n\r\nFrom: shop@example.org\r\nSubject: "
                     "order\r\n\r\n--");
    check_has_not(&text, "the body");
    check_has(&text,
            "mx.example.net said:\r\n        550 5.1.1 <user@example.net>: User unknown\r\n");
    check_has(&text, "Check the address for typing errors");
    buf_done(&text);
}

TEST(every_action_and_situation_has_its_words)
{
    static const struct {
        enum dsn_action action;
        const char *status, *subject, *words;
    } rows[] = {
        { DSN_DELAYED, "4.4.1", "delayed, we keep trying", "We try until Tue, 25 Nov 2025" },
        { DSN_DELIVERED, "2.0.0", "was delivered", "delivered. (2.0.0)" },
        { DSN_RELAYED, "2.0.0", "was delivered", "sends no further reports" },
        { DSN_EXPANDED, "2.0.0", "was delivered", "members of a list" },
        { DSN_FAILED, "garbage", "could not be delivered", "(5.0.0)" },
        { DSN_DELAYED, "", "delayed", "(4.0.0)" },
        { DSN_RELAYED, "x", "delivered", "(2.0.0)" },
        { DSN_FAILED, "5.1.8", "could not be delivered", "your own address" },
        { DSN_FAILED, "5.2.2", "could not be delivered", "mailbox is full" },
        { DSN_FAILED, "5.3.4", "could not be delivered", "too big" },
        { DSN_FAILED, "5.4.4", "could not be delivered", "typing errors" },
        { DSN_FAILED, "4.4.7", "could not be delivered", "could not be reached in time" },
        { DSN_FAILED, "5.7.1", "could not be delivered", "by its rules" },
        { DSN_FAILED, "5.6.0", "could not be delivered", "say more" },
    };
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        struct dsn_recipient recipient = failed();
        recipient.action = rows[i].action;
        recipient.status = str_from_c(rows[i].status);
        recipient.will_retry_until = later;
        struct dsn dsn = plain(&recipient, 1);
        struct buf text;
        compose(&dsn, &text);
        check_has(&text, rows[i].subject);
        check_has(&text, rows[i].words);
        buf_done(&text);
    }
}

TEST(our_own_reason_stands_where_no_peer_spoke)
{
    struct dsn_recipient recipient = failed();
    recipient.diagnostic = recipient.remote_mta = STR("");
    recipient.reason = STR("The domain example.net has no mail server.");
    struct dsn dsn = plain(&recipient, 1);
    struct buf text;
    dsn.arrival.ms = 0;
    compose(&dsn, &text);
    check_has(&text, "    The domain example.net has no mail server.\r\n");
    check_has(&text, "Diagnostic-Code: X-Outpost; The domain example.net");
    check_has_not(&text, "Remote-MTA");
    check_has_not(&text, "Arrival-Date");
    recipient.diagnostic = STR("550 no");
    buf_done(&text);
    compose(&dsn, &text);
    check_has(&text, "The other system said:");
    buf_done(&text);
}

TEST(hostile_text_is_escaped_folded_and_cut)
{
    struct dsn_recipient recipient[2] = { failed(), failed() };
    struct dsn dsn = plain(recipient, 2);
    struct buf text, longer;
    recipient[0].diagnostic =
            STR("550-a\r\n550 b\nSubject: x\0\x1b[2J\xc3\xb6 \r\n--0123456789abcde");
    recipient[0].address = STR("j\xc3\xb6 rg\\@b\xc3\xbc"
                               "cher.example");
    recipient[0].remote_mta = STR("mx\r\nX: y");
    recipient[1].address = STR("a\xff\r\n@b");
    buf_init(&longer, 10000);
    for (int i = 0; i < 9000; i++) {
        buf_add_char(&longer, 'z');
    }
    recipient[1].diagnostic = buf_str(&longer);
    dsn.envelope_id = buf_str(&longer);
    compose(&dsn, &text);
    check_has(&text, "Diagnostic-Code: smtp; 550-a 550 b Subject: x\\x00\\x1B[2J\\xC3\\xB6\r\n "
                     "--0123456789abcde\r\n");
    check_has(&text, "Final-Recipient: utf-8; j\\x{F6}\\x{20}rg\\x{5C}@b\\x{FC}cher.example\r\n");
    check_has(&text, "Final-Recipient: rfc822; a\\xFF  @b\r\n");
    check_has(&text, "Remote-MTA: dns; mx  X: y\r\n");
    buf_done(&text);
    buf_done(&longer);
}

TEST(the_original_comes_whole_only_where_it_is_clean_and_small)
{
    struct dsn_recipient recipient = failed();
    struct dsn dsn = plain(&recipient, 1);
    struct buf text, big;
    dsn.is_full = true;
    compose(&dsn, &text);
    check_has(&text, "Content-Type: message/rfc822\r\n\r\nFrom: shop@example.org\r\nSubject: "
                     "order\r\n\r\nthe body\r\n");
    buf_done(&text);
    dsn.original = STR("A: b\r\n\r\n\xc3\xb6");
    compose(&dsn, &text);
    check_has(&text, "Content-Type: text/rfc822-headers\r\n\r\nA: b\r\n\r\n--");
    buf_done(&text);
    dsn.original = STR("A: \xc3\xb6= x \r\n\tb\rc\nd\0e \r\n");
    compose(&dsn, &text);
    check_has(&text, "Content-Transfer-Encoding: quoted-printable\r\n\r\n"
                     "A: =C3=B6=3D x=20\r\n=09b=0Dc=0Ad=00e=20\r\n");
    buf_done(&text);
    buf_init(&big, 1 << 20);
    buf_add(&big, STR("A: \xc3\xb6"));
    for (int i = 0; i < 2000; i++) {
        buf_add(&big, STR("word "));
    }
    buf_add(&big, STR("\r\n\r\n"));
    dsn.original = buf_str(&big);
    compose(&dsn, &text);
    buf_done(&text);
    buf_clear(&big);
    buf_add(&big, STR("A: b\r\n\r\n"));
    while (big.len <= DSN_ORIGINAL_FULL_BYTES_MAX) {
        buf_add(&big, STR("line\r\n"));
    }
    dsn.original = buf_str(&big);
    compose(&dsn, &text);
    check_has_not(&text, "line\r\n");
    buf_done(&text);
    buf_done(&big);
}

TEST(a_report_that_would_not_be_one_is_refused)
{
    struct dsn_recipient recipient = failed();
    struct buf text;
    buf_init(&text, DSN_BYTES_MAX);
    for (int i = 0; i < 9; i++) {
        struct dsn dsn = plain(&recipient, 1);
        struct str bad = i % 2 ? STR("a\r\nb") : STR("");
        switch (i / 2) {
        case 0:
            dsn.reporting_mta = bad;
            break;
        case 1:
            dsn.queue_id = bad;
            break;
        case 2:
            dsn.message_id = bad;
            break;
        case 3:
            dsn.boundary = i % 2 ? STR("0123456789abcde\"") : STR("short");
            break;
        default:
            dsn.sender = STR("j\xc3\xb6@x");
            break;
        }
        CHECK_ERR(dsn_compose(&dsn, &text), E_USAGE);
    }
    struct dsn dsn = plain(&recipient, 0);
    CHECK_ERR(dsn_compose(&dsn, &text), E_USAGE);
    dsn = plain(&recipient, 1);
    dsn.sender = STR("");
    CHECK_ERR(dsn_compose(&dsn, &text), E_USAGE);
    CHECK_U64(text.len, 0);
    buf_done(&text);
    buf_init(&text, 100);
    dsn = plain(&recipient, 1);
    CHECK(dsn_compose(&dsn, &text) != OK);
    buf_done(&text);
}

TEST(random_bytes_in_every_field_never_break_the_form)
{
    struct prng prng;
    prng_init(&prng, 3);
    for (int round = 0; round < 300; round++) {
        char bytes[2500];
        for (size_t i = 0; i < sizeof bytes; i++) {
            uint64_t r = prng_next(&prng);
            bytes[i] = r % 5 == 0 ? "\r\n \t=-\\"[r / 5 % 7] : (char)(r >> 8);
        }
        struct dsn_recipient recipient = failed();
        recipient.address = str_of(bytes, prng_below(&prng, 250));
        recipient.original = str_of(bytes + 10, prng_below(&prng, 900));
        recipient.remote_mta = str_of(bytes + 20, prng_below(&prng, 400));
        recipient.diagnostic = str_of(bytes + 30, prng_below(&prng, 2400));
        struct dsn dsn = plain(&recipient, 1);
        dsn.original = str_of(bytes + 40, prng_below(&prng, 2400));
        dsn.envelope_id = str_of(bytes + 50, prng_below(&prng, 900));
        struct buf text;
        compose(&dsn, &text);
        buf_done(&text);
    }
}
