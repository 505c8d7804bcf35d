/* SPDX-License-Identifier: Apache-2.0
 *
 * tls.c - the one adapter over OpenSSL's TLS: contexts, and TLS states over connected sockets.
 *
 * OpenSSL reads and writes the descriptor through a small BIO of ours, so that a broken connection
 * raises no signal and a drained socket is not asked twice. Client sessions are kept by loop: they
 * need no lock, and a session is only ever offered again under the very key that it was made under.
 */
#include "edge/tls.h"

#include "core/list.h"
#include "core/map.h"
#include "core/str.h"
#include "edge/errno_priv.h"
#include "edge/tls_priv.h"

#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <sys/socket.h>
#include <unistd.h>

#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>

enum {
    RECORD_BYTES_MAX = 16384,   /* RFC 8446 5.1 */
    WRITE_RECORD_COUNT_MAX = 8, /* a call, so that one connection does not hold the loop */
    CERT_COUNT_MAX = 1024,      /* a listener */
    CHAIN_DEPTH_MAX = 10,       /* public chains have two to four */
    SESSION_KEY_BYTES_MAX = 768
};

struct tls_context {
    _Atomic uint32_t refs;
    uint64_t id; /* never reused, unlike an address */
    bool is_server;
    BIO_METHOD *bio_method;
    uint32_t ctx_count;
    SSL_CTX *ctx[]; /* the first is the default */
};

struct tls_session {
    struct list link; /* least recently used first */
    uint64_t hash;
    SSL_SESSION *session;
    size_t key_len;
    char key[];
};

struct tls_loop {
    struct map by_hash; /* key hash → struct tls_session */
    struct list lru;
    char record[RECORD_BYTES_MAX]; /* small pieces are gathered here, to share one record */
};

struct tls_conn {
    SSL *ssl;
    struct tls_context *context;
    struct tls_loop *loop;
    uint32_t waits;
    enum err late; /* came behind bytes that were handed out first */
    bool is_verify_required;
    bool has_name;     /* the certificate was compared with a name */
    bool is_done;      /* handshake finished */
    bool is_dead;      /* a fatal error: OpenSSL must not be called again */
    char *session_key; /* NULL: do not keep sessions */
};

/* ---- the descriptor ---- */

static int bio_read(BIO *bio, char *dst, int cap)
{
    struct tls_io *io = BIO_get_data(bio);
    BIO_clear_retry_flags(bio);
    if (io->is_drained) {
        BIO_set_retry_read(bio);
        return -1;
    }
    ssize_t got;
    do {
        got = recv(io->fd, dst, (size_t)cap, 0);
    } while (got < 0 && errno == EINTR);
    if (got < 0 && errno == EAGAIN) {
        BIO_set_retry_read(bio);
    }
    io->is_drained = got > 0 && got < cap;
    return (int)got;
}

static int bio_write(BIO *bio, const char *src, int len)
{
    struct tls_io *io = BIO_get_data(bio);
    BIO_clear_retry_flags(bio);
    ssize_t put;
    do {
        put = send(io->fd, src, (size_t)len, MSG_NOSIGNAL);
    } while (put < 0 && errno == EINTR);
    if (put < 0 && errno == EAGAIN) {
        BIO_set_retry_write(bio);
    }
    return (int)put;
}

static long bio_ctrl(BIO *bio, int command, long number, void *ptr)
{
    (void)bio, (void)number, (void)ptr;
    return command == BIO_CTRL_FLUSH; /* nothing is buffered; no other request is known */
}

static BIO_METHOD *bio_method_new(void)
{
    BIO_METHOD *method = BIO_meth_new(BIO_TYPE_SOURCE_SINK | BIO_get_new_index(), "outpost socket");
    if (method != NULL) {
        BIO_meth_set_read(method, bio_read);
        BIO_meth_set_write(method, bio_write);
        BIO_meth_set_ctrl(method, bio_ctrl);
    }
    return method;
}

/* ---- contexts ---- */

