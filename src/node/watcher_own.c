/* SPDX-License-Identifier: Apache-2.0
 *
 * watcher_own.c - what is watched beside domains and lists: our listeners as strangers see them,
 * the way out at port 25, the resolver, the clock, and when our domains expire. Whom to ask outside
 * is for the configuration to name; else it is not asked.
 */
#include "core/time.h"
#include "edge/entropy.h"
#include "edge/http.h"
#include "edge/sntp.h"
#include "mail/domain.h"
#include "node/watcher_priv.h"

enum {
    OWN_MS_MAX = 15000,
    OWN_ARENA_BYTES_MAX = 4 << 20,
    CLOCK_WARN_MS = 5000, /* Date and DKIM's t= are read by people and filters */
    CLOCK_FAIL_MS = 60000,
    EXPIRY_WARN_DAYS = 30,
    EXPIRY_FAIL_DAYS = 7,
    EXPIRY_DOMAIN_COUNT_MAX = 200, /* of one round, one after the other */
    SMTP_PORT = 25,
    NTP_PORT = 123
};
#define DAY_MS INT64_C(86400000)

struct reach { /* one source's try at port 25 */
    struct watcher_own *own;
    const struct config_source *source; /* NULL: the system's choice */
    struct net_conn *conn;
};
/* A host named in the configuration, on its way to an address. */
struct target {
    struct watcher_own *own;
    char name[DNS_NAME_CAP];
    struct ip_port ip4, ip6;
    bool is_failing;
};
struct watcher_own {
    struct watcher_own_conf conf;
    struct config *config;
    struct arena arena;
    const struct identity_result **result;
    uint32_t result_count, result_max;
    uint32_t open_count; /* questions and connections that are out */
    struct mono deadline;
    bool is_begun, is_late;
    struct reach *reach;
    uint32_t reach_count;
    struct target outside, time_server;
    struct sntp *sntp;
    struct mono asked_at; /* the resolver */
    uint32_t resolver_count, resolver_good_count;
    char resolver_why[120];
    uint32_t expiry_index;
};

/* ---- results ---- */

/* Strings are static or in the arena. */
static struct identity_result *say(
        struct watcher_own *own, const char *id, const char *title, enum identity_status status)
{
    struct identity_result *result = arena_new(&own->arena, sizeof *result);
    if (result == NULL || own->result_count == own->result_max) {
        return NULL;
    }
    *result = (struct identity_result){
        .id = str_from_c(id), .title = str_from_c(title), .status = status
    };
    own->result[own->result_count++] = result;
    return result;
}

static void one_is_in(struct watcher_own *own)
{
    ASSERT(own->open_count > 0);
    if (--own->open_count == 0) {
        own->conf.done(own->conf.ctx, own->result, own->result_count);
    }
}

/* ---- what needs no net ---- */

static void look_at_listeners(struct watcher_own *own)
{
    for (uint32_t i = 0; i < own->config->listen_count; i++) {
        struct identity_result found;
        identity_relay_check(&own->config->listen[i], &own->arena, &found);
        struct identity_result *result = say(own, "relay.open", "", found.status);
        if (result != NULL) {
            *result = found;
        }
    }
}

static void look_at_tls(struct watcher_own *own)
{
    bool is_off = own->config->outbound_tls == CONFIG_DEST_TLS_OFF;
    struct identity_result *result = say(own, "config.tls", "mail is sent over TLS where it can be",
            is_off ? IDENTITY_WARN : IDENTITY_PASS);
    if (result != NULL) {
        result->found = is_off ? STR("outbound-tls = off") : STR("TLS wherever it is offered");
        result->expected = STR("outbound-tls = may, required or verified");
        result->mend = is_off ? STR("outbound-tls = may\n") : STR("");
    }
}

/* ---- the resolver ---- */

