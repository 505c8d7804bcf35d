/* SPDX-License-Identifier: Apache-2.0
 *
 * job.c - jobs out to delivery and their results back.
 *
 * A job is one message and those of its recipients that are ready in the same lane. Recipients
 * that an attempt in doubt may have reached go in jobs of their own, so that the mark of a possible
 * duplicate is exact.
 */
#include "queue/queue_priv.h"

enum { GATHER_LOOK_FACTOR = 4 }; /* numbers looked at for each recipient that still fits */

static struct job *job_at(const struct queue *q, uint32_t job)
{
    return slab_at(&q->jobs, job);
}

struct site *site_take(struct site *site)
{
    if (site) {
        atomic_fetch_add_explicit(&site->refs, 1, memory_order_relaxed);
    }
    return site;
}

void site_give(struct site *site)
{
    if (site == NULL) {
        return;
    }
    uint32_t before = atomic_fetch_sub_explicit(&site->refs, 1, memory_order_acq_rel);
    ASSERT(before > 0);
    if (before == 1) {
        struct arena *arena = site->arena; /* the site itself lies in it */
        arena_done(arena);
        mem_free(arena);
    }
}

void queue_job_free(struct queue_job *job)
{
    if (job == NULL) {
        return;
    }
    site_give(job->site);
    config_give(job->config);
    blob_give(job->envelope);
    blob_give(job->content);
    blob_give(job->signature);
    mem_free(job->rcpt);
    mem_free(job);
}

void queue_result_free(struct queue_result *result)
{
    if (result) {
        arena_done(&result->arena);
        mem_free(result->rcpt);
        mem_free(result);
    }
}

/* ---- out ---- */

static struct group job_gather(struct queue *q, uint32_t lane, uint32_t first)
{
    const struct rcpt *head = rcpt_at(q, first);
    struct group group = msg_group(q, head->msg);
    uint32_t max = q->config->transaction_rcpt_max ? q->config->transaction_rcpt_max : 1;
    uint32_t end = head->number + max * GATHER_LOOK_FACTOR,
             count = msg_at(q, head->msg)->rcpt_count;
    end = max < SPOOL_RCPT_COUNT_MAX && end < count ? end : count;
    group_add(q, &group, first);
    for (uint32_t i = head->number + 1u; i < end && group.count < max; i++) {
        uint32_t rcpt = rcpt_find(q, head->msg, i);
        const struct rcpt *r = rcpt == NONE ? NULL : rcpt_at(q, rcpt);
        if (r && (r->state == RCPT_GO || r->state == RCPT_READY) && r->lane == lane &&
                !((r->flags ^ head->flags) & RCPT_DUPLICATE)) {
            group_add(q, &group, rcpt);
        }
    }
    return group;
}

static struct mono waiting_since(const struct queue *q, const struct rcpt *r)
{
    struct mono since = r->attempts ? wheel_time(&q->wheel, r->due) : msg_born(msg_at(q, r->msg));
    return since.ms < q->now.ms ? since : q->now;
}

static void letter_fill(
        struct queue *q, struct queue_job *letter, const struct group *group, uint32_t lane_number)
{
    const struct lane *lane = lane_at(q, lane_number);
    const struct msg *m = msg_at(q, group->msg);
    uint32_t source = gate_at(q, lane->gate)->source;
    struct shelf *shelf = shelf_of(q, m);
    letter->msg_id = m->msg_id;
    letter->ulid = shelf->ulid;
    letter->site = site_take(lane_site(q, lane));
    letter->lane_id = lane->id;
    letter->source = source == NONE ? UINT32_MAX : q->source[source].index;
    letter->config = config_take(q->config);
    letter->envelope = blob_take(shelf->envelope);
    letter->content = blob_take(shelf->content);
    letter->signature = blob_take(shelf->signature);
    letter->queued_since = waiting_since(q, rcpt_at(q, group->rcpt[0]));
    letter->maybe_duplicate = rcpt_at(q, group->rcpt[0])->flags & RCPT_DUPLICATE;
    letter->rcpt_count = group->count;
    memcpy(letter->rcpt, group->number, group->count * sizeof *letter->rcpt);
    shelf_touch(q, shelf);
}

/* The recipients become active; returns the number of this attempt. */
static uint32_t group_activate(struct queue *q, const struct group *group, uint32_t job)
{
    uint32_t attempt_no = 0;
    for (uint32_t i = 0; i < group->count; i++) {
        struct rcpt *r = rcpt_at(q, group->rcpt[i]);
        attempt_no = r->attempts > attempt_no ? r->attempts : attempt_no;
        rcpt_unlink(q, group->rcpt[i]);
        rcpt_set(q, group->rcpt[i], RCPT_ACTIVE);
        r->prev = job;
        r->next = NONE;
    }
    return attempt_no + 1;
}

