/* SPDX-License-Identifier: Apache-2.0
 *
 * config.c - the snapshot as its users see it: references and look-ups.
 *
 * load.c sorts domains, credentials and routes by name; the look-ups here are binary searches.
 */
#include "config/load_priv.h"

#include "core/str.h"
#include "mail/domain.h"

#include <stdatomic.h>

enum { SNAPSHOT_BYTES_MAX = 512 << 20 };

struct snapshot {
    struct config config;
    struct arena arena;
    _Atomic uint32_t refs;
};

struct config *config_new(struct arena **ret_arena)
{
    struct snapshot *snapshot = mem_new(sizeof *snapshot);
    if (!snapshot) {
        return NULL;
    }
    arena_init(&snapshot->arena, SNAPSHOT_BYTES_MAX);
    atomic_init(&snapshot->refs, 1);
    *ret_arena = &snapshot->arena;
    return &snapshot->config;
}

struct config *config_take(struct config *config)
{
    struct snapshot *snapshot = CONTAINER_OF(config, struct snapshot, config);
    uint32_t before = atomic_fetch_add_explicit(&snapshot->refs, 1, memory_order_relaxed);
    ASSERT(before > 0 && before < UINT32_MAX);
    return config;
}

/* Secrets do not stay in freed memory. */
static void wipe_secret(struct str secret)
{
    if (secret.len > 0) {
        crypto_wipe((void *)(uintptr_t)secret.ptr, secret.len); /* the arena's own copy */
    }
}

static void config_free(struct config *config)
{
    for (uint32_t i = 0; i < config->domain_count; i++) {
        for (uint32_t k = 0; k < config->domain[i].key_count; k++) {
            key_free(config->domain[i].key[k].key);
        }
    }
    for (uint32_t i = 0; i < config->listen_count; i++) {
        tls_give(config->listen[i].tls_context);
    }
    for (uint32_t i = 0; i < config->credential_count; i++) {
        wipe_secret(config->credential[i].password_hash);
        wipe_secret(config->credential[i].scram_stored_key);
        wipe_secret(config->credential[i].scram_server_key);
    }
    for (uint32_t i = 0; i < config->route_count; i++) {
        wipe_secret(config->route[i].password);
    }
    for (uint32_t i = 0; i < config->alert_count; i++) {
        wipe_secret(config->alert[i].key);
    }
}

void config_give(struct config *config)
{
    if (!config) {
        return;
    }
    struct snapshot *snapshot = CONTAINER_OF(config, struct snapshot, config);
    if (atomic_fetch_sub_explicit(&snapshot->refs, 1, memory_order_acq_rel) == 1) {
        config_free(config);
        arena_done(&snapshot->arena);
        mem_free(snapshot);
    }
}

/* ---- look-ups ---- */

/* In an array sorted by its first field; NULL where there is none. */
static const void *find_sorted(const void *array, uint32_t count, size_t bytes, struct str title)
{
    uint32_t low = 0, high = count;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        const struct str *at = (const void *)((const char *)array + middle * bytes);
        int order = str_cmp(title, *at);
        if (order == 0) {
            return at;
        }
        if (order < 0) {
            high = middle;
        } else {
            low = middle + 1;
        }
    }
    return NULL;
}

/* ASCII lower case without a final dot; "" where it does not fit (so it cannot be ours). */
static struct str lower(struct str name, char dst[DOMAIN_CAP])
{
    size_t len = name.len > 0 && name.ptr[name.len - 1] == '.' ? name.len - 1 : name.len;
    if (len >= DOMAIN_CAP) {
        return STR("");
    }
    for (size_t i = 0; i < len; i++) {
        dst[i] = ascii_lower(name.ptr[i]);
    }
    return str_of(dst, len);
}

uint32_t config_domain_active_key_count(const struct config_domain *domain)
{
    uint32_t count = 0;
    for (uint32_t i = 0; i < domain->key_count; i++) {
        count += !domain->key[i].is_inactive;
    }
    return count;
}

const struct config_domain *config_domain_for(const struct config *config, struct str from_domain)
{
    char text[DOMAIN_CAP];
    struct str name = lower(from_domain, text);
    const struct config_domain *nearest = NULL;
    while (name.len > 0) {
        const struct config_domain *found =
                find_sorted(config->domain, config->domain_count, sizeof *found, name);
        if (found && config_domain_active_key_count(found) > 0) {
            return found;
        }
        nearest = nearest ? nearest : found;
        name = str_from(name, str_index(name, '.') + 1);
    }
    return nearest;
}

const struct config_stream *config_stream(const struct config *config, struct str name)
{
    for (uint32_t i = 0; i < config->stream_count; i++) {
        if (str_eq(config->stream[i].name, name)) {
            return &config->stream[i];
        }
    }
    return NULL;
}

const struct config_credential *config_credential(const struct config *config, struct str name)
{
    return find_sorted(
            config->credential, config->credential_count, sizeof *config->credential, name);
}

const struct config_route *config_route_for(const struct config *config, struct str domain)
{
    char text[DOMAIN_CAP];
    const struct config_route *route =
            find_sorted(config->route, config->route_count, sizeof *route, lower(domain, text));
    return route ? route : find_sorted(config->route, config->route_count, sizeof *route, STR("*"));
}

const struct config_pool *config_pool(const struct config *config, struct str name)
{
    for (uint32_t i = 0; i < config->pool_count; i++) {
        if (str_eq(config->pool[i].name, name)) {
            return &config->pool[i];
        }
    }
    return NULL;
}
