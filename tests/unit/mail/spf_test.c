/* SPDX-License-Identifier: Apache-2.0
 *
 * spf_test.c - limits, macros, words and hostile input of SPF (RFC 7208); the suite of cases is in
 * spf_corpus_test.c.
 */
#include "core/str.h"
#include "mail/spf_priv.h"
#include "tests/test.h"
#include "tests/unit/mail/spf_world.h"

enum { RECORD_COUNT_MAX = 64 };

/* What one check gave, and what it cost. */
struct outcome {
    enum spf_result result;
    char explanation[SPF_EXPLANATION_BYTES_MAX + 1];
    char problem[WHY_BYTES_MAX];
    char mechanism[300], decided_by[260];
    uint32_t lookup_count, void_count, question_count, step_count;
};

static struct outcome check_as(const struct world_record *record, size_t count, const char *ip,
        struct str mail_from, struct str helo)
{
    struct spf_params params = { .mail_from = mail_from, .helo = helo, .is_traced = true };
    struct world world = { record, count, 0 };
    struct spf *spf;
    REQUIRE_OK(ip_parse(str_from_c(ip), &params.ip));
    params.now.ms = 1764000000123;
    params.receiver = STR("mx.receiver.example");
    REQUIRE_OK(spf_begin(&params, &spf));
    world_answer(&world, spf);
    const struct spf_verdict *verdict = spf_verdict(spf);
    struct outcome outcome = { .result = verdict->result,
        .lookup_count = verdict->lookup_count,
        .void_count = verdict->void_count,
        .question_count = world.question_count,
        .step_count = verdict->step_count };
    (void)str_to_c(verdict->explanation, outcome.explanation, sizeof outcome.explanation);
    (void)str_to_c(verdict->problem, outcome.problem, sizeof outcome.problem);
    (void)str_to_c(verdict->mechanism, outcome.mechanism, sizeof outcome.mechanism);
    (void)str_to_c(verdict->decided_by, outcome.decided_by, sizeof outcome.decided_by);
    spf_free(spf);
    return outcome;
}

static struct outcome check(const struct world_record *record, size_t count)
{
    return check_as(
            record, count, "192.0.2.3", STR("strong-bad@email.example.com"), STR("mx.example.org"));
}
#define CHECK_WORLD(records) check(records, COUNT_OF(records))
#define TXT(name, data)                                                                            \
    {                                                                                              \
        STR_INIT(name), LOOKUP_TXT, STR_INIT(data), false                                          \
    }
#define A(name, data)                                                                              \
    {                                                                                              \
        STR_INIT(name), LOOKUP_A, STR_INIT(data), false                                            \
    }
#define PTR(name, data)                                                                            \
    {                                                                                              \
        STR_INIT(name), LOOKUP_PTR, STR_INIT(data), false                                          \
    }

static void check_result(const struct outcome *outcome, enum spf_result expected)
{
    CHECK(outcome->result == expected, "got %s, expected %s: %s", spf_result_name(outcome->result),
            spf_result_name(expected), outcome->problem);
}

/* ---- macros ---- */

