/* SPDX-License-Identifier: Apache-2.0
 *
 * cmd_dkim.c - `outpost dkim`: keys, records, signatures by hand; verification with or without the
 * net.
 */
#include "cli/cli.h"

#include "core/str.h"
#include "edge/clock.h"
#include "edge/dns.h"
#include "mail/dkim.h"
#include "mail/header.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <jansson.h>

enum { KEY_FILE_BYTES_MAX = 64 << 10, RSA_BITS_DEFAULT = 2048, RSA_BITS_MAX = 4096 };

static const char help[] =
        "DKIM keys, records and signatures (RFC 6376, 8301, 8463).\n"
        "\n"
        "  outpost dkim genkey --out keys/s2026a.pem                         RSA-2048; --type "
        "ed25519, --bits 3072\n"
        "  outpost dkim record --key keys/s2026a.pem --domain shop.example --selector s2026a\n"
        "  outpost dkim sign --key keys/s2026a.pem --domain shop.example --selector s2026a "
        "message.eml\n"
        "  outpost dkim verify message.eml                                   asks DNS\n"
        "  outpost dkim verify --zone keys.zone --json message.eml           records from a master "
        "file, no net\n"
        "\n"
        "A message may be \"-\" for standard input; LF line ends are read as CRLF. record and "
        "genkey print what DNS\n"
        "must say. verify: exit 0 where a signature passes, 1 where none does, 75 where DNS could "
        "not tell.\n"
        "options: --resolver IP[:PORT], --allow-sha1 (also rsa-sha1 and short keys, as before RFC "
        "8301), --json\n";

struct dkim_args {
    const char *key, *domain, *selector, *out, *type, *bits, *zone, *resolver;
    bool is_json, is_sha1_allowed;
};

/* ---- keys ---- */

static bool write_key(const char *path, struct str pem)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (fd < 0) {
        cli_complain("%s: %s%s", path, strerror(errno),
                errno == EEXIST ? " (a key is never overwritten)" : "");
        return false;
    }
    bool is_good = write(fd, pem.ptr, pem.len) == (ssize_t)pem.len && fsync(fd) == 0;
    close(fd);
    if (!is_good) {
        cli_complain("%s could not be written: %s", path, strerror(errno));
        unlink(path);
    }
    return is_good;
}

static int print_record(const struct key *key, const struct dkim_args *args)
{
    struct buf text;
    buf_init(&text, 65536);
    enum err err;
    if (args->domain && args->selector) {
        err = dkim_record_line(str_from_c(args->domain), str_from_c(args->selector), key, &text);
    } else {
        err = dkim_record(key, &text);
        buf_add_char(&text, '\n');
    }
    if (err == OK) {
        printf("%.*s", STR_ARG(buf_str(&text)));
    } else {
        cli_complain("domain or selector is no DNS name");
    }
    buf_done(&text);
    return err == OK ? CLI_GOOD : CLI_USAGE;
}

static int genkey(const struct dkim_args *args)
{
    struct key *key;
    struct buf pem;
    uint64_t bits = RSA_BITS_DEFAULT;
    struct str type = str_from_c(args->type ? args->type : "rsa");
    bool is_ed25519 = str_eq(type, STR("ed25519"));
    if (!is_ed25519 && !str_eq(type, STR("rsa"))) {
        return cli_usage("dkim", "--type is rsa or ed25519");
    }
    if (args->bits && (str_to_u64(str_from_c(args->bits), RSA_BITS_MAX, &bits) != OK ||
                              bits < RSA_BITS_DEFAULT)) {
        return cli_usage("dkim", "--bits is 2048 to %d (RFC 8301 3.2)", RSA_BITS_MAX);
    }
    if (key_generate(is_ed25519 ? KEY_ED25519 : KEY_RSA, (uint32_t)bits, &key) != OK) {
        cli_complain("no key could be made");
        return CLI_WANTING;
    }
    buf_init(&pem, KEY_FILE_BYTES_MAX);
    int code = CLI_WANTING;
    if (key_to_pem(key, &pem) == OK && args->out == NULL) {
        printf("%.*s", STR_ARG(buf_str(&pem)));
        code = CLI_GOOD;
    } else if (args->out && write_key(args->out, buf_str(&pem))) {
        fprintf(stderr, "wrote %s; DNS must say:\n", args->out);
        code = print_record(key, args);
    }
    crypto_wipe(pem.ptr, pem.len);
    buf_done(&pem);
    key_free(key);
    return code;
}

