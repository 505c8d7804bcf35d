/* SPDX-License-Identifier: Apache-2.0
 *
 * str.c - comparing, searching, cutting and reading byte strings.
 *
 * An empty str may have a NULL ptr, which the mem* calls of C do not allow: hence the tests of len.
 */
#include "core/str.h"

#include <stdarg.h>

bool str_eq(struct str a, struct str b)
{
    return a.len == b.len && (a.len == 0 || memcmp(a.ptr, b.ptr, a.len) == 0);
}

bool str_eq_nocase(struct str a, struct str b)
{
    return a.len == b.len && str_starts_nocase(a, b);
}

int str_cmp(struct str a, struct str b)
{
    size_t len = a.len < b.len ? a.len : b.len;
    int order = len ? memcmp(a.ptr, b.ptr, len) : 0;
    return order ? order : (a.len > b.len) - (a.len < b.len);
}

bool str_starts(struct str s, struct str prefix)
{
    return s.len >= prefix.len && str_eq(str_of(s.ptr, prefix.len), prefix);
}

bool str_starts_nocase(struct str s, struct str prefix)
{
    if (s.len < prefix.len) {
        return false;
    }
    for (size_t i = 0; i < prefix.len; i++) {
        if (ascii_lower(s.ptr[i]) != ascii_lower(prefix.ptr[i])) {
            return false;
        }
    }
    return true;
}

bool str_ends_nocase(struct str s, struct str suffix)
{
    return s.len >= suffix.len && str_starts_nocase(str_from(s, s.len - suffix.len), suffix);
}

size_t str_index(struct str s, char c)
{
    const char *found = s.len ? memchr(s.ptr, c, s.len) : NULL;
    return found ? (size_t)(found - s.ptr) : s.len;
}

size_t str_rindex(struct str s, char c)
{
    const char *found = s.len ? memrchr(s.ptr, c, s.len) : NULL;
    return found ? (size_t)(found - s.ptr) : s.len;
}

size_t str_find(struct str s, struct str needle)
{
    if (needle.len == 0 || s.len < needle.len) {
        return needle.len == 0 ? 0 : s.len;
    }
    const char *found = memmem(s.ptr, s.len, needle.ptr, needle.len);
    return found ? (size_t)(found - s.ptr) : s.len;
}

struct str str_from(struct str s, size_t start)
{
    return str_sub(s, start, s.len);
}

struct str str_sub(struct str s, size_t start, size_t len)
{
    if (s.len == 0) {
        return s; /* ptr may be NULL: no arithmetic on it */
    }
    start = start < s.len ? start : s.len;
    len = len < s.len - start ? len : s.len - start;
    return str_of(s.ptr + start, len);
}

