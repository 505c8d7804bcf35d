/* SPDX-License-Identifier: Apache-2.0
 *
 * sasl_test.c - PLAIN and LOGIN, right and wrong (B5).
 */
#include "proto/sasl.h"

#include "core/b64.h"
#include "core/str.h"
#include "tests/test.h"

static struct sasl sasl;
static struct str challenge;

static enum sasl_step begin(const char *mechanism, struct str plain)
{
    struct buf b64;
    buf_init(&b64, 65536);
    b64_encode(&b64, plain);
    enum sasl_step step = sasl_begin(&sasl, str_from_c(mechanism), true, buf_str(&b64), &challenge);
    buf_done(&b64);
    return step;
}

static enum sasl_step answer(struct str plain)
{
    struct buf b64;
    buf_init(&b64, 65536);
    b64_encode(&b64, plain);
    enum sasl_step step = sasl_input(&sasl, buf_str(&b64), &challenge);
    buf_done(&b64);
    return step;
}

static void check_credentials(enum sasl_step step, const char *user, const char *password)
{
    CHECK_U64(step, SASL_CREDENTIALS);
    CHECK_STR(sasl.user, str_from_c(user));
    CHECK_STR(sasl.password, str_from_c(password));
    sasl_done(&sasl);
    CHECK(sasl.plain.ptr == NULL && sasl.user.len == 0);
}

TEST(plain_with_an_initial_response)
{
    check_credentials(begin("PLAIN", STR("\0tim\0tanstaaftanstaaf")), "tim", "tanstaaftanstaaf");
    check_credentials(begin("plain", STR("tim\0tim\0pw")), "tim", "pw"); /* authzid is oneself */
    check_credentials(
            begin("PLAIN", STR("\0j\xc3\xbcrgen\0p\xff\x01")), "j\xc3\xbcrgen", "p\xff\x01");
}

TEST(plain_with_an_empty_challenge)
{
    CHECK_U64(sasl_begin(&sasl, STR("PLAIN"), false, STR(""), &challenge), SASL_CONTINUE);
    CHECK_STR(challenge, STR(""));
    check_credentials(answer(STR("\0tim\0pw")), "tim", "pw");
}

TEST(login_asks_for_user_and_password)
{
    CHECK_U64(sasl_begin(&sasl, STR("LOGIN"), false, STR(""), &challenge), SASL_CONTINUE);
    CHECK_STR(challenge, STR("VXNlcm5hbWU6"));
    CHECK_U64(answer(STR("tim")), SASL_CONTINUE);
    CHECK_STR(challenge, STR("UGFzc3dvcmQ6"));
    check_credentials(answer(STR("pw pw")), "tim", "pw pw");
}

TEST(login_takes_the_user_as_initial_response)
{
    CHECK_U64(begin("LOGIN", STR("tim")), SASL_CONTINUE);
    CHECK_STR(challenge, STR("UGFzc3dvcmQ6"));
    check_credentials(answer(STR("pw")), "tim", "pw");
}

TEST(b05_what_is_not_base64_is_bad)
{
    static const char *const bad[] = { "!", "abc", "dGlt=", "dGlt\r", "=a", "dGl=bQ==", "dG lt" };
    for (size_t i = 0; i < COUNT_OF(bad); i++) {
        CHECK_U64(sasl_begin(&sasl, STR("PLAIN"), true, str_from_c(bad[i]), &challenge), SASL_BAD);
        CHECK_U64(sasl_begin(&sasl, STR("LOGIN"), true, str_from_c(bad[i]), &challenge), SASL_BAD);
    }
    sasl_done(&sasl);
}

TEST(b05_a_star_aborts_at_every_step)
{
    CHECK_U64(sasl_begin(&sasl, STR("PLAIN"), true, STR("*"), &challenge), SASL_ABORTED);
    CHECK_U64(begin("LOGIN", STR("tim")), SASL_CONTINUE);
    CHECK_U64(sasl_input(&sasl, STR("*"), &challenge), SASL_ABORTED);
    CHECK_U64(answer(STR("pw")), SASL_BAD); /* it is over */
    sasl_done(&sasl);
}

