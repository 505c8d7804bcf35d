/* SPDX-License-Identifier: Apache-2.0
 *
 * dns_direct.c - one packet to one server and its answer, over UDP or TCP (RFC 1035, 7766).
 *
 * dns_packet.c builds and reads them. Each question has a connected UDP socket of its own, so that
 * the kernel drops what others send and its port is as hard to guess as its number.
 */
#include "edge/dns_direct.h"

#include "core/buf.h"
#include "core/list.h"
#include "core/str.h"
#include "core/time.h"
#include "edge/clock.h"
#include "edge/dns_priv.h"
#include "edge/entropy.h"
#include "edge/errno_priv.h"
#include "edge/net.h"
#include "edge/socket_priv.h"

#include <errno.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <unistd.h>

enum {
    PACKET_BYTES_MAX = 65535,
    TRY_COUNT_MAX = 3, /* of the same packet, spread over the question's time */
    TICK_MS = 50
};

struct dns_direct {
    struct net *net;
    struct entropy *entropy;
    int timer_fd;
    bool is_timer_on;
    bool is_busy, is_closed; /* closed from within a callback: freed after it */
    struct list questions;
    uint32_t question_count;
};

struct direct_question {
    struct list link;
    struct dns_direct *direct;
    struct ip_port server;
    struct dns_query query;
    struct buf packet; /* as sent, the length of TCP before it */
    struct buf reply;  /* over TCP */
    size_t sent_bytes; /* over TCP */
    int fd;            /* of UDP; -1: over TCP */
    struct net_conn *conn;
    struct mono deadline, next_try;
    uint64_t try_ms;
    dns_answered *answered;
    void *ctx;
};

static void direct_free(struct dns_direct *direct);

static void question_end(struct direct_question *question)
{
    struct dns_direct *direct = question->direct;
    if (question->fd >= 0) {
        net_unwatch_fd_real(direct->net, question->fd);
        close(question->fd);
    }
    if (question->conn != NULL) {
        direct->net->ops->close(question->conn, true);
    }
    list_del(&question->link);
    direct->question_count--;
    buf_done(&question->packet);
    buf_done(&question->reply);
    mem_free(question);
}

/* Ends the question with what room holds. */
static void question_answer(struct direct_question *question, struct dns_room *room)
{
    struct dns_direct *direct = question->direct;
    dns_answered *answered = question->answered;
    void *ctx = question->ctx;
    bool was_busy = direct->is_busy;
    question_end(question);
    dns_room_end(room);
    direct->is_busy = true;
    answered(ctx, &room->answer);
    direct->is_busy = was_busy;
    dns_room_close(room);
    if (direct->is_closed && !direct->is_busy) {
        direct_free(direct);
    }
}

static void question_fail(struct direct_question *question, enum dns_status status, const char *why)
{
    struct dns_room room = { 0 };
    dns_room_fail(&room, status, why);
    question_answer(question, &room);
}

/* ---- packets ---- */

static void tcp_begin(struct direct_question *question);

/* False: no answer to the question; go on waiting. */
static bool take_packet(struct direct_question *question, struct str wire)
{
    struct dns_room room;
    bool is_cut;
    if (!dns_packet_read(wire, &question->query, &is_cut, &room)) {
        return false;
    }
    if (is_cut && question->conn == NULL) {
        dns_room_close(&room);
        tcp_begin(question);
        return true;
    }
    question_answer(question, &room);
    return true;
}

/* ---- TCP (RFC 7766) ---- */

static void tcp_send(struct direct_question *question)
{
    const struct net_ops *ops = question->direct->net->ops;
    struct str rest = str_from(buf_str(&question->packet), question->sent_bytes);
    if (rest.len == 0) {
        ops->want(question->conn, NET_WANT_READ);
        return;
    }
    struct iovec iov = { .iov_base = question->packet.ptr + question->sent_bytes,
        .iov_len = rest.len };
    size_t len;
    enum err err = ops->write(question->conn, &iov, 1, &len);
    question->sent_bytes += err == OK ? len : 0;
    if (err != OK && err != E_AGAIN) {
        question_fail(question, DNS_SERVFAIL, "the server closed the TCP connection");
    } else {
        bool is_sent = question->sent_bytes == question->packet.len;
        ops->want(question->conn, is_sent ? NET_WANT_READ : NET_WANT_WRITE);
    }
}

