/* SPDX-License-Identifier: Apache-2.0
 *
 * submit_priv.h - a loop's listeners and sessions, between submit.c (calls from outside), listen.c
 * (listeners), session.c (life of a session), transaction.c (one message) and auth.c (logins).
 *
 * A session lives from accept until its connection is closed and no chunk of a message of its own
 * is out at the keeper. Letters name it by id, never by pointer. Whoever enters a session (the net,
 * a letter, a deadline) calls session_settle last, which may end and free it.
 */
#ifndef OUTPOST_SUBMIT_PRIV_H
#define OUTPOST_SUBMIT_PRIV_H

#include "core/heap.h"
#include "core/list.h"
#include "core/map.h"
#include "core/time.h"
#include "core/ulid.h"
#include "intake/intake.h"
#include "proto/sasl.h"
#include "submit/shared_priv.h"
#include "submit/submit.h"
#include "submit/wire_priv.h"

/* One listener under one configuration: what its sessions are told. The engine keeps a pointer into
 * it, so it lives as long as they do. */
struct door {
    uint32_t ref_count;
    struct config *config; /* counted */
    const struct config_listen *listen;
    struct smtp_server_conf conf[4]; /* by DOOR_NETWORK | DOOR_LOOPBACK */
};
enum { DOOR_NETWORK = 1, DOOR_LOOPBACK = 2 };

/* An open address. Stays while sessions came through it; door is that of the newest configuration
 * which has it. */
struct listener {
    struct list link;
    uint32_t ref_count;
    struct submit *submit;
    struct net_listener *net_listener; /* NULL: closed */
    struct ip_port at;
    struct door *door;
    bool is_wanted; /* by the newest configuration */
};

struct submit {
    struct net *net;
    struct clock *clock;
    struct entropy *entropy;
    const struct log *log;
    struct submit_shared *shared;
    struct blob_budget *budget;
    struct config *config; /* counted */
    struct submit_ports ports;
    struct wire_room room;
    struct list listeners;
    struct list sessions;
    struct map session_by_id; /* id → struct session * */
    struct heap due;
    uint64_t session_last_id;
    struct mono now;          /* of this entry */
    struct mono refused_free; /* when the allowance of refusals for the history is whole again */
    struct mono loaded_look;  /* when idle sessions are looked at again under load */
    struct mono stop_at; /* messages under way have until then; 0: not stopping, or it is over */
    bool is_refusing, is_stopping;
    struct submit_stats stats;
};

enum { SESSION_SENDER_CAP = 257, SESSION_TLS_CAP = 96 };

struct session {
    struct wire wire;
    struct list link;
    struct heap_item due;
    struct submit *submit;
    struct listener *listener; /* counted */
    struct door *door;         /* counted; whose conf the engine has */
    uint64_t id;
    struct ip remote;
    bool is_esmtp;
    bool is_timed_out;   /* the last reply was said */
    bool is_revoked;     /* the credential it logged in with is gone or changed */
    bool may_send;       /* of this transaction: to anybody, not only to nobody */
    bool is_ending;      /* END came, chunks are out */
    bool is_dropping;    /* the message is given up, chunks are out */
    uint64_t step_count; /* of wire, when moved_at was set */
    uint64_t read_bytes;
    struct mono moved_at;        /* the dialogue last moved */
    struct mono read_at;         /* something last came */
    struct mono content_at;      /* DATA was answered */
    uint64_t content_read_bytes; /* wire.read_bytes then */
    struct mono held_at;         /* wire.is_held since then */
    struct mono closing_at;
    struct intake *intake;        /* the message under way */
    struct config *intake_config; /* counted: intake looks into it */
    struct ulid ulid;             /* of the message at the keeper */
    struct sasl sasl;
    uint64_t login_mark; /* of the password hash that login was verified by */
    uint32_t login_len, helo_len, sender_len;
    char login[SASL_USER_BYTES_MAX + 1];
    char helo[SMTP_SERVER_HELO_BYTES_MAX + 1];
    char sender[SESSION_SENDER_CAP]; /* of the message, for the history of refusals */
    char tls[SESSION_TLS_CAP];       /* for Received; "" in the clear */
};

/* listen.c */
void listeners_update(struct submit *submit); /* doors of the new configuration */
MUST_USE enum err listeners_open(struct submit *submit, bool is_shared_port, struct why *why);
void listeners_close(struct submit *submit);
void listener_give(struct listener *listener);
struct door *door_take(struct door *door);
void door_give(struct door *door);
bool door_has_network(const struct door *door, struct ip ip);

/* session.c */
void session_accept(struct listener *listener, struct net_conn *conn);
struct session *session_find(struct submit *submit, uint64_t id);
/* Goes on after a decision was made out of turn; then settles. */
void session_resume(struct session *session);
/* Ends the session if it is over, else sets its deadline. The session may be gone after it. */
void session_settle(struct session *session);
void session_timeout(struct session *session);
void session_stop(struct session *session); /* a stop waits no longer for its message */
void session_end(struct session *session, bool is_abort);
/* Ends it at once, whatever is out at the keeper. */
void session_discard(struct session *session);
void session_reply(struct session *session, uint16_t code, struct str enhanced, struct str text);
/* Who the session is by the newest configuration. False: may send to nobody. */
bool session_credential(
        const struct session *session, const struct config_credential **ret_credential);
/* Was it let in by a login that is no longer good? */
bool session_is_revoked(const struct session *session);

/* transaction.c */
void session_mail(struct session *session, const struct smtp_server_event *event);
void session_rcpt(struct session *session, const struct smtp_server_event *event);
void session_content(struct session *session, struct str bytes);
void session_content_end(struct session *session);
/* Gives the message up; it may have to wait for chunks (is_dropping). */
void session_drop(struct session *session);
void session_forget_message(struct session *session); /* its chunks stay where they are */
void transaction_kept(struct submit *submit, struct keeper_accept *accept);
void transaction_stored(struct submit *submit, struct keeper_body *body);

/* auth.c */
void session_auth(struct session *session, const struct smtp_server_event *event);
void auth_verified(struct submit *submit, struct submit_auth *auth);

#endif
