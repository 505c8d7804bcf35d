/* SPDX-License-Identifier: Apache-2.0
 *
 * session.c - the life of a session: accepted, driven, timed, ended.
 *
 * What a client may make us wait for has a deadline: a command (absolute, so that single bytes do
 * not extend it), content (a rate and a total), a handshake, the last reply. What we make the
 * client wait for has none: the keeper and the workers always answer.
 */
#include "core/str.h"
#include "submit/submit_priv.h"

static struct session *session_of(struct wire *wire)
{
    return CONTAINER_OF(wire, struct session, wire);
}

struct session *session_find(struct submit *submit, uint64_t id)
{
    uint64_t value;
    return map_get(&submit->session_by_id, id, &value) ? (struct session *)(uintptr_t)value : NULL;
}

/* ---- who ----------------------------------------------------------------------------------- */

bool session_credential(
        const struct session *session, const struct config_credential **ret_credential)
{
    const struct door *door = session->listener->door;
    struct str name = door->listen->network_credential;
    if (session->login_len > 0) {
        name = str_of(session->login, session->login_len);
    } else if (!door_has_network(door, session->remote)) {
        return false;
    }
    *ret_credential = name.len > 0 ? config_credential(door->config, name) : NULL;
    return name.len == 0 || *ret_credential;
}

bool session_is_revoked(const struct session *session)
{
    if (session->login_len == 0) {
        return false;
    }
    const struct config_credential *credential = config_credential(
            session->listener->door->config, str_of(session->login, session->login_len));
    return !credential || str_hash(credential->password_hash, 0) != session->login_mark;
}

/* ---- events of the engine ------------------------------------------------------------------ */

void session_reply(struct session *session, uint16_t code, struct str enhanced, struct str text)
{
    smtp_server_reply(&session->wire.server, code, enhanced, text);
}

static void keep_helo(struct session *session, const struct smtp_server_event *event)
{
    session_drop(session); /* RFC 5321 4.1.4 */
    session->is_esmtp = event->is_esmtp;
    session->helo_len = (uint32_t)event->text.len; /* ≤ SMTP_SERVER_HELO_BYTES_MAX */
    memcpy(session->helo, event->text.ptr, event->text.len);
}

static void begin_content(struct session *session)
{
    session->content_at = session->submit->now;
    session->content_read_bytes = session->wire.read_bytes;
    smtp_server_accept(&session->wire.server, STR(""));
}

static void log_closed(const struct session *session, const struct smtp_server_event *event)
{
    char text[IP_TEXT_CAP];
    if (event->reason != SMTP_SERVER_REASON_NONE) {
        log_info(session->submit->log, "submit", "session of %.*s broken off: %s",
                STR_ARG(ip_format(session->remote, text)), smtp_server_reason_name(event->reason));
    }
}

static void on_event(struct wire *wire, const struct smtp_server_event *event)
{
    struct session *session = session_of(wire);
    switch (event->kind) {
    case SMTP_SERVER_HELO:
        keep_helo(session, event);
        break;
    case SMTP_SERVER_MAIL:
        session_mail(session, event);
        break;
    case SMTP_SERVER_RCPT:
        session_rcpt(session, event);
        break;
    case SMTP_SERVER_DATA:
        begin_content(session);
        break;
    case SMTP_SERVER_CHUNK:
        session_content(session, event->text);
        break;
    case SMTP_SERVER_END:
        session_content_end(session);
        break;
    case SMTP_SERVER_AUTH:
    case SMTP_SERVER_AUTH_STEP:
        session_auth(session, event);
        break;
    case SMTP_SERVER_STARTTLS:
        smtp_server_accept(&wire->server, STR("")); /* offered only where a certificate is */
        break;
    case SMTP_SERVER_RESET:
    case SMTP_SERVER_QUIT:
        session_drop(session);
        break;
    case SMTP_SERVER_CLOSE:
        log_closed(session, event);
        session_drop(session);
        break;
    case SMTP_SERVER_NONE:
        break;
    }
}

