/* SPDX-License-Identifier: Apache-2.0
 *
 * smtp_client.c - the outbound dialogue: which command comes next and what each reply means.
 *
 * Commands of a transaction have positions; replies come in the same order, so that two counters
 * relate them (RFC 2920 3.1: by counting, never by text). Commands are made when the output has
 * room, so any number of recipients needs the same memory.
 */
#include "proto/smtp_client.h"

#include "core/str.h"

enum { POS_RSET, POS_MAIL, POS_RCPT }; /* DATA stands behind the last recipient */

/* "MAIL FROM:<path> SIZE=20 digits BODY=8BITMIME CRLF" and some. */
enum { COMMAND_BYTES_MAX = SMTP_CLIENT_PATH_BYTES_MAX + 128 };

/* EHLO lines past this count are read and not looked at. */
enum { EHLO_LINES_USED_MAX = SMTP_REPLY_LINES_MAX };

const char *smtp_client_phase_name(enum smtp_client_phase phase)
{
    static const char *const name[] = {
        [SMTP_CLIENT_PHASE_GREETING] = "receiving the initial server greeting",
        [SMTP_CLIENT_PHASE_EHLO] = "performing the EHLO handshake",
        [SMTP_CLIENT_PHASE_HELO] = "performing the HELO handshake",
        [SMTP_CLIENT_PHASE_STARTTLS] = "sending STARTTLS",
        [SMTP_CLIENT_PHASE_TLS] = "performing the TLS handshake",
        [SMTP_CLIENT_PHASE_IDLE] = "between messages",
        [SMTP_CLIENT_PHASE_RSET] = "sending RSET",
        [SMTP_CLIENT_PHASE_MAIL] = "sending MAIL FROM",
        [SMTP_CLIENT_PHASE_RCPT] = "sending RCPT TO",
        [SMTP_CLIENT_PHASE_DATA] = "sending DATA command",
        [SMTP_CLIENT_PHASE_BODY] = "sending message body",
        [SMTP_CLIENT_PHASE_FINAL] = "sending end of data -- message may be sent more than once",
        [SMTP_CLIENT_PHASE_QUIT] = "sending QUIT command",
        [SMTP_CLIENT_PHASE_CLOSED] = "closed",
    };
    static_assert(COUNT_OF(name) == SMTP_CLIENT_PHASE_COUNT, "a name for each phase");
    return (size_t)phase < COUNT_OF(name) ? name[phase] : "unknown";
}

const char *smtp_client_fault_name(enum smtp_client_fault fault)
{
    static const char *const name[] = {
        [SMTP_CLIENT_FAULT_NONE] = "none",
        [SMTP_CLIENT_FAULT_REPLY] = "refused by the server",
        [SMTP_CLIENT_FAULT_GARBAGE] = "malformed reply",
        [SMTP_CLIENT_FAULT_PROTOCOL] = "unexpected reply",
        [SMTP_CLIENT_FAULT_DESYNC] = "reply without a command",
        [SMTP_CLIENT_FAULT_TLS_MISSING] = "TLS is required, but was not offered",
        [SMTP_CLIENT_FAULT_TLS_REFUSED] = "TLS is required, but was refused",
        [SMTP_CLIENT_FAULT_TLS] = "TLS handshake failed",
        [SMTP_CLIENT_FAULT_LOST] = "lost connection",
        [SMTP_CLIENT_FAULT_TIMEOUT] = "timed out",
    };
    static_assert(COUNT_OF(name) == SMTP_CLIENT_FAULT_COUNT, "a name for each fault");
    return (size_t)fault < COUNT_OF(name) ? name[fault] : "unknown";
}

static void put(struct smtp_client *client, struct str s)
{
    ASSERT(s.len <= sizeof client->out - client->out_len);
    if (s.len > 0) {
        memcpy(client->out + client->out_len, s.ptr, s.len);
        client->out_len += (uint32_t)s.len;
    }
}

