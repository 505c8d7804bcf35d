/* SPDX-License-Identifier: Apache-2.0
 *
 * dmarc_test.c - messages evaluated over small zones, by tree walk and by public suffix list.
 */
#include "core/str.h"
#include "mail/dmarc.h"
#include "tests/test.h"

enum { RECORD_COUNT_MAX = 12, NAME_COUNT_MAX = 16 };

/* "name text" of TXT records; "!name" has no answer; "+name" exists. All else does not. */
struct zone {
    const char *line[RECORD_COUNT_MAX];
};

static struct lookup_answer look_up(const struct zone *zone, struct str name, enum lookup_type type,
        struct lookup_record *records)
{
    struct lookup_answer answer = { .status = LOOKUP_NXDOMAIN, .record = records };
    for (size_t i = 0; i < RECORD_COUNT_MAX && zone->line[i]; i++) {
        struct str line = str_from_c(zone->line[i]);
        struct str owner = str_sub(line, 0, str_index(line, ' '));
        if (owner.ptr[0] == '!' && str_eq(str_from(owner, 1), name)) {
            return (struct lookup_answer){ .status = LOOKUP_TEMPFAIL };
        }
        if (owner.ptr[0] == '+' && str_eq(str_from(owner, 1), name)) {
            answer.status = LOOKUP_NODATA;
        }
        if (str_eq(owner, name) && type == LOOKUP_TXT) {
            records[answer.record_count++].data = str_from(line, owner.len + 1);
            answer.status = LOOKUP_FOUND;
        }
    }
    return answer;
}

struct asked {
    size_t count;
    char name[NAME_COUNT_MAX][LOOKUP_NAME_CAP];
};

static struct dmarc *evaluate(
        const struct zone *zone, const struct dmarc_facts *facts, struct asked *asked)
{
    struct dmarc *dmarc;
    struct lookup_question question;
    struct lookup_record records[RECORD_COUNT_MAX];
    REQUIRE_OK(dmarc_begin(facts, &dmarc));
    asked->count = 0;
    while (dmarc_question(dmarc, &question)) {
        CHECK(asked->count < NAME_COUNT_MAX, "asks on and on");
        CHECK(str_to_c(question.name, asked->name[asked->count++], LOOKUP_NAME_CAP));
        struct lookup_answer answer = look_up(zone, question.name, question.type, records);
        dmarc_answer(dmarc, &answer);
    }
    return dmarc;
}

/* One evaluation as a row: identifiers "spf:d", "dkim:d", "spf?d" (temperror). */
struct row {
    const char *what;
    const char *from, *identifiers;
    const char *wanted; /* "result policy tag@policy_domain organization disposition" */
    struct zone zone;
    enum dmarc_method method;
    uint32_t sample;
};

static size_t read_identifiers(const char *text, struct dmarc_identifier *identifiers)
{
    struct str part, rest = str_from_c(text);
    size_t count = 0;
    while (str_cut(&rest, ' ', &part)) {
        bool is_spf = str_starts(part, STR("spf"));
        part = str_from(part, is_spf ? 3 : 4);
        identifiers[count++] = (struct dmarc_identifier){ .is_spf = is_spf,
            .auth = part.ptr[0] == ':'   ? DMARC_AUTH_PASS
                    : part.ptr[0] == '?' ? DMARC_AUTH_TEMPERROR
                                         : DMARC_AUTH_FAIL,
            .domain = str_from(part, 1) };
    }
    return count;
}

