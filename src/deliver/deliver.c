/* SPDX-License-Identifier: Apache-2.0
 *
 * deliver.c - the deliverer's face: letters in, deadlines, stop, and the notes on addresses.
 *
 * A letter only puts work in line; the turn that follows begins it, so that what came together goes
 * out together. Events of the net act at once.
 */
#include "core/crash.h"
#include "core/str.h"
#include "core/time.h"
#include "deliver/deliver_priv.h"

enum { RETRY_MS = 1000 /* memory was out */ };

/* ---- notes ---- */

static struct note *note_slot(struct deliver *deliver, const struct ip_port *at)
{
    size_t len = at->ip.family == IP_V4 ? 4 : sizeof at->ip.byte;
    uint64_t hash = str_hash(str_of((const char *)at->ip.byte, len), deliver->seed + at->port);
    return &deliver->note[hash % DELIVER_NOTE_COUNT];
}

static bool note_is_of(const struct note *note, const struct ip_port *at)
{
    return note->at.port == at->port && ip_eq(note->at.ip, at->ip);
}

struct note *deliver_note_find(struct deliver *deliver, const struct ip_port *at)
{
    struct note *note = note_slot(deliver, at);
    return note_is_of(note, at) ? note : NULL;
}

struct note *deliver_note_make(struct deliver *deliver, const struct ip_port *at)
{
    struct note *note = note_slot(deliver, at);
    if (!note_is_of(note, at)) {
        *note = (struct note){ .at = *at };
    }
    return note;
}

/* ---- jobs ---- */

/* The envelope was read from the spool and is damaged: not for us to judge, and nothing to send. */
static void task_unreadable(struct task *task)
{
    struct fate fate = fate_own(SPOOL_RESULT_DEFERRED, QUEUE_MESSAGE, "4.3.0",
            STR("the envelope of the message cannot be read"));
    task_report(task, RCPT_WAITING, RCPT_ACCEPTED, &fate, NULL);
    task_free(task);
}

/* False: no memory, the job is still ours to start. */
static bool job_start(struct deliver *deliver, struct queue_job *job)
{
    struct lane *lane;
    struct task *task;
    ASSERT(job->rcpt_count > 0);
    if (lane_of(deliver, job->lane_id, &lane) != OK) {
        return false;
    }
    enum err err = task_new(deliver, job, &task);
    lane_touch(lane); /* serves the task, or frees a lane that was made for nothing */
    if (err == E_NOMEM) {
        return false;
    }
    if (err != OK) {
        task_unreadable(task);
    } else if (deliver->is_stopping) {
        task_give_back(task, STR("Outpost is stopping"));
        task_free(task);
    } else {
        lane_add_job(lane, task);
    }
    return true;
}

static void job_take(struct deliver *deliver, struct queue_job *job)
{
    if (job_start(deliver, job)) {
        return;
    }
    job->letter.next = deliver->unstarted;
    deliver->unstarted = &job->letter;
    deliver->unstarted_count++;
}

static void unstarted_retry(struct deliver *deliver)
{
    struct letter *letter = deliver->unstarted;
    deliver->unstarted = NULL;
    deliver->unstarted_count = 0;
    while (letter) {
        struct letter *next = letter->next;
        job_take(deliver, CONTAINER_OF(letter, struct queue_job, letter));
        letter = next;
    }
}

static void attempt_answered(struct deliver *deliver, struct keeper_record *record, struct mono now)
{
    uint64_t value;
    CRASH_POINT("attempt.written");
    if (map_get(&deliver->tasks, record->reply.ctx_id, &value)) {
        struct task *task = (struct task *)(uintptr_t)value; /* as stored by task_new */
        task->attempt = record->err == OK ? ATTEMPT_WRITTEN : ATTEMPT_FAILED;
        if (task->conn && task == task->conn->task[0]) {
            conn_serve(task->conn, now);
        }
    }
    mem_free(record);
}

/* ---- turns ---- */

static void dead_free(struct deliver *deliver)
{
    struct list *item;
    while ((item = list_take_first(&deliver->dead))) {
        conn_free(CONTAINER_OF(item, struct conn, item));
    }
}

static struct conn *first_due(const struct deliver *deliver)
{
    struct heap_item *first = heap_first(&deliver->deadlines);
    return first ? CONTAINER_OF(first, struct conn, deadline) : NULL;
}

static struct mono first_deadline(const struct deliver *deliver)
{
    const struct conn *conn = first_due(deliver);
    return (struct mono){ conn ? conn->deadline.key : 0 };
}

/* Events of the net come between turns: where one of them leaves a deadline before the one that the
 * owner waits for, the owner is woken. */
static void tell_nearer_deadline(struct deliver *deliver)
{
    struct mono first = first_deadline(deliver);
    if (first.ms == 0 || (deliver->promised.ms != 0 && deliver->promised.ms <= first.ms)) {
        return;
    }
    struct letter *tick = mem_new(sizeof *tick);
    if (tick) { /* else the next event tries again */
        tick->kind = DELIVER_TICK;
        deliver->promised = first;
        mailbox_answer(deliver->ports.self, tick);
    }
}

