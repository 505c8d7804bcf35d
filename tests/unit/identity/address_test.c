/* SPDX-License-Identifier: Apache-2.0
 *
 * address_test.c - which addresses are worth sending to: the isemail set in its three forms, the
 * limits, and each verdict that DNS can lead to (tests/data/identity/addresses.zone).
 */
#include "core/buf.h"
#include "core/str.h"
#include "identity/identity.h"
#include "tests/test.h"

#include <stdio.h>

#include <jansson.h>

enum { LINE_CAP = 4096 };

struct fixture {
    struct identity_addresses *addresses;
    struct identity_address address;
    struct identity_desk *desk;
};

static void open_lists(struct fixture *fixture)
{
    *fixture = (struct fixture){ 0 };
    REQUIRE_OK(identity_addresses_open(&fixture->addresses));
}

static void done(struct fixture *fixture)
{
    identity_desk_close(fixture->desk);
    identity_addresses_close(fixture->addresses);
}

static bool has(const struct fixture *fixture, enum identity_address_reason reason)
{
    return fixture->address.reasons >> reason & 1;
}

static void look(struct fixture *fixture, struct str text)
{
    identity_address_look(fixture->addresses, text, &fixture->address);
}

/* ---- forms ---- */

static void check_isemail_line(struct fixture *fixture, const char *line)
{
    json_t *row = json_loads(line, JSON_ALLOW_NUL, NULL);
    const json_t *text = json_object_get(row, "address");
    struct str address = str_of(json_string_value(text), json_string_length(text));
    struct str category = str_from_c(json_string_value(json_object_get(row, "category")));
    bool is_signup = str_eq(category, STR("ISEMAIL_VALID_CATEGORY")) ||
                     str_eq(category, STR("ISEMAIL_DNSWARN"));
    bool is_smtp = is_signup || str_eq(category, STR("ISEMAIL_RFC5321"));
    look(fixture, address);
    CHECK(fixture->address.is_smtp == is_smtp, "smtp: %s", line);
    CHECK(fixture->address.is_header == !str_eq(category, STR("ISEMAIL_ERR")), "header: %s", line);
    CHECK(fixture->address.is_signup == is_signup, "signup: %s", line);
    json_decref(row);
}

TEST(every_address_of_the_isemail_set_is_judged_in_all_three_forms)
{
    struct fixture fixture;
    char line[LINE_CAP];
    uint32_t count = 0;
    FILE *file = fopen("tests/data/addresses/isemail.jsonl", "re");
    CHECK(file != NULL);
    open_lists(&fixture);
    for (; fgets(line, sizeof line, file) != NULL; count++) {
        check_isemail_line(&fixture, line);
    }
    CHECK_U64(count, 102);
    fclose(file);
    done(&fixture);
}

static void check_rfc_line(struct fixture *fixture, const char *line)
{
    json_t *row = json_loads(line, JSON_ALLOW_NUL, NULL);
    const json_t *text = json_object_get(row, "address");
    look(fixture, str_of(json_string_value(text), json_string_length(text)));
    CHECK(fixture->address.is_smtp == json_is_true(json_object_get(row, "smtp")), "%s", line);
    CHECK(fixture->address.is_header == json_is_true(json_object_get(row, "header")), "%s", line);
    CHECK(fixture->address.is_signup == json_is_true(json_object_get(row, "signup")), "%s", line);
    json_decref(row);
}

TEST(comments_folds_literals_and_lengths_are_judged_by_the_words_of_the_rfcs)
{
    struct fixture fixture;
    char line[LINE_CAP];
    uint32_t count = 0;
    FILE *file = fopen("tests/data/addresses/rfc.jsonl", "re");
    CHECK(file != NULL);
    open_lists(&fixture);
    for (; fgets(line, sizeof line, file) != NULL; count++) {
        check_rfc_line(&fixture, line);
    }
    CHECK_U64(count, 187);
    fclose(file);
    done(&fixture);
}

