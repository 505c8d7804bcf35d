/* SPDX-License-Identifier: Apache-2.0
 *
 * dns.c - answers from a list of records, after a delay and through the faults drawn.
 */
#include "sim/dns.h"

#include "core/list.h"

enum { ALIAS_COUNT_MAX = 8, TTL_S = 300, TIMEOUT_MS = 20000 };

struct sim_rr {
    struct sim_rr *next;
    char name[DNS_NAME_CAP];
    char data[DNS_NAME_CAP];
    struct dns_record record;
};

/* A name that fails in one way. */
struct sim_failing {
    struct sim_failing *next;
    char name[DNS_NAME_CAP];
    enum dns_status status;
};

struct sim_resolver {
    struct dns dns;
    struct sim_dns *world;
    struct list questions;
};

struct sim_question {
    struct list at;
    struct sim_resolver *resolver; /* NULL: closed meanwhile */
    char name[DNS_NAME_CAP];
    enum dns_type type;
    dns_answered *answered;
    void *ctx;
};

struct sim_dns {
    struct sim_events *events;
    struct sim_rr *first;
    struct sim_failing *failing;
    struct sim_dns_faults faults;
    struct sim_dns_met met;
    struct list orphans;
};

static enum dns_status draw_fault(struct sim_dns *world, struct str name)
{
    struct prng *prng = &world->events->prng;
    const struct sim_dns_faults *faults = &world->faults;
    for (const struct sim_failing *failing = world->failing; failing; failing = failing->next) {
        if (failing->status != DNS_FOUND && str_eq_nocase(name, str_from_c(failing->name))) {
            return failing->status;
        }
    }
    if (prng_chance(prng, faults->servfail)) {
        return DNS_SERVFAIL;
    }
    if (prng_chance(prng, faults->timeout)) {
        return DNS_TIMEOUT;
    }
    if (prng_chance(prng, faults->bogus)) {
        return DNS_BOGUS;
    }
    for (size_t i = 0; i < COUNT_OF(faults->sure); i++) {
        if (faults->sure[i] && str_eq_nocase(name, str_from_c(faults->sure[i]))) {
            return DNS_FOUND;
        }
    }
    if (prng_chance(prng, faults->nxdomain)) {
        return DNS_NXDOMAIN;
    }
    return prng_chance(prng, faults->nodata) ? DNS_NODATA : DNS_FOUND;
}

/* What the records say of one name; *ret_alias is its CNAME, or NULL. */
static bool fill_name(const struct sim_dns *world, struct str name, enum dns_type type,
        struct dns_record *records, struct dns_answer *answer, const struct sim_rr **ret_alias)
{
    bool is_name = false;
    *ret_alias = NULL;
    for (const struct sim_rr *rr = world->first; rr; rr = rr->next) {
        if (!str_eq_nocase(str_from_c(rr->name), name)) {
            continue;
        }
        is_name = true;
        if (rr->record.type == type && answer->record_count < DNS_RECORD_COUNT_MAX) {
            records[answer->record_count++] = rr->record;
        } else if (rr->record.type == DNS_CNAME) {
            *ret_alias = rr;
        }
    }
    return is_name;
}

/* Follows aliases, as a resolver does; more than 8 are a failure (edge/dns.h). */
static void fill_answer(struct sim_dns *world, const struct sim_question *question,
        struct dns_record *records, struct dns_answer *answer)
{
    struct str name = str_from_c(question->name);
    answer->record = records;
    for (uint32_t aliases = 0; aliases <= ALIAS_COUNT_MAX; aliases++) {
        const struct sim_rr *alias;
        bool is_name = fill_name(world, name, question->type, records, answer, &alias);
        if (answer->record_count || alias == NULL) {
            answer->status = answer->record_count ? DNS_FOUND : is_name ? DNS_NODATA : DNS_NXDOMAIN;
            return;
        }
        name = alias->record.data;
    }
    answer->status = DNS_SERVFAIL;
}

static void answer_now(void *ctx, uint64_t number)
{
    struct sim_question *question = ctx;
    if (question->resolver) {
        struct sim_dns *world = question->resolver->world;
        struct dns_record records[DNS_RECORD_COUNT_MAX];
        struct dns_answer answer = {
            .status = (enum dns_status)number, .ttl_s = TTL_S, .why = "simulated"
        };
        world->met.answers[answer.status] += answer.status != DNS_FOUND;
        if (answer.status == DNS_FOUND) {
            fill_answer(world, question, records, &answer);
        }
        sim_trace(world->events, "dns %s %d: %d", question->name, (int)question->type,
                (int)answer.status);
        question->answered(question->ctx, &answer);
    }
    list_del(&question->at);
    mem_free(question);
}

