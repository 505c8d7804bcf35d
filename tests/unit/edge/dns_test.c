/* SPDX-License-Identifier: Apache-2.0
 *
 * dns_test.c - answers of the zone reader, and of libunbound asking a name server of ours.
 */
#include "edge/dns.h"

#include "core/str.h"
#include "edge/clock.h"
#include "edge/dns_priv.h"
#include "edge/net.h"
#include "tests/test.h"

#include <netinet/in.h>
#include <pthread.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

/* ---- what an answer was, as text: "found 60 10:mx 20:backup" ---- */

struct seen {
    char text[2048];
    uint32_t count;
    struct net *net; /* stopped by the answer */
    bool is_cut;
};

static const char *const status_names[] = { "found", "nodata", "nxdomain", "servfail", "timeout",
    "bogus" };

static void describe(const struct dns_answer *answer, struct seen *seen)
{
    size_t len = fmt(seen->text, sizeof seen->text, "%s", status_names[answer->status]);
    for (uint32_t i = 0; i < answer->record_count && i < 8; i++) {
        const struct dns_record *record = &answer->record[i];
        char ip[IP_TEXT_CAP];
        struct str data = record->data;
        if (record->type == DNS_A || record->type == DNS_AAAA) {
            data = ip_format(record->ip, ip);
        }
        len += fmt(seen->text + len, sizeof seen->text - len, " %u:%.*s", record->preference,
                STR_ARG(data));
    }
}

static void answered(void *ctx, const struct dns_answer *answer)
{
    struct seen *seen = ctx;
    CHECK(answer->why != NULL);
    describe(answer, seen);
    seen->is_cut = answer->is_cut;
    seen->count++;
    if (seen->net != NULL) {
        net_stop_real(seen->net);
    }
}

/* ---- the zone reader ---- */

TEST(a_zone_file_answers)
{
    static const struct {
        const char *name;
        enum dns_type type;
        const char *expected;
    } rows[] = {
        { "lab.example", DNS_MX, "found 20:backup.lab.example 10:mx.lab.example" },
        { "LAB.example.", DNS_MX, "found 20:backup.lab.example 10:mx.lab.example" },
        { "lab.example", DNS_SOA, "found 0:ns.lab.example" },
        { "mx.lab.example", DNS_A, "found 0:192.0.2.1 0:192.0.2.2" },
        { "mx.lab.example", DNS_AAAA, "found 0:2001:db8::1" },
        { "mx.lab.example", DNS_TXT, "nodata" },
        { "null.lab.example", DNS_MX, "found 0:" },
        { "none.lab.example", DNS_A, "nxdomain" },
        { "ab.example", DNS_A, "nxdomain" },
        { "b.c.lab.example", DNS_A, "nodata" }, /* an empty name above a record */
        { "alias2.lab.example", DNS_A, "found 0:192.0.2.1 0:192.0.2.2" },
        { "alias2.lab.example", DNS_TXT, "nodata" },
        { "alias2.lab.example", DNS_CNAME, "found 0:alias.lab.example" },
        { "loop1.lab.example", DNS_A, "servfail" },
        { "dangling.lab.example", DNS_A, "nxdomain" },
        { "slow.lab.example", DNS_A, "timeout" },
        { "to-slow.lab.example", DNS_MX, "timeout" },
        { "broken.lab.example", DNS_TXT, "servfail" },
        { "s1._domainkey.lab.example", DNS_TXT, "found 0:v=DKIM1; k=rsa; p=AAAA" },
        { "odd.lab.example", DNS_MX, "found 10:good.lab.example" },
        { "allodd.lab.example", DNS_MX, "servfail" }, /* none left: wait, do not bounce */
        { "1.2.0.192.in-addr.arpa", DNS_PTR, "found 0:mx.lab.example" },
    };
    struct dns *dns = NULL;
    struct why why = { "" };
    enum err err = dns_open_zone("tests/data/zone/lab.zone", &dns, &why);
    CHECK(err == OK, "%s", why.text);
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        struct seen seen = { .count = 0 };
        REQUIRE_OK(dns->ops->ask(dns, str_from_c(rows[i].name), rows[i].type, answered, &seen));
        CHECK_U64(seen.count, 0);
        dns_zone_poll(dns);
        CHECK_U64(seen.count, 1);
        CHECK(strcmp(seen.text, rows[i].expected) == 0, "%s %u: got \"%s\", expected \"%s\"",
                rows[i].name, (unsigned)rows[i].type, seen.text, rows[i].expected);
    }
    struct seen seen = { .count = 0 };
    CHECK_ERR(dns->ops->ask(dns, STR("a..b"), DNS_A, answered, &seen), E_SYNTAX);
    REQUIRE_OK(dns->ops->ask(dns, STR("lab.example"), DNS_A, answered, &seen));
    dns->ops->close(dns); /* with a question open: no answer comes */
    CHECK_U64(seen.count, 0);
}

