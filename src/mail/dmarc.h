/* SPDX-License-Identifier: Apache-2.0
 *
 * dmarc.h - DMARC: records read and judged, and messages evaluated (RFC 9989, and RFC 7489 beside
 * it: the public suffix list instead of the tree walk, pct=).
 *
 * Pure: yields one question at a time (mail/lookup.h). SPF and DKIM are evaluated before and handed
 * in; what happens to the message is decided by who asks.
 */
#ifndef OUTPOST_MAIL_DMARC_H
#define OUTPOST_MAIL_DMARC_H

#include "mail/domain.h"
#include "mail/header.h"
#include "mail/lookup.h"

enum {
    DMARC_TXT_BYTES_MAX = 8192, /* a longer record is not read */
    DMARC_FAULT_COUNT_MAX = 32, /* named one by one; fault_count goes on counting */
    DMARC_FAULT_CAP = 200,
    DMARC_URI_COUNT_MAX = 20,  /* of rua= and of ruf=; further ones are a fault */
    DMARC_QUERY_COUNT_MAX = 8, /* of one tree walk, RFC 9989 4.10 */
    DMARC_IDENTIFIER_COUNT_MAX = 24,
    DMARC_NODE_COUNT_MAX = DMARC_QUERY_COUNT_MAX * (DMARC_IDENTIFIER_COUNT_MAX + 1),
    DMARC_STEP_COUNT_MAX = 64,
    DMARC_STEP_CAP = 320,
    DMARC_AUTHOR_COUNT_MAX = 100, /* mailboxes in From */
};

/* --- records --------------------------------------------------------------------------------- */

enum dmarc_policy { DMARC_POLICY_NONE, DMARC_POLICY_QUARANTINE, DMARC_POLICY_REJECT };
const char *dmarc_policy_name(enum dmarc_policy policy); /* "none", "quarantine", "reject" */
enum dmarc_psd { DMARC_PSD_UNKNOWN, DMARC_PSD_YES, DMARC_PSD_NO };

struct dmarc_fault {
    size_t at;     /* index in the record's text */
    bool is_error; /* breaks the grammar or a MUST; else worth knowing */
    char text[DMARC_FAULT_CAP];
};
struct dmarc_uri {
    struct str text;         /* as written, without !size */
    struct str address;      /* mailto: only; percent-encoded as written */
    struct str domain;       /* mailto: only */
    uint64_t size_bytes_max; /* !size of RFC 7489; 0: none */
};
/* Views point into text. */
struct dmarc_record {
    struct str text;
    bool is_dmarc;  /* begins with v=DMARC1; else nothing else is set but faults */
    bool is_usable; /* a policy can be had from it (RFC 9989 4.10.1) */
    bool has_p, has_sp, has_np;
    enum dmarc_policy p, sp, np; /* sp, np: only where they are there */
    bool is_dkim_strict, is_spf_strict;
    bool has_t, is_testing; /* t=y */
    bool has_pct;           /* RFC 7489; then 0 to 100 */
    uint32_t pct;           /* 100 where absent */
    enum dmarc_psd psd;
    struct str fo; /* "0" where absent */
    uint64_t ri_s; /* RFC 7489; 86400 where absent */
    struct dmarc_uri rua[DMARC_URI_COUNT_MAX], ruf[DMARC_URI_COUNT_MAX];
    size_t rua_count, ruf_count;
    struct dmarc_fault fault[DMARC_FAULT_COUNT_MAX];
    size_t fault_count, error_count; /* all, and those with is_error */
};

/* Reads a TXT record (its strings joined) with every tag of RFC 9989 4.7 and RFC 7489 6.3; faults
 * are told in the order of the text. Tag names and words in any case, as the grammar has it;
 * unknown tags are ignored. Returns is_dmarc. */
bool dmarc_parse(struct str text, struct dmarc_record *ret_record);

/* --- names ----------------------------------------------------------------------------------- */

