/* SPDX-License-Identifier: Apache-2.0
 *
 * alert_book.c - which problems last, and which route has told whom: grouped, repeated with
 * back-off, ended by a word. What a route could not send stays to be told; nothing is queued twice.
 */
#include "core/str.h"
#include "core/time.h"
#include "identity/watch_priv.h"

enum { KEY_CAP = 1024 };

/* What one route has told of one problem. */
struct telling {
    bool is_told;
    struct mono again_at; /* 0: never */
    uint64_t again_ms;
    bool is_out; /* in the notice under way, as out_kind */
    enum identity_notice_kind out_kind;
};
struct problem {
    struct list link;
    struct identity_result result; /* its strings stand behind this struct */
    struct str key;
    struct wall since, until;
    struct mono tell_at; /* the end of its group's window */
    bool is_over;
    struct telling by[CONFIG_ALERT_COUNT_MAX];
};
struct route {
    char name[CONFIG_NAME_BYTES_MAX + 1];
    const struct config_alert *config; /* NULL: not configured any more */
    bool is_busy, is_ping_due, is_ping_out, is_test_due, is_test_out;
    uint32_t fail_count; /* notices that could not be sent, in a row */
    struct mono retry_at;
    struct wall out_at, told_at;
    char why[WHY_BYTES_MAX]; /* of the last failure */
};
struct identity_alerts {
    struct list problems;
    uint32_t problem_count, left_out_count;
    const struct config *config;
    struct route route[CONFIG_ALERT_COUNT_MAX];
    uint32_t route_count;
    struct mono group_end; /* of the window that is open */
    struct wall mute_until;
    char mute_reason[WHY_BYTES_MAX];
};

enum err identity_alerts_open(struct identity_alerts **ret_alerts)
{
    struct identity_alerts *alerts = mem_new(sizeof *alerts);
    if (alerts == NULL) {
        return E_NOMEM;
    }
    list_init(&alerts->problems);
    *ret_alerts = alerts;
    return OK;
}

static void problem_drop(struct identity_alerts *alerts, struct problem *problem)
{
    list_del(&problem->link);
    alerts->problem_count--;
    mem_free(problem);
}

void identity_alerts_close(struct identity_alerts *alerts)
{
    if (alerts == NULL) {
        return;
    }
    while (!list_is_empty(&alerts->problems)) {
        problem_drop(alerts, CONTAINER_OF(alerts->problems.next, struct problem, link));
    }
    mem_free(alerts);
}

/* ---- routes ---- */

static uint32_t route_find(const struct identity_alerts *alerts, struct str name)
{
    uint32_t i = 0;
    while (i < alerts->route_count && !str_eq(name, str_from_c(alerts->route[i].name))) {
        i++;
    }
    return i;
}

/* Routes keep their number while a name is there, so that what they told stays with them. */
static struct route *route_for(struct identity_alerts *alerts, struct str name)
{
    uint32_t i = route_find(alerts, name);
    for (uint32_t k = 0; i == alerts->route_count && k < alerts->route_count; k++) {
        if (alerts->route[k].config == NULL && !alerts->route[k].is_busy &&
                alerts->route_count == CONFIG_ALERT_COUNT_MAX) {
            i = k;
        }
    }
    if (i == CONFIG_ALERT_COUNT_MAX) {
        return NULL;
    }
    struct route *route = &alerts->route[i];
    if (!str_eq(name, str_from_c(route->name))) {
        *route = (struct route){ 0 };
        (void)str_to_c(name, route->name, sizeof route->name);
        for (struct list *l = alerts->problems.next; l != &alerts->problems; l = l->next) {
            CONTAINER_OF(l, struct problem, link)->by[i] = (struct telling){ 0 };
        }
    }
    alerts->route_count = i == alerts->route_count ? i + 1 : alerts->route_count;
    return route;
}

