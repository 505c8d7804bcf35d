/* SPDX-License-Identifier: Apache-2.0
 *
 * check_test.c - liboutpost-check through its own header: what passes, fails and cannot be told;
 * foreign poll loops, threads, time limits, bad input, lack of memory.
 */
#include "check/outpost-check.h"
#include "core/str.h"
#include "edge/clock.h"
#include "tests/test.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

#define ZONE "tests/data/check/domains.zone"
#define ED25519 "QVmjqn/6KjbLNA/8MN6PuoB8JjbFcjKxg57W+4FnHcA="

static struct outpost_check_result *check_with(
        const char *domain, const char *ip, struct outpost_check_options options)
{
    struct outpost_check_result *result = NULL;
    char why[200] = "";
    options.why = why;
    options.why_size = sizeof why;
    if (options.zone_file == NULL && options.servers == NULL) {
        options.zone_file = ZONE;
    }
    int error = outpost_check(domain, ip, &options, &result);
    CHECK(error == OUTPOST_CHECK_SUCCESS, "%s: %d %s", domain, error, why);
    CHECK(result != NULL);
    return result;
}

static struct outpost_check_result *check(const char *domain, const char *ip)
{
    return check_with(domain, ip, (struct outpost_check_options){ 0 });
}

static void expect_text(const char *got, const char *expected, int line)
{
    test_check_str(str_from_c(got), str_from_c(expected), "text", __FILE__, line);
}
#define EXPECT(got, expected) expect_text(got, expected, __LINE__)
#define EXPECT_STATUS(part, expected)                                                              \
    CHECK((part).status == (expected), "%s: %s, expected %s (%s)", #part,                          \
            outpost_check_status_name((part).status), outpost_check_status_name(expected),         \
            (part).error)
#define EXPECT_IN(text, piece)                                                                     \
    CHECK(strstr(text, piece) != NULL, "\"%s\" lacks \"%s\"", text, piece)

static char *read_file(const char *path, char *dst, size_t cap)
{
    FILE *file = fopen(path, "re");
    CHECK(file != NULL, "%s", path);
    dst[fread(dst, 1, cap - 1, file)] = '\0';
    (void)fclose(file);
    return dst;
}

/* ---- what is said ---- */

TEST(a_domain_in_order_passes_in_every_part)
{
    struct outpost_check_result *result = check("Good.Example.", "192.0.2.1");
    EXPECT(result->domain, "good.example");
    EXPECT(result->ip, "192.0.2.1");
    EXPECT_STATUS(result->ptr, OUTPOST_CHECK_OK);
    EXPECT(result->ptr.value, "mail.good.example");
    CHECK(result->ptr.present && result->ptr.valid && result->ptr.count == 1);
    EXPECT_STATUS(result->spf, OUTPOST_CHECK_OK);
    CHECK(result->spf.present && result->spf.valid);
    CHECK(result->spf.result == OUTPOST_CHECK_SPF_PASS);
    EXPECT(result->spf.result_name, "pass");
    EXPECT(result->spf.mechanism, "ip4:192.0.2.1");
    EXPECT(result->spf.record,
            "v=spf1 ip4:192.0.2.1 ip6:2001:db8::1 include:_spf.good.example -all");
    EXPECT(result->spf.domain, "good.example");
    EXPECT_STATUS(result->default_dkim, OUTPOST_CHECK_OK);
    CHECK(result->default_dkim.present && result->default_dkim.valid);
    CHECK(result->default_dkim.key_bits == 2048 && result->default_dkim.matches == -1);
    EXPECT(result->default_dkim.name, "default._domainkey.good.example");
    EXPECT_STATUS(result->dmarc, OUTPOST_CHECK_OK);
    CHECK(result->dmarc.present && result->dmarc.valid && result->dmarc.spf_aligned == 1);
    EXPECT(result->dmarc.policy, "reject");
    EXPECT(result->dmarc.subdomain_policy, "quarantine");
    EXPECT(result->dmarc.rua, "mailto:d@good.example,mailto:e@good.example");
    EXPECT(result->dmarc.ruf, "mailto:f@good.example");
    CHECK(result->dmarc.spf_strict == 1 && result->dmarc.dkim_strict == 0);
    CHECK(result->dmarc.percent == 100 && result->dkim_count == 0);
    outpost_check_free(result);
}

