/* SPDX-License-Identifier: Apache-2.0
 *
 * dkim_verify_test.c - every rule of RFC 6376 6.1, one row each: tags, key records, l=, x=, limits.
 */
#include "core/b64.h"
#include "core/str.h"
#include "mail/dkim.h"
#include "mail/header.h"
#include "tests/test.h"

static const struct wall now = { 1764076029000 };
static const char fields[] = "From: a@example.org\r\nSubject: x\r\n";
static const char body_text[] = "hello\r\n";

/* A good bh= for body_text, and a b= that decodes. */
static const char *good_bh(void)
{
    static char text[64];
    struct dkim_body_hash hash;
    uint8_t bytes[SHA256_BYTES];
    struct buf base64;
    REQUIRE_OK(dkim_body_begin(&hash, NULL));
    dkim_body_add(&hash, str_from_c(body_text));
    dkim_body_end(&hash, bytes);
    buf_init(&base64, 64);
    b64_encode(&base64, str_of((char *)bytes, sizeof bytes));
    CHECK(str_to_c(buf_str(&base64), text, sizeof text));
    buf_done(&base64);
    return text;
}

/* Judges one signature with these tags; the key record is txt (NULL: asked for, none given). */
static struct dkim_verdict judge(
        const char *tags, const struct dkim_policy *policy, const char *txt)
{
    struct buf message;
    struct dkim_verify *verify;
    buf_init(&message, 1 << 20);
    buf_addf(&message, "DKIM-Signature: %s\r\n%s\r\n%s", tags, fields, body_text);
    REQUIRE_OK(dkim_verify_begin(buf_str(&message), now, policy, &verify, NULL));
    CHECK_U64(dkim_verify_count(verify), 1);
    if (txt) {
        dkim_verify_answer(verify, 0, DKIM_FOUND, str_from_c(txt));
    }
    struct dkim_verdict verdict = *dkim_verify_result(verify, 0);
    dkim_verify_free(verify);
    buf_done(&message);
    return verdict;
}

struct row {
    const char *change; /* put behind the good tags, or instead of them where it begins with '=' */
    const char *reason; /* NULL: judged usable */
};

#define BASE "v=1; a=rsa-sha256; d=example.org; s=s; b=QUJD"

static void check_rows(const struct row *rows, size_t count, const struct dkim_policy *policy)
{
    for (size_t i = 0; i < count; i++) {
        char tags[2000];
        const char *change = rows[i].change;
        if (change[0] == '=') {
            fmt(tags, sizeof tags, "%s", change + 1);
        } else {
            bool has_h = str_starts(str_from_c(change), STR("h="));
            fmt(tags, sizeof tags, BASE "; bh=%s; %s%s", good_bh(), has_h ? "" : "h=from; ",
                    change);
        }
        struct dkim_verdict verdict = judge(tags, policy, NULL);
        if (!rows[i].reason) {
            CHECK(verdict.result == DKIM_PENDING, "%s: %s", tags, verdict.reason);
            continue;
        }
        CHECK(verdict.result == DKIM_PERMERROR && strstr(verdict.reason, rows[i].reason),
                "%s: %s %s", tags, dkim_result_name(verdict.result), verdict.reason);
    }
}

