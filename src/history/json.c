/* SPDX-License-Identifier: Apache-2.0
 *
 * json.c - the JSON writer (RFC 8259) of log lines and answers.
 */
#include "history/json_priv.h"

#include "core/str.h"
#include "core/time.h"

void add_decimal(struct buf *dst, uint64_t value)
{
    char digits[20];
    size_t at = sizeof digits;
    do {
        digits[--at] = (char)('0' + value % 10);
        value /= 10;
    } while (value > 0);
    buf_add(dst, str_of(digits + at, sizeof digits - at));
}

/* Comma and name in front of a value. */
static void begin_value(struct buf *json, const char *name)
{
    char last = json->len ? json->ptr[json->len - 1] : '[';
    if (last != '[' && last != '{') {
        buf_add_char(json, ',');
    }
    if (name != NULL) {
        buf_add_char(json, '"');
        buf_add_c(json, name);
        buf_add(json, STR("\":"));
    }
}

void json_open(struct buf *json, const char *name, char bracket)
{
    begin_value(json, name);
    buf_add_char(json, bracket);
}

void json_close(struct buf *json, char bracket)
{
    buf_add_char(json, bracket);
}

static size_t plain_len(struct str s)
{
    size_t len = 0;
    while (len < s.len && (uint8_t)s.ptr[len] >= 0x20 && (uint8_t)s.ptr[len] < 0x7f &&
            s.ptr[len] != '"' && s.ptr[len] != '\\') {
        len++;
    }
    return len;
}

/* The length of the well-formed UTF-8 character at the start of s; 0: none. */
static size_t utf8_char_len(struct str s)
{
    for (size_t len = 2; len <= 4 && len <= s.len; len++) {
        if (str_is_utf8(str_sub(s, 0, len))) {
            return len;
        }
    }
    return 0;
}

static size_t add_odd_char(struct buf *json, struct str s)
{
    uint8_t c = (uint8_t)s.ptr[0];
    if (c >= 0x80) {
        size_t len = utf8_char_len(s);
        buf_add(json, len ? str_sub(s, 0, len) : STR("\xef\xbf\xbd"));
        return len ? len : 1;
    }
    if (c == '\0') { /* many readers take no NUL */
        buf_add(json, STR("\xef\xbf\xbd"));
    } else if (c == '"' || c == '\\') {
        buf_add_char(json, '\\');
        buf_add_char(json, (char)c);
    } else if (c == '\n') {
        buf_add(json, STR("\\n"));
    } else {
        buf_addf(json, "\\u%04x", (unsigned)c);
    }
    return 1;
}

static void quote(struct buf *json, struct str value)
{
    buf_add_char(json, '"');
    while (value.len > 0) {
        size_t len = plain_len(value);
        buf_add(json, str_sub(value, 0, len));
        value = str_from(value, len);
        if (value.len > 0) {
            value = str_from(value, add_odd_char(json, value));
        }
    }
    buf_add_char(json, '"');
}

void json_str(struct buf *json, const char *name, struct str value)
{
    begin_value(json, name);
    quote(json, value);
}

static void add_pair(struct buf *json, struct str name, struct str value)
{
    begin_value(json, NULL);
    quote(json, name);
    buf_add_char(json, ':');
    quote(json, value);
}

void json_pairs(struct buf *json, const char *name, struct str lines)
{
    struct str pair;
    json_open(json, name, '{');
    while (str_cut(&lines, '\n', &pair)) {
        size_t eq = str_index(pair, '=');
        add_pair(json, str_sub(pair, 0, eq), str_from(pair, eq + 1));
    }
    json_close(json, '}');
}

void json_str_if(struct buf *json, const char *name, struct str value)
{
    if (value.len > 0) {
        json_str(json, name, value);
    }
}

void json_u64(struct buf *json, const char *name, uint64_t value)
{
    begin_value(json, name);
    add_decimal(json, value < INT64_MAX ? value : INT64_MAX);
}

void json_bool(struct buf *json, const char *name, bool value)
{
    begin_value(json, name);
    buf_add(json, value ? STR("true") : STR("false"));
}

void json_time(struct buf *json, const char *name, struct wall at)
{
    char text[TIME_TEXT_CAP];
    begin_value(json, name);
    buf_add_char(json, '"');
    buf_add(json, str_of(text, time_rfc3339(at, text)));
    buf_add_char(json, '"');
}
