/* SPDX-License-Identifier: Apache-2.0
 *
 * queue_priv.h - what the scheduler remembers, and how its files call each other.
 *
 * Everything lives in paged tables and is named by a 32-bit number, so that a queued recipient
 * costs about a hundred bytes with its message. A recipient is in at most one list at a time;
 * which one follows from its state. Nothing here is shared with another thread.
 */
#ifndef OUTPOST_QUEUE_PRIV_H
#define OUTPOST_QUEUE_PRIV_H

#include "core/heap.h"
#include "core/list.h"
#include "core/map.h"
#include "core/numset.h"
#include "core/str.h"
#include "core/time.h"
#include "queue/queue.h"
#include "queue/slab_priv.h"
#include "queue/wheel_priv.h"

enum {
    /* work of one turn: short, so that a result never waits long behind a herd */
    TURN_LETTER_COUNT_MAX = 2000,
    TURN_JOB_COUNT_MAX = 500,
    TURN_DUE_COUNT_MAX = 2000,
    TURN_SCAN_COUNT_MAX = 20000, /* messages looked at for list and stats */
    TURN_ACT_COUNT_MAX = 2000,   /* messages acted on */
    PATROL_STEP_COUNT = 2048,    /* messages looked at by one step of the patrol */
    PATROL_ROUND_MS = 600000,    /* a round over all messages takes about this */

    SITE_ASK_COUNT_MAX = 1000,    /* domains being looked up */
    PREPARE_COUNT_MAX = 256,      /* messages being read or signed */
    REPORT_COUNT_MAX = 64,        /* DSNs being composed */
    DOMAIN_IDLE_COUNT_MAX = 4096, /* domains without recipients that are still remembered */
    DOMAIN_BYTES_MAX = 255,       /* RFC 5321 4.5.3.1.2 */
    LANE_IDLE_COUNT_MAX = 1024,
    LANE_AHEAD_COUNT_MAX = 64,   /* recipients of a lane whose content is in memory or on its way */
    LANE_WINDOW_COUNT_MAX = 256, /* beyond so many waiting, and with the shelf full, a fresh
                                    message's bytes are given back */
    LANE_JOBS_PER_CONNECTION = 2, /* one in flight, one at hand */
    LANE_SUSPEND_FIRST_MS = 30000,
    LANE_SUSPEND_MAX_MS = 1800000,
    SHELF_COUNT_MAX = 16384,
    SHELF_ROOM_BYTES = 2 << 20, /* room for one more message and its signature */
    REASON_COUNT_MAX = 8192,    /* with text; beyond: code and enhanced code only */
    REASON_BYTES_MAX = 400,
    STREAM_COUNT_MAX = 255,
    SOURCE_COUNT_MAX = 1 << 20, /* names ever configured while the node lives */
    DAMAGE_COUNT_MAX = 3,       /* reads that fail before a message is held (faults 29) */
    RETRY_SOON_MS = 1000,       /* after our own trouble (memory): no try is counted */
    RESTART_SPREAD_MS = 60000,  /* what was overdue at start is spread over this (faults 70) */
    REPORT_GATHER_MS = 10000,   /* a DSN waits so long for more failures of its message */
    REPORT_RETRY_FIRST_MS = 60000,
    REPORT_RETRY_MAX_MS = 3600000,
    REPORT_TRY_COUNT_MAX = 120 /* about five days; then closed without one, and said so */
};
#define NONE UINT32_MAX /* no such number */

/* ---- recipients and messages ------------------------------------------------------------------
 */

/* spool.md 7 as the scheduler refines it. Closed recipients are forgotten: RCPT_FREE. */
enum rcpt_state {
    RCPT_FREE,
    RCPT_NEW,    /* in no list: about to be placed */
    RCPT_SITE,   /* in its domain's list: where mail for it goes is being looked up */
    RCPT_READY,  /* in its lane */
    RCPT_STAGED, /* in its lane: content is being read or signed */
    RCPT_GO,     /* in its lane: content is in memory */
    RCPT_ACTIVE, /* in a job */
    RCPT_WAIT,   /* in the wheel: deferred, or in doubt (RCPT_DOUBT) */
    RCPT_HELD,
    RCPT_FAILED, /* bounced or expired, DSN undecided */
    RCPT_STATE_COUNT
};
enum rcpt_flag {
    RCPT_DUPLICATE = 1, /* an earlier attempt ended in doubt */
    RCPT_DOUBT = 2,     /* the last one did, and it was not picked again since */
    RCPT_PENDING = 4,   /* an operator's action waits for the attempt to end: queue.pending */
    RCPT_EXPIRED = 8    /* failed by time */
};
struct rcpt {
    uint32_t msg;
    uint32_t prev, next; /* in its list; ACTIVE: prev is the job */
    uint32_t domain;
    uint32_t lane;     /* READY, STAGED, GO, ACTIVE; else NONE */
    uint32_t due;      /* wheel tick: WAIT due; READY since; FAILED when */
    uint16_t number;   /* in the message */
    uint16_t attempts; /* the last attempt's number */
    uint16_t reason;   /* last reason, reason.c; 0: none */
    uint8_t state : 4, flags : 4;
    uint8_t tries; /* as the retry plan counts them: without those that failed by the lane */
};
static_assert(sizeof(struct rcpt) == 32, "a recipient is 32 bytes");

