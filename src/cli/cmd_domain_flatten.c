/* SPDX-License-Identifier: Apache-2.0
 *
 * cmd_domain_flatten.c - `outpost domain flatten`: an SPF record that asks too much, as addresses.
 */
#include "cli/cmd_domain_priv.h"

#include "cli/cli.h"
#include "core/str.h"
#include "edge/clock.h"
#include "identity/identity.h"
#include "mail/domain.h"

#include <stdio.h>
#include <stdlib.h>

#include <jansson.h>

enum { ARENA_BYTES_MAX = 128 << 20, OUTPUT_BYTES_MAX = 16 << 20, PATH_CAP = 4096 };

static const char help[] =
        "An SPF record over the limit of 10 look-ups, as the addresses that it leads to.\n"
        "\n"
        "  outpost domain flatten shop.example.com             the records, and look-ups before "
        "and "
        "after\n"
        "  outpost domain flatten shop.example.com --keep      and remembers from what they were "
        "made\n"
        "  outpost domain flatten shop.example.com --watch     exit 1 where the services have "
        "changed their addresses\n"
        "  outpost domain flatten shop.example.com --zone shop.zone --json\n"
        "\n"
        "Networks are joined where they touch, in the order of the record, in records of at most "
        "450 bytes. What\n"
        "depends on the message (exists, ptr, macros) cannot be flattened and is named.\n"
        "Flattened addresses grow old: keep them, and let --watch (or the node) tell when they "
        "change.\n"
        "options: --state FILE (data-dir/identity/flatten-DOMAIN.json), --resolver IP[:PORT], "
        "--zone FILE, --config FILE,\n"
        "--json. Exit: 0 done or unchanged, 1 cannot be flattened or has changed, 75 DNS could not "
        "tell.\n";

struct flatten_args {
    const char *config, *resolver, *zone, *state;
    bool is_json, is_kept, is_watching;
};

struct job {
    const struct flatten_args *args;
    struct arena arena;
    struct config *config; /* NULL: there is none, and none is needed */
    struct str domain;
    char state_path[PATH_CAP];
};

/* The configuration, where there is one: its resolver and its data-dir. */
static bool load(struct job *job)
{
    const char *path = cli_config_path(job->args->config);
    struct config_report *report = path != NULL ? mem_new(sizeof *report) : NULL;
    enum err err = report != NULL ? config_load(path, &job->config, report) : OK;
    if (report != NULL) {
        config_report_done(report);
        mem_free(report);
    }
    if (err != OK && job->args->config != NULL) {
        cli_complain("%s cannot be used as it is: see \"outpost config check\"", path);
        return false;
    }
    if (job->args->state != NULL) {
        fmt(job->state_path, sizeof job->state_path, "%s", job->args->state);
    } else if (job->config != NULL) {
        fmt(job->state_path, sizeof job->state_path, "%.*s/identity/flatten-%.*s.json",
                STR_ARG(job->config->data_dir), STR_ARG(job->domain));
    } else if (job->args->is_kept || job->args->is_watching) {
        cli_complain("there is no configuration: say with --state FILE what is to be remembered "
                     "where");
        return false;
    }
    return true;
}

static void print_words(const struct job *job, const struct identity_flat *flat)
{
    struct identity_setup setup = { .domain = job->domain,
        .zone = flat->record[0].zone,
        .record = flat->record,
        .record_count = flat->record_count };
    struct buf text;
    buf_init(&text, OUTPUT_BYTES_MAX);
    identity_setup_print(&setup, IDENTITY_FORMAT_ZONE, &text);
    printf("%.*s", STR_ARG(buf_str(&text)));
    buf_done(&text);
    fprintf(stderr, "look-ups: %u before, %u after; %u networks in %u records\n",
            (unsigned)flat->bill.lookup_count_before, (unsigned)flat->bill.lookup_count,
            (unsigned)flat->net_count, (unsigned)flat->record_count);
}

