/* SPDX-License-Identifier: Apache-2.0
 *
 * smtp_server_priv.h - what the three files of the engine share: smtp_server.c (output, replies,
 * lines), smtp_server_command.c (verbs and their syntax), smtp_server_data.c (content).
 */
#ifndef OUTPOST_PROTO_SMTP_SERVER_PRIV_H
#define OUTPOST_PROTO_SMTP_SERVER_PRIV_H

#include "proto/smtp_server.h"

enum server_state {
    SERVER_COMMAND,
    SERVER_AUTH_LINE, /* after 334 */
    SERVER_CONTENT,
    SERVER_TLS, /* after 220 to STARTTLS */
    SERVER_CLOSED,
};

/* Where the next byte of content stands. */
enum server_content {
    CONTENT_LINE_START, /* behind CRLF, or at the beginning */
    CONTENT_INSIDE,
    CONTENT_CR,     /* behind a CR that an LF must follow */
    CONTENT_DOT,    /* behind a dot at line start; the dot is not content */
    CONTENT_DOT_CR, /* behind dot CR: an LF ends the message */
};

static inline uint32_t server_limit(uint32_t configured, uint32_t fallback)
{
    return configured ? configured : fallback;
}

/* Queues one reply and counts it if it is an error. No decision, no state. */
void server_say(struct smtp_server *server, unsigned code, struct str enhanced, struct str text);
/* Queues bytes as they are; what does not fit is cut (room is checked before each command). */
void server_put(struct smtp_server *server, struct str s);
void server_close(struct smtp_server *server, enum smtp_server_reason reason);
void server_drop_transaction(struct smtp_server *server);
void server_break_sync(struct smtp_server *server); /* 554 5.5.0 and close */
uint64_t server_size_max(const struct smtp_server *server);

/* One command without its CRLF; has_more: bytes stand behind it already. */
void server_command(struct smtp_server *server, struct str line, bool has_more,
        struct smtp_server_event *ret_event);
/* One step through content: at least one byte is used, at most one event given. */
size_t server_content(
        struct smtp_server *server, struct str bytes, struct smtp_server_event *ret_event);

#endif
