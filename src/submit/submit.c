/* SPDX-License-Identifier: Apache-2.0
 *
 * submit.c - a loop's way in as its owner sees it: made, told, asked, stopped.
 */
#include "submit/submit.h"

#include "submit/submit_priv.h"

enum { LOADED_LOOK_MS = 1000 };

enum err submit_new(struct net *net, struct clock *clock, struct entropy *entropy,
        const struct log *log, struct submit_shared *shared, struct blob_budget *budget,
        struct config *config, const struct submit_ports *ports, struct submit **ret_submit)
{
    struct submit *submit = mem_new(sizeof *submit);
    char *scratch = mem_new(WIRE_SCRATCH_BYTES);
    if (!submit || !scratch) {
        mem_free(submit);
        mem_free(scratch);
        return E_NOMEM;
    }
    submit->net = net;
    submit->clock = clock;
    submit->entropy = entropy;
    submit->log = log;
    submit->shared = shared;
    submit->budget = budget;
    submit->config = config_take(config);
    submit->ports = *ports;
    submit->room = (struct wire_room){ net, scratch };
    submit->now = clock_mono(clock);
    list_init(&submit->listeners);
    list_init(&submit->sessions);
    *ret_submit = submit;
    return OK;
}

enum err submit_listen(struct submit *submit, bool is_shared_port, struct why *why)
{
    if (submit->is_stopping) {
        why_set(why, "stopping");
        return E_CLOSED;
    }
    return listeners_open(submit, is_shared_port, why);
}

void submit_letter(struct submit *submit, struct letter *letter, struct mono now)
{
    submit->now = now;
    switch ((enum submit_letter_kind)letter->kind) {
    case SUBMIT_KEPT:
        transaction_kept(submit, CONTAINER_OF(letter, struct keeper_accept, letter));
        return;
    case SUBMIT_STORED:
        transaction_stored(submit, CONTAINER_OF(letter, struct keeper_body, letter));
        return;
    case SUBMIT_VERIFIED:
        auth_verified(submit, CONTAINER_OF(letter, struct submit_auth, letter));
        return;
    }
    ASSERT(!"a letter that this room sent for");
}

/* Calls what may end sessions for each one. */
static void settle_all(struct submit *submit)
{
    struct list *link = submit->sessions.next;
    while (link != &submit->sessions) {
        struct session *session = CONTAINER_OF(link, struct session, link);
        link = link->next; /* this one may be gone after the call, no other */
        session_settle(session);
    }
}

static void stop_all(struct submit *submit)
{
    struct list *link = submit->sessions.next;
    while (link != &submit->sessions) {
        struct session *session = CONTAINER_OF(link, struct session, link);
        link = link->next; /* this one may be gone after the call, no other */
        session_stop(session);
    }
}

struct mono submit_turn(struct submit *submit, struct mono now)
{
    submit->now = now;
    /* Under load deadlines are shorter, also those that were set before it came. */
    if (mono_is_due(submit->loaded_look, now) || submit->loaded_look.ms == 0) {
        submit->loaded_look = mono_after(now, LOADED_LOOK_MS);
        if (shared_is_loaded(submit->shared, submit->config)) {
            settle_all(submit);
        }
    }
    if (mono_is_due(submit->stop_at, now)) {
        submit->stop_at = (struct mono){ 0 };
        stop_all(submit);
    }
    struct heap_item *first;
    while ((first = heap_first(&submit->due)) != NULL && first->key <= now.ms) {
        session_timeout(CONTAINER_OF(first, struct session, due));
    }
    return mono_first(submit->stop_at, (struct mono){ first ? first->key : 0 });
}

void submit_config(struct submit *submit, struct config *config)
{
    config_give(submit->config);
    submit->config = config_take(config);
    listeners_update(submit);
    struct list *link;
    for (link = submit->sessions.next; link != &submit->sessions; link = link->next) {
        struct session *session = CONTAINER_OF(link, struct session, link);
        session->is_revoked = session_is_revoked(session);
    }
    settle_all(submit);
}

void submit_refuse(struct submit *submit, bool is_refusing)
{
    submit->is_refusing = is_refusing;
}

void submit_stop(struct submit *submit)
{
    submit->is_stopping = true;
    submit->stop_at = mono_after(clock_mono(submit->clock), SUBMIT_STOP_MS_MAX);
    listeners_close(submit);
    settle_all(submit);
}

bool submit_is_idle(const struct submit *submit)
{
    return list_is_empty(&submit->sessions);
}

void submit_get_stats(const struct submit *submit, struct submit_stats *ret_stats)
{
    *ret_stats = submit->stats;
}

void submit_free(struct submit *submit)
{
    if (!submit) {
        return;
    }
    struct list *link;
    while ((link = submit->sessions.next) != &submit->sessions) {
        session_discard(CONTAINER_OF(link, struct session, link));
    }
    listeners_close(submit);
    ASSERT(list_is_empty(&submit->listeners));
    map_done(&submit->session_by_id);
    heap_done(&submit->due);
    config_give(submit->config);
    mem_free(submit->room.scratch);
    mem_free(submit);
}
