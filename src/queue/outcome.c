/* SPDX-License-Identifier: Apache-2.0
 *
 * outcome.c - what came of recipients: first the record to the keeper, then the state.
 *
 * The transitions are those of docs/spool.md. Where memory fails for the record nothing is changed,
 * and the caller comes again: a state without a record would be sent twice after a crash.
 */
#include "queue/queue_priv.h"

#include "core/crash.h"

enum { GAVE_UP_BYTES_MAX = REASON_BYTES_MAX + 200 };

enum err outcome_record(struct queue *q, enum spool_record_type type, uint64_t msg_id)
{
    enum err err = buf_err(&q->payload);
    if (err != OK) {
        return E_NOMEM; /* its fields are bounded, its maximum is not what failed */
    }
    struct keeper_record *record = keeper_record_new(type, msg_id, buf_str(&q->payload));
    if (record == NULL) {
        return E_NOMEM;
    }
    record->letter.kind = KEEPER_RECORD;
    record->wish = KEEPER_WANTS_NOTHING;
    q->ports.record(q->ports.ctx, record);
    CRASH_POINT("outcome.sent");
    return OK;
}

/* ---- what follows from a result ---- */

struct fate {
    struct spool_outcome *outcome;
    bool is_lane_failure; /* deferred by it: no try of the retry plan */
    uint64_t delay_ms;    /* until the next try */
    bool is_over;         /* deferred, and too old for a next try */
    bool is_in_doubt;
    uint16_t reason;
};

static uint32_t attempts_max(const struct queue *q, const struct group *group)
{
    uint32_t max = 0;
    for (uint32_t i = 0; i < group->count; i++) {
        uint32_t attempts = rcpt_at(q, group->rcpt[i])->attempts;
        max = attempts > max ? attempts : max;
    }
    return max;
}

static uint32_t tries_max(const struct queue *q, const struct group *group)
{
    uint32_t max = 0;
    for (uint32_t i = 0; i < group->count; i++) {
        uint32_t tries = rcpt_at(q, group->rcpt[i])->tries;
        max = tries > max ? tries : max;
    }
    return max;
}

/* When the group is tried next. Who failed with the lane waits as long as the lane does. */
static uint64_t next_delay_ms(struct queue *q, const struct group *group, bool is_lane_failure)
{
    const struct msg *m = msg_at(q, group->msg);
    uint32_t lane = rcpt_at(q, group->rcpt[0])->lane;
    if (is_lane_failure && lane != NONE) {
        int64_t left_ms = lane_at(q, lane)->suspended_until.ms - q->now.ms;
        return left_ms > 0 ? (uint64_t)left_ms : RETRY_SOON_MS;
    }
    uint64_t delay_ms = msg_retry_ms(q, m, tries_max(q, group) + 1);
    uint64_t age_ms = msg_age_ms(q, m), give_up_ms = q->stream[m->stream].give_up_ms;
    if (age_ms < give_up_ms && delay_ms > give_up_ms - age_ms) {
        delay_ms = give_up_ms - age_ms; /* the last try is at the end of its time */
    }
    return delay_ms;
}

static struct fate fate_of(
        struct queue *q, struct group *group, struct spool_outcome *outcome, enum queue_scope scope)
{
    const struct msg *m = msg_at(q, group->msg);
    const struct stream *stream = &q->stream[m->stream];
    struct fate fate = { .outcome = outcome };
    fate.is_in_doubt = outcome->result == SPOOL_RESULT_IN_DOUBT;
    fate.is_lane_failure = scope == QUEUE_SESSION && !fate.is_in_doubt;
    if (scope == QUEUE_SESSION && outcome->result == SPOOL_RESULT_BOUNCED) {
        outcome->result = SPOOL_RESULT_DEFERRED; /* about us, not about the recipients */
    }
    if (fate.is_in_doubt && stream->is_in_doubt_held) {
        outcome->result = SPOOL_RESULT_HELD;
        outcome->maybe_duplicate = true; /* should it ever be released */
    }
    if (outcome->result == SPOOL_RESULT_DEFERRED || outcome->result == SPOOL_RESULT_IN_DOUBT) {
        fate.is_over = msg_age_ms(q, m) >= stream->give_up_ms;
        fate.delay_ms = fate.is_over ? 0 : next_delay_ms(q, group, fate.is_lane_failure);
        outcome->due = fate.is_over ? (struct wall){ 0 } : wall_in(q, (int64_t)fate.delay_ms);
    }
    return fate;
}

/* A record marks everybody it names. Recipients of a job are alike; in other groups, those who are
 * marked were so by an earlier record. */
static bool all_maybe_duplicate(const struct queue *q, const struct group *group)
{
    bool is_all = true;
    for (uint32_t i = 0; i < group->count; i++) {
        is_all = is_all && rcpt_at(q, group->rcpt[i])->flags & RCPT_DUPLICATE;
    }
    return is_all;
}

