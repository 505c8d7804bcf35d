/* SPDX-License-Identifier: Apache-2.0
 *
 * spool.h - messages at rest: taken once, kept until every recipient has an outcome.
 *
 * One append-only journal in fixed segments (docs/spool.md has the format). Messages and what
 * became of their recipients are records in it; a batch of records is one write, and one sync
 * serves all who wait. What was reported durable survives power loss; what was refused never
 * returns. The spool keeps a small index of open recipients; it knows no SMTP, no domains and no
 * retry times (queue/queue.h does), only carries them.
 *
 * Three faces: struct spool (one owner, the keeper's thread; blocking disk calls), struct
 * spool_view (reading bodies and records, any thread), and the keeper itself, the owner that
 * serves letters with a spool.
 */
#ifndef OUTPOST_SPOOL_H
#define OUTPOST_SPOOL_H

#include "core/blob.h"
#include "core/buf.h"
#include "core/log.h"
#include "core/mailbox.h"
#include "edge/clock.h"
#include "edge/disk.h"
#include "edge/entropy.h"

enum {
    SPOOL_RCPT_COUNT_MAX = 10000,
    SPOOL_ENVELOPE_BYTES_MAX = 4 << 20,
    SPOOL_INLINE_BYTES_MAX = 1 << 20, /* content up to here goes in one batch with its ACCEPT */
    SPOOL_CONTENT_BYTES_MAX = 256 << 20,
    SPOOL_BATCH_BYTES_MAX = 8 << 20,
    SPOOL_EXTENT_COUNT_MAX = 1024,
    SPOOL_SLOT_BYTES_MIN = 32 << 10,
    SPOOL_SLOT_BYTES_MAX = 128 << 20
};

/* ---- what is kept of a message ------------------------------------------------------------- */

enum spool_msg_flag {
    SPOOL_MSG_8BIT = 1,      /* content has bytes over 127 */
    SPOOL_MSG_BODY_HASH = 2, /* body_hash is set */
    SPOOL_MSG_DSN = 4,       /* a report of our own: exempt from rate and key rules */
    SPOOL_MSG_SIGN = 8       /* must not leave unsigned */
};

/* The envelope as views; encoded form is what travels and is stored. Strings may be empty. */
struct spool_envelope {
    struct ulid ulid;
    struct wall accepted_at;
    uint32_t flags;        /* enum spool_msg_flag */
    uint32_t header_bytes; /* of content, up to and with the empty line */
    uint64_t content_bytes;
    uint8_t body_hash[32]; /* SHA-256 of the relaxed body, RFC 6376 3.4.4 */
    struct str sender;     /* reverse-path without <>; empty: null */
    struct str stream;
    struct str credential;
    struct str tag;
    struct str meta;        /* lines "key=value\n" */
    struct str message_id;  /* with <> */
    struct str from_domain; /* of the From field, A-label, lower case: chooses the DKIM key */
    struct str client;      /* "192.0.2.1" or "local" */
    struct str helo;
    struct str subject_hint; /* first bytes of Subject as sent, for lists; at most 100 bytes */
    uint32_t rcpt_count;
    struct str rcpts; /* encoded addresses, see spool_rcpt_next */
};
/* Appends the encoding to dst. rcpts: use spool_rcpt_add to build it. */
void spool_envelope_encode(struct buf *dst, const struct spool_envelope *envelope);
MUST_USE enum err spool_envelope_decode(struct str bytes, struct spool_envelope *ret_envelope);
void spool_rcpt_add(struct buf *dst, struct str address);
/* for (struct cur cur = { envelope.rcpts }; spool_rcpt_next(&cur, &address);) in order 0, 1, ... */
bool spool_rcpt_next(struct cur *cur, struct str *ret_address);

