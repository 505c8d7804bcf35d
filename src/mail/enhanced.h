/* SPDX-License-Identifier: Apache-2.0
 *
 * enhanced.h - enhanced status codes (RFC 3463, RFC 2034) in replies.
 */
#ifndef OUTPOST_MAIL_ENHANCED_H
#define OUTPOST_MAIL_ENHANCED_H

#include "core/base.h"

enum { ENHANCED_TEXT_CAP = 12 };

/* 2.1.5; all zero where there is none. */
struct enhanced {
    uint8_t class;            /* 2, 4 or 5 */
    uint16_t subject, detail; /* 0 .. 999 */
};
static inline bool enhanced_is_set(struct enhanced code)
{
    return code.class != 0;
}

/* Reads a code at the start of text; it must end there or before a blank. False: none, *ret_ are
 * untouched. ret_rest: the text behind it and its blanks; may be NULL. */
bool enhanced_parse(struct str text, struct enhanced *ret_code, struct str *ret_rest);

/* The code of a reply: the one in its text where its class fits the basic code, else none
 * (hostile-input H11; the text is then whole in *ret_rest). ret_rest may be NULL. */
struct enhanced enhanced_of_reply(uint16_t basic_code, struct str text, struct str *ret_rest);

/* The code to put in a DSN for a reply: enhanced_of_reply, else "2.0.0", "4.0.0" or "5.0.0". No
 * more is read into a basic code: 550 is said of mailboxes, of policy and of reputation. */
struct enhanced enhanced_or_default(uint16_t basic_code, struct str text);

size_t enhanced_format(struct enhanced code, char dst[ENHANCED_TEXT_CAP]); /* NUL-terminated */

/* Situations of our own making, with the code that says so. */
enum enhanced_situation {
    SITUATION_NO_SUCH_DOMAIN,  /* NXDOMAIN: 5.4.4 */
    SITUATION_NO_ROUTE,        /* domain without MX and address, or none usable: 5.4.4 */
    SITUATION_NULL_MX,         /* RFC 7505: 5.1.10 */
    SITUATION_NULL_MX_SENDER,  /* 5.7.27 */
    SITUATION_DNS_FAILED,      /* SERVFAIL, timeout, bogus: 4.4.3 */
    SITUATION_CONNECT_FAILED,  /* 4.4.1 */
    SITUATION_CONNECTION_LOST, /* 4.4.2 */
    SITUATION_PROTOCOL_ERROR,  /* 4.5.0 */
    SITUATION_LOOP,            /* we are the best MX, or too many hops: 5.4.6 */
    SITUATION_EXPIRED,         /* 4.4.7 */
    SITUATION_TLS_REQUIRED,    /* 4.7.5 */
    SITUATION_NEEDS_8BITMIME,  /* 5.6.3 */
    SITUATION_NEEDS_SMTPUTF8,  /* 5.6.7 */
    SITUATION_TOO_BIG,         /* over the peer's SIZE: 5.3.4 */
    SITUATION_CANCELLED,       /* by the operator: 5.7.1 */
    SITUATION_NO_KEY,          /* signing key gone: 4.7.5 */
    SITUATION_DELIVERED,       /* 2.0.0 */
    SITUATION_COUNT
};
struct enhanced enhanced_for(enum enhanced_situation situation);

#endif
