/* SPDX-License-Identifier: Apache-2.0
 *
 * wire.c - bytes between a connection and the engine; each is copied out of the scratch buffer at
 * most once, by whoever handles the event, or here when the engine has to wait.
 */
#include "submit/wire_priv.h"

#include "core/str.h"

void wire_open(struct wire *wire, const struct smtp_server_conf *conf, bool is_tls)
{
    smtp_server_open(&wire->server, conf, is_tls);
    wire->is_open = true;
}

void wire_start_tls(struct wire *wire)
{
    struct net_tls_params params = { .is_server = true };
    const struct net_ops *ops = wire->conn->net->ops;
    bool is_started = wire->tls && ops->start_tls(wire->conn, wire->tls, &params) == OK;
    wire->is_handshaking = is_started;
    wire->is_broken = wire->is_broken || !is_started;
}

void wire_close(struct wire *wire, bool is_abort)
{
    if (wire->conn) {
        wire->conn->net->ops->close(wire->conn, is_abort);
    }
    wire->conn = NULL;
    mem_free(wire->kept);
    wire->kept = NULL;
    wire->kept_len = 0;
}

/* Writes what the engine has to say; then the handshake where a 220 to STARTTLS was the last. */
static void flush(struct wire *wire)
{
    struct str out = smtp_server_output(&wire->server);
    wire->is_blocked = false;
    while (out.len > 0 && !wire->is_broken) {
        struct iovec iov = { (void *)(uintptr_t)out.ptr, out.len }; /* only read from */
        size_t len;
        enum err err = wire->conn->net->ops->write(wire->conn, &iov, 1, &len);
        if (err == E_AGAIN) {
            wire->is_blocked = true;
            return;
        }
        if (err != OK) {
            wire->is_broken = true;
            return;
        }
        smtp_server_wrote(&wire->server, len);
        wire->step_count++;
        out = smtp_server_output(&wire->server);
    }
    if (!wire->is_broken && !wire->is_handshaking &&
            smtp_server_phase(&wire->server) == SMTP_SERVER_PHASE_TLS) {
        wire_start_tls(wire);
    }
}

/* Must the client wait? Nothing is read then, so that it feels it. */
static bool is_waiting(const struct wire *wire)
{
    if (!wire->is_open || wire->is_held || wire->is_blocked || wire->is_handshaking ||
            wire->is_broken || wire->has_ended) {
        return true;
    }
    enum smtp_server_phase phase = smtp_server_phase(&wire->server);
    return phase != SMTP_SERVER_PHASE_COMMAND && phase != SMTP_SERVER_PHASE_CONTENT;
}

/* Kept bytes and new ones in the scratch buffer. *ret_is_more: there may be more to read. */
static struct str gather(struct wire *wire, bool may_read, bool *ret_is_more)
{
    char *scratch = wire->room->scratch;
    size_t len = wire->kept_len, got = 0;
    if (len > 0) {
        memcpy(scratch, wire->kept, len);
        mem_free(wire->kept);
        wire->kept = NULL;
        wire->kept_len = 0;
    }
    *ret_is_more = may_read;
    if (!may_read || len >= SMTP_SERVER_INPUT_BYTES_MIN) { /* enough for the engine to go on */
        return str_of(scratch, len);
    }
    enum err err = wire->conn->net->ops->read(wire->conn, scratch + len, WIRE_READ_BYTES, &got);
    if (err == OK) {
        wire->read_bytes += got;
    } else if (err != E_AGAIN) {
        wire->has_ended = true;
        wire->is_broken = err != E_EOF;
        got = 0;
    } else {
        got = 0;
    }
    *ret_is_more = got == WIRE_READ_BYTES;
    return str_of(scratch, len + got);
}

static void keep(struct wire *wire, struct str rest)
{
    if (rest.len == 0 || wire->is_broken) {
        return;
    }
    wire->kept = mem_grow(NULL, rest.len);
    if (!wire->kept) {
        wire->is_broken = true;
        return;
    }
    memcpy(wire->kept, rest.ptr, rest.len);
    wire->kept_len = (uint32_t)rest.len; /* ≤ WIRE_SCRATCH_BYTES */
}

/* Gives bytes to the engine and its events to the owner; returns what was not used. */
static struct str feed(struct wire *wire, struct str bytes)
{
    while (bytes.len > 0 && !wire->is_held && !wire->is_broken && !wire->is_handshaking) {
        struct smtp_server_event event;
        size_t used = smtp_server_input(&wire->server, bytes, &event);
        bytes = str_from(bytes, used);
        if (event.kind != SMTP_SERVER_NONE) {
            wire->step_count += event.kind != SMTP_SERVER_CHUNK;
            wire->event(wire, &event);
        } else if (used == 0) {
            size_t out_len = smtp_server_output(&wire->server).len;
            flush(wire);
            if (wire->is_blocked || out_len == 0) {
                break; /* no room to answer, half a line, or a decision is due */
            }
        }
    }
    return bytes;
}

static void tell_wants(struct wire *wire)
{
    uint32_t wants =
            (is_waiting(wire) ? 0 : NET_WANT_READ) | (wire->is_blocked ? NET_WANT_WRITE : 0);
    if (wants != wire->wants) {
        wire->wants = wants;
        wire->conn->net->ops->want(wire->conn, wants);
    }
}

void wire_pump(struct wire *wire, bool may_read)
{
    bool is_more = true;
    if (wire->is_blocked) {
        flush(wire);
    }
    for (int round = 0; round < WIRE_ROUND_COUNT_MAX && is_more && !is_waiting(wire); round++) {
        struct str rest = feed(wire, gather(wire, may_read, &is_more));
        keep(wire, rest);
        flush(wire);
    }
    if (wire->is_open && !wire->is_broken && !wire->is_blocked) {
        flush(wire); /* what was decided out of turn */
    }
    if (wire->is_broken) {
        return;
    }
    tell_wants(wire);
    bool is_silent = !wire->is_open || smtp_server_output(&wire->server).len == 0;
    bool is_done = wire->has_ended || (wire->is_open && smtp_server_is_closed(&wire->server));
    wire->is_over = is_silent && is_done;
}
