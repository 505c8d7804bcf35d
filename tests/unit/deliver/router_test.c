/* SPDX-License-Identifier: Apache-2.0
 *
 * router_test.c - domain → site over a DNS in memory: every status, every limit, every refusal.
 *
 * A zone is lines "NAME TYPE DATA"; DATA "!servfail", "!timeout", "!bogus", "!nodata" make that
 * question fail so. Names without any line do not exist.
 */
#include "core/str.h"
#include "core/time.h"
#include "deliver/deliver.h"
#include "tests/test.h"

#include <stdio.h>
#include <stdlib.h>

enum { ASKED_MAX = 4096 };

struct asked {
    char name[DNS_NAME_CAP];
    enum dns_type type;
    dns_answered *answered;
    void *ctx;
};
struct world {
    struct dns dns;
    struct clock clock;
    struct mono now, next;
    struct mailbox queue;
    struct config *config;
    struct router *router;
    const char *zone;
    uint32_t ttl_s;
    struct asked asked[ASKED_MAX];
    uint32_t asked_count, asked_total;
    bool is_full, is_mute; /* refuses questions; gives no answers */
};

static struct ip own_address;
static bool is_own(struct ip ip)
{
    return ip_eq(ip, own_address);
}

/* ---- DNS ---- */

static enum err world_ask(
        struct dns *dns, struct str name, enum dns_type type, dns_answered *answered, void *ctx)
{
    struct world *world = CONTAINER_OF(dns, struct world, dns);
    if (world->is_full) {
        return E_FULL;
    }
    CHECK(world->asked_count < ASKED_MAX);
    struct asked *asked = &world->asked[world->asked_count++];
    world->asked_total++;
    fmt(asked->name, sizeof asked->name, "%.*s", STR_ARG(name));
    asked->type = type;
    asked->answered = answered;
    asked->ctx = ctx;
    return OK;
}

static void world_dns_close(struct dns *dns)
{
    CONTAINER_OF(dns, struct world, dns)->asked_count = 0;
}
static const struct dns_ops world_dns_ops = { world_ask, world_dns_close };

static const char *type_name(enum dns_type type)
{
    return type == DNS_MX ? "MX" : type == DNS_A ? "A" : type == DNS_AAAA ? "AAAA" : "?";
}

static bool status_of(struct str data, enum dns_status *ret_status)
{
    static const struct {
        struct str word;
        enum dns_status status;
    } words[] = { { STR_INIT("!servfail"), DNS_SERVFAIL }, { STR_INIT("!timeout"), DNS_TIMEOUT },
        { STR_INIT("!bogus"), DNS_BOGUS }, { STR_INIT("!nodata"), DNS_NODATA },
        { STR_INIT("!nxdomain"), DNS_NXDOMAIN } };
    for (size_t i = 0; i < COUNT_OF(words); i++) {
        if (str_eq(words[i].word, data)) {
            *ret_status = words[i].status;
            return true;
        }
    }
    return false;
}

static void record_read(struct str data, enum dns_type type, struct dns_record *ret_record)
{
    *ret_record = (struct dns_record){ .type = type };
    if (type != DNS_MX) {
        REQUIRE_OK(ip_parse(data, &ret_record->ip));
        return;
    }
    struct str preference;
    uint64_t value;
    CHECK(str_cut(&data, ' ', &preference));
    REQUIRE_OK(str_to_u64(preference, UINT16_MAX, &value));
    ret_record->preference = (uint16_t)value;
    ret_record->data = str_eq(data, STR(".")) ? STR("") : data;
}

static void answer_one(struct world *world, const struct asked *asked)
{
    static struct dns_record record[DNS_RECORD_COUNT_MAX];
    struct dns_answer answer = {
        .status = DNS_NXDOMAIN, .ttl_s = world->ttl_s, .why = "in a test", .record = record
    };
    struct str rest = str_from_c(world->zone), line, name, type;
    bool is_there = false;
    while (str_cut(&rest, '\n', &line)) {
        CHECK(str_cut(&line, ' ', &name) && str_cut(&line, ' ', &type));
        if (!str_eq_nocase(name, str_from_c(asked->name))) {
            continue;
        }
        if (!is_there) {
            answer.status = DNS_NODATA;
        }
        is_there = true;
        if (str_eq(type, str_from_c(type_name(asked->type))) && !status_of(line, &answer.status) &&
                answer.record_count < DNS_RECORD_COUNT_MAX) {
            record_read(line, asked->type, &record[answer.record_count++]);
            answer.status = DNS_FOUND;
        }
    }
    asked->answered(asked->ctx, &answer);
}

