/* SPDX-License-Identifier: Apache-2.0
 *
 * domain.c - domains by number, and the questions where their mail goes.
 *
 * A domain is remembered while recipients name it, and the most recent ones a while longer, so that
 * a steady flow of single messages asks once per time-to-live. An answer is asked for again when
 * somebody needs it after it ran out, never before.
 */
#include "queue/queue_priv.h"

/* ---- names ---- */

uint32_t domain_find(const struct queue *q, struct str name)
{
    uint64_t found;
    uint64_t hash = str_hash_nocase(name, q->seed);
    for (uint32_t at = 0; map_walk_key(&q->domain_map, hash, &at, &found);) {
        if (str_eq_nocase(domain_at(q, (uint32_t)found)->name, name)) {
            return (uint32_t)found;
        }
    }
    return NONE;
}

static void idle_add(struct queue *q, uint32_t domain)
{
    struct domain *d = domain_at(q, domain);
    d->prev = q->idle_last;
    d->next = NONE;
    if (q->idle_last == NONE) {
        q->idle_first = domain;
    } else {
        domain_at(q, q->idle_last)->next = domain;
    }
    q->idle_last = domain;
    q->idle_count++;
}

static void idle_del(struct queue *q, uint32_t domain)
{
    struct domain *d = domain_at(q, domain);
    ASSERT(q->idle_count > 0);
    *(d->prev == NONE ? &q->idle_first : &domain_at(q, d->prev)->next) = d->next;
    *(d->next == NONE ? &q->idle_last : &domain_at(q, d->next)->prev) = d->prev;
    d->prev = d->next = NONE;
    q->idle_count--;
}

static void answer_drop(struct queue *q, struct domain *d)
{
    if (d->answer == DOMAIN_FOUND) {
        place_give(q, d->site);
    }
    reason_give(q, d->reason);
    d->reason = 0;
    d->site = NONE;
    d->answer = DOMAIN_NONE;
}

static void domain_free(struct queue *q, uint32_t domain)
{
    struct domain *d = domain_at(q, domain);
    ASSERT(d->refs == 0 && d->wait.count == 0);
    answer_drop(q, d);
    bool was_there = map_del_value(&q->domain_map, str_hash_nocase(d->name, q->seed), domain);
    ASSERT(was_there);
    char *name;
    memcpy(&name, &d->name.ptr, sizeof name); /* ours since domain_add */
    mem_free(name);
    slab_give(&q->domains, domain);
}

static enum err domain_add(struct queue *q, struct str name, uint32_t *ret_domain)
{
    char *copy = mem_new(name.len + 1);
    uint32_t domain;
    if (copy == NULL) {
        return E_NOMEM;
    }
    enum err err = slab_take(&q->domains, &domain);
    if (err != OK) {
        mem_free(copy);
        return err;
    }
    err = map_add(&q->domain_map, str_hash_nocase(name, q->seed), domain);
    if (err != OK) {
        slab_give(&q->domains, domain);
        mem_free(copy);
        return err;
    }
    for (size_t i = 0; i < name.len; i++) {
        copy[i] = ascii_lower(name.ptr[i]);
    }
    struct domain *d = domain_at(q, domain);
    *d = (struct domain){
        .name = str_of(copy, name.len), .site = NONE, .prev = NONE, .next = NONE, .is_used = true
    };
    rcpt_list_init(&d->wait);
    *ret_domain = domain;
    return OK;
}

/* Idle: nobody names it, nobody asks for it. */
static bool domain_is_idle(const struct domain *d)
{
    return d->refs == 0 && !d->is_asked && !d->is_answering;
}

static void domain_may_idle(struct queue *q, uint32_t domain)
{
    if (!domain_is_idle(domain_at(q, domain))) {
        return;
    }
    idle_add(q, domain);
    while (q->idle_count > DOMAIN_IDLE_COUNT_MAX) {
        uint32_t oldest = q->idle_first;
        idle_del(q, oldest);
        domain_free(q, oldest);
    }
}

enum err domain_take(struct queue *q, struct str name, uint32_t *ret_domain)
{
    uint32_t domain = domain_find(q, name);
    if (domain == NONE) {
        enum err err = domain_add(q, name, &domain);
        if (err != OK) {
            return err;
        }
    } else if (domain_is_idle(domain_at(q, domain))) {
        idle_del(q, domain);
    }
    domain_at(q, domain)->refs++;
    *ret_domain = domain;
    return OK;
}

void domain_give(struct queue *q, uint32_t domain)
{
    if (domain == NONE) {
        return;
    }
    ASSERT(domain_at(q, domain)->refs > 0);
    domain_at(q, domain)->refs--;
    domain_may_idle(q, domain);
}

/* ---- lists of domains to ask and to answer ---- */

static void list_add(struct queue *q, struct domain_list *list, uint32_t domain)
{
    domain_at(q, domain)->next = NONE;
    if (list->first == NONE) {
        list->first = domain;
    } else {
        domain_at(q, list->last)->next = domain;
    }
    list->last = domain;
}

static uint32_t list_take(struct queue *q, struct domain_list *list)
{
    uint32_t domain = list->first;
    struct domain *d = domain_at(q, domain);
    list->first = d->next;
    list->last = list->first == NONE ? NONE : list->last;
    d->next = NONE;
    return domain;
}

/* ---- asking ---- */

bool domain_is_known(const struct queue *q, const struct domain *d)
{
    return d->answer != DOMAIN_NONE && !d->is_asked && d->wait.count == 0 &&
           d->until.ms > q->now.ms;
}