static bool has_room(struct smtp_client *client)
{
    if (sizeof client->out - client->out_len < COMMAND_BYTES_MAX && client->out_done > 0) {
        client->out_len -= client->out_done;
        memmove(client->out, client->out + client->out_done, client->out_len);
        client->out_done = 0;
    }
    return sizeof client->out - client->out_len >= COMMAND_BYTES_MAX;
}

/* One command outside a transaction; its reply is awaited in phase. */
static void ask(struct smtp_client *client, struct str command, struct str arg,
        enum smtp_client_phase phase)
{
    put(client, command);
    put(client, str_sub(arg, 0, SMTP_CLIENT_NAME_BYTES_MAX));
    put(client, STR("\r\n"));
    client->phase = phase;
}

static void ask_ehlo(struct smtp_client *client)
{
    client->caps = (struct smtp_client_caps){ 0 };
    client->caps_new = (struct smtp_client_caps){ 0 };
    ask(client, STR("EHLO "), client->conf.ehlo_name, SMTP_CLIENT_PHASE_EHLO);
}

static uint32_t data_pos(const struct smtp_client_txn *txn)
{
    return POS_RCPT + txn->mail->rcpt_count;
}

static void put_mail(struct smtp_client *client, const struct smtp_client_mail *mail)
{
    put(client, STR("MAIL FROM:<"));
    put(client, mail->sender);
    put(client, STR(">"));
    if (client->caps.has_size) { /* RFC 1870 6 */
        char size[32];
        size_t len = fmt(size, sizeof size, " SIZE=%llu", (unsigned long long)mail->size_bytes);
        put(client, str_of(size, len));
    }
    if (client->caps.has_8bitmime && mail->is_8bit) { /* RFC 6152 3 */
        put(client, STR(" BODY=8BITMIME"));
    }
    put(client, STR("\r\n"));
}

static void put_command(struct smtp_client *client, struct smtp_client_txn *txn)
{
    uint32_t pos = txn->asked_pos++;
    if (pos == POS_RSET) {
        put(client, STR("RSET\r\n"));
    } else if (pos == POS_MAIL) {
        put_mail(client, txn->mail);
    } else if (pos < data_pos(txn)) {
        put(client, STR("RCPT TO:<"));
        put(client, txn->mail->rcpts[pos - POS_RCPT]);
        put(client, STR(">\r\n"));
    } else {
        put(client, STR("DATA\r\n"));
    }
}

/* Is there a command of txn left that is worth asking? */
static bool wants_more(const struct smtp_client_txn *txn)
{
    uint32_t data = data_pos(txn);
    bool all_rcpts_refused = txn->answered_pos == data && txn->accepted_count == 0;
    return txn->asked_pos <= data && !txn->mail_is_refused && !all_rcpts_refused;
}

/* Makes commands while there is room: all at once with PIPELINING, else one by one. */
static void fill(struct smtp_client *client)
{
    struct smtp_client_txn *txn = client->txn[1].mail ? &client->txn[1] : &client->txn[0];
    if (client->has_failed || !txn->mail) {
        return;
    }
    while (wants_more(txn) && has_room(client) &&
            (client->caps.has_pipelining || txn->asked_pos == txn->answered_pos)) {
        put_command(client, txn);
    }
}

static enum smtp_client_phase txn_phase(const struct smtp_client_txn *txn)
{
    if (txn->answered_pos == POS_RSET) {
        return SMTP_CLIENT_PHASE_RSET;
    }
    if (txn->answered_pos == POS_MAIL) {
        return SMTP_CLIENT_PHASE_MAIL;
    }
    return txn->answered_pos < data_pos(txn) ? SMTP_CLIENT_PHASE_RCPT : SMTP_CLIENT_PHASE_DATA;
}

