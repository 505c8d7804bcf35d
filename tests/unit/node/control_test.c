/* SPDX-License-Identifier: Apache-2.0
 *
 * control_test.c - the control API as docs/api.md tells it: every route, good and bad questions.
 * Method: a simulated node is asked; actions are seen in the queue, in the story and after a crash.
 */
#include "core/b64.h"
#include "core/str.h"
#include "core/time.h"
#include "node/node_priv.h"
#include "tests/test.h"
#include "tests/unit/node/control_rig.h"

#include <stdlib.h>

enum { SETTLE_MS = 10000, HOUR_MS = 3600000 };

static void settle(struct control_rig *rig)
{
    world_run_for(rig->world, SETTLE_MS);
}

/* ---- routes -------------------------------------------------------------------------------------
 */

static const struct {
    const char *method, *path, *query, *body;
    uint16_t status;
    const char *says;
} questions[] = {
    { "GET", "/healthz", "", "", 200, "\"status\":\"ready\"" },
    { "GET", "/readyz", "", "", 200, "\"status\":\"ready\"" },
    { "GET", "/v1/stats", "", "", 200, "\"accepted_recipients\":0" },
    { "GET", "/v1/audit", "", "", 200, "\"balanced\":true" },
    { "GET", "/v1/config", "", "", 200, "\"hostname\": \"mail.sender.example\"" },
    { "GET", "/v1/queue", "", "", 200, "\"entries\":[]" },
    { "GET", "/v1/refusals", "", "", 200, "[" },
    { "GET", "/v1/refusals", "count=3", "", 200, "[" },
    { "GET", "/v1/sandbox", "", "", 409, "no sandbox" },
    { "GET", "/v1/sandbox/000001.eml", "", "", 404, "has no message" },
    { "POST", "/v1/reload", "", "", 409, "no configuration file" },
    { "POST", "/v1/addresses/check", "", "{\"address\":\"a@gmal.com\",\"offline\":true}", 200,
            "\"suggestion\":\"a@gmail.com\"" },
    { "POST", "/v1/addresses/check", "", "", 400, "JSON object" },
    { "POST", "/v1/addresses/check", "", "{\"address\":[]}", 400, "list of 1 to 100" },
    { "POST", "/v1/addresses/check", "", "{\"address\":[1]}", 400, "list of 1 to 100" },
    { "POST", "/v1/addresses/check", "", "{\"address\":\"a\",\"x\":1}", 400, "no \\\"x\\\"" },
    { "POST", "/v1/addresses/check", "", "{\"address\":\"a\",\"offline\":1}", 400,
            "true or false" },
    /* what is not there, and what is there for another method */
    { "GET", "/", "", "", 404, "there is no /" },
    { "GET", "", "", "", 404, "there is no" },
    { "GET", "/v1", "", "", 404, "there is no" },
    { "GET", "/v2/stats", "", "", 404, "there is no /v2/stats" },
    { "GET", "/v1/stats/", "", "", 404, "there is no" },
    { "GET", "/v1/messages/", "", "", 404, "there is no" },
    { "GET", "/v1/messages/a/b", "", "", 404, "there is no" },
    { "POST", "/v1/stats", "", "", 405, "not for POST" },
    { "GET", "/v1/domains", "", "", 409, "watches nothing" },
    { "GET", "/v1/domains", "x=1", "", 400, "no argument" },
    { "GET", "/v1/sources", "", "", 409, "watches nothing" },
    { "GET", "/v1/domains/shop.example/checks", "", "", 409, "watches nothing" },
    { "GET", "/v1/domains/shop.example/checks", "fresh=2", "", 400, "fresh is to be" },
    { "GET", "/v1/domains/shop.example", "", "", 404, "there is no" },
    { "GET", "/v1/domains//checks", "", "", 404, "there is no" },
    { "GET", "/v1/domains/checks", "", "", 404, "there is no" },
    { "GET", "/v1/domains/a/b/checks", "", "", 404, "there is no" },
    { "GET", "/v1/checks/events", "count=0", "", 400, "count is to be" },
    { "GET", "/v1/checks/events", "count=501", "", 400, "count is to be" },
    { "GET", "/v1/alerts", "", "", 409, "watches nothing" },
    { "GET", "/v1/alerts/mute", "", "", 405, "not for GET" },
    { "POST", "/v1/alerts/mute", "", "{\"for\":\"soon\"}", 400, "as \\\"2h" },
    { "POST", "/v1/alerts/mute", "", "{\"four\":\"2h\"}", 400, "there is no" },
    { "POST", "/v1/alerts/mute", "", "{\"for\":\"2h\"}", 409, "watches nothing" },
    { "POST", "/v1/alerts/test", "", "{\"name\":\"duty\"}", 409, "watches nothing" },
    { "GET", "/v1/checklist", "stream=none", "", 404, "there is no stream" },
    { "GET", "/v1/checklist", "stream=bulk", "", 409, "watches nothing" },
    { "POST", "/v1/checklist/ticks", "", "{\"domain\":\"a\",\"state\":\"perhaps\"}", 400, "state" },
    { "GET", "/v1/reload", "", "", 405, "not for GET" },
    { "DELETE", "/v1/queue", "", "", 405, "not for DELETE" },
    { "HEAD", "/v1/stats", "", "", 405, "not for HEAD" },
    { "GET", "/v1/queue/actions", "", "", 405, "not for GET" },
    { "PUT", "/v1/messages/01ARZ3NDEKTSV4RRFFQ69G5FAV", "", "", 405, "not for PUT" },
    /* messages */
    { "GET", "/v1/messages/01ARZ3NDEKTSV4RRFFQ69G5FAV", "", "", 404, "nothing is known" },
    { "GET", "/v1/messages/%00%ff%41", "", "", 404, "nothing is known" },
    { "GET", "/v1/messages", "", "", 400, "one of id, tag" },
    { "GET", "/v1/messages", "tag=a&recipient=b%40c.example", "", 400, "one of id, tag" },
    { "GET", "/v1/messages", "tag=none", "", 404, "nothing is known" },
    { "GET", "/v1/messages", "recipient=x%40y.example", "", 404, "nothing is known" },
    { "GET", "/v1/messages", "message-id=%3Ca%40b%3E", "", 404, "nothing is known" },
    { "GET", "/v1/messages", "tag=a&count=0", "", 400, "count is a number" },
    { "GET", "/v1/messages", "tag=a&count=1001", "", 400, "count is a number" },
    { "GET", "/v1/messages", "tag=a&count=-1", "", 400, "count is a number" },
    { "GET", "/v1/messages", "tagg=a", "", 400, "no argument \\\"tagg\\\"" },
    { "GET", "/v1/messages", "tag=", "", 400, "tag is empty" },
    { "GET", "/v1/refusals", "count=x", "", 400, "count is a number" },
    /* the queue's filters */
    { "GET", "/v1/queue", "count=10000", "", 200, "\"after\":null" },
    { "GET", "/v1/queue", "count=0", "", 400, "count is a number" },
    { "GET", "/v1/queue", "count=10001", "", 400, "count is a number" },
    { "GET", "/v1/queue", "count=99999999999999999999", "", 400, "count is a number" },
    { "GET", "/v1/queue", "after=x", "", 400, "after is what" },
    { "GET", "/v1/queue", "after=9223372036854775807", "", 200, "\"entries\":[]" },
    { "GET", "/v1/queue", "age=5", "", 400, "age is a time" },
    { "GET", "/v1/queue", "age=0s", "", 400, "age is a time" },
    { "GET", "/v1/queue", "age=5m", "", 200, "\"entries\":[]" },
    { "GET", "/v1/queue", "state=asleep", "", 400, "state is one of queued" },
    { "GET", "/v1/queue", "state=in_doubt", "", 200, "\"entries\":[]" },
    { "GET", "/v1/queue", "recipient=", "", 400, "recipient is empty" },
    { "GET", "/v1/queue", "recipeint=a", "", 400, "no argument \\\"recipeint\\\"" },
    { "GET", "/v1/queue", "domain", "", 400, "domain is empty" },
    { "GET", "/v1/queue", "domain=b%C3%BCcher.example", "", 200, "\"entries\":[]" },
    { "GET", "/v1/queue", "domain=%00%01..", "", 200, "\"entries\":[]" },
    { "GET", "/v1/queue", "id=123", "", 400, "no message id" },
    { "GET", "/v1/queue", "id=01ARZ3NDEKTSV4RRFFQ69G5FAV", "", 404, "no message" },
    { "GET", "/v1/explain/123", "", "", 400, "no message id" },
    { "GET", "/v1/explain/01ARZ3NDEKTSV4RRFFQ69G5FAV", "", "", 404, "no message" },
    { "GET", "/v1/raw/not-an-id", "", "", 400, "no message id" },
    { "GET", "/v1/raw/01ARZ3NDEKTSV4RRFFQ69G5FAV", "", "", 404, "no message" },
    /* actions */
    { "POST", "/v1/queue/actions", "", "", 400, "JSON object" },
    { "POST", "/v1/queue/actions", "", "{", 400, "no JSON" },
    { "POST", "/v1/queue/actions", "", "\xff\xfe", 400, "no JSON" },
    { "POST", "/v1/queue/actions", "", "[]", 400, "JSON object" },
    { "POST", "/v1/queue/actions", "", "{\"action\":\"hold\",\"action\":\"cancel\",\"all\":true}",
            400, "no JSON" },
    { "POST", "/v1/queue/actions", "", "{\"all\":true}", 400, "action is one of" },
    { "POST", "/v1/queue/actions", "", "{\"action\":\"destroy\",\"all\":true}", 400,
            "action is one of" },
    { "POST", "/v1/queue/actions", "", "{\"action\":7,\"all\":true}", 400,
            "\\\"action\\\" is to be a string" },
    { "POST", "/v1/queue/actions", "", "{\"action\":\"hold\"}", 400, "name what to act on" },
    { "POST", "/v1/queue/actions", "", "{\"action\":\"hold\",\"all\":false}", 400,
            "name what to act on" },
    { "POST", "/v1/queue/actions", "", "{\"action\":\"hold\",\"all\":\"true\"}", 400,
            "true or false" },
    { "POST", "/v1/queue/actions", "", "{\"action\":\"hold\",\"all\":true}", 200,
            "\"recipients\":0" },
    { "POST", "/v1/queue/actions", "", "{\"action\":\"hold\",\"domain\":\"a.example\",\"age\":30}",
            400, "a string" },
    { "POST", "/v1/queue/actions", "",
            "{\"action\":\"hold\",\"domain\":\"a.example\",\"tga\":\"x\"}", 400, "no \\\"tga\\\"" },
    { "POST", "/v1/queue/actions", "", "{\"action\":\"cancel\",\"stream\":\"bulk\",\"id\":\"\"}",
            400, "\\\"id\\\" is empty" },
    { "POST", "/v1/queue/actions", "", "{\"action\":\"hold\",\"tag\":\"x\"}", 200,
            "\"recipients\":0" },
    { "POST", "/v1/queue/actions", "", "{\"action\":\"hold\",\"state\":\"odd\"}", 400,
            "state is one of" },
    { "POST", "/v1/queue/actions", "", "{\"action\":\"hold\",\"age\":\"soon\"}", 400,
            "age is a time" },
    { "POST", "/v1/queue/actions", "", "{\"action\":\"hold\",\"id\":\"x\"}", 400, "no message id" },
    { "POST", "/v1/queue/actions", "",
            "{\"action\":\"hold\",\"id\":\"01ARZ3NDEKTSV4RRFFQ69G5FAV\"}", 404, "no message" },
};

