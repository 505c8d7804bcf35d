/* SPDX-License-Identifier: Apache-2.0
 *
 * cmd_alert.c - `outpost alert`: what is wrong now, who was told, silence for a while, a test.
 */
#include "cli/cli.h"

#include "core/str.h"

#include <stdio.h>
#include <stdlib.h>

#include <jansson.h>

static const char help[] =
        "What the node's checks hold to be wrong, and the ways on which that is told (alert "
        "sections of the\n"
        "configuration).\n"
        "\n"
        "  outpost alert list                         problems that last; routes, and how they "
        "fare\n"
        "  outpost alert events                       what changed lately, newest first\n"
        "  outpost alert test duty                    a test notice by the route \"duty\"\n"
        "  outpost alert mute 2h --reason 'new address'   tell nobody; what lasts is told "
        "afterwards\n"
        "  outpost alert unmute\n"
        "\n"
        "options: --json, --count N (events), --config FILE, --socket PATH.\n"
        "Exit: 0 nothing fails (or done), 1 a problem lasts, 75 the node does not answer.\n";

struct alert_args {
    struct cli_node node;
    const char *reason, *count;
    bool is_json;
};

static const char *text_of(json_t *object, const char *name)
{
    const char *text = json_string_value(json_object_get(object, name));
    return text ? text : "";
}

/* The reply, parsed; NULL: has complained. */
static json_t *ask(const struct alert_args *args, const char *method, const char *path,
        json_t *body, int *ret_exit)
{
    struct buf reply;
    char *text = body != NULL ? json_dumps(body, JSON_COMPACT) : NULL;
    json_decref(body);
    bool is_good =
            cli_get(&args->node, method, path, str_from_c(text ? text : ""), &reply, ret_exit);
    free(text);
    if (!is_good) {
        return NULL;
    }
    json_t *json = json_loadb(reply.ptr, reply.len, 0, NULL);
    buf_done(&reply);
    if (json == NULL) {
        cli_complain("the node's answer is no JSON");
        *ret_exit = CLI_TRY_AGAIN;
    }
    return json;
}

static void print_problems(json_t *problems)
{
    static const char *const headings[] = { "STATE", "CHECK", "DOMAIN", "SOURCE", "PART", "SINCE",
        "FOUND" };
    static const char *const fields[] = { "status", "id", "domain", "source", "part", "since",
        "found" };
    struct cli_table table;
    size_t i;
    json_t *problem;
    cli_table_begin(&table, COUNT_OF(headings), headings);
    json_array_foreach(problems, i, problem)
    {
        for (size_t f = 0; f < COUNT_OF(fields); f++) {
            cli_table_cell(&table, text_of(problem, fields[f]));
        }
    }
    cli_table_print(&table);
}

static void print_routes(json_t *routes)
{
    static const char *const headings[] = { "ROUTE", "TYPE", "TOLD", "FAILURES", "WHY" };
    struct cli_table table;
    size_t i;
    json_t *route;
    cli_table_begin(&table, COUNT_OF(headings), headings);
    json_array_foreach(routes, i, route)
    {
        char count[24];
        fmt(count, sizeof count, "%lld",
                (long long)json_integer_value(json_object_get(route, "failures")));
        cli_table_cell(&table, text_of(route, "name"));
        cli_table_cell(&table, text_of(route, "type"));
        cli_table_cell(&table, text_of(route, "told"));
        cli_table_cell(&table, count);
        cli_table_cell(&table, text_of(route, "why"));
    }
    cli_table_print(&table);
}

static void print_list(json_t *reply)
{
    json_t *problems = json_object_get(reply, "problems"),
           *routes = json_object_get(reply, "routes");
    const char *until = text_of(reply, "muted_until");
    if (json_array_size(problems) == 0) {
        printf("nothing is wrong\n");
    } else {
        print_problems(problems);
    }
    if (json_array_size(routes) == 0) {
        printf("\nnobody is told: there is no alert section in the configuration\n");
    } else {
        printf("\n");
        print_routes(routes);
    }
    if (until[0] != '\0') {
        printf("\nmuted until %s %s\n", until, text_of(reply, "mute_reason"));
    }
}

