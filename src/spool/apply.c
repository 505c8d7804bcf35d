/* SPDX-License-Identifier: Apache-2.0
 *
 * apply.c - records change the index: the same code after a sync and in replay.
 *
 * Applying is idempotent: a message is inserted once, states only move by the table of state.c,
 * and records about messages that are not open any more change nothing.
 */
#include "spool/spool_priv.h"

static void slot_live_add(struct spool *spool, uint32_t slot, uint64_t bytes)
{
    if (slot < spool->slot_count) {
        spool->slot[slot].live_count++;
        spool->slot[slot].live_bytes += bytes;
    }
}

static void slot_live_drop(struct spool *spool, uint32_t slot, uint64_t bytes)
{
    if (slot < spool->slot_count) {
        ASSERT(spool->slot[slot].live_count > 0);
        spool->slot[slot].live_count--;
        spool->slot[slot].live_bytes -= bytes;
    }
}

static uint64_t msg_bytes(const struct msg *msg)
{
    return (uint64_t)msg->size_units * MSG_SIZE_UNIT;
}

static void msg_live_add(struct spool *spool, const struct msg *msg)
{
    slot_live_add(spool, msg_slot(msg), msg_bytes(msg));
    for (uint32_t i = 0; msg->has_more && i < msg->more->extent_count; i++) {
        slot_live_add(spool, msg->more->extent[i].slot, msg->more->extent[i].len_bytes);
    }
}

static void msg_live_drop(struct spool *spool, const struct msg *msg)
{
    slot_live_drop(spool, msg_slot(msg), msg_bytes(msg));
    for (uint32_t i = 0; msg->has_more && i < msg->more->extent_count; i++) {
        slot_live_drop(spool, msg->more->extent[i].slot, msg->more->extent[i].len_bytes);
    }
}

void msg_set_state(struct spool *spool, struct msg *msg, uint32_t rcpt, enum spool_state next)
{
    struct rcpt *r = msg_rcpt(msg, rcpt);
    ASSERT(r->state <= SPOOL_FAILED && (unsigned)next < SPOOL_STATE_COUNT);
    struct index *index = &spool->index;
    index->state_count[r->state]--;
    r->state = (uint8_t)next;
    if (spool_state_is_open(next)) {
        index->state_count[next]++;
        return;
    }
    index->closed_count[next]++;
    index->open_rcpts--;
    if (msg->has_more) {
        ASSERT(msg->more->open_count > 0);
        msg->more->open_count--;
    }
}

void msg_close_if_done(struct spool *spool, struct msg *msg)
{
    if (msg_open_count(msg) == 0) {
        msg_live_drop(spool, msg);
        index_del(&spool->index, msg);
    }
}

/* What was made when the message was promised, or new memory in replay. */
static struct msg_more *more_for(struct spool *spool, uint32_t rcpt_count, uint32_t extent_count)
{
    struct msg_more *more = spool->more_first;
    if (more == NULL) {
        return msg_more_new(rcpt_count, extent_count);
    }
    ASSERT(more->rcpt_count == rcpt_count && more->extent_count == extent_count);
    spool->more_first = more->next;
    if (spool->more_first == NULL) {
        spool->more_last = &spool->more_first;
    }
    more->next = NULL;
    return more;
}

static uint16_t size_units(const struct stored *stored)
{
    uint64_t bytes = RECORD_HEADER_BYTES + STORED_FIXED_BYTES + (uint64_t)stored->envelope_len;
    if (stored->extent_count == 0) {
        bytes += stored->content_bytes;
    }
    uint64_t units = (bytes + MSG_SIZE_UNIT - 1) / MSG_SIZE_UNIT;
    return units > UINT16_MAX ? UINT16_MAX : (uint16_t)units;
}

static void msg_place(struct msg *msg, const struct stored *stored, struct spool_place place)
{
    msg->place = place;
    msg->size_units = size_units(stored);
    for (uint32_t i = 0; i < stored->extent_count; i++) {
        msg->more->extent[i] = stored_extent(stored, i);
    }
}

/* Recipients of a moved message bring their states, those of a new one are queued. */
static bool rcpts_fill(struct spool *spool, struct msg *msg, const struct stored *stored)
{
    for (uint32_t i = 0; i < stored->rcpt_count; i++) {
        struct rcpt *rcpt = msg_rcpt(msg, i);
        if (stored->state_count != 0 &&
                !rcpt_decode(stored->states.ptr + (size_t)i * STORED_RCPT_BYTES, rcpt)) {
            *rcpt = (struct rcpt){ .state = SPOOL_QUEUED, .flags = RCPT_MAYBE_DUPLICATE };
        }
    }
    return msg_count_open(&spool->index, msg);
}

