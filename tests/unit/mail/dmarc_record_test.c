/* SPDX-License-Identifier: Apache-2.0
 *
 * dmarc_record_test.c - records read: RFC 9989 4.7 and what RFC 7489 6.3 had besides.
 */
#include "core/str.h"
#include "mail/dmarc.h"
#include "tests/test.h"

static struct dmarc_record record; /* too large for the stack */

static void parse(const char *text)
{
    (void)dmarc_parse(str_from_c(text), &record);
}

static bool has_fault(size_t at, const char *words)
{
    for (size_t i = 0; i < record.fault_count && i < DMARC_FAULT_COUNT_MAX; i++) {
        struct str text = str_from_c(record.fault[i].text);
        if (record.fault[i].at == at && str_find(text, str_from_c(words)) < text.len) {
            return true;
        }
    }
    return false;
}

TEST(the_version_comes_first_in_capitals_and_with_nothing_before_it)
{
    static const struct row {
        const char *text;
        bool is_dmarc;
    } rows[] = {
        { "v=DMARC1", true },
        { "v=DMARC1;", true },
        { "V = DMARC1 ; p=none", true }, /* the tag name in any case, the value not (4.8) */
        { "v=DMARC1; p=reject", true },
        { "v=dmarc1; p=none", false },
        { "v=DMARC12; p=none", false },
        { "v=DMARC1 p=none", false },
        { " v=DMARC1; p=none", false },
        { "p=none; v=DMARC1", false },
        { "v=spf1 -all", false },
        { "DMARC1", false },
        { "", false },
        { ";", false },
        { "hello", false },
    };
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        parse(rows[i].text);
        CHECK(record.is_dmarc == rows[i].is_dmarc, "%s", rows[i].text);
        CHECK(record.is_dmarc || record.error_count == 1, "%s", rows[i].text);
    }
}

TEST(every_tag_is_read_in_any_order_and_case)
{
    parse("v=DMARC1; rua=mailto:a@x.example,MAILTO:b@y.example!10m ; SP=Quarantine;"
          "np=reject; aspf=s;adkim=S; psd=n; t=y; fo=1:d:s; ruf=mailto:c@x.example;"
          " pct=50; ri=3600; rf=afrf; p=REJECT; zz=1;");
    CHECK(record.is_dmarc && record.is_usable && record.error_count == 0);
    CHECK(record.p == DMARC_POLICY_REJECT && record.sp == DMARC_POLICY_QUARANTINE);
    CHECK(record.np == DMARC_POLICY_REJECT && record.has_p && record.has_sp && record.has_np);
    CHECK(record.is_spf_strict && record.is_dkim_strict && record.psd == DMARC_PSD_NO);
    CHECK(record.is_testing && record.has_t && record.has_pct && record.pct == 50);
    CHECK_U64(record.ri_s, 3600);
    CHECK_U64(record.rua_count, 2);
    CHECK_STR(record.rua[1].domain, STR("y.example"));
    CHECK_U64(record.rua[1].size_bytes_max, 10u << 20);
    CHECK_STR(record.ruf[0].address, STR("c@x.example"));
    CHECK_STR(record.fo, STR("1:d:s"));
    CHECK(has_fault(str_find(record.text, STR("zz=1")), "unknown tag"));
}

TEST(a_missing_p_is_none_and_the_defaults_hold)
{
    parse("v=DMARC1");
    CHECK(record.is_usable && !record.has_p && record.p == DMARC_POLICY_NONE);
    CHECK(record.pct == 100 && !record.is_testing && record.psd == DMARC_PSD_UNKNOWN);
    CHECK(!record.is_dkim_strict && !record.is_spf_strict && record.error_count == 0);
    CHECK_STR(record.fo, STR("0"));
}

/* RFC 9989 4.10.1 */
TEST(a_bad_policy_is_none_where_reports_can_go_and_else_no_policy)
{
    static const char *const bad[] = { "p=rejct", "p=", "p=reject; sp=x", "p=reject; np=all" };
    for (size_t i = 0; i < COUNT_OF(bad); i++) {
        char text[200];
        fmt(text, sizeof text, "v=DMARC1; %s", bad[i]);
        parse(text);
        CHECK(record.is_dmarc && !record.is_usable && record.error_count == 1, "%s", text);
        fmt(text, sizeof text, "v=DMARC1; %s; rua=mailto:a@b.example", bad[i]);
        parse(text);
        CHECK(record.is_usable && record.p == DMARC_POLICY_NONE && !record.has_sp, "%s", text);
    }
    parse("v=DMARC1; p=bad; rua=b@b.example");
    CHECK(!record.is_usable && record.error_count == 2);
}

