/* SPDX-License-Identifier: Apache-2.0
 *
 * crash.c - see crash.h. The letters I1 to I8 are the invariants of docs/spool.md.
 *
 * After a recovery, messages that were found though nobody was answered count as acknowledged: a
 * client that sends again would be told "taken already". So a second cut must not lose them.
 */
#include "tests/unit/spool/crash.h"

#include "tests/unit/spool/fixture.h"

#include "core/crc32c.h"
#include "core/str.h"

#include <stdarg.h>

enum {
    MSG_MAX = 96,
    RCPT_MAX = 3,
    DEPTH_MAX = 2,
    SLOT_BYTES = 32 << 10,
    CHUNK_BYTES = 3000,
    RANDOM_IMAGES = 1,
    DEEPER_ONE_IN = 12,
    SMALL_PENDING = 8
};

enum answer { NOT_OFFERED, UNANSWERED, ACKED, REFUSED, CLOSED };
enum final { FINAL_NONE, FINAL_DELIVERED, FINAL_CANCELLED, FINAL_FAILED };

struct ledger_rcpt {
    enum final final;      /* posted */
    bool is_final_written; /* must survive kill -9 */
    bool is_final_durable; /* must survive a power cut */
    bool is_attempt_open;  /* ATTEMPT acknowledged, no outcome posted */
    uint32_t attempts;
    bool is_held;         /* by an operator; not attempted then */
    bool is_hold_durable; /* held, and nothing since */
    bool is_touched;      /* some record about it was ever posted */
    bool is_dsn_durable;
    uint32_t dsn; /* number of the report that speaks for it, plus one */
};
struct ledger_msg {
    enum answer answer;
    uint64_t msg_id;
    uint32_t bytes;
    uint32_t rcpt_count;
    struct ledger_rcpt rcpt[RCPT_MAX];
    uint32_t accept_seen; /* by the consumer of the journal */
    uint32_t final_seen[RCPT_MAX];
    bool is_dsn;
    uint32_t dsn_of; /* number of the message it speaks of, first recipient */
};
/* What is known from outside; copied with each image. */
struct ledger {
    struct ledger_msg msg[MSG_MAX];
    uint32_t count;
    struct spool_position consumed;
    bool is_rotten; /* bits were flipped: losses must be reported, nothing else */
    bool has_faults;
};

struct crash {
    struct crash_conf conf;
    struct crash_report *report;
    struct prng prng;
    int64_t end_ms;
};

/* One running node at some depth. */
struct node {
    struct crash *crash;
    struct fixture fixture;
    struct keeper *keeper;
    struct mailbox replies;
    struct keeper_body *body_answer;
    struct spool_view *view;
    struct ledger ledger;
    uint32_t depth;
    bool is_hooked;
    bool is_kill;     /* since the ledger was last settled there were only kills, no power cut */
    bool is_settled;  /* the ledger says what this recovery found */
    const char *what; /* for the report */
    char path[160];
};

static int64_t real_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

static bool is_over(const struct crash *crash)
{
    return crash->report->is_failed || crash->report->images >= crash->conf.image_count_max ||
           real_ms() >= crash->end_ms;
}

static void fail(struct node *node, const char *format, ...) PRINTF_LIKE(2, 3);
static void fail(struct node *node, const char *format, ...)
{
    struct crash_report *report = node->crash->report;
    char text[256];
    va_list args;
    if (report->is_failed) {
        return;
    }
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    report->is_failed = true;
    fmt(report->text, sizeof report->text, "%s [%s, %s]", text, node->path, node->what);
}

/* ---- a node
 * ---------------------------------------------------------------------------------------- */

static void node_before(void *ctx, struct sim_disk *disk, enum sim_disk_call call);

static void node_hook(struct node *node, bool is_on)
{
    struct sim_disk_hook hook = { node, node_before };
    node->is_hooked = is_on;
    sim_disk_set_hook(node->fixture.disk, is_on ? &hook : NULL);
}

static enum err node_open(struct node *node)
{
    struct keeper_ports ports = { 0 };
    enum err err = fixture_open(&node->fixture);
    if (err != OK) {
        return err;
    }
    struct disk *disk = sim_disk_as_disk(node->fixture.disk);
    enum err made = keeper_new(node->fixture.spool, &node->fixture.clock.base, &node->fixture.log,
            &ports, &node->keeper);
    made = made == OK ? spool_view_of(node->fixture.spool, disk, &node->view) : made;
    ASSERT(made == OK);
    spool_consumed(node->fixture.spool, node->ledger.consumed.batch_seq);
    return OK;
}

/* Lets go of memory only: the disk is cut, so that nothing more reaches it. */
static void node_done(struct node *node)
{
    sim_disk_set_hook(node->fixture.disk, NULL);
    sim_disk_cut_at(node->fixture.disk, 1);
    keeper_free(node->keeper);
    spool_view_close(node->view);
    fixture_done(&node->fixture);
    mailbox_done(&node->replies);
}

static void node_init(struct node *node, struct crash *crash, struct sim_disk *disk, uint64_t seed)
{
    fixture_init(&node->fixture, seed);
    if (disk != NULL) {
        sim_disk_free(node->fixture.disk);
        node->fixture.disk = disk;
    }
    node->crash = crash;
    node->fixture.conf.slot_bytes = SLOT_BYTES;
    node->fixture.conf.spare_slots = 1;
    node->fixture.conf.checkpoint_bytes = 40 << 10;
    node->fixture.is_loud = crash->conf.is_loud;
    mailbox_init(&node->replies, 1024, NULL, NULL);
}

/* ---- letters
 * ---------------------------------------------------------------------------------------- */

