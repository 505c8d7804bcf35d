/* SPDX-License-Identifier: Apache-2.0
 *
 * router.c - domain → site: joins questions about one domain, remembers the answers, shares sites.
 *
 * An entry is asked about (waiters, perhaps a lookup) or known until a time. Domains with the same
 * site share one struct of it while anybody holds it. How a site is found: lookup.c.
 */
#include "core/list.h"
#include "core/map.h"
#include "core/str.h"
#include "core/time.h"
#include "deliver/lookup_priv.h"

enum {
    CONFIRM_MS = 60000,              /* an absent domain is asked about once more after this */
    ABSENT_FORGET_MS = 24 * 3600000, /* later it counts as absent for the first time again */
    RETRY_MS = 1000,                 /* memory was out */
    SITE_SWEEP_COUNT_MIN = 64
};

struct entry {
    struct list lru;
    struct list line; /* in router.waiting or router.running */
    struct router *router;
    struct letter *waiters; /* struct deliver_want_site */
    struct lookup *lookup;  /* running */
    struct mono lookup_until;
    bool is_known, is_queued;
    struct mono until; /* known: ask again after */
    struct mono absent_since;
    enum queue_site_status status;
    struct site *site;             /* FOUND: one reference */
    struct lookup_result *refusal; /* else: what to say */
    size_t domain_len;
    char domain[];
};

struct router {
    struct dns *dns;
    struct clock *clock;
    const struct log *log;
    struct router_ports ports;
    uint64_t seed;
    struct config *config; /* entries were found under it */
    struct map entries;    /* hash of the domain → struct entry */
    struct list lru;       /* longest unasked first */
    struct list waiting;   /* entries that want a lookup */
    struct list running;   /* entries with one, oldest first */
    struct list lookups;   /* all of them, also those given up */
    uint32_t running_count;
    bool is_starting; /* a lookup that ends at once starts no others */
    struct map sites; /* hash of the key → struct site, one reference each */
    uint32_t sites_sweep_at;
    struct letter *unanswered; /* waiters whose answer found no memory: asked again in the turn */
};

/* ---- sites, shared ---- */

/* Gives back what only the router still holds. Nobody else can take a reference meanwhile: who
 * takes one has one. */
static void sites_sweep(struct router *router)
{
    uint32_t at = 0;
    uint64_t key, value;
    struct map kept = { 0 };
    while (map_walk(&router->sites, &at, &key, &value)) {
        struct site *site = (struct site *)(uintptr_t)value; /* as stored by site_share */
        bool is_kept = atomic_load_explicit(&site->refs, memory_order_acquire) > 1 &&
                       map_add(&kept, key, value) == OK;
        if (!is_kept) {
            site_give(site);
        }
    }
    map_done(&router->sites);
    router->sites = kept;
    router->sites_sweep_at = 2 * map_count(&kept) + SITE_SWEEP_COUNT_MIN;
}

/* The one struct for this site: an older one that is the same, else site itself. Takes the caller's
 * reference, gives one. */
static struct site *site_share(struct router *router, struct site *site)
{
    uint64_t hash = str_hash(site->key, router->seed);
    uint32_t at = 0;
    uint64_t value;
    while (map_walk_key(&router->sites, hash, &at, &value)) {
        struct site *known = (struct site *)(uintptr_t)value; /* as stored below */
        if (site_is_same(known, site)) {
            site_give(site);
            return site_take(known);
        }
    }
    if (map_count(&router->sites) >= router->sites_sweep_at) {
        sites_sweep(router);
    }
    if (map_add(&router->sites, hash, (uint64_t)(uintptr_t)site) == OK) {
        (void)site_take(site); /* without memory for it, it is only not shared */
    }
    return site;
}

/* ---- entries ---- */

static struct str entry_domain(const struct entry *entry)
{
    return str_of(entry->domain, entry->domain_len);
}

static struct entry *entry_find(struct router *router, struct str domain)
{
    uint64_t value;
    uint32_t at = 0;
    while (map_walk_key(&router->entries, str_hash(domain, router->seed), &at, &value)) {
        struct entry *entry = (struct entry *)(uintptr_t)value; /* as stored by entry_new */
        if (str_eq(entry_domain(entry), domain)) {
            return entry;
        }
    }
    return NULL;
}

