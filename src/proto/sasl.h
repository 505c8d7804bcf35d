/* SPDX-License-Identifier: Apache-2.0
 *
 * sasl.h - the server's side of AUTH PLAIN (RFC 4616) and LOGIN (draft-murchison-sasl-login).
 *
 * Only decodes: it yields a user and a password, which the caller verifies in its own time (a
 * password hash on a worker). Decoded here and not by libgsasl, whose LOGIN asks "User Name" where
 * Outlook and .NET wait for "Username:", and whose PLAIN takes what RFC 4616 forbids.
 */
#ifndef OUTPOST_PROTO_SASL_H
#define OUTPOST_PROTO_SASL_H

#include "core/buf.h"

#define SASL_MECHANISMS "PLAIN LOGIN"
enum {
    SASL_USER_BYTES_MAX = 255,      /* RFC 4616 2 asks for 255 */
    SASL_PASSWORD_BYTES_MAX = 1024, /* 255 asked; API tokens are longer */
};

enum sasl_step {
    SASL_CONTINUE,    /* answer 334 and *ret_challenge; the next line goes to sasl_input */
    SASL_CREDENTIALS, /* sasl->user and sasl->password are set: verify, then sasl_done */
    SASL_BAD,         /* not base64: 501 5.5.2 */
    SASL_ABORTED,     /* "*": 501 5.5.2 Authentication aborted */
    SASL_REFUSED,     /* foreign authzid, control in user, too long, no user: 535 5.7.8 */
    SASL_UNKNOWN,     /* no such mechanism: 504 5.5.4 */
    SASL_NOMEM,       /* 454 4.7.0 */
};

/* All-zero is valid (sasl_done does nothing). user and password are views of what sasl owns, until
 * sasl_done; neither holds a NUL, user is UTF-8 without controls. */
struct sasl {
    struct str user, password;
    struct buf plain; /* decoded bytes, wiped in sasl_done */
    uint8_t expects;  /* enum in sasl.c */
};

/* Starts over (a previous exchange is wiped). initial: base64 or "=" for an empty one; only looked
 * at with has_initial. *ret_challenge is base64 of static storage, set on SASL_CONTINUE. */
MUST_USE enum sasl_step sasl_begin(struct sasl *sasl, struct str mechanism, bool has_initial,
        struct str initial, struct str *ret_challenge);
MUST_USE enum sasl_step sasl_input(struct sasl *sasl, struct str line, struct str *ret_challenge);
void sasl_done(struct sasl *sasl); /* wipes and frees */

#endif