static void answer_all(struct world *world)
{
    while (world->asked_count > 0 && !world->is_mute) {
        struct asked asked = world->asked[0];
        memmove(world->asked, world->asked + 1, --world->asked_count * sizeof asked);
        answer_one(world, &asked);
    }
}

/* ---- the world ---- */

static struct mono world_mono(struct clock *clock)
{
    return CONTAINER_OF(clock, struct world, clock)->now;
}

static struct config *config_of(const char *text)
{
    struct config_report report = { 0 };
    struct config *config = NULL;
    enum err err = config_parse(str_from_c(text), STR("test.conf"), &config, &report);
    for (uint32_t i = 0; i < report.fault_count; i++) {
        fprintf(stderr, "%u: %.*s\n", report.fault[i].line, STR_ARG(report.fault[i].text));
    }
    config_report_done(&report);
    REQUIRE_OK(err);
    return config;
}

static struct world *world_open(const char *config, const char *zone)
{
    struct world *world = calloc(1, sizeof *world);
    CHECK(world);
    world->dns.ops = &world_dns_ops;
    world->clock.mono = world_mono;
    world->now.ms = 1000;
    world->ttl_s = 300;
    world->zone = zone;
    world->config = config_of(config ? config : "hostname = \"out.example\"\n");
    own_address = (struct ip){ .family = IP_NONE };
    mailbox_init(&world->queue, 1000, NULL, NULL);
    struct router_ports ports = { &world->queue, is_own };
    REQUIRE_OK(router_new(&world->dns, &world->clock, NULL, &ports, 5, &world->router));
    return world;
}

static void world_close(struct world *world)
{
    world_dns_close(&world->dns);
    router_free(world->router);
    CHECK(mailbox_take_all(&world->queue) == NULL);
    mailbox_done(&world->queue);
    config_give(world->config);
    free(world);
}

static void want(struct world *world, const char *domain, uint32_t id)
{
    struct deliver_want_site *want = mem_new(sizeof *want);
    CHECK(want);
    want->letter.kind = DELIVER_WANT_SITE;
    want->domain_id = id;
    want->config = config_take(world->config);
    want->domain_len = (uint32_t)strlen(domain);
    memcpy(want->domain, domain, want->domain_len);
    router_letter(world->router, &want->letter, world->now);
}

static void turn(struct world *world)
{
    world->next = router_turn(world->router, world->now);
    answer_all(world);
}

static struct queue_site *answer_of(struct letter *letter)
{
    CHECK(letter, "no answer");
    CHECK_U64(letter->kind, QUEUE_SITE);
    return CONTAINER_OF(letter, struct queue_site, letter);
}

/* Asks, turns, and takes the one answer. */
static struct queue_site *ask(struct world *world, const char *domain)
{
    want(world, domain, 7);
    turn(world);
    struct letter *letter = mailbox_take_all(&world->queue);
    struct queue_site *answer = answer_of(letter);
    CHECK(letter->next == NULL, "more than one answer");
    CHECK_U64(answer->domain_id, 7);
    return answer;
}

static void drop(struct queue_site *answer)
{
    site_give(answer->site);
    mem_free(answer);
}

static void check_refused(struct world *world, const char *domain, enum queue_site_status status,
        const char *enhanced, const char *text)
{
    struct queue_site *answer = ask(world, domain);
    CHECK(answer->status == status && strcmp(answer->enhanced, enhanced) == 0 &&
                    strstr(answer->text, text),
            "%s: got %u %s %s", domain, answer->status, answer->enhanced, answer->text);
    CHECK(answer->site == NULL && answer->until.ms > world->now.ms);
    drop(answer);
}

