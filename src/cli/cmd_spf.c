/* SPDX-License-Identifier: Apache-2.0
 *
 * cmd_spf.c - `outpost spf check`: may this address send for this domain, and how do we know?
 */
#include "cli/cli.h"

#include "core/str.h"
#include "edge/clock.h"
#include "identity/identity.h"
#include "mail/spf.h"

#include <stdio.h>

#include <jansson.h>

static const char help[] =
        "SPF: may this address send mail for this domain (RFC 7208)?\n"
        "\n"
        "  outpost spf check --ip 192.0.2.1 --mail-from user@example.com --helo mail.example.com\n"
        "  outpost spf check --ip 2001:db8::1 --mail-from '' --helo mail.example.com     a bounce: "
        "the HELO name counts\n"
        "  outpost spf check --ip 192.0.2.1 --mail-from a@b.example --zone b.zone --json answers "
        "from a master file\n"
        "\n"
        "Prints each record, question and mechanism on the way to the result. Exit: 0 pass (also "
        "none, neutral,\n"
        "softfail), 1 fail or permerror, 75 temperror.\n"
        "options: --resolver IP[:PORT], --zone FILE (\"; @timeout NAME\" and \"; @servfail NAME\" "
        "make a name fail),\n"
        "--receiver NAME (for explanations), --json\n";

struct spf_args {
    const char *ip, *mail_from, *helo, *zone, *resolver, *receiver;
    bool is_json;
};

/* ---- for programs ---- */

static const char *kind_name(enum spf_step_kind kind)
{
    static const char *const name[] = { "record", "lookup", "term", "result" };
    return name[kind];
}

static json_t *steps_json(const struct spf_verdict *verdict)
{
    json_t *steps = json_array();
    for (uint32_t i = 0; i < verdict->step_count; i++) {
        const struct spf_step *step = &verdict->step[i];
        json_array_append_new(steps,
                json_pack("{s:s, s:i, s:o, s:o, s:b, s:b, s:o}", "kind", kind_name(step->kind),
                        "depth", (int)step->depth, "domain", cli_text_json(step->domain), "text",
                        cli_text_json(step->text), "matched", (int)step->is_matched, "error",
                        (int)step->is_error, "detail", cli_text_json(step->detail)));
    }
    return steps;
}

static void print_json(const struct spf_verdict *verdict)
{
    json_t *reply = json_pack("{s:s, s:s, s:o, s:o, s:o, s:o, s:o, s:i, s:i, s:o}", "result",
            spf_result_name(verdict->result), "identity", verdict->is_helo ? "helo" : "mailfrom",
            "domain", cli_text_json(verdict->domain), "mechanism",
            cli_text_json(verdict->mechanism), "decided_by", cli_text_json(verdict->decided_by),
            "explanation", cli_text_json(verdict->explanation), "problem",
            cli_text_json(verdict->problem), "lookups", (int)verdict->lookup_count, "void_lookups",
            (int)verdict->void_count, "steps", steps_json(verdict));
    cli_print_json(reply);
}

/* ---- for people ---- */

static const char *mark_of(const struct spf_step *step)
{
    switch (step->kind) {
    case SPF_STEP_LOOKUP:
        return " -> ";
    case SPF_STEP_TERM:
        return step->is_error ? ": error, " : step->is_matched ? ": match, " : ": no match, ";
    case SPF_STEP_RECORD:
    case SPF_STEP_RESULT:
        break;
    }
    return ": ";
}

static void print_step(const struct spf_step *step)
{
    static const char *const mark[] = { "record", "asked", "term", "result" };
    printf("%*s%-6s ", (int)(2 * step->depth), "", mark[step->kind]);
    if (step->kind == SPF_STEP_RECORD) {
        cli_print_text(step->domain);
        printf(": ");
    }
    cli_print_text(step->text);
    if (step->detail.len > 0) {
        printf("%s", mark_of(step));
        cli_print_text(step->detail);
    }
    printf("\n");
}

