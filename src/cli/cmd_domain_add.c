/* SPDX-License-Identifier: Apache-2.0
 *
 * cmd_domain_add.c - `outpost domain add` makes a domain's keys and file, and prints what DNS must
 * say; `outpost domain records` prints it again.
 */
#include "cli/cmd_domain_priv.h"

#include "cli/cli.h"
#include "core/str.h"
#include "edge/clock.h"
#include "identity/identity.h"
#include "mail/address.h"
#include "mail/domain.h"

#include <stdio.h>
#include <stdlib.h>

#include <jansson.h>

enum { ARENA_BYTES_MAX = 128 << 20, OUTPUT_BYTES_MAX = 64 << 20, URL_BYTES_MAX = 1000 };

static const char help[] =
        "A new sending domain: keys, the domain of its bounces, and every record that DNS must "
        "have.\n"
        "\n"
        "  outpost domain add shop.example.com                      makes keys once; prints the "
        "records\n"
        "  outpost domain records shop.example.com                  the same records again, makes "
        "nothing\n"
        "  outpost domain add news.example.com --like shop.example.com    points at another "
        "domain's SPF and DKIM\n"
        "  outpost domain records shop.example.com --dmarc-stage quarantine\n"
        "  outpost domain records shop.example.com --format zone > shop.zone\n"
        "  outpost domain records shop.example.com --format nsupdate --send --server 192.0.2.53 "
        "--key tsig.key\n"
        "\n"
        "add writes domains.d/DOMAIN.conf and domains.d/keys/ beside the configuration; a running "
        "node takes it\n"
        "up when it reloads. An SPF record that is there is merged with ours, its look-ups "
        "counted.\n"
        "--format: table, zone, json (also --json), nsupdate, terraform-route53, "
        "terraform-cloudflare, octodns,\n"
        "dnscontrol. --in ZONE: the records of that zone only.\n"
        "options of add: --bounce NAME (bounce.DOMAIN; \"none\": the domain itself), --ed25519 (a "
        "second key).\n"
        "options: --dmarc-stage none|quarantine|reject, --rua ADDRESS (dmarc@DOMAIN), --mta-sts "
        "(announce it now),\n"
        "--caa ISSUER, --bimi URL, --like DOMAIN, --ip IP --ehlo NAME (instead of the configured "
        "sources),\n"
        "--resolver IP[:PORT], --trust-anchor FILE, --zone FILE (DNS as that master file has it), "
        "--config FILE.\n"
        "Exit: 0 done, 1 not possible as things are, 2 usage, 75 DNS could not tell, or a file "
        "could not be written.\n";

struct add_args {
    const char *config, *format, *in, *bounce, *stage, *rua, *caa, *bimi, *like, *ip, *ehlo;
    const char *resolver, *anchor, *zone, *server, *key;
    bool is_json, has_ed25519, is_sts, is_send;
};
enum { ADD_OPTION_COUNT = 20 };

struct job {
    struct arena arena;
    const struct add_args *args;
    const char *config_path;
    struct config *config;
    struct str domain, bounce, like;
    enum identity_format format;
    struct ip_port server;
    struct identity_plan plan;
    struct identity_source source; /* of --ip */
    struct identity_made made;
    struct wall now;
};

/* ---- names ---- */

/* A domain that can send: no address, no top-level domain or other public suffix. */
static bool read_name(struct job *job, const char *text, const char *what, struct str *ret_name)
{
    char room[DOMAIN_CAP], safe[300];
    struct str ascii, shown = str_escape(str_from_c(text), safe, sizeof safe);
    struct ip ip;
    if (strlen(text) > DOMAIN_BYTES_MAX) {
        cli_usage("domain", "%s: a name of %zu bytes; DNS takes %d", what, strlen(text),
                (int)DOMAIN_BYTES_MAX);
        return false;
    }
    if (ip_parse(str_from_c(text), &ip) == OK) {
        cli_usage("domain", "%s: \"%.*s\" is an address, not a domain", what, STR_ARG(shown));
        return false;
    }
    if (domain_to_ascii(str_from_c(text), room, &ascii) != OK || !domain_is_hostname(ascii)) {
        cli_usage("domain", "%s: \"%.*s\" is no domain name", what, STR_ARG(shown));
        return false;
    }
    if (str_index(ascii, '.') == ascii.len || domain_is_public_suffix(ascii)) {
        cli_usage("domain",
                "%s: \"%.*s\" is a public suffix, under which others have their "
                "domains: name one of yours",
                what, STR_ARG(shown));
        return false;
    }
    *ret_name = arena_str(&job->arena, ascii);
    return ret_name->ptr != NULL;
}