static void fail(struct smtp_client *client, enum smtp_client_fault fault, bool has_reply)
{
    client->has_failed = true;
    client->fault = fault;
    client->fault_has_reply = has_reply;
    client->failed_phase = client->phase;
    client->is_after_dot = client->phase == SMTP_CLIENT_PHASE_FINAL && !client->txn[0].has_lone_dot;
    client->phase = SMTP_CLIENT_PHASE_CLOSED;
}

/* As fail, with a QUIT where the peer may still listen (RFC 5321 4.1.1.10). */
static void fail_politely(struct smtp_client *client, enum smtp_client_fault fault)
{
    fail(client, fault, true);
    if (client->out_len == client->out_done && client->reply.code != 421) {
        client->out_len = 0;
        client->out_done = 0;
        put(client, STR("QUIT\r\n"));
    }
}

void smtp_client_open(struct smtp_client *client, const struct smtp_client_conf *conf)
{
    memset(client, 0, offsetof(struct smtp_client, out));
    client->conf = *conf;
    client->is_tls = conf->is_tls;
    client->phase = SMTP_CLIENT_PHASE_GREETING;
    client->asked_count = 1; /* connecting asks for the greeting */
}

struct str smtp_client_output(struct smtp_client *client)
{
    fill(client);
    return str_of(client->out + client->out_done, client->out_len - client->out_done);
}

void smtp_client_wrote(struct smtp_client *client, size_t n_bytes)
{
    ASSERT(n_bytes <= client->out_len - client->out_done);
    for (size_t i = 0; i < n_bytes; i++) { /* each command is one line */
        client->asked_count += client->out[client->out_done + i] == '\n';
    }
    client->out_done += (uint32_t)n_bytes;
    if (client->out_done == client->out_len) {
        client->out_done = 0;
        client->out_len = 0;
    }
}

static void give(struct smtp_client *client, struct smtp_client_event *ret_event,
        enum smtp_client_event_kind kind)
{
    *ret_event = (struct smtp_client_event){
        .kind = kind, .phase = client->phase, .mail = client->txn[0].mail, .reply = &client->reply
    };
}

static void begin_idle(struct smtp_client *client, struct smtp_client_event *ret_event)
{
    client->phase = SMTP_CLIENT_PHASE_IDLE;
    give(client, ret_event, SMTP_CLIENT_READY);
}

static void note_cap(struct smtp_client_caps *caps, struct str line)
{
    struct str word = STR(""), rest = str_trim(line);
    (void)str_cut(&rest, ' ', &word);
    if (str_eq_nocase(word, STR("PIPELINING"))) {
        caps->has_pipelining = true;
    } else if (str_eq_nocase(word, STR("8BITMIME"))) {
        caps->has_8bitmime = true;
    } else if (str_eq_nocase(word, STR("STARTTLS"))) {
        caps->has_starttls = true;
    } else if (str_eq_nocase(word, STR("ENHANCEDSTATUSCODES"))) {
        caps->has_enhanced_codes = true;
    } else if (str_eq_nocase(word, STR("SIZE"))) { /* RFC 1870 4; an absurd number is ignored */
        uint64_t size = 0;
        rest = str_trim(rest);
        if (rest.len == 0 || str_to_u64(rest, UINT64_MAX, &size) == OK) {
            caps->has_size = true;
            caps->size_max_bytes = size;
        }
    }
}

static void note_ehlo_line(struct smtp_client *client)
{
    uint32_t count = client->reply.line_count; /* the first is the greeting, RFC 5321 4.1.1.1 */
    if (client->phase == SMTP_CLIENT_PHASE_EHLO && count > 1 && count <= EHLO_LINES_USED_MAX) {
        note_cap(&client->caps_new, smtp_reply_line(&client->reply));
    }
}

