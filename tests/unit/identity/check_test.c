/* SPDX-License-Identifier: Apache-2.0
 *
 * check_test.c - each check has a zone that makes it pass, one that makes it fail and one that
 * makes it "could not tell"; and the record that a failure prints turns it into a pass.
 *
 * All start from one good zone. An edit is lines: "-OWNER TYPE" takes records away, "+LINE" adds.
 */
#include "core/str.h"
#include "edge/clock.h"
#include "identity/identity.h"
#include "tests/test.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static const char good[] =
        "shop.example. IN SOA ns1.shop.example. h.shop.example. 1 3600 600 1209600 300\n"
        "shop.example. IN NS ns1.shop.example.\n"
        "shop.example. IN NS ns2.shop.example.\n"
        "shop.example. IN MX 10 mail.shop.example.\n"
        "shop.example. IN TXT \"v=spf1 ip4:192.0.2.10 include:news.example -all\"\n"
        "news.example. IN TXT \"v=spf1 ip4:198.51.100.7 -all\"\n"
        "other.example. IN MX 10 mail.other.example.\n"
        "bounce.shop.example. IN MX 10 mail.shop.example.\n"
        "bounce.shop.example. IN TXT \"v=spf1 ip4:192.0.2.10 -all\"\n"
        "mail.shop.example. IN A 192.0.2.10\n"
        "mail.shop.example. IN TXT \"v=spf1 ip4:192.0.2.10 -all\"\n"
        "_25._tcp.mail.shop.example. IN TLSA 3 1 1 "
        "0000000000000000000000000000000000000000000000000000000000000000\n"
        "10.2.0.192.in-addr.arpa. IN PTR mail.shop.example.\n"
        "k1._domainkey.shop.example. IN TXT \"v=DKIM1; k=ed25519; "
        "p=11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=\"\n"
        "_dmarc.shop.example. IN TXT \"v=DMARC1; p=reject; rua=mailto:d@shop.example\"\n"
        "_mta-sts.shop.example. IN TXT \"v=STSv1; id=20261125\"\n"
        "_smtp._tls.shop.example. IN TXT \"v=TLSRPTv1; rua=mailto:t@shop.example\"\n"
        "default._bimi.shop.example. IN TXT \"v=BIMI1; l=https://shop.example/logo.svg\"\n"
        "shop.example. IN CAA 0 issue \"letsencrypt.org\"\n"
        "shop.example. IN DNSKEY 257 3 13 AAAA\n"
        "shop.example. IN DS 1 13 2 "
        "0000000000000000000000000000000000000000000000000000000000000000\n"
        "2.0.0.127.bl.spamcop.net. IN A 127.0.0.2\n"
        "news.shop.example. IN TXT \"x\"\n";

/* ---- zones ---- */

/* Does the line begin with "owner. " and name the type before its data? */
static bool line_is(struct str line, struct str owner, struct str type)
{
    struct str word;
    if (!str_starts(line, owner) || line.len <= owner.len || line.ptr[owner.len] != '.') {
        return false;
    }
    struct str rest = str_from(line, owner.len + 1);
    for (int i = 0; i < 4 && str_cut(&rest, ' ', &word); i++) {
        if (str_eq(word, type)) {
            return true;
        }
    }
    return false;
}

static void drop(struct buf *zone, struct str owner, struct str type)
{
    struct buf kept;
    struct str rest = buf_str(zone), line;
    buf_init(&kept, 1 << 20);
    while (str_cut(&rest, '\n', &line)) {
        if (!line_is(line, owner, type)) {
            buf_addf(&kept, "%.*s\n", STR_ARG(line));
        }
    }
    buf_clear(zone);
    buf_add(zone, buf_str(&kept));
    buf_done(&kept);
}

static void edit(struct buf *zone, struct str edits)
{
    struct str line;
    while (str_cut(&edits, '\n', &line)) {
        struct str body = str_from(line, 1);
        if (line.ptr[0] == '-') {
            size_t blank = str_index(body, ' ');
            drop(zone, str_sub(body, 0, blank), str_from(body, blank + 1));
        } else {
            buf_addf(zone, "%.*s\n", STR_ARG(body));
        }
    }
}

/* As an operator would: the record takes the place of those of its name and type. */
static void mend(struct buf *zone, struct str records)
{
    struct str line, rest = records, word = { 0 };
    while (str_cut(&rest, '\n', &line)) {
        struct str owner = str_sub(line, 0, str_index(line, ' ')), words = line;
        CHECK(owner.len > 1 && owner.ptr[owner.len - 1] == '.', "no record: %.*s", STR_ARG(line));
        while (str_cut(&words, ' ', &word) && !str_eq(word, STR("IN"))) {
        }
        str_cut(&words, ' ', &word);
        drop(zone, str_sub(owner, 0, owner.len - 1), word);
    }
    buf_add(zone, records);
}

/* ---- runs ---- */

struct rig {
    struct identity_source source;
    struct identity_domain domain;
    struct config_dkim_key key;
    struct config_service service;
    struct str selector;
    struct identity_plan plan;
    uint32_t checks;
};

/* The private half of RFC 8463 A.2, whose public half stands in the zone. */
static const char pem[] = "-----BEGIN PRIVATE KEY-----\n"
                          "MC4CAQAwBQYDK2VwBCIEIJ1hsZ3v/VpguoRK9JLsLMREScVpezJpGXA7rAMcrn9g\n"
                          "-----END PRIVATE KEY-----\n";