/* The first queued error is the cause; what follows it are the callers it passed. */
static const char *openssl_words(void)
{
    unsigned long code = ERR_get_error();
    const char *words = code != 0 ? ERR_reason_error_string(code) : NULL;
    ERR_clear_error();
    return words != NULL ? words : "unknown TLS error";
}

static struct tls_context *context_new(bool is_server, uint32_t ctx_count)
{
    static _Atomic uint64_t last_id;
    struct tls_context *context = mem_new(sizeof *context + ctx_count * sizeof(SSL_CTX *));
    BIO_METHOD *method = bio_method_new();
    if (context == NULL || method == NULL) {
        mem_free(context);
        BIO_meth_free(method);
        return NULL;
    }
    atomic_init(&context->refs, 1);
    context->id = atomic_fetch_add(&last_id, 1) + 1;
    context->is_server = is_server;
    context->bio_method = method;
    return context;
}

struct tls_context *tls_take(struct tls_context *context)
{
    if (context != NULL) {
        atomic_fetch_add(&context->refs, 1);
    }
    return context;
}

void tls_give(struct tls_context *context)
{
    if (context == NULL || atomic_fetch_sub(&context->refs, 1) != 1) {
        return;
    }
    for (uint32_t i = 0; i < context->ctx_count; i++) {
        SSL_CTX_free(context->ctx[i]);
    }
    BIO_meth_free(context->bio_method);
    mem_free(context);
}

static SSL_CTX *ctx_new(const SSL_METHOD *method)
{
    SSL_CTX *ctx = SSL_CTX_new(method);
    if (ctx == NULL) {
        return NULL;
    }
    SSL_CTX_set_min_proto_version(ctx, TLS1_2_VERSION); /* RFC 8996 */
    SSL_CTX_set_options(ctx, SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION);
    SSL_CTX_set_mode(ctx, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER |
                                  SSL_MODE_RELEASE_BUFFERS);
    SSL_CTX_set_read_ahead(ctx, 1); /* one recv a flight instead of two a record */
    SSL_CTX_set_verify_depth(ctx, CHAIN_DEPTH_MAX);
    return ctx;
}

/* RFC 7301; ALPACA (CVE-2021-3618): who speaks another protocol is refused, by alert 120. */
static int choose_alpn(SSL *ssl, const unsigned char **out, unsigned char *out_len,
        const unsigned char *offered, unsigned int offered_len, void *arg)
{
    (void)ssl, (void)arg;
    for (unsigned int at = 0; at < offered_len; at += 1U + offered[at]) {
        if (offered[at] == 4 && at + 4 < offered_len && memcmp(offered + at + 1, "smtp", 4) == 0) {
            *out = offered + at + 1;
            *out_len = 4;
            return SSL_TLSEXT_ERR_OK;
        }
    }
    return SSL_TLSEXT_ERR_ALERT_FATAL;
}

/* The first certificate that holds the name asked for; else the default stays (RFC 6066 3). */
static int choose_certificate(SSL *ssl, int *alert, void *arg)
{
    (void)alert;
    struct tls_context *context = arg;
    const char *name = SSL_get_servername(ssl, TLSEXT_NAMETYPE_host_name);
    for (uint32_t i = 0; name != NULL && i < context->ctx_count; i++) {
        X509 *cert = SSL_CTX_get0_certificate(context->ctx[i]);
        if (X509_check_host(cert, name, 0, X509_CHECK_FLAG_NEVER_CHECK_SUBJECT, NULL) == 1) {
            SSL_set_SSL_CTX(ssl, context->ctx[i]);
            return SSL_TLSEXT_ERR_OK;
        }
    }
    return SSL_TLSEXT_ERR_NOACK;
}

static int no_passphrase(char *dst, int cap, int is_writing, void *arg)
{
    (void)dst, (void)cap, (void)is_writing, (void)arg;
    return -1; /* or OpenSSL would ask on the terminal */
}