/* "10 a.mx 192.0.2.1 192.0.2.2\n20 …" */
static void check_found(struct world *world, const char *domain, const char *key, const char *hosts)
{
    struct queue_site *answer = ask(world, domain);
    CHECK(answer->status == QUEUE_SITE_FOUND, "%s: %s", domain, answer->text);
    char got[4000] = "";
    size_t len = 0;
    for (uint32_t i = 0; i < answer->site->host_count; i++) {
        const struct site_host *host = &answer->site->host[i];
        len += fmt(got + len, sizeof got - len, "%u %.*s", host->preference, STR_ARG(host->name));
        for (uint32_t a = 0; a < host->address_count; a++) {
            char text[IP_TEXT_CAP];
            struct str at = host->address[a].port == 25 ? ip_format(host->address[a].ip, text)
                                                        : ip_port_format(host->address[a], text);
            len += fmt(got + len, sizeof got - len, " %.*s", STR_ARG(at));
        }
        len += fmt(got + len, sizeof got - len, "\n");
    }
    CHECK_STR(str_from_c(got), str_from_c(hosts));
    CHECK_STR(answer->site->key, str_from_c(key));
    drop(answer);
}

/* ---- MX ---- */

TEST(hosts_come_by_preference_with_both_families_in_turn)
{
    struct world *world = world_open(NULL,
            "in.example MX 20 B.mx\nin.example MX 10 a.mx\n"
            "a.mx A 192.0.2.1\na.mx A 192.0.2.2\na.mx AAAA 2001:db8::1\nb.mx A 192.0.2.3\n");
    check_found(world, "in.example", "a.mx,b.mx",
            "10 a.mx 2001:db8::1 192.0.2.1 192.0.2.2\n20 b.mx 192.0.2.3\n");
    world_close(world);
}

TEST(without_mx_the_domain_is_its_own_host)
{
    struct world *world = world_open(NULL, "in.example A 192.0.2.1\n");
    check_found(world, "in.example", "in.example", "0 in.example 192.0.2.1\n");
    world_close(world);
}

TEST(a_null_mx_is_final_at_once) /* RFC 7505, faults 53 */
{
    struct world *world =
            world_open(NULL, "in.example MX 0 .\nin.example A 192.0.2.1\n"
                             "both.example MX 0 .\nboth.example MX 10 a.mx\na.mx A 192.0.2.1\n");
    check_refused(world, "in.example", QUEUE_SITE_BOUNCE, "5.1.10", "does not accept mail");
    check_found(world, "both.example", "a.mx", "10 a.mx 192.0.2.1\n");
    world_close(world);
}

TEST(dns_trouble_defers_and_never_bounces) /* faults 50, 54, G6 */
{
    static const char *const trouble[] = { "!servfail", "!timeout", "!bogus" };
    for (size_t i = 0; i < COUNT_OF(trouble); i++) {
        char zone[200];
        fmt(zone, sizeof zone,
                "mx.example MX %s\nhost.example MX 10 a.mx\na.mx A %s\n"
                "none.example A %s\n",
                trouble[i], trouble[i], trouble[i]);
        struct world *world = world_open(NULL, zone);
        for (int again = 0; again < 3; again++) {
            check_refused(world, "mx.example", QUEUE_SITE_DEFER, "4.4.3", "MX of mx.example");
            check_refused(
                    world, "host.example", QUEUE_SITE_DEFER, "4.4.3", "could not be looked up");
            check_refused(
                    world, "none.example", QUEUE_SITE_DEFER, "4.4.3", "could not be looked up");
            world->now.ms += 300000;
        }
        world_close(world);
    }
}

TEST(an_absent_domain_bounces_only_when_it_is_absent_twice) /* faults 51 */
{
    struct world *world = world_open(NULL, "a.mx A 192.0.2.1\n");
    check_refused(world, "gone.example", QUEUE_SITE_DEFER, "4.4.4", "does not exist");
    world->now.ms += 30000; /* too soon: no new question */
    uint32_t asked = world->asked_total;
    check_refused(world, "gone.example", QUEUE_SITE_DEFER, "4.4.4", "does not exist");
    CHECK_U64(world->asked_total, asked);
    world->now.ms += 30000;
    check_refused(world, "gone.example", QUEUE_SITE_BOUNCE, "5.4.4", "does not exist");
    CHECK_U64(world->asked_total, asked + 2); /* MX, and A for a second opinion */
    world->now.ms += 25 * 3600000;            /* long ago: again the first time */
    check_refused(world, "gone.example", QUEUE_SITE_DEFER, "4.4.4", "does not exist");
    world->zone = "gone.example MX 10 a.mx\na.mx A 192.0.2.1\n";
    world->now.ms += 60000;
    check_found(world, "gone.example", "a.mx", "10 a.mx 192.0.2.1\n");
    world->now.ms += 3600000;
    world->zone = "";
    check_refused(world, "gone.example", QUEUE_SITE_DEFER, "4.4.4", "does not exist");
    world_close(world);
}

