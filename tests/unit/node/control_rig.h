/* SPDX-License-Identifier: Apache-2.0
 *
 * control_rig.h - a simulated node, a client that submits, a receiver that obeys addresses, and
 * questions.
 *
 * The receiver takes everything for everybody, but puts off local parts that begin with "defer" and
 * refuses those that begin with "reject". All mail goes there by a route.
 */
#ifndef OUTPOST_TESTS_NODE_CONTROL_RIG_H
#define OUTPOST_TESTS_NODE_CONTROL_RIG_H

#include "core/list.h"
#include "sim/world.h"

#include <jansson.h>

struct control_rig {
    struct world *world;
    uint64_t received_count; /* transactions that the receiver took */
    struct list receivers;   /* one a connection that is still open */
    struct buf reply;        /* of the last question */
    json_t *json;            /* the same, parsed; the rig's until the next question */
};

void rig_open(struct control_rig *rig, uint64_t seed, const char *more_config);
void rig_close(struct control_rig *rig);

struct rig_mail {
    const char *to;                  /* addresses, by comma */
    const char *tag, *stream, *from; /* NULL: none, the default */
    uint32_t rcpt_count;             /* instead of to: so many of "deferN@big.example" */
};
/* Submits, runs until it is acknowledged; the id of "queued as". */
void rig_submit(struct control_rig *rig, const struct rig_mail *mail, char ret_id[27]);

/* Asks; reply and json are the answer. */
uint16_t rig_get(struct control_rig *rig, const char *path, const char *query);
uint16_t rig_post(struct control_rig *rig, const char *path, const char *body);
/* How many entries the queue list with this query has. */
size_t rig_count(struct control_rig *rig, const char *query);
/* Acts, expects 200; how many recipients were changed. */
int64_t rig_act(struct control_rig *rig, const char *body);
/* A text of entry i of the last list. */
struct str rig_entry(const struct control_rig *rig, size_t i, const char *name);
bool rig_says(const struct control_rig *rig, const char *text); /* in the last reply */

#endif
