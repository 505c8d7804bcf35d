/* SPDX-License-Identifier: Apache-2.0
 *
 * mailbox.c - a list under a mutex; the sender into an empty box wakes its owner.
 *
 * wake and its context are copied under the lock: once it is released, the owner may take the
 * letter and be gone, box and all. A box whose wake-up was put off must outlive the sender's turn:
 * boxes of owners do, since owners end only after all threads; others are brief and never put off.
 */
#include "core/mailbox.h"

#include <errno.h>

enum { MS_PER_S = 1000, NS_PER_MS = 1000000, NS_PER_S = 1000000000 };

static void box_lock(struct mailbox *box)
{
    int failed = pthread_mutex_lock(&box->lock);
    ASSERT(!failed);
}

static void box_unlock(struct mailbox *box)
{
    int failed = pthread_mutex_unlock(&box->lock);
    ASSERT(!failed);
}

void mailbox_init(struct mailbox *box, uint32_t count_max, void (*wake)(void *), void *wake_ctx)
{
    ASSERT(count_max > 0);
    *box = (struct mailbox){ .count_max = count_max, .wake = wake, .wake_ctx = wake_ctx };
    box->last = &box->first;
    pthread_condattr_t attr;
    int failed = pthread_condattr_init(&attr);
    failed |= pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    failed |= pthread_cond_init(&box->filled, &attr);
    failed |= pthread_condattr_destroy(&attr);
    failed |= pthread_mutex_init(&box->lock, NULL);
    ASSERT(!failed);
}

void mailbox_init_brief(struct mailbox *box)
{
    mailbox_init(box, UINT32_MAX, NULL, NULL);
    box->is_brief = true;
}

void mailbox_done(struct mailbox *box)
{
    box_lock(box); /* waits for a sender that is still on its way out */
    ASSERT(box->first == NULL || box->is_closed);
    box_unlock(box);
    pthread_cond_destroy(&box->filled);
    pthread_mutex_destroy(&box->lock);
}

/* Wake-ups that this thread has put off. */
static _Thread_local struct put_off {
    bool is_on;
    struct mailbox *first;
} put_off;

/* Called with the lock, which it releases. */
static void box_wake_and_unlock(struct mailbox *box)
{
    void (*wake)(void *) = box->wake;
    void *wake_ctx = box->wake_ctx;
    if (box->is_waiting) {
        pthread_cond_signal(&box->filled);
    }
    box_unlock(box);
    if (wake) {
        wake(wake_ctx);
    }
}

/* Appends under the lock, which it releases, then wakes, now or at the end of the turn. */
static void box_put_and_unlock(struct mailbox *box, struct letter *letter)
{
    bool was_empty = box->first == NULL;
    letter->next = NULL;
    *box->last = letter;
    box->last = &letter->next;
    box->count++;
    if (!was_empty) {
        box_unlock(box); /* whoever filled it wakes its owner */
    } else if (!put_off.is_on || box->is_brief) {
        box_wake_and_unlock(box);
    } else {
        bool is_mine = !box->is_put_off;
        if (is_mine) {
            box->is_put_off = true;
            box->next_to_wake = put_off.first;
            put_off.first = box;
        }
        box_unlock(box);
    }
}

void mailbox_defer(void)
{
    put_off.is_on = true;
}

void mailbox_flush(void)
{
    while (put_off.first) {
        struct mailbox *box = put_off.first;
        put_off.first = box->next_to_wake;
        box_lock(box);
        box->is_put_off = false;
        if (box->first) {
            box_wake_and_unlock(box);
        } else {
            box_unlock(box); /* awake all the time, it has taken all */
        }
    }
}

enum err mailbox_send(struct mailbox *box, struct letter *letter)
{
    box_lock(box);
    if (box->is_closed || box->count >= box->count_max) {
        enum err err = box->is_closed ? E_CLOSED : E_FULL;
        box_unlock(box);
        return err;
    }
    box_put_and_unlock(box, letter);
    return OK;
}

void mailbox_answer(struct mailbox *box, struct letter *letter)
{
    box_lock(box);
    box_put_and_unlock(box, letter);
}

struct letter *mailbox_take_all(struct mailbox *box)
{
    box_lock(box);
    struct letter *letters = box->first;
    box->first = NULL;
    box->last = &box->first;
    box->count = 0;
    box_unlock(box);
    return letters;
}

static struct timespec time_in(uint64_t wait_ms)
{
    struct timespec at;
    clock_gettime(CLOCK_MONOTONIC, &at);
    at.tv_sec += (time_t)(wait_ms / MS_PER_S);
    at.tv_nsec += (long)(wait_ms % MS_PER_S) * NS_PER_MS;
    if (at.tv_nsec >= NS_PER_S) {
        at.tv_sec++;
        at.tv_nsec -= NS_PER_S;
    }
    return at;
}

void mailbox_wait(struct mailbox *box, uint64_t wait_ms)
{
    bool has_limit = wait_ms < INT64_MAX / 2; /* 146 million years: past it time_t may overflow */
    struct timespec until = time_in(has_limit ? wait_ms : 0);
    int result = 0;
    box_lock(box);
    box->is_waiting = true;
    while (!box->first && !box->is_closed && result == 0) {
        result = has_limit ? pthread_cond_timedwait(&box->filled, &box->lock, &until)
                           : pthread_cond_wait(&box->filled, &box->lock);
    }
    box->is_waiting = false;
    box_unlock(box);
    ASSERT(result == 0 || result == ETIMEDOUT);
}

void mailbox_close(struct mailbox *box)
{
    box_lock(box);
    box->is_closed = true;
    pthread_cond_broadcast(&box->filled);
    box_unlock(box);
}

uint32_t mailbox_count(struct mailbox *box)
{
    box_lock(box);
    uint32_t count = box->count;
    box_unlock(box);
    return count;
}