TEST(a_zone_file_may_hold_whatever_rfc_1035_allows)
{
    static const struct {
        const char *name;
        enum dns_type type;
        const char *expected;
    } rows[] = {
        { "ODD.example", DNS_SOA, "found 0:ns.odd.example" },
        { "odd.example", DNS_NS, "found 0:ns.odd.example" },
        { "ns.odd.example", DNS_AAAA, "found 0:2001:db8::1" },
        { "class-first.odd.example", DNS_TXT, "found 0:xy" },
        { "upper.odd.example", DNS_TXT, "found 0:Case Kept" },
        { "quotes.odd.example", DNS_TXT, "found 0:say \"hi\"; \\ " },
        { "empty.odd.example", DNS_TXT, "found 0:" },
        { "nothing.odd.example", DNS_TXT, "nxdomain" }, /* no string, no record */
        { "joined.odd.example", DNS_TXT, "found 0:v=spf1 -all" },
        { "bare.odd.example", DNS_TXT, "found 0:onetwo" },
        { "spf.odd.example", DNS_TXT, "nodata" },
        { "chaos.odd.example", DNS_TXT, "nxdomain" },
        { "foo:bar/baz.odd.example", DNS_A, "found 0:192.0.2.2" },
        { "macro%percent  space.odd.example", DNS_A, "found 0:192.0.2.3" },
        { "Blank Name.odd.example", DNS_A, "found 0:192.0.2.4" },
        { "_under._score.odd.example", DNS_A, "found 0:192.0.2.5" },
        { "_score.odd.example", DNS_A, "nodata" },
        { "semi;colon.odd.example", DNS_A, "found 0:192.0.2.6" },
        { "at@sign().odd.example", DNS_A, "found 0:192.0.2.7" },
        { "any.thing.wild.odd.example", DNS_A, "found 0:192.0.2.8" }, /* RFC 4592 2.2.1 */
        { "any.wild.odd.example", DNS_TXT, "nodata" },
        { "any.wild.odd.example", DNS_MX, "found 10:mx.odd.example" },
        { "there.wild.odd.example", DNS_A, "nodata" }, /* exists: no wildcard */
        { "below.there.wild.odd.example", DNS_A, "nxdomain" },
        { "wild.odd.example", DNS_A, "nodata" },
        { "x.aliases.odd.example", DNS_A, "found 0:192.0.2.2" },
        { "empty.odd.example", DNS_A, "nodata" },
        { "er.empty.odd.example", DNS_A, "nodata" },
        { "0.odd.example", DNS_A, "found 0:192.0.2.10" },
        { "300.odd.example", DNS_A, "found 0:192.0.2.11" },
        { "in.odd.example", DNS_A, "found 0:192.0.2.12" },
        { "root-mx.odd.example", DNS_MX, "found 0:" },
        { "unknown.odd.example", DNS_A, "nodata" },
        { "crlf.odd.example", DNS_A, "found 0:192.0.2.13" },
        { "silent.odd.example", DNS_A, "timeout" },
        { "broken name.odd.example", DNS_A, "servfail" },
        { "remarked.odd.example", DNS_A, "timeout" },
        { "worded.odd.example", DNS_A, "servfail" },
        { "twice.odd.example", DNS_A, "found 0:192.0.2.14" }, /* RFC 2181 5: one record */
        { "generic.odd.example", DNS_TXT, "found 0:v=spf1 -all" },
        { "as-txt.odd.example", DNS_TXT, "found 0:hi" },
        { "whole.odd.example", DNS_TXT, "found 0:( ; )" },
        { "low.deep.odd.example", DNS_A, "found 0:192.0.2.15" },
        { "low.er.deep.odd.example", DNS_A, "found 0:192.0.2.16" },
    };
    struct dns *dns = NULL;
    struct why why = { "" };
    enum err err = dns_open_zone("tests/data/zone/odd.zone", &dns, &why);
    CHECK(err == OK, "%s", why.text);
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        struct seen seen = { .count = 0 };
        REQUIRE_OK(dns->ops->ask(dns, str_from_c(rows[i].name), rows[i].type, answered, &seen));
        dns_zone_poll(dns);
        CHECK(strcmp(seen.text, rows[i].expected) == 0, "%s %u: got \"%s\", expected \"%s\"",
                rows[i].name, (unsigned)rows[i].type, seen.text, rows[i].expected);
    }
    dns->ops->close(dns);
}

