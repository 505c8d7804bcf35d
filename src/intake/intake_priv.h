/* SPDX-License-Identifier: Apache-2.0
 *
 * intake_priv.h - the message being built, between intake.c (bytes, end), intake_envelope.c
 * and intake_header.c (the rules). Nobody else looks inside.
 */
#ifndef OUTPOST_INTAKE_PRIV_H
#define OUTPOST_INTAKE_PRIV_H

#include "core/arena.h"
#include "core/map.h"
#include "core/ulid.h"
#include "intake/intake.h"
#include "mail/dkim.h"
#include "mail/header.h"

enum {
    INTAKE_FACTS_BYTES_MAX = 256 << 10, /* strings of one message: meta is the largest, 35 KiB */
    INTAKE_RCPTS_BYTES_MAX = SPOOL_ENVELOPE_BYTES_MAX - INTAKE_FACTS_BYTES_MAX - 1024
};

/* A streamed piece of content: a blob to be taken, then an extent. */
struct intake_chunk {
    struct blob *blob; /* NULL once taken */
    struct spool_extent extent;
};

struct intake {
    struct intake_client client; /* its strings live in facts */
    struct blob_budget *budget;
    struct wall now;
    struct ulid ulid;
    char id[ULID_TEXT_LEN + 1];
    struct intake_refusal refusal; /* code 0: none so far */
    struct arena facts;            /* strings of client and envelope */
    struct spool_envelope envelope;

    struct buf rcpts;        /* encoded, as spool_rcpt_add makes them */
    struct map rcpt_by_hash; /* hash of the address → where it starts in rcpts */
    uint64_t hash_seed;

    struct buf head;  /* the header, while its end is not in sight */
    size_t head_seen; /* searched so far */
    bool has_header;  /* it was read and written out */

    uint64_t input_bytes;
    uint32_t line_bytes; /* of the body line so far */
    bool is_hashing;
    struct dkim_body_hash hash;

    struct blob *content; /* being filled; the last part where chunks exist */
    uint32_t crc32c;
    struct intake_chunk *chunk;
    uint32_t chunk_count, chunk_cap, chunk_taken_count, chunk_stored_count;
};

/* Remembers the first refusal and lets go of what is no longer needed. */
void intake_refuse(struct intake *intake, uint16_t code, const char *enhanced, const char *format,
        ...) PRINTF_LIKE(4, 5);
/* Fills a refusal; gives err back. */
enum err intake_refusal_set(struct intake_refusal *refusal, enum err err, uint16_t code,
        const char *enhanced, const char *format, ...) PRINTF_LIKE(5, 6);
static inline bool intake_is_refused(const struct intake *intake)
{
    return intake->refusal.code != 0;
}
/* Appends to the content that will be kept. */
void intake_store(struct intake *intake, struct str s);
/* May this credential (NULL: anybody let in) write as that domain (lower case)? */
bool intake_is_owned(const struct config_credential *credential, struct str domain);

/* Reads the header (with its empty line, or all there is), applies the rules, and stores the header
 * as it will leave. Refuses by intake_refuse. */
void intake_header(struct intake *intake, struct str bytes, bool at_end);

#endif
