/* SPDX-License-Identifier: Apache-2.0
 *
 * setup_test.c - what DNS must say, in each form to the letter; SPF merged, counted and flattened;
 * keys rotated stage by stage, over whatever interrupts.
 */
#include "core/str.h"
#include "edge/dns_update.h"
#include "identity/setup_priv.h"
#include "mail/spf.h"
#include "tests/test.h"

#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

enum { TEXT_BYTES_MAX = 1 << 20, DAY_MS = 86400000 };

/* ---- forms ---- */

#define LONG_KEY                                                                                   \
    "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"             \
    "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"             \
    "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"
#define LONG_A "v=DKIM1; k=rsa; p=" LONG_KEY

static const struct identity_record shown[] = {
    { .name = STR_INIT("shop.example"),
            .type = DNS_TXT,
            .ttl_s = 3600,
            .data = STR_INIT("v=spf1 ip4:192.0.2.1 exists:%{i}.x.example -all"),
            .zone = STR_INIT("shop.example"),
            .purpose = STR_INIT("SPF"),
            .note = STR_INIT("") },
    { .name = STR_INIT("shop.example"),
            .type = DNS_TXT,
            .ttl_s = 3600,
            .data = STR_INIT("it's \"a\"; b\\c ${d}"),
            .zone = STR_INIT("shop.example"),
            .purpose = STR_INIT("kept"),
            .note = STR_INIT(""),
            .is_kept = true },
    { .name = STR_INIT("s10._domainkey.shop.example"),
            .type = DNS_TXT,
            .ttl_s = 3600,
            .data = STR_INIT(LONG_A "AAA"),
            .zone = STR_INIT("shop.example"),
            .purpose = STR_INIT("DKIM s10"),
            .note = STR_INIT("") },
    { .name = STR_INIT("s9._domainkey.shop.example"),
            .type = DNS_CNAME,
            .ttl_s = 3600,
            .data = STR_INIT("s9._domainkey.other.example"),
            .zone = STR_INIT("shop.example"),
            .purpose = STR_INIT("DKIM s9"),
            .note = STR_INIT("") },
    { .name = STR_INIT("bounce.shop.example"),
            .type = DNS_MX,
            .ttl_s = 3600,
            .preference = 10,
            .data = STR_INIT("mail.shop.example"),
            .zone = STR_INIT("shop.example"),
            .purpose = STR_INIT("bounces"),
            .note = STR_INIT("") },
    { .name = STR_INIT("mail.shop.example"),
            .type = DNS_A,
            .ttl_s = 3600,
            .data = STR_INIT("192.0.2.1"),
            .zone = STR_INIT("shop.example"),
            .purpose = STR_INIT("EHLO"),
            .note = STR_INIT("") },
    { .name = STR_INIT("shop.example"),
            .type = DNS_CAA,
            .ttl_s = 3600,
            .data = STR_INIT("0 issue \"letsencrypt.org\""),
            .zone = STR_INIT("shop.example"),
            .purpose = STR_INIT("CAA"),
            .note = STR_INIT("") },
    { .name = STR_INIT("_25._tcp.mail.shop.example"),
            .type = DNS_TLSA,
            .ttl_s = 3600,
            .data = STR_INIT("3 1 1 abcd"),
            .zone = STR_INIT("shop.example"),
            .purpose = STR_INIT("TLSA"),
            .note = STR_INIT("") },
    { .name = STR_INIT("_mta-sts.shop.example"),
            .type = DNS_TXT,
            .ttl_s = 3600,
            .data = STR_INIT("v=STSv1; id=1"),
            .zone = STR_INIT("shop.example"),
            .purpose = STR_INIT("MTA-STS"),
            .note = STR_INIT("later"),
            .is_optional = true },
    { .name = STR_INIT("1.2.0.192.in-addr.arpa"),
            .type = DNS_PTR,
            .ttl_s = 3600,
            .data = STR_INIT("mail.shop.example"),
            .zone = STR_INIT("2.0.192.in-addr.arpa"),
            .purpose = STR_INIT("PTR"),
            .note = STR_INIT("the provider's"),
            .is_foreign = true },
};

static void check_form(enum identity_format format, const char *expected)
{
    struct buf text;
    struct identity_setup setup = { .domain = STR("shop.example"),
        .zone = STR("shop.example"),
        .is_zone_found = true,
        .record = (struct identity_record *)(uintptr_t)shown, /* only read */
        .record_count = COUNT_OF(shown) };
    buf_init(&text, TEXT_BYTES_MAX);
    identity_setup_print(&setup, format, &text);
    REQUIRE_OK(buf_err(&text));
    CHECK_STR(buf_str(&text), str_from_c(expected));
    buf_done(&text);
}

TEST(a_zone_file_has_each_record_on_a_line_with_strings_of_255_octets)
{
    check_form(IDENTITY_FORMAT_ZONE,
            "; zone shop.example\n"
            "shop.example. 3600 IN TXT \"v=spf1 ip4:192.0.2.1 exists:%{i}.x.example -all\"\n"
            "s10._domainkey.shop.example. 3600 IN TXT \"" LONG_A "\" \"AAA\"\n"
            "s9._domainkey.shop.example. 3600 IN CNAME s9._domainkey.other.example.\n"
            "bounce.shop.example. 3600 IN MX 10 mail.shop.example.\n"
            "mail.shop.example. 3600 IN A 192.0.2.1\n"
            "shop.example. 3600 IN CAA 0 issue \"letsencrypt.org\"\n"
            "_25._tcp.mail.shop.example. 3600 IN TLSA 3 1 1 abcd\n"
            "; MTA-STS: later\n"
            ";_mta-sts.shop.example. 3600 IN TXT \"v=STSv1; id=1\"\n"
            "; zone 2.0.192.in-addr.arpa, not this file's\n"
            "; PTR: the provider's\n"
            ";1.2.0.192.in-addr.arpa. 3600 IN PTR mail.shop.example.\n");
}

TEST(where_no_zone_is_known_a_zone_file_has_all_records)
{
    struct buf text;
    struct identity_setup setup = { .domain = STR("shop.example"),
        .zone = STR("shop.example"),
        .record = (struct identity_record *)(uintptr_t)shown, /* only read */
        .record_count = COUNT_OF(shown) };
    buf_init(&text, TEXT_BYTES_MAX);
    identity_setup_print(&setup, IDENTITY_FORMAT_ZONE, &text);
    CHECK(str_find(buf_str(&text), STR("\n1.2.0.192.in-addr.arpa. 3600 IN PTR")) < text.len);
    buf_done(&text);
}

