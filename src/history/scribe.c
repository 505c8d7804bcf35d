/* SPDX-License-Identifier: Apache-2.0
 *
 * scribe.c - the owner that reads the journal in order and keeps the history.
 *
 * Messages touched since the last commit are kept in memory, so that one accepted and delivered
 * between two commits costs one row. After any error everything since the last durable position is
 * forgotten and read again from the journal, which is kept until told that it was consumed.
 */
#include "history/history.h"

#include "core/map.h"
#include "core/str.h"
#include "core/time.h"
#include "history/days_priv.h"
#include "history/lines_priv.h"

#include <stdatomic.h>

enum {
    TURN_RECORDS_MAX = 1000,
    COMMIT_MSGS = 1000,
    COMMIT_DELAY_MS = 200,
    CHECKPOINT_WAL_BYTES = 4 << 20,
    CHECKPOINT_DELAY_MS = 5000,
    RETRY_DELAY_MS = 1000,
    RETIRE_PERIOD_MS = 600000,  /* one file at most each time: a clock that jumps far ahead must not
                                   take the whole history with it before somebody sees */
    CLOCK_STEP_MS = 60000,      /* no drift is that fast between two looks */
    CLOCK_STEADY_MS = 86400000, /* without a step, before files are judged by their age */
    MAILBOX_COUNT_MAX = 64
};

struct scribe {
    struct mailbox box;
    struct disk *disk;
    struct spool_view *view;
    struct clock *clock;
    const struct log *log;
    struct history_conf conf;
    struct scribe_ports ports;
    struct days days;
    struct lines lines;
    struct map open;              /* msg_id → struct story *, of this commit */
    struct spool_position at;     /* next record to read */
    uint64_t whole_batch;         /* all its records and those before are read */
    struct spool_position logged; /* lines were written before this */
    struct start committed;       /* what the day files have, perhaps not durably */
    struct start durable;
    uint64_t consumed_batch; /* told */
    bool is_consumed_told;
    bool has_work; /* read since the last commit */
    struct mono first_work_at, first_commit_at, retry_at, retire_at;
    struct mono steady_since; /* the wall clock made no step from here on */
    int64_t wall_offset_ms;   /* of it to the other clock, when last looked at */
    bool is_at_end;
    bool is_loaded;      /* `durable` was read from the disk once */
    bool is_spool_known; /* it is the one that was read before */
    bool is_forgotten;   /* the day files are to be opened anew */
    bool is_failing;     /* an error was logged and nothing worked since */
    _Atomic bool is_caught_up;
    struct why why;
    uint16_t rcpt[SPOOL_RCPT_COUNT_MAX];
    uint16_t scratch[SPOOL_RCPT_COUNT_MAX];
};

/* ---- beginning and end ------------------------------------------------------------------------
 */

/* Where nothing is known to be durable the whole journal is read. */
static void start_from(struct scribe *scribe, const struct start *start)
{
    scribe->at = start->at;
    scribe->whole_batch = start->whole_batch;
    scribe->committed = scribe->durable = *start;
    scribe->has_work = false;
    scribe->is_at_end = false;
    scribe->first_commit_at = (struct mono){ 0 };
}

static void note_logged(struct scribe *scribe)
{
    for (uint32_t i = 0; i < scribe->days.count; i++) {
        const struct spool_position *upto = &scribe->days.day[i]->meta.upto;
        if (!scribe->days.day[i]->is_left && position_is_before(&scribe->logged, upto)) {
            scribe->logged = *upto;
        }
    }
}

/* The day files as they are on the disk, and from where the journal is to be read. */
static enum err load(struct scribe *scribe)
{
    struct start start = scribe->durable;
    enum err err = OK;
    if (!scribe->is_loaded) {
        err = start_load(scribe->disk, &start, &scribe->why);
        scribe->days.epoch = err == OK ? start.epoch : 0;
    }
    if (err == OK) {
        err = days_load(&scribe->days, &scribe->why);
    }
    if (err != OK) {
        days_forget(&scribe->days);
        return err;
    }
    if (!scribe->is_loaded) {
        note_logged(scribe);
        start.epoch = scribe->days.epoch;
        scribe->is_loaded = true;
    }
    start_from(scribe, &start);
    scribe->is_forgotten = false;
    return OK;
}