TEST(contradicting_answers_about_an_absent_domain_defer)
{
    struct world *world = world_open(NULL, "");
    check_refused(world, "in.example", QUEUE_SITE_DEFER, "4.4.4", "does not exist");
    world->now.ms += 60000;
    world->zone = "in.example MX !nxdomain\nin.example A 192.0.2.1\n";
    check_refused(world, "in.example", QUEUE_SITE_DEFER, "4.4.3", "contradict");
    world->now.ms += 60000;
    world->zone = "in.example MX !nxdomain\nin.example A !servfail\n";
    check_refused(world, "in.example", QUEUE_SITE_DEFER, "4.4.3", "server failure");
    world_close(world);
}

TEST(mx_hosts_without_address_never_fall_back_to_the_domain)
{
    struct world *world =
            world_open(NULL, "in.example MX 10 a.mx\nin.example A 192.0.2.9\na.mx A !nodata\n");
    check_refused(world, "in.example", QUEUE_SITE_DEFER, "4.4.4", "no mail host");
    world->now.ms += 60000;
    check_refused(world, "in.example", QUEUE_SITE_BOUNCE, "5.4.4", "no mail host");
    world_close(world);
}

TEST(a_host_that_fails_now_leaves_the_others_for_a_short_time)
{
    struct world *world = world_open(NULL, "in.example MX 10 a.mx\nin.example MX 20 b.mx\n"
                                           "a.mx A !servfail\nb.mx A 192.0.2.2\n");
    world->ttl_s = 86400;
    struct queue_site *answer = ask(world, "in.example");
    CHECK_U64(answer->status, QUEUE_SITE_FOUND);
    CHECK_U64(answer->until.ms, world->now.ms + ROUTER_TTL_MS_MIN);
    CHECK_STR(answer->site->key, STR("a.mx,b.mx"));
    drop(answer);
    world_close(world);
}

TEST(unusable_mx_records_are_ignored_and_none_left_defers) /* G4, G7 */
{
    struct world *world =
            world_open(NULL, "in.example MX 10 a b\nin.example MX 20 b.mx\nb.mx A 192.0.2.2\n"
                             "bad.example MX 10 a b\nbad.example MX 10 \x01.mx\n");
    check_found(world, "in.example", "b.mx", "20 b.mx 192.0.2.2\n");
    check_refused(world, "bad.example", QUEUE_SITE_DEFER, "4.4.3", "no MX record");
    world_close(world);
}

TEST(internal_addresses_are_left_out) /* G5, faults 52 */
{
    struct world *world = world_open(NULL,
            "in.example MX 10 a.mx\nin.example MX 20 b.mx\na.mx A 127.0.0.1\n"
            "a.mx AAAA fc00::1\nb.mx A 192.0.2.2\nb.mx A 10.0.0.1\nlie.example MX 10 a.mx\n");
    check_found(world, "in.example", "a.mx,b.mx", "20 b.mx 192.0.2.2\n");
    check_refused(world, "lie.example", QUEUE_SITE_BOUNCE, "5.4.4", "internal");
    world_close(world);
}

TEST(only_hosts_better_than_ourselves_are_used) /* RFC 5321 5.1 */
{
    const char *zone =
            "in.example MX 10 a.mx\nin.example MX 20 OUT.example\nin.example MX 30 c.mx\n"
            "a.mx A 192.0.2.1\nout.example A 192.0.2.2\nc.mx A 192.0.2.3\n"
            "us.example MX 5 out.example\nus.example MX 10 a.mx\n"
            "listed.example MX 5 c.mx\n";
    struct world *world = world_open(
            "hostname = \"out.example\"\n"
            "listen \"x\" { address = { \"192.0.2.3:25\" }  networks = { \"127.0.0.0/8\" } }\n",
            zone);
    check_found(world, "in.example", "a.mx,c.mx,out.example", "10 a.mx 192.0.2.1\n");
    check_refused(world, "us.example", QUEUE_SITE_BOUNCE, "5.4.6", "loops back");
    check_refused(world, "listed.example", QUEUE_SITE_BOUNCE, "5.4.6", "loops back");
    REQUIRE_OK(ip_parse(STR("192.0.2.1"), &own_address));
    world->now.ms += 3600000;
    check_refused(world, "in.example", QUEUE_SITE_BOUNCE, "5.4.6", "loops back");
    world_close(world);
}

