/* SPDX-License-Identifier: Apache-2.0
 *
 * intake_test.c - the door: envelope, what leaves, streaming, and what happens when memory is out.
 */
#include "core/crc32c.h"
#include "core/crypto.h"
#include "core/str.h"
#include "core/ulid.h"
#include "tests/unit/intake/door.h"

#define FROM "From: Shop <shop@example.com>\r\n"
#define DATE "Date: Tue, 25 Nov 2025 12:00:00 +0000\r\n"
#define ID "Message-ID: <1@app.example.com>\r\n"
#define RECEIVED                                                                                   \
    "Received: from app.example.com ([192.0.2.1])\r\n"                                             \
    "\tby mail.example.com (Outpost) with ESMTPSA\r\n"                                             \
    "\t(using TLSv1.3 with cipher TLS_AES_256_GCM_SHA384 (256 bits))\r\n"                          \
    "\tid 01KAXPYC6014NE23H4WSWXEY3Y; Tue, 25 Nov 2025 13:00:00 +0000\r\n"

static struct str content_of(const struct door_result *result)
{
    return buf_str(&result->content);
}

/* Replaces the id in expected by the one of the result, so that tests do not depend on it. */
static void check_content(const struct door_result *result, const char *expected)
{
    char id[ULID_TEXT_LEN + 1];
    char text[8192];
    CHECK(result->err == OK, "%u %s", result->refusal.code, result->refusal.text);
    ulid_format(result->ulid, id);
    size_t len = fmt(text, sizeof text, "%s", expected);
    struct str rest = str_of(text, len);
    struct str old = STR("01KAXPYC6014NE23H4WSWXEY3Y");
    for (size_t at = str_find(rest, old); at < rest.len; at = str_find(rest, old)) {
        memcpy(text + (rest.ptr - text) + at, id, ULID_TEXT_LEN);
        rest = str_from(rest, at + ULID_TEXT_LEN);
    }
    CHECK_STR(content_of(result), str_of(text, len));
}

static void submit_as(const char *credential, struct str content, struct door_result *ret_result)
{
    struct intake_client client = door_client(credential);
    door_submit(&client, content, 0, ret_result);
}

TEST(a_complete_message_gets_received_and_is_else_byte_identical)
{
    struct door_result result;
    submit_as("shop", STR(FROM DATE ID "X-Odd:   a\r\n\tb  \r\n\r\nhello\r\n\r\n"), &result);
    check_content(&result, RECEIVED FROM DATE ID "X-Odd:   a\r\n\tb  \r\n\r\nhello\r\n\r\n");
    CHECK_STR(result.envelope.message_id, STR("<1@app.example.com>"));
    CHECK_STR(result.envelope.sender, STR("sender@example.com"));
    CHECK_STR(result.envelope.from_domain, STR("example.com"));
    CHECK_STR(result.envelope.credential, STR("shop"));
    CHECK_STR(result.envelope.stream, STR("transactional"));
    CHECK_STR(result.envelope.client, STR("192.0.2.1"));
    CHECK_STR(result.envelope.helo, STR("app.example.com"));
    CHECK_U64(result.envelope.rcpt_count, 1);
    CHECK_U64(result.envelope.content_bytes, result.content.len);
    CHECK_U64(result.envelope.header_bytes, result.content.len - strlen("hello\r\n\r\n"));
    CHECK(ulid_eq(result.envelope.ulid, result.ulid));
    door_result_done(&result);
}

TEST(a_missing_date_and_message_id_are_added_behind_the_header)
{
    struct door_result result;
    submit_as("shop", STR(FROM "Subject: x\r\n\r\nhi\r\n"), &result);
    check_content(&result, RECEIVED FROM
            "Subject: x\r\n"
            "Date: Tue, 25 Nov 2025 13:00:00 +0000\r\n"
            "Message-ID: <01KAXPYC6014NE23H4WSWXEY3Y@mail.example.com>\r\n\r\nhi\r\n");
    CHECK_U64(result.envelope.message_id.len, strlen("<@mail.example.com>") + ULID_TEXT_LEN);
    CHECK_STR(result.envelope.subject_hint, STR("x"));
    door_result_done(&result);
}

