/* SPDX-License-Identifier: Apache-2.0
 *
 * auth.c - the client's side of AUTH PLAIN (RFC 4616) and LOGIN, for smarthosts.
 *
 * An engine beside proto/smtp_client, which is idle meanwhile: bytes in, bytes to write in out.
 * Whether the connection is safe enough for a password is the caller's decision (conn.c).
 */
#include "core/b64.h"
#include "core/crypto.h"
#include "core/str.h"
#include "deliver/deliver_priv.h"

enum { AUTH_OUT_BYTES_MAX = 4096, LOGIN_CHALLENGE_COUNT = 2 };

struct mechanisms {
    bool has_plain, has_login;
};

/* "… AUTH PLAIN LOGIN …", also the old "AUTH=PLAIN". RFC 4954 3 */
static struct mechanisms mechanisms_of(struct str ehlo)
{
    struct mechanisms found = { false, false };
    struct str word;
    bool is_behind_auth = false;
    while (str_cut(&ehlo, ' ', &word)) {
        if (str_starts_nocase(word, STR("AUTH=")) || str_eq_nocase(word, STR("AUTH"))) {
            is_behind_auth = true;
            word = str_from(word, sizeof "AUTH=" - 1);
        }
        found.has_plain |= is_behind_auth && str_eq_nocase(word, STR("PLAIN"));
        found.has_login |= is_behind_auth && str_eq_nocase(word, STR("LOGIN"));
    }
    return found;
}

static void out_line(struct auth *auth, struct str word, struct str secret)
{
    buf_clear(&auth->out);
    buf_add(&auth->out, word);
    b64_encode(&auth->out, secret);
    buf_add(&auth->out, STR("\r\n"));
}

static enum err begin_plain(struct auth *auth)
{
    struct buf plain; /* RFC 4616 2: no authzid */
    buf_init(&plain, AUTH_OUT_BYTES_MAX);
    buf_add_char(&plain, '\0');
    buf_add(&plain, auth->username);
    buf_add_char(&plain, '\0');
    buf_add(&plain, auth->password);
    enum err err = buf_err(&plain);
    out_line(auth, STR("AUTH PLAIN "), buf_str(&plain));
    if (plain.ptr) {
        crypto_wipe(plain.ptr, plain.len);
    }
    buf_done(&plain);
    return err != OK ? err : buf_err(&auth->out);
}

enum err auth_begin(struct auth *auth, struct str ehlo, struct str username, struct str password)
{
    struct mechanisms found = mechanisms_of(ehlo);
    *auth = (struct auth){
        .is_login = !found.has_plain, .username = username, .password = password
    };
    buf_init(&auth->out, AUTH_OUT_BYTES_MAX);
    if (!found.has_plain && !found.has_login) {
        return E_UNSUPPORTED;
    }
    if (found.has_plain) {
        return begin_plain(auth);
    }
    buf_add(&auth->out, STR("AUTH LOGIN\r\n"));
    return buf_err(&auth->out);
}

/* LOGIN asks for the name, then for the password; what it says in base64 varies and is not read. */
static enum auth_step answer_challenge(struct auth *auth)
{
    if (!auth->is_login || auth->answer_count >= LOGIN_CHALLENGE_COUNT) {
        return AUTH_FAILED;
    }
    out_line(auth, STR(""), auth->answer_count == 0 ? auth->username : auth->password);
    auth->answer_count++;
    return buf_err(&auth->out) == OK ? AUTH_MORE : AUTH_FAILED;
}

static enum auth_step judge(struct auth *auth)
{
    auth->is_reply_begun = false;
    switch (smtp_reply_class(&auth->reply)) {
    case 2: /* 235 */
        return AUTH_DONE;
    case 3: /* 334 */
        return answer_challenge(auth);
    default:
        return AUTH_FAILED;
    }
}

size_t auth_input(struct auth *auth, struct str bytes, enum auth_step *ret_step)
{
    size_t used = 0;
    *ret_step = AUTH_MORE;
    while (used < bytes.len && *ret_step == AUTH_MORE) {
        if (!auth->is_reply_begun) {
            smtp_reply_begin(&auth->reply, SMTP_REPLY_LINES_MAX);
            auth->is_reply_begun = true;
        }
        enum smtp_reply_step step;
        used += smtp_reply_input(&auth->reply, str_from(bytes, used), &step);
        if (step == SMTP_REPLY_DONE) {
            *ret_step = judge(auth);
        } else if (step == SMTP_REPLY_BAD) {
            *ret_step = AUTH_FAILED;
        }
    }
    return used;
}

void auth_done(struct auth *auth)
{
    if (auth->out.ptr) {
        crypto_wipe(auth->out.ptr, auth->out.cap);
    }
    buf_done(&auth->out);
}
