/* SPDX-License-Identifier: Apache-2.0
 *
 * memory_test.c - what the queue costs: bytes per recipient, time per message, and what happens
 * when memory ends.
 */
#include "tests/unit/queue/rig.h"

#include <malloc.h>
#include <time.h>

#define CONF "hostname = \"mail.example.com\"\n"

enum { MINUTE = 60000, HOUR = 3600000 };

static uint64_t heap_bytes(void)
{
    struct mallinfo2 info = mallinfo2();
    return info.uordblks + info.hblkhd;
}

static double cpu_seconds(void)
{
    struct timespec at;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &at);
    return (double)at.tv_sec + (double)at.tv_nsec / 1e9;
}

static bool is_sanitized(void)
{
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
    return true;
#else
    return false;
#endif
}

static void fill(struct rig *rig, uint32_t count, uint32_t domains)
{
    char rcpt[64];
    for (uint32_t id = 1; id <= count; id++) {
        fmt(rcpt, sizeof rcpt, "user%u@d%u.example", id, id % domains);
        rig_send(rig, &(struct rig_mail){ .msg_id = id, .rcpts = rcpt });
        if (id % 1000 == 0) {
            rig_turn(rig);
        }
    }
    rig_turn(rig);
}

TEST(a_hundred_thousand_queued_messages_take_less_than_10_megabytes)
{
    if (is_sanitized()) {
        return;
    }
    uint64_t before = heap_bytes();
    struct rig *rig = rig_new(CONF);
    rig->is_site_auto = rig->is_record_dropped = true;
    fill(rig, 100000, 100);
    while (rig->job_count) { /* everything waits for a retry, as with receivers that are down */
        rig_end(rig, rig_job(rig), &rig_deferred);
        while (rig->prepare_count) {
            rig_prepared(rig, rig_prepare(rig), OK);
        }
    }
    CHECK_U64(rig_stats(rig).rcpts[QUEUE_VIEW_QUEUED], 100000);
    uint64_t used = heap_bytes() - before;
    print_message("100000 queued recipients: %.2f MB\n", (double)used / 1048576);
    CHECK(used < 10000000, "%llu bytes", (unsigned long long)used);
    rig_free(rig);
}

TEST(closed_recipients_of_long_lists_give_their_memory_to_others)
{
    if (is_sanitized()) {
        return;
    }
    struct rig *rig = rig_new(CONF);
    rig->is_site_auto = rig->is_record_dropped = rig->is_prepare_auto = true;
    struct buf rcpts;
    buf_init(&rcpts, 1 << 20);
    for (uint32_t i = 0; i < 5000; i++) {
        buf_addf(&rcpts, "%su%u@big.example", i ? " " : "", i);
    }
    buf_add_char(&rcpts, '\0');
    uint64_t at_first = 0;
    for (uint64_t id = 1; id <= 200; id++) { /* of each list, one recipient in fifty is deferred */
        rig_accept(rig, id, rcpts.ptr);
        while (rig->job_count) {
            struct queue_job *job = rig_job(rig);
            rig_result(rig, job, 0, job->rcpt_count - 2, &rig_delivered, false);
            rig_result(rig, job, job->rcpt_count - 2, job->rcpt_count, &rig_deferred, true);
            queue_job_free(job);
            rig_turn(rig);
        }
        at_first = id == 20 ? heap_bytes() : at_first;
    }
    uint64_t grown = heap_bytes() - at_first;
    CHECK_U64(rig_stats(rig).rcpts[QUEUE_VIEW_QUEUED], 200 * 100);
    /* 180 lists more: 18000 recipients and 180 tables of runs; a million closed ones cost nothing
     */
    CHECK(grown < 18000 * 300 + 180 * 2000, "%llu bytes", (unsigned long long)grown);
    buf_done(&rcpts);
    rig_free(rig);
}

