/* SPDX-License-Identifier: Apache-2.0
 *
 * peers.c - clients and servers as small line machines over the simulated network.
 *
 * They speak SMTP by themselves, sharing no code with the node's engines: a common error would
 * otherwise hide itself.
 */
#include "sim/peers.h"

#include "core/buf.h"
#include "core/list.h"

enum {
    LINE_BYTES_MAX = 4096,
    BODY_LINE_BYTES_MAX = 70,
    CONTENT_BYTES_MAX = 4 << 20,
    SMTP_PORT = 25
};

/* ---- content ---- */

static void make_body(uint32_t message, uint32_t body_bytes, struct buf *body)
{
    struct prng prng;
    prng_init(&prng, message * UINT64_C(2654435761) + 1);
    buf_addf(body, "This is message %u.\r\n", message);
    while (body->len < body_bytes) {
        char line[BODY_LINE_BYTES_MAX];
        uint32_t len = (uint32_t)prng_below(&prng, sizeof line);
        if (prng_chance(&prng, 50000)) {
            buf_add_char(body, '.'); /* dots at line starts must survive */
        }
        uint64_t value = 0;
        for (uint32_t i = 0; i < len; i++, value >>= 6) {
            value = i % 10 == 0 ? prng_next(&prng) : value;
            line[i] = (char)('!' + (value & 63));
        }
        buf_add(body, str_of(line, len));
        buf_add_c(body, "\r\n");
    }
}

static void make_content(const struct peers *peers, uint32_t message, struct buf *content)
{
    const struct message *m = &peers->message[message];
    buf_addf(content,
            "From: App <s%u@sender.example>\r\nTo: list:;\r\nSubject: simulated %u\r\n"
            "X-Outpost-Tag: lot-%u\r\n\r\n",
            message, message, message / PEER_LOT_MESSAGES);
    struct buf body;
    buf_init(&body, CONTENT_BYTES_MAX);
    make_body(message, m->body_bytes, &body);
    buf_add(content, buf_str(&body));
    buf_done(&body);
}

/* "t17@d3.example" or "s4@..." → the number. */
static bool parse_name(struct str address, char letter, uint64_t max, uint64_t *ret_number)
{
    size_t at = str_index(address, '@');
    return address.len > 1 && address.ptr[0] == letter && at < address.len &&
           str_to_u64(str_sub(address, 1, at - 1), max, ret_number) == OK;
}

bool peers_token_of(const struct peers *peers, struct str address, uint32_t *ret_token)
{
    uint64_t number;
    char domain[32];
    if (!parse_name(address, 't', peers->token_count - 1, &number)) {
        return false;
    }
    fmt(domain, sizeof domain, "d%u.example", peers->token[number].domain);
    *ret_token = (uint32_t)number;
    return str_eq(str_from(address, str_index(address, '@') + 1), str_from_c(domain));
}

/* ---- lines ---- */

struct line_reader {
    struct buf pending;
};

static bool next_line(struct line_reader *reader, struct str *ret_line)
{
    struct str text = buf_str(&reader->pending);
    size_t at = str_find(text, STR("\r\n"));
    if (at == text.len) {
        return false;
    }
    *ret_line = str_sub(text, 0, at);
    return true;
}

/* ---- a server that receives ---- */

struct server {
    struct list at;
    struct peers *peers;
    struct sim_link *link;
    struct line_reader reader;
    struct buf content;
    uint32_t token[PEER_RCPT_COUNT_MAX * 8];
    uint32_t token_count;
    bool is_report; /* the sink of reports: RCPT is a sender */
    bool has_mail, is_in_data, is_pipelining;
};

static void server_free(struct server *server)
{
    list_del(&server->at);
    buf_done(&server->reader.pending);
    buf_done(&server->content);
    mem_free(server);
}

static bool chance(struct peers *peers, uint32_t per_million)
{
    return per_million && prng_chance(&peers->events->prng, per_million);
}

