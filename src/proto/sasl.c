/* SPDX-License-Identifier: Apache-2.0
 *
 * sasl.c - decoding PLAIN and LOGIN. Secrets live in one buffer of a fixed size, so that no copy
 * of them is left behind by its growing.
 */
#include "proto/sasl.h"

#include "core/b64.h"
#include "core/crypto.h"
#include "core/str.h"

enum expects { EXPECTS_NOTHING, EXPECTS_PLAIN, EXPECTS_LOGIN_USER, EXPECTS_LOGIN_PASSWORD };

/* authzid NUL authcid NUL passwd; LOGIN's two answers stand behind each other. */
enum { PLAIN_BYTES_MAX = 2 * SASL_USER_BYTES_MAX + 2 + SASL_PASSWORD_BYTES_MAX };
static_assert((int)PLAIN_BYTES_MAX >= (int)SASL_USER_BYTES_MAX + (int)SASL_PASSWORD_BYTES_MAX,
        "LOGIN fits too");

void sasl_done(struct sasl *sasl)
{
    if (sasl->plain.ptr) {
        crypto_wipe(sasl->plain.ptr, sasl->plain.cap);
    }
    buf_done(&sasl->plain);
    *sasl = (struct sasl){ 0 };
}

static bool is_user(struct str user)
{
    if (user.len == 0 || user.len > SASL_USER_BYTES_MAX || !str_is_utf8(user)) {
        return false;
    }
    for (size_t i = 0; i < user.len; i++) {
        if ((uint8_t)user.ptr[i] < 0x20 || user.ptr[i] == 0x7f) {
            return false;
        }
    }
    return true;
}

static enum sasl_step give(struct sasl *sasl, struct str user, struct str password)
{
    bool is_good = is_user(user) && password.len > 0 && password.len <= SASL_PASSWORD_BYTES_MAX &&
                   str_index(password, '\0') == password.len;
    if (!is_good) {
        return SASL_REFUSED;
    }
    sasl->user = user;
    sasl->password = password;
    return SASL_CREDENTIALS;
}

/* RFC 4616 2: message = [authzid] NUL authcid NUL passwd. */
static enum sasl_step take_plain(struct sasl *sasl)
{
    struct str rest = buf_str(&sasl->plain), authzid, user;
    size_t first = str_index(rest, '\0');
    authzid = str_sub(rest, 0, first);
    rest = str_from(rest, first + 1);
    size_t second = str_index(rest, '\0');
    user = str_sub(rest, 0, second);
    if (second == rest.len || (authzid.len > 0 && !str_eq(authzid, user))) {
        return SASL_REFUSED; /* nobody may act for another */
    }
    return give(sasl, user, str_from(rest, second + 1));
}

static enum sasl_step take_login_user(struct sasl *sasl, struct str *ret_challenge)
{
    if (!is_user(buf_str(&sasl->plain))) {
        return SASL_REFUSED;
    }
    sasl->user.len = sasl->plain.len; /* ptr follows with the password */
    sasl->expects = EXPECTS_LOGIN_PASSWORD;
    *ret_challenge = STR("UGFzc3dvcmQ6"); /* "Password:" */
    return SASL_CONTINUE;
}

static enum sasl_step take_login_password(struct sasl *sasl)
{
    struct str both = buf_str(&sasl->plain);
    return give(sasl, str_sub(both, 0, sasl->user.len), str_from(both, sasl->user.len));
}

static enum sasl_step take(struct sasl *sasl, struct str *ret_challenge)
{
    enum expects expects = (enum expects)sasl->expects;
    sasl->expects = EXPECTS_NOTHING;
    switch (expects) {
    case EXPECTS_PLAIN:
        return take_plain(sasl);
    case EXPECTS_LOGIN_USER:
        return take_login_user(sasl, ret_challenge);
    case EXPECTS_LOGIN_PASSWORD:
        return take_login_password(sasl);
    case EXPECTS_NOTHING:
        break;
    }
    return SASL_BAD;
}

enum sasl_step sasl_input(struct sasl *sasl, struct str line, struct str *ret_challenge)
{
    if (str_eq(line, STR("*"))) { /* RFC 4954 4 */
        sasl->expects = EXPECTS_NOTHING;
        return SASL_ABORTED;
    }
    enum err err = b64_decode(&sasl->plain, line, false);
    if (err == OK) {
        return take(sasl, ret_challenge);
    }
    sasl->expects = EXPECTS_NOTHING;
    return err == E_SYNTAX ? SASL_BAD : SASL_REFUSED;
}

enum sasl_step sasl_begin(struct sasl *sasl, struct str mechanism, bool has_initial,
        struct str initial, struct str *ret_challenge)
{
    sasl_done(sasl);
    bool is_plain = str_eq_nocase(mechanism, STR("PLAIN"));
    if (!is_plain && !str_eq_nocase(mechanism, STR("LOGIN"))) {
        return SASL_UNKNOWN;
    }
    buf_init(&sasl->plain, PLAIN_BYTES_MAX);
    if (!buf_space(&sasl->plain, PLAIN_BYTES_MAX)) {
        return SASL_NOMEM;
    }
    sasl->expects = is_plain ? EXPECTS_PLAIN : EXPECTS_LOGIN_USER;
    if (has_initial) {
        return sasl_input(sasl, str_eq(initial, STR("=")) ? STR("") : initial, ret_challenge);
    }
    *ret_challenge = is_plain ? STR("") : STR("VXNlcm5hbWU6"); /* "Username:" */
    return SASL_CONTINUE;
}
