/* SPDX-License-Identifier: Apache-2.0
 *
 * control_identity.c - routes about what the watcher knows: domains, sources, checks, alerts, the
 * checklist. It answers by letter, so a check that takes seconds holds up this request alone.
 */
#include "node/control_priv.h"
#include "node/watcher_priv.h"

enum { EVENT_COUNT = 100 };

static void answered(struct control *control, struct letter *letter)
{
    struct watcher_ask *ask = CONTAINER_OF(letter, struct watcher_ask, letter);
    json_t *json = ask->json;
    ask->json = NULL;
    control_end_json(control, ask->status, json);
    watcher_ask_free(ask);
}

/* NULL: has ended. */
static struct watcher_ask *ask_new(struct control *control, enum watcher_ask_kind kind)
{
    if (control->node->watcher == NULL) {
        control_end_error(control, 409, "this node watches nothing: a sandbox does not");
        return NULL;
    }
    struct watcher_ask *ask = mem_new(sizeof *ask);
    if (ask == NULL) {
        control_end_error(control, 503, "out of memory");
        return NULL;
    }
    ask->kind = kind;
    (void)str_to_c(
            str_sub(control->author, 0, sizeof ask->author - 1), ask->author, sizeof ask->author);
    return ask;
}

static void ask_send(struct control *control, struct watcher_ask *ask)
{
    ask->letter.kind = WATCHER_ASK;
    ask->reply_box = &control->box;
    ask->reply_kind = CONTROL_WATCHED;
    control->then = answered;
    control->waiting_count++;
    if (mailbox_send(watcher_mailbox(control->node->watcher), &ask->letter) != OK) {
        control->waiting_count--;
        watcher_ask_free(ask);
        control_end_error(control, 503, "the watcher has too much to do: try again");
    }
}

static void ask_plain(struct control *control, enum watcher_ask_kind kind)
{
    if (!control_only_arguments(control, NULL, 0)) {
        return;
    }
    struct watcher_ask *ask = ask_new(control, kind);
    if (ask != NULL) {
        ask_send(control, ask);
    }
}

void control_domains(struct control *control)
{
    ask_plain(control, WATCHER_DOMAINS);
}

void control_sources(struct control *control)
{
    ask_plain(control, WATCHER_SOURCES);
}

void control_alerts(struct control *control)
{
    ask_plain(control, WATCHER_ALERTS);
}

/* "1" or nothing; false: has ended with 400. */
static bool flag_argument(struct control *control, const char *name, bool *ret_flag)
{
    struct str value = control_argument(control, name);
    *ret_flag = str_eq(value, STR("1"));
    if (value.len > 0 && !*ret_flag && !str_eq(value, STR("0"))) {
        control_end_error(control, 400, "%s is to be 1 or 0", name);
        return false;
    }
    return true;
}

void control_domain_checks(struct control *control, struct str domain)
{
    static const char *const names[] = { "fresh" };
    bool is_fresh;
    if (!control_only_arguments(control, names, COUNT_OF(names)) ||
            !flag_argument(control, "fresh", &is_fresh)) {
        return;
    }
    struct watcher_ask *ask = ask_new(control, WATCHER_CHECKS);
    if (ask == NULL) {
        return;
    }
    ask->is_fresh = is_fresh;
    if (!str_to_c(domain, ask->name, sizeof ask->name)) {
        ask->name[0] = '\0'; /* no domain is so long: 404 */
    }
    ask_send(control, ask);
}

void control_check_events(struct control *control)
{
    static const char *const names[] = { "count" };
    uint64_t count = EVENT_COUNT;
    if (!control_only_arguments(control, names, COUNT_OF(names))) {
        return;
    }
    struct str text = control_argument(control, "count");
    if (text.len > 0 && (str_to_u64(text, IDENTITY_EVENT_COUNT_MAX, &count) != OK || count == 0)) {
        control_end_error(control, 400, "count is to be 1 to %d", IDENTITY_EVENT_COUNT_MAX);
        return;
    }
    struct watcher_ask *ask = ask_new(control, WATCHER_EVENTS);
    if (ask != NULL) {
        ask->count = (uint32_t)count;
        ask_send(control, ask);
    }
}