static void complain(struct scribe *scribe, enum err err)
{
    if (!scribe->is_failing) {
        log_error(scribe->log, "history", "cannot go on (%s): %s; trying again each second",
                err_name(err), scribe->why.text);
    }
    scribe->is_failing = true;
}

static struct scribe *scribe_make(struct disk *disk, struct spool_view *view, struct clock *clock,
        const struct log *log, const struct history_conf *conf, const struct scribe_ports *ports)
{
    struct scribe *scribe = mem_new(sizeof *scribe);
    if (scribe == NULL) {
        return NULL;
    }
    scribe->disk = disk;
    scribe->view = view;
    scribe->clock = clock;
    scribe->log = log;
    scribe->conf = *conf;
    scribe->ports = *ports;
    scribe->is_forgotten = true;
    mailbox_init(&scribe->box, MAILBOX_COUNT_MAX, NULL, NULL);
    lines_init(&scribe->lines, &scribe->conf);
    return scribe;
}

enum err scribe_new(struct disk *disk, struct spool_view *view, struct clock *clock,
        const struct log *log, const struct history_conf *conf, const struct scribe_ports *ports,
        struct scribe **ret_scribe, struct why *why)
{
    struct scribe *scribe = scribe_make(disk, view, clock, log, conf, ports);
    enum err err = scribe ? days_init(&scribe->days, disk, log) : E_NOMEM;
    if (err == OK) {
        err = load(scribe);
    }
    if (err == E_IO || err == E_NO_SPACE) { /* mail goes on without its history */
        complain(scribe, err);
        err = OK;
    }
    if (err != OK) {
        why_set(why, "the history cannot be opened: %.300s",
                scribe ? scribe->why.text : "out of memory");
        scribe_free(scribe);
        return err;
    }
    *ret_scribe = scribe;
    return OK;
}

struct mailbox *scribe_mailbox(struct scribe *scribe)
{
    return &scribe->box;
}

bool scribe_is_caught_up(const struct scribe *scribe)
{
    return atomic_load(&scribe->is_caught_up);
}

/* ---- records ----------------------------------------------------------------------------------
 */

static uint64_t seq_of(const struct spool_position *at)
{
    return at->batch_seq << 16 | (at->index & 0xffff);
}

static bool is_to_log(const struct scribe *scribe, const struct spool_record *record)
{
    return scribe->conf.line != NULL && !position_is_before(&record->at, &scribe->logged);
}

static enum err add_story(struct scribe *scribe, struct day *day, struct story *story)
{
    enum err err = map_set(&scribe->open, story->msg_id, (uintptr_t)story);
    if (err != OK) {
        story_free(story);
        return err;
    }
    day_take_story(day, story);
    return OK;
}

static enum err take_accept(struct scribe *scribe, const struct spool_record *record)
{
    struct spool_envelope envelope;
    struct day *day;
    if (spool_envelope_decode(record->payload, &envelope) != OK) {
        log_error(scribe->log, "history", "message %llx has an envelope that cannot be read",
                (unsigned long long)record->msg_id);
        return OK;
    }
    enum err err = days_for(&scribe->days, envelope.accepted_at, &day, &scribe->why);
    if (err != OK || position_is_before(&record->at, &day->meta.upto)) {
        return err;
    }
    struct story *story = story_new(record->msg_id, &envelope, &day->meta.counts);
    if (story == NULL) {
        return E_NOMEM;
    }
    day->is_dirty = true;
    err = add_story(scribe, day, story);
    if (err == OK && is_to_log(scribe, record)) {
        lines_accepted(&scribe->lines, seq_of(&record->at), story);
    }
    return err;
}

