/* SPDX-License-Identifier: Apache-2.0
 *
 * net.c - connections as two pipes between the node and peers, carried by events.
 *
 * A piece of bytes becomes an event; when it arrives it is appended to what the receiver may read.
 * Faults are drawn when a piece is sent. The node's end keeps what it has not read yet, and is told
 * readable again as long as it wants to read.
 */
#include "sim/net.h"

#include "core/buf.h"
#include "core/list.h"

enum { PIPE_BYTES_MAX = 256 << 10, PIPE_WINDOW_BYTES = 64 << 10, CONNECT_SILENT_MS = 130000 };

struct sim_loop {
    struct net net; /* first: the node's handle */
    struct sim_net *world;
    void (*on_event)(void *ctx, uint32_t loop);
    void *ctx;
    uint32_t loop;
    struct sim_event *timer;
    void (*fired)(void *ctx);
    void *fired_ctx;
    bool is_dead;
    struct sim_loop *next;
};

struct sim_listener {
    struct net_listener listener;
    struct list at;
    struct ip_port address;
    net_accepted *accepted;
    void *ctx;
    bool is_paused;
    bool is_dead;
};

/* One connection, both ends. Freed when neither end nor a piece under way needs it. */
struct sim_link {
    struct net_conn conn; /* the node's end; conn.net is its loop */
    struct sim_net *world;
    struct list at;
    uint64_t number;
    struct ip_port node_address, peer_address;
    uint32_t refs; /* ends alive and events under way */

    bool is_node_open, is_node_connected;
    net_handler *handler;
    void *handler_ctx;
    uint32_t wants;
    struct buf inbox;         /* arrived for the node, not read */
    bool is_ended, is_broken; /* seen by the node: end, reset */
    bool is_told;             /* a readable event is under way */
    bool is_tls, is_verified;
    size_t outbound_bytes; /* of the node's, not arrived yet */
    bool is_write_blocked;
    enum err err;
    const char *why;

    bool is_peer_open;
    const struct sim_peer *peer;
    void *peer_ctx;

    bool is_dialing; /* what the peer says now waits in the backlog */
    bool is_stalled;
    struct mono sent_at;                    /* what the peer was given last */
    struct mono last_to_node, last_to_peer; /* order within the connection */
};

struct sim_server {
    struct ip_port at;
    const struct sim_peer *peer;
    void *(*make)(void *ctx, struct sim_link *link);
    void *ctx;
    struct sim_server *next;
    enum sim_server_state state;
};

struct sim_net {
    struct sim_events *events;
    struct sim_net_faults faults;
    struct sim_net_met met;
    uint64_t sent_count, arrived_order; /* of pieces: made so far; greatest that has arrived */
    uint64_t link_count, arrived_link;  /* numbers; the link of that piece */
    struct sim_loop *loops, *dead_loops;
    struct list listeners, links, pieces;
    struct sim_server *servers;
};

/* A piece of bytes, or an end, on its way. */
struct sim_piece {
    struct list at;
    struct sim_link *link;
    bool is_to_node;
    bool is_fault; /* a reset on the way, not of an end */
    enum { PIECE_BYTES, PIECE_END, PIECE_RESET } kind;
    struct mono sent_at;
    uint64_t order;
    size_t len;
    char data[];
};

static struct sim_loop *loop_of(struct net *net)
{
    return CONTAINER_OF(net, struct sim_loop, net);
}

static void link_unref(struct sim_link *link)
{
    ASSERT(link->refs > 0);
    if (--link->refs == 0) {
        list_del(&link->at);
        buf_done(&link->inbox);
        mem_free(link);
    }
}

/* ---- telling the node ---- */

static void tell(struct sim_link *link, enum net_event event)
{
    struct sim_loop *loop = loop_of(link->conn.net);
    if (!link->is_node_open || link->handler == NULL || loop->is_dead) {
        return;
    }
    link->handler(link->handler_ctx, &link->conn, event);
    loop->on_event(loop->ctx, loop->loop);
}

static bool has_readable(const struct sim_link *link)
{
    return link->inbox.len > 0 || link->is_ended || link->is_broken;
}

static void readable_now(void *ctx, uint64_t number)
{
    struct sim_link *link = ctx;
    (void)number;
    link->is_told = false;
    if (link->is_node_open && (link->wants & NET_WANT_READ) && has_readable(link)) {
        tell(link, NET_READABLE);
    }
    /* level-triggered: what was left is told again */
    if (link->is_node_open && (link->wants & NET_WANT_READ) && has_readable(link) &&
            !link->is_told) {
        link->is_told = true;
        link->refs++;
        sim_after(link->world->events, 1, readable_now, link, 0);
    }
    link_unref(link);
}