TEST(answers_of_any_size_are_bounded) /* faults 53 */
{
    static char zone[200000];
    size_t len = 0;
    for (int i = 0; i < 100; i++) {
        len += fmt(zone + len, sizeof zone - len,
                "in.example MX %d h%02d.a-rather-long-name.example\n", i, i);
    }
    for (int i = 0; i < 100; i++) {
        len += fmt(
                zone + len, sizeof zone - len, "h00.a-rather-long-name.example A 192.0.2.%d\n", i);
        len += fmt(zone + len, sizeof zone - len,
                "h00.a-rather-long-name.example AAAA 2001:db8::%d\n", i);
    }
    struct world *world = world_open(NULL, zone);
    struct queue_site *answer = ask(world, "in.example");
    CHECK_U64(world->asked_total, 1 + 2 * ROUTER_HOST_COUNT_MAX);
    CHECK_U64(answer->site->host_count, 1);
    CHECK_U64(answer->site->host[0].address_count, ROUTER_ADDRESS_COUNT_MAX);
    CHECK(answer->site->key.len <= ROUTER_KEY_BYTES_MAX);
    CHECK(str_index(answer->site->key, '~') < answer->site->key.len);
    drop(answer);
    world_close(world);
}

TEST(times_to_live_are_clamped) /* faults 53: 0 and 2^31 */
{
    static const struct {
        uint32_t ttl_s;
        int64_t ms;
    } cases[] = { { 0, 60000 }, { 300, 300000 }, { UINT32_C(1) << 31, 3600000 } };
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        struct world *world = world_open(NULL, "in.example A 192.0.2.1\n");
        world->ttl_s = cases[i].ttl_s;
        struct queue_site *answer = ask(world, "in.example");
        CHECK_U64(answer->until.ms, world->now.ms + cases[i].ms);
        drop(answer);
        world_close(world);
    }
}

TEST(what_is_no_domain_bounces_and_a_literal_is_checked)
{
    struct world *world = world_open(NULL, "");
    check_refused(world, "no domain", QUEUE_SITE_BOUNCE, "5.1.2", "not a domain name");
    check_refused(world, "", QUEUE_SITE_BOUNCE, "5.1.2", "not a domain name");
    check_refused(world, "[127.0.0.1]", QUEUE_SITE_BOUNCE, "5.4.4", "internal");
    check_found(world, "[192.0.2.1]", "[192.0.2.1]", "0 [192.0.2.1] 192.0.2.1\n");
    check_found(world, "[ipv6:2001:db8::1]", "[ipv6:2001:db8::1]",
            "0 [ipv6:2001:db8::1] 2001:db8::1\n");
    world_close(world);
}

/* ---- routes ---- */

static const char with_routes[] = "hostname = \"out.example\"\n"
                                  "route \"partner.example\" { to = { \"10.0.0.7:2525\", "
                                  "\"[fc00::1]:25\", \"relay.example:587\" }"
                                  "  tls = required }\n"
                                  "route \"*\" { to = { \"smart.example\" } }\n";

TEST(a_route_leads_to_its_targets_in_order_and_nowhere_else)
{
    struct world *world = world_open(with_routes,
            "relay.example A 192.0.2.5\nrelay.example AAAA 2001:db8::5\n"
            "smart.example A 127.0.0.1\npartner.example MX 10 a.mx\na.mx A 192.0.2.9\n");
    check_found(world, "partner.example", "route:partner.example",
            "0 10.0.0.7 10.0.0.7:2525\n1 fc00::1 fc00::1\n"
            "2 relay.example [2001:db8::5]:587 192.0.2.5:587\n");
    struct queue_site *answer = ask(world, "partner.example");
    CHECK(answer->site->is_routed && answer->site->tls == CONFIG_DEST_TLS_REQUIRED);
    drop(answer);
    check_found(world, "a.example", "route:*", "0 smart.example 127.0.0.1\n");
    struct queue_site *first = ask(world, "b.example"), *second = ask(world, "c.example");
    CHECK(first->site == second->site, "one struct for all domains of a smarthost");
    drop(first);
    drop(second);
    world_close(world);
}