static void print_json(const struct job *job, const struct identity_flat *flat)
{
    json_t *records = json_array(), *terms = json_array();
    for (uint32_t i = 0; i < flat->record_count; i++) {
        const struct identity_record *record = &flat->record[i];
        json_array_append_new(
                records, json_pack("{s:o, s:s, s:o, s:s}", "name", cli_text_json(record->name),
                                 "type", "TXT", "value", cli_text_json(record->data), "state",
                                 identity_record_state_name(record->state)));
    }
    for (uint32_t i = 0; i < flat->bill.cost_count; i++) {
        const struct identity_spf_cost *cost = &flat->bill.cost[i];
        json_array_append_new(
                terms, json_pack("{s:o, s:o, s:i, s:i}", "domain", cli_text_json(cost->name),
                               "term", cli_text_json(cost->term), "depth", (int)cost->depth,
                               "lookups", (int)cost->lookup_count));
    }
    cli_print_json(json_pack("{s:o, s:o, s:i, s:i, s:i, s:b, s:o, s:o}", "domain",
            cli_text_json(job->domain), "source", cli_text_json(flat->source), "lookups_before",
            (int)flat->bill.lookup_count_before, "lookups_after", (int)flat->bill.lookup_count,
            "networks", (int)flat->net_count, "changed", flat->has_changed, "records", records,
            "terms", terms));
}

static int exit_of(enum err err)
{
    bool is_final =
            err == E_NOT_FOUND || err == E_UNSUPPORTED || err == E_SYNTAX || err == E_TOO_BIG;
    return is_final ? CLI_WANTING : CLI_TRY_AGAIN;
}

static int watch(const struct identity_flatten_how *how)
{
    bool has_changed = false;
    struct why why = { 0 };
    enum err err = identity_flatten_changed(how, &has_changed, &why);
    if (err != OK) {
        cli_complain("%s", why.text[0] != '\0' ? why.text : err_name(err));
        return exit_of(err);
    }
    printf("%s\n",
            has_changed ? "changed: flatten again, and publish the new records" : "unchanged");
    return has_changed ? CLI_WANTING : CLI_GOOD;
}

static int flatten(struct job *job)
{
    const struct flatten_args *args = job->args;
    struct identity_flat flat = { 0 };
    struct why why = { 0 };
    struct identity_flatten_how how = { .domain = job->domain,
        .state_path = str_from_c(job->state_path),
        .now = clock_wall(clock_real()) };
    how.outside.zone_path = args->zone;
    how.outside.servers = args->resolver != NULL ? str_from_c(args->resolver)
                          : job->config != NULL  ? job->config->resolver
                                                 : STR("");
    if (args->is_watching) {
        return watch(&how);
    }
    enum err err = identity_flatten(&how, &job->arena, &flat, &why);
    if (err != OK) {
        cli_complain("%s", why.text[0] != '\0' ? why.text : err_name(err));
        return exit_of(err);
    }
    args->is_json ? print_json(job, &flat) : print_words(job, &flat);
    if (args->is_kept && identity_flatten_save(&how, &flat, &why) != OK) {
        cli_complain("not remembered: %s", why.text);
        return CLI_TRY_AGAIN;
    }
    return CLI_GOOD;
}

int domain_flatten(int argc, char **argv)
{
    struct flatten_args args = { 0 };
    const struct cli_option options[] = { { "config", &args.config, NULL },
        { "resolver", &args.resolver, NULL }, { "zone", &args.zone, NULL },
        { "state", &args.state, NULL }, { "json", NULL, &args.is_json },
        { "keep", NULL, &args.is_kept }, { "watch", NULL, &args.is_watching } };
    struct job job = { .args = &args };
    char room[DOMAIN_CAP];
    int count, exit_code;
    if (!cli_options(argc, argv, options, COUNT_OF(options), help, &count, &exit_code)) {
        return exit_code;
    }
    if (count != 1) {
        return cli_usage("domain", "flatten takes one domain");
    }
    if (domain_to_ascii(str_from_c(argv[1]), room, &job.domain) != OK ||
            !domain_is_dns_name(job.domain)) {
        char safe[300];
        struct str shown = str_escape(str_from_c(argv[1]), safe, sizeof safe);
        return cli_usage("domain", "\"%.*s\" is no domain name", STR_ARG(shown));
    }
    if (!cli_zone_is_good(args.zone)) {
        return CLI_USAGE;
    }
    arena_init(&job.arena, ARENA_BYTES_MAX);
    exit_code = load(&job) ? flatten(&job) : CLI_WANTING;
    config_give(job.config);
    arena_done(&job.arena);
    return exit_code;
}
