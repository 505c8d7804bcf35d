/* SPDX-License-Identifier: Apache-2.0
 *
 * time.c - days to dates and back by the era arithmetic of H. Hinnant, "chrono-compatible
 * low-level date algorithms".
 *
 * No time zone, no locale, no leap seconds: :60 counts as the next :00.
 */
#include "core/time.h"

#include "core/str.h"

enum { DAYS_PER_ERA = 146097, DAYS_TO_1970 = 719468, MS_PER_DAY = 86400000 };
enum { YEAR_MAX = 292000000 };                  /* its milliseconds fit 64 bits */
static const int64_t second_max = 253402300799; /* 9999-12-31T23:59:59Z */

static const char weekday_names[7][4] = { "Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat" };
static const char month_names[12][4] = { "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug",
    "Sep", "Oct", "Nov", "Dec" };

static int64_t floor_div(int64_t a, int64_t b)
{
    return a / b - (a % b < 0);
}

/* The year starts in March, so that the leap day is its last. */
static void civil_set_date(struct civil *civil, int64_t days_since_1970)
{
    int64_t days = days_since_1970 + DAYS_TO_1970;
    int64_t era = floor_div(days, DAYS_PER_ERA);
    int64_t day_of_era = days - era * DAYS_PER_ERA;
    int64_t year_of_era =
            (day_of_era - day_of_era / 1460 + day_of_era / 36524 - day_of_era / 146096) / 365;
    int64_t day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    int64_t month = (5 * day_of_year + 2) / 153; /* 0 = March */
    civil->day = (uint8_t)(day_of_year - (153 * month + 2) / 5 + 1);
    civil->month = (uint8_t)(month < 10 ? month + 3 : month - 9);
    civil->year = (int32_t)(year_of_era + era * 400 + (civil->month <= 2));
    civil->weekday = (uint8_t)(days_since_1970 - floor_div(days_since_1970 + 4, 7) * 7 + 4);
}

struct civil civil_from_wall(struct wall wall)
{
    struct civil civil;
    int64_t days = floor_div(wall.ms, MS_PER_DAY);
    int64_t ms = wall.ms % MS_PER_DAY;
    ms += ms < 0 ? MS_PER_DAY : 0; /* not wall.ms - days * MS_PER_DAY: may overflow */
    civil_set_date(&civil, days);
    civil.hour = (uint8_t)(ms / 3600000);
    civil.minute = (uint8_t)(ms / 60000 % 60);
    civil.second = (uint8_t)(ms / 1000 % 60);
    civil.ms = (uint16_t)(ms % 1000);
    return civil;
}

struct wall wall_from_civil(struct civil civil)
{
    ASSERT(civil.month >= 1 && civil.month <= 12);
    ASSERT(civil.year > -YEAR_MAX && civil.year < YEAR_MAX);
    int64_t year = (int64_t)civil.year - (civil.month <= 2);
    int64_t era = floor_div(year, 400);
    int64_t year_of_era = year - era * 400;
    int64_t month = civil.month > 2 ? civil.month - 3 : civil.month + 9;
    int64_t day_of_year = (153 * month + 2) / 5 + civil.day - 1;
    int64_t day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    int64_t days = era * DAYS_PER_ERA + day_of_era - DAYS_TO_1970;
    int64_t seconds = civil.hour * 3600 + civil.minute * 60 + civil.second;
    return (struct wall){ days * MS_PER_DAY + seconds * 1000 + civil.ms };
}

size_t time_rfc3339(struct wall wall, char dst[TIME_TEXT_CAP])
{
    struct civil c = civil_from_wall(wall);
    return fmt(dst, TIME_TEXT_CAP, "%04d-%02u-%02uT%02u:%02u:%02u.%03uZ", c.year, (unsigned)c.month,
            (unsigned)c.day, (unsigned)c.hour, (unsigned)c.minute, (unsigned)c.second,
            (unsigned)c.ms);
}

size_t time_rfc5322(struct wall wall, char dst[TIME_TEXT_CAP])
{
    struct civil c = civil_from_wall(wall);
    return fmt(dst, TIME_TEXT_CAP, "%s, %02u %s %04d %02u:%02u:%02u +0000",
            weekday_names[c.weekday], (unsigned)c.day, month_names[c.month - 1], c.year,
            (unsigned)c.hour, (unsigned)c.minute, (unsigned)c.second);
}

size_t time_syslog(struct wall wall, char dst[TIME_TEXT_CAP])
{
    struct civil c = civil_from_wall(wall);
    return fmt(dst, TIME_TEXT_CAP, "%s %2u %02u:%02u:%02u", month_names[c.month - 1],
            (unsigned)c.day, (unsigned)c.hour, (unsigned)c.minute, (unsigned)c.second);
}