TEST(two_hundred_thousand_messages_pass_at_few_microseconds_each)
{
    struct rig *rig = rig_new(CONF);
    rig->is_site_auto = rig->is_record_dropped = true;
    enum { ROUND = 40, ROUNDS = 5000 };
    struct queue_job *jobs[ROUND];
    double spent = 0;
    for (uint32_t round = 0; round < ROUNDS; round++) {
        for (uint32_t i = 0; i < ROUND; i++) {
            rig_send(rig,
                    &(struct rig_mail){ .msg_id = round * ROUND + i + 1, .rcpts = "a@x.example" });
        }
        double start = cpu_seconds();
        queue_turn(rig->queue, rig->mono);
        spent += cpu_seconds() - start;
        rig_turn(rig);
        CHECK_U64(rig->job_count, ROUND);
        for (uint32_t i = 0; i < ROUND; i++) {
            jobs[i] = rig->job[i];
            rig_result(rig, jobs[i], 0, 1, &rig_delivered, true);
        }
        rig->job_count = 0;
        start = cpu_seconds();
        queue_turn(rig->queue, rig->mono);
        spent += cpu_seconds() - start;
        for (uint32_t i = 0; i < ROUND; i++) {
            queue_job_free(jobs[i]);
        }
        rig->mono.ms++;
    }
    double us = spent * 1e6 / (ROUND * ROUNDS);
    print_message("enqueue, job, result, forget: %.2f us a message\n", us);
    CHECK_U64(rig_stats(rig).delivered, ROUND * ROUNDS);
    CHECK_U64(rig_stats(rig).msgs, 0);
    CHECK(us < 15 || is_sanitized(), "%.2f us",
            us); /* 3 on an idle machine; this one may be busy */
    rig_free(rig);
}

TEST(listing_costs_little_an_entry)
{
    struct rig *rig = rig_new(CONF);
    rig->is_site_auto = true;
    fill(rig, 100000, 1000);
    struct queue_filter filter = { .count_max = 1000 };
    uint32_t listed = 0;
    double start = cpu_seconds();
    do {
        struct queue_ask *ask = rig_ask(rig, QUEUE_ASK_LIST, &filter);
        listed += ask->view_count;
        filter.after = ask->next_after;
        rig_ask_free(ask);
    } while (filter.after);
    double us = (cpu_seconds() - start) * 1e6 / listed;
    print_message("list: %.2f us an entry\n", us);
    CHECK_U64(listed, 100000);
    CHECK(us < 20 || is_sanitized());
    rig_free(rig);
}

TEST(texts_without_end_do_not_fill_memory)
{
    struct rig *rig = rig_new(CONF);
    rig->is_site_auto = rig->is_prepare_auto = rig->is_record_dropped = true;
    char text[64];
    for (uint64_t id = 1; id <= 20000; id++) {
        fmt(text, sizeof text, "try later, ticket %llu", (unsigned long long)id);
        struct rig_fate fate = { SPOOL_RESULT_DEFERRED, QUEUE_RCPT, 451, "4.7.1", text, false };
        rig_accept(rig, id, "a@x.example");
        rig_end(rig, rig_job(rig), &fate);
    }
    CHECK_STR(rig_view(rig, 1, 0)->reason, STR("451 4.7.1 try later, ticket 1 (mx.example)"));
    CHECK_STR(rig_view(rig, 20000, 0)->reason, STR("451 4.7.1")); /* the journal has the rest */
    rig_free(rig);
}

/* ---- when memory ends ---- */

enum { LIFE_TURNS = 400, LIFE_BAD_TURNS = 40 };

static const struct rig_fate *life_fate(const struct queue_job *job)
{
    static const struct rig_fate *const fates[] = { &rig_no_connection, &rig_deferred,
        &rig_in_doubt };
    if (job->attempt_no <= COUNT_OF(fates)) {
        return fates[job->attempt_no - 1];
    }
    return job->msg_id == 2 ? &rig_bounced : &rig_delivered;
}

/* Answers whatever the scheduler sent out; these letters are made while memory is there. */
static void life_answer(struct rig *rig)
{
    while (rig->job_count) {
        struct queue_job *job = rig_job(rig);
        rig_result(rig, job, 0, job->rcpt_count, life_fate(job), true);
        queue_job_free(job);
    }
    while (rig->site_ask_count) {
        struct rig_site_ask ask = rig->site_ask[--rig->site_ask_count];
        rig_site_answer(rig, ask.domain_id, QUEUE_SITE_FOUND, ask.domain, HOUR);
    }
    rig->is_prepare_auto = true;
    while (rig->prepare_count) {
        rig_prepared(rig, rig_prepare(rig), OK);
    }
    rig->is_prepare_auto = false;
    while (rig->dsn_count) {
        rig_notified(rig, rig_dsn(rig));
    }
}