static void rig_open(struct rig *rig, const char *bounce)
{
    *rig = (struct rig){ .source = { .name = STR("a"), .ehlo = STR("mail.shop.example") },
        .key = { .selector = STR("k1"), .path = STR("k1.pem") },
        .selector = STR("k1"),
        .checks = IDENTITY_CHECK_DOMAINS | IDENTITY_CHECK_LISTS };
    REQUIRE_OK(ip_parse(STR("192.0.2.10"), &rig->source.ip));
    REQUIRE_OK(key_from_pem(str_from_c(pem), &rig->key.key, NULL));
    rig->service = (struct config_service){ .name = STR("news"),
        .spf = STR("include:news.example"),
        .selector = &rig->selector,
        .selector_count = 1 };
    rig->domain = (struct identity_domain){ .name = STR("shop.example"),
        .bounce = str_from_c(bounce),
        .key = &rig->key,
        .key_count = 1,
        .service = &rig->service,
        .service_count = 1 };
    rig->plan = (struct identity_plan){
        .domain = &rig->domain, .domain_count = 1, .source = &rig->source, .source_count = 1
    };
}

static void rig_close(struct rig *rig)
{
    key_free(rig->key.key);
}

static struct identity_run *run_zone(const struct rig *rig, struct str zone, struct str state_path)
{
    char path[] = "/tmp/outpost-check-XXXXXX";
    int fd = mkstemp(path);
    CHECK(fd >= 0 && write(fd, zone.ptr, zone.len) == (ssize_t)zone.len);
    close(fd);
    struct identity_run *run;
    struct why why = { 0 };
    struct identity_run_options options = { .checks = rig->checks, .state_path = state_path };
    struct identity_outside outside = { .zone_path = path };
    enum err err = identity_run_alone(&rig->plan, &options, &outside, &run, &why);
    unlink(path);
    CHECK(err == OK, "%s: %s", err_name(err), why.text);
    CHECK(identity_run_is_done(run));
    return run;
}

/* The worst result of id (and part, where it is not ""). */
static const struct identity_result *find(
        const struct identity_run *run, const char *id, const char *part)
{
    const struct identity_result *worst = NULL;
    for (uint32_t i = 0; i < identity_run_count(run); i++) {
        const struct identity_result *result = identity_run_result(run, i);
        bool is_it = str_eq(result->id, str_from_c(id)) &&
                     (part[0] == '\0' || str_eq(result->part, str_from_c(part)));
        worst = is_it && (worst == NULL || result->status > worst->status) ? result : worst;
    }
    return worst;
}

static void expect(const struct identity_run *run, const char *id, const char *part,
        enum identity_status want, const char *where)
{
    const struct identity_result *result = find(run, id, part);
    CHECK(result != NULL, "%s: %s is not said", where, id);
    CHECK(result->status == want, "%s: %s is %s, not %s: found %.*s; %.*s", where, id,
            identity_status_name(result->status), identity_status_name(want),
            STR_ARG(result->found), STR_ARG(result->detail));
}

/* ---- the table ---- */

struct row {
    const char *id, *part;
    const char *bad;             /* edits that make it wanting */
    enum identity_status bad_as; /* fail or warn */
    enum identity_status after;  /* once mended; IDENTITY_STATUS_COUNT: mended by a command */
    const char *unknown;         /* edits that leave it untold */
    const char *bounce;
};
#define BY_COMMAND IDENTITY_STATUS_COUNT
#define SPF "-shop.example TXT\n"
#define PTR "-10.2.0.192.in-addr.arpa PTR\n"
#define DMARC "-_dmarc.shop.example TXT\n"
#define KEY_RECORD(p)                                                                              \
    "-k1._domainkey.shop.example TXT\n"                                                            \
    "+k1._domainkey.shop.example. IN TXT ( \"v=DKIM1; k=rsa; p=\" " p " )\n"
/* RSA of 512 and of 1024 bits, whose private halves nobody has kept. */
#define SHORT_KEY                                                                                  \
    "\"MFwwDQYJKoZIhvcNAQEBBQADSwAwSAJBAL1PtPp30A1l7PPWeLHXuy/ay5AsKJKx5tmjviBOqqdB\""             \
    " \"q6HwN3oYj8sHTl6oTCJEo7vR1QpgvWdGAfrd2f8L/k0CAwEAAQ==\""
#define WEAK_KEY                                                                                   \
    "\"MIGfMA0GCSqGSIb3DQEBAQUAA4GNADCBiQKBgQDGyM+HdklVI6+hVuetqI8zBsrokvRsejwzxWWX\""             \
    " \"QaJFpG8u+Z9nBpohRWemIewAqRq/0c0Dp8M0cUFS2tfaXDABsRUqcqyMmOgb2Eo3HhTKQQ1wGZRd\""            \
    " \"dULLk4hFQJozSbqIIYY7BEcS7gXLUC9kGKeTdfZ3aqZrQDTiiJE0hoJv4wIDAQAB\""

