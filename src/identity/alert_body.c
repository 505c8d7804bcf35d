/* SPDX-License-Identifier: Apache-2.0
 *
 * alert_body.c - a notice in words, and in the forms that the services take: PagerDuty Events API
 * v2, Opsgenie Alert API v2, Slack's incoming webhooks, pings, Nagios' external commands, mail.
 */
#include "core/buf.h"
#include "core/str.h"
#include "core/time.h"
#include "identity/watch_priv.h"

#include <stdlib.h>

enum {
    SUMMARY_BYTES_MAX = 1000, /* PagerDuty: payload.summary has 1024 characters at most */
    MESSAGE_BYTES_MAX = 130,  /* Opsgenie: message */
    ALIAS_CAP = 40
};

/* ---- words ---- */

static const char *kind_name(enum identity_notice_kind kind)
{
    static const char *const names[] = { "new", "again", "resolved" };
    return names[kind];
}

static const char *severity_word(const struct identity_notice_item *item)
{
    return item->kind == IDENTITY_NOTICE_OVER      ? "RESOLVED"
           : item->result.status == IDENTITY_WARN  ? "WARN"
           : item->result.status == IDENTITY_ERROR ? "CANNOT TELL"
                                                   : "FAIL";
}

static void add_subject(const struct identity_result *result, struct buf *text)
{
    buf_add(text, result->domain);
    if (result->source.len > 0) {
        buf_addf(
                text, "%ssource %.*s", result->domain.len > 0 ? ", " : "", STR_ARG(result->source));
    }
    if (result->part.len > 0) {
        bool is_first = result->domain.len == 0 && result->source.len == 0;
        buf_addf(text, "%s%.*s", is_first ? "" : ", ", STR_ARG(result->part));
    }
}

static void add_item_line(const struct identity_notice_item *item, struct buf *text)
{
    const struct identity_result *result = &item->result;
    bool is_over = item->kind == IDENTITY_NOTICE_OVER;
    buf_addf(text, "%s ", severity_word(item));
    add_subject(result, text);
    buf_addf(text, ": %.*s (%.*s)", STR_ARG(result->title), STR_ARG(result->id));
    if (!is_over) {
        buf_addf(text, ": found %.*s", STR_ARG(result->found));
    }
}

void identity_notice_line(const struct identity_notice *notice, struct buf *text)
{
    buf_addf(text, "outpost %.*s: ", STR_ARG(notice->hostname));
    if (notice->is_test) {
        buf_add_c(text, "this is a test: the alert route works");
    } else if (notice->count == 0) {
        buf_addf(text, "%u problems", (unsigned)notice->open_count);
    } else {
        add_item_line(&notice->item[0], text);
        if (notice->count > 1) {
            buf_addf(text, "; and %u more", (unsigned)notice->count - 1);
        }
    }
}

static void add_item_text(const struct identity_notice_item *item, struct buf *text)
{
    const struct identity_result *result = &item->result;
    struct str rest = result->mend, line;
    char since[TIME_TEXT_CAP];
    size_t len = time_rfc3339(item->since, since);
    add_item_line(item, text);
    buf_addf(text, "\n  since %.*s%s\n", (int)len, since,
            item->kind == IDENTITY_NOTICE_AGAIN ? ", still" : "");
    if (item->kind == IDENTITY_NOTICE_OVER) {
        return;
    }
    if (result->expected.len > 0) {
        buf_addf(text, "  expected %.*s\n", STR_ARG(result->expected));
    }
    if (result->detail.len > 0) {
        buf_addf(text, "  why %.*s\n", STR_ARG(result->detail));
    }
    while (str_cut(&rest, '\n', &line)) {
        buf_addf(text, "  mend by %.*s\n", STR_ARG(line));
    }
}

void identity_notice_text(const struct identity_notice *notice, struct buf *text)
{
    if (notice->count == 0) {
        identity_notice_line(notice, text);
        buf_add_char(text, '\n');
        return;
    }
    for (uint32_t i = 0; i < notice->count; i++) {
        add_item_text(&notice->item[i], text);
    }
    buf_addf(text, "%.*s: %u problems last. outpost alert list shows them all.\n",
            STR_ARG(notice->hostname), (unsigned)notice->open_count);
}

/* ---- JSON ---- */

static json_t *item_json(const struct identity_notice_item *item)
{
    json_t *json = watch_result_json(&item->result);
    json_object_set_new(json, "kind", json_string(kind_name(item->kind)));
    json_object_set_new(json, "key", watch_text(item->key));
    json_object_set_new(json, "since", watch_time_text(item->since));
    json_object_set_new(json, "until", watch_time_text(item->until));
    return json;
}

