/* SPDX-License-Identifier: Apache-2.0
 *
 * net.h - the simulated network: what edge/net.h promises, over pipes with delay and faults.
 *
 * On one side the node's session loops, through struct net; on the other peers: servers that
 * listen at an address, and clients that dial in. Bytes keep their order within a connection and
 * none between connections. TLS passes bytes through. A node that dies (sim_net_kill) takes its
 * connections with it, as the kernel would.
 */
#ifndef OUTPOST_SIM_NET_H
#define OUTPOST_SIM_NET_H

#include "edge/net.h"
#include "sim/events.h"

struct sim_net;
struct sim_link; /* the peer's end of a connection */

/* What a peer does. Any may be NULL. ctx is of the link. */
struct sim_peer {
    void (*opened)(void *ctx, struct sim_link *link);
    void (*bytes)(void *ctx, struct sim_link *link, struct str bytes);
    void (*closed)(
            void *ctx, struct sim_link *link, bool is_reset); /* last call; forget the link */
};

/* Chances, per million, of what goes wrong on the way. Drawn per seed by the world. */
struct sim_net_faults {
    uint32_t connect_refused, connect_silent; /* a connection that never answers */
    uint32_t reset;                           /* per piece carried: both ends see a reset */
    uint32_t stall;                           /* per piece carried: nothing passes any more */
    uint32_t split;                           /* per piece: cut in two, the rest later */
    uint32_t tls_fails;                       /* per handshake */
    uint32_t tls_untrusted;                   /* the peer's certificate is not good */
    uint64_t delay_ms_max;
};
/* How often an end really met one: a fault that was drawn on a dead connection is none. */
struct sim_net_met {
    uint64_t late;              /* pieces that took SIM_NET_LATE_MS or longer */
    uint64_t reordered;         /* pieces that arrived after one sent later on another connection */
    uint64_t refused, reset;    /* connections, seen by the node */
    uint64_t silent, swallowed; /* connections without an answer; pieces that never arrived */
    uint64_t partial;           /* reads that gave less than there was */
};
enum { SIM_NET_LATE_MS = 50 };

MUST_USE enum err sim_net_new(struct sim_events *events, struct sim_net **ret_net);
void sim_net_free(struct sim_net *net);
struct sim_net_faults *sim_net_faults(struct sim_net *net);
const struct sim_net_met *sim_net_met(const struct sim_net *net);

/* The node's nets: made anew for every life of the node. on_event is called after the node was told
 * of something, so that its loop gets a turn. */
struct net *sim_net_loop(
        struct sim_net *net, void (*on_event)(void *ctx, uint32_t loop), void *ctx, uint32_t loop);
/* The node died: its ends vanish without a word, peers see resets. Its struct nets are still valid
 * for calls that tear it down, and freed by sim_net_bury. */
void sim_net_kill(struct sim_net *net);
void sim_net_bury(struct sim_net *net);

/* A server of the outside at this address; make(ctx) gives the context of a new link. */
void sim_net_serve(struct sim_net *net, struct ip_port at, const struct sim_peer *peer,
        void *(*make)(void *ctx, struct sim_link *link), void *ctx);
enum sim_server_state { SIM_SERVER_UP, SIM_SERVER_REFUSES, SIM_SERVER_SILENT };
/* Whether connections to that server are answered. */
void sim_net_set_server(struct sim_net *net, struct ip_port at, enum sim_server_state state);
/* Dials the node; opened or closed follows. from: the client's address. */
struct sim_link *sim_net_dial(struct sim_net *net, struct ip from, struct ip_port to,
        const struct sim_peer *peer, void *ctx);
void sim_link_send(struct sim_link *link, struct str bytes);
void sim_link_close(struct sim_link *link, bool is_reset);   /* no closed() for one's own */
struct ip_port sim_link_remote(const struct sim_link *link); /* the node's address */
/* When the node sent the bytes that the peer was given last. */
struct mono sim_link_sent_at(const struct sim_link *link);

#endif