/* OpenSSL's own words for a missing file do not say so plainly. */
static enum err check_readable(const char *path, struct why *why)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        int number = errno;
        why_set(why, "%s: %s", path, errno_words(number));
        return err_from_errno(number);
    }
    close(fd);
    return OK;
}

static enum err load_cert(SSL_CTX *ctx, const struct tls_cert *cert, struct why *why)
{
    enum err err = check_readable(cert->cert_path, why);
    if (err == OK) {
        err = check_readable(cert->key_path, why);
    }
    if (err != OK) {
        return err;
    }
    ERR_clear_error();
    if (SSL_CTX_use_certificate_chain_file(ctx, cert->cert_path) != 1) {
        why_set(why, "%s: no usable PEM certificate: %s", cert->cert_path, openssl_words());
        return E_SYNTAX;
    }
    if (SSL_CTX_use_PrivateKey_file(ctx, cert->key_path, SSL_FILETYPE_PEM) != 1) {
        why_set(why, "%s: no usable PEM key for %s: %s", cert->key_path, cert->cert_path,
                openssl_words());
        return E_SYNTAX;
    }
    return OK;
}

static enum err server_ctx_new(struct tls_context *context, const struct tls_cert *cert,
        SSL_CTX **ret_ctx, struct why *why)
{
    SSL_CTX *ctx = ctx_new(TLS_server_method());
    if (ctx == NULL) {
        return E_NOMEM;
    }
    SSL_CTX_set_options(ctx, SSL_OP_CIPHER_SERVER_PREFERENCE);
    SSL_CTX_set_dh_auto(ctx, 1);
    SSL_CTX_set_num_tickets(ctx, 1);
    SSL_CTX_set_session_cache_mode(ctx, SSL_SESS_CACHE_OFF); /* tickets hold all state */
    /* A ticket of one listener is no ticket of another. */
    SSL_CTX_set_session_id_context(ctx, (const unsigned char *)&context->id, sizeof context->id);
    SSL_CTX_set_alpn_select_cb(ctx, choose_alpn, NULL);
    SSL_CTX_set_tlsext_servername_callback(ctx, choose_certificate);
    SSL_CTX_set_tlsext_servername_arg(ctx, context);
    SSL_CTX_set_default_passwd_cb(ctx, no_passphrase);
    enum err err = load_cert(ctx, cert, why);
    if (err != OK) {
        SSL_CTX_free(ctx);
        return err;
    }
    *ret_ctx = ctx;
    return OK;
}

enum err tls_server_open(const struct tls_cert *certs, uint32_t cert_count,
        struct tls_context **ret_context, struct why *why)
{
    if (cert_count == 0 || cert_count > CERT_COUNT_MAX) {
        why_set(why, "a TLS listener takes 1 to %d certificates", CERT_COUNT_MAX);
        return E_USAGE;
    }
    struct tls_context *context = context_new(true, cert_count);
    if (context == NULL) {
        return E_NOMEM;
    }
    for (uint32_t i = 0; i < cert_count; i++) {
        enum err err = server_ctx_new(context, &certs[i], &context->ctx[i], why);
        if (err != OK) {
            tls_give(context);
            return err;
        }
        context->ctx_count = i + 1;
    }
    *ret_context = context;
    return OK;
}

static int keep_session(SSL *ssl, SSL_SESSION *session);

enum err tls_client_open(const char *ca_path, struct tls_context **ret_context, struct why *why)
{
    enum err err = ca_path != NULL ? check_readable(ca_path, why) : OK;
    if (err != OK) {
        return err;
    }
    struct tls_context *context = context_new(false, 1);
    SSL_CTX *ctx = context != NULL ? ctx_new(TLS_client_method()) : NULL;
    if (ctx == NULL) {
        tls_give(context);
        return E_NOMEM;
    }
    context->ctx[0] = ctx;
    context->ctx_count = 1;
    SSL_CTX_set_session_cache_mode(ctx, SSL_SESS_CACHE_CLIENT | SSL_SESS_CACHE_NO_INTERNAL);
    SSL_CTX_sess_set_new_cb(ctx, keep_session);
    ERR_clear_error();
    int is_loaded = ca_path != NULL ? SSL_CTX_load_verify_locations(ctx, ca_path, NULL)
                                    : SSL_CTX_set_default_verify_paths(ctx);
    if (is_loaded != 1) {
        why_set(why, "%s: no usable PEM certificates: %s",
                ca_path != NULL ? ca_path : "the system's trust store", openssl_words());
        tls_give(context);
        return E_SYNTAX;
    }
    *ret_context = context;
    return OK;
}

