/* SPDX-License-Identifier: Apache-2.0
 *
 * deliver.h - the way out: routes, MX, sites, and the SMTP connections of one session loop.
 *
 * Two halves. The router finds the site of a domain (routes first, then RFC 5321 5.1) and keeps it
 * by TTL; one router a node. The deliverer holds this loop's outbound connections by lane, reuses
 * them, and hands each job's outcome back. All calls on the loop's own thread; after letters the
 * owner calls the turn, and again at the deadline that the turn returned.
 */
#ifndef OUTPOST_DELIVER_H
#define OUTPOST_DELIVER_H

#include "config/config.h"
#include "core/log.h"
#include "core/mailbox.h"
#include "core/prng.h"
#include "edge/clock.h"
#include "edge/dns.h"
#include "edge/net.h"
#include "edge/tls.h"
#include "queue/queue.h"
#include "spool/spool.h"

enum deliver_letter_kind {
    DELIVER_JOB = 0x200,     /* struct queue_job */
    DELIVER_ATTEMPT_WRITTEN, /* struct keeper_record, back from the keeper */
    DELIVER_TICK,            /* struct letter, to ourselves: a deadline came nearer, turn again */
    DELIVER_WANT_SITE        /* struct deliver_want_site, to the router's loop */
};
struct deliver_want_site {
    struct letter letter;
    uint32_t domain_id;
    struct config *config; /* counted */
    uint32_t domain_len;
    char domain[256];
};

/* Is ip an address of this host (net_is_local_address)? Listeners and sources of the configuration
 * count as such anyway. NULL: nothing else does. */
typedef bool deliver_is_own_address(struct ip ip);

/* ---- router ---------------------------------------------------------------------------------- */

enum {
    ROUTER_HOST_COUNT_MAX = 20,      /* MX hosts that are looked at, best preference first */
    ROUTER_ADDRESS_COUNT_MAX = 10,   /* addresses kept of each of them */
    ROUTER_LOOKUP_COUNT_MAX = 200,   /* domains looked up at a time; the others wait their turn */
    ROUTER_DOMAIN_COUNT_MAX = 20000, /* domains remembered; the longest unasked goes first */
    ROUTER_LOOKUP_MS_MAX = 60000,    /* then the domain is deferred */
    ROUTER_TTL_MS_MIN = 60000,       /* of DNS answers, whatever they say */
    ROUTER_TTL_MS_MAX = 3600000,
    ROUTER_NEGATIVE_MS_MAX = 300000,
    ROUTER_KEY_BYTES_MAX = 200 /* of a site key; longer ones end in a hash */
};

struct router_ports {
    struct mailbox *queue; /* struct queue_site with kind QUEUE_SITE */
    deliver_is_own_address *is_own_address;
};
/* How a domain gets its site: the catcher in sandbox mode; else config_route_for; else an address
 * literal; else MX and addresses by DNS. A domain that is not there, or has no address, is deferred
 * at first and bounces only when a later look-up finds the same. Internal and own addresses are
 * never part of a site that no route names. */
struct router;
MUST_USE enum err router_new(struct dns *dns, struct clock *clock, const struct log *log,
        const struct router_ports *ports, uint64_t seed, struct router **ret_router);
void router_letter(struct router *router, struct letter *letter, struct mono now);
struct mono router_turn(struct router *router, struct mono now); /* next deadline; 0: none */
void router_free(struct router *router); /* after dns_close: answers still out would find nobody */

/* ---- deliverer ------------------------------------------------------------------------------- */

enum {
    DELIVER_ADDRESS_TRY_COUNT_MAX = 5, /* addresses tried for one connection, as Postfix does */
    DELIVER_CONNECT_MS_MAX = 30000,    /* each of them */
    DELIVER_ADDRESS_BAD_MS = 300000,   /* one that failed is tried after the others for so long */
    DELIVER_TLS_BAD_MS = 3600000,      /* a failed handshake is remembered so long (policy `may`) */
    DELIVER_NOTE_COUNT = 512,          /* addresses remembered for the two above */
    DELIVER_CONNECTION_COUNT_MAX = 2000, /* at a time; lanes wait in turn for one to end */
    DELIVER_GROW_HOLD_MS = 30000,      /* a lane whose extra connection failed opens no more yet */
    DELIVER_REQUEUE_COUNT_MAX = 2,     /* reused connections found dead before a job is deferred */
    DELIVER_DIALOGUE_BYTES_MAX = 2048, /* of an outcome's dialogue; the end is kept */
    DELIVER_STOP_MS_MAX = 10000,       /* after deliver_stop transactions are cut */
    DELIVER_TRANSACTION_MS_MAX = 1800000,      /* a whole transaction up to its dot, plus … */
    DELIVER_TRANSACTION_BYTES_PER_S_MIN = 8192 /* … what its size takes at this rate */
};

struct deliver_ports {
    struct mailbox *self;                   /* this loop's box */
    struct mailbox *keeper;                 /* ATTEMPT records, answered when written */
    struct mailbox *queue;                  /* struct queue_result with kind QUEUE_RESULT */
    deliver_is_own_address *is_own_address; /* checked again before each connect */
};
struct deliver_stats {
    uint64_t connections, connections_now, transactions, tls_connections, jobs_now;
};
/* Each job comes back as one queue_result or several, the last of them marked. Their scope:
 *
 * RCPT: the reply to RCPT, for that recipient.
 *
 * MESSAGE: the reply to DATA or the content, for all others; a message that the peer cannot take
 * (SIZE, 8BITMIME); a connection cut while content was under way (DEFERRED) or after the final dot
 * (IN_DOUBT).
 *
 * SESSION: everything about us or the host. No connection, banner, EHLO, TLS, AUTH, 421, cut before
 * the content, an attempt that the keeper could not record, and refusals of MAIL that are policy or
 * order of commands (503, 521, 530, 534, 535, 538, x.7.x but 553, x.7.13, x.7.27). Never BOUNCED.
 *
 * is_untried only where no ATTEMPT record was asked for. A lane uses up to
 * config.site_connection_max connections; further jobs wait here, and one of them may ride behind
 * the content of another (RFC 2920 3.1), so up to twice as many jobs keep a lane busy. */
struct deliver;
MUST_USE enum err deliver_new(struct net *net, struct clock *clock, const struct log *log,
        struct tls_context *tls, uint64_t seed, const struct deliver_ports *ports,
        struct deliver **ret_deliver);
void deliver_letter(struct deliver *deliver, struct letter *letter, struct mono now);
struct mono deliver_turn(struct deliver *deliver, struct mono now); /* next deadline; 0: none */
/* No new transaction; jobs not begun go back untried; running ones end, or are cut after
 * DELIVER_STOP_MS_MAX. */
void deliver_stop(struct deliver *deliver);
bool deliver_is_idle(const struct deliver *deliver); /* no job and no connection is left */
void deliver_get_stats(const struct deliver *deliver, struct deliver_stats *ret_stats);
void deliver_free(struct deliver *deliver); /* cuts what still runs, and reports it */

#endif
