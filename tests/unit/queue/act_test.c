/* SPDX-License-Identifier: Apache-2.0
 *
 * act_test.c - the operator's actions in every state, and the questions: list, explain, stats.
 */
#include "tests/unit/queue/rig.h"

#define CONF "hostname = \"mail.example.com\"\n"

enum { SECOND = 1000, MINUTE = 60000, HOUR = 3600000, DAY = 86400000 };

static struct rig *rig_auto(void)
{
    struct rig *rig = rig_new(CONF);
    rig->is_site_auto = true;
    rig->is_prepare_auto = true;
    return rig;
}

/* The number of recipients changed. */
static uint64_t act(
        struct rig *rig, enum spool_ctl_action action, const struct queue_filter *filter)
{
    struct queue_ask *ask = rig_act(rig, action, filter, "because");
    REQUIRE_OK(ask->err);
    uint64_t changed = ask->changed_count;
    rig_ask_free(ask);
    return changed;
}

static void check_ctl(struct rig *rig, enum spool_ctl_action action, uint32_t rcpt_count)
{
    const struct rig_record *record = rig_last(rig);
    CHECK_U64(record->type, SPOOL_CTL);
    CHECK_U64(record->action, action);
    CHECK_U64(record->rcpt_count, rcpt_count);
    CHECK_STR(str_from_c(record->author), STR("ann"));
    CHECK_STR(str_from_c(record->text), STR("because"));
}

/* A message whose one recipient is in the state: site, ready, staged, wait, doubt, held. */
static struct rig *rig_in(const char *state)
{
    struct rig *rig = rig_new(CONF "site-connection-max = 1\n");
    rig->is_site_auto = strcmp(state, "site") != 0;
    if (strcmp(state, "ready") == 0) {
        for (uint64_t id = 100; id < 102; id++) {
            rig_accept(rig, id, "full@x.example");
        }
    }
    rig_send(rig, &(struct rig_mail){ .msg_id = 1,
                          .rcpts = "a@x.example",
                          .is_content_absent = strcmp(state, "staged") == 0 });
    rig_turn(rig);
    if (strcmp(state, "wait") == 0) {
        rig_end(rig, rig_job(rig), &rig_deferred);
    } else if (strcmp(state, "doubt") == 0) {
        rig_end(rig, rig_job(rig), &rig_in_doubt);
    } else if (strcmp(state, "held") == 0) {
        rig_end(rig, rig_job(rig), &rig_deferred);
        struct queue_filter one = { .by_msg = true, .msg_id = 1 };
        CHECK_U64(act(rig, SPOOL_CTL_HOLD, &one), 1);
    }
    rig_forget_records(rig);
    return rig;
}

static const char *const waiting[] = { "site", "ready", "staged", "wait", "doubt", "held" };
static const struct queue_filter one = { .by_msg = true, .msg_id = 1 };

TEST(hold_takes_a_waiting_recipient_out_and_release_puts_it_back)
{
    for (size_t i = 0; i < COUNT_OF(waiting) - 1; i++) {
        struct rig *rig = rig_in(waiting[i]);
        CHECK_U64(act(rig, SPOOL_CTL_HOLD, &one), 1);
        check_ctl(rig, SPOOL_CTL_HOLD, 1);
        CHECK_U64(act(rig, SPOOL_CTL_HOLD, &one), 0); /* is held already */
        const struct queue_view *view = rig_view(rig, 1, 0);
        CHECK_U64(view->state, QUEUE_VIEW_HELD);
        CHECK_STR(view->reason, STR("held by ann: because"));
        CHECK(rig_has(view->waits_for, "until somebody releases it; it expires at 20"));
        rig_pass(rig, HOUR);
        CHECK_U64(rig_view(rig, 1, 0)->state, QUEUE_VIEW_HELD);
        CHECK_U64(act(rig, SPOOL_CTL_RELEASE, &one), 1);
        check_ctl(rig, SPOOL_CTL_RELEASE, 1);
        CHECK_U64(rig_view(rig, 1, 0)->state, QUEUE_VIEW_QUEUED);
        CHECK(rig_view(rig, 1, 0)->maybe_duplicate == (strcmp(waiting[i], "doubt") == 0));
        CHECK_U64(act(rig, SPOOL_CTL_RELEASE, &one), 0);
        rig_free(rig);
    }
}

