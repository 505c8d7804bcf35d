/* SPDX-License-Identifier: Apache-2.0
 *
 * check_run.c - what `domain check` and `source check` share: options to a plan, the run, its
 * output.
 */
#include "cli/check_output_priv.h"
#include "core/str.h"
#include "edge/clock.h"
#include "mail/domain.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

enum {
    PLAN_BYTES_MAX = 64 << 20,
    JSON_BYTES_MAX = 256 << 20,
    PATH_CAP = 4096,
    RUN_MS_MAX = 600000
};

void check_options(struct check_args *args, struct cli_option *ret_option)
{
    const struct cli_option options[] = { { "config", &args->config, NULL },
        { "zone", &args->zone, NULL }, { "resolver", &args->resolver, NULL },
        { "trust-anchor", &args->anchor, NULL }, { "junit", &args->junit, NULL },
        { "ip", &args->ip, NULL }, { "ehlo", &args->ehlo, NULL },
        { "timeout", &args->timeout, NULL }, { "json", NULL, &args->is_json },
        { "nagios", NULL, &args->is_nagios }, { "any", NULL, &args->is_any },
        { "quiet", NULL, &args->is_quiet }, { "lists", NULL, &args->has_lists },
        { "mend", NULL, &args->is_mend }, { "probe", NULL, &args->is_probe } };
    static_assert(COUNT_OF(options) == CHECK_OPTION_COUNT, "all of them");
    memcpy(ret_option, options, sizeof options);
}

/* What a run is made from; kept until its results are printed. */
struct job {
    struct arena arena;
    struct config *config;
    struct identity_plan plan;
    struct identity_source source; /* of --ip */
    char state_path[PATH_CAP];
    uint64_t run_ms_max;
};

static void job_done(struct job *job)
{
    config_give(job->config);
    arena_done(&job->arena);
}

/* ---- the plan ---- */

static bool load_config(const struct check_args *args, struct job *job)
{
    struct config_report *report = mem_new(sizeof *report);
    const char *path = cli_config_path(args->config);
    if (path == NULL || report == NULL) {
        mem_free(report);
        cli_complain("no configuration was found: name one with --config FILE, or say --any for "
                     "domains that are not yours");
        return false;
    }
    enum err err = config_load(path, &job->config, report);
    if (err != OK) {
        struct buf text;
        buf_init(&text, 1 << 20);
        config_report_print(report, &text);
        fprintf(stderr, "%.*s", STR_ARG(buf_str(&text)));
        cli_complain("%s cannot be used as it is", path);
        buf_done(&text);
    }
    config_report_done(report);
    mem_free(report);
    return err == OK;
}

/* One source named by hand takes the place of those configured. */
static bool add_source(const struct check_args *args, struct job *job)
{
    if (args->ip == NULL) {
        return true;
    }
    struct str ehlo = args->ehlo != NULL           ? str_from_c(args->ehlo)
                      : job->config != NULL        ? job->config->hostname
                      : job->plan.domain_count > 0 ? job->plan.domain[0].name
                                                   : STR("");
    job->source = (struct identity_source){ .name = str_from_c(args->ip), .ehlo = ehlo };
    if (ip_parse(str_from_c(args->ip), &job->source.ip) != OK) {
        cli_usage("domain", "--ip: \"%s\" is no IP address", args->ip);
        return false;
    }
    if (!domain_is_hostname(ehlo)) {
        cli_usage("domain", "--ehlo: \"%.*s\" is no host name", STR_ARG(ehlo));
        return false;
    }
    job->plan.source = &job->source;
    job->plan.source_count = 1;
    return true;
}

static bool read_domain(const char *text, struct arena *arena, struct str *ret_name)
{
    char room[DOMAIN_CAP];
    struct str ascii;
    if (domain_to_ascii(str_from_c(text), room, &ascii) != OK || !domain_is_dns_name(ascii)) {
        char safe[300];
        struct str shown = str_escape(str_from_c(text), safe, sizeof safe);
        cli_usage("domain", "\"%.*s\" is no domain name", STR_ARG(shown));
        return false;
    }
    *ret_name = arena_str(arena, ascii);
    return ret_name->ptr != NULL;
}

static bool plan_any(struct job *job, char **domains, int domain_count)
{
    struct identity_domain *list =
            arena_new(&job->arena, ((size_t)domain_count + 1) * sizeof *list);
    for (int i = 0; i < domain_count; i++) {
        if (list == NULL || !read_domain(domains[i], &job->arena, &list[i].name)) {
            return false;
        }
    }
    job->plan = (struct identity_plan){
        .domain = list, .domain_count = (uint32_t)domain_count, .is_any = true
    };
    return true;
}

/* The named domains of the configuration, or all. */
static bool plan_own(struct job *job, char **domains, int domain_count)
{
    struct why why = { 0 };
    struct identity_domain *list =
            arena_new(&job->arena, ((size_t)domain_count + 1) * sizeof *list);
    if (identity_plan_make(job->config, STR(""), &job->arena, &job->plan, &why) != OK ||
            list == NULL) {
        cli_complain("out of memory");
        return false;
    }
    for (int i = 0; i < domain_count; i++) {
        struct identity_plan one;
        struct str name;
        if (!read_domain(domains[i], &job->arena, &name)) {
            return false;
        }
        if (identity_plan_make(job->config, name, &job->arena, &one, &why) != OK) {
            cli_complain("%s", why.text);
            return false;
        }
        list[i] = one.domain[0];
    }
    if (domain_count > 0) {
        job->plan.domain = list;
        job->plan.domain_count = (uint32_t)domain_count;
    }
    return true;
}