static void say(struct server *server, const char *line)
{
    char text[256];
    size_t len = fmt(text, sizeof text, "%s\r\n", line);
    sim_link_send(server->link, str_of(text, len));
}

static void refuse(struct server *server, const char *line)
{
    server->peers->refused_count++;
    say(server, line);
}

static void hang_up(struct server *server, bool is_reset)
{
    struct sim_link *link = server->link;
    server_free(server);
    sim_link_close(link, is_reset);
}

/* A reply that is none: what a broken or hostile server may send. */
static void say_garbage(struct server *server)
{
    static const char *const garbage[] = { "999 what", "250-never", "2x0 ok", "450 \x01\x02 %n%n%n",
        "hello", "000 0.0.0", "250-a\r\n550 b" };
    server->peers->garbage_count++;
    say(server, garbage[prng_below(&server->peers->events->prng, COUNT_OF(garbage))]);
}

/* The record of an attempt is written before its content is sent, and synced a little later. */
static void excuse_copy(const struct peers *peers, struct token *token)
{
    int64_t cut_ms = peers->power_cut_at.ms, sent_ms = token->sent_at.ms;
    if (sent_ms != 0 && sent_ms <= cut_ms && sent_ms + (int64_t)peers->unsynced_ms_max >= cut_ms) {
        token->excused_copies++;
        token->sent_at = (struct mono){ 0 };
    }
}

void peers_power_cut(struct peers *peers, uint64_t unsynced_ms_max)
{
    peers->power_cut_at = peers->events->now;
    peers->unsynced_ms_max = unsynced_ms_max;
    for (uint32_t i = 0; i < peers->token_count; i++) {
        excuse_copy(peers, &peers->token[i]);
    }
}

static void note_copy(const struct server *server, uint32_t number, bool is_reply_lost)
{
    const struct peers *peers = server->peers;
    struct str content = buf_str(&server->content);
    struct token *token = &peers->token[number];
    token->copies++;
    token->sent_at = sim_link_sent_at(server->link);
    token->replies_lost += is_reply_lost;
    excuse_copy(peers, token); /* it was under way when the power was cut */
    struct buf body;
    buf_init(&body, CONTENT_BYTES_MAX);
    make_body(token->message, peers->message[token->message].body_bytes, &body);
    size_t border = str_find(content, STR("\r\n\r\n"));
    if (!str_eq(str_from(content, border + 4), buf_str(&body))) {
        token->is_mixed = true;
    }
    buf_done(&body);
}

/* A report: every Final-Recipient in it has bounced. */
static void note_report(struct peers *peers, struct str content)
{
    static const struct str field = STR_INIT("\r\nFinal-Recipient: rfc822;");
    struct str id = str_from(content, str_find(content, STR("\r\nMessage-ID:")) + 2);
    uint64_t id_hash = str_hash(str_sub(id, 0, str_find(id, STR("\r\n"))), 0);
    size_t at;
    while ((at = str_find(content, field)) < content.len) {
        content = str_from(content, at + field.len);
        struct str address = str_trim(str_sub(content, 0, str_find(content, STR("\r\n"))));
        uint64_t number;
        if (parse_name(address, 't', peers->token_count - 1, &number)) {
            struct token *token = &peers->token[number];
            token->has_two_reports =
                    token->has_two_reports || (token->bounces > 0 && token->report_id != id_hash);
            token->report_id = id_hash;
            token->bounces++;
            sim_trace(peers->events, "report about t%llu", (unsigned long long)number);
        }
    }
}

static void take_message(struct server *server, bool is_reply_lost)
{
    struct peers *peers = server->peers;
    peers->transaction_count++;
    if (server->is_report) {
        note_report(peers, buf_str(&server->content));
    }
    for (uint32_t i = 0; i < server->token_count; i++) {
        sim_trace(peers->events, "received t%u%s", server->token[i],
                is_reply_lost ? " (reply lost)" : "");
        note_copy(server, server->token[i], is_reply_lost);
    }
}