static int show(const struct alert_args *args, json_t *reply)
{
    size_t i;
    json_t *problem;
    int code = CLI_GOOD;
    json_array_foreach(json_object_get(reply, "problems"), i, problem)
    {
        code = strcmp(text_of(problem, "status"), "warn") != 0 ? CLI_WANTING : code;
    }
    if (args->is_json) {
        cli_print_json(reply);
        return code;
    }
    print_list(reply);
    json_decref(reply);
    return code;
}

static int list(const struct alert_args *args)
{
    int code = CLI_TRY_AGAIN;
    json_t *reply = ask(args, "GET", "/v1/alerts", NULL, &code);
    return reply != NULL ? show(args, reply) : code;
}

static int events(const struct alert_args *args)
{
    static const char *const headings[] = { "AT", "CHECK", "DOMAIN", "SOURCE", "PART", "FROM", "TO",
        "FOUND" };
    static const char *const fields[] = { "at", "id", "domain", "source", "part", "from", "status",
        "found" };
    struct cli_table table;
    struct buf path;
    int code = CLI_TRY_AGAIN;
    size_t i;
    json_t *event;
    buf_init(&path, 1000);
    buf_add_c(&path, "/v1/checks/events");
    cli_add_argument(&path, "count", args->count);
    buf_add_char(&path, '\0');
    json_t *reply = buf_err(&path) == OK ? ask(args, "GET", path.ptr, NULL, &code) : NULL;
    buf_done(&path);
    if (reply == NULL) {
        return code;
    }
    if (args->is_json) {
        cli_print_json(reply);
        return CLI_GOOD;
    }
    cli_table_begin(&table, COUNT_OF(headings), headings);
    json_array_foreach(json_object_get(reply, "events"), i, event)
    {
        for (size_t f = 0; f < COUNT_OF(fields); f++) {
            cli_table_cell(&table, text_of(event, fields[f]));
        }
    }
    cli_table_print(&table);
    json_decref(reply);
    return CLI_GOOD;
}

static int mute(const struct alert_args *args, const char *time)
{
    int code = CLI_TRY_AGAIN;
    const char *reason = args->reason != NULL ? args->reason : "";
    json_t *body = json_pack("{s:s, s:s}", "for", time, "reason", reason);
    json_t *reply = ask(args, "POST", "/v1/alerts/mute", body, &code);
    if (reply == NULL) {
        return code;
    }
    if (args->is_json) {
        cli_print_json(reply);
        return CLI_GOOD;
    }
    const char *until = text_of(reply, "muted_until");
    printf(until[0] != '\0' ? "nobody is told until %s\n" : "alerts are told again%s\n", until);
    json_decref(reply);
    return CLI_GOOD;
}

static int test(const struct alert_args *args, const char *name)
{
    int code = CLI_TRY_AGAIN;
    json_t *reply = ask(args, "POST", "/v1/alerts/test", json_pack("{s:s}", "name", name), &code);
    if (reply == NULL) {
        return code;
    }
    if (args->is_json) {
        cli_print_json(reply);
        return CLI_GOOD;
    }
    printf("%s\n", text_of(reply, "message"));
    json_decref(reply);
    return CLI_GOOD;
}

int cmd_alert(int argc, char **argv)
{
    struct alert_args args = { 0 };
    const struct cli_option options[] = { { "json", NULL, &args.is_json },
        { "reason", &args.reason, NULL }, { "count", &args.count, NULL },
        { "config", &args.node.config_path, NULL }, { "socket", &args.node.socket_path, NULL } };
    int count, exit_code;
    if (!cli_options(argc, argv, options, COUNT_OF(options), help, &count, &exit_code)) {
        return exit_code;
    }
    struct str word = str_from_c(count > 0 ? argv[1] : "");
    if (str_eq(word, STR("list")) && count == 1) {
        return list(&args);
    }
    if (str_eq(word, STR("events")) && count == 1) {
        return events(&args);
    }
    if (str_eq(word, STR("test")) && count == 2) {
        return test(&args, argv[2]);
    }
    if (str_eq(word, STR("mute")) && count == 2) {
        return mute(&args, argv[2]);
    }
    if (str_eq(word, STR("unmute")) && count == 1) {
        return mute(&args, "0s");
    }
    return cli_usage(argv[0], "say list, events, test NAME, mute TIME or unmute");
}