TEST(c6_c11_what_must_not_leave_is_taken_out_wherever_it_stands)
{
    struct door_result result;
    submit_as("shop",
            STR("Bcc: secret@example.net\r\n" FROM DATE
                "bcc: folded@example.net,\r\n more@example.net\r\nReturn-Path: <x@y.example>\r\n" ID
                "X-Outpost-Tag: order-7\r\nContent-Length: 5\r\nSubject: s\r\n"
                "Authentication-Results: mail.example.com; dkim=pass\r\n"
                "Authentication-Results: other.example; dkim=pass\r\n"
                "Resent-Bcc: r@example.net\r\n\r\nx\r\n"),
            &result);
    check_content(&result,
            RECEIVED FROM DATE ID "Subject: s\r\n"
                                  "Authentication-Results: other.example; dkim=pass\r\n\r\nx\r\n");
    CHECK_STR(result.envelope.tag, STR("order-7"));
    door_result_done(&result);
}

TEST(c11_own_results_are_found_behind_comments_and_in_quotes)
{
    static const char *const own[] = { "(c (d) \\) e) mail.example.com; x=y",
        "\"mail.example.com\"", "MAIL.example.COM/1", " mail.example.com" };
    static const char *const foreign[] = { "mail.example.com.evil.example; x", "(mail.example.com",
        "", "(" };
    for (size_t i = 0; i < COUNT_OF(own) + COUNT_OF(foreign); i++) {
        bool is_own = i < COUNT_OF(own) && i != 2;
        struct door_result result;
        char text[300];
        size_t len = fmt(text, sizeof text, FROM DATE ID "Authentication-Results: %s\r\n\r\n",
                i < COUNT_OF(own) ? own[i] : foreign[i - COUNT_OF(own)]);
        submit_as("shop", str_of(text, len), &result);
        CHECK(result.err == OK, "%s: %s", text, result.refusal.text);
        bool is_there = str_find(content_of(&result), STR("Authentication")) < result.content.len;
        CHECK(is_there != is_own, "%s", text);
        door_result_done(&result);
    }
}

TEST(a_message_without_body_and_border_gets_its_empty_line)
{
    struct door_result result;
    submit_as("shop", STR(FROM DATE ID), &result);
    check_content(&result, RECEIVED FROM DATE ID "\r\n");
    CHECK_U64(result.envelope.header_bytes, result.content.len);
    door_result_done(&result);
    submit_as("shop", STR(FROM DATE "Message-ID: <1@app.example.com>"), &result);
    check_content(&result, RECEIVED FROM DATE ID "\r\n");
    door_result_done(&result);
    submit_as("shop", STR(FROM DATE ID "Bcc: x@example.net"), &result);
    check_content(&result, RECEIVED FROM DATE ID "\r\n");
    door_result_done(&result);
}

TEST(control_fields_are_read_into_the_envelope)
{
    struct door_result result;
    submit_as("shop",
            STR(FROM DATE ID "x-outpost-stream: bulk\r\nX-OUTPOST-TAG:  a, b \r\n"
                             "X-Outpost-Meta-Order: 17\r\nX-Outpost-Meta-Note: a\r\n  b = c\r\n"
                             "X-Outpost-Meta-Empty:\r\n\r\n"),
            &result);
    check_content(&result, RECEIVED FROM DATE ID "\r\n");
    CHECK_STR(result.envelope.stream, STR("bulk"));
    CHECK_STR(result.envelope.tag, STR("a, b"));
    CHECK_STR(result.envelope.meta, STR("order=17\nnote=a  b = c\nempty=\n"));
    door_result_done(&result);
}

TEST(the_clients_address_and_name_are_hidden_where_asked_for)
{
    struct door_result result;
    struct intake_client client = door_client("shop");
    client.is_client_hidden = true;
    client.tls = STR("");
    door_submit(&client, STR(FROM DATE ID "\r\n"), 0, &result);
    check_content(&result,
            "Received: by mail.example.com (Outpost) with ESMTPSA\r\n"
            "\tid 01KAXPYC6014NE23H4WSWXEY3Y; Tue, 25 Nov 2025 13:00:00 +0000\r\n" FROM DATE ID
            "\r\n");
    door_result_done(&result);
}

