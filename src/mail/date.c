/* SPDX-License-Identifier: Apache-2.0
 *
 * date.c - reading RFC 5322 dates: "Fri, 21 Nov 1997 09:55:06 -0600" and what older mailers write.
 */
#include "mail/date.h"

#include "core/str.h"
#include "core/time.h"

enum { COMMENT_DEPTH_MAX = 20 };

static bool is_space(char c)
{
    return ascii_is_blank(c) || c == '\r' || c == '\n';
}

/* Drops blanks, folds and comments; false where a comment does not end. */
static bool skip_cfws(struct str *rest)
{
    unsigned depth = 0;
    size_t at = 0;
    for (; at < rest->len && (depth > 0 || rest->ptr[at] == '(' || is_space(rest->ptr[at])); at++) {
        char c = rest->ptr[at];
        depth += c == '(';
        depth -= c == ')';
        at += depth > 0 && c == '\\';
        if (depth > COMMENT_DEPTH_MAX) {
            return false;
        }
    }
    *rest = str_from(*rest, at);
    return depth == 0;
}

/* 1 to len_max digits; *ret_len how many. */
static bool take_number(struct str *rest, size_t len_max, unsigned *ret_value, size_t *ret_len)
{
    size_t len = 0;
    unsigned value = 0;
    for (; len < rest->len && len < len_max && ascii_is_digit(rest->ptr[len]); len++) {
        value = value * 10 + (unsigned)(rest->ptr[len] - '0');
    }
    if (len == 0 || (len < rest->len && ascii_is_digit(rest->ptr[len]))) {
        return false;
    }
    *rest = str_from(*rest, len);
    *ret_value = value;
    *ret_len = len;
    return skip_cfws(rest);
}

static struct str take_word(struct str *rest)
{
    size_t len = 0;
    while (len < rest->len && ascii_is_alpha(rest->ptr[len])) {
        len++;
    }
    struct str word = str_sub(*rest, 0, len);
    *rest = str_from(*rest, len);
    return word;
}

static bool take_char(struct str *rest, char c)
{
    if (rest->len == 0 || rest->ptr[0] != c) {
        return false;
    }
    *rest = str_from(*rest, 1);
    return skip_cfws(rest);
}

/* [day-of-week ","]: a wrong or foreign name does no harm. */
static bool skip_weekday(struct str *rest)
{
    if (!skip_cfws(rest) || rest->len == 0) {
        return false;
    }
    if (!ascii_is_alpha(rest->ptr[0])) {
        return true;
    }
    take_word(rest);
    if (!skip_cfws(rest)) {
        return false;
    }
    return take_char(rest, ',') || (rest->len > 0 && ascii_is_digit(rest->ptr[0]));
}

static unsigned month_of(struct str word)
{
    static const char names[] = "janfebmaraprmayjunjulaugsepoctnovdec";
    for (unsigned month = 0; month < 12; month++) {
        /* Full names are seen too: the first three letters decide. */
        if (word.len >= 3 && str_eq_nocase(str_sub(word, 0, 3), str_of(names + 3 * month, 3))) {
            return month + 1;
        }
    }
    return 0;
}

static unsigned days_in_month(unsigned year, unsigned month)
{
    static const uint8_t days[12] = { 31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31 };
    bool is_leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    return days[month - 1] + (month == 2 && is_leap ? 1U : 0U);
}

/* obs-year, RFC 5322 4.3: 00 to 49 are 2000 and on, the rest and three digits count from 1900. */
static unsigned year_of(unsigned value, size_t digit_count)
{
    if (digit_count == 2 && value < 50) {
        return 2000 + value;
    }
    return digit_count <= 3 ? 1900 + value : value;
}

static bool take_date(struct str *rest, struct civil *civil)
{
    unsigned day, year;
    size_t len;
    if (!take_number(rest, 2, &day, &len)) {
        return false;
    }
    unsigned month = month_of(take_word(rest));
    if (month == 0 || !skip_cfws(rest) || !take_number(rest, 4, &year, &len) || len == 1) {
        return false;
    }
    year = year_of(year, len);
    if (year < 1900 || day == 0 || day > days_in_month(year, month)) {
        return false;
    }
    civil->year = (int32_t)year;
    civil->month = (uint8_t)month;
    civil->day = (uint8_t)day;
    return true;
}

static bool take_clock(struct str *rest, struct civil *civil)
{
    unsigned hour, minute, second = 0;
    size_t len;
    if (!take_number(rest, 2, &hour, &len) || !take_char(rest, ':') ||
            !take_number(rest, 2, &minute, &len)) {
        return false;
    }
    if (take_char(rest, ':') && !take_number(rest, 2, &second, &len)) {
        return false;
    }
    civil->hour = (uint8_t)hour;
    civil->minute = (uint8_t)minute;
    civil->second = (uint8_t)second;
    return hour <= 23 && minute <= 59 && second <= 60; /* 60: a leap second */
}

/* obs-zone, RFC 5322 4.3: the named ones that mean something; others are -0000. */
static int zone_minutes(struct str word)
{
    static const struct {
        char name[4];
        int minutes;
    } zones[] = { { "EDT", -240 }, { "EST", -300 }, { "CDT", -300 }, { "CST", -360 },
        { "MDT", -360 }, { "MST", -420 }, { "PDT", -420 }, { "PST", -480 } };
    for (size_t i = 0; i < COUNT_OF(zones); i++) {
        if (str_eq_nocase(word, str_from_c(zones[i].name))) {
            return zones[i].minutes;
        }
    }
    return 0;
}

static bool take_zone(struct str *rest, int *ret_minutes)
{
    if (rest->len == 0) {
        return false;
    }
    char sign = rest->ptr[0];
    if (sign != '+' && sign != '-') {
        struct str word = take_word(rest);
        *ret_minutes = zone_minutes(word);
        return word.len > 0 && skip_cfws(rest);
    }
    unsigned value;
    size_t len;
    *rest = str_from(*rest, 1);
    if (!take_number(rest, 4, &value, &len) || len != 4 || value % 100 > 59) {
        return false;
    }
    int minutes = (int)(value / 100 * 60 + value % 100);
    *ret_minutes = sign == '-' ? -minutes : minutes;
    return true;
}

enum err date_parse(struct str text, struct wall *ret_wall)
{
    struct civil civil = { 0 };
    int minutes;
    if (!skip_weekday(&text) || !take_date(&text, &civil) || !take_clock(&text, &civil) ||
            !take_zone(&text, &minutes) || text.len > 0) {
        return E_SYNTAX;
    }
    *ret_wall = (struct wall){ wall_from_civil(civil).ms - (int64_t)minutes * 60000 };
    return OK;
}
