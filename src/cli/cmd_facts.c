/* SPDX-License-Identifier: Apache-2.0
 *
 * cmd_facts.c - what is known: `outpost trace`, `stats`, `top`, `audit`, `sandbox`.
 */
#include "cli/cli.h"

#include "core/b64.h"
#include "core/str.h"
#include "edge/disk.h"
#include "history/history.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include <jansson.h>

enum { TOP_PERIOD_MS = 1000, TRACE_WAIT_STEP_MS = 50, TRACE_WAIT_MS_MAX = 600000 };

static const char *text_of(json_t *object, const char *name)
{
    const char *text = json_string_value(json_object_get(object, name));
    return text ? text : "";
}

static long long number_of(json_t *object, const char *name)
{
    return (long long)json_integer_value(json_object_get(object, name));
}

/* ---- trace ---- */

static const char trace_help[] =
        "A message's story: accepted, every attempt with the remote reply, and what came of it.\n"
        "\n"
        "  outpost trace 01KAXV5M8Q2R3S4T5V6W7X8Y9Z         by the id of \"queued as\"\n"
        "  outpost trace --tag order-4711\n"
        "  outpost trace --recipient user@example.net --count 5\n"
        "  outpost trace --message-id '<abc@example.com>'\n"
        "  outpost trace ID --wait 10s                      until every recipient is closed, or "
        "the time is up\n"
        "  outpost trace ID --history DIR                   from the files of a node that does not "
        "run\n"
        "\n"
        "options: --json, --count N, --config FILE, --socket PATH. Exit 1: nothing known, or "
        "--wait was not enough.\n";

struct trace_args {
    struct cli_node node;
    const char *id, *tag, *recipient, *message_id, *count, *wait, *history;
    bool is_json;
};

static int trace_offline(const struct trace_args *args, struct buf *ret_json)
{
    struct disk *disk;
    struct history *history = NULL;
    struct why why = { 0 };
    uint64_t count_max = 20;
    struct history_query query = { .by = HISTORY_BY_ID, .value = str_from_c(args->id) };
    if (args->count && str_to_u64(str_from_c(args->count), 1000, &count_max) != OK) {
        return cli_usage("trace", "--count is a number up to 1000");
    }
    query.count_max = (uint32_t)count_max;
    if (args->tag) {
        query = (struct history_query){ HISTORY_BY_TAG, str_from_c(args->tag), query.count_max };
    } else if (args->recipient) {
        query = (struct history_query){ HISTORY_BY_RECIPIENT, str_from_c(args->recipient),
            query.count_max };
    } else if (args->message_id) {
        query = (struct history_query){ HISTORY_BY_MESSAGE_ID, str_from_c(args->message_id),
            query.count_max };
    }
    enum err err = disk_open_real(args->history, &disk, &why);
    if (err == OK) {
        err = history_open(disk, &history, &why);
    }
    if (err == OK) {
        buf_init(ret_json, 64 << 20);
        err = history_find_json(history, &query, ret_json, &why);
    }
    history_close(history);
    if (err == E_NOT_FOUND) {
        cli_complain("nothing is known of it in %s", args->history);
        return CLI_WANTING;
    }
    if (err != OK) {
        cli_complain("%s", why.text);
        return CLI_TRY_AGAIN;
    }
    return CLI_GOOD;
}

static bool is_story_closed(struct str json)
{
    json_t *stories = json_loadb(json.ptr, json.len, 0, NULL), *story, *rcpt;
    bool is_closed = json_array_size(stories) > 0;
    size_t i, j;
    json_array_foreach(stories, i, story)
    {
        json_array_foreach(json_object_get(story, "recipients"), j, rcpt)
        {
            struct str state = str_from_c(text_of(rcpt, "state"));
            is_closed = is_closed && !str_eq(state, STR("queued")) && !str_eq(state, STR("held")) &&
                        !str_eq(state, STR("in_doubt")) && !str_eq(state, STR("active"));
        }
    }
    json_decref(stories);
    return is_closed;
}