void identity_alerts_config(struct identity_alerts *alerts, const struct config *config)
{
    for (uint32_t i = 0; i < alerts->route_count; i++) {
        alerts->route[i].config = NULL;
    }
    alerts->config = config;
    for (uint32_t i = 0; i < config->alert_count && i < CONFIG_ALERT_COUNT_MAX; i++) {
        struct route *route = route_for(alerts, config->alert[i].name);
        if (route != NULL) {
            route->config = &config->alert[i];
            route->retry_at = (struct mono){ 0 }; /* perhaps it is mended */
        }
    }
}

uint32_t identity_alerts_route_count(const struct identity_alerts *alerts)
{
    return alerts->route_count;
}

struct str identity_alerts_route_name(const struct identity_alerts *alerts, uint32_t route)
{
    ASSERT(route < alerts->route_count);
    return str_from_c(alerts->route[route].name);
}

/* ---- problems ---- */

static struct str key_of(const struct identity_result *result, char text[KEY_CAP])
{
    size_t len = fmt(text, KEY_CAP, "%.*s|%.*s|%.*s|%.*s", STR_ARG(result->id),
            STR_ARG(result->domain), STR_ARG(result->source), STR_ARG(result->part));
    return str_of(text, len);
}

static struct problem *problem_find(const struct identity_alerts *alerts, struct str key)
{
    for (struct list *link = alerts->problems.next; link != &alerts->problems; link = link->next) {
        struct problem *problem = CONTAINER_OF(link, struct problem, link);
        if (!problem->is_over && str_eq(problem->key, key)) {
            return problem;
        }
    }
    return NULL;
}

static struct str put_text(char **at, struct str s)
{
    struct str copy = { *at, s.len };
    if (s.len > 0) {
        memcpy(*at, s.ptr, s.len);
    }
    *at += s.len;
    return copy;
}

static struct problem *problem_new(const struct identity_result *result, struct str key)
{
    struct problem *problem =
            mem_new(sizeof *problem + key.len + result->id.len + result->domain.len +
                    result->source.len + result->part.len + result->title.len + result->found.len +
                    result->expected.len + result->mend.len + result->detail.len);
    if (problem == NULL) {
        return NULL;
    }
    char *at = (char *)(problem + 1);
    problem->key = put_text(&at, key);
    problem->result = (struct identity_result){ .status = result->status,
        .id = put_text(&at, result->id),
        .domain = put_text(&at, result->domain),
        .source = put_text(&at, result->source),
        .part = put_text(&at, result->part),
        .title = put_text(&at, result->title),
        .found = put_text(&at, result->found),
        .expected = put_text(&at, result->expected),
        .mend = put_text(&at, result->mend),
        .detail = put_text(&at, result->detail) };
    return problem;
}

enum err identity_alerts_begin(struct identity_alerts *alerts, const struct identity_result *result,
        struct wall since, struct mono now)
{
    char text[KEY_CAP];
    struct str key = key_of(result, text);
    struct problem *old = problem_find(alerts, key);
    if (old != NULL && old->result.status == result->status) {
        return OK; /* it lasts */
    }
    if (old == NULL && alerts->problem_count >= IDENTITY_PROBLEM_COUNT_MAX) {
        alerts->left_out_count++;
        return E_FULL;
    }
    struct problem *problem = problem_new(result, key);
    if (problem == NULL) {
        return E_NOMEM;
    }
    problem->since = since;
    if (alerts->group_end.ms <= now.ms) { /* the first of a group opens its window */
        uint64_t window_ms = alerts->config != NULL ? alerts->config->alert_group_ms : 0;
        alerts->group_end = mono_after(now, window_ms);
    }
    problem->tell_at = alerts->group_end;
    list_add_last(&alerts->problems, &problem->link);
    alerts->problem_count++;
    if (old != NULL) { /* it got worse or better without an end: news for those who heard of it */
        bool is_worse = result->status > old->result.status;
        for (uint32_t i = 0; i < CONFIG_ALERT_COUNT_MAX && !is_worse; i++) {
            problem->by[i] = old->by[i];
            problem->by[i].is_out = false;
        }
        old->is_over = true;
        old->until = (struct wall){ 0 }; /* replaced: its end is not told */
    }
    return OK;
}

