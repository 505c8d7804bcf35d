/* SPDX-License-Identifier: Apache-2.0
 *
 * dkim.h - DKIM signatures, made and verified (RFC 6376, 8301, 8463).
 *
 * Pure: DNS is asked by the caller, which gets names from dkim_verify_question and hands the
 * answers back. Signing never uses l= and always relaxed/relaxed. Which key signs what is decided
 * elsewhere.
 */
#ifndef OUTPOST_MAIL_DKIM_H
#define OUTPOST_MAIL_DKIM_H

#include "core/buf.h"
#include "core/crypto.h"

enum {
    DKIM_SIGNATURE_COUNT_MAX = 10,    /* looked at in one message; RFC 6376 4.2 lets us limit it */
    DKIM_FIELD_BYTES_MAX = 192 << 10, /* of a signature field made here: h= grows with the header */
    DKIM_NAME_CAP = 512,              /* selector._domainkey.domain */
    DKIM_REASON_CAP = 160,
    DKIM_RSA_BITS_MIN =
            1024, /* RFC 8301 3.2; above 4096 core/crypto.h refuses (hostile-input G3) */
    DKIM_TXT_BYTES_MAX = 8192,
};

/* --- body hash ------------------------------------------------------------------------------- */

enum dkim_canon { DKIM_SIMPLE, DKIM_RELAXED };
struct dkim_body_how {
    enum dkim_canon canon;
    bool is_sha1;         /* verification of old signatures only */
    bool has_limit;       /* l= */
    uint64_t limit_bytes; /* of the canonical body */
};

/* Running hash of a canonicalized body (RFC 6376 3.4.3, 3.4.4), fed in any pieces with the same
 * result. CRLF ends a line; a lone CR or LF is a byte like others. */
struct dkim_body_hash {
    struct digest digest;
    struct dkim_body_how how;
    uint64_t canon_bytes;     /* canonical bytes hashed or cut off by l=; all of them at the end */
    uint64_t held_line_count; /* line ends not yet written: at the very end they do not count */
    size_t staged_count;      /* bytes in staged, not yet in the digest */
    bool is_blank_held;       /* relaxed: blanks that count only before more of the line */
    bool is_cr_held;          /* a CR that may become a line end */
    char staged[512];
};

/* how NULL: as we sign, relaxed and SHA-256. E_NOMEM. After OK call end or drop. */
MUST_USE enum err dkim_body_begin(struct dkim_body_hash *hash, const struct dkim_body_how *how);
void dkim_body_add(struct dkim_body_hash *hash, struct str part);
size_t dkim_body_end(struct dkim_body_hash *hash, uint8_t ret_hash[SHA256_BYTES]); /* bytes */
void dkim_body_drop(struct dkim_body_hash *hash); /* frees; fine when all-zero */

/* --- signing --------------------------------------------------------------------------------- */

struct dkim_signing {
    struct str domain;        /* d=: A-labels, from configuration only */
    struct str selector;      /* s= */
    const struct key *key;    /* RSA: rsa-sha256; Ed25519: ed25519-sha256 */
    struct wall accepted;     /* t= */
    const uint8_t *body_hash; /* SHA256_BYTES of relaxed SHA-256 */
};

/* Appends the complete field ("DKIM-Signature: ...\r\n", folded at 78 columns) for header_block:
 * all fields with CRLF, without the empty line. Deterministic. E_USAGE: domain or selector is no
 * name, or the key cannot sign; E_SYNTAX, E_TOO_BIG: header_block is no header (see header.h);
 * E_NOMEM. Safe from several threads with one key. */
MUST_USE enum err dkim_sign(
        const struct dkim_signing *how, struct str header_block, struct buf *ret_field);

/* Is a field of this name signed where present; is one more than present listed in h=? */
bool dkim_is_signed(struct str field_name);
bool dkim_is_oversigned(struct str field_name);

/* --- key records ----------------------------------------------------------------------------- */