static void forget_transaction(struct server *server)
{
    server->token_count = 0;
    server->has_mail = false;
    server->is_report = false;
    server->is_in_data = false;
    buf_clear(&server->content);
}

/* The final dot was read. False: the server is gone. */
static bool end_of_data(struct server *server)
{
    struct peers *peers = server->peers;
    const struct peer_faults *faults = &peers->faults;
    if (chance(peers, faults->dot_drop)) {
        peers->dropped_count++;
        hang_up(server, true);
        return false;
    }
    if (chance(peers, faults->reply_lost)) {
        peers->lost_reply_count++;
        take_message(server, true);
        hang_up(server, chance(peers, 500000));
        return false;
    }
    if (chance(peers, faults->dot_4xx)) {
        refuse(server, "451 4.3.0 try again later");
    } else if (chance(peers, faults->dot_5xx) && !server->is_report) {
        refuse(server, "554 5.6.0 content refused");
    } else {
        take_message(server, false);
        say(server, "250 2.0.0 stored");
    }
    forget_transaction(server);
    return true;
}

static void on_rcpt(struct server *server, struct str line)
{
    struct peers *peers = server->peers;
    size_t open = str_index(line, '<');
    struct str address = str_sub(line, open + 1, str_index(line, '>') - open - 1);
    uint64_t number;
    if (!server->has_mail) {
        say(server, "503 5.5.1 MAIL first");
    } else if (chance(peers, peers->faults.rcpt_4xx)) {
        refuse(server, "450 4.2.1 mailbox busy");
    } else if (parse_name(address, 's', peers->message_count - 1, &number)) {
        server->is_report = true;
        say(server, "250 2.1.5 ok");
    } else if (!parse_name(address, 't', peers->token_count - 1, &number) ||
               server->token_count == COUNT_OF(server->token)) {
        say(server, "550 5.1.1 nobody of that name was ever offered");
    } else if (peers->token[number].is_unknown_user) {
        say(server, "550 5.1.1 user unknown");
    } else {
        server->token[server->token_count++] = (uint32_t)number;
        say(server, "250 2.1.5 ok");
    }
}

static bool on_command(struct server *server, struct str line)
{
    struct peers *peers = server->peers;
    const struct peer_faults *faults = &peers->faults;
    if (chance(peers, faults->shutdown_421)) {
        refuse(server, "421 4.3.2 shutting down");
        hang_up(server, false);
        return false;
    }
    if (chance(peers, faults->garbage)) {
        say_garbage(server);
    } else if (str_starts_nocase(line, STR("EHLO"))) {
        say(server, server->is_pipelining
                            ? "250-peer\r\n250-PIPELINING\r\n250-8BITMIME\r\n250 SIZE 0"
                            : "250-peer\r\n250 8BITMIME");
    } else if (str_starts_nocase(line, STR("HELO")) || str_starts_nocase(line, STR("NOOP"))) {
        say(server, "250 ok");
    } else if (str_starts_nocase(line, STR("RSET"))) {
        forget_transaction(server);
        say(server, "250 ok");
    } else if (str_starts_nocase(line, STR("MAIL"))) {
        forget_transaction(server);
        server->has_mail = !chance(peers, faults->mail_4xx);
        if (server->has_mail) {
            say(server, "250 2.1.0 ok");
        } else {
            refuse(server, "451 4.3.0 not now");
        }
    } else if (str_starts_nocase(line, STR("RCPT"))) {
        on_rcpt(server, line);
    } else if (str_starts_nocase(line, STR("DATA"))) {
        bool is_good = server->token_count > 0 || server->is_report;
        if (is_good && chance(peers, faults->data_4xx)) {
            refuse(server, "451 4.3.0 no data now");
        } else if (is_good) {
            server->is_in_data = true;
            say(server, "354 go");
        } else {
            say(server, "554 5.5.1 no valid recipients");
        }
    } else if (str_starts_nocase(line, STR("QUIT"))) {
        say(server, "221 bye");
        hang_up(server, false);
        return false;
    } else {
        say(server, "500 5.5.2 what");
    }
    return true;
}

