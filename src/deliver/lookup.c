/* SPDX-License-Identifier: Apache-2.0
 *
 * lookup.c - one domain, asked once: MX, then the addresses of its hosts, then a verdict.
 *
 * RFC 5321 5.1 with RFC 7505. Everything an answer may hold is bounded (router limits in
 * deliver.h). An answer that failed never counts as an absent record.
 */
#include "deliver/lookup_priv.h"

#include "core/str.h"
#include "mail/domain.h"

#include <stdarg.h>
#include <stdio.h>

void lookup_say(struct lookup *lookup, enum lookup_status status, const char *enhanced,
        const char *format, ...)
{
    struct lookup_result *result = &lookup->result;
    result->status = status;
    fmt(result->enhanced, sizeof result->enhanced, "%s", enhanced);
    va_list args;
    va_start(args, format);
    vsnprintf(result->text, sizeof result->text, format, args);
    va_end(args);
}

static void lookup_end(struct lookup *lookup)
{
    lookup->result.ttl_ms = (uint64_t)lookup->ttl_s * 1000;
    lookup->done(lookup->ctx, lookup);
}

/* ---- what the answers say ---- */

static bool status_is_failure(enum dns_status status)
{
    return status == DNS_SERVFAIL || status == DNS_TIMEOUT || status == DNS_BOGUS;
}

static const char *status_words(enum dns_status status)
{
    switch (status) {
    case DNS_FOUND:
        return "found";
    case DNS_NODATA:
        return "no such record";
    case DNS_NXDOMAIN:
        return "no such name";
    case DNS_SERVFAIL:
        return "server failure";
    case DNS_TIMEOUT:
        return "no answer";
    case DNS_BOGUS:
        return "forged or broken (DNSSEC)";
    }
    return "unknown";
}

/* Counts an answer in. False: nobody waits for it any more. */
static bool answer_taken(struct lookup *lookup, const struct dns_answer *answer)
{
    ASSERT(lookup->pending_count > 0);
    lookup->pending_count--;
    if (lookup->is_abandoned) {
        if (lookup->pending_count == 0) {
            lookup_free(lookup);
        }
        return false;
    }
    if (answer->ttl_s < lookup->ttl_s) {
        lookup->ttl_s = answer->ttl_s;
    }
    return true;
}

static bool ask(struct lookup *lookup, struct str name, enum dns_type type, dns_answered *answered,
        void *ctx)
{
    if (lookup->dns->ops->ask(lookup->dns, name, type, answered, ctx) != OK) {
        return false;
    }
    lookup->pending_count++;
    return true;
}

/* ---- the verdict ---- */

static bool has_address(const struct lookup_host *host)
{
    return host->address_count[0] + host->address_count[1] > 0;
}

/* The best preference that is ours; UINT32_MAX: none. RFC 5321 5.1: it and all worse are left out.
 */
static uint32_t own_preference(const struct lookup *lookup)
{
    uint32_t best = UINT32_MAX;
    for (uint32_t i = 0; i < lookup->host_count; i++) {
        if (lookup->host[i].is_own && lookup->host[i].preference < best) {
            best = lookup->host[i].preference;
        }
    }
    return best;
}

struct tally {
    uint32_t usable_count, failing_count, internal_count, left_out_count;
};

static struct tally tally_hosts(struct lookup *lookup)
{
    struct tally tally = { 0 };
    uint32_t own = own_preference(lookup);
    for (uint32_t i = 0; i < lookup->host_count; i++) {
        struct lookup_host *host = &lookup->host[i];
        if (host->preference >= own) {
            host->address_count[0] = host->address_count[1] = 0;
            tally.left_out_count++;
            continue;
        }
        tally.usable_count += has_address(host);
        tally.failing_count += host->is_failing;
        tally.internal_count += host->is_internal;
    }
    return tally;
}

static void say_found(struct lookup *lookup, const char *key, size_t key_len)
{
    const struct config_route *route = lookup->route;
    struct site_plan plan = { .key = str_of(key, key_len),
        .tls = lookup->config->outbound_tls,
        .host = lookup->host,
        .host_count = lookup->host_count };
    if (route) {
        plan.tls = route->tls;
        plan.is_routed = true;
        plan.username = route->username;
        plan.password = route->password;
    }
    if (site_make(&plan, &lookup->result.site) != OK) {
        lookup_say(lookup, LOOKUP_DEFERRED, "4.3.0", "out of memory");
        return;
    }
    lookup->result.status = LOOKUP_FOUND;
}