/* Asks the node, with --wait again until the story is at its end. */
static int trace_online(const struct trace_args *args, struct buf *ret_json)
{
    struct buf path;
    uint64_t wait_ms = 0, waited_ms = 0;
    int code = CLI_GOOD;
    if (args->wait && str_to_ms(str_from_c(args->wait), TRACE_WAIT_MS_MAX, &wait_ms) != OK) {
        return cli_usage("trace", "--wait is a time up to 10m, such as 10s");
    }
    buf_init(&path, 65536);
    buf_add_c(&path, "/v1/messages");
    cli_add_argument(&path, "id", args->id);
    cli_add_argument(&path, "tag", args->tag);
    cli_add_argument(&path, "recipient", args->recipient);
    cli_add_argument(&path, "message-id", args->message_id);
    cli_add_argument(&path, "count", args->count);
    buf_add_char(&path, '\0');
    for (;; waited_ms += TRACE_WAIT_STEP_MS) {
        uint16_t status = 0;
        if (waited_ms >= wait_ms) { /* the last or only look complains */
            if (cli_get(&args->node, "GET", path.ptr, (struct str){ 0 }, ret_json, &code)) {
                code = wait_ms && !is_story_closed(buf_str(ret_json)) ? CLI_WANTING : CLI_GOOD;
            }
            break;
        }
        buf_init(ret_json, 64 << 20);
        if (cli_ask(&args->node, "GET", path.ptr, (struct str){ 0 }, &status, ret_json) == OK &&
                status == 200 && is_story_closed(buf_str(ret_json))) {
            break;
        }
        buf_done(ret_json);
        poll(NULL, 0, TRACE_WAIT_STEP_MS);
    }
    buf_done(&path);
    return code;
}

int cmd_trace(int argc, char **argv)
{
    struct trace_args args = { 0 };
    int count, code;
    const struct cli_option options[] = { { "config", &args.node.config_path, NULL },
        { "socket", &args.node.socket_path, NULL }, { "id", &args.id, NULL },
        { "tag", &args.tag, NULL }, { "recipient", &args.recipient, NULL },
        { "message-id", &args.message_id, NULL }, { "count", &args.count, NULL },
        { "wait", &args.wait, NULL }, { "history", &args.history, NULL },
        { "json", NULL, &args.is_json } };
    if (!cli_options(argc, argv, options, COUNT_OF(options), trace_help, &count, &code)) {
        return code;
    }
    args.id = count == 1 ? argv[1] : args.id;
    if (count > 1 || !!args.id + !!args.tag + !!args.recipient + !!args.message_id != 1) {
        return cli_usage(argv[0], "give one of an id, --tag, --recipient or --message-id");
    }
    struct buf json = { 0 }, text;
    code = args.history ? trace_offline(&args, &json) : trace_online(&args, &json);
    buf_init(&text, 64 << 20);
    if (json.len > 0 && args.is_json) {
        printf("%.*s\n", STR_ARG(buf_str(&json)));
    } else if (json.len > 0 && history_story_text(buf_str(&json), cli_is_coloured(), &text) == OK) {
        fwrite(text.ptr, 1, text.len, stdout);
    }
    buf_done(&text);
    buf_done(&json);
    return code;
}

/* ---- stats, top ---- */

static const char stats_help[] =
        "Figures of the node: what waits, what became of mail since the start, the spool.\n"
        "\n"
        "  outpost stats\n"
        "  outpost stats --json\n"
        "\n"
        "options: --config FILE, --socket PATH\n";

static bool simple_args(int argc, char **argv, const char *help, struct cli_node *node,
        bool *is_json, int *ret_code)
{
    int count;
    const struct cli_option options[] = { { "config", &node->config_path, NULL },
        { "socket", &node->socket_path, NULL }, { "json", NULL, is_json } };
    if (!cli_options(argc, argv, options, COUNT_OF(options), help, &count, ret_code)) {
        return false;
    }
    if (count > 0) {
        *ret_code = cli_usage(argv[0], "takes no argument \"%s\"", argv[1]);
    }
    return count == 0;
}

static void print_stats(json_t *reply)
{
    static const char *const parts[] = { "queue", "since_start", "spool" };
    static const char *const titles[] = { "queue, recipients", "since the start, recipients",
        "spool" };
    printf("outpost %s, running since %s\n", text_of(reply, "version"), text_of(reply, "started"));
    for (size_t i = 0; i < COUNT_OF(parts); i++) {
        const char *name;
        json_t *value, *part = json_object_get(reply, parts[i]);
        printf("\n%s\n", titles[i]);
        json_object_foreach(part, name, value)
        {
            if (json_is_integer(value)) {
                printf("  %-22s %15lld\n", name, (long long)json_integer_value(value));
            } else if (json_is_true(value)) {
                printf("  %-22s %15s\n", name, "yes");
            }
        }
    }
}

int cmd_stats(int argc, char **argv)
{
    struct cli_node node = { 0 };
    bool is_json = false;
    struct buf body;
    int code = CLI_GOOD;
    if (!simple_args(argc, argv, stats_help, &node, &is_json, &code) ||
            !cli_get(&node, "GET", "/v1/stats", (struct str){ 0 }, &body, &code)) {
        return code;
    }
    if (is_json) {
        printf("%.*s\n", STR_ARG(buf_str(&body)));
    } else {
        json_t *reply = json_loadb(body.ptr, body.len, 0, NULL);
        print_stats(reply);
        json_decref(reply);
    }
    buf_done(&body);
    return CLI_GOOD;
}

