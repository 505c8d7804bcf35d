/* SPDX-License-Identifier: Apache-2.0
 *
 * lines.c - events as log lines, from the scribe's one reading of the journal.
 *
 * The Postfix shape is what existing tools read (pflogsumm is tested); our message id stands where
 * Postfix has its queue id. Nothing here calls printf: six lines a message are written at full
 * speed.
 */
#include "history/lines_priv.h"

#include "core/ip.h"
#include "core/str.h"
#include "core/time.h"
#include "history/json_priv.h"

enum {
    LINE_BYTES_MAX = LOG_LINE_BYTES_MAX,
    ADDRESS_BYTES_MAX = 400, /* RFC 5321 4.5.3.1: 64 + 1 + 255, some of it escaped */
    TEXT_BYTES_MAX = 800,
    JSON_LINE_BYTES_MAX = 1 << 20 /* meta of 64 KiB, each byte escaped as six, fits */
};

void lines_init(struct lines *lines, const struct history_conf *conf)
{
    lines->conf = conf;
    lines->second = INT64_MIN;
    buf_init(&lines->line, JSON_LINE_BYTES_MAX);
    char host[150];
    struct str name = str_escape(conf->hostname, host, sizeof host);
    fmt(lines->host, sizeof lines->host, "%.*s", STR_ARG(conf->hostname));
    fmt(lines->tail, sizeof lines->tail, "Z %.*s postfix/", STR_ARG(name));
    fmt(lines->pid, sizeof lines->pid, "[%u]: ", (unsigned)conf->pid);
}

void lines_done(struct lines *lines)
{
    buf_done(&lines->line);
}

/* A line that does not fit its buffer is dropped rather than cut within a value. */
void lines_emit(struct lines *lines)
{
    if (buf_err(&lines->line) == OK) {
        lines->conf->line(lines->conf->line_ctx, buf_str(&lines->line));
    }
    buf_clear(&lines->line);
}

/* ---- the Postfix shape ---------------------------------------------------------------------- */

/* What a peer said, so that it stays on its line. */
static void add_text(struct buf *line, struct str s, size_t max_bytes)
{
    size_t plain = 0;
    s = str_sub(s, 0, max_bytes);
    while (plain < s.len && s.ptr[plain] >= 0x20 && s.ptr[plain] < 0x7f && s.ptr[plain] != '\\') {
        plain++;
    }
    if (plain == s.len) {
        buf_add(line, s);
        return;
    }
    char escaped[4 * TEXT_BYTES_MAX];
    buf_add(line, str_escape(s, escaped, max_bytes));
}

/* "2026-11-25T13:07:09.123Z host postfix/smtp[12]: " */
static void begin(struct lines *lines, struct wall at, const char *daemon)
{
    struct buf *line = &lines->line;
    int64_t second = at.ms / 1000 - (at.ms % 1000 < 0);
    int64_t ms = at.ms - second * 1000;
    if (second != lines->second) {
        char text[TIME_TEXT_CAP];
        time_rfc3339(at, text);
        fmt(lines->stamp, sizeof lines->stamp, "%.19s", text);
        lines->second = second;
    }
    char fraction[4] = { '.', (char)('0' + ms / 100), (char)('0' + ms / 10 % 10),
        (char)('0' + ms % 10) };
    buf_clear(line);
    buf_add_c(line, lines->stamp);
    buf_add(line, str_of(fraction, sizeof fraction));
    buf_add_c(line, lines->tail);
    buf_add_c(line, daemon);
    buf_add_c(line, lines->pid);
}

static void begin_id(struct lines *lines, struct wall at, const char *daemon)
{
    begin(lines, at, daemon);
    buf_add(&lines->line, str_of(lines->id, ULID_TEXT_LEN));
    buf_add(&lines->line, STR(": "));
}

static void add_client(struct buf *line, struct str client)
{
    buf_add(line, STR("unknown["));
    add_text(line, client, IP_TEXT_CAP);
    buf_add_char(line, ']');
}

static void add_from(struct buf *line, struct str sender)
{
    buf_add(line, STR("from=<"));
    add_text(line, sender, ADDRESS_BYTES_MAX);
    buf_add_char(line, '>');
}

