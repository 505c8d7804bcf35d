/* SPDX-License-Identifier: Apache-2.0
 *
 * queue.c - the scheduler's turn: letters, then what is due, then who may go. See queue.h.
 */
#include "queue/queue_priv.h"

enum { BOX_COUNT_MAX = 65536, PAYLOAD_BYTES_MAX = 4 << 20 };

/* ---- made and freed ---- */

static void queue_init(struct queue *q)
{
    slab_init(&q->msgs, sizeof(struct msg));
    slab_init(&q->longs, sizeof(struct long_msg));
    slab_init(&q->domains, sizeof(struct domain));
    slab_init(&q->places, sizeof(struct place));
    slab_init(&q->gates, sizeof(struct gate));
    slab_init(&q->lanes, sizeof(struct lane));
    slab_init(&q->shelves, sizeof(struct shelf));
    slab_init(&q->jobs, sizeof(struct job));
    slab_init(&q->reasons, sizeof(struct reason));
    slab_init(&q->reports, sizeof(struct report));
    slab_init(&q->pendings, sizeof(struct pending));
    rcpt_pool_init(q);
    list_init(&q->runnable);
    list_init(&q->prepare_full);
    list_init(&q->shelf_list);
    q->to_ask = q->to_answer = (struct domain_list){ NONE, NONE };
    q->idle_first = q->idle_last = NONE;
    q->lane_idle_first = q->lane_idle_last = NONE;
    q->backlog_last = &q->backlog;
    q->asks_last = &q->asks;
    buf_init(&q->payload, PAYLOAD_BYTES_MAX);
    mailbox_init(&q->box, BOX_COUNT_MAX, NULL, NULL);
}

/* Reason 0 means none, and the streams that are configured come first. */
static enum err queue_first_entries(struct queue *q, struct config *config)
{
    uint32_t none;
    uint8_t stream;
    enum err err = slab_take(&q->reasons, &none);
    if (err == OK) {
        err = policy_load(q, config);
    }
    for (uint32_t i = 0; err == OK && i < config->stream_count; i++) {
        err = policy_stream(q, config->stream[i].name, &stream);
    }
    return err;
}

enum err queue_new(struct clock *clock, struct entropy *entropy, const struct log *log,
        struct config *config, const struct queue_ports *ports, struct queue **ret_queue)
{
    struct queue *q = mem_new(sizeof *q);
    if (q == NULL) {
        return E_NOMEM;
    }
    queue_init(q);
    q->clock = clock;
    q->log = log;
    q->ports = *ports;
    entropy_fill(entropy, &q->seed, sizeof q->seed);
    prng_init(&q->prng, q->seed);
    q->now = clock_mono(clock);
    q->wall = clock_wall(clock);
    wheel_init(&q->wheel, q->now);
    enum err err = queue_first_entries(q, config);
    if (err != OK) {
        queue_free(q);
        return err;
    }
    *ret_queue = q;
    return OK;
}

struct mailbox *queue_mailbox(struct queue *q)
{
    return &q->box;
}

static void letter_free(struct queue *q, struct letter *letter)
{
    switch ((enum queue_letter_kind)letter->kind) {
    case QUEUE_ACCEPTED: {
        struct queue_accepted *news = CONTAINER_OF(letter, struct queue_accepted, letter);
        blob_give(news->envelope);
        blob_give(news->content);
        mem_free(news);
        return;
    }
    case QUEUE_RESULT:
        queue_result_free(CONTAINER_OF(letter, struct queue_result, letter));
        return;
    case QUEUE_SITE:
        site_give(CONTAINER_OF(letter, struct queue_site, letter)->site);
        mem_free(letter);
        return;
    case QUEUE_PREPARED:
        prepare_free(CONTAINER_OF(letter, struct queue_prepare, letter));
        return;
    case QUEUE_DSN_FAILED:
        queue_dsn_free(CONTAINER_OF(letter, struct queue_dsn, letter));
        return;
    case QUEUE_RECALL:
        queue_recall_free(CONTAINER_OF(letter, struct queue_recall, letter));
        return;
    case QUEUE_ASK:
        view_answer(q, CONTAINER_OF(letter, struct queue_ask, letter), E_CLOSED);
        return;
    case QUEUE_CONFIG:
        config_give(CONTAINER_OF(letter, struct queue_config, letter)->config);
        mem_free(letter);
        return;
    case QUEUE_MOVED:
    case QUEUE_NOTIFIED:
    case QUEUE_STOP:
        mem_free(letter);
        return;
    }
    ASSERT(false);
}

