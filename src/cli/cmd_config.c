/* SPDX-License-Identifier: Apache-2.0
 *
 * cmd_config.c - `outpost config`: check a configuration, show it, print its reference.
 */
#include "cli/cli.h"

#include "config/config.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>

enum { TEXT_BYTES_MAX = 256 << 20 };

static const char help[] =
        "The configuration of the node.\n"
        "\n"
        "  outpost config check                      everything that is wrong, with file and line\n"
        "  outpost config check --config new.conf    before it is put in place\n"
        "  outpost config show                       all settings as they are in force; secrets "
        "are hidden\n"
        "  outpost config show --explain             with what each means, its default and range\n"
        "  outpost config manual > outpost.conf.5    the manual page; --markdown: for a web page\n"
        "\n"
        "check: exit 0 good, 1 something is wrong with it, 75 it could not be read.\n"
        "options: --config FILE, --sandbox (as if it said sandbox = yes), --json (check, show)\n";

struct config_args {
    const char *given, *path;
    bool is_explained, is_json, is_sandbox, is_markdown;
};

static enum err load(
        const struct config_args *args, struct config **ret_config, struct config_report *report)
{
    return args->is_sandbox ? config_load_sandbox(args->path, ret_config, report)
                            : config_load(args->path, ret_config, report);
}

static int exit_for(enum err err)
{
    switch ((int)err) {
    case OK:
        return CLI_GOOD;
    case E_SYNTAX:
    case E_NOT_FOUND:
        return CLI_WANTING;
    default:
        return CLI_TRY_AGAIN;
    }
}

/* Prints a finished text; an exit code. */
static int put(struct buf *text, FILE *to)
{
    int exit_code = CLI_GOOD;
    if (buf_err(text) != OK || fwrite(text->ptr, 1, text->len, to) != text->len) {
        cli_complain("the output could not be written");
        exit_code = CLI_TRY_AGAIN;
    }
    buf_done(text);
    return exit_code;
}

static void print_report(const struct config_report *report, FILE *to)
{
    struct buf text;
    buf_init(&text, TEXT_BYTES_MAX);
    config_report_print(report, &text);
    (void)put(&text, to);
}

/* ---- check ---- */

static void print_check_json(
        const struct config_args *args, enum err err, const struct config_report *report)
{
    json_t *faults = json_array();
    for (uint32_t i = 0; i < report->fault_count; i++) {
        const struct config_fault *fault = &report->fault[i];
        json_array_append_new(faults, json_pack("{s:s%, s:I, s:s, s:s%}", "file", fault->path.ptr,
                                              fault->path.len, "line", (json_int_t)fault->line,
                                              "severity", fault->is_warning ? "warning" : "fault",
                                              "text", fault->text.ptr, fault->text.len));
    }
    json_t *all =
            json_pack("{s:b, s:s, s:o, s:I}", "ok", err == OK, "file", args->path ? args->path : "",
                    "faults", faults, "left_out", (json_int_t)report->left_out_count);
    json_dumpf(all, stdout, JSON_INDENT(2));
    putchar('\n');
    json_decref(all);
}

static void print_good(const struct config_args *args, const struct config *config)
{
    printf("%s is good: %u listen, %u credential, %u domain, %u stream, %u source, %u pool, "
           "%u route\n",
            args->path ? args->path : "the built-in sandbox", config->listen_count,
            config->credential_count, config->domain_count, config->stream_count,
            config->source_count, config->pool_count, config->route_count);
    if (config->listen_count == 0) {
        printf("note: nothing listens; \"outpost serve\" needs at least one listen section\n");
    }
}

static int check(const struct config_args *args, struct config_report *report)
{
    struct config *config = NULL;
    enum err err = load(args, &config, report);
    if (args->is_json) {
        print_check_json(args, err, report);
    } else {
        print_report(report, stdout);
        if (err == OK) {
            print_good(args, config);
        } else if (report->fault_count == 0) {
            cli_complain("%s cannot be checked: %s", args->path, err_name(err));
        }
    }
    config_give(config);
    return exit_for(err);
}

/* ---- show ---- */

static int show(const struct config_args *args, struct config_report *report)
{
    struct config *config = NULL;
    enum err err = load(args, &config, report);
    print_report(report, stderr);
    if (err != OK) {
        return exit_for(err);
    }
    struct buf text;
    buf_init(&text, TEXT_BYTES_MAX);
    if (args->is_json) {
        config_print_json(config, &text);
    } else {
        config_print(config, args->is_explained, &text);
    }
    config_give(config);
    return put(&text, stdout);
}

static int manual(const struct config_args *args)
{
    struct buf text;
    buf_init(&text, TEXT_BYTES_MAX);
    if (args->is_markdown) {
        config_print_markdown(&text);
    } else {
        config_print_manual(&text);
    }
    return put(&text, stdout);
}

/* check and show: with a file, or the built-in sandbox. */
static int with_file(struct config_args *args,
        int (*run)(const struct config_args *args, struct config_report *report))
{
    args->path = cli_config_path(args->given);
    if (!args->path && !args->is_sandbox) {
        return cli_usage("config",
                "neither /etc/outpost/outpost.conf nor ./outpost.conf is there: --config FILE");
    }
    struct config_report *report = mem_new(sizeof *report);
    if (!report) {
        return CLI_TRY_AGAIN;
    }
    int exit_code = run(args, report);
    config_report_done(report);
    mem_free(report);
    return exit_code;
}

int cmd_config(int argc, char **argv)
{
    struct config_args args = { 0 };
    const struct cli_option options[] = {
        { "config", &args.given, NULL },
        { "explain", NULL, &args.is_explained },
        { "json", NULL, &args.is_json },
        { "sandbox", NULL, &args.is_sandbox },
        { "markdown", NULL, &args.is_markdown },
    };
    int count, exit_code;
    if (!cli_options(argc, argv, options, COUNT_OF(options), help, &count, &exit_code)) {
        return exit_code;
    }
    const char *verb = count >= 1 ? argv[1] : "";
    if (count != 1) {
        return cli_usage("config", "say check, show or manual");
    }
    if (strcmp(verb, "check") == 0) {
        return with_file(&args, check);
    }
    if (strcmp(verb, "show") == 0) {
        return with_file(&args, show);
    }
    if (strcmp(verb, "manual") == 0) {
        return manual(&args);
    }
    return cli_usage("config", "\"%s\" is unknown: check, show or manual", verb);
}
