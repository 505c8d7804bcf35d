/* SPDX-License-Identifier: Apache-2.0
 *
 * lines_priv.h - log lines for people's tools: shaped as Postfix's, and as JSON.
 */
#ifndef OUTPOST_HISTORY_LINES_PRIV_H
#define OUTPOST_HISTORY_LINES_PRIV_H

#include "core/ulid.h"
#include "history/history.h"
#include "history/story_priv.h"

struct lines {
    const struct history_conf *conf;
    char host[256];  /* the configuration may go before us */
    struct buf line; /* reused */
    int64_t second;  /* of stamp */
    char stamp[32];  /* "2026-11-25T13:07:09" */
    char tail[200];  /* " mail postfix/" … "[pid]: ", made once */
    char pid[16];
    char id[ULID_TEXT_LEN + 1];
    bool is_in_set[SPOOL_RCPT_COUNT_MAX];
};
void lines_init(struct lines *lines, const struct history_conf *conf);
void lines_done(struct lines *lines);

/* seq is the record's: it grows, and stays the same when a line is written twice after a crash. */
void lines_accepted(struct lines *lines, uint64_t seq, const struct story *story);
void lines_event(struct lines *lines, uint64_t seq, const struct story *story,
        const struct row_event *event, bool was_open);
void lines_refused(struct lines *lines, uint64_t seq, const struct spool_refusal *refusal);

/* ---- between lines.c and lines_json.c -------------------------------------------------------- */

void lines_emit(struct lines *lines); /* hands lines->line on, and empties it */
void lines_json_accepted(struct lines *lines, uint64_t seq, const struct row_head *head);
void lines_json_outcome(struct lines *lines, uint64_t seq, const struct row_head *head,
        const struct row_event *event, struct str address);
void lines_json_ctl(struct lines *lines, uint64_t seq, const struct row_head *head,
        const struct row_event *event, struct str address);
void lines_json_notified(struct lines *lines, uint64_t seq, const struct row_head *head,
        const struct row_event *event, struct str address);
void lines_json_refused(struct lines *lines, uint64_t seq, const struct spool_refusal *refusal);
static inline uint64_t lines_ms_since(struct wall then, struct wall now)
{
    return now.ms > then.ms ? (uint64_t)(now.ms - then.ms) : 0;
}

#endif
