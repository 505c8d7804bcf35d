/* SPDX-License-Identifier: Apache-2.0
 *
 * cmd_dmarc.c - `outpost dmarc`: a message, or results given by hand, evaluated.
 */
#include "cli/cli.h"

#include "cli/dmarc_priv.h"
#include "core/str.h"
#include "edge/clock.h"
#include "mail/dkim.h"
#include "mail/header.h"
#include "mail/spf.h"

#include <stdio.h>
#include <stdlib.h>

#include <jansson.h>

enum { SAMPLE_MAX = 99 };

static const char help[] =
        "DMARC: does this message, or would such a message, pass (RFC 9989; --psl: RFC 7489)?\n"
        "\n"
        "  outpost dmarc check message.eml --ip 192.0.2.1 --mail-from a@b.example --helo "
        "mx.b.example\n"
        "  outpost dmarc check --from shop.example --spf pass:bounce.shop.example --dkim "
        "fail:shop.example\n"
        "  outpost dmarc record shop.example                           the record alone: read, "
        "judged, explained\n"
        "\n"
        "check evaluates SPF and DKIM of the message, then alignment and policy, and says each "
        "step. --dkim takes\n"
        "several results with commas between. Without --ip SPF counts as none. A message may be "
        "\"-\" for standard\n"
        "input. Exit: 0 pass (also none; a record with warnings), 1 fail or permerror, 75 "
        "temperror.\n"
        "options: --psl (organizational domain by the public suffix list), --sample N (0 to 99, "
        "for pct=; 0),\n"
        "--resolver IP[:PORT], --zone FILE (\"; @timeout NAME\" and \"; @servfail NAME\" make a "
        "name fail), --json\n";

/* ---- what was found before ---- */

static enum dmarc_auth auth_of(const char *result)
{
    struct str name = str_from_c(result);
    return str_eq(name, STR("pass"))        ? DMARC_AUTH_PASS
           : str_eq(name, STR("temperror")) ? DMARC_AUTH_TEMPERROR
                                            : DMARC_AUTH_FAIL;
}

/* A domain a peer wrote; what is none stays empty and so is never aligned. */
static void take_name(struct str name, char dst[DOMAIN_CAP])
{
    struct str ascii;
    dst[0] = '\0';
    if (domain_to_ascii(name, dst, &ascii) != OK) {
        dst[0] = '\0';
    }
}

static struct dmarc_finding *add_finding(
        struct dmarc_check *check, const char *result, struct str domain, const char *detail)
{
    struct dmarc_finding *finding = &check->finding[check->finding_count++];
    finding->result = result;
    take_name(domain, finding->domain);
    fmt(finding->detail, sizeof finding->detail, "%s", detail);
    return finding;
}

/* ---- SPF and DKIM of a message ---- */

static enum err find_spf(struct dmarc_check *check, const struct ip *ip)
{
    struct spf *spf;
    struct spf_params params = { .ip = *ip,
        .mail_from = str_from_c(check->args->mail_from),
        .helo = str_from_c(check->args->helo),
        .now = clock_wall(clock_real()) };
    enum err err = spf_begin(&params, &spf);
    if (err != OK) {
        return err;
    }
    struct identity_engine engine = { spf, spf_question, spf_answer };
    err = identity_desk_ask(check->desk, &engine);
    if (err == OK) {
        char detail[DMARC_DETAIL_CAP];
        const struct spf_verdict *verdict = spf_verdict(spf);
        fmt(detail, sizeof detail, "%s%.*s%s%.*s", verdict->is_helo ? "HELO name " : "",
                STR_ARG(verdict->problem.len > 0 ? verdict->problem : verdict->mechanism),
                verdict->explanation.len > 0 ? ": " : "", STR_ARG(verdict->explanation));
        add_finding(check, spf_result_name(verdict->result), verdict->domain, detail);
        check->has_spf = true;
    }
    spf_free(spf);
    return err;
}

/* The keys of all signatures, asked for one after the other: dkim.h as an engine. */
struct key_search {
    struct dkim_verify *verify;
    size_t index;
};

static bool key_question(void *engine, struct lookup_question *ret_question)
{
    struct key_search *search = engine;
    for (; search->index < dkim_verify_count(search->verify); search->index++) {
        if (dkim_verify_question(search->verify, search->index, &ret_question->name)) {
            ret_question->type = LOOKUP_TXT;
            return true;
        }
    }
    return false;
}