TEST(every_route_answers_good_and_bad_questions_with_json_and_the_right_status)
{
    struct control_rig rig;
    rig_open(&rig, 1, "");
    settle(&rig);
    for (size_t i = 0; i < COUNT_OF(questions); i++) {
        buf_clear(&rig.reply);
        uint16_t status = world_ask(rig.world, questions[i].method, questions[i].path,
                questions[i].query, questions[i].body, &rig.reply);
        json_t *json = json_loadb(rig.reply.ptr, rig.reply.len, 0, NULL);
        CHECK(json != NULL, "%s %s?%s: %.*s", questions[i].method, questions[i].path,
                questions[i].query, STR_ARG(buf_str(&rig.reply)));
        json_decref(json);
        CHECK(status == questions[i].status, "%s %s?%s %s: expected %u, got %u %.*s",
                questions[i].method, questions[i].path, questions[i].query, questions[i].body,
                questions[i].status, status, STR_ARG(buf_str(&rig.reply)));
        CHECK(rig_says(&rig, questions[i].says), "%s %s?%s: expected \"%s\", got %.*s",
                questions[i].method, questions[i].path, questions[i].query, questions[i].says,
                STR_ARG(buf_str(&rig.reply)));
    }
    rig_close(&rig);
}

TEST(json_nested_a_million_deep_is_refused)
{
    struct control_rig rig;
    char *body = mem_new((1 << 20) + 1);
    CHECK(body != NULL);
    memset(body, '[', 1 << 20);
    rig_open(&rig, 2, "");
    CHECK_U64(rig_post(&rig, "/v1/queue/actions", body), 400);
    mem_free(body);
    rig_close(&rig);
}