static bool on_line(struct server *server, struct str line)
{
    if (!server->is_in_data) {
        return on_command(server, line);
    }
    if (str_eq(line, STR("."))) {
        return end_of_data(server);
    }
    buf_add(&server->content, line.len && line.ptr[0] == '.' ? str_from(line, 1) : line);
    buf_add_c(&server->content, "\r\n");
    return true;
}

static void server_bytes(void *ctx, struct sim_link *link, struct str bytes)
{
    struct server *server = ctx;
    struct str line;
    (void)link;
    buf_add(&server->reader.pending, bytes);
    while (next_line(&server->reader, &line)) {
        size_t used = line.len + 2;
        if (!on_line(server, line)) {
            return;
        }
        buf_drop_front(&server->reader.pending, used);
    }
}

static void server_closed(void *ctx, struct sim_link *link, bool is_reset)
{
    (void)link;
    (void)is_reset;
    server_free(ctx);
}

static void server_opened(void *ctx, struct sim_link *link)
{
    struct server *server = ctx;
    struct peers *peers = server->peers;
    (void)link;
    if (chance(peers, peers->faults.banner_silent)) {
        return;
    }
    if (chance(peers, peers->faults.banner_drop)) {
        hang_up(server, false);
    } else if (chance(peers, peers->faults.banner_4xx)) {
        refuse(server, "421 4.7.0 too busy");
    } else if (chance(peers, peers->faults.banner_5xx)) {
        refuse(server, "554 5.7.1 we do not like you");
    } else {
        say(server, "220 peer.example ESMTP");
    }
}

static const struct sim_peer server_peer = { server_opened, server_bytes, server_closed };

static void *server_make(void *ctx, struct sim_link *link)
{
    struct peers *peers = ctx;
    struct server *server = mem_new(sizeof *server);
    ASSERT(server);
    server->peers = peers;
    server->link = link;
    server->is_pipelining = chance(peers, 700000);
    buf_init(&server->reader.pending, CONTENT_BYTES_MAX);
    buf_init(&server->content, CONTENT_BYTES_MAX);
    list_add_last(&peers->servers, &server->at);
    return server;
}

/* ---- a client that submits ---- */

enum client_step {
    CLIENT_BANNER,
    CLIENT_EHLO,
    CLIENT_MAIL,
    CLIENT_RCPT,
    CLIENT_DATA,
    CLIENT_DOT,
    CLIENT_QUIT
};
struct client {
    struct list at;
    struct peers *peers;
    struct sim_link *link;
    struct line_reader reader;
    uint32_t message;
    uint32_t asked_rcpt; /* recipients asked for so far */
    uint32_t good_rcpt;
    enum client_step step;
};

static void client_free(struct client *client)
{
    list_del(&client->at);
    buf_done(&client->reader.pending);
    mem_free(client);
}

static void client_hang_up(struct client *client, bool is_reset)
{
    struct sim_link *link = client->link;
    client_free(client);
    sim_link_close(link, is_reset);
}

static void ask(struct client *client, const char *line)
{
    char text[256];
    size_t len = fmt(text, sizeof text, "%s\r\n", line);
    sim_link_send(client->link, str_of(text, len));
}

static struct token *client_token(const struct client *client, uint32_t n)
{
    return &client->peers->token[client->peers->message[client->message].first_token + n];
}

static void ask_rcpt(struct client *client)
{
    char line[128];
    const struct message *message = &client->peers->message[client->message];
    uint32_t number = message->first_token + client->asked_rcpt;
    fmt(line, sizeof line, "RCPT TO:<t%u@d%u.example>", number,
            client->peers->token[number].domain);
    ask(client, line);
}

/* Sends the content, perhaps only a part of it before the line is cut. False: the client is gone.
 */