static void end_hello(struct smtp_client *client, struct smtp_client_event *ret_event)
{
    if (client->is_tls || client->conf.tls == SMTP_CLIENT_TLS_NONE) {
        begin_idle(client, ret_event);
    } else if (client->caps.has_starttls) {
        ask(client, STR("STARTTLS"), STR(""), SMTP_CLIENT_PHASE_STARTTLS);
    } else if (client->conf.tls == SMTP_CLIENT_TLS_MUST) {
        fail_politely(client, SMTP_CLIENT_FAULT_TLS_MISSING);
    } else {
        begin_idle(client, ret_event);
    }
}

static void end_greeting(struct smtp_client *client)
{
    if (smtp_reply_class(&client->reply) == 2) {
        ask_ehlo(client);
    } else {
        bool is_no = smtp_reply_class(&client->reply) > 3;
        fail_politely(client, is_no ? SMTP_CLIENT_FAULT_REPLY : SMTP_CLIENT_FAULT_PROTOCOL);
    }
}

static void end_ehlo(struct smtp_client *client, struct smtp_client_event *ret_event)
{
    unsigned class = smtp_reply_class(&client->reply);
    if (class == 2) {
        client->caps = client->caps_new;
        client->caps.is_esmtp = true;
        end_hello(client, ret_event);
    } else if (class == 5) { /* RFC 5321 3.2 */
        ask(client, STR("HELO "), client->conf.ehlo_name, SMTP_CLIENT_PHASE_HELO);
    } else {
        fail_politely(client, class == 4 ? SMTP_CLIENT_FAULT_REPLY : SMTP_CLIENT_FAULT_PROTOCOL);
    }
}

static void end_helo(struct smtp_client *client, struct smtp_client_event *ret_event)
{
    unsigned class = smtp_reply_class(&client->reply);
    if (class == 2) {
        end_hello(client, ret_event);
    } else {
        fail_politely(client, class > 3 ? SMTP_CLIENT_FAULT_REPLY : SMTP_CLIENT_FAULT_PROTOCOL);
    }
}

static void end_starttls(struct smtp_client *client, struct smtp_client_event *ret_event)
{
    unsigned class = smtp_reply_class(&client->reply);
    if (class == 2) {
        client->phase = SMTP_CLIENT_PHASE_TLS;
        give(client, ret_event, SMTP_CLIENT_WANT_TLS);
    } else if (client->conf.tls == SMTP_CLIENT_TLS_MUST) {
        fail_politely(client, SMTP_CLIENT_FAULT_TLS_REFUSED);
    } else { /* RFC 3207 4: may go on in the clear */
        begin_idle(client, ret_event);
    }
}

/* The reply counted; the next of this transaction is awaited. */
static void advance(struct smtp_client *client)
{
    client->txn[0].answered_pos++;
    client->phase = txn_phase(&client->txn[0]);
}

static void end_mail(struct smtp_client *client)
{
    unsigned class = smtp_reply_class(&client->reply);
    if (class == 3) {
        fail_politely(client, SMTP_CLIENT_FAULT_PROTOCOL);
        return;
    }
    if (class != 2) {
        client->txn[0].mail_is_refused = true;
        client->refusal = client->reply;
    }
    advance(client);
}

static void end_rcpt(struct smtp_client *client, struct smtp_client_event *ret_event)
{
    struct smtp_client_txn *txn = &client->txn[0];
    unsigned class = smtp_reply_class(&client->reply);
    if (class == 3) {
        fail_politely(client, SMTP_CLIENT_FAULT_PROTOCOL);
        return;
    }
    if (txn->mail_is_refused) { /* mostly it only says that MAIL is missing */
        txn->has_orphan = txn->has_orphan || class == 2;
    } else {
        txn->accepted_count += class == 2;
        give(client, ret_event, SMTP_CLIENT_RCPT);
        ret_event->rcpt_index = txn->answered_pos - POS_RCPT;
    }
    advance(client);
}

