/* SPDX-License-Identifier: Apache-2.0
 *
 * conn.c - the life of an outbound connection: addresses in turn, TLS, AUTH, deadlines, its end.
 *
 * Until it is open it belongs to no task: a failure leads to the next address, and after the last
 * one to the lane. What is said on an open connection: dialogue.c.
 */
#include "core/str.h"
#include "core/time.h"
#include "deliver/deliver_priv.h"
#include "deliver/lookup_priv.h"

#include <stdarg.h>
#include <stdio.h>

/* ---- the address that is tried ---- */

static const struct config_source *conn_source(const struct conn *conn)
{
    return conn->source < conn->config->source_count ? &conn->config->source[conn->source] : NULL;
}

/* May mail of this connection go to at? Asked again for each connection, whatever DNS said earlier:
 * a site is kept for up to an hour, and addresses of this host may change meanwhile. */
static bool conn_may_reach(const struct conn *conn, const struct ip_port *at)
{
    const struct config_source *source = conn_source(conn);
    const struct config *config = conn->config;
    if (source && source->address.family != IP_NONE && source->address.family != at->ip.family) {
        return false;
    }
    if (config->is_sandbox) { /* nothing ever leaves it */
        return ip_eq(at->ip, config->sandbox_catcher.ip) &&
               at->port == config->sandbox_catcher.port;
    }
    return conn->site->is_routed ||
           (!ip_is_internal(at->ip) &&
                   !deliver_is_own(config, conn->deliver->ports.is_own_address, at->ip));
}

static enum plan_verdict conn_judge(void *ctx, const struct ip_port *at)
{
    const struct conn *conn = ctx;
    if (!conn_may_reach(conn, at)) {
        return PLAN_NO;
    }
    const struct note *note = deliver_note_find(conn->deliver, at);
    bool is_bad = note && note->bad_until.ms > conn->opened_at.ms;
    return is_bad ? PLAN_LATER : PLAN_YES;
}

static const struct ip_port *conn_address(const struct conn *conn)
{
    struct plan_step step = conn->plan.step[conn->plan_at];
    return &conn->site->host[step.host].address[step.address];
}

static void conn_name_remote(struct conn *conn)
{
    const struct ip_port *at = conn_address(conn);
    char ip[IP_TEXT_CAP], ip_port[IP_TEXT_CAP];
    struct str ip_text = ip_format(at->ip, ip);
    struct str full = at->port == 25 ? ip_text : ip_port_format(*at, ip_port);
    conn->remote_host = conn->site->host[conn->plan.step[conn->plan_at].host].name;
    fmt(conn->remote_ip, sizeof conn->remote_ip, "%.*s", STR_ARG(full));
    fmt(conn->remote, sizeof conn->remote, "%.*s[%.*s]:%u", STR_ARG(conn->remote_host),
            STR_ARG(ip_text), (unsigned)at->port);
}

void conn_fail(struct conn *conn, uint16_t code, const char *enhanced, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    int len = vsnprintf(conn->failure_text, sizeof conn->failure_text, format, args);
    va_end(args);
    size_t kept = len < 0 ? 0 : (size_t)len;
    kept = kept < sizeof conn->failure_text ? kept : sizeof conn->failure_text - 1;
    conn->failure = fate_own(
            SPOOL_RESULT_DEFERRED, QUEUE_SESSION, enhanced, str_of(conn->failure_text, kept));
    conn->failure.code = code;
    conn->is_over = true;
}

static void conn_on_net(void *ctx, struct net_conn *net, enum net_event event);

static void conn_deadline(struct conn *conn, struct mono at)
{
    heap_move(&conn->deliver->deadlines, &conn->deadline, at.ms);
}

static bool conn_try_one(struct conn *conn, struct mono now)
{
    struct net *net = conn->deliver->net;
    const struct config_source *source = conn_source(conn);
    struct ip any = { .family = IP_NONE };
    struct why why = { "" };
    conn_name_remote(conn);
    talk_clear(conn->talk[0]);
    enum err err = net->ops->connect(net, source ? &source->address : &any, conn_address(conn),
            conn_on_net, conn, &conn->net, &why);
    if (err != OK) {
        conn->net = NULL;
        conn_fail(conn, 0, "4.4.1", "connect to %s: %s", conn->remote,
                why.text[0] ? why.text : err_name(err));
        return false;
    }
    conn->state = CONN_CONNECTING;
    conn->is_over = false;
    conn_deadline(conn, mono_after(now, DELIVER_CONNECT_MS_MAX));
    return true;
}

