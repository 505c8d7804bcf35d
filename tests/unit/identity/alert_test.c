/* SPDX-License-Identifier: Apache-2.0
 *
 * alert_test.c - who is told when: groups, repetitions with back-off, ends, silence, routes that
 * fail; and the bodies that services take. On a clock of the test's own.
 */
#include "core/buf.h"
#include "core/str.h"
#include "identity/identity.h"
#include "tests/test.h"

#include <jansson.h>

struct rig {
    struct identity_alerts *alerts;
    struct config config;
    struct config_alert alert[2];
    struct identity_notice notice;
    int64_t ms;
};
#define HOUR_MS INT64_C(3600000)

static void open_rig(struct rig *rig)
{
    memset(rig, 0, sizeof *rig);
    rig->ms = 1000;
    rig->alert[0] = (struct config_alert){ .name = STR("duty"),
        .url = STR("http://hook.example/x"),
        .key = STR("secret"),
        .min_severity = CONFIG_ALERT_FAIL,
        .repeat_ms = 4 * HOUR_MS };
    rig->config.hostname = STR("mail.example");
    rig->config.alert = rig->alert;
    rig->config.alert_count = 1;
    rig->config.alert_group_ms = 30000;
    REQUIRE_OK(identity_alerts_open(&rig->alerts));
    identity_alerts_config(rig->alerts, &rig->config);
}

static struct wall wall(const struct rig *rig)
{
    return (struct wall){ 1790000000000 + rig->ms };
}

static struct mono mono(const struct rig *rig)
{
    return (struct mono){ rig->ms };
}

static struct identity_result problem(const char *id, enum identity_status status)
{
    return (struct identity_result){ .id = str_from_c(id),
        .domain = STR("shop.example"),
        .source = STR("a"),
        .part = STR(""),
        .status = status,
        .title = STR("SPF passes for this source"),
        .found = STR("fail"),
        .expected = STR("pass"),
        .mend = STR("shop.example. IN TXT \"v=spf1 -all\"\n"),
        .detail = STR("") };
}

static void begins(struct rig *rig, const char *id, enum identity_status status)
{
    struct identity_result result = problem(id, status);
    REQUIRE_OK(identity_alerts_begin(rig->alerts, &result, wall(rig), mono(rig)));
}

static void ends(struct rig *rig, const char *id)
{
    struct identity_result result = problem(id, IDENTITY_PASS);
    identity_alerts_end(rig->alerts, &result, wall(rig), mono(rig));
}

static bool is_due(struct rig *rig)
{
    return identity_alerts_take(rig->alerts, 0, wall(rig), mono(rig), &rig->notice);
}

static void sent(struct rig *rig, bool is_good)
{
    identity_alerts_sent(rig->alerts, 0, is_good, STR("refused"), mono(rig));
}

TEST(problems_of_one_window_are_told_together_and_their_end_too)
{
    struct rig rig;
    open_rig(&rig);
    begins(&rig, "spf.pass", IDENTITY_FAIL);
    rig.ms += 20000;
    begins(&rig, "dkim.record", IDENTITY_FAIL);
    CHECK(!is_due(&rig));
    rig.ms += 10000;
    CHECK(identity_alerts_due(rig.alerts, wall(&rig), mono(&rig)).ms == rig.ms);
    CHECK(is_due(&rig) && rig.notice.count == 2 && rig.notice.open_count == 2);
    CHECK(!is_due(&rig), "one notice of a route at a time");
    sent(&rig, true);
    CHECK(!is_due(&rig));
    ends(&rig, "spf.pass");
    rig.ms += 30000;
    CHECK(is_due(&rig) && rig.notice.count == 1 && rig.notice.item[0].kind == IDENTITY_NOTICE_OVER);
    sent(&rig, true);
    CHECK(!is_due(&rig));
    identity_alerts_close(rig.alerts);
}

