/* SPDX-License-Identifier: Apache-2.0
 *
 * time.h - UTC calendar arithmetic and the time formats of mail and logs. Reads no clock.
 */
#ifndef OUTPOST_CORE_TIME_H
#define OUTPOST_CORE_TIME_H

#include "core/base.h"

enum { TIME_TEXT_CAP = 40 };

struct civil {
    int32_t year;                                      /* 1970 .. 9999 when formatted */
    uint8_t month, day, hour, minute, second, weekday; /* month and day from 1; Sunday = 0 */
    uint16_t ms;
};
struct civil civil_from_wall(struct wall wall);
struct wall wall_from_civil(struct civil civil); /* weekday ignored */

size_t time_rfc3339(struct wall wall, char dst[TIME_TEXT_CAP]); /* 2026-11-25T13:07:09.123Z */
size_t time_rfc5322(
        struct wall wall, char dst[TIME_TEXT_CAP]);            /* Wed, 25 Nov 2026 13:07:09 +0000 */
size_t time_syslog(struct wall wall, char dst[TIME_TEXT_CAP]); /* Nov 25 13:07:09 (UTC) */
size_t time_day(struct wall wall, char dst[TIME_TEXT_CAP]);    /* 2026-11-25 */
/* RFC 3339 with Z or offset, or a plain number of seconds. */
MUST_USE enum err time_parse_rfc3339(struct str text, struct wall *ret_wall);

/* now + ms, saturating; and the later-than test that reads as a sentence. */
static inline struct mono mono_after(struct mono now, uint64_t ms)
{
    return (struct mono){ ms > (uint64_t)(INT64_MAX - now.ms) ? INT64_MAX : now.ms + (int64_t)ms };
}
static inline bool mono_is_due(struct mono deadline, struct mono now)
{
    return deadline.ms != 0 && deadline.ms <= now.ms;
}
/* The earlier of two deadlines, where 0 is "never". */
static inline struct mono mono_first(struct mono a, struct mono b)
{
    if (a.ms == 0) {
        return b;
    }
    return b.ms == 0 || a.ms < b.ms ? a : b;
}

#endif