static void judge_mx(struct lookup *lookup)
{
    char key[ROUTER_KEY_BYTES_MAX + 1];
    size_t key_len = site_key_of(lookup->host, lookup->host_count, key);
    struct tally tally = tally_hosts(lookup);
    struct str domain = lookup_domain(lookup);
    if (tally.usable_count > 0) {
        lookup->ttl_s = tally.failing_count > 0 ? 0 : lookup->ttl_s; /* look again soon */
        say_found(lookup, key, key_len);
    } else if (tally.failing_count > 0) {
        lookup_say(lookup, LOOKUP_DEFERRED, "4.4.3",
                "the addresses of the mail hosts of %.*s could not be looked up", STR_ARG(domain));
    } else if (tally.left_out_count > 0) { /* RFC 5321 5.1 */
        lookup_say(lookup, LOOKUP_REFUSED, "5.4.6", "mail for %.*s loops back to this host",
                STR_ARG(domain));
    } else if (tally.internal_count > 0) {
        lookup_say(lookup, LOOKUP_REFUSED, "5.4.4",
                "the mail hosts of %.*s have internal addresses only", STR_ARG(domain));
    } else {
        lookup_say(lookup, LOOKUP_ABSENT, "5.4.4", "no mail host of %.*s has an address",
                STR_ARG(domain));
    }
}

/* A route is the operator's: what is wrong with it never bounces mail. */
static void judge_route(struct lookup *lookup)
{
    char key[sizeof "route:" + DNS_NAME_CAP];
    struct str domain = lookup->route->domain;
    size_t key_len = fmt(key, sizeof key, "route:%.*s", STR_ARG(domain));
    if (tally_hosts(lookup).usable_count > 0) {
        say_found(lookup, key, key_len);
        return;
    }
    lookup_say(lookup, LOOKUP_DEFERRED, "4.4.4",
            "no target of route \"%.*s\" has an address: see `to` in the configuration",
            STR_ARG(domain));
}

static void judge(struct lookup *lookup)
{
    if (lookup->route) {
        judge_route(lookup);
    } else {
        judge_mx(lookup);
    }
    lookup_end(lookup);
}

/* ---- addresses of hosts ---- */

static void host_add_address(struct lookup_host *host, struct ip ip)
{
    const struct lookup *lookup = host->lookup;
    bool is_v4 = ip.family == IP_V4;
    if (!lookup->route && ip_is_internal(ip)) {
        host->is_internal = true;
        return;
    }
    if (!lookup->route && deliver_is_own(lookup->config, lookup->is_own_address, ip)) {
        host->is_own = true;
        return;
    }
    if (host->address_count[is_v4] < ROUTER_ADDRESS_COUNT_MAX) {
        host->address[is_v4][host->address_count[is_v4]++] = ip;
    }
}

static void address_answered(void *ctx, const struct dns_answer *answer)
{
    struct lookup_host *host = ctx;
    struct lookup *lookup = host->lookup;
    if (!answer_taken(lookup, answer)) {
        return;
    }
    host->is_failing = host->is_failing || status_is_failure(answer->status);
    for (uint32_t i = 0; i < answer->record_count && answer->status == DNS_FOUND; i++) {
        const struct dns_record *record = &answer->record[i];
        if (record->type == DNS_A || record->type == DNS_AAAA) {
            host_add_address(host, record->ip);
        }
    }
    if (lookup->pending_count == 0) {
        judge(lookup);
    }
}

static void ask_addresses(struct lookup *lookup)
{
    for (uint32_t i = 0; i < lookup->host_count; i++) {
        struct lookup_host *host = &lookup->host[i];
        if (has_address(host) || host->name_len == 0) {
            continue; /* a literal target */
        }
        struct str name = str_of(host->name, host->name_len);
        host->is_failing |= !ask(lookup, name, DNS_AAAA, address_answered, host);
        host->is_failing |= !ask(lookup, name, DNS_A, address_answered, host);
    }
    if (lookup->pending_count == 0) {
        judge(lookup);
    }
}

static bool hosts_reserve(struct lookup *lookup, uint32_t count)
{
    lookup->host = mem_new(count * sizeof *lookup->host);
    if (!lookup->host) {
        lookup_say(lookup, LOOKUP_DEFERRED, "4.3.0", "out of memory");
    }
    return lookup->host != NULL;
}

static struct lookup_host *host_add(struct lookup *lookup, struct str name, uint16_t preference)
{
    struct lookup_host *host = &lookup->host[lookup->host_count++];
    host->lookup = lookup;
    host->preference = preference;
    host->port = 25;
    host->name_len = name.len;
    for (size_t i = 0; i < name.len; i++) {
        host->name[i] = ascii_lower(name.ptr[i]);
    }
    host->is_own = !lookup->route && str_eq_nocase(name, lookup->config->hostname);
    return host;
}