/* ---- events of the net --------------------------------------------------------------------- */

static const struct smtp_server_conf *conf_of(const struct session *session)
{
    int kind = (door_has_network(session->door, session->remote) ? DOOR_NETWORK : 0) |
               (ip_is_loopback(session->remote) ? DOOR_LOOPBACK : 0);
    return &session->door->conf[kind];
}

static void tls_done(struct session *session)
{
    struct wire *wire = &session->wire;
    struct net_info info;
    wire->conn->net->ops->info(wire->conn, &info);
    fmt(session->tls, sizeof session->tls, "%s with cipher %s (%u bits)", info.tls_version,
            info.tls_cipher, (unsigned)info.tls_bits);
    wire->is_handshaking = false;
    session->login_len = 0; /* nothing said in the clear holds, RFC 3207 4.2 */
    session->helo_len = 0;
    if (wire->is_open) {
        session_drop(session);
        smtp_server_tls_started(&wire->server);
    } else {
        wire_open(wire, conf_of(session), /*is_tls*/ true);
    }
    session->moved_at = session->submit->now;
    wire_pump(wire, /*may_read*/ true);
}

static void net_failed(struct session *session)
{
    char text[IP_TEXT_CAP];
    struct net_info info;
    session->wire.conn->net->ops->info(session->wire.conn, &info);
    log_info(session->submit->log, "submit", "TLS handshake with %.*s failed: %s",
            STR_ARG(ip_format(session->remote, text)), info.why.text);
    session->wire.is_broken = true;
}

static void on_net(void *ctx, struct net_conn *conn, enum net_event event)
{
    struct session *session = ctx;
    (void)conn;
    session->submit->now = clock_mono(session->submit->clock);
    switch (event) {
    case NET_READABLE:
    case NET_WRITABLE:
        wire_pump(&session->wire, event == NET_READABLE);
        break;
    case NET_TLS_DONE:
        tls_done(session);
        break;
    case NET_CONNECTED: /* of outgoing connections only */
    case NET_FAILED:
        net_failed(session);
        break;
    }
    session_settle(session);
}

void session_resume(struct session *session)
{
    if (session->wire.conn) {
        wire_pump(&session->wire, /*may_read*/ false);
    }
    session_settle(session);
}

/* ---- deadlines ----------------------------------------------------------------------------- */

static struct mono command_deadline(const struct session *session)
{
    const struct config *config = session->door->config;
    uint64_t command_ms = config->command_ms_max;
    if (command_ms > SUBMIT_LOADED_COMMAND_MS &&
            shared_is_loaded(session->submit->shared, config)) {
        command_ms = SUBMIT_LOADED_COMMAND_MS;
    }
    return mono_after(session->moved_at, command_ms);
}

/* The first of: no byte for as long as a command may take, the whole message too slow, its rate
 * below the least (hostile-input A18). */
static struct mono content_deadline(const struct session *session)
{
    const struct config *config = session->door->config;
    struct mono due = mono_after(session->read_at, config->command_ms_max);
    if (config->message_ms_max > 0) {
        due = mono_first(due, mono_after(session->content_at, config->message_ms_max));
    }
    if (config->data_rate_min_bytes_per_s > 0) {
        uint64_t came_bytes = session->wire.read_bytes - session->content_read_bytes;
        uint64_t earned_ms = came_bytes * 1000 / config->data_rate_min_bytes_per_s;
        due = mono_first(due, mono_after(session->content_at, SUBMIT_RATE_GRACE_MS + earned_ms));
    }
    return due;
}

