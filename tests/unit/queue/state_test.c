/* SPDX-License-Identifier: Apache-2.0
 *
 * state_test.c - the life of a recipient: each row of the table in docs/spool.md, with the record
 * that goes to the keeper.
 */
#include "tests/unit/queue/rig.h"

#define CONF                                                                                       \
    "hostname = \"mail.example.com\"\n"                                                            \
    "stream \"main\" { retry-first = 5m retry-max = 4h give-up = 5d }\n"                           \
    "stream \"careful\" { hold-in-doubt = yes }\n"

enum { MINUTE = 60000, HOUR = 3600000 };

static struct rig *rig_auto(void)
{
    struct rig *rig = rig_new(CONF);
    rig->is_site_auto = true;
    return rig;
}

TEST(an_accepted_message_asks_for_its_site_once_and_then_goes_out)
{
    struct rig *rig = rig_new(CONF);
    rig_accept(rig, 65536, "a@X.example b@x.EXAMPLE c@y.example");
    CHECK_U64(rig->site_ask_count, 2);
    CHECK_STR(str_from_c(rig->site_ask[0].domain), STR("x.example"));
    CHECK(rig_has(rig_view(rig, 65536, 0)->waits_for, "x.example are being looked up"));
    rig_site(rig, "x.example", QUEUE_SITE_FOUND, "mx.x", 60000);
    struct queue_job *job = rig_job(rig);
    CHECK_U64(rig->job_count, 0);
    CHECK_U64(job->msg_id, 65536);
    CHECK_U64(job->rcpt_count, 2);
    CHECK_U64(job->rcpt[0], 0);
    CHECK_U64(job->rcpt[1], 1);
    CHECK_U64(job->attempt_no, 1);
    CHECK_U64(job->source, UINT32_MAX);
    CHECK_U64(get_u64(job->ulid.byte), 65536);
    CHECK_U64(job->queued_since.ms, rig->mono.ms);
    CHECK_STR(job->site->key, STR("mx.x"));
    CHECK_STR(str_of(job->content->first->data, job->content->first->len), STR("hello 65536"));
    rig_end(rig, job, &rig_delivered);
    CHECK_U64(rig_last(rig)->rcpt_count, 2);
    CHECK_U64(rig_last(rig)->attempt_no, 1);
    CHECK_U64(rig_stats(rig).msgs, 1);
    rig_site(rig, "y.example", QUEUE_SITE_FOUND, "mx.y", 60000);
    rig_end(rig, rig_job(rig), &rig_delivered);
    struct queue_stats stats = rig_stats(rig);
    CHECK_U64(stats.msgs, 0);
    CHECK_U64(stats.delivered, 3);
    for (uint32_t i = 0; i < QUEUE_VIEW_COUNT; i++) {
        CHECK_U64(stats.rcpts[i], 0);
    }
    rig_free(rig);
}

TEST(a_deferred_recipient_waits_for_its_due_time_and_goes_again)
{
    struct rig *rig = rig_auto();
    rig_accept(rig, 1, "a@x.example");
    int64_t at = rig->wall.ms;
    rig_end(rig, rig_job(rig), &rig_deferred);
    const struct rig_record *record = rig_last(rig);
    CHECK_U64(record->result, SPOOL_RESULT_DEFERRED);
    CHECK_U64(record->code, 451);
    CHECK(record->due.ms >= at + 5 * MINUTE * 9 / 10 && record->due.ms <= at + 5 * MINUTE * 11 / 10,
            "due in %lld ms", (long long)(record->due.ms - at));
    const struct queue_view *view = rig_view(rig, 1, 0);
    CHECK_U64(view->state, QUEUE_VIEW_QUEUED);
    CHECK_U64(view->tries, 1);
    CHECK_STR(view->reason, STR("451 4.2.1 later (mx.example)"));
    CHECK(rig_has(view->waits_for, "Try 2 is at 20"));
    int64_t delay = record->due.ms - at;
    CHECK(view->due.ms - record->due.ms >= 0 && view->due.ms - record->due.ms < 100);
    rig_pass(rig, delay - 100);
    CHECK_U64(rig->job_count, 0);
    rig_pass(rig, 200);
    CHECK_U64(rig->job_count, 0); /* its bytes were given back: read again first */
    CHECK_U64(rig->prepare_count, 1);
    rig_prepared(rig, rig_prepare(rig), OK);
    struct queue_job *job = rig_job(rig);
    CHECK_U64(job->attempt_no, 2);
    CHECK(job->queued_since.ms >= RIG_START_MS + delay && job->queued_since.ms <= rig->mono.ms);
    rig_end(rig, job, &rig_delivered);
    CHECK_U64(rig_last(rig)->attempt_no, 2);
    CHECK_U64(rig_stats(rig).msgs, 0);
    rig_free(rig);
}

