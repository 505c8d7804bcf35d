/* SPDX-License-Identifier: Apache-2.0
 *
 * net.c - the real net, over libuv: it tells of readiness, we read and write the descriptors.
 *
 * Every change of what is polled costs two epoll_ctl calls inside libuv. So a wish of the owner is
 * only noted; before the loop sleeps, the poll set is changed where it lacks something. Reading
 * stays armed until an event comes that nobody wants. Room to write is assumed until a write is
 * refused, and what OpenSSL has read ahead is told without asking the kernel: both in the same
 * place, before the loop sleeps (`attend`).
 */
#include "edge/net.h"

#include "core/mailbox.h"

#include "core/list.h"
#include "edge/clock.h"
#include "edge/errno_priv.h"
#include "edge/socket_priv.h"
#include "edge/tls_priv.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <unistd.h>

#include <uv.h>

enum {
    ACCEPT_BURST_COUNT_MAX = 16,  /* a turn, so that old connections are served too */
    ACCEPT_HOLD_MS = 100,         /* out of descriptors: time for some to be closed */
    TIMER_STEP_MS_MAX = 30000,    /* libuv's clock stands still in suspend, ours does not */
    WRITE_IOV_COUNT_MAX = 1024,   /* IOV_MAX of Linux */
    CLOSE_DRAIN_BYTES_MAX = 65536 /* thrown away at close, lest unread bytes turn FIN into RST */
};

enum conn_state { CONN_CONNECTING, CONN_HANDSHAKE, CONN_OPEN, CONN_FAILED, CONN_CLOSED };

struct real_net {
    struct net base;
    uv_loop_t loop;
    uv_async_t wake;
    uv_prepare_t prepare;
    uv_idle_t idle; /* runs while something waits to be attended, so that the loop does not sleep */
    uv_timer_t timer;
    uv_timer_t accept_timer;
    struct clock *clock;
    struct mono deadline;
    void (*fired)(void *ctx);
    void *fired_ctx;
    void (*on_wake)(void *ctx);
    void *wake_ctx;
    struct list conns, listeners, watches;
    struct list attend; /* connections to look at before the loop sleeps */
    struct tls_loop *tls_loop;
    int reserve_fd; /* given up to take and drop one connection when descriptors run out */
};

struct real_conn {
    struct net_conn base;
    struct list link;
    struct list attend_link;
    uv_poll_t poll;
    struct tls_io io;
    enum conn_state state;
    uint32_t wants; /* enum net_want, the owner's */
    uint32_t armed; /* enum net_want, what libuv polls */
    bool is_attended;
    bool is_broken;        /* libuv polls no more: reset or hung up; the next call tells */
    bool is_read_done;     /* the end or an error was told */
    bool is_write_done;    /* an error was told */
    bool is_write_blocked; /* the last write did not fit */
    bool is_read_buffered; /* OpenSSL may hold bytes */
    bool is_server;        /* of TLS */
    uint32_t read_waits;   /* what a blocked read waits for; TLS only, else NET_WANT_READ */
    uint32_t write_waits;
    uint32_t handshake_waits; /* 0: not begun */
    int connect_number;       /* errno of a connect that ended at once (0: well), -1: pending */
    net_handler *handler;
    void *ctx;
    struct tls_conn *tls;
    struct ip_port remote;
    enum err err;
    struct why *why; /* once failed */
};

struct real_listener {
    struct net_listener base;
    struct list link;
    uv_poll_t poll;
    int fd;
    net_accepted *accepted;
    void *ctx;
    bool is_paused; /* by the owner */
    bool is_held;   /* out of descriptors */
    bool is_closed;
};

struct watch {
    struct list link;
    uv_poll_t poll;
    int fd;
    void (*readable)(void *ctx);
    void *ctx;
};

static struct real_net *net_of(struct net *net)
{
    return CONTAINER_OF(net, struct real_net, base);
}

static struct real_conn *conn_of(struct net_conn *conn)
{
    return CONTAINER_OF(conn, struct real_conn, base);
}

static struct real_listener *listener_of(struct net_listener *listener)
{
    return CONTAINER_OF(listener, struct real_listener, base);
}

/* ---- connections: what is polled, what is told ---- */

static bool may_read(const struct real_conn *conn)
{
    return (conn->wants & NET_WANT_READ) && !conn->is_read_done;
}