static bool is_out(const struct problem *problem)
{
    for (uint32_t i = 0; i < CONFIG_ALERT_COUNT_MAX; i++) {
        if (problem->by[i].is_out) {
            return true;
        }
    }
    return false;
}

/* Over, and nobody has to be told of it any more. */
static bool is_settled(const struct identity_alerts *alerts, const struct problem *problem)
{
    if (!problem->is_over || is_out(problem)) {
        return false;
    }
    for (uint32_t i = 0; i < alerts->route_count; i++) {
        const struct config_alert *config = alerts->route[i].config;
        if (config != NULL && !config->is_resolved_hidden && problem->by[i].is_told &&
                problem->until.ms > 0) {
            return false;
        }
    }
    return true;
}

static void sweep(struct identity_alerts *alerts)
{
    struct list *link = alerts->problems.next;
    while (link != &alerts->problems) {
        struct problem *problem = CONTAINER_OF(link, struct problem, link);
        link = link->next;
        if (is_settled(alerts, problem)) {
            problem_drop(alerts, problem);
        }
    }
}

void identity_alerts_end(struct identity_alerts *alerts, const struct identity_result *result,
        struct wall at, struct mono now)
{
    char text[KEY_CAP];
    struct problem *problem = problem_find(alerts, key_of(result, text));
    if (problem != NULL) {
        problem->is_over = true;
        problem->until = at;
        if (alerts->group_end.ms <= now.ms) {
            uint64_t window_ms = alerts->config != NULL ? alerts->config->alert_group_ms : 0;
            alerts->group_end = mono_after(now, window_ms);
        }
        problem->tell_at = alerts->group_end;
        sweep(alerts);
    }
}

uint32_t identity_alerts_left_out(struct identity_alerts *alerts)
{
    uint32_t count = alerts->left_out_count;
    alerts->left_out_count = 0;
    return count;
}

void identity_alerts_ping(struct identity_alerts *alerts, struct mono now)
{
    (void)now;
    for (uint32_t i = 0; i < alerts->route_count; i++) {
        const struct config_alert *config = alerts->route[i].config;
        alerts->route[i].is_ping_due =
                config != NULL && (config->type == CONFIG_ALERT_NAGIOS ||
                                          (config->type == CONFIG_ALERT_WEBHOOK &&
                                                  config->format == CONFIG_ALERT_HEALTHCHECKS));
    }
}

bool identity_alerts_test(struct identity_alerts *alerts, struct str name)
{
    uint32_t i = route_find(alerts, name);
    if (i == alerts->route_count || alerts->route[i].config == NULL) {
        return false;
    }
    alerts->route[i].is_test_due = true;
    alerts->route[i].retry_at = (struct mono){ 0 };
    return true;
}

void identity_alerts_mute(struct identity_alerts *alerts, struct wall until, struct str reason)
{
    alerts->mute_until = until;
    (void)str_to_c(str_sub(reason, 0, sizeof alerts->mute_reason - 1), alerts->mute_reason,
            sizeof alerts->mute_reason);
}

/* ---- notices ---- */

/* A blocklist that gives no answer is its own trouble, not ours: a warning at most. */
static bool is_for(const struct config_alert *config, const struct problem *problem)
{
    bool is_list = str_starts(problem->result.id, STR("list."));
    return config->min_severity == CONFIG_ALERT_WARN || problem->result.status == IDENTITY_FAIL ||
           (problem->result.status == IDENTITY_ERROR && !is_list);
}

