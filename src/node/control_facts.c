/* SPDX-License-Identifier: Apache-2.0
 *
 * control_facts.c - what is known, through the control API: stories, figures, the sandbox, the
 * configuration. The audit has its own file.
 */
#include "node/control_priv.h"

#include <stdlib.h>

enum { SANDBOX_MESSAGE_BYTES_MAX = 44 << 20 }; /* in base 64 it fits a reply */

/* ---- stories ---- */

static void find_stories(struct control *control, const struct history_query *query)
{
    struct buf json;
    struct why why = { 0 };
    buf_init(&json, CONTROL_REPLY_BYTES_MAX);
    enum err err = history_find_json(control->node->history, query, &json, &why);
    if (err == OK) {
        control_end_text(control, buf_str(&json));
    } else if (err == E_NOT_FOUND) {
        control_end_error(control, 404,
                "nothing is known of \"%.*s\": the history keeps %u days, and a message shows "
                "within a second",
                STR_ARG(str_sub(query->value, 0, 200)), control->node->start_config->history_days);
    } else if (err == E_TOO_BIG) { /* thousands of recipients, tried often */
        control_end_error(control, 413, "what is known of it is too long to be shown at once");
    } else {
        control_end_error(control, 500, "the history cannot be read: %s", why.text);
    }
    buf_done(&json);
}

void control_message(struct control *control, struct str id)
{
    struct history_query query = { .by = HISTORY_BY_ID, .value = id, .count_max = 1 };
    find_stories(control, &query);
}

static bool count_argument(
        struct control *control, uint64_t fallback, uint64_t max, uint64_t *ret_count)
{
    struct str text = control_argument(control, "count");
    *ret_count = fallback;
    if (text.len && (str_to_u64(text, max, ret_count) != OK || *ret_count == 0)) {
        control_end_error(
                control, 400, "count is a number from 1 to %llu", (unsigned long long)max);
        return false;
    }
    return true;
}

void control_messages(struct control *control)
{
    static const char *const names[] = { "id", "tag", "recipient", "message-id", "count" };
    static const enum history_key keys[] = { HISTORY_BY_ID, HISTORY_BY_TAG, HISTORY_BY_RECIPIENT,
        HISTORY_BY_MESSAGE_ID };
    struct history_query query = { 0 };
    uint64_t count, given_count = 0;
    if (!control_only_arguments(control, names, COUNT_OF(names)) ||
            !count_argument(control, 20, 1000, &count)) {
        return;
    }
    for (size_t i = 0; i < COUNT_OF(keys); i++) {
        struct str value = control_argument(control, names[i]);
        if (value.len) {
            query = (struct history_query){
                .by = keys[i], .value = value, .count_max = (uint32_t)count
            };
            given_count++;
        }
    }
    if (given_count == 1) {
        find_stories(control, &query);
    } else {
        control_end_error(control, 400, "ask by one of id, tag, recipient or message-id");
    }
}

void control_refusals(struct control *control)
{
    static const char *const names[] = { "count" };
    struct buf json;
    struct why why = { 0 };
    uint64_t count;
    if (!control_only_arguments(control, names, COUNT_OF(names)) ||
            !count_argument(control, 100, 1000, &count)) {
        return;
    }
    buf_init(&json, CONTROL_REPLY_BYTES_MAX);
    enum err err = history_refusals_json(control->node->history, (uint32_t)count, &json, &why);
    if (err == OK) {
        control_end_text(control, buf_str(&json));
    } else if (err == E_NOT_FOUND) {
        control_end_text(control, STR("[]"));
    } else {
        control_end_error(control, 500, "the history cannot be read: %s", why.text);
    }
    buf_done(&json);
}

/* ---- figures ---- */

static json_t *json_u64(uint64_t value)
{
    return json_integer((json_int_t)value);
}