static void arm_readable(struct sim_link *link)
{
    if (!link->is_told && link->is_node_open && (link->wants & NET_WANT_READ) &&
            has_readable(link)) {
        link->is_told = true;
        link->refs++;
        sim_after(link->world->events, 0, readable_now, link, 0);
    }
}

static void writable_now(void *ctx, uint64_t number)
{
    struct sim_link *link = ctx;
    (void)number;
    if (link->is_node_open && (link->wants & NET_WANT_WRITE)) {
        tell(link, NET_WRITABLE);
    }
    link_unref(link);
}

static void arm_writable(struct sim_link *link)
{
    link->refs++;
    sim_after(link->world->events, 0, writable_now, link, 0);
}

/* ---- carrying ---- */

static void arrive_at_node(struct sim_link *link, const struct sim_piece *piece)
{
    if (!link->is_node_open || link->is_broken || link->is_ended) { /* nothing follows an end */
        return;
    }
    if (piece->kind == PIECE_BYTES) {
        buf_add(&link->inbox, str_of(piece->data, piece->len));
    } else if (piece->kind == PIECE_END) {
        link->is_ended = true;
    } else {
        link->is_broken = true;
        link->world->met.reset += piece->is_fault;
    }
    arm_readable(link);
}

static void arrive_at_peer(struct sim_link *link, const struct sim_piece *piece)
{
    if (piece->kind == PIECE_BYTES) {
        link->outbound_bytes -= piece->len;
        if (link->is_write_blocked && link->outbound_bytes < PIPE_WINDOW_BYTES / 2) {
            link->is_write_blocked = false;
            arm_writable(link);
        }
    }
    if (!link->is_peer_open) {
        return;
    }
    if (piece->kind == PIECE_BYTES) {
        link->sent_at = piece->sent_at;
        if (link->peer->bytes) {
            link->peer->bytes(link->peer_ctx, link, str_of(piece->data, piece->len));
        }
        return;
    }
    link->is_peer_open = false;
    if (link->peer->closed) {
        link->peer->closed(link->peer_ctx, link, piece->kind == PIECE_RESET);
    }
    link_unref(link);
}

static void note_arrival(const struct sim_piece *piece)
{
    struct sim_net *world = piece->link->world;
    world->met.late += world->events->now.ms - piece->sent_at.ms >= SIM_NET_LATE_MS;
    if (piece->order > world->arrived_order) {
        world->arrived_order = piece->order;
        world->arrived_link = piece->link->number;
    } else {
        world->met.reordered += piece->link->number != world->arrived_link;
    }
}

static void arrive(void *ctx, uint64_t number)
{
    struct sim_piece *piece = ctx;
    struct sim_link *link = piece->link;
    (void)number;
    if (link->is_stalled) {
        link->world->met.swallowed++;
    } else {
        note_arrival(piece);
        if (piece->is_to_node) {
            arrive_at_node(link, piece);
        } else {
            arrive_at_peer(link, piece);
        }
    }
    list_del(&piece->at);
    mem_free(piece);
    link_unref(link);
}

static struct sim_piece *carry(struct sim_link *link, bool is_to_node, int kind, struct str bytes)
{
    struct sim_events *events = link->world->events;
    struct sim_piece *piece = mem_new(sizeof *piece + bytes.len);
    ASSERT(piece);
    list_add_last(&link->world->pieces, &piece->at);
    piece->link = link;
    piece->is_to_node = is_to_node;
    piece->kind = (unsigned)kind;
    piece->sent_at = events->now;
    piece->order = ++link->world->sent_count;
    piece->len = bytes.len;
    if (bytes.len) {
        memcpy(piece->data, bytes.ptr, bytes.len);
    }
    uint64_t delay_ms = prng_below(&events->prng, link->world->faults.delay_ms_max + 1);
    struct mono *last = is_to_node ? &link->last_to_node : &link->last_to_peer;
    int64_t at_ms = events->now.ms + (int64_t)delay_ms;
    last->ms = at_ms > last->ms ? at_ms : last->ms;
    link->refs++;
    sim_after(events, (uint64_t)(last->ms - events->now.ms), arrive, piece, 0);
    return piece;
}