/* The next address that can be tried; after the last one the lane is told. */
static void conn_try(struct conn *conn, struct mono now)
{
    if (conn->plan.count == 0) {
        conn_fail(conn, 0, "4.4.4", "no address of %.*s may be connected to from here",
                STR_ARG(conn->site->key));
    }
    for (; conn->plan_at < conn->plan.count; conn->plan_at++) {
        if (conn_try_one(conn, now)) {
            return;
        }
    }
    struct lane *lane = conn->lane;
    conn_close(conn, false);
    lane_conn_failed(lane, conn);
}

/* Back to before the connect. */
static void conn_drop_net(struct conn *conn, bool is_abort)
{
    if (conn->auth) {
        auth_done(conn->auth);
        mem_free(conn->auth);
        conn->auth = NULL;
    }
    if (conn->net) {
        conn->net->net->ops->close(conn->net, is_abort);
        conn->net = NULL;
    }
    conn->deliver->stats.connections_now -= conn->is_connected;
    conn->is_connected = conn->is_handshaking = conn->wants_write = conn->is_over = false;
    conn->is_secure = false;
    conn->tls_text[0] = '\0';
}

static void conn_next_address(struct conn *conn, struct mono now)
{
    struct note *note = deliver_note_make(conn->deliver, conn_address(conn));
    note->bad_until = mono_after(now, DELIVER_ADDRESS_BAD_MS);
    conn_drop_net(conn, false);
    conn->is_tls_off = false;
    conn->plan_at++;
    conn_try(conn, now);
}

/* ---- beginning and end ---- */

enum err conn_open(struct lane *lane, const struct task *first)
{
    struct deliver *deliver = lane->deliver;
    struct conn *conn = mem_new(sizeof *conn);
    if (!conn) {
        return E_NOMEM;
    }
    conn->opened_at = clock_mono(deliver->clock);
    if (heap_add(&deliver->deadlines, &conn->deadline, INT64_MAX) != OK) {
        mem_free(conn);
        return E_NOMEM;
    }
    conn->deliver = deliver;
    conn->lane = lane;
    conn->config = config_take(first->job->config);
    conn->site = site_take(first->job->site);
    conn->source = first->job->source;
    conn->talk[0] = &conn->talk_store[0];
    conn->talk[1] = &conn->talk_store[1];
    list_init(&conn->idle);
    list_add_last(&lane->conns, &conn->item);
    deliver->conn_count++;
    lane->conn_count++;
    lane->opening_count++;
    plan_make(&conn->plan, conn->site, &deliver->prng, conn_judge, conn);
    conn_try(conn, conn->opened_at);
    return OK;
}

void conn_close(struct conn *conn, bool is_abort)
{
    ASSERT(conn->state != CONN_DEAD && !conn->task[0] && !conn->task[1]);
    conn_drop_net(conn, is_abort);
    heap_del(&conn->deliver->deadlines, &conn->deadline);
    list_del(&conn->idle);
    list_del(&conn->item);
    list_add_last(&conn->deliver->dead, &conn->item);
    conn->lane->opening_count -= conn->state < CONN_OPEN;
    conn->lane->conn_count--;
    lane_touch(conn->lane);
    conn->state = CONN_DEAD;
    conn->deliver->conn_count--;
    struct list *starved = list_take_first(&conn->deliver->starved);
    if (starved) {
        lane_touch(CONTAINER_OF(starved, struct lane, starved));
    }
}

void conn_free(struct conn *conn)
{
    list_del(&conn->item);
    config_give(conn->config);
    site_give(conn->site);
    mem_free(conn);
}

static bool source_is_same(const struct conn *conn, const struct queue_job *job)
{
    if (conn->config == job->config) {
        return conn->source == job->source;
    }
    const struct config_source *a = conn_source(conn);
    const struct config_source *b =
            job->source < job->config->source_count ? &job->config->source[job->source] : NULL;
    if (!a || !b) {
        return !a && !b && str_eq(conn->config->hostname, job->config->hostname);
    }
    return ip_eq(a->address, b->address) && str_eq(a->ehlo, b->ehlo);
}