static void tcp_receive(struct direct_question *question)
{
    const struct net_ops *ops = question->direct->net->ops;
    char block[4096];
    size_t len;
    enum err err;
    while ((err = ops->read(question->conn, block, sizeof block, &len)) == OK) {
        buf_add(&question->reply, str_of(block, len));
    }
    struct str reply = buf_str(&question->reply);
    size_t want =
            reply.len < 2 ? SIZE_MAX : ((size_t)(uint8_t)reply.ptr[0] << 8) + (uint8_t)reply.ptr[1];
    if (reply.len >= 2 && reply.len - 2 >= want) {
        if (!take_packet(question, str_sub(reply, 2, want))) {
            question_fail(question, DNS_SERVFAIL, "the server's answer over TCP makes no sense");
        }
    } else if (err != E_AGAIN) {
        question_fail(question, DNS_SERVFAIL, "the server closed the TCP connection");
    }
}

static void on_tcp(void *ctx, struct net_conn *conn, enum net_event event)
{
    struct direct_question *question = ctx;
    (void)conn;
    if (event == NET_CONNECTED || event == NET_WRITABLE) {
        tcp_send(question);
    } else if (event == NET_READABLE) {
        tcp_receive(question);
    } else {
        question_fail(question, DNS_SERVFAIL, "the answer is cut, and TCP is refused");
    }
}

static void tcp_begin(struct direct_question *question)
{
    struct net *net = question->direct->net;
    const struct ip anywhere = { 0 };
    net_unwatch_fd_real(net, question->fd);
    close(question->fd);
    question->fd = -1;
    question->next_try = (struct mono){ 0 };
    if (net->ops->connect(
                net, &anywhere, &question->server, on_tcp, question, &question->conn, NULL) != OK) {
        question->conn = NULL;
        question_fail(question, DNS_SERVFAIL, "the answer is cut, and TCP is not to be had");
    }
}

/* ---- UDP ---- */

static void udp_send(struct direct_question *question)
{
    struct str wire = str_from(buf_str(&question->packet), 2);
    /* An error shows as silence, or on the next read (ECONNREFUSED). */
    (void)!send(question->fd, wire.ptr, wire.len, MSG_NOSIGNAL);
}

static void on_udp(void *ctx)
{
    struct direct_question *question = ctx;
    char wire[DNS_UDP_BYTES_MAX + 1];
    ssize_t got = recv(question->fd, wire, sizeof wire, 0);
    if (got >= 0) {
        (void)take_packet(question, str_of(wire, (size_t)got));
    } else if (errno != EAGAIN && errno != EINTR) {
        const char *why = errno_words(errno);
        question_fail(question, DNS_SERVFAIL, why);
    }
}

static enum err udp_open(struct direct_question *question)
{
    const struct ip anywhere = { 0 };
    int fd = socket_open(&question->server.ip, SOCK_DGRAM);
    if (fd < 0) {
        return err_from_errno(errno);
    }
    if (socket_connect(fd, &anywhere, &question->server) > 0 ||
            net_watch_fd_real(question->direct->net, fd, on_udp, question) != OK) {
        close(fd);
        return E_IO;
    }
    question->fd = fd;
    return OK;
}

/* ---- time ---- */

static void timer_set(struct dns_direct *direct, bool is_on)
{
    if (direct->is_timer_on != is_on) {
        struct timespec period = { .tv_nsec = is_on ? TICK_MS * 1000000L : 0 };
        struct itimerspec when = { .it_interval = period, .it_value = period };
        ASSERT(timerfd_settime(direct->timer_fd, 0, &when, NULL) == 0);
        direct->is_timer_on = is_on;
    }
}

/* Sends again or gives up; true where something ended, so that the list may have changed. */
static bool question_tick(struct direct_question *question, struct mono now)
{
    if (mono_is_due(question->deadline, now)) {
        question_fail(question, DNS_TIMEOUT, "no answer in time");
        return true;
    }
    if (mono_is_due(question->next_try, now)) {
        question->next_try = mono_after(now, question->try_ms);
        udp_send(question);
    }
    return false;
}

