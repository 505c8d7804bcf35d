/* SPDX-License-Identifier: Apache-2.0
 *
 * index_priv.h - the open messages in memory: 32 bytes a message with one recipient, a number in a
 * numset, and 10 bytes for each recipient where there are more. No strings.
 *
 * Room is reserved before a message is promised, so that noting a durable one cannot fail.
 */
#ifndef OUTPOST_SPOOL_INDEX_PRIV_H
#define OUTPOST_SPOOL_INDEX_PRIV_H

#include "core/numset.h"
#include "spool/format_priv.h"

enum rcpt_flag {
    RCPT_MAYBE_DUPLICATE = 1,
    RCPT_HOLD = 2, /* wishes of the operator that act when the attempt ends */
    RCPT_CANCEL = 4,
    RCPT_BOUNCE = 8
};
struct rcpt {
    uint16_t due[3]; /* 48 bits of milliseconds, UTC, low ones first */
    uint16_t tries;
    uint8_t state; /* enum spool_state */
    uint8_t flags;
};

/* Of a message with several recipients, or with streamed content. */
struct msg_more {
    struct msg_more *next; /* while it waits for its message */
    struct spool_extent *extent;
    uint32_t extent_count;
    uint16_t rcpt_count;
    uint16_t open_count;
    struct rcpt rcpt[];
};

enum { MSG_SIZE_UNIT = 256 };
struct msg {
    uint64_t msg_id; /* 0: a free entry */
    struct spool_place place;
    uint16_t size_units; /* record and inline content, MSG_SIZE_UNIT each */
    union {
        struct rcpt one;
        struct msg_more *more;
    } __attribute__((packed, aligned(2))); /* at 16: the pointer is aligned all the same */
    uint16_t accepted_hi : 15;             /* 47 bits of milliseconds, UTC */
    uint16_t has_more : 1;
    union {
        uint32_t accepted_lo;
        uint32_t free_next; /* of a free entry: the next one's number + 1; 0: none */
    };
};

enum { INDEX_CHUNK_COUNT = 1024 };
struct index {
    struct msg **chunk;
    uint32_t chunk_count, chunk_cap;
    uint32_t free_first; /* entry number + 1; 0: none */
    uint32_t free_count;
    uint32_t count;
    struct numset set; /* entry numbers by msg_id */
    uint64_t open_rcpts;
    uint64_t state_count[SPOOL_STATE_COUNT]; /* open ones, now */
    uint64_t closed_count[SPOOL_STATE_COUNT];
};

void index_done(struct index *index);
/* After OK, `count` further index_add cannot fail. */
MUST_USE enum err index_reserve(struct index *index, uint32_t count);
/* Many will come, one by one and in this order: the set need not grow step by step. */
MUST_USE enum err index_expect(struct index *index, uint32_t count);
struct msg *index_find(const struct index *index, uint64_t msg_id);
struct msg *index_add(struct index *index, uint64_t msg_id);
void index_del(struct index *index, struct msg *msg); /* frees msg->more */
/* for (uint32_t at = 0; (msg = index_walk(index, &at)) != NULL;) */
struct msg *index_walk(const struct index *index, uint32_t *at);

MUST_USE struct msg_more *msg_more_new(uint32_t rcpt_count, uint32_t extent_count);
void msg_more_free(struct msg_more *more);

static inline uint32_t msg_rcpt_count(const struct msg *msg)
{
    return msg->has_more ? msg->more->rcpt_count : 1;
}
/* Zero only while a message comes or goes. */
static inline uint32_t msg_open_count(const struct msg *msg)
{
    return msg->has_more ? msg->more->open_count : spool_state_is_open(msg->one.state);
}
static inline struct rcpt *msg_rcpt(struct msg *msg, uint32_t index)
{
    ASSERT(index < msg_rcpt_count(msg));
    return msg->has_more ? &msg->more->rcpt[index] : &msg->one;
}
/* A new message's recipients have their states: counts the open ones. False: there is none. */
bool msg_count_open(struct index *index, struct msg *msg);
static inline struct spool_where msg_where(const struct msg *msg)
{
    return spool_place_where(msg->place);
}
static inline uint32_t msg_slot(const struct msg *msg)
{
    return msg_where(msg).slot;
}
static inline int64_t msg_accepted_ms(const struct msg *msg)
{
    return (int64_t)((uint64_t)msg->accepted_hi << 32 | msg->accepted_lo);
}
void msg_set_accepted(struct msg *msg, int64_t ms); /* cut to 47 bits: year 6429 */
static inline int64_t rcpt_due_ms(const struct rcpt *rcpt)
{
    return (int64_t)((uint64_t)rcpt->due[2] << 32 | (uint32_t)rcpt->due[1] << 16 | rcpt->due[0]);
}
static inline void rcpt_set_due(struct rcpt *rcpt, int64_t ms)
{
    uint64_t bits = ms < 0 ? 0 : (uint64_t)ms;
    bits = bits >> 48 ? ((uint64_t)1 << 48) - 1 : bits;
    for (uint32_t i = 0; i < 3; i++) {
        rcpt->due[i] = (uint16_t)(bits >> 16 * i);
    }
}
void rcpt_encode(char dst[STORED_RCPT_BYTES], const struct rcpt *rcpt);
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
