/* SPDX-License-Identifier: Apache-2.0
 *
 * smtp_server.c - the session: output, replies and decisions, and cutting the input into lines.
 *
 * Commands are parsed in smtp_server_command.c, content in smtp_server_data.c. A command is only
 * looked at while the output has room for all that it may say, so no reply is ever lost.
 */
#include "proto/smtp_server.h"

#include "core/str.h"
#include "proto/smtp_server_priv.h"

/* EHLO's lines, or one reply and a 421 behind it. */
enum { SERVER_ROOM_BYTES = 2 * SMTP_SERVER_REPLY_BYTES_MAX + 256 };
static_assert(
        (int)SERVER_ROOM_BYTES < (int)SMTP_SERVER_OUTPUT_BYTES, "one command fits an empty output");

const char *smtp_server_reason_name(enum smtp_server_reason reason)
{
    static const char *const name[] = {
        [SMTP_SERVER_REASON_NONE] = "none",
        [SMTP_SERVER_RESET_COMMAND] = "client said RSET",
        [SMTP_SERVER_RESET_NEWLINE] = "bare CR or LF in content",
        [SMTP_SERVER_RESET_SIZE] = "message too big",
        [SMTP_SERVER_CLOSE_NEWLINE] = "bare LF ended a command",
        [SMTP_SERVER_CLOSE_FLOOD] = "endless command line",
        [SMTP_SERVER_CLOSE_SYNC] = "client talked before it was its turn",
        [SMTP_SERVER_CLOSE_FOREIGN] = "not SMTP",
        [SMTP_SERVER_CLOSE_ERRORS] = "too many errors",
        [SMTP_SERVER_CLOSE_RCPT] = "too many recipients",
        [SMTP_SERVER_CLOSE_AUTH] = "too many failed logins",
        [SMTP_SERVER_CLOSE_SIZE] = "content over twice the size limit",
        [SMTP_SERVER_CLOSE_DRIVER] = "closed by this side",
        [SMTP_SERVER_CLOSE_QUIT] = "client said QUIT",
    };
    static_assert(COUNT_OF(name) == SMTP_SERVER_REASON_COUNT, "a name for each reason");
    return (size_t)reason < COUNT_OF(name) ? name[reason] : "unknown";
}

uint64_t server_size_max(const struct smtp_server *server)
{
    uint64_t max = server->conf->size_max_bytes;
    return max ? max : SMTP_SERVER_SIZE_DEFAULT_BYTES;
}

void server_put(struct smtp_server *server, struct str s)
{
    size_t room = sizeof server->out - server->out_len;
    size_t len = s.len < room ? s.len : room;
    if (len > 0) {
        memcpy(server->out + server->out_len, s.ptr, len);
        server->out_len += (uint32_t)len;
    }
}

/* Nothing that a peer said leaves unescaped, and nothing can end the line early. */
static void put_printable(struct smtp_server *server, struct str text, size_t len_max)
{
    size_t start = server->out_len;
    server_put(server, str_sub(text, 0, len_max));
    for (size_t i = start; i < server->out_len; i++) {
        if (server->out[i] < 0x20 || server->out[i] > 0x7e) {
            server->out[i] = '?';
        }
    }
}

void server_say(struct smtp_server *server, unsigned code, struct str enhanced, struct str text)
{
    size_t start = server->out_len;
    char digits[4] = { (char)('0' + code / 100 % 10), (char)('0' + code / 10 % 10),
        (char)('0' + code % 10), ' ' };
    server_put(server, str_of(digits, sizeof digits));
    if (enhanced.len > 0 && code / 100 != 3) { /* RFC 2034 4: none with 3xx */
        put_printable(server, enhanced, 16);
        server_put(server, STR(" "));
    }
    if (code == 421) { /* RFC 5321 4.2.2: the domain comes first */
        put_printable(server, server->conf->hostname, SMTP_SERVER_HELO_BYTES_MAX);
        server_put(server, STR(" "));
    }
    size_t used = server->out_len - start + 2;
    put_printable(server, text,
            used < SMTP_SERVER_REPLY_BYTES_MAX ? SMTP_SERVER_REPLY_BYTES_MAX - used : 0);
    server_put(server, STR("\r\n"));
    if (code >= 400 && code != 452) {
        server->error_count++;
    }
}