static void letters_free(struct queue *q, struct letter *letter)
{
    while (letter) {
        struct letter *next = letter->next;
        letter_free(q, letter);
        letter = next;
    }
}

void queue_free(struct queue *q)
{
    if (q == NULL) {
        return;
    }
    mailbox_close(&q->box);
    letters_free(q, q->backlog);
    letters_free(q, mailbox_take_all(&q->box));
    letters_free(q, q->asks);
    mailbox_done(&q->box);
    msg_free_all(q);
    act_free_all(q);
    report_free_all(q);
    shelf_free_all(q);
    lane_free_all(q);
    domain_free_all(q);
    reason_free_all(q);
    policy_done(q);
    slab_done(&q->msgs);
    slab_done(&q->longs);
    slab_done(&q->rcpts.slab);
    slab_done(&q->jobs);
    buf_done(&q->payload);
    mem_free(q);
}

bool queue_is_idle(const struct queue *q)
{
    return q->is_stopping && q->job_count == 0;
}

/* ---- letters ---- */

static void letter_moved(struct queue *q, struct queue_moved *news)
{
    uint32_t msg = msg_find(q, news->msg_id);
    if (msg != NONE) {
        msg_set_where(msg_at(q, msg), &news->where);
    }
    mem_free(news);
}

static enum err letter_config(struct queue *q, struct queue_config *news)
{
    enum err err = policy_load(q, news->config);
    if (err == E_NOMEM) {
        return err;
    }
    if (err != OK) {
        log_error(q->log, "queue", "the new configuration is not used (%s): restart the node",
                err_name(err));
    }
    lane_wake_all(q);
    config_give(news->config);
    mem_free(news);
    return OK;
}

/* E_NOMEM: nothing was done and the letter is whole; it comes again. */
static enum err letter_take(struct queue *q, struct letter *letter)
{
    switch ((enum queue_letter_kind)letter->kind) {
    case QUEUE_ACCEPTED:
        return msg_accepted(q, CONTAINER_OF(letter, struct queue_accepted, letter));
    case QUEUE_RESULT:
        return job_result(q, CONTAINER_OF(letter, struct queue_result, letter));
    case QUEUE_SITE:
        domain_site(q, CONTAINER_OF(letter, struct queue_site, letter));
        return OK;
    case QUEUE_PREPARED:
        shelf_prepared(q, CONTAINER_OF(letter, struct queue_prepare, letter));
        return OK;
    case QUEUE_MOVED:
        letter_moved(q, CONTAINER_OF(letter, struct queue_moved, letter));
        return OK;
    case QUEUE_NOTIFIED:
        report_notified(q, CONTAINER_OF(letter, struct queue_notified, letter));
        mem_free(letter);
        return OK;
    case QUEUE_DSN_FAILED:
        report_failed(q, CONTAINER_OF(letter, struct queue_dsn, letter));
        return OK;
    case QUEUE_RECALL:
        reason_recall(q, CONTAINER_OF(letter, struct queue_recall, letter));
        letter_free(q, letter);
        return OK;
    case QUEUE_ASK:
        view_ask(q, CONTAINER_OF(letter, struct queue_ask, letter));
        return OK;
    case QUEUE_CONFIG:
        return letter_config(q, CONTAINER_OF(letter, struct queue_config, letter));
    case QUEUE_STOP:
        q->is_stopping = true;
        mem_free(letter);
        return OK;
    }
    ASSERT(false);
    return OK;
}

static void letters_gather(struct queue *q)
{
    struct letter *letter = mailbox_take_all(&q->box);
    *q->backlog_last = letter;
    for (; letter; letter = letter->next) {
        q->backlog_last = &letter->next;
    }
}