TEST(macros_expand_as_in_the_table_of_rfc_7208_7_4)
{
    static const char *const rows[][2] = { { "%{s}", "strong-bad@email.example.com" },
        { "%{o}", "email.example.com" }, { "%{d}", "email.example.com" },
        { "%{d4}", "email.example.com" }, { "%{d3}", "email.example.com" },
        { "%{d2}", "example.com" }, { "%{d1}", "com" }, { "%{dr}", "com.example.email" },
        { "%{d2r}", "example.email" }, { "%{l}", "strong-bad" }, { "%{l-}", "strong.bad" },
        { "%{lr}", "strong-bad" }, { "%{lr-}", "bad.strong" }, { "%{l1r-}", "strong" },
        { "%{ir}.%{v}._spf.%{d2}", "3.2.0.192.in-addr._spf.example.com" },
        { "%{lr-}.lp._spf.%{d2}", "bad.strong.lp._spf.example.com" },
        { "%{lr-}.lp.%{ir}.%{v}._spf.%{d2}", "bad.strong.lp.3.2.0.192.in-addr._spf.example.com" },
        { "%{ir}.%{v}.%{l1r-}.lp._spf.%{d2}", "3.2.0.192.in-addr.strong.lp._spf.example.com" },
        { "%{d2}.trusted-domains.example.net", "example.com.trusted-domains.example.net" },
        { "%{p}", "mx.example.org" }, { "%{h}", "mx.example.org" }, { "%{c} %{t}", "192.0.2.3 7" },
        { "%{r}", "unknown" }, { "%%%_%-", "% %20" }, { "%{S}", "strong-bad%40email.example.com" },
        { "%{D999R}", "com.example.email" }, { "%{d0128}", "email.example.com" } };
    struct spf_values values = { .local = STR("strong-bad"),
        .sender_domain = STR("email.example.com"),
        .domain = STR("email.example.com"),
        .helo = STR("mx.example.org"),
        .name = STR("mx.example.org"),
        .ip = { IP_V4, { 192, 0, 2, 3 } },
        .now_s = 7 };
    struct buf text;
    buf_init(&text, 1000);
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        buf_clear(&text);
        REQUIRE_OK(spf_expand(str_from_c(rows[i][0]), &values, &text));
        CHECK_STR(buf_str(&text), str_from_c(rows[i][1]));
    }
    buf_clear(&text);
    REQUIRE_OK(ip_parse(STR("2001:db8::cb01"), &values.ip));
    REQUIRE_OK(spf_expand(STR("%{ir}.%{v}._spf.%{d2}"), &values, &text));
    CHECK(str_eq_nocase(buf_str(&text), STR("1.0.b.c.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d."
                                            "0.1.0.0.2.ip6._spf.example.com")));
    buf_done(&text);
}

TEST(parts_may_be_empty_and_delimiters_many)
{
    static const char *const rows[][2] = { { "%{l}", "a--b.c+" }, { "%{l-}", "a..b.c+" },
        { "%{l1-}", "b.c+" }, { "%{l+r}", NULL }, { "%{lr+}", ".a--b.c" }, { "%{l2-.+}", "c." },
        { "%{l0}", NULL }, { "%{lx}", NULL }, { "%{}", NULL }, { "%{l", NULL }, { "%", NULL },
        { "%a", NULL }, { "%{l-r}", NULL } };
    struct spf_values values = { .local = STR("a--b.c+") };
    struct buf text;
    buf_init(&text, 1000);
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        buf_clear(&text);
        bool is_good = spf_expand(str_from_c(rows[i][0]), &values, &text) == OK;
        CHECK(is_good == (rows[i][1] != NULL), "%s", rows[i][0]);
        CHECK(!is_good || str_eq(buf_str(&text), str_from_c(rows[i][1])), "%s: got %.*s",
                rows[i][0], STR_ARG(buf_str(&text)));
    }
    buf_done(&text);
}

/* Its size is known before anything is written. */
TEST(g2_a_macro_bomb_ends_at_its_limit)
{
    static char bomb[60000], sender[1000];
    memset(sender, 'a', sizeof sender);
    memcpy(sender + sizeof sender - 10, "@b.example", 10);
    size_t len = 0;
    while (len < sizeof bomb - 4) {
        memcpy(bomb + len, "%{s}", 4);
        len += 4;
    }
    struct world_record records[] = { TXT("b.example", "v=spf1 -all exp=e.example"),
        { STR_INIT("e.example"), LOOKUP_TXT, { bomb, len }, false } };
    struct outcome outcome = check_as(records, COUNT_OF(records), "192.0.2.3",
            str_of(sender, sizeof sender), STR("h.example"));
    check_result(&outcome, SPF_FAIL);
    CHECK(strcmp(outcome.explanation, "") == 0);
    memcpy(bomb, "v=spf1 a:", 9);
    records[0].data = str_of(bomb, len - 5); /* cut behind a macro: 9 + 4 * n */
    outcome = check_as(records, 1, "192.0.2.3", str_of(sender, sizeof sender), STR("h.example"));
    CHECK(outcome.result == SPF_PERMERROR || outcome.result == SPF_NEUTRAL);
    outcome = check_as(records, 1, "192.0.2.3", STR("a@b.example"), STR("h.example"));
    CHECK(outcome.result == SPF_PERMERROR || outcome.result == SPF_NEUTRAL);
}