void server_close(struct smtp_server *server, enum smtp_server_reason reason)
{
    server->state = SERVER_CLOSED;
    server->pending = SMTP_SERVER_NONE;
    server->closed = (uint8_t)reason;
    server_drop_transaction(server);
}

void server_drop_transaction(struct smtp_server *server)
{
    server->has_mail = false;
    server->rcpt_count = 0;
    server->rcpt_tried_count = 0;
    server->rcpt_over_count = 0;
    server->content_bytes = 0;
    server->drain = SMTP_SERVER_REASON_NONE;
}

void server_break_sync(struct smtp_server *server)
{
    server_say(server, 554, STR("5.5.0"), STR("Error: SMTP protocol synchronization"));
    server_close(server, SMTP_SERVER_CLOSE_SYNC);
}

static void check_error_count(struct smtp_server *server)
{
    uint32_t max = server_limit(server->conf->error_count_max, SMTP_SERVER_ERROR_DEFAULT);
    if (server->state != SERVER_CLOSED && server->error_count >= max) {
        server_say(server, 421, STR("4.7.0"), STR("Error: too many errors"));
        server_close(server, SMTP_SERVER_CLOSE_ERRORS);
    }
}

void smtp_server_open(struct smtp_server *server, const struct smtp_server_conf *conf, bool is_tls)
{
    memset(server, 0, offsetof(struct smtp_server, out));
    server->conf = conf;
    server->is_tls = is_tls;
    server->must_be_sync = true; /* the client waits for the greeting, RFC 5321 3.1 */
    server_put(server, STR("220 "));
    put_printable(server, conf->hostname, SMTP_SERVER_HELO_BYTES_MAX);
    server_put(server, STR(" ESMTP Outpost\r\n"));
}

struct str smtp_server_output(const struct smtp_server *server)
{
    return str_of(server->out + server->out_done, server->out_len - server->out_done);
}

void smtp_server_wrote(struct smtp_server *server, size_t n_bytes)
{
    ASSERT(n_bytes <= server->out_len - server->out_done);
    server->out_done += (uint32_t)n_bytes;
    if (server->out_done == server->out_len) {
        server->out_done = 0;
        server->out_len = 0;
        if (server->pending == SMTP_SERVER_NONE) {
            server->must_be_sync = false;
        }
    }
}

static bool has_room(struct smtp_server *server)
{
    if (sizeof server->out - server->out_len >= SERVER_ROOM_BYTES) {
        return true;
    }
    server->out_len -= server->out_done;
    memmove(server->out, server->out + server->out_done, server->out_len);
    server->out_done = 0;
    return sizeof server->out - server->out_len >= SERVER_ROOM_BYTES;
}

static size_t line_limit(const struct smtp_server *server, struct str bytes)
{
    bool is_auth = server->state == SERVER_AUTH_LINE || str_starts_nocase(bytes, STR("AUTH "));
    return is_auth ? SMTP_SERVER_AUTH_LINE_BYTES_MAX : SMTP_SERVER_LINE_BYTES_MAX;
}

static void refuse_flood(struct smtp_server *server)
{
    server_say(server, 421, STR("4.7.0"), STR("Error: line too long"));
    server_close(server, SMTP_SERVER_CLOSE_FLOOD);
}

/* RFC 5321 2.3.8: only CRLF ends a line. To go on would invite smuggling. */
static void refuse_bare_lf(struct smtp_server *server)
{
    server_say(server, 500, STR("5.5.2"), STR("Error: bare <LF> received"));
    server_close(server, SMTP_SERVER_CLOSE_NEWLINE);
}