static const char top_help[] = "A live view of the node, once a second until Ctrl-C.\n"
                               "\n"
                               "  outpost top\n"
                               "\n"
                               "options: --config FILE, --socket PATH\n";

static void print_top(json_t *reply, long long *last_delivered, bool is_terminal)
{
    json_t *queue = json_object_get(reply, "queue"), *past = json_object_get(reply, "since_start");
    long long delivered = number_of(past, "delivered");
    printf("%sdelivered %lld (%lld/s)  deferred %lld  bounced %lld  |  queued %lld  active %lld  "
           "held %lld  in doubt %lld%s",
            is_terminal ? "\r\033[K" : "", delivered,
            *last_delivered < 0 ? 0 : delivered - *last_delivered, number_of(past, "deferred"),
            number_of(past, "bounced"), number_of(queue, "queued"), number_of(queue, "active"),
            number_of(queue, "held"), number_of(queue, "in_doubt"), is_terminal ? "" : "\n");
    fflush(stdout);
    *last_delivered = delivered;
}

int cmd_top(int argc, char **argv)
{
    struct cli_node node = { 0 };
    bool is_json = false, is_terminal = isatty(STDOUT_FILENO);
    int code = CLI_GOOD;
    long long last_delivered = -1;
    sigset_t set;
    if (!simple_args(argc, argv, top_help, &node, &is_json, &code)) {
        return code;
    }
    sigemptyset(&set);
    sigaddset(&set, SIGINT);
    sigaddset(&set, SIGTERM);
    sigprocmask(SIG_BLOCK, &set, NULL);
    struct pollfd end = { .fd = signalfd(-1, &set, SFD_CLOEXEC), .events = POLLIN };
    do {
        struct buf body;
        if (!cli_get(&node, "GET", "/v1/stats", (struct str){ 0 }, &body, &code)) {
            break;
        }
        json_t *reply = json_loadb(body.ptr, body.len, 0, NULL);
        print_top(reply, &last_delivered, is_terminal);
        json_decref(reply);
        buf_done(&body);
    } while (poll(&end, 1, TOP_PERIOD_MS) == 0);
    printf("\n");
    close(end.fd);
    return code;
}

/* ---- audit ---- */

static const char audit_help[] =
        "Do the books balance? Recipients accepted = closed + open, each counted from its own "
        "source: the\n"
        "spool's index, the scheduler, a scan of the journal, the history.\n"
        "\n"
        "  outpost audit\n"
        "\n"
        "Sources are counted one after the other; what moved meanwhile is the only slack that is "
        "allowed.\n"
        "\n"
        "options: --json, --config FILE, --socket PATH. Exit 1: they do not.\n";

static void print_audit(json_t *reply)
{
    static const char *const headings[] = { "TERM", "SOURCE", "RECIPIENTS" };
    struct cli_table table;
    size_t i;
    json_t *term, *holds;
    const char *name;
    cli_table_begin(&table, COUNT_OF(headings), headings);
    json_array_foreach(json_object_get(reply, "terms"), i, term)
    {
        char number[32];
        fmt(number, sizeof number, "%lld", number_of(term, "recipients"));
        cli_table_cell(&table, text_of(term, "term"));
        cli_table_cell(&table, text_of(term, "source"));
        cli_table_cell(&table, number);
    }
    cli_table_print(&table);
    printf("\n");
    json_object_foreach(json_object_get(reply, "checks"), name, holds)
    {
        printf("%-4s %s\n", json_is_true(holds) ? "ok" : "NO", name);
    }
}

int cmd_audit(int argc, char **argv)
{
    struct cli_node node = { 0 };
    bool is_json = false;
    struct buf body;
    int code = CLI_GOOD;
    if (!simple_args(argc, argv, audit_help, &node, &is_json, &code) ||
            !cli_get(&node, "GET", "/v1/audit", (struct str){ 0 }, &body, &code)) {
        return code;
    }
    json_t *reply = json_loadb(body.ptr, body.len, 0, NULL);
    bool is_balanced = json_is_true(json_object_get(reply, "balanced"));
    if (is_json) {
        printf("%.*s\n", STR_ARG(buf_str(&body)));
    } else {
        print_audit(reply);
        printf("%s\n", is_balanced ? "the books balance" : "the books do NOT balance");
    }
    json_decref(reply);
    buf_done(&body);
    return is_balanced ? CLI_GOOD : CLI_WANTING;
}

/* ---- sandbox ---- */

