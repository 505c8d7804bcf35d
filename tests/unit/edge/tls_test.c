/* SPDX-License-Identifier: Apache-2.0
 *
 * tls_test.c - TLS through the net, against itself and against OpenSSL used directly.
 */
#include "edge/tls.h"

#include "core/str.h"
#include "tests/unit/edge/rig_priv.h"

#include <netinet/in.h>
#include <pthread.h>
#include <sys/socket.h>
#include <unistd.h>

#include <openssl/err.h>
#include <openssl/ssl.h>

#define DATA "tests/data/tls/"

static struct tls_context *server_context(const char *name)
{
    struct tls_context *context = NULL;
    struct why why = { "" };
    char cert[64], key[64];
    fmt(cert, sizeof cert, DATA "%s.pem", name);
    fmt(key, sizeof key, DATA "%s.key", name);
    enum err err = tls_server_open(&(struct tls_cert){ cert, key }, 1, &context, &why);
    CHECK(err == OK, "%s: %s", err_name(err), why.text);
    return context;
}

static struct tls_context *client_context(const char *ca_path)
{
    struct tls_context *context = NULL;
    struct why why = { "" };
    enum err err = tls_client_open(ca_path, &context, &why);
    CHECK(err == OK, "%s: %s", err_name(err), why.text);
    return context;
}

/* What one handshake is asked for, and how the rig ends. */
static struct {
    struct tls_context *server, *client;
    const char *name, *session_key;
    bool verify_required;
    struct str server_text; /* said under TLS */
} ask;

static void handshake_step(struct rig *rig)
{
    if (rig->phase == 0 && rig->client.is_connected && rig->server.conn != NULL) {
        rig->phase = 1;
        side_start_tls(&rig->server, ask.server, true, NULL, false, NULL);
        side_start_tls(
                &rig->client, ask.client, false, ask.name, ask.verify_required, ask.session_key);
    } else if (rig->phase == 1 && rig->client.is_failed) {
        rig_stop(rig);
    } else if (rig->phase == 1 && rig->client.is_tls && rig->server.is_tls) {
        rig->phase = 2;
        side_say(&rig->server, ask.server_text);
        side_say(&rig->client, STR("EHLO x\r\n"));
    }
    if (rig->phase == 2 && side_has(&rig->client, ask.server_text) &&
            side_has(&rig->server, STR("EHLO x\r\n"))) {
        rig->phase = 3;
        side_close(&rig->client, false);
    } else if (rig->phase == 3 && (rig->server.is_eof || rig->server.is_reset)) {
        rig_stop(rig);
    }
}

/* One connection; the client's info and whether the handshake failed. */
static bool handshake(struct net_info *ret_info)
{
    struct rig rig;
    rig_open(&rig, "127.0.0.1:0", handshake_step);
    rig_connect(&rig);
    rig_run(&rig);
    bool is_done = rig.client.is_tls;
    *ret_info = rig.client.info;
    if (is_done) {
        CHECK(rig.server.info.is_tls && !rig.server.info.is_verified);
        CHECK(rig.server.is_eof && !rig.server.is_reset, "no close_notify came");
    }
    rig_close(&rig);
    return is_done;
}

static void ask_for(const char *server, const char *ca_path, const char *name, bool verify_required)
{
    ask.server = server_context(server);
    ask.client = client_context(ca_path);
    ask.name = name;
    ask.session_key = NULL;
    ask.verify_required = verify_required;
    ask.server_text = STR("250 ok\r\n");
}

static void ask_done(void)
{
    tls_give(ask.server);
    tls_give(ask.client);
}

TEST(a_good_certificate_is_verified_and_described)
{
    struct net_info info;
    ask_for("mx", DATA "ca.pem", "mx.lab.example", true);
    CHECK(handshake(&info), "%s", info.why.text);
    CHECK(info.is_tls && info.is_verified && !info.is_resumed);
    CHECK_STR(str_from_c(info.tls_version), STR("TLSv1.3"));
    CHECK(info.tls_bits >= 128 && info.tls_cipher[0] != '\0');
    CHECK_STR(str_from_c(info.why.text), STR(""));
    ask_done();
}