static int record(const struct dkim_args *args)
{
    struct key *key = cli_load_key(args->key);
    int code = key ? print_record(key, args) : CLI_WANTING;
    key_free(key);
    return code;
}

/* ---- messages ---- */

static enum err sign_message(struct str message, const struct key *key,
        const struct dkim_args *args, struct buf *ret_field, struct why *why)
{
    struct arena arena;
    struct header header;
    struct dkim_body_hash body = { 0 };
    uint8_t hash[SHA256_BYTES];
    arena_init(&arena, HEADER_ARENA_BYTES);
    enum err err = header_parse(&arena, message, true, &header, why);
    if (err == OK) {
        err = dkim_body_begin(&body, NULL);
    }
    if (err == OK) {
        dkim_body_add(&body, str_from(message, header.body_at));
        dkim_body_end(&body, hash);
        struct dkim_signing how = { .domain = str_from_c(args->domain),
            .selector = str_from_c(args->selector),
            .key = key,
            .accepted = clock_wall(clock_real()),
            .body_hash = hash };
        why_set(why, "domain or selector is no DNS name");
        err = dkim_sign(&how, str_sub(message, 0, header.block_bytes), ret_field);
    }
    arena_done(&arena);
    return err;
}

static int sign(const struct dkim_args *args, const char *path)
{
    struct buf message, field;
    struct why why = { 0 };
    if (!args->domain || !args->selector) {
        return cli_usage("dkim", "sign needs --domain and --selector");
    }
    struct key *key = cli_load_key(args->key);
    if (key == NULL) {
        return CLI_WANTING;
    }
    buf_init(&field, DKIM_FIELD_BYTES_MAX);
    int code = CLI_WANTING;
    if (cli_read_message(path, &message)) {
        enum err err = sign_message(buf_str(&message), key, args, &field, &why);
        if (err == OK) {
            fwrite(field.ptr, 1, field.len, stdout);
            fwrite(message.ptr, 1, message.len, stdout);
            code = CLI_GOOD;
        } else {
            cli_complain("%s cannot be signed: %s", path, why.text);
        }
    }
    buf_done(&message);
    buf_done(&field);
    key_free(key);
    return code;
}

/* ---- verification ---- */

struct question {
    struct dkim_verify *verify;
    size_t index;
};

static void take_answer(void *ctx, const struct dns_answer *answer)
{
    struct question *question = ctx;
    bool is_found = false;
    for (uint32_t i = 0; answer->status == DNS_FOUND && i < answer->record_count; i++) {
        if (answer->record[i].type == DNS_TXT) {
            dkim_verify_answer(
                    question->verify, question->index, DKIM_FOUND, answer->record[i].data);
            is_found = true;
        }
    }
    if (!is_found) {
        bool is_none = answer->status == DNS_FOUND || answer->status == DNS_NODATA ||
                       answer->status == DNS_NXDOMAIN;
        dkim_verify_answer(question->verify, question->index, is_none ? DKIM_NONE : DKIM_TEMPFAIL,
                (struct str){ 0 });
    }
}

/* Asks for every key, from the zone where there is one. */
static bool ask_keys(struct dkim_verify *verify, const struct dkim_args *args, struct dns *zone)
{
    struct why why = { 0 };
    for (size_t i = 0; i < dkim_verify_count(verify); i++) {
        struct question question = { verify, i };
        struct str name;
        if (!dkim_verify_question(verify, i, &name)) {
            continue;
        }
        enum err err;
        if (zone) {
            err = zone->ops->ask(zone, name, DNS_TXT, take_answer, &question);
            dns_zone_poll(zone);
        } else {
            err = dns_ask_blocking(str_from_c(args->resolver ? args->resolver : ""), name, DNS_TXT,
                    take_answer, &question, &why);
        }
        if (err != OK) {
            cli_complain("DNS cannot be asked: %s", why.text[0] ? why.text : err_name(err));
            return false;
        }
    }
    return true;
}

static json_t *str_json(struct str s)
{
    char escaped[1024];
    json_t *json = json_stringn(s.ptr ? s.ptr : "", s.len);
    if (json == NULL) {
        s = str_escape(s, escaped, sizeof escaped);
        json = json_stringn(s.ptr, s.len);
    }
    return json;
}