static void check_row(const struct row *row)
{
    struct dmarc_identifier identifiers[DMARC_IDENTIFIER_COUNT_MAX];
    struct asked asked;
    char got[400];
    struct dmarc_facts facts = { .domain = str_from_c(row->from),
        .method = row->method,
        .identifier = identifiers,
        .identifier_count = read_identifiers(row->identifiers, identifiers),
        .sample = row->sample,
        .is_traced = true };
    struct dmarc *dmarc = evaluate(&row->zone, &facts, &asked);
    const struct dmarc_verdict *verdict = dmarc_verdict(dmarc);
    fmt(got, sizeof got, "%s %s %s@%.*s %.*s %s", dmarc_result_name(verdict->result),
            verdict->policy_tag ? dmarc_policy_name(verdict->policy) : "-",
            verdict->policy_tag ? verdict->policy_tag : "-", STR_ARG(verdict->policy_domain),
            STR_ARG(verdict->organizational_domain), dmarc_policy_name(verdict->disposition));
    CHECK(strcmp(got, row->wanted) == 0, "%s: wanted %s, got %s", row->what, row->wanted, got);
    CHECK(dmarc_step_count(dmarc) > 0, "%s: no steps", row->what);
    dmarc_free(dmarc);
}

#define REJECT "v=DMARC1; p=reject"

