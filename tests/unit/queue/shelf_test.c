/* SPDX-License-Identifier: Apache-2.0
 *
 * shelf_test.c - bytes in memory: fresh mail goes at once, the rest is read and signed first, and
 * memory stays bounded.
 */
#include "tests/unit/queue/rig.h"

#define CONF "hostname = \"mail.example.com\"\n"

enum { MINUTE = 60000, HOUR = 3600000 };

static struct rig *rig_auto(const char *config_text)
{
    struct rig *rig = rig_new(config_text);
    rig->is_site_auto = true;
    return rig;
}

TEST(a_message_to_be_signed_is_signed_once_for_all_its_lanes)
{
    struct rig *rig = rig_auto(CONF);
    rig_send(rig,
            &(struct rig_mail){
                    .msg_id = 1, .rcpts = "a@x.example b@y.example", .flags = SPOOL_MSG_SIGN });
    rig_turn(rig);
    CHECK_U64(rig->job_count, 0);
    CHECK_U64(rig->prepare_count, 1);
    CHECK_STR(rig_view(rig, 1, 0)->waits_for, STR("It is being read and signed, and goes next."));
    struct queue_prepare *prepare = rig_prepare(rig);
    CHECK(prepare->envelope && prepare->content && prepare->wants_signature);
    rig_prepared(rig, prepare, OK);
    CHECK_U64(rig->job_count, 2);
    for (uint32_t i = 0; i < 2; i++) {
        struct queue_job *job = rig_job(rig);
        CHECK(job->signature != NULL);
        rig_end(rig, job, &rig_delivered);
    }
    CHECK_U64(rig->prepare_count, 0);
    rig_free(rig);
}

TEST(streamed_content_is_read_before_it_goes)
{
    struct rig *rig = rig_auto(CONF);
    rig_send(rig,
            &(struct rig_mail){ .msg_id = 1, .rcpts = "a@x.example", .is_content_absent = true });
    rig_turn(rig);
    struct queue_prepare *prepare = rig_prepare(rig);
    CHECK(prepare->envelope && !prepare->content && !prepare->wants_signature);
    rig_prepared(rig, prepare, OK);
    rig_end(rig, rig_job(rig), &rig_delivered);
    rig_free(rig);
}

TEST(without_a_key_a_message_is_deferred_and_never_leaves_unsigned)
{
    struct rig *rig = rig_auto(CONF);
    rig_send(rig,
            &(struct rig_mail){ .msg_id = 1, .rcpts = "a@x.example", .flags = SPOOL_MSG_SIGN });
    rig_turn(rig);
    rig_prepared(rig, rig_prepare(rig), E_NOT_FOUND);
    CHECK_U64(rig->job_count, 0);
    CHECK_U64(rig_last(rig)->result, SPOOL_RESULT_DEFERRED);
    CHECK_STR(str_from_c(rig_last(rig)->enhanced), STR("4.7.5"));
    CHECK_STR(rig_view(rig, 1, 0)->reason, STR("no luck"));
    rig_pass(rig, 6 * MINUTE);
    struct queue_prepare *prepare = rig_prepare(rig);
    prepare->wants_signature = false; /* a worker that forgets */
    rig_prepared(rig, prepare, OK);
    CHECK_U64(rig->job_count, 0);
    CHECK_U64(rig->record_count, 2);
    CHECK(rig_has(rig_view(rig, 1, 0)->reason, "must not leave without"));
    rig_free(rig);
}