TEST(a27_a_strange_client_name_is_escaped_in_received_and_ipv6_is_tagged)
{
    struct door_result result;
    struct intake_client client = door_client("shop");
    client.tls = STR("");
    client.helo = STR("a(b)\"<c>;\x80");
    client.client = STR("2001:db8::1");
    door_submit(&client, STR(FROM DATE ID "\r\n"), 0, &result);
    check_content(&result,
            "Received: from a?b???c??? ([IPv6:2001:db8::1])\r\n"
            "\tby mail.example.com (Outpost) with ESMTPSA\r\n"
            "\tid 01KAXPYC6014NE23H4WSWXEY3Y; Tue, 25 Nov 2025 13:00:00 +0000\r\n" FROM DATE ID
            "\r\n");
    door_result_done(&result);
}

TEST(the_body_is_hashed_where_a_key_will_sign)
{
    struct door_result result;
    uint8_t hash[SHA256_BYTES];
    submit_as("any", STR("From: a@mail.shop.example.COM\r\n" DATE ID "\r\na  b \r\nc\r\n\r\n"),
            &result);
    CHECK(result.err == OK, "%s", result.refusal.text);
    CHECK_U64(result.envelope.flags, SPOOL_MSG_BODY_HASH | SPOOL_MSG_SIGN);
    CHECK_STR(result.envelope.from_domain, STR("mail.shop.example.com"));
    sha256(STR("a b\r\nc\r\n"), hash); /* relaxed, RFC 6376 3.4.4 */
    CHECK(memcmp(hash, result.envelope.body_hash, sizeof hash) == 0);
    door_result_done(&result);
    submit_as("any", STR("From: a@nokey.example\r\n" DATE ID "\r\na\r\n"), &result);
    CHECK_U64(result.envelope.flags, 0);
    door_result_done(&result);
}

TEST(a_signed_stream_takes_no_message_without_a_key)
{
    struct door_result result;
    submit_as("any", STR("From: a@nokey.example\r\nX-Outpost-Stream: signed\r\n\r\n"), &result);
    CHECK_U64(result.refusal.code, 550);
    CHECK_STR(str_from_c(result.refusal.enhanced), STR("5.7.1"));
    CHECK(strstr(result.refusal.text, "no DKIM key for From domain nokey.example"));
    door_result_done(&result);
    submit_as("any", STR("From: a@[192.0.2.1]\r\nX-Outpost-Stream: signed\r\n\r\n"), &result);
    CHECK_U64(result.refusal.code, 550);
    door_result_done(&result);
    submit_as("any", STR("From: a@example.com\r\nX-Outpost-Stream: signed\r\n\r\n"), &result);
    CHECK_ERR(result.err, OK);
    door_result_done(&result);
}

TEST(a_report_of_our_own_is_free_of_credential_key_and_size_rules)
{
    struct door_result result;
    struct intake_client client = door_client("shop");
    client.is_own_dsn = true;
    door_submit(&client, STR("From: MAILER-DAEMON@nokey.example\r\n" DATE ID "\r\n"), 0, &result);
    CHECK(result.err == OK, "%s", result.refusal.text);
    CHECK_U64(result.envelope.flags, SPOOL_MSG_DSN);
    CHECK_STR(result.envelope.stream, STR("system"));
    door_result_done(&result);
}

TEST(a16_bytes_above_127_in_the_body_are_marked)
{
    struct door_result result;
    submit_as("any", STR("From: a@b.example\r\n\r\nplain\r\n"), &result);
    CHECK_U64(result.envelope.flags, 0);
    door_result_done(&result);
    submit_as("any", STR("From: a@b.example\r\n\r\nplain\r\nf\xc3\xbcr\r\n"), &result);
    CHECK_U64(result.envelope.flags, SPOOL_MSG_8BIT);
    door_result_done(&result);
}