static void close_in_answer(void *ctx, const struct dns_answer *answer)
{
    struct dns **dns = ctx;
    (void)answer;
    (*dns)->ops->close(*dns);
    *dns = NULL;
}

TEST(a_zone_may_be_closed_in_an_answer)
{
    struct dns *dns = NULL;
    struct why why;
    REQUIRE_OK(dns_open_zone("tests/data/zone/lab.zone", &dns, &why));
    struct dns *polled = dns;
    REQUIRE_OK(dns->ops->ask(dns, STR("lab.example"), DNS_A, close_in_answer, &dns));
    REQUIRE_OK(dns->ops->ask(dns, STR("lab.example"), DNS_A, close_in_answer, &dns));
    dns_zone_poll(polled);
    CHECK(dns == NULL);
}

static enum err open_zone_text(struct str text, struct dns **ret_dns, struct why *why)
{
    char path[] = "/tmp/outpost-zone-XXXXXX";
    int fd = mkstemp(path);
    CHECK(write(fd, text.ptr, text.len) == (ssize_t)text.len);
    close(fd);
    enum err err = dns_open_zone(path, ret_dns, why);
    unlink(path);
    return err;
}

TEST(a_bad_zone_file_is_refused_with_its_line)
{
    static const struct {
        struct str text;
        const char *said;
    } rows[] = {
        { STR_INIT("a.example. 60 IN A 192.0.2.1\nb.example. 60 IN A 192.0.2.999\n"), ":2: " },
        { STR_INIT("; x\na.example. TXT \"open\nb.example. A 192.0.2.1\n"),
                ":2: a quote that does not end" },
        { STR_INIT("a.example. TXT ( \"x\"\nb.example. A 192.0.2.1\n"),
                ":1: a parenthesis left open" },
        { STR_INIT("\na.example. TXT \"x\" )\n"), ":2: a parenthesis that was not opened" },
        { STR_INIT("$GENERATE 1-3 a$ A 192.0.2.$\n"), ":1: a directive" },
        { STR_INIT("$INCLUDE other.zone\n"), ":1: a directive" },
        { STR_INIT("a.example. A 192.0.2.1\na.example. TXT \"\0\"\n"), ":2: a NUL byte" },
        { STR_INIT("word word2\n"), ":1: " },
    };
    struct dns *dns = NULL;
    struct why why = { "" };
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        CHECK_ERR(open_zone_text(rows[i].text, &dns, &why), E_SYNTAX);
        CHECK(strstr(why.text, rows[i].said) != NULL, "row %zu: %s", i, why.text);
    }
    CHECK_ERR(dns_open_zone("/tmp/outpost-none/none.zone", &dns, &why), E_NOT_FOUND);
}