static void say_resolver(struct watcher_own *own)
{
    bool is_good = own->resolver_good_count > 0;
    int64_t ms = clock_mono(own->conf.clock).ms - own->asked_at.ms;
    struct identity_result *result = say(own, "resolver.answers", "the resolver answers",
            is_good ? IDENTITY_PASS : IDENTITY_FAIL);
    if (result != NULL) {
        result->found =
                is_good ? STR("it answers")
                        : arena_strf(&own->arena, "no answer to two questions in %lld ms: %s",
                                  (long long)ms, own->resolver_why);
        result->expected = STR("an answer, if only that there is nothing");
        result->detail = is_good ? STR("")
                                 : STR("nothing can be delivered without it: see resolver in the "
                                       "configuration, and /etc/resolv.conf");
    }
}

static void resolver_answered(void *ctx, const struct dns_answer *answer)
{
    struct watcher_own *own = ctx;
    bool is_good = answer->status == DNS_FOUND || answer->status == DNS_NODATA ||
                   answer->status == DNS_NXDOMAIN;
    own->resolver_good_count += is_good;
    if (!is_good) {
        str_escape(str_from_c(answer->why), own->resolver_why, sizeof own->resolver_why - 1);
    }
    if (--own->resolver_count == 0) {
        say_resolver(own);
    }
    one_is_in(own);
}

static void ask_resolver(struct watcher_own *own)
{
    const struct {
        struct str name;
        enum dns_type type;
    } questions[] = { { STR("."), DNS_NS }, { own->config->hostname, DNS_A } };
    own->asked_at = clock_mono(own->conf.clock);
    for (size_t i = 0; i < COUNT_OF(questions); i++) {
        own->resolver_count++;
        own->open_count++;
        if (own->conf.dns->ops->ask(own->conf.dns, questions[i].name, questions[i].type,
                    resolver_answered, own) != OK) {
            own->resolver_count--;
            own->open_count--;
        }
    }
}

/* ---- hosts by name ---- */

/* "host", "host:port", "192.0.2.1", "[2001:db8::1]:25". False: neither. */
static bool target_parse(struct str text, uint16_t port, struct target *target)
{
    struct ip ip;
    struct ip_port at = { .port = port };
    uint64_t number = port;
    bool is_ip = ip_port_parse(text, &at) == OK;
    if (!is_ip && ip_parse(text, &ip) == OK) {
        at.ip = ip;
        is_ip = true;
    }
    size_t colon = str_rindex(text, ':');
    if (!is_ip && colon < text.len && str_to_u64(str_from(text, colon + 1), 65535, &number) != OK) {
        return false;
    }
    target->ip4 = target->ip6 = (struct ip_port){ .port = (uint16_t)number };
    if (is_ip) {
        *(at.ip.family == IP_V4 ? &target->ip4 : &target->ip6) = at;
        return true;
    }
    return domain_is_hostname(str_sub(text, 0, colon)) &&
           str_to_c(str_sub(text, 0, colon), target->name, sizeof target->name);
}

static void take_address(struct target *target, const struct dns_answer *answer)
{
    bool is_bad = answer->status != DNS_FOUND && answer->status != DNS_NODATA &&
                  answer->status != DNS_NXDOMAIN;
    target->is_failing = target->is_failing || is_bad;
    for (uint32_t i = 0; answer->status == DNS_FOUND && i < answer->record_count; i++) {
        const struct dns_record *record = &answer->record[i];
        if (record->type == DNS_A) {
            target->ip4.ip = record->ip;
        } else if (record->type == DNS_AAAA) {
            target->ip6.ip = record->ip;
        }
    }
}

/* ---- the way out at port 25 ---- */

static void say_reach(struct reach *reach, enum identity_status status, struct str found)
{
    struct watcher_own *own = reach->own;
    struct identity_result *result =
            say(own, "port25.reach", "mail servers outside can be reached", status);
    if (result != NULL) {
        bool is_good = status == IDENTITY_PASS;
        result->source = reach->source != NULL ? reach->source->name : STR("");
        result->found = arena_str(&own->arena, found);
        result->expected =
                arena_strf(&own->arena, "a connection to %.*s", STR_ARG(own->config->probe_host));
        result->detail = is_good ? STR("")
                                 : STR("many providers close port 25 until they are asked to open "
                                       "it; look at the firewall, too");
    }
}