/* RFC 7208 7.3: labels go from the left until 253 octets are left. */
TEST(g2_a_name_that_grew_too_long_is_cut_from_the_left)
{
#define LABEL "aaaaaaaaaabbbbbbbbbbccccccccccddddddddddeeeeeeeeeeffffffffff"
#define KEPT LABEL "." LABEL "." LABEL "." LABEL ".e.example"
    static_assert(sizeof KEPT - 1 == 253, "the longest name");
    struct world_record records[] = {
        TXT("b.example", "v=spf1 exists:%{l}.%{l}.%{l}.%{l}.%{l}.e.example -all"),
        A(KEPT, "127.0.0.2")
    };
    struct outcome outcome = check_as(
            records, COUNT_OF(records), "192.0.2.3", STR(LABEL "@b.example"), STR("h.example"));
    check_result(&outcome, SPF_PASS);
    records[1].name = STR("e.example");
    outcome = check_as(
            records, COUNT_OF(records), "192.0.2.3", STR(LABEL "@b.example"), STR("h.example"));
    check_result(&outcome, SPF_FAIL);
#undef LABEL
#undef KEPT
}

/* ---- limits ---- */

TEST(g1_ten_terms_may_ask_and_the_eleventh_is_an_error)
{
    struct world_record ten[] = { TXT("email.example.com", "v=spf1 a a a a a a a a a a -all"),
        A("email.example.com", "192.0.2.9") };
    struct outcome outcome = CHECK_WORLD(ten);
    check_result(&outcome, SPF_FAIL);
    CHECK_U64(outcome.lookup_count, 10);
    ten[0].data = STR("v=spf1 a a a a a a a a a redirect=r.example.com");
    struct world_record more[] = { ten[0], ten[1],
        TXT("r.example.com", "v=spf1 exists:x.example") };
    outcome = CHECK_WORLD(more);
    check_result(&outcome, SPF_PERMERROR);
    CHECK_U64(outcome.lookup_count, 11);
    CHECK(strstr(outcome.problem, "more than 10") != NULL);
    CHECK(strcmp(outcome.mechanism, "exists:x.example") == 0, "%s", outcome.mechanism);
    CHECK(strcmp(outcome.decided_by, "r.example.com") == 0);
}

TEST(g1_two_empty_answers_are_fine_and_the_third_is_an_error)
{
    struct world_record records[] = { TXT(
            "email.example.com", "v=spf1 a:a.example exists:b.example ?all") };
    struct outcome outcome = CHECK_WORLD(records);
    check_result(&outcome, SPF_NEUTRAL);
    CHECK_U64(outcome.void_count, 2);
    records[0].data = STR("v=spf1 a:a.example exists:b.example mx:c.example ?all");
    outcome = CHECK_WORLD(records);
    check_result(&outcome, SPF_PERMERROR);
    records[0].data = STR("v=spf1 ip4:192.0.2.3 a:a.example a:b.example a:c.example ?all");
    outcome = CHECK_WORLD(records);
    check_result(&outcome, SPF_PASS); /* what is not evaluated is not counted */
}

static void make_hosts(struct world_record *records, size_t count, enum lookup_type type,
        struct str owner, char (*names)[32])
{
    for (size_t i = 0; i < count; i++) {
        size_t len = fmt(names[i], sizeof names[i], "h%zu.email.example.com", i);
        records[2 * i] = (struct world_record){ owner, type, { names[i], len }, false };
        records[2 * i + 1] = (struct world_record){ { names[i], len }, LOOKUP_A,
            i + 1 == count ? STR("192.0.2.3") : STR("192.0.2.99"), false };
    }
}