TEST(each_recipient_of_a_job_has_its_own_outcome)
{
    struct rig *rig = rig_auto();
    rig_accept(rig, 1, "a@x.example b@x.example c@x.example d@x.example");
    struct queue_job *job = rig_job(rig);
    CHECK_U64(job->rcpt_count, 4);
    rig_result(rig, job, 0, 1, &rig_delivered, false);
    rig_result(rig, job, 1, 2, &rig_deferred, false);
    rig_result(rig, job, 2, 3, &rig_bounced, false);
    rig_result(rig, job, 3, 4, &rig_in_doubt, false);
    rig_turn(rig);
    struct queue_stats stats = rig_stats(rig);
    CHECK_U64(stats.delivered, 1);
    CHECK_U64(stats.deferred, 1);
    CHECK_U64(stats.bounced, 1);
    CHECK_U64(stats.in_doubt, 1);
    CHECK_U64(stats.rcpts[QUEUE_VIEW_QUEUED], 1);
    CHECK_U64(stats.rcpts[QUEUE_VIEW_FAILED], 1);
    CHECK_U64(stats.rcpts[QUEUE_VIEW_IN_DOUBT], 1);
    CHECK_U64(rig->record_count, 4);
    rig_result(rig, job, 0, 0, &rig_delivered, true); /* an end that says nothing new */
    rig_result(rig, job, 0, 4, &rig_delivered, true); /* a late one changes nothing */
    rig_turn(rig);
    CHECK_U64(rig->record_count, 4);
    queue_job_free(job);
    rig_free(rig);
}

TEST(in_doubt_is_retried_as_a_possible_duplicate)
{
    struct rig *rig = rig_auto();
    rig->is_prepare_auto = true;
    rig_accept(rig, 1, "a@x.example b@x.example");
    struct queue_job *job = rig_job(rig);
    CHECK(!job->maybe_duplicate);
    rig_result(rig, job, 0, 1, &rig_in_doubt, false);
    rig_result(rig, job, 1, 2, &rig_deferred, true);
    queue_job_free(job);
    rig_turn(rig);
    CHECK(rig_has(rig_view(rig, 1, 0)->waits_for, "may have arrived"));
    rig_pass(rig, 6 * MINUTE);
    CHECK_U64(rig->job_count, 2); /* not in one job: only one of them is marked */
    struct queue_job *first = rig_job(rig), *second = rig_job(rig);
    struct queue_job *marked = first->rcpt[0] == 0 ? first : second;
    CHECK(marked->maybe_duplicate && !(marked == first ? second : first)->maybe_duplicate);
    bool is_first = marked == first;
    rig_end(rig, first, &rig_delivered);
    CHECK(rig_last(rig)->maybe_duplicate == is_first);
    rig_end(rig, second, &rig_delivered);
    CHECK(rig_last(rig)->maybe_duplicate != is_first);
    rig_free(rig);
}

TEST(in_doubt_is_held_where_the_stream_says_so)
{
    struct rig *rig = rig_auto();
    rig_send(rig, &(struct rig_mail){ .msg_id = 1, .rcpts = "a@x.example", .stream = "careful" });
    rig_turn(rig);
    rig_end(rig, rig_job(rig), &rig_in_doubt);
    CHECK_U64(rig_last(rig)->result, SPOOL_RESULT_HELD);
    CHECK(rig_last(rig)->maybe_duplicate);
    CHECK(rig_has(
            str_from_c(rig_last(rig)->text), "in doubt, held as the stream says: lost connection"));
    CHECK_U64(rig_view(rig, 1, 0)->state, QUEUE_VIEW_HELD);
    CHECK_U64(rig_stats(rig).in_doubt, 1);
    struct queue_filter all = { .count_max = 0 };
    rig_ask_free(rig_act(rig, SPOOL_CTL_RELEASE, &all, ""));
    rig_prepared(rig, rig_prepare(rig), OK);
    struct queue_job *job = rig_job(rig);
    CHECK(job->maybe_duplicate);
    rig_end(rig, job, &rig_delivered);
    rig_free(rig);
}

TEST(what_is_handed_back_untried_goes_again_as_if_nothing_had_been)
{
    struct rig *rig = rig_auto();
    rig_accept(rig, 1, "a@x.example b@x.example");
    rig_end(rig, rig_job(rig), &rig_untried);
    CHECK_U64(rig->record_count, 0);
    struct queue_job *job = rig_job(rig);
    CHECK_U64(job->attempt_no, 1);
    CHECK_U64(job->rcpt_count, 2);
    rig_end(rig, job, &rig_delivered);
    rig_free(rig);
}

