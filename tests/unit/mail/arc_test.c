/* SPDX-License-Identifier: Apache-2.0
 *
 * arc_test.c - chains sealed here and validated, their limits, and DNS that fails.
 */
#include "core/b64.h"
#include "core/str.h"
#include "mail/arc.h"
#include "mail/header.h"
#include "tests/test.h"

static const struct wall now = { 1790000000000 };
static const char plain[] = "From: a@shop.example\r\nTo: b@list.example\r\nSubject: hi\r\n"
                            "DKIM-Signature: v=1; d=shop.example\r\n\r\nHello\r\n";

static struct key *make_key(enum key_kind kind)
{
    struct key *key;
    REQUIRE_OK(key_generate(kind, 2048, &key));
    return key;
}

static struct arc_sealing how_of(const struct key *key, uint8_t hash[SHA256_BYTES])
{
    return (struct arc_sealing){ .domain = STR("list.example"),
        .selector = STR("s1"),
        .key = key,
        .sealed = now,
        .body_hash = hash,
        .authserv_id = STR("mx.list.example"),
        .results = STR("spf=pass smtp.mailfrom=a@shop.example; dkim=pass header.d=shop.example"),
        .chain = ARC_NONE };
}

/* Puts a new set on top of *message. */
static enum err seal(struct buf *message, const struct key *key, enum arc_result chain)
{
    struct buf fields;
    struct dkim_body_hash body = { 0 };
    struct why why = { "" };
    uint8_t hash[SHA256_BYTES];
    size_t border = str_find(buf_str(message), STR("\r\n\r\n"));
    REQUIRE_OK(dkim_body_begin(&body, NULL));
    dkim_body_add(&body, str_from(buf_str(message), border + 4));
    dkim_body_end(&body, hash);
    struct arc_sealing how = how_of(key, hash);
    how.chain = chain;
    buf_init(&fields, 1 << 20);
    enum err err = arc_seal(&how, str_sub(buf_str(message), 0, border + 2), &fields, &why);
    CHECK((err == OK) == (why.text[0] == '\0'), "%s: %s", err_name(err), why.text);
    if (err == OK) {
        buf_add(&fields, buf_str(message));
        REQUIRE_OK(buf_err(&fields));
        buf_clear(message);
        buf_add(message, buf_str(&fields));
    }
    buf_done(&fields);
    return err;
}

static struct arc_verify *verify(struct str message, const struct key *key, size_t *ret_asked)
{
    struct arc_verify *chain;
    struct lookup_question question;
    struct buf txt;
    buf_init(&txt, 1 << 12);
    REQUIRE_OK(dkim_record(key, &txt));
    REQUIRE_OK(arc_verify_begin(message, now, &chain));
    for (*ret_asked = 0; arc_question(chain, &question); (*ret_asked)++) {
        CHECK_STR(question.name, STR("s1._domainkey.list.example"));
        struct lookup_record record = { .data = buf_str(&txt) };
        arc_answer(chain, &(struct lookup_answer){ LOOKUP_FOUND, &record, 1, false });
    }
    buf_done(&txt);
    return chain;
}

static void check_result(struct str message, const struct key *key, enum arc_result wanted)
{
    size_t asked;
    struct arc_verify *chain = verify(message, key, &asked);
    CHECK(arc_verify_result(chain) == wanted, "wanted %s, got %s: %s", arc_result_name(wanted),
            arc_result_name(arc_verify_result(chain)), arc_verify_reason(chain));
    arc_verify_free(chain);
}

TEST(a_sealed_message_validates_and_one_question_serves_all_its_signatures)
{
    struct key *key = make_key(KEY_RSA);
    struct buf message;
    size_t asked;
    buf_init(&message, 1 << 20);
    buf_add(&message, str_from_c(plain));
    REQUIRE_OK(seal(&message, key, ARC_NONE));
    REQUIRE_OK(seal(&message, key, ARC_PASS));
    REQUIRE_OK(seal(&message, key, ARC_PASS));
    struct arc_verify *chain = verify(buf_str(&message), key, &asked);
    CHECK(arc_verify_result(chain) == ARC_PASS, "%s", arc_verify_reason(chain));
    CHECK_U64(asked, 1);
    CHECK_U64(arc_set_count(chain), 3);
    CHECK_U64(arc_oldest_pass(chain), 0);
    struct arc_set_verdict first = arc_set(chain, 1), third = arc_set(chain, 3);
    CHECK_STR(first.cv, STR("none"));
    CHECK_STR(third.cv, STR("pass"));
    CHECK_STR(third.domain, STR("list.example"));
    CHECK(str_starts(third.results, STR("mx.list.example;")));
    arc_verify_free(chain);
    buf_done(&message);
    key_free(key);
}