TEST(nsupdate_sets_whole_sets_and_keeps_what_others_have_beside)
{
    check_form(IDENTITY_FORMAT_NSUPDATE,
            "zone shop.example.\n"
            "update delete shop.example. TXT\n"
            "update add shop.example. 3600 TXT \"v=spf1 ip4:192.0.2.1 exists:%{i}.x.example "
            "-all\"\n"
            "update add shop.example. 3600 TXT \"it's \\\"a\\\"; b\\\\c ${d}\"\n"
            "update delete s10._domainkey.shop.example. TXT\n"
            "update add s10._domainkey.shop.example. 3600 TXT \"" LONG_A "\" \"AAA\"\n"
            "update delete s9._domainkey.shop.example. CNAME\n"
            "update add s9._domainkey.shop.example. 3600 CNAME s9._domainkey.other.example.\n"
            "update delete bounce.shop.example. MX\n"
            "update add bounce.shop.example. 3600 MX 10 mail.shop.example.\n"
            "update delete mail.shop.example. A\n"
            "update add mail.shop.example. 3600 A 192.0.2.1\n"
            "update delete shop.example. CAA\n"
            "update add shop.example. 3600 CAA 0 issue \"letsencrypt.org\"\n"
            "update delete _25._tcp.mail.shop.example. TLSA\n"
            "update add _25._tcp.mail.shop.example. 3600 TLSA 3 1 1 abcd\n"
            "send\n"
            "zone 2.0.192.in-addr.arpa.\n"
            "update delete 1.2.0.192.in-addr.arpa. PTR\n"
            "update add 1.2.0.192.in-addr.arpa. 3600 PTR mail.shop.example.\n"
            "send\n");
}

#define HCL_HEAD(kind, label, name, type)                                                          \
    "resource \"" kind "\" \"" label "\" {\n  zone_id = var.zone_id\n  name    = \"" name          \
    "\"\n  type    = \"" type "\"\n  ttl     = 3600\n"
#define ROUTE53(label, name, type, records)                                                        \
    HCL_HEAD("aws_route53_record", label, name, type) "  records = [" records "]\n}\n\n"
#define CLOUDFLARE(label, name, type, rest)                                                        \
    HCL_HEAD("cloudflare_dns_record", label, name, type) rest "}\n\n"
#define HCL_REST                                                                                   \
    "# Not above, as it belongs in other zones or waits:\n"                                        \
    "#   _mta-sts.shop.example. 3600 IN TXT \"v=STSv1; id=1\"\n"                                   \
    "#   1.2.0.192.in-addr.arpa. 3600 IN PTR mail.shop.example.\n"

TEST(terraform_for_route_53_joins_strings_and_escapes_twice)
{
    check_form(IDENTITY_FORMAT_ROUTE53,
            "variable \"zone_id\" {\n  type = string\n}\n\n" ROUTE53("txt_shop_example",
                    "shop.example", "TXT",
                    "\"v=spf1 ip4:192.0.2.1 exists:%%{i}.x.example -all\", "
                    "\"it's \\\\\\\"a\\\\\\\"; b\\\\\\\\c $${d}\"")
                    ROUTE53("txt_s10__domainkey_shop_example", "s10._domainkey.shop.example", "TXT",
                            "\"" LONG_A "\\\"\\\"AAA\"") ROUTE53("cname_s9__domainkey_shop_example",
                            "s9._domainkey.shop.example", "CNAME",
                            "\"s9._domainkey.other.example.\"") ROUTE53("mx_bounce_shop_example",
                            "bounce.shop.example", "MX", "\"10 mail.shop.example.\"")
                            ROUTE53("a_mail_shop_example", "mail.shop.example", "A",
                                    "\"192.0.2.1\"") ROUTE53("caa_shop_example", "shop.example",
                                    "CAA", "\"0 issue \\\"letsencrypt.org\\\"\"")
                                    ROUTE53("tlsa__25__tcp_mail_shop_"
                                            "example",
                                            "_25._tcp.mail.shop.example", "TLSA", "\"3 1 1 abcd\"")
                                            HCL_REST);
}

TEST(terraform_for_cloudflare_has_a_resource_a_record_and_leaves_those_of_others)
{
    static const char head[] = "variable \"zone_id\" {\n  type = string\n}\n\n";
    static const char body[] = CLOUDFLARE("txt_shop_example", "shop.example", "TXT",
            "  content = \"\\\"v=spf1 ip4:192.0.2.1 exists:%%{i}.x.example -all\\\"\"\n")
            CLOUDFLARE("txt_s10__domainkey_shop_example", "s10._domainkey.shop.example", "TXT",
                    "  content = \"\\\"" LONG_A "\\\" \\\"AAA\\\"\"\n");
    static const char more[] = CLOUDFLARE("cname_s9__domainkey_shop_example",
            "s9._domainkey.shop.example", "CNAME", "  content = \"s9._domainkey.other.example\"\n")
            CLOUDFLARE("mx_bounce_shop_example", "bounce.shop.example", "MX",
                    "  content = \"mail.shop.example\"\n  priority = 10\n")
                    CLOUDFLARE("a_mail_shop_example", "mail.shop.example", "A",
                            "  content = \"192.0.2.1\"\n");
    static const char last[] = CLOUDFLARE("caa_shop_example", "shop.example", "CAA",
            "  data    = { flags = \"0\", tag = \"issue\", value = \"letsencrypt.org\" }\n")
            CLOUDFLARE("tlsa__25__tcp_mail_shop_example", "_25._tcp.mail.shop.example", "TLSA",
                    "  data    = { usage = 3, selector = 1, matching_type = 1, certificate = "
                    "\"abcd\" }\n") HCL_REST;
    char all[8192];
    fmt(all, sizeof all, "%s%s%s%s", head, body, more, last);
    check_form(IDENTITY_FORMAT_CLOUDFLARE, all);
}

TEST(octodns_gets_names_in_natural_order_and_escaped_semicolons)
{
    check_form(IDENTITY_FORMAT_OCTODNS,
            "---\n"
            "# shop.example.yaml\n"
            "'':\n"
            "  - ttl: 3600\n"
            "    type: CAA\n"
            "    values:\n"
            "    - flags: 0\n"
            "      tag: issue\n"
            "      value: 'letsencrypt.org'\n"
            "  - ttl: 3600\n"
            "    type: TXT\n"
            "    values:\n"
            "    - 'v=spf1 ip4:192.0.2.1 exists:%{i}.x.example -all'\n"
            "    - 'it''s \"a\"\\; b\\c ${d}'\n"
            "'_25._tcp.mail':\n"
            "    ttl: 3600\n"
            "    type: TLSA\n"
            "    values:\n"
            "    - certificate_association_data: abcd\n"
            "      certificate_usage: 3\n"
            "      matching_type: 1\n"
            "      selector: 1\n"
            "'bounce':\n"
            "    ttl: 3600\n"
            "    type: MX\n"
            "    values:\n"
            "    - exchange: mail.shop.example.\n"
            "      preference: 10\n"
            "'mail':\n"
            "    ttl: 3600\n"
            "    type: A\n"
            "    value: '192.0.2.1'\n"
            "'s9._domainkey':\n"
            "    ttl: 3600\n"
            "    type: CNAME\n"
            "    value: s9._domainkey.other.example.\n"
            "'s10._domainkey':\n"
            "    ttl: 3600\n"
            "    type: TXT\n"
            "    value: 'v=DKIM1\\; k=rsa\\; p=" LONG_KEY "AAA'\n"
            "# Not above, as it belongs in other zones or waits:\n"
            "#   _mta-sts.shop.example. 3600 IN TXT \"v=STSv1; id=1\"\n"
            "#   1.2.0.192.in-addr.arpa. 3600 IN PTR mail.shop.example.\n");
}