enum { REPLY_ACCEPT = 100, REPLY_RECORD, REPLY_BODY };

static void reply_accept(struct node *node, struct keeper_accept *accept)
{
    struct ledger_msg *msg = &node->ledger.msg[accept->reply.ctx_id];
    msg->answer = accept->err == OK ? ACKED : accept->err == E_CLOSED ? CLOSED : REFUSED;
    msg->msg_id = accept->err == OK ? accept->msg_id : 0;
    if (msg->is_dsn && accept->err == OK) {
        struct ledger_rcpt *rcpt = &node->ledger.msg[msg->dsn_of].rcpt[0];
        rcpt->is_dsn_durable = true;
    }
    if (msg->is_dsn && msg->answer == REFUSED) {
        node->ledger.msg[msg->dsn_of].rcpt[0].dsn = 0;
    }
    keeper_accept_free(accept);
}

/* What an answered record means: ctx_id is message << 8 | recipient. */
static void reply_record(struct node *node, struct keeper_record *record)
{
    struct ledger_rcpt *rcpt =
            &node->ledger.msg[record->reply.ctx_id >> 8].rcpt[record->reply.ctx_id & 0xff];
    if (record->err == OK && record->type == SPOOL_ATTEMPT) {
        rcpt->is_attempt_open = rcpt->final == FINAL_NONE;
    } else if (record->err == OK && record->wish == KEEPER_WANTS_DURABLE) {
        if (record->type == SPOOL_OUTCOME && rcpt->final != FINAL_NONE) {
            rcpt->is_final_durable = rcpt->is_final_written = true;
        } else if (record->type == SPOOL_CTL && rcpt->final == FINAL_CANCELLED) {
            rcpt->is_final_durable = rcpt->is_final_written = true;
        } else if (record->type == SPOOL_CTL) {
            rcpt->is_hold_durable = rcpt->is_held;
        }
    }
    mem_free(record);
}

/* Replies are read as soon as they are sent, also between two calls of the disk. */
static void replies_take(struct node *node)
{
    struct letter *letter = mailbox_take_all(&node->replies);
    while (letter != NULL) {
        struct letter *next = letter->next;
        if (letter->kind == REPLY_ACCEPT) {
            reply_accept(node, CONTAINER_OF(letter, struct keeper_accept, letter));
        } else if (letter->kind == REPLY_RECORD) {
            reply_record(node, CONTAINER_OF(letter, struct keeper_record, letter));
        } else {
            ASSERT(letter->kind == REPLY_BODY && node->body_answer == NULL);
            node->body_answer = CONTAINER_OF(letter, struct keeper_body, letter);
        }
        letter = next;
    }
}

static void node_turn(struct node *node)
{
    struct mono now = clock_mono(&node->fixture.clock.base);
    keeper_turn(node->keeper, now);
    replies_take(node);
    if (sim_disk_is_cut(node->fixture.disk)) {
        return;
    }
    struct spool_stats stats;
    spool_get_stats(node->fixture.spool, &stats);
    for (uint32_t m = 0; m < node->ledger.count && !stats.is_refusing; m++) {
        for (uint32_t r = 0; r < RCPT_MAX; r++) {
            struct ledger_rcpt *rcpt = &node->ledger.msg[m].rcpt[r];
            rcpt->is_final_written = rcpt->is_final_written || rcpt->final == FINAL_DELIVERED;
        }
    }
}

static uint32_t ledger_new(struct node *node, uint32_t rcpt_count, uint32_t bytes)
{
    struct ledger *ledger = &node->ledger;
    if (ledger->count == MSG_MAX) {
        return MSG_MAX;
    }
    ledger->msg[ledger->count] =
            (struct ledger_msg){ .answer = UNANSWERED, .bytes = bytes, .rcpt_count = rcpt_count };
    return ledger->count++;
}

static struct keeper_accept *accept_new(struct node *node, uint32_t number)
{
    struct ledger_msg *msg = &node->ledger.msg[number];
    struct keeper_accept *accept = mem_new(sizeof *accept);
    ASSERT(accept != NULL);
    accept->letter.kind = KEEPER_ACCEPT;
    accept->reply = (struct keeper_reply){ &node->replies, REPLY_ACCEPT, NULL, number };
    accept->envelope = message_envelope(number, msg->rcpt_count);
    return accept;
}

static void letter_post(struct node *node, struct letter *letter)
{
    ASSERT(mailbox_send(keeper_mailbox(node->keeper), letter) == OK);
}

static void op_accept(struct node *node, uint32_t rcpt_count, uint32_t bytes)
{
    uint32_t number = ledger_new(node, rcpt_count, bytes);
    if (number == MSG_MAX) {
        return;
    }
    struct keeper_accept *accept = accept_new(node, number);
    accept->content = message_content(number, bytes);
    letter_post(node, &accept->letter);
}

/* One chunk of streamed content, as a session would send it. */
static bool stream_chunk(struct node *node, struct str bytes, struct spool_extent *ret_extent)
{
    struct keeper_body *body = mem_new(sizeof *body);
    ASSERT(body != NULL);
    body->letter.kind = KEEPER_BODY;
    body->reply = (struct keeper_reply){ &node->replies, REPLY_BODY, NULL, 0 };
    body->chunk = blob_of(bytes);
    letter_post(node, &body->letter);
    keeper_turn(node->keeper, clock_mono(&node->fixture.clock.base));
    replies_take(node);
    struct keeper_body *answer = node->body_answer;
    ASSERT(answer != NULL);
    node->body_answer = NULL;
    bool is_good = answer->err == OK;
    *ret_extent = answer->extent;
    blob_give(answer->chunk);
    mem_free(answer);
    return is_good;
}

