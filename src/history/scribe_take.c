/* SPDX-License-Identifier: Apache-2.0
 *
 * scribe_take.c - what each kind of record means for the stories.
 *
 * A file ignores what it has already: after a restart the journal is read again from where all
 * files are durable, and each may be further.
 */
#include "history/scribe_priv.h"

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

enum err scribe_take(struct scribe *scribe, const struct spool_record *record)
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
