/* SPDX-License-Identifier: Apache-2.0
 *
 * smtp_server_data.c - message content: finds its end, takes the stuffed dots out, hands slices on.
 *
 * CRLF.CRLF ends it and nothing else (RFC 5321 4.1.1.4). A bare CR or LF anywhere, or too many
 * bytes, refuses the message: the rest is drained unseen to its true end and answered there.
 */
#include "core/str.h"
#include "proto/smtp_server_priv.h"

/* The octets are looked at eight at a time; a test for each would cost more than all else. */
static void note_octets(struct smtp_server *server, struct str s)
{
    const uint64_t low = UINT64_C(0x0101010101010101), high = UINT64_C(0x8080808080808080);
    uint64_t all = 0, zero = 0, word;
    size_t i = 0;
    for (; i + sizeof word <= s.len; i += sizeof word) {
        memcpy(&word, s.ptr + i, sizeof word);
        all |= word;
        zero |= (word - low) & ~word & high; /* a high bit for each zero octet */
    }
    for (; i < s.len; i++) {
        all |= (uint8_t)s.ptr[i];
        zero |= s.ptr[i] == '\0';
    }
    server->is_8bit = server->is_8bit || (all & high) != 0;
    server->has_nul = server->has_nul || zero != 0;
}

static void refuse(struct smtp_server *server, enum smtp_server_reason why,
        struct smtp_server_event *ret_event)
{
    server->drain = (uint8_t)why;
    ret_event->kind = SMTP_SERVER_RESET;
    ret_event->reason = why;
}

static void note_bare(struct smtp_server *server, bool is_cr, struct smtp_server_event *ret_event)
{
    if (server->drain == SMTP_SERVER_REASON_NONE) {
        server->is_bare_cr = is_cr;
        refuse(server, SMTP_SERVER_RESET_NEWLINE, ret_event);
    }
}

static void count_line(struct smtp_server *server, size_t len)
{
    size_t total = server->line_bytes + len;
    server->has_long_line = server->has_long_line || total > SMTP_SERVER_TEXT_LINE_BYTES_MAX;
    server->line_bytes = total < UINT32_MAX ? (uint32_t)total : UINT32_MAX;
}

/* The rest of a line, from inside it: up to and with its LF, or all there is. Sets the state behind
 * it; false where a bare CR or LF stands in it (the state is right even so). */
static bool scan_line(struct smtp_server *server, struct str s, size_t *ret_len, bool *ret_is_cr)
{
    const char *lf = memchr(s.ptr, '\n', s.len);
    size_t len = lf ? (size_t)(lf - s.ptr) : s.len; /* without LF */
    const char *cr = memchr(s.ptr, '\r', len);
    *ret_len = lf ? len + 1 : len;
    bool ends_in_cr = len > 0 && s.ptr[len - 1] == '\r';
    bool is_crlf = lf && ends_in_cr;
    count_line(server, ends_in_cr ? len - 1 : len);
    if (is_crlf) {
        server->line_bytes = 0;
        server->content = CONTENT_LINE_START;
    } else {
        server->content = !lf && ends_in_cr ? CONTENT_CR : CONTENT_INSIDE;
    }
    bool has_bare_cr = cr && (size_t)(cr - s.ptr) + 1 < len;
    *ret_is_cr = has_bare_cr;
    return !has_bare_cr && (!lf || is_crlf);
}