static void op_stream(struct node *node)
{
    struct spool_extent extent[2];
    struct buf text;
    uint32_t number = ledger_new(node, 1, 2 * CHUNK_BYTES);
    if (number == MSG_MAX) {
        return;
    }
    buf_init(&text, 1 << 20);
    struct blob *whole = message_content(number, 2 * CHUNK_BYTES);
    blob_text(whole, &text);
    blob_give(whole);
    struct str bytes = buf_str(&text);
    if (!stream_chunk(node, str_sub(bytes, 0, CHUNK_BYTES), &extent[0]) ||
            !stream_chunk(node, str_from(bytes, CHUNK_BYTES), &extent[1])) {
        node->ledger.msg[number].answer = REFUSED;
        buf_done(&text);
        return;
    }
    struct keeper_accept *accept = accept_new(node, number);
    accept->body.extent = mem_new(sizeof extent);
    ASSERT(accept->body.extent != NULL);
    memcpy(accept->body.extent, extent, sizeof extent);
    accept->body.extent_count = 2;
    accept->body.crc32c = crc32c(0, bytes);
    letter_post(node, &accept->letter);
    buf_done(&text);
}

static void record_post(struct node *node, enum spool_record_type type, uint32_t number,
        uint32_t rcpt, enum keeper_wish wish, struct buf *payload)
{
    struct keeper_record *record =
            keeper_record_new(type, node->ledger.msg[number].msg_id, buf_str(payload));
    ASSERT(record != NULL);
    record->wish = wish;
    record->reply = (struct keeper_reply){ &node->replies, REPLY_RECORD, NULL,
        (uint64_t)number << 8 | rcpt };
    letter_post(node, &record->letter);
    buf_done(payload);
}

static void op_attempt(struct node *node, uint32_t number, uint16_t rcpt)
{
    struct ledger_rcpt *r = &node->ledger.msg[number].rcpt[rcpt];
    struct buf payload;
    struct spool_attempt attempt = { node->ledger.msg[number].msg_id, &rcpt, 1, ++r->attempts,
        clock_wall(&node->fixture.clock.base) };
    r->is_hold_durable = false;
    r->is_touched = true;
    buf_init(&payload, 4096);
    spool_attempt_encode(&payload, &attempt);
    record_post(node, SPOOL_ATTEMPT, number, rcpt, KEEPER_WANTS_WRITTEN, &payload);
}

static void op_outcome(struct node *node, uint32_t number, uint16_t rcpt, enum spool_result result,
        enum keeper_wish wish)
{
    struct ledger_rcpt *r = &node->ledger.msg[number].rcpt[rcpt];
    struct buf payload;
    struct spool_outcome outcome = { .msg_id = node->ledger.msg[number].msg_id,
        .rcpt = &rcpt,
        .rcpt_count = 1,
        .attempt_no = r->attempts,
        .result = result };
    r->is_attempt_open = r->is_hold_durable = false;
    r->is_touched = true;
    if (result == SPOOL_RESULT_DELIVERED) {
        r->final = FINAL_DELIVERED;
    } else if (result == SPOOL_RESULT_BOUNCED) {
        r->final = FINAL_FAILED;
    }
    buf_init(&payload, 4096);
    spool_outcome_encode(&payload, &outcome);
    record_post(node, SPOOL_OUTCOME, number, rcpt, wish, &payload);
}

static void op_ctl(struct node *node, uint32_t number, uint16_t rcpt, enum spool_ctl_action action)
{
    struct ledger_rcpt *r = &node->ledger.msg[number].rcpt[rcpt];
    struct buf payload;
    struct spool_ctl ctl = {
        .msg_id = node->ledger.msg[number].msg_id, .rcpt = &rcpt, .rcpt_count = 1, .action = action
    };
    r->is_touched = true;
    r->is_hold_durable = false;
    r->is_held = action == SPOOL_CTL_HOLD;
    if (action == SPOOL_CTL_CANCEL) {
        r->final = FINAL_CANCELLED;
    }
    buf_init(&payload, 4096);
    spool_ctl_encode(&payload, &ctl);
    record_post(node, SPOOL_CTL, number, rcpt, KEEPER_WANTS_DURABLE, &payload);
}

/* A report for the first recipient of a message that failed. */
static void op_dsn(struct node *node, uint32_t of)
{
    uint32_t number = ledger_new(node, 1, 300);
    if (number == MSG_MAX) {
        return;
    }
    node->ledger.msg[number].is_dsn = true;
    node->ledger.msg[number].dsn_of = of;
    node->ledger.msg[of].rcpt[0].dsn = number + 1;
    struct keeper_accept *accept = accept_new(node, number);
    accept->content = message_content(number, 300);
    accept->link = mem_new(sizeof *accept->link);
    uint16_t *rcpt = mem_new(sizeof *rcpt);
    ASSERT(accept->link != NULL && rcpt != NULL);
    *accept->link = (struct spool_dsn_link){ node->ledger.msg[of].msg_id, rcpt, 1 };
    accept->link_count = 1;
    letter_post(node, &accept->letter);
}

/* ---- the consumer of the journal
 * ---------------------------------------------------------------------- */

static uint32_t ledger_of_id(const struct ledger *ledger, uint64_t msg_id)
{
    for (uint32_t i = 0; i < ledger->count; i++) {
        if (ledger->msg[i].msg_id == msg_id && msg_id != 0) {
            return i;
        }
    }
    return MSG_MAX;
}