/* The author's domain: the one domain in the one From field, as lower-case A-labels (RFC 9989
 * 5.3.1). E_SYNTAX: no From or several, not an address list, no domain, or several domains; why
 * says which. E_TOO_BIG: over DMARC_AUTHOR_COUNT_MAX; E_NOMEM. */
MUST_USE enum err dmarc_author_domain(
        const struct header *header, char dst[DOMAIN_CAP], struct str *ret_domain, struct why *why);

/* Must target say that it takes reports about domain (other organization by the public suffix
 * list)? Then the name whose TXT record must begin with v=DMARC1 is in *ret_name (RFC 7489 7.1,
 * RFC 9990 4), a view of dst. Also true with an empty name where no such name can exist. */
bool dmarc_report_question(
        struct str domain, struct str target, char dst[LOOKUP_NAME_CAP], struct str *ret_name);

/* --- evaluation ------------------------------------------------------------------------------ */

enum dmarc_method {
    DMARC_TREE_WALK,     /* RFC 9989 4.10 */
    DMARC_PUBLIC_SUFFIX, /* RFC 7489 3.2 */
};
const char *dmarc_method_name(enum dmarc_method method); /* "treewalk", "psl" (RFC 9990) */

enum dmarc_auth { DMARC_AUTH_FAIL, DMARC_AUTH_PASS, DMARC_AUTH_TEMPERROR };
struct dmarc_identifier {
    bool is_spf; /* else DKIM */
    enum dmarc_auth auth;
    struct str domain; /* SPF: of MAIL FROM, or HELO where that is empty; DKIM: d= */
};
struct dmarc_facts {
    struct str domain; /* the author's, from dmarc_author_domain or by hand */
    enum dmarc_method method;
    const struct dmarc_identifier *identifier;
    size_t identifier_count;
    uint32_t sample; /* 0 to 99, at random: below pct= the policy applies as it stands */
    bool is_traced;  /* keep the steps */
};

enum dmarc_result {
    DMARC_PENDING, /* a question is open */
    DMARC_NONE,    /* no record */
    DMARC_PASS,
    DMARC_FAIL,
    DMARC_PERMERROR, /* no author's domain, or a record without a usable policy */
    DMARC_TEMPERROR, /* DNS failed, here or for an identifier that would count */
};
const char *dmarc_result_name(enum dmarc_result result); /* RFC 8601 2.7 */

/* Views live until dmarc_free. */
struct dmarc_verdict {
    enum dmarc_result result;
    enum dmarc_method method;
    struct str domain;
    struct str organizational_domain;  /* "" where not known */
    struct str policy_domain;          /* where the record stands; "" where there is none */
    const struct dmarc_record *record; /* NULL: none */
    const char *policy_tag;            /* "p", "sp", "np"; NULL where there is no policy */
    enum dmarc_policy policy;          /* of that tag */
    enum dmarc_policy disposition;     /* what to do: none unless result is fail */
    bool is_aligned[DMARC_IDENTIFIER_COUNT_MAX]; /* as in facts; passing ones only */
    bool is_spf_aligned, is_dkim_aligned;
    bool is_several; /* at the author's domain itself stand several records */
    size_t query_count;
};

struct dmarc;
/* facts are copied. E_TOO_BIG: over DMARC_IDENTIFIER_COUNT_MAX; E_NOMEM. A domain that is none is
 * no error but DMARC_PERMERROR. */
MUST_USE enum err dmarc_begin(const struct dmarc_facts *facts, struct dmarc **ret_dmarc);
/* The two calls of an identity_engine; the engine is a struct dmarc. False: done. An answer without
 * open question is ignored. */
bool dmarc_question(void *dmarc, struct lookup_question *ret_question);
void dmarc_answer(void *dmarc, const struct lookup_answer *answer);
/* When done; before, what is known so far. */
const struct dmarc_verdict *dmarc_verdict(const struct dmarc *dmarc);
/* How the verdict came about, a sentence each, peer text escaped; is_traced only. */
size_t dmarc_step_count(const struct dmarc *dmarc);
const char *dmarc_step(const struct dmarc *dmarc, size_t index);
void dmarc_free(struct dmarc *dmarc); /* NULL is fine */

#endif