/* Sends bytes with the faults of the way: cut in two, reset, or nothing more from here on. */
static void carry_bytes(struct sim_link *link, bool is_to_node, struct str bytes)
{
    struct prng *prng = &link->world->events->prng;
    const struct sim_net_faults *faults = &link->world->faults;
    if (prng_chance(prng, faults->stall)) {
        link->is_stalled = true;
    }
    if (prng_chance(prng, faults->reset)) {
        size_t part = prng_below(prng, bytes.len + 1);
        carry(link, is_to_node, PIECE_BYTES, str_sub(bytes, 0, part));
        carry(link, is_to_node, PIECE_RESET, (struct str){ 0 })->is_fault = true;
        carry(link, !is_to_node, PIECE_RESET, (struct str){ 0 })->is_fault = true;
        return;
    }
    if (bytes.len > 1 && prng_chance(prng, faults->split)) {
        size_t part = 1 + prng_below(prng, bytes.len - 1);
        carry(link, is_to_node, PIECE_BYTES, str_sub(bytes, 0, part));
        bytes = str_from(bytes, part);
    }
    carry(link, is_to_node, PIECE_BYTES, bytes);
}

static struct sim_link *link_new(
        struct sim_net *world, struct ip_port node_address, struct ip_port peer_address)
{
    struct sim_link *link = mem_new(sizeof *link);
    ASSERT(link);
    link->world = world;
    link->number = ++world->link_count;
    link->node_address = node_address;
    link->peer_address = peer_address;
    buf_init(&link->inbox, PIPE_BYTES_MAX * 64);
    list_add_last(&world->links, &link->at);
    return link;
}

/* ---- the node's calls ---- */

static enum err op_listen(struct net *net, const struct ip_port *at, bool is_shared_port,
        net_accepted *accepted, void *ctx, struct net_listener **ret_listener, struct why *why)
{
    struct sim_net *world = loop_of(net)->world;
    (void)is_shared_port;
    (void)why;
    struct sim_listener *listener = mem_new(sizeof *listener);
    if (listener == NULL) {
        return E_NOMEM;
    }
    listener->listener.net = net;
    listener->address = *at;
    listener->accepted = accepted;
    listener->ctx = ctx;
    list_add_last(&world->listeners, &listener->at);
    *ret_listener = &listener->listener;
    return OK;
}

static void op_pause(struct net_listener *listener, bool is_paused)
{
    CONTAINER_OF(listener, struct sim_listener, listener)->is_paused = is_paused;
}

static void op_unlisten(struct net_listener *net_listener)
{
    struct sim_listener *listener = CONTAINER_OF(net_listener, struct sim_listener, listener);
    list_del(&listener->at);
    mem_free(listener);
}

static struct sim_server *find_server(struct sim_net *world, const struct ip_port *at)
{
    for (struct sim_server *server = world->servers; server; server = server->next) {
        if (ip_eq(server->at.ip, at->ip) && server->at.port == at->port) {
            return server;
        }
    }
    return NULL;
}

static void connect_fails(void *ctx, uint64_t number)
{
    struct sim_link *link = ctx;
    link->err = number == 0 ? E_REFUSED : E_TIMEOUT;
    link->why = number == 0 ? "Connection refused" : "Connection timed out";
    tell(link, NET_FAILED);
    link_unref(link);
}

static void connect_succeeds(void *ctx, uint64_t number)
{
    struct sim_link *link = ctx;
    (void)number;
    if (link->is_node_open) {
        struct sim_server *server = find_server(link->world, &link->peer_address);
        ASSERT(server);
        link->is_node_connected = true;
        link->is_peer_open = true;
        link->refs++;
        link->peer = server->peer;
        link->peer_ctx = server->make(server->ctx, link);
        tell(link, NET_CONNECTED);
        if (link->is_peer_open && link->peer->opened) {
            link->peer->opened(link->peer_ctx, link);
        }
        arm_writable(link);
    }
    link_unref(link);
}