static void reach_event(void *ctx, struct net_conn *conn, enum net_event event)
{
    struct reach *reach = ctx;
    struct watcher_own *own = reach->own;
    if (event == NET_CONNECTED) {
        say_reach(reach, IDENTITY_PASS, STR("connected"));
    } else if (event == NET_FAILED) {
        struct net_info info;
        conn->net->ops->info(conn, &info);
        say_reach(reach, IDENTITY_FAIL, str_from_c(info.why.text));
    } else {
        return;
    }
    reach->conn = NULL;
    conn->net->ops->close(conn, false);
    one_is_in(own);
}

static void try_reach(struct watcher_own *own, struct reach *reach)
{
    const struct target *target = &own->outside;
    struct ip local = reach->source != NULL ? reach->source->address : (struct ip){ 0 };
    bool is_six = local.family == IP_V6 || target->ip4.ip.family == IP_NONE;
    const struct ip_port *at = is_six ? &target->ip6 : &target->ip4;
    struct why why = { 0 };
    if (at->ip.family == IP_NONE) {
        say_reach(reach, target->is_failing ? IDENTITY_ERROR : IDENTITY_SKIP,
                target->is_failing
                        ? STR("could not tell: the host's address could not be asked for")
                        : STR("the host has no address of the source's kind"));
        return;
    }
    own->open_count++;
    if (own->conf.net->ops->connect(
                own->conf.net, &local, at, reach_event, reach, &reach->conn, &why) != OK) {
        reach->conn = NULL;
        own->open_count--;
        say_reach(reach, IDENTITY_FAIL, str_from_c(why.text));
    }
}

static void reach_all(struct watcher_own *own)
{
    uint32_t count = own->config->source_count > 0 ? own->config->source_count : 1;
    own->reach = arena_new(&own->arena, count * sizeof *own->reach);
    for (uint32_t i = 0; own->reach != NULL && i < count; i++) {
        own->reach[i] = (struct reach){ .own = own,
            .source = own->config->source_count > 0 ? &own->config->source[i] : NULL };
        own->reach_count = i + 1;
        try_reach(own, &own->reach[i]);
    }
}

/* ---- the clock ---- */

static void say_clock(struct watcher_own *own, enum identity_status status, struct str found)
{
    struct identity_result *result = say(own, "clock.offset", "our clock is right", status);
    if (result != NULL) {
        result->found = found;
        result->expected = STR("less than 5 s");
        result->mend = status == IDENTITY_FAIL || status == IDENTITY_WARN
                               ? STR("timedatectl set-ntp true\n")
                               : STR("");
    }
}

static void clock_answered(void *ctx, const struct sntp_answer *answer)
{
    struct watcher_own *own = ctx;
    int64_t off = answer->offset_ms < 0 ? -answer->offset_ms : answer->offset_ms;
    int64_t slack = (int64_t)(answer->delay_ms / 2);
    off = off > slack ? off - slack : 0;
    if (answer->err != OK) {
        say_clock(own, IDENTITY_ERROR,
                answer->err == E_TIMEOUT ? STR("could not tell: no answer")
                                         : STR("could not tell: the server gives no time"));
    } else if (off < CLOCK_WARN_MS) {
        say_clock(own, IDENTITY_PASS, STR("less than 5 s off"));
    } else {
        say_clock(own, off < CLOCK_FAIL_MS ? IDENTITY_WARN : IDENTITY_FAIL,
                arena_strf(&own->arena, "%lld s %s", (long long)(off / 1000),
                        answer->offset_ms > 0 ? "behind" : "ahead"));
    }
    one_is_in(own);
}

static void ask_clock(struct watcher_own *own)
{
    const struct target *target = &own->time_server;
    const struct ip_port *at = target->ip4.ip.family != IP_NONE ? &target->ip4 : &target->ip6;
    struct why why = { 0 };
    if (at->ip.family == IP_NONE) {
        say_clock(own, IDENTITY_ERROR, STR("could not tell: the server has no address"));
        return;
    }
    own->open_count++;
    if (sntp_ask(own->conf.net, own->conf.clock, entropy_real(), at, OWN_MS_MAX / 3, clock_answered,
                own, &own->sntp, &why) != OK) {
        own->open_count--;
        say_clock(own, IDENTITY_ERROR, arena_strf(&own->arena, "could not tell: %s", why.text));
    }
}

