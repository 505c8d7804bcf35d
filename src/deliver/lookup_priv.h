/* SPDX-License-Identifier: Apache-2.0
 *
 * lookup_priv.h - finding the hosts of one domain once: a route's targets, a literal, or MX.
 *
 * A lookup asks, waits for all answers, judges them and tells its owner. It keeps nothing between
 * look-ups (router.c does) and knows no deadline (the owner abandons it).
 */
#ifndef OUTPOST_DELIVER_LOOKUP_PRIV_H
#define OUTPOST_DELIVER_LOOKUP_PRIV_H

#include "core/list.h"
#include "deliver/deliver.h"

enum lookup_status {
    LOOKUP_FOUND,
    LOOKUP_DEFERRED, /* DNS trouble: nothing can be said */
    LOOKUP_ABSENT,   /* no such domain, or no address: final only when seen twice */
    LOOKUP_REFUSED   /* final: null MX, a loop, internal addresses only */
};
struct lookup_result {
    enum lookup_status status;
    struct site *site; /* FOUND: one reference, the taker's */
    uint64_t ttl_ms;   /* as the answers say, not clamped */
    char enhanced[12];
    char text[200];
};

struct lookup_host {
    struct lookup *lookup;
    char name[DNS_NAME_CAP];
    size_t name_len;
    uint16_t preference;
    uint16_t port;
    bool is_own;      /* the name, or an address of it, is this host's */
    bool is_failing;  /* an answer was SERVFAIL, time-out or bogus */
    bool is_internal; /* an internal address was left out */
    struct ip address[2][ROUTER_ADDRESS_COUNT_MAX]; /* IPv6, IPv4 */
    uint32_t address_count[2];
};

struct lookup {
    struct list item; /* its owner's */
    struct dns *dns;
    struct config *config;            /* counted */
    const struct config_route *route; /* of config; NULL: by DNS */
    deliver_is_own_address *is_own_address;
    void (*done)(void *ctx, struct lookup *lookup); /* result is set; then lookup_drop */
    void *ctx;
    bool is_confirming; /* an absent domain is asked about in a second way */
    bool is_abandoned;  /* nobody waits: free when the last answer is in */
    uint32_t pending_count;
    uint32_t ttl_s; /* least of the answers' */
    struct lookup_host *host;
    uint32_t host_count;
    struct lookup_result result;
    size_t domain_len;
    char domain[DNS_NAME_CAP];
};

/* domain: lower-case A-label or address literal, under DNS_NAME_CAP bytes. done comes exactly once,
 * perhaps from within lookup_run, unless the lookup was dropped before. */
MUST_USE enum err lookup_new(struct dns *dns, struct config *config,
        deliver_is_own_address *is_own_address, struct str domain, bool is_confirming,
        struct lookup **ret_lookup);
void lookup_run(struct lookup *lookup);
/* Gives it up: freed now, or when the last answer is in. A site in the result is given back. */
void lookup_drop(struct lookup *lookup);
void lookup_free(struct lookup *lookup); /* at once: no answer can come any more */

static inline struct str lookup_domain(const struct lookup *lookup)
{
    return str_of(lookup->domain, lookup->domain_len);
}
/* Sets the result; the caller then says done. */
void lookup_say(struct lookup *lookup, enum lookup_status status, const char *enhanced,
        const char *format, ...) PRINTF_LIKE(4, 5);

/* ---- addresses and sites (site.c) ---- */

/* Ours by configuration or by the host's own account. */
bool deliver_is_own(
        const struct config *config, deliver_is_own_address *is_own_address, struct ip ip);
/* "192.0.2.1:25", "[::1]:25", "192.0.2.1", "::1": *ret_at; "host:587", "host": *ret_name with its
 * port in *ret_at, whose family stays IP_NONE. E_SYNTAX. */
MUST_USE enum err deliver_target_parse(
        struct str target, struct ip_port *ret_at, struct str *ret_name);
/* "[192.0.2.1]", "[IPv6:2001:db8::1]" (RFC 5321 4.1.3). */
bool deliver_literal_parse(struct str domain, struct ip *ret_ip);

struct site_plan { /* what a site is made of */
    struct str key;
    enum config_dest_tls tls;
    bool is_routed;
    struct str username, password;
    const struct lookup_host *host;
    uint32_t host_count;
};
/* Hosts without address are left out; the others are sorted by preference. E_NOMEM. */
MUST_USE enum err site_make(const struct site_plan *plan, struct site **ret_site);
/* The same hosts, addresses and policy: one struct can serve for both. */
bool site_is_same(const struct site *a, const struct site *b);
/* Sorted lower-case names, joined by ','; over ROUTER_KEY_BYTES_MAX it ends in '~' and a hash. */
size_t site_key_of(
        const struct lookup_host *host, uint32_t host_count, char dst[ROUTER_KEY_BYTES_MAX + 1]);

#endif
