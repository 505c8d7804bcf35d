/* SPDX-License-Identifier: Apache-2.0
 *
 * node.h - the owners put together: one running Outpost, in threads or in a simulation.
 *
 * node_open builds every owner over the edge it is handed and connects their mailboxes. Who calls
 * the turns decides the rest: node/serve.c gives each owner a thread, the simulation calls them on
 * one thread in an order drawn from its seed. Nothing here depends on which.
 */
#ifndef OUTPOST_NODE_H
#define OUTPOST_NODE_H

#include "config/config.h"
#include "core/log.h"
#include "core/mailbox.h"
#include "edge/clock.h"
#include "edge/disk.h"
#include "edge/dns.h"
#include "edge/entropy.h"
#include "edge/net.h"
#include "history/history.h"

enum { NODE_LOOP_COUNT_MAX = 8, NODE_WORKER_COUNT_MAX = 8 };

/* What a node stands on; all of it stays the caller's and must outlive the node. */
struct node_edge {
    struct clock *clock;
    struct entropy *entropy;
    struct disk *spool, *history;
    struct disk *sandbox; /* where the catcher writes; NULL: no catcher */
    struct net **net;     /* one session loop each */
    uint32_t net_count;
    struct dns *dns;                      /* answers on net[0] */
    bool (*is_own_address)(struct ip ip); /* of this host: net_is_local_address, or a test's */
    uint32_t worker_count;
    uint32_t pid;                                  /* for log lines */
    void (*mail_line)(void *ctx, struct str line); /* finished mail log lines; NULL: none */
    void (*mail_flush)(void *ctx);                 /* after a turn's lines */
    void *mail_line_ctx;
};

struct node;
/* Opens spool and history, restores the queue. The configuration is counted. Nothing runs yet. */
MUST_USE enum err node_open(const struct node_edge *edge, struct config *config,
        const struct log *log, struct node **ret_node, struct why *why);
/* Opens the listeners, on the thread that made the nets, before their loops run. */
MUST_USE enum err node_listen(struct node *node, struct why *why);
void node_free(struct node *node); /* after every thread has ended; NULL is fine */

/* The owners: loops first (owner i serves net[i]), then the rest. */
enum node_role { NODE_LOOP, NODE_KEEPER, NODE_SCHEDULER, NODE_SCRIBE, NODE_WORKER };
struct node_owner {
    const char *name;
    struct mailbox *box;
    enum node_role role;
};
uint32_t node_owner_count(const struct node *node);
struct node_owner node_owner(const struct node *node, uint32_t index);
/* Handles what has come for the owner; returns when it wants to be called again at the latest. */
struct mono node_owner_turn(struct node *node, uint32_t index, struct mono now);
/* The owner's last act, on its own thread, in the order loops, workers, scheduler, keeper, scribe:
 * a loop cuts what still runs and reports it. No turn of it may follow. */
void node_owner_end(struct node *node, uint32_t index, struct mono now);

/* May config take the place of the running one? E_USAGE: not without a restart (why says what).
 * Settings that only the next start takes up get a line each in notes. */
MUST_USE enum err node_can_reload(
        struct node *node, const struct config *config, struct buf *notes, struct why *why);
/* A new snapshot for everybody; counted. Listeners that are new are opened. Any thread. */
void node_reload(struct node *node, struct config *config);
/* No new sessions and no new attempts; what runs ends. Any thread, more than once. */
void node_stop(struct node *node);
/* Nothing is under way any more, and every outcome is with the keeper. */
bool node_is_stopped(struct node *node);

/* ---- the control API: one request, one reply (DESIGN 9) ------------------------------------- */

struct control; /* one request being answered */
struct control_request {
    struct str method, path; /* "GET", "/v1/queue" */
    struct str query;        /* "domain=example.com&count=10", percent-encoded, or "" */
    struct str body;         /* JSON, or "" */
    struct str author;       /* who asks: a user name */
};
/* Begins; any thread. Questions to owners are under way afterwards. */
MUST_USE enum err control_begin(
        struct node *node, const struct control_request *request, struct control **ret_control);
/* True when the reply is complete; wait_ms 0 asks only, else blocks up to that long. */
bool control_wait(struct control *control, uint64_t wait_ms);
/* Status and JSON body; valid until control_free. */
uint16_t control_status(const struct control *control);
struct str control_body(const struct control *control);
/* With 405: the methods that there are, "GET" or "POST" (RFC 9110 15.5.6); else "". */
const char *control_allow(const struct control *control);
void control_free(struct control *control); /* NULL is fine, also before it is complete */
/* Called by the control API for POST /v1/reload; loads the file again. E_SYNTAX: *ret_text says. */
void node_on_reload(
        struct node *node, enum err (*reload)(void *ctx, struct buf *ret_text), void *ctx);

/* ---- the real runner ---- */

/* `outpost serve`: threads, signals, control socket, readiness. Returns the exit code. */
struct serve_options {
    const char *config_path;
    bool is_sandbox;
    bool is_quiet;
};
int serve_run(const struct serve_options *options);

#endif
