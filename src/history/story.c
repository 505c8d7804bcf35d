/* SPDX-License-Identifier: Apache-2.0
 *
 * story.c - events change a story: appended to its row, and applied to the states of recipients.
 *
 * A message that is tried for days does not grow without end: of each recipient's attempts the
 * first and the last stay in detail, those between are only counted.
 */
#include "history/story_priv.h"

enum {
    DETAIL_FIRST = 5,      /* attempts kept in detail at the beginning */
    DETAIL_LAST = 20,      /* and at the end */
    DIALOGUES_LAST = 3,    /* attempts whose dialogue is kept */
    THIN_BYTES_MIN = 16384 /* a longer row is thinned out only when it has grown by half */
};

static const char *const state_words[] = { "queued", "queued", "in_doubt", "held", "bounced",
    "expired", "delivered", "bounced", "expired", "cancelled", "suppressed" };
static_assert(COUNT_OF(state_words) == STORY_STATE_COUNT, "a word for each state");

const char *story_state_word(enum story_state state)
{
    ASSERT((unsigned)state < STORY_STATE_COUNT);
    return state_words[state];
}

/* ---- states --------------------------------------------------------------------------------- */

static bool can_be_tried(enum story_state state)
{
    return state <= STORY_IN_DOUBT;
}

static bool move_by_outcome(struct story_rcpt *rcpt, enum spool_result result)
{
    enum story_state from = (enum story_state)rcpt->state, to = from;
    switch (result) {
    case SPOOL_RESULT_DELIVERED:
        to = from <= STORY_HELD ? STORY_DELIVERED : from;
        break;
    case SPOOL_RESULT_DEFERRED:
        to = can_be_tried(from) ? STORY_QUEUED : from;
        break;
    case SPOOL_RESULT_IN_DOUBT:
        to = can_be_tried(from) ? STORY_IN_DOUBT : from;
        break;
    case SPOOL_RESULT_BOUNCED:
        to = from <= STORY_HELD ? STORY_BOUNCING : from;
        break;
    case SPOOL_RESULT_EXPIRED:
        to = from <= STORY_HELD ? STORY_EXPIRING : from;
        break;
    case SPOOL_RESULT_HELD:
        to = from <= STORY_HELD ? STORY_HELD : from;
        break;
    case SPOOL_RESULT_COUNT:
        break;
    }
    rcpt->state = (uint8_t)to;
    return from != to;
}

/* What an operator wishes while an attempt runs is recorded after its outcome. So an action upon an
 * attempt that has none says that the node was stopped in between, and acts at once. */
static bool move_by_ctl(struct story_rcpt *rcpt, enum spool_ctl_action action)
{
    enum story_state from = (enum story_state)rcpt->state, to = from;
    if (action == SPOOL_CTL_CLOSE) {
        to = from == STORY_BOUNCING ? STORY_BOUNCED : from == STORY_EXPIRING ? STORY_EXPIRED : from;
    } else if (from <= STORY_HELD) {
        bool is_going =
                action == SPOOL_CTL_RELEASE || (action == SPOOL_CTL_FLUSH && from != STORY_HELD);
        to = action == SPOOL_CTL_HOLD     ? STORY_HELD
             : action == SPOOL_CTL_CANCEL ? STORY_CANCELLED
             : action == SPOOL_CTL_BOUNCE ? STORY_BOUNCING
             : is_going                   ? STORY_QUEUED
                                          : from;
    }
    rcpt->state = (uint8_t)to;
    return from != to;
}

bool story_rcpt_move(struct story_rcpt *rcpt, const struct row_event *event)
{
    enum story_state from = (enum story_state)rcpt->state;
    switch (event->kind) {
    case ROW_ATTEMPTED:
        if (can_be_tried(from)) {
            rcpt->state = STORY_ATTEMPTING;
        }
        break;
    case ROW_OUTCOME:
        return move_by_outcome(rcpt, event->outcome.result);
    case ROW_CTL:
        return move_by_ctl(rcpt, event->action);
    case ROW_NOTIFIED:
        return move_by_ctl(rcpt, SPOOL_CTL_CLOSE);
    case ROW_ELIDED:
    case ROW_EVENT_KIND_END:
        break;
    }
    return from != (enum story_state)rcpt->state;
}

/* ---- a story -------------------------------------------------------------------------------- */

static struct story *story_make(uint64_t msg_id, uint32_t rcpt_count)
{
    struct story *story = mem_new(sizeof *story);
    if (story == NULL) {
        return NULL;
    }
    story->msg_id = msg_id;
    story->rcpt_count = story->open_count = rcpt_count;
    story->rcpt = rcpt_count == 1 ? &story->one : mem_new(rcpt_count * sizeof *story->rcpt);
    row_init(&story->row);
    if (story->rcpt == NULL) {
        story->rcpt = &story->one;
        story_free(story);
        return NULL;
    }
    return story;
}