TEST(g1_an_mx_of_ten_hosts_is_asked_for_and_one_of_eleven_is_an_error)
{
    static char names[11][32];
    struct world_record records[23] = { [22] = TXT("email.example.com", "v=spf1 mx -all") };
    for (size_t count = 10; count <= 11; count++) {
        make_hosts(records, count, LOOKUP_MX, STR("email.example.com"), names);
        records[2 * count] = records[22];
        struct outcome outcome = check(records, 2 * count + 1);
        check_result(&outcome, count == 10 ? SPF_PASS : SPF_PERMERROR);
        CHECK_U64(outcome.question_count, count == 10 ? 12 : 2);
    }
}

TEST(of_the_names_of_the_client_ten_are_looked_at)
{
    static char names[11][32];
    struct world_record records[23] = { [22] = TXT("email.example.com", "v=spf1 ptr -all") };
    for (size_t count = 10; count <= 11; count++) {
        make_hosts(records, count, LOOKUP_PTR, STR("3.2.0.192.in-addr.arpa"), names);
        records[2 * count] = records[22];
        struct outcome outcome = check(records, 2 * count + 1);
        check_result(&outcome, count == 10 ? SPF_PASS : SPF_FAIL);
        CHECK_U64(outcome.question_count, 12);
    }
}

TEST(loops_end)
{
    struct world_record records[] = { TXT(
            "email.example.com", "v=spf1 include:email.example.com -all") };
    struct outcome outcome = CHECK_WORLD(records);
    check_result(&outcome, SPF_PERMERROR);
    records[0].data = STR("v=spf1 redirect=email.example.com");
    outcome = CHECK_WORLD(records);
    check_result(&outcome, SPF_PERMERROR);
    records[0].data = STR("v=spf1 redirect=%{d}");
    outcome = CHECK_WORLD(records);
    check_result(&outcome, SPF_PERMERROR);
}

TEST(a_record_of_too_many_terms_is_refused)
{
    static char text[SPF_TERM_COUNT_MAX * 12 + 32];
    struct world_record records[] = { TXT("email.example.com", "") };
    for (size_t count = SPF_TERM_COUNT_MAX - 1; count <= SPF_TERM_COUNT_MAX; count++) {
        size_t len = fmt(text, sizeof text, "v=spf1");
        for (size_t i = 1; i < count; i++) {
            len += fmt(text + len, sizeof text - len, " ip4:1.2.3.4");
        }
        len += fmt(text + len, sizeof text - len, " +all");
        records[0].data = str_of(text, len);
        struct outcome outcome = CHECK_WORLD(records);
        check_result(&outcome, count < SPF_TERM_COUNT_MAX ? SPF_PASS : SPF_PERMERROR);
        CHECK(outcome.step_count <= SPF_STEP_COUNT_MAX);
    }
}

/* ---- what goes wrong ---- */

