/* SPDX-License-Identifier: Apache-2.0
 *
 * spf_check_priv.h - an evaluation under way, between spf.c (the engine), spf_term.c (what a term
 * asks and comes to) and spf_answer.c (what an answer means for it).
 */
#ifndef OUTPOST_MAIL_SPF_CHECK_PRIV_H
#define OUTPOST_MAIL_SPF_CHECK_PRIV_H

#include "mail/spf.h"
#include "mail/spf_priv.h"

enum {
    SPF_ARENA_BYTES_MAX = 8 << 20, /* records, terms and steps; past it: temperror */
    SPF_FRAME_COUNT_MAX = SPF_LOOKUP_COUNT_MAX + 1 /* each include counts as a look-up */
};

/* What the open question is for. */
enum spf_want {
    WANT_NOTHING,
    WANT_RECORD,
    WANT_ADDRESS,
    WANT_MX,
    WANT_MX_ADDRESS,
    WANT_EXISTS,
    WANT_NAMES,        /* PTR of the client */
    WANT_NAME_ADDRESS, /* of one of them */
    WANT_EXPLANATION
};

/* One record under evaluation: that of the domain, or of an include. */
struct spf_frame {
    struct str domain;
    struct spf_record record;
    bool is_read;
    uint32_t at;     /* term */
    bool is_counted; /* the term at `at` has been counted as a look-up */
    bool is_redirected;
};

/* Hosts whose addresses are asked for one by one. */
struct spf_hosts {
    struct str name[SPF_NAME_COUNT_MAX];
    uint32_t count, at;
};

struct spf {
    struct arena arena;
    struct spf_verdict verdict;
    struct spf_values values; /* domain: that of the frame at work */
    struct spf_frame frame[SPF_FRAME_COUNT_MAX];
    uint32_t depth;
    enum spf_want want;
    enum lookup_type type;
    struct str asked; /* in name */
    char name[LOOKUP_NAME_CAP];
    struct spf_hosts mx;
    struct spf_hosts names; /* the client's, those validated first */
    uint32_t valid_count;   /* of them */
    bool are_names_known;
    bool is_done, is_traced, is_explaining;
    struct str explain_text; /* found, not yet expanded */
    struct spf_step *step;
    struct why why; /* verdict.problem */
};

/* ---- spf_term.c ---- */

struct spf_frame *spf_frame(struct spf *spf);
const struct spf_term *spf_term_at(struct spf *spf);
void spf_add_step(struct spf *spf, enum spf_step_kind kind, bool is_matched, struct str text,
        struct str detail);
/* The verdict; spf->why says what it is. */
void spf_fail(struct spf *spf, enum spf_result result);
void spf_fail_memory(struct spf *spf);
bool spf_count_void(struct spf *spf); /* false: one too many, the verdict stands */
bool spf_is_askable(struct str name);
void spf_ask(struct spf *spf, enum spf_want want, enum lookup_type type, struct str name);
enum lookup_type spf_address_type(const struct spf *spf);
/* The next host of the list, or the end of the term (of the search for names). */
void spf_mx_next(struct spf *spf);
void spf_names_next(struct spf *spf);
void spf_term_begin(struct spf *spf);
void spf_term_end(struct spf *spf, bool is_matched, const char *detail);
void spf_record_end(struct spf *spf);
void spf_explain_begin(struct spf *spf);
void spf_explain_end(struct spf *spf);
bool spf_is_printable(struct str s);

/* ---- spf_answer.c ---- */

void spf_take(struct spf *spf, const struct lookup_answer *answer);
void spf_trace_answer(struct spf *spf, const struct lookup_answer *answer);

#endif