TEST(what_lasts_is_told_again_after_twice_as_long_each_time_up_to_a_day)
{
    struct rig rig;
    static const int64_t waits_h[] = { 4, 8, 16, 24, 24 };
    open_rig(&rig);
    begins(&rig, "spf.pass", IDENTITY_FAIL);
    rig.ms += 30000;
    CHECK(is_due(&rig));
    sent(&rig, true);
    for (size_t i = 0; i < COUNT_OF(waits_h); i++) {
        rig.ms += waits_h[i] * HOUR_MS - 1;
        CHECK(!is_due(&rig), "too early: %zu", i);
        rig.ms += 1;
        CHECK(is_due(&rig) && rig.notice.item[0].kind == IDENTITY_NOTICE_AGAIN, "late: %zu", i);
        sent(&rig, true);
    }
    identity_alerts_close(rig.alerts);
}

TEST(a_route_that_fails_is_tried_again_with_back_off_and_tells_what_is_so_by_then)
{
    struct rig rig;
    open_rig(&rig);
    begins(&rig, "spf.pass", IDENTITY_FAIL);
    rig.ms += 30000;
    CHECK(is_due(&rig));
    sent(&rig, false);
    rig.ms += IDENTITY_SEND_RETRY_MS - 1;
    CHECK(!is_due(&rig));
    rig.ms += 1;
    CHECK(is_due(&rig));
    sent(&rig, false);
    rig.ms += IDENTITY_SEND_RETRY_MS;
    CHECK(!is_due(&rig), "the second wait is twice as long");
    rig.ms += IDENTITY_SEND_RETRY_MS;
    begins(&rig, "dkim.record", IDENTITY_FAIL);
    ends(&rig, "spf.pass"); /* nobody ever heard of it */
    rig.ms += 30000;
    CHECK(is_due(&rig) && rig.notice.count == 1);
    CHECK_STR(rig.notice.item[0].result.id, STR("dkim.record"));
    sent(&rig, true);
    identity_alerts_close(rig.alerts);
}

TEST(while_muted_nobody_is_told_and_what_lasts_is_told_afterwards)
{
    struct rig rig;
    open_rig(&rig);
    identity_alerts_mute(
            rig.alerts, (struct wall){ wall(&rig).ms + 2 * HOUR_MS }, STR("moving house"));
    begins(&rig, "spf.pass", IDENTITY_FAIL);
    begins(&rig, "dkim.record", IDENTITY_FAIL);
    rig.ms += HOUR_MS;
    CHECK(!is_due(&rig));
    ends(&rig, "spf.pass");
    CHECK(identity_alerts_test(rig.alerts, STR("duty")) && is_due(&rig) && rig.notice.is_test);
    sent(&rig, true);
    rig.ms += HOUR_MS;
    CHECK(is_due(&rig) && rig.notice.count == 1);
    CHECK_STR(rig.notice.item[0].result.id, STR("dkim.record"));
    sent(&rig, true);
    CHECK(!identity_alerts_test(rig.alerts, STR("nobody")));
    identity_alerts_close(rig.alerts);
}

TEST(warnings_and_silent_lists_are_for_routes_that_want_them)
{
    struct rig rig;
    open_rig(&rig);
    begins(&rig, "dmarc.policy", IDENTITY_WARN);
    begins(&rig, "list.listed", IDENTITY_ERROR);
    rig.ms += 30000;
    CHECK(!is_due(&rig));
    rig.alert[0].min_severity = CONFIG_ALERT_WARN;
    identity_alerts_config(rig.alerts, &rig.config);
    CHECK(is_due(&rig) && rig.notice.count == 2);
    sent(&rig, true);
    identity_alerts_close(rig.alerts);
}

TEST(a_failure_that_becomes_a_warning_is_over_for_who_hears_of_failures_only)
{
    struct rig rig;
    open_rig(&rig);
    begins(&rig, "spf.pass", IDENTITY_FAIL);
    rig.ms += 30000;
    CHECK(is_due(&rig));
    sent(&rig, true);
    begins(&rig, "spf.pass", IDENTITY_WARN);
    rig.ms += 30000;
    CHECK(is_due(&rig) && rig.notice.count == 1 && rig.notice.item[0].kind == IDENTITY_NOTICE_OVER);
    sent(&rig, true);
    CHECK(!is_due(&rig));
    ends(&rig, "spf.pass");
    rig.ms += 30000;
    CHECK(!is_due(&rig));
    identity_alerts_close(rig.alerts);
}