static void print_verdicts_json(struct dkim_verify *verify)
{
    json_t *all = json_array();
    for (size_t i = 0; i < dkim_verify_count(verify); i++) {
        const struct dkim_verdict *verdict = dkim_verify_result(verify, i);
        json_array_append_new(
                all, json_pack("{s:s, s:s, s:o, s:o, s:o, s:o, s:s, s:i, s:b}", "result",
                             dkim_result_name(verdict->result), "reason", verdict->reason, "domain",
                             str_json(verdict->domain), "selector", str_json(verdict->selector),
                             "algorithm", str_json(verdict->algorithm), "identity",
                             str_json(verdict->identity), "b", verdict->b_prefix, "key_bits",
                             (int)verdict->key_bits, "testing", (int)verdict->is_testing));
    }
    json_t *reply = json_pack("{s:o}", "signatures", all);
    char *text = json_dumps(reply, JSON_COMPACT | JSON_ENSURE_ASCII);
    printf("%s\n", text ? text : "{}");
    free(text);
    json_decref(reply);
}

static void print_verdicts(struct dkim_verify *verify)
{
    if (dkim_verify_count(verify) == 0) {
        printf("none: the message carries no DKIM signature\n");
    }
    for (size_t i = 0; i < dkim_verify_count(verify); i++) {
        const struct dkim_verdict *verdict = dkim_verify_result(verify, i);
        char domain[300], selector[300];
        struct str d = str_escape(verdict->domain, domain, sizeof domain);
        struct str s = str_escape(verdict->selector, selector, sizeof selector);
        printf("%s  d=%.*s s=%.*s%s%s\n", dkim_result_name(verdict->result), STR_ARG(d), STR_ARG(s),
                verdict->reason[0] ? ": " : "", verdict->reason);
    }
}

static int verdict_code(struct dkim_verify *verify)
{
    int code = CLI_WANTING;
    for (size_t i = 0; i < dkim_verify_count(verify); i++) {
        enum dkim_result result = dkim_verify_result(verify, i)->result;
        if (result == DKIM_PASS) {
            return CLI_GOOD;
        }
        if (result == DKIM_TEMPERROR) {
            code = CLI_TRY_AGAIN;
        }
    }
    return code;
}

static int verify_message(struct str message, const struct dkim_args *args, struct dns *zone)
{
    struct dkim_policy policy = { .allow_sha1_and_short = args->is_sha1_allowed };
    struct dkim_verify *verify;
    struct why why = { 0 };
    if (dkim_verify_begin(message, clock_wall(clock_real()), &policy, &verify, &why) != OK) {
        if (args->is_json) {
            printf("{\"signatures\":[],\"error\":\"the header cannot be read\"}\n");
        }
        cli_complain("the header cannot be read: %s", why.text);
        return CLI_WANTING;
    }
    int code = CLI_TRY_AGAIN;
    if (ask_keys(verify, args, zone)) {
        args->is_json ? print_verdicts_json(verify) : print_verdicts(verify);
        code = verdict_code(verify);
    }
    dkim_verify_free(verify);
    return code;
}

static int verify(const struct dkim_args *args, const char *path)
{
    struct buf message;
    struct dns *zone = NULL;
    struct why why = { 0 };
    if (args->zone && dns_open_zone(args->zone, &zone, &why) != OK) {
        cli_complain("%s", why.text);
        return CLI_USAGE;
    }
    int code = cli_read_message(path, &message) ? verify_message(buf_str(&message), args, zone)
                                                : CLI_TRY_AGAIN;
    buf_done(&message);
    if (zone) {
        zone->ops->close(zone);
    }
    return code;
}

int cmd_dkim(int argc, char **argv)
{
    struct dkim_args args = { 0 };
    int count, code;
    const struct cli_option options[] = { { "key", &args.key, NULL },
        { "domain", &args.domain, NULL }, { "selector", &args.selector, NULL },
        { "out", &args.out, NULL }, { "type", &args.type, NULL }, { "bits", &args.bits, NULL },
        { "zone", &args.zone, NULL }, { "resolver", &args.resolver, NULL },
        { "json", NULL, &args.is_json }, { "allow-sha1", NULL, &args.is_sha1_allowed } };
    if (!cli_options(argc, argv, options, COUNT_OF(options), help, &count, &code)) {
        return code;
    }
    struct str what = str_from_c(count > 0 ? argv[1] : "");
    const char *path = count > 1 ? argv[2] : "-";
    if (count > 2) {
        return cli_usage(argv[0], "takes one message, not also \"%s\"", argv[3]);
    }
    if (str_eq(what, STR("genkey"))) {
        return genkey(&args);
    }
    if (str_eq(what, STR("record"))) {
        return record(&args);
    }
    if (str_eq(what, STR("sign"))) {
        return sign(&args, path);
    }
    if (str_eq(what, STR("verify"))) {
        return verify(&args, path);
    }
    return cli_usage(argv[0], "say genkey, record, sign or verify");
}
