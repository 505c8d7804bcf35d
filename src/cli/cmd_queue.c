/* SPDX-License-Identifier: Apache-2.0
 *
 * cmd_queue.c - `outpost queue` and `outpost explain`: what waits and why, and acting on it.
 */
#include "cli/cli.h"

#include "core/b64.h"
#include "core/str.h"

#include <stdio.h>
#include <stdlib.h>

#include <jansson.h>

enum { LIST_COUNT = 100, LIST_COUNT_MAX = 1000000, PAGE_COUNT_MAX = 10000 };

static const char queue_help[] =
        "What waits, and acting on it. Actions survive a restart; author and reason are kept in "
        "the story.\n"
        "\n"
        "  outpost queue list                                   what waits, oldest first\n"
        "  outpost queue list --domain gmail.com --state held\n"
        "  outpost queue list --recipient user@example.net --age 4h --count 500\n"
        "  outpost queue show ID                                one message's recipients\n"
        "  outpost queue show ID --raw                          the message as it lies in the "
        "spool\n"
        "  outpost queue hold --stream bulk --reason \"bad link\"\n"
        "  outpost queue release --stream bulk\n"
        "  outpost queue flush --domain example.net             try now\n"
        "  outpost queue bounce ID --reason \"wrong list\"        report to the sender, give up\n"
        "  outpost queue cancel --tag invoice-2026-11           drop without a report\n"
        "\n"
        "filters: --recipient ADDRESS or DOMAIN, --domain, --stream, --tag, --age (30m, 4h, 2d: at "
        "least so old),\n"
        "         --reason-contains TEXT, --state queued|active|held|in_doubt|failed, --all\n"
        "options: --count N, --reason TEXT, --json, --config FILE, --socket PATH\n";

struct queue_args {
    struct cli_node node;
    const char *recipient, *domain, *stream, *tag, *age, *contains, *state, *count, *reason;
    bool is_json, is_raw, is_all;
};

static const char *text_of(json_t *object, const char *name)
{
    const char *text = json_string_value(json_object_get(object, name));
    return text ? text : "";
}

static void print_entries(json_t *entries)
{
    static const char *const headings[] = { "ID", "RECIPIENT", "STATE", "TRIES", "DUE", "WHY" };
    struct cli_table table;
    size_t i;
    json_t *entry;
    cli_table_begin(&table, COUNT_OF(headings), headings);
    json_array_foreach(entries, i, entry)
    {
        char tries[24];
        fmt(tries, sizeof tries, "%lld",
                (long long)json_integer_value(json_object_get(entry, "tries")));
        const char *reason = text_of(entry, "reason");
        cli_table_cell(&table, text_of(entry, "id"));
        cli_table_cell(&table, text_of(entry, "recipient"));
        cli_table_cell(&table, text_of(entry, "state"));
        cli_table_cell(&table, tries);
        cli_table_cell(&table, text_of(entry, "due"));
        cli_table_cell(&table, *reason ? reason : text_of(entry, "waits_for"));
    }
    cli_table_print(&table);
}

static void add_filters(struct buf *path, const struct queue_args *args)
{
    cli_add_argument(path, "recipient", args->recipient);
    cli_add_argument(path, "domain", args->domain);
    cli_add_argument(path, "stream", args->stream);
    cli_add_argument(path, "tag", args->tag);
    cli_add_argument(path, "age", args->age);
    cli_add_argument(path, "reason", args->contains);
    cli_add_argument(path, "state", args->state);
}

/* A page; its entries are added, as many as are wanted. *after is where the next one begins, ""
 * where there is none. */
static int add_page(const struct queue_args *args, const char *id, uint64_t wanted, char after[32],
        json_t *entries)
{
    char count[24];
    int code;
    struct buf path, body;
    /* recipient and tag are looked for in a page: the larger it is, the fewer questions */
    bool is_searched = args->recipient || args->tag;
    fmt(count, sizeof count, "%llu", (unsigned long long)(is_searched ? PAGE_COUNT_MAX : wanted));
    buf_init(&path, 65536);
    buf_add_c(&path, "/v1/queue");
    cli_add_argument(&path, "id", id);
    add_filters(&path, args);
    cli_add_argument(&path, "count", count);
    cli_add_argument(&path, "after", after[0] ? after : NULL);
    buf_add_char(&path, '\0');
    bool is_there = buf_err(&path) == OK &&
                    cli_get(&args->node, "GET", path.ptr, (struct str){ 0 }, &body, &code);
    buf_done(&path);
    if (!is_there) {
        return code;
    }
    json_t *reply = json_loadb(body.ptr, body.len, 0, NULL), *entry;
    size_t i;
    json_array_foreach(json_object_get(reply, "entries"), i, entry)
    {
        if (i < wanted) {
            json_array_append(entries, entry);
        }
    }
    fmt(after, 32, "%s", text_of(reply, "after"));
    json_decref(reply);
    buf_done(&body);
    return CLI_GOOD;
}