TEST(dnscontrol_gets_javascript_that_purges_nothing)
{
    check_form(IDENTITY_FORMAT_DNSCONTROL,
            "var REG = NewRegistrar(\"none\");\n"
            "var DNS = NewDnsProvider(\"dns\");\n"
            "\n"
            "D(\"shop.example\", REG, DnsProvider(DNS), NO_PURGE,\n"
            "  TXT(\"@\", \"v=spf1 ip4:192.0.2.1 exists:%{i}.x.example -all\", TTL(3600)),\n"
            "  TXT(\"@\", \"it's \\\"a\\\"; b\\\\c ${d}\", TTL(3600)),\n"
            "  TXT(\"s10._domainkey\", \"" LONG_A "AAA\", TTL(3600)),\n"
            "  CNAME(\"s9._domainkey\", \"s9._domainkey.other.example.\", TTL(3600)),\n"
            "  MX(\"bounce\", 10, \"mail.shop.example.\", TTL(3600)),\n"
            "  A(\"mail\", \"192.0.2.1\", TTL(3600)),\n"
            "  CAA(\"@\", \"issue\", \"letsencrypt.org\", TTL(3600)),\n"
            "  TLSA(\"_25._tcp.mail\", 3, 1, 1, \"abcd\", TTL(3600))\n"
            ");\n"
            "// Not above, as it belongs in other zones or waits:\n"
            "//   _mta-sts.shop.example. 3600 IN TXT \"v=STSv1; id=1\"\n"
            "//   1.2.0.192.in-addr.arpa. 3600 IN PTR mail.shop.example.\n");
}

/* ---- a directory with a configuration and a master file ---- */

struct rig {
    char dir[64], config[96], zone[96], domain_file[128];
    struct arena arena;
    struct why why;
    uint64_t fail_at; /* the allocation that fails while records are made; 0: none */
};

static void write_text(const char *path, const char *text)
{
    FILE *file = fopen(path, "w");
    CHECK(file != NULL && fputs(text, file) >= 0 && fclose(file) == 0, "%s", path);
}

static void rig_begin(struct rig *rig)
{
    *rig = (struct rig){ .dir = "/tmp/outpost-setup-XXXXXX" };
    CHECK(mkdtemp(rig->dir) != NULL);
    fmt(rig->config, sizeof rig->config, "%s/outpost.conf", rig->dir);
    fmt(rig->zone, sizeof rig->zone, "%s/zone", rig->dir);
    fmt(rig->domain_file, sizeof rig->domain_file, "%s/domains.d/shop.example.conf", rig->dir);
    write_text(rig->config, "hostname = \"mail.shop.example\"\n"
                            "stream \"bulk\" { give-up = \"10d\" }\n");
    arena_init(&rig->arena, 256 << 20);
}

static int remove_one(const char *path, const struct stat *stat, int kind, struct FTW *ftw)
{
    (void)stat;
    (void)kind;
    (void)ftw;
    return remove(path);
}

static void rig_end(struct rig *rig)
{
    arena_done(&rig->arena);
    nftw(rig->dir, remove_one, 8, FTW_DEPTH | FTW_PHYS);
}
static struct str rig_read(struct rig *rig, const char *path)
{
    struct buf text;
    buf_init(&text, TEXT_BYTES_MAX);
    REQUIRE_OK(file_take(path, &text, NULL));
    struct str copy = arena_str(&rig->arena, buf_str(&text));
    buf_done(&text);
    return copy;
}

static bool has(struct str text, const char *part)
{
    return str_find(text, str_from_c(part)) < text.len;
}

/* ---- SPF ---- */

TEST(spf_terms_are_merged_into_what_is_there)
{
    static const struct {
        const char *old, *expected;
    } cases[] = {
        { "", "v=spf1 ip4:192.0.2.1 ip6:2001:db8::1 include:news.example -all" },
        { "v=spf1 mx -all", "v=spf1 ip4:192.0.2.1 ip6:2001:db8::1 include:news.example mx -all" },
        { "v=spf1 ip4:192.0.2.0/24 ip6:2001:db8::/32 include:News.example ~all",
                "v=spf1 ip4:192.0.2.0/24 ip6:2001:db8::/32 include:News.example ~all" },
        { "v=spf1 -ip4:192.0.2.0/24 ip6:2001:db8::1 include:news.example -all",
                "v=spf1 ip4:192.0.2.1 -ip4:192.0.2.0/24 ip6:2001:db8::1 include:news.example "
                "-all" },
        { "v=spf1 include:news.example ?all",
                "v=spf1 ip4:192.0.2.1 ip6:2001:db8::1 include:news.example ~all" },
        { "v=spf1 +all", "v=spf1 ip4:192.0.2.1 ip6:2001:db8::1 include:news.example ~all" },
        { "v=spf1 redirect=x.example",
                "v=spf1 ip4:192.0.2.1 ip6:2001:db8::1 include:news.example redirect=x.example" },
        { "v=spf1 exp=why.example a -all",
                "v=spf1 ip4:192.0.2.1 ip6:2001:db8::1 include:news.example exp=why.example a "
                "-all" },
    };
    struct ip ip[3];
    struct str term = STR("include:news.example");
    REQUIRE_OK(ip_parse(STR("192.0.2.1"), &ip[0]));
    REQUIRE_OK(ip_parse(STR("2001:db8::1"), &ip[1]));
    ip[2] = ip[0];
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        struct arena arena;
        struct buf text;
        arena_init(&arena, TEXT_BYTES_MAX);
        buf_init(&text, TEXT_BYTES_MAX);
        struct setup_spf_merge merge = {
            .old = str_from_c(cases[i].old), .ip = ip, .ip_count = 3, .term = &term, .term_count = 1
        };
        setup_spf_merge(&arena, &merge, &text);
        CHECK_STR(buf_str(&text), str_from_c(cases[i].expected));
        buf_done(&text);
        arena_done(&arena);
    }
}