static bool send_content(struct client *client)
{
    struct peers *peers = client->peers;
    struct buf content, wire;
    buf_init(&content, CONTENT_BYTES_MAX);
    buf_init(&wire, 2 * CONTENT_BYTES_MAX);
    make_content(peers, client->message, &content);
    struct str line, rest = buf_str(&content);
    while (rest.len) {
        size_t end = str_find(rest, STR("\r\n"));
        line = str_sub(rest, 0, end + 2);
        rest = str_from(rest, end + 2);
        if (line.ptr[0] == '.') {
            buf_add_char(&wire, '.');
        }
        buf_add(&wire, line);
    }
    bool is_cut = chance(peers, peers->faults.client_drops);
    if (is_cut) {
        peers->client_cut_count++;
        sim_link_send(client->link,
                str_sub(buf_str(&wire), 0, prng_below(&peers->events->prng, wire.len)));
    } else {
        buf_add_c(&wire, ".\r\n");
        for (uint32_t i = 0; i < peers->message[client->message].token_count; i++) {
            if (client_token(client, i)->answer == TOKEN_NOT_OFFERED) {
                client_token(client, i)->answer = TOKEN_UNANSWERED;
            }
        }
        sim_link_send(client->link, buf_str(&wire));
        is_cut = chance(peers, peers->faults.client_resets);
        peers->client_reset_count += is_cut;
    }
    buf_done(&content);
    buf_done(&wire);
    if (is_cut) {
        client_hang_up(client, true);
    }
    return !is_cut;
}

static void note_answer(struct client *client, uint32_t code, struct str line)
{
    struct message *message = &client->peers->message[client->message];
    size_t at = str_find(line, STR("queued as "));
    if (code == 250 && at < line.len) {
        str_to_c(str_from(line, at + 10), message->id, sizeof message->id);
    }
    sim_trace(client->peers->events, "message %u: %u %s", client->message, code, message->id);
    for (uint32_t i = 0; i < message->token_count; i++) {
        if (client_token(client, i)->answer == TOKEN_UNANSWERED) {
            client_token(client, i)->answer = code < 300 ? TOKEN_ACKNOWLEDGED : TOKEN_REFUSED;
        }
    }
}

/* Moves on after a reply. False: the client is gone. */
static bool client_reply(struct client *client, uint32_t code, struct str line)
{
    char text[128];
    const struct message *message = &client->peers->message[client->message];
    bool is_good = code < 400;
    if (client->step == CLIENT_RCPT) {
        if (!is_good) {
            client_token(client, client->asked_rcpt)->answer = TOKEN_REFUSED;
        }
        client->good_rcpt += is_good;
        if (++client->asked_rcpt < message->token_count) {
            ask_rcpt(client);
            return true;
        }
        is_good = client->good_rcpt > 0;
    }
    if (client->step == CLIENT_DOT) {
        note_answer(client, code, line);
    } else if (!is_good || client->step == CLIENT_QUIT) {
        client_hang_up(client, false);
        return false;
    }
    switch (++client->step) {
    case CLIENT_EHLO:
        ask(client, "EHLO client.example");
        break;
    case CLIENT_MAIL:
        fmt(text, sizeof text, "MAIL FROM:<s%u@sender.example>", client->message);
        ask(client, text);
        break;
    case CLIENT_RCPT:
        ask_rcpt(client);
        break;
    case CLIENT_DATA:
        ask(client, "DATA");
        break;
    case CLIENT_DOT:
        return send_content(client);
    case CLIENT_BANNER:
    case CLIENT_QUIT:
        ask(client, "QUIT");
        break;
    }
    return true;
}

static void client_bytes(void *ctx, struct sim_link *link, struct str bytes)
{
    struct client *client = ctx;
    struct str line;
    (void)link;
    buf_add(&client->reader.pending, bytes);
    while (next_line(&client->reader, &line)) {
        size_t used = line.len + 2;
        uint64_t code = 0;
        bool is_last = line.len >= 3 && str_to_u64(str_sub(line, 0, 3), 999, &code) == OK &&
                       (line.len == 3 || line.ptr[3] == ' ');
        if (is_last && !client_reply(client, (uint32_t)code, line)) {
            return;
        }
        buf_drop_front(&client->reader.pending, used);
    }
}

