/* SPDX-License-Identifier: Apache-2.0
 *
 * pipe_net.c - see pipe_net.h.
 */
#include "tests/unit/submit/pipe_net.h"

#include "core/str.h"

static struct pipe_conn *conn_of(struct net_conn *conn)
{
    return CONTAINER_OF(conn, struct pipe_conn, base);
}

static struct pipe_net *net_of(struct net *net)
{
    return CONTAINER_OF(net, struct pipe_net, base);
}

static bool has_read_event(const struct pipe_conn *conn)
{
    return !conn->is_closed && !conn->is_handshaking && conn->handler &&
           (conn->wants & NET_WANT_READ) &&
           (conn->in.len > 0 || conn->is_in_ended || conn->is_reset);
}

/* Tells while there is something to tell and the server takes it. */
static void tell_reads(struct pipe_conn *conn)
{
    for (int i = 0; i < 1000000 && has_read_event(conn); i++) {
        size_t before = conn->in.len;
        conn->handler(conn->ctx, &conn->base, NET_READABLE);
        if (!conn->is_closed && conn->in.len == before && conn->in.len > 0) {
            ASSERT(!(conn->wants & NET_WANT_READ)); /* wants to read, and does not */
        }
    }
}

static enum err pipe_listen(struct net *base, const struct ip_port *at, bool is_shared_port,
        net_accepted *accepted, void *ctx, struct net_listener **ret_listener, struct why *why)
{
    struct pipe_net *net = net_of(base);
    (void)is_shared_port;
    if (net->listen_err != OK) {
        why_set(why, "%s", err_name(net->listen_err));
        return net->listen_err;
    }
    struct pipe_listener *listener = mem_new(sizeof *listener);
    if (!listener) {
        return E_NOMEM;
    }
    *listener =
            (struct pipe_listener){ .base = { base }, .at = *at, .accepted = accepted, .ctx = ctx };
    list_add_last(&net->listeners, &listener->link);
    *ret_listener = &listener->base;
    return OK;
}

static void pipe_pause(struct net_listener *listener, bool is_paused)
{
    (void)listener;
    (void)is_paused;
}

static void pipe_unlisten(struct net_listener *base)
{
    struct pipe_listener *listener = CONTAINER_OF(base, struct pipe_listener, base);
    list_del(&listener->link);
    mem_free(listener);
}

static void pipe_set_handler(struct net_conn *base, net_handler *handler, void *ctx)
{
    conn_of(base)->handler = handler;
    conn_of(base)->ctx = ctx;
}

static void pipe_want(struct net_conn *base, uint32_t wants)
{
    conn_of(base)->wants = wants;
}

static enum err pipe_read(struct net_conn *base, void *dst, size_t cap, size_t *ret_len)
{
    struct pipe_conn *conn = conn_of(base);
    ASSERT(!conn->is_closed);
    if (conn->is_handshaking) {
        return E_AGAIN;
    }
    if (conn->is_reset) {
        return E_IO;
    }
    if (conn->in.len == 0) {
        return conn->is_in_ended ? E_EOF : E_AGAIN;
    }
    size_t len = conn->in.len < cap ? conn->in.len : cap;
    len = conn->read_max && conn->read_max < len ? conn->read_max : len;
    memcpy(dst, conn->in.ptr, len);
    buf_drop_front(&conn->in, len);
    *ret_len = len;
    return OK;
}

static enum err pipe_write(
        struct net_conn *base, const struct iovec *iov, uint32_t iov_count, size_t *ret_len)
{
    struct pipe_conn *conn = conn_of(base);
    size_t total = 0;
    ASSERT(!conn->is_closed);
    if (conn->is_reset) {
        return E_IO;
    }
    if (conn->is_handshaking || conn->write_room == 0) {
        return E_AGAIN;
    }
    for (uint32_t i = 0; i < iov_count; i++) {
        size_t len = iov[i].iov_len < conn->write_room ? iov[i].iov_len : conn->write_room;
        buf_add(&conn->out, str_of(iov[i].iov_base, len));
        conn->write_room -= len;
        total += len;
    }
    conn->write_count++;
    *ret_len = total;
    return OK;
}

static enum err pipe_start_tls(
        struct net_conn *base, struct tls_context *context, const struct net_tls_params *params)
{
    struct pipe_conn *conn = conn_of(base);
    ASSERT(context && params->is_server && !conn->is_tls);
    conn->is_handshaking = true;
    return OK;
}