TEST(each_rule_about_signature_tags_holds)
{
    static const struct row rows[] = {
        { "x9_=odd", NULL },
        { "x9_=odd;", NULL },
        { "x9_=odd; \t", NULL },
        { "9x=odd", "syntax" },
        { "x-y=odd", "syntax" },
        { "x", "syntax" },
        { ";x=y", "syntax" },
        { "z=a;z=b", "syntax" },
        { "z=\x01", "syntax" },
        { "z=\x7f", "syntax" },
        { "z=a\r\n\tb", NULL },
        { "Z=\xc3\xb6", NULL },
        { "=", "syntax" },
        { "=;", "syntax" },
        { "=v=2; a=rsa-sha256; d=e.org; s=s; b=QUJD; h=from; bh=QUJD", "incompatible version" },
        { "=v=1; d=e.org; s=s; b=QUJD; h=from; bh=QUJD", "missing required tag a=" },
        { "=v=1; a=rsa-sha256; s=s; b=QUJD; h=from; bh=QUJD", "missing required tag d=" },
        { "=v=1; a=rsa-sha256; d=e.org; b=QUJD; h=from; bh=QUJD", "missing required tag s=" },
        { "=v=1; a=rsa-sha256; d=e.org; s=s; h=from; bh=QUJD", "missing required tag b=" },
        { "=v=1; a=rsa-sha256; d=e.org; s=s; b=; h=from; bh=QUJD", "missing required tag b=" },
        { "=v=1; a=rsa-sha256; d=e.org; s=s; b=QUJD; bh=QUJD", "missing required tag h=" },
        { "=v=1; a=rsa-sha256; d=e.org; s=s; b=QUJD; h=from", "missing required tag bh=" },
        { "=v=1; a=rsa-md5; d=e.org; s=s; b=QUJD; h=from; bh=QUJD", "unknown algorithm" },
        { "=v=1; a=rsa-sha1; d=e.org; s=s; b=QUJD; h=from; bh=QUJD", "RFC 8301" },
        { "=v=1; a=rsa-sha256; d=e.org; s=s; b=Q!JD; h=from; bh=QUJD", "b= is not base64" },
        { "=v=1; a=rsa-sha256; d=e.org; s=s; b=QUJD; h=from; bh=QUJD", "bh= is not base64" },
        { "=v=1; a=rsa-sha256; d=e.org; s=s; b=QUJD; h=from; bh=", "bh= is not base64" },
        { "=v=1; a=rsa-sha256; d=e org; s=s; b=QUJD; h=from; bh=QUJD", "d= is not" },
        { "=v=1; a=rsa-sha256; d=e.org; s=s(; b=QUJD; h=from; bh=QUJD", "s= is not" },
        { "c=simple", NULL },
        { "c=relaxed", NULL },
        { "c=relaxed/simple", NULL },
        { "c=", "canonicalization" },
        { "c=relaxed/", "canonicalization" },
        { "c=relaxed/other", "canonicalization" },
        { "c=Relaxed", "canonicalization" },
        { "q=dns/txt", NULL },
        { "q=http : dns/txt", NULL },
        { "q=http", "query method" },
        { "i=@example.org", NULL },
        { "i=x@sub.EXAMPLE.org", NULL },
        { "i=x@badexample.org", "domain mismatch" },
        { "i=x@org", "domain mismatch" },
        { "i=x", "not an address" },
        { "h=to:from", NULL },
        { "h= to : FROM \r\n : date", NULL },
        { "h=to:date", "From field not signed" },
        { "h=from:", "syntax error in h=" },
        { "h=from::to", "syntax error in h=" },
        { "t=1764000000", NULL },
        { "t=-1", "syntax error in t=" },
        { "t=1234567890123", "syntax error in t=" },
        { "x=abc", "syntax error in x=" },
        { "x=1764076029", NULL },
        { "x=1764076028", "expired" },
        { "x=0", "expired" },
        { "t=1864076029; x=1864076029", "expires before" },
        { "l=0", NULL },
        { "l=99999999999999999999999999999999999999999999", NULL },
        { "l=1x", "syntax error in l=" },
    };
    check_rows(rows, COUNT_OF(rows), NULL);
}

TEST(signatures_of_the_drafts_are_taken_unless_refused)
{
    static const struct row taken[] = {
        { "=a=rsa-sha256; d=e.org; s=s; q=dns; b=QUJD; h=from; "
          "bh=47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU",
                NULL },
        { "=v=0.5; a=rsa-sha256; d=e.org; s=s; b=QUJD; h=from; "
          "bh=47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=",
                NULL },
    };
    static const struct row refused[] = {
        { "=a=rsa-sha256; d=e.org; s=s; b=QUJD; h=from; bh=QUJD", "missing required tag v=" },
        { "=v=0.5; a=rsa-sha256; d=e.org; s=s; b=QUJD; h=from; bh=QUJD", "incompatible version" },
        { "q=dns", "query method" },
        { "=v=1; a=rsa-sha1; d=e.org; s=s; b=QUJD; h=from", "missing required tag bh=" },
    };
    struct dkim_policy strict = { .refuse_drafts = true, .allow_sha1_and_short = true };
    check_rows(taken, COUNT_OF(taken), NULL);
    check_rows(refused, COUNT_OF(refused), &strict);
}

