/* SPDX-License-Identifier: Apache-2.0
 *
 * dmarc_priv.h - what the two halves of `outpost dmarc` share: a message checked, a record judged.
 */
#ifndef OUTPOST_CLI_DMARC_PRIV_H
#define OUTPOST_CLI_DMARC_PRIV_H

#include "identity/identity.h"
#include "mail/dmarc.h"

enum { DMARC_FINDING_COUNT_MAX = DMARC_IDENTIFIER_COUNT_MAX, DMARC_DETAIL_CAP = 300 };

struct dmarc_args {
    const char *ip, *mail_from, *helo, *from, *spf, *dkim, *domain, *sample, *zone, *resolver;
    bool is_json, is_psl;
};

/* What was found before DMARC. */
struct dmarc_finding {
    const char *result; /* "pass", "fail", ... */
    char domain[DOMAIN_CAP], selector[DOMAIN_CAP];
    char detail[DMARC_DETAIL_CAP];
};
/* One check from message or arguments to verdict. */
struct dmarc_check {
    const struct dmarc_args *args;
    struct identity_desk *desk;
    char author[DOMAIN_CAP];
    char problem[WHY_BYTES_MAX];                           /* why there is no author's domain; "" */
    struct dmarc_finding finding[DMARC_FINDING_COUNT_MAX]; /* SPF first where has_spf */
    size_t finding_count;
    bool has_spf;
    uint32_t sample;
};

/* --- cmd_dmarc.c --- */

MUST_USE enum err dmarc_evaluate(
        struct dmarc_check *check, enum dmarc_method method, struct dmarc **ret_dmarc);
struct json_t;
/* What both say of a verdict; before is told as the first step where it is not "". */
struct json_t *dmarc_verdict_json(
        const struct dmarc *dmarc, const char *result, bool is_record, const char *before);
void dmarc_print_steps(const struct dmarc *dmarc, bool is_record);

/* --- dmarc_record.c --- */

int dmarc_check_record(struct dmarc_check *check, const char *domain);

#endif
