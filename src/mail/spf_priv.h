/* SPDX-License-Identifier: Apache-2.0
 *
 * spf_priv.h - macro-strings (RFC 7208 7), between the parser and the evaluation.
 */
#ifndef OUTPOST_MAIL_SPF_PRIV_H
#define OUTPOST_MAIL_SPF_PRIV_H

#include "core/buf.h"
#include "core/ip.h"

/* One piece of a macro-string. */
struct spf_macro {
    char letter;           /* lower case; 0: literal text */
    bool is_expand;        /* also %% %_ %-, whose letter is 0 */
    bool is_url;           /* capital letter: URL-escaped */
    bool is_reversed;      /* r */
    uint32_t keep;         /* right-hand parts; 0: all */
    struct str delimiters; /* empty: "." */
    struct str literal;
};
/* Cuts the next piece off; E_SYNTAX, E_EOF. */
enum err spf_macro_next(struct str *rest, struct spf_macro *ret_macro);

/* What the letters stand for. */
struct spf_values {
    struct str local, sender_domain, domain, helo, receiver;
    struct str name; /* %{p} */
    struct ip ip;
    int64_t now_s;
};
/* Appends the expansion of a macro-string. E_SYNTAX; else what ret_text has come to (buf_err). */
MUST_USE enum err spf_expand(
        struct str text, const struct spf_values *values, struct buf *ret_text);
/* Does it hold %{p}? */
bool spf_needs_name(struct str text);
/* "2.0.192" of %{ir}: IPv4 dotted, IPv6 as nibbles (RFC 7208 7.3). */
void spf_ip_dotted(struct ip ip, struct buf *ret_text);

#endif
