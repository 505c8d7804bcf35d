/* SPDX-License-Identifier: Apache-2.0
 *
 * rcpt.c - recipients: their pool, their lists, and the one place where a state changes.
 *
 * A message gets its recipients in runs of up to 16 neighbours, so that a number in the message
 * leads to one without a search; each is freed alone when it closes. The pool is a buddy system
 * inside runs: what is freed joins its neighbour again.
 */
#include "queue/queue_priv.h"

enum { FREE_HEAD = 1 }; /* flag of a free block's first record; its order is in number */

/* Hot: its message's bytes may be needed soon. */
static const bool is_hot[RCPT_STATE_COUNT] = {
    [RCPT_SITE] = true,
    [RCPT_READY] = true,
    [RCPT_STAGED] = true,
    [RCPT_GO] = true,
    [RCPT_ACTIVE] = true,
};

/* ---- the pool ---- */

static void pool_forget(struct queue *q)
{
    for (uint32_t order = 0; order <= RCPT_RUN_ORDER_MAX; order++) {
        q->rcpts.free[order] = NONE;
    }
}

void rcpt_pool_init(struct queue *q)
{
    slab_init(&q->rcpts.slab, sizeof(struct rcpt) * RCPT_RUN_COUNT_MAX);
    pool_forget(q);
}

static void block_push(struct queue *q, uint32_t at, uint32_t order)
{
    struct rcpt *r = rcpt_at(q, at);
    r->flags = FREE_HEAD;
    r->number = (uint16_t)order;
    r->prev = NONE;
    r->next = q->rcpts.free[order];
    if (r->next != NONE) {
        rcpt_at(q, r->next)->prev = at;
    }
    q->rcpts.free[order] = at;
}

static void block_pull(struct queue *q, uint32_t at, uint32_t order)
{
    struct rcpt *r = rcpt_at(q, at);
    ASSERT(r->state == RCPT_FREE && r->flags == FREE_HEAD && r->number == order);
    if (r->prev == NONE) {
        q->rcpts.free[order] = r->next;
    } else {
        rcpt_at(q, r->prev)->next = r->next;
    }
    if (r->next != NONE) {
        rcpt_at(q, r->next)->prev = r->prev;
    }
    r->flags = 0;
}

static void block_free(struct queue *q, uint32_t at)
{
    uint32_t order = 0;
    while (order < RCPT_RUN_ORDER_MAX) {
        uint32_t buddy = at ^ UINT32_C(1) << order;
        const struct rcpt *r = rcpt_at(q, buddy);
        if (r->state != RCPT_FREE || r->flags != FREE_HEAD || r->number != order) {
            break;
        }
        block_pull(q, buddy, order);
        at = at < buddy ? at : buddy;
        order++;
    }
    block_push(q, at, order);
}

static enum err block_take(struct queue *q, uint32_t want_order, uint32_t *ret_at)
{
    uint32_t order = want_order;
    while (order <= RCPT_RUN_ORDER_MAX && q->rcpts.free[order] == NONE) {
        order++;
    }
    uint32_t at;
    if (order <= RCPT_RUN_ORDER_MAX) {
        at = q->rcpts.free[order];
        block_pull(q, at, order);
    } else {
        uint32_t run;
        if (q->rcpts.slab.end >= WHEEL_IS_SLOT >> RCPT_RUN_ORDER_MAX) {
            return E_FULL; /* two thousand million recipients */
        }
        enum err err = slab_take(&q->rcpts.slab, &run);
        if (err != OK) {
            return err;
        }
        at = run << RCPT_RUN_ORDER_MAX;
        order = RCPT_RUN_ORDER_MAX;
    }
    while (order > want_order) {
        order--;
        block_push(q, at + (UINT32_C(1) << order), order);
    }
    *ret_at = at;
    return OK;
}

