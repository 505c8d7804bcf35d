/* SPDX-License-Identifier: Apache-2.0
 *
 * dsn.h - writing a delivery status notification (RFC 3464 in an RFC 6522 report).
 *
 * Text only: whether one is due, and that none answers a null sender, is decided in intake and
 * queue. Hostile text (a peer's reply, somebody's header) is escaped and folded on its way in.
 */
#ifndef OUTPOST_MAIL_DSN_H
#define OUTPOST_MAIL_DSN_H

#include "core/buf.h"

enum {
    DSN_BYTES_MAX = 8 << 20,
    DSN_DIAGNOSTIC_BYTES_MAX = 2048,     /* of each recipient; longer is cut */
    DSN_ORIGINAL_FULL_BYTES_MAX = 50000, /* a larger original is returned as header only */
};

enum dsn_action { DSN_FAILED, DSN_DELAYED, DSN_DELIVERED, DSN_RELAYED, DSN_EXPANDED };

struct dsn_recipient {
    struct str address;  /* as accepted in RCPT */
    struct str original; /* ORCPT with its xtext decoded: "rfc822;a@b"; may be empty */
    enum dsn_action action;
    struct str status;        /* "5.1.1"; one that is none becomes "x.0.0" by action */
    struct str remote_mta;    /* host name of the peer; empty: none was reached */
    struct str diagnostic;    /* its reply ("550 5.1.1 ..."), lines by CRLF or LF; may be empty */
    struct str reason;        /* ours, a sentence without peer text; used where there is no reply */
    struct wall last_attempt; /* 0: none */
    struct wall will_retry_until; /* delayed only; 0: not said */
};

struct dsn {
    struct str reporting_mta; /* our host name */
    struct str sender;        /* who gets it: the reverse-path, ASCII */
    struct str queue_id;
    struct str envelope_id; /* ENVID, decoded; may be empty */
    struct str message_id;  /* of this DSN, without <> */
    struct str boundary;    /* 16 to 60 random letters and digits */
    struct wall arrival, now;
    const struct dsn_recipient *recipient;
    size_t recipient_count; /* ≥ 1 */
    struct str original;    /* header of the original with CRLF; with body where is_full */
    bool is_full;           /* wanted whole: done if 7-bit, clean and small; else its header */
};

/* Appends the message (CRLF lines of at most 998, 7-bit). E_USAGE: no recipient, a null or
 * non-ASCII sender, a name, id or boundary with blanks or worse. Otherwise buf_err(ret_message). */
MUST_USE enum err dsn_compose(const struct dsn *dsn, struct buf *ret_message);

#endif