static void lanes_settle(struct deliver *deliver, struct mono now)
{
    while (!list_is_empty(&deliver->touched)) {
        lane_settle(CONTAINER_OF(deliver->touched.next, struct lane, touched), now);
    }
}

void deliver_settle(struct deliver *deliver, struct mono now)
{
    lanes_settle(deliver, now);
    dead_free(deliver);
    tell_nearer_deadline(deliver);
}

void deliver_letter(struct deliver *deliver, struct letter *letter, struct mono now)
{
    ASSERT(letter->kind >= DELIVER_JOB && letter->kind <= DELIVER_TICK);
    switch ((enum deliver_letter_kind)letter->kind) {
    case DELIVER_JOB:
        job_take(deliver, CONTAINER_OF(letter, struct queue_job, letter));
        return;
    case DELIVER_ATTEMPT_WRITTEN:
        attempt_answered(deliver, CONTAINER_OF(letter, struct keeper_record, letter), now);
        return;
    case DELIVER_TICK:
        mem_free(letter);
        return;
    case DELIVER_WANT_SITE: /* the router's */
        return;
    }
}

static void cut_all(struct deliver *deliver, struct str why)
{
    struct conn *conn;
    while ((conn = first_due(deliver))) {
        conn_cut(conn, why);
    }
}

struct mono deliver_turn(struct deliver *deliver, struct mono now)
{
    if (deliver->unstarted) {
        unstarted_retry(deliver);
    }
    if (mono_is_due(deliver->stop_at, now)) {
        cut_all(deliver, STR("Outpost is stopping"));
    }
    struct conn *conn;
    while ((conn = first_due(deliver)) && conn->deadline.key <= now.ms) {
        conn_due(conn, now);
    }
    lanes_settle(deliver, now);
    dead_free(deliver);
    struct mono next = first_deadline(deliver);
    if (deliver->is_stopping && heap_first(&deliver->deadlines)) {
        next = mono_first(next, deliver->stop_at);
    }
    if (deliver->unstarted) {
        next = mono_first(next, mono_after(now, RETRY_MS));
    }
    deliver->promised = next;
    return next;
}

/* ---- life ---- */

enum err deliver_new(struct net *net, struct clock *clock, const struct log *log,
        struct tls_context *tls, uint64_t seed, const struct deliver_ports *ports,
        struct deliver **ret_deliver)
{
    struct deliver *deliver = mem_new(sizeof *deliver);
    struct note *note = mem_new(DELIVER_NOTE_COUNT * sizeof *note);
    if (!deliver || !note) {
        mem_free(deliver);
        mem_free(note);
        return E_NOMEM;
    }
    deliver->net = net;
    deliver->clock = clock;
    deliver->log = log;
    deliver->tls = tls_take(tls);
    deliver->ports = *ports;
    deliver->seed = seed;
    deliver->note = note;
    prng_init(&deliver->prng, seed);
    list_init(&deliver->touched);
    list_init(&deliver->dead);
    list_init(&deliver->starved);
    *ret_deliver = deliver;
    return OK;
}

void deliver_stop(struct deliver *deliver)
{
    if (deliver->is_stopping) {
        return;
    }
    struct mono now = clock_mono(deliver->clock);
    deliver->is_stopping = true;
    deliver->stop_at = mono_after(now, DELIVER_STOP_MS_MAX);
    uint32_t at = 0;
    uint64_t id, value;
    while (map_walk(&deliver->lanes, &at, &id, &value)) {
        lane_stop((struct lane *)(uintptr_t)value); /* as stored by lane_of; freed when settled */
    }
    deliver_settle(deliver, now);
    unstarted_retry(deliver);
}

bool deliver_is_idle(const struct deliver *deliver)
{
    return map_count(&deliver->tasks) == 0 && deliver->unstarted_count == 0 &&
           !heap_first(&deliver->deadlines);
}

void deliver_get_stats(const struct deliver *deliver, struct deliver_stats *ret_stats)
{
    *ret_stats = deliver->stats;
    ret_stats->jobs_now += deliver->unstarted_count;
}

void deliver_free(struct deliver *deliver)
{
    if (!deliver) {
        return;
    }
    deliver_stop(deliver);
    cut_all(deliver, STR("Outpost has stopped"));
    lanes_settle(deliver, clock_mono(deliver->clock));
    dead_free(deliver);
    while (deliver->unstarted) { /* memory is out to the end: the journal still has them */
        struct letter *letter = deliver->unstarted;
        deliver->unstarted = letter->next;
        queue_job_free(CONTAINER_OF(letter, struct queue_job, letter));
    }
    map_done(&deliver->lanes);
    map_done(&deliver->tasks);
    heap_done(&deliver->deadlines);
    tls_give(deliver->tls);
    mem_free(deliver->note);
    mem_free(deliver);
}
