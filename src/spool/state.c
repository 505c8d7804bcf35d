/* SPDX-License-Identifier: Apache-2.0
 *
 * state.c - the life of a recipient as the journal knows it: one table, state and event to state.
 *
 * docs/spool.md prints the table. What an operator wishes while an attempt is under way is kept
 * as a flag and acts when the attempt ends.
 */
#include "spool/index_priv.h"

static const char *const state_names[] = { "queued", "attempting", "in_doubt", "held", "failed",
    "delivered", "notified", "closed", "cancelled", "suppressed" };
static_assert(COUNT_OF(state_names) == SPOOL_STATE_COUNT, "a name for each state");

const char *spool_state_name(enum spool_state state)
{
    ASSERT((unsigned)state < SPOOL_STATE_COUNT);
    return state_names[state];
}

enum { NO = -1 };
#define Q SPOOL_QUEUED
#define A SPOOL_ATTEMPTING
#define D SPOOL_IN_DOUBT
#define H SPOOL_HELD
#define F SPOOL_FAILED
/* Rows: event; columns: queued, attempting, in doubt, held, failed. Closed states take nothing. */
static const int8_t table[EVENT_COUNT][SPOOL_FAILED + 1] = {
    [EVENT_ATTEMPT] = { A, A, A, NO, NO },
    [EVENT_DELIVERED] = { SPOOL_DELIVERED, SPOOL_DELIVERED, SPOOL_DELIVERED, SPOOL_DELIVERED, NO },
    [EVENT_DEFERRED] = { Q, Q, Q, NO, NO },
    [EVENT_IN_DOUBT] = { D, D, D, NO, NO },
    [EVENT_FAILED] = { F, F, F, F, NO },
    [EVENT_HELD] = { H, H, H, H, NO },
    [EVENT_CTL_HOLD] = { H, A, H, H, NO },
    [EVENT_CTL_RELEASE] = { Q, A, Q, Q, NO },
    [EVENT_CTL_CANCEL] = { SPOOL_CANCELLED, A, SPOOL_CANCELLED, SPOOL_CANCELLED, NO },
    [EVENT_CTL_BOUNCE] = { F, A, F, F, NO },
    [EVENT_CTL_FLUSH] = { Q, A, Q, NO, NO },
    [EVENT_CTL_CLOSE] = { NO, NO, NO, NO, SPOOL_CLOSED },
    [EVENT_NOTIFIED] = { NO, NO, NO, NO, SPOOL_NOTIFIED },
    [EVENT_RESTART] = { NO, D, NO, NO, NO },
};
#undef Q
#undef A
#undef D
#undef H
#undef F

enum { WISHES = RCPT_HOLD | RCPT_CANCEL | RCPT_BOUNCE };

/* An operator's action on a recipient that is being attempted. */
static void note_wish(struct rcpt *rcpt, enum rcpt_event event)
{
    if (event == EVENT_CTL_RELEASE) {
        rcpt->flags &= (uint8_t)~RCPT_HOLD;
    } else if (event == EVENT_CTL_HOLD) {
        rcpt->flags |= RCPT_HOLD;
    } else if (event == EVENT_CTL_CANCEL) {
        rcpt->flags |= RCPT_CANCEL;
    } else if (event == EVENT_CTL_BOUNCE) {
        rcpt->flags |= RCPT_BOUNCE;
    }
}

static enum spool_state wished(const struct rcpt *rcpt, enum spool_state state)
{
    if (state != SPOOL_QUEUED && state != SPOOL_IN_DOUBT) {
        return state;
    }
    if (rcpt->flags & RCPT_CANCEL) {
        return SPOOL_CANCELLED;
    }
    if (rcpt->flags & RCPT_BOUNCE) {
        return SPOOL_FAILED;
    }
    return rcpt->flags & RCPT_HOLD ? SPOOL_HELD : state;
}

bool rcpt_next_state(struct rcpt *rcpt, enum rcpt_event event, enum spool_state *ret_state)
{
    ASSERT((unsigned)event < EVENT_COUNT);
    if (rcpt->state > SPOOL_FAILED || table[event][rcpt->state] == NO) {
        return false;
    }
    enum spool_state next = (enum spool_state)table[event][rcpt->state];
    if (next == SPOOL_ATTEMPTING) {
        note_wish(rcpt, event);
    } else if (rcpt->state == SPOOL_ATTEMPTING) {
        next = wished(rcpt, next);
        rcpt->flags &= (uint8_t)~WISHES;
    }
    if (event == EVENT_IN_DOUBT || event == EVENT_RESTART) {
        rcpt->flags |= RCPT_MAYBE_DUPLICATE;
    }
    *ret_state = next;
    return true;
}