bool conn_fits(const struct conn *conn, const struct task *task)
{
    const struct queue_job *job = task->job;
    return (conn->site == job->site || site_is_same(conn->site, job->site)) &&
           conn->config->is_sandbox == job->config->is_sandbox && source_is_same(conn, job);
}

struct task_scene conn_scene(const struct conn *conn, uint32_t slot, struct mono now)
{
    const struct task *task = conn->task[slot];
    struct mono since = task ? task->begun_at : conn->opened_at;
    uint32_t ms = now.ms > since.ms ? (uint32_t)(now.ms - since.ms) : 0; /* deadlines bound it */
    return (struct task_scene){ .remote_host = conn->remote_host,
        .remote_ip = str_from_c(conn->remote_ip),
        .tls = str_from_c(conn->tls_text),
        .dialogue = talk_str(conn->talk[slot]),
        .connect_ms = task ? task->connect_ms : ms,
        .transfer_ms = task ? ms : 0 };
}

/* ---- TLS ---- */

static enum smtp_client_tls conn_tls_wish(const struct conn *conn)
{
    const struct note *note = deliver_note_find(conn->deliver, conn_address(conn));
    bool failed_before = note && note->tls_bad_until.ms > conn->opened_at.ms;
    switch (conn->site->tls) {
    case CONFIG_DEST_TLS_OFF:
        return SMTP_CLIENT_TLS_NONE;
    case CONFIG_DEST_TLS_MAY:
        return conn->is_tls_off || failed_before || !conn->deliver->tls ? SMTP_CLIENT_TLS_NONE
                                                                        : SMTP_CLIENT_TLS_MAY;
    case CONFIG_DEST_TLS_REQUIRED:
    case CONFIG_DEST_TLS_VERIFIED:
        break;
    }
    return SMTP_CLIENT_TLS_MUST;
}

/* Opportunistic TLS: once more in the clear, on a fresh connection (hostile-input H6). Else the
 * next address, and never in the clear. */
static void conn_tls_failed(struct conn *conn, const char *why, struct mono now)
{
    if (conn->site->tls != CONFIG_DEST_TLS_MAY) {
        conn_fail(conn, 0, "4.7.5", "TLS handshake with %s failed: %s", conn->remote, why);
        conn_next_address(conn, now);
        return;
    }
    char escaped[WHY_BYTES_MAX];
    struct str shown = str_escape(str_from_c(why), escaped, sizeof escaped);
    log_warn(conn->deliver->log, "deliver",
            "TLS handshake with %s failed (%.*s): mail goes there in the clear for an hour",
            conn->remote, STR_ARG(shown));
    struct note *note = deliver_note_make(conn->deliver, conn_address(conn));
    note->tls_bad_until = mono_after(now, DELIVER_TLS_BAD_MS);
    conn_drop_net(conn, true);
    conn->is_tls_off = true;
    conn_try(conn, now);
}

void conn_start_tls(struct conn *conn, struct mono now)
{
    bool must_verify = conn->site->tls == CONFIG_DEST_TLS_VERIFIED;
    char name[DNS_NAME_CAP], key[DNS_NAME_CAP + 2];
    struct ip literal;
    bool is_literal = ip_parse(conn->remote_host, &literal) == OK;
    bool has_name = str_to_c(conn->remote_host, name, sizeof name);
    fmt(key, sizeof key, "%c:%s", must_verify ? 'v' : 'm', name);
    struct net_tls_params params = { .server_name =
                                             has_name && (must_verify || !is_literal) ? name : NULL,
        .verify_required = must_verify,
        .session_key = key };
    enum err err = E_UNSUPPORTED;
    if (conn->deliver->tls) {
        err = conn->net->net->ops->start_tls(conn->net, conn->deliver->tls, &params);
    }
    if (err != OK) {
        conn_tls_failed(conn, err_name(err), now);
        return;
    }
    conn->is_handshaking = true;
    conn_deadline(conn, mono_after(now, SMTP_CLIENT_TLS_TIMEOUT_MS));
}

static void conn_describe_tls(struct conn *conn)
{
    struct net_info info = { 0 };
    conn->net->net->ops->info(conn->net, &info);
    conn->is_secure = conn->is_secure || info.is_verified;
    fmt(conn->tls_text, sizeof conn->tls_text, "%s %s %u%s", info.tls_version, info.tls_cipher,
            (unsigned)info.tls_bits, info.is_verified ? " verified" : "");
}