TEST(any_split_of_the_content_gives_the_same_message)
{
    static const char text[] = FROM
            "bcc: x@example.net\r\nSubject: =?utf-8?q?a?=\r\n b\r\n"
            "X-Outpost-Tag: t\r\nX-Outpost-Meta-K: v\r\n\r\n\r\nbody \xff with  blanks \r\n\r\n"
            "..\r\nlast\r\n\r\n\r\n";
    struct str content = str_of(text, sizeof text - 1);
    struct door_result whole;
    submit_as("shop", content, &whole);
    CHECK(whole.err == OK, "%s", whole.refusal.text);
    for (size_t part = 1; part < content.len; part++) {
        struct door_result result;
        struct intake_client client = door_client("shop");
        door_submit(&client, content, part, &result);
        CHECK(result.err == OK, "split %zu: %s", part, result.refusal.text);
        CHECK_STR(buf_str(&result.content), buf_str(&whole.content));
        CHECK_STR(buf_str(&result.envelope_text), buf_str(&whole.envelope_text));
        keeper_accept_free(result.accept);
        result.accept = NULL;
        buf_done(&result.content);
        buf_done(&result.envelope_text);
    }
    door_result_done(&whole);
}

TEST(any_split_of_a_refused_message_gives_the_same_refusal)
{
    static const char *const text[] = { FROM "Subject: a\r\nSubject: b\r\n\r\nx\r\n",
        "No header\r\n\r\n", FROM "X: \xff\r\n\r\n", "\r\nbody\r\n", "Subject: x\r\n" };
    for (size_t i = 0; i < COUNT_OF(text); i++) {
        struct door_result whole;
        submit_as("shop", str_from_c(text[i]), &whole);
        CHECK(whole.refusal.code == 554, "%s", text[i]);
        for (size_t part = 1; part < strlen(text[i]); part++) {
            struct door_result result;
            struct intake_client client = door_client("shop");
            door_submit(&client, str_from_c(text[i]), part, &result);
            CHECK_U64(result.refusal.code, whole.refusal.code);
            CHECK_STR(str_from_c(result.refusal.text), str_from_c(whole.refusal.text));
            door_result_done(&result);
        }
        door_result_done(&whole);
    }
}

/* ---- envelope ------------------------------------------------------------------------------ */

struct fixture {
    struct intake *intake;
    struct intake_refusal refusal;
};

static struct fixture fixture_new(const char *credential)
{
    struct fixture fixture = { 0 };
    struct intake_client client = door_client(credential);
    REQUIRE_OK(
            intake_new(&client, &door_budget, door_entropy(), (struct wall){ 1 }, &fixture.intake));
    return fixture;
}

static void check_sender(
        const char *credential, const char *path, unsigned code, const char *enhanced)
{
    struct fixture fixture = fixture_new(credential);
    enum err err = intake_sender(fixture.intake, str_from_c(path), false, &fixture.refusal);
    CHECK((err == OK) == (code == 0), "<%s>: %s %u", path, err_name(err), fixture.refusal.code);
    if (code != 0) {
        CHECK_U64(fixture.refusal.code, code);
        CHECK_STR(str_from_c(fixture.refusal.enhanced), str_from_c(enhanced));
    }
    intake_free(fixture.intake);
}

TEST(b6_senders_are_judged_by_syntax_and_by_the_credentials_domains)
{
    check_sender("shop", "", 0, "");
    check_sender("shop", "a@example.com", 0, "");
    check_sender("shop", "a@Bounces.EXAMPLE.com", 0, "");
    check_sender("shop", "a@notexample.com", 553, "5.7.1");
    check_sender("shop", "a@example.net", 553, "5.7.1");
    check_sender("any", "a@example.net", 0, "");
    check_sender(NULL, "a@example.net", 0, "");
    check_sender("any", "no-domain", 501, "5.1.7");
    check_sender("any", "a@b@c", 501, "5.1.7");
    check_sender("any", "-a@b.example", 501, "5.1.7");
    check_sender("any", "\xc3\xbc@b.example", 553, "5.6.7");
}

static void check_rcpt(const char *path, unsigned code, const char *enhanced_or_kept)
{
    struct fixture fixture = fixture_new("any");
    enum err err = intake_recipient(fixture.intake, str_from_c(path), &fixture.refusal);
    CHECK((err == OK) == (code == 0), "<%s>: %s %u", path, err_name(err), fixture.refusal.code);
    if (code != 0) {
        CHECK_U64(fixture.refusal.code, code);
        CHECK_STR(str_from_c(fixture.refusal.enhanced), str_from_c(enhanced_or_kept));
    } else {
        struct door_result result;
        struct str rcpt;
        intake_content(fixture.intake, STR("From: a@b.example\r\n\r\n"));
        intake_end(fixture.intake);
        door_finish(fixture.intake, &result);
        struct cur cur = { result.envelope.rcpts, false };
        CHECK(spool_rcpt_next(&cur, &rcpt));
        CHECK_STR(rcpt, str_from_c(enhanced_or_kept));
        keeper_accept_free(result.accept);
        buf_done(&result.content);
        buf_done(&result.envelope_text);
    }
    intake_free(fixture.intake);
}