/* Is there something to tell of the problem by this route, and what? ret_at: when, if later. */
static bool is_due(const struct config_alert *config, const struct problem *problem,
        const struct telling *telling, struct mono now, enum identity_notice_kind *ret_kind,
        struct mono *ret_at)
{
    bool is_told = telling->is_told, is_wanted = !problem->is_over && is_for(config, problem);
    bool is_replaced = problem->is_over && problem->until.ms == 0;
    *ret_at = (struct mono){ 0 };
    if (is_wanted && is_told) {
        *ret_kind = IDENTITY_NOTICE_AGAIN;
        *ret_at = telling->again_at;
    } else if (is_wanted) {
        *ret_kind = IDENTITY_NOTICE_NEW;
        *ret_at = problem->tell_at;
    } else if (is_told && !config->is_resolved_hidden && !is_replaced) {
        *ret_kind = IDENTITY_NOTICE_OVER;
        *ret_at = problem->tell_at;
    }
    if (ret_at->ms == 0) {
        return false;
    }
    return ret_at->ms <= now.ms;
}

/* Services that keep one incident a problem get one a notice. */
static uint32_t notice_count_max(const struct config_alert *config)
{
    bool is_single =
            config->type == CONFIG_ALERT_WEBHOOK &&
            (config->format == CONFIG_ALERT_PAGERDUTY || config->format == CONFIG_ALERT_OPSGENIE);
    return is_single ? 1 : IDENTITY_NOTICE_COUNT_MAX;
}

static void add_item(
        struct identity_notice *notice, struct problem *problem, enum identity_notice_kind kind)
{
    notice->item[notice->count++] = (struct identity_notice_item){ .kind = kind,
        .result = problem->result,
        .key = problem->key,
        .since = problem->since,
        .until = problem->until };
}

static void collect(struct identity_alerts *alerts, uint32_t number, struct mono now,
        struct identity_notice *notice)
{
    const struct config_alert *config = alerts->route[number].config;
    uint32_t max = notice_count_max(config);
    for (struct list *link = alerts->problems.next; link != &alerts->problems; link = link->next) {
        struct problem *problem = CONTAINER_OF(link, struct problem, link);
        struct telling *telling = &problem->by[number];
        enum identity_notice_kind kind;
        struct mono at;
        if (!problem->is_over && is_for(config, problem)) {
            enum identity_status status = problem->result.status;
            notice->open_count++;
            notice->worst = status > notice->worst ? status : notice->worst;
        }
        if (notice->count < max && is_due(config, problem, telling, now, &kind, &at)) {
            telling->is_out = true;
            telling->out_kind = kind;
            add_item(notice, problem, kind);
        }
    }
}

bool identity_alerts_take(struct identity_alerts *alerts, uint32_t number, struct wall wall,
        struct mono now, struct identity_notice *ret_notice)
{
    ASSERT(number < alerts->route_count);
    struct route *route = &alerts->route[number];
    if (route->config == NULL || route->is_busy || route->retry_at.ms > now.ms) {
        return false;
    }
    *ret_notice = (struct identity_notice){
        .route = route->config, .hostname = alerts->config->hostname, .now = wall
    };
    if (route->is_test_due) { /* also when muted: somebody waits for it */
        ret_notice->is_test = true;
        route->is_test_out = true;
    } else if (alerts->mute_until.ms > wall.ms) { /* that we live is said all the same */
        ret_notice->is_ping = route->is_ping_out = route->is_ping_due;
        if (!route->is_ping_due) {
            return false;
        }
    } else {
        collect(alerts, number, now, ret_notice);
        ret_notice->is_ping = ret_notice->count == 0;
        route->is_ping_out = route->is_ping_due;
        if (ret_notice->is_ping && !route->is_ping_due) {
            return false;
        }
    }
    route->is_busy = true;
    route->out_at = wall;
    return true;
}

static void settle_telling(
        const struct config_alert *config, struct telling *telling, struct mono now)
{
    if (telling->out_kind == IDENTITY_NOTICE_OVER) {
        telling->is_told = false; /* and so it is settled */
        return;
    }
    uint64_t repeat_ms = config != NULL ? config->repeat_ms : 0;
    uint64_t next_ms = telling->is_told ? telling->again_ms * 2 : repeat_ms;
    uint64_t max_ms = repeat_ms > IDENTITY_REPEAT_MS_MAX ? repeat_ms : IDENTITY_REPEAT_MS_MAX;
    telling->is_told = true;
    telling->again_ms = next_ms < max_ms ? next_ms : max_ms;
    telling->again_at = next_ms > 0 ? mono_after(now, telling->again_ms) : (struct mono){ 0 };
}