static enum err op_ask(
        struct dns *dns, struct str name, enum dns_type type, dns_answered *answered, void *ctx)
{
    struct sim_resolver *resolver = CONTAINER_OF(dns, struct sim_resolver, dns);
    struct sim_dns *world = resolver->world;
    struct sim_question *question = mem_new(sizeof *question);
    if (question == NULL || !str_to_c(name, question->name, sizeof question->name)) {
        mem_free(question);
        return E_SYNTAX;
    }
    question->resolver = resolver;
    question->type = type;
    question->answered = answered;
    question->ctx = ctx;
    list_add_last(&resolver->questions, &question->at);
    enum dns_status fault = draw_fault(world, name);
    uint64_t delay_ms = fault == DNS_TIMEOUT
                                ? TIMEOUT_MS
                                : prng_below(&world->events->prng, world->faults.delay_ms_max + 1);
    sim_after(world->events, delay_ms, answer_now, question, (uint64_t)fault);
    return OK;
}

static void op_close(struct dns *dns)
{
    struct sim_resolver *resolver = CONTAINER_OF(dns, struct sim_resolver, dns);
    while (!list_is_empty(&resolver->questions)) {
        struct sim_question *question =
                CONTAINER_OF(list_take_first(&resolver->questions), struct sim_question, at);
        question->resolver = NULL;
        list_add_last(&resolver->world->orphans, &question->at);
    }
    mem_free(resolver);
}

static const struct dns_ops sim_dns_ops = { .ask = op_ask, .close = op_close };

enum err sim_dns_new(struct sim_events *events, struct sim_dns **ret_dns)
{
    struct sim_dns *world = mem_new(sizeof *world);
    if (world == NULL) {
        return E_NOMEM;
    }
    world->events = events;
    list_init(&world->orphans);
    *ret_dns = world;
    return OK;
}

void sim_dns_free(struct sim_dns *world)
{
    if (world == NULL) {
        return;
    }
    while (!list_is_empty(&world->orphans)) {
        mem_free(CONTAINER_OF(list_take_first(&world->orphans), struct sim_question, at));
    }
    while (world->failing) {
        struct sim_failing *failing = world->failing;
        world->failing = failing->next;
        mem_free(failing);
    }
    while (world->first) {
        struct sim_rr *rr = world->first;
        world->first = rr->next;
        mem_free(rr);
    }
    mem_free(world);
}

struct dns *sim_dns_resolver(struct sim_dns *world)
{
    struct sim_resolver *resolver = mem_new(sizeof *resolver);
    ASSERT(resolver);
    resolver->dns.ops = &sim_dns_ops;
    resolver->world = world;
    list_init(&resolver->questions);
    return &resolver->dns;
}

void sim_dns_add(struct sim_dns *world, const char *name, const struct dns_record *record)
{
    struct sim_rr *rr = mem_new(sizeof *rr);
    ASSERT(rr && str_to_c(str_from_c(name), rr->name, sizeof rr->name) &&
            str_to_c(record->data, rr->data, sizeof rr->data));
    rr->record = *record;
    rr->record.data = str_from_c(rr->data);
    rr->next = world->first;
    world->first = rr;
}

void sim_dns_add_mx(struct sim_dns *world, const char *name, uint16_t preference, const char *host)
{
    struct dns_record record = {
        .type = DNS_MX, .preference = preference, .data = str_from_c(host)
    };
    sim_dns_add(world, name, &record);
}

void sim_dns_add_a(struct sim_dns *world, const char *name, struct ip ip)
{
    struct dns_record record = { .type = ip.family == IP_V6 ? DNS_AAAA : DNS_A, .ip = ip };
    sim_dns_add(world, name, &record);
}

void sim_dns_fail(struct sim_dns *world, const char *name, enum dns_status status)
{
    struct sim_failing *failing = world->failing;
    while (failing && !str_eq_nocase(str_from_c(failing->name), str_from_c(name))) {
        failing = failing->next;
    }
    if (failing == NULL) {
        failing = mem_new(sizeof *failing);
        ASSERT(failing && str_to_c(str_from_c(name), failing->name, sizeof failing->name));
        failing->next = world->failing;
        world->failing = failing;
    }
    failing->status = status;
}

struct sim_dns_faults *sim_dns_faults(struct sim_dns *world)
{
    return &world->faults;
}

const struct sim_dns_met *sim_dns_met(const struct sim_dns *world)
{
    return &world->met;
}