static enum err op_connect(struct net *net, const struct ip *local, const struct ip_port *remote,
        net_handler *handler, void *ctx, struct net_conn **ret_conn, struct why *why)
{
    struct sim_net *world = loop_of(net)->world;
    struct prng *prng = &world->events->prng;
    struct ip_port here = { .port = (uint16_t)(20000 + prng_below(prng, 40000)) };
    (void)why;
    here.ip = local ? *local : (struct ip){ .family = IP_V4, .byte = { 10, 0, 0, 1 } };
    struct sim_link *link = link_new(world, here, *remote);
    link->conn.net = net;
    link->handler = handler;
    link->handler_ctx = ctx;
    link->is_node_open = true;
    link->refs = 2; /* the node's end, and the answer under way */
    uint64_t delay_ms = prng_below(prng, world->faults.delay_ms_max + 1) + 1;
    const struct sim_server *server = find_server(world, remote);
    if (server == NULL || server->state == SIM_SERVER_REFUSES ||
            prng_chance(prng, world->faults.connect_refused)) {
        world->met.refused++;
        sim_after(world->events, delay_ms, connect_fails, link, 0);
    } else if (server->state == SIM_SERVER_SILENT ||
               prng_chance(prng, world->faults.connect_silent)) {
        world->met.silent++;
        sim_after(world->events, CONNECT_SILENT_MS, connect_fails, link, 1);
    } else {
        sim_after(world->events, delay_ms, connect_succeeds, link, 0);
    }
    *ret_conn = &link->conn;
    return OK;
}

static struct sim_link *link_of(struct net_conn *conn)
{
    return CONTAINER_OF(conn, struct sim_link, conn);
}

static void op_set_handler(struct net_conn *conn, net_handler *handler, void *ctx)
{
    link_of(conn)->handler = handler;
    link_of(conn)->handler_ctx = ctx;
}

static void op_want(struct net_conn *conn, uint32_t wants)
{
    struct sim_link *link = link_of(conn);
    bool is_new_write = (wants & NET_WANT_WRITE) && !(link->wants & NET_WANT_WRITE);
    link->wants = wants;
    arm_readable(link);
    if (is_new_write && !link->is_write_blocked && link->is_node_connected) {
        arm_writable(link);
    }
}

static enum err op_read(struct net_conn *conn, void *dst, size_t cap, size_t *ret_len)
{
    struct sim_link *link = link_of(conn);
    if (link->inbox.len == 0) {
        return link->is_broken ? E_IO : link->is_ended ? E_EOF : E_AGAIN;
    }
    size_t len = link->inbox.len < cap ? link->inbox.len : cap;
    if (len > 1 && prng_chance(&link->world->events->prng, link->world->faults.split)) {
        len = 1 + prng_below(&link->world->events->prng, len - 1);
        link->world->met.partial++;
    }
    memcpy(dst, link->inbox.ptr, len);
    buf_drop_front(&link->inbox, len);
    *ret_len = len;
    return OK;
}

static enum err op_write(
        struct net_conn *conn, const struct iovec *iov, uint32_t iov_count, size_t *ret_len)
{
    struct sim_link *link = link_of(conn);
    size_t room =
            link->outbound_bytes < PIPE_WINDOW_BYTES ? PIPE_WINDOW_BYTES - link->outbound_bytes : 0;
    if (link->is_broken) {
        return E_IO;
    }
    if (room == 0) {
        link->is_write_blocked = true;
        return E_AGAIN;
    }
    struct buf bytes;
    buf_init(&bytes, PIPE_BYTES_MAX);
    for (uint32_t i = 0; i < iov_count && bytes.len < room; i++) {
        size_t take = iov[i].iov_len < room - bytes.len ? iov[i].iov_len : room - bytes.len;
        buf_add(&bytes, str_of(iov[i].iov_base, take));
    }
    *ret_len = bytes.len;
    link->outbound_bytes += bytes.len;
    carry_bytes(link, false, buf_str(&bytes));
    buf_done(&bytes);
    return *ret_len > 0 ? OK : E_AGAIN;
}

static void tls_done(void *ctx, uint64_t number)
{
    struct sim_link *link = ctx;
    if (link->is_node_open && number) {
        link->err = E_REFUSED;
        link->why = number == 1 ? "handshake failure (simulated)"
                                : "certificate is not good (simulated)";
        tell(link, NET_FAILED);
    } else if (link->is_node_open) {
        link->is_tls = true;
        tell(link, NET_TLS_DONE);
    }
    link_unref(link);
}

static enum err op_start_tls(
        struct net_conn *conn, struct tls_context *context, const struct net_tls_params *params)
{
    struct sim_link *link = link_of(conn);
    const struct sim_net_faults *faults = &link->world->faults;
    struct prng *prng = &link->world->events->prng;
    (void)context;
    bool is_failing = prng_chance(prng, faults->tls_fails);
    link->is_verified = !params->is_server && !prng_chance(prng, faults->tls_untrusted);
    bool is_bad_cert = params->verify_required && !link->is_verified;
    link->refs++;
    sim_after(link->world->events, 1, tls_done, link, is_failing ? 1 : is_bad_cert ? 2 : 0);
    return OK;
}