/* ---- client sessions of one loop ---- */

struct tls_loop *tls_loop_new(void)
{
    struct tls_loop *loop = mem_new(sizeof *loop);
    if (loop != NULL) {
        list_init(&loop->lru);
    }
    return loop;
}

static void session_drop(struct tls_loop *loop, struct tls_session *entry)
{
    map_del_value(&loop->by_hash, entry->hash, (uint64_t)(uintptr_t)entry);
    list_del(&entry->link);
    SSL_SESSION_free(entry->session);
    mem_free(entry);
}

void tls_loop_free(struct tls_loop *loop)
{
    if (loop == NULL) {
        return;
    }
    while (!list_is_empty(&loop->lru)) {
        session_drop(loop, CONTAINER_OF(loop->lru.next, struct tls_session, link));
    }
    map_done(&loop->by_hash);
    mem_free(loop);
}

static struct tls_session *session_find(struct tls_loop *loop, struct str key)
{
    uint64_t hash = str_hash(key, 0), value;
    for (uint32_t at = 0; map_walk_key(&loop->by_hash, hash, &at, &value);) {
        struct tls_session *entry = (struct tls_session *)(uintptr_t)value;
        if (str_eq(str_of(entry->key, entry->key_len), key)) {
            return entry;
        }
    }
    return NULL;
}

static bool session_add(struct tls_loop *loop, struct str key, SSL_SESSION *session)
{
    struct tls_session *entry = mem_new(sizeof *entry + key.len);
    if (entry == NULL) {
        return false;
    }
    entry->hash = str_hash(key, 0);
    if (map_add(&loop->by_hash, entry->hash, (uint64_t)(uintptr_t)entry) != OK) {
        mem_free(entry);
        return false;
    }
    entry->session = session;
    entry->key_len = key.len;
    memcpy(entry->key, key.ptr, key.len);
    list_add_last(&loop->lru, &entry->link);
    return true;
}

/* OpenSSL has a new session of a client; 1: we keep the reference. */
static int keep_session(SSL *ssl, SSL_SESSION *session)
{
    struct tls_conn *conn = SSL_get_app_data(ssl);
    if (conn == NULL || conn->session_key == NULL) {
        return 0;
    }
    struct tls_loop *loop = conn->loop;
    struct str key = str_from_c(conn->session_key);
    struct tls_session *old = session_find(loop, key);
    if (old != NULL) {
        session_drop(loop, old);
    } else if (map_count(&loop->by_hash) >= TLS_CACHE_COUNT_MAX) {
        session_drop(loop, CONTAINER_OF(loop->lru.next, struct tls_session, link));
    }
    return session_add(loop, key, session);
}

static void offer_session(struct tls_conn *conn)
{
    struct tls_session *entry = session_find(conn->loop, str_from_c(conn->session_key));
    if (entry != NULL) {
        list_del(&entry->link);
        list_add_last(&conn->loop->lru, &entry->link);
        (void)SSL_set_session(conn->ssl, entry->session); /* else a full handshake */
    }
}

/* ---- one TLS state ---- */

/* Context, strictness and name are part of the key: a session made under a weaker level must not
 * be resumed under a stronger one. Too long: no resumption. */
