/* SPDX-License-Identifier: Apache-2.0
 *
 * mailbox_test.c - order, the bound, waking, and several threads at once.
 */
#include "core/mailbox.h"

#include "tests/test.h"

#include <sched.h>
#include <stdatomic.h>
#include <unistd.h>

static void count_wake(void *ctx)
{
    atomic_fetch_add((_Atomic int *)ctx, 1);
}

TEST(mailbox_gives_letters_in_order_and_wakes_once_per_filling)
{
    _Atomic int wakes = 0;
    struct mailbox box;
    mailbox_init(&box, 10, count_wake, &wakes);
    struct letter letter[3] = { { .kind = 0 }, { .kind = 1 }, { .kind = 2 } };
    for (int i = 0; i < 3; i++) {
        REQUIRE_OK(mailbox_send(&box, &letter[i]));
    }
    CHECK_U64(wakes, 1);
    CHECK_U64(mailbox_count(&box), 3);
    uint32_t kind = 0;
    for (struct letter *at = mailbox_take_all(&box); at; at = at->next) {
        CHECK_U64(at->kind, kind++);
    }
    CHECK_U64(kind, 3);
    CHECK(mailbox_take_all(&box) == NULL);
    REQUIRE_OK(mailbox_send(&box, &letter[0]));
    CHECK_U64(wakes, 2);
    CHECK(mailbox_take_all(&box) == &letter[0]);
    mailbox_done(&box);
}

TEST(mailbox_refuses_past_its_bound_but_takes_answers)
{
    struct mailbox box;
    mailbox_init(&box, 2, NULL, NULL);
    struct letter letter[4] = { 0 };
    REQUIRE_OK(mailbox_send(&box, &letter[0]));
    REQUIRE_OK(mailbox_send(&box, &letter[1]));
    CHECK_ERR(mailbox_send(&box, &letter[2]), E_FULL);
    mailbox_answer(&box, &letter[3]);
    CHECK_U64(mailbox_count(&box), 3);
    struct letter *at = mailbox_take_all(&box);
    CHECK(at == &letter[0] && at->next == &letter[1] && at->next->next == &letter[3]);
    CHECK(letter[3].next == NULL);
    REQUIRE_OK(mailbox_send(&box, &letter[2]));
    CHECK(mailbox_take_all(&box) == &letter[2]);
    mailbox_done(&box);
}

TEST(mailbox_that_is_closed_takes_answers_only)
{
    struct mailbox box;
    mailbox_init(&box, 2, NULL, NULL);
    struct letter letter[2] = { 0 };
    mailbox_close(&box);
    CHECK_ERR(mailbox_send(&box, &letter[0]), E_CLOSED);
    mailbox_answer(&box, &letter[1]);
    mailbox_wait(&box, UINT64_MAX);
    CHECK(mailbox_take_all(&box) == &letter[1]);
    mailbox_wait(&box, UINT64_MAX);
    mailbox_done(&box);
}

TEST(mailbox_wait_ends_at_its_limit)
{
    struct mailbox box;
    mailbox_init(&box, 1, NULL, NULL);
    mailbox_wait(&box, 0);
    struct timespec before, after;
    clock_gettime(CLOCK_MONOTONIC, &before);
    mailbox_wait(&box, 15);
    clock_gettime(CLOCK_MONOTONIC, &after);
    int64_t waited_ns =
            (after.tv_sec - before.tv_sec) * 1000000000LL + after.tv_nsec - before.tv_nsec;
    CHECK(waited_ns >= 15000000, "%lld", (long long)waited_ns);
    mailbox_done(&box);
}

enum { SENDER_COUNT = 3, LETTERS_EACH = 2000 };

struct sender {
    struct mailbox *box;
    uint32_t flush_every; /* 0: wakes at once */
    struct letter letter[LETTERS_EACH];
};

static void *send_all(void *ctx)
{
    struct sender *sender = ctx;
    if (sender->flush_every) {
        mailbox_defer();
    }
    for (uint32_t i = 0; i < LETTERS_EACH; i++) {
        sender->letter[i].kind = i;
        if (sender->flush_every && i % sender->flush_every == 0) {
            mailbox_flush();
        }
        if (i % 100 == 0) {
            mailbox_answer(sender->box, &sender->letter[i]);
            continue;
        }
        while (mailbox_send(sender->box, &sender->letter[i]) != OK) {
            mailbox_flush(); /* it may be full because its owner was not woken */
            sched_yield();
        }
    }
    mailbox_flush();
    return NULL;
}

