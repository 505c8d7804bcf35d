/* SPDX-License-Identifier: Apache-2.0
 *
 * smtp_ask_priv.h - one short dialogue with a mail server: which certificate does it show, or does
 * it take mail for this mailbox? Never DATA.
 */
#ifndef OUTPOST_IDENTITY_SMTP_ASK_PRIV_H
#define OUTPOST_IDENTITY_SMTP_ASK_PRIV_H

#include "edge/dns.h"
#include "proto/smtp_reply.h"

struct net;
struct smtp_ask;

enum smtp_want {
    SMTP_WANT_CERT,         /* after STARTTLS */
    SMTP_WANT_CERT_AT_ONCE, /* the port speaks TLS from its first byte (RFC 8314) */
    SMTP_WANT_RCPT,         /* what is said to RCPT, from the null sender */
};
struct smtp_how {
    enum smtp_want want;
    struct ip_port at;
    struct str ehlo;    /* a host name */
    struct str host;    /* SMTP_WANT_CERT*: the name that is asked for (SNI) */
    struct str mailbox; /* SMTP_WANT_RCPT: "postmaster@shop.example", of ours or checked names */
};
enum { SMTP_ASK_WORDS_CAP = 400, SMTP_CERT_BYTES = 32 };
/* What became of it. err: E_REFUSED (nothing listens there), E_TIMEOUT, E_IO (no way, or the
 * connection broke), E_UNSUPPORTED (no STARTTLS), E_SYNTAX (no SMTP), E_DENIED (an answer that
 * decides nothing), all with words. */
struct smtp_said {
    enum err err;
    uint8_t cert_sha256[SMTP_CERT_BYTES]; /* SMTP_WANT_CERT* */
    bool is_taken;                        /* SMTP_WANT_RCPT: or refused because of the mailbox */
    char words[SMTP_ASK_WORDS_CAP];       /* escaped */
};
typedef void smtp_asked(void *ctx, const struct smtp_said *said);

/* Calls done once, never from within this call; *ret_ask is gone then. Keeps no time: whoever asks
 * drops it. net: a real one. E_IO: no way there; E_NOMEM; E_USAGE: a name is too long. */
MUST_USE enum err smtp_ask_begin(struct net *net, const struct smtp_how *how, smtp_asked *done,
        void *ctx, struct smtp_ask **ret_ask, struct why *why);
/* No done comes. net_closed: its connection is gone already. NULL is fine. */
void smtp_ask_drop(struct smtp_ask *ask, bool net_closed);

/* Does the refusal speak of the mailbox, rather than of us? (RFC 3463 3.2, 3.3; RFC 5321 4.2.3) */
bool smtp_is_about_mailbox(const struct smtp_reply *reply);

#endif