static void consume_final(struct node *node, uint64_t msg_id, const uint16_t *rcpt, uint32_t count)
{
    uint32_t number = ledger_of_id(&node->ledger, msg_id);
    for (uint32_t i = 0; number < MSG_MAX && i < count; i++) {
        if (rcpt[i] >= RCPT_MAX || ++node->ledger.msg[number].final_seen[rcpt[i]] > 1) {
            fail(node, "I6: a final event twice, message %u", number);
        }
    }
}

static void consume_record(struct node *node, const struct spool_record *record)
{
    uint16_t scratch[SPOOL_RCPT_COUNT_MAX / 8];
    struct ledger *ledger = &node->ledger;
    struct spool_outcome outcome;
    struct spool_ctl ctl;
    if (record->type == SPOOL_ACCEPT) {
        uint32_t number = message_number(record->payload);
        if (number >= ledger->count) {
            fail(node, "I2: the journal has a message that nobody sent");
            return;
        }
        if (++ledger->msg[number].accept_seen > 1) {
            fail(node, "I6: message %u is accepted twice in the journal", number);
        }
        ledger->msg[number].msg_id = record->msg_id;
    } else if (record->type == SPOOL_OUTCOME && record->payload.len < sizeof scratch &&
               spool_outcome_decode(record->payload, scratch, &outcome) == OK) {
        if (outcome.result == SPOOL_RESULT_DELIVERED || outcome.result == SPOOL_RESULT_BOUNCED) {
            consume_final(node, outcome.msg_id, outcome.rcpt, outcome.rcpt_count);
        }
    } else if (record->type == SPOOL_CTL && record->payload.len < sizeof scratch &&
               spool_ctl_decode(record->payload, scratch, &ctl) == OK &&
               ctl.action == SPOOL_CTL_CANCEL) {
        consume_final(node, ctl.msg_id, ctl.rcpt, ctl.rcpt_count);
    }
}

static void consume(struct node *node)
{
    struct spool_record record;
    enum err err;
    while ((err = spool_view_next(node->view, &node->ledger.consumed, &record)) == OK ||
            (err == E_CORRUPT && node->ledger.is_rotten)) {
        node->ledger.consumed = record.next;
        if (err == OK) {
            consume_record(node, &record);
        }
    }
    if (err != E_EOF && !node->ledger.has_faults && !sim_disk_is_cut(node->fixture.disk)) {
        fail(node, "I6: the journal has a gap: %s", err_name(err));
    }
}

static void op_consume(struct node *node)
{
    consume(node);
    spool_consumed(node->fixture.spool, node->ledger.consumed.batch_seq);
}

/* ---- what must be so after a recovery
 * ------------------------------------------------------------------ */

/* Reads an open message; its number, or MSG_MAX where the fault was reported. */
static uint32_t check_read(struct node *node, const struct seen_msg *seen)
{
    struct blob *envelope = NULL, *content = NULL;
    struct why why = { 0 };
    enum err err = spool_view_message(
            node->view, &seen->msg.where, seen->msg.msg_id, NULL, &envelope, &content, &why);
    if (err != OK) {
        if (!(node->ledger.is_rotten && err == E_CORRUPT) &&
                !(node->ledger.has_faults && err == E_IO)) {
            fail(node, "I7: an open message cannot be read: %s", why.text);
        }
        return ledger_of_id(&node->ledger, seen->msg.msg_id);
    }
    uint32_t number = message_number(str_of(envelope->first->data, envelope->first->len));
    if (number >= node->ledger.count) {
        fail(node, "I2: a message that nobody sent");
        number = MSG_MAX;
    } else if (!message_is_content(number, node->ledger.msg[number].bytes, content)) {
        fail(node, "I2: message %u has other content", number);
    }
    blob_give(envelope);
    blob_give(content);
    return number;
}

static const struct spool_open_rcpt *seen_rcpt(const struct seen_msg *seen, uint32_t rcpt)
{
    for (uint32_t i = 0; seen != NULL && i < seen->rcpt_count; i++) {
        if (seen->rcpt[i].rcpt == rcpt) {
            return &seen->rcpt[i];
        }
    }
    return NULL;
}

static bool is_closed_for_good(const struct node *node, const struct ledger_rcpt *rcpt)
{
    bool is_sure = rcpt->is_final_durable || (node->is_kill && rcpt->is_final_written);
    return is_sure && (rcpt->final != FINAL_FAILED || rcpt->is_dsn_durable);
}

static void check_rcpt(struct node *node, uint32_t number, uint32_t r, const struct seen_msg *seen)
{
    const struct ledger_msg *msg = &node->ledger.msg[number];
    const struct ledger_rcpt *rcpt = &msg->rcpt[r];
    const struct spool_open_rcpt *open = seen_rcpt(seen, r);
    bool may_be_closed = rcpt->final == FINAL_DELIVERED || rcpt->final == FINAL_CANCELLED ||
                         (rcpt->final == FINAL_FAILED && rcpt->dsn != 0);
    if (open == NULL) {
        if (!may_be_closed) {
            fail(node, "I1: recipient %u of message %u is gone", r, number);
        }
        return;
    }
    if (is_closed_for_good(node, rcpt)) {
        fail(node, "I4: recipient %u of message %u is open again: %s", r, number,
                spool_state_name(open->state));
    }
    if (rcpt->is_hold_durable && open->state != SPOOL_HELD) {
        fail(node, "held recipient %u of message %u is %s", r, number,
                spool_state_name(open->state));
    }
    if (rcpt->is_attempt_open && node->is_kill &&
            (open->state != SPOOL_IN_DOUBT || !open->maybe_duplicate)) {
        fail(node, "I5: an attempt on message %u left no trace: %s", number,
                spool_state_name(open->state));
    }
    if (msg->final_seen[r] > 0 && open->state != SPOOL_FAILED) {
        fail(node, "I6: the journal showed an end of message %u that is not there", number);
    }
    if (!rcpt->is_touched && open->state != SPOOL_QUEUED) {
        fail(node, "recipient %u of message %u is %s", r, number, spool_state_name(open->state));
    }
}

