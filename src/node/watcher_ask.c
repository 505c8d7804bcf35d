/* SPDX-License-Identifier: Apache-2.0
 *
 * watcher_ask.c - the control API's questions to the watcher. What is known is answered at once; a
 * domain that was not asked about lately is asked about now, and whoever wants it waits for that
 * run alone.
 */
#include "node/watcher_in_priv.h"

#include "core/time.h"

enum {
    KNOWN_MS = 60000, /* so old may results be that are not asked for afresh */
    FRESH_MS = 2000,  /* but nobody is asked more often than that */
    ASKED_RUN_COUNT_MAX = 4
};
#define MUTE_MS_MAX (30 * INT64_C(86400000))

void watcher_ask_free(struct watcher_ask *ask)
{
    if (ask != NULL) {
        json_decref(ask->json);
        mem_free(ask);
    }
}

/* json is taken; NULL: out of memory. */
static void answer(struct watcher_ask *ask, uint16_t status, json_t *json)
{
    ask->json = json;
    ask->status = json != NULL ? status : 503;
    ask->letter.kind = ask->reply_kind;
    mailbox_answer(ask->reply_box, &ask->letter);
}

static void refuse(struct watcher_ask *ask, uint16_t status, const char *why)
{
    answer(ask, status, json_pack("{s:s}", "error", why));
}

static json_t *text(struct str s)
{
    json_t *json = json_stringn(s.ptr != NULL ? s.ptr : "", s.len);
    return json != NULL ? json : json_string("");
}

static json_t *time_text(struct wall at)
{
    char rfc3339[TIME_TEXT_CAP];
    return at.ms == 0 ? json_null() : json_stringn(rfc3339, time_rfc3339(at, rfc3339));
}

/* ---- domains and sources ---- */

static json_t *source_json(const struct watcher *watcher, const struct config_source *source)
{
    char address[IP_TEXT_CAP];
    json_t *results = identity_watch_results(watcher->watch, STR(""), source->name);
    json_t *checked = json_object_get(results, "checked");
    bool is_listed = identity_watch_is_listed(watcher->watch, STR(""), source->name);
    enum identity_status worst = identity_watch_worst(watcher->watch, STR(""), source->name);
    bool has_address = source->address.family != IP_NONE;
    json_t *json = json_pack("{s:o, s:o, s:o, s:s, s:O, s:O}", "source", text(source->name),
            "address", has_address ? text(ip_format(source->address, address)) : json_null(),
            "ehlo", text(source->ehlo.len > 0 ? source->ehlo : watcher->config->hostname), "state",
            identity_watch_state_name(!json_is_null(checked), is_listed, worst), "checked", checked,
            "results", json_object_get(results, "results"));
    json_decref(results);
    return json;
}

static json_t *sources_json(const struct watcher *watcher)
{
    json_t *sources = json_array();
    for (uint32_t i = 0; i < watcher->config->source_count; i++) {
        json_array_append_new(sources, source_json(watcher, &watcher->config->source[i]));
    }
    return json_pack("{s:o}", "sources", sources);
}

/* ---- checks of a domain ---- */

static struct watch_run *find_run(
        struct watcher *watcher, struct str domain, uint32_t *ret_asked_count)
{
    struct watch_run *found = NULL;
    *ret_asked_count = 0;
    for (struct list *link = watcher->runs.next; link != &watcher->runs; link = link->next) {
        struct watch_run *run = CONTAINER_OF(link, struct watch_run, link);
        *ret_asked_count += !run->is_scheduled;
        if (!run->is_scheduled && str_eq_nocase(str_from_c(run->domain), domain)) {
            found = run;
        }
    }
    return found;
}

