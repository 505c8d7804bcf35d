/* SPDX-License-Identifier: Apache-2.0
 *
 * deliver_priv.h - the deliverer's own structs: lanes, tasks (jobs in our hands), connections.
 *
 * A lane holds waiting tasks and its connections. A connection takes a task when it can send, and
 * a second one that rides behind the content of the first. A task is freed when its last recipient
 * is reported and no engine refers to it. Closed connections are freed at the end of the outermost
 * call (deliver_settle), so that nobody stands on freed ground.
 */
#ifndef OUTPOST_DELIVER_DELIVER_PRIV_H
#define OUTPOST_DELIVER_DELIVER_PRIV_H

#include "core/heap.h"
#include "core/list.h"
#include "core/map.h"
#include "deliver/deliver.h"
#include "proto/dotstuff.h"
#include "proto/smtp_client.h"

enum {
    READ_BYTES = 16384,
    READ_BURST_COUNT_MAX = 16, /* reads of one event, so that others are served too */
    BODY_IOV_COUNT = 64,
    FATE_TEXT_CAP = 700,
    REMOTE_TEXT_CAP = 400, /* "mx.example.net[192.0.2.1]:25" */
    TLS_TEXT_CAP = 100
};

/* ---- fate.c: what a reply or a fault means, pure ---- */

struct fate {
    enum spool_result result;
    enum queue_scope scope;
    bool is_untried;
    uint16_t code;
    char enhanced[12];
    struct str text; /* valid as long as the reply or buffer it was made from */
};
/* A reply of the peer to phase: RCPT, MAIL, DATA, FINAL; a refused greeting and the like. */
struct fate fate_of_reply(enum smtp_client_phase phase, const struct smtp_reply *reply);
/* A connection that ended. remote names the peer; text is written into dst. */
struct fate fate_of_fault(const struct smtp_client_event *event, bool is_after_dot,
        const char *remote, char dst[FATE_TEXT_CAP]);
/* Something of our own making; text is kept by the caller. */
struct fate fate_own(
        enum spool_result result, enum queue_scope scope, const char *enhanced, struct str text);
/* 452 where others were accepted: the peer takes no more in this transaction. RFC 5321 4.5.3.1.10
 */
bool fate_is_too_many(const struct smtp_reply *reply);

/* ---- talk.c: the dialogue kept for the story of failures ---- */

struct talk {
    uint32_t len;
    char direction; /* of the open line: 'C', 'S', 0 where none is open */
    bool has_cr;    /* the last byte was CR */
    char text[DELIVER_DIALOGUE_BYTES_MAX];
};
void talk_clear(struct talk *talk);
/* Lines get "C: " or "S: " in front, controls become \xHH; past the limit the oldest lines go. */
void talk_add(struct talk *talk, char direction, struct str bytes);
static inline struct str talk_str(const struct talk *talk)
{
    return str_of(talk->text, talk->len);
}

/* ---- plan.c: which addresses to try ---- */

struct plan_step {
    uint16_t host, address; /* indexes in the site */
};
struct plan {
    struct plan_step step[DELIVER_ADDRESS_TRY_COUNT_MAX];
    uint32_t count;
};
/* May this address be tried at all, and has it failed of late? */
enum plan_verdict { PLAN_NO, PLAN_LATER, PLAN_YES };
typedef enum plan_verdict plan_judge(void *ctx, const struct ip_port *at);
/* Hosts by preference, equal ones shuffled, at most two addresses each while others wait; those to
 * be tried later come last. RFC 5321 5.1 */
void plan_make(struct plan *plan, const struct site *site, struct prng *prng, plan_judge *judge,
        void *ctx);

/* ---- notes: what went wrong with an address of late; a fixed table, collisions forget ---- */

struct note {
    struct ip_port at;
    struct mono bad_until;     /* could not be reached, or refused us */
    struct mono tls_bad_until; /* its handshake failed */
};

/* ---- the whole ---- */

struct deliver {
    struct net *net;
    struct clock *clock;
    const struct log *log;
    struct tls_context *tls;
    struct deliver_ports ports;
    struct prng prng;
    uint64_t seed;
    struct map lanes; /* lane_id → struct lane */
    struct map tasks; /* their own id → struct task */
    uint64_t last_task_id;
    struct heap deadlines;    /* of connections */
    struct list touched;      /* lanes to look at before the outermost call ends */
    struct list dead;         /* connections to be freed there */
    struct list starved;      /* lanes that wait for any connection to end */
    uint32_t conn_count;      /* DELIVER_CONNECTION_COUNT_MAX */
    struct letter *unstarted; /* jobs that found no memory; tried again in the turn */
    uint32_t unstarted_count;
    struct mono promised; /* what the last turn returned, or an earlier deadline told by a tick */
    struct mono stop_at;
    bool is_stopping;
    bool is_in_turn;
    struct deliver_stats stats;
    struct note *note; /* DELIVER_NOTE_COUNT */
    char read_buf[READ_BYTES];
};
/* End of a call from outside: lanes serve and grow, the dead are freed, a nearer deadline is told.
 */
