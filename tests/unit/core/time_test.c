/* SPDX-License-Identifier: Apache-2.0
 *
 * time_test.c - the calendar from 1970 to 9999, formats, and what is no time.
 */
#include "core/time.h"

#include "core/prng.h"
#include "core/str.h"
#include "tests/test.h"

static const int64_t day_ms = 86400000, day_count_max = 2932897; /* to the end of 9999 */

TEST(every_tenth_day_from_1970_to_9999_goes_to_a_date_and_back)
{
    for (int64_t day = 0; day < day_count_max; day += 10) {
        struct wall wall = { day * day_ms + day % day_ms };
        struct civil civil = civil_from_wall(wall);
        CHECK(wall_from_civil(civil).ms == wall.ms, "day %lld", (long long)day);
        CHECK_U64(civil.weekday, (day + 4) % 7);
        CHECK(civil.month >= 1 && civil.month <= 12 && civil.day >= 1 && civil.day <= 31);
    }
}

TEST(days_follow_each_other_as_in_the_calendar)
{
    static const uint8_t month_days[] = { 31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31 };
    int64_t day = 0;
    for (int32_t year = 1970; year <= 2410; year++) {
        bool is_leap = (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
        for (int month = 1; month <= 12; month++) {
            int days = month_days[month - 1] + (month == 2 && is_leap);
            for (int d = 1; d <= days; d++, day++) {
                struct civil c = civil_from_wall((struct wall){ day * day_ms });
                CHECK(c.year == year && c.month == month && c.day == d, "day %lld", (long long)day);
            }
        }
    }
}

TEST(times_before_1970_and_at_the_ends_of_the_range_hold)
{
    struct civil c = civil_from_wall((struct wall){ -1 });
    CHECK(c.year == 1969 && c.month == 12 && c.day == 31 && c.hour == 23 && c.ms == 999);
    CHECK_U64(c.weekday, 3);
    c = civil_from_wall((struct wall){ INT64_MIN });
    CHECK(c.year < -292000000);
    c = civil_from_wall((struct wall){ INT64_MAX });
    CHECK(c.year > 292000000);
    char text[TIME_TEXT_CAP];
    CHECK(time_rfc5322((struct wall){ INT64_MAX }, text) < TIME_TEXT_CAP);
    CHECK(time_rfc3339((struct wall){ INT64_MIN }, text) < TIME_TEXT_CAP);
}

TEST(time_formats_are_those_of_mail_and_logs)
{
    struct wall wall = { 1795612029123 };
    char text[TIME_TEXT_CAP];
    CHECK_STR(str_of(text, time_rfc3339(wall, text)), STR("2026-11-25T13:07:09.123Z"));
    CHECK_STR(str_of(text, time_rfc5322(wall, text)), STR("Wed, 25 Nov 2026 13:07:09 +0000"));
    CHECK_STR(str_of(text, time_syslog(wall, text)), STR("Nov 25 13:07:09"));
    CHECK_STR(str_of(text, time_day(wall, text)), STR("2026-11-25"));
    struct wall leap = { 951782400000 };
    CHECK_STR(str_of(text, time_rfc5322(leap, text)), STR("Tue, 29 Feb 2000 00:00:00 +0000"));
    struct wall single = { 1785888000000 + 4 * 3600000 };
    CHECK_STR(str_of(text, time_syslog(single, text)), STR("Aug  5 04:00:00"));
    CHECK_STR(
            str_of(text, time_rfc3339((struct wall){ 0 }, text)), STR("1970-01-01T00:00:00.000Z"));
}

TEST(time_parse_gives_back_what_format_took)
{
    struct prng prng;
    prng_init(&prng, 13);
    for (int i = 0; i < 2000; i++) {
        struct wall wall = { (int64_t)prng_below(&prng, 253402300800000) }, again;
        char text[TIME_TEXT_CAP];
        size_t len = time_rfc3339(wall, text);
        REQUIRE_OK(time_parse_rfc3339(str_of(text, len), &again));
        CHECK(again.ms == wall.ms, "%s", text);
    }
}

TEST(time_parse_takes_offsets_fractions_and_plain_seconds)
{
    static const struct row {
        struct str text;
        int64_t ms;
    } rows[] = {
        { STR_INIT("0"), 0 },
        { STR_INIT("1795612029"), 1795612029000 },
        { STR_INIT("253402300799"), 253402300799000 },
        { STR_INIT("1985-04-12T23:20:50.52Z"), 482196050520 },   /* RFC 3339 5.8 */
        { STR_INIT("1996-12-19T16:39:57-08:00"), 851042397000 }, /* RFC 3339 5.8 */
        { STR_INIT("1990-12-31T23:59:60Z"), 662688000000 },      /* RFC 3339 5.8 */
        { STR_INIT("1937-01-01T12:00:27.87+00:20"), -1 },        /* RFC 3339 5.8: before 1970 */
        { STR_INIT("2026-11-25t13:07:09.1239z"), 1795612029123 },
        { STR_INIT("2026-11-25 14:37:09+01:30"), 1795612029000 },
        { STR_INIT("9999-12-31T23:59:59.999Z"), 253402300799999 },
        { STR_INIT("2000-02-29T00:00:00Z"), 951782400000 },
    };
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        struct wall wall = { -1 };
        enum err err = time_parse_rfc3339(rows[i].text, &wall);
        CHECK((err == OK) == (rows[i].ms >= 0), "%.*s", STR_ARG(rows[i].text));
        CHECK(wall.ms == rows[i].ms, "%.*s: %lld", STR_ARG(rows[i].text), (long long)wall.ms);
    }
}