static const struct row rows[] = {
    { "ptr.exists", "", PTR, IDENTITY_FAIL, IDENTITY_PASS, "+; @servfail 10.2.0.192.in-addr.arpa\n",
            "" },
    { "ptr.single", "", "+10.2.0.192.in-addr.arpa. IN PTR b.shop.example.\n", IDENTITY_FAIL,
            IDENTITY_PASS, "+; @timeout 10.2.0.192.in-addr.arpa\n", "" },
    { "ptr.generic", "", PTR "+10.2.0.192.in-addr.arpa. IN PTR 192-0-2-10.isp.example.\n",
            IDENTITY_FAIL, IDENTITY_PASS, "+; @timeout 10.2.0.192.in-addr.arpa\n", "" },
    { "ptr.generic", "", PTR "+10.2.0.192.in-addr.arpa. IN PTR a.dyn.isp.example.\n", IDENTITY_FAIL,
            IDENTITY_PASS, "+; @timeout 10.2.0.192.in-addr.arpa\n", "" },
    { "ptr.forward", "", PTR "+10.2.0.192.in-addr.arpa. IN PTR b.shop.example.\n", IDENTITY_FAIL,
            IDENTITY_PASS, "+; @timeout mail.shop.example\n", "" },
    { "ehlo.resolves", "", "-mail.shop.example A\n", IDENTITY_FAIL, IDENTITY_PASS,
            "+; @servfail mail.shop.example\n", "" },
    { "ehlo.ptr", "", PTR "+10.2.0.192.in-addr.arpa. IN PTR b.shop.example.\n", IDENTITY_WARN,
            IDENTITY_PASS, "+; @servfail 10.2.0.192.in-addr.arpa\n", "" },
    { "spf.record", "", SPF, IDENTITY_FAIL, IDENTITY_PASS, "+; @servfail shop.example\n", "" },
    { "spf.record", "", "+shop.example. IN TXT \"v=spf1 ip4:192.0.2.11 -all\"\n", IDENTITY_FAIL,
            IDENTITY_PASS, "+; @timeout shop.example\n", "" },
    { "spf.record", "", SPF "+shop.example. IN TXT \"v=spf1 ipv4:192.0.2.10 mx -all\"\n",
            IDENTITY_FAIL, IDENTITY_PASS, "+; @timeout shop.example\n", "" },
    { "spf.all", "", SPF "+shop.example. IN TXT \"v=spf1 mx +all\"\n", IDENTITY_FAIL, IDENTITY_PASS,
            "+; @servfail shop.example\n", "" },
    { "spf.all", "", SPF "+shop.example. IN TXT \"v=spf1 mx ?all\"\n", IDENTITY_WARN, IDENTITY_PASS,
            "+; @timeout shop.example\n", "" },
    { "spf.limits", "",
            SPF "+shop.example. IN TXT \"v=spf1 mx mx mx mx mx mx mx mx mx mx mx -all\"\n",
            IDENTITY_FAIL, BY_COMMAND, "+; @timeout news.example\n", "" },
    { "spf.limits", "", /* not hidden behind a range that the probe's own address is in */
            SPF
            "+shop.example. IN TXT \"v=spf1 ip4:203.0.113.0/24 mx mx mx mx mx mx mx mx mx mx mx "
            "-all\"\n",
            IDENTITY_FAIL, BY_COMMAND, "+; @timeout news.example\n", "" },
    { "spf.limits", "",
            SPF "+shop.example. IN TXT \"v=spf1 ip4:192.0.2.10 include:none.example ~all\"\n",
            IDENTITY_FAIL, IDENTITY_PASS, "+; @timeout news.example\n", "" },
    { "spf.limits", "", SPF "+shop.example. IN TXT \"v=spf1 a:n1.a a:n2.a a:n3.a -all\"\n",
            IDENTITY_FAIL, IDENTITY_PASS, "+; @timeout news.example\n", "" },
    { "spf.pass", "", SPF "+shop.example. IN TXT \"v=spf1 include:none.example mx -all\"\n",
            IDENTITY_FAIL, IDENTITY_PASS, "+; @servfail shop.example\n", "" },
    { "spf.pass", "", SPF "+shop.example. IN TXT \"v=spf1 redirect=none.example\"\n", IDENTITY_FAIL,
            IDENTITY_PASS, "+; @servfail shop.example\n", "" },
    { "spf.pass", "", SPF "+shop.example. IN TXT \"v=spf1 include:news.example -all\"\n",
            IDENTITY_FAIL, IDENTITY_PASS, "+; @servfail shop.example\n", "" },
    { "spf.pass", "", "-bounce.shop.example TXT\n+bounce.shop.example. IN TXT \"v=spf1 ~all\"\n",
            IDENTITY_FAIL, IDENTITY_PASS, "+; @servfail bounce.shop.example\n",
            "bounce.shop.example" },
    { "spf.helo", "", "-mail.shop.example TXT\n", IDENTITY_WARN, IDENTITY_PASS,
            "+; @servfail mail.shop.example\n", "" },
    { "spf.helo", "", "-mail.shop.example TXT\n+mail.shop.example. IN TXT \"v=spf1 -all\"\n",
            IDENTITY_FAIL, IDENTITY_PASS, "+; @timeout mail.shop.example\n", "" },
    { "dkim.record", "k1", "-k1._domainkey.shop.example TXT\n", IDENTITY_FAIL, IDENTITY_PASS,
            "+; @servfail k1._domainkey.shop.example\n", "" },
    { "dkim.record", "k1",
            "-k1._domainkey.shop.example TXT\n+k1._domainkey.shop.example. IN TXT \"v=DKIM1; "
            "k=ed25519; p=AAAYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=\"\n",
            IDENTITY_FAIL, IDENTITY_PASS, "+; @timeout k1._domainkey.shop.example\n", "" },
    { "dkim.length", "k1", KEY_RECORD(SHORT_KEY), IDENTITY_FAIL, IDENTITY_PASS,
            "+; @servfail k1._domainkey.shop.example\n", "" },
    { "dkim.length", "k1", KEY_RECORD(WEAK_KEY), IDENTITY_WARN, IDENTITY_PASS,
            "+; @timeout k1._domainkey.shop.example\n", "" },
    { "dkim.flags", "k1",
            "-k1._domainkey.shop.example TXT\n+k1._domainkey.shop.example. IN TXT \"v=DKIM1; "
            "k=ed25519; s=tlsrpt; p=11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=\"\n",
            IDENTITY_FAIL, IDENTITY_PASS, "+; @timeout k1._domainkey.shop.example\n", "" },
    { "dkim.flags", "k1",
            "-k1._domainkey.shop.example TXT\n+k1._domainkey.shop.example. IN TXT \"v=DKIM1; t=y; "
            "k=ed25519; p=11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=\"\n",
            IDENTITY_WARN, IDENTITY_PASS, "+; @servfail k1._domainkey.shop.example\n", "" },
    { "dmarc.record", "", "-_dmarc.shop.example TXT\n", IDENTITY_FAIL, IDENTITY_PASS,
            "+; @servfail _dmarc.shop.example\n", "" },
    { "dmarc.record", "", "+_dmarc.shop.example. IN TXT \"v=DMARC1; p=none\"\n", IDENTITY_FAIL,
            IDENTITY_PASS, "+; @timeout _dmarc.shop.example\n", "" },
    { "dmarc.policy", "",
            DMARC "+_dmarc.shop.example. IN TXT \"v=DMARC1; rua=mailto:d@shop.example\"\n",
            IDENTITY_FAIL, IDENTITY_PASS, "+; @servfail _dmarc.shop.example\n", "" },
    { "dmarc.policy", "",
            DMARC "+_dmarc.shop.example. IN TXT \"v=DMARC1; p=refuse; sp=never; "
                  "rua=mailto:d@shop.example\"\n",
            IDENTITY_FAIL, IDENTITY_PASS, "+; @timeout _dmarc.shop.example\n", "" },
    { "dmarc.policy", "",
            DMARC "+_dmarc.shop.example. IN TXT \"v=DMARC1; p=none; rua=mailto:d@shop.example\"\n",
            IDENTITY_WARN, IDENTITY_PASS, NULL, "" },
    { "dmarc.subdomains", "",
            DMARC "+_dmarc.shop.example. IN TXT \"v=DMARC1; p=reject; sp=none; "
                  "rua=mailto:d@shop.example\"\n",
            IDENTITY_FAIL, IDENTITY_PASS, "+; @servfail _dmarc.shop.example\n", "" },
    { "dmarc.subdomains", "",
            DMARC "+_dmarc.shop.example. IN TXT \"v=DMARC1; p=reject; sp=quarantine; "
                  "rua=mailto:d@shop.example\"\n",
            IDENTITY_WARN, IDENTITY_PASS, "+; @timeout _dmarc.shop.example\n", "" },
    { "dmarc.reports", "",
            "-_dmarc.shop.example TXT\n+_dmarc.shop.example. IN TXT \"v=DMARC1; p=reject; "
            "rua=mailto:d@other.example\"\n",
            IDENTITY_FAIL, IDENTITY_PASS, "+; @servfail shop.example\n", "" },
    { "dmarc.reports", "",
            "-_dmarc.shop.example TXT\n+_dmarc.shop.example. IN TXT \"v=DMARC1; p=reject\"\n",
            IDENTITY_WARN, IDENTITY_PASS, NULL, "" },
    { "dmarc.align_spf", "",
            "-_dmarc.shop.example TXT\n+_dmarc.shop.example. IN TXT \"v=DMARC1; p=reject; aspf=s; "
            "rua=mailto:d@shop.example\"\n",
            IDENTITY_FAIL, IDENTITY_PASS, "+; @timeout bounce.shop.example\n",
            "bounce.shop.example" },
    { "dmarc.align_spf", "", SPF, IDENTITY_FAIL, IDENTITY_PASS, "+; @timeout _dmarc.shop.example\n",
            "" },
    { "dmarc.align_dkim", "", "-k1._domainkey.shop.example TXT\n", IDENTITY_FAIL, IDENTITY_PASS,
            "+; @timeout k1._domainkey.shop.example\n", "" },
    { "mx.exists", "", "-shop.example MX\n", IDENTITY_FAIL, IDENTITY_PASS,
            "+; @servfail shop.example\n", "" },
    { "mx.exists", "", "-shop.example MX\n+shop.example. IN MX 0 .\n", IDENTITY_FAIL, IDENTITY_PASS,
            "+; @timeout shop.example\n", "" },
    { "mx.hosts", "mx2.shop.example", "+shop.example. IN MX 20 mx2.shop.example.\n", IDENTITY_FAIL,
            IDENTITY_PASS,
            "+shop.example. IN MX 20 mx2.shop.example.\n+; @servfail mx2.shop.example\n", "" },
    { "mx.hosts", "mx2.shop.example",
            "+shop.example. IN MX 20 mx2.shop.example.\n+mx2.shop.example. IN A 127.0.0.1\n",
            IDENTITY_FAIL, IDENTITY_PASS,
            "+shop.example. IN MX 20 mx2.shop.example.\n+; @timeout mx2.shop.example\n", "" },
    { "mx.hosts", "", "+shop.example. IN MX 20 192.0.2.77.\n", IDENTITY_FAIL, IDENTITY_PASS, NULL,
            "" },
    { "mx.hosts", "mx2.shop.example",
            "+shop.example. IN MX 20 mx2.shop.example.\n+mx2.shop.example. IN CNAME "
            "mail.shop.example.\n",
            IDENTITY_WARN, BY_COMMAND, NULL, "" },
    { "mx.exists", "", "+shop.example. IN MX 0 .\n", IDENTITY_FAIL, IDENTITY_PASS, NULL, "" },
    { "mx.roles", "", "-shop.example MX\n", IDENTITY_FAIL, IDENTITY_SKIP,
            "+; @servfail shop.example\n", "" },
    { "bounce.mx", "", "-bounce.shop.example MX\n", IDENTITY_FAIL, IDENTITY_PASS,
            "+; @timeout bounce.shop.example\n", "bounce.shop.example" },
    { "sts.record", "",
            "-_mta-sts.shop.example TXT\n+_mta-sts.shop.example. IN TXT \"v=STSv1; id=2026-11\"\n",
            IDENTITY_FAIL, IDENTITY_PASS, "+; @servfail _mta-sts.shop.example\n", "" },
    { "tlsrpt.record", "",
            "-_smtp._tls.shop.example TXT\n+_smtp._tls.shop.example. IN TXT \"v=TLSRPTv1; "
            "rua=t@shop.example\"\n",
            IDENTITY_FAIL, IDENTITY_PASS, "+; @servfail _smtp._tls.shop.example\n", "" },
    { "tlsa.valid", "",
            "-_25._tcp.mail.shop.example TLSA\n+_25._tcp.mail.shop.example. IN TLSA 1 1 1 "
            "0000000000000000000000000000000000000000000000000000000000000000\n",
            IDENTITY_FAIL, BY_COMMAND, "+; @timeout _25._tcp.mail.shop.example\n", "" },
    { "soa.exists", "", "-shop.example SOA\n", IDENTITY_FAIL, IDENTITY_PASS,
            "+; @servfail shop.example\n", "" },
    { "ns.count", "", "-shop.example NS\n", IDENTITY_FAIL, IDENTITY_PASS,
            "+; @servfail shop.example\n", "" },
    { "ns.count", "", "-shop.example NS\n+shop.example. IN NS ns1.shop.example.\n", IDENTITY_WARN,
            IDENTITY_PASS, "+; @timeout shop.example\n", "" },
    { "dnssec.state", "", "-shop.example DNSKEY\n", IDENTITY_FAIL, BY_COMMAND,
            "+; @servfail shop.example\n", "" },
    { "dnssec.state", "", "-shop.example DS\n", IDENTITY_WARN, IDENTITY_PASS,
            "+; @timeout shop.example\n", "" },
    { "caa.record", "", "-shop.example CAA\n+shop.example. IN CAA 128 surprise \"x\"\n",
            IDENTITY_FAIL, IDENTITY_PASS, "+; @servfail shop.example\n", "" },
    { "ttl.range", "", SPF "+shop.example. 0 IN TXT \"v=spf1 ip4:192.0.2.10 -all\"\n",
            IDENTITY_FAIL, IDENTITY_PASS, "+; @servfail shop.example\n", "" },
    { "bimi.record", "",
            "-default._bimi.shop.example TXT\n+default._bimi.shop.example. IN TXT \"v=BIMI1; "
            "l=http://shop.example/logo.png\"\n",
            IDENTITY_FAIL, IDENTITY_PASS, "+; @servfail default._bimi.shop.example\n", "" },
    { "bimi.record", "", "-_dmarc.shop.example TXT\n", IDENTITY_FAIL, IDENTITY_PASS,
            "+; @timeout _dmarc.shop.example\n", "" },
    { "service.spf", "news", SPF "+shop.example. IN TXT \"v=spf1 ip4:192.0.2.10 -all\"\n",
            IDENTITY_FAIL, IDENTITY_PASS, "+; @servfail shop.example\n", "" },
    { "service.dkim", "news k1", "-k1._domainkey.shop.example TXT\n", IDENTITY_FAIL, IDENTITY_PASS,
            "+; @servfail k1._domainkey.shop.example\n", "" },
    { "list.listed", "bl.spamcop.net",
            "+10.2.0.192.bl.spamcop.net. IN A 127.0.0.2\n+10.2.0.192.bl.spamcop.net. IN TXT "
            "\"Blocked - see https://www.spamcop.net/bl.shtml?192.0.2.10\"\n",
            IDENTITY_FAIL, BY_COMMAND, "+; @timeout 10.2.0.192.bl.spamcop.net\n", "" },
};