/* ---- the queue ----------------------------------------------------------------------------------
 */

TEST(the_queue_is_listed_by_every_filter_and_in_pages)
{
    static const struct {
        const char *query;
        size_t count;
    } cases[] = { { "", 4 }, { "recipient=defer1%40one.example", 1 },
        { "recipient=DEFER1%40ONE.example", 1 }, { "recipient=one.example", 2 },
        { "recipient=%40one.example", 2 }, { "recipient=ne.example", 0 },
        { "domain=one.example", 2 }, { "domain=ONE.example.", 2 }, { "domain=none.example", 0 },
        { "tag=blue", 2 }, { "tag=blu", 0 }, { "stream=bulk", 1 }, { "stream=transactional", 3 },
        { "reason=4.2.1", 4 }, { "reason=5.1.1", 0 }, { "state=queued", 4 }, { "state=held", 0 },
        { "age=1s", 4 }, { "age=1d", 0 }, { "tag=blue&domain=two.example", 1 }, { "count=3", 3 } };
    struct control_rig rig;
    char first[27], id[27], query[200];
    rig_open(&rig, 3, "");
    rig_submit(&rig, &(struct rig_mail){ .to = "defer1@one.example,to@one.example", .tag = "red" },
            first);
    rig_submit(&rig,
            &(struct rig_mail){ .to = "defer2@one.example,defer3@two.example", .tag = "blue" }, id);
    rig_submit(&rig, &(struct rig_mail){ .to = "defer4@three.example", .stream = "bulk" }, id);
    settle(&rig);
    CHECK_U64(rig.received_count, 1);
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        size_t count = rig_count(&rig, cases[i].query);
        CHECK(count == cases[i].count, "%s: expected %zu, got %zu", cases[i].query, cases[i].count,
                count);
    }
    fmt(query, sizeof query, "id=%s", first);
    CHECK_U64(rig_count(&rig, query), 1);
    CHECK_STR(rig_entry(&rig, 0, "id"), str_from_c(first));
    CHECK_STR(rig_entry(&rig, 0, "recipient"), STR("defer1@one.example"));
    CHECK_STR(rig_entry(&rig, 0, "sender"), STR("app@sender.example"));
    CHECK_STR(rig_entry(&rig, 0, "tag"), STR("red"));
    CHECK_STR(rig_entry(&rig, 0, "state"), STR("queued"));

    size_t seen = 0, pages = 0;
    fmt(query, sizeof query, "count=1");
    while (query[0]) {
        seen += rig_count(&rig, query);
        pages++;
        json_t *after = json_object_get(rig.json, "after");
        fmt(query, sizeof query, json_is_string(after) ? "count=1&after=%s" : "",
                json_string_value(after));
    }
    CHECK_U64(seen, 4);
    CHECK(pages >= 4 && pages <= 5);
    rig_close(&rig);
}