TEST(names_that_do_not_fit_dns_and_floods_of_names_are_refused)
{
    char label[64], tags[1200];
    struct dkim_verdict verdict;
    memset(label, 'a', 63);
    label[63] = '\0';
    fmt(tags, sizeof tags, "v=1; a=rsa-sha256; d=%s.%s.%s.org; s=%s; b=QUJD; h=from; bh=QUJD",
            label, label, label, label);
    verdict = judge(tags, NULL, NULL);
    CHECK(strstr(verdict.reason, "s= is not") != NULL, "%s", verdict.reason);
    struct buf many;
    buf_init(&many, 1 << 20);
    buf_add(&many, STR("v=1; a=rsa-sha256; d=e.org; s=s; b=QUJD; bh=QUJD; h=from"));
    for (int i = 0; i < 2 * HEADER_FIELD_COUNT_MAX + 16; i++) {
        buf_add(&many, STR(":a"));
    }
    buf_add_char(&many, '\0');
    verdict = judge(many.ptr, NULL, NULL);
    CHECK(strstr(verdict.reason, "too many fields") != NULL, "%s", verdict.reason);
    buf_clear(&many);
    for (int i = 0; i < 100; i++) {
        buf_addf(&many, "t%d=x;", i);
    }
    buf_add_char(&many, '\0');
    verdict = judge(many.ptr, NULL, NULL);
    CHECK(strstr(verdict.reason, "syntax") != NULL, "%s", verdict.reason);
    buf_done(&many);
}

/* --- keys ------------------------------------------------------------------------------------- */

struct signed_message {
    struct key *key;
    struct buf text;
    char p[1024]; /* base64 of the public key */
};

static void make_signed(struct signed_message *msg, enum key_kind kind, uint32_t bits)
{
    struct dkim_body_hash hash;
    uint8_t body_hash[SHA256_BYTES];
    struct buf der, base64;
    REQUIRE_OK(key_generate(kind, bits, &msg->key));
    REQUIRE_OK(dkim_body_begin(&hash, NULL));
    dkim_body_add(&hash, str_from_c(body_text));
    dkim_body_end(&hash, body_hash);
    struct dkim_signing how = { STR("example.org"), STR("s"), msg->key, now, body_hash };
    buf_init(&msg->text, 1 << 16);
    REQUIRE_OK(dkim_sign(&how, str_from_c(fields), &msg->text));
    buf_addf(&msg->text, "%s\r\n%s", fields, body_text);
    buf_init(&der, 2048);
    buf_init(&base64, 2048);
    REQUIRE_OK(key_to_public(msg->key, &der));
    b64_encode(&base64, buf_str(&der));
    CHECK(str_to_c(buf_str(&base64), msg->p, sizeof msg->p));
    buf_done(&der);
    buf_done(&base64);
}

static void drop_signed(struct signed_message *msg)
{
    key_free(msg->key);
    buf_done(&msg->text);
}

static struct dkim_verdict answer(
        struct signed_message *msg, enum dkim_answer kind, const char *record)
{
    struct dkim_verify *verify;
    char txt[2048];
    const char *hole = strstr(record, "p=%");
    size_t head_len = hole ? (size_t)(hole - record) : strlen(record);
    fmt(txt, sizeof txt, "%.*s%s%s%s", (int)head_len, record, hole ? "p=" : "", hole ? msg->p : "",
            hole ? hole + 3 : "");
    REQUIRE_OK(dkim_verify_begin(buf_str(&msg->text), now, NULL, &verify, NULL));
    dkim_verify_answer(verify, 0, kind, str_from_c(txt));
    struct dkim_verdict verdict = *dkim_verify_result(verify, 0);
    dkim_verify_free(verify);
    return verdict;
}