TEST(a_route_that_cannot_be_resolved_defers_however_often)
{
    struct world *world = world_open(
            "hostname = \"out.example\"\nroute \"*\" { to = { \"gone.example\" } }\n", "");
    for (int i = 0; i < 3; i++) {
        check_refused(world, "in.example", QUEUE_SITE_DEFER, "4.4.4", "route \"*\"");
        world->now.ms += 600000;
    }
    world_close(world);
}

TEST(in_the_sandbox_everything_goes_to_the_catcher)
{
    struct world *world = world_open(
            "hostname = \"out.example\"\nsandbox = yes\n"
            "sandbox-catcher = \"127.0.0.1:2526\"\nroute \"*\" { to = { \"192.0.2.1\" } }\n",
            "in.example MX 0 .\n");
    check_found(world, "in.example", "sandbox", "0 sandbox 127.0.0.1:2526\n");
    check_found(world, "[192.0.2.1]", "sandbox", "0 sandbox 127.0.0.1:2526\n");
    CHECK_U64(world->asked_total, 0);
    world_close(world);
}

/* ---- memory of answers ---- */

TEST(an_answer_is_kept_and_questions_about_one_domain_are_joined)
{
    struct world *world = world_open(NULL, "in.example A 192.0.2.1\n");
    for (uint32_t i = 0; i < 5; i++) {
        want(world, "in.example", i);
    }
    turn(world);
    uint32_t seen = 0;
    struct letter *letter = mailbox_take_all(&world->queue);
    while (letter) {
        struct letter *next = letter->next;
        seen |= 1U << answer_of(letter)->domain_id;
        drop(answer_of(letter));
        letter = next;
    }
    CHECK_U64(seen, 31);
    CHECK_U64(world->asked_total, 3);
    world->now.ms += 299999;
    drop(ask(world, "in.example"));
    CHECK_U64(world->asked_total, 3);
    world->now.ms += 1;
    drop(ask(world, "in.example"));
    CHECK_U64(world->asked_total, 6);
    world_close(world);
}

TEST(domains_with_the_same_mx_set_share_one_site)
{
    struct world *world = world_open(NULL, "a.example MX 10 one.mx\na.example MX 20 two.mx\n"
                                           "b.example MX 20 two.mx\nb.example MX 10 one.mx\none.mx "
                                           "A 192.0.2.1\ntwo.mx A 192.0.2.2\n"
                                           "c.example MX 10 two.mx\nc.example MX 20 one.mx\n");
    struct queue_site *a = ask(world, "a.example"), *b = ask(world, "b.example");
    struct queue_site *c = ask(world, "c.example");
    CHECK(a->site == b->site);
    CHECK(a->site != c->site, "other preferences");
    CHECK_STR(a->site->key, c->site->key);
    drop(a);
    drop(b);
    drop(c);
    world_close(world);
}

TEST(a_new_configuration_forgets_old_answers)
{
    struct world *world = world_open(NULL, "in.example A 192.0.2.1\nlate.example A 192.0.2.1\n");
    check_found(world, "in.example", "in.example", "0 in.example 192.0.2.1\n");
    world->is_mute = true;
    want(world, "late.example", 1);
    turn(world); /* runs under the old one */
    config_give(world->config);
    world->config =
            config_of("hostname = \"out.example\"\nroute \"*\" { to = { \"10.0.0.1\" } }\n");
    check_found(world, "in.example", "route:*", "0 10.0.0.1 10.0.0.1\n");
    world->is_mute = false;
    answer_all(world);
    drop(answer_of(mailbox_take_all(&world->queue)));
    check_found(world, "late.example", "route:*", "0 10.0.0.1 10.0.0.1\n");
    world_close(world);
}