static void run_row(const struct row *row)
{
    struct rig rig;
    struct buf zone;
    char where[200];
    rig_open(&rig, row->bounce);
    buf_init(&zone, 1 << 20);
    buf_add_c(&zone, good);
    fmt(where, sizeof where, "%s %s, good zone", row->id, row->bad);
    struct identity_run *run = run_zone(&rig, buf_str(&zone), STR(""));
    bool is_new_part = find(run, row->id, row->part) == NULL;
    enum identity_status best = strcmp(row->id, "mx.roles") == 0 ? IDENTITY_SKIP : IDENTITY_PASS;
    expect(run, row->id, is_new_part ? "" : row->part, best, where);
    identity_run_free(run, true);

    edit(&zone, str_from_c(row->bad));
    fmt(where, sizeof where, "%s after %s", row->id, row->bad);
    run = run_zone(&rig, buf_str(&zone), STR(""));
    expect(run, row->id, row->part, row->bad_as, where);
    struct str printed = find(run, row->id, row->part)->mend;
    if (row->after != BY_COMMAND) {
        mend(&zone, printed);
    }
    identity_run_free(run, true);
    if (row->after != BY_COMMAND) {
        fmt(where, sizeof where, "%s mended after %s", row->id, row->bad);
        run = run_zone(&rig, buf_str(&zone), STR(""));
        expect(run, row->id, row->part, row->after, where);
        identity_run_free(run, true);
    }
    buf_done(&zone);
    rig_close(&rig);
}