static bool make_plan(
        const struct check_args *args, char **domains, int domain_count, struct job *job)
{
    bool is_good = args->is_any ? plan_any(job, domains, domain_count)
                                : load_config(args, job) && plan_own(job, domains, domain_count);
    return is_good && add_source(args, job);
}

/* Beside the node's data, where there is such a place that we may write to. */
static void find_state(struct job *job)
{
    if (job->config == NULL || access(job->config->data_dir.ptr, W_OK) != 0) {
        return;
    }
    fmt(job->state_path, sizeof job->state_path, "%.*s/identity/checks.json",
            STR_ARG(job->config->data_dir));
}

/* ---- the run ---- */

static struct identity_outside outside_of(const struct check_args *args, const struct job *job)
{
    const struct config *config = job->config;
    struct identity_outside outside = { .zone_path = args->zone,
        .servers = config != NULL ? config->resolver : STR("") };
    if (args->resolver != NULL) {
        outside.servers = str_from_c(args->resolver);
    }
    outside.anchor_path = args->anchor;
    if (outside.anchor_path == NULL && config != NULL && config->trust_anchor.len > 0) {
        outside.anchor_path = config->trust_anchor.ptr;
    }
    outside.ca_path = config != NULL && config->ca_file.len > 0 ? config->ca_file.ptr : NULL;
    return outside;
}

static enum err run_job(const struct check_args *args, struct job *job, uint32_t checks,
        struct identity_run **ret_run)
{
    struct why why = { 0 };
    struct identity_outside outside = outside_of(args, job);
    struct identity_run_options options = { .checks = checks,
        .is_internal_allowed = !job->plan.is_any,
        .is_probing = args->is_probe,
        .run_ms_max = job->run_ms_max,
        .state_path = str_from_c(job->state_path),
        .progress = check_progress };
    enum err err = identity_run_alone(&job->plan, &options, &outside, ret_run, &why);
    if (err == E_SYNTAX && job->state_path[0] != '\0' && args->zone == NULL) {
        cli_complain("%s", why.text); /* what passed last is unknown; the checks are not */
        options.state_path = STR("");
        job->state_path[0] = '\0';
        err = identity_run_alone(&job->plan, &options, &outside, ret_run, &why);
    }
    if (err != OK) {
        cli_complain("%s", why.text[0] != '\0' ? why.text : err_name(err));
    }
    return err;
}

static int print_run(
        const struct check_args *args, const struct identity_run *run, uint64_t took_ms)
{
    int exit_code = check_exit_code(run);
    bool is_out_taken = args->junit != NULL && strcmp(args->junit, "-") == 0;
    if (args->junit != NULL && !check_write_junit(run, args->junit)) {
        return CLI_TRY_AGAIN;
    }
    if (is_out_taken) {
        return exit_code;
    }
    if (args->is_nagios) {
        return check_print_nagios(run, took_ms);
    }
    if (args->is_mend) {
        check_print_mend(run);
        return exit_code;
    }
    if (!args->is_json) {
        check_print_table(run, args->is_quiet);
        return exit_code;
    }
    struct buf text;
    buf_init(&text, JSON_BYTES_MAX);
    identity_run_json(run, &text);
    bool is_good = buf_err(&text) == OK && fwrite(text.ptr, 1, text.len, stdout) == text.len;
    buf_done(&text);
    return is_good ? exit_code : CLI_TRY_AGAIN;
}

int check_and_print(
        const struct check_args *args, char **domains, int domain_count, uint32_t checks)
{
    struct job job = { 0 };
    struct identity_run *run = NULL;
    struct why why = { 0 };
    if (args->timeout != NULL &&
            str_to_ms(str_from_c(args->timeout), RUN_MS_MAX, &job.run_ms_max) != OK) {
        return cli_usage("domain", "--timeout is a duration up to 10m, as 30s");
    }
    if (!cli_zone_is_good(args->zone)) {
        return args->is_nagios ? 3 : CLI_USAGE;
    }
    arena_init(&job.arena, PLAN_BYTES_MAX);
    int exit_code = CLI_USAGE;
    if (make_plan(args, domains, domain_count, &job)) {
        struct mono begun = clock_mono(clock_real());
        find_state(&job);
        exit_code = CLI_TRY_AGAIN;
        if (run_job(args, &job, checks, &run) == OK) {
            uint64_t took_ms = (uint64_t)(clock_mono(clock_real()).ms - begun.ms);
            exit_code = print_run(args, run, took_ms);
            if (identity_run_save(run, &why) != OK) {
                cli_complain("what passed is not kept: %s", why.text);
            }
        }
    }
    identity_run_free(run, /*handles_closed*/ true);
    job_done(&job);
    return args->is_nagios && run == NULL ? 3 : exit_code;
}
