/* SPDX-License-Identifier: Apache-2.0
 *
 * mailbox.h - how owners talk: a bounded queue of letters, many senders, one receiver.
 *
 * Sending gives the letter and all it points to away. The receiver takes everything at once, in
 * order. `wake` is called (outside the lock) when an empty box gets a letter: a real owner
 * signals its thread, the simulation marks the owner runnable. This is the only lock in Outpost.
 *
 * Two ways to send. mailbox_send respects the bound: on E_FULL or E_CLOSED the letter stays the
 * sender's, who answers 4xx or stops reading. mailbox_answer never refuses for fullness: for
 * answers and outcomes, whose number is bounded by the requests that caused them.
 */
#ifndef OUTPOST_CORE_MAILBOX_H
#define OUTPOST_CORE_MAILBOX_H

#include "core/base.h"

#include <pthread.h>

/* Head of every typed letter: embed it first. kind is of the receiver's enum. */
struct letter {
    struct letter *next;
    uint32_t kind;
};

struct mailbox {
    struct mailbox *next_to_wake; /* in the sender's list of wake-ups put off */
    pthread_mutex_t lock;
    pthread_cond_t filled; /* for mailbox_wait */
    struct letter *first, **last;
    uint32_t count;
    uint32_t count_max;
    bool is_closed;
    bool is_waiting; /* the owner sleeps in mailbox_wait */
    bool is_put_off; /* in some thread's list of wake-ups */
    bool is_brief;   /* see mailbox_init_brief */
    void (*wake)(void *wake_ctx);
    void *wake_ctx;
};

void mailbox_init(struct mailbox *box, uint32_t count_max, void (*wake)(void *), void *wake_ctx);
/* A box that may be gone before its sender's turn ends, as that of one question: who sends to it
 * wakes at once, also under mailbox_defer, and does not touch it afterwards. */
void mailbox_init_brief(struct mailbox *box);
void mailbox_done(
        struct mailbox *box); /* must be empty or closed; letters left are leaked: drain first */

MUST_USE enum err mailbox_send(struct mailbox *box, struct letter *letter);
void mailbox_answer(struct mailbox *box, struct letter *letter);
/* Puts off this thread's wake-ups until mailbox_flush: a turn that sends many letters wakes each
 * receiver once, at its end. Whoever has called this calls mailbox_flush before it blocks, always.
 */
void mailbox_defer(void);
void mailbox_flush(void); /* wakes whom it put off; fine, and cheap, when there is nobody */

/* All letters, oldest first, linked by next; NULL when empty. Never blocks. */
MUST_USE struct letter *mailbox_take_all(struct mailbox *box);
/* Blocks until a letter is there, the box is closed, or wait_ms passed (UINT64_MAX: no limit).
 * For owners that are plain threads; session loops wake through their event loop instead. */
void mailbox_wait(struct mailbox *box, uint64_t wait_ms);
void mailbox_close(struct mailbox *box); /* later sends give E_CLOSED; answers are still taken */
uint32_t mailbox_count(struct mailbox *box);

#endif