TEST(a_byte_order_mark_before_a_zone_is_no_name)
{
    struct dns *dns = NULL;
    struct why why = { "" };
    struct seen seen = { .count = 0 };
    REQUIRE_OK(open_zone_text(STR("\xEF\xBB\xBF"
                                  "a.example. A 192.0.2.1"),
            &dns, &why));
    REQUIRE_OK(dns->ops->ask(dns, STR("a.example"), DNS_A, answered, &seen));
    dns_zone_poll(dns);
    CHECK_STR(str_from_c(seen.text), STR("found 0:192.0.2.1"));
    dns->ops->close(dns);
}

/* ---- libunbound against a name server of ours ---- */

struct server {
    int fd;
    uint16_t port;
    struct net *net;
    uint32_t asked_count;
    char address[5]; /* what a.lab.example is */
};

/* On 127.0.0.HOST; port 0: any. */
static void server_open_at(struct server *server, uint32_t host, uint16_t port)
{
    struct sockaddr_in at = {
        .sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(0x7f000000 | host)
    };
    socklen_t len = sizeof at;
    *server = (struct server){ .address = "\xc0\x00\x02\x01" };
    server->fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    CHECK(server->fd >= 0 && bind(server->fd, (struct sockaddr *)&at, sizeof at) == 0);
    CHECK(getsockname(server->fd, (struct sockaddr *)&at, &len) == 0);
    server->port = ntohs(at.sin_port);
}

static void server_open(struct server *server)
{
    server_open_at(server, 1, 0);
}

struct reply {
    uint8_t byte[8192];
    size_t len;
    uint16_t answer_count;
    uint8_t rcode;
};

static void reply_u16(struct reply *reply, unsigned value)
{
    reply->byte[reply->len++] = (uint8_t)(value >> 8);
    reply->byte[reply->len++] = (uint8_t)value;
}

/* owner: wire form or a compression pointer */
static void reply_rr(struct reply *reply, struct str owner, unsigned type, struct str rdata)
{
    memcpy(reply->byte + reply->len, owner.ptr, owner.len);
    reply->len += owner.len;
    reply_u16(reply, type);
    reply_u16(reply, 1);
    reply_u16(reply, 0);
    reply_u16(reply, 300);
    reply_u16(reply, (unsigned)rdata.len);
    memcpy(reply->byte + reply->len, rdata.ptr, rdata.len);
    reply->len += rdata.len;
    reply->answer_count++;
}

#define ASKED str_of("\xc0\x0c", 2)
#define WIRE(literal) str_of("" literal, sizeof(literal) - 1)

/* h3 is an alias of h2 and so on; h0 has an address. */
static void reply_chain(struct reply *reply, char hop)
{
    char target[] = "\2h?\3lab\7example";
    target[2] = (char)(hop - 1);
    if (hop == '0') {
        reply_rr(reply, ASKED, DNS_A, WIRE("\xc0\x00\x02\x09"));
    } else {
        reply_rr(reply, ASKED, DNS_CNAME, str_of(target, sizeof target));
    }
}