/* ---- MX ---- */

/* RFC 7505 3: one record, the root as its host. */
static bool is_null_mx(const struct dns_answer *answer)
{
    uint32_t root_count = 0;
    for (uint32_t i = 0; i < answer->record_count; i++) {
        root_count += answer->record[i].data.len == 0;
    }
    return root_count > 0 && root_count == answer->record_count;
}

static bool mx_is_usable(const struct dns_record *record)
{
    return record->type == DNS_MX && record->data.len > 0 && record->data.len < DNS_NAME_CAP &&
           domain_is_dns_name(record->data); /* G7 */
}

/* Takes the best hosts up to the limit; equal ones as they came. */
static void take_mx_hosts(struct lookup *lookup, const struct dns_answer *answer)
{
    bool is_taken[DNS_RECORD_COUNT_MAX] = { false };
    uint32_t count = answer->record_count;
    count = count < DNS_RECORD_COUNT_MAX ? count : DNS_RECORD_COUNT_MAX;
    while (lookup->host_count < ROUTER_HOST_COUNT_MAX) {
        uint32_t best = UINT32_MAX;
        for (uint32_t i = 0; i < count; i++) {
            const struct dns_record *record = &answer->record[i];
            if (!is_taken[i] && mx_is_usable(record) &&
                    (best == UINT32_MAX || record->preference < answer->record[best].preference)) {
                best = i;
            }
        }
        if (best == UINT32_MAX) {
            return;
        }
        is_taken[best] = true;
        host_add(lookup, answer->record[best].data, answer->record[best].preference);
    }
}

static void mx_found(struct lookup *lookup, const struct dns_answer *answer)
{
    struct str domain = lookup_domain(lookup);
    if (is_null_mx(answer)) { /* RFC 7505 4.2 */
        lookup_say(lookup, LOOKUP_REFUSED, "5.1.10", "%.*s does not accept mail (null MX)",
                STR_ARG(domain));
        lookup_end(lookup);
        return;
    }
    if (!hosts_reserve(lookup, ROUTER_HOST_COUNT_MAX)) {
        lookup_end(lookup);
        return;
    }
    take_mx_hosts(lookup, answer);
    if (lookup->host_count == 0) { /* G4 */
        lookup_say(lookup, LOOKUP_DEFERRED, "4.4.3", "no MX record of %.*s is usable",
                STR_ARG(domain));
        lookup_end(lookup);
        return;
    }
    ask_addresses(lookup);
}

/* RFC 5321 5.1: without any MX the domain is its own host, at preference 0. */
static void mx_implied(struct lookup *lookup)
{
    if (!hosts_reserve(lookup, 1)) {
        lookup_end(lookup);
        return;
    }
    host_add(lookup, lookup_domain(lookup), 0);
    ask_addresses(lookup);
}

static void say_failed(struct lookup *lookup, enum dns_status status, const char *why)
{
    lookup_say(lookup, LOOKUP_DEFERRED, "4.4.3", "MX of %.*s: %s%s%.80s",
            STR_ARG(lookup_domain(lookup)), status_words(status), why && *why ? ": " : "",
            why ? why : "");
}

/* The second opinion on an absent domain: another type, which a cache that still holds the first
 * answer asks anew. Anything but the same answer means that the domain may be there. */
static void absence_answered(void *ctx, const struct dns_answer *answer)
{
    struct lookup *lookup = ctx;
    if (!answer_taken(lookup, answer)) {
        return;
    }
    if (answer->status != DNS_NXDOMAIN) {
        say_failed(lookup, status_is_failure(answer->status) ? answer->status : DNS_SERVFAIL,
                "answers contradict each other");
    }
    lookup_end(lookup);
}

static void mx_absent(struct lookup *lookup)
{
    struct str domain = lookup_domain(lookup);
    lookup_say(lookup, LOOKUP_ABSENT, "5.4.4", "%.*s does not exist", STR_ARG(domain));
    if (lookup->is_confirming && ask(lookup, domain, DNS_A, absence_answered, lookup)) {
        return;
    }
    lookup_end(lookup);
}

static void mx_answered(void *ctx, const struct dns_answer *answer)
{
    struct lookup *lookup = ctx;
    if (!answer_taken(lookup, answer)) {
        return;
    }
    switch (answer->status) {
    case DNS_FOUND:
        mx_found(lookup, answer);
        return;
    case DNS_NODATA:
        mx_implied(lookup);
        return;
    case DNS_NXDOMAIN:
        mx_absent(lookup);
        return;
    case DNS_SERVFAIL:
    case DNS_TIMEOUT:
    case DNS_BOGUS: /* G6 */
        break;
    }
    say_failed(lookup, answer->status, answer->why);
    lookup_end(lookup);
}

