/* SPDX-License-Identifier: Apache-2.0
 *
 * lines_json.c - events as JSON lines. Keys are only ever added; `seq` and `rcpt` together name an
 * event for good.
 */
#include "history/lines_priv.h"

#include "core/str.h"
#include "history/json_priv.h"

static void json_begin(struct lines *lines, uint64_t seq, struct wall at, const char *type)
{
    struct buf *line = &lines->line;
    buf_clear(line);
    json_open(line, NULL, '{');
    json_u64(line, "v", 1);
    json_time(line, "ts", at);
    json_u64(line, "seq", seq);
    json_str(line, "node", str_from_c(lines->host));
    json_str(line, "type", str_from_c(type));
}

static void json_end(struct lines *lines)
{
    json_close(&lines->line, '}');
    lines_emit(lines);
}

static void json_message(struct lines *lines, const struct row_head *head, struct str rcpt)
{
    struct buf *line = &lines->line;
    json_str(line, "id", str_of(lines->id, ULID_TEXT_LEN));
    json_str_if(line, "msgid", head->message_id);
    json_str_if(line, "stream", head->stream);
    if (head->tag.len > 0) {
        json_open(line, "tags", '[');
        json_str(line, NULL, head->tag);
        json_close(line, ']');
    }
    if (head->meta.len > 0) {
        json_pairs(line, "meta", head->meta);
    }
    json_str(line, "from", head->sender);
    if (rcpt.len > 0) {
        json_str(line, "rcpt", rcpt);
        json_str(line, "domain", str_from(rcpt, str_rindex(rcpt, '@') + 1));
    }
    json_u64(line, "size", head->content_bytes);
    json_str_if(line, "user", head->credential);
}

void lines_json_accepted(struct lines *lines, uint64_t seq, const struct row_head *head)
{
    json_begin(lines, seq, head->accepted_at, "accepted");
    json_message(lines, head, (struct str){ 0 });
    json_u64(&lines->line, "rcpts", head->rcpt_count);
    json_str_if(&lines->line, "client_ip", head->client);
    json_end(lines);
}

static void json_tls(struct buf *line, struct str tls)
{
    struct str word;
    static const char *const names[] = { "proto", "cipher", "bits", "verify" };
    if (tls.len == 0) {
        return;
    }
    json_open(line, "tls", '{');
    for (size_t i = 0; i < COUNT_OF(names) && str_cut(&tls, ' ', &word); i++) {
        json_str(line, names[i], word);
    }
    json_close(line, '}');
}

static const char *const result_types[] = { [SPOOL_RESULT_DELIVERED] = "delivered",
    [SPOOL_RESULT_DEFERRED] = "deferred",
    [SPOOL_RESULT_IN_DOUBT] = "in_doubt",
    [SPOOL_RESULT_BOUNCED] = "bounced",
    [SPOOL_RESULT_EXPIRED] = "expired",
    [SPOOL_RESULT_HELD] = "held" };

void lines_json_outcome(struct lines *lines, uint64_t seq, const struct row_head *head,
        const struct row_event *event, struct str address)
{
    const struct spool_outcome *outcome = &event->outcome;
    struct buf *line = &lines->line;
    json_begin(lines, seq, event->at, result_types[outcome->result]);
    json_message(lines, head, address);
    json_str_if(line, "provider", outcome->site);
    json_u64(line, "attempt", event->attempt_no);
    json_str_if(line, "mx", outcome->remote_host);
    json_str_if(line, "ip", outcome->remote_ip);
    json_str_if(line, "source", outcome->source);
    json_tls(line, outcome->tls);
    if (outcome->code != 0) {
        json_u64(line, "code", outcome->code);
    }
    json_str_if(line, "enh", outcome->enhanced);
    json_str_if(line, "text", outcome->text);
    json_u64(line, "delay_ms", lines_ms_since(head->accepted_at, event->at));
    json_open(line, "delays", '{');
    json_u64(line, "queue", outcome->queued_ms);
    json_u64(line, "connect", outcome->connect_ms);
    json_u64(line, "transfer", outcome->transfer_ms);
    json_close(line, '}');
    if (outcome->due.ms > 0) {
        json_time(line, "next_at", outcome->due);
    }
    if (outcome->maybe_duplicate) {
        json_bool(line, "possible_duplicate", true);
    }
    json_end(lines);
}

void lines_json_ctl(struct lines *lines, uint64_t seq, const struct row_head *head,
        const struct row_event *event, struct str address)
{
    static const char *const types[] = { [SPOOL_CTL_HOLD] = "held",
        [SPOOL_CTL_RELEASE] = "released",
        [SPOOL_CTL_CANCEL] = "cancelled",
        [SPOOL_CTL_BOUNCE] = "bounced",
        [SPOOL_CTL_FLUSH] = "flushed" };
    if (event->action == SPOOL_CTL_CLOSE) {
        return;
    }
    json_begin(lines, seq, event->at, types[event->action]);
    json_message(lines, head, address);
    json_str_if(&lines->line, "author", event->author);
    json_str_if(&lines->line, "text", event->reason);
    json_end(lines);
}

void lines_json_notified(struct lines *lines, uint64_t seq, const struct row_head *head,
        const struct row_event *event, struct str address)
{
    struct ulid ulid;
    char text[ULID_TEXT_LEN + 1];
    json_begin(lines, seq, event->at, "dsn");
    json_message(lines, head, address);
    if (event->dsn_id.len == sizeof ulid.byte) {
        memcpy(ulid.byte, event->dsn_id.ptr, sizeof ulid.byte);
        ulid_format(ulid, text);
        json_str(&lines->line, "dsn_id", str_of(text, ULID_TEXT_LEN));
    }
    json_end(lines);
}

void lines_json_refused(struct lines *lines, uint64_t seq, const struct spool_refusal *refusal)
{
    struct buf *line = &lines->line;
    json_begin(lines, seq, refusal->at, "rejected");
    json_str(line, "from", refusal->sender);
    json_str_if(line, "rcpt", refusal->recipient);
    json_u64(line, "code", refusal->code);
    json_str_if(line, "enh", refusal->enhanced);
    json_str_if(line, "text", refusal->text);
    json_str_if(line, "user", refusal->credential);
    json_str_if(line, "client_ip", refusal->client);
    json_str_if(line, "helo", refusal->helo);
    json_end(lines);
}
