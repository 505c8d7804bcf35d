/* SPDX-License-Identifier: Apache-2.0
 *
 * task.c - a job in our hands: its envelope read, its recipients' states, its reports.
 *
 * Every recipient is reported exactly once. The last report of a job always finds memory: it is
 * allocated with the task.
 */
#include "core/str.h"
#include "core/time.h"
#include "deliver/deliver_priv.h"

enum { ATTEMPT_BYTES_MAX = 64 << 10, REPORT_SLACK_BYTES = 16, REPORT_STRING_COUNT = 8 };

/* ---- making ---- */

/* The envelope in one piece: a view where it is one, else a copy that the task owns. */
static bool envelope_bytes(struct task *task, struct str *ret_bytes)
{
    const struct blob *blob = task->job->envelope;
    if (!blob->first->next) {
        *ret_bytes = str_of(blob->first->data, blob->first->len);
        return true;
    }
    task->flat_envelope = mem_new((size_t)blob->size_bytes); /* ≤ SPOOL_ENVELOPE_BYTES_MAX */
    if (!task->flat_envelope) {
        return false;
    }
    size_t len = 0;
    for (const struct blob_chunk *at = blob->first; at; at = at->next) {
        memcpy(task->flat_envelope + len, at->data, at->len);
        len += at->len;
    }
    *ret_bytes = str_of(task->flat_envelope, len);
    return true;
}

/* Addresses by number; in one pass where the numbers rise, as they mostly do. */
static bool addresses_find(struct task *task, struct str rcpts)
{
    struct cur cur = { .rest = rcpts };
    uint32_t next_number = 0;
    for (uint32_t i = 0; i < task->job->rcpt_count; i++) {
        uint32_t number = task->job->rcpt[i];
        if (number < next_number) {
            cur = (struct cur){ .rest = rcpts };
            next_number = 0;
        }
        for (; next_number <= number; next_number++) {
            if (!spool_rcpt_next(&cur, &task->address[i])) {
                return false;
            }
        }
    }
    return true;
}

static enum err envelope_read(struct task *task)
{
    struct str bytes;
    struct spool_envelope envelope;
    if (!envelope_bytes(task, &bytes)) {
        return E_NOMEM;
    }
    if (spool_envelope_decode(bytes, &envelope) != OK || !addresses_find(task, envelope.rcpts)) {
        return E_CORRUPT;
    }
    task->sender = envelope.sender;
    task->is_8bit = (envelope.flags & SPOOL_MSG_8BIT) != 0;
    return OK;
}

static struct queue_result *result_new(uint32_t rcpt_count)
{
    struct queue_result *result = mem_new(sizeof *result);
    if (!result) {
        return NULL;
    }
    result->rcpt = mem_new((rcpt_count + 1) * sizeof *result->rcpt);
    if (!result->rcpt) {
        mem_free(result);
        return NULL;
    }
    result->letter.kind = QUEUE_RESULT;
    arena_init(&result->arena, 0);
    return result;
}

/* The task and its four arrays in one piece. */
static struct task *task_alloc(uint32_t rcpt_count)
{
    size_t size_bytes = sizeof(struct task) +
                        rcpt_count * (2 * sizeof(struct str) + sizeof(uint16_t) + sizeof(uint8_t));
    struct task *task = mem_new(size_bytes);
    if (!task) {
        return NULL;
    }
    task->address = (struct str *)(void *)(task + 1);
    task->asked = task->address + rcpt_count;
    task->asked_rcpt = (uint16_t *)(void *)(task->asked + rcpt_count);
    task->state = (uint8_t *)(task->asked_rcpt + rcpt_count);
    return task;
}

enum err task_new(struct deliver *deliver, struct queue_job *job, struct task **ret_task)
{
    struct task *task = task_alloc(job->rcpt_count);
    if (!task) {
        return E_NOMEM;
    }
    list_init(&task->item);
    task->deliver = deliver;
    task->job = job;
    task->open_count = job->rcpt_count;
    task->reserve = result_new(job->rcpt_count);
    enum err err = task->reserve ? envelope_read(task) : E_NOMEM;
    if (err == OK || err == E_CORRUPT) {
        task->id = ++deliver->last_task_id;
        err = map_set(&deliver->tasks, task->id, (uint64_t)(uintptr_t)task) == OK ? err : E_NOMEM;
    }
    if (err == E_NOMEM) {
        task->job = NULL; /* stays the caller's */
        task_free(task);
        return E_NOMEM;
    }
    deliver->stats.jobs_now++;
    *ret_task = task;
    return err;
}