static void end_data(struct smtp_client *client, struct smtp_client_event *ret_event)
{
    struct smtp_client_txn *txn = &client->txn[0];
    unsigned class = smtp_reply_class(&client->reply);
    if (class == 2) { /* it may think that the message is here: no telling what follows */
        fail_politely(client, SMTP_CLIENT_FAULT_PROTOCOL);
        return;
    }
    txn->answered_pos++;
    if (class != 3) { /* settle() says so */
        return;
    }
    if (txn->accepted_count > 0 && !txn->mail_is_refused) {
        client->phase = SMTP_CLIENT_PHASE_BODY;
        give(client, ret_event, SMTP_CLIENT_GO);
        return;
    }
    if (txn->has_orphan) { /* a dot alone could deliver an empty message to that recipient */
        fail(client, SMTP_CLIENT_FAULT_PROTOCOL, true);
        return;
    }
    txn->has_lone_dot = true; /* RFC 2920 3.1 */
    ask(client, STR("."), STR(""), SMTP_CLIENT_PHASE_FINAL);
}

/* The transaction is over; the one behind it moves up. */
static void shift_txn(struct smtp_client *client)
{
    client->txn[0] = client->txn[1];
    client->txn[1] = (struct smtp_client_txn){ 0 };
    if (!client->has_failed) {
        client->phase = client->txn[0].mail ? txn_phase(&client->txn[0]) : SMTP_CLIENT_PHASE_IDLE;
    }
}

static void end_final(struct smtp_client *client, struct smtp_client_event *ret_event)
{
    if (smtp_reply_class(&client->reply) == 3) {
        fail(client, SMTP_CLIENT_FAULT_PROTOCOL, true);
        return;
    }
    if (client->txn[0].has_lone_dot) {
        client->txn[0].is_over = true;
        if (client->reply.code == 421) {
            fail(client, SMTP_CLIENT_FAULT_REPLY, true);
        }
        return;
    }
    give(client, ret_event, SMTP_CLIENT_DONE);
    shift_txn(client);
    if (client->reply.code == 421) { /* it spoke for this mail, and now goes */
        fail(client, SMTP_CLIENT_FAULT_REPLY, true);
    }
}

static bool is_asking(const struct smtp_client *client)
{
    return client->phase == SMTP_CLIENT_PHASE_RSET || client->phase == SMTP_CLIENT_PHASE_MAIL ||
           client->phase == SMTP_CLIENT_PHASE_RCPT || client->phase == SMTP_CLIENT_PHASE_DATA;
}

/* Ends a transaction that got all its answers and no yes among them. */
static void settle(struct smtp_client *client, struct smtp_client_event *ret_event)
{
    const struct smtp_client_txn *txn = &client->txn[0];
    if (!txn->mail) {
        return;
    }
    bool all_answered =
            is_asking(client) && !wants_more(txn) && txn->answered_pos == txn->asked_pos;
    if (!txn->is_over && !all_answered) {
        return;
    }
    give(client, ret_event, SMTP_CLIENT_REFUSED);
    if (txn->mail_is_refused) {
        ret_event->phase = SMTP_CLIENT_PHASE_MAIL;
        ret_event->reply = &client->refusal;
    } else {
        ret_event->phase =
                txn->accepted_count == 0 ? SMTP_CLIENT_PHASE_RCPT : SMTP_CLIENT_PHASE_DATA;
        client->needs_rset = !txn->has_lone_dot; /* the server still holds MAIL */
    }
    shift_txn(client);
}