static void route_failed(struct route *route, struct str why, struct mono now)
{
    uint64_t wait_ms = IDENTITY_SEND_RETRY_MS;
    for (uint32_t i = 0; i < route->fail_count && wait_ms < IDENTITY_SEND_RETRY_MS_MAX; i++) {
        wait_ms *= 2;
    }
    wait_ms = wait_ms < IDENTITY_SEND_RETRY_MS_MAX ? wait_ms : IDENTITY_SEND_RETRY_MS_MAX;
    route->fail_count++;
    route->retry_at = mono_after(now, wait_ms);
    route->is_test_due = false; /* whoever asked for it was told */
    (void)str_to_c(str_sub(why, 0, sizeof route->why - 1), route->why, sizeof route->why);
}

void identity_alerts_sent(struct identity_alerts *alerts, uint32_t number, bool is_good,
        struct str why, struct mono now)
{
    struct route *route = &alerts->route[number];
    route->is_busy = false;
    for (struct list *link = alerts->problems.next; link != &alerts->problems; link = link->next) {
        struct telling *telling = &CONTAINER_OF(link, struct problem, link)->by[number];
        if (telling->is_out && is_good) {
            settle_telling(route->config, telling, now);
        }
        telling->is_out = false;
    }
    if (is_good) {
        route->fail_count = 0;
        route->told_at = route->out_at;
        route->why[0] = '\0';
        route->retry_at = (struct mono){ 0 };
        route->is_test_due = route->is_test_due && !route->is_test_out;
        route->is_ping_due = route->is_ping_due && !route->is_ping_out;
    } else {
        route_failed(route, why, now);
    }
    route->is_test_out = route->is_ping_out = false;
    sweep(alerts);
}

static struct mono route_due(
        const struct identity_alerts *alerts, uint32_t number, bool is_muted, struct mono now)
{
    const struct route *route = &alerts->route[number];
    struct mono due = { 0 };
    if (route->config == NULL || route->is_busy) {
        return due;
    }
    if (route->is_test_due || route->is_ping_due) {
        due = now;
    }
    for (struct list *link = alerts->problems.next; !is_muted && link != &alerts->problems;
            link = link->next) {
        const struct problem *problem = CONTAINER_OF(link, struct problem, link);
        enum identity_notice_kind kind;
        struct mono at;
        bool is_now = is_due(route->config, problem, &problem->by[number], now, &kind, &at);
        due = mono_first(due, is_now ? now : at);
    }
    return due.ms != 0 && due.ms < route->retry_at.ms ? route->retry_at : due;
}

struct mono identity_alerts_due(
        const struct identity_alerts *alerts, struct wall wall, struct mono now)
{
    bool is_muted = alerts->mute_until.ms > wall.ms;
    struct mono due = { 0 };
    if (is_muted) { /* the wall clock may be set: look again now and then */
        uint64_t left_ms = (uint64_t)(alerts->mute_until.ms - wall.ms);
        due = mono_after(now, left_ms < 60000 ? left_ms + 1 : 60000);
    }
    for (uint32_t i = 0; i < alerts->route_count; i++) {
        due = mono_first(due, route_due(alerts, i, is_muted, now));
    }
    return due;
}

/* ---- shown and kept ---- */

static json_t *told_json(const struct identity_alerts *alerts, const struct problem *problem)
{
    json_t *told = json_array();
    for (uint32_t i = 0; i < alerts->route_count; i++) {
        if (problem->by[i].is_told) {
            json_array_append_new(told, json_string(alerts->route[i].name));
        }
    }
    return told;
}

static json_t *problems_json(const struct identity_alerts *alerts)
{
    json_t *problems = json_array();
    for (struct list *link = alerts->problems.next; link != &alerts->problems; link = link->next) {
        const struct problem *problem = CONTAINER_OF(link, struct problem, link);
        if (problem->is_over) {
            continue;
        }
        json_t *json = watch_result_json(&problem->result);
        json_object_set_new(json, "since", watch_time_text(problem->since));
        json_object_set_new(json, "told", told_json(alerts, problem));
        json_array_append_new(problems, json);
    }
    return problems;
}