size_t time_day(struct wall wall, char dst[TIME_TEXT_CAP])
{
    struct civil c = civil_from_wall(wall);
    return fmt(dst, TIME_TEXT_CAP, "%04d-%02u-%02u", c.year, (unsigned)c.month, (unsigned)c.day);
}

static unsigned days_in_month(int32_t year, unsigned month)
{
    static const uint8_t days[12] = { 31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31 };
    bool is_leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    return days[month - 1] + (month == 2 && is_leap ? 1U : 0U);
}

/* Exactly len digits off the front of *rest, then end ('\0': nothing); false where it is not so. */
static bool take_digits(struct str *rest, size_t len, char end, uint64_t max, uint64_t *ret_value)
{
    size_t end_len = end ? 1 : 0;
    if (rest->len < len + end_len || (end && rest->ptr[len] != end) ||
            str_to_u64(str_sub(*rest, 0, len), max, ret_value) != OK) {
        return false;
    }
    *rest = str_from(*rest, len + end_len);
    return true;
}

static bool take_date(struct str *rest, struct civil *civil)
{
    uint64_t year, month, day;
    if (!take_digits(rest, 4, '-', 9999, &year) || !take_digits(rest, 2, '-', 12, &month) ||
            !take_digits(rest, 2, '\0', 31, &day) || month == 0 || day == 0 || rest->len == 0) {
        return false;
    }
    char separator = ascii_lower(rest->ptr[0]); /* RFC 3339 5.6: T, t, or a space for readers */
    *rest = str_from(*rest, 1);
    civil->year = (int32_t)year;
    civil->month = (uint8_t)month;
    civil->day = (uint8_t)day;
    return (separator == 't' || separator == ' ') &&
           day <= days_in_month(civil->year, civil->month);
}

static bool take_clock(struct str *rest, struct civil *civil)
{
    uint64_t hour, minute, second;
    if (!take_digits(rest, 2, ':', 23, &hour) || !take_digits(rest, 2, ':', 59, &minute) ||
            !take_digits(rest, 2, '\0', 60, &second)) {
        return false;
    }
    civil->hour = (uint8_t)hour;
    civil->minute = (uint8_t)minute;
    civil->second = (uint8_t)second;
    return true;
}

/* ".123", where there is one; digits after the third are read and dropped. */
static bool take_fraction(struct str *rest, struct civil *civil)
{
    if (rest->len == 0 || rest->ptr[0] != '.') {
        return true;
    }
    size_t at = 1;
    unsigned ms = 0, digit_ms = 100;
    for (; at < rest->len && ascii_is_digit(rest->ptr[at]); at++, digit_ms /= 10) {
        ms += (unsigned)(rest->ptr[at] - '0') * digit_ms;
    }
    civil->ms = (uint16_t)ms;
    *rest = str_from(*rest, at);
    return at > 1;
}

static bool take_offset(struct str *rest, int64_t *ret_offset_ms)
{
    if (str_eq_nocase(*rest, STR("Z"))) {
        *ret_offset_ms = 0;
        return true;
    }
    if (rest->len != 6 || (rest->ptr[0] != '+' && rest->ptr[0] != '-')) {
        return false;
    }
    bool is_west = rest->ptr[0] == '-';
    uint64_t hour, minute;
    *rest = str_from(*rest, 1);
    if (!take_digits(rest, 2, ':', 23, &hour) || !take_digits(rest, 2, '\0', 59, &minute)) {
        return false;
    }
    int64_t offset_ms = (int64_t)(hour * 60 + minute) * 60000;
    *ret_offset_ms = is_west ? -offset_ms : offset_ms;
    return true;
}

enum err time_parse_rfc3339(struct str text, struct wall *ret_wall)
{
    uint64_t seconds;
    enum err err = str_to_u64(text, (uint64_t)second_max, &seconds);
    if (err != E_SYNTAX) {
        *ret_wall = err == OK ? (struct wall){ (int64_t)seconds * 1000 } : *ret_wall;
        return err;
    }
    struct civil civil = { 0 };
    int64_t offset_ms;
    if (!take_date(&text, &civil) || !take_clock(&text, &civil) || !take_fraction(&text, &civil) ||
            !take_offset(&text, &offset_ms)) {
        return E_SYNTAX;
    }
    int64_t ms = wall_from_civil(civil).ms - offset_ms;
    if (ms < 0 || ms / 1000 > second_max) {
        return E_SYNTAX; /* what cannot be written back */
    }
    *ret_wall = (struct wall){ ms };
    return OK;
}