static enum err make_session_key(struct tls_conn *conn, const struct net_tls_params *params)
{
    char key[SESSION_KEY_BYTES_MAX];
    size_t len = fmt(key, sizeof key, "%llu %d %s %s", (unsigned long long)conn->context->id,
            params->verify_required, params->server_name != NULL ? params->server_name : "",
            params->session_key);
    if (len >= sizeof key - 1) {
        return OK;
    }
    conn->session_key = mem_new(len + 1);
    if (conn->session_key == NULL) {
        return E_NOMEM;
    }
    memcpy(conn->session_key, key, len + 1);
    return OK;
}

static enum err set_name(struct tls_conn *conn, const char *name)
{
    X509_VERIFY_PARAM *param = SSL_get0_param(conn->ssl);
    conn->has_name = true;
    if (X509_VERIFY_PARAM_set1_ip_asc(param, name) == 1) {
        return OK; /* an address has no SNI (RFC 6066 3) */
    }
    /* RFC 6125 6.4.4, RFC 8461 4.1: names are those of subjectAltName only. */
    SSL_set_hostflags(
            conn->ssl, X509_CHECK_FLAG_NEVER_CHECK_SUBJECT | X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS);
    if (SSL_set1_host(conn->ssl, name) != 1 ||
            SSL_set_tlsext_host_name(conn->ssl, (char *)(uintptr_t)name) != 1) {
        ERR_clear_error();
        return E_USAGE;
    }
    return OK;
}

static enum err client_begin(struct tls_conn *conn, const struct net_tls_params *params)
{
    SSL_set_connect_state(conn->ssl);
    conn->is_verify_required = params->verify_required;
    if (params->verify_required) {
        SSL_set_verify(conn->ssl, SSL_VERIFY_PEER, NULL);
    } else {
        /* The chain is checked all the same and reported. Weak keys beat clear text (RFC 7435). */
        SSL_set_verify(conn->ssl, SSL_VERIFY_NONE, NULL);
        SSL_set_security_level(conn->ssl, 0);
    }
    enum err err = params->server_name != NULL ? set_name(conn, params->server_name) : OK;
    if (err == OK && params->session_key != NULL) {
        err = make_session_key(conn, params);
    }
    if (err == OK && conn->session_key != NULL) {
        offer_session(conn);
    }
    return err;
}

static enum err attach(struct tls_conn *conn, struct tls_io *io)
{
    conn->ssl = SSL_new(conn->context->ctx[0]);
    BIO *bio = conn->ssl != NULL ? BIO_new(conn->context->bio_method) : NULL;
    if (bio == NULL) {
        ERR_clear_error();
        return E_NOMEM;
    }
    BIO_set_data(bio, io);
    BIO_set_init(bio, 1);
    SSL_set_bio(conn->ssl, bio, bio);
    SSL_set_app_data(conn->ssl, conn);
    return OK;
}

enum err tls_conn_new(struct tls_context *context, struct tls_loop *loop,
        const struct net_tls_params *params, struct tls_io *io, struct tls_conn **ret_conn)
{
    if (context == NULL || context->is_server != params->is_server) {
        return E_USAGE;
    }
    struct tls_conn *conn = mem_new(sizeof *conn);
    if (conn == NULL) {
        return E_NOMEM;
    }
    conn->context = tls_take(context);
    conn->loop = loop;
    enum err err = attach(conn, io);
    if (err == OK && params->is_server) {
        SSL_set_accept_state(conn->ssl);
    } else if (err == OK) {
        err = client_begin(conn, params);
    }
    if (err != OK) {
        tls_conn_free(conn);
        return err;
    }
    *ret_conn = conn;
    return OK;
}

void tls_conn_free(struct tls_conn *conn)
{
    if (conn == NULL) {
        return;
    }
    if (conn->ssl != NULL) {
        if (conn->is_done && !conn->is_dead) {
            /* A peer that just hangs up is no attack on the session: it may be resumed. */
            SSL_set_shutdown(conn->ssl, SSL_SENT_SHUTDOWN | SSL_RECEIVED_SHUTDOWN);
        }
        SSL_free(conn->ssl);
    }
    ERR_clear_error();
    tls_give(conn->context);
    mem_free(conn->session_key);
    mem_free(conn);
}

