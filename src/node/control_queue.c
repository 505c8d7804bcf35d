/* SPDX-License-Identifier: Apache-2.0
 *
 * control_queue.c - the queue through the control API: list, explain, act, read a message.
 *
 * The scheduler knows numbers; addresses, sender and tag are read from the journal here, on the
 * asker's thread, so that a long list costs the scheduler little.
 */
#include "mail/domain.h"
#include "node/control_priv.h"

enum {
    CONTROL_RAW_BYTES_MAX = 44 << 20, /* in base 64 it fits a reply */
    CONTROL_REASON_BYTES_MAX = 500,
    RAW_FIND_COUNT_MAX = 3 /* times the keeper is asked where a message lies now */
};

static const char *const view_states[] = { "queued", "active", "held", "in_doubt", "failed" };
static_assert(COUNT_OF(view_states) == QUEUE_VIEW_COUNT, "one name a state");

static json_t *json_time(struct wall at)
{
    char text[TIME_TEXT_CAP];
    return at.ms ? json_stringn(text, time_rfc3339(at, text)) : json_null();
}

/* Envelopes of entries, in the order of a list: one is read once for all recipients it has. */
struct reader {
    struct control *control;
    uint64_t msg_id; /* 0: none was read */
    bool is_there;   /* false: closed or moved since the scheduler answered */
    struct blob *bytes;
    struct spool_envelope envelope;
    struct cur rest; /* of its recipients */
    uint32_t number; /* of the next in rest */
    struct str address;
};

static void reader_done(struct reader *reader)
{
    blob_give(reader->bytes);
    reader->bytes = NULL;
}

/* The entry's envelope, and its recipient into address. */
static bool reader_seek(struct reader *reader, const struct queue_view *view)
{
    if (reader->msg_id != view->msg_id) {
        reader_done(reader);
        reader->msg_id = view->msg_id;
        reader->is_there = node_read_envelope(reader->control->node, &view->where, view->msg_id,
                                   &reader->bytes, &reader->envelope) == OK;
        reader->number = 0;
        reader->rest = (struct cur){ .rest = reader->is_there ? reader->envelope.rcpts : STR("") };
    }
    while (reader->is_there && reader->number <= view->rcpt) { /* they come in ascending order */
        reader->is_there = spool_rcpt_next(&reader->rest, &reader->address);
        reader->number++;
    }
    return reader->is_there;
}

/* "user@example.com" matches the address, "@example.com" or "example.com" its domain. */
static bool recipient_matches(struct str wanted, struct str address)
{
    if (wanted.len == 0 || str_eq_nocase(wanted, address)) {
        return true;
    }
    struct str domain = str_from(address, str_rindex(address, '@') + 1);
    return str_eq_nocase(wanted, domain) ||
           (wanted.ptr[0] == '@' && str_eq_nocase(str_from(wanted, 1), domain));
}

/* What the scheduler cannot filter by, since it holds no strings. */
static bool is_wanted(const struct reader *reader)
{
    const struct control *control = reader->control;
    return recipient_matches(control->want_recipient, reader->address) &&
           (control->want_tag.len == 0 || str_eq(control->want_tag, reader->envelope.tag));
}

static json_t *entry_json(const struct reader *reader, const struct queue_view *view)
{
    char id[ULID_TEXT_LEN + 1];
    const struct spool_envelope *envelope = &reader->envelope;
    ulid_format(envelope->ulid, id);
    return json_pack(
            "{s:s, s:o, s:o, s:s, s:o, s:o, s:o, s:i, s:b, s:o, s:o, s:I, s:o, s:o, s:o, s:o}",
            "id", id, "recipient", control_str(reader->address), "sender",
            control_str(envelope->sender), "state", view_states[view->state], "stream",
            control_str(envelope->stream), "tag", control_str(envelope->tag), "domain",
            control_str(view->domain), "tries", (int)view->tries, "possible_duplicate",
            (int)view->maybe_duplicate, "accepted", json_time(view->accepted_at), "due",
            json_time(view->due), "bytes", (json_int_t)view->content_bytes, "reason",
            control_str(view->reason), "waits_for", control_str(view->waits_for), "site",
            control_str(view->site), "source", control_str(view->source));
}

