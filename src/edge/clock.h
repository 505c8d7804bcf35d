/* SPDX-License-Identifier: Apache-2.0
 *
 * clock.h - the two clocks. Owners read it once a turn and pass `now` on.
 */
#ifndef OUTPOST_EDGE_CLOCK_H
#define OUTPOST_EDGE_CLOCK_H

#include "core/base.h"

struct clock {
    struct mono (*mono)(struct clock *clock); /* CLOCK_BOOTTIME: counts suspended time */
    struct wall (*wall)(struct clock *clock);
};
static inline struct mono clock_mono(struct clock *clock)
{
    return clock->mono(clock);
}
static inline struct wall clock_wall(struct clock *clock)
{
    return clock->wall(clock);
}
struct clock *clock_real(void); /* static, any thread */

#endif