/* H7: what is not good fails where it is required, and is only reported where it is not. */
TEST(a_bad_certificate_fails_only_where_it_must_be_good)
{
    static const struct {
        const char *server, *ca_path, *name, *why;
    } rows[] = {
        { "mx", DATA "ca.pem", "wrong.lab.example", "ostname mismatch" },
        { "cn_only", DATA "ca.pem", "mx.lab.example", "ostname mismatch" },
        { "expired", DATA "ca.pem", "mx.lab.example", "expired" },
        { "mx", DATA "other.pem", "mx.lab.example", "unable to get local issuer" },
        { "mx", DATA "ca.pem", "127.0.0.1", "IP address mismatch" },
        { "mx", DATA "ca.pem", NULL, "no name to verify" },
    };
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        struct net_info info;
        ask_for(rows[i].server, rows[i].ca_path, rows[i].name, true);
        CHECK(!handshake(&info), "row %zu was verified", i);
        CHECK_ERR(info.err, E_REFUSED);
        CHECK(strstr(info.why.text, "certificate not trusted: ") != NULL &&
                        strstr(info.why.text, rows[i].why) != NULL,
                "row %zu: %s", i, info.why.text);
        ask.verify_required = false;
        CHECK(handshake(&info), "row %zu: %s", i, info.why.text);
        CHECK(!info.is_verified, "row %zu", i);
        CHECK(strstr(info.why.text, rows[i].why) != NULL, "row %zu: %s", i, info.why.text);
        ask_done();
    }
}

TEST(sessions_are_resumed_under_their_own_key_only)
{
    struct net_info info;
    ask_for("mx", DATA "ca.pem", "mx.lab.example", true);
    struct rig rig;
    struct tls_context *a = ask.server, *b = server_context("mx");
    /* One net, so that the sessions of its loop live on. */
    static const struct {
        const char *key;
        bool is_other_listener, verify_required, is_resumed;
    } rows[] = {
        { "k1", false, true, false }, { "k1", false, true, true }, { "k2", false, true, false },
        { "k1", false, false, false }, /* made under the stronger level, asked under the weaker */
        { "k1", false, false, true }, { "k1", false, true, true }, { NULL, false, true, false },
        { "k1", true, true, false }, /* B9: the ticket of one listener offered on another */
    };
    rig_open(&rig, "127.0.0.1:0", handshake_step);
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        ask.session_key = rows[i].key;
        ask.server = rows[i].is_other_listener ? b : a;
        ask.verify_required = rows[i].verify_required;
        rig.phase = 0;
        rig.client.is_connected = rig.client.is_tls = rig.server.is_tls = rig.server.is_eof = false;
        rig.server.is_reset = rig.client.is_eof = false;
        buf_clear(&rig.client.in), buf_clear(&rig.client.out), rig.client.out_done = 0;
        buf_clear(&rig.server.in), buf_clear(&rig.server.out), rig.server.out_done = 0;
        rig_connect(&rig);
        rig_run(&rig);
        side_close(&rig.server, false);
        CHECK(rig.client.is_tls, "row %zu: %s", i, rig.client.info.why.text);
        info = rig.client.info;
        CHECK(info.is_resumed == rows[i].is_resumed, "row %zu: resumed %d", i, info.is_resumed);
        CHECK(info.is_verified, "row %zu: %s", i, info.why.text);
    }
    rig_close(&rig);
    ask.server = a;
    tls_give(b);
    ask_done();
}

TEST(the_name_asked_for_chooses_the_certificate)
{
    static const struct tls_cert certs[] = { { DATA "mx.pem", DATA "mx.key" },
        { DATA "other.pem", DATA "other.key" } };
    static const struct {
        const char *name;
        bool is_verified;
    } rows[] = { { "mx.lab.example", true }, { "other.lab.example", true },
        { "alias.lab.example", true }, { "none.lab.example", false },
        { "OTHER.lab.example", true } };
    struct why why;
    ask_for("mx", DATA "ca.pem", NULL, false);
    tls_give(ask.server);
    REQUIRE_OK(tls_server_open(certs, COUNT_OF(certs), &ask.server, &why));
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        struct net_info info;
        ask.name = rows[i].name;
        CHECK(handshake(&info));
        CHECK(info.is_verified == rows[i].is_verified, "%s: %s", rows[i].name, info.why.text);
    }
    ask_done();
}