TEST(forms_that_the_set_does_not_have_follow_the_rfcs)
{
    static const struct {
        struct str text;
        bool is_smtp, is_header, is_signup;
    } rows[] = {
        { STR_INIT("a@[IPv6:::1]"), true, true, false },
        { STR_INIT("a@[ipv6:2001:db8::1]"), true, true, false },
        { STR_INIT("a@[IPv6:1:2:3:4:5:6:7:8]"), true, true, false },
        { STR_INIT("a@[IPv6:1::3:4:5:6:7:8]"), false, true, false }, /* :: is two groups or more */
        { STR_INIT("a@[IPv6:1:2:3:4:5:6:192.0.2.1]"), true, true, false },
        { STR_INIT("a@[IPv6::1]"), false, true, false },
        { STR_INIT("a@[x-tag:content]"), false, true, false }, /* no such tag is registered */
        { STR_INIT("a@[]"), false, true, false },
        { STR_INIT("a@[192.0.2.256]"), false, true, false },
        { STR_INIT("a@[192.0.2.1].example"), false, false, false },
        { STR_INIT("a@b_c.example"), false, true, false }, /* '_' is no letter of a domain */
        { STR_INIT("a@b.example-"), false, false, false },
        { STR_INIT("a@b-.example"), false, false, false },
        { STR_INIT("a@1.2x"), true, true, false }, { STR_INIT("-a@b.example"), true, true, true },
        { STR_INIT("a.@b.example"), false, false, false },
        { STR_INIT(".a@b.example"), false, false, false },
        { STR_INIT("a @ b.example"), false, true, false },
        { STR_INIT("a@b.example (c \\( (d)) "), false, true, false },
        { STR_INIT("\"a\\\0b\"@c.example"), false, true, false }, /* obs-qp */
        { STR_INIT("\"a\tb\"@c.example"), false, true, false },
        { STR_INIT("\"a\r\n b\"@c.example"), false, true, false },
        { STR_INIT("\"a\r\nb\"@c.example"), false, false, false },
        { STR_INIT("a@b@c.example"), false, false, false },
        { STR_INIT("<a@b.example>"), false, false, false },
        { STR_INIT("a@b.example\0"), false, false, false },
        { STR_INIT("\xC3\xBC@b.example"), true, true, true },
        { STR_INIT("a@b\xC3\xBC"
                   "cher.example"),
                true, true, true },
        { STR_INIT("\xC3@b.example"), false, false, false },
        { STR_INIT("\xC0\x80@b.example"), false, false, false },
        { STR_INIT("a@\xE2\x80\xAE.example"), false, true, false }, /* no letter of IDNA */
    };
    struct fixture fixture;
    open_lists(&fixture);
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        look(&fixture, rows[i].text);
        CHECK(fixture.address.is_smtp == rows[i].is_smtp &&
                        fixture.address.is_header == rows[i].is_header &&
                        fixture.address.is_signup == rows[i].is_signup,
                "%.*s: got %d %d %d", STR_ARG(rows[i].text), fixture.address.is_smtp,
                fixture.address.is_header, fixture.address.is_signup);
    }
    done(&fixture);
}

TEST(an_address_over_4096_bytes_is_not_looked_into)
{
    struct fixture fixture;
    struct buf text;
    buf_init(&text, 1 << 20);
    for (size_t i = 0; i < IDENTITY_ADDRESS_BYTES_MAX - 5; i++) {
        buf_add_char(&text, '(');
    }
    buf_add_c(&text, "a@b.c");
    open_lists(&fixture);
    look(&fixture, buf_str(&text));
    CHECK(has(&fixture, IDENTITY_ADDRESS_SYNTAX) && !has(&fixture, IDENTITY_ADDRESS_TOO_LONG));
    buf_add_char(&text, 'x');
    look(&fixture, buf_str(&text));
    CHECK(has(&fixture, IDENTITY_ADDRESS_TOO_LONG) && !fixture.address.is_header);
    done(&fixture);
    buf_done(&text);
}

TEST(each_fault_is_named)
{
    static const struct {
        const char *text, *fault;
    } rows[] = {
        { "", "is empty" },
        { "nobody", "has no @" },
        { "@b.example", "has nothing before the @" },
        { "a@", "has nothing behind the @" },
        { "a..b@c.example", "has a dot too many" },
        { "a@b..example", "has a dot too many" },
        { "a b@c.example", "has a character before the @" },
        { "a@b c.example", "has a domain with other than" },
        { "a@-b.example", "has a hyphen" },
        { "a@b.example\x01", "has a control character" },
        { "\xff@b.example", "is not valid UTF-8" },
        { "a@[1.2.3]", "has an address literal" },
        { "(c)a@b.example", "has comments" },
        { "0123456789012345678901234567890123456789012345678901234567890123456789@b.example",
                "has more than 64 bytes" },
    };
    struct fixture fixture;
    open_lists(&fixture);
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        look(&fixture, str_from_c(rows[i].text));
        CHECK(str_starts(str_from_c(fixture.address.fault), str_from_c(rows[i].fault)),
                "\"%s\": got \"%s\"", rows[i].text, fixture.address.fault);
    }
    done(&fixture);
}

/* ---- lists ---- */

