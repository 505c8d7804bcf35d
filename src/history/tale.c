/* SPDX-License-Identifier: Apache-2.0
 *
 * tale.c - one row as JSON: the message, its recipients, and to each its own events with causes.
 *
 * What is not written anywhere but follows is said too: an attempt after which no outcome came
 * before the next attempt ended in doubt.
 */
#include "history/tale_priv.h"

#include "core/arena.h"
#include "core/str.h"
#include "core/ulid.h"
#include "history/json_priv.h"
#include "history/story_priv.h"

#include <stdlib.h>

enum { TALE_BYTES_MAX = 256 << 20 };

struct tale {
    struct arena arena;
    struct row_head head;
    struct row_event *event;
    size_t count, cap;
    struct buf *json;
};
/* One recipient, while its events are told. */
struct teller {
    struct tale *tale;
    uint32_t number;
    struct story_rcpt rcpt;
    uint32_t attempt_no; /* of the last attempt */
    bool is_possible_duplicate;
    bool is_quiet; /* first pass: only states */
};

static int number_order(const void *a, const void *b)
{
    return *(const uint16_t *)a - *(const uint16_t *)b;
}

static bool keep_event(struct tale *tale, const struct row_event *event)
{
    if (tale->count == tale->cap) {
        size_t cap = tale->cap ? tale->cap * 2 : 16;
        struct row_event *grown = mem_grow(tale->event, cap * sizeof *grown);
        if (grown == NULL) {
            return false;
        }
        tale->event = grown;
        tale->cap = cap;
    }
    struct row_event *kept = &tale->event[tale->count];
    *kept = *event;
    if (event->rcpt_count > 0) {
        size_t bytes = event->rcpt_count * sizeof *event->rcpt;
        uint16_t *rcpt = arena_new(&tale->arena, bytes);
        if (rcpt == NULL) {
            return false;
        }
        memcpy(rcpt, event->rcpt, bytes);
        qsort(rcpt, event->rcpt_count, sizeof *rcpt, number_order);
        kept->rcpt = rcpt;
    }
    tale->count++;
    return true;
}

static enum err read_row(struct tale *tale, struct str row)
{
    struct row_reader reader;
    struct row_event event;
    uint16_t *scratch = mem_new(SPOOL_RCPT_COUNT_MAX * sizeof *scratch);
    enum err err = scratch ? row_read_head(&reader, row, scratch, &tale->head) : E_NOMEM;
    while (err == OK && row_read_event(&reader, &event)) {
        err = keep_event(tale, &event) ? OK : E_NOMEM;
    }
    if (err == OK && reader.cur.bad) {
        err = E_CORRUPT;
    }
    mem_free(scratch);
    return err;
}

static bool concerns(const struct row_event *event, uint16_t number)
{
    return event->rcpt_count == 0 ||
           bsearch(&number, event->rcpt, event->rcpt_count, sizeof number, number_order) != NULL;
}

/* ---- events --------------------------------------------------------------------------------- */

static void open_event(struct teller *teller, const char *name, struct wall at)
{
    struct buf *json = teller->tale->json;
    json_open(json, NULL, '{');
    json_str(json, "event", str_from_c(name));
    if (at.ms != 0) {
        json_time(json, "at", at);
    }
}

static void close_event(struct teller *teller)
{
    json_close(teller->tale->json, '}');
}

/* An attempt began before the one before had an outcome: that one was cut off by the node's end. */
static void tell_cut_off(struct teller *teller, struct wall at)
{
    teller->is_possible_duplicate = true;
    if (teller->is_quiet) {
        return;
    }
    open_event(teller, "in_doubt", at);
    json_u64(teller->tale->json, "attempt", teller->attempt_no);
    json_str(teller->tale->json, "cause",
            STR("the node stopped during the attempt: whether it was delivered is not known"));
    close_event(teller);
}

static void tell_attempted(struct teller *teller, const struct row_event *event)
{
    if (teller->rcpt.state == STORY_ATTEMPTING) {
        tell_cut_off(teller, event->at);
    }
    teller->attempt_no = event->attempt_no;
    if (teller->is_quiet) {
        return;
    }
    open_event(teller, "attempted", event->at);
    json_u64(teller->tale->json, "attempt", event->attempt_no);
    close_event(teller);
}