/* ---- addresses of what the configuration names ---- */

static void target_v6(void *ctx, const struct dns_answer *answer)
{
    struct target *target = ctx;
    struct watcher_own *own = target->own;
    take_address(target, answer);
    if (!own->is_late && target == &own->outside) {
        reach_all(own);
    } else if (!own->is_late) {
        ask_clock(own);
    }
    one_is_in(own);
}

static void target_v4(void *ctx, const struct dns_answer *answer)
{
    struct target *target = ctx;
    struct dns *dns = target->own->conf.dns;
    const struct dns_answer none = { .status = DNS_SERVFAIL };
    take_address(target, answer);
    if (dns->ops->ask(dns, str_from_c(target->name), DNS_AAAA, target_v6, target) != OK) {
        target_v6(target, &none);
    }
}

/* Goes on in target_v6, or at once where it is an address. */
static void target_begin(
        struct watcher_own *own, struct target *target, struct str text, uint16_t port)
{
    struct dns *dns = own->conf.dns;
    const struct dns_answer none = { .status = DNS_NODATA };
    target->own = own;
    if (text.len == 0) {
        return;
    }
    own->open_count++;
    if (!target_parse(text, port, target) || target->name[0] == '\0') {
        target_v6(target, &none);
    } else if (dns->ops->ask(dns, str_from_c(target->name), DNS_A, target_v4, target) != OK) {
        target_v4(target, &none);
    }
}

/* ---- expiry of domains (RFC 9083 4.5) ---- */

static void expiry_next(struct watcher_own *own);

static void say_expiry(
        struct watcher_own *own, struct str domain, enum identity_status status, struct str found)
{
    struct identity_result *result =
            say(own, "domain.expiry", "the domain's registration is far from its end", status);
    if (result != NULL) {
        result->domain = domain;
        result->found = arena_str(&own->arena, found);
        result->expected = STR("30 days or more");
        bool is_near = status == IDENTITY_WARN || status == IDENTITY_FAIL;
        result->detail =
                is_near ? STR("renew it at its registrar, and turn on its renewal there") : STR("");
    }
}

/* The date of the event "expiration"; 0: none. */
static struct wall expiration(struct str body)
{
    json_t *root = json_loadb(body.ptr, body.len, 0, NULL), *event;
    struct wall at = { 0 };
    size_t i;
    json_array_foreach(json_object_get(root, "events"), i, event)
    {
        const char *action = json_string_value(json_object_get(event, "eventAction"));
        const char *date = json_string_value(json_object_get(event, "eventDate"));
        if (action != NULL && date != NULL && strcmp(action, "expiration") == 0 &&
                time_parse_rfc3339(str_from_c(date), &at) != OK) {
            at.ms = 0;
        }
    }
    json_decref(root);
    return at;
}

static void expiry_answered(void *ctx, const struct http_reply *reply)
{
    struct watcher_own *own = ctx;
    struct str domain = own->config->domain[own->expiry_index].name;
    struct wall at =
            reply->err == OK && reply->status == 200 ? expiration(reply->body) : (struct wall){ 0 };
    char day[TIME_TEXT_CAP], text[200];
    if (at.ms == 0) {
        size_t len = reply->err != OK
                             ? fmt(text, sizeof text, "could not tell: %s", reply->why)
                             : fmt(text, sizeof text, "could not tell: answer %u without a date",
                                       (unsigned)reply->status);
        say_expiry(own, domain, IDENTITY_ERROR, str_of(text, len));
    } else {
        int64_t days = (at.ms - clock_wall(own->conf.clock).ms) / DAY_MS;
        size_t len = time_day(at, day);
        say_expiry(own, domain,
                days < EXPIRY_FAIL_DAYS   ? IDENTITY_FAIL
                : days < EXPIRY_WARN_DAYS ? IDENTITY_WARN
                                          : IDENTITY_PASS,
                str_of(text, fmt(text, sizeof text, "until %.*s", (int)len, day)));
    }
    own->expiry_index++;
    expiry_next(own);
    one_is_in(own);
}