/* A short life of two messages, a hold and a reload. In each of its first turns the nth allocation
 * of the scheduler fails (0: none). */
static void short_life(uint64_t nth, struct queue_stats *ret_stats)
{
    struct rig *rig = rig_new("hostname = \"mail.example.com\"\n"
                              "source \"s\" { ehlo = \"s.example.com\" }\n"
                              "pool \"p\" { sources = { \"s\" } }\n");
    rig->is_record_dropped = true;
    rig_send(rig,
            &(struct rig_mail){ .msg_id = 1,
                    .rcpts = "a@x.example b@y.example c@x.example 1@x.example 2@x.example "
                             "3@x.example "
                             "4@x.example 5@x.example 6@x.example 7@x.example 8@x.example "
                             "9@x.example "
                             "10@x.example 11@x.example 12@x.example 13@x.example 14@x.example",
                    .stream = "new" });
    rig_send(rig,
            &(struct rig_mail){ .msg_id = 2, .rcpts = "d@x.example", .is_content_absent = true });
    struct queue_ask *hold = mem_new(sizeof *hold);
    *hold = (struct queue_ask){ .letter = { .kind = QUEUE_ASK },
        .reply_box = &rig->answers,
        .ask = QUEUE_ASK_ACT,
        .action = SPOOL_CTL_HOLD,
        .filter = { .by_msg = true, .msg_id = 1, .by_rcpt = true, .rcpt = 0 } };
    struct queue_config *config = mem_new(sizeof *config);
    config->letter.kind = QUEUE_CONFIG;
    config->config = config_take(rig->config);
    for (uint32_t turn = 0; turn < LIFE_TURNS; turn++) {
        if (turn == 5) {
            mailbox_answer(queue_mailbox(rig->queue), &hold->letter);
            mailbox_answer(queue_mailbox(rig->queue), &config->letter);
        }
        mem_fail_at(turn < LIFE_BAD_TURNS ? nth : 0);
        queue_turn(rig->queue, rig->mono);
        mem_fail_at(0);
        life_answer(rig);
        rig->mono.ms += MINUTE;
        rig->wall.ms += MINUTE;
    }
    CHECK(mailbox_take_all(&rig->answers) == &hold->letter);
    rig_ask_free(hold);
    *ret_stats = rig_stats(rig);
    rig_free(rig);
}

TEST(when_an_allocation_fails_in_every_turn_everybody_still_meets_a_fate)
{
    struct queue_stats stats;
    for (uint64_t nth = 0; nth <= 60; nth++) {
        short_life(nth, &stats);
        uint64_t held = stats.rcpts[QUEUE_VIEW_HELD];
        CHECK(held <= 1 && (nth || held == 1));
        CHECK(stats.delivered + held == 17,
                "allocation %llu of each turn: %llu delivered, %llu held", (unsigned long long)nth,
                (unsigned long long)stats.delivered, (unsigned long long)held);
        CHECK_U64(stats.bounced, 1);
        CHECK_U64(stats.msgs, held);
    }
}

TEST(a_scheduler_that_gets_no_memory_at_its_start_says_so)
{
    struct rig *rig = rig_new("hostname = \"mail.example.com\"\n"
                              "stream \"main\" { }\n"
                              "source \"s\" { ehlo = \"s.example.com\" }\n"
                              "pool \"p\" { sources = { \"s\" } }\n");
    struct queue_ports ports = { .ctx = rig };
    enum err err = E_NOMEM;
    for (uint64_t nth = 1; err == E_NOMEM; nth++) {
        struct queue *queue = NULL;
        mem_fail_at(nth);
        err = queue_new(&rig->clock, &rig->entropy, NULL, rig->config, &ports, &queue);
        mem_fail_at(0);
        CHECK(err == OK || err == E_NOMEM);
        queue_free(queue);
    }
    REQUIRE_OK(err);
    rig_free(rig);
}