/* A member as a C string; false: has ended with 400. */
static bool take_member(struct control *control, const char *name, char *dst, size_t cap)
{
    struct str value = control_member(control, name);
    if (!str_to_c(value, dst, cap)) {
        control_end_error(control, 400, "\"%s\" has more than %zu bytes, or a NUL", name, cap - 1);
        return false;
    }
    for (char *at = dst; *at != '\0'; at++) { /* it is shown in lines */
        *at = (unsigned char)*at < ' ' ? ' ' : *at;
    }
    return true;
}

void control_alert_mute(struct control *control)
{
    static const char *const names[] = { "for", "reason" };
    uint64_t ms;
    if (!control_only_members(control, names, COUNT_OF(names))) {
        return;
    }
    if (str_to_ms(control_member(control, "for"), UINT64_C(366) * 86400000, &ms) != OK) {
        control_end_error(control, 400, "\"for\" is to be a time as \"2h\"; \"0s\" ends it");
        return;
    }
    struct watcher_ask *ask = ask_new(control, WATCHER_MUTE);
    if (ask == NULL) {
        return;
    }
    ask->ms = ms;
    if (take_member(control, "reason", ask->text, sizeof ask->text)) {
        ask_send(control, ask);
    } else {
        watcher_ask_free(ask);
    }
}

void control_alert_test(struct control *control)
{
    static const char *const names[] = { "name" };
    if (!control_only_members(control, names, COUNT_OF(names))) {
        return;
    }
    struct watcher_ask *ask = ask_new(control, WATCHER_TEST);
    if (ask == NULL) {
        return;
    }
    if (take_member(control, "name", ask->name, sizeof ask->name)) {
        ask_send(control, ask);
    } else {
        watcher_ask_free(ask);
    }
}

void control_checklist(struct control *control)
{
    static const char *const names[] = { "domain", "stream" };
    if (!control_only_arguments(control, names, COUNT_OF(names))) {
        return;
    }
    struct config *config = node_config(control->node);
    struct str stream = control_argument(control, "stream");
    bool is_known = stream.len == 0 || config_stream(config, stream) != NULL;
    config_give(config);
    if (!is_known) {
        control_end_error(
                control, 404, "there is no stream \"%.*s\"", STR_ARG(str_sub(stream, 0, 64)));
        return;
    }
    struct watcher_ask *ask = ask_new(control, WATCHER_CHECKLIST);
    if (ask == NULL) {
        return;
    }
    /* what is not known to be for few is measured by what is asked of many */
    ask->is_bulk = !str_eq(stream, STR("transactional")) && !str_eq(stream, STR("system"));
    if (!str_to_c(control_argument(control, "domain"), ask->name, sizeof ask->name)) {
        (void)str_to_c(STR("?"), ask->name, sizeof ask->name); /* none has it: 404 */
    }
    ask_send(control, ask);
}

void control_checklist_tick(struct control *control)
{
    static const char *const names[] = { "domain", "item", "note", "state" };
    if (!control_only_members(control, names, COUNT_OF(names))) {
        return;
    }
    struct str state = control_member(control, "state");
    if (state.len > 0 && !str_eq(state, STR("done")) && !str_eq(state, STR("to_do"))) {
        control_end_error(control, 400, "\"state\" is to be \"done\" or \"to_do\"");
        return;
    }
    struct watcher_ask *ask = ask_new(control, WATCHER_TICK);
    if (ask == NULL) {
        return;
    }
    ask->is_undone = str_eq(state, STR("to_do"));
    if (take_member(control, "domain", ask->name, sizeof ask->name) &&
            take_member(control, "item", ask->item, sizeof ask->item) &&
            take_member(control, "note", ask->text, sizeof ask->text)) {
        ask_send(control, ask);
    } else {
        watcher_ask_free(ask);
    }
}