static void ask_checks(struct watcher *watcher, struct watcher_ask *ask)
{
    struct str name = str_from_c(ask->name);
    const struct config_domain *domain = NULL;
    uint32_t asked_count;
    struct why why = { 0 };
    for (uint32_t i = 0; i < watcher->config->domain_count; i++) {
        if (str_eq_nocase(watcher->config->domain[i].name, name)) {
            domain = &watcher->config->domain[i];
        }
    }
    if (domain == NULL) {
        refuse(ask, 404, "there is no such domain here: GET /v1/domains names them");
        return;
    }
    struct wall asked = identity_watch_asked_at(watcher->watch, domain->name);
    int64_t age_ms = clock_wall(watcher->clock).ms - asked.ms;
    if (age_ms >= 0 && age_ms < (ask->is_fresh ? FRESH_MS : KNOWN_MS)) {
        answer(ask, 200, identity_watch_results(watcher->watch, domain->name, STR("")));
        return;
    }
    struct watch_run *run = find_run(watcher, domain->name, &asked_count);
    if (run == NULL && asked_count < ASKED_RUN_COUNT_MAX) {
        run = watcher_run(watcher, JOB_DOMAINS, domain->name, false, &why);
    }
    if (run == NULL) {
        refuse(ask, 503,
                asked_count < ASKED_RUN_COUNT_MAX ? "the checks cannot be begun: see the log"
                                                  : "other domains are being checked: try again");
        return;
    }
    list_add_last(&run->asks, &ask->link);
}

void watcher_answer_run(struct watcher *watcher, struct watch_run *run)
{
    struct list *link;
    while ((link = list_take_first(&run->asks)) != NULL) {
        struct watcher_ask *ask = CONTAINER_OF(link, struct watcher_ask, link);
        answer(ask, 200, identity_watch_results(watcher->watch, str_from_c(run->domain), STR("")));
    }
}

void watcher_refuse_asks(struct watcher *watcher)
{
    for (struct list *link = watcher->runs.next; link != &watcher->runs; link = link->next) {
        struct watch_run *run = CONTAINER_OF(link, struct watch_run, link);
        struct list *waiting;
        while ((waiting = list_take_first(&run->asks)) != NULL) {
            refuse(CONTAINER_OF(waiting, struct watcher_ask, link), 503, "the node is stopping");
        }
    }
}

void watcher_drop_asks(struct watch_run *run)
{
    struct list *link;
    while ((link = list_take_first(&run->asks)) != NULL) {
        watcher_ask_free(CONTAINER_OF(link, struct watcher_ask, link));
    }
}

/* ---- alerts ---- */

static void mute(struct watcher *watcher, struct watcher_ask *ask)
{
    struct wall now = clock_wall(watcher->clock), until = { 0 };
    if (ask->ms > (uint64_t)MUTE_MS_MAX) {
        refuse(ask, 400, "alerts are muted for 30 days at most");
        return;
    }
    if (ask->ms > 0) {
        until.ms = now.ms + (int64_t)ask->ms;
    }
    identity_alerts_mute(watcher->alerts, until, str_from_c(ask->text));
    watcher->is_changed = true;
    log_info(watcher->node->log, "watch", "alerts are %s by %s%s%s",
            ask->ms > 0 ? "muted" : "not muted any more", ask->author,
            ask->text[0] != '\0' ? ": " : "", ask->text);
    answer(ask, 200, identity_alerts_json(watcher->alerts, now));
}

static void test(struct watcher *watcher, struct watcher_ask *ask)
{
    if (!identity_alerts_test(watcher->alerts, str_from_c(ask->name))) {
        refuse(ask, 404, "there is no alert section of that name in the configuration");
        return;
    }
    answer(ask, 202,
            json_pack("{s:s}", "message",
                    "a test notice is on its way; outpost alert list says how it went"));
}

/* ---- the checklist ---- */

uint32_t watcher_to_do_count(struct watcher *watcher, struct str domain)
{
    struct why why;
    json_t *ticks, *item;
    uint32_t count = 0;
    size_t i;
    if (identity_checklist_read(str_from_c(watcher->ticks_path), &ticks, &why) != OK) {
        return 0;
    }
    json_t *list = identity_checklist(watcher->watch, domain, true, ticks);
    json_array_foreach(json_object_get(list, "items"), i, item)
    {
        const char *state = json_string_value(json_object_get(item, "state"));
        count += state != NULL && strcmp(state, "to_do") == 0;
    }
    json_decref(list);
    json_decref(ticks);
    return count;
}