TEST(each_check_passes_fails_and_is_mended_by_the_record_that_it_prints)
{
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        run_row(&rows[i]);
    }
}

TEST(f50_each_check_could_not_tell_where_dns_fails)
{
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        struct rig rig;
        struct buf zone;
        if (rows[i].unknown == NULL) {
            continue;
        }
        rig_open(&rig, rows[i].bounce);
        buf_init(&zone, 1 << 20);
        buf_add_c(&zone, good);
        edit(&zone, str_from_c(rows[i].unknown));
        struct identity_run *run = run_zone(&rig, buf_str(&zone), STR(""));
        expect(run, rows[i].id, rows[i].part, IDENTITY_ERROR, rows[i].unknown);
        identity_run_free(run, true);
        buf_done(&zone);
        rig_close(&rig);
    }
}

TEST(a_good_zone_has_no_fail_and_no_error)
{
    struct rig rig;
    rig_open(&rig, "bounce.shop.example");
    rig.checks = IDENTITY_CHECK_DOMAINS;
    struct identity_run *run = run_zone(&rig, str_from_c(good), STR(""));
    for (uint32_t i = 0; i < identity_run_count(run); i++) {
        const struct identity_result *result = identity_run_result(run, i);
        CHECK(result->status != IDENTITY_FAIL && result->status != IDENTITY_ERROR,
                "%.*s: %.*s %.*s", STR_ARG(result->id), STR_ARG(result->found),
                STR_ARG(result->detail));
        CHECK(result->found.ptr != NULL && result->mend.ptr != NULL);
    }
    identity_run_free(run, true);
    rig_close(&rig);
}