TEST(each_rule_about_key_records_holds)
{
    static const struct {
        const char *record; /* p=% stands for the good key */
        const char *reason; /* NULL: passes */
    } rows[] = {
        { "v=DKIM1; k=ed25519; p=%", NULL },
        { "k=ed25519;p=%", NULL },
        { "v=DKIM1; k=ed25519; p=%; n=note; unknown=1;", NULL },
        { " v = DKIM1 ;k= ed25519 ; s=web:email; h=sha1:sha256 ; t=x:s ; p=%", NULL },
        { "k=ed25519; g=; p=%", NULL }, /* RFC 6376 knows no g= */
        { "k=ed25519; v=DKIM1; p=%", "another version" },
        { "v=DKIM2; k=ed25519; p=%", "another version" },
        { "v=DKIM1; p=%", "key type" },
        { "k=rsa; p=%", "key type" },
        { "k=dsa; p=%", "key type" },
        { "k=ed25519; s=web; p=%", "not for mail" },
        { "k=ed25519; h=sha1; p=%", "hash algorithm" },
        { "k=ed25519; p=", "revoked" },
        { "k=ed25519; n=p=%", "without p=" },
        { "k=ed25519; p=QUJD", "does not decode" },
        { "k=ed25519; p=!", "does not decode" },
        { "k=ed25519; t; p=%", "syntax" },
        { "p=%; p=%", "syntax" },
        { "\"\" p=", "syntax" },
    };
    struct signed_message msg;
    make_signed(&msg, KEY_ED25519, 0);
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        struct dkim_verdict verdict = answer(&msg, DKIM_FOUND, rows[i].record);
        CHECK(rows[i].reason ? verdict.result == DKIM_PERMERROR &&
                                       strstr(verdict.reason, rows[i].reason) != NULL
                             : verdict.result == DKIM_PASS,
                "%s: %s %s", rows[i].record, dkim_result_name(verdict.result), verdict.reason);
    }
    CHECK(answer(&msg, DKIM_FOUND, "k=ed25519; t=y; p=%").is_testing);
    struct dkim_verdict verdict = answer(&msg, DKIM_NONE, "p=");
    CHECK(verdict.result == DKIM_PERMERROR && strstr(verdict.reason, "no key"));
    verdict = answer(&msg, DKIM_TEMPFAIL, "p=");
    CHECK(verdict.result == DKIM_TEMPERROR && strstr(verdict.reason, "DNS"));
    drop_signed(&msg);
}

TEST(what_is_known_of_a_signature_is_told)
{
    struct signed_message msg;
    make_signed(&msg, KEY_RSA, 1024);
    struct dkim_verdict verdict = answer(&msg, DKIM_FOUND, "v=DKIM1; p=%");
    CHECK(verdict.result == DKIM_PASS, "%s", verdict.reason);
    CHECK_STR(verdict.domain, STR("example.org"));
    CHECK_STR(verdict.selector, STR("s"));
    CHECK_STR(verdict.algorithm, STR("rsa-sha256"));
    CHECK_U64(strlen(verdict.b_prefix), 8);
    CHECK_U64(verdict.key_bits, 1024);
    CHECK_U64(verdict.signed_s, now.ms / 1000);
    CHECK_U64(verdict.expires_s, 0);
    CHECK_U64(verdict.unsigned_bytes, 0);
    drop_signed(&msg);
}

TEST(g3_a_key_that_anyone_can_sign_with_is_refused)
{
    /* RSAPublicKey of 1024 bits with exponent 1, and an RSA key where Ed25519 is said. */
    uint8_t der[3 + 4 + 128 + 3] = { 0x30, 0x81, 0x87, 0x02, 0x81, 0x81, 0x00 };
    struct signed_message msg;
    struct buf record;
    memset(der + 7, 0xc5, 128);
    memcpy(der + sizeof der - 3, "\x02\x01\x01", 3);
    make_signed(&msg, KEY_RSA, 1024);
    buf_init(&record, 1024);
    buf_add(&record, STR("k=rsa; p="));
    b64_encode(&record, str_of((char *)der, sizeof der));
    buf_add_char(&record, '\0');
    struct dkim_verdict verdict = answer(&msg, DKIM_FOUND, record.ptr);
    CHECK(verdict.result == DKIM_PERMERROR, "%s", verdict.reason);
    buf_done(&record);
    drop_signed(&msg);
}

