/* SPDX-License-Identifier: Apache-2.0
 *
 * world.h - a whole node in a simulated world, on one thread, from one seed.
 *
 * The world owns the edge (events, net, DNS, disks) and the node standing on it, and calls the
 * owners' turns in an order drawn from the seed. It can crash the node at any moment and start it
 * again on what the disks kept. Two worlds with the same seed and the same calls have the same
 * hash.
 */
#ifndef OUTPOST_SIM_WORLD_H
#define OUTPOST_SIM_WORLD_H

#include "core/log.h"
#include "node/node.h"
#include "sim/disk.h"
#include "sim/dns.h"
#include "sim/events.h"
#include "sim/net.h"

enum { WORLD_LOOP_COUNT = 2, WORLD_WORKER_COUNT = 2, WORLD_OWNER_COUNT_MAX = 16 };

struct world {
    struct sim_events events;
    struct sim_net *net;
    struct sim_dns *dns;
    struct sim_disk *spool_disk, *history_disk, *sandbox_disk;
    struct disk *spool, *history, *sandbox;
    struct config *config;
    struct log log;
    bool is_talking; /* log lines to standard error */

    struct node *node; /* NULL between a crash and a start */
    struct net *loops[WORLD_LOOP_COUNT];
    struct dns *resolver;
    struct mono due[WORLD_OWNER_COUNT_MAX];
    bool is_runnable[WORLD_OWNER_COUNT_MAX];
    uint32_t crash_count, start_count;
    uint64_t turn_count;
    void (*mail_line)(void *ctx, struct str line); /* optional: the node's mail log */
    void (*node_line)(void *ctx, struct str line); /* optional: what the node says of itself */
    void *line_ctx;                                /* of both */
};

enum world_crash { WORLD_KILL, WORLD_POWER_CUT };

/* config_text: a configuration; %s paths are not needed, disks are the world's. */
MUST_USE enum err world_new(
        uint64_t seed, struct str config_text, struct world **ret_world, struct why *why);
void world_free(struct world *world);

/* Starts the node on what the disks have. E_...: why the node would not start. */
MUST_USE enum err world_start(struct world *world, struct why *why);
/* The node is gone from one instruction to the next; what was not synced may be lost (POWER_CUT).
 */
void world_crash(struct world *world, enum world_crash how);
/* Stops it in good order. */
void world_stop(struct world *world);

/* Does one thing: a turn of an owner, or the next event, or moves the clock to the next deadline.
 * False: nothing is left to happen before `until`; the clock then stands there. */
bool world_step(struct world *world, struct mono until);
/* Steps until the time is reached. */
void world_run_until(struct world *world, struct mono until);
void world_run_for(struct world *world, uint64_t ms);

/* One request to the node's control API, run to its answer. Body in *ret_body. */
uint16_t world_ask(struct world *world, const char *method, const char *path, const char *query,
        const char *body, struct buf *ret_body);

#endif