TEST(an_ipv6_address_is_looked_up_backwards_by_its_nibbles)
{
    struct outpost_check_result *result = check("good.example", "2001:DB8:0::1");
    EXPECT(result->ip, "2001:db8::1");
    EXPECT_STATUS(result->ptr, OUTPOST_CHECK_OK);
    CHECK(result->spf.result == OUTPOST_CHECK_SPF_PASS);
    outpost_check_free(result);
}

TEST(what_is_not_there_is_absent)
{
    struct outpost_check_result *result = check("bare.example", "192.0.2.77");
    EXPECT_STATUS(result->ptr, OUTPOST_CHECK_ABSENT);
    EXPECT_STATUS(result->spf, OUTPOST_CHECK_ABSENT);
    EXPECT(result->spf.result_name, "none");
    EXPECT_STATUS(result->default_dkim, OUTPOST_CHECK_ABSENT);
    EXPECT_STATUS(result->dmarc, OUTPOST_CHECK_ABSENT);
    CHECK(!result->ptr.present && !result->spf.present && !result->default_dkim.present);
    CHECK(!result->dmarc.present && result->dmarc.spf_aligned == 0);
    EXPECT(result->ptr.error, "no PTR record at 77.2.0.192.in-addr.arpa");
    EXPECT_IN(result->spf.error, "no SPF record");
    EXPECT_IN(result->dmarc.error, "no DMARC record");
    outpost_check_free(result);
}

TEST(what_is_broken_is_invalid_and_the_text_says_how)
{
    struct outpost_check_result *result = check("bad.example", "192.0.2.3");
    EXPECT_STATUS(result->ptr, OUTPOST_CHECK_INVALID);
    EXPECT(result->ptr.error, "liar.bad.example does not resolve back to 192.0.2.3");
    CHECK(result->ptr.present && !result->ptr.valid);
    EXPECT_STATUS(result->spf, OUTPOST_CHECK_INVALID);
    CHECK(result->spf.present && !result->spf.valid);
    CHECK(result->spf.result == OUTPOST_CHECK_SPF_PERMERROR);
    EXPECT_IN(result->spf.error, "192.0.2.300");
    EXPECT_STATUS(result->dmarc, OUTPOST_CHECK_INVALID);
    CHECK(result->dmarc.present && !result->dmarc.valid && result->dmarc.error[0] != '\0');
    outpost_check_free(result);
}

TEST(two_records_where_one_may_be_are_invalid)
{
    struct outpost_check_result *result = check("twice.example", "192.0.2.1");
    EXPECT_STATUS(result->spf, OUTPOST_CHECK_INVALID);
    EXPECT_IN(result->spf.error, "2 SPF records");
    EXPECT_STATUS(result->dmarc, OUTPOST_CHECK_INVALID);
    EXPECT_IN(result->dmarc.error, "several DMARC records");
    CHECK(result->spf.present && result->dmarc.present);
    outpost_check_free(result);
}

TEST(of_several_names_the_one_that_leads_back_is_told)
{
    struct outpost_check_result *result = check("bad.example", "192.0.2.4");
    EXPECT_STATUS(result->ptr, OUTPOST_CHECK_OK);
    EXPECT(result->ptr.value, "honest.bad.example");
    CHECK(result->ptr.count == 2);
    outpost_check_free(result);
}