void story_free(struct story *story)
{
    if (story == NULL) {
        return;
    }
    if (story->rcpt != &story->one) {
        mem_free(story->rcpt);
    }
    row_done(&story->row);
    mem_free(story);
}

struct story *story_new(
        uint64_t msg_id, const struct spool_envelope *envelope, struct story_counts *counts)
{
    struct story *story = story_make(msg_id, envelope->rcpt_count);
    if (story == NULL) {
        return NULL;
    }
    row_begin(&story->row, envelope);
    if (buf_err(&story->row.bytes) != OK) {
        story_free(story);
        return NULL;
    }
    story->is_new = story->is_dirty = true;
    counts->msgs++;
    counts->rcpts += envelope->rcpt_count;
    counts->state[STORY_QUEUED] += envelope->rcpt_count;
    return story;
}

static void rcpt_move(struct story *story, uint32_t number, const struct row_event *event,
        struct story_counts *counts)
{
    struct story_rcpt *rcpt = &story->rcpt[number];
    enum story_state from = (enum story_state)rcpt->state;
    if (!story_rcpt_move(rcpt, event)) {
        return;
    }
    enum story_state to = (enum story_state)rcpt->state;
    if (story_state_is_open(from) && !story_state_is_open(to)) {
        ASSERT(story->open_count > 0);
        story->open_count--;
    }
    if (counts != NULL) {
        counts->state[from]--;
        counts->state[to]++;
    }
}

static void rcpts_move(
        struct story *story, const struct row_event *event, struct story_counts *counts)
{
    uint32_t count = event->rcpt_count ? event->rcpt_count : story->rcpt_count;
    for (uint32_t i = 0; i < count; i++) {
        rcpt_move(story, event->rcpt_count ? event->rcpt[i] : i, event, counts);
    }
}

enum err story_load(uint64_t msg_id, struct str bytes, uint16_t *scratch, struct story **ret_story)
{
    struct row_reader reader;
    struct row_head head;
    struct row_event event;
    enum err err = row_read_head(&reader, bytes, scratch, &head);
    if (err != OK) {
        return err;
    }
    struct story *story = story_make(msg_id, head.rcpt_count);
    if (story == NULL) {
        return E_NOMEM;
    }
    while (row_read_event(&reader, &event)) {
        rcpts_move(story, &event, NULL);
    }
    err = reader.cur.bad ? E_CORRUPT : row_resume(&story->row, &reader, bytes);
    if (err != OK) {
        story_free(story);
        return err;
    }
    *ret_story = story;
    return OK;
}

void story_head(const struct story *story, struct row_head *ret_head)
{
    struct row_reader reader;
    enum err err = row_read_head(&reader, buf_str(&story->row.bytes), NULL, ret_head);
    ASSERT(err == OK); /* it was written or checked by this process */
}

/* ---- leaving out ---------------------------------------------------------------------------- */

struct thinning {
    uint32_t *last_attempt; /* by recipient */
    uint32_t rcpt_count;
    struct row *dst;
    struct row_event elided; /* waits for the next event that stays; count 0: none */
    uint16_t elided_rcpt[SPOOL_RCPT_COUNT_MAX];
};

/* The number of the last attempt of those whom the event is about; the least of them. */
static uint32_t last_attempt(const struct thinning *thin, const struct row_event *event)
{
    uint32_t count = event->rcpt_count ? event->rcpt_count : thin->rcpt_count, least = UINT32_MAX;
    for (uint32_t i = 0; i < count; i++) {
        uint32_t last = thin->last_attempt[event->rcpt_count ? event->rcpt[i] : i];
        least = last < least ? last : least;
    }
    return least;
}

static void note_attempt(struct thinning *thin, const struct row_event *event)
{
    uint32_t count = event->rcpt_count ? event->rcpt_count : thin->rcpt_count;
    for (uint32_t i = 0; i < count; i++) {
        uint32_t *last = &thin->last_attempt[event->rcpt_count ? event->rcpt[i] : i];
        *last = event->attempt_no > *last ? event->attempt_no : *last;
    }
}

static bool is_attempt(const struct row_event *event)
{
    if (event->kind == ROW_OUTCOME) {
        return event->outcome.result == SPOOL_RESULT_DEFERRED ||
               event->outcome.result == SPOOL_RESULT_IN_DOUBT;
    }
    return event->kind == ROW_ATTEMPTED;
}

static void flush_elided(struct thinning *thin)
{
    if (thin->elided.count > 0) {
        row_add(thin->dst, &thin->elided);
        thin->elided.count = 0;
    }
}