TEST(another_domains_record_is_redirected_to_or_included)
{
    static const char *const cases[][2] = {
        { "", "v=spf1 redirect=other.example" },
        { "v=spf1 mx ~all", "v=spf1 include:other.example mx ~all" },
        { "v=spf1 include:other.example mx ~all", "v=spf1 include:other.example mx ~all" },
    };
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        struct arena arena;
        struct buf text;
        arena_init(&arena, TEXT_BYTES_MAX);
        buf_init(&text, TEXT_BYTES_MAX);
        struct setup_spf_merge merge = { .old = str_from_c(cases[i][0]),
            .redirect = STR("other.example") };
        setup_spf_merge(&arena, &merge, &text);
        CHECK_STR(buf_str(&text), str_from_c(cases[i][1]));
        buf_done(&text);
        arena_done(&arena);
    }
}

static struct identity_flatten_how flatten_how(const struct rig *rig)
{
    struct identity_flatten_how how = { .domain = STR("shop.example") };
    how.outside.zone_path = rig->zone;
    return how;
}

#define SOA "shop.example. IN SOA ns. h. 1 1 1 1 1\n"

TEST(a_record_is_flattened_in_its_order_with_neighbours_joined)
{
    struct rig rig;
    struct identity_flat flat;
    rig_begin(&rig);
    write_text(rig.zone, SOA
            "shop.example. IN TXT \"v=spf1 include:a.example ip4:192.0.2.1 mx/30 -ip4:203.0.113.9 "
            "redirect=b.example\"\n"
            "shop.example. IN MX 10 m.example.\n"
            "m.example. IN A 198.51.100.9\n"
            "m.example. IN AAAA 2001:db8::9\n"
            "a.example. IN TXT \"v=spf1 ip4:192.0.2.128/25 ip4:192.0.2.0/25 include:c.example "
            "~all\"\n"
            "b.example. IN TXT \"v=spf1 ip4:192.0.2.7 a:m.example ?all\"\n"
            "c.example. IN TXT \"v=spf1 ip6:2001:db8:1::/48 -all\"\n");
    struct identity_flatten_how how = flatten_how(&rig);
    REQUIRE_OK(identity_flatten(&how, &rig.arena, &flat, &rig.why));
    CHECK_U64(flat.record_count, 1);
    CHECK_STR(flat.record[0].data,
            STR("v=spf1 ip4:192.0.2.0/24 ip6:2001:db8:1::/48 ip4:198.51.100.8/30 ip6:2001:db8::9 "
                "-ip4:203.0.113.9 ip4:192.0.2.7 ip4:198.51.100.9 ip6:2001:db8::9 ?all"));
    CHECK_U64(flat.bill.lookup_count_before, 5);
    CHECK_U64(flat.bill.lookup_count, 0);
    rig_end(&rig);
}

TEST(what_cannot_be_flattened_is_named)
{
    static const struct {
        const char *records, *why;
        enum err err;
    } cases[] = {
        { "shop.example. IN TXT \"v=spf1 exists:%{i}.x.example -all\"\n", "exists:%{i}.x.example",
                E_UNSUPPORTED },
        { "shop.example. IN TXT \"v=spf1 ptr -all\"\n", "\"ptr\"", E_UNSUPPORTED },
        { "shop.example. IN TXT \"v=spf1 include:%{d}.x.example -all\"\n", "macro", E_UNSUPPORTED },
        { "shop.example. IN TXT \"v=spf1 include:a.example -all\"\n"
          "a.example. IN TXT \"v=spf1 -ip4:192.0.2.1 ip4:192.0.2.0/24 -all\"\n",
                "exception", E_UNSUPPORTED },
        { "shop.example. IN TXT \"v=spf1 include:a.example -all\"\n"
          "a.example. IN TXT \"v=spf1 +all\"\n",
                "everybody", E_UNSUPPORTED },
        { "shop.example. IN TXT \"v=spf1 include:shop.example -all\"\n", "loop", E_SYNTAX },
        { "shop.example. IN TXT \"v=spf1 include:none.example -all\"\nnone.example. IN A 1.2.3.4\n",
                "no SPF record", E_SYNTAX },
        { "shop.example. IN TXT \"v=spf1 include:a.example -all\"\n; @servfail a.example\n",
                "could not tell", E_TIMEOUT },
        { "; @timeout shop.example\n", "could not tell", E_TIMEOUT },
        { "shop.example. IN TXT \"hello\"\n", "no SPF record", E_NOT_FOUND },
        { "shop.example. IN TXT \"v=spf1 -all\"\nshop.example. IN TXT \"v=spf1 mx -all\"\n",
                "2 SPF records", E_SYNTAX },
    };
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        struct rig rig;
        struct identity_flat flat;
        char text[2048];
        rig_begin(&rig);
        fmt(text, sizeof text, SOA "%s", cases[i].records);
        write_text(rig.zone, text);
        struct identity_flatten_how how = flatten_how(&rig);
        enum err err = identity_flatten(&how, &rig.arena, &flat, &rig.why);
        CHECK(err == cases[i].err, "case %zu: %s (%s)", i, err_name(err), rig.why.text);
        CHECK(strstr(rig.why.text, cases[i].why) != NULL, "case %zu: %s", i, rig.why.text);
        rig_end(&rig);
    }
}

/* count networks, none beside another. */
static void write_many(const struct rig *rig, uint32_t count)
{
    struct buf text;
    buf_init(&text, TEXT_BYTES_MAX);
    buf_add_c(&text,
            SOA "shop.example. IN TXT \"v=spf1 include:a.example -all\"\na.example. IN TXT (");
    buf_add_c(&text, " \"v=spf1\"");
    for (uint32_t i = 0; i < count; i++) {
        buf_addf(&text, "\n \" ip4:10.%u.%u.0/24\"", (unsigned)(i / 100), (unsigned)(i % 100 * 2));
    }
    buf_add_c(&text, " \" -all\" )\n");
    buf_add_char(&text, '\0');
    write_text(rig->zone, text.ptr);
    buf_done(&text);
}

TEST(many_networks_are_split_into_records_of_450_bytes_and_too_many_are_refused)
{
    struct rig rig;
    struct identity_flat flat;
    rig_begin(&rig);
    write_many(&rig, 100);
    struct identity_flatten_how how = flatten_how(&rig);
    REQUIRE_OK(identity_flatten(&how, &rig.arena, &flat, &rig.why));
    CHECK_U64(flat.net_count, 100);
    CHECK(flat.record_count > 3 && flat.record_count == flat.bill.lookup_count + 1);
    for (uint32_t i = 0; i < flat.record_count; i++) {
        CHECK(flat.record[i].data.len <= IDENTITY_SPF_RECORD_BYTES_MAX);
    }
    CHECK_STR(flat.record[1].name, STR("_spf1.shop.example"));
    CHECK(str_starts(flat.record[0].data, STR("v=spf1 include:_spf1.shop.example include:_spf2")));
    CHECK(has(flat.record[1].data, "v=spf1 ip4:10.0.0.0/24 ip4:10.0.2.0/24 "));
    write_many(&rig, 600);
    CHECK_ERR(identity_flatten(&how, &rig.arena, &flat, &rig.why), E_TOO_BIG);
    CHECK(strstr(rig.why.text, "600 networks") != NULL, "%s", rig.why.text);
    rig_end(&rig);
}