static bool may_write(const struct real_conn *conn)
{
    return (conn->wants & NET_WANT_WRITE) && !conn->is_write_done;
}

/* What the kernel has to tell us of, as enum net_want. */
static uint32_t needs_of(const struct real_conn *conn)
{
    switch (conn->state) {
    case CONN_CONNECTING:
        return NET_WANT_WRITE;
    case CONN_HANDSHAKE:
        return conn->handshake_waits;
    case CONN_OPEN:
        return (may_read(conn) ? conn->read_waits : 0) |
               (may_write(conn) && conn->is_write_blocked ? conn->write_waits : 0);
    case CONN_FAILED:
    case CONN_CLOSED:
        return 0;
    }
    return 0;
}

/* What can be told without the kernel. */
static bool is_readable_now(const struct real_conn *conn)
{
    return conn->state == CONN_OPEN && may_read(conn) &&
           (conn->is_read_buffered || conn->is_broken);
}

static bool is_writable_now(const struct real_conn *conn)
{
    return conn->state == CONN_OPEN && may_write(conn) &&
           (!conn->is_write_blocked || conn->is_broken);
}

static bool is_step_due(const struct real_conn *conn)
{
    return (conn->state == CONN_CONNECTING && conn->connect_number >= 0) ||
           (conn->state == CONN_HANDSHAKE && conn->handshake_waits == 0);
}

static bool needs_attention(const struct real_conn *conn)
{
    uint32_t needs = needs_of(conn);
    bool is_poll_wrong =
            (needs & ~conn->armed) != 0 || (conn->armed & ~needs & NET_WANT_WRITE) != 0;
    return is_step_due(conn) || is_readable_now(conn) || is_writable_now(conn) ||
           (is_poll_wrong && !conn->is_broken);
}

static void mark(struct real_conn *conn)
{
    if (!conn->is_attended && needs_attention(conn)) {
        conn->is_attended = true;
        list_add_last(&net_of(conn->base.net)->attend, &conn->attend_link);
    }
}

static void on_poll(uv_poll_t *poll, int status, int events);

static void arm(struct real_conn *conn, uint32_t set)
{
    if (conn->is_broken || set == conn->armed) {
        return;
    }
    int events =
            ((set & NET_WANT_READ) ? UV_READABLE : 0) | ((set & NET_WANT_WRITE) ? UV_WRITABLE : 0);
    int status =
            events != 0 ? uv_poll_start(&conn->poll, events, on_poll) : uv_poll_stop(&conn->poll);
    ASSERT(status == 0);
    conn->armed = set;
}

static void fail(struct real_conn *conn, enum err err, const struct why *why)
{
    conn->state = CONN_FAILED;
    conn->err = err;
    conn->why = mem_new(sizeof *conn->why); /* without memory the reason stays unsaid */
    if (conn->why != NULL) {
        *conn->why = *why;
    }
    arm(conn, 0);
    if (conn->handler != NULL) {
        conn->handler(conn->ctx, &conn->base, NET_FAILED);
    }
}

static void opened(struct real_conn *conn, enum net_event event)
{
    conn->state = CONN_OPEN;
    conn->read_waits = NET_WANT_READ;
    conn->write_waits = NET_WANT_WRITE;
    conn->is_write_blocked = false;
    if (conn->handler != NULL) {
        conn->handler(conn->ctx, &conn->base, event);
    }
}

static void connect_ended(struct real_conn *conn, int number)
{
    if (number == 0) {
        opened(conn, NET_CONNECTED);
        return;
    }
    struct why why;
    why_set(&why, "%s", errno_words(number));
    fail(conn, err_from_errno(number), &why);
}

static void connect_polled(struct real_conn *conn)
{
    int number = 0;
    socklen_t len = sizeof number;
    if (getsockopt(conn->io.fd, SOL_SOCKET, SO_ERROR, &number, &len) != 0) {
        number = errno;
    }
    connect_ended(conn, number);
}

