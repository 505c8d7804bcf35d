/* SPDX-License-Identifier: Apache-2.0
 *
 * row_priv.h - one message's story as the bytes of its row: the envelope, then events in order.
 *
 * Appending an event never changes what is there, so a row is kept packed while it is worked on.
 * Strings that repeat (site, host, TLS words) are stored once and then named by number. Rows come
 * from a file and may be damaged: reading checks every bound and says so.
 */
#ifndef OUTPOST_HISTORY_ROW_PRIV_H
#define OUTPOST_HISTORY_ROW_PRIV_H

#include "core/buf.h"
#include "spool/spool.h"

enum {
    ROW_BYTES_MAX = 64 << 20,  /* 10,000 recipients of 320 bytes, each with 25 long attempts */
    ROW_TEXT_BYTES_MAX = 1024, /* of a reply's text; the rest is cut */
    ROW_DIALOGUE_BYTES_MAX = 2048,
    ROW_STRINGS_MAX = 96 /* that can be named by number */
};

enum row_event_kind {
    ROW_ATTEMPTED = 1, /* attempt */
    ROW_OUTCOME,       /* outcome */
    ROW_CTL,           /* ctl */
    ROW_NOTIFIED,      /* dsn */
    ROW_ELIDED,        /* attempts left out: count */
    ROW_EVENT_KIND_END
};

struct row_head {
    struct ulid ulid;
    struct wall accepted_at;
    uint32_t flags; /* enum spool_msg_flag */
    uint64_t content_bytes;
    struct str sender, stream, credential, tag, meta, message_id, client, helo;
    uint32_t rcpt_count;
    struct str rcpts; /* for row_rcpt_next */
};
/* rcpt and rcpt_count stand here, not in the member structs; count 0: all recipients. */
struct row_event {
    enum row_event_kind kind;
    struct wall at;
    const uint16_t *rcpt;
    uint32_t rcpt_count;
    uint32_t attempt_no;          /* ATTEMPTED, OUTCOME */
    struct spool_outcome outcome; /* OUTCOME: result, due, code, times, strings */
    enum spool_ctl_action action; /* CTL */
    struct str author, reason;    /* CTL */
    struct str dsn_id;            /* NOTIFIED: the report's ULID, 16 bytes, or empty */
    uint64_t count;               /* ELIDED */
};

/* ---- writing -------------------------------------------------------------------------------- */

struct row_string {
    uint32_t at, len;
};
struct row {
    struct buf bytes;
    int64_t last_at_ms;
    struct row_string string[ROW_STRINGS_MAX];
    uint32_t string_count;
};
void row_init(struct row *row);
void row_done(struct row *row);
void row_begin(struct row *row, const struct spool_envelope *envelope);
void row_begin_as(struct row *row, const struct row_head *head);
void row_add(struct row *row, const struct row_event *event); /* errors: buf_err(&row->bytes) */

/* ---- reading -------------------------------------------------------------------------------- */

struct row_reader {
    struct cur cur;
    const char *start;
    int64_t last_at_ms;
    uint32_t rcpt_max; /* recipients of the message */
    struct row_string string[ROW_STRINGS_MAX];
    uint32_t string_count;
    uint16_t *scratch; /* SPOOL_RCPT_COUNT_MAX numbers */
};
/* Views into bytes. E_CORRUPT. */
MUST_USE enum err row_read_head(
        struct row_reader *reader, struct str bytes, uint16_t *scratch, struct row_head *ret_head);
/* False at the end, or where the row is damaged: then reader->cur.bad. */
bool row_read_event(struct row_reader *reader, struct row_event *ret_event);
bool row_rcpt_next(struct cur *rcpts, struct str *ret_address);
/* Makes row continue after what reader has read to its end. E_NOMEM. */
MUST_USE enum err row_resume(struct row *row, const struct row_reader *reader, struct str bytes);

/* Variable-length numbers, seven bits a byte, low ones first. */
void add_varint(struct buf *dst, uint64_t v);
uint64_t cur_varint(struct cur *cur);
static inline uint64_t zigzag(int64_t v)
{
    return (uint64_t)v << 1 ^ (uint64_t)(v >> 63);
}
static inline int64_t unzigzag(uint64_t v)
{
    return (int64_t)(v >> 1 ^ (0 - (v & 1)));
}

#endif
