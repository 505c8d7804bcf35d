/* SPDX-License-Identifier: Apache-2.0
 *
 * dnsbl_test.c - data/dnsbl as it ships, and what answers mean.
 */
#include "identity/dnsbl_priv.h"

#include "core/str.h"
#include "identity/data_priv.h"
#include "identity/sts_priv.h"
#include "mail/domain.h"
#include "tests/test.h"

TEST(every_list_that_ships_is_well_formed)
{
    struct str rest = identity_data("dnsbl"), fault;
    struct dnsbl_list list;
    uint32_t count = 0;
    while (dnsbl_next(&rest, &list, &fault)) {
        CHECK(domain_is_hostname(list.zone), "%.*s", STR_ARG(list.zone));
        CHECK(list.code_count > 0 && list.terms.len > 0 && list.delist.len > 0, "%.*s",
                STR_ARG(list.zone));
        count++;
    }
    CHECK(fault.len == 0, "%.*s", STR_ARG(fault));
    CHECK(count >= 19 && count == dnsbl_count(identity_data("dnsbl")), "%u lists", count);
}

static void weigh(const char *zone, const char *answer, enum dnsbl_weight want)
{
    struct dnsbl_list list;
    struct str meaning;
    struct ip ip;
    REQUIRE_OK(ip_parse(str_from_c(answer), &ip));
    for (uint32_t i = 0; dnsbl_at(identity_data("dnsbl"), i, &list); i++) {
        if (str_eq(list.zone, str_from_c(zone))) {
            enum dnsbl_weight got = dnsbl_weigh(&list, ip, &meaning);
            CHECK(got == want, "%s %s: %d, expected %d (%.*s)", zone, answer, (int)got, (int)want,
                    STR_ARG(meaning));
            return;
        }
    }
    CHECK(false, "no list %s", zone);
}

TEST(g8_only_known_codes_in_127_slash_8_are_listings)
{
    weigh("zen.spamhaus.org", "127.0.0.2", DNSBL_FAIL);
    weigh("zen.spamhaus.org", "127.0.0.7", DNSBL_FAIL);
    weigh("zen.spamhaus.org", "127.0.0.8", DNSBL_UNKNOWN);
    weigh("zen.spamhaus.org", "127.255.255.252", DNSBL_REFUSED);
    weigh("zen.spamhaus.org", "127.255.255.1", DNSBL_REFUSED);
    weigh("zen.spamhaus.org", "127.255.0.2", DNSBL_UNKNOWN);
    weigh("zen.spamhaus.org", "192.0.2.1", DNSBL_DEAD);
    weigh("dbl.spamhaus.org", "127.0.1.104", DNSBL_WARN);
    weigh("dbl.spamhaus.org", "127.0.1.255", DNSBL_REFUSED);
    weigh("multi.surbl.org", "127.0.0.72", DNSBL_FAIL);
    weigh("multi.surbl.org", "127.0.0.1", DNSBL_REFUSED);
    weigh("multi.uribl.com", "127.0.0.14", DNSBL_FAIL);
    weigh("multi.uribl.com", "127.0.0.4", DNSBL_WARN);
    weigh("rep.mailspike.net", "127.0.0.18", DNSBL_GOOD);
    weigh("dnsbl-3.uceprotect.net", "127.0.0.2", DNSBL_WARN);
    weigh("list.dnswl.org", "127.0.5.3", DNSBL_GOOD);
    weigh("list.dnswl.org", "127.0.10.1", DNSBL_REFUSED);
}

TEST(broken_lists_are_named)
{
    static const char *const broken[] = { "zone x", "list x", "list x block", "list x maybe ip4",
        "list x block ip5", "list x block ip4\ncode 127.0.0.2", "list x block ip4\ncode 1 fail",
        "list x block ip4\ntest a=maybe", "list x block ip4\nwhat" };
    for (size_t i = 0; i < COUNT_OF(broken); i++) {
        struct str rest = str_from_c(broken[i]), fault;
        struct dnsbl_list list;
        CHECK(!dnsbl_next(&rest, &list, &fault) && fault.len > 0, "%s", broken[i]);
    }
}

TEST(mta_sts_policies_are_read_as_rfc_8461_has_them)
{
    static const struct {
        const char *text, *why; /* NULL: good */
    } rows[] = {
        { "version: STSv1\nmode: enforce\nmx: a.example\nmax_age: 86400\n", NULL },
        { "version: STSv1\r\nmode: none\r\nmax_age: 1\r\n", NULL },
        { "version: STSv1\nmode: enforce\nmx: *.a.example\nmax_age: 1\nfuture: x\n", NULL },
        { "version: STSv2\nmode: none\nmax_age: 1\n", "version is not STSv1" },
        { "mode: none\nmax_age: 1\n", "version is missing" },
        { "version: STSv1\nmode: none\n", "max_age is missing" },
        { "version: STSv1\nmax_age: 1\n", "mode is missing" },
        { "version: STSv1\nmode: strict\nmax_age: 1\n", "mode is none of enforce, testing, none" },
        { "version: STSv1\nmode: enforce\nmax_age: 1\n", "no mx" },
        { "version: STSv1\nmode: none\nmax_age: 31557601\n",
                "max_age is no number of seconds up to 31557600" },
        { "version: STSv1\nmode: enforce\nmx: a b\nmax_age: 1\n", "mx: a b is no host name" },
        { "<html>\n", "a line without a colon" },
    };
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        struct sts_policy policy;
        struct why why = { 0 };
        enum err err = sts_policy_read(str_from_c(rows[i].text), &policy, &why);
        CHECK((err == OK) == (rows[i].why == NULL), "%s: %s", rows[i].text, why.text);
        CHECK_STR(str_from_c(why.text), str_from_c(rows[i].why != NULL ? rows[i].why : ""));
    }
}

TEST(a_wildcard_of_a_policy_stands_for_one_label)
{
    struct sts_policy policy;
    struct why why = { 0 };
    REQUIRE_OK(sts_policy_read(
            STR("version: STSv1\nmode: enforce\nmx: *.a.example\nmx: b.example\nmax_age: 1\n"),
            &policy, &why));
    CHECK(sts_policy_covers(&policy, STR("mx.a.example")));
    CHECK(sts_policy_covers(&policy, STR("B.example")));
    CHECK(!sts_policy_covers(&policy, STR("x.mx.a.example")));
    CHECK(!sts_policy_covers(&policy, STR("a.example")));
    CHECK(!sts_policy_covers(&policy, STR("xb.example")));
}