TEST(time_parse_refuses_what_is_no_time)
{
    static const struct str bad[] = {
        STR_INIT(""),
        STR_INIT("-1"),
        STR_INIT("1e9"),
        STR_INIT("2026-"),
        STR_INIT("2026-11-25"),
        STR_INIT("2026-11-25T"),
        STR_INIT("2026-11-25T13:07:09"),
        STR_INIT("2026-13-25T13:07:09Z"),
        STR_INIT("2026-00-25T13:07:09Z"),
        STR_INIT("2026-11-00T13:07:09Z"),
        STR_INIT("2026-11-31T13:07:09Z"),
        STR_INIT("2026-02-29T13:07:09Z"),
        STR_INIT("2100-02-29T13:07:09Z"),
        STR_INIT("2026-11-25T24:00:00Z"),
        STR_INIT("2026-11-25T13:60:09Z"),
        STR_INIT("2026-11-25T13:07:61Z"),
        STR_INIT("2026-11-25T13:07:09.Z"),
        STR_INIT("2026-11-25T13:07:09ZZ"),
        STR_INIT("2026-11-25T13:07:09+0100"),
        STR_INIT("2026-11-25T13:07:09+24:00"),
        STR_INIT("2026-11-25T13:07:09+01:60"),
        STR_INIT("2026-11-25X13:07:09Z"),
        STR_INIT("26-11-25T13:07:09Z"),
        STR_INIT("2026-1-25T13:07:09Z"),
        STR_INIT("9999-12-31T23:59:59-00:01"),
        STR_INIT("1970-01-01T00:00:00+00:01"),
        STR_INIT("2026-11-25T13:07"),
        STR_INIT("2026-11-25T13:07:09.5"),
    };
    for (size_t i = 0; i < COUNT_OF(bad); i++) {
        struct wall wall = { 77 };
        CHECK(time_parse_rfc3339(bad[i], &wall) == E_SYNTAX, "'%.*s'", STR_ARG(bad[i]));
        CHECK_U64(wall.ms, 77);
    }
    struct wall wall;
    CHECK_ERR(time_parse_rfc3339(STR("253402300800"), &wall), E_TOO_BIG);
}

TEST(deadlines_saturate_and_zero_means_never)
{
    struct mono now = { 1000 }, never = { 0 };
    CHECK_U64(mono_after(now, 5).ms, 1005);
    CHECK_U64(mono_after(now, UINT64_MAX).ms, INT64_MAX);
    CHECK(!mono_is_due(never, now));
    CHECK(mono_is_due(now, now) && !mono_is_due(mono_after(now, 1), now));
    CHECK_U64(mono_first(never, now).ms, 1000);
    CHECK_U64(mono_first(now, never).ms, 1000);
    CHECK_U64(mono_first(now, mono_after(now, 1)).ms, 1000);
    CHECK_U64(mono_first(mono_after(now, 1), now).ms, 1000);
}
