/* SPDX-License-Identifier: Apache-2.0
 *
 * site.c - what sites are made of: targets and literals read, names joined to a key, hosts copied.
 *
 * No DNS and no memory of earlier sites (lookup.c, router.c). The life of a made site is counted by
 * queue/queue.h.
 */
#include "core/arena.h"
#include "core/str.h"
#include "deliver/lookup_priv.h"

enum { SMTP_PORT = 25, KEY_HASH_DIGITS = 16, PIECE_SLACK_BYTES = 32 };

bool deliver_is_own(
        const struct config *config, deliver_is_own_address *is_own_address, struct ip ip)
{
    for (uint32_t i = 0; i < config->listen_count; i++) {
        for (uint32_t j = 0; j < config->listen[i].address_count; j++) {
            if (ip_eq(config->listen[i].address[j].ip, ip)) {
                return true;
            }
        }
    }
    for (uint32_t i = 0; i < config->source_count; i++) {
        if (ip_eq(config->source[i].address, ip)) {
            return true;
        }
    }
    return is_own_address && is_own_address(ip);
}

static bool port_parse(struct str text, uint16_t *ret_port)
{
    uint64_t port;
    if (str_to_u64(text, UINT16_MAX, &port) != OK || port == 0) {
        return false;
    }
    *ret_port = (uint16_t)port; /* ≤ UINT16_MAX by the line above */
    return true;
}

enum err deliver_target_parse(struct str target, struct ip_port *ret_at, struct str *ret_name)
{
    struct ip_port at = { .port = SMTP_PORT };
    if (ip_port_parse(target, &at) == OK || ip_parse(target, &at.ip) == OK) {
        *ret_at = at;
        *ret_name = str_of(NULL, 0);
        return at.port ? OK : E_SYNTAX;
    }
    size_t colon = str_rindex(target, ':');
    if (colon < target.len && !port_parse(str_from(target, colon + 1), &at.port)) {
        return E_SYNTAX;
    }
    struct str name = str_sub(target, 0, colon);
    if (name.len == 0 || name.len >= DNS_NAME_CAP) {
        return E_SYNTAX;
    }
    *ret_at = (struct ip_port){ .port = at.port };
    *ret_name = name;
    return OK;
}

bool deliver_literal_parse(struct str domain, struct ip *ret_ip)
{
    if (domain.len < 2 || domain.ptr[0] != '[' || domain.ptr[domain.len - 1] != ']') {
        return false;
    }
    struct str inner = str_sub(domain, 1, domain.len - 2);
    if (str_starts_nocase(inner, STR("IPv6:"))) {
        inner = str_from(inner, sizeof "IPv6:" - 1);
    }
    return ip_parse(inner, ret_ip) == OK;
}

/* ---- keys ---- */

static struct str host_name(const struct lookup_host *host)
{
    return str_of(host->name, host->name_len);
}

/* The least name above floor (the first of all where floor is NULL), so that equal ones count once.
 */
static const struct lookup_host *host_after(
        const struct lookup_host *host, uint32_t host_count, const struct lookup_host *floor)
{
    const struct lookup_host *least = NULL;
    for (uint32_t i = 0; i < host_count; i++) {
        bool is_above = !floor || str_cmp(host_name(&host[i]), host_name(floor)) > 0;
        if (is_above && (!least || str_cmp(host_name(&host[i]), host_name(least)) < 0)) {
            least = &host[i];
        }
    }
    return least;
}

size_t site_key_of(
        const struct lookup_host *host, uint32_t host_count, char dst[ROUTER_KEY_BYTES_MAX + 1])
{
    enum { CUT = ROUTER_KEY_BYTES_MAX - KEY_HASH_DIGITS - 1 };
    size_t len = 0;
    bool is_cut = false;
    uint64_t hash = 0;
    for (const struct lookup_host *at = host_after(host, host_count, NULL); at;
            at = host_after(host, host_count, at)) {
        struct str name = host_name(at);
        hash = str_hash(name, hash);
        is_cut = is_cut || len + (len > 0) + name.len > CUT;
        if (!is_cut) {
            len += fmt(dst + len, ROUTER_KEY_BYTES_MAX + 1 - len, "%s%.*s", len ? "," : "",
                    STR_ARG(name));
        }
    }
    if (is_cut) {
        len += fmt(dst + len, ROUTER_KEY_BYTES_MAX + 1 - len, "~%016llx", (unsigned long long)hash);
    }
    return len;
}

/* ---- sites ---- */