/* Who handed it in: the line by which tools count a message as received. */
static void postfix_received(struct lines *lines, const struct row_head *head)
{
    struct buf *line = &lines->line;
    if (head->flags & SPOOL_MSG_DSN) {
        return; /* our own: Postfix's bounce daemon says nothing either */
    }
    if (str_eq(head->client, STR("local"))) {
        begin_id(lines, head->accepted_at, "pickup");
        buf_add(line, STR("uid=0 "));
        add_from(line, head->sender);
    } else {
        begin_id(lines, head->accepted_at, "smtpd");
        buf_add(line, STR("client="));
        add_client(line, head->client);
        if (head->credential.len > 0) {
            buf_add(line, STR(", sasl_username="));
            add_text(line, head->credential, ADDRESS_BYTES_MAX);
        }
    }
    lines_emit(lines);
}

static void postfix_accepted(struct lines *lines, const struct row_head *head)
{
    struct buf *line = &lines->line;
    postfix_received(lines, head);
    begin_id(lines, head->accepted_at, "cleanup");
    buf_add(line, STR("message-id="));
    add_text(line, head->message_id, ADDRESS_BYTES_MAX);
    lines_emit(lines);
    begin_id(lines, head->accepted_at, "qmgr");
    add_from(line, head->sender);
    buf_add(line, STR(", size="));
    add_decimal(line, head->content_bytes);
    buf_add(line, STR(", nrcpt="));
    add_decimal(line, head->rcpt_count);
    buf_add(line, STR(" (queue active)"));
    lines_emit(lines);
}

/* Two significant digits, as Postfix: 0, 0.05, 0.6, 1.2, 30 */
static void add_seconds(struct buf *line, uint64_t ms)
{
    uint64_t hundredths = (ms + 5) / 10;
    if (hundredths >= 1000) {
        add_decimal(line, (ms + 500) / 1000);
        return;
    }
    add_decimal(line, hundredths / 100);
    uint64_t tenth = hundredths / 10 % 10, last = hundredths >= 100 ? 0 : hundredths % 10;
    if (tenth > 0 || last > 0) {
        buf_add_char(line, '.');
        buf_add_char(line, (char)('0' + tenth));
    }
    if (last > 0) {
        buf_add_char(line, (char)('0' + last));
    }
}

/* "192.0.2.1" or "192.0.2.1:2525" or "[2001:db8::1]:25", in parts. */
static void split_remote(struct str remote, struct str *ret_ip, struct str *ret_port)
{
    size_t colon = str_rindex(remote, ':');
    *ret_ip = remote;
    *ret_port = STR("25");
    if (remote.len > 0 && remote.ptr[0] == '[') {
        size_t end = str_index(remote, ']');
        *ret_port = colon < remote.len && colon > end ? str_from(remote, colon + 1) : *ret_port;
        *ret_ip = str_sub(remote, 1, end - 1);
    } else if (colon < remote.len && colon == str_index(remote, ':')) {
        *ret_port = str_from(remote, colon + 1);
        *ret_ip = str_sub(remote, 0, colon);
    }
}

static void add_host(struct buf *line, const struct spool_outcome *outcome, struct str ip)
{
    add_text(line, outcome->remote_host.len ? outcome->remote_host : ip, ADDRESS_BYTES_MAX);
    buf_add_char(line, '[');
    add_text(line, ip, IP_TEXT_CAP);
    buf_add_char(line, ']');
}

static void add_relay(struct buf *line, const struct spool_outcome *outcome)
{
    struct str ip, port;
    split_remote(outcome->remote_ip, &ip, &port);
    if (ip.len == 0) {
        buf_add(line, STR("none"));
        return;
    }
    add_host(line, outcome, ip);
    buf_add_char(line, ':');
    add_text(line, port, 8);
}

/* The texts of failures that are not replies say already who said what. */
static bool is_in_words(const struct spool_outcome *outcome)
{
    return outcome->code == 0 || str_starts(outcome->text, STR("lost connection")) ||
           str_starts(outcome->text, STR("conversation with")) ||
           str_starts(outcome->text, STR("host ")) ||
           (outcome->remote_host.len > 0 && str_starts(outcome->text, outcome->remote_host));
}

static void add_reason(struct buf *line, const struct spool_outcome *outcome)
{
    buf_add(line, STR(" ("));
    if (!is_in_words(outcome)) {
        if (outcome->result != SPOOL_RESULT_DELIVERED) {
            struct str ip, port;
            split_remote(outcome->remote_ip, &ip, &port);
            buf_add(line, STR("host "));
            add_host(line, outcome, ip);
            buf_add(line, STR(" said: "));
        }
        add_decimal(line, outcome->code);
        buf_add_char(line, ' ');
        add_text(line, outcome->enhanced, 16);
        buf_add_char(line, ' ');
    }
    add_text(line, outcome->text.len ? outcome->text : STR("no reason given"), TEXT_BYTES_MAX);
    buf_add_char(line, ')');
}