static bool has_filter(const struct queue_args *args, const char *id)
{
    return id || args->recipient || args->domain || args->stream || args->tag || args->age ||
           args->contains || args->state;
}

static void print_list(const struct queue_args *args, const char *id, json_t *entries, bool is_more)
{
    if (args->is_json) {
        json_t *reply = json_pack("{s:O, s:b}", "entries", entries, "more", (int)is_more);
        json_dumpf(reply, stdout, JSON_COMPACT | JSON_ENSURE_ASCII);
        putchar('\n');
        json_decref(reply);
    } else if (json_array_size(entries) == 0) {
        printf("nothing %swaits\n", has_filter(args, id) ? "that matches " : "");
    } else {
        print_entries(entries);
        if (is_more) {
            fprintf(stderr, "there are more: ask with --count\n");
        }
    }
}

static int list(const struct queue_args *args, const char *id)
{
    uint64_t wanted = LIST_COUNT;
    char after[32] = "";
    int code = CLI_GOOD;
    if (args->count &&
            (str_to_u64(str_from_c(args->count), LIST_COUNT_MAX, &wanted) != OK || wanted == 0)) {
        return cli_usage("queue", "--count is a number from 1 to %d", LIST_COUNT_MAX);
    }
    json_t *entries = json_array();
    do {
        uint64_t left = wanted - json_array_size(entries);
        code = add_page(args, id, left < PAGE_COUNT_MAX ? left : PAGE_COUNT_MAX, after, entries);
    } while (code == CLI_GOOD && after[0] && json_array_size(entries) < wanted);
    if (code == CLI_GOOD) {
        print_list(args, id, entries, after[0] != '\0');
    }
    json_decref(entries);
    return code;
}

static int show_raw(const struct queue_args *args, const char *id)
{
    struct buf path, body, raw;
    int code = CLI_USAGE;
    buf_init(&path, 4096);
    buf_addf(&path, "/v1/raw/%s", id);
    buf_add_char(&path, '\0');
    bool is_there = buf_err(&path) == OK &&
                    cli_get(&args->node, "GET", path.ptr, (struct str){ 0 }, &body, &code);
    buf_done(&path);
    if (!is_there) {
        return code;
    }
    json_t *reply = json_loadb(body.ptr, body.len, 0, NULL);
    buf_init(&raw, 256 << 20);
    if (b64_decode(&raw, str_from_c(text_of(reply, "content_base64")), false) == OK) {
        fwrite(raw.ptr, 1, raw.len, stdout);
    }
    buf_done(&raw);
    json_decref(reply);
    buf_done(&body);
    return CLI_GOOD;
}

static void set_text(json_t *object, const char *name, const char *text)
{
    if (text) {
        json_object_set_new(object, name, json_string(text));
    }
}

/* What was done, and what of it a crash of the node would undo. */
static void print_done(const char *action, json_t *reply, bool is_durable)
{
    long long count = json_integer_value(json_object_get(reply, "recipients"));
    long long pending = json_integer_value(json_object_get(reply, "pending"));
    printf("%s: %lld recipient%s%s\n", action, count, count == 1 ? "" : "s",
            count == 0 ? ": none matches that this can be done to (see outpost queue list)" : "");
    if (pending) {
        printf("%lld of them %s being attempted: done when the attempt ends, and forgotten where "
               "the node crashes before\n",
                pending, pending == 1 ? "is" : "are");
    }
    if (!is_durable) {
        fprintf(stderr,
                "outpost: the spool's disk does not take it: it holds as long as the node runs "
                "(see its log, then do it again)\n");
    }
}

static int act(const struct queue_args *args, const char *action, const char *id)
{
    json_t *ask = json_pack("{s:s, s:b}", "action", action, "all", (int)args->is_all);
    set_text(ask, "id", id);
    set_text(ask, "recipient", args->recipient);
    set_text(ask, "domain", args->domain);
    set_text(ask, "stream", args->stream);
    set_text(ask, "tag", args->tag);
    set_text(ask, "age", args->age);
    set_text(ask, "state", args->state);
    /* in the body "reason" is the operator's; the filter of that name is for lists */
    set_text(ask, "reason", args->reason);
    set_text(ask, "contains", args->contains);
    char *text = json_dumps(ask, JSON_COMPACT);
    json_decref(ask);
    struct buf body;
    int code;
    bool is_done = text && cli_get(&args->node, "POST", "/v1/queue/actions", str_from_c(text),
                                   &body, &code);
    free(text);
    if (!is_done) {
        return code;
    }
    json_t *reply = json_loadb(body.ptr, body.len, 0, NULL);
    bool is_changed = json_integer_value(json_object_get(reply, "recipients")) > 0;
    bool is_durable = json_is_true(json_object_get(reply, "durable"));
    if (args->is_json) {
        printf("%.*s\n", STR_ARG(buf_str(&body)));
    } else {
        print_done(action, reply, is_durable);
    }
    json_decref(reply);
    buf_done(&body);
    return !is_durable ? CLI_TRY_AGAIN : is_changed ? CLI_GOOD : CLI_WANTING;
}

