/* SPDX-License-Identifier: Apache-2.0
 *
 * b64_test.c - the vectors of RFC 4648 section 10, round trips, and every kind of refusal.
 */
#include "core/b64.h"

#include "core/prng.h"
#include "tests/test.h"

static const struct vector {
    struct str plain, coded;
} rfc_vectors[] = {
    { STR_INIT(""), STR_INIT("") },
    { STR_INIT("f"), STR_INIT("Zg==") },
    { STR_INIT("fo"), STR_INIT("Zm8=") },
    { STR_INIT("foo"), STR_INIT("Zm9v") },
    { STR_INIT("foob"), STR_INIT("Zm9vYg==") },
    { STR_INIT("fooba"), STR_INIT("Zm9vYmE=") },
    { STR_INIT("foobar"), STR_INIT("Zm9vYmFy") },
};

TEST(b64_follows_the_vectors_of_rfc_4648)
{
    for (size_t i = 0; i < COUNT_OF(rfc_vectors); i++) {
        struct buf buf;
        buf_init(&buf, 100);
        b64_encode(&buf, rfc_vectors[i].plain);
        CHECK_STR(buf_str(&buf), rfc_vectors[i].coded);
        buf_clear(&buf);
        REQUIRE_OK(b64_decode(&buf, rfc_vectors[i].coded, false));
        CHECK_STR(buf_str(&buf), rfc_vectors[i].plain);
        buf_done(&buf);
    }
}

TEST(b64_decode_gives_back_what_encode_took)
{
    struct prng prng;
    prng_init(&prng, 1);
    char bytes[200];
    for (size_t len = 0; len < sizeof bytes; len++) {
        for (size_t i = 0; i < len; i++) {
            bytes[i] = (char)prng_next(&prng);
        }
        struct buf coded, plain;
        buf_init(&coded, 1000);
        buf_init(&plain, len);
        b64_encode(&coded, str_of(bytes, len));
        CHECK_U64(coded.len, (len + 2) / 3 * 4);
        bool skip_blanks = (len & 1) == 0;
        REQUIRE_OK(b64_decode(&plain, buf_str(&coded), skip_blanks));
        CHECK_STR(buf_str(&plain), str_of(bytes, len));
        buf_done(&coded);
        buf_done(&plain);
    }
}

TEST(b64_decode_refuses_what_is_not_canonical)
{
    static const struct str bad[] = {
        STR_INIT("Z"),
        STR_INIT("Zg"),
        STR_INIT("Zg="),
        STR_INIT("Zm9"),
        STR_INIT("Zm9v="),
        STR_INIT("===="),
        STR_INIT("Z==="),
        STR_INIT("Zg==Zg=="),
        STR_INIT("Zm8=Zm8="),
        STR_INIT("Zh=="),
        STR_INIT("Zm9="),
        STR_INIT("Zg=v"),
        STR_INIT("Zm9v "),
        STR_INIT("Zm 9v"),
        STR_INIT("Zm-v"),
        STR_INIT("Zm_v"),
        STR_INIT("Zm\0v"),
        STR_INIT("Zm\xff"
                 "v"),
        STR_INIT("Zg==="),
        STR_INIT("="),
        STR_INIT("Zg==\n"),
    };
    for (size_t i = 0; i < COUNT_OF(bad); i++) {
        struct buf buf;
        buf_init(&buf, 100);
        enum err err = b64_decode(&buf, bad[i], false);
        CHECK(err == E_SYNTAX, "'%.*s': %s", STR_ARG(bad[i]), err_name(err));
        buf_done(&buf);
    }
}

TEST(b64_decode_skips_blanks_only_when_asked)
{
    struct buf buf;
    buf_init(&buf, 100);
    REQUIRE_OK(b64_decode(&buf, STR(" Zm\r\n\t9v Y g = \r\n = "), true));
    CHECK_STR(buf_str(&buf), STR("foob"));
    CHECK_ERR(b64_decode(&buf, STR(" Zm9v"), false), E_SYNTAX);
    CHECK_ERR(b64_decode(&buf, STR("Zm\v9v"), true), E_SYNTAX);
    buf_done(&buf);
}

TEST(b64_reports_a_full_buffer)
{
    struct buf buf;
    buf_init(&buf, 5);
    b64_encode(&buf, STR("foobar"));
    CHECK_ERR(buf_err(&buf), E_TOO_BIG);
    buf_clear(&buf);
    CHECK_ERR(b64_decode(&buf, STR("Zm9vYmFy"), false), E_TOO_BIG);
    CHECK_STR(buf_str(&buf), STR("foo"));
    buf_done(&buf);
}
