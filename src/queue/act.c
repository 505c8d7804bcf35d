/* SPDX-License-Identifier: Apache-2.0
 *
 * act.c - the operator's actions: hold, release, cancel, bounce, flush; and CLOSE, which is ours.
 *
 * Each is a record with author and reason, so that it survives a restart. What is being attempted
 * cannot be called back: the action waits for the attempt to end, and its record too, since a
 * delivery that succeeds meanwhile is the truth.
 */
#include "queue/queue_priv.h"

enum { ACT_TEXT_BYTES_MAX = 300 };

static struct pending *pending_at(const struct queue *q, uint32_t pending)
{
    return slab_at(&q->pendings, pending);
}

/* ---- the record, then the state ---- */

uint16_t act_reason(
        struct queue *q, enum spool_ctl_action action, struct str author, struct str reason)
{
    char text[REASON_BYTES_MAX];
    if (action != SPOOL_CTL_HOLD && action != SPOOL_CTL_BOUNCE) {
        return 0;
    }
    size_t len = fmt(text, sizeof text, "%s by %.*s%s%.*s",
            action == SPOOL_CTL_HOLD ? "held" : "bounced",
            STR_ARG(str_sub(author, 0, ACT_TEXT_BYTES_MAX / 3)), reason.len ? ": " : "",
            STR_ARG(str_sub(reason, 0, ACT_TEXT_BYTES_MAX)));
    return reason_take(q, 0, (struct str){ 0 }, str_of(text, len), (struct str){ 0 });
}

static void rcpt_flush(struct queue *q, uint32_t rcpt)
{
    struct rcpt *r = rcpt_at(q, rcpt);
    if (r->lane != NONE) {
        lane_lift(q, lane_at(q, r->lane));
        return;
    }
    rcpt_unlink(q, rcpt);
    domain_forget_answer(q, r->domain);
    rcpt_place(q, rcpt);
    if (r->lane != NONE) {
        lane_lift(q, lane_at(q, r->lane));
    }
}

static void rcpt_act(struct queue *q, uint32_t rcpt, enum spool_ctl_action action, uint16_t reason)
{
    struct rcpt *r = rcpt_at(q, rcpt);
    switch (action) {
    case SPOOL_CTL_HOLD:
        rcpt_unlink(q, rcpt);
        rcpt_give_reason(q, rcpt, reason_again(q, reason));
        rcpt_set(q, rcpt, RCPT_HELD);
        break;
    case SPOOL_CTL_RELEASE:
        rcpt_unlink(q, rcpt);
        rcpt_place(q, rcpt);
        break;
    case SPOOL_CTL_CANCEL:
        q->cancelled++;
        rcpt_close(q, rcpt);
        break;
    case SPOOL_CTL_BOUNCE:
        q->bounced++;
        rcpt_unlink(q, rcpt);
        rcpt_give_reason(q, rcpt, reason_again(q, reason));
        rcpt_set(q, rcpt, RCPT_FAILED);
        r->due = wheel_tick(&q->wheel, q->now);
        break;
    case SPOOL_CTL_FLUSH:
        rcpt_flush(q, rcpt);
        break;
    case SPOOL_CTL_CLOSE:
        rcpt_close(q, rcpt);
        break;
    }
}

enum err act_ctl(struct queue *q, struct group *group, enum spool_ctl_action action,
        struct str author, struct str reason)
{
    const struct msg *m = msg_at(q, group->msg);
    struct spool_ctl ctl = {
        .msg_id = m->msg_id,
        .rcpt = group->number,
        .rcpt_count = group->count,
        .action = action,
        .at = q->wall,
        .author = author,
        .reason = reason,
    };
    buf_clear(&q->payload);
    spool_ctl_encode(&q->payload, &ctl);
    enum err err = outcome_record(q, SPOOL_CTL, m->msg_id);
    if (err != OK) {
        return err;
    }
    uint16_t why = act_reason(q, action, author, reason);
    for (uint32_t i = 0; i < group->count; i++) {
        rcpt_act(q, group->rcpt[i], action, why);
    }
    reason_give(q, why);
    return OK;
}

/* ---- actions that wait ---- */

static void pending_unref(struct queue *q, uint32_t number)
{
    struct pending *pending = number == NONE ? NULL : pending_at(q, number);
    if (pending && --pending->refs == 0) {
        char *bytes;
        memcpy(&bytes, &pending->author.ptr, sizeof bytes); /* ours since pending_new */
        mem_free(bytes);
        slab_give(&q->pendings, number);
    }
}

void act_forget_pending(struct queue *q, uint32_t rcpt)
{
    struct rcpt *r = rcpt_at(q, rcpt);
    uint64_t number;
    if (!(r->flags & RCPT_PENDING)) {
        return;
    }
    bool was_there = map_get(&q->pending_map, rcpt, &number) && map_del(&q->pending_map, rcpt);
    ASSERT(was_there);
    r->flags = (r->flags & ~RCPT_PENDING) & 0xf;
    pending_unref(q, (uint32_t)number);
}

bool act_is_hold_pending(const struct queue *q, uint32_t rcpt)
{
    uint64_t pending;
    return rcpt_at(q, rcpt)->flags & RCPT_PENDING && map_get(&q->pending_map, rcpt, &pending) &&
           pending_at(q, (uint32_t)pending)->action == SPOOL_CTL_HOLD;
}