TEST(files_that_cannot_be_used_are_named)
{
    struct tls_context *context = NULL;
    struct why why = { "" };
    static const struct {
        struct tls_cert cert;
        enum err err;
        const char *why;
    } rows[] = {
        { { DATA "none.pem", DATA "mx.key" }, E_NOT_FOUND, DATA "none.pem" },
        { { DATA "mx.pem", DATA "none.key" }, E_NOT_FOUND, DATA "none.key" },
        { { DATA "mx.key", DATA "mx.key" }, E_SYNTAX, DATA "mx.key" },
        { { DATA "mx.pem", DATA "mx.pem" }, E_SYNTAX, DATA "mx.pem" },
        { { DATA "mx.pem", DATA "other.key" }, E_SYNTAX, "key values mismatch" },
    };
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        CHECK_ERR(tls_server_open(&rows[i].cert, 1, &context, &why), rows[i].err);
        CHECK(strstr(why.text, rows[i].why) != NULL, "row %zu: %s", i, why.text);
    }
    CHECK_ERR(tls_client_open(DATA "none.pem", &context, &why), E_NOT_FOUND);
    CHECK_ERR(tls_client_open(DATA "mx.key", &context, &why), E_SYNTAX);
    CHECK_ERR(tls_server_open(&rows[0].cert, 0, &context, &why), E_USAGE);
    tls_give(NULL);
    CHECK(tls_take(NULL) == NULL);
    context = client_context(NULL); /* the system's trust store, perhaps empty */
    tls_give(tls_take(context));
    tls_give(context);
}

/* ---- much data ---- */

static void bulk_step(struct rig *rig)
{
    if (rig->phase == 0 && rig->client.is_connected && rig->server.conn != NULL) {
        rig->phase = 1;
        side_start_tls(&rig->server, ask.server, true, NULL, false, NULL);
        side_start_tls(&rig->client, ask.client, false, NULL, false, NULL);
    } else if (rig->phase == 1 && rig->client.is_tls && rig->server.is_tls) {
        rig->phase = 2;
        rig->server.conn->net->ops->want(rig->server.conn, 0);
        char *bytes = buf_space(&rig->client.out, 8 << 20);
        CHECK(bytes != NULL);
        for (size_t i = 0; i < 8 << 20; i++) {
            bytes[i] = (char)(i * 31 + i / 65536);
        }
        buf_grew(&rig->client.out, 8 << 20);
        side_say(&rig->client, STR("!"));
        CHECK(rig->client.is_blocked, "8 MB fitted into the socket");
        rig->server.conn->net->ops->want(rig->server.conn, NET_WANT_READ);
    } else if (rig->phase == 2 && rig->server.in.len == rig->client.out.len) {
        rig_stop(rig);
    }
}

static void bulk(size_t read_cap, bool is_lazy)
{
    struct rig rig;
    ask_for("mx", NULL, NULL, false);
    rig_open(&rig, "127.0.0.1:0", bulk_step);
    rig.server.read_cap = read_cap;
    rig.server.is_lazy = is_lazy;
    rig_connect(&rig);
    rig_run(&rig);
    CHECK(side_has(&rig.server, buf_str(&rig.client.out)));
    rig_close(&rig);
    ask_done();
}

TEST(much_data_passes_whole_under_tls)
{
    bulk(65536, false);
}

TEST(what_openssl_has_read_ahead_is_told_of)
{
    bulk(1000, true); /* a record is read in 17 events, none of them from the kernel */
}

static void gather_step(struct rig *rig)
{
    if (rig->phase == 0 && rig->client.is_connected && rig->server.conn != NULL) {
        rig->phase = 1;
        side_start_tls(&rig->server, ask.server, true, NULL, false, NULL);
        side_start_tls(&rig->client, ask.client, false, NULL, false, NULL);
    } else if (rig->phase == 1 && rig->client.is_tls && rig->server.is_tls) {
        rig->phase = 2;
        struct iovec iov[] = { { (char[]){ "250-a\r\n" }, 7 }, { NULL, 0 },
            { (char[]){ "250-b\r\n" }, 7 }, { (char[]){ "250 c\r\n" }, 7 } };
        size_t len = 0;
        REQUIRE_OK(rig->server.conn->net->ops->write(rig->server.conn, iov, 4, &len));
        CHECK_U64(len, 21);
    } else if (rig->phase == 2 && rig->client.in.len >= 21) {
        rig_stop(rig);
    }
}

TEST(small_pieces_share_one_record)
{
    struct rig rig;
    ask_for("mx", NULL, NULL, false);
    rig_open(&rig, "127.0.0.1:0", gather_step);
    rig.client.is_lazy = true;
    rig_connect(&rig);
    rig_run(&rig);
    CHECK(side_has(&rig.client, STR("250-a\r\n250-b\r\n250 c\r\n")));
    rig_close(&rig);
    ask_done();
}

static void misuse_step(struct rig *rig)
{
    if (rig->client.is_connected && rig->server.conn != NULL) {
        struct net_tls_params params = { .is_server = true };
        CHECK_ERR(rig->net->ops->start_tls(rig->client.conn, ask.client, &params), E_USAGE);
        rig_stop(rig);
    }
}