TEST(a_job_that_ends_without_a_word_about_some_tries_them_again)
{
    struct rig *rig = rig_auto();
    rig_accept(rig, 1, "a@x.example b@x.example c@x.example");
    struct queue_job *job = rig_job(rig);
    rig_result(rig, job, 0, 1, &rig_delivered, true);
    rig_turn(rig);
    struct queue_job *again = rig_job(rig);
    CHECK_U64(again->rcpt_count, 2);
    queue_job_free(job);
    rig_end(rig, again, &rig_delivered);
    CHECK_U64(rig_stats(rig).delivered, 3);
    rig_free(rig);
}

TEST(dns_trouble_defers_with_its_reason_and_is_remembered_until_its_time)
{
    struct rig *rig = rig_new(CONF);
    rig_accept(rig, 1, "a@x.example b@x.example");
    rig_site(rig, "x.example", QUEUE_SITE_DEFER, "the name server does not answer", 20 * MINUTE);
    CHECK_U64(rig->record_count, 1);
    CHECK_U64(rig_last(rig)->rcpt_count, 2);
    CHECK_U64(rig_last(rig)->result, SPOOL_RESULT_DEFERRED);
    CHECK_STR(str_from_c(rig_last(rig)->enhanced), STR("4.4.3"));
    CHECK(rig_has(rig_view(rig, 1, 1)->reason, "the name server does not answer"));
    rig_accept(rig, 2, "c@x.example"); /* not asked again */
    CHECK_U64(rig->site_ask_count, 0);
    CHECK_U64(rig->record_count, 2);
    rig_pass(rig, 6 * MINUTE);
    CHECK_U64(rig->site_ask_count, 0);
    CHECK_U64(rig->record_count >= 4, true);
    rig_pass(rig, 40 * MINUTE);
    CHECK_U64(rig->site_ask_count, 1);
    rig_site(rig, "x.example", QUEUE_SITE_FOUND, "mx.x", HOUR);
    rig->is_prepare_auto = true;
    rig_pass(rig, HOUR);
    CHECK(rig->job_count >= 2);
    rig_free(rig);
}

TEST(a_domain_that_takes_no_mail_bounces_at_once)
{
    struct rig *rig = rig_new(CONF);
    rig_accept(rig, 1, "a@x.example");
    rig_site(rig, "x.example", QUEUE_SITE_BOUNCE, "no such domain", 20 * MINUTE);
    CHECK_U64(rig_last(rig)->result, SPOOL_RESULT_BOUNCED);
    CHECK_STR(str_from_c(rig_last(rig)->text), STR("no such domain"));
    CHECK_U64(rig->dsn_count, 1);
    rig_accept(rig, 2, "b@x.example");
    CHECK_U64(rig->site_ask_count, 0);
    CHECK_U64(rig->dsn_count, 2);
    rig_free(rig);
}

TEST(a_domain_beyond_255_characters_bounces_without_a_question)
{
    struct rig *rig = rig_new(CONF);
    char rcpt[400];
    memset(rcpt, 'x', sizeof rcpt);
    memcpy(rcpt, "a@", 2);
    rcpt[300] = '\0';
    rig_accept(rig, 1, rcpt);
    CHECK_U64(rig->site_ask_count, 0);
    CHECK_U64(rig_last(rig)->result, SPOOL_RESULT_BOUNCED);
    rig_accept(rig, 2, "postmaster"); /* an address without a domain is asked for as "" */
    CHECK_U64(rig->site_ask_count, 1);
    CHECK_STR(str_from_c(rig->site_ask[0].domain), STR(""));
    rig_free(rig);
}

TEST(an_answer_that_ran_out_is_asked_for_when_somebody_needs_it)
{
    struct rig *rig = rig_new(CONF);
    rig_accept(rig, 1, "a@x.example");
    rig_site(rig, "x.example", QUEUE_SITE_FOUND, "mx.x", HOUR);
    rig_end(rig, rig_job(rig), &rig_delivered);
    rig_pass(rig, HOUR - 1000);
    rig_accept(rig, 2, "a@x.example");
    CHECK_U64(rig->site_ask_count, 0);
    rig_end(rig, rig_job(rig), &rig_delivered);
    rig_pass(rig, 2000);
    CHECK_U64(rig->site_ask_count, 0);
    rig_accept(rig, 3, "a@x.example");
    CHECK_U64(rig->site_ask_count, 1);
    rig_site(rig, "x.example", QUEUE_SITE_FOUND, "mx2.x", HOUR);
    struct queue_job *job = rig_job(rig);
    CHECK_STR(job->site->key, STR("mx2.x"));
    rig_end(rig, job, &rig_delivered);
    rig_free(rig);
}