static void end_reply(struct smtp_client *client, struct smtp_client_event *ret_event)
{
    switch (client->phase) {
    case SMTP_CLIENT_PHASE_GREETING:
        end_greeting(client);
        break;
    case SMTP_CLIENT_PHASE_EHLO:
        end_ehlo(client, ret_event);
        break;
    case SMTP_CLIENT_PHASE_HELO:
        end_helo(client, ret_event);
        break;
    case SMTP_CLIENT_PHASE_STARTTLS:
        end_starttls(client, ret_event);
        break;
    case SMTP_CLIENT_PHASE_RSET:
        if (smtp_reply_class(&client->reply) == 2) {
            advance(client);
        } else {
            fail_politely(client, SMTP_CLIENT_FAULT_PROTOCOL);
        }
        break;
    case SMTP_CLIENT_PHASE_MAIL:
        end_mail(client);
        break;
    case SMTP_CLIENT_PHASE_RCPT:
        end_rcpt(client, ret_event);
        break;
    case SMTP_CLIENT_PHASE_DATA:
        end_data(client, ret_event);
        break;
    case SMTP_CLIENT_PHASE_FINAL:
        end_final(client, ret_event);
        break;
    case SMTP_CLIENT_PHASE_QUIT:
        client->phase = SMTP_CLIENT_PHASE_CLOSED;
        client->owes_closed = true;
        break;
    case SMTP_CLIENT_PHASE_IDLE:
    case SMTP_CLIENT_PHASE_TLS:
    case SMTP_CLIENT_PHASE_BODY:
    case SMTP_CLIENT_PHASE_CLOSED:
    case SMTP_CLIENT_PHASE_COUNT:
        ASSERT(client->is_reply_unasked); /* and those are judged before */
    }
}

/* A server may say 421 at any time (RFC 5321 3.8); at the final dot and after QUIT it is an answer
 * like others. */
static void judge_reply(struct smtp_client *client, struct smtp_client_event *ret_event)
{
    bool is_answer =
            client->phase == SMTP_CLIENT_PHASE_FINAL || client->phase == SMTP_CLIENT_PHASE_QUIT;
    client->is_reply_begun = false;
    if (client->is_reply_unasked) {
        bool is_leaving = client->reply.code == 421;
        fail(client, is_leaving ? SMTP_CLIENT_FAULT_REPLY : SMTP_CLIENT_FAULT_DESYNC, true);
    } else if (client->reply.code == 421 && !is_answer) {
        fail(client, SMTP_CLIENT_FAULT_REPLY, true);
    } else {
        end_reply(client, ret_event);
    }
}

static void begin_reply(struct smtp_client *client)
{
    bool is_ehlo = client->phase == SMTP_CLIENT_PHASE_EHLO;
    smtp_reply_begin(&client->reply, is_ehlo ? SMTP_REPLY_EHLO_LINES_MAX : SMTP_REPLY_LINES_MAX);
    client->is_reply_begun = true;
    client->is_reply_unasked = client->answered_count >= client->asked_count ||
                               client->phase == SMTP_CLIENT_PHASE_IDLE ||
                               client->phase == SMTP_CLIENT_PHASE_BODY;
    client->answered_count++;
}

static size_t step(
        struct smtp_client *client, struct str bytes, struct smtp_client_event *ret_event)
{
    if (client->phase == SMTP_CLIENT_PHASE_TLS) { /* RFC 3207 5: injected, or an error of theirs */
        fail(client, SMTP_CLIENT_FAULT_DESYNC, false);
        return bytes.len;
    }
    if (!client->is_reply_begun) {
        begin_reply(client);
    }
    enum smtp_reply_step how;
    size_t used = smtp_reply_input(&client->reply, bytes, &how);
    switch (how) {
    case SMTP_REPLY_MORE:
        break;
    case SMTP_REPLY_LINE:
        note_ehlo_line(client);
        break;
    case SMTP_REPLY_DONE:
        note_ehlo_line(client);
        judge_reply(client, ret_event);
        break;
    case SMTP_REPLY_BAD:
        fail(client, SMTP_CLIENT_FAULT_GARBAGE, false);
        break;
    }
    return used;
}