TEST(cancel_closes_a_waiting_recipient)
{
    for (size_t i = 0; i < COUNT_OF(waiting); i++) {
        struct rig *rig = rig_in(waiting[i]);
        uint64_t before = rig_stats(rig).msgs;
        CHECK_U64(act(rig, SPOOL_CTL_CANCEL, &one), 1);
        check_ctl(rig, SPOOL_CTL_CANCEL, 1);
        CHECK_U64(rig_stats(rig).msgs, before - 1);
        CHECK_U64(rig_stats(rig).cancelled, 1);
        struct queue_ask *ask = rig_ask(rig, QUEUE_ASK_EXPLAIN, &one);
        CHECK_ERR(ask->err, E_NOT_FOUND);
        rig_ask_free(ask);
        rig_free(rig);
    }
}

TEST(bounce_fails_a_waiting_recipient_and_its_sender_is_told)
{
    for (size_t i = 0; i < COUNT_OF(waiting); i++) {
        struct rig *rig = rig_in(waiting[i]);
        CHECK_U64(act(rig, SPOOL_CTL_BOUNCE, &one), 1);
        check_ctl(rig, SPOOL_CTL_BOUNCE, 1);
        CHECK_U64(rig_view(rig, 1, 0)->state, QUEUE_VIEW_FAILED);
        struct queue_dsn *dsn = rig_dsn(rig);
        CHECK_STR(dsn->rcpt[0].text, STR("bounced by ann: because"));
        CHECK_U64(act(rig, SPOOL_CTL_CANCEL, &one), 0); /* failed is failed */
        rig_notified(rig, dsn);
        rig_free(rig);
    }
}

TEST(flush_makes_a_waiting_recipient_due_now)
{
    for (size_t i = 3; i <= 4; i++) {
        struct rig *rig = rig_in(waiting[i]);
        rig->is_prepare_auto = true;
        CHECK_U64(act(rig, SPOOL_CTL_FLUSH, &one), 1);
        check_ctl(rig, SPOOL_CTL_FLUSH, 1);
        CHECK_U64(rig->job_count, 1);
        CHECK(rig->job[0]->maybe_duplicate == (i == 4));
        rig_free(rig);
    }
    struct rig *rig = rig_in("held");
    CHECK_U64(act(rig, SPOOL_CTL_FLUSH, &one), 0);
    CHECK_U64(act(rig, SPOOL_CTL_CLOSE, &one), 0); /* not the operator's */
    rig_free(rig);
}

TEST(flush_lifts_a_suspension_and_asks_dns_again)
{
    struct rig *rig = rig_auto();
    rig_accept(rig, 1, "a@x.example");
    rig_end(rig, rig_job(rig), &rig_no_connection);
    CHECK_U64(rig->job_count, 0);
    CHECK_U64(act(rig, SPOOL_CTL_FLUSH, &one), 1);
    CHECK_U64(rig->job_count, 1);
    rig_free(rig);
    rig = rig_new(CONF);
    rig_accept(rig, 1, "a@x.example");
    rig_site(rig, "x.example", QUEUE_SITE_DEFER, "no answer", HOUR);
    CHECK_U64(act(rig, SPOOL_CTL_FLUSH, &one), 1);
    CHECK_U64(rig->site_ask_count, 1);
    rig_free(rig);
}