TEST(errors_are_told_apart)
{
    static const struct {
        const char *record;
        enum spf_result result;
        const char *says;
    } rows[] = {
        { "v=spf1 moo -all", SPF_PERMERROR, "\"moo\": no such mechanism" },
        { "v=spf1 a:1.2.3.4 -all", SPF_PERMERROR, "an address is written ip4: or ip6:" },
        { "v=spf1 ip4:1.2.3.4/33", SPF_PERMERROR, "at most /32" },
        { "v=spf1 ip6:::/129", SPF_PERMERROR, "at most /128" },
        { "v=spf1 ip4:1.2.3", SPF_PERMERROR, "IPv4 address" },
        { "v=spf1 ip4:01.2.3.4", SPF_PERMERROR, "IPv4 address" },
        { "v=spf1 ip4:::1", SPF_PERMERROR, "IPv4 address" },
        { "v=spf1 ip6:[::1]", SPF_PERMERROR, "IPv6 address" },
        { "v=spf1 ip6:1.2.3.4", SPF_PERMERROR, "IPv6 address" },
        { "v=spf1 include:localhost", SPF_PERMERROR, "needs a dot" },
        { "v=spf1 include", SPF_PERMERROR, "needs \":\"" },
        { "v=spf1 a:", SPF_PERMERROR, "a domain must follow" },
        { "v=spf1 exists:%{c}.example.com", SPF_PERMERROR, "for explanations only" },
        { "v=spf1 exists:%(d}.example.com", SPF_PERMERROR, "bad macro" },
        { "v=spf1 exp=a.example exp=b.example -all", SPF_PERMERROR, "is there twice" },
        { "v=spf1 all:x", SPF_PERMERROR, "takes no argument" },
        { "v=spf1\x20\x0a", SPF_PERMERROR, "not printable ASCII" },
        { "v=spf1 include:none.example -all", SPF_PERMERROR, "none.example does not exist" },
        { "v=spf1 include:email.example.com. a", SPF_PERMERROR, "more than 10" },
        { "v=spf1 include:slow.example -all", SPF_TEMPERROR, "could not tell" },
        { "v=spf1 a:slow.example -all", SPF_TEMPERROR, "slow.example" },
        { "v=spf1 mx:slow.example -all", SPF_TEMPERROR, "could not tell" },
        { "v=spf1 exists:slow.example -all", SPF_TEMPERROR, "could not tell" },
        { "v=spf1 redirect=slow.example", SPF_TEMPERROR, "could not tell" },
        { "v=spf10 -all", SPF_NONE, "has no SPF record" },
    };
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        struct world_record records[] = { TXT("email.example.com", ""),
            { STR_INIT("slow.example"), LOOKUP_TXT, STR_INIT(""), true } };
        records[0].data = str_from_c(rows[i].record);
        struct outcome outcome = CHECK_WORLD(records);
        check_result(&outcome, rows[i].result);
        CHECK(strstr(outcome.problem, rows[i].says) != NULL, "%s: got \"%s\", expected \"%s\"",
                rows[i].record, outcome.problem, rows[i].says);
    }
}

TEST(g1_two_records_are_an_error_and_other_texts_are_not)
{
    struct world_record records[] = { TXT("email.example.com", "v=spf1 +all"),
        TXT("email.example.com", "google-site-verification=\xff"), TXT("email.example.com", "") };
    struct outcome outcome = CHECK_WORLD(records);
    check_result(&outcome, SPF_PASS);
    records[2].data = STR("V=SPF1");
    outcome = CHECK_WORLD(records);
    check_result(&outcome, SPF_PERMERROR);
    CHECK(strstr(outcome.problem, "has 2 SPF records") != NULL, "%s", outcome.problem);
}

TEST(a_sender_is_read_however_it_is_written)
{
    static const struct {
        const char *mail_from, *helo;
        enum spf_result result;
        const char *explanation;
    } rows[] = {
        { "<u@email.example.com>", "h", SPF_FAIL, "u@email.example.com h email.example.com" },
        { "\"a@b c\"@email.example.com", "h", SPF_FAIL,
                "\"a@b c\"@email.example.com h email.example.com" },
        { "", "email.example.com", SPF_FAIL,
                "postmaster@email.example.com email.example.com email.example.com" },
        { "<>", "EMAIL.example.com.", SPF_FAIL,
                "postmaster@email.example.com EMAIL.example.com. email.example.com" },
        { "email.example.com", "h", SPF_FAIL, "postmaster@email.example.com h email.example.com" },
        { "u@email.example.com.", "h", SPF_FAIL, "u@email.example.com h email.example.com" },
        { "\xc3\xa4@email.example.com", "h", SPF_FAIL, "" }, /* US-ASCII only (RFC 7208 6.2) */
        { "a\r\nb@email.example.com", "h", SPF_FAIL, "" },
        { "u@xn--bcher-kva.example", "h", SPF_PASS, "" },
        { "u@b\xc3\xbc"
          "cher.example",
                "h", SPF_PASS, "" }, /* A-labels (RFC 7208 4.3) */
        { "u@[192.0.2.1]", "h", SPF_NONE, "" },
        { "u@localhost", "h", SPF_NONE, "" },
        { "u@a..b", "h", SPF_NONE, "" },
        { "u@\xff.example", "h", SPF_NONE, "" },
        { "u@", "h", SPF_NONE, "" },
        { "@", "h", SPF_NONE, "" },
        { "", "", SPF_NONE, "" },
    };
    static const struct world_record records[] = { TXT("email.example.com",
                                                           "v=spf1 -all exp=e.example"),
        TXT("e.example", "%{s} %{h} %{d}"), TXT("xn--bcher-kva.example", "v=spf1 +all") };
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        struct outcome outcome = check_as(records, COUNT_OF(records), "192.0.2.3",
                str_from_c(rows[i].mail_from), str_from_c(rows[i].helo));
        check_result(&outcome, rows[i].result);
        CHECK(strcmp(outcome.explanation, rows[i].explanation) == 0,
                "row %zu: got \"%s\", expected \"%s\"", i, outcome.explanation,
                rows[i].explanation);
    }
}

