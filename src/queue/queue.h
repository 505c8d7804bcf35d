/* SPDX-License-Identifier: Apache-2.0
 *
 * queue.h - the scheduler: who may go next, when, and what becomes of those who could not.
 *
 * It holds every open recipient in memory in about a hundred bytes, without strings but interned
 * domains; addresses are read from the journal when due. Recipients wait in lanes (stream × site ×
 * source). It decides; it touches neither net nor disk: jobs go out through ports, results come
 * back as letters. Durable changes are records it sends to the keeper.
 */
#ifndef OUTPOST_QUEUE_H
#define OUTPOST_QUEUE_H

#include "config/config.h"
#include "core/arena.h"
#include "core/blob.h"
#include "core/mailbox.h"
#include "core/prng.h"
#include "spool/spool.h"

/* ---- sites: found by `deliver`, carried by reference ---------------------------------------- */

struct site_host {
    struct str name; /* host name, A-label, or the literal */
    struct ip_port *address;
    uint32_t address_count;
    uint16_t preference;
};
/* Immutable and counted. The same MX set gives the same key, however many domains share it. */
struct site {
    _Atomic uint32_t refs;
    struct str key;         /* sorted host names, or "route:NAME" */
    struct site_host *host; /* in the order to try; equal preferences are shuffled per attempt */
    uint32_t host_count;
    enum config_dest_tls tls;
    bool is_routed;                /* named by a route: internal addresses are allowed */
    struct str username, password; /* AUTH at a smarthost */
    struct arena *arena;
};
struct site *site_take(struct site *site);
void site_give(struct site *site);

/* ---- the job: one transaction's worth, from scheduler to delivery ------------------------------
 */

struct queue_job {
    struct letter letter;
    uint64_t job_id;
    uint64_t msg_id;
    struct ulid ulid;
    struct site *site;        /* counted */
    uint32_t lane_id;         /* a running number, never another lane's while the node lives */
    uint32_t source;          /* index in config.source, UINT32_MAX: none configured */
    struct config *config;    /* counted: the snapshot the job was made under */
    struct blob *envelope;    /* counted */
    struct blob *content;     /* counted */
    struct blob *signature;   /* counted; header fields to put in front; NULL: none */
    uint32_t attempt_no;      /* for all recipients of the job: one more than any of them had */
    struct mono queued_since; /* for the wait in the story */
    bool maybe_duplicate;
    uint32_t rcpt_count;
    uint16_t *rcpt; /* numbers in the message; mem_new, freed with the job */
};
void queue_job_free(struct queue_job *job);

/* What came of one recipient, or of several with the same fate. */
struct queue_result {
    struct letter letter;
    uint64_t job_id;
    uint32_t lane_id;
    bool is_last; /* nothing more comes for this job */
    enum queue_scope { QUEUE_RCPT, QUEUE_MESSAGE, QUEUE_SESSION } scope;
    /* SESSION: about us or the host (connect failed, banner 5xx): never bounces, counts against
       the lane, which backs off as a whole */
    enum spool_result result; /* DELIVERED, DEFERRED, IN_DOUBT, BOUNCED */
    bool is_untried;          /* handed back without an attempt (shutdown): not counted as a try */
    struct spool_outcome outcome; /* all but msg_id, rcpt, due, attempt_no; strings live in arena */
    struct arena arena;
    uint16_t *rcpt; /* mem_new; outcome.rcpt_count of them, 0 is fine with is_last */
};
void queue_result_free(struct queue_result *result);

/* ---- letters in ------------------------------------------------------------------------------ */