static void key_answer(void *engine, const struct lookup_answer *answer)
{
    struct key_search *search = engine;
    struct dkim_verify *verify = search->verify;
    size_t index = search->index++;
    if (answer->status == LOOKUP_FOUND && answer->record_count > 0) {
        for (uint32_t i = 0; i < answer->record_count; i++) {
            dkim_verify_answer(verify, index, DKIM_FOUND, answer->record[i].data);
        }
        return;
    }
    dkim_verify_answer(verify, index, answer->status == LOOKUP_TEMPFAIL ? DKIM_TEMPFAIL : DKIM_NONE,
            (struct str){ 0 });
}

static enum err find_dkim(struct dmarc_check *check, struct str message)
{
    struct dkim_verify *verify;
    struct why why = { "" };
    enum err err = dkim_verify_begin(message, clock_wall(clock_real()), NULL, &verify, &why);
    if (err != OK) {
        return err;
    }
    struct key_search search = { verify, 0 };
    struct identity_engine engine = { &search, key_question, key_answer };
    err = identity_desk_ask(check->desk, &engine);
    for (size_t i = 0; err == OK && i < dkim_verify_count(verify); i++) {
        const struct dkim_verdict *verdict = dkim_verify_result(verify, i);
        struct dmarc_finding *finding = add_finding(
                check, dkim_result_name(verdict->result), verdict->domain, verdict->reason);
        take_name(verdict->selector, finding->selector);
    }
    dkim_verify_free(verify);
    return err;
}

static enum err find_author(struct dmarc_check *check, struct str message)
{
    struct arena arena;
    struct header header;
    struct str domain;
    struct why why = { "" };
    arena_init(&arena, HEADER_ARENA_BYTES);
    enum err err = header_parse(&arena, message, /*at_end*/ true, &header, &why);
    if (err == OK) {
        err = dmarc_author_domain(&header, check->author, &domain, &why);
    }
    arena_done(&arena);
    if (err == OK || err == E_NOMEM) {
        return err;
    }
    check->author[0] = '\0';
    struct str shown = str_escape(str_from_c(why.text), check->problem, sizeof check->problem - 1);
    check->problem[shown.len] = '\0';
    return OK;
}

/* ---- results given by hand ---- */

/* "pass:shop.example"; false: has complained. */
static bool add_given(struct dmarc_check *check, struct str text)
{
    static const char *const results[] = { "pass", "fail", "softfail", "neutral", "none",
        "permerror", "temperror" };
    size_t colon = str_index(text, ':');
    struct str result = str_sub(text, 0, colon), domain = str_from(text, colon + 1);
    char ascii_text[DOMAIN_CAP];
    struct str ascii;
    for (size_t i = 0; i < COUNT_OF(results); i++) {
        if (str_eq_nocase(result, str_from_c(results[i]))) {
            bool is_domain = domain_to_ascii(domain, ascii_text, &ascii) == OK;
            if (!is_domain && (domain.len > 0 || auth_of(results[i]) != DMARC_AUTH_FAIL)) {
                break;
            }
            add_finding(check, results[i], domain, "");
            return true;
        }
    }
    cli_complain("\"%.*s\" is no result with its domain, as in pass:shop.example", STR_ARG(text));
    return false;
}

static bool take_given(struct dmarc_check *check)
{
    struct str part, rest = str_from_c(check->args->dkim);
    if (check->args->spf) {
        check->has_spf = true;
        if (!add_given(check, str_from_c(check->args->spf))) {
            return false;
        }
    }
    while (str_cut(&rest, ',', &part)) {
        if (check->finding_count == DMARC_FINDING_COUNT_MAX) {
            cli_complain("--dkim takes at most %d results", DMARC_FINDING_COUNT_MAX - 1);
            return false;
        }
        if (!add_given(check, str_trim(part))) {
            return false;
        }
    }
    return true;
}

/* ---- the evaluation ---- */

enum err dmarc_evaluate(
        struct dmarc_check *check, enum dmarc_method method, struct dmarc **ret_dmarc)
{
    struct dmarc_identifier identifiers[DMARC_FINDING_COUNT_MAX];
    for (size_t i = 0; i < check->finding_count; i++) {
        identifiers[i] = (struct dmarc_identifier){ .is_spf = i == 0 && check->has_spf,
            .auth = auth_of(check->finding[i].result),
            .domain = str_from_c(check->finding[i].domain) };
    }
    struct dmarc_facts facts = { .domain = str_from_c(check->author),
        .method = method,
        .identifier = identifiers,
        .identifier_count = check->finding_count,
        .sample = check->sample,
        .is_traced = true };
    enum err err = dmarc_begin(&facts, ret_dmarc);
    if (err == OK) {
        struct identity_engine engine = { *ret_dmarc, dmarc_question, dmarc_answer };
        err = identity_desk_ask(check->desk, &engine);
        if (err != OK) {
            dmarc_free(*ret_dmarc);
        }
    }
    return err;
}