static bool read_bounce(struct job *job)
{
    const char *text = job->args->bounce;
    if (text != NULL && strcmp(text, "none") == 0) {
        job->bounce = STR("");
        return true;
    }
    if (text != NULL) {
        return read_name(job, text, "--bounce", &job->bounce);
    }
    job->bounce = arena_strf(&job->arena, "bounce.%.*s", STR_ARG(job->domain));
    if (job->bounce.len > DOMAIN_BYTES_MAX) {
        cli_usage("domain",
                "bounce.%.*s has %zu bytes, DNS takes %d: name a shorter one with "
                "--bounce",
                STR_ARG(job->domain), job->bounce.len, (int)DOMAIN_BYTES_MAX);
        return false;
    }
    return job->bounce.ptr != NULL;
}

/* ---- options ---- */

static bool read_format(struct job *job)
{
    const char *text = job->args->is_json          ? "json"
                       : job->args->format != NULL ? job->args->format
                                                   : "table";
    for (enum identity_format f = 0; f < IDENTITY_FORMAT_COUNT; f++) {
        if (strcmp(identity_format_name(f), text) == 0) {
            job->format = f;
            return true;
        }
    }
    cli_usage("domain", "--format is table, zone, json, nsupdate, terraform-route53, "
                        "terraform-cloudflare, octodns or dnscontrol");
    return false;
}

static bool is_stage(const char *text)
{
    return strcmp(text, "none") == 0 || strcmp(text, "quarantine") == 0 ||
           strcmp(text, "reject") == 0;
}

/* Goes into a record as it is. */
static bool is_plain(const char *text)
{
    for (; *text != '\0'; text++) {
        if (*text <= ' ' || *text >= 0x7f || strchr("\";\\,", *text) != NULL) {
            return false;
        }
    }
    return true;
}

static bool read_texts(const struct add_args *args)
{
    struct address address;
    if (args->stage != NULL && !is_stage(args->stage)) {
        cli_usage("domain", "--dmarc-stage is none, quarantine or reject");
        return false;
    }
    if (args->rua != NULL && (!is_plain(args->rua) || strchr(args->rua, '!') != NULL ||
                                     address_parse(str_from_c(args->rua), &address, NULL) != OK)) {
        cli_usage("domain", "--rua is a mail address, as dmarc@example.com");
        return false;
    }
    if (args->caa != NULL && !domain_is_hostname(str_from_c(args->caa))) {
        cli_usage("domain", "--caa is the name of an authority, as letsencrypt.org");
        return false;
    }
    if (args->bimi != NULL && (strncmp(args->bimi, "https://", 8) != 0 || !is_plain(args->bimi) ||
                                      strlen(args->bimi) > URL_BYTES_MAX)) {
        cli_usage("domain", "--bimi is the URL of an SVG logo, as https://example.com/logo.svg");
        return false;
    }
    return true;
}

static bool read_sending(struct job *job)
{
    const struct add_args *args = job->args;
    if (args->server == NULL && !args->is_send) {
        return true;
    }
    if (args->is_send && (args->server == NULL || args->key == NULL)) {
        cli_usage("domain", "--send needs --server IP[:PORT], the zone's primary, and --key FILE "
                            "with its TSIG key");
        return false;
    }
    struct str text = str_from_c(args->server);
    if (ip_parse(text, &job->server.ip) == OK) {
        job->server.port = 53;
    } else if (ip_port_parse(text, &job->server) != OK) {
        cli_usage("domain", "--server: \"%s\" is no address", args->server);
        return false;
    }
    return true;
}

static bool read_args(struct job *job, const char *domain)
{
    return read_name(job, domain, "the domain", &job->domain) && read_format(job) &&
           read_texts(job->args) && read_sending(job) && read_bounce(job) &&
           (job->args->like == NULL || read_name(job, job->args->like, "--like", &job->like));
}

/* ---- the configuration ---- */

static bool load(struct job *job)
{
    struct config_report *report = mem_new(sizeof *report);
    if (job->config_path == NULL || report == NULL) {
        mem_free(report);
        cli_complain("no configuration was found: name one with --config FILE");
        return false;
    }
    enum err err = config_load(job->config_path, &job->config, report);
    if (err != OK) {
        struct buf text;
        buf_init(&text, 1 << 20);
        config_report_print(report, &text);
        fprintf(stderr, "%.*s", STR_ARG(buf_str(&text)));
        cli_complain("%s cannot be used as it is: mend it first", job->config_path);
        buf_done(&text);
    }
    config_report_done(report);
    mem_free(report);
    return err == OK;
}