TEST(actions_reach_what_they_name_and_nothing_else_and_stand_in_the_story)
{
    struct control_rig rig;
    char red[27], blue[27], body[200], path[100];
    rig_open(&rig, 4, "");
    rig_submit(&rig,
            &(struct rig_mail){ .to = "defer1@one.example,defer2@two.example", .tag = "red" }, red);
    rig_submit(&rig,
            &(struct rig_mail){ .to = "defer3@one.example", .tag = "blue", .stream = "bulk" },
            blue);
    settle(&rig);
    fmt(body, sizeof body, "{\"action\":\"hold\",\"id\":\"%s\",\"reason\":\"wrong link\"}", red);
    CHECK_U64(rig_act(&rig, body), 2);
    CHECK_U64(rig_count(&rig, "state=held"), 2);
    CHECK(rig_says(&rig, "wrong link") && rig_says(&rig, "operator"));
    CHECK_U64(rig_act(&rig, "{\"action\":\"release\",\"recipient\":\"defer1@one.example\"}"), 1);
    CHECK_U64(rig_count(&rig, "state=held"), 1);
    CHECK_STR(rig_entry(&rig, 0, "recipient"), STR("defer2@two.example"));

    /* what a crash must not undo */
    settle(&rig);
    struct why why = { 0 };
    world_crash(rig.world, WORLD_POWER_CUT);
    CHECK(world_start(rig.world, &why) == OK, "%s", why.text);
    settle(&rig);
    CHECK_U64(rig_count(&rig, "state=held"), 1);

    CHECK_U64(rig_act(&rig, "{\"action\":\"cancel\",\"tag\":\"red\",\"state\":\"held\",\"reason\":"
                            "\"too late\"}"),
            1);
    CHECK_U64(rig_act(&rig, "{\"action\":\"flush\",\"stream\":\"bulk\"}"), 1);
    settle(&rig); /* the attempt */
    CHECK_U64(rig_act(&rig, "{\"action\":\"bounce\",\"stream\":\"bulk\",\"contains\":\"451\","
                            "\"reason\":\"no use\"}"),
            1);
    settle(&rig);
    CHECK_U64(rig_count(&rig, ""), 1);
    CHECK_STR(rig_entry(&rig, 0, "recipient"), STR("defer1@one.example"));

    fmt(path, sizeof path, "/v1/messages/%s", red);
    CHECK_U64(rig_get(&rig, path, ""), 200);
    CHECK(rig_says(&rig, "too late") && rig_says(&rig, "wrong link") && rig_says(&rig, "operator"));
    CHECK(rig_says(&rig, "\"state\":\"cancelled\""));
    fmt(path, sizeof path, "/v1/messages/%s", blue);
    CHECK_U64(rig_get(&rig, path, ""), 200);
    CHECK(rig_says(&rig, "\"state\":\"bounced\"") && rig_says(&rig, "no use"));
    CHECK_U64(rig_act(&rig, "{\"action\":\"cancel\",\"all\":true}"), 1);
    settle(&rig);
    CHECK_U64(rig_count(&rig, ""), 0);
    rig_close(&rig);
}

TEST(an_action_by_address_reaches_beyond_many_pages)
{
    enum { MESSAGE_COUNT = 11, RCPT_COUNT = 1000 };
    struct control_rig rig;
    char id[27];
    rig_open(&rig, 5, "");
    rig_submit(&rig, &(struct rig_mail){ .to = "defer@other.example" }, id);
    for (int i = 0; i < MESSAGE_COUNT; i++) {
        rig_submit(&rig, &(struct rig_mail){ .to = "", .rcpt_count = RCPT_COUNT }, id);
    }
    settle(&rig);
    CHECK_U64(rig_act(&rig, "{\"action\":\"hold\",\"recipient\":\"big.example\"}"),
            MESSAGE_COUNT * RCPT_COUNT);
    world_run_for(rig.world, HOUR_MS); /* those that were being attempted are held at their end */
    CHECK_U64(rig_get(&rig, "/v1/stats", ""), 200);
    CHECK_U64(json_integer_value(json_object_get(json_object_get(rig.json, "queue"), "held")),
            MESSAGE_COUNT * RCPT_COUNT);
    CHECK_U64(rig_count(&rig, "state=queued"), 1);
    CHECK_U64(rig_act(&rig, "{\"action\":\"cancel\",\"recipient\":\"@big.example\"}"),
            MESSAGE_COUNT * RCPT_COUNT);
    settle(&rig);
    CHECK_U64(rig_count(&rig, ""), 1);
    CHECK_U64(rig_get(&rig, "/v1/audit", ""), 200);
    CHECK(rig_says(&rig, "\"balanced\":true"), "%.*s", STR_ARG(buf_str(&rig.reply)));
    rig_close(&rig);
}