static void pipe_info(struct net_conn *base, struct net_info *ret_info)
{
    struct pipe_conn *conn = conn_of(base);
    *ret_info = (struct net_info){ .remote = conn->remote, .is_tls = conn->is_tls };
    if (conn->is_tls) {
        fmt(ret_info->tls_version, sizeof ret_info->tls_version, "TLSv1.3");
        fmt(ret_info->tls_cipher, sizeof ret_info->tls_cipher, "TLS_AES_256_GCM_SHA384");
        ret_info->tls_bits = 256;
    }
}

static void pipe_close(struct net_conn *base, bool is_abort)
{
    struct pipe_conn *conn = conn_of(base);
    ASSERT(!conn->is_closed);
    conn->is_closed = true;
    conn->was_aborted = is_abort;
}

static const struct net_ops pipe_ops = {
    .listen = pipe_listen,
    .pause = pipe_pause,
    .unlisten = pipe_unlisten,
    .set_handler = pipe_set_handler,
    .want = pipe_want,
    .read = pipe_read,
    .write = pipe_write,
    .start_tls = pipe_start_tls,
    .info = pipe_info,
    .close = pipe_close,
};

void pipe_net_init(struct pipe_net *net)
{
    *net = (struct pipe_net){ .base = { &pipe_ops } };
    list_init(&net->conns);
    list_init(&net->listeners);
}

void pipe_net_done(struct pipe_net *net)
{
    struct list *link;
    while ((link = list_take_first(&net->conns)) != NULL) {
        struct pipe_conn *conn = CONTAINER_OF(link, struct pipe_conn, link);
        buf_done(&conn->in);
        buf_done(&conn->out);
        mem_free(conn);
    }
    ASSERT(list_is_empty(&net->listeners));
}

static struct pipe_listener *find(struct pipe_net *net, const struct ip_port *at)
{
    for (struct list *link = net->listeners.next; link != &net->listeners; link = link->next) {
        struct pipe_listener *listener = CONTAINER_OF(link, struct pipe_listener, link);
        if (listener->at.port == at->port && ip_eq(listener->at.ip, at->ip)) {
            return listener;
        }
    }
    return NULL;
}

struct pipe_conn *pipe_connect_early(
        struct pipe_net *net, struct str to, struct str from, struct str bytes)
{
    struct ip_port at, remote;
    ASSERT(ip_port_parse(to, &at) == OK && ip_port_parse(from, &remote) == OK);
    struct pipe_listener *listener = find(net, &at);
    struct pipe_conn *conn = listener ? mem_new(sizeof *conn) : NULL;
    if (!conn) {
        return NULL;
    }
    conn->base.net = &net->base;
    conn->remote = remote;
    conn->write_room = SIZE_MAX;
    buf_init(&conn->in, 64 << 20);
    buf_init(&conn->out, 16 << 20);
    buf_add(&conn->in, bytes);
    list_add_last(&net->conns, &conn->link);
    listener->accepted(listener->ctx, &conn->base);
    tell_reads(conn);
    return conn;
}

struct pipe_conn *pipe_connect(struct pipe_net *net, struct str to, struct str from)
{
    return pipe_connect_early(net, to, from, STR(""));
}

void pipe_send(struct pipe_conn *conn, struct str bytes)
{
    buf_add(&conn->in, bytes);
    tell_reads(conn);
}

void pipe_end(struct pipe_conn *conn)
{
    conn->is_in_ended = true;
    tell_reads(conn);
}

void pipe_reset(struct pipe_conn *conn)
{
    conn->is_reset = true;
    tell_reads(conn);
}

void pipe_tls(struct pipe_conn *conn, bool is_good)
{
    ASSERT(conn->is_handshaking);
    conn->is_handshaking = false;
    conn->is_tls = is_good;
    conn->handler(conn->ctx, &conn->base, is_good ? NET_TLS_DONE : NET_FAILED);
    tell_reads(conn);
}

void pipe_make_room(struct pipe_conn *conn, size_t bytes)
{
    conn->write_room = bytes;
    if (!conn->is_closed && (conn->wants & NET_WANT_WRITE)) {
        conn->handler(conn->ctx, &conn->base, NET_WRITABLE);
    }
    tell_reads(conn);
}

void pipe_poll(struct pipe_net *net)
{
    for (struct list *link = net->conns.next; link != &net->conns; link = link->next) {
        tell_reads(CONTAINER_OF(link, struct pipe_conn, link));
    }
}

uint32_t pipe_listener_count(const struct pipe_net *net)
{
    uint32_t count = 0;
    for (struct list *link = net->listeners.next; link != &net->listeners; link = link->next) {
        count++;
    }
    return count;
}