TEST(dns_that_fails_is_unknown_and_never_absent)
{
    struct outpost_check_result *result = check("sick.example", "192.0.2.5");
    EXPECT_STATUS(result->ptr, OUTPOST_CHECK_UNKNOWN);
    EXPECT_STATUS(result->spf, OUTPOST_CHECK_UNKNOWN);
    CHECK(result->spf.result == OUTPOST_CHECK_SPF_TEMPERROR);
    EXPECT_STATUS(result->default_dkim, OUTPOST_CHECK_UNKNOWN);
    EXPECT_STATUS(result->dmarc, OUTPOST_CHECK_UNKNOWN);
    CHECK(result->dmarc.spf_aligned == -1);
    CHECK(!result->ptr.present && !result->spf.present && !result->dmarc.present);
    outpost_check_free(result);
    result = check("half.example", "192.0.2.6");
    EXPECT_STATUS(result->ptr, OUTPOST_CHECK_UNKNOWN);
    EXPECT(result->ptr.value, "stalls.example");
    EXPECT_STATUS(result->spf, OUTPOST_CHECK_UNKNOWN);
    CHECK(result->spf.present && !result->spf.valid);
    EXPECT_STATUS(result->dmarc, OUTPOST_CHECK_OK);
    outpost_check_free(result);
}

TEST(an_evaluation_that_cannot_end_is_invalid_though_the_record_alone_reads_well)
{
    struct outpost_check_result *result = check("loop.example", "192.0.2.1");
    EXPECT_STATUS(result->spf, OUTPOST_CHECK_INVALID);
    CHECK(result->spf.result == OUTPOST_CHECK_SPF_PERMERROR && result->spf.error[0] != '\0');
    outpost_check_free(result);
    result = check("loop.example", NULL);
    EXPECT_STATUS(result->spf, OUTPOST_CHECK_OK);
    CHECK(result->spf.lookups == 1);
    outpost_check_free(result);
}

TEST(without_an_address_ptr_and_the_result_of_spf_are_left_out)
{
    struct outpost_check_result *result = check("good.example", NULL);
    EXPECT_STATUS(result->ptr, OUTPOST_CHECK_NOT_ASKED);
    EXPECT(result->ip, "");
    EXPECT(result->ptr.value, "");
    EXPECT_STATUS(result->spf, OUTPOST_CHECK_OK);
    EXPECT(result->spf.result_name, "");
    CHECK(result->dmarc.spf_aligned == -1);
    outpost_check_free(result);
}

TEST(a_record_above_serves_a_subdomain_by_its_sp)
{
    struct outpost_check_result *result = check("news.good.example", "192.0.2.1");
    EXPECT_STATUS(result->dmarc, OUTPOST_CHECK_OK);
    EXPECT(result->dmarc.domain, "good.example");
    EXPECT(result->dmarc.policy, "quarantine");
    CHECK(result->spf.result == OUTPOST_CHECK_SPF_PASS && result->dmarc.spf_aligned == 1);
    outpost_check_free(result);
}

TEST(spf_is_asked_of_the_sender_and_counts_for_dmarc_only_where_it_is_aligned)
{
    struct outpost_check_result *result = check_with("bare.example", "192.0.2.1",
            (struct outpost_check_options){ .mail_from = "<bounce@good.example>" });
    EXPECT(result->spf.domain, "good.example");
    CHECK(result->spf.result == OUTPOST_CHECK_SPF_PASS && result->dmarc.spf_aligned != 1);
    outpost_check_free(result);
    result = check_with("good.example", "192.0.2.1",
            (struct outpost_check_options){ .mail_from = "x@news.good.example" });
    CHECK(result->spf.result == OUTPOST_CHECK_SPF_PASS);
    CHECK(result->dmarc.spf_aligned == 0, "aspf=s");
    outpost_check_free(result);
    result = check_with("bare.example", "192.0.2.1",
            (struct outpost_check_options){ .mail_from = "", .helo = "good.example" });
    EXPECT(result->spf.domain, "good.example");
    CHECK(result->spf.result == OUTPOST_CHECK_SPF_PASS);
    outpost_check_free(result);
}

TEST(text_of_a_hostile_zone_is_escaped)
{
    struct outpost_check_result *result = check("evil.example", "192.0.2.1");
    EXPECT_IN(result->spf.record, "\\x1b[31m");
    CHECK(strchr(result->spf.record, '\x1b') == NULL && strchr(result->spf.error, '\x1b') == NULL);
    outpost_check_free(result);
}

/* ---- DKIM ---- */