enum err rcpt_run_take(struct queue *q, uint32_t count, uint32_t *ret_first)
{
    ASSERT(count >= 1 && count <= RCPT_RUN_COUNT_MAX);
    uint32_t order = 0, first;
    while (UINT32_C(1) << order < count) {
        order++;
    }
    enum err err = block_take(q, order, &first);
    if (err != OK) {
        return err;
    }
    uint32_t all = UINT32_C(1) << order;
    for (uint32_t i = 0; i < all; i++) {
        *rcpt_at(q, first + i) = (struct rcpt){
            .msg = NONE, .prev = NONE, .next = NONE, .domain = NONE, .lane = NONE, .state = RCPT_NEW
        };
    }
    q->rcpts.count += all;
    for (uint32_t i = count; i < all; i++) {
        rcpt_free(q, first + i);
    }
    *ret_first = first;
    return OK;
}

void rcpt_free(struct queue *q, uint32_t rcpt)
{
    ASSERT(q->rcpts.count > 0);
    *rcpt_at(q, rcpt) = (struct rcpt){ .msg = NONE, .domain = NONE, .lane = NONE };
    q->rcpts.count--;
    block_free(q, rcpt);
}

void rcpt_pool_trim(struct queue *q)
{
    if (q->rcpts.count == 0) {
        q->rcpts.slab.used_count = 0; /* runs are never given back one by one */
        slab_trim(&q->rcpts.slab);
        if (q->rcpts.slab.end == 0) {
            pool_forget(q);
        }
    }
}

uint32_t rcpt_find(const struct queue *q, uint32_t msg, uint32_t number)
{
    const struct msg *m = msg_at(q, msg);
    if (number >= m->rcpt_count) {
        return NONE;
    }
    uint32_t run = msg_is_long(m) ? long_at(q, m->run)->run[number >> RCPT_RUN_ORDER_MAX] : m->run;
    uint32_t rcpt = run + (number & (RCPT_RUN_COUNT_MAX - 1));
    const struct rcpt *r = rcpt_at(q, rcpt);
    /* a closed one's place may be another message's by now */
    return r->state != RCPT_FREE && r->msg == msg && r->number == number ? rcpt : NONE;
}

/* ---- lists ---- */

void rcpt_list_init(struct rcpt_list *list)
{
    *list = (struct rcpt_list){ NONE, NONE, 0 };
}

void rcpt_list_add(struct queue *q, struct rcpt_list *list, uint32_t rcpt)
{
    struct rcpt *r = rcpt_at(q, rcpt);
    r->prev = list->last;
    r->next = NONE;
    if (list->last == NONE) {
        list->first = rcpt;
    } else {
        rcpt_at(q, list->last)->next = rcpt;
    }
    list->last = rcpt;
    list->count++;
}

static void rcpt_list_del(struct queue *q, struct rcpt_list *list, uint32_t rcpt)
{
    struct rcpt *r = rcpt_at(q, rcpt);
    ASSERT(list->count > 0);
    if (r->prev == NONE) {
        ASSERT(list->first == rcpt);
        list->first = r->next;
    } else {
        rcpt_at(q, r->prev)->next = r->next;
    }
    if (r->next == NONE) {
        ASSERT(list->last == rcpt);
        list->last = r->prev;
    } else {
        rcpt_at(q, r->next)->prev = r->prev;
    }
    r->prev = r->next = NONE;
    list->count--;
}

/* ---- states ---- */

enum queue_view_state rcpt_view(const struct rcpt *rcpt)
{
    switch ((enum rcpt_state)rcpt->state) {
    case RCPT_ACTIVE:
        return QUEUE_VIEW_ACTIVE;
    case RCPT_HELD:
        return QUEUE_VIEW_HELD;
    case RCPT_FAILED:
        return QUEUE_VIEW_FAILED;
    case RCPT_WAIT:
        return rcpt->flags & RCPT_DOUBT ? QUEUE_VIEW_IN_DOUBT : QUEUE_VIEW_QUEUED;
    case RCPT_NEW:
    case RCPT_SITE:
    case RCPT_READY:
    case RCPT_STAGED:
    case RCPT_GO:
        return QUEUE_VIEW_QUEUED;
    case RCPT_FREE:
    case RCPT_STATE_COUNT:
        break;
    }
    ASSERT(false);
    return QUEUE_VIEW_QUEUED;
}

