/* SPDX-License-Identifier: Apache-2.0
 *
 * control_facts.c - what is known, through the control API: stories, figures, the
 * configuration. The audit and the sandbox have files of their own.
 */
#include "node/control_priv.h"

enum {
    STORY_WAIT_STEP_MS = 50,
    STORY_WAIT_MS = 5000 /* the scribe commits once a second at least, while its disk works */
};

/* ---- stories ---- */

static void end_stories(struct control *control, enum err err, struct str json, struct why *why)
{
    const struct history_query *query = &control->query_story;
    if (err == OK) {
        control_end_text(control, json);
    } else if (err == E_NOT_FOUND) {
        control_end_error(control, 404, "nothing is known of \"%.*s\": the history keeps %u days",
                STR_ARG(str_sub(query->value, 0, 200)), control->node->start_config->history_days);
    } else if (err == E_TOO_BIG) { /* thousands of recipients, tried often */
        control_end_error(control, 413, "what is known of it is too long to be shown at once");
    } else {
        control_end_error(control, 500, "the history cannot be read: %s", why->text);
    }
}

/* What was acknowledged before the question is told: the history is given time to take it. */
static void find_stories(struct control *control)
{
    struct node *node = control->node;
    struct buf json;
    struct why why = { 0 };
    struct history_totals totals = { 0 };
    buf_init(&json, CONTROL_REPLY_BYTES_MAX);
    /* asked before it is read */
    bool is_there = control_is_history_caught_up(control) ||
                    (history_count(node->history, &totals, &why) == OK &&
                            totals.upto.batch_seq > control->spool_stats.durable_upto);
    enum err err = history_find_json(node->history, &control->query_story, &json, &why);
    if (err != E_NOT_FOUND || is_there) {
        end_stories(control, err, buf_str(&json), &why);
    } else if (mono_is_due(control->give_up_at, clock_mono(node->edge.clock))) {
        control_end_error(control, 503,
                "nothing is known of it yet, and the history is behind (see the node's log): ask "
                "again in a while");
    } else {
        control_again(control, STORY_WAIT_STEP_MS, find_stories);
    }
    buf_done(&json);
}

static void stories_then(struct control *control, struct letter *letter)
{
    control_take_figures(control, letter);
    find_stories(control);
}

static void begin_stories(struct control *control, const struct history_query *query)
{
    control->query_story = *query;
    control->give_up_at = mono_after(clock_mono(control->node->edge.clock), STORY_WAIT_MS);
    control->then = stories_then;
    control_ask_keeper_figures(control); /* how far the journal reaches now */
}

void control_message(struct control *control, struct str id)
{
    struct history_query query = { .by = HISTORY_BY_ID, .value = id, .count_max = 1 };
    begin_stories(control, &query);
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
        begin_stories(control, &query);
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