void act_pending(struct queue *q, uint32_t rcpt)
{
    uint64_t number = NONE;
    bool was_there = map_get(&q->pending_map, rcpt, &number);
    ASSERT(was_there && rcpt_at(q, rcpt)->state == RCPT_NEW);
    const struct rcpt *r = rcpt_at(q, rcpt);
    uint16_t in_msg = r->number;
    struct group group = { .msg = r->msg, .count = 1, .rcpt = &rcpt, .number = &in_msg };
    struct pending *pending = pending_at(q, (uint32_t)number);
    pending->refs++; /* its strings are needed to the end */
    act_forget_pending(q, rcpt);
    bool is_done = act_ctl(q, &group, pending->action, pending->author, pending->reason) == OK;
    if (!is_done && map_set(&q->pending_map, rcpt, number) == OK) {
        pending->refs++;
        rcpt_at(q, rcpt)->flags |= RCPT_PENDING;
    }
    if (!is_done) {
        rcpt_wait(q, rcpt, RETRY_SOON_MS);
    }
    pending_unref(q, (uint32_t)number);
}

static enum err pending_new(struct queue *q, const struct queue_ask *ask, uint32_t *ret_pending)
{
    struct str author = str_sub(ask->author, 0, ACT_TEXT_BYTES_MAX);
    struct str reason = str_sub(ask->reason, 0, ACT_TEXT_BYTES_MAX);
    char *bytes = mem_new(author.len + reason.len + 1);
    if (bytes == NULL) {
        return E_NOMEM;
    }
    enum err err = slab_take(&q->pendings, ret_pending);
    if (err != OK) {
        mem_free(bytes);
        return err;
    }
    memcpy(bytes, author.len ? author.ptr : "", author.len);
    memcpy(bytes + author.len, reason.len ? reason.ptr : "", reason.len);
    *pending_at(q, *ret_pending) = (struct pending){
        .refs = 1,
        .action = ask->action,
        .author = str_of(bytes, author.len),
        .reason = str_of(bytes + author.len, reason.len),
    };
    return OK;
}

/* A later action on the same recipient takes the place of an earlier one. */
static enum err pending_set(struct queue *q, uint32_t rcpt, uint32_t pending)
{
    act_forget_pending(q, rcpt);
    enum err err = map_set(&q->pending_map, rcpt, pending);
    if (err == OK) {
        pending_at(q, pending)->refs++;
        rcpt_at(q, rcpt)->flags |= RCPT_PENDING;
    }
    return err;
}

/* ---- on a message ---- */

static bool act_applies(const struct queue *q, const struct rcpt *r, enum spool_ctl_action action)
{
    bool is_waiting = r->state == RCPT_WAIT || (r->state >= RCPT_SITE && r->state <= RCPT_GO);
    switch (action) {
    case SPOOL_CTL_HOLD:
        return is_waiting;
    case SPOOL_CTL_RELEASE:
        return r->state == RCPT_HELD;
    case SPOOL_CTL_CANCEL:
    case SPOOL_CTL_BOUNCE:
        return is_waiting || r->state == RCPT_HELD;
    case SPOOL_CTL_FLUSH:
        return r->state == RCPT_WAIT ||
               (is_waiting && r->lane != NONE && lane_is_suspended(q, lane_at(q, r->lane)));
    case SPOOL_CTL_CLOSE:
        return false; /* the queue's own */
    }
    return false;
}

/* An active recipient: the action is noted for later; a release takes a noted hold back. */
static enum err act_on_active(
        struct queue *q, uint32_t rcpt, struct queue_ask *ask, uint32_t *pending)
{
    enum err err = OK;
    if (ask->action == SPOOL_CTL_RELEASE && act_is_hold_pending(q, rcpt)) {
        act_forget_pending(q, rcpt);
        ask->changed_count++;
    } else if (ask->action == SPOOL_CTL_HOLD || ask->action == SPOOL_CTL_CANCEL ||
               ask->action == SPOOL_CTL_BOUNCE) {
        err = *pending == NONE ? pending_new(q, ask, pending) : OK;
        err = err == OK ? pending_set(q, rcpt, *pending) : err;
        ask->changed_count += err == OK;
        ask->pending_count += err == OK;
    }
    return err;
}

enum err act_on_msg(struct queue *q, uint32_t msg, struct queue_ask *ask)
{
    const struct msg *m = msg_at(q, msg);
    struct group group = msg_group(q, msg);
    uint32_t pending = NONE, domain = NONE;
    enum err err = OK;
    if (ask->filter.domain.len && (domain = domain_find(q, ask->filter.domain)) == NONE) {
        return OK;
    }
    for (uint32_t i = 0; i < m->rcpt_count && err == OK; i++) {
        uint32_t rcpt = rcpt_find(q, msg, i);
        if (rcpt == NONE || !view_filter(q, &ask->filter, m, rcpt_at(q, rcpt), domain)) {
            continue;
        }
        if (rcpt_at(q, rcpt)->state == RCPT_ACTIVE) {
            err = act_on_active(q, rcpt, ask, &pending);
        } else if (act_applies(q, rcpt_at(q, rcpt), ask->action)) {
            group_add(q, &group, rcpt);
        }
    }
    pending_unref(q, pending);
    if (err == OK && group.count) {
        err = act_ctl(q, &group, ask->action, ask->author, ask->reason);
        ask->changed_count += err == OK ? group.count : 0;
    }
    msg_check(q, msg);
    return err;
}

void act_free_all(struct queue *q)
{
    uint64_t rcpt, pending;
    for (uint32_t at = 0; map_walk(&q->pending_map, &at, &rcpt, &pending);) {
        pending_unref(q, (uint32_t)pending);
    }
    map_done(&q->pending_map);
    slab_done(&q->pendings);
}
