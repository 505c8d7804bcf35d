/* SPDX-License-Identifier: Apache-2.0
 *
 * cmd_domain_checklist.c - `outpost domain checklist`: which of the receivers' published
 * requirements are met, which are not, and which a person must see to.
 */
#include "cli/cli.h"
#include "cli/cmd_domain_priv.h"

#include "core/str.h"

#include <stdio.h>
#include <stdlib.h>

#include <jansson.h>

static const char help[] =
        "What Gmail, Microsoft, Yahoo and Apple publish that they ask of senders: what is met by "
        "the node's own\n"
        "checks, what is not, and what a person must do and tick. The node reminds weekly of what "
        "is not ticked.\n"
        "\n"
        "  outpost domain checklist                            all domains\n"
        "  outpost domain checklist shop.example\n"
        "  outpost domain checklist --stream transactional     without what is asked of bulk "
        "senders "
        "only\n"
        "  outpost domain checklist shop.example --done gmail.postmaster --note 'by Kim'\n"
        "  outpost domain checklist shop.example --undone gmail.postmaster\n"
        "\n"
        "options: --json, --config FILE, --socket PATH.\n"
        "Exit: 0 all is met or ticked, 1 something is not met or waits for a person, 75 the node "
        "does not answer.\n";

struct checklist_args {
    struct cli_node node;
    const char *domain, *stream, *done, *undone, *note;
    bool is_json;
};

static const char *text_of(json_t *object, const char *name)
{
    const char *text = json_string_value(json_object_get(object, name));
    return text ? text : "";
}

static bool ask(const struct checklist_args *args, struct buf *ret_reply, int *ret_exit)
{
    const char *item = args->done != NULL ? args->done : args->undone;
    struct buf path;
    char *text = NULL;
    buf_init(&path, 4000);
    if (item != NULL) {
        json_t *body = json_pack("{s:s, s:s, s:s}", "domain", args->domain, "item", item, "state",
                args->done != NULL ? "done" : "to_do");
        if (args->note != NULL) {
            json_object_set_new(body, "note", json_string(args->note));
        }
        text = json_dumps(body, JSON_COMPACT);
        json_decref(body);
        buf_add_c(&path, "/v1/checklist/ticks");
    } else {
        buf_add_c(&path, "/v1/checklist");
        cli_add_argument(&path, "domain", args->domain);
        cli_add_argument(&path, "stream", args->stream);
    }
    buf_add_char(&path, '\0');
    bool is_good =
            buf_err(&path) == OK && cli_get(&args->node, item != NULL ? "POST" : "GET", path.ptr,
                                            str_from_c(text ? text : ""), ret_reply, ret_exit);
    buf_done(&path);
    free(text);
    return is_good;
}

/* "not_met" as a person reads it. */
static const char *state_words(const char *state)
{
    static const struct {
        const char *state, *words;
    } rows[] = { { "met", "met" }, { "not_met", "NOT MET" }, { "not_known", "look" },
        { "to_do", "to do" }, { "done", "done" } };
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        if (strcmp(state, rows[i].state) == 0) {
            return rows[i].words;
        }
    }
    return state;
}

static void print_item(json_t *item)
{
    const char *state = text_of(item, "state"), *why = text_of(item, "why");
    json_t *done = json_object_get(item, "done");
    printf("  %-8s %-24s %s%s\n", state_words(state), text_of(item, "item"), text_of(item, "words"),
            json_is_true(json_object_get(item, "bulk")) ? " (bulk)" : "");
    if (json_is_object(done)) {
        printf("           %-24s ticked by %s, %s %s\n", "", text_of(done, "author"),
                text_of(done, "at"), text_of(done, "note"));
    } else if (strcmp(state, "met") != 0) {
        printf("           %-24s %s\n           %-24s %s\n", "", why, "", text_of(item, "page"));
    }
}

/* Prints, unless quiet, and judges. */
static int go_through(json_t *reply, bool is_quiet)
{
    int code = CLI_GOOD;
    size_t i, k;
    json_t *domain, *item;
    json_array_foreach(json_object_get(reply, "domains"), i, domain)
    {
        if (!is_quiet) {
            printf("%s%s\n", i > 0 ? "\n" : "", text_of(domain, "domain"));
        }
        json_array_foreach(json_object_get(domain, "items"), k, item)
        {
            const char *state = text_of(item, "state");
            code = strcmp(state, "met") != 0 && strcmp(state, "done") != 0 ? CLI_WANTING : code;
            if (!is_quiet) {
                print_item(item);
            }
        }
    }
    return code;
}

int domain_checklist(int argc, char **argv)
{
    struct checklist_args args = { 0 };
    const struct cli_option options[] = { { "json", NULL, &args.is_json },
        { "stream", &args.stream, NULL }, { "done", &args.done, NULL },
        { "undone", &args.undone, NULL }, { "note", &args.note, NULL },
        { "config", &args.node.config_path, NULL }, { "socket", &args.node.socket_path, NULL } };
    struct buf reply;
    int count, code;
    if (!cli_options(argc, argv, options, COUNT_OF(options), help, &count, &code)) {
        return code;
    }
    if (count > 1) {
        return cli_usage("domain", "checklist takes one domain, or none for all");
    }
    args.domain = count == 1 ? argv[1] : NULL;
    if ((args.done != NULL || args.undone != NULL) && args.domain == NULL) {
        return cli_usage("domain", "--done and --undone need the name of a domain");
    }
    if (!ask(&args, &reply, &code)) {
        return code;
    }
    json_t *json = json_loadb(reply.ptr, reply.len, 0, NULL);
    buf_done(&reply);
    code = go_through(json, args.is_json);
    if (args.is_json) {
        cli_print_json(json);
    } else {
        json_decref(json);
    }
    return args.done != NULL || args.undone != NULL ? CLI_GOOD : code;
}