static const char *postfix_status(enum spool_result result)
{
    switch (result) {
    case SPOOL_RESULT_DELIVERED:
        return "sent";
    case SPOOL_RESULT_BOUNCED:
    case SPOOL_RESULT_EXPIRED:
        return "bounced";
    case SPOOL_RESULT_DEFERRED:
    case SPOOL_RESULT_IN_DOUBT:
    case SPOOL_RESULT_HELD:
    case SPOOL_RESULT_COUNT:
        break;
    }
    return "deferred";
}

static void postfix_outcome(struct lines *lines, const struct row_head *head,
        const struct row_event *event, struct str address)
{
    const struct spool_outcome *outcome = &event->outcome;
    struct buf *line = &lines->line;
    uint64_t delay_ms = lines_ms_since(head->accepted_at, event->at);
    uint64_t known_ms = (uint64_t)outcome->connect_ms + outcome->transfer_ms;
    uint64_t wait_ms = delay_ms > known_ms ? delay_ms - known_ms : 0;
    begin_id(lines, event->at, outcome->remote_ip.len || outcome->code ? "smtp" : "error");
    buf_add(line, STR("to=<"));
    add_text(line, address, ADDRESS_BYTES_MAX);
    buf_add(line, STR(">, relay="));
    add_relay(line, outcome);
    buf_add(line, STR(", delay="));
    add_seconds(line, delay_ms);
    buf_add(line, STR(", delays="));
    add_seconds(line, wait_ms > outcome->queued_ms ? wait_ms - outcome->queued_ms : 0);
    buf_add_char(line, '/');
    add_seconds(line, wait_ms < outcome->queued_ms ? wait_ms : outcome->queued_ms);
    buf_add_char(line, '/');
    add_seconds(line, outcome->connect_ms);
    buf_add_char(line, '/');
    add_seconds(line, outcome->transfer_ms);
    buf_add(line, STR(", dsn="));
    add_text(line, outcome->enhanced.len ? outcome->enhanced : STR("4.0.0"), 16);
    buf_add(line, STR(", status="));
    buf_add_c(line, postfix_status(outcome->result));
    add_reason(line, outcome);
    lines_emit(lines);
}

static void postfix_expired(struct lines *lines, const struct row_head *head, struct wall at)
{
    begin_id(lines, at, "qmgr");
    add_from(&lines->line, head->sender);
    buf_add(&lines->line, STR(", status=expired, returned to sender"));
    lines_emit(lines);
}

static void postfix_ctl(struct lines *lines, const struct row_event *event)
{
    static const char *const words[] = { [SPOOL_CTL_HOLD] = "placed on hold",
        [SPOOL_CTL_RELEASE] = "released from hold",
        [SPOOL_CTL_CANCEL] = "removed recipients",
        [SPOOL_CTL_BOUNCE] = "force-expired",
        [SPOOL_CTL_FLUSH] = "flushed" };
    if (event->action == SPOOL_CTL_CLOSE) {
        return;
    }
    begin_id(lines, event->at, "postsuper");
    buf_add_c(&lines->line, words[event->action]);
    buf_add(&lines->line, STR(" by "));
    add_text(&lines->line, event->author, ADDRESS_BYTES_MAX);
    if (event->reason.len > 0) {
        buf_add(&lines->line, STR(": "));
        add_text(&lines->line, event->reason, TEXT_BYTES_MAX);
    }
    lines_emit(lines);
}

static void postfix_notified(struct lines *lines, const struct row_event *event)
{
    struct ulid ulid;
    char text[ULID_TEXT_LEN + 1] = "unknown";
    if (event->dsn_id.len == sizeof ulid.byte) {
        memcpy(ulid.byte, event->dsn_id.ptr, sizeof ulid.byte);
        ulid_format(ulid, text);
    }
    begin_id(lines, event->at, "bounce");
    buf_add(&lines->line, STR("sender non-delivery notification: "));
    buf_add_c(&lines->line, text);
    lines_emit(lines);
}

static void postfix_removed(struct lines *lines, struct wall at)
{
    begin_id(lines, at, "qmgr");
    buf_add(&lines->line, STR("removed"));
    lines_emit(lines);
}