TEST(explain_says_why_and_until_when)
{
    struct control_rig rig;
    char id[27], gone[27], body[100], path[100];
    rig_open(&rig, 6, "");
    rig_submit(&rig, &(struct rig_mail){ .to = "defer1@one.example" }, id);
    rig_submit(&rig, &(struct rig_mail){ .to = "to@one.example" }, gone);
    settle(&rig);
    fmt(path, sizeof path, "/v1/explain/%s", id);
    CHECK_U64(rig_get(&rig, path, ""), 200);
    CHECK(rig_says(&rig, "put off") && rig_says(&rig, "451 4.2.1 come back later") &&
            rig_says(&rig, "Try 2 is at"));
    fmt(body, sizeof body, "{\"action\":\"hold\",\"id\":\"%s\",\"reason\":\"audit\"}", id);
    CHECK_U64(rig_act(&rig, body), 1);
    CHECK_U64(rig_get(&rig, path, ""), 200);
    CHECK(rig_says(&rig, "until somebody releases it") && rig_says(&rig, "audit"));
    fmt(path, sizeof path, "/v1/explain/%s", gone);
    CHECK_U64(rig_get(&rig, path, ""), 200);
    CHECK(rig_says(&rig, "\"entries\":[]"));
    rig_close(&rig);
}

TEST(a_message_is_shown_raw_while_it_is_in_the_spool)
{
    struct control_rig rig;
    char id[27], gone[27], path[100];
    rig_open(&rig, 7, "");
    rig_submit(&rig, &(struct rig_mail){ .to = "defer1@one.example" }, id);
    rig_submit(&rig, &(struct rig_mail){ .to = "to@one.example" }, gone);
    settle(&rig);
    fmt(path, sizeof path, "/v1/raw/%s", id);
    CHECK_U64(rig_get(&rig, path, ""), 200);
    const char *text = json_string_value(json_object_get(rig.json, "content_base64"));
    struct buf raw;
    buf_init(&raw, 65536);
    REQUIRE_OK(b64_decode(&raw, str_from_c(text), false));
    CHECK(str_find(buf_str(&raw), STR("Subject: hi\r\n")) < raw.len, "%.*s",
            STR_ARG(buf_str(&raw)));
    CHECK(str_ends_nocase(buf_str(&raw), STR("\r\n\r\nHello\r\n")));
    buf_done(&raw);
    fmt(path, sizeof path, "/v1/raw/%s", gone);
    CHECK_U64(rig_get(&rig, path, ""), 404);
    CHECK(rig_says(&rig, "closed"));
    rig_close(&rig);
}

/* ---- the audit ----------------------------------------------------------------------------------
 */

static void mixed_day(struct control_rig *rig)
{
    static const char *const to[] = { "to1@a.example,defer1@b.example", "reject1@a.example",
        "to2@c.example", "defer2@c.example,reject2@c.example,to3@c.example" };
    char id[27];
    for (uint32_t i = 0; i < 60; i++) {
        rig_submit(rig,
                &(struct rig_mail){ .to = to[i % COUNT_OF(to)], .tag = i % 3 ? "day" : NULL }, id);
    }
    settle(rig);
    rig_act(rig, "{\"action\":\"hold\",\"domain\":\"b.example\"}");
    world_run_for(rig->world, HOUR_MS);
    rig_act(rig, "{\"action\":\"cancel\",\"domain\":\"c.example\",\"tag\":\"day\"}");
    rig_act(rig, "{\"action\":\"bounce\",\"state\":\"held\",\"tag\":\"day\"}");
    world_run_for(rig->world, HOUR_MS);
}

static void check_balanced(struct control_rig *rig, bool is_balanced)
{
    CHECK_U64(rig_get(rig, "/v1/audit", ""), 200);
    CHECK(json_is_true(json_object_get(rig->json, "balanced")) == is_balanced, "%.*s",
            STR_ARG(buf_str(&rig->reply)));
}

TEST(the_books_balance_after_a_mixed_day_and_a_crash)
{
    struct control_rig rig;
    struct why why = { 0 };
    rig_open(&rig, 8, "");
    mixed_day(&rig);
    check_balanced(&rig, true);
    CHECK(rig_says(&rig, "\"moving\":0"));
    world_crash(rig.world, WORLD_POWER_CUT);
    CHECK(world_start(rig.world, &why) == OK, "%s", why.text);
    check_balanced(&rig, true);
    settle(&rig);
    check_balanced(&rig, true);
    rig_close(&rig);
}

