/* SPDX-License-Identifier: Apache-2.0
 *
 * check_plan.c - what a configuration sends as and from: its domains, and the sources of the pools
 * that its streams use.
 */
#include "core/str.h"
#include "identity/check_priv.h"

/* The pool of a stream: its own, else the first (config.h). */
static const struct config_pool *stream_pool(
        const struct config *config, const struct config_stream *stream)
{
    if (stream->pool.len > 0) {
        return config_pool(config, stream->pool);
    }
    return config->pool_count > 0 ? &config->pool[0] : NULL;
}

/* Does any stream use source number index? Without pools: all are meant to be used. */
static bool is_used(const struct config *config, uint32_t index)
{
    for (uint32_t s = 0; s < config->stream_count; s++) {
        const struct config_pool *pool = stream_pool(config, &config->stream[s]);
        for (uint32_t i = 0; pool != NULL && i < pool->source_count; i++) {
            if (pool->source[i] == index) {
                return true;
            }
        }
    }
    return config->pool_count == 0;
}

static enum err add_sources(
        const struct config *config, struct arena *arena, struct identity_plan *plan)
{
    struct identity_source *source = arena_new(arena, (config->source_count + 1) * sizeof *source);
    if (source == NULL) {
        return E_NOMEM;
    }
    for (uint32_t i = 0; i < config->source_count; i++) {
        const struct config_source *from = &config->source[i];
        if (is_used(config, i)) {
            source[plan->source_count++] = (struct identity_source){ .name = from->name,
                .ip = from->address,
                .ehlo = from->ehlo.len > 0 ? from->ehlo : config->hostname };
        }
    }
    plan->source = source;
    return OK;
}

/* With the keys that sign. E_NOMEM. */
static enum err domain_of(
        const struct config_domain *from, struct arena *arena, struct identity_domain *ret_domain)
{
    struct config_dkim_key *key = arena_new(arena, (from->key_count + 1) * sizeof *key);
    uint32_t count = 0;
    if (key == NULL) {
        return E_NOMEM;
    }
    for (uint32_t i = 0; i < from->key_count; i++) {
        if (!from->key[i].is_inactive) {
            key[count++] = from->key[i];
        }
    }
    *ret_domain = (struct identity_domain){ .name = from->name,
        .bounce = from->bounce,
        .key = key,
        .key_count = count,
        .service = from->service,
        .service_count = from->service_count };
    return OK;
}

static enum err say_unknown(const struct config *config, struct str domain, struct why *why)
{
    char names[200] = "";
    size_t len = 0;
    for (uint32_t i = 0; i < config->domain_count; i++) {
        len += fmt(names + len, sizeof names - len, "%s%.*s", i > 0 ? ", " : "",
                STR_ARG(config->domain[i].name));
    }
    why_set(why,
            "%.*s is no domain of this configuration (%s); for a domain that is not yours say "
            "--any",
            STR_ARG(domain), names[0] != '\0' ? names : "it has none");
    return E_NOT_FOUND;
}

enum err identity_plan_make(const struct config *config, struct str domain, struct arena *arena,
        struct identity_plan *ret_plan, struct why *why)
{
    struct identity_plan plan = { .config = config };
    struct identity_domain *list = arena_new(arena, (config->domain_count + 1) * sizeof *list);
    if (list == NULL || add_sources(config, arena, &plan) != OK) {
        return E_NOMEM;
    }
    for (uint32_t i = 0; i < config->domain_count; i++) {
        if (domain.len == 0 || str_eq_nocase(domain, config->domain[i].name)) {
            if (domain_of(&config->domain[i], arena, &list[plan.domain_count]) != OK) {
                return E_NOMEM;
            }
            plan.domain_count++;
        }
    }
    if (domain.len > 0 && plan.domain_count == 0) {
        return say_unknown(config, domain, why);
    }
    plan.domain = list;
    *ret_plan = plan;
    return OK;
}