static void handshake_step(struct real_conn *conn)
{
    struct why why = { "" };
    conn->io.is_drained = conn->io.is_drained && (conn->armed & NET_WANT_READ);
    enum err err = tls_conn_handshake(conn->tls, &why);
    if (err == E_AGAIN && !conn->is_broken) {
        conn->handshake_waits = tls_conn_waits(conn->tls);
    } else if (err == OK) {
        conn->is_read_buffered = tls_conn_has_pending(conn->tls);
        opened(conn, NET_TLS_DONE);
    } else {
        if (err == E_AGAIN) {
            why_set(&why, "connection lost during TLS handshake");
        }
        fail(conn, err == E_AGAIN ? E_IO : err, &why);
    }
}

static void tell(struct real_conn *conn, bool is_readable, bool is_writable)
{
    if (is_readable && conn->state == CONN_OPEN && may_read(conn) && conn->handler != NULL) {
        conn->handler(conn->ctx, &conn->base, NET_READABLE);
    }
    if (is_writable && conn->state == CONN_OPEN && may_write(conn) && conn->handler != NULL) {
        conn->handler(conn->ctx, &conn->base, NET_WRITABLE);
    }
}

static void open_polled(struct real_conn *conn, uint32_t ready)
{
    bool is_readable = (ready & conn->read_waits) != 0;
    bool is_writable = (ready & conn->write_waits) != 0;
    if (is_writable) {
        conn->is_write_blocked = false;
    }
    tell(conn, is_readable, is_writable);
}

static void on_poll(uv_poll_t *poll, int status, int events)
{
    struct real_conn *conn = CONTAINER_OF(poll, struct real_conn, poll);
    uint32_t ready = ((events & UV_READABLE) ? NET_WANT_READ : 0) |
                     ((events & UV_WRITABLE) ? NET_WANT_WRITE : 0);
    if (status < 0) { /* an error on the socket: libuv has stopped polling it */
        conn->is_broken = true;
        conn->armed = 0;
        ready = NET_WANT_READ | NET_WANT_WRITE;
    }
    if (ready & NET_WANT_READ) {
        conn->io.is_drained = false;
    }
    uint32_t unwanted = ready & ~needs_of(conn);
    switch (conn->state) {
    case CONN_CONNECTING:
        connect_polled(conn);
        break;
    case CONN_HANDSHAKE:
        handshake_step(conn);
        break;
    case CONN_OPEN:
        open_polled(conn, ready);
        break;
    case CONN_FAILED:
    case CONN_CLOSED:
        break;
    }
    if (conn->state != CONN_CLOSED) {
        if (unwanted != 0) {
            arm(conn, needs_of(conn));
        }
        mark(conn);
    }
}

/* One connection before the loop sleeps. */
static void attend(struct real_conn *conn)
{
    if (conn->state == CONN_CONNECTING && conn->connect_number >= 0) {
        connect_ended(conn, conn->connect_number);
    } else if (conn->state == CONN_HANDSHAKE && conn->handshake_waits == 0) {
        handshake_step(conn);
    } else {
        bool is_writable = is_writable_now(conn);
        tell(conn, is_readable_now(conn), is_writable);
    }
    if (conn->state == CONN_CLOSED) {
        return;
    }
    uint32_t needs = needs_of(conn);
    if ((needs & ~conn->armed) != 0 || (conn->armed & ~needs & NET_WANT_WRITE) != 0) {
        arm(conn, needs | (conn->armed & NET_WANT_READ));
    }
    mark(conn);
}

static void on_idle(uv_idle_t *idle)
{
    (void)idle; /* exists so that the loop does not sleep */
}

static void on_prepare(uv_prepare_t *prepare)
{
    struct real_net *net = CONTAINER_OF(prepare, struct real_net, prepare);
    struct list now, *link;
    list_init(&now);
    while ((link = list_take_first(&net->attend)) != NULL) {
        list_add_last(&now, link);
    }
    while ((link = list_take_first(&now)) != NULL) {
        struct real_conn *conn = CONTAINER_OF(link, struct real_conn, attend_link);
        conn->is_attended = false;
        attend(conn);
    }
    if (list_is_empty(&net->attend)) {
        uv_idle_stop(&net->idle);
    } else {
        uv_idle_start(&net->idle, on_idle);
    }
    mailbox_flush(); /* letters of this round go out before the loop sleeps */
}

/* ---- connections: the calls ---- */