/* Where a message lies. Changes when compaction moves it (see SPOOL_MOVED). */
struct spool_where {
    uint32_t slot;
    uint32_t batch_page; /* batch header at this × 4096 in the slot */
    uint32_t record_at;  /* ACCEPT record, from the start of the batch's payload */
};
/* The same in 6 bytes, for those who remember millions. False: no such place can be. */
struct spool_place {
    uint16_t bits[3];
};
MUST_USE bool spool_where_pack(const struct spool_where *where, struct spool_place *ret_place);
struct spool_where spool_place_where(struct spool_place place);

/* ---- what becomes of recipients ------------------------------------------------------------ */

/* Durable states; the scheduler refines QUEUED. Order is the order of progress: replay never goes
 * back from a closed state. docs/spool.md has the table of transitions. */
enum spool_state {
    SPOOL_QUEUED,
    SPOOL_ATTEMPTING, /* an ATTEMPT without OUTCOME: at recovery becomes IN_DOUBT */
    SPOOL_IN_DOUBT,
    SPOOL_HELD,
    SPOOL_FAILED, /* bounced or expired, DSN undecided */
    SPOOL_DELIVERED,
    SPOOL_NOTIFIED, /* failed, and a DSN was accepted */
    SPOOL_CLOSED,   /* failed, no DSN wanted */
    SPOOL_CANCELLED,
    SPOOL_SUPPRESSED,
    SPOOL_STATE_COUNT
};
const char *spool_state_name(enum spool_state state);
static inline bool spool_state_is_open(enum spool_state state)
{
    return state <= SPOOL_FAILED;
}

/* How an attempt ended for a recipient. */
enum spool_result {
    SPOOL_RESULT_DELIVERED,
    SPOOL_RESULT_DEFERRED,
    SPOOL_RESULT_IN_DOUBT,
    SPOOL_RESULT_BOUNCED,
    SPOOL_RESULT_EXPIRED, /* gave up by time */
    SPOOL_RESULT_HELD,    /* by policy: in doubt with hold, damaged body, crash loop */
    SPOOL_RESULT_COUNT
};

enum spool_record_type {
    SPOOL_ACCEPT = 1,
    SPOOL_BODY,
    SPOOL_ATTEMPT,
    SPOOL_OUTCOME,
    SPOOL_DSN,      /* links a DSN message to the recipients it speaks for */
    SPOOL_CTL,      /* an operator's action */
    SPOOL_SUPPRESS, /* reserved for the feedback room */
    SPOOL_MOVE,
    SPOOL_MARK,
    SPOOL_SEAL,
    SPOOL_REFUSED /* an event of the door: nothing was kept (flag 0x80, may be skipped) */
};

/* rcpt: numbers in the message, count at most SPOOL_RCPT_COUNT_MAX. */
struct spool_attempt {
    uint64_t msg_id;
    const uint16_t *rcpt;
    uint32_t rcpt_count;
    uint32_t attempt_no; /* from 1 */
    struct wall at;
};
struct spool_outcome {
    uint64_t msg_id;
    const uint16_t *rcpt;
    uint32_t rcpt_count;
    uint32_t attempt_no;
    enum spool_result result;
    struct wall at;
    struct wall due;     /* DEFERRED, IN_DOUBT: next try; else 0 */
    uint16_t code;       /* SMTP reply code, 0: none */
    struct str enhanced; /* "5.1.1" */
    struct str text;     /* reply text or what happened, in words */
    struct str site, source, remote_host;
    struct str remote_ip; /* "192.0.2.1" with ":port" where it is not 25 */
    struct str tls;       /* "TLSv1.3 TLS_AES_256_GCM_SHA384 256 verified", or "" */
    uint32_t queued_ms, connect_ms, transfer_ms; /* our wait, connect to ready, the receiver's */
    bool maybe_duplicate;                        /* an earlier attempt ended in doubt */
    struct str dialogue; /* of failures, size-capped: lines "C: " and "S: " */
};
enum spool_ctl_action {
    SPOOL_CTL_HOLD = 1,
    SPOOL_CTL_RELEASE,
    SPOOL_CTL_CANCEL,
    SPOOL_CTL_BOUNCE,
    SPOOL_CTL_FLUSH,
    SPOOL_CTL_CLOSE /* FAILED → CLOSED: no DSN wanted */
};
struct spool_ctl {
    uint64_t msg_id;
    const uint16_t *rcpt;
    uint32_t rcpt_count;
    enum spool_ctl_action action;
    struct wall at;
    struct str author, reason;
};
struct spool_dsn_link {
    uint64_t msg_id; /* the message spoken of */
    const uint16_t *rcpt;
    uint32_t rcpt_count;
};
struct spool_refusal { /* a message or recipient not let in; for the history only */
    struct wall at;
    struct str client, helo, credential, sender, recipient;
    uint16_t code;
    struct str enhanced, text;
};

