/* SPDX-License-Identifier: Apache-2.0
 *
 * msg.c - messages: found by id, coming from the keeper or the journal, going when all is closed.
 */
#include "queue/queue_priv.h"

static uint64_t key_of(const void *ctx, uint32_t msg)
{
    return msg_at(ctx, msg)->msg_id;
}

uint32_t msg_find(const struct queue *q, uint64_t msg_id)
{
    uint32_t msg;
    struct numset_keys keys = { key_of, q };
    return numset_find(&q->msg_set, &keys, msg_id, &msg) ? msg : NONE;
}

static void msg_unset(struct queue *q, uint64_t msg_id)
{
    uint32_t msg;
    bool is_there = numset_del(&q->msg_set, &(struct numset_keys){ key_of, q }, msg_id, &msg);
    ASSERT(is_there);
}

/* ---- coming and going ---- */

struct group msg_group(struct queue *q, uint32_t msg)
{
    return (struct group){ .msg = msg, .rcpt = q->group_rcpt, .number = q->group_number };
}

static uint32_t run_count_of(const struct msg *m)
{
    return (m->rcpt_count + RCPT_RUN_COUNT_MAX - 1u) / RCPT_RUN_COUNT_MAX;
}

/* A new recipient of the open message. */
static void rcpt_begin(struct queue *q, uint32_t msg, uint32_t rcpt, uint32_t number)
{
    struct rcpt *r = rcpt_at(q, rcpt);
    r->msg = msg;
    r->number = (uint16_t)number; /* < SPOOL_RCPT_COUNT_MAX */
    msg_at(q, msg)->open_count++;
    q->rcpt_count[QUEUE_VIEW_QUEUED]++;
}

static enum err long_new(struct queue *q, struct msg *m)
{
    uint32_t number;
    uint32_t *run = mem_new(run_count_of(m) * sizeof *run);
    enum err err = run ? slab_take(&q->longs, &number) : E_NOMEM;
    if (err != OK) {
        mem_free(run);
        return err;
    }
    long_at(q, number)->run = run;
    m->run = number;
    return OK;
}

static void long_free(struct queue *q, struct msg *m)
{
    if (msg_is_long(m) && m->run != NONE) {
        mem_free(long_at(q, m->run)->run);
        slab_give(&q->longs, m->run);
    }
}

static enum err msg_take_runs(struct queue *q, uint32_t msg)
{
    struct msg *m = msg_at(q, msg);
    enum err err = msg_is_long(m) ? long_new(q, m) : OK;
    if (err != OK) {
        return err;
    }
    for (uint32_t number = 0; number < m->rcpt_count; number += RCPT_RUN_COUNT_MAX) {
        uint32_t left = m->rcpt_count - number, first;
        left = left < RCPT_RUN_COUNT_MAX ? left : RCPT_RUN_COUNT_MAX;
        err = rcpt_run_take(q, left, &first);
        if (err != OK) {
            return err;
        }
        *(msg_is_long(m) ? &long_at(q, m->run)->run[number >> RCPT_RUN_ORDER_MAX] : &m->run) =
                first;
        for (uint32_t i = 0; i < left; i++) {
            rcpt_begin(q, msg, first + i, number + i);
        }
    }
    return OK;
}

static struct str address_domain(struct str address)
{
    size_t at = str_rindex(address, '@');
    return str_from(address, at < address.len ? at + 1 : address.len);
}

static enum err msg_take_domains(
        struct queue *q, uint32_t msg, const struct spool_envelope *envelope)
{
    struct cur cur = { .rest = envelope->rcpts };
    struct str address, last = { 0 };
    uint32_t domain = NONE;
    for (uint32_t number = 0; spool_rcpt_next(&cur, &address); number++) {
        struct rcpt *r = rcpt_at(q, rcpt_find(q, msg, number));
        struct str name = address_domain(address);
        if (domain != NONE && str_eq(name, last)) { /* lists are mostly sorted by it */
            domain_at(q, domain)->refs++;
        } else {
            enum err err = domain_take(q, name, &domain);
            if (err != OK) {
                return err;
            }
            last = name;
        }
        r->domain = domain;
    }
    return OK;
}

/* The message and, where memory did not suffice for all of it, the recipients it has. */
static void msg_free(struct queue *q, uint32_t msg)
{
    struct msg *m = msg_at(q, msg);
    for (uint32_t i = 0; m->open_count && i < m->rcpt_count; i++) {
        uint32_t rcpt = rcpt_find(q, msg, i);
        if (rcpt != NONE) {
            rcpt_close(q, rcpt);
        }
    }
    shelf_drop(q, msg);
    long_free(q, m);
    slab_give(&q->msgs, msg);
}

