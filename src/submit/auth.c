/* SPDX-License-Identifier: Apache-2.0
 *
 * auth.c - logins: decoded here, verified on a worker, remembered for a while.
 *
 * A client that logs in for every message costs one password hash in SUBMIT_LOGIN_MS. Guessing is
 * limited before the hash, by address and by login, and looks the same for users that do not exist.
 */
#include "core/str.h"
#include "submit/submit_priv.h"

/* Verified where there is no user, so that it takes as long (hostile-input B4); of no password. */
#define AUTH_DUMMY_HASH                                                                            \
    STR("$y$j9T$owuHiHZjVywuHu..YlYDX0$FfCro209U2MOWxeVdlDXtr4gRtiA316vPwoF1/04ag/")

static_assert((int)SUBMIT_PASSWORD_BYTES_MAX >= (int)SASL_PASSWORD_BYTES_MAX, "a password fits");
static_assert(sizeof((struct submit_auth *)0)->user > SASL_USER_BYTES_MAX, "a user fits");

/* ---- on the worker -------------------------------------------------------------------------- */

static struct str dummy_hash(const struct config *config)
{
    for (uint32_t i = 0; i < config->credential_count; i++) {
        if (config->credential[i].password_hash.len > 0) {
            return config->credential[i].password_hash; /* its cost is the one to imitate */
        }
    }
    return AUTH_DUMMY_HASH;
}

void submit_auth_run(struct submit_auth *auth)
{
    struct str user = str_of(auth->user, auth->user_len);
    struct str password = str_of(auth->password, auth->password_len);
    const struct config_credential *credential = config_credential(auth->config, user);
    bool can_log_in = credential && credential->password_hash.len > 0;
    /* many sessions of one client ask at once: the first answer serves all */
    if (can_log_in && auth->shared &&
            shared_knows(auth->shared, credential, password, auth->asked_at)) {
        auth->is_good = true;
        return;
    }
    struct str hash = can_log_in ? credential->password_hash : dummy_hash(auth->config);
    auth->is_good = password_verify(password, hash) && can_log_in;
    if (auth->is_good && auth->shared) {
        shared_remember(auth->shared, credential, password, auth->asked_at);
    }
}

void submit_auth_free(struct submit_auth *auth)
{
    if (auth) {
        crypto_wipe(auth->password, sizeof auth->password);
        config_give(auth->config);
        mem_free(auth);
    }
}

/* ---- in the session -------------------------------------------------------------------------- */

static void log_in(struct session *session, const struct config_credential *credential)
{
    session->login_len = (uint32_t)credential->name.len; /* ≤ SASL_USER_BYTES_MAX: it was typed */
    memcpy(session->login, credential->name.ptr, credential->name.len);
    session->login_mark = str_hash(credential->password_hash, 0);
    session->is_revoked = session_is_revoked(session);
    session->submit->stats.auth_ok++;
    smtp_server_accept(&session->wire.server, STR(""));
}

static void refuse_login(struct session *session, struct str user)
{
    struct submit *submit = session->submit;
    char ip[IP_TEXT_CAP], name[SASL_USER_BYTES_MAX * 4];
    shared_failed(submit->shared, session->remote, user, submit->now);
    submit->stats.auth_failed++;
    log_warn(submit->log, "submit", "login as \"%.*s\" from %.*s failed",
            STR_ARG(str_escape(user, name, sizeof name)), STR_ARG(ip_format(session->remote, ip)));
    session_reply(session, 535, STR("5.7.8"), STR("Error: authentication failed"));
}

static void fail_for_now(struct session *session)
{
    session_reply(session, 454, STR("4.7.0"), STR("Temporary authentication failure"));
}

static struct submit_auth *auth_new(const struct session *session)
{
    struct submit *submit = session->submit;
    struct submit_auth *auth = mem_new(sizeof *auth);
    if (!auth) {
        return NULL;
    }
    auth->letter.kind = submit->ports.auth_kind;
    auth->reply_box = submit->ports.self;
    auth->session_id = session->id;
    auth->shared = submit->shared;
    auth->asked_at = submit->now;
    auth->config = config_take(session->listener->door->config);
    auth->user_len = session->sasl.user.len; /* fit: see the asserts above */
    auth->password_len = session->sasl.password.len;
    memcpy(auth->user, session->sasl.user.ptr, auth->user_len);
    if (auth->password_len > 0) {
        memcpy(auth->password, session->sasl.password.ptr, auth->password_len);
    }
    return auth;
}

static void verify(struct session *session)
{
    struct submit *submit = session->submit;
    struct str user = session->sasl.user;
    const struct config_credential *credential =
            config_credential(session->listener->door->config, user);
    if (credential && credential->password_hash.len > 0 &&
            shared_knows(submit->shared, credential, session->sasl.password, submit->now)) {
        log_in(session, credential);
        return;
    }
    if (shared_is_limited(submit->shared, session->remote, user, submit->now)) {
        session_reply(
                session, 421, STR("4.7.0"), STR("Error: too many failed logins, try again later"));
        return;
    }
    struct submit_auth *auth = auth_new(session);
    if (!auth || mailbox_send(submit->ports.workers, &auth->letter) != OK) {
        submit_auth_free(auth);
        fail_for_now(session);
    }
}

void session_auth(struct session *session, const struct smtp_server_event *event)
{
    struct sasl *sasl = &session->sasl;
    struct str challenge = STR("");
    enum sasl_step step =
            event->kind == SMTP_SERVER_AUTH
                    ? sasl_begin(sasl, event->text, event->has_initial, event->initial, &challenge)
                    : sasl_input(sasl, event->text, &challenge);
    switch (step) {
    case SASL_CONTINUE:
        session_reply(session, 334, STR(""), challenge);
        return;
    case SASL_CREDENTIALS:
        verify(session);
        break;
    case SASL_BAD:
        session_reply(session, 501, STR("5.5.2"), STR("Error: not base64"));
        break;
    case SASL_ABORTED:
        session_reply(session, 501, STR("5.5.2"), STR("Authentication aborted"));
        break;
    case SASL_REFUSED:
        refuse_login(session, STR(""));
        break;
    case SASL_UNKNOWN:
        session_reply(session, 504, STR("5.5.4"), STR("Error: no such authentication mechanism"));
        break;
    case SASL_NOMEM:
        fail_for_now(session);
        break;
    }
    sasl_done(sasl);
}

void auth_verified(struct submit *submit, struct submit_auth *auth)
{
    struct session *session = session_find(submit, auth->session_id);
    if (session && session->wire.conn) {
        struct str user = str_of(auth->user, auth->user_len);
        const struct config_credential *credential = config_credential(auth->config, user);
        if (auth->is_good && credential) {
            log_in(session, credential);
        } else {
            refuse_login(session, user);
        }
        session_resume(session);
    }
    submit_auth_free(auth);
}