void deliver_settle(struct deliver *deliver, struct mono now);
struct note *deliver_note_find(struct deliver *deliver, const struct ip_port *at); /* or NULL */
struct note *deliver_note_make(struct deliver *deliver, const struct ip_port *at);

/* ---- task.c: a job in our hands ---- */

enum task_attempt { ATTEMPT_NONE, ATTEMPT_ASKED, ATTEMPT_WRITTEN, ATTEMPT_FAILED };
enum task_rcpt_state {
    RCPT_WAITING, /* not asked yet, or put off by 452 */
    RCPT_ASKED,
    RCPT_ACCEPTED,
    RCPT_REPORTED
};
struct task {
    struct list item; /* in lane->waiting */
    uint64_t id;      /* ours: job ids may come again while an old answer of the keeper is out */
    struct deliver *deliver;
    struct lane *lane;
    struct conn *conn; /* which sends it; NULL: waits */
    struct queue_job *job;
    char *flat_envelope;          /* where the blob has several chunks */
    struct queue_result *reserve; /* so that the last word never lacks memory */
    struct smtp_client_mail mail; /* of the present transaction */
    struct mono taken_at;         /* by a connection, first time */
    struct mono begun_at;         /* its commands */
    struct mono cut_at;           /* the content must be out by then */
    struct mono attempt_at;       /* the keeper was asked */
    enum task_attempt attempt;
    uint32_t connect_ms; /* of the connection made for it; 0: reused */
    uint32_t requeue_count;
    uint32_t open_count;     /* recipients not reported */
    uint32_t accepted_count; /* in the present transaction */
    struct str sender;
    bool is_8bit;
    struct str *address;  /* rcpt_count, in the order of job->rcpt */
    struct str *asked;    /* of the present transaction */
    uint16_t *asked_rcpt; /* their indexes in address */
    uint8_t *state;       /* enum task_rcpt_state */
};
/* What a report says of the connection; all empty where there was none. */
struct task_scene {
    struct str remote_host, remote_ip, tls, dialogue;
    uint32_t connect_ms, transfer_ms;
};
/* Takes job on OK. E_NOMEM: job stays. E_CORRUPT: the envelope cannot be read. */
MUST_USE enum err task_new(struct deliver *deliver, struct queue_job *job, struct task **ret_task);
void task_free(struct task *task);
/* Puts all waiting recipients into mail: the next transaction. */
void task_prepare(struct task *task);
/* Reports recipients in states from..to; frees nothing. scene NULL: none. */
void task_report(struct task *task, enum task_rcpt_state from, enum task_rcpt_state to,
        const struct fate *fate, const struct task_scene *scene);
void task_report_one(
        struct task *task, uint32_t index, const struct fate *fate, const struct task_scene *scene);
/* Gives all that is open back without a try, where none was recorded; else deferred. */
void task_give_back(struct task *task, struct str text);
/* Asks the keeper to record the attempt; the answer comes as DELIVER_ATTEMPT_WRITTEN. */
void task_ask_attempt(struct task *task, struct mono now);
struct task *task_of_mail(const struct smtp_client_mail *mail);

/* ---- lane.c ---- */

struct lane {
    struct list touched; /* in deliver->touched */
    struct list starved; /* in deliver->starved */
    struct deliver *deliver;
    uint32_t id;
    struct list waiting; /* tasks */
    uint32_t waiting_count;
    struct list conns;
    uint32_t conn_count, opening_count;
    struct list idle; /* open connections without a task, last used first */
    struct mono grow_after;
};
MUST_USE enum err lane_of(struct deliver *deliver, uint32_t lane_id, struct lane **ret_lane);
void lane_add_job(struct lane *lane, struct task *task);
void lane_put_back(struct lane *lane, struct task *task); /* first in line */
struct task *lane_take(
        struct lane *lane, const struct conn *conn); /* one that conn can serve, or NULL */
void lane_touch(struct lane *lane); /* have it serve and grow before the outermost call ends */
void lane_settle(struct lane *lane, struct mono now);        /* may free the lane */
void lane_conn_failed(struct lane *lane, struct conn *conn); /* every address was tried */
void lane_stop(struct lane *lane);
void lane_free(struct lane *lane);

/* ---- body.c: signature, content and end of data as slices ---- */

