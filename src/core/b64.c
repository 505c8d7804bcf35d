/* SPDX-License-Identifier: Apache-2.0
 *
 * b64.c - base64 by table, four characters at a time.
 *
 * The decoder refuses what a careless one would let pass: stray padding, bits after the end.
 */
#include "core/b64.h"

static const char b64_alphabet[] =
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/* Value of a character plus one; 0 is "not in the alphabet". */
static const uint8_t b64_value_plus_one[256] = {
    ['A'] = 1,
    ['B'] = 2,
    ['C'] = 3,
    ['D'] = 4,
    ['E'] = 5,
    ['F'] = 6,
    ['G'] = 7,
    ['H'] = 8,
    ['I'] = 9,
    ['J'] = 10,
    ['K'] = 11,
    ['L'] = 12,
    ['M'] = 13,
    ['N'] = 14,
    ['O'] = 15,
    ['P'] = 16,
    ['Q'] = 17,
    ['R'] = 18,
    ['S'] = 19,
    ['T'] = 20,
    ['U'] = 21,
    ['V'] = 22,
    ['W'] = 23,
    ['X'] = 24,
    ['Y'] = 25,
    ['Z'] = 26,
    ['a'] = 27,
    ['b'] = 28,
    ['c'] = 29,
    ['d'] = 30,
    ['e'] = 31,
    ['f'] = 32,
    ['g'] = 33,
    ['h'] = 34,
    ['i'] = 35,
    ['j'] = 36,
    ['k'] = 37,
    ['l'] = 38,
    ['m'] = 39,
    ['n'] = 40,
    ['o'] = 41,
    ['p'] = 42,
    ['q'] = 43,
    ['r'] = 44,
    ['s'] = 45,
    ['t'] = 46,
    ['u'] = 47,
    ['v'] = 48,
    ['w'] = 49,
    ['x'] = 50,
    ['y'] = 51,
    ['z'] = 52,
    ['0'] = 53,
    ['1'] = 54,
    ['2'] = 55,
    ['3'] = 56,
    ['4'] = 57,
    ['5'] = 58,
    ['6'] = 59,
    ['7'] = 60,
    ['8'] = 61,
    ['9'] = 62,
    ['+'] = 63,
    ['/'] = 64,
};

static void b64_encode_quad(char dst[4], uint32_t bits)
{
    for (int i = 0; i < 4; i++) {
        dst[i] = b64_alphabet[bits >> (18 - 6 * i) & 63];
    }
}

void b64_encode(struct buf *dst, struct str src)
{
    const uint8_t *in = (const uint8_t *)src.ptr;
    size_t out_len = (src.len / 3 + (src.len % 3 != 0)) * 4;
    char *out = buf_space(dst, out_len);
    if (!out) {
        return;
    }
    size_t at = 0;
    for (; src.len - at >= 3; at += 3, out += 4) {
        b64_encode_quad(out, (uint32_t)in[at] << 16 | (uint32_t)in[at + 1] << 8 | in[at + 2]);
    }
    size_t left = src.len - at;
    if (left > 0) {
        b64_encode_quad(out, (uint32_t)in[at] << 16 | (left == 2 ? (uint32_t)in[at + 1] << 8 : 0));
        out[3] = '=';
        out[2] = left == 2 ? out[2] : '=';
    }
    buf_grew(dst, out_len);
}

struct b64_quad {
    uint32_t bits;
    unsigned count; /* characters and padding so far, 0 .. 4 */
    unsigned pad_count;
};

/* One more character; false where it cannot stand here. */
static bool b64_quad_take(struct b64_quad *quad, char c)
{
    if (c == '=') {
        quad->pad_count++;
        quad->bits <<= 6;
        return quad->count++ >= 2;
    }
    uint32_t value = b64_value_plus_one[(uint8_t)c];
    if (value == 0 || quad->pad_count > 0) {
        return false;
    }
    quad->bits = quad->bits << 6 | (value - 1);
    quad->count++;
    return true;
}

/* A full quad into dst; false where the unused bits are not zero (RFC 4648 3.5). */
static bool b64_quad_give(const struct b64_quad *quad, struct buf *dst)
{
    char byte[3] = { (char)(quad->bits >> 16), (char)(quad->bits >> 8), (char)quad->bits };
    uint32_t unused_mask = quad->pad_count == 0 ? 0 : quad->pad_count == 1 ? 0xff : 0xffff;
    if (quad->bits & unused_mask) {
        return false;
    }
    buf_add(dst, str_of(byte, 3 - quad->pad_count));
    return true;
}

static bool b64_is_blank(char c)
{
    return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

enum err b64_decode(struct buf *dst, struct str src, bool skip_blanks)
{
    struct b64_quad quad = { 0 };
    bool is_over = false; /* padding ends the text (RFC 4648 3.3) */
    for (size_t i = 0; i < src.len; i++) {
        if (skip_blanks && b64_is_blank(src.ptr[i])) {
            continue;
        }
        if (is_over || !b64_quad_take(&quad, src.ptr[i])) {
            return E_SYNTAX;
        }
        if (quad.count == 4) {
            if (!b64_quad_give(&quad, dst)) {
                return E_SYNTAX;
            }
            is_over = quad.pad_count > 0;
            quad = (struct b64_quad){ 0 };
        }
    }
    return quad.count ? E_SYNTAX : buf_err(dst);
}