/* Its report is there exactly if its recipient is not waiting for one. */
static void check_dsn(
        struct node *node, uint32_t number, bool is_dsn_there, const struct seen_msg *of)
{
    const struct ledger_msg *dsn = &node->ledger.msg[number];
    const struct spool_open_rcpt *open = seen_rcpt(of, 0);
    if (dsn->rcpt[0].final != FINAL_NONE) {
        return;
    }
    bool is_waiting = open != NULL && open->state == SPOOL_FAILED;
    bool is_undecided = open != NULL && open->state != SPOOL_FAILED;
    if (!is_undecided && is_dsn_there == is_waiting) {
        fail(node, "I7: report %u and its link are apart", number);
    }
}

/* The messages of this disk by number; takes over what a client would learn by sending again. */
static void check_messages(
        struct node *node, const struct seen *seen, const struct seen_msg **by_number)
{
    for (uint32_t i = 0; i < seen->count; i++) {
        uint32_t number = check_read(node, &seen->msg[i]);
        if (number >= MSG_MAX) {
            continue;
        }
        struct ledger_msg *msg = &node->ledger.msg[number];
        if (by_number[number] != NULL) {
            fail(node, "I2: message %u is there twice", number);
        }
        by_number[number] = &seen->msg[i];
        if (msg->answer == REFUSED && !node->ledger.is_rotten) {
            fail(node, "I3: message %u was refused and is there", number);
        }
        if (seen->msg[i].msg.rcpt_count != msg->rcpt_count) {
            fail(node, "I7: message %u has %u recipients of %u", number,
                    seen->msg[i].msg.rcpt_count, msg->rcpt_count);
        }
        msg->answer = ACKED;
        msg->msg_id = seen->msg[i].msg.msg_id;
    }
}

static bool is_alarmed(const struct node *node)
{
    struct spool_stats stats;
    spool_get_stats(node->fixture.spool, &stats);
    return stats.damaged_ranges > 0;
}

static void check_journal(struct node *node)
{
    for (uint32_t i = 0; i < node->ledger.count; i++) {
        const struct ledger_msg *msg = &node->ledger.msg[i];
        if (msg->answer == REFUSED && msg->accept_seen > 0) {
            fail(node, "I3: message %u was refused and is in the journal", i);
        }
        if (msg->answer == ACKED && msg->accept_seen != 1) {
            fail(node, "I6: message %u is in the journal %u times", i, msg->accept_seen);
        }
        for (uint32_t r = 0; r < msg->rcpt_count; r++) {
            bool is_sure = msg->rcpt[r].is_final_durable ||
                           (node->is_kill && msg->rcpt[r].is_final_written);
            if (is_sure && msg->final_seen[r] != 1) {
                fail(node, "I6: the end of message %u recipient %u is in the journal %u times", i,
                        r, msg->final_seen[r]);
            }
        }
    }
}

/* After a restart the past is certain: what is closed stays so, what is open can be told. */
static void ledger_settle(struct node *node, const struct seen_msg *const *by_number)
{
    for (uint32_t i = 0; i < node->ledger.count; i++) {
        struct ledger_msg *msg = &node->ledger.msg[i];
        if (by_number[i] == NULL && msg->answer != ACKED) {
            msg->answer = msg->accept_seen ? ACKED : CLOSED;
        }
        for (uint32_t r = 0; r < msg->rcpt_count; r++) {
            struct ledger_rcpt *rcpt = &msg->rcpt[r];
            const struct spool_open_rcpt *open = seen_rcpt(by_number[i], r);
            rcpt->is_attempt_open = false;
            rcpt->is_touched = true;
            if (open == NULL) {
                rcpt->is_final_durable = rcpt->is_final_written = rcpt->final != FINAL_NONE;
                rcpt->is_dsn_durable = rcpt->dsn != 0;
            } else if (open->state == SPOOL_FAILED) {
                rcpt->final = FINAL_FAILED;
                rcpt->is_final_durable = rcpt->is_final_written = true;
                rcpt->dsn = 0;
                rcpt->is_dsn_durable = false;
            } else {
                rcpt->final = FINAL_NONE;
                rcpt->is_final_durable = rcpt->is_final_written = false;
            }
        }
    }
}

static void check_all(struct node *node)
{
    const struct seen_msg *by_number[MSG_MAX] = { NULL };
    const struct seen *seen = fixture_see(&node->fixture);
    check_messages(node, seen, by_number);
    bool is_alarm = is_alarmed(node);
    if (is_alarm && !node->ledger.is_rotten) {
        fail(node, "I8: a damage alarm after a plain crash");
    }
    if (node->ledger.is_rotten && is_alarm) {
        return; /* losses are reported: nothing more can be asked */
    }
    for (uint32_t i = 0; i < node->ledger.count; i++) {
        const struct ledger_msg *msg = &node->ledger.msg[i];
        if (msg->answer == ACKED || msg->accept_seen > 0) {
            for (uint32_t r = 0; r < msg->rcpt_count; r++) {
                check_rcpt(node, i, r, by_number[i]);
            }
        }
        if (msg->is_dsn && msg->answer != REFUSED && !node->ledger.is_rotten) {
            check_dsn(node, i, by_number[i] != NULL, by_number[msg->dsn_of]);
        }
    }
    if (!node->ledger.is_rotten) {
        consume(node);
        check_journal(node);
    }
    ledger_settle(node, by_number);
    node->is_settled = true;
}

