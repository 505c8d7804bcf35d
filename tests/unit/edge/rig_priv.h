/* SPDX-License-Identifier: Apache-2.0
 *
 * rig_priv.h - two ends of a connection over loopback on one loop, for the tests of net and tls.
 *
 * A side reads all it is told of into `in` and writes `out` as room comes. After every event the
 * test's `step` looks at both sides and acts; it ends the loop by rig_stop. Ten seconds without an
 * end fail the test.
 */
#ifndef OUTPOST_TESTS_UNIT_EDGE_RIG_PRIV_H
#define OUTPOST_TESTS_UNIT_EDGE_RIG_PRIV_H

#include "core/buf.h"
#include "edge/clock.h"
#include "edge/net.h"
#include "edge/tls.h"
#include "tests/test.h"

struct rig;
struct side {
    struct rig *rig;
    struct net_conn *conn;
    struct buf in, out;
    size_t out_done;
    size_t read_cap; /* bytes a read; one read an event where is_lazy */
    bool is_lazy;
    bool is_blocked; /* a write did not fit */
    bool is_connected, is_tls, is_failed, is_eof, is_reset;
    uint32_t event_count, readable_count;
    struct net_info info; /* when it failed or TLS was done */
};
struct rig {
    struct net *net;
    struct net_listener *listener;
    struct ip_port at;
    struct side client, server;
    void (*step)(struct rig *rig);
    bool is_stopped;
    bool is_timed_out;
    uint32_t accept_count;
    int phase; /* the test's own */
};

void rig_open(struct rig *rig, const char *address, void (*step)(struct rig *rig));
void rig_connect(struct rig *rig);
void rig_run(struct rig *rig); /* until rig_stop */
void rig_stop(struct rig *rig);
void rig_close(struct rig *rig);

void side_say(struct side *side, struct str s);
void side_close(struct side *side, bool is_abort);
bool side_has(const struct side *side, struct str s); /* in is exactly s */
void side_start_tls(struct side *side, struct tls_context *context, bool is_server,
        const char *name, bool verify_required, const char *session_key);

#endif