static void entry_forget_answer(struct entry *entry)
{
    site_give(entry->site);
    entry->site = NULL;
    mem_free(entry->refusal);
    entry->refusal = NULL;
    entry->is_known = false;
}

static bool entry_is_idle(const struct entry *entry)
{
    return !entry->waiters && !entry->lookup && !entry->is_queued;
}

static void entry_free(struct router *router, struct entry *entry)
{
    uint64_t hash = str_hash(entry_domain(entry), router->seed);
    map_del_value(&router->entries, hash, (uint64_t)(uintptr_t)entry);
    list_del(&entry->lru);
    list_del(&entry->line);
    entry_forget_answer(entry);
    mem_free(entry);
}

static void entries_make_room(struct router *router)
{
    struct list *at = router->lru.next;
    while (map_count(&router->entries) >= ROUTER_DOMAIN_COUNT_MAX && at != &router->lru) {
        struct entry *entry = CONTAINER_OF(at, struct entry, lru);
        at = at->next;
        if (entry_is_idle(entry)) {
            entry_free(router, entry);
        }
    }
}

static struct entry *entry_new(struct router *router, struct str domain)
{
    entries_make_room(router);
    struct entry *entry = mem_new(sizeof *entry + domain.len);
    if (!entry) {
        return NULL;
    }
    entry->router = router;
    entry->domain_len = domain.len;
    memcpy(entry->domain, domain.ptr, domain.len);
    uint64_t hash = str_hash(domain, router->seed);
    if (map_add(&router->entries, hash, (uint64_t)(uintptr_t)entry) != OK) {
        mem_free(entry);
        return NULL;
    }
    list_init(&entry->line);
    list_add_last(&router->lru, &entry->lru);
    return entry;
}

/* ---- answers ---- */

static void want_free(struct deliver_want_site *want)
{
    config_give(want->config);
    mem_free(want);
}

static void want_keep(struct letter **chain, struct deliver_want_site *want)
{
    want->letter.next = *chain;
    *chain = &want->letter;
}

static struct deliver_want_site *want_of(struct letter *letter)
{
    return CONTAINER_OF(letter, struct deliver_want_site, letter);
}

static void answer(struct router *router, const struct entry *entry, struct deliver_want_site *want)
{
    struct queue_site *site = mem_new(sizeof *site);
    if (!site) {
        want_keep(&router->unanswered, want);
        return;
    }
    site->letter.kind = QUEUE_SITE;
    site->domain_id = want->domain_id;
    site->status = entry->status;
    site->until = entry->until;
    if (entry->site) {
        site->site = site_take(entry->site);
    }
    if (entry->refusal) {
        fmt(site->enhanced, sizeof site->enhanced, "%s", entry->refusal->enhanced);
        fmt(site->text, sizeof site->text, "%s", entry->refusal->text);
    } else if (entry->status != QUEUE_SITE_FOUND) {
        fmt(site->enhanced, sizeof site->enhanced, "4.3.0");
        fmt(site->text, sizeof site->text, "out of memory");
    }
    want_free(want);
    mailbox_answer(router->ports.queue, &site->letter);
}

static void answer_all(struct router *router, struct entry *entry)
{
    struct letter *letter = entry->waiters;
    entry->waiters = NULL;
    while (letter) {
        struct letter *next = letter->next;
        answer(router, entry, want_of(letter));
        letter = next;
    }
}

static uint64_t clamp_ms(uint64_t ms, uint64_t min_ms, uint64_t max_ms)
{
    ms = ms < min_ms ? min_ms : ms;
    return ms > max_ms ? max_ms : ms;
}

static void entry_refuse(struct entry *entry, enum queue_site_status status, struct mono until,
        const struct lookup_result *result)
{
    entry->status = status;
    entry->until = until;
    entry->refusal = mem_new(sizeof *entry->refusal);
    if (entry->refusal) {
        *entry->refusal = *result;
        entry->refusal->site = NULL;
    } else if (status == QUEUE_SITE_BOUNCE) {
        entry->status = QUEUE_SITE_DEFER; /* never final without a reason to give */
    }
}

