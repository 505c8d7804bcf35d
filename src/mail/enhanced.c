/* SPDX-License-Identifier: Apache-2.0
 *
 * enhanced.c - reading enhanced status codes, and the tables of those we give ourselves.
 */
#include "mail/enhanced.h"

#include "core/str.h"

/* 1 to 3 digits without leading zero (RFC 3463 2), then `end` or, with '\0', a blank or nothing. */
static bool take_part(struct str *rest, char end, uint16_t *ret_value)
{
    size_t len = 0;
    unsigned value = 0;
    for (; len < rest->len && len < 3 && ascii_is_digit(rest->ptr[len]); len++) {
        value = value * 10 + (unsigned)(rest->ptr[len] - '0');
    }
    bool is_end = len == rest->len ? end == '\0'
                                   : rest->ptr[len] == (end ? end : ' ') ||
                                             (end == '\0' && rest->ptr[len] == '\t');
    if (len == 0 || !is_end || (len > 1 && rest->ptr[0] == '0')) {
        return false;
    }
    *rest = str_from(*rest, len + (end != '\0'));
    *ret_value = (uint16_t)value;
    return true;
}

bool enhanced_parse(struct str text, struct enhanced *ret_code, struct str *ret_rest)
{
    struct str rest = text;
    uint16_t class, subject, detail;
    if (!take_part(&rest, '.', &class) || !take_part(&rest, '.', &subject) ||
            !take_part(&rest, '\0', &detail) || (class != 2 && class != 4 && class != 5)) {
        return false;
    }
    while (rest.len > 0 && ascii_is_blank(rest.ptr[0])) {
        rest = str_from(rest, 1);
    }
    *ret_code = (struct enhanced){ (uint8_t) class, subject, detail };
    if (ret_rest) {
        *ret_rest = rest;
    }
    return true;
}

struct enhanced enhanced_of_reply(uint16_t basic_code, struct str text, struct str *ret_rest)
{
    struct enhanced code;
    struct str rest;
    if (!enhanced_parse(text, &code, &rest) || code.class != basic_code / 100) {
        code = (struct enhanced){ 0 };
        rest = text;
    }
    if (ret_rest) {
        *ret_rest = rest;
    }
    return code;
}

struct enhanced enhanced_or_default(uint16_t basic_code, struct str text)
{
    struct enhanced code = enhanced_of_reply(basic_code, text, NULL);
    if (enhanced_is_set(code)) {
        return code;
    }
    unsigned class = basic_code / 100;
    return (struct enhanced){ class == 2 || class == 4 ? (uint8_t) class : 5, 0, 0 };
}

size_t enhanced_format(struct enhanced code, char dst[ENHANCED_TEXT_CAP])
{
    return fmt(dst, ENHANCED_TEXT_CAP, "%u.%u.%u", (unsigned)code.class, (unsigned)code.subject,
            (unsigned)code.detail);
}

struct enhanced enhanced_for(enum enhanced_situation situation)
{
    static const struct enhanced codes[] = {
        [SITUATION_NO_SUCH_DOMAIN] = { 5, 4, 4 },
        [SITUATION_NO_ROUTE] = { 5, 4, 4 },
        [SITUATION_NULL_MX] = { 5, 1, 10 },
        [SITUATION_NULL_MX_SENDER] = { 5, 7, 27 },
        [SITUATION_DNS_FAILED] = { 4, 4, 3 },
        [SITUATION_CONNECT_FAILED] = { 4, 4, 1 },
        [SITUATION_CONNECTION_LOST] = { 4, 4, 2 },
        [SITUATION_PROTOCOL_ERROR] = { 4, 5, 0 },
        [SITUATION_LOOP] = { 5, 4, 6 },
        [SITUATION_EXPIRED] = { 4, 4, 7 },
        [SITUATION_TLS_REQUIRED] = { 4, 7, 5 },
        [SITUATION_NEEDS_8BITMIME] = { 5, 6, 3 },
        [SITUATION_NEEDS_SMTPUTF8] = { 5, 6, 7 },
        [SITUATION_TOO_BIG] = { 5, 3, 4 },
        [SITUATION_CANCELLED] = { 5, 7, 1 },
        [SITUATION_NO_KEY] = { 4, 7, 5 },
        [SITUATION_DELIVERED] = { 2, 0, 0 },
    };
    _Static_assert(COUNT_OF(codes) == SITUATION_COUNT, "one code for each situation");
    ASSERT((size_t)situation < COUNT_OF(codes));
    return codes[situation];
}