TEST(a17_a22_to_a26_recipients_are_kept_in_normal_form_or_refused)
{
    check_rcpt("user@Example.NET", 0, "user@example.net");
    check_rcpt("@a.example,@b.example:user@example.net", 0, "user@example.net");
    check_rcpt("\"us\\er\"@example.net", 0, "user@example.net");
    check_rcpt("\"a@b\"@example.net", 0, "\"a@b\"@example.net");
    check_rcpt("a%b@example.net", 0, "a%b@example.net");
    check_rcpt("b!a@example.net", 0, "b!a@example.net");
    check_rcpt("a@b@example.net", 501, "5.1.3");
    check_rcpt("-oQ/tmp@example.net", 501, "5.1.3");
    check_rcpt("a|b;$(c)@example.net", 501, "5.1.3");
    check_rcpt("user", 501, "5.1.3");
    check_rcpt("user@[300.1.1.1]", 501, "5.1.3");
    check_rcpt("user@[192.0.2.7]", 550, "5.1.2");
    check_rcpt("user@[127.0.0.1]", 550, "5.1.2");
    check_rcpt("user@[10.0.0.7]", 0, "user@[10.0.0.7]");
    check_rcpt("PostMaster", 0, "postmaster@mail.example.com");
    check_rcpt("\xc3\xbc@example.net", 553, "5.6.7");
}

TEST(a21_a_recipient_named_twice_is_kept_once)
{
    struct fixture fixture = fixture_new("any");
    for (int i = 0; i < 3; i++) {
        REQUIRE_OK(intake_recipient(fixture.intake, STR("a@example.net"), &fixture.refusal));
        REQUIRE_OK(intake_recipient(fixture.intake, STR("A@example.net"), &fixture.refusal));
        REQUIRE_OK(intake_recipient(fixture.intake, STR("\"a\"@EXAMPLE.net"), &fixture.refusal));
    }
    CHECK_U64(intake_rcpt_count(fixture.intake), 2);
    intake_free(fixture.intake);
}

TEST(a20_recipients_over_the_limit_of_the_spool_are_put_off)
{
    struct fixture fixture = fixture_new("any");
    char path[64];
    for (int i = 0; i < SPOOL_RCPT_COUNT_MAX; i++) {
        size_t len = fmt(path, sizeof path, "u%d@example.net", i);
        REQUIRE_OK(intake_recipient(fixture.intake, str_of(path, len), &fixture.refusal));
    }
    CHECK_ERR(intake_recipient(fixture.intake, STR("more@example.net"), &fixture.refusal), E_FULL);
    CHECK_U64(fixture.refusal.code, 452);
    CHECK_STR(str_from_c(fixture.refusal.enhanced), STR("4.5.3"));
    REQUIRE_OK(intake_recipient(fixture.intake, STR("u5@example.net"), &fixture.refusal));
    CHECK_U64(intake_rcpt_count(fixture.intake), SPOOL_RCPT_COUNT_MAX);
    intake_free(fixture.intake);
}

TEST(a_message_to_nobody_is_refused)
{
    struct fixture fixture = fixture_new("any");
    struct door_result result;
    intake_content(fixture.intake, STR("From: a@b.example\r\n\r\n"));
    intake_end(fixture.intake);
    door_finish(fixture.intake, &result);
    CHECK_U64(result.refusal.code, 554);
    CHECK_STR(str_from_c(result.refusal.enhanced), STR("5.5.1"));
    intake_free(fixture.intake);
    door_result_done(&result);
}

/* ---- large content -------------------------------------------------------------------------- */

enum { BIG_BYTES = (5 << 20) / 2 };

