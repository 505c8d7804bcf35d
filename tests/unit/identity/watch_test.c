/* SPDX-License-Identifier: Apache-2.0
 *
 * watch_test.c - what counts as a change: not one bad answer, not an answer that could not be had;
 * and what needs no net: refusals' words, open relays, the checklist.
 */
#include "core/buf.h"
#include "core/str.h"
#include "identity/identity.h"
#include "identity/watch_priv.h"
#include "tests/test.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static const struct identity_watch_conf twice = { .fail_count = 2, .error_count = 3 };

struct rig {
    struct identity_watch *watch;
    int64_t now_ms;
    uint32_t change_count;
    char last[200]; /* "spf.pass pass>fail" */
    bool is_unsure;
};

static void on_change(void *ctx, const struct identity_change *change)
{
    struct rig *rig = ctx;
    rig->change_count++;
    fmt(rig->last, sizeof rig->last, "%.*s %s>%s", STR_ARG(change->result.id),
            change->is_first ? "new" : identity_status_name(change->before),
            change->is_gone ? "gone" : identity_status_name(change->result.status));
}

static void open_rig(struct rig *rig)
{
    struct why why;
    *rig = (struct rig){ .now_ms = 1790000000000 };
    REQUIRE_OK(identity_watch_open(STR(""), &rig->watch, &why));
}

static struct identity_result result(const char *id, enum identity_status status, const char *found)
{
    return (struct identity_result){ .id = str_from_c(id),
        .domain = STR("shop.example"),
        .source = STR(""),
        .part = STR(""),
        .status = status,
        .title = STR("a title"),
        .found = str_from_c(found) };
}

/* One scheduled run with these results. */
static void take(struct rig *rig, const struct identity_result *results, uint32_t count)
{
    const struct identity_result *pointers[8];
    for (uint32_t i = 0; i < count; i++) {
        pointers[i] = &results[i];
    }
    struct identity_watch_run run = { .set = IDENTITY_CHECK_DOMAINS,
        .is_scheduled = true,
        .result = pointers,
        .result_count = count,
        .now = { rig->now_ms } };
    rig->now_ms += 60000;
    REQUIRE_OK(identity_watch_take(rig->watch, &twice, &run, on_change, rig, &rig->is_unsure));
}

static void take_one(struct rig *rig, enum identity_status status, const char *found)
{
    struct identity_result one = result("spf.pass", status, found);
    take(rig, &one, 1);
}

TEST(what_is_good_from_the_beginning_is_no_news)
{
    struct rig rig;
    open_rig(&rig);
    take_one(&rig, IDENTITY_PASS, "pass");
    take_one(&rig, IDENTITY_PASS, "pass, in other words");
    CHECK_U64(rig.change_count, 0);
    CHECK(!rig.is_unsure);
    identity_watch_close(rig.watch);
}

TEST(a_failure_is_a_change_when_it_is_seen_twice_in_a_row)
{
    struct rig rig;
    open_rig(&rig);
    take_one(&rig, IDENTITY_PASS, "");
    take_one(&rig, IDENTITY_FAIL, "gone");
    CHECK(rig.change_count == 0 && rig.is_unsure, "%u", rig.change_count);
    take_one(&rig, IDENTITY_PASS, ""); /* it flapped */
    take_one(&rig, IDENTITY_FAIL, "gone");
    CHECK_U64(rig.change_count, 0);
    take_one(&rig, IDENTITY_FAIL, "gone");
    CHECK_U64(rig.change_count, 1);
    CHECK_STR(str_from_c(rig.last), STR("spf.pass pass>fail"));
    take_one(&rig, IDENTITY_FAIL, "gone");
    CHECK_U64(rig.change_count, 1);
    take_one(&rig, IDENTITY_PASS, "");
    take_one(&rig, IDENTITY_PASS, "");
    CHECK_STR(str_from_c(rig.last), STR("spf.pass fail>pass"));
    CHECK_U64(rig.change_count, 2);
    identity_watch_close(rig.watch);
}