TEST(the_dkim_signature_is_covered_and_a_changed_one_breaks_the_seal)
{
    struct key *key = make_key(KEY_RSA);
    struct buf message;
    buf_init(&message, 1 << 20);
    buf_add(&message, str_from_c(plain));
    REQUIRE_OK(seal(&message, key, ARC_NONE));
    size_t at = str_find(buf_str(&message), STR("v=1; d=shop"));
    message.ptr[at + 7] = 'x';
    check_result(buf_str(&message), key, ARC_FAIL);
    buf_done(&message);
    key_free(key);
}

/* A list that changes the subject after sealing and seals again. */
TEST(an_older_signature_that_broke_on_the_way_only_moves_oldest_pass)
{
    struct key *key = make_key(KEY_RSA);
    struct buf message;
    size_t asked;
    buf_init(&message, 1 << 20);
    buf_add(&message, str_from_c(plain));
    REQUIRE_OK(seal(&message, key, ARC_NONE));
    message.ptr[str_find(buf_str(&message), STR("Subject: hi")) + 9] = 'H';
    check_result(buf_str(&message), key, ARC_FAIL);
    REQUIRE_OK(seal(&message, key, ARC_PASS)); /* as if validated before the change */
    struct arc_verify *chain = verify(buf_str(&message), key, &asked);
    CHECK(arc_verify_result(chain) == ARC_PASS, "%s", arc_verify_reason(chain));
    CHECK_U64(arc_oldest_pass(chain), 2);
    CHECK(arc_set(chain, 1).message_signature == ARC_FAIL);
    arc_verify_free(chain);
    buf_done(&message);
    key_free(key);
}

TEST(fifty_sets_are_a_chain_and_no_fifty_first_is_added)
{
    struct key *key = make_key(KEY_RSA);
    struct buf message;
    buf_init(&message, 1 << 20);
    buf_add(&message, str_from_c(plain));
    for (uint32_t i = 0; i < ARC_SET_COUNT_MAX; i++) {
        REQUIRE_OK(seal(&message, key, i == 0 ? ARC_NONE : ARC_PASS));
    }
    check_result(buf_str(&message), key, ARC_PASS);
    CHECK_ERR(seal(&message, key, ARC_PASS), E_FULL);
    struct buf more;
    buf_init(&more, 1 << 20);
    buf_add(&more, STR("ARC-Authentication-Results: i=51; x; none\r\n"));
    buf_add(&more, buf_str(&message));
    check_result(buf_str(&more), key, ARC_FAIL);
    buf_done(&more);
    buf_done(&message);
    key_free(key);
}

TEST(a_failed_chain_is_sealed_once_with_cv_fail_and_then_never_again)
{
    struct key *key = make_key(KEY_RSA);
    struct buf message;
    buf_init(&message, 1 << 20);
    buf_add(&message, STR("ARC-Seal: i=1; a=rsa-sha256; cv=none; d=x.example; s=s; b=AAAA\r\n"));
    buf_add(&message, str_from_c(plain));
    CHECK_ERR(seal(&message, key, ARC_NONE), E_USAGE);
    CHECK_ERR(seal(&message, key, ARC_PASS), E_USAGE);
    REQUIRE_OK(seal(&message, key, ARC_FAIL));
    CHECK(str_starts(buf_str(&message), STR("ARC-Seal: i=2;")));
    CHECK(str_find(buf_str(&message), STR("cv=fail")) < message.len);
    check_result(buf_str(&message), key, ARC_FAIL);
    CHECK_ERR(seal(&message, key, ARC_FAIL), E_DENIED);
    buf_done(&message);
    key_free(key);
}

TEST(what_cannot_be_written_into_a_set_is_refused)
{
    struct key *key = make_key(KEY_RSA), *other = make_key(KEY_ED25519);
    struct buf fields;
    uint8_t hash[SHA256_BYTES] = { 0 };
    buf_init(&fields, 1 << 16);
    struct str block = STR("From: a@b.example\r\n");
    static const char *const bad[] = { "spf=pass\r\nX: y", "spf=pass;;dkim=pass", "a\x01", "\xff" };
    for (size_t i = 0; i < COUNT_OF(bad); i++) {
        struct arc_sealing how = how_of(key, hash);
        how.results = str_from_c(bad[i]);
        CHECK_ERR(arc_seal(&how, block, &fields, NULL), E_USAGE);
    }
    struct arc_sealing how = how_of(other, hash);
    CHECK_ERR(arc_seal(&how, block, &fields, NULL), E_USAGE);
    how = how_of(key, hash);
    how.authserv_id = STR("a b");
    CHECK_ERR(arc_seal(&how, block, &fields, NULL), E_USAGE);
    how = how_of(key, hash);
    CHECK_ERR(arc_seal(&how, STR("no header\r\n"), &fields, NULL), E_SYNTAX);
    CHECK_ERR(arc_seal(&how, STR("From: a@b.example\r\n\r\nbody"), &fields, NULL), E_SYNTAX);
    CHECK_U64(fields.len, 0);
    buf_done(&fields);
    key_free(key);
    key_free(other);
}