static struct mono deadline_of(const struct session *session)
{
    const struct wire *wire = &session->wire;
    if (!wire->conn || wire->is_held) {
        return (struct mono){ 0 };
    }
    if (wire->is_handshaking) {
        return mono_after(session->moved_at, SUBMIT_TLS_MS_MAX);
    }
    switch (smtp_server_phase(&wire->server)) {
    case SMTP_SERVER_PHASE_COMMAND:
        return command_deadline(session);
    case SMTP_SERVER_PHASE_CONTENT:
        return content_deadline(session);
    case SMTP_SERVER_PHASE_DECISION:
        return (struct mono){ 0 };
    case SMTP_SERVER_PHASE_TLS: /* the 220 has not left */
        return mono_after(session->moved_at, SUBMIT_TLS_MS_MAX);
    case SMTP_SERVER_PHASE_CLOSED:
        break;
    }
    return mono_after(session->closing_at, SUBMIT_CLOSE_MS_MAX);
}

static void set_deadline(struct session *session)
{
    struct submit *submit = session->submit;
    struct mono due = deadline_of(session);
    if (due.ms == 0) {
        heap_del(&submit->due, &session->due);
    } else if (session->due.pos != 0) {
        heap_move(&submit->due, &session->due, due.ms);
    } else if (heap_add(&submit->due, &session->due, due.ms) != OK) {
        session->wire.is_broken = true; /* without a deadline nobody stays */
    }
}

/* Takes note of what moved since the last look. */
static void note_progress(struct session *session)
{
    struct wire *wire = &session->wire;
    if (wire->step_count != session->step_count) {
        session->step_count = wire->step_count;
        session->moved_at = session->submit->now;
    }
    if (wire->read_bytes != session->read_bytes) {
        session->read_bytes = wire->read_bytes;
        session->read_at = session->submit->now;
    }
    if (wire->is_open && smtp_server_is_closed(&wire->server) && session->closing_at.ms == 0) {
        session->closing_at = session->submit->now;
    }
}

/* Between two messages is the time to say good-bye. */
static void say_goodbye(struct session *session)
{
    struct wire *wire = &session->wire;
    if (!wire->is_open || session->intake ||
            smtp_server_phase(&wire->server) != SMTP_SERVER_PHASE_COMMAND) {
        return;
    }
    if (session->submit->is_stopping) {
        smtp_server_fail(&wire->server, 421, STR("4.3.2"), STR("Service shutting down"));
    } else {
        smtp_server_fail(&wire->server, 421, STR("4.7.0"), STR("Error: credential was revoked"));
    }
    wire_pump(wire, /*may_read*/ false);
}

void session_settle(struct session *session)
{
    struct wire *wire = &session->wire;
    if (!wire->conn) { /* waits for its chunks */
        return;
    }
    bool must_go = session->submit->is_stopping || session->is_revoked;
    if (must_go && !wire->is_broken && !wire->is_over) {
        say_goodbye(session);
        wire->is_over = wire->is_over || wire->is_handshaking;
    }
    if (!wire->is_broken && !wire->is_over) {
        note_progress(session);
        set_deadline(session);
    }
    if (wire->is_broken || wire->is_over) {
        session_end(session, wire->is_broken);
    }
}

void session_timeout(struct session *session)
{
    struct wire *wire = &session->wire;
    char text[IP_TEXT_CAP];
    if (!wire->is_open || wire->is_handshaking || session->is_timed_out ||
            smtp_server_is_closed(&wire->server)) {
        session_end(session, /*is_abort*/ true);
        return;
    }
    log_info(session->submit->log, "submit", "session of %.*s timed out",
            STR_ARG(ip_format(session->remote, text)));
    session->is_timed_out = true;
    session_drop(session);
    smtp_server_fail(&wire->server, 421, STR("4.4.2"), STR("Error: timeout exceeded"));
    session_resume(session);
}

void session_stop(struct session *session)
{
    struct wire *wire = &session->wire;
    if (!wire->conn || !wire->is_open || wire->is_handshaking ||
            smtp_server_is_closed(&wire->server) ||
            smtp_server_phase(&wire->server) == SMTP_SERVER_PHASE_DECISION) {
        return; /* has ended, is ended elsewhere, or is answered soon */
    }
    session_drop(session);
    smtp_server_fail(&wire->server, 421, STR("4.3.2"), STR("Service shutting down"));
    session_resume(session);
}

