/* SPDX-License-Identifier: Apache-2.0
 *
 * tls_priv.h - what edge/net needs of edge/tls: one TLS state over a connected socket.
 *
 * The TLS state reads and writes the descriptor itself, ahead of what it is asked for, so nobody
 * else may touch the descriptor once it exists. It belongs to the thread of its connection.
 */
#ifndef OUTPOST_EDGE_TLS_PRIV_H
#define OUTPOST_EDGE_TLS_PRIV_H

#include "edge/net.h"
#include "edge/tls.h"

enum { TLS_CACHE_COUNT_MAX = 1024 }; /* resumable sessions a loop; the least recently used goes */

/* Shared between the connection and its TLS state. */
struct tls_io {
    int fd;
    /* The last read gave less than asked, and readiness will tell of more: do not ask again. */
    bool is_drained;
};

struct tls_loop; /* what TLS keeps for one loop: resumable client sessions, room for one record */
MUST_USE struct tls_loop *tls_loop_new(void);
void tls_loop_free(struct tls_loop *loop); /* NULL is fine */

struct tls_conn;
/* Keeps io, loop and a reference on context. E_NOMEM; E_USAGE: a server's context for a client. */
MUST_USE enum err tls_conn_new(struct tls_context *context, struct tls_loop *loop,
        const struct net_tls_params *params, struct tls_io *io, struct tls_conn **ret_conn);
void tls_conn_free(struct tls_conn *conn); /* NULL is fine */

/* What the last call could not go on without, as enum net_want (TLS may have to write in order to
 * read); 0: nothing. Set after E_AGAIN, and after a write that took a part. */
uint32_t tls_conn_waits(const struct tls_conn *conn);
/* OK: done. E_AGAIN. E_REFUSED, E_IO with why: failed for good. */
MUST_USE enum err tls_conn_handshake(struct tls_conn *conn, struct why *why);
/* As net_read; E_EOF: close_notify. */
MUST_USE enum err tls_conn_read(struct tls_conn *conn, void *dst, size_t cap, size_t *ret_len);
/* As net_write. After E_AGAIN the same bytes must be offered again, perhaps with more behind. */
MUST_USE enum err tls_conn_write(
        struct tls_conn *conn, const struct iovec *iov, uint32_t iov_count, size_t *ret_len);
/* Bytes lie in the TLS state that readiness of the descriptor will not tell of. */
bool tls_conn_has_pending(const struct tls_conn *conn);
void tls_conn_describe(const struct tls_conn *conn, struct net_info *ret_info);
bool tls_conn_peer_sha256(const struct tls_conn *conn, uint8_t ret_sha256[32]);
/* Sends close_notify where the state allows; does not wait. */
void tls_conn_shutdown(struct tls_conn *conn);

#endif