static enum err conn_new(struct real_net *net, int fd, struct real_conn **ret_conn)
{
    struct real_conn *conn = mem_new(sizeof *conn);
    if (conn == NULL) {
        return E_NOMEM;
    }
    if (uv_poll_init(&net->loop, &conn->poll, fd) != 0) {
        mem_free(conn);
        return E_IO;
    }
    conn->base.net = &net->base;
    conn->io.fd = fd;
    conn->connect_number = -1;
    conn->read_waits = NET_WANT_READ;
    conn->write_waits = NET_WANT_WRITE;
    list_init(&conn->attend_link);
    list_add_last(&net->conns, &conn->link);
    *ret_conn = conn;
    return OK;
}

static enum err real_connect(struct net *base, const struct ip *local, const struct ip_port *remote,
        net_handler *handler, void *ctx, struct net_conn **ret_conn, struct why *why)
{
    if (remote->ip.family == IP_NONE) {
        why_set(why, "connect: no address");
        return E_USAGE;
    }
    int fd = socket_open(&remote->ip, SOCK_STREAM);
    if (fd < 0) {
        why_set(why, "socket: %s", errno_words(errno));
        return err_from_errno(errno);
    }
    struct real_conn *conn;
    enum err err = conn_new(net_of(base), fd, &conn);
    if (err != OK) {
        why_set(why, "connect: %s", err_name(err));
        close(fd);
        return err;
    }
    socket_set(fd, IPPROTO_TCP, TCP_NODELAY, 1);
    conn->state = CONN_CONNECTING;
    conn->handler = handler;
    conn->ctx = ctx;
    conn->remote = *remote;
    conn->connect_number = socket_connect(fd, local, remote);
    mark(conn);
    *ret_conn = &conn->base;
    return OK;
}

static void real_set_handler(struct net_conn *base, net_handler *handler, void *ctx)
{
    struct real_conn *conn = conn_of(base);
    conn->handler = handler;
    conn->ctx = ctx;
}

static void real_want(struct net_conn *base, uint32_t wants)
{
    struct real_conn *conn = conn_of(base);
    conn->wants = wants;
    mark(conn);
}

static enum err read_plain(struct real_conn *conn, void *dst, size_t cap, size_t *ret_len)
{
    ssize_t got;
    do {
        got = recv(conn->io.fd, dst, cap, 0);
    } while (got < 0 && errno == EINTR);
    if (got > 0) {
        conn->io.is_drained = (size_t)got < cap;
        *ret_len = (size_t)got;
        return OK;
    }
    if (got == 0) {
        return E_EOF;
    }
    return errno == EAGAIN ? E_AGAIN : E_IO;
}

static enum err read_tls(struct real_conn *conn, void *dst, size_t cap, size_t *ret_len)
{
    enum err err = tls_conn_read(conn->tls, dst, cap, ret_len);
    conn->is_read_buffered = err == OK && tls_conn_has_pending(conn->tls);
    conn->read_waits = err == E_AGAIN ? tls_conn_waits(conn->tls) : NET_WANT_READ;
    return err;
}

static enum err real_read(struct net_conn *base, void *dst, size_t cap, size_t *ret_len)
{
    struct real_conn *conn = conn_of(base);
    if (conn->state != CONN_OPEN) {
        return conn->state == CONN_FAILED ? E_IO : E_AGAIN;
    }
    ASSERT(cap > 0);
    /* A short read has emptied the socket; when more comes, the armed poll tells. */
    conn->io.is_drained = conn->io.is_drained && may_read(conn) && (conn->armed & NET_WANT_READ);
    if (conn->io.is_drained && conn->tls == NULL) {
        return E_AGAIN;
    }
    enum err err = conn->tls != NULL ? read_tls(conn, dst, cap, ret_len)
                                     : read_plain(conn, dst, cap, ret_len);
    conn->is_read_done = err != OK && err != E_AGAIN;
    mark(conn);
    return err;
}

static size_t iov_bytes(const struct iovec *iov, uint32_t iov_count)
{
    size_t sum = 0;
    for (uint32_t i = 0; i < iov_count; i++) {
        sum += iov[i].iov_len;
    }
    return sum;
}

