/* SPDX-License-Identifier: Apache-2.0
 *
 * dkim_sign_test.c - signatures as they leave: their form, what they cover, and that they verify.
 */
#include "core/prng.h"
#include "core/str.h"
#include "mail/dkim.h"
#include "mail/header.h"
#include "tests/test.h"

static const struct wall accepted = { 1764076029123 };

static struct key *test_key(enum key_kind kind)
{
    static struct key *keys[2]; /* made once: RSA keys take their time */
    if (!keys[kind]) {
        REQUIRE_OK(key_generate(kind, 2048, &keys[kind]));
    }
    return keys[kind];
}

static void sign(enum key_kind kind, struct str header, struct str body, struct buf *ret_field)
{
    struct dkim_body_hash hash;
    uint8_t body_hash[SHA256_BYTES];
    REQUIRE_OK(dkim_body_begin(&hash, NULL));
    dkim_body_add(&hash, body);
    dkim_body_end(&hash, body_hash);
    struct dkim_signing how = { STR("Example.org"), STR("s1.x"), test_key(kind), accepted,
        body_hash };
    REQUIRE_OK(dkim_sign(&how, header, ret_field));
}

/* Signs, puts the field in front, verifies; the message is in *ret_message. */
static struct dkim_verdict round_trip(
        enum key_kind kind, struct str header, struct str body, struct buf *ret_message)
{
    struct dkim_verify *verify;
    struct buf txt;
    struct str name;
    buf_init(ret_message, 1 << 20);
    sign(kind, header, body, ret_message);
    buf_add(ret_message, header);
    buf_add(ret_message, STR("\r\n"));
    buf_add(ret_message, body);
    buf_init(&txt, 4096);
    REQUIRE_OK(dkim_record(test_key(kind), &txt));
    REQUIRE_OK(dkim_verify_begin(buf_str(ret_message), accepted, NULL, &verify, NULL));
    CHECK(dkim_verify_count(verify) >= 1 && dkim_verify_question(verify, 0, &name));
    CHECK_STR(name, STR("s1.x._domainkey.example.org"));
    dkim_verify_answer(verify, 0, DKIM_FOUND, buf_str(&txt));
    struct dkim_verdict verdict = *dkim_verify_result(verify, 0);
    CHECK(!dkim_verify_question(verify, 0, &name));
    dkim_verify_free(verify);
    buf_done(&txt);
    return verdict;
}

static const char plain_header[] =
        "Received: from x\r\nReturn-Path: <a@b>\r\nFrom: A <a@example.org>\r\n"
        "To: b@example.net\r\nSubject: hi\r\nBcc: c@d\r\n";

TEST(a_signature_has_its_form_and_columns)
{
    for (int kind = 0; kind < 2; kind++) {
        struct buf field;
        struct header header;
        struct arena arena;
        buf_init(&field, 1 << 16);
        sign((enum key_kind)kind, str_from_c(plain_header), STR("hello\r\n"), &field);
        arena_init(&arena, HEADER_ARENA_BYTES);
        REQUIRE_OK(header_parse(&arena, buf_str(&field), true, &header, NULL));
        CHECK_U64(header.field_count, 1);
        CHECK(str_ends_nocase(buf_str(&field), STR("\r\n")));
        struct str line, rest = buf_str(&field);
        while (str_cut(&rest, '\n', &line)) {
            bool is_folded = line.ptr[0] == '\t';
            CHECK(line.len - 1 + (is_folded ? 7 : 0) <= 78, "column over 78: %.*s", STR_ARG(line));
        }
        CHECK(str_find(buf_str(&field), STR("l=")) == field.len);
        CHECK(str_find(buf_str(&field), STR("t=1764076029;")) < field.len);
        CHECK(str_find(buf_str(&field), STR("c=relaxed/relaxed;")) < field.len);
        CHECK(str_find(buf_str(&field), kind == KEY_RSA ? STR("a=rsa-sha256;")
                                                        : STR("a=ed25519-sha256;")) < field.len);
        arena_done(&arena);
        buf_done(&field);
    }
}