/* Absent twice, a minute apart, is absent (a look-up may have hit a zone in the making). */
static void entry_absent(struct entry *entry, struct lookup_result *result, struct mono now)
{
    int64_t age_ms = now.ms - entry->absent_since.ms;
    if (entry->absent_since.ms == 0 || age_ms > ABSENT_FORGET_MS) {
        entry->absent_since = now;
        age_ms = 0;
    }
    if (age_ms >= CONFIRM_MS) {
        entry_refuse(entry, QUEUE_SITE_BOUNCE, mono_after(now, ROUTER_NEGATIVE_MS_MAX), result);
        return;
    }
    fmt(result->enhanced, sizeof result->enhanced, "4.4.4");
    entry_refuse(entry, QUEUE_SITE_DEFER, mono_after(entry->absent_since, CONFIRM_MS), result);
}

static void entry_learn(struct entry *entry, struct lookup_result *result, struct mono now)
{
    struct router *router = entry->router;
    uint64_t negative_ms = clamp_ms(result->ttl_ms, ROUTER_TTL_MS_MIN, ROUTER_NEGATIVE_MS_MAX);
    entry_forget_answer(entry);
    entry->is_known = true;
    switch (result->status) {
    case LOOKUP_FOUND:
        entry->status = QUEUE_SITE_FOUND;
        entry->site = site_share(router, result->site);
        result->site = NULL;
        entry->absent_since.ms = 0;
        entry->until =
                mono_after(now, clamp_ms(result->ttl_ms, ROUTER_TTL_MS_MIN, ROUTER_TTL_MS_MAX));
        return;
    case LOOKUP_DEFERRED:
        entry_refuse(entry, QUEUE_SITE_DEFER, mono_after(now, ROUTER_TTL_MS_MIN), result);
        return;
    case LOOKUP_ABSENT:
        entry_absent(entry, result, now);
        return;
    case LOOKUP_REFUSED:
        entry_refuse(entry, QUEUE_SITE_BOUNCE, mono_after(now, negative_ms), result);
        return;
    }
}

/* ---- look-ups ---- */

static void lookup_off(struct router *router, struct entry *entry)
{
    struct lookup *lookup = entry->lookup;
    entry->lookup = NULL;
    list_del(&entry->line);
    router->running_count--;
    lookup_drop(lookup);
}

static void lookups_start(struct router *router, struct mono now);

static void lookup_done(void *ctx, struct lookup *lookup)
{
    struct entry *entry = ctx;
    struct router *router = entry->router;
    struct mono now = clock_mono(router->clock);
    bool is_outdated = lookup->config != router->config;
    entry_learn(entry, &lookup->result, now);
    lookup_off(router, entry);
    answer_all(router, entry);
    entry->is_known = !is_outdated;
    if (!router->is_starting) {
        lookups_start(router, now);
    }
}

static void lookup_late(struct router *router, struct entry *entry, struct mono now)
{
    struct lookup_result result = { .status = LOOKUP_DEFERRED, .enhanced = "4.4.3" };
    fmt(result.text, sizeof result.text, "no answer from DNS about %.*s within %d s",
            STR_ARG(str_sub(entry_domain(entry), 0, 100)), ROUTER_LOOKUP_MS_MAX / 1000);
    log_warn(router->log, "deliver", "%s: is the resolver up?", result.text);
    entry_learn(entry, &result, now);
    lookup_off(router, entry);
    answer_all(router, entry);
}

/* False: no memory. */
static bool lookup_start(struct router *router, struct entry *entry, struct mono now)
{
    bool is_confirming = entry->absent_since.ms != 0;
    struct lookup *lookup;
    if (lookup_new(router->dns, router->config, router->ports.is_own_address, entry_domain(entry),
                is_confirming, &lookup) != OK) {
        return false;
    }
    list_add_last(&router->lookups, &lookup->item);
    lookup->done = lookup_done;
    lookup->ctx = entry;
    entry->lookup = lookup;
    entry->lookup_until = mono_after(now, ROUTER_LOOKUP_MS_MAX);
    list_del(&entry->line);
    entry->is_queued = false;
    list_add_last(&router->running, &entry->line);
    router->running_count++;
    lookup_run(lookup);
    return true;
}

static void lookups_start(struct router *router, struct mono now)
{
    router->is_starting = true;
    while (!list_is_empty(&router->waiting) && router->running_count < ROUTER_LOOKUP_COUNT_MAX) {
        if (!lookup_start(router, CONTAINER_OF(router->waiting.next, struct entry, line), now)) {
            break;
        }
    }
    router->is_starting = false;
}