static enum err write_plain(
        struct real_conn *conn, const struct iovec *iov, uint32_t iov_count, size_t *ret_len)
{
    iov_count = iov_count < WRITE_IOV_COUNT_MAX ? iov_count : WRITE_IOV_COUNT_MAX;
    ssize_t put;
    do {
        struct msghdr msg = { .msg_iov = (struct iovec *)(uintptr_t)iov, .msg_iovlen = iov_count };
        put = sendmsg(conn->io.fd, &msg, MSG_NOSIGNAL);
    } while (put < 0 && errno == EINTR);
    conn->is_write_blocked = put < 0 || (size_t)put < iov_bytes(iov, iov_count);
    if (put >= 0) {
        *ret_len = (size_t)put;
        return OK;
    }
    return errno == EAGAIN ? E_AGAIN : E_IO;
}

static enum err write_tls(
        struct real_conn *conn, const struct iovec *iov, uint32_t iov_count, size_t *ret_len)
{
    enum err err = tls_conn_write(conn->tls, iov, iov_count, ret_len);
    uint32_t waits = tls_conn_waits(conn->tls);
    conn->is_write_blocked = waits != 0;
    conn->write_waits = waits != 0 ? waits : NET_WANT_WRITE;
    return err;
}

static enum err real_write(
        struct net_conn *base, const struct iovec *iov, uint32_t iov_count, size_t *ret_len)
{
    struct real_conn *conn = conn_of(base);
    if (conn->state != CONN_OPEN) {
        return conn->state == CONN_FAILED ? E_IO : E_AGAIN;
    }
    enum err err = conn->tls != NULL ? write_tls(conn, iov, iov_count, ret_len)
                                     : write_plain(conn, iov, iov_count, ret_len);
    conn->is_write_done = err != OK && err != E_AGAIN;
    mark(conn);
    return err;
}

static enum err real_start_tls(
        struct net_conn *base, struct tls_context *context, const struct net_tls_params *params)
{
    struct real_conn *conn = conn_of(base);
    struct real_net *net = net_of(base->net);
    if (conn->state != CONN_OPEN || conn->tls != NULL) {
        return E_USAGE;
    }
    enum err err = tls_conn_new(context, net->tls_loop, params, &conn->io, &conn->tls);
    if (err != OK) {
        return err;
    }
    conn->state = CONN_HANDSHAKE;
    conn->is_server = params->is_server;
    conn->io.is_drained = false;
    /* A client speaks first; a server waits for it. */
    conn->handshake_waits = params->is_server ? NET_WANT_READ : 0;
    mark(conn);
    return OK;
}

bool net_peer_sha256_real(struct net_conn *base, uint8_t ret_sha256[32])
{
    const struct real_conn *conn = conn_of(base);
    return conn->tls != NULL && tls_conn_peer_sha256(conn->tls, ret_sha256);
}

static void real_info(struct net_conn *base, struct net_info *ret_info)
{
    struct real_conn *conn = conn_of(base);
    struct net_info info = { .remote = conn->remote, .err = conn->err };
    info.local = socket_local(conn->io.fd);
    if (conn->why != NULL) {
        info.why = *conn->why;
    }
    if (conn->tls != NULL && conn->state == CONN_OPEN) {
        tls_conn_describe(conn->tls, &info);
    }
    *ret_info = info;
}

static void conn_freed(uv_handle_t *handle)
{
    struct real_conn *conn = CONTAINER_OF((uv_poll_t *)handle, struct real_conn, poll);
    mem_free(conn->why);
    mem_free(conn);
}

static void real_close(struct net_conn *base, bool is_abort)
{
    struct real_conn *conn = conn_of(base);
    ASSERT(conn->state != CONN_CLOSED);
    int fd = conn->io.fd;
    if (is_abort) {
        struct linger linger = { .l_onoff = 1, .l_linger = 0 };
        (void)setsockopt(fd, SOL_SOCKET, SO_LINGER, &linger, sizeof linger);
    } else if (conn->state == CONN_OPEN) {
        if (conn->tls != NULL) {
            tls_conn_shutdown(conn->tls);
        }
        if (!conn->is_read_done && !conn->is_broken) {
            (void)recv(fd, NULL, CLOSE_DRAIN_BYTES_MAX, MSG_TRUNC | MSG_DONTWAIT);
        }
    }
    conn->state = CONN_CLOSED;
    list_del(&conn->link);
    list_del(&conn->attend_link);
    tls_conn_free(conn->tls);
    conn->tls = NULL;
    uv_close((uv_handle_t *)&conn->poll, conn_freed);
    close(fd);
}