TEST(tree_walk_alignment_policy_and_disposition)
{
    static const struct row rows[] = {
        { "aligned by DKIM", "example.com", "dkim:example.com",
                "pass reject p@example.com example.com none", { { "_dmarc.example.com " REJECT } },
                DMARC_TREE_WALK, 0 },
        { "aligned by SPF of a subdomain", "example.com", "spf:bounce.example.com",
                "pass reject p@example.com example.com none", { { "_dmarc.example.com " REJECT } },
                DMARC_TREE_WALK, 0 },
        { "strict SPF", "example.com", "spf:bounce.example.com",
                "fail reject p@example.com example.com reject",
                { { "_dmarc.example.com " REJECT "; aspf=s" } }, DMARC_TREE_WALK, 0 },
        { "strict DKIM does not touch SPF", "example.com", "spf:b.example.com",
                "pass reject p@example.com example.com none",
                { { "_dmarc.example.com " REJECT "; adkim=s" } }, DMARC_TREE_WALK, 0 },
        { "another organization", "example.com", "dkim:evil.example spf:example.com.evil.example",
                "fail reject p@example.com example.com reject",
                { { "_dmarc.example.com " REJECT } }, DMARC_TREE_WALK, 0 },
        { "no record", "example.com", "dkim:example.com", "none - -@ example.com none",
                { { NULL } }, DMARC_TREE_WALK, 0 },
        { "failed identifiers do not count", "example.com", "dkim-example.com",
                "fail reject p@example.com example.com reject",
                { { "_dmarc.example.com " REJECT } }, DMARC_TREE_WALK, 0 },
        { "subdomain takes sp", "a.example.com", "",
                "fail quarantine sp@example.com example.com quarantine",
                { { "_dmarc.example.com " REJECT "; sp=quarantine" } }, DMARC_TREE_WALK, 0 },
        { "np where it does not exist", "a.example.com", "",
                "fail none np@example.com example.com none",
                { { "_dmarc.example.com " REJECT "; np=none" } }, DMARC_TREE_WALK, 0 },
        { "np not where it does", "a.example.com", "",
                "fail reject p@example.com example.com reject",
                { { "_dmarc.example.com " REJECT "; np=none", "+a.example.com" } }, DMARC_TREE_WALK,
                0 },
        { "np that cannot be decided", "a.example.com", "",
                "temperror - -@example.com example.com none",
                { { "_dmarc.example.com " REJECT "; np=none", "!a.example.com" } }, DMARC_TREE_WALK,
                0 },
        { "np that cannot be decided, but passes", "a.example.com", "dkim:a.example.com",
                "pass reject p@example.com example.com none",
                { { "_dmarc.example.com " REJECT "; np=none", "!a.example.com" } }, DMARC_TREE_WALK,
                0 },
        { "own record of a subdomain", "a.example.com", "dkim:example.com",
                "pass none p@a.example.com example.com none",
                { { "_dmarc.example.com " REJECT, "_dmarc.a.example.com v=DMARC1; p=none" } },
                DMARC_TREE_WALK, 0 },
        { "the organization's record, not the nearest", "a.mail.example.com", "",
                "fail reject p@example.com example.com reject",
                { { "_dmarc.example.com " REJECT, "_dmarc.mail.example.com v=DMARC1; p=none" } },
                DMARC_TREE_WALK, 0 },
        { "psd=n ends the walk (4.10.2)", "a.mail.example.com", "dkim:example.com",
                "fail none p@mail.example.com mail.example.com none",
                { { "_dmarc.example.com " REJECT,
                        "_dmarc.mail.example.com v=DMARC1; p=none; psd=n" } },
                DMARC_TREE_WALK, 0 },
        { "psd=y: one label below", "a.mail.example.com", "dkim:b.example.com",
                "pass reject sp@com example.com none",
                { { "_dmarc.com v=DMARC1; p=none; sp=reject; psd=y" } }, DMARC_TREE_WALK, 0 },
        { "psd=y and a record of the organization", "a.example.com", "dkim:other.com",
                "fail quarantine p@example.com example.com quarantine",
                { { "_dmarc.com v=DMARC1; p=reject; psd=y",
                        "_dmarc.example.com v=DMARC1; p=quarantine" } },
                DMARC_TREE_WALK, 0 },
        { "psd=y at the author's own domain", "example.com", "dkim:mail.example.com",
                "fail reject p@example.com example.com reject",
                { { "_dmarc.example.com " REJECT "; psd=y" } }, DMARC_TREE_WALK, 0 },
        { "several records are none", "example.com", "dkim:example.com",
                "none - -@ example.com none",
                { { "_dmarc.example.com " REJECT, "_dmarc.example.com v=DMARC1; p=none" } },
                DMARC_TREE_WALK, 0 },
        { "several of a subdomain: the walk goes on", "a.example.com", "",
                "fail reject p@example.com example.com reject",
                { { "_dmarc.a.example.com v=DMARC1", "_dmarc.a.example.com v=DMARC1; p=none",
                        "_dmarc.example.com " REJECT } },
                DMARC_TREE_WALK, 0 },
        { "other TXT records beside it", "example.com", "",
                "fail reject p@example.com example.com reject",
                { { "_dmarc.example.com v=spf1 -all", "_dmarc.example.com " REJECT } },
                DMARC_TREE_WALK, 0 },
        { "a broken record", "example.com", "dkim:example.com",
                "permerror - -@example.com example.com none",
                { { "_dmarc.example.com v=DMARC1; p=rejct" } }, DMARC_TREE_WALK, 0 },
        { "a broken record with rua", "example.com", "", "fail none p@example.com example.com none",
                { { "_dmarc.example.com v=DMARC1; p=rejct; rua=mailto:a@b.example" } },
                DMARC_TREE_WALK, 0 },
        { "t=y", "example.com", "", "fail reject p@example.com example.com quarantine",
                { { "_dmarc.example.com " REJECT "; t=y" } }, DMARC_TREE_WALK, 0 },
        { "t=y of quarantine", "example.com", "", "fail quarantine p@example.com example.com none",
                { { "_dmarc.example.com v=DMARC1; p=quarantine; t=y" } }, DMARC_TREE_WALK, 0 },
        { "pct, among them", "example.com", "", "fail reject p@example.com example.com reject",
                { { "_dmarc.example.com " REJECT "; pct=50" } }, DMARC_TREE_WALK, 49 },
        { "pct, not among them", "example.com", "",
                "fail reject p@example.com example.com quarantine",
                { { "_dmarc.example.com " REJECT "; pct=50" } }, DMARC_TREE_WALK, 50 },
        { "pct=0", "example.com", "", "fail reject p@example.com example.com quarantine",
                { { "_dmarc.example.com " REJECT "; pct=0" } }, DMARC_TREE_WALK, 0 },
        { "t=n overrides pct", "example.com", "", "fail reject p@example.com example.com reject",
                { { "_dmarc.example.com " REJECT "; pct=0; t=n" } }, DMARC_TREE_WALK, 0 },
        { "letters in capitals and a final dot", "Example.COM.", "dkim:EXAMPLE.com",
                "pass reject p@example.com example.com none", { { "_dmarc.example.com " REJECT } },
                DMARC_TREE_WALK, 0 },
        { "not a domain", "exa mple.com", "dkim:example.com", "permerror - -@  none", { { NULL } },
                DMARC_TREE_WALK, 0 },
    };
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        check_row(&rows[i]);
    }
}