TEST(a_recipient_that_only_the_scheduler_knows_unbalances_the_books)
{
    struct control_rig rig;
    struct buf text, rcpts;
    rig_open(&rig, 9, "");
    mixed_day(&rig);
    check_balanced(&rig, true);
    buf_init(&text, 4096);
    buf_init(&rcpts, 4096);
    spool_rcpt_add(&rcpts, STR("defer9@b.example"));
    struct spool_envelope envelope = { .accepted_at = clock_wall(&rig.world->events.clock),
        .content_bytes = 10,
        .header_bytes = 2,
        .sender = STR("app@sender.example"),
        .stream = STR("transactional"),
        .rcpt_count = 1,
        .rcpts = buf_str(&rcpts) };
    spool_envelope_encode(&text, &envelope);
    struct queue_accepted *ghost = mem_new(sizeof *ghost);
    CHECK(ghost != NULL && buf_err(&text) == OK);
    ghost->letter.kind = QUEUE_ACCEPTED;
    ghost->msg_id = UINT64_MAX / 2;
    ghost->envelope = blob_copy(NULL, buf_str(&text));
    ghost->content = blob_copy(NULL, STR("0123456789"));
    mailbox_answer(queue_mailbox(rig.world->node->queue), &ghost->letter);
    check_balanced(&rig, false);
    json_t *checks = json_object_get(rig.json, "checks");
    CHECK(json_is_false(json_object_get(checks, "scheduler holds what the spool has open")));
    CHECK(json_is_true(json_object_get(checks, "spool index: accepted = closed + open")));
    buf_done(&rcpts);
    buf_done(&text);
    rig_close(&rig);
}

/* ---- sandbox, reload ----------------------------------------------------------------------------
 */

TEST(what_the_sandbox_caught_is_listed_in_order_and_shown)
{
    static const char caught[] = "X-Envelope-From: <a@b.example>\r\n"
                                 "X-Envelope-To: <c@d.example>\r\n"
                                 "X-Envelope-To: <e@f.example>\r\nSubject: x\r\n\r\n";
    static const char *const names[] = { "000010.eml", "000002.eml", "000001.eml", "notes.txt" };
    struct control_rig rig;
    struct why why = { 0 };
    rig_open(&rig, 10, "sandbox = yes\n");
    CHECK_U64(rig_get(&rig, "/v1/sandbox", ""), 200);
    CHECK(rig_says(&rig, "\"messages\":[]"));
    for (size_t i = 0; i < COUNT_OF(names); i++) {
        struct disk *disk = rig.world->sandbox;
        struct disk_file *file;
        struct iovec iov = { .iov_base = (void *)(uintptr_t)caught, .iov_len = strlen(caught) };
        REQUIRE_OK(disk->ops->open(disk, names[i], DISK_WRITE | DISK_CREATE, &file, &why));
        REQUIRE_OK(disk->ops->write(file, &iov, 1, 0, &why));
        disk->ops->close(file);
    }
    CHECK_U64(rig_get(&rig, "/v1/sandbox", ""), 200);
    CHECK(rig_says(&rig, "\"messages\":[\"000001.eml\",\"000002.eml\",\"000010.eml\"]"), "%.*s",
            STR_ARG(buf_str(&rig.reply)));
    CHECK_U64(rig_get(&rig, "/v1/sandbox", "details=2"), 200);
    CHECK(rig_says(&rig, "\"details\":[{\"name\":\"000002.eml\",\"bytes\":106,"
                         "\"from\":\"a@b.example\",\"to\":\"c@d.example\","
                         "\"recipient_count\":2,\"subject\":\"x\"},{\"name\":\"000010.eml\""),
            "%.*s", STR_ARG(buf_str(&rig.reply)));
    CHECK_U64(rig_get(&rig, "/v1/sandbox", "details=1001"), 400);
    CHECK_U64(rig_get(&rig, "/v1/sandbox/000002.eml", ""), 200);
    CHECK(rig_says(&rig, "\"WC1FbnZlbG9wZS1Gcm9tOiA8YUBiLmV4YW1wbGU+DQpY")); /* the first line, X */
    static const char *const strangers[] = { "/v1/sandbox/notes.txt", "/v1/sandbox/000003.eml",
        "/v1/sandbox/..%2f..%2fetc%2fx.eml", "/v1/sandbox/.eml", "/v1/sandbox/%00.eml",
        "/v1/sandbox/a%252Fb.eml" };
    for (size_t i = 0; i < COUNT_OF(strangers); i++) {
        CHECK(rig_get(&rig, strangers[i], "") == 404, "%s", strangers[i]);
    }
    rig_close(&rig);
}

struct reloader {
    struct control_rig *rig;
    const char *text;
};

/* As serve does it. */
static enum err reload(void *ctx, struct buf *ret_text)
{
    struct reloader *reloader = ctx;
    struct config *config;
    struct config_report report = { 0 };
    struct why why = { 0 };
    enum err err = config_parse(str_from_c(reloader->text), STR("new"), &config, &report);
    config_report_print(&report, ret_text);
    config_report_done(&report);
    if (err != OK) {
        return err;
    }
    err = node_can_reload(reloader->rig->world->node, config, ret_text, &why);
    if (err == OK) {
        node_reload(reloader->rig->world->node, config);
    } else {
        buf_addf(ret_text, "%s\n", why.text);
    }
    config_give(config);
    return err;
}