/* The names of h= in order, folds removed. */
static void names_of(struct str field, struct buf *ret_names)
{
    size_t start = str_find(field, STR(" h="));
    start = start < field.len ? start : str_find(field, STR("\th="));
    struct str names = str_from(field, start + 3);
    names = str_sub(names, 0, str_index(names, ';'));
    buf_init(ret_names, 1 << 16);
    for (size_t i = 0; i < names.len; i++) {
        if (names.ptr[i] > ' ') {
            buf_add_char(ret_names, names.ptr[i]);
        }
    }
}

TEST(every_present_field_is_signed_bottom_up_and_the_vital_ones_once_more)
{
    struct buf field, names;
    buf_init(&field, 1 << 16);
    sign(KEY_ED25519,
            STR("Received: x\r\nFrom: a@b\r\nReceived: y\r\nList-Id: <l>\r\nX-Own: 1\r\nSubject: "
                "s\r\n"
                "Resent-From: r\r\nResent-Bcc: q\r\nBcc: z\r\nfeedback-id: f\r\nContent-ID: <c>\r\n"
                "MIME-Version: 1.0\r\nDKIM-Signature: v=1\r\nReturn-Path: <p>\r\nResent-From: "
                "t\r\n"),
            STR(""), &field);
    names_of(buf_str(&field), &names);
    CHECK_STR(buf_str(&names),
            STR("Resent-From:MIME-Version:Content-ID:feedback-id:Resent-From:Subject:List-Id:From:"
                "From:Subject:Date:To:Cc:Message-ID:Sender:Reply-To:Content-Type:"
                "Content-Transfer-Encoding:Content-ID"));
    buf_done(&names);
    buf_done(&field);
    CHECK(dkim_is_signed(STR("list-unsubscribe-POST")) && !dkim_is_signed(STR("Received")));
    CHECK(!dkim_is_signed(STR("return-path")) && !dkim_is_signed(STR("Bcc")));
    CHECK(dkim_is_oversigned(STR("FROM")) && !dkim_is_oversigned(STR("List-Id")));
}

TEST(a_field_name_cannot_smuggle_tags_or_long_lines_into_the_signature)
{
    struct buf message, header;
    char name[200];
    buf_init(&header, 4096);
    memset(name, 'x', sizeof name);
    buf_add(&header,
            STR("From: a@b\r\nList-;d=evil.example: x\r\nContent-;x: y\r\nResent-;: z\r\n"));
    buf_addf(&header, "List-%.*s: x\r\nList-%.*s: x\r\n", 64, name, 65, name);
    struct dkim_verdict verdict = round_trip(KEY_ED25519, buf_str(&header), STR("x\r\n"), &message);
    CHECK(verdict.result == DKIM_PASS, "%s", verdict.reason);
    CHECK_STR(verdict.domain, STR("Example.org"));
    struct str field = str_sub(buf_str(&message), 0, str_find(buf_str(&message), STR("From: a@b")));
    CHECK(str_find(field, STR("evil")) == field.len && str_find(field, STR(";x")) == field.len);
    struct str line, rest = field;
    while (str_cut(&rest, '\n', &line)) {
        CHECK(line.len - 1 + (line.ptr[0] == '\t' ? 7 : 0) <= 78, "%.*s", STR_ARG(line));
    }
    CHECK(dkim_is_signed(
            str_sub(buf_str(&header), str_find(buf_str(&header), STR("List-xx")), 69)));
    buf_done(&header);
    buf_done(&message);
}

TEST(a_header_full_of_signed_fields_is_signed_and_verifies)
{
    struct buf header, message;
    buf_init(&header, 1 << 20);
    buf_add(&header, STR("From: a@b\r\n"));
    for (int i = 0; i < HEADER_FIELD_COUNT_MAX - 2; i++) {
        buf_addf(&header, "Content-%d: x\r\n", i);
    }
    struct dkim_verdict verdict = round_trip(KEY_ED25519, buf_str(&header), STR("x\r\n"), &message);
    CHECK(verdict.result == DKIM_PASS, "%s", verdict.reason);
    buf_done(&header);
    buf_done(&message);
}

