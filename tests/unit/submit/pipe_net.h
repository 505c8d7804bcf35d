/* SPDX-License-Identifier: Apache-2.0
 *
 * pipe_net.h - a struct net in memory: the test is the other end of every connection.
 *
 * Events are told at once, from within the call that causes them. TLS passes bytes through: the
 * test says when a handshake is done.
 */
#ifndef OUTPOST_TESTS_PIPE_NET_H
#define OUTPOST_TESTS_PIPE_NET_H

#include "core/buf.h"
#include "core/list.h"
#include "edge/net.h"

struct pipe_conn {
    struct net_conn base;
    struct list link;
    struct ip_port remote;
    net_handler *handler;
    void *ctx;
    uint32_t wants;
    struct buf in;     /* from the test, not read yet */
    struct buf out;    /* written by the server, not looked at yet */
    size_t read_max;   /* bytes of one read; 0: no limit */
    size_t write_room; /* bytes that may be written now */
    bool is_in_ended, is_reset;
    bool is_handshaking, is_tls;
    bool is_closed, was_aborted; /* by the server */
    uint32_t write_count;
};

struct pipe_listener {
    struct net_listener base;
    struct list link;
    struct ip_port at;
    net_accepted *accepted;
    void *ctx;
};

struct pipe_net {
    struct net base;
    struct list conns, listeners;
    enum err listen_err; /* what the next listen answers, if not OK */
};

void pipe_net_init(struct pipe_net *net);
void pipe_net_done(struct pipe_net *net); /* frees connections; the test looked at them until now */
/* NULL: nobody listens there. The connection may be closed already. */
struct pipe_conn *pipe_connect(struct pipe_net *net, struct str to, struct str from);
/* As pipe_connect, with bytes there before the server greets. */
struct pipe_conn *pipe_connect_early(
        struct pipe_net *net, struct str to, struct str from, struct str bytes);
void pipe_send(struct pipe_conn *conn, struct str bytes);
void pipe_end(struct pipe_conn *conn);   /* FIN */
void pipe_reset(struct pipe_conn *conn); /* RST */
void pipe_tls(struct pipe_conn *conn, bool is_good);
void pipe_make_room(struct pipe_conn *conn, size_t bytes);
void pipe_poll(struct pipe_net *net); /* tells what was not wanted when it happened */
uint32_t pipe_listener_count(const struct pipe_net *net);

#endif