/* One FAILED for each open mail, at least one. */
static void tell_failure(struct smtp_client *client, struct smtp_client_event *ret_event)
{
    if (client->has_told_failure) {
        return;
    }
    give(client, ret_event, SMTP_CLIENT_FAILED);
    ret_event->phase = client->failed_phase;
    ret_event->fault = client->fault;
    ret_event->reply = client->fault_has_reply ? &client->reply : NULL;
    ret_event->is_after_dot = client->is_after_dot;
    client->is_after_dot = false; /* only the first can be */
    client->txn[0] = client->txn[1];
    client->txn[1] = (struct smtp_client_txn){ 0 };
    client->has_told_failure = client->txn[0].mail == NULL;
}

/* What is due before the next byte is looked at. */
static void tell_due(struct smtp_client *client, struct smtp_client_event *ret_event)
{
    if (client->owes_closed) {
        client->owes_closed = false;
        give(client, ret_event, SMTP_CLIENT_CLOSED);
        return;
    }
    settle(client, ret_event);
    if (ret_event->kind == SMTP_CLIENT_NONE && client->has_failed) {
        tell_failure(client, ret_event);
    }
}

size_t smtp_client_input(
        struct smtp_client *client, struct str bytes, struct smtp_client_event *ret_event)
{
    *ret_event = (struct smtp_client_event){ 0 };
    size_t used = 0;
    tell_due(client, ret_event);
    while (ret_event->kind == SMTP_CLIENT_NONE && used < bytes.len) {
        if (client->phase == SMTP_CLIENT_PHASE_CLOSED) {
            return bytes.len;
        }
        used += step(client, str_from(bytes, used), ret_event);
        if (ret_event->kind == SMTP_CLIENT_NONE) {
            tell_due(client, ret_event);
        }
    }
    return used;
}

/* What can stand between < and > in a command without ending it, or the line, early. */
static bool is_path(struct str path)
{
    bool is_quoted = false;
    if (path.len > SMTP_CLIENT_PATH_BYTES_MAX) {
        return false;
    }
    for (size_t i = 0; i < path.len; i++) {
        char c = path.ptr[i];
        if (c < 0x20 || c > 0x7e) {
            return false;
        }
        if (c == '"') {
            is_quoted = !is_quoted;
        } else if (is_quoted && c == '\\' && i + 1 < path.len) {
            i++;
            if (path.ptr[i] < 0x20 || path.ptr[i] > 0x7e) {
                return false;
            }
        } else if (!is_quoted && (c == ' ' || c == '<' || c == '>')) {
            return false;
        }
    }
    return !is_quoted;
}

static bool is_mail(const struct smtp_client_mail *mail)
{
    bool is_good = mail->rcpt_count > 0 && mail->rcpt_count < UINT32_MAX - POS_RCPT - 1 &&
                   is_path(mail->sender);
    for (uint32_t i = 0; is_good && i < mail->rcpt_count; i++) {
        is_good = mail->rcpts[i].len > 0 && is_path(mail->rcpts[i]);
    }
    return is_good;
}

enum err smtp_client_send(struct smtp_client *client, const struct smtp_client_mail *mail)
{
    const struct smtp_client_caps *caps = &client->caps;
    if (!smtp_client_can_send(client)) {
        return E_BUSY;
    }
    if (!is_mail(mail)) {
        return E_SYNTAX;
    }
    if (caps->size_max_bytes > 0 && mail->size_bytes > caps->size_max_bytes) { /* RFC 1870 6.1 */
        return E_TOO_BIG;
    }
    if (mail->is_8bit && !caps->has_8bitmime) { /* RFC 6152 3: never raw */
        return E_UNSUPPORTED;
    }
    uint32_t pos = client->needs_rset ? POS_RSET : POS_MAIL;
    client->needs_rset = false;
    struct smtp_client_txn *txn = &client->txn[client->txn[0].mail ? 1 : 0];
    *txn = (struct smtp_client_txn){ .mail = mail, .asked_pos = pos, .answered_pos = pos };
    if (txn == &client->txn[0]) {
        client->phase = txn_phase(txn);
    }
    return OK;
}