uint32_t tls_conn_waits(const struct tls_conn *conn)
{
    return conn->waits;
}

/* What an OpenSSL call that returned result ≤ 0 means; sets waits. */
static enum err ssl_outcome(struct tls_conn *conn, int result)
{
    switch (SSL_get_error(conn->ssl, result)) {
    case SSL_ERROR_WANT_READ:
        conn->waits = NET_WANT_READ;
        return E_AGAIN;
    case SSL_ERROR_WANT_WRITE:
        conn->waits = NET_WANT_WRITE;
        return E_AGAIN;
    case SSL_ERROR_ZERO_RETURN:
        return E_EOF;
    case SSL_ERROR_SSL:
        conn->is_dead = true;
        return E_REFUSED;
    default:
        conn->is_dead = true;
        return E_IO;
    }
}

static bool is_verified(const struct tls_conn *conn)
{
    return !conn->context->is_server && conn->has_name &&
           SSL_get_verify_result(conn->ssl) == X509_V_OK &&
           SSL_get0_peer_certificate(conn->ssl) != NULL;
}

static const char *verify_words(const struct tls_conn *conn)
{
    long result = SSL_get_verify_result(conn->ssl);
    if (result != X509_V_OK) {
        return X509_verify_cert_error_string(result);
    }
    return conn->has_name ? "no certificate" : "no name to verify";
}

static void handshake_why(const struct tls_conn *conn, enum err err, int number, struct why *why)
{
    bool is_cert_bad = !conn->context->is_server && conn->is_verify_required &&
                       SSL_get_verify_result(conn->ssl) != X509_V_OK;
    if (is_cert_bad) {
        why_set(why, "certificate not trusted: %s", verify_words(conn));
    } else if (err == E_REFUSED) {
        why_set(why, "TLS handshake failed: %s", openssl_words());
    } else {
        why_set(why, "connection lost during TLS handshake: %s",
                number != 0 ? errno_words(number) : "closed by the peer");
    }
}

enum err tls_conn_handshake(struct tls_conn *conn, struct why *why)
{
    ERR_clear_error();
    errno = 0;
    conn->waits = 0;
    int result = SSL_do_handshake(conn->ssl);
    int number = errno;
    if (result == 1) {
        conn->is_done = true;
        /* A resumed session checks no chain again; its result came with it. */
        if (conn->is_verify_required && !is_verified(conn)) {
            why_set(why, "certificate not trusted: %s", verify_words(conn));
            return E_REFUSED;
        }
        return OK;
    }
    enum err err = ssl_outcome(conn, result);
    if (err == E_AGAIN) {
        return E_AGAIN;
    }
    err = err == E_EOF ? E_IO : err;
    handshake_why(conn, err, number, why);
    ERR_clear_error();
    return err;
}

enum err tls_conn_read(struct tls_conn *conn, void *dst, size_t cap, size_t *ret_len)
{
    conn->waits = 0;
    if (conn->late != OK || conn->is_dead) {
        return conn->late != OK ? conn->late : E_IO;
    }
    ERR_clear_error();
    size_t len = 0;
    enum err err = OK;
    while (err == OK && len < cap) { /* several records of one flight in one call */
        size_t got = 0;
        int result = SSL_read_ex(conn->ssl, (char *)dst + len, cap - len, &got);
        if (result == 1) {
            len += got;
            if (SSL_has_pending(conn->ssl) == 0) {
                break;
            }
        } else {
            err = ssl_outcome(conn, result);
        }
    }
    ERR_clear_error();
    err = err == E_REFUSED ? E_IO : err;
    if (len == 0) {
        return err;
    }
    conn->late = err == E_AGAIN ? OK : err;
    *ret_len = len;
    return OK;
}

