/* SPDX-License-Identifier: Apache-2.0
 *
 * password_test.c - hashes and SCRAM keys, the latter against the example of RFC 7677.
 */
#include "config/config.h"
#include "core/b64.h"
#include "core/str.h"
#include "tests/test.h"

static void fill_counting(struct entropy *entropy, void *dst, size_t len)
{
    (void)entropy;
    for (size_t i = 0; i < len; i++) {
        ((uint8_t *)dst)[i] = (uint8_t)i;
    }
}

TEST(a_password_is_verified_by_its_hash)
{
    struct buf hash;
    buf_init(&hash, 1024);
    REQUIRE_OK(password_hash(STR("correct horse"), entropy_real(), &hash));
    CHECK(str_starts(buf_str(&hash), STR("$y$j9T$")));
    CHECK(password_is_hash(buf_str(&hash)));
    CHECK(password_verify(STR("correct horse"), buf_str(&hash)));
    CHECK(!password_verify(STR("correct horse "), buf_str(&hash)));
    CHECK(!password_verify(STR(""), buf_str(&hash)));
    CHECK(!password_verify(str_of("correct horse\0x", 15), buf_str(&hash)));
    buf_done(&hash);
}

TEST(the_salt_comes_from_entropy)
{
    struct entropy counting = { .fill = fill_counting };
    struct buf a, b, c;
    buf_init(&a, 1024);
    buf_init(&b, 1024);
    buf_init(&c, 1024);
    REQUIRE_OK(password_hash(STR("x"), &counting, &a));
    REQUIRE_OK(password_hash(STR("x"), &counting, &b));
    REQUIRE_OK(password_hash(STR("x"), entropy_real(), &c));
    CHECK_STR(buf_str(&a), buf_str(&b));
    CHECK(!str_eq(buf_str(&a), buf_str(&c)));
    buf_done(&a);
    buf_done(&b);
    buf_done(&c);
}

TEST(a_password_that_crypt_cannot_take_is_refused)
{
    struct buf hash;
    char text[CONFIG_SECRET_BYTES_MAX + 1];
    memset(text, 'a', sizeof text);
    buf_init(&hash, 1024);
    CHECK_ERR(password_hash(STR(""), entropy_real(), &hash), E_USAGE);
    CHECK_ERR(password_hash(str_of("a\0b", 3), entropy_real(), &hash), E_USAGE);
    CHECK_ERR(password_hash(str_of(text, sizeof text), entropy_real(), &hash), E_USAGE);
    CHECK_U64(hash.len, 0);
    buf_done(&hash);
    buf_init(&hash, 10); /* no room for it */
    CHECK_ERR(password_hash(STR("x"), entropy_real(), &hash), E_TOO_BIG);
    buf_done(&hash);
}

TEST(what_is_no_strong_hash_verifies_nothing)
{
    static const char *const bad[] = { "", "x", "$", "$y$", "$y$j9T$", "plain", "*0", "*",
        "$1$salt$qJH7.N4xYta3aEG/dfqo/0", "ab5Rl0T0yyrVU", "$y$j9T$????$abc" };
    for (size_t i = 0; i < COUNT_OF(bad); i++) {
        CHECK(!password_is_hash(str_from_c(bad[i])), "%s", bad[i]);
        CHECK(!password_verify(STR("x"), str_from_c(bad[i])), "%s", bad[i]);
    }
    CHECK(!password_verify(STR("x"), str_of("$y$j9T$\0", 8)));
}

TEST(no_memory_for_a_hash_is_said)
{
    struct buf hash;
    buf_init(&hash, 1024);
    REQUIRE_OK(password_hash(STR("x"), entropy_real(), &hash));
    mem_fail_at(1);
    CHECK(!password_verify(STR("x"), buf_str(&hash)));
    mem_fail_at(1);
    CHECK_ERR(password_hash(STR("x"), entropy_real(), &hash), E_NOMEM);
    mem_fail_at(0);
    buf_done(&hash);
}

/* RFC 7677 3: user "user", password "pencil". */
TEST(scram_keys_are_those_of_rfc_7677)
{
    struct buf salt, mac;
    buf_init(&salt, 64);
    buf_init(&mac, 128);
    REQUIRE_OK(b64_decode(&salt, STR("W22ZaJ0SNY7soEsUEjb6gQ=="), false));
    struct password_scram scram = { .iterations = 4096 };
    CHECK_U64(salt.len, sizeof scram.salt);
    memcpy(scram.salt, salt.ptr, salt.len);
    REQUIRE_OK(password_scram_keys(STR("pencil"), &scram));
    struct str message = STR("n=user,r=rOprNGfwEbeRWgbNEkqO,"
                             "r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,"
                             "s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096,"
                             "c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0");
    uint8_t signature[SHA256_BYTES], client_key[SHA256_BYTES], stored[SHA256_BYTES];
    hmac_sha256(
            str_of((const char *)scram.server_key, sizeof scram.server_key), message, signature);
    b64_encode(&mac, str_of((const char *)signature, sizeof signature));
    CHECK_STR(buf_str(&mac), STR("6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4="));
    /* ClientProof XOR HMAC(StoredKey, AuthMessage) is ClientKey, whose hash is StoredKey. */
    buf_clear(&mac);
    REQUIRE_OK(b64_decode(&mac, STR("dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ="), false));
    hmac_sha256(
            str_of((const char *)scram.stored_key, sizeof scram.stored_key), message, signature);
    for (size_t i = 0; i < SHA256_BYTES; i++) {
        client_key[i] = (uint8_t)mac.ptr[i] ^ signature[i];
    }
    sha256(str_of((const char *)client_key, sizeof client_key), stored);
    CHECK(memcmp(stored, scram.stored_key, sizeof stored) == 0);
    buf_done(&salt);
    buf_done(&mac);
}

TEST(scram_takes_ascii_passwords_only)
{
    struct password_scram scram = { 0 };
    REQUIRE_OK(password_scram(STR("abc"), entropy_real(), &scram));
    CHECK_U64(scram.iterations, 4096);
    CHECK_ERR(password_scram(STR("p\xc3\xa4sse"), entropy_real(), &scram), E_USAGE);
    CHECK_ERR(password_scram(STR(""), entropy_real(), &scram), E_USAGE);
    scram.iterations = 0;
    CHECK_ERR(password_scram_keys(STR("abc"), &scram), E_USAGE);
}