void task_free(struct task *task)
{
    if (task->job) {
        map_del(&task->deliver->tasks, task->id);
        task->deliver->stats.jobs_now--;
        queue_job_free(task->job);
    }
    if (task->reserve) {
        queue_result_free(task->reserve);
    }
    list_del(&task->item);
    mem_free(task->flat_envelope);
    mem_free(task);
}

void task_prepare(struct task *task)
{
    uint32_t count = 0;
    task->accepted_count = 0;
    for (uint32_t i = 0; i < task->job->rcpt_count; i++) {
        if (task->state[i] == RCPT_WAITING) {
            task->asked[count] = task->address[i];
            task->asked_rcpt[count++] = (uint16_t)i; /* < SPOOL_RCPT_COUNT_MAX */
        }
    }
    const struct queue_job *job = task->job;
    uint64_t signature_bytes = job->signature ? job->signature->size_bytes : 0;
    task->mail = (struct smtp_client_mail){ .sender = task->sender,
        .rcpts = task->asked,
        .rcpt_count = count,
        .size_bytes = job->content->size_bytes + signature_bytes,
        .is_8bit = task->is_8bit };
}

struct task *task_of_mail(const struct smtp_client_mail *mail)
{
    char *at = (char *)(uintptr_t)mail; /* ours, and not const: it lies in a task */
    return CONTAINER_OF(at, struct task, mail);
}

/* ---- reporting ---- */

static uint32_t ms_between(struct mono from, struct mono to)
{
    int64_t ms = from.ms == 0 || to.ms < from.ms ? 0 : to.ms - from.ms;
    return ms > UINT32_MAX ? UINT32_MAX : (uint32_t)ms;
}

static struct str source_name(const struct queue_job *job)
{
    return job->source < job->config->source_count ? job->config->source[job->source].name
                                                   : STR("");
}

static size_t string_bytes(struct str s)
{
    return s.len + REPORT_SLACK_BYTES + 1;
}

static void result_describe(struct queue_result *result, const struct task *task,
        const struct fate *fate, const struct task_scene *scene)
{
    const struct queue_job *job = task->job;
    struct spool_outcome *outcome = &result->outcome;
    struct arena *arena = &result->arena;
    struct str enhanced = str_from_c(fate->enhanced), source = source_name(job);
    struct mono now = clock_mono(task->deliver->clock);
    arena_init(arena, string_bytes(enhanced) + string_bytes(fate->text) +
                              string_bytes(job->site->key) + string_bytes(source) +
                              string_bytes(scene->remote_host) + string_bytes(scene->remote_ip) +
                              string_bytes(scene->tls) + string_bytes(scene->dialogue));
    outcome->msg_id = job->msg_id;
    outcome->attempt_no = job->attempt_no;
    outcome->result = fate->result;
    outcome->at = clock_wall(task->deliver->clock);
    outcome->code = fate->code;
    outcome->enhanced = arena_str(arena, enhanced);
    outcome->text = arena_str(arena, fate->text);
    outcome->site = arena_str(arena, job->site->key);
    outcome->source = arena_str(arena, source);
    outcome->remote_host = arena_str(arena, scene->remote_host);
    outcome->remote_ip = arena_str(arena, scene->remote_ip);
    outcome->tls = arena_str(arena, scene->tls);
    if (fate->result != SPOOL_RESULT_DELIVERED) {
        outcome->dialogue = arena_str(arena, scene->dialogue);
    }
    outcome->queued_ms = ms_between(job->queued_since, task->taken_at.ms ? task->taken_at : now);
    outcome->connect_ms = scene->connect_ms;
    outcome->transfer_ms = scene->transfer_ms;
    outcome->maybe_duplicate = job->maybe_duplicate;
}

static void result_send(struct task *task, struct queue_result *result, const struct fate *fate)
{
    const struct queue_job *job = task->job;
    result->job_id = job->job_id;
    result->lane_id = job->lane_id;
    result->is_last = task->open_count == 0;
    result->scope = fate->scope;
    result->result = fate->result;
    result->is_untried = fate->is_untried;
    result->outcome.rcpt = result->rcpt;
    mailbox_answer(task->deliver->ports.queue, &result->letter);
}

