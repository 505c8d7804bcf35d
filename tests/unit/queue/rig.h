/* SPDX-License-Identifier: Apache-2.0
 *
 * rig.h - a scheduler with a clock that stands still, and ports that only write down.
 *
 * Whatever the scheduler sends out lies in the rig until the test answers it, or the rig answers by
 * itself where it is told to. Time moves by rig_pass, from deadline to deadline.
 */
#ifndef OUTPOST_TESTS_QUEUE_RIG_H
#define OUTPOST_TESTS_QUEUE_RIG_H

#include "core/str.h"
#include "core/time.h"
#include "queue/queue.h"
#include "tests/test.h"

enum { RIG_START_MS = 1000000, RIG_RCPT_COUNT_MAX = 10000 };

/* A record sent to the keeper, decoded. */
struct rig_record {
    enum spool_record_type type;
    uint64_t msg_id;
    uint16_t *rcpt;
    uint32_t rcpt_count;
    enum spool_result result;
    enum spool_ctl_action action;
    uint32_t attempt_no;
    struct wall due;
    uint16_t code;
    bool maybe_duplicate;
    char enhanced[16], text[600], author[60];
};
struct rig_site_ask {
    uint32_t domain_id;
    char domain[300];
};
struct rig {
    struct clock clock;
    struct mono mono;
    struct wall wall;
    struct entropy entropy;
    struct blob_budget budget;
    struct config *config;
    struct queue *queue;
    struct mailbox answers; /* of asks */
    struct mono deadline;   /* what the last turn said */

    struct queue_job **job;
    uint32_t job_count, job_cap;
    uint64_t job_total;
    struct queue_prepare **prepare;
    uint32_t prepare_count, prepare_cap;
    struct queue_dsn **dsn;
    uint32_t dsn_count, dsn_cap;
    struct rig_record *record;
    uint32_t record_count, record_cap;
    struct rig_site_ask *site_ask;
    uint32_t site_ask_count, site_ask_cap;

    bool is_site_auto;      /* "mx.DOMAIN" at once, for an hour */
    bool is_prepare_auto;   /* read and signed at once */
    bool is_record_dropped; /* only counted: long runs */
    uint64_t record_total;
    void (*on_record)(struct rig *rig, const struct rig_record *record);
    void (*on_job)(struct rig *rig, const struct queue_job *job);
    void *ctx;
};

struct rig *rig_new(const char *config_text);
void rig_free(struct rig *rig);
struct config *rig_config(const char *config_text);
void rig_turn(struct rig *rig);             /* until it has nothing more to do now */
void rig_pass(struct rig *rig, int64_t ms); /* time passes, through all deadlines */
void rig_reconfigure(struct rig *rig, const char *config_text);
void rig_stop(struct rig *rig);
/* The scheduler is gone with all that was out, and a new one knows nothing. */
void rig_crash(struct rig *rig);

/* Recipients separated by blanks. The content is "hello MSG_ID". */
struct rig_mail {
    uint64_t msg_id;
    const char *sender, *rcpts, *stream;
    uint32_t flags;
    uint64_t content_bytes; /* 0: small */
    bool is_content_absent;
};
void rig_send(struct rig *rig, const struct rig_mail *mail);
void rig_accept(struct rig *rig, uint64_t msg_id, const char *rcpts); /* and a turn */
struct blob *rig_envelope(const struct rig_mail *mail, struct wall accepted_at);
struct blob *rig_blob(struct str bytes);

/* Answers the first open question about a domain. */
void rig_site(struct rig *rig, const char *domain, enum queue_site_status status,
        const char *key_or_text, uint64_t ttl_ms);
struct site *rig_site_new(const char *key);
void rig_site_answer(struct rig *rig, uint32_t domain_id, enum queue_site_status status,
        const char *key_or_text, uint64_t ttl_ms);

/* Takes the first job; the test frees it by rig_end, or answers by rig_result first. */
struct queue_job *rig_job(struct rig *rig);
struct rig_fate {
    enum spool_result result;
    enum queue_scope scope;
    uint16_t code;
    const char *enhanced, *text;
    bool is_untried;
};
extern const struct rig_fate rig_delivered, rig_deferred, rig_bounced, rig_in_doubt,
        rig_no_connection, rig_untried;
/* A result for recipients from..to-1 of the job's list. */
void rig_result(struct rig *rig, const struct queue_job *job, uint32_t from, uint32_t to,
        const struct rig_fate *fate, bool is_last);
/* One result for all, frees the job, and a turn. */
void rig_end(struct rig *rig, struct queue_job *job, const struct rig_fate *fate);

struct queue_prepare *rig_prepare(struct rig *rig); /* takes the first */
void rig_prepared(struct rig *rig, struct queue_prepare *prepare, enum err err); /* and a turn */
struct queue_dsn *rig_dsn(struct rig *rig);                /* takes the first */
void rig_notified(struct rig *rig, struct queue_dsn *dsn); /* frees it, and a turn */

/* The last record; REQUIREs that there is one. */
const struct rig_record *rig_last(struct rig *rig);
void rig_forget_records(struct rig *rig);
uint32_t rig_count_outcomes(const struct rig *rig, enum spool_result result);

/* Asks, runs, and gives the answer; rig_ask_free. */
struct queue_ask *rig_ask(
        struct rig *rig, enum queue_ask_kind kind, const struct queue_filter *filter);
struct queue_ask *rig_act(struct rig *rig, enum spool_ctl_action action,
        const struct queue_filter *filter, const char *reason);
void rig_ask_free(struct queue_ask *ask);
struct queue_stats rig_stats(struct rig *rig);
/* The only entry of a message, or of one recipient of it; strings live until the next call. */
const struct queue_view *rig_view(struct rig *rig, uint64_t msg_id, uint16_t rcpt);
void rig_view_done(void);
bool rig_has(struct str text, const char *part);

#endif