enum queue_letter_kind {
    QUEUE_ACCEPTED,   /* struct queue_accepted */
    QUEUE_RESULT,     /* struct queue_result */
    QUEUE_SITE,       /* struct queue_site: the answer to ports.want_site */
    QUEUE_PREPARED,   /* struct queue_prepare, back: the answer to ports.prepare */
    QUEUE_MOVED,      /* struct queue_moved */
    QUEUE_NOTIFIED,   /* struct queue_notified */
    QUEUE_DSN_FAILED, /* struct queue_dsn, back: nothing was kept of it, it is tried again later */
    QUEUE_RECALL,     /* struct queue_recall */
    QUEUE_ASK,        /* struct queue_ask: list, explain, actions, stats */
    QUEUE_CONFIG,     /* struct queue_config: a new snapshot */
    QUEUE_STOP        /* struct letter: start nothing more */
};
struct queue_accepted {
    struct letter letter;
    uint64_t msg_id;
    struct spool_where where;
    struct blob *envelope, *content; /* counted; content may be NULL */
};
enum queue_site_status {
    QUEUE_SITE_FOUND,
    QUEUE_SITE_DEFER, /* DNS trouble: try again; code and text say why */
    QUEUE_SITE_BOUNCE /* no such domain, null MX: final */
};
struct queue_site {
    struct letter letter;
    uint32_t domain_id;
    enum queue_site_status status;
    struct site *site; /* counted; FOUND */
    struct mono until; /* ask again after */
    char enhanced[12];
    char text[200];
};
/* Content, envelope and signature of a message, read and signed on a worker. */
struct queue_prepare {
    struct letter letter; /* for the worker's box */
    uint64_t msg_id;
    struct spool_where where;
    struct config *config;           /* counted */
    struct blob *envelope, *content; /* what is in memory already, or NULL: read it */
    uint64_t content_bytes;
    bool wants_signature;
    /* answer, as QUEUE_PREPARED: */
    enum err err; /* E_CORRUPT: moved or damaged; E_NOT_FOUND: key gone (defer, alert) */
    struct why why;
    struct blob *signature;
};
struct queue_moved {
    struct letter letter;
    uint64_t msg_id;
    struct spool_where where;
};
struct queue_notified {
    struct letter letter;
    uint64_t msg_id;
    uint32_t rcpt_count;
    uint16_t rcpt[];
};
/* Why restored recipients wait, are held or failed; who has a newer reason keeps it. */
struct queue_recall {
    struct letter letter;
    struct queue_word {
        uint64_t msg_id;
        uint16_t rcpt;
        enum spool_ctl_action action; /* HOLD, BOUNCE: author and text are the operator's; or 0 */
        uint16_t code;
        struct str enhanced, text, remote_host, author; /* in arena */
    } * word;                                           /* in arena */
    uint32_t word_count;
    struct arena arena;
};
void queue_recall_free(struct queue_recall *recall);
struct queue_config {
    struct letter letter;
    struct config *config; /* counted */
};

/* A DSN to be composed (on a worker) and taken through the door. The answer is QUEUE_NOTIFIED once
 * its link is durable, or the same letter as QUEUE_DSN_FAILED where surely nothing was kept. */
struct queue_dsn {
    struct letter letter;
    uint64_t msg_id;
    struct spool_where where;
    struct config *config; /* counted */
    uint32_t rcpt_count;
    struct queue_dsn_rcpt {
        uint16_t rcpt;
        bool is_expired;
        struct wall last_attempt; /* 0: not known */
        /* In arena; empty where a restart came between failure and report. text of a reply begins
         * with its three digits. */
        struct str enhanced, text, remote_host;
    } * rcpt; /* in arena */
    struct arena arena;
};
void queue_dsn_free(struct queue_dsn *dsn);

/* ---- questions and actions (control socket, command line) --------------------------------------
 */

enum { QUEUE_VIEW_COUNT_MAX = 10000 };
enum queue_ask_kind { QUEUE_ASK_LIST, QUEUE_ASK_EXPLAIN, QUEUE_ASK_ACT, QUEUE_ASK_STATS };
enum queue_view_state {
    QUEUE_VIEW_QUEUED,
    QUEUE_VIEW_ACTIVE,
    QUEUE_VIEW_HELD,
    QUEUE_VIEW_IN_DOUBT,
    QUEUE_VIEW_FAILED,
    QUEUE_VIEW_COUNT
};
struct queue_filter {
    bool by_msg;
    uint64_t msg_id;
    bool by_rcpt; /* with by_msg: one recipient of it */
    uint16_t rcpt;
    struct str domain, stream; /* "" = any */
    uint64_t age_min_ms;       /* 0 = any */
    struct str reason;         /* substring of the waiting reason; "" = any */
    bool by_state;
    enum queue_view_state state;
    uint32_t count_max; /* LIST, EXPLAIN: 0 is 1000, at most QUEUE_VIEW_COUNT_MAX; ACT: all */
    uint64_t after;     /* paging: 0, or next_after of the page before (opaque) */
};
/* What a waiting recipient looks like; address, sender, tag are read from the journal by the asker.
 * A page is in the order of acceptance; pages follow each other in no order, but whatever is there
 * while all are read is in exactly one of them. */
