/* SPDX-License-Identifier: Apache-2.0
 *
 * dns_direct.h - questions to one name server by its address, past caches and resolvers.
 *
 * To see what each of a zone's servers says. Over UDP, and over TCP where the answer is cut (TC).
 */
#ifndef OUTPOST_EDGE_DNS_DIRECT_H
#define OUTPOST_EDGE_DNS_DIRECT_H

#include "edge/dns.h"

enum { DNS_DIRECT_QUESTION_COUNT_MAX = 512 };

struct net;
struct entropy;
struct dns_direct;
/* On the loop of net, a real one. E_NOMEM, E_FULL (out of descriptors). */
MUST_USE enum err dns_direct_open(
        struct net *net, struct entropy *entropy, struct dns_direct **ret_direct, struct why *why);
/* Asks server, without recursion. The callback comes exactly once, never from within the call,
 * after ms_max at the latest (then DNS_TIMEOUT), unless dns_direct_close came first. A server that
 * refuses, sends to others (a referral: lame) or makes no sense: DNS_SERVFAIL with why. An alias
 * that leaves the answer is given as it is: one record of DNS_CNAME. is_secure is never set.
 * E_SYNTAX: no name that can be asked for; E_FULL: DNS_DIRECT_QUESTION_COUNT_MAX are open; E_NOMEM,
 * E_IO: no socket (why not: the address family is not there). */
MUST_USE enum err dns_direct_ask(struct dns_direct *direct, const struct ip_port *server,
        struct str name, enum dns_type type, uint64_t ms_max, dns_answered *answered, void *ctx);
void dns_direct_close(struct dns_direct *direct); /* NULL is fine; no callback comes any more */

#endif