static void op_info(struct net_conn *conn, struct net_info *ret_info)
{
    struct sim_link *link = link_of(conn);
    *ret_info = (struct net_info){ .local = link->node_address,
        .remote = link->peer_address,
        .is_tls = link->is_tls,
        .is_verified = link->is_tls && link->is_verified,
        .err = link->err };
    if (link->is_tls) {
        fmt(ret_info->tls_version, sizeof ret_info->tls_version, "TLSv1.3");
        fmt(ret_info->tls_cipher, sizeof ret_info->tls_cipher, "SIMULATED");
    }
    why_set(&ret_info->why, "%s", link->why ? link->why : "");
}

static void op_close(struct net_conn *conn, bool is_abort)
{
    struct sim_link *link = link_of(conn);
    if (!link->is_node_open) {
        return;
    }
    link->is_node_open = false;
    if (!loop_of(conn->net)->is_dead && link->is_node_connected) {
        carry(link, false, is_abort ? PIECE_RESET : PIECE_END, (struct str){ 0 });
    }
    link_unref(link);
}

static void timer_fired(void *ctx, uint64_t number)
{
    struct sim_loop *loop = ctx;
    (void)number;
    loop->timer = NULL;
    if (!loop->is_dead && loop->fired) {
        loop->fired(loop->fired_ctx);
    }
}

static void op_timer(struct net *net, struct mono deadline, void (*fired)(void *ctx), void *ctx)
{
    struct sim_loop *loop = loop_of(net);
    struct sim_events *events = loop->world->events;
    sim_cancel(events, loop->timer);
    loop->timer = NULL;
    loop->fired = fired;
    loop->fired_ctx = ctx;
    if (deadline.ms != 0) {
        uint64_t delay_ms =
                deadline.ms > events->now.ms ? (uint64_t)(deadline.ms - events->now.ms) : 0;
        loop->timer = sim_after(events, delay_ms, timer_fired, loop, 0);
    }
}

static const struct net_ops sim_ops = {
    .listen = op_listen,
    .pause = op_pause,
    .unlisten = op_unlisten,
    .connect = op_connect,
    .set_handler = op_set_handler,
    .want = op_want,
    .read = op_read,
    .write = op_write,
    .start_tls = op_start_tls,
    .info = op_info,
    .close = op_close,
    .timer = op_timer,
};

/* ---- the world's calls ---- */

enum err sim_net_new(struct sim_events *events, struct sim_net **ret_net)
{
    struct sim_net *world = mem_new(sizeof *world);
    if (world == NULL) {
        return E_NOMEM;
    }
    world->events = events;
    list_init(&world->listeners);
    list_init(&world->links);
    list_init(&world->pieces);
    *ret_net = world;
    return OK;
}

struct sim_net_faults *sim_net_faults(struct sim_net *net)
{
    return &net->faults;
}

const struct sim_net_met *sim_net_met(const struct sim_net *net)
{
    return &net->met;
}

struct net *sim_net_loop(
        struct sim_net *net, void (*on_event)(void *ctx, uint32_t loop), void *ctx, uint32_t index)
{
    struct sim_loop *loop = mem_new(sizeof *loop);
    ASSERT(loop);
    loop->net.ops = &sim_ops;
    loop->world = net;
    loop->on_event = on_event;
    loop->ctx = ctx;
    loop->loop = index;
    loop->next = net->loops;
    net->loops = loop;
    return &loop->net;
}

void sim_net_kill(struct sim_net *net)
{
    for (struct sim_loop *loop = net->loops, *next; loop; loop = next) {
        next = loop->next;
        loop->is_dead = true;
        sim_cancel(net->events, loop->timer);
        loop->timer = NULL;
        loop->next = net->dead_loops;
        net->dead_loops = loop;
    }
    net->loops = NULL;
    for (struct list *at = net->listeners.next; at != &net->listeners; at = at->next) {
        CONTAINER_OF(at, struct sim_listener, at)->is_dead = true;
    }
    for (struct list *at = net->links.next; at != &net->links; at = at->next) {
        struct sim_link *link = CONTAINER_OF(at, struct sim_link, at);
        if (link->is_node_open && link->is_peer_open) {
            carry(link, false, PIECE_RESET, (struct str){ 0 });
        }
    }
}