static void letters_run(struct queue *q)
{
    letters_gather(q);
    for (uint32_t i = 0; q->backlog && i < TURN_LETTER_COUNT_MAX; i++) {
        struct letter *letter = q->backlog, *next = letter->next;
        if (letter_take(q, letter) != OK) {
            q->is_short = true;
            break;
        }
        q->backlog = next;
        q->backlog_last = next ? q->backlog_last : &q->backlog;
    }
}

/* ---- time ---- */

static bool due_run(struct queue *q)
{
    for (uint32_t i = 0; i < TURN_DUE_COUNT_MAX; i++) {
        uint32_t rcpt = wheel_take_due(q);
        if (rcpt == NONE) {
            return false;
        }
        outcome_due(q, rcpt);
    }
    return true;
}

/* What grows too old without anybody touching it: held ones, and those in a lane whose site cannot
 * be talked to. Others expire when a try fails (outcome.c), never without one. */
static bool is_stuck(const struct queue *q, const struct rcpt *r)
{
    return r->state == RCPT_HELD ||
           (r->state >= RCPT_READY && r->state <= RCPT_GO && lane_at(q, r->lane)->failures > 0);
}

static void patrol_msg(struct queue *q, uint32_t msg)
{
    const struct msg *m = msg_at(q, msg);
    if (m->rcpt_count == 0) {
        return;
    }
    if (msg_age_ms(q, m) >= q->stream[m->stream].give_up_ms) {
        struct group group = msg_group(q, msg);
        for (uint32_t i = 0; i < m->rcpt_count; i++) {
            uint32_t rcpt = rcpt_find(q, msg, i);
            if (rcpt != NONE && is_stuck(q, rcpt_at(q, rcpt))) {
                group_add(q, &group, rcpt);
            }
        }
        if (group.count && outcome_expire(q, &group) != OK) {
            q->is_short = true; /* the next round does it */
        }
    }
    msg_check(q, msg); /* also finds a report that memory did not suffice for */
}

static void patrol(struct queue *q)
{
    if (q->patrol_due.ms > q->now.ms || q->msg_count == 0) {
        return;
    }
    for (uint32_t i = 0; i < PATROL_STEP_COUNT && q->patrol_at < q->msgs.end; i++) {
        patrol_msg(q, q->patrol_at++);
    }
    if (q->patrol_at >= q->msgs.end) {
        q->patrol_at = 0;
    }
    q->patrol_due = mono_after(q->now, PATROL_ROUND_MS / (q->msgs.end / PATROL_STEP_COUNT + 1));
}

static struct mono heap_due(const struct heap *heap)
{
    const struct heap_item *item = heap_first(heap);
    return (struct mono){ item ? item->key : 0 };
}

/* Whether something was left over that does not wait for time or for an answer. */
static bool has_work(const struct queue *q)
{
    return q->backlog || q->asks || q->to_answer.first != NONE ||
           (q->to_ask.first != NONE && q->ask_count < SITE_ASK_COUNT_MAX) ||
           (!q->is_stopping && !list_is_empty(&q->runnable));
}

static struct mono next_deadline(const struct queue *q, bool has_more)
{
    if (q->is_short) {
        return mono_after(q->now, RETRY_SOON_MS);
    }
    if (has_more) {
        return q->now;
    }
    struct mono next = mono_first(wheel_next(q), heap_due(&q->resume));
    if (!q->is_stopping && q->report_composing_count < REPORT_COUNT_MAX) {
        next = mono_first(next, heap_due(&q->report_heap));
    }
    return q->msg_count ? mono_first(next, q->patrol_due) : next;
}

struct mono queue_turn(struct queue *q, struct mono now)
{
    q->now = now.ms > q->now.ms ? now : q->now; /* restoring may have read it later */
    q->wall = clock_wall(q->clock);
    q->is_short = false;
    letters_run(q);
    view_run(q);
    lane_resume_due(q);
    bool has_more_due = due_run(q);
    domain_ask_some(q);
    domain_answer_some(q, TURN_DUE_COUNT_MAX);
    lane_run_some(q);
    report_run(q);
    patrol(q);
    return next_deadline(q, has_more_due || has_work(q));
}