TEST(could_not_tell_neither_ends_a_failure_nor_begins_one_before_three_runs)
{
    struct rig rig;
    open_rig(&rig);
    take_one(&rig, IDENTITY_PASS, "");
    take_one(&rig, IDENTITY_ERROR, "timeout");
    take_one(&rig, IDENTITY_ERROR, "timeout");
    take_one(&rig, IDENTITY_PASS, "");
    take_one(&rig, IDENTITY_ERROR, "timeout");
    take_one(&rig, IDENTITY_ERROR, "timeout");
    CHECK_U64(rig.change_count, 0);
    take_one(&rig, IDENTITY_ERROR, "timeout");
    CHECK_STR(str_from_c(rig.last), STR("spf.pass pass>error"));
    take_one(&rig, IDENTITY_FAIL, "gone");
    take_one(&rig, IDENTITY_FAIL, "gone");
    CHECK_STR(str_from_c(rig.last), STR("spf.pass error>fail"));
    for (int i = 0; i < 10; i++) {
        take_one(&rig, IDENTITY_ERROR, "timeout");
    }
    CHECK_U64(rig.change_count, 2);
    CHECK(identity_watch_worst(rig.watch, STR("shop.example"), STR("")) == IDENTITY_FAIL);
    identity_watch_close(rig.watch);
}

TEST(a_list_that_has_us_and_then_refuses_to_answer_has_us_still)
{
    struct rig rig;
    open_rig(&rig);
    struct identity_result listed = result("list.listed", IDENTITY_FAIL, "127.0.0.2: listed");
    take(&rig, &listed, 1);
    take(&rig, &listed, 1);
    CHECK_STR(str_from_c(rig.last), STR("list.listed new>fail"));
    struct identity_result refuses =
            result("list.listed", IDENTITY_WARN, IDENTITY_LIST_UNUSABLE "asked too often");
    for (int i = 0; i < 5; i++) {
        take(&rig, &refuses, 1);
    }
    CHECK_U64(rig.change_count, 1);
    CHECK(identity_watch_is_listed(rig.watch, STR("shop.example"), STR("")));
    struct identity_result free = result("list.listed", IDENTITY_PASS, "not listed");
    take(&rig, &free, 1);
    take(&rig, &free, 1);
    CHECK(!identity_watch_is_listed(rig.watch, STR("shop.example"), STR("")));
    identity_watch_close(rig.watch);
}

TEST(another_published_text_is_news_and_another_wording_is_not)
{
    struct rig rig;
    open_rig(&rig);
    struct identity_result now[] = { result("spf.record", IDENTITY_PASS, "v=spf1 -all"),
        result("soa.exists", IDENTITY_PASS, "serial 1") };
    take(&rig, now, 2);
    now[0].found = STR("v=spf1 ip4:192.0.2.1 -all");
    now[1].found = STR("serial 2");
    take(&rig, now, 2);
    CHECK_U64(rig.change_count, 0);
    take(&rig, now, 2);
    CHECK_U64(rig.change_count, 1);
    CHECK_STR(str_from_c(rig.last), STR("spf.record pass>pass"));
    identity_watch_close(rig.watch);
}

TEST(what_hides_behind_a_failed_look_up_is_not_forgotten_but_what_is_asked_no_more_is)
{
    struct rig rig;
    open_rig(&rig);
    struct identity_result both[] = { result("spf.record", IDENTITY_PASS, "x"),
        result("spf.all", IDENTITY_FAIL, "+all") };
    take(&rig, both, 2);
    take(&rig, both, 2);
    CHECK_U64(rig.change_count, 1);
    struct identity_result hidden = result("spf.record", IDENTITY_ERROR, "timeout");
    for (int i = 0; i < 5; i++) {
        take(&rig, &hidden, 1);
    }
    CHECK_STR(str_from_c(rig.last), STR("spf.record pass>error"));
    CHECK(identity_watch_worst(rig.watch, STR("shop.example"), STR("")) == IDENTITY_FAIL);
    for (int i = 0; i < IDENTITY_MISSING_COUNT_MAX; i++) {
        take(&rig, both, 1); /* the record is there, and there is no "all" to judge */
    }
    CHECK_STR(str_from_c(rig.last), STR("spf.all fail>gone"));
    identity_watch_close(rig.watch);
}