enum msg_flag {
    MSG_NULL_SENDER = 1,
    MSG_SIGN = 2,
    MSG_REPORT = 4,      /* in queue.report */
    MSG_DAMAGE_SHIFT = 4 /* upper four bits: reads that failed in a row */
};
struct msg {
    uint64_t msg_id;
    uint16_t born[3];     /* msg_born: 48 bits, mono; age counts from here (plan.c) */
    uint16_t accepted[3]; /* msg_accepted_at: 48 bits, wall, for people */
    struct spool_place place;
    uint16_t shelf; /* its bytes in memory, or NO_SHELF */
    uint32_t run;   /* up to RCPT_RUN_COUNT_MAX recipients: the first one's number; else that of
                       a struct long_msg */
    uint32_t content_bytes;
    uint16_t rcpt_count; /* 0: a free slot */
    uint16_t open_count;
    uint16_t hot_count; /* SITE, READY, STAGED, GO, ACTIVE */
    uint16_t active_count;
    uint16_t failed_count;
    uint8_t stream;
    uint8_t flags;
};
static_assert(sizeof(struct msg) == 48, "a message is 48 bytes");
#define NO_SHELF UINT16_MAX
static_assert(SHELF_COUNT_MAX + PREPARE_COUNT_MAX < NO_SHELF, "numbers of shelves are 16 bits");
static_assert(SPOOL_RCPT_COUNT_MAX <= UINT16_MAX, "counts of recipients are 16 bits");

struct long_msg {  /* of a message with more recipients than a run */
    uint32_t *run; /* numbers of first ones, each of a run of RCPT_RUN_COUNT_MAX; mem_new */
};

struct rcpt_list {
    uint32_t first, last, count; /* empty: NONE, NONE, 0 */
};

enum { RCPT_RUN_ORDER_MAX = 4, RCPT_RUN_COUNT_MAX = 1 << RCPT_RUN_ORDER_MAX };
struct rcpt_pool {
    struct slab slab;                      /* of whole runs; used as a growing array */
    uint32_t free[RCPT_RUN_ORDER_MAX + 1]; /* buddy lists by order, through prev and next */
    uint32_t count;                        /* recipients in use */
};

/* ---- where mail goes --------------------------------------------------------------------------
 */

enum domain_answer { DOMAIN_NONE, DOMAIN_FOUND, DOMAIN_DEFER, DOMAIN_BOUNCE };
struct domain {
    struct str name;       /* lower case; mem_new */
    struct mono until;     /* the answer holds up to here */
    uint32_t refs;         /* recipients */
    uint32_t site;         /* FOUND */
    struct rcpt_list wait; /* SITE */
    uint32_t prev, next;   /* in the idle list; next also in the list to ask or to answer */
    uint16_t reason;       /* DEFER, BOUNCE */
    uint8_t answer;
    bool is_asked;     /* in the list to ask, or asked */
    bool is_answering; /* in the list to answer */
    bool is_used;      /* not a free slot */
};
struct domain_list {
    uint32_t first, last;
};

struct place {         /* a site, in its newest copy */
    struct site *site; /* counted */
    uint32_t refs;     /* domains and gates */
};
struct gate { /* a site as seen from one source: what lanes of all streams share */
    uint64_t key;
    uint32_t refs;          /* lanes */
    uint32_t place, source; /* source NONE: the system's address */
    uint32_t job_count;
    struct list blocked; /* lanes with work that wait for a job to end */
};

