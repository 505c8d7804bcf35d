/* SPDX-License-Identifier: Apache-2.0
 *
 * scribe.c - the owner that reads the journal in order and keeps the history.
 *
 * Messages touched since the last commit are kept in memory, so that one accepted and delivered
 * between two commits costs one row. After any error everything since the last durable position is
 * forgotten and read again from the journal, which is kept until told that it was consumed.
 */
#include "history/scribe_priv.h"

#include "core/crash.h"
#include "core/time.h"

enum {
    TURN_RECORDS_MAX = 1000,
    COMMIT_MSGS = 1000,
    COMMIT_DELAY_MS = 200,
    CHECKPOINT_WAL_BYTES = 4 << 20,
    CHECKPOINT_DELAY_MS = 5000,
    RETRY_DELAY_MS = 1000,
    RETIRE_PERIOD_MS = 3600000, /* one file at most each time */
    AGE_TICK_MS = 1000,
    AGE_EXTRA_SHARE = 10,          /* files age faster by one part in ten, see age_tick */
    OFF_TRUSTED_MS = 2 * 86400000, /* while the node was off */
    MAILBOX_COUNT_MAX = 64
};

/* ---- beginning and end ---------------------------------------------------------------------- */

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

/* Clocks jump by years, and some jumps stay: neither may take the history along. So files age by a
 * time of their own. It runs as fast as time truly passes, and a tenth faster while the wall clock
 * is ahead of it (a node that was off for long makes that up): nine tenths of what history-days
 * says are kept whatever the clock does.
 */
static void age_tick(struct scribe *scribe, struct mono now)
{
    struct wall *age_now = &scribe->days.age_now;
    int64_t passed_ms = now.ms - scribe->age_at.ms;
    if (passed_ms < AGE_TICK_MS) {
        return;
    }
    age_now->ms += passed_ms;
    int64_t ahead_ms = clock_wall(scribe->clock).ms - age_now->ms;
    int64_t extra_ms = passed_ms / AGE_EXTRA_SHARE;
    if (ahead_ms > 0) {
        age_now->ms += ahead_ms < extra_ms ? ahead_ms : extra_ms;
    }
    scribe->age_at = now;
}

/* Where the last run left it, and the time off where that is credible. Not known: no file is older
 * than the age it was made at. A file without a commit counts as made now. */
static void age_begin(struct scribe *scribe, const struct start *start)
{
    struct wall wall = clock_wall(scribe->clock);
    struct wall *age_now = &scribe->days.age_now;
    int64_t off_ms = wall.ms - start->wall.ms;
    scribe->age_at = clock_mono(scribe->clock);
    *age_now = days_last_made(&scribe->days);
    if (start->wall.ms != 0) {
        bool is_trusted = off_ms >= 0 && off_ms <= OFF_TRUSTED_MS;
        age_now->ms = start->age_now.ms + (is_trusted ? off_ms : 0);
    }
    *age_now = age_now->ms != 0 ? *age_now : wall;
    days_made_now(&scribe->days);
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
        age_begin(scribe, &start);
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

/* ---- reading -------------------------------------------------------------------------------- */

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
    err = scribe_take(scribe, &record);
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

/* ---- committing ----------------------------------------------------------------------------- */

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
    CRASH_POINT("consumer.output");
    map_done(&scribe->open);
    scribe->has_work = false;
    scribe->committed = (struct start){
        .epoch = scribe->days.epoch, .at = scribe->at, .whole_batch = scribe->whole_batch
    };
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

static enum err store_start(struct scribe *scribe, struct start *start)
{
    start->wall = clock_wall(scribe->clock);
    start->age_now = scribe->days.age_now;
    return start_store(scribe->disk, start, &scribe->why);
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
        err = store_start(scribe, &scribe->committed);
    }
    CRASH_POINT("consumer.position");
    if (err != OK) {
        return err;
    }
    scribe->durable = scribe->committed;
    scribe->first_commit_at = (struct mono){ 0 };
    tell_consumed(scribe);
    return OK;
}

/* ---- another spool -------------------------------------------------------------------------- */

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

/* ---- the turn ------------------------------------------------------------------------------- */

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

static void retire(struct scribe *scribe, struct mono now)
{
    if (scribe->has_work || (scribe->retire_at.ms != 0 && !mono_is_due(scribe->retire_at, now))) {
        return; /* stories at work belong to files */
    }
    if (scribe->retire_at.ms != 0) {
        (void)days_retire(&scribe->days, scribe->conf.days, scribe->conf.bytes_max);
        if (store_start(scribe, &scribe->durable) != OK) { /* so that an idle node's time counts */
            log_warn(scribe->log, "history", "%s", scribe->why.text);
        }
    }
    scribe->retire_at = mono_after(now, RETIRE_PERIOD_MS);
}

static struct mono next_deadline(const struct scribe *scribe, struct mono now)
{
    struct mono due = { scribe->has_work ? 0 : scribe->retire_at.ms };
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
    age_tick(scribe, now);
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
