/* SPDX-License-Identifier: Apache-2.0
 *
 * plan.c - times: the retry plan, and how old a message is.
 *
 * Age is measured by the clock that never steps, from the moment a message came or was restored,
 * plus the age that the wall clock gave it then. So a step of the wall clock while we run expires
 * nothing. At a restart the wall clock is all there is, and it may be wrong (a dead battery says
 * 1970): an age below zero or above twice the give-up time cannot be, an open message would have
 * expired; it counts as zero. Any other age is cut so that a restored message has at least an hour
 * (or a quarter of its time) left, and with it a try.
 */
#include "queue/queue_priv.h"

enum { RESTORE_GRACE_MS = 3600000, JITTER_PERCENT = 10 };

uint64_t queue_retry_delay_ms(uint64_t first_ms, uint64_t max_ms, uint32_t tries, struct prng *prng)
{
    static const uint64_t delay_max_ms = INT64_MAX / 2; /* so that sums of times stay in range */
    uint64_t delay_ms = first_ms == 0 ? 1 : first_ms < delay_max_ms ? first_ms : delay_max_ms;
    max_ms = max_ms < delay_ms ? delay_ms : max_ms < delay_max_ms ? max_ms : delay_max_ms;
    for (uint32_t i = 1; i < tries && delay_ms < max_ms; i++) {
        delay_ms = delay_ms > max_ms / 2 ? max_ms : delay_ms * 2;
    }
    uint64_t spread_ms = delay_ms / 100 * JITTER_PERCENT;
    return delay_ms - spread_ms + prng_below(prng, 2 * spread_ms + 1);
}

uint64_t msg_age_ms(const struct queue *q, const struct msg *msg)
{
    int64_t born_ms = msg_born(msg).ms;
    return q->now.ms > born_ms ? (uint64_t)(q->now.ms - born_ms) : 0;
}

int64_t msg_born_at_restore(
        struct mono now, struct wall wall, struct wall accepted_at, const struct stream *stream)
{
    int64_t age_ms;
    if (__builtin_sub_overflow(wall.ms, accepted_at.ms, &age_ms) || age_ms < 0 ||
            (uint64_t)age_ms / 2 > stream->give_up_ms) {
        return now.ms;
    }
    uint64_t grace_ms = stream->give_up_ms / 4;
    grace_ms = grace_ms < RESTORE_GRACE_MS ? grace_ms : RESTORE_GRACE_MS;
    uint64_t age_max_ms = stream->give_up_ms - grace_ms;
    return now.ms - ((uint64_t)age_ms < age_max_ms ? age_ms : (int64_t)age_max_ms);
}

/* Recipients of a message that were tried as often get the same jitter, so that they meet again in
 * one transaction. */
uint64_t msg_retry_ms(struct queue *q, const struct msg *msg, uint32_t tries)
{
    const struct stream *stream = &q->stream[msg->stream];
    struct prng prng;
    prng_init(&prng, q->seed ^ queue_mix(msg->msg_id + tries));
    return queue_retry_delay_ms(stream->retry_first_ms, stream->retry_max_ms, tries, &prng);
}

struct wall wall_in(const struct queue *q, int64_t ms)
{
    return (struct wall){ q->wall.ms + ms };
}