TEST(a_message_that_cannot_be_read_is_tried_three_times_then_held)
{
    struct rig *rig = rig_auto(CONF);
    rig_send(rig,
            &(struct rig_mail){
                    .msg_id = 1, .rcpts = "a@x.example b@x.example", .is_content_absent = true });
    rig_turn(rig);
    rig_prepared(rig, rig_prepare(rig), E_CORRUPT);
    CHECK_U64(rig->prepare_count, 0);
    CHECK_U64(rig->record_count, 0);
    struct queue_moved *moved = mem_new(sizeof *moved);
    moved->letter.kind = QUEUE_MOVED;
    moved->msg_id = 1;
    moved->where = (struct spool_where){ 5, 6, 8 };
    mailbox_answer(queue_mailbox(rig->queue), &moved->letter);
    rig_pass(rig, 1100);
    struct queue_prepare *prepare = rig_prepare(rig);
    CHECK_U64(prepare->where.slot, 5);
    rig_prepared(rig, prepare, E_IO);
    rig_pass(rig, 1100);
    rig_prepared(rig, rig_prepare(rig), E_CORRUPT);
    CHECK_U64(rig->record_count, 1);
    CHECK_U64(rig_last(rig)->result, SPOOL_RESULT_HELD);
    CHECK_U64(rig_last(rig)->rcpt_count, 2);
    CHECK(rig_has(str_from_c(rig_last(rig)->text), "damaged: no luck"));
    CHECK(rig_has(rig_view(rig, 1, 1)->waits_for, "It is held (damaged: no luck"));
    rig_ask_free(rig_act(rig, SPOOL_CTL_RELEASE, NULL, "disk repaired"));
    rig_prepared(rig, rig_prepare(rig), E_IO); /* from the beginning */
    CHECK_U64(rig_view(rig, 1, 0)->state, QUEUE_VIEW_QUEUED);
    rig_pass(rig, 1100);
    rig_prepared(rig, rig_prepare(rig), OK);
    struct queue_job *job = rig_job(rig);
    CHECK_U64(job->rcpt_count, 2);
    rig_end(rig, job, &rig_delivered);
    rig_free(rig);
}

TEST(want_of_memory_on_a_worker_costs_no_try)
{
    struct rig *rig = rig_auto(CONF);
    rig_send(rig,
            &(struct rig_mail){ .msg_id = 1, .rcpts = "a@x.example", .is_content_absent = true });
    rig_turn(rig);
    for (uint32_t i = 0; i < 10; i++) {
        rig_prepared(rig, rig_prepare(rig), i % 2 ? E_FULL : E_NOMEM);
        CHECK_U64(rig->record_count, 0);
        rig_pass(rig, 1100);
    }
    rig_prepared(rig, rig_prepare(rig), E_UNSUPPORTED);
    CHECK_U64(rig_last(rig)->attempt_no, 1);
    CHECK(rig_has(str_from_c(rig_last(rig)->text), "could not be prepared (unsupported): no luck"));
    rig_free(rig);
}

TEST(an_answer_with_rubbish_for_an_envelope_counts_as_damage)
{
    struct rig *rig = rig_auto(CONF);
    rig_send(rig,
            &(struct rig_mail){ .msg_id = 1, .rcpts = "a@x.example", .is_content_absent = true });
    rig_turn(rig);
    for (uint32_t i = 0; i < 3; i++) {
        struct queue_prepare *prepare = rig_prepare(rig);
        blob_give(prepare->envelope);
        prepare->envelope = rig_blob(STR("rubbish"));
        rig_prepared(rig, prepare, OK);
        rig_pass(rig, 1100);
    }
    CHECK_U64(rig_last(rig)->result, SPOOL_RESULT_HELD);
    rig_free(rig);
}

TEST(an_answer_nobody_waits_for_any_more_is_dropped)
{
    struct rig *rig = rig_auto(CONF);
    rig_send(rig,
            &(struct rig_mail){ .msg_id = 1, .rcpts = "a@x.example", .is_content_absent = true });
    rig_send(rig,
            &(struct rig_mail){ .msg_id = 2, .rcpts = "a@x.example", .is_content_absent = true });
    rig_turn(rig);
    struct queue_prepare *first = rig_prepare(rig), *second = rig_prepare(rig);
    struct queue_filter one = { .by_msg = true, .msg_id = 1 },
                        two = { .by_msg = true, .msg_id = 2 };
    rig_ask_free(rig_act(rig, SPOOL_CTL_CANCEL, &one, ""));
    rig_ask_free(rig_act(rig, SPOOL_CTL_HOLD, &two, ""));
    rig_prepared(rig, first, OK);
    rig_prepared(rig, second, E_CORRUPT);
    CHECK_U64(rig->job_count, 0);
    CHECK_U64(rig_stats(rig).msgs, 1);
    CHECK_U64(rig->budget.used_bytes, 0);
    rig_free(rig);
}