static bool use_source(struct job *job)
{
    const struct add_args *args = job->args;
    if (args->ip == NULL) {
        return true;
    }
    job->source = (struct identity_source){ .name = str_from_c(args->ip),
        .ehlo = args->ehlo != NULL ? str_from_c(args->ehlo) : job->config->hostname };
    if (ip_parse(str_from_c(args->ip), &job->source.ip) != OK) {
        cli_usage("domain", "--ip: \"%s\" is no IP address", args->ip);
        return false;
    }
    if (!domain_is_hostname(job->source.ehlo)) {
        cli_usage("domain", "--ehlo: \"%.*s\" is no host name", STR_ARG(job->source.ehlo));
        return false;
    }
    job->plan.source = &job->source;
    job->plan.source_count = 1;
    return true;
}

/* Also those that do not sign yet, or not any more: their records must stand too. */
static bool use_all_keys(struct job *job)
{
    struct identity_domain *domain = arena_new(&job->arena, sizeof *domain);
    for (uint32_t i = 0; domain != NULL && i < job->config->domain_count; i++) {
        const struct config_domain *own = &job->config->domain[i];
        if (str_eq(own->name, job->plan.domain[0].name)) {
            *domain = job->plan.domain[0];
            domain->key = own->key;
            domain->key_count = own->key_count;
            job->plan.domain = domain;
            return true;
        }
    }
    return false;
}

/* False with *ret_exit. */
static bool make_plan(struct job *job, int *ret_exit)
{
    struct why why = { 0 };
    enum err err = identity_plan_make(job->config, job->domain, &job->arena, &job->plan, &why);
    if (err != OK) {
        cli_complain("%.*s is no domain of the configuration: \"outpost domain add\" makes it one",
                STR_ARG(job->domain));
        *ret_exit = CLI_WANTING;
        return false;
    }
    *ret_exit = CLI_USAGE;
    return use_all_keys(job) && use_source(job);
}

/* ---- what DNS must say ---- */

static int exit_of(enum err err)
{
    switch (err) {
    case OK:
        return CLI_GOOD;
    case E_USAGE:
    case E_SYNTAX:
    case E_TOO_BIG:
    case E_EXISTS:
    case E_NOT_FOUND:
    case E_UNSUPPORTED:
    case E_REFUSED:
    case E_DENIED:
        return CLI_WANTING;
    case E_NOMEM:
    case E_AGAIN:
    case E_EOF:
    case E_FULL:
    case E_BUSY:
    case E_IO:
    case E_NO_SPACE:
    case E_CORRUPT:
    case E_TIMEOUT:
    case E_CLOSED:
    case ERR_COUNT:
        break;
    }
    return CLI_TRY_AGAIN;
}

static struct str given(const char *text)
{
    return str_from_c(text != NULL ? text : "");
}

/* The terms of a record that is over the limit, with what each costs. */
static void print_bills(const struct identity_setup *setup)
{
    for (uint32_t b = 0; b < setup->bill_count; b++) {
        const struct identity_spf_bill *bill = &setup->bill[b];
        fprintf(stderr, "SPF of %.*s: %u look-ups\n", STR_ARG(bill->name),
                (unsigned)bill->lookup_count);
        for (uint32_t i = 0; i < bill->cost_count; i++) {
            char safe[600];
            struct str term = str_escape(bill->cost[i].term, safe, sizeof safe);
            fprintf(stderr, "  %*s%.*s: %u\n", (int)(2 * bill->cost[i].depth), "", STR_ARG(term),
                    (unsigned)bill->cost[i].lookup_count);
        }
    }
}

static void keep_zone(struct identity_setup *setup, struct str zone)
{
    uint32_t count = 0;
    zone = str_ends_nocase(zone, STR(".")) ? str_sub(zone, 0, zone.len - 1) : zone;
    for (uint32_t i = 0; i < setup->record_count; i++) {
        if (str_eq_nocase(setup->record[i].zone, zone)) {
            setup->record[count++] = setup->record[i];
        }
    }
    setup->record_count = count;
    setup->zone = count > 0 ? setup->record[0].zone : setup->zone;
}