void sim_net_bury(struct sim_net *net)
{
    for (struct list *at = net->links.next, *next; at != &net->links; at = next) {
        struct sim_link *link = CONTAINER_OF(at, struct sim_link, at);
        next = at->next;
        if (link->is_node_open && loop_of(link->conn.net)->is_dead) {
            link->is_node_open = false;
            link_unref(link);
        }
    }
    while (net->dead_loops) {
        struct sim_loop *loop = net->dead_loops;
        net->dead_loops = loop->next;
        mem_free(loop);
    }
}

void sim_net_serve(struct sim_net *net, struct ip_port at, const struct sim_peer *peer,
        void *(*make)(void *ctx, struct sim_link *link), void *ctx)
{
    struct sim_server *server = mem_new(sizeof *server);
    ASSERT(server);
    *server = (struct sim_server){ at, peer, make, ctx, net->servers, SIM_SERVER_UP };
    net->servers = server;
}

void sim_net_set_server(struct sim_net *net, struct ip_port at, enum sim_server_state state)
{
    struct sim_server *server = find_server(net, &at);
    ASSERT(server);
    server->state = state;
}

static struct sim_listener *find_listener(struct sim_net *net, const struct ip_port *at)
{
    struct sim_listener *found[16];
    uint32_t count = 0;
    for (struct list *item = net->listeners.next; item != &net->listeners && count < 16;
            item = item->next) {
        struct sim_listener *listener = CONTAINER_OF(item, struct sim_listener, at);
        if (!listener->is_dead && !listener->is_paused && ip_eq(listener->address.ip, at->ip) &&
                listener->address.port == at->port) {
            found[count++] = listener;
        }
    }
    return count ? found[prng_below(&net->events->prng, count)] : NULL;
}

static void dial_arrives(void *ctx, uint64_t number)
{
    struct sim_link *link = ctx;
    (void)number;
    link->is_dialing = false;
    struct sim_listener *listener = find_listener(link->world, &link->node_address);
    if (link->is_peer_open && listener == NULL) {
        link->is_peer_open = false;
        if (link->peer->closed) {
            link->peer->closed(link->peer_ctx, link, true);
        }
        link_unref(link);
    } else if (link->is_peer_open) {
        struct sim_loop *loop = loop_of(listener->listener.net);
        link->conn.net = listener->listener.net;
        link->is_node_open = link->is_node_connected = true;
        link->refs++;
        if (link->peer->opened) {
            link->peer->opened(link->peer_ctx, link);
        }
        listener->accepted(listener->ctx, &link->conn);
        loop->on_event(loop->ctx, loop->loop);
    }
    link_unref(link);
}

struct sim_link *sim_net_dial(struct sim_net *net, struct ip from, struct ip_port to,
        const struct sim_peer *peer, void *ctx)
{
    struct ip_port here = { from, (uint16_t)(20000 + prng_below(&net->events->prng, 40000)) };
    struct sim_link *link = link_new(net, to, here);
    link->is_peer_open = link->is_dialing = true;
    link->peer = peer;
    link->peer_ctx = ctx;
    link->refs = 2; /* the peer's end, and the connection under way */
    sim_after(net->events, 1 + prng_below(&net->events->prng, net->faults.delay_ms_max + 1),
            dial_arrives, link, 0);
    return link;
}

void sim_link_send(struct sim_link *link, struct str bytes)
{
    if (link->is_dialing) {
        buf_add(&link->inbox, bytes);
    } else if (link->is_peer_open && bytes.len) {
        carry_bytes(link, true, bytes);
    }
}

void sim_link_close(struct sim_link *link, bool is_reset)
{
    if (link->is_peer_open) {
        link->is_peer_open = false;
        carry(link, true, is_reset ? PIECE_RESET : PIECE_END, (struct str){ 0 });
        link_unref(link);
    }
}

struct mono sim_link_sent_at(const struct sim_link *link)
{
    return link->sent_at;
}

struct ip_port sim_link_remote(const struct sim_link *link)
{
    return link->node_address;
}

void sim_net_free(struct sim_net *net)
{
    if (net == NULL) {
        return;
    }
    sim_net_kill(net);
    sim_net_bury(net);
    while (!list_is_empty(&net->links)) {
        struct sim_link *link = CONTAINER_OF(net->links.next, struct sim_link, at);
        list_del(&link->at);
        buf_done(&link->inbox);
        mem_free(link);
    }
    while (!list_is_empty(&net->pieces)) {
        mem_free(CONTAINER_OF(list_take_first(&net->pieces), struct sim_piece, at));
    }
    while (net->servers) {
        struct sim_server *server = net->servers;
        net->servers = server->next;
        mem_free(server);
    }
    mem_free(net);
}