static const char *const result_names[] = { [SPOOL_RESULT_DELIVERED] = "delivered",
    [SPOOL_RESULT_DEFERRED] = "deferred",
    [SPOOL_RESULT_IN_DOUBT] = "in_doubt",
    [SPOOL_RESULT_BOUNCED] = "bounced",
    [SPOOL_RESULT_EXPIRED] = "expired",
    [SPOOL_RESULT_HELD] = "held" };
static_assert(COUNT_OF(result_names) == SPOOL_RESULT_COUNT, "a name for each result");

static struct str cause_of(const struct spool_outcome *outcome)
{
    if (outcome->result == SPOOL_RESULT_IN_DOUBT) {
        return STR("the connection ended after the final dot without an answer: whether the "
                   "message was "
                   "taken is not known");
    }
    if (outcome->result == SPOOL_RESULT_DELIVERED && outcome->maybe_duplicate) {
        return STR("possible duplicate: an earlier attempt ended in doubt and may have delivered "
                   "it too");
    }
    return (struct str){ 0 };
}

static void tell_outcome(struct teller *teller, const struct row_event *event)
{
    const struct spool_outcome *outcome = &event->outcome;
    struct buf *json = teller->tale->json;
    teller->is_possible_duplicate = teller->is_possible_duplicate || outcome->maybe_duplicate ||
                                    outcome->result == SPOOL_RESULT_IN_DOUBT;
    if (teller->is_quiet) {
        return;
    }
    open_event(teller, result_names[outcome->result], event->at);
    json_u64(json, "attempt", event->attempt_no);
    json_str_if(json, "source", outcome->source);
    json_str_if(json, "site", outcome->site);
    json_str_if(json, "remote_host", outcome->remote_host);
    json_str_if(json, "remote_ip", outcome->remote_ip);
    json_str_if(json, "tls", outcome->tls);
    if (outcome->code != 0) {
        json_u64(json, "code", outcome->code);
    }
    json_str_if(json, "enhanced", outcome->enhanced);
    json_str_if(json, "text", outcome->text);
    json_u64(json, "queued_ms", outcome->queued_ms);
    json_u64(json, "connect_ms", outcome->connect_ms);
    json_u64(json, "transfer_ms", outcome->transfer_ms);
    if (outcome->due.ms > 0) {
        json_time(json, "due", outcome->due);
    }
    json_str_if(json, "cause", cause_of(outcome));
    json_str_if(json, "dialogue", outcome->dialogue);
    close_event(teller);
}

static void tell_ctl(struct teller *teller, const struct row_event *event)
{
    static const char *const names[] = { [SPOOL_CTL_HOLD] = "held",
        [SPOOL_CTL_RELEASE] = "released",
        [SPOOL_CTL_CANCEL] = "cancelled",
        [SPOOL_CTL_BOUNCE] = "bounced",
        [SPOOL_CTL_FLUSH] = "flushed",
        [SPOOL_CTL_CLOSE] = "unreported" };
    if (teller->is_quiet) {
        return;
    }
    open_event(teller, names[event->action], event->at);
    json_str_if(teller->tale->json, "author", event->author);
    json_str_if(teller->tale->json, "reason", event->reason);
    close_event(teller);
}

static void tell_notified(struct teller *teller, const struct row_event *event)
{
    struct ulid ulid;
    char text[ULID_TEXT_LEN + 1];
    if (teller->is_quiet) {
        return;
    }
    open_event(teller, "notified", event->at);
    if (event->dsn_id.len == sizeof ulid.byte) {
        memcpy(ulid.byte, event->dsn_id.ptr, sizeof ulid.byte);
        ulid_format(ulid, text);
        json_str(teller->tale->json, "dsn", str_of(text, ULID_TEXT_LEN));
    }
    close_event(teller);
}

static void tell_elided(struct teller *teller, const struct row_event *event)
{
    if (teller->is_quiet) {
        return;
    }
    open_event(teller, "elided", event->at);
    json_u64(teller->tale->json, "count", event->count);
    close_event(teller);
}

static void tell_event(struct teller *teller, const struct row_event *event)
{
    switch (event->kind) {
    case ROW_ATTEMPTED:
        tell_attempted(teller, event);
        break;
    case ROW_OUTCOME:
        tell_outcome(teller, event);
        break;
    case ROW_CTL:
        tell_ctl(teller, event);
        break;
    case ROW_NOTIFIED:
        tell_notified(teller, event);
        break;
    case ROW_ELIDED:
        tell_elided(teller, event);
        break;
    case ROW_EVENT_KIND_END:
        break;
    }
    (void)story_rcpt_move(&teller->rcpt, event);
}