bool tls_conn_has_pending(const struct tls_conn *conn)
{
    /* A part of a record waits for the kernel: the last call said so. */
    return conn->late != OK || (conn->waits == 0 && SSL_has_pending(conn->ssl) == 1);
}

struct iov_at {
    const struct iovec *iov;
    uint32_t count;
    size_t skip; /* bytes of iov[0] already taken */
};

static void iov_advance(struct iov_at *at, size_t len)
{
    len += at->skip;
    while (at->count > 0 && len >= at->iov->iov_len) {
        len -= at->iov->iov_len;
        at->iov++;
        at->count--;
    }
    at->skip = len;
}

/* The next record's bytes: a long piece as it lies, short ones gathered in room. */
static struct str next_record(struct iov_at at, char *room)
{
    struct str first = { (const char *)at.iov->iov_base + at.skip, at.iov->iov_len - at.skip };
    if (at.count == 1 || first.len >= RECORD_BYTES_MAX) {
        first.len = first.len < RECORD_BYTES_MAX ? first.len : RECORD_BYTES_MAX;
        return first;
    }
    size_t len = 0;
    while (at.count > 0 && len < RECORD_BYTES_MAX) {
        size_t part = at.iov->iov_len - at.skip;
        part = part < RECORD_BYTES_MAX - len ? part : RECORD_BYTES_MAX - len;
        if (part > 0) {
            memcpy(room + len, (const char *)at.iov->iov_base + at.skip, part);
        }
        len += part;
        iov_advance(&at, part);
    }
    return str_of(room, len);
}

enum err tls_conn_write(
        struct tls_conn *conn, const struct iovec *iov, uint32_t iov_count, size_t *ret_len)
{
    struct iov_at at = { iov, iov_count, 0 };
    size_t done = 0;
    enum err err = conn->is_dead ? E_IO : OK;
    conn->waits = 0;
    ERR_clear_error();
    iov_advance(&at, 0);
    for (int i = 0; i < WRITE_RECORD_COUNT_MAX && err == OK && at.count > 0; i++) {
        struct str record = next_record(at, conn->loop->record);
        size_t put = 0;
        int result = SSL_write_ex(conn->ssl, record.ptr, record.len, &put);
        if (result == 1) {
            done += put;
            iov_advance(&at, put);
        } else {
            err = ssl_outcome(conn, result);
        }
    }
    ERR_clear_error();
    if (err != OK && err != E_AGAIN) {
        return E_IO; /* E_EOF too: nothing is written behind a close_notify of ours */
    }
    if (err == E_AGAIN && done == 0) {
        return E_AGAIN;
    }
    *ret_len = done;
    return OK;
}

bool tls_conn_peer_sha256(const struct tls_conn *conn, uint8_t ret_sha256[32])
{
    X509 *cert = SSL_get0_peer_certificate(conn->ssl);
    return cert != NULL && X509_digest(cert, EVP_sha256(), ret_sha256, NULL) == 1;
}

void tls_conn_describe(const struct tls_conn *conn, struct net_info *ret_info)
{
    ret_info->is_tls = true;
    ret_info->is_verified = is_verified(conn);
    ret_info->is_resumed = SSL_session_reused(conn->ssl) == 1;
    fmt(ret_info->tls_version, sizeof ret_info->tls_version, "%s", SSL_get_version(conn->ssl));
    fmt(ret_info->tls_cipher, sizeof ret_info->tls_cipher, "%s", SSL_get_cipher_name(conn->ssl));
    ret_info->tls_bits = (uint16_t)SSL_get_cipher_bits(conn->ssl, NULL); /* at most 256 */
    if (!conn->context->is_server && !ret_info->is_verified) {
        why_set(&ret_info->why, "%s", verify_words(conn));
    }
}

void tls_conn_shutdown(struct tls_conn *conn)
{
    if (conn->is_done && !conn->is_dead) {
        ERR_clear_error();
        (void)SSL_shutdown(conn->ssl); /* a full socket loses it; the peer then sees a bare end */
        ERR_clear_error();
    }
}
