/* SPDX-License-Identifier: Apache-2.0
 *
 * control_rig.c - the world around the node of control_test.c.
 */
#include "tests/unit/node/control_rig.h"

#include "core/str.h"
#include "core/time.h"
#include "tests/test.h"

enum { LINE_BYTES_MAX = 4 << 20, HEAR_MS_MAX = 60000 };

static const char base_config[] =
        "hostname = \"mail.sender.example\"\n"
        "slot-bytes = 2M\n"
        "rcpt-count-max = 1000\n"
        "listen \"local\" { address = { \"127.0.0.1:2525\" } networks = { \"127.0.0.0/8\" } }\n"
        "route \"*\" { to = { \"198.51.100.10:25\" } }\n";

static struct ip_port at(const char *text)
{
    struct ip_port at;
    REQUIRE_OK(ip_port_parse(str_from_c(text), &at));
    return at;
}

/* ---- the receiver -----------------------------------------------------------------------------
 */

struct receiver {
    struct list link; /* in the rig's receivers */
    struct control_rig *rig;
    struct buf in;
    bool is_in_data;
    uint32_t taken_count;
};

static void receiver_says(struct sim_link *link, const char *line)
{
    sim_link_send(link, str_from_c(line));
}

static void *receiver_new(void *ctx, struct sim_link *link)
{
    struct receiver *receiver = mem_new(sizeof *receiver);
    (void)link;
    CHECK(receiver != NULL);
    receiver->rig = ctx;
    buf_init(&receiver->in, LINE_BYTES_MAX);
    list_add_last(&receiver->rig->receivers, &receiver->link);
    return receiver;
}

static void receiver_opened(void *ctx, struct sim_link *link)
{
    (void)ctx;
    receiver_says(link, "220 mx.example ESMTP\r\n");
}

static void receiver_free(struct receiver *receiver)
{
    list_del(&receiver->link);
    buf_done(&receiver->in);
    mem_free(receiver);
}

static void receiver_closed(void *ctx, struct sim_link *link, bool is_reset)
{
    (void)link;
    (void)is_reset;
    receiver_free(ctx);
}

static void take_rcpt(struct receiver *receiver, struct sim_link *link, struct str line)
{
    if (str_starts_nocase(line, STR("RCPT TO:<defer"))) {
        receiver_says(link, "451 4.2.1 come back later\r\n");
    } else if (str_starts_nocase(line, STR("RCPT TO:<reject"))) {
        receiver_says(link, "550 5.1.1 no such user\r\n");
    } else {
        receiver->taken_count++;
        receiver_says(link, "250 2.1.5 Ok\r\n");
    }
}

static void take_line(struct receiver *receiver, struct sim_link *link, struct str line)
{
    if (receiver->is_in_data) {
        if (str_eq(line, STR("."))) {
            receiver->is_in_data = false;
            receiver->rig->received_count++;
            receiver_says(link, "250 2.0.0 stored\r\n");
        }
    } else if (str_starts_nocase(line, STR("EHLO"))) {
        receiver_says(link,
                "250-mx.example\r\n250-PIPELINING\r\n250-8BITMIME\r\n250 ENHANCEDSTATUSCODES\r\n");
    } else if (str_starts_nocase(line, STR("RCPT"))) {
        take_rcpt(receiver, link, line);
    } else if (str_starts_nocase(line, STR("DATA"))) {
        receiver->is_in_data = receiver->taken_count > 0;
        receiver_says(link, receiver->is_in_data ? "354 go on\r\n" : "554 5.5.1 nobody\r\n");
    } else {
        receiver->taken_count = 0;
        receiver_says(link, "250 2.0.0 Ok\r\n");
    }
}

static void receiver_bytes(void *ctx, struct sim_link *link, struct str bytes)
{
    struct receiver *receiver = ctx;
    buf_add(&receiver->in, bytes);
    for (;;) {
        size_t end = str_find(buf_str(&receiver->in), STR("\r\n"));
        if (end == receiver->in.len) {
            return;
        }
        take_line(receiver, link, str_sub(buf_str(&receiver->in), 0, end));
        buf_drop_front(&receiver->in, end + 2);
    }
}

static const struct sim_peer receiver_peer = { receiver_opened, receiver_bytes, receiver_closed };

/* ---- the client ---------------------------------------------------------------------------------
 */

struct sender {
    struct buf heard;
    bool is_closed;
};

static void sender_bytes(void *ctx, struct sim_link *link, struct str bytes)
{
    struct sender *sender = ctx;
    (void)link;
    buf_add(&sender->heard, bytes);
}

static void sender_closed(void *ctx, struct sim_link *link, bool is_reset)
{
    struct sender *sender = ctx;
    (void)link;
    (void)is_reset;
    sender->is_closed = true;
}

static const struct sim_peer sender_peer = { NULL, sender_bytes, sender_closed };

/* Runs the world until the reply is there, and forgets what came before it. */
static void hear(struct control_rig *rig, struct sender *sender, const char *reply)
{
    struct mono end = mono_after(rig->world->events.now, HEAR_MS_MAX);
    while (str_find(buf_str(&sender->heard), str_from_c(reply)) == sender->heard.len &&
            !sender->is_closed && world_step(rig->world, end)) {
    }
    size_t found = str_find(buf_str(&sender->heard), str_from_c(reply));
    CHECK(found < sender->heard.len, "wanted %s, heard %.*s", reply,
            STR_ARG(buf_str(&sender->heard)));
    buf_drop_front(&sender->heard, found);
}