enum err msg_insert(struct spool *spool, uint64_t msg_id, const struct stored *stored,
        struct spool_place place, struct msg **ret_msg)
{
    struct msg_more *more = NULL;
    bool has_more = stored->rcpt_count > 1 || stored->extent_count > 0;
    enum err err = index_reserve(&spool->index, 1);
    if (err == OK && has_more) {
        more = more_for(spool, stored->rcpt_count, stored->extent_count);
        err = more ? OK : E_NOMEM;
    }
    if (err != OK) {
        return err;
    }
    struct msg *msg = index_add(&spool->index, msg_id);
    msg->has_more = has_more;
    msg_set_accepted(msg, stored->accepted_ms);
    if (has_more) {
        msg->more = more;
    }
    msg_place(msg, stored, place);
    msg_live_add(spool, msg);
    bool is_open = rcpts_fill(spool, msg, stored);
    *ret_msg = msg;
    if (!is_open) {
        msg_close_if_done(spool, msg);
        *ret_msg = NULL;
    }
    return OK;
}

/* A record about a message that is stored there. False: it makes no sense. */
static bool stored_take(const struct record_view *record, struct head_place place,
        struct stored *ret_stored, struct spool_place *ret_place)
{
    struct spool_where where = { place.slot, place.page, record->at };
    return stored_decode(record->payload, ret_stored) && record->header.msg_id != 0 &&
           spool_where_pack(&where, ret_place);
}

static enum err apply_accept(
        struct spool *spool, const struct record_view *record, struct head_place place)
{
    struct stored stored;
    struct spool_place at;
    struct msg *msg;
    uint64_t msg_id = record->header.msg_id;
    if (!stored_take(record, place, &stored, &at)) {
        spool->odd_records++;
        return OK;
    }
    spool->promised_count -= spool->promised_count > 0;
    if (index_find(&spool->index, msg_id) != NULL) {
        return OK;
    }
    for (uint32_t i = 0; i < stored.extent_count; i++) {
        struct spool_extent extent = stored_extent(&stored, i);
        pin_transfer(spool, &extent);
    }
    enum err err = msg_insert(spool, msg_id, &stored, at, &msg);
    if (err == OK) {
        spool->accepted_msgs++;
        spool->accepted_rcpts += stored.rcpt_count;
    }
    return err;
}

static enum err apply_move(
        struct spool *spool, const struct record_view *record, struct head_place place)
{
    struct stored stored;
    struct spool_place at;
    uint64_t msg_id = record->header.msg_id;
    if (!stored_take(record, place, &stored, &at)) {
        spool->odd_records++;
        return OK;
    }
    struct msg *msg = index_find(&spool->index, msg_id);
    if (msg == NULL) { /* replay without the segment of its ACCEPT */
        return msg_insert(spool, msg_id, &stored, at, &msg);
    }
    uint32_t extent_count = msg->has_more ? msg->more->extent_count : 0;
    if (extent_count != stored.extent_count) {
        spool->odd_records++;
        return OK;
    }
    msg_live_drop(spool, msg);
    for (uint32_t i = 0; i < stored.extent_count; i++) {
        struct spool_extent extent = stored_extent(&stored, i);
        pin_transfer(spool, &extent);
    }
    msg_place(msg, &stored, at);
    msg_live_add(spool, msg);
    if (spool->moved != NULL) {
        struct spool_where where = msg_where(msg);
        spool->moved(spool->moved_ctx, msg_id, &where);
    }
    return OK;
}

/* What an outcome or an attempt says beside the event. */
struct details {
    uint32_t attempt_no; /* 0: none */
    bool has_due;
    struct wall due;
    bool maybe_duplicate;
};

static void apply_to_rcpt(struct spool *spool, struct msg *msg, uint32_t number,
        enum rcpt_event event, const struct details *details)
{
    enum spool_state next;
    if (number >= msg_rcpt_count(msg)) {
        spool->odd_records++;
        return;
    }
    struct rcpt *rcpt = msg_rcpt(msg, number);
    if (!rcpt_next_state(rcpt, event, &next)) {
        spool->odd_records += spool_state_is_open(rcpt->state);
        return;
    }
    if (details->attempt_no > rcpt->tries) {
        rcpt->tries =
                (uint16_t)(details->attempt_no > UINT16_MAX ? UINT16_MAX : details->attempt_no);
    }
    if (details->has_due) {
        rcpt_set_due(rcpt, details->due.ms);
    }
    if (details->maybe_duplicate) {
        rcpt->flags |= RCPT_MAYBE_DUPLICATE;
    }
    msg_set_state(spool, msg, number, next);
}