TEST(g6_dns_that_fails_is_temperror_and_never_a_pass_or_a_fail)
{
    static const struct row rows[] = {
        { "at the author's domain", "example.com", "dkim:example.com", "temperror - -@  none",
                { { "!_dmarc.example.com" } }, DMARC_TREE_WALK, 0 },
        { "above, without an own record", "a.example.com", "", "temperror - -@  none",
                { { "!_dmarc.example.com" } }, DMARC_TREE_WALK, 0 },
        { "above, where nothing depends on it", "example.com", "dkim:example.com",
                "pass reject p@example.com example.com none",
                { { "_dmarc.example.com " REJECT, "!_dmarc.com" } }, DMARC_TREE_WALK, 0 },
        { "above, with nothing that could be aligned", "example.com", "dkim:other.example",
                "fail reject p@example.com  reject",
                { { "_dmarc.example.com " REJECT, "!_dmarc.com" } }, DMARC_TREE_WALK, 0 },
        { "above, where alignment depends on it", "example.com", "dkim:a.example.com",
                "temperror reject p@example.com  none",
                { { "_dmarc.example.com " REJECT, "!_dmarc.com" } }, DMARC_TREE_WALK, 0 },
        { "at the identifier", "example.com", "dkim:a.example.com",
                "temperror reject p@example.com example.com none",
                { { "_dmarc.example.com " REJECT, "!_dmarc.a.example.com" } }, DMARC_TREE_WALK, 0 },
        { "at one identifier, another is aligned", "example.com",
                "dkim:a.example.com spf:example.com", "pass reject p@example.com example.com none",
                { { "_dmarc.example.com " REJECT, "!_dmarc.a.example.com" } }, DMARC_TREE_WALK, 0 },
        { "an aligned SPF that could not tell", "example.com", "spf?example.com",
                "temperror reject p@example.com example.com none",
                { { "_dmarc.example.com " REJECT } }, DMARC_TREE_WALK, 0 },
        { "a foreign SPF that could not tell", "example.com", "spf?other.example",
                "fail reject p@example.com example.com reject",
                { { "_dmarc.example.com " REJECT } }, DMARC_TREE_WALK, 0 },
        { "by public suffix list", "a.example.com", "", "temperror - -@ example.com none",
                { { "!_dmarc.example.com" } }, DMARC_PUBLIC_SUFFIX, 0 },
    };
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        check_row(&rows[i]);
    }
}

TEST(g1_of_several_dmarc_records_at_a_name_none_counts)
{
    static const struct row rows[] = {
        { "two good ones", "example.com", "dkim:example.com", "none - -@ example.com none",
                { { "_dmarc.example.com " REJECT, "_dmarc.example.com " REJECT } }, DMARC_TREE_WALK,
                0 },
        { "a good one and a broken one", "example.com", "dkim:example.com",
                "none - -@ example.com none",
                { { "_dmarc.example.com " REJECT, "_dmarc.example.com v=DMARC1; p=x" } },
                DMARC_PUBLIC_SUFFIX, 0 },
        { "a good one and what is no record", "example.com", "",
                "fail reject p@example.com example.com reject",
                { { "_dmarc.example.com " REJECT, "_dmarc.example.com v=DMARC2; p=none" } },
                DMARC_PUBLIC_SUFFIX, 0 },
    };
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        check_row(&rows[i]);
    }
}