TEST(every_selector_is_told_in_the_order_asked)
{
    static const struct {
        struct outpost_check_selector asked;
        enum outpost_check_status status;
        unsigned key_bits;
        const char *error;
    } row[] = {
        { { "s1024", NULL }, OUTPOST_CHECK_OK, 1024, "" },
        { { "s768", NULL }, OUTPOST_CHECK_INVALID, 768, "under 1024" },
        { { "ed", ED25519 }, OUTPOST_CHECK_OK, 256, "" },
        { { "revoked", ED25519 }, OUTPOST_CHECK_INVALID, 0, "revoked" },
        { { "garbled", NULL }, OUTPOST_CHECK_INVALID, 0, "does not decode" },
        { { "sha1", NULL }, OUTPOST_CHECK_INVALID, 1024, "SHA-256" },
        { { "odd", NULL }, OUTPOST_CHECK_INVALID, 0, "neither rsa nor ed25519" },
        { { "two", NULL }, OUTPOST_CHECK_INVALID, 0, "2 records" },
        { { "none", NULL }, OUTPOST_CHECK_ABSENT, 0, "no TXT record" },
        { { "slow", NULL }, OUTPOST_CHECK_UNKNOWN, 0, "no answer" },
        { { "sick", NULL }, OUTPOST_CHECK_UNKNOWN, 0, "no answer" },
    };
    struct outpost_check_selector asked[COUNT_OF(row)];
    for (size_t i = 0; i < COUNT_OF(row); i++) {
        asked[i] = row[i].asked;
    }
    struct outpost_check_result *result = check_with("good.example", NULL,
            (struct outpost_check_options){
                    .selectors = asked, .selector_count = (unsigned)COUNT_OF(asked) });
    CHECK_U64(result->dkim_count, COUNT_OF(row));
    for (size_t i = 0; i < COUNT_OF(row); i++) {
        const struct outpost_check_dkim *dkim = &result->dkim[i];
        EXPECT(dkim->selector, row[i].asked.selector);
        CHECK(dkim->status == row[i].status, "%s: %s %s", dkim->selector,
                outpost_check_status_name(dkim->status), dkim->error);
        if (i != 7) { /* of two records any may be the first */
            CHECK_U64(dkim->key_bits, row[i].key_bits);
        }
        EXPECT_IN(dkim->error, row[i].error);
        CHECK(dkim->valid == (dkim->status == OUTPOST_CHECK_OK));
    }
    CHECK(result->dkim[0].testing == 1 && result->dkim[2].testing == 0);
    CHECK(result->dkim[2].matches == 1 && result->dkim[3].matches == 0);
    EXPECT(result->dkim[2].key_type, "ed25519");
    outpost_check_free(result);
}

TEST(a_public_key_is_compared_in_whatever_form_it_is_given)
{
    char rsa[2048], ed25519[512];
    (void)read_file("tests/data/check/default.pub", rsa, sizeof rsa);
    (void)read_file("tests/data/check/ed25519.pub", ed25519, sizeof ed25519);
    struct outpost_check_result *result = check("good.example", NULL);
    const struct outpost_check_dkim *dkim = NULL;
    CHECK(outpost_check_dkim(result, "default", rsa, &dkim) == OUTPOST_CHECK_SUCCESS);
    CHECK(dkim->matches == 1 && dkim->status == OUTPOST_CHECK_OK);
    CHECK(outpost_check_dkim(result, "default", ED25519, &dkim) == OUTPOST_CHECK_SUCCESS);
    CHECK(dkim->matches == 0 && dkim->status == OUTPOST_CHECK_OK);
    CHECK(outpost_check_dkim(result, "ed", ed25519, &dkim) == OUTPOST_CHECK_SUCCESS);
    CHECK(dkim->matches == 1);
    CHECK(outpost_check_dkim(result, "ed", "not a key", &dkim) == OUTPOST_CHECK_E_KEY);
    outpost_check_free(result);
}