/* By the first label of the name asked for. False: no reply at all. */
static bool reply_fill(struct server *server, struct str label, struct reply *reply)
{
    if (str_eq(label, STR("a")) || str_eq(label, STR("10"))) {
        reply_rr(reply, ASKED, DNS_A, str_of(server->address, 4));
    } else if (str_eq(label, STR("mail"))) {
        reply_rr(reply, ASKED, DNS_MX, WIRE("\0\x0a\2Mx\3LAB\7example\0"));
    } else if (str_eq(label, STR("txt"))) {
        reply_rr(reply, ASKED, DNS_TXT, WIRE("\6v=spf1\5 -all"));
    } else if (str_eq(label, STR("odd"))) {
        reply_rr(reply, ASKED, DNS_MX, WIRE("\0\x0a\3a b\3lab\7example\0"));
        reply_rr(reply, ASKED, DNS_MX, WIRE("\0\x0a\4good\3lab\7example\0"));
    } else if (str_eq(label, STR("allodd"))) {
        reply_rr(reply, ASKED, DNS_MX, WIRE("\0\x0a\3a\0b\3lab\7example\0"));
    } else if (str_eq(label, STR("shortmx"))) {
        reply_rr(reply, ASKED, DNS_MX, WIRE("\0\x0a"));
    } else if (label.len == 2 && label.ptr[0] == 'h') {
        reply_chain(reply, label.ptr[1]);
    } else if (str_eq(label, STR("many"))) {
        for (unsigned i = 0; i < 130; i++) {
            char address[] = { (char)192, 0, 2, (char)i };
            reply_rr(reply, ASKED, DNS_A, str_of(address, 4));
        }
    } else if (str_eq(label, STR("refused"))) {
        reply->rcode = 5;
    } else if (str_eq(label, STR("none"))) {
        reply->rcode = 3;
    } else if (str_eq(label, STR("silent"))) {
        return false;
    }
    return true; /* NOERROR without data */
}

static void serve_one(struct server *server)
{
    struct sockaddr_in from;
    socklen_t from_len = sizeof from;
    uint8_t query[512];
    struct reply reply = { .len = 12 };
    ssize_t got = recvfrom(server->fd, query, sizeof query, 0, (struct sockaddr *)&from, &from_len);
    if (got < 17) {
        return;
    }
    server->asked_count++;
    size_t name_end = 12;
    while (query[name_end] != 0) {
        name_end += 1U + query[name_end];
    }
    memcpy(reply.byte + 12, query + 12, name_end + 5 - 12);
    reply.len = name_end + 5;
    struct str label = { (const char *)query + 13, query[12] };
    if (!reply_fill(server, label, &reply)) {
        return;
    }
    const uint8_t header[] = { query[0], query[1], 0x81, (uint8_t)(0x80 | reply.rcode), 0, 1,
        (uint8_t)(reply.answer_count >> 8), (uint8_t)reply.answer_count, 0, 0, 0, 0 };
    memcpy(reply.byte, header, sizeof header);
    sendto(server->fd, reply.byte, reply.len, 0, (struct sockaddr *)&from, from_len);
}

static void server_readable(void *ctx)
{
    serve_one(ctx);
}

struct resolver_rig {
    struct net *net;
    struct server server;
    struct dns *dns;
};

static void guard(void *ctx)
{
    (void)ctx;
    test_fail(__FILE__, __LINE__, "no answer in ten seconds");
}

static void resolver_rig_net(struct resolver_rig *rig)
{
    struct why why;
    server_open(&rig->server);
    REQUIRE_OK(net_open_real(clock_real(), &rig->net, &why));
    REQUIRE_OK(net_watch_fd_real(rig->net, rig->server.fd, server_readable, &rig->server));
    struct mono limit = { clock_mono(clock_real()).ms + 10000 };
    rig->net->ops->timer(rig->net, limit, guard, NULL);
}

static const struct dns_real_options quick = {
    .question_ms_max = 10000, .resolv_check_ms = 0, .resolv_path = "/nonexistent"
};

static void resolver_rig_open(struct resolver_rig *rig, const struct dns_real_options *options)
{
    struct why why = { "" };
    char servers[64];
    resolver_rig_net(rig);
    size_t len = fmt(servers, sizeof servers, "127.0.0.1:%u", rig->server.port);
    enum err err =
            dns_open_real_with(rig->net, str_of(servers, len), NULL, options, &rig->dns, &why);
    CHECK(err == OK, "%s", why.text);
}

