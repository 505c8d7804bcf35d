/* SPDX-License-Identifier: Apache-2.0
 *
 * wheel.c - see wheel_priv.h. When the fine slots wrap, the coarse slot of that moment is emptied
 * into finer ones; stretches without anything are jumped over.
 */
#include "queue/queue_priv.h"

enum { FINE_SHIFT = 8, COARSE_SHIFT = 6 };
static_assert(
        1 << FINE_SHIFT == WHEEL_FINE_COUNT && 1 << COARSE_SHIFT == WHEEL_COARSE_COUNT, "slots");

void wheel_init(struct wheel *wheel, struct mono base)
{
    *wheel = (struct wheel){ .base_ms = base.ms };
    for (uint32_t i = 0; i < WHEEL_SLOT_COUNT; i++) {
        wheel->first[i] = NONE;
    }
}

static uint32_t tick_of(const struct wheel *wheel, struct mono at, bool is_rounded_up)
{
    int64_t ms = at.ms - wheel->base_ms;
    if (ms <= 0) {
        return 0;
    }
    int64_t tick = (ms + (is_rounded_up ? WHEEL_TICK_MS - 1 : 0)) / WHEEL_TICK_MS;
    return tick >= UINT32_MAX ? UINT32_MAX - 1 : (uint32_t)tick;
}

uint32_t wheel_tick(const struct wheel *wheel, struct mono at)
{
    return tick_of(wheel, at, true);
}

struct mono wheel_time(const struct wheel *wheel, uint32_t tick)
{
    return (struct mono){ wheel->base_ms + (int64_t)tick * WHEEL_TICK_MS };
}

/* How many ticks a slot of a coarse level spans, as a shift. */
static uint32_t level_shift(uint32_t level)
{
    return FINE_SHIFT + (level - 1) * COARSE_SHIFT;
}

static uint32_t coarse_slot(uint32_t level, uint32_t tick)
{
    return WHEEL_FINE_COUNT + (level - 1) * WHEEL_COARSE_COUNT +
           ((tick >> level_shift(level)) & (WHEEL_COARSE_COUNT - 1));
}

static uint32_t slot_of(const struct wheel *wheel, uint32_t due)
{
    uint32_t ahead = due - wheel->tick;
    if (ahead < WHEEL_FINE_COUNT) {
        return due & (WHEEL_FINE_COUNT - 1);
    }
    for (uint32_t level = 1; level < WHEEL_LEVEL_COUNT; level++) {
        if (ahead < UINT32_C(1) << level_shift(level + 1)) {
            return coarse_slot(level, due);
        }
    }
    uint32_t furthest = wheel->tick + (UINT32_C(1) << level_shift(WHEEL_LEVEL_COUNT)) - 1;
    return coarse_slot(WHEEL_LEVEL_COUNT - 1, furthest);
}

static void slot_add(struct queue *q, uint32_t rcpt)
{
    struct rcpt *r = rcpt_at(q, rcpt);
    uint32_t slot = slot_of(&q->wheel, r->due);
    r->prev = WHEEL_IS_SLOT | slot;
    r->next = q->wheel.first[slot];
    if (r->next != NONE) {
        rcpt_at(q, r->next)->prev = rcpt;
    }
    q->wheel.first[slot] = rcpt;
}

void wheel_add(struct queue *q, uint32_t rcpt)
{
    struct rcpt *r = rcpt_at(q, rcpt);
    if (r->due <= q->wheel.tick) {
        r->due = q->wheel.tick + 1;
    }
    slot_add(q, rcpt);
    q->wheel.count++;
}

void wheel_del(struct queue *q, uint32_t rcpt)
{
    struct rcpt *r = rcpt_at(q, rcpt);
    ASSERT(q->wheel.count > 0);
    if (r->prev & WHEEL_IS_SLOT) {
        uint32_t slot = r->prev & ~WHEEL_IS_SLOT;
        ASSERT(q->wheel.first[slot] == rcpt);
        q->wheel.first[slot] = r->next;
    } else {
        rcpt_at(q, r->prev)->next = r->next;
    }
    if (r->next != NONE) {
        rcpt_at(q, r->next)->prev = r->prev;
    }
    r->prev = r->next = NONE;
    q->wheel.count--;
}

/* The next tick at which there is something to take or to sort; UINT32_MAX: none. */
static uint32_t next_tick(const struct wheel *wheel)
{
    uint32_t next = UINT32_MAX;
    for (uint32_t ahead = 1; ahead < WHEEL_FINE_COUNT; ahead++) {
        if (wheel->first[(wheel->tick + ahead) & (WHEEL_FINE_COUNT - 1)] != NONE) {
            next = wheel->tick + ahead;
            break;
        }
    }
    for (uint32_t level = 1; level < WHEEL_LEVEL_COUNT; level++) {
        uint32_t shift = level_shift(level), now = wheel->tick >> shift;
        for (uint32_t ahead = 1; ahead <= WHEEL_COARSE_COUNT; ahead++) {
            uint32_t at = (now + ahead) << shift;
            if (wheel->first[coarse_slot(level, at)] != NONE) {
                next = at < next ? at : next;
                break;
            }
        }
    }
    return next;
}

/* The wheel has come to the start of coarse slots: what they hold goes into finer ones. */
static void sort_coarse(struct queue *q)
{
    struct wheel *wheel = &q->wheel;
    for (uint32_t level = WHEEL_LEVEL_COUNT - 1; level >= 1; level--) {
        if (wheel->tick & ((UINT32_C(1) << level_shift(level)) - 1)) {
            continue;
        }
        uint32_t slot = coarse_slot(level, wheel->tick);
        uint32_t rcpt = wheel->first[slot];
        wheel->first[slot] = NONE;
        while (rcpt != NONE) {
            uint32_t next = rcpt_at(q, rcpt)->next;
            slot_add(q, rcpt);
            rcpt = next;
        }
    }
}

uint32_t wheel_take_due(struct queue *q)
{
    struct wheel *wheel = &q->wheel;
    uint32_t target = tick_of(wheel, q->now, false);
    while (wheel->count > 0) {
        uint32_t rcpt = wheel->first[wheel->tick & (WHEEL_FINE_COUNT - 1)];
        if (rcpt != NONE) {
            ASSERT(rcpt_at(q, rcpt)->due <= wheel->tick);
            wheel_del(q, rcpt);
            return rcpt;
        }
        uint32_t next = next_tick(wheel);
        if (next > target) {
            break;
        }
        wheel->tick = next;
        sort_coarse(q);
    }
    wheel->tick = wheel->tick > target ? wheel->tick : target;
    return NONE;
}

struct mono wheel_next(const struct queue *q)
{
    const struct wheel *wheel = &q->wheel;
    if (wheel->count == 0) {
        return (struct mono){ 0 };
    }
    if (wheel->first[wheel->tick & (WHEEL_FINE_COUNT - 1)] != NONE) {
        return q->now;
    }
    return wheel_time(wheel, next_tick(wheel));
}