static void add_rcpts(struct buf *text, const struct rig_mail *mail)
{
    struct str address, rest = str_from_c(mail->to);
    while (str_cut(&rest, ',', &address)) {
        buf_addf(text, "RCPT TO:<%.*s>\r\n", STR_ARG(address));
    }
    for (uint32_t i = 0; i < mail->rcpt_count; i++) {
        buf_addf(text, "RCPT TO:<defer%u@big.example>\r\n", i);
    }
}

static void send_content(struct sim_link *link, const struct rig_mail *mail)
{
    struct buf text;
    buf_init(&text, 65536);
    buf_add_c(&text, "From: App <app@sender.example>\r\nTo: you@example.net\r\nSubject: hi\r\n");
    if (mail->tag) {
        buf_addf(&text, "X-Outpost-Tag: %s\r\n", mail->tag);
    }
    if (mail->stream) {
        buf_addf(&text, "X-Outpost-Stream: %s\r\n", mail->stream);
    }
    buf_add_c(&text, "\r\nHello\r\n.\r\n");
    sim_link_send(link, buf_str(&text));
    buf_done(&text);
}

void rig_submit(struct control_rig *rig, const struct rig_mail *mail, char ret_id[27])
{
    struct ip from;
    struct sender sender = { 0 };
    struct buf text;
    REQUIRE_OK(ip_parse(STR("127.0.0.1"), &from));
    buf_init(&sender.heard, LINE_BYTES_MAX);
    buf_init(&text, LINE_BYTES_MAX);
    struct sim_link *link =
            sim_net_dial(rig->world->net, from, at("127.0.0.1:2525"), &sender_peer, &sender);
    hear(rig, &sender, "220 ");
    sim_link_send(link, STR("EHLO client.example\r\n"));
    hear(rig, &sender, "250 ");
    buf_addf(&text, "MAIL FROM:<%s>\r\n", mail->from ? mail->from : "app@sender.example");
    add_rcpts(&text, mail);
    buf_add_c(&text, "DATA\r\n");
    sim_link_send(link, buf_str(&text));
    hear(rig, &sender, "354 ");
    send_content(link, mail);
    hear(rig, &sender, "queued as ");
    struct str id = str_sub(buf_str(&sender.heard), strlen("queued as "), 26);
    CHECK(str_to_c(id, ret_id, 27) && id.len == 26);
    if (!sender.is_closed) {
        sim_link_close(link, false);
    }
    buf_done(&text);
    buf_done(&sender.heard);
}

/* ---- the world ----------------------------------------------------------------------------------
 */

void rig_open(struct control_rig *rig, uint64_t seed, const char *more_config)
{
    struct why why = { 0 };
    struct buf text;
    *rig = (struct control_rig){ 0 };
    list_init(&rig->receivers);
    buf_init(&rig->reply, 128 << 20);
    buf_init(&text, 65536);
    buf_add_c(&text, base_config);
    buf_add_c(&text, more_config);
    CHECK(world_new(seed, buf_str(&text), &rig->world, &why) == OK, "%s", why.text);
    buf_done(&text);
    sim_net_faults(rig->world->net)->delay_ms_max = 5;
    sim_net_serve(rig->world->net, at("198.51.100.10:25"), &receiver_peer, receiver_new, rig);
    CHECK(world_start(rig->world, &why) == OK, "%s", why.text);
}

void rig_close(struct control_rig *rig)
{
    json_decref(rig->json);
    buf_done(&rig->reply);
    world_free(rig->world);
    while (!list_is_empty(&rig->receivers)) { /* the world says nothing of what it drops */
        receiver_free(CONTAINER_OF(rig->receivers.next, struct receiver, link));
    }
}

/* ---- questions ----------------------------------------------------------------------------------
 */

static uint16_t ask(struct control_rig *rig, const char *method, const char *path,
        const char *query, const char *body)
{
    buf_clear(&rig->reply);
    json_decref(rig->json);
    uint16_t status = world_ask(rig->world, method, path, query, body, &rig->reply);
    rig->json = json_loadb(rig->reply.ptr, rig->reply.len, 0, NULL);
    CHECK(rig->json != NULL, "%s %s?%s: %u, no JSON: %.*s", method, path, query, status,
            STR_ARG(buf_str(&rig->reply)));
    CHECK(status < 400 || json_is_string(json_object_get(rig->json, "error")),
            "%s %s?%s: %u without words", method, path, query, status);
    return status;
}

uint16_t rig_get(struct control_rig *rig, const char *path, const char *query)
{
    return ask(rig, "GET", path, query, "");
}

uint16_t rig_post(struct control_rig *rig, const char *path, const char *body)
{
    return ask(rig, "POST", path, "", body);
}

size_t rig_count(struct control_rig *rig, const char *query)
{
    uint16_t status = rig_get(rig, "/v1/queue", query);
    CHECK(status == 200, "%s: %.*s", query, STR_ARG(buf_str(&rig->reply)));
    return json_array_size(json_object_get(rig->json, "entries"));
}

int64_t rig_act(struct control_rig *rig, const char *body)
{
    uint16_t status = rig_post(rig, "/v1/queue/actions", body);
    CHECK(status == 200, "%s: %.*s", body, STR_ARG(buf_str(&rig->reply)));
    return (int64_t)json_integer_value(json_object_get(rig->json, "recipients"));
}

struct str rig_entry(const struct control_rig *rig, size_t i, const char *name)
{
    json_t *entry = json_array_get(json_object_get(rig->json, "entries"), i);
    json_t *value = json_object_get(entry, name);
    CHECK(json_is_string(value), "entry %zu has no text %s", i, name);
    return str_of(json_string_value(value), json_string_length(value));
}

bool rig_says(const struct control_rig *rig, const char *text)
{
    return str_find(buf_str(&rig->reply), str_from_c(text)) < rig->reply.len;
}
