/* SPDX-License-Identifier: Apache-2.0
 *
 * smtp_client.h - one outbound SMTP connection as an engine: bytes in, bytes and events out.
 *
 * Greeting, EHLO (or HELO), STARTTLS, then transactions: one write for MAIL, RCPT... and DATA where
 * the server offers PIPELINING (RFC 2920), step by step elsewhere. The driver owns socket, clock,
 * TLS and the message: it writes the content itself (dotstuff.h) after SMTP_CLIENT_GO. Allocates
 * nothing. What a reply means for a recipient's fate is judged by the caller.
 *
 * How to drive it:
 *
 *     smtp_client_open(&c, &conf);
 *     loop:
 *         write smtp_client_output(&c), smtp_client_wrote(&c, n);
 *         read bytes
 *         while ((used = smtp_client_input(&c, bytes, &event)) > 0 || event.kind !=
 * SMTP_CLIENT_NONE) bytes = str_from(bytes, used), act on event; all bytes are used now, unless
 * WANT_TLS or the connection is over on loss or timeout: smtp_client_lost(&c, fault), then
 * smtp_client_input(&c, nothing, &event) until SMTP_CLIENT_NONE
 *
 * What becomes of each recipient of a mail: a negative RCPT is final for that one; DONE, REFUSED or
 * FAILED, exactly one for each mail, speaks for all others.
 */
#ifndef OUTPOST_PROTO_SMTP_CLIENT_H
#define OUTPOST_PROTO_SMTP_CLIENT_H

#include "proto/smtp_reply.h"

enum {
    SMTP_CLIENT_OUTPUT_BYTES = 4096,
    SMTP_CLIENT_PATH_BYTES_MAX = 1024, /* RFC 5321 4.5.3.1.3 says 256; ours passed the door */
    SMTP_CLIENT_NAME_BYTES_MAX = 255,  /* EHLO name */
};
/* RFC 5321 4.5.3.2, in milliseconds. */
#define SMTP_CLIENT_GREETING_TIMEOUT_MS UINT64_C(300000) /* .1 */
#define SMTP_CLIENT_COMMAND_TIMEOUT_MS                                                             \
    UINT64_C(300000)                                  /* .2 .3: MAIL, RCPT, and EHLO, STARTTLS     \
                                                       */
#define SMTP_CLIENT_DATA_TIMEOUT_MS UINT64_C(120000)  /* .4 */
#define SMTP_CLIENT_BLOCK_TIMEOUT_MS UINT64_C(180000) /* .5 */
#define SMTP_CLIENT_FINAL_TIMEOUT_MS UINT64_C(600000) /* .6, never less */
#define SMTP_CLIENT_TLS_TIMEOUT_MS UINT64_C(60000)    /* handshake; own choice */
#define SMTP_CLIENT_QUIT_TIMEOUT_MS UINT64_C(5000)    /* nothing depends on it; own choice */

enum smtp_client_tls {
    SMTP_CLIENT_TLS_NONE, /* never ask for it */
    SMTP_CLIENT_TLS_MAY,  /* STARTTLS if offered; refused or not offered: in the clear */
    SMTP_CLIENT_TLS_MUST, /* no mail without it */
};

struct smtp_client_conf {
    struct str ehlo_name; /* lives as long as the client */
    enum smtp_client_tls tls;
    bool is_tls; /* TLS is up already: no STARTTLS */
};

/* What the last EHLO offered. All false after HELO. */
struct smtp_client_caps {
    uint64_t size_max_bytes; /* 0: none stated, or no limit (RFC 1870 4) */
    bool is_esmtp, has_pipelining, has_size, has_8bitmime, has_starttls, has_enhanced_codes;
};

/* One transaction. All of it stays valid and unchanged until its DONE, REFUSED or FAILED. */
struct smtp_client_mail {
    struct str sender;       /* without <>; empty: null reverse-path */
    const struct str *rcpts; /* without <> */
    uint32_t rcpt_count;     /* at least 1 */
    uint64_t size_bytes;     /* of the content before dot-stuffing */
    bool is_8bit;
};