static void msg_fill(
        struct queue *q, struct msg *m, uint64_t msg_id, const struct spool_envelope *envelope)
{
    m->msg_id = msg_id;
    m->shelf = NO_SHELF;
    time48_set(m->born, q->now.ms);
    time48_set(m->accepted, envelope->accepted_at.ms);
    m->content_bytes =
            envelope->content_bytes < UINT32_MAX ? (uint32_t)envelope->content_bytes : UINT32_MAX;
    m->flags = (uint8_t)((envelope->flags & SPOOL_MSG_SIGN ? MSG_SIGN : 0) |
                         (envelope->sender.len == 0 ? MSG_NULL_SENDER : 0));
    m->rcpt_count = (uint16_t)envelope->rcpt_count; /* ≤ SPOOL_RCPT_COUNT_MAX by decoding */
    m->run = NONE;
}

enum err msg_new(
        struct queue *q, uint64_t msg_id, const struct spool_envelope *envelope, uint32_t *ret_msg)
{
    uint32_t msg;
    uint8_t stream;
    enum err err = numset_reserve(&q->msg_set, &(struct numset_keys){ key_of, q }, 1);
    if (err == OK) {
        err = policy_stream(q, envelope->stream, &stream);
    }
    if (err == OK) {
        err = slab_take(&q->msgs, &msg);
    }
    if (err != OK) {
        return err;
    }
    struct msg *m = msg_at(q, msg);
    msg_fill(q, m, msg_id, envelope);
    m->stream = stream;
    err = msg_take_runs(q, msg);
    if (err == OK) {
        err = msg_take_domains(q, msg, envelope);
    }
    if (err != OK) {
        msg_free(q, msg);
        return err;
    }
    numset_put(&q->msg_set, msg_id, msg);
    q->msg_count++;
    *ret_msg = msg;
    return OK;
}

void msg_check(struct queue *q, uint32_t msg)
{
    struct msg *m = msg_at(q, msg);
    if (m->open_count == 0) {
        report_forget(q, msg);
        msg_unset(q, m->msg_id);
        msg_free(q, msg);
        if (--q->msg_count == 0) {
            rcpt_pool_trim(q);
        }
        return;
    }
    if (m->hot_count == 0 && m->shelf != NO_SHELF) {
        shelf_drop(q, msg);
    }
    if (m->failed_count) {
        report_want(q, msg);
    }
}

void msg_set_where(struct msg *msg, const struct spool_where *where)
{
    bool is_place = spool_where_pack(where, &msg->place); /* the spool has it in such a place */
    ASSERT(is_place);
}

void msg_free_all(struct queue *q)
{
    uint32_t msg;
    for (uint32_t at = 0; numset_walk(&q->msg_set, &at, &msg);) {
        shelf_drop(q, msg);
        long_free(q, msg_at(q, msg));
    }
    numset_done(&q->msg_set);
}

/* ---- accepted ---- */

bool rcpt_is_soon(const struct queue *q, uint32_t rcpt)
{
    const struct rcpt *r = rcpt_at(q, rcpt);
    return r->state == RCPT_SITE ||
           (r->state == RCPT_READY && !lane_is_suspended(q, lane_at(q, r->lane)) &&
                   (shelf_has_room(q) ||
                           lane_at(q, r->lane)->ready.count <= LANE_WINDOW_COUNT_MAX));
}

static void msg_place_all(struct queue *q, uint32_t msg)
{
    bool is_soon = false;
    uint32_t count = msg_at(q, msg)->rcpt_count;
    for (uint32_t i = 0; i < count; i++) {
        uint32_t rcpt = rcpt_find(q, msg, i);
        rcpt_place(q, rcpt);
        is_soon = is_soon || rcpt_is_soon(q, rcpt);
    }
    if (!is_soon) {
        shelf_drop(q, msg);
    }
    msg_check(q, msg);
}

static void accepted_free(struct queue_accepted *news)
{
    blob_give(news->envelope);
    blob_give(news->content);
    mem_free(news);
}

static enum err accepted_take(
        struct queue *q, struct queue_accepted *news, const struct spool_envelope *envelope)
{
    uint32_t msg;
    enum err err = msg_new(q, news->msg_id, envelope, &msg);
    if (err != OK) {
        return err;
    }
    msg_set_where(msg_at(q, msg), &news->where);
    shelf_put(q, msg, &envelope->ulid, news->envelope, news->content, NULL);
    mem_free(news);
    msg_place_all(q, msg);
    return OK;
}

enum err msg_accepted(struct queue *q, struct queue_accepted *news)
{
    struct buf scratch;
    struct spool_envelope envelope;
    buf_init(&scratch, SPOOL_ENVELOPE_BYTES_MAX);
    struct str bytes = blob_bytes(news->envelope, &scratch);
    enum err err = buf_err(&scratch);
    if (err == OK && spool_envelope_decode(bytes, &envelope) != OK) {
        log_error(q->log, "queue",
                "message %llu has an envelope that cannot be read: it stays in "
                "the spool, see \"outpost spool check\"",
                (unsigned long long)news->msg_id);
        accepted_free(news);
    } else if (err == OK && msg_find(q, news->msg_id) != NONE) {
        accepted_free(news);
    } else if (err == OK) {
        err = accepted_take(q, news, &envelope);
    }
    buf_done(&scratch);
    return err;
}