static void refuse_long_line(struct smtp_server *server, bool is_auth)
{
    server->state = SERVER_COMMAND;
    server_say(server, 500, is_auth ? STR("5.5.6") : STR("5.5.2"), STR("Error: line too long"));
}

/* Inside a line that is too long to keep: goes to its end, counting. */
static size_t skip_line(struct smtp_server *server, struct str bytes)
{
    const char *lf = memchr(bytes.ptr, '\n', bytes.len);
    size_t len = lf ? (size_t)(lf - bytes.ptr) + 1 : bytes.len;
    bool has_cr = len >= 2 && lf ? lf[-1] == '\r' : server->skip_has_cr;
    if (server->skipped_bytes + len > SMTP_SERVER_FLOOD_BYTES_MAX) {
        refuse_flood(server);
        return bytes.len;
    }
    server->skipped_bytes += (uint32_t)len;
    server->skip_has_cr = bytes.ptr[len - 1] == '\r';
    if (lf) {
        server->is_skipping = false;
        if (has_cr) {
            refuse_long_line(server, server->skips_auth);
        } else {
            refuse_bare_lf(server);
        }
    }
    return len;
}

/* No line end in sight: waits for more, or begins to skip. */
static size_t begin_line(struct smtp_server *server, struct str bytes)
{
    size_t limit = line_limit(server, bytes);
    if (bytes.len < limit) {
        return 0;
    }
    server->is_skipping = true;
    server->skips_auth = limit == SMTP_SERVER_AUTH_LINE_BYTES_MAX;
    server->skipped_bytes = 0;
    server->skip_has_cr = false;
    return skip_line(server, bytes);
}

static void auth_line(struct smtp_server *server, struct str line, bool has_more,
        struct smtp_server_event *ret_event)
{
    if (has_more) { /* RFC 4954 4: AUTH is the last of its group, each step too */
        server_break_sync(server);
        return;
    }
    server->must_be_sync = true;
    server->pending = SMTP_SERVER_AUTH_STEP;
    ret_event->kind = SMTP_SERVER_AUTH_STEP;
    ret_event->text = line;
}

static size_t take_line(
        struct smtp_server *server, struct str bytes, struct smtp_server_event *ret_event)
{
    if (server->is_skipping) {
        return skip_line(server, bytes);
    }
    const char *lf = memchr(bytes.ptr, '\n', bytes.len);
    if (!lf) {
        return begin_line(server, bytes);
    }
    size_t len = (size_t)(lf - bytes.ptr) + 1;
    size_t limit = line_limit(server, bytes);
    if (len > SMTP_SERVER_FLOOD_BYTES_MAX) {
        refuse_flood(server);
        return bytes.len;
    }
    if (len < 2 || lf[-1] != '\r') {
        refuse_bare_lf(server);
    } else if (len > limit) {
        refuse_long_line(server, limit == SMTP_SERVER_AUTH_LINE_BYTES_MAX);
    } else if (server->state == SERVER_AUTH_LINE) {
        auth_line(server, str_sub(bytes, 0, len - 2), bytes.len > len, ret_event);
    } else {
        server_command(server, str_sub(bytes, 0, len - 2), bytes.len > len, ret_event);
    }
    return len;
}

static size_t step(
        struct smtp_server *server, struct str bytes, struct smtp_server_event *ret_event)
{
    size_t used = bytes.len;
    if (server->must_be_sync || server->state == SERVER_TLS) {
        server_break_sync(server);
    } else if (server->state == SERVER_CONTENT) {
        used = server_content(server, bytes, ret_event);
    } else {
        used = take_line(server, bytes, ret_event);
    }
    check_error_count(server);
    if (server->state == SERVER_CLOSED && ret_event->kind != SMTP_SERVER_QUIT) {
        *ret_event = (struct smtp_server_event){ .kind = SMTP_SERVER_CLOSE,
            .reason = (enum smtp_server_reason)server->closed };
        used = bytes.len;
    }
    return used;
}