struct queue_view {
    uint64_t msg_id;
    struct spool_where where;
    uint16_t rcpt;
    enum queue_view_state state;
    uint16_t tries;
    bool maybe_duplicate;
    struct wall accepted_at, due;
    uint64_t content_bytes;
    struct str domain, stream, site, source; /* in the ask's arena */
    struct str reason;    /* "451 4.2.1 later (mx.example)", "waiting for a connection (3 of 20 in
                             use)" */
    struct str waits_for; /* the sentence of `explain`: why, and until when */
};
struct queue_ask {
    struct letter letter;
    struct mailbox *reply_box; /* sent back here when done */
    void *ctx;
    enum queue_ask_kind ask;
    struct queue_filter filter;
    enum spool_ctl_action action;
    struct str author, reason;
    struct arena arena;
    struct queue_view *view;
    uint32_t view_count;
    uint64_t next_after;    /* LIST: filter.after of the next page; 0: this was the last */
    uint64_t changed_count; /* ACT: recipients acted on … */
    uint64_t pending_count; /* … of those the ones under way: not on record before that ends */
    struct queue_stats {
        uint64_t msgs, rcpts[QUEUE_VIEW_COUNT];
        uint64_t delivered, deferred, bounced, expired, in_doubt, cancelled; /* since start */
        uint64_t lanes, sites, domains;
        int64_t oldest_age_ms;
    } stats;
    enum err err;
};

/* ---- the owner ---------------------------------------------------------------------------------
 */

struct queue_ports {
    void *ctx;
    void (*deliver)(void *ctx, struct queue_job *job); /* given; lane_id chooses the loop */
    /* str: this call only; lower case, at most 255 bytes, may be empty. Every ask is answered. */
    void (*want_site)(void *ctx, uint32_t domain_id, struct str domain);
    void (*prepare)(void *ctx, struct queue_prepare *prepare); /* given to a worker */
    void (*record)(void *ctx, struct keeper_record *record);   /* given to the keeper */
    void (*compose_dsn)(void *ctx, struct queue_dsn *dsn);     /* given to a worker */
    /* A reply of 4xx or 5xx, in words; this call only. NULL is fine. */
    void (*refused)(void *ctx, struct str text);
};
struct queue;
/* config: one reference is taken, the caller keeps its own. log may be NULL. E_NOMEM. */
MUST_USE enum err queue_new(struct clock *clock, struct entropy *entropy, const struct log *log,
        struct config *config, const struct queue_ports *ports, struct queue **ret_queue);
struct mailbox *queue_mailbox(struct queue *queue);
/* At start, before the first restore: makes room for so many messages at once, as far as it can. */
void queue_expect(struct queue *queue, uint64_t msg_count);
/* At start, before the first turn: an open message from the spool, its envelope decoded. Domains
 * and stream are taken from it; nothing of it is kept. No port is called. E_NOMEM; E_CORRUPT:
 * recipients and envelope do not fit each other; E_EXISTS: known already. */
MUST_USE enum err queue_restore(struct queue *queue, const struct spool_open_msg *msg,
        const struct spool_open_rcpt *rcpts, uint32_t rcpt_count,
        const struct spool_envelope *envelope);
/* Takes letters, wakes what is due, hands out jobs; a bounded amount of work a call. Returns the
 * next deadline: 0 none, `now` where work is left. */
struct mono queue_turn(struct queue *queue, struct mono now);
bool queue_is_idle(const struct queue *queue); /* after QUEUE_STOP: no job is out */
/* Letters still in the box are freed, asks answered with E_CLOSED. NULL is fine. */
void queue_free(struct queue *queue);

/* The retry plan, pure: delay after `tries` tries (from 1): first, doubling, at most max; then
 * ±10 % jitter. RFC 5321 4.5.4.1. */
uint64_t queue_retry_delay_ms(
        uint64_t first_ms, uint64_t max_ms, uint32_t tries, struct prng *prng);

#endif
