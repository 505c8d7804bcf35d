/* SPDX-License-Identifier: Apache-2.0
 *
 * cmd_spool.c - `outpost spool check`: verifies and describes a spool, offline and read-only.
 */
#include "cli/cli.h"

#include "config/config.h"
#include "core/str.h"
#include "spool/spool.h"

#include <stdio.h>

static const char help[] =
        "Verifies and describes a spool, read-only; the node need not run.\n"
        "\n"
        "  outpost spool check                            the spool of the configuration\n"
        "  outpost spool check DIR --deep                 message contents too\n"
        "  outpost spool check DIR --salvage EXISTING_DIR writes every open message as .eml with "
        "its envelope\n"
        "  outpost spool adopt                            take over a spool that was copied from "
        "another host;\n"
        "                                                 what it held may be sent twice, and is "
        "marked so\n"
        "\n"
        "options: --json, --config FILE. Exit 0: clean. 1: damage, or a torn tail (harmless: never "
        "acknowledged; said so).\n";

struct spool_args {
    const char *config, *salvage;
    bool is_json, is_deep;
};

static bool open_disk(const struct spool_args *args, const char *dir, struct disk **ret_disk)
{
    char path[PATH_MAX];
    struct why why = { 0 };
    const char *config_path = cli_config_path(args->config);
    if (dir) {
        fmt(path, sizeof path, "%s", dir);
    } else if (config_path) {
        struct config *config;
        struct config_report *report = mem_new(sizeof *report);
        bool is_read = report && config_load(config_path, &config, report) == OK;
        if (is_read) {
            fmt(path, sizeof path, "%.*s/spool", STR_ARG(config->data_dir));
            config_give(config);
        } else {
            cli_complain("%s is not usable: see outpost config check", config_path);
        }
        if (report) {
            config_report_done(report);
        }
        mem_free(report);
        if (!is_read) {
            return false;
        }
    } else {
        fmt(path, sizeof path, "var/spool");
    }
    if (disk_open_real(path, ret_disk, &why) != OK) {
        cli_complain("%s", why.text);
        return false;
    }
    return true;
}

static void say(void *ctx, struct str line)
{
    const struct spool_args *args = ctx;
    fprintf(args->is_json ? stderr : stdout, "%.*s\n", STR_ARG(line));
}

static void print_result(
        const struct spool_args *args, const struct spool_check *check, const char *verdict)
{
    if (args->is_json) {
        printf("{\"verdict\":\"%s\",\"slots\":%llu,\"batches\":%llu,\"records\":%llu,\"open_"
               "messages\":%llu,"
               "\"open_recipients\":%llu,\"torn_tail_bytes\":%llu,\"damages\":%llu}\n",
                verdict, (unsigned long long)check->slots, (unsigned long long)check->batches,
                (unsigned long long)check->records, (unsigned long long)check->messages_open,
                (unsigned long long)check->rcpts_open, (unsigned long long)check->torn_tail_bytes,
                (unsigned long long)check->damages);
        return;
    }
    printf("%s: %llu slots, %llu batches, %llu records; %llu messages with %llu recipients are "
           "open\n",
            verdict, (unsigned long long)check->slots, (unsigned long long)check->batches,
            (unsigned long long)check->records, (unsigned long long)check->messages_open,
            (unsigned long long)check->rcpts_open);
}

static int check(struct spool_args *args, const char *dir)
{
    struct disk *disk, *salvage = NULL;
    struct spool_check result = { 0 };
    struct why why = { 0 };
    if (!open_disk(args, dir, &disk)) {
        return CLI_TRY_AGAIN;
    }
    if (args->salvage && disk_open_real(args->salvage, &salvage, &why) != OK) {
        cli_complain("%s", why.text);
        disk->ops->close_disk(disk);
        return CLI_USAGE;
    }
    enum err err = spool_check_run(disk, args->is_deep, salvage, say, args, &result, &why);
    disk->ops->close_disk(disk);
    if (salvage) {
        salvage->ops->close_disk(salvage);
    }
    if (err != OK && err != E_EOF && err != E_CORRUPT) {
        cli_complain("%s", why.text[0] ? why.text : err_name(err));
        return CLI_TRY_AGAIN;
    }
    print_result(args, &result, err == OK ? "clean" : err == E_EOF ? "torn tail" : "damaged");
    return err == OK ? CLI_GOOD : CLI_WANTING;
}

static int adopt(struct spool_args *args, const char *dir)
{
    struct disk *disk;
    struct spool *spool;
    struct why why = { 0 };
    struct spool_conf conf = { .slot_bytes = 64 << 20,
        .spare_slots = 4,
        .is_adopting = true,
        .checkpoint_bytes = 1 << 30,
        .checkpoint_ms = 600000 };
    if (!open_disk(args, dir, &disk)) {
        return CLI_TRY_AGAIN;
    }
    enum err err = spool_open(disk, clock_real(), entropy_real(), NULL, &conf, &spool, &why);
    if (err == OK) {
        spool_close(spool);
        printf("adopted: this host serves it from now on\n");
    } else {
        cli_complain("%s", why.text[0] ? why.text : err_name(err));
    }
    disk->ops->close_disk(disk);
    return err == OK ? CLI_GOOD : CLI_WANTING;
}

int cmd_spool(int argc, char **argv)
{
    struct spool_args args = { 0 };
    int count, code;
    const struct cli_option options[] = { { "config", &args.config, NULL },
        { "salvage", &args.salvage, NULL }, { "json", NULL, &args.is_json },
        { "deep", NULL, &args.is_deep } };
    if (!cli_options(argc, argv, options, COUNT_OF(options), help, &count, &code)) {
        return code;
    }
    struct str what = str_from_c(count > 0 ? argv[1] : "");
    const char *dir = count > 1 ? argv[2] : NULL;
    if (count <= 2 && str_eq(what, STR("check"))) {
        return check(&args, dir);
    }
    if (count <= 2 && str_eq(what, STR("adopt"))) {
        return adopt(&args, dir);
    }
    return cli_usage(argv[0], "say check or adopt, and perhaps the spool's directory");
}