static bool is_same_rcpts(const struct row_event *a, const struct row_event *b)
{
    return a->rcpt_count == b->rcpt_count &&
           (a->rcpt_count == 0 || memcmp(a->rcpt, b->rcpt, a->rcpt_count * sizeof *a->rcpt) == 0);
}

static void elide(struct thinning *thin, const struct row_event *event)
{
    uint64_t count = event->kind == ROW_ELIDED ? event->count : event->kind == ROW_OUTCOME;
    if (thin->elided.count > 0 && !is_same_rcpts(&thin->elided, event)) {
        flush_elided(thin);
    }
    if (thin->elided.count == 0) {
        thin->elided = (struct row_event){ .kind = ROW_ELIDED, .rcpt_count = event->rcpt_count };
        thin->elided.rcpt = thin->elided_rcpt;
        if (event->rcpt_count > 0) {
            memcpy(thin->elided_rcpt, event->rcpt, event->rcpt_count * sizeof *event->rcpt);
        }
    }
    thin->elided.count += count;
    thin->elided.at = event->at;
}

static void keep_or_elide(struct thinning *thin, struct row_event *event)
{
    uint32_t last = is_attempt(event) ? last_attempt(thin, event) : 0;
    if (event->kind == ROW_ELIDED ||
            (is_attempt(event) && event->attempt_no > DETAIL_FIRST && last >= DETAIL_LAST &&
                    event->attempt_no <= last - DETAIL_LAST)) {
        elide(thin, event);
        return;
    }
    if (is_attempt(event) && last >= DIALOGUES_LAST && event->attempt_no <= last - DIALOGUES_LAST) {
        event->outcome.dialogue = (struct str){ 0 };
    }
    flush_elided(thin);
    row_add(thin->dst, event);
}

static void thin_out(struct thinning *thin, struct str bytes, uint16_t *scratch)
{
    struct row_reader reader;
    struct row_head head;
    struct row_event event;
    for (int pass = 0; pass < 2; pass++) {
        enum err err = row_read_head(&reader, bytes, scratch, &head);
        ASSERT(err == OK);
        if (pass == 1) {
            row_begin_as(thin->dst, &head);
        }
        while (row_read_event(&reader, &event)) {
            if (pass == 0 && is_attempt(&event)) {
                note_attempt(thin, &event);
            } else if (pass == 1) {
                keep_or_elide(thin, &event);
            }
        }
        ASSERT(!reader.cur.bad);
    }
    flush_elided(thin);
}

/* Writes the row anew without what lies in the middle. Memory short: it stays as it is. */
static void story_thin(struct story *story)
{
    struct thinning *thin = mem_new(sizeof *thin);
    struct row *row = mem_new(sizeof *row);
    uint16_t *scratch = mem_new(SPOOL_RCPT_COUNT_MAX * sizeof *scratch);
    uint32_t *last = mem_new(story->rcpt_count * sizeof *last);
    if (thin != NULL && row != NULL && scratch != NULL && last != NULL) {
        row_init(row);
        thin->dst = row;
        thin->last_attempt = last;
        thin->rcpt_count = story->rcpt_count;
        thin_out(thin, buf_str(&story->row.bytes), scratch);
        if (buf_err(&row->bytes) == OK) {
            row_done(&story->row);
            story->row = *row;
        } else {
            row_done(row);
        }
    }
    mem_free(last);
    mem_free(scratch);
    mem_free(row);
    mem_free(thin);
}

enum err story_add(struct story *story, const struct row_event *event, struct story_counts *counts)
{
    struct row *row = &story->row;
    size_t was_bytes = row->bytes.len;
    int64_t was_at_ms = row->last_at_ms;
    uint32_t was_strings = row->string_count;
    row_add(row, event);
    if (buf_err(&row->bytes) == E_TOO_BIG) { /* the row says no more, but states still move */
        buf_cut(&row->bytes, was_bytes);
        row->bytes.err = OK;
        row->last_at_ms = was_at_ms;
        row->string_count = was_strings;
    } else if (buf_err(&row->bytes) != OK) {
        return E_NOMEM;
    }
    story->is_dirty = true;
    rcpts_move(story, event, counts);
    if (event->kind == ROW_ATTEMPTED) {
        counts->attempts += event->rcpt_count ? event->rcpt_count : story->rcpt_count;
    }
    if (event->kind == ROW_OUTCOME && is_attempt(event) && event->attempt_no > DIALOGUES_LAST &&
            row->bytes.len >= story->thin_at_bytes) {
        story_thin(story);
        size_t len = row->bytes.len;
        story->thin_at_bytes = len < THIN_BYTES_MIN ? 0 : len + len / 2;
    }
    return OK;
}