static json_t *queue_json(const struct queue_stats *stats)
{
    return json_pack("{s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o}", "messages",
            json_u64(stats->msgs), "queued", json_u64(stats->rcpts[QUEUE_VIEW_QUEUED]), "active",
            json_u64(stats->rcpts[QUEUE_VIEW_ACTIVE]), "held",
            json_u64(stats->rcpts[QUEUE_VIEW_HELD]), "in_doubt",
            json_u64(stats->rcpts[QUEUE_VIEW_IN_DOUBT]), "failed",
            json_u64(stats->rcpts[QUEUE_VIEW_FAILED]), "lanes", json_u64(stats->lanes), "sites",
            json_u64(stats->sites), "domains", json_u64(stats->domains), "oldest_age_ms",
            json_integer(stats->oldest_age_ms));
}

static json_t *since_start_json(const struct queue_stats *stats)
{
    return json_pack("{s:o, s:o, s:o, s:o, s:o, s:o}", "delivered", json_u64(stats->delivered),
            "deferred", json_u64(stats->deferred), "bounced", json_u64(stats->bounced), "expired",
            json_u64(stats->expired), "in_doubt", json_u64(stats->in_doubt), "cancelled",
            json_u64(stats->cancelled));
}

static json_t *spool_json(const struct spool_stats *stats)
{
    return json_pack("{s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:b}",
            "accepted_messages", json_u64(stats->accepted_msgs), "accepted_recipients",
            json_u64(stats->accepted_rcpts), "open_messages", json_u64(stats->open_msgs),
            "open_recipients", json_u64(stats->open_rcpts), "syncs", json_u64(stats->syncs),
            "batches", json_u64(stats->batches), "written_bytes", json_u64(stats->written_bytes),
            "slots", json_u64(stats->slots), "free_slots", json_u64(stats->free_slots),
            "damaged_ranges", json_u64(stats->damaged_ranges), "poisoned_slots",
            json_u64(stats->poisoned_slots), "refusing", (int)stats->is_refusing);
}

static void stats_then(struct control *control, struct letter *letter)
{
    control_take_figures(control, letter);
    if (!control->has_queue_stats) { /* one after the other: the keeper is at rest again by then */
        control_ask_scheduler_figures(control);
        return;
    }
    char started[TIME_TEXT_CAP];
    size_t len = time_rfc3339(control->node->started_at, started);
    bool is_caught_up = control_is_history_caught_up(control);
    json_t *reply = json_pack("{s:s, s:s%, s:{s:b}, s:o, s:o, s:o}", "version", OUTPOST_VERSION,
            "started", started, len, "history", "caught_up", (int)is_caught_up, "queue",
            queue_json(&control->queue_stats), "since_start",
            since_start_json(&control->queue_stats), "spool", spool_json(&control->spool_stats));
    control_end_json(control, 200, reply);
}

void control_stats(struct control *control)
{
    control->then = stats_then;
    control_ask_keeper_figures(control);
}

void control_ready(struct control *control)
{
    bool is_stopping = atomic_load(&control->node->is_stopping);
    control_end_json(control, is_stopping ? 503 : 200,
            json_pack("{s:s}", "status", is_stopping ? "stopping" : "ready"));
}

/* ---- the sandbox ---- */

static void add_sandbox_name(void *ctx, const char *name)
{
    if (str_ends_nocase(str_from_c(name), STR(".eml"))) {
        json_array_append_new(ctx, json_string(name));
    }
}

/* Numbers of six digits and more: the shorter is the smaller. */
static int by_number(const void *a, const void *b)
{
    json_t *const *x = a, *const *y = b;
    size_t x_len = json_string_length(*x), y_len = json_string_length(*y);
    if (x_len != y_len) {
        return x_len < y_len ? -1 : 1;
    }
    return strcmp(json_string_value(*x), json_string_value(*y));
}

/* NULL: no memory. names is given away. */
static json_t *sort_names(json_t *names)
{
    size_t count = json_array_size(names);
    json_t **all = mem_new((count + 1) * sizeof *all), *sorted = json_array();
    for (size_t i = 0; all && i < count; i++) {
        all[i] = json_array_get(names, i);
    }
    if (all) {
        qsort(all, count, sizeof *all, by_number);
    }
    for (size_t i = 0; all && i < count; i++) {
        json_array_append(sorted, all[i]);
    }
    bool is_whole = all && json_array_size(sorted) == count;
    mem_free(all);
    json_decref(names);
    if (!is_whole) {
        json_decref(sorted);
        return NULL;
    }
    return sorted;
}