static void conn_tls_done(struct conn *conn, struct mono now)
{
    conn->is_handshaking = false;
    conn->has_progress = true;
    conn->deliver->stats.tls_connections++;
    conn_describe_tls(conn);
    smtp_client_tls_done(&conn->client, true);
    conn_pump(conn, STR(""), now);
    conn_serve(conn, now);
}

/* ---- AUTH, at smarthosts ---- */

static void conn_opened(struct conn *conn, struct mono now)
{
    conn->state = CONN_OPEN;
    conn->lane->opening_count--;
    conn->has_progress = true;
    int64_t ms = now.ms - conn->opened_at.ms;
    conn->connect_ms = ms > 0 ? (uint32_t)ms : 0; /* deadlines bound it */
}

static void conn_auth_begin(struct conn *conn, struct str ehlo)
{
    if (!conn->is_secure) {
        conn_fail(conn, 0, "4.7.0",
                "the password is not sent to %s: its certificate is not verified (tls = verified)",
                conn->remote);
        return;
    }
    conn->auth = mem_new(sizeof *conn->auth);
    enum err err =
            conn->auth ? auth_begin(conn->auth, ehlo, conn->site->username, conn->site->password)
                       : E_NOMEM;
    if (err != OK) {
        conn_fail(conn, 0, "4.7.0",
                err == E_UNSUPPORTED ? "%s offers neither AUTH PLAIN nor AUTH LOGIN"
                                     : "login at %s: out of memory",
                conn->remote);
        return;
    }
    talk_add(conn->talk[0], 'C', STR("AUTH (hidden)\r\n"));
    conn->state = CONN_AUTH;
}

void conn_greeted(struct conn *conn, const struct smtp_reply *ehlo, struct mono now)
{
    conn->has_progress = true;
    if (conn->site->username.len > 0) {
        conn_auth_begin(conn, smtp_reply_text(ehlo));
    } else {
        conn_opened(conn, now);
    }
}

static void conn_auth_failed(struct conn *conn)
{
    const struct smtp_reply *reply = &conn->auth->reply;
    struct str text = smtp_reply_text(reply), enhanced = smtp_reply_enhanced(reply);
    char code[12], escaped[FATE_TEXT_CAP / 2];
    fmt(code, sizeof code, "%.*s", STR_ARG(enhanced.len ? enhanced : STR("4.7.8")));
    struct str shown = str_escape(text, escaped, sizeof escaped);
    conn_fail(conn, reply->code, code, "%s refused the login: %u %.*s", conn->remote, reply->code,
            STR_ARG(shown));
}

void conn_auth_input(struct conn *conn, struct str *bytes, struct mono now)
{
    enum auth_step step;
    size_t used = auth_input(conn->auth, *bytes, &step);
    talk_add(conn->talk[0], 'S', str_sub(*bytes, 0, used));
    *bytes = str_from(*bytes, used);
    conn->has_progress = true;
    if (step == AUTH_FAILED) {
        conn_auth_failed(conn);
    } else if (step == AUTH_DONE) {
        auth_done(conn->auth);
        mem_free(conn->auth);
        conn->auth = NULL;
        conn_opened(conn, now);
    }
}

/* ---- events of the net ---- */

static void conn_connected(struct conn *conn)
{
    const struct config_source *source = conn_source(conn);
    struct smtp_client_conf conf = { .ehlo_name = conn->config->hostname,
        .tls = conn_tls_wish(conn) };
    if (source && source->ehlo.len > 0) {
        conf.ehlo_name = source->ehlo;
    }
    conn->is_connected = true;
    conn->is_secure = ip_is_loopback(conn_address(conn)->ip);
    conn->has_progress = true;
    conn->state = CONN_GREETING;
    conn->deliver->stats.connections++;
    conn->deliver->stats.connections_now++;
    smtp_client_open(&conn->client, &conf);
    conn->net->net->ops->want(conn->net, NET_WANT_READ);
}

static void conn_net_failed(struct conn *conn, struct mono now)
{
    struct net_info info = { 0 };
    conn->net->net->ops->info(conn->net, &info);
    const char *why = info.why.text[0] ? info.why.text : err_name(info.err);
    if (conn->is_handshaking) {
        conn_tls_failed(conn, why, now);
        return;
    }
    conn_fail(conn, 0, "4.4.1", "connect to %s: %s", conn->remote, why);
    conn_next_address(conn, now);
}

