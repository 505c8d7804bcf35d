/* SPDX-License-Identifier: Apache-2.0
 *
 * crypto_test.c - known digests and MACs (FIPS 180-4, RFC 4231), keys there and back, RFC 8463 A.
 */
#include "core/crypto.h"

#include "core/b64.h"
#include "core/str.h"
#include "tests/test.h"

static void check_hex(const uint8_t *bytes, size_t len, const char *expected)
{
    char text[2 * SHA256_BYTES + 1];
    for (size_t i = 0; i < len; i++) {
        fmt(text + 2 * i, 3, "%02x", (unsigned)bytes[i]);
    }
    CHECK_STR(str_of(text, 2 * len), str_from_c(expected));
}

TEST(digests_are_those_of_fips_180)
{
    uint8_t hash[SHA256_BYTES];
    sha256(STR("abc"), hash);
    check_hex(hash, 32, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    sha256((struct str){ 0 }, hash);
    check_hex(hash, 32, "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
    struct digest digest;
    REQUIRE_OK(digest_begin(&digest, false));
    digest_add(&digest, STR("a"));
    digest_add(&digest, (struct str){ 0 });
    digest_add(&digest, STR("bc"));
    CHECK_U64(digest_end(&digest, hash), 32);
    check_hex(hash, 32, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    REQUIRE_OK(digest_begin(&digest, true));
    digest_add(&digest, STR("abc"));
    CHECK_U64(digest_end(&digest, hash), 20);
    check_hex(hash, 20, "a9993e364706816aba3e25717850c26c9cd0d89d");
    digest_drop(&digest);
    REQUIRE_OK(digest_begin(&digest, false));
    digest_drop(&digest);
    digest_drop(&digest);
}

static void check_hmac(struct str key, struct str s, const char *expected)
{
    uint8_t mac[SHA256_BYTES];
    hmac_sha256(key, s, mac);
    check_hex(mac, sizeof mac, expected);
}

TEST(hmac_follows_the_vectors_of_rfc_4231)
{
    char key[131], text[50];
    memset(key, 0x0b, 20);
    check_hmac(str_of(key, 20), STR("Hi There"),
            "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7");
    check_hmac(STR("Jefe"), STR("what do ya want for nothing?"),
            "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843");
    memset(key, 0xaa, sizeof key);
    memset(text, 0xdd, sizeof text);
    check_hmac(str_of(key, 20), str_of(text, 50),
            "773ea91e36800e46854db8ebd09181a72959098b3ef8c122d9635514ced565fe");
    check_hmac(str_of(key, 131), STR("Test Using Larger Than Block-Size Key - Hash Key First"),
            "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54");
    check_hmac((struct str){ 0 }, (struct str){ 0 },
            "b613679a0814d9ec772f95d778c35fc5ff1697c493715653c6c712144292c5ad");
}

TEST(comparison_and_wiping_do_what_they_say)
{
    char a[4] = "abc", b[4] = "abd";
    CHECK(crypto_eq(a, a, 4) && !crypto_eq(a, b, 4) && crypto_eq(a, b, 2) && crypto_eq(a, b, 0));
    crypto_wipe(a, sizeof a);
    CHECK(a[0] == 0 && a[2] == 0);
}

static struct key *public_of(const struct key *key)
{
    struct buf der;
    buf_init(&der, 4096);
    REQUIRE_OK(key_to_public(key, &der));
    struct key *public_key = NULL;
    REQUIRE_OK(key_from_public(key_kind(key), buf_str(&der), &public_key));
    buf_done(&der);
    return public_key;
}

static struct key *through_pem(const struct key *key)
{
    struct buf pem;
    buf_init(&pem, 16384);
    REQUIRE_OK(key_to_pem(key, &pem));
    CHECK(str_starts(buf_str(&pem), STR("-----BEGIN PRIVATE KEY-----\n")));
    struct key *again = NULL;
    REQUIRE_OK(key_from_pem(buf_str(&pem), &again, NULL));
    buf_done(&pem);
    return again;
}

static void check_sign_and_verify(enum key_kind kind, uint32_t bits, size_t signature_len)
{
    struct key *made = NULL;
    REQUIRE_OK(key_generate(kind, bits, &made));
    struct key *private_key = through_pem(made), *public_key = public_of(private_key);
    key_free(made);
    CHECK(key_kind(private_key) == kind && key_kind(public_key) == kind);
    CHECK_U64(key_bits(public_key), bits);
    uint8_t hash[SHA256_BYTES], signature[SIGNATURE_BYTES_MAX];
    size_t len = 0;
    sha256(STR("text"), hash);
    CHECK_ERR(key_sign(public_key, hash, signature, &len), E_USAGE);
    REQUIRE_OK(key_sign(private_key, hash, signature, &len));
    CHECK_U64(len, signature_len);
    struct str signed_hash = str_of((char *)hash, sizeof hash),
               sig = str_of((char *)signature, len);
    CHECK(key_verify(public_key, signed_hash, false, sig));
    CHECK(key_verify(private_key, signed_hash, false, sig));
    CHECK(!key_verify(public_key, signed_hash, false, str_sub(sig, 0, len - 1)));
    CHECK(!key_verify(public_key, signed_hash, false, (struct str){ 0 }));
    CHECK(!key_verify(public_key, str_sub(signed_hash, 0, 20), true, sig));
    CHECK(!key_verify(public_key, str_sub(signed_hash, 0, 31), false, sig));
    signature[0] ^= 1;
    CHECK(!key_verify(public_key, signed_hash, false, sig));
    struct buf pem;
    buf_init(&pem, 100);
    CHECK_ERR(key_to_pem(public_key, &pem), E_USAGE);
    CHECK_ERR(key_to_pem(private_key, &pem), E_TOO_BIG);
    buf_done(&pem);
    key_free(private_key);
    key_free(public_key);
}

TEST(an_rsa_key_signs_verifies_and_survives_pem_and_dns)
{
    check_sign_and_verify(KEY_RSA, 1024, 128);
}

TEST(an_ed25519_key_signs_verifies_and_survives_pem_and_dns)
{
    check_sign_and_verify(KEY_ED25519, 256, 64);
}

TEST(rsa_sizes_outside_the_limits_are_not_generated)
{
    struct key *key = NULL;
    CHECK_ERR(key_generate(KEY_RSA, 1023, &key), E_USAGE);
    CHECK_ERR(key_generate(KEY_RSA, 4097, &key), E_USAGE);
    CHECK(key == NULL);
    key_free(NULL);
}

/* openssl genrsa 1024, in the PKCS#1 form; its SHA-1 and SHA-256 signatures of "text". */
static const struct str rsa_pkcs1_pem =
        STR_INIT("-----BEGIN RSA PRIVATE KEY-----\n"
                 "MIICXQIBAAKBgQCm7rIxP2v1bRpfs6thdn+szv1UQ1gJV03BGfjJbI4X+UHgDv94\n"
                 "yvp3q+fu8xutSSefX8PYYe56iWJBpdTEahlh+jPN03Qph/415aeOfgmA/XtkTdt2\n"
                 "TGl4whJDYe7JQdwjIQYoVhjMYTx1stueWe7+J4qshweA2wwy/kiYWHmPHwIDAQAB\n"
                 "AoGAO2wisFc0NfQ1fDW33wTQpBI2qWUjlIeoXQHCxujGmBAZfAm6tSQEDs95y1xs\n"
                 "0L2GxjvPuln6C1KWUGoYmCZwjBXMaJhrF9Tg2Q7N2NeQBWCz4Ut3yv4k+4sYJViu\n"
                 "4Is/0QCTAMqoQiEGLXXEZZczRi0Z/eTBl7+0T+nPh39VzTkCQQDUCwuSGvgomo6e\n"
                 "ISK77GrmjUWGbrGNwR+TDMdU0GA5wSxCTR3ML5ALbXCklOlNc6gRA4r0zVQvvE+Q\n"
                 "qgpxY+rbAkEAyYmpQnXMRj3ZvT0OZDnkbTvP+Ydc+CiqH4TykQoS7rVyL3+aHokA\n"
                 "L7/TwKmVz8zMlhqBPZsCgYCjAGrjSeiGDQJAdQy30WpDzJ4s1gtykgwaorQfSes2\n"
                 "5gpSdKkcK6xvQdJprRvGtB0ZRcWe5asx8khC4Ul0Xlgt/b/UqAXFh/xg+wJBALSO\n"
                 "Sj+qfXooi1xIyQ3t98INJgQty5LgC5n1Z8OdPNzzXftD3HWi07Hzr+gZhogGuPt5\n"
                 "f3QL3bDb6CzFlh9u3DkCQQCMEGW26xGDnnbELP9582G/BeoLyMIG7Q4/gm/whd2K\n"
                 "LOLaOCe5KJIOKcTPb+jJwk4+IqVa6+cIAYIFZpNA8shI\n"
                 "-----END RSA PRIVATE KEY-----\n");
static const struct str rsa_pkcs1_public =
        STR_INIT("MIGJAoGBAKbusjE/a/VtGl+zq2F2f6zO/VRDWAlXTcEZ+Mlsjhf5QeAO/3jK+ner5+7zG61JJ59f"
                 "w9hh7nqJYkGl1MRqGWH6M83TdCmH/jXlp45+CYD9e2RN23ZMaXjCEkNh7slB3CMhBihWGMxhPHWy"
                 "255Z7v4niqyHB4DbDDL+SJhYeY8fAgMBAAE=");
static const struct str rsa_sha1_signature =
        STR_INIT("ldwnYJrXf1+LFVhnNC+wKJsPLrjzHHePo02epkxlI4WxM3Kaf1Fdxk2TFKqcWsxPso4mnloPzjvs"
                 "5rA/JOq44f16qARSgtKgXL0iSbbV6i0MiShIJd0QL4fkIhkzif/a0nI+NfAJVtFolbgRhoN7iRbB"
                 "F/O9u0p7rGOB/caGqYY=");
static const struct str rsa_sha256_signature =
        STR_INIT("fWqd+kq+a5+vVtQT4/m1qBm4shMlnoMmIDuBTuFxmqLKEBY2LJdJCXii9a5EWojNuOqiDYz2BJtg"
                 "lUgIZchg8Lo4Rk9zgJvyDqitL5emWs0DkJZY3SBPimPYufeeR7fMLrbfezNUrx3e5xjRO9qGL5uC"
                 "hF2us1xcZWtQzSZBvpI=");

/* What we do not take: a P-256 key, an encrypted one, RSA of 4104 bits. */
static const struct str ec_pem =
        STR_INIT("-----BEGIN PRIVATE KEY-----\n"
                 "MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgOYNxwuFDBjTiqRrc\n"
                 "1mNeyj6kTblWxQB/b3O25eEzchOhRANCAAQlyj8yiwE6p5XXseWVit071BaSHGHN\n"
                 "pnYm6sqej1sxWMu6skL2IiX9dPm+tytFJT3RRueQHycgdYkW5FhgLwEn\n"
                 "-----END PRIVATE KEY-----\n");
static const struct str ec_public =
        STR_INIT("MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEJco/MosBOqeV17HllYrdO9QWkhxhzaZ2JurKno9b"
                 "MVjLurJC9iIl/XT5vrcrRSU90UbnkB8nIHWJFuRYYC8BJw==");
static const struct str encrypted_pem =
        STR_INIT("-----BEGIN ENCRYPTED PRIVATE KEY-----\n"
                 "MIIC3TBXBgkqhkiG9w0BBQ0wSjApBgkqhkiG9w0BBQwwHAQIWW8IpRjsXaQCAggA\n"
                 "MAwGCCqGSIb3DQIJBQAwHQYJYIZIAWUDBAEqBBBfVsdX7mPRExX69KkArRo1BIIC\n"
                 "gP+8cS66vnSeydLUWfrK1Ktbi/ZWR0b/GBz6j/9v2FADjfX0jlHCq7EXwOXTbfQv\n"
                 "kCLq4NCSMojschvNLjcNf9owtw0Hh9z6kl2ybG6fTsEymyZJDoGRvnu/S9/awPUs\n"
                 "xDermExa42sbMnQHz8FV3M+hcZcjnHUu9xcdP+6IaAq5tYnFxFIqgc16Y1F+uxXd\n"
                 "h+2GXP/H+CMCy9cbMPkUNdZyQKrTYi+dtUiZuO4zkygHP1TIk+sq5HMv34uhUY1F\n"
                 "X2+pwpvT2AGVxwyKCDSEGKHVOxInShPYYS98PR/j8uITlZQxF3CH/YDnStEegLlJ\n"
                 "tNQUsK+ZkEuvLg63AxOcQe7tkM317siEQiY8jLTc2VNTmLJfdGm1vrIO/TS2Pq3N\n"
                 "Cpuj9qJ/TXW3TmQmkrrtTPY5xaEyLbUyaiuoH0Y3QqzAvGkggQKIxdoGClsPyLFG\n"
                 "72DMBg1kvFQD6KLEhEmGxD5b464MRpOuAmfoGZCpXY4E9kmLTvKr6ocMaN2L2qcD\n"
                 "R1ucx2X00/VfA36DU+553eVJkS9wU9nq+e4a9/LF5FJEyeME8uEFC2d/wh3NO5kH\n"
                 "fIKekCeNelwPT2kbuwo+7h4aU5KalYbx6Wzd1+FREw70jZcxmHRxvk1mFYinppOt\n"
                 "0lGuEXyesxsGp6m8WCAfQsciPi/wbfPD2xlIKSepKs+G78sIfPJmjtzVujiTmMPu\n"
                 "RU8idC/B9fxby5xAg3D66LGPVxmo8bEPRiPtvNL1ehTuEtdmVuGeCdOlxsJ9rJgd\n"
                 "UWY5xJMsiliL9k88MsrIjcJxAuQVMz4ORxMDtUC4jI/Yw4H5FaoKirU4ZF0egiXO\n"
                 "yk4SzN9YMu3RKYdZ+2HemMk=\n"
                 "-----END ENCRYPTED PRIVATE KEY-----\n");
static const struct str big_public =
        STR_INIT("MIICIzANBgkqhkiG9w0BAQEFAAOCAhAAMIICCwKCAgIAsawr4WaJmSQWJ5VN+Ynh6figuIO+WRNE"
                 "Ig0JlN3QpO9YiAIhShiIExl0uznliOvtbaEgCe1f38oJ/cl1A0e8Ufl0BDMCGfB7S3j34MYp4UN8"
                 "wh/5D9AzwK0dqQy36dzUs2ojrWGoYkLbut7T5fce8sAB5hmBFHhzdDEL0N33HAMugdDkLbGfhY45"
                 "iXU5WEYgajiJOW09FYqIyroHHyXOX0s0G4iz5boQjBzFMMt0Yx1zi2haxHq95g3k+nGFS4Z0xDj1"
                 "PEYs10HjHWhSn/x0sTQW7JwPCov/Lhzdm2/6a+hTQlXEaYV5W83tH/fO7CE8U+nE31jYhfjVmQF7"
                 "5Bop7oGRwDGQAoTZJSSC7TJJgnBSWjjIjzwI5Xnu4tXL0pEwnWlz2eWov0YWt6APkhXAmukwmLeF"
                 "dMEGAImmW1CWyL/QXrVHyb00ITUzbu8OQH0RJqptFg2gqomsNoHio5j4w3U+GSrDnevGgtn9zZzY"
                 "w9eptbB8z+Yr8N9DWET3xsslyjVHcNImg+GHidREFTdfT6lGQummdfsEdLqdaIPv9qHb+aQLcP5S"
                 "FHpEISZEcM4VyIrJ2DjnayoRHcm+zKXB0yK9Hh2aTk9NzKeQnuvD1Dzvi8Ea5lJ/5y8xmaQBF0Ns"
                 "uvmFN5q6zHgqDCbBTeW+P+ZEeh7W+sGcy9v4ePd8cJTHAgMBAAE=");

/* The key of RFC 8463 A.2 (and RFC 8032 7.1 test 1), its seed wrapped as PKCS#8. */
static const struct str rfc_pem =
        STR_INIT("-----BEGIN PRIVATE KEY-----\n"
                 "MC4CAQAwBQYDK2VwBCIEIJ1hsZ3v/VpguoRK9JLsLMREScVpezJpGXA7rAMcrn9g\n"
                 "-----END PRIVATE KEY-----\n");

static struct buf decoded(struct str text)
{
    struct buf bytes;
    buf_init(&bytes, 4096);
    REQUIRE_OK(b64_decode(&bytes, text, false));
    return bytes;
}

TEST(signatures_of_another_program_verify_with_a_bare_public_key)
{
    struct buf der = decoded(rsa_pkcs1_public), sig1 = decoded(rsa_sha1_signature),
               sig256 = decoded(rsa_sha256_signature);
    struct key *key = NULL;
    REQUIRE_OK(key_from_public(KEY_RSA, buf_str(&der), &key));
    CHECK_U64(key_bits(key), 1024);
    uint8_t hash[SHA256_BYTES];
    struct digest digest;
    REQUIRE_OK(digest_begin(&digest, true));
    digest_add(&digest, STR("text"));
    struct str sha1 = str_of((char *)hash, digest_end(&digest, hash));
    CHECK(key_verify(key, sha1, true, buf_str(&sig1)));
    CHECK(!key_verify(key, sha1, true, buf_str(&sig256)));
    sha256(STR("text"), hash);
    CHECK(key_verify(key, str_of((char *)hash, sizeof hash), false, buf_str(&sig256)));
    key_free(key);
    buf_done(&der);
    buf_done(&sig1);
    buf_done(&sig256);
}

TEST(a_pkcs1_key_signs_as_another_program_does)
{
    struct key *key = NULL;
    struct why why;
    REQUIRE_OK(key_from_pem(rsa_pkcs1_pem, &key, &why));
    uint8_t hash[SHA256_BYTES], signature[SIGNATURE_BYTES_MAX];
    size_t len = 0;
    sha256(STR("text"), hash);
    REQUIRE_OK(key_sign(key, hash, signature, &len));
    struct buf expected = decoded(rsa_sha256_signature);
    CHECK(str_eq(str_of((char *)signature, len), buf_str(&expected)));
    buf_done(&expected);
    key_free(key);
}

TEST(the_ed25519_key_of_rfc_8463_has_the_public_key_of_rfc_8463)
{
    struct key *key = NULL;
    REQUIRE_OK(key_from_pem(rfc_pem, &key, NULL));
    struct buf raw, text;
    buf_init(&raw, 32);
    buf_init(&text, 100);
    REQUIRE_OK(key_to_public(key, &raw));
    b64_encode(&text, buf_str(&raw));
    CHECK_STR(buf_str(&text), STR("11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo="));
    buf_done(&raw);
    buf_done(&text);
    key_free(key);
}

static void check_pem_refused(struct str pem, enum err expected)
{
    struct key *key = NULL;
    struct why why = { 0 };
    CHECK_ERR(key_from_pem(pem, &key, &why), expected);
    CHECK(key == NULL && why.text[0] != '\0');
    CHECK_ERR(key_from_pem(pem, &key, NULL), expected);
}

TEST(pem_that_is_no_key_of_ours_is_refused_with_a_reason)
{
    static char large[70000];
    check_pem_refused((struct str){ 0 }, E_SYNTAX);
    check_pem_refused(str_of(large, sizeof large), E_SYNTAX);
    check_pem_refused(STR("hello"), E_SYNTAX);
    check_pem_refused(
            STR("-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"), E_SYNTAX);
    check_pem_refused(str_sub(rsa_pkcs1_pem, 0, 500), E_SYNTAX);
    check_pem_refused(encrypted_pem, E_SYNTAX);
    check_pem_refused(ec_pem, E_UNSUPPORTED);
}

static void check_public_refused(enum key_kind kind, struct str der, enum err expected)
{
    struct key *key = NULL;
    CHECK_ERR(key_from_public(kind, der, &key), expected);
    CHECK(key == NULL);
}

TEST(public_keys_that_are_not_ours_are_refused)
{
    struct buf good = decoded(rsa_pkcs1_public), ec = decoded(ec_public), big = decoded(big_public);
    buf_add_char(&good, 'x');
    check_public_refused(KEY_RSA, buf_str(&good), E_SYNTAX);
    for (size_t len = 0; len < good.len - 1; len++) {
        check_public_refused(KEY_RSA, str_sub(buf_str(&good), 0, len), E_SYNTAX);
    }
    check_public_refused(KEY_RSA, buf_str(&ec), E_UNSUPPORTED);
    check_public_refused(KEY_RSA, buf_str(&big), E_UNSUPPORTED);
    check_public_refused(KEY_ED25519, str_sub(buf_str(&good), 0, 31), E_SYNTAX);
    check_public_refused(KEY_ED25519, str_sub(buf_str(&good), 0, 33), E_SYNTAX);
    check_public_refused(KEY_ED25519, (struct str){ 0 }, E_SYNTAX);
    buf_done(&good);
    buf_done(&ec);
    buf_done(&big);
}

TEST(a_key_without_memory_is_refused)
{
    struct key *key = NULL;
    mem_fail_at(1);
    CHECK_ERR(key_from_pem(rfc_pem, &key, NULL), E_NOMEM);
    mem_fail_at(1);
    CHECK_ERR(key_generate(KEY_ED25519, 0, &key), E_NOMEM);
    mem_fail_at(0);
    CHECK(key == NULL);
    REQUIRE_OK(key_from_pem(rfc_pem, &key, NULL));
    struct buf full;
    buf_init(&full, 10);
    CHECK_ERR(key_to_public(key, &full), E_TOO_BIG);
    buf_done(&full);
    key_free(key);
}