int cmd_queue(int argc, char **argv)
{
    struct queue_args args = { 0 };
    int count, code;
    const struct cli_option options[] = { { "config", &args.node.config_path, NULL },
        { "socket", &args.node.socket_path, NULL }, { "recipient", &args.recipient, NULL },
        { "domain", &args.domain, NULL }, { "stream", &args.stream, NULL },
        { "tag", &args.tag, NULL }, { "age", &args.age, NULL },
        { "reason-contains", &args.contains, NULL }, { "state", &args.state, NULL },
        { "count", &args.count, NULL }, { "reason", &args.reason, NULL },
        { "json", NULL, &args.is_json }, { "raw", NULL, &args.is_raw },
        { "all", NULL, &args.is_all } };
    if (!cli_options(argc, argv, options, COUNT_OF(options), queue_help, &count, &code)) {
        return code;
    }
    struct str what = str_from_c(count > 0 ? argv[1] : "list");
    const char *id = count > 1 ? argv[2] : NULL;
    if (count > 2) {
        return cli_usage(argv[0], "takes one id, not also \"%s\"", argv[3]);
    }
    if (str_eq(what, STR("list"))) {
        return list(&args, id);
    }
    if (str_eq(what, STR("show"))) {
        return id == NULL    ? cli_usage(argv[0], "show which message?")
               : args.is_raw ? show_raw(&args, id)
                             : list(&args, id);
    }
    static const char *const actions[] = { "hold", "release", "flush", "bounce", "cancel" };
    for (size_t i = 0; i < COUNT_OF(actions); i++) {
        if (str_eq(what, str_from_c(actions[i]))) {
            return act(&args, actions[i], id);
        }
    }
    return cli_usage(argv[0],
            "there is no \"%s\": list, show, hold, release, flush, bounce or cancel", argv[1]);
}

/* ---- explain ---- */

static const char explain_help[] =
        "Why a message waits, and until when.\n"
        "\n"
        "  outpost explain 01KAXV5M8Q2R3S4T5V6W7X8Y9Z\n"
        "\n"
        "options: --json, --config FILE, --socket PATH. Exit 1: the message is not waiting.\n";

static void explain_entries(json_t *entries)
{
    size_t i;
    json_t *entry;
    json_array_foreach(entries, i, entry)
    {
        const char *reason = text_of(entry, "reason");
        printf("%s\n  %s after %lld tries%s\n  %s\n", text_of(entry, "recipient"),
                text_of(entry, "state"),
                (long long)json_integer_value(json_object_get(entry, "tries")),
                json_is_true(json_object_get(entry, "possible_duplicate")) ? ", possible duplicate"
                                                                           : "",
                text_of(entry, "waits_for"));
        if (*reason) {
            printf("  last: %s\n", reason);
        }
    }
}

int cmd_explain(int argc, char **argv)
{
    struct cli_node node = { 0 };
    bool is_json = false;
    int count, code;
    const struct cli_option options[] = { { "config", &node.config_path, NULL },
        { "socket", &node.socket_path, NULL }, { "json", NULL, &is_json } };
    if (!cli_options(argc, argv, options, COUNT_OF(options), explain_help, &count, &code)) {
        return code;
    }
    if (count != 1) {
        return cli_usage(argv[0], "explain which message? Give its id");
    }
    struct buf path, body;
    buf_init(&path, 4096);
    buf_addf(&path, "/v1/explain/%s", argv[1]);
    buf_add_char(&path, '\0');
    bool is_there = buf_err(&path) == OK &&
                    cli_get(&node, "GET", path.ptr, (struct str){ 0 }, &body, &code);
    buf_done(&path);
    if (!is_there) {
        return code;
    }
    json_t *reply = json_loadb(body.ptr, body.len, 0, NULL);
    json_t *entries = json_object_get(reply, "entries");
    bool is_waiting = json_array_size(entries) > 0;
    if (is_json) {
        printf("%.*s\n", STR_ARG(buf_str(&body)));
    } else if (is_waiting) {
        explain_entries(entries);
    } else {
        printf("%s does not wait: every recipient is closed (outpost trace %s tells the story)\n",
                argv[1], argv[1]);
    }
    json_decref(reply);
    buf_done(&body);
    return is_waiting ? CLI_GOOD : CLI_WANTING;
}