TEST(the_name_of_the_client_is_the_nearest_that_leads_back)
{
    static const struct world_record records[] = {
        TXT("email.example.com", "v=spf1 exists:%{p}.ok.example -all"),
        PTR("3.2.0.192.in-addr.arpa", "liar.email.example.com"),
        PTR("3.2.0.192.in-addr.arpa", "other.example"),
        PTR("3.2.0.192.in-addr.arpa", "sub.email.example.com"),
        A("liar.email.example.com", "192.0.2.4"), A("other.example", "192.0.2.3"),
        A("sub.email.example.com", "192.0.2.3"), A("sub.email.example.com.ok.example", "127.0.0.1")
    };
    struct outcome outcome = CHECK_WORLD(records);
    check_result(&outcome, SPF_PASS);
    CHECK_U64(outcome.lookup_count, 2); /* exists, and the PTR that %{p} asks for */
}

TEST(mapped_addresses_are_ipv4_and_match_no_ip6)
{
    static const struct world_record records[] = { TXT(
            "email.example.com", "v=spf1 ip6:::ffff:192.0.2.3 ip6:::/0 -ip4:192.0.2.0/24") };
    struct outcome outcome =
            check_as(records, 1, "::ffff:192.0.2.3", STR("u@email.example.com"), STR("h.example"));
    check_result(&outcome, SPF_FAIL);
    outcome = check_as(records, 1, "2001:db8::1", STR("u@email.example.com"), STR("h.example"));
    check_result(&outcome, SPF_PASS);
}

static void answer_with(
        struct spf *spf, const struct lookup_record *record, uint32_t count, const char *asked)
{
    struct lookup_question question;
    CHECK(spf_question(spf, &question), "done before %s", asked);
    CHECK_STR(question.name, str_from_c(asked));
    spf_answer(spf, &(struct lookup_answer){ LOOKUP_FOUND, record, count, false });
}

TEST(the_hosts_of_an_mx_are_asked_for_in_order_of_preference)
{
    struct spf_params params = { .ip = { IP_V4, { 192, 0, 2, 3 } },
        .mail_from = STR("u@email.example.com") };
    struct lookup_record text = { .data = STR("v=spf1 mx -all") };
    struct lookup_record mx[] = { { .preference = 20, .data = STR("c.example") },
        { .preference = 10, .data = STR("b.example") }, { .data = STR("a.example") },
        { .preference = 10, .data = STR("bb.example") } };
    struct lookup_record other = { .ip = { IP_V4, { 192, 0, 2, 4 } } };
    struct lookup_record client = { .ip = params.ip };
    struct lookup_question question;
    struct spf *spf;
    REQUIRE_OK(spf_begin(&params, &spf));
    answer_with(spf, &text, 1, "email.example.com");
    answer_with(spf, mx, COUNT_OF(mx), "email.example.com");
    answer_with(spf, &other, 1, "a.example");
    answer_with(spf, &other, 1, "b.example");
    answer_with(spf, &client, 1, "bb.example");
    CHECK(!spf_question(spf, &question)); /* c.example is not asked any more */
    CHECK(spf_verdict(spf)->result == SPF_PASS);
    spf_free(spf);
}