/* ---- listeners ---- */

static void on_acceptable(uv_poll_t *poll, int status, int events);

static void listener_arm(struct real_listener *listener)
{
    if (listener->is_closed) {
        return;
    }
    if (listener->is_paused || listener->is_held) {
        uv_poll_stop(&listener->poll);
    } else {
        ASSERT(uv_poll_start(&listener->poll, UV_READABLE, on_acceptable) == 0);
    }
}

static void on_accept_timer(uv_timer_t *timer)
{
    struct real_net *net = CONTAINER_OF(timer, struct real_net, accept_timer);
    for (struct list *at = net->listeners.next; at != &net->listeners; at = at->next) {
        struct real_listener *listener = CONTAINER_OF(at, struct real_listener, link);
        if (listener->is_held) {
            listener->is_held = false;
            listener_arm(listener);
        }
    }
}

/* Out of descriptors or memory: the first in line is told by a close, the others wait a little. */
static void hold(struct real_listener *listener)
{
    struct real_net *net = net_of(listener->base.net);
    if (net->reserve_fd >= 0) {
        close(net->reserve_fd);
        int fd = accept4(listener->fd, NULL, NULL, SOCK_CLOEXEC);
        if (fd >= 0) {
            close(fd);
        }
        net->reserve_fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
    }
    listener->is_held = true;
    listener_arm(listener);
    uv_timer_start(&net->accept_timer, on_accept_timer, ACCEPT_HOLD_MS, 0);
}

static void accept_one(struct real_listener *listener, int fd, const struct sockaddr_storage *from)
{
    struct real_conn *conn;
    if (conn_new(net_of(listener->base.net), fd, &conn) != OK) {
        close(fd);
        return;
    }
    conn->state = CONN_OPEN;
    conn->remote = socket_address(from);
    listener->accepted(listener->ctx, &conn->base);
}

static bool is_accept_shortage(int number)
{
    return number == EMFILE || number == ENFILE || number == ENOMEM || number == ENOBUFS;
}

static void on_acceptable(uv_poll_t *poll, int status, int events)
{
    struct real_listener *listener = CONTAINER_OF(poll, struct real_listener, poll);
    (void)events;
    if (status < 0) { /* libuv has stopped polling it: try again later */
        hold(listener);
        return;
    }
    for (int i = 0; i < ACCEPT_BURST_COUNT_MAX; i++) {
        if (listener->is_closed || listener->is_paused) {
            return;
        }
        struct sockaddr_storage from = { 0 };
        socklen_t len = sizeof from;
        int fd =
                accept4(listener->fd, (struct sockaddr *)&from, &len, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd >= 0) {
            accept_one(listener, fd, &from);
        } else if (errno == EAGAIN) {
            return;
        } else if (is_accept_shortage(errno)) {
            hold(listener);
            return;
        } /* else the connection died in the queue (accept(2)): take the next */
    }
}

static enum err listener_new(struct real_net *net, int fd, net_accepted *accepted, void *ctx,
        struct net_listener **ret_listener)
{
    struct real_listener *listener = mem_new(sizeof *listener);
    if (listener == NULL) {
        return E_NOMEM;
    }
    if (uv_poll_init(&net->loop, &listener->poll, fd) != 0) {
        mem_free(listener);
        return E_IO;
    }
    listener->base.net = &net->base;
    listener->fd = fd;
    listener->accepted = accepted;
    listener->ctx = ctx;
    list_add_last(&net->listeners, &listener->link);
    socket_set(fd, IPPROTO_TCP, TCP_NODELAY, 1); /* what is accepted inherits it */
    listener_arm(listener);
    *ret_listener = &listener->base;
    return OK;
}

static enum err real_listen(struct net *base, const struct ip_port *at, bool is_shared_port,
        net_accepted *accepted, void *ctx, struct net_listener **ret_listener, struct why *why)
{
    int fd;
    enum err err = socket_listen(at, is_shared_port, &fd, why);
    if (err != OK) {
        return err;
    }
    err = listener_new(net_of(base), fd, accepted, ctx, ret_listener);
    if (err != OK) {
        why_set(why, "listen: %s", err_name(err));
        close(fd);
    }
    return err;
}