TEST(actions_on_an_active_recipient_wait_for_its_attempt)
{
    static const struct {
        enum spool_ctl_action action;
        const struct rig_fate *fate;
        int view; /* -1: closed */
        bool is_recorded;
    } cases[] = {
        { SPOOL_CTL_HOLD, &rig_deferred, QUEUE_VIEW_HELD, true },
        { SPOOL_CTL_HOLD, &rig_in_doubt, QUEUE_VIEW_HELD, true },
        { SPOOL_CTL_HOLD, &rig_untried, QUEUE_VIEW_HELD, true },
        { SPOOL_CTL_HOLD, &rig_no_connection, QUEUE_VIEW_HELD, true },
        { SPOOL_CTL_HOLD, &rig_delivered, -1, false },
        { SPOOL_CTL_HOLD, &rig_bounced, QUEUE_VIEW_FAILED, false },
        { SPOOL_CTL_CANCEL, &rig_deferred, -1, true },
        { SPOOL_CTL_CANCEL, &rig_untried, -1, true },
        { SPOOL_CTL_CANCEL, &rig_delivered, -1, false },
        { SPOOL_CTL_BOUNCE, &rig_deferred, QUEUE_VIEW_FAILED, true },
        { SPOOL_CTL_BOUNCE, &rig_bounced, QUEUE_VIEW_FAILED, false },
    };
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        struct rig *rig = rig_auto();
        rig_accept(rig, 1, "a@x.example");
        CHECK_U64(act(rig, cases[i].action, &one), 1);
        CHECK_U64(rig->record_count, 0);
        CHECK(rig_has(rig_view(rig, 1, 0)->waits_for, "an operator's action waits"));
        rig_end(rig, rig_job(rig), cases[i].fate);
        CHECK(cases[i].is_recorded == (rig_last(rig)->type == SPOOL_CTL), "case %zu", i);
        if (cases[i].is_recorded) {
            check_ctl(rig, cases[i].action, 1);
        }
        if (cases[i].view < 0) {
            CHECK_U64(rig_stats(rig).msgs, 0);
        } else {
            CHECK_U64(rig_view(rig, 1, 0)->state, cases[i].view);
        }
        rig_free(rig);
    }
}

TEST(a_later_action_replaces_one_that_waits_and_release_takes_a_hold_back)
{
    struct rig *rig = rig_auto();
    rig_accept(rig, 1, "a@x.example");
    CHECK_U64(act(rig, SPOOL_CTL_RELEASE, &one), 0);
    CHECK_U64(act(rig, SPOOL_CTL_HOLD, &one), 1);
    CHECK_U64(act(rig, SPOOL_CTL_RELEASE, &one), 1);
    CHECK_U64(act(rig, SPOOL_CTL_CANCEL, &one), 1);
    CHECK_U64(act(rig, SPOOL_CTL_HOLD, &one), 1);
    CHECK_U64(act(rig, SPOOL_CTL_FLUSH, &one), 0);
    rig_end(rig, rig_job(rig), &rig_deferred);
    CHECK_U64(rig_view(rig, 1, 0)->state, QUEUE_VIEW_HELD);
    rig_free(rig);
}

TEST(held_recipients_expire_when_their_time_is_over)
{
    struct rig *rig = rig_in("held");
    rig_pass(rig, 5 * (int64_t)DAY - HOUR);
    CHECK_U64(rig_view(rig, 1, 0)->state, QUEUE_VIEW_HELD);
    rig_pass(rig, 2 * HOUR);
    CHECK_U64(rig_last(rig)->result, SPOOL_RESULT_EXPIRED);
    CHECK_STR(str_from_c(rig_last(rig)->text),
            STR("gave up after 5 days; the last reason was: held by ann: "
                "because"));
    CHECK_U64(rig->dsn_count, 1);
    rig_free(rig);
}