TEST(faults_are_told_one_by_one_where_they_stand_and_cost_only_their_tag)
{
    parse("v=DMARC1; p=reject;; adkim=x; pct=101; t=maybe; psd=z; "
          "fo=0:1; ri=-1; rf=iodef; lonely; rua=mailto:@x.example");
    CHECK(record.is_usable && record.p == DMARC_POLICY_REJECT);
    CHECK_U64(record.error_count, 10);
    CHECK(has_fault(19, "empty tag"));
    CHECK(has_fault(str_find(record.text, STR("x;")), "alignment is r"));
    CHECK(has_fault(str_find(record.text, STR("101")), "0 to 100"));
    CHECK(has_fault(str_find(record.text, STR("lonely")), "not a tag"));
    CHECK(record.pct == 100 && !record.is_testing && !record.is_dkim_strict);
    for (size_t i = 1; i < record.fault_count; i++) {
        bool is_whole = record.fault[i].at == 0; /* of the record as such, at the end */
        CHECK(is_whole || record.fault[i].at >= record.fault[i - 1].at);
    }
}

TEST(a_tag_twice_spoils_the_record)
{
    parse("v=DMARC1; p=none; p=reject; rua=mailto:a@b.example");
    CHECK(record.is_dmarc && !record.is_usable && has_fault(18, "was there before"));
    parse("v=DMARC1; p=reject; x=1; x=2");
    CHECK(record.is_usable && record.error_count == 0);
}

TEST(report_addresses_are_uris)
{
    static const struct row {
        const char *uri;
        size_t count, error_count;
    } rows[] = {
        { "mailto:a@b.example", 1, 0 },
        { "mailto:a@b.example!", 0, 1 },
        { "mailto:a@b.example!10", 1, 0 },
        { "mailto:a@b.example!10q", 0, 1 },
        { "mailto:a@b.example!99999999999999999999", 0, 1 },
        { "mailto:a@b.example!18446744073709551615t", 0, 1 },
        { "mailto:a%21b@c.example?subject=x", 1, 0 },
        { "https://r.example/x", 1, 0 },
        { "a@b.example", 0, 1 },
        { "mailto:a", 0, 1 },
        { "mailto:a@", 0, 1 },
        { "mailto: a@b.example", 0, 1 },
        { "", 0, 1 },
        { ",", 0, 1 },
        { "mailto:a@b.example, mailto:c@d.example", 2, 0 },
    };
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        char text[200];
        fmt(text, sizeof text, "v=DMARC1; p=none; rua=%s", rows[i].uri);
        parse(text);
        CHECK(record.rua_count == rows[i].count && record.error_count == rows[i].error_count,
                "%s: %zu addresses, %zu errors", text, record.rua_count, record.error_count);
    }
}

TEST(long_records_and_many_faults_stay_within_their_limits)
{
    static char text[DMARC_TXT_BYTES_MAX + 2];
    size_t len = fmt(text, sizeof text, "v=DMARC1; p=none; rua=");
    while (len + 30 < DMARC_TXT_BYTES_MAX) {
        len += fmt(text + len, sizeof text - len, "mailto:a@b.example,x,");
    }
    CHECK(dmarc_parse(str_of(text, len), &record));
    CHECK_U64(record.rua_count, DMARC_URI_COUNT_MAX);
    CHECK(record.fault_count > DMARC_FAULT_COUNT_MAX);
    memset(text + len, 'x', sizeof text - len);
    CHECK(!dmarc_parse(str_of(text, sizeof text - 1), &record));
    CHECK(!dmarc_parse(str_of("v=DMARC1\0; p=reject", 19), &record));
    CHECK(dmarc_parse(str_of("v=DMARC1; p=re\0ject", 19), &record) && !record.is_usable);
}
