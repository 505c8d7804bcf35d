/* SPDX-License-Identifier: Apache-2.0
 *
 * dmarc_record.c - `outpost dmarc record`: the record that applies to a domain, read and judged,
 * and whether its report addresses take reports.
 */
#include "cli/cli.h"

#include "cli/dmarc_priv.h"
#include "core/str.h"

#include <stdio.h>

#include <jansson.h>

static void print_faults(const struct dmarc_record *record)
{
    for (size_t i = 0; record && i < record->fault_count && i < DMARC_FAULT_COUNT_MAX; i++) {
        printf("%s at %zu: %s\n", record->fault[i].is_error ? "error" : "note", record->fault[i].at,
                record->fault[i].text);
    }
}

/* Does target's domain say that it takes reports? One question. */
struct consent {
    char text[LOOKUP_NAME_CAP];
    struct str name;
    bool is_done, is_given, is_tempfail;
};

static bool consent_question(void *engine, struct lookup_question *ret_question)
{
    struct consent *consent = engine;
    *ret_question = (struct lookup_question){ consent->name, LOOKUP_TXT };
    return !consent->is_done;
}

static void consent_answer(void *engine, const struct lookup_answer *answer)
{
    struct consent *consent = engine;
    struct dmarc_record record;
    consent->is_done = true;
    consent->is_tempfail = answer->status == LOOKUP_TEMPFAIL;
    for (uint32_t i = 0; answer->status == LOOKUP_FOUND && i < answer->record_count; i++) {
        consent->is_given |= dmarc_parse(answer->record[i].data, &record);
    }
}

struct judged {
    bool is_bad, is_warned, is_doubtful;
    json_t *reports; /* NULL: for people */
};

static void judge_target(struct dmarc_check *check, const struct dmarc_verdict *verdict,
        const struct dmarc_uri *uri, struct judged *judged)
{
    struct consent consent = { .is_given = false };
    if (uri->domain.len == 0 || !dmarc_report_question(verdict->policy_domain, uri->domain,
                                        consent.text, &consent.name)) {
        return;
    }
    if (consent.name.len > 0) {
        struct identity_engine engine = { &consent, consent_question, consent_answer };
        consent.is_tempfail |= identity_desk_ask(check->desk, &engine) != OK;
    }
    judged->is_doubtful |= consent.is_tempfail;
    judged->is_bad |= !consent.is_given && !consent.is_tempfail;
    if (judged->reports) {
        json_array_append_new(judged->reports,
                json_pack("{s:o, s:o, s:o}", "address", cli_text_json(uri->address), "name",
                        cli_text_json(consent.name), "authorized",
                        consent.is_tempfail ? json_null() : json_boolean(consent.is_given)));
    } else if (!consent.is_given) {
        printf(consent.is_tempfail ? "error: DNS could not tell whether %.*s takes reports\n"
                                   : "error: reports would be dropped, as %.*s does not take them; "
                                     "it must say:\n",
                STR_ARG(uri->domain));
        if (!consent.is_tempfail) {
            printf("  %.*s. IN TXT \"v=DMARC1\"\n", STR_ARG(consent.name));
        }
    }
}

static void judge_record(
        struct dmarc_check *check, const struct dmarc_verdict *verdict, struct judged *judged)
{
    const struct dmarc_record *record = verdict->record;
    judged->is_doubtful |= verdict->result == DMARC_TEMPERROR;
    judged->is_bad |= verdict->result == DMARC_NONE || verdict->result == DMARC_PERMERROR ||
                      verdict->is_several;
    if (record) {
        judged->is_bad |= record->error_count > 0;
        judged->is_warned |= record->fault_count > 0;
        for (size_t i = 0; i < record->rua_count; i++) {
            judge_target(check, verdict, &record->rua[i], judged);
        }
        for (size_t i = 0; i < record->ruf_count; i++) {
            judge_target(check, verdict, &record->ruf[i], judged);
        }
    }
}

static const char *judged_name(const struct judged *judged)
{
    return judged->is_bad        ? "fail"
           : judged->is_doubtful ? "temperror"
           : judged->is_warned   ? "warn"
                                 : "pass";
}

/* What to publish, where that needs no thought. */
static void print_mend(const struct dmarc_verdict *verdict)
{
    if (verdict->is_several) {
        printf("error: remove all records but one at _dmarc.%.*s\n", STR_ARG(verdict->domain));
    } else if (verdict->result == DMARC_NONE) {
        printf("error: there is no record; to begin with, publish:\n"
               "  _dmarc.%.*s. IN TXT \"v=DMARC1; p=none; rua=mailto:postmaster@%.*s\"\n",
                STR_ARG(verdict->domain), STR_ARG(verdict->domain));
    }
}

static int show_record(struct dmarc_check *check, const struct dmarc *dmarc)
{
    const struct dmarc_verdict *verdict = dmarc_verdict(dmarc);
    struct judged judged = { .reports = check->args->is_json ? json_array() : NULL };
    if (judged.reports) {
        judge_record(check, verdict, &judged);
        json_t *reply = dmarc_verdict_json(dmarc, judged_name(&judged), /*is_record*/ true, "");
        json_object_set_new(reply, "reports", judged.reports);
        cli_print_json(reply);
    } else {
        dmarc_print_steps(dmarc, /*is_record*/ true);
        print_faults(verdict->record);
        print_mend(verdict);
        judge_record(check, verdict, &judged);
        printf("\n%s\n", judged_name(&judged));
    }
    return judged.is_bad ? CLI_WANTING : judged.is_doubtful ? CLI_TRY_AGAIN : CLI_GOOD;
}

int dmarc_check_record(struct dmarc_check *check, const char *domain)
{
    struct dmarc *dmarc;
    struct str ascii;
    if (domain_to_ascii(str_from_c(domain), check->author, &ascii) != OK) {
        return cli_usage("dmarc", "\"%s\" is no domain name", domain);
    }
    enum dmarc_method method = check->args->is_psl ? DMARC_PUBLIC_SUFFIX : DMARC_TREE_WALK;
    if (dmarc_evaluate(check, method, &dmarc) != OK) {
        cli_complain("out of memory");
        return CLI_TRY_AGAIN;
    }
    int code = show_record(check, dmarc);
    dmarc_free(dmarc);
    return code;
}