TEST(one_more_selector_is_asked_once_and_then_known)
{
    struct outpost_check_result *result = check("good.example", NULL);
    const struct outpost_check_dkim *first = NULL, *again = NULL;
    CHECK(outpost_check_dkim(result, "s1024", NULL, &first) == OUTPOST_CHECK_SUCCESS);
    CHECK(first->key_bits == 1024 && first->status == OUTPOST_CHECK_OK);
    CHECK(outpost_check_dkim(result, "S1024", NULL, &again) == OUTPOST_CHECK_SUCCESS);
    CHECK(first == again);
    CHECK(outpost_check_dkim(result, "default", NULL, &again) == OUTPOST_CHECK_SUCCESS);
    CHECK(again == &result->default_dkim);
    CHECK(outpost_check_dkim(result, "a b", NULL, &again) == OUTPOST_CHECK_E_SELECTOR);
    CHECK(outpost_check_dkim(result, NULL, NULL, &again) == OUTPOST_CHECK_E_ARGUMENT);
    CHECK(outpost_check_dkim(NULL, "a", NULL, &again) == OUTPOST_CHECK_E_ARGUMENT);
    outpost_check_free(result);
}

/* ---- bad input ---- */

static void refuses(const char *domain, const char *ip, struct outpost_check_options options,
        int expected, const char *piece)
{
    struct outpost_check_result *untouched = (void *)&options, *result = untouched;
    char why[200] = "";
    options.why = why;
    options.why_size = sizeof why;
    int error = outpost_check(domain, ip, &options, &result);
    CHECK(error == expected, "%s: %d (%s), expected %d", domain ? domain : "NULL", error, why,
            expected);
    EXPECT_IN(why, piece);
    CHECK(result == untouched);
}

TEST(bad_input_is_refused_with_its_own_code_and_a_sentence)
{
    char long_name[301], long_sender[1200];
    struct outpost_check_options none = { .zone_file = ZONE }, bad = none;
    struct outpost_check_selector selector = { "a/b", NULL };
    memset(long_name, 'a', sizeof long_name);
    long_name[300] = '\0';
    memset(long_sender, 'a', sizeof long_sender);
    long_sender[sizeof long_sender - 1] = '\0';
    refuses(NULL, "192.0.2.1", none, OUTPOST_CHECK_E_ARGUMENT, "NULL");
    refuses("", "192.0.2.1", none, OUTPOST_CHECK_E_DOMAIN, "domain name");
    refuses("a..b", "192.0.2.1", none, OUTPOST_CHECK_E_DOMAIN, "a..b");
    refuses("a b.example\x1b", "192.0.2.1", none, OUTPOST_CHECK_E_DOMAIN, "\\x1b");
    refuses(long_name, "192.0.2.1", none, OUTPOST_CHECK_E_DOMAIN, "253");
    refuses("good.example", "", none, OUTPOST_CHECK_E_IP, "IPv4");
    refuses("good.example", "192.0.2.256", none, OUTPOST_CHECK_E_IP, "IPv4");
    refuses("good.example", "fe80::1%eth0", none, OUTPOST_CHECK_E_IP, "IPv4");
    bad.mail_from = long_sender;
    refuses("good.example", NULL, bad, OUTPOST_CHECK_E_SENDER, "longer than");
    bad.mail_from = "user@";
    refuses("good.example", NULL, bad, OUTPOST_CHECK_E_SENDER, "mail_from");
    bad.mail_from = "";
    bad.helo = "[192.0.2.1]";
    refuses("good.example", NULL, bad, OUTPOST_CHECK_E_SENDER, "helo");
    bad = none;
    bad.selector_count = 1;
    refuses("good.example", NULL, bad, OUTPOST_CHECK_E_ARGUMENT, "selectors");
    bad.selectors = &selector;
    refuses("good.example", NULL, bad, OUTPOST_CHECK_E_SELECTOR, "selector");
    bad.selector_count = 4000000000U;
    refuses("good.example", NULL, bad, OUTPOST_CHECK_E_SELECTOR, "64");
    selector = (struct outpost_check_selector){ "a", "-----BEGIN PUBLIC KEY-----" };
    bad.selector_count = 1;
    refuses("good.example", NULL, bad, OUTPOST_CHECK_E_KEY, "\"a\"");
    bad = none;
    bad.time_limit_ms = OUTPOST_CHECK_TIME_LIMIT_MS_MAX + 1;
    refuses("good.example", NULL, bad, OUTPOST_CHECK_E_LIMIT, "600000");
    bad = (struct outpost_check_options){ .zone_file = "/nowhere/x.zone" };
    refuses("good.example", NULL, bad, OUTPOST_CHECK_E_ZONE, "/nowhere/x.zone");
    bad.servers = "192.0.2.53";
    refuses("good.example", NULL, bad, OUTPOST_CHECK_E_ARGUMENT, "exclude");
    bad = (struct outpost_check_options){ .servers = "dns.example" };
    refuses("good.example", NULL, bad, OUTPOST_CHECK_E_RESOLVER, "dns.example");
}