TEST(a_context_of_the_other_kind_is_refused)
{
    struct rig rig;
    ask_for("mx", NULL, NULL, false);
    rig_open(&rig, "127.0.0.1:0", misuse_step);
    rig_connect(&rig);
    rig_run(&rig);
    rig_close(&rig);
    ask_done();
}

/* ---- a peer that uses OpenSSL directly, on a thread of its own ---- */

enum raw_act {
    RAW_ALPN_OTHER,
    RAW_ALPN_SMTP,
    RAW_CLOSE_THEN_CLEAR,
    RAW_GARBAGE,
    RAW_TLS11,
    RAW_CUT
};
struct raw {
    enum raw_act act;
    uint16_t port;
    struct net *net;
    bool is_done; /* handshake */
    int alert;    /* the reason OpenSSL gave */
    char alpn[8];
};

static int raw_socket(uint16_t port)
{
    struct sockaddr_in to = {
        .sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)
    };
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    ASSERT(fd >= 0 && connect(fd, (struct sockaddr *)&to, sizeof to) == 0);
    return fd;
}

static void raw_set_up(const struct raw *raw, SSL *ssl)
{
    static const unsigned char other[] = "\x02h2\x08http/1.1", smtp[] = "\x02h2\x04smtp";
    if (raw->act == RAW_ALPN_OTHER) {
        SSL_set_alpn_protos(ssl, other, sizeof other - 1);
    } else if (raw->act == RAW_ALPN_SMTP) {
        SSL_set_alpn_protos(ssl, smtp, sizeof smtp - 1);
    } else if (raw->act == RAW_TLS11) {
        SSL_set_security_level(ssl, 0);
        SSL_set_min_proto_version(ssl, TLS1_VERSION);
        SSL_set_max_proto_version(ssl, TLS1_1_VERSION);
    }
}

static void raw_talk(struct raw *raw, SSL *ssl, int fd)
{
    const unsigned char *alpn = NULL;
    unsigned int alpn_len = 0;
    raw->is_done = SSL_connect(ssl) == 1;
    raw->alert = ERR_GET_REASON(ERR_peek_error());
    SSL_get0_alpn_selected(ssl, &alpn, &alpn_len);
    if (alpn_len < sizeof raw->alpn && alpn != NULL) {
        memcpy(raw->alpn, alpn, alpn_len);
    }
    if (raw->is_done && raw->act == RAW_CLOSE_THEN_CLEAR) {
        ASSERT(SSL_write(ssl, "DATA\r\n", 6) == 6);
        SSL_shutdown(ssl);
        ASSERT(send(fd, "evil\r\n.\r\n", 9, MSG_NOSIGNAL) == 9);
    } else if (raw->is_done && raw->act == RAW_CUT) {
        ASSERT(SSL_write(ssl, "DATA\r\n", 6) == 6);
    } else if (raw->is_done && raw->act == RAW_GARBAGE) {
        ASSERT(SSL_write(ssl, "DATA\r\n", 6) == 6);
        ASSERT(send(fd, "evil\r\n.\r\n", 9, MSG_NOSIGNAL) == 9);
    }
}

static void *raw_thread(void *ctx)
{
    struct raw *raw = ctx;
    int fd = raw_socket(raw->port);
    SSL_CTX *ssl_ctx = SSL_CTX_new(TLS_client_method());
    SSL *ssl = SSL_new(ssl_ctx);
    SSL_set_fd(ssl, fd);
    raw_set_up(raw, ssl);
    raw_talk(raw, ssl, fd);
    SSL_free(ssl);
    SSL_CTX_free(ssl_ctx);
    shutdown(fd, SHUT_WR);
    char sink[512];
    while (recv(fd, sink, sizeof sink, 0) > 0) { /* the server ends it */
    }
    close(fd);
    return NULL;
}

static void raw_step(struct rig *rig)
{
    if (rig->phase == 0 && rig->server.conn != NULL) {
        rig->phase = 1;
        side_start_tls(&rig->server, ask.server, true, NULL, false, NULL);
    } else if (rig->server.is_failed || rig->server.is_eof || rig->server.is_reset) {
        rig_stop(rig);
    }
}

/* Runs the thread against a server side and leaves that for inspection. */
static void raw_run(struct raw *raw, struct rig *rig)
{
    pthread_t thread;
    ask_for("mx", NULL, NULL, false);
    rig_open(rig, "127.0.0.1:0", raw_step);
    raw->port = rig->at.port;
    CHECK(pthread_create(&thread, NULL, raw_thread, raw) == 0);
    rig_run(rig);
    char byte;
    size_t len = 0;
    enum err again =
            rig->server.is_failed ? E_IO : rig->net->ops->read(rig->server.conn, &byte, 1, &len);
    CHECK(again == E_EOF || again == E_IO, "read on after the end: %s", err_name(again));
    side_close(&rig->server, false);
    CHECK(pthread_join(thread, NULL) == 0);
    ask_done();
}

