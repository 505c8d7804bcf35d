/* SPDX-License-Identifier: Apache-2.0
 *
 * control_priv.h - one request of the control API on its way: what the routes share.
 */
#ifndef OUTPOST_NODE_CONTROL_PRIV_H
#define OUTPOST_NODE_CONTROL_PRIV_H

#include "core/b64.h"
#include "core/map.h"
#include "node/node_priv.h"

#include <jansson.h>

enum {
    CONTROL_REPLY_BYTES_MAX = 64 << 20,
    CONTROL_ARENA_BYTES_MAX = 4 << 20,
    CONTROL_LIST_COUNT = 100,
    CONTROL_LIST_COUNT_MAX = 10000,
    CONTROL_SYNC_WAIT_MS = 5000,
    CONTROL_PICK_COUNT = 1000 /* a page of what is acted on one by one */
};

/* Kinds under which the keeper's answers come back; the scheduler's keep QUEUE_ASK. */
enum control_letter {
    CONTROL_FIGURES = 0x500,
    CONTROL_FOUND,
    CONTROL_SYNCED,
    CONTROL_ADDRESSES,
    CONTROL_WATCHED
};
static_assert((int)QUEUE_STOP < (int)CONTROL_FIGURES, "answers are told apart by kind");

struct control {
    struct letter letter; /* among the node's orphans, when given up early */
    struct node *node;
    struct mailbox box;     /* where owners answer */
    uint32_t waiting_count; /* answers still out */
    struct arena arena;
    struct str method, path, query, body, author;
    json_t *json_body;                                            /* parsed, or NULL */
    void (*then)(struct control *control, struct letter *letter); /* takes each answer */
    void (*again)(struct control *control);                       /* called at again_at, once */
    struct mono again_at;
    bool is_done;
    bool is_short; /* memory failed for an argument */
    uint16_t status;
    const char *allow; /* 405: for the Allow field */
    struct buf reply;
    /* of a list or action */
    struct str want_recipient, want_tag;
    enum spool_ctl_action action;
    struct str action_reason;
    uint64_t changed_count, pending_count;
    struct queue_filter filter;
    uint32_t find_count; /* of CONTROL_FOUND tries */
    struct history_query query_story;
    struct mono give_up_at; /* the history is waited for until then */
    struct spool_stats spool_stats;
    struct queue_stats queue_stats;
    bool has_queue_stats;
    struct audit *audit; /* in arena */
};

/* Ends with a JSON value (reference taken over) or with an error in words. */
void control_end_json(struct control *control, uint16_t status, json_t *json);
void control_end_error(struct control *control, uint16_t status, const char *format, ...)
        PRINTF_LIKE(3, 4);
void control_end_text(struct control *control, struct str json); /* 200, already JSON */
/* Ends with a message's bytes, or with why they cannot be shown. */
void control_end_content(struct control *control, enum err err, struct str content);

/* A query argument, decoded into the arena; "" where it is absent. */
struct str control_argument(struct control *control, const char *name);
/* The body's string member, or "". */
struct str control_member(struct control *control, const char *name);
/* Arguments (members) must be among the names, each once and not empty; members be strings, but
 * "all". False: has ended with 400. What is misspelt must not be taken for "no filter". */
bool control_only_arguments(struct control *control, const char *const *names, size_t name_count);
bool control_only_members(struct control *control, const char *const *names, size_t name_count);
json_t *control_str(struct str s); /* escaped where it is no UTF-8 */

/* Sends a question to the scheduler (keeper); control->then gets the answer. */
void control_ask_queue(struct control *control, struct queue_ask *ask);
struct queue_ask *control_new_ask(struct control *control, enum queue_ask_kind kind);
void control_ask_keeper_figures(struct control *control);
void control_ask_scheduler_figures(struct control *control);
/* Takes and frees the answer of either: spool_stats or queue_stats. */
void control_take_figures(struct control *control, struct letter *letter);
/* Everything that any owner had decided before this call is in the history. */
bool control_is_history_caught_up(const struct control *control);
void control_find(struct control *control, uint64_t msg_id);
/* Asks the keeper to answer when all that was told it before is durable: CONTROL_SYNCED. */
void control_ask_sync(struct control *control);
/* Frees an answer. */
void control_letter_free(struct letter *letter);
/* Calls again after a while, while nothing else is asked. */
void control_again(struct control *control, uint64_t ms, void (*again)(struct control *control));
/* The internal number behind a public id of any message that was acknowledged, and is not older
 * than the history. False: has ended with 400, 404, or 503 where it could not be looked up. */
bool control_find_msg_id(struct control *control, struct str id, uint64_t *ret_msg_id);

/* The routes. */
void control_queue_list(struct control *control);
void control_queue_act(struct control *control);
void control_explain(struct control *control, struct str id);
void control_raw(struct control *control, struct str id);
void control_messages(struct control *control);
void control_message(struct control *control, struct str id);
void control_stats(struct control *control);
void control_audit(struct control *control);
void control_refusals(struct control *control);
void control_sandbox_list(struct control *control);
void control_sandbox_show(struct control *control, struct str name);
void control_config(struct control *control);
void control_reload(struct control *control);
void control_ready(struct control *control);
void control_address_check(struct control *control);
void control_domains(struct control *control);
void control_domain_checks(struct control *control, struct str domain);
void control_sources(struct control *control);
void control_check_events(struct control *control);
void control_alerts(struct control *control);
void control_alert_mute(struct control *control);
void control_alert_test(struct control *control);
void control_checklist(struct control *control);
void control_checklist_tick(struct control *control);

#endif