static enum err fate_record(
        struct queue *q, const struct group *group, struct spool_outcome *outcome)
{
    const struct msg *m = msg_at(q, group->msg);
    outcome->msg_id = m->msg_id;
    outcome->rcpt = group->number;
    outcome->rcpt_count = group->count;
    outcome->attempt_no = outcome->attempt_no ? outcome->attempt_no : attempts_max(q, group) + 1;
    outcome->at = outcome->at.ms ? outcome->at : q->wall;
    outcome->maybe_duplicate |= all_maybe_duplicate(q, group);
    buf_clear(&q->payload);
    spool_outcome_encode(&q->payload, outcome);
    if (outcome->code >= 400 && q->ports.refused != NULL) {
        q->ports.refused(q->ports.ctx, outcome->text);
    }
    return outcome_record(q, SPOOL_OUTCOME, m->msg_id);
}

static void rcpt_try_again(struct queue *q, uint32_t rcpt, const struct fate *fate)
{
    struct rcpt *r = rcpt_at(q, rcpt);
    if (!fate->is_lane_failure) {
        r->tries = r->tries < UINT8_MAX ? r->tries + 1 : UINT8_MAX;
    }
    if (r->flags & RCPT_PENDING && !fate->is_over) {
        act_pending(q, rcpt);
    } else if (fate->is_lane_failure && !fate->is_over) {
        rcpt_place(q, rcpt); /* last in its lane, with which it waits */
    } else {
        rcpt_wait(q, rcpt, fate->delay_ms);
    }
}

static void rcpt_fail(struct queue *q, uint32_t rcpt)
{
    act_forget_pending(q, rcpt);
    rcpt_set(q, rcpt, RCPT_FAILED);
    rcpt_at(q, rcpt)->due = wheel_tick(&q->wheel, q->now);
}

static void rcpt_meet_fate(struct queue *q, uint32_t rcpt, const struct fate *fate)
{
    struct rcpt *r = rcpt_at(q, rcpt);
    rcpt_unlink(q, rcpt);
    uint32_t attempt_no = fate->outcome->attempt_no;
    r->attempts = (uint16_t)(attempt_no < UINT16_MAX ? attempt_no : UINT16_MAX);
    rcpt_give_reason(q, rcpt, reason_again(q, fate->reason));
    if (fate->is_in_doubt) {
        r->flags |= RCPT_DUPLICATE;
    }
    switch (fate->outcome->result) {
    case SPOOL_RESULT_DELIVERED:
        q->delivered++;
        rcpt_close(q, rcpt);
        break;
    case SPOOL_RESULT_DEFERRED:
        q->deferred++;
        rcpt_try_again(q, rcpt, fate);
        break;
    case SPOOL_RESULT_IN_DOUBT:
        q->in_doubt++;
        r->flags |= RCPT_DOUBT;
        rcpt_try_again(q, rcpt, fate);
        break;
    case SPOOL_RESULT_BOUNCED:
        q->bounced++;
        rcpt_fail(q, rcpt);
        break;
    case SPOOL_RESULT_EXPIRED:
        q->expired++;
        r->flags |= RCPT_EXPIRED;
        rcpt_fail(q, rcpt);
        break;
    case SPOOL_RESULT_HELD:
        q->in_doubt += fate->is_in_doubt;
        if (r->flags & RCPT_PENDING && !act_is_hold_pending(q, rcpt)) {
            act_pending(q, rcpt);
        } else {
            act_forget_pending(q, rcpt);
            rcpt_set(q, rcpt, RCPT_HELD);
        }
        break;
    case SPOOL_RESULT_COUNT:
        ASSERT(false);
    }
}

enum err outcome_settle(
        struct queue *q, struct group *group, struct spool_outcome *outcome, enum queue_scope scope)
{
    char text[GAVE_UP_BYTES_MAX];
    ASSERT(group->count > 0);
    struct fate fate = fate_of(q, group, outcome, scope);
    struct spool_outcome told = *outcome;
    if (fate.is_in_doubt && told.result == SPOOL_RESULT_HELD) {
        size_t len = fmt(text, sizeof text, "in doubt, held as the stream says: %.*s",
                STR_ARG(str_sub(told.text, 0, REASON_BYTES_MAX)));
        told.text = str_of(text, len);
    }
    enum err err = fate_record(q, group, &told);
    if (err != OK) {
        return err;
    }
    outcome->attempt_no = told.attempt_no; /* of the whole job: the next group has it too */
    outcome->at = told.at;
    outcome->maybe_duplicate = told.maybe_duplicate;
    if (told.result != SPOOL_RESULT_DELIVERED) {
        fate.reason = reason_take(q, told.code, told.enhanced, told.text, told.remote_host);
    }
    for (uint32_t i = 0; i < group->count; i++) {
        rcpt_meet_fate(q, group->rcpt[i], &fate);
    }
    reason_give(q, fate.reason);
    if (fate.is_over && outcome_expire(q, group) != OK) {
        q->is_short = true; /* they are due at once, and expire after one more try */
    }
    return OK;
}