TEST(g8_a_dead_wildcarded_or_refusing_blocklist_is_noticed_and_is_no_listing)
{
    static const struct {
        const char *edits, *says;
    } lists[] = {
        { "-2.0.0.127.bl.spamcop.net A\n+10.2.0.192.bl.spamcop.net. IN A 127.0.0.2\n", "dead" },
        { "+1.0.0.127.bl.spamcop.net. IN A 127.0.0.2\n+10.2.0.192.bl.spamcop.net. IN A 127.0.0.2\n",
                "lists everything" },
        { "-2.0.0.127.bl.spamcop.net A\n+2.0.0.127.bl.spamcop.net. IN A 127.255.255.254\n"
          "+10.2.0.192.bl.spamcop.net. IN A 127.255.255.254\n",
                "public resolvers" },
        { "+10.2.0.192.bl.spamcop.net. IN A 127.255.255.255\n", "too many questions" },
        { "+10.2.0.192.bl.spamcop.net. IN A 203.0.113.1\n", "outside 127/8" },
        { "-2.0.0.127.bl.spamcop.net A\n+2.0.0.127.bl.spamcop.net. IN A 203.0.113.1\n"
          "+1.0.0.127.bl.spamcop.net. IN A 203.0.113.1\n",
                "outside 127/8" },
    };
    for (size_t i = 0; i < COUNT_OF(lists); i++) {
        struct rig rig;
        struct buf zone;
        rig_open(&rig, "");
        buf_init(&zone, 1 << 20);
        buf_add_c(&zone, good);
        edit(&zone, str_from_c(lists[i].edits));
        struct identity_run *run = run_zone(&rig, buf_str(&zone), STR(""));
        expect(run, "list.listed", "bl.spamcop.net", IDENTITY_WARN, lists[i].edits);
        struct str found = find(run, "list.listed", "bl.spamcop.net")->found;
        CHECK(str_find(found, str_from_c(lists[i].says)) < found.len, "%s in %.*s", lists[i].says,
                STR_ARG(found));
        identity_run_free(run, true);
        buf_done(&zone);
        rig_close(&rig);
    }
}

TEST(what_changed_since_the_last_pass_is_said)
{
    struct rig rig;
    struct buf zone;
    char dir[] = "/tmp/outpost-state-XXXXXX", path[100];
    CHECK(mkdtemp(dir) != NULL);
    fmt(path, sizeof path, "%s/identity/checks.json", dir);
    rig_open(&rig, "");
    buf_init(&zone, 1 << 20);
    buf_add_c(&zone, good);
    struct identity_run *run = run_zone(&rig, buf_str(&zone), str_from_c(path));
    REQUIRE_OK(identity_run_save(run, NULL));
    identity_run_free(run, true);
    edit(&zone, STR("-shop.example MX\n"));
    for (int i = 0; i < 2; i++) { /* also when it has failed before: the last pass counts */
        run = run_zone(&rig, buf_str(&zone), str_from_c(path));
        CHECK_STR(find(run, "mx.exists", "")->before, STR("10 mail.shop.example"));
        CHECK_STR(find(run, "spf.record", "")->before, STR(""));
        REQUIRE_OK(identity_run_save(run, NULL));
        identity_run_free(run, true);
    }
    unlink(path);
    fmt(path, sizeof path, "%s/identity", dir);
    rmdir(path);
    rmdir(dir);
    buf_done(&zone);
    rig_close(&rig);
}

TEST(g7_peer_text_in_results_is_escaped)
{
    struct rig rig;
    struct buf zone;
    rig_open(&rig, "");
    buf_init(&zone, 1 << 20);
    buf_add_c(&zone, good);
    edit(&zone, STR(SPF "+shop.example. IN TXT \"v=spf1 \\027[31m\\200 -all\"\n"));
    struct identity_run *run = run_zone(&rig, buf_str(&zone), STR(""));
    for (uint32_t i = 0; i < identity_run_count(run); i++) {
        const struct identity_result *result = identity_run_result(run, i);
        struct str texts[] = { result->found, result->expected, result->detail, result->mend };
        for (size_t t = 0; t < COUNT_OF(texts); t++) {
            for (size_t k = 0; k < texts[t].len; k++) {
                char ch = texts[t].ptr[k];
                CHECK((ch >= ' ' && ch < 0x7f) || (t == 3 && ch == '\n'), "%.*s",
                        STR_ARG(result->id));
            }
        }
    }
    identity_run_free(run, true);
    buf_done(&zone);
    rig_close(&rig);
}

TEST(a_domain_that_is_not_ours_needs_no_sources_and_no_keys)
{
    struct identity_domain domain = { .name = STR("shop.example") };
    struct rig rig = { .checks = IDENTITY_CHECK_DOMAINS,
        .plan = { .domain = &domain, .domain_count = 1, .is_any = true } };
    struct identity_run *run = run_zone(&rig, str_from_c(good), STR(""));
    expect(run, "spf.record", "", IDENTITY_PASS, "any");
    expect(run, "dkim.selector", "k1", IDENTITY_PASS, "any");
    CHECK(find(run, "dkim.record", "") == NULL && find(run, "run.sources", "") == NULL);
    identity_run_free(run, true);
}