TEST(problems_over_the_maximum_are_counted_and_not_kept)
{
    struct rig rig;
    char id[40];
    open_rig(&rig);
    for (uint32_t i = 0; i < IDENTITY_PROBLEM_COUNT_MAX; i++) {
        fmt(id, sizeof id, "spf.%u", i);
        begins(&rig, id, IDENTITY_FAIL);
    }
    struct identity_result more = problem("spf.more", IDENTITY_FAIL);
    CHECK_ERR(identity_alerts_begin(rig.alerts, &more, wall(&rig), mono(&rig)), E_FULL);
    rig.ms += 30000;
    CHECK(is_due(&rig) && rig.notice.count == IDENTITY_NOTICE_COUNT_MAX);
    sent(&rig, true);
    json_t *json = identity_alerts_json(rig.alerts, wall(&rig));
    CHECK_U64(json_integer_value(json_object_get(json, "left_out")), 1);
    json_decref(json);
    identity_alerts_close(rig.alerts);
}

TEST(who_was_told_is_kept_over_a_restart)
{
    struct rig rig;
    open_rig(&rig);
    begins(&rig, "spf.pass", IDENTITY_FAIL);
    rig.ms += 30000;
    CHECK(is_due(&rig));
    sent(&rig, true);
    json_t *kept = identity_alerts_state(rig.alerts);
    identity_alerts_close(rig.alerts);
    REQUIRE_OK(identity_alerts_open(&rig.alerts));
    identity_alerts_config(rig.alerts, &rig.config);
    identity_alerts_restore(rig.alerts, kept, mono(&rig));
    json_decref(kept);
    rig.ms += 60000;
    CHECK(!is_due(&rig));
    ends(&rig, "spf.pass");
    rig.ms += 30000;
    CHECK(is_due(&rig) && rig.notice.item[0].kind == IDENTITY_NOTICE_OVER);
    sent(&rig, true);
    identity_alerts_close(rig.alerts);
}

/* ---- bodies ---- */

static json_t *body_of(struct rig *rig, enum config_alert_format format)
{
    struct buf text;
    rig->alert[0].format = format;
    buf_init(&text, 1 << 20);
    identity_notice_body(&rig->notice, &text);
    json_t *json = json_loadb(text.ptr, text.len, 0, NULL);
    buf_done(&text);
    CHECK(json != NULL);
    return json;
}

static const char *text_at(json_t *json, const char *name)
{
    const char *text = json_string_value(json_object_get(json, name));
    return text != NULL ? text : "";
}