/* The story, from memory or from its file. E_NOT_FOUND: the history does not have it (any more). */
static enum err find_story(struct scribe *scribe, uint64_t msg_id, struct story **ret_story)
{
    uint64_t value;
    struct day *day;
    struct str bytes;
    if (map_get(&scribe->open, msg_id, &value)) {
        *ret_story = (struct story *)(uintptr_t)value;
        return OK;
    }
    enum err err = days_find(&scribe->days, msg_id, &day, &bytes, &scribe->why);
    if (err != OK) {
        return err;
    }
    struct story *story;
    err = story_load(msg_id, bytes, scribe->scratch, &story);
    if (err == E_CORRUPT) {
        log_error(scribe->log, "history", "%s: the row of message %llx is damaged", day->name,
                (unsigned long long)msg_id);
        return E_NOT_FOUND;
    }
    if (err == OK) {
        err = add_story(scribe, day, story);
    }
    if (err == OK) {
        *ret_story = story;
    }
    return err;
}

/* The event's recipients are those in scribe->rcpt, without such as the message does not have; all
 * of them is 0. False: nobody is left. */
static bool set_rcpts(
        struct scribe *scribe, const struct story *story, uint32_t count, struct row_event *event)
{
    uint32_t kept = 0;
    for (uint32_t i = 0; i < count; i++) {
        if (scribe->rcpt[i] < story->rcpt_count) {
            scribe->rcpt[kept++] = scribe->rcpt[i];
        }
    }
    event->rcpt = scribe->rcpt;
    event->rcpt_count = kept == story->rcpt_count ? 0 : kept;
    return kept > 0;
}

static enum err take_event(struct scribe *scribe, const struct spool_record *record,
        uint64_t msg_id, uint32_t rcpt_count, struct row_event *event)
{
    struct story *story;
    enum err err = find_story(scribe, msg_id, &story);
    if (err != OK) {
        return err == E_NOT_FOUND ? OK : err;
    }
    struct day *day = story->day;
    if (position_is_before(&record->at, &day->meta.upto) ||
            !set_rcpts(scribe, story, rcpt_count, event)) {
        return OK;
    }
    bool was_open = story->open_count > 0;
    day->is_dirty = true;
    err = story_add(story, event, &day->meta.counts);
    if (err == OK && is_to_log(scribe, record)) {
        lines_event(&scribe->lines, seq_of(&record->at), story, event, was_open);
    }
    return err;
}

static enum err take_attempt(struct scribe *scribe, const struct spool_record *record)
{
    struct spool_attempt attempt;
    enum err err = spool_attempt_decode(record->payload, scribe->rcpt, &attempt);
    if (err != OK) {
        return err;
    }
    struct row_event event = {
        .kind = ROW_ATTEMPTED, .at = attempt.at, .attempt_no = attempt.attempt_no
    };
    return take_event(scribe, record, attempt.msg_id, attempt.rcpt_count, &event);
}

static enum err take_outcome(struct scribe *scribe, const struct spool_record *record)
{
    struct row_event event = { .kind = ROW_OUTCOME };
    enum err err = spool_outcome_decode(record->payload, scribe->rcpt, &event.outcome);
    if (err != OK) {
        return err;
    }
    event.at = event.outcome.at;
    event.attempt_no = event.outcome.attempt_no;
    return take_event(scribe, record, event.outcome.msg_id, event.outcome.rcpt_count, &event);
}

static enum err take_ctl(struct scribe *scribe, const struct spool_record *record)
{
    struct spool_ctl ctl;
    enum err err = spool_ctl_decode(record->payload, scribe->rcpt, &ctl);
    if (err != OK) {
        return err;
    }
    struct row_event event = { .kind = ROW_CTL,
        .at = ctl.at,
        .action = ctl.action,
        .author = ctl.author,
        .reason = ctl.reason };
    return take_event(scribe, record, ctl.msg_id, ctl.rcpt_count, &event);
}

/* The report was accepted in the same batch: its time and name are found there. */
static enum err take_dsn(struct scribe *scribe, const struct spool_record *record)
{
    struct spool_dsn_link link;
    struct story *report;
    struct row_head head;
    uint64_t dsn_msg_id;
    char id[sizeof head.ulid.byte];
    enum err err = spool_dsn_decode(record->payload, scribe->rcpt, &link, &dsn_msg_id);
    if (err != OK) {
        return err;
    }
    struct row_event event = { .kind = ROW_NOTIFIED };
    err = find_story(scribe, dsn_msg_id, &report);
    if (err == OK) {
        story_head(report, &head);
        memcpy(id, head.ulid.byte, sizeof id);
        event.at = head.accepted_at;
        event.dsn_id = str_of(id, sizeof id);
    } else if (err != E_NOT_FOUND) {
        return err;
    }
    return take_event(scribe, record, link.msg_id, link.rcpt_count, &event);
}