TEST(questions_about_domains_are_bounded_and_none_is_forgotten)
{
    struct rig *rig = rig_new(CONF);
    char rcpt[64];
    for (uint64_t i = 0; i < 2500; i++) {
        fmt(rcpt, sizeof rcpt, "a@d%llu.example", (unsigned long long)i);
        rig_send(rig, &(struct rig_mail){ .msg_id = i + 1, .rcpts = rcpt });
    }
    rig_turn(rig);
    CHECK_U64(rig->site_ask_count, 1000);
    uint32_t answered = 0;
    while (rig->site_ask_count) {
        struct rig_site_ask ask = rig->site_ask[--rig->site_ask_count];
        rig_site_answer(rig, ask.domain_id, QUEUE_SITE_FOUND, "mx.shared", 60000);
        answered++;
        if (answered % 100 == 0) {
            rig_turn(rig);
        }
        CHECK(rig->site_ask_count <= 1000);
    }
    rig_turn(rig);
    CHECK_U64(answered, 2500);
    CHECK_U64(rig->job_count, 40); /* one site, whatever the domains */
    CHECK_U64(rig_stats(rig).sites, 1);
    while (rig->job_count) {
        rig_end(rig, rig_job(rig), &rig_delivered);
        while (rig->prepare_count) {
            rig_prepared(rig, rig_prepare(rig), OK);
        }
    }
    CHECK_U64(rig_stats(rig).delivered, 2500);
    rig_free(rig);
}

TEST(nothing_starts_after_stop_and_idle_means_no_job_is_out)
{
    struct rig *rig = rig_auto();
    rig_accept(rig, 1, "a@x.example");
    CHECK(!queue_is_idle(rig->queue));
    rig_stop(rig);
    rig_accept(rig, 2, "a@x.example");
    CHECK_U64(rig->job_count, 1);
    CHECK(!queue_is_idle(rig->queue));
    CHECK(rig_has(rig_view(rig, 2, 0)->waits_for, "stopping"));
    rig_end(rig, rig_job(rig), &rig_bounced);
    CHECK(queue_is_idle(rig->queue));
    CHECK_U64(rig->dsn_count, 0);
    rig_free(rig);
}

TEST(an_envelope_that_cannot_be_read_and_a_message_told_twice_change_nothing)
{
    struct rig *rig = rig_auto();
    struct queue_accepted *news = mem_new(sizeof *news);
    news->letter.kind = QUEUE_ACCEPTED;
    news->msg_id = 5;
    news->envelope = rig_blob(STR("rubbish"));
    mailbox_answer(queue_mailbox(rig->queue), &news->letter);
    rig_turn(rig);
    CHECK_U64(rig_stats(rig).msgs, 0);
    rig_accept(rig, 1, "a@x.example");
    rig_accept(rig, 1, "a@x.example");
    CHECK_U64(rig->job_count, 1);
    CHECK_U64(rig_stats(rig).msgs, 1);
    rig_free(rig);
}

TEST(ten_thousand_recipients_leave_in_transactions_of_a_hundred)
{
    struct rig *rig = rig_auto();
    rig->is_prepare_auto = true;
    struct buf rcpts;
    buf_init(&rcpts, 1 << 20);
    for (uint32_t i = 0; i < 10000; i++) {
        buf_addf(&rcpts, "%su%u@big.example", i ? " " : "", i);
    }
    buf_add_char(&rcpts, '\0');
    rig_accept(rig, 7, rcpts.ptr);
    CHECK_U64(rig->job_count, 40);
    uint32_t jobs = 0;
    while (rig->job_count) {
        struct queue_job *job = rig_job(rig);
        CHECK_U64(job->rcpt_count, 100);
        jobs++;
        rig_result(rig, job, 0, 99, &rig_delivered, false);
        rig_result(rig, job, 99, 100, &rig_deferred, true);
        queue_job_free(job);
        rig_turn(rig);
    }
    CHECK_U64(jobs, 100);
    CHECK_U64(rig_stats(rig).delivered, 9900);
    rig_pass(rig, 6 * MINUTE);
    CHECK_U64(rig->job_count, 25); /* every hundredth is left, and they meet again in few jobs */
    while (rig->job_count) {
        rig_end(rig, rig_job(rig), &rig_delivered);
    }
    CHECK_U64(rig_stats(rig).msgs, 0);
    buf_done(&rcpts);
    rig_free(rig);
}
