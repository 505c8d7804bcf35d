/* SPDX-License-Identifier: Apache-2.0
 *
 * clock.c - the system's clocks, in milliseconds.
 */
#include "edge/clock.h"

static int64_t read_ms(clockid_t id)
{
    struct timespec now;
    ASSERT(clock_gettime(id, &now) == 0);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

static struct mono real_mono(struct clock *clock)
{
    (void)clock;
    return (struct mono){ read_ms(CLOCK_BOOTTIME) };
}

static struct wall real_wall(struct clock *clock)
{
    (void)clock;
    return (struct wall){ read_ms(CLOCK_REALTIME) };
}

struct clock *clock_real(void)
{
    static struct clock real = { real_mono, real_wall };
    return &real;
}