/* Puts text behind the first needle in *message. */
static void insert_behind(struct buf *message, const char *needle, const char *text)
{
    struct buf longer;
    size_t at = str_find(buf_str(message), str_from_c(needle)) + strlen(needle);
    CHECK(at <= message->len, "no \"%s\"", needle);
    buf_init(&longer, 1 << 20);
    buf_add(&longer, str_sub(buf_str(message), 0, at));
    buf_add_c(&longer, text);
    buf_add(&longer, str_from(buf_str(message), at));
    buf_clear(message);
    buf_add(message, buf_str(&longer));
    buf_done(&longer);
}

TEST(tags_that_must_not_be_are_told_by_name_before_any_key_is_known)
{
    static const struct row {
        const char *where, *text, *seal_reason, *signature_reason;
    } rows[] = {
        { "ARC-Seal: i=1;", " h=from;", "h= in an ARC-Seal", "" },
        { "ARC-Seal: i=1;", " t=x;", "is no tag list", "" }, /* t= twice */
        { "ARC-Message-Signature: i=1;", " x=1;", "", "has expired" },
        { "ARC-Message-Signature: i=1;", " l=x;", "", "l= is no number" },
        { "ARC-Message-Signature: i=1;", " q=dns/http;", "", "query method" },
        { "ARC-Message-Signature: i=1;", " v=9;", "", "" }, /* ignored, RFC 8617 4.1.2 */
    };
    struct key *key = make_key(KEY_RSA);
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        struct buf message;
        struct arc_verify *chain;
        buf_init(&message, 1 << 20);
        buf_add(&message, str_from_c(plain));
        REQUIRE_OK(seal(&message, key, ARC_NONE));
        insert_behind(&message, rows[i].where, rows[i].text);
        REQUIRE_OK(arc_verify_begin(buf_str(&message), now, &chain));
        if (arc_set_count(chain) == 0) {
            CHECK(strstr(arc_verify_reason(chain), rows[i].seal_reason), "%s", rows[i].text);
        } else {
            struct arc_set_verdict set = arc_set(chain, 1);
            CHECK(strstr(set.seal_reason, rows[i].seal_reason), "%s", set.seal_reason);
            CHECK(strstr(set.message_signature_reason, rows[i].signature_reason), "%s",
                    set.message_signature_reason);
        }
        arc_verify_free(chain);
        buf_done(&message);
    }
    key_free(key);
}

/* Made with openssl by the words of RFC 8617 5.1 and 8463 3; the key is published as below. */
static const char ed25519_sealed[] =
        "ARC-Seal: i=1; a=ed25519-sha256; cv=none; d=example.com; s=ed;\r\n"
        " b=19+Xnr37CCYME4YjktH1hqBGIOXMAyTwFaJ4hMTk7msQtivuZTwfAPjAoDGrbzPH6pEO9WCDo8C9VCAFwiT6BA"
        "==\r\n"
        "ARC-Message-Signature: i=1; a=ed25519-sha256; c=relaxed/relaxed; d=example.com; s=ed;\r\n"
        " h=From:To:Subject; bh=Ba3gj8+xBPQLJTahTfzW6RbWQ/XPgESxkCi2B66PSQg=;\r\n"
        " b=ecARdTZIO/rqLdNNPXfU2ewREoeyrFUxXW9uJtOON1u9lT2YrI2DW4jnJoOhvjrHfuFKkPecB/PdTys8EQG6Cg"
        "==\r\n"
        "ARC-Authentication-Results: i=1; example.com; spf=pass\r\n"
        "From: a@example.com\r\nTo: b@example.net\r\nSubject: ed25519\r\n\r\nHello\r\n";

