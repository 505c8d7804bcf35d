/* SPDX-License-Identifier: Apache-2.0
 *
 * dmarc_priv.h - an evaluation under way, and the tree walk it makes.
 */
#ifndef OUTPOST_MAIL_DMARC_PRIV_H
#define OUTPOST_MAIL_DMARC_PRIV_H

#include "mail/dmarc.h"

/* What stands at _dmarc.NAME. */
struct dmarc_node {
    struct str name;
    struct str text; /* the one record; "" where there is none */
    enum dmarc_psd psd;
    bool is_tempfail;
    bool is_several; /* more than one record: all discarded */
};
enum dmarc_existence { EXISTENCE_UNASKED, EXISTENCE_YES, EXISTENCE_NO, EXISTENCE_UNKNOWN };

struct dmarc {
    struct arena arena;
    struct dmarc_verdict verdict;
    const struct dmarc_identifier *identifier;
    size_t identifier_count;
    uint32_t sample;
    char question_text[LOOKUP_NAME_CAP];
    struct str asked; /* the name behind _dmarc. that is open; "" where existence is */
    struct lookup_question question;
    size_t node_count;
    struct dmarc_node node[DMARC_NODE_COUNT_MAX];
    enum dmarc_existence existence; /* of the author's domain, for np= */
    bool is_out_of_memory;
    bool is_traced, is_telling; /* steps are asked for; and are to be said in this run */
    struct dmarc_record record;
    size_t step_count;
    char (*step)[DMARC_STEP_CAP]; /* is_traced only */
};

enum dmarc_state { DMARC_STATE_DONE, DMARC_STATE_PENDING, DMARC_STATE_TEMPFAIL };
struct dmarc_walk {
    struct str start;
    const struct dmarc_node *found[DMARC_QUERY_COUNT_MAX]; /* records, the longest name first */
    size_t found_count;
};

/* What stands at _dmarc.NAME; NULL: not known, it is asked for now. name must live as long. */
const struct dmarc_node *dmarc_look(struct dmarc *dmarc, struct str name);
/* DMARC_STATE_PENDING: a question is open. */
enum dmarc_state dmarc_walk_up(struct dmarc *dmarc, struct str start, struct dmarc_walk *ret_walk);
struct str dmarc_walk_organization(const struct dmarc_walk *walk);
/* The record at name; NULL: none was met. */
const struct dmarc_node *dmarc_walk_find(const struct dmarc_walk *walk, struct str name);

#endif