struct stream {
    struct str name; /* mem_new */
    bool is_in_doubt_held, is_dsn_off;
    uint64_t retry_first_ms, retry_max_ms, give_up_ms;
    uint32_t *source; /* numbers in queue.source; mem_new */
    uint32_t *weight;
    uint32_t source_count;
    uint64_t weight_sum;
};
struct source {
    struct str name; /* mem_new */
    uint32_t index;  /* in the present config.source; NONE: no longer there */
};

enum lane_spot { LANE_OFF, LANE_RUNNABLE, LANE_GATE_FULL, LANE_PREPARE_FULL };
struct lane {
    struct heap_item resume; /* in queue.resume while suspended */
    struct list link;        /* of its spot */
    uint64_t key;            /* stream, gate */
    uint32_t id;             /* running number, told outside */
    uint32_t refs;           /* recipients and jobs */
    uint32_t gate;
    uint32_t config_no; /* source was checked against this configuration */
    struct rcpt_list ready, staged, go;
    uint32_t job_count;
    uint32_t failures;           /* in a row, each a suspension */
    struct mono suspended_until; /* 0: not suspended */
    uint32_t idle_prev, idle_next;
    uint16_t reason; /* of the suspension */
    uint8_t stream;
    uint8_t spot; /* enum lane_spot */
    bool is_idle;
};

/* ---- in memory for sending --------------------------------------------------------------------
 */

enum shelf_state { SHELF_LACKS, SHELF_ASKED, SHELF_WHOLE };
struct shelf {
    struct list link; /* least recently used last */
    uint32_t msg;
    uint8_t state;
    struct ulid ulid;
    uint64_t size_bytes;
    struct blob *envelope, *content, *signature;
};

struct job {
    uint32_t msg; /* NONE: a free slot */
    uint32_t lane;
    uint32_t serial;     /* upper half of the job's id: late results find it gone */
    uint32_t left_count; /* recipients without a result */
    uint32_t attempt_no;
};

struct reason {
    uint32_t refs;
    uint16_t code;
    uint16_t text_len, host_len;
    char enhanced[12];
    char *text; /* then the host; mem_new; NULL: too many reasons, code only */
    uint64_t hash;
};

enum report_state { REPORT_WAITS, REPORT_COMPOSING };
struct report {
    struct heap_item due; /* WAITS, and active_count 0 */
    uint32_t msg;
    uint32_t tries;
    uint8_t state;
};

struct pending { /* an action that waits for an attempt to end */
    uint32_t refs;
    enum spool_ctl_action action;
    struct str author, reason; /* one mem_new, author first */
};

/* ---- the scheduler ----------------------------------------------------------------------------
 */

struct queue {
    struct clock *clock;
    const struct log *log;
    struct queue_ports ports;
    struct mailbox box;
    struct config *config;
    uint32_t config_no;
    uint64_t seed;
    struct prng prng;
    struct mono now; /* of this turn */
    struct wall wall;
    struct letter *backlog, **backlog_last;
    bool is_stopping;
    bool is_short; /* memory ran out in this turn: come back in RETRY_SOON_MS */

    struct slab msgs;
    struct slab longs;     /* struct long_msg */
    struct numset msg_set; /* numbers in msgs, by msg_id */
    struct rcpt_pool rcpts;
    struct wheel wheel;

    struct slab domains;
    struct map domain_map;
    struct domain_list to_ask, to_answer;
    uint32_t ask_count;
    uint32_t idle_first, idle_last, idle_count; /* domains; oldest first */

    struct slab places;
    struct map place_map;
    struct slab gates;
    struct map gate_map;
    struct slab lanes;
    struct map lane_map;
    uint32_t lane_count, lane_serial;
    uint32_t lane_idle_first, lane_idle_last, lane_idle_count;
    struct list runnable, prepare_full;
    struct heap resume;

    struct stream stream[STREAM_COUNT_MAX];
    uint32_t stream_count;
    struct source *source;
    uint32_t source_count;

    struct slab shelves;
    struct list shelf_list;
    uint64_t shelf_bytes, shelf_bytes_max;
    uint32_t shelf_count, prepare_count;

    struct slab jobs;
    uint32_t job_count, job_serial;

    struct slab reasons;
    struct map reason_map;
    uint32_t reason_text_count;

    struct slab reports;
    struct map report_map; /* message → report */
    struct heap report_heap;
    uint32_t report_composing_count;

    struct slab pendings;
    struct map pending_map; /* recipient → pending */