/* Record payloads ⇄ structs. Decoding gives views into the bytes; rcpt points into scratch, which
 * must hold SPOOL_RCPT_COUNT_MAX numbers and outlive the struct. */
void spool_attempt_encode(struct buf *dst, const struct spool_attempt *attempt);
void spool_outcome_encode(struct buf *dst, const struct spool_outcome *outcome);
void spool_ctl_encode(struct buf *dst, const struct spool_ctl *ctl);
void spool_dsn_encode(struct buf *dst, const struct spool_dsn_link *link, uint64_t dsn_msg_id);
void spool_refusal_encode(struct buf *dst, const struct spool_refusal *refusal);
MUST_USE enum err spool_attempt_decode(
        struct str bytes, uint16_t *scratch, struct spool_attempt *ret);
MUST_USE enum err spool_outcome_decode(
        struct str bytes, uint16_t *scratch, struct spool_outcome *ret);
MUST_USE enum err spool_ctl_decode(struct str bytes, uint16_t *scratch, struct spool_ctl *ret);
MUST_USE enum err spool_dsn_decode(
        struct str bytes, uint16_t *scratch, struct spool_dsn_link *ret, uint64_t *ret_dsn_msg_id);
MUST_USE enum err spool_refusal_decode(struct str bytes, struct spool_refusal *ret);

/* ---- the spool, for its one owner ---------------------------------------------------------- */

struct spool;
struct spool_conf {
    uint64_t slot_bytes;       /* used when the spool is created; a field of it from then on */
    uint32_t spare_slots;      /* zero-filled free slots kept ready; at least 4 */
    bool is_any_fs;            /* sandbox: network and memory file systems with a warning */
    bool is_adopting;          /* take a spool of another host (`outpost spool adopt`) */
    uint64_t host_id;          /* hash of the machine's id; 0: not known, not compared */
    uint64_t checkpoint_bytes; /* a checkpoint each so much journal … */
    uint64_t checkpoint_ms;    /* … or so much time */
};
/* One open message as recovery or MOVE found it. */
struct spool_open_msg {
    uint64_t msg_id;
    struct spool_where where;
    struct wall accepted_at;
    uint32_t rcpt_count;
    uint32_t open_count;
};
struct spool_open_rcpt {
    uint16_t rcpt;
    enum spool_state state; /* open ones only; ATTEMPTING was made IN_DOUBT */
    uint16_t tries;
    bool maybe_duplicate;
    struct wall due;
};

/* Opens the spool in disk, makes it where there is none, and settles what a crash left behind.
 * E_BUSY: another node holds it. E_UNSUPPORTED: format, file system or foreign host (why says the
 * way out). E_CORRUPT is never returned for a plain crash; acknowledged data found damaged is
 * reported in the log and spool_stats, and the rest is served. */
MUST_USE enum err spool_open(struct disk *disk, struct clock *clock, struct entropy *entropy,
        const struct log *log, const struct spool_conf *conf, struct spool **ret_spool,
        struct why *why);
void spool_close(struct spool *spool); /* syncs what is written; NULL is fine */