void control_sandbox_list(struct control *control)
{
    struct disk *disk = control->node->edge.sandbox;
    struct why why;
    if (disk == NULL) {
        control_end_error(control, 409,
                "this node is no sandbox: it delivers to the world (start with serve --sandbox)");
        return;
    }
    json_t *names = json_array();
    if (disk->ops->list(disk, add_sandbox_name, names, &why) != OK) {
        json_decref(names);
        control_end_error(control, 500, "%s", why.text);
        return;
    }
    control_end_json(control, 200, json_pack("{s:o}", "messages", sort_names(names)));
}

static enum err read_all(struct disk *disk, struct disk_file *file, struct buf *ret_text)
{
    struct why why;
    uint64_t size = 0;
    size_t got = 0;
    enum err err = disk->ops->size(file, &size, &why);
    if (err != OK || size == 0 || size > SANDBOX_MESSAGE_BYTES_MAX) {
        return err == OK && size > 0 ? E_TOO_BIG : err;
    }
    char *space = buf_space(ret_text, size);
    if (space == NULL) {
        return buf_err(ret_text);
    }
    err = disk->ops->read(file, space, size, 0, &got, &why);
    if (err == OK) {
        buf_grew(ret_text, got);
    }
    return err;
}

void control_end_content(struct control *control, enum err err, struct str content)
{
    struct buf encoded;
    buf_init(&encoded, CONTROL_REPLY_BYTES_MAX - 100);
    if (err == OK) {
        b64_encode(&encoded, content);
        err = buf_err(&encoded);
    }
    if (err == OK) {
        control_end_json(
                control, 200, json_pack("{s:o}", "content_base64", control_str(buf_str(&encoded))));
    } else if (err == E_TOO_BIG) {
        control_end_error(control, 413, "the message is too large to be shown here");
    } else {
        control_end_error(control, err == E_NOMEM || err == E_FULL ? 503 : 500,
                "the message could not be read (%s)", err_name(err));
    }
    buf_done(&encoded);
}

void control_sandbox_show(struct control *control, struct str name)
{
    struct disk *disk = control->node->edge.sandbox;
    char file_name[256];
    struct why why;
    struct disk_file *file;
    /* a name in one directory, of what the catcher wrote: nothing else can be read through here */
    bool is_name = str_index(name, '/') == name.len && str_ends_nocase(name, STR(".eml")) &&
                   name.ptr[0] != '.';
    if (disk == NULL || !is_name || !str_to_c(name, file_name, sizeof file_name) ||
            disk->ops->open(disk, file_name, 0, &file, &why) != OK) {
        control_end_error(
                control, 404, "the sandbox has no message %.*s", STR_ARG(str_sub(name, 0, 100)));
        return;
    }
    struct buf text;
    buf_init(&text, SANDBOX_MESSAGE_BYTES_MAX);
    enum err err = read_all(disk, file, &text);
    disk->ops->close(file);
    control_end_content(control, err, buf_str(&text));
    buf_done(&text);
}

/* ---- configuration ---- */

void control_config(struct control *control)
{
    struct config *config = node_config(control->node);
    struct buf text;
    buf_init(&text, CONTROL_REPLY_BYTES_MAX);
    config_print_json(config, &text);
    if (buf_err(&text) == OK) {
        control_end_text(control, buf_str(&text));
    } else {
        control_end_error(control, 503, "out of memory");
    }
    buf_done(&text);
    config_give(config);
}

void control_reload(struct control *control)
{
    struct buf text;
    if (control->node->reload == NULL) {
        control_end_error(control, 409, "this node has no configuration file to read again");
        return;
    }
    buf_init(&text, 65536);
    enum err err = control->node->reload(control->node->reload_ctx, &text);
    control_end_json(control, err == OK ? 200 : 422,
            json_pack("{s:o}", err == OK ? "message" : "error",
                    control_str(str_trim(buf_str(&text)))));
    buf_done(&text);
}
