/* SPDX-License-Identifier: Apache-2.0
 *
 * ulid.c - 128 bits as 26 digits of five; the first digit holds the top three bits only.
 */
#include "core/ulid.h"

#include "core/str.h"

static const struct str ulid_digits = STR_INIT("0123456789ABCDEFGHJKMNPQRSTVWXYZ"); /* Crockford */

struct ulid ulid_make(struct wall now, const uint8_t random[10])
{
    struct ulid ulid;
    uint64_t ms = (uint64_t)now.ms; /* the low 48 bits last until 10889 */
    for (size_t i = 0; i < 6; i++) {
        ulid.byte[i] = (uint8_t)(ms >> (40 - 8 * i));
    }
    memcpy(ulid.byte + 6, random, 10);
    return ulid;
}

void ulid_format(struct ulid ulid, char ret_text[ULID_TEXT_LEN + 1])
{
    uint32_t bits = 0;
    unsigned bit_count = 2; /* two leading zero bits make 130 = 26 * 5 */
    size_t len = 0;
    for (size_t i = 0; i < sizeof ulid.byte; i++) {
        bits = bits << 8 | ulid.byte[i];
        for (bit_count += 8; bit_count >= 5; bit_count -= 5) {
            ret_text[len++] = ulid_digits.ptr[bits >> (bit_count - 5) & 31];
        }
    }
    ASSERT(len == ULID_TEXT_LEN && bit_count == 0);
    ret_text[len] = '\0';
}

/* 0 .. 31, or 32 where c is no digit: I, L, O and U are not taken for 1, 1, 0 and V. */
static uint32_t ulid_digit(char c)
{
    char upper = c >= 'a' && c <= 'z' ? (char)(c - 32) : c;
    return (uint32_t)str_index(ulid_digits, upper);
}

enum err ulid_parse(struct str text, struct ulid *ret_ulid)
{
    if (text.len != ULID_TEXT_LEN || ulid_digit(text.ptr[0]) > 7) {
        return E_SYNTAX;
    }
    struct ulid ulid;
    uint32_t bits = ulid_digit(text.ptr[0]);
    unsigned bit_count = 3;
    size_t len = 0;
    for (size_t i = 1; i < ULID_TEXT_LEN; i++) {
        uint32_t digit = ulid_digit(text.ptr[i]);
        if (digit > 31) {
            return E_SYNTAX;
        }
        bits = bits << 5 | digit;
        bit_count += 5;
        if (bit_count >= 8) {
            bit_count -= 8;
            ulid.byte[len++] = (uint8_t)(bits >> bit_count);
        }
    }
    ASSERT(len == sizeof ulid.byte && bit_count == 0);
    *ret_ulid = ulid;
    return OK;
}
