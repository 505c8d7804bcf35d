/* SPDX-License-Identifier: Apache-2.0
 *
 * threads_rig.h - a real node in threads on loopback, in a directory of its own, and its users.
 *
 * As `outpost serve --sandbox` puts it together, with the same runner and control socket; only
 * signals and the command line are left out. Everything is real but the world: the catcher
 * receives.
 */
#ifndef OUTPOST_TESTS_NODE_THREADS_RIG_H
#define OUTPOST_TESTS_NODE_THREADS_RIG_H

#include "node/node.h"
#include "node/runner_priv.h"
#include "node/serve_priv.h"

#include <jansson.h>
#include <stdatomic.h>

enum { RIG_LOOP_COUNT = 2, RIG_WORKER_COUNT = 2 };

struct rig {
    char dir[64];
    char socket_path[100];
    uint16_t port;
    struct config *config;
    struct log_sink *sink;
    struct log log;
    struct disk *spool, *history, *sandbox;
    struct net *net[RIG_LOOP_COUNT];
    struct dns *dns;
    struct node *node;
    struct runner *runner;
    struct control_http *http;
};

/* The directory and the configuration; nothing runs. */
void rig_init(struct rig *rig);
void rig_done(struct rig *rig); /* removes the directory */
void rig_start(struct rig *rig);
/* Stops in good order; returns after how many milliseconds nothing was under way. */
uint64_t rig_stop(struct rig *rig);

/* One request over the control socket; the parsed body, to be decref'd, or NULL. Any thread. */
json_t *rig_ask(const struct rig *rig, const char *method, const char *path, const char *body,
        int *ret_status);
/* A number of a GET's reply, by "part.name"; -1 where it is not there. */
int64_t rig_figure(const struct rig *rig, const char *path, const char *part, const char *name);

/* A client that submits message after message over one connection. Any thread. */
struct rig_client {
    const struct rig *rig;
    uint32_t number, message_count;
    bool has_login;
    uint32_t body_bytes;
    _Atomic bool *stop; /* ends early where set; NULL: never */
    /* what it saw: */
    uint32_t accepted_msgs, accepted_rcpts, refused;
    const char *fault; /* broke off: why */
    char last_id[27];  /* of "queued as" */
    char (*ids)[27];   /* of all accepted, mem_new */
};
void *rig_client_run(void *ctx);

#endif