static const char *type_name(enum config_alert_type type)
{
    static const char *const names[] = { "webhook", "syslog", "command", "nagios", "mail" };
    return names[type];
}

static json_t *routes_json(const struct identity_alerts *alerts)
{
    json_t *routes = json_array();
    for (uint32_t i = 0; i < alerts->route_count; i++) {
        const struct route *route = &alerts->route[i];
        if (route->config != NULL) {
            json_array_append_new(routes,
                    json_pack("{s:s, s:s, s:o, s:i, s:o}", "name", route->name, "type",
                            type_name(route->config->type), "told", watch_time_text(route->told_at),
                            "failures", (int)route->fail_count, "why",
                            watch_text(str_from_c(route->why))));
        }
    }
    return routes;
}

struct json_t *identity_alerts_json(const struct identity_alerts *alerts, struct wall now)
{
    bool is_muted = alerts->mute_until.ms > now.ms;
    return json_pack("{s:o, s:o, s:o, s:o, s:i}", "problems", problems_json(alerts), "routes",
            routes_json(alerts), "muted_until",
            watch_time_text(is_muted ? alerts->mute_until : (struct wall){ 0 }), "mute_reason",
            watch_text(is_muted ? str_from_c(alerts->mute_reason) : STR("")), "left_out",
            (int)alerts->left_out_count);
}

struct json_t *identity_alerts_state(const struct identity_alerts *alerts)
{
    return json_pack("{s:o, s:o, s:o}", "problems", problems_json(alerts), "muted_until",
            watch_time_text(alerts->mute_until), "mute_reason",
            watch_text(str_from_c(alerts->mute_reason)));
}

static struct identity_result result_of(const json_t *json)
{
    struct identity_result result = { .id = watch_member(json, "id"),
        .domain = watch_member(json, "domain"),
        .source = watch_member(json, "source"),
        .part = watch_member(json, "part"),
        .status = IDENTITY_FAIL,
        .title = watch_member(json, "title"),
        .found = watch_member(json, "found"),
        .expected = watch_member(json, "expected"),
        .mend = watch_member(json, "mend"),
        .detail = watch_member(json, "detail") };
    (void)watch_status(watch_member(json, "status"), &result.status);
    return result;
}

static void restore_told(
        struct identity_alerts *alerts, struct problem *problem, const json_t *told)
{
    size_t i;
    json_t *name;
    json_array_foreach(told, i, name)
    {
        uint32_t number = route_find(alerts, str_from_c(json_string_value(name)));
        if (number < alerts->route_count) {
            const struct config_alert *config = alerts->route[number].config;
            problem->by[number].is_told = true;
            problem->by[number].again_ms = config != NULL ? config->repeat_ms : 0;
        }
    }
}

/* Routes are known by then; repetitions begin anew with the next start's clock. */
void identity_alerts_restore(
        struct identity_alerts *alerts, const struct json_t *state, struct mono now)
{
    size_t i;
    json_t *entry;
    struct str reason = watch_member(state, "mute_reason");
    identity_alerts_mute(alerts, watch_time(state, "muted_until"), reason);
    json_array_foreach(json_object_get(state, "problems"), i, entry)
    {
        struct identity_result result = result_of(entry);
        char text[KEY_CAP];
        if (identity_alerts_begin(alerts, &result, watch_time(entry, "since"), now) != OK) {
            break;
        }
        struct problem *problem = problem_find(alerts, key_of(&result, text));
        restore_told(alerts, problem, json_object_get(entry, "told"));
        for (uint32_t r = 0; r < alerts->route_count; r++) {
            struct telling *telling = &problem->by[r];
            telling->again_at = telling->is_told && telling->again_ms > 0
                                        ? mono_after(now, telling->again_ms)
                                        : (struct mono){ 0 };
        }
    }
}