TEST(a_chain_sealed_with_ed25519_holds_and_needs_a_key_of_that_kind)
{
    static const struct {
        const char *txt;
        enum arc_result wanted;
    } rows[] = {
        { "v=DKIM1; k=ed25519; p=zPIAQPfYpUtFR8XMS9Yy8RlKV/2GJ4GmCXxld9rLWvo=", ARC_PASS },
        { "v=DKIM1; k=ed25519; p=11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=", ARC_FAIL },
        { "v=DKIM1; p=zPIAQPfYpUtFR8XMS9Yy8RlKV/2GJ4GmCXxld9rLWvo=", ARC_FAIL },
    };
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        struct arc_verify *chain;
        struct lookup_record record = { .data = str_from_c(rows[i].txt) };
        REQUIRE_OK(arc_verify_begin(str_from_c(ed25519_sealed), now, &chain));
        arc_answer(chain, &(struct lookup_answer){ LOOKUP_FOUND, &record, 1, false });
        CHECK(arc_verify_result(chain) == rows[i].wanted, "%s: %s", rows[i].txt,
                arc_verify_reason(chain));
        arc_verify_free(chain);
    }
}

TEST(of_several_key_records_one_that_verifies_is_enough)
{
    struct key *key = make_key(KEY_RSA), *other = make_key(KEY_RSA);
    struct buf message, txt, other_txt;
    struct arc_verify *chain;
    buf_init(&message, 1 << 20);
    buf_init(&txt, 1 << 12);
    buf_init(&other_txt, 1 << 12);
    buf_add(&message, str_from_c(plain));
    REQUIRE_OK(seal(&message, key, ARC_NONE));
    REQUIRE_OK(dkim_record(key, &txt));
    REQUIRE_OK(dkim_record(other, &other_txt));
    struct lookup_record records[] = { { .data = STR("unrelated") },
        { .data = buf_str(&other_txt) }, { .data = buf_str(&txt) } };
    for (uint32_t count = 1; count <= COUNT_OF(records); count++) {
        REQUIRE_OK(arc_verify_begin(buf_str(&message), now, &chain));
        arc_answer(chain, &(struct lookup_answer){ LOOKUP_FOUND, records, count, false });
        enum arc_result wanted = count == COUNT_OF(records) ? ARC_PASS : ARC_FAIL;
        CHECK(arc_verify_result(chain) == wanted, "%u records", count);
        arc_verify_free(chain);
    }
    buf_done(&message);
    buf_done(&txt);
    buf_done(&other_txt);
    key_free(key);
    key_free(other);
}

static void add_der_record(struct buf *record, const uint8_t *der, size_t len)
{
    buf_init(record, 2048);
    buf_add(record, STR("v=DKIM1; k=rsa; p="));
    b64_encode(record, str_of((const char *)der, len));
}

TEST(g3_short_huge_forgeable_revoked_and_garbage_keys_fail_the_chain)
{
    uint8_t open[3 + 4 + 128 + 3] = { 0x30, 0x81, 0x87, 0x02, 0x81, 0x81, 0x00 };
    uint8_t huge[4 + 5 + 520 + 5] = { 0x30, 0x82, 0x02, 0x12, 0x02, 0x82, 0x02, 0x09, 0x00 };
    memset(open + 7, 0xc5, 128); /* with exponent 1 anybody signs */
    memcpy(open + sizeof open - 3, "\x02\x01\x01", 3);
    memset(huge + 9, 0xc5, 520);
    memcpy(huge + sizeof huge - 5, "\x02\x03\x01\x00\x01", 5);
    struct key *key = make_key(KEY_RSA);
    struct buf message, record[2];
    buf_init(&message, 1 << 20);
    add_der_record(&record[0], open, sizeof open);
    add_der_record(&record[1], huge, sizeof huge);
    buf_add(&message, str_from_c(plain));
    REQUIRE_OK(seal(&message, key, ARC_NONE));
    const struct str texts[] = { buf_str(&record[0]), buf_str(&record[1]), STR("v=DKIM1; p="),
        STR("v=DKIM1; p=!!!"), STR("v=DKIM1"), STR(""),
        STR("p=MFwwDQYJKoZIhvcNAQEBBQADSwAwSAJBAIWmlgix/84GJ+dfgjm7LTc9EPdfkftlgiPpCq4/"
            "kbDAZmU0VvYKDl"
            "jjleJ1dfvS+CGy9U/kk1tG3EeEvb82xAcCAwEAAQ==") };
    for (size_t i = 0; i < COUNT_OF(texts); i++) {
        struct arc_verify *chain;
        struct lookup_record answer = { .data = texts[i] };
        REQUIRE_OK(arc_verify_begin(buf_str(&message), now, &chain));
        arc_answer(chain, &(struct lookup_answer){ LOOKUP_FOUND, &answer, 1, false });
        CHECK(arc_verify_result(chain) == ARC_FAIL, "key %zu", i);
        arc_verify_free(chain);
    }
    buf_done(&record[0]);
    buf_done(&record[1]);
    buf_done(&message);
    key_free(key);
}

