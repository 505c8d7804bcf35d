/* SPDX-License-Identifier: Apache-2.0
 *
 * cmd_arc.c - `outpost arc`: a received chain validated, and continued by hand.
 */
#include "cli/cli.h"

#include "core/str.h"
#include "edge/clock.h"
#include "identity/identity.h"
#include "mail/arc.h"
#include "mail/header.h"

#include <stdio.h>
#include <stdlib.h>

#include <jansson.h>

enum { STEP_CAP = 2048, NAME_CAP = 300 };

static const char help[] =
        "ARC: does the chain of a forwarded message hold, and our own link of it (RFC 8617)?\n"
        "\n"
        "  outpost arc verify message.eml                                    asks DNS\n"
        "  outpost arc verify --zone keys.zone --json message.eml            records from a master "
        "file, no net\n"
        "  outpost arc seal --key keys/s2026a.pem --domain list.example --selector s2026a \\\n"
        "      --authserv-id mx.list.example message.eml > sealed.eml\n"
        "\n"
        "verify: exit 0 for pass and none, 1 for fail, 75 where DNS could not tell. seal validates "
        "the chain first and\n"
        "puts a new set on top; the results are those of --results TEXT, else of the message's "
        "own\n"
        "Authentication-Results fields that name --authserv-id (the domain where it is not "
        "given).\n"
        "A message may be \"-\" for standard input.\n"
        "options: --resolver IP[:PORT], --zone FILE (\"; @timeout NAME\" and \"; @servfail NAME\" "
        "make a name fail), --json\n";

struct arc_args {
    const char *key, *domain, *selector, *authserv_id, *results, *zone, *resolver;
    bool is_json;
};

/* ---- the verdict shown ---- */

static void signature_step(char *step, size_t *len, const char *name, enum arc_result result,
        const char *reason, struct str domain, struct str selector)
{
    char domain_text[NAME_CAP], selector_text[NAME_CAP];
    domain = str_escape(domain, domain_text, sizeof domain_text);
    selector = str_escape(selector, selector_text, sizeof selector_text);
    *len += fmt(step + *len, STEP_CAP - *len, "%s %s (d=%.*s s=%.*s)%s%s", name,
            result == ARC_PENDING ? "not looked at" : arc_result_name(result), STR_ARG(domain),
            STR_ARG(selector), reason[0] ? ": " : "", reason);
}

static void set_step(const struct arc_set_verdict *set, uint32_t instance, char step[STEP_CAP])
{
    size_t len = fmt(step, STEP_CAP, "i=%u: ", instance);
    signature_step(step, &len, "ARC-Seal", set->seal, set->seal_reason, set->domain, set->selector);
    len += fmt(step + len, STEP_CAP - len, "; ");
    signature_step(step, &len, "ARC-Message-Signature", set->message_signature,
            set->message_signature_reason, set->signature_domain, set->signature_selector);
}

static void print_verdict(const struct arc_verify *verify)
{
    char step[STEP_CAP];
    for (uint32_t i = (uint32_t)arc_set_count(verify); i > 0; i--) {
        struct arc_set_verdict set = arc_set(verify, i);
        set_step(&set, i, step);
        printf("%s\n", step);
    }
    enum arc_result result = arc_verify_result(verify);
    printf("%s: ", arc_result_name(result));
    if (result == ARC_PASS) {
        printf("%zu %s, every seal holds", arc_set_count(verify),
                arc_set_count(verify) == 1 ? "set" : "sets");
        if (arc_oldest_pass(verify) > 0) {
            printf("; the message was changed before i=%u", arc_oldest_pass(verify));
        }
    }
    printf("%s\n", arc_verify_reason(verify));
}

static json_t *sets_json(const struct arc_verify *verify)
{
    json_t *sets = json_array();
    for (uint32_t i = 1; i <= arc_set_count(verify); i++) {
        struct arc_set_verdict set = arc_set(verify, i);
        json_array_append_new(sets,
                json_pack("{s:i, s:o, s:o, s:o, s:s, s:s, s:s, s:s, s:o}", "instance", (int)i, "cv",
                        cli_text_json(set.cv), "domain", cli_text_json(set.domain), "selector",
                        cli_text_json(set.selector), "seal", arc_result_name(set.seal),
                        "seal_reason", set.seal_reason, "message_signature",
                        arc_result_name(set.message_signature), "message_signature_reason",
                        set.message_signature_reason, "results", cli_text_json(set.results)));
    }
    return sets;
}

