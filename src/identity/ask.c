/* SPDX-License-Identifier: Apache-2.0
 *
 * ask.c - brings pure engines their answers: over a resolver of the caller's, or, for the command
 * line, over a loop and a resolver of its own. Knows nothing of what is evaluated.
 */
#include "identity/identity.h"

#include "core/list.h"
#include "core/str.h"
#include "core/time.h"
#include "edge/clock.h"
#include "edge/net.h"

struct identity_asker {
    struct dns *dns;
    struct clock *clock;
    struct list asks;
    struct list waits; /* answers that dns still owes */
    uint32_t ask_count;
    void (*idle)(void *ctx); /* nothing is open any more; may be NULL */
    void *idle_ctx;
};

/* Outlives its evaluation where that is cancelled or over time: dns cannot take a question back. */
struct wait {
    struct list link;
    struct identity_ask *ask; /* NULL: nobody wants the answer */
};

struct identity_ask {
    struct list link;
    struct identity_asker *asker;
    struct identity_engine engine;
    struct mono deadline;
    struct wait *wait;
    identity_asked *done;
    void *ctx;
};

/* ---- one evaluation ---- */

static void ask_free(struct identity_ask *ask)
{
    if (ask->wait != NULL) {
        ask->wait->ask = NULL;
    }
    list_del(&ask->link);
    ask->asker->ask_count--;
    mem_free(ask);
}

static void ask_end(struct identity_ask *ask)
{
    struct identity_asker *asker = ask->asker;
    identity_asked *done = ask->done;
    void *ctx = ask->ctx;
    ask_free(ask);
    done(ctx);
    if (asker->ask_count == 0 && asker->idle != NULL) {
        asker->idle(asker->idle_ctx);
    }
}

enum lookup_status identity_lookup_status(enum dns_status status)
{
    switch (status) {
    case DNS_FOUND:
        return LOOKUP_FOUND;
    case DNS_NODATA:
        return LOOKUP_NODATA;
    case DNS_NXDOMAIN:
        return LOOKUP_NXDOMAIN;
    case DNS_SERVFAIL:
    case DNS_TIMEOUT:
    case DNS_BOGUS:
        break;
    }
    return LOOKUP_TEMPFAIL;
}

static void give(struct identity_ask *ask, const struct dns_answer *answer)
{
    struct lookup_record record[DNS_RECORD_COUNT_MAX];
    struct lookup_question question;
    struct lookup_answer given = { .status = identity_lookup_status(answer->status),
        .record = record,
        .is_secure = answer->is_secure };
    if (!ask->engine.question(ask->engine.engine, &question)) {
        return;
    }
    for (uint32_t i = 0; given.status == LOOKUP_FOUND && i < answer->record_count; i++) {
        const struct dns_record *found = &answer->record[i];
        if ((int)found->type == (int)question.type && given.record_count < COUNT_OF(record)) {
            record[given.record_count++] =
                    (struct lookup_record){ found->preference, found->ip, found->data };
        }
    }
    if (given.status == LOOKUP_FOUND && given.record_count == 0) {
        given.status = LOOKUP_NODATA;
    }
    if (answer->is_cut && question.type == LOOKUP_TXT) { /* the one that counts may be cut off */
        given.status = LOOKUP_TEMPFAIL;
        given.record_count = 0;
    }
    ask->engine.answer(ask->engine.engine, &given);
}

static void pump(struct identity_ask *ask);

static void on_answer(void *ctx, const struct dns_answer *answer)
{
    struct wait *wait = ctx;
    struct identity_ask *ask = wait->ask;
    list_del(&wait->link);
    mem_free(wait);
    if (ask != NULL) {
        ask->wait = NULL;
        give(ask, answer);
        pump(ask);
    }
}

static enum err question_send(struct identity_ask *ask, const struct lookup_question *question)
{
    struct identity_asker *asker = ask->asker;
    struct wait *wait = mem_new(sizeof *wait);
    if (wait == NULL) {
        return E_NOMEM;
    }
    wait->ask = ask;
    enum err err = asker->dns->ops->ask(
            asker->dns, question->name, (enum dns_type)question->type, on_answer, wait);
    if (err != OK) {
        mem_free(wait);
        return err;
    }
    ask->wait = wait;
    list_add_last(&asker->waits, &wait->link);
    return OK;
}

/* Engines end: each bounds its questions. A name that cannot be asked for does not exist; whatever
 * else hinders the question may be over later. */
static void pump(struct identity_ask *ask)
{
    struct lookup_question question;
    while (ask->engine.question(ask->engine.engine, &question)) {
        enum err err = E_TIMEOUT;
        if (!mono_is_due(ask->deadline, clock_mono(ask->asker->clock))) {
            err = question_send(ask, &question);
        }
        if (err == OK) {
            return;
        }
        struct lookup_answer none = { .status =
                                              err == E_SYNTAX ? LOOKUP_NXDOMAIN : LOOKUP_TEMPFAIL };
        ask->engine.answer(ask->engine.engine, &none);
    }
    ask_end(ask);
}

