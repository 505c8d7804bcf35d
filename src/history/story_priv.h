/* SPDX-License-Identifier: Apache-2.0
 *
 * story_priv.h - one message being worked on: its packed row and where its recipients stand.
 *
 * The states follow from the events alone, by the table of docs/spool.md, computed here anew: the
 * audit compares three independent counts. A bounced or expired recipient is open until its report
 * was accepted or given up.
 */
#ifndef OUTPOST_HISTORY_STORY_PRIV_H
#define OUTPOST_HISTORY_STORY_PRIV_H

#include "history/row_priv.h"

enum story_state {
    STORY_QUEUED,
    STORY_ATTEMPTING,
    STORY_IN_DOUBT,
    STORY_HELD,
    STORY_BOUNCING, /* bounced, no report yet */
    STORY_EXPIRING,
    STORY_DELIVERED,
    STORY_BOUNCED,
    STORY_EXPIRED,
    STORY_CANCELLED,
    STORY_SUPPRESSED,
    STORY_STATE_COUNT
};
static inline bool story_state_is_open(enum story_state state)
{
    return state <= STORY_EXPIRING;
}
const char *story_state_word(enum story_state state); /* of DESIGN 2: "bounced" for BOUNCING too */

struct story_rcpt {
    uint8_t state; /* enum story_state */
};
/* Moves rcpt by one event; false: it changes nothing. */
bool story_rcpt_move(struct story_rcpt *rcpt, const struct row_event *event);

struct story_counts {
    uint64_t msgs, rcpts, attempts, refused;
    uint64_t state[STORY_STATE_COUNT];
};

struct story {
    uint64_t msg_id;
    void *day;          /* whose file has it */
    struct story *next; /* of the same file, in this commit */
    bool is_new;        /* has no row yet */
    bool is_dirty;
    uint32_t rcpt_count, open_count;
    struct story_rcpt *rcpt, one; /* rcpt = &one for a single recipient */
    struct row row;
    size_t thin_at_bytes; /* of row: not thinned out before */
};
/* NULL: no memory. Counts the message and its recipients in. */
MUST_USE struct story *story_new(
        uint64_t msg_id, const struct spool_envelope *envelope, struct story_counts *counts);
/* From its row. E_CORRUPT, E_NOMEM. */
MUST_USE enum err story_load(
        uint64_t msg_id, struct str bytes, uint16_t *scratch, struct story **ret_story);
void story_free(struct story *story);
/* Appends the event and moves the recipients, whose numbers the message has. E_NOMEM: the story is
 * of no use any more. */
MUST_USE enum err story_add(
        struct story *story, const struct row_event *event, struct story_counts *counts);
/* The envelope as it stands in the row; views are valid until the next story_add. */
void story_head(const struct story *story, struct row_head *ret_head);

#endif