static enum err take_refused(struct scribe *scribe, const struct spool_record *record)
{
    struct spool_refusal refusal;
    struct day *day;
    if (spool_refusal_decode(record->payload, &refusal) != OK) {
        return E_SYNTAX;
    }
    enum err err = days_for(&scribe->days, refusal.at, &day, &scribe->why);
    if (err != OK || position_is_before(&record->at, &day->meta.upto)) {
        return err;
    }
    day->is_dirty = true;
    if (day->meta.counts.refused++ < DAYS_REFUSED_MAX) {
        buf_add_str32(&day->refused, record->payload);
        err = buf_err(&day->refused);
    }
    if (err == OK && is_to_log(scribe, record)) {
        lines_refused(&scribe->lines, seq_of(&record->at), &refusal);
    }
    return err;
}

static enum err take_record(struct scribe *scribe, const struct spool_record *record)
{
    switch (record->type) {
    case SPOOL_ACCEPT:
        return take_accept(scribe, record);
    case SPOOL_ATTEMPT:
        return take_attempt(scribe, record);
    case SPOOL_OUTCOME:
        return take_outcome(scribe, record);
    case SPOOL_CTL:
        return take_ctl(scribe, record);
    case SPOOL_DSN:
        return take_dsn(scribe, record);
    case SPOOL_REFUSED:
        return take_refused(scribe, record);
    case SPOOL_BODY:
    case SPOOL_SUPPRESS:
    case SPOOL_MOVE:
    case SPOOL_MARK:
    case SPOOL_SEAL:
        break;
    }
    return OK; /* also what a later version writes */
}

/* ---- reading ----------------------------------------------------------------------------------
 */

static void advance(struct scribe *scribe, const struct spool_position *next, struct mono now)
{
    if (next->batch_seq > scribe->at.batch_seq && scribe->at.batch_seq > scribe->whole_batch) {
        scribe->whole_batch = scribe->at.batch_seq;
    }
    scribe->at = *next;
    if (!scribe->has_work) {
        scribe->has_work = true;
        scribe->first_work_at = now;
    }
}

/* E_EOF: all is read. */
static enum err read_one(struct scribe *scribe, struct mono now)
{
    struct spool_record record = { 0 };
    enum err err = spool_view_next(scribe->view, &scribe->at, &record);
    if (err == E_CORRUPT) {
        bool is_stuck = !position_is_before(&scribe->at, &record.next);
        log_error(scribe->log, "history",
                "records of the journal after batch %llu are damaged or gone: their events are "
                "missing",
                (unsigned long long)scribe->at.batch_seq);
        if (is_stuck) {
            return E_IO;
        }
        advance(scribe, &record.next, now);
        return OK;
    }
    if (err != OK) {
        return err;
    }
    err = take_record(scribe, &record);
    if (err == E_SYNTAX) {
        log_error(scribe->log, "history",
                "record %u of batch %llu cannot be read: its event is missing",
                (unsigned)record.at.index, (unsigned long long)record.at.batch_seq);
        err = OK;
    }
    if (err == OK) {
        advance(scribe, &record.next, now);
    }
    return err;
}

static bool is_commit_due(const struct scribe *scribe, struct mono now)
{
    return scribe->has_work && (map_count(&scribe->open) >= COMMIT_MSGS ||
                                       now.ms - scribe->first_work_at.ms >= COMMIT_DELAY_MS);
}

static enum err read_some(struct scribe *scribe, struct mono now)
{
    enum err err = OK;
    scribe->is_at_end = false;
    for (uint32_t i = 0; i < TURN_RECORDS_MAX && err == OK; i++) {
        if (map_count(&scribe->open) >= COMMIT_MSGS) {
            break;
        }
        err = read_one(scribe, now);
    }
    if (err == E_EOF) {
        scribe->is_at_end = true;
        scribe->whole_batch = scribe->at.batch_seq > scribe->whole_batch ? scribe->at.batch_seq
                                                                         : scribe->whole_batch;
        err = OK;
    }
    return err;
}