    struct letter *asks, **asks_last; /* long ones, one after the other */
    uint64_t ask_at;                  /* where the first goes on: message slot << 16 | recipient */
    uint32_t patrol_at;
    struct mono patrol_due;

    uint64_t msg_count;
    uint64_t rcpt_count[QUEUE_VIEW_COUNT];
    uint64_t delivered, deferred, bounced, expired, in_doubt, cancelled;

    struct buf payload;                          /* of the record being written */
    uint32_t group_rcpt[SPOOL_RCPT_COUNT_MAX];   /* the recipients an operation is about … */
    uint16_t group_number[SPOOL_RCPT_COUNT_MAX]; /* … and their numbers in the message */
};

static inline struct rcpt *rcpt_at(const struct queue *q, uint32_t rcpt)
{
    return &((struct rcpt *)slab_at(
            &q->rcpts.slab, rcpt >> RCPT_RUN_ORDER_MAX))[rcpt & (RCPT_RUN_COUNT_MAX - 1)];
}
static inline struct msg *msg_at(const struct queue *q, uint32_t msg)
{
    return slab_at(&q->msgs, msg);
}
/* Times of 48 bits: four thousand years each way. */
static inline int64_t time48_ms(const uint16_t bits[3])
{
    uint64_t ms = (uint64_t)bits[2] << 32 | (uint32_t)bits[1] << 16 | bits[0];
    return (int64_t)(ms << 16) >> 16;
}
static inline void time48_set(uint16_t bits[3], int64_t ms)
{
    static const int64_t max_ms = (INT64_C(1) << 47) - 1;
    ms = ms > max_ms ? max_ms : ms < -max_ms ? -max_ms : ms;
    for (uint32_t i = 0; i < 3; i++) {
        bits[i] = (uint16_t)((uint64_t)ms >> 16 * i);
    }
}
static inline struct mono msg_born(const struct msg *msg)
{
    return (struct mono){ time48_ms(msg->born) };
}
static inline struct spool_where msg_where(const struct msg *msg)
{
    return spool_place_where(msg->place);
}
static inline bool msg_is_long(const struct msg *msg)
{
    return msg->rcpt_count > RCPT_RUN_COUNT_MAX;
}
static inline struct long_msg *long_at(const struct queue *q, uint32_t number)
{
    return slab_at(&q->longs, number);
}
static inline struct lane *lane_at(const struct queue *q, uint32_t lane)
{
    return slab_at(&q->lanes, lane);
}
static inline struct domain *domain_at(const struct queue *q, uint32_t domain)
{
    return slab_at(&q->domains, domain);
}
static inline struct place *place_at(const struct queue *q, uint32_t place)
{
    return slab_at(&q->places, place);
}

static inline struct gate *gate_at(const struct queue *q, uint32_t gate)
{
    return slab_at(&q->gates, gate);
}
static inline struct site *lane_site(const struct queue *q, const struct lane *lane)
{
    return place_at(q, gate_at(q, lane->gate)->place)->site;
}

/* Recipients of one message that share a fate. `rcpt` are numbers in the pool, `number` those in
 * the message; both usually queue.group_*. */
struct group {
    uint32_t msg;
    uint32_t count;
    uint32_t *rcpt;
    uint16_t *number;
};

/* Spreads ids over a range: splitmix64's finish. */
static inline uint64_t queue_mix(uint64_t v)
{
    v = (v ^ v >> 30) * 0xbf58476d1ce4e5b9;
    v = (v ^ v >> 27) * 0x94d049bb133111eb;
    return v ^ v >> 31;
}

/* rcpt.c: the pool, the lists, and the one place where a state changes */
void rcpt_pool_init(struct queue *q);
void rcpt_pool_trim(struct queue *q); /* no message is left: gives memory back */
MUST_USE enum err rcpt_run_take(struct queue *q, uint32_t count, uint32_t *ret_first);
void rcpt_free(struct queue *q, uint32_t rcpt); /* back to the pool, whatever its state */
uint32_t rcpt_find(const struct queue *q, uint32_t msg, uint32_t number); /* NONE: not open */
void rcpt_set(struct queue *q, uint32_t rcpt, enum rcpt_state state);     /* checks, counts */
void rcpt_unlink(struct queue *q, uint32_t rcpt); /* out of its list; state becomes NEW */
void rcpt_list_init(struct rcpt_list *list);
void rcpt_list_add(struct queue *q, struct rcpt_list *list, uint32_t rcpt);
void rcpt_wait(struct queue *q, uint32_t rcpt, uint64_t delay_ms); /* NEW → WAIT */
void rcpt_close(struct queue *q, uint32_t rcpt); /* a fate is on record; the message stays */
void rcpt_give_reason(struct queue *q, uint32_t rcpt, uint16_t reason); /* takes a reference */
enum queue_view_state rcpt_view(const struct rcpt *rcpt);