/* Feeds a header and BIG_BYTES of lines; chunks go to taken, each answered by err_at_last. */
static void feed_big(struct intake *intake, struct buf *taken, enum err err, uint32_t *ret_count)
{
    struct blob *chunk;
    char line[80];
    uint32_t count = 0;
    memset(line, 'x', sizeof line);
    line[78] = '\r';
    line[79] = '\n';
    intake_content(intake, STR("From: a@example.com\r\n" DATE ID "\r\n"));
    for (size_t sent = 0; sent <= BIG_BYTES; sent += sizeof line) {
        bool is_last = sent + sizeof line > BIG_BYTES;
        intake_content(intake, str_of(line, sizeof line));
        if (is_last) {
            intake_end(intake);
        }
        while ((chunk = intake_chunk_take(intake)) != NULL) {
            CHECK(chunk->size_bytes <= SPOOL_INLINE_BYTES_MAX);
            CHECK_U64(intake_chunks_out(intake), 1);
            blob_gather(chunk, taken);
            struct spool_extent extent = { .slot = ++count,
                .len_bytes = (uint32_t)chunk->size_bytes };
            intake_chunk_stored(intake, is_last ? err : OK, extent);
            blob_give(chunk);
        }
    }
    *ret_count = count;
}

TEST(content_over_the_inline_limit_goes_out_in_chunks)
{
    struct fixture fixture = fixture_new("any");
    struct door_result result;
    struct buf taken;
    uint32_t count;
    buf_init(&taken, 8 << 20);
    REQUIRE_OK(intake_recipient(fixture.intake, STR("a@example.net"), &fixture.refusal));
    feed_big(fixture.intake, &taken, OK, &count);
    door_finish(fixture.intake, &result);
    CHECK(result.err == OK, "%s", result.refusal.text);
    CHECK(result.accept->content == NULL);
    CHECK_U64(result.accept->body.extent_count, count);
    CHECK(count >= 6, "%u chunks", count);
    CHECK_U64(result.accept->body.extent[1].slot, 2);
    CHECK_U64(result.accept->body.crc32c, crc32c(0, buf_str(&taken)));
    CHECK_U64(result.envelope.content_bytes, taken.len);
    CHECK(str_starts(buf_str(&taken), STR("Received: from ")));
    intake_free(fixture.intake);
    buf_done(&taken);
    door_result_done(&result);
}

TEST(a_chunk_that_cannot_be_stored_refuses_the_message_and_drops_the_others)
{
    static const struct {
        enum err err;
        unsigned code;
    } cases[] = { { E_NO_SPACE, 452 }, { E_IO, 451 }, { E_FULL, 452 } };
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        struct fixture fixture = fixture_new("any");
        struct door_result result;
        struct buf taken;
        uint32_t count;
        buf_init(&taken, 8 << 20);
        REQUIRE_OK(intake_recipient(fixture.intake, STR("a@example.net"), &fixture.refusal));
        feed_big(fixture.intake, &taken, cases[i].err, &count);
        door_finish(fixture.intake, &result);
        CHECK_U64(result.refusal.code, cases[i].code);
        CHECK_U64(result.drop.extent_count, count - 1);
        intake_free(fixture.intake);
        buf_done(&taken);
        door_result_done(&result);
    }
}

TEST(content_of_which_a_chunk_was_not_taken_is_refused_and_not_kept_in_memory)
{
    struct fixture fixture = fixture_new("any");
    struct door_result result;
    char line[80];
    memset(line, 'x', sizeof line);
    line[78] = '\r';
    line[79] = '\n';
    REQUIRE_OK(intake_recipient(fixture.intake, STR("a@example.net"), &fixture.refusal));
    intake_content(fixture.intake, STR("From: a@example.com\r\n" DATE ID "\r\n"));
    for (size_t sent = 0; sent <= BIG_BYTES; sent += sizeof line) {
        intake_content(fixture.intake, str_of(line, sizeof line));
    }
    intake_end(fixture.intake);
    door_finish(fixture.intake, &result);
    CHECK_ERR(result.err, E_DENIED);
    CHECK_U64(result.refusal.code, 451);
    intake_free(fixture.intake);
    door_result_done(&result);
    CHECK_U64(door_budget.used_bytes, 0);
}