/* IPv6 and IPv4 in turn, at most ROUTER_ADDRESS_COUNT_MAX. */
static uint32_t host_addresses(const struct lookup_host *from, struct ip_port *dst)
{
    uint32_t count = 0;
    for (uint32_t i = 0; i < ROUTER_ADDRESS_COUNT_MAX; i++) {
        for (uint32_t family = 0; family < 2; family++) {
            if (i < from->address_count[family] && count < ROUTER_ADDRESS_COUNT_MAX) {
                dst[count++] = (struct ip_port){ from->address[family][i], from->port };
            }
        }
    }
    return count;
}

static bool host_copy(struct arena *arena, const struct lookup_host *from, struct site_host *dst)
{
    struct ip_port address[ROUTER_ADDRESS_COUNT_MAX];
    uint32_t count = host_addresses(from, address);
    struct ip_port *copy = arena_new(arena, count * sizeof *copy);
    struct str name = arena_str(arena, host_name(from));
    if (!copy || !name.ptr) {
        return false;
    }
    memcpy(copy, address, count * sizeof *copy);
    *dst = (struct site_host){ name, copy, count, from->preference };
    return true;
}

/* Stable: hosts of equal preference stay as they came. */
static void hosts_sort(struct site_host *host, uint32_t count)
{
    for (uint32_t i = 1; i < count; i++) {
        struct site_host moved = host[i];
        uint32_t at = i;
        for (; at > 0 && host[at - 1].preference > moved.preference; at--) {
            host[at] = host[at - 1];
        }
        host[at] = moved;
    }
}

static bool site_fill(struct site *site, const struct site_plan *plan)
{
    struct arena *arena = site->arena;
    site->tls = plan->tls;
    site->is_routed = plan->is_routed;
    site->key = arena_str(arena, plan->key);
    site->username = arena_str(arena, plan->username);
    site->password = arena_str(arena, plan->password);
    site->host = arena_new(arena, (plan->host_count + 1) * sizeof *site->host);
    if (!site->key.ptr || !site->host || (plan->username.len && !site->username.ptr) ||
            (plan->password.len && !site->password.ptr)) {
        return false;
    }
    for (uint32_t i = 0; i < plan->host_count; i++) {
        const struct lookup_host *from = &plan->host[i];
        if (from->address_count[0] + from->address_count[1] == 0) {
            continue;
        }
        if (!host_copy(arena, from, &site->host[site->host_count])) {
            return false;
        }
        site->host_count++;
    }
    hosts_sort(site->host, site->host_count);
    return true;
}

/* What the pieces take at most, so that the arena is one block that fits: sites are kept by the
 * thousand. */
static size_t site_bytes(const struct site_plan *plan)
{
    size_t bytes = sizeof(struct site) + plan->key.len + plan->username.len + plan->password.len +
                   (plan->host_count + 1) * sizeof(struct site_host) + 5 * PIECE_SLACK_BYTES;
    for (uint32_t i = 0; i < plan->host_count; i++) {
        const struct lookup_host *host = &plan->host[i];
        bytes += host->name_len + 2 * PIECE_SLACK_BYTES +
                 (host->address_count[0] + host->address_count[1]) * sizeof(struct ip_port);
    }
    return bytes;
}

enum err site_make(const struct site_plan *plan, struct site **ret_site)
{
    struct arena *arena = mem_new(sizeof *arena);
    if (!arena) {
        return E_NOMEM;
    }
    arena_init(arena, site_bytes(plan));
    struct site *site =
            arena_new(arena, sizeof *site); /* site_give frees the arena, and it in it */
    if (!site) {
        mem_free(arena);
        return E_NOMEM;
    }
    atomic_init(&site->refs, 1);
    site->arena = arena;
    if (!site_fill(site, plan)) {
        site_give(site);
        return E_NOMEM;
    }
    *ret_site = site;
    return OK;
}

static bool host_is_same(const struct site_host *a, const struct site_host *b)
{
    bool is_same = str_eq(a->name, b->name) && a->preference == b->preference &&
                   a->address_count == b->address_count;
    for (uint32_t i = 0; is_same && i < a->address_count; i++) {
        is_same = ip_eq(a->address[i].ip, b->address[i].ip) &&
                  a->address[i].port == b->address[i].port;
    }
    return is_same;
}

bool site_is_same(const struct site *a, const struct site *b)
{
    bool is_same = str_eq(a->key, b->key) && a->tls == b->tls && a->is_routed == b->is_routed &&
                   a->host_count == b->host_count && str_eq(a->username, b->username) &&
                   str_eq(a->password, b->password);
    for (uint32_t i = 0; is_same && i < a->host_count; i++) {
        is_same = host_is_same(&a->host[i], &b->host[i]);
    }
    return is_same;
}
