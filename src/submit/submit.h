/* SPDX-License-Identifier: Apache-2.0
 *
 * submit.h - the way in: listeners and SMTP sessions of one session loop, and the sandbox's
 * catcher.
 *
 * Sessions drive proto/smtp_server over edge/net, pass bytes to the door (intake) and wait for the
 * keeper before they say 250. One `struct submit` a loop; all its calls are made on that loop's
 * thread. What is counted over all loops (connections, failed logins) and remembered by them
 * (verified logins) lies in struct submit_shared, by atomics.
 *
 * Deadlines may be set between two turns, by what the net tells: call submit_turn and catcher_turn
 * at least once a second.
 */
#ifndef OUTPOST_SUBMIT_H
#define OUTPOST_SUBMIT_H

#include "config/config.h"
#include "core/blob.h"
#include "core/log.h"
#include "core/mailbox.h"
#include "edge/clock.h"
#include "edge/disk.h"
#include "edge/entropy.h"
#include "edge/net.h"
#include "spool/spool.h"

enum {
    SUBMIT_TLS_MS_MAX = 30000,        /* a handshake; hostile-input A6 */
    SUBMIT_LOADED_COMMAND_MS = 10000, /* instead of command_ms_max under load; A18 */
    SUBMIT_LOADED_PERCENT = 90,       /* of connection_count_max: from there on it is load */
    SUBMIT_RATE_GRACE_MS = 30000,     /* content may begin slower than data_rate_min for so long */
    SUBMIT_CLOSE_MS_MAX = 10000,      /* for the last reply to leave */
    SUBMIT_STOP_MS_MAX = 8000,        /* after submit_stop, for a message under way; faults 10 */
    SUBMIT_CHUNKS_OUT_MAX = 2,        /* of one message at the keeper, then reading stops */
    SUBMIT_LOGIN_MS = 300000,         /* a verified login is remembered; hardening 8 */
    SUBMIT_LOGIN_COUNT_MAX = 8192,
    SUBMIT_FAILURE_BURST_IP = 10,   /* failed logins per address (IPv6: /64), then … */
    SUBMIT_FAILURE_MS_IP = 30000,   /* … one in so long; hostile-input B4 */
    SUBMIT_FAILURE_BURST_USER = 30, /* and per login, from anywhere */
    SUBMIT_FAILURE_MS_USER = 10000,
    SUBMIT_REFUSED_PER_S_MAX = 50, /* refusals told to the history, a loop */
    SUBMIT_PASSWORD_BYTES_MAX = 1024
};

/* Letters that come back to the loop's box for this room (reply_kind of what it sent out). */
enum submit_letter_kind {
    SUBMIT_KEPT = 0x100, /* struct keeper_accept */
    SUBMIT_STORED,       /* struct keeper_body */
    SUBMIT_VERIFIED      /* struct submit_auth */
};

struct submit_shared;

/* A password to be verified on a worker, which calls submit_auth_run, sets kind to SUBMIT_VERIFIED
 * and sends it back to reply_box. */
struct submit_auth {
    struct letter letter;
    struct mailbox *reply_box;
    uint64_t session_id;
    struct submit_shared *shared; /* where the login may be known by now */
    struct mono asked_at;
    struct config *config; /* counted */
    char user[256];
    char password[SUBMIT_PASSWORD_BYTES_MAX]; /* wiped by submit_auth_free */
    size_t user_len, password_len;
    bool is_good; /* the answer */
};
/* On the worker: sets is_good by yescrypt; takes the same time for unknown users. */
void submit_auth_run(struct submit_auth *auth);
void submit_auth_free(struct submit_auth *auth); /* NULL is fine */

/* Over all loops of a node. */
MUST_USE enum err submit_shared_new(struct entropy *entropy, struct submit_shared **ret_shared);
void submit_shared_free(struct submit_shared *shared);
/* Credentials were revoked or changed: forget verified logins. */
void submit_shared_forget(struct submit_shared *shared);

struct submit_ports {
    void *ctx;
    struct mailbox *self; /* this loop's box, for answers */
    struct mailbox *keeper;
    struct mailbox *workers; /* takes struct submit_auth with kind auth_kind */
    uint32_t auth_kind;
};
struct submit_stats {
    uint64_t connections, sessions_now, accepted_msgs, refused_rcpts, refused_msgs, auth_ok,
            auth_failed;
};

struct submit;
MUST_USE enum err submit_new(struct net *net, struct clock *clock, struct entropy *entropy,
        const struct log *log, struct submit_shared *shared, struct blob_budget *budget,
        struct config *config, const struct submit_ports *ports, struct submit **ret_submit);
/* Opens every listener of the configuration (is_shared_port where there are several loops). Those
 * that are open already and still wanted stay, others are closed. E_BUSY and the like name the
 * address in why; the rest is opened even so. */
MUST_USE enum err submit_listen(struct submit *submit, bool is_shared_port, struct why *why);
void submit_letter(struct submit *submit, struct letter *letter, struct mono now);
struct mono submit_turn(struct submit *submit, struct mono now); /* deadlines; returns the next */
/* New messages are judged by it, old sessions' too; a session whose credential is gone or has
 * another password ends with 421. Counted. submit_listen then opens what is new. */
void submit_config(struct submit *submit, struct config *config);
/* The spool refuses (disk full, failing): MAIL is answered 452 4.3.1 until it does no more. */
void submit_refuse(struct submit *submit, bool is_refusing);
/* No new sessions; idle ones get 421 4.3.2 at once, busy ones when their message is done, or where
 * it is not in SUBMIT_STOP_MS_MAX. */
void submit_stop(struct submit *submit);
bool submit_is_idle(const struct submit *submit);
void submit_get_stats(const struct submit *submit, struct submit_stats *ret_stats);
/* Connections are cut. Letters still out must not be given to submit_letter any more. */
void submit_free(struct submit *submit);

/* The catcher: a receiving SMTP server of our own for the sandbox. It accepts everything, writes
 * each message as NNNNNN.eml with its envelope in front as "X-Envelope-From/-To" fields into disk,
 * and never sends. Numbers go on behind those that are there. Addresses whose local part starts
 * with "reject" get 550 5.1.1, "defer" 451 4.2.1. */
struct catcher;
MUST_USE enum err catcher_new(struct net *net, struct clock *clock, const struct log *log,
        struct disk *disk, const struct ip_port *at, struct catcher **ret_catcher, struct why *why);
struct mono catcher_turn(struct catcher *catcher, struct mono now);
void catcher_free(struct catcher *catcher);

#endif