static void client_closed(void *ctx, struct sim_link *link, bool is_reset)
{
    (void)link;
    (void)is_reset;
    client_free(ctx);
}

static const struct sim_peer client_peer = { NULL, client_bytes, client_closed };

void peers_submit(struct peers *peers, uint32_t message)
{
    struct client *client = mem_new(sizeof *client);
    ASSERT(client);
    client->peers = peers;
    client->message = message;
    buf_init(&client->reader.pending, LINE_BYTES_MAX * 16);
    list_add_last(&peers->clients, &client->at);
    peers->message[message].is_begun = true;
    struct ip from = { .family = IP_V4,
        .byte = { 10, 1, (uint8_t)(message >> 8), (uint8_t)message } };
    client->link = sim_net_dial(peers->net, from, peers->node, &client_peer, client);
}

/* ---- the plan ---- */

static void plan_tokens(struct peers *peers)
{
    struct prng *prng = &peers->events->prng;
    for (uint32_t m = 0; m < peers->message_count; m++) {
        struct message *message = &peers->message[m];
        bool is_many = prng_chance(prng, 50000);
        message->first_token = peers->token_count;
        message->token_count =
                is_many ? 2 + (uint32_t)prng_below(prng, PEER_RCPT_COUNT_MAX - 2) : 1;
        message->body_bytes = prng_chance(prng, 20000) ? (uint32_t)prng_below(prng, 200000)
                                                       : (uint32_t)prng_below(prng, 3000);
        for (uint32_t i = 0; i < message->token_count; i++) {
            struct token *token = &peers->token[peers->token_count++];
            token->message = m;
            token->domain = (uint8_t)prng_below(prng, PEER_DOMAIN_COUNT);
            token->is_unknown_user = prng_chance(prng, 40000);
        }
    }
}

static void publish(struct peers *peers, struct sim_dns *dns)
{
    char domain[64], host[64];
    for (uint32_t i = 0; i <= PEER_DOMAIN_COUNT; i++) {
        struct ip ip = { .family = IP_V4, .byte = { 198, 51, 100, (uint8_t)(10 + i / 2) } };
        fmt(domain, sizeof domain, i == PEER_DOMAIN_COUNT ? "sender.example" : "d%u.example", i);
        fmt(host, sizeof host, "mx%u.example", i / 2); /* two domains a site */
        sim_dns_add_mx(dns, domain, 10, host);
        if (i % 2 == 0) {
            sim_dns_add_a(dns, host, ip);
            struct ip_port at = { ip, SMTP_PORT };
            sim_net_serve(peers->net, at, &server_peer, server_make, peers);
        }
    }
}

void peers_init(struct peers *peers, struct sim_events *events, struct sim_net *net,
        struct sim_dns *dns, struct ip_port node, uint32_t message_count)
{
    *peers = (struct peers){
        .events = events, .net = net, .node = node, .message_count = message_count
    };
    peers->message = mem_new(message_count * sizeof *peers->message);
    peers->token = mem_new(message_count * (size_t)PEER_RCPT_COUNT_MAX * sizeof *peers->token);
    ASSERT(peers->message && peers->token);
    list_init(&peers->servers);
    list_init(&peers->clients);
    plan_tokens(peers);
    publish(peers, dns);
}

void peers_done(struct peers *peers)
{
    while (!list_is_empty(&peers->servers)) {
        server_free(CONTAINER_OF(peers->servers.next, struct server, at));
    }
    while (!list_is_empty(&peers->clients)) {
        client_free(CONTAINER_OF(peers->clients.next, struct client, at));
    }
    mem_free(peers->message);
    mem_free(peers->token);
}