size_t smtp_server_input(
        struct smtp_server *server, struct str bytes, struct smtp_server_event *ret_event)
{
    *ret_event = (struct smtp_server_event){ 0 };
    size_t used = 0;
    while (used < bytes.len && ret_event->kind == SMTP_SERVER_NONE) {
        if (server->state == SERVER_CLOSED) {
            return bytes.len;
        }
        bool waits = server->pending != SMTP_SERVER_NONE && !server->must_be_sync;
        if (waits || !has_room(server)) {
            break;
        }
        size_t n_bytes = step(server, str_from(bytes, used), ret_event);
        if (n_bytes == 0) {
            break;
        }
        used += n_bytes;
    }
    return used;
}

static void decide_data(struct smtp_server *server, bool is_yes)
{
    if (!is_yes) { /* sender and recipients go together, RFC 5321 4.1.1.4 */
        server_drop_transaction(server);
        return;
    }
    server->state = SERVER_CONTENT;
    server->content = CONTENT_LINE_START;
    server->content_bytes = 0;
    server->line_bytes = 0;
    server->drain = SMTP_SERVER_REASON_NONE;
    server->is_bare_cr = false;
    server->is_8bit = false;
    server->has_nul = false;
    server->has_long_line = false;
}

static void decide_end(struct smtp_server *server, bool is_yes)
{
    server->state = SERVER_COMMAND;
    server_drop_transaction(server);
    if (is_yes) {
        server->error_count = 0;
        server->idle_count = 0;
    }
}

static void decide_auth(struct smtp_server *server, unsigned code)
{
    server->state = code == 334 ? SERVER_AUTH_LINE : SERVER_COMMAND;
    server->is_authenticated = code / 100 == 2;
    if (code != 535) {
        return;
    }
    uint32_t max = server_limit(server->conf->auth_failure_max, SMTP_SERVER_AUTH_FAILURE_DEFAULT);
    if (++server->auth_failure_count >= max) {
        server_say(server, 421, STR("4.7.0"), STR("Error: too many failed logins"));
        server_close(server, SMTP_SERVER_CLOSE_AUTH);
    }
}

static void decide(struct smtp_server *server, enum smtp_server_event_kind what, unsigned code)
{
    bool is_yes = code < 400;
    switch (what) {
    case SMTP_SERVER_MAIL:
        server_drop_transaction(server);
        server->has_mail = is_yes;
        break;
    case SMTP_SERVER_RCPT:
        server->rcpt_count += is_yes;
        break;
    case SMTP_SERVER_DATA:
        decide_data(server, is_yes);
        break;
    case SMTP_SERVER_END:
        decide_end(server, is_yes);
        break;
    case SMTP_SERVER_AUTH:
    case SMTP_SERVER_AUTH_STEP:
        decide_auth(server, code);
        break;
    case SMTP_SERVER_STARTTLS:
        server->state = is_yes ? SERVER_TLS : SERVER_COMMAND;
        break;
    case SMTP_SERVER_NONE:
    case SMTP_SERVER_HELO:
    case SMTP_SERVER_CHUNK:
    case SMTP_SERVER_RESET:
    case SMTP_SERVER_QUIT:
    case SMTP_SERVER_CLOSE:
        ASSERT(what == SMTP_SERVER_STARTTLS); /* nothing was to be decided */
    }
}

void smtp_server_reply(
        struct smtp_server *server, unsigned code, struct str enhanced, struct str text)
{
    if (server->state == SERVER_CLOSED) {
        return;
    }
    ASSERT(code >= 200 && code <= 599);
    enum smtp_server_event_kind what = (enum smtp_server_event_kind)server->pending;
    server->pending = SMTP_SERVER_NONE;
    server_say(server, code, enhanced, text);
    if (code == 421) {
        server_close(server, SMTP_SERVER_CLOSE_DRIVER);
        return;
    }
    decide(server, what, code);
    check_error_count(server);
}