TEST(names_may_be_international_and_as_long_as_dns_has_them)
{
    struct outpost_check_result *result = check("B\xc3\xbc\x63her.example", "192.0.2.1");
    EXPECT(result->domain, "xn--bcher-kva.example");
    outpost_check_free(result);
    char name[254], selector[251];
    memset(name, 'a', sizeof name);
    memset(selector, 'b', sizeof selector);
    for (size_t i = 63; i < sizeof name - 1; i += 64) {
        name[i] = '.';
    }
    for (size_t i = 62; i < sizeof selector - 1; i += 63) {
        selector[i] = '.';
    }
    name[253] = selector[250] = '\0';
    struct outpost_check_selector asked = { selector, NULL };
    result = check_with(name, "192.0.2.1",
            (struct outpost_check_options){ .selectors = &asked, .selector_count = 1 });
    EXPECT(result->domain, name);
    EXPECT_STATUS(result->spf, OUTPOST_CHECK_ABSENT);
    EXPECT_STATUS(result->default_dkim, OUTPOST_CHECK_ABSENT);
    EXPECT_STATUS(result->dkim[0], OUTPOST_CHECK_ABSENT);
    EXPECT_STATUS(result->dmarc, OUTPOST_CHECK_ABSENT);
    outpost_check_free(result);
}

TEST(null_where_it_makes_no_sense_does_no_harm)
{
    struct outpost_check_run *run = NULL;
    struct outpost_check_options options = { .zone_file = ZONE };
    CHECK(outpost_check("good.example", NULL, &options, NULL) == OUTPOST_CHECK_E_ARGUMENT);
    CHECK(outpost_check_start("good.example", NULL, &options, NULL) == OUTPOST_CHECK_E_ARGUMENT);
    CHECK(outpost_check_start(NULL, NULL, NULL, &run) == OUTPOST_CHECK_E_ARGUMENT && run == NULL);
    CHECK(outpost_check_fd(NULL) == -1 && outpost_check_timeout_ms(NULL) == 0);
    CHECK(outpost_check_done(NULL) == 0);
    CHECK(outpost_check_process(NULL) == OUTPOST_CHECK_E_ARGUMENT);
    CHECK(outpost_check_finish(NULL, NULL) == OUTPOST_CHECK_E_ARGUMENT);
    outpost_check_cancel(NULL);
    outpost_check_free(NULL);
    EXPECT(outpost_check_error_text(-1), "not an error of this library");
    EXPECT(outpost_check_error_text(1000), "not an error of this library");
    for (int i = 0; i <= OUTPOST_CHECK_E_SYSTEM; i++) {
        CHECK(outpost_check_error_text(i)[0] != '\0');
    }
    EXPECT(outpost_check_status_name((enum outpost_check_status)77), "");
}

static bool is_all_good(const struct outpost_check_result *result)
{
    return result->ptr.status == OUTPOST_CHECK_OK && result->spf.status == OUTPOST_CHECK_OK &&
           result->default_dkim.status == OUTPOST_CHECK_OK && result->dkim[0].matches == 1 &&
           result->dmarc.status == OUTPOST_CHECK_OK && result->dmarc.spf_aligned == 1;
}