enum err net_adopt_listener_real(struct net *base, int fd, net_accepted *accepted, void *ctx,
        struct net_listener **ret_listener, struct why *why)
{
    int is_listening = 0;
    socklen_t len = sizeof is_listening;
    if (getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &is_listening, &len) != 0 || !is_listening) {
        why_set(why, "descriptor %d is not a listening socket", fd);
        return E_USAGE;
    }
    (void)fcntl(fd, F_SETFD, FD_CLOEXEC);
    return listener_new(net_of(base), fd, accepted, ctx, ret_listener);
}

void net_listener_at_real(struct net_listener *listener, struct ip_port *ret_at)
{
    *ret_at = socket_local(listener_of(listener)->fd);
}

static void real_pause(struct net_listener *base, bool is_paused)
{
    struct real_listener *listener = listener_of(base);
    if (listener->is_paused != is_paused) {
        listener->is_paused = is_paused;
        listener_arm(listener);
    }
}

static void listener_freed(uv_handle_t *handle)
{
    mem_free(CONTAINER_OF((uv_poll_t *)handle, struct real_listener, poll));
}

static void real_unlisten(struct net_listener *base)
{
    struct real_listener *listener = listener_of(base);
    ASSERT(!listener->is_closed);
    listener->is_closed = true;
    list_del(&listener->link);
    uv_close((uv_handle_t *)&listener->poll, listener_freed);
    close(listener->fd);
}

/* ---- timer ---- */

static void on_timer(uv_timer_t *timer);

static void timer_arm(struct real_net *net)
{
    int64_t wait_ms = net->deadline.ms - clock_mono(net->clock).ms;
    wait_ms = wait_ms < 0 ? 0 : wait_ms;
    wait_ms = wait_ms > TIMER_STEP_MS_MAX ? TIMER_STEP_MS_MAX : wait_ms;
    uv_update_time(&net->loop); /* libuv counts from when the turn began */
    uv_timer_start(&net->timer, on_timer, (uint64_t)wait_ms, 0);
}

static void on_timer(uv_timer_t *timer)
{
    struct real_net *net = CONTAINER_OF(timer, struct real_net, timer);
    if (net->deadline.ms > clock_mono(net->clock).ms) {
        timer_arm(net);
        return;
    }
    net->deadline.ms = 0;
    net->fired(net->fired_ctx);
}

static void real_timer(struct net *base, struct mono deadline, void (*fired)(void *ctx), void *ctx)
{
    struct real_net *net = net_of(base);
    net->fired = fired;
    net->fired_ctx = ctx;
    if (deadline.ms == net->deadline.ms) {
        return;
    }
    net->deadline = deadline;
    if (deadline.ms == 0) {
        uv_timer_stop(&net->timer);
    } else {
        timer_arm(net);
    }
}

/* ---- the loop ---- */

static const struct net_ops real_ops = {
    .listen = real_listen,
    .pause = real_pause,
    .unlisten = real_unlisten,
    .connect = real_connect,
    .set_handler = real_set_handler,
    .want = real_want,
    .read = real_read,
    .write = real_write,
    .start_tls = real_start_tls,
    .info = real_info,
    .close = real_close,
    .timer = real_timer,
};

static void on_wake(uv_async_t *async)
{
    struct real_net *net = CONTAINER_OF(async, struct real_net, wake);
    if (net->on_wake != NULL) {
        net->on_wake(net->wake_ctx);
    }
}

enum err net_open_real(struct clock *clock, struct net **ret_net, struct why *why)
{
    struct real_net *net = mem_new(sizeof *net);
    struct tls_loop *tls_loop = tls_loop_new();
    if (net == NULL || tls_loop == NULL || uv_loop_init(&net->loop) != 0) {
        why_set(why, "event loop: out of memory or descriptors");
        mem_free(net);
        tls_loop_free(tls_loop);
        return E_NOMEM;
    }
    net->base.ops = &real_ops;
    net->clock = clock;
    net->tls_loop = tls_loop;
    list_init(&net->conns);
    list_init(&net->listeners);
    list_init(&net->watches);
    list_init(&net->attend);
    net->reserve_fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
    if (uv_async_init(&net->loop, &net->wake, on_wake) != 0) {
        why_set(why, "event loop: out of descriptors");
        close(net->reserve_fd);
        uv_loop_close(&net->loop);
        tls_loop_free(tls_loop);
        mem_free(net);
        return E_FULL;
    }
    uv_prepare_init(&net->loop, &net->prepare);
    uv_prepare_start(&net->prepare, on_prepare);
    uv_idle_init(&net->loop, &net->idle);
    uv_timer_init(&net->loop, &net->timer);
    uv_timer_init(&net->loop, &net->accept_timer);
    *ret_net = &net->base;
    return OK;
}