/* ---- images
 * -------------------------------------------------------------------------------------------------
 */

static const char *const mode_names[] = { "none", "all", "prefix", "only", "without", "random",
    "torn", "kill" };

static void image_path(struct node *child, const struct node *parent, enum sim_disk_call call,
        enum sim_disk_crash mode, uint64_t arg)
{
    fmt(child->path, sizeof child->path, "%s>%llu:%s:%s:%llu", parent->path,
            (unsigned long long)sim_disk_steps(parent->fixture.disk), sim_disk_call_name(call),
            mode_names[mode], (unsigned long long)(arg % 100000));
}

/* Recovery of a cut disk, the comparison, one more message, and down again. */
static void image_try(
        struct node *parent, enum sim_disk_call call, enum sim_disk_crash mode, uint64_t arg)
{
    struct crash *crash = parent->crash;
    if (is_over(crash)) {
        return;
    }
    crash->report->images++;
    struct node *child = mem_new(sizeof *child);
    ASSERT(child != NULL);
    node_init(child, crash, sim_disk_fork(parent->fixture.disk, arg + 1), arg);
    child->ledger = parent->ledger;
    child->ledger.has_faults = false;
    child->depth = parent->depth + 1;
    child->what = "recovery";
    /* a failed sync loses what was only written, until it is written again elsewhere */
    child->is_kill = mode == SIM_CRASH_KILL && !parent->ledger.has_faults &&
                     (parent->depth == 0 || parent->is_settled || parent->is_kill);
    child->fixture.clock.mono_ms = parent->fixture.clock.mono_ms;
    child->fixture.clock.wall_ms = parent->fixture.clock.wall_ms;
    image_path(child, parent, call, mode, arg);
    if (crash->conf.is_loud) {
        printf("  %s\n", child->path);
    }
    sim_disk_crash(child->fixture.disk, mode, arg);
    bool goes_deeper = child->depth < DEPTH_MAX && prng_below(&crash->prng, DEEPER_ONE_IN) == 0;
    if (goes_deeper && prng_below(&crash->prng, 2) == 0) {
        /* a sync of recovery fails: what it lost must not have been counted */
        child->is_kill = false;
        if (mode == SIM_CRASH_KILL) {
            sim_disk_fail_dirty_sync(child->fixture.disk, E_IO);
        } else {
            sim_disk_fail(
                    child->fixture.disk, SIM_DISK_SYNC, 1 + prng_below(&crash->prng, 9), 1, E_IO);
        }
    }
    node_hook(child, goes_deeper);
    enum err err = node_open(child);
    if (err == E_IO && goes_deeper) { /* the fault met what cannot be done without: start again */
        struct disk *disk = sim_disk_as_disk(child->fixture.disk);
        sim_disk_heal(child->fixture.disk);
        disk->ops->close_disk(disk);
        err = node_open(child);
    }
    if (err != OK) {
        fail(child, "the spool does not open: %s", err_name(err));
    } else {
        node_hook(child, false);
        check_all(child);
        if (goes_deeper && !crash->report->is_failed) {
            sim_disk_heal(child->fixture.disk);
            node_hook(child, true);
            child->what = "one more message";
            op_accept(child, 1, 700);
            node_turn(child);
            node_before(child, child->fixture.disk, SIM_DISK_SYNC);
            child->what = "mark";
            fixture_pass(&child->fixture, 1500);
            node_turn(child);
            node_before(child, child->fixture.disk, SIM_DISK_SYNC);
        }
    }
    node_done(child);
    mem_free(child);
}

static void images_small(struct node *node, enum sim_disk_call call, uint64_t pending)
{
    for (uint64_t i = 0; i < pending; i++) {
        image_try(node, call, SIM_CRASH_PREFIX, i);
        image_try(node, call, SIM_CRASH_ONLY, i);
        image_try(node, call, SIM_CRASH_WITHOUT, i);
    }
}

/* Every way in which power may go before this call. */
static void node_before(void *ctx, struct sim_disk *disk, enum sim_disk_call call)
{
    struct node *node = ctx;
    struct crash *crash = node->crash;
    if (is_over(crash)) {
        return;
    }
    replies_take(node);
    if (node->depth == 0 && node->view != NULL && prng_below(&crash->prng, 4) == 0) {
        consume(node); /* a reader in another thread */
    }
    uint64_t pending = sim_disk_pending_count(disk);
    image_try(node, call, SIM_CRASH_NONE, 0);
    image_try(node, call, SIM_CRASH_KILL, 0);
    if (pending == 0) {
        return;
    }
    image_try(node, call, SIM_CRASH_ALL, 0);
    if (node->depth + 1 < DEPTH_MAX && pending <= SMALL_PENDING &&
            prng_below(&crash->prng, 4) == 0) {
        images_small(node, call, pending);
    }
    for (uint32_t i = 0; i < RANDOM_IMAGES; i++) {
        uint64_t arg = prng_next(&crash->prng);
        image_try(node, call, SIM_CRASH_RANDOM, arg);
        image_try(node, call, SIM_CRASH_TORN, arg);
        image_try(node, call, SIM_CRASH_PREFIX, prng_below(&crash->prng, pending));
        image_try(node, call, SIM_CRASH_ONLY, prng_below(&crash->prng, pending));
        image_try(node, call, SIM_CRASH_WITHOUT, prng_below(&crash->prng, pending));
    }
}

/* ---- rot
 * ------------------------------------------------------------------------------------------------------
 */

struct rot_list {
    char name[32][32];
    uint32_t count;
};

