/* SPDX-License-Identifier: Apache-2.0
 *
 * history.h - what became of every message: the scribe, its store, and questions to it.
 *
 * The scribe reads the journal in order and stores its position in the same SQLite transaction as
 * the rows, so each event is there exactly once, whatever crashes. One packed row a message, its
 * recipients and attempts inside. One file a day; a message stays in the file of the day it was
 * accepted. Log lines are written from the same reading. Everything here can be rebuilt from the
 * journal as far back as that reaches.
 */
#ifndef OUTPOST_HISTORY_H
#define OUTPOST_HISTORY_H

#include "core/buf.h"
#include "core/log.h"
#include "core/mailbox.h"
#include "edge/clock.h"
#include "edge/disk.h"
#include "spool/spool.h"

struct history_conf {
    uint32_t days;       /* files older than this are removed */
    uint64_t bytes_max;  /* oldest files go beyond this */
    struct str hostname; /* for log lines */
    bool is_log_postfix, is_log_json;
    /* Finished lines without newline, in order; must not block for long. NULL: no log. */
    void (*line)(void *ctx, struct str line);
    void *line_ctx;
    uint32_t pid;
};

/* ---- the scribe: an owner ------------------------------------------------------------------ */

enum scribe_letter_kind { SCRIBE_GREW /* struct letter: the journal has more */ };
struct scribe_ports {
    void *ctx;
    void (*consumed)(void *ctx, uint64_t batch_seq); /* history is durable up to here */
};
struct scribe;
/* disk: the history's directory. view: the journal; the caller keeps it open. */
MUST_USE enum err scribe_new(struct disk *disk, struct spool_view *view, struct clock *clock,
        const struct log *log, const struct history_conf *conf, const struct scribe_ports *ports,
        struct scribe **ret_scribe, struct why *why);
struct mailbox *scribe_mailbox(struct scribe *scribe);
/* Reads what is durable, writes rows and log lines; commits by size and time. Next deadline. */
struct mono scribe_turn(struct scribe *scribe, struct mono now);
bool scribe_is_caught_up(const struct scribe *scribe);
void scribe_free(struct scribe *scribe); /* commits first */

/* ---- questions, any thread, also without a node -----------------------------------------------
 */

struct history; /* read-only connections to the day files */
/* disk: the directory of the files, through which SQLite reads too. */
MUST_USE enum err history_open(struct disk *disk, struct history **ret_history, struct why *why);
void history_close(struct history *history);

enum history_key { HISTORY_BY_ID, HISTORY_BY_TAG, HISTORY_BY_RECIPIENT, HISTORY_BY_MESSAGE_ID };
struct history_query {
    enum history_key by;
    struct str value;   /* ULID text, tag, address, Message-ID with or without <> */
    uint32_t count_max; /* newest first */
};
/* One story as JSON (object with message fields, "recipients": [ { "address", "state",
 * "events": [ ... ] } ]), names as DESIGN 10. Appends an array. E_NOT_FOUND: none. */
MUST_USE enum err history_find_json(struct history *history, const struct history_query *query,
        struct buf *ret_json, struct why *why);
/* Refusals at the door, newest first, as a JSON array. */
MUST_USE enum err history_refusals_json(
        struct history *history, uint32_t count_max, struct buf *ret_json, struct why *why);

/* Counted from the rows, for `outpost audit` and `outpost stats`. */
struct history_totals {
    uint64_t msgs, rcpts;
    uint64_t open, delivered, bounced, expired, cancelled, suppressed;
    uint64_t attempts, refused;
    struct spool_position upto;
};
MUST_USE enum err history_count(
        struct history *history, struct history_totals *ret_totals, struct why *why);

/* The story for people, from history_find_json's output: a timeline with the cause in words. */
MUST_USE enum err history_story_text(struct str json, bool is_coloured, struct buf *ret_text);

#endif
