/* SPDX-License-Identifier: Apache-2.0
 *
 * cmd_source.c - `outpost source check`: the names of our addresses, and the blocklists, now.
 */
#include "cli/check_output_priv.h"

#include "core/str.h"

#include <stdio.h>

#include <jansson.h>

static const char help[] =
        "The addresses that mail leaves from: their names, and whether they or our domains stand "
        "on a blocklist.\n"
        "\n"
        "  outpost source list                       what the running node holds to be so, and "
        "since its last look\n"
        "  outpost source check                      all sources and domains of the configuration\n"
        "  outpost source check --json\n"
        "  outpost source check shop.example.com     only this of our domains, and all sources\n"
        "  outpost source check --nagios --timeout 20s\n"
        "  outpost source check --any --ip 192.0.2.10 --ehlo mail.example.com example.com     not "
        "ours\n"
        "\n"
        "Each list is tried at its test entries first: one that is dead, lists everything or "
        "refuses us is said so\n"
        "and never counts as a listing. Ask through a resolver of your own: public ones are "
        "refused by most lists.\n"
        "options: --json, --quiet (only what is wanting), --nagios, --junit FILE, --zone FILE, "
        "--resolver IP[:PORT],\n"
        "--trust-anchor FILE, --timeout TIME (30s, up to 10m), --config FILE; list: --json, "
        "--socket PATH, --config FILE.\n"
        "Exit: 0 not listed, 1 listed or something else fails, 2 usage, 75 could not tell; with "
        "--nagios 0 ok,\n"
        "1 warning, 2 critical, 3 unknown.\n";

static const char *text_of(json_t *object, const char *name)
{
    const char *text = json_string_value(json_object_get(object, name));
    return text ? text : "";
}

/* The blocklists that have it, one after the other. */
static void add_lists(json_t *source, char *dst, size_t cap)
{
    size_t i, len = 0;
    json_t *result;
    dst[0] = '\0';
    json_array_foreach(json_object_get(source, "results"), i, result)
    {
        if (strcmp(text_of(result, "id"), "list.listed") == 0 &&
                strcmp(text_of(result, "held"), "fail") == 0) {
            len += fmt(dst + len, cap - len, "%s%s", len > 0 ? ", " : "", text_of(result, "part"));
        }
    }
}

static void print_sources(json_t *sources)
{
    static const char *const headings[] = { "SOURCE", "ADDRESS", "EHLO", "STATE", "CHECKED",
        "LISTED BY" };
    struct cli_table table;
    size_t i;
    json_t *source;
    cli_table_begin(&table, COUNT_OF(headings), headings);
    json_array_foreach(sources, i, source)
    {
        char lists[400];
        add_lists(source, lists, sizeof lists);
        cli_table_cell(&table, text_of(source, "source"));
        cli_table_cell(&table, text_of(source, "address"));
        cli_table_cell(&table, text_of(source, "ehlo"));
        cli_table_cell(&table, text_of(source, "state"));
        cli_table_cell(&table, text_of(source, "checked"));
        cli_table_cell(&table, lists);
    }
    cli_table_print(&table);
}

static int list_sources(int argc, char **argv)
{
    struct cli_node node = { 0 };
    bool is_json = false;
    const struct cli_option options[] = { { "json", NULL, &is_json },
        { "config", &node.config_path, NULL }, { "socket", &node.socket_path, NULL } };
    struct buf reply;
    int count, code;
    if (!cli_options(argc, argv, options, COUNT_OF(options), help, &count, &code)) {
        return code;
    }
    if (count > 0) {
        return cli_usage("source", "list takes no names");
    }
    if (!cli_get(&node, "GET", "/v1/sources", STR(""), &reply, &code)) {
        return code;
    }
    json_t *json = json_loadb(reply.ptr, reply.len, 0, NULL), *source;
    size_t i;
    buf_done(&reply);
    code = CLI_GOOD;
    json_array_foreach(json_object_get(json, "sources"), i, source)
    {
        struct str state = str_from_c(text_of(source, "state"));
        bool is_bad = str_eq(state, STR("listed")) || str_eq(state, STR("fail"));
        code = is_bad ? CLI_WANTING : code;
    }
    if (is_json) {
        cli_print_json(json);
        return code;
    }
    print_sources(json_object_get(json, "sources"));
    json_decref(json);
    return code;
}

int cmd_source(int argc, char **argv)
{
    if (argc > 1 && strcmp(argv[1], "list") == 0) {
        return list_sources(argc - 1, argv + 1);
    }
    struct check_args args = { 0 };
    struct cli_option options[CHECK_OPTION_COUNT];
    int count, exit_code;
    check_options(&args, options);
    if (!cli_options(argc, argv, options, COUNT_OF(options), help, &count, &exit_code)) {
        return exit_code;
    }
    if (count == 0 || strcmp(argv[1], "check") != 0) {
        return cli_usage(argv[0], "say check or list");
    }
    if (args.is_probe || args.has_lists || args.is_mend) {
        return cli_usage(argv[0], "check always asks the lists; --lists, --mend and --probe belong "
                                  "to \"domain check\"");
    }
    return check_and_print(
            &args, argv + 2, count - 1, IDENTITY_CHECK_SOURCES | IDENTITY_CHECK_LISTS);
}
