/* SPDX-License-Identifier: Apache-2.0
 *
 * intake.h - the door: the one place through which every message enters, whatever brought it.
 *
 * A builder takes the envelope and the bytes of one message as they pass, reads the header once,
 * takes out what must not leave, adds what is missing, computes the DKIM body hash, and ends with
 * what the keeper stores: encoded envelope and content, as it will leave but for the signature.
 * Knows no sockets and does not wait.
 */
#ifndef OUTPOST_INTAKE_H
#define OUTPOST_INTAKE_H

#include "config/config.h"
#include "core/blob.h"
#include "core/buf.h"
#include "edge/entropy.h"
#include "spool/spool.h"

enum {
    INTAKE_HOP_COUNT_MAX = 100,      /* Received fields, RFC 5321 6.3 */
    INTAKE_OWN_TRACE_COUNT_MAX = 1,  /* of them ours: a second one is a loop */
    INTAKE_FROM_COUNT_MAX = 100,     /* mailboxes in From */
    INTAKE_STREAM_BYTES_MAX = 64,    /* X-Outpost-Stream */
    INTAKE_TAG_BYTES_MAX = 128,      /* X-Outpost-Tag */
    INTAKE_META_COUNT_MAX = 32,      /* X-Outpost-Meta-* fields */
    INTAKE_META_NAME_BYTES_MAX = 64, /* what follows X-Outpost-Meta- */
    INTAKE_META_VALUE_BYTES_MAX = 1024,
    INTAKE_CHUNK_BYTES =
            256 << 10,           /* of streamed content behind the first SPOOL_INLINE_BYTES_MAX */
    INTAKE_LINE_BYTES_MAX = 998, /* without CRLF, RFC 5321 4.5.3.1.6 */
    INTAKE_MESSAGE_ID_BYTES_MAX = 998,
    INTAKE_SUBJECT_HINT_BYTES_MAX = 100
};

/* Why the door said no: an SMTP reply, also shown by other ways in. text may hold any byte of the
 * client's: whoever shows it escapes it. */
struct intake_refusal {
    uint16_t code;
    char enhanced[12];
    char text[300];
};

/* Who submits, as far as the door asks. Strings are copied where they are needed later. */
struct intake_client {
    const struct config *config;                /* kept by the caller until intake_free */
    const struct config_credential *credential; /* NULL: an allowed network without one, or local */
    bool is_client_hidden; /* nothing of address and name of the client in Received */
    struct str client;     /* "192.0.2.1", "local" */
    struct str helo;
    struct str protocol; /* "ESMTP", "ESMTPSA", ... RFC 3848 */
    struct str tls;      /* "TLSv1.3 with cipher ..." or "" */
    bool is_own_dsn;     /* our own report: exempt from credential, key and rate rules */
};

struct intake; /* one message on its way in */
/* budget may be NULL. E_NOMEM: answer 452 4.3.1. */
MUST_USE enum err intake_new(const struct intake_client *client, struct blob_budget *budget,
        struct entropy *entropy, struct wall now, struct intake **ret_intake);
void intake_free(struct intake *intake); /* NULL is fine; gives back what was not taken */

/* Envelope rules. OK, or E_DENIED/E_SYNTAX/E_FULL/E_NOMEM with *ret_refusal to answer; the message
 * goes on without that address. Paths are without <>. The null reverse-path is fine. Addresses are
 * kept in their normal form (mail/address.h). A recipient named twice is OK and kept once. */
MUST_USE enum err intake_sender(struct intake *intake, struct str path, bool is_8bit_declared,
        struct intake_refusal *ret_refusal);
MUST_USE enum err intake_recipient(
        struct intake *intake, struct str path, struct intake_refusal *ret_refusal);
uint32_t intake_rcpt_count(const struct intake *intake);

/* Content as it passes: CRLF lines, dots unstuffed, any split. Errors are remembered; feeding may
 * go on and is ignored. intake_end: that was all. Content beyond SPOOL_INLINE_BYTES_MAX gathers in
 * chunks: after each of the two calls, while intake_chunk_take gives one, send it to the keeper as
 * KEEPER_BODY and tell intake_chunk_stored, in the same order, when its extent is known (err OK) or
 * that it could not be stored. */
void intake_content(struct intake *intake, struct str bytes);
void intake_end(struct intake *intake);
struct blob *intake_chunk_take(struct intake *intake);
void intake_chunk_stored(struct intake *intake, enum err err, struct spool_extent extent);
uint32_t intake_chunks_out(const struct intake *intake); /* taken and not yet stored */

/* After intake_end, once no chunk is out. OK: *ret_accept is ready for the keeper (reply unset),
 * its ulid in *ret_ulid. Else (E_DENIED) *ret_refusal says what to answer; streamed chunks of it
 * are to be dropped with the body in *ret_drop (extent_count 0: nothing to drop; else the caller's,
 * its extents by mem_free). */
MUST_USE enum err intake_finish(struct intake *intake, struct keeper_accept **ret_accept,
        struct ulid *ret_ulid, struct spool_body *ret_drop, struct intake_refusal *ret_refusal);
/* Gives up half way, once no chunk is out: what was streamed, to be dropped as above. */
void intake_abandon(struct intake *intake, struct spool_body *ret_drop);

#endif