/* The scheduler could not answer. */
static void end_refused(struct control *control, enum err err)
{
    control_end_error(control, 503, "%s",
            err == E_NOMEM ? "out of memory: ask for fewer" : "the node is stopping");
}

static void list_done(struct control *control, struct letter *letter)
{
    struct queue_ask *ask = CONTAINER_OF(letter, struct queue_ask, letter);
    struct reader reader = { .control = control };
    json_t *entries = json_array();
    for (uint32_t i = 0; i < ask->view_count; i++) {
        if (reader_seek(&reader, &ask->view[i]) && is_wanted(&reader)) {
            json_array_append_new(entries, entry_json(&reader, &ask->view[i]));
        }
    }
    reader_done(&reader);
    enum err err = ask->err;
    json_t *reply = json_pack("{s:o, s:o}", "entries", entries, "after",
            ask->next_after ? json_sprintf("%llu", (unsigned long long)ask->next_after)
                            : json_null());
    control_letter_free(letter);
    if (err == OK || err == E_NOT_FOUND) {
        control_end_json(control, 200, reply);
    } else {
        json_decref(reply);
        end_refused(control, err);
    }
}

/* Domains are kept as lower-case A-labels; what is none matches none. */
static struct str domain_text(struct control *control, struct str domain)
{
    char name[DOMAIN_CAP];
    struct str ascii;
    if (domain.len == 0 || domain_to_ascii(domain, name, &ascii) != OK) {
        return domain;
    }
    ascii = arena_str(&control->arena, ascii);
    control->is_short = control->is_short || ascii.ptr == NULL;
    return ascii;
}

static bool parse_state(struct str name, struct queue_filter *filter)
{
    for (uint32_t i = 0; i < QUEUE_VIEW_COUNT; i++) {
        if (str_eq(name, str_from_c(view_states[i]))) {
            filter->by_state = true;
            filter->state = (enum queue_view_state)i;
            return true;
        }
    }
    return name.len == 0;
}

static struct str argument(struct control *control, const char *name)
{
    return control_argument(control, name);
}

/* Fills the filter from named texts: arguments of a list, members of an action. False: has ended.
 */
static bool fill_filter(struct control *control, struct queue_filter *filter,
        struct str (*get)(struct control *control, const char *name), const char *reason_name)
{
    struct str text = get(control, "age");
    if (text.len &&
            (str_to_ms(text, INT64_MAX, &filter->age_min_ms) != OK || filter->age_min_ms == 0)) {
        control_end_error(control, 400, "age is a time such as 30m, 4h or 2d");
        return false;
    }
    if (!parse_state(get(control, "state"), filter)) {
        control_end_error(control, 400, "state is one of queued, active, held, in_doubt, failed");
        return false;
    }
    filter->domain = domain_text(control, get(control, "domain"));
    filter->stream = get(control, "stream");
    filter->reason = get(control, reason_name);
    control->want_recipient = get(control, "recipient");
    control->want_tag = get(control, "tag");
    text = get(control, "id");
    filter->by_msg = text.len > 0;
    if (control->is_short) { /* a filter lost for want of memory would act on more than was said */
        control_end_error(control, 503, "out of memory");
        return false;
    }
    return !filter->by_msg || control_find_msg_id(control, text, &filter->msg_id);
}

/* The page that is wanted. */
static bool fill_page(struct control *control, struct queue_filter *filter)
{
    uint64_t count = CONTROL_LIST_COUNT;
    struct str text = control_argument(control, "count");
    if (text.len && (str_to_u64(text, CONTROL_LIST_COUNT_MAX, &count) != OK || count == 0)) {
        control_end_error(control, 400, "count is a number from 1 to %d", CONTROL_LIST_COUNT_MAX);
        return false;
    }
    filter->count_max = (uint32_t)count;
    text = control_argument(control, "after");
    if (text.len && str_to_u64(text, INT64_MAX, &filter->after) != OK) {
        control_end_error(control, 400, "after is what the last page gave as after");
        return false;
    }
    return true;
}