TEST(g7_names_with_odd_bytes_are_never_aligned)
{
    static const struct row rows[] = {
        { "blank", "example.com", "dkim:exam\tple.com",
                "fail reject p@example.com example.com reject",
                { { "_dmarc.example.com " REJECT } }, DMARC_TREE_WALK, 0 },
        { "control", "example.com", "dkim:example.com\x01",
                "fail reject p@example.com example.com reject",
                { { "_dmarc.example.com " REJECT } }, DMARC_TREE_WALK, 0 },
        { "broken UTF-8", "example.com", "dkim:\xff.example.com",
                "fail reject p@example.com example.com reject",
                { { "_dmarc.example.com " REJECT } }, DMARC_TREE_WALK, 0 },
        { "U-label and A-label are one",
                "b\xc3\xbc"
                "cher.example",
                "dkim:xn--bcher-kva.example",
                "pass reject p@xn--bcher-kva.example xn--bcher-kva.example none",
                { { "_dmarc.xn--bcher-kva.example " REJECT } }, DMARC_TREE_WALK, 0 },
    };
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        check_row(&rows[i]);
    }
}

TEST(the_public_suffix_list_as_rfc_7489_has_it)
{
    static const struct row rows[] = {
        { "registered domain", "a.b.example.co.uk", "dkim:x.example.co.uk",
                "pass quarantine sp@example.co.uk example.co.uk none",
                { { "_dmarc.example.co.uk " REJECT "; sp=quarantine",
                        "_dmarc.b.example.co.uk v=DMARC1; p=none" } },
                DMARC_PUBLIC_SUFFIX, 0 },
        { "psd= means nothing", "a.example.com", "dkim:example.com",
                "pass reject p@a.example.com example.com none",
                { { "_dmarc.a.example.com " REJECT "; psd=n" } }, DMARC_PUBLIC_SUFFIX, 0 },
        { "several records end it", "a.example.com", "dkim:a.example.com",
                "none - -@ example.com none",
                { { "_dmarc.a.example.com v=DMARC1", "_dmarc.a.example.com v=DMARC1; p=none",
                        "_dmarc.example.com " REJECT } },
                DMARC_PUBLIC_SUFFIX, 0 },
        { "a sibling below a public suffix", "one.github.io", "dkim:two.github.io",
                "fail reject p@one.github.io one.github.io reject",
                { { "_dmarc.one.github.io " REJECT } }, DMARC_PUBLIC_SUFFIX, 0 },
    };
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        check_row(&rows[i]);
    }
}

/* RFC 9989 4.10, the example verbatim. */
TEST(a_long_name_costs_eight_questions)
{
    static const char *const wanted[] = { "_dmarc.a.b.c.d.e.f.g.h.i.j.mail.example.com",
        "_dmarc.g.h.i.j.mail.example.com", "_dmarc.h.i.j.mail.example.com",
        "_dmarc.i.j.mail.example.com", "_dmarc.j.mail.example.com", "_dmarc.mail.example.com",
        "_dmarc.example.com", "_dmarc.com" };
    struct zone zone = { { NULL } };
    struct asked asked;
    struct dmarc_facts facts = { .domain = STR("a.b.c.d.e.f.g.h.i.j.mail.example.com") };
    struct dmarc *dmarc = evaluate(&zone, &facts, &asked);
    CHECK_U64(asked.count, COUNT_OF(wanted));
    for (size_t i = 0; i < COUNT_OF(wanted); i++) {
        CHECK_STR(str_from_c(asked.name[i]), str_from_c(wanted[i]));
    }
    CHECK_U64(dmarc_verdict(dmarc)->query_count, 8);
    dmarc_free(dmarc);
    facts.domain = STR("a.b.c.d.e.f.example.com"); /* eight labels: to seven, as any other */
    dmarc = evaluate(&zone, &facts, &asked);
    CHECK_U64(asked.count, 8);
    CHECK_STR(str_from_c(asked.name[1]), STR("_dmarc.b.c.d.e.f.example.com"));
    dmarc_free(dmarc);
}