void smtp_server_accept(struct smtp_server *server, struct str id)
{
    char text[64] = "Ok: queued as ";
    enum { PREFIX_BYTES = sizeof "Ok: queued as " - 1 };
    switch ((enum smtp_server_event_kind)server->pending) {
    case SMTP_SERVER_MAIL:
        smtp_server_reply(server, 250, STR("2.1.0"), STR("Ok"));
        break;
    case SMTP_SERVER_RCPT:
        smtp_server_reply(server, 250, STR("2.1.5"), STR("Ok"));
        break;
    case SMTP_SERVER_DATA:
        smtp_server_reply(server, 354, STR(""), STR("End data with <CR><LF>.<CR><LF>"));
        break;
    case SMTP_SERVER_END:
        id = str_sub(id, 0, sizeof text - PREFIX_BYTES);
        if (id.len > 0) {
            memcpy(text + PREFIX_BYTES, id.ptr, id.len);
        }
        smtp_server_reply(server, 250, STR("2.0.0"), str_of(text, PREFIX_BYTES + id.len));
        break;
    case SMTP_SERVER_AUTH:
    case SMTP_SERVER_AUTH_STEP:
        smtp_server_reply(server, 235, STR("2.7.0"), STR("Authentication successful"));
        break;
    case SMTP_SERVER_STARTTLS:
        smtp_server_reply(server, 220, STR("2.0.0"), STR("Ready to start TLS"));
        break;
    case SMTP_SERVER_NONE:
    case SMTP_SERVER_HELO:
    case SMTP_SERVER_CHUNK:
    case SMTP_SERVER_RESET:
    case SMTP_SERVER_QUIT:
    case SMTP_SERVER_CLOSE:
        ASSERT(server->state == SERVER_CLOSED); /* the decision came too late */
    }
}

void smtp_server_fail(
        struct smtp_server *server, unsigned code, struct str enhanced, struct str text)
{
    if (server->state == SERVER_CLOSED) {
        return;
    }
    if (server->state != SERVER_TLS) { /* between 220 and the handshake nothing can be said */
        server_say(server, code, enhanced, text);
    }
    server_close(server, SMTP_SERVER_CLOSE_DRIVER);
}

void smtp_server_tls_started(struct smtp_server *server)
{
    ASSERT(server->state == SERVER_TLS || server->state == SERVER_CLOSED);
    if (server->state == SERVER_CLOSED) {
        return;
    }
    server_drop_transaction(server);
    server->state = SERVER_COMMAND;
    server->is_tls = true;
    server->is_esmtp = false;
    server->has_hello = false;
    server->is_authenticated = false;
    server->must_be_sync = false;
}

enum smtp_server_phase smtp_server_phase(const struct smtp_server *server)
{
    if (server->pending != SMTP_SERVER_NONE) {
        return SMTP_SERVER_PHASE_DECISION;
    }
    switch ((enum server_state)server->state) {
    case SERVER_COMMAND:
    case SERVER_AUTH_LINE:
        return SMTP_SERVER_PHASE_COMMAND;
    case SERVER_CONTENT:
        return SMTP_SERVER_PHASE_CONTENT;
    case SERVER_TLS:
        return SMTP_SERVER_PHASE_TLS;
    case SERVER_CLOSED:
        break;
    }
    return SMTP_SERVER_PHASE_CLOSED;
}

bool smtp_server_is_closed(const struct smtp_server *server)
{
    return server->state == SERVER_CLOSED;
}

enum smtp_server_reason smtp_server_close_reason(const struct smtp_server *server)
{
    return (enum smtp_server_reason)server->closed;
}