static json_t *steps_json(const struct arc_verify *verify)
{
    char step[STEP_CAP];
    json_t *steps = json_array();
    for (uint32_t i = (uint32_t)arc_set_count(verify); i > 0; i--) {
        struct arc_set_verdict set = arc_set(verify, i);
        set_step(&set, i, step);
        json_array_append_new(steps, cli_text_json(str_from_c(step)));
    }
    if (arc_verify_reason(verify)[0] != '\0') {
        json_array_append_new(steps, cli_text_json(str_from_c(arc_verify_reason(verify))));
    }
    return steps;
}

static void print_verdict_json(const struct arc_verify *verify)
{
    bool is_passed = arc_verify_result(verify) == ARC_PASS;
    cli_print_json(json_pack("{s:s, s:s, s:i, s:o, s:o, s:o}", "result",
            arc_result_name(arc_verify_result(verify)), "reason", arc_verify_reason(verify),
            "count", (int)arc_set_count(verify), "oldest_pass",
            is_passed ? json_integer(arc_oldest_pass(verify)) : json_null(), "sets",
            sets_json(verify), "steps", steps_json(verify)));
}

static int exit_of(enum arc_result result)
{
    switch (result) {
    case ARC_PASS:
    case ARC_NONE:
        return CLI_GOOD;
    case ARC_FAIL:
        return CLI_WANTING;
    case ARC_TEMPERROR:
    case ARC_PENDING:
        break;
    }
    return CLI_TRY_AGAIN;
}

/* ---- validation ---- */

/* Validated to its end; NULL: has complained, *ret_code says how to leave. */
static struct arc_verify *validate(struct str message, const struct arc_args *args, int *ret_code)
{
    struct identity_desk *desk;
    struct arc_verify *verify = NULL;
    struct why why = { 0 };
    if (identity_desk_open(args->zone, str_from_c(args->resolver), &desk, &why) != OK) {
        cli_complain("%s", why.text[0] ? why.text : "DNS cannot be asked");
        *ret_code = CLI_USAGE;
        return NULL;
    }
    enum err err = arc_verify_begin(message, clock_wall(clock_real()), &verify);
    if (err == OK) {
        struct identity_engine engine = { verify, arc_question, arc_answer };
        err = identity_desk_ask(desk, &engine);
    }
    identity_desk_close(desk);
    if (err != OK) {
        cli_complain("out of memory");
        *ret_code = CLI_TRY_AGAIN;
        arc_verify_free(verify);
        return NULL;
    }
    return verify;
}

static int verify_message(struct str message, const struct arc_args *args)
{
    int code;
    struct arc_verify *verify = validate(message, args, &code);
    if (verify == NULL) {
        return code;
    }
    args->is_json ? print_verdict_json(verify) : print_verdict(verify);
    code = exit_of(arc_verify_result(verify));
    arc_verify_free(verify);
    return code;
}

/* ---- sealing ---- */

/* What --results says, or the fields of our own name; and what the chain came to (RFC 8617 6). */
static enum err gather_results(const struct header *header, const struct arc_args *args,
        struct str authserv_id, enum arc_result chain, struct buf *ret_results)
{
    enum err err = OK;
    if (args->results) {
        buf_add_c(ret_results, args->results);
    } else {
        err = arc_results(header, authserv_id, ret_results);
    }
    struct str so_far = buf_str(ret_results);
    if (chain != ARC_NONE && str_find(so_far, STR("arc=")) == so_far.len) {
        buf_addf(ret_results, "%sarc=%s", so_far.len > 0 ? "; " : "", arc_result_name(chain));
    }
    return err == OK ? buf_err(ret_results) : err;
}