static void resolver_rig_close(struct resolver_rig *rig)
{
    rig->dns->ops->close(rig->dns);
    net_free_real(rig->net);
    close(rig->server.fd);
}

static void ask(
        struct resolver_rig *rig, const char *name, enum dns_type type, struct seen *ret_seen)
{
    *ret_seen = (struct seen){ .net = rig->net };
    REQUIRE_OK(rig->dns->ops->ask(rig->dns, str_from_c(name), type, answered, ret_seen));
    CHECK(ret_seen->count == 0, "answered from within the call");
    net_run_real(rig->net, NULL, NULL);
    CHECK_U64(ret_seen->count, 1);
}

TEST(the_resolver_answers_what_its_server_says)
{
    static const struct {
        const char *name;
        enum dns_type type;
        const char *expected;
    } rows[] = {
        { "a.lab.example", DNS_A, "found 0:192.0.2.1" },
        { "A.lab.EXAMPLE.", DNS_A, "found 0:192.0.2.1" },
        { "mail.lab.example", DNS_MX, "found 10:mx.lab.example" },
        { "txt.lab.example", DNS_TXT, "found 0:v=spf1 -all" },
        { "odd.lab.example", DNS_MX, "found 10:good.lab.example" },
        { "allodd.lab.example", DNS_MX, "servfail" },
        { "shortmx.lab.example", DNS_MX, "servfail" },
        { "h8.lab.example", DNS_A, "found 0:192.0.2.9" },
        { "h9.lab.example", DNS_A, "servfail" },
        { "refused.lab.example", DNS_A, "servfail" },
        { "none.lab.example", DNS_A, "nxdomain" },
        { "nodata.lab.example", DNS_A, "nodata" },
        /* Zones that libunbound would answer by itself. */
        { "a.lab.test", DNS_A, "found 0:192.0.2.1" },
        { "a.invalid", DNS_A, "found 0:192.0.2.1" },
        { "10.2.0.192.in-addr.arpa", DNS_A, "found 0:192.0.2.1" },
        { "10.0.0.10.in-addr.arpa", DNS_A, "found 0:192.0.2.1" },
        { "10.0.0.127.in-addr.arpa", DNS_A, "found 0:192.0.2.1" },
    };
    struct resolver_rig rig;
    resolver_rig_open(&rig, &quick);
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        struct seen seen;
        ask(&rig, rows[i].name, rows[i].type, &seen);
        CHECK(strcmp(seen.text, rows[i].expected) == 0, "%s: got \"%s\", expected \"%s\"",
                rows[i].name, seen.text, rows[i].expected);
    }
    resolver_rig_close(&rig);
}

TEST(an_answer_has_at_most_a_hundred_records_and_says_so)
{
    struct resolver_rig rig;
    struct seen seen;
    resolver_rig_open(&rig, &quick);
    ask(&rig, "many.lab.example", DNS_A, &seen);
    CHECK(seen.is_cut);
    ask(&rig, "a.lab.example", DNS_A, &seen);
    CHECK(!seen.is_cut);
    resolver_rig_close(&rig);
}

TEST(a_repeated_question_is_answered_from_the_cache)
{
    struct resolver_rig rig;
    struct seen seen;
    resolver_rig_open(&rig, &quick);
    ask(&rig, "a.lab.example", DNS_A, &seen);
    uint32_t asked_count = rig.server.asked_count;
    ask(&rig, "a.lab.example", DNS_A, &seen);
    CHECK_U64(rig.server.asked_count, asked_count);
    resolver_rig_close(&rig);
}