static void apply_to_rcpts(struct spool *spool, uint64_t msg_id, uint32_t rcpt_count,
        enum rcpt_event event, const struct details *details)
{
    struct msg *msg = index_find(&spool->index, msg_id);
    if (msg == NULL) {
        return;
    }
    for (uint32_t i = 0; i < rcpt_count && msg_open_count(msg) > 0; i++) {
        apply_to_rcpt(spool, msg, spool->scratch[i], event, details);
    }
    msg_close_if_done(spool, msg);
}

static bool apply_attempt(struct spool *spool, struct str payload)
{
    struct spool_attempt attempt;
    if (spool_attempt_decode(payload, spool->scratch, &attempt) != OK) {
        return false;
    }
    struct details details = { .attempt_no = attempt.attempt_no };
    apply_to_rcpts(spool, attempt.msg_id, attempt.rcpt_count, EVENT_ATTEMPT, &details);
    return true;
}

static bool apply_outcome(struct spool *spool, struct str payload)
{
    static const enum rcpt_event events[] = {
        [SPOOL_RESULT_DELIVERED] = EVENT_DELIVERED,
        [SPOOL_RESULT_DEFERRED] = EVENT_DEFERRED,
        [SPOOL_RESULT_IN_DOUBT] = EVENT_IN_DOUBT,
        [SPOOL_RESULT_BOUNCED] = EVENT_FAILED,
        [SPOOL_RESULT_EXPIRED] = EVENT_FAILED,
        [SPOOL_RESULT_HELD] = EVENT_HELD,
    };
    static_assert(COUNT_OF(events) == SPOOL_RESULT_COUNT, "an event for each result");
    struct spool_outcome outcome;
    if (spool_outcome_decode(payload, spool->scratch, &outcome) != OK) {
        return false;
    }
    struct details details = { outcome.attempt_no, true, outcome.due, outcome.maybe_duplicate };
    apply_to_rcpts(spool, outcome.msg_id, outcome.rcpt_count, events[outcome.result], &details);
    return true;
}

static bool apply_ctl(struct spool *spool, struct str payload)
{
    static const enum rcpt_event events[] = {
        [SPOOL_CTL_HOLD] = EVENT_CTL_HOLD,
        [SPOOL_CTL_RELEASE] = EVENT_CTL_RELEASE,
        [SPOOL_CTL_CANCEL] = EVENT_CTL_CANCEL,
        [SPOOL_CTL_BOUNCE] = EVENT_CTL_BOUNCE,
        [SPOOL_CTL_FLUSH] = EVENT_CTL_FLUSH,
        [SPOOL_CTL_CLOSE] = EVENT_CTL_CLOSE,
    };
    struct spool_ctl ctl;
    if (spool_ctl_decode(payload, spool->scratch, &ctl) != OK) {
        return false;
    }
    /* released and flushed recipients are due at once */
    bool is_due = ctl.action == SPOOL_CTL_RELEASE || ctl.action == SPOOL_CTL_FLUSH;
    struct details details = { .has_due = is_due, .due = ctl.at };
    apply_to_rcpts(spool, ctl.msg_id, ctl.rcpt_count, events[ctl.action], &details);
    return true;
}

static bool apply_dsn(struct spool *spool, struct str payload)
{
    struct spool_dsn_link link;
    uint64_t dsn_msg_id;
    if (spool_dsn_decode(payload, spool->scratch, &link, &dsn_msg_id) != OK) {
        return false;
    }
    struct details details = { 0 };
    apply_to_rcpts(spool, link.msg_id, link.rcpt_count, EVENT_NOTIFIED, &details);
    return true;
}

static enum err apply_record(
        struct spool *spool, const struct record_view *record, struct head_place place)
{
    bool is_good = true;
    switch (record->header.type) {
    case SPOOL_ACCEPT:
        return apply_accept(spool, record, place);
    case SPOOL_MOVE:
        return apply_move(spool, record, place);
    case SPOOL_ATTEMPT:
        is_good = apply_attempt(spool, record->payload);
        break;
    case SPOOL_OUTCOME:
        is_good = apply_outcome(spool, record->payload);
        break;
    case SPOOL_CTL:
        is_good = apply_ctl(spool, record->payload);
        break;
    case SPOOL_DSN:
        is_good = apply_dsn(spool, record->payload);
        break;
    default: /* BODY, MARK, SEAL, REFUSED, SUPPRESS, and what may be skipped */
        break;
    }
    spool->odd_records += !is_good;
    return OK;
}

enum err apply_head(struct spool *spool, struct str head, struct head_place place)
{
    struct record_view record;
    for (uint32_t at = 0; record_next(head, &at, &record);) {
        enum err err = apply_record(spool, &record, place);
        if (err != OK) {
            return err;
        }
    }
    return OK;
}