TEST(a_broken_or_unfit_configuration_is_refused_and_the_running_one_stays)
{
    struct control_rig rig;
    struct reloader reloader = { .rig = &rig };
    char id[27];
    rig_open(&rig, 11, "");
    node_on_reload(rig.world->node, reload, &reloader);
    reloader.text = "hostnam = \"x.example\"\n";
    CHECK_U64(rig_post(&rig, "/v1/reload", ""), 422);
    CHECK(rig_says(&rig, "new:1") && rig_says(&rig, "hostname"));
    reloader.text = "hostname = \"other.example\"\nsandbox = yes\n";
    CHECK_U64(rig_post(&rig, "/v1/reload", ""), 422);
    CHECK(rig_says(&rig, "sandbox cannot be switched"));
    CHECK_U64(rig_get(&rig, "/v1/config", ""), 200);
    CHECK(rig_says(&rig, "mail.sender.example") && !rig_says(&rig, "other.example"));

    reloader.text =
            "hostname = \"other.example\"\nhistory-days = 3\n"
            "listen \"local\" { address = { \"127.0.0.1:2525\" } networks = { \"127.0.0.0/8\" } }\n"
            "route \"*\" { to = { \"198.51.100.10:25\" } }\n";
    CHECK_U64(rig_post(&rig, "/v1/reload", ""), 200);
    CHECK(rig_says(&rig, "history-days is taken up by the next start only"));
    CHECK_U64(rig_get(&rig, "/v1/config", ""), 200);
    CHECK(rig_says(&rig, "other.example"));
    settle(&rig);
    rig_submit(&rig, &(struct rig_mail){ .to = "to@one.example" }, id);
    settle(&rig);
    CHECK_U64(rig.received_count, 1);
    rig_close(&rig);
}

/* ---- life of a request
 * --------------------------------------------------------------------------- */

static struct control *begin(
        struct control_rig *rig, const char *method, const char *path, const char *body)
{
    struct control *control = NULL;
    struct control_request request = { str_from_c(method), str_from_c(path), STR(""),
        str_from_c(body), STR("tester") };
    enum err err = control_begin(rig->world->node, &request, &control);
    CHECK(err == OK || err == E_NOMEM);
    return control;
}

static bool is_answered(struct control_rig *rig, struct control *control)
{
    struct mono end = mono_after(rig->world->events.now, SETTLE_MS);
    while (!control_wait(control, 0) && world_step(rig->world, end)) {
    }
    return control_wait(control, 0);
}

static const struct {
    const char *path; /* with the id behind it, or as an argument */
    bool is_argument;
} by_id[] = { { "/v1/explain/", false }, { "/v1/messages/", false }, { "/v1/raw/", false },
    { "/v1/queue", true }, { "/v1/messages", true } };
enum { BY_ID_EXPLAIN, BY_ID_STORY };

static uint16_t ask_by_id(struct control_rig *rig, size_t i, const char *id)
{
    char path[80], query[80];
    fmt(path, sizeof path, "%s%s", by_id[i].path, by_id[i].is_argument ? "" : id);
    fmt(query, sizeof query, "id=%s", id);
    return rig_get(rig, path, by_id[i].is_argument ? query : "");
}

TEST(a_message_is_known_by_its_id_as_soon_as_it_is_acknowledged)
{
    for (size_t i = 0; i < COUNT_OF(by_id); i++) {
        struct control_rig rig;
        char id[27];
        rig_open(&rig, 20 + i, "");
        rig_submit(&rig, &(struct rig_mail){ .to = "defer@one.example" }, id);
        uint16_t status = ask_by_id(&rig, i, id);
        CHECK(status == 200, "%s: %u %.*s", by_id[i].path, status, STR_ARG(buf_str(&rig.reply)));
        rig_close(&rig);
    }
}

TEST(a_message_is_acted_on_by_its_id_while_the_history_cannot_be_written)
{
    struct control_rig rig;
    char id[27], body[100];
    rig_open(&rig, 30, "");
    settle(&rig);
    sim_disk_fail_randomly(rig.world->history_disk, SIM_DISK_WRITE, 1000000, E_NO_SPACE);
    rig_submit(&rig, &(struct rig_mail){ .to = "defer@one.example" }, id);
    settle(&rig);
    CHECK_U64(ask_by_id(&rig, BY_ID_EXPLAIN, id), 200);
    fmt(body, sizeof body, "{\"action\":\"hold\",\"id\":\"%s\"}", id);
    CHECK_U64((uint64_t)rig_act(&rig, body), 1);
    CHECK_U64(ask_by_id(&rig, BY_ID_STORY, id), 503);
    CHECK(rig_says(&rig, "the history is behind"));
    sim_disk_heal(rig.world->history_disk);
    CHECK_U64(ask_by_id(&rig, BY_ID_STORY, id), 200);
    rig_close(&rig);
}