TEST(g3_a_key_over_4096_bits_is_refused)
{
    uint8_t der[4 + 5 + 520 + 5] = { 0x30, 0x82, 0x02, 0x12, 0x02, 0x82, 0x02, 0x09, 0x00 };
    struct signed_message msg;
    struct buf record;
    memset(der + 9, 0xc5, 520);
    memcpy(der + sizeof der - 5, "\x02\x03\x01\x00\x01", 5);
    make_signed(&msg, KEY_RSA, 1024);
    buf_init(&record, 2048);
    buf_add(&record, STR("p="));
    b64_encode(&record, str_of((char *)der, sizeof der));
    buf_add_char(&record, '\0');
    struct dkim_verdict verdict = answer(&msg, DKIM_FOUND, record.ptr);
    CHECK(verdict.result == DKIM_PERMERROR && strstr(verdict.reason, "over 4096"), "%s",
            verdict.reason);
    buf_done(&record);
    drop_signed(&msg);
}

TEST(several_key_records_are_tried_and_the_best_result_stays)
{
    struct signed_message msg;
    struct dkim_verify *verify;
    struct buf txt;
    make_signed(&msg, KEY_ED25519, 0);
    buf_init(&txt, 4096);
    REQUIRE_OK(dkim_record(msg.key, &txt));
    REQUIRE_OK(dkim_verify_begin(buf_str(&msg.text), now, NULL, &verify, NULL));
    dkim_verify_answer(verify, 0, DKIM_FOUND, STR("v=spf1 -all"));
    CHECK(dkim_verify_result(verify, 0)->result == DKIM_PERMERROR);
    dkim_verify_answer(verify, 0, DKIM_FOUND,
            STR("k=ed25519; p=11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo="));
    CHECK(dkim_verify_result(verify, 0)->result == DKIM_FAIL);
    dkim_verify_answer(verify, 0, DKIM_FOUND, STR("k=ed25519; p="));
    CHECK(dkim_verify_result(verify, 0)->result == DKIM_FAIL);
    dkim_verify_answer(verify, 0, DKIM_FOUND, buf_str(&txt));
    CHECK(dkim_verify_result(verify, 0)->result == DKIM_PASS);
    dkim_verify_answer(verify, 0, DKIM_FOUND, STR("k=ed25519; p="));
    CHECK(dkim_verify_result(verify, 0)->result == DKIM_PASS);
    dkim_verify_free(verify);
    buf_done(&txt);
    drop_signed(&msg);
}

TEST(verification_tells_when_memory_is_out_at_any_step)
{
    struct signed_message msg;
    struct buf txt;
    make_signed(&msg, KEY_ED25519, 0);
    buf_init(&txt, 4096);
    REQUIRE_OK(dkim_record(msg.key, &txt));
    bool is_done = false;
    for (uint64_t nth = 1; !is_done; nth++) {
        struct dkim_verify *verify;
        mem_fail_at(nth);
        enum err err = dkim_verify_begin(buf_str(&msg.text), now, NULL, &verify, NULL);
        if (err != OK) {
            mem_fail_at(0);
            CHECK_ERR(err, E_NOMEM);
            continue;
        }
        dkim_verify_answer(verify, 0, DKIM_FOUND, buf_str(&txt));
        mem_fail_at(0);
        enum dkim_result result = dkim_verify_result(verify, 0)->result;
        is_done = result == DKIM_PASS;
        CHECK(is_done || result == DKIM_TEMPERROR, "step %llu: %s", (unsigned long long)nth,
                dkim_verify_result(verify, 0)->reason);
        dkim_verify_free(verify);
        CHECK(nth < 100);
    }
    buf_done(&txt);
    drop_signed(&msg);
}