TEST(filters_choose_by_domain_stream_age_state_and_reason)
{
    struct rig *rig = rig_auto();
    rig_send(rig, &(struct rig_mail){
                          .msg_id = 1, .rcpts = "a@x.example b@y.example", .stream = "bulk" });
    rig_send(rig, &(struct rig_mail){ .msg_id = 2, .rcpts = "c@x.example" });
    rig_turn(rig);
    while (rig->job_count) {
        rig_end(rig, rig_job(rig), &rig_deferred);
    }
    rig_pass(rig, MINUTE);
    rig_send(rig, &(struct rig_mail){ .msg_id = 3, .rcpts = "d@x.example" });
    rig_turn(rig);
    static const struct {
        struct queue_filter filter;
        uint32_t count;
    } cases[] = {
        { { .count_max = 0 }, 4 },
        { { .domain = STR_INIT("X.Example") }, 3 },
        { { .domain = STR_INIT("y.example") }, 1 },
        { { .domain = STR_INIT("nowhere.example") }, 0 },
        { { .stream = STR_INIT("bulk") }, 2 },
        { { .stream = STR_INIT("bul") }, 0 },
        { { .age_min_ms = 30 * SECOND }, 3 },
        { { .age_min_ms = HOUR }, 0 },
        { { .by_state = true, .state = QUEUE_VIEW_ACTIVE }, 1 },
        { { .by_state = true, .state = QUEUE_VIEW_QUEUED }, 3 },
        { { .by_state = true, .state = QUEUE_VIEW_HELD }, 0 },
        { { .reason = STR_INIT("4.2.1 later") }, 3 },
        { { .reason = STR_INIT("nonsense") }, 0 },
        { { .by_msg = true, .msg_id = 1 }, 2 },
        { { .by_msg = true, .msg_id = 1, .by_rcpt = true, .rcpt = 1 }, 1 },
        { { .by_msg = true, .msg_id = 1, .domain = STR_INIT("x.example") }, 1 },
        { { .domain = STR_INIT("x.example"),
                  .stream = STR_INIT("bulk"),
                  .reason = STR_INIT("later") },
                1 },
    };
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        struct queue_ask *ask = rig_ask(rig, QUEUE_ASK_LIST, &cases[i].filter);
        REQUIRE_OK(ask->err);
        CHECK(ask->view_count == cases[i].count, "case %zu: got %u, expected %u", i,
                ask->view_count, cases[i].count);
        rig_ask_free(ask);
    }
    struct queue_filter x = { .domain = STR("x.example") };
    CHECK_U64(act(rig, SPOOL_CTL_HOLD, &x), 3);
    struct queue_filter none = { .domain = STR("nowhere.example") };
    CHECK_U64(act(rig, SPOOL_CTL_CANCEL, &none), 0);
    struct queue_filter old = { .age_min_ms = 30 * SECOND };
    CHECK_U64(act(rig, SPOOL_CTL_CANCEL, &old), 3);
    CHECK_U64(rig_stats(rig).msgs, 1);
    rig_free(rig);
}

TEST(an_entry_of_a_list_says_everything_about_a_recipient)
{
    struct rig *rig = rig_new(CONF "source \"s\" { ehlo = \"s.example.com\" }\n"
                                   "pool \"p\" { sources = { \"s\" } }\n");
    rig->is_site_auto = true;
    rig_send(rig, &(struct rig_mail){ .msg_id = 77,
                          .rcpts = "a@x.example",
                          .stream = "bulk",
                          .content_bytes = 1234 });
    rig_turn(rig);
    const struct queue_view *view = rig_view(rig, 77, 0);
    CHECK_U64(view->msg_id, 77);
    CHECK_U64(view->where.batch_page, 77);
    CHECK_U64(view->state, QUEUE_VIEW_ACTIVE);
    CHECK_U64(view->content_bytes, 1234);
    CHECK_U64(view->accepted_at.ms, rig->wall.ms);
    CHECK_STR(view->domain, STR("x.example"));
    CHECK_STR(view->stream, STR("bulk"));
    CHECK_STR(view->site, STR("mx.x.example"));
    CHECK_STR(view->source, STR("s"));
    CHECK_STR(view->reason, STR("attempt 1 runs"));
    CHECK_STR(view->waits_for, STR("Attempt 1 is running now, to mx.x.example."));
    rig_end(rig, rig_job(rig), &rig_deferred);
    view = rig_view(rig, 77, 0);
    CHECK_STR(view->site, STR("mx.x.example"));
    CHECK(rig_has(view->waits_for, "put off (451 4.2.1 later (mx.example)). Try 2 is at 2026-"));
    CHECK(rig_has(view->waits_for, "; it is given up at 2026-"));
    rig_free(rig);
}

