/* SPDX-License-Identifier: Apache-2.0
 *
 * history.h - what became of every message: the scribe, its store, and questions to it.
 *
 * The scribe reads the journal in order and stores its position in the same SQLite transaction as
 * the rows, so each event is there exactly once, whatever crashes. One packed row a message, its
 * recipients and attempts inside. One file a day; a message stays in the file of the day it was
 * accepted. Log lines are written from the same reading. Everything here can be rebuilt from the
 * journal as far back as that reaches.
 *
 * Mail never waits for it: a disk that fails or is full is tried again each second, a damaged file
 * is left and another begun beside it. The journal is kept meanwhile.
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
    struct str hostname; /* for log lines; copied */
    bool is_log_postfix, is_log_json;
    /* Finished lines without newline, in order; must not block for long. NULL: no log. */
    void (*line)(void *ctx, struct str line);
    void *line_ctx;
    uint32_t pid;
};

/* ---- the scribe: an owner ------------------------------------------------------------------- */

enum scribe_letter_kind { SCRIBE_GREW /* struct letter: the journal has more */ };
struct scribe_ports {
    void *ctx;
    void (*consumed)(void *ctx, uint64_t batch_seq); /* history is durable up to here */
};
struct scribe;
/* disk: the history's directory. view: the journal; the caller keeps it open. A disk that fails now
 * (E_IO, E_NO_SPACE) is no error: it is logged, and tried again. E_NOMEM, E_DENIED. */
MUST_USE enum err scribe_new(struct disk *disk, struct spool_view *view, struct clock *clock,
        const struct log *log, const struct history_conf *conf, const struct scribe_ports *ports,
        struct scribe **ret_scribe, struct why *why);
struct mailbox *scribe_mailbox(struct scribe *scribe);
/* Reads what is durable, writes rows and log lines; commits by size and time. Next deadline. */
struct mono scribe_turn(struct scribe *scribe, struct mono now);
bool scribe_is_caught_up(const struct scribe *scribe);
void scribe_free(struct scribe *scribe); /* commits first */

/* ---- questions, any thread, also without a node --------------------------------------------- */

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
/* Appends a JSON array of stories: "id", "msg_id" (the internal number, as decimal text),
 * "accepted", "sender", "stream", "credential", "tag", "meta" {}, "message_id", "client", "helo",
 * "bytes", "recipient_count", "is_report" (a DSN of our own), and "recipients" [ { "address",
 * "state", "possible_duplicate", "events" [ { "event", "at", ... } ] } ]. State: queued, held,
 * in_doubt, delivered, bounced, expired, cancelled, suppressed. By recipient, a message with more
 * than a hundred shows the wanted one only. E_NOT_FOUND: none. E_CORRUPT: none, but a damaged file
 * may have it. E_TOO_BIG: ret_json's maximum. After an error ret_json is as before. */
MUST_USE enum err history_find_json(struct history *history, const struct history_query *query,
        struct buf *ret_json, struct why *why);
/* The number of the message with this ULID. E_NOT_FOUND, E_CORRUPT as above. */
MUST_USE enum err history_find_msg_id(
        struct history *history, const struct ulid *ulid, uint64_t *ret_msg_id, struct why *why);
/* The last word on a recipient that is open: why it waits, is held or failed. */
struct history_word {
    uint64_t msg_id;
    uint16_t rcpt;
    enum spool_ctl_action
            action; /* an operator's, with author and reason (text); 0: an attempt's */
    uint16_t code;
    struct str enhanced, text, remote_host, author;
};
/* Calls each, for this call only, with what is known of these messages; in no order. Files and rows
 * that are damaged are passed over. E_IO, E_NOMEM: some were told, perhaps. */
MUST_USE enum err history_words(struct history *history, const uint64_t *msg_id, uint32_t count,
        void (*each)(void *ctx, const struct history_word *word), void *ctx, struct why *why);
/* Where a look for what the files do not have yet begins: they have every record of the journal
 * before. All-zero: not known, begin with the oldest. */
MUST_USE enum err history_position(
        struct history *history, struct spool_position *ret_position, struct why *why);
/* Refusals at the door, newest first, as a JSON array. */
MUST_USE enum err history_refusals_json(
        struct history *history, uint32_t count_max, struct buf *ret_json, struct why *why);

/* Of all files, kept beside the rows in the same transactions; for `outpost audit`. Bounced and
 * expired recipients are open until their report was accepted or given up, as the spool counts
 * them. */
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