TEST(a_server_that_is_silent_is_a_timeout)
{
    static const struct dns_real_options short_options = { .question_ms_max = 30,
        .resolv_path = "/nonexistent" };
    struct resolver_rig rig;
    struct seen seen;
    resolver_rig_open(&rig, &short_options);
    ask(&rig, "silent.lab.example", DNS_A, &seen);
    CHECK_STR(str_from_c(seen.text), STR("timeout"));
    resolver_rig_close(&rig);
}

TEST(no_answer_comes_after_close)
{
    struct resolver_rig rig;
    struct seen seen = { .count = 0 };
    resolver_rig_open(&rig, &quick);
    REQUIRE_OK(rig.dns->ops->ask(rig.dns, STR("silent.lab.example"), DNS_A, answered, &seen));
    CHECK_ERR(rig.dns->ops->ask(rig.dns, STR("no..name"), DNS_A, answered, &seen), E_SYNTAX);
    resolver_rig_close(&rig);
    CHECK_U64(seen.count, 0);
}

struct closer {
    struct resolver_rig *rig;
    uint32_t count;
};

static void close_resolver_in_answer(void *ctx, const struct dns_answer *answer)
{
    struct closer *closer = ctx;
    (void)answer;
    closer->count++;
    closer->rig->dns->ops->close(closer->rig->dns);
    net_stop_real(closer->rig->net);
}

TEST(the_resolver_may_be_closed_in_an_answer)
{
    struct resolver_rig rig;
    struct closer closer = { &rig, 0 };
    resolver_rig_open(&rig, &quick);
    REQUIRE_OK(rig.dns->ops->ask(
            rig.dns, STR("a.lab.example"), DNS_A, close_resolver_in_answer, &closer));
    REQUIRE_OK(rig.dns->ops->ask(
            rig.dns, STR("mail.lab.example"), DNS_MX, close_resolver_in_answer, &closer));
    net_run_real(rig.net, NULL, NULL);
    CHECK_U64(closer.count, 1);
    net_free_real(rig.net);
    close(rig.server.fd);
}

TEST(questions_past_the_limit_are_refused)
{
    struct resolver_rig rig;
    struct seen seen = { .count = 0 };
    resolver_rig_open(&rig, &quick);
    net_unwatch_fd_real(rig.net, rig.server.fd); /* nobody answers */
    for (uint32_t i = 0; i < DNS_QUESTION_COUNT_MAX; i++) {
        char name[64];
        size_t len = fmt(name, sizeof name, "n%u.lab.example", i);
        REQUIRE_OK(rig.dns->ops->ask(rig.dns, str_of(name, len), DNS_A, answered, &seen));
    }
    CHECK_ERR(rig.dns->ops->ask(rig.dns, STR("one-more.example"), DNS_A, answered, &seen), E_FULL);
    resolver_rig_close(&rig);
}

static void write_file(const char *path, const char *text)
{
    FILE *file = fopen(path, "we");
    CHECK(file != NULL);
    CHECK(fputs(text, file) >= 0 && fclose(file) == 0);
}

TEST(a_changed_resolv_conf_is_followed)
{
    char path[] = "/tmp/outpost-resolv-XXXXXX";
    struct resolver_rig rig;
    struct server second;
    struct seen seen;
    struct why why = { "" };
    close(mkstemp(path));
    resolver_rig_net(&rig);
    server_open_at(&second, 2, rig.server.port);
    memcpy(second.address, "\xc0\x00\x02\x02", 4);
    REQUIRE_OK(net_watch_fd_real(rig.net, second.fd, server_readable, &second));
    struct dns_real_options options = quick;
    options.resolv_path = path;
    options.resolv_port = rig.server.port;
    write_file(path,
            "# no nameserver: the one on this host\nnameservers 127.0.0.9\nsearch lab.example");
    enum err err = dns_open_real_with(rig.net, STR(""), NULL, &options, &rig.dns, &why);
    CHECK(err == OK, "%s", why.text);
    ask(&rig, "a.lab.example", DNS_A, &seen);
    CHECK_STR(str_from_c(seen.text), STR("found 0:192.0.2.1"));
    write_file(path,
            "nameserver fe80::1%eth0\n#nameserver 127.0.0.9\nnameserver \t127.0.0.2 # here\n");
    ask(&rig, "a.lab.example", DNS_A, &seen);
    CHECK_STR(str_from_c(seen.text), STR("found 0:192.0.2.2"));
    unlink(path); /* the servers known last go on */
    ask(&rig, "a.lab.example", DNS_A, &seen);
    CHECK_STR(str_from_c(seen.text), STR("found 0:192.0.2.2"));
    resolver_rig_close(&rig);
    close(second.fd);
}