/* msg.c: messages by id; coming, going, restoring */
MUST_USE enum err msg_new(struct queue *q, uint64_t msg_id, const struct spool_envelope *envelope,
        uint32_t *ret_msg); /* with all recipients, NEW, domains known */
uint32_t msg_find(const struct queue *q, uint64_t msg_id); /* NONE */
void msg_check(
        struct queue *q, uint32_t msg); /* after changes: forgets, reports, gives bytes back */
void msg_set_where(struct msg *msg, const struct spool_where *where);
void msg_free_all(struct queue *q);
MUST_USE enum err msg_accepted(struct queue *q, struct queue_accepted *news); /* E_NOMEM: again */
/* Whether its bytes should stay in memory: only where they will be used before long. */
bool rcpt_is_soon(const struct queue *q, uint32_t rcpt);
struct group msg_group(struct queue *q, uint32_t msg); /* an empty one */
static inline void group_add(struct queue *q, struct group *group, uint32_t rcpt)
{
    group->rcpt[group->count] = rcpt;
    group->number[group->count++] = rcpt_at(q, rcpt)->number;
}

/* domain.c: names, and the questions where their mail goes */
MUST_USE enum err domain_take(struct queue *q, struct str name, uint32_t *ret_domain);
uint32_t domain_find(const struct queue *q, struct str name); /* NONE */
void domain_give(struct queue *q, uint32_t domain);
bool domain_is_known(const struct queue *q, const struct domain *domain);
void domain_want(struct queue *q, uint32_t domain, uint32_t rcpt); /* NEW → SITE */
void domain_forget_answer(struct queue *q, uint32_t domain);       /* unless mail goes there */
void domain_ask_some(struct queue *q);
void domain_site(struct queue *q, struct queue_site *answer); /* E_NOMEM is handled as DEFER */
void domain_answer_some(struct queue *q, uint32_t budget);    /* so many recipients */
void domain_free_all(struct queue *q);

/* lane.c: stream × site × source, and whose turn it is */
MUST_USE enum err place_take(struct queue *q, struct site *site, uint32_t *ret_place);
void place_give(struct queue *q, uint32_t place);
void rcpt_place(struct queue *q, uint32_t rcpt);               /* NEW → wherever it belongs now */
void lane_add(struct queue *q, uint32_t rcpt, uint32_t place); /* NEW → READY, or WAIT */
void lane_wake(struct queue *q, struct lane *lane);
void lane_give_back(struct queue *q, struct lane *lane); /* bytes of those who will wait */
void lane_job_ended(struct queue *q, uint32_t lane);
void lane_unref(struct queue *q, uint32_t lane);
void lane_resume_due(struct queue *q);
void lane_run_some(struct queue *q);
void lane_wake_prepare_full(struct queue *q); /* one, where a worker is free */
void lane_wake_all(struct queue *q);          /* the limits have changed */
void lane_free_all(struct queue *q);

/* limit.c: the one place for pacing */
bool lane_may_start(const struct queue *q, const struct lane *lane);
bool lane_is_suspended(const struct queue *q, const struct lane *lane);
bool gate_is_full(const struct queue *q, const struct gate *gate);
uint32_t gate_job_max(const struct queue *q);
uint32_t lane_ahead_max(const struct lane *lane);
void lane_failed(struct queue *q, struct lane *lane, uint16_t reason); /* takes a reference */
void lane_worked(struct queue *q, struct lane *lane);
void lane_lift(struct queue *q, struct lane *lane); /* the operator's flush: probe now */

/* policy.c: streams and sources as the present configuration has them */
MUST_USE enum err policy_stream(struct queue *q, struct str name, uint8_t *ret_stream);
MUST_USE enum err policy_load(struct queue *q, struct config *config); /* E_NOMEM: the old stays */
void policy_done(struct queue *q);
uint32_t policy_source(const struct queue *q, const struct msg *msg); /* NONE: the system's */
bool policy_has_source(const struct queue *q, uint8_t stream, uint32_t source);