TEST(a_change_of_the_sources_is_told_even_after_the_flat_record_is_published)
{
    struct rig rig;
    struct identity_flat flat;
    char text[1024], kept[128];
    bool has_changed = true;
    rig_begin(&rig);
    fmt(kept, sizeof kept, "%s/data/flat.json", rig.dir);
    struct identity_flatten_how how = flatten_how(&rig);
    how.state_path = str_from_c(kept);
    write_text(rig.zone, SOA "shop.example. IN TXT \"v=spf1 include:a.example -all\"\n"
                             "a.example. IN TXT \"v=spf1 ip4:192.0.2.1 -all\"\n");
    CHECK_ERR(identity_flatten_changed(&how, &has_changed, &rig.why), E_NOT_FOUND);
    REQUIRE_OK(identity_flatten(&how, &rig.arena, &flat, &rig.why));
    REQUIRE_OK(identity_flatten_save(&how, &flat, &rig.why));
    static const struct {
        const char *a;
        bool has_changed;
    } cases[] = { { "192.0.2.1", false }, { "192.0.2.2", true } };
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        fmt(text, sizeof text,
                SOA "shop.example. IN TXT \"v=spf1 ip4:192.0.2.1 -all\"\n"
                    "a.example. IN TXT \"v=spf1 ip4:%s -all\"\n",
                cases[i].a);
        write_text(rig.zone, text);
        REQUIRE_OK(identity_flatten_changed(&how, &has_changed, &rig.why));
        CHECK(has_changed == cases[i].has_changed, "case %zu", i);
    }
    write_text(kept, "{");
    CHECK_ERR(identity_flatten_changed(&how, &has_changed, &rig.why), E_CORRUPT);
    rig_end(&rig);
}

/* The zone with these records of a flattened domain, and one source. */
static void publish_flat(
        const struct rig *rig, const struct identity_flat *flat, uint32_t count, const char *source)
{
    struct buf text;
    buf_init(&text, TEXT_BYTES_MAX);
    buf_addf(&text, SOA "a.example. IN TXT \"v=spf1 %s -all\"\n", source);
    for (uint32_t i = 0; i < count; i++) {
        struct str data = flat->record[i].data;
        buf_addf(&text, "%.*s. IN TXT \"%.*s\" \"%.*s\"\n", STR_ARG(flat->record[i].name),
                STR_ARG(str_sub(data, 0, 200)),
                STR_ARG(str_from(data, data.len < 200 ? data.len : 200)));
    }
    buf_add_char(&text, '\0');
    write_text(rig->zone, text.ptr);
    buf_done(&text);
}

TEST(what_is_flattened_again_counts_as_changed_until_it_is_published)
{
    struct rig rig;
    struct identity_flat flat, again;
    char kept[128];
    bool has_changed = true;
    rig_begin(&rig);
    fmt(kept, sizeof kept, "%s/data/flat.json", rig.dir);
    struct identity_flatten_how how = flatten_how(&rig);
    how.state_path = str_from_c(kept);
    write_text(rig.zone, SOA "shop.example. IN TXT \"v=spf1 include:a.example -all\"\n"
                             "a.example. IN TXT \"v=spf1 ip4:192.0.2.1 -all\"\n");
    REQUIRE_OK(identity_flatten(&how, &rig.arena, &flat, &rig.why));
    REQUIRE_OK(identity_flatten_save(&how, &flat, &rig.why));
    publish_flat(&rig, &flat, 1, "ip4:192.0.2.9");
    for (int i = 0; i < 2; i++) { /* also where it is done twice, the first source is the source */
        REQUIRE_OK(identity_flatten(&how, &rig.arena, &again, &rig.why));
        REQUIRE_OK(identity_flatten_save(&how, &again, &rig.why));
        CHECK_STR(again.source, STR("v=spf1 include:a.example -all"));
        CHECK_STR(again.record[0].data, STR("v=spf1 ip4:192.0.2.9 -all"));
        REQUIRE_OK(identity_flatten_changed(&how, &has_changed, &rig.why));
        CHECK(has_changed, "round %d", i);
    }
    publish_flat(&rig, &again, 1, "ip4:192.0.2.9");
    REQUIRE_OK(identity_flatten_changed(&how, &has_changed, &rig.why));
    CHECK(!has_changed);
    rig_end(&rig);
}

TEST(a_part_of_a_split_record_that_is_not_published_counts_as_changed)
{
    struct rig rig;
    struct identity_flat flat;
    struct buf source;
    char kept[128];
    bool has_changed = false;
    rig_begin(&rig);
    fmt(kept, sizeof kept, "%s/data/flat.json", rig.dir);
    struct identity_flatten_how how = flatten_how(&rig);
    how.state_path = str_from_c(kept);
    write_many(&rig, 30);
    REQUIRE_OK(identity_flatten(&how, &rig.arena, &flat, &rig.why));
    REQUIRE_OK(identity_flatten_save(&how, &flat, &rig.why));
    CHECK(flat.record_count > 2);
    buf_init(&source, TEXT_BYTES_MAX);
    for (uint32_t i = 0; i < 30; i++) {
        buf_addf(&source, "%sip4:10.0.%u.0/24", i % 10 == 0 && i > 0 ? "\" \" " : " ",
                (unsigned)i * 2);
    }
    buf_add_char(&source, '\0');
    publish_flat(&rig, &flat, flat.record_count - 1, source.ptr);
    REQUIRE_OK(identity_flatten_changed(&how, &has_changed, &rig.why));
    CHECK(has_changed);
    publish_flat(&rig, &flat, flat.record_count, source.ptr);
    REQUIRE_OK(identity_flatten_changed(&how, &has_changed, &rig.why));
    CHECK(!has_changed);
    buf_done(&source);
    rig_end(&rig);
}

/* ---- records from what DNS has ---- */