static int print_setup(struct job *job, const struct identity_setup *setup)
{
    struct buf text;
    buf_init(&text, OUTPUT_BYTES_MAX);
    if (job->format == IDENTITY_FORMAT_NSUPDATE && job->server.port != 0) {
        char ip[IP_TEXT_CAP];
        buf_addf(&text, "server %.*s %u\n", STR_ARG(ip_format(job->server.ip, ip)),
                (unsigned)job->server.port);
    }
    identity_setup_print(setup, job->format, &text);
    bool is_good = buf_err(&text) == OK && fwrite(text.ptr, 1, text.len, stdout) == text.len;
    buf_done(&text);
    return is_good ? CLI_GOOD : CLI_TRY_AGAIN;
}

static int send_records(struct job *job, const struct identity_setup *setup)
{
    struct str words = STR("");
    struct why why = { 0 };
    enum err err =
            identity_setup_send(setup, &job->server, job->args->key, &job->arena, &words, &why);
    fprintf(stderr, "%.*s", STR_ARG(words));
    if (err != OK) {
        cli_complain("not all was sent: %s", why.text[0] != '\0' ? why.text : err_name(err));
    }
    return exit_of(err);
}

/* Signs another domain with this one's key? Its file's name says whose it was first. */
static bool is_key_of(const struct config_dkim_key *key, const struct config_domain *other)
{
    char lead[DOMAIN_CAP + 16];
    size_t len = fmt(lead, sizeof lead, "/keys/%.*s.", STR_ARG(other->name));
    for (uint32_t i = 0; i < other->key_count; i++) {
        if (str_eq(other->key[i].path, key->path) &&
                str_find(key->path, str_of(lead, len)) < key->path.len) {
            return true;
        }
    }
    return false;
}

/* What --like was when the domain was added. */
static void find_like(struct job *job)
{
    const struct identity_domain *own = &job->plan.domain[0];
    for (uint32_t d = 0; d < job->config->domain_count && own->key_count > 0; d++) {
        const struct config_domain *other = &job->config->domain[d];
        if (job->like.len == 0 && !str_eq(other->name, own->name) &&
                is_key_of(&own->key[0], other)) {
            job->like = other->name;
        }
    }
}

static struct identity_setup_how how_of(const struct job *job)
{
    const struct add_args *args = job->args;
    struct identity_setup_how how = { .plan = &job->plan,
        .now = job->now,
        .stage = given(args->stage),
        .rua = given(args->rua),
        .like = job->like,
        .caa = given(args->caa),
        .bimi = given(args->bimi),
        .is_sts = args->is_sts };
    how.outside.zone_path = args->zone;
    how.outside.servers = args->resolver != NULL ? given(args->resolver) : job->config->resolver;
    how.outside.anchor_path = args->anchor != NULL                ? args->anchor
                              : job->config->trust_anchor.len > 0 ? job->config->trust_anchor.ptr
                                                                  : NULL;
    return how;
}

/* Looks at DNS before anything is made, so that what cannot be published is not begun. */
static int print_records(struct job *job)
{
    struct identity_setup setup;
    struct why why = { 0 };
    find_like(job);
    struct identity_setup_how how = how_of(job);
    enum err err = identity_setup_make(&how, &job->arena, &setup, &why);
    if (err == E_TOO_BIG) {
        print_bills(&setup);
    }
    if (err != OK) {
        cli_complain("%s", why.text[0] != '\0' ? why.text : err_name(err));
        return exit_of(err);
    }
    if (job->args->in != NULL) {
        keep_zone(&setup, str_from_c(job->args->in));
    }
    int exit_code = print_setup(job, &setup);
    return exit_code == CLI_GOOD && job->args->is_send ? send_records(job, &setup) : exit_code;
}

/* ---- add ---- */

static int make(struct job *job)
{
    struct why why = { 0 };
    const struct identity_domain_new what = { .config_path = job->config_path,
        .name = job->domain,
        .bounce = job->bounce,
        .like = job->like,
        .has_ed25519 = job->args->has_ed25519,
        .now = job->now };
    enum err err = identity_domain_make(&what, &job->arena, &job->made, &why);
    if (err == E_EXISTS) {
        cli_complain("%s; nothing new was made", why.text);
        return CLI_GOOD;
    }
    if (err != OK) {
        cli_complain("nothing was made: %s", why.text[0] != '\0' ? why.text : err_name(err));
        return exit_of(err);
    }
    fprintf(stderr, "wrote %.*s", STR_ARG(job->made.path));
    for (uint32_t i = 0; i < job->made.selector_count; i++) {
        fprintf(stderr, "%s%.*s", i == 0 ? " with new keys " : ", ",
                STR_ARG(job->made.selector[i]));
    }
    fprintf(stderr,
            "\npublish the records, let \"outpost domain check %.*s\" pass, then reload the "
            "node: systemctl reload outpost\n\n",
            STR_ARG(job->domain));
    config_give(job->config);
    job->config = NULL;
    return load(job) ? CLI_GOOD : CLI_TRY_AGAIN;
}