/* The other way to find the organization came to something else? Where DNS failed it came to
 * nothing; without a record, or where the author's own domain passed, the organization was not
 * looked for. */
static bool is_other(const struct dmarc_verdict *a, const struct dmarc_verdict *b)
{
    if (b->result == DMARC_TEMPERROR || a->result == DMARC_TEMPERROR) {
        return false;
    }
    bool is_own = a->result == DMARC_PASS && (str_eq(a->organizational_domain, a->domain) ||
                                                     str_eq(b->organizational_domain, b->domain));
    bool is_moot = is_own || a->result == DMARC_NONE;
    return a->result != b->result || a->policy != b->policy || a->disposition != b->disposition ||
           (!is_moot && !str_eq(a->organizational_domain, b->organizational_domain));
}

static int exit_of(enum dmarc_result result)
{
    switch (result) {
    case DMARC_PASS:
    case DMARC_NONE:
        return CLI_GOOD;
    case DMARC_FAIL:
    case DMARC_PERMERROR:
        return CLI_WANTING;
    case DMARC_TEMPERROR:
    case DMARC_PENDING:
        break;
    }
    return CLI_TRY_AGAIN;
}

/* ---- shown ---- */

static json_t *text_or_null(struct str s)
{
    return s.len > 0 ? cli_text_json(s) : json_null();
}

static json_t *policy_json(const struct dmarc_verdict *verdict)
{
    return verdict->policy_tag ? json_string(dmarc_policy_name(verdict->policy)) : json_null();
}

static json_t *finding_json(const struct dmarc_finding *finding, bool is_aligned)
{
    return json_pack("{s:s, s:s, s:s, s:b, s:o}", "result", finding->result, "domain",
            finding->domain, "selector", finding->selector, "aligned", (int)is_aligned, "detail",
            cli_text_json(str_from_c(finding->detail)));
}

static json_t *faults_json(const struct dmarc_record *record)
{
    json_t *faults = json_array();
    for (size_t i = 0; record && i < record->fault_count && i < DMARC_FAULT_COUNT_MAX; i++) {
        json_array_append_new(
                faults, json_pack("{s:I, s:b, s:s}", "at", (json_int_t)record->fault[i].at, "error",
                                (int)record->fault[i].is_error, "text", record->fault[i].text));
    }
    return faults;
}

/* Without a message to judge, the last step, a fail by nothing aligned, says nothing. */
static size_t shown_count(const struct dmarc *dmarc, bool is_record)
{
    bool is_fail = dmarc_verdict(dmarc)->result == DMARC_FAIL;
    return dmarc_step_count(dmarc) - (is_record && is_fail);
}

static json_t *steps_json(const struct dmarc *dmarc, bool is_record, const char *before)
{
    json_t *steps = json_array();
    if (before[0] != '\0') {
        json_array_append_new(steps, cli_text_json(str_from_c(before)));
    }
    for (size_t i = 0; i < shown_count(dmarc, is_record); i++) {
        json_array_append_new(steps, cli_text_json(str_from_c(dmarc_step(dmarc, i))));
    }
    return steps;
}

/* What both commands say of a verdict. */
json_t *dmarc_verdict_json(
        const struct dmarc *dmarc, const char *result, bool is_record, const char *before)
{
    const struct dmarc_verdict *verdict = dmarc_verdict(dmarc);
    return json_pack("{s:s, s:o, s:o, s:o, s:o, s:o, s:o, s:s?, s:s, s:b, s:o, s:o}", "result",
            result, "domain", text_or_null(verdict->domain), "organizational_domain",
            text_or_null(verdict->organizational_domain), "policy_domain",
            text_or_null(verdict->policy_domain), "record",
            verdict->record ? text_or_null(verdict->record->text) : json_null(), "faults",
            faults_json(verdict->record), "policy", policy_json(verdict), "policy_tag",
            verdict->policy_tag, "discovery_method", dmarc_method_name(verdict->method), "testing",
            (int)(verdict->record && verdict->record->is_testing), "steps",
            steps_json(dmarc, is_record, before), "disagreement", json_null());
}

