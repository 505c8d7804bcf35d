/* SPDX-License-Identifier: Apache-2.0
 *
 * runner_priv.h - runs the owners of a node in threads; serve.c and the tests of threads use it.
 */
#ifndef OUTPOST_NODE_RUNNER_PRIV_H
#define OUTPOST_NODE_RUNNER_PRIV_H

#include "node/node.h"

struct runner;
/* One thread an owner; nets[i] is loop i's, from net_open_real, with its listeners open. Nobody may
 * send to an owner before (the control API too). E_IO, E_NOMEM: no thread runs any more. */
MUST_USE enum err runner_start(
        struct node *node, struct net *const *nets, struct runner **ret_runner, struct why *why);
/* After node_stop (else new work goes on meanwhile). What still runs is cut and its outcomes are
 * recorded; then the node may be freed. No control request may be out. NULL is fine. */
void runner_end(struct runner *runner);

#endif