void net_run_real(struct net *base, void (*wake)(void *ctx), void *ctx)
{
    struct real_net *net = net_of(base);
    net->on_wake = wake;
    net->wake_ctx = ctx;
    uv_run(&net->loop, UV_RUN_DEFAULT);
}

void net_wake_real(struct net *base)
{
    uv_async_send(&net_of(base)->wake);
}

void net_stop_real(struct net *base)
{
    uv_stop(&net_of(base)->loop);
}

int net_fd_real(struct net *base)
{
    return uv_backend_fd(&net_of(base)->loop);
}

int net_wait_ms_real(struct net *base)
{
    struct real_net *net = net_of(base);
    uv_update_time(&net->loop); /* it counts from there, and nobody knows when that was */
    return uv_backend_timeout(&net->loop);
}

void net_step_real(struct net *base)
{
    uv_run(&net_of(base)->loop, UV_RUN_NOWAIT);
}

static void on_watched(uv_poll_t *poll, int status, int events)
{
    struct watch *watch = CONTAINER_OF(poll, struct watch, poll);
    (void)status; /* the owner finds out by reading */
    (void)events;
    watch->readable(watch->ctx);
}

enum err net_watch_fd_real(struct net *base, int fd, void (*readable)(void *ctx), void *ctx)
{
    struct real_net *net = net_of(base);
    struct watch *watch = mem_new(sizeof *watch);
    if (watch == NULL) {
        return E_NOMEM;
    }
    watch->fd = fd;
    watch->readable = readable;
    watch->ctx = ctx;
    if (uv_poll_init(&net->loop, &watch->poll, fd) != 0) {
        mem_free(watch);
        return E_IO;
    }
    list_add_last(&net->watches, &watch->link);
    ASSERT(uv_poll_start(&watch->poll, UV_READABLE, on_watched) == 0);
    return OK;
}

static void watch_freed(uv_handle_t *handle)
{
    mem_free(CONTAINER_OF((uv_poll_t *)handle, struct watch, poll));
}

static void watch_close(struct watch *watch)
{
    list_del(&watch->link);
    uv_close((uv_handle_t *)&watch->poll, watch_freed);
}

void net_unwatch_fd_real(struct net *base, int fd)
{
    struct real_net *net = net_of(base);
    for (struct list *at = net->watches.next; at != &net->watches; at = at->next) {
        struct watch *watch = CONTAINER_OF(at, struct watch, link);
        if (watch->fd == fd) {
            watch_close(watch);
            return;
        }
    }
}

void net_free_real(struct net *base)
{
    if (base == NULL) {
        return;
    }
    struct real_net *net = net_of(base);
    while (!list_is_empty(&net->conns)) {
        real_close(&CONTAINER_OF(net->conns.next, struct real_conn, link)->base, true);
    }
    while (!list_is_empty(&net->listeners)) {
        real_unlisten(&CONTAINER_OF(net->listeners.next, struct real_listener, link)->base);
    }
    while (!list_is_empty(&net->watches)) {
        watch_close(CONTAINER_OF(net->watches.next, struct watch, link));
    }
    uv_close((uv_handle_t *)&net->wake, NULL);
    uv_close((uv_handle_t *)&net->prepare, NULL);
    uv_close((uv_handle_t *)&net->idle, NULL);
    uv_close((uv_handle_t *)&net->timer, NULL);
    uv_close((uv_handle_t *)&net->accept_timer, NULL);
    uv_run(&net->loop, UV_RUN_DEFAULT); /* runs the frees; returns since nothing is left */
    ASSERT(uv_loop_close(&net->loop) == 0);
    if (net->reserve_fd >= 0) {
        close(net->reserve_fd);
    }
    tls_loop_free(net->tls_loop);
    mem_free(net);
}