TEST(signatures_over_odd_headers_and_bodies_verify)
{
    static const char *const headers[] = { plain_header, "From:a@b\r\n",
        "From: a@b\r\nSubject:\r\n\t \r\n folded\t  twice \r\n",
        "FROM: a\r\nfrom: b\r\nSubject: one\r\nSubject: two\r\nList-X: \r\n",
        "From: \xc3\xb6@b\r\nTo:\t\r\nX: y\r\n", "Subject: no from\r\n", "" };
    static const char *const bodies[] = { "", "\r\n", "x", "x\r\n", "x\r\n\r\n\r\n", " \t\r\n",
        "a  b \r\n", "no end  ", "\r\n\r\nx", "lone\rcr\nlf\r\n", ".\r\n..\r\n" };
    for (size_t h = 0; h < COUNT_OF(headers); h++) {
        for (size_t b = 0; b < COUNT_OF(bodies); b++) {
            struct buf message;
            enum key_kind kind = (h + b) % 4 == 0 ? KEY_RSA : KEY_ED25519;
            struct dkim_verdict verdict =
                    round_trip(kind, str_from_c(headers[h]), str_from_c(bodies[b]), &message);
            CHECK(verdict.result == DKIM_PASS, "header %zu body %zu: %s", h, b, verdict.reason);
            buf_done(&message);
        }
    }
}

/* A change at any byte of a signed message must not verify, but for bytes that relaxed ignores and
 * fields that nobody signs. */
TEST(a_changed_message_does_not_verify)
{
    struct buf message, txt;
    struct dkim_verdict verdict = round_trip(KEY_ED25519,
            STR("From: a@example.org\r\nSubject: abc\r\n"), STR("body text\r\n"), &message);
    CHECK(verdict.result == DKIM_PASS, "%s", verdict.reason);
    buf_init(&txt, 4096);
    REQUIRE_OK(dkim_record(test_key(KEY_ED25519), &txt));
    size_t from = str_find(buf_str(&message), STR("From: a@"));
    for (size_t i = from; i < message.len; i++) {
        struct dkim_verify *verify;
        char before = message.ptr[i];
        if (before <= ' ' || before == ':') {
            continue;
        }
        message.ptr[i] = before == 'X' ? 'Y' : 'X';
        REQUIRE_OK(dkim_verify_begin(buf_str(&message), accepted, NULL, &verify, NULL));
        dkim_verify_answer(verify, 0, DKIM_FOUND, buf_str(&txt));
        CHECK(dkim_verify_result(verify, 0)->result == DKIM_FAIL, "byte %zu '%c'", i, before);
        dkim_verify_free(verify);
        message.ptr[i] = before;
    }
    buf_done(&txt);
    buf_done(&message);
}

TEST(oversigning_makes_an_added_subject_break_the_signature)
{
    static const char *const added[] = { "Subject: other\r\n", "From: evil@example.net\r\n",
        "To: x@y\r\n", "Content-Type: text/html\r\n", "Reply-To: x@y\r\n" };
    struct buf message, txt;
    round_trip(KEY_ED25519, STR("From: a@example.org\r\nSubject: abc\r\n"), STR("x\r\n"), &message);
    buf_init(&txt, 4096);
    REQUIRE_OK(dkim_record(test_key(KEY_ED25519), &txt));
    for (size_t i = 0; i < COUNT_OF(added); i++) {
        struct buf changed;
        struct dkim_verify *verify;
        buf_init(&changed, 1 << 16);
        buf_add_c(&changed, added[i]);
        buf_add(&changed, buf_str(&message));
        REQUIRE_OK(dkim_verify_begin(buf_str(&changed), accepted, NULL, &verify, NULL));
        dkim_verify_answer(verify, 0, DKIM_FOUND, buf_str(&txt));
        CHECK(dkim_verify_result(verify, 0)->result == DKIM_FAIL, "%s", added[i]);
        dkim_verify_free(verify);
        buf_done(&changed);
    }
    buf_done(&txt);
    buf_done(&message);
}