/* One run of a rig over edits of the good zone. */
static struct identity_run *run_edited(const struct rig *rig, const char *edits)
{
    struct buf zone;
    buf_init(&zone, 1 << 20);
    buf_add_c(&zone, good);
    edit(&zone, str_from_c(edits));
    struct identity_run *run = run_zone(rig, buf_str(&zone), STR(""));
    buf_done(&zone);
    return run;
}

TEST(dkim_selector_of_a_domain_that_is_not_ours_passes_fails_and_could_not_be_told)
{
    struct identity_domain domain = { .name = STR("shop.example") };
    struct rig rig = { .checks = IDENTITY_CHECK_DOMAINS,
        .plan = { .domain = &domain, .domain_count = 1, .is_any = true } };
    static const struct {
        const char *edits, *part;
        enum identity_status want;
    } cases[] = {
        { "+; @timeout nowhere.example\n", "k1", IDENTITY_PASS },
        { KEY_RECORD(SHORT_KEY), "k1", IDENTITY_FAIL },
        { KEY_RECORD(WEAK_KEY), "k1", IDENTITY_WARN },
        { KEY_RECORD("\"AAAA\""), "k1", IDENTITY_FAIL },
        { "-k1._domainkey.shop.example TXT\n+; @servfail k1._domainkey.shop.example\n", "",
                IDENTITY_ERROR },
    };
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        struct identity_run *run = run_edited(&rig, cases[i].edits);
        expect(run, "dkim.selector", cases[i].part, cases[i].want, cases[i].edits);
        identity_run_free(run, true);
    }
}

TEST(list_allowed_passes_and_could_not_be_told_and_never_fails)
{
    static const struct {
        const char *edits;
        enum identity_status want;
    } cases[] = {
        { "+10.2.0.192.list.dnswl.org. IN A 127.0.5.1\n", IDENTITY_PASS },
        { "+; @timeout nowhere.example\n", IDENTITY_SKIP }, /* no fault: it is optional */
        { "+; @servfail 10.2.0.192.list.dnswl.org\n", IDENTITY_ERROR },
    };
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        struct rig rig;
        char edits[300];
        rig_open(&rig, "");
        fmt(edits, sizeof edits, "+2.0.0.127.list.dnswl.org. IN A 127.0.5.0\n%s", cases[i].edits);
        struct identity_run *run = run_edited(&rig, edits);
        expect(run, "list.allowed", "list.dnswl.org", cases[i].want, edits);
        identity_run_free(run, true);
        rig_close(&rig);
    }
}

TEST(service_dkim_is_mended_by_the_cname_of_a_service_that_is_known)
{
    static const struct {
        const char *spf, *selector, *mend;
    } cases[] = {
        { "include:servers.mcsv.net", "k2",
                "k2._domainkey.shop.example. IN CNAME dkim2.mcsv.net.\n" },
        { "include:spf.messagingengine.com", "fm1",
                "fm1._domainkey.shop.example. IN CNAME fm1.shop.example.dkim.fmhosted.com.\n" },
        { "include:spf.brevo.com", "brevo2",
                "brevo2._domainkey.shop.example. IN CNAME b2.shop-example.dkim.brevo.com.\n" },
        { "include:news.example", "n1",
                "publish the TXT or CNAME record that news shows for "
                "n1._domainkey.shop.example\n" },
    };
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        struct rig rig;
        char part[80];
        rig_open(&rig, "");
        rig.selector = str_from_c(cases[i].selector);
        rig.service.spf = str_from_c(cases[i].spf);
        struct identity_run *run = run_edited(&rig, "");
        fmt(part, sizeof part, "news %s", cases[i].selector);
        expect(run, "service.dkim", part, IDENTITY_FAIL, part);
        CHECK_STR(find(run, "service.dkim", part)->mend, str_from_c(cases[i].mend));
        identity_run_free(run, true);
        rig_close(&rig);
    }
}

TEST(dkim_keys_passes_could_not_be_told_and_mailboxes_are_asked_with_probe)
{
    struct rig rig;
    rig_open(&rig, "");
    struct identity_run *run = run_edited(&rig, "");
    expect(run, "dkim.keys", "", IDENTITY_PASS, "a key signs");
    struct str words = find(run, "mx.roles", "")->detail;
    CHECK(str_find(words, STR("--probe")) < words.len, "%.*s", STR_ARG(words));
    identity_run_free(run, true);
    run = run_edited(&rig, "+; @servfail k1._domainkey.shop.example\n");
    expect(run, "dkim.keys", "", IDENTITY_ERROR, "nobody may see it");
    identity_run_free(run, true);
    rig_close(&rig);
}