static void count_problem(void *ctx, const struct identity_result *problem, struct wall since)
{
    uint32_t *count = ctx;
    (void)problem;
    *count += since.ms > 0;
}

TEST(the_state_survives_a_restart_and_a_damaged_file_begins_anew)
{
    struct rig rig;
    struct why why;
    char dir[] = "/tmp/outpost-watch-XXXXXX", path[100];
    uint32_t count = 0;
    open_rig(&rig);
    take_one(&rig, IDENTITY_FAIL, "gone \x01\xff");
    take_one(&rig, IDENTITY_FAIL, "gone \x01\xff");
    CHECK(mkdtemp(dir) != NULL);
    fmt(path, sizeof path, "%s/state.json", dir);
    json_t *more = json_pack("{s:i}", "a", 7);
    REQUIRE_OK(identity_watch_save(rig.watch, str_from_c(path), "more", more, &why));
    json_decref(more);
    identity_watch_close(rig.watch);

    REQUIRE_OK(identity_watch_open(str_from_c(path), &rig.watch, &why));
    identity_watch_each_problem(rig.watch, count_problem, &count);
    CHECK_U64(count, 1);
    rig.change_count = 0;
    take_one(&rig, IDENTITY_FAIL, "gone");
    CHECK_U64(rig.change_count, 0);
    json_t *kept = json_object_get(identity_watch_more(rig.watch), "more");
    CHECK_U64(json_integer_value(json_object_get(kept, "a")), 7);
    json_t *events = identity_watch_events(rig.watch, 10);
    CHECK_U64(json_array_size(events), 1);
    json_decref(events);
    identity_watch_close(rig.watch);

    FILE *file = fopen(path, "w");
    CHECK(file != NULL && fputs("{\"checks\": 3", file) >= 0 && fclose(file) == 0);
    CHECK_ERR(identity_watch_open(str_from_c(path), &rig.watch, &why), E_SYNTAX);
    take_one(&rig, IDENTITY_PASS, "");
    identity_watch_close(rig.watch);
    unlink(path);
    rmdir(dir);
}

/* ---- refusals ---- */

TEST(refusals_that_speak_of_spf_or_a_blocklist_bring_checks_forward_and_others_do_not)
{
    static const struct {
        const char *text;
        uint32_t sets;
    } rows[] = {
        { "5.7.26 This mail has been blocked because the sender is unauthenticated. SPF [x] did "
          "not pass",
                IDENTITY_CHECK_DOMAINS },
        { "5.7.1 Service unavailable, Client host [192.0.2.1] blocked using zen.spamhaus.org",
                IDENTITY_CHECK_LISTS },
        { "5.7.25 [192.0.2.1] The IP address sending this message does not have a PTR record setup",
                IDENTITY_CHECK_DOMAINS },
        { "5.7.1 rejected per DMARC policy; see blocklist",
                IDENTITY_CHECK_DOMAINS | IDENTITY_CHECK_LISTS },
        { "5.1.1 no such user", 0 },
        { "4.2.2 The email account that you tried to reach is over quota", 0 },
        { "", 0 },
    };
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        uint32_t got = identity_refusal_checks(str_from_c(rows[i].text));
        CHECK(got == rows[i].sets, "%s: %u, expected %u", rows[i].text, got, rows[i].sets);
    }
}

/* ---- open relay ---- */

