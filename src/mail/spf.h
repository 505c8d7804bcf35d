/* SPDX-License-Identifier: Apache-2.0
 *
 * spf.h - who may send for a domain (RFC 7208): records read, and check_host() evaluated.
 *
 * The evaluation is an engine: it yields one DNS question at a time and takes the answer; who
 * drives it (identity/identity.h) keeps the time limit of 4.6.4. Every other limit is here.
 */
#ifndef OUTPOST_MAIL_SPF_H
#define OUTPOST_MAIL_SPF_H

#include "core/arena.h"
#include "core/buf.h"
#include "mail/lookup.h"

enum {
    SPF_LOOKUP_COUNT_MAX = 10, /* terms that ask DNS, over all records (RFC 7208 4.6.4) */
    SPF_VOID_COUNT_MAX = 2,    /* questions with an empty answer (4.6.4) */
    SPF_NAME_COUNT_MAX = 10,   /* hosts of one mx: more is permerror; of ptr: the rest is ignored */
    SPF_TERM_COUNT_MAX = 2000, /* of one record; a TXT of 64 KiB could hold more */
    SPF_SENDER_BYTES_MAX = 1024,
    SPF_EXPANSION_BYTES_MAX = 16384, /* of one macro-string, before a name is cut to 253 */
    SPF_EXPLANATION_BYTES_MAX = 2048,
    SPF_STEP_COUNT_MAX = 1000
};

/* ---- records ---- */

enum spf_term_kind {
    SPF_ALL,
    SPF_INCLUDE,
    SPF_A,
    SPF_MX,
    SPF_PTR,
    SPF_IP4,
    SPF_IP6,
    SPF_EXISTS,
    SPF_REDIRECT,
    SPF_EXP,
    SPF_MODIFIER /* unknown: ignored (RFC 7208 6) */
};
struct spf_term {
    enum spf_term_kind kind;
    char qualifier;           /* + - ~ ?; 0 for modifiers */
    struct str text;          /* the whole term as written, a view into the record */
    struct str domain;        /* domain-spec, macros unexpanded; empty: none */
    struct ip_net net;        /* ip4, ip6 */
    uint8_t prefix4, prefix6; /* a, mx: 32 and 128 where none is given */
};
struct spf_record {
    const struct spf_term *term;
    uint32_t term_count;
    uint32_t lookup_count;           /* terms of this record that count against the limit of 10 */
    char all;                        /* qualifier of the first `all`; 0: none */
    const struct spf_term *redirect; /* NULL: none; void beside `all` */
    const struct spf_term *exp;
};

/* Does it begin with a version section of exactly "v=spf1" (RFC 7208 4.5)? */
bool spf_is_record(struct str txt);
/* Terms in the arena, views into text. E_SYNTAX: why names the term and its fault; also where text
 * is no SPF record. E_TOO_BIG: over SPF_TERM_COUNT_MAX. E_NOMEM. */
MUST_USE enum err spf_parse(
        struct arena *arena, struct str text, struct spf_record *ret_record, struct why *why);

/* Where the PTR record of ip stands: "4.3.2.1.in-addr.arpa". E_NOMEM, E_TOO_BIG as buf_err. */
MUST_USE enum err spf_reverse_name(struct ip ip, struct buf *ret_name);

/* ---- evaluation ---- */

enum spf_result {
    SPF_NONE,
    SPF_NEUTRAL,
    SPF_PASS,
    SPF_FAIL,
    SPF_SOFTFAIL,
    SPF_TEMPERROR,
    SPF_PERMERROR
};
const char *spf_result_name(enum spf_result result);

struct spf_params {
    struct ip ip;         /* of the client; IPv4-mapped is IPv4 */
    struct str mail_from; /* with or without <>; empty: the HELO name is checked (RFC 7208 2.4) */
    struct str helo;
    struct str receiver; /* %{r}; empty: "unknown" */
    struct wall now;     /* %{t} */
    bool is_traced;      /* keep the steps */
};

enum spf_step_kind {
    SPF_STEP_RECORD, /* text: the record found at domain; detail: what is wrong, if anything */
    SPF_STEP_LOOKUP, /* text: "MX example.com"; detail: what came back */
    SPF_STEP_TERM,   /* text: the term; detail: matched or not, and why */
    SPF_STEP_RESULT  /* text: result of the evaluation at domain; detail: by what */
};
struct spf_step {
    enum spf_step_kind kind;
    uint32_t depth; /* of includes */
    bool is_matched;
    bool is_error;                   /* a term that ended all in temperror or permerror */
    struct str domain, text, detail; /* as they came: escape before printing */
};

struct spf_verdict {
    enum spf_result result;
    bool is_helo;           /* the HELO name was checked, as the sender is empty */
    struct str domain;      /* that was checked; A-labels, lower case */
    struct str mechanism;   /* that decided, as written in decided_by's record; "default"; empty */
    struct str decided_by;  /* the domain whose record decided: domain, or where it redirects */
    struct str explanation; /* of a fail: what exp= says, printable ASCII; a third party's words */
    struct str problem;     /* none, temperror, permerror: why, in words */
    uint32_t lookup_count, void_count;
    const struct spf_step *step; /* is_traced only */
    uint32_t step_count;
    bool is_cut; /* more steps than SPF_STEP_COUNT_MAX */
};

struct spf;
/* Copies what params point at. E_NOMEM; bad input is no error but a verdict. */
MUST_USE enum err spf_begin(const struct spf_params *params, struct spf **ret_spf);
/* The two calls of an identity_engine; the engine is a struct spf. False: done. An answer without
 * open question is ignored. */
bool spf_question(void *spf, struct lookup_question *ret_question);
void spf_answer(void *spf, const struct lookup_answer *answer);
/* When done; views live until spf_free. */
const struct spf_verdict *spf_verdict(const struct spf *spf);
void spf_free(struct spf *spf); /* NULL is fine */

#endif