static void tell_events(struct teller *teller)
{
    const struct tale *tale = teller->tale;
    teller->rcpt = (struct story_rcpt){ .state = STORY_QUEUED };
    for (size_t i = 0; i < tale->count; i++) {
        if (concerns(&tale->event[i], (uint16_t)teller->number)) {
            tell_event(teller, &tale->event[i]);
        }
    }
}

/* The state stands before the events it follows from: so they are gone through twice. */
static void tell_rcpt(struct tale *tale, uint32_t number, struct str address)
{
    struct buf *json = tale->json;
    struct teller teller = { .tale = tale, .number = number, .is_quiet = true };
    tell_events(&teller);
    json_open(json, NULL, '{');
    json_str(json, "address", address);
    json_str(json, "state", str_from_c(story_state_word((enum story_state)teller.rcpt.state)));
    json_bool(json, "possible_duplicate", teller.is_possible_duplicate);
    json_open(json, "events", '[');
    teller.is_quiet = false;
    open_event(&teller, "accepted", tale->head.accepted_at);
    close_event(&teller);
    tell_events(&teller);
    json_close(json, ']');
    json_close(json, '}');
}

/* ---- the message ---------------------------------------------------------------------------- */

static void tell_head(struct tale *tale, uint64_t msg_id)
{
    struct buf *json = tale->json;
    const struct row_head *head = &tale->head;
    char id[ULID_TEXT_LEN + 1], number[24];
    ulid_format(head->ulid, id);
    fmt(number, sizeof number, "%llu", (unsigned long long)msg_id);
    json_str(json, "id", str_from_c(id));
    json_str(json, "msg_id", str_from_c(number));
    json_time(json, "accepted", head->accepted_at);
    json_str(json, "sender", head->sender);
    json_str(json, "stream", head->stream);
    json_str(json, "credential", head->credential);
    json_str(json, "tag", head->tag);
    json_pairs(json, "meta", head->meta);
    json_str(json, "message_id", head->message_id);
    json_str(json, "client", head->client);
    json_str(json, "helo", head->helo);
    json_u64(json, "bytes", head->content_bytes);
    json_u64(json, "recipient_count", head->rcpt_count);
    if (head->flags & SPOOL_MSG_DSN) {
        json_bool(json, "is_report", true);
    }
}

static void tell_message(struct tale *tale, uint64_t msg_id, struct str only)
{
    struct cur rcpts = { .rest = tale->head.rcpts };
    struct str address;
    bool is_all = only.len == 0 || tale->head.rcpt_count <= TALE_RCPT_COUNT_ALL;
    json_open(tale->json, NULL, '{');
    tell_head(tale, msg_id);
    json_open(tale->json, "recipients", '[');
    for (uint32_t i = 0; row_rcpt_next(&rcpts, &address); i++) {
        if (is_all || str_eq_nocase(address, only)) {
            tell_rcpt(tale, i, address);
        }
    }
    json_close(tale->json, ']');
    json_close(tale->json, '}');
}

enum err tale_json(uint64_t msg_id, struct str row, struct str only, struct buf *ret_json)
{
    struct tale tale = { .json = ret_json };
    arena_init(&tale.arena, TALE_BYTES_MAX);
    enum err err = read_row(&tale, row);
    if (err == OK) {
        tell_message(&tale, msg_id, only);
        err = buf_err(ret_json);
    }
    mem_free(tale.event);
    arena_done(&tale.arena);
    return err;
}

enum err tale_refusal_json(struct str row, struct buf *ret_json)
{
    struct spool_refusal refusal;
    if (spool_refusal_decode(row, &refusal) != OK) {
        return E_CORRUPT;
    }
    json_open(ret_json, NULL, '{');
    json_str(ret_json, "event", STR("refused"));
    json_time(ret_json, "at", refusal.at);
    json_str(ret_json, "client", refusal.client);
    json_str(ret_json, "helo", refusal.helo);
    json_str(ret_json, "credential", refusal.credential);
    json_str(ret_json, "sender", refusal.sender);
    json_str(ret_json, "recipient", refusal.recipient);
    json_u64(ret_json, "code", refusal.code);
    json_str(ret_json, "enhanced", refusal.enhanced);
    json_str(ret_json, "text", refusal.text);
    json_close(ret_json, '}');
    return buf_err(ret_json);
}
