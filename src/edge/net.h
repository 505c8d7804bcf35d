/* SPDX-License-Identifier: Apache-2.0
 *
 * net.h - sockets and TLS of one session loop: readiness in, bytes through.
 *
 * A `struct net` belongs to one thread. Nothing blocks. A connection tells its handler of events;
 * reading and writing is done by the owner with net_read and net_write, straight from and into the
 * owner's memory. After net_start_tls both go through TLS, transparently. A connection lives until
 * net_close; after that no event comes for it. Handlers may close any connection, also their own.
 */
#ifndef OUTPOST_EDGE_NET_H
#define OUTPOST_EDGE_NET_H

#include "core/ip.h"

#include <sys/uio.h>

struct net;
struct net_conn;
struct net_listener;
struct tls_context; /* edge/tls.h */

enum net_event {
    NET_CONNECTED, /* net_connect succeeded */
    NET_READABLE,  /* wanted, and something (or the end) is there */
    NET_WRITABLE,  /* wanted, and there is room */
    NET_TLS_DONE,  /* handshake finished; see net_info */
    NET_FAILED     /* connect or handshake failed; the reason is in net_info.why; close it */
};
enum net_want { NET_WANT_READ = 1, NET_WANT_WRITE = 2 };

typedef void net_handler(void *ctx, struct net_conn *conn, enum net_event event);
typedef void net_accepted(void *ctx, struct net_conn *conn); /* set a handler, or close it */

struct net_tls_params {
    bool is_server;
    const char *server_name; /* client: SNI and the name to verify; NUL-terminated; copied */
    bool verify_required;    /* client: handshake fails without a valid chain and name */
    const char *session_key; /* client: sessions are reused under this key only; NULL: none */
};

struct net_info {
    struct ip_port local, remote;
    bool is_tls;
    bool is_verified;     /* client: chain and name were good */
    bool is_resumed;      /* a session of before was taken up again */
    char tls_version[16]; /* "TLSv1.3" */
    char tls_cipher[48];
    uint16_t tls_bits;
    enum err err;   /* why NET_FAILED came: E_REFUSED, E_TIMEOUT, E_IO (unreachable), ... */
    struct why why; /* its words; or why a TLS client is not is_verified */
};

struct net_ops {
    /* E_BUSY: address in use; E_DENIED; E_NOT_FOUND: not an address of this host. */
    enum err (*listen)(struct net *net, const struct ip_port *at, bool is_shared_port,
            net_accepted *accepted, void *ctx, struct net_listener **ret_listener, struct why *why);
    /* Stops or resumes accepting (back-pressure); the backlog fills meanwhile. */
    void (*pause)(struct net_listener *listener, bool is_paused);
    void (*unlisten)(struct net_listener *listener);
    /* local family IP_NONE: the system chooses. Answers by NET_CONNECTED or NET_FAILED, later. */
    enum err (*connect)(struct net *net, const struct ip *local, const struct ip_port *remote,
            net_handler *handler, void *ctx, struct net_conn **ret_conn, struct why *why);
    void (*set_handler)(struct net_conn *conn, net_handler *handler, void *ctx);
    void (*want)(struct net_conn *conn, uint32_t wants);
    /* OK with *ret_len > 0, E_AGAIN, E_EOF (clean end), E_IO (reset; under TLS also an end without
     * close_notify). After E_EOF and E_IO no NET_READABLE comes any more. cap > 0. */
    enum err (*read)(struct net_conn *conn, void *dst, size_t cap, size_t *ret_len);
    /* OK with *ret_len > 0 (perhaps a part), E_AGAIN, E_IO. After E_AGAIN offer the same bytes
     * again (more may follow them, and they may have moved): TLS has already enciphered some. */
    enum err (*write)(
            struct net_conn *conn, const struct iovec *iov, uint32_t iov_count, size_t *ret_len);
    /* Answers by NET_TLS_DONE or NET_FAILED. Server: bytes read before are the caller's violation
     * to notice; nothing unread may be in the owner's buffer. context is counted and kept. */
    enum err (*start_tls)(struct net_conn *conn, struct tls_context *context,
            const struct net_tls_params *params);
    void (*info)(struct net_conn *conn, struct net_info *ret_info);
    void (*close)(struct net_conn *conn, bool is_abort); /* abort: RST instead of FIN */
    /* One timer a net: replaces the last; deadline 0: off. */
    void (*timer)(struct net *net, struct mono deadline, void (*fired)(void *ctx), void *ctx);
};
struct net {
    const struct net_ops *ops;
};
struct net_conn {
    struct net *net;
};
struct net_listener {
    struct net *net;
};

/* The real one, over libuv: its loop runs on the calling thread in net_run_real. */
struct clock;
MUST_USE enum err net_open_real(struct clock *clock, struct net **ret_net, struct why *why);
/* Runs until net_stop_real. on_wake is called on this thread after net_wake_real (any thread). */
void net_run_real(struct net *net, void (*on_wake)(void *ctx), void *ctx);
void net_wake_real(struct net *net);
void net_stop_real(struct net *net); /* from the loop's own thread */
/* For a loop within somebody else's: wait until this descriptor is readable, at most so long (0:
 * not at all; -1: for ever), then let net_step_real do what is due, without blocking. */
int net_fd_real(struct net *net);
int net_wait_ms_real(struct net *net);
void net_step_real(struct net *net);
/* Watches a foreign descriptor for reading on this loop (the resolver's). */
MUST_USE enum err net_watch_fd_real(
        struct net *net, int fd, void (*readable)(void *ctx), void *ctx);
/* Before the descriptor is closed; fine when not watched, and from within readable. */
void net_unwatch_fd_real(struct net *net, int fd);
/* Takes a listening descriptor that was passed in (systemd) instead of opening one. */
MUST_USE enum err net_adopt_listener_real(struct net *net, int fd, net_accepted *accepted,
        void *ctx, struct net_listener **ret_listener, struct why *why);
/* Where a listener listens: the port that the system chose, where 0 was asked for. */
void net_listener_at_real(struct net_listener *listener, struct ip_port *ret_at);
void net_free_real(struct net *net); /* closes what is left; not from within a handler */
/* SHA-256 of the certificate that the other side of a TLS connection has shown; false: none. */
bool net_peer_sha256_real(struct net_conn *conn, uint8_t ret_sha256[32]);
/* Is this an address of this host, so that a source may bind to it? */
bool net_is_local_address(struct ip ip);

#endif