TEST(roles_throw_away_mailboxes_and_lone_labels_are_named)
{
    static const struct {
        const char *text;
        enum identity_address_reason reason;
    } rows[] = {
        { "Info+shop@good.example", IDENTITY_ADDRESS_ROLE },
        { "no-reply@good.example", IDENTITY_ADDRESS_ROLE },
        { "x@mailinator.com", IDENTITY_ADDRESS_DISPOSABLE },
        { "x@sub.MAILINATOR.com", IDENTITY_ADDRESS_DISPOSABLE },
        { "x@localhost", IDENTITY_ADDRESS_DOTLESS },
        { "x@1.2.3.4", IDENTITY_ADDRESS_TOP_NUMBER },
        { "\"x y\"@good.example", IDENTITY_ADDRESS_QUOTED },
        { "x@[192.0.2.1]", IDENTITY_ADDRESS_LITERAL },
        { "\xC3\xBC@good.example", IDENTITY_ADDRESS_SMTPUTF8 },
        { "x@gmal.com", IDENTITY_ADDRESS_TYPO },
    };
    struct fixture fixture;
    open_lists(&fixture);
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        look(&fixture, str_from_c(rows[i].text));
        CHECK_U64(fixture.address.reasons, UINT32_C(1) << rows[i].reason);
        CHECK(identity_address_verdict(&fixture.address) == IDENTITY_ADDRESS_WARN);
    }
    look(&fixture, STR("x@ai")); /* a top-level domain that takes mail itself */
    CHECK_U64(fixture.address.reasons, 0);
    done(&fixture);
}

TEST(a_suggestion_is_a_whole_address_also_for_bad_syntax)
{
    struct fixture fixture;
    open_lists(&fixture);
    look(&fixture, STR("Jo.Doe+x@GMIAL.COM"));
    CHECK_STR(fixture.address.suggestion, STR("Jo.Doe+x@gmail.com"));
    CHECK_STR(fixture.address.suggested_domain, STR("gmail.com"));
    look(&fixture, STR("jo@gmail..com"));
    CHECK_STR(fixture.address.suggestion, STR("jo@gmail.com"));
    look(&fixture, STR("jo doe@gmail.con")); /* no good either */
    CHECK_STR(fixture.address.suggestion, STR(""));
    done(&fixture);
}

/* ---- DNS ---- */

static void asked(void *ctx)
{
    (void)ctx;
}

static void ask(struct fixture *fixture, const char *domain)
{
    static struct identity_mail mail;
    char text[300];
    struct why why = { 0 };
    look(fixture, str_of(text, fmt(text, sizeof text, "jo@%s", domain)));
    CHECK(identity_address_wants_mail(&fixture->address));
    if (fixture->desk == NULL) {
        REQUIRE_OK(identity_desk_open(
                "tests/data/identity/addresses.zone", (struct str){ 0 }, &fixture->desk, &why));
    }
    identity_mail_begin(&mail, fixture->address.domain);
    struct identity_engine engine = identity_mail_engine(&mail);
    REQUIRE_OK(identity_ask(identity_desk_asker(fixture->desk), &engine, 0, asked, NULL, NULL));
    identity_desk_run(fixture->desk);
    identity_address_add_mail(fixture->addresses, &fixture->address, &mail);
}

TEST(what_dns_says_of_the_domain_decides)
{
    static const struct {
        const char *domain;
        uint32_t reason; /* REASON_COUNT: none */
        const char *host;
    } rows[] = {
        { "good.example", IDENTITY_ADDRESS_REASON_COUNT, "mx.good.example" },
        { "six.example", IDENTITY_ADDRESS_REASON_COUNT, "mx.six.example" },
        { "implied.example", IDENTITY_ADDRESS_REASON_COUNT, "implied.example" },
        { "half.example", IDENTITY_ADDRESS_REASON_COUNT, "mx.good.example" },
        { "rescued.example", IDENTITY_ADDRESS_REASON_COUNT, "mx.good.example" },
        { "b\xC3\xBC"
          "cher.example",
                IDENTITY_ADDRESS_REASON_COUNT, "mx.good.example" },
        { "null.example", IDENTITY_ADDRESS_NULL_MX, "" },
        { "nomail.example", IDENTITY_ADDRESS_NO_HOST, "" },
        { "nowhere.example", IDENTITY_ADDRESS_MX_NOWHERE, "" },
        { "loop.example", IDENTITY_ADDRESS_MX_INTERNAL, "" },
        { "private.example", IDENTITY_ADDRESS_MX_INTERNAL, "" },
        { "literal.example", IDENTITY_ADDRESS_MX_LITERAL, "" },
        { "absent.example", IDENTITY_ADDRESS_NO_DOMAIN, "" },
        { "slow.example", IDENTITY_ADDRESS_DNS_FAILED, "" },
        { "broken.example", IDENTITY_ADDRESS_DNS_FAILED, "" },
        { "shaky.example", IDENTITY_ADDRESS_DNS_FAILED, "" },
    };
    struct fixture fixture;
    open_lists(&fixture);
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        ask(&fixture, rows[i].domain);
        uint32_t expected =
                rows[i].reason == IDENTITY_ADDRESS_REASON_COUNT ? 0 : UINT32_C(1) << rows[i].reason;
        CHECK(fixture.address.reasons == expected, "%s: got reasons %x", rows[i].domain,
                fixture.address.reasons);
        CHECK_STR(str_from_c(fixture.address.mail_host), str_from_c(rows[i].host));
    }
    done(&fixture);
}