/* ---- by time ---- */

static size_t format_days(uint64_t ms, char *dst, size_t cap_bytes)
{
    uint64_t minutes = ms / 60000;
    if (minutes >= 48 * 60) {
        return fmt(dst, cap_bytes, "%llu days", (unsigned long long)(minutes / (24 * 60)));
    }
    return minutes >= 120 ? fmt(dst, cap_bytes, "%llu hours", (unsigned long long)(minutes / 60))
                          : fmt(dst, cap_bytes, "%llu minutes", (unsigned long long)minutes);
}

/* RFC 3463 3.5, X.4.7: delivery time expired; class 4, since trying again later may succeed. */
static enum err expire_alike(struct queue *q, struct group *group)
{
    char text[GAVE_UP_BYTES_MAX], last[REASON_BYTES_MAX + 100], time[40];
    const struct rcpt *r = rcpt_at(q, group->rcpt[0]);
    format_days(q->stream[msg_at(q, group->msg)->stream].give_up_ms, time, sizeof time);
    reason_format(q, r->reason, last, sizeof last);
    fmt(text, sizeof text, "gave up after %s%s%s", time, last[0] ? "; the last reason was: " : "",
            last);
    const struct reason *reason = reason_get(q, r->reason);
    uint32_t attempt_no = attempts_max(q, group);
    struct spool_outcome outcome = {
        .result = SPOOL_RESULT_EXPIRED,
        .attempt_no = attempt_no ? attempt_no : 1,
        .enhanced = STR("4.4.7"),
        .text = str_from_c(text),
        .remote_host = reason ? reason_host(reason) : (struct str){ 0 },
    };
    return outcome_settle(q, group, &outcome, QUEUE_RCPT);
}

/* Recipients with the same last reason share a record. */
enum err outcome_expire(struct queue *q, struct group *group)
{
    uint32_t done = 0;
    while (done < group->count) {
        struct group part = {
            .msg = group->msg, .rcpt = group->rcpt + done, .number = group->number + done
        };
        uint16_t reason = rcpt_at(q, part.rcpt[0])->reason;
        for (uint32_t i = done; i < group->count; i++) {
            uint32_t rcpt = group->rcpt[i];
            if (rcpt_at(q, rcpt)->reason == reason) {
                group->rcpt[i] = part.rcpt[part.count];
                group->number[i] = part.number[part.count];
                part.rcpt[part.count] = rcpt;
                part.number[part.count++] = rcpt_at(q, rcpt)->number;
            }
        }
        enum err err = expire_alike(q, &part);
        if (err != OK) {
            return err;
        }
        done += part.count;
    }
    return OK;
}

enum err outcome_hold(struct queue *q, struct group *group, struct str enhanced, struct str text)
{
    struct spool_outcome outcome = {
        .result = SPOOL_RESULT_HELD, .enhanced = enhanced, .text = text
    };
    return outcome_settle(q, group, &outcome, QUEUE_MESSAGE);
}

enum err outcome_defer(struct queue *q, struct group *group, struct str enhanced, struct str text)
{
    struct spool_outcome outcome = {
        .result = SPOOL_RESULT_DEFERRED, .enhanced = enhanced, .text = text
    };
    return outcome_settle(q, group, &outcome, QUEUE_MESSAGE);
}

/* An attempt of which only the beginning is on record: the stream may want a person to decide. */
static bool doubt_is_held(struct queue *q, uint32_t rcpt)
{
    uint16_t number = rcpt_at(q, rcpt)->number;
    const struct msg *m = msg_at(q, rcpt_at(q, rcpt)->msg);
    if (!(rcpt_at(q, rcpt)->flags & RCPT_DOUBT) || !q->stream[m->stream].is_in_doubt_held) {
        return false;
    }
    struct group group = {
        .msg = rcpt_at(q, rcpt)->msg, .count = 1, .rcpt = &rcpt, .number = &number
    };
    struct spool_outcome outcome = {
        .result = SPOOL_RESULT_IN_DOUBT,
        .attempt_no = rcpt_at(q, rcpt)->attempts ? rcpt_at(q, rcpt)->attempts : 1,
        .enhanced = STR("4.4.2"),
        .text = STR("it is not known whether the last attempt came through"),
    };
    if (outcome_settle(q, &group, &outcome, QUEUE_RCPT) != OK) {
        rcpt_wait(q, rcpt, RETRY_SOON_MS);
    }
    return true;
}

void outcome_due(struct queue *q, uint32_t rcpt)
{
    uint32_t msg = rcpt_at(q, rcpt)->msg;
    rcpt_set(q, rcpt, RCPT_NEW); /* the wheel has let go of it */
    if (rcpt_at(q, rcpt)->flags & RCPT_PENDING) {
        act_pending(q, rcpt);
    } else if (!doubt_is_held(q, rcpt)) {
        rcpt_place(q, rcpt);
    }
    msg_check(q, msg);
}