/* ---- committing -------------------------------------------------------------------------------
 */

static enum err commit(struct scribe *scribe, struct mono now)
{
    enum err err = OK;
    for (uint32_t i = 0; i < scribe->days.count && err == OK; i++) {
        struct day *day = scribe->days.day[i];
        if (day->is_dirty) {
            err = day_commit(&scribe->days, day, &scribe->at, &scribe->why);
        } else {
            day_drop_work(day); /* stories that were only looked at */
        }
    }
    if (err != OK) {
        return err;
    }
    map_done(&scribe->open);
    scribe->has_work = false;
    scribe->committed = (struct start){ scribe->days.epoch, scribe->at, scribe->whole_batch };
    if (scribe->first_commit_at.ms == 0) {
        scribe->first_commit_at = now;
    }
    return OK;
}

static bool is_checkpoint_due(const struct scribe *scribe, struct mono now)
{
    return scribe->first_commit_at.ms != 0 &&
           (days_wal_bytes(&scribe->days) >= CHECKPOINT_WAL_BYTES ||
                   now.ms - scribe->first_commit_at.ms >= CHECKPOINT_DELAY_MS);
}

static void tell_consumed(struct scribe *scribe)
{
    uint64_t batch = scribe->durable.whole_batch;
    if (scribe->ports.consumed != NULL && batch > 0 &&
            (!scribe->is_consumed_told || batch > scribe->consumed_batch)) {
        scribe->is_consumed_told = true;
        scribe->consumed_batch = batch;
        scribe->ports.consumed(scribe->ports.ctx, batch);
    }
}

/* Everything committed durable, then the position, then the journal may be used again. */
static enum err checkpoint(struct scribe *scribe, struct mono now)
{
    bool is_whole;
    enum err err = days_checkpoint(&scribe->days, &is_whole, &scribe->why);
    if (err == OK && !is_whole) {
        scribe->first_commit_at = now; /* a reader is in the way: again later */
        return OK;
    }
    if (err == OK) {
        err = start_store(scribe->disk, &scribe->committed, &scribe->why);
    }
    if (err != OK) {
        return err;
    }
    scribe->durable = scribe->committed;
    scribe->first_commit_at = (struct mono){ 0 };
    tell_consumed(scribe);
    return OK;
}

/* ---- another spool ----------------------------------------------------------------------------
 */

/* A journal that was read has the last batch that was read, or newer ones. Neither: it is another,
 * whose numbers begin anew. */
static enum err look_at_spool(struct scribe *scribe)
{
    struct spool_position last = scribe->durable.at;
    struct spool_record record;
    if (position_is_before(&last, &scribe->logged)) {
        last = scribe->logged;
    }
    enum err err = last.batch_seq ? spool_view_next(scribe->view, &last, &record) : OK;
    if (err == E_EOF) {
        uint64_t batch_seq = last.batch_seq;
        last.index = 0;
        err = spool_view_next(scribe->view, &last, &record);
        if (err == E_EOF || (err == OK && record.at.batch_seq != batch_seq)) {
            log_warn(scribe->log, "history",
                    "this spool is not the one that was read before: its events go to new files");
            days_new_epoch(&scribe->days);
            scribe->logged = (struct spool_position){ 0 };
            start_from(scribe, &(struct start){ .epoch = scribe->days.epoch });
            err = OK;
        }
    }
    if (err == OK || err == E_CORRUPT) { /* a gap is met again when it is read */
        scribe->is_spool_known = true;
        err = OK;
    }
    return err;
}

/* ---- the turn ---------------------------------------------------------------------------------
 */

/* Nothing of what is not durable is trusted; the journal has it. */
static void start_over(struct scribe *scribe, enum err err, struct mono now)
{
    complain(scribe, err);
    if (position_is_before(&scribe->logged, &scribe->at)) {
        scribe->logged = scribe->at;
    }
    map_done(&scribe->open); /* its stories go with their days */
    scribe->has_work = false;
    days_forget(&scribe->days);
    scribe->is_forgotten = true;
    scribe->retry_at = mono_after(now, RETRY_DELAY_MS);
}