static json_t *own_json(const struct identity_notice *notice)
{
    json_t *items = json_array();
    struct buf line;
    buf_init(&line, 65536);
    identity_notice_line(notice, &line);
    for (uint32_t i = 0; i < notice->count; i++) {
        json_array_append_new(items, item_json(&notice->item[i]));
    }
    json_t *json = json_pack("{s:i, s:o, s:o, s:b, s:o, s:i, s:o}", "version", 1, "hostname",
            watch_text(notice->hostname), "at", watch_time_text(notice->now), "test",
            (int)notice->is_test, "summary", watch_text(buf_str(&line)), "open",
            (int)notice->open_count, "items", items);
    buf_done(&line);
    return json;
}

static struct str alias_of(const struct identity_notice *notice, char alias[ALIAS_CAP])
{
    struct str key = notice->count > 0 ? notice->item[0].key : STR("test");
    uint64_t mark = str_hash(key, str_hash(notice->hostname, 0));
    return str_of(alias, fmt(alias, ALIAS_CAP, "outpost-%016llx", (unsigned long long)mark));
}

static json_t *text_json(const struct identity_notice *notice,
        void (*write)(const struct identity_notice *, struct buf *), size_t bytes_max)
{
    struct buf text;
    buf_init(&text, 1 << 20);
    write(notice, &text);
    json_t *json = watch_text(str_sub(buf_str(&text), 0, bytes_max));
    buf_done(&text);
    return json;
}

static bool is_over(const struct identity_notice *notice)
{
    return notice->count > 0 && notice->item[0].kind == IDENTITY_NOTICE_OVER;
}

/* PagerDuty, "Send an alert event": Events API v2. */
static json_t *pagerduty_json(const struct identity_notice *notice)
{
    char alias[ALIAS_CAP];
    struct str dedup = alias_of(notice, alias);
    bool is_warn = notice->count > 0 && notice->item[0].result.status == IDENTITY_WARN;
    json_t *payload = json_pack("{s:o, s:o, s:s, s:o, s:s, s:o, s:o}", "summary",
            text_json(notice, identity_notice_line, SUMMARY_BYTES_MAX), "source",
            watch_text(notice->hostname), "severity",
            notice->is_test ? "info"
            : is_warn       ? "warning"
                            : "critical",
            "timestamp", watch_time_text(notice->now), "component", "mail", "class",
            watch_text(notice->count > 0 ? notice->item[0].result.id : STR("test")),
            "custom_details", notice->count > 0 ? item_json(&notice->item[0]) : json_object());
    return json_pack("{s:o, s:s, s:o, s:s, s:o}", "routing_key", watch_text(notice->route->key),
            "event_action", is_over(notice) ? "resolve" : "trigger", "dedup_key", watch_text(dedup),
            "client", "outpost", "payload", payload);
}

static json_t *opsgenie_json(const struct identity_notice *notice)
{
    char alias[ALIAS_CAP];
    struct str name = alias_of(notice, alias);
    if (is_over(notice)) {
        return json_pack("{s:s, s:o}", "source", "outpost", "note",
                text_json(notice, identity_notice_line, SUMMARY_BYTES_MAX));
    }
    bool is_warn = notice->count > 0 && notice->item[0].result.status == IDENTITY_WARN;
    return json_pack("{s:o, s:o, s:o, s:s, s:o, s:s, s:[s, s]}", "message",
            text_json(notice, identity_notice_line, MESSAGE_BYTES_MAX), "alias", watch_text(name),
            "description", text_json(notice, identity_notice_text, 15000), "source", "outpost",
            "entity", watch_text(notice->hostname), "priority",
            notice->is_test ? "P5"
            : is_warn       ? "P3"
                            : "P1",
            "tags", "outpost", "mail");
}

static json_t *slack_json(const struct identity_notice *notice)
{
    return json_pack("{s:o}", "text", text_json(notice, identity_notice_text, 30000));
}

static void add_json(json_t *json, struct buf *text)
{
    char *dump = json_dumps(json, JSON_COMPACT | JSON_ENSURE_ASCII);
    if (dump == NULL) {
        text->err = E_NOMEM;
    } else {
        buf_add_c(text, dump);
    }
    free(dump);
    json_decref(json);
}

void identity_notice_json(const struct identity_notice *notice, struct buf *text)
{
    add_json(own_json(notice), text);
}