static void postfix_refused(struct lines *lines, const struct spool_refusal *refusal)
{
    struct buf *line = &lines->line;
    begin(lines, refusal->at, "smtpd");
    buf_add(line, refusal->recipient.len ? STR("NOQUEUE: reject: RCPT from ")
                                         : STR("NOQUEUE: reject: END-OF-MESSAGE from "));
    add_client(line, refusal->client);
    buf_add(line, STR(": "));
    add_decimal(line, refusal->code);
    buf_add_char(line, ' ');
    add_text(line, refusal->enhanced, 16);
    buf_add_char(line, ' ');
    add_text(line, refusal->text, TEXT_BYTES_MAX);
    buf_add(line, STR("; "));
    add_from(line, refusal->sender);
    if (refusal->recipient.len > 0) {
        buf_add(line, STR(" to=<"));
        add_text(line, refusal->recipient, ADDRESS_BYTES_MAX);
        buf_add_char(line, '>');
    }
    buf_add(line, STR(" proto=ESMTP helo=<"));
    add_text(line, refusal->helo, ADDRESS_BYTES_MAX);
    buf_add_char(line, '>');
    lines_emit(lines);
}

/* ---- events --------------------------------------------------------------------------------- */

void lines_accepted(struct lines *lines, uint64_t seq, const struct story *story)
{
    struct row_head head;
    story_head(story, &head);
    ulid_format(head.ulid, lines->id);
    if (lines->conf->is_log_postfix) {
        postfix_accepted(lines, &head);
    }
    if (lines->conf->is_log_json) {
        lines_json_accepted(lines, seq, &head);
    }
}

static void event_of_rcpt(struct lines *lines, uint64_t seq, const struct row_head *head,
        const struct row_event *event, struct str address)
{
    bool is_postfix = lines->conf->is_log_postfix, is_json = lines->conf->is_log_json;
    if (event->kind == ROW_OUTCOME && is_postfix) {
        postfix_outcome(lines, head, event, address);
    }
    if (event->kind == ROW_OUTCOME && is_json) {
        lines_json_outcome(lines, seq, head, event, address);
    }
    if (event->kind == ROW_CTL && is_json) {
        lines_json_ctl(lines, seq, head, event, address);
    }
    if (event->kind == ROW_NOTIFIED && is_json) {
        lines_json_notified(lines, seq, head, event, address);
    }
}

static void each_rcpt(struct lines *lines, uint64_t seq, const struct row_head *head,
        const struct row_event *event)
{
    struct cur rcpts = { .rest = head->rcpts };
    struct str address;
    for (uint32_t i = 0; i < event->rcpt_count; i++) {
        lines->is_in_set[event->rcpt[i]] = true;
    }
    for (uint32_t i = 0; row_rcpt_next(&rcpts, &address); i++) {
        if (event->rcpt_count == 0 || lines->is_in_set[i]) {
            event_of_rcpt(lines, seq, head, event, address);
        }
    }
    for (uint32_t i = 0; i < event->rcpt_count; i++) {
        lines->is_in_set[event->rcpt[i]] = false;
    }
}

/* Lines that are about the message, not one of its recipients. */
static void postfix_message(
        struct lines *lines, const struct row_head *head, const struct row_event *event)
{
    if (event->kind == ROW_OUTCOME && event->outcome.result == SPOOL_RESULT_EXPIRED) {
        postfix_expired(lines, head, event->at);
    }
    if (event->kind == ROW_CTL) {
        postfix_ctl(lines, event);
    }
    if (event->kind == ROW_NOTIFIED) {
        postfix_notified(lines, event);
    }
}

void lines_event(struct lines *lines, uint64_t seq, const struct story *story,
        const struct row_event *event, bool was_open)
{
    struct row_head head;
    if (event->kind == ROW_ATTEMPTED) {
        return; /* the outcome says all */
    }
    story_head(story, &head);
    ulid_format(head.ulid, lines->id);
    each_rcpt(lines, seq, &head, event);
    if (lines->conf->is_log_postfix) {
        postfix_message(lines, &head, event);
        if (was_open && story->open_count == 0) {
            postfix_removed(lines, event->at);
        }
    }
}

void lines_refused(struct lines *lines, uint64_t seq, const struct spool_refusal *refusal)
{
    if (lines->conf->is_log_postfix) {
        postfix_refused(lines, refusal);
    }
    if (lines->conf->is_log_json) {
        lines_json_refused(lines, seq, refusal);
    }
}