static enum err make_setup(struct rig *rig, const char *records, const char *source_ip,
        struct identity_setup *ret_setup)
{
    struct identity_source *source = arena_new(&rig->arena, sizeof *source);
    struct identity_domain *domain = arena_new(&rig->arena, sizeof *domain);
    struct identity_plan *plan = arena_new(&rig->arena, sizeof *plan);
    char text[4096];
    *source = (struct identity_source){ .name = STR("a"), .ehlo = STR("a.shop.example") };
    if (source_ip[0] != '\0') {
        REQUIRE_OK(ip_parse(str_from_c(source_ip), &source->ip));
    }
    *domain = (struct identity_domain){ .name = STR("shop.example"),
        .bounce = STR("bounce.shop.example") };
    *plan = (struct identity_plan){
        .domain = domain, .domain_count = 1, .source = source, .source_count = 1
    };
    fmt(text, sizeof text, SOA "%s", records);
    write_text(rig->zone, text);
    struct identity_setup_how how = { .plan = plan, .now = { 1795000000000 } };
    how.outside.zone_path = rig->zone;
    mem_fail_at(rig->fail_at);
    enum err err = identity_setup_make(&how, &rig->arena, ret_setup, &rig->why);
    mem_fail_at(0);
    return err;
}

static const struct identity_record *find(
        const struct identity_setup *setup, const char *name, enum dns_type type, const char *part)
{
    for (uint32_t i = 0; i < setup->record_count; i++) {
        const struct identity_record *record = &setup->record[i];
        if (record->type == type && str_eq(record->name, str_from_c(name)) &&
                has(record->data, part)) {
            return record;
        }
    }
    return NULL;
}

TEST(records_build_upon_what_dns_has)
{
    struct rig rig;
    struct identity_setup setup;
    rig_begin(&rig);
    REQUIRE_OK(make_setup(&rig,
            "shop.example. IN TXT \"v=spf1 mx ~all\"\nshop.example. IN TXT \"other\"\n"
            "shop.example. IN MX 5 mx.shop.example.\nmx.shop.example. IN A 192.0.2.9\n"
            "_dmarc.shop.example. IN TXT \"v=DMARC1; p=reject; rua=mailto:r@shop.example\"\n",
            "192.0.2.1", &setup));
    const struct identity_record *record =
            find(&setup, "shop.example", DNS_TXT, "v=spf1 ip4:192.0.2.1 mx ~all");
    CHECK(record != NULL && record->state == IDENTITY_RECORD_DIFFERS);
    record = find(&setup, "shop.example", DNS_TXT, "other");
    CHECK(record != NULL && record->is_kept);
    record = find(&setup, "_dmarc.shop.example", DNS_TXT, "p=reject");
    CHECK(record != NULL && record->state == IDENTITY_RECORD_THERE);
    record = find(&setup, "shop.example", DNS_MX, "mx.shop.example");
    CHECK(record != NULL && record->state == IDENTITY_RECORD_THERE && record->preference == 5);
    record = find(&setup, "bounce.shop.example", DNS_MX, "a.shop.example");
    CHECK(record != NULL && record->state == IDENTITY_RECORD_MISSING);
    record = find(&setup, "1.2.0.192.in-addr.arpa", DNS_PTR, "a.shop.example");
    CHECK(record != NULL && record->is_foreign);
    CHECK_U64(setup.bill_count, 2);
    CHECK_U64(setup.bill[0].lookup_count, 1);
    rig_end(&rig);
}

TEST(dns_that_cannot_be_built_upon_is_said)
{
    static const struct {
        const char *records, *ip, *why;
        enum err err;
    } cases[] = {
        { "shop.example. IN TXT \"v=spf1 -all\"\nshop.example. IN TXT \"v=spf1 mx -all\"\n",
                "192.0.2.1", "2 SPF records", E_SYNTAX },
        { "shop.example. IN TXT \"v=spf1 ip4:300.1.1.1 -all\"\n", "192.0.2.1", "broken", E_SYNTAX },
        { "; @servfail shop.example\n", "192.0.2.1", "could not tell", E_TIMEOUT },
        { "; @timeout bounce.shop.example\n", "192.0.2.1", "could not tell", E_TIMEOUT },
        { "; @timeout _dmarc.shop.example\n", "192.0.2.1", "could not tell", E_TIMEOUT },
        { "", "", "has no address", E_USAGE },
        { "shop.example. IN TXT \"v=spf1 a:1.x a:2.x a:3.x a:4.x a:5.x a:6.x a:7.x a:8.x "
          "include:b.example a:9.x -all\"\nb.example. IN TXT \"v=spf1 a mx -all\"\n",
                "192.0.2.1", "include:b.example 3", E_TOO_BIG },
    };
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        struct rig rig;
        struct identity_setup setup;
        rig_begin(&rig);
        enum err err = make_setup(&rig, cases[i].records, cases[i].ip, &setup);
        CHECK(err == cases[i].err, "case %zu: %s (%s)", i, err_name(err), rig.why.text);
        CHECK(strstr(rig.why.text, cases[i].why) != NULL, "case %zu: %s", i, rig.why.text);
        rig_end(&rig);
    }
}

/* ---- keys ---- */

static const struct wall begun = { 1795000000000 };

static struct identity_made add_domain(struct rig *rig, bool has_ed25519)
{
    struct identity_made made;
    const struct identity_domain_new what = { .config_path = rig->config,
        .name = STR("shop.example"),
        .bounce = STR("bounce.shop.example"),
        .has_ed25519 = has_ed25519,
        .now = begun };
    enum err err = identity_domain_make(&what, &rig->arena, &made, &rig->why);
    CHECK(err == OK, "%s", rig->why.text);
    return made;
}

TEST(a_domain_is_made_once)
{
    struct rig rig;
    rig_begin(&rig);
    struct identity_made made = add_domain(&rig, true);
    CHECK_U64(made.selector_count, 2);
    CHECK_STR(made.selector[0], STR("s2026a"));
    CHECK_STR(made.selector[1], STR("e2026a"));
    struct str text = rig_read(&rig, rig.domain_file);
    CHECK(has(text, "bounce-domain = \"bounce.shop.example\""));
    const struct identity_domain_new again = {
        .config_path = rig.config, .name = STR("shop.example"), .now = begun
    };
    CHECK_ERR(identity_domain_make(&again, &rig.arena, &made, &rig.why), E_EXISTS);
    CHECK_STR(rig_read(&rig, rig.domain_file), text);
    const struct identity_domain_new stray = { .config_path = rig.config,
        .name = STR("b.example"),
        .like = STR("none.example"),
        .now = begun };
    CHECK_ERR(identity_domain_make(&stray, &rig.arena, &made, &rig.why), E_NOT_FOUND);
    rig_end(&rig);
}

/* The zone with the records of a rotation, or without. */
static void publish(struct rig *rig, struct str records)
{
    char text[8192];
    fmt(text, sizeof text, SOA "%.*s", STR_ARG(records));
    write_text(rig->zone, text);
}