static void want_take(struct router *router, struct deliver_want_site *want, struct mono now)
{
    struct str domain = str_of(want->domain, want->domain_len);
    struct entry *entry = entry_find(router, domain);
    entry = entry ? entry : entry_new(router, domain);
    if (!entry) {
        want_keep(&router->unanswered, want);
        return;
    }
    list_del(&entry->lru);
    list_add_last(&router->lru, &entry->lru);
    if (entry->is_known && !mono_is_due(entry->until, now)) {
        answer(router, entry, want);
        return;
    }
    want_keep(&entry->waiters, want);
    if (!entry->lookup && !entry->is_queued) {
        entry->is_queued = true;
        list_add_last(&router->waiting, &entry->line);
    }
}

/* What was found under another configuration may be wrong now: routes, TLS policy, addresses. */
static void config_changed(struct router *router, struct config *config)
{
    struct list *at = router->lru.next;
    while (at != &router->lru) {
        struct entry *entry = CONTAINER_OF(at, struct entry, lru);
        at = at->next;
        if (entry_is_idle(entry)) {
            entry_free(router, entry);
        } else {
            entry->is_known = false;
        }
    }
    config_give(router->config);
    router->config = config_take(config);
}

/* ---- the face ---- */

enum err router_new(struct dns *dns, struct clock *clock, const struct log *log,
        const struct router_ports *ports, uint64_t seed, struct router **ret_router)
{
    struct router *router = mem_new(sizeof *router);
    if (!router) {
        return E_NOMEM;
    }
    router->dns = dns;
    router->clock = clock;
    router->log = log;
    router->ports = *ports;
    router->seed = seed;
    router->sites_sweep_at = SITE_SWEEP_COUNT_MIN;
    list_init(&router->lru);
    list_init(&router->waiting);
    list_init(&router->running);
    list_init(&router->lookups);
    *ret_router = router;
    return OK;
}

void router_letter(struct router *router, struct letter *letter, struct mono now)
{
    ASSERT(letter->kind == DELIVER_WANT_SITE);
    struct deliver_want_site *want = want_of(letter);
    ASSERT(want->domain_len < sizeof want->domain);
    if (want->config != router->config) {
        config_changed(router, want->config);
    }
    want_take(router, want, now);
}

struct mono router_turn(struct router *router, struct mono now)
{
    struct letter *letter = router->unanswered;
    router->unanswered = NULL;
    while (letter) {
        struct letter *next = letter->next;
        want_take(router, want_of(letter), now);
        letter = next;
    }
    while (!list_is_empty(&router->running)) {
        struct entry *oldest = CONTAINER_OF(router->running.next, struct entry, line);
        if (!mono_is_due(oldest->lookup_until, now)) {
            break;
        }
        lookup_late(router, oldest, now);
    }
    lookups_start(router, now);
    struct mono next = { 0 };
    if (!list_is_empty(&router->running)) {
        next = CONTAINER_OF(router->running.next, struct entry, line)->lookup_until;
    }
    bool is_short = router->unanswered || (!list_is_empty(&router->waiting) &&
                                                  router->running_count < ROUTER_LOOKUP_COUNT_MAX);
    return is_short ? mono_first(next, mono_after(now, RETRY_MS)) : next;
}

static void wants_free(struct letter *letter)
{
    while (letter) {
        struct letter *next = letter->next;
        want_free(want_of(letter));
        letter = next;
    }
}

void router_free(struct router *router)
{
    if (!router) {
        return;
    }
    wants_free(router->unanswered);
    while (!list_is_empty(&router->lru)) {
        struct entry *entry = CONTAINER_OF(router->lru.next, struct entry, lru);
        wants_free(entry->waiters);
        entry_free(router, entry);
    }
    while (!list_is_empty(&router->lookups)) {
        lookup_free(CONTAINER_OF(router->lookups.next, struct lookup, item));
    }
    uint32_t at = 0;
    uint64_t key, value;
    while (map_walk(&router->sites, &at, &key, &value)) {
        site_give((struct site *)(uintptr_t)value); /* as stored by site_share */
    }
    map_done(&router->sites);
    map_done(&router->entries);
    config_give(router->config);
    mem_free(router);
}
