/* SPDX-License-Identifier: Apache-2.0
 *
 * serve_priv.h - the parts of the real runner.
 */
#ifndef OUTPOST_NODE_SERVE_PRIV_H
#define OUTPOST_NODE_SERVE_PRIV_H

#include "core/log.h"
#include "node/node.h"

/* ---- log_sink.c: where lines go. Never blocks its callers: a thread of its own writes, and what
 * it cannot write in time is dropped and counted, and the count is written when there is room
 * again. */
enum { LOG_SINK_PENDING_BYTES_MAX = 1 << 20, LOG_SINK_END_MS_MAX = 1000 };
struct log_sink;
/* Lines can be added from here on; they are written from log_sink_start on. */
MUST_USE enum err log_sink_open(
        const struct config *config, struct log_sink **ret_sink, struct why *why);
MUST_USE enum err log_sink_start(struct log_sink *sink, struct why *why);
void log_sink_reopen(struct log_sink *sink); /* after rotation */
/* ctx is the sink; any thread. */
void log_sink_line(void *ctx, enum log_level level, struct str line);
void log_sink_mail_line(void *ctx, struct str line); /* may wait for log_sink_flush */
void log_sink_flush(void *ctx);
void log_sink_close(
        struct log_sink *sink); /* waits LOG_SINK_END_MS_MAX for a slow reader; NULL is fine */

/* ---- notify.c: systemd, where there is one ---- */
void notify_ready(void);
void notify_reloading(void);
void notify_stopping(void);

/* ---- control_http.c: the control API over a UNIX socket ---- */
struct control_http;
/* E_BUSY: another node answers there. Requests come from now on, on threads of its own. */
MUST_USE enum err control_http_open(
        struct node *node, struct str path, struct control_http **ret_http, struct why *why);
/* Waits for requests under way: their owners must still run. NULL is fine. */
void control_http_close(struct control_http *http);

#endif
