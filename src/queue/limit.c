/* SPDX-License-Identifier: Apache-2.0
 *
 * limit.c - the one place for pacing: may this lane start another job now?
 *
 * Today two rules: from one source to one site at most so many jobs are out, whatever streams they
 * come from; and a lane whose host cannot be talked to is suspended, doubling from 30 s to 30 min,
 * then probed by a single job until one gets through. Rates and warm-up come here later.
 */
#include "queue/queue_priv.h"

uint32_t gate_job_max(const struct queue *q)
{
    uint32_t connections = q->config->site_connection_max;
    return connections < UINT32_MAX / LANE_JOBS_PER_CONNECTION
                   ? (connections ? connections : 1) * LANE_JOBS_PER_CONNECTION
                   : UINT32_MAX;
}

bool gate_is_full(const struct queue *q, const struct gate *gate)
{
    return gate->job_count >= gate_job_max(q);
}

bool lane_is_suspended(const struct queue *q, const struct lane *lane)
{
    return lane->suspended_until.ms > q->now.ms;
}

bool lane_may_start(const struct queue *q, const struct lane *lane)
{
    if (q->is_stopping || lane_is_suspended(q, lane)) {
        return false;
    }
    if (lane->failures && lane->job_count) {
        return false; /* one probe */
    }
    return !gate_is_full(q, gate_at(q, lane->gate));
}

uint32_t lane_ahead_max(const struct lane *lane)
{
    return lane->failures ? 1 : LANE_AHEAD_COUNT_MAX;
}

static uint64_t suspend_ms(struct queue *q, uint32_t failures)
{
    return queue_retry_delay_ms(LANE_SUSPEND_FIRST_MS, LANE_SUSPEND_MAX_MS, failures, &q->prng);
}

/* Jobs that were out already when the lane was suspended do not count again. */
void lane_failed(struct queue *q, struct lane *lane, uint16_t reason)
{
    reason_give(q, lane->reason);
    lane->reason = reason;
    if (lane_is_suspended(q, lane)) {
        return;
    }
    struct mono until = mono_after(q->now, suspend_ms(q, lane->failures + 1));
    heap_del(&q->resume, &lane->resume);
    if (heap_add(&q->resume, &lane->resume, until.ms) != OK) {
        return; /* no memory for the alarm: tried again at once, as after any other error */
    }
    lane->failures += lane->failures < UINT32_MAX;
    lane->suspended_until = until;
    lane_give_back(q, lane);
}

static void lane_clear(struct queue *q, struct lane *lane)
{
    heap_del(&q->resume, &lane->resume);
    lane->suspended_until = (struct mono){ 0 };
}

void lane_worked(struct queue *q, struct lane *lane)
{
    if (lane->failures == 0) {
        return;
    }
    lane_clear(q, lane);
    lane->failures = 0;
    reason_give(q, lane->reason);
    lane->reason = 0;
    lane_wake(q, lane);
}

void lane_lift(struct queue *q, struct lane *lane)
{
    lane_clear(q, lane);
    lane_wake(q, lane);
}

void lane_resume_due(struct queue *q)
{
    for (struct heap_item *item; (item = heap_first(&q->resume)) && item->key <= q->now.ms;) {
        lane_lift(q, CONTAINER_OF(item, struct lane, resume));
    }
}