static const char sandbox_help[] =
        "What the catcher of a sandbox received.\n"
        "\n"
        "  outpost sandbox list                     the last hundred, oldest first\n"
        "  outpost sandbox show 000001.eml          as it arrived, envelope in front\n"
        "  outpost sandbox show last\n"
        "\n"
        "options: --json (list), --config FILE, --socket PATH\n";

static int sandbox_show(const struct cli_node *node, const char *name)
{
    struct buf body, raw;
    char path[300];
    int code;
    fmt(path, sizeof path, "/v1/sandbox/%s", name);
    if (!cli_get(node, "GET", path, (struct str){ 0 }, &body, &code)) {
        return code;
    }
    json_t *reply = json_loadb(body.ptr, body.len, 0, NULL);
    buf_init(&raw, 64 << 20);
    if (b64_decode(&raw, str_from_c(text_of(reply, "content_base64")), false) == OK) {
        fwrite(raw.ptr, 1, raw.len, stdout);
    }
    buf_done(&raw);
    json_decref(reply);
    buf_done(&body);
    return CLI_GOOD;
}

/* Names are numbers of six digits and more: the greatest is the longest, then the last. */
static const char *last_name(json_t *names)
{
    const char *last = NULL;
    size_t i;
    json_t *name;
    json_array_foreach(names, i, name)
    {
        const char *text = json_string_value(name);
        if (last == NULL || strlen(text) > strlen(last) ||
                (strlen(text) == strlen(last) && strcmp(text, last) > 0)) {
            last = text;
        }
    }
    return last;
}

static void print_caught(json_t *reply)
{
    static const char *const headings[] = { "NAME", "BYTES", "FROM", "TO", "SUBJECT" };
    json_t *all = json_object_get(reply, "details"), *one;
    size_t i, total = json_array_size(json_object_get(reply, "messages"));
    struct cli_table table;
    if (total == 0) {
        printf("nothing was caught yet\n");
        return;
    }
    cli_table_begin(&table, COUNT_OF(headings), headings);
    json_array_foreach(all, i, one)
    {
        char bytes[32], to[400];
        long long more = number_of(one, "recipient_count") - 1;
        fmt(bytes, sizeof bytes, "%lld", number_of(one, "bytes"));
        fmt(to, sizeof to, "%.330s", text_of(one, "to"));
        if (more > 0) {
            fmt(to, sizeof to, "%.330s and %lld more", text_of(one, "to"), more);
        }
        cli_table_cell(&table, text_of(one, "name"));
        cli_table_cell(&table, bytes);
        cli_table_cell(&table, *text_of(one, "from") ? text_of(one, "from") : "<>");
        cli_table_cell(&table, to);
        cli_table_cell(&table, text_of(one, "subject"));
    }
    cli_table_print(&table);
    if (total > json_array_size(all)) {
        printf("and %zu older ones: --json names them all\n", total - json_array_size(all));
    }
}

static int sandbox_list(const struct cli_node *node, bool is_json, bool is_last)
{
    struct buf body;
    int code = CLI_GOOD;
    if (!cli_get(node, "GET", is_last ? "/v1/sandbox" : "/v1/sandbox?details=100",
                (struct str){ 0 }, &body, &code)) {
        return code;
    }
    json_t *reply = json_loadb(body.ptr, body.len, 0, NULL);
    json_t *names = json_object_get(reply, "messages");
    if (is_last) {
        const char *last = last_name(names);
        code = last ? sandbox_show(node, last) : CLI_WANTING;
        if (!last) {
            cli_complain("nothing was caught yet: send something (outpost send --help)");
        }
    } else if (is_json) {
        printf("%.*s\n", STR_ARG(buf_str(&body)));
    } else {
        print_caught(reply);
    }
    json_decref(reply);
    buf_done(&body);
    return code;
}

int cmd_sandbox(int argc, char **argv)
{
    struct cli_node node = { 0 };
    bool is_json = false;
    int count, code;
    const struct cli_option options[] = { { "config", &node.config_path, NULL },
        { "socket", &node.socket_path, NULL }, { "json", NULL, &is_json } };
    if (!cli_options(argc, argv, options, COUNT_OF(options), sandbox_help, &count, &code)) {
        return code;
    }
    if (count == 0 || (count == 1 && strcmp(argv[1], "list") == 0)) {
        return sandbox_list(&node, is_json, false);
    }
    if (count == 2 && strcmp(argv[1], "show") == 0) {
        return strcmp(argv[2], "last") == 0 ? sandbox_list(&node, is_json, true)
                                            : sandbox_show(&node, argv[2]);
    }
    return cli_usage(argv[0], "list, or show NAME");
}