static json_t *disagreement_json(const struct dmarc_verdict *other)
{
    return json_pack("{s:s, s:s, s:o, s:s, s:o}", "discovery_method",
            dmarc_method_name(other->method), "result", dmarc_result_name(other->result), "policy",
            policy_json(other), "disposition", dmarc_policy_name(other->disposition),
            "organizational_domain", text_or_null(other->organizational_domain));
}

static void print_check_json(const struct dmarc_check *check, const struct dmarc *dmarc,
        const struct dmarc_verdict *other)
{
    const struct dmarc_verdict *verdict = dmarc_verdict(dmarc);
    json_t *reply = dmarc_verdict_json(
            dmarc, dmarc_result_name(verdict->result), /*is_record*/ false, check->problem);
    json_t *dkim = json_array();
    for (size_t i = check->has_spf; i < check->finding_count; i++) {
        json_array_append_new(dkim, finding_json(&check->finding[i], verdict->is_aligned[i]));
    }
    json_object_set_new(reply, "disposition", json_string(dmarc_policy_name(verdict->disposition)));
    json_object_set_new(reply, "spf",
            check->has_spf ? finding_json(&check->finding[0], verdict->is_aligned[0])
                           : json_null());
    json_object_set_new(reply, "dkim", dkim);
    json_object_set_new(reply, "aligned",
            json_pack("{s:b, s:b}", "spf", (int)verdict->is_spf_aligned, "dkim",
                    (int)verdict->is_dkim_aligned));
    if (other) {
        json_object_set_new(reply, "disagreement", disagreement_json(other));
    }
    cli_print_json(reply);
}

void dmarc_print_steps(const struct dmarc *dmarc, bool is_record)
{
    for (size_t i = 0; i < shown_count(dmarc, is_record); i++) {
        printf("%s\n", dmarc_step(dmarc, i));
    }
}

static void print_check(const struct dmarc_check *check, const struct dmarc *dmarc,
        const struct dmarc_verdict *other)
{
    const struct dmarc_verdict *verdict = dmarc_verdict(dmarc);
    for (size_t i = 0; i < check->finding_count; i++) {
        const struct dmarc_finding *finding = &check->finding[i];
        printf("%s %s for %s%s", i == 0 && check->has_spf ? "SPF" : "DKIM", finding->result,
                finding->domain[0] ? finding->domain : "no domain", finding->detail[0] ? ": " : "");
        cli_print_text(str_from_c(finding->detail));
        printf("\n");
    }
    if (check->problem[0] != '\0') {
        printf("%s\n", check->problem);
    }
    dmarc_print_steps(dmarc, /*is_record*/ false);
    printf("\n%s", dmarc_result_name(verdict->result));
    if (verdict->policy_tag) {
        printf(": policy %s, so %s", dmarc_policy_name(verdict->policy),
                verdict->disposition == DMARC_POLICY_NONE
                        ? "nothing is to be done"
                        : dmarc_policy_name(verdict->disposition));
    }
    printf("\n");
    if (other) {
        printf("By %s it would be %s, policy %s (organizational domain %.*s).\n",
                other->method == DMARC_TREE_WALK ? "the tree walk of RFC 9989"
                                                 : "the public suffix list of RFC 7489",
                dmarc_result_name(other->result),
                other->policy_tag ? dmarc_policy_name(other->policy) : "none",
                STR_ARG(other->organizational_domain));
    }
}

/* Evaluates by the chosen way, and by the other to say where they differ. */
static int conclude(struct dmarc_check *check)
{
    struct dmarc *dmarc, *beside = NULL;
    bool is_psl = check->args->is_psl;
    if (dmarc_evaluate(check, is_psl ? DMARC_PUBLIC_SUFFIX : DMARC_TREE_WALK, &dmarc) != OK) {
        cli_complain("out of memory");
        return CLI_TRY_AGAIN;
    }
    const struct dmarc_verdict *verdict = dmarc_verdict(dmarc), *other = NULL;
    if (dmarc_evaluate(check, is_psl ? DMARC_TREE_WALK : DMARC_PUBLIC_SUFFIX, &beside) != OK) {
        beside = NULL;
    }
    if (beside && is_other(verdict, dmarc_verdict(beside))) {
        other = dmarc_verdict(beside);
    }
    check->args->is_json ? print_check_json(check, dmarc, other) : print_check(check, dmarc, other);
    int code = exit_of(verdict->result);
    dmarc_free(beside);
    dmarc_free(dmarc);
    return code;
}