/* plan.c: times */
uint64_t msg_age_ms(const struct queue *q, const struct msg *msg);
int64_t msg_born_at_restore(
        struct mono now, struct wall wall, struct wall accepted_at, const struct stream *stream);
uint64_t msg_retry_ms(struct queue *q, const struct msg *msg, uint32_t tries);
struct wall wall_in(const struct queue *q, int64_t ms); /* now + ms */

/* shelf.c: bytes in memory */
void shelf_put(struct queue *q, uint32_t msg, const struct ulid *ulid, struct blob *envelope,
        struct blob *content, struct blob *signature);                /* takes the references */
struct shelf *shelf_of(const struct queue *q, const struct msg *msg); /* NULL */
void shelf_drop(struct queue *q, uint32_t msg);
bool shelf_is_whole(const struct queue *q, const struct msg *msg);
bool shelf_has_room(const struct queue *q); /* one more would push nobody out */
void shelf_touch(struct queue *q, struct shelf *shelf);
MUST_USE enum err shelf_ask(struct queue *q, uint32_t msg); /* E_FULL: too many; E_NOMEM */
void shelf_prepared(struct queue *q, struct queue_prepare *answer);
void prepare_free(struct queue_prepare *answer);
void shelf_free_all(struct queue *q);
struct str blob_bytes(const struct blob *blob, struct buf *scratch); /* in one piece */

/* job.c: out and back */
MUST_USE enum err job_start(struct queue *q, uint32_t lane, uint32_t rcpt);
MUST_USE enum err job_result(struct queue *q, struct queue_result *result); /* E_NOMEM: again */

/* outcome.c: what came of it, on record; then the state. E_NOMEM: nothing was done */
MUST_USE enum err outcome_settle(struct queue *q, struct group *group,
        struct spool_outcome *outcome, enum queue_scope scope);
MUST_USE enum err outcome_expire(struct queue *q, struct group *group);
MUST_USE enum err outcome_hold(
        struct queue *q, struct group *group, struct str enhanced, struct str text);
MUST_USE enum err outcome_defer(
        struct queue *q, struct group *group, struct str enhanced, struct str text);
void outcome_due(struct queue *q, uint32_t rcpt); /* its time has come: NEW → … */
MUST_USE enum err outcome_record(struct queue *q, enum spool_record_type type, uint64_t msg_id);

/* reason.c: why, interned */
uint16_t reason_take(
        struct queue *q, uint16_t code, struct str enhanced, struct str text, struct str host);
uint16_t reason_again(struct queue *q, uint16_t reason);
void reason_give(struct queue *q, uint16_t reason);
const struct reason *reason_get(const struct queue *q, uint16_t reason); /* NULL for 0 */
struct str reason_text(const struct reason *reason);
struct str reason_host(const struct reason *reason);
size_t reason_format(const struct queue *q, uint16_t reason, char *dst, size_t cap_bytes);
void reason_recall(struct queue *q, const struct queue_recall *recall);
void reason_free_all(struct queue *q);

/* report.c: DSNs */
void report_want(struct queue *q, uint32_t msg); /* something failed, or nothing runs any more */
void report_forget(struct queue *q, uint32_t msg);
void report_run(struct queue *q);
void report_notified(struct queue *q, const struct queue_notified *news);
void report_failed(struct queue *q, struct queue_dsn *dsn);
void report_free_all(struct queue *q);

/* act.c: the operator's actions */
MUST_USE enum err act_on_msg(struct queue *q, uint32_t msg, struct queue_ask *ask);
void act_pending(struct queue *q, uint32_t rcpt); /* the attempt has ended; state NEW */
void act_forget_pending(struct queue *q, uint32_t rcpt);
bool act_is_hold_pending(const struct queue *q, uint32_t rcpt);
MUST_USE enum err act_ctl(struct queue *q, struct group *group, enum spool_ctl_action action,
        struct str author, struct str reason); /* the record, then the state */
uint16_t act_reason(struct queue *q, enum spool_ctl_action action, struct str author,
        struct str reason); /* 0 for those that leave none */
void act_free_all(struct queue *q);

/* view.c: questions */
void view_ask(struct queue *q, struct queue_ask *ask); /* at once, or into the line of long ones */
void view_run(struct queue *q);                        /* a piece of the long ones */
bool view_filter(const struct queue *q, const struct queue_filter *filter, const struct msg *msg,
        const struct rcpt *rcpt, uint32_t domain);
void view_answer(struct queue *q, struct queue_ask *ask, enum err err);

#endif