TEST(a_name_too_long_for_a_question_has_no_record)
{
    char name[DOMAIN_CAP];
    size_t len = 0;
    while (len + 50 < 240) {
        len += fmt(name + len, sizeof name - len,
                "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa.");
    }
    len += fmt(name + len, sizeof name - len, "%.*s.com", (int)(249 - len),
            "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb");
    struct zone zone = { { "_dmarc.com " REJECT } };
    struct asked asked;
    struct dmarc_facts facts = { .domain = str_of(name, len) };
    struct dmarc *dmarc = evaluate(&zone, &facts, &asked);
    CHECK(dmarc_verdict(dmarc)->result == DMARC_FAIL, "%zu", len);
    dmarc_free(dmarc);
}

TEST(the_author_is_one_domain_in_one_from_field)
{
    static const struct author_row {
        const char *header, *domain;
    } rows[] = {
        { "From: a@Example.com\r\n\r\n", "example.com" },
        { "From: \"x, y\" <a@example.com>\r\n\r\n", "example.com" },
        { "From: a@example.com, b@EXAMPLE.com\r\n\r\n", "example.com" },
        { "From: a@b\xc3\xbc"
          "cher.example\r\n\r\n",
                "xn--bcher-kva.example" },
        { "From: a@example.com, b@example.net\r\n\r\n", NULL },
        { "From: a@example.com\r\nFrom: a@example.com\r\n\r\n", NULL },
        { "To: a@example.com\r\n\r\n", NULL },
        { "From:\r\n\r\n", NULL },
        { "From: undisclosed:;\r\n\r\n", NULL },
        { "From: a@[192.0.2.1]\r\n\r\n", NULL },
        { "From: a\r\n\r\n", NULL },
        { "From: <a@x.example\r\n\r\n", NULL },
    };
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        struct arena arena;
        struct header header;
        char text[DOMAIN_CAP];
        struct str domain;
        struct why why = { "" };
        arena_init(&arena, HEADER_ARENA_BYTES);
        REQUIRE_OK(header_parse(&arena, str_from_c(rows[i].header), true, &header, &why));
        enum err err = dmarc_author_domain(&header, text, &domain, &why);
        CHECK((err == OK) == (rows[i].domain != NULL), "%s: %s", rows[i].header, err_name(err));
        if (err == OK) {
            CHECK_STR(domain, str_from_c(rows[i].domain));
        } else {
            CHECK(err == E_SYNTAX && why.text[0] != '\0', "%s", rows[i].header);
        }
        arena_done(&arena);
    }
}

TEST(reports_to_another_organization_need_its_consent)
{
    char text[LOOKUP_NAME_CAP];
    struct str name;
    CHECK(!dmarc_report_question(STR("a.example.com"), STR("example.com"), text, &name));
    CHECK(dmarc_report_question(STR("example.com"), STR("Reports.example.net"), text, &name));
    CHECK_STR(name, STR("example.com._report._dmarc.reports.example.net"));
    CHECK(dmarc_report_question(STR("example.com"), STR("not a name"), text, &name));
    CHECK_U64(name.len, 0);
}

TEST(too_many_identifiers_and_no_memory_are_errors)
{
    static struct dmarc_identifier many[DMARC_IDENTIFIER_COUNT_MAX + 1];
    struct dmarc *dmarc = NULL;
    struct dmarc_facts facts = {
        .domain = STR("example.com"), .identifier = many, .identifier_count = COUNT_OF(many)
    };
    CHECK_ERR(dmarc_begin(&facts, &dmarc), E_TOO_BIG);
    facts.identifier_count--;
    for (uint64_t nth = 1; nth < 6; nth++) {
        mem_fail_at(nth);
        enum err err = dmarc_begin(&facts, &dmarc);
        mem_fail_at(0);
        CHECK(err == OK || err == E_NOMEM);
        if (err == OK) {
            dmarc_free(dmarc);
        }
    }
}