static uint32_t sender_of(struct sender *sender, struct letter *letter)
{
    for (uint32_t i = 0; i < SENDER_COUNT; i++) {
        if (letter >= sender[i].letter && letter < sender[i].letter + LETTERS_EACH) {
            return i;
        }
    }
    return SENDER_COUNT;
}

static void check_nothing_is_lost(uint32_t flush_every)
{
    static struct sender sender[SENDER_COUNT];
    _Atomic int wakes = 0;
    struct mailbox box;
    mailbox_init(&box, 64, count_wake, &wakes);
    pthread_t thread[SENDER_COUNT];
    for (uint32_t i = 0; i < SENDER_COUNT; i++) {
        sender[i].box = &box;
        sender[i].flush_every = i == 0 ? 0 : flush_every; /* one of them always wakes at once */
        CHECK(pthread_create(&thread[i], NULL, send_all, &sender[i]) == 0);
    }
    uint32_t next_kind[SENDER_COUNT] = { 0 };
    int takes = 0;
    for (uint32_t taken = 0; taken < SENDER_COUNT * LETTERS_EACH;) {
        mailbox_wait(&box, UINT64_MAX);
        struct letter *at = mailbox_take_all(&box);
        CHECK(at != NULL);
        takes++;
        for (; at; at = at->next, taken++) {
            uint32_t from = sender_of(sender, at);
            CHECK(from < SENDER_COUNT);
            CHECK_U64(at->kind, next_kind[from]++);
        }
    }
    for (int i = 0; i < SENDER_COUNT; i++) {
        pthread_join(thread[i], NULL);
    }
    CHECK(flush_every ? wakes <= takes : wakes == takes, "%d wakes, %d takes", (int)wakes, takes);
    mailbox_done(&box);
}

TEST(mailbox_loses_and_reorders_nothing_between_threads)
{
    check_nothing_is_lost(0);
}

TEST(mailbox_loses_nothing_where_senders_put_off_their_wake_ups)
{
    check_nothing_is_lost(7);
    check_nothing_is_lost(500);
}

static void *send_put_off(void *ctx)
{
    struct mailbox *boxes = ctx;
    static struct letter letter[3];
    mailbox_defer();
    mailbox_answer(&boxes[0], &letter[0]);
    mailbox_answer(&boxes[0], &letter[1]);
    mailbox_answer(&boxes[1], &letter[2]);
    CHECK(mailbox_take_all(&boxes[1]) == &letter[2]); /* its owner was awake */
    CHECK_U64(*(_Atomic int *)boxes[0].wake_ctx, 0);
    mailbox_flush();
    mailbox_flush();
    return NULL;
}

TEST(mailbox_puts_wake_ups_off_until_the_flush_and_then_wakes_once)
{
    _Atomic int wakes = 0;
    struct mailbox boxes[2];
    pthread_t thread; /* of its own, since putting off stays on */
    mailbox_init(&boxes[0], 10, count_wake, &wakes);
    mailbox_init(&boxes[1], 10, count_wake, &wakes);
    CHECK(pthread_create(&thread, NULL, send_put_off, boxes) == 0);
    pthread_join(thread, NULL);
    CHECK_U64(wakes, 1);
    CHECK(mailbox_take_all(&boxes[0]) != NULL);
    mailbox_done(&boxes[0]);
    mailbox_done(&boxes[1]);
}

static void *answer_a_brief_box(void *ctx)
{
    struct mailbox *box = ctx;
    static struct letter letter;
    mailbox_defer();
    mailbox_answer(box, &letter);
    CHECK(mailbox_take_all(box) == &letter);
    mailbox_done(box);
    memset(box, 0xff, sizeof *box); /* gone, within the sender's turn */
    mailbox_flush();
    return NULL;
}

TEST(mailbox_of_one_question_may_be_gone_before_the_flush)
{
    struct mailbox box;
    pthread_t thread;
    mailbox_init_brief(&box);
    CHECK(pthread_create(&thread, NULL, answer_a_brief_box, &box) == 0);
    pthread_join(thread, NULL);
}

static void *close_soon(void *ctx)
{
    usleep(2000);
    mailbox_close(ctx);
    return NULL;
}

TEST(mailbox_close_ends_a_wait_without_limit)
{
    struct mailbox box;
    mailbox_init(&box, 1, NULL, NULL);
    pthread_t thread;
    CHECK(pthread_create(&thread, NULL, close_soon, &box) == 0);
    mailbox_wait(&box, UINT64_MAX);
    CHECK(mailbox_take_all(&box) == NULL);
    pthread_join(thread, NULL);
    mailbox_done(&box);
}