static void rot_names(void *ctx, const char *name)
{
    struct rot_list *list = ctx;
    if (list->count < COUNT_OF(list->name) && str_starts(str_from_c(name), STR("slot-"))) {
        fmt(list->name[list->count++], sizeof list->name[0], "%s", name);
    }
}

static void rot_one(struct node *node, const struct rot_list *list, uint32_t what)
{
    struct crash *crash = node->crash;
    const char *name = list->name[prng_below(&crash->prng, list->count)];
    struct sim_disk *disk = node->fixture.disk;
    uint64_t page = prng_below(&crash->prng, SLOT_BYTES / 4096);
    page = prng_below(&crash->prng, 3) == 0 ? 0 : page;
    uint64_t at = page * 4096;
    if (what == 0) {
        at += prng_below(&crash->prng, prng_below(&crash->prng, 2) ? 128 : 4096);
        sim_disk_flip(disk, name, at, (uint8_t)(1 << prng_below(&crash->prng, 8)));
    } else if (what == 1) {
        sim_disk_zero(disk, name, at, 4096);
    } else {
        sim_disk_make_unreadable(disk, name, at, 512);
    }
    fmt(node->path, sizeof node->path, "rot %u of %s page %llu at %llu", what, name,
            (unsigned long long)page, (unsigned long long)at);
}

/* One checkpoint alone is never missed: the other still has all it needs. */
static void rot_checkpoint(struct node *node)
{
    struct prng *prng = &node->crash->prng;
    const char *name = prng_below(prng, 2) ? "ckpt.A" : "ckpt.B";
    uint64_t size = sim_disk_file_bytes(node->fixture.disk, name);
    uint64_t at = size > 4096 && prng_below(prng, 2) ? 4096 + prng_below(prng, size - 4096)
                                                     : prng_below(prng, 128);
    sim_disk_flip(node->fixture.disk, name, at, (uint8_t)(1 << prng_below(prng, 8)));
    node->ledger.is_rotten = false;
    fmt(node->path, sizeof node->path, "rot of %s at %llu", name, (unsigned long long)at);
}

/* After everything is synced and marked: one damaged place; nothing may be missing silently. */
static void rot_try(struct node *parent)
{
    struct crash *crash = parent->crash;
    struct rot_list list = { .count = 0 };
    if (is_over(crash)) {
        return;
    }
    crash->report->rot_images++;
    struct node *child = mem_new(sizeof *child);
    ASSERT(child != NULL);
    node_init(child, crash, sim_disk_fork(parent->fixture.disk, 1), 1);
    child->ledger = parent->ledger;
    child->ledger.is_rotten = true;
    child->ledger.has_faults = true;
    child->depth = DEPTH_MAX;
    child->what = "rot";
    sim_disk_crash(child->fixture.disk, SIM_CRASH_NONE, 0);
    struct disk *disk = sim_disk_as_disk(child->fixture.disk);
    ASSERT(disk->ops->list(disk, rot_names, &list, NULL) == OK && list.count > 0);
    if (!parent->ledger.has_faults && prng_below(&crash->prng, 4) == 0) {
        rot_checkpoint(child);
    } else {
        rot_one(child, &list, (uint32_t)prng_below(&crash->prng, 4) % 3);
    }
    enum err err = node_open(child);
    if (err != OK) {
        fail(child, "the spool does not open: %s", err_name(err));
    } else {
        check_all(child);
    }
    node_done(child);
    mem_free(child);
}

/* ---- workloads
 * ----------------------------------------------------------------------------------------------------
 */

/* A recipient that can still change, of a message that was acknowledged. */
static bool pick_open(struct node *node, uint32_t *ret_number, uint16_t *ret_rcpt)
{
    struct prng *prng = &node->crash->prng;
    for (uint32_t tries = 0; tries < 8 && node->ledger.count > 0; tries++) {
        uint32_t number = (uint32_t)prng_below(prng, node->ledger.count);
        const struct ledger_msg *msg = &node->ledger.msg[number];
        uint16_t rcpt = (uint16_t)prng_below(prng, msg->rcpt_count);
        if (msg->answer == ACKED && msg->rcpt[rcpt].final == FINAL_NONE) {
            *ret_number = number;
            *ret_rcpt = rcpt;
            return true;
        }
    }
    return false;
}

static bool pick_failed(struct node *node, uint32_t *ret_number)
{
    for (uint32_t i = 0; i < node->ledger.count; i++) {
        const struct ledger_rcpt *rcpt = &node->ledger.msg[i].rcpt[0];
        if (node->ledger.msg[i].answer == ACKED && rcpt->final == FINAL_FAILED &&
                rcpt->is_final_durable && rcpt->dsn == 0 && !node->ledger.msg[i].is_dsn) {
            *ret_number = i;
            return true;
        }
    }
    return false;
}

static void step_accepts(struct node *node)
{
    struct prng *prng = &node->crash->prng;
    uint32_t count = 1 + (uint32_t)prng_below(prng, 3);
    for (uint32_t i = 0; i < count; i++) {
        uint32_t bytes = (uint32_t)prng_below(prng, prng_below(prng, 4) == 0 ? 9000 : 1500);
        op_accept(node, 1 + (uint32_t)prng_below(prng, RCPT_MAX), bytes);
    }
}

static void step_delivery(struct node *node)
{
    struct prng *prng = &node->crash->prng;
    uint32_t number;
    uint16_t rcpt;
    if (!pick_open(node, &number, &rcpt) || node->ledger.msg[number].rcpt[rcpt].is_held) {
        return;
    }
    if (prng_below(prng, 4) != 0) {
        op_attempt(node, number, rcpt);
        node_turn(node);
    }
    if (prng_below(prng, 6) == 0) {
        return;
    }
    enum spool_result result = (enum spool_result)prng_below(prng, SPOOL_RESULT_BOUNCED + 1);
    enum keeper_wish wish = prng_below(prng, 2) ? KEEPER_WANTS_DURABLE : KEEPER_WANTS_NOTHING;
    op_outcome(node, number, rcpt, result,
            result == SPOOL_RESULT_BOUNCED ? KEEPER_WANTS_DURABLE : wish);
}