static void end_content(struct smtp_server *server, struct smtp_server_event *ret_event)
{
    if (server->drain == SMTP_SERVER_REASON_NONE) {
        server->pending = SMTP_SERVER_END;
        *ret_event = (struct smtp_server_event){ .kind = SMTP_SERVER_END,
            .size_bytes = server->content_bytes,
            .is_8bit = server->is_8bit,
            .has_nul = server->has_nul,
            .has_long_line = server->has_long_line };
        return;
    }
    char text[SMTP_SERVER_REPLY_BYTES_MAX];
    if (server->drain == SMTP_SERVER_RESET_NEWLINE) {
        size_t len = fmt(text, sizeof text, "%.*s Error: bare <%s> received",
                STR_ARG(str_sub(server->conf->hostname, 0, SMTP_SERVER_HELO_BYTES_MAX)),
                server->is_bare_cr ? "CR" : "LF");
        server_say(server, 550, STR("5.5.2"), str_of(text, len));
    } else {
        server_say(server, 552, STR("5.3.4"), STR("Error: message file too big"));
    }
    server_drop_transaction(server);
    server->state = SERVER_COMMAND;
}

/* The first byte where the line before, or a dot, leaves something open. Returns the bytes that
 * are used up by it and are not content (0 or 1). */
static size_t resume(struct smtp_server *server, char c, struct smtp_server_event *ret_event)
{
    switch ((enum server_content)server->content) {
    case CONTENT_LINE_START:
        if (c == '.') { /* RFC 5321 4.5.2 */
            server->content = CONTENT_DOT;
            return 1;
        }
        break;
    case CONTENT_DOT:
        if (c == '\r') {
            server->content = CONTENT_DOT_CR;
            return 1;
        }
        break;
    case CONTENT_DOT_CR:
        if (c == '\n') {
            end_content(server, ret_event);
            return 1;
        }
        note_bare(server, true, ret_event);
        break;
    case CONTENT_CR:
        if (c != '\n') {
            note_bare(server, true, ret_event);
        }
        return 0; /* the LF that ends the line is content */
    case CONTENT_INSIDE:
        return 0;
    }
    server->content = CONTENT_INSIDE;
    return 0;
}

/* Content from the start of s to the next dot at a line start, or the end of s. */
static size_t scan_chunk(
        struct smtp_server *server, struct str s, struct smtp_server_event *ret_event)
{
    size_t used = 0;
    if (server->content == CONTENT_CR && s.ptr[0] == '\n') {
        server->line_bytes = 0;
        server->content = CONTENT_LINE_START;
        used = 1;
    }
    while (used < s.len && !(server->content == CONTENT_LINE_START && s.ptr[used] == '.')) {
        size_t len;
        bool is_cr;
        if (!scan_line(server, str_from(s, used), &len, &is_cr)) {
            note_bare(server, is_cr, ret_event);
        }
        used += len;
    }
    return used;
}

static void give_chunk(
        struct smtp_server *server, struct str chunk, struct smtp_server_event *ret_event)
{
    uint64_t max = server_size_max(server);
    server->content_bytes += chunk.len;
    if (server->content_bytes > max && server->content_bytes - max > max) {
        server_say(server, 421, STR("4.3.4"), STR("Error: message file too big"));
        server_close(server, SMTP_SERVER_CLOSE_SIZE);
    } else if (server->drain == SMTP_SERVER_REASON_NONE && server->content_bytes > max) {
        refuse(server, SMTP_SERVER_RESET_SIZE, ret_event);
    } else if (server->drain == SMTP_SERVER_REASON_NONE) {
        note_octets(server, chunk);
        ret_event->kind = SMTP_SERVER_CHUNK;
        ret_event->text = chunk;
    }
}

size_t server_content(
        struct smtp_server *server, struct str bytes, struct smtp_server_event *ret_event)
{
    size_t used = resume(server, bytes.ptr[0], ret_event);
    if (used > 0) {
        return used;
    }
    /* To the byte that passes the limit at most: so the first fault is the same however the input
     * was split. */
    if (server->drain == SMTP_SERVER_REASON_NONE) {
        uint64_t room = server_size_max(server) - server->content_bytes;
        bytes.len = bytes.len > room ? (size_t)room + 1 : bytes.len;
    }
    size_t len = scan_chunk(server, bytes, ret_event);
    give_chunk(server, str_sub(bytes, 0, len), ret_event);
    return len;
}