TEST(b05_plain_without_two_nuls_is_refused)
{
    CHECK_U64(begin("PLAIN", STR("tim")), SASL_REFUSED);
    CHECK_U64(begin("PLAIN", STR("\0tim")), SASL_REFUSED);
    CHECK_U64(begin("PLAIN", STR("\0tim\0pw\0")), SASL_REFUSED);
    CHECK_U64(begin("PLAIN", STR("\0tim\0p\0w")), SASL_REFUSED);
    CHECK_U64(begin("PLAIN", STR("\0\0pw")), SASL_REFUSED);
    CHECK_U64(begin("PLAIN", STR("\0tim\0")), SASL_REFUSED);
    CHECK_U64(sasl_begin(&sasl, STR("PLAIN"), true, STR("="), &challenge), SASL_REFUSED);
    sasl_done(&sasl);
}

TEST(b05_a_foreign_authzid_is_refused)
{
    CHECK_U64(begin("PLAIN", STR("root\0tim\0pw")), SASL_REFUSED);
    CHECK_U64(begin("PLAIN", STR("ti\0tim\0pw")), SASL_REFUSED);
    sasl_done(&sasl);
}

TEST(b05_controls_and_bad_utf8_in_the_user_are_refused)
{
    CHECK_U64(begin("PLAIN", STR("\0ti\nm\0pw")), SASL_REFUSED);
    CHECK_U64(begin("PLAIN", STR("\0tim\x7f\0pw")), SASL_REFUSED);
    CHECK_U64(begin("PLAIN", STR("\0tim\xc3\0pw")), SASL_REFUSED);
    CHECK_U64(begin("LOGIN", STR("t\0m")), SASL_REFUSED);
    CHECK_U64(begin("LOGIN", STR("")), SASL_REFUSED);
    CHECK_U64(begin("LOGIN", STR("tim")), SASL_CONTINUE);
    CHECK_U64(answer(STR("p\0w")), SASL_REFUSED);
    CHECK_U64(begin("LOGIN", STR("tim")), SASL_CONTINUE);
    CHECK_U64(answer(STR("")), SASL_REFUSED);
    sasl_done(&sasl);
}

TEST(b05_long_users_and_passwords_have_a_limit)
{
    static char text[12000];
    memset(text, 'u', sizeof text);
    text[0] = text[256] = '\0';
    CHECK_U64(begin("PLAIN", str_of(text, 257 + 1024)), SASL_CREDENTIALS);
    CHECK_U64(sasl.user.len, 255);
    CHECK_U64(sasl.password.len, 1024);
    CHECK_U64(begin("PLAIN", str_of(text, 257 + 1025)), SASL_REFUSED);
    CHECK_U64(begin("PLAIN", str_of(text, sizeof text)), SASL_REFUSED);
    text[256] = 'u';
    text[257] = '\0';
    CHECK_U64(begin("PLAIN", str_of(text, 300)), SASL_REFUSED);
    CHECK_U64(begin("LOGIN", str_of(text + 1, 255)), SASL_CONTINUE);
    CHECK_U64(begin("LOGIN", str_of(text + 1, 256)), SASL_REFUSED);
    sasl_done(&sasl);
}

TEST(other_mechanisms_are_unknown_and_no_memory_is_said)
{
    CHECK_U64(sasl_begin(&sasl, STR("CRAM-MD5"), false, STR(""), &challenge), SASL_UNKNOWN);
    mem_fail_at(1);
    CHECK_U64(sasl_begin(&sasl, STR("PLAIN"), false, STR(""), &challenge), SASL_NOMEM);
    mem_fail_at(0);
    sasl_done(&sasl);
    sasl_done(&sasl);
}