static void count_state(struct queue *q, const struct rcpt *r, bool is_in)
{
    struct msg *m = msg_at(q, r->msg);
    uint16_t one = is_in ? 1 : UINT16_MAX; /* wraps: minus one */
    m->hot_count = (uint16_t)(m->hot_count + (is_hot[r->state] ? one : 0));
    m->active_count = (uint16_t)(m->active_count + (r->state == RCPT_ACTIVE ? one : 0));
    m->failed_count = (uint16_t)(m->failed_count + (r->state == RCPT_FAILED ? one : 0));
    q->rcpt_count[rcpt_view(r)] += is_in ? 1 : UINT64_MAX;
}

void rcpt_set(struct queue *q, uint32_t rcpt, enum rcpt_state state)
{
    struct rcpt *r = rcpt_at(q, rcpt);
    ASSERT(r->state == RCPT_NEW || state == RCPT_NEW); /* every way leads through NEW */
    ASSERT(r->state != RCPT_FREE && state != RCPT_FREE);
    count_state(q, r, false);
    r->state = state & 0xf;
    count_state(q, r, true);
    bool is_in_lane = state == RCPT_NEW || (state >= RCPT_READY && state <= RCPT_ACTIVE);
    if (r->lane != NONE && !is_in_lane) {
        uint32_t lane = r->lane;
        r->lane = NONE;
        lane_unref(q, lane);
    }
}

void rcpt_unlink(struct queue *q, uint32_t rcpt)
{
    struct rcpt *r = rcpt_at(q, rcpt);
    switch ((enum rcpt_state)r->state) {
    case RCPT_SITE:
        rcpt_list_del(q, &domain_at(q, r->domain)->wait, rcpt);
        break;
    case RCPT_READY:
        rcpt_list_del(q, &lane_at(q, r->lane)->ready, rcpt);
        break;
    case RCPT_STAGED:
        rcpt_list_del(q, &lane_at(q, r->lane)->staged, rcpt);
        break;
    case RCPT_GO:
        rcpt_list_del(q, &lane_at(q, r->lane)->go, rcpt);
        break;
    case RCPT_WAIT:
        wheel_del(q, rcpt);
        break;
    case RCPT_NEW:
    case RCPT_ACTIVE:
    case RCPT_HELD:
    case RCPT_FAILED:
        break;
    case RCPT_FREE:
    case RCPT_STATE_COUNT:
        ASSERT(false);
    }
    rcpt_set(q, rcpt, RCPT_NEW);
}

void rcpt_wait(struct queue *q, uint32_t rcpt, uint64_t delay_ms)
{
    struct rcpt *r = rcpt_at(q, rcpt);
    ASSERT(r->state == RCPT_NEW);
    rcpt_set(q, rcpt, RCPT_WAIT);
    r->due = wheel_tick(&q->wheel, mono_after(q->now, delay_ms));
    wheel_add(q, rcpt);
}

void rcpt_give_reason(struct queue *q, uint32_t rcpt, uint16_t reason)
{
    struct rcpt *r = rcpt_at(q, rcpt);
    reason_give(q, r->reason);
    r->reason = reason;
}

void rcpt_close(struct queue *q, uint32_t rcpt)
{
    struct rcpt *r = rcpt_at(q, rcpt);
    struct msg *m = msg_at(q, r->msg);
    rcpt_unlink(q, rcpt);
    count_state(q, r, false);
    if (r->lane != NONE) {
        lane_unref(q, r->lane);
    }
    act_forget_pending(q, rcpt);
    domain_give(q, r->domain);
    reason_give(q, r->reason);
    ASSERT(m->open_count > 0);
    m->open_count--;
    rcpt_free(q, rcpt);
}