static void conn_on_net(void *ctx, struct net_conn *net, enum net_event event)
{
    struct conn *conn = ctx;
    struct deliver *deliver = conn->deliver;
    struct mono now = clock_mono(deliver->clock);
    ASSERT(conn->net == net);
    switch (event) {
    case NET_CONNECTED:
        conn_connected(conn);
        conn_serve(conn, now);
        break;
    case NET_READABLE:
        conn_read(conn, now);
        break;
    case NET_WRITABLE:
        conn->wants_write = false;
        net->net->ops->want(net, NET_WANT_READ);
        conn_serve(conn, now);
        break;
    case NET_TLS_DONE:
        conn_tls_done(conn, now);
        break;
    case NET_FAILED:
        conn_net_failed(conn, now);
        break;
    }
    deliver_settle(deliver, now);
}

/* ---- ends ---- */

void conn_over(struct conn *conn, struct mono now)
{
    bool may_write = conn->is_connected && !conn->is_handshaking && !conn->wants_write &&
                     !conn->is_cut_short && !conn->body.is_active;
    struct str output = may_write ? conn_output(conn) : STR("");
    if (output.len > 0) {                                                 /* a QUIT, if it fits */
        struct iovec iov = { (void *)(uintptr_t)output.ptr, output.len }; /* only read */
        size_t written;
        (void)conn->net->net->ops->write(conn->net, &iov, 1, &written);
    }
    if (conn->state < CONN_OPEN) {
        conn_next_address(conn, now);
    } else {
        conn_close(conn, conn->is_cut_short);
    }
}

void conn_quit(struct conn *conn, struct mono now)
{
    ASSERT(!conn->task[0]);
    list_del(&conn->idle);
    if (conn->state == CONN_QUITTING) {
        return;
    }
    if (conn->state < CONN_OPEN) {
        conn_close(conn, false);
        return;
    }
    conn->state = CONN_QUITTING;
    conn->has_progress = true;
    smtp_client_quit(&conn->client);
    conn_pump(conn, STR(""), now);
    conn_serve(conn, now);
}

void conn_due(struct conn *conn, struct mono now)
{
    switch (conn->state) {
    case CONN_CONNECTING:
        conn_fail(conn, 0, "4.4.1", "connect to %s: timed out", conn->remote);
        conn_next_address(conn, now);
        return;
    case CONN_GREETING:
        if (conn->is_handshaking) {
            conn_tls_failed(conn, "timed out", now);
            return;
        }
        break;
    case CONN_AUTH:
        conn_fail(
                conn, 0, "4.4.2", "conversation with %s timed out while logging in", conn->remote);
        conn_next_address(conn, now);
        return;
    case CONN_OPEN:
        if (!conn->task[0]) {
            conn_quit(conn, now);
            return;
        }
        break;
    case CONN_QUITTING:
        conn_close(conn, false);
        return;
    case CONN_DEAD:
        return;
    }
    smtp_client_lost(&conn->client, SMTP_CLIENT_FAULT_TIMEOUT);
    conn_pump(conn, STR(""), now);
}

static void conn_cut_task(struct conn *conn, uint32_t slot, struct str why, struct mono now)
{
    struct task *task = conn->task[slot];
    bool is_after_dot = slot == 0 && conn->has_go && !conn->body.is_active &&
                        smtp_client_phase(&conn->client) == SMTP_CLIENT_PHASE_FINAL;
    if (is_after_dot) {
        struct fate fate = fate_own(SPOOL_RESULT_IN_DOUBT, QUEUE_MESSAGE, "4.4.2", why);
        struct task_scene scene = conn_scene(conn, slot, now);
        task_report(task, RCPT_ASKED, RCPT_ACCEPTED, &fate, &scene);
    }
    task_give_back(task, why);
    conn->task[slot] = NULL;
    task_free(task);
}

void conn_cut(struct conn *conn, struct str why)
{
    struct mono now = clock_mono(conn->deliver->clock);
    for (uint32_t slot = 0; slot < COUNT_OF(conn->task); slot++) {
        if (conn->task[slot]) {
            conn_cut_task(conn, slot, why, now);
        }
    }
    conn_close(conn, true);
}