TEST(only_results_of_ones_own_name_are_gathered)
{
    static const char text[] = "Authentication-Results: mx.list.example 1; spf=pass\r\n\tx=y;\r\n"
                               "Authentication-Results: evil.example; dmarc=pass\r\n"
                               "Authentication-Results: MX.list.example; none\r\n"
                               "Authentication-Results: mx.list.example (c); dkim=fail\r\n\r\n";
    struct arena arena;
    struct header header;
    struct buf results;
    arena_init(&arena, HEADER_ARENA_BYTES);
    buf_init(&results, ARC_RESULTS_BYTES_MAX);
    REQUIRE_OK(header_parse(&arena, str_from_c(text), true, &header, NULL));
    REQUIRE_OK(arc_results(&header, STR("mx.list.example"), &results));
    CHECK_STR(buf_str(&results), STR("spf=pass x=y; dkim=fail"));
    buf_clear(&results);
    REQUIRE_OK(arc_results(&header, STR("other.example"), &results));
    CHECK_U64(results.len, 0);
    buf_done(&results);
    arena_done(&arena);
}

static enum arc_result result_of(const char *message, enum lookup_status status)
{
    struct arc_verify *chain;
    struct lookup_question question;
    REQUIRE_OK(arc_verify_begin(str_from_c(message), now, &chain));
    while (arc_question(chain, &question)) {
        arc_answer(chain, &(struct lookup_answer){ .status = status });
    }
    enum arc_result result = arc_verify_result(chain);
    arc_verify_free(chain);
    return result;
}

TEST(g6_a_resolver_that_fails_is_temperror_and_a_missing_key_is_fail)
{
    struct key *key = make_key(KEY_RSA);
    struct buf message;
    buf_init(&message, 1 << 20);
    buf_add(&message, str_from_c(plain));
    REQUIRE_OK(seal(&message, key, ARC_NONE));
    buf_add_char(&message, '\0');
    CHECK(result_of(message.ptr, LOOKUP_TEMPFAIL) == ARC_TEMPERROR);
    CHECK(result_of(message.ptr, LOOKUP_NXDOMAIN) == ARC_FAIL);
    CHECK(result_of(message.ptr, LOOKUP_NODATA) == ARC_FAIL);
    buf_done(&message);
    key_free(key);
}

TEST(headers_that_are_none_and_odd_instances_fail_without_a_question)
{
    static const char *const bad[] = {
        "no colon here\r\n\r\n",
        "From: a\rb\r\n\r\n",
        "ARC-Seal: i=001; cv=none; a=rsa-sha256; d=a.example; s=s; b=AAAA\r\n\r\n",
        "ARC-Seal: i=99; cv=none; a=rsa-sha256; d=a.example; s=s; b=AAAA\r\n\r\n",
        "ARC-Seal: i=-1; cv=none\r\n\r\n",
        "ARC-Seal: ;;;\r\n\r\n",
        "ARC-Message-Signature:\r\n\r\n",
        "ARC-Authentication-Results: (((((((((((((((((((((((((((((( i=1;\r\n\r\n",
        "ARC-Authentication-Results: i=2; a; none\r\n\r\n",
    };
    for (size_t i = 0; i < COUNT_OF(bad); i++) {
        CHECK(result_of(bad[i], LOOKUP_TEMPFAIL) == ARC_FAIL, "%s", bad[i]);
    }
    CHECK(result_of("", LOOKUP_TEMPFAIL) == ARC_NONE);
    CHECK(result_of("\r\n", LOOKUP_TEMPFAIL) == ARC_NONE);
}

TEST(memory_that_runs_out_is_an_error_and_leaks_nothing)
{
    struct key *key = make_key(KEY_RSA);
    struct buf message;
    buf_init(&message, 1 << 20);
    buf_add(&message, str_from_c(plain));
    REQUIRE_OK(seal(&message, key, ARC_NONE));
    for (uint64_t nth = 1; nth < 40; nth++) {
        struct arc_verify *chain = NULL;
        mem_fail_at(nth);
        enum err err = arc_verify_begin(buf_str(&message), now, &chain);
        mem_fail_at(0);
        CHECK(err == OK || err == E_NOMEM);
        if (err == OK) {
            CHECK(arc_verify_result(chain) == ARC_PENDING ||
                    arc_verify_result(chain) == ARC_TEMPERROR);
            arc_verify_free(chain);
        }
    }
    buf_done(&message);
    key_free(key);
}