static void empty_mailbox(struct scribe *scribe)
{
    struct letter *letter = mailbox_take_all(&scribe->box);
    while (letter != NULL) { /* all say the same: look */
        struct letter *next = letter->next;
        mem_free(letter);
        letter = next;
    }
}

static enum err work(struct scribe *scribe, struct mono now)
{
    enum err err = scribe->is_forgotten ? load(scribe) : OK;
    if (err == OK && !scribe->is_spool_known) {
        err = look_at_spool(scribe);
    }
    if (err == OK) {
        tell_consumed(scribe);
        err = read_some(scribe, now);
    }
    if (err == OK && is_commit_due(scribe, now)) {
        err = commit(scribe, now);
    }
    if (err == OK && is_checkpoint_due(scribe, now)) {
        if (scribe->has_work) {
            err = commit(scribe, now);
        }
        err = err == OK ? checkpoint(scribe, now) : err;
    }
    return err;
}

/* Has the wall clock kept pace long enough to judge ages by it? A clock that steps by a year, or is
 * wrong since the start, must not take all stories at once. */
static bool is_clock_steady(struct scribe *scribe, struct mono now)
{
    int64_t offset_ms = clock_wall(scribe->clock).ms - now.ms;
    int64_t moved_ms = offset_ms - scribe->wall_offset_ms;
    if (scribe->steady_since.ms == 0 || moved_ms > CLOCK_STEP_MS || moved_ms < -CLOCK_STEP_MS) {
        scribe->steady_since = now;
    }
    scribe->wall_offset_ms = offset_ms;
    return now.ms - scribe->steady_since.ms >= CLOCK_STEADY_MS;
}

static void retire(struct scribe *scribe, struct mono now)
{
    if (mono_is_due(scribe->retire_at, now)) {
        uint32_t days_max = is_clock_steady(scribe, now) ? scribe->conf.days : UINT32_MAX;
        (void)days_retire(
                &scribe->days, clock_wall(scribe->clock), days_max, scribe->conf.bytes_max);
    }
    if (scribe->retire_at.ms == 0 || mono_is_due(scribe->retire_at, now)) {
        scribe->retire_at = mono_after(now, RETIRE_PERIOD_MS);
    }
}

static struct mono next_deadline(const struct scribe *scribe, struct mono now)
{
    struct mono due = scribe->retire_at;
    if (!scribe->is_at_end) {
        return now;
    }
    if (scribe->has_work) {
        due = mono_first(due, mono_after(scribe->first_work_at, COMMIT_DELAY_MS));
    }
    if (scribe->first_commit_at.ms != 0) {
        due = mono_first(due, mono_after(scribe->first_commit_at, CHECKPOINT_DELAY_MS));
    }
    return due;
}

struct mono scribe_turn(struct scribe *scribe, struct mono now)
{
    empty_mailbox(scribe);
    if (scribe->retry_at.ms != 0 && !mono_is_due(scribe->retry_at, now)) {
        return scribe->retry_at;
    }
    scribe->retry_at = (struct mono){ 0 };
    enum err err = work(scribe, now);
    if (err != OK) {
        atomic_store(&scribe->is_caught_up, false);
        start_over(scribe, err, now);
        return scribe->retry_at;
    }
    if (scribe->is_failing && !scribe->has_work) {
        scribe->is_failing = false;
        log_info(scribe->log, "history", "goes on");
    }
    retire(scribe, now);
    atomic_store(&scribe->is_caught_up, scribe->is_at_end && !scribe->has_work);
    return next_deadline(scribe, now);
}

void scribe_free(struct scribe *scribe)
{
    if (scribe == NULL) {
        return;
    }
    struct mono now = clock_mono(scribe->clock);
    enum err err = scribe->has_work ? commit(scribe, now) : OK;
    if (err == OK && scribe->first_commit_at.ms != 0) {
        err = checkpoint(scribe, now);
    }
    if (err != OK) {
        log_warn(scribe->log, "history",
                "the end is not stored (%s); it is read again at the next start", scribe->why.text);
    }
    map_done(&scribe->open);
    days_close(&scribe->days);
    lines_done(&scribe->lines);
    empty_mailbox(scribe);
    mailbox_done(&scribe->box);
    mem_free(scribe);
}
