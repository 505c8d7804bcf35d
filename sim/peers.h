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

/* Messages of one lot carry one tag, "lot-3". */
enum { PEER_DOMAIN_COUNT = 8, PEER_RCPT_COUNT_MAX = 20, PEER_LOT_MESSAGES = 50 };

enum token_answer { TOKEN_NOT_OFFERED, TOKEN_UNANSWERED, TOKEN_ACKNOWLEDGED, TOKEN_REFUSED };
struct token {
    uint32_t message;
    uint8_t domain;
    bool is_unknown_user;     /* the receiver refuses it for good */
    enum token_answer answer; /* what the client read */
    uint16_t copies;          /* accepted by the receiver (after its final dot) */
    uint16_t excused_copies;  /* of these, of which no record need be left */
    uint16_t replies_lost;    /* of these, whose 250 did not reach the node for sure */
    uint16_t bounces;         /* reports about it that reached the sender */
    bool is_mixed;            /* a copy had other content */
    bool has_two_reports;     /* with different Message-IDs: one was made twice */
    uint64_t report_id;       /* hash of the last one's Message-ID */
    struct mono sent_at;      /* the dot of its last copy left the node; 0: that one is excused */
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
    uint64_t client_cut_count, client_reset_count; /* within the content; after the dot */
    struct mono power_cut_at;                      /* the last one */
    uint64_t unsynced_ms_max;
    struct list servers, clients; /* with an open link */
};

/* Makes the plan of messages: counts, recipients, sizes. Offers nothing yet. */
void peers_init(struct peers *peers, struct sim_events *events, struct sim_net *net,
        struct sim_dns *dns, struct ip_port node, uint32_t message_count);
/* A client submits that message now. It does not resend. */
void peers_submit(struct peers *peers, uint32_t message);
/* The node's machine lost power just now. Of what it sent within that time before, arrived already
 * or still under way, it need not know afterwards. A killed process excuses nothing. */
void peers_power_cut(struct peers *peers, uint64_t unsynced_ms_max);
/* The token of an address, where there is one. */
bool peers_token_of(const struct peers *peers, struct str address, uint32_t *ret_token);
void peers_done(struct peers *peers);

#endif