/* ---- restored ---- */

/* Overdue ones come back over a while, not all in the first second. */
static void restore_wait(struct queue *q, uint32_t rcpt, struct wall due)
{
    const struct rcpt *r = rcpt_at(q, rcpt);
    const struct stream *stream = &q->stream[msg_at(q, r->msg)->stream];
    uint64_t delay_ms = 0;
    uint64_t delay_max_ms = stream->retry_max_ms + stream->retry_max_ms / 10;
    if (due.ms > q->wall.ms) {
        delay_ms = (uint64_t)due.ms - (uint64_t)q->wall.ms;
        delay_ms = delay_ms < delay_max_ms ? delay_ms : delay_max_ms; /* the wall clock may lie */
    } else if (r->attempts) {
        uint64_t spread_ms = delay_max_ms < RESTART_SPREAD_MS ? delay_max_ms : RESTART_SPREAD_MS;
        delay_ms = prng_below(&q->prng, spread_ms + 1);
    }
    rcpt_wait(q, rcpt, delay_ms);
}

static void restore_rcpt(struct queue *q, uint32_t rcpt, const struct spool_open_rcpt *from)
{
    struct rcpt *r = rcpt_at(q, rcpt);
    r->attempts = from->tries;
    r->tries = from->tries < UINT8_MAX ? (uint8_t)from->tries : UINT8_MAX;
    r->flags = from->maybe_duplicate ? RCPT_DUPLICATE : 0;
    switch (from->state) {
    case SPOOL_ATTEMPTING:
    case SPOOL_IN_DOUBT:
        r->flags = RCPT_DUPLICATE | RCPT_DOUBT;
        restore_wait(q, rcpt, from->due);
        break;
    case SPOOL_HELD:
        rcpt_set(q, rcpt, RCPT_HELD);
        break;
    case SPOOL_FAILED:
        rcpt_set(q, rcpt, RCPT_FAILED);
        break;
    case SPOOL_QUEUED:
        restore_wait(q, rcpt, from->due);
        break;
    case SPOOL_DELIVERED:
    case SPOOL_NOTIFIED:
    case SPOOL_CLOSED:
    case SPOOL_CANCELLED:
    case SPOOL_SUPPRESSED:
    case SPOOL_STATE_COUNT:
        break; /* closed: taken out below */
    }
}

static void restore_all(
        struct queue *q, uint32_t msg, const struct spool_open_rcpt *rcpts, uint32_t rcpt_count)
{
    uint32_t count = msg_at(q, msg)->rcpt_count;
    for (uint32_t i = 0; i < rcpt_count; i++) {
        uint32_t rcpt = rcpt_find(q, msg, rcpts[i].rcpt);
        if (rcpt_at(q, rcpt)->state == RCPT_NEW) { /* else named twice */
            restore_rcpt(q, rcpt, &rcpts[i]);
        }
    }
    for (uint32_t i = 0; i < count; i++) {
        uint32_t rcpt = rcpt_find(q, msg, i);
        if (rcpt_at(q, rcpt)->state == RCPT_NEW) {
            rcpt_close(q, rcpt);
        }
    }
}

void queue_expect(struct queue *q, uint64_t msg_count)
{
    struct numset_keys keys = { key_of, q };
    if (msg_count <= NUMSET_COUNT_MAX &&
            numset_reserve(&q->msg_set, &keys, (uint32_t)msg_count) != OK) {
        log_warn(q->log, "queue", "little memory: the queue is restored in small steps");
    }
}

enum err queue_restore(struct queue *q, const struct spool_open_msg *msg,
        const struct spool_open_rcpt *rcpts, uint32_t rcpt_count,
        const struct spool_envelope *envelope)
{
    q->now = clock_mono(q->clock);
    q->wall = clock_wall(q->clock);
    for (uint32_t i = 0; i < rcpt_count; i++) {
        if (rcpts[i].rcpt >= envelope->rcpt_count) {
            return E_CORRUPT;
        }
    }
    if (envelope->rcpt_count == 0 || envelope->rcpt_count > SPOOL_RCPT_COUNT_MAX) {
        return E_CORRUPT;
    }
    if (msg_find(q, msg->msg_id) != NONE) {
        return E_EXISTS;
    }
    uint32_t number;
    enum err err = msg_new(q, msg->msg_id, envelope, &number);
    if (err != OK) {
        return err;
    }
    struct msg *m = msg_at(q, number);
    msg_set_where(m, &msg->where);
    time48_set(m->accepted, msg->accepted_at.ms);
    time48_set(
            m->born, msg_born_at_restore(q->now, q->wall, msg->accepted_at, &q->stream[m->stream]));
    restore_all(q, number, rcpts, rcpt_count);
    msg_check(q, number);
    return OK;
}