TEST(after_a_restart_the_queue_still_says_why)
{
    struct control_rig rig;
    struct why why = { 0 };
    char first[27], held[27], body[160];
    rig_open(&rig, 32, "");
    rig_submit(&rig, &(struct rig_mail){ .to = "defer1@one.example,defer2@one.example" }, first);
    rig_submit(&rig, &(struct rig_mail){ .to = "defer3@two.example" }, held);
    settle(&rig);
    fmt(body, sizeof body, "{\"action\":\"hold\",\"id\":\"%s\",\"reason\":\"bad link\"}", held);
    CHECK_U64((uint64_t)rig_act(&rig, body), 1);
    settle(&rig);
    world_crash(rig.world, WORLD_KILL);
    CHECK(world_start(rig.world, &why) == OK, "%s", why.text);
    settle(&rig);
    CHECK_U64(rig_count(&rig, "reason=451+4.2.1+come"), 2);
    CHECK_STR(rig_entry(&rig, 1, "reason"), STR("451 4.2.1 come back later (198.51.100.10)"));
    CHECK_U64(rig_count(&rig, "state=held"), 1);
    CHECK_STR(rig_entry(&rig, 0, "reason"), STR("held by operator: bad link"));
    rig_close(&rig);
}

TEST(the_recipients_of_one_message_are_listed_with_one_read_of_its_envelope)
{
    enum { RCPT_COUNT = 1000 };
    struct control_rig rig;
    char id[27], path[60];
    rig_open(&rig, 31, "");
    rig_submit(&rig, &(struct rig_mail){ .to = "", .rcpt_count = RCPT_COUNT }, id);
    settle(&rig);
    uint64_t before = sim_disk_counts(rig.world->spool_disk)->calls[SIM_DISK_READ];
    fmt(path, sizeof path, "/v1/explain/%s", id);
    CHECK_U64(rig_get(&rig, path, ""), 200);
    CHECK_U64(json_array_size(json_object_get(rig.json, "entries")), RCPT_COUNT);
    CHECK_STR(rig_entry(&rig, RCPT_COUNT - 1, "recipient"), STR("defer999@big.example"));
    uint64_t reads = sim_disk_counts(rig.world->spool_disk)->calls[SIM_DISK_READ] - before;
    CHECK(reads < 20, "%llu reads", (unsigned long long)reads);
    rig_close(&rig);
}

TEST(a_request_given_up_before_its_answer_is_freed_when_the_answer_comes)
{
    static const char *const paths[] = { "/v1/stats", "/v1/audit", "/v1/queue" };
    struct control_rig rig;
    struct why why = { 0 };
    rig_open(&rig, 12, "");
    for (size_t i = 0; i < COUNT_OF(paths); i++) {
        struct control *control = begin(&rig, "GET", paths[i], "");
        CHECK(!control_wait(control, 0));
        control_free(control);
    }
    settle(&rig);
    CHECK_U64(mailbox_count(&rig.world->node->orphans), COUNT_OF(paths));
    control_free(begin(&rig, "GET", "/readyz", "")); /* the next request sweeps */
    CHECK_U64(mailbox_count(&rig.world->node->orphans), 0);
    control_free(begin(&rig, "GET", "/v1/stats", ""));
    world_crash(rig.world, WORLD_KILL); /* and so does the end */
    CHECK(world_start(rig.world, &why) == OK, "%s", why.text);
    rig_close(&rig);
}

TEST(a_request_survives_memory_failing_at_any_step_of_its_beginning)
{
    static const struct {
        const char *method, *path, *body;
    } cases[] = { { "GET", "/v1/stats", "" }, { "GET", "/v1/audit", "" },
        { "GET", "/v1/queue", "" },
        { "POST", "/v1/queue/actions",
                "{\"action\":\"hold\",\"tag\":\"x\",\"domain\":\"a.example\"}" },
        { "GET", "/v1/config", "" }, { "GET", "/v1/nowhere", "" },
        { "GET", "/v1/messages/01ARZ3NDEKTSV4RRFFQ69G5FAV", "" } };
    enum { STEP_MAX = 60 };
    struct control_rig rig;
    rig_open(&rig, 13, "");
    settle(&rig);
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        for (uint64_t n = 1; n <= STEP_MAX; n++) {
            mem_fail_at(n);
            struct control *control = begin(&rig, cases[i].method, cases[i].path, cases[i].body);
            mem_fail_at(0);
            CHECK(control == NULL || is_answered(&rig, control), "%s: step %llu", cases[i].path,
                    (unsigned long long)n);
            if (control) {
                struct str body = control_body(control);
                json_t *json = json_loadb(body.ptr, body.len, 0, NULL);
                CHECK(json && control_status(control) >= 200, "%s: step %llu: %.*s", cases[i].path,
                        (unsigned long long)n, STR_ARG(body));
                json_decref(json);
            }
            control_free(control);
        }
    }
    rig_close(&rig);
}

TEST(readiness_is_withdrawn_when_the_node_stops)
{
    struct control_rig rig;
    rig_open(&rig, 14, "");
    node_stop(rig.world->node);
    CHECK_U64(world_ask(rig.world, "GET", "/readyz", "", "", &rig.reply), 503);
    CHECK(rig_says(&rig, "stopping"));
    rig_close(&rig);
}