TEST(pages_give_every_entry_exactly_once)
{
    struct rig *rig = rig_auto();
    for (uint64_t id = 1; id <= 300; id++) {
        rig_send(rig, &(struct rig_mail){ .msg_id = id * 65536,
                              .rcpts = "a@x.example b@y.example c@z.example" });
    }
    rig_turn(rig);
    uint8_t *seen = mem_new(900);
    struct queue_filter filter = { .count_max = 7 };
    uint32_t pages = 0;
    do {
        struct queue_ask *ask = rig_ask(rig, QUEUE_ASK_LIST, &filter);
        REQUIRE_OK(ask->err);
        CHECK(ask->view_count > 0 && ask->view_count <= 7);
        for (uint32_t i = 0; i < ask->view_count; i++) {
            const struct queue_view *view = &ask->view[i];
            seen[(view->msg_id / 65536 - 1) * 3 + view->rcpt]++;
            CHECK(i == 0 || view[-1].msg_id < view->msg_id ||
                    (view[-1].msg_id == view->msg_id && view[-1].rcpt < view->rcpt));
        }
        filter.after = ask->next_after;
        rig_ask_free(ask);
        pages++;
    } while (filter.after);
    CHECK_U64(pages, 129);
    for (uint32_t i = 0; i < 900; i++) {
        CHECK_U64(seen[i], 1);
    }
    mem_free(seen);
    struct queue_filter within = { .by_msg = true, .msg_id = 65536, .count_max = 2 };
    struct queue_ask *ask = rig_ask(rig, QUEUE_ASK_LIST, &within);
    CHECK_U64(ask->view_count, 2);
    within.after = ask->next_after;
    rig_ask_free(ask);
    ask = rig_ask(rig, QUEUE_ASK_LIST, &within);
    CHECK_U64(ask->view_count, 1);
    CHECK_U64(ask->view[0].rcpt, 2);
    CHECK_U64(ask->next_after, 0);
    rig_ask_free(ask);
    rig_free(rig);
}

TEST(long_questions_wait_in_line_and_are_answered_in_order)
{
    struct rig *rig = rig_auto();
    rig->is_record_dropped = true;
    for (uint64_t id = 1; id <= 50000; id++) {
        rig_send(rig, &(struct rig_mail){ .msg_id = id, .rcpts = "a@x.example" });
    }
    rig_turn(rig);
    static const enum queue_ask_kind kinds[] = { QUEUE_ASK_ACT, QUEUE_ASK_STATS, QUEUE_ASK_LIST };
    for (size_t i = 0; i < COUNT_OF(kinds); i++) {
        struct queue_ask *ask = mem_new(sizeof *ask);
        ask->letter.kind = QUEUE_ASK;
        ask->ask = kinds[i];
        ask->action = SPOOL_CTL_HOLD;
        ask->author = ask->reason = STR("x");
        ask->reply_box = &rig->answers;
        ask->filter.by_state = true;
        ask->filter.state = i ? QUEUE_VIEW_HELD : QUEUE_VIEW_QUEUED;
        mailbox_answer(queue_mailbox(rig->queue), &ask->letter);
    }
    uint32_t turns = 0;
    while (mailbox_count(&rig->answers) < 3) {
        queue_turn(rig->queue, rig->mono);
        turns++;
    }
    CHECK(turns >= 25, "%u turns: no single one is long", turns);
    struct letter *letter = mailbox_take_all(&rig->answers);
    for (size_t i = 0; i < COUNT_OF(kinds); i++) {
        struct queue_ask *ask = CONTAINER_OF(letter, struct queue_ask, letter);
        letter = letter->next;
        REQUIRE_OK(ask->err);
        CHECK_U64(ask->ask, kinds[i]);
        CHECK(i != 0 || ask->changed_count == 49960);
        CHECK(i != 1 || ask->stats.rcpts[QUEUE_VIEW_HELD] == 49960);
        CHECK(i != 2 || (ask->view_count == 1000 && ask->next_after != 0));
        rig_ask_free(ask);
    }
    rig_free(rig);
}

