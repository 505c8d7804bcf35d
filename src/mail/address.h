/* SPDX-License-Identifier: Apache-2.0
 *
 * address.h - mailboxes as SMTP writes them (RFC 5321 4.1.2) and as header fields do (RFC
 * 5322 3.4).
 *
 * Views point into the parsed text and live as long as it. Nothing is looked up, decoded from
 * RFC 2047 (never done inside an address) or converted to A-labels (mail/domain.h does).
 */
#ifndef OUTPOST_MAIL_ADDRESS_H
#define OUTPOST_MAIL_ADDRESS_H

#include "core/arena.h"

enum {
    ADDRESS_LOCAL_BYTES_MAX = 64,   /* RFC 5321 4.5.3.1.1 */
    ADDRESS_DOMAIN_BYTES_MAX = 255, /* RFC 5321 4.5.3.1.2 */
    ADDRESS_PATH_BYTES_MAX = 256,   /* RFC 5321 4.5.3.1.3, with the angle brackets */
    ADDRESS_TEXT_CAP = 2 * ADDRESS_LOCAL_BYTES_MAX + ADDRESS_DOMAIN_BYTES_MAX + 4,
    ADDRESS_TOKENS_MAX = 10240, /* of one header field; hostile-input C4 */
    ADDRESS_COMMENT_DEPTH_MAX = 50,
};

struct address {
    struct str local;  /* as written, quotes included */
    struct str domain; /* as written; a literal with its brackets */
    bool is_literal;   /* domain is [...] */
    bool is_quoted;    /* local is "..." */
    bool is_utf8;      /* bytes above 127 in it: needs SMTPUTF8 (RFC 6531) */
    bool is_smtp;      /* may stand in MAIL and RCPT; always so from address_parse */
};

/* A mailbox or path, with or without <>; a source route is dropped (RFC 5321 3.6.1). Blanks around
 * it, comments, a missing domain, several unquoted @, a local part that begins with '-' and invalid
 * UTF-8 are E_SYNTAX; over a limit above E_TOO_BIG. The null path and a bare <Postmaster> are
 * E_SYNTAX too: ask first (text.len == 0, address_is_postmaster). ret is untouched on error. */
MUST_USE enum err address_parse(struct str text, struct address *ret_address, struct why *why);
bool address_is_postmaster(struct str text); /* "postmaster" without domain, RFC 5321 4.1.1.3 */

/* The one form in which equal addresses are equal bytes: local part decoded and quoted again only
 * where it must be, domain in lower case. Views dst, NUL-terminated. Needs is_smtp. */
struct str address_normal(const struct address *address, char dst[ADDRESS_TEXT_CAP]);
/* Just the domain in lower case, into dst (it fits: is_smtp). */
struct str address_domain_lower(const struct address *address, char dst[ADDRESS_TEXT_CAP]);

/* ---- what a text is worth as an address, for checks before anything is sent ---- */

enum address_fault {
    ADDRESS_FAULT_NONE,
    ADDRESS_FAULT_EMPTY,
    ADDRESS_FAULT_NO_AT,
    ADDRESS_FAULT_NO_LOCAL,
    ADDRESS_FAULT_NO_DOMAIN,
    ADDRESS_FAULT_NOT_UTF8,
    ADDRESS_FAULT_CONTROL,
    ADDRESS_FAULT_DOT,
    ADDRESS_FAULT_LOCAL,
    ADDRESS_FAULT_LOCAL_TOO_LONG,
    ADDRESS_FAULT_DOMAIN,
    ADDRESS_FAULT_HYPHEN,
    ADDRESS_FAULT_TOO_LONG,
    ADDRESS_FAULT_LITERAL,
    ADDRESS_FAULT_HEADER_ONLY,
    ADDRESS_FAULT_COUNT
};
struct address_forms {
    bool is_smtp;        /* Mailbox of RFC 5321 4.1.2, with RFC 6531: may stand in MAIL and RCPT */
    bool is_header;      /* addr-spec of RFC 5322 3.4.1, with comments, folds and obsolete forms */
    bool is_signup;      /* is_smtp, no quotes, no literal, no top label that begins with a digit */
    bool is_dotless;     /* one label: refuse it in a form, unless that TLD takes mail */
    bool needs_smtputf8; /* local part above ASCII (RFC 6531) */
    bool is_quoted, is_literal; /* where is_smtp */
    enum address_fault fault;   /* why not is_smtp */
    struct str local, domain;   /* where is_smtp: as written */
};
/* Never fails; any bytes. Unlike address_parse no brackets, no route, no '_' in the domain, and a
 * '-' in front is fine: the words of the RFCs, not what we let in. */
struct address_forms address_forms(struct str text);
/* "has no @": to stand behind "the address". */
const char *address_fault_words(enum address_fault fault);

/* The mailboxes of a From, Sender, To ... field's value, folds included; display names, comments
 * and obsolete forms are understood, empty list elements skipped. Where comments or folds stand
 * inside an address, its parts are copied without them to the arena. E_SYNTAX: no such list, or a
 * group; E_TOO_BIG: more than max mailboxes, or ADDRESS_TOKENS_MAX; E_NOMEM. Iterative. */
MUST_USE enum err address_list_parse(struct arena *arena, struct str field_value,
        struct address *ret_address, size_t max, size_t *ret_count);

#endif