static bool is_registered(const struct config *config, uint32_t index)
{
    struct str name = config->domain[index].name;
    return str_eq(domain_organizational(name), name);
}

static void expiry_next(struct watcher_own *own)
{
    const struct config *config = own->config;
    char url[600];
    while (own->expiry_index < config->domain_count &&
            own->expiry_index < EXPIRY_DOMAIN_COUNT_MAX) {
        struct str name = config->domain[own->expiry_index].name;
        fmt(url, sizeof url, "%.*s/domain/%.*s", STR_ARG(config->rdap_server), STR_ARG(name));
        struct http_sending request = {
            .url = url, .header = { "Accept: application/rdap+json" }, .ms_max = OWN_MS_MAX
        };
        if (is_registered(config, own->expiry_index) &&
                http_send(own->conf.http, &request, expiry_answered, own) == OK) {
            own->open_count++;
            return;
        }
        own->expiry_index++;
    }
}

/* ---- the round ---- */

enum err watcher_own_begin(const struct watcher_own_conf *conf, struct watcher_own **ret_own)
{
    struct watcher_own *own = mem_new(sizeof *own);
    if (own == NULL) {
        return E_NOMEM;
    }
    arena_init(&own->arena, OWN_ARENA_BYTES_MAX);
    own->conf = *conf;
    own->result_max =
            conf->config->listen_count + conf->config->source_count + EXPIRY_DOMAIN_COUNT_MAX + 10;
    own->result = arena_new(&own->arena, own->result_max * sizeof(void *));
    if (own->result == NULL) {
        arena_done(&own->arena);
        mem_free(own);
        return E_NOMEM;
    }
    own->config = config_take(conf->config);
    own->deadline = mono_after(clock_mono(conf->clock), OWN_MS_MAX);
    *ret_own = own;
    return OK;
}

static void begin_all(struct watcher_own *own)
{
    own->open_count = 1; /* this call's own */
    if (own->conf.is_expiry) {
        expiry_next(own);
    } else {
        look_at_listeners(own);
        look_at_tls(own);
        ask_resolver(own);
        target_begin(own, &own->outside, own->config->probe_host, SMTP_PORT);
        target_begin(own, &own->time_server, own->config->clock_server, NTP_PORT);
    }
    one_is_in(own);
}

static void give_up(struct watcher_own *own)
{
    uint32_t late_count = 0;
    own->is_late = true;
    for (uint32_t i = 0; i < own->reach_count; i++) {
        struct reach *reach = &own->reach[i];
        if (reach->conn != NULL) {
            reach->conn->net->ops->close(reach->conn, true);
            reach->conn = NULL;
            say_reach(reach, IDENTITY_FAIL, STR("no answer in 15 s"));
            late_count++;
        }
    }
    while (late_count-- > 0) {
        one_is_in(own); /* the last may end the round */
    }
}

struct mono watcher_own_tick(struct watcher_own *own)
{
    struct mono now = clock_mono(own->conf.clock);
    if (!own->is_begun) {
        own->is_begun = true;
        begin_all(own);
        return own->deadline;
    }
    if (own->sntp != NULL && sntp_tick(own->sntp).ms == 0 && own->open_count == 0) {
        return (struct mono){ 0 };
    }
    if (!own->is_late && mono_is_due(own->deadline, now)) {
        give_up(own);
    }
    return own->is_late ? mono_after(now, 1000) : mono_after(now, 500);
}

void watcher_own_free(struct watcher_own *own)
{
    if (own == NULL) {
        return;
    }
    for (uint32_t i = 0; i < own->reach_count; i++) {
        if (own->reach[i].conn != NULL) {
            own->reach[i].conn->net->ops->close(own->reach[i].conn, true);
        }
    }
    sntp_close(own->sntp);
    config_give(own->config);
    arena_done(&own->arena);
    mem_free(own);
}