bool smtp_client_can_send(const struct smtp_client *client)
{
    if (client->phase == SMTP_CLIENT_PHASE_IDLE) {
        return !client->is_reply_begun;
    }
    return client->phase == SMTP_CLIENT_PHASE_FINAL && client->caps.has_pipelining &&
           !client->txn[1].mail && !client->txn[0].has_lone_dot;
}

void smtp_client_body_sent(struct smtp_client *client)
{
    if (client->phase == SMTP_CLIENT_PHASE_CLOSED) { /* it failed meanwhile */
        return;
    }
    ASSERT(client->phase == SMTP_CLIENT_PHASE_BODY);
    client->asked_count++;
    client->phase = SMTP_CLIENT_PHASE_FINAL;
}

void smtp_client_tls_done(struct smtp_client *client, bool is_ok)
{
    if (client->phase != SMTP_CLIENT_PHASE_TLS) { /* it failed meanwhile */
        return;
    }
    if (is_ok) {
        client->is_tls = true;
        ask_ehlo(client); /* RFC 3207 4.2: what was offered in the clear counts no more */
    } else {
        fail(client, SMTP_CLIENT_FAULT_TLS, false);
    }
}

void smtp_client_quit(struct smtp_client *client)
{
    if (client->phase == SMTP_CLIENT_PHASE_IDLE && !client->is_reply_begun) {
        ask(client, STR("QUIT"), STR(""), SMTP_CLIENT_PHASE_QUIT);
    } else {
        smtp_client_lost(client, SMTP_CLIENT_FAULT_LOST);
    }
}

void smtp_client_lost(struct smtp_client *client, enum smtp_client_fault fault)
{
    if (client->phase == SMTP_CLIENT_PHASE_QUIT) {
        client->phase = SMTP_CLIENT_PHASE_CLOSED;
        client->owes_closed = true;
    } else if (client->phase != SMTP_CLIENT_PHASE_CLOSED) {
        fail(client, fault, false);
    }
}

uint64_t smtp_client_timeout_ms(const struct smtp_client *client)
{
    static const uint64_t timeout_ms[SMTP_CLIENT_PHASE_COUNT] = {
        [SMTP_CLIENT_PHASE_GREETING] = SMTP_CLIENT_GREETING_TIMEOUT_MS,
        [SMTP_CLIENT_PHASE_EHLO] = SMTP_CLIENT_COMMAND_TIMEOUT_MS,
        [SMTP_CLIENT_PHASE_HELO] = SMTP_CLIENT_COMMAND_TIMEOUT_MS,
        [SMTP_CLIENT_PHASE_STARTTLS] = SMTP_CLIENT_COMMAND_TIMEOUT_MS,
        [SMTP_CLIENT_PHASE_TLS] = SMTP_CLIENT_TLS_TIMEOUT_MS,
        [SMTP_CLIENT_PHASE_RSET] = SMTP_CLIENT_COMMAND_TIMEOUT_MS,
        [SMTP_CLIENT_PHASE_MAIL] = SMTP_CLIENT_COMMAND_TIMEOUT_MS,
        [SMTP_CLIENT_PHASE_RCPT] = SMTP_CLIENT_COMMAND_TIMEOUT_MS,
        [SMTP_CLIENT_PHASE_DATA] = SMTP_CLIENT_DATA_TIMEOUT_MS,
        [SMTP_CLIENT_PHASE_BODY] = SMTP_CLIENT_BLOCK_TIMEOUT_MS,
        [SMTP_CLIENT_PHASE_FINAL] = SMTP_CLIENT_FINAL_TIMEOUT_MS,
        [SMTP_CLIENT_PHASE_QUIT] = SMTP_CLIENT_QUIT_TIMEOUT_MS,
    };
    return timeout_ms[client->phase];
}

bool smtp_client_is_closed(const struct smtp_client *client)
{
    return client->phase == SMTP_CLIENT_PHASE_CLOSED;
}