TEST(a_message_given_up_half_way_tells_what_to_drop)
{
    struct fixture fixture = fixture_new("any");
    struct buf taken;
    struct spool_body drop;
    uint32_t count;
    buf_init(&taken, 8 << 20);
    feed_big(fixture.intake, &taken, OK, &count);
    intake_abandon(fixture.intake, &drop);
    CHECK_U64(drop.extent_count, count);
    CHECK_U64(drop.extent[0].slot, 1);
    mem_free(drop.extent);
    intake_free(fixture.intake);
    buf_done(&taken);
    fixture = fixture_new("any");
    intake_content(fixture.intake, STR("From: x"));
    intake_abandon(fixture.intake, &drop);
    CHECK_U64(drop.extent_count, 0);
    intake_free(fixture.intake);
    CHECK_U64(door_budget.used_bytes, 0);
}

TEST(content_over_the_limits_of_configuration_is_refused)
{
    struct intake_client client = door_client("any");
    struct config config = *door_config();
    struct door_result result;
    config.message_bytes_max = 100;
    client.config = &config;
    door_submit(&client, STR("From: a@b.example\r\n\r\n"), 0, &result);
    CHECK_ERR(result.err, OK);
    door_result_done(&result);
    char text[200];
    size_t len = fmt(text, sizeof text, "From: a@b.example\r\n\r\n%0100d\r\n", 0);
    door_submit(&client, str_of(text, len), 7, &result);
    CHECK_U64(result.refusal.code, 552);
    CHECK_STR(str_from_c(result.refusal.enhanced), STR("5.3.4"));
    door_result_done(&result);
}

/* ---- memory --------------------------------------------------------------------------------- */

/* One small message; OK, E_NOMEM, or E_DENIED with a 452. */
static enum err try_message(struct str content, size_t part, struct intake_refusal *ret_refusal)
{
    struct intake_client client = door_client("shop");
    struct intake *intake;
    struct keeper_accept *accept;
    struct spool_body drop;
    struct ulid ulid;
    enum err err = intake_new(&client, &door_budget, door_entropy(), (struct wall){ 1 }, &intake);
    if (err != OK) {
        return err;
    }
    err = intake_sender(intake, STR("a@example.com"), false, ret_refusal);
    err = err != OK ? err : intake_recipient(intake, STR("b@example.net"), ret_refusal);
    if (err == OK) {
        intake_content(intake, str_sub(content, 0, part));
        intake_content(intake, str_from(content, part));
        intake_end(intake);
        err = intake_finish(intake, &accept, &ulid, &drop, ret_refusal);
        if (err == OK) {
            keeper_accept_free(accept);
        }
    }
    intake_free(intake);
    return err;
}

TEST(f61_memory_that_runs_out_at_any_step_is_a_452_and_leaks_nothing)
{
    struct str content =
            STR(FROM "Subject: s\r\nX-Outpost-Tag: t\r\nX-Outpost-Meta-A: b\r\n"
                     "X-Outpost-Stream: bulk\r\nSender: a@example.com\r\n\r\nbody\r\n");
    for (size_t part = 0; part <= 20; part += 20) {
        for (uint64_t n = 1;; n++) {
            struct intake_refusal refusal = { 0 };
            mem_fail_at(n);
            enum err err = try_message(content, part, &refusal);
            mem_fail_at(0);
            CHECK_U64(door_budget.used_bytes, 0);
            if (err == OK) {
                CHECK(n > 5, "only %d allocations failed", (int)n);
                break;
            }
            CHECK(err == E_NOMEM || refusal.code == 452, "step %d: %s %u %s", (int)n, err_name(err),
                    refusal.code, refusal.text);
        }
    }
}

TEST(a_budget_that_is_spent_is_a_452)
{
    struct door_result result;
    struct intake_client client = door_client("any");
    uint64_t max_bytes = door_budget.max_bytes;
    for (size_t part = 0; part < 60; part += 30) {
        door_budget.max_bytes = 100;
        door_submit(&client, STR(FROM DATE ID "\r\nbody\r\n"), part, &result);
        door_budget.max_bytes = max_bytes;
        CHECK_U64(result.refusal.code, 452);
        CHECK_STR(str_from_c(result.refusal.enhanced), STR("4.3.1"));
        door_result_done(&result);
    }
}