TEST(lack_of_memory_is_said_at_whatever_step_it_comes_or_leaves_a_part_unknown)
{
    struct outpost_check_selector selector[] = { { "ed", ED25519 } };
    struct outpost_check_options options = {
        .zone_file = ZONE, .selectors = selector, .selector_count = 1
    };
    int good_in_a_row = 0;
    for (uint64_t n = 1; good_in_a_row < 50; n++) {
        struct outpost_check_result *result = NULL;
        CHECK(n < 5000);
        mem_fail_at(n);
        int error = outpost_check("good.example", "192.0.2.1", &options, &result);
        mem_fail_at(0);
        CHECK(error == OUTPOST_CHECK_SUCCESS || error == OUTPOST_CHECK_E_MEMORY, "%d at %d", error,
                (int)n);
        CHECK((result != NULL) == (error == OUTPOST_CHECK_SUCCESS));
        if (result == NULL) {
            good_in_a_row = 0;
            continue;
        }
        CHECK(result->ptr.status != OUTPOST_CHECK_ABSENT &&
                result->spf.status != OUTPOST_CHECK_ABSENT);
        CHECK(result->default_dkim.status == OUTPOST_CHECK_OK ||
                result->default_dkim.status == OUTPOST_CHECK_UNKNOWN);
        CHECK(result->dmarc.status == OUTPOST_CHECK_OK ||
                result->dmarc.status == OUTPOST_CHECK_UNKNOWN);
        good_in_a_row = is_all_good(result) ? good_in_a_row + 1 : 0;
        outpost_check_free(result);
    }
}

/* ---- loops, threads, time ---- */

/* A resolver that takes questions and never answers. */
struct silent {
    int fd;
    char at[32];
};
static void silent_open(struct silent *silent)
{
    struct sockaddr_in in = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    socklen_t len = sizeof in;
    silent->fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    CHECK(silent->fd >= 0 && bind(silent->fd, (struct sockaddr *)&in, sizeof in) == 0);
    CHECK(getsockname(silent->fd, (struct sockaddr *)&in, &len) == 0);
    fmt(silent->at, sizeof silent->at, "127.0.0.1:%u", (unsigned)ntohs(in.sin_port));
}

TEST(a_resolver_that_never_answers_ends_at_the_time_limit_as_unknown)
{
    struct silent silent;
    silent_open(&silent);
    int64_t begin_ms = clock_mono(clock_real()).ms;
    struct outpost_check_result *result = check_with("good.example", "192.0.2.1",
            (struct outpost_check_options){ .servers = silent.at, .time_limit_ms = 300 });
    int64_t ms = clock_mono(clock_real()).ms - begin_ms;
    EXPECT_STATUS(result->ptr, OUTPOST_CHECK_UNKNOWN);
    EXPECT_STATUS(result->spf, OUTPOST_CHECK_UNKNOWN);
    EXPECT_STATUS(result->default_dkim, OUTPOST_CHECK_UNKNOWN);
    EXPECT_STATUS(result->dmarc, OUTPOST_CHECK_UNKNOWN);
    CHECK(ms >= 300 && ms < 5000, "%d ms", (int)ms);
    outpost_check_free(result);
    close(silent.fd);
}

TEST(a_run_can_be_cancelled_while_questions_are_open)
{
    struct silent silent;
    struct outpost_check_run *run = NULL;
    struct outpost_check_result *result = NULL;
    silent_open(&silent);
    struct outpost_check_options options = { .servers = silent.at };
    CHECK(outpost_check_start("good.example", "192.0.2.1", &options, &run) ==
            OUTPOST_CHECK_SUCCESS);
    CHECK(outpost_check_done(run) == 0);
    CHECK(outpost_check_finish(run, &result) == OUTPOST_CHECK_E_PENDING);
    CHECK(outpost_check_process(run) == OUTPOST_CHECK_SUCCESS);
    outpost_check_cancel(run);
    close(silent.fd);
}

