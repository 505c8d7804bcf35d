/* SPDX-License-Identifier: Apache-2.0
 *
 * arc.h - Authenticated Received Chains, validated and continued (RFC 8617).
 *
 * Pure: yields one question at a time (mail/lookup.h). Says what the chain is worth by itself;
 * which sealers one believes is decided elsewhere.
 */
#ifndef OUTPOST_MAIL_ARC_H
#define OUTPOST_MAIL_ARC_H

#include "mail/dkim.h"
#include "mail/header.h"
#include "mail/lookup.h"

enum {
    ARC_SET_COUNT_MAX = 50, /* RFC 8617 4.2.1 */
    ARC_KEY_COUNT_MAX = 4,  /* records at one name that are tried */
    ARC_BODY_COUNT_MAX = 8, /* different ways to hash the body (c=, l=) in one chain */
    ARC_REASON_CAP = 200,
    ARC_RESULTS_BYTES_MAX = 4096, /* of an authres-payload that is sealed */
};

/* --- validation ------------------------------------------------------------------------------ */

enum arc_result {
    ARC_PENDING, /* a question is open */
    ARC_NONE,    /* no ARC field in the message */
    ARC_PASS,
    ARC_FAIL,
    ARC_TEMPERROR, /* DNS failed. RFC 8617 5.2.1 calls it a failure for good where the mail is let
                      on; who can wait asks again */
};
const char *arc_result_name(enum arc_result result); /* "none", "pass", "fail", ... */

/* What is known of one set; views point into the message. */
struct arc_set_verdict {
    enum arc_result seal;              /* of ARC-Seal; PENDING: was not looked at */
    enum arc_result message_signature; /* of ARC-Message-Signature; so too */
    const char *seal_reason, *message_signature_reason; /* static text; "" where it passed */
    struct str domain, selector;                        /* d= and s= of ARC-Seal */
    struct str signature_domain, signature_selector;    /* of ARC-Message-Signature */
    struct str cv;
    struct str results; /* ARC-Authentication-Results behind i=; folds stay in it */
};

struct arc_verify;
/* Finds the chain of message (CRLF lines; must stay until free) and judges what needs no key. now
 * is for x=. A header that is none is no error but ARC_FAIL. E_NOMEM. */
MUST_USE enum err arc_verify_begin(
        struct str message, struct wall now, struct arc_verify **ret_verify);
/* The two calls of an identity_engine; the engine is a struct arc_verify. False: done. An answer
 * without open question is ignored. */
bool arc_question(void *verify, struct lookup_question *ret_question);
void arc_answer(void *verify, const struct lookup_answer *answer);
enum arc_result arc_verify_result(const struct arc_verify *verify);
const char *arc_verify_reason(const struct arc_verify *verify); /* words for it; "" for PASS */
/* The sets by instance, from 1; 0 where the chain has no valid structure. */
size_t arc_set_count(const struct arc_verify *verify);
struct arc_set_verdict arc_set(const struct arc_verify *verify, uint32_t instance);
/* RFC 8617 5.2 step 5: the lowest instance whose signature and all above it still hold; 0: all.
 * Only after ARC_PASS. */
uint32_t arc_oldest_pass(const struct arc_verify *verify);
void arc_verify_free(struct arc_verify *verify); /* NULL is fine */

/* --- sealing --------------------------------------------------------------------------------- */

struct arc_sealing {
    struct str domain, selector; /* as in struct dkim_signing */
    const struct key *key;       /* RSA */
    struct wall sealed;          /* t= */
    const uint8_t *body_hash;    /* SHA256_BYTES of relaxed SHA-256 */
    struct str authserv_id;      /* who says the results, RFC 8601 2.5 */
    struct str results;          /* authres-payload on one line: "spf=pass ...; dkim=pass ..." */
    enum arc_result chain;       /* what validation of this message came to: NONE, PASS, FAIL */
};

/* Appends what the Authentication-Results fields of authserv_id say, as struct arc_sealing wants
 * it; nothing where there is none (RFC 8617 4.1.1: all of one's own in one). Only to be called for
 * a header from which foreign fields of that name were removed on entry (RFC 8601 5). E_NOMEM;
 * E_TOO_BIG: over ARC_RESULTS_BYTES_MAX. */
MUST_USE enum err arc_results(
        const struct header *header, struct str authserv_id, struct buf *ret_results);

/* Appends the three fields of a new set, ARC-Seal first, for header_block (as dkim_sign takes it);
 * they go on top, after everything else is done to the message (RFC 8617 5.1). Deterministic.
 * E_USAGE: domain, selector, authserv_id or results cannot be written, the key is not RSA, or chain
 * is not what header_block has; E_DENIED: the newest seal says cv=fail, so nothing is added (5.1
 * step 2); E_FULL: the chain has ARC_SET_COUNT_MAX; E_SYNTAX, E_TOO_BIG: no such header; E_NOMEM.
 * why says which. */
MUST_USE enum err arc_seal(const struct arc_sealing *how, struct str header_block,
        struct buf *ret_fields, struct why *why);

#endif