TEST(ten_signatures_are_looked_at_and_no_more)
{
    struct buf message;
    struct dkim_verify *verify;
    buf_init(&message, 1 << 16);
    for (int i = 0; i < 12; i++) {
        buf_add(&message, STR("dkim-signature: x\r\n"));
    }
    buf_add(&message, STR("From: a\r\n\r\n"));
    REQUIRE_OK(dkim_verify_begin(buf_str(&message), now, NULL, &verify, NULL));
    CHECK_U64(dkim_verify_count(verify), DKIM_SIGNATURE_COUNT_MAX);
    dkim_verify_answer(verify, 0, DKIM_FOUND, STR("p=x")); /* nothing was asked */
    CHECK(dkim_verify_result(verify, 0)->result == DKIM_PERMERROR);
    dkim_verify_free(verify);
    buf_done(&message);
    struct why why = { "" };
    CHECK_ERR(dkim_verify_begin(STR("no header\r\n\r\n"), now, NULL, &verify, &why), E_SYNTAX);
    CHECK(why.text[0] != '\0');
    dkim_verify_free(NULL);
}

/* A message whose signature counts l= octets and names another DKIM-Signature in h=, made by hand
 * with core/crypto from the rules of RFC 6376 3.7. */
static void sign_by_hand(
        struct signed_message *msg, const char *l, const char *body, struct buf *out)
{
    struct buf text, base64;
    uint8_t hash[SHA256_BYTES], signature[SIGNATURE_BYTES_MAX];
    size_t len;
    char field[600];
    buf_init(&text, 4096);
    buf_init(&base64, 4096);
    sha256(STR("hello\r\n"), hash);
    b64_encode(&base64, str_of((char *)hash, sizeof hash));
    fmt(field, sizeof field,
            "DKIM-Signature: v=1; a=ed25519-sha256; c=simple; d=example.org; s=s; "
            "h=from:dkim-signature; bh=%.*s;%s b=",
            STR_ARG(buf_str(&base64)), l);
    buf_addf(&text, "From: a@b\r\nDKIM-Signature: other\r\n%s", field);
    sha256(buf_str(&text), hash);
    REQUIRE_OK(key_sign(msg->key, hash, signature, &len));
    buf_clear(&base64);
    b64_encode(&base64, str_of((char *)signature, len));
    buf_addf(out, "DKIM-Signature: other\r\n%s %.*s \r\nFrom: a@b\r\n\r\n%s", field,
            STR_ARG(buf_str(&base64)), body);
    buf_done(&text);
    buf_done(&base64);
}

TEST(l_counts_canonical_octets_and_what_is_behind_is_told)
{
    static const struct {
        const char *l, *body;
        enum dkim_result result;
        uint64_t unsigned_bytes;
    } rows[] = {
        { "", "hello\r\n", DKIM_PASS, 0 },
        { " l=7;", "hello\r\n", DKIM_PASS, 0 },
        { " l=7;", "hello\r\nadded\r\n", DKIM_PASS, 7 },
        { "", "hello\r\nadded\r\n", DKIM_FAIL, 0 },
        { " l=8;", "hello\r\n", DKIM_PERMERROR, 0 },
        { " l=99999999999999999999999;", "hello\r\n", DKIM_PERMERROR, 0 },
        { " l=6;", "hello\r\n", DKIM_FAIL, 1 },
    };
    struct signed_message msg;
    make_signed(&msg, KEY_ED25519, 0);
    struct buf txt;
    buf_init(&txt, 4096);
    REQUIRE_OK(dkim_record(msg.key, &txt));
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        struct dkim_verify *verify;
        struct buf out;
        buf_init(&out, 8192);
        sign_by_hand(&msg, rows[i].l, rows[i].body, &out);
        REQUIRE_OK(dkim_verify_begin(buf_str(&out), now, NULL, &verify, NULL));
        dkim_verify_answer(verify, 1, DKIM_FOUND, buf_str(&txt));
        const struct dkim_verdict *verdict = dkim_verify_result(verify, 1);
        CHECK(verdict->result == rows[i].result, "row %zu: %s %s", i,
                dkim_result_name(verdict->result), verdict->reason);
        CHECK_U64(verdict->unsigned_bytes, rows[i].unsigned_bytes);
        dkim_verify_free(verify);
        buf_done(&out);
    }
    buf_done(&txt);
    drop_signed(&msg);
}