static void relay(const char *network, enum identity_status want)
{
    struct ip_net net;
    struct arena arena;
    struct identity_result got;
    arena_init(&arena, 65536);
    REQUIRE_OK(ip_net_parse(str_from_c(network), &net));
    struct config_listen listen = { .name = STR("in"), .network = &net, .network_count = 1 };
    identity_relay_check(&listen, &arena, &got);
    CHECK(got.status == want, "%s: %s", network, identity_status_name(got.status));
    CHECK(got.status == IDENTITY_PASS || got.mend.len > 0);
    arena_done(&arena);
}

TEST(a_listener_that_takes_mail_from_strangers_fails)
{
    relay("0.0.0.0/0", IDENTITY_FAIL);
    relay("128.0.0.0/1", IDENTITY_FAIL);
    relay("203.0.0.0/8", IDENTITY_FAIL);
    relay("203.192.0.0/10", IDENTITY_FAIL);
    relay("203.0.0.0/12", IDENTITY_FAIL);
    relay("203.0.113.0/24", IDENTITY_PASS);
    relay("10.0.0.0/8", IDENTITY_PASS);
    relay("127.0.0.0/8", IDENTITY_PASS);
    relay("::/0", IDENTITY_FAIL);
    relay("2000::/3", IDENTITY_FAIL);
    relay("2a00::/12", IDENTITY_FAIL);
    relay("2a01:4f8:1:2::/64", IDENTITY_PASS);
    relay("fc00::/7", IDENTITY_PASS);
}

/* ---- the checklist ---- */

static const char *state_of(json_t *list, const char *name)
{
    size_t i;
    json_t *item;
    json_array_foreach(json_object_get(list, "items"), i, item)
    {
        if (strcmp(json_string_value(json_object_get(item, "item")), name) == 0) {
            return json_string_value(json_object_get(item, "state"));
        }
    }
    return "absent";
}

TEST(requirements_are_met_by_checks_that_hold_and_ticked_by_people)
{
    struct rig rig;
    open_rig(&rig);
    struct identity_result checks[] = { result("spf.pass", IDENTITY_PASS, ""),
        result("dkim.record", IDENTITY_FAIL, "no such name"),
        result("dmarc.record", IDENTITY_ERROR, "timeout"),
        result("dmarc.align_spf", IDENTITY_WARN, "") };
    take(&rig, checks, 4);
    take(&rig, checks, 4);
    take(&rig, checks, 4);
    json_t *ticks = json_pack("{s:{s:{s:s}, s:{s:s}}}", "shop.example", "microsoft.snds", "author",
            "kim", "gmail.both", "author", "kim");
    json_t *list = identity_checklist(rig.watch, STR("shop.example"), true, ticks);
    static const char *const wants[][2] = { { "gmail.authentication", "met" },
        { "gmail.both", "not_met" }, /* what is checked cannot be ticked */
        { "gmail.dmarc", "not_known" }, { "gmail.alignment", "met" }, { "gmail.ptr", "not_known" },
        { "gmail.postmaster", "to_do" }, { "microsoft.snds", "done" },
        { "gmail.unsubscribe", "not_known" } };
    for (size_t i = 0; i < COUNT_OF(wants); i++) {
        const char *got = state_of(list, wants[i][0]);
        CHECK(strcmp(got, wants[i][1]) == 0, "%s: %s, expected %s", wants[i][0], got, wants[i][1]);
    }
    json_decref(list);
    list = identity_checklist(rig.watch, STR("shop.example"), false, ticks);
    CHECK(strcmp(state_of(list, "gmail.both"), "absent") == 0);
    json_decref(list);
    json_decref(ticks);
    CHECK(identity_checklist_has(STR("yahoo.cfl")) && !identity_checklist_has(STR("gmail.both")) &&
            !identity_checklist_has(STR("no.such")));
    identity_watch_close(rig.watch);
}
