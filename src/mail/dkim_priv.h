/* SPDX-License-Identifier: Apache-2.0
 *
 * dkim_priv.h - what signing and verifying share: tag lists, canonical fields, key records.
 */
#ifndef OUTPOST_MAIL_DKIM_PRIV_H
#define OUTPOST_MAIL_DKIM_PRIV_H

#include "mail/dkim.h"
#include "mail/header.h"

/* --- dkim_tags.c: RFC 6376 3.2 --- */

enum { DKIM_TAG_COUNT_MAX = 64 };
struct dkim_tag {
    struct str name;
    struct str value; /* without blanks at both ends */
    struct str whole; /* all between '=' and ';' */
};
struct dkim_tags {
    struct dkim_tag tag[DKIM_TAG_COUNT_MAX];
    size_t count;
};
/* E_SYNTAX: not a tag list, or a name twice; E_TOO_BIG: more than DKIM_TAG_COUNT_MAX. */
MUST_USE enum err dkim_tags_parse(struct str text, struct dkim_tags *ret_tags);
const struct dkim_tag *dkim_tags_find(const struct dkim_tags *tags, const char *name);
/* The value, or fallback where the tag is absent. */
struct str dkim_tags_get(const struct dkim_tags *tags, const char *name, struct str fallback);
/* Cuts the next item of a colon-separated list off *rest; false at its end. */
bool dkim_list_cut(struct str *rest, struct str *ret_item);
bool dkim_list_has(struct str list, struct str item); /* ASCII case ignored */
/* Base64 with blanks anywhere and padding optional (RFC 6376 2.10 base64string). */
MUST_USE enum err dkim_base64(struct str text, struct buf *ret_bytes);
/* The same into dst; *ret_len bytes, untouched where there are none. */
MUST_USE enum err dkim_base64_into(
        struct str text, uint8_t *dst, size_t cap_bytes, size_t *ret_len);

bool dkim_is_name(struct str name); /* may stand in d= and s= */

/* --- dkim_header.c: RFC 6376 3.4.1, 3.4.2, 3.7 --- */

void dkim_canon_field(enum dkim_canon canon, struct str raw, struct buf *ret_text);
/* The signature field itself: without the bytes of b_value in it and without the last CRLF. */
void dkim_canon_signature(
        enum dkim_canon canon, struct str raw, struct str b_value, struct buf *ret_text);
/* The fields that names (a value of h=) lists, in its order, each name from the bottom up (5.4.2).
 * signature, which may be NULL, is never its own content. */
void dkim_canon_names(enum dkim_canon canon, const struct header *header,
        const struct header_field *signature, struct str names, struct buf *ret_text);
/* A value of c=: "relaxed/simple", "relaxed" (3.5); false: none. */
bool dkim_canon_parse(struct str text, enum dkim_canon *ret_header, enum dkim_canon *ret_body);

/* --- dkim_sign.c: writing a signature field --- */

/* Writes tokens and breaks the line before one that would pass the last column. */
struct dkim_folder {
    struct buf *out;
    size_t column;
};
void dkim_fold(struct dkim_folder *folder, struct str token, bool is_blank_before);
/* " name=value;" as one token; both together under DKIM_NAME_CAP bytes. */
void dkim_fold_tag(struct dkim_folder *folder, const char *name, struct str value);
/* "h=...;" with what dkim_sign signs, and the fields named also ("" for none). */
void dkim_fold_names(struct dkim_folder *folder, const struct header *header, struct str also);
/* Signs text and appends the base64, folded, and CRLF to field, which ends in "b=". */
MUST_USE enum err dkim_add_signature(const struct key *key, struct str text, struct buf *field);

/* --- dkim_body.c --- */

/* What dkim_body_end does before it takes the hash: all canonical bytes are in hash->digest. */
void dkim_body_settle(struct dkim_body_hash *hash);

/* --- dkim_key.c: RFC 6376 3.6.1, 6.1.2 --- */

struct dkim_key_record {
    struct key *key;                  /* NULL on error; else the caller's */
    struct str hashes;                /* h=; ptr NULL: any */
    struct str granularity;           /* g=; ptr NULL: absent */
    bool is_testing, is_exact_domain; /* t=y, t=s */
};
/* Parses txt for a signature with a key of that kind. Not OK: *ret_reason says why, static text. */
MUST_USE enum err dkim_key_parse(struct str txt, enum key_kind kind,
        struct dkim_key_record *ret_record, const char **ret_reason);

#endif
