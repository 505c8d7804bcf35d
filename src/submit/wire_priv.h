/* SPDX-License-Identifier: Apache-2.0
 *
 * wire_priv.h - an SMTP server engine on a connection: reads, feeds, writes; knows no mail.
 *
 * Bytes are read into one scratch buffer of the loop, so that an idle session holds none; what the
 * engine cannot use yet is kept in the session. What the engine says in one round of input leaves
 * in one write. Shared by the sessions of submit and of the catcher.
 */
#ifndef OUTPOST_SUBMIT_WIRE_PRIV_H
#define OUTPOST_SUBMIT_WIRE_PRIV_H

#include "edge/net.h"
#include "proto/smtp_server.h"

enum {
    WIRE_READ_BYTES = 64 << 10,
    WIRE_SCRATCH_BYTES = WIRE_READ_BYTES + SMTP_SERVER_INPUT_BYTES_MIN,
    WIRE_ROUND_COUNT_MAX = 8 /* reads in a row before others have their turn */
};

/* One a loop. scratch holds WIRE_SCRATCH_BYTES and is used during wire_pump only. */
struct wire_room {
    struct net *net;
    char *scratch;
};

struct wire {
    struct wire_room *room;
    struct net_conn *conn;   /* NULL: closed */
    struct tls_context *tls; /* the owner's; for STARTTLS */
    /* The engine's events. Decides at once, or later and calls wire_pump then. */
    void (*event)(struct wire *wire, const struct smtp_server_event *event);
    char *kept; /* bytes read and not used yet */
    uint32_t kept_len;
    uint32_t wants;  /* enum net_want, as told to the net */
    bool is_open;    /* the engine runs: false until an implicit TLS handshake is done */
    bool is_held;    /* by the owner: nothing is read or used */
    bool is_blocked; /* the connection takes no more output now */
    bool is_handshaking;
    bool has_ended;      /* the peer sends no more */
    bool is_broken;      /* reset, or out of memory: abort it */
    bool is_over;        /* all was said: close it */
    uint64_t read_bytes; /* of the whole session */
    uint64_t step_count; /* moves when the dialogue does: a reply left or an event came */
    struct smtp_server server;
};

/* Begins the session: the greeting is queued. */
void wire_open(struct wire *wire, const struct smtp_server_conf *conf, bool is_tls);
/* Goes on as far as it can; sets is_over or is_broken at the end. may_read: the net said that
 * something is there, or it is the first time. */
void wire_pump(struct wire *wire, bool may_read);
/* Starts the handshake of a connection that begins with TLS. */
void wire_start_tls(struct wire *wire);
void wire_close(struct wire *wire, bool is_abort);

#endif