/* Appends what the TXT record of a key says: "v=DKIM1; k=rsa; p=...". E_NOMEM. */
MUST_USE enum err dkim_record(const struct key *key, struct buf *ret_text);
/* Appends a master file line (RFC 1035 5.1), strings of at most 255 octets:
 * s1._domainkey.example.com. IN TXT ( "v=DKIM1; ..." "..." )\n. E_USAGE as dkim_sign; E_NOMEM. */
MUST_USE enum err dkim_record_line(
        struct str domain, struct str selector, const struct key *key, struct buf *ret_line);

struct dkim_published {
    struct key *key;   /* the caller's; NULL: none can be read */
    bool is_testing;   /* t=y */
    const char *fault; /* why no signature of today can be verified by it; NULL: it can; static */
};
/* Reads the TXT record of a key as a verifier would, without a signature. E_NOMEM. */
MUST_USE enum err dkim_record_read(struct str txt, struct dkim_published *ret_published);

/* --- verification ---------------------------------------------------------------------------- */

enum dkim_result {
    DKIM_PENDING, /* a question is open */
    DKIM_PASS,
    DKIM_FAIL,      /* body hash or signature does not match */
    DKIM_PERMERROR, /* signature or key unusable */
    DKIM_TEMPERROR, /* DNS failed: may pass later */
};
const char *dkim_result_name(enum dkim_result result); /* "pass", "fail", ... (RFC 8601 2.7.1) */

/* All-zero is what RFC 6376, 8301 and 8463 ask. */
struct dkim_policy {
    /* rsa-sha1 and keys under 1024 bits are verified as before RFC 8301; and with them what their
     * time had: g= in keys (RFC 4871 3.6.1), signatures over the body itself (no bh=). */
    bool allow_sha1_and_short;
    /* Signatures of the drafts before RFC 4871 (v= absent or 0.5) are PERMERROR, as RFC 6376 6.1.1
     * has it; by default they are verified, since nothing else about them differs. */
    bool refuse_drafts;
};

enum dkim_answer {
    DKIM_FOUND,    /* txt: the record, its strings joined without blanks */
    DKIM_NONE,     /* no such name, or no TXT record */
    DKIM_TEMPFAIL, /* SERVFAIL, time-out, bogus */
};

/* What is known of one signature; views point into the message. */
struct dkim_verdict {
    enum dkim_result result;
    char reason[DKIM_REASON_CAP];                     /* words for result; "" for PASS */
    struct str domain, selector, algorithm, identity; /* d= s= a= i= as written; may be empty */
    char b_prefix[9];            /* first 8 characters of b= (RFC 6008 header.b) */
    uint32_t key_bits;           /* 0: no key seen */
    bool is_testing;             /* t=y in the key: treat as unsigned (RFC 6376 3.6.1) */
    uint64_t unsigned_bytes;     /* of the canonical body, behind l= */
    int64_t signed_s, expires_s; /* t= and x=; 0: absent */
};

struct dkim_verify;

/* Finds the signatures of message (CRLF lines; must stay until free), the first
 * DKIM_SIGNATURE_COUNT_MAX from the top, and judges what needs no key. now is for x=. policy NULL:
 * all-zero. E_SYNTAX, E_TOO_BIG: no such header (why says); E_NOMEM. */
MUST_USE enum err dkim_verify_begin(struct str message, struct wall now,
        const struct dkim_policy *policy, struct dkim_verify **ret_verify, struct why *why);
size_t dkim_verify_count(const struct dkim_verify *verify);
/* The name whose TXT record signature index needs, lower case, valid until free. False: needs
 * none, its result is final. */
bool dkim_verify_question(const struct dkim_verify *verify, size_t index, struct str *ret_name);
/* Gives the answer; has no effect where no question is open. Several records at one name: call
 * once for each, the best result stays. */
void dkim_verify_answer(
        struct dkim_verify *verify, size_t index, enum dkim_answer answer, struct str txt);
const struct dkim_verdict *dkim_verify_result(const struct dkim_verify *verify, size_t index);
void dkim_verify_free(struct dkim_verify *verify); /* NULL is fine */

#endif