void identity_notice_body(const struct identity_notice *notice, struct buf *text)
{
    switch (notice->route->format) {
    case CONFIG_ALERT_JSON:
        identity_notice_json(notice, text);
        break;
    case CONFIG_ALERT_PAGERDUTY:
        add_json(pagerduty_json(notice), text);
        break;
    case CONFIG_ALERT_OPSGENIE:
        add_json(opsgenie_json(notice), text);
        break;
    case CONFIG_ALERT_SLACK:
        add_json(slack_json(notice), text);
        break;
    case CONFIG_ALERT_HEALTHCHECKS:
        identity_notice_text(notice, text);
        break;
    }
}

void identity_notice_url(const struct identity_notice *notice, struct buf *text)
{
    const struct config_alert *route = notice->route;
    char alias[ALIAS_CAP];
    switch (route->format) {
    case CONFIG_ALERT_PAGERDUTY:
        buf_add(text,
                route->url.len > 0 ? route->url : STR("https://events.pagerduty.com/v2/enqueue"));
        break;
    case CONFIG_ALERT_OPSGENIE:
        buf_add(text, route->url.len > 0 ? route->url : STR("https://api.opsgenie.com/v2/alerts"));
        if (is_over(notice)) {
            buf_addf(text, "/%.*s/close?identifierType=alias", STR_ARG(alias_of(notice, alias)));
        }
        break;
    case CONFIG_ALERT_HEALTHCHECKS:
        buf_add(text, route->url.len > 0 ? route->url : route->key);
        buf_add_c(text, notice->open_count > 0 ? "/fail" : "");
        break;
    case CONFIG_ALERT_JSON:
    case CONFIG_ALERT_SLACK: /* an address may be a secret, then it is the key */
        buf_add(text, route->url.len > 0 ? route->url : route->key);
        break;
    }
}

/* ---- Nagios, mail ---- */

/* Nagios Core, external command PROCESS_SERVICE_CHECK_RESULT. */
void identity_notice_nagios(const struct identity_notice *notice, struct buf *text)
{
    const struct config_alert *route = notice->route;
    struct buf line;
    int code = notice->is_test || notice->open_count == 0 ? 0
               : notice->worst == IDENTITY_FAIL           ? 2
               : notice->worst == IDENTITY_ERROR          ? 3
                                                          : 1;
    buf_init(&line, 65536);
    identity_notice_line(notice, &line);
    struct str host = route->nagios_host.len > 0 ? route->nagios_host : notice->hostname;
    buf_addf(text, "[%lld] PROCESS_SERVICE_CHECK_RESULT;%.*s;%.*s;%d;",
            (long long)(notice->now.ms / 1000), STR_ARG(host), STR_ARG(route->nagios_service),
            code);
    for (size_t i = 0; i < line.len && i < 3000; i++) { /* one line, one field */
        char c = line.ptr[i];
        buf_add_char(text, c == '\n' || c == ';' || c == '|' ? ' ' : c);
    }
    buf_add_char(text, '\n');
    buf_done(&line);
}

static void add_crlf(struct str text, struct buf *out)
{
    struct str line;
    while (str_cut(&text, '\n', &line)) {
        for (size_t i = 0; i < line.len; i += 900) { /* RFC 5322 2.1.1: 998 at most */
            buf_add(out, str_sub(line, i, 900));
            buf_add_c(out, "\r\n");
        }
        buf_add_c(out, line.len == 0 ? "\r\n" : "");
    }
}

void identity_notice_mail(const struct identity_notice *notice, struct buf *text)
{
    const struct config_alert *route = notice->route;
    char date[TIME_TEXT_CAP], alias[ALIAS_CAP];
    struct buf words;
    size_t date_len = time_rfc5322(notice->now, date);
    buf_init(&words, 1 << 20);
    identity_notice_line(notice, &words);
    if (route->from.len > 0) {
        buf_addf(text, "From: <%.*s>\r\n", STR_ARG(route->from));
    } else {
        buf_addf(text, "From: <outpost@%.*s>\r\n", STR_ARG(notice->hostname));
    }
    buf_addf(text, "To: <%.*s>\r\nDate: %.*s\r\nMessage-ID: <%.*s.%lld@%.*s>\r\n",
            STR_ARG(route->to), (int)date_len, date, STR_ARG(alias_of(notice, alias)),
            (long long)notice->now.ms, STR_ARG(notice->hostname));
    buf_addf(text, "Subject: %.*s\r\n", STR_ARG(str_sub(buf_str(&words), 0, 200)));
    buf_add_c(text, "Auto-Submitted: auto-generated\r\nMIME-Version: 1.0\r\n"
                    "Content-Type: text/plain; charset=us-ascii\r\n\r\n");
    buf_clear(&words);
    identity_notice_text(notice, &words);
    add_crlf(buf_str(&words), text);
    buf_done(&words);
}