/* ---- the three ways ---- */

static void run_sandbox(struct lookup *lookup)
{
    struct ip_port at = lookup->config->sandbox_catcher;
    if (!hosts_reserve(lookup, 1)) {
        lookup_end(lookup);
        return;
    }
    struct lookup_host *host = host_add(lookup, STR("sandbox"), 0);
    host->port = at.port;
    host->address[at.ip.family == IP_V4][0] = at.ip;
    host->address_count[at.ip.family == IP_V4] = 1;
    struct site_plan plan = { .key = STR("sandbox"),
        .tls = CONFIG_DEST_TLS_MAY,
        .is_routed = true,
        .host = host,
        .host_count = 1 };
    if (site_make(&plan, &lookup->result.site) == OK) {
        lookup->result.status = LOOKUP_FOUND;
    } else {
        lookup_say(lookup, LOOKUP_DEFERRED, "4.3.0", "out of memory");
    }
    lookup_end(lookup);
}

static void run_route(struct lookup *lookup)
{
    uint32_t count = lookup->route->to_count;
    count = count < ROUTER_HOST_COUNT_MAX ? count : ROUTER_HOST_COUNT_MAX;
    if (!hosts_reserve(lookup, count + 1)) {
        lookup_end(lookup);
        return;
    }
    for (uint32_t i = 0; i < count; i++) {
        struct ip_port at;
        struct str name;
        if (deliver_target_parse(lookup->route->to[i], &at, &name) != OK) {
            continue; /* `config check` refuses it */
        }
        struct lookup_host *host = host_add(lookup, name, (uint16_t)i); /* i < 20 */
        host->port = at.port;
        if (at.ip.family != IP_NONE) {
            char text[IP_TEXT_CAP];
            struct str literal = ip_format(at.ip, text);
            memcpy(host->name, literal.ptr, literal.len);
            host->name_len = literal.len;
            host_add_address(host, at.ip);
        }
    }
    ask_addresses(lookup);
}

static void run_literal(struct lookup *lookup, struct ip ip)
{
    if (!hosts_reserve(lookup, 1)) {
        lookup_end(lookup);
        return;
    }
    struct str domain = lookup_domain(lookup);
    struct lookup_host *host = host_add(lookup, domain, 0);
    host_add_address(host, ip);
    judge(lookup);
}

void lookup_run(struct lookup *lookup)
{
    struct str domain = lookup_domain(lookup);
    struct ip literal;
    if (lookup->config->is_sandbox) { /* nothing else, ever */
        run_sandbox(lookup);
    } else if (lookup->route) {
        run_route(lookup);
    } else if (deliver_literal_parse(domain, &literal)) {
        run_literal(lookup, literal);
    } else if (!domain_is_dns_name(domain)) {
        lookup_say(
                lookup, LOOKUP_REFUSED, "5.1.2", "\"%.100s\" is not a domain name", lookup->domain);
        lookup_end(lookup);
    } else if (!ask(lookup, domain, DNS_MX, mx_answered, lookup)) {
        lookup_say(lookup, LOOKUP_DEFERRED, "4.4.3", "the resolver takes no more questions");
        lookup_end(lookup);
    }
}

enum err lookup_new(struct dns *dns, struct config *config, deliver_is_own_address *is_own_address,
        struct str domain, bool is_confirming, struct lookup **ret_lookup)
{
    ASSERT(domain.len < DNS_NAME_CAP);
    struct lookup *lookup = mem_new(sizeof *lookup);
    if (!lookup) {
        return E_NOMEM;
    }
    lookup->dns = dns;
    lookup->config = config_take(config);
    lookup->route = config->is_sandbox ? NULL : config_route_for(config, domain);
    lookup->is_own_address = is_own_address;
    lookup->is_confirming = is_confirming;
    lookup->ttl_s = UINT32_MAX;
    list_init(&lookup->item);
    memcpy(lookup->domain, domain.ptr, domain.len);
    lookup->domain_len = domain.len;
    *ret_lookup = lookup;
    return OK;
}

void lookup_free(struct lookup *lookup)
{
    list_del(&lookup->item);
    site_give(lookup->result.site);
    config_give(lookup->config);
    mem_free(lookup->host);
    mem_free(lookup);
}

void lookup_drop(struct lookup *lookup)
{
    lookup->is_abandoned = true;
    if (lookup->pending_count == 0) {
        lookup_free(lookup);
    }
}