static enum err rotate(
        struct rig *rig, int64_t day, bool is_scheduled, struct identity_rotation *ret_rotation)
{
    struct identity_rotate_how how = { .config_path = rig->config,
        .domain = STR("shop.example"),
        .now = { begun.ms + day * DAY_MS },
        .is_scheduled = is_scheduled };
    how.outside.zone_path = rig->zone;
    return identity_rotate_step(&how, &rig->arena, ret_rotation, &rig->why);
}

TEST(a_key_is_rotated_in_stages_and_signs_only_once_its_record_is_seen)
{
    struct rig rig;
    struct identity_rotation at;
    char old_key[160];
    rig_begin(&rig);
    add_domain(&rig, false);
    fmt(old_key, sizeof old_key, "%s/domains.d/keys/shop.example.s2026a.pem", rig.dir);
    publish(&rig, STR(""));
    REQUIRE_OK(rotate(&rig, 1, false, &at));
    CHECK(at.stage == IDENTITY_ROTATE_PUBLISH && at.has_moved);
    CHECK_STR(at.new_selectors, STR("s2026b"));
    struct str record = at.records;
    CHECK(str_starts(record, STR("s2026b._domainkey.shop.example. IN TXT")));
    CHECK(has(rig_read(&rig, rig.domain_file), "s2026b.pem\"  active = no }"));

    REQUIRE_OK(rotate(&rig, 2, false, &at)); /* not published */
    CHECK(at.stage == IDENTITY_ROTATE_PUBLISH && !at.has_moved);
    CHECK(has(at.waits_for, "no such name"));
    CHECK_STR(at.records, record);
    publish(&rig, STR("s2026b._domainkey.shop.example. IN TXT \"v=DKIM1; k=rsa; p=AAAA\"\n"));
    REQUIRE_OK(rotate(&rig, 2, false, &at)); /* another key */
    CHECK(!at.has_moved && has(at.waits_for, "another record"));
    publish(&rig, STR("; @servfail s2026b._domainkey.shop.example\n"));
    REQUIRE_OK(rotate(&rig, 2, false, &at));
    CHECK(!at.has_moved && has(at.waits_for, "SERVFAIL"));

    publish(&rig, record);
    REQUIRE_OK(rotate(&rig, 3, false, &at));
    CHECK(at.stage == IDENTITY_ROTATE_RETIRE && at.has_moved);
    CHECK_STR(at.new_selectors, STR("s2026b"));
    CHECK_STR(at.old_selectors, STR("s2026a"));
    CHECK_U64((uint64_t)(at.next.ms - begun.ms) / DAY_MS, 3 + 10 + 1); /* give-up of bulk, a day */

    REQUIRE_OK(rotate(&rig, 13, false, &at));
    CHECK(at.stage == IDENTITY_ROTATE_RETIRE && !at.has_moved && at.waits_for.len > 0);
    CHECK(access(old_key, F_OK) == 0);
    REQUIRE_OK(rotate(&rig, 14, false, &at));
    CHECK(at.stage == IDENTITY_ROTATE_IDLE && at.has_moved);
    CHECK_STR(at.records, STR("s2026a._domainkey.shop.example. IN TXT\n"));
    CHECK(access(old_key, F_OK) != 0);
    CHECK(!has(rig_read(&rig, rig.domain_file), "s2026a"));
    rig_end(&rig);
}

TEST(only_active_keys_sign)
{
    struct rig rig;
    struct identity_rotation at;
    struct config *config = NULL;
    rig_begin(&rig);
    add_domain(&rig, true);
    publish(&rig, STR(""));
    REQUIRE_OK(rotate(&rig, 1, false, &at));
    REQUIRE_OK(config_read(rig.config, &config, &rig.why));
    const struct config_domain *domain = config_domain_for(config, STR("shop.example"));
    CHECK_U64(domain->key_count, 4);
    CHECK_U64(config_domain_active_key_count(domain), 2);
    struct identity_plan plan;
    REQUIRE_OK(identity_plan_make(config, STR("shop.example"), &rig.arena, &plan, &rig.why));
    CHECK_U64(plan.domain[0].key_count, 2);
    config_give(config);
    rig_end(&rig);
}

/* As a node sees it that has just read its configuration. */
static bool is_step_due(struct rig *rig, int64_t day, struct identity_rotation *ret_at)
{
    struct config *config = NULL;
    REQUIRE_OK(config_read(rig->config, &config, &rig->why));
    const struct wall now = { begun.ms + day * DAY_MS };
    bool is_due = identity_rotate_look(
            config_domain_for(config, STR("shop.example")), now, &rig->arena, ret_at);
    config_give(config);
    return is_due;
}

TEST(a_node_takes_a_step_only_where_there_is_one_to_take)
{
    struct rig rig;
    struct identity_rotation at;
    rig_begin(&rig);
    add_domain(&rig, false);
    publish(&rig, STR(""));
    CHECK(!is_step_due(&rig, 1000, &at) && at.next.ms == 0); /* no schedule is set */
    REQUIRE_OK(rotate(&rig, 1, false, &at));
    CHECK(is_step_due(&rig, 1, &at));
    publish(&rig, at.records.len > 0 ? at.records : STR(""));
    REQUIRE_OK(rotate(&rig, 1, false, &at));
    publish(&rig, at.records);
    REQUIRE_OK(rotate(&rig, 1, false, &at));
    CHECK_U64(at.stage, IDENTITY_ROTATE_RETIRE);
    int64_t end = begun.ms + (int64_t)(1 + 10 + 1) * DAY_MS; /* give-up and a day */
    CHECK(!is_step_due(&rig, 11, &at) && at.next.ms == end);
    CHECK_STR(at.old_selectors, STR("s2026a"));
    CHECK(is_step_due(&rig, 12, &at) && at.stage == IDENTITY_ROTATE_RETIRE);
    REQUIRE_OK(file_replace(rig.domain_file,
            STR("domain \"shop.example\" {\n    rotate = 7d\n    dkim \"s2026b\" { key = "
                "\"keys/shop.example.s2026b.pem\" }\n}\n"),
            &rig.why));
    CHECK(is_step_due(&rig, 0, &at) && at.next.ms == 0); /* nothing says since when: to be told */
    rig_end(&rig);
}