TEST(bytes_of_waiting_messages_stay_within_half_of_the_memory_for_bytes)
{
    struct rig *rig = rig_auto(CONF "memory-bytes-max = 4M\n");
    for (uint64_t id = 1; id <= 5000; id++) {
        rig_send(rig,
                &(struct rig_mail){ .msg_id = id, .rcpts = "a@x.example", .content_bytes = 10000 });
    }
    rig_turn(rig);
    CHECK(rig->budget.used_bytes <= 2 << 20, "%llu bytes held for 5000 messages",
            (unsigned long long)rig->budget.used_bytes);
    uint64_t most = 0;
    rig->is_prepare_auto = true;
    while (rig->prepare_count) {
        rig_prepared(rig, rig_prepare(rig), OK);
    }
    rig_turn(rig);
    while (rig->job_count) { /* all of them leave, a few read ahead */
        rig_end(rig, rig_job(rig), &rig_delivered);
        most = rig->budget.used_bytes > most ? rig->budget.used_bytes : most;
    }
    CHECK_U64(rig_stats(rig).delivered, 5000);
    CHECK(most <= (2 << 20) + 40 * 11000, "%llu bytes",
            (unsigned long long)most); /* and those out */
    rig_free(rig);
}

TEST(a_lane_that_is_suspended_gives_its_bytes_back)
{
    struct rig *rig = rig_auto(CONF);
    rig_accept(rig, 5000, "z@x.example");
    for (uint64_t id = 1; id <= 1000; id++) {
        rig_send(rig,
                &(struct rig_mail){ .msg_id = id, .rcpts = "a@x.example", .content_bytes = 10000 });
    }
    rig_turn(rig);
    CHECK(rig->budget.used_bytes > 256 * 10000);
    while (rig->job_count) {
        rig_end(rig, rig_job(rig), &rig_no_connection);
    }
    CHECK(rig->budget.used_bytes < 40 * 11000, "%llu bytes",
            (unsigned long long)rig->budget.used_bytes);
    rig_send(rig,
            &(struct rig_mail){ .msg_id = 6000, .rcpts = "a@x.example", .content_bytes = 10000 });
    uint64_t before = rig->budget.used_bytes;
    rig_turn(rig);
    CHECK(rig->budget.used_bytes < before);
    rig_free(rig);
}

TEST(memory_for_bytes_is_bounded_over_many_slow_sites)
{
    struct rig *rig = rig_auto(CONF "memory-bytes-max = 8M\n");
    char rcpt[64];
    for (uint64_t id = 1; id <= 3000; id++) {
        fmt(rcpt, sizeof rcpt, "a@d%llu.example", (unsigned long long)(id % 1000));
        rig_send(rig, &(struct rig_mail){ .msg_id = id, .rcpts = rcpt, .content_bytes = 10000 });
        if (id % 100 == 0) {
            rig_turn(rig);
        }
    }
    rig_turn(rig); /* 3000 jobs: their bytes are out; the shelf itself holds half of memory-max */
    while (rig->job_count) {
        queue_job_free(rig_job(rig));
    }
    CHECK(rig->budget.used_bytes <= 4 << 20, "%llu bytes",
            (unsigned long long)rig->budget.used_bytes);
    rig_free(rig);
}

TEST(one_message_larger_than_the_memory_for_bytes_still_goes)
{
    struct rig *rig = rig_auto(CONF "memory-bytes-max = 8M\nsite-connection-max = 1\n");
    rig->is_prepare_auto = true;
    for (uint64_t id = 1; id <= 10; id++) {
        rig_send(rig, &(struct rig_mail){ .msg_id = id,
                              .rcpts = "a@x.example b@y.example",
                              .content_bytes = 60000,
                              .is_content_absent = id % 2 });
    }
    rig_turn(rig);
    while (rig->job_count) {
        rig_end(rig, rig_job(rig), &rig_delivered);
    }
    CHECK_U64(rig_stats(rig).delivered, 20);
    rig_free(rig);
}

TEST(reading_ahead_is_bounded_over_all_lanes_and_nobody_is_forgotten)
{
    struct rig *rig = rig_auto(CONF);
    char rcpt[64];
    for (uint64_t id = 1; id <= 2000; id++) {
        fmt(rcpt, sizeof rcpt, "a@d%llu.example", (unsigned long long)(id % 500));
        rig_send(rig, &(struct rig_mail){ .msg_id = id, .rcpts = rcpt, .flags = SPOOL_MSG_SIGN });
    }
    rig_turn(rig);
    CHECK_U64(rig->prepare_count, 256);
    uint32_t done = 0;
    while (rig->prepare_count || rig->job_count) {
        CHECK(rig->prepare_count <= 256);
        if (rig->prepare_count) {
            rig_prepared(rig, rig->prepare[--rig->prepare_count], OK);
        }
        while (rig->job_count) {
            rig_end(rig, rig_job(rig), &rig_delivered);
            done++;
        }
    }
    CHECK_U64(done, 2000);
    rig_free(rig);
}