/* Moves the recipients of states from..to into result. */
static void result_fill(struct queue_result *result, struct task *task, enum task_rcpt_state from,
        enum task_rcpt_state to)
{
    uint32_t count = 0;
    for (uint32_t i = 0; i < task->job->rcpt_count; i++) {
        if (task->state[i] >= from && task->state[i] <= to) {
            task->state[i] = RCPT_REPORTED;
            result->rcpt[count++] = task->job->rcpt[i];
        }
    }
    result->outcome.rcpt_count = count;
    task->open_count -= count;
}

static uint32_t count_in(
        const struct task *task, enum task_rcpt_state from, enum task_rcpt_state to)
{
    uint32_t count = 0;
    for (uint32_t i = 0; i < task->job->rcpt_count; i++) {
        count += task->state[i] >= from && task->state[i] <= to;
    }
    return count;
}

static struct queue_result *reserve_take(struct task *task)
{
    struct queue_result *reserve = task->reserve;
    task->reserve = NULL;
    return reserve;
}

void task_report(struct task *task, enum task_rcpt_state from, enum task_rcpt_state to,
        const struct fate *fate, const struct task_scene *scene)
{
    static const struct task_scene nothing = { .connect_ms = 0 };
    uint32_t count = count_in(task, from, to);
    if (count == 0) {
        return;
    }
    bool is_last = count == task->open_count;
    struct fate said = *fate;
    struct queue_result *result = is_last ? reserve_take(task) : result_new(count);
    if (!result) { /* the reserve speaks for all, also for those whose fate is not known */
        result = reserve_take(task);
        from = RCPT_WAITING;
        to = RCPT_ACCEPTED;
        bool is_safe = fate->result == SPOOL_RESULT_DEFERRED;
        said.result = is_safe ? fate->result : SPOOL_RESULT_IN_DOUBT;
    }
    ASSERT(result); /* the reserve goes with the last report only */
    result_fill(result, task, from, to);
    result_describe(result, task, &said, scene ? scene : &nothing);
    result_send(task, result, &said);
}

void task_report_one(
        struct task *task, uint32_t index, const struct fate *fate, const struct task_scene *scene)
{
    struct queue_result *result = result_new(1);
    if (!result) { /* it waits for the end, and is then deferred or in doubt with the others */
        return;
    }
    task->state[index] = RCPT_REPORTED;
    task->open_count--;
    result->rcpt[0] = task->job->rcpt[index];
    result->outcome.rcpt_count = 1;
    result_describe(result, task, fate, scene);
    result_send(task, result, fate);
}

void task_give_back(struct task *task, struct str text)
{
    struct fate fate = fate_own(SPOOL_RESULT_DEFERRED, QUEUE_SESSION, "4.3.2", text);
    fate.is_untried = task->attempt == ATTEMPT_NONE;
    task_report(task, RCPT_WAITING, RCPT_ACCEPTED, &fate, NULL);
}

/* ---- the record before the content ---- */

static struct keeper_record *attempt_record(const struct task *task)
{
    const struct queue_job *job = task->job;
    struct spool_attempt attempt = { .msg_id = job->msg_id,
        .rcpt = job->rcpt,
        .rcpt_count = job->rcpt_count,
        .attempt_no = job->attempt_no,
        .at = clock_wall(task->deliver->clock) };
    struct buf payload;
    buf_init(&payload, ATTEMPT_BYTES_MAX);
    spool_attempt_encode(&payload, &attempt);
    struct keeper_record *record = NULL;
    if (buf_err(&payload) == OK) {
        record = keeper_record_new(SPOOL_ATTEMPT, job->msg_id, buf_str(&payload));
    }
    buf_done(&payload);
    return record;
}

void task_ask_attempt(struct task *task, struct mono now)
{
    struct keeper_record *record = attempt_record(task);
    if (!record) {
        task->attempt = ATTEMPT_FAILED;
        return;
    }
    record->letter.kind = KEEPER_RECORD;
    record->wish = KEEPER_WANTS_WRITTEN;
    record->reply = (struct keeper_reply){
        .box = task->deliver->ports.self, .kind = DELIVER_ATTEMPT_WRITTEN, .ctx_id = task->id
    };
    task->attempt = ATTEMPT_ASKED;
    task->attempt_at = now;
    enum err err = mailbox_send(task->deliver->ports.keeper, &record->letter);
    if (err == E_FULL) { /* bounded by the jobs that are out, and nothing can be done but wait */
        mailbox_answer(task->deliver->ports.keeper, &record->letter);
    } else if (err != OK) {
        task->attempt = ATTEMPT_FAILED;
        mem_free(record);
    }
}