TEST(cert_name_age_and_chain_pass_fail_and_could_not_be_told)
{
    static const struct {
        const char *file;
        enum config_auth auth;
        enum identity_status name, age, chain;
    } cases[] = {
        { "tests/data/tls/mx.pem", CONFIG_AUTH_REQUIRED, IDENTITY_PASS, IDENTITY_PASS,
                IDENTITY_PASS },
        { "tests/data/tls/cn_only.pem", CONFIG_AUTH_REQUIRED, IDENTITY_FAIL, IDENTITY_PASS,
                IDENTITY_PASS },
        { "tests/data/tls/expired.pem", CONFIG_AUTH_NONE, IDENTITY_PASS, IDENTITY_FAIL,
                IDENTITY_PASS },
        { "tests/data/tls/README.md", CONFIG_AUTH_NONE, IDENTITY_ERROR, IDENTITY_ERROR,
                IDENTITY_ERROR },
        { "tests/data/tls/nowhere.pem", CONFIG_AUTH_NONE, IDENTITY_ERROR, IDENTITY_ERROR,
                IDENTITY_ERROR },
    };
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        struct rig rig;
        struct str path = str_from_c(cases[i].file);
        struct config_listen listen = { .name = STR("mx"),
            .tls = CONFIG_TLS_STARTTLS,
            .auth = cases[i].auth,
            .cert_path = &path,
            .cert_count = 1 };
        struct config config = { .hostname = STR("mx.lab.example"),
            .ca_file = STR("tests/data/tls/ca.pem"),
            .listen = &listen,
            .listen_count = 1 };
        rig_open(&rig, "");
        rig.plan.config = &config;
        struct identity_run *run = run_edited(&rig, "");
        expect(run, "cert.name", "mx", cases[i].name, cases[i].file);
        expect(run, "cert.age", "mx", cases[i].age, cases[i].file);
        expect(run, "cert.chain", "mx", cases[i].chain, cases[i].file);
        identity_run_free(run, true);
        config.ca_file =
                STR("tests/data/tls/other.pem"); /* an authority that signed none of them */
        run = run_edited(&rig, "");
        enum identity_status untrusted = cases[i].chain == IDENTITY_ERROR    ? IDENTITY_ERROR
                                         : cases[i].auth == CONFIG_AUTH_NONE ? IDENTITY_WARN
                                                                             : IDENTITY_FAIL;
        expect(run, "cert.chain", "mx", untrusted, cases[i].file);
        identity_run_free(run, true);
        rig_close(&rig);
    }
}

/* ---- time ---- */

struct fake_clock {
    struct clock base;
    int64_t now_ms;
};

static struct mono fake_mono(struct clock *clock)
{
    return (struct mono){ CONTAINER_OF(clock, struct fake_clock, base)->now_ms };
}

static struct wall fake_wall(struct clock *clock)
{
    (void)clock;
    return (struct wall){ 1795000000000 };
}

/* A run over a resolver that answers only when it is polled. */
static struct identity_run *begin_slow(
        const struct rig *rig, struct fake_clock *clock, struct dns **ret_dns)
{
    char path[] = "/tmp/outpost-check-XXXXXX";
    int fd = mkstemp(path);
    CHECK(fd >= 0 && write(fd, good, sizeof good - 1) == (ssize_t)sizeof good - 1);
    close(fd);
    REQUIRE_OK(dns_open_zone(path, ret_dns, NULL));
    unlink(path);
    *clock = (struct fake_clock){ .base = { fake_mono, fake_wall }, .now_ms = 1000 };
    struct identity_run_options options = { .checks = IDENTITY_CHECK_DOMAINS,
        .clock = &clock->base,
        .dns = *ret_dns,
        .question_ms_max = 5000,
        .run_ms_max = 12000 };
    struct identity_run *run;
    REQUIRE_OK(identity_run_begin(&rig->plan, &options, &run, NULL));
    return run;
}

TEST(a_run_ends_in_its_time_and_what_was_not_answered_could_not_be_told)
{
    struct rig rig;
    struct fake_clock clock;
    struct dns *dns;
    rig_open(&rig, "");
    struct identity_run *run = begin_slow(&rig, &clock, &dns);
    for (struct mono next; (next = identity_run_tick(run)).ms != 0;) {
        CHECK(next.ms > clock.now_ms, "next %lld at %lld", (long long)next.ms,
                (long long)clock.now_ms);
        clock.now_ms = next.ms;
        CHECK(clock.now_ms <= 13000);
    }
    CHECK(identity_run_is_done(run));
    for (uint32_t i = 0; i < identity_run_count(run); i++) {
        enum identity_status status = identity_run_result(run, i)->status;
        CHECK(status == IDENTITY_ERROR || status == IDENTITY_SKIP, "%.*s is %s",
                STR_ARG(identity_run_result(run, i)->id), identity_status_name(status));
    }
    dns_zone_poll(dns); /* answers that come too late change nothing */
    identity_run_free(run, false);
    dns->ops->close(dns);
    rig_close(&rig);
}

TEST(a_run_that_is_given_up_is_freed_with_its_last_answer)
{
    struct rig rig;
    struct fake_clock clock;
    struct dns *dns;
    rig_open(&rig, "");
    struct identity_run *run = begin_slow(&rig, &clock, &dns);
    CHECK(identity_run_tick(run).ms > 0);
    identity_run_free(run, false);
    dns_zone_poll(dns);
    dns->ops->close(dns);
    rig_close(&rig);
}

TEST(a_key_that_does_not_sign_yet_needs_no_record)
{
    struct rig rig;
    struct config_dkim_key keys[2];
    rig_open(&rig, "");
    keys[0] = rig.key;
    keys[1] = rig.key;
    keys[1].selector = STR("k2");
    keys[1].is_inactive = true;
    rig.domain.key = keys;
    rig.domain.key_count = 2;
    struct identity_run *run = run_zone(&rig, str_from_c(good), STR(""));
    expect(run, "dkim.record", "k1", IDENTITY_PASS, "k1");
    expect(run, "dkim.record", "k2", IDENTITY_SKIP, "k2");
    expect(run, "dmarc.align_dkim", "", IDENTITY_PASS, "k1");
    identity_run_free(run, true);
    keys[0].is_inactive = true;
    run = run_zone(&rig, str_from_c(good), STR(""));
    expect(run, "dkim.keys", "", IDENTITY_FAIL, "no key signs");
    expect(run, "dmarc.align_dkim", "", IDENTITY_FAIL, "no key signs");
    identity_run_free(run, true);
    rig_close(&rig);
}