/* As if the domain were there without a key: does DNS let it be set up? */
static int try_out(struct job *job)
{
    struct identity_setup setup;
    struct identity_domain domain = { .name = job->domain, .bounce = job->bounce };
    struct why why = { 0 };
    int exit_code = CLI_USAGE;
    if (identity_plan_make(job->config, STR(""), &job->arena, &job->plan, &why) != OK ||
            !use_source(job)) {
        return exit_code;
    }
    job->plan.domain = &domain;
    job->plan.domain_count = 1;
    struct identity_setup_how how = how_of(job);
    enum err err = identity_setup_make(&how, &job->arena, &setup, &why);
    if (err == E_TOO_BIG) {
        print_bills(&setup);
    }
    if (err != OK) {
        cli_complain("nothing was made: %s", why.text[0] != '\0' ? why.text : err_name(err));
    }
    return exit_of(err);
}

static const struct config_domain *ours(const struct job *job)
{
    for (uint32_t i = 0; i < job->config->domain_count; i++) {
        if (str_eq_nocase(job->config->domain[i].name, job->domain)) {
            return &job->config->domain[i];
        }
    }
    return NULL;
}

/* A domain that is there already is not touched; without a key its records would not be whole. */
static int add(struct job *job)
{
    const struct config_domain *there = ours(job);
    if (there != NULL && there->key_count == 0) {
        cli_complain("the section of %.*s was written by hand and has no key: take it out, and "
                     "\"outpost domain add\" writes one; or \"outpost dkim genkey\" makes a key "
                     "for it",
                STR_ARG(job->domain));
        return CLI_WANTING;
    }
    int exit_code = there != NULL ? CLI_GOOD : try_out(job);
    return exit_code == CLI_GOOD ? make(job) : exit_code;
}

static int run(struct job *job, bool is_add)
{
    int exit_code = CLI_WANTING;
    if (!load(job)) {
        return exit_code;
    }
    exit_code = is_add ? add(job) : CLI_GOOD;
    if (exit_code != CLI_GOOD) {
        return exit_code;
    }
    return make_plan(job, &exit_code) ? print_records(job) : exit_code;
}

static void options_of(struct add_args *args, struct cli_option ret_options[ADD_OPTION_COUNT])
{
    const struct cli_option options[] = { { "config", &args->config, NULL },
        { "format", &args->format, NULL }, { "in", &args->in, NULL },
        { "bounce", &args->bounce, NULL }, { "dmarc-stage", &args->stage, NULL },
        { "rua", &args->rua, NULL }, { "caa", &args->caa, NULL }, { "bimi", &args->bimi, NULL },
        { "like", &args->like, NULL }, { "ip", &args->ip, NULL }, { "ehlo", &args->ehlo, NULL },
        { "resolver", &args->resolver, NULL }, { "trust-anchor", &args->anchor, NULL },
        { "zone", &args->zone, NULL }, { "server", &args->server, NULL },
        { "key", &args->key, NULL }, { "json", NULL, &args->is_json },
        { "ed25519", NULL, &args->has_ed25519 }, { "mta-sts", NULL, &args->is_sts },
        { "send", NULL, &args->is_send } };
    static_assert(COUNT_OF(options) == ADD_OPTION_COUNT, "all of them");
    memcpy(ret_options, options, sizeof options);
}

static int add_or_print(int argc, char **argv, bool is_add)
{
    struct add_args args = { 0 };
    struct cli_option options[ADD_OPTION_COUNT];
    int count, exit_code;
    options_of(&args, options);
    if (!cli_options(argc, argv, options, COUNT_OF(options), help, &count, &exit_code)) {
        return exit_code;
    }
    if (count != 1) {
        return cli_usage("domain", "%s takes one domain", argv[0]);
    }
    struct job job = {
        .args = &args, .config_path = cli_config_path(args.config), .now = clock_wall(clock_real())
    };
    arena_init(&job.arena, ARENA_BYTES_MAX);
    bool is_good = read_args(&job, argv[1]) && cli_zone_is_good(args.zone);
    exit_code = is_good ? run(&job, is_add) : CLI_USAGE;
    config_give(job.config);
    arena_done(&job.arena);
    return exit_code;
}

int domain_add(int argc, char **argv)
{
    return add_or_print(argc, argv, true);
}

int domain_records(int argc, char **argv)
{
    return add_or_print(argc, argv, false);
}