/* A9, ALPACA */
TEST(a_client_that_speaks_another_protocol_is_refused_with_alert_120)
{
    struct raw raw = { .act = RAW_ALPN_OTHER };
    struct rig rig;
    raw_run(&raw, &rig);
    CHECK(rig.server.is_failed && !raw.is_done);
    CHECK_U64(raw.alert, SSL_AD_REASON_OFFSET + 120);
    CHECK(strstr(rig.server.info.why.text, "no application protocol") != NULL, "%s",
            rig.server.info.why.text);
    rig_close(&rig);
}

TEST(a_client_that_offers_smtp_among_others_gets_it)
{
    struct raw raw = { .act = RAW_ALPN_SMTP };
    struct rig rig;
    raw_run(&raw, &rig);
    CHECK(raw.is_done);
    CHECK_STR(str_from_c(raw.alpn), STR("smtp"));
    rig_close(&rig);
}

/* A7: CVE-2026-45185 */
TEST(after_close_notify_nothing_more_is_read_not_even_in_clear)
{
    struct raw raw = { .act = RAW_CLOSE_THEN_CLEAR };
    struct rig rig;
    raw_run(&raw, &rig);
    CHECK(raw.is_done && rig.server.is_eof && !rig.server.is_reset);
    CHECK(side_has(&rig.server, STR("DATA\r\n")));
    rig_close(&rig);
}

TEST(clear_bytes_within_tls_are_a_lost_connection)
{
    struct raw raw = { .act = RAW_GARBAGE };
    struct rig rig;
    raw_run(&raw, &rig);
    CHECK(raw.is_done && rig.server.is_reset && !rig.server.is_eof);
    CHECK(side_has(&rig.server, STR("DATA\r\n")));
    rig_close(&rig);
}

TEST(an_end_without_close_notify_is_a_lost_connection)
{
    struct raw raw = { .act = RAW_CUT };
    struct rig rig;
    raw_run(&raw, &rig);
    CHECK(raw.is_done && rig.server.is_reset && !rig.server.is_eof);
    CHECK(side_has(&rig.server, STR("DATA\r\n")));
    rig_close(&rig);
}

TEST(tls_before_1_2_is_refused)
{
    struct raw raw = { .act = RAW_TLS11 };
    struct rig rig;
    raw_run(&raw, &rig);
    CHECK(rig.server.is_failed && !raw.is_done);
    rig_close(&rig);
}

static void plain_step(struct rig *rig)
{
    if (rig->phase == 0 && rig->client.is_connected && rig->server.conn != NULL) {
        rig->phase = 1;
        side_start_tls(&rig->client, ask.client, false, "mx.lab.example", false, NULL);
        side_say(&rig->server, STR("554 no\r\n")); /* a server that talks clear text on */
    } else if (rig->client.is_failed) {
        rig_stop(rig);
    }
}

TEST(a_server_that_talks_clear_text_fails_the_handshake)
{
    struct rig rig;
    ask_for("mx", NULL, NULL, false);
    rig_open(&rig, "127.0.0.1:0", plain_step);
    rig_connect(&rig);
    rig_run(&rig);
    CHECK_ERR(rig.client.info.err, E_REFUSED);
    CHECK(strstr(rig.client.info.why.text, "wrong version number") != NULL, "%s",
            rig.client.info.why.text);
    rig_close(&rig);
    ask_done();
}

static void hang_up_step(struct rig *rig)
{
    if (rig->phase == 0 && rig->client.is_connected && rig->server.conn != NULL) {
        rig->phase = 1;
        side_start_tls(&rig->client, ask.client, false, "mx.lab.example", false, NULL);
        side_close(&rig->server, false);
    } else if (rig->client.is_failed) {
        rig_stop(rig);
    }
}

TEST(a_server_that_hangs_up_fails_the_handshake)
{
    struct rig rig;
    ask_for("mx", NULL, NULL, false);
    rig_open(&rig, "127.0.0.1:0", hang_up_step);
    rig_connect(&rig);
    rig_run(&rig);
    CHECK_ERR(rig.client.info.err, E_IO);
    CHECK(strstr(rig.client.info.why.text, "connection lost during TLS handshake") != NULL, "%s",
            rig.client.info.why.text);
    rig_close(&rig);
    ask_done();
}
