/* SPDX-License-Identifier: Apache-2.0
 *
 * control.c - the control API: from a request to its route, and from answers to the reply.
 *
 * A request never blocks an owner: it sends letters and is woken by their answers. The table at the
 * end is the whole API; docs/api.md describes it for people.
 */
#include "node/control_priv.h"
#include "node/watcher_priv.h"

#include <stdarg.h>

/* ---- ending ---- */

json_t *control_str(struct str s)
{
    bool has_nul = s.len && memchr(s.ptr, 0, s.len); /* legal, but many readers of JSON refuse it */
    json_t *text = has_nul ? NULL : json_stringn(s.ptr ? s.ptr : "", s.len);
    if (text) {
        return text;
    }
    char escaped[2048];
    struct str safe = str_escape(s, escaped, sizeof escaped);
    return json_stringn(safe.ptr, safe.len);
}

void control_end_text(struct control *control, struct str json)
{
    buf_clear(&control->reply);
    buf_add(&control->reply, json);
    control->status = 200;
    control->is_done = true;
    if (buf_err(&control->reply) != OK) {
        bool is_too_big = buf_err(&control->reply) == E_TOO_BIG;
        buf_clear(&control->reply);
        buf_add_c(&control->reply, is_too_big
                                           ? "{\"error\":\"the answer is too large: ask for less\"}"
                                           : "{\"error\":\"out of memory\"}");
        control->status = is_too_big ? 500 : 503;
    }
}

void control_end_json(struct control *control, uint16_t status, json_t *json)
{
    char *text = json ? json_dumps(json, JSON_COMPACT | JSON_ENSURE_ASCII) : NULL;
    control_end_text(control, text ? str_from_c(text) : STR("{\"error\":\"out of memory\"}"));
    control->status = !text ? 503 : control->status == 200 ? status : control->status;
    free(text);
    json_decref(json);
}

void control_end_error(struct control *control, uint16_t status, const char *format, ...)
{
    char text[600];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    control_end_json(control, status, json_pack("{s:o}", "error", control_str(str_from_c(text))));
}

/* ---- arguments ---- */