TEST(each_service_gets_its_own_form)
{
    struct rig rig;
    struct buf url;
    open_rig(&rig);
    rig.alert[0].format = CONFIG_ALERT_PAGERDUTY;
    begins(&rig, "spf.pass", IDENTITY_FAIL);
    begins(&rig, "dkim.record", IDENTITY_FAIL);
    rig.ms += 30000;
    CHECK(is_due(&rig) && rig.notice.count == 1, "one incident a notice");
    json_t *pager = body_of(&rig, CONFIG_ALERT_PAGERDUTY);
    CHECK(strcmp(text_at(pager, "routing_key"), "secret") == 0);
    CHECK(strcmp(text_at(pager, "event_action"), "trigger") == 0);
    CHECK(strcmp(text_at(json_object_get(pager, "payload"), "severity"), "critical") == 0);
    CHECK(strncmp(text_at(pager, "dedup_key"), "outpost-", 8) == 0);
    json_t *genie = body_of(&rig, CONFIG_ALERT_OPSGENIE);
    CHECK(strlen(text_at(genie, "message")) <= 130 &&
            strcmp(text_at(genie, "priority"), "P1") == 0);
    CHECK(strcmp(text_at(genie, "alias"), text_at(pager, "dedup_key")) == 0);
    json_t *slack = body_of(&rig, CONFIG_ALERT_SLACK);
    CHECK(strstr(text_at(slack, "text"), "mend by shop.example. IN TXT") != NULL);
    json_t *own = body_of(&rig, CONFIG_ALERT_JSON);
    CHECK_U64(json_array_size(json_object_get(own, "items")), 1);
    json_decref(own);
    json_decref(slack);
    json_decref(genie);
    json_decref(pager);

    buf_init(&url, 1000);
    rig.alert[0].format = CONFIG_ALERT_HEALTHCHECKS;
    identity_notice_url(&rig.notice, &url);
    CHECK_STR(buf_str(&url), STR("http://hook.example/x/fail"));
    buf_clear(&url);
    rig.alert[0].format = CONFIG_ALERT_OPSGENIE;
    rig.alert[0].url = STR("");
    rig.notice.item[0].kind = IDENTITY_NOTICE_OVER;
    identity_notice_url(&rig.notice, &url);
    CHECK(str_starts(buf_str(&url), STR("https://api.opsgenie.com/v2/alerts/outpost-")));
    CHECK(str_ends_nocase(buf_str(&url), STR("/close?identifierType=alias")));
    json_t *over = body_of(&rig, CONFIG_ALERT_PAGERDUTY);
    CHECK(strcmp(text_at(over, "event_action"), "resolve") == 0);
    json_decref(over);
    buf_done(&url);
    identity_alerts_close(rig.alerts);
}

TEST(a_line_for_nagios_has_one_line_and_a_mail_has_its_header)
{
    struct rig rig;
    struct buf text;
    open_rig(&rig);
    rig.alert[0].nagios_service = STR("outpost");
    rig.alert[0].to = STR("duty@elsewhere.example");
    begins(&rig, "spf.pass", IDENTITY_FAIL);
    rig.ms += 30000;
    CHECK(is_due(&rig));
    rig.notice.item[0].result.found = STR("a;b|c\nd");
    buf_init(&text, 1 << 20);
    identity_notice_nagios(&rig.notice, &text);
    CHECK(str_find(buf_str(&text), STR(";mail.example;outpost;2;outpost mail.example: FAIL")) <
            text.len);
    CHECK_U64(str_index(buf_str(&text), '\n'), text.len - 1);
    CHECK(str_find(buf_str(&text), STR("a b c d")) < text.len);
    buf_clear(&text);
    identity_notice_mail(&rig.notice, &text);
    CHECK(str_starts(buf_str(&text), STR("From: <outpost@mail.example>\r\nTo: <duty@")));
    CHECK(str_find(buf_str(&text), STR("\r\n\r\nFAIL shop.example, source a")) < text.len);
    buf_done(&text);
    identity_alerts_close(rig.alerts);
}

TEST(routes_that_want_to_hear_that_we_live_are_pinged)
{
    struct rig rig;
    open_rig(&rig);
    identity_alerts_ping(rig.alerts, mono(&rig));
    CHECK(!is_due(&rig), "a plain webhook is not");
    rig.alert[0].format = CONFIG_ALERT_HEALTHCHECKS;
    identity_alerts_ping(rig.alerts, mono(&rig));
    CHECK(is_due(&rig) && rig.notice.is_ping && rig.notice.open_count == 0);
    sent(&rig, true);
    CHECK(!is_due(&rig));
    identity_alerts_mute(rig.alerts, (struct wall){ wall(&rig).ms + HOUR_MS }, STR(""));
    begins(&rig, "spf.pass", IDENTITY_FAIL);
    rig.ms += 30000;
    identity_alerts_ping(rig.alerts, mono(&rig));
    CHECK(is_due(&rig) && rig.notice.is_ping && rig.notice.open_count == 0, "muted: all is well");
    sent(&rig, true);
    identity_alerts_close(rig.alerts);
}