/* After open, once: every open message with its open recipients, then the caller schedules them. */
void spool_each_open(struct spool *spool,
        void (*each)(void *ctx, const struct spool_open_msg *msg,
                const struct spool_open_rcpt *rcpts, uint32_t rcpt_count),
        void *ctx);

/* Where streamed content lies: chunks at most SPOOL_INLINE_BYTES_MAX, each in a batch of its own.
 */
struct spool_extent {
    uint32_t slot;
    uint32_t batch_page;
    uint32_t len_bytes;
};
struct spool_body {
    struct spool_extent *extent;
    uint32_t extent_count;
    uint32_t crc32c; /* over the whole content */
};

/* The open batch. Content at most SPOOL_INLINE_BYTES_MAX rides along by reference (blob is taken);
 * larger content was stored before by spool_batch_body. msg_id is fixed here and void if the batch
 * fails. E_TOO_BIG: over a limit. E_FULL: the batch is full, write it first. E_NO_SPACE: reserve
 * reached (not for DSNs' links, attempts, outcomes, ctl). E_IO: the disk fails, or the body was
 * lost with a failed sync; nothing was written. E_SYNTAX: the envelope does not decode. After an
 * error the batch is as before. */
MUST_USE enum err spool_batch_accept(struct spool *spool, struct blob *envelope,
        struct blob *content, const struct spool_body *body, uint64_t *ret_msg_id);
MUST_USE enum err spool_batch_record(
        struct spool *spool, enum spool_record_type type, uint64_t msg_id, struct str payload);
bool spool_batch_is_empty(const struct spool *spool);

MUST_USE enum err spool_batch_body(
        struct spool *spool, struct blob *chunk, uint32_t *ret_extent_ticket);
/* After spool_write: where the chunk of that ticket lies. Its slot is pinned until the message that
 * names it is accepted and closed, or spool_body_drop. */
struct spool_extent spool_body_extent(struct spool *spool, uint32_t ticket);
void spool_body_drop(struct spool *spool, const struct spool_body *body);

/* Writes the open batch (survives kill -9). OK also when it was empty. */
MUST_USE enum err spool_write(struct spool *spool);
/* Syncs all that was written: from OK on it is durable, and the index shows it. On failure the
 * segment is poisoned, everything since the last good sync is void, records other than ACCEPT and
 * BODY are written again into a fresh slot and synced: then E_IO with *ret_is_void = true (answer
 * 451), or false (answer nothing; close). */
MUST_USE enum err spool_sync(struct spool *spool, bool *ret_is_void);
bool spool_has_unsynced(const struct spool *spool);

/* Housekeeping a step at a time: MARK when idle, checkpoint, compaction, spare slots. Returns the
 * next time it wants to be called. */
struct mono spool_tick(struct spool *spool, struct mono now);
/* The history has taken every record up to this batch and needs them no more: without this call no
 * slot is ever used again. The consumer keeps its position itself and tells it after each start. */
void spool_consumed(struct spool *spool, uint64_t batch_seq);

/* Where an open message lies now. E_NOT_FOUND: not open. */
MUST_USE enum err spool_find(struct spool *spool, uint64_t msg_id, struct spool_where *ret_where);

struct spool_stats {
    uint64_t accepted_msgs, accepted_rcpts; /* since the spool was made */
    uint64_t open_msgs, open_rcpts;
    uint64_t closed_rcpts[SPOOL_STATE_COUNT]; /* by terminal state, since the spool was made */
    uint64_t state_rcpts[SPOOL_STATE_COUNT];  /* open ones by state, now */
    uint64_t syncs, batches, written_bytes;
    uint32_t slots, free_slots, poisoned_slots, damaged_ranges;
    uint64_t durable_upto;
    bool is_refusing; /* below the reserve, or the disk fails */
};
void spool_get_stats(const struct spool *spool, struct spool_stats *ret_stats);

/* ---- reading, any thread ------------------------------------------------------------------- */