TEST(bad_server_lists_are_refused)
{
    struct net *net;
    struct dns *dns = NULL;
    struct why why = { "" };
    REQUIRE_OK(net_open_real(clock_real(), &net, &why));
    static const char *const bad[] = { "localhost", "127.0.0.1,,::1", "127.0.0.1:99999", "::1:53:x",
        " " };
    for (size_t i = 0; i < COUNT_OF(bad); i++) {
        CHECK(dns_open_real(net, str_from_c(bad[i]), NULL, &dns, &why) == E_SYNTAX,
                "\"%s\" was taken", bad[i]);
    }
    CHECK_ERR(dns_open_real(net, STR("127.0.0.1"), "/nonexistent/anchor", &dns, &why), E_NOT_FOUND);
    REQUIRE_OK(dns_open_real(net, STR("127.0.0.1, [::1]:5353, ::1"), NULL, &dns, &why));
    dns->ops->close(dns);
    net_free_real(net);
}

static void *serve_thread(void *ctx)
{
    struct server *server = ctx;
    while (server->asked_count == 0) {
        serve_one(server);
    }
    return NULL;
}

TEST(one_question_is_asked_without_a_loop)
{
    struct server server;
    struct seen seen = { .count = 0 };
    struct why why = { "" };
    pthread_t thread;
    char servers[64];
    server_open(&server);
    size_t len = fmt(servers, sizeof servers, "127.0.0.1:%u", server.port);
    CHECK(pthread_create(&thread, NULL, serve_thread, &server) == 0);
    enum err err = dns_ask_blocking(
            str_of(servers, len), STR("a.lab.example"), DNS_A, answered, &seen, &why);
    CHECK(err == OK, "%s", why.text);
    CHECK_STR(str_from_c(seen.text), STR("found 0:192.0.2.1"));
    CHECK(pthread_join(thread, NULL) == 0);
    close(server.fd);
    CHECK_ERR(dns_ask_blocking(STR("nowhere"), STR("a.example"), DNS_A, answered, &seen, &why),
            E_SYNTAX);
    CHECK_ERR(dns_ask_blocking(STR("127.0.0.1"), STR("a..b"), DNS_A, answered, &seen, &why),
            E_SYNTAX);
}

TEST(without_memory_opening_fails_and_leaves_nothing)
{
    struct net *net;
    struct why why;
    REQUIRE_OK(net_open_real(clock_real(), &net, &why));
    for (int kind = 0; kind < 2; kind++) {
        enum err err = E_NOMEM;
        for (uint64_t nth = 1; err != OK; nth++) {
            struct dns *dns = NULL;
            CHECK(nth < 1000);
            mem_fail_at(nth);
            err = kind == 0 ? dns_open_zone("tests/data/zone/lab.zone", &dns, &why)
                            : dns_open_real(net, STR("127.0.0.1"), NULL, &dns, &why);
            mem_fail_at(0);
            CHECK(err == OK || err == E_NOMEM, "%s at %llu", err_name(err),
                    (unsigned long long)nth);
            if (err == OK) {
                CHECK(nth > 2);
                dns->ops->close(dns);
            }
        }
    }
    net_free_real(net);
}