/* ---- beginning and end --------------------------------------------------------------------- */

static void session_free(struct session *session)
{
    struct submit *submit = session->submit;
    ASSERT(!session->intake && !session->wire.conn);
    heap_del(&submit->due, &session->due);
    list_del(&session->link);
    map_del(&submit->session_by_id, session->id);
    sasl_done(&session->sasl);
    door_give(session->door);
    listener_give(session->listener);
    mem_free(session);
}

void session_end(struct session *session, bool is_abort)
{
    struct submit *submit = session->submit;
    if (session->wire.conn) {
        wire_close(&session->wire, is_abort);
        shared_disconnect(submit->shared, session->remote);
        submit->stats.sessions_now--;
        heap_del(&submit->due, &session->due);
    }
    session_drop(session);
    if (!session->intake) {
        session_free(session);
    }
}

void session_discard(struct session *session)
{
    if (session->intake) {
        session_forget_message(session);
    }
    session_end(session, /*is_abort*/ true);
}

static void refuse_connection(struct listener *listener, struct net_conn *conn, struct ip ip)
{
    const struct config *config = listener->door->config;
    char text[IP_TEXT_CAP], line[SMTP_SERVER_REPLY_BYTES_MAX];
    size_t len = fmt(line, sizeof line, "421 4.7.0 %.*s Error: too many connections from %.*s\r\n",
            STR_ARG(config->hostname), STR_ARG(ip_format(ip, text)));
    struct iovec iov = { line, len };
    if (listener->door->listen->tls != CONFIG_TLS_IMPLICIT) {
        (void)conn->net->ops->write(conn, &iov, 1, &len); /* a courtesy */
    }
    conn->net->ops->close(conn, /*is_abort*/ false);
}

static struct session *session_new(struct listener *listener, struct net_conn *conn, struct ip ip)
{
    struct submit *submit = listener->submit;
    struct session *session = mem_new(sizeof *session);
    if (!session) {
        return NULL;
    }
    session->id = ++submit->session_last_id;
    if (map_set(&submit->session_by_id, session->id, (uint64_t)(uintptr_t)session) != OK) {
        mem_free(session);
        return NULL;
    }
    session->submit = submit;
    session->listener = listener;
    listener->ref_count++;
    session->door = door_take(listener->door);
    session->remote = ip;
    session->moved_at = session->read_at = submit->now;
    session->wire.room = &submit->room;
    session->wire.conn = conn;
    session->wire.tls = session->door->listen->tls_context;
    session->wire.event = on_event;
    list_add_last(&submit->sessions, &session->link);
    submit->stats.sessions_now++;
    return session;
}

static void session_begin(struct session *session)
{
    struct wire *wire = &session->wire;
    wire->conn->net->ops->set_handler(wire->conn, on_net, session);
    if (session->door->listen->tls == CONFIG_TLS_IMPLICIT) {
        wire_start_tls(wire);
    } else {
        wire_open(wire, conf_of(session), /*is_tls*/ false);
        /* who talks before the greeting is found out by reading first (RFC 5321 3.1) */
        wire_pump(wire, /*may_read*/ true);
    }
    session_settle(session);
}

void session_accept(struct listener *listener, struct net_conn *conn)
{
    struct submit *submit = listener->submit;
    struct net_info info;
    conn->net->ops->info(conn, &info);
    struct ip ip = info.remote.ip;
    submit->stats.connections++;
    if (submit->is_stopping) {
        conn->net->ops->close(conn, /*is_abort*/ false);
        return;
    }
    if (shared_connect(submit->shared, listener->door->config, ip) != OK) {
        refuse_connection(listener, conn, ip);
        return;
    }
    struct session *session = session_new(listener, conn, ip);
    if (!session) {
        shared_disconnect(submit->shared, ip);
        conn->net->ops->close(conn, /*is_abort*/ false);
        return;
    }
    session_begin(session);
}