static enum err seal_message(struct str message, const struct key *key, const struct arc_args *args,
        enum arc_result chain, struct buf *ret_fields, struct why *why)
{
    struct arena arena;
    struct header header;
    struct buf results;
    struct dkim_body_hash body = { 0 };
    uint8_t hash[SHA256_BYTES];
    struct arc_sealing how = { .domain = str_from_c(args->domain),
        .selector = str_from_c(args->selector),
        .key = key,
        .sealed = clock_wall(clock_real()),
        .body_hash = hash,
        .authserv_id = str_from_c(args->authserv_id ? args->authserv_id : args->domain),
        .chain = chain };
    arena_init(&arena, HEADER_ARENA_BYTES);
    buf_init(&results, ARC_RESULTS_BYTES_MAX);
    enum err err = header_parse(&arena, message, /*at_end*/ true, &header, why);
    if (err == OK) {
        err = gather_results(&header, args, how.authserv_id, chain, &results);
    }
    if (err == OK) {
        err = dkim_body_begin(&body, NULL);
    }
    if (err == OK) {
        dkim_body_add(&body, str_from(message, header.body_at));
        dkim_body_end(&body, hash);
        how.results = buf_str(&results);
        err = arc_seal(&how, str_sub(message, 0, header.block_bytes), ret_fields, why);
    }
    buf_done(&results);
    arena_done(&arena);
    return err;
}

static int seal_validated(struct str message, const struct key *key, const struct arc_args *args,
        enum arc_result chain)
{
    struct buf fields;
    struct why why = { 0 };
    if (chain == ARC_TEMPERROR) {
        cli_complain("the chain could not be validated, so it is not continued: try again later");
        return CLI_TRY_AGAIN;
    }
    buf_init(&fields, 4 * DKIM_FIELD_BYTES_MAX);
    enum err err = seal_message(message, key, args, chain, &fields, &why);
    if (err == OK) {
        fwrite(fields.ptr, 1, fields.len, stdout);
        fwrite(message.ptr, 1, message.len, stdout);
    } else {
        cli_complain("the message cannot be sealed: %s", why.text[0] ? why.text : err_name(err));
    }
    buf_done(&fields);
    return err == OK ? CLI_GOOD : CLI_WANTING;
}

static int seal(const struct arc_args *args, const char *path)
{
    struct buf message;
    if (!args->domain || !args->selector) {
        return cli_usage("arc", "seal needs --key, --domain and --selector");
    }
    struct key *key = cli_load_key(args->key);
    if (key == NULL) {
        return CLI_WANTING;
    }
    int code = CLI_WANTING;
    if (cli_read_message(path, &message)) {
        struct arc_verify *verify = validate(buf_str(&message), args, &code);
        if (verify) {
            code = seal_validated(buf_str(&message), key, args, arc_verify_result(verify));
            arc_verify_free(verify);
        }
    }
    buf_done(&message);
    key_free(key);
    return code;
}

int cmd_arc(int argc, char **argv)
{
    struct arc_args args = { 0 };
    int count, code;
    const struct cli_option options[] = { { "key", &args.key, NULL },
        { "domain", &args.domain, NULL }, { "selector", &args.selector, NULL },
        { "authserv-id", &args.authserv_id, NULL }, { "results", &args.results, NULL },
        { "zone", &args.zone, NULL }, { "resolver", &args.resolver, NULL },
        { "json", NULL, &args.is_json } };
    if (!cli_options(argc, argv, options, COUNT_OF(options), help, &count, &code)) {
        return code;
    }
    struct str what = str_from_c(count > 0 ? argv[1] : "");
    const char *path = count > 1 ? argv[2] : "-";
    if (count > 2) {
        return cli_usage(argv[0], "takes one message, not also \"%s\"", argv[3]);
    }
    if (str_eq(what, STR("seal"))) {
        return seal(&args, path);
    }
    if (!str_eq(what, STR("verify"))) {
        return cli_usage(argv[0], "say verify or seal");
    }
    struct buf message;
    code = cli_read_message(path, &message) ? verify_message(buf_str(&message), &args)
                                            : CLI_TRY_AGAIN;
    buf_done(&message);
    return code;
}