void domain_want(struct queue *q, uint32_t domain, uint32_t rcpt)
{
    struct domain *d = domain_at(q, domain);
    rcpt_set(q, rcpt, RCPT_SITE);
    rcpt_list_add(q, &d->wait, rcpt);
    if (!d->is_asked && !d->is_answering) {
        d->is_asked = true;
        list_add(q, &q->to_ask, domain);
    }
}

void domain_forget_answer(struct queue *q, uint32_t domain)
{
    struct domain *d = domain_at(q, domain);
    if (d->answer == DOMAIN_DEFER || d->answer == DOMAIN_BOUNCE) {
        d->until = (struct mono){ 0 };
    }
}

static void answer_take(struct queue *q, uint32_t domain, const struct queue_site *answer)
{
    struct domain *d = domain_at(q, domain);
    uint32_t place = NONE;
    enum queue_site_status status = answer->status;
    struct str text = str_of(answer->text, strnlen(answer->text, sizeof answer->text));
    struct str enhanced =
            str_of(answer->enhanced, strnlen(answer->enhanced, sizeof answer->enhanced));
    if (status == QUEUE_SITE_FOUND &&
            (!answer->site || place_take(q, answer->site, &place) != OK)) {
        status = QUEUE_SITE_DEFER;
        enhanced = STR("4.3.0");
        text = STR("no memory for the answer");
    }
    answer_drop(q, d);
    d->until = answer->until;
    d->site = place;
    if (status == QUEUE_SITE_FOUND) {
        d->answer = DOMAIN_FOUND;
    } else {
        d->answer = status == QUEUE_SITE_BOUNCE ? DOMAIN_BOUNCE : DOMAIN_DEFER;
        d->reason = reason_take(q, 0, enhanced, text, (struct str){ 0 });
    }
    d->is_asked = false;
    d->is_answering = true;
    list_add(q, &q->to_answer, domain);
}

void domain_ask_some(struct queue *q)
{
    while (q->to_ask.first != NONE && q->ask_count < SITE_ASK_COUNT_MAX) {
        uint32_t domain = list_take(q, &q->to_ask);
        const struct domain *d = domain_at(q, domain);
        ASSERT(d->is_asked);
        if (d->name.len > DOMAIN_BYTES_MAX) {
            struct queue_site no = { .status = QUEUE_SITE_BOUNCE,
                .until = mono_after(q->now, 1),
                .enhanced = "5.1.2",
                .text = "the domain has more than 255 characters" };
            answer_take(q, domain, &no);
            continue;
        }
        q->ask_count++;
        q->ports.want_site(q->ports.ctx, domain, d->name);
    }
}

void domain_site(struct queue *q, struct queue_site *answer)
{
    uint32_t domain = answer->domain_id;
    if (domain < q->domains.end && domain_at(q, domain)->is_used &&
            domain_at(q, domain)->is_asked && q->ask_count > 0) {
        q->ask_count--;
        answer_take(q, domain, answer);
    }
    site_give(answer->site);
    mem_free(answer);
}

/* The next recipients of one message that wait for the domain. */
static struct group wait_group(struct queue *q, struct domain *d, uint32_t *budget)
{
    struct group group = msg_group(q, rcpt_at(q, d->wait.first)->msg);
    while (*budget && d->wait.first != NONE && rcpt_at(q, d->wait.first)->msg == group.msg) {
        uint32_t rcpt = d->wait.first;
        rcpt_unlink(q, rcpt);
        group_add(q, &group, rcpt);
        --*budget;
    }
    return group;
}

static void answer_group(struct queue *q, struct domain *d, struct group *group)
{
    if (d->answer == DOMAIN_FOUND) {
        for (uint32_t i = 0; i < group->count; i++) {
            lane_add(q, group->rcpt[i], d->site);
        }
        bool is_whole_msg = group->count == msg_at(q, group->msg)->rcpt_count;
        if (is_whole_msg && !rcpt_is_soon(q, group->rcpt[0])) {
            shelf_drop(q, group->msg);
        }
        return;
    }
    const struct reason *reason = reason_get(q, d->reason);
    struct spool_outcome outcome = {
        .result = d->answer == DOMAIN_BOUNCE ? SPOOL_RESULT_BOUNCED : SPOOL_RESULT_DEFERRED,
        .enhanced = reason ? str_from_c(reason->enhanced) : (struct str){ 0 },
        .text = reason ? reason_text(reason) : (struct str){ 0 },
    };
    if (outcome_settle(q, group, &outcome, QUEUE_RCPT) != OK) {
        for (uint32_t i = 0; i < group->count; i++) {
            rcpt_wait(q, group->rcpt[i], RETRY_SOON_MS);
        }
    }
}

void domain_answer_some(struct queue *q, uint32_t budget)
{
    while (q->to_answer.first != NONE && budget) {
        uint32_t domain = q->to_answer.first;
        struct domain *d = domain_at(q, domain);
        while (d->wait.first != NONE && budget) {
            struct group group = wait_group(q, d, &budget);
            answer_group(q, d, &group);
            msg_check(q, group.msg);
        }
        if (d->wait.first == NONE) {
            list_take(q, &q->to_answer);
            d->is_answering = false;
            domain_may_idle(q, domain);
        }
    }
}

void domain_free_all(struct queue *q)
{
    for (uint32_t i = 0; i < q->domains.end; i++) {
        struct domain *d = domain_at(q, i);
        if (d->is_used) {
            char *name;
            memcpy(&name, &d->name.ptr, sizeof name);
            mem_free(name);
        }
    }
    map_done(&q->domain_map);
    slab_done(&q->domains);
}