TEST(a_schedule_begins_a_rotation_by_the_age_of_the_key)
{
    struct rig rig;
    struct identity_rotation at;
    rig_begin(&rig);
    add_domain(&rig, false);
    publish(&rig, STR(""));
    REQUIRE_OK(rotate(&rig, 1000, true, &at));
    CHECK(!at.has_moved && at.next.ms == 0); /* no schedule is set */
    struct str text = rig_read(&rig, rig.domain_file);
    struct buf more;
    buf_init(&more, TEXT_BYTES_MAX);
    size_t end = str_rindex(text, '}');
    buf_addf(&more, "%.*s    # by hand\n    rotate = \"180d\"\n}\n", (int)end, text.ptr);
    REQUIRE_OK(file_replace(rig.domain_file, buf_str(&more), &rig.why));
    buf_done(&more);
    CHECK(!is_step_due(&rig, 179, &at) && at.stage == IDENTITY_ROTATE_IDLE);
    CHECK(at.next.ms == begun.ms + (int64_t)180 * DAY_MS);
    CHECK(is_step_due(&rig, 180, &at));
    REQUIRE_OK(rotate(&rig, 179, true, &at));
    CHECK(!at.has_moved && at.next.ms == begun.ms + (int64_t)180 * DAY_MS);
    REQUIRE_OK(rotate(&rig, 180, true, &at));
    CHECK(at.has_moved && at.stage == IDENTITY_ROTATE_PUBLISH);
    CHECK(is_step_due(&rig, 180, &at) && at.stage == IDENTITY_ROTATE_PUBLISH);
    CHECK_STR(at.new_selectors, STR("s2027a"));
    CHECK(has(rig_read(&rig, rig.domain_file), "    # by hand\n    rotate = \"180d\"\n}\n"));
    rig_end(&rig);
}

TEST(two_at_once_are_refused_and_what_is_written_by_hand_is_left_alone)
{
    struct rig rig;
    struct identity_rotation at;
    rig_begin(&rig);
    publish(&rig, STR(""));
    CHECK_ERR(rotate(&rig, 1, false, &at), E_NOT_FOUND);
    add_domain(&rig, false);
    struct domain_file *file = arena_new(&rig.arena, sizeof *file);
    REQUIRE_OK(domain_file_find(rig.config, STR("shop.example"), file, &rig.why));
    REQUIRE_OK(domain_file_lock(file, &rig.why));
    CHECK_ERR(rotate(&rig, 1, false, &at), E_BUSY);
    domain_file_close(file);
    struct str hand = STR("domain \"shop.example\" {\n    dkim \"s2026a\" {\n        key = "
                          "\"keys/shop.example.s2026a.pem\"\n    }\n}\n");
    REQUIRE_OK(file_replace(rig.domain_file, hand, &rig.why));
    CHECK_ERR(rotate(&rig, 1, false, &at), E_UNSUPPORTED);
    CHECK_STR(rig_read(&rig, rig.domain_file), hand);
    char key[160]; /* what was begun is gone */
    fmt(key, sizeof key, "%s/domains.d/keys/shop.example.s2026b.pem", rig.dir);
    CHECK(access(key, F_OK) != 0);
    rig_end(&rig);
}

TEST(a_tsig_key_is_read_as_bind_writes_it)
{
    struct dns_tsig_key key;
    REQUIRE_OK(dns_tsig_key_read(STR("# made by tsig-keygen\nkey \"up.example\" {\n\talgorithm "
                                     "hmac-sha256;\n\tsecret \"c2VjcmV0\";\n};\n"),
            &key, NULL));
    CHECK_STR(str_from_c(key.name), STR("up.example"));
    CHECK_STR(str_from_c(key.algorithm), STR("hmac-sha256."));
    CHECK_STR(str_from_c(key.secret), STR("c2VjcmV0"));
    static const char *const bad[] = { "", "key", "key \"a", "key a { algorithm b; };",
        "key a { secret \"x\"; };", "{ } ; \" #" };
    for (size_t i = 0; i < COUNT_OF(bad); i++) {
        CHECK_ERR(dns_tsig_key_read(str_from_c(bad[i]), &key, NULL), E_SYNTAX);
    }
}

/* ---- what may go wrong in between ---- */

TEST(what_a_crash_left_behind_is_in_nobodys_way)
{
    struct rig rig;
    struct identity_rotation at;
    char path[160];
    rig_begin(&rig);
    add_domain(&rig, false);
    publish(&rig, STR(""));
    /* a key was made, the file not yet replaced */
    fmt(path, sizeof path, "%s/domains.d/keys/shop.example.s2026b.pem", rig.dir);
    write_text(path, "half a key");
    fmt(path, sizeof path, "%s.new", rig.domain_file);
    write_text(path, "half a file");
    REQUIRE_OK(rotate(&rig, 1, false, &at));
    CHECK_STR(at.new_selectors, STR("s2026c"));
    rig_end(&rig);
}

TEST(an_old_key_stays_while_another_domain_signs_with_it)
{
    struct rig rig;
    struct identity_rotation at;
    struct identity_made made;
    rig_begin(&rig);
    add_domain(&rig, false);
    const struct identity_domain_new like = { .config_path = rig.config,
        .name = STR("news.example"),
        .like = STR("shop.example"),
        .now = begun };
    REQUIRE_OK(identity_domain_make(&like, &rig.arena, &made, &rig.why));
    publish(&rig, STR(""));
    REQUIRE_OK(rotate(&rig, 1, false, &at));
    publish(&rig, at.records);
    REQUIRE_OK(rotate(&rig, 1, false, &at));
    CHECK(at.stage == IDENTITY_ROTATE_RETIRE && at.has_moved);
    REQUIRE_OK(rotate(&rig, 100, false, &at));
    CHECK(!at.has_moved && has(at.waits_for, "news.example still signs"));
    rig_end(&rig);
}

TEST(without_memory_a_step_is_refused_and_can_be_taken_again)
{
    for (uint64_t nth = 1;; nth++) {
        struct rig rig;
        struct identity_rotation at;
        rig_begin(&rig);
        add_domain(&rig, false);
        publish(&rig, STR(""));
        mem_fail_at(nth);
        enum err err = rotate(&rig, 1, false, &at);
        mem_fail_at(0);
        REQUIRE_OK(err == OK ? OK : rotate(&rig, 1, false, &at));
        CHECK(at.stage == IDENTITY_ROTATE_PUBLISH);
        rig_end(&rig);
        if (err == OK) {
            break;
        }
        CHECK(nth < 1000);
        nth += nth / 8; /* each of the first, then some: a key is made each time */
    }
}

TEST(without_memory_records_are_refused_not_half_there)
{
    static const char records[] = "shop.example. IN TXT \"v=spf1 mx ~all\"\n"
                                  "shop.example. IN TXT \"other\"\n";
    for (uint64_t nth = 1;; nth++) {
        struct rig rig;
        struct identity_setup setup;
        rig_begin(&rig);
        rig.fail_at = nth;
        enum err err = make_setup(&rig, records, "192.0.2.1", &setup);
        CHECK(err != OK || find(&setup, "shop.example", DNS_TXT, "ip4:192.0.2.1 mx ~all") != NULL,
                "allocation %llu", (unsigned long long)nth);
        rig_end(&rig);
        if (err == OK) {
            break;
        }
        CHECK(nth < 100000);
    }
}