TEST(dns_that_failed_is_could_not_tell_and_never_bad)
{
    struct fixture fixture;
    open_lists(&fixture);
    ask(&fixture, "slow.example");
    CHECK(identity_address_verdict(&fixture.address) == IDENTITY_ADDRESS_UNKNOWN);
    done(&fixture);
}

/* One answer says that the name does not exist, the next has records of it. */
TEST(answers_that_contradict_each_other_are_could_not_tell)
{
    struct identity_mail mail;
    struct lookup_question question;
    struct lookup_record record = { .ip = { IP_V4, { 192, 0, 2, 1 } } };
    struct lookup_answer absent = { .status = LOOKUP_NXDOMAIN };
    struct lookup_answer found = { .status = LOOKUP_FOUND, .record = &record, .record_count = 1 };
    identity_mail_begin(&mail, STR("lies.example"));
    struct identity_engine engine = identity_mail_engine(&mail);
    CHECK(engine.question(&mail, &question) && question.type == LOOKUP_MX);
    engine.answer(&mail, &absent);
    CHECK(engine.question(&mail, &question) && question.type == LOOKUP_A);
    engine.answer(&mail, &found);
    CHECK(!engine.question(&mail, &question));
    CHECK_U64(mail.reason, IDENTITY_ADDRESS_DNS_FAILED);
}

TEST(of_a_hundred_mx_hosts_five_are_asked_about)
{
    static char names[DNS_RECORD_COUNT_MAX][32];
    struct lookup_record record[DNS_RECORD_COUNT_MAX] = { 0 };
    struct identity_mail mail;
    struct lookup_question question;
    uint32_t count = 0;
    for (size_t i = 0; i < COUNT_OF(record); i++) {
        record[i].preference = (uint16_t)(200 - i);
        record[i].data = str_of(names[i], fmt(names[i], sizeof names[i], "mx%zu.example", i));
    }
    struct lookup_answer found = {
        .status = LOOKUP_FOUND, .record = record, .record_count = COUNT_OF(record)
    };
    struct lookup_answer none = { .status = LOOKUP_NODATA };
    identity_mail_begin(&mail, STR("many.example"));
    struct identity_engine engine = identity_mail_engine(&mail);
    engine.answer(&mail, &found);
    CHECK(engine.question(&mail, &question));
    CHECK_STR(question.name, STR("mx99.example"));
    for (; engine.question(&mail, &question); count++) {
        engine.answer(&mail, &none);
    }
    CHECK_U64(count, 2 * IDENTITY_ADDRESS_HOST_COUNT_MAX);
    CHECK_U64(mail.reason, IDENTITY_ADDRESS_MX_NOWHERE);
}

/* ---- output ---- */

TEST(json_and_csv_take_any_byte)
{
    struct fixture fixture;
    struct buf text;
    buf_init(&text, 1 << 20);
    open_lists(&fixture);
    for (int c = 0; c < 256; c++) {
        char bytes[] = { '=', (char)c, '@', 'b', '"' };
        look(&fixture, str_of(bytes, sizeof bytes));
        buf_clear(&text);
        identity_address_json(&fixture.address, &text);
        json_t *json = json_loadb(text.ptr, text.len, JSON_ALLOW_NUL, NULL);
        CHECK(json_is_false(json_object_get(json, "smtp")), "byte %d: %.*s", c,
                STR_ARG(buf_str(&text)));
        json_decref(json);
        buf_clear(&text);
        identity_address_csv(&fixture.address, &text);
        CHECK(str_starts(buf_str(&text), STR("\"'=")), "byte %d", c);
        CHECK(str_index(buf_str(&text), '\n') == text.len - 1, "byte %d", c);
    }
    done(&fixture);
    buf_done(&text);
}