static int hex_digit(char c)
{
    if (ascii_is_digit(c)) {
        return c - '0';
    }
    c = ascii_lower(c);
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static struct str decode_percent(struct arena *arena, struct str s)
{
    char *out = arena_new(arena, s.len + 1);
    size_t len = 0;
    if (out == NULL) {
        return (struct str){ 0 };
    }
    for (size_t i = 0; i < s.len; i++) {
        if (s.ptr[i] == '%' && i + 2 < s.len && hex_digit(s.ptr[i + 1]) >= 0 &&
                hex_digit(s.ptr[i + 2]) >= 0) {
            out[len++] = (char)(hex_digit(s.ptr[i + 1]) * 16 + hex_digit(s.ptr[i + 2]));
            i += 2;
        } else {
            out[len++] = s.ptr[i] == '+' ? ' ' : s.ptr[i];
        }
    }
    return str_of(out, len);
}

struct str control_argument(struct control *control, const char *name)
{
    struct str part, rest = control->query;
    while (str_cut(&rest, '&', &part)) {
        size_t equals = str_index(part, '=');
        if (str_eq(str_sub(part, 0, equals), str_from_c(name))) {
            struct str value = decode_percent(&control->arena, str_from(part, equals + 1));
            control->is_short = control->is_short || value.ptr == NULL;
            return value;
        }
    }
    return (struct str){ 0 };
}

struct str control_member(struct control *control, const char *name)
{
    json_t *member = json_object_get(control->json_body, name);
    if (!json_is_string(member)) {
        return (struct str){ 0 };
    }
    struct str value = str_of(json_string_value(member), json_string_length(member));
    value = arena_str(&control->arena, value);
    control->is_short = control->is_short || value.ptr == NULL;
    return value;
}

static bool is_among(struct str name, const char *const *names, size_t name_count)
{
    for (size_t i = 0; i < name_count; i++) {
        if (str_eq(name, str_from_c(names[i]))) {
            return true;
        }
    }
    return false;
}

bool control_only_arguments(struct control *control, const char *const *names, size_t name_count)
{
    struct str part, rest = control->query;
    while (!control->is_done && str_cut(&rest, '&', &part)) {
        struct str name = str_sub(part, 0, str_index(part, '='));
        if (!is_among(name, names, name_count)) {
            control_end_error(control, 400, "there is no argument \"%.*s\" here",
                    STR_ARG(str_sub(name, 0, 60)));
        } else if (control_argument(control, arena_str(&control->arena, name).ptr).len == 0) {
            control_end_error(control, 400, "%.*s is empty", STR_ARG(name));
        }
    }
    return !control->is_done;
}

bool control_only_members(struct control *control, const char *const *names, size_t name_count)
{
    const char *name;
    json_t *value;
    if (!json_is_object(control->json_body)) {
        control_end_error(control, 400, "the body is to be a JSON object");
        return false;
    }
    json_object_foreach(control->json_body, name, value)
    {
        bool is_all = strcmp(name, "all") == 0;
        if (!is_among(str_from_c(name), names, name_count)) {
            control_end_error(control, 400, "there is no \"%.60s\" here", name);
        } else if (is_all ? !json_is_boolean(value) : !json_is_string(value)) {
            control_end_error(control, 400, "\"%s\" is to be %s", name,
                    is_all ? "true or false" : "a string");
        } else if (!is_all && json_string_length(value) == 0 && strcmp(name, "reason") != 0) {
            control_end_error(control, 400, "\"%s\" is empty", name);
        }
    }
    return !control->is_done;
}

/* ---- asking ---- */

struct queue_ask *control_new_ask(struct control *control, enum queue_ask_kind kind)
{
    struct queue_ask *ask = mem_new(sizeof *ask);
    if (ask == NULL) {
        control_end_error(control, 503, "out of memory");
        return NULL;
    }
    ask->letter.kind = QUEUE_ASK;
    ask->reply_box = &control->box;
    ask->ctx = control;
    ask->ask = kind;
    arena_init(&ask->arena, 64 << 20);
    return ask;
}

void control_ask_queue(struct control *control, struct queue_ask *ask)
{
    control->waiting_count++;
    mailbox_answer(queue_mailbox(control->node->queue), &ask->letter);
}

void control_ask_keeper_figures(struct control *control)
{
    struct keeper_stats_ask *ask = mem_new(sizeof *ask);
    if (ask == NULL) {
        control_end_error(control, 503, "out of memory");
        return;
    }
    ask->letter.kind = KEEPER_STATS;
    ask->reply = (struct keeper_reply){ .box = &control->box, .kind = CONTROL_FIGURES };
    control->waiting_count++;
    mailbox_answer(keeper_mailbox(control->node->keeper), &ask->letter);
}

void control_ask_scheduler_figures(struct control *control)
{
    struct queue_ask *ask = control_new_ask(control, QUEUE_ASK_STATS);
    if (ask) {
        control_ask_queue(control, ask);
    }
}

void control_take_figures(struct control *control, struct letter *letter)
{
    if (letter->kind == CONTROL_FIGURES) {
        control->spool_stats = CONTAINER_OF(letter, struct keeper_stats_ask, letter)->stats;
    } else {
        control->queue_stats = CONTAINER_OF(letter, struct queue_ask, letter)->stats;
        control->has_queue_stats = true;
    }
    control_letter_free(letter);
}

bool control_is_history_caught_up(const struct control *control)
{
    struct node *node = control->node;
    if (mailbox_count(keeper_mailbox(node->keeper)) > 0 || !atomic_load(&node->is_keeper_idle)) {
        return false; /* it may have records that are not durable yet */
    }
    return !atomic_load(&node->is_journal_news) && atomic_load(&node->is_scribe_idle);
}

void control_find(struct control *control, uint64_t msg_id)
{
    struct keeper_find *ask = mem_new(sizeof *ask);
    if (ask == NULL) {
        control_end_error(control, 503, "out of memory");
        return;
    }
    ask->letter.kind = KEEPER_FIND;
    ask->reply = (struct keeper_reply){ .box = &control->box, .kind = CONTROL_FOUND };
    ask->msg_id = msg_id;
    control->find_count++;
    control->waiting_count++;
    mailbox_answer(keeper_mailbox(control->node->keeper), &ask->letter);
}

void control_ask_sync(struct control *control)
{
    struct keeper_record *ask = keeper_record_new((enum spool_record_type)0, 0, (struct str){ 0 });
    if (ask == NULL) {
        control_end_error(control, 503, "done, but out of memory before it was on record");
        return;
    }
    ask->letter.kind = KEEPER_SYNC;
    ask->wish = KEEPER_WANTS_DURABLE;
    ask->reply = (struct keeper_reply){ .box = &control->box, .kind = CONTROL_SYNCED };
    control->waiting_count++;
    mailbox_answer(keeper_mailbox(control->node->keeper), &ask->letter);
}

void control_letter_free(struct letter *letter)
{
    if (letter->kind == QUEUE_ASK) {
        struct queue_ask *ask = CONTAINER_OF(letter, struct queue_ask, letter);
        arena_done(&ask->arena);
        mem_free(ask);
    } else if (letter->kind == CONTROL_WATCHED) {
        watcher_ask_free(CONTAINER_OF(letter, struct watcher_ask, letter));
    } else {
        mem_free(letter);
    }
}

void control_again(struct control *control, uint64_t ms, void (*again)(struct control *control))
{
    control->again = again;
    control->again_at = mono_after(clock_mono(control->node->edge.clock), ms);
}

/* ---- routing ---- */

struct route {
    const char *method, *path; /* a final "/" takes one more segment, named ... */
    void (*plain)(struct control *control);
    void (*named)(struct control *control, struct str name);
    const char *after; /* ... which this follows; NULL: nothing does */
};
static const struct route routes[] = {
    { "GET", "/healthz", control_ready, NULL, NULL },
    { "GET", "/readyz", control_ready, NULL, NULL },
    { "GET", "/v1/queue", control_queue_list, NULL, NULL },
    { "POST", "/v1/queue/actions", control_queue_act, NULL, NULL },
    { "GET", "/v1/messages", control_messages, NULL, NULL },
    { "GET", "/v1/messages/", NULL, control_message, NULL },
    { "GET", "/v1/explain/", NULL, control_explain, NULL },
    { "GET", "/v1/raw/", NULL, control_raw, NULL },
    { "GET", "/v1/refusals", control_refusals, NULL, NULL },
    { "GET", "/v1/stats", control_stats, NULL, NULL },
    { "GET", "/v1/audit", control_audit, NULL, NULL },
    { "GET", "/v1/sandbox", control_sandbox_list, NULL, NULL },
    { "GET", "/v1/sandbox/", NULL, control_sandbox_show, NULL },
    { "GET", "/v1/config", control_config, NULL, NULL },
    { "POST", "/v1/reload", control_reload, NULL, NULL },
    { "POST", "/v1/addresses/check", control_address_check, NULL, NULL },
    { "GET", "/v1/domains", control_domains, NULL, NULL },
    { "GET", "/v1/domains/", NULL, control_domain_checks, "/checks" },
    { "GET", "/v1/sources", control_sources, NULL, NULL },
    { "GET", "/v1/checks/events", control_check_events, NULL, NULL },
    { "GET", "/v1/alerts", control_alerts, NULL, NULL },
    { "POST", "/v1/alerts/mute", control_alert_mute, NULL, NULL },
    { "POST", "/v1/alerts/test", control_alert_test, NULL, NULL },
    { "GET", "/v1/checklist", control_checklist, NULL, NULL },
    { "POST", "/v1/checklist/ticks", control_checklist_tick, NULL, NULL },
};

static bool route_matches(const struct route *route, struct str path, struct str *ret_name)
{
    struct str pattern = str_from_c(route->path);
    if (route->plain) {
        return str_eq(pattern, path);
    }
    struct str after = str_from_c(route->after != NULL ? route->after : "");
    if (!str_starts(path, pattern) || path.len < pattern.len + after.len ||
            !str_eq(str_from(path, path.len - after.len), after)) {
        return false;
    }
    *ret_name = str_sub(path, pattern.len, path.len - pattern.len - after.len);
    return ret_name->len > 0 && str_index(*ret_name, '/') == ret_name->len;
}

static void route_request(struct control *control)
{
    const char *known = NULL; /* the method of a route with this path; no path has two */
    for (size_t i = 0; i < COUNT_OF(routes); i++) {
        struct str name = { 0 };
        if (!route_matches(&routes[i], control->path, &name)) {
            continue;
        }
        known = routes[i].method;
        if (!str_eq(str_from_c(routes[i].method), control->method)) {
            continue;
        }
        if (routes[i].plain) {
            routes[i].plain(control);
        } else {
            routes[i].named(control, decode_percent(&control->arena, name));
        }
        return;
    }
    if (known) {
        control->allow = known;
        control_end_error(control, 405, "%.*s is not for %.*s: use %s",
                STR_ARG(str_sub(control->path, 0, 200)), STR_ARG(str_sub(control->method, 0, 20)),
                known);
    } else {
        control_end_error(
                control, 404, "there is no %.*s", STR_ARG(str_sub(control->path, 0, 200)));
    }
}

enum err control_begin(
        struct node *node, const struct control_request *request, struct control **ret_control)
{
    node_sweep_orphans(node, /*is_last*/ false);
    struct control *control = mem_new(sizeof *control);
    if (control == NULL) {
        return E_NOMEM;
    }
    control->node = node;
    mailbox_init_brief(&control->box);
    arena_init(&control->arena, CONTROL_ARENA_BYTES_MAX);
    buf_init(&control->reply, CONTROL_REPLY_BYTES_MAX);
    control->method = arena_str(&control->arena, request->method);
    control->path = arena_str(&control->arena, request->path);
    control->query = arena_str(&control->arena, request->query);
    control->author = arena_str(&control->arena, request->author);
    *ret_control = control;
    if (request->body.len) {
        json_error_t error;
        control->json_body =
                json_loadb(request->body.ptr, request->body.len, JSON_REJECT_DUPLICATES, &error);
        if (control->json_body == NULL) {
            control_end_error(
                    control, 400, "the body is no JSON: %s (line %d)", error.text, error.line);
            return OK;
        }
    }
    route_request(control);
    return OK;
}

/* ---- waiting ---- */

static void take_answers(struct control *control, struct letter *letter)
{
    while (letter) {
        struct letter *next = letter->next;
        ASSERT(control->waiting_count > 0);
        control->waiting_count--;
        if (control->is_done) {
            control_letter_free(letter); /* an answer that came after the end */
        } else {
            control->then(control, letter);
        }
        letter = next;
    }
}

static bool run_again(struct control *control, struct mono now)
{
    if (!control->again || control->again_at.ms > now.ms) {
        return false;
    }
    void (*again)(struct control *) = control->again;
    control->again = NULL;
    again(control);
    return true;
}

bool control_wait(struct control *control, uint64_t wait_ms)
{
    struct clock *clock = control->node->edge.clock;
    struct mono end = mono_after(clock_mono(clock), wait_ms);
    while (!control->is_done) {
        struct letter *letter = mailbox_take_all(&control->box);
        struct mono now = clock_mono(clock);
        if (letter) {
            take_answers(control, letter);
        } else if (!run_again(control, now)) {
            struct mono until = control->again ? mono_first(end, control->again_at) : end;
            if (end.ms <= now.ms) {
                return false;
            }
            mailbox_wait(&control->box, until.ms > now.ms ? (uint64_t)(until.ms - now.ms) : 0);
        }
    }
    return true;
}

uint16_t control_status(const struct control *control)
{
    return control->status;
}

const char *control_allow(const struct control *control)
{
    return control->allow ? control->allow : "";
}

struct str control_body(const struct control *control)
{
    if (control->reply.len == 0) { /* not even the words found memory */
        return STR("{\"error\":\"out of memory\"}");
    }
    return buf_str(&control->reply);
}

static void control_release(struct control *control)
{
    json_decref(control->json_body);
    buf_done(&control->reply);
    arena_done(&control->arena);
    mailbox_done(&control->box);
    mem_free(control);
}

void control_free(struct control *control)
{
    if (control == NULL) {
        return;
    }
    take_answers(control, control->is_done ? mailbox_take_all(&control->box) : NULL);
    if (control->waiting_count >
            0) { /* an owner holds its box still: kept until the answer is there */
        control->is_done = true;
        mailbox_answer(&control->node->orphans, &control->letter);
        return;
    }
    control_release(control);
}

void node_sweep_orphans(struct node *node, bool is_last)
{
    struct letter *letter = mailbox_take_all(&node->orphans);
    while (letter) {
        struct letter *next = letter->next;
        struct control *control = CONTAINER_OF(letter, struct control, letter);
        take_answers(control, mailbox_take_all(&control->box));
        if (control->waiting_count > 0 && !is_last) {
            mailbox_answer(&node->orphans, letter);
        } else {
            control_release(control);
        }
        letter = next;
    }
}