static void start_list(struct control *control, const struct queue_filter *filter,
        enum queue_ask_kind kind, void (*then)(struct control *control, struct letter *letter))
{
    struct queue_ask *ask = control_new_ask(control, kind);
    if (ask) {
        ask->filter = *filter;
        control->then = then;
        control_ask_queue(control, ask);
    }
}

void control_queue_list(struct control *control)
{
    static const char *const names[] = { "id", "recipient", "domain", "stream", "tag", "age",
        "reason", "state", "count", "after" };
    struct queue_filter filter = { 0 };
    if (control_only_arguments(control, names, COUNT_OF(names)) && fill_page(control, &filter) &&
            fill_filter(control, &filter, argument, "reason")) {
        start_list(control, &filter, QUEUE_ASK_LIST, list_done);
    }
}

void control_explain(struct control *control, struct str id)
{
    struct queue_filter filter = { .by_msg = true, .count_max = CONTROL_LIST_COUNT_MAX };
    if (control_find_msg_id(control, id, &filter.msg_id)) {
        start_list(control, &filter, QUEUE_ASK_EXPLAIN, list_done);
    }
}

/* ---- the message itself ---- */

static void end_raw(struct control *control, enum err err, const struct blob *content)
{
    struct buf text;
    buf_init(&text, SPOOL_CONTENT_BYTES_MAX);
    if (err == OK && content->size_bytes > CONTROL_RAW_BYTES_MAX) {
        err = E_TOO_BIG;
    }
    for (const struct blob_chunk *chunk = err == OK ? content->first : NULL; chunk;
            chunk = chunk->next) {
        buf_add(&text, str_of(chunk->data, chunk->len));
    }
    control_end_content(control, err == OK ? buf_err(&text) : err, buf_str(&text));
    buf_done(&text);
}

static void raw_done(struct control *control, struct letter *letter)
{
    struct keeper_find *found = CONTAINER_OF(letter, struct keeper_find, letter);
    struct blob *content = NULL;
    struct why why = { 0 };
    uint64_t msg_id = found->msg_id;
    enum err err = found->err;
    if (err == E_NOT_FOUND) {
        control_letter_free(letter);
        control_end_error(control, 404, "the message is no longer in the spool: it is closed");
        return;
    }
    if (err == OK) {
        err = spool_view_message(
                control->node->view, &found->where, msg_id, NULL, NULL, &content, &why);
    }
    control_letter_free(letter);
    if (err == E_CORRUPT && control->find_count < RAW_FIND_COUNT_MAX) {
        control_find(control, msg_id); /* moved since the keeper looked */
        return;
    }
    end_raw(control, err, content);
    blob_give(content);
}

void control_raw(struct control *control, struct str id)
{
    uint64_t msg_id;
    if (control_find_msg_id(control, id, &msg_id)) {
        control->then = raw_done;
        control_find(control, msg_id);
    }
}

/* ---- actions ---- */

static bool parse_action(struct str name, enum spool_ctl_action *ret_action)
{
    static const struct {
        const char *name;
        enum spool_ctl_action action;
    } actions[] = { { "hold", SPOOL_CTL_HOLD }, { "release", SPOOL_CTL_RELEASE },
        { "flush", SPOOL_CTL_FLUSH }, { "bounce", SPOOL_CTL_BOUNCE },
        { "cancel", SPOOL_CTL_CANCEL } };
    for (size_t i = 0; i < COUNT_OF(actions); i++) {
        if (str_eq(name, str_from_c(actions[i].name))) {
            *ret_action = actions[i].action;
            return true;
        }
    }
    return false;
}

static void act_reply(struct control *control, bool is_durable)
{
    control_end_json(control, 200,
            json_pack("{s:I, s:I, s:b}", "recipients", (json_int_t)control->changed_count,
                    "pending", (json_int_t)control->pending_count, "durable", (int)is_durable));
}

static void act_synced(struct control *control, struct letter *letter)
{
    enum err err = CONTAINER_OF(letter, struct keeper_record, letter)->err;
    control_letter_free(letter);
    act_reply(control, err == OK);
}