TEST(a_look_up_that_takes_too_long_defers)
{
    struct world *world = world_open(NULL, "in.example A 192.0.2.1\n");
    world->is_mute = true;
    want(world, "in.example", 7);
    turn(world);
    CHECK_U64(world->next.ms, world->now.ms + ROUTER_LOOKUP_MS_MAX);
    world->now = world->next;
    turn(world);
    struct queue_site *answer = answer_of(mailbox_take_all(&world->queue));
    CHECK(answer->status == QUEUE_SITE_DEFER && strcmp(answer->enhanced, "4.4.3") == 0);
    drop(answer);
    world->is_mute = false;
    answer_all(world); /* the late answer finds nobody */
    CHECK(mailbox_take_all(&world->queue) == NULL);
    world->now.ms += 60000;
    check_found(world, "in.example", "in.example", "0 in.example 192.0.2.1\n");
    world->is_mute = true; /* and one that never comes, at the end */
    want(world, "other.example", 7);
    turn(world);
    world->now.ms += ROUTER_LOOKUP_MS_MAX;
    turn(world);
    drop(answer_of(mailbox_take_all(&world->queue)));
    world_close(world);
}

TEST(only_so_many_domains_are_looked_up_at_a_time)
{
    struct world *world = world_open(NULL, "");
    world->is_mute = true;
    for (uint32_t i = 0; i < 300; i++) {
        char name[40];
        fmt(name, sizeof name, "d%u.example", i);
        want(world, name, i);
    }
    turn(world);
    CHECK_U64(world->asked_count, ROUTER_LOOKUP_COUNT_MAX);
    world->is_mute = false;
    answer_all(world); /* an end starts the next, without a turn */
    CHECK_U64(world->asked_total, 300);
    uint32_t count = 0;
    struct letter *letter = mailbox_take_all(&world->queue);
    while (letter) {
        struct letter *next = letter->next;
        drop(answer_of(letter));
        letter = next;
        count++;
    }
    CHECK_U64(count, 300);
    world_close(world);
}

TEST(a_resolver_that_takes_no_question_defers)
{
    struct world *world = world_open(NULL, "in.example MX 10 a.mx\n");
    world->is_full = true;
    check_refused(world, "in.example", QUEUE_SITE_DEFER, "4.4.3", "no more questions");
    world_close(world);
}

TEST(remembered_domains_are_bounded)
{
    struct world *world =
            world_open("hostname = \"out.example\"\nroute \"*\" { to = { \"10.0.0.1\" } }\n", "");
    for (uint32_t i = 0; i < ROUTER_DOMAIN_COUNT_MAX + 500; i++) {
        char name[40];
        fmt(name, sizeof name, "d%u.example", i);
        drop(ask(world, name));
    }
    world_close(world); /* the limit itself shows in memory only; what matters is that it goes on */
}

TEST(many_sites_come_and_go)
{
    static char zone[100000];
    size_t len = 0;
    for (int i = 0; i < 300; i++) {
        len += fmt(zone + len, sizeof zone - len, "d%d.example A 192.0.2.%d\n", i, i % 200);
    }
    struct world *world = world_open(NULL, zone);
    for (int i = 0; i < 600; i++) {
        char name[40];
        fmt(name, sizeof name, "d%d.example", i % 300);
        drop(ask(world, name));
        if (i == 299) {
            world->now.ms += 3600000;
        }
    }
    world_close(world);
}

TEST(no_question_is_lost_whichever_allocation_fails)
{
    for (uint64_t nth = 1; nth < 30; nth++) {
        struct world *world = world_open(NULL, "in.example MX 10 a.mx\na.mx A 192.0.2.1\n");
        want(world, "other.example", 1); /* makes room for the maps */
        turn(world);
        drop(answer_of(mailbox_take_all(&world->queue)));
        want(world, "in.example", 7);
        mem_fail_at(nth);
        turn(world);
        mem_fail_at(0);
        struct letter *letter = mailbox_take_all(&world->queue);
        for (int tries = 0; !letter && tries < 3; tries++) {
            CHECK(world->next.ms != 0, "allocation %d: nobody will look again", (int)nth);
            world->now.ms += 1000;
            turn(world);
            letter = mailbox_take_all(&world->queue);
        }
        struct queue_site *answer = answer_of(letter);
        CHECK(answer->status != QUEUE_SITE_BOUNCE, "allocation %d", (int)nth);
        drop(answer);
        world_close(world);
    }
}