TEST(many_runs_share_one_poll_loop_of_the_caller)
{
    static const char *const domain[] = { "good.example", "bad.example", "sick.example" };
    struct outpost_check_run *run[COUNT_OF(domain)];
    struct pollfd at[COUNT_OF(domain)];
    size_t open_count = COUNT_OF(domain);
    struct silent silent;
    silent_open(&silent);
    struct outpost_check_options zone = { .zone_file = ZONE };
    struct outpost_check_options net = { .servers = silent.at, .time_limit_ms = 200 };
    for (size_t i = 0; i < COUNT_OF(domain); i++) {
        CHECK(outpost_check_start(domain[i], "192.0.2.1", i == 1 ? &net : &zone, &run[i]) ==
                OUTPOST_CHECK_SUCCESS);
        at[i] = (struct pollfd){ outpost_check_fd(run[i]), POLLIN, 0 };
        CHECK(at[i].fd >= 0);
    }
    while (open_count > 0) {
        int wait_ms = 1000;
        open_count = 0;
        for (size_t i = 0; i < COUNT_OF(domain); i++) {
            CHECK(outpost_check_fd(run[i]) == at[i].fd);
            if (!outpost_check_done(run[i])) {
                int own_ms = outpost_check_timeout_ms(run[i]);
                CHECK(own_ms >= 0 && own_ms <= 1000);
                wait_ms = own_ms < wait_ms ? own_ms : wait_ms;
                open_count++;
            }
        }
        (void)poll(at, COUNT_OF(at), open_count > 0 ? wait_ms : 0);
        for (size_t i = 0; i < COUNT_OF(domain); i++) {
            (void)outpost_check_process(run[i]);
        }
    }
    for (size_t i = 0; i < COUNT_OF(domain); i++) {
        struct outpost_check_result *result = NULL;
        CHECK(outpost_check_finish(run[i], &result) == OUTPOST_CHECK_SUCCESS);
        EXPECT(result->domain, domain[i]);
        CHECK(result->spf.status == (i == 0 ? OUTPOST_CHECK_OK : OUTPOST_CHECK_UNKNOWN));
        outpost_check_free(result);
    }
    close(silent.fd);
}

static void *check_often(void *ctx)
{
    const char *servers = ctx;
    uintptr_t good_count = 0;
    for (int i = 0; i < 8; i++) {
        struct outpost_check_options zone = { .zone_file = ZONE },
                                     net = { .servers = servers, .time_limit_ms = 20 };
        struct outpost_check_result *result = NULL;
        bool is_net = i % 4 == 3;
        int error = outpost_check("good.example", "192.0.2.1", is_net ? &net : &zone, &result);
        if (error == OUTPOST_CHECK_SUCCESS) {
            good_count +=
                    result->dmarc.status == (is_net ? OUTPOST_CHECK_UNKNOWN : OUTPOST_CHECK_OK);
            outpost_check_free(result);
        }
    }
    return (void *)good_count;
}

static size_t open_descriptors(void)
{
    size_t count = 0;
    for (int fd = 0; fd < 1024; fd++) {
        count += fcntl(fd, F_GETFD) >= 0;
    }
    return count;
}

TEST(the_process_is_left_as_it_was)
{
    struct silent silent;
    struct sigaction before[32], after;
    silent_open(&silent);
    struct outpost_check_options options = { .servers = silent.at, .time_limit_ms = 20 };
    for (int i = 1; i < 32; i++) {
        CHECK(sigaction(i, NULL, &before[i]) == 0);
    }
    outpost_check_free(check_with("good.example", "192.0.2.1", options)); /* what is made once */
    size_t count = open_descriptors();
    outpost_check_free(check_with("good.example", "192.0.2.1", options));
    outpost_check_free(check("good.example", "192.0.2.1"));
    for (int i = 1; i < 32; i++) {
        CHECK(sigaction(i, NULL, &after) == 0 && after.sa_handler == before[i].sa_handler);
    }
    CHECK_U64(open_descriptors(), count);
    close(silent.fd);
}

TEST(several_threads_check_at_one_time)
{
    pthread_t thread[8];
    struct silent silent;
    silent_open(&silent);
    for (size_t i = 0; i < COUNT_OF(thread); i++) {
        CHECK(pthread_create(&thread[i], NULL, check_often, silent.at) == 0);
    }
    for (size_t i = 0; i < COUNT_OF(thread); i++) {
        void *good_count = NULL;
        CHECK(pthread_join(thread[i], &good_count) == 0);
        CHECK_U64((uintptr_t)good_count, 8);
    }
    close(silent.fd);
}