/* The disk does not come back: done, but a crash forgets it. */
static void act_not_synced(struct control *control)
{
    act_reply(control, false);
}

/* All is decided: what an operator is told is on record first. */
static void act_end(struct control *control)
{
    if (control->is_done || control->waiting_count > 0) {
        return;
    }
    if (control->changed_count == control->pending_count) {
        act_reply(control, true);
        return;
    }
    control->then = act_synced;
    control_ask_sync(control);
    control_again(control, CONTROL_SYNC_WAIT_MS, act_not_synced);
}

static void send_action(struct control *control, const struct queue_filter *filter)
{
    struct queue_ask *ask = control_new_ask(control, QUEUE_ASK_ACT);
    if (ask == NULL) {
        return;
    }
    ask->filter = *filter;
    ask->action = control->action;
    ask->author = arena_str(&ask->arena, control->author);
    ask->reason = arena_str(&ask->arena, control->action_reason);
    control_ask_queue(control, ask);
}

static void act_done(struct control *control, struct letter *letter)
{
    struct queue_ask *ask = CONTAINER_OF(letter, struct queue_ask, letter);
    enum err err = ask->err;
    control->changed_count += ask->changed_count;
    control->pending_count += ask->pending_count;
    control_letter_free(letter);
    if (err != OK && err != E_NOT_FOUND) {
        end_refused(control, err);
    }
    act_end(control);
}

static void next_page(struct control *control, uint64_t after)
{
    struct queue_ask *ask = control_new_ask(control, QUEUE_ASK_LIST);
    if (ask) {
        ask->filter = control->filter;
        ask->filter.after = after;
        ask->filter.count_max = CONTROL_PICK_COUNT;
        control_ask_queue(control, ask);
    }
}

/* A page of the list by whose envelopes we choose; each one chosen is acted on by its number. */
static void pick_done(struct control *control, struct letter *letter)
{
    struct queue_ask *page = CONTAINER_OF(letter, struct queue_ask, letter);
    if (page->ask == QUEUE_ASK_ACT || (page->err != OK && page->err != E_NOT_FOUND)) {
        act_done(control, letter);
        return;
    }
    struct reader reader = { .control = control };
    for (uint32_t i = 0; i < page->view_count && !control->is_done; i++) {
        const struct queue_view *view = &page->view[i];
        if (reader_seek(&reader, view) && is_wanted(&reader)) {
            struct queue_filter one = {
                .by_msg = true, .msg_id = view->msg_id, .by_rcpt = true, .rcpt = view->rcpt
            };
            send_action(control, &one);
        }
    }
    reader_done(&reader);
    if (page->next_after && !control->is_done) {
        next_page(control, page->next_after);
    }
    control_letter_free(letter);
    act_end(control);
}

static bool names_something(const struct control *control, const struct queue_filter *filter)
{
    return filter->by_msg || filter->domain.len || filter->stream.len || filter->reason.len ||
           filter->age_min_ms || filter->by_state || control->want_recipient.len ||
           control->want_tag.len || json_is_true(json_object_get(control->json_body, "all"));
}

void control_queue_act(struct control *control)
{
    static const char *const names[] = { "action", "id", "recipient", "domain", "stream", "tag",
        "age", "contains", "state", "reason", "all" };
    struct queue_filter *filter = &control->filter;
    if (!control_only_members(control, names, COUNT_OF(names))) {
        return;
    }
    if (!parse_action(control_member(control, "action"), &control->action)) {
        control_end_error(control, 400, "action is one of hold, release, flush, bounce, cancel");
        return;
    }
    if (!fill_filter(control, filter, control_member, "contains")) {
        return;
    }
    if (!names_something(control, filter)) {
        control_end_error(control, 400, "name what to act on: an id or a filter, or all");
        return;
    }
    filter->count_max = UINT32_MAX;
    control->action_reason =
            str_sub(control_member(control, "reason"), 0, CONTROL_REASON_BYTES_MAX);
    if (control->want_recipient.len || control->want_tag.len) {
        control->then = pick_done;
        next_page(control, 0);
    } else {
        control->then = act_done;
        send_action(control, filter);
    }
}
