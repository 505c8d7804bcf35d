/* SPDX-License-Identifier: Apache-2.0
 *
 * rig.c - the two sides and their loop.
 */
#include "tests/unit/edge/rig_priv.h"

#include "core/time.h"

enum { RIG_BYTES_MAX = 64 << 20, RIG_TIMEOUT_MS = 10000 };

static void flush(struct side *side)
{
    while (side->conn != NULL && side->out_done < side->out.len) {
        struct iovec iov = { side->out.ptr + side->out_done, side->out.len - side->out_done };
        size_t len = 0;
        enum err err = side->conn->net->ops->write(side->conn, &iov, 1, &len);
        if (err != OK) {
            side->is_blocked = err == E_AGAIN;
            side->is_reset = side->is_reset || err == E_IO;
            break;
        }
        side->out_done += len;
    }
    if (side->conn != NULL) {
        bool has_more = side->out_done < side->out.len && !side->is_reset;
        side->conn->net->ops->want(
                side->conn, NET_WANT_READ | (has_more ? (uint32_t)NET_WANT_WRITE : 0));
    }
}

static void receive(struct side *side)
{
    enum err err = OK;
    side->readable_count++;
    while (err == OK) {
        char *dst = buf_space(&side->in, side->read_cap);
        CHECK(dst != NULL);
        size_t len = 0;
        err = side->conn->net->ops->read(side->conn, dst, side->read_cap, &len);
        if (err == OK) {
            CHECK(len > 0 && len <= side->read_cap);
            buf_grew(&side->in, len);
        }
        if (side->is_lazy) {
            break;
        }
    }
    side->is_eof = side->is_eof || err == E_EOF;
    side->is_reset = side->is_reset || err == E_IO;
}

static void on_event(void *ctx, struct net_conn *conn, enum net_event event)
{
    struct side *side = ctx;
    CHECK(side->conn == conn);
    side->event_count++;
    switch (event) {
    case NET_CONNECTED:
        side->is_connected = true;
        flush(side);
        break;
    case NET_READABLE:
        receive(side);
        break;
    case NET_WRITABLE:
        flush(side);
        break;
    case NET_TLS_DONE:
        side->is_tls = true;
        conn->net->ops->info(conn, &side->info);
        flush(side);
        break;
    case NET_FAILED:
        side->is_failed = true;
        conn->net->ops->info(conn, &side->info);
        break;
    }
    side->rig->step(side->rig);
}

static void on_accepted(void *ctx, struct net_conn *conn)
{
    struct rig *rig = ctx;
    struct side *side = &rig->server;
    rig->accept_count++;
    CHECK(side->conn == NULL);
    side->conn = conn;
    conn->net->ops->set_handler(conn, on_event, side);
    flush(side);
    rig->step(rig);
}

static void on_timeout(void *ctx)
{
    struct rig *rig = ctx;
    rig->is_timed_out = true;
    rig_stop(rig);
}

static void side_init(struct rig *rig, struct side *side)
{
    *side = (struct side){ .rig = rig, .read_cap = 65536 };
    buf_init(&side->in, RIG_BYTES_MAX);
    buf_init(&side->out, RIG_BYTES_MAX);
}

void rig_open(struct rig *rig, const char *address, void (*step)(struct rig *rig))
{
    struct why why = { "" };
    *rig = (struct rig){ .step = step };
    side_init(rig, &rig->client);
    side_init(rig, &rig->server);
    REQUIRE_OK(net_open_real(clock_real(), &rig->net, &why));
    REQUIRE_OK(ip_port_parse(str_from_c(address), &rig->at));
    REQUIRE_OK(rig->net->ops->listen(
            rig->net, &rig->at, false, on_accepted, rig, &rig->listener, &why));
    net_listener_at_real(rig->listener, &rig->at);
    CHECK(rig->at.port != 0);
}

void rig_connect(struct rig *rig)
{
    struct why why = { "" };
    REQUIRE_OK(rig->net->ops->connect(rig->net, &(struct ip){ 0 }, &rig->at, on_event, &rig->client,
            &rig->client.conn, &why));
}

void rig_run(struct rig *rig)
{
    rig->is_stopped = false;
    struct mono limit = mono_after(clock_mono(clock_real()), RIG_TIMEOUT_MS);
    rig->net->ops->timer(rig->net, limit, on_timeout, rig);
    net_run_real(rig->net, NULL, NULL);
    CHECK(!rig->is_timed_out, "no end in %d ms; client %u events, server %u", RIG_TIMEOUT_MS,
            rig->client.event_count, rig->server.event_count);
    CHECK(rig->is_stopped);
    rig->net->ops->timer(rig->net, (struct mono){ 0 }, on_timeout, rig);
}

void rig_stop(struct rig *rig)
{
    rig->is_stopped = true;
    net_stop_real(rig->net);
}

static void side_done(struct side *side)
{
    side_close(side, true);
    buf_done(&side->in);
    buf_done(&side->out);
}

void rig_close(struct rig *rig)
{
    side_done(&rig->client);
    side_done(&rig->server);
    net_free_real(rig->net);
}

void side_say(struct side *side, struct str s)
{
    buf_add(&side->out, s);
    REQUIRE_OK(buf_err(&side->out));
    flush(side);
}

void side_close(struct side *side, bool is_abort)
{
    if (side->conn != NULL) {
        side->conn->net->ops->close(side->conn, is_abort);
        side->conn = NULL;
    }
}

bool side_has(const struct side *side, struct str s)
{
    return side->in.len == s.len && (s.len == 0 || memcmp(side->in.ptr, s.ptr, s.len) == 0);
}

void side_start_tls(struct side *side, struct tls_context *context, bool is_server,
        const char *name, bool verify_required, const char *session_key)
{
    struct net_tls_params params = { .is_server = is_server,
        .server_name = name,
        .verify_required = verify_required,
        .session_key = session_key };
    REQUIRE_OK(side->conn->net->ops->start_tls(side->conn, context, &params));
}