TEST(c12_domain_and_selector_must_be_names)
{
    static const char *const bad[] = { "", "a b", "a;b", "a(b", "a..b", "a@b", "-a" };
    uint8_t body_hash[SHA256_BYTES] = { 0 };
    struct buf field;
    buf_init(&field, 1 << 16);
    for (size_t i = 0; i < COUNT_OF(bad); i++) {
        struct dkim_signing how = { str_from_c(bad[i]), STR("s"), test_key(KEY_ED25519), accepted,
            body_hash };
        CHECK_ERR(dkim_sign(&how, STR("From: a\r\n"), &field), E_USAGE);
        how.domain = STR("example.org");
        how.selector = str_from_c(bad[i]);
        CHECK_ERR(dkim_sign(&how, STR("From: a\r\n"), &field), E_USAGE);
        CHECK_ERR(dkim_record_line(str_from_c(bad[i]), STR("s"), how.key, &field), E_USAGE);
    }
    struct dkim_signing how = { STR("a\0b"), STR("s"), test_key(KEY_ED25519), accepted, body_hash };
    CHECK_ERR(dkim_sign(&how, STR("From: a\r\n"), &field), E_USAGE);
    how.domain = STR("example.org");
    CHECK_ERR(dkim_sign(&how, STR("From a\r\n"), &field), E_SYNTAX);
    CHECK_ERR(dkim_sign(&how, STR("From: a\r\n\r\n"), &field), E_SYNTAX);
    CHECK_U64(field.len, 0);
    buf_done(&field);
}

TEST(a_public_key_cannot_sign)
{
    struct buf der, field;
    struct key *key;
    uint8_t body_hash[SHA256_BYTES] = { 0 };
    buf_init(&der, 4096);
    buf_init(&field, 1 << 16);
    REQUIRE_OK(key_to_public(test_key(KEY_ED25519), &der));
    REQUIRE_OK(key_from_public(KEY_ED25519, buf_str(&der), &key));
    struct dkim_signing how = { STR("example.org"), STR("s"), key, accepted, body_hash };
    CHECK_ERR(dkim_sign(&how, STR("From: a\r\n"), &field), E_USAGE);
    key_free(key);
    buf_done(&der);
    buf_done(&field);
}

TEST(signing_tells_when_memory_is_out_at_any_step)
{
    uint8_t body_hash[SHA256_BYTES] = { 0 };
    struct dkim_signing how = { STR("example.org"), STR("s"), test_key(KEY_ED25519), accepted,
        body_hash };
    for (uint64_t nth = 1;; nth++) {
        struct buf field;
        buf_init(&field, 1 << 16);
        mem_fail_at(nth);
        enum err err = dkim_sign(&how, STR("From: a\r\n"), &field);
        mem_fail_at(0);
        bool is_done = err == OK;
        CHECK(is_done || (err == E_NOMEM && field.len == 0), "step %llu: %s",
                (unsigned long long)nth, err_name(err));
        buf_done(&field);
        if (is_done) {
            CHECK(nth > 3, "no step failed");
            break;
        }
    }
}

TEST(signing_is_deterministic)
{
    struct buf a, b;
    buf_init(&a, 1 << 16);
    buf_init(&b, 1 << 16);
    for (int kind = 0; kind < 2; kind++) {
        sign((enum key_kind)kind, str_from_c(plain_header), STR("x\r\n"), &a);
        sign((enum key_kind)kind, str_from_c(plain_header), STR("x\r\n"), &b);
    }
    CHECK_STR(buf_str(&a), buf_str(&b));
    buf_done(&a);
    buf_done(&b);
}

TEST(a_key_record_line_has_strings_of_at_most_255_octets)
{
    struct buf line, txt, joined;
    buf_init(&line, 4096);
    buf_init(&txt, 4096);
    buf_init(&joined, 4096);
    REQUIRE_OK(dkim_record_line(STR("example.org"), STR("s1"), test_key(KEY_RSA), &line));
    REQUIRE_OK(dkim_record(test_key(KEY_RSA), &txt));
    CHECK(str_starts(
            buf_str(&line), STR("s1._domainkey.example.org. IN TXT ( \"v=DKIM1; k=rsa; p=")));
    struct str part, rest = buf_str(&line);
    size_t count = 0;
    for (bool is_inside = false; str_cut(&rest, '"', &part); is_inside = !is_inside) {
        if (is_inside) {
            CHECK(part.len <= 255);
            buf_add(&joined, part);
            count++;
        }
    }
    CHECK_U64(count, 2);
    CHECK_STR(buf_str(&joined), buf_str(&txt));
    buf_done(&line);
    buf_done(&txt);
    buf_done(&joined);
}