static void step_operator(struct node *node)
{
    static const enum spool_ctl_action actions[] = { SPOOL_CTL_HOLD, SPOOL_CTL_CANCEL };
    uint32_t number;
    uint16_t rcpt;
    if (pick_open(node, &number, &rcpt) && !node->ledger.msg[number].rcpt[rcpt].is_attempt_open) {
        bool is_held = node->ledger.msg[number].rcpt[rcpt].is_held;
        op_ctl(node, number, rcpt,
                is_held ? SPOOL_CTL_RELEASE : actions[prng_below(&node->crash->prng, 2)]);
    }
}

/* Delivers all, and the consumer takes it: slots become free. */
static void step_drain(struct node *node)
{
    for (uint32_t i = 0; i < node->ledger.count; i++) {
        struct ledger_msg *msg = &node->ledger.msg[i];
        for (uint16_t r = 0; msg->answer == ACKED && r < msg->rcpt_count; r++) {
            if (msg->rcpt[r].final == FINAL_NONE) {
                op_outcome(node, i, r, SPOOL_RESULT_DELIVERED, KEEPER_WANTS_NOTHING);
            }
        }
    }
    node_turn(node);
    fixture_pass(&node->fixture, 60);
    node_turn(node);
    op_consume(node);
}

static void step_fault(struct node *node)
{
    struct prng *prng = &node->crash->prng;
    enum sim_disk_call call = prng_below(prng, 3) ? SIM_DISK_SYNC : SIM_DISK_WRITE;
    node->ledger.has_faults = true;
    if (prng_below(prng, 2) == 0) { /* beside records that nobody waits for */
        step_delivery(node);
        node_turn(node);
        step_accepts(node);
        sim_disk_fail_dirty_sync(node->fixture.disk, E_IO);
        return;
    }
    sim_disk_fail(
            node->fixture.disk, call, 1 + prng_below(prng, 3), 1 + prng_below(prng, 4) / 3, E_IO);
}

static void step_time(struct node *node)
{
    static const int64_t spans_ms[] = { 60, 1200, 1200, 11000, 700000, 3700000 };
    fixture_pass(&node->fixture, spans_ms[prng_below(&node->crash->prng, COUNT_OF(spans_ms))]);
    node_turn(node);
    fixture_pass(&node->fixture, 5);
}

static void step(struct node *node, bool with_faults)
{
    uint32_t number;
    switch (prng_below(&node->crash->prng, 13)) {
    case 0:
    case 1:
    case 2:
        step_accepts(node);
        break;
    case 3:
        op_stream(node);
        break;
    case 4:
    case 5:
    case 6:
        step_delivery(node);
        break;
    case 7:
        step_operator(node);
        break;
    case 8:
        if (pick_failed(node, &number)) {
            op_dsn(node, number);
        }
        break;
    case 9:
        op_consume(node);
        break;
    case 10:
        step_time(node);
        break;
    case 11:
        step_drain(node);
        break;
    default:
        if (with_faults) {
            step_fault(node);
        }
        break;
    }
    node_turn(node);
}

/* Until the queue of letters is empty and all is marked durable. */
static void node_quiet(struct node *node)
{
    sim_disk_heal(node->fixture.disk);
    for (uint32_t i = 0; i < 6; i++) {
        fixture_pass(&node->fixture, 11000);
        node_turn(node);
    }
}

static void seed_run(struct crash *crash, uint64_t seed)
{
    struct node *node = mem_new(sizeof *node);
    ASSERT(node != NULL);
    prng_init(&crash->prng, seed);
    node_init(node, crash, NULL, seed);
    fmt(node->path, sizeof node->path, "seed %llu", (unsigned long long)seed);
    node->what = "first start";
    node_hook(node, true);
    enum err err = node_open(node);
    if (err != OK) {
        fail(node, "the spool does not open: %s", err_name(err));
    }
    node->what = "workload";
    bool with_faults = seed % 2 == 1;
    uint32_t steps = 6 + (uint32_t)prng_below(&crash->prng, 24);
    /* long workloads fill and recycle slots: their beginning was enumerated by others */
    bool is_long = seed % 3 == 0;
    if (is_long && err == OK) {
        node_hook(node, false);
        for (uint32_t i = 0; i < 40; i++) {
            step(node, false);
        }
        node_hook(node, true);
    }
    for (uint32_t i = 0; err == OK && i < steps && !is_over(crash); i++) {
        step(node, with_faults);
    }
    if (err == OK && !crash->report->is_failed) {
        node_hook(node, false);
        node_quiet(node);
        for (uint32_t i = 0; i < 40; i++) {
            rot_try(node);
        }
    }
    node_done(node);
    mem_free(node);
}

void crash_run(const struct crash_conf *conf, struct crash_report *ret_report)
{
    *ret_report = (struct crash_report){ 0 };
    struct crash crash = { .conf = *conf, .report = ret_report };
    crash.end_ms = real_ms() + (int64_t)conf->run_ms_max;
    for (uint64_t i = 0; i < conf->seed_count_max && !is_over(&crash); i++) {
        seed_run(&crash, conf->seed_first + i);
        ret_report->seeds++;
        if (ret_report->is_failed) {
            ret_report->failing_seed = conf->seed_first + i;
        }
    }
}
