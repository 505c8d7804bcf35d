/* SPDX-License-Identifier: Apache-2.0
 *
 * sntp.h - how far is our clock off? One question to a time server over UDP (RFC 4330).
 */
#ifndef OUTPOST_EDGE_SNTP_H
#define OUTPOST_EDGE_SNTP_H

#include "core/ip.h"

struct sntp_answer {
    enum err err;      /* OK; E_TIMEOUT; E_REFUSED: the server says no, or it is not set itself */
    int64_t offset_ms; /* the server's clock minus ours */
    uint64_t delay_ms; /* of the way there and back: the offset is good to half of it */
};
typedef void sntp_answered(void *ctx, const struct sntp_answer *answer);

struct net;
struct clock;
struct entropy;
struct sntp;
/* Asks once. The callback comes exactly once, from sntp_tick or when the answer is there, never
 * from within the call, unless sntp_close came first. E_IO with why: no socket, or no way there. */
MUST_USE enum err sntp_ask(struct net *net, struct clock *clock, struct entropy *entropy,
        const struct ip_port *server, uint64_t ms_max, sntp_answered *answered, void *ctx,
        struct sntp **ret_sntp, struct why *why);
/* Ends it where its time is over; returns when to call again (0: it has answered). */
struct mono sntp_tick(struct sntp *sntp);
void sntp_close(struct sntp *sntp); /* also from within the callback; NULL is fine */

/* Pure: a packet of len bytes that came for our question, sent at sent and taken at taken; mark:
 * the random transmit time in it. E_SYNTAX: not an answer to it; E_REFUSED: kiss of death or not
 * set. */
enum { SNTP_PACKET_BYTES = 48 };
MUST_USE enum err sntp_read(const uint8_t *packet, size_t len, uint64_t mark, struct wall sent,
        struct wall taken, struct sntp_answer *ret_answer);

#endif