static void print_verdict(const struct spf_verdict *verdict)
{
    for (uint32_t i = 0; i < verdict->step_count; i++) {
        print_step(&verdict->step[i]);
    }
    if (verdict->is_cut) {
        printf("(and more steps)\n");
    }
    printf("\n%s: ", spf_result_name(verdict->result));
    cli_print_text(verdict->domain);
    printf(" (%s)", verdict->is_helo ? "HELO name, for the sender is empty" : "MAIL FROM");
    if (verdict->mechanism.len > 0) {
        printf(", by ");
        cli_print_text(verdict->mechanism);
        if (!str_eq(verdict->decided_by, verdict->domain)) {
            printf(" of ");
            cli_print_text(verdict->decided_by);
        }
    }
    printf("\n");
    if (verdict->problem.len > 0) {
        cli_print_text(verdict->problem);
        printf("\n");
    }
    if (verdict->explanation.len > 0) {
        printf("the domain explains: ");
        cli_print_text(verdict->explanation);
        printf("\n");
    }
    printf("%u of %d look-ups, %u of %d with an empty answer\n", verdict->lookup_count,
            SPF_LOOKUP_COUNT_MAX, verdict->void_count, SPF_VOID_COUNT_MAX);
}

/* ---- the check ---- */

static int exit_of(enum spf_result result)
{
    switch (result) {
    case SPF_PASS:
    case SPF_NONE:
    case SPF_NEUTRAL:
    case SPF_SOFTFAIL:
        return CLI_GOOD;
    case SPF_FAIL:
    case SPF_PERMERROR:
        return CLI_WANTING;
    case SPF_TEMPERROR:
        break;
    }
    return CLI_TRY_AGAIN;
}

static int evaluate(struct spf *spf, struct identity_desk *desk, const struct spf_args *args)
{
    struct identity_engine engine = { spf, spf_question, spf_answer };
    if (identity_desk_ask(desk, &engine) != OK) {
        cli_complain("out of memory");
        return CLI_TRY_AGAIN;
    }
    const struct spf_verdict *verdict = spf_verdict(spf);
    args->is_json ? print_json(verdict) : print_verdict(verdict);
    return exit_of(verdict->result);
}

static int check(const struct spf_args *args)
{
    struct spf_params params = { .mail_from = str_from_c(args->mail_from),
        .helo = str_from_c(args->helo),
        .receiver = str_from_c(args->receiver),
        .now = clock_wall(clock_real()),
        .is_traced = true };
    struct identity_desk *desk;
    struct spf *spf;
    struct why why = { 0 };
    if (!args->ip || ip_parse(str_from_c(args->ip), &params.ip) != OK) {
        return cli_usage("spf", "--ip takes the client's address, IPv4 or IPv6");
    }
    if (!args->mail_from && !args->helo) {
        return cli_usage("spf", "say --mail-from ADDRESS, or --helo NAME, or both");
    }
    if (identity_desk_open(args->zone, str_from_c(args->resolver), &desk, &why) != OK) {
        cli_complain("%s", why.text[0] ? why.text : "DNS cannot be asked");
        return CLI_USAGE;
    }
    int code = CLI_TRY_AGAIN;
    if (spf_begin(&params, &spf) == OK) {
        code = evaluate(spf, desk, args);
        spf_free(spf);
    }
    identity_desk_close(desk);
    return code;
}

int cmd_spf(int argc, char **argv)
{
    struct spf_args args = { 0 };
    int count, code;
    const struct cli_option options[] = { { "ip", &args.ip, NULL },
        { "mail-from", &args.mail_from, NULL }, { "helo", &args.helo, NULL },
        { "zone", &args.zone, NULL }, { "resolver", &args.resolver, NULL },
        { "receiver", &args.receiver, NULL }, { "json", NULL, &args.is_json } };
    if (!cli_options(argc, argv, options, COUNT_OF(options), help, &count, &code)) {
        return code;
    }
    if (count != 1 || !str_eq(str_from_c(argv[1]), STR("check"))) {
        return cli_usage(argv[0], "say: spf check --ip ADDRESS --mail-from ADDRESS --helo NAME");
    }
    return check(&args);
}