static bool has_domain(const struct watcher *watcher, struct str name)
{
    for (uint32_t i = 0; i < watcher->config->domain_count; i++) {
        if (str_eq(watcher->config->domain[i].name, name)) {
            return true;
        }
    }
    return false;
}

static void checklist(struct watcher *watcher, struct watcher_ask *ask)
{
    struct why why;
    json_t *ticks, *lists = json_array();
    struct str name = str_from_c(ask->name);
    if (name.len > 0 && !has_domain(watcher, name)) {
        json_decref(lists);
        refuse(ask, 404, "there is no such domain here: GET /v1/domains names them");
        return;
    }
    if (identity_checklist_read(str_from_c(watcher->ticks_path), &ticks, &why) != OK) {
        json_decref(lists);
        refuse(ask, 500, why.text);
        return;
    }
    for (uint32_t i = 0; i < watcher->config->domain_count; i++) {
        struct str domain = watcher->config->domain[i].name;
        if (name.len == 0 || str_eq(domain, name)) {
            json_array_append_new(
                    lists, identity_checklist(watcher->watch, domain, ask->is_bulk, ticks));
        }
    }
    json_decref(ticks);
    answer(ask, 200, json_pack("{s:o}", "domains", lists));
}

static enum err change_tick(struct watcher *watcher, const struct watcher_ask *ask, struct why *why)
{
    json_t *ticks;
    enum err err = identity_checklist_read(str_from_c(watcher->ticks_path), &ticks, why);
    if (err != OK) {
        return err;
    }
    json_t *of_domain = json_object_get(ticks, ask->name);
    if (!json_is_object(of_domain)) {
        of_domain = json_object();
        json_object_set_new(ticks, ask->name, of_domain);
    }
    if (ask->is_undone) {
        json_object_del(of_domain, ask->item);
    } else {
        json_object_set_new(of_domain, ask->item,
                json_pack("{s:s, s:o, s:s}", "author", ask->author, "at",
                        time_text(clock_wall(watcher->clock)), "note", ask->text));
    }
    err = identity_checklist_write(str_from_c(watcher->ticks_path), ticks, why);
    json_decref(ticks);
    return err;
}

static void tick(struct watcher *watcher, struct watcher_ask *ask)
{
    struct why why = { 0 };
    if (!has_domain(watcher, str_from_c(ask->name))) {
        refuse(ask, 404, "there is no such domain here: GET /v1/domains names them");
    } else if (!identity_checklist_has(str_from_c(ask->item))) {
        refuse(ask, 404, "there is no item of that name that a person ticks: GET /v1/checklist");
    } else if (change_tick(watcher, ask, &why) != OK) {
        refuse(ask, 500, why.text[0] != '\0' ? why.text : "out of memory");
    } else {
        ask->is_bulk = true;
        checklist(watcher, ask);
    }
}

void watcher_take_ask(struct watcher *watcher, struct watcher_ask *ask)
{
    switch (ask->kind) {
    case WATCHER_DOMAINS:
        answer(ask, 200, identity_watch_domains(watcher->watch, watcher->config));
        break;
    case WATCHER_CHECKS:
        ask_checks(watcher, ask);
        break;
    case WATCHER_SOURCES:
        answer(ask, 200, sources_json(watcher));
        break;
    case WATCHER_EVENTS:
        answer(ask, 200,
                json_pack("{s:o}", "events", identity_watch_events(watcher->watch, ask->count)));
        break;
    case WATCHER_ALERTS:
        answer(ask, 200, identity_alerts_json(watcher->alerts, clock_wall(watcher->clock)));
        break;
    case WATCHER_MUTE:
        mute(watcher, ask);
        break;
    case WATCHER_TEST:
        test(watcher, ask);
        break;
    case WATCHER_CHECKLIST:
        checklist(watcher, ask);
        break;
    case WATCHER_TICK:
        tick(watcher, ask);
        break;
    }
}