enum err job_start(struct queue *q, uint32_t lane_number, uint32_t rcpt)
{
    struct group group = job_gather(q, lane_number, rcpt);
    struct queue_job *letter = mem_new(sizeof *letter);
    uint16_t *numbers = mem_new(group.count * sizeof *numbers);
    uint32_t number;
    enum err err = letter && numbers ? slab_take(&q->jobs, &number) : E_NOMEM;
    if (err != OK) {
        mem_free(letter);
        mem_free(numbers);
        return E_NOMEM;
    }
    letter->rcpt = numbers;
    letter_fill(q, letter, &group, lane_number);
    struct job *job = job_at(q, number);
    *job = (struct job){ .msg = group.msg, .lane = lane_number, .serial = ++q->job_serial };
    job->left_count = group.count;
    job->attempt_no = group_activate(q, &group, number);
    letter->attempt_no = job->attempt_no;
    letter->job_id = (uint64_t)job->serial << 32 | number;
    struct lane *lane = lane_at(q, lane_number);
    lane->job_count++;
    lane->refs++;
    gate_at(q, lane->gate)->job_count++;
    q->job_count++;
    q->ports.deliver(q->ports.ctx, letter);
    return OK;
}

/* ---- back ---- */

static struct job *job_of(const struct queue *q, uint64_t job_id)
{
    uint32_t number = (uint32_t)job_id;
    if (number >= q->jobs.end) {
        return NULL;
    }
    struct job *job = job_at(q, number);
    return job->serial && job->serial == job_id >> 32 ? job : NULL;
}

/* Those of the result that this job really has out; what else it names is ignored. */
static struct group result_group(
        struct queue *q, const struct queue_result *result, const struct job *job)
{
    struct group group = msg_group(q, job->msg);
    for (uint32_t i = 0; i < result->outcome.rcpt_count && i < SPOOL_RCPT_COUNT_MAX; i++) {
        uint32_t rcpt = rcpt_find(q, job->msg, result->rcpt[i]);
        if (rcpt != NONE && rcpt_at(q, rcpt)->state == RCPT_ACTIVE &&
                rcpt_at(q, rcpt)->prev == (uint32_t)result->job_id) {
            group_add(q, &group, rcpt);
        }
    }
    return group;
}

/* Back to the lane, as if nothing had been. */
static void group_untried(struct queue *q, struct group *group)
{
    for (uint32_t i = 0; i < group->count; i++) {
        rcpt_unlink(q, group->rcpt[i]);
        if (rcpt_at(q, group->rcpt[i])->flags & RCPT_PENDING) {
            act_pending(q, group->rcpt[i]);
        } else {
            rcpt_place(q, group->rcpt[i]);
        }
    }
}

/* What is left of a job that has ended without saying a word about them. */
static void job_rest_untried(struct queue *q, const struct job *job, uint64_t job_id)
{
    struct group group = msg_group(q, job->msg);
    uint32_t count = msg_at(q, job->msg)->rcpt_count;
    for (uint32_t i = 0; i < count; i++) {
        uint32_t rcpt = rcpt_find(q, job->msg, i);
        if (rcpt != NONE && rcpt_at(q, rcpt)->state == RCPT_ACTIVE &&
                rcpt_at(q, rcpt)->prev == (uint32_t)job_id) {
            group_add(q, &group, rcpt);
        }
    }
    log_warn(q->log, "queue", "an attempt ended without an outcome for %u recipients: tried again",
            group.count);
    group_untried(q, &group);
}

static void job_end(struct queue *q, struct job *job, uint64_t job_id)
{
    if (job->left_count) {
        job_rest_untried(q, job, job_id);
    }
    uint32_t msg = job->msg, lane = job->lane;
    slab_give(&q->jobs, (uint32_t)job_id);
    q->job_count--;
    lane_job_ended(q, lane);
    msg_check(q, msg);
}

/* A failure of the session is the lane's; any other answer shows that its host can be talked to. */
static void lane_learn(struct queue *q, const struct queue_result *result, struct lane *lane)
{
    const struct spool_outcome *o = &result->outcome;
    if (result->scope == QUEUE_SESSION && result->result != SPOOL_RESULT_DELIVERED) {
        lane_failed(q, lane, reason_take(q, o->code, o->enhanced, o->text, o->remote_host));
    } else if (result->result != SPOOL_RESULT_IN_DOUBT) {
        lane_worked(q, lane);
    }
}

static enum err result_settle(struct queue *q, struct queue_result *result, struct job *job)
{
    struct group group = result_group(q, result, job);
    struct lane *lane = lane_at(q, job->lane);
    if (result->is_untried) {
        group_untried(q, &group);
    } else if (group.count) {
        result->outcome.attempt_no = job->attempt_no;
        result->outcome.result = result->result;
        lane_learn(q, result, lane);
        enum err err = outcome_settle(q, &group, &result->outcome, result->scope);
        if (err != OK) {
            return err;
        }
    }
    ASSERT(job->left_count >= group.count);
    job->left_count -= group.count;
    return OK;
}

enum err job_result(struct queue *q, struct queue_result *result)
{
    struct job *job = job_of(q, result->job_id);
    if (job == NULL) { /* its last recipient was settled before, and this only says so */
        queue_result_free(result);
        return OK;
    }
    uint32_t msg = job->msg;
    enum err err = result_settle(q, result, job);
    if (err != OK) {
        return err;
    }
    if (result->is_last || job->left_count == 0) {
        job_end(q, job, result->job_id);
    } else {
        msg_check(q, msg);
    }
    queue_result_free(result);
    return OK;
}