/* ---- check ---- */

static int check_message(struct dmarc_check *check, const char *path)
{
    struct buf message;
    struct ip ip;
    const struct dmarc_args *args = check->args;
    if (args->ip ? ip_parse(str_from_c(args->ip), &ip) != OK : args->mail_from || args->helo) {
        return cli_usage("dmarc", "--ip takes the client's address, IPv4 or IPv6");
    }
    if (args->ip && !args->mail_from && !args->helo) {
        return cli_usage("dmarc", "with --ip say --mail-from ADDRESS, or --helo NAME, or both");
    }
    int code = CLI_TRY_AGAIN;
    if (cli_read_message(path, &message)) {
        enum err err = find_author(check, buf_str(&message));
        if (err == OK && args->ip) {
            err = find_spf(check, &ip);
        }
        if (err == OK && check->problem[0] == '\0') {
            err = find_dkim(check, buf_str(&message));
        }
        if (err == OK) {
            code = conclude(check);
        } else {
            cli_complain("the message could not be evaluated: %s", err_name(err));
        }
    }
    buf_done(&message);
    return code;
}

static int check_given(struct dmarc_check *check)
{
    struct str ascii;
    if (domain_to_ascii(str_from_c(check->args->from), check->author, &ascii) != OK) {
        return cli_usage("dmarc", "--from takes the domain of the From field");
    }
    return take_given(check) ? conclude(check) : CLI_USAGE;
}

/* ---- the command ---- */

static int run(struct dmarc_check *check, struct str what, const char *rest)
{
    const struct dmarc_args *args = check->args;
    struct why why = { 0 };
    uint64_t sample = 0;
    int code;
    if (args->sample && str_to_u64(str_from_c(args->sample), SAMPLE_MAX, &sample) != OK) {
        return cli_usage("dmarc", "--sample is 0 to %d", SAMPLE_MAX);
    }
    check->sample = (uint32_t)sample; /* at most 99 */
    if (identity_desk_open(args->zone, str_from_c(args->resolver), &check->desk, &why) != OK) {
        cli_complain("%s", why.text[0] ? why.text : "DNS cannot be asked");
        return CLI_USAGE;
    }
    if (str_eq(what, STR("record")) || args->domain) {
        code = dmarc_check_record(check, args->domain ? args->domain : rest);
    } else if (args->from) {
        code = check_given(check);
    } else {
        code = check_message(check, rest);
    }
    identity_desk_close(check->desk);
    return code;
}

int cmd_dmarc(int argc, char **argv)
{
    struct dmarc_args args = { 0 };
    int count, code;
    const struct cli_option options[] = { { "ip", &args.ip, NULL },
        { "mail-from", &args.mail_from, NULL }, { "helo", &args.helo, NULL },
        { "from", &args.from, NULL }, { "spf", &args.spf, NULL }, { "dkim", &args.dkim, NULL },
        { "domain", &args.domain, NULL }, { "sample", &args.sample, NULL },
        { "zone", &args.zone, NULL }, { "resolver", &args.resolver, NULL },
        { "psl", NULL, &args.is_psl }, { "json", NULL, &args.is_json } };
    if (!cli_options(argc, argv, options, COUNT_OF(options), help, &count, &code)) {
        return code;
    }
    struct str what = str_from_c(count > 0 ? argv[1] : "");
    bool is_record = str_eq(what, STR("record"));
    if (!is_record && !str_eq(what, STR("check"))) {
        return cli_usage(argv[0], "say check or record");
    }
    bool is_named = args.from || args.domain; /* then there is no message and no further name */
    if (count > 2 || (is_named && count > 1)) {
        return cli_usage(argv[0], "\"%s\" is too much", argv[is_named ? 2 : 3]);
    }
    if (count < 2 && !is_named) {
        return cli_usage(argv[0], is_record ? "record takes a domain name"
                                            : "check takes a message, or --from DOMAIN");
    }
    struct dmarc_check *check = mem_new(sizeof *check);
    if (check == NULL) {
        cli_complain("out of memory");
        return CLI_TRY_AGAIN;
    }
    check->args = &args;
    code = run(check, what, count > 1 ? argv[2] : "");
    mem_free(check);
    return code;
}