/* Stops at the first that ends, since its callback may have changed the list: true, once more. */
static bool tick_all(struct dns_direct *direct, struct mono now)
{
    for (struct list *at = direct->questions.next; at != &direct->questions; at = at->next) {
        if (question_tick(CONTAINER_OF(at, struct direct_question, link), now)) {
            return true;
        }
    }
    return false;
}

static void on_tick(void *ctx)
{
    struct dns_direct *direct = ctx;
    uint64_t tick_count;
    if (read(direct->timer_fd, &tick_count, sizeof tick_count) < 0) {
        return; /* nothing has passed */
    }
    struct mono now = clock_mono(clock_real());
    direct->is_busy = true;
    while (!direct->is_closed && tick_all(direct, now)) {
    }
    direct->is_busy = false;
    if (direct->is_closed) {
        direct_free(direct);
    } else if (direct->question_count == 0) {
        timer_set(direct, false);
    }
}

/* ---- the calls ---- */

static void direct_free(struct dns_direct *direct)
{
    while (!list_is_empty(&direct->questions)) {
        question_end(CONTAINER_OF(direct->questions.next, struct direct_question, link));
    }
    net_unwatch_fd_real(direct->net, direct->timer_fd);
    close(direct->timer_fd);
    mem_free(direct);
}

enum err dns_direct_open(
        struct net *net, struct entropy *entropy, struct dns_direct **ret_direct, struct why *why)
{
    struct dns_direct *direct = mem_new(sizeof *direct);
    if (direct == NULL) {
        return E_NOMEM;
    }
    direct->net = net;
    direct->entropy = entropy;
    list_init(&direct->questions);
    direct->timer_fd = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
    if (direct->timer_fd < 0) {
        why_set(why, "name servers: timer: %s", errno_words(errno));
        mem_free(direct);
        return E_FULL;
    }
    if (net_watch_fd_real(net, direct->timer_fd, on_tick, direct) != OK) {
        close(direct->timer_fd);
        mem_free(direct);
        return E_NOMEM;
    }
    *ret_direct = direct;
    return OK;
}

static void question_init(struct direct_question *question, struct dns_direct *direct,
        const struct ip_port *server, uint64_t ms_max)
{
    struct mono now = clock_mono(clock_real());
    question->direct = direct;
    question->server = *server;
    question->query.id = (uint16_t)entropy_u64(direct->entropy);
    question->fd = -1;
    question->try_ms = ms_max / TRY_COUNT_MAX;
    question->next_try = mono_after(now, question->try_ms);
    question->deadline = mono_after(now, ms_max);
    buf_init(&question->packet, DNS_UDP_BYTES_MAX + 2);
    buf_init(&question->reply, PACKET_BYTES_MAX + 2);
    list_add_last(&direct->questions, &question->link);
    direct->question_count++;
}

enum err dns_direct_ask(struct dns_direct *direct, const struct ip_port *server, struct str name,
        enum dns_type type, uint64_t ms_max, dns_answered *answered, void *ctx)
{
    char c_name[DNS_NAME_CAP];
    if (!dns_question_name(name, c_name)) {
        return E_SYNTAX;
    }
    if (direct->question_count >= DNS_DIRECT_QUESTION_COUNT_MAX) {
        return E_FULL;
    }
    struct direct_question *question = mem_new(sizeof *question);
    if (question == NULL) {
        return E_NOMEM;
    }
    question_init(question, direct, server, ms_max);
    memcpy(question->query.name, c_name, sizeof c_name);
    question->query.type = type;
    question->answered = answered;
    question->ctx = ctx;
    enum err err = dns_packet_build(&question->query, &question->packet);
    if (err == OK) {
        err = udp_open(question);
    }
    if (err != OK) {
        question_end(question);
        return err;
    }
    udp_send(question);
    timer_set(direct, true);
    return OK;
}

void dns_direct_close(struct dns_direct *direct)
{
    if (direct == NULL) {
        return;
    }
    direct->is_closed = true;
    if (!direct->is_busy) {
        direct_free(direct);
    }
}