struct spool_view; /* shares nothing with the owner but the disk and one atomic position */
MUST_USE enum err spool_view_open(struct disk *disk, struct spool_view **ret_view, struct why *why);
/* As above, told of progress by the living spool instead of reading it from the disk. */
MUST_USE enum err spool_view_of(
        struct spool *spool, struct disk *disk, struct spool_view **ret_view);
void spool_view_close(struct spool_view *view);

/* Envelope and content of a message, CRC-checked. Either output may be NULL. E_CORRUPT: not there
 * (moved meanwhile: ask the keeper where, then again) or damaged. E_IO. E_NOMEM: budget. */
MUST_USE enum err spool_view_message(struct spool_view *view, const struct spool_where *where,
        uint64_t msg_id, struct blob_budget *budget, struct blob **ret_envelope,
        struct blob **ret_content, struct why *why);
/* Only the first max_bytes of content (headers). */
MUST_USE enum err spool_view_head(struct spool_view *view, const struct spool_where *where,
        uint64_t msg_id, size_t max_bytes, struct buf *ret_head, struct why *why);

/* Envelopes of many messages, best in the order of spool_each_open: neighbours are read together.
 * One thread; *ret_envelope holds until the next call. Errors as of spool_view_message. */
struct spool_reader;
MUST_USE enum err spool_reader_new(struct spool_view *view, struct spool_reader **ret_reader);
MUST_USE enum err spool_reader_envelope(struct spool_reader *reader,
        const struct spool_where *where, uint64_t msg_id, struct spool_envelope *ret_envelope,
        struct why *why);
void spool_reader_free(struct spool_reader *reader); /* before the view; NULL is fine */

/* The journal in order, durable records only. All-zero position: from the oldest kept. */
struct spool_position {
    uint64_t batch_seq;
    uint32_t index; /* of the next record in that batch */
    uint32_t slot;  /* hint where that batch lies */
    uint64_t offset;
};
struct spool_record {
    struct spool_position at;   /* of this record */
    struct spool_position next; /* store this after taking it */
    enum spool_record_type type;
    uint64_t msg_id;
    struct spool_where where; /* ACCEPT */
    struct str payload;       /* valid until the next call. ACCEPT: the encoded envelope; MOVE,
                                 BODY: empty; else as encoded above */
};
/* E_EOF: nothing more yet. E_CORRUPT: records before `next` are gone or damaged; *ret_record has
 * next to go on with. MOVE comes as its own type and repeats nothing. */
MUST_USE enum err spool_view_next(
        struct spool_view *view, const struct spool_position *at, struct spool_record *ret_record);

/* ---- offline: `outpost spool check` -------------------------------------------------------- */

struct spool_check {
    uint64_t slots, batches, records, messages_open, rcpts_open, torn_tail_bytes;
    uint64_t damages; /* acknowledged data that cannot be read */
};
/* Read-only. say gets one line a finding. Returns OK (clean), E_EOF (torn tail only), E_CORRUPT
 * (damage), or why it could not look. salvage_dir not NULL: messages are written there. */
MUST_USE enum err spool_check_run(struct disk *disk, bool is_deep, struct disk *salvage,
        void (*say)(void *ctx, struct str line), void *ctx, struct spool_check *ret_check,
        struct why *why);

/* ---- the keeper: an owner that serves letters with a spool ---------------------------------- */

enum keeper_letter_kind {
    KEEPER_ACCEPT,   /* struct keeper_accept */
    KEEPER_BODY,     /* struct keeper_body: a chunk of streamed content */
    KEEPER_DROP,     /* struct keeper_body: streamed content that will not be accepted */
    KEEPER_RECORD,   /* struct keeper_record */
    KEEPER_SYNC,     /* struct keeper_record, empty: answered once all before it is durable */
    KEEPER_FIND,     /* struct keeper_find */
    KEEPER_CONSUMED, /* struct keeper_consumed */
    KEEPER_STATS     /* struct keeper_stats_ask */
};
/* Every ask carries the box its answer goes to; the answer is the same letter, sent back with
 * `kind` set to reply_kind (the asker's own numbering), so that nothing is allocated for it. */
