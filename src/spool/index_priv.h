/* SPDX-License-Identifier: Apache-2.0
 *
 * index_priv.h - the open messages in memory: 48 bytes a message with one recipient, a number of 4
 * bytes in the hash, and 12 bytes for each recipient where there are more. No strings.
 *
 * Room is reserved before a message is promised, so that noting a durable one cannot fail.
 */
#ifndef OUTPOST_SPOOL_INDEX_PRIV_H
#define OUTPOST_SPOOL_INDEX_PRIV_H

#include "spool/format_priv.h"

enum rcpt_flag {
    RCPT_MAYBE_DUPLICATE = 1,
    RCPT_HOLD = 2, /* wishes of the operator that act when the attempt ends */
    RCPT_CANCEL = 4,
    RCPT_BOUNCE = 8
};
struct rcpt {
    uint32_t due_lo; /* 48 bits of milliseconds, UTC */
    uint16_t due_hi;
    uint16_t tries;
    uint8_t state; /* enum spool_state */
    uint8_t flags;
    uint16_t zero;
};

/* Of a message with several recipients, or with streamed content. */
struct msg_more {
    struct msg_more *next; /* while it waits for its message */
    struct spool_extent *extent;
    uint32_t extent_count;
    uint32_t rcpt_count;
    struct rcpt rcpt[];
};

enum { MSG_SIZE_UNIT = 256 };
struct msg {
    uint64_t msg_id; /* 0: a free entry, slot is the next free one */
    int64_t accepted_ms;
    union {
        struct rcpt one;
        struct msg_more *more;
    };
    uint32_t slot;
    uint32_t record_at;
    uint16_t page;
    uint16_t size_units; /* record and inline content, MSG_SIZE_UNIT each */
    uint16_t rcpt_count : 15;
    uint16_t has_more : 1;
    uint16_t open_count;
};

enum { INDEX_CHUNK_COUNT = 1024 };
struct index {
    struct msg **chunk;
    uint32_t chunk_count, chunk_cap;
    uint32_t free_first; /* entry number + 1; 0: none */
    uint32_t free_count;
    uint32_t count;
    uint32_t *hash; /* entry number + 1; 0: empty. Linear probing, deletion moves back */
    uint32_t hash_cap;
    uint64_t open_rcpts;
    uint64_t state_count[SPOOL_STATE_COUNT]; /* open ones, now */
    uint64_t closed_count[SPOOL_STATE_COUNT];
};

void index_done(struct index *index);
/* After OK, `count` further index_add cannot fail. */
MUST_USE enum err index_reserve(struct index *index, uint32_t count);
struct msg *index_find(const struct index *index, uint64_t msg_id);
struct msg *index_add(struct index *index, uint64_t msg_id);
void index_del(struct index *index, struct msg *msg); /* frees msg->more */
/* for (uint32_t at = 0; (msg = index_walk(index, &at)) != NULL;) */
struct msg *index_walk(const struct index *index, uint32_t *at);

MUST_USE struct msg_more *msg_more_new(uint32_t rcpt_count, uint32_t extent_count);
void msg_more_free(struct msg_more *more);

static inline struct rcpt *msg_rcpt(struct msg *msg, uint32_t index)
{
    ASSERT(index < msg->rcpt_count);
    return msg->has_more ? &msg->more->rcpt[index] : &msg->one;
}
static inline int64_t rcpt_due_ms(const struct rcpt *rcpt)
{
    return (int64_t)((uint64_t)rcpt->due_hi << 32 | rcpt->due_lo);
}
static inline void rcpt_set_due(struct rcpt *rcpt, int64_t ms)
{
    uint64_t bits = ms < 0 ? 0 : (uint64_t)ms;
    bits = bits >> 48 ? ((uint64_t)1 << 48) - 1 : bits;
    rcpt->due_lo = (uint32_t)bits;
    rcpt->due_hi = (uint16_t)(bits >> 32);
}
void rcpt_encode(struct buf *dst, const struct rcpt *rcpt); /* STORED_RCPT_BYTES */
MUST_USE bool rcpt_decode(const char *src, struct rcpt *ret_rcpt);

/* ---- transitions: state.c ---------------------------------------------------------------------
 */

/* What a record does to one recipient. */
enum rcpt_event {
    EVENT_ATTEMPT,
    EVENT_DELIVERED,
    EVENT_DEFERRED,
    EVENT_IN_DOUBT,
    EVENT_FAILED, /* bounced or expired */
    EVENT_HELD,
    EVENT_CTL_HOLD,
    EVENT_CTL_RELEASE,
    EVENT_CTL_CANCEL,
    EVENT_CTL_BOUNCE,
    EVENT_CTL_FLUSH,
    EVENT_CTL_CLOSE,
    EVENT_NOTIFIED,
    EVENT_RESTART, /* not a record: recovery found an attempt without its end */
    EVENT_COUNT
};
/* The state after event, by the table of docs/spool.md; may set or clear flags of wishes. False:
 * the event does not apply in this state, and nothing was changed. */
bool rcpt_next_state(struct rcpt *rcpt, enum rcpt_event event, enum spool_state *ret_state);

#endif