TEST(stats_count_states_and_the_oldest_age)
{
    struct rig *rig = rig_auto();
    rig_accept(rig, 1, "a@x.example");
    rig_pass(rig, HOUR);
    rig_accept(rig, 2, "a@x.example");
    struct queue_stats stats = rig_stats(rig);
    CHECK_U64(stats.msgs, 2);
    CHECK_U64(stats.rcpts[QUEUE_VIEW_ACTIVE], 2);
    CHECK_U64(stats.lanes, 1);
    CHECK_U64(stats.sites, 1);
    CHECK_U64(stats.domains, 1);
    CHECK_U64(stats.oldest_age_ms, HOUR);
    rig_free(rig);
}

TEST(a_list_that_needs_too_much_memory_says_so)
{
    struct rig *rig = rig_auto();
    for (uint64_t id = 1; id <= 100; id++) {
        rig_accept(rig, id, "a@x.example");
    }
    struct queue_ask *ask = mem_new(sizeof *ask);
    arena_init(&ask->arena, 2000);
    ask->ask = QUEUE_ASK_LIST;
    ask->letter.kind = QUEUE_ASK;
    ask->reply_box = &rig->answers;
    mailbox_answer(queue_mailbox(rig->queue), &ask->letter);
    rig_turn(rig);
    CHECK(mailbox_take_all(&rig->answers) == &ask->letter);
    CHECK_ERR(ask->err, E_NOMEM);
    rig_ask_free(ask);
    rig_free(rig);
}

TEST(letters_in_the_box_at_the_end_are_freed_and_asks_answered)
{
    struct rig *rig = rig_auto();
    rig_accept(rig, 1, "a@x.example b@y.example");
    rig_ask_free(rig_act(rig, SPOOL_CTL_HOLD, &one, ""));
    struct queue_job *job = rig_job(rig);
    rig_send(rig, &(struct rig_mail){ .msg_id = 2, .rcpts = "a@z.example" });
    rig_result(rig, job, 0, 1, &rig_bounced, true);
    queue_job_free(job);
    rig_site_answer(rig, 0, QUEUE_SITE_FOUND, "mx.q", 1000);
    struct queue_config *config = mem_new(sizeof *config);
    config->letter.kind = QUEUE_CONFIG;
    config->config = rig_config(CONF);
    struct queue_dsn *dsn = mem_new(sizeof *dsn);
    dsn->letter.kind = QUEUE_DSN_FAILED;
    struct queue_prepare *prepare = mem_new(sizeof *prepare);
    prepare->letter.kind = QUEUE_PREPARED;
    prepare->content = rig_blob(STR("x"));
    struct queue_moved *moved = mem_new(sizeof *moved);
    moved->letter.kind = QUEUE_MOVED;
    struct queue_ask *ask = mem_new(sizeof *ask);
    ask->letter.kind = QUEUE_ASK;
    ask->reply_box = &rig->answers;
    struct letter *letters[] = { &config->letter, &dsn->letter, &prepare->letter, &moved->letter,
        &ask->letter };
    for (size_t i = 0; i < COUNT_OF(letters); i++) {
        mailbox_answer(queue_mailbox(rig->queue), letters[i]);
    }
    queue_free(rig->queue);
    rig->queue = NULL;
    CHECK(mailbox_take_all(&rig->answers) == &ask->letter);
    CHECK_ERR(ask->err, E_CLOSED);
    rig_ask_free(ask);
    rig_free(rig);
}