struct keeper_reply {
    struct mailbox *box; /* NULL: no answer wanted, the keeper frees the letter */
    uint32_t kind;
    void *ctx; /* the asker's */
    uint64_t ctx_id;
};
struct keeper_accept {
    struct letter letter;
    struct keeper_reply reply;
    struct blob *envelope; /* encoded; given with the letter; back with the answer */
    struct blob *content;  /* or NULL where body is set */
    struct spool_body body;
    struct spool_dsn_link *link; /* a DSN: what it speaks for; mem_new, freed with the letter */
    uint32_t link_count;         /* (each link's rcpt too) */
    struct mono asked_at;        /* when the client began to wait; 0: when the keeper takes it */
    /* answer: */
    enum err err; /* OK; E_NO_SPACE (452); E_IO void (451); E_CLOSED: say nothing, close */
    uint64_t msg_id;
    struct spool_where where;
};
struct keeper_body {
    struct letter letter;
    struct keeper_reply reply;
    struct blob *chunk;
    struct spool_body body; /* DROP */
    enum err err;
    struct spool_extent extent;
};
enum keeper_wish { KEEPER_WANTS_NOTHING, KEEPER_WANTS_WRITTEN, KEEPER_WANTS_DURABLE };
struct keeper_record {
    struct letter letter;
    struct keeper_reply reply;
    enum keeper_wish wish;
    enum spool_record_type type;
    uint64_t msg_id;
    uint32_t payload_len;
    enum err err; /* answer */
    char payload[];
};
struct keeper_find {
    struct letter letter;
    struct keeper_reply reply;
    uint64_t msg_id;
    enum err err;
    struct spool_where where;
};
struct keeper_consumed {
    struct letter letter;
    uint64_t batch_seq;
};
struct keeper_stats_ask {
    struct letter letter;
    struct keeper_reply reply;
    struct spool_stats stats;
};
/* A new record letter with its payload copied; NULL: no memory. */
MUST_USE struct keeper_record *keeper_record_new(
        enum spool_record_type type, uint64_t msg_id, struct str payload);
void keeper_accept_free(struct keeper_accept *accept); /* with blobs, links, extents */

/* What the keeper tells others, through ports that the node connects. Called on the keeper's
 * thread, once a turn's work is durable. */
struct keeper_ports {
    void *ctx;
    /* A message is durable; envelope and content are one more reference each, the callee's to give
     * back (content NULL where it was streamed). */
    void (*accepted)(void *ctx, uint64_t msg_id, const struct spool_where *where,
            struct blob *envelope, struct blob *content);
    void (*moved)(void *ctx, uint64_t msg_id, const struct spool_where *where);
    void (*journal_grew)(void *ctx); /* durable records are there for the history */
    /* The link of a DSN is durable: these recipients are NOTIFIED. */
    void (*notified)(void *ctx, const struct spool_dsn_link *link);
};
enum { KEEPER_SYNC_DELAY_MS = 50, KEEPER_ACCEPT_WAIT_MAX_MS = 120000 };
struct keeper;
MUST_USE enum err keeper_new(struct spool *spool, struct clock *clock, const struct log *log,
        const struct keeper_ports *ports, struct keeper **ret_keeper);
/* Where letters go; wake is set by the node before the first letter. */
struct mailbox *keeper_mailbox(struct keeper *keeper);
/* Handles all letters that are there: one write, one sync where somebody waits, answers. Returns
 * the next deadline (0: none). */
struct mono keeper_turn(struct keeper *keeper, struct mono now);
/* All it has taken is durable: no record waits for memory or for a sync. */
bool keeper_is_idle(const struct keeper *keeper);
void keeper_free(struct keeper *keeper); /* the spool stays the caller's */

#endif