enum smtp_client_event_kind {
    SMTP_CLIENT_NONE,
    SMTP_CLIENT_WANT_TLS, /* start the handshake now, then smtp_client_tls_done */
    SMTP_CLIENT_READY,    /* smtp_client_send may be called */
    SMTP_CLIENT_RCPT,     /* event.reply is for event.rcpt_index; 2xx: accepted so far */
    SMTP_CLIENT_GO,       /* 354 and an accepted recipient: write content and its end, then
                           * smtp_client_body_sent */
    SMTP_CLIENT_DONE,     /* event.reply is final for every accepted recipient */
    SMTP_CLIENT_REFUSED,  /* event.reply (to event.phase) refuses all that is left; no content was
                           * sent; the connection stays usable */
    SMTP_CLIENT_FAILED,   /* the connection is over, see fault; one for each open mail, or a single
                           * one with mail == NULL. Write what output there is and close */
    SMTP_CLIENT_CLOSED,   /* smtp_client_quit() is through: close */
};

enum smtp_client_phase {
    SMTP_CLIENT_PHASE_GREETING,
    SMTP_CLIENT_PHASE_EHLO,
    SMTP_CLIENT_PHASE_HELO,
    SMTP_CLIENT_PHASE_STARTTLS,
    SMTP_CLIENT_PHASE_TLS, /* handshake */
    SMTP_CLIENT_PHASE_IDLE,
    SMTP_CLIENT_PHASE_RSET,
    SMTP_CLIENT_PHASE_MAIL,
    SMTP_CLIENT_PHASE_RCPT,
    SMTP_CLIENT_PHASE_DATA,
    SMTP_CLIENT_PHASE_BODY,  /* GO was given, smtp_client_body_sent not yet called */
    SMTP_CLIENT_PHASE_FINAL, /* the reply to the final dot */
    SMTP_CLIENT_PHASE_QUIT,
    SMTP_CLIENT_PHASE_CLOSED,
    SMTP_CLIENT_PHASE_COUNT
};
/* "while sending RCPT TO": for texts in the manner of Postfix. */
const char *smtp_client_phase_name(enum smtp_client_phase phase);

enum smtp_client_fault {
    SMTP_CLIENT_FAULT_NONE,
    SMTP_CLIENT_FAULT_REPLY,    /* event.reply says no to the whole connection (421, banner 5xx) */
    SMTP_CLIENT_FAULT_GARBAGE,  /* not a reply, or over a limit: defer 4.5.0 */
    SMTP_CLIENT_FAULT_PROTOCOL, /* a reply that makes no sense here: event.reply; defer */
    SMTP_CLIENT_FAULT_DESYNC,   /* replies before their command, or bytes behind 220 STARTTLS */
    SMTP_CLIENT_FAULT_TLS_MISSING, /* wanted, not offered: defer 4.7.5 */
    SMTP_CLIENT_FAULT_TLS_REFUSED, /* wanted, STARTTLS refused: event.reply; defer 4.7.5 */
    SMTP_CLIENT_FAULT_TLS,         /* the handshake failed (smtp_client_tls_done said so) */
    SMTP_CLIENT_FAULT_LOST,        /* the driver: connection closed or reset */
    SMTP_CLIENT_FAULT_TIMEOUT,     /* the driver: smtp_client_timeout_ms passed */
    SMTP_CLIENT_FAULT_COUNT
};
const char *smtp_client_fault_name(enum smtp_client_fault fault);

struct smtp_client_event {
    enum smtp_client_event_kind kind;
    enum smtp_client_phase phase; /* REFUSED, FAILED: what the peer was asked */
    enum smtp_client_fault fault; /* FAILED */
    const struct smtp_client_mail *mail;
    const struct smtp_reply *reply; /* NULL where there is none; valid until the next call */
    uint32_t rcpt_index;            /* RCPT */
    /* FAILED: the final dot went out and no full reply came: the mail may have been taken. True
     * only where a recipient had been accepted. In doubt, never success (RFC 1047). */
    bool is_after_dot;
};

/* A transaction under way; the engine's own. Positions count its commands: 0 RSET, 1 MAIL, from 2
 * on RCPT, behind them DATA. */
