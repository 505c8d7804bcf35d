/* SPDX-License-Identifier: Apache-2.0
 *
 * wheel_priv.h - a timing wheel over recipients: adding, removing and waking cost the same for ten
 * waiting recipients and for ten million.
 *
 * Time is counted in ticks of WHEEL_TICK_MS from the wheel's base. Four levels: 256 slots of one
 * tick, then 64 slots each of 16 s, 17 min and 18 h; what is further away waits in the last slot
 * and is sorted again. Slots are chains through the recipients' prev and next.
 */
#ifndef OUTPOST_QUEUE_WHEEL_PRIV_H
#define OUTPOST_QUEUE_WHEEL_PRIV_H

#include "core/base.h"

enum {
    WHEEL_TICK_MS = 64,
    WHEEL_FINE_COUNT = 256,
    WHEEL_COARSE_COUNT = 64,
    WHEEL_LEVEL_COUNT = 4,
    WHEEL_SLOT_COUNT = WHEEL_FINE_COUNT + (WHEEL_LEVEL_COUNT - 1) * WHEEL_COARSE_COUNT
};
#define WHEEL_IS_SLOT                                                                              \
    UINT32_C(0x80000000) /* in prev: the number of the slot, not of a recipient                    \
                          */

struct wheel {
    int64_t base_ms;
    uint32_t tick; /* everything due up to here was taken out */
    uint32_t count;
    uint32_t first[WHEEL_SLOT_COUNT];
};

struct queue;
void wheel_init(struct wheel *wheel, struct mono base);
uint32_t wheel_tick(const struct wheel *wheel, struct mono at); /* rounded up */
struct mono wheel_time(const struct wheel *wheel, uint32_t tick);
void wheel_add(struct queue *q, uint32_t rcpt); /* at rcpt.due, at the earliest the next tick */
void wheel_del(struct queue *q, uint32_t rcpt);
uint32_t wheel_take_due(struct queue *q); /* one recipient that is due, out of the wheel; NONE */
struct mono wheel_next(const struct queue *q); /* when to look again; 0: the wheel is empty */

#endif