TEST(only_a_fail_is_explained_and_that_costs_nothing)
{
    struct world_record records[] = { TXT("email.example.com", "v=spf1 ~all exp=e.example"),
        TXT("e.example", "no") };
    struct outcome outcome = CHECK_WORLD(records);
    check_result(&outcome, SPF_SOFTFAIL);
    CHECK(outcome.question_count == 1 && outcome.explanation[0] == '\0');
    records[0].data = STR("v=spf1 a:x.example a:y.example -all exp=%{p}.e.example");
    records[1].name = STR("unknown.e.example");
    outcome = CHECK_WORLD(records); /* the PTR is the third empty answer, after the result */
    check_result(&outcome, SPF_FAIL);
    CHECK(strcmp(outcome.explanation, "no") == 0);
    CHECK(outcome.lookup_count == 2 && outcome.void_count == 2);
}

/* ---- records alone ---- */

TEST(a_record_is_read_without_asking)
{
    struct arena arena;
    struct spf_record record;
    struct why why;
    arena_init(&arena, 1 << 16);
    struct str text = STR("v=spf1 mx a:x.example/24//64 ip4:192.0.2.77/25 include:%{d2}.x "
                          "foo=bar -all redirect=y.example ");
    REQUIRE_OK(spf_parse(&arena, STR("v=spf1"), &record, &why));
    CHECK_U64(record.term_count, 0);
    REQUIRE_OK(spf_parse(&arena, text, &record, &why));
    CHECK_U64(record.term_count, 7);
    CHECK_U64(record.lookup_count, 3); /* a redirect beside `all` is void */
    CHECK(record.all == '-' && record.exp == NULL && record.redirect == &record.term[6]);
    CHECK(record.term[0].prefix4 == 32 && record.term[0].prefix6 == 128);
    CHECK_STR(record.term[1].text, STR("a:x.example/24//64"));
    CHECK_STR(record.term[1].domain, STR("x.example"));
    CHECK(record.term[1].prefix4 == 24 && record.term[1].prefix6 == 64);
    CHECK(record.term[2].net.ip.byte[3] == 0 && record.term[2].net.prefix_bits == 25);
    CHECK(record.term[3].kind == SPF_INCLUDE && record.term[3].qualifier == '+');
    CHECK(record.term[4].kind == SPF_MODIFIER);
    CHECK_ERR(spf_parse(&arena, STR("v=spf2 -all"), &record, &why), E_SYNTAX);
    CHECK_ERR(spf_parse(&arena, STR("v=spf1 -all x"), &record, &why), E_SYNTAX);
    arena_done(&arena);
}

TEST(no_memory_is_no_answer)
{
    static const struct world_record records[] = { TXT("email.example.com",
                                                           "v=spf1 mx include:%{d}.x.example -all "
                                                           "exp=%{p}.example"),
        TXT("email.example.com.x.example", "v=spf1 ptr -all"),
        PTR("3.2.0.192.in-addr.arpa", "a.example"), A("a.example", "192.0.2.3"),
        TXT("a.example.example", "%{i} %{p}") };
    for (uint64_t nth = 1; nth < 100; nth++) {
        struct spf_params params = { .ip = { IP_V4, { 192, 0, 2, 3 } },
            .mail_from = STR("u@email.example.com"),
            .is_traced = true };
        struct world world = { records, COUNT_OF(records), 0 };
        struct spf *spf;
        mem_fail_at(nth);
        enum err err = spf_begin(&params, &spf);
        if (err == OK) {
            world_answer(&world, spf);
        }
        mem_fail_at(0);
        CHECK(err == OK || err == E_NOMEM);
        if (err == OK) {
            enum spf_result result = spf_verdict(spf)->result;
            CHECK(result == SPF_FAIL || result == SPF_TEMPERROR, "at %u: %s", (unsigned)nth,
                    spf_result_name(result));
            spf_free(spf);
        }
    }
}
