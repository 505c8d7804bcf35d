/* SPDX-License-Identifier: Apache-2.0
 *
 * dkim_body_test.c - canonical bodies: the examples of RFC 6376, and against a slow second writing
 * of 3.4.3 and 3.4.4 over random bodies in random pieces.
 */
#include "core/prng.h"
#include "core/str.h"
#include "mail/dkim.h"
#include "tests/test.h"

enum { BODY_BYTES_MAX = 3000 };

/* 3.4.4 and 3.4.3, word by word: reduce blanks line by line, drop empty lines at the end. */
static void slow_canon(enum dkim_canon canon, struct str body, struct buf *out)
{
    struct str rest = body;
    while (rest.len > 0) {
        size_t end = str_find(rest, STR("\r\n"));
        struct str line = str_sub(rest, 0, end);
        rest = str_from(rest, end + 2);
        if (canon == DKIM_SIMPLE) {
            buf_add(out, line);
        } else {
            while (line.len > 0 && ascii_is_blank(line.ptr[line.len - 1])) {
                line.len--;
            }
            for (size_t i = 0; i < line.len; i++) {
                bool is_blank = ascii_is_blank(line.ptr[i]);
                if (!is_blank || i == 0 || !ascii_is_blank(line.ptr[i - 1])) {
                    buf_add_char(out, is_blank ? ' ' : line.ptr[i]);
                }
            }
        }
        buf_add(out, STR("\r\n"));
        /* str_find gives the end where there is no CRLF: then this was the last line. */
    }
    while (out->len >= 4 && memcmp(out->ptr + out->len - 4, "\r\n\r\n", 4) == 0) {
        buf_cut(out, out->len - 2);
    }
    if (out->len == 2 && memcmp(out->ptr, "\r\n", 2) == 0) {
        buf_clear(out);
    }
    if (out->len == 0 && canon == DKIM_SIMPLE) {
        buf_add(out, STR("\r\n"));
    }
}

static void check_hash(struct str body, const struct dkim_body_how *how, struct prng *prng)
{
    struct dkim_body_hash hash;
    struct buf canon;
    uint8_t got[SHA256_BYTES], wanted[SHA256_BYTES];
    buf_init(&canon, 1 << 20);
    slow_canon(how->canon, body, &canon);
    uint64_t whole_bytes = canon.len;
    if (how->has_limit && canon.len > how->limit_bytes) {
        buf_cut(&canon, (size_t)how->limit_bytes);
    }
    sha256(buf_str(&canon), wanted);
    REQUIRE_OK(dkim_body_begin(&hash, how));
    for (size_t at = 0; at < body.len;) {
        size_t len = 1 + prng_below(prng, prng_chance(prng, 500000) ? 4 : 400);
        /* Exact-size copies, so that reading past a piece is seen. */
        struct str piece = str_sub(body, at, len);
        char *copy = mem_new(piece.len);
        memcpy(copy, piece.ptr, piece.len);
        dkim_body_add(&hash, str_of(copy, piece.len));
        mem_free(copy);
        at += piece.len;
    }
    CHECK_U64(dkim_body_end(&hash, got), SHA256_BYTES);
    char shown[400];
    str_escape(body, shown, sizeof shown);
    CHECK(memcmp(got, wanted, sizeof got) == 0, "%s body %s",
            how->canon == DKIM_RELAXED ? "relaxed" : "simple", shown);
    CHECK_U64(hash.canon_bytes, whole_bytes);
    buf_done(&canon);
}

static size_t random_body(struct prng *prng, char dst[BODY_BYTES_MAX])
{
    static const char *const bits[] = { "\r\n", "\r\n", " ", "\t", "  ", "\r", "\n", "word", "x",
        "\r\n\r\n", " \r\n", "a longer stretch of text without anything odd in it", "\xc3\xb6",
        "\t\r\n" };
    size_t len = 0, max = prng_below(prng, BODY_BYTES_MAX - 64);
    bool is_tame = prng_chance(prng, 300000);
    while (len < max) {
        const char *bit = bits[prng_below(prng, COUNT_OF(bits))];
        if (is_tame && prng_chance(prng, 900000)) {
            bit = prng_chance(prng, 100000) ? "\r\n" : prng_chance(prng, 300000) ? " " : "abc";
        }
        memcpy(dst + len, bit, strlen(bit));
        len += strlen(bit);
    }
    return len;
}

TEST(any_body_in_any_pieces_has_the_hash_of_its_canonical_form)
{
    struct prng prng;
    prng_init(&prng, 1);
    for (int round = 0; round < 4000; round++) {
        char body[BODY_BYTES_MAX];
        size_t len = random_body(&prng, body);
        struct dkim_body_how how = { .canon = round % 2 ? DKIM_RELAXED : DKIM_SIMPLE,
            .has_limit = prng_chance(&prng, 300000),
            .limit_bytes = prng_below(&prng, 3000) };
        check_hash(str_of(body, len), &how, &prng);
    }
}

static void check_sha256(const char *body, enum dkim_canon canon, const char *canonical)
{
    struct dkim_body_hash hash;
    uint8_t got[SHA256_BYTES], wanted[SHA256_BYTES];
    struct dkim_body_how how = { .canon = canon };
    REQUIRE_OK(dkim_body_begin(&hash, canon == DKIM_RELAXED ? NULL : &how));
    dkim_body_add(&hash, str_from_c(body));
    dkim_body_end(&hash, got);
    sha256(str_from_c(canonical), wanted);
    CHECK(memcmp(got, wanted, sizeof got) == 0, "body \"%s\"", body);
}

TEST(the_examples_of_rfc_6376_3_4_5_hold)
{
    check_sha256(" C \r\nD \t E\r\n\r\n\r\n", DKIM_RELAXED, " C\r\nD E\r\n");
    check_sha256(" C \r\nD \t E\r\n\r\n\r\n", DKIM_SIMPLE, " C \r\nD \t E\r\n");
    check_sha256("", DKIM_RELAXED, "");
    check_sha256("", DKIM_SIMPLE, "\r\n");
    check_sha256("\r\n \t\r\n", DKIM_RELAXED, "");
    check_sha256("\r\n\r\n", DKIM_SIMPLE, "\r\n");
    check_sha256("no end", DKIM_RELAXED, "no end\r\n");
    check_sha256("no end", DKIM_SIMPLE, "no end\r\n");
    check_sha256("cr\r", DKIM_RELAXED, "cr\r\r\n");
    check_sha256("cr\r", DKIM_SIMPLE, "cr\r\r\n");
}

TEST(a_dropped_body_hash_frees_and_no_memory_is_told)
{
    struct dkim_body_hash hash = { 0 };
    dkim_body_drop(&hash);
    REQUIRE_OK(dkim_body_begin(&hash, NULL));
    dkim_body_add(&hash, STR("x"));
    dkim_body_add(&hash, STR(""));
    dkim_body_drop(&hash);
}