static bool is_space(char c)
{
    return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

struct str str_trim(struct str s)
{
    size_t start = 0;
    while (start < s.len && is_space(s.ptr[start])) {
        start++;
    }
    while (s.len > start && is_space(s.ptr[s.len - 1])) {
        s.len--;
    }
    return str_from(s, start);
}

bool str_cut(struct str *rest, char sep, struct str *ret_part)
{
    if (rest->len == 0) {
        return false;
    }
    size_t len = str_index(*rest, sep);
    *ret_part = str_of(rest->ptr, len);
    *rest = str_from(*rest, len + 1);
    return true;
}

enum err str_to_u64(struct str s, uint64_t max, uint64_t *ret_value)
{
    uint64_t value = 0;
    bool is_too_big = false;
    for (size_t i = 0; i < s.len; i++) {
        if (!ascii_is_digit(s.ptr[i])) {
            return E_SYNTAX;
        }
        is_too_big = is_too_big || __builtin_mul_overflow(value, 10, &value) ||
                     !add_u64(value, (uint64_t)(s.ptr[i] - '0'), &value);
    }
    if (s.len == 0) {
        return E_SYNTAX;
    }
    if (is_too_big || value > max) {
        return E_TOO_BIG;
    }
    *ret_value = value;
    return OK;
}

struct unit {
    struct str name;
    uint64_t factor;
};

/* Splits "30s" into number and unit, finds the unit, multiplies within max. */
static enum err str_to_scaled(
        struct str s, const struct unit *unit, size_t unit_count, uint64_t max, uint64_t *ret_value)
{
    size_t digits = 0;
    while (digits < s.len && ascii_is_digit(s.ptr[digits])) {
        digits++;
    }
    struct str name = str_from(s, digits);
    for (size_t i = 0; i < unit_count; i++) {
        if (str_eq(name, unit[i].name)) {
            uint64_t value;
            enum err err = str_to_u64(str_sub(s, 0, digits), max / unit[i].factor, &value);
            if (err == OK) {
                *ret_value = value * unit[i].factor;
            }
            return err;
        }
    }
    return E_SYNTAX;
}

enum err str_to_ms(struct str s, uint64_t max_ms, uint64_t *ret_ms)
{
    static const struct unit unit[] = {
        { STR_INIT("ms"), 1 },
        { STR_INIT("s"), 1000 },
        { STR_INIT("m"), 60000 },
        { STR_INIT("h"), 3600000 },
        { STR_INIT("d"), 86400000 },
    };
    return str_to_scaled(s, unit, COUNT_OF(unit), max_ms, ret_ms);
}

enum err str_to_bytes(struct str s, uint64_t max_bytes, uint64_t *ret_bytes)
{
    static const struct unit unit[] = {
        { STR_INIT(""), 1 },
        { STR_INIT("k"), 1 << 10 },
        { STR_INIT("K"), 1 << 10 },
        { STR_INIT("m"), 1 << 20 },
        { STR_INIT("M"), 1 << 20 },
        { STR_INIT("g"), 1 << 30 },
        { STR_INIT("G"), 1 << 30 },
    };
    return str_to_scaled(s, unit, COUNT_OF(unit), max_bytes, ret_bytes);
}

size_t fmt(char *dst, size_t cap_bytes, const char *format, ...)
{
    ASSERT(cap_bytes > 0);
    va_list args;
    va_start(args, format);
    int len = vsnprintf(dst, cap_bytes, format, args);
    va_end(args);
    ASSERT(len >= 0);
    return (size_t)len < cap_bytes ? (size_t)len : cap_bytes - 1;
}

bool str_to_c(struct str s, char *dst, size_t cap_bytes)
{
    ASSERT(cap_bytes > 0);
    dst[0] = '\0';
    if (s.len >= cap_bytes || str_index(s, '\0') != s.len) {
        return false;
    }
    if (s.len > 0) {
        memcpy(dst, s.ptr, s.len);
    }
    dst[s.len] = '\0';
    return true;
}

static const uint64_t fnv_offset = 0xcbf29ce484222325, fnv_prime = 0x100000001b3;

static uint64_t hash_finish(uint64_t hash) /* murmur3's: FNV's low bits alone are weak */
{
    hash = (hash ^ hash >> 33) * 0xff51afd7ed558ccd;
    hash = (hash ^ hash >> 33) * 0xc4ceb9fe1a85ec53;
    return hash ^ hash >> 33;
}

uint64_t str_hash(struct str s, uint64_t seed)
{
    uint64_t hash = fnv_offset ^ hash_finish(seed);
    for (size_t i = 0; i < s.len; i++) {
        hash = (hash ^ (uint8_t)s.ptr[i]) * fnv_prime;
    }
    return hash_finish(hash);
}

uint64_t str_hash_nocase(struct str s, uint64_t seed)
{
    uint64_t hash = fnv_offset ^ hash_finish(seed);
    for (size_t i = 0; i < s.len; i++) {
        hash = (hash ^ (uint8_t)ascii_lower(s.ptr[i])) * fnv_prime;
    }
    return hash_finish(hash);
}

struct str str_escape(struct str s, char *dst, size_t cap_bytes)
{
    static const char hex[] = "0123456789abcdef";
    size_t len = 0;
    for (size_t i = 0; i < s.len; i++) {
        uint8_t c = (uint8_t)s.ptr[i];
        bool is_plain = c >= 0x20 && c < 0x7f && c != '\\';
        if (cap_bytes - len < (is_plain ? 1 : 4)) {
            break; /* never half an escape */
        }
        if (is_plain) {
            dst[len++] = (char)c;
            continue;
        }
        dst[len++] = '\\';
        dst[len++] = 'x';
        dst[len++] = hex[c >> 4];
        dst[len++] = hex[c & 15];
    }
    return str_of(dst, len);
}

/* Bytes of the UTF-8 sequence at the start of s, RFC 3629 section 4; 0 where it is not one. */
static size_t utf8_len(const uint8_t *s, size_t left)
{
    if (s[0] < 0x80) {
        return 1;
    }
    size_t len = s[0] >= 0xc2 && s[0] < 0xe0 ? 2 : s[0] >= 0xe0 && s[0] < 0xf0 ? 3 : 4;
    if (s[0] < 0xc2 || s[0] > 0xf4 || left < len) {
        return 0;
    }
    uint8_t low = s[0] == 0xe0 ? 0xa0 : s[0] == 0xf0 ? 0x90 : 0x80;  /* shortest form */
    uint8_t high = s[0] == 0xed ? 0x9f : s[0] == 0xf4 ? 0x8f : 0xbf; /* surrogates, U+10FFFF */
    if (s[1] < low || s[1] > high) {
        return 0;
    }
    for (size_t i = 2; i < len; i++) {
        if ((s[i] & 0xc0) != 0x80) {
            return 0;
        }
    }
    return len;
}

bool str_is_utf8(struct str s)
{
    for (size_t at = 0, len; at < s.len; at += len) {
        len = utf8_len((const uint8_t *)s.ptr + at, s.len - at);
        if (len == 0) {
            return false;
        }
    }
    return true;
}

bool str_is_ascii(struct str s)
{
    const uint64_t high_bits = UINT64_C(0x8080808080808080);
    size_t at = 0;
    for (; at + sizeof(uint64_t) <= s.len; at += sizeof(uint64_t)) {
        uint64_t word;
        memcpy(&word, s.ptr + at, sizeof word);
        if (word & high_bits) {
            return false;
        }
    }
    for (; at < s.len; at++) {
        if ((uint8_t)s.ptr[at] > 127) {
            return false;
        }
    }
    return true;
}