enum err identity_ask(struct identity_asker *asker, const struct identity_engine *engine,
        uint64_t ms_max, identity_asked *done, void *ctx, struct identity_ask **ret_ask)
{
    struct lookup_question question;
    if (asker->ask_count >= IDENTITY_ASK_COUNT_MAX) {
        return E_FULL;
    }
    struct identity_ask *ask = mem_new(sizeof *ask);
    if (ask == NULL) {
        return E_NOMEM;
    }
    *ask = (struct identity_ask){ .asker = asker,
        .engine = *engine,
        .deadline =
                mono_after(clock_mono(asker->clock), ms_max != 0 ? ms_max : IDENTITY_ASK_MS_MAX),
        .done = done,
        .ctx = ctx };
    list_add_last(&asker->asks, &ask->link);
    asker->ask_count++;
    bool is_open = engine->question(engine->engine, &question);
    if (ret_ask != NULL) {
        *ret_ask = is_open ? ask : NULL;
    }
    pump(ask);
    return OK;
}

void identity_ask_cancel(struct identity_ask *ask)
{
    if (ask != NULL) {
        ask_free(ask);
    }
}

/* ---- all of them ---- */

enum err identity_asker_open(
        struct dns *dns, struct clock *clock, struct identity_asker **ret_asker)
{
    struct identity_asker *asker = mem_new(sizeof *asker);
    if (asker == NULL) {
        return E_NOMEM;
    }
    asker->dns = dns;
    asker->clock = clock;
    list_init(&asker->asks);
    list_init(&asker->waits);
    *ret_asker = asker;
    return OK;
}

void identity_asker_close(struct identity_asker *asker)
{
    struct list *link;
    if (asker == NULL) {
        return;
    }
    while (!list_is_empty(&asker->asks)) {
        ask_free(CONTAINER_OF(asker->asks.next, struct identity_ask, link));
    }
    while ((link = list_take_first(&asker->waits)) != NULL) {
        mem_free(CONTAINER_OF(link, struct wait, link));
    }
    mem_free(asker);
}

static struct identity_ask *first_due(struct identity_asker *asker, struct mono now)
{
    for (struct list *at = asker->asks.next; at != &asker->asks; at = at->next) {
        struct identity_ask *ask = CONTAINER_OF(at, struct identity_ask, link);
        if (mono_is_due(ask->deadline, now)) {
            return ask;
        }
    }
    return NULL;
}

struct mono identity_asker_tick(struct identity_asker *asker)
{
    struct mono now = clock_mono(asker->clock), next = { 0 };
    struct identity_ask *ask;
    while ((ask = first_due(asker, now)) != NULL) {
        if (ask->wait != NULL) {
            ask->wait->ask = NULL; /* whatever comes now is too late */
            ask->wait = NULL;
        }
        pump(ask);
    }
    for (struct list *at = asker->asks.next; at != &asker->asks; at = at->next) {
        next = mono_first(next, CONTAINER_OF(at, struct identity_ask, link)->deadline);
    }
    return next;
}

/* ---- the desk ---- */

struct identity_desk {
    struct net *net; /* NULL: a zone file answers */
    struct dns *dns;
    struct identity_asker *asker;
};

static void desk_tick(void *ctx)
{
    struct identity_desk *desk = ctx;
    struct mono next = identity_asker_tick(desk->asker);
    desk->net->ops->timer(desk->net, next, desk_tick, desk);
}

static void desk_idle(void *ctx)
{
    struct identity_desk *desk = ctx;
    if (desk->net != NULL) {
        net_stop_real(desk->net);
    }
}

static void desk_wake(void *ctx)
{
    (void)ctx; /* nobody wakes this loop */
}

void identity_desk_run(struct identity_desk *desk)
{
    while (desk->asker->ask_count > 0) {
        if (desk->net == NULL) {
            dns_zone_poll(desk->dns);
        } else {
            desk_tick(desk);
            if (desk->asker->ask_count > 0) {
                net_run_real(desk->net, desk_wake, desk);
            }
        }
    }
}

static void desk_asked(void *ctx)
{
    (void)ctx; /* identity_desk_run ends by itself */
}

enum err identity_desk_ask(struct identity_desk *desk, const struct identity_engine *engine)
{
    enum err err = identity_ask(desk->asker, engine, 0, desk_asked, desk, NULL);
    identity_desk_run(desk);
    return err;
}

static enum err desk_parts(
        struct identity_desk *desk, const char *zone_path, struct str servers, struct why *why)
{
    enum err err = OK;
    if (zone_path != NULL) {
        err = dns_open_zone(zone_path, &desk->dns, why);
    } else {
        err = net_open_real(clock_real(), &desk->net, why);
        if (err == OK) {
            err = dns_open_real(desk->net, servers, NULL, &desk->dns, why);
        }
    }
    if (err == OK) {
        err = identity_asker_open(desk->dns, clock_real(), &desk->asker);
    }
    if (err == OK) {
        desk->asker->idle = desk_idle;
        desk->asker->idle_ctx = desk;
    }
    return err;
}

enum err identity_desk_open(
        const char *zone_path, struct str servers, struct identity_desk **ret_desk, struct why *why)
{
    struct identity_desk *desk = mem_new(sizeof *desk);
    if (desk == NULL) {
        return E_NOMEM;
    }
    enum err err = desk_parts(desk, zone_path, servers, why);
    if (err != OK) {
        identity_desk_close(desk);
        return err;
    }
    *ret_desk = desk;
    return OK;
}

void identity_desk_close(struct identity_desk *desk)
{
    if (desk == NULL) {
        return;
    }
    if (desk->dns != NULL) {
        desk->dns->ops->close(desk->dns);
    }
    identity_asker_close(desk->asker);
    if (desk->net != NULL) {
        net_free_real(desk->net);
    }
    mem_free(desk);
}

struct dns *identity_desk_dns(struct identity_desk *desk)
{
    return desk->dns;
}

struct identity_asker *identity_desk_asker(struct identity_desk *desk)
{
    return desk->asker;
}