struct smtp_client_txn {
    const struct smtp_client_mail *mail; /* NULL: none */
    uint32_t asked_pos;                  /* the next command to put into the output */
    uint32_t answered_pos;               /* the next command to be answered */
    uint32_t accepted_count;             /* recipients */
    bool mail_is_refused;
    bool has_orphan;   /* a recipient was accepted although MAIL was not */
    bool has_lone_dot; /* 354 though nobody was accepted: a dot alone ends it (RFC 2920 3.1) */
    bool is_over;      /* that dot is answered */
};

/* Members are the engine's own. About 7.5 KiB. */
struct smtp_client {
    struct smtp_client_conf conf;
    struct smtp_client_caps caps, caps_new; /* _new: while EHLO's lines come in */
    enum smtp_client_phase phase;           /* whose reply comes next */
    enum smtp_client_phase failed_phase;
    enum smtp_client_fault fault;
    struct smtp_client_txn txn[2]; /* [0] is the one whose replies come; [1] rides behind it */
    bool is_tls;
    bool needs_rset;       /* the last transaction was left open */
    bool has_failed;       /* FAILED events are due or were given */
    bool has_told_failure; /* all of them were */
    bool owes_closed;      /* CLOSED is due */
    bool fault_has_reply;
    bool is_reply_begun;   /* a part of reply came in */
    bool is_reply_unasked; /* nothing was asked when it began */
    bool is_after_dot;
    uint64_t asked_count;    /* commands written out, the greeting and each final dot included */
    uint64_t answered_count; /* replies begun */
    struct smtp_reply reply;
    struct smtp_reply refusal; /* to MAIL, while the rest of its group is answered */
    uint32_t out_len, out_done;
    char out[SMTP_CLIENT_OUTPUT_BYTES];
};

void smtp_client_open(struct smtp_client *client, const struct smtp_client_conf *conf);

struct str smtp_client_output(struct smtp_client *client); /* bytes to write now; may be empty */
void smtp_client_wrote(struct smtp_client *client, size_t n_bytes);

/* Uses bytes up to the first event or their end; returns how many. Events may come with 0 used:
 * go on until 0 and SMTP_CLIENT_NONE. */
MUST_USE size_t smtp_client_input(
        struct smtp_client *client, struct str bytes, struct smtp_client_event *ret_event);

/* Begins a transaction; the commands are in the output. Allowed when smtp_client_can_send.
 * E_TOO_BIG: over the server's SIZE (bounce 5.3.4). E_UNSUPPORTED: 8-bit content and no 8BITMIME
 * (bounce 5.6.3). E_SYNTAX: an address that cannot stand in a command (control, blank outside
 * quotes, non-ASCII, > SMTP_CLIENT_PATH_BYTES_MAX) or no recipient. E_BUSY: not now. After an error
 * nothing was done and the connection is as before. */
MUST_USE enum err smtp_client_send(struct smtp_client *client, const struct smtp_client_mail *mail);
/* Idle; or, with PIPELINING, one body is out and its reply is awaited: the next envelope then rides
 * behind it (RFC 2920 3.1). */
bool smtp_client_can_send(const struct smtp_client *client);

/* After GO, as soon as the end of data may have left this side (or stands before the output in the
 * same write), and before any input is shown: from here on a loss is a doubt. Does nothing if the
 * connection failed meanwhile. */
void smtp_client_body_sent(struct smtp_client *client);

void smtp_client_tls_done(struct smtp_client *client, bool is_ok); /* after WANT_TLS */
/* Says QUIT where the connection is idle; CLOSED follows. Elsewhere: just lost. */
void smtp_client_quit(struct smtp_client *client);
/* The connection broke or a deadline passed. FAILED (or CLOSED after QUIT) events follow. */
void smtp_client_lost(struct smtp_client *client, enum smtp_client_fault fault);

/* How long the present phase may last from its beginning (BODY: from the last progress); 0: idle,
 * no limit of the protocol's. */
uint64_t smtp_client_timeout_ms(const struct smtp_client *client);
static inline enum smtp_client_phase smtp_client_phase(const struct smtp_client *client)
{
    return client->phase;
}
static inline const struct smtp_client_caps *smtp_client_caps(const struct smtp_client *client)
{
    return &client->caps;
}
bool smtp_client_is_closed(const struct smtp_client *client);

#endif
