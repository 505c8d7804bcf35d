/* SPDX-License-Identifier: Apache-2.0
 *
 * peers.h - the outside of a simulated world: clients that submit, servers that receive, and the
 * ledgers they keep, which the node never writes.
 *
 * One token is one (message, recipient). Its address is its name: "t17@d3.example". The content of
 * message m can be made again from m, so that a receiver can tell a whole message from a mixed one.
 */
#ifndef OUTPOST_SIM_PEERS_H
#define OUTPOST_SIM_PEERS_H

#include "core/list.h"
#include "sim/dns.h"
#include "sim/events.h"
#include "sim/net.h"

enum { PEER_DOMAIN_COUNT = 8, PEER_RCPT_COUNT_MAX = 20 };

enum token_answer { TOKEN_NOT_OFFERED, TOKEN_UNANSWERED, TOKEN_ACKNOWLEDGED, TOKEN_REFUSED };
struct token {
    uint32_t message;
    uint8_t domain;
    bool is_unknown_user;     /* the receiver refuses it for good */
    enum token_answer answer; /* what the client read */
    uint16_t copies;          /* accepted by the receiver (after its final dot) */
    uint16_t replies_lost;    /* of these, whose 250 did not reach the node for sure */
    uint16_t bounces;         /* reports about it that reached the sender */
    bool is_mixed;            /* a copy had other content */
    bool is_excused; /* its copy came so shortly before a power cut that no record need be left */
    int64_t last_copy_ms; /* mono */
};
struct message {
    uint32_t first_token, token_count;
    uint32_t body_bytes;
    char id[27]; /* "queued as", once acknowledged */
    bool is_begun;
};

/* Per million, drawn per seed; all zero when faults have stopped. */
struct peer_faults {
    uint32_t banner_4xx, banner_5xx, banner_drop, banner_silent;
    uint32_t mail_4xx, rcpt_4xx, data_4xx, dot_4xx, dot_5xx;
    uint32_t reply_lost, dot_drop; /* stored but not said; dropped unsaid */
    uint32_t garbage, shutdown_421, slow;
    uint32_t client_drops, client_resets;
};

struct peers {
    struct sim_events *events;
    struct sim_net *net;
    struct peer_faults faults;
    struct ip_port node; /* where clients dial */
    struct token *token;
    uint32_t token_count;
    struct message *message;
    uint32_t message_count;
    uint64_t lost_reply_count, transaction_count, garbage_count, refused_count, dropped_count;
    struct list servers, clients; /* with an open link */
};

/* Makes the plan of messages: counts, recipients, sizes. Offers nothing yet. */
void peers_init(struct peers *peers, struct sim_events *events, struct sim_net *net,
        struct sim_dns *dns, struct ip_port node, uint32_t message_count);
/* A client submits that message now. It does not resend. */
void peers_submit(struct peers *peers, uint32_t message);
void peers_done(struct peers *peers);

#endif