struct body {
    bool is_active; /* slices remain to be made or written */
    bool is_sliced; /* all of them were made, the end of data too */
    bool is_in_signature;
    const struct blob_chunk *chunk;
    size_t chunk_done;
    const struct blob *content;
    struct dot_state dots;
    uint32_t iov_at, iov_count;
    struct iovec iov[BODY_IOV_COUNT + 1]; /* the last: room for what follows in the same write */
};
void body_begin(struct body *body, const struct blob *signature, const struct blob *content);
void body_fill(struct body *body); /* makes slices while there is room */
/* n_bytes were written: drops what they cover, returns how many lie past the body. */
size_t body_wrote(struct body *body, size_t n_bytes);

/* ---- auth.c: AUTH as a client, at smarthosts ---- */

enum auth_step { AUTH_MORE, AUTH_DONE, AUTH_FAILED };
struct auth {
    bool is_login;
    uint8_t answer_count; /* LOGIN: challenges answered */
    bool is_reply_begun;
    struct str username, password;
    struct smtp_reply reply;
    struct buf out; /* to be written; wiped in auth_done */
};
/* ehlo: the text of the EHLO reply. E_UNSUPPORTED: neither PLAIN nor LOGIN; E_NOMEM. */
MUST_USE enum err auth_begin(
        struct auth *auth, struct str ehlo, struct str username, struct str password);
size_t auth_input(struct auth *auth, struct str bytes, enum auth_step *ret_step);
void auth_done(struct auth *auth);

/* ---- conn.c: life of a connection; dialogue.c: what is said on it ---- */

enum conn_state {
    CONN_CONNECTING,
    CONN_GREETING, /* up to READY, the TLS handshake included */
    CONN_AUTH,
    CONN_OPEN,
    CONN_QUITTING,
    CONN_DEAD
};
struct conn {
    struct list item; /* in lane->conns; then in deliver->dead */
    struct list idle; /* in lane->idle */
    struct heap_item deadline;
    struct deliver *deliver;
    struct lane *lane;
    struct net_conn *net;
    enum conn_state state;
    struct config *config; /* counted */
    struct site *site;     /* counted */
    uint32_t source;
    struct plan plan;
    uint32_t plan_at;
    bool is_connected;
    bool is_tls_off; /* this try in the clear: the handshake failed before */
    bool is_handshaking;
    bool is_secure; /* a password may pass: verified TLS, or loopback */
    bool wants_write;
    bool has_progress; /* the deadline is to be set anew */
    bool is_over;      /* nothing more can be said: next address, or close */
    bool has_go;       /* the peer waits for the content of task[0] */
    bool is_cut_short; /* a content was left unfinished: not one byte more may follow it */
    uint32_t message_count, done_count; /* transactions begun, ended */
    struct mono opened_at;
    uint32_t connect_ms;
    struct task *task[2]; /* [0] in dialogue, [1] riding behind it */
    struct talk *talk[2];
    struct talk talk_store[2];
    struct body body;
    struct auth *auth;
    struct fate failure; /* why the last address did not work */
    char failure_text[FATE_TEXT_CAP];
    struct str remote_host; /* of site */
    char remote_ip[IP_TEXT_CAP];
    char remote[REMOTE_TEXT_CAP];
    char tls_text[TLS_TEXT_CAP];
    struct smtp_client client;
};
MUST_USE enum err conn_open(
        struct lane *lane, const struct task *first); /* OK also when it failed */
bool conn_fits(const struct conn *conn, const struct task *task);
void conn_due(struct conn *conn, struct mono now);  /* its deadline passed */
void conn_quit(struct conn *conn, struct mono now); /* it has no task */
/* Ends it at once; its tasks are in doubt, deferred or given back. */
void conn_cut(struct conn *conn, struct str why);
void conn_close(struct conn *conn, bool is_abort); /* freed by deliver_settle */
void conn_free(struct conn *conn);
struct task_scene conn_scene(const struct conn *conn, uint32_t slot, struct mono now);
/* Why this address will not do; text is printed. is_over is set: conn_read and others act on it. */
void conn_fail(struct conn *conn, uint16_t code, const char *enhanced, const char *format, ...)
        PRINTF_LIKE(4, 5);
void conn_over(struct conn *conn, struct mono now); /* acts on is_over */
void conn_start_tls(struct conn *conn, struct mono now);
void conn_greeted(struct conn *conn, const struct smtp_reply *ehlo, struct mono now);
void conn_auth_input(struct conn *conn, struct str *bytes, struct mono now);

/* Takes tasks while it can send, writes, and sets the deadline. */
void conn_serve(struct conn *conn, struct mono now);
void conn_read(struct conn *conn, struct mono now);
void conn_pump(struct conn *conn, struct str bytes, struct mono now);
struct str conn_output(struct conn *conn);

#endif
