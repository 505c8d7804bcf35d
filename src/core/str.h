/* SPDX-License-Identifier: Apache-2.0
 *
 * str.h - reading and comparing byte strings; ASCII only, no locale.
 *
 * Nothing here allocates. Views returned live as long as the bytes they were cut from.
 */
#ifndef OUTPOST_CORE_STR_H
#define OUTPOST_CORE_STR_H

#include "core/base.h"

static inline char ascii_lower(char c)
{
    return c >= 'A' && c <= 'Z' ? (char)(c + 32) : c;
}
static inline bool ascii_is_digit(char c)
{
    return c >= '0' && c <= '9';
}
static inline bool ascii_is_alpha(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}
static inline bool ascii_is_blank(char c) /* WSP, RFC 5234 */
{
    return c == ' ' || c == '\t';
}

bool str_eq(struct str a, struct str b);
bool str_eq_nocase(struct str a, struct str b);
int str_cmp(struct str a, struct str b); /* bytewise, shorter first */
bool str_starts(struct str s, struct str prefix);
bool str_starts_nocase(struct str s, struct str prefix);
bool str_ends_nocase(struct str s, struct str suffix);

/* Index of the first (last) c, or s.len where there is none. */
size_t str_index(struct str s, char c);
size_t str_rindex(struct str s, char c);
/* Index of the first needle, or s.len. */
size_t str_find(struct str s, struct str needle);

struct str str_from(struct str s, size_t start);            /* s[start..]; empty past the end */
struct str str_sub(struct str s, size_t start, size_t len); /* clipped to s */
struct str str_trim(struct str s);                          /* without SP HT CR LF at both ends */

/* Cuts the next part up to (without) sep off *rest. False when *rest is exhausted.
 *   struct str part, rest = STR("a,b");
 *   while (str_cut(&rest, ',', &part)) ...          gives "a", "b"
 * A separator at the very end ends the last part: "a," gives "a" only; "" gives nothing. */
bool str_cut(struct str *rest, char sep, struct str *ret_part);

/* Decimal digits only, no sign, no blanks, at least one, at most max. E_SYNTAX, E_TOO_BIG. */
MUST_USE enum err str_to_u64(struct str s, uint64_t max, uint64_t *ret_value);

/* "250ms" "30s" "5m" "4h" "5d" → milliseconds; "512" "64k" "10M" "1G" → bytes (1024). */
MUST_USE enum err str_to_ms(struct str s, uint64_t max_ms, uint64_t *ret_ms);
MUST_USE enum err str_to_bytes(struct str s, uint64_t max_bytes, uint64_t *ret_bytes);

/* snprintf into dst that always terminates; returns the bytes written without the NUL (≤ cap-1).
 * Output that does not fit is cut. */
size_t fmt(char *dst, size_t cap_bytes, const char *format, ...) PRINTF_LIKE(3, 4);

/* Copies s into dst as a NUL-terminated string; false (and dst = "") where it does not fit or
 * holds a NUL. For the edge only. */
bool str_to_c(struct str s, char *dst, size_t cap_bytes);

/* FNV-1a with a final mix: for hash maps, never for secrets. seed makes collisions unforgeable. */
uint64_t str_hash(struct str s, uint64_t seed);
uint64_t str_hash_nocase(struct str s, uint64_t seed);

/* Writes s with control bytes, DEL, backslash and non-ASCII as \xHH, cut at cap but never
 * within an escape; returns dst as a view, without NUL. For logs: input never reaches a line
 * unescaped. */
struct str str_escape(struct str s, char *dst, size_t cap_bytes);

/* Valid UTF-8 (RFC 3629: shortest form, no surrogates, up to U+10FFFF)? */
bool str_is_utf8(struct str s);
bool str_is_ascii(struct str s);

#endif
